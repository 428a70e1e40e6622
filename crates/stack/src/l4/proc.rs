//! Sockets as `/proc/net/{udp,udp6,udplite,udplite6,raw,raw6,icmp,icmp6,packet}` list them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::sock::{Kind, Proto, Sock};
use crate::proc::{sockets4, sockets6};
use crate::state::Ns;

/// States of connections, as TCP has them: who is connected, and who is not.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
/// Chains of the table that UDP and ping have, and of the one of raw sockets: of the first column.
const UDP_CHAINS: u32 = 16384;
const RAW_CHAINS: u32 = 256;

/// `/proc/net/udp`.
pub(crate) fn udp(ns: Ns<'_>) -> String {
    list4(ns, Proto::Udp, sockets4(3, true, 127), 5, 127)
}

/// `/proc/net/udp6`.
pub(crate) fn udp6(ns: Ns<'_>) -> String {
    list6(ns, Proto::Udp)
}

/// `/proc/net/udplite`.
pub(crate) fn udplite(ns: Ns<'_>) -> String {
    list4(ns, Proto::UdpLite, sockets4(3, true, 127), 5, 127)
}

/// `/proc/net/udplite6`.
pub(crate) fn udplite6(ns: Ns<'_>) -> String {
    list6(ns, Proto::UdpLite)
}

/// `/proc/net/icmp`.
pub(crate) fn icmp(ns: Ns<'_>) -> String {
    list4(ns, Proto::Ping, sockets4(2, true, 127), 5, 127)
}

/// `/proc/net/icmp6`.
pub(crate) fn icmp6(ns: Ns<'_>) -> String {
    list6(ns, Proto::Ping)
}

/// `/proc/net/raw`.
pub(crate) fn raw(ns: Ns<'_>) -> String {
    list4(ns, Proto::Raw(0), sockets4(2, true, 0), 4, 0)
}

/// `/proc/net/raw6`.
pub(crate) fn raw6(ns: Ns<'_>) -> String {
    list6(ns, Proto::Raw(0))
}

/// `/proc/net/packet`.
pub(crate) fn packet(ns: Ns<'_>) -> String {
    let mut out = String::from("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n");
    let Some(packets) = ns.state().l4.packets.peek() else { return out };
    for row in packets.rows() {
        let running = row.protocol != 0;
        let _ = writeln!(
            out,
            "{:016x} {:<6} {:<4} {:04x}   {:<5} {} {:<6} {:<6} {:<6}",
            obscured(ns, row.id),
            2 + u8::from(running),
            row.ty,
            row.protocol,
            row.ifindex,
            u8::from(running),
            row.bytes,
            row.uid,
            row.inode,
        );
    }
    out
}

/// The sockets of a protocol and family, in the order of their chains.
fn sockets(ns: Ns<'_>, v6: bool, proto: Proto) -> Vec<(u32, Arc<Sock>)> {
    let l4 = &ns.state().l4;
    let all = match proto {
        Proto::Udp | Proto::UdpLite => l4.peek_udp(proto).map(|ports| ports.all()),
        Proto::Ping => l4.peek_ping(v6).map(|ports| ports.all()),
        Proto::Raw(_) => l4.peek_raw().map(|raws| raws.all()),
    };
    let salt = ns.state().links.salt();
    let chain = |sock: &Sock| match proto {
        Proto::Raw(_) => (u32::from(sock.kind.protocol()).wrapping_add(salt)) % RAW_CHAINS,
        _ => u32::from(sock.lock().port).wrapping_add(salt) % UDP_CHAINS,
    };
    let of_family = all.unwrap_or_default().into_iter().filter(|sock| sock.kind.v6 == v6);
    let mut rows: Vec<(u32, Arc<Sock>)> = of_family.map(|sock| (chain(&sock), sock)).collect();
    rows.sort_by_key(|(chain, sock)| (*chain, Arc::as_ptr(sock).addr()));
    rows
}

/// A number in place of an address in memory.
fn obscured(ns: Ns<'_>, number: u64) -> u64 {
    let mixed = (number ^ u64::from(ns.state().links.salt()) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 32
}

fn v4(end: (IpAddr, u16)) -> String {
    let octets = if let IpAddr::V4(ip) = end.0 { ip.octets() } else { [0; 4] };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(octets), end.1)
}

fn v6(end: (IpAddr, u16)) -> String {
    let ip: Ipv6Addr = match end.0 {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let words: String =
        ip.octets().as_chunks::<4>().0.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect();
    format!("{words}:{:04X}", end.1)
}

fn rest(ns: Ns<'_>, sock: &Arc<Sock>) -> (String, (IpAddr, u16), (IpAddr, u16)) {
    let state = sock.lock();
    let port = if let Proto::Raw(protocol) = sock.kind.proto { protocol.into() } else { state.port };
    let any = Kind { v6: sock.kind.v6, proto: Proto::Udp }.any();
    let peer = state.peer.map_or((any, 0), |peer: SocketAddr| (peer.ip(), peer.port()));
    let text = format!(
        "{:02X} {:08X}:{:08X} 00:00000000 00000000 {:5}        0 {} 2 {:016x} {}",
        if state.peer.is_some() { ESTABLISHED } else { CLOSE },
        0,
        state.queue.bytes(),
        sock.uid,
        sock.inode.load(Ordering::Relaxed),
        obscured(ns, Arc::as_ptr(sock).addr() as u64),
        state.queue.drops(),
    );
    (text, (state.local, port), peer)
}

fn list4(ns: Ns<'_>, proto: Proto, heading: String, chain_width: usize, width: usize) -> String {
    let mut out = heading;
    for (chain, sock) in sockets(ns, false, proto) {
        let (rest, local, peer) = rest(ns, &sock);
        let row = format!("{chain:chain_width$}: {} {} {rest}", v4(local), v4(peer));
        let _ = writeln!(out, "{row:width$}");
    }
    out
}

fn list6(ns: Ns<'_>, proto: Proto) -> String {
    let mut out = sockets6(true);
    for (chain, sock) in sockets(ns, true, proto) {
        let (rest, local, peer) = rest(ns, &sock);
        let _ = writeln!(out, "{chain:5}: {} {} {rest}", v6(local), v6(peer));
    }
    out
}
