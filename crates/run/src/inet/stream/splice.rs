//! From one program's end of a connection to the other's, where the stack says that segments would change nothing.
//!
//! Whoever moves bytes holds both sockets: his own, whose bytes they are, and the peer's, which he only tries to lock. Two
//! that want each other's give way and come again, so nobody waits for anybody in a ring.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, MutexGuard, TryLockError};

use pernet_stack::TcpShortcut;

use super::pipe::{Filled, NeverWaits};
use super::pump::{Flow, Wire};
use super::{Phase, State, StreamFd};
use crate::sockets::Emulated;
use crate::sys;
use crate::task::FileId;
use crate::world::World;

/// The other end of a connection, and the short way to it.
pub(super) struct Peer {
    way: TcpShortcut,
    stream: Arc<StreamFd>,
}

/// Whether bytes can be given to it now.
pub(super) enum Door<'p> {
    Open(Direct<'p>),
    /// Its program has to read first; then whose bytes wait is told.
    Full,
    /// Somebody is busy with it: come again.
    Busy,
    /// They have to be sent by segments.
    Closed,
}

/// The right to give it bytes.
pub(super) struct Direct<'p> {
    way: &'p TcpShortcut,
    id: FileId,
    end: Arc<OwnedFd>,
    state: MutexGuard<'p, State>,
}

fn wire(state: &mut State) -> Option<&mut Wire> {
    match &mut state.phase {
        Phase::Open(wire) if !wire.paused && !wire.told_end && !wire.deaf => Some(wire),
        _ => None,
    }
}

impl Peer {
    /// `None` if it is no program's of this run.
    pub(super) fn of(world: &World, way: TcpShortcut) -> Option<Self> {
        match world.sockets.by_inode(way.inode())? {
            (_, Emulated::Stream(stream)) => Some(Self { way, stream }),
            _ => None,
        }
    }

    /// Lets `from`, a socket that is locked, give it bytes. What came by segments before goes to the program first.
    pub(super) fn open(&self, world: &World, from: FileId, buffer: &mut [u8]) -> Door<'_> {
        let mut state = match self.stream.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::WouldBlock) => return Door::Busy,
            // Every change under it leaves it whole.
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
        };
        let Some(wire) = wire(&mut state) else { return Door::Closed };
        let Ok(end) = wire.end.get() else { return Door::Busy };
        if wire.held.is_empty() && self.stream.socket.received() > 0 {
            // An error is told once, and now it was told to us.
            if let Flow::Reset(error) = self.stream.inward(wire, end.as_fd(), buffer) {
                self.stream.plant(world, &mut state, error);
                return Door::Closed;
            }
        }
        wire.watch_room(world, self.stream.id, &end);
        if !wire.held.is_empty() {
            wire.feeder = Some(from);
            return Door::Full;
        }
        if wire.urgent.is_some() || wire.told_end {
            return Door::Closed;
        }
        Door::Open(Direct { way: &self.way, id: self.stream.id, end, state })
    }
}

impl Direct<'_> {
    /// Takes bytes; false if it took none, and they have to be sent by segments.
    pub(super) fn take(mut self, world: &World, bytes: &[u8]) -> bool {
        if !self.way.advance(bytes.len()) {
            return false;
        }
        self.give(world, |wire, end| {
            match sys::send_flags(end.as_fd(), bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) {
                Ok(n) => wire.held.extend_from_slice(bytes.get(n..).unwrap_or_default()),
                Err(e) if matches!(sys::errno_of(&e), libc::EAGAIN | libc::EINTR) => wire.held.extend_from_slice(bytes),
                Err(_) => return false,
            }
            true
        });
        true
    }

    /// The same of what is in a pipe; given back if it took none.
    pub(super) fn take_filled<'p>(mut self, world: &World, filled: Filled<'p>) -> Result<(), Filled<'p>> {
        let ready =
            wire(&mut self.state).is_some_and(|wire| NeverWaits::of(&self.end, &mut wire.never_waits).is_some());
        if !ready || !self.way.advance(filled.len()) {
            return Err(filled);
        }
        self.give(world, |wire, end| {
            let end = NeverWaits::of(end, &mut wire.never_waits);
            end.is_some_and(|end| filled.pour(end, &mut wire.held).is_ok())
        });
        Ok(())
    }

    /// Gives what the stack counts as received, unless the program has shut this direction down: it is `deaf` then, as to
    /// what comes by segments.
    fn give(&mut self, world: &World, how: impl FnOnce(&mut Wire, &OwnedFd) -> bool) {
        let Some(wire) = wire(&mut self.state) else { return };
        wire.deaf = !how(wire, &self.end);
        wire.watch_room(world, self.id, &self.end);
    }
}
