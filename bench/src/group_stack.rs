//! Group `stack`: packets between two namespaces that a cable joins, with the same programs on both sides.
//!
//! | row | what |
//! |---|---|
//! | `iperf3`, `iperf3_p4` | one stream, and four at once, by `iperf3` |
//! | `ping` | round trip, by `ping` |
//! | `tcp_connect` | a new connection, made and closed by both |
//! | `tcp_round_trip`, `udp_round_trip`, `udp_connected_round_trip` | a byte or a datagram of 64 there and back |
//!
//! And, of pernet alone, `tcp_idle_between_programs`, the supervisor's memory of a connection that is idle, those of
//! [`crate::in_process`], and of TCP once more with `_joined` behind: by `pernet run --fast-local`.
//!
//! All is measured twice: as the scheduler pleases once it has settled, and with `_one_core` behind with the programs, and
//! whoever carries their packets, on one processor. Where a processor that idles takes 20 µs to be woken (a virtual one
//! does), the first says above all where the scheduler put whom; the second what is done.

use crate::group_run::beside_this_program;
use crate::report;
use crate::row::{Row, Side};
use crate::traffic::ADDRESSES;
use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;
use std::env;
use std::process::{Command, Stdio};

/// Arguments of `stack`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// How many connections and round trips.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    n: u64,
    /// How long iperf3 sends, seconds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Measure one side only.
    #[arg(long, value_enum)]
    only: Option<Side>,
}

/// How programs are run: on one of the sides, and on ours a second time with the ends of connections joined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Kernel,
    Pernet,
    Joined,
}

impl Way {
    fn side(self) -> Side {
        if self == Self::Kernel { Side::Kernel } else { Side::Pernet }
    }

    /// How a row is called.
    fn name(self, what: &str, cores: Cores) -> String {
        let joined = if self == Self::Joined { "_joined" } else { "" };
        let one_core = if cores == Cores::One { "_one_core" } else { "" };
        format!("{what}{joined}{one_core}")
    }
}

/// Where the programs may run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cores {
    All,
    One,
}

impl Cores {
    /// Does `what`; the programs that it starts run there.
    fn hold<T>(self, what: impl FnOnce() -> Result<T>) -> Result<T> {
        if self == Self::All {
            return what();
        }
        let all = sched_getaffinity(None).context("where may this program run?")?;
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).context("no processor")?);
        sched_setaffinity(None, &one).context("keeping to one processor")?;
        let done = what();
        sched_setaffinity(None, &all).context("leaving the one processor")?;
        done
    }
}

/// Two namespaces and a cable; `$0` is this program, then the side, how many, how long, and how many addresses
/// the server has.
const SCRIPT: &str = r#"
set -e
bench=$0 side=$1 n=$2 seconds=$3 addresses=$4
if [ "$side" = kernel ]; then mount -t tmpfs none /run; fi
ip netns add far
ip link add near type veth peer name far netns far
ip addr add 10.99.0.1/24 dev near
ip link set near up
for last in $(seq 2 $((addresses + 1))); do ip -n far addr add "10.99.0.$last/24" dev far; done
ip -n far link set far up
ip netns exec far "$bench" traffic --serve & server=$!
trap 'kill $server 2>/dev/null || :' EXIT
# Whose child this is carries what is inside. Before the others: what they leave free would be taken again.
if [ "$side" = pernet ]; then "$bench" traffic --server 10.99.0.2 --side "$side" --n "$n" --idle-in "$PPID"; fi
"$bench" traffic --server 10.99.0.2 --side "$side" --n "$n"
if command -v ping >/dev/null; then
    echo "ping $(ping -q -c 200 -i 0.01 10.99.0.2 | tail -n 1)"
fi
if command -v iperf3 >/dev/null; then
    ip netns exec far iperf3 -s >/dev/null & other=$!
    trap 'kill $server $other 2>/dev/null || :' EXIT
    sleep 0.5
    echo "iperf3 $(iperf3 -c 10.99.0.2 -t "$seconds" -J | tr -d '\n')"
    echo "iperf3_p4 $(iperf3 -c 10.99.0.2 -t "$seconds" -P 4 -J | tr -d '\n')"
fi
"#;

