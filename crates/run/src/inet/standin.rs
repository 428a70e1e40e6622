//! Where no packet moves yet: such a socket can be made, named, asked and listened on; whoever wants to send finds no
//! route, as with `lo` down.
//!
//! The stand-in is an unconnected AF_UNIX socket, whose readiness is that of a fresh socket; nothing of it is
//! connected to anything, so nothing can leave.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use pernet::{Cap, Cred, NetRef};

use super::{Family, Kind, address, common_option, send_many, write_name};
use crate::listener::Call;
use crate::mem::Memory;
use crate::msghdr::MsgHeader;
use crate::sys;
use crate::syscalls::Outcome;
use crate::task::{FileId, Task};
use crate::world::{World, lock};

const IP_BIND_ADDRESS_NO_PORT: i32 = 24;
const PRIVILEGED_PORTS: u16 = 1024;
/// net.ipv4.ip_local_port_range of a fresh namespace.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32768..=60999;

#[derive(Default)]
struct State {
    /// Bound port, and address in wire form.
    local: Option<(u16, Vec<u8>)>,
    packet_ifindex: u32,
    listening: bool,
    options: HashMap<(i32, i32), Vec<u8>>,
}

/// Such a socket.
pub(crate) struct StandIn {
    /// The program's end.
    pub(crate) id: FileId,
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it was made: it stays there whatever its owner does.
    pub(crate) net: NetRef,
    kept: Option<OwnedFd>,
    state: Mutex<State>,
}

impl StandIn {
    /// A fresh socket.
    pub(crate) fn new(id: FileId, kind: Kind, net: NetRef, kept: Option<OwnedFd>) -> Self {
        Self { id, kind, net, kept, state: Mutex::default() }
    }

