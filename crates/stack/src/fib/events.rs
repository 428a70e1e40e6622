//! What devices do to routes (`fib_netdev_event`).

use std::sync::Arc;

use super::Anchor;
use super::info::{FibInfo, NextHop, hop_flag, scope};
use crate::dev::Link;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// A device goes through something.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    match event {
        NetdevEvent::Up => {
            let all = super::ifaddr::addresses(ns, link.index());
            for ifa in &all {
                super::ifaddr::add(rtnl, ns, link, ifa, &all);
            }
            revive(ns, link.index());
        }
        NetdevEvent::Down => withdraw(ns, link.index(), Why::Down),
        NetdevEvent::Unregister => withdraw(ns, link.index(), Why::Unregister),
        _ => {}
    }
}

/// Why routes through a device end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is down. Routes to the host itself stay.
    Down,
    /// It has no address any more.
    NoAddress,
    /// It is gone, and every route with a hop through it goes.
    Unregister,
}

/// Routes that have no way out left go, silently: who brings a device down knows. (Those that point to a nexthop object
/// go with the object.)
pub(super) fn withdraw(ns: Ns<'_>, index: u32, why: Why) {
    let anchor = Anchor::Device(index);
    let infos = match ns.peek_fib() {
        Some(fib) if fib.any(anchor) => fib.infos_of(anchor),
        _ => return,
    };
    let (dead, alive): (Vec<Arc<FibInfo>>, Vec<_>) =
        infos.into_iter().filter(|info| info.nexthop.is_none()).partition(|info| is_dead(ns, info, index, why));
    let mut fib = ns.fib.write();
    fib.flush(anchor, |_, alias| dead.iter().any(|info| Arc::ptr_eq(info, &alias.info)));
    if why == Why::NoAddress && !alive.is_empty() {
        // What the device's own state does not say has to be noted.
        const LOST: u32 = hop_flag::DEAD | hop_flag::LINKDOWN;
        fib.rewrite(anchor, |info| info.nexthop.is_none(), |info| with_flags(info, index, |flags| flags | LOST));
    }
}

/// The device has an address again, or is up again: what was noted of its hops is forgotten.
pub(super) fn revive(ns: Ns<'_>, index: u32) {
    const LOST: u32 = hop_flag::DEAD | hop_flag::LINKDOWN;
    let anchor = Anchor::Device(index);
    let lost = |info: &FibInfo| info.own.iter().any(|hop| hop.oif == index && hop.flags & LOST != 0);
    if ns.peek_fib().is_some_and(|fib| fib.infos_of(anchor).iter().any(|info| lost(info))) {
        ns.fib.write().rewrite(anchor, lost, |info| with_flags(info, index, |flags| flags & !LOST));
    }
}

fn with_flags(info: &FibInfo, index: u32, flags: impl Fn(u32) -> u32) -> FibInfo {
    let hop = |hop: &NextHop| if hop.oif == index { NextHop { flags: flags(hop.flags), ..*hop } } else { *hop };
    FibInfo { own: info.own.iter().map(hop).collect(), ..info.clone() }
}

/// Whether nothing is left of the ways out when the device `gone` is.
fn is_dead(ns: Ns<'_>, info: &FibInfo, gone: u32, why: Why) -> bool {
    why == Why::Unregister
        || info.own.iter().all(|hop| {
            let here = hop.scope == scope::NOWHERE;
            if hop.oif == gone {
                return why == Why::NoAddress || !here;
            }
            let down = || !ns.links.by_index(hop.oif).is_some_and(|link| link.is_up());
            hop.flags & hop_flag::DEAD != 0 || !here && down()
        })
}
