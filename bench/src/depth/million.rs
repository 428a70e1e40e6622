//! A million namespaces (or as many as asked): created, each named by one observer, dumped whole, torn down.

use crate::measure::{self, rounded, us_each};
use crate::ours::World;
use crate::row::{Row, Side};
use crate::system::{Observer, System, Teardown};
use anyhow::{Result, ensure};
use std::time::Duration;

/// This process must have done nothing else: its peak is what is told.
pub(super) fn ours(world: &World, n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    let mut total = Duration::ZERO;
    let mut stage = |what: &str, took: Duration| {
        total += took;
        let total_ms = Some(rounded(took.as_secs_f64() * 1e3, 1));
        emit(Row { us_each: Some(rounded(us_each(took, n), 2)), total_ms, ..Row::new(Side::Pernet, what, n) });
    };
    let (took, nets) = measure::timed(|| world.make(n))?;
    stage("million_create", took);
    let mut observer = world.observe(nets)?;
    let (took, ()) = measure::timed(|| observer.name_all())?;
    stage("million_name", took);
    let (took, seen) = measure::timed(|| observer.dump())?;
    ensure!(seen == n, "the dump showed {seen} of {n}");
    stage("million_dump", took);
    let (nets, stand) = observer.close();
    stage("million_teardown", world.tear_down(nets, Teardown::Workers(1))?);
    drop(stand);
    emit(Row {
        total_ms: Some(rounded(total.as_secs_f64() * 1e3, 0)),
        peak_mib: Some(rounded(measure::own_peak_kib()? as f64 / 1024.0, 0)),
        ..Row::new(Side::Pernet, "million", n)
    });
    Ok(())
}
