//! The kinds of devices, one file each: what is particular to them, and when they are asked.

mod bridge;
mod dummy;
mod ifb;
mod macvlan;
mod tun;
mod veth;
mod vlan;
mod vni;
mod vxlan;

use std::sync::Arc;

pub use bridge::{BRIDGE, Bridge, BridgeChange, BridgePort, BridgePortChange, PortState};
pub use dummy::DUMMY;
pub use ifb::IFB;
pub use macvlan::{MACVLAN, MACVTAP, Macvlan, MacvlanChange};
pub use tun::{TAP, TUN, Tun, TunPlace, TunRequest, TunSpec, tun_flag};
pub use veth::{VETH, VethPeer};
pub use vlan::{VLAN, Vlan, VlanChange};
pub use vni::{VniChange, VniRun, Vnis};
pub(in crate::dev) use vxlan::Flavour;
pub use vxlan::{VXLAN, Vxlan, VxlanChange};

use super::request::NewLink;
use super::{Link, LinkClass, LinkRefused, updown, watch};
use crate::errno;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// A device to be made, as its kind wants it described.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KindSpec {
    /// Swallows what it is given.
    Dummy,
    /// Gives back what it is given, for traffic control.
    Ifb,
    /// One end of a cable, with the other.
    Veth(Box<VethPeer>),
    /// A switch.
    Bridge(Box<BridgeChange>),
    /// A tagged part of another device.
    Vlan(VlanChange),
    /// A further address of another device; the second word says whether programs read it as a tap.
    Macvlan(MacvlanChange, bool),
    /// Ethernet in UDP.
    Vxlan(Box<VxlanChange>),
    /// A cable that is a file.
    Tun(Box<TunSpec>),
}

impl KindSpec {
    /// What all devices of the kind share.
    #[must_use]
    pub const fn class(&self) -> &'static LinkClass {
        match self {
            Self::Dummy => &DUMMY,
            Self::Ifb => &IFB,
            Self::Veth(_) => &VETH,
            Self::Bridge(_) => &BRIDGE,
            Self::Vlan(_) => &VLAN,
            Self::Macvlan(_, false) => &MACVLAN,
            Self::Macvlan(_, true) => &MACVTAP,
            Self::Vxlan(_) => &VXLAN,
            Self::Tun(spec) => spec.class(),
        }
    }
}

/// What is particular to a device of its kind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KindData {
    /// A switch.
    Bridge(Bridge),
    /// A tagged part of another device.
    Vlan(Vlan),
    /// A further address of another device.
    Macvlan(Macvlan),
    /// Ethernet in UDP.
    Vxlan(Vxlan),
    /// A cable that is a file.
    Tun(Tun),
}

/// What is particular to a device as a port of its master.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PortData {
    /// Of a bridge.
    Bridge(BridgePort),
}

/// What may be changed of a device that is there, by its kind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KindChange {
    /// A kind that has nothing to change.
    Nothing,
    /// Of a switch.
    Bridge(Box<BridgeChange>),
    /// Of a tagged part.
    Vlan(VlanChange),
    /// Of a further address.
    Macvlan(MacvlanChange),
    /// Of a tunnel.
    Vxlan(Box<VxlanChange>),
}

/// What may be changed of a device as a port of its master.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PortChange {
    /// A kind of master that has nothing to change, or that is not the device's.
    Nothing,
    /// Of a port of a bridge.
    Bridge(Box<BridgePortChange>),
}

/// Checks what is particular to a new device, and writes it into `link`, which is in no table yet.
/// The device below is sought in `base`.
pub(super) fn prepare(base: Ns<'_>, ns: Ns<'_>, new: &NewLink, link: &mut Link) -> Result<(), LinkRefused> {
    match &new.kind {
        KindSpec::Dummy | KindSpec::Ifb | KindSpec::Veth(_) => Ok(()),
        KindSpec::Bridge(change) => bridge::prepare(change, link),
        KindSpec::Vlan(change) => vlan::prepare(base, ns, new, change, link),
        KindSpec::Macvlan(change, _) => macvlan::prepare(base, ns, new, change, link),
        KindSpec::Vxlan(change) => vxlan::prepare(base, ns, new, change, link),
        KindSpec::Tun(spec) => {
            tun::prepare(spec, link);
            Ok(())
        }
    }
}

