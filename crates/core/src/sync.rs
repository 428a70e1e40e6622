//! One switch: std locks with the `std` feature, spinning ones without.
//!
//! The rest of the crate names only this module, so a third implementation (loom's) can be put
//! underneath in one place; `tests/loom_sticky.rs` does so for the counter.
//!
//! Poison is ignored on purpose: every critical section of this crate leaves its data consistent
//! at each point where foreign code (an event sink) can unwind, so a panic of one sink must not
//! make a namespace unusable for everyone else.

pub(crate) use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

#[cfg(feature = "std")]
mod imp {
    use std::sync::PoisonError;
    pub(crate) use std::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    #[derive(Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    #[derive(Default)]
    pub(crate) struct RwLock<T>(std::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

#[cfg(not(feature = "std"))]
mod imp {
    pub(crate) use spin::{Mutex, RwLock};
}

pub(crate) use imp::{Mutex, RwLock};
pub(crate) use spin::Once;
