//! UDP (RFC 768) and UDP-Lite (RFC 3828), which has a length of the checksum where UDP has one of the packet.

use std::net::IpAddr;
use std::num::NonZeroU16;

use super::address::endpoint;
use super::member;
use super::options::Opt;
use super::ports::Ends;
use super::queue::{ErrorOrigin, Meta, QueuedError, Waiting};
use super::send::{Plan, frame_of};
use super::sock::{IPPROTO_UDPLITE, Proto, Sock, State};
use crate::errno;
use crate::l2::{Checksum, Cx, Frame};
use crate::l3::{Delivered, IcmpError, Reach, Received, Route, cut, internet_checksum, ip_output, pseudo_header_sum};
use crate::mib::{Udp, UdpMib};

const HEADER: usize = 8;
/// Payloads of one call (`UDP_MAX_SEGMENTS`).
const MAX_SEGMENTS: usize = 128;
/// Where the checksum is in the header.
const CHECKSUM: u16 = 6;

/// Sends a payload, as one packet or as one that stands for as many as was asked for (`udp_send_skb`).
pub(super) fn send(cx: Cx<'_>, plan: &mut Plan, route: &Route, payload: &[u8]) -> Result<(), i32> {
    let sent = send_all(cx, plan, route, payload);
    let mib = cx.state.mib.udp.of(plan.protocol() == IPPROTO_UDPLITE, plan.v6());
    match sent {
        Ok(()) => mib.inc(Udp::OutDatagrams),
        Err(errno::ENOBUFS) => mib.inc(Udp::SndbufErrors),
        Err(_) => {}
    }
    sent
}

fn send_all(cx: Cx<'_>, plan: &mut Plan, route: &Route, payload: &[u8]) -> Result<(), i32> {
    let around = if plan.v6() { 40 } else { 20 + plan.header.options.len() };
    let longest = 0xffff - HEADER - if plan.v6() { 0 } else { around };
    if payload.len() > longest {
        return Err(errno::EMSGSIZE);
    }
    if let Some(segment) = plan.segment.map(usize::from) {
        // Each is to fit; then how many they are is looked at, and what is to be done with them.
        if segment.min(payload.len()) + HEADER + around > route.mtu as usize {
            return Err(errno::EMSGSIZE);
        }
        if payload.len() > segment * MAX_SEGMENTS {
            return Err(errno::EINVAL);
        }
        if plan.no_checksum {
            return Err(errno::EINVAL);
        }
        if plan.protocol() == IPPROTO_UDPLITE {
            return Err(errno::EIO);
        }
    }
    let mut frame = build(plan, route, payload);
    frame.segment = plan.segment.filter(|&segment| usize::from(segment) < payload.len()).and_then(NonZeroU16::new);
    frame.stamps = plan.stamps.take();
    ip_output(cx, route, &plan.header, frame)
}

fn build(plan: &Plan, route: &Route, payload: &[u8]) -> Frame {
    // It fits: longer payloads were refused.
    let len = (HEADER + payload.len()) as u16;
    let sum = pseudo_header_sum(route.src, route.dst, plan.protocol(), len.into());
    let lite = plan.protocol() == IPPROTO_UDPLITE;
    let no_checksum = plan.no_checksum && !lite;
    // Nothing says that it covers everything, as does all of the length.
    let covered = u16::try_from(plan.coverage).map_or(len, |asked| asked.min(len));
    let words = [plan.sport, plan.to.port(), if lite { covered } else { len }, if no_checksum { 0 } else { sum }];
    let mut header = [0; HEADER];
    for (to, word) in header.as_chunks_mut::<2>().0.iter_mut().zip(words) {
        *to = word.to_be_bytes();
    }
    if lite && (1..len).contains(&covered) {
        // Devices know checksums over everything only: this one is made here. The sum in its field is that of the pseudo
        // header. A coverage is no less than the header.
        let begin = internet_checksum(&header, 0);
        let rest = payload.get(..usize::from(covered).saturating_sub(HEADER)).unwrap_or(payload);
        let [high, low] = [CHECKSUM, CHECKSUM + 1].map(usize::from);
        [header[high], header[low]] = match internet_checksum(rest, !begin) {
            0 => [0xff; 2],
            sum => sum.to_be_bytes(),
        };
        let mut frame = frame_of(&header, payload);
        frame.checksum = Checksum::Right;
        return frame;
    }
    let mut frame = frame_of(&header, payload);
    frame.checksum = if no_checksum { Checksum::Right } else { Checksum::Partial { start: 0, offset: CHECKSUM } };
    frame
}

