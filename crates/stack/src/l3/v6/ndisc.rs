//! Neighbour discovery (RFC 4861): who has which address on a link, and who else wants ours (RFC 4862, 5.4).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use pernet::Origin;

use super::header::{HLEN, Ipv6Header, next};
use super::{icmp, redirect, router};
use crate::dev::{HwAddr, IfFlags, Link};
use crate::inet6::{self, Flow6, Prefer, Target, devconf};
use crate::l2::{Checksum, Cx, Frame, dev_queue_xmit, ethertype, hard_header};
use crate::l3::{Received, internet_checksum, pseudo_header_sum};
use crate::mib;
use crate::neigh::{self, Heard, NeighState};
use crate::state::{NetState, Ns};

/// Types of messages.
mod ty {
    pub(super) const ROUTER_ADVERT: u8 = 134;
    pub(super) const NEIGHBOUR_SOLICIT: u8 = 135;
    pub(super) const NEIGHBOUR_ADVERT: u8 = 136;
}

/// Types of options.
pub(super) mod opt {
    pub(in super::super) const SOURCE: u8 = 1;
    pub(in super::super) const TARGET: u8 = 2;
    /// RFC 3971: tells one's own question from another's.
    pub(in super::super) const NONCE: u8 = 14;
}

/// Bits of an advertisement.
mod na {
    pub(super) const ROUTER: u8 = 0x80;
    pub(super) const SOLICITED: u8 = 0x40;
    pub(super) const OVERRIDE: u8 = 0x20;
}

/// All nodes on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Bytes before the options of a solicitation and an advertisement.
const LEN: usize = 24;
/// Number of a setting of a device: questions bear a nonce (RFC 7527).
const ENHANCED_DAD: usize = 46;

/// The options of a message, which begin at `at`; `None` if they are broken.
pub(super) fn options(message: &[u8], at: usize) -> Option<Vec<(u8, &[u8])>> {
    let mut rest = message.get(at..)?;
    let mut out = Vec::new();
    while let [kind, units, ..] = rest {
        let len = usize::from(*units) * 8;
        let option = rest.get(..len).filter(|option| !option.is_empty())?;
        out.push((*kind, &option[2..]));
        rest = &rest[len..];
    }
    rest.is_empty().then_some(out)
}

/// A link-layer address in an option is not as long as those of the link.
pub(super) struct WrongLength;

/// The link-layer address in an option, if it is there (`ndisc_opt_addr_data`).
pub(super) fn address(options: &[(u8, &[u8])], kind: u8) -> Result<Option<HwAddr>, WrongLength> {
    match options.iter().find(|(found, _)| *found == kind) {
        None => Ok(None),
        Some((_, bytes)) => HwAddr::new(bytes).filter(|_| bytes.len() == 6).map(Some).ok_or(WrongLength),
    }
}

pub(super) fn option(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(8), 0);
    out[1] = (out.len() / 8) as u8;
    out
}

/// A message with its IPv6 header, ready for a link-layer header: it goes out by `link`, and is counted.
pub(super) fn packet(state: &NetState, link: &Link, (src, dst): (Ipv6Addr, Ipv6Addr), message: &[u8]) -> Frame {
    let mut frame = Frame::with_payload(message);
    let start = pseudo_header_sum(src.into(), dst.into(), next::ICMPV6, message.len());
    let sum = internet_checksum(message, start);
    frame.data_mut()[2..4].copy_from_slice(&sum.to_be_bytes());
    frame.push(HLEN);
    let header = Ipv6Header {
        tclass: 0,
        flow_label: 0,
        payload_len: message.len(),
        next: next::ICMPV6,
        hop_limit: 255,
        src,
        dst,
    };
    header.write(frame.data_mut());
    frame.set_network_here();
    (frame.protocol, frame.checksum) = (ethertype::IPV6, Checksum::Right);
    if let Some(ty) = message.first() {
        mib::sends_message6(state, link, &frame, *ty, dst.is_multicast());
    }
    frame
}

