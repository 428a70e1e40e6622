//! Receiving (`ipv6_rcv`, `ip6_input`).

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::header::{FragmentHeader, HLEN, Ipv6Header, extension_len, next};
use super::{forward, icmp};
use crate::dev::{IfFlags, Link};
use crate::inet6::{self, Flow6};
use crate::l2::{self, Cx, Frame, PacketType};
use crate::l3::frag::{self, Part};
use crate::l3::{Delivered, Quote, Reach, Received};
use crate::l4;
use crate::multipath;

/// A packet came in by `link`.
pub(in crate::l3) fn ipv6_rcv(cx: Cx<'_>, link: &Arc<Link>, mut frame: Frame) {
    if frame.kind == PacketType::OtherHost || !inet6::runs(cx.ns(), link) {
        return;
    }
    let Some(header) = Ipv6Header::parse(frame.data()) else { return };
    if frame.segment.is_none() {
        let len = HLEN + header.payload_len;
        if frame.len() < len {
            return;
        }
        // Short frames are padded.
        frame.trim(len);
    }
    if frame.routed.is_none() && !may_come(link, &header) {
        return;
    }
    if header.next == next::HOP_BY_HOP && !options(cx, link, &frame, &header, HLEN) {
        return;
    }
    let device = if frame.device == 0 { link.index() } else { frame.device };
    match frame.routed {
        Some(reach) => return ip6_input(cx, link, frame, &header, (reach, device)),
        None if header.dst.is_multicast() => {
            if inet6::is_member(cx.ns(), link.index(), header.dst) {
                ip6_input(cx, link, frame, &header, (Reach::Multicast, device));
            }
            return;
        }
        None => {}
    }
    match inet6::way(cx.ns(), &flow(cx, link, &frame, &header), cx.now()) {
        Ok(way) if way.local => ip6_input(cx, link, frame, &header, (Reach::Local, link.index())),
        found => forward::ip6_forward(cx, link, frame, &header, found),
    }
}

/// Whether such a packet may come over a wire.
pub(super) fn may_come(link: &Link, header: &Ipv6Header) -> bool {
    let own = link.stored_flags.contains(IfFlags::LOOPBACK);
    let group_scope = header.dst.is_multicast().then(|| inet6::reach_of(header.dst));
    let mapped = header.src.to_ipv4_mapped().is_some();
    let here_only = header.src.is_loopback() || header.dst.is_loopback() || group_scope == Some(1);
    !(header.src.is_multicast() || group_scope == Some(0) || mapped || here_only && !own)
}

/// What routing is asked for a packet that came in.
pub(super) fn flow(cx: Cx<'_>, link: &Link, frame: &Frame, header: &Ipv6Header) -> Flow6 {
    let ports = multipath::ports(header.next, frame.data().get(HLEN..).unwrap_or_default());
    Flow6 {
        dst: header.dst,
        src: Some(header.src),
        iif: link.index(),
        // Such an address is another host's on another link.
        oif: if inet6::needs_device(header.dst) { link.index() } else { 0 },
        mark: frame.mark,
        tos: header.tclass,
        ip_proto: header.next,
        sport: ports.0,
        dport: ports.1,
        flow_label: header.flow_label,
        spread: cx.state.l3.spread[1].policy().hash_inside(frame.data()),
        ..Flow6::default()
    }
}

/// Reads the options of a header at `at` (RFC 8200, 4.2); whether the packet goes on.
fn options(cx: Cx<'_>, link: &Link, frame: &Frame, header: &Ipv6Header, at: usize) -> bool {
    const PAD1: u8 = 0;
    const KNOWN: [u8; 2] = [1, 5];
    let kind = next::DST_OPTIONS;
    let Some(len) = frame.data().get(at..).and_then(|rest| extension_len(kind, rest)) else { return false };
    let bytes = &frame.data()[at..at + len];
    let mut place = 2;
    while let Some(&ty) = bytes.get(place) {
        if ty == PAD1 {
            place += 1;
            continue;
        }
        let Some(&option_len) = bytes.get(place + 1) else { return false };
        if !KNOWN.contains(&ty) {
            // What is to become of a packet with an option that one does not know, the option says.
            let told = match ty >> 6 {
                0 => None,
                1 => return false,
                2 => Some(true),
                _ => Some(!header.dst.is_multicast()),
            };
            if let Some(told) = told {
                if told {
                    let quote = Quote::of(frame, link.index(), Reach::Unicast);
                    let place = u32::try_from(at + place).unwrap_or(0);
                    icmp::icmpv6_send(cx, quote, icmp::ty::PARAMETER_PROBLEM, icmp::code::UNKNOWN_OPTION, place);
                }
                return false;
            }
        }
        place += 2 + usize::from(option_len);
    }
    place == len
}

