//! The way out of a packet of this host (`ip_route_output_flow`).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::header::Ipv4Header;
use crate::dev::Link;
use crate::errno;
use crate::fib::{self, FibInfo, Gateway, How, RouteQuery, route_type, rtcf};
use crate::l2::Cx;
use crate::l3::{Flow, Learned, Path, Reach, Route, exception};
use crate::sysctl;

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
        src,
        oif: flow.oif,
        mark: flow.mark,
        tos: flow.tos,
        uid: flow.uid,
        protocol: flow.protocol,
        sport: flow.sport,
        dport: flow.dport,
        ..RouteQuery::to(dst)
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
        // What is sent to the loopback device stays here, whosever the address is.
        _ if way.flags & rtcf::LOCAL != 0 => Reach::Local,
        _ => Reach::Unicast,
    };
    let metric = |number| way.info.as_ref().map_or(0, |info| info.metrics.get(number));
    let learned = if reach == Reach::Unicast { learned(cx, &way.path(dst)) } else { None };
    let mtu = learnt_mtu(mtu(&link, way.info.as_deref()), learned.as_ref());
    Ok(Route {
        dst: dst.into(),
        src: src.into(),
        oif: way.oif,
        device: way.device,
        next_hop: learned.and_then(|learned| learned.gateway).unwrap_or_else(|| next_hop(way.gateway, dst)),
        reach,
        mtu,
        hop_limit: u8::try_from(metric(RTAX_HOPLIMIT)).unwrap_or(0),
        advmss: metric(RTAX_ADVMSS),
    })
}

/// What was learnt of a path.
pub(super) fn learned(cx: Cx<'_>, path: &Path) -> Option<Learned> {
    exception::learned(cx.state, path, cx.now())
}

/// The largest packet that was heard to pass.
fn learnt_mtu(mtu: u32, learned: Option<&Learned>) -> u32 {
    learned.and_then(|learned| learned.mtu).map_or(mtu, |said| said.min(mtu))
}

/// Somebody on the way to where a packet of ours went could not send it on whole (`__ip_rt_update_pmtu`).
pub(super) fn learn_mtu(cx: Cx<'_>, packet: &Ipv4Header, said: u32) {
    let ns = cx.ns();
    if said == 0 || sysctl::number_or(ns, "ipv4/ip_no_pmtu_disc", 0) == 1 {
        return;
    }
    // Nobody is told of packets that this host did not send.
    if fib::address_type(ns, packet.src) != route_type::LOCAL {
        return;
    }
    let query =
        RouteQuery { src: packet.src, tos: packet.tos & 0xfc, protocol: packet.protocol, ..RouteQuery::to(packet.dst) };
    let Ok(way) = fib::route_output(ns, &query, How { any_source: true, on_link: false }, &mut None) else { return };
    let Some(link) = cx.state.links.by_index(way.oif) else { return };
    if way.kind != route_type::UNICAST || mtu_is_locked(way.info.as_deref()) {
        return;
    }
    let path = way.path(packet.dst);
    let known = learnt_mtu(mtu(&link, way.info.as_deref()), learned(cx, &path).as_ref());
    if known < said {
        return;
    }
    // Whoever names less than every path carries is not to make this host send crumbs.
    let least = u32::try_from(sysctl::number_or(ns, "ipv4/route/min_pmtu", 552)).unwrap_or(0);
    let locked = said < least;
    let mtu = if locked { known.min(least) } else { said };
    let lasts = u64::try_from(sysctl::number_or(ns, "ipv4/route/mtu_expires", 600)).unwrap_or(0);
    cx.state.l3.exceptions.learn_mtu(path, cx.now(), (mtu, locked), Duration::from_secs(lasts));
    cx.stack.changed();
}

/// Whom to hand it to.
pub(super) fn next_hop(gateway: Gateway, dst: Ipv4Addr) -> IpAddr {
    gateway.addr().unwrap_or(IpAddr::V4(dst))
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
