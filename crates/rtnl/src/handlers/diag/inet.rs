//! TCP and UDP sockets (`tcp_diag.c`, `udp_diag.c`, `inet_diag.c`).

use std::net::{IpAddr, SocketAddr};

use pernet::Cap;
use pernet_stack::{InetEntry, Md5Key, TcpState, TcpTimer};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck};

use super::{INET_DIAG_REQ_BYTECODE, INET_REQ, IPPROTO_TCP, IPPROTO_UDPLITE, filter, words};
use crate::dispatch::Outcome;
use crate::handlers::{DumpOut, Request, Step};

/// `INET_DIAG_*`.
mod attr {
    pub(super) const MEMINFO: u16 = 1;
    pub(super) const INFO: u16 = 2;
    pub(super) const CONG: u16 = 4;
    pub(super) const TOS: u16 = 5;
    pub(super) const TCLASS: u16 = 6;
    pub(super) const SKMEMINFO: u16 = 7;
    pub(super) const SHUTDOWN: u16 = 8;
    pub(super) const SKV6ONLY: u16 = 11;
    pub(super) const MARK: u16 = 15;
    pub(super) const CLASS_ID: u16 = 17;
    pub(super) const MD5SIG: u16 = 18;
    pub(super) const CGROUP_ID: u16 = 21;
    pub(super) const SOCKOPT: u16 = 22;
}

/// Of `idiag_states`: bound, and neither listening nor connected.
const BOUND_INACTIVE: u32 = 1 << 13;
/// Any socket, whatever its cookie (`INET_DIAG_NOCOOKIE`).
const NO_COOKIE: u64 = u64::MAX;
/// Room for what came unless the program says otherwise (`tcp_rmem`), and a listener's for what is to go (`tcp_wmem`).
const RECEIVE_BUFFER: u32 = 131_072;
const LISTENER_BUFFER: u32 = 16_384;

/// `struct inet_diag_req_v2`, its header's length checked.
#[derive(Clone, Copy)]
struct Asked {
    v6: bool,
    protocol: u8,
    /// Which attributes, by number less one.
    ext: u8,
    states: u32,
    source: SocketAddr,
    destination: SocketAddr,
    device: u32,
    cookie: u64,
}

fn asked(payload: &[u8]) -> Option<Asked> {
    let raw = payload.first_chunk::<INET_REQ>()?;
    let word = |at: usize| raw[at..].first_chunk().map_or(0, |&b| u32::from_ne_bytes(b));
    let v6 = i32::from(raw[0]) == AF_INET6;
    let port = |at: usize| u16::from_be_bytes([raw[at], raw[at + 1]]);
    let ip = |at: usize| {
        let of6 = raw[at..].first_chunk::<16>().copied().unwrap_or_default();
        let [a, b, c, d, ..] = of6;
        if v6 { IpAddr::from(of6) } else { IpAddr::from([a, b, c, d]) }
    };
    Some(Asked {
        v6,
        protocol: raw[1],
        ext: raw[2],
        states: word(4),
        source: SocketAddr::new(ip(12), port(8)),
        destination: SocketAddr::new(ip(28), port(10)),
        device: word(44),
        cookie: u64::from(word(48)) | u64::from(word(52)) << 32,
    })
}

fn bytecode<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    request.msg.attrs(INET_REQ).find(|attr| attr.ty == INET_DIAG_REQ_BYTECODE).map(|attr| attr.payload)
}

/// Is the program that chooses sound?
pub(super) fn has_sound_filter(request: &Request<'_>) -> bool {
    bytecode(request).is_none_or(|program| filter::is_sound(program, request.permitted(Cap::NetAdmin)))
}

impl Asked {
    fn wants(&self, entry: &InetEntry) -> bool {
        // One that only has a port is listed for those who ask for such alone.
        let inactive = entry.state == TcpState::Close && entry.protocol == IPPROTO_TCP;
        let state = if inactive { BOUND_INACTIVE } else { 1 << entry.state as u32 };
        let port = |asked: SocketAddr, has: SocketAddr| asked.port() == 0 || asked.port() == has.port();
        self.states & state != 0 && port(self.source, entry.local) && port(self.destination, entry.peer)
    }

    fn is(&self, entry: &InetEntry) -> bool {
        let same = |asked: SocketAddr, has: SocketAddr| {
            asked.port() == has.port() && (asked.ip() == has.ip() || asked.ip().to_canonical() == has.ip())
        };
        let listener = entry.state == TcpState::Listen && self.destination.port() == 0;
        let local = same(self.source, entry.local)
            || (listener && entry.local.ip().is_unspecified() && self.source.port() == entry.local.port());
        let device = self.device == 0 || entry.device == 0 || self.device == entry.device;
        let cookie = self.cookie == NO_COOKIE || self.cookie == entry.cookie;
        local && (listener || same(self.destination, entry.peer)) && device && cookie
    }
}

