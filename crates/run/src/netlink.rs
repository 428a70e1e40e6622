//! A program's netlink socket: a socketpair on one side, an rtnetlink socket of the core on the other.
//!
//! What the program sends natively (`send`, `write`) arrives at our end; what it receives natively (`recv`, `read`,
//! `poll`) was put there by us.  Calls that carry an address are trapped: the kernel would tell an AF_UNIX one.
//!
//! **In order.**  A trapped call first works off what was sent natively before it, so a request and the receive behind
//! it are as synchronous as in the kernel.
//!
//! **Who sent what** a queue beside the pair knows: see [`Ledger`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pernet_rtnl::{Datagram, SockAddr, Socket};
use pernet_stack::ControlMessage;

use crate::caller::Caller;
use crate::ledger::Ledger;
use crate::listener::{Delivery, Notification};
use crate::mem::Memory;
use crate::reactor::Token;
use crate::receive::{Parked, Receive, Target, receive_flags, released};
use crate::replay::Unheard;
use crate::sys;
use crate::task::{FileId, Task};
use crate::world::{TaskClient, World, lock};

/// Unread bytes in the pair beyond which answers wait on our side: the socket's own queue decides about overrun.
const IN_FLIGHT: usize = 64 * 1024;

/// The same while a dump runs: its next part is made when an earlier one was read.
const DUMP_IN_FLIGHT: usize = 16 * 1024;

/// Level of its options and control messages, and two of the latter.
const SOL_NETLINK: i32 = 270;
const NETLINK_PKTINFO: i32 = 3;
const NETLINK_LISTEN_ALL_NSID: i32 = 8;

/// What the kernel tells about a datagram beside its bytes.
#[derive(Clone, Copy, Debug)]
struct Meta {
    from: SockAddr,
    origin_nsid: Option<i32>,
    pktinfo_group: Option<u32>,
}

impl Meta {
    fn of(d: &Datagram) -> Self {
        Self { from: d.from, origin_nsid: d.origin_nsid, pktinfo_group: d.pktinfo_group }
    }

    /// As control messages. `passcred`: those with credentials are wanted.
    fn control(self, passcred: bool) -> Vec<ControlMessage> {
        let of = |kind, data: [u8; 4]| ControlMessage { level: SOL_NETLINK, kind, data: data.to_vec() };
        let mut all = Vec::new();
        all.extend(self.pktinfo_group.map(|group| of(NETLINK_PKTINFO, group.to_ne_bytes())));
        all.extend(self.origin_nsid.map(|nsid| of(NETLINK_LISTEN_ALL_NSID, nsid.to_ne_bytes())));
        if passcred {
            // The kernel speaks as root of the initial namespace, with no process behind it.
            let data = vec![0; size_of::<libc::ucred>()];
            all.push(ControlMessage { level: libc::SOL_SOCKET, kind: libc::SCM_CREDENTIALS, data });
        }
        all
    }
}

struct State {
    sent: Ledger<Meta>,
    held_back: Option<Datagram>,
    error: Option<i32>,
    largest_receive: usize,
    parked: Vec<Parked>,
    /// The main loop is told when the program takes something: more waits for it on our side.
    departures: bool,
}

/// A netlink socket of a program.
pub(crate) struct NetlinkFd {
    /// The program's end.
    id: FileId,
    /// The socket in the emulated system.
    pub(crate) socket: Socket,
    /// SOCK_RAW or SOCK_DGRAM, as the program asked.
    pub(crate) ty: i32,
    supervisor: OwnedFd,
    /// Our copy of the program's end, where descriptors cannot be fetched when needed.
    kept: Option<OwnedFd>,
    /// It is on the ready list, and nobody has looked since.
    listed: Arc<AtomicBool>,
    /// First in the lock order: the run's and the core's locks are taken inside it.
    state: Mutex<State>,
}

