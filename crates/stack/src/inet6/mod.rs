//! IPv6: addresses, per-device settings and routes.

use std::sync::Arc;

use crate::dev::Link;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::{ConfOf, Ns};

/// What a namespace has of it.
#[derive(Debug, Default)]
pub(crate) struct Inet6 {}

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Inet6Notice {}

/// A device goes through something.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    let _ = (rtnl, ns, link, event);
}

/// What waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timer {}

/// A timer is due.
pub(crate) fn timer(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, timer: Timer) {
    let _ = (rtnl, ns);
    match timer {}
}

/// A device's setting by its `DEVCONF_*` number; `None` for a device without IPv6, or no such number.
pub(crate) fn conf(ns: Ns<'_>, of: ConfOf, number: usize) -> Option<i32> {
    let _ = (ns, of, number);
    None
}

/// Writes a setting, with what follows from it.
pub(crate) fn set_conf(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, of: ConfOf, number: usize, value: i32) {
    let _ = (rtnl, ns, of, number, value);
}
