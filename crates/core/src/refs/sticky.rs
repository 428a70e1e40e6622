//! A counter that, once zero, stays zero: wait-free, no compare-and-swap loop.
//!
//! Why not the obvious loop "load; if non-zero try to store +1; repeat": on a line that two cores
//! write, the loop retries, and the retries are what makes it slow (118 against 75 ns measured).
//! Here every operation is a bounded number of atomic instructions.
//!
//! The value carries two flags in its top bits:
//!
//! * `ZERO`: the count is officially zero, for ever. Whatever the low bits say no longer counts.
//! * `HELPED`: an observer, not the decrementer, made it official. Exactly one decrementer will
//!   see and clear this flag, and that one is told that it was the last.
//!
//! A decrement that takes the raw value from 1 to 0 has not killed the object yet: it still has to
//! exchange 0 for `ZERO`. An increment may slip in between; then the exchange fails, the object
//! lives on, and the slipped-in holder's own decrement decides. So nobody who was told "you have a
//! reference" ever sees the object die, and nobody after `ZERO` is told so.

use crate::sync::{AtomicU64, Ordering};

const ZERO: u64 = 1 << 63;
const HELPED: u64 = 1 << 62;

/// See the module text. Starts at 1: the creator's reference.
pub(crate) struct StickyCount(AtomicU64);

impl StickyCount {
    pub(crate) fn one() -> Self {
        Self(AtomicU64::new(1))
    }

    /// Unconditional +1: only for a caller who can prove that the count is not zero.
    ///
    /// `false` if the proof was wrong. The call is harmless then: a count with `ZERO` set does not
    /// come back, and the matching [`put`](Self::put) sees the flag and does nothing.
    pub(crate) fn get(&self) -> bool {
        // Relaxed: the caller's own reference already orders everything it may look at.
        self.0.fetch_add(1, Ordering::Relaxed) & ZERO == 0
    }

    /// +1 unless zero; `false` means zero, now and for ever.
    pub(crate) fn try_get(&self) -> bool {
        // After ZERO the added 1 is garbage in bits nobody reads; 2^62 failed attempts would be
        // needed to reach the flags.
        self.0.fetch_add(1, Ordering::Acquire) & ZERO == 0
    }

    /// −1. `true` is returned to exactly one caller in the life of the counter: the one who must
    /// bury the object.
    pub(crate) fn put(&self) -> bool {
        // Only a reference taken from a dead count by a wrong `get` can see the flag here: an
        // honest holder's own unit keeps the count above zero. Subtracting would eat the flag.
        if self.0.load(Ordering::Relaxed) & ZERO != 0 {
            return false;
        }
        // Release: what this holder did to the object happens before its burial.
        if self.0.fetch_sub(1, Ordering::AcqRel) != 1 {
            return false;
        }
        match self.0.compare_exchange(0, ZERO, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            // An observer made it official for us. The swap clears HELPED, so that of several
            // decrementers standing here only one is the last.
            Err(seen) if seen & HELPED != 0 => self.0.swap(ZERO, Ordering::AcqRel) & HELPED != 0,
            // Somebody took a reference in between: not dead.
            Err(_) => false,
        }
    }

    /// How many references there are, for people to read: it may have changed already.
    pub(crate) fn units(&self) -> u64 {
        let seen = self.0.load(Ordering::Relaxed);
        if seen & ZERO == 0 { seen } else { 0 }
    }

    /// Whether the count is zero. If the answer is yes it stays yes: a raw zero that a decrementer
    /// has not made official yet is made so here.
    pub(crate) fn is_zero(&self) -> bool {
        let seen = self.0.load(Ordering::Acquire);
        if seen != 0 {
            return seen & ZERO != 0;
        }
        match self.0.compare_exchange(0, ZERO | HELPED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(seen) => seen & ZERO != 0,
        }
    }
}
