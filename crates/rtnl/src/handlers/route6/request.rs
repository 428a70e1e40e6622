//! Requests to change IPv6 routes, from bytes (`rtm_to_fib6_config`).

use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::handlers::rta::*;
use crate::handlers::{metrics, refuse};
use pernet_stack::{Nexthop6, Placing, Prefix6, RouteKeys6, RouteSpec6};
use pernet_wire::uapi::*;
use pernet_wire::{Attr, AttrTable, Attrs, Errno, ExtAck, Kind, Msg, Policy, Strictness, parse};

pub(super) const RTNH_F_ONLINK: u8 = 4;

const RT_TABLE_UNSPEC: u32 = 0;
const RT_TABLE_MAIN: u32 = 254;
const RTN_MAX: u8 = 11;

pub(super) const POLICY: Policy = {
    const ANY: Option<Kind> = Some(Kind::Any);
    const U32: Option<Kind> = Some(Kind::U32);
    Policy(&[
        None,
        ANY,                            // 1 DST
        ANY,                            // 2 SRC
        U32,                            // 3 IIF
        U32,                            // 4 OIF
        Some(Kind::MinLen { min: 16 }), // 5 GATEWAY
        U32,                            // 6 PRIORITY
        Some(Kind::MinLen { min: 16 }), // 7 PREFSRC
        Some(Kind::Nested),             // 8 METRICS
        Some(Kind::MinLen { min: 8 }),  // 9 MULTIPATH
        ANY,                            // 10 PROTOINFO
        ANY,                            // 11 FLOW
        ANY,                            // 12 CACHEINFO
        ANY,                            // 13 SESSION
        ANY,                            // 14 MP_ALGO
        U32,                            // 15 TABLE
        U32,                            // 16 MARK
        ANY,                            // 17 MFC_STATS
        ANY,                            // 18 VIA
        ANY,                            // 19 NEWDST
        Some(Kind::U8),                 // 20 PREF
        Some(Kind::U16),                // 21 ENCAP_TYPE
        Some(Kind::Nested),             // 22 ENCAP
        U32,                            // 23 EXPIRES
        ANY,                            // 24 PAD
        U32,                            // 25 UID
        ANY,                            // 26 TTL_PROPAGATE
        Some(Kind::U8),                 // 27 IP_PROTO
        Some(Kind::U16),                // 28 SPORT
        Some(Kind::U16),                // 29 DPORT
        U32,                            // 30 NH_ID
        Some(Kind::U32),                // 31 FLOWLABEL
    ])
};

mod text {
    pub(super) const SHORT: &str = "Invalid header length";
    pub(super) const CLONED: &str = "Userspace can not set RTF_CACHE";
    pub(super) const TYPE: &str = "Invalid route type";
    pub(super) const SRC_LEN: &str = "Invalid source address length";
    pub(super) const VIA: &str = "IPv6 does not support RTA_VIA attribute";
    pub(super) const NH_ID: &str = "Nexthop specification and nexthop id are mutually exclusive";
    pub(super) const NO_NEXTHOPS: &str = "Invalid nexthop configuration - no valid nexthops";
    pub(super) const EXTRA: &str = "Invalid nexthop configuration - extra data after nexthops";
    pub(super) const NH_GATEWAY: &str = "Invalid IPv6 address in RTA_GATEWAY";
    pub(super) const ENCAP: &str = "Unknown lwt encapsulation type";
    pub(super) const TOS: &str = "Invalid dsfield (tos): option not available for IPv6";
}

/// `struct rtmsg`.
pub(super) struct Header {
    pub(super) dst_len: u8,
    pub(super) src_len: u8,
    pub(super) tos: u8,
    pub(super) table: u8,
    pub(super) proto: u8,
    pub(super) scope: u8,
    pub(super) kind: u8,
    pub(super) flags: u32,
}

