//! Layer 4: sockets and what is delivered to them (`net/ipv4/{udp,ping,raw,tcp}.c`, `net/packet`).

#[allow(dead_code, reason = "being built")]
pub(crate) mod ports;

use crate::l2::Cx;
use crate::l3::{Delivered, IcmpError, Received};

/// A packet for this host, to whoever waits for it (`ip_local_deliver_finish`): raw sockets get copies, then the protocol.
pub(crate) fn deliver(cx: Cx<'_>, packet: Received) -> Delivered {
    let _ = (cx, packet);
    Delivered::NoProtocol
}

/// An error that concerns a packet of a socket's (`udp_err`, `tcp_v4_err`, `raw_err`, `ping_err`).
pub(crate) fn error(cx: Cx<'_>, error: &IcmpError<'_>) {
    let _ = (cx, error);
}
