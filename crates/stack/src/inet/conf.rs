//! Settings of devices: `net.ipv4.conf.{all,default,DEV}` (`struct ipv4_devconf`).
//!
//! A device is born with a copy of `default` and follows it, key by key, until the key is written for the device itself:
//! that is what Linux's bitmap of written keys is for. A few keys never follow. A device of a namespace in which nobody
//! wrote anything stores no settings.

use std::sync::Arc;

use super::{InetNotice, has_inet};
use crate::dev::{Inet4Conf, Link};
use crate::rtnl::Rtnl;
use crate::state::{ConfOf, Ns};

/// `IPV4_DEVCONF_*` numbers of settings that do something here.
pub(crate) mod number {
    pub(crate) const FORWARDING: usize = 1;
    pub(crate) const MC_FORWARDING: usize = 2;
    pub(crate) const PROXY_ARP: usize = 3;
    pub(crate) const ACCEPT_REDIRECTS: usize = 4;
    pub(crate) const RP_FILTER: usize = 8;
    pub(crate) const DISABLE_XFRM: usize = 15;
    pub(crate) const DISABLE_POLICY: usize = 16;
    pub(crate) const FORCE_IGMP_VERSION: usize = 17;
    pub(crate) const PROMOTE_SECONDARIES: usize = 20;
    pub(crate) const ROUTE_LOCALNET: usize = 26;
    pub(crate) const IGNORE_ROUTES_WITH_LINKDOWN: usize = 29;
    pub(crate) const DROP_UNICAST_IN_L2_MULTICAST: usize = 30;
    pub(crate) const BC_FORWARDING: usize = 32;
}
use number::*;

/// Settings, and which of them were written here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conf {
    values: Inet4Conf,
    /// Bit `n` for number `n`.
    written: u64,
}

impl Conf {
    /// What `default` is until somebody writes.
    const DEFAULT: Self = Self { values: Inet4Conf::DEFAULT, written: 0 };

    /// What `all` is: no source routes.
    const ALL: Self = {
        let mut values = Inet4Conf::DEFAULT;
        values.0[8] = 0;
        Self { values, written: 0 }
    };

    fn get(&self, number: usize) -> Option<i32> {
        self.values.0.get(number.checked_sub(1)?).copied()
    }

    fn set(&mut self, number: usize, value: i32) {
        if let Some(slot) = number.checked_sub(1).and_then(|at| self.values.0.get_mut(at)) {
            *slot = value;
        }
    }
}

/// Settings of all and of devices to come, as far as they differ from what everything is born with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    all: Option<Box<Conf>>,
    default: Option<Box<Conf>>,
}

impl Shared {
    fn all(&self) -> &Conf {
        self.all.as_deref().unwrap_or(&Conf::ALL)
    }

    fn default(&self) -> &Conf {
        self.default.as_deref().unwrap_or(&Conf::DEFAULT)
    }

    fn all_mut(&mut self) -> &mut Conf {
        self.all.get_or_insert_with(|| Box::new(Conf::ALL))
    }

    fn default_mut(&mut self) -> &mut Conf {
        self.default.get_or_insert_with(|| Box::new(Conf::DEFAULT))
    }

    /// Whether a device born now is as one born before anybody wrote.
    fn is_pristine(&self) -> bool {
        self.default.as_deref().is_none_or(|conf| *conf == Conf::DEFAULT)
    }
}

/// Whether devices follow `default` in this key as long as it was not written for them.
const fn follows(number: usize) -> bool {
    !matches!(
        number,
        FORWARDING
            | MC_FORWARDING
            | DISABLE_XFRM
            | DISABLE_POLICY
            | PROMOTE_SECONDARIES
            | ROUTE_LOCALNET
            | DROP_UNICAST_IN_L2_MULTICAST
    )
}

