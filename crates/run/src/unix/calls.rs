//! Calls that say, or are told, names that are not paths.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pernet::NetRef;
use pernet_stack::ControlMessage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_timeout, socket_type};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, UCred, acceptfrom_with, bind, connect, getpeername,
    getsockname, recvmsg, sendmsg_addr,
};

use super::peers::claimed;
use crate::inet::{address, send_many, write_name};
use crate::listener::{Call, Notification};
use crate::mem::Memory;
use crate::msghdr::MsgHeader;
use crate::reactor::Token;
use crate::receive::{Receive, Target, receive_flags, released};
use crate::sys;
use crate::syscalls::{Outcome, finish};
use crate::task::Task;
use crate::world::{World, lock};

const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// More descriptors than that no message carries (`SCM_MAX_FD`).
const MOST_DESCRIPTORS: usize = 253;
/// The shortest time that can be waited: what would wait longer comes back.
const AT_ONCE: Duration = Duration::from_micros(1);

/// What becomes of a call.
enum Attempt {
    /// It has nothing to do with such names: it is the kernel's.
    Native,
    /// So it ends.
    Done(Outcome),
    /// It waits for what happens to this socket.
    Wait(OwnedFd),
}

/// What a call waits for: something to happen to this socket, which is of this namespace.
#[derive(Debug)]
pub(crate) struct Waiting {
    socket: OwnedFd,
    net: NetRef,
}

/// A call that waits.
pub(crate) struct Parked {
    notification: Notification,
    net: NetRef,
    deadline: Option<Instant>,
}

/// The socket's namespace: where we made it, else the run's first.
fn net_of(world: &World, known: Option<NetRef>) -> Option<NetRef> {
    known.or_else(|| {
        let spaces = lock(&world.spaces);
        spaces.net(spaces.first())
    })
}

/// A name that is not a path, without the zero that it begins with.
fn abstract_name(raw: &[u8]) -> Option<&[u8]> {
    let (family, rest) = raw.split_first_chunk()?;
    let named = i32::from(u16::from_ne_bytes(*family)) == libc::AF_UNIX;
    rest.strip_prefix(b"\0").filter(|_| named)
}

/// Does a call that is no receive.  `None`: the kernel runs it.  `known`: where the socket was made, if we made it.
pub(crate) fn try_call(world: &World, task: Task, call: &Call, known: Option<NetRef>) -> Option<Outcome> {
    let says = match call.nr {
        libc::SYS_bind | libc::SYS_connect | libc::SYS_sendmsg | libc::SYS_sendmmsg => true,
        libc::SYS_sendto => call.args[4] != 0,
        libc::SYS_getsockname | libc::SYS_getpeername => world.unix.any(),
        libc::SYS_accept | libc::SYS_accept4 => call.args[1] != 0 && world.unix.any(),
        _ => false,
    };
    let net = says.then(|| net_of(world, known)).flatten()?;
    match (Caller { world, task, call, net: &net }).attempt() {
        Ok(Attempt::Done(outcome)) => Some(outcome),
        Ok(Attempt::Native) => None,
        Ok(Attempt::Wait(_)) if task.is_nonblocking(call.int(0)) => Some(Outcome::Errno(libc::EAGAIN)),
        Ok(Attempt::Wait(socket)) => Some(Outcome::Wait(Waiting { socket, net })),
        Err(e) => Some(Outcome::Errno(e)),
    }
}

/// Does a receive, now or when there is something.
///
/// # Errors
/// The call, which the kernel is to run.
pub(crate) fn receive(
    world: &Arc<World>,
    notification: Notification,
    known: Option<NetRef>,
) -> Result<(), Notification> {
    let call = notification.call;
    let task = Task::new(call.tid);
    let Some(net) = world.unix.any().then(|| net_of(world, known)).flatten() else { return Err(notification) };
    let outcome = match (Caller { world, task, call: &call, net: &net }).receive(&notification) {
        Ok(Attempt::Native) => return Err(notification),
        Ok(Attempt::Done(outcome)) => outcome,
        Ok(Attempt::Wait(_)) if task.is_nonblocking(call.int(0)) => Outcome::Errno(libc::EAGAIN),
        Ok(Attempt::Wait(socket)) => Outcome::Wait(Waiting { socket, net }),
        Err(e) => Outcome::Errno(e),
    };
    finish(world, notification, outcome);
    Ok(())
}

