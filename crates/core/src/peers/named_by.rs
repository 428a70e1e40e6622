//! The peer's half: which observers name it, and what they call it.
//!
//! Most namespaces are named by one observer or none, so one back-reference stands in place, and it
//! is read without a lock; further ones are in a map, made on first use.
//!
//! A reader cannot miss an entry: it stays where it was put for as long as both namespaces live,
//! and whoever asks holds both. It cannot mix two entries up either. The place is emptied only when
//! its observer is forgotten, and a cookie never comes back, so if the place says our cookie before
//! and after the id was read, then the id is ours.

use crate::net::Net;
use crate::peers::{NoMemory, Nsid};
use crate::sync::{AtomicU64, Mutex, Ordering};
use alloc::boxed::Box;
use alloc::sync::Weak;
use alloc::vec::{self, Vec};
use hashbrown::HashMap;

/// No namespace has this cookie.
const NOBODY: u64 = 0;
/// In `word`: the map is not empty. The id has the lower half.
const MORE: u64 = 1 << 63;

/// Back-references of one namespace. Both words lie in one cache line: an answer costs one miss.
#[derive(Default)]
#[repr(C, align(16))]
pub(super) struct NamedBy {
    /// Cookie of the observer whose entry stands in place. Written under the lock.
    first: AtomicU64,
    /// The id in place, and [`MORE`]. Written under the lock.
    word: AtomicU64,
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
        self.of.word.fetch_or(MORE, Ordering::Release);
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
        // Acquire: with the cookie comes the id, with the id whatever happened to the place before.
        if self.first.load(Ordering::Acquire) == observer {
            let word = self.word.load(Ordering::Acquire);
            if self.first.load(Ordering::Relaxed) == observer {
                return Some(Nsid(word as u32));
            }
        }
        if self.word.load(Ordering::Acquire) & MORE == 0 {
            return None;
        }
        self.further(observer)
    }

    #[cold]
    fn further(&self, observer: u64) -> Option<Nsid> {
        Some(self.rest.lock().more.as_ref()?.get(&observer)?.id)
    }

    /// `observer` has no entry yet, and its table is locked. Nothing has changed after an error.
    pub(super) fn add(&self, observer: &Net, id: Nsid) -> Result<(), NoMemory> {
        let cookie = observer.cookie().get();
        let mut rest = self.rest.lock();
        let word = self.word.load(Ordering::Relaxed);
        if rest.first.is_none() {
            rest.first = Some(Weak::clone(&observer.me));
            self.word.store(word & MORE | u64::from(id.0), Ordering::Release);
            self.first.store(cookie, Ordering::Release);
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
        self.word.store(word | MORE, Ordering::Release);
        Ok(())
    }

    /// The observer is dead: its names go with it.
    pub(super) fn forget(&self, observer: u64) {
        let mut rest = self.rest.lock();
        if self.first.load(Ordering::Relaxed) == observer {
            self.first.store(NOBODY, Ordering::Release);
            rest.first = None;
        } else if let Some(more) = &mut rest.more {
            more.remove(&observer);
            if more.is_empty() {
                rest.more = None;
                self.word.store(self.word.load(Ordering::Relaxed) & !MORE, Ordering::Release);
            }
        }
    }

    /// This namespace is dead: calls `each` for every observer that still exists, in the order in
    /// which they were created, with the id; no lock is held, and nothing is left.
    pub(super) fn drain(&self, mut each: impl FnMut(&Net, Nsid)) {
        let (first, more, id) = {
            let mut rest = self.rest.lock();
            let word = self.word.load(Ordering::Relaxed);
            self.first.store(NOBODY, Ordering::Release);
            self.word.store(0, Ordering::Release);
            (rest.first.take(), rest.more.take(), Nsid(word as u32))
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
        assert_eq!(rest.more.is_some(), self.word.load(Ordering::Relaxed) & MORE != 0);
        assert_eq!(rest.first.is_some(), self.first.load(Ordering::Relaxed) != NOBODY);
        usize::from(rest.first.is_some()) + rest.more.as_ref().map_or(0, |more| more.len())
    }
}
