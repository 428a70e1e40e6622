//! Handing a frame to a device (`dev_queue_xmit`).

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::backlog::{netif_rx, netif_rx_list};
use super::{Checksum, Cx, Frame, bridge, count, eth, ethertype, stamp, tap, tun, upper, vxlan};
use crate::dev::{IfFlags, Link};
use crate::errno;
use crate::l3;

/// Sends a frame through a device; its data begin at the link-layer header.
///
/// # Errors
/// A positive errno: `ENETDOWN` if devices send through one another in a circle.
pub(crate) fn dev_queue_xmit(cx: Cx<'_>, link: &Arc<Link>, mut frame: Frame) -> Result<(), i32> {
    // There is no queue to put it into (`noop_qdisc`): it is gone, and whoever sent it is not told.
    if !link.is_up() || !link.carrier {
        count(cx.state, link, |c| _ = c.tx_dropped.fetch_add(1, Relaxed));
        return Ok(());
    }
    frame.set_mac_here();
    stamp::scheduled(cx, link, &frame);
    if frame.segment.is_some() && !takes_whole(cx, link, &frame) {
        return l3::cut(frame).into_iter().try_for_each(|part| xmit(cx, link, part));
    }
    xmit(cx, link, frame)
}

/// As [`dev_queue_xmit`], of what the device takes whole.
fn xmit(cx: Cx<'_>, link: &Arc<Link>, mut frame: Frame) -> Result<(), i32> {
    if matches!(frame.checksum, Checksum::Partial { .. }) && !cx.stack.eth_features(cx.net, link).takes_checksums() {
        l3::finish_checksum(&mut frame);
    }
    tap::tap(cx, link, &frame, true);
    if link.stored_flags.contains(IfFlags::LOOPBACK) {
        loopback(cx, link, frame);
        return Ok(());
    }
    let kind = link.class().kind;
    // These send through further devices, in the end perhaps through themselves.
    let through = matches!(kind, Some("bridge" | "vxlan" | "vlan" | "macvlan" | "macvtap"));
    let deeper = if through { Deeper::go() } else { None };
    if through && deeper.is_none() {
        count(cx.state, link, |c| _ = c.tx_dropped.fetch_add(1, Relaxed));
        return Err(errno::ENETDOWN);
    }
    match kind {
        Some("veth") => veth(cx, link, frame),
        Some("ifb") => ifb(cx, link, &frame),
        Some("tun") => {
            stamp::sent(cx, link, &mut frame);
            tun::xmit(cx, link, frame);
        }
        Some("bridge") => bridge::xmit(cx, link, frame),
        Some("vxlan") => vxlan::xmit(cx, link, frame),
        Some("vlan") => upper::vlan_xmit(cx, link, frame),
        Some("macvlan" | "macvtap") => upper::macvlan_xmit(cx, link, frame),
        _ => {
            stamp::sent(cx, link, &mut frame);
            sent(cx, link, frame.len());
        }
    }
    Ok(())
}

/// Sends frames one after the other, as [`dev_queue_xmit`] does; nobody waits for an answer.
pub(crate) fn xmit_list(cx: Cx<'_>, link: &Arc<Link>, frames: &mut Vec<Frame>) {
    let plain = link.is_up()
        && link.carrier
        && link.class().kind == Some("veth")
        && !tap::watched(cx)
        && cx.stack.eth_features(cx.net, link).takes_checksums();
    if plain
        && frames.iter().all(|frame| frame.segment.is_none() && !frame.trail.is_noted() && !frame.stamps.are_wanted())
    {
        return veth_list(cx, link, frames);
    }
    for frame in frames.drain(..) {
        let _ = dev_queue_xmit(cx, link, frame);
    }
}

/// Whether a device takes a packet that stands for many as one (`netif_needs_gso`): those do that hand it on within the
/// stack.
fn takes_whole(cx: Cx<'_>, link: &Link, frame: &Frame) -> bool {
    let within =
        matches!(link.class().kind, Some("veth" | "bridge" | "vlan" | "macvlan" | "macvtap" | "ifb" | "dummy"));
    let limits = link.offload();
    // About: the last of the headers is not looked at here.
    let (segments, len) = (frame.segments(eth::HLEN), frame.len());
    (within || link.stored_flags.contains(IfFlags::LOOPBACK))
        && len <= limits.gso_max_size as usize
        && segments <= limits.gso_max_segs as usize
        && cx.stack.eth_features(cx.net, link).takes_many(frame.is_of_udp(), frame.protocol == ethertype::IPV6)
}

/// `XMIT_RECURSION_LIMIT`: how many devices may send through one another.
const DEEPEST: u8 = 8;

thread_local! {
    /// How many devices this thread is in the middle of sending through. Linux counts the same, for each task.
    static DEPTH: Cell<u8> = const { Cell::new(0) };
}

/// One device deeper, until it is dropped.
struct Deeper;

impl Deeper {
    /// `None` if this goes on in circles.
    fn go() -> Option<Self> {
        let depth = DEPTH.get();
        (depth < DEEPEST).then(|| {
            DEPTH.set(depth + 1);
            Self
        })
    }
}

