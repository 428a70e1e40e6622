//! What a device goes through, told to every part in order (`call_netdevice_notifiers`).

use std::sync::Arc;

use super::Rtnl;
use crate::dev::Link;
use crate::state::Ns;
use crate::{dev, fib, inet, inet6, l4, neigh, nexthop};

/// An event in a device's life (`NETDEV_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetdevEvent {
    /// It is in the table of this namespace from now on: new, or moved here.
    Register,
    /// It was brought up.
    Up,
    /// It is about to be brought down.
    GoingDown,
    /// It was brought down.
    Down,
    /// Its carrier or operational state changed, or flags that are not `UP`.
    Change,
    /// Its MTU changed; what it was.
    ChangeMtu(u32),
    /// Its link-layer address changed.
    ChangeAddr,
    /// It has another name.
    ChangeName,
    /// It has another master, or none.
    ChangeUpper,
    /// It leaves this namespace: deleted, or moved away. It is down already.
    Unregister,
}

impl Rtnl<'_> {
    /// Tells every part. `link` is the device as it is in the table now (or was, when it leaves).
    pub(crate) fn call_netdevice_notifiers(&mut self, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
        inet::netdev_event(self, ns, link, event);
        fib::netdev_event(self, ns, link, event);
        neigh::netdev_event(self, ns, link, event);
        nexthop::netdev_event(self, ns, link, event);
        inet6::netdev_event(self, ns, link, event);
        dev::netdev_event(self, ns, link, event);
        l4::netdev_event(self, ns, link, event);
    }
}
