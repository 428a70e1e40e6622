//! What requests about routes may contain, and how they are read.

use std::net::{Ipv4Addr, Ipv6Addr};

use pernet_stack::{Dump4Filter, Gateway, HopConfig, Listing, RouteConfig, route_type};
use pernet_wire::uapi::*;
use pernet_wire::{Attr, AttrTable, Attrs, Errno, ExtAck, Kind, Policy, PolicyTlv, Strictness, parse};

use super::RTMSG_LEN;
use crate::handlers::rta::*;
use crate::handlers::{Request, metrics, refuse};

const ANY: Option<Kind> = Some(Kind::Any);
const U8: Option<Kind> = Some(Kind::U8);
const U16: Option<Kind> = Some(Kind::U16);
const U32: Option<Kind> = Some(Kind::U32);

/// `rtm_ipv4_policy`.
const POLICY: Policy = Policy(&[
    None,
    U32,                           // 1 DST
    U32,                           // 2 SRC
    U32,                           // 3 IIF
    U32,                           // 4 OIF
    U32,                           // 5 GATEWAY
    U32,                           // 6 PRIORITY
    U32,                           // 7 PREFSRC
    Some(Kind::Nested),            // 8 METRICS
    Some(Kind::MinLen { min: 8 }), // 9 MULTIPATH
    ANY,                           // 10
    U32,                           // 11 FLOW
    ANY,                           // 12 CACHEINFO
    ANY,                           // 13
    ANY,                           // 14
    U32,                           // 15 TABLE
    U32,                           // 16 MARK
    ANY,                           // 17
    ANY,                           // 18 VIA
    ANY,                           // 19 NEWDST
    ANY,                           // 20 PREF
    U16,                           // 21 ENCAP_TYPE
    Some(Kind::Nested),            // 22 ENCAP
    ANY,                           // 23 EXPIRES
    ANY,                           // 24 PAD
    U32,                           // 25 UID
    ANY,                           // 26
    U8,                            // 27 IP_PROTO
    U16,                           // 28 SPORT
    U16,                           // 29 DPORT
    U32,                           // 30 NH_ID
]);

/// Types that are known and not for IPv4.
const UNSUPPORTED: u16 = 31;

/// What the request is for: what is wrong with the hops of a route to be deleted only means that none fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    New,
    Del,
}

/// The attributes of a request about IPv4 routes, with what the newer of them are judged by beyond the policy.
pub(super) fn attributes<'a>(request: &Request<'a>, how: Strictness, ext: &mut ExtAck) -> Result<AttrTable<'a>, Errno> {
    let mut own = None;
    for attr in request.msg.attrs(RTMSG_LEN) {
        if attr.ty == RTA_NH_ID && attr.payload.len() != 4 {
            own = Some(("invalid attribute length", attr));
        } else if attr.ty == UNSUPPORTED {
            own = Some(("Unsupported attribute", attr));
        }
        if own.is_some() {
            break;
        }
    }
    let table = parse(&request.msg, RTMSG_LEN, &POLICY, how, ext);
    let earlier = own.filter(|(_, attr)| table.is_ok() || ext.offset.is_some_and(|offset| attr.offset <= offset));
    match earlier {
        Some((text, attr)) => {
            ext.set_msg_attr(text, &attr);
            if attr.ty == RTA_NH_ID {
                ext.policy = Some(PolicyTlv::new(NL_ATTR_TYPE_U32).unsigned(0, u64::from(u32::MAX)));
            }
            Err(Errno::EINVAL)
        }
        None => table,
    }
}

pub(super) fn address(attr: &Attr<'_>) -> Option<Ipv4Addr> {
    attr.payload.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes))
}

