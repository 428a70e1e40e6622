//! Multicast memberships of devices (`ff02::1`, solicited-node groups, the routers' groups).
//!
//! What the link layer listens to for them is the device's business: [`link_layer`] says which address that is.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::idev::Member;
use super::scope::{level, scope, solicited_node};
use crate::dev::{IfFlags, Link};
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Groups of routers: on the link, on the device, in the site; in the order in which they are joined.
const ROUTERS: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2),
    Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 2),
    Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2),
];

/// The Ethernet address on which a group's packets come (RFC 2464), for groups that leave the device.
pub(crate) fn link_layer(group: Ipv6Addr) -> Option<[u8; 6]> {
    let [.., a, b, c, d] = group.octets();
    (scope(group) > level::HOST).then_some([0x33, 0x33, a, b, c, d])
}

/// Joins a group, or counts one more that wants it (`ipv6_dev_mc_inc`).
pub(crate) fn join(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, group: Ipv6Addr) {
    let created = super::centiseconds(rtnl.now());
    let mut inet6 = ns.state().inet6.write();
    let idev = inet6.dev_mut(link);
    match idev.groups.iter_mut().find(|m| m.addr == group) {
        Some(member) => member.users += 1,
        None => idev.groups.insert(0, Member { addr: group, users: 1, created }),
    }
}

/// One wants it no more (`ipv6_dev_mc_dec`).
pub(crate) fn leave(_rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, group: Ipv6Addr) {
    let mut inet6 = ns.state().inet6.write();
    let idev = inet6.dev_mut(link);
    if let Some(at) = idev.groups.iter().position(|m| m.addr == group) {
        idev.groups[at].users -= 1;
        if idev.groups[at].users == 0 {
            idev.groups.remove(at);
        }
    }
}

/// Joins or leaves the group by which neighbours ask for `addr`: not where there are none.
pub(crate) fn solicited(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, addr: Ipv6Addr, wanted: bool) {
    let alone = link.stored_flags.contains(IfFlags::LOOPBACK) || link.stored_flags.contains(IfFlags::NOARP);
    if alone {
        return;
    }
    if wanted {
        join(rtnl, ns, link, solicited_node(addr));
    } else {
        leave(rtnl, ns, link, solicited_node(addr));
    }
}

/// A device begins or ceases to forward.
pub(crate) fn forwarding(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, on: bool) {
    if !link.stored_flags.contains(IfFlags::MULTICAST) {
        return;
    }
    for group in ROUTERS {
        if on {
            join(rtnl, ns, link, group);
        } else {
            leave(rtnl, ns, link, group);
        }
    }
}
