//! Teardown workers: threads that sleep until something has died, and one that watches over them.

use crate::namespaces::Namespaces;
use crate::system::System;
use crate::teardown::{self, Noted};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::panic::catch_unwind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// How often the watch looks while a round runs. A callback that it finds twice is given up.
const TICK: Duration = Duration::from_millis(50);
/// After so many looks at nothing the watch sleeps until a round begins.
const DROWSY: u32 = 20;
/// How soon a worker looks after namespaces that somebody was looking at when they were to go, at
/// first (it was whoever dropped the last reference, most likely, and is gone by then) and later.
const SHELLS: [Duration; 2] = [Duration::from_micros(50), Duration::from_millis(100)];

/// Threads that run teardown rounds. Dropping it runs what is queued and joins them.
///
/// A callback that does not return holds up its namespace and nothing else: a watching thread finds
/// it (after 50 to 100 ms), another worker takes its thread's place and takes over the rest of its
/// round. Such a thread ends when its callback returns; a drop does not wait for it.
pub struct Worker {
    pool: Arc<Pool>,
    watch: Option<JoinHandle<()>>,
}

type Threads = BTreeMap<u64, JoinHandle<()>>;

struct Pool {
    namespaces: Namespaces,
    /// How many workers there are to be.
    target: usize,
    stop: AtomicBool,
    /// No worker is left: the watch may go.
    closed: AtomicBool,
    /// Who works, by number. A thread that is not here any more ends when it can. Leaf lock.
    threads: Mutex<Threads>,
    /// The watch, while it sleeps. Leaf lock.
    asleep: Mutex<Option<Thread>>,
}

impl Namespaces {
    /// Starts a thread that tears down namespaces as they die (the kernel's `netns` workqueue).
    ///
    /// # Panics
    /// If the operating system cannot start a thread.
    #[must_use = "dropping the worker stops it"]
    pub fn spawn_worker(&self) -> Worker {
        self.spawn_workers(1)
    }

    /// Starts `count` such threads (at least one), which share the dead among them.
    ///
    /// # Panics
    /// If the operating system cannot start a thread.
    #[must_use = "dropping the worker stops it"]
    pub fn spawn_workers(&self, count: usize) -> Worker {
        let pool = Arc::new(Pool {
            namespaces: self.clone(),
            target: count.max(1),
            stop: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            threads: Mutex::default(),
            asleep: Mutex::default(),
        });
        let watch = thread::Builder::new().name("netns-watch".into()).spawn({
            let pool = Arc::clone(&pool);
            move || pool.watch()
        });
        // From here on a panic drops the worker, which stops what has been started.
        let mut worker = Worker { pool, watch: None };
        worker.watch = Some(watch.unwrap_or_else(|error| panic!("no thread to watch the teardown: {error}")));
        for _ in 0..worker.pool.target {
            let started = worker.pool.start(&mut lock(&worker.pool.threads), Vec::new());
            started.unwrap_or_else(|error| panic!("no thread for the teardown worker: {error}"));
        }
        worker
    }
}

/// Workers are numbered across all pools: several may serve one system, and each watch sees the
/// rounds of all. 0 is none of them.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes one sleeping worker, if there is any.
pub(crate) fn wake_one(sys: &System) {
    let idle = sys.workers.lock().pop();
    if let Some(worker) = idle {
        worker.unpark();
    }
}

impl Pool {
    fn sys(&self) -> &System {
        self.namespaces.sys()
    }

