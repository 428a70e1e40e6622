//! What a switch does with frames (`net/bridge/br_input.c`, `br_forward.c`, `br_device.c`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::backlog::netif_rx;
use super::{Cx, Frame, Work, count, dev_queue_xmit, eth, work_at, xmit};
use crate::clock;
use crate::dev::{Bridge, BridgePort, FdbFound, HwAddr, IfFlags, KindData, Link, PortState};

/// Switches of a port, by their `IFLA_BRPORT_*` numbers.
mod switch {
    pub(super) const HAIRPIN: u16 = 4;
    pub(super) const LEARNING: u16 = 8;
    pub(super) const UNICAST_FLOOD: u16 = 9;
    pub(super) const MCAST_FLOOD: u16 = 27;
    pub(super) const BCAST_FLOOD: u16 = 30;
    pub(super) const ISOLATED: u16 = 33;
    pub(super) const LOCKED: u16 = 39;
}

/// Addresses that mean the next switch and are not passed on (IEEE 802.1D): the last four bits count.
const RESERVED: [u8; 5] = [0x01, 0x80, 0xc2, 0x00, 0x00];

fn bridge_of(link: &Link) -> Option<&Bridge> {
    match link.data() {
        Some(KindData::Bridge(bridge)) => Some(bridge),
        _ => None,
    }
}

/// A frame came in by a port; its data begin behind the link-layer header. It comes back if it is the port's own affair.
pub(super) fn handle_frame(cx: Cx<'_>, port: &Arc<Link>, frame: Frame) -> Option<Frame> {
    let Some(settings) = BridgePort::of(port) else { return Some(frame) };
    let Some(master) = port.master.and_then(|master| cx.state.links.by_index(master)) else { return Some(frame) };
    let (Some(bridge), Some((dst, src))) = (bridge_of(&master), eth::addresses(&frame)) else { return Some(frame) };
    if src[0] & 1 != 0 || src == [0; 6] {
        return None;
    }
    if dst[..5] == RESERVED && dst[5] < 0x10 {
        let bit = 1 << dst[5];
        // Spanning tree's own frames pass through a switch that does none.
        let passes =
            dst[5] == 0 && bridge.stp_state == 0 || (settings.group_fwd_mask | bridge.group_fwd_mask) & bit != 0;
        if !passes {
            return Some(frame);
        }
    }
    let learns = matches!(settings.state, PortState::Learning | PortState::Forwarding);
    if !learns || !master.is_up() {
        return None;
    }
    let found = cx.state.links.found_at(&master, &HwAddr::from_six(src));
    if settings.is_on(switch::LOCKED) && !matches!(found, FdbFound::Port(at) if at == port.index()) {
        return None;
    }
    if matches!(found, FdbFound::Port(at) if at != port.index()) {
        // It has moved, and who thought that he knew the way does not.
        cx.stack.changed();
    }
    // One's own address from outside is a loop, and nothing to be learnt.
    if settings.is_on(switch::LEARNING) && found != FdbFound::Here {
        learn(cx, &master, bridge, src, port.index());
    }
    if settings.state == PortState::Forwarding {
        forward(cx, &master, Some(port), frame, dst);
    }
    None
}

/// The address is behind the port.
fn learn(cx: Cx<'_>, master: &Link, bridge: &Bridge, src: [u8; 6], port: u32) {
    let now = u64::from(clock::stamp(cx.now()));
    let most = usize::try_from(bridge.fdb_max_learned).unwrap_or(0);
    if cx.state.links.learn_fdb(master.index(), HwAddr::from_six(src), port, now, most) {
        // The first of them: they are looked through when they may be too old.
        let wait = Duration::from_millis(u64::from(bridge.ageing_time.max(100)) * 10);
        work_at(cx, cx.now() + wait, Work::FdbAge(master.index()));
    }
}

/// Addresses that were not heard of for too long are forgotten (`br_fdb_cleanup`).
pub(super) fn age(cx: Cx<'_>, ifindex: u32) {
    let Some(master) = cx.state.links.by_index(ifindex) else { return };
    let ageing = match master.data() {
        Some(KindData::Bridge(bridge)) => u64::from(bridge.ageing_time),
        Some(KindData::Vxlan(vxlan)) => u64::from(vxlan.ageing) * 100,
        _ => return,
    };
    let now = u64::from(clock::stamp(cx.now()));
    if let Some(next) = cx.state.links.age_fdb(ifindex, now, ageing) {
        work_at(cx, cx.now() + Duration::from_millis(next.max(1) * 10), Work::FdbAge(ifindex));
    }
}

