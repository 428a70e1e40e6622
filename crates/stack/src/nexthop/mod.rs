//! Nexthop objects.

use std::sync::Arc;

use crate::dev::Link;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// What a namespace has of it.
#[derive(Debug, Default)]
pub(crate) struct Nexthops {}

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NexthopNotice {}

/// A device goes through something.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    let _ = (rtnl, ns, link, event);
}
