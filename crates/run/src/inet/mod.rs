//! AF_INET, AF_INET6 and AF_PACKET sockets of programs.
//!
//! What all kinds have in common is here; sockets with connections are in [`stream`], those without in [`datagram`].

mod address;
mod caller;
pub(crate) mod control;
pub(crate) mod core;
pub(crate) mod datagram;
pub(crate) mod ring;
mod shown;
pub(crate) mod stream;

use std::os::fd::OwnedFd;

use pernet::{Cap, Cred, NetRef};

use crate::bpf::{SO_INQ, SO_NETNS_COOKIE, SO_PASSPIDFD, SO_PASSRIGHTS, SO_PEERGROUPS, SO_PEERPIDFD};
use crate::descriptors::{lasting, refused};
use crate::listener::Call;
use crate::mem::Memory;
use crate::msghdr::MsgHeader;
use crate::task::Task;
use crate::world::World;

/// SOCK_PACKET, which old programs still ask for.
const OBSOLETE_SOCK_PACKET: i32 = 10;
/// The longest address of any family.
const ADDRESS_MAX: usize = 128;
/// Options longer than this no family has.
pub(crate) const OPTION_MAX: usize = 4096;

/// Which family, already checked against type and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// AF_INET
    V4,
    /// AF_INET6
    V6,
    /// AF_PACKET
    Packet,
}

/// What kind of socket a program asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The family.
    pub(crate) family: Family,
    /// SOCK_STREAM, SOCK_DGRAM, SOCK_RAW.
    pub(crate) ty: i32,
    /// The protocol, defaults filled in.
    pub(crate) protocol: i32,
}

impl Kind {
    /// Checks a `socket()` call's arguments as the kernel does: type, then protocol, then privilege.
    ///
    /// # Errors
    /// ESOCKTNOSUPPORT, EPROTONOSUPPORT, EPERM.
    pub(crate) fn check(
        domain: i32,
        ty: i32,
        protocol: i32,
        cred: &dyn Fn() -> Cred,
        net: &NetRef,
    ) -> Result<Self, i32> {
        use libc::{
            IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IP, IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE,
            SOCK_DGRAM, SOCK_RAW, SOCK_STREAM,
        };
        let raw_allowed = || cred().capable(net.owner(), Cap::NetRaw).then_some(()).ok_or(libc::EPERM);
        let family = match domain {
            libc::AF_INET => Family::V4,
            libc::AF_INET6 => Family::V6,
            libc::AF_PACKET => Family::Packet,
            _ => return Err(libc::EAFNOSUPPORT),
        };
        if family == Family::Packet {
            raw_allowed()?;
            return match ty {
                SOCK_DGRAM | SOCK_RAW | OBSOLETE_SOCK_PACKET => Ok(Self { family, ty, protocol }),
                _ => Err(libc::ESOCKTNOSUPPORT),
            };
        }
        if !(0..=262).contains(&protocol) {
            return Err(libc::EINVAL);
        }
        let ping = if family == Family::V4 { IPPROTO_ICMP } else { IPPROTO_ICMPV6 };
        let protocol = match (ty, protocol) {
            (SOCK_STREAM, IPPROTO_IP | IPPROTO_TCP) => IPPROTO_TCP,
            (SOCK_STREAM, IPPROTO_MPTCP) => IPPROTO_MPTCP,
            (SOCK_DGRAM, IPPROTO_IP | IPPROTO_UDP) => IPPROTO_UDP,
            (SOCK_DGRAM, IPPROTO_UDPLITE) => IPPROTO_UDPLITE,
            (SOCK_DGRAM, p) if p == ping => p,
            (SOCK_RAW, IPPROTO_IP) => return Err(libc::EPROTONOSUPPORT),
            (SOCK_RAW, p) => {
                raw_allowed()?;
                p
            }
            (SOCK_STREAM | SOCK_DGRAM, _) => return Err(libc::EPROTONOSUPPORT),
            _ => return Err(libc::ESOCKTNOSUPPORT),
        };
        Ok(Self { family, ty, protocol })
    }

