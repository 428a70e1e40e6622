//! The two programs of a connection, joined to each other (`--fast-local`).
//!
//! It is established by segments as any other, and if the stack has learnt that nothing on its way needs to see its bytes,
//! the client's end waits with its [wire](Meeting): what the client writes stays there. When the server's program accepts, it
//! is given that wire instead of an end of its own. So the client's open file is the one that it always was, with its
//! copies, flags and registrations, and from then on bytes are none of our business.
//!
//! The stack's two sockets stay, established, for all that is asked about them. They end when the programs close theirs,
//! which [`Closings`](crate::closings) tells.
//!
//! No lock of one socket is taken under another's: who accepts has let go of the listener, and says that the connection is
//! accepted (by the inode number of its socket) before it locks the client. So a client that is only now about to wait
//! either finds that, or is found waiting.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use pernet_stack::TcpSocket;

use super::options::set_native;
use super::pump::Wire;
use super::{Phase, State, StreamFd};
use crate::closings::Watch;
use crate::reactor::{Reactor, Token};
use crate::sockets::Emulated;
use crate::sys;
use crate::task::Task;
use crate::world::{World, lock};

/// Bytes that may wait for the other program, twice what an AF_UNIX socket is born with and anybody may ask for: with less,
/// programs on two processors wait for each other. Between such, `iperf3` sends 45 Gbit/s with it, 35 without, and 46 with
/// twice as many.
const WIDE: usize = 2 * 212_992;

/// Nobody has accepted the connection yet.
pub(super) struct Meeting {
    /// Our end of it, which the other program is to have.
    pub(super) wire: OwnedFd,
    watch: Option<Watch>,
}

/// The other end is the other program's.
pub(super) struct Joined {
    /// Tells when the program has closed it. Without one, a look at what is open has to find that.
    _watch: Option<Watch>,
    /// A call waits for what comes.
    arrival: Option<Arrival>,
}

/// What an accepted connection's program is given instead of an end of its own, and whose other end it is.
pub(super) struct Taken {
    pub(super) wire: OwnedFd,
    client: Arc<StreamFd>,
}

/// A copy of a program's end which says that something came. As long as it is there nobody hears of the end's close, so it
/// is there only while a call waits.
struct Arrival {
    app: OwnedFd,
    reactor: Arc<Reactor>,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.reactor.forget(&self.app);
    }
}

impl Joined {
    /// The end that `file` is a copy of.
    pub(super) fn new(world: &World, file: &OwnedFd, s: &StreamFd) -> Self {
        let watch = world.closings.as_ref().and_then(|closings| closings.watch(file, s.id));
        Self { _watch: watch, arrival: None }
    }
}

impl StreamFd {
    /// The connection stands, by this wire: may its end wait for the other program?
    pub(super) fn meeting(&self, world: &World, state: &State, wire: OwnedFd) -> Result<Meeting, OwnedFd> {
        let Some(closings) = world.closings.as_ref().filter(|_| self.kept.is_none()) else { return Err(wire) };
        // Who has accepted it already has an end of his own.
        if !self.socket.is_found_plain() || self.socket.partner() != Some(0) {
            return Err(wire);
        }
        let Some(app) = state.last.and_then(|(task, fd)| self.find_app(world, task, fd)) else { return Err(wire) };
        self.widen(&app, &wire);
        Ok(Meeting { wire, watch: closings.watch(&app, self.id) })
    }

    /// Makes room in both directions, but where the program has said how much there is to be.
    fn widen(&self, app: &OwnedFd, wire: &OwnedFd) {
        let (send, receive) = self.socket.buffers();
        for (end, said) in [(app, send), (wire, receive)] {
            if said.is_none() {
                set_native(end.as_fd(), libc::SO_SNDBUF, WIDE);
            }
        }
    }

    /// Bytes go by way of us after all.
    pub(super) fn start(&self, world: &World, state: &mut State) {
        match std::mem::replace(&mut state.phase, Phase::Over) {
            Phase::Meeting(Meeting { wire, .. }) => {
                state.phase = Phase::Open(Wire::new(wire));
                world.sockets.notify(self.id, &world.reactor);
            }
            other => state.phase = other,
        }
    }

