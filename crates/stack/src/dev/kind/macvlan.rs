//! Further addresses of a device, each as a device of its own.

use std::sync::Arc;

use super::KindData;
use crate::dev::class::{ETHER, LinkClass};
use crate::dev::request::NewLink;
use crate::dev::{HwAddr, IfFlags, Link, LinkRefused};
use crate::errno;
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Further addresses.
pub static MACVLAN: LinkClass =
    LinkClass { kind: Some("macvlan"), max_mtu: 65_535, carrier: false, sets_proto_down: true, ..ETHER };

/// Further addresses that a program reads as a tap.
pub static MACVTAP: LinkClass = LinkClass { kind: Some("macvtap"), tx_queue_len: 500, qdisc: "noqueue", ..MACVLAN };

/// `MACVLAN_MODE_*` with one bit each.
const MODES: [u32; 5] = [1, 2, 4, 8, 16];
const VEPA: u32 = 2;
const PASSTHRU: u32 = 8;

/// How it gets on with its siblings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvlan {
    /// `MACVLAN_MODE_*`.
    pub mode: u32,
    /// `MACVLAN_FLAG_*`.
    pub flags: u16,
    /// Broadcasts that may wait.
    pub bc_queue_len: u32,
    /// In source mode: whom it hears.
    pub sources: Vec<HwAddr>,
}

/// What a request says of it.
#[derive(Clone, Debug, Default)]
pub struct MacvlanChange {
    /// `MACVLAN_MODE_*`.
    pub mode: Option<u32>,
    /// `MACVLAN_FLAG_*`.
    pub flags: Option<u16>,
    /// Broadcasts that may wait.
    pub bc_queue_len: Option<u32>,
    /// What to do with the list of sources (`MACVLAN_MACADDR_*`: add, remove, flush, set).
    pub source_mode: Option<u32>,
    /// The sources that this is about.
    pub sources: Vec<HwAddr>,
}

pub(super) fn prepare(
    base: Ns<'_>,
    ns: Ns<'_>,
    new: &NewLink,
    change: &MacvlanChange,
    link: &mut Link,
) -> Result<(), LinkRefused> {
    let invalid = || LinkRefused::plain(errno::EINVAL);
    let lower = super::lower_of(base, ns, new, link)?.ok_or_else(invalid)?;
    let mode = change.mode.unwrap_or(VEPA);
    if !MODES.contains(&mode) {
        return Err(invalid());
    }
    if lower.stored_flags.contains(IfFlags::LOOPBACK) || lower.class().arp_type != ETHER.arp_type {
        return Err(invalid());
    }
    if lower.master.is_some() && lower.port().is_some() {
        return Err(LinkRefused::plain(errno::EBUSY));
    }
    let lower_ns = base;
    let below = lower.index();
    let others = lower_ns.links.uppers_of(below);
    let alone = |index: u32| {
        let upper = lower_ns.links.by_index(index);
        upper.is_some_and(|l| matches!(l.data(), Some(KindData::Macvlan(m)) if m.mode == PASSTHRU))
    };
    let siblings = others.iter().any(|&(ref net, index)| {
        net.is_some() || lower_ns.links.by_index(index).is_some_and(|l| matches!(l.data(), Some(KindData::Macvlan(_))))
    });
    if (mode == PASSTHRU && siblings) || others.iter().any(|&(ref net, index)| net.is_none() && alone(index)) {
        return Err(invalid());
    }
    if new.change.mtu.is_none() {
        link.mtu = lower.mtu;
    } else if link.mtu > lower.mtu {
        return Err(invalid());
    }
    if mode == PASSTHRU {
        link.address = lower.address;
        link.addr_assign = lower.addr_assign;
    }
    let offload = lower.offload();
    if offload != link.offload() {
        link.tweak().offload = offload;
    }
    link.carrier = lower.carrier;
    let mut macvlan = Macvlan { mode, flags: 0, bc_queue_len: 1000, sources: Vec::new() };
    apply(&mut macvlan, change);
    link.data = Some(Arc::new(KindData::Macvlan(macvlan)));
    Ok(())
}

/// No two that are up share an address, nor does one have the address of the device below.
pub(super) fn may_open(
    rtnl: &mut Rtnl<'_>,
    ns: Ns<'_>,
    link: &Arc<Link>,
    macvlan: &Macvlan,
) -> Result<(), LinkRefused> {
    if macvlan.mode == PASSTHRU {
        return Ok(());
    }
    let taken = rtnl.with_lower(ns, link, |rtnl, lower_ns, lower| {
        lower.address == link.address
            || lower_ns.links.uppers_of(lower.index()).into_iter().any(|(net, index)| {
                let held = net.as_ref().and_then(pernet::NetHandle::upgrade);
                let upper_ns = held.as_deref().map_or(Some(lower_ns), |net| rtnl.ns(net));
                let upper = upper_ns.and_then(|ns| Some((ns, ns.links.by_index(index)?)));
                upper.is_some_and(|(upper_ns, upper)| {
                    let itself = upper_ns.is(ns) && index == link.index();
                    !itself && upper.is_up() && upper.address == link.address
                })
            })
    });
    if taken == Some(true) { Err(LinkRefused::plain(errno::EBUSY)) } else { Ok(()) }
}

pub(super) fn check(macvlan: &Macvlan, change: &MacvlanChange) -> Result<(), LinkRefused> {
    let mode = change.mode.unwrap_or(macvlan.mode);
    // What is alone stays alone, and who is not does not become so.
    if !MODES.contains(&mode) || (mode == PASSTHRU) != (macvlan.mode == PASSTHRU) {
        return Err(LinkRefused::plain(errno::EINVAL));
    }
    Ok(())
}

pub(super) fn change(data: &mut KindData, change: &MacvlanChange) {
    if let KindData::Macvlan(macvlan) = data {
        apply(macvlan, change);
    }
}

fn apply(macvlan: &mut Macvlan, change: &MacvlanChange) {
    macvlan.mode = change.mode.unwrap_or(macvlan.mode);
    macvlan.flags = change.flags.unwrap_or(macvlan.flags);
    macvlan.bc_queue_len = change.bc_queue_len.unwrap_or(macvlan.bc_queue_len);
    let known = &mut macvlan.sources;
    match change.source_mode {
        Some(1) => known.retain(|a| !change.sources.contains(a)),
        Some(2) => known.clear(),
        Some(3) => known.clone_from(&change.sources),
        _ => {}
    }
    if change.source_mode == Some(0) {
        for source in &change.sources {
            if !known.contains(source) {
                known.push(*source);
            }
        }
    }
}
