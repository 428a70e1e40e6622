//! Processes whose threads are in different namespaces.
//!
//! A process has one limit to write a namespace on, and it is copied whenever one of its threads makes a child.  So the
//! threads of such a process take turns: before a thread makes a child (or moves) the limit says where that thread is,
//! and the next one waits until the child is there.  A new thread is pinned to its maker's place; what `execve` leaves
//! of a process is in the place of the thread that called it.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::tag::SpaceId;
use crate::task::Task;

/// A call that makes a child takes less, unless it fails.
const TURN: Duration = Duration::from_millis(5);

/// A thread that was let go to make a child.
#[derive(Debug)]
pub(crate) struct Making {
    tid: u32,
    space: SpaceId,
    since: Instant,
    children: String,
}

/// The threads of one process.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// Where each is.
    pub(crate) pins: HashMap<u32, SpaceId>,
    making: Option<Making>,
    /// Where the process will be if the `execve` that a thread was let go for succeeds.
    exec: Option<SpaceId>,
}

fn children(tgid: u32, tid: u32) -> String {
    fs::read_to_string(format!("/proc/{tgid}/task/{tid}/children")).unwrap_or_default()
}

impl Split {
    /// May another thread have its turn?  Pins the threads that the last one made.
    pub(crate) fn free(&mut self, tgid: u32) -> bool {
        let Some(making) = &self.making else { return true };
        let (space, threads) = (making.space, Task::threads(tgid));
        let mut over = making.since.elapsed() >= TURN || children(tgid, making.tid) != making.children;
        for tid in threads {
            self.pins.entry(tid).or_insert_with(|| {
                over = true;
                space
            });
        }
        if over {
            self.making = None;
        }
        over
    }

    /// A thread is let go to make a child.
    pub(crate) fn make(&mut self, tgid: u32, tid: u32, space: SpaceId) {
        self.making = Some(Making { tid, space, since: Instant::now(), children: children(tgid, tid) });
    }

    /// A thread is let go to `execve`.
    pub(crate) fn exec(&mut self, space: SpaceId) {
        self.exec = Some(space);
    }

    /// Where a thread is; one that was not seen before is its maker's child, or else `limit` tells.
    pub(crate) fn place(&mut self, tid: u32, limit: SpaceId) -> SpaceId {
        let born = self.making.as_ref().map_or(limit, |m| m.space);
        *self.pins.entry(tid).or_insert(born)
    }

    /// The one place that is left, if the process needs no more care: all threads are in it, or `execve` has ended the
    /// others.
    pub(crate) fn united(&mut self, living: &[u32]) -> Option<SpaceId> {
        if living.len() == 1
            && let Some(space) = self.exec.take()
        {
            return Some(space);
        }
        if self.making.is_some() {
            return None;
        }
        self.pins.retain(|tid, _| living.contains(tid));
        let mut places = self.pins.values().copied();
        let first = places.next()?;
        places.all(|at| at == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_united_when_its_threads_agree_or_exec_ended_the_others() {
        let (a, b) = (SpaceId::new(1), SpaceId::new(2));
        let mut split = Split { pins: HashMap::from([(10, a), (11, b)]), ..Split::default() };
        assert_eq!(split.united(&[10, 11]), None);
        assert_eq!(split.place(12, a), a);
        split.exec(b);
        assert_eq!(split.united(&[10, 11, 12]), None);
        assert_eq!(split.united(&[10]), Some(b));
        let mut split = Split { pins: HashMap::from([(10, a), (11, b)]), ..Split::default() };
        assert_eq!(split.united(&[11]), Some(b));
    }

    #[test]
    fn threads_take_turns_and_the_new_one_is_where_its_maker_is() {
        let me = std::process::id();
        let (a, b) = (SpaceId::new(1), SpaceId::new(2));
        let mut split = Split::default();
        for tid in Task::threads(me) {
            split.pins.insert(tid, a);
        }
        assert!(split.free(me));
        split.make(me, me, b);
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
            let _ = wait.recv();
        });
        let tid = told.recv().unwrap();
        assert!(split.free(me), "the new thread ends the turn");
        assert_eq!(split.place(tid, a), b);
        drop(stop);
        thread.join().unwrap();
    }
}
