//! Numbers that nobody foresees, for addresses and delays; not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A stream of numbers, different in every stack.
#[derive(Debug)]
pub(crate) struct Random {
    keys: RandomState,
    drawn: u64,
}

impl Default for Random {
    fn default() -> Self {
        Self { keys: RandomState::new(), drawn: 0 }
    }
}

impl Random {
    /// The next one.
    pub(super) fn next(&mut self) -> u64 {
        let mut hasher = self.keys.build_hasher();
        hasher.write_u64(self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        hasher.finish()
    }
}