/// The settings a device of this kind is born with where `default` says so: those that its kind fixes differ.
fn born(default: &Conf, link: &Link) -> Conf {
    let mut conf = default.clone();
    for (at, value) in link.class().inet4.0.iter().enumerate() {
        if *value != Inet4Conf::DEFAULT.0[at] {
            conf.values.0[at] = *value;
            conf.written |= 1 << (at + 1);
        }
    }
    conf
}

/// The settings of a device that stores none: it was born before anybody wrote, and follows.
fn unwritten(default: &Conf, link: &Link) -> Conf {
    let mut conf = born(&Conf::DEFAULT, link);
    for number in 1..=conf.values.0.len() {
        if follows(number) && conf.written & 1 << number == 0 {
            conf.values.0[number - 1] = default.values.0[number - 1];
        }
    }
    conf
}

/// All settings of a device.
fn of_device(ns: Ns<'_>, link: &Link) -> Conf {
    let inet = ns.peek_inet();
    let Some(inet) = inet.as_ref() else { return unwritten(&Conf::DEFAULT, link) };
    let stored = inet.device(link.index()).and_then(|device| device.conf.as_deref());
    stored.cloned().unwrap_or_else(|| unwritten(inet.shared.default(), link))
}

/// The settings of `of`; `None` for a device without IPv4.
fn settings(ns: Ns<'_>, of: ConfOf) -> Option<Conf> {
    let shared =
        |pick: fn(&Shared) -> &Conf, born: Conf| ns.peek_inet().map_or(born, |inet| pick(&inet.shared).clone());
    Some(match of {
        ConfOf::All => shared(Shared::all, Conf::ALL),
        ConfOf::Default => shared(Shared::default, Conf::DEFAULT),
        ConfOf::Dev(index) => of_device(ns, &*ns.links.by_index(index).filter(|link| has_inet(link))?),
    })
}

/// A device's setting by its `IPV4_DEVCONF_*` number; `None` for a device without IPv4, or no such number.
pub(crate) fn conf(ns: Ns<'_>, of: ConfOf, number: usize) -> Option<i32> {
    settings(ns, of)?.get(number)
}

/// All settings of a device, in order.
pub(super) fn all_of(ns: Ns<'_>, link: &Link) -> Inet4Conf {
    of_device(ns, link).values
}

/// Whether a secondary takes the place of its primary: if the device says so, or all.
pub(super) fn promotes(ns: Ns<'_>, link: &Link) -> bool {
    let says = |of| conf(ns, of, PROMOTE_SECONDARIES).is_some_and(|v| v != 0);
    says(ConfOf::All) || says(ConfOf::Dev(link.index()))
}

/// A device joined the namespace: it takes a copy of `default` if that is not what it would read anyway.
pub(super) fn device_born(ns: Ns<'_>, link: &Link) {
    let conf = match ns.peek_inet() {
        Some(inet) if !inet.shared.is_pristine() => born(inet.shared.default(), link),
        _ => return,
    };
    ns.inet.write().device_mut(link.index()).conf = Some(Box::new(conf));
}

/// Writes a setting, with what follows from it: `all/forwarding` writes every device and `default`, `default` is followed
/// by devices that have no word of their own, and listeners of `netconf` hear of the keys it shows.
pub(crate) fn set_conf(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, of: ConfOf, number: usize, value: i32) {
    let Some(old) = conf(ns, of, number) else { return };
    if number == FORWARDING {
        if old != value {
            set_forwarding(rtnl, ns, of, value);
        }
    } else {
        match of {
            ConfOf::All => ns.inet.write().shared.all_mut().set(number, value),
            ConfOf::Default => set_default(ns, number, value),
            ConfOf::Dev(index) => set_device(ns, index, number, value),
        }
        if old != value {
            tell(rtnl, ns, of, number);
        }
    }
    inherited_by_new_namespaces(rtnl, ns);
}

