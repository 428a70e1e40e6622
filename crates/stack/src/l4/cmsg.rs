//! Control messages: what a socket says beside a packet, and what a sender says of one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::options::{Opt, Options, SOL_IP, SOL_IPV6, SOL_SOCKET, SOL_UDP, int};
use super::queue::{ErrorOrigin, Meta, QueuedError};
use super::times::{self, Times};
use crate::errno;
use crate::l2::Cx;

/// A control message (`struct cmsghdr` and what follows).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlMessage {
    /// Level: whose it is.
    pub level: i32,
    /// What it is.
    pub kind: i32,
    /// Its data.
    pub data: Vec<u8>,
}

impl ControlMessage {
    fn new(level: i32, kind: i32, data: impl Into<Vec<u8>>) -> Self {
        Self { level, kind, data: data.into() }
    }

    fn number(level: i32, kind: i32, number: u8) -> Self {
        Self::new(level, kind, i32::from(number).to_ne_bytes())
    }
}

const IP_ORIGDSTADDR: i32 = 20;
const IPV6_PKTINFO: i32 = 50;
const IPV6_HOPLIMIT: i32 = 52;
const IPV6_TCLASS: i32 = 67;
const IPV6_ORIGDSTADDR: i32 = 74;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// An address as `struct sockaddr_in` or `struct sockaddr_in6`.
pub(crate) fn sockaddr(addr: SocketAddr) -> Vec<u8> {
    let family = if addr.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut raw = family.to_ne_bytes().to_vec();
    raw.extend(addr.port().to_be_bytes());
    match addr {
        SocketAddr::V4(addr) => {
            raw.extend(addr.ip().octets());
            raw.extend([0; 8]);
        }
        SocketAddr::V6(addr) => {
            raw.extend(addr.flowinfo().to_ne_bytes());
            raw.extend(addr.ip().octets());
            raw.extend(addr.scope_id().to_ne_bytes());
        }
    }
    raw
}

fn in6(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Wall-clock time.
pub(crate) fn wall_now(cx: Cx<'_>) -> Duration {
    wall(cx, cx.now())
}

/// Wall-clock time of a moment on the stack's clock.
pub(crate) fn wall(cx: Cx<'_>, at: Duration) -> Duration {
    wall_by(|| cx.now(), at)
}

/// The stack's clock is read first: who is kept waiting between the two says a moment too late then, as whoever looks at a
/// clock late does, and not one from before the packet was sent.
fn wall_by(clock: impl FnOnce() -> Duration, at: Duration) -> Duration {
    let ago = clock().saturating_sub(at);
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago)
}

/// What a socket with these options says of a packet it received (`sock_recv_cmsgs`, `ip_cmsg_recv`,
/// `ip6_datagram_recv_ctl`), in Linux's order.
pub(crate) fn received(cx: Cx<'_>, v6: bool, (options, times): (&Options, &Times), meta: &Meta) -> Vec<ControlMessage> {
    let mut out = Vec::new();
    times.of_packet(cx, meta.at, &mut out);
    if options.is_on(Opt::RXQ_OVFL) && meta.drops != 0 {
        out.push(ControlMessage::new(SOL_SOCKET, Opt::RXQ_OVFL.1, meta.drops.to_ne_bytes()));
    }
    if let Some(segment) = meta.segment.filter(|_| options.is_on(Opt::UDP_GRO)) {
        out.push(ControlMessage::new(SOL_UDP, Opt::UDP_GRO.1, i32::from(segment).to_ne_bytes()));
    }
    let own = |dst| {
        // Of a packet to a group or to all, the address of ours that an answer would have.
        if super::address::address_type(cx, dst) == crate::fib::route_type::LOCAL {
            dst
        } else {
            crate::inet::select_addr(cx.ns(), Some(meta.ifindex), Ipv4Addr::UNSPECIFIED, 0)
        }
    };
    told(v6, options, meta, own, &mut out);
    out
}