/// It is for this host (`ip6_input`): what is between the header and the protocol, then the protocol. `device` is the one by
/// which it came, or that has its address.
pub(super) fn ip6_input(
    cx: Cx<'_>,
    link: &Arc<Link>,
    mut frame: Frame,
    header: &Ipv6Header,
    (reach, device): (Reach, u32),
) {
    let (mut kind, mut at, mut field) = (header.next, HLEN, 6);
    loop {
        let rest = frame.data().get(at..).unwrap_or(&[]);
        let problem = |code, at: usize| {
            let quote = Quote::of(&frame, link.index(), reach);
            let at = u32::try_from(at).unwrap_or(0);
            icmp::icmpv6_send(cx, quote, icmp::ty::PARAMETER_PROBLEM, code, at);
        };
        match kind {
            next::HOP_BY_HOP if at == HLEN => {}
            // Anywhere else it is no header that one knows.
            next::HOP_BY_HOP => return problem(icmp::code::UNKNOWN_HEADER, field),
            next::DST_OPTIONS if !options(cx, link, &frame, header, at) => return,
            next::DST_OPTIONS => {}
            // Nobody is sent on by what the sender wants (RFC 5095).
            next::ROUTING if rest.get(3).is_some_and(|left| *left > 0) => {
                return problem(icmp::code::BAD_FIELD, at + 2);
            }
            next::ROUTING => {}
            next::FRAGMENT => {
                let Some(whole) = part(cx, link, &mut frame, header, (at, field), (reach, device)) else { return };
                frame = whole;
                kind = frame.data().get(field).copied().unwrap_or(next::NONE);
                continue;
            }
            next::NONE => return,
            _ => break,
        }
        let Some(len) = extension_len(kind, rest) else { return };
        (kind, field, at) = (rest[0], at, at + len);
    }
    deliver(cx, link, frame, header, (kind, at, field), (reach, device));
}

/// A part came: the packet, without the fragment header, once all of it is there.
fn part(
    cx: Cx<'_>,
    link: &Arc<Link>,
    frame: &mut Frame,
    header: &Ipv6Header,
    (at, field): (usize, usize),
    (reach, device): (Reach, u32),
) -> Option<Frame> {
    let found = FragmentHeader::parse(frame.data().get(at..)?)?;
    let begin = at + super::header::FRAGMENT_LEN;
    let problem = |frame: &Frame, at: usize| {
        let quote = Quote::of(frame, link.index(), reach);
        let at = u32::try_from(at).unwrap_or(0);
        icmp::icmpv6_send(cx, quote, icmp::ty::PARAMETER_PROBLEM, icmp::code::BAD_FIELD, at);
    };
    let len = frame.len().checked_sub(begin)?;
    if found.more && !len.is_multiple_of(8) {
        problem(frame, 4);
        return None;
    }
    // The length of the whole leaves the header's own out.
    if found.offset + len + at - HLEN > 65_535 {
        problem(frame, at + 2);
        return None;
    }
    let unfragment = |frame: &mut Frame, payload: &[u8]| {
        // The header goes out of the chain.
        frame.data_mut()[field] = found.next;
        frame.trim(at);
        frame.append(payload);
        let payload_len = (frame.len() - HLEN) as u16;
        frame.data_mut()[4..6].copy_from_slice(&payload_len.to_be_bytes());
    };
    if found.offset == 0 && !found.more {
        // One that is all there is (RFC 6946).
        let payload = frame.data()[begin..].to_vec();
        unfragment(frame, &payload);
        return Some(std::mem::take(frame));
    }
    let key = frag::Key {
        src: header.src.into(),
        dst: header.dst.into(),
        ident: found.ident,
        protocol: 0,
        device: if inet6::needs_device(header.dst) { device } else { 0 },
    };
    let part = Part { offset: found.offset, more: found.more, at: begin, iif: link.index() };
    let (mut first, payload) = frag::defrag(cx, key, &part, std::mem::take(frame))?;
    // The first part tells what follows; all of them have the headers before.
    let begun = FragmentHeader::parse(first.data().get(at..)?)?;
    if begun.next != found.next && first.data().len() <= field {
        return None;
    }
    first.data_mut()[field] = begun.next;
    first.trim(at);
    first.append(&payload);
    let payload_len = (first.len() - HLEN).min(65_535) as u16;
    first.data_mut()[4..6].copy_from_slice(&payload_len.to_be_bytes());
    Some(first)
}

/// To the protocol `kind`, whose header is at `at`; its number stands in `field`.
fn deliver(
    cx: Cx<'_>,
    link: &Arc<Link>,
    mut frame: Frame,
    header: &Ipv6Header,
    (kind, at, field): (u8, usize, usize),
    (reach, device): (Reach, u32),
) {
    frame.set_network_here();
    if frame.pull(at).is_none() {
        return;
    }
    let received = Received {
        src: header.src.into(),
        dst: header.dst.into(),
        protocol: kind,
        tos: header.tclass,
        hop_limit: header.hop_limit,
        iif: device,
        reach,
        frame,
    };
    if l2::vxlan_rcv(cx, &received) {
        return;
    }
    if kind == next::ICMPV6 {
        icmp::icmpv6_rcv(cx, link, received);
        return;
    }
    let (mut frame, ty, code, info) = match l4::deliver(cx, received) {
        Delivered::Done => return,
        Delivered::NoPort(frame) => (frame, icmp::ty::DEST_UNREACH, icmp::code::PORT_UNREACH, 0),
        Delivered::NoProtocol(frame) => {
            (frame, icmp::ty::PARAMETER_PROBLEM, icmp::code::UNKNOWN_HEADER, u32::try_from(field).unwrap_or(0))
        }
    };
    frame.pull_back_to_network();
    icmp::icmpv6_send(cx, Quote::of(&frame, link.index(), reach), ty, code, info);
}

/// Whether it is an address that nobody answers to.
pub(super) fn is_nobody(addr: Ipv6Addr) -> bool {
    addr.is_unspecified() || addr.is_multicast()
}
