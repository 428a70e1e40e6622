//! Adding, changing and removing addresses.

use std::net::Ipv4Addr;
use std::sync::Arc;

use pernet::Net;

use super::addr::{IFA_F_MCAUTOJOIN, IFA_F_NOPREFIXROUTE, Ifa4, Label, Lifetime4, SETTABLE};
use super::device::Clash;
use super::refused::Addr4Error;
use super::{Inet, InetNotice, group, has_inet, life};
use crate::clock;
use crate::dev::Link;
use crate::fib;
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// An address to be set (`RTM_NEWADDR`).
#[derive(Clone, Debug)]
pub struct NewAddr4 {
    /// The device.
    pub ifindex: u32,
    /// The address.
    pub local: Ipv4Addr,
    /// The other end; the address itself if `None`.
    pub address: Option<Ipv4Addr>,
    /// Bits of the prefix, at most 32.
    pub prefix_len: u8,
    /// The broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `IFA_F_*`; those that nobody can set are left out.
    pub flags: u32,
    /// The label; the device's name if `None`.
    pub label: Option<Label>,
    /// Metric of the prefix route.
    pub rt_priority: u32,
    /// `IFAPROT_*`.
    pub proto: u8,
    /// How long it lives.
    pub lifetime: Lifetime4,
    /// Whether an address that is there may be changed, rather than being an error.
    pub replace: bool,
}

impl NewAddr4 {
    /// An address for ever, of global scope (0); nothing else is said of it.
    #[must_use]
    pub const fn new(ifindex: u32, local: Ipv4Addr, prefix_len: u8) -> Self {
        Self {
            ifindex,
            local,
            address: None,
            prefix_len,
            broadcast: None,
            scope: 0,
            flags: 0,
            label: None,
            rt_priority: 0,
            proto: 0,
            lifetime: Lifetime4::FOREVER,
            replace: false,
        }
    }
}

/// An address to be removed (`RTM_DELADDR`): the first of the device that is all that is said.
#[derive(Clone, Debug)]
pub struct DelAddr4 {
    /// The device.
    pub ifindex: u32,
    /// The address.
    pub local: Option<Ipv4Addr>,
    /// The label.
    pub label: Option<Label>,
    /// An address of the prefix, and its bits.
    pub prefix: Option<(Ipv4Addr, u8)>,
}

/// Who is told of a change: whether the message says who asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It was asked for.
    Asked,
    /// It followed from something else.
    Followed,
}