/// What stands in a packet's own headers. `own`: the address of ours that an answer to one to `dst` would have.
fn told(
    v6: bool,
    options: &Options,
    meta: &Meta,
    own: impl FnOnce(Ipv4Addr) -> Ipv4Addr,
    out: &mut Vec<ControlMessage>,
) {
    if v6 {
        told6(options, meta, out);
    }
    if let IpAddr::V4(dst) = meta.dst {
        told4(options, meta, dst, own, out);
    }
}

fn told4(
    options: &Options,
    meta: &Meta,
    dst: Ipv4Addr,
    own: impl FnOnce(Ipv4Addr) -> Ipv4Addr,
    out: &mut Vec<ControlMessage>,
) {
    if options.is_on(Opt::IP_PKTINFO) {
        let own = own(dst);
        let data = [meta.ifindex.to_ne_bytes(), own.octets(), dst.octets()].concat();
        out.push(ControlMessage::new(SOL_IP, Opt::IP_PKTINFO.1, data));
    }
    if options.is_on(Opt::IP_RECVTTL) {
        out.push(ControlMessage::number(SOL_IP, Opt::IP_TTL.1, meta.hop_limit));
    }
    if options.is_on(Opt::IP_RECVTOS) {
        out.push(ControlMessage::new(SOL_IP, Opt::IP_TOS.1, [meta.tos]));
    }
    if !meta.options.is_empty() {
        if options.is_on(Opt::IP_RECVOPTS) {
            out.push(ControlMessage::new(SOL_IP, Opt::IP_RECVOPTS.1, meta.options.to_vec()));
        }
        if options.is_on(Opt::IP_RETOPTS) {
            out.push(ControlMessage::new(SOL_IP, Opt::IP_RETOPTS.1, crate::l3::echo_options(&meta.options)));
        }
    }
    if options.is_on(Opt::IP_RECVORIGDSTADDR) {
        out.push(ControlMessage::new(SOL_IP, IP_ORIGDSTADDR, sockaddr(SocketAddr::new(meta.dst, meta.dport))));
    }
}

fn told6(options: &Options, meta: &Meta, out: &mut Vec<ControlMessage>) {
    let mut pktinfo = in6(meta.dst).octets().to_vec();
    pktinfo.extend(meta.ifindex.to_ne_bytes());
    if options.is_on(Opt::IPV6_RECVPKTINFO) {
        out.push(ControlMessage::new(SOL_IPV6, IPV6_PKTINFO, pktinfo.clone()));
    }
    if meta.dst.is_ipv6() {
        if options.is_on(Opt::IPV6_RECVHOPLIMIT) {
            out.push(ControlMessage::number(SOL_IPV6, IPV6_HOPLIMIT, meta.hop_limit));
        }
        if options.is_on(Opt::IPV6_RECVTCLASS) {
            out.push(ControlMessage::number(SOL_IPV6, IPV6_TCLASS, meta.tos));
        }
        if options.is_on(Opt::IPV6_RECV2292PKTINFO) {
            out.push(ControlMessage::new(SOL_IPV6, Opt::IPV6_RECV2292PKTINFO.1, pktinfo));
        }
        if options.is_on(Opt::IPV6_RECV2292HOPLIMIT) {
            out.push(ControlMessage::number(SOL_IPV6, Opt::IPV6_RECV2292HOPLIMIT.1, meta.hop_limit));
        }
        if options.is_on(Opt::IPV6_RECVORIGDSTADDR) {
            let end = super::address::endpoint(meta.dst, meta.dport, meta.ifindex);
            out.push(ControlMessage::new(SOL_IPV6, IPV6_ORIGDSTADDR, sockaddr(end)));
        }
    }
}

