//! ARP (RFC 826): who has which IPv4 address on a link.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::{Cx, Frame, PacketType, Work, dev_queue_xmit, ethertype, push_header, work_at};
use crate::dev::{HwAddr, IfFlags, Link};
use crate::fib::{self, RouteQuery, route_type};
use crate::inet;
use crate::neigh::{self, Heard, NeighFamily, NeighParm, NeighState};
use crate::state::{ConfOf, Ns};

/// Bytes of a message about IPv4 on Ethernet.
const LEN: usize = 28;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// Numbers of settings (`IPV4_DEVCONF_*`).
mod conf {
    pub(super) const FORWARDING: usize = 1;
    pub(super) const PROXY_ARP: usize = 3;
    pub(super) const ARP_FILTER: usize = 13;
    pub(super) const ARP_ANNOUNCE: usize = 18;
    pub(super) const ARP_IGNORE: usize = 19;
    pub(super) const ARP_ACCEPT: usize = 21;
    pub(super) const PROXY_ARP_PVLAN: usize = 25;
    pub(super) const ROUTE_LOCALNET: usize = 26;
    pub(super) const DROP_GRATUITOUS_ARP: usize = 31;
}

#[derive(Clone, Copy, Debug)]
struct Message {
    op: u16,
    /// Who says so: link-layer and IPv4 address.
    sender: ([u8; 6], Ipv4Addr),
    target: ([u8; 6], Ipv4Addr),
}

impl Message {
    /// `None` if it is not about IPv4 on Ethernet.
    fn parse(data: &[u8]) -> Option<Self> {
        let data: &[u8; LEN] = data.first_chunk()?;
        // Hardware (IEEE 802 is as good as Ethernet), protocol, and the lengths of their addresses.
        if !matches!(data[..2], [0, 1 | 6]) || data[2..6] != [8, 0, 6, 4] {
            return None;
        }
        let six = |at: usize| std::array::from_fn(|i| data[at + i]);
        let four = |at: usize| Ipv4Addr::new(data[at], data[at + 1], data[at + 2], data[at + 3]);
        let op = u16::from_be_bytes([data[6], data[7]]);
        Some(Self { op, sender: (six(8), four(14)), target: (six(18), four(24)) })
    }

    /// As a frame to `dst`, with its header.
    fn frame(&self, dst: &[u8], src: &[u8]) -> Frame {
        let mut frame = Frame::zeroed(LEN);
        let data = frame.data_mut();
        data[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        data[6..8].copy_from_slice(&self.op.to_be_bytes());
        data[8..14].copy_from_slice(&self.sender.0);
        data[14..18].copy_from_slice(&self.sender.1.octets());
        data[18..24].copy_from_slice(&self.target.0);
        data[24..28].copy_from_slice(&self.target.1.octets());
        frame.protocol = ethertype::ARP;
        push_header(&mut frame, dst, src);
        frame
    }
}

fn six(address: &HwAddr) -> [u8; 6] {
    let bytes = address.as_bytes();
    std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0))
}

/// The question where `target` is (`arp_solicit`), to everybody or to where it is thought to be. `source` is the address that
/// the packet comes from for which it is asked. `None` if this host has no address to ask from.
pub(crate) fn arp_request(
    ns: Ns<'_>,
    link: &Link,
    target: Ipv4Addr,
    source: Option<Ipv4Addr>,
    at: Option<&HwAddr>,
) -> Option<Frame> {
    if link.stored_flags.contains(IfFlags::NOARP) {
        return None;
    }
    let own = six(&link.address);
    let from = announced(ns, link, target, source);
    let message = Message { op: REQUEST, sender: (own, from), target: ([0; 6], target) };
    let all = six(&link.broadcast);
    Some(message.frame(at.map_or(&all[..], HwAddr::as_bytes), &own))
}

/// The source address of a question (`arp_announce`).
fn announced(ns: Ns<'_>, link: &Link, target: Ipv4Addr, source: Option<Ipv4Addr>) -> Ipv4Addr {
    let source = source.filter(|source| fib::address_type(ns, *source) == route_type::LOCAL);
    let fits = match conf_max(ns, link, conf::ARP_ANNOUNCE) {
        0 => source,
        1 => source.filter(|source| {
            let inet = ns.peek_inet();
            let addrs = inet.as_ref().map_or(&[][..], |inet| inet.addrs(link.index()));
            addrs.iter().any(|ifa| ifa.contains(target) && ifa.contains(*source))
        }),
        _ => None,
    };
    fits.unwrap_or_else(|| inet::select_addr(ns, Some(link.index()), target, fib::scope::LINK))
}

