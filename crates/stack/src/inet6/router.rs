//! Routers that make themselves known (RFC 4861, 6.3; RFC 4862, 5.5): the default route, prefixes and the addresses made
//! from them, and what else of a link they decide. And asking for them.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use super::conf::{MIN_MTU, devconf};
use super::idev::{FOREVER, Ifa6, PROTO_KERNEL_RA, ifa_flag};
use super::prefix::Prefix6;
use super::route::{METRIC_ADDRCONF, METRIC_USER, PROTO_KERNEL, PROTO_RA, Route6, rtn, table};
use super::{Inet6Notice, Timer, addr, change, config, temporary};
use crate::Notice;
use crate::clock;
use crate::dev::{IfFlags, Link};
use crate::fib::{Metrics, RTAX_HOPLIMIT, RTAX_MTU};
use crate::l2::Work;
use crate::neigh::{NeighFamily, NeighParm, ParmValue};
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Seconds that an address stays valid at least, whatever a router says that nobody has authenticated (RFC 4862, 5.5.3).
const TWO_HOURS: u32 = 7200;
/// Longest time for which the kernel's neighbour table can be told to believe an answer, milliseconds.
const LONGEST: u32 = i32::MAX.cast_unsigned() / 1000;

/// What a router said, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouterAdvert {
    /// Hop limit for what is sent, 0 if it does not say.
    pub(crate) hop_limit: u8,
    /// `IF_RA_MANAGED` and `IF_RA_OTHERCONF`: whether DHCPv6 has addresses, and other things.
    pub(crate) managed: u8,
    /// `ICMPV6_ROUTER_PREF_*`.
    pub(crate) pref: u8,
    /// Seconds for which it is a default router; 0 if it is none.
    pub(crate) lifetime: u16,
    /// Milliseconds for which neighbours are believed, 0 if it does not say.
    pub(crate) reachable: u32,
    /// Milliseconds between questions for neighbours, 0 if it does not say.
    pub(crate) retrans: u32,
    pub(crate) mtu: Option<u32>,
    pub(crate) prefixes: Vec<PrefixInfo>,
    pub(crate) routes: Vec<RouteOption>,
    /// Options for programs, whole.
    pub(crate) user: Vec<Vec<u8>>,
}

/// A prefix of the link (RFC 4861, 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixInfo {
    /// The prefix.
    pub prefix: Ipv6Addr,
    /// Bits of it.
    pub len: u8,
    /// As they were sent: 0x80 "on the link", 0x40 "for addresses".
    pub flags: u8,
    /// Seconds; `u32::MAX` for ever.
    pub valid: u32,
    /// Seconds; `u32::MAX` for ever.
    pub preferred: u32,
}

impl PrefixInfo {
    const fn on_link(self) -> bool {
        self.flags & 0x80 != 0
    }

    const fn autonomous(self) -> bool {
        self.flags & 0x40 != 0
    }
}

/// A way that the router is for (RFC 4191, 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteOption {
    pub(crate) dst: Prefix6,
    pub(crate) pref: u8,
    pub(crate) lifetime: u32,
}

fn setting(ns: Ns<'_>, link: &Link, number: usize) -> i32 {
    ns.state().inet6.read().dev_conf(link, number)
}

/// Whether routers are listened to (`ipv6_accept_ra`): who forwards does only if he is told to all the same.
pub(crate) fn accepts(ns: Ns<'_>, link: &Link) -> bool {
    let accept = setting(ns, link, devconf::ACCEPT_RA);
    if setting(ns, link, devconf::FORWARDING) != 0 { accept == 2 } else { accept != 0 }
}

/// A time that begins now; none for what does not end.
fn until(rtnl: &Rtnl<'_>, seconds: u32) -> Option<Duration> {
    (seconds != FOREVER).then(|| rtnl.now() + Duration::from_secs(seconds.into()))
}

/// A router made itself known (`ndisc_router_discovery`): what it says of itself, and of its neighbours' times. `None` if it
/// is not listened to, else whether there is something new of the device, which is told at the end of the [`rest`].
pub(crate) fn advert(
    rtnl: &mut Rtnl<'_>,
    ns: Ns<'_>,
    link: &Arc<Link>,
    router: Ipv6Addr,
    said: &RouterAdvert,
) -> Option<bool> {
    if !accepts(ns, link) {
        return None;
    }
    let mut tells = false;
    {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(link);
        // Nobody asks any more.
        idev.router.heard |= idev.router.asked;
        tells |= std::mem::replace(&mut idev.router.managed, said.managed) != said.managed;
    }
    if is_foreign(ns, link, router) {
        default_route(rtnl, ns, link, router, said);
    }
    tells |= timing(rtnl, ns, link, said);
    Some(tells)
}

