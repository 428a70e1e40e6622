//! What devices do to routes (`fib_netdev_event`).

use std::sync::Arc;

use super::Anchor;
use super::info::{FibInfo, scope};
use crate::dev::Link;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// A device goes through something.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    match event {
        // A device that was there before it had routes, or before anybody had: nothing to do without addresses.
        NetdevEvent::Up => {
            let all = super::ifaddr::addresses(ns, link.index());
            for ifa in &all {
                super::ifaddr::add(rtnl, ns, link, ifa, &all);
            }
        }
        NetdevEvent::Down => withdraw(ns, link.index(), false),
        NetdevEvent::Unregister => withdraw(ns, link.index(), true),
        _ => {}
    }
}

/// Routes that have no way out left go, silently: who brings a device down knows. Those to the host itself stay unless
/// the device goes for good.
fn withdraw(ns: Ns<'_>, index: u32, for_good: bool) {
    let anchor = Anchor::Device(index);
    if ns.fib.peek().is_none_or(|fib| !fib.any(anchor)) {
        return;
    }
    let infos = ns.fib.peek().map_or_else(Vec::new, |fib| fib.infos_of(anchor));
    let dead: Vec<Arc<FibInfo>> = infos.into_iter().filter(|info| is_dead(ns, info, index, for_good)).collect();
    ns.fib.write().flush(anchor, |_, alias| dead.iter().any(|info| Arc::ptr_eq(info, &alias.info)));
}

/// Whether nothing is left of the ways out when the device `gone` is.
fn is_dead(ns: Ns<'_>, info: &FibInfo, gone: u32, for_good: bool) -> bool {
    info.hops().iter().all(|hop| {
        if hop.oif == gone {
            return for_good || hop.scope != scope::NOWHERE;
        }
        hop.scope != scope::NOWHERE && !ns.links.by_index(hop.oif).is_some_and(|link| link.is_up())
    })
}
