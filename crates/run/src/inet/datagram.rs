//! Sockets without connections: UDP, ping, raw.
//!
//! The program has one end of a pair of AF_UNIX datagram sockets, a [`Core`] of the stack is behind the other.  What the
//! program sends natively arrives at our end, and goes where the socket is connected to; what comes for it is put into the
//! pair, so that native receives, `poll` and the rest are the kernel's.  Calls with addresses or control data are trapped.
//!
//! **In order.**  A trapped call first works off what was sent natively before it.
//! **Who sent what** a queue beside the pair knows: see [`Ledger`].
//!
//! **The end.**  Nobody reports that the program closed its end.  It is looked for from time to time, and before a port
//! is refused; and what is put into the pair when the program's end is gone is refused by the kernel: then the socket is
//! closed and the packet comes in once more, so that its sender hears the truth.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pernet::{Cred, NetRef};
use pernet_stack::ControlMessage;

use super::caller::{TaskCaller, read_program};
use super::core::{Beside, Core, Incoming};
use super::ring::RingFile;
use super::{Family, Kind, common_option, control, keep, option_value, refuse, send_many, write_name};
use crate::ledger::Ledger;
use crate::listener::{Call, Notification};
use crate::mem::Memory;
use crate::msghdr::MsgHeader;
use crate::netlink::{answer, deliver};
use crate::reactor::Token;
use crate::receive::{Parked, Receive, Target, receive_flags, released};
use crate::sockets::{Emulated, datagram_pair};
use crate::sys;
use crate::syscalls::Outcome;
use crate::task::{FileId, Task};
use crate::world::{World, lock};

const MSG_ERRQUEUE: i32 = 0x2000;
/// net.core.rmem_max, doubled.
const LARGEST_BUFFER: usize = 2 * 4_194_304;
/// More than the longest datagram of any of these kinds: what is longer is refused, and need not be read to its end.
const LONGEST: usize = 1 << 17;
/// Options of level SOL_SOCKET that the stand-in has of its own: it answers what they are.
const NATIVE_TOO: [i32; 8] = [
    libc::SO_REUSEADDR,
    libc::SO_BROADCAST,
    libc::SO_DONTROUTE,
    libc::SO_RCVBUF,
    libc::SO_SNDBUF,
    libc::SO_TIMESTAMP,
    libc::SO_TIMESTAMPNS,
    libc::SO_RXQ_OVFL,
];

/// What is known of a datagram in the pair.
#[derive(Clone)]
pub(super) struct Sent {
    beside: Beside,
    /// What Linux would have for it, of those that are listed.
    pub(super) memory: usize,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) sent: Ledger<Sent>,
    pub(super) held_back: Option<Incoming>,
    parked: Vec<Parked>,
    /// Who made the last trapped call, and by which descriptor: so the program's end can be had.
    pub(super) last: Option<(Task, i32)>,
    /// The program's end shows an error.
    pub(super) raised: bool,
    /// When it shall.
    pub(super) show_at: Option<Instant>,
    /// Since when the program's end shows that there is something in a ring.
    pub(super) ring_shown: Option<Instant>,
    /// Since when there is nothing in it any more, if not for long.
    pub(super) ring_emptied: Option<Instant>,
}

/// Such a socket.
pub(crate) struct DatagramFd {
    id: FileId,
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it was made: it stays there whatever its owner does.
    pub(crate) net: NetRef,
    /// The socket in the emulated system.
    pub(crate) core: Core,
    supervisor: OwnedFd,
    /// Our copy of the program's end, where descriptors cannot be fetched when needed.
    kept: Option<OwnedFd>,
    /// What its rings are made of. A leaf lock.
    pub(super) ring_file: Mutex<Option<Arc<RingFile>>>,
    /// First in the lock order: the stack's locks are taken inside it.
    pub(super) state: Mutex<State>,
}