/// The order of a dump: a key for each, which others that vanish do not move. Of TCP those who listen come first.
fn key(entry: &InetEntry) -> u64 {
    /// Chains of UDP's table.
    const CHAINS: u16 = 16384;
    if entry.protocol != IPPROTO_TCP {
        return u64::from(entry.local.port() % CHAINS) << 48 | entry.cookie;
    }
    entry.cookie | if entry.state == TcpState::Listen { 0 } else { 1 << 63 }
}

impl Asked {
    const fn lite(&self) -> bool {
        self.protocol == IPPROTO_UDPLITE
    }

    /// Those of the family and protocol asked for, in the order of their keys.
    fn all(&self, request: &Request<'_>) -> Vec<InetEntry> {
        if self.protocol == IPPROTO_TCP {
            return request.stack().tcp_sockets(request.net, self.v6);
        }
        let mut sockets = request.stack().udp_sockets(request.net, self.v6, self.lite());
        sockets.sort_by_key(key);
        sockets
    }

    /// The one that is meant.
    fn find(&self, request: &Request<'_>) -> Option<InetEntry> {
        if self.protocol == IPPROTO_TCP {
            // The most particular are the last.
            return self.all(request).into_iter().rev().find(|entry| self.is(entry));
        }
        // Who would get a packet with these ends.
        let found = request.stack().udp_lookup(request.net, self.lite(), self.source, self.destination, self.device);
        found.filter(|entry| self.cookie == NO_COOKIE || self.cookie == entry.cookie)
    }
}

/// `inet_diag_dump`.
pub(super) fn dump(request: &Request<'_>, out: &mut DumpOut, _: &mut ExtAck) -> Result<Step, Errno> {
    let asked = asked(request.msg.payload()).ok_or(Errno::EINVAL)?;
    let admin = request.permitted(Cap::NetAdmin);
    let program = bytecode(request);
    let mut listed = false;
    for entry in asked.all(request) {
        if key(&entry) < out.cursor.next {
            continue;
        }
        if asked.wants(&entry) && program.is_none_or(|program| filter::chooses(program, &entry)) {
            let written = out.entry(SOCK_DIAG_BY_FAMILY, |m| fill(m, &entry, asked.ext, admin));
            if written.is_err() {
                return Ok(Step::More);
            }
            listed = true;
        }
        out.cursor.next = key(&entry) + 1;
    }
    // That this was all is told by a datagram of its own.
    out.cursor.next = u64::MAX;
    Ok(if listed { Step::More } else { Step::Done })
}

/// `inet_diag_get_exact`.
pub(super) fn one(request: &Request<'_>) -> Outcome {
    let answer = asked(request.msg.payload()).ok_or(Errno::EINVAL).and_then(|asked| {
        let entry = asked.find(request).ok_or(Errno::ENOENT)?;
        let mut message = Builder::message(&request.reply_header(SOCK_DIAG_BY_FAMILY, 0));
        fill(&mut message, &entry, asked.ext, request.permitted(Cap::NetAdmin));
        request.reply(message.finish())
    });
    answer.into()
}

/// `tcp_diag_destroy`, `udp_diag_destroy`.
pub(super) fn destroy(request: &Request<'_>) -> Result<(), Errno> {
    if !request.permitted(Cap::NetAdmin) {
        return Err(Errno::EPERM);
    }
    let mut asked = asked(request.msg.payload()).ok_or(Errno::EINVAL)?;
    if asked.protocol != IPPROTO_TCP {
        // Here the ends are the socket's own.
        (asked.source, asked.destination) = (asked.destination, asked.source);
    }
    let entry = asked.find(request).ok_or(Errno::ENOENT)?;
    let stack = request.stack();
    if asked.protocol != IPPROTO_TCP {
        stack.udp_destroy(request.net, asked.lite(), asked.source, asked.destination, asked.device);
        return Ok(());
    }
    if stack.tcp_destroy(request.net, entry.cookie) { Ok(()) } else { Err(Errno::ENOENT) }
}

