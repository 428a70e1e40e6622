//! Socket calls.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use pernet::Cap;
use pernet_rtnl::Protocol;

use super::Outcome;
use crate::bpf::SO_NETNS_COOKIE;
use crate::control::{self, ControlFd};
use crate::inet::{InetFd, Kind};
use crate::listener::{Call, Notification};
use crate::mem::Memory;
use crate::msghdr::{LARGEST_MESSAGE, MsgHeader};
use crate::netlink::{NetlinkFd, Receive, parse_sockaddr_nl, sockaddr_nl};
use crate::reactor::Token;
use crate::sockets::{Emulated, Pair, lone_socket, message_pair, unix_of};
use crate::sys;
use crate::task::Task;
use crate::world::{TaskClient, World, lock};

const SOL_NETLINK: i32 = 270;
/// Types of sockets are numbered below this.
const SOCK_MAX: i32 = 11;
/// The longest address of any family.
const ADDRESS_MAX: usize = 128;
/// Options longer than this no family has.
const OPTION_MAX: usize = 4096;

/// May this call wait for something?
pub(crate) fn may_wait(nr: i64) -> bool {
    matches!(nr, libc::SYS_recvmsg | libc::SYS_recvfrom | libc::SYS_recvmmsg)
}

/// Answers a call that does not wait.
pub(crate) fn handle(world: &World, call: &Call) -> Outcome {
    use libc::*;
    let task = Task::new(call.tid);
    if call.nr == SYS_socket {
        return self::socket(world, task, call);
    }
    let Some(emulated) = world.sockets.find(task, call.int(0)) else {
        return native(world, task, call);
    };
    if let (Emulated::Inet(i), SYS_accept | SYS_accept4) = (&emulated, call.nr) {
        // A listener's own stand-in waits; nobody can connect to it.
        return if i.kind.ty == SOCK_STREAM { Outcome::Proceed } else { Outcome::Errno(EOPNOTSUPP) };
    }
    let result = match (&emulated, call.nr) {
        (Emulated::Unix(_), _) => return native(world, task, call),
        // A file, not a socket, as far as its program goes.
        (Emulated::Tun(_), _) => Err(libc::ENOTSOCK),
        (_, SYS_getsockopt) => self::getsockopt(world, task, call, &emulated),
        (_, SYS_setsockopt) => return self::setsockopt(world, task, call, &emulated),
        (Emulated::Netlink(n), _) => on_netlink(world, task, call, n),
        (Emulated::Inet(i), _) => on_inet(world, task, call, i),
        (Emulated::Control(_), _) => return Outcome::Proceed,
    };
    Outcome::from(result)
}

/// A socket that is really the kernel's: AF_UNIX.  Two questions about it are about the namespace.
fn native(world: &World, task: Task, call: &Call) -> Outcome {
    if call.nr == libc::SYS_getsockopt && (call.int(1), call.int(2)) == (libc::SOL_SOCKET, SO_NETNS_COOKIE) {
        let is_socket = task.fd_link(call.int(0)).is_some_and(|l| l.to_string_lossy().starts_with("socket:"));
        let made_in = match world.sockets.find(task, call.int(0)) {
            Some(Emulated::Unix(net)) => Ok(net),
            _ => world.net_of(task),
        };
        if is_socket && let Ok(net) = made_in {
            return Outcome::from(cookie(task, call, net.cookie().get()));
        }
    }
    Outcome::Proceed
}

fn cookie(task: Task, call: &Call, cookie: u64) -> Result<i64, i32> {
    let memory = Memory::of(task.tid);
    if memory.u32(call.args[4]).map_err(|e| e.errno())? != 8 {
        return Err(libc::EINVAL);
    }
    memory.write_sized(call.args[3], call.args[4], &cookie.to_ne_bytes()).map_err(|e| e.errno())?;
    Ok(0)
}

fn socket(world: &World, task: Task, call: &Call) -> Outcome {
    let (domain, ty, protocol) = (call.int(0), call.int(1), call.int(2));
    let flags = ty & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    let ty = ty & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    let nonblocking = flags & libc::SOCK_NONBLOCK != 0;
    if !(0..SOCK_MAX).contains(&ty) {
        return Outcome::Errno(libc::EINVAL);
    }
    let made = match domain {
        libc::AF_UNIX => match unix_socket(world, task, ty, protocol, nonblocking) {
            Ok(Some(fd)) => Ok(fd),
            Ok(None) => return Outcome::Proceed,
            Err(e) => Err(e),
        },
        libc::AF_NETLINK if protocol == control::PROTOCOL && ty == libc::SOCK_SEQPACKET => {
            control_socket(world, nonblocking)
        }
        libc::AF_NETLINK => netlink_socket(world, task, ty, protocol, nonblocking),
        _ => inet_socket(world, task, domain, ty, protocol, nonblocking),
    };
    match made {
        Ok(fd) => Outcome::Fd(fd, flags & libc::SOCK_CLOEXEC != 0),
        Err(e) => Outcome::Errno(e),
    }
}

