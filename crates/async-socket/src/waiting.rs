//! Who waits for a datagram.

use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// The task that asked last. Its lock is a leaf: wakers are cloned, compared and woken outside it where that is foreign
/// code that could come back, and a callback of the socket may run under locks of the core.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Option<Waker>>);

impl Waiting {
    /// Remembers who is to be woken.
    pub(crate) fn register(&self, waker: &Waker) {
        let waker = waker.clone();
        let before = self.replace(Some(waker));
        drop(before);
    }

    /// Wakes them, once.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.replace(None) {
            waker.wake();
        }
    }

    fn replace(&self, with: Option<Waker>) -> Option<Waker> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), with)
    }
}
