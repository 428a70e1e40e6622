//! What becomes of a frame that came in (`__netif_receive_skb_core`).

use super::{Cx, Frame, ethertype};
use crate::l3;

/// A frame that arrived at the device with index `ifindex`; its data begin at the network header.
pub(super) fn netif_receive(cx: Cx<'_>, ifindex: u32, mut frame: Frame) {
    frame.set_network_here();
    match frame.protocol {
        ethertype::IP | ethertype::IPV6 => l3::ip_rcv(cx, ifindex, frame),
        _ => {}
    }
}