/// Where descriptors cannot be fetched from a program when needed, a copy is kept.
fn keep(world: &World, app: &OwnedFd) -> Result<Option<OwnedFd>, i32> {
    if world.can_getfd.load(std::sync::atomic::Ordering::Relaxed) {
        return Ok(None);
    }
    app.try_clone().map(Some).map_err(|e| sys::errno_of(&e))
}

fn netlink_socket(world: &World, task: Task, ty: i32, protocol: i32, nonblocking: bool) -> Result<OwnedFd, i32> {
    if ty != libc::SOCK_RAW && ty != libc::SOCK_DGRAM {
        return Err(libc::ESOCKTNOSUPPORT);
    }
    let protocol = Protocol::from_number(protocol).ok_or(libc::EPROTONOSUPPORT)?;
    let net = world.net_of(task)?;
    world.sockets.reap_closed(world);
    let Pair { app, supervisor, id } = message_pair(nonblocking)?;
    sys::set_socket_int(supervisor.as_fd(), libc::SOL_SOCKET, libc::SO_PASSCRED, 1).map_err(|e| sys::errno_of(&e))?;
    let socket = world.rtnl.open(&net, protocol, &world.users.cred(task));
    let kept = keep(world, &app)?;
    let fd = Arc::new(NetlinkFd::new(id, socket, ty, supervisor, kept));
    fd.socket.on_ready(Some(world.sockets.notifier(id, world.reactor.clone())));
    world.sockets.insert(id, Emulated::Netlink(fd.clone()));
    world.reactor.edges(fd.supervisor_end(), Token::Socket(id.ino)).map_err(|e| sys::errno_of(&e))?;
    Ok(app)
}

fn control_socket(world: &World, nonblocking: bool) -> Result<OwnedFd, i32> {
    let Pair { app, supervisor, id } = message_pair(nonblocking)?;
    sys::set_socket_int(supervisor.as_fd(), libc::SOL_SOCKET, libc::SO_PASSCRED, 1).map_err(|e| sys::errno_of(&e))?;
    let fd = Arc::new(ControlFd::new(supervisor));
    world.sockets.insert(id, Emulated::Control(fd.clone()));
    world.reactor.edges(fd.supervisor_end(), Token::Socket(id.ino)).map_err(|e| sys::errno_of(&e))?;
    Ok(app)
}

/// An AF_UNIX socket is the kernel's.  One made in a namespace that may end is made by us all the same, so that it is
/// known to keep that namespace alive; the run's first namespace needs no keeping.
fn unix_socket(world: &World, task: Task, ty: i32, protocol: i32, nonblocking: bool) -> Result<Option<OwnedFd>, i32> {
    let mut spaces = lock(&world.spaces);
    let (first, at) = (spaces.first(), spaces.of_task(task));
    let Some(at) = at.filter(|&at| at != first) else { return Ok(None) };
    let net = spaces.net(at).ok_or(libc::ESRCH)?;
    drop(spaces);
    let (fd, id) = unix_of(ty, protocol, nonblocking)?;
    world.sockets.insert_silent(id, Emulated::Unix(net), &fd, &world.reactor)?;
    Ok(Some(fd))
}

fn inet_socket(
    world: &World,
    task: Task,
    domain: i32,
    ty: i32,
    protocol: i32,
    nonblocking: bool,
) -> Result<OwnedFd, i32> {
    let net = world.net_of(task)?;
    let kind = Kind::check(domain, ty, protocol, &world.users.cred(task), &net)?;
    let (app, id) = lone_socket(ty == libc::SOCK_STREAM, nonblocking)?;
    let kept = keep(world, &app)?;
    let socket = Emulated::Inet(Arc::new(InetFd::new(id, kind, net, kept)));
    world.sockets.insert_silent(id, socket, &app, &world.reactor)?;
    Ok(app)
}

/// An address argument: pointer and length.
fn address(task: Task, at: u64, len: i32) -> Result<Vec<u8>, i32> {
    match usize::try_from(len) {
        Ok(n) if n <= ADDRESS_MAX => Memory::of(task.tid).bytes(at, n).map_err(|e| e.errno()),
        _ => Err(libc::EINVAL),
    }
}

