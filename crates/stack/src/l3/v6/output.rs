//! Sending (`ip6_xmit`, `ip6_push_pending_frames`, `ip6_finish_output`).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::header::{FRAGMENT_LEN, FragmentHeader, HLEN, Ipv6Header, extension_len, next, unfragmentable};
use super::icmp;
use crate::dev::{IfFlags, Link};
use crate::errno;
use crate::inet6::{self, devconf};
use crate::l2::{self, Checksum, Cx, Frame, PacketType, ethertype};
use crate::l3::{Header, Quote, Reach, Route, cut, exceeds, finish_checksum, internet_checksum, pseudo_header_sum};
use crate::mib::{self, Ip6};
use crate::neigh;

/// How long packets may be.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// One that need not be cut.
    whole: usize,
    /// And each part of one that must.
    part: usize,
}

impl Room {
    /// `part_size`: what the sender said of parts, or 0.
    fn parted(mtu: usize, part_size: usize) -> Self {
        Self { whole: mtu, part: if part_size == 0 { mtu } else { mtu.min(part_size) } }
    }
}

impl From<usize> for Room {
    fn from(mtu: usize) -> Self {
        Self::parted(mtu, 0)
    }
}

/// Longest payload.
const MAX_PAYLOAD: usize = 65_535;
/// Scope of groups that do not leave the device.
const INTERFACE_LOCAL: u8 = 1;

/// Gives a packet its header and sends it.
///
/// # Errors
/// A positive errno: `EMSGSIZE`, `ENETDOWN`, `ENOBUFS`, `EINVAL` for extension headers that are none.
pub(in crate::l3) fn ip6_output(
    cx: Cx<'_>,
    route: &Route,
    header: &Header,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    mut frame: Frame,
) -> Result<(), i32> {
    let link = cx.state.links.by_index(route.oif).ok_or(errno::ENODEV)?;
    let (first, extensions) = extensions(header)?;
    let payload_len = extensions.len() + frame.len();
    let total_len = HLEN + payload_len;
    let whole = frame.segment.is_none();
    if payload_len > MAX_PAYLOAD && whole {
        return Err(errno::EMSGSIZE);
    }
    let mtu = Room::parted(header.pmtu.mtu(&link, route), header.part_size);
    // Who may not be cut has no more room than a part; who may goes whole where the device takes it (asked of Linux 6.18).
    if total_len > mtu.part && whole && header.pmtu.refuses() {
        return Err(errno::EMSGSIZE);
    }
    if let Checksum::Partial { start, .. } = &mut frame.checksum {
        // It is only here that it is known.
        *start = (HLEN + extensions.len()) as u16;
    }
    let room = frame.push(HLEN + extensions.len());
    room[HLEN..].copy_from_slice(&extensions);
    frame.set_network_here();
    let written = Ipv6Header {
        tclass: header.tos,
        flow_label: header.flow_label,
        payload_len: payload_len.min(MAX_PAYLOAD),
        next: first,
        hop_limit: header.hop_limit.unwrap_or_else(|| default_hop_limit(cx, &link, route)),
        src,
        dst,
    };
    written.write(frame.data_mut());
    (frame.mark, frame.priority) = (header.mark, header.priority);
    mib::on_index(cx.state, route.device, |mib| mib.ip.inc(Ip6::OutRequests));
    output(cx, &link, route, header.multicast_loop, mtu, frame)
}

/// The extension headers, the last of which leads to the protocol, and the number of the first.
fn extensions(header: &Header) -> Result<(u8, Vec<u8>), i32> {
    let Some((&first, chain)) = header.options.split_first() else { return Ok((header.protocol, Vec::new())) };
    let mut chain = chain.to_vec();
    let (mut kind, mut at) = (first, 0);
    loop {
        let len = chain.get(at..).and_then(|rest| extension_len(kind, rest)).ok_or(errno::EINVAL)?;
        if at + len == chain.len() {
            chain[at] = header.protocol;
            return Ok((first, chain));
        }
        kind = chain[at];
        at += len;
    }
}

