//! Two threads creating at once: as many together as one made alone, and how much sooner they are done.
//!
//! The process is started with [`KEEP`]: glibc gives each thread a heap of its own, grows it page by page with `mprotect` and
//! gives it back when it is empty, all of it under one lock of the kernel. That would be most of the time, and none of ours.

use crate::measure::{self, median, rounded, us_each};
use crate::row::Row;
use crate::system::{System, Teardown};
use anyhow::{Result, anyhow};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// For `GLIBC_TUNABLES`: heaps are had whole, and kept.
pub(crate) const KEEP: &str = "glibc.malloc.top_pad=66000000:glibc.malloc.trim_threshold=9000000000";

/// `other` is a second system of the same kind, where there can be one.
pub(super) fn measure<S: System>(system: &S, other: Option<&S>, n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    let rounds = measure::rounds(n).clamp(9, 15);
    let mut ways = vec![("create_1_thread", vec![system]), ("create_2_threads", vec![system, system])];
    // What two threads can do at all that share nothing but the machine and its allocator.
    ways.extend(other.map(|other| ("create_2_apart", vec![system, other])));
    let mut times = vec![Vec::new(); ways.len()];
    // Once unmeasured, so that no round finds memory fresher than the others.
    for round in 0..=rounds {
        // In turn, so that whatever else the machine does falls on all.
        for ((_, systems), times) in ways.iter().zip(&mut times) {
            let threads = systems.len() as u64;
            let each = n.div_ceil(threads);
            let took = together(systems, each)?;
            if round > 0 {
                times.push(us_each(took, each * threads));
            }
        }
    }
    let medians: Vec<f64> = times.iter().map(|times| median(times)).collect();
    let one = medians.first().copied().unwrap_or_default();
    for ((what, _), us) in ways.iter().zip(medians) {
        emit(Row {
            us_each: Some(rounded(us, 2)),
            speedup: Some(rounded(one / us, 2)),
            rounds: Some(rounds as u64),
            ..Row::new(S::SIDE, what, n)
        });
    }
    Ok(())
}

/// How long a thread for each of `systems` needs to make `each` namespaces there, from the moment at which all are ready.
fn together<S: System>(systems: &[&S], each: u64) -> Result<Duration> {
    let ready = Barrier::new(systems.len() + 1);
    let make = &|system: &S| {
        ready.wait();
        let nets = system.make(each);
        (nets, Instant::now())
    };
    let (start, ends) = thread::scope(|scope| {
        let makers: Vec<_> = systems.iter().map(|system| scope.spawn(move || make(system))).collect();
        // Read before the barrier opens: afterwards a maker may be at work before this thread is.
        let start = Instant::now();
        ready.wait();
        (start, makers.into_iter().map(|maker| maker.join()).collect::<Vec<_>>())
    });
    let (mut last, mut nets) = (start, Vec::new());
    for end in ends {
        let (made, end) = end.map_err(|_| anyhow!("a thread that creates panicked"))?;
        last = last.max(end);
        nets.extend(made?);
    }
    // All at once: in the kernel, gone is when nobody else is left. Another system has seen its own die by then.
    let mut systems = systems.iter();
    if let Some(first) = systems.next() {
        first.tear_down_unnamed(nets, Teardown::Workers(1))?;
    }
    systems.for_each(|system| system.settle());
    Ok(last.saturating_duration_since(start))
}
