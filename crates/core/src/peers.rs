//! Peer ids: what one namespace calls another.
//!
//! ```text
//! observer A                            peer B
//! table (lock: A's peer table)          named_by (lock: B's back-references, a leaf)
//!   7 ─────────────────────────▶ B        A's cookie ─▶ (A, 7)
//! ```
//!
//! * id → peer: an ordered map in the observer: ids are chosen by callers and sparse, and dumps
//!   resume by id.
//! * peer → id: the peer's back-reference to the observer, by hash. So "what do I call B" is O(1)
//!   where Linux scans its table, and the death of B costs exactly the entries that exist.
//!
//! An entry holds no active reference. **Why no entry can outlive its peer:** an entry and its
//! back-reference are made in one critical section of the observer, during which the peer (and the
//! observer) is pinned by `maybe_get_net`. Teardown of the peer begins only when its count is zero,
//! hence after that critical section, hence finds the back-reference; afterwards no pin can be
//! taken, so none is added. The same argument for the observer: its table is destroyed only after
//! its count is zero, and then no entry can be added. The kernel tests the observer outside the
//! lock, and leaks.
//!
//! **Why a NEW never overtakes a DEL:** both are emitted before the lock is released.
//!
//! Locks: a table may be held while taking back-references (of any namespace), never the other way
//! round, and never two tables at once.

use crate::error::AssignError;
use crate::event::{Event, Origin};
use crate::net::{DyingNet, Net, NetHandle, NetRef, Pinned};
use crate::sync::{Mutex, Ordering};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use hashbrown::HashMap;

/// A peer id: 0..=2147483647. The kernel's −1 ("none") is `Option::None`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Nsid(u32);

impl Nsid {
    /// The smallest id.
    pub const ZERO: Self = Self(0);
    /// The largest id, 2147483647.
    pub const MAX: Self = Self(i32::MAX as u32);

    /// `None` for negative numbers.
    #[must_use]
    pub const fn new(id: i32) -> Option<Self> {
        if id < 0 { None } else { Some(Self(id as u32)) }
    }

    /// The number as it travels on the wire.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0 as i32
    }

    /// The next larger id, where a dump resumes; `None` after the largest.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        if self.0 == Self::MAX.0 { None } else { Some(Self(self.0 + 1)) }
    }
}

/// A stretch of an observer's table.
#[derive(Clone, Debug)]
pub struct NsidPage {
    /// Ascending by id; only peers that were alive when the page was cut.
    pub entries: Vec<(Nsid, NetHandle)>,
    /// Changes with every entry added or removed: two pages with the same generation are from the
    /// same table (`NLM_F_DUMP_INTR` otherwise).
    pub generation: u64,
}

/// The peer ids of one namespace, both ways. Both halves are made on first use.
#[derive(Default)]
pub(crate) struct Peers {
    /// Place in the lock order: after the net list and a stack's lock, before the netlink bus.
    table: Mutex<Option<Box<Table>>>,
    /// Who names this namespace, by the observer's cookie. Leaf.
    named_by: Mutex<Option<Box<HashMap<u64, BackRef>>>>,
}

#[derive(Default)]
struct Table {
    by_id: BTreeMap<Nsid, NetHandle>,
    free: FreeIds,
    generation: u64,
}

struct BackRef {
    observer: NetHandle,
    /// The observer's place in the list of namespaces: the order of notification.
    place: u64,
    id: Nsid,
}

/// Finds the lowest free id without a scan.
///
/// Every id below `top` is in the table or in `free`. Ids from `top` on may be in the table (a
/// caller chose them); they are stepped over once, when `top` reaches them.
#[derive(Default)]
struct FreeIds {
    top: u32,
    free: BTreeSet<u32>,
}

impl FreeIds {
    fn lowest(&mut self, is_taken: impl Fn(Nsid) -> bool) -> Option<Nsid> {
        if let Some(id) = self.free.first() {
            return Some(Nsid(*id));
        }
        while self.top <= Nsid::MAX.0 {
            if !is_taken(Nsid(self.top)) {
                return Some(Nsid(self.top));
            }
            self.top += 1;
        }
        None
    }

    fn take(&mut self, id: Nsid) {
        if id.0 < self.top {
            self.free.remove(&id.0);
        } else if id.0 == self.top {
            self.top += 1;
        }
    }

    fn give(&mut self, id: Nsid) {
        if id.0 < self.top {
            self.free.insert(id.0);
            // Keeps the set no larger than the table.
            while self.top > 0 && self.free.remove(&(self.top - 1)) {
                self.top -= 1;
            }
        }
    }
}

/// How an entry came to be asked for.
enum Outcome {
    Existing(Nsid),
    New(Nsid),
}

