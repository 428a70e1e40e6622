//! Addresses of devices: adding, changing, deleting, and lifetimes that run out.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use pernet::Net;

use super::conf::{devconf, has_inet6};
use super::idev::{FOREVER, Idev, Ifa6, ifa_flag};
use super::prefix::Prefix6;
use super::route::{METRIC_ADDRCONF, Route6, rtn, table};
use super::{Inet6Notice, Timer, anycast, change, config, dad, groups, temporary};
use crate::Notice;
use crate::clock;
use crate::dev::{IfFlags, Link};
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Why a change of IPv6 addresses was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddrError6 {
    /// More than 128 bits.
    #[error("ipv6: Invalid prefix length")]
    BadPrefix,
    /// Temporary addresses are made from prefixes of 64 bits only.
    #[error("ipv6: address with \"mngtmpaddr\" flag must have a prefix length of 64")]
    NotSixtyFour,
    /// Never valid, or preferred for longer than valid.
    #[error("ipv6: address lifetime invalid")]
    BadLifetime,
    /// No device has that index, or it does not do IPv6.
    #[error("ipv6: Unable to find the interface")]
    NoDevice,
    /// The device's MTU is too small for IPv6: it can have no address.
    #[error("ipv6: no IPv6 on this device")]
    NoInet6,
    /// Likewise: it has none.
    #[error("ipv6: IPv6 is disabled on this device")]
    NotRunning,
    /// The device's `disable_ipv6` is set.
    #[error("ipv6: IPv6 is disabled on this device")]
    Disabled,
    /// `::`.
    #[error("ipv6: Invalid address")]
    Unspecified,
    /// A group without the flag that says it is to be joined.
    #[error("ipv6: Cannot assign multicast address without \"IFA_F_MCAUTOJOIN\" flag")]
    Multicast,
    /// `::1` on another device than a loopback.
    #[error("ipv6: Cannot assign loopback address on this device")]
    Loopback,
    /// The device has it.
    #[error("ipv6: address already assigned")]
    Exists,
    /// The device does not have it, or with another prefix length.
    #[error("ipv6: address not found")]
    NotFound,
    /// A temporary address cannot manage others.
    #[error("ipv6: a temporary address manages no others")]
    Temporary,
}

impl AddrError6 {
    /// The errno Linux gives.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::BadPrefix | Self::NotSixtyFour | Self::BadLifetime | Self::Temporary | Self::NoInet6 => 22,
            Self::NoDevice => 19,
            Self::NotRunning => 6,
            Self::Disabled => 13,
            Self::Unspecified | Self::Multicast | Self::Loopback | Self::NotFound => 99,
            Self::Exists => 17,
        }
    }

    /// What Linux says about it in an extended acknowledgement, if anything.
    #[must_use]
    pub const fn text(self) -> Option<&'static str> {
        Some(match self {
            Self::BadPrefix => "ipv6: Invalid prefix length",
            Self::NotSixtyFour => "ipv6: address with \"mngtmpaddr\" flag must have a prefix length of 64",
            Self::BadLifetime => "ipv6: address lifetime invalid",
            Self::NoDevice => "ipv6: Unable to find the interface",
            Self::Disabled | Self::NotRunning => "ipv6: IPv6 is disabled on this device",
            Self::Unspecified => "ipv6: Invalid address",
            Self::Multicast => "ipv6: Cannot assign multicast address without \"IFA_F_MCAUTOJOIN\" flag",
            Self::Loopback => "ipv6: Cannot assign loopback address on this device",
            Self::Exists => "ipv6: address already assigned",
            Self::NotFound => "ipv6: address not found",
            Self::Temporary | Self::NoInet6 => return None,
        })
    }
}

/// Flags that a request may set.
const SETTABLE: u32 = ifa_flag::NODAD
    | ifa_flag::OPTIMISTIC
    | ifa_flag::HOMEADDRESS
    | ifa_flag::MANAGETEMPADDR
    | ifa_flag::NOPREFIXROUTE
    | ifa_flag::MCAUTOJOIN;