/// The larger of what is said for all and for the device.
fn conf_max(ns: Ns<'_>, link: &Link, number: usize) -> i32 {
    let of = |of| inet::conf(ns, of, number).unwrap_or(0);
    of(ConfOf::All).max(of(ConfOf::Dev(link.index())))
}

fn conf_any(ns: Ns<'_>, link: &Link, number: usize) -> bool {
    conf_max(ns, link, number) != 0
}

/// A message came in.
pub(super) fn arp_rcv(cx: Cx<'_>, link: &Arc<Link>, frame: &Frame) {
    if link.stored_flags.contains(IfFlags::NOARP) || frame.kind == PacketType::OtherHost {
        return;
    }
    let Some(message) = Message::parse(frame.data()).filter(|m| matches!(m.op, REQUEST | REPLY)) else { return };
    let ns = cx.ns();
    let (target, source) = (message.target.1, message.sender.1);
    let foreign = target.is_multicast() || target.is_loopback() && !conf_any(ns, link, conf::ROUTE_LOCALNET);
    let gratuitous = source == target;
    if foreign || gratuitous && conf_any(ns, link, conf::DROP_GRATUITOUS_ARP) {
        return;
    }
    // Somebody asks whether an address is free (RFC 5227).
    if source.is_unspecified() {
        let ours = message.op == REQUEST && fib::address_type(ns, target) == route_type::LOCAL;
        if ours && !ignores(ns, link, source, target) {
            reply(cx, link, &message);
        }
        return;
    }
    if message.op == REQUEST && answered(cx, link, frame, &message) {
        return;
    }
    learn(cx, link, frame, &message);
}

/// Whether the question is one that this host answers, or means to leave without an answer.
fn answered(cx: Cx<'_>, link: &Arc<Link>, frame: &Frame, message: &Message) -> bool {
    let ns = cx.ns();
    let (source, target) = (message.sender.1, message.target.1);
    let query = query(source, target, link.index());
    let Ok(way) = fib::route_input(ns, &query, &mut None) else { return false };
    if way.kind == route_type::LOCAL {
        if !ignores(ns, link, source, target) && !filtered(ns, link, source, target) {
            asked_by(cx, link, message);
            reply(cx, link, message);
        }
        return true;
    }
    let forwards = inet::conf(ns, ConfOf::Dev(link.index()), conf::FORWARDING).is_some_and(|v| v != 0);
    if !forwards || way.kind != route_type::UNICAST || !proxies(ns, link, way.oif, target) {
        return false;
    }
    asked_by(cx, link, message);
    // To be asked by everybody and to answer at once would be to talk at once with other proxies.
    let delay = neigh::parm(ns, link.index(), NeighFamily::V4, NeighParm::ProxyDelay);
    if frame.kind == PacketType::Host || delay == 0 {
        reply(cx, link, message);
    } else {
        let wait = Duration::from_millis(cx.stack.random() % u64::try_from(delay.max(1)).unwrap_or(1));
        work_at(cx, cx.now() + wait, Work::ArpProxied(link.index(), frame.clone()));
    }
    true
}

/// A question for somebody else has waited long enough (`parp_redo`).
pub(super) fn proxied(cx: Cx<'_>, ifindex: u32, frame: &Frame) {
    let Some(link) = cx.state.links.by_index(ifindex).filter(|link| link.is_up()) else { return };
    if let Some(message) = Message::parse(frame.data()) {
        reply(cx, &link, &message);
    }
}

/// Whether this host answers for somebody behind the device `out`.
fn proxies(ns: Ns<'_>, link: &Link, out: u32, target: Ipv4Addr) -> bool {
    let pvlan = inet::conf(ns, ConfOf::Dev(link.index()), conf::PROXY_ARP_PVLAN).is_some_and(|v| v != 0);
    if out == link.index() {
        return pvlan;
    }
    conf_any(ns, link, conf::PROXY_ARP)
        || ns.peek_neigh().is_some_and(|table| table.is_proxy(link.index(), target.into()))
}

const fn query(src: Ipv4Addr, dst: Ipv4Addr, iif: u32) -> RouteQuery {
    RouteQuery { src, iif, ..RouteQuery::to(dst) }
}

