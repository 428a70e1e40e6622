//! Devices on devices: parts that bear a tag, and further addresses (`net/8021q`, `drivers/net/macvlan.c`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::backlog::netif_rx;
use super::{Cx, Frame, PacketType, count, dev_queue_xmit, eth, ethertype, xmit};
use crate::dev::{KindData, Link, Macvlan};
use crate::errno;

/// A tag that a frame bears, beside its bytes as the kernel keeps it (`vlan_tci`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// Its Ethernet type.
    pub(crate) protocol: u16,
    /// Priority and number.
    pub(crate) tci: u16,
}

/// The bits of a tag that are its number.
const ID: u16 = 0xfff;
/// `MACVLAN_MODE_*`.
mod mode {
    pub(super) const BRIDGE: u32 = 4;
    pub(super) const PASSTHRU: u32 = 8;
    pub(super) const SOURCE: u32 = 16;
}

/// Calls `with` on every device on `link`, in its namespace.
fn each_upper(cx: Cx<'_>, link: &Link, mut with: impl FnMut(Cx<'_>, &Arc<Link>)) {
    for (net, index) in cx.state.links.uppers_of(link.index()) {
        match net {
            None => {
                if let Some(upper) = cx.state.links.by_index(index) {
                    with(cx, &upper);
                }
            }
            Some(handle) => {
                let Some(net) = handle.upgrade() else { continue };
                let Some(cx) = Cx::new(cx.stack, &net) else { continue };
                if let Some(upper) = cx.state.links.by_index(index) {
                    with(cx, &upper);
                }
            }
        }
    }
}

/// Arrives at a device that sits on the one where it came in; its data begin behind the link-layer header.
fn arrive(cx: Cx<'_>, upper: &Arc<Link>, mut frame: Frame, len: usize) {
    if !upper.is_up() {
        return;
    }
    let protocol = frame.protocol;
    frame.trail.cross(cx.state, upper, false, len);
    frame.pull_back_to_mac();
    frame.routed = None;
    if eth::eth_type_trans(&mut frame, upper).is_none() {
        return;
    }
    frame.protocol = protocol;
    let group = matches!(frame.kind, PacketType::Multicast | PacketType::Broadcast);
    if netif_rx(cx, upper.index(), frame) {
        xmit::received(cx, upper, len);
        if group {
            count(cx.state, upper, |c| _ = c.multicast.fetch_add(1, Relaxed));
        }
    } else {
        count(cx.state, upper, |c| _ = c.rx_dropped.fetch_add(1, Relaxed));
    }
}

/// A frame with a tag among its bytes: the tag is put beside them (`skb_vlan_untag`).
pub(super) fn untag(frame: &mut Frame) {
    if !matches!(frame.protocol, ethertype::VLAN | ethertype::QINQ) || frame.tag.is_some() {
        return;
    }
    let Some([a, b, c, d]) = frame.data().first_chunk::<4>().copied() else { return };
    let Some((dst, src)) = eth::addresses(frame) else { return };
    frame.tag = Some(Tag { protocol: frame.protocol, tci: u16::from_be_bytes([a, b]) });
    frame.protocol = u16::from_be_bytes([c, d]);
    // The addresses move up to the type that follows the tag.
    if frame.pull(4).is_some() {
        super::push_header(frame, &dst, &src);
        let _ = frame.pull(eth::HLEN);
    }
}

/// A frame with a tag came in by `link`: it belongs to the device for that, if there is one. It comes back if it is the
/// lower one's after all.
pub(super) fn tagged(cx: Cx<'_>, link: &Arc<Link>, mut frame: Frame) -> Option<Frame> {
    let Some(tag) = frame.tag else { return Some(frame) };
    let mut found = false;
    each_upper(cx, link, |cx, upper| {
        if let Some(KindData::Vlan(vlan)) = upper.data()
            && vlan.id == tag.tci & ID
            && vlan.protocol == tag.protocol
            && !found
        {
            found = true;
            let mut inner = std::mem::take(&mut frame);
            inner.tag = None;
            let len = inner.len();
            arrive(cx, upper, inner, len);
        }
    });
    if found {
        return None;
    }
    // A tag without a number says how urgent it is only.
    frame.tag = None;
    (tag.tci & ID == 0).then_some(frame)
}

