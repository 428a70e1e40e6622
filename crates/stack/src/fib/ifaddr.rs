//! The routes an address brings with it (`fib_add_ifaddr`, `fib_del_ifaddr`).

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::table::prefix_mask;
use super::{Anchor, FibNotice, Insert, RT_TABLE_LOCAL, RT_TABLE_MAIN, RTPROT_KERNEL, RouteConfig, route_type, scope};
use crate::dev::{IfFlags, Link};
use crate::inet::Ifa4;
use crate::notice::Notice;
use crate::rtnl::Rtnl;
use crate::state::Ns;

const IFA_F_SECONDARY: u32 = 0x1;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

/// A route that an address wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    kind: u8,
    dst: Ipv4Addr,
    len: u8,
    priority: u32,
    prefsrc: Ipv4Addr,
}

impl Wanted {
    fn config(self, oif: u32) -> RouteConfig {
        RouteConfig {
            dst: Some(self.dst),
            dst_len: self.len,
            table: if self.kind == route_type::UNICAST { RT_TABLE_MAIN } else { RT_TABLE_LOCAL },
            protocol: RTPROT_KERNEL,
            scope: if self.kind == route_type::LOCAL { scope::HOST } else { scope::LINK },
            kind: self.kind,
            oif,
            prefsrc: Some(self.prefsrc).filter(|src| !src.is_unspecified()),
            priority: self.priority,
            ..RouteConfig::default()
        }
    }

    /// Whether both stand for the same route but for who it is sent from.
    fn is_like(self, other: Self) -> bool {
        (self.kind, self.dst, self.len, self.priority) == (other.kind, other.dst, other.len, other.priority)
    }
}

/// The routes of an address, in the order in which Linux makes them; only the first while the device is down.
fn wanted(link: &Link, ifa: &Ifa4, prefsrc: Ipv4Addr) -> Vec<Wanted> {
    let mut out = Vec::with_capacity(4);
    if ifa.local.is_unspecified() {
        return out;
    }
    let host = |kind, dst| Wanted { kind, dst, len: 32, priority: 0, prefsrc };
    out.push(host(route_type::LOCAL, ifa.local));
    if let Some(broadcast) = ifa.broadcast.filter(|b| !b.is_broadcast() && !b.is_unspecified()) {
        out.push(host(route_type::BROADCAST, broadcast));
    }
    let net = u32::from(ifa.address) & prefix_mask(ifa.prefix_len);
    let prefix = Ipv4Addr::from(net);
    let secondary = ifa.flags & IFA_F_SECONDARY != 0;
    if !prefix.is_unspecified() && !secondary && (prefix != ifa.local || ifa.prefix_len < 32) {
        if ifa.flags & IFA_F_NOPREFIXROUTE == 0 {
            let loopback = link.flags().contains(IfFlags::LOOPBACK);
            let kind = if loopback { route_type::LOCAL } else { route_type::UNICAST };
            out.push(Wanted { kind, dst: prefix, len: ifa.prefix_len, priority: ifa.rt_priority, prefsrc });
        }
        // Of 31 bits both addresses are hosts.
        if ifa.prefix_len < 31 {
            out.push(host(route_type::BROADCAST, Ipv4Addr::from(net | !prefix_mask(ifa.prefix_len))));
        }
    }
    out
}

/// The address a secondary one is sent from: the first of its network.
fn primary(all: &[Ifa4], ifa: &Ifa4) -> Option<Ipv4Addr> {
    let bits = prefix_mask(ifa.prefix_len);
    let same = |other: &&Ifa4| {
        other.flags & IFA_F_SECONDARY == 0
            && other.prefix_len == ifa.prefix_len
            && u32::from(other.address) & bits == u32::from(ifa.address) & bits
    };
    all.iter().find(same).map(|other| other.local)
}