fn set_default(ns: Ns<'_>, number: usize, value: i32) {
    if follows(number) {
        keep(ns);
    }
    let mut inet = ns.inet.write();
    let default = inet.shared.default_mut();
    default.set(number, value);
    if !follows(number) {
        return;
    }
    default.written |= 1 << number;
    for device in inet.devices_mut() {
        let settled = device.settled;
        if let Some(conf) = device.conf.as_deref_mut().filter(|conf| !settled && conf.written & 1 << number == 0) {
            conf.set(number, value);
        }
    }
}

/// Devices that were given an address store what they read before `default` changes: they do not follow. Nothing comes
/// between that and the change, who writes settings holds the rtnl.
fn keep(ns: Ns<'_>) {
    let settled: Vec<u32> = ns.peek_inet().map_or_else(Vec::new, |inet| {
        let reads = inet.devices().filter(|(_, device)| device.settled && device.conf.is_none());
        reads.map(|(index, _)| index).collect()
    });
    for link in settled.into_iter().filter_map(|index| ns.links.by_index(index)) {
        let conf = of_device(ns, &link);
        ns.inet.write().device_mut(link.index()).conf = Some(Box::new(conf));
    }
}

fn set_device(ns: Ns<'_>, index: u32, number: usize, value: i32) {
    let Some(link) = ns.links.by_index(index) else { return };
    let mut conf = of_device(ns, &link);
    conf.set(number, value);
    if follows(number) {
        conf.written |= 1 << number;
    }
    ns.inet.write().device_mut(index).conf = Some(Box::new(conf));
}

/// `forwarding`, which is not 0 or 1 alone: any number is kept (`inet_forward_change`).
fn set_forwarding(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, of: ConfOf, value: i32) {
    match of {
        ConfOf::Dev(index) => set_device(ns, index, FORWARDING, value),
        ConfOf::Default => ns.inet.write().shared.default_mut().set(FORWARDING, value),
        ConfOf::All => {
            {
                let mut inet = ns.inet.write();
                inet.shared.all_mut().set(FORWARDING, value);
                // A router does not let others tell it where to send.
                inet.shared.all_mut().set(ACCEPT_REDIRECTS, i32::from(value == 0));
                inet.shared.default_mut().set(FORWARDING, value);
            }
            tell(rtnl, ns, ConfOf::All, FORWARDING);
            tell(rtnl, ns, ConfOf::Default, FORWARDING);
            for link in ns.links.all().iter().filter(|link| has_inet(link)) {
                set_device(ns, link.index(), FORWARDING, value);
                tell(rtnl, ns, ConfOf::Dev(link.index()), FORWARDING);
            }
            return;
        }
    }
    tell(rtnl, ns, of, FORWARDING);
}

/// The settings that `netconf` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Netconf {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Whose.
    pub of: ConfOf,
    /// `NETCONFA_FORWARDING`.
    pub forwarding: i32,
    /// `NETCONFA_RP_FILTER`, of IPv4.
    pub rp_filter: i32,
    /// `NETCONFA_MC_FORWARDING`.
    pub mc_forwarding: i32,
    /// `NETCONFA_BC_FORWARDING`, of IPv4.
    pub bc_forwarding: i32,
    /// `NETCONFA_PROXY_NEIGH`.
    pub proxy_neigh: i32,
    /// `NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN`.
    pub ignore_linkdown: i32,
}

impl Netconf {
    /// Of IPv4, where there is none any more: a message that says so names whose it was and no more.
    pub(super) const fn gone(of: ConfOf) -> Self {
        Self {
            family: INET,
            of,
            forwarding: 0,
            rp_filter: 0,
            mc_forwarding: 0,
            bc_forwarding: 0,
            proxy_neigh: 0,
            ignore_linkdown: 0,
        }
    }
}

/// What of it a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetconfPart {
    /// Everything.
    All,
    /// One setting, by its `NETCONFA_*` number.
    One(u16),
    /// That there is nothing any more.
    Gone,
}

pub(super) const NETCONFA_FORWARDING: u16 = 2;
pub(super) const NETCONFA_RP_FILTER: u16 = 3;
pub(super) const NETCONFA_PROXY_NEIGH: u16 = 5;
pub(super) const NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN: u16 = 6;

