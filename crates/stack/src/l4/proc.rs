//! Sockets as `/proc/net/{udp,udp6,udplite,udplite6,raw,raw6,icmp,icmp6,packet}` list them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pernet::Net;

use super::packet::Packets;
use super::sock::{Kind, Proto, Sock};
use super::tcp::{InetEntry, TcpState};
use crate::dev::Stack;
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
    for entry in packets.entries() {
        let running = entry.protocol != 0;
        let _ = writeln!(
            out,
            "{:016x} {:<6} {:<4} {:04x}   {:<5} {} {:<6} {:<6} {:<6}",
            obscured(ns, entry.cookie),
            2 + u8::from(running),
            entry.ty,
            entry.protocol,
            entry.ifindex,
            u8::from(running),
            entry.memory.0,
            entry.uid,
            entry.inode,
        );
    }
    out
}

/// `/proc/net/ptype`: who hears which frames. The stack's own come in the order of Linux's table.
pub(crate) fn ptype(ns: Ns<'_>) -> String {
    const ETH_P_ALL: u16 = 3;
    const OWN: [(u16, &str); 4] = [(0x0800, "ip_rcv"), (0x0004, "llc_rcv"), (0x0806, "arp_rcv"), (0x86dd, "ipv6_rcv")];
    let mut out = String::from("Type Device      Function\n");
    let heard = ns.state().l4.packets.peek().map_or_else(Vec::new, Packets::heard);
    let mut row = |(protocol, ifindex, ring): (u16, u32, bool)| {
        let ty = if protocol == ETH_P_ALL { "ALL ".into() } else { format!("{protocol:04x}") };
        let link = ns.state().links.by_index(ifindex);
        let name = link.as_ref().map_or("", |link| link.name().as_str()).to_owned();
        let function = if ring { "tpacket_rcv" } else { "packet_rcv" };
        let _ = writeln!(out, "{ty} {name:<8} {function}");
    };
    let (all, some): (Vec<_>, Vec<_>) = heard.into_iter().partition(|(protocol, ..)| *protocol == ETH_P_ALL);
    all.into_iter().chain(some).for_each(&mut row);
    for (protocol, function) in OWN {
        let _ = writeln!(out, "{protocol:04x} {:<8} {function}", "");
    }
    out
}

/// How many sockets of each kind: TCP, those without a socket any more, those that wait to be forgotten; UDP; UDP-Lite; raw.
fn counts(stack: &Stack, net: &Net, v6: bool) -> [usize; 6] {
    let tcp = stack.tcp_sockets(net, v6);
    let waits = |entry: &&InetEntry| entry.state == TcpState::TimeWait;
    let orphan = |entry: &&InetEntry| entry.inode == 0 && !waits(entry);
    let Some(state) = stack.state(net) else { return [0; 6] };
    let ns = Ns::living(state, net);
    [
        tcp.iter().filter(|entry| !waits(entry) && entry.state != TcpState::Close).count(),
        tcp.iter().filter(orphan).count(),
        tcp.iter().filter(waits).count(),
        sockets(ns, v6, Proto::Udp).len(),
        sockets(ns, v6, Proto::UdpLite).len(),
        sockets(ns, v6, Proto::Raw(0)).len(),
    ]
}

/// `/proc/net/sockstat`.
pub(crate) fn sockstat(stack: &Stack, net: &Net) -> String {
    let [tcp, orphans, waits, udp, lite, raw] = counts(stack, net, false);
    let [tcp6, orphans6, waits6, udp6, lite6, raw6] = counts(stack, net, true);
    let packets = stack.packet_sockets(net).len();
    let used = tcp + tcp6 - orphans - orphans6 + udp + udp6 + lite + lite6 + raw + raw6 + packets;
    format!(
        "sockets: used {used}\nTCP: inuse {tcp} orphan {} tw {} alloc {} mem 0\nUDP: inuse {udp} mem 0\n\
         UDPLITE: inuse {lite}\nRAW: inuse {raw}\nFRAG: inuse 0 memory 0\n",
        orphans + orphans6,
        waits + waits6,
        tcp + tcp6,
    )
}

/// `/proc/net/sockstat6`.
pub(crate) fn sockstat6(stack: &Stack, net: &Net) -> String {
    let [tcp, _, _, udp, lite, raw] = counts(stack, net, true);
    format!(
        "TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse {lite}\nRAW6: inuse {raw}\nFRAG6: inuse 0 memory 0\n"
    )
}

/// How many there are of each kind that `/proc/net/protocols` lists, by the name there.
pub(crate) fn in_use(stack: &Stack, net: &Net, name: &str) -> usize {
    let Some(state) = stack.state(net) else { return 0 };
    let (ns, l4) = (Ns::living(state, net), &state.l4);
    let of = |v6, proto| sockets(ns, v6, proto).len();
    match name {
        "PACKET" => l4.packets.peek().map_or(0, |packets| packets.entries().len()),
        "PINGv6" => of(true, Proto::Ping),
        "PING" => of(false, Proto::Ping),
        "RAWv6" => of(true, Proto::Raw(0)),
        "RAW" => of(false, Proto::Raw(0)),
        "UDPv6" => of(true, Proto::Udp),
        "UDP" => of(false, Proto::Udp),
        "UDPLITEv6" => of(true, Proto::UdpLite),
        "UDP-Lite" => of(false, Proto::UdpLite),
        "TCP" => counts(stack, net, false)[0],
        "TCPv6" => counts(stack, net, true)[0],
        _ => 0,
    }
}

/// The sockets of a protocol and family, in the order of their chains.
pub(super) fn sockets(ns: Ns<'_>, v6: bool, proto: Proto) -> Vec<(u32, Arc<Sock>)> {
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
    let waiting = sock.waiting();
    let state = sock.lock();
    let port = if let Proto::Raw(protocol) = sock.kind.proto { protocol.into() } else { state.port };
    let any = Kind { v6: sock.kind.v6, proto: Proto::Udp }.any();
    let peer = state.peer.map_or((any, 0), |peer: SocketAddr| (peer.ip(), peer.port()));
    let text = format!(
        "{:02X} {:08X}:{:08X} 00:00000000 00000000 {:5}        0 {} 2 {:016x} {}",
        if state.peer.is_some() { ESTABLISHED } else { CLOSE },
        0,
        waiting,
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
