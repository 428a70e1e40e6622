//! Group `stack`: packets between two namespaces that a cable joins, with the same programs on both sides.
//!
//! | row | what |
//! |---|---|
//! | `iperf3` | one stream, by `iperf3` |
//! | `ping` | round trip, by `ping` |
//! | `tcp_connect` | a new connection, made and closed |
//! | `tcp_round_trip`, `udp_round_trip`, `udp_connected_round_trip` | a byte or a datagram of 64 there and back |
//!
//! And, of pernet alone, those of [`crate::in_process`].

use crate::group_run::beside_this_program;
use crate::report;
use crate::row::{Row, Side};
use anyhow::{Context, Result, bail};
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

/// Two namespaces and a cable; `$0` is this program, then the side, how many, how long.
const SCRIPT: &str = r#"
set -e
bench=$0 side=$1 n=$2 seconds=$3
if [ "$side" = kernel ]; then mount -t tmpfs none /run; fi
ip netns add far
ip link add near type veth peer name far netns far
ip addr add 10.99.0.1/24 dev near
ip link set near up
ip -n far addr add 10.99.0.2/24 dev far
ip -n far link set far up
ip netns exec far "$bench" traffic --serve & server=$!
trap 'kill $server 2>/dev/null || :' EXIT
"$bench" traffic --server 10.99.0.2 --side "$side" --n "$n"
if command -v ping >/dev/null; then
    echo "ping $(ping -q -c 200 -i 0.01 10.99.0.2 | tail -n 1)"
fi
if command -v iperf3 >/dev/null; then
    ip netns exec far iperf3 -s -1 >/dev/null & other=$!
    trap 'kill $server $other 2>/dev/null || :' EXIT
    sleep 0.5
    echo "iperf3 $(iperf3 -c 10.99.0.2 -t "$seconds" -J | tr -d '\n')"
fi
"#;

/// Measures and reports.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut rows = Vec::new();
    for side in [Side::Kernel, Side::Pernet] {
        if args.only.is_some_and(|only| only != side) {
            continue;
        }
        match (measure(side, args), side) {
            (Ok(found), _) => rows.extend(found),
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
    let out = command.args(["in-process", "--ms", &(args.seconds * 1000).to_string()]).output()?;
    if !out.status.success() {
        bail!("in process: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    String::from_utf8_lossy(&out.stdout).lines().map(|line| read(Side::Pernet, args, line)).collect()
}

fn measure(side: Side, args: &Args) -> Result<Vec<Row>> {
    let mut command = match side {
        Side::Pernet => {
            let mut command = Command::new(beside_this_program("pernet")?);
            command.args(["run", "--"]);
            command
        }
        Side::Kernel => {
            let mut command = Command::new("unshare");
            command.arg("-Urnm");
            command
        }
    };
    command.args(["sh", "-c", SCRIPT]).arg(env::current_exe().context("where is this program?")?);
    command.args([side.to_string(), args.n.to_string(), args.seconds.to_string()]);
    let out = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    if !out.status.success() {
        bail!("{side}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    String::from_utf8_lossy(&out.stdout).lines().map(|line| read(side, args, line)).collect()
}

/// A line of the script's output as a row.
fn read(side: Side, args: &Args, line: &str) -> Result<Row> {
    match line.split_once(' ') {
        Some(("ping", said)) => {
            let [min, avg, max] = round_trips(said).with_context(|| format!("ping said {said:?}"))?;
            let (us_min, us_max) = (Some(min * 1e3), Some(max * 1e3));
            Ok(Row { us_each: Some(avg * 1e3), us_min, us_max, ..Row::new(side, "ping", 200) })
        }
        Some(("iperf3", said)) => {
            let report: Value = serde_json::from_str(said).context("iperf3's report")?;
            let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
            let bits = bits.with_context(|| format!("iperf3 received nothing: {}", report["error"]))?;
            Ok(Row { gbit_s: Some(crate::measure::rounded(bits / 1e9, 2)), ..Row::new(side, "iperf3", args.seconds) })
        }
        _ => serde_json::from_str(line).with_context(|| format!("a line that is no figure: {line}")),
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