/// A fresh one: what goes to the program.
///
/// # Errors
/// errno of making the pair.
pub(crate) fn open(world: &World, cred: &Cred, kind: Kind, net: NetRef, nonblocking: bool) -> Result<OwnedFd, i32> {
    let pair = datagram_pair(nonblocking)?;
    let kept = keep(world, &pair.app)?;
    let core = Core::new(world, kind, net.clone(), cred.euid.0)?;
    let fd = Arc::new(DatagramFd {
        id: pair.id,
        kind,
        net,
        core,
        supervisor: pair.supervisor,
        kept,
        ring_file: Mutex::default(),
        state: Mutex::default(),
    });
    fd.show_outside();
    fd.core.set_inode(pair.id.ino);
    fd.core.on_ready(world.sockets.alarm(pair.id, world.reactor.clone()));
    world.sockets.insert_silent(pair.id, Emulated::Datagram(fd.clone()), &pair.app, &world.reactor)?;
    world.reactor.edges(&fd.supervisor, Token::Socket(pair.id.ino)).map_err(|e| sys::errno_of(&e))?;
    Ok(pair.app)
}

/// Answers a call that does not wait.
pub(crate) fn handle(world: &World, task: Task, call: &Call, s: &DatagramFd) -> Outcome {
    s.called(world, task, call.int(0));
    s.pump(world);
    let result = match call.nr {
        libc::SYS_setsockopt => return s.setsockopt(world, task, call),
        libc::SYS_getsockopt => match s.getsockopt(task, call) {
            // The stand-in was told, and knows.
            Err(libc::ENOPROTOOPT) if call.int(1) == libc::SOL_SOCKET => return Outcome::Proceed,
            result => result,
        },
        _ => s.call(world, task, call),
    };
    // What it caused elsewhere is moved by the caller; what came back to this very socket is moved here.
    s.pump(world);
    Outcome::from(result)
}

/// Answers a receiving call, now or when something came.
pub(crate) fn receive(world: &World, notification: Notification, s: &DatagramFd) {
    let call = notification.call;
    let place = Receive::of(&call);
    s.receive(world, notification, place);
}

impl DatagramFd {
    /// What the program's end is.
    pub(super) fn id(&self) -> FileId {
        self.id
    }

