//! Number spaces that hand out the lowest free number: inode numbers and slot indices.

use crate::sync::Mutex;
use alloc::collections::BinaryHeap;
use alloc::sync::Arc;
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

/// The inode numbers of one system. Leaf lock.
pub(crate) struct Inums(Mutex<Lowest>);

impl Inums {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Lowest::new(u32::MAX - FIRST_INUM + 1))))
    }
}

/// An inode number, given back on drop.
pub(crate) struct InumLease {
    from: Arc<Inums>,
    number: u32,
}

impl InumLease {
    pub(crate) fn new(from: &Arc<Inums>) -> Option<Self> {
        let number = from.0.lock().take()?;
        Some(Self { from: Arc::clone(from), number })
    }

    pub(crate) fn inum(&self) -> crate::Inum {
        crate::Inum::new(FIRST_INUM + self.number)
    }
}

impl Drop for InumLease {
    fn drop(&mut self) {
        self.from.0.lock().give(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// W22: the kernel forgets to free the object for which it found no number.
    #[test]
    fn a_creation_without_a_number_leaves_nothing() {
        let ns = crate::Namespaces::new();
        let cred = crate::Cred::root(ns.init_user_ns());
        let owners = Arc::strong_count(ns.sys());
        // As if all smaller numbers were taken.
        ns.sys().inums.0.lock().top = u32::MAX - FIRST_INUM;
        let last = ns.create(&cred).unwrap();
        assert_eq!(last.inum().get(), u32::MAX);
        let error = ns.create(&cred).unwrap_err();
        assert_eq!((error, error.errno()), (crate::CreateError::InumsExhausted, crate::Errno::ENOSPC));
        assert_eq!((ns.init_user_ns().net_namespaces(crate::Uid::ROOT), ns.listed()), (1, 2), "only the last one");
        drop(last);
        while ns.step().more {}
        assert_eq!(Arc::strong_count(ns.sys()), owners, "each namespace owns a share of its system: none is left");
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
        let inums = Inums::new();
        let first = InumLease::new(&inums).unwrap();
        let second = InumLease::new(&inums).unwrap();
        assert_eq!((first.inum().get(), second.inum().get()), (0xF000_0000, 0xF000_0001));
        drop(first);
        assert_eq!(InumLease::new(&inums).unwrap().inum().get(), 0xF000_0000);
    }
}