fn write_name(task: Task, call: &Call, name: &[u8]) -> Result<i64, i32> {
    let memory = Memory::of(task.tid);
    if memory.u32(call.args[2]).map_err(|e| e.errno())? > i32::MAX as u32 {
        return Err(libc::EINVAL);
    }
    memory.write_sized(call.args[1], call.args[2], name).map_err(|e| e.errno())?;
    Ok(0)
}

fn on_netlink(world: &World, task: Task, call: &Call, n: &NetlinkFd) -> Result<i64, i32> {
    // What was sent natively before this call comes first: it may have given the socket its port.
    n.pump(world);
    let client = TaskClient { world, task };
    match call.nr {
        libc::SYS_bind => {
            let to = parse_sockaddr_nl(&address(task, call.args[1], call.int(2))?)?;
            world.sockets.reap_closed(world);
            n.socket.bind(to, &client).map(|()| 0).map_err(|e| e.errno().get())
        }
        libc::SYS_connect => {
            let raw = address(task, call.args[1], call.int(2))?;
            let to = match raw.first_chunk::<2>() {
                None => return Err(libc::EINVAL),
                // Dissolves: back to the kernel as the peer.
                Some([0, 0]) => pernet_rtnl::SockAddr { portid: 0, groups: 0 },
                Some(_) => parse_sockaddr_nl(&raw)?,
            };
            n.socket.connect(to, &client).map(|()| 0).map_err(|e| e.errno().get())
        }
        libc::SYS_getsockname => write_name(task, call, &sockaddr_nl(n.socket.local_addr())),
        libc::SYS_getpeername => write_name(task, call, &sockaddr_nl(n.socket.peer_addr())),
        libc::SYS_listen | libc::SYS_shutdown | libc::SYS_accept | libc::SYS_accept4 => Err(libc::EOPNOTSUPP),
        libc::SYS_sendto if call.args[4] == 0 => n.send(world, task, &[], None).map(|n| n as i64),
        libc::SYS_sendto => {
            if call.int(3) & libc::MSG_OOB != 0 {
                return Err(libc::EOPNOTSUPP);
            }
            let to = parse_sockaddr_nl(&address(task, call.args[4], call.int(5))?)?;
            let len = call.args[2] as usize;
            if len > LARGEST_MESSAGE {
                return Err(libc::EMSGSIZE);
            }
            let bytes = Memory::of(task.tid).bytes(call.args[1], len).map_err(|e| e.errno())?;
            n.send(world, task, &bytes, Some(to)).map(|n| n as i64)
        }
        libc::SYS_sendmsg => netlink_sendmsg(world, task, n, call.args[1], call.int(2)),
        _ => send_many(task, call, |header| netlink_sendmsg(world, task, n, header, call.int(3))),
    }
}

fn netlink_sendmsg(world: &World, task: Task, n: &NetlinkFd, header: u64, flags: i32) -> Result<i64, i32> {
    if flags & libc::MSG_OOB != 0 {
        return Err(libc::EOPNOTSUPP);
    }
    let memory = Memory::of(task.tid);
    let header = MsgHeader::read(memory, header)?;
    let to = if header.name != 0 && header.name_len != 0 {
        Some(parse_sockaddr_nl(&address(task, header.name, header.name_len as i32)?)?)
    } else {
        None
    };
    let bytes = header.gather(memory)?;
    n.send(world, task, &bytes, to).map(|n| n as i64)
}

/// `sendmmsg`: as many as succeed; an error counts only if it is the first.
fn send_many(task: Task, call: &Call, mut one: impl FnMut(u64) -> Result<i64, i32>) -> Result<i64, i32> {
    let memory = Memory::of(task.tid);
    let count = (call.args[2] as u32).min(1024);
    for i in 0..u64::from(count) {
        let entry = call.args[1] + i * (MsgHeader::SIZE + 8);
        let sent = match one(entry) {
            Ok(n) => n,
            Err(e) if i == 0 => return Err(e),
            Err(_) => return Ok(i as i64),
        };
        memory.write(entry + MsgHeader::SIZE, &(sent as u32).to_ne_bytes()).map_err(|e| e.errno())?;
    }
    Ok(i64::from(count))
}

