//! Options of a socket (`sk_setsockopt`, `do_ip_setsockopt`, `do_ipv6_setsockopt`, `udp_lib_setsockopt`, `raw_seticmpfilter`).

pub(crate) mod common;
mod ip;
mod msfilter;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pernet::Cap;

use super::cmsg::Said;
use super::options::{
    Opt, Options, SOL_ICMPV6, SOL_IP, SOL_IPV6, SOL_RAW, SOL_SOCKET, SOL_UDP, SOL_UDPLITE, Who, int, shown,
};
use super::send::{Plan, uncork};
use super::sock::{Caller, IPPROTO_ICMP, IPPROTO_ICMPV6, Proto, Sock, State};
use super::times;
use crate::l2::Cx;
use crate::{errno, sysctl};
use common::{
    GROUP_FILTER_LEN, IP_MSFILTER, MCAST_MSFILTER, MSFILTER_LEN, SO_RCVBUF, SO_RCVBUFFORCE, SO_SNDBUF, SO_SNDBUFFORCE,
};

const SO_TYPE: i32 = 3;
const SO_ERROR: i32 = 4;
const SO_BINDTODEVICE: i32 = 25;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;
const SO_BINDTOIFINDEX: i32 = 62;
const IP_OPTIONS: i32 = 4;
const IP_MTU: i32 = 14;
const IP_MULTICAST_IF: i32 = 32;
const IP_UNICAST_IF: i32 = 50;
const IP_LOCAL_PORT_RANGE: i32 = 51;
const IP_PROTOCOL: i32 = 52;
const IPV6_CHECKSUM: i32 = 7;
/// At the level of raw sockets, as at IPv6's.
const IPV6_HDRINCL: i32 = 36;
const IPV6_MULTICAST_IF: i32 = 17;
const IPV6_MTU: i32 = 24;
const IPV6_UNICAST_IF: i32 = 76;
const ICMP_FILTER: i32 = 1;
const ICMPV6_FILTER: i32 = 1;

/// Sets an option from the bytes that a program gave.
///
/// # Errors
/// `ENOPROTOOPT` for what there is not; what the option says.
pub(crate) fn set(sock: &Arc<Sock>, caller: &dyn Caller, level: i32, name: i32, value: &[u8]) -> Result<(), i32> {
    let cx = sock.cx().ok_or(errno::ENODEV)?;
    let who = who(sock);
    match level {
        SOL_SOCKET => set_socket(cx, sock, caller, name, value),
        SOL_IP if who.has_ip() => ip::set(cx, sock, caller, name, value),
        SOL_IPV6 if who.v6 => ip::set6(cx, sock, caller, name, value),
        SOL_UDP | SOL_UDPLITE if sock.kind.proto.is_udp() => {
            let opt = Opt(SOL_UDP, name);
            let number = int(level, value)?;
            if matches!(opt, Opt::UDPLITE_SEND_CSCOV | Opt::UDPLITE_RECV_CSCOV) {
                return set_coverage(sock, opt, number);
            }
            plain(sock, caller, opt, value)?;
            if (opt, number) == (Opt::UDP_CORK, 0) { uncork(sock) } else { Ok(()) }
        }
        SOL_RAW | SOL_ICMPV6 => set_raw(sock, caller, level, name, value),
        _ => Err(errno::ENOPROTOOPT),
    }
}

/// What the socket's options depend on.
fn who(sock: &Sock) -> Who {
    Who { v6: sock.kind.v6, stream: false, raw: matches!(sock.kind.proto, Proto::Raw(_)) }
}

/// One that is only a number.
fn plain(sock: &Sock, caller: &dyn Caller, opt: Opt, value: &[u8]) -> Result<(), i32> {
    sock.lock().options.set(who(sock), opt, value, || may_choose(caller))
}

/// Who may send what he likes: with any source, any priority, any mark.
pub(crate) fn may_choose(caller: &dyn Caller) -> bool {
    caller.capable(Cap::NetAdmin) || caller.capable(Cap::NetRaw)
}

