//! Packets for others (`ip_forward`).

use std::sync::Arc;

use super::header::{Ipv4Header, decrease_ttl};
use super::icmp::{self, code, ty};
use super::options::Options;
use super::{input, options, output, redirect, route};
use crate::dev::Link;
use crate::errno;
use crate::fib::{self, RouteAnswer, rtcf};
use crate::inet;
use crate::l2::{Cx, Frame, PacketType};
use crate::l3::{Quote, Reach, exceeds};
use crate::mib::{Ip, IpExt};

/// Sends a packet on the way that was found, or tells its sender why not.
pub(super) fn ip_forward(
    cx: Cx<'_>,
    link: &Arc<Link>,
    mut frame: Frame,
    header: &Ipv4Header,
    found: Options,
    way: Result<RouteAnswer, i32>,
) {
    let mib = &*cx.state.mib.v4;
    if !input::forwards(cx, link) {
        return match way {
            Err(errno::ENETUNREACH) => mib.ext.inc(IpExt::InNoRoutes),
            Err(errno::EACCES) => {}
            _ => mib.ip.inc(Ip::InAddrErrors),
        };
    }
    let refuse = |frame: &Frame, ty, code, info| {
        icmp::icmp_send(cx, Quote::of(frame, link.index(), Reach::Unicast), ty, code, info);
    };
    let way = match way {
        Ok(way) => way,
        Err(errno::ENETUNREACH) => {
            mib.ext.inc(IpExt::InNoRoutes);
            return refuse(&frame, ty::DEST_UNREACH, code::NET_UNREACH, 0);
        }
        Err(errno::EHOSTUNREACH) => return refuse(&frame, ty::DEST_UNREACH, code::HOST_UNREACH, 0),
        Err(errno::EACCES) => return refuse(&frame, ty::DEST_UNREACH, code::PKT_FILTERED, 0),
        Err(_) => return,
    };
    // What everybody on the link got is not sent on by everybody.
    if frame.kind != PacketType::Host {
        return;
    }
    if header.ttl <= 1 {
        mib.ip.inc(Ip::InHdrErrors);
        return refuse(&frame, ty::TIME_EXCEEDED, code::EXC_TTL, 0);
    }
    let Some(out) = cx.state.links.by_index(way.oif) else { return };
    mib.ip.inc(Ip::ForwDatagrams);
    let mtu = route::mtu(&out, way.info.as_deref());
    if header.df && exceeds(&frame, mtu as usize) {
        mib.ip.inc(Ip::FragFails);
        return refuse(&frame, ty::DEST_UNREACH, code::FRAG_NEEDED, mtu);
    }
    if way.flags & rtcf::DOREDIRECT != 0 && frame.data().len() >= header.len {
        // There is a nearer way, and the next packet may go by that.
        frame.trail.spoil();
        redirect::send(cx, link, &frame, header, &way);
    }
    decrease_ttl(frame.data_mut());
    if found != Options::default() {
        let own = inet::select_addr(cx.ns(), Some(out.index()), header.dst, fib::scope::UNIVERSE);
        let here = inet::select_addr(cx.ns(), Some(link.index()), header.src, fib::scope::UNIVERSE);
        options::note(cx, frame.data_mut(), header.len, found, (here, own));
    }
    let octets = frame.len();
    frame.trail.forwarded(cx, false, octets);
    frame.kind = PacketType::Outgoing;
    let next_hop = route::next_hop(way.gateway, header.dst);
    // Nobody waits for the answer.
    let _ = output::finish_output(cx, &out, (Reach::Unicast, next_hop), mtu as usize, frame);
}
