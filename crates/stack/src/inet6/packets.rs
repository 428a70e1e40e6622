//! What packets ask of the configuration.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::conf::{devconf, has_inet6};
use super::idev::BORN_GROUPS;
use super::lookup::{Flow6, LOOPBACK, by_rules};
use super::route::{RouteError6, rtn};
use super::scope::{level, scope};
use super::{Inet6, Prefer, select};
use crate::dev::Link;
use crate::fib::Metrics;
use crate::l3::{Path, RouteId};
use crate::state::Ns;

/// The way of a packet, as it goes (`struct rt6_info`).
#[derive(Clone, Debug)]
pub(crate) struct Way6 {
    /// The route is one for a while.
    pub(crate) ends: bool,
    /// It is for this host: for one of its addresses, or for one that several have.
    pub(crate) local: bool,
    pub(crate) multicast: bool,
    /// Device it leaves by: for this host, the loopback.
    pub(crate) oif: u32,
    /// Device that the route names: for this host, the one that has the address.
    pub(crate) device: u32,
    pub(crate) gateway: Option<Ipv6Addr>,
    /// The address to send from that the route says.
    pub(crate) prefsrc: Option<Ipv6Addr>,
    pub(crate) metrics: Option<Arc<Metrics>>,
    /// Bits of the destination that the route is for.
    pub(crate) prefix_len: u8,
    route: RouteId,
}

impl Way6 {
    /// What is learnt of the way of packets to `dst` is learnt of this.
    pub(crate) fn path(&self, dst: Ipv6Addr) -> Path {
        Path { route: self.route.number(), dst: dst.into(), oif: self.oif, gateway: self.gateway.map(IpAddr::V6) }
    }
}

/// Finds the way of a packet (`ip6_route_output`, `ip6_route_input`).
pub(crate) fn way(ns: Ns<'_>, flow: &Flow6, now: Duration) -> Result<Way6, RouteError6> {
    let (_, route) = by_rules(ns, flow, now)?;
    let anycast = route.kind == rtn::ANYCAST;
    let local = route.kind == rtn::LOCAL || anycast;
    Ok(Way6 {
        local,
        ends: route.expires.is_some(),
        multicast: route.kind == rtn::MULTICAST,
        oif: if local { LOOPBACK } else { route.nexthop.oif },
        device: route.nexthop.oif,
        gateway: route.nexthop.gateway,
        prefsrc: route.prefsrc,
        metrics: route.metrics.clone(),
        prefix_len: route.dst.prefix_len(),
        route: route.id,
    })
}

/// Whether it is an anycast address of ours (`ipv6_chk_acast_addr_src`).
pub(crate) fn is_anycast(ns: Ns<'_>, addr: Ipv6Addr, now: Duration) -> bool {
    let flow = Flow6 { dst: addr, ..Flow6::default() };
    by_rules(ns, &flow, now).is_ok_and(|(_, route)| route.kind == rtn::ANYCAST)
}

/// Whether the device does IPv6 now.
pub(crate) fn runs(ns: Ns<'_>, link: &Link) -> bool {
    has_inet6(link) && setting(ns, link, devconf::DISABLE_IPV6) == 0
}

/// A setting of a device by its number.
pub(crate) fn setting(ns: Ns<'_>, link: &Link, number: usize) -> i32 {
    match ns.state().peek_inet6() {
        Some(inet6) => inet6.dev_conf(link, number),
        None => super::conf::of_device(link, number).unwrap_or(0),
    }
}

/// A setting for all devices by its number.
pub(crate) fn setting_of_all(ns: Ns<'_>, number: usize) -> i32 {
    match ns.state().peek_inet6() {
        Some(inet6) => inet6.all_conf(number),
        None => super::conf::built_in(true, number).unwrap_or(0),
    }
}

/// Whether a device listens to a group (`ipv6_chk_mcast_addr`).
pub(crate) fn is_member(ns: Ns<'_>, ifindex: u32, group: Ipv6Addr) -> bool {
    let inet6 = ns.state().peek_inet6();
    match inet6.as_ref().and_then(|inet6| inet6.dev(ifindex)) {
        Some(idev) => idev.groups.iter().any(|m| m.addr == group),
        None => BORN_GROUPS.contains(&group),
    }
}

/// The groups that a device listens to.
pub(crate) fn groups_of(ns: Ns<'_>, ifindex: u32) -> Vec<Ipv6Addr> {
    let inet6 = ns.state().peek_inet6();
    let idev = inet6.as_ref().and_then(|inet6| inet6.dev(ifindex));
    idev.map_or_else(|| BORN_GROUPS.to_vec(), |idev| idev.groups.iter().map(|m| m.addr).collect())
}

/// What an address is to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// One of its own, in use.
    Own,
    /// One of its own that is being checked, and answers nobody.
    Tentative,
    /// One of its own that is being checked, and in use.
    Optimistic,
    /// Others have it too.
    Anycast,
}

/// What `addr` is to the device with index `ifindex`; `None` for a stranger's.
pub(crate) fn target(ns: Ns<'_>, ifindex: u32, addr: Ipv6Addr) -> Option<Target> {
    use super::idev::ifa_flag;
    let inet6 = ns.state().peek_inet6()?;
    let idev = inet6.dev(ifindex)?;
    match idev.find(addr) {
        Some(ifa) if ifa.has(ifa_flag::OPTIMISTIC) => Some(Target::Optimistic),
        Some(ifa) if ifa.has(ifa_flag::TENTATIVE) => Some(Target::Tentative),
        Some(_) => Some(Target::Own),
        None => idev.anycast.iter().any(|m| m.addr == addr).then_some(Target::Anycast),
    }
}

/// The address to send from (`ipv6_dev_get_saddr`).
pub(crate) fn source(ns: Ns<'_>, dst: Ipv6Addr, oif: u32, prefer: Prefer) -> Option<Ipv6Addr> {
    let inet6 = ns.state().peek_inet6()?;
    select::source(&ns.state().links, &inet6, dst, oif, prefer)
}

/// The link-local address of a device, if it is in use (`ipv6_get_lladdr`).
pub(crate) fn link_local_of(ns: Ns<'_>, ifindex: u32) -> Option<Ipv6Addr> {
    let inet6 = ns.state().peek_inet6()?;
    let found = inet6.dev(ifindex)?.addrs.iter().find(|ifa| is_link_local(ifa.addr) && !ifa.is_unusable());
    found.map(|ifa| ifa.addr)
}

/// Whether an address means something on its link only, so that the device has to be said (`rt6_need_strict`).
pub(crate) fn needs_device(addr: Ipv6Addr) -> bool {
    is_link_local(addr) || addr.is_multicast() && matches!(scope(addr), level::HOST | level::LINK)
}

/// The scope of an address, as a number that can be compared.
pub(crate) fn reach_of(addr: Ipv6Addr) -> u8 {
    scope(addr)
}

/// Whether the address is still to be asked for in this round of its check.
pub(crate) fn is_checked(ns: Ns<'_>, ifindex: u32, addr: Ipv6Addr, round: u32) -> bool {
    let known = |inet6: &Inet6| {
        let idev = inet6.dev(ifindex).filter(|idev| idev.ready)?;
        idev.find(addr).map(|ifa| ifa.pending && ifa.dad_round == round)
    };
    ns.state().peek_inet6().and_then(|inet6| known(&inet6)).unwrap_or(false)
}

pub(crate) use super::scope::{is_link_local, solicited_node};

impl Way6 {
    /// The device whose addresses are the first to send from.
    pub(crate) const fn device_for_source(&self) -> u32 {
        if self.local { LOOPBACK } else { self.oif }
    }
}
