//! ICMPv6 (RFC 4443): answers, and errors told and heard.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::header::{HLEN, Ipv6Header, next, upper};
use super::{input, ndisc, route};
use crate::dev::{IfFlags, Link};
use crate::errno;
use crate::inet6::{self, Flow6};
use crate::l2::{Checksum, Cx, Frame, PacketType};
use crate::l3::{
    Flow, Header, IcmpError, Quote, Reach, Received, Route, internet_checksum, ip_output, pseudo_header_sum, report,
    route_output,
};
use crate::l4;
use crate::mib::{self, Icmp6};
use crate::sysctl;

/// Bytes of a message's header.
const LEN: usize = 8;
/// Longest error message with its IPv6 header: it shall pass everywhere.
const MAX_ERROR: usize = 1280;

/// Types of messages.
pub(super) mod ty {
    pub(in super::super) const DEST_UNREACH: u8 = 1;
    pub(in super::super) const PACKET_TOO_BIG: u8 = 2;
    pub(in super::super) const TIME_EXCEEDED: u8 = 3;
    pub(in super::super) const PARAMETER_PROBLEM: u8 = 4;
    pub(in super::super) const ECHO: u8 = 128;
    pub(in super::super) const ECHO_REPLY: u8 = 129;
    pub(in super::super) const MLD_QUERY: u8 = 130;
    pub(in super::super) const MLD_DONE: u8 = 132;
    pub(in super::super) const ROUTER_SOLICIT: u8 = 133;
    pub(in super::super) const REDIRECT: u8 = 137;
    /// From here on messages tell of no error.
    pub(in super::super) const INFORMATIONAL: u8 = 0x80;
}

/// Codes of messages.
pub(super) mod code {
    pub(in super::super) const NO_ROUTE: u8 = 0;
    pub(in super::super) const PROHIBITED: u8 = 1;
    pub(in super::super) const BEYOND_SCOPE: u8 = 2;
    pub(in super::super) const ADDR_UNREACH: u8 = 3;
    pub(in super::super) const PORT_UNREACH: u8 = 4;
    pub(in super::super) const EXC_HOPLIMIT: u8 = 0;
    pub(in super::super) const EXC_FRAGTIME: u8 = 1;
    pub(in super::super) const BAD_FIELD: u8 = 0;
    pub(in super::super) const UNKNOWN_HEADER: u8 = 1;
    pub(in super::super) const UNKNOWN_OPTION: u8 = 2;
}

/// Tells the sender of a packet what became of it, if he may be told (RFC 4443, 2.4).
pub(super) fn icmpv6_send(cx: Cx<'_>, packet: Quote<'_>, ty: u8, code: u8, info: u32) {
    let quoted = &packet.bytes[..packet.bytes.len().min(MAX_ERROR - HLEN - LEN)];
    let Some(header) = Ipv6Header::parse(quoted) else { return };
    let ours = packet.kind == PacketType::Outgoing;
    // Two errors are told even of what all got: only so the path's MTU is found, and options that nobody knows.
    let of_all = ty == ty::PACKET_TOO_BIG || ty == ty::PARAMETER_PROBLEM && code == code::UNKNOWN_OPTION;
    let to_all = header.dst.is_multicast() || !matches!(packet.kind, PacketType::Host | PacketType::Outgoing);
    if to_all && !of_all || input::is_nobody(header.src) {
        return;
    }
    if about_error(quoted, header.next) {
        return;
    }
    let own = packet.reach == Reach::Local && !header.dst.is_multicast();
    let src = own.then_some(header.dst).filter(|dst| !is_anycast(cx, packet.iif, *dst));
    let flow = Flow {
        src: src.map(IpAddr::V6),
        oif: if !ours && inet6::needs_device(header.src) { packet.iif } else { 0 },
        ..reply_flow(header.src, reply_mark(cx, packet.mark))
    };
    let Ok(route) = route_output(cx, &flow) else { return };
    if !allowed(cx, &route, header.src, ty) {
        return;
    }
    let mut message = Frame::zeroed(LEN + quoted.len());
    let data = message.data_mut();
    (data[0], data[1]) = (ty, code);
    data[4..8].copy_from_slice(&info.to_be_bytes());
    data[LEN..].copy_from_slice(quoted);
    push(cx, &route, &Header::default(), message);
}

/// Whether a packet tells of an error itself: of those none is told. One whose message cannot be seen might.
fn about_error(packet: &[u8], first: u8) -> bool {
    let Some(upper) = upper(packet, first) else { return true };
    let is = |ty: &u8| *ty < ty::INFORMATIONAL || *ty == ty::REDIRECT;
    upper.protocol == next::ICMPV6 && !upper.later_part && packet.get(upper.at).is_none_or(is)
}

fn is_anycast(cx: Cx<'_>, iif: u32, addr: Ipv6Addr) -> bool {
    inet6::target(cx.ns(), iif, addr) == Some(inet6::Target::Anycast)
}