impl Rtnl<'_> {
    /// Gives a device an address, or with `replace` changes the one it has (`inet6_rtm_newaddr`). Of `ifa.flags` those
    /// count that a request may set; lifetimes count from now.
    ///
    /// # Errors
    /// [`AddrError6`], and nothing has changed.
    pub fn new_addr6(&mut self, net: &Net, ifindex: u32, ifa: Ifa6, replace: bool) -> Result<(), AddrError6> {
        let link = device(self, net, ifindex, AddrError6::NoInet6)?;
        let Some(ns) = self.ns(net) else { return Err(AddrError6::NoDevice) };
        let mut ifa = ifa;
        ifa.flags &= SETTABLE;
        let known = ns.inet6.read().dev(ifindex).and_then(|idev| idev.find(ifa.addr).cloned());
        // What an optimist needs is known for new ones only.
        if ifa.has(ifa_flag::NODAD) || known.is_some() || !optimistic(ns, &link) {
            ifa.flags &= !ifa_flag::OPTIMISTIC;
        }
        if ifa.prefix_len > 128 {
            return Err(AddrError6::BadPrefix);
        }
        if known.is_none() {
            check_new(ns, &link, &ifa)?;
        } else if !replace {
            return Err(AddrError6::Exists);
        }
        check_common(&ifa)?;
        let now = clock::stamp(self.now());
        set_lifetimes(&mut ifa, now);
        match known {
            Some(old) if old.has(ifa_flag::TEMPORARY) && ifa.has(ifa_flag::MANAGETEMPADDR) => {
                return Err(AddrError6::Temporary);
            }
            Some(old) => modify(self, ns, &link, &old, ifa),
            None => {
                if link.is_up() && !link.stored_flags.contains(IfFlags::LOOPBACK) {
                    config::multicast_route(self, ns, &link);
                }
                let (addr, manages) = (ifa.addr, ifa.has(ifa_flag::MANAGETEMPADDR));
                add(self, ns, &link, ifa, true);
                if manages {
                    temporary::manage(self, ns, &link, addr, true);
                }
            }
        }
        Ok(())
    }

    /// Takes an address from a device (`inet6_rtm_deladdr`).
    ///
    /// # Errors
    /// [`AddrError6`], and nothing has changed.
    pub fn del_addr6(&mut self, net: &Net, ifindex: u32, addr: Ipv6Addr, prefix_len: u8) -> Result<(), AddrError6> {
        if prefix_len > 128 {
            return Err(AddrError6::BadPrefix);
        }
        let link = device(self, net, ifindex, AddrError6::NotRunning)?;
        let Some(ns) = self.ns(net) else { return Err(AddrError6::NoDevice) };
        let known = ns.inet6.read().dev(ifindex).and_then(|idev| idev.find(addr).cloned());
        let ifa = known.filter(|ifa| ifa.prefix_len == prefix_len).ok_or(AddrError6::NotFound)?;
        if ifa.has(ifa_flag::MANAGETEMPADDR) {
            temporary::end(self, ns, &link, addr);
        }
        delete(self, ns, &link, &ifa);
        Ok(())
    }
}

/// A device that does IPv6; `without` if it does not.
fn device(rtnl: &Rtnl<'_>, net: &Net, ifindex: u32, without: AddrError6) -> Result<Arc<Link>, AddrError6> {
    let ns = rtnl.ns(net).ok_or(AddrError6::NoDevice)?;
    let link = ns.state().links.by_index(ifindex).ok_or(AddrError6::NoDevice)?;
    if has_inet6(&link) { Ok(link) } else { Err(without) }
}

fn check_common(ifa: &Ifa6) -> Result<(), AddrError6> {
    if ifa.has(ifa_flag::MANAGETEMPADDR) && ifa.prefix_len != 64 {
        return Err(AddrError6::NotSixtyFour);
    }
    if ifa.valid_lft == 0 || ifa.preferred_lft > ifa.valid_lft {
        return Err(AddrError6::BadLifetime);
    }
    Ok(())
}

