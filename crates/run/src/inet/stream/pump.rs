//! Bytes, both ways, between the program's end of a connection and the stack. Nothing here waits: what does not go now goes
//! when either side says that something has changed.

use std::cell::RefCell;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use pernet_stack::{TcpState, TcpWay};

use super::end::End;
use super::pipe::Pipe;
use super::splice::Direct;
use super::{Phase, State, StreamFd, splice};
use crate::reactor::Token;
use crate::sys;
use crate::task::{FileId, Task};
use crate::world::World;

/// Moved at once from wire to wire: what an empty one takes, which is two of the kernel's buffers.
const PIECE: usize = 192 << 10;
/// And by segments.
const PACKETS: usize = 64 << 10;
/// From how many at once they go without a copy: fewer are cheaper copied.
const BULK: usize = 16 << 10;
/// Pieces of one socket in a row, before another's turn.
const TURN: usize = 16;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Our end of a connection with a program.
pub(super) struct Wire {
    pub(super) end: End,
    /// Bytes for the program for which there was no room.
    pub(super) held: Vec<u8>,
    /// Whose bytes those are if it waits until they are gone: its own go from wire to wire.
    pub(super) feeder: Option<FileId>,
    /// An urgent byte for it, behind those.
    pub(super) urgent: Option<u8>,
    /// We are told when it has read something: that is a wake-up for each of its reads, and so only while bytes wait.
    watches_room: bool,
    /// Nothing is moved yet.
    pub(super) paused: bool,
    /// All that was there was taken; of what comes the [reactor](crate::reactor::Reactor::arrivals) tells.
    drained: bool,
    /// The last piece from wire to wire was so large that the next may be, too.
    bulk: bool,
    /// [`NeverWaits`](super::pipe::NeverWaits) was made of our end.
    pub(super) never_waits: bool,
    /// The program has said that it writes no more, and it was told that nothing more comes.
    heard_end: bool,
    pub(super) told_end: bool,
    /// It has shut this down: what comes is thrown away, what it writes is refused.
    pub(super) deaf: bool,
    shut_read: bool,
    shut_write: bool,
    /// An error that the connection goes on after (IP_RECVERR).
    told: i32,
}

/// What became of a direction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It waits for one of its sides.
    Waits,
    /// There is more at once.
    More,
    /// The program is gone.
    Gone,
    /// The connection was reset, with this errno.
    Reset(i32),
}

/// What became of many bytes.
enum Passed<'p> {
    /// The other program has them.
    All,
    /// So many are in the buffer, and have to be sent by segments.
    Here(usize),
    /// There were none, for a reason that a read will tell.
    None(Option<Direct<'p>>),
}

impl Wire {
    /// Whatever was told of it before.
    pub(super) fn new(end: OwnedFd) -> Self {
        Self {
            end: end.into(),
            held: Vec::new(),
            feeder: None,
            urgent: None,
            watches_room: false,
            paused: false,
            drained: false,
            bulk: false,
            never_waits: false,
            heard_end: false,
            told_end: false,
            deaf: false,
            shut_read: false,
            shut_write: false,
            told: 0,
        }
    }

    /// One of which the reactor has told nothing yet: it tells of all that is there.
    pub(super) fn fresh(end: OwnedFd) -> Self {
        Self { drained: true, ..Self::new(end) }
    }

    pub(super) fn paused(end: OwnedFd) -> Self {
        Self { paused: true, ..Self::fresh(end) }
    }

    /// The reactor tells of something there.
    pub(super) fn something_came(&mut self) {
        self.drained = false;
    }

    pub(super) fn start(&mut self) {
        self.paused = false;
    }

    /// Moves up to a buffer's length without a copy.
    fn pass<'p>(&mut self, world: &World, end: BorrowedFd<'_>, open: Direct<'p>, buffer: &mut [u8]) -> Passed<'p> {
        Pipe::with(|pipe| {
            let Some(filled) = pipe.and_then(|pipe| pipe.fill(end, buffer.len())) else {
                return Passed::None(Some(open));
            };
            self.bulk = filled.len() >= BULK;
            match open.take_filled(world, filled) {
                Ok(()) => Passed::All,
                Err(filled) => Passed::Here(filled.drain(buffer)),
            }
        })
    }

    /// Asks to be told when there is room for what waits, or no more. Asking looks at once, so nothing is missed.
    /// Of one that is away it is told anyway.
    pub(super) fn watch_room(&mut self, world: &World, id: FileId, end: &OwnedFd) {
        if self.end.is_away() {
            return;
        }
        let wanted = !self.held.is_empty() || self.urgent.is_some();
        if wanted != self.watches_room && world.reactor.departures(end, Token::Socket(id.ino), wanted).is_ok() {
            self.watches_room = wanted;
        }
    }