/// The Ethernet address of a group (RFC 2464).
pub(super) fn group_address(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The question where `target` is, to those who could have the address or to where it is thought to be. `source` is the
/// address of the packet for which it is asked. `None` if this host has no address to ask from.
pub(crate) fn solicit(
    ns: Ns<'_>,
    link: &Link,
    target: Ipv6Addr,
    source: Option<Ipv6Addr>,
    at: Option<&HwAddr>,
) -> Option<Frame> {
    if link.stored_flags.contains(IfFlags::NOARP) {
        return None;
    }
    let usable = |addr: &Ipv6Addr| matches!(inet6::target(ns, link.index(), *addr), Some(Target::Own));
    let src = source.filter(usable).or_else(|| inet6::link_local_of(ns, link.index()))?;
    let mut message = vec![0; LEN];
    message[0] = ty::NEIGHBOUR_SOLICIT;
    message[8..24].copy_from_slice(&target.octets());
    message.extend(option(opt::SOURCE, link.address.as_bytes()));
    let dst = if at.is_some() { target } else { inet6::solicited_node(target) };
    let mut frame = packet(ns.state(), link, (src, dst), &message);
    let group = group_address(dst);
    hard_header(&mut frame, link, at.map_or(&group[..], HwAddr::as_bytes));
    Some(frame)
}

/// Asks whether somebody has the address that is being checked (`addrconf_dad_work`).
pub(in crate::l3) fn dad_solicit(cx: Cx<'_>, ifindex: u32, addr: Ipv6Addr, round: u32) {
    let ns = cx.ns();
    let Some(link) = cx.state.links.by_index(ifindex) else { return };
    if !inet6::is_checked(ns, ifindex, addr, round) {
        return;
    }
    let mut message = vec![0; LEN];
    message[0] = ty::NEIGHBOUR_SOLICIT;
    message[8..24].copy_from_slice(&addr.octets());
    if inet6::setting(ns, &link, ENHANCED_DAD) != 0 {
        message.extend(option(opt::NONCE, &cx.stack.random().to_be_bytes()[..6]));
    }
    let dst = inet6::solicited_node(addr);
    let mut frame = packet(cx.state, &link, (Ipv6Addr::UNSPECIFIED, dst), &message);
    hard_header(&mut frame, &link, &group_address(dst));
    // Nobody waits for the answer.
    let _ = dev_queue_xmit(cx, &link, frame);
}

/// A message came in, from the link.
pub(super) fn ndisc_rcv(cx: Cx<'_>, link: &Arc<Link>, packet: &Received) {
    let message = packet.frame.data();
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.src, packet.dst) else { return };
    match message.first() {
        Some(&ty::NEIGHBOUR_SOLICIT) => neighbour_solicit(cx, link, (src, dst), message),
        Some(&ty::NEIGHBOUR_ADVERT) => neighbour_advert(cx, link, dst, message),
        Some(&icmp::ty::ROUTER_SOLICIT) => router::solicited(cx, link, src, message),
        Some(&ty::ROUTER_ADVERT) => router::advert(cx, link, src, message),
        Some(&icmp::ty::REDIRECT) => redirect::receive(cx, link, src, message),
        _ => {}
    }
}

/// The address that a message is about: never a group's.
fn target_of(message: &[u8]) -> Option<Ipv6Addr> {
    let bytes: &[u8; LEN] = message.first_chunk()?;
    let target = Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| bytes[8 + i]));
    (!target.is_multicast()).then_some(target)
}

