//! Numbers that nobody foresees, for addresses, ports, sequence numbers and delays; not for secrets.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A stream of numbers: different in every stack, or the same in each that has the same seed.
#[derive(Debug)]
pub(crate) struct Random {
    keys: Keys,
    drawn: AtomicU64,
}

#[derive(Debug)]
enum Keys {
    System(RandomState),
    Seed(u64),
}

impl Random {
    /// Numbers that follow from `seed`, or that nobody foresees.
    pub(super) fn new(seed: Option<u64>) -> Self {
        let keys = seed.map_or_else(|| Keys::System(RandomState::new()), Keys::Seed);
        Self { keys, drawn: AtomicU64::new(0) }
    }

    /// Whether they follow from a seed.
    pub(super) const fn is_seeded(&self) -> bool {
        matches!(self.keys, Keys::Seed(_))
    }

    /// The next one.
    pub(super) fn next(&self) -> u64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        match &self.keys {
            Keys::System(keys) => keys.hash_one(drawn),
            // SplitMix64.
            Keys::Seed(seed) => {
                let mix = |n: u64, shift: u32, by: u64| (n ^ n >> shift).wrapping_mul(by);
                let n = seed.wrapping_add(drawn.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let n = mix(mix(n, 30, 0xbf58_476d_1ce4_e5b9), 27, 0x94d0_49bb_1331_11eb);
                n ^ n >> 31
            }
        }
    }
}
