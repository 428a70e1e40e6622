//! Reading without the lock of changes: pages for dumps, and what `netconf` and other doors ask.

use pernet::Net;

use super::addr::Ifa4;
use super::conf::{self, Netconf};
use super::group::Group;
use super::has_inet;
use crate::clock;
use crate::dev::{Inet4Conf, Stack};
use crate::state::{ConfOf, NetState, Ns};

/// Where a listing by device stands: the device, and the place in its list.
pub type Place = (u32, usize);

/// A stretch of a listing, taken in one look.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// Entries and where they stand, in order.
    pub entries: Vec<(Place, T)>,
    /// Differs from that of another page if something came or went in between.
    pub generation: u64,
    /// The moment of the look, hundredths of a second on the stack's clock.
    pub now: u32,
}

impl Stack {
    /// Addresses from the place `from` on, at most `max`; of one device, if `only` says which.
    #[must_use]
    pub fn addrs4(&self, net: &Net, from: Place, only: Option<u32>, max: usize) -> Page<Ifa4> {
        self.page(net, from, only, max, |inet, index, skip, room| {
            inet.device(index).map(|d| d.addrs.iter().skip(skip).take(room).cloned().collect()).unwrap_or_default()
        })
    }

    /// Likewise multicast groups (`ip_mc_list`).
    #[must_use]
    pub fn groups4(&self, net: &Net, from: Place, only: Option<u32>, max: usize) -> Page<Group> {
        self.page(net, from, only, max, |inet, index, skip, room| {
            inet.device(index).map(|d| d.groups.iter().skip(skip).take(room).cloned().collect()).unwrap_or_default()
        })
    }

    fn page<T>(
        &self,
        net: &Net,
        from: Place,
        only: Option<u32>,
        max: usize,
        take: impl Fn(&super::Inet, u32, usize, usize) -> Vec<T>,
    ) -> Page<T> {
        let now = clock::stamp(self.inner().clock.now());
        let mut page = Page { entries: Vec::new(), generation: 0, now };
        let Some(state) = self.state(net) else { return page };
        let links = state.links.generation();
        page.generation = u64::from(links) << 32;
        let Some(inet) = state.inet.peek() else { return page };
        page.generation |= u64::from(inet.generation);
        let start = only.map_or(from.0, |only| only.max(from.0));
        for (index, _) in inet.devices_from(start) {
            if only.is_some_and(|only| only != index) || page.entries.len() >= max {
                break;
            }
            let skip = if index == from.0 { from.1 } else { 0 };
            let found = take(&inet, index, skip, max - page.entries.len());
            page.entries.extend(found.into_iter().enumerate().map(|(i, entry)| ((index, skip + i), entry)));
        }
        page
    }

    /// The IPv4 settings of a device, in the order of their numbers; `None` if it does no IPv4 (or is not there).
    #[must_use]
    pub fn inet4_conf(&self, net: &Net, ifindex: u32) -> Option<Inet4Conf> {
        let state = self.state(net)?;
        let link = state.links.by_index(ifindex).filter(|link| has_inet(link))?;
        Some(conf::all_of(Ns::living(state, net), &link))
    }

    /// What `netconf` shows of IPv4; `None` if there is no such device, or it does no IPv4.
    #[must_use]
    pub fn netconf4(&self, net: &Net, of: ConfOf) -> Option<Netconf> {
        conf::netconf4(self.living(net)?, of)
    }

    /// Likewise of IPv6.
    #[must_use]
    pub fn netconf6(&self, net: &Net, of: ConfOf) -> Option<Netconf> {
        conf::netconf6(self.living(net)?, of)
    }

    fn living<'n>(&self, net: &'n Net) -> Option<Ns<'n>> {
        self.state(net).map(|state: &NetState| Ns::living(state, net))
    }
}

/// `/proc/net/igmp`: who listens to what. Groups are printed as the machine reads their bytes.
pub(crate) fn proc_net_igmp(ns: Ns<'_>) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
    let devices: Vec<(u32, Vec<Group>)> = {
        let Some(inet) = ns.inet.peek() else { return out };
        let listening = inet.devices().filter(|(_, device)| !device.groups.is_empty());
        listening.map(|(index, device)| (index, device.groups.clone())).collect()
    };
    for (index, groups) in devices {
        let Some(link) = ns.links.by_index(index) else { continue };
        let forced = |of| conf::conf(ns, of, conf::number::FORCE_IGMP_VERSION).unwrap_or(0);
        let version = match (forced(ConfOf::All), forced(ConfOf::Dev(link.index()))) {
            (1, _) | (_, 1) => "V1",
            (2, _) | (_, 2) => "V2",
            _ => "V3",
        };
        // A String takes what is written to it.
        let _ = writeln!(out, "{}\t{:<10}: {:5} {version:>7}", link.index(), link.name(), groups.len());
        for group in groups {
            let bits = u32::from_ne_bytes(group.address.octets());
            let _ = writeln!(out, "\t\t\t\t{bits:08X} {:5} 0:00000000\t\t0", group.users);
        }
    }
    out
}
