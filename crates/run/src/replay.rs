//! Answers that a signal kept from their caller.
//!
//! Where a trapped call waits interruptibly, a signal may take the caller out of it after we have acted but before it
//! heard.  The kernel restarts the call (or the program repeats it), and we would act twice: a second RTM_NEWNSID, a
//! second socket option.  So the unheard answers of each thread are kept; if a later call is the very same, it gets its
//! answer.  Calls that a signal handler makes meanwhile have their own.  A call that is not repeated soon was given up.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::listener::Call;
use crate::world::lock;

/// What the caller would have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unheard {
    /// A value.
    Value(i64),
    /// An errno.
    Errno(i32),
}

/// How long a repeated call may take to come.
const SOON: Duration = Duration::from_secs(1);
/// Handlers within handlers that are worth following.
const DEPTH: usize = 8;

#[derive(Debug)]
struct Kept {
    nr: i64,
    args: [u64; 6],
    answer: Unheard,
    at: Instant,
}

/// Unheard answers by thread.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    by_tid: HashMap<u32, Vec<Kept>>,
}

/// Threads whose call is being acted upon.  When a signal takes one out of its call and it repeats it, the repeated call
/// waits here until the first is answered: only then is it known whether the answer was heard.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    /// A leaf lock.
    acting: Mutex<HashSet<u32>>,
    done: Condvar,
}

/// One thread's call is being acted upon while this lives.
pub(crate) struct Acting<'b> {
    busy: &'b Busy,
    tid: u32,
}

impl Busy {
    /// Waits for the thread's earlier call, if there is one.
    pub(crate) fn enter(&self, tid: u32) -> Acting<'_> {
        let mut acting = lock(&self.acting);
        while !acting.insert(tid) {
            acting = self.done.wait(acting).unwrap_or_else(PoisonError::into_inner);
        }
        Acting { busy: self, tid }
    }
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        lock(&self.busy.acting).remove(&self.tid);
        self.busy.done.notify_all();
    }
}

impl Replay {
    /// The thread did not hear this answer.
    pub(crate) fn keep(&mut self, call: &Call, answer: Unheard) {
        let kept = self.by_tid.entry(call.tid).or_default();
        kept.retain(|k| k.at.elapsed() < SOON);
        if kept.len() == DEPTH {
            kept.remove(0);
        }
        kept.push(Kept { nr: call.nr, args: call.args, answer, at: Instant::now() });
    }

    /// The thread calls: the answer it missed, if this is the same call again.
    pub(crate) fn take(&mut self, call: &Call) -> Option<Unheard> {
        let kept = self.by_tid.get_mut(&call.tid)?;
        kept.retain(|k| k.at.elapsed() < SOON);
        let found = kept.iter().rposition(|k| k.nr == call.nr && k.args == call.args).map(|i| kept.remove(i).answer);
        if kept.is_empty() {
            self.by_tid.remove(&call.tid);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(tid: u32, a: u64) -> Call {
        Call { tid, nr: 46, args: [a, 0, 0, 0, 0, 0] }
    }

    #[test]
    fn only_the_same_call_of_the_same_thread_gets_it_and_once() {
        let mut r = Replay::default();
        r.keep(&call(1, 3), Unheard::Value(20));
        assert_eq!(r.take(&call(2, 3)), None);
        assert_eq!(r.take(&call(1, 3)), Some(Unheard::Value(20)));
        assert_eq!(r.take(&call(1, 3)), None);
    }

    #[test]
    fn a_handler_that_calls_meanwhile_disturbs_nothing() {
        let mut r = Replay::default();
        r.keep(&call(1, 3), Unheard::Errno(17));
        assert_eq!(r.take(&call(1, 4)), None);
        r.keep(&call(1, 4), Unheard::Value(0));
        assert_eq!(r.take(&call(1, 4)), Some(Unheard::Value(0)));
        assert_eq!(r.take(&call(1, 3)), Some(Unheard::Errno(17)));
    }

    #[test]
    fn a_thread_keeps_no_more_than_it_can_need() {
        let mut r = Replay::default();
        for i in 0..100 {
            r.keep(&call(1, i), Unheard::Value(0));
        }
        assert_eq!(r.take(&call(1, 0)), None);
        assert_eq!(r.take(&call(1, 99)), Some(Unheard::Value(0)));
    }
}
