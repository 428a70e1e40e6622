//! Every interleaving of registration and round over one namespace, by loom: one of them has it at a time,
//! and a death that was put off is not lost.
#![allow(dead_code, unreachable_pub, reason = "the test needs a part of the file")]

#[path = "../src/life.rs"]
mod life;
#[path = "loom/sync.rs"]
mod sync;

use life::{Life, Unlist};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use sync::{AtomicBool, AtomicU32, Ordering, model};

/// A namespace: what callbacks write without further ado, because only one has it in hand. Loom reports
/// it if two have.
struct Net {
    life: Life,
    state: UnsafeCell<()>,
    callbacks: AtomicU32,
    /// The death queue, as far as this one is concerned.
    queued: AtomicBool,
}

impl Net {
    fn listed() -> Arc<Self> {
        let net = Self {
            life: Life::building(),
            state: UnsafeCell::new(()),
            callbacks: AtomicU32::new(0),
            queued: AtomicBool::new(false),
        };
        net.life.publish();
        Arc::new(net)
    }

    fn callback(&self) {
        self.state.with_mut(|_| self.callbacks.fetch_add(1, Ordering::Relaxed));
    }

    /// How many there have been, by somebody who must not be beside one.
    fn callbacks(&self) -> u32 {
        self.state.with(|_| self.callbacks.load(Ordering::Relaxed))
    }

    /// A registration's walk comes by.
    fn change(&self) -> bool {
        let begun = self.life.begin_change();
        if begun {
            self.callback();
            if self.life.end_change() {
                // By an exchange, as everything that is done to the queue.
                self.queued.swap(true, Ordering::AcqRel);
            }
        }
        begun
    }

    /// A round that has found it in the queue.
    fn round(&self) -> bool {
        let taken = self.life.unlist() == Unlist::Taken;
        if taken {
            assert!(!self.life.is_listed());
            self.callback();
        }
        taken
    }
}

#[test]
fn one_has_it_and_no_death_is_lost() {
    model(4, || {
        let net = Net::listed();
        let registration = thread::spawn({
            let net = Arc::clone(&net);
            // Two callbacks, one after the other.
            move || usize::from(net.change()) + usize::from(net.change())
        });
        // It is dead and was queued; the round takes it, or leaves word.
        let mut rounds = usize::from(net.round());
        let changes = registration.join().unwrap();
        if rounds == 0 {
            assert!(net.queued.load(Ordering::Acquire), "put off, so queued again");
            rounds += usize::from(net.round());
        } else {
            assert!(!net.queued.load(Ordering::Acquire), "queued again though nobody put it off");
        }
        assert_eq!(rounds, 1);
        assert!(!net.change(), "a round's is nobody else's");
        assert_eq!(net.callbacks() as usize, rounds + changes);
    });
}

/// The round does not come back by chance, but through the queue that the registration puts it in.
#[test]
fn a_round_meets_it_again_through_the_queue() {
    model(4, || {
        let net = Net::listed();
        net.queued.store(true, Ordering::Release);
        let rounds: Vec<_> = (0..2)
            .map(|_| {
                let net = Arc::clone(&net);
                thread::spawn(move || net.queued.swap(false, Ordering::AcqRel) && net.round())
            })
            .collect();
        let changed = net.change();
        let rounds: Vec<bool> = rounds.into_iter().map(|round| round.join().unwrap()).collect();
        let late = net.queued.swap(false, Ordering::AcqRel) && net.round();
        let taken = rounds.into_iter().filter(|taken| *taken).count() + usize::from(late);
        assert_eq!(taken, 1, "by one of them, once");
        assert_eq!(net.callbacks() as usize, 1 + usize::from(changed));
    });
}

/// Whoever sees it listed sees what its creator built.
#[test]
fn listed_means_built() {
    model(3, || {
        let net = Arc::new(Net {
            life: Life::building(),
            state: UnsafeCell::new(()),
            callbacks: AtomicU32::new(0),
            queued: AtomicBool::new(false),
        });
        let creator = thread::spawn({
            let net = Arc::clone(&net);
            move || {
                net.callback();
                net.life.publish();
            }
        });
        if net.life.is_listed() {
            assert_eq!(net.callbacks(), 1);
        }
        let changed = net.change();
        creator.join().unwrap();
        assert_eq!(net.callbacks(), 1 + u32::from(changed));
    });
}
