//! What sockets with and without connections say alike of options of IP that are more than a number.

use pernet::Cap;

use crate::l2::Cx;
use crate::l4::options::{SOL_IP, SOL_IPV6, Who, int, shown};
use crate::l4::queue::{MIN_RCVBUF, MIN_SNDBUF};
use crate::l4::sock::Caller;
use crate::{errno, sysctl};

pub(crate) const SO_SNDBUF: i32 = 7;
pub(crate) const SO_RCVBUF: i32 = 8;
pub(crate) const SO_SNDBUFFORCE: i32 = 32;
pub(crate) const SO_RCVBUFFORCE: i32 = 33;
pub(crate) const IP_ROUTER_ALERT: i32 = 5;
pub(crate) const IP_UNBLOCK_SOURCE: i32 = 37;
pub(crate) const IP_BLOCK_SOURCE: i32 = 38;
pub(crate) const IP_ADD_SOURCE_MEMBERSHIP: i32 = 39;
pub(crate) const IP_DROP_SOURCE_MEMBERSHIP: i32 = 40;
pub(crate) const IP_MSFILTER: i32 = 41;
pub(crate) const MCAST_JOIN_GROUP: i32 = 42;
pub(crate) const MCAST_BLOCK_SOURCE: i32 = 43;
pub(crate) const MCAST_UNBLOCK_SOURCE: i32 = 44;
pub(crate) const MCAST_LEAVE_GROUP: i32 = 45;
pub(crate) const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
pub(crate) const MCAST_LEAVE_SOURCE_GROUP: i32 = 47;
pub(crate) const MCAST_MSFILTER: i32 = 48;
const IPV6_ADDRFORM: i32 = 1;
const IPV6_ROUTER_ALERT: i32 = 22;
const IPV6_MTU: i32 = 24;
const IPV6_JOIN_ANYCAST: i32 = 27;
const IPV6_LEAVE_ANYCAST: i32 = 28;
const IPV6_FLOWLABEL_MGR: i32 = 32;
pub(crate) const IPV6_PKTINFO: i32 = 50;
const IPV6_HOPOPTS: i32 = 54;
const IPV6_RTHDRDSTOPTS: i32 = 55;
const IPV6_RTHDR: i32 = 57;
const IPV6_DSTOPTS: i32 = 59;
const IPV6_PATHMTU: i32 = 61;
/// Bytes of `struct ip_msfilter` and `struct group_filter` without sources, of `struct group_req` and
/// `struct group_source_req`, and of `struct in6_flowlabel_req`.
pub(crate) const MSFILTER_LEN: usize = 16;
pub(crate) const GROUP_FILTER_LEN: usize = 144;
const GROUP_REQ_LEN: usize = 136;
const GROUP_SOURCE_REQ_LEN: usize = 264;
const FLOWLABEL_REQ_LEN: usize = 32;
/// `struct in6_pktinfo`.
const PKTINFO6_LEN: usize = 20;
/// The least MTU of IPv6.
const MIN_MTU6: i32 = 1280;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;

/// Judges what is set before a socket looks at it: what is too short, or cannot be, is that for any of them. `connected`:
/// it has a peer.
///
/// # Errors
/// `EINVAL`, `ENOTCONN`, `ENOENT`; `ENOPROTOOPT` for what the stack does not have.
pub(crate) fn judge(who: Who, connected: bool, level: i32, name: i32, value: &[u8]) -> Result<(), i32> {
    let at_least = |len: usize| if value.len() < len { Err(errno::EINVAL) } else { Ok(()) };
    match (level, name) {
        (SOL_IP, IP_ROUTER_ALERT) if !who.raw => Err(errno::EINVAL),
        (SOL_IP, IP_UNBLOCK_SOURCE..=IP_DROP_SOURCE_MEMBERSHIP) => at_least(12),
        (SOL_IP, IP_MSFILTER) => at_least(MSFILTER_LEN),
        (SOL_IPV6, IPV6_PKTINFO) => at_least(PKTINFO6_LEN),
        (SOL_IP | SOL_IPV6, MCAST_MSFILTER) => at_least(GROUP_FILTER_LEN),
        (SOL_IP | SOL_IPV6, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP) => at_least(GROUP_REQ_LEN),
        (SOL_IP | SOL_IPV6, MCAST_JOIN_GROUP..=MCAST_LEAVE_SOURCE_GROUP) => at_least(GROUP_SOURCE_REQ_LEN),
        (SOL_IPV6, IPV6_ADDRFORM) => match int(level, value)? {
            AF_INET if who.raw => Err(errno::ENOPROTOOPT),
            AF_INET if !connected => Err(errno::ENOTCONN),
            // Would make it a socket of IPv4, with a peer of IPv4.
            AF_INET => Err(errno::ENOPROTOOPT),
            _ => Err(errno::EINVAL),
        },
        (SOL_IPV6, IPV6_ROUTER_ALERT) => at_least(size_of::<i32>()),
        (SOL_IPV6, IPV6_MTU) => match int(level, value)? {
            0 | MIN_MTU6.. => Ok(()),
            _ => Err(errno::EINVAL),
        },
        (SOL_IPV6, IPV6_JOIN_ANYCAST) => at_least(20),
        // Never joined.
        (SOL_IPV6, IPV6_LEAVE_ANYCAST) => at_least(20).and(Err(errno::ENOENT)),
        (SOL_IPV6, IPV6_FLOWLABEL_MGR) => at_least(FLOWLABEL_REQ_LEN),
        (SOL_IPV6, IPV6_HOPOPTS | IPV6_RTHDRDSTOPTS | IPV6_RTHDR | IPV6_DSTOPTS) => match value {
            [] => Ok(()),
            // A header says its length in eights of bytes behind the first.
            [_, eights, ..] if value.len() == 8 * (usize::from(*eights) + 1) => Ok(()),
            _ => Err(errno::EINVAL),
        },
        _ => Ok(()),
    }
}

