//! When which connection wants to be looked at.
//!
//! Not with the timers of configuration: those are run under rtnl, which packets do without.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::sock::Sock;
use crate::agenda::Agenda;
use crate::dev::Stack;

/// The timers of all connections of a stack, soonest first. A socket has one entry at most that counts: it remembers which,
/// and an entry that comes up early is put back by the socket.
///
/// A leaf lock: it is taken under a socket's.
#[derive(Debug, Default)]
pub(crate) struct SockTimers(Mutex<Agenda<Weak<Sock>>>);

impl SockTimers {
    fn lock(&self) -> MutexGuard<'_, Agenda<Weak<Sock>>> {
        // A push or a pop each.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether it is the next one now.
    pub(super) fn add(&self, when: Duration, sock: &Arc<Sock>) -> bool {
        self.lock().add(when, Arc::downgrade(sock))
    }

    fn due(&self, now: Duration) -> Option<(Duration, Weak<Sock>)> {
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
        while let Some((when, sock)) = self.inner().sock_timers.due(now) {
            if let Some(sock) = sock.upgrade() {
                sock.timer(when);
            }
        }
    }
}
