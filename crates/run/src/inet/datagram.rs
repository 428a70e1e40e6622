//! Sockets without connections: UDP, ping, raw.
//!
//! The program has one end of a pair of AF_UNIX datagram sockets, a [`Core`] of the stack is behind the other.  What the
//! program sends natively arrives at our end, and goes where the socket is connected to; what comes for it is put into the
//! pair, so that native receives, `poll` and the rest are the kernel's.  Calls with addresses or control data are trapped.
//!
//! **In order.**  A trapped call first works off what was sent natively before it, if anything can have been.
//!
//! **By itself.**  A receive that finds the pair empty takes its packet from the socket of the stack; nothing is put into the
//! pair to be taken out again.  Nobody is overtaken: what is in the pair came first.  Native receives, `poll` and filters
//! of the program's own see the pair only; so what no receive waits for goes there.
//!
//! **Who sent what** a queue beside the pair knows: see [`Ledger`].
//!
//! **The end.**  Nobody reports that the program closed its end.  It is looked for from time to time, and before a port
//! is refused; and what is put into the pair when the program's end is gone is refused by the kernel: then the socket is
//! closed and the packet comes in once more, so that its sender hears the truth.

mod options;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pernet::NetRef;
use pernet_stack::ControlMessage;

use super::caller::TaskCaller;
use super::core::{Beside, Core, Incoming};
use super::ring::{Hint, RingFile};
use super::{Kind, control, keep, send_many, write_name};
use crate::caller::Caller;
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

pub(super) const MSG_ERRQUEUE: i32 = 0x2000;
/// More than the longest datagram of any of these kinds: what is longer is refused, and need not be read to its end.
const LONGEST: usize = 1 << 17;
/// What is known of a datagram in the pair.
#[derive(Clone)]
pub(super) struct Sent {
    beside: Beside,
    /// What Linux would have for it, of those that are listed.
    pub(super) memory: usize,
}

thread_local! {
    static BUFFER: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
}

#[derive(Default)]
pub(super) struct State {
    pub(super) sent: Ledger<Sent>,
    pub(super) held_back: Option<Incoming>,
    parked: Vec<Parked>,
    /// Answers to be given when the lock is let go.
    answers: Vec<(Notification, Result<i64, i32>)>,
    /// Who made the last trapped call, and by which descriptor: so the program's end can be had.
    pub(super) last: Option<(Task, i32)>,
    /// The program's end shows an error.
    pub(super) raised: bool,
    /// What it sent last came by a trapped call, which meets no error that is shown.
    pub(super) sends_trapped: bool,
    /// When it shall.
    pub(super) show_at: Option<Instant>,
    /// What `poll` hears of its ring.
    pub(super) ring_hint: Hint,
    /// The main loop is told when the program takes something: more waits for it on our side.
    departures: bool,
    /// The program's end has a filter, which the kernel applies to what is put into the pair.
    filtered: bool,
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
pub(crate) fn open(world: &World, uid: u32, kind: Kind, net: NetRef, nonblocking: bool) -> Result<OwnedFd, i32> {
    let pair = datagram_pair(nonblocking)?;
    let kept = keep(world, &pair.app)?;
    let core = Core::new(world, kind, net.clone(), uid)?;
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
    fd.make_room();
    fd.core.set_inode(pair.id.ino);
    fd.core.on_ready(world.sockets.alarm(pair.id, world.reactor.clone()));
    world.sockets.insert_silent(pair.id, Emulated::Datagram(fd.clone()), &pair.app, &world.reactor)?;
    world.reactor.arrivals(&fd.supervisor, Token::Socket(pair.id.ino)).map_err(|e| sys::errno_of(&e))?;
    Ok(pair.app)
}

/// Lets the lock go, and gives the answers that waited for that.
fn give_answers(mut state: MutexGuard<'_, State>) {
    let answers = std::mem::take(&mut state.answers);
    drop(state);
    for (notification, result) in answers {
        deliver(notification, result);
    }
}

/// Answers a call that does not wait.  `end`: a copy of the program's end, if there is one already.
pub(crate) fn handle(world: &World, call: &Call, s: &DatagramFd, end: Option<OwnedFd>) -> Outcome {
    let caller = Caller::of(call, end);
    s.called(world, &caller);
    let sends = matches!(call.nr, libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg);
    // Before a send that is all there is to do, and not even that where nothing can have been sent natively: what a socket
    // sends that is connected nowhere goes nowhere, whoever finds it.
    if !sends {
        s.pump(world);
    } else if s.core.sends_untold() {
        let mut state = lock(&s.state);
        s.requests(&mut state);
        state.sends_trapped = true;
    }
    let result = match call.nr {
        libc::SYS_setsockopt => return s.setsockopt(world, &caller, call),
        libc::SYS_getsockopt => match s.getsockopt(caller.task, call) {
            // The stand-in was told, and knows.
            Err(libc::ENOPROTOOPT) if call.int(1) == libc::SOL_SOCKET => return Outcome::Proceed,
            result => result,
        },
        _ => s.call(world, &caller, call),
    };
    // What it caused elsewhere is moved by the caller; what came back to this very socket is moved here.
    if !sends || s.has_come(&lock(&s.state)) {
        s.came(world);
    }
    Outcome::from(result)
}

/// Answers a receiving call, now or when something came.
pub(crate) fn receive(world: &World, notification: Notification, s: &DatagramFd, end: Option<OwnedFd>) {
    let place = Receive::of(&notification.call);
    s.receive(world, notification, place, end);
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

    fn privileges<'w>(&'w self, world: &'w World, task: Task) -> TaskCaller<'w> {
        TaskCaller { world, task, net: &self.net }
    }

    /// Our copy of the program's end, if we keep one.
    pub(crate) fn kept(&self) -> Option<BorrowedFd<'_>> {
        self.kept.as_ref().map(AsFd::as_fd)
    }

