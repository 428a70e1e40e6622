//! Sockets with connections.
//!
//! The program's end is an AF_UNIX stream socket, unconnected at first. Everything the program waits for is the kernel's: a
//! listener really listens, at a name that the kernel chose, and whoever connects there is us; a connection is really
//! connected, to a [wire](Wire) of ours. The rest is in the stack: a [`TcpSocket`] beside each such end, and a [pump](pump)
//! between it and the wire. Where both ends of a connection are here and the stack says that its way is plain, the pump
//! moves bytes from wire to wire ([`splice`]); if the run was asked to, the two ends become each other's ([`join`]).

mod accept;
mod connect;
mod end;
mod inherit;
mod join;
mod options;
mod pipe;
mod pump;
mod renew;
mod splice;
mod wire;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pernet::{Cap, NetRef};
use pernet_stack::{TcpSocket, TcpState};
use rustix::net::SocketAddrUnix;

use super::{Family, Kind, address, keep, write_name};
use crate::caller::Caller;
use crate::listener::{Call, Notification};
use crate::mem::Memory;
use crate::msghdr::MsgHeader;
use crate::netlink::answer;
use crate::receive::{Receive, Target, receive_flags};
use crate::sockets::{Emulated, lone_socket};
use crate::sys;
use crate::syscalls::{self, Outcome};
use crate::task::{FileId, Task};
use crate::world::{World, lock};

pub(crate) use join::forget_closed;
pub(crate) use wire::Switchboard;

/// "Restart, or EINTR, as the signal's handler says": the kernel's, never seen by a program.
const ERESTARTSYS: i32 = 512;

/// How far a socket has come.
enum Phase {
    /// Made, and perhaps bound.
    Fresh,
    /// It listens.
    Listening(Box<Listening>),
    /// A call that waits has asked for a connection. The program's end is as it was, and can ask again.
    Asking,
    /// It has asked for a connection. The program's end is connected already, and full of junk: neither readable nor
    /// writable, as long as nobody knows how it ends.
    Connecting { wire: OwnedFd, junk: usize },
    /// It stands, and waits for the other program: to be joined to it.
    Meeting(join::Meeting),
    /// It is joined to the other program's end.
    Joined(join::Joined),
    /// Bytes go both ways.
    Open(pump::Wire),
    /// There is no connection any more.
    Over,
    /// Its socket has another end by now (`renew`): who still has this one shared it with the process that asked.
    Left,
}

/// What a listener has. Elsewhere: it is longer than all that others have, and they are many.
struct Listening {
    /// What the kernel calls its end.
    name: SocketAddrUnix,
    /// Connections in the order in which the program will accept them.
    children: VecDeque<Arc<TcpSocket>>,
    /// Our ends of what it sees waiting, as many. Which belongs to which connection does not matter before it has accepted
    /// one, so one that it was not given after all keeps its place.
    ends: VecDeque<OwnedFd>,
}

/// A call that waits.
struct Parked {
    notification: Notification,
    deadline: Option<Instant>,
    /// What it is told at the deadline.
    late: i32,
}

struct State {
    phase: Phase,
    parked: Vec<Parked>,
    /// Who called last, by which descriptor: a way to the program's end.
    last: Option<(Task, i32)>,
    /// An error that the program's end tells by another number.
    error: i32,
    /// One that the connection goes on after, of which the program's end tells nothing.
    told: i32,
}

/// Such a socket.
pub(crate) struct StreamFd {
    /// The program's end.
    pub(crate) id: FileId,
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it was made: it stays there whatever its owner does.
    pub(crate) net: NetRef,
    kept: Option<OwnedFd>,
    socket: Arc<TcpSocket>,
    /// Which options its program has set that connections have of their listener, whatever came of it.
    touched: AtomicU32,
    /// Before all of the stack's locks. The stack never takes it: it puts the socket on the ready list.
    state: Mutex<State>,
}

impl StreamFd {
    /// Unconnected.
    fn new(id: FileId, kind: Kind, net: NetRef, kept: Option<OwnedFd>, socket: Arc<TcpSocket>) -> Self {
        let state = State { phase: Phase::Fresh, parked: Vec::new(), last: None, error: 0, told: 0 };
        Self { id, kind, net, kept, socket, touched: AtomicU32::new(0), state: Mutex::new(state) }
    }