/// What a socket with these options says of an error (`ip_recv_error`, `ipv6_recv_error`): of the message that brought it,
/// as if that had been received, and then of itself.
pub(crate) fn of_error(
    cx: Cx<'_>,
    v6: bool,
    (options, times): (&Options, &Times),
    error: &QueuedError,
) -> Vec<ControlMessage> {
    let mut out = Vec::new();
    times.of_error(cx, error, &mut out);
    if let Some(meta) = &error.heard {
        let own = match (error.origin, error.offender) {
            (ErrorOrigin::Timestamping, Some(IpAddr::V4(own))) if !v6 => own,
            // Nobody asked by what address it would be answered.
            _ => Ipv4Addr::UNSPECIFIED,
        };
        told(v6, options, meta, |_| own, &mut out);
    }
    out.push(extended(v6, error));
    out
}

/// `struct sock_extended_err`.
pub(super) fn bare(error: &QueuedError) -> Vec<u8> {
    let mut data = error.errno.to_ne_bytes().to_vec();
    data.extend([error.origin as u8, error.ty, error.code, 0]);
    data.extend(error.info.to_ne_bytes());
    data.extend(error.data.to_ne_bytes());
    data
}

/// That, and who it is from.
fn extended(v6: bool, error: &QueuedError) -> ControlMessage {
    let (level, kind) = if v6 { (SOL_IPV6, Opt::IPV6_RECVERR.1) } else { (SOL_IP, Opt::IP_RECVERR.1) };
    let mut data = bare(error);
    let whole = if v6 { 28 } else { 16 };
    match error.offender.filter(|_| error.origin != ErrorOrigin::Local) {
        Some(IpAddr::V4(offender)) if v6 => {
            let mapped = IpAddr::V6(offender.to_ipv6_mapped());
            data.extend(sockaddr(SocketAddr::new(mapped, 0)));
        }
        Some(offender) => data.extend(sockaddr(super::address::endpoint(offender, 0, error.ifindex))),
        None => data.extend(vec![0; whole]),
    }
    ControlMessage::new(level, kind, data)
}

/// What a sender says of one packet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) src: Option<IpAddr>,
    pub(crate) ifindex: u32,
    pub(crate) hop_limit: Option<u8>,
    pub(crate) tos: Option<u8>,
    pub(crate) segment: Option<u16>,
    pub(crate) mark: Option<u32>,
    pub(crate) priority: Option<u32>,
    pub(crate) dont_fragment: Option<bool>,
    /// What times of it are wanted (`SO_TIMESTAMPING`), and its number among those of which some are.
    pub(crate) stamps: Option<u32>,
    pub(crate) stamp_id: Option<u32>,
}

impl Said {
    /// Reads what was given with a packet (`sock_cmsg_send`, `ip_cmsg_send`, `ip6_datagram_send_ctl`). `v6`: the packet
    /// goes by IPv6; a message of the other family's level is passed by, as Linux does.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM` for what takes `admin`.
    pub(crate) fn read(v6: bool, control: &[ControlMessage], admin: impl Fn() -> bool) -> Result<Self, i32> {
        let mut said = Self::default();
        for message in control {
            let data = &message.data;
            match (message.level, message.kind) {
                (SOL_SOCKET, kind) => said.socket_level(kind, data, &admin)?,
                (SOL_UDP, kind) if kind == Opt::UDP_SEGMENT.1 => {
                    let segment = data.first_chunk::<2>().filter(|_| data.len() == 2).ok_or(errno::EINVAL)?;
                    said.segment = Some(u16::from_ne_bytes(*segment)).filter(|&s| s != 0);
                }
                (SOL_IP, kind) if !v6 => said.ip_level(kind, data)?,
                (SOL_IPV6, IPV6_PKTINFO | 2) => said.pktinfo6(data, v6)?,
                (SOL_IPV6, kind) if v6 => said.ipv6_level(kind, data)?,
                _ => {}
            }
        }
        Ok(said)
    }