    /// Is it of the kind with connections?
    pub(crate) fn is_stream(self) -> bool {
        self.ty == libc::SOCK_STREAM
    }

    /// The domain number.
    pub(crate) fn domain(self) -> i32 {
        match self.family {
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
            Family::Packet => libc::AF_PACKET,
        }
    }
}

/// `socket` of one of these families.
///
/// # Errors
/// As [`Kind::check`]; EACCES for ping sockets of who is in no group that may have them; errno of making the stand-in.
pub(crate) fn socket(
    world: &World,
    task: Task,
    domain: i32,
    ty: i32,
    protocol: i32,
    nonblocking: bool,
) -> Result<OwnedFd, i32> {
    let net = world.net_of(task)?;
    let kind = Kind::check(domain, ty, protocol, &|| world.users.cred(task), &net)?;
    let ping = matches!(kind.protocol, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) && ty == libc::SOCK_DGRAM;
    if ping && !pernet_stack::InetSocket::may_ping(&world.stack, &net, task.groups()) {
        return Err(libc::EACCES);
    }
    // Whose it is. What else he may is not asked of everybody: that takes several looks at him.
    let uid = task.euid();
    if kind.is_stream() {
        stream::open(world, uid, kind, net, nonblocking)
    } else {
        datagram::open(world, uid, kind, net, nonblocking)
    }
}

/// Where descriptors cannot be fetched from a program when needed, a copy is kept.
///
/// # Errors
/// errno of making it.
pub(crate) fn keep(world: &World, app: &OwnedFd) -> Result<Option<OwnedFd>, i32> {
    if world.can_getfd.load(std::sync::atomic::Ordering::Relaxed) {
        return Ok(None);
    }
    app.try_clone().map_err(|e| refused(&e)).and_then(lasting).map(Some)
}

/// What `getsockopt` answers: as much as there is room for, and how much that was.
///
/// # Errors
/// EINVAL for a length that is none, EFAULT.
pub(crate) fn write_option(task: Task, call: &Call, value: &[u8]) -> Result<i64, i32> {
    let memory = Memory::of(task.tid);
    let room = memory.u32(call.args[4]).map_err(|e| e.errno())?;
    let room = i32::try_from(room).map_err(|_| libc::EINVAL)?.unsigned_abs() as usize;
    let value = value.get(..room).unwrap_or(value);
    memory.write_sized(call.args[3], call.args[4], value).map(|()| 0).map_err(|e| e.errno())
}

/// `struct ucred` of a peer that is no process: uid and gid are nobody's.
pub(crate) const NO_PEER: [u8; 12] = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// Options that sockets of AF_UNIX have, as the stand-ins are, and those that they stand for do not.
const OF_UNIX: [i32; 4] = [libc::SO_PASSCRED, libc::SO_PASSSEC, SO_PASSPIDFD, SO_PASSRIGHTS];

/// Is it one of those, or one of what a peer showed of itself?
pub(crate) fn is_of_unix(name: i32) -> bool {
    OF_UNIX.contains(&name) || matches!(name, SO_PEERGROUPS | SO_PEERPIDFD)
}

/// The errno of `setsockopt` for what only the stand-in has. `None` for other options.
pub(crate) fn refuse(name: i32, value: &[u8]) -> Option<i32> {
    match name {
        _ if name != SO_INQ && !OF_UNIX.contains(&name) => None,
        _ if value.len() < size_of::<i32>() => Some(libc::EINVAL),
        SO_INQ => Some(libc::ENOPROTOOPT),
        _ => Some(libc::EOPNOTSUPP),
    }
}

