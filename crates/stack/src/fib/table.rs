//! One routing table: prefixes in order, and the routes to each.
//!
//! A prefix is a key of a B-tree, ordered as Linux lists routes: by address, and of one address the longer prefix first.
//! That one structure inserts, deletes, lists from any key and finds the longest match: the largest address in the tree
//! that is not above the one sought bounds how long a match can be, and the lengths that occur at all are counted, so a
//! lookup probes few of the 33 lengths. (A crate for prefix tries is faster to search, but lists in another order and
//! cannot go on from a key; a lookup here is a microsecond among 100,000 routes.)

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::FibInfo;

/// A prefix as a key: address, and below it the length of what is behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(u64);

impl Key {
    pub(crate) fn new(dst: Ipv4Addr, len: u8) -> Self {
        let len = len.min(32);
        Self(u64::from(u32::from(dst) & prefix_mask(len)) << 8 | u64::from(32 - len))
    }

    pub(crate) fn dst(self) -> Ipv4Addr {
        // The address stands in bits 8 to 39.
        Ipv4Addr::from((self.0 >> 8) as u32)
    }

    pub(crate) const fn len(self) -> u8 {
        32 - (self.0 & 0xff) as u8
    }

    /// As a dump's cursor keeps it: 40 bits.
    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// The bits of an address that a prefix of `len` bits fixes.
pub(crate) const fn prefix_mask(len: u8) -> u32 {
    match len {
        0 => 0,
        1..=31 => u32::MAX << (32 - len),
        _ => u32::MAX,
    }
}

/// A route to a prefix (`struct fib_alias`). Several differ in type of service, metric or where they lead.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    pub(crate) tos: u8,
    pub(crate) kind: u8,
    pub(crate) info: Arc<FibInfo>,
}

/// How a new route gets along with those that are there (`NLM_F_*` of the request).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insert {
    /// Make it if it is not there.
    pub create: bool,
    /// Refuse if one with this prefix, type of service and metric is there.
    pub exclusive: bool,
    /// Put it in place of the first one with this prefix, type of service and metric.
    pub replace: bool,
    /// Put it behind those with this prefix, type of service and metric, not before.
    pub append: bool,
}

/// What inserting a route did.
#[derive(Clone, Debug)]
pub(crate) enum Inserted {
    /// It is the only one with its prefix, type of service and metric.
    Alone,
    /// It stands before others.
    Before,
    /// It stands behind others.
    Behind,
    /// It took the place of this one.
    Replaced(Alias),
    /// It was there already.
    Same,
}

/// Why inserting failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InsertError {
    Exists,
    NotFound,
}

/// A routing table.
#[derive(Debug)]
pub(crate) struct Table {
    routes: BTreeMap<Key, Vec<Alias>>,
    /// How many prefixes there are of each length.
    lengths: [u32; 33],
}

impl Default for Table {
    fn default() -> Self {
        Self { routes: BTreeMap::new(), lengths: [0; 33] }
    }
}

impl Table {
    /// Where the new route belongs, checked without touching anything: what becomes of it, and its place.
    fn place(aliases: &[Alias], new: &Alias, how: Insert) -> Result<(Inserted, usize), InsertError> {
        let rank = |alias: &Alias| (std::cmp::Reverse(alias.tos), alias.info.priority);
        let first = aliases.partition_point(|alias| rank(alias) < rank(new));
        let behind = aliases.partition_point(|alias| rank(alias) <= rank(new));
        let peers = &aliases[first..behind];
        if !peers.is_empty() {
            if how.exclusive {
                return Err(InsertError::Exists);
            }
            let same = peers.iter().position(|alias| alias.kind == new.kind && alias.info == new.info);
            if how.replace {
                return match same {
                    Some(0) => Ok((Inserted::Same, first)),
                    Some(_) => Err(InsertError::Exists),
                    None => Ok((Inserted::Replaced(peers[0].clone()), first)),
                };
            }
            if same.is_some() {
                return Err(InsertError::Exists);
            }
        }
        if !how.create {
            return Err(InsertError::NotFound);
        }
        Ok(match (peers.is_empty(), how.append) {
            (true, _) => (Inserted::Alone, first),
            (false, false) => (Inserted::Before, first),
            (false, true) => (Inserted::Behind, behind),
        })
    }

