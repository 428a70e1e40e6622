//! The death queue: what a last reference leaves behind.

use crate::sync::{AtomicU64, Ordering};

/// Namespaces whose active count reached zero, newest first, linked by their numbers in the list.
///
/// Pushing allocates nothing and takes no lock, so the last reference may be dropped in any
/// context. The links are numbers, not pointers: they are resolved under the list lock, which a
/// round takes anyway. A number is never reused, so a link cannot be mistaken.
pub(crate) struct DeathQueue(AtomicU64);

/// No namespace has this number.
pub(crate) const END: u64 = 0;

impl DeathQueue {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(END))
    }

    /// Queues number `at`, whose own `link` is at hand. Answers whether the queue was empty before:
    /// then the pusher, and only it, has to raise the alarm.
    pub(crate) fn push(&self, at: u64, link: &AtomicU64) -> bool {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            link.store(head, Ordering::Relaxed);
            // Release: the link is written before the head that leads to it.
            match self.0.compare_exchange_weak(head, at, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return head == END,
                Err(now) => head = now,
            }
        }
    }

    /// The newest; the links lead on from there, to [`END`].
    pub(crate) fn take(&self) -> u64 {
        // No write where there is nothing to take: rounds look at every shard.
        if self.is_empty() { END } else { self.0.swap(END, Ordering::Acquire) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire) == END
    }
}
