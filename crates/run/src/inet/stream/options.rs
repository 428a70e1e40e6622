//! Options of sockets with connections.

use std::os::fd::{AsFd, BorrowedFd};

use pernet::Cap;
use pernet_stack::Caller;

use super::{Phase, StreamFd};
use crate::inet::caller::TaskCaller;
use crate::inet::{common_option, option_value, refuse, write_option};
use crate::listener::Call;
use crate::mem::Memory;
use crate::sys;
use crate::syscalls::Outcome;
use crate::task::Task;
use crate::world::{World, lock};

fn int(value: &[u8]) -> Result<i32, i32> {
    value.first_chunk().map(|&b| i32::from_ne_bytes(b)).ok_or(libc::EINVAL)
}

fn truth(value: &[u8]) -> Result<bool, i32> {
    int(value).map(|number| number != 0)
}

pub(super) fn set(world: &World, task: Task, call: &Call, s: &StreamFd) -> Outcome {
    let (level, option) = (call.int(1), call.int(2));
    let value = match option_value(task, call) {
        Ok(value) => value,
        Err(e) => return Outcome::Errno(e),
    };
    let admin = || world.users.cred(task).capable(s.net.owner(), Cap::NetAdmin);
    let done = |r: Result<(), i32>| Outcome::from(r.map(|()| 0));
    // The kernel's end remembers too, and answers who asks.
    let also = |r: Result<(), i32>| r.map_or_else(Outcome::Errno, |()| Outcome::Proceed);
    match (level, option) {
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => also(truth(&value).map(|on| s.socket.set_reuse_address(on))),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => also(truth(&value).map(|on| s.socket.set_keepalive(on))),
        (libc::SOL_SOCKET, libc::SO_LINGER) => also(match (value.first_chunk(), value.get(4..8)) {
            (Some(&on), Some(&[a, b, c, d])) => {
                let seconds = u32::from_ne_bytes([a, b, c, d]);
                s.socket.set_linger((i32::from_ne_bytes(on) != 0).then_some(seconds));
                Ok(())
            }
            _ => Err(libc::EINVAL),
        }),
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => done(truth(&value).map(|on| s.socket.set_reuse_port(on))),
        (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE | libc::SO_SNDBUFFORCE) if value.len() < size_of::<i32>() => {
            Outcome::Errno(libc::EINVAL)
        }
        (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_RCVBUF) => also(s.set_buffer(option, &value, false)),
        (libc::SOL_SOCKET, libc::SO_MARK | libc::SO_RCVBUFFORCE | libc::SO_SNDBUFFORCE) if !admin() => {
            Outcome::Errno(libc::EPERM)
        }
        (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE | libc::SO_RCVBUFFORCE) => {
            done(s.force_buffer(world, task, call, &value))
        }
        (libc::SOL_SOCKET, libc::SO_MARK) => done(match value.first_chunk() {
            Some(&mark) => {
                s.socket.set_mark(u32::from_ne_bytes(mark));
                Ok(())
            }
            None => Err(libc::EINVAL),
        }),
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => {
            let device = value.split(|&b| b == 0).next().unwrap_or_default();
            let links = world.stack.links(&s.net);
            let index = match (device.is_empty(), links.and_then(|l| l.by_name(&String::from_utf8_lossy(device)))) {
                (true, _) => 0,
                (false, Some(link)) => link.index(),
                (false, None) => return Outcome::Errno(libc::ENODEV),
            };
            s.socket.set_device(index);
            Outcome::Value(0)
        }
        (libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX) => done(int(&value).and_then(|index| {
            // There need not be such a device yet.
            s.socket.set_device(u32::try_from(index).map_err(|_| libc::EINVAL)?);
            Ok(())
        })),
        (libc::SOL_SOCKET, libc::SO_PRIORITY) => done(int(&value).and_then(|priority| {
            let caller = TaskCaller { world, task, net: &s.net };
            if !(0..=6).contains(&priority) && !caller.capable(Cap::NetAdmin) && !caller.capable(Cap::NetRaw) {
                return Err(libc::EPERM);
            }
            s.socket.set_priority(priority.cast_unsigned());
            Ok(())
        })),
        (libc::SOL_SOCKET, _) => refuse(option, &value).map_or(Outcome::Proceed, Outcome::Errno),
        (libc::IPPROTO_TCP, _) => done(s.socket.set_tcp_option(option, &value)),
        (libc::SOL_IP | libc::SOL_IPV6, _) => {
            let caller = TaskCaller { world, task, net: &s.net };
            done(s.socket.set_ip_option(&caller, level, option, &value))
        }
        _ => Outcome::Errno(libc::ENOPROTOOPT),
    }
}

impl StreamFd {
    /// `SO_SNDBUF` and `SO_RCVBUF`: what waits lies in the program's end, in the stack and in ours.
    fn set_buffer(&self, option: i32, value: &[u8], force: bool) -> Result<(), i32> {
        let asked = value.first_chunk().map(|&b| i32::from_ne_bytes(b)).ok_or(libc::EINVAL)?;
        if matches!(option, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) {
            self.socket.set_send_buffer(asked, force);
            return Ok(());
        }
        self.socket.set_receive_buffer(asked, force);
        match &lock(&self.state).phase {
            Phase::Open(wire) => wire.end.get().iter().for_each(|end| self.bound(end.as_fd())),
            Phase::Meeting(meeting) => self.bound(meeting.wire.as_fd()),
            _ => {}
        }
        Ok(())
    }