impl Rtnl<'_> {
    /// Sets an address, or changes the lifetime, metric and protocol of one that is there (`inet_rtm_newaddr`).
    ///
    /// # Errors
    /// [`Addr4Error`]; nothing happened then. To set 0.0.0.0 does nothing and is no error.
    pub fn new_addr4(&mut self, net: &Net, request: &NewAddr4) -> Result<(), Addr4Error> {
        if request.local.is_unspecified() {
            return Ok(());
        }
        let ns = self.ns(net).ok_or(Addr4Error::NoDevice)?;
        let link = ns.links.by_index(request.ifindex).ok_or(Addr4Error::NoDevice)?;
        if !has_inet(&link) {
            return Err(Addr4Error::NoInet);
        }
        let now = clock::stamp(self.now());
        let mut ifa = Ifa4 {
            local: request.local,
            address: request.address.unwrap_or(request.local),
            prefix_len: request.prefix_len.min(32),
            broadcast: request.broadcast.filter(|b| !b.is_unspecified()),
            scope: request.scope,
            flags: request.flags & SETTABLE,
            label: request.label.unwrap_or_else(|| link.name().into()),
            rt_priority: request.rt_priority,
            proto: request.proto,
            valid_lft: 0,
            preferred_lft: 0,
            created: now,
            updated: now,
        };
        ifa.set_lifetime(request.lifetime, now);
        let existing = ns.peek_inet().and_then(|inet| inet.device(request.ifindex)?.matching(&ifa));
        match existing {
            Some(_) if !request.replace => Err(Addr4Error::Exists),
            Some(at) => {
                change(self, ns, &link, at, request, now);
                Ok(())
            }
            None => {
                can_stand(ns, &link, &ifa)?;
                if ifa.flags & IFA_F_MCAUTOJOIN != 0 {
                    group::auto_join(self, ns, &link, ifa.local).map_err(Addr4Error::AutoJoin)?;
                }
                insert(self, ns, &link, ifa, Cause::Asked)
            }
        }
    }

    /// Removes an address (`inet_rtm_deladdr`), with its secondaries or promoting one of them.
    ///
    /// # Errors
    /// [`Addr4Error::NoDevice`], [`Addr4Error::NotFound`].
    pub fn del_addr4(&mut self, net: &Net, request: &DelAddr4) -> Result<(), Addr4Error> {
        let ns = self.ns(net).ok_or(Addr4Error::NoDevice)?;
        let link = ns.links.by_index(request.ifindex).ok_or(Addr4Error::NoDevice)?;
        let wanted = |ifa: &Ifa4| {
            request.local.is_none_or(|local| local == ifa.local)
                && request.label.is_none_or(|label| label == ifa.label)
                && request.prefix.is_none_or(|(addr, len)| len == ifa.prefix_len && ifa.contains(addr))
        };
        let found = ns.peek_inet().and_then(|inet| {
            let addrs = &inet.device(request.ifindex)?.addrs;
            let at = addrs.iter().position(wanted)?;
            Some((at, addrs[at].local, addrs[at].address))
        });
        let (at, local, address) = found.ok_or(Addr4Error::NotFound)?;
        if address.is_multicast() {
            group::auto_leave(self, ns, &link, local);
        }
        remove(self, ns, &link, at, Cause::Asked);
        Ok(())
    }
}

/// Whether `ifa` may stand beside the addresses of the device.
pub(super) fn can_stand(ns: Ns<'_>, link: &Link, ifa: &Ifa4) -> Result<(), Addr4Error> {
    let inet = ns.peek_inet();
    let Some(device) = inet.as_ref().and_then(|inet| inet.device(link.index())) else {
        return Ok(());
    };
    device.place(ifa).map(|_| ()).map_err(|clash| match clash {
        Clash::Exists => Addr4Error::Exists,
        Clash::Scope => Addr4Error::Scope,
    })
}

/// Puts `ifa` into the list of the device (`__inet_insert_ifa`).
pub(super) fn insert(
    rtnl: &mut Rtnl<'_>,
    ns: Ns<'_>,
    link: &Arc<Link>,
    mut ifa: Ifa4,
    cause: Cause,
) -> Result<(), Addr4Error> {
    can_stand(ns, link, &ifa)?;
    {
        let mut inet = ns.inet.write();
        inet.generation = inet.generation.wrapping_add(1);
        let device = inet.device_mut(link.index());
        let (at, secondary) = device.place(&ifa).map_err(|_| Addr4Error::Exists)?;
        ifa.flags = ifa.flags & !super::addr::IFA_F_SECONDARY | u32::from(secondary);
        device.addrs.insert(at, ifa.clone());
        device.settled = true;
    }
    life::watch(rtnl, ns, link.index(), &ifa);
    announce(rtnl, ns, link, &ifa, true, cause);
    fib::inetaddr_event(rtnl, ns, link, &ifa, true);
    Ok(())
}

