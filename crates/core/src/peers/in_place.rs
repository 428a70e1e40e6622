//! The back-reference that stands in place: two words, written under a lock and read without one.
//!
//! A reader cannot miss an entry: it stays where it was put for as long as both namespaces live,
//! and whoever asks holds both. It cannot mix two entries up either. The place is emptied only when
//! its observer is forgotten, and a cookie never comes back, so if the place says our cookie before
//! and after the id was read, then the id is ours. `tests/loom_in_place.rs` runs every interleaving.

use crate::sync::{AtomicU64, Ordering};

/// No namespace has this cookie.
const NOBODY: u64 = 0;
/// In `word`: there are further entries elsewhere. The id has the lower half.
const MORE: u64 = 1 << 63;

/// Both words lie in one cache line: an answer costs one miss.
#[derive(Default)]
#[repr(C, align(16))]
pub(super) struct InPlace {
    /// Cookie of the observer whose entry stands here.
    first: AtomicU64,
    /// Its id, and [`MORE`].
    word: AtomicU64,
}

/// Where an observer's entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// In place: the id.
    Here(u32),
    /// Elsewhere, if anywhere.
    Elsewhere,
    Nowhere,
}

impl InPlace {
    pub(super) fn look(&self, observer: u64) -> Seen {
        // Acquire: with the cookie comes the id, with the id whatever happened to the place before.
        if self.first.load(Ordering::Acquire) == observer {
            let word = self.word.load(Ordering::Acquire);
            if self.first.load(Ordering::Relaxed) == observer {
                return Seen::Here(word as u32);
            }
        }
        if self.word.load(Ordering::Acquire) & MORE == 0 { Seen::Nowhere } else { Seen::Elsewhere }
    }

    /// The place is empty. As the rest, under the lock.
    pub(super) fn put(&self, observer: u64, id: u32) {
        let word = self.word.load(Ordering::Relaxed);
        self.word.store(word & MORE | u64::from(id), Ordering::Release);
        self.first.store(observer, Ordering::Release);
    }

    /// Whether it was here.
    pub(super) fn forget(&self, observer: u64) -> bool {
        let here = self.first.load(Ordering::Relaxed) == observer;
        if here {
            self.first.store(NOBODY, Ordering::Release);
        }
        here
    }

    /// Whether there are further entries elsewhere; said while they are locked.
    pub(super) fn set_more(&self, more: bool) {
        let word = self.word.load(Ordering::Relaxed);
        self.word.store(if more { word | MORE } else { word & !MORE }, Ordering::Release);
    }

    /// Empties the place; the id that was there.
    pub(super) fn clear(&self) -> u32 {
        let word = self.word.load(Ordering::Relaxed);
        self.first.store(NOBODY, Ordering::Release);
        self.word.store(0, Ordering::Release);
        word as u32
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> (bool, bool) {
        let (first, word) = (self.first.load(Ordering::Relaxed), self.word.load(Ordering::Relaxed));
        (first != NOBODY, word & MORE != 0)
    }
}
