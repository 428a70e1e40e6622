//! What ethtool shows of virtual devices, and the one thing that can be changed: offload features.
//!
//! No device here has hardware: features say what the stack would leave to it. They are facts of a kind until somebody
//! switches one.

mod kinds;
mod names;

use pernet::Net;

use crate::dev::{Link, Stack};
use crate::rtnl::Rtnl;

pub use kinds::{EthChannels, EthDriver, EthSettings};

/// The number of the set of names of features (`ETH_SS_FEATURES`), of message classes, and of time stamping.
pub const ETH_SS_FEATURES: u32 = 4;

/// Names of link modes.
pub const ETH_SS_LINK_MODES: u32 = 9;
/// Names of message classes.
pub const ETH_SS_MSG_CLASSES: u32 = 10;
/// Names of ways to take time stamps.
pub const ETH_SS_SOF_TIMESTAMPING: u32 = 12;

/// Offload features of a device, one bit each (`NETIF_F_*` by their numbers in `ETH_SS_FEATURES`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthFeatures {
    /// Can be switched.
    pub hw: u64,
    /// Are wanted.
    pub wanted: u64,
    /// Are on.
    pub active: u64,
    /// Can never change.
    pub nochange: u64,
}

impl EthFeatures {
    /// Whether the device computes the checksums of transport headers, or leaves them to whoever takes the packet.
    pub(crate) const fn takes_checksums(&self) -> bool {
        self.active & HW_CSUM != 0
    }

    /// Whether the device takes packets of TCP that stand for many, over IPv4 or IPv6.
    pub(crate) const fn takes_tso(&self, v6: bool) -> bool {
        self.active & 1 << if v6 { 20 } else { 16 } != 0
    }

    /// Whether the device takes packets that stand for many, of UDP or of TCP.
    pub(crate) const fn takes_many(&self, udp: bool, v6: bool) -> bool {
        if udp { self.active & UDP_SEGMENTATION != 0 } else { self.takes_tso(v6) }
    }
}

/// What a change of features came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthFeaturesChange {
    /// Before.
    pub before: EthFeatures,
    /// After.
    pub after: EthFeatures,
}

const SG: u64 = 1;
const HW_CSUM: u64 = 1 << 3;
const GSO: u64 = 1 << 11;
/// TCP segmentation, with its relatives but for accurate ECN.
const TSO: u64 = 1 << 16 | 1 << 18 | 1 << 19 | 1 << 20;
const UDP_SEGMENTATION: u64 = 1 << 33;

/// What of the features wanted can be on together (`netdev_fix_features`).
const fn fixed(mut features: u64) -> u64 {
    if features & HW_CSUM == 0 {
        features &= !(TSO | UDP_SEGMENTATION);
    }
    if features & SG == 0 {
        features &= !(TSO | GSO);
    }
    features
}

/// The names of a set that does not depend on a device; `None` for a set that does, or that nobody knows.
#[must_use]
pub fn eth_names(set: u32) -> Option<&'static [&'static str]> {
    names::SETS.iter().find(|s| s.0 == set).map(|s| s.1)
}

impl Link {
    /// Its driver; `None` if it has none that tells.
    #[must_use]
    pub fn eth_driver(&self) -> Option<EthDriver> {
        kinds::of(self).driver
    }

    /// Speed and the like; `None` if it does not tell.
    #[must_use]
    pub fn eth_settings(&self) -> Option<EthSettings> {
        kinds::of(self).settings
    }

    /// Whether it has a link; `None` if it does not tell.
    #[must_use]
    pub fn eth_link(&self) -> Option<bool> {
        kinds::of(self).link.then(|| self.is_up() && self.carrier)
    }

    /// Its channels; `None` if it does not tell.
    #[must_use]
    pub fn eth_channels(&self) -> Option<EthChannels> {
        kinds::channels(self)
    }

    /// How packets can be stamped with the time, one bit each (`SOF_TIMESTAMPING_*`).
    #[must_use]
    pub fn eth_timestamping(&self) -> u32 {
        kinds::of(self).timestamping
    }

    /// The counters of its driver, by name.
    #[must_use]
    pub fn eth_counters(&self) -> Vec<(String, u64)> {
        kinds::counters(self)
    }
}

impl Stack {
    /// The features of a device.
    #[must_use]
    pub fn eth_features(&self, net: &Net, link: &Link) -> EthFeatures {
        let born = kinds::of(link).features;
        let changed = self.state(net).and_then(|s| s.peek_sysctl()?.features.get(&link.index()).copied());
        changed.map_or(born, |(wanted, active)| EthFeatures { wanted, active, ..born })
    }
}

impl Rtnl<'_> {
    /// Switches features: those of `mask` as in `values`, as far as they can be.
    pub fn set_eth_features(&mut self, net: &Net, link: &Link, mask: u64, values: u64) -> EthFeaturesChange {
        let before = self.stack().eth_features(net, link);
        let mask = mask & before.hw;
        let wanted = before.wanted & !mask | values & mask;
        // What cannot be switched stays as it is; the rest is as wanted, as far as it goes together.
        let active = before.active & !before.hw | fixed(wanted | before.active & !before.hw) & before.hw;
        let after = EthFeatures { wanted, active, ..before };
        if after != before
            && let Some(ns) = self.ns(net)
        {
            ns.sysctl.write().features.insert(link.index(), (wanted, active));
        }
        EthFeaturesChange { before, after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segmentation_needs_checksums_and_scattering() {
        let veth = u64::from_le_bytes([0xe9, 0x09, 0xdd, 0x4f, 0x2e, 0x61, 0, 0]);
        assert_eq!(fixed(veth & !HW_CSUM).to_le_bytes(), [0xe1, 0x09, 0xc0, 0x4f, 0x2c, 0x61, 0, 0]);
        assert_eq!(fixed(veth), veth);
    }

    #[test]
    fn there_are_64_features() {
        assert_eq!(eth_names(ETH_SS_FEATURES).map(<[_]>::len), Some(64));
        assert_eq!(eth_names(1), None);
    }
}
