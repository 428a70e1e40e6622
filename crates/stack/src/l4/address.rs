//! Addresses as programs name them: which a socket may have, and what those of a link mean.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::errno;
use crate::fib::{self, route_type};
use crate::l2::Cx;
use crate::sysctl;

/// Whether an IPv6 address means something on one link only.
pub(crate) const fn needs_scope(addr: Ipv6Addr) -> bool {
    // Groups of the device and of the link (RFC 4291).
    let group = addr.is_multicast() && matches!(addr.octets()[1] & 0xf, 1 | 2);
    addr.is_unicast_link_local() || group
}

/// An end as tables and programs have it: the device only with addresses that need one.
pub(crate) fn endpoint(ip: IpAddr, port: u16, device: u32) -> SocketAddr {
    match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, port),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, if needs_scope(ip) { device } else { 0 }).into(),
    }
}

/// The same address without the clothes of IPv6.
pub(crate) fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// As an IPv6 socket shows an end.
pub(crate) fn mapped(end: SocketAddr) -> SocketAddr {
    match end {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        SocketAddr::V6(_) => end,
    }
}

/// What an IPv4 address is to this host (`inet_addr_type`). Where nothing was ever configured there is nothing to say that
/// an address is not ours.
pub(crate) fn address_type(cx: Cx<'_>, addr: Ipv4Addr) -> u8 {
    if addr.is_multicast() {
        return route_type::MULTICAST;
    }
    let configured = cx.state.peek_fib().is_some_and(|fib| fib.table(fib::RT_TABLE_LOCAL).is_some());
    if configured { fib::address_type(cx.ns(), addr) } else { route_type::LOCAL }
}

/// Whether `addr` is many hosts', a group's or a broadcast: then nothing is sent from it.
pub(crate) fn names_many(cx: Cx<'_>, addr: Ipv4Addr) -> bool {
    matches!(address_type(cx, addr), route_type::BROADCAST | route_type::MULTICAST)
}

/// Whether IPv4's `addr` may be bound to; a sender's own address, too.
pub(crate) fn may_bind4(cx: Cx<'_>, addr: Ipv4Addr, any: bool) -> bool {
    let kind = address_type(cx, addr);
    addr.is_unspecified()
        || matches!(kind, route_type::LOCAL | route_type::BROADCAST | route_type::MULTICAST)
        || any
        || sysctl::number_or(cx.ns(), "ipv4/ip_nonlocal_bind", 0) != 0
}

/// Whether an IPv6 address may be bound to, and the device that the socket is bound to thereby (`__inet6_bind`).
/// `device`: the one it is bound to, 0 for none; `stream`: groups are not for connections.
///
/// # Errors
/// `EINVAL`, `ENODEV`, `EADDRNOTAVAIL`.
pub(crate) fn may_bind6(cx: Cx<'_>, addr: &SocketAddrV6, device: u32, any: bool, stream: bool) -> Result<u32, i32> {
    let (ip, mut device) = (*addr.ip(), device);
    if ip.is_unspecified() {
        return Ok(device);
    }
    if stream && ip.is_multicast() {
        return Err(errno::EINVAL);
    }
    if needs_scope(ip) {
        if addr.scope_id() != 0 {
            device = addr.scope_id();
        }
        if device == 0 {
            return Err(errno::EINVAL);
        }
    }
    if device != 0 && cx.state.links.by_index(device).is_none() {
        return Err(errno::ENODEV);
    }
    let bindable = ip.is_multicast() || any || sysctl::number_or(cx.ns(), "ipv6/ip_nonlocal_bind", 0) != 0;
    if bindable || cx.state.peek_inet6().is_some_and(|inet6| inet6.has_addr(ip, device)) {
        Ok(device)
    } else {
        Err(errno::EADDRNOTAVAIL)
    }
}