/// `ip addr change`: lifetime, metric and protocol of the address at `at` are those of the request now.
fn change(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, at: usize, request: &NewAddr4, now: u32) {
    let (old, new) = {
        let mut inet = ns.inet.write();
        inet.generation = inet.generation.wrapping_add(1);
        let ifa = &mut inet.device_mut(link.index()).addrs[at];
        let old = ifa.clone();
        ifa.rt_priority = request.rt_priority;
        ifa.proto = request.proto;
        ifa.set_lifetime(request.lifetime, now);
        (old, ifa.clone())
    };
    // The prefix route of the new metric comes before that of the old one goes.
    let routed = !old.is_secondary() && old.flags & IFA_F_NOPREFIXROUTE == 0 && link.is_up();
    if old.rt_priority != new.rt_priority && routed {
        fib::inetaddr_event(rtnl, ns, link, &new, true);
        fib::inetaddr_event(rtnl, ns, link, &old, false);
    }
    life::watch(rtnl, ns, link.index(), &new);
    announce(rtnl, ns, link, &new, true, Cause::Asked);
}

/// Removes the address at `at` (`__inet_del_ifa`). With a primary go its secondaries, unless one of them is to take its
/// place (`promote_secondaries`): then the routes of all of them are made anew, since their source address was its.
pub(super) fn remove(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, at: usize, cause: Cause) {
    let index = link.index();
    let secondary = |inet: &Inet| inet.device(index).and_then(|d| d.addrs.get(at)).is_none_or(Ifa4::is_secondary);
    let is_secondary = ns.peek_inet().is_none_or(|inet| secondary(&inet));
    if !is_secondary && super::conf::promotes(ns, link) {
        let heir = ns.peek_inet().and_then(|inet| inet.device(index)?.next_secondary(at));
        if let Some(heir) = heir {
            return promote(rtnl, ns, link, at, heir, cause);
        }
    }
    if !is_secondary {
        while let Some(next) = ns.peek_inet().and_then(|inet| inet.device(index)?.next_secondary(at)) {
            take_out(rtnl, ns, link, next, cause);
        }
    }
    take_out(rtnl, ns, link, at, cause);
}

fn promote(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, at: usize, heir: usize, cause: Cause) {
    let heirs: Vec<Ifa4> = {
        let inet = ns.inet.read();
        let Some(device) = inet.device(link.index()) else { return };
        let primary = &device.addrs[at];
        device.addrs[heir..].iter().filter(|a| a.shares_prefix(primary)).cloned().collect()
    };
    for ifa in &heirs {
        fib::inetaddr_event(rtnl, ns, link, ifa, false);
    }
    let Some(rank) = ns.peek_inet().and_then(|inet| Some(inet.device(link.index())?.rank_of_heir(at, heir))) else {
        return;
    };
    // The heir is still a secondary while the routes of the primary go: else they would be thought to be its own.
    take_out(rtnl, ns, link, at, cause);
    let promoted = ns.inet.write().device_mut(link.index()).promote(heir - 1, rank);
    announce(rtnl, ns, link, &promoted, true, cause);
    fib::inetaddr_event(rtnl, ns, link, &promoted, true);
    for ifa in &heirs[1..] {
        fib::inetaddr_event(rtnl, ns, link, ifa, true);
    }
}

/// Takes one address out of the list, with nothing that hangs on it.
pub(super) fn take_out(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, at: usize, cause: Cause) {
    let gone = {
        let mut inet = ns.inet.write();
        inet.generation = inet.generation.wrapping_add(1);
        let addrs = &mut inet.device_mut(link.index()).addrs;
        if at >= addrs.len() {
            return;
        }
        addrs.remove(at)
    };
    announce(rtnl, ns, link, &gone, false, cause);
    fib::inetaddr_event(rtnl, ns, link, &gone, false);
}

/// Tells of an address (`rtmsg_ifa`).
pub(super) fn announce(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, ifa: &Ifa4, present: bool, cause: Cause) {
    let now = clock::stamp(rtnl.now());
    let notice = InetNotice::Addr { ifindex: link.index(), ifa: Box::new(ifa.clone()), now, present };
    match cause {
        Cause::Asked => rtnl.notify(ns, notice.into()),
        Cause::Followed => rtnl.notify_caused(ns, notice.into()),
    }
}
