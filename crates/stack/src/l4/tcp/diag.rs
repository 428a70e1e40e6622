//! The connections of a namespace, as `ss` and `/proc/net/tcp` show them (`tcp_diag.c`, `tcp4_seq_show`).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pernet::Net;

use super::md5sig::Md5Key;
use super::moment::Moment;
use super::sock::Sock;
use super::state::State;
use super::timewait::TimeWait;
use super::{Holder, TcpInfo};
use crate::dev::Stack;
use crate::errno;
use crate::l2::Cx;
use crate::l4::IPPROTO_TCP;

/// What a socket waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum TcpTimer {
    /// Nothing.
    #[default]
    None = 0,
    /// An acknowledgement, or to send again.
    Retransmit = 1,
    /// The next keep-alive probe.
    Keepalive = 2,
    /// To be forgotten.
    TimeWait = 3,
}

/// A socket of an IP family that has a port, or what is left of a connection, as it is listed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InetEntry {
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// Made for IPv6.
    pub v6: bool,
    /// Its state.
    pub state: State,
    /// What it waits for, how often that has failed, and when it ends.
    pub timer: TcpTimer,
    /// Repetitions, or probes without an answer.
    pub retransmits: u8,
    /// Until the timer ends.
    pub expires: Duration,
    /// Its own end.
    pub local: SocketAddr,
    /// The other.
    pub peer: SocketAddr,
    /// Index of the device that it is bound to; 0 for none.
    pub device: u32,
    /// What tells it from all others.
    pub cookie: u64,
    /// Bytes to be read; of a listener, connections to be accepted.
    pub receive_queue: u32,
    /// Bytes that were not acknowledged; of a listener, how many may wait.
    pub send_queue: u32,
    /// Whose it is.
    pub uid: u32,
    /// Its inode number, if a program has it.
    pub inode: u64,
    /// `SO_MARK`.
    pub mark: u32,
    /// Traffic class.
    pub tos: u8,
    /// `IPV6_V6ONLY`.
    pub v6_only: bool,
    /// The port was asked for by `bind`.
    pub port_locked: bool,
    /// Which ways nothing more goes: 1 for reading, 2 for writing.
    pub shutdown: u8,
    /// `IP_RECVERR`, `IP_FREEBIND`, `IP_BIND_ADDRESS_NO_PORT`.
    pub flags: [bool; 3],
    /// `IP_MULTICAST_LOOP`, `IP_MULTICAST_ALL`.
    pub groups: [bool; 2],
    /// Only this is left of a connection.
    pub remains: bool,
    /// What is known of the connection, if it is one.
    pub info: Option<TcpInfo>,
    /// How congestion is controlled; nothing where it is not.
    pub congestion: &'static str,
    /// Room for what came and for what is to go.
    pub buffers: (u32, u32),
    /// Packets that were dropped for want of room.
    pub drops: u32,
    /// What signs segments.
    pub md5: Vec<Md5Key>,
}

const fn unspecified(v6: bool) -> SocketAddr {
    let any = if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    SocketAddr::new(any, 0)
}

