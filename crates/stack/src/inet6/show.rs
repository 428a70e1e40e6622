//! Reading: what dumps, answers and messages show.

use std::iter;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use pernet::Net;

use super::conf::{devconf, has_inet6};
use super::fib::{Node, NodeKey, sharing};
use super::idev::{BORN_GROUPS, Idev, Ifa6, Member};
use super::label::{AddrLabel, Labels};
use super::prefix::Prefix6;
use super::route::{Nexthop6, Route6, RouteInfo6, rtn, rtnh};
use super::{Inet6, LabelError};
use crate::clock;
use crate::dev::{Link, Stack};
use crate::l3::Listing;
use crate::mib::Inet6Stats;
use crate::neigh::{self, NeighFamily, NeighParm};
use crate::rtnl::Rtnl;
use crate::state::{NetState, Ns};
use crate::sysctl::nexthop_compat;

/// Addresses in the order of a dump.
#[derive(Clone, Debug, Default)]
pub struct AddrPage6 {
    /// Index of the device, place in its list, the address.
    pub entries: Vec<(u32, u32, Ifa6)>,
    /// Differs between two pages if something changed in between.
    pub generation: u64,
    /// The time, in hundredths of a second, that lifetimes are told by.
    pub now: u32,
}

/// A membership as a dump shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// The device.
    pub ifindex: u32,
    /// The group, or anycast address.
    pub addr: Ipv6Addr,
    /// How many asked for it.
    pub users: u32,
    /// When it was joined, hundredths of a second.
    pub created: u32,
}

/// The IPv6 part of a link (`inet6_fill_ifla6_attrs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inet6Link {
    /// `IF_*`.
    pub flags: u32,
    /// All settings by `DEVCONF_*` number.
    pub conf: [i32; 60],
    /// When anything of it last changed, hundredths of a second.
    pub changed: u32,
    /// Milliseconds that a neighbour is believed reachable.
    pub reachable_ms: u32,
    /// Milliseconds between two questions for one.
    pub retrans_ms: u32,
    /// The interface part for addresses from advertisements.
    pub token: Ipv6Addr,
    /// `IN6_ADDR_GEN_MODE_*`.
    pub addr_gen_mode: u8,
    /// What was counted on it.
    pub stats: Inet6Stats,
}

/// `IF_READY`: IPv6 works. `IF_RS_SENT`, `IF_RA_RCVD`: routers were asked for, one answered.
const IF_READY: u32 = 0x8000_0000;
/// What it is born with, milliseconds.
const BASE_REACHABLE: u64 = 30_000;
const IF_RA_RCVD: u32 = 0x20;
const IF_RS_SENT: u32 = 0x10;

fn flags(idev: &Idev) -> u32 {
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    let routers = idev.router;
    flag(idev.ready, IF_READY)
        | u32::from(routers.managed)
        | flag(routers.asked, IF_RS_SENT)
        | flag(routers.heard, IF_RA_RCVD)
}

/// What a device's IPv6 is now; `None` if it has none.
pub(crate) fn inet6_link(state: &NetState, link: &Link) -> Option<Inet6Link> {
    if !has_inet6(link) {
        return None;
    }
    // One part after the other.
    let parms = neigh::parms(state, link.index(), NeighFamily::V6);
    let [base, retrans_ms] =
        [NeighParm::BaseReachableTime, NeighParm::RetransTime].map(|p| parms.get(p).cast_unsigned());
    let inet6 = state.peek_inet6();
    let idev = inet6.as_ref().and_then(|inet6| inet6.dev(link.index()));
    let mut conf = link.class().inet6.0;
    conf[devconf::MTU] = link.mtu.cast_signed();
    for (number, value) in idev.into_iter().flat_map(|idev| idev.conf.iter()) {
        if let Some(slot) = conf.get_mut(number) {
            *slot = value;
        }
    }
    Some(Inet6Link {
        flags: idev.map_or(0, flags),
        addr_gen_mode: u8::try_from(conf[devconf::ADDR_GEN_MODE]).unwrap_or(0),
        conf,
        changed: idev.map_or(link.inet6_changed, |idev| idev.changed),
        // Somewhere between half and one and a half of the base time, always in the same place.
        reachable_ms: (u64::from(link.inet6_reachable_ms) * u64::from(base) / BASE_REACHABLE) as u32,
        retrans_ms,
        token: idev.map_or(Ipv6Addr::UNSPECIFIED, |idev| idev.token),
        stats: Inet6Stats::of(link),
    })
}

