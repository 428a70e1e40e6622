//! Socket calls.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use pernet::{Cap, NetRef};
use pernet_rtnl::Protocol;
use pernet_stack::PacketSocket;

use super::Outcome;
use crate::bpf::{OF_LISTENERS, SO_NETNS_COOKIE};
use crate::control::{self, ControlFd};
use crate::inet::core::is_buffer;
use crate::inet::{
    self, NO_PEER, OPTION_MAX, address, cookie, datagram, keep, option_value, send_many, stream, write_name,
    write_option,
};
use crate::listener::{Call, Notification};
use crate::mem::Memory;
use crate::msghdr::{LARGEST_MESSAGE, MsgHeader};
use crate::netlink::{NetlinkFd, parse_sockaddr_nl, sockaddr_nl};
use crate::reactor::Token;
use crate::receive::Receive;
use crate::sockets::{Emulated, Pair, message_pair, unix_of};
use crate::sys;
use crate::task::{FileId, Task};
use crate::unix;
use crate::world::{TaskClient, World, lock};

const SOL_NETLINK: i32 = 270;
/// Types of sockets are numbered below this.
const SOCK_MAX: i32 = 11;

/// May this call wait for something?
pub(crate) fn may_wait(nr: i64) -> bool {
    use libc::{SYS_accept, SYS_accept4, SYS_connect, SYS_recvfrom, SYS_recvmmsg, SYS_recvmsg};
    matches!(nr, SYS_recvmsg | SYS_recvfrom | SYS_recvmmsg | SYS_accept | SYS_accept4 | SYS_connect)
}

/// Answers a call that does not wait.
pub(crate) fn handle(world: &World, call: &Call) -> Outcome {
    use libc::*;
    let task = Task::new(call.tid);
    if call.nr == SYS_socket {
        return self::socket(world, task, call);
    }
    let Some((emulated, end)) = world.sockets.find_again(world, task, call.int(0), false) else {
        return native(world, task, call, None);
    };
    if call.nr == SYS_setsockopt && call.int(1) == SOL_SOCKET {
        if let Emulated::Stream(s) = &emulated {
            s.touches(call.int(2));
        }
        // Times of what is sent are the stack's to tell, where there are any.
        let told = matches!(emulated, Emulated::Datagram(_)) && PacketSocket::is_time_option(call.int(2));
        if OF_LISTENERS.contains(&call.int(2)) && !told {
            return Outcome::Proceed;
        }
    }
    let result = match (&emulated, call.nr) {
        (Emulated::Unix(net), _) => return native(world, task, call, Some(net.clone())),
        (Emulated::Stream(s), _) => return stream::handle(world, call, s, end),
        (Emulated::Datagram(d), _) => return datagram::handle(world, call, d, end),
        // A file, not a socket, as far as its program goes.
        (Emulated::Tun(_), _) => Err(libc::ENOTSOCK),
        // A netlink socket has these itself, and its stand-in knows.
        (_, SYS_getsockopt) if call.int(1) == SOL_SOCKET && inet::is_of_unix(call.int(2)) => return Outcome::Proceed,
        (_, SYS_getsockopt) => self::getsockopt(world, task, call, &emulated),
        (_, SYS_setsockopt) => return self::setsockopt(world, task, call, &emulated),
        (Emulated::Netlink(n), _) => on_netlink(world, task, call, n),
        (Emulated::Control(_), _) => return Outcome::Proceed,
    };
    Outcome::from(result)
}

/// A socket that is really the kernel's: AF_UNIX.  Some names, and two questions about it, are about the namespace; and who
/// is at the other end of what we connected, we know.
/// `made_in`: where it was made, if it was made by us.
fn native(world: &World, task: Task, call: &Call, made_in: Option<NetRef>) -> Outcome {
    if call.nr == libc::SYS_getsockopt && (call.int(1), call.int(2)) == (libc::SOL_SOCKET, SO_NETNS_COOKIE) {
        let is_socket = task.fd_link(call.int(0)).is_some_and(|l| l.to_string_lossy().starts_with("socket:"));
        let made_in = made_in.map_or_else(|| world.net_of(task), Ok);
        if is_socket && let Ok(net) = made_in {
            return Outcome::from(cookie(task, call, net.cookie().get()));
        }
        return Outcome::Proceed;
    }
    if call.nr == libc::SYS_getsockopt && (call.int(1), call.int(2)) == (libc::SOL_SOCKET, libc::SO_PEERCRED) {
        return unix::peer(world, task, call).map_or(Outcome::Proceed, |peer| {
            let who = [task.number_of(peer.tgid), peer.uid, peer.gid].map(u32::to_ne_bytes).concat();
            Outcome::from(write_option(task, call, &who))
        });
    }
    unix::try_call(world, task, call, made_in).unwrap_or(Outcome::Proceed)
}