/// How much of a packet the checksum covers: the header at least, or everything for 0.
fn set_coverage(sock: &Sock, opt: Opt, bytes: i32) -> Result<(), i32> {
    if sock.kind.proto != Proto::UdpLite {
        return Err(errno::ENOPROTOOPT);
    }
    let bytes = if bytes == 0 { 0 } else { bytes.clamp(8, 0xffff) };
    sock.lock().options.put(opt, bytes);
    Ok(())
}

fn set_socket(cx: Cx<'_>, sock: &Sock, caller: &dyn Caller, name: i32, value: &[u8]) -> Result<(), i32> {
    if name == SO_BINDTODEVICE {
        let device = value.split(|&b| b == 0).next().unwrap_or_default();
        let device = String::from_utf8_lossy(device);
        let index = match &*device {
            "" => 0,
            name => cx.state.links.by_name(name).ok_or(errno::ENODEV)?.index(),
        };
        return bind_device(cx, sock, caller, index);
    }
    if times::is_of_times(name) {
        return sock.lock().times.set(name, value);
    }
    let number = int(SOL_SOCKET, value)?;
    let mut state = sock.lock();
    match name {
        SO_BINDTOIFINDEX => {
            drop(state);
            // There need not be such a device yet.
            let index = u32::try_from(number).map_err(|_| errno::EINVAL)?;
            return bind_device(cx, sock, caller, index);
        }
        SO_RCVBUF | SO_RCVBUFFORCE | SO_SNDBUF | SO_SNDBUFFORCE => {
            let State { rcvbuf, sndbuf, .. } = &mut *state;
            common::set_buffer(cx, caller, name, number, [rcvbuf, sndbuf])?;
        }
        _ => {
            let opt = Opt(SOL_SOCKET, name);
            let urgent = opt == Opt::PRIORITY && !(0..=6).contains(&number);
            if (opt == Opt::MARK || urgent) && !may_choose(caller) {
                return Err(errno::EPERM);
            }
            state.options.set(who(sock), opt, value, || true)?;
            if let (Opt::REUSEADDR | Opt::REUSEPORT, Some(ticket)) = (opt, state.ticket)
                && let Some(ports) = cx.state.l4.ports(sock.kind)
            {
                let on = state.options.is_on(opt);
                ports.update(ticket, |claim| {
                    *if opt == Opt::REUSEADDR { &mut claim.reuse_addr } else { &mut claim.reuse_port } = on;
                });
            }
        }
    }
    Ok(())
}

fn bind_device(cx: Cx<'_>, sock: &Sock, caller: &dyn Caller, index: u32) -> Result<(), i32> {
    let mut state = sock.lock();
    // Only who is bound already needs a privilege to be bound elsewhere.
    if state.device != 0 && !caller.capable(Cap::NetRaw) {
        return Err(errno::EPERM);
    }
    state.device = index;
    sock.claim_device(cx, &state);
    Ok(())
}

fn set_raw(sock: &Sock, caller: &dyn Caller, level: i32, name: i32, value: &[u8]) -> Result<(), i32> {
    let Proto::Raw(protocol) = sock.kind.proto else { return Err(errno::ENOPROTOOPT) };
    match (level, name, sock.kind.v6) {
        (SOL_RAW, ICMP_FILTER, false) => {
            if protocol != IPPROTO_ICMP {
                return Err(errno::EOPNOTSUPP);
            }
            let mut state = sock.lock();
            let mut bytes = state.raw.icmp.to_ne_bytes();
            overwrite(&mut bytes, value);
            state.raw.icmp = u32::from_ne_bytes(bytes);
            Ok(())
        }
        (SOL_RAW | SOL_IPV6, IPV6_CHECKSUM, true) => {
            let at = int(SOL_IPV6, value)?;
            if protocol == IPPROTO_ICMPV6 && level == SOL_IPV6 || at > 0 && at & 1 != 0 {
                return Err(errno::EINVAL);
            }
            sock.lock().raw.checksum = (at >= 0).then_some(at);
            Ok(())
        }
        (SOL_RAW, IPV6_HDRINCL, true) => plain(sock, caller, Opt::IPV6_HDRINCL, value),
        (SOL_RAW, _, true) => int(SOL_IPV6, value).and(Err(errno::ENOPROTOOPT)),
        (SOL_ICMPV6, _, true) if protocol != IPPROTO_ICMPV6 => Err(errno::EOPNOTSUPP),
        (SOL_ICMPV6, ICMPV6_FILTER, true) => {
            let mut state = sock.lock();
            let mut bytes = filter6(&state);
            overwrite(&mut bytes, value);
            for (word, bytes) in state.raw.icmp6.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *word = u32::from_ne_bytes(*bytes);
            }
            Ok(())
        }
        _ => Err(errno::ENOPROTOOPT),
    }
}

