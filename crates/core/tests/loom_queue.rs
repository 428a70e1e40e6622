//! Every interleaving of the death queue, by loom: nobody is lost or met twice, and there is one alarm for
//! each filling.
#![allow(dead_code, unreachable_pub, reason = "the test needs a part of the file")]

#[path = "../src/queue.rs"]
mod queue;
#[path = "loom/sync.rs"]
mod sync;

use loom::sync::Arc;
use loom::thread;
use queue::{DeathQueue, END};
use sync::{AtomicU64, Ordering, model};

/// What a namespace has of the queue's, by number.
struct Nets {
    queue: DeathQueue,
    links: [AtomicU64; 4],
}

impl Nets {
    fn new() -> Arc<Self> {
        Arc::new(Self { queue: DeathQueue::new(), links: [0; 4].map(AtomicU64::new) })
    }

    fn push(&self, at: u64) -> usize {
        usize::from(self.queue.push(at, &self.links[at as usize]))
    }

    /// Everybody in the queue, oldest first.
    fn take(&self) -> Vec<u64> {
        let mut taken = Vec::new();
        let mut at = self.queue.take();
        while at != END {
            taken.push(at);
            at = self.links[at as usize].load(Ordering::Relaxed);
        }
        taken.reverse();
        taken
    }
}

#[test]
fn nobody_is_lost_and_each_filling_is_told_once() {
    model(3, || {
        let nets = Nets::new();
        let first = thread::spawn({
            let nets = Arc::clone(&nets);
            move || nets.push(1) + nets.push(2)
        });
        let second = thread::spawn({
            let nets = Arc::clone(&nets);
            move || nets.push(3)
        });
        let mut takes = vec![nets.take(), nets.take()];
        let alarms = first.join().unwrap() + second.join().unwrap();
        takes.push(nets.take());
        assert!(nets.queue.is_empty());
        let fillings = takes.iter().filter(|take| !take.is_empty()).count();
        assert_eq!(alarms, fillings);
        let all: Vec<u64> = takes.concat();
        let place = |at| all.iter().position(|met| *met == at);
        assert!(place(1) < place(2), "first in, first out: {all:?}");
        let mut all = all;
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
    });
}

/// Whoever was told to raise the alarm, raises it for somebody who then finds work.
#[test]
fn an_alarm_finds_work_or_somebody_was_faster() {
    model(3, || {
        let nets = Nets::new();
        let takers: Vec<_> = (1..3)
            .map(|at| {
                let nets = Arc::clone(&nets);
                thread::spawn(move || {
                    let alarm = nets.push(at);
                    let seen = !nets.queue.is_empty();
                    let took = nets.take();
                    assert!(seen || !took.is_empty() || alarm <= 1);
                    (alarm, took)
                })
            })
            .collect();
        let results: Vec<_> = takers.into_iter().map(|taker| taker.join().unwrap()).collect();
        let mut all: Vec<u64> = results.iter().flat_map(|(_, took)| took.clone()).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 2], "each takes after it has pushed: nothing can be left");
        let fillings = results.iter().filter(|(_, took)| !took.is_empty()).count();
        assert_eq!(results.iter().map(|(alarm, _)| alarm).sum::<usize>(), fillings);
    });
}