/// Somebody asks for an address (`ndisc_recv_ns`).
fn neighbour_solicit(cx: Cx<'_>, link: &Arc<Link>, (src, dst): (Ipv6Addr, Ipv6Addr), message: &[u8]) {
    let Some(target) = target_of(message) else { return };
    let Some(options) = options(message, LEN) else { return };
    let ns = cx.ns();
    let checks = src.is_unspecified();
    let Ok(asker) = address(&options, opt::SOURCE) else { return };
    // Who checks has no address yet, and asks all who could have his.
    if checks && (dst != inet6::solicited_node(target) || asker.is_some()) {
        return;
    }
    let what = match inet6::target(ns, link.index(), target) {
        Some(Target::Tentative | Target::Optimistic) if checks => {
            // Another checks the same address: neither may have it.
            disputed(cx, link, target);
            return;
        }
        Some(Target::Tentative) => return,
        Some(what) => Some(what),
        None => None,
    };
    let forwards = inet6::setting(ns, link, devconf::FORWARDING) != 0;
    let proxied = || ns.peek_neigh().is_some_and(|table| table.is_proxy(link.index(), target.into()));
    let proxies = |number| inet6::setting(ns, link, number) != 0 || inet6::setting_of_all(ns, number) != 0;
    if what.is_none() && !(forwards && proxies(devconf::PROXY_NDP) && proxied()) {
        return;
    }
    let router = if forwards { na::ROUTER } else { 0 };
    // Who has an address alone says so; others may answer in his place.
    let alone = if what == Some(Target::Own) { na::OVERRIDE } else { 0 };
    if checks {
        let group = HwAddr::new(&group_address(ALL_NODES));
        advertise(cx, link, (target, ALL_NODES), router | alone, (group, true));
        return;
    }
    if let Some(address) = asker {
        let heard = Heard {
            dst: src.into(),
            address: Some(address),
            state: NeighState::STALE,
            overrides: true,
            doubts: true,
            create: true,
            router: None,
        };
        neigh::heard(cx, link, &heard);
    }
    // Who asked all does not know where this is; who asked this host does.
    advertise(cx, link, (target, src), router | alone | na::SOLICITED, (asker, dst.is_multicast()));
}

/// Says that `target` is here, to `dst`, whose link-layer address may be known; `tells` whether to say where.
fn advertise(
    cx: Cx<'_>,
    link: &Arc<Link>,
    (target, dst): (Ipv6Addr, Ipv6Addr),
    flags: u8,
    (at, tells): (Option<HwAddr>, bool),
) {
    let ns = cx.ns();
    let own = matches!(inet6::target(ns, link.index(), target), Some(Target::Own));
    let src = if own { Some(target) } else { inet6::source(ns, dst, link.index(), Prefer::Usual) };
    let Some(src) = src else { return };
    let mut message = vec![0; LEN];
    (message[0], message[4]) = (ty::NEIGHBOUR_ADVERT, flags);
    message[8..24].copy_from_slice(&target.octets());
    if tells {
        message.extend(option(opt::TARGET, link.address.as_bytes()));
    }
    let mut frame = packet(cx.state, link, (src, dst), &message);
    // Nobody waits for the answer's fate.
    let _ = match at {
        Some(at) => {
            hard_header(&mut frame, link, at.as_bytes());
            dev_queue_xmit(cx, link, frame)
        }
        None => {
            let asked = Flow6 { dst, oif: link.index(), ..Flow6::default() };
            let way = inet6::way(ns, &asked, cx.now());
            let hop = way.ok().and_then(|way| way.gateway).unwrap_or(dst);
            neigh::output(cx, link, hop.into(), frame)
        }
    };
}

/// Somebody says where an address is (`ndisc_recv_na`).
fn neighbour_advert(cx: Cx<'_>, link: &Arc<Link>, dst: Ipv6Addr, message: &[u8]) {
    let Some(target) = target_of(message) else { return };
    let Some(options) = options(message, LEN) else { return };
    let Ok(address) = address(&options, opt::TARGET) else { return };
    let flags = message.get(4).copied().unwrap_or(0);
    let solicited = flags & na::SOLICITED != 0;
    if dst.is_multicast() && solicited {
        return;
    }
    match inet6::target(cx.ns(), link.index(), target) {
        Some(Target::Tentative | Target::Optimistic) => return disputed(cx, link, target),
        // Ours, says another: there is nothing to be done about that any more.
        Some(Target::Own) => return,
        Some(Target::Anycast) | None => {}
    }
    let heard = Heard {
        dst: target.into(),
        address,
        state: if solicited { NeighState::REACHABLE } else { NeighState::STALE },
        overrides: flags & na::OVERRIDE != 0,
        doubts: true,
        create: false,
        router: Some(flags & na::ROUTER != 0),
    };
    // Nobody is asked any more who did not answer in time.
    let key = (link.index(), IpAddr::V6(target));
    let failed = cx.state.peek_neigh().is_some_and(|table| table.is_failed(key.0, key.1));
    if !failed {
        neigh::heard(cx, link, &heard);
    }
}

/// Another has the address that is being checked.
fn disputed(cx: Cx<'_>, link: &Arc<Link>, addr: Ipv6Addr) {
    let mut rtnl = cx.stack.rtnl(Origin::KERNEL);
    inet6::disputed(&mut rtnl, cx.ns(), link, addr);
}