    /// Has the stack tell of what happens to its socket, and ask.
    fn listen_in(&self, world: &World) {
        self.socket.set_inode(self.id.ino);
        self.socket.set_user(Some(world.me.clone()));
    }

    /// Its program sets this option of level SOL_SOCKET.
    pub(crate) fn touches(&self, option: i32) {
        self.touched.fetch_or(inherit::touched(option), Ordering::Relaxed);
    }

    /// Our copy of the program's end, if we keep one.
    pub(crate) fn kept(&self) -> Option<BorrowedFd<'_>> {
        self.kept.as_ref().map(AsFd::as_fd)
    }

    /// Does nothing tell us when the program closes it?
    pub(crate) fn closes_silently(&self) -> bool {
        self.kept.is_some() || silent(&lock(&self.state).phase)
    }

    /// Do bytes go both ways? Then moving them tells when the program has closed it and nothing is left to say.
    pub(crate) fn is_open(&self) -> bool {
        matches!(lock(&self.state).phase, Phase::Open(_) | Phase::Meeting(_) | Phase::Joined(_))
    }

    fn v6(&self) -> bool {
        self.kind.family == Family::V6
    }

    /// The program's end.
    fn app(&self, world: &World, task: Task, fd: i32) -> Result<OwnedFd, i32> {
        match &self.kept {
            Some(kept) => kept.try_clone().map_err(|e| sys::errno_of(&e)),
            None => world.copy_fd(task, fd, self.id),
        }
    }

    /// The reactor tells of something at our end of it.
    pub(crate) fn something_came(&self) {
        if let Phase::Open(wire) = &mut lock(&self.state).phase {
            wire.something_came();
        }
    }

    /// Moves what can be moved, and answers those whose wait is over. True if nobody has the socket any more.
    pub(crate) fn pump(self: &Arc<Self>, world: &Arc<World>) -> bool {
        self.pump_or_look(world, false)
    }

    /// The same, and looks whether those who wait may still.
    pub(crate) fn look(self: &Arc<Self>, world: &Arc<World>) -> bool {
        self.pump_or_look(world, true)
    }

    fn pump_or_look(self: &Arc<Self>, world: &Arc<World>, look: bool) -> bool {
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::Listening(_)) {
            // Who waits to accept comes before the queue that the program's end shows.
            let parked = self.take_parked(&mut state, look);
            drop(state);
            for waiting in parked {
                self.serve(world, waiting, look);
            }
            state = lock(&self.state);
        }
        match &state.phase {
            Phase::Listening(_) => self.announce(world, &mut state),
            // Nobody waits any more for how it ends.
            Phase::Connecting { wire, .. } if sys::is_hung_up(wire.as_fd()) => return true,
            Phase::Connecting { .. } => self.see_connection(world, &mut state),
            Phase::Meeting(_) => self.see_meeting(world, &mut state),
            Phase::Joined(_) => self.see_joined(world, &mut state),
            Phase::Fresh | Phase::Asking | Phase::Open(_) | Phase::Over | Phase::Left => {}
        }
        let gone = self.pump_wire(world, &mut state);
        if silent(&state.phase) {
            world.sockets.becomes_silent(&world.reactor);
        }
        let parked = self.take_parked(&mut state, look);
        drop(state);
        for waiting in parked {
            self.serve(world, waiting, look);
        }
        gone
    }

    /// Those for whom there may be an answer; all, for a look.
    fn take_parked(&self, state: &mut State, look: bool) -> Vec<Parked> {
        let State { phase, parked, .. } = state;
        parked.extract_if(.., |p| look || self.may_end(phase, &p.notification.call)).collect()
    }

    /// May there be an answer for a call that waits? Without a look at the program's end.
    fn may_end(&self, phase: &Phase, call: &Call) -> bool {
        match (call.nr, phase) {
            (libc::SYS_accept | libc::SYS_accept4, Phase::Listening(listening)) => {
                let children = &listening.children;
                !children.is_empty() || self.socket.readiness().readable
            }
            (libc::SYS_connect, Phase::Asking | Phase::Connecting { .. }) => {
                !matches!(self.socket.state(), TcpState::SynSent | TcpState::SynRecv)
            }
            _ => true,
        }
    }

    /// Answers a call that may wait, or lets it.
    fn serve(self: &Arc<Self>, world: &Arc<World>, waiting: Parked, look: bool) {
        let Parked { notification, deadline, late } = waiting;
        let call = notification.call;
        let task = Task::new(call.tid);
        // Its number may be another's by now, whose memory is not to be written.
        if !notification.is_valid() {
            return self.go_on(world, task, call.int(0));
        }
        let notification = match call.nr {
            libc::SYS_accept | libc::SYS_accept4 => match self.accept(world, Caller::of(&call, None), notification) {
                Some(notification) => notification,
                None => return,
            },
            libc::SYS_connect => match self.connected(world, task, call.int(0)) {
                Some(result) => return answer(world, notification, result.map(|()| 0)),
                None => notification,
            },
            _ => match self.recv_from(world, &Caller::of(&call, None), &call) {
                Some(result) => return answer(world, notification, result),
                None => notification,
            },
        };
        if !look {
            return self.wait(world, Parked { notification, deadline, late });
        }
        if deadline.is_some_and(|d| d <= Instant::now()) {
            self.go_on(world, task, call.int(0));
            return answer(world, notification, Err(late));
        }
        if world.killable
            && let Some(certain) = task.signal_waits()
        {
            // As with netlink's: with a time limit the kernel does not restart these calls.
            let restart = certain && deadline.is_none();
            self.go_on(world, task, call.int(0));
            return answer(world, notification, Err(if restart { ERESTARTSYS } else { libc::EINTR }));
        }
        self.wait(world, Parked { notification, deadline, late });
    }

    /// It waits; what came meanwhile told nobody of it, who was not on the list yet.
    fn wait(self: &Arc<Self>, world: &Arc<World>, waiting: Parked) {
        let call = waiting.notification.call;
        let mut state = lock(&self.state);
        self.watch_arrival(world, &mut state, Task::new(call.tid), call.int(0));
        state.parked.push(waiting);
        let came = self.may_end(&state.phase, &call);
        drop(state);
        world.sockets.watch(self.id, &world.reactor);
        if came && !reads(&call) {
            world.sockets.notify(self.id, &world.reactor);
        }
    }

    /// What lies in the program's end, either way.
    pub(crate) fn outside(&self, world: &World) -> (usize, usize) {
        // Whoever has the lock just moves these bytes: who lists does not wait for that.
        let Ok(state) = self.state.try_lock() else { return (0, 0) };
        let (held, unsent) = match &state.phase {
            Phase::Open(wire) => (wire.held.len(), wire.end.get().map_or(0, |end| sys::readable_bytes(end.as_fd()))),
            Phase::Meeting(meeting) => (0, sys::readable_bytes(meeting.wire.as_fd())),
            _ => return (0, 0),
        };
        let unread = state.last.and_then(|(task, fd)| self.find_app(world, task, fd));
        (unread.map_or(0, |app| sys::readable_bytes(app.as_fd())) + held, unsent)
    }

    /// A call waits from now on, as long as the socket says. It has looked, and there was nothing for it.
    fn park(
        self: &Arc<Self>,
        world: &Arc<World>,
        notification: Notification,
        limit: Option<std::time::Duration>,
        late: i32,
    ) {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let reads = reads(&notification.call);
        self.wait(world, Parked { notification, deadline, late });
        // What lies in the program's end only a look there shows.
        if reads {
            world.sockets.notify(self.id, &world.reactor);
        }
    }

    /// `recvfrom` or `recvmsg` with room for an address: of a connection there is none to tell. `None` if it has to wait.
    fn recv_from(&self, world: &World, caller: &Caller, call: &Call) -> Option<Result<i64, i32>> {
        let memory = Memory::of(caller.task.tid);
        let target = match Target::read(memory, Receive::of(call)) {
            Ok(target) => target,
            Err(e) => return Some(Err(e)),
        };
        let asked = receive_flags(call);
        if asked & libc::MSG_ERRQUEUE != 0 {
            return Some(Err(libc::EAGAIN));
        }
        let mut buffer = vec![0; target.room.min(1 << 20)];
        let flags = asked | libc::MSG_DONTWAIT;
        let received =
            caller.with_end(world, self.id, self.kept.as_ref(), |app| sys::recv_flags(app, &mut buffer, flags));
        match received {
            Err(e) => Some(Err(e)),
            Ok(Ok(n)) => {
                // With that flag bytes are thrown away (tcp(7)).
                let shown = if asked & libc::MSG_TRUNC != 0 { 0 } else { n };
                let bytes = buffer.get(..shown).unwrap_or_default();
                Some(target.write(memory, bytes, &[], &[], 0).map(|()| n as i64))
            }
            Ok(Err(e)) => match sys::errno_of(&e) {
                libc::EAGAIN if asked & libc::MSG_DONTWAIT == 0 && !caller.is_nonblocking() => None,
                // What a socket without a connection says.
                libc::EINVAL => Some(Err(libc::ENOTCONN)),
                e => Some(Err(e)),
            },
        }
    }
}