fn on_inet(world: &World, task: Task, call: &Call, s: &InetFd) -> Result<i64, i32> {
    let zero = |r: Result<(), i32>| r.map(|()| 0);
    match call.nr {
        libc::SYS_bind => zero(s.bind(world, &world.users.cred(task), &address(task, call.args[1], call.int(2))?)),
        libc::SYS_connect => zero(s.reach(world, &address(task, call.args[1], call.int(2))?, true)),
        libc::SYS_getsockname => write_name(task, call, &s.local_name()),
        libc::SYS_getpeername => Err(libc::ENOTCONN),
        libc::SYS_sendto if call.args[4] == 0 => Err(s.unaddressed()),
        libc::SYS_shutdown => zero(s.shutdown(call.int(1))),
        libc::SYS_listen => match s.kept() {
            Some(app) => zero(s.listen(world, app, call.int(1))),
            None => zero(s.listen(world, world.copy_fd(task, call.int(0), s.id)?.as_fd(), call.int(1))),
        },
        libc::SYS_sendto => s.reach(world, &address(task, call.args[4], call.int(5))?, false).map(|()| 0),
        libc::SYS_sendmsg => inet_sendmsg(world, task, s, call.args[1]),
        _ => send_many(task, call, |header| inet_sendmsg(world, task, s, header)),
    }
}

fn inet_sendmsg(world: &World, task: Task, s: &InetFd, header: u64) -> Result<i64, i32> {
    let header = MsgHeader::read(Memory::of(task.tid), header)?;
    if header.name == 0 || header.name_len == 0 {
        return Err(s.unaddressed());
    }
    s.reach(world, &address(task, header.name, header.name_len as i32)?, false).map(|()| 0)
}

fn getsockopt(world: &World, task: Task, call: &Call, socket: &Emulated) -> Result<i64, i32> {
    let (level, name) = (call.int(1), call.int(2));
    let memory = Memory::of(task.tid);
    let (domain, ty, protocol, net) = match socket {
        Emulated::Netlink(n) => (libc::AF_NETLINK, n.ty, n.socket.protocol().number(), Some(n.socket.net().clone())),
        Emulated::Inet(i) => (i.kind.domain(), i.kind.ty, i.kind.protocol, Some(i.net.clone())),
        Emulated::Tun(_) => return Err(libc::ENOTSOCK),
        Emulated::Control(_) | Emulated::Unix(_) => (libc::AF_NETLINK, libc::SOCK_SEQPACKET, control::PROTOCOL, None),
    };
    if level == libc::SOL_SOCKET {
        let value = match name {
            libc::SO_DOMAIN => domain,
            libc::SO_TYPE => ty,
            libc::SO_PROTOCOL => protocol,
            SO_NETNS_COOKIE => {
                let net = match net {
                    Some(net) => net,
                    None => world.net_of(task)?,
                };
                return cookie(task, call, net.cookie().get());
            }
            libc::SO_ERROR => 0,
            libc::SO_BINDTODEVICE => {
                let value =
                    if let Emulated::Inet(i) = socket { i.option(level, name).unwrap_or_default() } else { Vec::new() };
                memory.write_sized(call.args[3], call.args[4], &value).map_err(|e| e.errno())?;
                return Ok(0);
            }
            _ => match socket {
                Emulated::Inet(i) => {
                    i.option(level, name).and_then(|v| Some(i32::from_ne_bytes(*v.first_chunk()?))).unwrap_or(0)
                }
                _ => 0,
            },
        };
        memory.write_sized(call.args[3], call.args[4], &value.to_ne_bytes()).map_err(|e| e.errno())?;
        return Ok(0);
    }
    let room = memory.u32(call.args[4]).map_err(|e| e.errno())? as usize;
    let value = match socket {
        Emulated::Netlink(n) if level == SOL_NETLINK => {
            n.socket.getsockopt(name, room.min(OPTION_MAX)).map_err(|e| e.errno().get())?
        }
        Emulated::Inet(i) if is_level_of(i, level) => i.option(level, name).unwrap_or_else(|| vec![0; room.min(4)]),
        _ => return Err(libc::ENOPROTOOPT),
    };
    memory.write_sized(call.args[3], call.args[4], &value).map_err(|e| e.errno())?;
    Ok(0)
}

/// Option levels that a socket of this kind understands.
fn is_level_of(s: &InetFd, level: i32) -> bool {
    use crate::inet::Family;
    match s.kind.family {
        Family::Packet => level == libc::SOL_PACKET,
        Family::V4 => level == libc::SOL_IP || level == s.kind.protocol || level == libc::SOL_RAW,
        Family::V6 => {
            level == libc::SOL_IPV6 || level == libc::SOL_IP || level == s.kind.protocol || level == libc::SOL_RAW
        }
    }
}