fn socket(world: &World, task: Task, call: &Call) -> Outcome {
    let (domain, ty, protocol) = (call.int(0), call.int(1), call.int(2));
    let flags = ty & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    let ty = ty & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    let nonblocking = flags & libc::SOCK_NONBLOCK != 0;
    if !(0..SOCK_MAX).contains(&ty) {
        return Outcome::Errno(libc::EINVAL);
    }
    let made = world.sockets.with_room(|| match domain {
        libc::AF_UNIX => unix_socket(world, task, ty, protocol, nonblocking),
        libc::AF_NETLINK if protocol == control::PROTOCOL && ty == libc::SOCK_SEQPACKET => {
            control_socket(world, nonblocking).map(Some)
        }
        libc::AF_NETLINK => netlink_socket(world, task, ty, protocol, nonblocking).map(Some),
        _ => inet::socket(world, task, domain, ty, protocol, nonblocking).map(Some),
    });
    match made {
        Ok(Some(fd)) => Outcome::Fd(fd, flags & libc::SOCK_CLOEXEC != 0),
        Ok(None) => Outcome::Proceed,
        Err(e) => Outcome::Errno(e),
    }
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
    fd.socket.on_ready(Some(world.sockets.notifier(id, fd.listed(), world.reactor.clone())));
    fd.socket.set_inode(id.ino);
    let silent = fd.keeps_app_end();
    world.sockets.insert(id, Emulated::Netlink(fd.clone()));
    if silent {
        world.sockets.becomes_silent(&world.reactor);
    }
    watched(world, id, world.reactor.arrivals(fd.supervisor_end(), Token::Socket(id.ino)))?;
    Ok(app)
}

fn control_socket(world: &World, nonblocking: bool) -> Result<OwnedFd, i32> {
    let Pair { app, supervisor, id } = message_pair(nonblocking)?;
    sys::set_socket_int(supervisor.as_fd(), libc::SOL_SOCKET, libc::SO_PASSCRED, 1).map_err(|e| sys::errno_of(&e))?;
    let fd = Arc::new(ControlFd::new(supervisor));
    world.sockets.insert(id, Emulated::Control(fd.clone()));
    watched(world, id, world.reactor.arrivals(fd.supervisor_end(), Token::Socket(id.ino)))?;
    Ok(app)
}

