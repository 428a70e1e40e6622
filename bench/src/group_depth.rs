//! Group `depth`: what the table of `core` does not tell, see [`crate::depth`] for what is asked.
//!
//! Every part is asked in a process of its own at every size, as the halves of `core` are.

use crate::child::{self, What};
use crate::depth::{self, Part};
use crate::group_core::{DEADLINE, NOTE, keep};
use crate::limits::{self, Fit};
use crate::report;
use crate::row::{Row, Side};
use anyhow::Result;
use std::time::Duration;

/// Arguments of `depth`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// No more namespaces than this, where a part would take more.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    at_most: u64,
    /// These parts only.
    #[arg(long, value_enum, value_delimiter = ',')]
    part: Vec<Part>,
    /// How many seconds the kernel may take for one part at one size.
    #[arg(long, default_value_t = 120)]
    budget: u64,
    /// Measure one side only.
    #[arg(long, value_enum)]
    only: Option<Side>,
}

/// Measures and reports.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut rows = Vec::new();
    let mut failed = None;
    let mut refused = args.only == Some(Side::Pernet);
    for part in Part::ALL.into_iter().filter(|part| args.part.is_empty() || args.part.contains(part)) {
        for n in sizes(part.kernel_sizes(), args.at_most) {
            if refused {
                break;
            }
            let (made, why) = kernel(part, n, args.budget);
            refused = why == Kernel::Refused;
            keep(made, args.json, &mut rows)?;
        }
        for n in sizes(part.our_sizes(), args.at_most) {
            if args.only == Some(Side::Kernel) {
                break;
            }
            let (made, end) = child::half(Side::Pernet, What::Depth(part), n, DEADLINE);
            keep(made, args.json, &mut rows)?;
            if let Err(error) = end {
                failed = Some(error.context(format!("pernet's part {part} at n = {n}")));
            }
        }
    }
    if !args.json {
        report::print(&rows, false, NOTE)?;
    }
    failed.map_or(Ok(()), Err)
}

/// `sizes`, none above `most` and each once.
fn sizes(sizes: &[u64], most: u64) -> Vec<u64> {
    let mut sizes: Vec<u64> = sizes.iter().map(|n| *n.min(&most)).collect();
    sizes.dedup();
    sizes
}

/// How the kernel's half went.
#[derive(PartialEq, Eq)]
enum Kernel {
    /// There are rows, perhaps not all.
    Asked,
    /// This machine lets nobody make namespaces: there is no point in asking again.
    Refused,
}

fn kernel(part: Part, n: u64, budget: u64) -> (Vec<Row>, Kernel) {
    let need = depth::most(part, n);
    if let Fit { n: can, why: Some(why) } = limits::fit(need, budget as f64, &[])
        && can < need
    {
        return (vec![Row::capped(Side::Kernel, n, 0, format!("{part}: {why}"))], Kernel::Asked);
    }
    // The prediction may be wrong by some; what takes twice the budget is stopped.
    let deadline = Duration::from_secs(budget.saturating_mul(2).max(30));
    let (mut rows, end) = child::half(Side::Kernel, What::Depth(part), n, deadline);
    let refused = rows.iter().any(|row| row.what == "capped" && row.n == 0);
    if let Err(error) = end {
        rows.push(Row::capped(Side::Kernel, n, n, format!("the kernel's part {part} is incomplete: {error:#}")));
    }
    (rows, if refused { Kernel::Refused } else { Kernel::Asked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_cut_and_asked_once() {
        assert_eq!(sizes(&[10, 1000, 100_000], 500), [10, 500]);
        assert_eq!(sizes(&[10, 1000], 1_000_000), [10, 1000]);
        assert_eq!(sizes(&[], 1), Vec::<u64>::new());
    }

    #[test]
    fn what_this_machine_cannot_hold_is_said_and_not_tried() {
        let (rows, end) = kernel(Part::Alive, 1_000_000_000, 1);
        assert!(end == Kernel::Asked);
        assert_eq!((rows.len(), rows[0].what.as_str(), rows[0].n), (1, "capped", 0));
        assert!(rows[0].reason.as_ref().is_some_and(|why| why.contains("alive")));
    }
}