fn prefsrc(all: &[Ifa4], ifa: &Ifa4) -> Ipv4Addr {
    if ifa.flags & IFA_F_SECONDARY == 0 { ifa.local } else { primary(all, ifa).unwrap_or(ifa.local) }
}

/// A device got or lost an address (`fib_inetaddr_event`): its local, broadcast and connected routes come or go. Called
/// when the list of the device is as it is to be.
pub(crate) fn inetaddr_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: &Ifa4, up: bool) {
    let all = addresses(ns, link.index());
    if up {
        add(rtnl, ns, link, ifa, &all);
        return super::events::revive(ns, link.index());
    }
    del(rtnl, ns, link, ifa, &all);
    // With its last address the device stops to do IPv4: its routes go, and whom it knew there, it forgets.
    if all.iter().all(|other| other == ifa) {
        super::events::withdraw(ns, link.index(), super::events::Why::NoAddress);
        crate::neigh::ifdown(rtnl, ns, link.index(), crate::neigh::NeighFamily::V4);
    }
}

/// The routes of an address, if they are not there yet.
pub(super) fn add(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, ifa: &Ifa4, all: &[Ifa4]) {
    let source = prefsrc(all, ifa);
    for (at, route) in wanted(link, ifa, source).into_iter().enumerate() {
        if at > 0 && !link.is_up() {
            break;
        }
        // What is there already stays as it is.
        let config = route.config(link.index());
        if let Ok(Some((added, flags))) = super::update::insert(ns, rtnl.now(), &config, Insert::APPEND) {
            rtnl.notify_caused(ns, Notice::Fib(FibNotice::New { route: added, flags }));
        }
        if route.kind == route_type::BROADCAST {
            crate::neigh::became_broadcast(rtnl, ns, link, route.dst);
        }
    }
}

fn del(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, ifa: &Ifa4, all: &[Ifa4]) {
    // One that is to take the place of its primary is taken out and put back while it stays in the list.
    let others = all.iter().filter(|other| *other != ifa);
    let kept: Vec<Wanted> = others.flat_map(|other| wanted(link, other, prefsrc(all, other))).collect();
    let mut gone = wanted(link, ifa, prefsrc(all, ifa));
    // The connected route goes first, the address itself last.
    let rank = |route: &Wanted| match (route.kind, route.len) {
        (route_type::LOCAL, 32) if route.dst == ifa.local => 2,
        (route_type::BROADCAST, _) => 1,
        _ => 0,
    };
    gone.sort_by_key(rank);
    for route in gone {
        if kept.iter().any(|other| other.is_like(route)) {
            continue;
        }
        let mut config = route.config(link.index());
        if ifa.flags & IFA_F_SECONDARY != 0 && primary(all, ifa).is_none() {
            // Its primary went before it: whoever it was sent from.
            config.prefsrc = None;
        }
        if let Ok(route) = super::update::remove(ns, &config) {
            rtnl.notify_caused(ns, Notice::Fib(FibNotice::Del(route)));
        }
    }
    if super::address_type(ns, ifa.local) != route_type::LOCAL {
        lost_source(rtnl, ns, ifa.local);
    }
}

/// Nobody has the address any more: routes of the main table that send from it go (`fib_sync_down_addr`).
fn lost_source(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, source: Ipv4Addr) {
    let anchor = Anchor::Source(source);
    if ns.peek_fib().is_none_or(|fib| !fib.any(anchor)) {
        return;
    }
    let gone = ns.fib.write().flush(anchor, |table, _| table == RT_TABLE_MAIN);
    for (table, key, alias) in gone {
        let route = super::update::view(ns, table, key, &alias);
        rtnl.notify_caused(ns, Notice::Fib(FibNotice::Del(route)));
    }
}

/// The addresses of a device.
pub(super) fn addresses(ns: Ns<'_>, index: u32) -> Vec<Ifa4> {
    ns.peek_inet().map_or_else(Vec::new, |inet| inet.addrs(index).to_vec())
}
