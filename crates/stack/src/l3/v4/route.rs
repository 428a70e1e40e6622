//! The way out of a packet of this host (`ip_route_output_flow`).

use std::net::{IpAddr, Ipv4Addr};

use crate::dev::Link;
use crate::errno;
use crate::fib::{self, FibInfo, Gateway, How, RouteQuery, route_type};
use crate::l2::Cx;
use crate::l3::{Flow, Reach, Route};

/// Numbers of metrics of a route (`RTAX_*`).
const RTAX_LOCK: u16 = 1;
const RTAX_MTU: u16 = 2;
const RTAX_ADVMSS: u16 = 8;
const RTAX_HOPLIMIT: u16 = 10;
/// Largest packet that there can be.
const MAX_MTU: u32 = 65_535;

/// Finds the way.
///
/// # Errors
/// A positive errno, as `connect` and `sendto` give it.
pub(in crate::l3) fn route_output(cx: Cx<'_>, flow: &Flow, dst: Ipv4Addr) -> Result<Route, i32> {
    let src = match flow.src {
        Some(IpAddr::V4(src)) => src,
        Some(IpAddr::V6(_)) => return Err(errno::EINVAL),
        None => Ipv4Addr::UNSPECIFIED,
    };
    let query = RouteQuery {
        dst,
        src,
        iif: 0,
        oif: flow.oif,
        mark: flow.mark,
        tos: flow.tos,
        uid: flow.uid,
        protocol: flow.protocol,
        sport: flow.sport,
        dport: flow.dport,
        fib_match: false,
    };
    let how = How { any_source: flow.any_source, on_link: flow.on_link };
    let way = fib::route_output(cx.ns(), &query, how, &mut None)?;
    let link = cx.state.links.by_index(way.oif).ok_or(errno::ENODEV)?;
    let src = if src.is_unspecified() { way.prefsrc.unwrap_or(Ipv4Addr::UNSPECIFIED) } else { src };
    // Nowhere in particular is here.
    let dst = if dst.is_unspecified() { src } else { dst };
    let reach = match way.kind {
        route_type::LOCAL => Reach::Local,
        route_type::BROADCAST => Reach::Broadcast,
        route_type::MULTICAST => Reach::Multicast,
        _ => Reach::Unicast,
    };
    let metric = |number| way.info.as_ref().map_or(0, |info| info.metrics.get(number));
    Ok(Route {
        dst: dst.into(),
        src: src.into(),
        oif: way.oif,
        device: way.oif,
        next_hop: next_hop(way.gateway, dst),
        reach,
        mtu: mtu(&link, way.info.as_deref()),
        hop_limit: u8::try_from(metric(RTAX_HOPLIMIT)).unwrap_or(0),
        advmss: metric(RTAX_ADVMSS),
    })
}

/// Whom to hand it to.
pub(super) fn next_hop(gateway: Gateway, dst: Ipv4Addr) -> IpAddr {
    match gateway {
        Gateway::None => dst.into(),
        Gateway::V4(gateway) => gateway.into(),
        Gateway::V6(gateway) => gateway.into(),
    }
}

/// The largest packet that the route and its device let through.
pub(super) fn mtu(link: &Link, info: Option<&FibInfo>) -> u32 {
    let said = info.map_or(0, |info| info.metrics.get(RTAX_MTU));
    if said == 0 { link.mtu.min(MAX_MTU) } else { said.min(MAX_MTU) }
}

/// Whether the route says that its MTU is what it is, whatever is learnt.
pub(super) fn mtu_is_locked(info: Option<&FibInfo>) -> bool {
    info.is_some_and(|info| info.metrics.get(RTAX_LOCK) & 1 << RTAX_MTU != 0)
}
