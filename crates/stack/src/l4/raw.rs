//! Raw sockets: packets of a protocol with their headers (`net/ipv4/raw.c`, `net/ipv6/raw.c`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address::endpoint;
use super::member;
use super::options::Opt;
use super::queue::{Meta, Waiting};
use super::send::Plan;
use super::sock::{IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_RAW, Kind, Proto, Sock, State};
use super::udp::queued;
use crate::errno;
use crate::l2::{Checksum, Cx, Frame};
use crate::l3::{IcmpError, Reach, Received, Route, internet_checksum, ip_output, ip_output_raw, pseudo_header_sum};

/// What a raw socket lets through, and where its protocol has a checksum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters {
    /// `ICMP_FILTER`: types below 32 that are kept out.
    pub(crate) icmp: u32,
    /// `ICMPV6_FILTER`: types that are kept out.
    pub(crate) icmp6: [u32; 8],
    /// `IPV6_CHECKSUM`: none where it is negative.
    pub(crate) checksum: Option<i32>,
    /// `IP_OPTIONS` of what is sent, for any socket.
    pub(crate) ip_options: Vec<u8>,
}

impl Filters {
    /// What a socket is born with.
    pub(crate) fn of(kind: Kind) -> Self {
        let icmp6 = kind == Kind { v6: true, proto: Proto::Raw(IPPROTO_ICMPV6) };
        Self { checksum: icmp6.then_some(2), ..Self::default() }
    }

    pub(crate) fn checksum_at(&self, kind: Kind) -> Option<usize> {
        let raw6 = kind.v6 && matches!(kind.proto, Proto::Raw(_));
        self.checksum.filter(|_| raw6).and_then(|at| usize::try_from(at).ok())
    }

    fn keeps_out(&self, protocol: u8, ty: u8) -> bool {
        match protocol {
            IPPROTO_ICMP => ty < 32 && self.icmp >> ty & 1 != 0,
            IPPROTO_ICMPV6 => self.icmp6[usize::from(ty >> 5)] >> (ty & 31) & 1 != 0,
            _ => false,
        }
    }
}

/// By family and protocol.
type ByProtocol = HashMap<(bool, u8), Vec<Arc<Sock>>>;

/// The raw sockets of a namespace by family and protocol.
#[derive(Debug, Default)]
pub(crate) struct Raws {
    /// A leaf lock.
    by_protocol: Mutex<ByProtocol>,
}

impl Raws {
    fn lock(&self) -> MutexGuard<'_, ByProtocol> {
        self.by_protocol.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, sock: &Arc<Sock>) {
        self.lock().entry((sock.kind.v6, sock.kind.protocol())).or_default().push(Arc::clone(sock));
    }

    pub(super) fn remove(&self, sock: &Arc<Sock>) {
        let key = (sock.kind.v6, sock.kind.protocol());
        let mut all = self.lock();
        if let Some(of_protocol) = all.get_mut(&key) {
            of_protocol.retain(|other| !Arc::ptr_eq(other, sock));
            if of_protocol.is_empty() {
                all.remove(&key);
            }
        }
    }

    fn of(&self, v6: bool, protocol: u8) -> Vec<Arc<Sock>> {
        self.lock().get(&(v6, protocol)).cloned().unwrap_or_default()
    }

    /// Everybody, for those who list them.
    pub(super) fn all(&self) -> Vec<Arc<Sock>> {
        self.lock().values().flatten().cloned().collect()
    }
}

/// Whether a packet with these ends is for the socket.
fn matches(state: &State, src: IpAddr, dst: IpAddr, device: u32) -> bool {
    let local = state.local.is_unspecified() || state.local == dst;
    let peer = state.peer.is_none_or(|peer| peer.ip() == src);
    local && peer && (state.device == 0 || state.device == device)
}

/// Copies of a packet to those who have its protocol (`raw_local_deliver`); says whether there are any.
pub(super) fn deliver(cx: Cx<'_>, packet: &Received) -> bool {
    let v6 = packet.dst.is_ipv6();
    let Some(raws) = cx.state.l4.peek_raw() else { return false };
    let mut any = false;
    for sock in raws.of(v6, packet.protocol) {
        let wanted = {
            let state = sock.lock();
            let ty = packet.frame.data().first().copied().unwrap_or(0);
            matches(&state, packet.src, packet.dst, packet.iif)
                && !state.raw.keeps_out(packet.protocol, ty)
                && (packet.reach != Reach::Multicast || member::hears(&state, packet.dst, packet.src, packet.iif))
                && checksum_ok(&state, sock.kind, packet)
        };
        any |= wanted;
        if wanted {
            packet.frame.trail.spoil();
            let mut frame = packet.frame.clone();
            if !v6 {
                // IPv4's get the header too.
                frame.pull_back_to_network();
            }
            sock.enqueue(Waiting { frame, meta: meta(cx, packet) });
        }
    }
    any
}

