//! What becomes of the programs of a run whose supervisor was killed.
//!
//! Their trapped calls fail from then on: no socket, no file by its name. Many a program would try again for ever, at the
//! full speed of a processor. So they are ended: asked first, because what they hold open they can still write to.
//!
//! While the program lives that the run was started for, the front sees to that. The front has to end with it; if it leaves
//! others behind, it leaves a process of its own in its place, the keeper, which does nothing but wait for the supervisor's
//! end. Most runs never have one.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, pidfd_send_signal};

use crate::census;
use crate::sys;
use crate::tag::Tag;
use crate::task::{has_exited, numbers, pidfd_of};

/// How long a program may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);
/// How long one is waited for that does not end although it was killed: it hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// Ends every process of the run with this number.
pub(crate) fn end_all(run: u64) {
    if !signal_all(run, Some(Signal::TERM)) {
        return;
    }
    let start = Instant::now();
    while start.elapsed() < GRACE {
        if !signal_all(run, None) {
            return;
        }
        sleep(LOOK);
    }
    while start.elapsed() < GRACE + PATIENCE && signal_all(run, Some(Signal::KILL)) {
        sleep(LOOK);
    }
}

/// Sends a signal to every process of a run; false if there is none.
fn signal_all(run: u64, signal: Option<Signal>) -> bool {
    let mut some = false;
    census::everybody(|pid| {
        // Opened before the look: if the number changes hands, the signal reaches nobody.
        let Some(process) = pidfd_of(pid) else { return false };
        let limit = sys::get_limit(pid, libc::RLIMIT_LOCKS).map_or(0, |limit| limit.rlim_cur);
        if Tag::decode(limit, run).is_some() && !has_exited(&process) {
            some = true;
            if let Some(signal) = signal {
                let _ = pidfd_send_signal(&process, signal);
                // One that was stopped is to hear it.
                let _ = pidfd_send_signal(&process, Signal::CONT);
            }
        }
        false
    });
    some
}

/// Leaves a keeper behind, if the supervisor still is there; called by the front, which has one thread, at its end.
pub(crate) fn leave_behind(supervisor: &OwnedFd, run: u64) {
    if has_exited(supervisor) {
        return;
    }
    // SAFETY: one thread, so the child is a whole copy: no lock is held by a thread that is not there.
    if unsafe { libc::fork() } != 0 {
        return;
    }
    keep(supervisor, run);
    // SAFETY: ends this process without running the front's exit handlers a second time.
    unsafe { libc::_exit(0) }
}

fn keep(supervisor: &OwnedFd, run: u64) {
    // Neither the terminal's signals nor whoever waits for the end of a pipe shall take it for the program.
    // SAFETY: numbers, and a live set.
    unsafe {
        libc::setpgid(0, 0);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
    for fd in numbers("/proc/self/fd").into_iter().filter_map(|fd| RawFd::try_from(fd).ok()) {
        if fd != supervisor.as_raw_fd() {
            // SAFETY: this process ends without looking at any of its other descriptors again.
            unsafe { libc::close(fd) };
        }
    }
    let _ = std::env::set_current_dir("/");
    while !has_exited(supervisor) {
        let _ = poll(&mut [PollFd::new(supervisor, PollFlags::IN)], None);
    }
    // Where it ended of itself, nobody is left.
    end_all(run);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::SpaceId;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command};

    fn tagged(run: u64, script: &str) -> Child {
        let raw = Tag { space: SpaceId::new(1), pretends_mounts: false }.encode(run);
        let mut command = Command::new("sh");
        // SAFETY: one system call, and no memory that another thread may hold.
        unsafe {
            command.args(["-c", script]).pre_exec(move || {
                let old = sys::get_limit(0, libc::RLIMIT_LOCKS)?;
                sys::set_limit(0, libc::RLIMIT_LOCKS, libc::rlimit64 { rlim_cur: raw, ..old })
            });
        }
        command.spawn().unwrap()
    }

    #[test]
    fn those_of_the_run_are_ended_and_no_others() {
        let run = u64::from(std::process::id() & 0xfff_ffff) << 1 | 1;
        let mut all = ["sleep 60", "trap '' TERM; sleep 60 & wait; sleep 60", "kill -STOP $$; sleep 60"]
            .map(|script| tagged(run, script));
        let mut other = tagged(run + 1, "sleep 60");
        // They are there before they are looked for: a tag is written before `spawn` returns.
        end_all(run);
        assert!(all.iter_mut().all(|child| child.wait().unwrap().signal().is_some()));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        let _ = other.wait();
        assert!(!signal_all(run, None), "nobody is left");
    }
}
