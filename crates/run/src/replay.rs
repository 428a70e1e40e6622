//! Answers that a signal kept from their caller.
//!
//! A trapped call waits interruptibly, as a blocking call does.  When a signal takes the caller out of it after we have
//! acted but before it heard, the kernel restarts the call (or the program does), and we would act twice: a second
//! RTM_NEWNSID, a second datagram.  So the last unheard answer of each thread is kept; if its next call is the very
//! same, it gets that answer, else the answer is forgotten.

use std::collections::HashMap;

use crate::listener::Call;

/// What the caller would have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unheard {
    /// A value.
    Value(i64),
    /// An errno.
    Errno(i32),
}

/// Unheard answers by thread.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    by_tid: HashMap<u32, (i64, [u64; 6], Unheard)>,
}

impl Replay {
    /// The thread did not hear this answer.
    pub(crate) fn keep(&mut self, call: &Call, answer: Unheard) {
        self.by_tid.insert(call.tid, (call.nr, call.args, answer));
    }

    /// The thread heard it.
    pub(crate) fn forget(&mut self, call: &Call) {
        self.by_tid.remove(&call.tid);
    }

    /// The thread calls: the answer it missed, if this is the same call again.
    pub(crate) fn take(&mut self, call: &Call) -> Option<Unheard> {
        if self.by_tid.is_empty() {
            return None;
        }
        let (nr, args, answer) = self.by_tid.remove(&call.tid)?;
        (nr == call.nr && args == call.args).then_some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_call_of_the_same_thread_gets_it_and_once() {
        let call = |tid, a| Call { tid, nr: 46, args: [a, 0, 0, 0, 0, 0] };
        let mut r = Replay::default();
        r.keep(&call(1, 3), Unheard::Value(20));
        assert_eq!(r.take(&call(2, 3)), None);
        assert_eq!(r.take(&call(1, 3)), Some(Unheard::Value(20)));
        assert_eq!(r.take(&call(1, 3)), None);
        r.keep(&call(1, 3), Unheard::Errno(17));
        assert_eq!(r.take(&call(1, 4)), None);
        assert_eq!(r.take(&call(1, 3)), None);
    }
}
