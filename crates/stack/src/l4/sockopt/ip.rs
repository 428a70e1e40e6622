//! Options of IP of a socket without connections (`do_ip_setsockopt`, `do_ipv6_setsockopt`).

use std::net::{IpAddr, Ipv4Addr};

use super::common::{
    IP_ADD_SOURCE_MEMBERSHIP, IP_BLOCK_SOURCE, IP_DROP_SOURCE_MEMBERSHIP, IP_MSFILTER, IP_UNBLOCK_SOURCE, IPV6_PKTINFO,
    MCAST_BLOCK_SOURCE, MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP, MCAST_LEAVE_GROUP, MCAST_LEAVE_SOURCE_GROUP,
    MCAST_MSFILTER, MCAST_UNBLOCK_SOURCE,
};
use super::{
    IP_LOCAL_PORT_RANGE, IP_MULTICAST_IF, IP_OPTIONS, IP_UNICAST_IF, IPV6_MULTICAST_IF, IPV6_UNICAST_IF, common,
    msfilter, plain, set_raw, who,
};
use crate::errno;
use crate::l2::Cx;
use crate::l4::member::{self, Source, ip4, ip6};
use crate::l4::options::{Opt, Options, SOL_IP, SOL_IPV6, int, priority_of};
use crate::l4::sock::{Caller, Sock, State};

const IP_ADD_MEMBERSHIP: i32 = 35;
const IP_DROP_MEMBERSHIP: i32 = 36;
const IPV6_ADD_MEMBERSHIP: i32 = 20;
const IPV6_DROP_MEMBERSHIP: i32 = 21;
/// The longest IPv4 options.
const MAX_IP_OPTIONS: usize = 40;

/// Sets an option of level IP.
pub(super) fn set(cx: Cx<'_>, sock: &Sock, caller: &dyn Caller, name: i32, value: &[u8]) -> Result<(), i32> {
    let opt = Opt(SOL_IP, name);
    common::judge(who(sock), is_connected(sock), SOL_IP, name, value)?;
    match name {
        IP_OPTIONS => {
            let mut options = value.to_vec();
            options.resize(value.len().next_multiple_of(4), 0);
            if options.len() > MAX_IP_OPTIONS || !crate::l3::options_make_sense(&options) {
                return Err(errno::EINVAL);
            }
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
        IP_MSFILTER | MCAST_MSFILTER => msfilter::set(cx, sock, SOL_IP, name, value),
        MCAST_JOIN_GROUP..=MCAST_LEAVE_SOURCE_GROUP => group_request(cx, sock, SOL_IP, name, value),
        IP_UNICAST_IF => {
            let mut state = sock.lock();
            state.unicast_device = common::unicast_device(cx, state.device, value)?;
            Ok(())
        }
        IP_LOCAL_PORT_RANGE => {
            sock.lock().range = common::port_range(value)?;
            Ok(())
        }
        _ if Options::knows(opt) => {
            let was = sock.lock().options.get(opt);
            plain(sock, caller, opt, value)?;
            let mut state = sock.lock();
            match (opt, state.options.get(opt)) {
                (Opt::IP_RECVERR, 0) => forget_errors(&mut state),
                (Opt::IP_TOS, tos) if tos != was => state.options.put(Opt::PRIORITY, priority_of(tos)),
                _ => {}
            }
            Ok(())
        }
        _ => Err(errno::ENOPROTOOPT),
    }
}

fn is_connected(sock: &Sock) -> bool {
    sock.lock().peer.is_some()
}

fn forget_errors(state: &mut State) {
    while state.queue.errors().pop().is_some() {}
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
fn group_request(cx: Cx<'_>, sock: &Sock, level: i32, name: i32, value: &[u8]) -> Result<(), i32> {
    /// `struct sockaddr_storage` begins here, and is so long.
    const FIRST: usize = 8;
    const STORAGE: usize = 128;
    let address = |at| msfilter::address(value, at).filter(|addr| addr.is_ipv4() == (level == SOL_IP));
    let joins = matches!(name, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP);
    let none = if joins && level == SOL_IP { errno::EINVAL } else { errno::EADDRNOTAVAIL };
    let group = address(FIRST).ok_or(none)?;
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

/// Sets an option of level IPv6.
pub(super) fn set6(cx: Cx<'_>, sock: &Sock, caller: &dyn Caller, name: i32, value: &[u8]) -> Result<(), i32> {
    let opt = Opt(SOL_IPV6, name);
    common::judge(who(sock), is_connected(sock), SOL_IPV6, name, value)?;
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
        MCAST_MSFILTER => msfilter::set(cx, sock, SOL_IPV6, name, value),
        MCAST_JOIN_GROUP..=MCAST_LEAVE_SOURCE_GROUP => group_request(cx, sock, SOL_IPV6, name, value),
        IPV6_MULTICAST_IF => {
            let index = int(SOL_IPV6, value)?.cast_unsigned();
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
            let mut state = sock.lock();
            state.unicast_device = common::unicast_device(cx, state.device, value)?;
            Ok(())
        }
        IPV6_PKTINFO => {
            if value.len() < 20 {
                return Err(errno::EINVAL);
            }
            let index = index_at(value, 16);
            let mut state = sock.lock();
            if state.device != 0 && index != state.device {
                return Err(errno::EINVAL);
            }
            state.device6 = index;
            Ok(())
        }
        super::IPV6_CHECKSUM => set_raw(sock, caller, SOL_IPV6, name, value),
        _ if common::takes_header_away(SOL_IPV6, name, value) => Ok(()),
        _ if opt == Opt::IPV6_V6ONLY && sock.lock().port != 0 => Err(errno::EINVAL),
        _ if Options::knows(opt) => {
            plain(sock, caller, opt, value)?;
            let mut state = sock.lock();
            if opt == Opt::IPV6_RECVERR && !state.options.is_on(opt) {
                forget_errors(&mut state);
            }
            Ok(())
        }
        _ => Err(errno::ENOPROTOOPT),
    }
}