/// The device that a new one is to sit on, which `link` then names; `None` if the request says none.
fn lower_of(base: Ns<'_>, ns: Ns<'_>, new: &NewLink, link: &mut Link) -> Result<Option<Arc<Link>>, LinkRefused> {
    let Some(index) = new.lower else { return Ok(None) };
    let mut lower = base.links.by_index(index).ok_or(LinkRefused::plain(errno::ENODEV))?;
    // A further address of a further address is one of the device itself.
    if matches!(new.kind, KindSpec::Macvlan(..))
        && matches!(lower.data(), Some(KindData::Macvlan(_)))
        && lower.lower_net().is_none()
        && let Some(real) = base.links.by_index(lower.iflink())
    {
        lower = real;
    }
    link.lower = Some(lower.index());
    link.lower_net = if base.is(ns) { None } else { base.net().map(|net| Box::new(net.handle())) };
    Ok(Some(lower))
}

/// Whether a new device, which is in the table, may sit on the one that its request names.
pub(super) fn may_sit(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) -> Result<(), LinkRefused> {
    if !sits(link) {
        return Ok(());
    }
    let nests = rtnl.with_lower(ns, link, |rtnl, lower_ns, lower| rtnl.may_nest((lower_ns, &lower), (ns, link)));
    nests.unwrap_or(Ok(()))
}

/// A new device is in the table: those below hear of it.
pub(super) fn created(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    if let Some(KindData::Vxlan(vxlan)) = link.data() {
        vxlan::born(rtnl, ns, link, vxlan);
    }
    if let Some(KindData::Tun(tun)) = link.data() {
        tun::settled(ns, link, tun);
    }
    if !sits(link) {
        return;
    }
    let own = ns.net().map(pernet::Net::handle);
    let _ = rtnl.with_lower(ns, link, |rtnl, lower_ns, lower| {
        let net = if lower_ns.is(ns) { None } else { own };
        lower_ns.links.stack(lower.index(), net.as_ref(), link.index());
        rtnl.edit(lower_ns, lower.index(), Some(NetdevEvent::ChangeUpper), |_| {});
        if link.lower.is_none() {
            return;
        }
        watch::transfer(rtnl, ns, link.index(), &lower);
        watch::fire(rtnl, ns, link.index());
    });
}

/// Whether the device is one that sits on another (and goes with it), as opposed to one that is wired to another.
pub(super) fn sits(link: &Link) -> bool {
    matches!(link.data(), Some(KindData::Vlan(_) | KindData::Macvlan(_) | KindData::Vxlan(_)))
}

/// Whether the device may be brought up.
pub(super) fn may_open(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) -> Result<(), LinkRefused> {
    match link.data() {
        Some(KindData::Vlan(_)) => {
            let up = rtnl.with_lower(ns, link, |_, _, lower| lower.is_up());
            if up == Some(true) { Ok(()) } else { Err(LinkRefused::plain(errno::ENETDOWN)) }
        }
        Some(KindData::Macvlan(macvlan)) => macvlan::may_open(rtnl, ns, link, macvlan),
        _ => Ok(()),
    }
}

/// Whether a user may say that the device has a signal (`ndo_change_carrier`): of a tunnel, while a program has its other end.
pub(super) fn may_carry(link: &Link) -> bool {
    !matches!(link.data(), Some(KindData::Tun(tun)) if tun.queues == 0)
}

/// The device came up (`ndo_open`), as far as its kind cares.
pub(super) fn open(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    match link.data() {
        None if link.class().kind == Some("veth") => veth::open(rtnl, ns, link),
        Some(KindData::Bridge(_)) => bridge::open(rtnl, ns, link),
        Some(KindData::Vlan(_) | KindData::Macvlan(_)) => {
            let carrier = rtnl.with_lower(ns, link, |_, _, lower| lower.carrier).unwrap_or(false);
            watch::set_carrier(rtnl, ns, link.index(), carrier);
        }
        _ => {}
    }
}

/// The device goes down (`ndo_stop`).
pub(super) fn stop(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    match link.data() {
        None if link.class().kind == Some("veth") => veth::stop(rtnl, ns, link),
        Some(KindData::Bridge(_)) => bridge::stop(rtnl, ns, link),
        Some(KindData::Vlan(_)) => watch::set_carrier(rtnl, ns, link.index(), false),
        _ => {}
    }
}

/// Whether the change suits the device.
pub(super) fn check(link: &Link, change: &KindChange) -> Result<(), LinkRefused> {
    match (change, link.data()) {
        (KindChange::Bridge(change), Some(KindData::Bridge(bridge))) => bridge::check(bridge, change),
        (KindChange::Vlan(_), Some(KindData::Vlan(_))) => Ok(()),
        (KindChange::Macvlan(change), Some(KindData::Macvlan(macvlan))) => macvlan::check(macvlan, change),
        (KindChange::Vxlan(change), Some(KindData::Vxlan(vxlan))) => vxlan::check(vxlan, change),
        _ => Err(LinkRefused::plain(errno::EOPNOTSUPP)),
    }
}