/// Does it receive bytes?
fn reads(call: &Call) -> bool {
    matches!(call.nr, libc::SYS_recvfrom | libc::SYS_recvmsg)
}

/// Would the kernel answer what is not to be known: the name of our end, to who has room for one; bytes, to who asks for
/// errors?
fn names(call: &Call) -> bool {
    call.nr == libc::SYS_recvfrom
        || receive_flags(call) & libc::MSG_ERRQUEUE != 0
        || MsgHeader::read(Memory::of(call.tid), call.args[1]).is_ok_and(|header| header.name != 0)
}

/// Does nothing tell us, in this phase, when the program closes it?
fn silent(phase: &Phase) -> bool {
    match phase {
        Phase::Fresh | Phase::Asking | Phase::Listening(_) | Phase::Joined(_) | Phase::Over | Phase::Left => true,
        Phase::Connecting { .. } | Phase::Meeting(_) => false,
        Phase::Open(wire) => wire.closes_silently(),
    }
}

/// Those who wait to be accepted are told that nobody will.
fn turn_away(children: &mut VecDeque<Arc<TcpSocket>>) {
    for child in children.drain(..) {
        child.abort();
    }
}

impl Drop for StreamFd {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Phase::Listening(listening) = &mut state.phase {
            turn_away(&mut listening.children);
        }
    }
}