/// The call waits from now on.
pub(crate) fn park(world: &World, notification: Notification, waiting: Waiting) {
    let Waiting { socket, net } = waiting;
    let sends = matches!(notification.call.nr, libc::SYS_connect | libc::SYS_sendto | libc::SYS_sendmsg);
    let limit = if sends { sys::send_timeout(socket.as_fd()) } else { sys::receive_timeout(socket.as_fd()) };
    let deadline = limit.map(|limit| Instant::now() + limit);
    // What comes is told at once; all else is found by looking. (The copy is closed here: the kernel keeps the note as long
    // as the program has its own, and a second one is refused, which is well.)
    let _ = world.reactor.arrivals(&socket, Token::Wake);
    lock(&world.unix.parked).push(Parked { notification, net, deadline });
    world.reactor.wake();
}

/// Does any call wait?
pub(crate) fn has_parked(world: &World) -> bool {
    !lock(&world.unix.parked).is_empty()
}

/// Looks at all calls that wait.
pub(crate) fn serve_parked(world: &Arc<World>) {
    // Not in the loop's head: there the lock would be held throughout, and who waits on is put back.
    let parked = std::mem::take(&mut *lock(&world.unix.parked));
    for parked in parked {
        let Parked { notification, net, deadline } = parked;
        if !notification.is_valid() {
            continue; // its caller left; the drop's answer reaches nobody
        }
        let call = notification.call;
        let task = Task::new(call.tid);
        let outcome = match (Caller { world, task, call: &call, net: &net }).again(&notification) {
            Ok(Attempt::Native) => Outcome::Proceed,
            Ok(Attempt::Done(outcome)) => outcome,
            Err(e) => Outcome::Errno(e),
            Ok(Attempt::Wait(_)) => match released(world, task, deadline) {
                Some(e) => Outcome::Errno(e),
                None => {
                    lock(&world.unix.parked).push(Parked { notification, net, deadline });
                    continue;
                }
            },
        };
        finish(world, notification, outcome);
    }
}

/// A call on an AF_UNIX socket.
struct Caller<'w> {
    world: &'w World,
    task: Task,
    call: &'w Call,
    /// The socket's.
    net: &'w NetRef,
}