/// A packet came (`__udp4_lib_rcv`, `__udp6_lib_rcv`).
pub(super) fn rcv(cx: Cx<'_>, mut packet: Received) -> Delivered {
    let mib = cx.state.mib.udp.of(packet.protocol == IPPROTO_UDPLITE, packet.dst.is_ipv6());
    let Some([a, b, c, d, e, f, g, h]) = packet.frame.data().first_chunk::<HEADER>().copied() else {
        mib.inc(Udp::InErrors);
        return Delivered::Done;
    };
    let word = |high, low| u16::from_be_bytes([high, low]);
    let (sport, dport, len, checksum) = (word(a, b), word(c, d), usize::from(word(e, f)), word(g, h));
    let (proto, whole) = (proto(packet.protocol), packet.frame.len());
    let covered = if proto == Proto::UdpLite && len == 0 { whole } else { len };
    if covered < HEADER || covered > whole {
        mib.inc(Udp::InErrors);
        return Delivered::Done;
    }
    if proto == Proto::Udp {
        packet.frame.trim(len);
    }
    if !checksum_ok(&packet, checksum, covered) {
        mib.inc(Udp::InCsumErrors);
        mib.inc(Udp::InErrors);
        return Delivered::Done;
    }
    let partly = Some(covered).filter(|&covered| covered < packet.frame.len());
    let ends = Ends {
        src: endpoint(packet.src, sport, packet.iif),
        dst: endpoint(packet.dst, dport, packet.iif),
        device: packet.iif,
    };
    let Some(ports) = cx.state.l4.peek_udp(proto) else {
        return nobody(mib, packet);
    };
    let meta = Meta {
        from: ends.src,
        dst: packet.dst,
        dport,
        ifindex: packet.iif,
        tos: packet.tos,
        hop_limit: packet.hop_limit,
        at: cx.now(),
        drops: 0,
        segment: None,
        options: packet.options(),
    };
    if matches!(packet.reach, Reach::Broadcast | Reach::Multicast) {
        if packet.frame.pull(HEADER).is_some() {
            everybody(mib, &ports.lookup_all(&ends), &packet, &meta, partly);
        }
        return Delivered::Done;
    }
    let Some(sock) = ports.lookup(&ends) else { return nobody(mib, packet) };
    if !expects(&sock, &packet, checksum, partly) || packet.frame.pull(HEADER).is_none() {
        mib.inc(Udp::InErrors);
        return Delivered::Done;
    }
    give(mib, &sock, Waiting { frame: packet.frame, meta });
    Delivered::Done
}

/// A packet that nobody waits for.
fn nobody(mib: &UdpMib, packet: Received) -> Delivered {
    let word = packet.frame.data().get(usize::from(CHECKSUM)..HEADER);
    if packet.dst.is_ipv6() && packet.frame.checksum == Checksum::Unknown && word == Some(&[0; 2]) {
        // Only a socket can say that it wants such packets.
        mib.inc(Udp::InCsumErrors);
        mib.inc(Udp::InErrors);
        return Delivered::Done;
    }
    if packet.reach == Reach::Local {
        mib.inc(Udp::NoPorts);
        return Delivered::NoPort(packet.frame);
    }
    mib.inc(Udp::IgnoredMulti);
    Delivered::Done
}

/// Into the queue of a socket: as it came, or, of what stands for several, one after the other, unless the program takes them
/// together (`udp_queue_rcv_skb`).
fn give(mib: &UdpMib, sock: &Sock, mut packet: Waiting) {
    let Some(segment) = packet.frame.segment else { return give_one(mib, sock, packet) };
    if sock.lock().options.is_on(Opt::UDP_GRO) {
        packet.meta.segment = Some(segment.get());
        return give_one(mib, sock, packet);
    }
    let headers = packet.frame.network_header().len();
    packet.frame.pull_back_to_network();
    for mut frame in cut(packet.frame) {
        if frame.pull(headers).is_some() {
            give_one(mib, sock, Waiting { frame, meta: packet.meta.clone() });
        }
    }
}

/// Into the queue of a socket, if there is room. It is counted as received when a program takes it.
fn give_one(mib: &UdpMib, sock: &Sock, packet: Waiting) {
    if !sock.enqueue(packet) {
        mib.inc(Udp::RcvbufErrors);
        mib.inc(Udp::InErrors);
    }
}

/// A program took a packet.
pub(super) fn taken(sock: &Sock, meta: &Meta) {
    if let Some(cx) = sock.cx().filter(|_| sock.kind.proto.is_udp()) {
        cx.state.mib.udp.of(sock.kind.proto == Proto::UdpLite, meta.dst.is_ipv6()).inc(Udp::InDatagrams);
    }
}

/// Which of the two a protocol number means.
const fn proto(protocol: u8) -> Proto {
    if protocol == IPPROTO_UDPLITE { Proto::UdpLite } else { Proto::Udp }
}

