//! Whose turn it is to wait for calls.
//!
//! Of several threads that wait for calls each takes one by turns, so the program's memory and ours would have to move from
//! one processor to another with each.  Most of the time one program calls at a time, so one thread
//! waits for calls, and answers them.  Another stands by.  It looks, as long as there are calls, whether it is needed:
//! because nobody waits for calls any more (whoever answers one may have to wait for something itself), or because several
//! programs call at once.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::world::lock;

/// How long a call may have to wait because whoever waited for calls does not any more.
const LOOK: Duration = Duration::from_millis(2);
/// So many calls within one look that come from another thread than the one before are several programs at once; programs
/// that start one another make far fewer.
const MANY: u64 = 16;

/// What the threads that answer calls know of each other.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Threads that wait for calls.
    waiting: AtomicUsize,
    /// Calls that came.
    calls: AtomicU64,
    /// Those that came from another thread than the one before.
    changes: AtomicU64,
    last: AtomicU32,
    /// There will be no more calls.
    over: AtomicBool,
    /// Held by whoever stands by.
    next: Mutex<()>,
    /// Whoever stands by has seen no calls, and sleeps until the next one.
    asleep: AtomicBool,
    /// When whoever stands by looks. It is read by that thread only.
    clock: OwnedFd,
}

/// A thread's turn, from when it was needed.
#[derive(Debug)]
pub(crate) struct Turn {
    since: Instant,
    changes: u64,
}

/// What whoever stands by saw when it looked.
#[derive(Debug)]
struct Seen {
    calls: u64,
    changes: u64,
}

/// What there is since the look before.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// Nobody waits for calls, or several programs call at once.
    Needed,
    /// Whoever waits for calls gets them.
    Calls,
    /// No calls.
    Idle,
}