/// Where a dump of routes stands: a table and the route in it that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteCursor6 {
    /// The table.
    pub table: u32,
    /// The destination.
    pub dst: Prefix6,
    /// The source.
    pub src: Prefix6,
    /// How many of that destination were shown.
    pub shown: u32,
}

/// Which routes a dump shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteFilter6 {
    /// Of this table.
    pub table: Option<u32>,
    /// With this `RTPROT_*`.
    pub proto: Option<u8>,
    /// With this `RTN_*`.
    pub kind: Option<u8>,
    /// By this device.
    pub oif: Option<u32>,
    /// What of the routes that pass.
    pub listing: Listing,
}

impl RouteFilter6 {
    fn admits(&self, route: &Route6) -> bool {
        self.proto.is_none_or(|proto| proto == route.proto)
            && self.kind.is_none_or(|kind| kind == route.kind)
            && self.oif.is_none_or(|oif| oif == route.nexthop.oif)
    }
}

/// Routes in the order of a dump.
#[derive(Clone, Debug, Default)]
pub struct RoutePage6 {
    /// Each with where a dump goes on if it is the last that was taken.
    pub entries: Vec<(RouteInfo6, RouteCursor6)>,
    /// Whether there may be more.
    pub more: bool,
    /// Differs between two pages if something changed in between.
    pub generation: u64,
}

impl Stack {
    /// Up to `max` addresses of `net` from place `start` of device `ifindex` on; of no other device with `only`.
    #[must_use]
    pub fn addrs6(&self, net: &Net, (ifindex, start): (u32, u32), only: bool, max: usize) -> AddrPage6 {
        let now = clock::stamp(self.inner().clock.now());
        let Some(inet6) = self.state(net).and_then(|state| state.peek_inet6()) else {
            return AddrPage6 { now, ..AddrPage6::default() };
        };
        let devs = inet6.devs.range(ifindex..).take_while(|(index, _)| !only || **index == ifindex);
        let entries = devs.flat_map(|(&index, idev)| {
            let skip = if index == ifindex { start } else { 0 };
            (0..).zip(&idev.addrs).skip(skip as usize).map(move |(at, ifa)| (index, at, ifa.clone()))
        });
        AddrPage6 { entries: entries.take(max).collect(), generation: inet6.addrs_changed, now }
    }

    /// The device and the entry of an address; of one device, if `ifindex` is not 0.
    #[must_use]
    pub fn addr6(&self, net: &Net, ifindex: u32, addr: Ipv6Addr) -> Option<(u32, Ifa6, u32)> {
        let inet6 = self.state(net)?.peek_inet6()?;
        let mut devs = inet6.devs.iter().filter(|(index, _)| ifindex == 0 || **index == ifindex);
        let found = devs.find_map(|(&index, idev)| Some((index, idev.find(addr)?.clone())));
        found.map(|(index, ifa)| (index, ifa, clock::stamp(self.inner().clock.now())))
    }

    /// The multicast groups that a device listens to, the newest first.
    #[must_use]
    pub fn groups6(&self, net: &Net, link: &Link) -> Vec<MemberInfo> {
        self.state(net).map(|state| groups(state, link)).unwrap_or_default()
    }

    /// The anycast addresses of a device, the newest first.
    #[must_use]
    pub fn anycast6(&self, net: &Net, link: &Link) -> Vec<MemberInfo> {
        self.state(net).map(|state| anycast(state, link)).unwrap_or_default()
    }

    /// The IPv6 part of a link; `None` if it has none.
    #[must_use]
    pub fn inet6_link(&self, net: &Net, link: &Link) -> Option<Inet6Link> {
        inet6_link(self.state(net)?, link)
    }

    /// Whether there is such a routing table.
    #[must_use]
    pub fn has_table6(&self, net: &Net, id: u32) -> bool {
        let inet6 = self.state(net).and_then(|state| state.peek_inet6());
        inet6.map_or(matches!(id, super::route::table::MAIN | super::route::table::LOCAL), |i| i.fib.exists(id))
    }

