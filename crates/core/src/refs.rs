//! The active count of a namespace and, in debug builds, who holds it.
//!
//! The counter itself is in [`sticky`]; its second half, the passive count, is the weak count of
//! the allocation: a passive holder keeps the address, never the data.

mod sticky;

pub(crate) use sticky::StickyCount;

#[cfg(debug_assertions)]
use crate::sync::Mutex;
#[cfg(debug_assertions)]
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::panic::Location;

/// Places in the source that hold active references of one namespace.
///
/// The counterpart of the kernel's `ref_tracker`: when a namespace will not die, this names the
/// line to look at. Kept in debug builds only; zero bytes in release.
#[derive(Default)]
pub(crate) struct Holders {
    /// Leaf lock: nothing is taken inside it, so it may be taken anywhere a reference is dropped.
    #[cfg(debug_assertions)]
    at: Mutex<BTreeMap<&'static Location<'static>, usize>>,
}

/// One active reference's entry in [`Holders`].
#[derive(Clone, Copy)]
pub(crate) struct Holder {
    #[cfg(debug_assertions)]
    at: &'static Location<'static>,
}

impl Holders {
    #[track_caller]
    pub(crate) fn enter(&self) -> Holder {
        #[cfg(debug_assertions)]
        {
            let at = Location::caller();
            *self.at.lock().entry(at).or_insert(0) += 1;
            Holder { at }
        }
        #[cfg(not(debug_assertions))]
        Holder {}
    }

    pub(crate) fn leave(&self, _holder: Holder) {
        #[cfg(debug_assertions)]
        {
            let mut held = self.at.lock();
            if let Some(count) = held.get_mut(_holder.at) {
                *count -= 1;
                if *count == 0 {
                    held.remove(_holder.at);
                }
            }
        }
    }

    pub(crate) fn list(&self) -> Vec<(&'static Location<'static>, usize)> {
        #[cfg(debug_assertions)]
        {
            self.at.lock().iter().map(|(at, count)| (*at, *count)).collect()
        }
        #[cfg(not(debug_assertions))]
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_sticky_and_told_once() {
        let count = StickyCount::one();
        assert!(count.try_get());
        count.get();
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
        count.get();
        assert!(!count.try_get());
        assert!(!count.put());
        assert!(count.is_zero());
    }

    #[cfg(debug_assertions)]
    #[test]
    fn holders_are_listed_by_line() {
        let holders = Holders::default();
        let first = holders.enter();
        let line = core::panic::Location::caller().line() - 1;
        let list = holders.list();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].0.line(), list[0].1), (line, 1));
        holders.leave(first);
        assert!(holders.list().is_empty());
    }
}
