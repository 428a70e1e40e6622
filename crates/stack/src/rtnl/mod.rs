//! Changing configuration: one at a time in a system (`rtnl_mutex`), each change whole or not at all.
//!
//! Whoever changes links, addresses, routes, rules or neighbours holds an [`Rtnl`], got from [`Stack::rtnl`]. The rules:
//!
//! - A change is checked to the end before anything is touched: what is refused leaves nothing behind. What follows from
//!   a change (the routes of a link that goes down) cannot fail.
//! - What happened is noted ([`Rtnl::notify`]) where it happens, in Linux's order, with a snapshot of the object. The
//!   notices are delivered when the `Rtnl` is dropped, before the next change can begin: listeners see one order.
//! - What a link goes through is told to every part by [`Rtnl::call_netdevice_notifiers`], in a fixed order.
//!
//! Lock order: rtnl before the parts of a namespace, of which one is held at a time and never across a call of another
//! part; before core's peer tables and netlink's buses, which the delivery takes. Nothing above it but a socket's dump.

mod netdev;
mod timers;

use std::sync::{Arc, MutexGuard, PoisonError};

use pernet::{Net, NetRef, Origin};

pub(crate) use netdev::NetdevEvent;
pub use timers::{Clock, ManualClock, SystemClock};
pub(crate) use timers::{Timer, Timers};

use crate::dev::Stack;
use crate::notice::Notice;
use crate::state::{NetState, Ns};

/// What only the holder of the lock touches.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) timers: Timers,
    /// Devices whose carrier changed and whose operational state has not followed yet.
    pub(crate) linkwatch: crate::dev::Linkwatch,
}

/// Who hears of changes. Called under rtnl: it may queue messages and wake their readers, and ask core for peer ids; it
/// must not change configuration.
pub trait NoticeSink: Send + Sync {
    /// Something changed in `net`.
    fn emit(&self, stack: &Stack, net: &NetRef, notice: &Notice, origin: Origin);
}

/// The right to change configuration (`rtnl_lock` … `rtnl_unlock`).
pub struct Rtnl<'s> {
    stack: &'s Stack,
    shared: MutexGuard<'s, Shared>,
    origin: Origin,
    notices: Vec<(NetRef, Notice, Origin)>,
    /// Nothing is changed by it after all.
    quiet: bool,
}

impl Stack {
    /// Takes the lock; `origin` is who asked, and is passed on with what they caused directly.
    #[must_use]
    pub fn rtnl(&self, origin: Origin) -> Rtnl<'_> {
        let shared = self.inner().rtnl.lock().unwrap_or_else(PoisonError::into_inner);
        Rtnl { stack: self, shared, origin, notices: Vec::new(), quiet: false }
    }

    /// Tells `sink` of every change from here on. One sink; a second call replaces it.
    pub fn set_notice_sink(&self, sink: Arc<dyn NoticeSink>) {
        *self.inner().sink.write().unwrap_or_else(PoisonError::into_inner) = Some(sink);
    }
}

impl<'s> Rtnl<'s> {
    pub(crate) const fn stack(&self) -> &'s Stack {
        self.stack
    }

    /// What only the holder of the lock touches.
    pub(crate) fn shared(&mut self) -> &mut Shared {
        &mut self.shared
    }

    /// The parts of a namespace; `None` if it is of another system or still being made.
    pub(crate) fn ns<'n>(&self, net: &'n Net) -> Option<Ns<'n>> {
        self.stack.state(net).map(|state: &NetState| Ns::living(state, net))
    }

    /// Notes what the requester asked for (`rtnl_notify` with its port and number).
    pub(crate) fn notify(&mut self, ns: Ns<'_>, notice: Notice) {
        self.notify_from(ns, notice, self.origin);
    }

    /// Notes what followed from something else.
    pub(crate) fn notify_caused(&mut self, ns: Ns<'_>, notice: Notice) {
        self.notify_from(ns, notice, Origin::KERNEL);
    }

    fn notify_from(&mut self, ns: Ns<'_>, notice: Notice, origin: Origin) {
        if let Some(net) = ns.to_ref() {
            self.notices.push((net, notice, origin));
        }
    }

    /// The time now, on the stack's clock.
    pub(crate) fn now(&self) -> std::time::Duration {
        self.stack.inner().clock.now()
    }

    /// Calls the part that `timer` belongs to at `when` (on the stack's clock), unless `ns` is gone by then. There is no
    /// cancelling: the part looks whether the object still wants it.
    pub(crate) fn set_timer(&mut self, ns: Ns<'_>, when: std::time::Duration, timer: Timer) {
        let Some(net) = ns.net() else { return };
        if self.shared.timers.add(when, (net.handle(), timer)).1 {
            self.stack.timer_moved(Some(when));
        }
    }

    /// Runs every timer that is due. What else its holder does, changes nothing.
    pub(crate) fn run_timers(&mut self) {
        let now = self.now();
        self.quiet = true;
        while let Some((_, (net, timer))) = self.shared.timers.due(now) {
            self.quiet = false;
            if let Some(net) = net.upgrade()
                && let Some(ns) = self.ns(&net)
            {
                timers::fire(self, ns, timer);
            }
        }
    }

    pub(crate) fn next_timer(&mut self) -> Option<std::time::Duration> {
        self.quiet = true;
        self.shared.timers.next()
    }
}

impl Drop for Rtnl<'_> {
    /// Delivers, still under the lock: that is what keeps the order of messages equal to the order of changes.
    fn drop(&mut self) {
        // Whoever learns of a way from here on learns it with the change; who learnt it before sees that there was one.
        if !self.quiet {
            self.stack.changed();
        }
        if self.notices.is_empty() {
            return;
        }
        let sink = self.stack.inner().sink.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (net, notice, origin) in self.notices.drain(..) {
            if let Some(sink) = &sink {
                sink.emit(self.stack, &net, &notice, origin);
            }
        }
    }
}
