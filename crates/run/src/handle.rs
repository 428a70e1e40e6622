//! Tasks' pidfds, kept by each thread of ours for those that it served last.
//!
//! Programs call again and again, and by turns: who asks and who answers.  Opening a pidfd costs as much as what it is
//! asked.  A kept one cannot mislead: it is of that very thread, and when that is gone it says so, whoever has the number by
//! then.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::task::{Task, pidfd_of};

/// So many are kept.
const KEPT: usize = 4;

thread_local! {
    /// The one that was used last comes last.
    static LAST: RefCell<Vec<(u32, OwnedFd)>> = const { RefCell::new(Vec::new()) };
}

fn take(tid: u32) -> Option<OwnedFd> {
    LAST.with_borrow_mut(|kept| kept.iter().position(|(of, _)| *of == tid).map(|i| kept.remove(i).1))
}

fn keep(tid: u32, pidfd: OwnedFd) {
    let oldest = LAST.with_borrow_mut(|kept| {
        kept.push((tid, pidfd));
        (kept.len() > KEPT).then(|| kept.remove(0))
    });
    drop(oldest);
}

/// Asks the thread itself where the kernel can open one (Linux 6.9), else its process: its first thread may be gone, and
/// threads may have tables of their own.
///
/// # Errors
/// ESRCH if it is gone, and what the question says.
pub(crate) fn ask<T>(task: Task, question: impl Fn(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
    if let Some(pidfd) = take(task.tid) {
        let answer = question(pidfd.as_fd());
        if !matches!(&answer, Err(e) if e.raw_os_error() == Some(libc::ESRCH)) {
            keep(task.tid, pidfd);
            return answer;
        }
    }
    let gone = || io::Error::from_raw_os_error(libc::ESRCH);
    let Some(pidfd) = open(task.tid) else {
        // Of a process, by the number of another of its threads: not to be kept under this one.
        let process = task.tgid().and_then(pidfd_of).ok_or_else(gone)?;
        return question(process.as_fd());
    };
    let answer = question(pidfd.as_fd());
    keep(task.tid, pidfd);
    answer
}

fn open(tid: u32) -> Option<OwnedFd> {
    let thread = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);
    let pid = Pid::from_raw(i32::try_from(tid).ok()?)?;
    pidfd_open(pid, thread).ok().or_else(|| pidfd_of(tid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    #[test]
    fn whoever_has_ended_is_gone_and_no_other_answers() {
        let me = Task::new(std::process::id());
        let mine = ask(me, sys::ids);
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let task = Task::new(child.id());
        let alive = |_: BorrowedFd<'_>| Ok(());
        assert!(ask(task, alive).is_ok());
        assert!(LAST.with_borrow(|kept| kept.iter().any(|(tid, _)| *tid == task.tid)));
        if let Ok(mine) = mine {
            assert_eq!(ask(task, sys::ids).unwrap(), mine);
        }
        drop(child.stdin.take());
        child.wait().unwrap();
        let e =
            ask(task, |fd| rustix::process::pidfd_send_signal(fd, rustix::process::Signal::CONT).map_err(Into::into));
        assert_eq!(e.unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
