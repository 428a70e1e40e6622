//! The death of a namespace that one of n observers knows: what the name costs then.

use crate::measure::{self, median, rounded};
use crate::ours::World;
use crate::row::{Row, Side};
use crate::system::System;
use anyhow::{Context, Result};
use pernet::NetRef;
use std::time::Instant;

/// How many die of each kind.
const DEATHS: u64 = 2000;

/// `n` observers, each of which knows someone.
pub(crate) fn observers(world: &World, n: u64) -> Result<Vec<NetRef>> {
    let observers = world.make(n)?;
    let init = world.namespaces.init_net();
    for observer in &observers {
        observer.peernet2id_alloc(&init).context("naming the initial namespace")?;
    }
    Ok(observers)
}

pub(super) fn ours(world: &World, n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    let observers = observers(world, n)?;
    let mut times = [Vec::new(), Vec::new()];
    for at in measure::scattered(observers.len(), usize::try_from(DEATHS)?) {
        // In turn, so that whatever else the machine does falls on both.
        for (named, times) in [false, true].into_iter().zip(&mut times) {
            let net = world.create()?;
            if named {
                observers[at].peernet2id_alloc(&net).context("naming it")?;
            }
            let start = Instant::now();
            drop(net);
            world.settle();
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    let [unnamed, known] = times.map(|times| median(&times));
    for (what, us) in [("death_unnamed", unnamed), ("death_known", known), ("death_naming", known - unnamed)] {
        let rounds = Some(DEATHS);
        emit(Row { us_each: Some(rounded(us, 2)), rounds, ..Row::new(Side::Pernet, what, n) });
    }
    Ok(())
}
