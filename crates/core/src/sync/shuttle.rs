//! Locks, atomics and threads of shuttle, which runs one thread at a time and decides at each use of
//! one of them who goes on.

pub(crate) use shuttle::sync::MutexGuard;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{OnceLock, PoisonError, TryLockError};

/// Two shards: the fewest that can get in each other's way.
pub(crate) fn processors() -> usize {
    2
}

pub(crate) fn thread_number() -> usize {
    shuttle::current::me().into()
}

pub(crate) fn relax(_: u32) {
    shuttle::thread::yield_now();
}

#[derive(Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As `spin::Once`: a flag, then the value behind it.
pub(crate) struct Once<T> {
    done: AtomicBool,
    gate: Mutex<()>,
    value: OnceLock<T>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    pub(crate) const fn new() -> Self {
        Self { done: AtomicBool::new(false), gate: Mutex::new(()), value: OnceLock::new() }
    }

    pub(crate) fn is_completed(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_completed() { self.value.get() } else { None }
    }

    pub(crate) fn try_call_once<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let _gate = self.gate.lock();
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let made = make()?;
        let value = self.value.get_or_init(|| made);
        self.done.store(true, Ordering::Release);
        Ok(value)
    }

    pub(crate) fn call_once(&self, make: impl FnOnce() -> T) -> &T {
        match self.try_call_once(|| Ok::<_, core::convert::Infallible>(make())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }
}
