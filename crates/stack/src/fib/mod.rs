//! IPv4 routes: the tables, and what finds a route.

use std::sync::Arc;

use crate::dev::Link;
use crate::inet::Ifa4;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// What a namespace has of it.
#[derive(Debug, Default)]
pub(crate) struct Fib {}

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FibNotice {}

/// A device goes through something.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    let _ = (rtnl, ns, link, event);
}

/// A device got or lost an address (`fib_inetaddr_event`): its local, broadcast and connected routes come or go.
pub(crate) fn inetaddr_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: &Ifa4, up: bool) {
    let _ = (rtnl, ns, link, ifa, up);
}
