//! What may be asked of links: the typed form of `RTM_NEWLINK` and its relatives.

use std::net::Ipv6Addr;

use pernet::NetRef;

use super::kind::{KindChange, KindSpec, PortChange};
use super::{HwAddr, IfFlags};

/// Which properties of a device to change, and to what. `None` leaves one as it is.
#[derive(Clone, Debug, Default)]
pub struct LinkChange {
    /// Another name; with a `%d` in it, the first number that is free.
    pub name: Option<Box<str>>,
    /// Flags to set or clear.
    pub flags: Option<FlagChange>,
    /// Link-layer address, as it was sent: its length is for the device to judge.
    pub address: Option<Box<[u8]>>,
    /// Link-layer broadcast address, likewise.
    pub broadcast: Option<Box<[u8]>>,
    /// Largest packet, bytes.
    pub mtu: Option<u32>,
    /// Transmit queue length, packets.
    pub tx_queue_len: Option<u32>,
    /// Group number.
    pub group: Option<u32>,
    /// Free text; empty for none.
    pub alias: Option<Box<str>>,
    /// `IF_OPER_*` to go to.
    pub operstate: Option<u8>,
    /// `IF_LINK_MODE_*`.
    pub link_mode: Option<u8>,
    /// Whether the physical layer has a signal.
    pub carrier: Option<bool>,
    /// Whether a protocol holds the device down.
    pub proto_down: Option<bool>,
    /// Reasons for that: which bits to change (`None` for all), and their values, which must be there.
    pub proto_down_reason: Option<(Option<u32>, Option<u32>)>,
    /// Offload limits.
    pub offload: OffloadChange,
    /// Index of the master to join; 0 to leave the one it has.
    pub master: Option<u32>,
    /// What is particular to its kind.
    pub data: Option<KindChange>,
    /// What is particular to it as a port of its master.
    pub port: Option<PortChange>,
    /// `IN6_ADDR_GEN_MODE_*`.
    pub addr_gen_mode: Option<u8>,
    /// The interface part of IPv6 addresses from advertisements.
    pub token: Option<Ipv6Addr>,
    /// IPv4 settings, each by its `IPV4_DEVCONF_*` number.
    pub inet_conf: Vec<(u16, i32)>,
    /// The namespace to move to.
    pub net: Option<NetRef>,
    /// The index to have there.
    pub new_index: Option<u32>,
}

/// A change of flags: those of `mask` become as in `flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagChange {
    /// Their values.
    pub flags: IfFlags,
    /// Which; empty for all.
    pub mask: IfFlags,
}

impl FlagChange {
    /// The flags of a device that has `old` (`rtnl_dev_combine_flags`).
    #[must_use]
    pub(crate) fn apply(self, old: IfFlags) -> IfFlags {
        if self.mask == IfFlags::NONE { self.flags } else { (self.flags & self.mask) | (old & !self.mask) }
    }
}

/// New offload limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadChange {
    /// Segments in a packet given to the device.
    pub gso_max_segs: Option<u32>,
    /// Bytes of a packet given to the device.
    pub gso_max_size: Option<u32>,
    /// Bytes of a packet assembled on receive.
    pub gro_max_size: Option<u32>,
    /// As `gso_max_size`, of IPv4.
    pub gso_ipv4_max_size: Option<u32>,
    /// As `gro_max_size`, of IPv4.
    pub gro_ipv4_max_size: Option<u32>,
}

/// A device to be made.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// What it is.
    pub kind: KindSpec,
    /// The index it must have.
    pub index: Option<u32>,
    /// Number of transmit queues.
    pub tx_queues: Option<u32>,
    /// Number of receive queues.
    pub rx_queues: Option<u32>,
    /// The namespace that devices below are in, if not the requester's.
    pub link_net: Option<NetRef>,
    /// The device below (`IFLA_LINK`).
    pub lower: Option<u32>,
    /// Its properties; a name of `None` is the kind's with a number. `net` is where it is to be.
    pub change: LinkChange,
}

impl NewLink {
    /// A device of `kind` that is asked nothing particular.
    #[must_use]
    pub fn new(kind: KindSpec) -> Self {
        Self {
            kind,
            index: None,
            tx_queues: None,
            rx_queues: None,
            link_net: None,
            lower: None,
            change: LinkChange::default(),
        }
    }
}

/// An address of a request as one of a device with addresses of `len` bytes: what is missing is refused, what is more is
/// not looked at.
pub(super) fn address(bytes: &[u8], len: usize) -> Option<HwAddr> {
    HwAddr::new(bytes.get(..len)?)
}