    /// Our copy of the program's end, if we keep one.
    pub(crate) fn kept(&self) -> Option<BorrowedFd<'_>> {
        self.kept.as_ref().map(AsFd::as_fd)
    }

    fn address_len(&self) -> usize {
        match self.kind.family {
            Family::V4 => 16,
            Family::V6 => 28,
            Family::Packet => 20,
        }
    }

    /// The address of this socket as `getsockname` returns it.
    pub(crate) fn local_name(&self) -> Vec<u8> {
        let state = lock(&self.state);
        let mut raw = vec![0; self.address_len()];
        raw[..2].copy_from_slice(&(self.kind.domain() as u16).to_ne_bytes());
        match (&state.local, self.kind.family) {
            (_, Family::Packet) => {
                raw[2..4].copy_from_slice(&(self.kind.protocol as u16).to_ne_bytes());
                raw[4..8].copy_from_slice(&state.packet_ifindex.to_ne_bytes());
                raw[8..10].copy_from_slice(&u16::from(state.packet_ifindex == 1).wrapping_mul(772).to_ne_bytes());
                raw[11] = 6;
                raw.truncate(18);
            }
            (Some((port, address)), family) => {
                raw[2..4].copy_from_slice(&port.to_be_bytes());
                let at = if family == Family::V4 { 4 } else { 8 };
                raw[at..at + address.len()].copy_from_slice(address);
            }
            (None, _) => {}
        }
        raw
    }

    /// `bind`.
    ///
    /// # Errors
    /// As the kernel's in a namespace without addresses: any IPv4 address may be named (there is no routing table to
    /// say that it is not ours), of IPv6 only the unspecified one.
    pub(crate) fn bind(&self, world: &World, cred: &Cred, raw: &[u8]) -> Result<(), i32> {
        let (port, address) = self.parse(raw)?;
        let mut state = lock(&self.state);
        if self.kind.family == Family::Packet {
            let index = raw.get(4..8).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
            let known = index == 0 || world.stack.links(&self.net).is_some_and(|l| l.by_index(index).is_some());
            state.packet_ifindex = if known {
                index
            } else {
                return Err(libc::ENODEV);
            };
            return Ok(());
        }
        if state.local.is_some() {
            return Err(libc::EINVAL);
        }
        if self.kind.family == Family::V6 {
            let a = Ipv6Addr::from(<[u8; 16]>::try_from(address.as_slice()).unwrap_or_default());
            let needs_scope = a.is_unicast_link_local() || a.is_multicast();
            if needs_scope {
                return Err(libc::EINVAL);
            }
            if !a.is_unspecified() {
                return Err(libc::EADDRNOTAVAIL);
            }
        }
        let owner = self.net.owner();
        if port != 0
            && port < PRIVILEGED_PORTS
            && self.kind.ty != libc::SOCK_RAW
            && !cred.capable(owner, Cap::NetBindService)
        {
            return Err(libc::EACCES);
        }
        drop(state);
        let port = if self.kind.ty == libc::SOCK_RAW { 0 } else { self.claim(world, port, &address)? };
        state = lock(&self.state);
        state.local = Some((port, address));
        Ok(())
    }

    fn parse(&self, raw: &[u8]) -> Result<(u16, Vec<u8>), i32> {
        let family = raw.first_chunk::<2>().map_or(0, |b| i32::from(u16::from_ne_bytes(*b)));
        let (least, address) = match self.kind.family {
            Family::V4 => (16, 4..8),
            Family::V6 => (24, 8..24),
            Family::Packet => (12, 0..0),
        };
        if raw.len() < least {
            return Err(libc::EINVAL);
        }
        if family != self.kind.domain() && !(family == 0 && self.kind.family == Family::V4) {
            return Err(if self.kind.family == Family::Packet { libc::EINVAL } else { libc::EAFNOSUPPORT });
        }
        Ok((u16::from_be_bytes([raw[2], raw[3]]), raw[address].to_vec()))
    }

    fn claim(&self, world: &World, port: u16, address: &[u8]) -> Result<u16, i32> {
        if port != 0 {
            if !self.conflicts(world, port, address) {
                return Ok(port);
            }
            // The holder may have been closed: that is only seen by looking.
            for _ in 0..3 {
                world.sockets.sweep(1);
                if !self.conflicts(world, port, address) {
                    return Ok(port);
                }
                // A socket that we have just handed over is open here for some microseconds more.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            return Err(libc::EADDRINUSE);
        }
        if self.option(libc::SOL_IP, IP_BIND_ADDRESS_NO_PORT).is_some_and(|v| v.iter().any(|&b| b != 0)) {
            return Ok(0);
        }
        self.ephemeral(world, address)
    }

    fn ephemeral(&self, world: &World, address: &[u8]) -> Result<u16, i32> {
        let start = EPHEMERAL.start() + (self.id.ino % u64::from(EPHEMERAL.end() - EPHEMERAL.start())) as u16;
        let mut candidates = (start..=*EPHEMERAL.end()).chain(*EPHEMERAL.start()..start);
        candidates.find(|&p| !self.conflicts(world, p, address)).ok_or(libc::EADDRINUSE)
    }

    fn autobind(&self, world: &World) -> Result<(), i32> {
        if lock(&self.state).local.is_none() {
            let address = vec![0; if self.kind.family == Family::V4 { 4 } else { 16 }];
            let port = self.ephemeral(world, &address)?;
            lock(&self.state).local = Some((port, address));
        }
        Ok(())
    }

    fn conflicts(&self, world: &World, port: u16, address: &[u8]) -> bool {
        let reuse =
            |s: &Self| s.option(libc::SOL_SOCKET, libc::SO_REUSEPORT).is_some_and(|v| v.iter().any(|&b| b != 0));
        world.sockets.inet().iter().any(|other| {
            if other.id == self.id || other.net != self.net || other.kind.protocol != self.kind.protocol {
                return false;
            }
            let state = lock(&other.state);
            let Some((theirs, their_address)) = &state.local else {
                return false;
            };
            let any = |a: &[u8]| a.iter().all(|&b| b == 0);
            let overlap = any(address) || any(their_address) || their_address.as_slice() == address;
            let clash = *theirs == port && overlap;
            drop(state);
            clash && !(reuse(self) && reuse(other))
        })
    }

    /// `listen`.  `app` is the program's own end.
    ///
    /// # Errors
    /// EOPNOTSUPP for sockets without connections; EADDRINUSE when no port is left.
    pub(crate) fn listen(&self, world: &World, app: BorrowedFd<'_>, backlog: i32) -> Result<(), i32> {
        if !self.kind.is_stream() {
            return Err(libc::EOPNOTSUPP);
        }
        self.autobind(world)?;
        sys::autobind_listen(app, backlog).map_err(|e| sys::errno_of(&e))?;
        lock(&self.state).listening = true;
        Ok(())
    }

    /// `shutdown`: of a socket without a connection only a listener can be.
    ///
    /// # Errors
    /// EINVAL for a bad direction, ENOTCONN.
    pub(crate) fn shutdown(&self, how: i32) -> Result<(), i32> {
        if !(0..=2).contains(&how) {
            return Err(libc::EINVAL);
        }
        let state = lock(&self.state);
        if state.listening { Ok(()) } else { Err(libc::ENOTCONN) }
    }

    /// Where a send or a connection to this address ends: with `lo` down and no addresses there is no way anywhere.
    ///
    /// # Errors
    /// Always one, but for AF_UNSPEC, which dissolves an association that was never made.
    pub(crate) fn reach(&self, world: &World, raw: &[u8], connecting: bool) -> Result<(), i32> {
        let family = raw.first_chunk::<2>().map(|b| i32::from(u16::from_ne_bytes(*b)));
        match family {
            None => return Err(libc::EINVAL),
            Some(libc::AF_UNSPEC) if connecting => return Ok(()),
            Some(_) => {}
        }
        if self.kind.family == Family::Packet {
            return Err(if connecting { libc::EOPNOTSUPP } else { libc::ENXIO });
        }
        if lock(&self.state).listening {
            return Err(libc::EISCONN);
        }
        if self.kind.is_stream() && !connecting {
            return Err(libc::EPIPE);
        }
        let (_, address) = self.parse(raw)?;
        if self.kind.ty == libc::SOCK_DGRAM {
            // The port is taken before the route is looked for, and kept.
            self.autobind(world)?;
        }
        match <[u8; 4]>::try_from(address.as_slice()) {
            Ok(_) => Err(libc::ENETUNREACH),
            Err(_) => {
                Err(self
                    .reach_v6(Ipv6Addr::from(<[u8; 16]>::try_from(address.as_slice()).unwrap_or_default()), connecting))
            }
        }
    }

    /// What a send without a destination fails with.
    pub(crate) fn unaddressed(&self) -> i32 {
        if self.kind.is_stream() { libc::EPIPE } else { libc::EDESTADDRREQ }
    }

    fn reach_v6(&self, to: Ipv6Addr, connecting: bool) -> i32 {
        if to.to_ipv4_mapped().is_some() {
            libc::ENETUNREACH
        } else if !connecting {
            libc::EADDRNOTAVAIL
        } else if to.is_unicast_link_local() || (to.is_multicast() && !self.kind.is_stream()) {
            libc::EINVAL // an address of one link, and no link named
        } else if to.is_multicast() {
            libc::ENETUNREACH
        } else {
            libc::EADDRNOTAVAIL
        }
    }

    /// What an option was last set to.
    pub(crate) fn option(&self, level: i32, name: i32) -> Option<Vec<u8>> {
        lock(&self.state).options.get(&(level, name)).cloned()
    }

    /// Remembers an option.
    pub(crate) fn set_option(&self, level: i32, name: i32, value: Vec<u8>) {
        lock(&self.state).options.insert((level, name), value);
    }
}

