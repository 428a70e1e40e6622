//! A device that gives back what it is given, so that traffic control can shape what comes in.

use crate::dev::IfFlags;
use crate::dev::class::{ETHER, LinkClass};

/// Intermediate functional blocks.
pub static IFB: LinkClass = LinkClass {
    kind: Some("ifb"),
    flags: IfFlags::BROADCAST.with(IfFlags::NOARP),
    min_mtu: 0,
    max_mtu: 0,
    tx_queue_len: 32,
    qdisc: "pfifo_fast",
    ..ETHER
};
