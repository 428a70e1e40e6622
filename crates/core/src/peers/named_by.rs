//! The peer's half: which observers name it, and what they call it.
//!
//! Most namespaces are named by one observer or none, so one back-reference stands in place, and it
//! is read without a lock ([`InPlace`]); further ones are in a map, made on first use.

use crate::net::Net;
use crate::peers::in_place::{InPlace, Seen};
use crate::peers::{NoMemory, Nsid};
use crate::sync::{Mutex, Ordering};
use alloc::boxed::Box;
use alloc::sync::Weak;
use alloc::vec::{self, Vec};
use hashbrown::HashMap;

/// Back-references of one namespace.
#[derive(Default)]
pub(super) struct NamedBy {
    /// Written under the lock.
    in_place: InPlace,
    /// Leaf lock.
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    /// The observer in place.
    first: Option<Weak<Net>>,
    /// By the observer's cookie.
    more: Option<Box<HashMap<u64, Further>>>,
}

/// Back-references that are being drained. If a sink panics, the rest goes back: the next round of
/// the namespace finds it.
struct Draining<'a> {
    of: &'a NamedBy,
    left: vec::IntoIter<Further>,
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        if self.left.len() == 0 {
            return;
        }
        let mut rest = self.of.rest.lock();
        let more = rest.more.get_or_insert_default();
        for further in &mut self.left {
            if let Some(cookie) = further.observer.upgrade().map(|observer| observer.cookie().get()) {
                more.insert(cookie, further);
            }
        }
        self.of.in_place.set_more(true);
    }
}

struct Further {
    observer: Weak<Net>,
    /// The observer's place in the list of namespaces: the order of notification.
    place: u64,
    id: Nsid,
}

impl NamedBy {
    /// What `observer` calls this namespace.
    pub(super) fn id_in(&self, observer: u64) -> Option<Nsid> {
        match self.in_place.look(observer) {
            Seen::Here(id) => Some(Nsid(id)),
            Seen::Elsewhere => self.further(observer),
            Seen::Nowhere => None,
        }
    }

    #[cold]
    fn further(&self, observer: u64) -> Option<Nsid> {
        Some(self.rest.lock().more.as_ref()?.get(&observer)?.id)
    }

    /// `observer` has no entry yet, and its table is locked. Nothing has changed after an error.
    pub(super) fn add(&self, observer: &Net, id: Nsid) -> Result<(), NoMemory> {
        let cookie = observer.cookie().get();
        let mut rest = self.rest.lock();
        if rest.first.is_none() {
            rest.first = Some(Weak::clone(&observer.me));
            self.in_place.put(cookie, id.0);
            return Ok(());
        }
        let mut made = None;
        let more = rest.more.as_mut().unwrap_or_else(|| made.insert(Box::default()));
        more.try_reserve(1).map_err(|_| NoMemory)?;
        let place = observer.place.load(Ordering::Relaxed);
        more.insert(cookie, Further { observer: Weak::clone(&observer.me), place, id });
        if made.is_some() {
            rest.more = made;
        }
        self.in_place.set_more(true);
        Ok(())
    }

    /// The observer is dead: its names go with it.
    pub(super) fn forget(&self, observer: u64) {
        let mut rest = self.rest.lock();
        if self.in_place.forget(observer) {
            rest.first = None;
        } else if let Some(more) = &mut rest.more {
            more.remove(&observer);
            if more.is_empty() {
                rest.more = None;
                self.in_place.set_more(false);
            }
        }
    }

    /// This namespace is dead: calls `each` for every observer that still exists, in the order in
    /// which they were created, with the id; no lock is held, and nothing is left.
    pub(super) fn drain(&self, mut each: impl FnMut(&Net, Nsid)) {
        let (first, more, id) = {
            let mut rest = self.rest.lock();
            (rest.first.take(), rest.more.take(), Nsid(self.in_place.clear()))
        };
        let Some(more) = more else {
            if let Some(observer) = first.and_then(|first| first.upgrade()) {
                each(&observer, id);
            }
            return;
        };
        let mut all: Vec<Further> = more.into_values().collect();
        if let Some(observer) = first
            && let Some(place) = observer.upgrade().map(|net| net.place.load(Ordering::Relaxed))
        {
            all.push(Further { observer, place, id });
        }
        all.sort_unstable_by_key(|further| further.place);
        let mut draining = Draining { of: self, left: all.into_iter() };
        for Further { observer, id, .. } in draining.left.by_ref() {
            if let Some(observer) = observer.upgrade() {
                each(&observer, id);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let rest = self.rest.lock();
        assert_eq!((rest.first.is_some(), rest.more.is_some()), self.in_place.state());
        usize::from(rest.first.is_some()) + rest.more.as_ref().map_or(0, |more| more.len())
    }
}
