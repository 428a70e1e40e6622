//! Sending (`udp_sendmsg`, `raw_sendmsg`, `ping_v4_sendmsg` and their IPv6 kin): what they have in common.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use pernet::Cap;

use super::address::{endpoint, needs_scope, unmapped};
use super::cmsg::{ControlMessage, Said};
use super::options::Opt;
use super::queue::{ErrorOrigin, QueuedError};
use super::sock::{Caller, IPPROTO_ICMP, IPPROTO_ICMPV6, Kind, Proto, Sock, State};
use super::times::Asked;
use super::{ping, raw, udp};
use crate::errno;
use crate::inet6::{self, Prefer};
use crate::l2::{Cx, Frame, Stamps};
use crate::l3::{Flow, Header, PmtuDiscovery, Reach, Route, icmp_sent, ip_output, no_way, route_output};
use crate::sysctl;

pub(crate) const MSG_OOB: i32 = 0x1;
const MSG_DONTROUTE: i32 = 0x4;
const MSG_MORE: i32 = 0x8000;
/// The longest payload, whatever its protocol.
const LONGEST: usize = 0xffff;

/// What waits for its end (`UDP_CORK`, `MSG_MORE`): where to is decided by the first piece.
#[derive(Debug)]
pub(crate) struct Corked {
    to: SocketAddr,
    said: Said,
    payload: Vec<u8>,
}

/// All that sending one packet takes of a socket, copied out of it: it is not locked meanwhile.
#[derive(Debug)]
pub(crate) struct Plan {
    kind: Kind,
    /// Whither, never a mapped address.
    pub(crate) to: SocketAddr,
    pub(crate) sport: u16,
    flow: Flow,
    pub(crate) header: Header,
    broadcast: bool,
    tells_errors: bool,
    /// Bytes of payload in each of several packets.
    pub(crate) segment: Option<u16>,
    pub(crate) no_checksum: bool,
    /// What the checksum of UDP-Lite covers: everything if below zero.
    pub(crate) coverage: i32,
    /// The program writes the network header.
    pub(crate) writes_header: bool,
    /// Where the raw protocol has its checksum (`IPV6_CHECKSUM`).
    pub(crate) checksum_at: Option<usize>,
    /// What times of it are wanted.
    asked: Asked,
    /// Who is told them: taken by the frame.
    pub(crate) stamps: Stamps,
}

impl Plan {
    /// Of a packet of `sock` to `to`. What was [`Said`] of times was judged.
    pub(crate) fn new(sock: &Sock, state: &State, to: SocketAddr, said: Said) -> Self {
        let options = &state.options;
        let ip = unmapped(to.ip());
        let (group, v4) = (ip.is_multicast(), ip.is_ipv4());
        let asked = state.times.asked(said.stamps, said.stamp_id).unwrap_or_default();
        let mut src = said.src.or_else(|| state.source().filter(|a| a.is_ipv4() == v4));
        let mut oif = if said.ifindex != 0 { said.ifindex } else { asked_device(sock.kind, state, to) };
        if oif == 0 && group {
            oif = if v4 { state.group_device } else { state.group_device6 };
        } else if oif == 0 {
            oif = state.unicast_device;
        }
        if group && v4 && src.is_none() {
            src = state.group_source.map(IpAddr::V4);
        }
        let tos = said.tos.unwrap_or_else(|| options.get(if v4 { Opt::IP_TOS } else { Opt::IPV6_TCLASS }) as u8);
        let hops = match (v4, group) {
            (true, true) => Opt::IP_MULTICAST_TTL,
            (true, false) => Opt::IP_TTL,
            (false, true) => Opt::IPV6_MULTICAST_HOPS,
            (false, false) => Opt::IPV6_UNICAST_HOPS,
        };
        // Of the options' own range, or -1.
        let hop_limit = said.hop_limit.or_else(|| u8::try_from(options.get(hops)).ok());
        let mark = said.mark.unwrap_or_else(|| options.get(Opt::MARK).cast_unsigned());
        let writes_header = options.is_on(if v4 { Opt::IP_HDRINCL } else { Opt::IPV6_HDRINCL });
        let pmtu = options.get(if v4 { Opt::IP_MTU_DISCOVER } else { Opt::IPV6_MTU_DISCOVER });
        let header = Header {
            protocol: sock.kind.protocol(),
            tos,
            hop_limit,
            pmtu: PmtuDiscovery::of(pmtu).unwrap_or_default(),
            part_size: if v4 { 0 } else { usize::try_from(options.get(Opt::IPV6_MTU)).unwrap_or(0) },
            options: if v4 { state.raw.ip_options.clone() } else { Vec::new() },
            flow_label: 0,
            multicast_loop: options.is_on(if v4 { Opt::IP_MULTICAST_LOOP } else { Opt::IPV6_MULTICAST_LOOP }),
            mark,
            priority: said.priority.unwrap_or_else(|| options.get(Opt::PRIORITY).cast_unsigned()),
        };
        let raw = matches!(sock.kind.proto, Proto::Raw(_));
        let segment = said.segment.or_else(|| u16::try_from(options.get(Opt::UDP_SEGMENT)).ok()).filter(|&s| s != 0);
        Self {
            kind: sock.kind,
            to,
            sport: state.port,
            flow: Flow {
                src,
                oif,
                bound: state.device != 0,
                mark,
                tos,
                protocol: sock.kind.protocol(),
                sport: state.port,
                dport: to.port(),
                uid: sock.uid,
                on_link: options.is_on(Opt::DONTROUTE),
                any_source: state.is_transparent() || (raw && writes_header),
                prefer: if v4 { Prefer::Usual } else { Prefer::of(options.get(Opt::IPV6_ADDR_PREFERENCES)) },
                ..Flow::to(ip)
            },
            header,
            broadcast: options.is_on(Opt::BROADCAST),
            tells_errors: options.is_on(if v4 { Opt::IP_RECVERR } else { Opt::IPV6_RECVERR }),
            segment,
            no_checksum: options.is_on(if v4 { Opt::NO_CHECK } else { Opt::UDP_NO_CHECK6_TX }),
            coverage: options.get(Opt::UDPLITE_SEND_CSCOV),
            writes_header,
            checksum_at: state.raw.checksum_at(sock.kind),
            asked,
            stamps: Stamps::default(),
        }
    }