/// Writes what was given over the beginning of what there is.
fn overwrite(bytes: &mut [u8], value: &[u8]) {
    for (byte, given) in bytes.iter_mut().zip(value) {
        *byte = *given;
    }
}

/// `ICMPV6_FILTER` as programs know it.
fn filter6(state: &State) -> Vec<u8> {
    state.raw.icmp6.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// What an option is, for `room` bytes. `given`: what stood where the answer goes, of [some](asks) as much as they ask for.
///
/// # Errors
/// `ENOPROTOOPT` or `EOPNOTSUPP` for what there is not; what the option says.
pub(crate) fn get(sock: &Arc<Sock>, level: i32, name: i32, room: usize, given: &[u8]) -> Result<Vec<u8>, i32> {
    let cx = sock.cx().ok_or(errno::ENODEV)?;
    let number = |number| Ok(shown(level, number, room));
    let size = |bytes: usize| number(i32::try_from(bytes).unwrap_or(i32::MAX));
    let opt = Opt(level, name);
    let mut state = sock.lock();
    let who = who(sock);
    if level == SOL_IP && who.has_ip() || level == SOL_IPV6 && who.v6 {
        let answer = common::answer(who, level, name, room, || path_mtu(cx, sock, &state));
        if let Some(answer) = answer {
            return answer;
        }
    }
    match (level, name) {
        (SOL_IP, _) if !who.has_ip() => Err(errno::ENOPROTOOPT),
        (SOL_SOCKET, SO_TYPE) => number(if who.raw { 3 } else { 2 }),
        (SOL_SOCKET, SO_DOMAIN) => number(if sock.kind.v6 { 10 } else { 2 }),
        // By its name the protocol of a raw socket, and indeed the number that it hears by.
        (SOL_IP, IP_PROTOCOL) if !who.raw => number(state.port.into()),
        (SOL_SOCKET, SO_PROTOCOL) | (SOL_IP, IP_PROTOCOL) => number(sock.kind.protocol().into()),
        (SOL_SOCKET, name) if times::is_of_times(name) => number(state.times.get(name)),
        (SOL_SOCKET, SO_ERROR) => number(state.error.take().unwrap_or(0)),
        (SOL_SOCKET, SO_RCVBUF) => size(state.rcvbuf),
        (SOL_SOCKET, SO_SNDBUF) => size(state.sndbuf),
        (SOL_SOCKET, SO_BINDTOIFINDEX) => number(state.device.cast_signed()),
        (SOL_SOCKET, SO_BINDTODEVICE) => {
            let link = cx.state.links.by_index(state.device).filter(|_| state.device != 0);
            Ok(link.map(|link| [link.name().as_str().as_bytes(), &[0]].concat()).unwrap_or_default())
        }
        (SOL_IP, IP_MSFILTER | MCAST_MSFILTER) => msfilter::get(cx, &state, level, name, given, room),
        (SOL_IPV6, MCAST_MSFILTER) if who.v6 => msfilter::get(cx, &state, level, name, given, room),
        (SOL_IP, IP_OPTIONS) => Ok(state.raw.ip_options.clone()),
        (SOL_IP, IP_MTU) | (SOL_IPV6, IPV6_MTU) if level == SOL_IP || sock.kind.v6 => {
            let mtu = path_mtu(cx, sock, &state)?;
            number(mtu)
        }
        (SOL_IP, IP_MULTICAST_IF) => {
            let own = state.group_source.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
            Ok(own[..room.min(4)].to_vec())
        }
        (SOL_IP, IP_UNICAST_IF) => number(state.unicast_device.to_be().cast_signed()),
        (SOL_IP, IP_LOCAL_PORT_RANGE) => number(common::shown_range(state.range)),
        (SOL_IPV6, IPV6_UNICAST_IF) if sock.kind.v6 => Ok(state.unicast_device.to_be_bytes()[..room.min(4)].to_vec()),
        (SOL_IPV6, IPV6_MULTICAST_IF) if sock.kind.v6 => number(state.group_device6.cast_signed()),
        (SOL_RAW, ICMP_FILTER) if !sock.kind.v6 && sock.kind.proto == Proto::Raw(IPPROTO_ICMP) => {
            Ok(state.raw.icmp.to_ne_bytes()[..room.min(4)].to_vec())
        }
        (SOL_RAW | SOL_IPV6, IPV6_CHECKSUM) if who.v6 && who.raw => number(state.raw.checksum.unwrap_or(-1)),
        (SOL_RAW | SOL_IPV6, IPV6_HDRINCL) if who.v6 && who.raw => number(state.options.get(Opt::IPV6_HDRINCL)),
        (SOL_IPV6, IPV6_HDRINCL) if who.v6 => Err(errno::ENOPROTOOPT),
        (SOL_ICMPV6, _) if who.v6 && who.raw && sock.kind.protocol() != IPPROTO_ICMPV6 => Err(errno::EOPNOTSUPP),
        (SOL_ICMPV6, ICMPV6_FILTER) if who.v6 && who.raw => Ok(filter6(&state)[..room.min(32)].to_vec()),
        (SOL_SOCKET | SOL_IP, _) if Options::knows(opt) => match opt {
            Opt::IP_TTL if state.options.get(opt) < 0 => {
                number(i32::try_from(sysctl::number_or(cx.ns(), "ipv4/ip_default_ttl", 64)).unwrap_or(64))
            }
            _ => number(state.options.get(opt)),
        },
        (SOL_IPV6, _) if sock.kind.v6 && Options::knows(opt) => match opt {
            Opt::IPV6_UNICAST_HOPS if state.options.get(opt) < 0 => number(default_hops(cx)),
            _ => number(state.options.get(opt)),
        },
        (SOL_UDP | SOL_UDPLITE, _) if sock.kind.proto.is_udp() && Options::knows(Opt(SOL_UDP, name)) => {
            // A coverage that was never set is below zero here, and shown as 0.
            number(state.options.get(Opt(SOL_UDP, name)).max(0))
        }
        (SOL_SOCKET | SOL_IP, _) => Err(errno::ENOPROTOOPT),
        (SOL_UDP | SOL_UDPLITE, _) if sock.kind.proto.is_udp() => Err(errno::ENOPROTOOPT),
        (SOL_RAW, ICMP_FILTER) if who.raw && !who.v6 => Err(errno::EOPNOTSUPP),
        (SOL_RAW, _) if who.raw => Err(errno::ENOPROTOOPT),
        _ => Err(who.no_level()),
    }
}

/// How many bytes an option reads of what stands where its answer goes.
pub(crate) const fn asks(level: i32, name: i32) -> usize {
    match (level, name) {
        (SOL_IP, IP_MSFILTER) => MSFILTER_LEN,
        (SOL_IP | SOL_IPV6, MCAST_MSFILTER) => GROUP_FILTER_LEN,
        _ => 0,
    }
}

/// `net.ipv6.conf.all.hop_limit`.
pub(crate) fn default_hops(cx: Cx<'_>) -> i32 {
    let text = cx.stack.sysctl_read(cx.net, "ipv6/conf/all/hop_limit").unwrap_or_default();
    text.trim().parse().unwrap_or(64)
}

/// The largest packet that may go to the peer.
fn path_mtu(cx: Cx<'_>, sock: &Sock, state: &State) -> Result<i32, i32> {
    let peer: SocketAddr = state.peer.ok_or(errno::ENOTCONN)?;
    let mut plan = Plan::new(sock, state, peer, Said::default());
    let route = plan.route(cx).map_err(|_| errno::ENOTCONN)?;
    Ok(i32::try_from(route.mtu).unwrap_or(i32::MAX))
}
