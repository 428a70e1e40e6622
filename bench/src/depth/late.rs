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
use std::time::{Duration, Instant};

/// How often it is registered and unregistered again.
const ROUNDS: u64 = 5;

pub(super) fn ours(world: &World, n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    let nets = world.make(n)?;
    let worker = world.namespaces.spawn_worker();
    let registering = beside(world, || {
        let start = Instant::now();
        let key = world.namespaces.register_subsys(Small).map_err(|error| anyhow!("{error:?}"))?;
        let took = start.elapsed();
        world.namespaces.unregister(key);
        Ok(took)
    });
    // The machine has fewer processors than there are threads here: what a creation waits for is its turn. So the same
    // once more, beside a thread that only keeps a processor busy for as long.
    let longest =
        registering.as_ref().map_or(Duration::ZERO, |(took, _)| took.iter().copied().max().unwrap_or_default());
    let busy = beside(world, || {
        let start = Instant::now();
        while start.elapsed() < 2 * longest {
            std::hint::spin_loop();
        }
        Ok(longest)
    });
    drop(worker);
    drop(nets);
    world.settle();
    let (registered, meanwhile) = registering?;
    let registered: Vec<f64> = registered.iter().map(|took| took.as_secs_f64() * 1e3).collect();
    let rounds = Some(ROUNDS);
    emit(Row { total_ms: Some(rounded(median(&registered), 2)), rounds, ..Row::new(Side::Pernet, "register_live", n) });
    emit(creations("create_meanwhile", n, &meanwhile));
    emit(creations("create_beside_busy", n, &busy?.1));
    Ok(())
}

fn creations(what: &str, n: u64, times: &[f64]) -> Row {
    Row {
        us_each: Some(rounded(median(times), 2)),
        us_max: times.iter().copied().max_by(f64::total_cmp).map(|us| rounded(us, 1)),
        rounds: Some(times.len() as u64),
        ..Row::new(Side::Pernet, what, n)
    }
}

/// How long `work` took each time, and every creation of another thread meanwhile, in µs.
fn beside(world: &World, mut work: impl FnMut() -> Result<Duration>) -> Result<(Vec<Duration>, Vec<f64>)> {
    let (stop, created) = (AtomicBool::new(false), AtomicU64::new(0));
    let (took, meanwhile) = thread::scope(|scope| {
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
        let took: Result<Vec<Duration>> = (0..ROUNDS)
            .map(|_| {
                let seen = created.load(Ordering::Acquire);
                while created.load(Ordering::Acquire) == seen && !creator.is_finished() {
                    thread::yield_now();
                }
                work()
            })
            .collect();
        stop.store(true, Ordering::Release);
        (took, creator.join())
    });
    Ok((took?, meanwhile.map_err(|_| anyhow!("the creator panicked"))??))
}
