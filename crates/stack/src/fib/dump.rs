//! Listing routes page by page.

use std::iter;
use std::net::IpAddr;

use pernet::Net;

use super::table::{Alias, Key};
use super::tables::Rank;
use super::update::view_with;
use super::{Fib, Gateway, HopView, RouteView};
use crate::dev::Stack;
use crate::l3::{Learned, Listed, Listing, Path};
use crate::state::Ns;

/// What a listing is restricted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dump4Filter {
    /// One table.
    pub table: Option<u32>,
    /// `RTPROT_*`, 0 for any.
    pub protocol: u8,
    /// `RTN_*`, 0 for any.
    pub kind: u8,
    /// A device one of the hops leaves by.
    pub oif: Option<u32>,
    /// What of the routes that pass.
    pub listing: Listing,
}

impl Dump4Filter {
    fn admits(&self, alias: &Alias) -> bool {
        (self.protocol == 0 || self.protocol == alias.info.protocol)
            && (self.kind == 0 || self.kind == alias.kind)
            && self.oif.is_none_or(|oif| alias.info.hops().iter().any(|hop| hop.oif == oif))
    }
}

/// A stretch of a listing.
#[derive(Clone, Debug)]
pub struct Route4Page {
    /// Routes, each with the place behind it: where a listing goes on that had room for it.
    pub routes: Vec<(RouteView, (u64, u64))>,
    /// Changes with every change of a route.
    pub generation: u64,
    /// Whether there is nothing behind.
    pub last: bool,
}

impl Stack {
    /// Whether a table of IPv4 routes exists: it does from its first route on.
    #[must_use]
    pub fn has_table4(&self, net: &Net, table: u32) -> bool {
        let state = self.state(net);
        state.and_then(|state| state.peek_fib()).is_some_and(|fib| fib.table(table).is_some())
    }

    /// Up to `max` routes that pass `filter`, from `place` on; (0, 0) is the beginning.
    #[must_use]
    pub fn routes4(&self, net: &Net, place: (u64, u64), max: usize, filter: &Dump4Filter) -> Route4Page {
        let empty = Route4Page { routes: Vec::new(), generation: 0, last: true };
        let Some(state) = self.state(net) else { return empty };
        let ns = Ns::living(state, net);
        let listed = filter.listing.exceptions(state, true, self.inner().clock.now());
        let (found, generation, last) = {
            let Some(fib) = state.peek_fib() else { return empty };
            let (found, last) = collect(&fib, place, max, filter, &listed);
            (found, fib.generation(), last)
        };
        // Routes that follow each other mostly leave by the same device.
        let mut recent = None;
        let mut link = |oif| {
            if recent.as_ref().is_none_or(|(index, _)| *index != oif) {
                recent = Some((oif, ns.links.by_index(oif)));
            }
            recent.as_ref().and_then(|(_, link)| link.clone())
        };
        let shown = found.into_iter().map(|(table, key, alias, exception, next)| {
            let view = view_with(ns, table, key, &alias, &mut link);
            match exception {
                None => (view, next),
                Some((path, learned)) => (view.exception(&path, learned), next),
            }
        });
        Route4Page { routes: shown.collect(), generation, last }
    }
}

impl RouteView {
    /// What was learnt of a path of the route.
    fn exception(self, path: &Path, learned: Learned) -> Self {
        let IpAddr::V4(dst) = path.dst else { return self };
        let of_path = |view: &&HopView| view.hop.oif == path.oif && view.hop.gateway.addr() == path.gateway;
        let mut hops: Vec<_> = self.hops.iter().find(of_path).copied().into_iter().collect();
        for view in &mut hops {
            view.flags = 0;
            if let Some(IpAddr::V4(nearer)) = learned.gateway {
                view.hop.gateway = Gateway::V4(nearer);
            }
        }
        Self { dst, dst_len: 32, tos: 0, flags: 0, hops, learned: Some(learned), ..self }
    }
}

/// A route or what was learnt of a path of it, and the place behind it.
type Found = (u32, Key, Alias, Option<(Path, Learned)>, (u64, u64));

/// The place in a table: the key, and below it the number of what is shown of the routes to it.
const ALIAS_BITS: u32 = 24;

fn collect(fib: &Fib, place: (u64, u64), max: usize, filter: &Dump4Filter, listed: &Listed) -> (Vec<Found>, bool) {
    let mut found = Vec::new();
    for (rank, id, table) in fib.tables_from(Rank::from_bits(place.0)) {
        if filter.table.is_some_and(|only| only != id) {
            continue;
        }
        let (start, skip) = if rank.to_bits() == place.0 {
            (Key::from_bits(place.1 >> ALIAS_BITS), place.1 & ((1 << ALIAS_BITS) - 1))
        } else {
            (Key::from_bits(0), 0)
        };
        for (key, aliases) in table.from(start) {
            let skip = if key == start { skip as usize } else { 0 };
            let shown = aliases.iter().flat_map(|alias| {
                let learned = listed.get(&alias.info.id.number()).into_iter().flatten();
                let learned = learned.filter(|(_, learned)| learned.age.is_some());
                iter::once((alias, None)).chain(learned.map(move |one| (alias, Some(*one))))
            });
            for (number, (alias, exception)) in shown.enumerate().skip(skip) {
                if !filter.admits(alias) || exception.is_none() && !filter.listing.routes() {
                    continue;
                }
                if found.len() == max {
                    return (found, false);
                }
                let next = (rank.to_bits(), key.to_bits() << ALIAS_BITS | (number as u64 + 1));
                found.push((id, key, alias.clone(), exception, next));
            }
        }
    }
    (found, true)
}
