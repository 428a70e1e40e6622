//! The way out of a packet of this host (`ip6_dst_lookup_flow`).

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::header::Ipv6Header;
use crate::dev::Link;
use crate::errno;
use crate::fib::Metrics;
use crate::inet6::{self, Flow6, Way6, devconf};
use crate::l2::Cx;
use crate::l3::{Flow, Learned, Path, Reach, Route, exception};
use crate::sysctl;

const RTAX_LOCK: u16 = 1;
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
        bound: flow.bound,
        mark: flow.mark,
        uid: flow.uid,
        tos: flow.tos,
        ip_proto: flow.protocol,
        sport: flow.sport,
        dport: flow.dport,
        flow_label: flow.flow_label,
        any_link_state: false,
        spread: None,
    };
    let way = inet6::way(ns, &asked, cx.now()).map_err(|error| {
        // Linux looks for an address to send from before it minds that there is no way.
        // A device that there is not has no part in that.
        let device = if cx.state.links.by_index(flow.oif).is_some() { flow.oif } else { 0 };
        let addressless = src.is_none() && inet6::source(ns, dst, device, flow.prefer).is_none();
        if addressless && matches!(error.errno(), errno::ENETUNREACH) { errno::EADDRNOTAVAIL } else { error.errno() }
    })?;
    if flow.on_link && way.gateway.is_some() {
        return Err(errno::ENETUNREACH);
    }
    let link = cx.state.links.by_index(way.oif).ok_or(errno::ENODEV)?;
    let src = match src.or(way.prefsrc) {
        Some(src) => src,
        None => inet6::source(ns, dst, way.device_for_source(), flow.prefer).ok_or(errno::EADDRNOTAVAIL)?,
    };
    if src.to_ipv4_mapped().is_some() {
        return Err(errno::EAFNOSUPPORT);
    }
    let reach = if way.local {
        Reach::Local
    } else if dst.is_multicast() {
        Reach::Multicast
    } else {
        Reach::Unicast
    };
    let metric = |number| way.metrics.as_ref().map_or(0, |metrics| metrics.get(number));
    let learned = if reach == Reach::Unicast { learned(cx, &way.path(dst)) } else { None };
    let mtu = learnt_mtu(mtu(cx, &link, way.metrics.as_deref()), learned.as_ref());
    Ok(Route {
        dst: dst.into(),
        src: src.into(),
        oif: way.oif,
        device: way.device,
        next_hop: learned.and_then(|learned| learned.gateway).unwrap_or_else(|| next_hop(&way, dst).into()),
        reach,
        mtu,
        hop_limit: u8::try_from(metric(RTAX_HOPLIMIT)).unwrap_or(0),
        advmss: metric(RTAX_ADVMSS),
    })
}

/// What was learnt of a path.
fn learned(cx: Cx<'_>, path: &Path) -> Option<Learned> {
    exception::learned(cx.state, path, cx.now())
}

/// The largest packet that was heard to pass.
fn learnt_mtu(mtu: u32, learned: Option<&Learned>) -> u32 {
    learned.and_then(|learned| learned.mtu).map_or(mtu, |said| said.min(mtu))
}

/// The way of a packet of ours that somebody says something of, and the path that it took.
fn path_of(cx: Cx<'_>, packet: &Ipv6Header, iif: u32) -> Option<(Way6, Path)> {
    let ns = cx.ns();
    let own = Flow6 { dst: packet.src, ..Flow6::default() };
    // Nobody is told of packets that this host did not send.
    inet6::way(ns, &own, cx.now()).ok().filter(|way| way.local)?;
    let flow = Flow6 {
        dst: packet.dst,
        src: Some(packet.src),
        oif: if inet6::needs_device(packet.dst) { iif } else { 0 },
        flow_label: packet.flow_label,
        ..Flow6::default()
    };
    let way = inet6::way(ns, &flow, cx.now()).ok().filter(|way| !way.local && !packet.dst.is_multicast())?;
    let path = way.path(packet.dst);
    Some((way, path))
}

/// Somebody on the way to where a packet of ours went could not send it on (`__ip6_rt_update_pmtu`).
pub(super) fn learn_mtu(cx: Cx<'_>, packet: &Ipv6Header, iif: u32, said: u32) {
    let Some((way, path)) = path_of(cx, packet, iif) else { return };
    let Some(link) = cx.state.links.by_index(way.oif) else { return };
    if way.metrics.as_ref().is_some_and(|metrics| metrics.get(RTAX_LOCK) & 1 << RTAX_MTU != 0) {
        return;
    }
    // Every link carries as much.
    let said = said.max(1280);
    if said >= learnt_mtu(mtu(cx, &link, way.metrics.as_deref()), learned(cx, &path).as_ref()) {
        return;
    }
    let lasts = u64::try_from(sysctl::number_or(cx.ns(), "ipv6/route/mtu_expires", 600)).unwrap_or(0);
    cx.state.l3.exceptions.learn_mtu(path, cx.now(), (said, false), Duration::from_secs(lasts));
    cx.stack.changed();
}

/// The router `from` says that packets to `dst` are better sent to `nearer`, which may be `dst` itself (`rt6_do_redirect`).
pub(super) fn learn_gateway(cx: Cx<'_>, link: &Link, from: Ipv6Addr, dst: Ipv6Addr, nearer: Ipv6Addr) {
    let flow = Flow6 { dst, oif: link.index(), ..Flow6::default() };
    let Ok(way) = inet6::way(cx.ns(), &flow, cx.now()) else { return };
    let path = way.path(dst);
    // Only the router that is used may name another.
    let used = learned(cx, &path).and_then(|learned| learned.gateway).or(path.gateway);
    if !way.local && used == Some(from.into()) {
        cx.state.l3.exceptions.learn_gateway(path, cx.now(), nearer.into());
        cx.stack.changed();
    }
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
