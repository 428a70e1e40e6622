//! Who makes a call, and by which descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::listener::Call;
use crate::task::{FileId, Task};
use crate::world::World;

/// Of a call on a socket that we stand in for.
pub(crate) struct Caller {
    /// The thread.
    pub(crate) task: Task,
    /// Its descriptor.
    pub(crate) fd: i32,
    /// A copy of the program's end, if it was made already, when the socket was looked for.
    end: Option<OwnedFd>,
}

impl Caller {
    /// Who made this call; `end` is of its first argument.
    ///
    /// A copy lives as long as the call is being answered and is gone before the answer is sent: after that the program may
    /// expect its own descriptor to be the last.  Until then the kernel would hold the file as well, for any call's length.
    /// A call that is parked keeps none.
    pub(crate) fn of(call: &Call, end: Option<OwnedFd>) -> Self {
        Self { task: Task::new(call.tid), fd: call.int(0), end }
    }

    /// Is its descriptor in non-blocking mode?
    pub(crate) fn is_nonblocking(&self) -> bool {
        match &self.end {
            Some(end) => crate::sys::is_nonblocking(end.as_fd()),
            None => self.task.is_nonblocking(self.fd),
        }
    }

    /// The program's end, which is the file `id`; `kept` is the copy that we have where none can be made when needed.
    ///
    /// # Errors
    /// EBADF if it is another file by now, EPERM where the machine refuses such copies.
    pub(crate) fn with_end<T>(
        &self,
        world: &World,
        id: FileId,
        kept: Option<&OwnedFd>,
        f: impl FnOnce(BorrowedFd<'_>) -> T,
    ) -> Result<T, i32> {
        match kept.or(self.end.as_ref()) {
            Some(end) => Ok(f(end.as_fd())),
            None => Ok(f(world.copy_fd(self.task, self.fd, id)?.as_fd())),
        }
    }

    /// The copy itself, to be closed before the answer, if there is one or can be one.
    ///
    /// # Errors
    /// As [`Self::with_end`].
    pub(crate) fn take_end(&mut self, world: &World, id: FileId, kept: Option<&OwnedFd>) -> Result<OwnedFd, i32> {
        match (self.end.take(), kept) {
            (Some(end), _) => Ok(end),
            (None, Some(kept)) => kept.try_clone().map_err(|e| crate::sys::errno_of(&e)),
            (None, None) => world.copy_fd(self.task, self.fd, id),
        }
    }
}
