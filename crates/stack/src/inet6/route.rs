//! An IPv6 route, and why a change of routes is refused.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::prefix::Prefix6;
use crate::fib::{Gateway, Metrics, NextHop};
use crate::l3::{Learned, Path, RouteId};
use crate::nexthop::Resolved;

/// `RTN_*`: what becomes of a packet.
pub(crate) mod rtn {
    pub(crate) const UNICAST: u8 = 1;
    pub(crate) const LOCAL: u8 = 2;
    pub(crate) const ANYCAST: u8 = 4;
    pub(crate) const MULTICAST: u8 = 5;
    pub(crate) const BLACKHOLE: u8 = 6;
    pub(crate) const UNREACHABLE: u8 = 7;
    pub(crate) const PROHIBIT: u8 = 8;
    pub(crate) const THROW: u8 = 9;
    pub(crate) const MAX: u8 = 11;
}

/// `RT_TABLE_*`.
pub(crate) mod table {
    pub(crate) const MAIN: u32 = 254;
    pub(crate) const LOCAL: u32 = 255;
}

/// `RTNH_F_*`, which are also the flags of a message about a route with one nexthop.
pub(crate) mod rtnh {
    pub(crate) const DEAD: u8 = 1;
    pub(crate) const ONLINK: u8 = 4;
    pub(crate) const LINKDOWN: u8 = 16;
}

/// `RTPROT_KERNEL`.
pub(crate) const PROTO_KERNEL: u8 = 2;
/// `RTPROT_BOOT`: what a request without a protocol is taken for.
pub(crate) const PROTO_BOOT: u8 = 3;
/// Routers said so.
pub(crate) const PROTO_RA: u8 = 9;
/// The metric of a route for which nobody said one (`IP6_RT_PRIO_USER`).
pub(crate) const METRIC_USER: u32 = 1024;
/// The metric of connected and multicast routes (`IP6_RT_PRIO_ADDRCONF`).
pub(crate) const METRIC_ADDRCONF: u32 = 256;

/// Where a route sends its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nexthop6 {
    /// The device.
    pub oif: u32,
    /// The router; `None` for what is on the link.
    pub gateway: Option<Ipv6Addr>,
    /// The router is taken to be on the link, whatever the routes say.
    pub onlink: bool,
    /// Its share among several, 1 to 256.
    pub weight: u16,
}

/// A route (`struct fib6_info`); one with several nexthops is several of these.
#[derive(Clone, Debug)]
pub(crate) struct Route6 {
    pub(crate) dst: Prefix6,
    pub(crate) src: Prefix6,
    pub(crate) metric: u32,
    /// `RTN_*` as asked for; what packets meet is [`outcome`](Self::outcome).
    pub(crate) kind: u8,
    pub(crate) proto: u8,
    /// `ICMPV6_ROUTER_PREF_*`: 0 medium, 1 high, 3 low.
    pub(crate) pref: u8,
    /// A router's word made it, of a prefix of the link: the next one changes it, and nobody else has taken it over.
    pub(crate) by_router: bool,
    pub(crate) prefsrc: Option<Ipv6Addr>,
    pub(crate) metrics: Option<Arc<Metrics>>,
    pub(crate) expires: Option<Duration>,
    pub(crate) nexthop: Nexthop6,
    /// The nexthop object that it uses; [`nexthop`](Self::nexthop) is then the object's first.
    pub(crate) object: Option<Arc<Resolved>>,
    pub(crate) id: RouteId,
}

impl Route6 {
    /// A route that the kernel makes by itself.
    pub(crate) fn of_kernel(dst: Prefix6, kind: u8, metric: u32, oif: u32) -> Self {
        Self {
            dst,
            src: Prefix6::ANY,
            metric,
            kind,
            proto: PROTO_KERNEL,
            pref: 0,
            by_router: false,
            prefsrc: None,
            metrics: None,
            expires: None,
            nexthop: Nexthop6 { oif, gateway: None, onlink: false, weight: 1 },
            object: None,
            id: RouteId::new(),
        }
    }

    /// What is learnt of the way of packets to `dst` by one of the hops is learnt of this.
    pub(crate) fn path(&self, hop: &Nexthop6, dst: Ipv6Addr) -> Path {
        Path { route: self.id.number(), dst: dst.into(), oif: hop.oif, gateway: hop.gateway.map(IpAddr::V6) }
    }

    /// Whether it can be one of several (`rt6_qualify_for_ecmp`).
    pub(crate) fn can_share(&self) -> bool {
        self.nexthop.gateway.is_some() && !self.rejects() && self.object.is_none()
    }