impl Caller<'_> {
    /// A copy of the descriptor; `None` where the machine refuses such copies: then names are the host's.
    fn copy(&self) -> Result<Option<OwnedFd>, i32> {
        match self.world.copy_any_fd(self.task, self.call.int(0)) {
            Ok(copy) => Ok(Some(copy)),
            Err(libc::EPERM) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What the kernel is told of a name.
    fn outside(&self, name: &[u8]) -> Result<SocketAddrUnix, i32> {
        SocketAddrUnix::new_abstract_name(&self.world.unix.outside(self.net, name)).map_err(Errno::raw_os_error)
    }

    /// What the program is told of an address.
    fn inside(&self, addr: Option<&SocketAddrAny>) -> Vec<u8> {
        let Some(addr) = addr else { return Vec::new() };
        let family = (libc::AF_UNIX as u16).to_ne_bytes();
        let Some(unix) = named(addr) else { return family.to_vec() };
        match (unix.abstract_name(), unix.path_bytes()) {
            (Some(name), _) => {
                let name = self.world.unix.inside(name).unwrap_or_else(|| name.to_vec());
                [&family[..], &[0], &name].concat()
            }
            (None, Some(path)) => [&family[..], path, &[0]].concat(),
            (None, None) => family.to_vec(),
        }
    }

    /// Of any but receives.
    fn attempt(&self) -> Result<Attempt, i32> {
        match self.call.nr {
            libc::SYS_bind => self.bind(),
            libc::SYS_connect => self.connect(),
            libc::SYS_accept | libc::SYS_accept4 => self.accept(),
            libc::SYS_getsockname | libc::SYS_getpeername => self.name(),
            libc::SYS_sendto | libc::SYS_sendmsg => self.send(),
            libc::SYS_sendmmsg => self.send_many(),
            _ => Ok(Attempt::Native),
        }
    }

    /// Of one that waited.
    fn again(&self, notification: &Notification) -> Result<Attempt, i32> {
        match self.call.nr {
            libc::SYS_recvfrom | libc::SYS_recvmsg => self.receive(notification),
            _ => self.attempt(),
        }
    }

    fn said(&self) -> Option<Vec<u8>> {
        address(self.task, self.call.args[1], self.call.int(2)).ok()
    }

    fn bind(&self) -> Result<Attempt, i32> {
        let Some(raw) = self.said() else { return Ok(Attempt::Native) };
        let asks_for_any = raw == (libc::AF_UNIX as u16).to_ne_bytes();
        let name = abstract_name(&raw);
        if name.is_none() && !asks_for_any {
            return Ok(Attempt::Native);
        }
        let Some(socket) = self.copy()? else { return Ok(Attempt::Native) };
        if let Some(name) = name {
            bind(&socket, &self.outside(name)?).map_err(Errno::raw_os_error)?;
        } else {
            let named = getsockname(&socket).map_err(Errno::raw_os_error)?;
            if self::named(&named).is_some() {
                // It keeps its name.
                return Ok(Attempt::Native);
            }
            loop {
                match bind(&socket, &self.outside(self.world.unix.give().as_bytes())?) {
                    Err(Errno::ADDRINUSE) => {}
                    result => break result.map_err(Errno::raw_os_error)?,
                }
            }
        }
        self.world.unix.taken();
        Ok(Attempt::Done(Outcome::Value(0)))
    }

    fn name(&self) -> Result<Attempt, i32> {
        let Some(socket) = self.copy()? else { return Ok(Attempt::Native) };
        let own = self.call.nr == libc::SYS_getsockname;
        let Ok(name) =
            (if own { getsockname(&socket) } else { getpeername(&socket).map(|n| n.unwrap_or_else(no_name)) })
        else {
            return Ok(Attempt::Native);
        };
        match named(&name).as_ref().and_then(SocketAddrUnix::abstract_name) {
            Some(_) => Ok(Attempt::Done(Outcome::from(write_name(self.task, self.call, &self.inside(Some(&name)))))),
            None => Ok(Attempt::Native),
        }
    }

    fn connect(&self) -> Result<Attempt, i32> {
        let Some(raw) = self.said() else { return Ok(Attempt::Native) };
        let Some(name) = abstract_name(&raw) else { return Ok(Attempt::Native) };
        let Some(socket) = self.copy()? else { return Ok(Attempt::Native) };
        let to = self.outside(name)?;
        let connect = || at_once(&socket, Timeout::Send, || connect(&socket, &to));
        match self.world.unix.peers.connecting(&socket, self.task, connect) {
            Ok(()) => Ok(Attempt::Done(Outcome::Value(0))),
            // Too many wait there.
            Err(Errno::AGAIN) => Ok(Attempt::Wait(socket)),
            Err(e) => Err(e.raw_os_error()),
        }
    }

    fn accept(&self) -> Result<Attempt, i32> {
        let Some(socket) = self.copy()? else { return Ok(Attempt::Native) };
        let flags = if self.call.nr == libc::SYS_accept4 { self.call.int(3) } else { 0 };
        let mut fds = [PollFd::new(&socket, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if ready.is_ok_and(|n| n == 0) {
            return Ok(Attempt::Wait(socket));
        }
        let with = SocketFlags::CLOEXEC
            | if flags & libc::SOCK_NONBLOCK == 0 { SocketFlags::empty() } else { SocketFlags::NONBLOCK };
        match at_once(&socket, Timeout::Recv, || acceptfrom_with(&socket, with)) {
            Ok((accepted, from)) => {
                let name = self.inside(from.as_ref());
                let family = (libc::AF_UNIX as u16).to_ne_bytes();
                let name = if name.is_empty() { family.to_vec() } else { name };
                let memory = Memory::of(self.task.tid);
                memory.write_sized(self.call.args[1], self.call.args[2], &name).map_err(|e| e.errno())?;
                Ok(Attempt::Done(Outcome::Fd(accepted, flags & libc::SOCK_CLOEXEC != 0)))
            }
            Err(Errno::AGAIN) => Ok(Attempt::Wait(socket)),
            Err(_) => Ok(Attempt::Native),
        }
    }

    fn send(&self) -> Result<Attempt, i32> {
        let call = self.call;
        let memory = Memory::of(self.task.tid);
        let (sent, flags) = if call.nr == libc::SYS_sendto {
            let Ok(raw) = address(self.task, call.args[4], call.int(5)) else { return Ok(Attempt::Native) };
            let Some(name) = abstract_name(&raw) else { return Ok(Attempt::Native) };
            let Some(socket) = self.copy()? else { return Ok(Attempt::Native) };
            let bytes = memory.bytes(call.args[1], call.args[2] as usize).map_err(|e| e.errno())?;
            let from = claimed(self.task, &[])?;
            ((self.put(&socket, name, &bytes, &[], from, call.int(3)), socket), call.int(3))
        } else {
            let Some((result, socket)) = self.send_message(call.args[1], call.int(2))? else {
                return Ok(Attempt::Native);
            };
            ((result, socket), call.int(2))
        };
        match sent {
            (Ok(n), _) => Ok(Attempt::Done(Outcome::Value(n))),
            (Err(libc::EAGAIN), socket) if flags & libc::MSG_DONTWAIT == 0 => Ok(Attempt::Wait(socket)),
            (Err(e), _) => Err(e),
        }
    }

    /// `sendmsg` of the message with this header; `None` if it is not for such a name.
    #[allow(clippy::type_complexity, reason = "what was sent, and the socket, if any")]
    fn send_message(&self, header: u64, flags: i32) -> Result<Option<(Result<i64, i32>, OwnedFd)>, i32> {
        let memory = Memory::of(self.task.tid);
        let header = MsgHeader::read(memory, header)?;
        if header.name == 0 || header.name_len == 0 {
            return Ok(None);
        }
        let Ok(raw) = address(self.task, header.name, header.name_len as i32) else { return Ok(None) };
        let Some(name) = abstract_name(&raw) else { return Ok(None) };
        let Some(socket) = self.copy()? else { return Ok(None) };
        let mut passed = Vec::new();
        let messages = crate::inet::control::read(memory, &header)?;
        for message in messages.iter().filter(|message| message.level == libc::SOL_SOCKET) {
            match message.kind {
                SCM_RIGHTS => {
                    for &number in message.data.as_chunks::<4>().0 {
                        passed.push(self.world.copy_any_fd(self.task, i32::from_ne_bytes(number))?);
                    }
                }
                SCM_CREDENTIALS => {}
                _ => return Err(libc::EINVAL),
            }
        }
        let from = claimed(self.task, &messages)?;
        let bytes = header.gather(memory)?;
        let result = self.put(&socket, name, &bytes, &passed, from, flags);
        Ok(Some((result, socket)))
    }

    fn send_many(&self) -> Result<Attempt, i32> {
        let flags = self.call.int(3);
        let first = self.send_message(self.call.args[1], flags)?;
        let Some((first, _socket)) = first else { return Ok(Attempt::Native) };
        let mut first = Some(first);
        let result = send_many(self.task, self.call, |header| match first.take() {
            Some(result) => result,
            None => self.send_message(header, flags)?.map_or(Err(libc::EINVAL), |(result, _)| result),
        });
        Ok(Attempt::Done(Outcome::from(result)))
    }

    /// Sends a message in the name of `from`, as far as the kernel lets us: in another's only who may do anything.
    fn put(
        &self,
        socket: &OwnedFd,
        name: &[u8],
        bytes: &[u8],
        passed: &[OwnedFd],
        from: Option<UCred>,
        flags: i32,
    ) -> Result<i64, i32> {
        let to = self.outside(name)?;
        let fds: Vec<_> = passed.iter().map(AsFd::as_fd).collect();
        let flags = SendFlags::from_bits_retain(flags as u32) | SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let send = |from: Option<UCred>| {
            let room = rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS), ScmCredentials(1));
            let mut space = vec![MaybeUninit::uninit(); room];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(Errno::INVAL);
            }
            if from.is_some_and(|from| !control.push(SendAncillaryMessage::ScmCredentials(from))) {
                return Err(Errno::INVAL);
            }
            sendmsg_addr(socket, &to, &[IoSlice::new(bytes)], &mut control, flags)
        };
        let sent = match send(from) {
            Err(Errno::PERM) if from.is_some() => send(None),
            sent => sent,
        };
        sent.map(|n| n as i64).map_err(Errno::raw_os_error)
    }

    /// A receive that wants to know from whom.
    fn receive(&self, notification: &Notification) -> Result<Attempt, i32> {
        let memory = Memory::of(self.task.tid);
        let place = Receive::of(self.call);
        let asks = match place {
            Receive::From { name, .. } => name != 0,
            Receive::Msg { header } => MsgHeader::read(memory, header)?.name != 0,
            Receive::Many { .. } => false,
        };
        if !asks {
            return Ok(Attempt::Native);
        }
        let Some(socket) = self.copy()? else { return Ok(Attempt::Native) };
        if socket_type(&socket) != Ok(SocketType::DGRAM) {
            return Ok(Attempt::Native);
        }
        let target = Target::read(memory, place)?;
        let flags = receive_flags(&notification.call);
        let mut space =
            vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = vec![0; target.room.min(1 << 20)];
        let with = RecvFlags::from_bits_retain(flags as u32) | RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let got = match recvmsg(&socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, with) {
            Ok(got) => got,
            Err(Errno::AGAIN) if flags & libc::MSG_DONTWAIT == 0 => return Ok(Attempt::Wait(socket)),
            Err(e) => return Err(e.raw_os_error()),
        };
        let messages = hand_over(notification, &mut control, flags & libc::MSG_CMSG_CLOEXEC != 0);
        let whole = got.bytes;
        let bytes = &buffer[..whole.min(buffer.len())];
        let cut = if whole > bytes.len() { libc::MSG_TRUNC } else { 0 };
        target.write(memory, bytes, &self.inside(got.address.as_ref()), &messages, cut)?;
        let returned = if flags & libc::MSG_TRUNC != 0 { whole } else { bytes.len() };
        Ok(Attempt::Done(Outcome::Value(returned as i64)))
    }
}

