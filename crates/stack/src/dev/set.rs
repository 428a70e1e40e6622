//! Changing devices that are there (`do_setlink`).

use std::sync::Arc;

use pernet::Net;

use super::create::{ADDR_SET, check_mtu, unicast};
use super::moves::{self, Move};
use super::request::{LinkChange, address};
use super::{
    HwAddr, IfFlags, IfName, KindData, Link, LinkNotice, LinkRefused, NameAssign, OperState, kind, updown, watch,
};
use crate::l3;
use crate::notice::Notice;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::{ConfOf, Ns};
use crate::{errno, inet6};

/// Most bytes that can be assembled on receive.
const GRO_MAX_SIZE: u32 = 8 * 65_535;
/// Up to this, what is said of all packets is said of IPv4's too.
const LEGACY_MAX_SIZE: u32 = 65_536;

/// What a request asks for, read by the device's rules.
struct Sound {
    address: Option<HwAddr>,
    broadcast: Option<HwAddr>,
    name: Option<IfName>,
    moves: Option<Move>,
}

impl Rtnl<'_> {
    /// Changes a device: all that is asked for, or nothing.
    ///
    /// # Errors
    /// [`LinkRefused`].
    pub fn set_link(&mut self, net: &Net, index: u32, change: &LinkChange) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let link = ns.links.by_index(index).ok_or(LinkRefused::plain(errno::ENODEV))?;
        let sound = self.check(ns, &link, change)?;
        self.commit(ns, index, change, &sound);
        self.run_linkwatch();
        Ok(())
    }

    /// Changes all devices of a group (`rtnl_group_changelink`): each of them, or none.
    ///
    /// # Errors
    /// [`LinkRefused`].
    pub fn set_group(&mut self, net: &Net, group: u32, change: &LinkChange) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let members = ns.links.of_group(group);
        let mut sounds = Vec::with_capacity(members.len());
        for &index in &members {
            let link = ns.links.by_index(index).ok_or(LinkRefused::plain(errno::ENODEV))?;
            sounds.push(self.check(ns, &link, change)?);
        }
        for (&index, sound) in members.iter().zip(&sounds) {
            self.commit(ns, index, change, sound);
        }
        self.run_linkwatch();
        Ok(())
    }

    /// Everything that can be wrong, in the order in which Linux finds it.
    fn check(&mut self, ns: Ns<'_>, link: &Arc<Link>, change: &LinkChange) -> Result<Sound, LinkRefused> {
        if let Some(data) = &change.data {
            kind::check(link, data)?;
            self.check_new_lower(ns, link, change)?;
        }
        if let Some(port) = &change.port {
            kind::check_port(ns, link, port)?;
        }
        let len = link.address.as_bytes().len();
        let read = |bytes: &[u8]| address(bytes, len).ok_or(LinkRefused::AddressTooShort);
        let address = change.address.as_deref().map(read).transpose()?;
        let broadcast = change.broadcast.as_deref().map(read).transpose()?;
        check_offload(link, change)?;
        let checked = inet6::check_link_change(ns, link, change.token, change.addr_gen_mode);
        checked.map_err(|why| LinkRefused::Says(why.errno(), why.text().map(Into::into), None))?;
        let target = change.net.as_deref();
        let target_ns = target.map(|net| self.ns(net).ok_or(LinkRefused::NoStack)).transpose()?;
        let moves = match target_ns {
            Some(to) => moves::check(ns, to, link, change.name.as_deref(), change.new_index)?,
            None => None,
        };
        if address.is_some() && link.class().kind.is_some() && len == 6 {
            address.as_ref().map_or(Ok(()), unicast)?;
        }
        if let Some(mtu) = change.mtu.filter(|&mtu| mtu != link.mtu) {
            check_mtu(link, mtu)?;
            self.check_lower_mtu(ns, link, mtu)?;
        }
        let name = match change.name.as_deref() {
            Some(name) if name == link.name().as_str() => None,
            // The name that it goes by in the new place, or has got there already.
            Some(name) => {
                let to = if moves.is_some() { target_ns.unwrap_or(ns) } else { ns };
                Some(to.links.name_for(name)?)
            }
            None => None,
        };
        if let Some(master) = change.master.filter(|&master| master > 0 && link.master != Some(master)) {
            let master = ns.links.by_index(master).ok_or(LinkRefused::plain(errno::EINVAL))?;
            kind::may_join(self, ns, &master, link)?;
        }
        if change.flags.is_some_and(|f| f.apply(link.stored_flags).contains(IfFlags::UP)) && !link.is_up() {
            updown::may_open(link)?;
            kind::may_open(self, ns, link)?;
        }
        if change.carrier.is_some() && !link.class().sets_carrier {
            return Err(LinkRefused::plain(errno::EOPNOTSUPP));
        }
        if change.carrier == Some(true) && !kind::may_carry(link) {
            return Err(LinkRefused::plain(errno::EPERM));
        }
        let reason = change.proto_down_reason;
        if (change.proto_down.is_some() || reason.is_some()) && !link.class().sets_proto_down {
            return Err(LinkRefused::says(errno::EOPNOTSUPP, "Protodown not supported by device"));
        }
        if reason.is_some_and(|(_, value)| value.is_none()) {
            return Err(LinkRefused::says(errno::EINVAL, "Invalid protodown reason value"));
        }
        let reasons = reason.map_or_else(|| link.proto_down_reason(), |reason| new_reason(link, reason));
        if change.proto_down == Some(false) && reasons != 0 {
            return Err(LinkRefused::says(errno::EBUSY, "Cannot clear protodown, active reasons"));
        }
        Ok(Sound { address, broadcast, name, moves })
    }

    /// A further address of a device takes no more than the device.
    fn check_lower_mtu(&mut self, ns: Ns<'_>, link: &Arc<Link>, mtu: u32) -> Result<(), LinkRefused> {
        let errno = match link.data() {
            Some(KindData::Macvlan(_)) => errno::EINVAL,
            Some(KindData::Vlan(_)) => errno::ERANGE,
            _ => return Ok(()),
        };
        let most = self.with_lower(ns, link, |_, _, lower| lower.mtu);
        if most.is_some_and(|most| mtu > most) { Err(LinkRefused::plain(errno)) } else { Ok(()) }
    }

    /// Does what was checked.
    fn commit(&mut self, ns: Ns<'_>, index: u32, change: &LinkChange, sound: &Sound) {
        // What is told to be another than before at the end, if the device is up.
        let mut touched = false;
        if let Some(data) = &change.data {
            let before = ns.links.by_index(index).and_then(|link| link.below());
            kind::change(self, ns, index, data);
            self.sit_elsewhere(ns, index, before);
            touched = true;
        }
        if let Some(port) = &change.port {
            kind::change_port(self, ns, index, port);
            touched = true;
        }
        let net = change.net.clone();
        let target = net.as_deref().and_then(|net| self.ns(net));
        let (ns, index) = match (target, sound.moves) {
            (Some(to), Some(how)) => (to, self.move_link(ns, to, index, how)),
            _ => (ns, index),
        };
        self.commit_there(ns, index, change, sound, touched);
    }

    fn commit_there(&mut self, ns: Ns<'_>, index: u32, change: &LinkChange, sound: &Sound, mut touched: bool) {
        if let Some(address) = sound.address {
            self.edit(ns, index, Some(NetdevEvent::ChangeAddr), |link| {
                (link.address, link.addr_assign) = (address, ADDR_SET);
            });
            kind::readdressed(ns, index, address);
        }
        let Some(link) = ns.links.by_index(index) else { return };
        if let Some(mtu) = change.mtu.filter(|&mtu| mtu != link.mtu) {
            kind::resized(ns, index);
            self.edit(ns, index, Some(NetdevEvent::ChangeMtu(link.mtu)), |link| link.mtu = mtu);
        }
        if let Some(group) = change.group {
            let _ = ns.links.update(index, |link| link.group = group);
            touched = true;
        }
        if let Some(name) = sound.name.filter(|name| name != link.name())
            && ns.links.rename(index, name).is_ok()
        {
            self.edit(ns, index, Some(NetdevEvent::ChangeName), |link| link.name_assign = NameAssign::Renamed);
        }
        if let Some(alias) = &change.alias {
            let alias = if alias.is_empty() { None } else { Some(alias.clone()) };
            let _ = ns.links.update(index, |link| link.alias = alias);
            touched = true;
        }
        if let Some(broadcast) = sound.broadcast {
            self.edit(ns, index, Some(NetdevEvent::ChangeAddr), |link| link.broadcast = broadcast);
        }
        if let Some(master) = change.master {
            self.set_master(ns, index, master);
        }
        if let Some(flags) = change.flags {
            let stored = ns.links.by_index(index).map_or(link.stored_flags, |link| link.stored_flags);
            updown::change_flags(self, ns, index, flags.apply(stored));
        }
        if let Some(carrier) = change.carrier {
            watch::set_carrier(self, ns, index, carrier);
        }
        if let Some(len) = change.tx_queue_len.filter(|&len| len != link.tx_queue_len) {
            self.edit(ns, index, None, |link| link.tx_queue_len = len);
            touched = true;
        }
        apply_offload(ns, index, change);
        if let Some(state) = change.operstate {
            touched = true;
            let before = ns.links.by_index(index).map(|link| link.stored_operstate);
            let after = ns.links.update(index, |link| enter_operstate(link, state)).map(|link| link.stored_operstate);
            if before != after.ok() {
                watch::state_change(self, ns, index);
                touched = false;
            }
        }
        if let Some(mode) = change.link_mode {
            let _ = ns.links.update(index, |link| link.link_mode = mode);
            touched = true;
        }
        touched |= inet6::change_link(self, ns, index, change.token, change.addr_gen_mode);
        for &(number, value) in &change.inet_conf {
            crate::inet::set_conf(self, ns, ConfOf::Dev(index), number.into(), value);
            touched = true;
        }
        if let Some(reason) = change.proto_down_reason {
            let _ = ns.links.update(index, |link| link.tweak().proto_down_reason = new_reason(link, reason));
            touched = true;
        }
        if let Some(down) = change.proto_down {
            let _ = ns.links.update(index, |link| link.proto_down = down);
            watch::set_carrier(self, ns, index, !down);
            touched = true;
        }
        if touched {
            watch::state_change(self, ns, index);
        }
    }

    fn set_master(&mut self, ns: Ns<'_>, index: u32, master: u32) {
        let before = ns.links.by_index(index).and_then(|link| link.master).unwrap_or(0);
        if before == master {
            return;
        }
        kind::part(self, ns, index);
        if master > 0 {
            kind::join(self, ns, master, index);
        }
    }

    /// Asks hardware to count what it routes of a device's packets, or no more (`rtnl_offload_xstats_set`).
    ///
    /// # Errors
    /// [`LinkRefused`]: there is no such device.
    pub fn want_l3_stats(&mut self, net: &Net, index: u32, wanted: bool) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let link = ns.links.by_index(index).ok_or(LinkRefused::plain(errno::ENODEV))?;
        if link.wants_l3_stats() != wanted {
            let _ = ns.links.update(index, |link| link.tweak().l3_stats = wanted);
            self.notify_caused(ns, Notice::Link(LinkNotice::L3Stats { index, wanted }));
        }
        Ok(())
    }

    /// Changes a device, tells and raises an event: who listens hears of it before the parts react (`rtnetlink_event`).
    pub(super) fn edit(&mut self, ns: Ns<'_>, index: u32, event: Option<NetdevEvent>, edit: impl FnOnce(&mut Link)) {
        let mut before = 0;
        let edited = ns.links.update(index, |link| {
            before = link.mtu;
            edit(link);
        });
        let Ok(link) = edited else { return };
        if link.mtu != before {
            l3::device_mtu(ns.state(), index, before, link.mtu);
        }
        self.notify_caused(ns, Notice::Link(LinkNotice::changed(&link)));
        if let Some(event) = event {
            self.call_netdevice_notifiers(ns, &link, event);
        }
    }
}

