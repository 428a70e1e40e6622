//! What becomes of a frame that came in (`__netif_receive_skb_core`).

use std::sync::atomic::Ordering::Relaxed;

use super::{Cx, Frame, PacketType, arp, bridge, count, ethertype, tap, upper};
use crate::dev::{IfFlags, Link};
use crate::l3;
use std::sync::Arc;

/// Frames that arrived one after the other at the device with index `ifindex` (`netif_receive_skb_list`); the data of each
/// begin at the network header.
pub(super) fn netif_receive_list(cx: Cx<'_>, ifindex: u32, frames: &mut Vec<Frame>) {
    // It may have gone, or down, since.
    let Some(link) = cx.state.links.by_index(ifindex).filter(|link| link.is_up()) else { return frames.clear() };
    let protocol = frames.first().map_or(0, |frame| frame.protocol);
    let untagged = |frame: &Frame| frame.protocol == protocol && frame.routed.is_none() && frame.tag.is_none();
    let known = matches!(protocol, ethertype::IP | ethertype::IPV6);
    let others = || link.port().is_some() || cx.state.links.has_uppers(ifindex);
    if known && frames.iter().all(untagged) && !tap::watched(cx) && !others() {
        let noted = |mut frame: Frame| {
            frame.set_network_here();
            tap::note(cx, &link, &frame, false);
            frame
        };
        return l3::ip_list_rcv(cx, &link, protocol, frames.drain(..).map(noted));
    }
    for frame in frames.drain(..) {
        // What the one before did may concern the device.
        let Some(link) = cx.state.links.by_index(ifindex).filter(|link| link.is_up()) else { continue };
        netif_receive(cx, &link, frame);
    }
}

/// A frame that arrived at a device (`__netif_receive_skb_core`).
fn netif_receive(cx: Cx<'_>, link: &Arc<Link>, mut frame: Frame) {
    frame.set_network_here();
    // What comes back from the network layer was seen when it went out.
    if frame.routed.is_none() || link.stored_flags.contains(IfFlags::LOOPBACK) {
        tap::tap(cx, link, &frame, false);
    }
    if frame.routed.is_none() {
        upper::untag(&mut frame);
        let Some(rest) = handlers(cx, link, frame) else { return };
        frame = rest;
    }
    match frame.protocol {
        ethertype::IP | ethertype::IPV6 => l3::ip_rcv(cx, link, frame),
        ethertype::ARP => arp::arp_rcv(cx, link, &frame),
        _ if frame.kind == PacketType::OtherHost => {}
        _ => count(cx.state, link, |c| _ = c.rx_nohandler.fetch_add(1, Relaxed)),
    }
}

/// What others have of a device comes before what it has itself (`rx_handler`): tags, further addresses, a switch.
fn handlers(cx: Cx<'_>, link: &Arc<Link>, frame: Frame) -> Option<Frame> {
    // A switch passes tags on as they are.
    if link.port().is_some() {
        return bridge::handle_frame(cx, link, frame);
    }
    if link.stored_flags.contains(IfFlags::LOOPBACK) || !cx.state.links.has_uppers(link.index()) {
        return if frame.tag.is_some() { upper::tagged(cx, link, frame) } else { Some(frame) };
    }
    let frame = upper::tagged(cx, link, frame)?;
    upper::macvlan_rcv(cx, link, frame)
}
