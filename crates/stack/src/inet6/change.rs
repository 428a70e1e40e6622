//! Changing routes: what users ask for, and what the kernel does by itself.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use pernet::Net;

use super::conf::devconf;
use super::fib::{Fib6, Node, NodeKey, Placed, Placing, sharing};
use super::hop::{self, is_ours};
use super::prefix::Prefix6;
use super::route::{METRIC_USER, Nexthop6, PROTO_BOOT, Route6, RouteError6, RouteInfo6, hops_of, rtn};
use super::scope::is_link_local;
use super::show::View;
use super::{Inet6Notice, Timer, show};
use crate::Notice;
use crate::dev::{IfFlags, Link};
use crate::fib::{Metrics, RTAX_LOCK, RTAX_MTU};
use crate::l3::RouteId;
use crate::nexthop::{self, Resolved};
use crate::rtnl::Rtnl;
use crate::state::Ns;
use crate::sysctl::nexthop_compat;

/// `NLM_F_*` flags by which a message about a route says how it came.
mod came {
    pub(super) const REPLACED: u16 = 0x100;
    pub(super) const FIRST: u16 = 0x600;
    pub(super) const BESIDE: u16 = 0x400;
    pub(super) const APPENDED: u16 = 0x800;
}

/// How often ended routes are collected (`net.ipv6.route.gc_interval`).
const COLLECT_EVERY: Duration = Duration::from_secs(30);

/// A route that somebody asks for.
#[derive(Clone, Debug)]
pub struct RouteSpec6 {
    /// The table.
    pub table: u32,
    /// Where to.
    pub dst: Prefix6,
    /// Where from.
    pub src: Prefix6,
    /// The lower the better; 0 for the usual.
    pub metric: u32,
    /// `RTN_*`; 0 for unicast.
    pub kind: u8,
    /// `RTPROT_*`; 0 for the usual.
    pub proto: u8,
    /// `ICMPV6_ROUTER_PREF_*`.
    pub pref: u8,
    /// The address to send from.
    pub prefsrc: Option<Ipv6Addr>,
    /// Properties of the path.
    pub metrics: Option<Arc<Metrics>>,
    /// Seconds until it ends.
    pub expires: Option<u32>,
    /// Where its packets go, device 0 for one that is to be found out. One, unless it is `multipath`.
    pub nexthops: Vec<Nexthop6>,
    /// It was asked for as a list of nexthops.
    pub multipath: bool,
    /// Number of a nexthop object, or 0.
    pub nh_id: u32,
}

/// The table is there from now on: a rule leads to it.
pub(crate) fn make_table(ns: Ns<'_>, id: u32) {
    ns.inet6.write().fib.make(id);
}

impl Rtnl<'_> {
    /// Adds a route (`inet6_rtm_newroute`).
    ///
    /// # Errors
    /// [`RouteError6`], and nothing has changed.
    pub fn new_route6(&mut self, net: &Net, spec: &RouteSpec6, how: Placing) -> Result<(), RouteError6> {
        let ns = self.ns(net).ok_or(RouteError6::NoDevice)?;
        if spec.kind > rtn::MAX {
            return Err(RouteError6::BadType);
        }
        let rejects = matches!(spec.kind, rtn::BLACKHOLE | rtn::UNREACHABLE | rtn::PROHIBIT | rtn::THROW);
        if spec.nh_id == 0 && spec.multipath && !rejects && spec.nexthops.iter().any(|hop| hop.gateway.is_none()) {
            return Err(RouteError6::DeviceOnly);
        }
        // The table is there from now on, whatever becomes of the route.
        ns.inet6.write().fib.make(spec.table);
        let how = Placing { sweep: spec.nexthops.len() > 1, ..how };
        let mut routes = Vec::with_capacity(spec.nexthops.len());
        if spec.nh_id != 0 {
            routes.push(by_object(self, ns, spec)?);
        }
        for nexthop in spec.nexthops.iter().filter(|_| spec.nh_id == 0) {
            routes.push(resolve(self, ns, spec, *nexthop)?);
        }
        check_all(&ns.inet6.read().fib, spec.table, &routes, how)?;
        let several = spec.multipath;
        let mut first: Option<Placed> = None;
        for route in routes {
            let ends = route.expires.is_some();
            let how = match first {
                None => how,
                Some(_) => Placing { append: how.append, create: true, ..Placing::default() },
            };
            // Checked above: each of them fits.
            let placed = ns.inet6.write().fib.insert(spec.table, route, how)?;
            if ends {
                collect_later(self, ns);
            }
            first.get_or_insert(placed);
        }
        let Some(placed) = first else { return Ok(()) };
        let appended = if how.append { came::APPENDED } else { 0 };
        let flags = match () {
            () if !placed.replaced.is_empty() => came::REPLACED,
            () if placed.first && !several => came::FIRST,
            () => came::BESIDE | appended,
        };
        let view = View::of(ns, self.now());
        let info = {
            let inet6 = ns.state().inet6.read();
            let node = inet6.fib.node(spec.table, NodeKey::of(&placed.route));
            show::route_info(&inet6, spec.table, node, &placed.route, !several, view)
        };
        self.notify(ns, route_notice(Some(flags), info));
        Ok(())
    }
}