fn check_new(ns: Ns<'_>, link: &Link, ifa: &Ifa6) -> Result<(), AddrError6> {
    check_common(ifa)?;
    if ns.inet6.read().dev_conf(link, devconf::DISABLE_IPV6) != 0 {
        return Err(AddrError6::Disabled);
    }
    if ifa.addr.is_unspecified() {
        Err(AddrError6::Unspecified)
    } else if ifa.addr.is_multicast() && !ifa.has(ifa_flag::MCAUTOJOIN) {
        Err(AddrError6::Multicast)
    } else if ifa.addr.is_loopback() && !link.stored_flags.contains(IfFlags::LOOPBACK) {
        Err(AddrError6::Loopback)
    } else {
        Ok(())
    }
}

/// Whether addresses may be used while they are checked.
pub(crate) fn optimistic(ns: Ns<'_>, link: &Link) -> bool {
    let inet6 = ns.state().inet6.read();
    let set = inet6.all_conf(devconf::OPTIMISTIC_DAD) != 0 || inet6.dev_conf(link, devconf::OPTIMISTIC_DAD) != 0;
    set && inet6.dev_conf(link, devconf::FORWARDING) == 0
}

fn set_lifetimes(ifa: &mut Ifa6, now: u32) {
    ifa.updated = now;
    ifa.flags &= !(ifa_flag::PERMANENT | ifa_flag::DEPRECATED);
    if ifa.valid_lft == FOREVER {
        ifa.flags |= ifa_flag::PERMANENT;
    }
    if ifa.preferred_lft == 0 {
        ifa.flags |= ifa_flag::DEPRECATED;
    }
}

/// Puts an address that was found good on a device. `asked`: by a user, who hears of it before it is checked.
pub(crate) fn add(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, mut ifa: Ifa6, asked: bool) {
    if !ifa.has(ifa_flag::NODAD) {
        ifa.flags |= ifa_flag::TENTATIVE;
    }
    enter(rtnl, ns, link, &mut ifa);
    if link.is_up() {
        add_prefix_route(rtnl, ns, link, &ifa);
    }
    if asked && ifa.has(ifa_flag::TENTATIVE) && !ifa.has(ifa_flag::OPTIMISTIC) {
        tell(rtnl, ns, link.index(), &ifa, true);
    }
    if ifa.has(ifa_flag::MCAUTOJOIN) && ifa.addr.is_multicast() {
        groups::join(rtnl, ns, link, ifa.addr);
    }
    if asked {
        check(rtnl, ns, link, ifa.addr);
    }
}

/// Puts an address on a device that was made from a router's prefix. The route of the prefix is another matter, and nobody is
/// told before it is checked.
pub(crate) fn add_of_router(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, mut ifa: Ifa6) {
    ifa.flags |= ifa_flag::TENTATIVE;
    enter(rtnl, ns, link, &mut ifa);
    check(rtnl, ns, link, ifa.addr);
}

/// The address is on its device from now on.
fn enter(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: &mut Ifa6) {
    ifa.created = clock::stamp(rtnl.now());
    ifa.pending = true;
    {
        let mut inet6 = ns.state().inet6.write();
        inet6.dev_mut(link).insert(ifa.clone());
        inet6.addrs_changed += 1;
    }
    watch(rtnl, ns, link.index(), ifa);
}

/// Whether somebody else has the address is found out, in the group where its owner would hear of it.
fn check(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, addr: Ipv6Addr) {
    groups::solicited(rtnl, ns, link, addr, true);
    dad::start(rtnl, ns, link, addr);
}

