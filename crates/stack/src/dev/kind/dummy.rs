//! A device that swallows what it is given.

use crate::dev::IfFlags;
use crate::dev::class::{ETHER, LinkClass};

/// Dummy devices.
pub static DUMMY: LinkClass =
    LinkClass { kind: Some("dummy"), flags: IfFlags::BROADCAST.with(IfFlags::NOARP), min_mtu: 0, max_mtu: 0, ..ETHER };