pub(super) fn route_notice(added: Option<u16>, mut route: RouteInfo6) -> Notice {
    if added.is_none() {
        // What is gone does not end any more.
        route.expires = None;
    }
    Notice::Inet6(Inet6Notice::Route { added, route: Box::new(route) })
}

/// Whether all of `routes` can be put into the table, one after the other.
fn check_all(fib: &Fib6, id: u32, routes: &[Route6], how: Placing) -> Result<(), RouteError6> {
    let later = Placing { create: true, ..Placing::default() };
    for (i, route) in routes.iter().enumerate() {
        let replaces = how.replace && i > 0;
        if !replaces {
            fib.check(id, route, if i == 0 { how } else { later })?;
        }
        let same = |r: &Route6| r.nexthop.oif == route.nexthop.oif && r.nexthop.gateway == route.nexthop.gateway;
        if routes[..i].iter().any(same) {
            return Err(RouteError6::Exists);
        }
    }
    Ok(())
}

/// What a request says of a route apart from its way out.
fn bare(rtnl: &Rtnl<'_>, spec: &RouteSpec6, nexthop: Nexthop6) -> Route6 {
    Route6 {
        dst: spec.dst,
        src: spec.src,
        metric: if spec.metric == 0 { METRIC_USER } else { spec.metric },
        kind: if spec.kind == 0 { rtn::UNICAST } else { spec.kind },
        proto: if spec.proto == 0 { PROTO_BOOT } else { spec.proto },
        pref: spec.pref,
        by_router: false,
        prefsrc: spec.prefsrc,
        metrics: spec.metrics.clone().filter(|m| !m.is_empty()),
        expires: spec.expires.map(|seconds| rtnl.now() + Duration::from_secs(seconds.into())),
        nexthop,
        object: None,
        id: RouteId::new(),
    }
}

/// The route by way of a nexthop object.
fn by_object(rtnl: &Rtnl<'_>, ns: Ns<'_>, spec: &RouteSpec6) -> Result<Route6, RouteError6> {
    if !spec.src.is_any() {
        return Err(RouteError6::NexthopWithSource);
    }
    let object = nexthop::get(ns, spec.nh_id).ok_or(RouteError6::NoNexthop)?;
    may_use(&object)?;
    let first = *hops_of(&object).first().ok_or(RouteError6::NoNexthop)?;
    let mut route = bare(rtnl, spec, first);
    if let Some(source) = spec.prefsrc
        && !is_ours(&ns.state().inet6.read(), source, None)
    {
        return Err(RouteError6::BadSource);
    }
    route.object = Some(object);
    Ok(route)
}