    /// Finds the way, and counts that there is none.
    ///
    /// # Errors
    /// What routing says; `EACCES` for a broadcast that was not permitted.
    pub(crate) fn route(&mut self, cx: Cx<'_>) -> Result<Route, i32> {
        self.find(cx).inspect_err(no_way(cx, self.flow.dst))
    }

    /// As [`route`](Self::route), to send by: what a raw socket of IPv4 sends is not counted.
    fn route_to_send(&mut self, cx: Cx<'_>) -> Result<Route, i32> {
        if matches!(self.kind.proto, Proto::Raw(_)) && !self.v6() { self.find(cx) } else { self.route(cx) }
    }

    fn find(&mut self, cx: Cx<'_>) -> Result<Route, i32> {
        if let IpAddr::V6(dst) = self.flow.dst
            && dst.is_unspecified()
        {
            // The unspecified address is this host, as BSD had it.
            self.flow.dst = Ipv6Addr::LOCALHOST.into();
        }
        let route = route_output(cx, &self.flow)?;
        if route.reach == Reach::Broadcast && !self.broadcast {
            return Err(errno::EACCES);
        }
        Ok(route)
    }

    /// Whether no other source will do.
    pub(crate) const fn source_must_be_ours(&mut self, must: bool) {
        self.flow.any_source = !must;
    }

    /// Finds the way once more, between the two ends of the one that was found.
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub(crate) fn route_from(&mut self, cx: Cx<'_>, found: &Route) -> Result<Route, i32> {
        (self.flow.src, self.flow.dst) = (Some(found.src), found.dst);
        self.route(cx)
    }

    /// The device that was named for it; 0 for none.
    pub(crate) const fn device(&self) -> u32 {
        self.flow.oif
    }

    /// Of the header.
    pub(crate) const fn protocol(&self) -> u8 {
        self.kind.protocol()
    }

    pub(crate) const fn v6(&self) -> bool {
        matches!(self.flow.dst, IpAddr::V6(_))
    }
}

/// Sends a packet, and receives what that causes. `to` as the program gave it.
///
/// # Errors
/// A positive errno.
pub(crate) fn sendmsg(
    sock: &Arc<Sock>,
    caller: &dyn Caller,
    payload: &[u8],
    to: Option<SocketAddr>,
    control: &[ControlMessage],
    flags: i32,
) -> Result<usize, i32> {
    let sent = queue(sock, caller, payload, to, control, flags);
    // Also after an error: it may have sent something.
    sock.stack.run_packets();
    sent
}

