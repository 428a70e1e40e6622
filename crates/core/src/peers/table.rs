//! The observer's half: id → peer, and the lowest free id.
//!
//! Ids are chosen by callers, so no memory may be taken by their value; yet nearly all are handed
//! out from 0 upwards. Hence two halves, with the border where the ids stop being consecutive:
//!
//! ```text
//! dense    0  1  2  3          sparse    1000, 2000000000
//!          A  ·  B  C                    D     E
//! ```
//!
//! A place in `dense` costs a pointer and is found by index. It grows only by the id that follows
//! its last, so it is as long as ids were in use at one time, whatever numbers callers choose.

use crate::net::Net;
use crate::peers::{NoMemory, Nsid};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Weak;
use alloc::vec::Vec;

/// Below this many places `dense` is not worth shrinking.
const SMALL: usize = 64;

/// `T` stands for a peer, `LAST` is the largest id: other ones are for tests.
pub(super) struct Table<T = Weak<Net>, const LAST: u32 = { Nsid::MAX.0 }> {
    /// Every id below its length. Its last place is never empty.
    dense: Vec<Option<T>>,
    /// The empty places of `dense`.
    holes: BTreeSet<u32>,
    /// Every larger id. Never the one that follows `dense`: that one is moved there.
    sparse: BTreeMap<u32, T>,
    /// Changes with every entry added or removed.
    pub(super) generation: u64,
}

impl<T, const LAST: u32> Default for Table<T, LAST> {
    fn default() -> Self {
        Self { dense: Vec::new(), holes: BTreeSet::new(), sparse: BTreeMap::new(), generation: 0 }
    }
}

impl<T, const LAST: u32> Table<T, LAST> {
    pub(super) fn get(&self, id: Nsid) -> Option<&T> {
        match self.dense.get(id.0 as usize) {
            Some(place) => place.as_ref(),
            None => self.sparse.get(&id.0),
        }
    }

    /// `None` when all ids are taken.
    pub(super) fn lowest_free(&self) -> Option<Nsid> {
        let id = match self.holes.first() {
            Some(hole) => *hole,
            None => self.dense.len() as u32,
        };
        (id <= LAST).then_some(Nsid(id))
    }

    /// Makes room for one entry, so that [`put`](Self::put) after it finds memory where most of it
    /// goes.
    pub(super) fn reserve(&mut self) -> Result<(), NoMemory> {
        self.dense.try_reserve(1).map_err(|_| NoMemory)
    }

    /// `id` is free.
    pub(super) fn put(&mut self, id: Nsid, peer: T) {
        self.generation += 1;
        let next = self.dense.len() as u32;
        if id.0 > next {
            self.sparse.insert(id.0, peer);
            return;
        }
        if id.0 < next {
            self.holes.remove(&id.0);
            self.dense[id.0 as usize] = Some(peer);
            return;
        }
        self.dense.push(Some(peer));
        // An entry moves at most once in its life: nothing goes back.
        while let Some(entry) = self.sparse.first_entry() {
            if *entry.key() as usize != self.dense.len() {
                break;
            }
            self.dense.push(Some(entry.remove()));
        }
    }

    /// Takes the entry `id` out if `is_it` says so of its peer.
    pub(super) fn remove(&mut self, id: Nsid, is_it: impl FnOnce(&T) -> bool) -> Option<T> {
        if !is_it(self.get(id)?) {
            return None;
        }
        self.generation += 1;
        let Some(place) = self.dense.get_mut(id.0 as usize) else {
            return self.sparse.remove(&id.0);
        };
        let peer = place.take();
        self.holes.insert(id.0);
        while let Some(None) = self.dense.last() {
            self.dense.pop();
            self.holes.remove(&(self.dense.len() as u32));
        }
        // A quarter, so that a table that breathes does not allocate with every breath.
        if self.dense.capacity() > SMALL && self.dense.len() < self.dense.capacity() / 4 {
            self.dense.shrink_to(self.dense.len() * 2);
        }
        peer
    }

