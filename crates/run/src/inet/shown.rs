//! What of a datagram socket is seen without a trapped call: errors, and, by who lists sockets, what waits.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::datagram::{DatagramFd, MSG_ERRQUEUE, State};
use crate::caller::Caller;
use crate::mem::Memory;
use crate::msghdr::MsgHeader;
use crate::receive::{Receive, Target};
use crate::sys;
use crate::task::Task;
use crate::world::{World, lock};

/// How long after an error the program's end shows it.
const SHOWN_LATE: Duration = Duration::from_millis(8);
/// And after a packet was sent whose time is wanted, if its sender may go on by native calls: programs wait some
/// milliseconds for such a time, and rarely send before they have it.
const TIME_SHOWN_LATE: Duration = Duration::from_millis(1);

impl DatagramFd {
    /// Lets the stack count what waits in the program's end, when it lists its sockets.
    pub(super) fn show_outside(self: &Arc<Self>) {
        let me = Arc::downgrade(self);
        self.core.on_listing(Arc::new(move || {
            let Some(me) = me.upgrade() else { return Some(0) };
            // Whoever has the lock just moves these packets, or sends them: nobody waits for that who holds up a packet.
            let mut state = me.state.try_lock().ok()?;
            state.sent.forget_read(me.supervisor_end());
            Some(state.sent.iter().map(|sent| sent.memory).chain(state.held_back.as_ref().map(Core::memory)).sum())
        }));
    }

    /// Lets `poll` and native receives see that there is an error, and see it no more when it was told.
    ///
    /// The kernel tells one end of a pair that the other was connected elsewhere while something it had sent was unread.  So
    /// the program's end is made to send, ours to leave, and to come back.  The errno of native calls is then ECONNRESET.
    ///
    /// Native sends meet the error, too, and a program that sends one packet after the other before it looks would not
    /// meet it on Linux.  So it is shown some milliseconds late: to those who wait.  That a packet was sent is no error, and
    /// shown at once where no native send can meet it, and to who sends by trapped calls.
    pub(super) fn show_error(&self, world: &World, state: &mut State) {
        let wanted = self.core.has_error();
        let Some(last) = state.last.filter(|_| wanted != state.raised) else {
            state.show_at = None;
            return;
        };
        let now = Instant::now();
        let late = match self.core.has_only_times() {
            true if self.core.sends_untold() && !state.sends_trapped => TIME_SHOWN_LATE,
            true => Duration::ZERO,
            false => SHOWN_LATE,
        };
        if wanted && *state.show_at.get_or_insert(now + late) > now {
            world.sockets.watch(self.id(), &world.reactor);
            return;
        }
        state.show_at = None;
        let shown = self.with_last_end(world, last, |app| {
            if wanted {
                sys::reset_pair(app, self.supervisor_end()).is_ok()
            } else {
                sys::take_socket_error(app);
                true
            }
        });
        if shown == Ok(true) {
            state.raised = wanted;
        }
    }

    /// A call was trapped: what is shown of an error waits until the program does nothing again.
    pub(super) fn called(&self, world: &World, caller: &Caller) {
        let mut state = lock(&self.state);
        (state.last, state.show_at) = (Some((caller.task, caller.fd)), None);
        if state.raised {
            let _ = self.with_app_end(world, caller, |app| self.was_told(app, &mut state));
        }
    }

    /// Whether the error that was shown was told by a native call: then it is not told again.
    pub(super) fn was_told(&self, app: BorrowedFd<'_>, state: &mut State) {
        if std::mem::take(&mut state.raised) && sys::take_socket_error(app) == 0 {
            let _ = self.core.take_error();
        }
    }

    /// An error out of the queue: never waited for.
    pub(super) fn receive_error(&self, task: Task, receive: Receive) -> Result<i64, i32> {
        let memory = Memory::of(task.tid);
        let (receive, many) = match receive {
            Receive::Many { headers, .. } => (Receive::Msg { header: headers }, Some(headers)),
            other => (other, None),
        };
        let target = Target::read(memory, receive)?;
        let (payload, name, control) = self.core.recv_error().ok_or(libc::EAGAIN)?;
        let bytes = &payload[..payload.len().min(target.room)];
        let cut = if bytes.len() < payload.len() { libc::MSG_TRUNC } else { 0 };
        target.write(memory, bytes, &name, &control, MSG_ERRQUEUE | cut)?;
        if let Some(header) = many {
            let len = (bytes.len() as u32).to_ne_bytes();
            memory.write(header + MsgHeader::SIZE, &len).map_err(|e| e.errno())?;
            return Ok(1);
        }
        Ok(bytes.len() as i64)
    }
}
