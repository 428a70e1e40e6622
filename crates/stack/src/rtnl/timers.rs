//! Time: one clock for a stack, and what is to happen when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::time::Duration;

use pernet::NetHandle;

use super::Rtnl;
use crate::dev::Stack;
use crate::state::Ns;
use crate::{inet, inet6, l2, neigh};

/// Where a stack reads the time.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment. For the system's clock that is the boot of the machine, so that what programs read
    /// there compares with what the stack tells.
    fn now(&self) -> Duration;
}

/// The machine's monotonic clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

/// A clock that stands still unless it is moved: a test's ten minutes pass in no time.
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<Duration>);

impl ManualClock {
    /// Lets `by` pass. The stack notices with its next [`Stack::run_timers`].
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whose timer it is; each part says what for.
#[derive(Clone, Debug)]
pub(crate) enum Timer {
    /// IPv4 addresses.
    Inet(inet::Timer),
    /// IPv6 addresses and routes.
    Inet6(inet6::Timer),
    /// Neighbours.
    Neigh(neigh::Timer),
    /// Packets: it is done when nobody holds a lock.
    Work(Box<l2::Work>),
}

/// Calls the part.
pub(super) fn fire(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, timer: Timer) {
    match timer {
        Timer::Inet(timer) => inet::timer(rtnl, ns, timer),
        Timer::Inet6(timer) => inet6::timer(rtnl, ns, timer),
        Timer::Neigh(timer) => neigh::timer(rtnl, ns, timer),
        Timer::Work(work) => l2::later(rtnl.stack(), ns, *work),
    }
}

/// What waits, soonest first; of what is due at one moment, what was asked for first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
    added: u64,
}

#[derive(Debug)]
struct Entry {
    when: Duration,
    order: u64,
    net: NetHandle,
    timer: Timer,
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

impl Timers {
    /// Says whether it is the next one now.
    pub(super) fn add(&mut self, when: Duration, net: NetHandle, timer: Timer) -> bool {
        let first = self.next().is_none_or(|next| when < next);
        self.added += 1;
        self.heap.push(Reverse(Entry { when, order: self.added, net, timer }));
        first
    }

    pub(super) fn due(&mut self, now: Duration) -> Option<(NetHandle, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.net, entry.timer))
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(entry)| entry.when)
    }
}

impl Stack {
    /// Does what is due and receives what waits, and says how long nothing else will be; `None` if nothing waits. To be called again after that
    /// time, or when [`Stack::on_timer`]'s callback asks for it.
    #[must_use]
    pub fn run_timers(&self) -> Option<Duration> {
        loop {
            self.rtnl(pernet::Origin::KERNEL).run_timers();
            // With no lock held: what is received may change configuration, and so may who receives it.
            self.run_sock_timers();
            self.run_packets();
            let mut rtnl = self.rtnl(pernet::Origin::KERNEL);
            let next = rtnl.next_timer().into_iter().chain(self.inner().sock_timers.next()).min();
            let now = rtnl.now();
            drop(rtnl);
            if next.is_none_or(|next| next > now) {
                return next.map(|next| next - now);
            }
        }
    }
}
