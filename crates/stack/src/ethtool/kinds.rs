//! The facts of each kind of device.

use super::EthFeatures;
use crate::dev::{IfFlags, Link};

/// What a driver says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthDriver {
    /// Its name.
    pub name: &'static str,
    /// Its version; empty for that of the kernel.
    pub version: &'static str,
    /// Version of its firmware.
    pub firmware: &'static str,
    /// Where the device is.
    pub bus: &'static str,
}

/// Speed and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthSettings {
    /// Megabits a second; `u32::MAX` for unknown.
    pub speed: u32,
    /// 0 half, 1 full, 255 unknown.
    pub duplex: u8,
    /// `PORT_*`.
    pub port: u8,
}

/// Channels: how many there can be, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EthChannels {
    /// For receiving and for sending.
    Apart {
        /// At most, for receiving.
        rx_max: u32,
        /// At most, for sending.
        tx_max: u32,
        /// Now, for receiving.
        rx: u32,
        /// Now, for sending.
        tx: u32,
    },
    /// For both.
    Combined {
        /// At most.
        max: u32,
        /// Now.
        now: u32,
    },
}

pub(super) struct Facts {
    pub(super) driver: Option<EthDriver>,
    pub(super) settings: Option<EthSettings>,
    pub(super) link: bool,
    pub(super) features: EthFeatures,
    pub(super) timestamping: u32,
}

const fn driver(name: &'static str, version: &'static str) -> Option<EthDriver> {
    Some(EthDriver { name, version, firmware: "", bus: "" })
}

/// Ten gigabits, both ways: what devices say that are as fast as the machine.
const FAST: Option<EthSettings> = Some(EthSettings { speed: 10_000, duplex: 1, port: 0 });
const UNKNOWN: Option<EthSettings> = Some(EthSettings { speed: u32::MAX, duplex: 0xff, port: 0xff });

const fn features(hw: [u8; 8], wanted: [u8; 8], active: [u8; 8]) -> EthFeatures {
    EthFeatures {
        hw: u64::from_le_bytes(hw),
        wanted: u64::from_le_bytes(wanted),
        active: u64::from_le_bytes(active),
        nochange: 1 << 10,
    }
}

/// Software stamps on receive; and on sending, too.
const RECEIVED: u32 = 0x18;
const BOTH: u32 = 0x1a;

