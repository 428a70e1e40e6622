//! One network device.

use std::sync::Arc;

use pernet::NetHandle;

use super::counters::{Counters, LinkStats};
use super::kind::{KindData, PortData};
use super::{HwAddr, IfFlags, IfName, LinkClass, OffloadLimits};

/// Operational state of RFC 2863, numbered as `IF_OPER_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OperState {
    /// Nobody said; what devices that do not track it report while up.
    Unknown = 0,
    /// A component is missing.
    NotPresent = 1,
    /// Down.
    Down = 2,
    /// A lower device is down.
    LowerLayerDown = 3,
    /// In a test mode.
    Testing = 4,
    /// Waits for an external event.
    Dormant = 5,
    /// Ready for packets.
    Up = 6,
}

impl OperState {
    /// The word in `/sys/class/net/<dev>/operstate`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NotPresent => "notpresent",
            Self::Down => "down",
            Self::LowerLayerDown => "lowerlayerdown",
            Self::Testing => "testing",
            Self::Dormant => "dormant",
            Self::Up => "up",
        }
    }
}

/// Where a device's name came from, numbered as `NET_NAME_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NameAssign {
    /// Counted up by the kernel; sysfs answers `EINVAL` for it.
    Unknown = 0,
    /// Enumerated by the kernel.
    Enum = 1,
    /// Predictable, given by the driver (`lo`).
    Predictable = 2,
    /// Given by a user.
    User = 3,
    /// Renamed by a user.
    Renamed = 4,
}

/// Properties that nearly every device has as its class says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tweaks {
    pub(super) offload: OffloadLimits,
    pub(super) min_mtu: u32,
    pub(super) max_mtu: u32,
    pub(super) headroom: u16,
    pub(super) proto_down_reason: u32,
    pub(super) l3_stats: bool,
}

/// A network device as one consistent reading: what `struct net_device` says about itself.
///
/// A link in a table never changes; a change puts a new value in its place ([`Links::update`](super::Links::update)), so
/// a reader who holds an [`Arc<Link>`] sees one state and blocks nobody. Only the traffic counters are shared between
/// the readings.
///
/// ```
/// use pernet_stack::{IfName, LOOPBACK, Link, OperState};
/// let lo = Link::new(&LOOPBACK, IfName::new("lo").unwrap());
/// assert_eq!((lo.mtu, lo.operstate()), (65_536, OperState::Down));
/// ```
#[derive(Clone, Debug)]
pub struct Link {
    pub(super) index: u32,
    pub(super) name: IfName,
    class: &'static LinkClass,
    /// Flags as stored; [`Link::flags`] adds the derived ones.
    pub stored_flags: IfFlags,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Transmit queue length, packets.
    pub tx_queue_len: u32,
    /// Group number, for commands on several links at once.
    pub group: u32,
    /// How many parties asked for promiscuous mode.
    pub promiscuity: u32,
    /// How many parties asked for all multicast.
    pub allmulti: u32,
    /// Number of transmit queues.
    pub tx_queues: u32,
    /// Number of receive queues.
    pub rx_queues: u32,
    /// Index of the device this one sits on or is wired to (`iflink`); `None` if none but itself, 0 if that one is gone.
    pub lower: Option<u32>,
    /// The namespace that [`lower`](Self::lower) is in, if it is another one than this device's.
    pub(crate) lower_net: Option<Box<NetHandle>>,
    /// Index of the bridge or bundle that owns this device.
    pub master: Option<u32>,
    /// Link-layer address.
    pub address: HwAddr,
    /// Link-layer broadcast address.
    pub broadcast: HwAddr,
    /// The address the device was made with; empty if it has none of its own.
    pub permanent_address: HwAddr,
    /// Operational state as last reported by the device; [`Link::operstate`] is what is shown.
    pub stored_operstate: OperState,
    /// Whether the physical layer has a signal.
    pub carrier: bool,
    /// Whether the device waits for an external event (802.1X).
    pub dormant: bool,
    /// Whether the device is in a test mode.
    pub testing: bool,
    /// Whether `dormant` is respected (`IF_LINK_MODE_DORMANT`).
    pub link_mode: u8,
    /// Whether a protocol holds the device down.
    pub proto_down: bool,
    /// Where the name came from.
    pub name_assign: NameAssign,
    /// Where the address came from: 0 permanent, 1 random, 2 stolen, 3 set.
    pub addr_assign: u8,
    /// Times the carrier came.
    pub carrier_ups: u32,
    /// Times the carrier went.
    pub carrier_downs: u32,
    /// Name of the queueing discipline at the root.
    pub qdisc: &'static str,
    /// Free text of the administrator (`ifalias`).
    pub alias: Option<Box<str>>,
    pub(super) alt_names: Vec<Box<str>>,
    /// What is seldom another than its class says.
    pub(super) tweaks: Option<Box<Tweaks>>,
    /// What is particular to its kind.
    pub(super) data: Option<Arc<KindData>>,
    /// What is particular to it as a port of its master.
    pub(super) port: Option<Arc<PortData>>,
    /// When the IPv6 settings last changed, hundredths of a second of the monotonic clock.
    pub inet6_changed: u32,
    /// IPv6 neighbours are believed reachable this long, milliseconds; random between 15,000 and 45,000.
    pub inet6_reachable_ms: u32,
    /// Made when the device is first used: an idle device has none, and reads as zero.
    counters: Option<Arc<Counters>>,
}

