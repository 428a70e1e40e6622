//! A spinning lock.

use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that one CPU at a time may touch. A kernel with interrupts also masks them while it holds one that a handler
/// takes; this machine has none.
pub(crate) struct Lock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` is the only way to the value and lets one caller at a time in, so the value is never shared, only
// sent.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs `section` with the value. Not to be nested for one lock.
    pub(crate) fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        while self.taken.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            spin_loop();
        }
        // SAFETY: `taken` was false and is ours now, so no other reference to the value exists until it is given back
        // below. A panic in between aborts the machine (`panic = "abort"`): nobody comes back to a half-done section.
        let result = section(unsafe { &mut *self.value.get() });
        self.taken.store(false, Ordering::Release);
        result
    }
}
