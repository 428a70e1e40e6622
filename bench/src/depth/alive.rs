//! What one more namespace costs when n are alive already, and what an idle one holds.

use crate::measure::{self, median, rounded, us_each};
use crate::row::Row;
use crate::system::{System, Teardown};
use anyhow::Result;

/// How often some more are made.
const BATCHES: usize = 9;

/// How many more each time: enough for the clock, few beside those that are alive.
pub(crate) fn batch(n: u64) -> u64 {
    (n / 50).clamp(1, 500)
}

pub(super) fn measure<S: System>(system: &S, n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    let before = system.memory_kib()?;
    let mut nets = system.make(n)?;
    let used = system.memory_kib()?.saturating_sub(before);
    let more = batch(n);
    let mut times = Vec::new();
    for _ in 0..BATCHES {
        let (took, made) = measure::timed(|| system.make(more))?;
        times.push(us_each(took, more));
        // They stay, so that memory is as fresh for each as it was for the first.
        nets.extend(made);
    }
    let rounds = Some(BATCHES as u64);
    emit(Row { us_each: Some(rounded(median(&times), 2)), rounds, ..Row::new(S::SIDE, "create_at", n) });
    emit(Row { kib_each: Some(rounded(used as f64 / n as f64, 2)), ..Row::new(S::SIDE, "idle", n) });
    system.tear_down_unnamed(nets, Teardown::Workers(1))?;
    Ok(())
}

/// How many are alive in the end, for those who reckon with memory and descriptors.
pub(crate) fn most(n: u64) -> u64 {
    n + batch(n) * BATCHES as u64
}