impl Header {
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let [_, dst_len, src_len, tos, table, proto, scope, kind, a, b, c, d] = *payload.first_chunk::<RTMSG_LEN>()?;
        let flags = u32::from_ne_bytes([a, b, c, d]);
        Some(Self { dst_len, src_len, tos, table, proto, scope, kind, flags })
    }
}

/// A whole address.
pub(super) fn address(attrs: &AttrTable<'_>, ty: u16) -> Option<Ipv6Addr> {
    attrs.get(ty).and_then(|attr| attr.payload.first_chunk::<16>()).map(|bytes| Ipv6Addr::from(*bytes))
}

/// A prefix: as many bytes of its address as its length needs.
fn prefix(attr: Option<Attr<'_>>, len: u8) -> Result<Prefix6, Errno> {
    let Some(attr) = attr else { return Ok(Prefix6::new(Ipv6Addr::UNSPECIFIED, len)) };
    let needed = usize::from(len).div_ceil(8);
    let bytes = attr.payload.get(..needed).ok_or(Errno::EINVAL)?;
    let mut addr = [0; 16];
    addr.get_mut(..needed).ok_or(Errno::EINVAL)?.copy_from_slice(bytes);
    Ok(Prefix6::new(Ipv6Addr::from(addr), len))
}

/// What a request to add and one to delete have in common.
struct Parts<'a> {
    header: Header,
    attrs: AttrTable<'a>,
    dst: Prefix6,
    src: Prefix6,
    table: u32,
    nh_id: u32,
    nexthops: Vec<Nexthop6>,
    multipath: bool,
}

impl Parts<'_> {
    /// Not a route, but what packets learnt of one.
    const fn is_cached(&self) -> bool {
        self.header.flags & RTM_F_CLONED != 0
    }
}

fn parts<'a>(msg: &Msg<'a>, ext: &mut ExtAck) -> Result<Parts<'a>, Errno> {
    let Some(header) = Header::read(msg.payload()) else { return refuse(ext, text::SHORT) };
    let attrs = parse(msg, RTMSG_LEN, &POLICY, Strictness::Legacy, ext)?;
    if header.tos != 0 {
        return refuse(ext, text::TOS);
    }
    if header.src_len > 128 {
        return refuse(ext, text::SRC_LEN);
    }
    if header.dst_len > 128 {
        return Err(Errno::EINVAL);
    }
    let number = |ty: u16| attrs.get(ty).and_then(|a| a.u32());
    if attrs.get(RTA_NH_ID).is_some() {
        let others = [RTA_GATEWAY, RTA_OIF, RTA_MULTIPATH, RTA_ENCAP];
        if others.into_iter().any(|ty| attrs.get(ty).is_some()) {
            return refuse(ext, text::NH_ID);
        }
    }
    if attrs.get(RTA_VIA).is_some() {
        return refuse(ext, text::VIA);
    }
    let dst = prefix(attrs.get(RTA_DST), header.dst_len)?;
    let src = prefix(attrs.get(RTA_SRC), header.src_len)?;
    let table = match number(RTA_TABLE).unwrap_or_else(|| header.table.into()) {
        RT_TABLE_UNSPEC => RT_TABLE_MAIN,
        table => table,
    };
    let multipath = attrs.get(RTA_MULTIPATH);
    let [flags, ..] = header.flags.to_le_bytes();
    let nexthops = match multipath {
        Some(list) => nexthop_list(list.payload, ext)?,
        None => vec![Nexthop6 {
            oif: number(RTA_OIF).unwrap_or(0),
            gateway: address(&attrs, RTA_GATEWAY),
            onlink: flags & RTNH_F_ONLINK != 0,
            weight: 1,
        }],
    };
    let nh_id = number(RTA_NH_ID).unwrap_or(0);
    Ok(Parts { header, dst, src, table, nh_id, nexthops, multipath: multipath.is_some(), attrs })
}