/// Makes a change that was checked.
pub(super) fn change(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, change: &KindChange) {
    match change {
        KindChange::Nothing => {}
        KindChange::Bridge(change) => bridge::change(rtnl, ns, index, change),
        KindChange::Vlan(change) => edit(ns, index, |data| vlan::change(data, change)),
        KindChange::Macvlan(change) => edit(ns, index, |data| macvlan::change(data, change)),
        KindChange::Vxlan(change) => vxlan::change(rtnl, ns, index, change),
    }
}

/// Changes what is particular to a device.
pub(super) fn edit(ns: Ns<'_>, index: u32, edit: impl FnOnce(&mut KindData)) {
    let _ = ns.links.update(index, |link| {
        if let Some(data) = &mut link.data {
            edit(Arc::make_mut(data));
        }
    });
}

/// Whether `port` may join `master`.
pub(super) fn may_join(
    rtnl: &mut Rtnl<'_>,
    ns: Ns<'_>,
    master: &Arc<Link>,
    port: &Arc<Link>,
) -> Result<(), LinkRefused> {
    match master.data() {
        Some(KindData::Bridge(_)) => bridge::may_join(ns, master, port)?,
        _ => return Err(LinkRefused::plain(errno::EOPNOTSUPP)),
    }
    rtnl.may_nest((ns, port), (ns, master))
}

/// `port` joins `master`, which was asked.
pub(super) fn join(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, master: u32, port: u32) {
    bridge::join(rtnl, ns, master, port);
}

/// The device leaves its master, if it has one.
pub(super) fn part(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, port: u32) {
    if ns.links.by_index(port).is_some_and(|link| link.master.is_some()) {
        bridge::part(rtnl, ns, port, true);
    }
}

/// Whether the change suits the port.
pub(super) fn check_port(ns: Ns<'_>, link: &Link, change: &PortChange) -> Result<(), LinkRefused> {
    match (change, link.port()) {
        (PortChange::Bridge(change), Some(PortData::Bridge(_))) => bridge::check_port(ns, link, change),
        _ => Err(LinkRefused::plain(errno::EOPNOTSUPP)),
    }
}

/// Makes a change of a port that was checked.
pub(super) fn change_port(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, change: &PortChange) {
    match change {
        PortChange::Nothing => {}
        PortChange::Bridge(change) => bridge::change_port(rtnl, ns, index, change),
    }
}

/// Before a device is deleted: a bridge lets its ports go (`dellink`).
pub(super) fn delete(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    if matches!(link.data(), Some(KindData::Bridge(_))) {
        for port in ns.links.ports_of(link.index()) {
            bridge::part(rtnl, ns, port, false);
        }
    }
}

/// The device leaves this namespace for good: out of its master.
pub(super) fn leave(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    part(rtnl, ns, link.index());
    match link.data() {
        // What a tunnel knows, it knows wherever it is.
        Some(KindData::Vxlan(vxlan)) => ns.links.del_filter(vxlan.flavour(), link.index()),
        _ => rtnl.drop_fdb(ns, link.index()),
    }
}

/// A device that is deleted sits on nothing any more.
pub(super) fn unstack(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    if let Some(KindData::Vxlan(vxlan)) = link.data() {
        rtnl.forget_vnis(ns, link, vxlan);
        rtnl.drop_fdb(ns, link.index());
    }
    if let Some(KindData::Tun(tun)) = link.data() {
        tun::gone(tun);
    }
    if let Some((vni, flavour)) = vni(link) {
        let held = link.lower_net().and_then(pernet::NetHandle::upgrade);
        if let Some(ns) = held.as_deref().map_or(Some(ns), |net| rtnl.ns(net)) {
            ns.links.del_vni(vni, flavour);
        }
    }
    if sits(link) {
        let own = ns.net().map(pernet::Net::handle);
        let _ = rtnl.with_lower(ns, link, |_, lower_ns, lower| {
            let net = if lower_ns.is(ns) { None } else { own };
            lower_ns.links.unstack(lower.index(), net.as_ref(), link.index());
        });
    }
}

