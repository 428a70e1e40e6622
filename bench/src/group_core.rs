//! Group `core`: what network namespaces cost, at several numbers of them.
//!
//! What the ratios say and what not: the kernel is asked by system calls, as every program must ask it, and pernet by calls of
//! its library, as a Rust program asks it. A kernel namespace comes with a whole network stack, one of pernet with what
//! pernet has so far. What a program under `pernet run` pays for being supervised is in the group `run`.

use crate::child::{self, What};
use crate::limits::{self, Fit};
use crate::report;
use crate::row::{Row, Side};
use anyhow::{Result, anyhow};
use std::time::Duration;

/// Arguments of `core`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One JSON object a line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// How many namespaces, one or several numbers.
    #[arg(long, value_delimiter = ',', default_value = "1,1000,100000", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) n: Vec<u64>,
    /// How many seconds the kernel's half may take at one n.
    #[arg(long, default_value_t = 240)]
    pub(crate) budget: u64,
    /// Measure one side only.
    #[arg(long, value_enum)]
    pub(crate) only: Option<Side>,
}

/// How long pernet's half may take; only a hang takes so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(600);

/// Below the table.
pub(crate) const NOTE: &str = "The kernel is asked by system calls, pernet by calls of its library.\n";

/// Measures and reports.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut sizes = args.n.clone();
    // Ascending, so that what was measured at a small n can say what a large one would take.
    sizes.sort_unstable();
    sizes.dedup();
    let mut rows = Vec::new();
    let mut failed = None;
    let mut refused = args.only == Some(Side::Pernet);
    for asked in sizes {
        let mut ours_at = vec![asked];
        if !refused {
            let kernel = kernel_half(asked, args.budget, &rows);
            refused = kernel.iter().any(|row| row.what == "capped" && row.n == 0);
            if let Some(n) = kernel.iter().find(|row| row.what == "create").map(|row| row.n) {
                // Where the kernel was measured at less, pernet is measured there too: ratios compare like with like.
                ours_at.insert(0, n);
                ours_at.dedup();
            }
            keep(kernel, args.json, &mut rows)?;
        }
        if args.only == Some(Side::Kernel) {
            continue;
        }
        for n in ours_at {
            if rows.iter().any(|row| row.side == Side::Pernet && row.n == n) {
                continue;
            }
            let (made, end) = child::half(Side::Pernet, What::Core, n, DEADLINE);
            keep(made, args.json, &mut rows)?;
            if let Err(error) = end {
                failed = Some(error.context(format!("pernet's half at n = {n}")));
            }
        }
    }
    if !args.json {
        report::print(&rows, false, NOTE)?;
    }
    failed.map_or(Ok(()), Err)
}

/// Keeps the rows, and prints them at once where lines are wanted: a run cut short has then said what it knew.
pub(crate) fn keep(made: Vec<Row>, json: bool, rows: &mut Vec<Row>) -> Result<()> {
    if json {
        report::print(&made, true, "")?;
    }
    rows.extend(made);
    Ok(())
}

/// The kernel's half at `asked` or the largest feasible number below, always with a row that says so.
fn kernel_half(asked: u64, budget: u64, measured: &[Row]) -> Vec<Row> {
    let before: Vec<Row> = measured.iter().filter(|row| row.side == Side::Kernel).cloned().collect();
    let Fit { n, why } = limits::fit(asked, budget as f64, &before);
    let mut rows = Vec::new();
    if let Some(why) = why {
        rows.push(Row::capped(Side::Kernel, asked, n, why));
    }
    if n == 0 || before.iter().any(|row| row.n == n && row.what == "create") {
        return rows;
    }
    // The prediction may be wrong by some; what takes twice the budget is stopped.
    let (made, end) = child::half(Side::Kernel, What::Core, n, Duration::from_secs(budget.saturating_mul(2).max(30)));
    rows.extend(made);
    if let Err(error) = end {
        let error = anyhow!(error).context("the kernel's half is incomplete");
        rows.push(Row::capped(Side::Kernel, asked, n, format!("{error:#}")));
    }
    rows
}