/// An end of a socket: of IPv6's, an address of IPv4 is mapped.
pub(in crate::l4) fn as_listed(v6: bool, addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if v6 && ip.is_unspecified() => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), addr.port()),
        IpAddr::V4(ip) if v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        _ => addr,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Sock {
    fn entry(&self, now: Duration) -> InetEntry {
        let info = self.info();
        // Asked with no lock held.
        let (told, inode) = {
            let inner = self.lock();
            (inner.told.clone(), inner.inode)
        };
        let (unread, unsent) = told.outside(inode);
        let inner = self.lock();
        // What waits only to be forgotten has no socket any more.
        let over = inner.orphan && inner.state == State::FinWait2;
        let options = &inner.options;
        let left = |at: Option<Duration>| at.map(|at| at.saturating_sub(now));
        let armed = inner.armed.map(|place| place.when);
        let retransmit = inner.due.unheard.and(armed).or_else(|| inner.due.handshake.and(armed));
        let (timer, retransmits, expires) = if let Some(left) = left(inner.due.forget.map(Moment::get)) {
            (TcpTimer::TimeWait, 0, left)
        } else if let Some(left) = left(retransmit) {
            (TcpTimer::Retransmit, inner.counts.retransmits, left)
        } else if let Some(left) = left(inner.due.keepalive.map(Moment::get)) {
            (TcpTimer::Keepalive, u8::try_from(inner.due.probes).unwrap_or(u8::MAX), left)
        } else {
            (TcpTimer::None, 0, Duration::ZERO)
        };
        let (receive_queue, send_queue) = match (&inner.listen, &inner.engine) {
            (Some(listen), _) => (count(listen.queue.len() + listen.taken), count(listen.backlog)),
            (None, Some(_)) => (
                // The end counts as a byte, either way.
                count(inner.received() + unread) + u32::from(inner.done),
                inner.sequence.unacknowledged() + count(unsent),
            ),
            (None, None) => (count(inner.aside.len() + unread) + u32::from(inner.done), 0),
        };
        let shut = |on: bool, bit: u8| if on { bit } else { 0 };
        InetEntry {
            protocol: IPPROTO_TCP,
            v6: self.v6,
            state: inner.state,
            timer,
            retransmits,
            expires,
            local: inner.local.map_or_else(|| unspecified(self.v6), |addr| as_listed(self.v6, addr)),
            peer: inner
                .peer
                .filter(|_| inner.state != State::Listen)
                .map_or_else(|| unspecified(self.v6), |a| as_listed(self.v6, a)),
            device: options.device,
            cookie: self.cookie,
            receive_queue,
            send_queue,
            uid: if over { 0 } else { inner.uid },
            inode: if inner.orphan { 0 } else { inner.inode },
            mark: options.mark,
            tos: options.heeded(self.v6).tos,
            v6_only: options.v6_only,
            port_locked: inner.bound.is_some(),
            shutdown: shut(inner.shut_read || inner.done, 1) | shut(inner.shut_write, 2),
            flags: [options.heeded(self.v6).receive_errors, options.any_source, options.no_port],
            // Groups are none of a connection's business.
            groups: [true, !self.v6],
            remains: over,
            info: Some(info).filter(|_| !over),
            congestion: options.congestion.name(),
            buffers: (count(options.receive_buffer), count(options.send_buffer)),
            drops: 0,
            md5: options.md5.as_ref().filter(|_| !over).map_or_else(Vec::new, |keys| keys.listed()),
        }
    }

    /// Somebody ends the connection from outside (`tcp_abort`).
    fn destroy(self: &Arc<Self>, cx: Cx<'_>) {
        if self.lock().state == State::Listen {
            self.stop_listening();
        }
        self.act(cx, |inner, out| {
            let synchronized = inner.state.is_synchronized();
            if let Some(engine) = inner.engine.as_mut().filter(|_| synchronized) {
                engine.abort();
                engine.poll(cx.now(), out);
            }
            self.end(inner, errno::ECONNABORTED);
        });
    }
}

impl TimeWait {
    fn entry(&self, now: Duration) -> InetEntry {
        InetEntry {
            protocol: IPPROTO_TCP,
            v6: self.v6,
            state: State::TimeWait,
            timer: TcpTimer::TimeWait,
            retransmits: 0,
            expires: self.until().saturating_sub(now),
            local: as_listed(self.v6, self.local),
            peer: as_listed(self.v6, self.peer),
            device: 0,
            cookie: self.cookie,
            receive_queue: 0,
            send_queue: 0,
            uid: 0,
            inode: 0,
            mark: self.mark,
            tos: 0,
            v6_only: false,
            port_locked: false,
            shutdown: 0,
            flags: [false; 3],
            groups: [false; 2],
            remains: true,
            info: None,
            congestion: "",
            buffers: (0, 0),
            drops: 0,
            md5: Vec::new(),
        }
    }
}