impl Turns {
    /// # Errors
    /// Of `timerfd_create`.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            waiting: AtomicUsize::default(),
            calls: AtomicU64::default(),
            changes: AtomicU64::default(),
            last: AtomicU32::default(),
            over: AtomicBool::default(),
            next: Mutex::default(),
            asleep: AtomicBool::default(),
            clock: timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?,
        })
    }

    /// Waits until one more thread is needed to wait for calls.  `None`: there will be no more.
    pub(crate) fn stand_by(&self) -> Option<Turn> {
        let _next = lock(&self.next);
        let mut seen = Seen { calls: 0, changes: self.changes.load(Ordering::Relaxed) };
        while !self.over.load(Ordering::SeqCst) {
            match self.look(&mut seen) {
                Look::Needed => {
                    self.waiting.fetch_add(1, Ordering::SeqCst);
                    return Some(Turn { since: Instant::now(), changes: seen.changes });
                }
                Look::Calls => self.rest(false),
                Look::Idle => self.rest(true),
            }
        }
        None
    }

    /// What happened since `seen`, which is brought up to date.
    fn look(&self, seen: &mut Seen) -> Look {
        let now = Seen { calls: self.calls.load(Ordering::Relaxed), changes: self.changes.load(Ordering::Relaxed) };
        let before = std::mem::replace(seen, now);
        let idle = seen.calls == before.calls;
        let nobody = idle && self.waiting.load(Ordering::SeqCst) == 0;
        match idle {
            _ if nobody || seen.changes - before.changes >= MANY => Look::Needed,
            true => Look::Idle,
            false => Look::Calls,
        }
    }

    fn rest(&self, idle: bool) {
        if idle {
            self.asleep.store(true, Ordering::SeqCst);
            // Either this sees that a call was taken, or whoever takes it sees that we sleep.
            if self.waiting.load(Ordering::SeqCst) > 0 && !self.over.load(Ordering::SeqCst) {
                self.sleep();
                self.asleep.store(false, Ordering::SeqCst);
                return;
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
        self.wake_in(LOOK);
        self.sleep();
    }

    /// Until it is time. A time that has passed already was kept for us.
    fn sleep(&self) {
        if rustix::io::read(&self.clock, &mut [0; 8]).is_err() {
            std::thread::sleep(LOOK);
        }
    }

    /// By the clock, because it costs whoever takes a call a microsecond: to wake a thread on a processor that rests would
    /// keep the caller of the first call after a while waiting, for tens of them on a virtual one.
    fn wake_in(&self, time: Duration) {
        let it_value = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        let _ = timerfd_settime(&self.clock, TimerfdTimerFlags::empty(), &once);
    }

    /// A thread that waited for calls has one, of thread `tid`.
    pub(crate) fn took(&self, tid: u32) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.last.swap(tid, Ordering::Relaxed) != tid {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.wake_in(LOOK);
        }
    }

    /// A thread has answered the call that it took, and waits for the next one.
    pub(crate) fn answered(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    /// Is this thread, which waits for calls, one too many?  Then it waits no more, and stands by.
    pub(crate) fn is_over(&self, turn: &mut Turn) -> bool {
        self.is_over_at(turn, Instant::now)
    }

    fn is_over_at(&self, turn: &mut Turn, now: impl FnOnce() -> Instant) -> bool {
        if self.waiting.load(Ordering::SeqCst) <= 1 {
            return false;
        }
        let now = now();
        if now < turn.since + LOOK {
            return false;
        }
        let changes = self.changes.load(Ordering::Relaxed);
        let several = changes - turn.changes >= MANY;
        *turn = Turn { since: now, changes };
        // Two must not go at once and leave nobody.
        let leave = |n: usize| (n > 1).then(|| n - 1);
        !several && self.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, leave).is_ok()
    }

    /// There will be no more calls.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.wake_in(Duration::from_nanos(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc;

    /// Threads that stand by, and tell when they are needed.
    fn workers(turns: &Arc<Turns>, n: usize) -> mpsc::Receiver<Option<Turn>> {
        let (tell, told) = mpsc::channel();
        for _ in 0..n {
            let (turns, tell) = (turns.clone(), tell.clone());
            std::thread::spawn(move || tell.send(turns.stand_by()));
        }
        told
    }

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn one_waits_and_the_next_comes_when_it_does_not() {
        let turns = Arc::new(Turns::new().unwrap());
        let told = workers(&turns, 3);
        told.recv_timeout(LONG).unwrap().unwrap();
        assert!(told.recv_timeout(20 * LOOK).is_err(), "one is enough");
        // It takes a call and is not back.
        turns.took(7);
        told.recv_timeout(LONG).unwrap().unwrap();
        assert!(told.recv_timeout(20 * LOOK).is_err());
        turns.end();
        assert!(told.recv_timeout(LONG).unwrap().is_none());
    }

    /// No threads and no clock: what a look sees, and when, is said here.
    #[test]
    fn many_callers_bring_another_which_goes_when_they_are_gone() {
        let turns = Turns::new().unwrap();
        let call = |tid| {
            turns.took(tid);
            turns.answered();
        };
        let mut seen = Seen { calls: 0, changes: 0 };
        assert_eq!(turns.look(&mut seen), Look::Needed, "nobody waits");
        turns.waiting.fetch_add(1, Ordering::SeqCst);
        assert_eq!(turns.look(&mut seen), Look::Idle);
        (0..10_000).for_each(|_| call(1));
        assert_eq!(turns.look(&mut seen), Look::Calls, "one caller, however often it calls, needs no second");
        (0..100).for_each(call);
        assert_eq!(turns.look(&mut seen), Look::Needed);

        turns.waiting.fetch_add(1, Ordering::SeqCst);
        let start = Instant::now();
        let mut turn = Turn { since: start, changes: seen.changes };
        assert!(!turns.is_over_at(&mut turn, || start), "not before one look");
        (0..100).for_each(call);
        assert!(!turns.is_over_at(&mut turn, || start + LOOK), "they still call");
        (0..100).for_each(|_| call(1));
        assert!(turns.is_over_at(&mut turn, || start + 2 * LOOK));
        assert!(!turns.is_over_at(&mut turn, || start + 3 * LOOK), "the last one stays");
    }
}
