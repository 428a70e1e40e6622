//! What the core asks of a kernel: grace periods, and an end to what was deferred.

use crate::lock::Lock;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use pernet::{Grace, Platform};

/// Read-copy-update on a machine with one CPU and no preemption: a reader never outlasts its turn, so a grace period is
/// over as soon as it is asked for. What matters here is who waits where.
#[derive(Default)]
pub(crate) struct Rcu {
    pub(crate) graces: AtomicUsize,
    pub(crate) expedited: AtomicUsize,
    pub(crate) drains: AtomicUsize,
    pub(crate) freed: AtomicUsize,
    deferred: Deferred,
}

type Callback = Box<dyn FnOnce() + Send>;

struct Deferred(Lock<Vec<Callback>>);

impl Default for Deferred {
    fn default() -> Self {
        Self(Lock::new(Vec::new()))
    }
}

impl Rcu {
    /// `call_rcu`: `callback` runs when every reader of now is gone.
    pub(crate) fn defer(&self, callback: impl FnOnce() + Send + 'static) {
        self.deferred.0.with(|deferred| deferred.push(Box::new(callback)));
    }
}

impl Platform for Rcu {
    /// `synchronize_rcu`, or its expedited kind.
    fn grace_period(&self, how: Grace) {
        let count = match how {
            Grace::Ordinary => &self.graces,
            Grace::Expedited => &self.expedited,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// `rcu_barrier`: what exits have deferred is done when this returns.
    fn drain_deferred(&self) {
        self.drains.fetch_add(1, Ordering::Relaxed);
        // Taken out first: a callback may defer more, and runs with no lock held.
        for callback in self.deferred.0.with(core::mem::take) {
            callback();
            self.freed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
