//! Adding and deleting routes.

use std::sync::Arc;
use std::time::Duration;

use pernet::Net;

use super::create::create_info;
use super::table::{Alias, InsertError, Inserted, Key};
use super::{
    FibNotice, HopView, Insert, RT_TABLE_MAIN, RouteConfig, RouteError, RouteView, hop_flag, route_type, scope,
};
use crate::dev::Link;
use crate::notice::Notice;
use crate::rtnl::Rtnl;
use crate::state::Ns;
use crate::sysctl::nexthop_compat;

/// `NLM_F_*` of the messages that tell of a new route.
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

impl Rtnl<'_> {
    /// Adds, changes or replaces an IPv4 route (`RTM_NEWROUTE`).
    ///
    /// # Errors
    /// [`RouteError`]; nothing has changed then.
    pub fn new_route4(&mut self, net: &Net, config: &RouteConfig, how: Insert) -> Result<(), RouteError> {
        let Some(ns) = self.ns(net) else { return Err(RouteError::NoSuchNamespace) };
        let inserted = insert(ns, self.now(), config, how)?;
        if config.kind == route_type::LOCAL {
            ns.fib.write().made_local();
        }
        if let Some((route, flags)) = inserted {
            self.notify(ns, Notice::Fib(FibNotice::New { route, flags }));
        }
        Ok(())
    }

    /// Deletes the first IPv4 route that fits (`RTM_DELROUTE`).
    ///
    /// # Errors
    /// [`RouteError::NoSuchTable`], [`RouteError::NoSuchRoute`], [`RouteError::NoSuchNexthop`].
    pub fn del_route4(&mut self, net: &Net, config: &RouteConfig) -> Result<(), RouteError> {
        let Some(ns) = self.ns(net) else { return Err(RouteError::NoSuchNamespace) };
        if config.nhid != 0 && crate::nexthop::get(ns, config.nhid).is_none() {
            return Err(RouteError::NoSuchNexthop);
        }
        let route = remove(ns, config)?;
        self.notify(ns, Notice::Fib(FibNotice::Del(route)));
        Ok(())
    }
}

/// Puts a route in. `None` if it was there already and was asked to be replaced by itself.
pub(super) fn insert(
    ns: Ns<'_>,
    now: Duration,
    config: &RouteConfig,
    how: Insert,
) -> Result<Option<(RouteView, u16)>, RouteError> {
    let table = if config.table == 0 { RT_TABLE_MAIN } else { config.table };
    // It is there from now on, whatever becomes of the route.
    if ns.peek_fib().is_none_or(|fib| fib.table(table).is_none()) {
        ns.fib.write().make(table);
    }
    let info = Arc::new(create_info(ns, now, &RouteConfig { table, ..config.clone() })?);
    let key = Key::new(config.dst(), config.dst_len);
    let alias = Alias { tos: config.tos, kind: config.kind, info };
    let inserted = ns.fib.write().insert(table, key, alias, how);
    let (inserted, alias) = inserted.map_err(|error| match error {
        InsertError::Exists => RouteError::Exists,
        InsertError::NotFound => RouteError::NotFound,
    })?;
    let flags = match inserted {
        Inserted::Same => return Ok(None),
        Inserted::Alone => NLM_F_CREATE | NLM_F_EXCL,
        Inserted::Before => NLM_F_CREATE,
        Inserted::Behind => NLM_F_CREATE | NLM_F_APPEND,
        Inserted::Replaced(_) => NLM_F_REPLACE,
    };
    Ok(Some((view(ns, table, key, &alias), flags)))
}

/// Takes a route out.
pub(super) fn remove(ns: Ns<'_>, config: &RouteConfig) -> Result<RouteView, RouteError> {
    let table = if config.table == 0 { RT_TABLE_MAIN } else { config.table };
    let key = Key::new(config.dst(), config.dst_len);
    if ns.peek_fib().is_none_or(|fib| fib.table(table).is_none()) {
        return Err(RouteError::NoSuchTable);
    }
    let removed = ns.fib.write().remove(table, key, config.tos, |alias| config.matches(alias.kind, &alias.info));
    let alias = removed.ok_or(RouteError::NoSuchRoute)?;
    Ok(view(ns, table, key, &alias))
}

/// A route with the state its devices are in.
pub(super) fn view(ns: Ns<'_>, table: u32, key: Key, alias: &Alias) -> RouteView {
    view_with(ns, table, key, alias, &mut |oif| ns.links.by_index(oif))
}

/// As [`view`], with the devices from `link`.
pub(super) fn view_with(
    ns: Ns<'_>,
    table: u32,
    key: Key,
    alias: &Alias,
    link: &mut dyn FnMut(u32) -> Option<Arc<Link>>,
) -> RouteView {
    let info = &alias.info;
    let mut all = hop_flag::DEAD | hop_flag::LINKDOWN;
    let mut hops = Vec::with_capacity(info.hops().len());
    for hop in info.hops() {
        let state =
            if hop.oif == 0 || hop.scope == scope::NOWHERE { 0 } else { device_flags(link(hop.oif).as_deref()) };
        all &= state | hop.flags;
        // Without carrier a way out is as good as dead where the settings say so; of the route as a whole it is not said.
        let dead = state == hop_flag::LINKDOWN && super::lookup::ignores_linkdown(ns, hop.oif);
        let dead = if dead { hop_flag::DEAD } else { 0 };
        hops.push(HopView { hop: *hop, flags: hop.flags | state | dead });
    }
    let flags = match hops.as_slice() {
        [only] => only.flags,
        _ => all,
    };
    let kind = if info.is_blackhole() { route_type::BLACKHOLE } else { alias.kind };
    let compat = info.nexthop.is_none() || nexthop_compat(ns);
    RouteView {
        table,
        dst: key.dst(),
        dst_len: key.len(),
        tos: alias.tos,
        kind,
        info: Arc::clone(info),
        hops,
        flags: flags & (hop_flag::DEAD | hop_flag::LINKDOWN | hop_flag::ONLINK | hop_flag::OFFLOAD | hop_flag::TRAP),
        compat,
        learned: None,
    }
}

/// What follows for a way out from its device.
fn device_flags(link: Option<&Link>) -> u32 {
    match link {
        Some(link) if link.is_up() && link.carrier => 0,
        Some(link) if link.is_up() => hop_flag::LINKDOWN,
        _ => hop_flag::DEAD | hop_flag::LINKDOWN,
    }
}