/// Measures and reports.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut rows = Vec::new();
    let ways = [Cores::All, Cores::One].map(|cores| [Way::Kernel, Way::Pernet, Way::Joined].map(|way| (way, cores)));
    for (way, cores) in ways.into_iter().flatten() {
        let side = way.side();
        if args.only.is_some_and(|only| only != side) {
            continue;
        }
        // Nothing but TCP is joined, and memory is where it is.
        let counts = |row: &Row| {
            (way != Way::Joined || row.what.starts_with("tcp") || row.what.starts_with("iperf3"))
                && (cores == Cores::All || row.kib_each.is_none())
        };
        match (cores.hold(|| measure(way, cores, args)), side) {
            (Ok(found), _) => rows.extend(found.into_iter().filter(counts)),
            (Err(error), Side::Kernel) => rows.push(Row::capped(side, args.n, 0, format!("{error:#}"))),
            (Err(error), Side::Pernet) => return Err(error),
        }
    }
    if args.only != Some(Side::Kernel) {
        rows.extend(in_process(args)?);
    }
    report::print(&rows, args.json, "")
}

/// Packets of one process, in one of their own: they measure memory, too.
fn in_process(args: &Args) -> Result<Vec<Row>> {
    let mut command = Command::new(env::current_exe().context("where is this program?")?);
    // Else glibc forgets where blocks begin that it gives back to the machine, with the first large one that is.
    command.env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072");
    let out = command.args(["in-process", "--ms", &(args.seconds * 1000).to_string()]).output()?;
    if !out.status.success() {
        bail!("in process: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    String::from_utf8_lossy(&out.stdout).lines().map(|line| read(Way::Pernet, Cores::All, args, line)).collect()
}

fn measure(way: Way, cores: Cores, args: &Args) -> Result<Vec<Row>> {
    let side = way.side();
    let pernet = || beside_this_program("pernet");
    let (program, options): (_, &[&str]) = match way {
        Way::Pernet => (pernet()?, &["run", "--"]),
        Way::Joined => (pernet()?, &["run", "--fast-local", "--"]),
        Way::Kernel => ("unshare".into(), &["-Urnm"]),
    };
    let mut command = Command::new(program);
    command.args(options);
    command.args(["sh", "-c", SCRIPT]).arg(env::current_exe().context("where is this program?")?);
    command.args([side.to_string(), args.n.to_string(), args.seconds.to_string(), ADDRESSES.to_string()]);
    let out = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    if !out.status.success() {
        bail!("{side}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    String::from_utf8_lossy(&out.stdout).lines().map(|line| read(way, cores, args, line)).collect()
}

/// A line of the script's output as a row.
fn read(way: Way, cores: Cores, args: &Args, line: &str) -> Result<Row> {
    let side = way.side();
    match line.split_once(' ') {
        Some(("ping", said)) => {
            let [min, avg, max] = round_trips(said).with_context(|| format!("ping said {said:?}"))?;
            let (us_min, us_max) = (Some(min * 1e3), Some(max * 1e3));
            Ok(Row { us_each: Some(avg * 1e3), us_min, us_max, ..Row::new(side, &way.name("ping", cores), 200) })
        }
        Some((what @ ("iperf3" | "iperf3_p4"), said)) => {
            let report: Value = serde_json::from_str(said).context("iperf3's report")?;
            let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
            let bits = bits.with_context(|| format!("iperf3 received nothing: {}", report["error"]))?;
            let gbit_s = Some(crate::measure::rounded(bits / 1e9, 2));
            Ok(Row { gbit_s, ..Row::new(side, &way.name(what, cores), args.seconds) })
        }
        _ => {
            let row: Row = serde_json::from_str(line).with_context(|| format!("a line that is no figure: {line}"))?;
            Ok(Row { what: way.name(&row.what, cores), ..row })
        }
    }
}

/// Least, mean and greatest of `rtt min/avg/max/mdev = 0.010/0.020/0.030/0.001 ms`.
fn round_trips(line: &str) -> Option<[f64; 3]> {
    let numbers = line.split_once(" = ")?.1.split(' ').next()?;
    let mut numbers = numbers.split('/').map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ping_says_is_read() {
        assert_eq!(round_trips("rtt min/avg/max/mdev = 0.010/0.020/0.030/0.001 ms"), Some([0.01, 0.02, 0.03]));
        assert_eq!(round_trips("1 packets transmitted, 0 received"), None);
    }
}
