//! Network devices of a namespace: what one is ([`Link`]), what its kind fixes for every device of that kind
//! ([`LinkClass`]), and the table a namespace keeps of them ([`Links`]).

mod addr;
mod class;
mod counters;
mod devconf;
mod flags;
mod link;
mod links;
mod name;
mod pernet;

pub use addr::HwAddr;
pub use class::{LOOPBACK, LinkClass, OffloadLimits};
pub use counters::{Counters, LinkStats};
pub use devconf::{Inet4Conf, Inet6Conf};
pub use flags::IfFlags;
pub use link::{Link, NameAssign, OperState};
pub use links::{LinkError, LinkPage, Links};
pub use name::{IFNAMSIZ, IfName, NameError};
pub use pernet::{LinkDevices, Stack};

use std::sync::Arc;

use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// What listeners are told of links.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LinkNotice {}

/// A device goes through something: what other devices do about it (those stacked on it, its master), and the message.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    let _ = (rtnl, ns, link, event);
}
