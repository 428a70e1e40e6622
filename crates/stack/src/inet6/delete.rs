//! Taking routes away: which one a request means.

use std::net::Ipv6Addr;
use std::sync::Arc;

use pernet::Net;

use super::change::route_notice;
use super::fib::{NodeKey, sharing};
use super::prefix::Prefix6;
use super::route::{PROTO_KERNEL, Route6, RouteError6};
use super::show;
use super::show::View;
use crate::fib::LOOPBACK_IFINDEX;
use crate::l3;
use crate::nexthop;
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Which route is to go.
#[derive(Clone, Debug)]
pub struct RouteKeys6 {
    /// The table.
    pub table: u32,
    /// Where to.
    pub dst: Prefix6,
    /// Where from.
    pub src: Prefix6,
    /// 0 for any.
    pub metric: u32,
    /// 0 for any.
    pub proto: u8,
    /// Number of a nexthop object, or 0 for any.
    pub nh_id: u32,
    /// Device (0 for any) and router of each nexthop to go; one, unless they were given as a list.
    pub nexthops: Vec<(u32, Option<Ipv6Addr>)>,
}

impl Rtnl<'_> {
    /// Takes a route away (`inet6_rtm_delroute`). Of a list of nexthops all go, or none: Linux takes those away that are
    /// there, and refuses when one was not.
    ///
    /// # Errors
    /// [`RouteError6`]: there is none, or not by each of the nexthops.
    pub fn del_route6(&mut self, net: &Net, keys: &RouteKeys6) -> Result<(), RouteError6> {
        let ns = self.ns(net).ok_or(RouteError6::NotFound)?;
        if keys.nh_id != 0 && nexthop::get(ns, keys.nh_id).is_none() {
            return Err(RouteError6::NoNexthop);
        }
        all_there(ns, keys)?;
        keys.nexthops.iter().try_for_each(|nexthop| delete_one(self, ns, keys, *nexthop))
    }

    /// Forgets what packets learnt of the way to `keys.dst`, by the first of the nexthops if that says something
    /// (`ip6_del_cached_rt`). If nothing is known of it, that will do as well.
    ///
    /// # Errors
    /// [`RouteError6::NotFound`]: there is no such table, or it is known of another nexthop only.
    pub fn forget_route6(&mut self, net: &Net, keys: &RouteKeys6) -> Result<(), RouteError6> {
        let ns = self.ns(net).ok_or(RouteError6::NotFound)?;
        let (dst, now) = (keys.dst.addr(), self.now());
        let (oif, gateway) = keys.nexthops.first().copied().unwrap_or_default();
        let inet6 = ns.state().inet6.read();
        if !inet6.fib.exists(keys.table) {
            return Err(RouteError6::NotFound);
        }
        let mut result = Ok(());
        let Some(table) = inet6.fib.table(keys.table) else { return result };
        table.walk(dst, Some(keys.src.addr()), |node| {
            for route in node {
                result = Ok(());
                let paths = route.hops().into_iter().map(|hop| route.path(&hop, dst));
                let known = paths.filter_map(|path| Some((path, l3::learned(ns.state(), &path, now)?))).next();
                let Some((path, learned)) = known else { break };
                let by = learned.gateway.or(path.gateway);
                if (oif == 0 || path.oif == oif) && gateway.is_none_or(|gateway| by == Some(gateway.into())) {
                    l3::forget(ns.state(), &path);
                    break;
                }
                result = Err(RouteError6::NotFound);
            }
            false
        });
        result
    }
}

/// Whether a route by each of the nexthops is there, once those before it are gone.
fn all_there(ns: Ns<'_>, keys: &RouteKeys6) -> Result<(), RouteError6> {
    // Most requests name one, and that is found where it goes.
    if keys.nexthops.len() < 2 {
        return Ok(());
    }
    let inet6 = ns.state().inet6.read();
    let node = inet6.fib.node(keys.table, NodeKey { dst: keys.dst, src: keys.src }).ok_or(RouteError6::NotFound)?;
    let mut left: Vec<_> = node.iter().collect();
    for nexthop in &keys.nexthops {
        let at = left.iter().position(|r| keys.fit(r, *nexthop)).ok_or(RouteError6::NotFound)?;
        let route = left.remove(at);
        if nexthop.1.is_none() && route.can_share() {
            left.retain(|r| !(r.can_share() && r.metric == route.metric));
        }
    }
    Ok(())
}

impl RouteKeys6 {
    /// Whether it is that route, by way of that nexthop.
    fn fit(&self, route: &Route6, (oif, gateway): (u32, Option<Ipv6Addr>)) -> bool {
        // Of a route by a nexthop object its number alone is asked for.
        let by_object = route.nh_id() != 0;
        (by_object || oif == 0 || route.nexthop.oif == oif)
            && (by_object || gateway.is_none() || route.nexthop.gateway == gateway)
            && (self.metric == 0 || route.metric == self.metric)
            && (self.proto == 0 || route.proto == self.proto)
            && (self.nh_id == 0 || route.nh_id() == self.nh_id)
    }

    /// Whether it is what stands in the place of a default route where there is none, which nobody can delete
    /// (`fib6_null_entry`): unreachable, by the loopback, after all others.
    fn fit_null(&self, (oif, gateway): (u32, Option<Ipv6Addr>)) -> bool {
        self.dst.is_any()
            && matches!(oif, 0 | LOOPBACK_IFINDEX)
            && gateway.is_none()
            && matches!(self.metric, 0 | u32::MAX)
            && matches!(self.proto, 0 | PROTO_KERNEL)
            && self.nh_id == 0
    }
}

fn delete_one(
    rtnl: &mut Rtnl<'_>,
    ns: Ns<'_>,
    keys: &RouteKeys6,
    nexthop: (u32, Option<Ipv6Addr>),
) -> Result<(), RouteError6> {
    let view = View::of(ns, rtnl.now());
    let (going, info) = {
        let inet6 = ns.state().inet6.read();
        if !inet6.fib.exists(keys.table) {
            return Err(RouteError6::NoTable);
        }
        let key = NodeKey { dst: keys.dst, src: keys.src };
        let none = if keys.fit_null(nexthop) { RouteError6::NoDefault } else { RouteError6::NotFound };
        let node = inet6.fib.node(keys.table, key).filter(|node| !node.is_empty()).ok_or(none)?;
        let route = node.iter().find(|r| keys.fit(r, nexthop)).ok_or(RouteError6::NotFound)?;
        let all: Vec<_> = sharing(node, route).cloned().collect();
        if nexthop.1.is_none() && all.len() > 1 {
            let info = show::route_info(&inet6, keys.table, Some(node), &all[0], false, view);
            (all, info)
        } else {
            (vec![Arc::clone(route)], show::route_info(&inet6, keys.table, None, route, false, view))
        }
    };
    {
        let mut inet6 = ns.state().inet6.write();
        for route in &going {
            inet6.fib.remove(keys.table, route);
        }
    }
    rtnl.notify(ns, route_notice(None, info));
    Ok(())
}