impl Net {
    /// What this namespace calls `peer` (`peernet2id`); `None` if it has no name for it.
    ///
    /// O(1); takes only a leaf lock, so it may be asked anywhere, from an event sink too.
    #[must_use]
    pub fn peernet2id(&self, peer: &Self) -> Option<Nsid> {
        let named_by = peer.peers.named_by.lock();
        Some(named_by.as_ref()?.get(&self.cookie().get())?.id)
    }

    /// As [`peernet2id`](Self::peernet2id), and if there is no id yet, takes the lowest free one
    /// (`peernet2id_alloc`). The event carries port and sequence 0.
    ///
    /// `None` if an id cannot be had: observer or peer is dying or unpublished, or the table is
    /// full; nothing has changed then.
    #[must_use]
    pub fn peernet2id_alloc(&self, peer: &Self) -> Option<Nsid> {
        // Most calls find an entry. No entry can vanish while the caller holds the peer alive.
        if let Some(id) = self.peernet2id(peer) {
            return Some(id);
        }
        match self.name(peer, None, Origin::KERNEL) {
            Ok(Outcome::Existing(id) | Outcome::New(id)) => Some(id),
            Err(_) => None,
        }
    }

    /// Gives `peer` the id `want`, or the lowest free one, on request (`RTM_NEWNSID`).
    ///
    /// # Errors
    /// [`AssignError`]; nothing has changed then and no event was emitted.
    pub fn assign_nsid(&self, peer: &Self, want: Option<Nsid>, origin: Origin) -> Result<Nsid, AssignError> {
        match self.name(peer, want, origin)? {
            Outcome::Existing(_) => Err(AssignError::AlreadyNamed),
            Outcome::New(id) => Ok(id),
        }
    }

    fn name(&self, peer: &Self, want: Option<Nsid>, origin: Origin) -> Result<Outcome, AssignError> {
        // Declared before the guard, so dropped after it: a pin may turn out to be the last unit,
        // and its owner's `on_work` hook is not to run under the table lock.
        let (_observer, _peer);
        let mut guard = self.peers.table.lock();
        _observer = Pinned::new(self).ok_or(AssignError::Dying)?;
        if let Some(id) = self.peernet2id(peer) {
            return Ok(Outcome::Existing(id));
        }
        _peer = Pinned::new(peer).ok_or(AssignError::Dying)?;

        let table = &mut **guard.get_or_insert_default();
        let id = match want {
            Some(id) if table.by_id.contains_key(&id) => return Err(AssignError::IdTaken),
            Some(id) => id,
            None => table.free.lowest(|id| table.by_id.contains_key(&id)).ok_or(AssignError::Full)?,
        };
        let handle = peer.handle();
        {
            let mut named_by = peer.peers.named_by.lock();
            let named_by = named_by.get_or_insert_default();
            // The only step that can fail comes before the first that changes anything.
            named_by.try_reserve(1).map_err(|_| AssignError::NoMemory)?;
            let place = self.place.load(Ordering::Relaxed);
            named_by.insert(self.cookie().get(), BackRef { observer: self.handle(), place, id });
        }
        table.free.take(id);
        table.by_id.insert(id, handle.clone());
        table.generation += 1;
        self.sys.sinks.emit(&Event::NsidNew { observer: self, peer: &handle, id, origin });
        Ok(Outcome::New(id))
    }

    /// The namespace this one calls `id` (`get_net_ns_by_id`): an active reference, valid until
    /// dropped. `None` for negative ids, unknown ids, and peers whose last reference is gone.
    #[must_use]
    #[track_caller]
    pub fn net_by_nsid(&self, id: i32) -> Option<NetRef> {
        let id = Nsid::new(id)?;
        let guard = self.peers.table.lock();
        // Never the last owner of the allocation: while the entry exists, teardown of the peer has
        // not been here, and holds the allocation itself. So nothing of it is freed under the lock.
        let peer = guard.as_ref()?.by_id.get(&id)?.net.upgrade()?;
        let alive = peer.active.try_get();
        drop(guard);
        if alive { Some(NetRef::adopt(peer)) } else { None }
    }

    /// Up to `max` entries with ids from `from` on, ascending, living peers only.
    #[must_use]
    pub fn nsids_from(&self, from: Nsid, max: usize) -> NsidPage {
        let guard = self.peers.table.lock();
        let Some(table) = guard.as_ref() else {
            return NsidPage { entries: Vec::new(), generation: 0 };
        };
        // A dying peer stays in the table until its round comes, but nobody can look it up any
        // more, so it is not listed either (the kernel lists it).
        let alive = table.by_id.range(from..).filter(|(_, peer)| peer.is_alive());
        NsidPage {
            entries: alive.take(max).map(|(id, peer)| (*id, peer.clone())).collect(),
            generation: table.generation,
        }
    }
}