/// The switch itself sends a frame, whose data begin at the link-layer header.
pub(super) fn xmit(cx: Cx<'_>, master: &Arc<Link>, mut frame: Frame) {
    let len = frame.len();
    if eth::eth_type_trans(&mut frame, master).is_none() {
        return;
    }
    frame.trail.cross(cx.state, master, true, len);
    xmit::sent(cx, master, len);
    let Some((dst, _)) = eth::addresses(&frame) else { return };
    forward(cx, master, None, frame, dst);
}

/// To the port behind which the address is, to all if nobody knows, and to the switch itself if it is for that.
fn forward(cx: Cx<'_>, master: &Arc<Link>, from: Option<&Link>, frame: Frame, dst: [u8; 6]) {
    if dst[0] & 1 != 0 {
        let number = if dst == [0xff; 6] { switch::BCAST_FLOOD } else { switch::MCAST_FLOOD };
        if from.is_some() {
            pass_up(cx, master, frame.clone());
        }
        return flood(cx, master, from, frame, number);
    }
    // Who listens to everything sees what is for others as well.
    if from.is_some() && master.flags().contains(IfFlags::PROMISC) {
        frame.trail.spoil();
        pass_up(cx, master, frame.clone());
    }
    match cx.state.links.found_at(master, &HwAddr::from_six(dst)) {
        FdbFound::Here if from.is_some() && !master.flags().contains(IfFlags::PROMISC) => pass_up(cx, master, frame),
        FdbFound::Here => {}
        FdbFound::Port(port) => {
            if let Some(port) = cx.state.links.by_index(port)
                && takes(from, &port)
            {
                out(cx, &port, frame);
            }
        }
        FdbFound::Nowhere => flood(cx, master, from, frame, switch::UNICAST_FLOOD),
    }
}

/// To all ports that take such frames.
fn flood(cx: Cx<'_>, master: &Link, from: Option<&Link>, frame: Frame, number: u16) {
    let ports = cx.state.links.ports_of(master.index()).into_iter().filter_map(|port| cx.state.links.by_index(port));
    let mut takers = ports.filter(|port| {
        // What the switch itself says to all, all get.
        let wanted = from.is_none() && number != switch::UNICAST_FLOOD;
        takes(from, port) && (wanted || BridgePort::of(port).is_some_and(|settings| settings.is_on(number)))
    });
    let Some(mut last) = takers.next() else { return };
    for port in takers {
        out(cx, &last, frame.clone());
        last = port;
    }
    // The last one gets the frame itself. Where the address is, the next frame may know.
    frame.trail.spoil();
    out(cx, &last, frame);
}

/// Whether a port sends what came in by `from` (`should_deliver`).
fn takes(from: Option<&Link>, port: &Link) -> bool {
    let Some(settings) = BridgePort::of(port) else { return false };
    let back = from.is_some_and(|from| from.index() == port.index());
    let isolated = |link: &Link| BridgePort::of(link).is_some_and(|settings| settings.is_on(switch::ISOLATED));
    settings.state == PortState::Forwarding
        && (!back || settings.is_on(switch::HAIRPIN))
        && !(settings.is_on(switch::ISOLATED) && from.is_some_and(isolated))
}

fn out(cx: Cx<'_>, port: &Arc<Link>, mut frame: Frame) {
    // A switch cuts nothing.
    if frame.segment.is_none() && frame.len() > port.mtu as usize {
        count(cx.state, port, |c| _ = c.tx_dropped.fetch_add(1, Relaxed));
        return;
    }
    frame.pull_back_to_mac();
    frame.routed = None;
    // Nobody waits for its fate.
    let _ = dev_queue_xmit(cx, port, frame);
}

/// The switch receives it as a device.
fn pass_up(cx: Cx<'_>, master: &Arc<Link>, mut frame: Frame) {
    let len = frame.len();
    frame.trail.cross(cx.state, master, false, len);
    frame.pull_back_to_mac();
    if eth::eth_type_trans(&mut frame, master).is_some() && netif_rx(cx, master.index(), frame) {
        xmit::received(cx, master, len);
    }
}
