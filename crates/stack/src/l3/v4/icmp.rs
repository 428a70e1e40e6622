//! ICMP (RFC 792): answers, and errors told and heard.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::header::{HLEN, Ipv4Header};
use super::{input, options, redirect, route};
use crate::dev::IfFlags;
use crate::errno;
use crate::fib::{self, LOOPBACK_IFINDEX, route_type};
use crate::inet;
use crate::l2::{Checksum, Cx, Frame, PacketType};
use crate::l3::{
    Flow, Header, IcmpError, PmtuDiscovery, Quote, Reach, Received, internet_checksum, ip_output, route_output,
};
use crate::l4;
use crate::mib::Icmp;
use crate::sysctl;

const ICMP: u8 = 1;
/// Bytes of a message's header.
const LEN: usize = 8;
/// Longest error message with its IPv4 header (RFC 1812, 4.3.2.3).
const MAX_ERROR: usize = 576;

/// Types of messages.
pub(super) mod ty {
    pub(in super::super) const ECHO_REPLY: u8 = 0;
    pub(in super::super) const DEST_UNREACH: u8 = 3;
    pub(in super::super) const SOURCE_QUENCH: u8 = 4;
    pub(in super::super) const REDIRECT: u8 = 5;
    pub(in super::super) const ECHO: u8 = 8;
    pub(in super::super) const TIME_EXCEEDED: u8 = 11;
    pub(in super::super) const PARAMETER_PROBLEM: u8 = 12;
    pub(in super::super) const TIMESTAMP: u8 = 13;
    pub(in super::super) const TIMESTAMP_REPLY: u8 = 14;
}

/// Codes of messages.
pub(super) mod code {
    pub(in super::super) const NET_UNREACH: u8 = 0;
    pub(in super::super) const HOST_UNREACH: u8 = 1;
    pub(in super::super) const PROT_UNREACH: u8 = 2;
    pub(in super::super) const PORT_UNREACH: u8 = 3;
    pub(in super::super) const FRAG_NEEDED: u8 = 4;
    pub(in super::super) const PKT_FILTERED: u8 = 13;
    pub(in super::super) const EXC_TTL: u8 = 0;
    pub(in super::super) const EXC_FRAGTIME: u8 = 1;
}

/// Whether a type tells of an error: of those none is told.
const fn is_error(ty: u8) -> bool {
    matches!(ty, ty::DEST_UNREACH | ty::SOURCE_QUENCH | ty::REDIRECT | ty::TIME_EXCEEDED | ty::PARAMETER_PROBLEM)
}

/// Tells the sender of a packet what became of it, if he may be told (RFC 1122, 3.2.2).
pub(super) fn icmp_send(cx: Cx<'_>, packet: Quote<'_>, ty: u8, code: u8, info: u32) {
    let Some(header) = Ipv4Header::parse(packet.bytes) else { return };
    let ours = packet.kind == PacketType::Outgoing;
    let told = packet.kind == PacketType::Host || ours;
    if !told || matches!(packet.reach, Reach::Broadcast | Reach::Multicast) || header.offset > 0 {
        return;
    }
    if input::is_group_or_all(header.src) || input::is_group_or_all(header.dst) || header.src.is_unspecified() {
        return;
    }
    if header.protocol == ICMP && packet.bytes.get(header.len).is_none_or(|ty| is_error(*ty)) {
        return;
    }
    let ns = cx.ns();
    let inbound = !ours && sysctl::number_or(ns, "ipv4/icmp_errors_use_inbound_ifaddr", 0) != 0;
    let src = match packet.reach {
        // It answers who was asked.
        Reach::Local => Some(header.dst),
        _ if inbound => Some(inet::select_addr(ns, Some(packet.iif), header.src, fib::scope::LINK)),
        _ => None,
    };
    let tos = header.tos & 0x1e | 0xc0;
    let flow = Flow {
        src: src.filter(|src| !src.is_unspecified()).map(IpAddr::V4),
        any_source: true,
        ..reply_flow(header.src, tos, reply_mark(cx, packet.mark))
    };
    let Ok(route) = route_output(cx, &flow) else { return };
    if !allowed(cx, route.oif, header.src, ty, code) {
        return;
    }
    let room = usize::try_from(route.mtu).unwrap_or(0).min(MAX_ERROR).saturating_sub(HLEN + LEN);
    let quoted = &packet.bytes[..packet.bytes.len().min(room)];
    let mut message = Frame::zeroed(LEN + quoted.len());
    let data = message.data_mut();
    (data[0], data[1]) = (ty, code);
    data[4..8].copy_from_slice(&info.to_be_bytes());
    data[LEN..].copy_from_slice(quoted);
    push(cx, &route, tos, Vec::new(), ty, message);
}

/// Answers bear the mark of what they answer, if the namespace says so (`fwmark_reflect`).
pub(in crate::l3) fn reply_mark(cx: Cx<'_>, mark: u32) -> u32 {
    if mark != 0 && sysctl::number_or(cx.ns(), "ipv4/fwmark_reflect", 0) != 0 { mark } else { 0 }
}