/// Whether an IPv6 route may point to the object.
fn may_use(object: &Resolved) -> Result<(), RouteError6> {
    match () {
        () if !object.inet6 => Err(RouteError6::NotInet6Nexthop),
        () if object.fdb => Err(RouteError6::FdbNexthop),
        () => Ok(()),
    }
}

/// Whether the routes that point to the object `id` may lead by `new`.
pub(crate) fn check_nexthop(ns: Ns<'_>, id: u32, new: &Resolved) -> Result<(), RouteError6> {
    let used = ns.peek_inet6().is_some_and(|inet6| inet6.fib.uses_object(id));
    if used { may_use(new) } else { Ok(()) }
}

/// A nexthop object leads elsewhere now: so do its routes, and who listens hears of it, unless routes do not tell where
/// objects lead.
pub(crate) fn nexthop_replaced(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, object: &Arc<Resolved>) {
    for info in redirect(rtnl, ns, object).into_iter().filter(|info| info.tells_nexthops) {
        rtnl.notify(ns, route_notice(Some(came::REPLACED), info));
    }
}

/// A group lost a member: its routes follow in silence.
pub(crate) fn nexthop_shrunk(rtnl: &Rtnl<'_>, ns: Ns<'_>, object: &Arc<Resolved>) {
    let _ = redirect(rtnl, ns, object);
}

fn redirect(rtnl: &Rtnl<'_>, ns: Ns<'_>, object: &Arc<Resolved>) -> Vec<RouteInfo6> {
    let view = View::of(ns, rtnl.now());
    let Some(first) = hops_of(object).first().copied() else { return Vec::new() };
    if ns.state().peek_inet6().is_none_or(|inet6| !inet6.fib.uses_object(object.id)) {
        return Vec::new();
    }
    let mut inet6 = ns.state().inet6.write();
    let mut told = Vec::new();
    for (id, route) in inet6.fib.of_object(object.id) {
        inet6.fib.edit(id, &route, |r| {
            r.nexthop = first;
            r.object = Some(Arc::clone(object));
        });
        let mut shown = Route6::clone(&route);
        (shown.nexthop, shown.object) = (first, Some(Arc::clone(object)));
        told.push(show::route_info(&inet6, id, None, &Arc::new(shown), false, view));
    }
    told
}

/// A nexthop object is gone, and its routes with it. Where routes do not tell where objects lead, who hears of the object
/// knows it.
pub(crate) fn nexthop_gone(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, id: u32) {
    let routes = ns.state().peek_inet6().map(|inet6| inet6.fib.of_object(id)).unwrap_or_default();
    let told = routes.is_empty() || nexthop_compat(ns);
    for (table, route) in routes {
        if told {
            remove(rtnl, ns, table, &route);
        } else {
            ns.state().inet6.write().fib.remove(table, &route);
        }
    }
}

/// The route that a nexthop of a request makes, with its device found out (`ip6_route_info_create`).
fn resolve(rtnl: &Rtnl<'_>, ns: Ns<'_>, spec: &RouteSpec6, nexthop: Nexthop6) -> Result<Route6, RouteError6> {
    let mut route = bare(rtnl, spec, nexthop);
    let given = hop::given(ns, &nexthop)?;
    if route.rejects() {
        let lo = loopback(ns).ok_or(RouteError6::NoDevice)?;
        route.nexthop = Nexthop6 { oif: lo.index(), gateway: None, onlink: false, weight: 1 };
        plain(&mut route);
        return Ok(route);
    }
    let device = hop::egress(ns, rtnl.now(), spec.table, &nexthop, given)?;
    let inet6 = ns.state().inet6.read();
    if let Some(source) = spec.prefsrc
        && !is_ours(&inet6, source, is_link_local(source).then_some(device.index()))
    {
        return Err(RouteError6::BadSource);
    }
    route.nexthop.oif = device.index();
    if device.stored_flags.contains(IfFlags::LOOPBACK) && route.kind != rtn::LOCAL && !route.dst.addr().is_loopback() {
        plain(&mut route);
    }
    Ok(route)
}