/// Header and attributes as a route (`rtm_to_fib_config`).
pub(super) fn config(request: &Request<'_>, ext: &mut ExtAck, what: For) -> Result<RouteConfig, Errno> {
    let Some(header) = request.msg.payload().first_chunk::<RTMSG_LEN>() else {
        return Err(Errno::EINVAL);
    };
    let [_, dst_len, _, tos, table, protocol, scope, kind, a, b, c, d] = *header;
    let flags = u32::from_ne_bytes([a, b, c, d]);
    let attrs = attributes(request, Strictness::Legacy, ext)?;
    let number = |ty| attrs.get(ty).and_then(|attr| attr.u32()).unwrap_or(0);
    let dst = attrs.get(RTA_DST).and_then(|attr| address(&attr));
    if tos & 3 != 0 {
        return refuse(ext, "Invalid dsfield (tos): ECN bits must be 0");
    }
    if kind > route_type::MAX {
        return refuse(ext, "Invalid route type");
    }
    let mut out = RouteConfig {
        dst,
        dst_len,
        tos,
        table: attrs.get(RTA_TABLE).map_or_else(|| table.into(), |_| number(RTA_TABLE)),
        protocol,
        scope,
        kind,
        flags,
        oif: number(RTA_OIF),
        prefsrc: attrs.get(RTA_PREFSRC).and_then(|attr| address(&attr)).filter(|src| !src.is_unspecified()),
        priority: number(RTA_PRIORITY),
        flow: number(RTA_FLOW),
        nhid: number(RTA_NH_ID),
        ..RouteConfig::default()
    };
    let gateway = attrs.get(RTA_GATEWAY).and_then(|attr| address(&attr)).filter(|gateway| !gateway.is_unspecified());
    out.gateway = gateway.map_or(Gateway::None, Gateway::V4);
    if let Some(via) = attrs.get(RTA_VIA) {
        if attrs.get(RTA_GATEWAY).is_some() {
            return refuse(ext, "Nexthop configuration can not contain both GATEWAY and VIA");
        }
        out.gateway = self::via(&via, ext)?;
    }
    if let Some(metrics) = attrs.get(RTA_METRICS) {
        out.metrics = metrics::read(&metrics, ext)?;
    }
    encap(&attrs, ext)?;
    if let Some(multipath) = attrs.get(RTA_MULTIPATH) {
        out.hops = match hops(&multipath, ext) {
            Ok(hops) => Some(hops),
            // No hop at all: a list that no route fits.
            Err(_) if what == For::Del => {
                *ext = ExtAck::default();
                Some(Vec::new())
            }
            Err(errno) => return Err(errno),
        };
    }
    if dst_len > 32 {
        return refuse(ext, "Invalid prefix length");
    }
    let host_bits = if dst_len == 0 { u32::MAX } else { u32::MAX.checked_shr(dst_len.into()).unwrap_or(0) };
    if u32::from(dst.unwrap_or(Ipv4Addr::UNSPECIFIED)) & host_bits != 0 {
        return refuse(ext, "Invalid prefix for given prefix length");
    }
    if out.nhid != 0 && (out.oif != 0 || out.gateway.is_some() || out.hops.is_some() || has_encap(&attrs)) {
        return refuse(ext, "Nexthop specification and nexthop id are mutually exclusive");
    }
    Ok(out)
}

fn has_encap(attrs: &AttrTable<'_>) -> bool {
    attrs.get(RTA_ENCAP).is_some() || attrs.get(RTA_ENCAP_TYPE).is_some()
}