fn reply_flow(dst: Ipv4Addr, tos: u8, mark: u32) -> Flow {
    Flow { mark, tos: tos & 0x1c, protocol: ICMP, ..Flow::to(dst.into()) }
}

/// Completes a message, counted as one of type `ty`, and sends it.
fn push(cx: Cx<'_>, route: &crate::l3::Route, tos: u8, options: Vec<u8>, ty: u8, mut message: Frame) {
    count_sent(cx, ty);
    let data = message.data_mut();
    data[2..4].fill(0);
    let sum = internet_checksum(data, 0);
    data[2..4].copy_from_slice(&sum.to_be_bytes());
    message.checksum = Checksum::Right;
    let header = Header { protocol: ICMP, tos, options, pmtu: PmtuDiscovery::Dont, ..Header::default() };
    // An error of an error is told to nobody.
    let _ = ip_output(cx, route, &header, message);
}

/// This host sends a message.
pub(in crate::l3) fn count_sent(cx: Cx<'_>, ty: u8) {
    let mib = &*cx.state.mib.v4;
    mib.icmp.inc(Icmp::OutMsgs);
    mib.sent.inc(ty);
}

/// Whether one more message of the type may go out.
fn allowed(cx: Cx<'_>, oif: u32, dst: Ipv4Addr, ty: u8, code: u8) -> bool {
    // The path's MTU has to be found out.
    if ty == ty::DEST_UNREACH && code == code::FRAG_NEEDED {
        return true;
    }
    let ns = cx.ns();
    let mask = sysctl::number_or(ns, "ipv4/icmp_ratemask", 6168);
    if ty > 18 || mask & 1 << ty == 0 {
        return true;
    }
    // Who talks to himself may talk.
    if cx.state.links.by_index(oif).is_some_and(|link| link.stored_flags.contains(IfFlags::LOOPBACK)) {
        return true;
    }
    let positive = |name, born| u64::try_from(sysctl::number_or(ns, name, born)).unwrap_or(0);
    let (rate, burst) = (positive("ipv4/icmp_msgs_per_sec", 1000), positive("ipv4/icmp_msgs_burst", 50));
    let interval = Duration::from_millis(positive("ipv4/icmp_ratelimit", 1000));
    let now = cx.now();
    let mut limit = cx.state.l3.icmp.lock();
    let refused = if !limit.host(dst.into(), now, interval) {
        Icmp::OutRateLimitHost
    } else if !limit.total(now, rate, burst) {
        Icmp::OutRateLimitGlobal
    } else {
        return true;
    };
    cx.state.mib.v4.icmp.inc(refused);
    false
}

/// A message came in. Its sockets get it, too.
pub(super) fn icmp_rcv(cx: Cx<'_>, packet: Received) {
    let frame = &packet.frame;
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (packet.src, packet.dst) else { return };
    let mib = &*cx.state.mib.v4;
    mib.icmp.inc(Icmp::InMsgs);
    if frame.len() < LEN || !input::checksum_ok(frame, 0) {
        mib.icmp.inc(Icmp::InCsumErrors);
        return mib.icmp.inc(Icmp::InErrors);
    }
    let (ty, code) = (frame.data()[0], frame.data()[1]);
    let to_all = matches!(packet.reach, Reach::Broadcast | Reach::Multicast);
    let ns = cx.ns();
    let ignored = to_all
        && matches!(ty, ty::ECHO | ty::TIMESTAMP)
        && sysctl::number_or(ns, "ipv4/icmp_echo_ignore_broadcasts", 1) != 0;
    mib.received.inc(ty);
    if ignored {
        mib.icmp.inc(Icmp::InErrors);
    }
    let mut answer = None;
    match ty {
        ty::ECHO if !ignored && sysctl::number_or(ns, "ipv4/icmp_echo_ignore_all", 0) == 0 => {
            let mut reply = Frame::with_payload(frame.data());
            reply.data_mut()[0] = ty::ECHO_REPLY;
            answer = Some(reply);
        }
        ty::TIMESTAMP if !ignored && code == 0 && frame.len() >= 20 => answer = Some(timestamp(frame)),
        ty::TIMESTAMP if !ignored => mib.icmp.inc(Icmp::InErrors),
        ty::DEST_UNREACH | ty::TIME_EXCEEDED | ty::PARAMETER_PROBLEM => {
            let known = error(cx, &packet, src, ty, code);
            mib.icmp.add(Icmp::InErrors, (!known).into());
        }
        ty::REDIRECT => redirect::receive(cx, &packet, src),
        // Nobody has said what these are, but for one extension (RFC 8335).
        19..=41 | 44.. => mib.icmp.inc(Icmp::InErrors),
        _ => {}
    }
    let (tos, mark) = (packet.tos, packet.frame.mark);
    let options = options::echo(&packet.options());
    l4::deliver(cx, packet);
    if let Some(message) = answer {
        let source = (!to_all).then_some(dst);
        reply(cx, (src, source), (tos, reply_mark(cx, mark)), options, message);
    }
}

