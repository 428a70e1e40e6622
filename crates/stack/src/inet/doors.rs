//! Addresses through the older door: one at a time, by the label of the first that has it (`devinet_ioctl`).

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::addr::{Ifa4, Label, Lifetime4};
use super::change::{self, Cause};
use super::device::{Clash, InDevice};
use super::refused::Addr4Error;
use super::{conf, has_inet};
use crate::clock;
use crate::dev::{IfFlags, Link};
use crate::fib::prefix_mask;
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// What is asked of an address, or set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// The address itself.
    Addr,
    /// The other end.
    DstAddr,
    /// The broadcast address.
    Broadcast,
    /// The mask.
    NetMask,
}

/// Asks the address with `label`; of several the one that is `sought`, else the first.
pub(crate) fn get(ns: Ns<'_>, link: &Link, label: Label, sought: Option<Ipv4Addr>, field: Field) -> Option<Ipv4Addr> {
    let inet = ns.inet.peek()?;
    let mut labelled = inet.addrs(link.index()).iter().filter(|ifa| ifa.label == label);
    let found = labelled.clone().find(|ifa| Some(ifa.local) == sought).or_else(|| labelled.next())?;
    Some(match field {
        Field::Addr => found.local,
        Field::DstAddr => found.address,
        Field::Broadcast => found.broadcast.unwrap_or(Ipv4Addr::UNSPECIFIED),
        Field::NetMask => found.mask(),
    })
}

/// Every address with its label, by device.
pub(crate) fn all(ns: Ns<'_>) -> Vec<(Label, Ipv4Addr)> {
    ns.inet.peek().map(|inet| inet.all_addrs().map(|(_, ifa)| (ifa.label, ifa.local)).collect()).unwrap_or_default()
}

/// Removes the address with `label` (`SIOCSIFFLAGS` of an alias without `IFF_UP`).
///
/// # Errors
/// [`Addr4Error::NotFound`].
pub(crate) fn delete(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, label: Label) -> Result<(), Addr4Error> {
    let (at, _) = find(ns, link, label).ok_or(Addr4Error::NotFound)?;
    change::remove(rtnl, ns, link, at, Cause::Followed);
    Ok(())
}

/// Whether there is an address with `label`.
pub(crate) fn exists(ns: Ns<'_>, link: &Link, label: Label) -> bool {
    find(ns, link, label).is_some()
}