    fn call(&self, world: &World, caller: &Caller, call: &Call) -> Result<i64, i32> {
        let task = caller.task;
        let done = |r: Result<(), i32>| r.map(|()| 0);
        match call.nr {
            libc::SYS_bind => {
                let raw = super::address(task, call.args[1], call.int(2))?;
                done(self.bind(world, task, &raw))
            }
            libc::SYS_connect => {
                let raw = super::address(task, call.args[1], call.int(2))?;
                done(self.core.connect(&raw))
            }
            libc::SYS_getsockname => write_name(task, call, &self.core.local_name()),
            libc::SYS_getpeername => write_name(task, call, &self.core.peer_name()?),
            libc::SYS_shutdown => {
                let result = self.core.shutdown(call.int(1));
                if result.is_ok() || result == Err(libc::ENOTCONN) {
                    // The program's own end, so that its native receives end.
                    let _ = self.with_app_end(world, caller, |app| sys::shutdown(app, call.int(1)));
                }
                done(result)
            }
            libc::SYS_sendto => {
                let len = (call.args[2] as usize).min(LONGEST);
                let (to, bytes) = super::address_and_bytes(task, (call.args[4], call.int(5)), (call.args[1], len))?;
                self.send(world, task, &bytes, to.as_deref(), &[], call.int(3))
            }
            libc::SYS_sendmsg => self.sendmsg(world, task, call.args[1], call.int(2)),
            libc::SYS_sendmmsg => send_many(task, call, |header| self.sendmsg(world, task, header, call.int(3))),
            // listen, accept
            _ => Err(libc::EOPNOTSUPP),
        }
    }

    fn bind(&self, world: &World, task: Task, raw: &[u8]) -> Result<(), i32> {
        let caller = self.privileges(world, task);
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
        self.core.send(bytes, to, control, flags, &self.privileges(world, task)).map(|n| n as i64)
    }

    /// Moves what can be moved, both ways, and serves those who wait.
    pub(crate) fn pump(&self, world: &World) {
        self.pump_or_look(world, false);
    }

    /// The same, and looks whether those who wait may still.
    pub(crate) fn look(&self, world: &World) {
        self.pump_or_look(world, true);
    }

    fn pump_or_look(&self, world: &World, look: bool) {
        let mut state = lock(&self.state);
        self.requests(&mut state);
        self.inward(world, &mut state, look);
        give_answers(state);
    }

    /// A packet came, or an error: it is moved.
    pub(crate) fn came(&self, world: &World) {
        let mut state = lock(&self.state);
        self.inward(world, &mut state, false);
        give_answers(state);
    }

    fn inward(&self, world: &World, state: &mut State, look: bool) {
        self.show_ring(world, state);
        // They come before the pair.
        self.serve_parked(world, state, look);
        self.fill(world, state);
        self.show_error(world, state);
    }

    /// Is there something for those who wait, as far as can be told without looking into the pair?
    fn has_come(&self, state: &State) -> bool {
        !state.sent.is_empty() || state.held_back.is_some() || self.core.is_ready()
    }

    /// Lets the pair hold all that may wait for the program: what it receives natively comes from there alone. Around a
    /// packet AF_UNIX has no more than as much again, which the kernel adds to what is asked for.
    pub(super) fn make_room(&self) {
        let bytes = self.core.option(libc::SOL_SOCKET, libc::SO_RCVBUF, size_of::<i32>(), &[]).unwrap_or_default();
        if let Some(&bytes) = bytes.first_chunk() {
            // As much as the host lets us have; and the longest packet, however little is to wait.
            let bytes = i32::from_ne_bytes(bytes).max(LONGEST as i32);
            let _ = sys::set_socket_int(self.supervisor.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, bytes);
        }
    }

