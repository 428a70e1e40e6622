//! The active count of a namespace and, where wanted, who holds it.
//!
//! The counter itself is in [`sticky`]; its second half, the passive count, is the weak count of
//! the allocation: a passive holder keeps the address, never the data.

mod sticky;

pub(crate) use sticky::StickyCount;

use crate::sync::Mutex;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::panic::Location;

/// Places in the source that hold active references of one namespace.
///
/// The counterpart of the kernel's `ref_tracker`: when a namespace will not die, this names the
/// line to look at. Made on first use, so it costs two words where nothing is tracked.
///
/// Leaf lock: nothing is taken inside it, so it may be taken anywhere a reference is dropped.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "three words less in each of a million namespaces that are not tracked")]
pub(crate) struct Holders(Mutex<Option<Box<BTreeMap<&'static Location<'static>, usize>>>>);

/// One active reference's entry in [`Holders`].
#[derive(Clone, Copy)]
pub(crate) struct Holder(Option<&'static Location<'static>>);

impl Holder {
    #[track_caller]
    pub(crate) fn enter(holders: &Holders) -> Self {
        let at = Location::caller();
        *holders.0.lock().get_or_insert_default().entry(at).or_insert(0) += 1;
        Self(Some(at))
    }

    pub(crate) const fn untracked() -> Self {
        Self(None)
    }

    pub(crate) fn leave(self, holders: &Holders) {
        let Some(at) = self.0 else { return };
        let mut held = holders.0.lock();
        let Some(held) = held.as_mut() else { return };
        if let Some(count) = held.get_mut(at) {
            *count -= 1;
            if *count == 0 {
                held.remove(at);
            }
        }
    }
}

impl Holders {
    pub(crate) fn list(&self) -> Vec<(&'static Location<'static>, usize)> {
        self.0.lock().iter().flat_map(|held| held.iter()).map(|(at, count)| (*at, *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_sticky_and_told_once() {
        let count = StickyCount::one();
        assert!(count.try_get());
        assert!(count.get());
        assert!(!count.put());
        assert!(!count.put());
        assert!(!count.is_zero());
        assert!(count.put());
        assert!(count.is_zero());
        assert!(!count.try_get());
        assert!(!count.try_get());
        assert!(count.is_zero());
        assert!(!count.put(), "the burial is told once");
    }

    #[test]
    fn a_wrong_get_does_not_resurrect() {
        let count = StickyCount::one();
        assert!(count.put());
        assert!(!count.get());
        assert!(!count.try_get());
        assert!(!count.put());
        assert!(count.is_zero());
    }

    #[test]
    fn holders_are_listed_by_line() {
        let holders = Holders::default();
        let first = Holder::enter(&holders);
        let line = core::panic::Location::caller().line() - 1;
        let list = holders.list();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].0.line(), list[0].1), (line, 1));
        first.leave(&holders);
        assert!(holders.list().is_empty());
    }
}
