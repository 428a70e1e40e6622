//! Threads that wait for a socket, and who does meanwhile what is due.
//!
//! A socket wakes those who wait for it, so nobody looks again from time to time. Timers are run by the *keeper*: of the
//! threads that wait the one that came first, or a [`Driver`]. It sleeps until the next timer, is woken when a nearer one is
//! set, and when it leaves wakes the next.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::dev::Stack;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    /// One for a thread, so that a socket knows it again.
    static MINE: Waker = Waker::from(Arc::new(Unpark(thread::current())));
}

/// The threads that sleep in calls of a stack, the keeper first.
///
/// A leaf lock: timers are set under others.
#[derive(Debug, Default)]
pub(crate) struct Sleepers(Mutex<VecDeque<Thread>>);

impl Sleepers {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Thread>> {
        // A push, a removal or a look each.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to do sooner than the keeper thought. If he is about to sleep he does not: a thread that was
    /// woken before it sleeps, does not sleep.
    pub(crate) fn wake_keeper(&self) {
        if let Some(keeper) = self.lock().front() {
            keeper.unpark();
        }
    }
}

/// A place among the sleepers.
struct Place<'s> {
    stack: &'s Stack,
    me: Thread,
}

impl<'s> Place<'s> {
    fn new(stack: &'s Stack, first: bool) -> Self {
        let me = thread::current();
        let mut all = stack.inner().sleepers.lock();
        if first {
            all.push_front(me.clone());
        } else {
            all.push_back(me.clone());
        }
        drop(all);
        Self { stack, me }
    }

    /// Does what is due, and sleeps until somebody wakes this thread, or `left` is over, or, as keeper, there is something
    /// to do.
    fn sleep(&self, left: Option<Duration>) {
        let next = self.stack.run_timers();
        let keeps = self.stack.inner().sleepers.lock().front().is_some_and(|first| first.id() == self.me.id());
        match left.into_iter().chain(next.filter(|_| keeps)).min() {
            Some(limit) => thread::park_timeout(limit),
            None => thread::park(),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut all = self.stack.inner().sleepers.lock();
        let at = all.iter().position(|other| other.id() == self.me.id());
        if let Some(at) = at {
            all.remove(at);
        }
        if at == Some(0)
            && let Some(next) = all.front()
        {
            next.unpark();
        }
    }
}

/// Asks until there is an answer, or until `deadline`; sleeps in between. `register` leaves the waker where it is woken when
/// asking again is worth it.
pub(crate) fn wait_for<R>(
    stack: &Stack,
    deadline: Option<Instant>,
    register: impl Fn(&Waker),
    mut ask: impl FnMut() -> Option<R>,
) -> Option<R> {
    if let Some(answer) = ask() {
        return Some(answer);
    }
    let place = Place::new(stack, false);
    // A thread that ends waits for nobody.
    let mine = MINE.try_with(Waker::clone).unwrap_or_else(|_| Waker::from(Arc::new(Unpark(thread::current()))));
    loop {
        // First the one, then the other: what comes in between wakes.
        register(&mine);
        if let Some(answer) = ask() {
            return Some(answer);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return None;
        }
        place.sleep(left);
    }
}

/// A thread that does what is due, for those who wait without sleeping in a call: async tasks, and programs that only send.
///
/// It ends when this is dropped.
#[derive(Debug)]
pub struct Driver {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stack {
    /// Starts a thread that calls [`Stack::run_timers`] whenever that is wanted.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn drive(&self) -> std::io::Result<Driver> {
        let ends = Arc::new(AtomicBool::new(false));
        let (stack, told) = (self.clone(), Arc::clone(&ends));
        let drive = move || {
            let place = Place::new(&stack, true);
            // Set before this thread is woken.
            while !told.load(Ordering::Acquire) {
                place.sleep(None);
            }
        };
        let thread = thread::Builder::new().name("pernet-stack".into()).spawn(drive)?;
        Ok(Driver { ends, thread: Some(thread) })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