    /// What the program sent natively goes to the peer.
    fn requests(&self, state: &mut State) {
        // Not held while the stack sends: whoever it calls may come back here, for another socket.
        let mut buffer = BUFFER.take();
        buffer.resize(LONGEST, 0);
        while let Ok(len) = sys::recv_datagram(self.supervisor.as_fd(), &mut buffer, false) {
            state.sends_trapped = false;
            self.core.send_untold(&buffer[..len.min(LONGEST)]);
        }
        BUFFER.set(buffer);
    }

    /// Puts what came into the pair, as much as there is room for.
    fn fill(&self, world: &World, state: &mut State) {
        let more_waits = self.fill_up(world, state);
        // Wanted always, they would wake the main loop at each receive, to find nothing to do, and in the way of the next.
        // Asking looks at once, so nothing is missed.
        let token = Token::Socket(self.id.ino);
        if more_waits != state.departures
            && world.reactor.departures(self.supervisor.as_fd(), token, more_waits).is_ok()
        {
            state.departures = more_waits;
        }
    }

    /// True if there is more than fits.
    fn fill_up(&self, world: &World, state: &mut State) -> bool {
        while let Some(packet) = state.held_back.take().or_else(|| self.core.next()) {
            let unread = state.sent.forget_read(self.supervisor_end());
            match sys::send_datagram(self.supervisor.as_fd(), packet.bytes()) {
                Ok(()) => {
                    let (beside, len) = packet.beside();
                    let memory = Core::memory(&packet);
                    state.sent.note(self.supervisor_end(), unread, len, Sent { beside, memory });
                }
                Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => {
                    state.held_back = Some(packet);
                    return true;
                }
                Err(e) if matches!(e.raw_os_error(), Some(libc::ECONNREFUSED | libc::ENOTCONN | libc::ECONNRESET)) => {
                    drop(world.sockets.remove(self.id));
                    self.core.close_before(packet);
                    return false;
                }
                // It does not want to receive any more.
                Err(_) => {}
            }
        }
        false
    }

