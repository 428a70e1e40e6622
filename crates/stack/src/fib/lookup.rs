//! Which route a packet takes (`fib_lookup`).

use std::cmp::Reverse;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::info::{FibInfo, NextHop, route_type};
use super::table::{Alias, Key};
use super::{RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN, error};
use crate::errno;
use crate::inet;
use crate::rules::{self, Family, Selectors, Verdict};
use crate::state::{ConfOf, Ns};

/// A packet as routing sees it (`struct flowi4`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow4 {
    pub(crate) dst: Ipv4Addr,
    pub(crate) src: Ipv4Addr,
    /// Device it must leave by, 0 for any.
    pub(crate) oif: u32,
    /// Device it came in by; the loopback's for what this host sends.
    pub(crate) iif: u32,
    pub(crate) mark: u32,
    pub(crate) tos: u8,
    pub(crate) uid: u32,
    pub(crate) protocol: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    /// The route's scope must be at least this near.
    pub(crate) scope: u8,
    /// Pass over ways out without carrier where the device's settings say so.
    pub(crate) ignore_linkdown: bool,
    /// See [`RouteQuery`](super::RouteQuery).
    pub(crate) spread: Option<u64>,
}

/// Index of the loopback device: what is sent here comes in by it.
pub(crate) const LOOPBACK_IFINDEX: u32 = 1;

impl Default for Flow4 {
    fn default() -> Self {
        Self {
            dst: Ipv4Addr::UNSPECIFIED,
            src: Ipv4Addr::UNSPECIFIED,
            oif: 0,
            iif: LOOPBACK_IFINDEX,
            mark: 0,
            tos: 0,
            uid: 0,
            protocol: 0,
            sport: 0,
            dport: 0,
            scope: 0,
            ignore_linkdown: true,
            spread: None,
        }
    }
}

/// The route that was found (`struct fib_result`).
#[derive(Clone, Debug)]
pub(crate) struct FlowHop {
    pub(crate) table: u32,
    pub(crate) dst: Ipv4Addr,
    pub(crate) dst_len: u8,
    pub(crate) tos: u8,
    pub(crate) kind: u8,
    pub(crate) info: Arc<FibInfo>,
    /// The way out, `None` for routes that lead nowhere.
    pub(crate) hop: Option<NextHop>,
    /// Every way out that could be taken, for who spreads traffic.
    pub(crate) usable: Vec<NextHop>,
}

/// Asks the rules in their order, and the tables they name; as long as nobody touched the rules, the [`MERGED`] tables
/// and the default one.
///
/// # Errors
/// A positive errno: `ENETUNREACH` if no route is found, else what the rule or route that ends the search says.
pub(crate) fn fib_lookup(ns: Ns<'_>, flow: &Flow4) -> Result<FlowHop, i32> {
    if !rules::has_custom(ns, Family::Inet) {
        for ids in [&MERGED[..], &[RT_TABLE_DEFAULT]] {
            if let Some(found) = in_tables(ns, ids, flow)? {
                return Ok(found);
            }
        }
        return Err(errno::ENETUNREACH);
    }
    let selectors = Selectors {
        src: flow.src.into(),
        dst: flow.dst.into(),
        tos: flow.tos,
        mark: flow.mark,
        iif: flow.iif,
        oif: flow.oif,
        uid: flow.uid,
        protocol: flow.protocol,
        sport: flow.sport,
        dport: flow.dport,
        flow_label: 0,
    };
    let found = rules::lookup(ns, Family::Inet, &selectors, |id, rule| match in_table(ns, id, flow) {
        Ok(Some(found)) if rule.suppresses(ns, found.dst_len, found.hop.map_or(0, |hop| hop.oif)) => Verdict::Continue,
        Ok(Some(found)) => Verdict::Found(found),
        Ok(None) => Verdict::Continue,
        Err(number) => Verdict::Fail(number),
    });
    match found {
        Verdict::Found(found) => Ok(found),
        Verdict::Fail(number) => Err(number),
        Verdict::Continue => Err(errno::ENETUNREACH),
    }
}

/// As long as nobody touched the rules, the local table lies within the main one (`fib_trie_unmerge` parts them): of both
/// the longest prefix counts, and the local one of two that are as long. It is then the main table that answers.
const MERGED: [u32; 2] = [RT_TABLE_LOCAL, RT_TABLE_MAIN];

/// The longest match in a table, or in those it is merged with; `None` if there is none, or a route says to look
/// elsewhere.
///
/// # Errors
/// What a route that refuses says.
pub(crate) fn in_table(ns: Ns<'_>, id: u32, flow: &Flow4) -> Result<Option<FlowHop>, i32> {
    if MERGED.contains(&id) && !rules::has_custom(ns, Family::Inet) {
        return in_tables(ns, &MERGED, flow);
    }
    in_tables(ns, &[id], flow)
}