/// A device that was `old` in `from` is `new` in `to`: whom it sits on and who sits on it are told where.
pub(super) fn restack(rtnl: &mut Rtnl<'_>, from: Ns<'_>, to: Ns<'_>, link: &Link, old: u32) {
    let new = link.index;
    if let (Some((vni, flavour)), None) = (vni(link), &link.lower_net) {
        from.links.del_vni(vni, flavour);
    }
    if let Some(KindData::Tun(tun)) = link.data() {
        tun::settled(to, link, tun);
    }
    if let Some(KindData::Vxlan(vxlan)) = link.data() {
        to.links.adopt_fdb(new, from.links.take_fdb(old));
        if vxlan.filters() {
            to.links.add_filter(vxlan.flavour(), new);
        }
    }
    if sits(link) {
        let below = link.below().unwrap_or(0);
        let net = link.lower_net().and_then(pernet::NetHandle::upgrade);
        let lower_ns = match &net {
            Some(net) => rtnl.ns(net),
            None => Some(to),
        };
        if let Some(lower_ns) = lower_ns {
            let seen = |ns: Ns<'_>| if ns.is(lower_ns) { None } else { ns.net().map(pernet::Net::handle) };
            lower_ns.links.unstack(below, seen(from).as_ref(), old);
            lower_ns.links.stack(below, seen(to).as_ref(), new);
        }
    }
    let Some(there) = to.net().map(pernet::Net::handle) else { return };
    for (net, upper) in from.links.uppers_of(old) {
        from.links.unstack(old, net.as_ref(), upper);
        let upper_net = net.as_ref().and_then(pernet::NetHandle::upgrade);
        let upper_ns = match &upper_net {
            Some(net) => rtnl.ns(net),
            None if net.is_none() => Some(from),
            None => None,
        };
        let Some(upper_ns) = upper_ns else { continue };
        let together = upper_ns.is(to);
        let _ = upper_ns.links.update(upper, |upper| {
            upper.sit_on(new);
            upper.lower_net = if together { None } else { Some(Box::new(there.clone())) };
        });
        let seen = if together { None } else { upper_ns.net().map(pernet::Net::handle) };
        to.links.stack(new, seen.as_ref(), upper);
    }
}

/// What the devices on `link`, and its master, do about an event.
pub(super) fn event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    if link.master.is_some() {
        bridge::port_event(rtnl, ns, link, event);
    }
    if !ns.links.has_uppers(link.index()) {
        return;
    }
    for (net, upper) in ns.links.uppers_of(link.index()) {
        let held = net.as_ref().and_then(pernet::NetHandle::upgrade);
        let upper_ns = match &held {
            Some(net) => rtnl.ns(net),
            None if net.is_none() => Some(ns),
            None => None,
        };
        if let Some(upper_ns) = upper_ns {
            below(rtnl, upper_ns, upper, link, event);
        }
    }
}

/// The device below `upper` goes through something.
fn below(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, upper: u32, lower: &Arc<Link>, event: NetdevEvent) {
    let Some(link) = ns.links.by_index(upper) else { return };
    let tagged = matches!(link.data(), Some(KindData::Vlan(_)));
    // A tunnel uses the device, and is no part of it.
    let tunnel = matches!(link.data(), Some(KindData::Vxlan(_)));
    match event {
        _ if tunnel && event != NetdevEvent::Unregister => {}
        NetdevEvent::Up | NetdevEvent::Down | NetdevEvent::Change => {
            if tagged && event == NetdevEvent::Down && link.is_up() {
                updown::close_many(rtnl, &[(ns, upper)]);
            }
            watch::transfer(rtnl, ns, upper, lower);
        }
        NetdevEvent::ChangeMtu(_) if link.mtu > lower.mtu => {
            let mtu = lower.mtu;
            rtnl.edit(ns, upper, Some(NetdevEvent::ChangeMtu(link.mtu)), |link| link.mtu = mtu);
        }
        NetdevEvent::Unregister => rtnl.unregister(ns, &[upper]),
        _ => {}
    }
}

/// Somebody chose another address for the device.
pub(super) fn readdressed(ns: Ns<'_>, index: u32, address: super::HwAddr) {
    if ns.links.by_index(index).is_some_and(|link| matches!(link.data(), Some(KindData::Bridge(_)))) {
        bridge::readdressed(ns, index, address);
    }
}

/// Somebody is choosing another MTU for the device.
pub(super) fn resized(ns: Ns<'_>, index: u32) {
    if ns.links.by_index(index).is_some_and(|link| matches!(link.data(), Some(KindData::Bridge(_)))) {
        edit(ns, index, |data| {
            if let KindData::Bridge(bridge) = data {
                bridge.mtu_set = true;
            }
        });
    }
}

/// What no other tunnel may have: the number of its network, and what tells it from others with that number. A tunnel that
/// filters has none of its own.
pub(super) fn vni(link: &Link) -> Option<(u32, vxlan::Flavour)> {
    match link.data() {
        Some(KindData::Vxlan(vxlan)) if !vxlan.filters() => Some((vxlan.id, vxlan.flavour())),
        _ => None,
    }
}
