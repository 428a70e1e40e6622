//! Reading a namespace's data by its key: alone, and while another thread reads the same.

use crate::measure::{median, rounded};
use crate::ours::World;
use crate::row::{Row, Side};
use crate::system::System;
use anyhow::{Result, anyhow};
use pernet::{InitError, Key, Net, NetRef, Subsystem};
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

/// In how many parts the reads are timed.
const PARTS: usize = 101;
/// How many reads in each.
const READS: u32 = 20_000;

/// Something small of which every namespace has its own.
pub(crate) struct Small;

impl Subsystem for Small {
    const NAME: &'static str = "small";
    type State = u64;

    fn init(&self, net: &Net) -> Result<u64, InitError> {
        Ok(net.cookie().get())
    }
}

pub(super) fn ours(world: &World, other: &World, emit: &mut impl FnMut(Row)) -> Result<()> {
    let register = |world: &World| -> Result<_> {
        let key = world.namespaces.register_subsys(Small).map_err(|error| anyhow!("{error:?}"))?;
        Ok((world.create()?, key))
    };
    let (here, there) = (register(world)?, register(other)?);
    // The last shares nothing but the machine, whose threads may be two of one core: what it loses, the machine takes.
    let ways = [("read", vec![&here]), ("read_2_threads", vec![&here, &here]), ("read_2_apart", vec![&here, &there])];
    for (what, readers) in ways {
        let ready = Barrier::new(readers.len());
        let read = &|(net, key): &(NetRef, Key<Small>)| {
            ready.wait();
            parts(net, *key)
        };
        let times = thread::scope(|scope| {
            let readers: Vec<_> = readers.into_iter().map(|reader| scope.spawn(move || read(reader))).collect();
            readers.into_iter().map(|reader| reader.join()).collect::<Vec<_>>()
        });
        let mut all = Vec::new();
        for times in times {
            all.extend(times.map_err(|_| anyhow!("a reader panicked"))?);
        }
        let rounds = Some(all.len() as u64);
        emit(Row { ns_each: Some(rounded(median(&all), 2)), rounds, ..Row::new(Side::Pernet, what, 1) });
    }
    Ok(())
}

/// Nanoseconds for each read, part by part.
fn parts(net: &Net, key: Key<Small>) -> Vec<f64> {
    (0..PARTS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..READS {
                // As a caller that does not know what it read before.
                black_box(black_box(net).get(black_box(key)));
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(READS)
        })
        .collect()
}
