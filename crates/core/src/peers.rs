//! Peer ids: what one namespace calls another.
//!
//! ```text
//! observer A                            peer B
//! table (lock: A's peer table)          named_by (lock: B's back-references, a leaf)
//!   7 ─────────────────────────▶ B        A's cookie ─▶ (A, 7)
//! ```
//!
//! * id → peer ([`table`]): in the observer, in order: dumps resume by id.
//! * peer → id ([`named_by`]): the peer's back-reference to the observer, the first of them in
//!   place. So "what do I call B" is O(1) where Linux scans its table, takes no lock as a rule, and
//!   the death of B costs exactly the entries that exist.
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

mod in_place;
mod named_by;
mod table;

use crate::error::AssignError;
use crate::event::{Event, Origin};
use crate::net::{DyingNet, Net, NetHandle, NetRef, Pinned};
use crate::sync::Mutex;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use named_by::NamedBy;
use table::Table;

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

/// What a dump of the table says (`rtnl_net_dumpid`): numbers only, no handles.
#[derive(Clone, Debug)]
pub struct NsidDump {
    /// Ascending by id; only peers that were alive when the page was cut.
    pub entries: Vec<NsidEntry>,
    /// As [`NsidPage::generation`].
    pub generation: u64,
}

/// One entry of an [`NsidDump`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NsidEntry {
    /// What the observer calls the peer.
    pub id: Nsid,
    /// What the namespace that asks calls it (`NETNSA_CURRENT_NSID`), if it was to be told.
    pub current: Option<Nsid>,
}

/// The peer ids of one namespace, both ways.
#[derive(Default)]
pub(crate) struct Peers {
    /// Made on first use. Place in the lock order: after a shard's and a stack's lock, before
    /// the netlink bus.
    table: Mutex<Option<Box<Table>>>,
    /// Who names this namespace. Its lock is a leaf.
    named_by: NamedBy,
}

/// An allocation failed; nothing has changed.
#[derive(Debug)]
struct NoMemory;

/// How an entry came to be asked for.
enum Outcome {
    Existing(Nsid),
    New(Nsid),
}

impl Net {
    /// What this namespace calls `peer` (`peernet2id`); `None` if it has no name for it.
    ///
    /// O(1); takes a leaf lock at most, so it may be asked anywhere, from an event sink too.
    #[must_use]
    pub fn peernet2id(&self, peer: &Self) -> Option<Nsid> {
        // Cookies are one system's own.
        if self.is_of_system(peer) { peer.peers.named_by.id_in(self.cookie().get()) } else { None }
    }

    fn is_of_system(&self, other: &Self) -> bool {
        core::ptr::eq(self.sys(), other.sys())
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
        if !self.is_of_system(peer) {
            return Err(AssignError::Dying);
        }
        let mut guard = self.peers.table.lock();
        _observer = Pinned::new(self).ok_or(AssignError::Dying)?;
        if let Some(id) = self.peernet2id(peer) {
            return Ok(Outcome::Existing(id));
        }
        _peer = Pinned::new(peer).ok_or(AssignError::Dying)?;

        let table = &mut **guard.get_or_insert_default();
        let id = match want {
            Some(id) if table.get(id).is_some() => return Err(AssignError::IdTaken),
            Some(id) => id,
            None => table.lowest_free().ok_or(AssignError::Full)?,
        };
        // The steps that can fail come before the first that changes anything.
        table.reserve()?;
        peer.peers.named_by.add(self, id)?;
        let handle = peer.handle();
        table.put(id, Weak::clone(&handle.net));
        self.sys().sinks.emit(&Event::NsidNew { observer: self, peer: &handle, id, origin });
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
        let peer = guard.as_ref()?.get(id)?.upgrade()?;
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
        let entries = table.living_from(from).map(|(id, peer)| (id, peer.handle())).take(max).collect();
        NsidPage { entries, generation: table.generation }
    }

    /// As [`nsids_from`](Self::nsids_from), with numbers only: what a dump sends, at a fraction of
    /// the cost. `current` is the namespace that asks, if it is to be told its own names too.
    #[must_use]
    pub fn dump_nsids(&self, from: Nsid, max: usize, current: Option<&Self>) -> NsidDump {
        let guard = self.peers.table.lock();
        let Some(table) = guard.as_ref() else {
            return NsidDump { entries: Vec::new(), generation: 0 };
        };
        let entry = |(id, peer): (Nsid, Arc<Self>)| {
            // A leaf: no lock is taken that may not be taken under a table.
            NsidEntry { id, current: current.and_then(|net| net.peernet2id(&peer)) }
        };
        NsidDump { entries: table.living_from(from).map(entry).take(max).collect(), generation: table.generation }
    }
}

impl Table {
    /// A dying peer stays in the table until its round comes, but nobody can look it up any more,
    /// so it is not listed either (the kernel lists it).
    fn living_from(&self, from: Nsid) -> impl Iterator<Item = (Nsid, Arc<Net>)> {
        self.iter_from(from).filter_map(|(id, peer)| {
            let peer = peer.upgrade()?;
            (!peer.active.is_zero()).then_some((id, peer))
        })
    }
}

impl From<NoMemory> for AssignError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// Removes every entry that names a member of the batch, then the members' own tables.
///
/// Called by a teardown round after the batch was unlisted and before any exit: from here on the
/// ids are free. Cost: the entries that exist.
pub(crate) fn unhash(batch: &[DyingNet]) {
    for DyingNet(peer) in batch {
        peer.peers.named_by.drain(|observer, id| forget(observer, peer, id));
    }
    for DyingNet(observer) in batch {
        let Some(table) = observer.peers.table.lock().take() else {
            continue;
        };
        // The names of an observer die with it, silently.
        for peer in table.into_peers() {
            if let Some(peer) = peer.upgrade() {
                peer.peers.named_by.forget(observer.cookie().get());
            }
        }
    }
}

fn forget(observer: &Net, peer: &Net, id: Nsid) {
    // Dropped after the guard, as in `name`.
    let pin;
    let mut guard = observer.peers.table.lock();
    let Some(table) = guard.as_mut() else { return };
    // While the entry exists the peer's memory does, so the same address is the same peer.
    if table.remove(id, |named| named.ptr_eq(&peer.me)).is_none() {
        return;
    }
    // Nobody listens in an observer that is dying itself.
    pin = Pinned::new(observer);
    if pin.is_some() {
        observer.sys().sinks.emit(&Event::NsidDel { observer, id });
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
        assert_eq!(peer.peers.named_by.len(), 1);
        drop(other);
        ns.step();
        assert_eq!(peer.peers.named_by.len(), 0);
    }
}