/// Answers bear the mark of what they answer, if the namespace says so (`fwmark_reflect`).
pub(in crate::l3) fn reply_mark(cx: Cx<'_>, mark: u32) -> u32 {
    if mark != 0 && sysctl::number_or(cx.ns(), "ipv6/fwmark_reflect", 0) != 0 { mark } else { 0 }
}

fn reply_flow(dst: Ipv6Addr, mark: u32) -> Flow {
    Flow { mark, protocol: next::ICMPV6, any_source: true, ..Flow::to(dst.into()) }
}

/// Completes a message and sends it.
fn push(cx: Cx<'_>, route: &Route, header: &Header, mut message: Frame) {
    let start = pseudo_header_sum(route.src, route.dst, next::ICMPV6, message.len());
    let data = message.data_mut();
    data[2..4].fill(0);
    let sum = internet_checksum(data, start);
    data[2..4].copy_from_slice(&sum.to_be_bytes());
    let ty = data[0];
    message.checksum = Checksum::Right;
    count_sent(cx, route, ty);
    let header = Header { protocol: next::ICMPV6, ..header.clone() };
    // An error of an error is told to nobody.
    let _ = ip_output(cx, route, &header, message);
}

/// This host sends a message.
pub(in crate::l3) fn count_sent(cx: Cx<'_>, route: &Route, ty: u8) {
    mib::on_index(cx.state, route.device, |mib| {
        mib.icmp.inc(Icmp6::OutMsgs);
        mib.sent.inc(ty);
    });
}

/// Whether one more message of the type may go out (`icmpv6_xrlim_allow`).
fn allowed(cx: Cx<'_>, route: &Route, dst: Ipv6Addr, ty: u8) -> bool {
    let ns = cx.ns();
    let masked = sysctl::text(ns, "ipv6/icmp/ratemask");
    if !in_list(&masked, ty) {
        return true;
    }
    // Who talks to himself may talk.
    if cx.state.links.by_index(route.oif).is_some_and(|link| link.stored_flags.contains(IfFlags::LOOPBACK)) {
        return true;
    }
    let positive = |name, born| u64::try_from(sysctl::number_or(ns, name, born)).unwrap_or(0);
    let (rate, burst) = (positive("ipv4/icmp_msgs_per_sec", 1000), positive("ipv4/icmp_msgs_burst", 50));
    let mut interval = Duration::from_millis(positive("ipv6/icmp/ratelimit", 100));
    // To many hosts behind one route more may be said.
    let way = inet6::way(ns, &Flow6 { dst, oif: route.oif, ..Flow6::default() }, cx.now());
    let bits = way.map_or(128, |way| way.prefix_len);
    if bits < 128 {
        interval /= 1 << ((128 - u32::from(bits)) >> 5);
    }
    let now = cx.now();
    let mut limit = cx.state.l3.icmp6.lock();
    if !limit.host(dst.into(), now, interval) {
        cx.state.mib.v6.icmp.inc(Icmp6::OutRateLimitHost);
        return false;
    }
    limit.total(now, rate, burst)
}

/// Whether `number` is in a list like `0-1,3-127`.
fn in_list(list: &str, number: u8) -> bool {
    list.trim().split(',').any(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        matches!((from.parse::<u8>(), to.parse::<u8>()), (Ok(from), Ok(to)) if (from..=to).contains(&number))
    })
}

/// A message came in. Its sockets get it, too.
pub(super) fn icmpv6_rcv(cx: Cx<'_>, link: &Arc<Link>, packet: Received) {
    let frame = &packet.frame;
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.src, packet.dst) else { return };
    let start = pseudo_header_sum(packet.src, packet.dst, next::ICMPV6, frame.len());
    let good = frame.checksum != Checksum::Unknown || internet_checksum(frame.data(), start) == 0;
    let count = |which| mib::on_index(cx.state, packet.iif, |mib| mib.icmp.inc(which));
    count(Icmp6::InMsgs);
    let Some(&[ty, code, ..]) = frame.data().first_chunk::<4>().filter(|_| good) else {
        count(Icmp6::InCsumErrors);
        return count(Icmp6::InErrors);
    };
    mib::on_index(cx.state, packet.iif, |mib| mib.received.inc(ty));
    let mut answer = None;
    match ty {
        ty::ECHO if frame.len() >= LEN && answers(cx, &packet, dst) => {
            let mut reply = Frame::with_payload(frame.data());
            reply.data_mut()[0] = ty::ECHO_REPLY;
            answer = Some(reply);
        }
        ty::DEST_UNREACH | ty::PACKET_TOO_BIG | ty::TIME_EXCEEDED | ty::PARAMETER_PROBLEM => {
            let known = error(cx, &packet, ty, code);
            mib::on_index(cx.state, packet.iif, |mib| mib.icmp.add(Icmp6::InErrors, (!known).into()));
        }
        ..ty::INFORMATIONAL => count(Icmp6::InErrors),
        // Who is further away than the link may not say such things.
        ty::ROUTER_SOLICIT..=ty::REDIRECT if packet.hop_limit == 255 && code == 0 => {
            ndisc::ndisc_rcv(cx, link, &packet)
        }
        ty::MLD_QUERY..=ty::MLD_DONE => report::receive(cx, link, &packet),
        _ => {}
    }
    let (tclass, iif, mark) = (packet.tos, packet.iif, packet.frame.mark);
    let own = packet.reach == Reach::Local && !is_anycast(cx, iif, dst);
    l4::deliver(cx, packet);
    if let Some(message) = answer {
        let flow = Flow {
            src: own.then_some(IpAddr::V6(dst)),
            oif: if inet6::needs_device(src) { iif } else { 0 },
            ..reply_flow(src, reply_mark(cx, mark))
        };
        let Ok(route) = route_output(cx, &flow) else { return };
        if allowed(cx, &route, src, ty::ECHO_REPLY) {
            push(cx, &route, &Header { tos: tclass, ..Header::default() }, message);
        }
    }
}

