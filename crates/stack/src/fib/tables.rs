//! All IPv4 tables of a namespace, and which of their routes hang on a device, an address or a nexthop object.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::table::{Alias, Insert, InsertError, Inserted, Key, Table};
use super::{FibInfo, RT_TABLE_LOCAL, RT_TABLE_MAIN};

/// What a route hangs on: when it goes, the route goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Anchor {
    /// A device of one of its hops.
    Device(u32),
    /// Its preferred source.
    Source(Ipv4Addr),
    /// Its nexthop object.
    Nexthop(u32),
}

/// Where a table stands in a listing: Linux keeps tables in 256 chains by the low byte of their number, the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(u64);

impl Rank {
    const fn new(id: u32, age: u32) -> Self {
        Self(((id & 0xff) as u64) << 32 | (u32::MAX - age) as u64)
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }
}

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Fib {
    tables: BTreeMap<Rank, (u32, Table)>,
    ranks: HashMap<u32, Rank>,
    made: u32,
    /// Each distinct piece of information, and how many routes share it.
    infos: HashMap<Arc<FibInfo>, u32>,
    anchored: HashMap<Anchor, BTreeSet<(Rank, Key)>>,
    /// Changes with every change of a route.
    generation: u64,
    /// Whether somebody ever made a local route himself: then no longer only addresses are this host's.
    custom_local: bool,
}

impl Fib {
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether there was ever a local route that no address brought (`fib_has_custom_local_routes`).
    pub(crate) const fn has_custom_local(&self) -> bool {
        self.custom_local
    }

    /// Somebody made a local route.
    pub(crate) const fn made_local(&mut self) {
        self.custom_local = true;
    }

    pub(crate) fn table(&self, id: u32) -> Option<&Table> {
        self.tables.get(self.ranks.get(&id)?).map(|(_, table)| table)
    }

    /// The tables from `from` on, in the order of a listing.
    pub(crate) fn tables_from(&self, from: Rank) -> impl Iterator<Item = (Rank, u32, &Table)> {
        self.tables.range(from..).map(|(rank, (id, table))| (*rank, *id, table))
    }

    /// The table's rank; a table is made when the first route comes. The local table begins its life within the main one,
    /// so both are there from then on.
    pub(crate) fn make(&mut self, id: u32) -> Rank {
        if let Some(rank) = self.ranks.get(&id) {
            return *rank;
        }
        if id == RT_TABLE_LOCAL {
            self.make(RT_TABLE_MAIN);
        }
        let rank = Rank::new(id, self.made);
        self.made += 1;
        self.ranks.insert(id, rank);
        self.tables.insert(rank, (id, Table::default()));
        rank
    }

    /// The one copy of this information that all routes share.
    fn shared(&self, info: Arc<FibInfo>) -> Arc<FibInfo> {
        self.infos.get_key_value(&info).map_or(info, |(shared, _)| Arc::clone(shared))
    }

    /// Puts a route in; the second result is the route as it stands there.
    pub(crate) fn insert(
        &mut self,
        id: u32,
        key: Key,
        alias: Alias,
        how: Insert,
    ) -> Result<(Inserted, Alias), InsertError> {
        if self.table(id).is_none() && !how.create {
            return Err(InsertError::NotFound);
        }
        let alias = Alias { info: self.shared(alias.info), ..alias };
        let rank = self.make(id);
        let Some((_, table)) = self.tables.get_mut(&rank) else { return Err(InsertError::NotFound) };
        let inserted = table.insert(key, alias.clone(), how)?;
        match &inserted {
            Inserted::Same => return Ok((inserted, alias)),
            Inserted::Replaced(old) => self.dropped(rank, key, &old.info),
            Inserted::Alone | Inserted::Before | Inserted::Behind => {}
        }
        self.held(rank, key, &alias.info);
        self.generation += 1;
        Ok((inserted, alias))
    }

    /// Takes out the first route that fits.
    pub(crate) fn remove(&mut self, id: u32, key: Key, tos: u8, is: impl Fn(&Alias) -> bool) -> Option<Alias> {
        let rank = *self.ranks.get(&id)?;
        let alias = self.tables.get_mut(&rank)?.1.remove(key, tos, is)?;
        self.dropped(rank, key, &alias.info);
        self.generation += 1;
        Some(alias)
    }