    /// Looks whether what is waited for can still come. A program that has left is not waited for: what it wrote goes on.
    pub(super) fn see_meeting(&self, world: &World, state: &mut State) {
        if let Phase::Meeting(meeting) = &state.phase
            && (sys::is_hung_up(meeting.wire.as_fd()) || !self.socket.is_found_plain())
        {
            self.start(world, state);
        }
    }

    /// Is it joined to the other program's?
    pub(crate) fn is_joined(&self) -> bool {
        matches!(lock(&self.state).phase, Phase::Joined(_))
    }

    /// The stack's socket has something to say. Only that it was ended by force matters to a program: then its end is
    /// shut down, and the other program's with it.
    pub(super) fn see_joined(&self, world: &World, state: &mut State) {
        let Phase::Joined(joined) = &mut state.phase else { return };
        // Whoever waits still is given another.
        joined.arrival = None;
        if self.socket.readiness().error
            && let Some(app) = state.last.and_then(|(task, fd)| self.find_app(world, task, fd))
        {
            sys::shutdown(app.as_fd(), libc::SHUT_RDWR);
        }
    }

    /// A call waits for bytes that nobody but the other program brings. If there are some now, that is told at once.
    pub(super) fn watch_arrival(&self, world: &World, state: &mut State, task: Task, fd: i32) {
        let Phase::Joined(joined) = &mut state.phase else { return };
        let Ok(app) = self.app(world, task, fd) else { return };
        if world.reactor.arrivals(&app, Token::Socket(self.id.ino)).is_ok() {
            joined.arrival = Some(Arrival { app, reactor: Arc::clone(&world.reactor) });
        }
    }
}

/// What the program that accepts `child` is to have, if the other one waits for it. `child` bears an inode number already.
pub(super) fn take(world: &World, child: &TcpSocket) -> Option<Taken> {
    world.closings.as_ref()?;
    let (_, Emulated::Stream(client)) = world.sockets.by_inode(child.partner()?)? else { return None };
    let mut state = lock(&client.state);
    if !matches!(state.phase, Phase::Meeting(_)) {
        return None;
    }
    client.see_meeting(world, &mut state);
    if !child.is_plain() {
        client.start(world, &mut state);
    }
    match std::mem::replace(&mut state.phase, Phase::Over) {
        Phase::Meeting(Meeting { wire, watch }) => {
            world.reactor.forget(&wire);
            state.phase = Phase::Joined(Joined { _watch: watch, arrival: None });
            drop(state);
            Some(Taken { wire, client })
        }
        other => {
            state.phase = other;
            None
        }
    }
}

impl Taken {
    /// Makes it what the program asked for.
    pub(super) fn dress(&self, nonblocking: bool) {
        sys::set_nonblocking(self.wire.as_fd(), nonblocking);
    }

    /// The program has it: the client's end is as closed now as nobody tells.
    pub(super) fn given(self, world: &World) {
        drop(self);
        world.sockets.becomes_silent(&world.reactor);
    }

    /// The program was not given it after all: the client's end waits again.
    pub(super) fn give_back(self, world: &World) {
        let Self { wire, client } = self;
        sys::set_nonblocking(wire.as_fd(), true);
        let mut state = lock(&client.state);
        match std::mem::replace(&mut state.phase, Phase::Over) {
            Phase::Joined(Joined { _watch: watch, .. }) => state.phase = Phase::Meeting(Meeting { wire, watch }),
            // It was dissolved meanwhile.
            other => {
                state.phase = other;
                return;
            }
        }
        let Phase::Meeting(meeting) = &state.phase else { return };
        if world.reactor.arrivals(&meeting.wire, Token::Socket(client.id.ino)).is_err() {
            client.start(world, &mut state);
        }
        drop(state);
        if world.sockets.get(client.id).is_none() {
            // Its program has closed it meanwhile, and was thought to need us no more.
            world.sockets.insert(client.id, Emulated::Stream(Arc::clone(&client)));
        }
        world.sockets.notify(client.id, &world.reactor);
    }
}

/// Forgets the ends that programs have closed.
pub(crate) fn forget_closed(world: &World) {
    let Some(closings) = &world.closings else { return };
    for id in closings.closed() {
        // Of others their wires tell.
        if matches!(world.sockets.get(id), Some(Emulated::Stream(s)) if s.is_joined()) {
            drop(world.sockets.remove(id));
        }
    }
}