impl Link {
    /// A device of `class` as its driver leaves it: down, with no queueing discipline, not yet in any table.
    #[must_use]
    pub fn new(class: &'static LinkClass, name: IfName) -> Self {
        Self {
            index: 0,
            name,
            class,
            stored_flags: class.flags,
            mtu: class.mtu,
            tx_queue_len: class.tx_queue_len,
            group: 0,
            promiscuity: 0,
            allmulti: 0,
            tx_queues: 1,
            rx_queues: 1,
            lower: None,
            lower_net: None,
            master: None,
            address: class.address,
            broadcast: class.broadcast,
            permanent_address: HwAddr::EMPTY,
            stored_operstate: OperState::Unknown,
            carrier: class.carrier,
            dormant: false,
            testing: false,
            link_mode: 0,
            proto_down: false,
            name_assign: NameAssign::User,
            addr_assign: 0,
            carrier_ups: 0,
            carrier_downs: 0,
            qdisc: "noop",
            alias: None,
            alt_names: Vec::new(),
            tweaks: None,
            data: None,
            port: None,
            inet6_changed: 0,
            inet6_reachable_ms: 30_000,
            counters: None,
        }
    }

    /// The number by which its namespace knows the device, 1 or more; 0 for a link that is in no table.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The device's name.
    #[must_use]
    pub const fn name(&self) -> &IfName {
        &self.name
    }

    /// Further names, in the order they were given.
    #[must_use]
    pub fn alt_names(&self) -> &[Box<str>] {
        &self.alt_names
    }

