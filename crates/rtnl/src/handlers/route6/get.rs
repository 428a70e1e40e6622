//! Which way does a packet go? (`inet6_rtm_getroute`)

use std::net::Ipv6Addr;

use pernet_stack::Flow6;
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck, Strictness, parse};

use super::super::Request;
use super::fill;
use super::request::{Header, POLICY, address};
use crate::handlers::rta::*;
use crate::handlers::{refuse, refused};

/// `RTM_F_NOTIFY`, `RTM_F_LOOKUP_TABLE` and `RTM_F_FIB_MATCH`.
const FLAGS: u32 = 0x100 | 0x1000 | RTM_F_FIB_MATCH;

const ASKED: [u16; 11] = [
    RTA_SRC,
    RTA_DST,
    RTA_IIF,
    RTA_OIF,
    RTA_MARK,
    RTA_UID,
    RTA_SPORT,
    RTA_DPORT,
    RTA_IP_PROTO,
    RTA_FLOWLABEL,
    RTA_TABLE,
];

mod text {
    pub(super) const HEADER: &str = "ipv6: Invalid header for get route request";
    pub(super) const VALUES: &str = "ipv6: Invalid values in header for get route request";
    pub(super) const FLAGS: &str = "ipv6: Invalid flags for get route request";
    pub(super) const LENGTHS: &str = "ipv6: rtm_src_len and rtm_dst_len must be 128 for IPv6";
    pub(super) const UNSUPPORTED: &str = "ipv6: Unsupported attribute in get route request";
    pub(super) const IP_PROTO: &str = "Unsupported ip proto";
}

fn flow(request: &Request<'_>, ext: &mut ExtAck) -> Result<(Flow6, bool), Errno> {
    let how = request.strictness();
    let strict = how == Strictness::Strict;
    let Some(header) = Header::read(request.msg.payload()) else { return refuse(ext, text::HEADER) };
    if strict {
        let lengths = [header.src_len, header.dst_len];
        if lengths.iter().any(|len| !matches!(len, 0 | 128))
            || (header.table, header.proto, header.scope, header.kind) != (0, 0, 0, 0)
        {
            return refuse(ext, text::VALUES);
        }
        if header.flags & !FLAGS != 0 {
            return refuse(ext, text::FLAGS);
        }
    }
    let attrs = parse(&request.msg, RTMSG_LEN, &POLICY, how, ext)?;
    if strict {
        let bare = |ty, len| attrs.get(ty).is_some() && len == 0;
        if bare(RTA_SRC, header.src_len) || bare(RTA_DST, header.dst_len) {
            return refuse(ext, text::LENGTHS);
        }
        if attrs.iter().any(|a| !ASKED.contains(&a.ty) || a.ty == RTA_TABLE) {
            return refuse(ext, text::UNSUPPORTED);
        }
    }
    let whole = |ty| match attrs.get(ty) {
        Some(attr) if attr.payload.len() < 16 => Err(Errno::EINVAL),
        _ => Ok(address(&attrs, ty)),
    };
    let number = |ty: u16| attrs.get(ty).and_then(|a| a.u32()).unwrap_or(0);
    let port = |ty: u16| attrs.get(ty).and_then(|a| a.u16()).map_or(0, u16::from_be);
    let src = whole(RTA_SRC)?;
    let dst = whole(RTA_DST)?.unwrap_or(Ipv6Addr::UNSPECIFIED);
    let ip_proto = attrs.get(RTA_IP_PROTO).and_then(|a| a.u8()).unwrap_or(0);
    // TCP, UDP and ICMPv6 have rules that look at them.
    if attrs.get(RTA_IP_PROTO).is_some() && !matches!(ip_proto, 6 | 17 | 58) {
        ext.set_msg(text::IP_PROTO);
        return Err(Errno::EOPNOTSUPP);
    }
    let flow = Flow6 {
        dst,
        src,
        iif: number(RTA_IIF),
        oif: number(RTA_OIF),
        bound: false,
        mark: number(RTA_MARK),
        uid: number(RTA_UID),
        tos: header.tos,
        ip_proto,
        sport: port(RTA_SPORT),
        dport: port(RTA_DPORT),
        flow_label: u32::from_be(number(RTA_FLOWLABEL)),
        any_link_state: false,
        spread: None,
    };
    Ok((flow, header.flags & RTM_F_FIB_MATCH != 0))
}

pub(super) fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let (flow, match_only) = flow(request, ext)?;
    let answer =
        request.stack().route6(request.net, &flow).map_err(|error| refused(ext, error.errno(), error.text()))?;
    let mut out = Builder::message(&request.reply_header(RTM_NEWROUTE, 0));
    if match_only {
        fill::route(&mut out, &answer.route);
    } else {
        fill::answer(&mut out, &flow, &answer);
    }
    request.reply(out.finish())
}
