//! Options of a socket (`sk_setsockopt`, `do_ip_setsockopt`, `do_ipv6_setsockopt`, `udp_lib_setsockopt`, `raw_seticmpfilter`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pernet::Cap;

use super::cmsg::Said;
use super::member::{self, Source, ip4, ip6};
use super::options::{
    Opt, Options, SOL_ICMPV6, SOL_IP, SOL_IPV6, SOL_RAW, SOL_SOCKET, SOL_UDP, SOL_UDPLITE, int, shown,
};
use super::queue::{MIN_RCVBUF, MIN_SNDBUF};
use super::send::{Plan, uncork};
use super::sock::{Caller, IPPROTO_ICMP, IPPROTO_ICMPV6, Proto, Root, Sock, State};
use crate::l2::Cx;
use crate::{errno, sysctl};

const SO_TYPE: i32 = 3;
const SO_ERROR: i32 = 4;
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_BINDTODEVICE: i32 = 25;
const SO_SNDBUFFORCE: i32 = 32;
const SO_RCVBUFFORCE: i32 = 33;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;
const SO_BINDTOIFINDEX: i32 = 62;
const IP_OPTIONS: i32 = 4;
const IP_MTU: i32 = 14;
const IP_MULTICAST_IF: i32 = 32;
const IP_ADD_MEMBERSHIP: i32 = 35;
const IP_DROP_MEMBERSHIP: i32 = 36;
const IP_UNBLOCK_SOURCE: i32 = 37;
const IP_BLOCK_SOURCE: i32 = 38;
const IP_ADD_SOURCE_MEMBERSHIP: i32 = 39;
const IP_DROP_SOURCE_MEMBERSHIP: i32 = 40;
const MCAST_JOIN_GROUP: i32 = 42;
const MCAST_BLOCK_SOURCE: i32 = 43;
const MCAST_UNBLOCK_SOURCE: i32 = 44;
const MCAST_LEAVE_GROUP: i32 = 45;
const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
const MCAST_LEAVE_SOURCE_GROUP: i32 = 47;
const IP_UNICAST_IF: i32 = 50;
const IP_LOCAL_PORT_RANGE: i32 = 51;
const IP_PROTOCOL: i32 = 52;
const IPV6_CHECKSUM: i32 = 7;
const IPV6_MULTICAST_IF: i32 = 17;
const IPV6_ADD_MEMBERSHIP: i32 = 20;
const IPV6_DROP_MEMBERSHIP: i32 = 21;
const IPV6_MTU: i32 = 24;
const IPV6_PKTINFO: i32 = 50;
const IPV6_ADDR_PREFERENCES: i32 = 72;
const IPV6_UNICAST_IF: i32 = 76;
const ICMP_FILTER: i32 = 1;
const ICMPV6_FILTER: i32 = 1;
/// The longest IPv4 options.
const MAX_IP_OPTIONS: usize = 40;

/// Sets an option from the bytes that a program gave.
///
/// # Errors
/// `ENOPROTOOPT` for what there is not; what the option says.
pub(crate) fn set(sock: &Arc<Sock>, caller: &dyn Caller, level: i32, name: i32, value: &[u8]) -> Result<(), i32> {
    let cx = sock.cx().ok_or(errno::ENODEV)?;
    match level {
        SOL_SOCKET => set_socket(cx, sock, caller, name, value),
        SOL_IP if !is_raw6(sock) => set_ip(cx, sock, caller, name, value),
        SOL_IPV6 if sock.kind.v6 => set_ipv6(cx, sock, caller, name, value),
        SOL_UDP | SOL_UDPLITE if sock.kind.proto.is_udp() => {
            let opt = Opt(SOL_UDP, name);
            if matches!(opt, Opt::UDPLITE_SEND_CSCOV | Opt::UDPLITE_RECV_CSCOV) {
                return set_coverage(sock, opt, int(level, value)?);
            }
            plain(sock, opt, value)?;
            if (opt, int(level, value)?) == (Opt::UDP_CORK, 0) { uncork(sock, caller) } else { Ok(()) }
        }
        SOL_RAW | SOL_ICMPV6 => set_raw(sock, level, name, value),
        _ => Err(errno::ENOPROTOOPT),
    }
}

/// A raw socket of IPv6 has none of IPv4's options; other sockets of IPv6 do.
fn is_raw6(sock: &Sock) -> bool {
    sock.kind.v6 && matches!(sock.kind.proto, Proto::Raw(_))
}