    /// Ascending, from `from` on.
    pub(super) fn iter_from(&self, from: Nsid) -> impl Iterator<Item = (Nsid, &T)> {
        let first = self.dense.len().min(from.0 as usize);
        let dense = (first as u32..).zip(&self.dense[first..]).filter_map(|(id, peer)| Some((id, peer.as_ref()?)));
        dense.chain(self.sparse.range(from.0..).map(|(id, peer)| (*id, peer))).map(|(id, peer)| (Nsid(id), peer))
    }

    pub(super) fn into_peers(self) -> impl Iterator<Item = T> {
        self.dense.into_iter().flatten().chain(self.sparse.into_values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u32) -> Nsid {
        Nsid(number)
    }

    fn auto<const LAST: u32>(table: &mut Table<(), LAST>) -> Option<u32> {
        let id = table.lowest_free()?;
        table.put(id, ());
        Some(id.0)
    }

    #[test]
    fn c072_c073_lowest_free_id_as_the_kernel_hands_them_out() {
        let mut table = Table::<()>::default();
        for number in [3, 1000, Nsid::MAX.0] {
            table.put(id(number), ());
        }
        let mut four = || [(); 4].map(|()| auto(&mut table));
        assert_eq!(four(), [Some(0), Some(1), Some(2), Some(4)]);
        for number in [1, 3] {
            table.remove(id(number), |()| true);
        }
        assert_eq!([(); 3].map(|()| auto(&mut table)), [Some(1), Some(3), Some(5)]);
    }

    #[test]
    fn c103_a_full_table_says_so() {
        let mut table = Table::<(), 3>::default();
        table.put(id(3), ());
        assert_eq!([(); 4].map(|()| auto(&mut table)), [Some(0), Some(1), Some(2), None]);
        table.remove(id(3), |()| true);
        assert_eq!([auto(&mut table), auto(&mut table)], [Some(3), None]);
    }

    #[test]
    fn memory_follows_the_number_of_entries_not_the_ids() {
        let mut table = Table::<u64>::default();
        for number in 0..100 {
            table.put(id(number * 1_000_000 + 7), 0);
        }
        assert_eq!(table.dense.capacity(), 0, "nothing by value");
        for number in (0..100_000).rev().filter(|number| table.get(id(*number)).is_none()).collect::<Vec<_>>() {
            table.put(id(number), 0);
        }
        assert_eq!((table.dense.len(), table.sparse.len()), (100_000, 99), "the border has moved");
        for number in 0..100_000 {
            table.remove(id(number), |_| true);
        }
        assert!(table.dense.capacity() <= SMALL && table.holes.is_empty(), "an empty half keeps no memory");
    }

    proptest! {
        /// A plain map, and the smallest number that is not in it.
        #[test]
        fn a_table_is_a_map(ops in prop::collection::vec((0..4u8, 0..24u32), 1..200)) {
            let mut table = Table::<usize, 20>::default();
            let mut model = BTreeMap::new();
            for (at, (op, number)) in ops.into_iter().enumerate() {
                let generation = table.generation;
                let free = (0..=20).find(|id| !model.contains_key(id));
                prop_assert_eq!(table.lowest_free().map(|id| id.0), free);
                let taken = if op == 0 { free } else { Some(number.min(20)) };
                match (op, taken) {
                    (0 | 1, Some(number)) if !model.contains_key(&number) => {
                        table.reserve().unwrap();
                        table.put(id(number), at);
                        model.insert(number, at);
                        prop_assert_ne!(table.generation, generation);
                    }
                    (2, _) => {
                        prop_assert_eq!(table.remove(id(number), |_| false), None);
                        prop_assert_eq!(table.remove(id(number), |_| true), model.remove(&number));
                    }
                    _ => {}
                }
                prop_assert_eq!(table.get(id(number)), model.get(&number));
                let listed: Vec<_> = table.iter_from(id(number)).map(|(id, peer)| (id.0, *peer)).collect();
                prop_assert_eq!(listed, model.range(number..).map(|(id, peer)| (*id, *peer)).collect::<Vec<_>>());
            }
            prop_assert_eq!(table.into_peers().collect::<Vec<_>>(), model.into_values().collect::<Vec<_>>());
        }
    }
}