    /// Would our end look no other if the program closed its own? So it is when it writes no more, and it was told that
    /// nothing more comes, or did not want to hear it.
    pub(super) fn closes_silently(&self) -> bool {
        self.shut_write && (self.shut_read || self.told_end)
    }

    /// The program shuts it down, by the kernel's call.
    pub(super) fn shut(&mut self, how: i32) {
        self.shut_read |= how != 1;
        self.shut_write |= how != 0;
    }
}

impl StreamFd {
    /// Moves bytes of a connection. True if the program is gone and has nothing more to say.
    pub(super) fn pump_wire(self: &Arc<Self>, world: &World, state: &mut State) -> bool {
        let Phase::Open(wire) = &mut state.phase else { return false };
        if wire.paused {
            return false;
        }
        let Ok(end) = wire.end.get() else {
            // Those who use the last numbers just now give them back.
            world.sockets.watch(self.id, &world.reactor);
            return false;
        };
        let (out, inward) = BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(PIECE, 0);
            match self.outward(world, wire, end.as_fd(), buffer) {
                // There is nobody to be told anything.
                Flow::Gone => (Flow::Gone, Flow::Waits),
                out => (out, self.inward(wire, end.as_fd(), buffer)),
            }
        });
        wire.watch_room(world, self.id, &end);
        drop(end);
        if !wire.watches_room {
            // Else what the reactor was asked for would have to be asked for once more, wherever it stays.
            wire.end.relieve(world, self.id);
        }
        let told = std::mem::take(&mut wire.told);
        if told != 0 {
            state.told = told;
        }
        let Phase::Open(wire) = &mut state.phase else { return false };
        if wire.held.is_empty()
            && let Some(feeder) = wire.feeder.take()
        {
            world.sockets.notify(feeder, &world.reactor);
        }
        if out == Flow::Gone {
            return true;
        }
        if out == Flow::More || inward == Flow::More {
            world.sockets.notify(self.id, &world.reactor);
        }
        let reset = match (&out, &inward) {
            (_, Flow::Reset(e)) | (Flow::Reset(e), _) => Some(*e),
            _ => None,
        };
        if let Some(error) = reset {
            self.plant(world, state, error);
        } else if self.socket.state() == TcpState::Close
            && wire.told_end
            && wire.held.is_empty()
            && wire.urgent.is_none()
        {
            // Over, both ways: the program's end says so when ours is closed.
            state.phase = Phase::Over;
            world.reactor.wake();
        }
        false
    }

    /// From the program to the stack.
    fn outward(&self, world: &World, wire: &mut Wire, end: BorrowedFd<'_>, buffer: &mut [u8]) -> Flow {
        for _ in 0..TURN {
            if wire.drained {
                return Flow::Waits;
            }
            if wire.heard_end {
                // Nothing tells of a close but this: there is nothing left to read.
                if sys::is_hung_up(end) && !wire.closes_silently() {
                    return Flow::Gone;
                }
                wire.drained = true;
                return Flow::Waits;
            }
            let room = self.socket.send_room().min(buffer.len());
            let over = self.socket.state() == TcpState::Close;
            if room == 0 && !over {
                return if sys::is_hung_up(end) && self.socket.unacknowledged() == 0 {
                    Flow::Gone
                } else {
                    Flow::Waits
                };
            }
            let next = sys::next_in_stream(end);
            let (mut most, mut peer) = (PACKETS, None);
            match self.socket.way() {
                _ if over || !matches!(next, sys::Waiting::Something | sys::Waiting::Last) => {}
                TcpWay::Short(way) => {
                    (most, peer) = (PIECE, splice::Peer::of(world, way));
                }
                TcpWay::Ask(some) => most = some,
                TcpWay::Wait => return Flow::Waits,
                _ => {}
            }
            let mut direct = None;
            if let Some(peer) = &peer {
                match peer.open(world, self.id, buffer) {
                    splice::Door::Open(open) => direct = Some(open),
                    splice::Door::Full => return Flow::Waits,
                    splice::Door::Busy => return Flow::More,
                    splice::Door::Closed => most = PACKETS,
                }
            }
            let room = room.min(most);
            let piece = match next {
                sys::Waiting::Nothing => {
                    wire.drained = true;
                    return Flow::Waits;
                }
                sys::Waiting::Urgent => &mut buffer[..1],
                _ if over => &mut *buffer,
                _ => &mut buffer[..room],
            };
            let passed = match direct {
                Some(open) if wire.bulk && next != sys::Waiting::Urgent => wire.pass(world, end, open, piece),
                direct => Passed::None(direct),
            };
            let (taken, direct) = match passed {
                Passed::All => continue,
                Passed::Here(n) => (Ok(n), None),
                Passed::None(direct) => (sys::recv_flags(end, piece, libc::MSG_DONTWAIT), direct),
            };
            match taken {
                Ok(0) => {
                    wire.heard_end = true;
                    let gone = !wire.closes_silently() && (next == sys::Waiting::Last || sys::is_hung_up(end));
                    if gone {
                        if !wire.held.is_empty() {
                            // It leaves bytes unread.
                            self.socket.abort();
                        }
                        return Flow::Gone;
                    }
                    // One that has ended meanwhile needs no end.
                    let _ = self.socket.shutdown(Shutdown::Write);
                }
                Ok(n) => {
                    let mut rest = &buffer[..n];
                    wire.bulk = n >= BULK;
                    if direct.is_some_and(|direct| direct.take(world, rest)) {
                        continue;
                    }
                    while !rest.is_empty() {
                        let sent = if next == sys::Waiting::Urgent {
                            self.socket.send_urgent(rest)
                        } else {
                            self.socket.send(rest)
                        };
                        match sent {
                            Ok(took) => rest = rest.get(took..).unwrap_or_default(),
                            // There was room: nobody else writes.
                            Err(libc::EAGAIN) => break,
                            Err(libc::EPIPE) => {
                                sys::shutdown(end, libc::SHUT_RD);
                                wire.heard_end = true;
                                break;
                            }
                            Err(e) if self.goes_on() => wire.told = e,
                            Err(e) => return Flow::Reset(e),
                        }
                    }
                }
                Err(e) => match sys::errno_of(&e) {
                    libc::EAGAIN | libc::EINTR => return Flow::Waits,
                    // It was closed with bytes in it that we had written.
                    _ => {
                        self.socket.abort();
                        return Flow::Gone;
                    }
                },
            }
        }
        Flow::More
    }

    /// From the stack to the program.
    pub(super) fn inward(&self, wire: &mut Wire, end: BorrowedFd<'_>, buffer: &mut [u8]) -> Flow {
        for _ in 0..TURN {
            if !wire.held.is_empty() {
                match sys::send_flags(end, &wire.held, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) {
                    Ok(n) => drop(wire.held.drain(..n)),
                    Err(e) if matches!(sys::errno_of(&e), libc::EAGAIN | libc::EINTR) => return Flow::Waits,
                    Err(_) => {
                        wire.deaf = true;
                        wire.held.clear();
                    }
                }
                continue;
            }
            if let Some(byte) = wire.urgent {
                let flags = libc::MSG_OOB | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                match sys::send_flags(end, &[byte], flags) {
                    Err(e) if matches!(sys::errno_of(&e), libc::EAGAIN | libc::EINTR) => return Flow::Waits,
                    // What is refused otherwise it has no use for.
                    _ => wire.urgent = None,
                }
            }
            if wire.told_end {
                return Flow::Waits;
            }
            // Reads stop before an urgent byte, and step over it once it was taken.
            if self.socket.at_mark()
                && let Ok(byte) = self.socket.recv_urgent()
            {
                wire.urgent = Some(byte).filter(|_| !wire.deaf);
                continue;
            }
            match self.socket.recv(buffer) {
                Ok(0) => {
                    wire.told_end = true;
                    sys::shutdown(end, libc::SHUT_WR);
                    return Flow::Waits;
                }
                Ok(_) if wire.deaf => {}
                Ok(n) => {
                    let piece = &buffer[..n];
                    let sent = sys::send_flags(end, piece, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
                    match sent {
                        Ok(sent) => wire.held.extend_from_slice(&piece[sent..]),
                        Err(e) if matches!(sys::errno_of(&e), libc::EAGAIN | libc::EINTR) => {
                            wire.held.extend_from_slice(piece);
                        }
                        Err(_) => wire.deaf = true,
                    }
                }
                Err(libc::EAGAIN) => return Flow::Waits,
                Err(e) if self.goes_on() => wire.told = e,
                Err(e) => return Flow::Reset(e),
            }
        }
        Flow::More
    }

    /// Is there a connection, whatever it told of?
    fn goes_on(&self) -> bool {
        self.socket.state() != TcpState::Close
    }

    /// Tells the program of a reset: closed with bytes in it that it wrote, our end gives it an error behind what it can
    /// still read. If it wrote none, we do in its name.
    pub(super) fn plant(&self, world: &World, state: &mut State, error: i32) {
        let app = state.last.and_then(|(task, fd)| self.find_app(world, task, fd));
        if let Some(app) = app {
            let _ = sys::send_flags(app.as_fd(), &[0], libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        }
        state.error = error;
        // What it was not told yet it will not be: a reset is not in order.
        state.phase = Phase::Over;
        world.reactor.wake();
    }

    /// The program's end, if the task that called last has it open.
    pub(super) fn find_app(&self, world: &World, task: Task, fd: i32) -> Option<OwnedFd> {
        if let Ok(app) = self.app(world, task, fd) {
            return Some(app);
        }
        world.copy_fd(task, *task.numbers_of(self.id).first()?, self.id).ok()
    }
}
