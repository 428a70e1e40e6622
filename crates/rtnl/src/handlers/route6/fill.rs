//! A route as bytes (`rt6_fill_node`).

use std::net::Ipv6Addr;

use pernet_stack::{Answer6, Flow6, Learned, Nexthop6, PrefixInfo, RouteInfo6};
use pernet_wire::Builder;
use pernet_wire::uapi::*;

use super::request::RTNH_F_ONLINK;
use crate::handlers::metrics;
use crate::handlers::rta::*;

/// What a table's number is in a byte if it does not fit (`RT_TABLE_COMPAT`).
const RT_TABLE_COMPAT: u8 = 252;
const RTN_LOCAL: u8 = 2;

struct Body {
    dst_len: u8,
    src_len: u8,
    flags: u32,
}

fn header(out: &mut Builder, route: &RouteInfo6, body: &Body) {
    let [a, b, c, d] = body.flags.to_ne_bytes();
    let table = u8::try_from(route.table).unwrap_or(RT_TABLE_COMPAT);
    out.put_raw(&[AF_INET6 as u8, body.dst_len, body.src_len, 0, table, route.proto, 0, route.kind, a, b, c, d]);
    out.put_u32(RTA_TABLE, route.table);
}

/// A router's prefix (`inet6_fill_prefix`).
pub(super) fn prefix(out: &mut Builder, ifindex: u32, info: &PrefixInfo) {
    const OPTION: u8 = 3;
    const PREFIX_ADDRESS: u16 = 1;
    const PREFIX_CACHEINFO: u16 = 2;
    let [a, b, c, d] = ifindex.to_ne_bytes();
    out.put_raw(&[AF_INET6 as u8, 0, 0, 0, a, b, c, d, OPTION, info.len, info.flags, 0]);
    out.put(PREFIX_ADDRESS, &info.prefix.octets());
    let times = [info.preferred, info.valid].map(u32::to_ne_bytes);
    out.put(PREFIX_CACHEINFO, times.as_flattened());
}

/// What a router said that is for programs (`ndisc_ra_useropt`).
pub(super) fn user_option(out: &mut Builder, ifindex: u32, router: Ipv6Addr, option: &[u8]) {
    const ROUTER_ADVERT: u8 = 134;
    const NDUSEROPT_SRCADDR: u16 = 1;
    let [low, high] = u16::try_from(option.len()).unwrap_or(0).to_ne_bytes();
    let [a, b, c, d] = ifindex.to_ne_bytes();
    out.put_raw(&[AF_INET6 as u8, 0, low, high, a, b, c, d, ROUTER_ADVERT, 0, 0, 0, 0, 0, 0, 0]);
    // A multiple of eight bytes, as options are.
    out.put_raw(option);
    out.put(NDUSEROPT_SRCADDR, &router.octets());
}

/// A route as it stands in its table, or what packets learnt of one.
pub(super) fn route(out: &mut Builder, route: &RouteInfo6) {
    if let Some(learned) = &route.learned {
        return exception(out, route, learned);
    }
    let (nexthop, flags) = &route.nexthop;
    let several = !route.nexthops.is_empty();
    let shown = if several || !route.tells_nexthops { 0 } else { u32::from(*flags) };
    header(out, route, &Body { dst_len: route.dst.prefix_len(), src_len: route.src.prefix_len(), flags: shown });
    if route.dst.prefix_len() > 0 {
        out.put(RTA_DST, &route.dst.addr().octets());
    }
    if route.src.prefix_len() > 0 {
        out.put(RTA_SRC, &route.src.addr().octets());
    }
    common(out, route);
    if route.nh_id != 0 {
        out.put_u32(RTA_NH_ID, route.nh_id);
    }
    if !route.tells_nexthops {
        // Whoever wants to know asks for the object.
    } else if several {
        out.nest(RTA_MULTIPATH, |list| {
            for (nexthop, flags) in &route.nexthops {
                one_of_several(list, nexthop, *flags);
            }
        });
    } else {
        if let Some(gateway) = nexthop.gateway {
            out.put(RTA_GATEWAY, &gateway.octets());
        }
        out.put_u32(RTA_OIF, nexthop.oif);
    }
    tail(out, route, [0, 0], route.expires.unwrap_or(0));
}