/// Not this host itself, unless that may be.
fn is_foreign(ns: Ns<'_>, link: &Link, router: Ipv6Addr) -> bool {
    let local = ns.state().inet6.read().has_addr(router, 0);
    !local || setting(ns, link, devconf::ACCEPT_RA_FROM_LOCAL) != 0
}

/// What a router that is listened to says of its link.
pub(crate) fn rest(
    rtnl: &mut Rtnl<'_>,
    ns: Ns<'_>,
    link: &Arc<Link>,
    router: Ipv6Addr,
    said: &RouterAdvert,
    tells: bool,
) {
    if is_foreign(ns, link, router) {
        routes(rtnl, ns, link, router, said);
    }
    if setting(ns, link, devconf::ACCEPT_RA_PINFO) != 0 {
        for info in &said.prefixes {
            prefix(rtnl, ns, link, *info);
        }
    }
    if let Some(mtu) = said.mtu.filter(|_| setting(ns, link, devconf::ACCEPT_RA_MTU) != 0) {
        path_mtu(ns, link, router, mtu);
    }
    for option in &said.user {
        let notice = Inet6Notice::UserOption { ifindex: link.index(), router, option: option.clone() };
        rtnl.notify_caused(ns, Notice::Inet6(notice));
    }
    if tells {
        config::tell_link(rtnl, ns, link);
    }
}

/// Is it a route that this router's word made?
fn is_by(link: &Link, router: Ipv6Addr) -> impl Fn(&Route6) -> bool {
    let oif = link.index();
    move |r| r.proto == PROTO_RA && r.nexthop.oif == oif && r.nexthop.gateway == Some(router)
}

fn default_route(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, router: Ipv6Addr, said: &RouterAdvert) {
    let shortest = setting(ns, link, devconf::ACCEPT_RA_MIN_LFT);
    let too_short = said.lifetime != 0 && i32::from(said.lifetime) < shortest;
    if setting(ns, link, devconf::ACCEPT_RA_DEFRTR) != 0 && !too_short {
        let pref = if setting(ns, link, devconf::ACCEPT_RA_RTR_PREF) != 0 { said.pref } else { 0 };
        let metric = setting(ns, link, devconf::RA_DEFRTR_METRIC).cast_unsigned();
        way(rtnl, ns, link, router, Prefix6::ANY, (metric, pref, said.lifetime.into()));
    }
    let lowest = setting(ns, link, devconf::ACCEPT_RA_MIN_HOP_LIMIT);
    if said.hop_limit != 0 && lowest < i32::from(said.hop_limit) {
        ns.state().inet6.write().dev_mut(link).conf.set(devconf::HOPLIMIT, said.hop_limit.into());
        metric_of_default(ns, link, router, RTAX_HOPLIMIT, said.hop_limit.into());
    }
}

/// A route by the router, for so many seconds: made, prolonged, or taken away.
fn way(
    rtnl: &mut Rtnl<'_>,
    ns: Ns<'_>,
    link: &Arc<Link>,
    router: Ipv6Addr,
    dst: Prefix6,
    (metric, pref, lifetime): (u32, u8, u32),
) {
    let is_it = is_by(link, router);
    let stays = |r: &Route6| is_it(r) && r.metric == metric;
    let known = change::has_own(ns, table::MAIN, dst, &is_it);
    if known && (lifetime == 0 || !change::has_own(ns, table::MAIN, dst, stays)) {
        change::del_own(rtnl, ns, table::MAIN, dst, &is_it);
    }
    if lifetime == 0 {
        return;
    }
    let expires = until(rtnl, lifetime);
    change::edit_own(rtnl, ns, table::MAIN, dst, stays, |r| (r.pref, r.expires) = (pref, expires));
    if !change::has_own(ns, table::MAIN, dst, stays) {
        let mut route = Route6::of_kernel(dst, rtn::UNICAST, metric, link.index());
        (route.proto, route.pref, route.expires) = (PROTO_RA, pref, expires);
        route.nexthop.gateway = Some(router);
        change::add_own(rtnl, ns, table::MAIN, route);
    }
}

/// What packets by the default router obey from now on; nobody is told.
fn metric_of_default(ns: Ns<'_>, link: &Link, router: Ipv6Addr, metric: u16, value: u32) {
    change::touch_own(ns, table::MAIN, Prefix6::ANY, is_by(link, router), |r| {
        let mut metrics = r.metrics.as_deref().cloned().unwrap_or_else(Metrics::default);
        // Both numbers are of metrics that there are.
        let _ = metrics.set(metric, value);
        r.metrics = Some(Arc::new(metrics));
    });
}

