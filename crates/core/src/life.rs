//! Where a namespace is in its life, and who may run callbacks on it.
//!
//! ```text
//!                        begin_change          end_change
//! Building ──publish──▶ Listed ───────▶ Changing ───────▶ Listed
//!     │                   │ unlist          │ unlist: postponed
//!     ▼                   ▼                 ▼
//!   Undone             Unlisted        ChangingDead ──end_change──▶ Listed, to be queued again
//! ```
//!
//! Callbacks on one namespace never overlap, though nothing stops the world: its creator runs them
//! before it is listed, a registration while it is `Changing`, a teardown round once it is
//! `Unlisted`. A round that meets a namespace in the hands of a registration does not wait; it
//! leaves word, and the registration queues the namespace again when it lets go.

use crate::sync::{AtomicU8, Ordering};

/// In its creator's hands.
const BUILDING: u8 = 0;
/// Listed. Its active count may have reached zero: then it is queued.
const LISTED: u8 = 1;
/// Listed, and a registration is running a callback on it.
const CHANGING: u8 = 2;
/// The same, and a teardown round has come by.
const CHANGING_DEAD: u8 = 3;
/// Taken off the list by a teardown round.
const UNLISTED: u8 = 4;
/// Its creation failed and was undone; it was never listed.
const UNDONE: u8 = 5;

/// See the module text.
pub(crate) struct Life(AtomicU8);

/// What came of an attempt to unlist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unlist {
    /// It is the round's now.
    Taken,
    /// A registration has it, and will queue it again.
    Postponed,
}

impl Life {
    pub(crate) fn building() -> Self {
        Self(AtomicU8::new(BUILDING))
    }

    /// The creator publishes it.
    pub(crate) fn publish(&self) {
        // Release: whoever sees "listed" sees what was built, and the place in the list.
        self.0.store(LISTED, Ordering::Release);
    }

    /// The creator has undone it.
    pub(crate) fn undo(&self) {
        self.0.store(UNDONE, Ordering::Release);
    }

    /// Published and not yet unlisted. Together with a positive active count: alive.
    pub(crate) fn is_listed(&self) -> bool {
        matches!(self.0.load(Ordering::Acquire), LISTED | CHANGING | CHANGING_DEAD)
    }

    /// Unlisted: a teardown round has had it.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.load(Ordering::Acquire) == UNLISTED
    }

    /// A registration takes it. `false`: it is a round's already, or was never listed.
    pub(crate) fn begin_change(&self) -> bool {
        // Acquire and release: callbacks before and after see each other's work.
        self.0.compare_exchange(LISTED, CHANGING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The registration lets go. `true`: a round came by meanwhile, queue it again.
    #[must_use]
    pub(crate) fn end_change(&self) -> bool {
        self.0.swap(LISTED, Ordering::AcqRel) == CHANGING_DEAD
    }

    /// A round takes it.
    pub(crate) fn unlist(&self) -> Unlist {
        let mut seen = LISTED;
        loop {
            let (to, outcome) =
                if seen == LISTED { (UNLISTED, Unlist::Taken) } else { (CHANGING_DEAD, Unlist::Postponed) };
            match self.0.compare_exchange(seen, to, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return outcome,
                Err(now) => seen = now,
            }
        }
    }
}