/// Sets `field` of the address with `label`, which is removed and comes back changed. An address that is set anew has
/// the mask of its class, as in the days of this door.
///
/// # Errors
/// [`Addr4Error`].
pub(crate) fn set(
    rtnl: &mut Rtnl<'_>,
    ns: Ns<'_>,
    link: &Arc<Link>,
    label: Label,
    field: Field,
    value: Ipv4Addr,
) -> Result<(), Addr4Error> {
    if !has_inet(link) {
        return Err(if field == Field::Addr { Addr4Error::NoInet } else { Addr4Error::NotFound });
    }
    let now = clock::stamp(rtnl.now());
    let old = find(ns, link, label);
    let broadcasts = link.stored_flags.contains(IfFlags::BROADCAST);
    let mut new = match (&old, field) {
        (Some((_, ifa)), _) => ifa.clone(),
        (None, Field::Addr) => fresh(label, now),
        (None, _) => return Err(Addr4Error::NotFound),
    };
    match field {
        Field::Addr => {
            let class_len = class_prefix_len(value).ok_or(Addr4Error::BadAddress)?;
            if old.is_some() && new.local == value {
                return Ok(());
            }
            (new.local, new.address, new.broadcast) = (value, value, None);
            new.prefix_len = if link.stored_flags.contains(IfFlags::POINTOPOINT) { 32 } else { class_len };
            new.scope = 0;
            if broadcasts && new.prefix_len < 31 && !link.stored_flags.contains(IfFlags::POINTOPOINT) {
                new.broadcast = Some(Ipv4Addr::from_bits(value.to_bits() | !prefix_mask(new.prefix_len)));
            }
            new.set_lifetime(Lifetime4::FOREVER, now);
        }
        Field::Broadcast => {
            if new.broadcast.unwrap_or(Ipv4Addr::UNSPECIFIED) == value {
                return Ok(());
            }
            new.broadcast = Some(value).filter(|v| !v.is_unspecified());
        }
        Field::DstAddr => {
            if new.address == value {
                return Ok(());
            }
            class_prefix_len(value).ok_or(Addr4Error::BadAddress)?;
            new.address = value;
        }
        Field::NetMask => {
            let bits = value.to_bits();
            if bits.leading_ones() != bits.count_ones() {
                return Err(Addr4Error::BadMask);
            }
            if new.mask() == value {
                return Ok(());
            }
            let whole = |len: u8| Some(Ipv4Addr::from_bits(new.local.to_bits() | !prefix_mask(len)));
            let was_whole = new.broadcast == whole(new.prefix_len);
            // At most 32.
            let len = bits.count_ones() as u8;
            if broadcasts && len < 31 && was_whole {
                new.broadcast = whole(len);
            }
            new.prefix_len = len;
        }
    }
    if new.local.is_loopback() {
        const HOST: u8 = 254;
        new.scope = HOST;
    }
    let gone = new.local.is_unspecified();
    if !gone {
        can_replace(ns, link, old.as_ref().map(|(at, _)| *at), &new)?;
    }
    if let Some((at, _)) = old {
        change::remove(rtnl, ns, link, at, Cause::Followed);
    }
    if gone { Ok(()) } else { change::insert(rtnl, ns, link, new, Cause::Followed) }
}

fn find(ns: Ns<'_>, link: &Link, label: Label) -> Option<(usize, Ifa4)> {
    let inet = ns.inet.peek()?;
    let addrs = inet.addrs(link.index());
    let at = addrs.iter().position(|ifa| ifa.label == label)?;
    Some((at, addrs[at].clone()))
}

/// Whether `new` may stand in the list once the address at `old` is gone, with those that go with it.
fn can_replace(ns: Ns<'_>, link: &Link, old: Option<usize>, new: &Ifa4) -> Result<(), Addr4Error> {
    let promotes = conf::promotes(ns, link);
    let mut list = InDevice::default();
    if let Some(inet) = ns.inet.peek() {
        let addrs = inet.addrs(link.index());
        let primary = old.and_then(|at| addrs.get(at)).filter(|ifa| !ifa.is_secondary() && !promotes);
        let goes = |at: usize, ifa: &Ifa4| {
            old == Some(at) || primary.is_some_and(|primary| ifa.is_secondary() && ifa.shares_prefix(primary))
        };
        list.addrs = addrs.iter().enumerate().filter(|(at, ifa)| !goes(*at, ifa)).map(|(_, ifa)| ifa.clone()).collect();
    }
    list.place(new).map(|_| ()).map_err(|clash| match clash {
        Clash::Exists => Addr4Error::Exists,
        Clash::Scope => Addr4Error::Scope,
    })
}

fn fresh(label: Label, now: u32) -> Ifa4 {
    Ifa4 {
        local: Ipv4Addr::UNSPECIFIED,
        address: Ipv4Addr::UNSPECIFIED,
        prefix_len: 0,
        broadcast: None,
        scope: 0,
        flags: 0,
        label,
        rt_priority: 0,
        proto: 0,
        valid_lft: 0,
        preferred_lft: 0,
        created: now,
        updated: now,
    }
}

/// Bits of the prefix by the class of the address; `None` for groups (`inet_abc_len`).
const fn class_prefix_len(addr: Ipv4Addr) -> Option<u8> {
    match addr.octets()[0] {
        0 => Some(0),
        255 if addr.is_broadcast() => Some(0),
        1..=127 => Some(8),
        128..=191 => Some(16),
        192..=223 => Some(24),
        224..=239 => None,
        240..=255 => Some(32),
    }
}