fn check_offload(link: &Link, change: &LinkChange) -> Result<(), LinkRefused> {
    let limits = link.offload();
    let wanted = change.offload;
    let rules = [
        (wanted.gso_max_size, limits.tso_max_size, "too big gso_max_size"),
        (wanted.gso_max_segs, limits.tso_max_segs.min(65_535), "too big gso_max_segs"),
        (wanted.gro_max_size, GRO_MAX_SIZE, "too big gro_max_size"),
        (wanted.gso_ipv4_max_size, limits.tso_max_size, "too big gso_ipv4_max_size"),
        (wanted.gro_ipv4_max_size, GRO_MAX_SIZE, "too big gro_ipv4_max_size"),
    ];
    match rules.into_iter().find(|(value, most, _)| value.is_some_and(|value| value > *most)) {
        Some((.., text)) => Err(LinkRefused::says(errno::EINVAL, text)),
        None => Ok(()),
    }
}

fn apply_offload(ns: Ns<'_>, index: u32, change: &LinkChange) {
    let wanted = change.offload;
    if wanted == super::OffloadChange::default() {
        return;
    }
    let _ = ns.links.update(index, |link| {
        let limits = &mut link.tweak().offload;
        limits.gso_max_segs = wanted.gso_max_segs.unwrap_or(limits.gso_max_segs);
        if let Some(size) = wanted.gso_max_size {
            limits.gso_max_size = size;
            if size <= LEGACY_MAX_SIZE {
                limits.gso_ipv4_max_size = size;
            }
        }
        if let Some(size) = wanted.gro_max_size {
            limits.gro_max_size = size;
            if size <= LEGACY_MAX_SIZE {
                limits.gro_ipv4_max_size = size;
            }
        }
        limits.gso_ipv4_max_size = wanted.gso_ipv4_max_size.unwrap_or(limits.gso_ipv4_max_size);
        limits.gro_ipv4_max_size = wanted.gro_ipv4_max_size.unwrap_or(limits.gro_ipv4_max_size);
    });
}

fn new_reason(link: &Link, (mask, value): (Option<u32>, Option<u32>)) -> u32 {
    let old = link.proto_down_reason();
    let value = value.unwrap_or(old);
    mask.map_or(value, |mask| (old & !mask) | (value & mask))
}

/// Goes to an operational state, if it can be gone to from the one there is (`set_operstate`).
pub(super) fn enter_operstate(link: &mut Link, wanted: u8) {
    use OperState::{Dormant, Testing, Unknown, Up};
    let from = link.stored_operstate;
    link.stored_operstate = match wanted {
        6 if matches!(from, Dormant | Testing | Unknown) => Up,
        4 if matches!(from, Up | Unknown) => Testing,
        5 if matches!(from, Up | Unknown) => Dormant,
        _ => from,
    };
}