    /// Number of the nexthop object, or 0.
    pub(crate) fn nh_id(&self) -> u32 {
        self.object.as_ref().map_or(0, |object| object.id)
    }

    /// The ways out: the object's, if it has one.
    pub(crate) fn hops(&self) -> Vec<Nexthop6> {
        self.object.as_deref().map_or_else(|| vec![self.nexthop], hops_of)
    }

    /// `RTN_*`: what becomes of a packet. A nexthop object that drops everything has the last word, as long as it does.
    pub(crate) fn outcome(&self) -> u8 {
        if self.object.as_ref().is_some_and(|object| object.blackhole) { rtn::BLACKHOLE } else { self.kind }
    }

    /// Whether packets are thrown away.
    pub(crate) fn rejects(&self) -> bool {
        matches!(self.outcome(), rtn::BLACKHOLE | rtn::UNREACHABLE | rtn::PROHIBIT | rtn::THROW)
    }

    pub(crate) fn is_expired(&self, now: Duration) -> bool {
        self.expires.is_some_and(|when| when <= now)
    }
}

/// The ways out of a nexthop object.
pub(crate) fn hops_of(object: &Resolved) -> Vec<Nexthop6> {
    let hop = |hop: &NextHop| Nexthop6 {
        oif: hop.oif,
        gateway: match hop.gateway {
            Gateway::V6(gateway) => Some(gateway),
            _ => None,
        },
        onlink: hop.flags & u32::from(rtnh::ONLINK) != 0,
        weight: u16::try_from(hop.weight).unwrap_or(u16::MAX),
    };
    object.hops.iter().map(hop).collect()
}

/// A route as messages show it: with all its nexthops and their state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo6 {
    /// The table.
    pub table: u32,
    /// Where to.
    pub dst: Prefix6,
    /// Where from.
    pub src: Prefix6,
    /// `RTN_*`.
    pub kind: u8,
    /// `RTPROT_*`.
    pub proto: u8,
    /// The lower the better.
    pub metric: u32,
    /// `ICMPV6_ROUTER_PREF_*`.
    pub pref: u8,
    /// The address to send from.
    pub prefsrc: Option<Ipv6Addr>,
    /// Properties of the path.
    pub metrics: Option<Arc<Metrics>>,
    /// Hundredths of a second until it ends, negative if that is past; `None` if it does not.
    pub expires: Option<i32>,
    /// The first nexthop, and `RTNH_F_*` flags that apply to it now.
    pub nexthop: (Nexthop6, u8),
    /// All of them, if there are several or a group of nexthop objects says so.
    pub nexthops: Vec<(Nexthop6, u8)>,
    /// Number of the nexthop object, or 0.
    pub nh_id: u32,
    /// Whether messages tell the nexthops: they do not for a nexthop object where `net.ipv4.nexthop_compat_mode` is off.
    pub tells_nexthops: bool,
    /// This is not the route, but what packets learnt of the way to a single destination (`RTF_CACHE`).
    pub learned: Option<Learned>,
}

impl RouteInfo6 {
    /// What was learnt of a path of the route.
    pub(crate) fn exception(self, path: &Path, learned: Learned) -> Self {
        let IpAddr::V6(dst) = path.dst else { return self };
        let gateway = match learned.gateway.or(path.gateway) {
            Some(IpAddr::V6(gateway)) => Some(gateway),
            _ => None,
        };
        let nexthop = (Nexthop6 { oif: path.oif, gateway, onlink: false, weight: 1 }, 0);
        let (dst, src) = (Prefix6::new(dst, 128), Prefix6::ANY);
        Self { dst, src, nexthop, nexthops: Vec::new(), learned: Some(learned), ..self }
    }
}

