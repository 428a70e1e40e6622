//! The figures of the group `control`: what configuring costs, through a netlink socket in the same process and through `ip`.
//!
//! | part | rows |
//! |---|---|
//! | `veth` | `veth_add`, `veth_memory`, `link_dump` |
//! | `route` | `route_add`, `route_dump`, `route_get` |
//! | `ip` | `veth_ip`: the whole command, `ip -batch` with one line for each pair |

pub(crate) mod request;

use crate::kernel::Kernel;
use crate::measure::{self, DUMPS, PROBES, median, rounded, us_each};
use crate::ours::World;
use crate::row::{Row, Side};
use crate::system::{Observer, System};
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::group_run::beside_this_program;

/// One question of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Pairs of veth, and listing their ends.
    Veth,
    /// IPv4 routes: adding, listing, looking up.
    Route,
    /// Pairs of veth by `ip -batch`.
    Ip,
}

impl Part {
    /// In the order in which they are asked.
    pub(crate) const ALL: [Self; 3] = [Self::Veth, Self::Route, Self::Ip];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Veth => "veth",
            Self::Route => "route",
            Self::Ip => "ip",
        })
    }
}

/// Asks whoever is meant for `n` pairs or routes.
pub(crate) fn of(side: Side, part: Part, n: u64, mut emit: impl FnMut(Row)) -> Result<()> {
    let emit = &mut emit;
    if part == Part::Ip {
        return by_ip(side, n, emit);
    }
    match side {
        Side::Pernet => measure(&World::new()?, part, n, emit),
        Side::Kernel => match Kernel::enter() {
            Ok(kernel) => measure(&kernel, part, n, emit),
            Err(why) => {
                emit(Row::capped(Side::Kernel, n, 0, why));
                Ok(())
            }
        },
    }
}

fn measure<S: System>(system: &S, part: Part, n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    let mut socket = system.observe(Vec::new())?;
    match part {
        Part::Veth => veth(system, &mut socket, n, emit),
        Part::Route => route::<S>(&mut socket, n, emit),
        Part::Ip => Ok(()),
    }
}

fn veth<S: System>(system: &S, socket: &mut S::Observer, n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    // Made before, so that what is measured is the work behind them. One pair more: what comes with the first of its kind.
    let requests: Vec<Vec<u8>> = (0..=n).map(request::veth).collect();
    let (first, rest) = requests.split_first().context("nothing to do")?;
    ask(socket, first)?;
    let before = system.memory_kib()?;
    let (took, ()) = measure::timed(|| rest.iter().try_for_each(|request| ask(socket, request)))?;
    let used = system.memory_kib()?.saturating_sub(before);
    emit(Row { us_each: Some(rounded(us_each(took, n), 2)), ..total(S::SIDE, "veth_add", n, took) });
    emit(Row { kib_each: Some(rounded(used as f64 / n as f64, 2)), ..Row::new(S::SIDE, "veth_memory", n) });
    // Both ends of each, and lo.
    dump::<S>(socket, &request::links(), request::NEWLINK, 2 * (n + 1) + 1, "link_dump", n, emit)
}

fn route<S: System>(socket: &mut S::Observer, n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    ask(socket, &request::veth(0))?;
    // lo is 1, and the ends of the first pair follow; which is which does not matter.
    for index in [2, 3] {
        ask(socket, &request::up(index))?;
    }
    let requests: Vec<Vec<u8>> = (0..n).map(|number| request::route(number, 2)).collect();
    let (took, ()) = measure::timed(|| requests.iter().try_for_each(|request| ask(socket, request)))?;
    emit(Row { us_each: Some(rounded(us_each(took, n), 2)), ..total(S::SIDE, "route_add", n, took) });
    dump::<S>(socket, &request::routes(), request::NEWROUTE, n, "route_dump", n, emit)?;

    let some = measure::scattered(usize::try_from(n)?, PROBES as usize);
    let asked: Vec<Vec<u8>> = some.into_iter().map(|number| request::route_get(number as u64)).collect();
    let mut next = asked.iter().cycle();
    let us = measure::probed(|| {
        socket.send(next.next().context("nothing to ask")?)?;
        let (found, _) = request::count(socket.receive()?, request::NEWROUTE)?;
        ensure!(found == 1, "{found} routes in an answer");
        Ok(())
    })?;
    emit(Row { us_each: Some(rounded(us, 3)), ..Row::new(S::SIDE, "route_get", n) });
    Ok(())
}

