//! `ioctl` on namespace files and on sockets.

use std::os::fd::OwnedFd;

use pernet::{Cap, NetRef};
use pernet_stack::{
    IFREQ_LEN, IN6_IFREQ_LEN, If6Change, IfChange, IfRequest, ioctl_change, ioctl_change6, ioctl_ifconf, ioctl_ifreq,
};

use super::route::{self, SIOCADDRT, SIOCDELRT, SIOCRTMSG};
use super::{Outcome, arp, ethtool};
use crate::listener::Call;
use crate::mem::Memory;
use crate::sockets::Emulated;
use crate::task::Task;
use crate::tun;
use crate::world::{World, lock};

const NS_GET_USERNS: u32 = 0xb701;
const NS_GET_PARENT: u32 = 0xb702;
const NS_GET_NSTYPE: u32 = 0xb703;
const NS_GET_OWNER_UID: u32 = 0xb704;
const NS_GET_MNTNS_ID: u32 = 0x8008_b705;
const NS_GET_ID: u32 = 0x8008_b70d;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCETHTOOL: u32 = 0x8946;
const SIOCGSKNS: u32 = 0x894C;
const SIOCGIFCOUNT: u32 = 0x8938;
/// The first request that changes or asks an interface; below are owner, mark and time stamp.
const FIRST_INTERFACE_REQUEST: u32 = 0x890B;

/// Answers an ioctl.
pub(crate) fn handle(world: &World, call: &Call) -> Outcome {
    let task = Task::new(call.tid);
    let request = call.args[1] as u32;
    if tun::is_request(request) {
        return match world.sockets.find(task, call.int(0)) {
            Some(Emulated::Tun(file)) => file.ioctl(world, task, request, call.args[2]),
            _ => tun::elsewhere(task, call.int(0)),
        };
    }
    if request & 0xff00 == 0xb700 { nsfs(world, task, call, request) } else { socket(world, task, call, request) }
}

fn nsfs(world: &World, task: Task, call: &Call, request: u32) -> Outcome {
    let Some(net) = world.net_of_file(task, call.int(0)) else {
        return Outcome::Proceed;
    };
    if task.is_path_fd(call.int(0)) {
        return Outcome::Errno(libc::EBADF);
    }
    match request {
        NS_GET_NSTYPE => Outcome::Value(i64::from(libc::CLONE_NEWNET)),
        NS_GET_USERNS => match owner_file(world, task, &net) {
            Ok(fd) => Outcome::Fd(fd, true),
            Err(e) => Outcome::Errno(e),
        },
        NS_GET_ID => write(task, call.args[2], &net.cookie().get().to_ne_bytes()),
        // Of other kinds of namespaces only.
        NS_GET_PARENT | NS_GET_OWNER_UID | NS_GET_MNTNS_ID => Outcome::Errno(libc::EINVAL),
        r if (6..=12).contains(&(r & 0xff)) => Outcome::Errno(libc::EINVAL),
        _ => Outcome::Errno(libc::ENOTTY),
    }
}

/// The owner as a file of the kernel's: found on a process that lives in it.
fn owner_file(world: &World, task: Task, net: &NetRef) -> Result<OwnedFd, i32> {
    let cred = world.users.cred(task);
    // An owner outside the caller's own subtree is not shown.
    let mut at = Some(net.owner());
    while let Some(ns) = at {
        if *ns == cred.user_ns {
            return world.users.open(task, net.owner()).ok_or(libc::EPERM);
        }
        at = ns.parent();
    }
    Err(libc::EPERM)
}

fn write(task: Task, at: u64, bytes: &[u8]) -> Outcome {
    Memory::of(task.tid).write(at, bytes).map_or_else(|e| Outcome::Errno(e.errno()), |()| Outcome::Value(0))
}