/// Why a change of IPv6 routes, or a look-up, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError6 {
    /// A prefix of more than 128 bits, or a destination shorter than its prefix.
    #[error("a prefix is too long")]
    BadPrefix,
    /// A kind of route beyond the last known.
    #[error("Invalid route type")]
    BadType,
    /// No device has that index, or it does not do IPv6, or none was given.
    #[error("no device")]
    NoDevice,
    /// An on-link router without a device.
    #[error("Nexthop device required for onlink")]
    OnlinkNeedsDevice,
    /// The device is down.
    #[error("Nexthop device is not up")]
    DeviceDown,
    /// The device does not do IPv6 at present.
    #[error("IPv6 is disabled on nexthop device")]
    Disabled,
    /// The router's address is a group or unspecified.
    #[error("Invalid gateway address")]
    BadGateway,
    /// The router's address is one of ours.
    #[error("Gateway can not be a local address")]
    LocalGateway,
    /// A link-local router without a device.
    #[error("Egress device not specified")]
    NoEgress,
    /// A router that is on the link of a device, it is said, and by the main table on another's.
    #[error("Nexthop has invalid gateway or device mismatch")]
    NotOnlink,
    /// A router behind the loopback.
    #[error("Egress device can not be loopback device for this route.")]
    LoopbackEgress,
    /// The router is not on a link.
    #[error("the gateway cannot be reached directly")]
    UnreachableGateway,
    /// The source address is not ours.
    #[error("Invalid source address")]
    BadSource,
    /// There is one.
    #[error("the route exists")]
    Exists,
    /// To be replaced: there is no route to that destination.
    #[error("Can not replace route - no match found")]
    NothingToReplace,
    /// To be replaced: there is none with that metric.
    #[error("no route with that metric")]
    NoneOfThatMetric,
    /// To be deleted: no such table.
    #[error("FIB table does not exist")]
    NoTable,
    /// To be deleted: no such route.
    #[error("no such route")]
    NotFound,
    /// To be deleted: no default route.
    #[error("no default route")]
    NoDefault,
    /// One of several nexthops has no router.
    #[error("Device only routes can not be added for IPv6 using the multipath API.")]
    DeviceOnly,
    /// A nexthop object that does not exist.
    #[error("Nexthop id does not exist")]
    NoNexthop,
    /// A nexthop object that is not for IPv6.
    #[error("IPv6 routes can not use an IPv4 nexthop")]
    NotInet6Nexthop,
    /// A nexthop object that is for forwarding tables.
    #[error("Route cannot point to a fdb nexthop")]
    FdbNexthop,
    /// A nexthop object for packets from certain sources.
    #[error("Nexthops can not be used with source routing")]
    NexthopWithSource,
    /// No route leads there.
    #[error("network is unreachable")]
    NetUnreachable,
    /// An `unreachable` route.
    #[error("host is unreachable")]
    HostUnreachable,
    /// A `prohibit` route.
    #[error("communication is prohibited")]
    Prohibited,
    /// A `blackhole` route.
    #[error("a black hole")]
    Blackhole,
}

impl RouteError6 {
    /// The errno Linux gives.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::BadPrefix
            | Self::BadType
            | Self::BadGateway
            | Self::LocalGateway
            | Self::NoEgress
            | Self::NotOnlink
            | Self::LoopbackEgress
            | Self::BadSource
            | Self::DeviceOnly
            | Self::NoNexthop
            | Self::NotInet6Nexthop
            | Self::FdbNexthop
            | Self::NexthopWithSource
            | Self::Blackhole => 22,
            Self::NoDevice | Self::OnlinkNeedsDevice => 19,
            Self::DeviceDown => 100,
            Self::Disabled | Self::Prohibited => 13,
            Self::UnreachableGateway | Self::HostUnreachable => 113,
            Self::Exists => 17,
            Self::NothingToReplace | Self::NoneOfThatMetric | Self::NoDefault => 2,
            Self::NoTable | Self::NotFound => 3,
            Self::NetUnreachable => 101,
        }
    }

    /// What Linux says about it in an extended acknowledgement, if anything.
    #[must_use]
    pub const fn text(self) -> Option<&'static str> {
        Some(match self {
            Self::BadType => "Invalid route type",
            Self::OnlinkNeedsDevice => "Nexthop device required for onlink",
            Self::DeviceDown => "Nexthop device is not up",
            Self::Disabled => "IPv6 is disabled on nexthop device",
            Self::BadGateway => "Invalid gateway address",
            Self::LocalGateway => "Gateway can not be a local address",
            Self::NoEgress => "Egress device not specified",
            Self::NotOnlink => "Nexthop has invalid gateway or device mismatch",
            Self::LoopbackEgress => "Egress device can not be loopback device for this route.",
            Self::BadSource => "Invalid source address",
            Self::NothingToReplace => "Can not replace route - no match found",
            Self::NoTable => "FIB table does not exist",
            Self::DeviceOnly => "Device only routes can not be added for IPv6 using the multipath API.",
            Self::NoNexthop => "Nexthop id does not exist",
            Self::NotInet6Nexthop => "IPv6 routes can not use an IPv4 nexthop",
            Self::FdbNexthop => "Route cannot point to a fdb nexthop",
            Self::NexthopWithSource => "Nexthops can not be used with source routing",
            _ => return None,
        })
    }
}
