//! When which connection wants to be looked at.
//!
//! Not with the timers of configuration: those are run under rtnl, which packets do without.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::sock::Sock;
use crate::agenda::{Agenda, Place};
use crate::dev::Stack;

/// The timers of all connections of a stack, soonest first. A socket has one entry at most and remembers which; one that comes up
/// early is put back by the socket. One that has ended has none: the entry would keep its memory.
///
/// A leaf lock: it is taken under a socket's.
#[derive(Debug, Default)]
pub(crate) struct SockTimers(Mutex<Agenda<Weak<Sock>>>);

impl SockTimers {
    fn lock(&self) -> MutexGuard<'_, Agenda<Weak<Sock>>> {
        // One entry goes in or out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where it stands, and whether it is the next one now.
    pub(super) fn add(&self, when: Duration, sock: &Arc<Sock>) -> (Place, bool) {
        self.lock().add(when, Arc::downgrade(sock))
    }

    /// Forgets an entry, unless it has come up.
    pub(super) fn remove(&self, place: Place) {
        let sock = self.lock().remove(place);
        // Not under the lock: it may be what frees the socket's memory.
        drop(sock);
    }

    fn due(&self, now: Duration) -> Option<(Place, Weak<Sock>)> {
        self.lock().due(now)
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.lock().next()
    }
}

impl Stack {
    /// Does what is due on connections. No lock may be held.
    pub(crate) fn run_sock_timers(&self) {
        let now = self.inner().clock.now();
        while let Some((place, sock)) = self.inner().sock_timers.due(now) {
            if let Some(sock) = sock.upgrade() {
                sock.timer(place);
            }
        }
    }
}
