//! Receiving (`ip_rcv`, `ip_local_deliver`).

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::header::{HLEN, Ipv4Header};
use super::options::Options;
use super::{forward, icmp, options};
use crate::dev::Link;
use crate::errno;
use crate::fib::{self, RouteAnswer, RouteQuery, route_type};
use crate::inet;
use crate::l2::{self, Checksum, Cx, Frame, PacketType};
use crate::l3::frag::{self, Part};
use crate::l3::{Delivered, Quote, Reach, Received, internet_checksum, report};
use crate::l4;
use crate::mib::{self, Ip, IpExt, TcpExt, Udp};
use crate::multipath;
use crate::state::ConfOf;

const ICMP: u8 = 1;
const IGMP: u8 = 2;
/// `IPV4_DEVCONF_FORWARDING`.
const FORWARDING: usize = 1;
/// `IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE`.
const ACCEPT_SOURCE_ROUTE: usize = 9;

/// A packet came in by `link`.
pub(in crate::l3) fn ip_rcv(cx: Cx<'_>, link: &Arc<Link>, mut frame: Frame) {
    if frame.kind == PacketType::OtherHost || !inet::has_inet(link) {
        return;
    }
    let mib = &*cx.state.mib.v4;
    let header = Ipv4Header::parse(frame.data());
    mib::arrived4(cx.state, &frame, header.as_ref().map(|header| header.tos));
    let Some(header) = header else { return mib.ip.inc(Ip::InHdrErrors) };
    if frame.routed.is_none() && internet_checksum(&frame.data()[..header.len], 0) != 0 {
        mib.ext.inc(IpExt::InCsumErrors);
        return mib.ip.inc(Ip::InHdrErrors);
    }
    if frame.segment.is_none() {
        if frame.len() < header.total_len {
            return mib.ext.inc(IpExt::InTruncatedPkts);
        }
        // Short frames are padded.
        frame.trim(header.total_len);
    }
    let mut found = Options::default();
    if header.len > HLEN {
        match options::parse(&frame.data()[..header.len]) {
            Err(at) => {
                mib.ip.inc(Ip::InHdrErrors);
                let quote = Quote::of(&frame, link.index(), Reach::Unicast);
                return icmp::icmp_send(cx, quote, icmp::ty::PARAMETER_PROBLEM, 0, u32::from(at) << 24);
            }
            Ok(options) if options.source_route && frame.routed.is_none() && !obeys(cx, link) => return,
            Ok(options) => found = options,
        }
    }
    let reach = match frame.routed {
        Some(reach) => reach,
        None => {
            let way = fib::route_input(cx.ns(), &query(cx, link, &frame, &header), &mut None);
            if let Err(errno::EXDEV) = way {
                cx.state.mib.tcp.ext.inc(TcpExt::IPReversePathFilter);
            }
            match reach_of(&way) {
                Some(reach) => reach,
                None => return forward::ip_forward(cx, link, frame, &header, found, way),
            }
        }
    };
    if reach == Reach::Unicast {
        return;
    }
    if found != Options::default() {
        let own = match reach {
            Reach::Local => header.dst,
            _ => inet::select_addr(cx.ns(), Some(link.index()), header.src, fib::scope::LINK),
        };
        options::note(cx, frame.data_mut(), header.len, found, (own, own));
    }
    mib::to_many4(cx.state, reach, header.total_len);
    local_deliver(cx, link, frame, &header, reach);
}

/// Whether packets go where their senders say (`accept_source_route`), for all devices and this one.
///
/// Those that may come are delivered and forwarded as if the sender had said nothing: nobody is sent by such ways.
fn obeys(cx: Cx<'_>, link: &Link) -> bool {
    let is = |of| inet::conf(cx.ns(), of, ACCEPT_SOURCE_ROUTE).is_some_and(|value| value != 0);
    is(ConfOf::All) && is(ConfOf::Dev(link.index()))
}

/// What the packet is to this host; [`Reach::Unicast`] if it is to be dropped, `None` if it is for others.
fn reach_of(found: &Result<RouteAnswer, i32>) -> Option<Reach> {
    match found {
        Ok(way) => match way.kind {
            route_type::LOCAL => Some(Reach::Local),
            route_type::BROADCAST => Some(Reach::Broadcast),
            route_type::MULTICAST => Some(Reach::Multicast),
            _ => None,
        },
        // Addresses that cannot be, or that come from where they cannot.
        Err(errno::EINVAL | errno::EXDEV) => Some(Reach::Unicast),
        Err(_) => None,
    }
}