fn meta(cx: Cx<'_>, packet: &Received) -> Meta {
    Meta {
        from: endpoint(packet.src, 0, packet.iif),
        dst: packet.dst,
        dport: 0,
        ifindex: packet.iif,
        tos: packet.tos,
        hop_limit: packet.hop_limit,
        at: cx.now(),
        drops: 0,
        segment: None,
        options: packet.options(),
    }
}

/// Where the socket says that its protocol has a checksum, it is looked at.
fn checksum_ok(state: &State, kind: Kind, packet: &Received) -> bool {
    if state.raw.checksum_at(kind).is_none() || packet.frame.checksum != Checksum::Unknown {
        return true;
    }
    let data = packet.frame.data();
    internet_checksum(data, pseudo_header_sum(packet.src, packet.dst, packet.protocol, data.len())) == 0
}

/// Where an address has a port, a raw IPv6 socket that sends takes nothing or its own protocol; one of any protocol
/// (`IPPROTO_RAW`) takes every protocol.
///
/// # Errors
/// `EINVAL`.
pub(super) fn check_port(kind: Kind, port: u16) -> Result<(), i32> {
    let Kind { v6: true, proto: Proto::Raw(own) } = kind else { return Ok(()) };
    match u8::try_from(port) {
        Ok(said) if said == 0 || said == own || own == IPPROTO_RAW => Ok(()),
        _ => Err(errno::EINVAL),
    }
}

/// Sends what a program wrote (`raw_sendmsg`, `rawv6_sendmsg`).
pub(super) fn send(cx: Cx<'_>, plan: &mut Plan, route: &Route, payload: &[u8]) -> Result<(), i32> {
    if plan.writes_header {
        let least = if plan.v6() { 40 } else { 20 };
        if payload.len() < least {
            return Err(errno::EINVAL);
        }
        if payload.len() > route.mtu as usize {
            return Err(errno::EMSGSIZE);
        }
        let mut frame = Frame::with_payload(payload);
        frame.stamps = plan.stamps.take();
        return ip_output_raw(cx, route, &plan.header, frame);
    }
    // What the program made of checksums inside, its receiver judges.
    let mut frame = Frame::with_payload(payload);
    frame.stamps = plan.stamps.take();
    if let Some(at) = plan.checksum_at {
        let data = frame.data_mut();
        let start = pseudo_header_sum(route.src, route.dst, plan.header.protocol, data.len());
        let Some(field) = data.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
            return Err(errno::EINVAL);
        };
        *field = [0; 2];
        let sum = internet_checksum(data, start);
        if let Some(field) = data.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) {
            *field = sum.to_be_bytes();
        }
    }
    ip_output(cx, route, &plan.header, frame)
}

/// Somebody says something of a packet of ours (`raw_icmp_error`).
pub(super) fn err(cx: Cx<'_>, error: &IcmpError<'_>) {
    let v6 = error.dst.is_ipv6();
    let Some(raws) = cx.state.l4.peek_raw() else { return };
    for sock in raws.of(v6, error.protocol) {
        let (connected, asks, header_too) = {
            let state = sock.lock();
            if !matches(&state, error.dst, error.src, error.iif) {
                continue;
            }
            let (asks, header) =
                if v6 { (Opt::IPV6_RECVERR, Opt::IPV6_HDRINCL) } else { (Opt::IP_RECVERR, Opt::IP_HDRINCL) };
            (state.peer.is_some(), state.options.is_on(asks), state.options.is_on(header))
        };
        if asks {
            let to = endpoint(error.dst, 0, error.iif);
            let quoted = if header_too { quoted_header(error) } else { error.transport };
            sock.report(Some(queued(cx, error, to, quoted)), Some(error.errno));
        } else if connected && error.fatal {
            sock.report(None, Some(error.errno));
        }
    }
}

/// What the message quotes from the network header on.
fn quoted_header<'e>(error: &IcmpError<'e>) -> &'e [u8] {
    error.packet.frame.data().get(8..).filter(|quoted| quoted.len() >= error.transport.len()).unwrap_or(error.transport)
}