fn socket(world: &World, task: Task, call: &Call, request: u32) -> Outcome {
    if request < FIRST_INTERFACE_REQUEST {
        return Outcome::Proceed;
    }
    // None of these is ever passed on: another thread may put a socket where there was none.
    let Some(link) = task.fd_link(call.int(0)) else {
        return Outcome::Errno(libc::EBADF);
    };
    if !link.to_string_lossy().starts_with("socket:") {
        return Outcome::Errno(libc::ENOTTY);
    }
    // A native AF_UNIX socket belongs to the namespace that its maker was in; we see who asks, which is the same but
    // for programs that moved since.
    let (net, family) = match world.sockets.find(task, call.int(0)) {
        Some(Emulated::Netlink(n)) => (n.socket.net().clone(), libc::AF_NETLINK),
        Some(Emulated::Stream(s)) => (s.net.clone(), s.kind.domain()),
        Some(Emulated::Datagram(d)) => (d.net.clone(), d.kind.domain()),
        Some(Emulated::Control(_)) => return Outcome::Errno(libc::ENOTTY),
        Some(Emulated::Unix(net)) => (net, libc::AF_UNIX),
        Some(Emulated::Tun(file)) => (file.net.clone(), libc::AF_UNIX),
        None => match world.net_of(task) {
            Ok(net) => (net, libc::AF_UNIX),
            Err(e) => return Outcome::Errno(e),
        },
    };
    match request {
        SIOCGSKNS => {
            if !world.users.cred(task).capable(net.owner(), Cap::NetAdmin) {
                return Outcome::Errno(libc::EPERM);
            }
            let mut spaces = lock(&world.spaces);
            let id = spaces.of_net(&net);
            match spaces.open_file(id, false) {
                Ok(fd) => Outcome::Fd(fd, true),
                Err(e) => Outcome::Errno(e),
            }
        }
        SIOCGIFCONF => ifconf(world, task, &net, call.args[2]),
        SIOCGIFCOUNT => Outcome::Errno(libc::ENOTTY),
        request if arp::is_arp(request) => arp::handle(world, task, &net, family, request, call.args[2]),
        SIOCETHTOOL => ask_driver(world, task, &net, call.args[2]),
        SIOCADDRT | SIOCDELRT | SIOCRTMSG => route::handle(world, task, &net, family, request, call.args[2]),
        _ if family == libc::AF_INET6 && If6Change::from_number(request).is_some() => {
            set6(world, task, &net, request, call.args[2])
        }
        _ => match IfRequest::from_number(request) {
            Some(request) => ifreq(world, task, &net, family, request, call.args[2]),
            None => match IfChange::from_number(request) {
                Some(change) => set(world, task, &net, family, change, call.args[2]),
                None => unanswered(world, task, &net, family, request, call.args[2]),
            },
        },
    }
}

fn ifreq(world: &World, task: Task, net: &NetRef, family: i32, request: IfRequest, at: u64) -> Outcome {
    let memory = Memory::of(task.tid);
    let mut raw = [0; IFREQ_LEN];
    if let Err(e) = memory.read(at, &mut raw) {
        return Outcome::Errno(e.errno());
    }
    match ioctl_ifreq(&world.stack, net, family, request, &mut raw) {
        Ok(()) => write(task, at, &raw),
        Err(e) => Outcome::Errno(e.errno()),
    }
}

/// A request to change an interface: its caller's rights are judged before the interface is looked for.
fn set(world: &World, task: Task, net: &NetRef, family: i32, change: IfChange, at: u64) -> Outcome {
    let mut raw = [0; IFREQ_LEN];
    if let Err(e) = Memory::of(task.tid).read(at, &mut raw) {
        return Outcome::Errno(e.errno());
    }
    if !change.is_for(family) {
        return Outcome::Errno(libc::ENOTTY);
    }
    if !world.users.cred(task).capable(net.owner(), Cap::NetAdmin) {
        return Outcome::Errno(libc::EPERM);
    }
    ioctl_change(&world.stack, net, family, change, &raw)
        .map_or_else(|e| Outcome::Errno(e.errno()), |()| Outcome::Value(0))
}

