//! From the last put until a single namespace is fully gone.

use crate::measure::{median, rounded};
use crate::ours::World;
use crate::row::{Row, Side};
use crate::system::System;
use anyhow::Result;
use std::time::Instant;

/// How often; the kernel needs about a quarter of a second for each, most of it for the pauses between them.
const TIMES: u64 = 20;
/// How often where it takes microseconds.
const MANY: u64 = 2000;

/// By whoever tears down in the background.
pub(super) fn measure<S: System>(system: &S, emit: &mut impl FnMut(Row)) -> Result<()> {
    let times = if S::SIDE == Side::Kernel { TIMES } else { MANY / 4 };
    emit(row::<S>("gone", &system.gone(times)?));
    Ok(())
}

/// By the embedder: the work of the drop and of its `step`.
pub(super) fn ours(world: &World, emit: &mut impl FnMut(Row)) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..MANY {
        let net = world.create()?;
        let start = Instant::now();
        drop(net);
        world.settle();
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    emit(row::<World>("gone_step", &times));
    Ok(())
}

fn row<S: System>(what: &str, times: &[f64]) -> Row {
    Row {
        us_each: Some(rounded(median(times), 2)),
        us_min: times.iter().copied().min_by(f64::total_cmp).map(|us| rounded(us, 2)),
        us_max: times.iter().copied().max_by(f64::total_cmp).map(|us| rounded(us, 2)),
        rounds: Some(times.len() as u64),
        ..Row::new(S::SIDE, what, 1)
    }
}
