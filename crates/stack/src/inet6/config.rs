//! What devices go through: the addresses they give themselves, what they lose (`addrconf_notify`).

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::conf::{self, devconf, gen_mode, has_inet6};
use super::idev::{Ifa6, PROTO_KERNEL_LL, PROTO_KERNEL_LO, Routers, ifa_flag};
use super::prefix::Prefix6;
use super::route::{METRIC_ADDRCONF, Route6, rtn, table};
use super::scope::{is_link_local, solicited_node};
use super::{Inet6Notice, addr, change, dad, groups, settings};
use crate::Notice;
use crate::clock;
use crate::dev::{IfFlags, Link};
use crate::inet::NetconfPart;
use crate::neigh;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::{ConfOf, Ns};

/// `ARPHRD_*` of devices that can have link-local addresses.
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_NONE: u16 = 0xfffe;

pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    match event {
        NetdevEvent::Register if has_inet6(link) => born(rtnl, ns, link),
        NetdevEvent::Up if has_inet6(link) => up(rtnl, ns, link),
        NetdevEvent::Change if has_inet6(link) => carrier(rtnl, ns, link),
        NetdevEvent::Down => down(rtnl, ns, link, Depth::Down),
        NetdevEvent::Unregister => {
            let runs = has_inet6(link) || ns.state().peek_inet6().is_some_and(|i| i.dev(link.index()).is_some());
            down(rtnl, ns, link, Depth::Gone);
            if runs {
                tell_gone(rtnl, ns, link);
            }
        }
        NetdevEvent::ChangeMtu(before) => {
            change::follow_mtu(ns, link, before);
            mtu(rtnl, ns, link, before);
        }
        NetdevEvent::ChangeName if has_inet6(link) => {
            tell_gone(rtnl, ns, link);
            tell_settings(rtnl, ns, link);
        }
        _ => {}
    }
}

/// IPv6 begins on a device: with the settings for those to come.
fn born(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    let inherits = ns.state().peek_inet6().is_some_and(|inet6| !inet6.default.is_empty());
    if inherits {
        let mut inet6 = ns.state().inet6.write();
        let conf = inet6.default.for_device(link);
        inet6.dev_mut(link).conf = conf;
    }
    let forwards = settings::conf(ns, ConfOf::Dev(link.index()), devconf::FORWARDING).is_some_and(|on| on != 0);
    groups::born(rtnl, ns, link, forwards);
    tell_settings(rtnl, ns, link);
}

/// The MTU is another one than `before`. It decides whether there is IPv6 at all.
fn mtu(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, before: u32) {
    if link.mtu < conf::MIN_MTU {
        neigh::ifdown(rtnl, ns, link.index(), neigh::NeighFamily::V6);
        if link.stored_flags.contains(IfFlags::LOOPBACK) {
            small_loopback(rtnl, ns, link, before);
        }
    } else if ns.state().peek_inet6().is_some_and(|inet6| inet6.dev(link.index()).is_some()) {
        // What IPv6 may use follows, whatever was written.
        ns.state().inet6.write().dev_mut(link).conf.unset(devconf::MTU);
    }
    let running = ns.state().peek_inet6().and_then(|inet6| inet6.dev(link.index()).map(|idev| idev.suspended));
    match (has_inet6(link), running) {
        (false, None | Some(false)) => {
            down(rtnl, ns, link, Depth::Gone);
            tell_gone(rtnl, ns, link);
            // That it was taken down is remembered until it comes back.
            ns.state().inet6.write().dev_mut(link).suspended = true;
        }
        (true, Some(true)) => {
            ns.state().inet6.write().devs.remove(&link.index());
            born(rtnl, ns, link);
            if link.is_up() {
                up(rtnl, ns, link);
            }
        }
        _ => {}
    }
}

