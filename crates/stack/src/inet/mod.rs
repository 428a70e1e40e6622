//! IPv4 addresses and per-device settings.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::dev::{IfName, Link};
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::{ConfOf, Ns};

/// What a namespace has of it.
#[derive(Debug, Default)]
pub(crate) struct Inet {}

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum InetNotice {}

/// A device goes through something.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    let _ = (rtnl, ns, link, event);
}

/// What waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timer {}

/// A timer is due.
pub(crate) fn timer(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, timer: Timer) {
    let _ = (rtnl, ns);
    match timer {}
}

/// An IPv4 address of a device (`struct in_ifaddr`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ifa4 {
    /// The address itself (`IFA_LOCAL`).
    pub local: Ipv4Addr,
    /// The other end of a point-to-point link, else the address itself (`IFA_ADDRESS`).
    pub address: Ipv4Addr,
    /// Bits of the prefix.
    pub prefix_len: u8,
    /// The broadcast address, if it has one.
    pub broadcast: Option<Ipv4Addr>,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `IFA_F_*`.
    pub flags: u32,
    /// The name by which `ifconfig` knows it: the device's, perhaps with `:something` behind.
    pub label: IfName,
    /// Metric of its prefix route, 0 for the usual.
    pub rt_priority: u32,
    /// `IFAPROT_*`: who set it.
    pub proto: u8,
    /// Seconds that it is valid from `updated` on; `u32::MAX` for ever.
    pub valid_lft: u32,
    /// Seconds that it is preferred from `updated` on; `u32::MAX` for ever.
    pub preferred_lft: u32,
    /// When it was made, hundredths of a second on the stack's clock.
    pub created: u32,
    /// When it was last changed, likewise.
    pub updated: u32,
}

/// The address to send from (`inet_select_addr`): of the device, if one is given, else of any; `dst` decides between
/// several; its scope is at most `scope`. 0.0.0.0 if there is none.
pub(crate) fn select_addr(ns: Ns<'_>, ifindex: Option<u32>, dst: Ipv4Addr, scope: u8) -> Ipv4Addr {
    let _ = (ns, ifindex, dst, scope);
    Ipv4Addr::UNSPECIFIED
}

/// A device's setting by its `IPV4_DEVCONF_*` number; `None` for a device without IPv4, or no such number.
pub(crate) fn conf(ns: Ns<'_>, of: ConfOf, number: usize) -> Option<i32> {
    let _ = (ns, of, number);
    None
}

/// Writes a setting, with what follows from it.
pub(crate) fn set_conf(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, of: ConfOf, number: usize, value: i32) {
    let _ = (rtnl, ns, of, number, value);
}