fn queue(
    sock: &Arc<Sock>,
    caller: &dyn Caller,
    payload: &[u8],
    to: Option<SocketAddr>,
    control: &[ControlMessage],
    flags: i32,
) -> Result<usize, i32> {
    let cx = sock.cx().ok_or(errno::ENODEV)?;
    // Of IPv6 it is found too long only where packets are made of it, and then the error queue says so, too.
    if payload.len() > LONGEST && (!sock.kind.v6 || sock.kind.proto == Proto::Ping) {
        return Err(errno::EMSGSIZE);
    }
    if flags & MSG_OOB != 0 {
        return Err(errno::EOPNOTSUPP);
    }
    let mut state = sock.lock();
    if let Some(corked) = &mut state.corked {
        corked.payload.extend_from_slice(payload);
        let whole = corked.payload.len();
        if whole > LONGEST {
            state.corked = None;
            return Err(errno::EMSGSIZE);
        }
        if flags & MSG_MORE == 0 && !state.options.is_on(Opt::UDP_CORK) {
            let corked = state.corked.take();
            let plan = corked.map(|corked| (Plan::new(sock, &state, corked.to, corked.said), corked.payload));
            drop(state);
            if let Some((plan, payload)) = plan {
                transmit(cx, sock, plan, &payload)?;
            }
        }
        return Ok(payload.len());
    }
    // Also of what is refused for what it says, the socket has a port then (`inet_send_prepare`).
    if !matches!(sock.kind.proto, Proto::Raw(_)) {
        sock.autobind(cx, &mut state)?;
    }
    if let Some(to) = to {
        raw::check_port(sock.kind, to.port())?;
    }
    let to = state.towards(sock.kind, destination(sock.kind, &state, to)?)?;
    let v6 = unmapped(to.ip()).is_ipv6();
    if payload.len() > LONGEST && !v6 {
        return Err(errno::EMSGSIZE);
    }
    let said = Said::read(v6, control, || caller.capable(Cap::NetAdmin))?;
    if v6 {
        judge_pktinfo6(cx, sock.kind, &state, to, &said)?;
    }
    state.times.asked(said.stamps, said.stamp_id)?;
    if !v6 && sock.kind.v6 && !sock.kind.proto.is_udp() {
        return Err(if sock.kind.proto == Proto::Ping { errno::EINVAL } else { errno::ENETUNREACH });
    }
    if let Some(error) = state.error.take() {
        return Err(error);
    }
    if state.no_more_out {
        return Err(errno::EPIPE);
    }
    let corks = flags & MSG_MORE != 0 || state.options.is_on(Opt::UDP_CORK);
    if corks && sock.kind.proto.is_udp() {
        state.corked = Some(Corked { to, said, payload: payload.to_vec() });
        return Ok(payload.len());
    }
    let mut plan = Plan::new(sock, &state, to, said);
    if sock.kind.proto == Proto::Ping {
        ping::check_device(to, plan.device(), state.device).inspect_err(no_way(cx, to.ip()))?;
    }
    if flags & MSG_DONTROUTE != 0 {
        plan.flow.on_link = true;
    }
    drop(state);
    transmit(cx, sock, plan, payload)?;
    Ok(payload.len())
}

/// Sends what was collected (`udp_push_pending_frames`).
pub(crate) fn uncork(sock: &Arc<Sock>) -> Result<(), i32> {
    let Some(cx) = sock.cx() else { return Ok(()) };
    let mut state = sock.lock();
    let Some(corked) = state.corked.take() else { return Ok(()) };
    let plan = Plan::new(sock, &state, corked.to, corked.said);
    drop(state);
    let sent = transmit(cx, sock, plan, &corked.payload);
    sock.stack.run_packets();
    sent
}

/// The device that a packet to `to` goes by, before it says anything of that itself; 0 for any.
fn asked_device(kind: Kind, state: &State, to: SocketAddr) -> u32 {
    match (state.device, to) {
        (_, SocketAddr::V6(v6)) if v6.scope_id() != 0 && needs_scope(*v6.ip()) => v6.scope_id(),
        // Raw sockets of Linux take no notice of what was said once for all.
        (0, _) if matches!(kind.proto, Proto::Raw(_)) || unmapped(to.ip()).is_ipv4() => 0,
        (0, _) => state.device6,
        (device, _) => device,
    }
}

