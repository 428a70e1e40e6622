//! Many torn down at once: unnamed, and named by one observer; by one worker and by more.

use crate::measure::{median, rounded};
use crate::row::Row;
use crate::system::{Observer, System, Teardown};
use anyhow::Result;

const ROUNDS: usize = 3;

pub(super) fn measure<S: System>(system: &S, n: u64, workers: &[usize], emit: &mut impl FnMut(Row)) -> Result<()> {
    for &workers in workers {
        for (what, named) in [("crowd_unnamed", false), ("crowd_named", true)] {
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                let mut observer = system.observe(system.make(n)?)?;
                if named {
                    observer.name_all()?;
                }
                let (nets, stand) = observer.close();
                times.push(system.tear_down(nets, Teardown::Workers(workers))?.as_secs_f64() * 1e6);
                drop(stand);
                system.settle();
            }
            let what = if workers == 1 { what.to_owned() } else { format!("{what}_{workers}") };
            let total = median(&times);
            emit(Row {
                us_each: Some(rounded(total / n as f64, 2)),
                total_ms: Some(rounded(total / 1e3, 3)),
                rounds: Some(ROUNDS as u64),
                ..Row::new(S::SIDE, &what, n)
            });
        }
    }
    Ok(())
}
