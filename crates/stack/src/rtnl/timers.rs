//! Time: one clock for a stack, and what is to happen when.

use std::sync::Mutex;
use std::time::Duration;

use pernet::NetHandle;

use super::Rtnl;
use crate::agenda::Agenda;
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

/// What waits, and in which namespace.
pub(crate) type Timers = Agenda<(NetHandle, Timer)>;

impl Stack {
    /// Does what is due and receives what waits, and says how long nothing else will be; `None` if nothing waits. To be
    /// called again after that time, or when [`Stack::on_timer`]'s callback asks for it.
    #[must_use]
    pub fn run_timers(&self) -> Option<Duration> {
        loop {
            self.rtnl(pernet::Origin::KERNEL).run_timers();
            // With no lock held: what is received may change configuration, and so may who receives it.
            self.run_sock_timers();
            self.run_packets();
            if self.packets_wait() {
                // There are more than one call may receive.
                return Some(Duration::ZERO);
            }
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
