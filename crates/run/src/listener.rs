//! The seccomp notification descriptor, and a notification that cannot be forgotten.
//!
//! A program waits in its system call until it is answered.  [`Notification`] therefore answers ENOSYS when it is
//! dropped unanswered: a bug here shows as a failing call there, never as a hang.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS` with this bit: wake-ups stay on the caller's processor (Linux 6.6).
const USER_NOTIF_FD_SYNC_WAKE_UP: libc::c_ulong = 1;

/// The supervisor's end of a filter: every task under the filter shares it.
#[derive(Clone, Debug)]
pub(crate) struct Listener(Arc<OwnedFd>);

/// The call that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Thread id of the caller, in the supervisor's pid namespace.
    pub(crate) tid: u32,
    /// System call number.
    pub(crate) nr: i64,
    /// Its six argument registers.
    pub(crate) args: [u64; 6],
}

impl Call {
    /// Argument `n` as the `int` it is declared.
    pub(crate) fn int(&self, n: usize) -> i32 {
        self.args[n] as i32
    }
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The caller got it.
    Delivered,
    /// A signal took the caller out of the call, or it died: it never saw the answer.
    Interrupted,
}

impl Listener {
    /// Takes over a descriptor that `seccomp(2)` returned, and asks for synchronous wake-ups where the kernel has them.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        // SAFETY: the argument is a number, no memory is passed; a kernel without the ioctl answers EINVAL.
        unsafe { libc::ioctl(fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, USER_NOTIF_FD_SYNC_WAKE_UP) };
        Self(Arc::new(fd))
    }

    /// Waits for the next call.  `None`: nothing is waiting any more (another worker took it, or a signal did).
    ///
    /// Of several threads that wait here the kernel wakes one with each call, and of those that poll all.
    ///
    /// # Errors
    /// What the ioctl says beyond "gone" and "interrupted".
    pub(crate) fn receive(&self) -> io::Result<Option<Notification>> {
        // SAFETY: all-zero is a valid `seccomp_notif`, and the kernel demands a zeroed one.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: `raw` is a live, writable structure of the size that the ioctl number carries.
        let r = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw) };
        if r < 0 {
            let e = io::Error::last_os_error();
            return match e.raw_os_error() {
                Some(libc::ENOENT | libc::EINTR | libc::EAGAIN) => Ok(None),
                _ => Err(e),
            };
        }
        let call = Call { tid: raw.pid, nr: i64::from(raw.data.nr), args: raw.data.args };
        Ok(Some(Notification { listener: self.clone(), id: raw.id, call, open: true }))
    }
}

impl Listener {
    /// Is no task left under the filter?
    pub(crate) fn is_over(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One waiting call.  Answer it, or its drop answers ENOSYS.
#[derive(Debug)]
pub(crate) struct Notification {
    listener: Listener,
    id: u64,
    /// What was called, by whom.
    pub(crate) call: Call,
    open: bool,
}

impl Notification {
    /// The call returns `value`.
    pub(crate) fn value(self, value: i64) -> Delivery {
        self.send(value, 0, 0)
    }

    /// The call fails with this errno (positive).
    pub(crate) fn errno(self, errno: i32) -> Delivery {
        self.send(0, -errno, 0)
    }

    /// The kernel runs the call as if nobody had looked.
    ///
    /// Only for calls whose outcome does not depend on memory that we judged: another thread may have changed it.
    pub(crate) fn proceed(self) -> Delivery {
        self.send(0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32)
    }

    /// Puts a copy of `fd` into the caller's table at the lowest free number and returns that number from the call, in
    /// one step: nothing leaks when a signal comes between.
    ///
    /// # Errors
    /// The caller's own limit (EMFILE) and the like; the call is then still to be answered with it.
    pub(crate) fn fd(mut self, fd: BorrowedFd<'_>, cloexec: bool) -> Result<Delivery, (Self, i32)> {
        let add = libc::seccomp_notif_addfd {
            id: self.id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: fd.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: if cloexec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: `add` is live and of the size that the ioctl number carries; the kernel only reads it.
        let r = unsafe { libc::ioctl(self.listener.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const add) };
        if r >= 0 {
            self.open = false;
            return Ok(Delivery::Delivered);
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::ENOENT | libc::EINPROGRESS) => {
                self.open = false;
                Ok(Delivery::Interrupted)
            }
            e => Err((self, e.unwrap_or(libc::EIO))),
        }
    }

    /// Puts a copy of `fd` into the caller's table, in place of the one with the number `number` if that is said, else at the
    /// lowest free number, which is returned; the call goes on waiting.
    ///
    /// # Errors
    /// The caller's own limit (EMFILE) and the like, ENOENT if it is gone.
    pub(crate) fn add_fd(&self, fd: BorrowedFd<'_>, number: Option<i32>, cloexec: bool) -> Result<i32, i32> {
        let add = libc::seccomp_notif_addfd {
            id: self.id,
            flags: if number.is_some() { libc::SECCOMP_ADDFD_FLAG_SETFD as u32 } else { 0 },
            srcfd: fd.as_raw_fd() as u32,
            newfd: number.unwrap_or(0) as u32,
            newfd_flags: if cloexec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: `add` is live and of the size that the ioctl number carries; the kernel only reads it.
        let r = unsafe { libc::ioctl(self.listener.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const add) };
        if r >= 0 { Ok(r) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
    }

    /// Is the caller still waiting in this very call?  Asked after its memory was read: a thread id may be reused.
    pub(crate) fn is_valid(&self) -> bool {
        // SAFETY: passes a pointer to a live u64, which the ioctl only reads.
        let r =
            unsafe { libc::ioctl(self.listener.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const self.id) };
        r == 0
    }

    fn send(mut self, val: i64, error: i32, flags: u32) -> Delivery {
        self.open = false;
        self.respond(val, error, flags)
    }

    fn respond(&self, val: i64, error: i32, flags: u32) -> Delivery {
        let response = libc::seccomp_notif_resp { id: self.id, val, error, flags };
        // SAFETY: `response` is live and of the size that the ioctl number carries; the kernel only reads it.
        let r =
            unsafe { libc::ioctl(self.listener.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) };
        if r == 0 { Delivery::Delivered } else { Delivery::Interrupted }
    }
}

impl Drop for Notification {
    fn drop(&mut self) {
        if self.open {
            self.respond(0, -libc::ENOSYS, 0);
        }
    }
}
