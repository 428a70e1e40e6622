//! IPv4 addresses and per-device settings.

mod addr;
mod change;
mod conf;
mod device;
pub(crate) mod doors;
mod events;
mod group;
mod life;
mod page;
mod refused;
mod select;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

#[allow(unused_imports, reason = "for other parts")]
pub use addr::{
    FOREVER, IFA_F_DEPRECATED, IFA_F_MCAUTOJOIN, IFA_F_NOPREFIXROUTE, IFA_F_PERMANENT, IFA_F_SECONDARY, Ifa4, Label,
    Lifetime4,
};
pub use change::{DelAddr4, NewAddr4};
#[allow(unused_imports, reason = "for other parts")]
pub(crate) use conf::{Births, conf, notify_netconf, set_conf};
pub use conf::{Netconf, NetconfPart};
pub(crate) use device::InDevice;
#[allow(unused_imports, reason = "for other parts")]
pub(crate) use doors::Field;
pub(crate) use events::netdev_event;
pub use group::Group;
#[allow(unused_imports, reason = "for other parts")]
pub(crate) use group::{groups_of, is_member, join, leave};
pub(crate) use life::{Timer, timer};
pub(crate) use page::proc_net_igmp;
pub use page::{Page, Place};
pub use refused::{Addr4Error, JoinError};
#[allow(unused_imports, reason = "for other parts")]
pub(crate) use select::{on_link, select_addr};

use crate::dev::Link;
use crate::notice::Notice;

/// Smallest MTU with which a device does IPv4 (RFC 791).
const MIN_MTU: u32 = 68;

/// Whether IPv4 runs on the device.
pub(crate) const fn has_inet(link: &Link) -> bool {
    link.mtu >= MIN_MTU
}

/// What a namespace has of it.
#[derive(Debug, Default)]
pub(crate) struct Inet {
    /// Devices of which there is something to say, by index.
    devices: BTreeMap<u32, InDevice>,
    /// Devices whose MTU is too small for IPv4: when it grows, they are as new.
    without: BTreeSet<u32>,
    shared: conf::Shared,
    /// Groups joined for addresses that are groups.
    joined_for: Vec<(u32, Ipv4Addr)>,
    /// Changes with every address and group (`dev_addr_genid`).
    generation: u32,
}

impl Inet {
    /// What a namespace is born with that inherits settings.
    pub(crate) fn inheriting(shared: conf::Shared) -> Self {
        Self { shared, ..Self::default() }
    }

    fn device(&self, index: u32) -> Option<&InDevice> {
        self.devices.get(&index)
    }

    fn device_mut(&mut self, index: u32) -> &mut InDevice {
        self.devices.entry(index).or_default()
    }

    fn devices(&self) -> impl Iterator<Item = (u32, &InDevice)> {
        self.devices_from(0)
    }

    fn devices_from(&self, index: u32) -> impl Iterator<Item = (u32, &InDevice)> {
        self.devices.range(index..).map(|(index, device)| (*index, device))
    }

    fn devices_mut(&mut self) -> impl Iterator<Item = &mut InDevice> {
        self.devices.values_mut()
    }

    /// The addresses of a device, in their order.
    pub(crate) fn addrs(&self, index: u32) -> &[Ifa4] {
        self.device(index).map_or(&[], |device| &device.addrs)
    }

    /// Every address with its device, by index.
    pub(crate) fn all_addrs(&self) -> impl Iterator<Item = (u32, &Ifa4)> {
        self.devices().flat_map(|(index, device)| device.addrs.iter().map(move |ifa| (index, ifa)))
    }
}

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum InetNotice {
    /// An address is there or changed, or is gone.
    Addr {
        /// Its device.
        ifindex: u32,
        /// The address.
        ifa: Box<Ifa4>,
        /// The moment, hundredths of a second on the stack's clock.
        now: u32,
        /// Whether it is there.
        present: bool,
    },
    /// Settings that `netconf` shows, of either family.
    Netconf {
        /// All of them.
        conf: Netconf,
        /// Which are meant.
        part: NetconfPart,
    },
    /// A multicast group was joined or left.
    Group {
        /// The device.
        ifindex: u32,
        /// The group.
        address: Ipv4Addr,
        /// When it was joined, hundredths of a second on the stack's clock.
        joined: u32,
        /// Whether the device listens to it.
        present: bool,
    },
}

impl From<InetNotice> for Notice {
    fn from(notice: InetNotice) -> Self {
        Self::Inet(notice)
    }
}
