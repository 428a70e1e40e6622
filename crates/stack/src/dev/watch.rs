//! Carrier and operational state: the one changes at once, the other follows when the change is over (`linkwatch`).

use std::collections::VecDeque;
use std::sync::Arc;

use pernet::NetHandle;

use super::{Link, OperState};
use crate::notice::Notice;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

use super::LinkNotice;

/// `IF_LINK_MODE_DORMANT`.
const MODE_DORMANT: u8 = 1;

/// Devices whose carrier changed, in order, each once.
#[derive(Debug, Default)]
pub(crate) struct Linkwatch(VecDeque<(NetHandle, u32)>);

/// The device has a signal or has none from now on (`netif_carrier_on`, `netif_carrier_off`).
pub(super) fn set_carrier(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, carrier: bool) {
    if ns.links.by_index(index).is_none_or(|link| link.carrier == carrier) {
        return;
    }
    let _ = ns.links.update(index, |link| {
        link.carrier = carrier;
        let count = if carrier { &mut link.carrier_ups } else { &mut link.carrier_downs };
        *count = count.wrapping_add(1);
    });
    fire(rtnl, ns, index);
}

/// A cable that nobody has plugged in yet: born with a carrier for the blink of an eye, which counts.
pub(super) fn lose_first_carrier(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32) {
    let _ = ns.links.update(index, |link| {
        link.carrier = false;
        link.carrier_downs = link.carrier_downs.wrapping_add(1);
    });
    fire(rtnl, ns, index);
}

/// The device below has this carrier and these states (`netif_stacked_transfer_operstate`).
pub(super) fn transfer(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, upper: u32, lower: &Link) {
    let Some(link) = ns.links.by_index(upper) else { return };
    let dormant = lower.operstate() == OperState::Dormant;
    let testing = lower.operstate() == OperState::Testing;
    if (dormant, testing) != (link.dormant, link.testing) {
        let _ = ns.links.update(upper, |link| (link.dormant, link.testing) = (dormant, testing));
        fire(rtnl, ns, upper);
    }
    set_carrier(rtnl, ns, upper, lower.carrier);
}

/// The operational state of a device is to be looked at (`linkwatch_fire_event`).
pub(super) fn fire(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32) {
    let Some(net) = ns.net() else { return };
    let entry = (net.handle(), index);
    if !rtnl.shared().linkwatch.0.contains(&entry) {
        rtnl.shared().linkwatch.0.push_back(entry);
    }
}

/// What a device's state would be by its carrier (`default_operstate`). A device on another one says that the other is
/// down if it is; the other is sought by its index in this namespace, wherever it is.
fn by_carrier(ns: Ns<'_>, link: &Link) -> OperState {
    if link.testing {
        return OperState::Testing;
    }
    if link.carrier {
        return if link.dormant { OperState::Dormant } else { OperState::Up };
    }
    let lower = link.iflink();
    if lower == link.index() {
        return OperState::Down;
    }
    match ns.links.by_index(lower) {
        Some(lower) if !lower.carrier => OperState::LowerLayerDown,
        _ => OperState::Down,
    }
}

/// Lets the operational state follow the carrier (`rfc2863_policy`). Does not tell anybody.
pub(super) fn policy(ns: Ns<'_>, link: &Arc<Link>) {
    let mut state = by_carrier(ns, link);
    if link.link_mode == MODE_DORMANT && state == OperState::Up {
        state = OperState::Dormant;
    }
    if state != link.stored_operstate {
        let _ = ns.links.update(link.index(), |link| link.stored_operstate = state);
    }
}

/// A device changed in a way that has no event of its own (`netdev_state_change`): told only while it is up.
pub(super) fn state_change(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32) {
    let Some(link) = ns.links.by_index(index).filter(|link| link.is_up()) else { return };
    rtnl.call_netdevice_notifiers(ns, &link, NetdevEvent::Change);
    rtnl.notify_caused(ns, Notice::Link(LinkNotice::changed(&link)));
}

impl Rtnl<'_> {
    /// Does what carrier changes ask for. At the end of each change of links.
    pub(crate) fn run_linkwatch(&mut self) {
        while let Some((net, index)) = self.shared().linkwatch.0.pop_front() {
            let Some(net) = net.upgrade() else { continue };
            let Some(ns) = self.ns(&net) else { continue };
            let Some(link) = ns.links.by_index(index) else { continue };
            policy(ns, &link);
            state_change(self, ns, index);
        }
    }
}