/// Whether an echo is answered, as the settings say.
fn answers(cx: Cx<'_>, packet: &Received, dst: Ipv6Addr) -> bool {
    let ns = cx.ns();
    let ignores = |name| sysctl::number_or(ns, name, 0) != 0;
    let group = packet.reach == Reach::Multicast && ignores("ipv6/icmp/echo_ignore_multicast");
    let shared = is_anycast(cx, packet.iif, dst) && ignores("ipv6/icmp/echo_ignore_anycast");
    !(ignores("ipv6/icmp/echo_ignore_all") || group || shared)
}

/// What programs are told of an error, and whether it ends a connection.
const fn meaning(ty: u8, code: u8) -> (i32, bool) {
    match (ty, code) {
        (ty::DEST_UNREACH, 0) => (errno::ENETUNREACH, false),
        (ty::DEST_UNREACH, 1 | 5 | 6) => (errno::EACCES, true),
        (ty::DEST_UNREACH, 2 | 3) => (errno::EHOSTUNREACH, false),
        (ty::DEST_UNREACH, 4) => (errno::ECONNREFUSED, true),
        (ty::PACKET_TOO_BIG, _) => (errno::EMSGSIZE, false),
        (ty::TIME_EXCEEDED, _) => (errno::EHOSTUNREACH, false),
        _ => (errno::EPROTO, true),
    }
}

/// Somebody could not do something with a packet of ours (`icmpv6_notify`). False if it makes no sense, or the packet was
/// nobody's.
fn error(cx: Cx<'_>, packet: &Received, ty: u8, code: u8) -> bool {
    let message = packet.frame.data();
    let Some(quoted) = message.get(LEN..) else { return false };
    let Some(inner) = Ipv6Header::parse(quoted) else { return false };
    let Some(upper) = upper(quoted, inner.next).filter(|upper| !upper.later_part) else { return false };
    let (errno, fatal) = meaning(ty, code);
    let info = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    if ty == ty::PACKET_TOO_BIG {
        route::learn_mtu(cx, &inner, packet.iif, info);
    }
    let error = IcmpError {
        offender: Some(packet.src),
        ty,
        code,
        info: if ty == ty::DEST_UNREACH { 0 } else { info },
        errno,
        fatal,
        src: inner.src.into(),
        dst: inner.dst.into(),
        protocol: upper.protocol,
        transport: quoted.get(upper.at..).unwrap_or(&[]),
        iif: packet.iif,
        packet,
    };
    l4::error(cx, &error)
}

/// The neighbour that the packet was for did not answer (`ip6_link_failure`).
pub(in crate::l3) fn link_failure(cx: Cx<'_>, ifindex: u32, mut frame: Frame) {
    frame.pull_back_to_network();
    // Whom it came from is told, be it this host.
    frame.kind = PacketType::Outgoing;
    icmpv6_send(cx, Quote::of(&frame, ifindex, Reach::Unicast), ty::DEST_UNREACH, code::ADDR_UNREACH, 0);
}

/// A packet whose parts did not all come in time: the first of them.
pub(in crate::l3) fn parts_missing(cx: Cx<'_>, ifindex: u32, first: &Frame) {
    icmpv6_send(cx, Quote::of(first, ifindex, Reach::Local), ty::TIME_EXCEEDED, code::EXC_FRAGTIME, 0);
}

#[cfg(test)]
mod tests {
    use super::in_list;

    #[test]
    fn lists_have_ranges() {
        let list = "0-1,3-127\n";
        assert!([0, 1, 3, 127].into_iter().all(|n| in_list(list, n)));
        assert!([2, 128, 255].into_iter().all(|n| !in_list(list, n)));
        assert!(in_list("7", 7) && !in_list("", 7));
    }
}