    /// Reads what was given with a frame, of which options of IP say nothing.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_of_frame(control: &[ControlMessage], admin: impl Fn() -> bool) -> Result<Self, i32> {
        let mut said = Self::default();
        for message in control.iter().filter(|message| message.level == SOL_SOCKET) {
            said.socket_level(message.kind, &message.data, &admin)?;
        }
        Ok(said)
    }

    fn socket_level(&mut self, kind: i32, data: &[u8], admin: impl Fn() -> bool) -> Result<(), i32> {
        /// Descriptors and credentials mean nothing here.
        const IGNORED: [i32; 2] = [1, 2];
        match kind {
            kind if kind == Opt::MARK.1 => {
                if !admin() {
                    return Err(errno::EPERM);
                }
                self.mark = Some(int(SOL_SOCKET, data)?.cast_unsigned());
            }
            kind if kind == Opt::PRIORITY.1 => self.priority = Some(int(SOL_SOCKET, data)?.cast_unsigned()),
            times::TIMESTAMPING | times::TIMESTAMPING_NEW => self.stamps = Some(times::of_one(data)?),
            times::TS_OPT_ID => {
                let id = data.first_chunk().filter(|_| data.len() == 4).ok_or(errno::EINVAL)?;
                self.stamp_id = Some(u32::from_ne_bytes(*id));
            }
            kind if IGNORED.contains(&kind) => {}
            _ => return Err(errno::EINVAL),
        }
        Ok(())
    }

    fn ip_level(&mut self, kind: i32, data: &[u8]) -> Result<(), i32> {
        match kind {
            kind if kind == Opt::IP_PKTINFO.1 => {
                let info = data.first_chunk::<12>().filter(|_| data.len() == 12).ok_or(errno::EINVAL)?;
                let [a, b, c, d, e, f, g, h, ..] = *info;
                self.ifindex = u32::from_ne_bytes([a, b, c, d]);
                let own = Ipv4Addr::new(e, f, g, h);
                self.src = (!own.is_unspecified()).then_some(IpAddr::V4(own));
            }
            kind if kind == Opt::IP_TTL.1 => {
                let ttl = u8::try_from(int(SOL_IPV6, data)?).ok().filter(|&ttl| ttl != 0);
                self.hop_limit = Some(ttl.ok_or(errno::EINVAL)?);
            }
            kind if kind == Opt::IP_TOS.1 => {
                self.tos = Some(u8::try_from(int(SOL_IP, data)?).map_err(|_| errno::EINVAL)?);
            }
            _ => return Err(errno::EINVAL),
        }
        Ok(())
    }

    fn pktinfo6(&mut self, data: &[u8], v6: bool) -> Result<(), i32> {
        let (addr, rest) = data.split_first_chunk::<16>().ok_or(errno::EINVAL)?;
        let addr = Ipv6Addr::from(*addr);
        self.ifindex = rest.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b)).ok_or(errno::EINVAL)?;
        self.src = match addr.to_ipv4_mapped() {
            Some(v4) if !v6 => Some(IpAddr::V4(v4)).filter(|a| !a.is_unspecified()),
            _ if addr.is_unspecified() || !v6 => None,
            _ => Some(IpAddr::V6(addr)),
        };
        Ok(())
    }

    fn ipv6_level(&mut self, kind: i32, data: &[u8]) -> Result<(), i32> {
        let byte = || match int(SOL_IPV6, data)? {
            -1 => Ok(None),
            number => u8::try_from(number).map(Some).map_err(|_| errno::EINVAL),
        };
        match kind {
            IPV6_HOPLIMIT | 8 => self.hop_limit = byte()?,
            IPV6_TCLASS => self.tos = byte()?,
            62 => self.dont_fragment = Some(int(SOL_IPV6, data)? != 0),
            // The flow label, which is the stack's own affair.
            11 => {}
            _ => return Err(errno::EINVAL),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_to_have_come_before_it_did() {
        let came = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let running = std::time::Instant::now();
        // Between the readings of the two clocks.
        let held_up = || {
            std::thread::sleep(Duration::from_millis(20));
            running.elapsed()
        };
        let said = wall_by(held_up, Duration::ZERO);
        assert!(said >= came, "{:?} too early", came - said);
    }
}