/// `AF_INET`, `AF_INET6`.
const INET: u8 = 2;
const INET6: u8 = 10;

/// What `netconf` shows of IPv4; `None` if there is no such device, or it does no IPv4.
pub(super) fn netconf4(ns: Ns<'_>, of: ConfOf) -> Option<Netconf> {
    let conf = settings(ns, of)?;
    Some(netconf(of, &conf))
}

/// Likewise of a device at hand.
pub(super) fn netconf_of(ns: Ns<'_>, link: &Link) -> Option<Netconf> {
    has_inet(link).then(|| netconf(ConfOf::Dev(link.index()), &of_device(ns, link)))
}

fn netconf(of: ConfOf, conf: &Conf) -> Netconf {
    let get = |number| conf.get(number).unwrap_or(0);
    Netconf {
        family: INET,
        of,
        forwarding: get(FORWARDING),
        rp_filter: get(RP_FILTER),
        mc_forwarding: get(MC_FORWARDING),
        bc_forwarding: get(BC_FORWARDING),
        proxy_neigh: get(PROXY_ARP),
        ignore_linkdown: get(IGNORE_ROUTES_WITH_LINKDOWN),
    }
}

/// Likewise of IPv6.
pub(super) fn netconf6(ns: Ns<'_>, of: ConfOf) -> Option<Netconf> {
    // DEVCONF_* numbers.
    let get = |number| crate::inet6::conf(ns, of, number);
    Some(Netconf {
        family: INET6,
        of,
        forwarding: get(0)?,
        rp_filter: 0,
        mc_forwarding: get(25)?,
        bc_forwarding: 0,
        proxy_neigh: get(22)?,
        ignore_linkdown: get(39)?,
    })
}

/// Tells of one setting, if it is of those that are told.
fn tell(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, of: ConfOf, number: usize) {
    let part = match number {
        FORWARDING => NETCONFA_FORWARDING,
        RP_FILTER => NETCONFA_RP_FILTER,
        PROXY_ARP => NETCONFA_PROXY_NEIGH,
        IGNORE_ROUTES_WITH_LINKDOWN => NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN,
        _ => return,
    };
    notify_netconf(rtnl, ns, netconf4(ns, of), NetconfPart::One(part));
}

/// Tells listeners of `netconf` (`inet_netconf_notify_devconf`).
pub(crate) fn notify_netconf(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, conf: Option<Netconf>, part: NetconfPart) {
    if let Some(conf) = conf {
        rtnl.notify_caused(ns, InetNotice::Netconf { conf, part }.into());
    }
}

/// What new namespaces start with: `all` and `default` of the initial one, as they are now, if somebody wrote there.
///
/// Kept beside the namespaces, so that a creation looks at no other namespace.
#[derive(Debug, Default)]
pub(crate) struct Births {
    /// A leaf: read to copy the handle. Written under rtnl.
    init: std::sync::RwLock<Option<Arc<Shared>>>,
    /// `net.core.devconf_inherit_init_net`: 2 says that every namespace starts with what is built in.
    pub(crate) devconf_inherit: std::sync::atomic::AtomicI32,
}

impl Births {
    /// The settings a namespace is born with; `None` for those that are built in.
    pub(crate) fn shared(&self) -> Option<Shared> {
        if self.devconf_inherit.load(std::sync::atomic::Ordering::Relaxed) == 2 {
            return None;
        }
        self.init.read().unwrap_or_else(std::sync::PoisonError::into_inner).as_deref().cloned()
    }
}

fn inherited_by_new_namespaces(rtnl: &Rtnl<'_>, ns: Ns<'_>) {
    if ns.net().is_some_and(pernet::Net::is_init) {
        let shared = ns.inet.read().shared.clone();
        let births = &rtnl.stack().inner().births;
        *births.init.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(shared));
    }
}