    /// Puts a route in (`fib_table_insert`). Refused, it changes nothing.
    pub(crate) fn insert(&mut self, key: Key, new: Alias, how: Insert) -> Result<Inserted, InsertError> {
        let aliases = self.routes.get(&key).map_or(&[][..], Vec::as_slice);
        let (inserted, place) = Self::place(aliases, &new, how)?;
        let aliases = self.routes.entry(key).or_insert_with(|| Vec::with_capacity(1));
        match inserted {
            Inserted::Same => {}
            Inserted::Replaced(_) => aliases[place] = new,
            Inserted::Alone | Inserted::Before | Inserted::Behind => {
                if aliases.is_empty() {
                    self.lengths[usize::from(key.len())] += 1;
                }
                aliases.insert(place, new);
            }
        }
        Ok(inserted)
    }

    /// Takes out the first route to `key` with this type of service that `is` accepts (`fib_table_delete`).
    pub(crate) fn remove(&mut self, key: Key, tos: u8, is: impl Fn(&Alias) -> bool) -> Option<Alias> {
        let aliases = self.routes.get_mut(&key)?;
        let at = aliases.iter().position(|alias| alias.tos == tos && is(alias))?;
        let alias = aliases.remove(at);
        self.emptied(key);
        Some(alias)
    }

    /// Takes out every route to `key` that `is` accepts, in order.
    pub(crate) fn flush(&mut self, key: Key, is: impl Fn(&Alias) -> bool) -> Vec<Alias> {
        let Some(aliases) = self.routes.get_mut(&key) else { return Vec::new() };
        let gone = aliases.extract_if(.., |alias| is(alias)).collect();
        self.emptied(key);
        gone
    }

    fn emptied(&mut self, key: Key) {
        if self.routes.get(&key).is_some_and(Vec::is_empty) {
            self.routes.remove(&key);
            self.lengths[usize::from(key.len())] -= 1;
        }
    }

    /// The routes to exactly this prefix, in the order in which they count.
    pub(crate) fn at(&self, key: Key) -> &[Alias] {
        self.routes.get(&key).map_or(&[], Vec::as_slice)
    }

    /// As [`at`](Self::at), to let routes lead elsewhere without moving them.
    pub(crate) fn at_mut(&mut self, key: Key) -> &mut [Alias] {
        self.routes.get_mut(&key).map_or(&mut [], Vec::as_mut_slice)
    }

    /// All prefixes from `from` on with their routes, in order.
    pub(crate) fn from(&self, from: Key) -> impl Iterator<Item = (Key, &[Alias])> {
        self.routes.range(from..).map(|(key, aliases)| (*key, aliases.as_slice()))
    }

    /// The prefixes that contain `dst`, the longest first.
    pub(crate) fn matches(&self, dst: Ipv4Addr) -> impl Iterator<Item = (Key, &[Alias])> {
        let bits = u32::from(dst);
        // All that contain `dst` begin at or below it, and share with it no fewer bits than the last of those does.
        let last = self.routes.range(..=Key::new(dst, 32).widest()).next_back();
        let longest = last.map(|(key, _)| (u32::from(key.dst()) ^ bits).leading_zeros());
        let lengths = (0..=longest.map_or(0, |len| len.min(32) as u8)).rev().filter(move |_| longest.is_some());
        lengths.filter(|len| self.lengths[usize::from(*len)] > 0).filter_map(move |len| {
            let key = Key::new(dst, len);
            self.routes.get(&key).map(|aliases| (key, aliases.as_slice()))
        })
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

impl Key {
    /// The last key of its address.
    const fn widest(self) -> Self {
        Self(self.0 | 0xff)
    }
}

#[cfg(test)]
mod tests;
