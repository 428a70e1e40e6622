//! What sort of address a neighbour has on a device, and what is known of it without asking (`arp_constructor`,
//! `ndisc_constructor`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::entry::NeighFamily;
use super::state::NeighState;
use crate::dev::{HwAddr, IfFlags, Link};
use crate::state::Ns;

pub(super) const UNICAST: u8 = 1;
pub(super) const LOCAL: u8 = 2;
pub(super) const BROADCAST: u8 = 3;
pub(super) const MULTICAST: u8 = 5;

/// `ARPHRD_ETHER`.
const ETHER: u16 = 1;
/// Smallest MTU with which a device does IPv4.
const MIN_MTU4: u32 = 68;

/// What a new entry starts with.
pub(super) struct Born {
    /// Under which address it is kept.
    pub(super) dst: IpAddr,
    pub(super) kind: u8,
    pub(super) state: NeighState,
    pub(super) address: HwAddr,
}

/// Why a device has no neighbours of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoProtocol {
    V4,
    V6,
}

/// Under which address a neighbour is kept: on a device that has but one, IPv4 keeps all under the same.
pub(super) fn key(link: &Link, dst: IpAddr) -> IpAddr {
    let one = link.stored_flags.contains(IfFlags::LOOPBACK) || link.stored_flags.contains(IfFlags::POINTOPOINT);
    match dst {
        IpAddr::V4(_) if one => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        dst => dst,
    }
}

/// Whether it has neighbours of IPv6 (`ndisc_allow_add`).
pub(super) fn allows6(ns: Ns<'_>, link: &Link) -> bool {
    crate::inet6::has_inet6(link) && !inet6_disabled(ns, link)
}

/// Makes up what is known of `dst` on `link`.
pub(super) fn born(ns: Ns<'_>, link: &Link, dst: IpAddr) -> Result<Born, NoProtocol> {
    let dst = key(link, dst);
    let kind = match dst {
        IpAddr::V4(_) if link.mtu < MIN_MTU4 => return Err(NoProtocol::V4),
        IpAddr::V4(dst) => kind4(ns, dst),
        IpAddr::V6(_) if !allows6(ns, link) => return Err(NoProtocol::V6),
        IpAddr::V6(dst) if dst.is_multicast() => MULTICAST,
        IpAddr::V6(_) if link.stored_flags.contains(IfFlags::LOOPBACK) => LOCAL,
        IpAddr::V6(_) => UNICAST,
    };
    let known = |address| (NeighState::NOARP, address);
    let zero = HwAddr::new(&[0; HwAddr::MAX][..link.address.as_bytes().len()]).unwrap_or(HwAddr::EMPTY);
    let quiet = link.stored_flags.contains(IfFlags::NOARP) || link.stored_flags.contains(IfFlags::LOOPBACK);
    let (state, address) = if link.address.as_bytes().is_empty() {
        known(HwAddr::EMPTY)
    } else if kind == MULTICAST {
        known(multicast(link, dst))
    } else if quiet {
        known(link.address)
    } else if kind == BROADCAST || link.stored_flags.contains(IfFlags::POINTOPOINT) {
        known(link.broadcast)
    } else {
        (NeighState::NONE, zero)
    };
    Ok(Born { dst, kind, state, address })
}

/// `RTN_*` of an IPv4 address (`inet_addr_type`).
fn kind4(ns: Ns<'_>, dst: Ipv4Addr) -> u8 {
    if dst.octets()[0] == 0 {
        return BROADCAST;
    }
    // Before there is a local table, every address is a stranger's, and a broadcast is what reaches it.
    let nowhere = ns.peek_fib().is_none() && !dst.is_multicast();
    if nowhere { BROADCAST } else { crate::fib::address_type(ns, dst) }
}

/// The link-layer group of a multicast address.
fn multicast(link: &Link, dst: IpAddr) -> HwAddr {
    let group = match dst {
        _ if link.class().arp_type != ETHER => return link.broadcast,
        IpAddr::V4(dst) => {
            let [_, b, c, d] = dst.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(dst) => low_bytes(dst),
    };
    HwAddr::new(&group).unwrap_or(HwAddr::EMPTY)
}

fn low_bytes(dst: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = dst.octets();
    [0x33, 0x33, a, b, c, d]
}

fn inet6_disabled(ns: Ns<'_>, link: &Link) -> bool {
    const DISABLE_IPV6: usize = 26;
    crate::inet6::conf(ns, crate::state::ConfOf::Dev(link.index()), DISABLE_IPV6).is_some_and(|v| v != 0)
}

/// Whether the device has neighbours of a family at all.
pub(crate) fn does(link: &Link, family: NeighFamily) -> bool {
    match family {
        NeighFamily::V4 => link.mtu >= MIN_MTU4,
        NeighFamily::V6 => crate::inet6::has_inet6(link),
    }
}