/// Whether a packet may have the device and the source that it says (`ip6_datagram_send_ctl`, of `IPV6_PKTINFO`).
fn judge_pktinfo6(cx: Cx<'_>, kind: Kind, state: &State, to: SocketAddr, said: &Said) -> Result<(), i32> {
    if said.ifindex == 0 && said.src.is_none() {
        return Ok(());
    }
    let asked = asked_device(kind, state, to);
    if said.ifindex != 0 && asked != 0 && said.ifindex != asked {
        return Err(errno::EINVAL);
    }
    let device = if said.ifindex != 0 { said.ifindex } else { asked };
    if device != 0 && cx.state.links.by_index(device).is_none() {
        return Err(errno::ENODEV);
    }
    let Some(IpAddr::V6(src)) = said.src else { return Ok(()) };
    if device == 0 && needs_scope(src) {
        return Err(errno::EINVAL);
    }
    let any = state.any_source() || sysctl::number_or(cx.ns(), "ipv6/ip_nonlocal_bind", 0) != 0;
    let ours = || cx.state.peek_inet6().is_some_and(|inet6| inet6.has_addr(src, device));
    if any || ours() || inet6::is_anycast(cx.ns(), src, cx.now()) { Ok(()) } else { Err(errno::EINVAL) }
}

/// Where it goes: as the program says, or to the peer.
fn destination(kind: Kind, state: &State, to: Option<SocketAddr>) -> Result<SocketAddr, i32> {
    let Some(to) = to else { return state.peer.ok_or(errno::EDESTADDRREQ) };
    if kind.proto.is_udp() && to.port() == 0 {
        return Err(errno::EINVAL);
    }
    // A link's address without a link is that of the peer's link.
    if let (SocketAddr::V6(v6), Some(SocketAddr::V6(peer))) = (to, state.peer)
        && v6.scope_id() == 0
        && v6.ip() == peer.ip()
    {
        return Ok(endpoint(to.ip(), to.port(), peer.scope_id()));
    }
    Ok(to)
}

/// The port that an error names which this host finds itself: none of IPv4; where IPv6 keeps ports of UDP, it keeps an ICMP
/// message's type and code.
fn local_port(plan: &Plan, payload: &[u8]) -> u16 {
    match (plan.v6(), payload) {
        (false, _) => 0,
        (true, &[ty, code, ..]) if plan.header.protocol == IPPROTO_ICMPV6 => u16::from_be_bytes([ty, code]),
        (true, _) => plan.to.port(),
    }
}

fn transmit(cx: Cx<'_>, sock: &Arc<Sock>, mut plan: Plan, payload: &[u8]) -> Result<(), i32> {
    if plan.kind.proto == Proto::Ping {
        ping::check(plan.v6(), payload)?;
    }
    let route = plan.route_to_send(cx)?;
    if plan.asked.any() {
        let (when, id) = sock.lock().times.number(plan.asked);
        plan.stamps = Stamps::for_whom(sock, when, id);
    }
    let sent = match plan.kind.proto {
        Proto::Udp | Proto::UdpLite => udp::send(cx, &mut plan, &route, payload),
        Proto::Ping => {
            let mut frame = ping::build(&plan, &route, payload);
            frame.stamps = plan.stamps.take();
            ip_output(cx, &route, &plan.header, frame)
        }
        Proto::Raw(_) => raw::send(cx, &mut plan, &route, payload),
    };
    let icmp = matches!((plan.protocol(), plan.v6()), (IPPROTO_ICMP, false) | (IPPROTO_ICMPV6, true));
    if sent.is_ok()
        && icmp
        && !plan.writes_header
        && let Some(ty) = payload.first()
    {
        icmp_sent(cx, &route, *ty);
    }
    match sent {
        Err(errno::EMSGSIZE) if plan.tells_errors => {
            // Nobody on the way said so: we did ourselves (`ip_local_error`).
            let any = match route.dst {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let port = local_port(&plan, payload);
            sock.report(
                Some(QueuedError {
                    errno: errno::EMSGSIZE,
                    origin: ErrorOrigin::Local,
                    ty: 0,
                    code: 0,
                    info: route.mtu,
                    data: 0,
                    offender: Some(any),
                    to: Some(endpoint(route.dst, port, route.oif)),
                    payload: Vec::new(),
                    ifindex: route.oif,
                    at: cx.now(),
                    heard: None,
                }),
                None,
            );
            Err(errno::EMSGSIZE)
        }
        // A full queue is the network's affair, unless the program asks.
        Err(errno::ENOBUFS) if !plan.tells_errors => Ok(()),
        other => other,
    }
}

/// A frame of `header` and `payload`, its data at the first.
pub(crate) fn frame_of(header: &[u8], payload: &[u8]) -> Frame {
    let mut frame = Frame::with_payload(payload);
    frame.push(header.len()).copy_from_slice(header);
    frame
}