/// Tunnels by route are not to be had, as on Linux without their modules.
fn encap(attrs: &AttrTable<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    /// None of these are numbers of tunnels: none, and what is behind the last.
    const TYPES: std::ops::RangeInclusive<u16> = 1..=10;
    if let Some(ty) = attrs.get(RTA_ENCAP_TYPE).and_then(|attr| attr.u16()) {
        if !TYPES.contains(&ty) {
            return refuse(ext, "Unknown lwt encapsulation type");
        }
        ext.set_msg("lwt encapsulation type not supported");
        return Err(Errno::EOPNOTSUPP);
    }
    if let Some(attr) = attrs.get(RTA_ENCAP) {
        ext.set_msg_attr("Unknown LWT encapsulation type", &attr);
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// A gateway with its family (`struct rtvia`).
pub(super) fn via(attr: &Attr<'_>, ext: &mut ExtAck) -> Result<Gateway, Errno> {
    let Some((family, address)) = attr.payload.split_first_chunk::<2>() else {
        return refuse(ext, "Invalid attribute length for RTA_VIA");
    };
    match i32::from(u16::from_ne_bytes(*family)) {
        AF_INET => match <[u8; 4]>::try_from(address) {
            Ok(bytes) => Ok(Gateway::V4(Ipv4Addr::from(bytes))),
            Err(_) => refuse(ext, "Invalid IPv4 address in RTA_VIA"),
        },
        AF_INET6 => match <[u8; 16]>::try_from(address) {
            Ok(bytes) => Ok(Gateway::V6(Ipv6Addr::from(bytes))),
            Err(_) => refuse(ext, "Invalid IPv6 address in RTA_VIA"),
        },
        _ => refuse(ext, "Unsupported address family in RTA_VIA"),
    }
}

/// Several ways out: a row of `struct rtnexthop`, each with attributes of its own.
fn hops(attr: &Attr<'_>, ext: &mut ExtAck) -> Result<Vec<HopConfig>, Errno> {
    const HEADER: usize = 8;
    const EXTRA: &str = "Invalid nexthop configuration - extra data after nexthops";
    let mut out = Vec::new();
    let mut rest = attr.payload;
    let mut offset = attr.offset + 4;
    while let Some([a, b, flags, hops, c, d, e, f]) = rest.first_chunk::<HEADER>() {
        let len = usize::from(u16::from_ne_bytes([*a, *b]));
        if len < HEADER || len > rest.len() {
            break;
        }
        let mut hop = HopConfig {
            oif: u32::from_ne_bytes([*c, *d, *e, *f]),
            flags: u32::from(*flags),
            hops: *hops,
            ..HopConfig::default()
        };
        hop_attributes(&mut hop, Attrs::at(&rest[HEADER..len], offset + HEADER as u32), ext)?;
        out.push(hop);
        let step = ((len + 3) & !3).min(rest.len());
        rest = &rest[step..];
        offset += step as u32;
    }
    if !rest.is_empty() || out.is_empty() {
        return refuse(ext, EXTRA);
    }
    Ok(out)
}

fn hop_attributes(hop: &mut HopConfig, attrs: Attrs<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let (mut gateway, mut via) = (None, None);
    for attr in attrs {
        match attr.ty {
            RTA_GATEWAY => gateway = Some(attr),
            RTA_VIA => via = Some(attr),
            RTA_FLOW => hop.flow = attr.u32().unwrap_or(0),
            RTA_ENCAP_TYPE => {
                ext.set_msg("lwt encapsulation type not supported");
                return Err(Errno::EOPNOTSUPP);
            }
            RTA_ENCAP => {
                ext.set_msg_attr("Unknown LWT encapsulation type", &attr);
                return Err(Errno::EINVAL);
            }
            _ => {}
        }
    }
    match (gateway, via) {
        (Some(_), Some(_)) => refuse(ext, "Nexthop configuration can not contain both GATEWAY and VIA"),
        (Some(gateway), None) => match address(&gateway) {
            Some(address) => {
                if !address.is_unspecified() {
                    hop.gateway = Gateway::V4(address);
                }
                Ok(())
            }
            None => refuse(ext, "Invalid IPv4 address in RTA_GATEWAY"),
        },
        (None, Some(via)) => {
            hop.gateway = self::via(&via, ext)?;
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// A request for a listing: what it is restricted to, and the flags of its header (`ip_valid_fib_dump_req`).
pub(super) fn dump(request: &Request<'_>, ext: &mut ExtAck) -> Result<(Dump4Filter, u32), Errno> {
    const FLAGS: u32 = super::RTM_F_CLONED | super::RTM_F_PREFIX;
    let Some(header) = request.msg.payload().first_chunk::<RTMSG_LEN>() else {
        return refuse(ext, "Invalid header for FIB dump request");
    };
    let [_, dst_len, src_len, tos, table, protocol, scope, kind, a, b, c, d] = *header;
    let flags = u32::from_ne_bytes([a, b, c, d]);
    if dst_len != 0 || src_len != 0 || tos != 0 || scope != 0 {
        return refuse(ext, "Invalid values in header for FIB dump request");
    }
    if flags & !FLAGS != 0 {
        return refuse(ext, "Invalid flags for FIB dump request");
    }
    let listing = if flags & super::RTM_F_CLONED == 0 { Listing::Routes } else { Listing::Exceptions };
    let mut filter = Dump4Filter { table: Some(table.into()), protocol, kind, oif: None, listing };
    for attr in attributes(request, Strictness::Strict, ext)?.iter() {
        let value = attr.u32().unwrap_or(0);
        match attr.ty {
            RTA_TABLE => filter.table = Some(value),
            RTA_OIF => {
                let links = request.stack().links(request.net).ok_or(Errno::ENODEV)?;
                filter.oif = Some(links.by_index(value).ok_or(Errno::ENODEV)?.index());
            }
            _ => return refuse(ext, "Unsupported attribute in dump request"),
        }
    }
    filter.table = filter.table.filter(|table| *table != 0);
    Ok((filter, flags))
}
