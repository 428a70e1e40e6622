//! `connect`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use pernet_stack::TcpState;

use super::wire::full;
use super::{Phase, State, StreamFd, pump};
use crate::caller::Caller;
use crate::descriptors::room;
use crate::inet::address;
use crate::listener::Notification;
use crate::netlink::answer;
use crate::reactor::Token;
use crate::sys;
use crate::task::Task;
use crate::world::{World, lock};

/// Fills what an end may send, so that it is not writable; says with how much.
fn fill(app: BorrowedFd<'_>) -> usize {
    let junk = [0; 16 << 10];
    let mut filled = 0;
    let mut size = junk.len();
    // What is too large for the last gap is tried smaller.
    while size > 0 {
        match sys::send_flags(app, &junk[..size], libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) {
            Ok(n) => filled += n,
            Err(_) => size /= 2,
        }
    }
    filled
}

/// Takes that away again.
fn drain(wire: BorrowedFd<'_>, mut junk: usize) {
    let mut into = [0; 16 << 10];
    while junk > 0 {
        let room = junk.min(into.len());
        match sys::recv_flags(wire, &mut into[..room], libc::MSG_DONTWAIT) {
            Ok(n) if n > 0 => junk -= n,
            _ => return,
        }
    }
}

impl StreamFd {
    pub(super) fn connect(self: &Arc<Self>, world: &Arc<World>, mut caller: Caller, notification: Notification) {
        let call = notification.call;
        let task = caller.task;
        let to = address(task, call.args[1], call.int(2)).and_then(|raw| {
            let dissolves = address::family_of(&raw).ok_or(libc::EINVAL)? == libc::AF_UNSPEC;
            (!dissolves).then(|| address::parse(&raw, self.v6(), false)).transpose()
        });
        let to = match to {
            Ok(Some(to)) => to,
            Ok(None) => {
                let result = self.dissolve();
                if let Ok(app) = caller.take_end(world, self.id, self.kept.as_ref()) {
                    self.begin_anew(world, &notification, &app);
                }
                drop(caller);
                return answer(world, notification, result.map(|()| 0));
            }
            Err(e) => {
                drop(caller);
                return answer(world, notification, Err(e));
            }
        };
        let app = match caller.take_end(world, self.id, self.kept.as_ref()) {
            Ok(app) => app,
            Err(e) => return answer(world, notification, Err(e)),
        };
        let nonblocking = sys::is_nonblocking(app.as_fd());
        // Asked before anything has happened; of descriptors a `connect` does not speak.
        if world.sockets.with_room(|| room(&app)).is_err() {
            drop(app);
            return answer(world, notification, Err(libc::ENOBUFS));
        }
        // It could not be given a new end when it was told how the last attempt ended.
        if self.wants_new_end() {
            return match self.renew(world, &notification, &app) {
                Ok(fresh) => {
                    drop(app);
                    fresh.connect(world, caller, notification)
                }
                Err(e) => {
                    drop(app);
                    answer(world, notification, Err(full(e)))
                }
            };
        }
        let mut state = lock(&self.state);
        self.see_connection(world, &mut state);
        if !matches!(state.phase, Phase::Fresh) {
            let result = match state.phase {
                Phase::Listening(_) => Err(libc::EISCONN),
                // Whoever has its new end asks by that.
                Phase::Left => Err(libc::ECONNABORTED),
                // Its end was connected once, and cannot be again: it is told how that came out.
                Phase::Over => self.socket.outcome().unwrap_or(Err(libc::EALREADY)),
                _ => self.socket.connect(to),
            };
            drop(state);
            self.begin_anew(world, &notification, &app);
            let limit = sys::send_timeout(app.as_fd());
            drop(app);
            // One that waits for a connection which another call asked for waits here too.
            if result == Err(libc::EALREADY) && !nonblocking {
                return self.park(world, notification, limit, libc::EALREADY);
            }
            return answer(world, notification, result.map(|()| 0));
        }
        let begun = self.socket.connect(to);
        if begun != Err(libc::EINPROGRESS) {
            drop((state, app));
            return answer(world, notification, begun.map(|()| 0));
        }
        // Where both ends are in one system, it is known already.
        let pending = matches!(self.socket.state(), TcpState::SynSent | TcpState::SynRecv);
        if !pending && !nonblocking {
            let result = self.socket.connect(to).and_then(|()| {
                let wire = self.join(world, &app)?;
                self.open_wire(world, &mut state, wire)
            });
            drop(state);
            drop(app);
            world.sockets.notify(self.id, &world.reactor);
            return answer(world, notification, result.map(|()| 0));
        }
        if pending && !nonblocking {
            state.phase = Phase::Asking;
            drop(state);
            let limit = sys::send_timeout(app.as_fd());
            drop(app);
            return self.park(world, notification, limit, libc::EINPROGRESS);
        }
        let joined = self.join(world, &app).and_then(|wire| {
            if !pending && self.socket.state() != TcpState::Close {
                return self.open_wire(world, &mut state, wire);
            }
            let junk = fill(app.as_fd());
            world.reactor.edges(&wire, Token::Socket(self.id.ino)).map_err(|e| sys::errno_of(&e))?;
            state.phase = Phase::Connecting { wire, junk };
            Ok(())
        });
        if let Err(e) = joined {
            drop((state, app));
            return answer(world, notification, Err(e));
        }
        self.see_connection(world, &mut state);
        drop(state);
        drop(app);
        world.sockets.notify(self.id, &world.reactor);
        answer(world, notification, Err(libc::EINPROGRESS));
    }