/// What packets learnt of the way to a destination.
fn exception(out: &mut Builder, route: &RouteInfo6, learned: &Learned) {
    header(out, route, &Body { dst_len: 128, src_len: 0, flags: RTM_F_CLONED });
    out.put(RTA_DST, &route.dst.addr().octets());
    with_learned(out, route, learned);
    let (nexthop, _) = &route.nexthop;
    if let Some(gateway) = nexthop.gateway {
        out.put(RTA_GATEWAY, &gateway.octets());
    }
    out.put_u32(RTA_OIF, nexthop.oif);
    tail(out, route, metrics::uses(learned), metrics::expires(Some(learned)).cast_signed());
}

/// As [`common`], with what packets learnt.
fn with_learned(out: &mut Builder, route: &RouteInfo6, learned: &Learned) {
    let mut metrics = route.metrics.as_deref().cloned().unwrap_or_default();
    metrics::learned(&mut metrics, Some(learned));
    common(out, &RouteInfo6 { metrics: Some(metrics.into()), ..route.clone() });
}

/// What a route says of itself, whoever asks: source, metrics, priority.
fn common(out: &mut Builder, route: &RouteInfo6) {
    if let Some(prefsrc) = route.prefsrc {
        out.put(RTA_PREFSRC, &prefsrc.octets());
    }
    if let Some(values) = &route.metrics {
        metrics::fill(out, values);
    }
    out.put_u32(RTA_PRIORITY, route.metric);
}

fn tail(out: &mut Builder, route: &RouteInfo6, used: [u32; 2], expires: i32) {
    // References, last use, expiry; error, uses, and three words of older kernels.
    let words = [used[0], used[1], expires.cast_unsigned(), 0, 0, 0, 0, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    out.put(RTA_CACHEINFO, &bytes).put_u8(RTA_PREF, route.pref);
}

/// `struct rtnexthop`: its own length, flags, weight less one, device; then its attributes.
fn one_of_several(out: &mut Builder, nexthop: &Nexthop6, flags: u8) {
    let attrs = if nexthop.gateway.is_some() { 20 } else { 0 };
    let [hops, ..] = nexthop.weight.saturating_sub(1).to_le_bytes();
    let [a, b, c, d] = nexthop.oif.to_ne_bytes();
    let [low, high] = (8_u16 + attrs).to_ne_bytes();
    out.put_raw(&[low, high, flags, hops, a, b, c, d]);
    if let Some(gateway) = nexthop.gateway {
        out.put(RTA_GATEWAY, &gateway.octets());
    }
}

/// The answer to a question for the way of a packet: about one address, with what was found out for it.
pub(super) fn answer(out: &mut Builder, flow: &Flow6, answer: &Answer6) {
    let route = &answer.route;
    let (_, state) = route.nexthop;
    // A packet's way shows nothing of the state of a carrier.
    let learned = if answer.learned.is_some() { RTM_F_CLONED } else { 0 };
    let flags = u32::from(state & RTNH_F_ONLINK) | learned;
    header(out, route, &Body { dst_len: 128, src_len: 128, flags });
    out.put(RTA_DST, &flow.dst.octets()).put(RTA_SRC, &flow.src.unwrap_or(Ipv6Addr::UNSPECIFIED).octets());
    if flow.iif != 0 {
        out.put_u32(RTA_IIF, flow.iif);
    } else if let Some(prefsrc) = answer.prefsrc {
        out.put(RTA_PREFSRC, &prefsrc.octets());
    }
    match &answer.learned {
        None => common(out, route),
        Some(learned) => with_learned(out, route, learned),
    }
    if let Some(gateway) = answer.gateway.filter(|_| route.kind != RTN_LOCAL) {
        out.put(RTA_GATEWAY, &gateway.octets());
    }
    out.put_u32(RTA_OIF, answer.oif);
    tail(out, route, [ANSWER_REFERENCES, 0], metrics::expires(answer.learned.as_ref()).cast_signed());
}

/// Who holds the answer while it is sent, as the kernel counts.
const ANSWER_REFERENCES: u32 = 2;