/// A request that is acknowledged.
pub(crate) fn ask(socket: &mut impl Observer, request: &[u8]) -> Result<()> {
    socket.send(request)?;
    request::count(socket.receive()?, 0).map(|_| ())
}

/// Counts what a dump shows.
pub(crate) fn listed(socket: &mut impl Observer, request: &[u8], wanted: u16) -> Result<u64> {
    socket.send(request)?;
    let mut all = 0;
    loop {
        let (found, done) = request::count(socket.receive()?, wanted)?;
        all += found;
        if done {
            return Ok(all);
        }
    }
}

fn dump<S: System>(
    socket: &mut S::Observer,
    request: &[u8],
    wanted: u16,
    least: u64,
    what: &str,
    n: u64,
    emit: &mut impl FnMut(Row),
) -> Result<()> {
    let (mut times, mut seen) = (Vec::new(), 0);
    for _ in 0..DUMPS {
        let (took, found) = measure::timed(|| listed(socket, request, wanted))?;
        // Of routes there are some more than were added.
        ensure!(found >= least, "{what}: {found} of {least}");
        seen = found;
        times.push(took.as_secs_f64() * 1e9 / found as f64);
    }
    let rounds = Some(DUMPS as u64);
    let ns_each = Some(rounded(median(&times), 1));
    emit(Row { ns_each, entries_seen: Some(seen), rounds, ..Row::new(S::SIDE, what, n) });
    Ok(())
}

fn total(side: Side, what: &str, n: u64, took: std::time::Duration) -> Row {
    Row { total_ms: Some(rounded(took.as_secs_f64() * 1e3, 1)), ..Row::new(side, what, n) }
}

fn by_ip(side: Side, n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    let mut batch = tempfile()?;
    let lines: String = (1..=n)
        .map(|pair| {
            let [near, far] = request::ends(pair);
            format!("link add {near} type veth peer name {far}\n")
        })
        .collect();
    batch.1.write_all(lines.as_bytes()).context("writing the batch")?;
    let mut command = match side {
        Side::Pernet => {
            let mut command = Command::new(beside_this_program("pernet")?);
            command.args(["run", "--"]);
            command
        }
        Side::Kernel => {
            let mut command = Command::new("unshare");
            command.arg("-Urn");
            command
        }
    };
    command.args(["ip", "-batch"]).arg(&batch.0.0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let out = command.output().context("starting ip")?;
    let took = start.elapsed();
    let said = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() && side == Side::Kernel {
        emit(Row::capped(side, n, 0, format!("unshare -Urn ip -batch: {}", said.trim())));
        return Ok(());
    }
    ensure!(out.status.success(), "ip -batch: {}: {}", out.status, said.trim());
    emit(Row { us_each: Some(rounded(us_each(took, n), 2)), ..total(side, "veth_ip", n, took) });
    Ok(())
}

/// A file that goes with its guard.
struct Gone(std::path::PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        // In the way of nobody if it stays.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn tempfile() -> Result<(Gone, std::fs::File)> {
    let path = std::env::temp_dir().join(format!("pernet-batch-{}", std::process::id()));
    let file = std::fs::File::create(&path).with_context(|| format!("{}", path.display()))?;
    Ok((Gone(path), file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_makes_its_rows_at_a_small_size() {
        for (part, want) in [
            (Part::Veth, vec!["veth_add", "veth_memory", "link_dump"]),
            (Part::Route, vec!["route_add", "route_dump", "route_get"]),
        ] {
            let mut rows = Vec::new();
            of(Side::Pernet, part, 30, |row| rows.push(row)).expect("the part runs");
            let names: Vec<&str> = rows.iter().map(|row| row.what.as_str()).collect();
            assert_eq!(names, want, "{part}");
        }
    }
}