/// A fresh one: what goes to the program.
///
/// # Errors
/// errno of making the stand-in.
pub(crate) fn open(world: &World, uid: u32, kind: Kind, net: NetRef, nonblocking: bool) -> Result<OwnedFd, i32> {
    let (app, id) = lone_socket(true, nonblocking)?;
    let kept = keep(world, &app)?;
    let socket = match kind.family {
        Family::V6 => TcpSocket::new_v6(&world.stack, &net),
        _ => TcpSocket::new_v4(&world.stack, &net),
    };
    socket.set_owner(uid);
    let fresh = StreamFd::new(id, kind, net, kept, Arc::new(socket));
    fresh.listen_in(world);
    world.sockets.insert_silent(id, Emulated::Stream(Arc::new(fresh)), &app, &world.reactor)?;
    Ok(app)
}

/// Answers a call that does not wait. `end`: a copy of the program's end, if there is one already.
pub(crate) fn handle(world: &World, call: &Call, s: &Arc<StreamFd>, end: Option<OwnedFd>) -> Outcome {
    let task = Task::new(call.tid);
    lock(&s.state).last = Some((task, call.int(0)));
    // What still wants one asks anew: few calls of this kind do.
    drop(end);
    match call.nr {
        libc::SYS_getsockopt => options::get(world, task, call, s),
        libc::SYS_setsockopt => options::set(world, task, call, s),
        libc::SYS_shutdown => s.shutdown(world, call.int(1)),
        // Addresses of a connection's sends are not looked at, and the native call does the rest.
        libc::SYS_sendmsg | libc::SYS_sendmmsg => Outcome::Proceed,
        libc::SYS_sendto if call.args[4] == 0 => Outcome::Proceed,
        libc::SYS_sendto => Outcome::from(s.send_to(world, task, call)),
        _ => Outcome::from(s.plain(world, task, call)),
    }
}

impl StreamFd {
    fn plain(self: &Arc<Self>, world: &World, task: Task, call: &Call) -> Result<i64, i32> {
        match call.nr {
            libc::SYS_bind => {
                let to = address::parse(&address(task, call.args[1], call.int(2))?, self.v6(), false)?;
                self.bind(world, task, call.int(0), to)
            }
            libc::SYS_listen => self.listen(world, task, call.int(0), call.int(1)),
            libc::SYS_getsockname => {
                let local = self.socket.local_addr().unwrap_or_else(|| address::unspecified(self.v6()));
                write_name(task, call, &address::bytes(local))
            }
            libc::SYS_getpeername => write_name(task, call, &address::bytes(self.socket.peer_addr()?)),
            _ => Err(libc::EOPNOTSUPP),
        }
    }

