//! Routes as messages.

use std::net::Ipv4Addr;

use pernet_stack::{Gateway, Learned, RouteView};
use pernet_wire::Builder;
use pernet_wire::uapi::*;

use crate::handlers::metrics;
use crate::handlers::rta::*;

/// What packets learnt of the way to a destination (`rt_fill_info`).
fn exception(out: &mut Builder, route: &RouteView, learned: &Learned) {
    let table = u8::try_from(route.table).unwrap_or(RT_TABLE_COMPAT);
    let redirected = if learned.gateway.is_some() { RTCF_REDIRECTED } else { 0 };
    let [a, b, c, d] = (RTM_F_CLONED | redirected).to_ne_bytes();
    out.put_raw(&[AF_INET as u8, 32, 0, route.tos, table, 0, 0, route.kind, a, b, c, d])
        .put_u32(RTA_TABLE, route.table)
        .put(RTA_DST, &route.dst.octets());
    if let [only] = route.hops.as_slice() {
        out.put_u32(RTA_OIF, only.hop.oif);
        if only.hop.flow != 0 {
            out.put_u32(RTA_FLOW, only.hop.flow);
        }
        gateway(out, only.hop.gateway);
    }
    let mut metrics = route.info.metrics.clone();
    metrics::learned(&mut metrics, Some(learned));
    metrics::fill(out, &metrics);
    cacheinfo(out, metrics::uses(learned), metrics::expires(Some(learned)));
}

/// `struct rta_cacheinfo`: references and last use, when it ends; error, and words of older kernels.
pub(super) fn cacheinfo(out: &mut Builder, [references, used]: [u32; 2], expires: u32) {
    let words = [references, used, expires, 0, 0, 0, 0, 0].map(u32::to_ne_bytes);
    out.put(RTA_CACHEINFO, words.as_flattened());
}

/// Header and attributes of a route (`fib_dump_info`).
pub(super) fn route(out: &mut Builder, route: &RouteView) {
    if let Some(learned) = &route.learned {
        return exception(out, route, learned);
    }
    let info = &route.info;
    let table = u8::try_from(route.table).unwrap_or(RT_TABLE_COMPAT);
    let [a, b, c, d] = (if route.compat { route.flags } else { 0 }).to_ne_bytes();
    let header = [AF_INET as u8, route.dst_len, 0, route.tos, table, info.protocol, info.scope, route.kind, a, b, c, d];
    out.put_raw(&header).put_u32(RTA_TABLE, route.table);
    if route.dst_len > 0 {
        out.put(RTA_DST, &route.dst.octets());
    }
    if info.priority != 0 {
        out.put_u32(RTA_PRIORITY, info.priority);
    }
    metrics::fill(out, &info.metrics);
    if !info.prefsrc.is_unspecified() {
        out.put(RTA_PREFSRC, &info.prefsrc.octets());
    }
    if info.nhid() != 0 {
        out.put_u32(RTA_NH_ID, info.nhid());
    }
    if !route.compat {
        return;
    }
    if let [only] = route.hops.as_slice() {
        gateway(out, only.hop.gateway);
        if only.hop.oif != 0 {
            out.put_u32(RTA_OIF, only.hop.oif);
        }
        if only.hop.flow != 0 {
            out.put_u32(RTA_FLOW, only.hop.flow);
        }
    } else if !route.hops.is_empty() {
        out.nest(RTA_MULTIPATH, |nest| {
            for view in &route.hops {
                let mut inside = Builder::bare();
                gateway(&mut inside, view.hop.gateway);
                if view.hop.flow != 0 {
                    inside.put_u32(RTA_FLOW, view.hop.flow);
                }
                let inside = inside.finish();
                let len = u16::try_from(RTNEXTHOP_LEN + inside.len()).unwrap_or(u16::MAX);
                // The lower byte of the flags and of the weight is all there is room for.
                let hops = (view.hop.weight.wrapping_sub(1) & 0xff) as u8;
                let flags = (view.flags & SHOWN_FLAGS) as u8;
                let [x, y] = len.to_ne_bytes();
                let [e, f, g, h] = view.hop.oif.to_ne_bytes();
                nest.put_raw(&[x, y, flags, hops, e, f, g, h]).put_raw(&inside);
            }
        });
    }
}

const RTCF_REDIRECTED: u32 = 0x4_0000;
/// In the header's table for those that do not fit there.
pub(super) const RT_TABLE_COMPAT: u8 = 252;
/// Dead, on-link, offloaded, without carrier, trapped.
const SHOWN_FLAGS: u32 = 1 | 4 | 8 | 0x10 | 0x40;

pub(super) fn gateway(out: &mut Builder, gateway: Gateway) {
    match gateway {
        Gateway::None => {}
        Gateway::V4(address) => {
            out.put(RTA_GATEWAY, &address.octets());
        }
        Gateway::V6(address) => {
            let mut via = [0; 18];
            via[..2].copy_from_slice(&(AF_INET6 as u16).to_ne_bytes());
            via[2..].copy_from_slice(&address.octets());
            out.put(RTA_VIA, &via);
        }
    }
}

/// An address as an attribute, unless there is none.
pub(super) fn address(out: &mut Builder, ty: u16, address: Option<Ipv4Addr>) {
    if let Some(address) = address {
        out.put(ty, &address.octets());
    }
}
