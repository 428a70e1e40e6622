//! Every interleaving of the active count's operations, by loom.
//!
//! The file under test is compiled here once more with loom's atomics underneath.

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../src/refs/sticky.rs"]
mod sticky;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use sticky::StickyCount;

/// All schedules with up to three preemptions, which is where such counters break if they do; the
/// unbounded search takes minutes and finds nothing more.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

/// The creator drops, one thread tries to get and drops, one only looks.
#[test]
fn exactly_one_burial_and_no_reference_after_zero() {
    model(|| {
        let count = Arc::new(StickyCount::one());
        let burials = Arc::new(AtomicUsize::new(0));
        let taker = thread::spawn({
            let (count, burials) = (Arc::clone(&count), Arc::clone(&burials));
            move || {
                if count.try_get() {
                    assert!(!count.is_zero() && count.units() > 0, "a holder sees it alive");
                    if count.put() {
                        burials.fetch_add(1, Ordering::Relaxed);
                    }
                } else {
                    assert!(count.is_zero());
                }
            }
        });
        let looker = thread::spawn({
            let count = Arc::clone(&count);
            move || {
                if count.is_zero() {
                    assert!(!count.try_get(), "zero is final");
                    assert!(count.is_zero());
                }
            }
        });
        if count.put() {
            burials.fetch_add(1, Ordering::Relaxed);
        }
        taker.join().unwrap();
        looker.join().unwrap();
        assert_eq!(burials.load(Ordering::Relaxed), 1);
        assert!(count.is_zero());
        assert!(!count.try_get());
    });
}

/// Two references dropped at once while a third party tries twice.
#[test]
fn concurrent_puts_bury_once() {
    model(|| {
        let count = Arc::new(StickyCount::one());
        count.get();
        let put = {
            let count = Arc::clone(&count);
            thread::spawn(move || usize::from(count.put()))
        };
        let tries = {
            let count = Arc::clone(&count);
            thread::spawn(move || if count.try_get() { usize::from(count.put()) } else { 0 })
        };
        let mine = usize::from(count.put());
        assert_eq!(mine + put.join().unwrap() + tries.join().unwrap(), 1);
        assert!(count.is_zero());
    });
}

/// A reference wrongly taken from a dead count, while its death is being made official, neither
/// revives it nor, when put back, damages the flag.
#[test]
fn a_wrong_get_is_harmless_in_every_order() {
    model(|| {
        let count = Arc::new(StickyCount::one());
        let wrong = thread::spawn({
            let count = Arc::clone(&count);
            move || {
                if count.is_zero() {
                    count.get();
                    assert!(!count.try_get());
                    return usize::from(count.put());
                }
                0
            }
        });
        let buried = usize::from(count.put());
        assert_eq!(buried + wrong.join().unwrap(), 1);
        assert!(count.is_zero() && !count.try_get());
    });
}