/// The loopback does IPv6 with any MTU, but loses what it had, and IPv6 goes on with the MTU it knew.
fn small_loopback(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, before: u32) {
    down(rtnl, ns, link, Depth::Down);
    let mut inet6 = ns.state().inet6.write();
    let idev = inet6.dev_mut(link);
    (idev.down, idev.linkdown) = (!link.is_up(), !link.carrier);
    if idev.conf.get(devconf::MTU).is_none() {
        idev.conf.set(devconf::MTU, before.cast_signed());
    }
}

fn tell_settings(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link) {
    settings::tell_part(rtnl, ns, ConfOf::Dev(link.index()), NetconfPart::All);
}

fn tell_gone(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link) {
    settings::tell_part(rtnl, ns, ConfOf::Dev(link.index()), NetconfPart::Gone);
}

/// Tells that IPv6 of the device is as it is now.
pub(crate) fn tell_link(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    if let Some(inet6) = super::show::inet6_link(ns.state(), link) {
        rtnl.notify_caused(ns, Notice::Inet6(Inet6Notice::Link(Arc::clone(link), Box::new(inet6))));
    }
}

/// Ready for packets: up, and whoever decides says that it works.
fn is_ready(link: &Link) -> bool {
    link.flags().contains(IfFlags::RUNNING) && link.carrier
}

/// A device was brought up, or its `disable_ipv6` was taken back.
pub(crate) fn up(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    if !link.is_up() {
        return;
    }
    let (disabled, waiting) = {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(link);
        (idev.down, idev.linkdown) = (false, !link.carrier);
        let waiting = idev.addrs.clone();
        (inet6.dev_conf(link, devconf::DISABLE_IPV6) != 0, waiting)
    };
    // The loopback is up with any MTU, but gives itself nothing where IPv6 does not fit.
    if disabled || link.mtu < conf::MIN_MTU {
        return;
    }
    for ifa in waiting.iter().filter(|ifa| ifa.has(ifa_flag::PERMANENT) && !is_link_local(ifa.addr)) {
        addr::add_prefix_route(rtnl, ns, link, ifa);
    }
    if is_ready(link) {
        ready(rtnl, ns, link);
    }
}

/// The carrier or the operational state changed.
fn carrier(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    if !link.is_up() {
        return;
    }
    let (was_ready, disabled) = {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(link);
        let before = (idev.ready, idev.linkdown);
        (idev.down, idev.linkdown) = (false, !link.carrier);
        if before.1 != idev.linkdown {
            inet6.fib.generation += 1;
        }
        (before.0, inet6.dev_conf(link, devconf::DISABLE_IPV6) != 0)
    };
    if disabled || !is_ready(link) {
        return;
    }
    if was_ready {
        dad::run(rtnl, ns, link, true);
    } else {
        ready(rtnl, ns, link);
    }
}

/// The device works: it gets what every device has, and its addresses are checked.
fn ready(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    {
        let mut inet6 = ns.state().inet6.write();
        let now = clock::stamp(rtnl.now());
        let idev = inet6.dev_mut(link);
        if idev.ready {
            return;
        }
        idev.ready = true;
        idev.changed = now;
    }
    generate(rtnl, ns, link);
    tell_link(rtnl, ns, link);
    groups::load(rtnl, ns, link);
    dad::run(rtnl, ns, link, false);
}

