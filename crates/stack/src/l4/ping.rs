//! Ping sockets: ICMP echo without privilege (`net/ipv4/ping.c`).
//!
//! The identifier of an echo request is the port of the socket; answers are looked up by it.

use std::net::{IpAddr, SocketAddr};

use super::address::{endpoint, may_bind4, names_many, needs_scope};
use super::options::Opt;
use super::ports::{Ends, Range};
use super::queue::{Meta, Waiting};
use super::send::Plan;
use super::sock::{IPPROTO_ICMPV6, Kind, Proto};
use super::udp::queued;
use crate::errno;
use crate::l2::{Checksum, Cx, Frame};
use crate::l3::{IcmpError, Received, Route, internet_checksum, pseudo_header_sum};
use crate::state::Ns;
use crate::sysctl;

const HEADER: usize = 8;
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST6: u8 = 128;
const ECHO_REPLY6: u8 = 129;
/// Extended echo (RFC 8335).
const EXT_ECHO: u8 = 42;
const EXT_ECHO_REPLY: u8 = 43;
const EXT_ECHO6: u8 = 160;
const EXT_ECHO_REPLY6: u8 = 161;

/// Identifiers to choose from.
pub(super) fn idents(ns: Ns<'_>) -> Range {
    Range::all(ns)
}

/// Whether a member of these groups may have such a socket (`net.ipv4.ping_group_range`).
pub(crate) fn admits(ns: Ns<'_>, groups: impl IntoIterator<Item = u32>) -> bool {
    let range = sysctl::text(ns, "ipv4/ping_group_range");
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u32>().ok());
    let (Some(low), Some(high)) = (ends.next(), ends.next()) else { return false };
    groups.into_iter().any(|group| (low..=high).contains(&group))
}

/// Whether such a socket may be bound to an address, and the device that it is bound to thereby (`ping_check_bind_addr`).
/// `device`: the one that it is bound to, 0 for none; `any`: addresses of others will do.
///
/// # Errors
/// `EINVAL`, `ENODEV`, `EADDRNOTAVAIL`.
pub(super) fn may_bind(cx: Cx<'_>, addr: SocketAddr, device: u32, any: bool) -> Result<u32, i32> {
    let v6 = match addr {
        SocketAddr::V6(v6) => v6,
        SocketAddr::V4(v4) => {
            let ip = *v4.ip();
            let may = ip.is_unspecified() || !names_many(cx, ip) && may_bind4(cx, ip, any);
            return if may { Ok(device) } else { Err(errno::EADDRNOTAVAIL) };
        }
    };
    let (ip, scope) = (*v6.ip(), v6.scope_id());
    if ip.is_multicast() || ip.to_ipv4_mapped().is_some() || ip.is_unicast_link_local() && scope == 0 {
        return Err(errno::EINVAL);
    }
    if scope != 0 && cx.state.links.by_index(scope).is_none() {
        return Err(errno::ENODEV);
    }
    let by = if scope != 0 { scope } else { device };
    let any = any || ip.is_unspecified() || sysctl::number_or(cx.ns(), "ipv6/ip_nonlocal_bind", 0) != 0;
    if !any && !cx.state.peek_inet6().is_some_and(|inet6| inet6.has_addr(ip, by)) {
        return Err(errno::EADDRNOTAVAIL);
    }
    Ok(if needs_scope(ip) { by } else { device })
}

/// Whether a packet to `to` may leave by `device`, of a socket that is bound to `bound`, if that is not 0. "Any" of IPv6 is
/// nobody, though not to who connects.
///
/// # Errors
/// `EINVAL`, `ENETUNREACH`.
pub(super) fn check_device(to: SocketAddr, device: u32, bound: u32) -> Result<(), i32> {
    let unsaid = matches!(to, SocketAddr::V6(v6) if device == 0 && needs_scope(*v6.ip()));
    if to.is_ipv6() && to.ip().is_unspecified() {
        return Err(errno::ENETUNREACH);
    }
    if unsaid || bound != 0 && device != bound { Err(errno::EINVAL) } else { Ok(()) }
}