impl NetlinkFd {
    /// Joins the two sides.
    pub(crate) fn new(id: FileId, socket: Socket, ty: i32, supervisor: OwnedFd, kept: Option<OwnedFd>) -> Self {
        let state = State {
            sent: Ledger::default(),
            held_back: None,
            error: None,
            largest_receive: 0,
            parked: Vec::new(),
            departures: false,
        };
        Self { id, socket, ty, supervisor, kept, listed: Arc::default(), state: Mutex::new(state) }
    }

    /// Our end, for registration.
    pub(crate) fn supervisor_end(&self) -> BorrowedFd<'_> {
        self.supervisor.as_fd()
    }

    /// For [`crate::sockets::Sockets::notifier`].
    pub(crate) fn listed(&self) -> Arc<AtomicBool> {
        self.listed.clone()
    }

    /// The end of this socket must be looked for.
    pub(crate) fn keeps_app_end(&self) -> bool {
        self.kept.is_some()
    }

    /// Moves what can be moved, both ways, and serves those who wait.
    pub(crate) fn pump(&self, world: &World) {
        let mut state = lock(&self.state);
        self.requests(world);
        self.fill(world, &mut state);
        self.serve_parked(world, &mut state);
    }

    /// The same, unless somebody has looked since the socket was put on the ready list: mostly its own call has.
    pub(crate) fn pump_listed(&self, world: &World) {
        if self.listed.load(Ordering::Acquire) {
            self.pump(world);
        }
    }

    fn requests(&self, world: &World) {
        // Mostly nothing is there, and then nothing is allocated: this look comes with every trapped call.
        while let Ok(waiting) = rustix::io::ioctl_fionread(&self.supervisor)
            && waiting > 0
        {
            let mut buffer = vec![0; waiting as usize];
            let Ok((n, pid)) = sys::recv_with_sender(self.supervisor.as_fd(), &mut buffer) else { break };
            // What a closed socket held, a group for instance, is not to be told of.
            world.sockets.sweep_soon();
            let client = TaskClient { world, task: Task::new(pid) };
            // A native send has returned already: its caller can only learn of a refusal from an answer.
            let _ = self.socket.send(&buffer[..n], None, &client);
        }
    }

    /// Puts what came for the program where it can take it natively.
    fn fill(&self, world: &World, state: &mut State) {
        // Before the look: of what comes after it we are told anew.
        self.listed.store(false, Ordering::Release);
        let more_waits = self.fill_up(state);
        // Wanted always, they would wake the main loop at each receive, to find nothing to do, and in the way of the next.
        if more_waits != state.departures {
            let token = Token::Socket(self.id.ino);
            if world.reactor.departures(self.supervisor.as_fd(), token, more_waits).is_ok() {
                state.departures = more_waits;
            }
        }
    }

    /// As much as may be in flight.  True if there is more.
    fn fill_up(&self, state: &mut State) -> bool {
        while state.held_back.is_some() || self.socket.readable() {
            let unread = state.sent.forget_read(self.supervisor_end());
            // One at a time where the socket's own queue must tell an overrun; of a dump a little ahead, so that who reads
            // without waiting finds the next part.
            let limit = match (self.socket.is_subscribed(), self.socket.dump_running()) {
                (true, _) => 0,
                (_, true) => DUMP_IN_FLIGHT,
                _ => IN_FLIGHT,
            };
            if unread > limit {
                return true;
            }
            let datagram = match state.held_back.take() {
                Some(d) => d,
                None => match self.socket.recv(state.largest_receive) {
                    Ok(Some(d)) => d,
                    Ok(None) => return false,
                    Err(e) => {
                        state.error = Some(e.errno().get());
                        continue;
                    }
                },
            };
            if sys::send_datagram(self.supervisor.as_fd(), &datagram.bytes).is_err() {
                state.held_back = Some(datagram);
                return true;
            }
            state.sent.note(self.supervisor_end(), unread, datagram.bytes.len(), Meta::of(&datagram));
        }
        false
    }

    fn serve_parked(&self, world: &World, state: &mut State) {
        let parked = std::mem::take(&mut state.parked);
        if parked.is_empty() {
            return;
        }
        for p in parked {
            if !p.notification.is_valid() {
                drop(p); // its caller left; the drop's answer reaches nobody
                continue;
            }
            let task = Task::new(p.notification.call.tid);
            let caller = Caller::of(&p.notification.call, None);
            let flags = receive_flags(&p.notification.call);
            match self.receive_now(world, state, &caller, p.receive, flags) {
                Ok(Some(n)) => self.hand_over(world, state, p.notification, Ok(n)),
                Err(e) => self.hand_over(world, state, p.notification, Err(e)),
                Ok(None) => match released(world, task, p.deadline) {
                    Some(e) => self.hand_over(world, state, p.notification, Err(e)),
                    None => state.parked.push(p),
                },
            }
        }
        // What they took made room.
        self.fill(world, state);
    }

    /// Does somebody wait whom only the clock, or a look, can release?
    pub(crate) fn has_watched(&self, world: &World) -> bool {
        lock(&self.state).parked.iter().any(|p| world.killable || p.deadline.is_some())
    }

    /// The program's last descriptor is gone: whoever still waits on it is answered.
    pub(crate) fn close(&self, world: &World) {
        for p in std::mem::take(&mut lock(&self.state).parked) {
            answer(world, p.notification, Err(libc::EBADF));
        }
    }

    /// A trapped send: in order behind what was sent natively.
    ///
    /// # Errors
    /// errno as the kernel's.
    pub(crate) fn send(&self, world: &World, task: Task, bytes: &[u8], to: Option<SockAddr>) -> Result<usize, i32> {
        let mut state = lock(&self.state);
        self.requests(world);
        world.sockets.sweep_soon();
        let client = TaskClient { world, task };
        let r = self.socket.send(bytes, to, &client).map_err(|e| e.errno().get());
        self.fill(world, &mut state);
        self.serve_parked(world, &mut state);
        r
    }

    /// A trapped receive.  It answers at once, or is parked until something comes.  `end`: a copy of the program's end, if
    /// there is one; it is closed before the answer, after which the program may expect its own to be the last.
    pub(crate) fn receive(&self, world: &World, notification: Notification, receive: Receive, end: Option<OwnedFd>) {
        let caller = Caller::of(&notification.call, end);
        let flags = receive_flags(&notification.call);
        if flags & libc::MSG_OOB != 0 {
            return answer(world, notification, Err(libc::EOPNOTSUPP));
        }
        let mut state = lock(&self.state);
        self.requests(world);
        self.fill(world, &mut state);
        let result = match self.receive_now(world, &mut state, &caller, receive, flags) {
            Ok(None) if flags & libc::MSG_DONTWAIT != 0 || caller.is_nonblocking() => Err(libc::EAGAIN),
            Ok(None) => {
                let deadline = self.with_app_end(world, &caller, sys::receive_timeout).ok().flatten();
                let deadline = deadline.map(|d| Instant::now() + d);
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
        self.hand_over(world, &mut state, notification, result);
        self.serve_parked(world, &mut state);
    }

    /// Answers a receive.  What a signal kept from its caller goes back into the queue, in its old place: the call may be
    /// repeated or not, and the next one may be a native one.
    ///
    /// The answer is given under the socket's lock: nobody may receive between the answer and the putting back.
    fn hand_over(&self, world: &World, state: &mut State, n: Notification, result: Result<i64, i32>) {
        let caller = Caller::of(&n.call, None);
        if state.sent.is_lost(deliver(n, result)) {
            let _ = self.with_app_end(world, &caller, |app| state.sent.take_rest(app));
            state.sent.put_back(self.supervisor_end());
        }
    }

    fn with_app_end<T>(&self, world: &World, caller: &Caller, f: impl FnOnce(BorrowedFd<'_>) -> T) -> Result<T, i32> {
        caller.with_end(world, self.id, self.kept.as_ref(), f)
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

    /// One datagram, if there is one: taken from the program's own end, written where the program wants it.
    fn receive_one(
        &self,
        world: &World,
        state: &mut State,
        caller: &Caller,
        receive: Receive,
        flags: i32,
    ) -> Result<Option<i64>, i32> {
        let memory = Memory::of(caller.task.tid);
        let target = Target::read(memory, receive)?;
        state.largest_receive = state.largest_receive.max(target.room);
        // An overrun is told before what is queued.
        if let Some(e) = state.error.take().or_else(|| self.socket.take_error().map(|e| e.errno().get())) {
            return Err(e);
        }
        if state.sent.forget_read(self.supervisor_end()) == 0 {
            self.fill(world, state);
            if let Some(e) = state.error.take() {
                return Err(e);
            }
        }
        let Some((&meta, len)) = state.sent.front() else {
            return Ok(None);
        };
        let peek = flags & libc::MSG_PEEK != 0;
        // Whole, where it may have to be put back.
        let may_return = !world.killable && !peek;
        let mut buffer = vec![0; if may_return { len } else { target.room.min(len) }];
        let (got, passcred) = self.with_app_end(world, caller, |app| {
            (sys::recv_datagram(app, &mut buffer, peek), rustix::net::sockopt::socket_passcred(app).unwrap_or(false))
        })?;
        let whole = match got {
            Ok(n) => n,
            // Another thread of the program took it natively just now.
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => return Ok(None),
            Err(e) => return Err(sys::errno_of(&e)),
        };
        if may_return {
            state.sent.took(meta, buffer.clone());
        }
        buffer.truncate(whole.min(target.room));
        let cut = if whole > target.room { libc::MSG_TRUNC } else { 0 };
        target.write(memory, &buffer, &sockaddr_nl(meta.from), &meta.control(passcred), cut)?;
        let returned = if flags & libc::MSG_TRUNC != 0 { whole } else { buffer.len() };
        Ok(Some(returned as i64))
    }
}

/// Answers, and tells whether the caller heard.
pub(crate) fn deliver(n: Notification, result: Result<i64, i32>) -> Delivery {
    match result {
        Ok(v) => n.value(v),
        Err(e) => n.errno(e),
    }
}

/// Answers.  Where signals interrupt a waiting call, an answer that was not heard must not be lost: the call may be
/// repeated, and must not be acted upon twice.
///
/// The lock is held while the answer is sent, and that is the point: the repeated call, on another worker, finds the
/// answer kept, and the next call of one that has heard finds none.
pub(crate) fn answer(world: &World, n: Notification, result: Result<i64, i32>) {
    if world.killable {
        deliver(n, result);
        return;
    }
    let call = n.call;
    let unheard = match result {
        Ok(v) => Unheard::Value(v),
        Err(e) => Unheard::Errno(e),
    };
    let mut replay = lock(&world.replay);
    if deliver(n, result) == Delivery::Interrupted {
        replay.keep(&call, unheard);
    }
}

/// The kernel's `sockaddr_nl`.
pub(crate) fn sockaddr_nl(a: SockAddr) -> [u8; 12] {
    let mut raw = [0; 12];
    raw[..2].copy_from_slice(&(libc::AF_NETLINK as u16).to_ne_bytes());
    raw[4..8].copy_from_slice(&a.portid.to_ne_bytes());
    raw[8..].copy_from_slice(&a.groups.to_ne_bytes());
    raw
}

/// Reads a `sockaddr_nl`.
///
/// # Errors
/// EINVAL if it is too short or of another family.
pub(crate) fn parse_sockaddr_nl(raw: &[u8]) -> Result<SockAddr, i32> {
    let Some(raw) = raw.first_chunk::<12>() else {
        return Err(libc::EINVAL);
    };
    let word = |i: usize| u32::from_ne_bytes([raw[i], raw[i + 1], raw[i + 2], raw[i + 3]]);
    if i32::from(u16::from_ne_bytes([raw[0], raw[1]])) != libc::AF_NETLINK {
        return Err(libc::EINVAL);
    }
    Ok(SockAddr { portid: word(4), groups: word(8) })
}
