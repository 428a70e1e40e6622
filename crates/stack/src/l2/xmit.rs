//! Handing a frame to a device (`dev_queue_xmit`).

use super::backlog::netif_rx;
use super::{Cx, Frame};
use crate::dev::Link;

/// Sends a frame through a device; its data begin at the link-layer header.
pub(crate) fn dev_queue_xmit(cx: Cx<'_>, link: &Link, frame: Frame) {
    let _ = netif_rx(cx, link.index(), frame);
}