/// As [`in_table`], in one table or in [`MERGED`] ones; the last of them is the one that answers.
fn in_tables(ns: Ns<'_>, ids: &[u32], flow: &Flow4) -> Result<Option<FlowHop>, i32> {
    let answering = ids.last().copied().unwrap_or_default();
    // The longest match is nearly always the answer; the others are gathered only where it leads nowhere now.
    let Some((longest, alias)) = longest(ns, ids, flow) else { return Ok(None) };
    if let Some(found) = settles(ns, answering, longest, alias, flow) {
        return found;
    }
    let mut matches = all(ns, ids, flow).into_iter();
    matches.find_map(|(key, alias)| settles(ns, answering, key, alias, flow)).unwrap_or(Ok(None))
}

/// Whether a route serves the flow by its own selectors.
fn fits(alias: &Alias, flow: &Flow4) -> bool {
    (alias.tos == 0 || alias.tos == flow.tos) && alias.info.scope >= flow.scope
}

/// The longest match in the tables, of the one named first if two are as long. It is taken out of them: devices are
/// looked at with no lock held.
fn longest(ns: Ns<'_>, ids: &[u32], flow: &Flow4) -> Option<(Key, Alias)> {
    let fib = ns.peek_fib()?;
    let firsts = ids.iter().filter_map(|id| {
        let mut matches = fib.table(*id)?.matches(flow.dst);
        matches.find_map(|(key, aliases)| aliases.iter().find(|alias| fits(alias, flow)).map(|alias| (key, alias)))
    });
    let (key, alias) = firsts.reduce(|first, next| if next.0.len() > first.0.len() { next } else { first })?;
    Some((key, alias.clone()))
}

/// Every match in the tables in the order in which they count, that of [`longest`] among them: another one may be the
/// longest by now.
fn all(ns: Ns<'_>, ids: &[u32], flow: &Flow4) -> Vec<(Key, Alias)> {
    let Some(fib) = ns.peek_fib() else { return Vec::new() };
    let mut all: Vec<(Key, Alias)> = Vec::new();
    for table in ids.iter().filter_map(|id| fib.table(*id)) {
        for (key, aliases) in table.matches(flow.dst) {
            all.extend(aliases.iter().filter(|alias| fits(alias, flow)).map(|alias| (key, alias.clone())));
        }
    }
    // Stable: of the same length, those of the table named first stay before the others.
    all.sort_by_key(|(key, _)| Reverse(key.len()));
    all
}

/// What a matching route makes of the lookup: `None` if none of its ways out can be taken now, and the next best counts.
fn settles(ns: Ns<'_>, table: u32, key: Key, alias: Alias, flow: &Flow4) -> Option<Result<Option<FlowHop>, i32>> {
    if alias.kind == route_type::THROW {
        return Some(Ok(None));
    }
    if let Some(number) = error::type_errno(alias.kind) {
        return Some(Err(number));
    }
    if alias.info.is_blackhole() {
        return Some(Err(errno::EINVAL));
    }
    let usable = usable(ns, &alias, flow);
    let hop = *usable.first()?;
    Some(Ok(Some(FlowHop {
        table,
        dst: key.dst(),
        dst_len: key.len(),
        tos: alias.tos,
        kind: alias.kind,
        info: alias.info,
        hop: Some(hop),
        usable,
    })))
}

/// The ways out of a route that can be taken now.
fn usable(ns: Ns<'_>, alias: &Alias, flow: &Flow4) -> Vec<NextHop> {
    let takes = |hop: &&NextHop| {
        if flow.oif != 0 && flow.oif != hop.oif {
            return false;
        }
        if hop.flags & super::hop_flag::DEAD != 0 {
            return false;
        }
        // The host itself can be reached however its devices are.
        if hop.scope == super::scope::NOWHERE {
            return true;
        }
        let Some(link) = ns.links.by_index(hop.oif) else { return false };
        link.is_up() && (link.carrier || !(flow.ignore_linkdown && ignores_linkdown(ns, hop.oif)))
    };
    alias.info.hops().iter().filter(takes).copied().collect()
}

/// Whether routes through the device are dead while it has no carrier (`ignore_routes_with_linkdown`).
pub(crate) fn ignores_linkdown(ns: Ns<'_>, oif: u32) -> bool {
    const IGNORE_ROUTES_WITH_LINKDOWN: usize = 29;
    let number = IGNORE_ROUTES_WITH_LINKDOWN;
    [ConfOf::All, ConfOf::Dev(oif)].into_iter().any(|of| inet::conf(ns, of, number).is_some_and(|value| value != 0))
}

/// What an address is to this host by its local table (`inet_addr_type`).
pub(crate) fn address_type(ns: Ns<'_>, address: Ipv4Addr) -> u8 {
    type_in(ns, RT_TABLE_LOCAL, address)
}

/// What an address is by one table (`inet_addr_type_table`): a group or a broadcast address by itself, else of the type of
/// the route to it; unicast if there is none. What is refused says nothing of the address.
pub(crate) fn type_in(ns: Ns<'_>, table: u32, address: Ipv4Addr) -> u8 {
    if address.is_multicast() {
        return route_type::MULTICAST;
    }
    if address.is_broadcast() || address.is_unspecified() {
        return route_type::BROADCAST;
    }
    let flow = Flow4 { dst: address, ..Flow4::default() };
    in_table(ns, table, &flow).ok().flatten().map_or(route_type::UNICAST, |found| found.kind)
}
