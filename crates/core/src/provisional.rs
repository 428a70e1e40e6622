//! The state of a subsystem whose registration may yet fail.
//!
//! A slot is written once and goes with its namespace. Until a registration has succeeded
//! everywhere, its states wait here, where they can be taken back without a trace; registrations
//! follow one another, so there is at most one.

use crate::slots::{Erased, Slots};
use crate::subsys::Ops;
use crate::sync::Mutex;
use alloc::boxed::Box;

/// Leaf lock, but for the slots written under it: that makes their writers follow one another.
#[derive(Default)]
pub(crate) struct Provisional(Mutex<Option<Box<Held>>>);

struct Held {
    index: u32,
    id: u64,
    state: Box<Erased>,
}

/// A state that comes back, also if the callback panics.
struct Lent<'a> {
    of: &'a Provisional,
    held: Option<Box<Held>>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.of.0.lock() = self.held.take();
    }
}

impl Provisional {
    pub(crate) fn put(&self, ops: &dyn Ops, state: Box<Erased>) {
        *self.0.lock() = Some(Box::new(Held { index: ops.index(), id: ops.id(), state }));
    }

    fn take_held(&self, id: u64) -> Option<Box<Held>> {
        self.0.lock().take_if(|held| held.id == id)
    }

    /// Takes the state back, if it is registration `id`'s.
    pub(crate) fn take(&self, id: u64) -> Option<Box<Erased>> {
        self.take_held(id).map(|held| held.state)
    }

    pub(crate) fn is_of(&self, id: u64) -> bool {
        self.0.lock().as_ref().is_some_and(|held| held.id == id)
    }

    /// Calls back with the state, if it is registration `id`'s. The caller has the namespace in
    /// hand, so nobody misses the state meanwhile.
    pub(crate) fn lend(&self, id: u64, callback: impl FnOnce(&Erased)) {
        if let Some(held) = self.take_held(id) {
            let lent = Lent { of: self, held: Some(held) };
            if let Some(held) = &lent.held {
                callback(&*held.state);
            }
        }
    }

    /// The registration has succeeded, or the namespace is dying and keeps the state to its end.
    pub(crate) fn confirm(&self, slots: &Slots) {
        let mut guard = self.0.lock();
        if let Some(held) = guard.take() {
            slots.put(held.index, held.id, held.state);
        }
    }

    /// As [`confirm`](Self::confirm), if it is registration `id`'s.
    pub(crate) fn confirm_if(&self, id: u64, slots: &Slots) {
        if self.is_of(id) {
            self.confirm(slots);
        }
    }
}