fn holders(state: &crate::state::NetState) -> Vec<Holder> {
    // One that has never had a socket has no table either.
    state.tcp.peek().map_or_else(Vec::new, |tcp| tcp.ports.all())
}

fn list(state: &crate::state::NetState, now: Duration, v6: bool) -> Vec<InetEntry> {
    if let Some(tcp) = state.tcp.peek() {
        tcp.expire(now);
    }
    let mut entries: Vec<InetEntry> = holders(state)
        .iter()
        .map(|holder| match holder {
            Holder::Sock(sock) => sock.entry(now),
            Holder::TimeWait(connection) => connection.entry(now),
        })
        .filter(|entry| entry.v6 == v6)
        .collect();
    // Those who listen first; the others as they were made.
    entries.sort_by_key(|entry| (entry.state != State::Listen, entry.cookie));
    entries
}

impl Stack {
    /// The TCP sockets of a namespace that have a port, of one family.
    #[must_use]
    pub fn tcp_sockets(&self, net: &Net, v6: bool) -> Vec<InetEntry> {
        let now = self.inner().clock.now();
        self.state(net).map_or_else(Vec::new, |state| list(state, now, v6))
    }

    /// Ends the connection with this cookie, or listening there: its program is told `ECONNABORTED`. Says whether there was
    /// one.
    pub fn tcp_destroy(&self, net: &Net, cookie: u64) -> bool {
        let Some(cx) = Cx::new(self, net) else { return false };
        let found = holders(cx.state).into_iter().find(|holder| match holder {
            Holder::Sock(sock) => sock.cookie == cookie,
            Holder::TimeWait(connection) => connection.cookie == cookie,
        });
        match found {
            Some(Holder::Sock(sock)) => sock.destroy(cx),
            Some(Holder::TimeWait(connection)) => cx.state.tcp.forget(&connection),
            None => return false,
        }
        self.run_packets();
        true
    }
}

/// An address as `/proc` writes it: each word in the order of this machine.
fn address(addr: SocketAddr) -> String {
    let word = |bytes: [u8; 4]| u32::from_ne_bytes(bytes);
    let mut text = String::new();
    match addr.ip() {
        IpAddr::V4(ip) => _ = write!(text, "{:08X}", word(ip.octets())),
        IpAddr::V6(ip) => {
            for &bytes in ip.octets().as_chunks::<4>().0 {
                let _ = write!(text, "{:08X}", word(bytes));
            }
        }
    }
    let _ = write!(text, ":{:04X}", addr.port());
    text
}

fn ticks(time: Duration) -> u128 {
    time.as_millis().div_ceil(10)
}

/// The lines of `/proc/net/tcp` and `tcp6`, below the heading.
pub(crate) fn proc_lines(stack: &Stack, net: &Net, v6: bool) -> String {
    let mut lines = String::new();
    let entries = stack.tcp_sockets(net, v6);
    for (number, entry) in entries.iter().filter(|entry| entry.state != State::Close).enumerate() {
        // `/proc` tells nothing of an accept queue's limit.
        let sent = if entry.state == State::Listen { 0 } else { entry.send_queue };
        let mut line = format!(
            "{number:4}: {} {} {:02X} {sent:08X}:{:08X} {:02X}:{:08X} {:08X} {:5} {:8} {} ",
            address(entry.local),
            address(entry.peer),
            entry.state as u8,
            entry.receive_queue,
            entry.timer as u8,
            ticks(entry.expires),
            entry.retransmits,
            entry.uid,
            0,
            entry.inode,
        );
        // Who refers to it, its address (which only tells it from others), and what is known of its timeouts.
        let _ = match &entry.info {
            Some(_) if entry.state == State::Listen => write!(line, "1 {:016x} 100 0 0 10 0", entry.cookie),
            Some(info) => {
                write!(line, "1 {:016x} {} 4 0 10 -1", entry.cookie, info.rto / 10_000)
            }
            None => write!(line, "3 {:016x}", entry.cookie),
        };
        let width = if v6 { 0 } else { 149 };
        let _ = writeln!(lines, "{line:<width$}");
    }
    lines
}
