//! Bringing devices up and down, and their other flags.

use std::sync::Arc;

use super::request::FlagChange;
use super::{IfFlags, Link, LinkNotice, kind};
use crate::notice::Notice;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// Flags that a user sets as they are.
const PLAIN: IfFlags = IfFlags::DEBUG
    .with(IfFlags::NOTRAILERS)
    .with(IfFlags::NOARP)
    .with(IfFlags::DYNAMIC)
    .with(IfFlags::MULTICAST)
    .with(IfFlags::PORTSEL)
    .with(IfFlags::AUTOMEDIA);

/// What a device that goes down because something else happens is said to have changed.
const UP_RUNNING: u32 = IfFlags::UP.with(IfFlags::RUNNING).bits();

/// Brings a device up without telling (`__dev_open`). It can: that was asked before.
fn open(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32) {
    let opened = ns.links.update(index, |link| {
        link.stored_flags |= IfFlags::UP;
        if link.qdisc == "noop" {
            link.qdisc = link.class().qdisc;
        }
    });
    if let Ok(link) = opened {
        kind::open(rtnl, ns, &link);
    }
}

/// Takes a device down without telling that it is (`__dev_close`).
fn close(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32) {
    let Some(link) = ns.links.by_index(index) else { return };
    rtnl.call_netdevice_notifiers(ns, &link, NetdevEvent::GoingDown);
    if let Ok(link) = ns.links.update(index, |link| link.stored_flags = link.stored_flags & !IfFlags::UP) {
        kind::stop(rtnl, ns, &link);
    }
}

/// Takes devices down because of something else (`dev_close_many`): all of them, then each is told of.
pub(super) fn close_many(rtnl: &mut Rtnl<'_>, devices: &[(Ns<'_>, u32)]) {
    let is_up = |(ns, index): &&(Ns<'_>, u32)| ns.links.by_index(*index).is_some_and(|link| link.is_up());
    let up: Vec<_> = devices.iter().filter(is_up).copied().collect();
    for &(ns, index) in &up {
        close(rtnl, ns, index);
    }
    for (ns, index) in up {
        if let Some(link) = ns.links.by_index(index) {
            rtnl.notify_caused(ns, Notice::Link(LinkNotice::New { link: link.clone(), change: UP_RUNNING, event: 0 }));
            rtnl.call_netdevice_notifiers(ns, &link, NetdevEvent::Down);
        }
    }
}

/// Gives a device the flags that a user wants it to have, and tells (`dev_change_flags`).
pub(super) fn change_flags(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, wanted: IfFlags) {
    if let Some(old) = assume_flags(rtnl, ns, index, wanted) {
        notify_flags(rtnl, ns, index, old, IfFlags::NONE);
    }
}

/// Gives a new device its flags, and tells that all of it is new (`rtnl_configure_link`).
pub(super) fn first_flags(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, wanted: Option<FlagChange>) {
    let Some(link) = ns.links.by_index(index) else { return };
    let old = link.stored_flags;
    if let Some(wanted) = wanted {
        assume_flags(rtnl, ns, index, wanted.apply(old));
    }
    notify_flags(rtnl, ns, index, old, IfFlags::from_bits(u32::MAX));
}

/// Gives a device flags (`__dev_change_flags`); returns those it had.
fn assume_flags(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, wanted: IfFlags) -> Option<IfFlags> {
    let old = ns.links.by_index(index)?.stored_flags;
    let differs = |flag: IfFlags| (old & flag) != (wanted & flag);
    let _ = ns.links.update(index, |link| link.stored_flags = (old & !PLAIN) | (wanted & PLAIN));
    if differs(IfFlags::UP) {
        if wanted.contains(IfFlags::UP) { open(rtnl, ns, index) } else { close(rtnl, ns, index) }
    }
    for flag in [IfFlags::PROMISC, IfFlags::ALLMULTI] {
        if differs(flag) {
            let on = wanted.contains(flag);
            let _ = ns.links.update(index, |link| {
                let count = if flag == IfFlags::PROMISC { &mut link.promiscuity } else { &mut link.allmulti };
                *count = if on { count.saturating_add(1) } else { count.saturating_sub(1) };
                link.stored_flags = (link.stored_flags & !flag) | (wanted & flag);
            });
        }
    }
    Some(old)
}

/// One more party wants the device to hear more than its own, or one less does (`dev_set_promiscuity`,
/// `dev_set_allmulti`). Flags that a user set say nothing of it.
pub(crate) fn listen_to_all(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, flag: IfFlags, on: bool) {
    let mut turned = false;
    let updated = ns.links.update(index, |link| {
        let count = if flag == IfFlags::PROMISC { &mut link.promiscuity } else { &mut link.allmulti };
        let before = *count;
        *count = if on { before.saturating_add(1) } else { before.saturating_sub(1) };
        turned = (before == 0) != (*count == 0);
    });
    if let Ok(link) = updated
        && turned
    {
        rtnl.notify_caused(ns, Notice::Link(LinkNotice::New { link, change: flag.bits(), event: 0 }));
    }
}

/// Tells of flags that were `old` before, and of `also` (`__dev_notify_flags`).
fn notify_flags(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, old: IfFlags, also: IfFlags) {
    let Some(link) = ns.links.by_index(index) else { return };
    let changed = IfFlags::from_bits(old.bits() ^ link.stored_flags.bits());
    let told = changed | also;
    if told == IfFlags::NONE {
        return;
    }
    let notice = LinkNotice::New { link: Arc::clone(&link), change: told.bits(), event: 0 };
    rtnl.notify(ns, Notice::Link(notice));
    if changed.contains(IfFlags::UP) {
        let event = if link.is_up() { NetdevEvent::Up } else { NetdevEvent::Down };
        rtnl.call_netdevice_notifiers(ns, &link, event);
    }
    let quiet = IfFlags::UP | IfFlags::PROMISC | IfFlags::ALLMULTI;
    if link.is_up() && changed & !quiet != IfFlags::NONE {
        rtnl.call_netdevice_notifiers(ns, &link, NetdevEvent::Change);
    }
}

/// Whether the device may be brought up now.
pub(super) fn may_open(link: &Link) -> Result<(), super::LinkRefused> {
    if link.proto_down {
        return Err(super::LinkRefused::plain(crate::errno::EBUSY));
    }
    Ok(())
}
