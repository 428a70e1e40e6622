//! One switch: std locks with the `std` feature, spinning ones without.
//!
//! The rest of the crate names only this module, so others can be put underneath in one place:
//! * shuttle's, by `--cfg pernet_shuttle`: `tests/shuttle.rs` runs the whole crate under random
//!   schedules;
//! * loom's: `tests/loom_*.rs` compile single files of this crate once more, with a module like this
//!   one beside them, and run every interleaving.
//!
//! Poison is ignored on purpose: every critical section of this crate leaves its data consistent
//! at each point where foreign code (an event sink) can unwind, so a panic of one sink must not
//! make a namespace unusable for everyone else.

#[cfg(not(pernet_shuttle))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Something that is written so often that nothing else is to lie in its cache line (or in the one
/// that processors fetch with it).
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> core::ops::Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(pernet_shuttle)]
#[path = "sync/shuttle.rs"]
mod imp;

#[cfg(all(feature = "std", not(pernet_shuttle)))]
mod imp {
    pub(crate) use spin::Once;
    pub(crate) use std::sync::MutexGuard;
    use std::sync::PoisonError;

    pub(crate) fn processors() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// Threads are numbered in the order in which they first ask.
    pub(crate) fn thread_number() -> usize {
        use core::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        std::thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
        // A thread that is ending has no number of its own any more.
        NUMBER.try_with(|number| *number).unwrap_or(0)
    }

    pub(crate) fn relax(attempt: u32) {
        if attempt < 64 {
            std::thread::yield_now();
        } else {
            std::thread::sleep(core::time::Duration::from_micros(100));
        }
    }

    #[derive(Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(std::sync::TryLockError::WouldBlock) => None,
            }
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

#[cfg(not(any(feature = "std", pernet_shuttle)))]
mod imp {
    pub(crate) fn processors() -> usize {
        1
    }

    pub(crate) fn thread_number() -> usize {
        0
    }

    pub(crate) fn relax(_: u32) {
        core::hint::spin_loop();
    }

    pub(crate) use spin::{Mutex, MutexGuard, Once};
}

#[cfg(pernet_shuttle)]
pub(crate) use imp::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub(crate) use imp::{Mutex, MutexGuard, Once, processors, relax, thread_number};