/// A request to change an IPv6 address: its caller's rights are judged first, but where no device could do it.
fn set6(world: &World, task: Task, net: &NetRef, request: u32, at: u64) -> Outcome {
    let Some(change) = If6Change::from_number(request) else {
        return Outcome::Errno(libc::ENOTTY);
    };
    let mut raw = [0; IN6_IFREQ_LEN];
    if change != If6Change::DstAddr && !world.users.cred(task).capable(net.owner(), Cap::NetAdmin) {
        return Outcome::Errno(libc::EPERM);
    }
    if let Err(e) = Memory::of(task.tid).read(at, &mut raw) {
        return Outcome::Errno(e.errno());
    }
    let result = ioctl_change6(&world.stack, net, change, &raw);
    result.map_or_else(|e| Outcome::Errno(e.errno()), |()| Outcome::Value(0))
}

/// Requests that no device here answers, in the words of Linux: those that a driver would have to know are judged by
/// rights and device first.
fn unanswered(world: &World, task: Task, net: &NetRef, family: i32, request: u32, at: u64) -> Outcome {
    const SIOCSIFPFLAGS: u32 = 0x8934;
    const SIOCGIFBR: u32 = 0x8940;
    const SIOCSIFBR: u32 = 0x8941;
    const SIOCGHWTSTAMP: u32 = 0x89b1;
    let privileged = world.users.cred(task).capable(net.owner(), Cap::NetAdmin);
    match request {
        SIOCSIFPFLAGS if family == libc::AF_INET => Outcome::Errno(libc::EINVAL),
        SIOCGIFBR | SIOCSIFBR => Outcome::Errno(libc::EOPNOTSUPP),
        // MII registers, bundles, bridges' ports.
        0x8947..=0x894a | 0x8990..=0x8995 | 0x89a2 | 0x89a3 if !privileged => Outcome::Errno(libc::EPERM),
        // Also what only the driver knows the meaning of.
        0x8947..=0x894a | 0x8990..=0x8995 | 0x89a2 | 0x89a3 | SIOCGHWTSTAMP | 0x89f0..=0x89ff => {
            let mut raw = [0; IFREQ_LEN];
            if let Err(e) = Memory::of(task.tid).read(at, &mut raw) {
                return Outcome::Errno(e.errno());
            }
            let known = world.stack.links(net).is_some_and(|l| l.by_name(&device_name(&raw)).is_some());
            Outcome::Errno(if known { libc::EOPNOTSUPP } else { libc::ENODEV })
        }
        _ => Outcome::Errno(libc::ENOTTY),
    }
}

fn device_name(ifreq: &[u8; IFREQ_LEN]) -> String {
    let name = ifreq[..16].split(|&b| b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// The addresses of the namespace, as many as there is room for. `struct ifconf` begins with the room in bytes, then has
/// a pointer; where that is null, the room that all of them need is told.
fn ifconf(world: &World, task: Task, net: &NetRef, at: u64) -> Outcome {
    let memory = Memory::of(task.tid);
    let mut raw = [0; 16];
    if let Err(e) = memory.read(at, &mut raw) {
        return Outcome::Errno(e.errno());
    }
    let room = i32::from_ne_bytes([raw[0], raw[1], raw[2], raw[3]]);
    let buffer = u64::from_ne_bytes(raw[8..].try_into().unwrap_or_default());
    let entries = ioctl_ifconf(&world.stack, net);
    let fit = if buffer == 0 { entries.len() } else { usize::try_from(room).unwrap_or(0) / IFREQ_LEN };
    let bytes: Vec<u8> = entries.into_iter().take(fit).flatten().collect();
    if buffer != 0
        && let Err(e) = memory.write(buffer, &bytes)
    {
        return Outcome::Errno(e.errno());
    }
    write(task, at, &i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_ne_bytes())
}

fn ask_driver(world: &World, task: Task, net: &NetRef, at: u64) -> Outcome {
    let memory = Memory::of(task.tid);
    let mut raw = [0; IFREQ_LEN];
    if let Err(e) = memory.read(at, &mut raw) {
        return Outcome::Errno(e.errno());
    }
    let Some(link) = world.stack.links(net).and_then(|l| l.by_name(&device_name(&raw))) else {
        return Outcome::Errno(libc::ENODEV);
    };
    let data = u64::from_ne_bytes(raw[16..24].try_into().unwrap_or_default());
    ethtool::handle(world, task, net, &link, data)
}