const LOOPBACK: Facts = Facts {
    driver: None,
    settings: None,
    link: true,
    features: features(
        [0x00, 0x48, 0x1d, 0x40, 0x0e, 0x00, 0x00, 0x0a],
        [0x00, 0x48, 0x1d, 0x40, 0x0e, 0x00, 0x00, 0x00],
        [0x69, 0x4c, 0x1d, 0x40, 0x2e, 0x05, 0x00, 0x00],
    ),
    timestamping: BOTH,
};
const VETH: Facts = Facts {
    driver: driver("veth", "1.0"),
    settings: FAST,
    link: true,
    features: features(
        [0xe9, 0x49, 0xdd, 0x4f, 0x2e, 0x63, 0x00, 0x0a],
        [0xe9, 0x09, 0xdd, 0x4f, 0x2e, 0x61, 0x00, 0x00],
        [0xe9, 0x09, 0xdd, 0x4f, 0x2e, 0x61, 0x00, 0x00],
    ),
    timestamping: BOTH,
};
const BRIDGE: Facts = Facts {
    driver: Some(EthDriver { name: "bridge", version: "2.3", firmware: "N/A", bus: "N/A" }),
    settings: UNKNOWN,
    link: true,
    features: features(
        [0xe9, 0x48, 0xff, 0xff, 0x0f, 0x22, 0x00, 0x0a],
        [0xe9, 0x48, 0xff, 0xff, 0x0f, 0x20, 0x00, 0x00],
        [0xe9, 0x48, 0xff, 0xff, 0x0f, 0x20, 0x00, 0x00],
    ),
    timestamping: RECEIVED,
};
const IFB: Facts = Facts {
    driver: driver("ifb", ""),
    settings: None,
    link: false,
    features: features(
        [0xe9, 0x48, 0xdd, 0x4f, 0x0e, 0x22, 0x00, 0x0a],
        [0xe9, 0x48, 0xdd, 0x4f, 0x0e, 0x20, 0x00, 0x00],
        [0xe9, 0x48, 0xdd, 0x4f, 0x0e, 0x20, 0x00, 0x00],
    ),
    timestamping: RECEIVED,
};
const VXLAN: Facts = Facts {
    driver: driver("vxlan", "0.1"),
    settings: FAST,
    link: true,
    features: features(
        [0x49, 0x48, 0x1d, 0x40, 0x0e, 0x03, 0x00, 0x0a],
        [0x49, 0x48, 0x1d, 0x40, 0x0e, 0x01, 0x00, 0x00],
        [0x49, 0x48, 0x1d, 0x40, 0x0e, 0x01, 0x00, 0x00],
    ),
    timestamping: RECEIVED,
};
const MACVLAN: Facts = Facts {
    driver: driver("macvlan", "0.1"),
    settings: FAST,
    link: true,
    features: features(
        [0x00, 0xc8, 0x00, 0x00, 0x00, 0x02, 0x00, 0x0a],
        [0x00, 0x48, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
        [0x69, 0x08, 0xdf, 0x4f, 0x0e, 0x01, 0x00, 0x00],
    ),
    timestamping: BOTH,
};
const TUN: Facts = Facts {
    driver: Some(EthDriver { name: "tun", version: "1.6", firmware: "", bus: "tun" }),
    settings: FAST,
    link: true,
    features: features(
        [0xc9, 0x48, 0x1d, 0x0c, 0x02, 0x22, 0x00, 0x0a],
        [0xc9, 0x48, 0x15, 0x0c, 0x02, 0x20, 0x00, 0x00],
        [0xc1, 0x48, 0x00, 0x00, 0x00, 0x20, 0x00, 0x00],
    ),
    timestamping: BOTH,
};
/// What a kind has of which nothing more is known: its name.
const fn plain(name: &'static str) -> Facts {
    Facts { driver: driver(name, ""), settings: None, link: true, features: VXLAN.features, timestamping: BOTH }
}

pub(super) fn of(link: &Link) -> Facts {
    match link.class().kind {
        None if link.stored_flags.contains(IfFlags::LOOPBACK) => LOOPBACK,
        Some("veth") => VETH,
        Some("bridge") => BRIDGE,
        Some("ifb") => IFB,
        Some("vxlan") => VXLAN,
        Some("macvlan" | "macvtap") => MACVLAN,
        Some("tun") if link.address.as_bytes().is_empty() => TUN,
        Some("tun") => {
            Facts { driver: Some(EthDriver { name: "tun", version: "1.6", firmware: "", bus: "tap" }), ..TUN }
        }
        Some(name) => plain(name),
        None => Facts { driver: None, ..plain("") },
    }
}

pub(super) fn channels(link: &Link) -> Option<EthChannels> {
    match link.class().kind {
        Some("veth") => Some(EthChannels::Apart { rx_max: link.rx_queues, tx_max: link.tx_queues, rx: 1, tx: 1 }),
        Some("tun") => Some(EthChannels::Combined { max: 1, now: 0 }),
        _ => None,
    }
}

/// Names and values of a driver's own counters. XDP is not run here: what it counts is nothing.
pub(super) fn counters(link: &Link) -> Vec<(String, u64)> {
    let zero = |name: &str| (name.to_owned(), 0);
    match link.class().kind {
        Some("veth") => {
            const RX: [&str; 7] =
                ["xdp_packets", "xdp_bytes", "drops", "xdp_redirect", "xdp_drops", "xdp_tx", "xdp_tx_errors"];
            let peer = ("peer_ifindex".to_owned(), link.lower.unwrap_or(0).into());
            let rx = RX.iter().map(|name| zero(&format!("rx_queue_0_{name}")));
            let tx = ["xdp_xmit", "xdp_xmit_errors"].iter().map(|name| zero(&format!("tx_queue_0_{name}")));
            std::iter::once(peer).chain(rx).chain(tx).collect()
        }
        Some("ifb") => ["rx_queue_0_packets", "rx_queue_0_bytes", "tx_queue_0_packets", "tx_queue_0_bytes"]
            .into_iter()
            .map(zero)
            .collect(),
        _ => Vec::new(),
    }
}
