//! Changing devices that are there (`do_setlink`).

use std::sync::Arc;

use pernet::Net;

use super::create::check_mtu;
use super::request::{LinkChange, address};
use super::{HwAddr, Link, LinkNotice, LinkRefused, OperState, updown, watch};
use crate::errno;
use crate::notice::Notice;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

const ADDR_SET: u8 = 3;

impl Rtnl<'_> {
    /// Changes a device: all that is asked for, or nothing.
    ///
    /// # Errors
    /// [`LinkRefused`].
    pub fn set_link(&mut self, net: &Net, index: u32, change: &LinkChange) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let link = ns.links.by_index(index).ok_or(LinkRefused::plain(errno::ENODEV))?;
        let sound = check(ns, &link, change)?;
        self.commit(ns, index, change, &sound);
        self.run_linkwatch();
        Ok(())
    }

    /// Does what was checked.
    fn commit(&mut self, ns: Ns<'_>, index: u32, change: &LinkChange, sound: &Sound) {
        if let Some(address) = sound.address {
            self.edit(ns, index, Some(NetdevEvent::ChangeAddr), |link| {
                (link.address, link.addr_assign) = (address, ADDR_SET);
            });
        }
        let Some(link) = ns.links.by_index(index) else { return };
        if let Some(mtu) = change.mtu.filter(|&mtu| mtu != link.mtu) {
            self.edit(ns, index, Some(NetdevEvent::ChangeMtu), |link| link.mtu = mtu);
        }
        let mut told = true;
        if let Some(group) = change.group {
            let _ = ns.links.update(index, |link| link.group = group);
            told = false;
        }
        if let Some(name) = sound.name {
            if name != *link.name() && ns.links.rename(index, name).is_ok() {
                let _ = ns.links.update(index, |link| link.name_assign = super::NameAssign::Renamed);
                self.edit(ns, index, Some(NetdevEvent::ChangeName), |_| {});
            }
        }
        if let Some(alias) = &change.alias {
            let alias = if alias.is_empty() { None } else { Some(alias.clone()) };
            let _ = ns.links.update(index, |link| link.alias = alias);
            told = false;
        }
        if let Some(broadcast) = sound.broadcast {
            self.edit(ns, index, Some(NetdevEvent::ChangeAddr), |link| link.broadcast = broadcast);
        }
        if let Some(flags) = change.flags {
            updown::change_flags(self, ns, index, flags.apply(link.stored_flags));
        }
        if let Some(carrier) = change.carrier {
            watch::set_carrier(self, ns, index, carrier);
            told = false;
        }
        if let Some(len) = change.tx_queue_len.filter(|&len| len != link.tx_queue_len) {
            self.edit(ns, index, None, |link| link.tx_queue_len = len);
            told = false;
        }
        if let Some(state) = change.operstate {
            let mut after = link.stored_operstate;
            let _ = ns.links.update(index, |link| {
                enter_operstate(link, state);
                after = link.stored_operstate;
            });
            if after != link.stored_operstate {
                watch::state_change(self, ns, index);
            }
            told = false;
        }
        if let Some(mode) = change.link_mode {
            let _ = ns.links.update(index, |link| link.link_mode = mode);
            told = false;
        }
        if let Some(down) = change.proto_down {
            let _ = ns.links.update(index, |link| link.proto_down = down);
            told = false;
        }
        if crate::inet6::change_link(self, ns, index, change.inet6_token, change.addr_gen_mode) {
            told = false;
        }
        if !told {
            watch::state_change(self, ns, index);
        }
    }

    /// Changes a device, raises an event and tells.
    pub(super) fn edit(&mut self, ns: Ns<'_>, index: u32, event: Option<NetdevEvent>, edit: impl FnOnce(&mut Link)) {
        let Ok(link) = ns.links.update(index, edit) else { return };
        if let Some(event) = event {
            self.call_netdevice_notifiers(ns, &link, event);
        }
        self.notify_caused(ns, Notice::Link(LinkNotice::changed(&link)));
    }
}

/// What a request asks for, read by the device's rules.
struct Sound {
    address: Option<HwAddr>,
    broadcast: Option<HwAddr>,
    name: Option<super::IfName>,
}

fn check(ns: Ns<'_>, link: &Arc<Link>, change: &LinkChange) -> Result<Sound, LinkRefused> {
    let len = link.address.as_bytes().len();
    let read = |bytes: &Box<[u8]>| address(bytes, len).ok_or(LinkRefused::AddressTooShort);
    let address = change.address.as_ref().map(read).transpose()?;
    if address.is_some_and(|a| a.is_multicast() || a.is_zero()) {
        return Err(LinkRefused::BadAddress);
    }
    if let Some(mtu) = change.mtu {
        check_mtu(link, mtu)?;
    }
    let name = match change.name.as_deref() {
        Some(name) if name == link.name().as_str() => None,
        Some(name) => Some(ns.links.name_for(name)?),
        None => None,
    };
    let broadcast = change.broadcast.as_ref().map(read).transpose()?;
    crate::inet6::check_link_change(ns, link, change.inet6_token, change.addr_gen_mode)?;
    if change.flags.is_some_and(|f| f.apply(link.stored_flags).contains(super::IfFlags::UP)) && !link.is_up() {
        updown::may_open(link)?;
    }
    Ok(Sound { address, broadcast, name })
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
