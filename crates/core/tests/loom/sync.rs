//! What `src/sync.rs` is to the crate, with loom's primitives; for files of the crate that a test
//! compiles once more.
#![allow(dead_code, unused_imports, reason = "each test uses a part")]

pub(crate) use loom::sync::MutexGuard;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::OnceLock;

/// As the crate's, without the padding.
#[derive(Default)]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> core::ops::Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[derive(Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

/// A flag that loom sees, before a value that it need not see: writers follow one another.
pub(crate) struct Once<T> {
    done: AtomicBool,
    value: OnceLock<T>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    pub(crate) fn new() -> Self {
        Self { done: AtomicBool::new(false), value: OnceLock::new() }
    }

    pub(crate) fn is_completed(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_completed() { self.value.get() } else { None }
    }

    pub(crate) fn call_once(&self, make: impl FnOnce() -> T) -> &T {
        let value = self.value.get_or_init(make);
        self.done.store(true, Ordering::Release);
        value
    }
}

/// All schedules with up to `preemptions` preemptions: where such code breaks, it breaks with few.
pub(crate) fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(test);
}