/// Is this one of the headers that a socket would send with each packet, taken away? It has none.
pub(crate) fn takes_header_away(level: i32, name: i32, value: &[u8]) -> bool {
    is_sticky_header(level, name) && value.is_empty()
}

const fn is_sticky_header(level: i32, name: i32) -> bool {
    level == SOL_IPV6 && matches!(name, IPV6_HOPOPTS | IPV6_RTHDRDSTOPTS | IPV6_RTHDR | IPV6_DSTOPTS)
}

/// What any socket answers for some options of IP. `mtu`: the path's. `None` for other options.
///
/// # Errors
/// Inside: `EINVAL`, `ENOTCONN`, `ENOPROTOOPT`.
pub(crate) fn answer(
    who: Who,
    level: i32,
    name: i32,
    room: usize,
    mtu: impl FnOnce() -> Result<i32, i32>,
) -> Option<Result<Vec<u8>, i32>> {
    /// `struct ip6_mtuinfo`: an address, which nobody fills in, and the MTU.
    const MTUINFO: usize = 32;
    let listed = |len: usize| Err(if room < len { errno::EINVAL } else { errno::ENOPROTOOPT });
    Some(match (level, name) {
        (SOL_IP, IP_ROUTER_ALERT) | (SOL_IPV6, IPV6_ROUTER_ALERT) => Ok(shown(level, 0, room)),
        (SOL_IP, IP_MSFILTER) if who.stream => listed(MSFILTER_LEN),
        (SOL_IP | SOL_IPV6, MCAST_MSFILTER) if who.stream => listed(GROUP_FILTER_LEN),
        (SOL_IPV6, IPV6_FLOWLABEL_MGR) => listed(FLOWLABEL_REQ_LEN),
        (SOL_IPV6, IPV6_ADDRFORM) if who.raw => Err(errno::ENOPROTOOPT),
        (SOL_IPV6, IPV6_ADDRFORM) => mtu().map(|_| shown(level, AF_INET6, room)),
        (SOL_IPV6, IPV6_PATHMTU) if room < MTUINFO => Err(errno::EINVAL),
        (SOL_IPV6, IPV6_PATHMTU) => mtu().map(|mtu| {
            let mut info = vec![0; MTUINFO - 4];
            info.extend(mtu.to_ne_bytes());
            info
        }),
        _ if is_sticky_header(level, name) => Ok(Vec::new()),
        _ => return None,
    })
}

/// What `IP_UNICAST_IF` and `IPV6_UNICAST_IF` say of a socket that is bound to `device`.
///
/// # Errors
/// `EINVAL`, `EADDRNOTAVAIL`.
pub(crate) fn unicast_device(cx: Cx<'_>, device: u32, value: &[u8]) -> Result<u32, i32> {
    let index = u32::from_be_bytes(*value.first_chunk().ok_or(errno::EINVAL)?);
    if index != 0 && cx.state.links.by_index(index).is_none() {
        return Err(errno::EADDRNOTAVAIL);
    }
    if device != 0 && index != 0 && device != index {
        return Err(errno::EINVAL);
    }
    Ok(index)
}

/// What `IP_LOCAL_PORT_RANGE` says: the lowest and the highest port.
///
/// # Errors
/// `EINVAL`.
pub(crate) fn port_range(value: &[u8]) -> Result<(u16, u16), i32> {
    let range = int(SOL_IPV6, value)?.cast_unsigned();
    let (low, high) = (range as u16, (range >> 16) as u16);
    if low != 0 && high != 0 && low > high { Err(errno::EINVAL) } else { Ok((low, high)) }
}

/// What a buffer has of what a program asks for: twice as much, for what Linux has around each packet. Whoever `force`s it
/// passes what an administrator set, and cannot ask for less than nothing.
pub(crate) fn doubled(cx: Option<Cx<'_>>, asked: i32, sends: bool, force: bool) -> usize {
    let (most, least) = if sends { ("core/wmem_max", MIN_SNDBUF) } else { ("core/rmem_max", MIN_RCVBUF) };
    let bytes = if force {
        asked.max(0).unsigned_abs()
    } else {
        let most = cx.map_or(4_194_304, |cx| sysctl::number_or(cx.ns(), most, 4_194_304));
        asked.cast_unsigned().min(u32::try_from(most).unwrap_or(u32::MAX))
    };
    (bytes.min(i32::MAX as u32 / 2) as usize * 2).max(least)
}

/// `SO_RCVBUF`, `SO_SNDBUF`, and by force, of a socket with these buffers: what it receives, and what it sends.
///
/// # Errors
/// `EPERM`.
pub(crate) fn set_buffer(
    cx: Cx<'_>,
    caller: &dyn Caller,
    name: i32,
    asked: i32,
    [receive, send]: [&mut usize; 2],
) -> Result<(), i32> {
    let force = matches!(name, SO_RCVBUFFORCE | SO_SNDBUFFORCE);
    if force && !caller.capable(Cap::NetAdmin) {
        return Err(errno::EPERM);
    }
    let sends = matches!(name, SO_SNDBUF | SO_SNDBUFFORCE);
    *if sends { send } else { receive } = doubled(Some(cx), asked, sends, force);
    Ok(())
}

/// As `getsockopt` gives it.
pub(crate) fn shown_range((low, high): (u16, u16)) -> i32 {
    (u32::from(high) << 16 | u32::from(low)).cast_signed()
}