    /// About `max` routes of `net` from `start` on.
    #[must_use]
    pub fn routes6(&self, net: &Net, start: Option<RouteCursor6>, filter: &RouteFilter6, max: usize) -> RoutePage6 {
        let Some(state) = self.state(net) else { return RoutePage6::default() };
        let now = self.inner().clock.now();
        let view = View::of(Ns::living(state, net), now);
        let listed = filter.listing.exceptions(state, false, now);
        let Some(inet6) = state.peek_inet6() else { return RoutePage6::default() };
        let from = start.map(|c| (c.table, NodeKey { dst: c.dst, src: c.src }));
        let mut page = RoutePage6 { generation: inet6.fib.generation, ..RoutePage6::default() };
        for (id, key, node) in inet6.fib.nodes_from(from, filter.table) {
            if page.entries.len() >= max {
                page.more = true;
                break;
            }
            let shown = start.filter(|_| from == Some((id, key))).map_or(0, |c| c.shown);
            let shown_before = usize::try_from(shown).unwrap_or(usize::MAX);
            let each = node.iter().flat_map(|route| {
                let learned = listed.get(&route.id.number()).into_iter().flatten();
                iter::once((route, None)).chain(learned.map(move |one| (route, Some(one))))
            });
            for (at, (route, exception)) in each.enumerate().skip(shown_before) {
                // Those that share traffic are one entry, in the place of the first.
                let first = sharing(node, route).next();
                if first.is_some_and(|first| !Arc::ptr_eq(first, route))
                    || !filter.admits(route)
                    || exception.is_none() && !filter.listing.routes()
                {
                    continue;
                }
                let next = u32::try_from(at + 1).unwrap_or(u32::MAX);
                let cursor = RouteCursor6 { table: id, dst: key.dst, src: key.src, shown: next };
                let info = route_info(&inet6, id, Some(node), route, false, view);
                let info = match exception {
                    None => info,
                    Some((path, learned)) => info.exception(path, *learned),
                };
                page.entries.push((info, cursor));
            }
        }
        page
    }

    /// The address labels of `net`, and the number that counts their changes.
    #[must_use]
    pub fn addr_labels(&self, net: &Net) -> (Vec<AddrLabel>, u32) {
        let inet6 = self.state(net).and_then(|state| state.peek_inet6());
        let own = inet6.as_ref().and_then(|inet6| inet6.labels.as_deref());
        let (list, seq) = own.map_or_else(|| copy(&Labels::default()), copy);
        (list, seq)
    }

    /// The label of an address on a device.
    #[must_use]
    pub fn addr_label(&self, net: &Net, addr: Ipv6Addr, ifindex: u32) -> Option<(AddrLabel, u32)> {
        let inet6 = self.state(net).and_then(|state| state.peek_inet6());
        let own = inet6.as_ref().and_then(|inet6| inet6.labels.as_deref());
        let born = Labels::default();
        let labels = own.unwrap_or(&born);
        Some((labels.get(addr, ifindex)?, labels.list().1))
    }
}

fn copy(labels: &Labels) -> (Vec<AddrLabel>, u32) {
    let (list, seq) = labels.list();
    (list.to_vec(), seq)
}

impl Rtnl<'_> {
    /// Adds an address label, or with `replace` changes it.
    ///
    /// # Errors
    /// [`LabelError`], and nothing has changed.
    pub fn new_addr_label(&mut self, net: &Net, label: AddrLabel, replace: bool) -> Result<(), LabelError> {
        let ns = self.ns(net).ok_or(LabelError::Invalid)?;
        ns.state().inet6.write().labels.get_or_insert_default().add(label, replace)
    }

    /// Takes an address label away.
    ///
    /// # Errors
    /// [`LabelError::NotFound`].
    pub fn del_addr_label(&mut self, net: &Net, prefix: Prefix6, ifindex: u32) -> Result<(), LabelError> {
        let ns = self.ns(net).ok_or(LabelError::NotFound)?;
        ns.state().inet6.write().labels.get_or_insert_default().del(prefix, ifindex)
    }
}

pub(crate) fn groups(state: &NetState, link: &Link) -> Vec<MemberInfo> {
    if !has_inet6(link) {
        return Vec::new();
    }
    let inet6 = state.peek_inet6();
    match inet6.as_ref().and_then(|inet6| inet6.dev(link.index())) {
        Some(idev) => members(link, &idev.groups),
        None => {
            let created = link.inet6_changed;
            let born = BORN_GROUPS.map(|addr| Member { addr, users: 1, created });
            members(link, &born)
        }
    }
}

