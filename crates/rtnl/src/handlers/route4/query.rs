//! `ip route get` (`inet_rtm_getroute`).

use std::net::Ipv4Addr;

use pernet_stack::{RT_TABLE_MAIN, RouteAnswer, RouteQuery, RouteReply};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck, Strictness};

use super::fill;
use super::parse::{address, attributes};
use crate::handlers::rta::*;
use crate::handlers::{Request, metrics, refuse};

/// `RTCF_NOTIFY`: the answer repeats the wish to hear of changes.
const RTCF_NOTIFY: u32 = 0x1_0000;

/// The type of service of RFC 1349, without its last bit.
const IPTOS_TOS_MASK: u8 = 0x1c;

/// Protocols that routes can be asked for.
const PROTOCOLS: [u8; 3] = [1, 6, 17];

pub(super) fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let Some(header) = request.msg.payload().first_chunk::<RTMSG_LEN>() else {
        return refuse(ext, "ipv4: Invalid header for route get request");
    };
    let [_, dst_len, src_len, tos, table, protocol, scope, kind, a, b, c, d] = *header;
    let flags = u32::from_ne_bytes([a, b, c, d]);
    let how = request.strictness();
    if how == Strictness::Strict {
        let whole = |len: u8| len == 0 || len == 32;
        if !whole(dst_len) || !whole(src_len) || [table, protocol, scope, kind] != [0; 4] {
            return refuse(ext, "ipv4: Invalid values in header for route get request");
        }
        if flags & !(RTM_F_NOTIFY | RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH) != 0 {
            return refuse(ext, "ipv4: Unsupported rtm_flags for route get request");
        }
    }
    let attrs = attributes(request, how, ext)?;
    if how == Strictness::Strict {
        if attrs.get(RTA_SRC).is_some() && src_len == 0 || attrs.get(RTA_DST).is_some() && dst_len == 0 {
            return refuse(ext, "ipv4: rtm_src_len and rtm_dst_len must be 32 for IPv4");
        }
        let asked = [RTA_IIF, RTA_OIF, RTA_SRC, RTA_DST, RTA_IP_PROTO, RTA_SPORT, RTA_DPORT, RTA_MARK, RTA_UID];
        if attrs.iter().any(|attr| !asked.contains(&attr.ty)) {
            return refuse(ext, "ipv4: Unsupported attribute in route get request");
        }
    }
    let number = |ty| attrs.get(ty).and_then(|attr| attr.u32()).unwrap_or(0);
    // Ports travel in network order.
    let port = |ty| attrs.get(ty).and_then(|attr| attr.payload.first_chunk().copied()).map_or(0, u16::from_be_bytes);
    let given = |ty| attrs.get(ty).and_then(|attr| address(&attr)).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let ip_proto = match attrs.get(RTA_IP_PROTO).and_then(|attr| attr.u8()) {
        Some(protocol) if !PROTOCOLS.contains(&protocol) => {
            ext.set_msg("Unsupported ip proto");
            return Err(Errno::EOPNOTSUPP);
        }
        Some(protocol) => protocol,
        None => 17,
    };
    let uid = attrs.get(RTA_UID).map_or(0, |_| number(RTA_UID));
    let query = RouteQuery {
        dst: given(RTA_DST),
        src: given(RTA_SRC),
        iif: number(RTA_IIF),
        oif: number(RTA_OIF),
        mark: number(RTA_MARK),
        // Of a question only the old four bits are looked at.
        tos: tos & IPTOS_TOS_MASK,
        uid,
        protocol: ip_proto,
        sport: port(RTA_SPORT),
        dport: port(RTA_DPORT),
        fib_match: flags & RTM_F_FIB_MATCH != 0,
        spread: None,
    };
    let reply = request.stack().route_get4(request.net, &query);
    let reply = reply.map_err(|number| Errno::new(number).unwrap_or(Errno::EINVAL))?;
    let mut out = Builder::message(&request.reply_header(RTM_NEWROUTE, 0));
    match reply {
        RouteReply::Match(route) => fill::route(&mut out, &route),
        RouteReply::Way(answer) => way(&mut out, &query, &answer, flags),
    }
    request.reply(out.finish())
}

/// The way of a packet (`rt_fill_info`).
fn way(out: &mut Builder, query: &RouteQuery, answer: &RouteAnswer, asked: u32) {
    let table = if asked & RTM_F_LOOKUP_TABLE != 0 { answer.table } else { RT_TABLE_MAIN };
    let mut flags = answer.flags | RTM_F_CLONED;
    if asked & RTM_F_NOTIFY != 0 {
        flags |= RTM_F_NOTIFY | RTCF_NOTIFY;
    }
    let src = Some(query.src).filter(|src| !src.is_unspecified());
    let [a, b, c, d] = flags.to_ne_bytes();
    let src_len = if src.is_some() { 32 } else { 0 };
    let header_table = u8::try_from(table).unwrap_or(fill::RT_TABLE_COMPAT);
    out.put_raw(&[AF_INET as u8, 32, src_len, answer.tos, header_table, 0, 0, answer.kind, a, b, c, d])
        .put_u32(RTA_TABLE, table)
        .put(RTA_DST, &query.dst.octets());
    fill::address(out, RTA_SRC, src);
    out.put_u32(RTA_OIF, answer.oif);
    if answer.flow != 0 {
        out.put_u32(RTA_FLOW, answer.flow);
    }
    fill::address(out, RTA_PREFSRC, answer.prefsrc);
    fill::gateway(out, answer.gateway);
    let mut metrics = answer.info.as_ref().map(|info| info.metrics.clone()).unwrap_or_default();
    metrics::learned(&mut metrics, answer.learned.as_ref());
    metrics::fill(out, &metrics);
    if query.mark != 0 {
        out.put_u32(RTA_MARK, query.mark);
    }
    if query.iif == 0 {
        out.put_u32(RTA_UID, query.uid);
    } else {
        out.put_u32(RTA_IIF, query.iif);
    }
    // Nobody counts here how often it was used.
    fill::cacheinfo(out, [1, 0], metrics::expires(answer.learned.as_ref()));
}