    /// What the device's kind fixes.
    #[must_use]
    pub const fn class(&self) -> &'static LinkClass {
        self.class
    }

    /// Whether the device is administratively up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.stored_flags.contains(IfFlags::UP)
    }

    /// The flags that users see (`dev_get_flags`): the stored ones, and while the device is up `RUNNING`, `LOWER_UP` and
    /// `DORMANT` from its state.
    #[must_use]
    pub fn flags(&self) -> IfFlags {
        let derived = IfFlags::RUNNING | IfFlags::LOWER_UP | IfFlags::DORMANT;
        let mut flags = self.stored_flags & !derived;
        if self.is_up() {
            if matches!(self.stored_operstate, OperState::Up | OperState::Unknown) {
                flags |= IfFlags::RUNNING;
            }
            if self.carrier {
                flags |= IfFlags::LOWER_UP;
            }
            if self.dormant {
                flags |= IfFlags::DORMANT;
            }
        }
        flags
    }

    /// The operational state that users see: down as long as the device is administratively down.
    #[must_use]
    pub const fn operstate(&self) -> OperState {
        if self.is_up() { self.stored_operstate } else { OperState::Down }
    }

    /// Index of the device this one sits on, itself if on none (`dev_get_iflink`).
    #[must_use]
    pub fn iflink(&self) -> u32 {
        self.lower.unwrap_or(self.index)
    }

    /// Its offload limits.
    #[must_use]
    pub fn offload(&self) -> OffloadLimits {
        self.tweaks.as_ref().map_or(self.class.offload, |t| t.offload)
    }

    /// Smallest MTU it takes, bytes.
    #[must_use]
    pub fn min_mtu(&self) -> u32 {
        self.tweaks.as_ref().map_or(self.class.min_mtu, |t| t.min_mtu)
    }

    /// Largest MTU it takes, bytes; 0 for no bound.
    #[must_use]
    pub fn max_mtu(&self) -> u32 {
        self.tweaks.as_ref().map_or(self.class.max_mtu, |t| t.max_mtu)
    }

    /// Room for headers it asks for before a packet, bytes.
    #[must_use]
    pub fn headroom(&self) -> u16 {
        self.tweaks.as_ref().map_or(self.class.headroom, |t| t.headroom)
    }

    /// Who holds the device down, a bit for each reason.
    #[must_use]
    pub fn proto_down_reason(&self) -> u32 {
        self.tweaks.as_ref().map_or(0, |t| t.proto_down_reason)
    }

    /// Whether hardware is asked to count what it routes of the device's packets.
    #[must_use]
    pub fn wants_l3_stats(&self) -> bool {
        self.tweaks.as_ref().is_some_and(|t| t.l3_stats)
    }

    /// What its class says, to be changed.
    pub(super) fn tweak(&mut self) -> &mut Tweaks {
        let class = self.class;
        self.tweaks.get_or_insert_with(|| {
            Box::new(Tweaks {
                offload: class.offload,
                min_mtu: class.min_mtu,
                max_mtu: class.max_mtu,
                headroom: class.headroom,
                proto_down_reason: 0,
                l3_stats: false,
            })
        })
    }

    /// What is particular to its kind, if anything is.
    #[must_use]
    pub fn data(&self) -> Option<&KindData> {
        self.data.as_deref()
    }

    /// What is particular to it as a port of its master.
    #[must_use]
    pub fn port(&self) -> Option<&PortData> {
        self.port.as_deref()
    }

    /// Index of the device this one sits on, is wired to or sends through; `None` if there is none.
    pub(super) fn below(&self) -> Option<u32> {
        match (self.lower, self.data()) {
            (None, Some(KindData::Vxlan(vxlan))) => vxlan.dev,
            (lower, _) => lower.filter(|&index| index > 0),
        }
    }

    /// The device below has another index.
    pub(super) fn sit_on(&mut self, index: u32) {
        if self.lower.is_some() {
            self.lower = Some(index);
        } else if let Some(KindData::Vxlan(vxlan)) = self.data.as_mut().map(Arc::make_mut) {
            vxlan.dev = Some(index);
        }
    }

    /// The namespace of the device this one sits on, if it is another one.
    #[must_use]
    pub fn lower_net(&self) -> Option<&NetHandle> {
        self.lower_net.as_deref()
    }

    /// The traffic so far.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        self.counters.as_ref().map_or_else(LinkStats::default, |c| c.read())
    }

    /// The counters, once somebody has used the device.
    pub(crate) fn traffic(&self) -> Option<&Arc<Counters>> {
        self.counters.as_ref()
    }

    /// The counters themselves, for whoever carries packets, made on first use.
    ///
    /// To be called inside [`Links::update`](super::Links::update), so that two first users get the same counters.
    pub fn counters(&mut self) -> Arc<Counters> {
        Arc::clone(self.counters.get_or_insert_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::LOOPBACK;
    use super::*;

    fn lo() -> Link {
        Link::new(&LOOPBACK, IfName::new("lo").unwrap())
    }

    #[test]
    fn an_idle_link_costs_a_few_hundred_bytes() {
        assert!(size_of::<Link>() <= 256, "{}", size_of::<Link>());
    }

    #[test]
    fn flags_and_operstate_follow_the_administrator() {
        let mut link = lo();
        assert_eq!((link.flags().bits(), link.operstate()), (0x8, OperState::Down));
        link.stored_flags |= IfFlags::UP;
        assert_eq!((link.flags().bits(), link.operstate()), (0x1_0049, OperState::Unknown));
        link.stored_operstate = OperState::Dormant;
        link.dormant = true;
        link.carrier = false;
        assert_eq!(link.flags().bits(), 0x2_0009);
    }

    #[test]
    fn counters_are_shared_between_readings() {
        let mut link = lo();
        let before = link.clone();
        link.counters().tx_bytes.fetch_add(7, std::sync::atomic::Ordering::Relaxed);
        let after = link.clone();
        after.clone().counters().tx_bytes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert_eq!((before.stats().tx_bytes, link.stats().tx_bytes, after.stats().tx_bytes), (0, 8, 8));
    }
}