    /// Answers those for whom there is something; who waits in vain is found by looking.
    fn serve_parked(&self, world: &World, state: &mut State, look: bool) {
        if state.parked.is_empty() || !look && !self.has_come(state) {
            return;
        }
        let parked = std::mem::take(&mut state.parked);
        for p in parked {
            // Its number may be another's by now, whose memory is not to be written.
            if !p.notification.is_valid() {
                drop(p); // its caller left; the drop's answer reaches nobody
                continue;
            }
            let caller = Caller::of(&p.notification.call, None);
            let flags = receive_flags(&p.notification.call);
            match self.receive_now(world, state, &caller, p.receive, flags) {
                Ok(Some(n)) => self.hand_over(world, state, p.notification, Ok(n)),
                Err(e) => self.hand_over(world, state, p.notification, Err(e)),
                Ok(None) => match look.then(|| released(world, caller.task, p.deadline)).flatten() {
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
            || state.ring_hint.is_watched()
            || state.parked.iter().any(|p| world.killable || p.deadline.is_some())
    }

    /// A trapped receive.  It answers at once, or is parked until something comes.
    fn receive(&self, world: &World, notification: Notification, receive: Receive, end: Option<OwnedFd>) {
        let caller = Caller::of(&notification.call, end);
        let flags = receive_flags(&notification.call);
        let mut state = lock(&self.state);
        state.last = Some((caller.task, caller.fd));
        if self.core.sends_untold() {
            self.requests(&mut state);
        }
        if flags & MSG_ERRQUEUE != 0 {
            self.fill(world, &mut state);
            let result = self.receive_error(caller.task, receive);
            self.show_error(world, &mut state);
            drop((state, caller));
            return answer(world, notification, result);
        }
        let result = match self.receive_now(world, &mut state, &caller, receive, flags) {
            Ok(None) if flags & libc::MSG_DONTWAIT != 0 || caller.is_nonblocking() => Err(libc::EAGAIN),
            Ok(None) => {
                let deadline = self.with_app_end(world, &caller, sys::receive_timeout).ok().flatten();
                let deadline = deadline.map(|d| Instant::now() + d);
                // A thread waits in one call at a time: an earlier one of its was interrupted.
                state.parked.retain(|p| p.notification.call.tid != caller.task.tid);
                state.parked.push(Parked { notification, receive, deadline });
                if world.killable || deadline.is_some() {
                    world.sockets.watch(self.id, &world.reactor);
                }
                return;
            }
            Ok(Some(n)) => Ok(n),
            Err(e) => Err(e),
        };
        self.fill(world, &mut state);
        drop(caller);
        if self.core.has_only_times() {
            // Taken back for the receive, which meets no error.
            self.show_error(world, &mut state);
        }
        self.hand_over(world, &mut state, notification, result);
        give_answers(state);
    }

    /// Answers a receive.  What a signal kept from its caller goes back into the pair, in its old place: there the answer is
    /// given under the socket's lock, because nobody may receive between the answer and the putting back.
    ///
    /// Where only a fatal signal comes between, nothing is put back, as the kernel would not; and the answer waits for the
    /// lock to be let go: who has it calls again at once, and another thread of ours that serves that would find it locked.
    fn hand_over(&self, world: &World, state: &mut State, n: Notification, result: Result<i64, i32>) {
        if world.killable {
            state.answers.push((n, result));
            return;
        }
        let caller = Caller::of(&n.call, None);
        if state.sent.is_lost(deliver(n, result)) {
            let _ = self.with_app_end(world, &caller, |app| state.sent.take_rest(app));
            state.sent.put_back(self.supervisor_end());
        }
    }

    pub(super) fn with_app_end<T>(
        &self,
        world: &World,
        caller: &Caller,
        f: impl FnOnce(BorrowedFd<'_>) -> T,
    ) -> Result<T, i32> {
        caller.with_end(world, self.id, self.kept.as_ref(), f)
    }

    /// As [`Self::with_app_end`], by the descriptor of an earlier call.
    pub(super) fn with_last_end<T>(
        &self,
        world: &World,
        (task, fd): (Task, i32),
        f: impl FnOnce(BorrowedFd<'_>) -> T,
    ) -> Result<T, i32> {
        match &self.kept {
            Some(kept) => Ok(f(kept.as_fd())),
            None => Ok(f(world.copy_fd(task, fd, self.id)?.as_fd())),
        }
    }

    /// What is there now, one datagram or as many as asked for.
    fn receive_now(
        &self,
        world: &World,
        state: &mut State,
        caller: &Caller,
        receive: Receive,
        flags: i32,
    ) -> Result<Option<i64>, i32> {
        state.sent.begin();
        receive.each(Memory::of(caller.task.tid), |one| self.receive_one(world, state, caller, one, flags))
    }

    /// One datagram, if there is one, written where the program wants it.
    fn receive_one(
        &self,
        world: &World,
        state: &mut State,
        caller: &Caller,
        receive: Receive,
        flags: i32,
    ) -> Result<Option<i64>, i32> {
        let memory = Memory::of(caller.task.tid);
        if state.raised {
            let _ = self.with_app_end(world, caller, |app| self.was_told(app, state));
        }
        if let Some(error) = self.core.take_error() {
            return Err(error);
        }
        let target = Target::read(memory, receive)?;
        let peek = flags & libc::MSG_PEEK != 0;
        if state.sent.forget_read(self.supervisor_end()) == 0 && (peek || state.filtered) {
            self.fill(world, state);
        }
        // Whole, where it may have to be put back.
        let may_return = !world.killable && !peek;
        let (sent, bytes, len) = if let Some((sent, len)) = state.sent.front() {
            let sent = sent.clone();
            let mut buffer = vec![0; if may_return { len } else { target.room.min(len) }];
            match self.with_app_end(world, caller, |app| sys::recv_datagram(app, &mut buffer, peek))? {
                Ok(whole) => (sent, buffer, whole),
                // Another thread of the program took it natively just now, or a filter of the program's kept it out.
                Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => return Ok(None),
                Err(e) => return Err(sys::errno_of(&e)),
            }
        } else if peek || state.filtered {
            return Ok(self.core.no_more_in().then_some(0));
        } else if let Some(packet) = state.held_back.take().or_else(|| self.core.next()) {
            let (beside, len) = packet.beside();
            (Sent { beside, memory: Core::memory(&packet) }, packet.into_bytes(), len)
        } else {
            return Ok(self.core.no_more_in().then_some(0));
        };
        let (name, whole) = (sent.beside.name(), sent.beside.whole(len));
        let cut = if whole > target.room { libc::MSG_TRUNC } else { 0 };
        let given = &bytes[..bytes.len().min(target.room)];
        let got = given.len();
        let written = target.write(memory, given, &name, &self.core.control(&sent.beside), cut);
        if may_return {
            state.sent.took(sent, bytes);
        }
        written?;
        Ok(Some(if flags & libc::MSG_TRUNC != 0 { whole } else { got } as i64))
    }
}
