//! Listing routes page by page.

use pernet::Net;

use super::table::Key;
use super::tables::Rank;
use super::update::view_with;
use super::{Fib, RouteView};
use crate::dev::Stack;
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
        let (found, generation, last) = {
            let Some(fib) = state.peek_fib() else { return empty };
            let (found, last) = collect(&fib, place, max, filter);
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
        let shown =
            found.into_iter().map(|(table, key, alias, next)| (view_with(ns, table, key, &alias, &mut link), next));
        Route4Page { routes: shown.collect(), generation, last }
    }
}

type Found = (u32, Key, super::table::Alias, (u64, u64));

/// The place in a table: the key, and below it the number of the route to it.
const ALIAS_BITS: u32 = 24;

fn collect(fib: &Fib, place: (u64, u64), max: usize, filter: &Dump4Filter) -> (Vec<Found>, bool) {
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
            for (number, alias) in aliases.iter().enumerate().skip(skip) {
                let passes = (filter.protocol == 0 || filter.protocol == alias.info.protocol)
                    && (filter.kind == 0 || filter.kind == alias.kind)
                    && filter.oif.is_none_or(|oif| alias.info.hops().iter().any(|hop| hop.oif == oif));
                if !passes {
                    continue;
                }
                if found.len() == max {
                    return (found, false);
                }
                let next = (rank.to_bits(), key.to_bits() << ALIAS_BITS | (number as u64 + 1));
                found.push((id, key, alias.clone(), next));
            }
        }
    }
    (found, true)
}
