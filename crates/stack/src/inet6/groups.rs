//! Multicast memberships of devices (`ff02::1`, solicited-node groups, the routers' groups).
//!
//! An Ethernet device is told the link-layer addresses on which their packets come.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::idev::{BORN_GROUPS, Member};
use super::scope::{level, scope, solicited_node};
use crate::clock;
use crate::dev::{HwAddr, IfFlags, Link};
use crate::l3;
use crate::mcast;
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Groups of routers: on the link, on the device, in the site; in the order in which they are joined.
const ROUTERS: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2),
    Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 2),
    Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2),
];

/// `ARPHRD_ETHER`: such devices are told which groups they are to hear.
const ARPHRD_ETHER: u16 = 1;

/// The Ethernet address on which a group's packets come (RFC 2464), for groups that leave the device.
fn link_layer(link: &Link, group: Ipv6Addr) -> Option<HwAddr> {
    let [.., a, b, c, d] = group.octets();
    let wanted = link.class().arp_type == ARPHRD_ETHER && scope(group) > level::HOST;
    HwAddr::new(&[0x33, 0x33, a, b, c, d]).filter(|_| wanted)
}

/// A device listens to all nodes from its birth, and if it is to forward, to what all routers of the link are told.
pub(crate) fn born(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, forwards: bool) {
    for address in BORN_GROUPS.into_iter().filter_map(|group| link_layer(link, group)) {
        mcast::add(ns, link, address);
    }
    if forwards && link.stored_flags.contains(IfFlags::MULTICAST) {
        join(rtnl, ns, link, ROUTERS[0]);
    }
}

/// The device works again: it hears its groups (`ipv6_mc_up`).
pub(crate) fn load(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link) {
    let groups = {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(link);
        if !std::mem::take(&mut idev.deaf) {
            return;
        }
        idev.groups.clone()
    };
    for address in groups.iter().filter_map(|m| link_layer(link, m.addr)) {
        mcast::add(ns, link, address);
    }
    tell_all(rtnl, ns, link);
}

/// The device works no more: once it did, it hears no group (`ipv6_mc_down`).
pub(crate) fn unload(ns: Ns<'_>, link: &Link) {
    let groups = {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(link);
        if !idev.ready || std::mem::replace(&mut idev.deaf, true) {
            return;
        }
        idev.groups.clone()
    };
    for address in groups.iter().filter_map(|m| link_layer(link, m.addr)) {
        mcast::del(ns, link, address);
    }
}

/// Joins a group, or counts one more that wants it (`ipv6_dev_mc_inc`).
pub(crate) fn join(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, group: Ipv6Addr) {
    let created = clock::stamp(rtnl.now());
    {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(link);
        if let Some(member) = idev.groups.iter_mut().find(|m| m.addr == group) {
            member.users += 1;
            return;
        }
        idev.groups.insert(0, Member { addr: group, users: 1, created });
        if idev.deaf {
            return;
        }
    }
    if let Some(address) = link_layer(link, group) {
        mcast::add(ns, link, address);
    }
    l3::group_changed(rtnl, ns, link, group.into(), true);
}

/// One wants it no more (`ipv6_dev_mc_dec`).
pub(crate) fn leave(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, group: Ipv6Addr) {
    {
        let mut inet6 = ns.state().inet6.write();
        // One that is gone already is not made again for it.
        if inet6.dev(link.index()).is_none() {
            return;
        }
        let idev = inet6.dev_mut(link);
        let Some(at) = idev.groups.iter().position(|m| m.addr == group) else { return };
        idev.groups[at].users -= 1;
        if idev.groups[at].users > 0 {
            return;
        }
        idev.groups.remove(at);
        if idev.deaf {
            return;
        }
    }
    if let Some(address) = link_layer(link, group) {
        mcast::del(ns, link, address);
    }
    l3::group_changed(rtnl, ns, link, group.into(), false);
}

/// Routers are told of all groups anew: now they know from whom.
pub(crate) fn tell_all(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link) {
    for group in super::groups_of(ns, link.index()) {
        l3::group_changed(rtnl, ns, link, group.into(), true);
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