/// Answers a call on such a socket.
pub(super) fn handle(world: &World, task: Task, call: &Call, s: &StandIn) -> Outcome {
    match call.nr {
        // A listener's own stand-in waits; nobody can connect to it.
        libc::SYS_accept | libc::SYS_accept4 if s.kind.is_stream() => Outcome::Proceed,
        libc::SYS_accept | libc::SYS_accept4 => Outcome::Errno(libc::EOPNOTSUPP),
        libc::SYS_getsockopt => Outcome::from(getsockopt(task, call, s)),
        libc::SYS_setsockopt => setsockopt(world, task, call, s),
        _ => Outcome::from(on_inet(world, task, call, s)),
    }
}

fn on_inet(world: &World, task: Task, call: &Call, s: &StandIn) -> Result<i64, i32> {
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

fn inet_sendmsg(world: &World, task: Task, s: &StandIn, header: u64) -> Result<i64, i32> {
    let header = MsgHeader::read(Memory::of(task.tid), header)?;
    if header.name == 0 || header.name_len == 0 {
        return Err(s.unaddressed());
    }
    s.reach(world, &address(task, header.name, header.name_len as i32)?, false).map(|()| 0)
}

fn getsockopt(task: Task, call: &Call, s: &StandIn) -> Result<i64, i32> {
    let (level, name) = (call.int(1), call.int(2));
    if let Some(answer) = common_option(task, call, s.kind, &s.net) {
        return answer;
    }
    let memory = Memory::of(task.tid);
    let room = memory.u32(call.args[4]).map_err(|e| e.errno())? as usize;
    let value = match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ERROR) => vec![0; 4],
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => s.option(level, name).unwrap_or_default(),
        (libc::SOL_SOCKET, _) => {
            s.option(level, name).and_then(|v| Some(v.first_chunk::<4>()?.to_vec())).unwrap_or(vec![0; 4])
        }
        _ if is_level_of(s, level) => s.option(level, name).unwrap_or_else(|| vec![0; room.min(4)]),
        _ => return Err(libc::ENOPROTOOPT),
    };
    memory.write_sized(call.args[3], call.args[4], &value).map_err(|e| e.errno())?;
    Ok(0)
}

fn setsockopt(world: &World, task: Task, call: &Call, s: &StandIn) -> Outcome {
    let (level, name) = (call.int(1), call.int(2));
    let value = match super::option_value(task, call) {
        Ok(value) => value,
        Err(e) => return Outcome::Errno(e),
    };
    let admin = world.users.cred(task).capable(s.net.owner(), Cap::NetAdmin);
    match level {
        libc::SOL_SOCKET => set_inet_option(world, s, name, value, admin),
        _ if is_level_of(s, level) => {
            s.set_option(level, name, value);
            Outcome::Value(0)
        }
        _ => Outcome::Errno(libc::ENOPROTOOPT),
    }
}

/// Option levels that a socket of this kind understands.
fn is_level_of(s: &StandIn, level: i32) -> bool {
    match s.kind.family {
        Family::Packet => level == libc::SOL_PACKET,
        Family::V4 => level == libc::SOL_IP || level == s.kind.protocol || level == libc::SOL_RAW,
        Family::V6 => {
            level == libc::SOL_IPV6 || level == libc::SOL_IP || level == s.kind.protocol || level == libc::SOL_RAW
        }
    }
}

fn set_inet_option(world: &World, s: &StandIn, name: i32, value: Vec<u8>, admin: bool) -> Outcome {
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