/// The lifetimes of an address are those of `ifa` now.
pub(crate) fn prolong(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: Ifa6) {
    {
        let mut inet6 = ns.state().inet6.write();
        let Some(slot) = inet6.dev_mut(link).find_mut(ifa.addr) else { return };
        *slot = ifa.clone();
        inet6.addrs_changed += 1;
    }
    if !ifa.has(ifa_flag::TENTATIVE) {
        tell(rtnl, ns, link.index(), &ifa, true);
    }
    watch(rtnl, ns, link.index(), &ifa);
}

/// Announces the address with the kernel as its author, as Linux does whoever asked.
pub(crate) fn tell(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, ifindex: u32, ifa: &Ifa6, new: bool) {
    let now = clock::stamp(rtnl.now());
    rtnl.notify_caused(ns, Notice::Inet6(Inet6Notice::Addr { new, ifindex, ifa: Box::new(ifa.clone()), now }));
}

fn modify(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, old: &Ifa6, asked: Ifa6) {
    // What a change cannot touch stays as it was.
    let state = ifa_flag::TENTATIVE | ifa_flag::DADFAILED | ifa_flag::TEMPORARY | ifa_flag::STABLE_PRIVACY;
    let ifa = Ifa6 {
        flags: (asked.flags & !ifa_flag::MCAUTOJOIN) | (old.flags & (state | ifa_flag::MCAUTOJOIN)),
        prefix_len: old.prefix_len,
        created: old.created,
        dad_round: old.dad_round,
        pending: old.pending,
        successors: old.successors,
        beside: old.beside.clone(),
        peer: asked.peer.or(old.peer),
        proto: asked.proto,
        rt_priority: if asked.rt_priority == 0 { old.rt_priority } else { asked.rt_priority },
        ..asked
    };
    let metric = prefix_metric(old);
    if let Some(peer) = old.peer.filter(|_| ifa.peer != old.peer) {
        del_prefix_route(rtnl, ns, link, Prefix6::new(peer, old.prefix_len), metric);
    }
    {
        let mut inet6 = ns.state().inet6.write();
        if let Some(slot) = inet6.dev_mut(link).find_mut(ifa.addr) {
            *slot = ifa.clone();
        }
        inet6.addrs_changed += 1;
    }
    watch(rtnl, ns, link.index(), &ifa);
    if !ifa.has(ifa_flag::TENTATIVE) {
        tell(rtnl, ns, link.index(), &ifa, true);
    }
    // The routes of an address of limited life end by themselves.
    let had = old.has(ifa_flag::PERMANENT) && !old.has(ifa_flag::NOPREFIXROUTE);
    let has = !ifa.has(ifa_flag::NOPREFIXROUTE);
    let moves = had && metric != prefix_metric(&ifa);
    if moves || had && !has {
        let inet6 = ns.state().inet6.read();
        let keep = inet6.dev(link.index()).is_some_and(|idev| shares_prefix(idev, old));
        drop(inet6);
        if has || !keep {
            del_prefix_route(rtnl, ns, link, old.prefix(), metric);
        }
    }
    if has && link.is_up() {
        add_prefix_route(rtnl, ns, link, &ifa);
        if let Some(peer) = ifa.peer {
            let prefix = Prefix6::new(peer, ifa.prefix_len);
            if moves && ifa.peer == old.peer {
                del_prefix_route(rtnl, ns, link, prefix, metric);
            }
            add_route(rtnl, ns, link, prefix, &ifa);
        }
    }
    match (old.has(ifa_flag::MANAGETEMPADDR), ifa.has(ifa_flag::MANAGETEMPADDR)) {
        (true, false) => temporary::end(rtnl, ns, link, ifa.addr),
        (before, true) => temporary::manage(rtnl, ns, link, ifa.addr, !before),
        (false, false) => {}
    }
}

