//! Whether a way out can be used, and which device it leaves by (`fib6_nh_init`). Routes of both families ask, and nexthop
//! objects: an IPv4 route may have an IPv6 router.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use super::conf::{devconf, has_inet6};
use super::lookup::{self, Flow6, LOOPBACK};
use super::route::{Nexthop6, Route6, RouteError6, rtn, table};
use super::scope::is_link_local;
use super::{Idev, Inet6};
use crate::dev::{IfFlags, Link};
use crate::multipath;
use crate::state::Ns;

/// The device by which packets of a route in table `id`, or of a nexthop object (0), leave through `hop`.
///
/// # Errors
/// What is wrong with the router or the device.
pub(crate) fn check_hop(ns: Ns<'_>, now: Duration, id: u32, hop: &Nexthop6) -> Result<Arc<Link>, RouteError6> {
    let given = given(ns, hop)?;
    egress(ns, now, id, hop, given)
}

/// The device that was named, if one was.
pub(super) fn given(ns: Ns<'_>, hop: &Nexthop6) -> Result<Option<Arc<Link>>, RouteError6> {
    let given = match hop.oif {
        0 => None,
        oif => Some(ns.links.by_index(oif).filter(|link| has_inet6(link)).ok_or(RouteError6::NoDevice)?),
    };
    if hop.onlink {
        let link = given.as_ref().ok_or(RouteError6::OnlinkNeedsDevice)?;
        if !link.is_up() {
            return Err(RouteError6::DeviceDown);
        }
    }
    Ok(given)
}

/// As [`check_hop`], with the device that was named.
pub(super) fn egress(
    ns: Ns<'_>,
    now: Duration,
    id: u32,
    hop: &Nexthop6,
    given: Option<Arc<Link>>,
) -> Result<Arc<Link>, RouteError6> {
    let device = match hop.gateway {
        Some(gateway) => router_device(ns, now, id, gateway, given, hop.onlink)?,
        None => given.ok_or(RouteError6::NoDevice)?,
    };
    if ns.inet6.read().dev_conf(&device, devconf::DISABLE_IPV6) != 0 {
        return Err(RouteError6::Disabled);
    }
    if !device.is_up() {
        return Err(RouteError6::DeviceDown);
    }
    Ok(device)
}

/// The device on whose link a router is (`ip6_validate_gw`).
fn router_device(
    ns: Ns<'_>,
    now: Duration,
    id: u32,
    router: Ipv6Addr,
    given: Option<Arc<Link>>,
    onlink: bool,
) -> Result<Arc<Link>, RouteError6> {
    if router.is_multicast() || router.is_unspecified() {
        return Err(RouteError6::BadGateway);
    }
    // Whether it is this host itself is asked of the device: of the one that was named, else of the one that is found.
    let not_ours = |device: &Link| {
        let on = is_link_local(router).then_some(device.index());
        if is_ours(&ns.inet6.read(), router, on) { Err(RouteError6::LocalGateway) } else { Ok(()) }
    };
    if let Some(link) = &given {
        not_ours(link)?;
    }
    let found = match &given {
        Some(link) if is_link_local(router) => Arc::clone(link),
        Some(link) if onlink => {
            on_link(ns, now, router, link)?;
            Arc::clone(link)
        }
        None if is_link_local(router) => return Err(RouteError6::NoEgress),
        None if onlink => return Err(RouteError6::OnlinkNeedsDevice),
        _ => by_route(ns, now, id, router, given.as_ref())?,
    };
    if found.flags().contains(IfFlags::LOOPBACK) {
        return Err(RouteError6::LoopbackEgress);
    }
    not_ours(&found)?;
    Ok(found)
}

/// Whether nothing says that a router, which is said to be on the link of `device`, is elsewhere: a route of the main table, but
/// the default (`ip6_route_check_nh_onlink`).
fn on_link(ns: Ns<'_>, now: Duration, router: Ipv6Addr, device: &Link) -> Result<(), RouteError6> {
    let inet6 = ns.inet6.read();
    let by = |bound, oif| {
        let flow = Flow6 {
            dst: router,
            src: Some(Ipv6Addr::UNSPECIFIED),
            oif,
            bound,
            any_link_state: true,
            ..Flow6::default()
        };
        lookup::in_table(&inet6, table::MAIN, &flow, multipath::policy(ns, true), now)
    };
    let Some(route) = by(false, device.index()).filter(|route| !route.dst.is_any() && !leads_nowhere(route)) else {
        return Ok(());
    };
    let here = route.kind == rtn::UNICAST && route.nexthop.oif == device.index();
    if here { Ok(()) } else { Err(RouteError6::NotOnlink) }
}

/// Whether packets by that route are refused: it says so, or leads to the loopback and not to an address of ours.
fn leads_nowhere(route: &Route6) -> bool {
    route.rejects() || route.nexthop.oif == LOOPBACK && route.kind != rtn::LOCAL
}

/// The device by which `router` can be reached with no other router in between: by the route's own table, if it has one, else by
/// the rules.
fn by_route(
    ns: Ns<'_>,
    now: Duration,
    id: u32,
    router: Ipv6Addr,
    given: Option<&Arc<Link>>,
) -> Result<Arc<Link>, RouteError6> {
    let oif = given.map_or(0, |link| link.index());
    let flow = Flow6 { dst: router, oif, any_link_state: true, ..Flow6::default() };
    let direct = |route: &Route6| !leads_nowhere(route) && route.nexthop.gateway.is_none();
    let own = if matches!(id, 0 | table::LOCAL) {
        None
    } else {
        lookup::in_table(&ns.inet6.read(), id, &flow, multipath::policy(ns, true), now)
    };
    let found = match own.filter(|route| direct(route)) {
        Some(route) => route,
        None => {
            let (_, route) = lookup::by_rules(ns, &flow, now).map_err(|_| RouteError6::UnreachableGateway)?;
            Some(route).filter(|route| direct(route)).ok_or(RouteError6::UnreachableGateway)?
        }
    };
    match given {
        Some(link) => Ok(Arc::clone(link)),
        None => ns.links.by_index(found.nexthop.oif).ok_or(RouteError6::UnreachableGateway),
    }
}

/// Whether `addr` is assigned and in use, on one device or on any.
pub(super) fn is_ours(inet6: &Inet6, addr: Ipv6Addr, ifindex: Option<u32>) -> bool {
    let has = |idev: &Idev| idev.find(addr).is_some_and(|ifa| !ifa.is_unusable());
    match ifindex {
        Some(ifindex) => inet6.dev(ifindex).is_some_and(has),
        None => inet6.devs.values().any(|idev| has(idev)),
    }
}
