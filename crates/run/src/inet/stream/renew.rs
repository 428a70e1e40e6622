//! A new end for a socket whose connection came to nothing.
//!
//! An end of AF_UNIX that was connected once is connected for good, and TCP lets who was refused ask again. So the program
//! gets another end, under each number by which the calling process has the old one, with what its program set of it and
//! with its registrations in that process's epoll files. All that is done while the process is in `connect`: when it tells how
//! the last attempt ended, or dissolves a connection. The stack's socket stays the same. Another process that has a copy of
//! the old end keeps that: nothing puts a file into the table of who does not call.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::inherit::Inherited;
use super::options::set_native;
use super::{Phase, StreamFd, lock};
use crate::inet::keep;
use crate::listener::Notification;
use crate::sockets::{Emulated, lone_socket};
use crate::sys;
use crate::task::Task;
use crate::watchers::Watchers;
use crate::world::World;

impl StreamFd {
    /// Is it over, and could TCP begin anew?
    pub(super) fn wants_new_end(&self) -> bool {
        matches!(lock(&self.state).phase, Phase::Over) && self.socket.is_fresh()
    }

    /// Gives the calling process a new end in place of `app`, a copy of the old one; the socket that has it.
    ///
    /// # Errors
    /// ENFILE and the like; EBADF where the process has the old one by no number any more, EALREADY where another thread was
    /// quicker. Then all is as it was.
    pub(super) fn renew(
        self: &Arc<Self>,
        world: &Arc<World>,
        notification: &Notification,
        app: &OwnedFd,
    ) -> Result<Arc<Self>, i32> {
        let task = Task::new(notification.call.tid);
        // Held until the end: of two threads that come here only one does this.
        let mut state = lock(&self.state);
        if !matches!(state.phase, Phase::Over) {
            return Err(libc::EALREADY);
        }
        let numbers = task.numbers_of(self.id);
        let (end, id) = lone_socket(true, sys::is_nonblocking(app.as_fd()))?;
        let kept = keep(world, &end)?;
        let touched = self.touched.load(Ordering::Relaxed);
        Inherited::of(app.as_fd(), touched).give(end.as_fd());
        let (send, receive) = self.socket.buffers();
        for (option, bytes) in [(libc::SO_SNDBUF, send), (libc::SO_RCVBUF, receive)] {
            bytes.inspect(|&bytes| set_native(end.as_fd(), option, bytes));
        }
        let fresh = Self::new(id, self.kind, self.net.clone(), kept, Arc::clone(&self.socket));
        fresh.touched.store(touched, Ordering::Relaxed);
        let fresh = Arc::new(fresh);
        world.sockets.insert_silent(id, Emulated::Stream(fresh.clone()), &end, &world.reactor)?;
        let watchers = Watchers::of(world, task, self.id, &numbers);
        let mut put = Err(libc::EBADF);
        for &number in &numbers {
            let cloexec = task.closes_on_exec(number);
            // Looked at again at the last moment: who closes a number and opens it anew while another thread of his asks for
            // a connection by it could lose what he opened, here as anywhere.
            if task.file(number) == Some(self.id) {
                put = notification.add_fd(end.as_fd(), Some(number), cloexec).map(drop).or(put);
            }
        }
        if let Err(e) = put {
            drop(world.sockets.remove(id));
            return Err(e);
        }
        state.phase = Phase::Left;
        lock(&fresh.state).last = state.last;
        fresh.listen_in(world);
        drop(state);
        drop(end);
        watchers.look_at(task);
        Ok(fresh)
    }
}