/// What routing is asked for a packet that came in.
pub(super) fn query(cx: Cx<'_>, link: &Link, frame: &Frame, header: &Ipv4Header) -> RouteQuery {
    // What a part of a packet begins with are no ports, but for the first: and that is to go where the others go.
    let transport = frame.data().get(header.len..).filter(|_| !header.is_fragment()).unwrap_or_default();
    let ports = multipath::ports(header.protocol, transport);
    RouteQuery {
        src: header.src,
        iif: link.index(),
        mark: frame.mark,
        tos: header.tos & 0xfc,
        protocol: header.protocol,
        sport: ports.0,
        dport: ports.1,
        spread: cx.state.l3.spread[0].policy().hash_inside(frame.data()),
        ..RouteQuery::to(header.dst)
    }
}

/// Whether packets from `link` are forwarded.
pub(super) fn forwards(cx: Cx<'_>, link: &Link) -> bool {
    inet::conf(cx.ns(), ConfOf::Dev(link.index()), FORWARDING).is_some_and(|value| value != 0)
}

/// It is for this host (`ip_local_deliver`).
pub(super) fn local_deliver(cx: Cx<'_>, link: &Arc<Link>, frame: Frame, header: &Ipv4Header, reach: Reach) {
    if !header.is_fragment() {
        return deliver_whole(cx, link, frame, header, reach);
    }
    cx.state.mib.v4.ip.inc(Ip::ReasmReqds);
    let payload = header.total_len - header.len;
    if header.mf && !payload.is_multiple_of(8) || header.offset + payload > 65_535 {
        return;
    }
    let key = frag::Key {
        src: header.src.into(),
        dst: header.dst.into(),
        ident: header.ident.into(),
        protocol: header.protocol,
        device: 0,
    };
    let part = Part { offset: header.offset, more: header.mf, at: header.len, iif: link.index() };
    let Some((mut first, payload)) = frag::defrag(cx, key, &part, frame) else { return };
    let Some(begun) = Ipv4Header::parse(first.data()) else { return };
    let total_len = begun.len + payload.len();
    if total_len > 65_535 {
        return;
    }
    let whole = Ipv4Header { total_len, mf: false, offset: 0, ..begun };
    first.trim(begun.len);
    whole.write(first.data_mut());
    first.append(&payload);
    deliver_whole(cx, link, first, &whole, reach);
}

fn deliver_whole(cx: Cx<'_>, link: &Arc<Link>, mut frame: Frame, header: &Ipv4Header, reach: Reach) {
    frame.set_network_here();
    if frame.pull(header.len).is_none() {
        return;
    }
    let received = Received {
        src: header.src.into(),
        dst: header.dst.into(),
        protocol: header.protocol,
        tos: header.tos,
        hop_limit: header.ttl,
        // Of its own packets a host says that they came by the device that has the address (`inet_iif`).
        iif: if frame.device == 0 { link.index() } else { frame.device },
        reach,
        frame,
    };
    let mib = &*cx.state.mib.v4;
    if l2::vxlan_rcv(cx, &received) {
        mib.ip.inc(Ip::InDelivers);
        return cx.state.mib.udp.of(false, false).inc(Udp::InDatagrams);
    }
    if matches!(header.protocol, IGMP | ICMP) {
        mib.ip.inc(Ip::InDelivers);
    }
    if header.protocol == IGMP {
        if internet_checksum(received.frame.data(), 0) == 0 {
            report::receive(cx, link, &received);
        }
        l4::deliver(cx, received);
        return;
    }
    if header.protocol == ICMP {
        icmp::icmp_rcv(cx, received);
        return;
    }
    let delivered = l4::deliver(cx, received);
    let known = !matches!(delivered, Delivered::NoProtocol(_));
    mib.ip.inc(if known { Ip::InDelivers } else { Ip::InUnknownProtos });
    let (mut frame, unreachable) = match delivered {
        Delivered::Done => return,
        Delivered::NoPort(frame) => (frame, icmp::code::PORT_UNREACH),
        Delivered::NoProtocol(frame) => (frame, icmp::code::PROT_UNREACH),
    };
    frame.pull_back_to_network();
    let quote = Quote::of(&frame, link.index(), reach);
    icmp::icmp_send(cx, quote, icmp::ty::DEST_UNREACH, unreachable, 0);
}

/// Whether the checksum of a transport header is in order, which `start` is the sum of the pseudo header for.
pub(super) fn checksum_ok(frame: &Frame, start: u16) -> bool {
    frame.checksum != Checksum::Unknown || internet_checksum(frame.data(), start) == 0
}

/// The address of a packet of ours with no address, or of one that everybody gets.
pub(super) const fn is_group_or_all(addr: Ipv4Addr) -> bool {
    addr.is_multicast() || addr.is_broadcast()
}