    /// The program may begin anew, if TCP would let it. Where that fails now, the next `connect` tries again.
    fn begin_anew(self: &Arc<Self>, world: &Arc<World>, notification: &Notification, app: &OwnedFd) {
        if self.wants_new_end() {
            let _ = self.renew(world, notification, app);
        }
    }

    /// Our end of what the program's end is connected to. Without one there is no connection: the peer is told.
    fn join(&self, world: &World, app: &OwnedFd) -> Result<OwnedFd, i32> {
        world.switchboard.join(app).inspect_err(|_| self.socket.abort())
    }

    /// A call that waited for a connection does so no more, and the attempt goes on: the program's end shows how it ends.
    pub(super) fn go_on(&self, world: &World, task: Task, fd: i32) {
        let mut state = lock(&self.state);
        if !matches!(state.phase, Phase::Asking) {
            return;
        }
        // Without a way to it, nobody has it any more, or nobody looks.
        let Ok(app) = self.app(world, task, fd) else { return };
        let Ok(wire) = self.join(world, &app) else { return };
        let junk = fill(app.as_fd());
        if world.reactor.edges(&wire, Token::Socket(self.id.ino)).is_ok() {
            state.phase = Phase::Connecting { wire, junk };
            self.see_connection(world, &mut state);
        }
    }

    /// How a `connect` that waits has ended, if it has.
    pub(super) fn connected(self: &Arc<Self>, world: &World, task: Task, fd: i32) -> Option<Result<(), i32>> {
        let mut state = lock(&self.state);
        self.see_connection(world, &mut state);
        let mut result = self.socket.outcome()?;
        if matches!(state.phase, Phase::Asking) {
            state.phase = Phase::Fresh;
            result = result.and_then(|()| {
                let app = self.app(world, task, fd)?;
                let wire = self.join(world, &app)?;
                self.open_wire(world, &mut state, wire)
            });
            drop(state);
            world.sockets.notify(self.id, &world.reactor);
        }
        Some(result)
    }

    /// Looks how far a connection is that was asked for.
    pub(super) fn see_connection(&self, world: &World, state: &mut State) {
        let how = self.socket.state();
        if matches!(how, TcpState::SynSent | TcpState::SynRecv) || !matches!(state.phase, Phase::Connecting { .. }) {
            return;
        }
        let Phase::Connecting { wire, junk } = std::mem::replace(&mut state.phase, Phase::Over) else { return };
        if how == TcpState::Close {
            // Closed with bytes in it, the program's end tells of an error.
            drop(wire);
            return;
        }
        drain(wire.as_fd(), junk);
        world.reactor.forget(&wire);
        let _ = self.open_wire(world, state, wire);
    }

    /// The connection stands.
    fn open_wire(&self, world: &World, state: &mut State, wire: OwnedFd) -> Result<(), i32> {
        self.bound(wire.as_fd());
        world.reactor.arrivals(&wire, Token::Socket(self.id.ino)).map_err(|e| sys::errno_of(&e))?;
        state.phase = match self.meeting(world, state, wire) {
            Ok(meeting) => Phase::Meeting(meeting),
            Err(wire) => Phase::Open(pump::Wire::fresh(wire)),
        };
        Ok(())
    }

    /// `connect` to nothing.
    fn dissolve(&self) -> Result<(), i32> {
        let mut state = lock(&self.state);
        self.socket.disconnect()?;
        if !matches!(state.phase, Phase::Fresh) {
            state.phase = Phase::Over;
        }
        Ok(())
    }
}