/// Of a route that leads nowhere no router has a preference, and it does not end (`RTF_REJECT` takes the place of both).
fn plain(route: &mut Route6) {
    (route.pref, route.expires) = (0, None);
}

/// The MTU of a device is another one than `before`: routes by it that say one follow, if theirs is no smaller, or was the
/// device's, and if it is not locked (`rt6_mtu_change`).
pub(crate) fn follow_mtu(ns: Ns<'_>, link: &Link, before: u32) {
    if ns.peek_inet6().is_none() {
        return;
    }
    let mut inet6 = ns.state().inet6.write();
    let said = inet6.dev(link.index()).and_then(|idev| idev.conf.get(devconf::MTU));
    let before = said.map_or(before, i32::cast_unsigned);
    let follows = |metrics: &Metrics| {
        let mtu = metrics.get(RTAX_MTU);
        mtu != 0 && metrics.get(RTAX_LOCK) & 1 << RTAX_MTU == 0 && (mtu >= link.mtu || mtu == before)
    };
    for (id, route) in inet6.fib.of_device(link.index()) {
        if route.metrics.as_deref().is_some_and(follows) {
            inet6.fib.edit(id, &route, |route| {
                if let Some(metrics) = &mut route.metrics {
                    Arc::make_mut(metrics).set_mtu(link.mtu);
                }
            });
        }
    }
}

fn loopback(ns: Ns<'_>) -> Option<Arc<Link>> {
    let is_it = |link: &Arc<Link>| link.stored_flags.contains(IfFlags::LOOPBACK);
    ns.state().links.by_index(1).filter(is_it).or_else(|| ns.state().links.all().into_iter().find(is_it))
}

/// Adds a route of the kernel's own; if it is there, its end is that of the new one. Who listens hears of a new one only.
pub(crate) fn add_own(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, id: u32, route: Route6) {
    let view = View::of(ns, rtnl.now());
    let ends = route.expires.is_some();
    let info = {
        let mut inet6 = ns.state().inet6.write();
        let known = inet6.fib.node(id, NodeKey::of(&route)).and_then(|node| {
            let same = |r: &&Arc<Route6>| r.metric == route.metric && r.nexthop == route.nexthop;
            node.iter().find(same).cloned()
        });
        match known {
            Some(known) if known.expires == route.expires => None,
            Some(known) => {
                // What had an end and has none any more is somebody's for good: routers have no say in it.
                inet6.fib.edit(id, &known, |r| {
                    r.by_router &= route.expires.is_some();
                    r.expires = route.expires;
                });
                None
            }
            None => {
                let how = Placing { create: true, ..Placing::default() };
                inet6.fib.insert(id, route, how).ok().map(|placed| {
                    let flags = if placed.first { came::FIRST } else { came::BESIDE };
                    (flags, show::route_info(&inet6, id, None, &placed.route, false, view))
                })
            }
        }
    };
    if ends {
        collect_later(rtnl, ns);
    }
    if let Some((flags, info)) = info {
        rtnl.notify_caused(ns, route_notice(Some(flags), info));
    }
}

/// Whether there is such a route.
pub(crate) fn has_own(ns: Ns<'_>, id: u32, dst: Prefix6, is_it: impl Fn(&Route6) -> bool) -> bool {
    own(ns, id, dst, is_it).is_some()
}

/// Takes a route of the kernel's own away, if it is there.
pub(crate) fn del_own(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, id: u32, dst: Prefix6, is_it: impl Fn(&Route6) -> bool) {
    if let Some(route) = own(ns, id, dst, is_it) {
        remove(rtnl, ns, id, &route);
    }
}

/// Changes a route of the kernel's own, of which nobody is told; `false` if there is none.
pub(crate) fn touch_own(
    ns: Ns<'_>,
    id: u32,
    dst: Prefix6,
    is_it: impl Fn(&Route6) -> bool,
    change: impl FnOnce(&mut Route6),
) -> bool {
    let found = own(ns, id, dst, is_it);
    if let Some(route) = &found {
        ns.state().inet6.write().fib.edit(id, route, change);
    }
    found.is_some()
}

