//! Finding a route (`ip6_route_output`, `inet6_rtm_getroute`).

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use pernet::Net;

use super::fib::{NodeKey, sharing};
use super::route::{Route6, RouteError6, RouteInfo6, rtn, table};
use super::show::{self, nexthop_flags};
use super::{Inet6, select};
use crate::dev::Stack;
use crate::state::Ns;

/// What routing depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow6 {
    /// Where to.
    pub dst: Ipv6Addr,
    /// Where from, if that is decided.
    pub src: Option<Ipv6Addr>,
    /// The device it came in by, 0 if it is ours.
    pub iif: u32,
    /// The device it must go out by, or 0.
    pub oif: u32,
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
}

impl Default for Flow6 {
    fn default() -> Self {
        Self {
            dst: Ipv6Addr::UNSPECIFIED,
            src: None,
            iif: 0,
            oif: 0,
            mark: 0,
            uid: 0,
            tos: 0,
            ip_proto: 0,
            sport: 0,
            dport: 0,
            flow_label: 0,
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
        let inet6 = state.inet6.read();
        let oif = if route.kind == rtn::LOCAL { 1 } else { route.nexthop.oif };
        let prefsrc = match route.prefsrc {
            _ if flow.iif != 0 => None,
            Some(prefsrc) => Some(prefsrc),
            None => select::source(&state.links, &inet6, flow.dst, oif),
        };
        let node = inet6.fib.node(id, NodeKey::of(&route));
        let info = show::route_info(&inet6, id, node, &route, false, now);
        Ok(Answer6 { route: info, oif, gateway: route.nexthop.gateway, prefsrc })
    }
}

/// Asks the tables that the rules name, in order.
pub(crate) fn by_rules(ns: Ns<'_>, flow: &Flow6, now: Duration) -> Result<(u32, Arc<Route6>), RouteError6> {
    let inet6 = ns.state().inet6.read();
    for id in [table::LOCAL, table::MAIN] {
        let Some(route) = in_table(&inet6, id, flow, now) else { continue };
        return match route.kind {
            rtn::THROW => continue,
            rtn::BLACKHOLE => Err(RouteError6::Blackhole),
            rtn::UNREACHABLE => Err(RouteError6::HostUnreachable),
            rtn::PROHIBIT => Err(RouteError6::Prohibited),
            _ => Ok((id, route)),
        };
    }
    Err(RouteError6::NetUnreachable)
}

/// The best route of a table: of the most specific destinations first, then the lowest metric.
pub(crate) fn in_table(inet6: &Inet6, id: u32, flow: &Flow6, now: Duration) -> Option<Arc<Route6>> {
    let usable = |route: &Route6| {
        let dead = nexthop_flags(inet6, &route.nexthop, route.kind) & super::route::rtnh::DEAD != 0;
        !dead && !route.is_expired(now) && (flow.oif == 0 || route.nexthop.oif == flow.oif)
    };
    let mut found = None;
    inet6.fib.table(id)?.walk(flow.dst, flow.src, |node| {
        let Some(route) = node.iter().find(|r| usable(r)) else { return true };
        let alive: Vec<&Arc<Route6>> = sharing(node, route).filter(|r| usable(r)).collect();
        found = Some(Arc::clone(if alive.len() > 1 { share(&alive, flow) } else { route }));
        false
    });
    found
}

/// One of several that share traffic: the same for the same flow, and each as often as its weight says.
fn share<'r>(routes: &[&'r Arc<Route6>], flow: &Flow6) -> &'r Arc<Route6> {
    let total: u64 = routes.iter().map(|r| u64::from(r.nexthop.weight)).sum();
    let mix = |sum: u64, part: u64| (sum ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let halves = |addr: Ipv6Addr| {
        let bits = addr.to_bits();
        [(bits >> 64) as u64, bits as u64]
    };
    let parts = halves(flow.dst).into_iter().chain(halves(flow.src.unwrap_or(Ipv6Addr::UNSPECIFIED)));
    let hash = mix(parts.fold(0, mix), u64::from(flow.flow_label));
    let mut at = (hash >> 16) % total.max(1);
    for route in routes {
        match at.checked_sub(u64::from(route.nexthop.weight)) {
            Some(rest) => at = rest,
            None => return route,
        }
    }
    routes[0]
}