/// A copy to each of those who want it.
fn everybody(mib: &UdpMib, socks: &[std::sync::Arc<Sock>], packet: &Received, meta: &Meta, partly: Option<usize>) {
    let mut ignored = true;
    for sock in socks {
        let state = sock.lock();
        let wanted = covers_enough(&state, partly)
            && (packet.reach != Reach::Multicast || member::hears(&state, packet.dst, packet.src, packet.iif));
        drop(state);
        if wanted {
            ignored = false;
            give(mib, sock, Waiting { frame: packet.frame.clone(), meta: meta.clone() });
        }
    }
    if ignored {
        mib.inc(Udp::IgnoredMulti);
    }
}

/// Whether the packet is as the socket asks that packets be.
fn expects(sock: &Sock, packet: &Received, checksum: u16, partly: Option<usize>) -> bool {
    let state = sock.lock();
    let (least, needs_checksum) = match packet.dst {
        IpAddr::V4(_) => (Opt::IP_MINTTL, false),
        IpAddr::V6(_) => (Opt::IPV6_MINHOPCOUNT, !state.options.is_on(Opt::UDP_NO_CHECK6_RX)),
    };
    let enough = i32::from(packet.hop_limit) >= state.options.get(least);
    enough && !(needs_checksum && checksum == 0) && covers_enough(&state, partly)
}

/// Whether the checksum covers what `UDPLITE_RECV_CSCOV` asks for; one over everything always does (`None`).
fn covers_enough(state: &State, partly: Option<usize>) -> bool {
    match (partly, usize::try_from(state.options.get(Opt::UDPLITE_RECV_CSCOV))) {
        (Some(covered), Ok(least)) => least != 0 && covered >= least,
        _ => true,
    }
}

/// UDP may go without a checksum, UDP-Lite may not.
fn checksum_ok(packet: &Received, checksum: u16, covered: usize) -> bool {
    if packet.frame.checksum != Checksum::Unknown {
        return true;
    }
    if checksum == 0 {
        return proto(packet.protocol) == Proto::Udp;
    }
    let data = packet.frame.data();
    let sum = pseudo_header_sum(packet.src, packet.dst, packet.protocol, data.len());
    internet_checksum(data.get(..covered).unwrap_or(data), sum) == 0
}

/// Somebody says something of a packet of ours (`__udp4_lib_err`, `__udp6_lib_err`). False if no socket is there that could
/// have sent it.
pub(super) fn err(cx: Cx<'_>, error: &IcmpError<'_>) -> bool {
    let Some(ports) = cx.state.l4.peek_udp(proto(error.protocol)) else { return false };
    let Some([a, b, c, d, ..]) = error.transport.first_chunk::<HEADER>().copied() else { return false };
    let (sport, dport) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let to = endpoint(error.dst, dport, error.iif);
    // What was sent through a device says nothing of who it was bound to: the loopback tells of its own.
    let ends = Ends { src: to, dst: endpoint(error.src, sport, error.iif), device: error.iif };
    let Some(sock) = ports.lookup(&ends) else { return false };
    let (connected, asks) = {
        let state = sock.lock();
        let opt = if error.dst.is_ipv4() { Opt::IP_RECVERR } else { Opt::IPV6_RECVERR };
        (state.peer.is_some(), state.options.is_on(opt))
    };
    if asks {
        let payload = error.transport.get(HEADER..).unwrap_or_default();
        sock.report(Some(queued(cx, error, to, payload)), Some(error.errno));
    } else if connected && error.fatal {
        sock.report(None, Some(error.errno));
    }
    true
}

/// As it stands in the queue of errors.
pub(super) fn queued(cx: Cx<'_>, error: &IcmpError<'_>, to: std::net::SocketAddr, payload: &[u8]) -> QueuedError {
    let origin = match (error.offender, error.dst) {
        (None, _) => ErrorOrigin::Local,
        (_, IpAddr::V4(_)) => ErrorOrigin::Icmp,
        (_, IpAddr::V6(_)) => ErrorOrigin::Icmp6,
    };
    QueuedError {
        errno: error.errno,
        origin,
        ty: error.ty,
        code: error.code,
        info: error.info,
        data: 0,
        offender: error.offender,
        to: Some(to),
        payload: payload.to_vec(),
        ifindex: error.packet.iif,
        at: cx.now(),
        heard: Some(Meta {
            from: endpoint(error.packet.src, 0, error.iif),
            dst: error.packet.dst,
            // Linux reads it where the quoted payload has begun by then.
            dport: payload.get(2..4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]])),
            ifindex: error.packet.iif,
            tos: error.packet.tos,
            hop_limit: error.packet.hop_limit,
            at: cx.now(),
            drops: 0,
            segment: None,
            options: error.packet.options(),
        }),
    }
}
