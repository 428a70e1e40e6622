//! Looking at every process there is, missing none, while any of them makes children and ends.
//!
//! Calls that only make a process are not trapped, so nobody tells of a child.  The question is always the same: is there
//! a process left that carries a certain number, which is had by being forked from one that carries it?  Nobody is given
//! that number otherwise meanwhile: the asker holds the lock under which numbers are written.
//!
//! One look at /proc is not enough.  The carrier at 32000 may fork and end before the look gets there, and its child be
//! born at 400, which the look has passed, because the kernel's counter went round some time ago.  So:
//!
//! 1. The kernel's last number is noted, and everybody who is listed is looked at.
//! 2. Everybody is listed again, and who was not there before is looked at.
//! 3. Every number handed out since the note is tried, upwards, until the last that was handed out has been.
//!
//! Say that some carrier was missed.  A number is drawn some time before its process can be seen, and all that time the
//! maker can be seen, because it is still in its `fork`.  Look at a carrier that is there when step 3 begins:
//!
//! - Its number was drawn after the note.  Then at every moment of step 3 there is a carrier above the place that was
//!   reached: it, until it ends, and before that it made a child, whose number is higher because it was drawn later.  The
//!   last number that is tried is the last that was drawn, so one of them was met.
//! - Its number was drawn before.  Listed in steps 1 or 2, it was met, because it is alive.  If in neither, it could not
//!   be seen before some moment of step 2; so its maker was in `fork` from before the note until then, was to be seen in
//!   all of step 1, and was met there.
//!
//! If the counter went round meanwhile, the numbers are not in order and all is done again.  (A whole turn would go
//! unnoticed; that is tens of thousands of forks in some milliseconds.)  Numbers are those of our
//! pid namespace, in which every process below has one; `vfork`, `CLONE_PARENT` and threads change nothing: "maker" is
//! who called, not who is named as the parent.  A thread has a number too, and answers for its process.  Whoever holds
//! CAP_CHECKPOINT_RESTORE could set the counter back (`ns_last_pid`) and hide a process from a look; it harms its own run.

use std::collections::HashSet;
use std::fs;

use crate::task::numbers;

/// The number that the kernel handed out last, in our pid namespace.
fn last_number() -> Option<u32> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().last()?.parse().ok()
}

/// Shows `visit` every process, until it says "found" of one; the step in which it does is gone through to its end.  It
/// may be shown a process twice, a thread, or a number that nobody has.
pub(crate) fn everybody(mut visit: impl FnMut(u32) -> bool) -> bool {
    'again: loop {
        let Some(mut reached) = last_number() else {
            return any(numbers("/proc"), &mut visit);
        };
        let listed: HashSet<u32> = numbers("/proc").into_iter().collect();
        if any(listed.iter().copied(), &mut visit) {
            return true;
        }
        if any(numbers("/proc").into_iter().filter(|pid| !listed.contains(pid)), &mut visit) {
            return true;
        }
        loop {
            let last = last_number().unwrap_or(reached);
            if last < reached {
                continue 'again;
            }
            if last == reached {
                return false;
            }
            if any(reached + 1..=last, &mut visit) {
                return true;
            }
            reached = last;
        }
    }
}

fn any(pids: impl IntoIterator<Item = u32>, visit: &mut impl FnMut(u32) -> bool) -> bool {
    pids.into_iter().fold(false, |found, pid| visit(pid) | found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_shown_us_and_stops_when_told() {
        let me = std::process::id();
        assert!(everybody(|pid| pid == me));
        assert!(!everybody(|_| false));
    }

    #[test]
    fn the_number_counts_threads_and_children() {
        let before = last_number().expect("/proc/loadavg");
        let tid = std::thread::spawn(|| rustix::thread::gettid().as_raw_nonzero().get() as u32).join().unwrap();
        let after = last_number().expect("/proc/loadavg");
        assert!(after >= tid && tid > before || after < before, "{before} {tid} {after}");
    }
}
