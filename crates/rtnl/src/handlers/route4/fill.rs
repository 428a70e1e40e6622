//! Routes as messages.

use std::net::Ipv4Addr;

use pernet_stack::{Gateway, RouteView};
use pernet_wire::Builder;
use pernet_wire::uapi::*;

use crate::handlers::metrics;
use crate::handlers::rta::*;

/// Header and attributes of a route (`fib_dump_info`).
pub(super) fn route(out: &mut Builder, route: &RouteView) {
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
