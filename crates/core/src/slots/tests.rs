//! Of `slots.rs`, and not in it: `tests/loom_*.rs` compile that file once more.

use crate::slots::{CHUNKS, INLINE, MAX_SLOTS, Slots, Tagged, locate};
use alloc::string::String;
use alloc::sync::Arc;

#[test]
fn chunks_cover_every_index_once() {
    let mut expected = (0, 0);
    for index in INLINE..INLINE << 6 {
        assert_eq!(locate(index), expected, "index {index}");
        expected.1 += 1;
        if expected.1 == INLINE << expected.0 {
            expected = (expected.0 + 1, 0);
        }
    }
    assert_eq!(locate(MAX_SLOTS as usize - 1).0, CHUNKS - 1);
}

#[test]
fn growth_keeps_older_slots_where_they_were() {
    let slots = Slots::default();
    let mut addresses = alloc::vec::Vec::new();
    for index in 0..100u32 {
        slots.put(index, u64::from(index) + 1, Tagged::boxed(u64::from(index) + 1, index));
        addresses.push(core::ptr::from_ref(slots.get::<u32>(index, u64::from(index) + 1).unwrap()));
    }
    for (index, address) in addresses.iter().enumerate() {
        let value = slots.get::<u32>(index as u32, index as u64 + 1).unwrap();
        assert_eq!((*value, core::ptr::from_ref(value)), (index as u32, *address));
    }
    assert!(slots.get::<u32>(100, 101).is_none());
    assert!(slots.get::<u32>(5000, 1).is_none());
}

#[test]
fn a_reused_index_is_neither_confused_nor_stale() {
    let slots = Slots::default();
    slots.put(3, 10, Tagged::boxed(10, 7u32));
    let old = slots.get::<u32>(3, 10).unwrap();
    slots.tagged::<u32>(3, 10).unwrap().retire();
    assert!(slots.get::<u32>(3, 10).is_none());
    slots.put(3, 11, Tagged::boxed(11, String::from("new type")));
    slots.put(3, 12, Tagged::boxed(12, 8u32));
    assert_eq!(*old, 7, "a borrow outlives the registration");
    assert_eq!(slots.get::<String>(3, 11).unwrap(), "new type");
    assert_eq!(slots.get::<u32>(3, 12), Some(&8));
    assert!(slots.get::<u32>(3, 10).is_none());
    assert!(slots.get::<u32>(3, 11).is_none());
}

#[test]
fn many_reloads_stay_findable_and_go_with_the_table() {
    const RELOADS: u64 = 10_000;
    let witness = Arc::new(());
    let slots = Slots::default();
    for id in 1..=RELOADS {
        slots.put(0, id, Tagged::boxed(id, (id, Arc::clone(&witness))));
    }
    for id in 1..=RELOADS {
        assert_eq!(slots.get::<(u64, Arc<()>)>(0, id).unwrap().0, id);
    }
    assert!(slots.get::<(u64, Arc<()>)>(0, RELOADS + 1).is_none());
    assert_eq!(Arc::strong_count(&witness), RELOADS as usize + 1);
    drop(slots);
    assert_eq!(Arc::strong_count(&witness), 1);
}