/// Times of neighbour discovery; says whether there were any.
fn timing(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, said: &RouterAdvert) -> bool {
    let mut values = Vec::new();
    let sensible = |time: u32| (1..=LONGEST).contains(&time);
    if sensible(said.retrans) {
        values.push(ParmValue::Time(NeighParm::RetransTime, said.retrans.into()));
    }
    if sensible(said.reachable) {
        values.push(ParmValue::Time(NeighParm::BaseReachableTime, said.reachable.into()));
    }
    if values.is_empty() {
        return false;
    }
    if let Some(net) = ns.net() {
        // The device is there, and does IPv6.
        let _ = rtnl.set_neigh_parms(net, NeighFamily::V6, link.index(), &values);
    }
    ns.state().inet6.write().dev_mut(link).changed = clock::stamp(rtnl.now());
    true
}

/// Further ways (`rt6_route_rcv`).
fn routes(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, router: Ipv6Addr, said: &RouterAdvert) {
    if setting(ns, link, devconf::ACCEPT_RA_RTR_PREF) == 0 {
        return;
    }
    let bounds = [devconf::ACCEPT_RA_RT_INFO_MIN_PLEN, devconf::ACCEPT_RA_RT_INFO_MAX_PLEN];
    let [shortest, longest] = bounds.map(|number| setting(ns, link, number));
    let shortest_life = setting(ns, link, devconf::ACCEPT_RA_MIN_LFT);
    for option in &said.routes {
        let len = i32::from(option.dst.prefix_len());
        let too_short = option.lifetime != 0 && i64::from(option.lifetime) < i64::from(shortest_life);
        if too_short || len < shortest || len > longest {
            continue;
        }
        let metric = if option.dst.is_any() {
            setting(ns, link, devconf::RA_DEFRTR_METRIC).cast_unsigned()
        } else {
            METRIC_USER
        };
        way(rtnl, ns, link, router, option.dst, (metric, option.pref, option.lifetime));
    }
}

/// Largest packet on the link: of the device's size at most.
fn path_mtu(ns: Ns<'_>, link: &Arc<Link>, router: Ipv6Addr, mtu: u32) {
    if !(MIN_MTU..=link.mtu).contains(&mtu) || setting(ns, link, devconf::MTU) == mtu.cast_signed() {
        return;
    }
    ns.state().inet6.write().dev_mut(link).conf.set(devconf::MTU, mtu.cast_signed());
    metric_of_default(ns, link, router, RTAX_MTU, mtu);
}

/// A prefix of the link (`addrconf_prefix_rcv`).
fn prefix(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, info: PrefixInfo) {
    let group_or_link = info.prefix.is_multicast() || super::is_link_local(info.prefix);
    let shortest = setting(ns, link, devconf::ACCEPT_RA_MIN_LFT);
    let too_short = info.valid != 0 && i64::from(info.valid) < i64::from(shortest);
    if group_or_link || info.preferred > info.valid || too_short || info.len > 128 {
        return;
    }
    if info.on_link() {
        let dst = Prefix6::new(info.prefix, info.len);
        let oif = link.index();
        let is_it = |r: &Route6| r.proto == PROTO_KERNEL && r.nexthop.oif == oif && r.nexthop.gateway.is_none();
        // The route of an address that is for good is not the router's to limit or to take away.
        let theirs = |r: &Route6| is_it(r) && (r.by_router || r.expires.is_some());
        let taken = |r: &Route6| is_it(r) && r.metric == METRIC_ADDRCONF;
        let expires = until(rtnl, info.valid);
        if info.valid == 0 {
            change::del_own(rtnl, ns, table::MAIN, dst, theirs);
        } else if !change::edit_own(rtnl, ns, table::MAIN, dst, theirs, |r| r.expires = expires)
            && !change::has_own(ns, table::MAIN, dst, taken)
        {
            let mut route = Route6::of_kernel(dst, rtn::UNICAST, METRIC_ADDRCONF, oif);
            (route.expires, route.by_router) = (expires, true);
            change::add_own(rtnl, ns, table::MAIN, route);
        }
    }
    if info.autonomous() && setting(ns, link, devconf::AUTOCONF) != 0 {
        if info.len != 64 {
            return;
        }
        let Some((interface, stable)) = config::interface_of(rtnl, ns, link, info.prefix) else { return };
        let high = info.prefix.to_bits() >> 64 << 64;
        address(rtnl, ns, link, (Ipv6Addr::from_bits(high | u128::from(interface)), stable), info);
    }
    rtnl.notify_caused(ns, Notice::Inet6(Inet6Notice::Prefix { ifindex: link.index(), info }));
}