/// The route's, or the device's; groups are not left by default.
fn default_hop_limit(cx: Cx<'_>, link: &Link, route: &Route) -> u8 {
    if route.reach == Reach::Multicast {
        return 1;
    }
    if route.hop_limit != 0 {
        return route.hop_limit;
    }
    u8::try_from(inet6::setting(cx.ns(), link, devconf::HOPLIMIT)).unwrap_or(64)
}

/// Sends a packet whose header the caller wrote.
///
/// # Errors
/// A positive errno: `EMSGSIZE` if the device does not take it whole, `EINVAL` if it is no packet.
pub(in crate::l3) fn ip6_output_raw(cx: Cx<'_>, route: &Route, header: &Header, mut frame: Frame) -> Result<(), i32> {
    let link = cx.state.links.by_index(route.oif).ok_or(errno::ENODEV)?;
    if frame.len() > link.mtu as usize {
        return Err(errno::EMSGSIZE);
    }
    if frame.len() < HLEN {
        return Err(errno::EINVAL);
    }
    frame.set_network_here();
    (frame.mark, frame.priority) = (header.mark, header.priority);
    output(cx, &link, route, header.multicast_loop, (link.mtu as usize).into(), frame)
}

/// A packet with its header: to this host, to who listens here, and out.
fn output(cx: Cx<'_>, link: &Arc<Link>, route: &Route, loops: bool, mtu: Room, mut frame: Frame) -> Result<(), i32> {
    frame.protocol = ethertype::IPV6;
    frame.kind = PacketType::Outgoing;
    (frame.routed, frame.device) = (None, 0);
    let IpAddr::V6(dst) = route.dst else { return Err(errno::EINVAL) };
    match route.reach {
        Reach::Local => {
            frame.routed = Some(Reach::Local);
            frame.device = route.device;
        }
        Reach::Multicast => {
            let heard = loops && inet6::is_member(cx.ns(), link.index(), dst);
            if link.stored_flags.contains(IfFlags::LOOPBACK) {
                // It brings it back by itself.
                frame.routed = heard.then_some(Reach::Multicast);
            } else if heard {
                let mut copy = frame.clone();
                (copy.routed, copy.kind) = (Some(Reach::Multicast), PacketType::Multicast);
                l2::receive_again(cx, link, copy);
            }
            // Not further than this host.
            let hop_limit = frame.data().get(7).copied().unwrap_or(0);
            let stays = inet6::reach_of(dst) <= INTERFACE_LOCAL && !link.stored_flags.contains(IfFlags::LOOPBACK);
            if hop_limit == 0 || stays {
                return Ok(());
            }
        }
        // The loopback leads nowhere but here: who sent it hears so (`ip6_pkt_discard_out`).
        Reach::Unicast | Reach::Broadcast if link.stored_flags.contains(IfFlags::LOOPBACK) => {
            mib::on(cx.state, link, |mib| mib.ip.inc(Ip6::OutNoRoutes));
            let lost = Quote::of(&frame, link.index(), Reach::Unicast);
            icmp::icmpv6_send(cx, lost, icmp::ty::DEST_UNREACH, icmp::code::NO_ROUTE, 0);
            return Ok(());
        }
        Reach::Unicast | Reach::Broadcast => {}
    }
    let device = if route.device == link.index() { None } else { cx.state.links.by_index(route.device) };
    finish_output(cx, link, (device.as_deref().unwrap_or(link), route.next_hop), mtu, frame)
}