/// The asker is a neighbour himself (`neigh_event_ns`).
fn asked_by(cx: Cx<'_>, link: &Arc<Link>, message: &Message) {
    let heard = Heard {
        dst: IpAddr::V4(message.sender.1),
        address: HwAddr::new(&message.sender.0),
        state: NeighState::STALE,
        overrides: true,
        doubts: false,
        create: true,
        router: None,
    };
    neigh::heard(cx, link, &heard);
}

fn reply(cx: Cx<'_>, link: &Arc<Link>, asked: &Message) {
    let own = six(&link.address);
    let message = Message { op: REPLY, sender: (own, asked.target.1), target: asked.sender };
    // Nobody waits for the answer's fate.
    let _ = dev_queue_xmit(cx, link, message.frame(&asked.sender.0, &own));
}

/// What else is in a message: where its sender is, if that is asked or known.
fn learn(cx: Cx<'_>, link: &Arc<Link>, frame: &Frame, message: &Message) {
    let ns = cx.ns();
    let source = message.sender.1;
    if fib::address_type(ns, source) != route_type::UNICAST {
        return;
    }
    let gratuitous = source == message.target.1 && (message.op == REQUEST || message.sender.0 == message.target.0);
    let create = accepts(ns, link, message, gratuitous);
    let known = ns.peek_neigh().and_then(|table| table.updated(link.index(), source.into()));
    if known.is_none() && !create {
        return;
    }
    // An answer is not replaced by another that follows it closely.
    let lock = i64::from(neigh::parm(ns, link.index(), NeighFamily::V4, NeighParm::Locktime).max(0));
    let now = i64::try_from(cx.now().as_millis()).unwrap_or(i64::MAX);
    let overrides = gratuitous || known.is_none_or(|updated| now > updated + lock);
    let asked = message.op == REPLY && frame.kind == PacketType::Host;
    let heard = Heard {
        dst: IpAddr::V4(source),
        address: HwAddr::new(&message.sender.0),
        state: if asked { NeighState::REACHABLE } else { NeighState::STALE },
        overrides,
        doubts: false,
        create,
        router: None,
    };
    neigh::heard(cx, link, &heard);
}

/// Whether one that nobody asked for is believed (`arp_accept`).
fn accepts(ns: Ns<'_>, link: &Link, message: &Message, gratuitous: bool) -> bool {
    let unasked = gratuitous || message.op == REPLY;
    let how = conf_max(ns, link, conf::ARP_ACCEPT);
    match how {
        _ if !unasked => false,
        0 => false,
        // From this network only.
        2 => {
            let inet = ns.peek_inet();
            let addrs = inet.as_ref().map_or(&[][..], |inet| inet.addrs(link.index()));
            addrs.iter().any(|ifa| ifa.contains(message.sender.1))
        }
        _ => true,
    }
}

/// Whether a question for an address of ours is left without an answer (`arp_ignore`).
fn ignores(ns: Ns<'_>, link: &Link, source: Ipv4Addr, target: Ipv4Addr) -> bool {
    let inet = ns.peek_inet();
    let addrs = inet.as_ref().map_or(&[][..], |inet| inet.addrs(link.index())).to_vec();
    drop(inet);
    let here = |fits: &dyn Fn(&inet::Ifa4) -> bool| addrs.iter().any(fits);
    match conf_max(ns, link, conf::ARP_IGNORE) {
        // Only what this device has.
        1 => !here(&|ifa| ifa.local == target),
        // And only to who is in its network.
        2 => !here(&|ifa| ifa.local == target && (source.is_unspecified() || ifa.contains(source))),
        // Not what means something on this host only.
        3 => {
            let inet = ns.peek_inet();
            let found = inet.and_then(|inet| inet.all_addrs().find(|(_, a)| a.local == target).map(|(_, a)| a.scope));
            found.is_none_or(|found| found >= fib::scope::LINK)
        }
        8 => true,
        _ => false,
    }
}

/// Whether the answer would go out by another device than the question came in by (`arp_filter`).
fn filtered(ns: Ns<'_>, link: &Link, source: Ipv4Addr, target: Ipv4Addr) -> bool {
    if !conf_any(ns, link, conf::ARP_FILTER) {
        return false;
    }
    let query = query(target, source, 0);
    let back = fib::route_output(ns, &query, fib::How::default(), &mut None);
    back.is_ok_and(|way| way.oif != link.index())
}