/// `inet_sk_diag_fill`, `inet_twsk_diag_fill`.
fn fill(m: &mut Builder, entry: &InetEntry, ext: u8, admin: bool) {
    let family = if entry.v6 { AF_INET6 } else { AF_INET };
    let mut body = Vec::with_capacity(72);
    body.extend_from_slice(&[family as u8, entry.state as u8, entry.timer as u8, entry.retransmits]);
    body.extend_from_slice(&entry.local.port().to_be_bytes());
    body.extend_from_slice(&entry.peer.port().to_be_bytes());
    for addr in [entry.local, entry.peer] {
        let at = body.len();
        match addr.ip() {
            IpAddr::V4(ip) => body.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => body.extend_from_slice(&ip.octets()),
        }
        body.resize(at + 16, 0);
    }
    body.extend_from_slice(&entry.device.to_ne_bytes());
    body.extend_from_slice(&(entry.cookie as u32).to_ne_bytes());
    body.extend_from_slice(&((entry.cookie >> 32) as u32).to_ne_bytes());
    let left = if entry.timer == TcpTimer::None { 0 } else { entry.expires.as_millis() };
    body.extend_from_slice(&u32::try_from(left).unwrap_or(u32::MAX).to_ne_bytes());
    for word in [entry.receive_queue, entry.send_queue, entry.uid, entry.inode as u32] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    m.put_raw(&body);
    if entry.remains {
        if admin {
            m.put_u32(attr::MARK, entry.mark);
        }
        return;
    }
    let wants = |ty: u16| ext & 1 << (ty - 1) != 0;
    m.put_u8(attr::SHUTDOWN, entry.shutdown);
    if wants(attr::TOS) {
        m.put_u8(attr::TOS, entry.tos);
    }
    if entry.v6 {
        if wants(attr::TCLASS) {
            m.put_u8(attr::TCLASS, entry.tos);
        }
        if matches!(entry.state, TcpState::Listen | TcpState::Close) {
            m.put_u8(attr::SKV6ONLY, entry.v6_only.into());
        }
    }
    if admin {
        m.put_u32(attr::MARK, entry.mark);
    }
    if wants(attr::TCLASS) {
        m.put_u32(attr::CLASS_ID, 0);
    }
    m.put_u64(attr::CGROUP_ID, filter::CGROUP);
    let [errors, free, no_port] = entry.flags.map(u8::from);
    let [loops, all] = entry.groups.map(u8::from);
    let connection = u8::from(entry.protocol == IPPROTO_TCP);
    m.put(attr::SOCKOPT, &[errors | connection << 1 | free << 2 | loops << 4 | all << 6, no_port]);
    let memory = Memory::of(entry);
    if wants(attr::MEMINFO) {
        m.put(attr::MEMINFO, &words(&[memory.received, memory.queued, memory.spare, 0]));
    }
    if wants(attr::SKMEMINFO) {
        let Memory { received, queued, spare, room } = memory;
        m.put(attr::SKMEMINFO, &words(&[received, room.0, 0, room.1, spare, queued, 0, 0, entry.drops]));
    }
    if let Some(info) = entry.info.as_ref().filter(|_| wants(attr::INFO)) {
        m.put(attr::INFO, &info.to_bytes());
    }
    if wants(attr::CONG) && !entry.congestion.is_empty() {
        m.put_str(attr::CONG, entry.congestion);
    }
    if admin && wants(attr::INFO) && !entry.md5.is_empty() {
        let keys: Vec<u8> = entry.md5.iter().flat_map(md5_key).collect();
        m.put(attr::MD5SIG, &keys);
    }
}

/// `struct tcp_diag_md5sig`.
fn md5_key(key: &Md5Key) -> [u8; 100] {
    let mut bytes = [0; 100];
    bytes[0] = if key.addr.is_ipv4() { AF_INET as u8 } else { AF_INET6 as u8 };
    bytes[1] = key.prefix_len;
    let len = key.secret.len().min(80);
    bytes[2..4].copy_from_slice(&(len as u16).to_ne_bytes());
    match key.addr {
        IpAddr::V4(addr) => bytes[4..8].copy_from_slice(&addr.octets()),
        IpAddr::V6(addr) => bytes[4..20].copy_from_slice(&addr.octets()),
    }
    bytes[20..20 + len].copy_from_slice(&key.secret[..len]);
    bytes
}

/// Memory of a socket.
struct Memory {
    received: u32,
    queued: u32,
    /// Reserved, and not used yet: whole pages are.
    spare: u32,
    room: (u32, u32),
}

impl Memory {
    fn of(entry: &InetEntry) -> Self {
        const PAGE: u32 = 4096;
        if entry.protocol != IPPROTO_TCP {
            let received = entry.receive_queue;
            let spare = received.next_multiple_of(PAGE) - received;
            return Self { received, queued: 0, spare, room: entry.buffers };
        }
        if entry.state == TcpState::Listen {
            return Self { received: 0, queued: 0, spare: 0, room: (RECEIVE_BUFFER, LISTENER_BUFFER) };
        }
        let room = (RECEIVE_BUFFER, entry.buffers.1);
        Self { received: entry.receive_queue, queued: entry.send_queue, spare: 0, room }
    }
}