    /// A new worker, which begins by taking over the rest of these rounds. It looks for itself among
    /// the threads, whose lock is therefore held until it is entered.
    fn start(self: &Arc<Self>, threads: &mut Threads, stuck: Vec<(u64, u64)>) -> io::Result<()> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let thread = thread::Builder::new().name("netns".into()).spawn({
            let pool = Arc::clone(self);
            move || pool.work(number, stuck)
        })?;
        threads.insert(number, thread);
        Ok(())
    }

    fn work(&self, number: u64, stuck: Vec<(u64, u64)>) {
        let sys = self.sys();
        let mut pause = SHELLS[0];
        for one in stuck {
            self.attempt(|| teardown::rescue(sys, number, |round, note| (round, note) == one));
        }
        loop {
            // Read before stepping: what died before the stop was asked for is in that step.
            let last = self.stop.load(Ordering::Acquire);
            loop {
                if !sys.has_dead() && sys.shells.lock().is_empty() {
                    break;
                }
                self.rouse_watch();
                let round = self.attempt(|| Some(teardown::step(sys, number)));
                if !lock(&self.threads).contains_key(&number) {
                    return;
                }
                match round {
                    Some(round) if round.more => wake_one(sys),
                    Some(round) if round.destroyed == 0 => break,
                    _ => {}
                }
            }
            if last || self.is_unwanted(number) {
                return;
            }
            pause = if self.sleep(pause) { (pause * 2).min(SHELLS[1]) } else { SHELLS[0] };
        }
    }

    /// A callback's panic has been reported by the panic itself; the worker goes on.
    fn attempt<T>(&self, work: impl FnOnce() -> Option<T>) -> Option<T> {
        catch_unwind(AssertUnwindSafe(work)).ok().flatten()
    }

    /// It has been given up, in the moment in which its callback returned; or there are more workers
    /// than wanted: one replaced a thread that was not ours.
    fn is_unwanted(&self, number: u64) -> bool {
        let mut threads = lock(&self.threads);
        !threads.contains_key(&number) || (threads.len() > self.target && threads.remove(&number).is_some())
    }

    /// Whether there are shells to be looked after, for which it sleeps no longer than `pause`.
    fn sleep(&self, pause: Duration) -> bool {
        let sys = self.sys();
        let me = thread::current();
        sys.workers.lock().push(me.clone());
        // Entered first: what dies from here on wakes us, what died before is seen here. An unpark
        // that comes before the park makes it return at once.
        let shells = !sys.shells.lock().is_empty();
        if !sys.has_dead() && !self.stop.load(Ordering::Acquire) {
            if shells {
                // Their holders will not say when they let go.
                thread::park_timeout(pause);
            } else {
                thread::park();
            }
        }
        sys.workers.lock().retain(|worker| worker.id() != me.id());
        shells
    }

    fn rouse_watch(&self) {
        // Looked at without the lock of the rounds: the watch looks at them again before it sleeps.
        let watch = lock(&self.asleep).take();
        if let Some(watch) = watch {
            watch.unpark();
        }
    }

    fn watch(self: &Arc<Self>) {
        let mut before = Vec::new();
        let mut nothing = 0;
        while !self.closed.load(Ordering::Acquire) {
            let now = teardown::notes(self.sys());
            let stuck: Vec<_> = now.iter().copied().filter(|note| before.contains(note)).collect();
            for note in stuck {
                self.replace(note);
            }
            nothing = if now.is_empty() { nothing + 1 } else { 0 };
            before = now;
            if nothing < DROWSY {
                thread::park_timeout(TICK);
                continue;
            }
            *lock(&self.asleep) = Some(thread::current());
            if teardown::notes(self.sys()).is_empty() && !self.closed.load(Ordering::Acquire) {
                thread::park();
            }
            lock(&self.asleep).take();
            nothing = 0;
        }
    }

    /// Gives up the worker of a round that has not moved, and has another go on.
    fn replace(self: &Arc<Self>, stuck: Noted) {
        // Once for a worker; once for a round of somebody else's, as long as something can be taken.
        // In one critical section: whoever drops the pool finds one of them,
        // and once it has closed it, none is started.
        let mut threads = lock(&self.threads);
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let ours = threads.remove(&stuck.worker);
        if ours.is_some() || (stuck.worker == 0 && stuck.can_be_split) {
            let started = self.start(&mut threads, Vec::from([(stuck.round, stuck.note)]));
            match (started, ours) {
                // No thread to be had: perhaps at the next look.
                (Err(_), Some(thread)) => drop(threads.insert(stuck.worker, thread)),
                // It may have gone to sleep since, and nobody else would wake it any more.
                (Ok(()), Some(thread)) => thread.thread().unpark(),
                (_, None) => {}
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let pool = &self.pool;
        pool.stop.store(true, Ordering::Release);
        let me = thread::current().id();
        // Not by joining: a callback may not return, and the watch has to find that first. A worker
        // that drops its own handle, from a callback, cannot wait for itself.
        let mut pause = Duration::from_micros(20);
        let threads = loop {
            let mut threads = lock(&pool.threads);
            threads.values().for_each(|thread| thread.thread().unpark());
            if threads.values().all(|thread| thread.is_finished() || thread.thread().id() == me) {
                // In the same critical section: nobody is started from here on.
                pool.closed.store(true, Ordering::Release);
                break core::mem::take(&mut *threads);
            }
            drop(threads);
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(2));
        };
        for (_, thread) in threads {
            if thread.thread().id() != me {
                // A panic has been reported by whoever panicked.
                drop(thread.join());
            }
        }
        if let Some(watch) = self.watch.take() {
            watch.thread().unpark();
            if watch.thread().id() != me {
                drop(watch.join());
            }
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("threads", &lock(&self.pool.threads).len()).finish_non_exhaustive()
    }
}
