//! Group `run`: what starting a program costs, `pernet run -- true` beside `unshare -Urn true`.

use crate::measure::{median, rounded};
use crate::report;
use crate::row::{Row, Side};
use anyhow::{Context, Result, ensure};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Arguments of `run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// How often each is started.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    times: u64,
}

/// Measures and reports.
///
/// The two are started in turn, so that whatever else the machine does falls on both.
pub(crate) fn run(args: &Args) -> Result<()> {
    let pernet = beside_this_program("pernet")?;
    let ours = || start(Command::new(&pernet).args(["run", "--", "true"]));
    let theirs = || start(Command::new("unshare").args(["-Urn", "true"]));
    // Once unmeasured: the files are in memory then, and a side that cannot run says so before it is measured.
    ours().context("pernet run -- true")?;
    let refused = theirs().err();
    let mut rows = Vec::new();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..args.times {
        a.push(ours().context("pernet run -- true")?);
        if refused.is_none() {
            b.push(theirs().context("unshare -Urn true")?);
        }
    }
    match refused {
        None => rows.push(start_row(Side::Kernel, &b)),
        Some(error) => rows.push(Row::capped(Side::Kernel, args.times, 0, format!("unshare -Urn true: {error:#}"))),
    }
    rows.push(start_row(Side::Pernet, &a));
    report::print(&rows, args.json, "")
}

fn start_row(side: Side, us: &[f64]) -> Row {
    Row {
        us_each: Some(rounded(median(us), 1)),
        us_min: us.iter().copied().min_by(f64::total_cmp).map(|us| rounded(us, 1)),
        us_max: us.iter().copied().max_by(f64::total_cmp).map(|us| rounded(us, 1)),
        ..Row::new(side, "start", us.len() as u64)
    }
}

/// Starts the command and waits for it; microseconds.
fn start(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let out = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let took = start.elapsed();
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{}: {}", out.status, said.trim());
    Ok(took.as_secs_f64() * 1e6)
}

/// The program `name` of the same build, next to this one.
pub(crate) fn beside_this_program(name: &str) -> Result<PathBuf> {
    let this = env::current_exe().context("where is this program?")?;
    let path = this.parent().unwrap_or_else(|| Path::new(".")).join(name);
    ensure!(
        path.is_file(),
        "there is no program `{name}` beside the benchmark; build it the same way first: cargo build --release -p pernet-cli"
    );
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_no_measurement() {
        assert!(start(&mut Command::new("false")).is_err());
        assert!(start(&mut Command::new("true")).expect("true runs") > 0.0);
    }

    #[test]
    fn the_row_holds_median_and_extremes() {
        let row = start_row(Side::Pernet, &[3.0, 1.0, 2.0]);
        assert_eq!((row.us_each, row.us_min, row.us_max, row.n), (Some(2.0), Some(1.0), Some(3.0), 3));
    }
}
