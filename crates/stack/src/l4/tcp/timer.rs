//! When which connection wants to be looked at.
//!
//! Not with the timers of configuration: those are run under rtnl, which packets do without.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::sock::Sock;
use crate::dev::Stack;

#[derive(Debug)]
struct Entry {
    when: Duration,
    order: u64,
    sock: Weak<Sock>,
}

impl Entry {
    const fn key(&self) -> (Duration, u64) {
        (self.when, self.order)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Debug, Default)]
struct Heap {
    entries: BinaryHeap<Reverse<Entry>>,
    added: u64,
}

/// The timers of all connections of a stack, soonest first. A socket has one entry at most that counts: it remembers which,
/// and an entry that comes up early is put back by the socket.
///
/// A leaf lock: it is taken under a socket's.
#[derive(Debug, Default)]
pub(crate) struct SockTimers(Mutex<Heap>);

impl SockTimers {
    fn lock(&self) -> MutexGuard<'_, Heap> {
        // A push or a pop each.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether it is the next one now.
    pub(super) fn add(&self, when: Duration, sock: &Arc<Sock>) -> bool {
        let mut heap = self.lock();
        let first = heap.entries.peek().is_none_or(|Reverse(next)| when < next.when);
        heap.added += 1;
        let order = heap.added;
        heap.entries.push(Reverse(Entry { when, order, sock: Arc::downgrade(sock) }));
        first
    }

    fn due(&self, now: Duration) -> Option<(Duration, Weak<Sock>)> {
        let mut heap = self.lock();
        if heap.entries.peek()?.0.when > now {
            return None;
        }
        heap.entries.pop().map(|Reverse(entry)| (entry.when, entry.sock))
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.lock().entries.peek().map(|Reverse(entry)| entry.when)
    }
}

impl Stack {
    /// Does what is due on connections. No lock may be held.
    pub(crate) fn run_sock_timers(&self) {
        let now = self.inner().clock.now();
        while let Some((when, sock)) = self.inner().sock_timers.due(now) {
            if let Some(sock) = sock.upgrade() {
                sock.timer(when);
            }
        }
    }
}