fn setsockopt(world: &World, task: Task, call: &Call, socket: &Emulated) -> Outcome {
    let (level, name, len) = (call.int(1), call.int(2), call.int(4));
    let Ok(len) = usize::try_from(len) else {
        return Outcome::Errno(libc::EINVAL);
    };
    if len > OPTION_MAX {
        return Outcome::Errno(libc::EINVAL);
    }
    let value = match Memory::of(task.tid).bytes(call.args[3], len) {
        Ok(v) => v,
        Err(e) => return Outcome::Errno(e.errno()),
    };
    let int = value.first_chunk::<4>().map(|b| i32::from_ne_bytes(*b));
    let admin = |net: &pernet::NetRef| world.users.cred(task).capable(net.owner(), Cap::NetAdmin);
    match socket {
        Emulated::Tun(_) => Outcome::Errno(libc::ENOTSOCK),
        Emulated::Netlink(n) if level == SOL_NETLINK => {
            let client = TaskClient { world, task };
            Outcome::from(n.socket.setsockopt(name, &value, &client).map(|()| 0).map_err(|e| e.errno().get()))
        }
        Emulated::Netlink(n) if level == libc::SOL_SOCKET => match (name, int) {
            (libc::SO_RCVBUF, Some(bytes)) => {
                // The kernel doubles what is asked for, up to its limit, to account for its own structures.
                n.socket.set_receive_buffer((bytes.max(0) as usize).min(RMEM_MAX).saturating_mul(2).max(2304));
                Outcome::Proceed
            }
            (libc::SO_RCVBUFFORCE, Some(bytes)) if admin(n.socket.net()) => {
                n.socket.set_receive_buffer((bytes.max(0) as usize).saturating_mul(2).max(2304));
                Outcome::Value(0)
            }
            (libc::SO_RCVBUFFORCE | libc::SO_SNDBUFFORCE, Some(_)) => {
                Outcome::from(admin(n.socket.net()).then_some(0).ok_or(libc::EPERM))
            }
            _ => Outcome::Proceed,
        },
        Emulated::Unix(_) => Outcome::Proceed,
        Emulated::Netlink(_) | Emulated::Control(_) => Outcome::Errno(libc::ENOPROTOOPT),
        Emulated::Inet(i) if level == libc::SOL_SOCKET => set_inet_option(world, i, name, value, admin(&i.net)),
        Emulated::Inet(i) if is_level_of(i, level) => {
            i.set_option(level, name, value);
            Outcome::Value(0)
        }
        Emulated::Inet(_) => Outcome::Errno(libc::ENOPROTOOPT),
    }
}

/// net.core.rmem_max.
const RMEM_MAX: usize = 212_992;

fn set_inet_option(world: &World, s: &InetFd, name: i32, value: Vec<u8>, admin: bool) -> Outcome {
    match name {
        libc::SO_BINDTODEVICE => {
            let device = value.split(|&b| b == 0).next().unwrap_or_default().to_vec();
            let text = String::from_utf8_lossy(&device);
            let known = device.is_empty() || world.stack.links(&s.net).is_some_and(|l| l.by_name(&text).is_some());
            if !known {
                return Outcome::Errno(libc::ENODEV);
            }
            let shown = if device.is_empty() { device } else { [device, vec![0]].concat() };
            s.set_option(libc::SOL_SOCKET, name, shown);
            Outcome::Value(0)
        }
        libc::SO_MARK | libc::SO_RCVBUFFORCE | libc::SO_SNDBUFFORCE if !admin => Outcome::Errno(libc::EPERM),
        libc::SO_RCVBUF | libc::SO_SNDBUF => Outcome::Proceed,
        _ => {
            s.set_option(libc::SOL_SOCKET, name, value);
            Outcome::Value(0)
        }
    }
}

/// Answers a receiving call, now or when something came.
pub(crate) fn receive(world: &World, notification: Notification) {
    let call = notification.call;
    let task = Task::new(call.tid);
    match world.sockets.find(task, call.int(0)) {
        Some(Emulated::Netlink(n)) => {
            let place = match call.nr {
                libc::SYS_recvmsg => Receive::Msg { header: call.args[1] },
                libc::SYS_recvfrom => Receive::From {
                    buffer: call.args[1],
                    len: call.args[2] as usize,
                    name: call.args[4],
                    name_len: call.args[5],
                },
                _ => Receive::Many { headers: call.args[1], count: (call.args[2] as u32).min(1024) },
            };
            n.receive(world, notification, place);
        }
        Some(Emulated::Tun(_)) => crate::netlink::answer(world, notification, Err(libc::ENOTSOCK)),
        // The stand-in waits, and is woken by nothing, as a socket without a network.
        Some(Emulated::Inet(_) | Emulated::Control(_) | Emulated::Unix(_)) | None => {
            notification.proceed();
        }
    }
}