/// Milliseconds since midnight, UT (RFC 792): received and sent in one moment.
fn timestamp(frame: &Frame) -> Frame {
    let mut reply = Frame::with_payload(&frame.data()[..20]);
    let now = options::milliseconds().to_be_bytes();
    let data = reply.data_mut();
    data[0] = ty::TIMESTAMP_REPLY;
    data[12..16].copy_from_slice(&now);
    data[16..20].copy_from_slice(&now);
    reply
}

/// Sends an answer to who asked, from the address that was asked if it is one (`icmp_reply`).
fn reply(
    cx: Cx<'_>,
    (to, from): (Ipv4Addr, Option<Ipv4Addr>),
    (tos, mark): (u8, u32),
    options: Vec<u8>,
    message: Frame,
) {
    let flow = Flow { src: from.map(IpAddr::V4), any_source: true, ..reply_flow(to, tos, mark) };
    let Ok(route) = route_output(cx, &flow) else { return };
    if allowed(cx, route.oif, to, message.data()[0], 0) {
        // Whatever it answers, Linux counts it as the answer to an echo.
        push(cx, &route, tos, options, ty::ECHO_REPLY, message);
    }
}

/// What programs are told of an error, and whether it ends a connection (RFC 1122, 4.2.3.9).
const fn meaning(ty: u8, code: u8) -> (i32, bool) {
    match (ty, code) {
        (ty::DEST_UNREACH, 0 | 11) => (errno::ENETUNREACH, false),
        (ty::DEST_UNREACH, 1 | 12) => (errno::EHOSTUNREACH, false),
        (ty::DEST_UNREACH, 2) => (errno::ENOPROTOOPT, true),
        (ty::DEST_UNREACH, 3) => (errno::ECONNREFUSED, true),
        (ty::DEST_UNREACH, 4) => (errno::EMSGSIZE, false),
        (ty::DEST_UNREACH, 5) => (errno::EOPNOTSUPP, false),
        (ty::DEST_UNREACH, 6 | 9) => (errno::ENETUNREACH, true),
        (ty::DEST_UNREACH, 7) => (errno::EHOSTDOWN, true),
        (ty::DEST_UNREACH, 8) => (errno::ENONET, true),
        (ty::DEST_UNREACH, _) => (errno::EHOSTUNREACH, true),
        (ty::PARAMETER_PROBLEM, _) => (errno::EPROTO, true),
        _ => (errno::EHOSTUNREACH, false),
    }
}

/// Somebody could not do something with a packet of ours (`icmp_unreach`). False if it makes no sense, or the packet was
/// nobody's.
fn error(cx: Cx<'_>, packet: &Received, from: Ipv4Addr, ty: u8, code: u8) -> bool {
    let message = packet.frame.data();
    let Some(quoted) = message.get(LEN..) else { return false };
    let Some(inner) = Ipv4Header::parse(quoted) else { return false };
    // A group has no one who could be told, nor is there a later part whose ports are known.
    if ty == ty::DEST_UNREACH && code > 15 || inner.offset > 0 {
        return true;
    }
    let to_all = fib::address_type(cx.ns(), inner.dst) == route_type::BROADCAST;
    if to_all && sysctl::number_or(cx.ns(), "ipv4/icmp_ignore_bogus_error_responses", 1) == 0 {
        return true;
    }
    let (errno, fatal) = meaning(ty, code);
    let mut info = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    if ty == ty::DEST_UNREACH {
        info = if code == code::FRAG_NEEDED { info & 0xffff } else { 0 };
    } else if ty == ty::PARAMETER_PROBLEM {
        info >>= 24;
    }
    if ty == ty::DEST_UNREACH && code == code::FRAG_NEEDED {
        route::learn_mtu(cx, &inner, info);
    }
    // What this host says of its own packets comes by the loopback device, whichever device has the address.
    let iif = if packet.frame.device == 0 { packet.iif } else { LOOPBACK_IFINDEX };
    let error = IcmpError {
        offender: Some(from.into()),
        ty,
        code,
        info,
        errno,
        fatal,
        src: inner.src.into(),
        dst: inner.dst.into(),
        protocol: inner.protocol,
        transport: quoted.get(inner.len..).unwrap_or(&[]),
        iif,
        packet,
    };
    // That parts are missing there concerns nobody here.
    l4::error(cx, &error) || ty == ty::TIME_EXCEEDED && code == code::EXC_FRAGTIME
}

/// The neighbour that the packet was for did not answer (`ipv4_link_failure`).
pub(in crate::l3) fn link_failure(cx: Cx<'_>, ifindex: u32, mut frame: Frame) {
    frame.pull_back_to_network();
    // Whom it came from is told, be it this host.
    frame.kind = PacketType::Outgoing;
    icmp_send(cx, Quote::of(&frame, ifindex, Reach::Unicast), ty::DEST_UNREACH, code::HOST_UNREACH, 0);
}

/// A packet whose parts did not all come in time: the first of them.
pub(in crate::l3) fn parts_missing(cx: Cx<'_>, ifindex: u32, first: &Frame) {
    icmp_send(cx, Quote::of(first, ifindex, Reach::Local), ty::TIME_EXCEEDED, code::EXC_FRAGTIME, 0);
}