/// An address made from a prefix, with the flag of how, or one that was made before (`addrconf_prefix_rcv_add_addr`).
fn address(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, (addr, stable): (Ipv6Addr, u32), info: PrefixInfo) {
    let now = clock::stamp(rtnl.now());
    let (known, count) = {
        let inet6 = ns.state().inet6.read();
        let idev = inet6.dev(link.index());
        (idev.and_then(|idev| idev.find(addr).cloned()), idev.map_or(0, |idev| idev.addrs.len()))
    };
    if let Some(mut ifa) = known {
        let (_, left) = ifa.lifetimes(now);
        // Nobody can cut an address off from afar.
        ifa.valid_lft = info.valid.max(left.min(TWO_HOURS));
        (ifa.preferred_lft, ifa.updated) = (info.preferred, now);
        ifa.flags &= !ifa_flag::DEPRECATED;
        addr::prolong(rtnl, ns, link, ifa);
        temporary::manage(rtnl, ns, link, addr, false);
        return;
    }
    let most = usize::try_from(setting(ns, link, devconf::MAX_ADDRESSES)).unwrap_or(0);
    if info.valid == 0 || most != 0 && count >= most {
        return;
    }
    let mut ifa = Ifa6::new(addr, 64);
    ifa.flags = ifa_flag::MANAGETEMPADDR | stable;
    if addr::optimistic(ns, link) {
        ifa.flags |= ifa_flag::OPTIMISTIC;
    }
    (ifa.valid_lft, ifa.preferred_lft) = (info.valid, info.preferred);
    (ifa.proto, ifa.updated) = (PROTO_KERNEL_RA, now);
    addr::add_of_router(rtnl, ns, link, ifa);
    temporary::manage(rtnl, ns, link, addr, true);
}

/// Who begins to forward is a router himself: those that he was told of are none for him (`rt6_purge_dflt_routers`).
pub(crate) fn forget(rtnl: &mut Rtnl<'_>, ns: Ns<'_>) {
    let devices = ns.state().links.all();
    for link in devices.iter().filter(|link| setting(ns, link, devconf::ACCEPT_RA) != 2) {
        let oif = link.index();
        let is_it = |r: &Route6| r.proto == PROTO_RA && r.nexthop.oif == oif;
        while change::has_own(ns, table::MAIN, Prefix6::ANY, is_it) {
            change::del_own(rtnl, ns, table::MAIN, Prefix6::ANY, is_it);
        }
    }
}

/// The device has an address to ask from: routers are asked for (`addrconf_dad_completed`).
pub(crate) fn ask(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    let alone = link.stored_flags.contains(IfFlags::LOOPBACK);
    if alone || !accepts(ns, link) || setting(ns, link, devconf::RTR_SOLICITS) == 0 {
        return;
    }
    {
        let mut inet6 = ns.state().inet6.write();
        let router = &mut inet6.dev_mut(link).router;
        if router.asked {
            return;
        }
        router.asked = true;
        router.round = router.round.wrapping_add(1);
    }
    solicit(rtnl, ns, link, 1, None);
}

/// Asks, and again after a while (RFC 7559): `nth` time, having waited for `waited`.
fn solicit(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, nth: i32, waited: Option<Duration>) {
    crate::l2::later(rtnl.stack(), ns, Work::RouterSolicit(link.index()));
    let time = |number| Duration::from_millis(setting(ns, link, number).max(0).cast_unsigned().into());
    let (first, longest) = (time(devconf::RTR_SOLICIT_INTERVAL), time(devconf::RTR_SOLICIT_MAX_INTERVAL));
    // Up to a tenth more or less, so that not all ask at once.
    let spread = |time: Duration, by: Duration| {
        time.saturating_sub(by / 10) + (by / 5).mul_f64((rtnl.random() % 1024) as f64 / 1024.0)
    };
    let wait = match waited {
        None => spread(first, first),
        Some(waited) if waited * 2 > longest => spread(longest, longest),
        Some(waited) => spread(waited * 2, waited),
    };
    let Some(round) = ns.state().inet6.read().dev(link.index()).map(|idev| idev.router.round) else { return };
    let timer = Timer::RouterSolicit { ifindex: link.index(), round, nth, waited: wait };
    rtnl.set_timer(ns, rtnl.now() + wait, super::timer_of(timer));
}

/// No router has answered in time.
pub(crate) fn unanswered(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, (ifindex, round): (u32, u32), nth: i32, waited: Duration) {
    let Some(link) = ns.state().links.by_index(ifindex) else { return };
    let waits = {
        let inet6 = ns.state().inet6.read();
        let idev = inet6.dev(ifindex).filter(|idev| idev.ready);
        idev.is_some_and(|idev| idev.router.round == round && !idev.router.heard)
    };
    let most = setting(ns, &link, devconf::RTR_SOLICITS);
    if waits && accepts(ns, &link) && (most < 0 || nth < most) {
        solicit(rtnl, ns, &link, nth.saturating_add(1), Some(waited));
    }
}