/// The name in an address, if there is one.
fn named(addr: &SocketAddrAny) -> Option<SocketAddrUnix> {
    /// Of the family alone, and of the longest path with its end.
    const LENGTHS: std::ops::RangeInclusive<usize> = 3..=110;
    LENGTHS.contains(&(addr.addr_len() as usize)).then(|| SocketAddrUnix::try_from(addr.clone()).ok()).flatten()
}

/// Nobody's name.
fn no_name() -> SocketAddrAny {
    SocketAddrUnix::new_unnamed().into()
}

/// Does what may wait, and does not: there is no flag for it, but a limit, which is the open file's and put back.
fn at_once<T>(socket: &OwnedFd, which: Timeout, f: impl FnOnce() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    let before = socket_timeout(socket, which)?;
    set_socket_timeout(socket, which, Some(AT_ONCE))?;
    let result = f();
    let _ = set_socket_timeout(socket, which, before);
    result
}

/// Control messages as the program gets them: descriptors are put into its table.
fn hand_over(notification: &Notification, control: &mut RecvAncillaryBuffer<'_>, cloexec: bool) -> Vec<ControlMessage> {
    let mut messages = Vec::new();
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(fds) => {
                let numbers = fds.filter_map(|fd| notification.add_fd(fd.as_fd(), None, cloexec).ok());
                let data: Vec<u8> = numbers.flat_map(i32::to_ne_bytes).collect();
                messages.push(ControlMessage { level: libc::SOL_SOCKET, kind: SCM_RIGHTS, data });
            }
            RecvAncillaryMessage::ScmCredentials(who) => {
                let words = [who.pid.as_raw_nonzero().get() as u32, who.uid.as_raw(), who.gid.as_raw()];
                let data = words.map(u32::to_ne_bytes).concat();
                messages.push(ControlMessage { level: libc::SOL_SOCKET, kind: SCM_CREDENTIALS, data });
            }
            _ => {}
        }
    }
    messages
}