/// The same where it may end at another time than before: routes that end are looked for from now on.
pub(crate) fn edit_own(
    rtnl: &mut Rtnl<'_>,
    ns: Ns<'_>,
    id: u32,
    dst: Prefix6,
    is_it: impl Fn(&Route6) -> bool,
    change: impl FnOnce(&mut Route6),
) -> bool {
    let found = touch_own(ns, id, dst, is_it, change);
    if found {
        collect_later(rtnl, ns);
    }
    found
}

fn own(ns: Ns<'_>, id: u32, dst: Prefix6, is_it: impl Fn(&Route6) -> bool) -> Option<Arc<Route6>> {
    let inet6 = ns.state().inet6.read();
    let node: &Node = inet6.fib.node(id, NodeKey { dst, src: Prefix6::ANY })?;
    node.iter().find(|r| is_it(r)).cloned()
}

/// Takes out one route and tells of it.
fn remove(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, id: u32, route: &Arc<Route6>) {
    let view = View::of(ns, rtnl.now());
    let info = {
        let mut inet6 = ns.state().inet6.write();
        let info = show::route_info(&inet6, id, None, route, false, view);
        inet6.fib.remove(id, route).then_some(info)
    };
    if let Some(info) = info {
        rtnl.notify_caused(ns, route_notice(None, info));
    }
}

/// A device goes down: its routes go, but of several nexthops those that have company on a living device are only dead.
/// With `gone`, all go.
pub(crate) fn withdraw(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, ifindex: u32, gone: bool) {
    let routes = ns.state().inet6.read().fib.of_device(ifindex);
    for (id, route) in routes {
        let company: Vec<Arc<Route6>> = {
            let inet6 = ns.state().inet6.read();
            let node = inet6.fib.node(id, NodeKey::of(&route));
            let all: Vec<_> = node.into_iter().flat_map(|node| sharing(node, &route)).cloned().collect();
            let alive =
                |r: &Arc<Route6>| r.nexthop.oif != ifindex && !inet6.dev(r.nexthop.oif).is_some_and(|idev| idev.down);
            if !gone && all.iter().any(alive) {
                continue;
            }
            if gone { Vec::new() } else { all.into_iter().filter(|r| r.nexthop.oif != ifindex).collect() }
        };
        remove(rtnl, ns, id, &route);
        for dead in company {
            remove(rtnl, ns, id, &dead);
        }
    }
}

fn collect_later(rtnl: &mut Rtnl<'_>, ns: Ns<'_>) {
    let asked = std::mem::replace(&mut ns.state().inet6.write().fib.collecting, true);
    if !asked {
        let when = rtnl.now() + COLLECT_EVERY;
        rtnl.set_timer(ns, when, super::timer_of(Timer::Collect));
    }
}

/// Takes out the routes whose time is over, and comes back while there are others (`fib6_run_gc`).
pub(crate) fn collect(rtnl: &mut Rtnl<'_>, ns: Ns<'_>) {
    ns.state().inet6.write().fib.collecting = false;
    if collect_now(rtnl, ns) {
        collect_later(rtnl, ns);
    }
}

/// The same as soon as whoever holds rtnl is done.
pub(crate) fn collect_soon(rtnl: &mut Rtnl<'_>, ns: Ns<'_>) {
    let some = ns.state().inet6.read().fib.collecting;
    if some {
        rtnl.set_timer(ns, rtnl.now(), super::timer_of(Timer::CollectOnce));
    }
}

/// Says whether some are left whose time will come.
pub(crate) fn collect_now(rtnl: &mut Rtnl<'_>, ns: Ns<'_>) -> bool {
    let now = rtnl.now();
    let (over, waiting): (Vec<_>, Vec<_>) =
        ns.state().inet6.write().fib.ending().into_iter().partition(|(_, route)| route.is_expired(now));
    for (id, route) in over {
        remove(rtnl, ns, id, &route);
    }
    !waiting.is_empty()
}