    fn bind(&self, world: &World, task: Task, fd: i32, to: std::net::SocketAddr) -> Result<i64, i32> {
        let cred = world.users.cred(task);
        let privileged = cred.capable(self.net.owner(), Cap::NetBindService);
        let _ = fd;
        let mut result = self.socket.bind(to, privileged);
        for _ in 0..3 {
            if result != Err(libc::EADDRINUSE) {
                break;
            }
            // The holder may have been closed: that is only seen by looking.
            world.sockets.sweep(1);
            result = self.socket.bind(to, privileged);
            if result == Err(libc::EADDRINUSE) {
                // A socket that we have just handed over is open here for some microseconds more.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        result.map(|()| 0)
    }

    fn shutdown(&self, world: &World, how: i32) -> Outcome {
        if !(0..=2).contains(&how) {
            return Outcome::Errno(libc::EINVAL);
        }
        let mut state = lock(&self.state);
        self.start(world, &mut state);
        match &mut state.phase {
            Phase::Fresh | Phase::Over | Phase::Left => Outcome::Errno(libc::ENOTCONN),
            Phase::Connecting { .. } => Outcome::Proceed,
            // Who waits is answered when the socket is looked at.
            Phase::Asking => Outcome::from(self.socket.shutdown(std::net::Shutdown::Both).map(|()| 0)),
            Phase::Listening(listening) => {
                if how != 1 {
                    turn_away(&mut listening.children);
                    listening.ends.clear();
                    self.socket.set_taken(0);
                    // Those who wait in accept are answered when the socket is looked at.
                    let _ = self.socket.shutdown(std::net::Shutdown::Both);
                    return Outcome::Proceed;
                }
                Outcome::Value(0)
            }
            // The kernel tells the other program; the stack's end follows.
            Phase::Joined(_) => {
                if how != libc::SHUT_RD {
                    let _ = self.socket.shutdown(std::net::Shutdown::Write);
                }
                Outcome::Proceed
            }
            Phase::Meeting(_) => Outcome::Proceed,
            // The kernel tells our end, behind what was written before.
            Phase::Open(wire) => {
                wire.shut(how);
                Outcome::Proceed
            }
        }
    }

    fn send_to(&self, world: &World, task: Task, call: &Call) -> Result<i64, i32> {
        if !self.is_open() {
            let pending = matches!(self.socket.state(), TcpState::SynSent | TcpState::SynRecv);
            return Err(match self.socket.take_error() {
                0 if pending => libc::EAGAIN,
                0 => libc::EPIPE,
                error => error,
            });
        }
        let len = (call.args[2] as usize).min(1 << 20);
        let bytes = Memory::of(task.tid).bytes(call.args[1], len).map_err(|e| e.errno())?;
        let app = self.app(world, task, call.int(0))?;
        let flags = call.int(3) & libc::MSG_OOB | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        sys::send_flags(app.as_fd(), &bytes, flags).map(|n| n as i64).map_err(|e| sys::errno_of(&e))
    }
}

/// Answers a call that may wait. `end`: a copy of the program's end, if there is one already.
pub(crate) fn receive(world: &Arc<World>, notification: Notification, s: &Arc<StreamFd>, end: Option<OwnedFd>) {
    let call = notification.call;
    let caller = Caller::of(&call, end);
    lock(&s.state).last = Some((caller.task, caller.fd));
    match call.nr {
        libc::SYS_connect => s.connect(world, caller, notification),
        libc::SYS_accept | libc::SYS_accept4 => s.accept_or_wait(world, caller, notification),
        _ if reads(&call) && names(&call) => match s.recv_from(world, &caller, &call) {
            Some(result) => {
                drop(caller);
                answer(world, notification, result);
            }
            None => {
                let limit = caller.with_end(world, s.id, s.kept.as_ref(), sys::receive_timeout).ok().flatten();
                drop(caller);
                s.park(world, notification, limit, libc::EAGAIN);
            }
        },
        // The name of our end is none.
        _ => {
            drop(caller);
            syscalls::finish(world, notification, Outcome::Proceed);
        }
    }
}
