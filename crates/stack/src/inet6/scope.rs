//! What kind of address it is (RFC 4291), in the terms the kernel decides by.

use std::net::Ipv6Addr;

/// `RT_SCOPE_*` as messages about addresses carry it.
pub(crate) const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_SITE: u8 = 200;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_HOST: u8 = 254;

/// Scopes as numbers that can be compared (RFC 4007).
pub(crate) mod level {
    pub(crate) const HOST: u8 = 1;
    pub(crate) const LINK: u8 = 2;
    pub(crate) const SITE: u8 = 5;
    pub(crate) const GLOBAL: u8 = 14;
}

/// Link-local unicast (`fe80::/10`).
pub(crate) fn is_link_local(addr: Ipv6Addr) -> bool {
    addr.segments()[0] & 0xffc0 == 0xfe80
}

/// Site-local unicast (`fec0::/10`), deprecated and still told apart.
pub(crate) fn is_site_local(addr: Ipv6Addr) -> bool {
    addr.segments()[0] & 0xffc0 == 0xfec0
}

/// The address's scope: a multicast group's is in its fourth nibble.
pub(crate) fn scope(addr: Ipv6Addr) -> u8 {
    if addr.is_multicast() {
        addr.octets()[1] & 0xf
    } else if addr.is_loopback() {
        level::HOST
    } else if is_link_local(addr) {
        level::LINK
    } else if is_site_local(addr) {
        level::SITE
    } else {
        level::GLOBAL
    }
}

/// The same as routing knows it.
pub(crate) fn rt_scope(addr: Ipv6Addr) -> u8 {
    match scope(addr) {
        level::HOST => RT_SCOPE_HOST,
        level::LINK => RT_SCOPE_LINK,
        level::SITE => RT_SCOPE_SITE,
        _ => RT_SCOPE_UNIVERSE,
    }
}

/// The scope that lists of groups and anycast addresses show: they know site and universe only.
#[must_use]
pub fn group_scope(addr: Ipv6Addr) -> u8 {
    if scope(addr) == level::SITE { RT_SCOPE_SITE } else { RT_SCOPE_UNIVERSE }
}

/// The group by which neighbours ask for `addr` (RFC 4291, 2.7.1).
pub(crate) fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}
