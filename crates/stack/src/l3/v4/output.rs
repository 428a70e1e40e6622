//! Sending (`ip_queue_xmit`, `ip_push_pending_frames`, `ip_finish_output`).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::header::{HLEN, Ipv4Header, MAX_HLEN, write_checksum};
use crate::dev::Link;
use crate::errno;
use crate::inet;
use crate::l2::{self, Checksum, Cx, Frame, PacketType, ethertype};
use crate::l3::{Header, PmtuDiscovery, Reach, Route, cut, exceeds, finish_checksum};
use crate::mib::{self, Ip};
use crate::neigh;
use crate::sysctl;

/// Longest packet.
const MAX_LEN: usize = 65_535;
const TCP: u8 = 6;

/// Gives a packet its header and sends it.
///
/// # Errors
/// A positive errno: `EMSGSIZE`, `ENETDOWN`, `ENOBUFS`.
pub(in crate::l3) fn ip_output(
    cx: Cx<'_>,
    route: &Route,
    header: &Header,
    (src, dst): (Ipv4Addr, Ipv4Addr),
    mut frame: Frame,
) -> Result<(), i32> {
    let link = cx.state.links.by_index(route.oif).ok_or(errno::ENODEV)?;
    let options = header.options.len().next_multiple_of(4);
    let len = HLEN + options;
    let total_len = len + frame.len();
    let whole = frame.segment.is_none();
    if len > MAX_HLEN || total_len > MAX_LEN && whole {
        return Err(errno::EMSGSIZE);
    }
    let mtu = header.pmtu.mtu(&link, route);
    let fits = total_len <= mtu || !whole;
    if !fits && header.pmtu.refuses() {
        return Err(errno::EMSGSIZE);
    }
    let df = match header.pmtu {
        PmtuDiscovery::Do | PmtuDiscovery::Probe => true,
        PmtuDiscovery::Want => fits,
        PmtuDiscovery::Dont | PmtuDiscovery::Interface | PmtuDiscovery::Omit => false,
    };
    // What is never cut needs no number; connections count theirs all the same.
    let ident = if df && header.protocol != TCP { 0 } else { next_ident(cx) };
    if let Checksum::Partial { start, .. } = &mut frame.checksum {
        // It is only here that it is known.
        *start = len as u16;
    }
    let room = frame.push(len);
    room[HLEN..].fill(0);
    room[HLEN..HLEN + header.options.len()].copy_from_slice(&header.options);
    frame.set_network_here();
    let written = Ipv4Header {
        len,
        tos: header.tos,
        total_len: total_len.min(MAX_LEN),
        ident,
        df,
        mf: false,
        offset: 0,
        ttl: header.hop_limit.unwrap_or_else(|| default_ttl(cx, route)),
        protocol: header.protocol,
        src,
        dst,
    };
    written.write(frame.data_mut());
    if options > 0
        && let Ok(found) = super::options::parse(&frame.data()[..len])
    {
        super::options::note(cx, frame.data_mut(), len, found, (src, src));
    }
    (frame.mark, frame.priority) = (header.mark, header.priority);
    cx.state.mib.v4.ip.inc(Ip::OutRequests);
    output(cx, &link, route, header.multicast_loop, mtu, frame)
}

/// An identification that neighbours in time do not share.
pub(super) fn next_ident(cx: Cx<'_>) -> u16 {
    let salt = cx.state.links.salt();
    (cx.state.l3.next_ident().wrapping_add(salt) & 0xffff) as u16
}

/// The route's, or the namespace's; groups are not left by default.
fn default_ttl(cx: Cx<'_>, route: &Route) -> u8 {
    if route.reach == Reach::Multicast {
        return 1;
    }
    if route.hop_limit != 0 {
        return route.hop_limit;
    }
    u8::try_from(sysctl::number_or(cx.ns(), "ipv4/ip_default_ttl", 64)).unwrap_or(64)
}

/// Sends a packet whose header the caller wrote; what he left open is filled in.
///
/// # Errors
/// A positive errno: `EMSGSIZE` if the device does not take it whole, `EINVAL` if it is no packet.
pub(in crate::l3) fn ip_output_raw(cx: Cx<'_>, route: &Route, header: &Header, mut frame: Frame) -> Result<(), i32> {
    let link = cx.state.links.by_index(route.oif).ok_or(errno::ENODEV)?;
    let total_len = frame.len();
    if total_len > link.mtu as usize || total_len > MAX_LEN {
        return Err(errno::EMSGSIZE);
    }
    let data = frame.data_mut();
    let len = data.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    if data.len() < HLEN || len > data.len() {
        return Err(errno::EINVAL);
    }
    if len >= HLEN {
        if let IpAddr::V4(src) = route.src
            && data[12..16] == [0; 4]
        {
            data[12..16].copy_from_slice(&src.octets());
        }
        data[2..4].copy_from_slice(&(total_len as u16).to_be_bytes());
        if data[4..6] == [0; 2] {
            let ident = next_ident(cx);
            data[4..6].copy_from_slice(&ident.to_be_bytes());
        }
        write_checksum(data, len);
    }
    frame.set_network_here();
    (frame.mark, frame.priority) = (header.mark, header.priority);
    let mtu = link.mtu as usize;
    output(cx, &link, route, header.multicast_loop, mtu, frame)
}

