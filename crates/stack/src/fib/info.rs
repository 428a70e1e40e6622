//! What routes have in common who lead to the same place the same way (`struct fib_info`, `struct fib_nh`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::Metrics;
use crate::l3::{Learned, RouteId};
use crate::nexthop::Resolved;

/// `RTNH_F_*`: flags of a next hop.
pub mod hop_flag {
    /// Cannot be used: the device is down.
    pub const DEAD: u32 = 1;
    /// The gateway is directly reachable, whatever the other routes say.
    pub const ONLINK: u32 = 4;
    /// Forwarded by hardware.
    pub const OFFLOAD: u32 = 8;
    /// The device has no carrier.
    pub const LINKDOWN: u32 = 0x10;
    /// Given to the CPU by hardware.
    pub const TRAP: u32 = 0x40;
    pub(crate) const PERVASIVE: u32 = 2;
}

/// `RT_SCOPE_*`: how far away what a route leads to is.
pub mod scope {
    /// Anywhere.
    pub const UNIVERSE: u8 = 0;
    /// On a link of this host.
    pub const LINK: u8 = 253;
    /// This host.
    pub const HOST: u8 = 254;
    /// Nowhere: in requests, "any".
    pub const NOWHERE: u8 = 255;
}

/// `RTN_*`: types of routes.
pub mod route_type {
    /// Any, in requests.
    pub const UNSPEC: u8 = 0;
    /// To a gateway or onto a link.
    pub const UNICAST: u8 = 1;
    /// To this host.
    pub const LOCAL: u8 = 2;
    /// To this host, and as a broadcast onto the link.
    pub const BROADCAST: u8 = 3;
    /// To this host, sent as unicast.
    pub const ANYCAST: u8 = 4;
    /// A multicast group.
    pub const MULTICAST: u8 = 5;
    /// Drop silently.
    pub const BLACKHOLE: u8 = 6;
    /// Refuse: host unreachable.
    pub const UNREACHABLE: u8 = 7;
    /// Refuse: administratively prohibited.
    pub const PROHIBIT: u8 = 8;
    /// Not in this table; go on with the next rule.
    pub const THROW: u8 = 9;
    /// The largest.
    pub const MAX: u8 = 11;
}

/// The router to hand packets to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Gateway {
    /// None: the destination is on the link.
    #[default]
    None,
    /// An IPv4 router.
    V4(Ipv4Addr),
    /// An IPv6 router (RFC 5549).
    V6(Ipv6Addr),
}

impl Gateway {
    /// Whether there is one.
    #[must_use]
    pub const fn is_some(self) -> bool {
        !matches!(self, Self::None)
    }

    /// Its address.
    #[must_use]
    pub const fn addr(self) -> Option<IpAddr> {
        match self {
            Self::None => None,
            Self::V4(gateway) => Some(IpAddr::V4(gateway)),
            Self::V6(gateway) => Some(IpAddr::V6(gateway)),
        }
    }
}

/// One way out (`struct fib_nh`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Device; 0 for routes that lead nowhere.
    pub oif: u32,
    /// Router behind it.
    pub gateway: Gateway,
    /// Share of the traffic, 1 to 256 (65,536 in a nexthop group).
    pub weight: u32,
    /// [`hop_flag`]s as configured. What follows from the device's state is not stored: see [`HopView`].
    pub flags: u32,
    /// How far away the gateway is.
    pub scope: u8,
    /// Realm (`RTA_FLOW`).
    pub flow: u32,
}

/// What a route leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FibInfo {
    /// Who made it (`RTPROT_*`).
    pub protocol: u8,
    /// Distance ([`scope`]).
    pub scope: u8,
    /// The type it was made for: decides with the rest whether two routes may share it.
    pub kind: u8,
    /// The source address to send from; 0.0.0.0 for none.
    pub prefsrc: Ipv4Addr,
    /// Metric: of routes to one prefix the lowest counts.
    pub priority: u32,
    /// The table it was made for.
    pub table: u32,
    /// Properties of the path.
    pub metrics: Metrics,
    pub(crate) own: Vec<NextHop>,
    /// The nexthop object it points to, in place of hops of its own.
    pub(crate) nexthop: Option<Arc<Resolved>>,
    pub(crate) id: RouteId,
}

impl FibInfo {
    /// The ways out.
    #[must_use]
    pub fn hops(&self) -> &[NextHop] {
        self.nexthop.as_ref().map_or(&self.own, |nexthop| &nexthop.hops)
    }

    /// Id of the nexthop object, 0 for none.
    #[must_use]
    pub fn nhid(&self) -> u32 {
        self.nexthop.as_ref().map_or(0, |nexthop| nexthop.id)
    }

    /// Whether its nexthop object drops everything.
    #[must_use]
    pub fn is_blackhole(&self) -> bool {
        self.nexthop.as_ref().is_some_and(|nexthop| nexthop.blackhole)
    }
}

/// A way out as it is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopView {
    /// As configured.
    pub hop: NextHop,
    /// [`hop_flag`]s, those of the device's state included.
    pub flags: u32,
}

/// A route as listeners and dumps show it: with the state of its devices.
#[derive(Clone, Debug)]
pub struct RouteView {
    /// Table.
    pub table: u32,
    /// Destination.
    pub dst: Ipv4Addr,
    /// Bits of the destination.
    pub dst_len: u8,
    /// Type of service it is for.
    pub tos: u8,
    /// [`route_type`].
    pub kind: u8,
    /// What it leads to.
    pub info: Arc<FibInfo>,
    /// The ways out.
    pub hops: Vec<HopView>,
    /// `RTNH_F_*` that hold for the route as a whole.
    pub flags: u32,
    /// Whether routes with a nexthop object also tell its hops (`net.ipv4.nexthop_compat_mode`).
    pub compat: bool,
    /// This is not the route, but what packets learnt of the way to a single destination.
    pub learned: Option<Learned>,
}
