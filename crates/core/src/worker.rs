//! The teardown worker: a thread that sleeps until something has died.

use crate::namespaces::Namespaces;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::thread::{self, JoinHandle};

/// A thread that runs teardown rounds. Dropping it runs what is queued and joins it.
pub struct Worker {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Namespaces {
    /// Starts a thread that tears down namespaces as they die (the kernel's `netns` workqueue).
    ///
    /// # Panics
    /// If the operating system cannot start a thread.
    #[must_use = "dropping the worker stops it"]
    pub fn spawn_worker(&self) -> Worker {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new()
            .name("netns".into())
            .spawn({
                let (namespaces, stop) = (self.clone(), Arc::clone(&stop));
                move || work(&namespaces, &stop)
            })
            .unwrap_or_else(|error| panic!("no thread for the teardown worker: {error}"));
        self.sys().workers.lock().push(thread.thread().clone());
        // What died before the push above woke nobody.
        thread.thread().unpark();
        Worker { thread: Some(thread), stop }
    }
}

fn work(namespaces: &Namespaces, stop: &AtomicBool) {
    loop {
        // Read before stepping: what died before the stop was asked for is in that step.
        let last = stop.load(Ordering::Acquire);
        while namespaces.step().more {}
        if last {
            break;
        }
        // An unpark that comes before this returns at once: no wake-up is lost.
        if namespaces.sys().shells.lock().is_empty() {
            thread::park();
        } else {
            // Their holders will not say when they let go.
            thread::park_timeout(Duration::from_millis(100));
        }
    }
    let me = thread::current().id();
    namespaces.sys().workers.lock().retain(|worker| worker.id() != me);
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A worker that drops its own handle, from a callback, cannot wait for itself; and a
            // callback's panic has been reported by the thread that panicked.
            if thread.thread().id() != thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}
