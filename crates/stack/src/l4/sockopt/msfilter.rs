//! Lists of the senders that a socket hears of in a group (RFC 3678): `IP_MSFILTER`, and `MCAST_MSFILTER` of either family.

use std::net::{IpAddr, Ipv4Addr};

use super::common::{GROUP_FILTER_LEN, IP_MSFILTER, MSFILTER_LEN};
use crate::errno;
use crate::l2::Cx;
use crate::l4::member::{self, ip4, ip6};
use crate::l4::options::SOL_IP;
use crate::l4::sock::{Sock, State};

/// `MCAST_EXCLUDE`, `MCAST_INCLUDE`.
const EXCLUDE: u32 = 0;
const INCLUDE: u32 = 1;
/// `struct sockaddr_storage`, and where the first begins in `struct group_filter`.
const STORAGE: usize = 128;
const FIRST: usize = 8;

/// What both forms say before the senders.
struct Head {
    group: IpAddr,
    on: (u32, Ipv4Addr),
    mode: u32,
    count: usize,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// An address in a `struct sockaddr_storage`.
pub(super) fn address(bytes: &[u8], at: usize) -> Option<IpAddr> {
    match bytes.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))? {
        2 => ip4(bytes, at + 4).map(IpAddr::V4),
        10 => ip6(bytes, at + 8).map(IpAddr::V6),
        _ => None,
    }
}

fn storage(addr: IpAddr) -> Vec<u8> {
    let mut bytes = match addr {
        IpAddr::V4(addr) => [&2u16.to_ne_bytes()[..], &[0; 2], &addr.octets()].concat(),
        IpAddr::V6(addr) => [&10u16.to_ne_bytes()[..], &[0; 6], &addr.octets()].concat(),
    };
    bytes.resize(STORAGE, 0);
    bytes
}

impl Head {
    /// Of either form; the beginning of it is there.
    fn read(name: i32, bytes: &[u8]) -> Result<Self, i32> {
        let (group, on, rest) = if name == IP_MSFILTER {
            let at = |at| ip4(bytes, at).ok_or(errno::EINVAL);
            (at(0)?.into(), (0, at(4)?), 8)
        } else {
            let group = address(bytes, FIRST).ok_or(errno::EADDRNOTAVAIL)?;
            (group, (word(bytes, 0), Ipv4Addr::UNSPECIFIED), GROUP_FILTER_LEN - 8)
        };
        Ok(Self { group, on, mode: word(bytes, rest), count: word(bytes, rest + 4) as usize })
    }
}

/// `setsockopt`. The length was judged.
pub(super) fn set(cx: Cx<'_>, sock: &Sock, level: i32, name: i32, value: &[u8]) -> Result<(), i32> {
    let head = Head::read(name, value)?;
    let (begin, size) = if name == IP_MSFILTER { (MSFILTER_LEN, 4) } else { (GROUP_FILTER_LEN, STORAGE) };
    let v6 = level != SOL_IP;
    if head.count > member::most_sources(cx, v6) {
        return Err(errno::ENOBUFS);
    }
    let listed = value.get(begin..begin + head.count * size).ok_or(errno::EINVAL)?;
    let mut sources = Vec::with_capacity(head.count);
    for at in (0..head.count).map(|number| number * size) {
        let source = match name {
            IP_MSFILTER => ip4(listed, at).map(IpAddr::V4),
            // Of these nobody asks of what family they are.
            _ if v6 => ip6(listed, at + 8).map(IpAddr::V6),
            _ => address(listed, at).filter(IpAddr::is_ipv4),
        };
        sources.push(source.ok_or(errno::EADDRNOTAVAIL)?);
    }
    if head.group.is_ipv6() != v6 {
        return Err(if v6 { errno::EINVAL } else { errno::EADDRNOTAVAIL });
    }
    let only = match head.mode {
        EXCLUDE => false,
        INCLUDE => true,
        _ => return Err(errno::EINVAL),
    };
    member::set_sources(cx, sock, head.group, head.on, only, sources)
}

/// `getsockopt`: what was asked, with what there is of it filled in, and as many senders as there was said to be room for.
pub(super) fn get(cx: Cx<'_>, state: &State, level: i32, name: i32, given: &[u8], room: usize) -> Result<Vec<u8>, i32> {
    let (begin, size) = if name == IP_MSFILTER { (MSFILTER_LEN, 4) } else { (GROUP_FILTER_LEN, STORAGE) };
    let mut answer = given.get(..begin).filter(|_| room >= begin).ok_or(errno::EINVAL)?.to_vec();
    let head = Head::read(name, given)?;
    let v4 = level == SOL_IP;
    if head.group.is_ipv4() != v4 {
        return Err(if v4 { errno::EINVAL } else { errno::EADDRNOTAVAIL });
    }
    // Only a sender's interface that is named by an address can be none.
    let found = member::sources(cx, state, head.group, head.on);
    let found = found.map_err(|e| if e == errno::ENODEV && name != IP_MSFILTER { errno::EADDRNOTAVAIL } else { e });
    let (only, sources) = found?;
    answer.truncate(begin - 8);
    answer.extend([u32::from(only), u32::try_from(sources.len()).unwrap_or(u32::MAX)].map(u32::to_ne_bytes).concat());
    for source in sources.into_iter().take(head.count.min((room - begin) / size)) {
        match source {
            IpAddr::V4(source) if name == IP_MSFILTER => answer.extend(source.octets()),
            source => answer.extend(storage(source)),
        }
    }
    Ok(answer)
}
