//! Registering a subsystem when n namespaces live, while another thread creates and drops: how long it takes, and how
//! long the others were held up at most.

use super::read::Small;
use crate::measure::{median, rounded};
use crate::ours::World;
use crate::row::{Row, Side};
use crate::system::System;
use anyhow::{Result, anyhow};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// How often it is registered and unregistered again.
const ROUNDS: u64 = 5;

pub(super) fn ours(world: &World, n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    let nets = world.make(n)?;
    let worker = world.namespaces.spawn_worker();
    let (stop, created) = (AtomicBool::new(false), AtomicU64::new(0));
    let (registered, meanwhile) = thread::scope(|scope| {
        let creator = scope.spawn(|| {
            let mut times = Vec::new();
            while !stop.load(Ordering::Acquire) {
                let start = Instant::now();
                let net = world.create();
                times.push(start.elapsed().as_secs_f64() * 1e6);
                created.fetch_add(1, Ordering::Release);
                drop(net?);
            }
            Ok::<_, anyhow::Error>(times)
        });
        // Ends with an error too, and sets `stop` in any case: nobody is waited for in vain.
        let registered = (0..ROUNDS).map(|_| {
            let seen = created.load(Ordering::Acquire);
            while created.load(Ordering::Acquire) == seen && !creator.is_finished() {
                thread::yield_now();
            }
            let start = Instant::now();
            let key = world.namespaces.register_subsys(Small).map_err(|error| anyhow!("{error:?}"))?;
            let took = start.elapsed().as_secs_f64() * 1e3;
            world.namespaces.unregister(key);
            Ok(took)
        });
        let registered: Result<Vec<f64>> = registered.collect();
        stop.store(true, Ordering::Release);
        (registered, creator.join())
    });
    drop(worker);
    drop(nets);
    world.settle();
    let registered = registered?;
    let meanwhile = meanwhile.map_err(|_| anyhow!("the creator panicked"))??;
    let rounds = Some(ROUNDS);
    emit(Row { total_ms: Some(rounded(median(&registered), 2)), rounds, ..Row::new(Side::Pernet, "register_live", n) });
    emit(Row {
        us_each: Some(rounded(median(&meanwhile), 2)),
        us_max: meanwhile.iter().copied().max_by(f64::total_cmp).map(|us| rounded(us, 1)),
        rounds: Some(meanwhile.len() as u64),
        ..Row::new(Side::Pernet, "create_meanwhile", n)
    });
    Ok(())
}