    /// As that, by who may pass the administrator's limits: the kernel's end would ask for a right on the host.
    fn force_buffer(&self, world: &World, task: Task, call: &Call, value: &[u8]) -> Result<(), i32> {
        let option = call.int(2);
        self.set_buffer(option, value, true)?;
        let app = self.app(world, task, call.int(0))?;
        let asked = value.first_chunk().map_or(0, |&b| i32::from_ne_bytes(b));
        let plain = if option == libc::SO_SNDBUFFORCE { libc::SO_SNDBUF } else { libc::SO_RCVBUF };
        sys::set_socket_int(app.as_fd(), libc::SOL_SOCKET, plain, asked).map_err(|e| sys::errno_of(&e))
    }

    /// What a buffer is said to have: what was set, or what sockets are born with.
    fn buffer(&self, world: &World, option: i32) -> Option<i32> {
        let (send, receive) = self.socket.buffers();
        let (set, born) = if option == libc::SO_SNDBUF { (send, "ipv4/tcp_wmem") } else { (receive, "ipv4/tcp_rmem") };
        if let Some(bytes) = set {
            return i32::try_from(bytes).ok();
        }
        if !matches!(lock(&self.state).phase, Phase::Fresh | Phase::Listening(_)) {
            return None;
        }
        world.stack.sysctl_read(&self.net, born).ok()?.split_whitespace().nth(1)?.parse().ok()
    }

    /// Our end of a connection takes no more for the program than its socket says: a stream of AF_UNIX is bounded by who
    /// sends.
    pub(super) fn bound(&self, wire: BorrowedFd<'_>) {
        if let (_, Some(receive)) = self.socket.buffers() {
            set_native(wire, libc::SO_SNDBUF, receive);
        }
    }
}

/// Sets a buffer of a stand-in, `bytes` as the kernel shows it. One that is too large for the host's limits is as large as
/// they let it.
pub(super) fn set_native(end: BorrowedFd<'_>, option: i32, bytes: usize) {
    let _ = sys::set_socket_int(end, libc::SOL_SOCKET, option, i32::try_from(bytes / 2).unwrap_or(i32::MAX));
}

pub(super) fn get(world: &World, task: Task, call: &Call, s: &StreamFd) -> Outcome {
    if let Some(answer) = common_option(task, call, s.kind, &s.net) {
        return Outcome::from(answer);
    }
    let (level, option) = (call.int(1), call.int(2));
    let value = match (level, option) {
        (libc::SOL_SOCKET, libc::SO_ERROR) => Ok(error(world, task, call.int(0), s).to_ne_bytes().to_vec()),
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => Ok(i32::from(s.socket.reuse_port()).to_ne_bytes().to_vec()),
        (libc::SOL_SOCKET, libc::SO_MARK) => Ok(s.socket.mark().to_ne_bytes().to_vec()),
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => {
            let index = s.socket.device();
            let link = world.stack.links(&s.net).and_then(|links| links.by_index(index));
            Ok(link.map_or_else(Vec::new, |link| {
                let mut name = link.name().to_string().into_bytes();
                name.push(0);
                name
            }))
        }
        (libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX) => Ok(s.socket.device().to_ne_bytes().to_vec()),
        (libc::SOL_SOCKET, libc::SO_PRIORITY) => Ok(s.socket.priority().to_ne_bytes().to_vec()),
        (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_SNDBUF) => match s.buffer(world, option) {
            Some(bytes) => Ok(bytes.to_ne_bytes().to_vec()),
            // Of an open connection whose ends may grow as they like.
            None => return Outcome::Proceed,
        },
        (libc::SOL_SOCKET, _) => return Outcome::Proceed,
        (libc::IPPROTO_TCP, _) => s.socket.tcp_option(option),
        (libc::SOL_IP | libc::SOL_IPV6, _) => {
            let room = Memory::of(task.tid).u32(call.args[4]).map_err(|e| e.errno());
            let room = room.and_then(|room| usize::try_from(room.cast_signed()).map_err(|_| libc::EINVAL));
            room.and_then(|room| s.socket.ip_option(level, option, room))
        }
        // What level there is not depends on the family.
        _ if s.kind.domain() == libc::AF_INET6 => Err(libc::ENOPROTOOPT),
        _ => Err(libc::EOPNOTSUPP),
    };
    Outcome::from(value.and_then(|value| write_option(task, call, &value)))
}

/// The pending error. One that the program's end has, too, may have been seen there by a native call.
fn error(world: &World, task: Task, fd: i32, s: &StreamFd) -> i32 {
    let (planted, told) = {
        let mut state = lock(&s.state);
        (std::mem::take(&mut state.error), std::mem::take(&mut state.told))
    };
    if told != 0 {
        return told;
    }
    let native = s.app(world, task, fd).map_or(0, |app| sys::take_socket_error(app.as_fd()));
    match s.socket.take_error() {
        // Of the other program's end, where that is what it is joined to.
        0 if native != 0 && planted == 0 && s.is_joined() => native,
        0 if native != 0 => planted,
        error => error,
    }
}