impl Drop for Deeper {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// How many devices the frame in hand is being sent through (`dev_recursion_level`).
pub(super) fn depth() -> u8 {
    DEPTH.get()
}

/// The bytes as counters have them.
fn bytes(len: usize) -> u64 {
    len as u64
}

pub(super) fn sent(cx: Cx<'_>, link: &Link, len: usize) {
    count(cx.state, link, |c| {
        c.tx_packets.fetch_add(1, Relaxed);
        c.tx_bytes.fetch_add(bytes(len), Relaxed);
    });
}

pub(super) fn received(cx: Cx<'_>, link: &Link, len: usize) {
    count(cx.state, link, |c| {
        c.rx_packets.fetch_add(1, Relaxed);
        c.rx_bytes.fetch_add(bytes(len), Relaxed);
    });
}

/// What is sent comes in at once; it is counted both ways, without its header.
fn loopback(cx: Cx<'_>, link: &Link, mut frame: Frame) {
    stamp::sent(cx, link, &mut frame);
    if eth::eth_type_trans(&mut frame, link).is_none() {
        return;
    }
    let len = frame.len();
    frame.trail.cross(cx.state, link, true, len);
    frame.trail.cross(cx.state, link, false, len);
    if netif_rx(cx, link.index(), frame) {
        count(cx.state, link, |c| {
            c.tx_packets.fetch_add(1, Relaxed);
            c.tx_bytes.fetch_add(bytes(len), Relaxed);
            c.rx_packets.fetch_add(1, Relaxed);
            c.rx_bytes.fetch_add(bytes(len), Relaxed);
        });
    } else {
        count(cx.state, link, |c| _ = c.rx_dropped.fetch_add(1, Relaxed));
    }
}

/// Into the other end, wherever that is.
fn veth(cx: Cx<'_>, link: &Arc<Link>, mut frame: Frame) {
    stamp::sent(cx, link, &mut frame);
    let len = frame.len();
    // What the other end is told of the packet is what a wire would tell it.
    (frame.mark, frame.priority, frame.routed) = (0, 0, None);
    frame.trail.cross(cx.state, link, true, len);
    let arrived = with_lower(cx, link, |cx, peer| {
        frame.trail.cross(cx.state, peer, false, len);
        let arrived =
            peer.is_up() && eth::eth_type_trans(&mut frame, peer).is_some() && netif_rx(cx, peer.index(), frame);
        if arrived {
            received(cx, peer, len);
        }
        arrived
    });
    if arrived == Some(true) {
        sent(cx, link, len);
    } else {
        count(cx.state, link, |c| _ = c.tx_dropped.fetch_add(1, Relaxed));
    }
}

/// Several, one after the other: the other end is looked for once, and its namespace's backlog locked once.
fn veth_list(cx: Cx<'_>, link: &Arc<Link>, frames: &mut Vec<Frame>) {
    let total = frames.len() as u64;
    let arrive = |cx: Cx<'_>, peer: &Arc<Link>| {
        if !peer.is_up() {
            return (0, 0);
        }
        let (own, mut arrived) = (eth::own_address(peer), 0);
        frames.retain_mut(|frame| {
            frame.set_mac_here();
            tap::note(cx, link, frame, true);
            let len = frame.len();
            (frame.mark, frame.priority, frame.routed) = (0, 0, None);
            let whole = eth::arrive(frame, own).is_some();
            arrived += if whole { bytes(len) } else { 0 };
            whole
        });
        let count_of = frames.len();
        let rest = netif_rx_list(cx, peer.index(), std::mem::take(frames));
        let lost: usize = rest.iter().map(|frame| frame.len() + eth::HLEN).sum();
        let (taken, bytes) = ((count_of - rest.len()) as u64, arrived - bytes(lost));
        count(cx.state, peer, |c| {
            c.rx_packets.fetch_add(taken, Relaxed);
            c.rx_bytes.fetch_add(bytes, Relaxed);
        });
        (taken, bytes)
    };
    let (taken, bytes) = with_lower(cx, link, arrive).unwrap_or_default();
    frames.clear();
    count(cx.state, link, |c| {
        c.tx_packets.fetch_add(taken, Relaxed);
        c.tx_bytes.fetch_add(bytes, Relaxed);
        if taken < total {
            c.tx_dropped.fetch_add(total - taken, Relaxed);
        }
    });
}

/// It gives back what traffic control sent its way; what was sent to it directly it drops, counted as received.
fn ifb(cx: Cx<'_>, link: &Link, frame: &Frame) {
    received(cx, link, frame.len());
    count(cx.state, link, |c| _ = c.rx_dropped.fetch_add(1, Relaxed));
}

/// Calls `with` on the device below, or at the other end, in its namespace.
pub(super) fn with_lower<T>(cx: Cx<'_>, link: &Link, with: impl FnOnce(Cx<'_>, &Arc<Link>) -> T) -> Option<T> {
    let index = link.lower.filter(|index| *index > 0)?;
    let Some(handle) = link.lower_net() else {
        return cx.state.links.by_index(index).map(|lower| with(cx, &lower));
    };
    let net = handle.upgrade()?;
    let cx = Cx::new(cx.stack, &net)?;
    cx.state.links.by_index(index).map(|lower| with(cx, &lower))
}

/// A packet that went out comes back to this host by the same device: a broadcast, or a group that somebody here listens to
/// (`dev_loopback_xmit`). Its data begin at the network header.
pub(crate) fn receive_again(cx: Cx<'_>, link: &Link, mut frame: Frame) {
    frame.set_network_here();
    frame.set_mac_here();
    let _ = netif_rx(cx, link.index(), frame);
}
