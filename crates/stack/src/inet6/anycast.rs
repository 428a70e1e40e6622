//! Subnet-router anycast addresses: a router answers to the first address of each of its networks.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::conf::devconf;
use super::idev::{Ifa6, Member};
use super::prefix::Prefix6;
use super::route::{Route6, rtn, table};
use super::{change, groups};
use crate::clock;
use crate::dev::Link;
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// The longest prefix with a subnet-router address (RFC 6164: not on the two addresses of a point-to-point link).
const LONGEST: u8 = 126;

fn of(ifa: &Ifa6) -> Option<Ipv6Addr> {
    let addr = ifa.prefix().addr();
    (ifa.prefix_len <= LONGEST && !addr.is_unspecified()).then_some(addr)
}

/// A device begins or ceases to forward.
pub(crate) fn forwarding(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, on: bool) {
    let addrs = ns.state().inet6.read().dev(link.index()).map(|idev| idev.addrs.clone()).unwrap_or_default();
    for ifa in addrs.iter().filter(|ifa| !ifa.is_unusable() && !ifa.pending) {
        if on {
            join(rtnl, ns, link, ifa);
        } else {
            leave(rtnl, ns, link, ifa);
        }
    }
}

/// An address came into use.
pub(crate) fn came(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: &Ifa6) {
    if ns.state().inet6.read().dev_conf(link, devconf::FORWARDING) != 0 {
        join(rtnl, ns, link, ifa);
    }
}

/// An address went.
pub(crate) fn went(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: &Ifa6) {
    if ns.state().inet6.read().dev_conf(link, devconf::FORWARDING) != 0 {
        leave(rtnl, ns, link, ifa);
    }
}

fn join(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: &Ifa6) {
    let Some(addr) = of(ifa) else { return };
    let created = clock::stamp(rtnl.now());
    {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(link);
        if let Some(member) = idev.anycast.iter_mut().find(|m| m.addr == addr) {
            member.users += 1;
            return;
        }
        idev.anycast.insert(0, Member { addr, users: 1, created });
    }
    let route = Route6::of_kernel(Prefix6::host(addr), rtn::ANYCAST, 0, link.index());
    change::add_own(rtnl, ns, table::LOCAL, route);
    groups::solicited(rtnl, ns, link, addr, true);
}

fn leave(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: &Ifa6) {
    let Some(addr) = of(ifa) else { return };
    {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(link);
        let Some(at) = idev.anycast.iter().position(|m| m.addr == addr) else { return };
        idev.anycast[at].users -= 1;
        if idev.anycast[at].users > 0 {
            return;
        }
        idev.anycast.remove(at);
    }
    groups::solicited(rtnl, ns, link, addr, false);
    let is_it = |r: &Route6| r.kind == rtn::ANYCAST && r.nexthop.oif == link.index();
    change::del_own(rtnl, ns, table::LOCAL, Prefix6::host(addr), is_it);
}