/// The addresses a device gives itself (`addrconf_dev_config`, `init_loopback`).
pub(crate) fn generate(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    let is_ready = ns.state().inet6.read().dev(link.index()).is_some_and(|idev| idev.ready);
    if !is_ready {
        return;
    }
    if link.stored_flags.contains(IfFlags::LOOPBACK) {
        loopback(rtnl, ns, link);
        return;
    }
    if !matches!(link.class().arp_type, ARPHRD_ETHER | ARPHRD_NONE) {
        return;
    }
    multicast_route(rtnl, ns, link);
    if link.class().arp_type == ARPHRD_NONE {
        // There is nothing that an address could be made of.
        let mut inet6 = ns.state().inet6.write();
        if inet6.dev_conf(link, devconf::ADDR_GEN_MODE) == gen_mode::EUI64 {
            inet6.dev_mut(link).conf.set(devconf::ADDR_GEN_MODE, gen_mode::RANDOM);
        }
    }
    let Some((addr, stable)) = link_local(rtnl, ns, link) else { return };
    if ns.state().inet6.read().dev(link.index()).is_some_and(|idev| idev.find(addr).is_some()) {
        return;
    }
    let mut ifa = Ifa6::new(addr, 64);
    ifa.flags = ifa_flag::PERMANENT | stable;
    if addr::optimistic(ns, link) {
        ifa.flags |= ifa_flag::OPTIMISTIC;
    }
    ifa.proto = PROTO_KERNEL_LL;
    ifa.updated = clock::stamp(rtnl.now());
    addr::add(rtnl, ns, link, ifa, false);
}

/// What goes to a group may go out by the device (`addrconf_add_mroute`).
pub(crate) fn multicast_route(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link) {
    if link.stored_flags.contains(IfFlags::MULTICAST) {
        let all = Prefix6::new(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8);
        let route = Route6::of_kernel(all, rtn::MULTICAST, METRIC_ADDRCONF, link.index());
        change::add_own(rtnl, ns, table::LOCAL, route);
    }
}

fn loopback(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    let localhost = Ipv6Addr::LOCALHOST;
    if ns.state().inet6.read().dev(link.index()).is_some_and(|idev| idev.find(localhost).is_some()) {
        return;
    }
    let now = clock::stamp(rtnl.now());
    let mut ifa = Ifa6::new(localhost, 128);
    (ifa.flags, ifa.proto) = (ifa_flag::PERMANENT, PROTO_KERNEL_LO);
    (ifa.created, ifa.updated, ifa.pending) = (now, now, false);
    {
        let mut inet6 = ns.state().inet6.write();
        inet6.dev_mut(link).insert(ifa.clone());
        inet6.addrs_changed += 1;
    }
    addr::into_use(rtnl, ns, link, &ifa, true);
}

/// The link-local address that the device's mode gives, and the flag of how it was made; `None` for none
/// (`addrconf_addr_gen`).
fn link_local(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link) -> Option<(Ipv6Addr, u32)> {
    let prefix = Ipv6Addr::from_bits(0xfe80 << 112);
    let (interface, stable) = interface(rtnl, ns, link, prefix)?;
    Some((Ipv6Addr::from_bits(prefix.to_bits() | u128::from(interface)), stable))
}

/// The lower half of the address that is made from a router's prefix: a token, if there is one, or as the device's mode says;
/// and the flag of how it was made.
pub(crate) fn interface_of(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link, prefix: Ipv6Addr) -> Option<(u64, u32)> {
    let (token, mode) = {
        let inet6 = ns.state().inet6.read();
        let token = inet6.dev(link.index()).map_or(0, |idev| idev.token.to_bits() as u64);
        (token, inet6.dev_conf(link, devconf::ADDR_GEN_MODE))
    };
    // "None" means the link-local address only.
    match mode {
        _ if token != 0 => Some((token, 0)),
        // "None" means the link-local address only.
        gen_mode::NONE => Some((eui64(link)?, 0)),
        _ => interface(rtnl, ns, link, prefix),
    }
}

fn interface(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link, prefix: Ipv6Addr) -> Option<(u64, u32)> {
    let mode = ns.state().inet6.read().dev_conf(link, devconf::ADDR_GEN_MODE);
    let secret = match mode {
        gen_mode::EUI64 => return Some((eui64(link)?, 0)),
        gen_mode::STABLE_PRIVACY => settings::secret_for(ns, ConfOf::Dev(link.index()))?,
        gen_mode::RANDOM => {
            let mut inet6 = ns.state().inet6.write();
            let idev = inet6.dev_mut(link);
            *idev
                .stable_secret
                .get_or_insert_with(|| Ipv6Addr::from_bits(u128::from(rtnl.random()) << 64 | u128::from(rtnl.random())))
        }
        _ => return None,
    };
    Some((stable(secret, link, prefix), ifa_flag::STABLE_PRIVACY))
}