/// A message of MLD, at which routers on the way look (RFC 2711).
pub(in crate::l3) fn alert_packet(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> Frame {
    // The router alert, and padding.
    const ALERT: [u8; 8] = [next::ICMPV6, 0, 5, 2, 0, 0, 1, 0];
    let mut frame = Frame::with_payload(message);
    let start = pseudo_header_sum(src.into(), dst.into(), next::ICMPV6, message.len());
    let sum = internet_checksum(message, start);
    if let Some(field) = frame.data_mut().get_mut(2..4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    frame.push(ALERT.len()).copy_from_slice(&ALERT);
    let payload_len = frame.len();
    frame.push(HLEN);
    let header = Ipv6Header { tclass: 0, flow_label: 0, payload_len, next: next::HOP_BY_HOP, hop_limit: 1, src, dst };
    header.write(frame.data_mut());
    frame.set_network_here();
    (frame.protocol, frame.kind, frame.checksum) = (ethertype::IPV6, PacketType::Outgoing, Checksum::Right);
    frame
}

/// Out by a device, in parts if it is too large (`ip6_finish_output`); counted on the one that the route is of.
///
/// # Errors
/// What the neighbour or the device says.
pub(super) fn finish_output(
    cx: Cx<'_>,
    link: &Arc<Link>,
    (device, next_hop): (&Link, IpAddr),
    mtu: Room,
    frame: Frame,
) -> Result<(), i32> {
    if !exceeds(&frame, mtu.whole) {
        mib::transmitted6(cx.state, device, is_to_group(&frame), frame.len());
        return neigh::output(cx, link, next_hop, frame);
    }
    cut(frame).into_iter().try_for_each(|frame| {
        let sent = fragment(cx, link, (device, next_hop), mtu.part, frame);
        mib::on(cx.state, device, |mib| mib.ip.inc(if sent.is_ok() { Ip6::FragOKs } else { Ip6::FragFails }));
        sent
    })
}

/// Whether a packet, from its header on, is for a group: its address begins so.
fn is_to_group(packet: &Frame) -> bool {
    packet.data().get(24) == Some(&0xff)
}

/// Cuts a packet (RFC 8200, 4.5): only who sends it may.
fn fragment(
    cx: Cx<'_>,
    link: &Arc<Link>,
    (device, next_hop): (&Link, IpAddr),
    mtu: usize,
    mut frame: Frame,
) -> Result<(), i32> {
    finish_checksum(&mut frame);
    let mut stamps = frame.stamps.take();
    let whole = Ipv6Header::parse(frame.data()).ok_or(errno::EINVAL)?;
    let (end, field) = unfragmentable(frame.data(), whole.next).ok_or(errno::EINVAL)?;
    let mut front = frame.data()[..end].to_vec();
    let carried = std::mem::replace(&mut front[field], next::FRAGMENT);
    let ident = cx.state.l3.next_ident().wrapping_mul(0x9e37_79b1) ^ cx.state.links.salt();
    let room = mtu.saturating_sub(end + FRAGMENT_LEN) & !7;
    if room == 0 {
        return Err(errno::EMSGSIZE);
    }
    let payload = &frame.data()[end..];
    let mut at = 0;
    while at < payload.len() {
        // The last part need not be a multiple of eight, and may use all the room there is.
        let last = payload.len() - at <= mtu - end - FRAGMENT_LEN;
        let upto = if last { payload.len() } else { at + room };
        let mut part = Frame::with_payload(&payload[at..upto]);
        let header = FragmentHeader { next: carried, offset: at, more: !last, ident };
        part.push(FRAGMENT_LEN).copy_from_slice(&header.bytes());
        part.push(end).copy_from_slice(&front);
        let payload_len = (end - HLEN + FRAGMENT_LEN + upto - at) as u16;
        part.data_mut()[4..6].copy_from_slice(&payload_len.to_be_bytes());
        part.set_network_here();
        (part.protocol, part.kind, part.routed, part.device) = (frame.protocol, frame.kind, frame.routed, frame.device);
        (part.mark, part.priority, part.checksum) = (frame.mark, frame.priority, frame.checksum);
        // Of the first one alone it is told.
        part.stamps = stamps.take();
        mib::on(cx.state, device, |mib| mib.ip.inc(Ip6::FragCreates));
        mib::transmitted6(cx.state, device, is_to_group(&part), part.len());
        neigh::output(cx, link, next_hop, part)?;
        at = upto;
    }
    Ok(())
}
