//! Neighbours: who is where on a link, in either family.

use std::sync::Arc;

use crate::dev::Link;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// What a namespace has of it.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {}

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NeighNotice {}

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