/// One whose end nobody would report is not there.
fn watched(world: &World, id: FileId, result: std::io::Result<()>) -> Result<(), i32> {
    result.map_err(|e| {
        drop(world.sockets.remove(id));
        sys::errno_of(&e)
    })
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

fn on_netlink(world: &World, task: Task, call: &Call, n: &NetlinkFd) -> Result<i64, i32> {
    // What was sent natively before this call comes first: it may have given the socket its port.  A send sees to that
    // itself.
    if !matches!(call.nr, libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg) {
        n.pump(world);
    }
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
    let header = MsgHeader::read_sent(memory, header)?;
    let to = match header.early_name() {
        Some(raw) => Some(parse_sockaddr_nl(raw)?),
        None if header.name == 0 || header.name_len == 0 => None,
        None => Some(parse_sockaddr_nl(&address(task, header.name, header.name_len as i32)?)?),
    };
    let bytes = header.gather(memory)?;
    n.send(world, task, &bytes, to).map(|n| n as i64)
}

fn getsockopt(world: &World, task: Task, call: &Call, socket: &Emulated) -> Result<i64, i32> {
    let (level, name) = (call.int(1), call.int(2));
    let memory = Memory::of(task.tid);
    let (ty, protocol, net, buffers) = match socket {
        Emulated::Netlink(n) => (n.ty, n.socket.protocol().number(), Some(n.socket.net().clone()), n.socket.buffers()),
        _ => (libc::SOCK_SEQPACKET, control::PROTOCOL, None, (0, 0)),
    };
    if level == libc::SOL_SOCKET {
        let value = match name {
            libc::SO_DOMAIN => libc::AF_NETLINK,
            libc::SO_TYPE => ty,
            libc::SO_PROTOCOL => protocol,
            libc::SO_RCVBUF => buffers.0 as i32,
            libc::SO_SNDBUF => buffers.1 as i32,
            SO_NETNS_COOKIE => {
                let net = match net {
                    Some(net) => net,
                    None => world.net_of(task)?,
                };
                return cookie(task, call, net.cookie().get());
            }
            libc::SO_PEERCRED => return write_option(task, call, &NO_PEER),
            libc::SO_BINDTODEVICE => {
                memory.write_sized(call.args[3], call.args[4], &[]).map_err(|e| e.errno())?;
                return Ok(0);
            }
            _ => 0,
        };
        memory.write_sized(call.args[3], call.args[4], &value.to_ne_bytes()).map_err(|e| e.errno())?;
        return Ok(0);
    }
    let room = memory.u32(call.args[4]).map_err(|e| e.errno())? as usize;
    let value = match socket {
        Emulated::Netlink(n) if level == SOL_NETLINK => {
            n.socket.getsockopt(name, room.min(OPTION_MAX)).map_err(|e| e.errno().get())?
        }
        _ => return Err(libc::ENOPROTOOPT),
    };
    memory.write_sized(call.args[3], call.args[4], &value).map_err(|e| e.errno())?;
    Ok(0)
}

fn setsockopt(world: &World, task: Task, call: &Call, socket: &Emulated) -> Outcome {
    let (level, name) = (call.int(1), call.int(2));
    let value = match option_value(task, call) {
        Ok(value) => value,
        Err(e) => return Outcome::Errno(e),
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
            (libc::SO_RCVBUFFORCE | libc::SO_SNDBUFFORCE, Some(_)) if !admin(n.socket.net()) => {
                Outcome::Errno(libc::EPERM)
            }
            (_, Some(asked)) if is_buffer(name) => {
                let force = matches!(name, libc::SO_RCVBUFFORCE | libc::SO_SNDBUFFORCE);
                let sends = matches!(name, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE);
                let bytes = world.stack.socket_buffer(n.socket.net(), asked, sends, force);
                if sends {
                    n.socket.set_send_buffer(bytes);
                } else {
                    n.socket.set_receive_buffer(bytes);
                }
                // What is too long is so for native sends, too.
                if name == libc::SO_SNDBUF { Outcome::Proceed } else { Outcome::Value(0) }
            }
            (_, None) if is_buffer(name) => Outcome::Errno(libc::EINVAL),
            _ => Outcome::Proceed,
        },
        Emulated::Unix(_) => Outcome::Proceed,
        _ => Outcome::Errno(libc::ENOPROTOOPT),
    }
}

/// Answers a call that may wait, now or when something came.
pub(crate) fn receive(world: &Arc<World>, notification: Notification) {
    let call = notification.call;
    let task = Task::new(call.tid);
    let waits_for_data = matches!(call.nr, libc::SYS_recvmsg | libc::SYS_recvfrom | libc::SYS_recvmmsg);
    // The kernel, too, holds what one connects, or accepts from, as long as that takes.
    match world.sockets.find_again(world, task, call.int(0), !waits_for_data) {
        Some((Emulated::Stream(s), end)) => stream::receive(world, notification, &s, end),
        _ if !waits_for_data => {
            let outcome = handle(world, &call);
            super::finish(world, notification, outcome);
        }
        Some((Emulated::Netlink(n), end)) => {
            n.receive(world, notification, Receive::of(&call), end);
        }
        Some((Emulated::Datagram(d), end)) => datagram::receive(world, notification, &d, end),
        Some((Emulated::Tun(_), _)) => crate::netlink::answer(world, notification, Err(libc::ENOTSOCK)),
        Some((Emulated::Control(_), _)) => {
            notification.proceed();
        }
        found => {
            let made_in = found.and_then(|(socket, _)| if let Emulated::Unix(net) = socket { Some(net) } else { None });
            if let Err(notification) = unix::receive(world, notification, made_in) {
                notification.proceed();
            }
        }
    }
}
