//! Number spaces: slot indices, lowest free first, and inode numbers.

use crate::net::Inum;
use crate::sync::Mutex;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Numbers `0..limit`, lowest free first.
pub(crate) struct Lowest {
    /// Every number below is in use or in `free`; none from here on is in use.
    top: u32,
    limit: u32,
    free: BinaryHeap<Reverse<u32>>,
}

impl Lowest {
    pub(crate) const fn new(limit: u32) -> Self {
        Self { top: 0, limit, free: BinaryHeap::new() }
    }

    pub(crate) fn take(&mut self) -> Option<u32> {
        if let Some(Reverse(number)) = self.free.pop() {
            return Some(number);
        }
        let number = self.top;
        if number == self.limit {
            return None;
        }
        self.top += 1;
        Some(number)
    }

    pub(crate) fn give(&mut self, number: u32) {
        self.free.push(Reverse(number));
    }
}

/// The first dynamic inode number, as in the kernel.
const FIRST_INUM: u32 = 0xF000_0000;
/// How many there are, up to 0xFFFFFFFF.
pub(crate) const INUMS: u32 = u32::MAX - FIRST_INUM + 1;
/// How many a shard takes or gives back at a time.
const HANDFUL: usize = 128;

/// The inode numbers of one system, in handfuls. Not the lowest first: that would cost more than all
/// else in a creation, under a lock, and only "unique among the living" is promised. Leaf lock.
pub(crate) struct Inums(Mutex<Store>);

struct Store {
    /// From here on no number was ever given.
    top: u32,
    limit: u32,
    free: Vec<u32>,
}

impl Inums {
    /// `limit` is at most [`INUMS`].
    pub(crate) fn new(limit: u32) -> Self {
        Self(Mutex::new(Store { top: 0, limit: limit.min(INUMS), free: Vec::new() }))
    }

    /// Gives one back, past any shard's stock.
    pub(crate) fn give(&self, inum: Inum) {
        self.0.lock().free.push(inum.get() - FIRST_INUM);
    }
}

/// A shard's own stock of free inode numbers, so that creations in different shards do not meet.
#[derive(Default)]
pub(crate) struct InumStock(Vec<u32>);

impl InumStock {
    /// `None` if there is none here and none in the common store; other shards may have some.
    pub(crate) fn take(&mut self, store: &Inums) -> Option<Inum> {
        if self.0.is_empty() {
            let Store { top, limit, free } = &mut *store.0.lock();
            if free.is_empty() {
                let end = top.saturating_add(HANDFUL as u32).min(*limit);
                // The lowest is taken first.
                self.0.extend((*top..end).rev());
                *top = end;
            } else {
                self.0.extend(free.drain(free.len().saturating_sub(HANDFUL)..));
            }
        }
        Some(Inum::new(FIRST_INUM + self.0.pop()?))
    }

    pub(crate) fn give(&mut self, inum: Inum, store: &Inums) {
        self.0.push(inum.get() - FIRST_INUM);
        if self.0.len() > 2 * HANDFUL {
            // From the front: what was given last is still warm.
            store.0.lock().free.extend(self.0.drain(..HANDFUL));
        }
    }

    /// Everything goes to the common store: another shard has run dry.
    pub(crate) fn surrender(&mut self, store: &Inums) {
        store.0.lock().free.append(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;

    /// W22: the kernel forgets to free the object for which it found no number.
    #[test]
    fn a_creation_without_a_number_leaves_nothing() {
        let ns = crate::Namespaces::new();
        let cred = crate::Cred::root(ns.init_user_ns());
        let homes = ns.sys().shards.iter().map(|shard| shard.body.lock().home.clone());
        let homes: Vec<Arc<crate::shard::Home>> = homes.flatten().collect();
        let owners = || homes.iter().map(Arc::strong_count).sum::<usize>();
        let before = owners();
        // As if all smaller numbers were taken.
        ns.sys().inums.0.lock().top = u32::MAX - FIRST_INUM;
        let last = ns.create(&cred).unwrap();
        assert_eq!(last.inum().get(), u32::MAX);
        let error = ns.create(&cred).unwrap_err();
        assert_eq!((error, error.errno()), (crate::CreateError::InumsExhausted, crate::Errno::ENOSPC));
        assert_eq!((ns.init_user_ns().net_namespaces(crate::Uid::ROOT), ns.listed()), (1, 2), "only the last one");
        drop(last);
        while ns.step().more {}
        assert_eq!(owners(), before, "each namespace owns a share of its system: none is left");
        assert_eq!(ns.create(&cred).map(|net| net.inum().get()), Ok(u32::MAX));
    }

    #[test]
    fn lowest_free_first_and_bounded() {
        let mut numbers = Lowest::new(3);
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [Some(0), Some(1), Some(2)]);
        assert_eq!(numbers.take(), None);
        numbers.give(2);
        numbers.give(0);
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [Some(0), Some(2), None]);
    }

    #[test]
    fn inums_start_at_the_dynamic_base_and_return() {
        let (store, mut stock) = (Inums::new(INUMS), InumStock::default());
        let first = stock.take(&store).unwrap();
        let second = stock.take(&store).unwrap();
        assert_eq!((first.get(), second.get()), (0xF000_0000, 0xF000_0001));
        stock.give(first, &store);
        assert_eq!(stock.take(&store), Some(first));
    }

    #[test]
    fn a_stock_that_grows_gives_back_and_one_that_is_asked_gives_all() {
        let (store, mut hoarder, mut other) = (Inums::new(1000), InumStock::default(), InumStock::default());
        let mut mine: Vec<Inum> = core::iter::from_fn(|| hoarder.take(&store)).collect();
        assert_eq!(mine.len(), 1000);
        assert_eq!(other.take(&store), None);
        while let Some(inum) = mine.pop() {
            hoarder.give(inum, &store);
        }
        assert!(hoarder.0.len() <= 2 * HANDFUL);
        let again = other.take(&store).unwrap();
        other.give(again, &store);
        hoarder.surrender(&store);
        other.surrender(&store);
        let mut all: Vec<u32> = core::iter::from_fn(|| other.take(&store)).map(Inum::get).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1000);
    }
}
