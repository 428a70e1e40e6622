//! Entries go with the device, its address, and mostly with its carrier.

use std::net::IpAddr;
use std::sync::Arc;

use super::change::{peek, take};
use super::entry::{Entry, NeighFamily, NeighFlags};
use super::state::NeighState;
use crate::dev::{IfFlags, Link};
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::{ConfOf, Ns};
use crate::{inet, inet6};

/// `IPV4_DEVCONF_ARP_EVICT_NOCARRIER` and its sibling.
const ARP_EVICT_NOCARRIER: usize = 33;
const NDISC_EVICT_NOCARRIER: usize = 56;

/// A device goes through something.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    if event == NetdevEvent::Unregister {
        crate::sysctl::forget_device(ns, link.index());
    }
    if ns.peek_neigh().is_none() {
        return;
    }
    match event {
        NetdevEvent::Down | NetdevEvent::Unregister => {
            for family in [NeighFamily::V4, NeighFamily::V6] {
                ifdown(rtnl, ns, link.index(), family);
            }
            if event == NetdevEvent::Unregister {
                ns.neigh.write().parms.forget(link.index());
            }
        }
        NetdevEvent::ChangeAddr => {
            for family in [NeighFamily::V4, NeighFamily::V6] {
                flush(rtnl, ns, link.index(), family, |_| true);
            }
        }
        NetdevEvent::Change => changed(rtnl, ns, link),
        _ => {}
    }
}

/// All entries of a family on a device go, and what it answers for (`neigh_ifdown`).
pub(crate) fn ifdown(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, ifindex: u32, family: NeighFamily) {
    flush(rtnl, ns, ifindex, family, |_| true);
    end_proxies(rtnl, ns, ifindex, family, false);
}

/// The device answers for nobody any more, but for those that are permanent, if they are `kept`.
fn end_proxies(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, ifindex: u32, family: NeighFamily, kept: bool) {
    if ns.peek_neigh().is_none() {
        return;
    }
    let gone = ns.neigh.write().remove_proxies(ifindex, family, kept);
    let Some(link) = ns.links.by_index(ifindex) else { return };
    for dst in gone {
        if let IpAddr::V6(dst) = dst {
            inet6::leave_group(rtnl, ns, &link, inet6::solicited_node(dst));
        }
    }
}

/// Carrier or flags are other ones.
fn changed(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    let noarp = link.stored_flags.contains(IfFlags::NOARP);
    for family in [NeighFamily::V4, NeighFamily::V6] {
        // What was learnt while nobody was asked is worth nothing now, and the other way round.
        let turned = |e: &Entry| e.noarp_device != noarp;
        if !link.stored_flags.contains(IfFlags::LOOPBACK) && any(ns, link, family, turned) {
            flush(rtnl, ns, link.index(), family, |_| true);
        }
        if !link.carrier && link.is_up() && evicts(ns, link, family) {
            let kept = |e: &Entry| e.state.is(NeighState::PERMANENT) || e.flags.has(NeighFlags::EXT_VALIDATED);
            flush(rtnl, ns, link.index(), family, |e| !kept(e));
            end_proxies(rtnl, ns, link.index(), family, true);
        }
    }
}

fn any(ns: Ns<'_>, link: &Link, family: NeighFamily, is: impl Fn(&Entry) -> bool) -> bool {
    let found = peek(ns, |t| t.of_device(link.index(), family).into_iter().filter_map(|id| t.get(id)).any(is));
    found.unwrap_or(false)
}

fn evicts(ns: Ns<'_>, link: &Link, family: NeighFamily) -> bool {
    let of = ConfOf::Dev(link.index());
    let all = ConfOf::All;
    match family {
        NeighFamily::V4 => {
            let value = |of| inet::conf(ns, of, ARP_EVICT_NOCARRIER).unwrap_or(1) != 0;
            value(of) && value(all)
        }
        NeighFamily::V6 => {
            let value = |of| inet6::conf(ns, of, NDISC_EVICT_NOCARRIER).unwrap_or(1) != 0;
            value(of) && value(all)
        }
    }
}

/// The entries of a device that `goes` names go, the youngest first.
fn flush(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, ifindex: u32, family: NeighFamily, goes: impl Fn(&Entry) -> bool) {
    let now = super::timer::millis(rtnl.now());
    let ids = peek(ns, |table| {
        let ids = table.of_device(ifindex, family).into_iter();
        ids.filter(|id| table.get(*id).is_some_and(&goes)).collect::<Vec<_>>()
    });
    for id in ids.unwrap_or_default() {
        take(rtnl, ns, id, now);
    }
}