/// Takes an address away, with its routes (`ipv6_del_addr`).
pub(crate) fn delete(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: &Ifa6) {
    {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(link);
        idev.addrs.retain(|other| other.addr != ifa.addr);
        // What it managed it manages no more, not even if it comes again.
        for other in idev.addrs.iter_mut().filter(|other| other.is_beside(ifa.addr)) {
            other.beside = None;
        }
        inet6.addrs_changed += 1;
    }
    tell(rtnl, ns, link.index(), ifa, false);
    groups::solicited(rtnl, ns, link, ifa.addr, false);
    if ifa.has(ifa_flag::MCAUTOJOIN) && ifa.addr.is_multicast() {
        groups::leave(rtnl, ns, link, ifa.addr);
    }
    anycast::went(rtnl, ns, link, ifa);
    let is_it = |r: &Route6| r.kind == rtn::LOCAL && r.nexthop.oif == link.index();
    change::del_own(rtnl, ns, table::LOCAL, Prefix6::host(ifa.addr), is_it);
    if let Some(peer) = ifa.peer {
        let is_it = |r: &Route6| r.proto == super::route::PROTO_KERNEL && r.nexthop.oif == link.index();
        change::del_own(rtnl, ns, table::MAIN, Prefix6::host(peer), is_it);
    }
    // A prefix of limited life ends by itself.
    if ifa.has(ifa_flag::PERMANENT) && !ifa.has(ifa_flag::NOPREFIXROUTE) {
        let (keep, until) = {
            let inet6 = ns.state().inet6.read();
            let idev = inet6.dev(link.index());
            (idev.is_some_and(|idev| shares_prefix(idev, ifa)), idev.and_then(|idev| prefix_ends(idev, ifa)))
        };
        if !keep {
            match until {
                None => del_prefix_route(rtnl, ns, link, ifa.prefix(), prefix_metric(ifa)),
                Some(cs) => limit_prefix_route(rtnl, ns, link, ifa, cs),
            }
        }
    }
}

/// Whether another address keeps the route of this one's prefix for good.
fn shares_prefix(idev: &Idev, ifa: &Ifa6) -> bool {
    others(idev, ifa).any(|other| other.has(ifa_flag::PERMANENT))
}

/// When the last of the others ends, hundredths of a second.
fn prefix_ends(idev: &Idev, ifa: &Ifa6) -> Option<Duration> {
    let end = |other: &Ifa6| {
        Duration::from_millis(u64::from(other.updated) * 10).saturating_add(Duration::from_secs(other.valid_lft.into()))
    };
    others(idev, ifa).map(end).max()
}

fn others<'i>(idev: &'i Idev, ifa: &'i Ifa6) -> impl Iterator<Item = &'i Ifa6> {
    let fits = |other: &&Ifa6| other.addr != ifa.addr && other.prefix() == ifa.prefix();
    idev.addrs.iter().filter(fits).filter(|other| !other.has(ifa_flag::NOPREFIXROUTE))
}

/// The route of the address's prefix, as long as the address.
pub(crate) fn add_prefix_route(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: &Ifa6) {
    if !ifa.has(ifa_flag::NOPREFIXROUTE) {
        add_route(rtnl, ns, link, ifa.prefix(), ifa);
    }
}

fn add_route(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, dst: Prefix6, ifa: &Ifa6) {
    let mut route = Route6::of_kernel(dst, rtn::UNICAST, prefix_metric(ifa), link.index());
    // One by the loopback leads nowhere, and does not end.
    if ifa.valid_lft != FOREVER && !link.stored_flags.contains(IfFlags::LOOPBACK) {
        route.expires = Some(rtnl.now() + Duration::from_secs(ifa.valid_lft.into()));
    }
    change::add_own(rtnl, ns, table::MAIN, route);
}

const fn prefix_metric(ifa: &Ifa6) -> u32 {
    if ifa.rt_priority == 0 { METRIC_ADDRCONF } else { ifa.rt_priority }
}

fn is_prefix_route(link: &Link) -> impl Fn(&Route6) -> bool {
    let oif = link.index();
    move |r| r.proto == super::route::PROTO_KERNEL && r.nexthop.oif == oif && r.nexthop.gateway.is_none()
}