/// The nexthops of an `RTA_MULTIPATH`.
fn nexthop_list(mut bytes: &[u8], ext: &mut ExtAck) -> Result<Vec<Nexthop6>, Errno> {
    let mut out = Vec::new();
    while let Some([a, b, flags, hops, c, d, e, f]) = bytes.first_chunk::<RTNEXTHOP_LEN>().copied() {
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let Some(own) = bytes.get(..len).filter(|_| len >= RTNEXTHOP_LEN) else { break };
        let mut gateway = None;
        for attr in Attrs::at(&own[RTNEXTHOP_LEN..], 0) {
            if attr.ty == RTA_GATEWAY {
                match attr.payload.first_chunk::<16>() {
                    Some(bytes) => gateway = Some(Ipv6Addr::from(*bytes)),
                    None => return refuse(ext, text::NH_GATEWAY),
                }
            }
        }
        out.push(Nexthop6 {
            oif: u32::from_ne_bytes([c, d, e, f]),
            gateway,
            onlink: flags & RTNH_F_ONLINK != 0,
            weight: u16::from(hops) + 1,
        });
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    match (out.is_empty(), bytes.is_empty()) {
        (true, _) => refuse(ext, text::NO_NEXTHOPS),
        (false, false) => refuse(ext, text::EXTRA),
        (false, true) => Ok(out),
    }
}

/// A request to add a route.
pub(super) fn new(msg: &Msg<'_>, ext: &mut ExtAck) -> Result<(RouteSpec6, Placing), Errno> {
    let parts = parts(msg, ext)?;
    if parts.is_cached() {
        return refuse(ext, text::CLONED);
    }
    if parts.header.kind > RTN_MAX {
        return refuse(ext, text::TYPE);
    }
    let number = |ty: u16| parts.attrs.get(ty).and_then(|a| a.u32());
    // The stack encapsulates nothing by routes.
    if [RTA_ENCAP_TYPE, RTA_ENCAP].into_iter().any(|ty| parts.attrs.get(ty).is_some()) {
        return refuse(ext, text::ENCAP);
    }
    let metrics = parts.attrs.get(RTA_METRICS).map(|attr| metrics::read(&attr, ext)).transpose()?.map(Arc::new);
    // Of the preference two bits count; the value that is reserved means medium.
    let pref = parts.attrs.get(RTA_PREF).and_then(|a| a.u8()).unwrap_or(0);
    let pref = if matches!(pref, 1 | 3) { pref } else { 0 };
    let spec = RouteSpec6 {
        table: parts.table,
        dst: parts.dst,
        src: parts.src,
        metric: number(RTA_PRIORITY).unwrap_or(0),
        kind: parts.header.kind,
        proto: parts.header.proto,
        pref,
        prefsrc: address(&parts.attrs, RTA_PREFSRC),
        metrics,
        expires: number(RTA_EXPIRES).filter(|seconds| *seconds != 0),
        nexthops: parts.nexthops,
        multipath: parts.multipath,
        nh_id: parts.nh_id,
    };
    let flag = |flag| msg.header.flags & flag != 0;
    let placing = Placing {
        replace: flag(NLM_F_REPLACE),
        exclusive: flag(NLM_F_EXCL),
        create: flag(NLM_F_CREATE),
        append: flag(NLM_F_APPEND),
        sweep: false,
    };
    Ok((spec, placing))
}

/// A request to delete a route, and whether what packets learnt of it is meant.
pub(super) fn del(msg: &Msg<'_>, ext: &mut ExtAck) -> Result<(RouteKeys6, bool), Errno> {
    let parts = parts(msg, ext)?;
    let keys = RouteKeys6 {
        table: parts.table,
        dst: parts.dst,
        src: parts.src,
        metric: parts.attrs.get(RTA_PRIORITY).and_then(|a| a.u32()).unwrap_or(0),
        proto: parts.header.proto,
        nh_id: parts.nh_id,
        nexthops: parts.nexthops.iter().map(|nexthop| (nexthop.oif, nexthop.gateway)).collect(),
    };
    Ok((keys, parts.is_cached()))
}