/// A packet with its header: to this host, to who listens here, and out (`ip_output`, `ip_mc_output`).
fn output(cx: Cx<'_>, link: &Arc<Link>, route: &Route, loops: bool, mtu: usize, mut frame: Frame) -> Result<(), i32> {
    frame.protocol = ethertype::IP;
    frame.kind = PacketType::Outgoing;
    (frame.routed, frame.device) = (None, 0);
    match route.reach {
        Reach::Local => (frame.routed, frame.device) = (Some(Reach::Local), route.device),
        Reach::Unicast => {}
        Reach::Broadcast | Reach::Multicast => {
            let IpAddr::V4(dst) = route.dst else { return Err(errno::EINVAL) };
            let heard = match route.reach {
                Reach::Multicast => loops && inet::is_member(cx.ns(), link.index(), dst),
                _ => true,
            };
            // The loopback device brings it back by itself.
            if heard && !link.stored_flags.contains(crate::dev::IfFlags::LOOPBACK) {
                let mut copy = frame.clone();
                copy.routed = Some(route.reach);
                copy.kind = match route.reach {
                    Reach::Multicast => PacketType::Multicast,
                    _ => PacketType::Broadcast,
                };
                l2::receive_again(cx, link, copy);
            } else if heard {
                frame.routed = Some(route.reach);
            }
            // Not further than this host.
            let ttl = frame.data().get(8).copied().unwrap_or(0);
            if route.reach == Reach::Multicast && ttl == 0 {
                return Ok(());
            }
        }
    }
    finish_output(cx, link, (route.reach, route.next_hop), mtu, frame)
}

/// Out by a device, in parts if it is too large (`ip_finish_output`).
///
/// # Errors
/// What the neighbour or the device says.
pub(super) fn finish_output(
    cx: Cx<'_>,
    link: &Arc<Link>,
    (reach, next_hop): (Reach, IpAddr),
    mtu: usize,
    frame: Frame,
) -> Result<(), i32> {
    if !exceeds(&frame, mtu) {
        mib::transmitted4(cx.state, reach, frame.len());
        return neigh::output(cx, link, next_hop, frame);
    }
    let ip = &cx.state.mib.v4.ip;
    cut(frame).into_iter().try_for_each(|frame| {
        let sent = fragment(cx, link, (reach, next_hop), mtu, frame);
        ip.inc(if sent.is_ok() { Ip::FragOKs } else { Ip::FragFails });
        sent
    })
}

/// A message of IGMP, at which routers on the way look (RFC 2113).
pub(in crate::l3) fn alert_packet(src: Ipv4Addr, dst: Ipv4Addr, message: &[u8]) -> Frame {
    const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
    const IGMP: u8 = 2;
    let mut frame = Frame::with_payload(message);
    let len = HLEN + ROUTER_ALERT.len();
    frame.push(len)[HLEN..].copy_from_slice(&ROUTER_ALERT);
    let header = Ipv4Header {
        len,
        tos: 0xc0,
        total_len: frame.len(),
        ident: 0,
        df: true,
        mf: false,
        offset: 0,
        ttl: 1,
        protocol: IGMP,
        src,
        dst,
    };
    header.write(frame.data_mut());
    frame.set_network_here();
    (frame.protocol, frame.kind, frame.checksum) = (ethertype::IP, PacketType::Outgoing, Checksum::Right);
    frame
}

/// Cuts a packet (RFC 791, 3.2).
fn fragment(
    cx: Cx<'_>,
    link: &Arc<Link>,
    (reach, next_hop): (Reach, IpAddr),
    mtu: usize,
    mut frame: Frame,
) -> Result<(), i32> {
    finish_checksum(&mut frame);
    let mut stamps = frame.stamps.take();
    let whole = Ipv4Header::parse(frame.data()).ok_or(errno::EINVAL)?;
    let first_options = frame.data()[HLEN..whole.len].to_vec();
    let later_options = super::options::copied(&first_options);
    let payload = &frame.data()[whole.len..];
    let mut at = 0;
    while at < payload.len() {
        let options = if at == 0 { &first_options } else { &later_options };
        let len = HLEN + options.len();
        let room = mtu.saturating_sub(len) & !7;
        if room == 0 {
            return Err(errno::EMSGSIZE);
        }
        let end = payload.len().min(at + room);
        let mut part = Frame::with_payload(&payload[at..end]);
        part.push(len)[HLEN..].copy_from_slice(options);
        let header = Ipv4Header {
            len,
            total_len: len + end - at,
            mf: whole.mf || end < payload.len(),
            offset: whole.offset + at,
            ..whole
        };
        header.write(part.data_mut());
        part.set_network_here();
        (part.protocol, part.kind, part.routed, part.device) = (frame.protocol, frame.kind, frame.routed, frame.device);
        (part.mark, part.priority, part.checksum) = (frame.mark, frame.priority, frame.checksum);
        // Of the first one alone it is told.
        part.stamps = stamps.take();
        cx.state.mib.v4.ip.inc(Ip::FragCreates);
        mib::transmitted4(cx.state, reach, part.len());
        neigh::output(cx, link, next_hop, part)?;
        at = end;
    }
    Ok(())
}