/// A device for a tag sends; the frame's data begin at the link-layer header.
pub(super) fn vlan_xmit(cx: Cx<'_>, link: &Arc<Link>, mut frame: Frame) {
    let Some(KindData::Vlan(vlan)) = link.data() else { return };
    let priority = vlan.egress.iter().find(|(own, _)| *own == frame.priority).map_or(0, |(_, tag)| *tag);
    let tag = Tag { protocol: vlan.protocol, tci: vlan.id | ((priority as u16 & 7) << 13) };
    let len = frame.len();
    if frame.tag.is_some() {
        // A tag in a tag: the inner one goes among the bytes.
        inline(&mut frame);
    }
    frame.tag = Some(tag);
    frame.trail.cross(cx.state, link, true, len);
    let sent = xmit::with_lower(cx, link, |cx, lower| dev_queue_xmit(cx, lower, frame));
    counted(cx, link, len, sent);
}

/// The tag goes among the bytes of a frame whose data begin at the link-layer header.
pub(super) fn inline(frame: &mut Frame) {
    let Some(tag) = frame.tag.take() else { return };
    let Some(addresses) = frame.data().first_chunk::<12>().copied() else { return };
    let room = frame.push(4);
    room.fill(0);
    let Some(front) = frame.data_mut().first_chunk_mut::<16>() else { return };
    front[..12].copy_from_slice(&addresses);
    front[12..14].copy_from_slice(&tag.protocol.to_be_bytes());
    front[14..16].copy_from_slice(&tag.tci.to_be_bytes());
    frame.set_mac_here();
}

fn counted(cx: Cx<'_>, link: &Link, len: usize, sent: Option<Result<(), i32>>) {
    if sent == Some(Ok(())) {
        xmit::sent(cx, link, len);
    } else {
        count(cx.state, link, |c| _ = c.tx_dropped.fetch_add(1, Relaxed));
    }
}

fn macvlan_of(link: &Link) -> Option<&Macvlan> {
    match link.data() {
        Some(KindData::Macvlan(macvlan)) => Some(macvlan),
        _ => None,
    }
}

/// A frame came in by a device with further addresses: for one of those, for all, or it comes back as the device's own.
pub(super) fn macvlan_rcv(cx: Cx<'_>, link: &Arc<Link>, frame: Frame) -> Option<Frame> {
    let Some((dst, src)) = eth::addresses(&frame) else { return Some(frame) };
    let len = frame.len() + eth::HLEN;
    let group = dst[0] & 1 != 0;
    let mut taken = false;
    each_upper(cx, link, |cx, upper| {
        let Some(macvlan) = macvlan_of(upper) else { return };
        let own = upper.address.as_bytes() == dst;
        let wanted = match macvlan.mode {
            mode::PASSTHRU => true,
            mode::SOURCE => macvlan.sources.iter().any(|source| source.as_bytes() == src),
            _ => group || own,
        };
        // What it said itself and a switch sent back it does not hear.
        if wanted && upper.address.as_bytes() != src {
            taken |= !group && (own || macvlan.mode == mode::PASSTHRU);
            arrive(cx, upper, frame.clone(), len);
        }
    });
    (!taken).then_some(frame)
}

/// A further address sends; the frame's data begin at the link-layer header.
pub(super) fn macvlan_xmit(cx: Cx<'_>, link: &Arc<Link>, frame: Frame) {
    let Some(macvlan) = macvlan_of(link) else { return };
    let len = frame.len();
    let Some(dst) = frame.data().first_chunk::<6>().copied() else { return };
    let group = dst[0] & 1 != 0;
    let sent = xmit::with_lower(cx, link, |cx, lower| {
        if macvlan.mode == mode::BRIDGE {
            let mut taken = false;
            each_upper(cx, lower, |cx, sibling| {
                let Some(other) = macvlan_of(sibling) else { return };
                let own = sibling.address.as_bytes() == dst;
                let itself = sibling.address == link.address;
                if other.mode == mode::BRIDGE && !itself && (group || own) {
                    let mut copy = frame.clone();
                    if eth::eth_type_trans(&mut copy, sibling).is_some() {
                        taken |= own;
                        arrive(cx, sibling, copy, len);
                    }
                }
            });
            if taken {
                return Ok(());
            }
        }
        if lower.is_up() { dev_queue_xmit(cx, lower, frame) } else { Err(errno::ENETDOWN) }
    });
    counted(cx, link, len, sent);
}
