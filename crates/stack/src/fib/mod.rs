//! IPv4 routes: the tables, and what finds a route.
//!
//! A namespace has no table until its first route comes. What a route leads to ([`FibInfo`]) is shared between routes and
//! never changes; whether a way out can be used is not stored with it but read from its device when somebody asks, so a
//! carrier that comes and goes touches no route.

mod create;
mod dump;
mod error;
mod events;
mod get;
mod ifaddr;
mod info;
mod ioctl;
mod lookup;
mod metrics;
mod nexthops;
mod proc;
mod table;
mod tables;
mod update;

pub(crate) use create::check_hop;
pub use create::{HopConfig, RouteConfig};
pub use dump::{Dump4Filter, Route4Page};
pub use error::RouteError;
pub(crate) use error::refusals;
pub(crate) use events::netdev_event;
pub(crate) use get::{How, input as route_input, output as route_output, rtcf};
pub use get::{RouteAnswer, RouteQuery, RouteReply};
pub(crate) use ifaddr::inetaddr_event;
pub use info::{FibInfo, Gateway, HopView, NextHop, RouteView, hop_flag, route_type, scope};
pub use ioctl::{RTENTRY_LEN, RtEntryError};
pub(crate) use lookup::{Flow4, LOOPBACK_IFINDEX, address_type, fib_lookup, ignores_linkdown};
pub use metrics::{Metrics, RTAX_CC_ALGO, RTAX_LOCK};
pub(crate) use metrics::{RTAX_HOPLIMIT, RTAX_MTU};
pub(crate) use nexthops::{check_nexthop, nexthop_gone, nexthop_replaced, nexthop_shrunk};
pub(crate) use proc::{proc_fib_trie, proc_fib_triestat, proc_route};
pub use table::Insert;
pub(crate) use table::prefix_mask;
pub(crate) use tables::{Anchor, Fib};

use std::net::Ipv4Addr;

/// The table rules ask last.
pub const RT_TABLE_DEFAULT: u32 = 253;
/// Where routes go that name no table.
pub const RT_TABLE_MAIN: u32 = 254;
/// Local and broadcast addresses.
pub const RT_TABLE_LOCAL: u32 = 255;

/// `RTPROT_KERNEL`: made by the system itself.
pub(crate) const RTPROT_KERNEL: u8 = 2;
/// `RTPROT_BOOT`: made by somebody who did not say who he is.
pub(crate) const RTPROT_BOOT: u8 = 3;

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FibNotice {
    /// A route is there, or leads elsewhere.
    New {
        /// The route.
        route: RouteView,
        /// `NLM_F_*` of the message: how it came in.
        flags: u16,
    },
    /// A route is gone.
    Del(RouteView),
}

/// What a route with this information hangs on.
fn anchors(info: &FibInfo) -> impl Iterator<Item = Anchor> {
    let devices = info.hops().iter().filter(|hop| hop.oif != 0).map(|hop| Anchor::Device(hop.oif));
    let source = Some(info.prefsrc).filter(|src| *src != Ipv4Addr::UNSPECIFIED).map(Anchor::Source);
    let members = info.nexthop.as_ref().into_iter().flat_map(|nexthop| nexthop.ids()).map(Anchor::Nexthop);
    devices.chain(source).chain(members)
}

fn hangs_on(info: &FibInfo, anchor: Anchor) -> bool {
    match anchor {
        Anchor::Device(oif) => info.hops().iter().any(|hop| hop.oif == oif),
        Anchor::Source(src) => info.prefsrc == src,
        Anchor::Nexthop(id) => info.nexthop.as_ref().is_some_and(|nexthop| nexthop.ids().any(|member| member == id)),
    }
}