/// One that is only a number.
fn plain(sock: &Sock, opt: Opt, value: &[u8]) -> Result<(), i32> {
    sock.lock().options.set(opt, value)
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
    let number = int(SOL_SOCKET, value)?;
    let bytes = usize::try_from(number).unwrap_or(0);
    let most = |name| usize::try_from(sysctl::number_or(cx.ns(), name, 4_194_304)).unwrap_or(usize::MAX);
    let mut state = sock.lock();
    match name {
        SO_BINDTOIFINDEX => {
            drop(state);
            let index = u32::try_from(number).map_err(|_| errno::EINVAL)?;
            if index != 0 && cx.state.links.by_index(index).is_none() {
                return Err(errno::ENODEV);
            }
            return bind_device(cx, sock, caller, index);
        }
        SO_RCVBUF => state.rcvbuf = (bytes.min(most("core/rmem_max")) * 2).max(MIN_RCVBUF),
        SO_SNDBUF => state.sndbuf = (bytes.min(most("core/wmem_max")) * 2).max(MIN_SNDBUF),
        SO_RCVBUFFORCE | SO_SNDBUFFORCE => {
            if !caller.capable(Cap::NetAdmin) {
                return Err(errno::EPERM);
            }
            let doubled = bytes.saturating_mul(2);
            if name == SO_RCVBUFFORCE {
                state.rcvbuf = doubled.max(MIN_RCVBUF);
            } else {
                state.sndbuf = doubled.max(MIN_SNDBUF);
            }
        }
        _ => {
            let opt = Opt(SOL_SOCKET, name);
            let urgent = opt == Opt::PRIORITY && !(0..=6).contains(&number);
            let privileged = || caller.capable(Cap::NetAdmin) || caller.capable(Cap::NetRaw);
            if (opt == Opt::MARK || urgent) && !privileged() {
                return Err(errno::EPERM);
            }
            state.options.set(opt, value)?;
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
    if let (Some(ticket), Some(ports)) = (state.ticket, cx.state.l4.ports(sock.kind)) {
        ports.update(ticket, |claim| claim.device = index);
    }
    Ok(())
}

fn set_ip(cx: Cx<'_>, sock: &Sock, caller: &dyn Caller, name: i32, value: &[u8]) -> Result<(), i32> {
    let raw = matches!(sock.kind.proto, Proto::Raw(_));
    let opt = Opt(SOL_IP, name);
    match name {
        IP_OPTIONS => {
            if value.len() > MAX_IP_OPTIONS {
                return Err(errno::EINVAL);
            }
            let mut options = value.to_vec();
            options.resize(value.len().next_multiple_of(4), 0);
            sock.lock().raw.ip_options = options;
            Ok(())
        }
        IP_MULTICAST_IF => group_device(cx, sock, value),
        IP_ADD_MEMBERSHIP | IP_DROP_MEMBERSHIP => {
            let group = IpAddr::V4(ip4(value, 0).ok_or(errno::EINVAL)?);
            let own = ip4(value, 4).ok_or(errno::EINVAL)?;
            let on = (index_at(value, 8), own);
            if name == IP_ADD_MEMBERSHIP {
                member::join(cx, sock, group, on, None)
            } else {
                member::leave(cx, sock, group, on)
            }
        }
        IP_UNBLOCK_SOURCE..=IP_DROP_SOURCE_MEMBERSHIP => {
            let at = |at| ip4(value, at).ok_or(errno::EINVAL);
            let how = match name {
                IP_UNBLOCK_SOURCE => Source::Unblock,
                IP_BLOCK_SOURCE => Source::Block,
                IP_ADD_SOURCE_MEMBERSHIP => Source::Join,
                _ => Source::Leave,
            };
            member::source(cx, sock, at(0)?.into(), (0, at(4)?), at(8)?.into(), how)
        }
        MCAST_JOIN_GROUP..=MCAST_LEAVE_SOURCE_GROUP => group_request(cx, sock, name, value),
        IP_UNICAST_IF => {
            let index = u32::from_be_bytes(*value.first_chunk().ok_or(errno::EINVAL)?);
            set_unicast_device(cx, sock, index)
        }
        IP_LOCAL_PORT_RANGE => {
            let range = int(SOL_IPV6, value)?.cast_unsigned();
            let (low, high) = (range as u16, (range >> 16) as u16);
            if low != 0 && high != 0 && low > high {
                return Err(errno::EINVAL);
            }
            sock.lock().range = (low, high);
            Ok(())
        }
        3 | 22 if !raw => Err(errno::ENOPROTOOPT),
        19 if int(SOL_IP, value)? != 0 && !(caller.capable(Cap::NetAdmin) || caller.capable(Cap::NetRaw)) => {
            Err(errno::EPERM)
        }
        _ if Options::knows(opt) => {
            if opt == Opt::IP_RECVERR && int(SOL_IP, value)? == 0 {
                forget_errors(sock);
            }
            plain(sock, opt, value)
        }
        _ => Err(errno::ENOPROTOOPT),
    }
}

fn forget_errors(sock: &Sock) {
    let mut state = sock.lock();
    while state.queue.pop_error().is_some() {}
}

fn set_unicast_device(cx: Cx<'_>, sock: &Sock, index: u32) -> Result<(), i32> {
    if index != 0 && cx.state.links.by_index(index).is_none() {
        return Err(errno::EADDRNOTAVAIL);
    }
    let mut state = sock.lock();
    if state.device != 0 && index != 0 && state.device != index {
        return Err(errno::EINVAL);
    }
    state.unicast_device = index;
    Ok(())
}

fn index_at(value: &[u8], at: usize) -> u32 {
    value.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// `IP_MULTICAST_IF`: an address of the device, or its index.
fn group_device(cx: Cx<'_>, sock: &Sock, value: &[u8]) -> Result<(), i32> {
    let (own, index) = match value.len() {
        12.. => (ip4(value, 4), index_at(value, 8)),
        8..12 => (ip4(value, 4), 0),
        4..8 => (ip4(value, 0), 0),
        _ => (None, 0),
    };
    let own = own.ok_or(errno::EINVAL)?;
    let mut state = sock.lock();
    if index == 0 && own.is_unspecified() {
        (state.group_device, state.group_source) = (0, None);
        return Ok(());
    }
    let any = Ipv4Addr::new(224, 0, 0, 0).into();
    let by = if index == 0 { (0, own) } else { (index, Ipv4Addr::UNSPECIFIED) };
    let link = member::device(cx, any, by.0, by.1).map_err(|_| errno::EADDRNOTAVAIL)?;
    if state.device != 0 && state.device != link.index() {
        return Err(errno::EINVAL);
    }
    state.group_device = link.index();
    state.group_source = (!own.is_unspecified()).then_some(own);
    Ok(())
}

/// `MCAST_JOIN_GROUP` and its kin, of either family: an index, and one or two addresses behind it.
fn group_request(cx: Cx<'_>, sock: &Sock, name: i32, value: &[u8]) -> Result<(), i32> {
    /// `struct sockaddr_storage` begins here, and is so long.
    const FIRST: usize = 8;
    const STORAGE: usize = 128;
    let address = |at: usize| {
        let family = value.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))?;
        match family {
            2 => ip4(value, at + 4).map(IpAddr::V4),
            10 => ip6(value, at + 8).map(IpAddr::V6),
            _ => None,
        }
    };
    let group = address(FIRST).ok_or(errno::EADDRNOTAVAIL)?;
    let on = (index_at(value, 0), Ipv4Addr::UNSPECIFIED);
    let how = match name {
        MCAST_JOIN_GROUP => return member::join(cx, sock, group, on, None),
        MCAST_LEAVE_GROUP => return member::leave(cx, sock, group, on),
        MCAST_BLOCK_SOURCE => Source::Block,
        MCAST_UNBLOCK_SOURCE => Source::Unblock,
        MCAST_JOIN_SOURCE_GROUP => Source::Join,
        _ => Source::Leave,
    };
    let source = address(FIRST + STORAGE).ok_or(errno::EADDRNOTAVAIL)?;
    member::source(cx, sock, group, on, source, how)
}

fn set_ipv6(cx: Cx<'_>, sock: &Sock, caller: &dyn Caller, name: i32, value: &[u8]) -> Result<(), i32> {
    let opt = Opt(SOL_IPV6, name);
    match name {
        IPV6_ADD_MEMBERSHIP | IPV6_DROP_MEMBERSHIP => {
            let group = IpAddr::V6(ip6(value, 0).ok_or(errno::EINVAL)?);
            if value.len() < 20 {
                return Err(errno::EINVAL);
            }
            let on = (index_at(value, 16), Ipv4Addr::UNSPECIFIED);
            if name == IPV6_ADD_MEMBERSHIP {
                member::join(cx, sock, group, on, None)
            } else {
                member::leave(cx, sock, group, on)
            }
        }
        MCAST_JOIN_GROUP..=MCAST_LEAVE_SOURCE_GROUP => group_request(cx, sock, name, value),
        IPV6_MULTICAST_IF => {
            let index = u32::try_from(int(SOL_IPV6, value)?).map_err(|_| errno::EINVAL)?;
            let mut state = sock.lock();
            if index != 0 && state.device != 0 && state.device != index {
                return Err(errno::EINVAL);
            }
            if index != 0 && cx.state.links.by_index(index).is_none() {
                return Err(errno::ENODEV);
            }
            state.group_device6 = index;
            Ok(())
        }
        IPV6_UNICAST_IF => {
            let index = u32::from_be_bytes(*value.first_chunk().ok_or(errno::EINVAL)?);
            set_unicast_device(cx, sock, index)
        }
        IPV6_PKTINFO => {
            let own = ip6(value, 0).filter(|_| value.len() >= 20).ok_or(errno::EINVAL)?;
            let index = index_at(value, 16);
            if index != 0 && cx.state.links.by_index(index).is_none() {
                return Err(errno::ENODEV);
            }
            let mut state = sock.lock();
            state.said6 = (index, (!own.is_unspecified()).then_some(own));
            Ok(())
        }
        IPV6_CHECKSUM => set_raw(sock, SOL_RAW, name, value),
        IPV6_ADDR_PREFERENCES => int(SOL_IPV6, value).map(|_| ()),
        26 if sock.lock().port != 0 => Err(errno::EINVAL),
        36 if !matches!(sock.kind.proto, Proto::Raw(_)) => Err(errno::ENOPROTOOPT),
        75 if int(SOL_IPV6, value)? != 0 && !(caller.capable(Cap::NetAdmin) || caller.capable(Cap::NetRaw)) => {
            Err(errno::EPERM)
        }
        _ if Options::knows(opt) => {
            if opt == Opt::IPV6_RECVERR && int(SOL_IPV6, value)? == 0 {
                forget_errors(sock);
            }
            plain(sock, opt, value)
        }
        _ => Err(errno::ENOPROTOOPT),
    }
}

fn set_raw(sock: &Sock, level: i32, name: i32, value: &[u8]) -> Result<(), i32> {
    let Proto::Raw(protocol) = sock.kind.proto else { return Err(errno::ENOPROTOOPT) };
    let mut state = sock.lock();
    match (level, name, sock.kind.v6) {
        (SOL_RAW, ICMP_FILTER, false) => {
            if protocol != IPPROTO_ICMP {
                return Err(errno::EOPNOTSUPP);
            }
            let mut bytes = [0; 4];
            let given = value.len().min(4);
            bytes[..given].copy_from_slice(&value[..given]);
            state.raw.icmp = u32::from_ne_bytes(bytes);
            Ok(())
        }
        (SOL_RAW, IPV6_CHECKSUM, true) => {
            let at = int(SOL_IPV6, value)?;
            if protocol == IPPROTO_ICMPV6 && level == SOL_IPV6 || at > 0 && at & 1 != 0 {
                return Err(errno::EINVAL);
            }
            state.raw.checksum = (at >= 0).then_some(at);
            Ok(())
        }
        (SOL_ICMPV6, ICMPV6_FILTER, true) => {
            if protocol != IPPROTO_ICMPV6 {
                return Err(errno::EOPNOTSUPP);
            }
            for (word, bytes) in state.raw.icmp6.iter_mut().zip(value.as_chunks::<4>().0) {
                *word = u32::from_ne_bytes(*bytes);
            }
            Ok(())
        }
        _ => Err(errno::ENOPROTOOPT),
    }
}

/// What an option is, for `room` bytes.
///
/// # Errors
/// `ENOPROTOOPT` or `EOPNOTSUPP` for what there is not; what the option says.
pub(crate) fn get(sock: &Arc<Sock>, level: i32, name: i32, room: usize) -> Result<Vec<u8>, i32> {
    let cx = sock.cx().ok_or(errno::ENODEV)?;
    let number = |number| Ok(shown(level, number, room));
    let size = |bytes: usize| number(i32::try_from(bytes).unwrap_or(i32::MAX));
    let opt = Opt(level, name);
    let mut state = sock.lock();
    let raw = matches!(sock.kind.proto, Proto::Raw(_));
    match (level, name) {
        (SOL_IP, _) if is_raw6(sock) => Err(errno::ENOPROTOOPT),
        (SOL_SOCKET, SO_TYPE) => number(if raw { 3 } else { 2 }),
        (SOL_SOCKET, SO_DOMAIN) => number(if sock.kind.v6 { 10 } else { 2 }),
        (SOL_SOCKET, SO_PROTOCOL) | (SOL_IP, IP_PROTOCOL) => number(sock.kind.protocol().into()),
        (SOL_SOCKET, SO_ERROR) => number(state.error.take().unwrap_or(0)),
        (SOL_SOCKET, SO_RCVBUF) => size(state.rcvbuf),
        (SOL_SOCKET, SO_SNDBUF) => size(state.sndbuf),
        (SOL_SOCKET, SO_BINDTOIFINDEX) => number(state.device.cast_signed()),
        (SOL_SOCKET, SO_BINDTODEVICE) => {
            let link = cx.state.links.by_index(state.device).filter(|_| state.device != 0);
            Ok(link.map(|link| [link.name().as_str().as_bytes(), &[0]].concat()).unwrap_or_default())
        }
        (SOL_IP, IP_OPTIONS) => Ok(state.raw.ip_options.clone()),
        (SOL_IP, IP_MTU) | (SOL_IPV6, IPV6_MTU) if level == SOL_IP || sock.kind.v6 => {
            let mtu = path_mtu(cx, sock, &state)?;
            number(mtu)
        }
        (SOL_IP, IP_MULTICAST_IF) => {
            let own = state.group_source.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
            Ok(own[..room.min(4)].to_vec())
        }
        (SOL_IP, IP_UNICAST_IF) => Ok(state.unicast_device.to_be_bytes()[..room.min(4)].to_vec()),
        (SOL_IP, IP_LOCAL_PORT_RANGE) => {
            number((u32::from(state.range.1) << 16 | u32::from(state.range.0)).cast_signed())
        }
        (SOL_IPV6, IPV6_UNICAST_IF) if sock.kind.v6 => Ok(state.unicast_device.to_be_bytes()[..room.min(4)].to_vec()),
        (SOL_IPV6, IPV6_MULTICAST_IF) if sock.kind.v6 => number(state.group_device6.cast_signed()),
        (SOL_IPV6, IPV6_ADDR_PREFERENCES) if sock.kind.v6 => number(0x500),
        (SOL_RAW, ICMP_FILTER) if !sock.kind.v6 && sock.kind.proto == Proto::Raw(IPPROTO_ICMP) => {
            Ok(state.raw.icmp.to_ne_bytes()[..room.min(4)].to_vec())
        }
        (SOL_RAW | SOL_IPV6, IPV6_CHECKSUM) if sock.kind.v6 && raw => number(state.raw.checksum.unwrap_or(-1)),
        (SOL_ICMPV6, ICMPV6_FILTER)
            if sock.kind == (super::sock::Kind { v6: true, proto: Proto::Raw(IPPROTO_ICMPV6) }) =>
        {
            let bytes: Vec<u8> = state.raw.icmp6.iter().flat_map(|word| word.to_ne_bytes()).collect();
            Ok(bytes[..room.min(32)].to_vec())
        }
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
        (SOL_SOCKET | SOL_IP | SOL_UDP | SOL_UDPLITE, _) => Err(errno::ENOPROTOOPT),
        _ if sock.kind.v6 => Err(errno::ENOPROTOOPT),
        _ => Err(errno::EOPNOTSUPP),
    }
}

/// `net.ipv6.conf.all.hop_limit`.
fn default_hops(cx: Cx<'_>) -> i32 {
    let text = cx.stack.sysctl_read(cx.net, "ipv6/conf/all/hop_limit").unwrap_or_default();
    text.trim().parse().unwrap_or(64)
}

/// The largest packet that may go to the peer.
fn path_mtu(cx: Cx<'_>, sock: &Sock, state: &State) -> Result<i32, i32> {
    let peer: SocketAddr = state.peer.ok_or(errno::ENOTCONN)?;
    let mut plan = Plan::new(sock, state, peer, Said::default());
    let route = plan.route(cx, &Root).map_err(|_| errno::ENOTCONN)?;
    Ok(i32::try_from(route.mtu).unwrap_or(i32::MAX))
}
