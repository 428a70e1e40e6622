//! Finding a route (`ip6_route_output`, `inet6_rtm_getroute`).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use pernet::Net;

use super::fib::{NodeKey, sharing};
use super::route::{Nexthop6, Route6, RouteError6, RouteInfo6, rtn, rtnh};
use super::show::{self, View, nexthop_flags};
use super::{Inet6, Prefer, select};
use crate::dev::Stack;
use crate::l3::{self, Learned};
use crate::multipath::{self, Policy, Seen};
use crate::rules::{self, Family, Selectors, Verdict};
use crate::state::Ns;

/// The loopback's index: where packets of our own come from.
pub(super) const LOOPBACK: u32 = 1;

/// What routing depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow6 {
    /// Where to.
    pub dst: Ipv6Addr,
    /// Where from, if that is decided.
    pub src: Option<Ipv6Addr>,
    /// The device it came in by, 0 if it is ours.
    pub iif: u32,
    /// The device it must go out by, or 0. If the source is decided and the destination means something beyond one link,
    /// that is a wish, which other devices of a route of several ways are passed over for, and no more.
    pub oif: u32,
    /// It is no wish: the socket is bound to that device.
    pub bound: bool,
    /// Firewall mark.
    pub mark: u32,
    /// Who sends it.
    pub uid: u32,
    /// Traffic class.
    pub tos: u8,
    /// `IPPROTO_*`, or 0.
    pub ip_proto: u8,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Whether a device without a carrier will do even where `ignore_routes_with_linkdown` is set: a gateway is looked for
    /// so, or no route could be prepared before its link comes up.
    pub any_link_state: bool,
    /// Which of several ways it takes, where more of the packet decides than is said here.
    pub spread: Option<u64>,
}

impl Default for Flow6 {
    fn default() -> Self {
        Self {
            dst: Ipv6Addr::UNSPECIFIED,
            src: None,
            iif: 0,
            oif: 0,
            bound: false,
            mark: 0,
            uid: 0,
            tos: 0,
            ip_proto: 0,
            sport: 0,
            dport: 0,
            flow_label: 0,
            any_link_state: false,
            spread: None,
        }
    }
}

/// The answer to "which way?".
#[derive(Clone, Debug)]
pub struct Answer6 {
    /// The route as it stands in its table.
    pub route: RouteInfo6,
    /// The device: for our own addresses, the loopback.
    pub oif: u32,
    /// The router.
    pub gateway: Option<Ipv6Addr>,
    /// The address to send from; `None` for forwarded packets, or if there is none.
    pub prefsrc: Option<Ipv6Addr>,
    /// What packets learnt of the way.
    pub learned: Option<Learned>,
}

impl Stack {
    /// Finds the way of a packet.
    ///
    /// # Errors
    /// [`RouteError6`] with the errno a sender gets.
    pub fn route6(&self, net: &Net, flow: &Flow6) -> Result<Answer6, RouteError6> {
        let state = self.state(net).ok_or(RouteError6::NetUnreachable)?;
        let ns = Ns::living(state, net);
        for oif in [flow.iif, flow.oif] {
            if oif != 0 && oif == flow.iif && state.links.by_index(oif).is_none() {
                return Err(RouteError6::NoDevice);
            }
        }
        let now = self.inner().clock.now();
        let (id, route) = by_rules(ns, flow, now)?;
        let seen = View::of(ns, now);
        let inet6 = state.inet6.read();
        let oif = if route.outcome() == rtn::LOCAL { LOOPBACK } else { route.nexthop.oif };
        let prefsrc = match route.prefsrc {
            _ if flow.iif != 0 => None,
            Some(prefsrc) => Some(prefsrc),
            None => select::source(&state.links, &inet6, flow.dst, oif, Prefer::Usual),
        };
        let node = inet6.fib.node(id, NodeKey::of(&route));
        let info = show::route_info(&inet6, id, node, &route, false, seen);
        let mut gateway = route.nexthop.gateway;
        let path = route.path(&route.nexthop, flow.dst);
        let learned = if flow.iif == 0 { l3::learned(state, &path, now) } else { None };
        if let Some(IpAddr::V6(nearer)) = learned.and_then(|learned| learned.gateway) {
            gateway = Some(nearer);
        }
        Ok(Answer6 { route: info, oif, gateway, prefsrc, learned })
    }
}

