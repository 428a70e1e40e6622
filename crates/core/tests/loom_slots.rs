//! Every interleaving of a namespace's slots, by loom: a reader beside growth, and beside the reuse of an
//! index.
#![allow(dead_code, unreachable_pub, reason = "the test needs a part of the file")]

extern crate alloc;

#[path = "../src/slots.rs"]
mod slots;
#[path = "loom/sync.rs"]
mod sync;

use loom::sync::Arc;
use loom::thread;
use slots::{Slots, Tagged};
use sync::model;

/// The first index that is not in place, and one two chunks on.
const GROWN: [u32; 2] = [8, 40];

#[test]
fn a_reader_beside_growth() {
    model(2, || {
        let slots = Arc::new(Slots::default());
        slots.put(0, 1, Tagged::boxed(1, 10u32));
        let reader = thread::spawn({
            let slots = Arc::clone(&slots);
            move || {
                // The later first: who sees it sees the earlier too.
                let later = slots.get::<u32>(GROWN[1], 3).copied();
                let earlier = slots.get::<u32>(GROWN[0], 2).copied();
                assert!(later.is_none_or(|value| value == 30) && earlier.is_none_or(|value| value == 20));
                assert!(later.is_none() || earlier.is_some());
                assert_eq!(slots.get::<u32>(0, 1), Some(&10), "what was there is there");
            }
        });
        slots.put(GROWN[0], 2, Tagged::boxed(2, 20u32));
        slots.put(GROWN[1], 3, Tagged::boxed(3, 30u32));
        reader.join().unwrap();
        assert_eq!((slots.get::<u32>(GROWN[0], 2), slots.get::<u32>(GROWN[1], 3)), (Some(&20), Some(&30)));
    });
}

/// An index changes owners twice. Each key finds its own value or none, a value that was there before the
/// reader is found, and a borrow outlives its registration.
#[test]
fn a_reader_beside_reuse() {
    model(2, || {
        let slots = Arc::new(Slots::default());
        slots.put(0, 1, Tagged::boxed(1, 10u32));
        slots.put(0, 2, Tagged::boxed(2, 20u32));
        let reader = thread::spawn({
            let slots = Arc::clone(&slots);
            move || {
                assert_eq!(slots.get::<u32>(0, 2), Some(&20), "was there before, whatever is added");
                let first = slots.get::<u32>(0, 1);
                assert!(first.is_none_or(|value| *value == 10));
                if slots.get::<u32>(0, 3).is_some_and(|value| *value == 30) {
                    assert!(slots.get::<u32>(0, 1).is_none(), "retired before its successor came");
                }
                // Another type under the same index.
                assert!(slots.get::<u64>(0, 4).is_none_or(|value| *value == 40));
                assert!(first.is_none_or(|value| *value == 10), "a borrow outlives the registration");
            }
        });
        slots.tagged::<u32>(0, 1).unwrap().retire();
        slots.put(0, 3, Tagged::boxed(3, 30u32));
        slots.put(0, 4, Tagged::boxed(4, 40u64));
        reader.join().unwrap();
        assert_eq!((slots.get::<u32>(0, 1), slots.get::<u64>(0, 4)), (None, Some(&40)));
    });
}
