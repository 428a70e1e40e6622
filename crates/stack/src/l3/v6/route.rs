//! The way out of a packet of this host (`ip6_dst_lookup_flow`).

use std::net::{IpAddr, Ipv6Addr};

use crate::dev::Link;
use crate::errno;
use crate::fib::Metrics;
use crate::inet6::{self, Flow6, RouteError6, Way6, devconf};
use crate::l2::Cx;
use crate::l3::{Flow, Reach, Route};

const RTAX_MTU: u16 = 2;
const RTAX_ADVMSS: u16 = 8;
const RTAX_HOPLIMIT: u16 = 10;
/// Largest packet that there can be, with its header.
const MAX_MTU: u32 = 65_535 + 40;

/// Finds the way.
///
/// # Errors
/// A positive errno, as `connect` and `sendto` give it.
pub(in crate::l3) fn route_output(cx: Cx<'_>, flow: &Flow, dst: Ipv6Addr) -> Result<Route, i32> {
    let src = match flow.src {
        Some(IpAddr::V6(src)) => Some(src).filter(|src| !src.is_unspecified()),
        Some(IpAddr::V4(_)) => return Err(errno::EINVAL),
        None => None,
    };
    // Nowhere in particular is here.
    let dst = if dst.is_unspecified() { Ipv6Addr::LOCALHOST } else { dst };
    let ns = cx.ns();
    let asked = Flow6 {
        dst,
        src,
        iif: 0,
        oif: flow.oif,
        mark: flow.mark,
        uid: flow.uid,
        tos: flow.tos,
        ip_proto: flow.protocol,
        sport: flow.sport,
        dport: flow.dport,
        flow_label: flow.flow_label,
        any_link_state: false,
    };
    let way = inet6::way(ns, &asked, cx.now()).map_err(RouteError6::errno)?;
    if flow.on_link && way.gateway.is_some() {
        return Err(errno::ENETUNREACH);
    }
    let link = cx.state.links.by_index(way.oif).ok_or(errno::ENODEV)?;
    let src = match src.or(way.prefsrc) {
        Some(src) => src,
        None => inet6::source(ns, dst, way.device_for_source()).ok_or(errno::EADDRNOTAVAIL)?,
    };
    let reach = if way.local {
        Reach::Local
    } else if dst.is_multicast() {
        Reach::Multicast
    } else {
        Reach::Unicast
    };
    let metric = |number| way.metrics.as_ref().map_or(0, |metrics| metrics.get(number));
    Ok(Route {
        dst: dst.into(),
        src: src.into(),
        oif: way.oif,
        device: way.device,
        next_hop: next_hop(&way, dst).into(),
        reach,
        mtu: mtu(cx, &link, way.metrics.as_deref()),
        hop_limit: u8::try_from(metric(RTAX_HOPLIMIT)).unwrap_or(0),
        advmss: metric(RTAX_ADVMSS),
    })
}

/// Whom to hand it to: groups are on the link, whatever the route says.
pub(super) fn next_hop(way: &Way6, dst: Ipv6Addr) -> Ipv6Addr {
    way.gateway.filter(|_| !dst.is_multicast()).unwrap_or(dst)
}

/// The largest packet that the route and its device let through.
pub(super) fn mtu(cx: Cx<'_>, link: &Link, metrics: Option<&Metrics>) -> u32 {
    let said = metrics.map_or(0, |metrics| metrics.get(RTAX_MTU));
    if said != 0 {
        return said.min(MAX_MTU);
    }
    // A router may have said a smaller one than the device's.
    let of_device = u32::try_from(inet6::setting(cx.ns(), link, devconf::MTU)).unwrap_or(0);
    of_device.min(link.mtu).min(MAX_MTU)
}