fn del_prefix_route(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, prefix: Prefix6, metric: u32) {
    let any = is_prefix_route(link);
    let found = change::has_own(ns, table::MAIN, prefix, |r| any(r) && r.metric == metric);
    change::del_own(rtnl, ns, table::MAIN, prefix, |r| any(r) && (!found || r.metric == metric));
}

fn limit_prefix_route(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, ifa: &Ifa6, until: Duration) {
    change::edit_own(rtnl, ns, table::MAIN, ifa.prefix(), is_prefix_route(link), |r| r.expires = Some(until));
}

/// The address is good: it is announced, and packets to it are ours (`ipv6_ifa_notify` of `RTM_NEWADDR`).
pub(crate) fn into_use(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: &Ifa6, announce: bool) {
    if announce {
        tell(rtnl, ns, link.index(), ifa, true);
    }
    let route = Route6::of_kernel(Prefix6::host(ifa.addr), rtn::LOCAL, 0, link.index());
    change::add_own(rtnl, ns, table::LOCAL, route);
    anycast::came(rtnl, ns, link, ifa);
    if let Some(peer) = ifa.peer.filter(|_| link.is_up()) {
        add_route(rtnl, ns, link, Prefix6::host(peer), ifa);
    }
}

/// Whether a temporary address is still to have a successor, as soon as it is good itself.
fn wants_successor(ifa: &Ifa6) -> bool {
    ifa.beside.is_some() && ifa.successors == 0 && ifa.preferred_lft != FOREVER && !ifa.has(ifa_flag::TENTATIVE)
}

/// Asks to be called when the next of its lifetimes ends, or it is to have a successor.
pub(crate) fn watch(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, ifindex: u32, ifa: &Ifa6) {
    let now = clock::stamp(rtnl.now());
    let ends = |lft: u32| (lft != FOREVER).then(|| u64::from(lft) * 100);
    let age = u64::from(now.wrapping_sub(ifa.updated));
    let successor = wants_successor(ifa).then(|| {
        let link = ns.state().links.by_index(ifindex);
        let advance = link.map_or(0, |link| temporary::advance(ns, &link));
        u64::from(ifa.preferred_lft.saturating_sub(advance)) * 100
    });
    let next = [ends(ifa.preferred_lft).filter(|_| !ifa.has(ifa_flag::DEPRECATED)), ends(ifa.valid_lft), successor];
    if let Some(next) = next.into_iter().flatten().min() {
        let left = Duration::from_millis(next.saturating_sub(age) * 10);
        let when = rtnl.now() + left;
        rtnl.set_timer(ns, when, super::timer_of(Timer::Lifetime { ifindex, addr: ifa.addr }));
    }
}

/// A lifetime may be over (`addrconf_verify`).
pub(crate) fn lifetime_over(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, ifindex: u32, addr: Ipv6Addr) {
    let Some(link) = ns.state().links.by_index(ifindex) else { return };
    let known = ns.state().inet6.read().dev(ifindex).and_then(|idev| idev.find(addr).cloned());
    let Some(mut ifa) = known else { return };
    let (preferred, valid) = ifa.lifetimes(clock::stamp(rtnl.now()));
    if valid == 0 {
        delete(rtnl, ns, &link, &ifa);
        return;
    }
    // Set anew since the timer was: another one waits.
    if preferred == 0 && !ifa.has(ifa_flag::DEPRECATED) {
        ifa.flags |= ifa_flag::DEPRECATED;
        if let Some(slot) = ns.state().inet6.write().dev_mut(&link).find_mut(addr) {
            slot.flags = ifa.flags;
        }
        tell(rtnl, ns, ifindex, &ifa, true);
        watch(rtnl, ns, ifindex, &ifa);
    } else if wants_successor(&ifa) && preferred <= temporary::advance(ns, &link) {
        temporary::renew(rtnl, ns, &link, addr);
        ifa.successors = 1;
        watch(rtnl, ns, ifindex, &ifa);
    }
}