/// `getsockopt` of what every socket answers alike: what it is, and where.  `None` for other options.
pub(crate) fn common_option(task: Task, call: &Call, kind: Kind, net: &NetRef) -> Option<Result<i64, i32>> {
    let value = match (call.int(1), call.int(2)) {
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => kind.domain(),
        (libc::SOL_SOCKET, libc::SO_TYPE) => kind.ty,
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => kind.protocol,
        (libc::SOL_SOCKET, SO_NETNS_COOKIE) => return Some(cookie(task, call, net.cookie().get())),
        (libc::SOL_SOCKET, libc::SO_PEERCRED) => return Some(write_option(task, call, &NO_PEER)),
        (libc::SOL_SOCKET, SO_PEERGROUPS | SO_PEERPIDFD) => return Some(Err(libc::ENODATA)),
        (libc::SOL_SOCKET, name) if OF_UNIX.contains(&name) => return Some(Err(libc::EOPNOTSUPP)),
        _ => return None,
    };
    Some(write_option(task, call, &value.to_ne_bytes()))
}

/// The value that `setsockopt` was given.
///
/// # Errors
/// EINVAL for a length that no option has, EFAULT.
pub(crate) fn option_value(task: Task, call: &Call) -> Result<Vec<u8>, i32> {
    match usize::try_from(call.int(4)) {
        Ok(len) if len <= OPTION_MAX => Memory::of(task.tid).bytes(call.args[3], len).map_err(|e| e.errno()),
        _ => Err(libc::EINVAL),
    }
}

/// `SO_NETNS_COOKIE`.
///
/// # Errors
/// EINVAL for any other size than its own, EFAULT.
pub(crate) fn cookie(task: Task, call: &Call, cookie: u64) -> Result<i64, i32> {
    let memory = Memory::of(task.tid);
    if memory.u32(call.args[4]).map_err(|e| e.errno())? != 8 {
        return Err(libc::EINVAL);
    }
    memory.write_sized(call.args[3], call.args[4], &cookie.to_ne_bytes()).map_err(|e| e.errno())?;
    Ok(0)
}

/// An address argument: pointer and length.
///
/// # Errors
/// EINVAL for a length that no address has, EFAULT.
pub(crate) fn address(task: Task, at: u64, len: i32) -> Result<Vec<u8>, i32> {
    match usize::try_from(len) {
        Ok(n) if n <= ADDRESS_MAX => Memory::of(task.tid).bytes(at, n).map_err(|e| e.errno()),
        _ => Err(libc::EINVAL),
    }
}

/// What a send says: whither, if it says so, and the bytes; each a place and a length.  By one look, as a rule.
///
/// # Errors
/// As [`address`]; EFAULT.
pub(crate) fn address_and_bytes(
    task: Task,
    (at, name_len): (u64, i32),
    (from, len): (u64, usize),
) -> Result<(Option<Vec<u8>>, Vec<u8>), i32> {
    let memory = Memory::of(task.tid);
    let name_len = if at == 0 { 0 } else { usize::try_from(name_len).map_err(|_| libc::EINVAL)? };
    if name_len > ADDRESS_MAX {
        return Err(libc::EINVAL);
    }
    let (mut name, mut bytes) = (vec![0; name_len], vec![0; len]);
    if memory.read_at_once([(at, &mut name[..]), (from, &mut bytes[..])]) != Some(name_len + len) {
        // Which of the two it was, or by other means.
        memory.read(at, &mut name).and_then(|()| memory.read(from, &mut bytes)).map_err(|e| e.errno())?;
    }
    Ok(((at != 0).then_some(name), bytes))
}

/// Writes an address where `getsockname` and its like want it.
///
/// # Errors
/// EINVAL, EFAULT.
pub(crate) fn write_name(task: Task, call: &Call, name: &[u8]) -> Result<i64, i32> {
    Memory::of(task.tid).write_sized(call.args[1], call.args[2], name).map_err(|e| e.errno())?;
    Ok(0)
}

/// `sendmmsg`: as many as succeed; an error counts only if it is the first.
///
/// # Errors
/// The first one's.
pub(crate) fn send_many(task: Task, call: &Call, mut one: impl FnMut(u64) -> Result<i64, i32>) -> Result<i64, i32> {
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