    /// The end that the program does not have.
    pub(super) fn supervisor_end(&self) -> BorrowedFd<'_> {
        self.supervisor.as_fd()
    }

    fn caller<'w>(&'w self, world: &'w World, task: Task) -> TaskCaller<'w> {
        TaskCaller { world, task, net: &self.net }
    }

    /// Our copy of the program's end, if we keep one.
    pub(crate) fn kept(&self) -> Option<BorrowedFd<'_>> {
        self.kept.as_ref().map(AsFd::as_fd)
    }

    fn call(&self, world: &World, task: Task, call: &Call) -> Result<i64, i32> {
        let done = |r: Result<(), i32>| r.map(|()| 0);
        match call.nr {
            libc::SYS_bind => {
                let raw = super::address(task, call.args[1], call.int(2))?;
                done(self.bind(world, task, &raw))
            }
            libc::SYS_connect => {
                let raw = super::address(task, call.args[1], call.int(2))?;
                done(self.core.connect(&raw, &self.caller(world, task)))
            }
            libc::SYS_getsockname => write_name(task, call, &self.core.local_name()),
            libc::SYS_getpeername => write_name(task, call, &self.core.peer_name()?),
            libc::SYS_shutdown => {
                let result = self.core.shutdown(call.int(1));
                if result.is_ok() || result == Err(libc::ENOTCONN) {
                    // The program's own end, so that its native receives end.
                    let _ = self.with_app_end(world, task, call.int(0), |app| sys::shutdown(app, call.int(1)));
                }
                done(result)
            }
            libc::SYS_sendto => {
                let len = (call.args[2] as usize).min(LONGEST);
                let to = match call.args[4] {
                    0 => None,
                    at => Some(super::address(task, at, call.int(5))?),
                };
                let bytes = Memory::of(task.tid).bytes(call.args[1], len).map_err(|e| e.errno())?;
                self.send(world, task, &bytes, to.as_deref(), &[], call.int(3))
            }
            libc::SYS_sendmsg => self.sendmsg(world, task, call.args[1], call.int(2)),
            libc::SYS_sendmmsg => send_many(task, call, |header| self.sendmsg(world, task, header, call.int(3))),
            // listen, accept
            _ => Err(libc::EOPNOTSUPP),
        }
    }

    fn bind(&self, world: &World, task: Task, raw: &[u8]) -> Result<(), i32> {
        let caller = self.caller(world, task);
        let mut result = self.core.bind(raw, &caller);
        for _ in 0..3 {
            if result != Err(libc::EADDRINUSE) {
                break;
            }
            // The holder may have been closed: that is only seen by looking.
            world.sockets.sweep(1);
            result = self.core.bind(raw, &caller);
            if result == Err(libc::EADDRINUSE) {
                // A socket that we have just handed over is open here for some microseconds more.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        result
    }

    fn sendmsg(&self, world: &World, task: Task, header: u64, flags: i32) -> Result<i64, i32> {
        let memory = Memory::of(task.tid);
        let header = MsgHeader::read(memory, header)?;
        let to = if header.name != 0 && header.name_len != 0 {
            Some(super::address(task, header.name, header.name_len as i32)?)
        } else {
            None
        };
        let control = control::read(memory, &header)?;
        let bytes = header.gather_first(memory, LONGEST)?;
        self.send(world, task, &bytes, to.as_deref(), &control, flags)
    }

    fn send(
        &self,
        world: &World,
        task: Task,
        bytes: &[u8],
        to: Option<&[u8]>,
        control: &[ControlMessage],
        flags: i32,
    ) -> Result<i64, i32> {
        self.core.send(bytes, to, control, flags, &self.caller(world, task)).map(|n| n as i64)
    }

    fn getsockopt(&self, task: Task, call: &Call) -> Result<i64, i32> {
        if let Some(answer) = common_option(task, call, self.kind, &self.net) {
            return answer;
        }
        let memory = Memory::of(task.tid);
        let room = memory.u32(call.args[4]).map_err(|e| e.errno())?;
        let room = usize::try_from(room.cast_signed()).map_err(|_| libc::EINVAL)?;
        // Of one option what is asked for stands where the answer goes.
        let given = memory.bytes(call.args[3], room.min(4)).unwrap_or_default();
        let value = self.core.option(call.int(1), call.int(2), room, &given)?;
        memory.write_sized(call.args[3], call.args[4], &value).map_err(|e| e.errno())?;
        Ok(0)
    }

    fn setsockopt(&self, world: &World, task: Task, call: &Call) -> Outcome {
        let (level, name) = (call.int(1), call.int(2));
        let value = match option_value(task, call) {
            Ok(value) => value,
            Err(e) => return Outcome::Errno(e),
        };
        if level == libc::SOL_SOCKET
            && let Some(errno) = refuse(name, &value)
        {
            return Outcome::Errno(errno);
        }
        if level == libc::SOL_SOCKET
            && let Some(result) = self.filter(task, name, &value)
        {
            return Outcome::from(result.map(|()| 0));
        }
        if (level, name) == (libc::SOL_SOCKET, libc::SO_RCVBUF)
            && let Some(bytes) = value.first_chunk()
        {
            let bytes = usize::try_from(i32::from_ne_bytes(*bytes)).unwrap_or(0);
            self.core.set_receive_buffer(bytes.saturating_mul(2).min(LARGEST_BUFFER));
        }
        if level == libc::SOL_PACKET
            && let Err(e) = self.prepare_ring(world, task, name)
        {
            return Outcome::Errno(e);
        }
        match self.core.set_option(level, name, &value, &self.caller(world, task)) {
            Ok(()) if level == libc::SOL_SOCKET && NATIVE_TOO.contains(&name) => Outcome::Proceed,
            Err(libc::ENOPROTOOPT) if level == libc::SOL_SOCKET => Outcome::Proceed,
            result => Outcome::from(result.map(|()| 0)),
        }
    }

    /// SO_ATTACH_FILTER and SO_DETACH_FILTER, where the stand-in's filter would not see what the socket's does.
    fn filter(&self, task: Task, name: i32, value: &[u8]) -> Option<Result<(), i32>> {
        if name == libc::SO_DETACH_FILTER {
            return self.core.set_filter(None);
        }
        if name != libc::SO_ATTACH_FILTER || self.kind.family != Family::Packet {
            return None;
        }
        self.core.set_filter(Some(&match read_program(task, value) {
            Ok(program) => program,
            Err(e) => return Some(Err(e)),
        }))
    }

    /// Moves what can be moved, both ways, and serves those who wait.
    pub(crate) fn pump(&self, world: &World) {
        let mut state = lock(&self.state);
        self.requests();
        self.fill(world, &mut state);
        self.show_ring(world, &mut state);
        self.serve_parked(world, &mut state);
        self.show_error(world, &mut state);
    }

    /// What the program sent natively goes to the peer.
    fn requests(&self) {
        while let Ok(len) = sys::recv_datagram(self.supervisor.as_fd(), &mut [], true) {
            let mut bytes = vec![0; len];
            let Ok(got) = sys::recv_datagram(self.supervisor.as_fd(), &mut bytes, false) else { break };
            bytes.truncate(got);
            self.core.send_untold(&bytes);
        }
    }

    fn fill(&self, world: &World, state: &mut State) {
        loop {
            let unread = state.sent.forget_read(self.supervisor_end());
            let Some(packet) = state.held_back.take().or_else(|| self.core.next()) else { return };
            match sys::send_datagram(self.supervisor.as_fd(), packet.bytes()) {
                Ok(()) => {
                    let (beside, len) = packet.beside();
                    let memory = Core::memory(&packet);
                    state.sent.note(self.supervisor_end(), unread, len, Sent { beside, memory });
                }
                Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => {
                    state.held_back = Some(packet);
                    return;
                }
                Err(e) if matches!(e.raw_os_error(), Some(libc::ECONNREFUSED | libc::ENOTCONN | libc::ECONNRESET)) => {
                    drop(world.sockets.remove(self.id));
                    self.core.close_before(packet);
                    return;
                }
                // It does not want to receive any more.
                Err(_) => {}
            }
        }
    }

    fn serve_parked(&self, world: &World, state: &mut State) {
        let parked = std::mem::take(&mut state.parked);
        for p in parked {
            if !p.notification.is_valid() {
                drop(p); // its caller left; the drop's answer reaches nobody
                continue;
            }
            let task = Task::new(p.notification.call.tid);
            let flags = receive_flags(&p.notification);
            match self.receive_now(world, state, task, p.notification.call.int(0), p.receive, flags) {
                Ok(Some(n)) => self.hand_over(world, state, p.notification, Ok(n)),
                Err(e) => self.hand_over(world, state, p.notification, Err(e)),
                Ok(None) => match released(world, task, p.deadline) {
                    Some(e) => self.hand_over(world, state, p.notification, Err(e)),
                    None => state.parked.push(p),
                },
            }
        }
    }

    /// Does somebody wait whom only the clock, or a look, can release?
    pub(crate) fn has_watched(&self, world: &World) -> bool {
        let state = lock(&self.state);
        state.show_at.is_some()
            || state.ring_shown.is_some()
            || state.ring_emptied.is_some()
            || state.parked.iter().any(|p| world.killable || p.deadline.is_some())
    }

    /// A trapped receive.  It answers at once, or is parked until something comes.
    fn receive(&self, world: &World, notification: Notification, receive: Receive) {
        let task = Task::new(notification.call.tid);
        let fd = notification.call.int(0);
        let flags = receive_flags(&notification);
        let mut state = lock(&self.state);
        state.last = Some((task, fd));
        self.requests();
        self.fill(world, &mut state);
        if flags & MSG_ERRQUEUE != 0 {
            let result = self.receive_error(task, receive);
            self.show_error(world, &mut state);
            drop(state);
            return answer(world, notification, result);
        }
        let result = match self.receive_now(world, &mut state, task, fd, receive, flags) {
            Ok(None) if flags & libc::MSG_DONTWAIT != 0 || task.is_nonblocking(fd) => Err(libc::EAGAIN),
            Ok(None) => {
                let deadline = self.with_app_end(world, task, fd, sys::receive_timeout).ok().flatten();
                let deadline = deadline.map(|d| Instant::now() + d);
                state.parked.push(Parked { notification, receive, deadline });
                if world.killable || deadline.is_some() {
                    world.sockets.watch(self.id);
                    world.reactor.wake();
                }
                return;
            }
            Ok(Some(n)) => Ok(n),
            Err(e) => Err(e),
        };
        self.fill(world, &mut state);
        self.hand_over(world, &mut state, notification, result);
    }

    /// Answers a receive.  What a signal kept from its caller goes back into the pair, in its old place.
    ///
    /// The answer is given under the socket's lock: nobody may receive between the answer and the putting back.
    fn hand_over(&self, world: &World, state: &mut State, n: Notification, result: Result<i64, i32>) {
        let (task, fd) = (Task::new(n.call.tid), n.call.int(0));
        if state.sent.is_lost(deliver(n, result)) {
            let _ = self.with_app_end(world, task, fd, |app| state.sent.take_rest(app));
            state.sent.put_back(self.supervisor_end());
        }
    }

    pub(super) fn with_app_end<T>(
        &self,
        world: &World,
        task: Task,
        fd: i32,
        f: impl FnOnce(BorrowedFd<'_>) -> T,
    ) -> Result<T, i32> {
        match &self.kept {
            Some(kept) => Ok(f(kept.as_fd())),
            None => {
                let copy = world.copy_fd(task, fd, self.id)?;
                Ok(f(copy.as_fd()))
            }
        }
    }

    /// What is there now, one datagram or as many as asked for.
    fn receive_now(
        &self,
        world: &World,
        state: &mut State,
        task: Task,
        fd: i32,
        receive: Receive,
        flags: i32,
    ) -> Result<Option<i64>, i32> {
        state.sent.begin();
        receive.each(Memory::of(task.tid), |one| self.receive_one(world, state, task, fd, one, flags))
    }

    /// One datagram, if there is one: taken from the program's own end, written where the program wants it.
    fn receive_one(
        &self,
        world: &World,
        state: &mut State,
        task: Task,
        fd: i32,
        receive: Receive,
        flags: i32,
    ) -> Result<Option<i64>, i32> {
        let memory = Memory::of(task.tid);
        if state.raised {
            let _ = self.with_app_end(world, task, fd, |app| self.was_told(app, state));
        }
        if let Some(error) = self.core.take_error() {
            return Err(error);
        }
        let target = Target::read(memory, receive)?;
        if state.sent.forget_read(self.supervisor_end()) == 0 {
            self.fill(world, state);
        }
        let Some((sent, len)) = state.sent.front() else {
            return Ok(self.core.no_more_in().then_some(0));
        };
        let sent = sent.clone();
        let beside = &sent.beside;
        let peek = flags & libc::MSG_PEEK != 0;
        // Whole, where it may have to be put back.
        let may_return = !world.killable && !peek;
        let mut buffer = vec![0; if may_return { len } else { target.room.min(len) }];
        let whole = match self.with_app_end(world, task, fd, |app| sys::recv_datagram(app, &mut buffer, peek))? {
            Ok(n) => n,
            // Another thread of the program took it natively just now, or a filter of the program's kept it out.
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => return Ok(None),
            Err(e) => return Err(sys::errno_of(&e)),
        };
        if may_return {
            state.sent.took(sent.clone(), buffer.clone());
        }
        buffer.truncate(whole.min(target.room));
        let name = beside.name();
        let whole = beside.whole(whole);
        let cut = if whole > target.room { libc::MSG_TRUNC } else { 0 };
        target.write(memory, &buffer, &name, &self.core.control(beside), cut)?;
        let returned = if flags & libc::MSG_TRUNC != 0 { whole } else { buffer.len() };
        Ok(Some(returned as i64))
    }

    /// An error out of the queue: never waited for.
    fn receive_error(&self, task: Task, receive: Receive) -> Result<i64, i32> {
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
