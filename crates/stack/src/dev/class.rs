//! What a kind of device fixes for all devices of that kind.

use std::sync::OnceLock;

use super::devconf::{Inet4Conf, Inet6Conf};
use super::{HwAddr, IfFlags};

/// Segmentation offload limits: how large a packet a device takes and hands up before it must be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadLimits {
    /// Largest number of segments in one packet (`gso_max_segs`).
    pub gso_max_segs: u32,
    /// Largest packet given to the device, bytes (`gso_max_size`).
    pub gso_max_size: u32,
    /// Largest packet assembled on receive, bytes (`gro_max_size`).
    pub gro_max_size: u32,
    /// [`gso_max_size`](Self::gso_max_size) for IPv4.
    pub gso_ipv4_max_size: u32,
    /// [`gro_max_size`](Self::gro_max_size) for IPv4.
    pub gro_ipv4_max_size: u32,
    /// What the device itself could take at most, bytes.
    pub tso_max_size: u32,
    /// What the device itself could take at most, segments.
    pub tso_max_segs: u32,
}

impl OffloadLimits {
    /// Of a virtual device: whatever the stack can build.
    pub const VIRTUAL: Self = Self {
        gso_max_segs: 65_535,
        gso_max_size: 65_536,
        gro_max_size: 65_536,
        gso_ipv4_max_size: 65_536,
        gro_ipv4_max_size: 65_536,
        tso_max_size: 524_280,
        tso_max_segs: 65_535,
    };
}

/// The facts that every device of a kind shares (`rtnl_link_ops` and the driver's `setup`): one static value per kind.
///
/// A [`Link`](super::Link) points to its class and starts with the values found here; readers ask the link only.
#[derive(Debug)]
pub struct LinkClass {
    /// The name in `IFLA_INFO_KIND`; `None` for devices that rtnetlink can neither make nor delete.
    pub kind: Option<&'static str>,
    /// `ARPHRD_*` of the device (`ifi_type`).
    pub arp_type: u16,
    /// Flags of a new device.
    pub flags: IfFlags,
    /// MTU of a new device, bytes.
    pub mtu: u32,
    /// Smallest MTU that may be set, bytes.
    pub min_mtu: u32,
    /// Largest MTU that may be set, bytes; 0 for no bound.
    pub max_mtu: u32,
    /// Transmit queue length of a new device, packets.
    pub tx_queue_len: u32,
    /// Address of a new device.
    pub address: HwAddr,
    /// Broadcast address of a new device.
    pub broadcast: HwAddr,
    /// Whether a new device has a carrier.
    pub carrier: bool,
    /// The queueing discipline that the device gets when it first comes up.
    pub qdisc: &'static str,
    /// How many queues a new device has.
    pub queues: Queues,
    /// Whether a user may say that it has a signal or not.
    pub sets_carrier: bool,
    /// Whether a protocol may hold it down.
    pub sets_proto_down: bool,
    /// Whether the device may never leave its namespace (`netns_immutable`).
    pub netns_immutable: bool,
    /// Room for headers the device asks for before a packet, bytes.
    pub headroom: u16,
    /// Room the device asks for after a packet, bytes.
    pub tailroom: u16,
    /// Offload limits.
    pub offload: OffloadLimits,
    /// IPv4 settings of a new device.
    pub inet4: &'static Inet4Conf,
    /// IPv6 settings of a new device.
    pub inet6: &'static Inet6Conf,
}

/// How many queues a device of a kind is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queues {
    /// So many to send and so many to receive.
    Fixed(u32, u32),
    /// One of each for every processor.
    PerCpu,
}

impl Queues {
    /// One of each.
    pub const ONE: Self = Self::Fixed(1, 1);

    /// The numbers, to send and to receive.
    #[must_use]
    pub fn count(self) -> (u32, u32) {
        match self {
            Self::Fixed(tx, rx) => (tx, rx),
            Self::PerCpu => (possible_cpus(), possible_cpus()),
        }
    }
}

/// Processors that the machine may have (`num_possible_cpus`), which is not how many this process may use.
fn possible_cpus() -> u32 {
    static COUNT: OnceLock<u32> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let listed = std::fs::read_to_string("/sys/devices/system/cpu/possible").ok();
        let ranges = listed.as_deref().and_then(|text| text.trim().split(',').map(range_len).sum::<Option<u32>>());
        let available = || std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        ranges.filter(|&n| n > 0).unwrap_or_else(available)
    })
}

/// Numbers in `2-5` or `7`.
fn range_len(range: &str) -> Option<u32> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
}

/// What an Ethernet device is born with (`ether_setup`), for kinds to vary.
pub(super) const ETHER: LinkClass = LinkClass {
    kind: None,
    arp_type: 1,
    flags: IfFlags::BROADCAST.with(IfFlags::MULTICAST),
    mtu: 1500,
    min_mtu: 68,
    max_mtu: 1500,
    tx_queue_len: 1000,
    address: HwAddr::ZERO6,
    broadcast: HwAddr::BROADCAST6,
    carrier: true,
    qdisc: "noqueue",
    queues: Queues::ONE,
    sets_carrier: false,
    sets_proto_down: false,
    netns_immutable: false,
    headroom: 0,
    tailroom: 0,
    offload: OffloadLimits::VIRTUAL,
    inet4: &Inet4Conf::DEFAULT,
    inet6: &Inet6Conf::DEFAULT,
};

/// The loopback device that every namespace has.
pub static LOOPBACK: LinkClass = LinkClass {
    kind: None,
    arp_type: 772,
    flags: IfFlags::LOOPBACK,
    mtu: 65_536,
    min_mtu: 0,
    max_mtu: 0,
    tx_queue_len: 1000,
    address: HwAddr::ZERO6,
    broadcast: HwAddr::ZERO6,
    carrier: true,
    qdisc: "noqueue",
    queues: Queues::ONE,
    sets_carrier: false,
    sets_proto_down: false,
    netns_immutable: true,
    headroom: 0,
    tailroom: 0,
    offload: OffloadLimits::VIRTUAL,
    inet4: &Inet4Conf::LOOPBACK,
    inet6: &Inet6Conf::WITHOUT_LINK_LAYER,
};