/// Removes every entry that names a member of the batch, then the members' own tables.
///
/// Called by a teardown round after the batch was unlisted and before any exit: from here on the
/// ids are free. Cost: the entries that exist.
pub(crate) fn unhash(batch: &[DyingNet]) {
    for DyingNet(peer) in batch {
        let Some(named_by) = peer.peers.named_by.lock().take() else {
            continue;
        };
        let mut named_by: Vec<BackRef> = named_by.into_values().collect();
        named_by.sort_unstable_by_key(|back| back.place);
        for back in named_by {
            if let Some(observer) = back.observer.net.upgrade() {
                forget(&observer, peer, back.id);
            }
        }
    }
    for DyingNet(observer) in batch {
        let Some(table) = observer.peers.table.lock().take() else {
            continue;
        };
        // The names of an observer die with it, silently.
        for peer in table.by_id.into_values() {
            if let Some(peer) = peer.net.upgrade() {
                peer.peers.no_longer_named_by(observer);
            }
        }
    }
}

fn forget(observer: &Net, peer: &Net, id: Nsid) {
    // Dropped after the guard, as in `name`.
    let pin;
    let mut guard = observer.peers.table.lock();
    let Some(table) = guard.as_mut() else { return };
    if table.by_id.get(&id).is_none_or(|named| named.cookie() != peer.cookie()) {
        return;
    }
    table.by_id.remove(&id);
    table.free.give(id);
    table.generation += 1;
    // Nobody listens in an observer that is dying itself.
    pin = Pinned::new(observer);
    if pin.is_some() {
        observer.sys.sinks.emit(&Event::NsidDel { observer, id });
    }
}

impl Peers {
    fn no_longer_named_by(&self, observer: &Net) {
        let mut guard = self.named_by.lock();
        if let Some(named_by) = guard.as_mut() {
            named_by.remove(&observer.cookie().get());
            if named_by.is_empty() {
                *guard = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nsid_is_thirty_one_bits() {
        assert_eq!(Nsid::new(-1), None);
        assert_eq!(Nsid::new(0), Some(Nsid::ZERO));
        assert_eq!(Nsid::new(i32::MAX).map(Nsid::get), Some(i32::MAX));
        assert_eq!(Nsid::ZERO.next(), Nsid::new(1));
        assert_eq!(Nsid::MAX.next(), None);
    }

    /// A set and the free ids kept beside it, as in a table.
    #[derive(Default)]
    struct Ids(BTreeSet<Nsid>, FreeIds);

    impl Ids {
        fn auto(&mut self) -> Option<i32> {
            let id = self.1.lowest(|id| self.0.contains(&id))?;
            self.put(id.get());
            Some(id.get())
        }

        fn put(&mut self, id: i32) {
            assert!(self.0.insert(Nsid(id as u32)));
            self.1.take(Nsid(id as u32));
        }

        fn remove(&mut self, id: i32) {
            assert!(self.0.remove(&Nsid(id as u32)));
            self.1.give(Nsid(id as u32));
        }
    }

    #[test]
    fn lowest_free_id_as_the_kernel_hands_them_out() {
        let mut ids = Ids::default();
        ids.put(3);
        ids.put(1000);
        ids.put(i32::MAX);
        assert_eq!([ids.auto(), ids.auto(), ids.auto(), ids.auto()], [Some(0), Some(1), Some(2), Some(4)]);
        ids.remove(1);
        ids.remove(3);
        assert_eq!([ids.auto(), ids.auto(), ids.auto()], [Some(1), Some(3), Some(5)]);
        for id in 0..=5 {
            ids.remove(id);
        }
        assert!(ids.1.free.is_empty() && ids.1.top == 0, "an empty table keeps no memory");
    }

    #[test]
    fn c103_a_full_table_says_so() {
        let mut ids = Ids::default();
        ids.1.top = Nsid::MAX.0; // as if all smaller ids were taken
        assert_eq!(ids.auto(), Some(i32::MAX));
        assert_eq!(ids.auto(), None);
        ids.remove(i32::MAX);
        assert_eq!(ids.auto(), Some(i32::MAX));
    }

    #[test]
    fn a_dead_observer_leaves_no_back_reference() {
        let ns = crate::Namespaces::new();
        let cred = crate::Cred::root(ns.init_user_ns());
        let (peer, other) = (ns.create(&cred).unwrap(), ns.create(&cred).unwrap());
        for _ in 0..3 {
            let observer = ns.create(&cred).unwrap();
            assert!(observer.peernet2id_alloc(&peer).is_some());
            drop(observer);
        }
        assert!(other.peernet2id_alloc(&peer).is_some());
        ns.step();
        let names = |net: &Net| net.peers.named_by.lock().as_ref().map(|named_by| named_by.len());
        assert_eq!(names(&peer), Some(1));
        drop(other);
        ns.step();
        assert_eq!(names(&peer), None, "the empty half is given back");
    }
}