/// The interface identifier from an Ethernet address (RFC 4291, appendix A).
fn eui64(link: &Link) -> Option<u64> {
    let [a, b, c, d, e, f] = *link.address.as_bytes() else { return None };
    Some(u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]))
}

/// A stable, opaque interface identifier (RFC 7217): the same for one secret, one prefix and one device, and no other. The
/// function is free to choose; this one is not Linux's.
fn stable(secret: Ipv6Addr, link: &Link, prefix: Ipv6Addr) -> u64 {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let own = if link.permanent_address.is_zero() { link.address } else { link.permanent_address };
    let [prefix @ .., _, _, _, _, _, _, _, _] = prefix.octets();
    hasher.hash_one((secret.octets(), prefix, own))
}

/// How far a device goes down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Its `disable_ipv6` was set.
    Disabled,
    /// It was brought down: some addresses may stay.
    Down,
    /// It leaves, or does IPv6 no more.
    Gone,
}

/// `disable_ipv6` was set.
pub(crate) fn disable(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    down(rtnl, ns, link, Depth::Disabled);
}

/// A device goes down: its routes, then its addresses (`rt6_disable_ip`, `addrconf_ifdown`).
fn down(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, depth: Depth) {
    let exists = ns.state().peek_inet6().is_some_and(|inet6| inet6.dev(link.index()).is_some());
    if !exists {
        return;
    }
    change::withdraw(rtnl, ns, link.index(), depth == Depth::Gone);
    groups::unload(ns, link);
    let gone = {
        let mut inet6 = ns.state().inet6.write();
        let (all, one) = (inet6.all_conf(devconf::KEEP_ADDR_ON_DOWN), inet6.dev_conf(link, devconf::KEEP_ADDR_ON_DOWN));
        let keeps = depth == Depth::Down && all >= 0 && (all > 0 || one > 0);
        let idev = inet6.dev_mut(link);
        let own = |addr: Ipv6Addr| is_link_local(addr) || addr.is_loopback();
        let stays = |ifa: &Ifa6| keeps && ifa.has(ifa_flag::PERMANENT) && !own(ifa.addr);
        let (kept, gone): (Vec<Ifa6>, Vec<Ifa6>) = std::mem::take(&mut idev.addrs).into_iter().partition(stays);
        idev.addrs = kept;
        for ifa in &mut idev.addrs {
            // Checked anew when it is up again.
            ifa.pending = true;
            if !ifa.has(ifa_flag::NODAD) {
                ifa.flags |= ifa_flag::TENTATIVE;
            }
        }
        // The groups by which neighbours ask for its addresses go with them, or until they are checked anew. All others stay.
        let own = idev.addrs.iter().chain(&gone).map(|ifa| ifa.addr).chain(idev.anycast.iter().map(|m| m.addr));
        let asked: Vec<Ipv6Addr> = own.map(solicited_node).collect();
        idev.groups.retain(|m| !asked.contains(&m.addr));
        idev.anycast.clear();
        idev.ready = false;
        let round = idev.router.round;
        idev.router = Routers { round, ..Routers::default() };
        idev.down |= depth != Depth::Disabled;
        idev.linkdown |= depth != Depth::Disabled;
        inet6.addrs_changed += u64::from(!gone.is_empty());
        gone
    };
    for ifa in &gone {
        addr::tell(rtnl, ns, link.index(), ifa, false);
    }
    if depth == Depth::Gone {
        ns.state().inet6.write().devs.remove(&link.index());
    }
    // As neighbour discovery does when it loses a device (`ndisc_netdev_event`), but behind what is being done: the device may
    // be one that was made and refused in one request, and that changes nothing.
    change::collect_soon(rtnl, ns);
}