/// Whether a payload is one that may be sent.
///
/// # Errors
/// `EINVAL`.
pub(super) fn check(v6: bool, payload: &[u8]) -> Result<(), i32> {
    let (Some(ty), Some(code)) = (payload.first(), payload.get(1)) else { return Err(errno::EINVAL) };
    let known = if v6 { [ECHO_REQUEST6, EXT_ECHO6] } else { [ECHO, EXT_ECHO] };
    if payload.len() < HEADER || !known.contains(ty) || *code != 0 { Err(errno::EINVAL) } else { Ok(()) }
}

/// The packet of a payload: identifier and checksum are ours to write. The payload has a header's length.
pub(super) fn build(plan: &Plan, route: &Route, payload: &[u8]) -> Frame {
    let mut frame = Frame::with_payload(payload);
    let data = frame.data_mut();
    if let Some(header) = data.first_chunk_mut::<HEADER>() {
        header[2..4].fill(0);
        header[4..6].copy_from_slice(&plan.sport.to_be_bytes());
    }
    let start = if plan.v6() { pseudo_header_sum(route.src, route.dst, IPPROTO_ICMPV6, data.len()) } else { 0 };
    let sum = internet_checksum(data, start);
    if let Some(header) = data.first_chunk_mut::<HEADER>() {
        header[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    frame.checksum = Checksum::Right;
    frame
}

/// An ICMP message came, judged already (`ping_rcv`).
pub(super) fn rcv(cx: Cx<'_>, packet: Received) {
    let kind = Kind { v6: packet.dst.is_ipv6(), proto: Proto::Ping };
    let Some(ports) = cx.state.l4.peek_ping(kind.v6) else { return };
    let Some([ty, _, _, _, high, low, ..]) = packet.frame.data().first_chunk::<HEADER>().copied() else { return };
    let answers = if kind.v6 { [ECHO_REPLY6, EXT_ECHO_REPLY6] } else { [ECHO_REPLY, EXT_ECHO_REPLY] };
    if !answers.contains(&ty) {
        return;
    }
    let ident = u16::from_be_bytes([high, low]);
    let ends = ends(packet.src, packet.dst, ident, packet.iif);
    // Who is connected has a peer with a port, which says nothing here: so peers are not told apart by the table.
    let Some(sock) = ports.lookup_all(&ends).pop() else { return };
    let meta = Meta {
        from: ends.src,
        dst: packet.dst,
        dport: ident,
        ifindex: packet.iif,
        tos: packet.tos,
        hop_limit: packet.hop_limit,
        at: cx.now(),
        drops: 0,
        segment: None,
        options: packet.options(),
    };
    sock.enqueue(Waiting { frame: packet.frame, meta });
}

fn ends(src: IpAddr, dst: IpAddr, ident: u16, device: u32) -> Ends {
    Ends { src: endpoint(src, 0, device), dst: endpoint(dst, ident, device), device }
}

/// Somebody says something of an echo of ours (`ping_err`).
pub(super) fn err(cx: Cx<'_>, error: &IcmpError<'_>) {
    let v6 = error.dst.is_ipv6();
    let Some(ports) = cx.state.l4.peek_ping(v6) else { return };
    let Some([ty, _, _, _, high, low, ..]) = error.transport.first_chunk::<HEADER>().copied() else { return };
    let known = if v6 { [ECHO_REQUEST6, EXT_ECHO6] } else { [ECHO, EXT_ECHO] };
    if !known.contains(&ty) {
        return;
    }
    let ends = ends(error.dst, error.src, u16::from_be_bytes([high, low]), error.iif);
    let Some(sock) = ports.lookup_all(&ends).pop() else { return };
    let (connected, asks) = {
        let state = sock.lock();
        (state.peer.is_some(), state.options.is_on(if v6 { Opt::IPV6_RECVERR } else { Opt::IP_RECVERR }))
    };
    if asks {
        sock.report(Some(queued(cx, error, ends.src, error.transport)), Some(error.errno));
    } else if connected && error.fatal {
        sock.report(None, Some(error.errno));
    }
}
