//! Packets for others (`ip6_forward`).

use std::sync::Arc;

use super::header::Ipv6Header;
use super::icmp::{self, code, ty};
use super::list::Ipv6;
use super::{input, output, redirect, route};
use crate::dev::Link;
use crate::fib::LOOPBACK_IFINDEX;
use crate::inet6::{self, RouteError6, Way6, devconf};
use crate::l2::{Cx, Frame, PacketType};
use crate::l3::list::Protocol as _;
use crate::l3::{Quote, Reach, exceeds};
use crate::mib::{self, Ip6};

/// Sends a packet on the way that was found, or tells its sender why not.
pub(super) fn ip6_forward(
    cx: Cx<'_>,
    link: &Arc<Link>,
    mut frame: Frame,
    header: &Ipv6Header,
    found: Result<Way6, RouteError6>,
) {
    let refuse = |frame: &Frame, ty, code, info| {
        icmp::icmpv6_send(cx, Quote::of(frame, link.index(), Reach::Unicast), ty, code, info);
    };
    let count = |link: &Link, which| mib::on(cx.state, link, |mib| mib.ip.inc(which));
    // What routes say is told by hosts as well as by routers.
    let way = match found {
        Ok(way) if way.local || way.multicast || way.oif != LOOPBACK_IFINDEX => way,
        Err(RouteError6::Blackhole) => return,
        // The loopback leads nowhere but here.
        refused => {
            count(link, Ip6::InNoRoutes);
            let prohibited = matches!(refused, Err(RouteError6::Prohibited));
            let code = if prohibited { code::PROHIBITED } else { code::NO_ROUTE };
            return refuse(&frame, ty::DEST_UNREACH, code, 0);
        }
    };
    let ns = cx.ns();
    if inet6::setting_of_all(ns, devconf::FORWARDING) == 0 {
        return count(link, Ip6::InAddrErrors);
    }
    if frame.kind != PacketType::Host || way.multicast {
        return;
    }
    if header.hop_limit <= 1 {
        count(link, Ip6::InHdrErrors);
        return refuse(&frame, ty::TIME_EXCEEDED, code::EXC_HOPLIMIT, 0);
    }
    if input::is_nobody(header.src) || header.src.is_loopback() {
        return count(link, Ip6::InAddrErrors);
    }
    // Such an address means nothing behind this host.
    if inet6::is_link_local(header.src) && way.oif != link.index() {
        count(link, Ip6::InAddrErrors);
        return refuse(&frame, ty::DEST_UNREACH, code::BEYOND_SCOPE, 0);
    }
    let Some(out) = cx.state.links.by_index(way.oif) else { return };
    let mtu = route::mtu(cx, &out, way.metrics.as_deref());
    count(&out, Ip6::OutForwDatagrams);
    if exceeds(&frame, mtu as usize) {
        count(link, Ip6::InTooBigErrors);
        count(&out, Ip6::FragFails);
        return refuse(&frame, ty::PACKET_TOO_BIG, 0, mtu);
    }
    // The sender could have handed it to the next router himself.
    if way.oif == link.index() {
        // The next packet may go by that way.
        frame.trail.spoil();
        redirect::send(cx, link, &frame, header, route::next_hop(&way, header.dst));
    }
    Ipv6::age(&mut frame);
    let octets = frame.len();
    frame.trail.forwarded(cx, true, octets);
    frame.kind = PacketType::Outgoing;
    let next_hop = route::next_hop(&way, header.dst);
    // Nobody waits for the answer.
    let _ = output::finish_output(cx, &out, (&out, next_hop.into()), (mtu as usize).into(), frame);
}