    /// Takes out every route that hangs on `anchor` and that `is` accepts: table, prefix and route of each, tables in the
    /// order of a listing and each from its end, as Linux tells them.
    pub(crate) fn flush(&mut self, anchor: Anchor, is: impl Fn(u32, &Alias) -> bool) -> Vec<(u32, Key, Alias)> {
        let mut gone = Vec::new();
        for (rank, key) in self.places(anchor) {
            let Some((id, table)) = self.tables.get_mut(&rank) else { continue };
            let id = *id;
            for alias in table.flush(key, |alias| super::hangs_on(&alias.info, anchor) && is(id, alias)) {
                self.dropped(rank, key, &alias.info);
                gone.push((id, key, alias));
            }
        }
        if !gone.is_empty() {
            self.generation += 1;
        }
        gone
    }

    /// Gives every route that hangs on `anchor` and whose information `is` accepts the information `to` makes of it; tells
    /// them as they are now.
    pub(crate) fn rewrite(
        &mut self,
        anchor: Anchor,
        is: impl Fn(&FibInfo) -> bool,
        to: impl Fn(&FibInfo) -> FibInfo,
    ) -> Vec<(u32, Key, Alias)> {
        let mut moved = Vec::new();
        for (rank, key) in self.places(anchor) {
            let count = self.tables.get(&rank).map_or(0, |(_, table)| table.at(key).len());
            for at in 0..count {
                let Some((id, table)) = self.tables.get(&rank) else { continue };
                let Some(old) =
                    table.at(key).get(at).filter(|a| super::hangs_on(&a.info, anchor) && is(&a.info)).cloned()
                else {
                    continue;
                };
                let id = *id;
                let info = self.shared(Arc::new(to(&old.info)));
                let alias = Alias { info: Arc::clone(&info), ..old.clone() };
                if let Some((_, table)) = self.tables.get_mut(&rank)
                    && let Some(slot) = table.at_mut(key).get_mut(at)
                {
                    *slot = alias.clone();
                }
                // First what it holds, then what it lets go, so that what is common stays.
                self.held(rank, key, &info);
                self.dropped(rank, key, &old.info);
                moved.push((id, key, alias));
            }
        }
        if !moved.is_empty() {
            self.generation += 1;
        }
        moved
    }

    /// Whether a route hangs on `anchor`.
    pub(crate) fn any(&self, anchor: Anchor) -> bool {
        self.anchored.contains_key(&anchor)
    }

    /// The routes that hang on `anchor`, in no particular order.
    pub(crate) fn infos_of(&self, anchor: Anchor) -> Vec<Arc<FibInfo>> {
        let mut out: Vec<Arc<FibInfo>> = Vec::new();
        for (rank, key) in self.places(anchor) {
            let Some((_, table)) = self.tables.get(&rank) else { continue };
            for alias in table.at(key).iter().filter(|alias| super::hangs_on(&alias.info, anchor)) {
                if !out.iter().any(|seen| Arc::ptr_eq(seen, &alias.info)) {
                    out.push(Arc::clone(&alias.info));
                }
            }
        }
        out
    }

    fn places(&self, anchor: Anchor) -> Vec<(Rank, Key)> {
        let mut places: Vec<_> = self.anchored.get(&anchor).into_iter().flatten().copied().collect();
        places.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        places
    }

    /// A route with this information stands at this place now.
    fn held(&mut self, rank: Rank, key: Key, info: &Arc<FibInfo>) {
        *self.infos.entry(Arc::clone(info)).or_insert(0) += 1;
        for anchor in super::anchors(info) {
            self.anchored.entry(anchor).or_default().insert((rank, key));
        }
    }

    /// A route with this information left this place; others of the prefix may hang on the same.
    fn dropped(&mut self, rank: Rank, key: Key, info: &Arc<FibInfo>) {
        if let Some(count) = self.infos.get_mut(info) {
            *count -= 1;
            if *count == 0 {
                self.infos.remove(info);
            }
        }
        let rest = self.tables.get(&rank).map_or(&[][..], |(_, table)| table.at(key));
        for anchor in super::anchors(info) {
            if rest.iter().any(|alias| super::hangs_on(&alias.info, anchor)) {
                continue;
            }
            if let Some(places) = self.anchored.get_mut(&anchor) {
                places.remove(&(rank, key));
                if places.is_empty() {
                    self.anchored.remove(&anchor);
                }
            }
        }
    }
}