pub(crate) fn anycast(state: &NetState, link: &Link) -> Vec<MemberInfo> {
    let inet6 = state.peek_inet6();
    let idev = inet6.as_ref().and_then(|inet6| inet6.dev(link.index()));
    idev.map(|idev| members(link, &idev.anycast)).unwrap_or_default()
}

fn members(link: &Link, list: &[Member]) -> Vec<MemberInfo> {
    let ifindex = link.index();
    list.iter().map(|m| MemberInfo { ifindex, addr: m.addr, users: m.users, created: m.created }).collect()
}

/// `RTNH_F_*` of a nexthop at present.
pub(crate) fn nexthop_flags(inet6: &Inet6, nexthop: &Nexthop6, kind: u8) -> u8 {
    let onlink = if nexthop.onlink { rtnh::ONLINK } else { 0 };
    let unaffected = [rtn::LOCAL, rtn::ANYCAST, rtn::BLACKHOLE, rtn::UNREACHABLE, rtn::PROHIBIT, rtn::THROW];
    let Some(idev) = inet6.dev(nexthop.oif).filter(|_| !unaffected.contains(&kind)) else { return onlink };
    let ignored = idev.conf.get(devconf::IGNORE_ROUTES_WITH_LINKDOWN).is_some_and(|on| on != 0);
    match (idev.down, idev.linkdown) {
        (true, _) => onlink | rtnh::DEAD | rtnh::LINKDOWN,
        (false, true) if ignored => onlink | rtnh::DEAD | rtnh::LINKDOWN,
        (false, true) => onlink | rtnh::LINKDOWN,
        (false, false) => onlink,
    }
}

/// What a route is shown by, beside the tables. Made before the tables are locked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    now: Duration,
    /// Routes tell where their nexthop objects lead.
    objects: bool,
}

impl View {
    pub(crate) fn of(ns: Ns<'_>, now: Duration) -> Self {
        Self { now, objects: nexthop_compat(ns) }
    }
}

/// A route as messages show it: alone, or with those in `node` that share its traffic, in order or itself first.
pub(crate) fn route_info(
    inet6: &Inet6,
    id: u32,
    node: Option<&Node>,
    route: &Arc<Route6>,
    itself_first: bool,
    view: View,
) -> RouteInfo6 {
    let with_flags = |r: &Route6| (r.nexthop, nexthop_flags(inet6, &r.nexthop, r.outcome()));
    let mut nexthops = Vec::new();
    if let Some(object) = route.object.as_deref().filter(|object| object.group.is_some()) {
        let hops = super::route::hops_of(object).into_iter();
        nexthops.extend(hops.map(|hop| (hop, nexthop_flags(inet6, &hop, route.outcome()))));
    }
    if let Some(node) = node.filter(|node| node.len() > 1) {
        let all = || sharing(node, route);
        if all().nth(1).is_some() {
            if itself_first {
                nexthops.push(with_flags(route));
            }
            let others = all().filter(|r| !itself_first || !Arc::ptr_eq(r, route));
            nexthops.extend(others.map(|r| with_flags(r)));
        }
    }
    RouteInfo6 {
        table: id,
        dst: route.dst,
        src: route.src,
        kind: route.outcome(),
        proto: route.proto,
        metric: route.metric,
        pref: route.pref,
        prefsrc: route.prefsrc,
        metrics: route.metrics.clone(),
        expires: route.expires.map(|when| left(when, view.now)),
        nexthop: with_flags(route),
        nexthops,
        nh_id: route.nh_id(),
        tells_nexthops: view.objects || route.object.is_none(),
        learned: None,
    }
}

/// Hundredths of a second from `now` to `when`, begun ones too: who has just said "1800 seconds" reads that.
fn left(when: Duration, now: Duration) -> i32 {
    let cs = |d: Duration| i32::try_from(d.as_micros().div_ceil(10_000)).unwrap_or(i32::MAX);
    match when.checked_sub(now) {
        Some(left) => cs(left),
        None => -cs(now.saturating_sub(when)),
    }
}
