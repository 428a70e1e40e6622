//! Group `control`: configuring links and routes, see [`crate::control`] for what is asked.
//!
//! What the ratios say and what not: in process, pernet is a library and the kernel is asked by system calls, as in `core`.
//! By `ip`, both are asked by the same program; pernet then pays for being outside of it.

use crate::child::{self, What};
use crate::control::Part;
use crate::group_core::{DEADLINE, NOTE, keep};
use crate::report;
use crate::row::{Row, Side};
use anyhow::Result;
use std::time::Duration;

/// Arguments of `control`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// How many pairs of veth.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pairs: u64,
    /// How many routes.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    routes: u64,
    /// These parts only.
    #[arg(long, value_enum, value_delimiter = ',')]
    part: Vec<Part>,
    /// Measure one side only.
    #[arg(long, value_enum)]
    only: Option<Side>,
}

/// How long the kernel may take for one part; only a hang takes so long.
const PATIENCE: Duration = Duration::from_secs(240);

/// Measures and reports.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut rows = Vec::new();
    let mut failed = None;
    for part in Part::ALL.into_iter().filter(|part| args.part.is_empty() || args.part.contains(part)) {
        let n = if part == Part::Route { args.routes } else { args.pairs };
        // Pernet first: the kernel goes on taking its devices apart when its half is over.
        for (side, deadline) in [(Side::Pernet, DEADLINE), (Side::Kernel, PATIENCE)] {
            if args.only.is_some_and(|only| only != side) {
                continue;
            }
            let (made, end) = child::half(side, What::Control(part), n, deadline);
            keep(made, args.json, &mut rows)?;
            match (side, end) {
                (_, Ok(())) => {}
                (Side::Kernel, Err(error)) => {
                    let why = format!("the kernel's part {part} is incomplete: {error:#}");
                    keep(vec![Row::capped(side, n, n, why)], args.json, &mut rows)?;
                }
                (Side::Pernet, Err(error)) => {
                    failed = Some(error.context(format!("pernet's part {part} at n = {n}")));
                }
            }
        }
    }
    if !args.json {
        report::print(&rows, false, NOTE)?;
    }
    failed.map_or(Ok(()), Err)
}