/// Asks the tables that the rules name, in order.
pub(crate) fn by_rules(ns: Ns<'_>, flow: &Flow6, now: Duration) -> Result<(u32, Arc<Route6>), RouteError6> {
    let packet = Selectors {
        src: flow.src.unwrap_or(Ipv6Addr::UNSPECIFIED).into(),
        dst: flow.dst.into(),
        // The two low bits are not of the class: they tell of congestion.
        tos: flow.tos & 0xfc,
        mark: flow.mark,
        iif: if flow.iif == 0 { LOOPBACK } else { flow.iif },
        oif: flow.oif,
        uid: flow.uid,
        protocol: flow.ip_proto,
        sport: flow.sport,
        dport: flow.dport,
        flow_label: flow.flow_label,
    };
    let mut refusal = RouteError6::NetUnreachable;
    let verdict = rules::lookup(ns, Family::Inet6, &packet, |id, rule| {
        let found = in_table(&ns.state().inet6.read(), id, flow, multipath::policy(ns, true), now);
        let Some(route) = found else { return Verdict::Continue };
        refusal = match route.outcome() {
            rtn::THROW => return Verdict::Continue,
            rtn::BLACKHOLE => RouteError6::Blackhole,
            rtn::UNREACHABLE => RouteError6::HostUnreachable,
            rtn::PROHIBIT => RouteError6::Prohibited,
            _ if rule.suppresses(ns, route.dst.prefix_len(), route.nexthop.oif) => return Verdict::Continue,
            _ => return Verdict::Found((id, route)),
        };
        Verdict::Fail(refusal.errno())
    });
    match verdict {
        Verdict::Found(found) => Ok(found),
        Verdict::Continue => Err(RouteError6::NetUnreachable),
        // What a route said, or else what a rule says.
        Verdict::Fail(errno) if errno == refusal.errno() => Err(refusal),
        Verdict::Fail(13) => Err(RouteError6::Prohibited),
        Verdict::Fail(22) => Err(RouteError6::Blackhole),
        Verdict::Fail(_) => Err(RouteError6::NetUnreachable),
    }
}

/// The best route of a table: of the most specific destinations first, then the lowest metric. Of several ways out the
/// one that this flow takes is in its place.
pub(crate) fn in_table(inet6: &Inet6, id: u32, flow: &Flow6, policy: Policy, now: Duration) -> Option<Arc<Route6>> {
    let must = flow.bound
        || flow.src.is_none()
        || flow.dst.is_loopback()
        || flow.dst.is_multicast()
        || flow.dst.is_unicast_link_local();
    let open = |hop: &Nexthop6, kind: u8| {
        let down = inet6.dev(hop.oif).is_none_or(|idev| idev.down);
        let dead = nexthop_flags(inet6, hop, kind) & rtnh::DEAD != 0 && (down || !flow.any_link_state);
        !dead && (!must || flow.oif == 0 || hop.oif == flow.oif)
    };
    let usable = |route: &Route6| {
        let some = match &route.object {
            None => open(&route.nexthop, route.kind),
            Some(_) => route.hops().iter().any(|hop| open(hop, route.outcome())),
        };
        some && !route.is_expired(now)
    };
    let mut found = None;
    inet6.fib.table(id)?.walk(flow.dst, flow.src, |node| {
        let Some(route) = node.iter().find(|r| usable(r)) else { return true };
        found = Some(if route.object.is_some() {
            let mut hops: Vec<Nexthop6> = route.hops().into_iter().filter(|hop| open(hop, route.outcome())).collect();
            prefer(&mut hops, |hop| flow.oif != 0 && hop.oif == flow.oif);
            match share(&hops, |hop| hop.weight, flow, policy) {
                Some(hop) if *hop != route.nexthop => Arc::new(Route6 { nexthop: *hop, ..Route6::clone(route) }),
                _ => Arc::clone(route),
            }
        } else {
            let mut alive: Vec<&Arc<Route6>> = sharing(node, route).filter(|r| usable(r)).collect();
            prefer(&mut alive, |r| flow.oif != 0 && r.nexthop.oif == flow.oif);
            Arc::clone(share(&alive, |r| r.nexthop.weight, flow, policy).copied().unwrap_or(route))
        });
        false
    });
    found
}

/// Leaves only those that are wished for, if any is.
fn prefer<T>(all: &mut Vec<T>, wished: impl Fn(&T) -> bool) {
    if all.iter().any(&wished) {
        all.retain(wished);
    }
}

/// One of several that share traffic: the same for the same flow, and each as often as its weight says.
fn share<'r, T>(all: &'r [T], weight: impl Fn(&T) -> u16, flow: &Flow6, policy: Policy) -> Option<&'r T> {
    let total: u64 = all.iter().map(|one| u64::from(weight(one))).sum();
    let mix = |sum: u64, part: u64| (sum ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let halves = |addr: Ipv6Addr| {
        let bits = addr.to_bits();
        [(bits >> 64) as u64, bits as u64]
    };
    let src = flow.src.unwrap_or(Ipv6Addr::UNSPECIFIED);
    let hash = if policy.is_born() {
        let parts = halves(flow.dst).into_iter().chain(halves(src));
        mix(parts.fold(0, mix), u64::from(flow.ip_proto) << 32 | u64::from(flow.flow_label))
    } else {
        flow.spread.unwrap_or_else(|| {
            let Flow6 { dst, ip_proto: protocol, sport, dport, flow_label: label, .. } = *flow;
            policy.hash(&Seen { src: src.into(), dst: dst.into(), protocol, sport, dport, label }, None)
        })
    };
    let mut at = (hash >> 16) % total.max(1);
    for one in all {
        match at.checked_sub(u64::from(weight(one))) {
            Some(rest) => at = rest,
            None => return Some(one),
        }
    }
    all.first()
}
