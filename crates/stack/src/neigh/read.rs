//! Looking at the tables, without rtnl.

use pernet::Net;

use super::entry::{NeighFamily, NeighProxy, NeighReport};
use super::parms::{NeighParm, NeighParms};
use super::timer::millis;
use super::{NeighKey, ProxyKey};
use crate::dev::Stack;
use crate::state::NetState;

/// A stretch of the entries.
#[derive(Clone, Debug, Default)]
pub struct NeighPage {
    /// In the order they came.
    pub entries: Vec<NeighReport>,
}

/// A stretch of the proxies.
#[derive(Clone, Debug, Default)]
pub struct ProxyPage {
    /// In the order they came.
    pub proxies: Vec<NeighProxy>,
}

impl Stack {
    /// Up to `max` entries of `family` (`None`: of both), from number `from` on.
    #[must_use]
    pub fn neighbours(&self, net: &Net, family: Option<NeighFamily>, from: u64, max: usize) -> NeighPage {
        let now = millis(self.inner().clock.now());
        let Some(table) = self.state(net).and_then(|state| state.peek_neigh()) else { return NeighPage::default() };
        let wanted = table.since(from).filter(|e| family.is_none_or(|family| e.family() == family));
        NeighPage { entries: wanted.take(max).map(|e| e.report(now, false)).collect() }
    }

    /// One entry, as whoever holds it sees it.
    #[must_use]
    pub fn neighbour(&self, net: &Net, key: NeighKey) -> Option<NeighReport> {
        let now = millis(self.inner().clock.now());
        let table = self.state(net)?.peek_neigh()?;
        Some(table.find(key.ifindex, key.dst)?.report(now, true))
    }

    /// What an entry's address field holds, whether it means something or not, as `/proc/net/arp` shows it.
    pub(super) fn stored_address(&self, net: &Net, key: NeighKey) -> Option<crate::dev::HwAddr> {
        let table = self.state(net)?.peek_neigh()?;
        Some(table.find(key.ifindex, key.dst)?.address)
    }

    /// Up to `max` proxies of `family` (`None`: of both), from number `from` on.
    #[must_use]
    pub fn neigh_proxies(&self, net: &Net, family: Option<NeighFamily>, from: u64, max: usize) -> ProxyPage {
        let Some(table) = self.state(net).and_then(|state| state.peek_neigh()) else { return ProxyPage::default() };
        let wanted =
            table.proxies_since(from).filter(|p| family.is_none_or(|family| NeighFamily::of(&p.dst) == family));
        ProxyPage { proxies: wanted.take(max).cloned().collect() }
    }

    /// One proxy.
    #[must_use]
    pub fn neigh_proxy(&self, net: &Net, key: ProxyKey) -> Option<NeighProxy> {
        self.state(net)?.peek_neigh()?.proxy(key.ifindex, key.dst).cloned()
    }

    /// The settings of a table on a device.
    #[must_use]
    pub fn neigh_parms(&self, net: &Net, ifindex: u32, family: NeighFamily) -> NeighParms {
        self.state(net).map_or_else(|| NeighParms::born(family), |state| parms(state, ifindex, family))
    }

    /// How long answers are believed on a device, milliseconds.
    #[must_use]
    pub fn neigh_reachable_time(&self, net: &Net, ifindex: u32, family: NeighFamily) -> u32 {
        let salt = self.state(net).map_or(0, |state| spread(state, ifindex, family));
        self.neigh_parms(net, ifindex, family).reachable_time(salt)
    }

    /// How many hold the settings of a device: itself, and each entry.
    #[must_use]
    pub fn neigh_parms_refs(&self, net: &Net, ifindex: u32, family: NeighFamily) -> u32 {
        let Some(table) = self.state(net).and_then(|state| state.peek_neigh()) else { return 1 };
        u32::try_from(table.of_device(ifindex, family).len()).unwrap_or(u32::MAX).saturating_add(1)
    }
}

pub(crate) fn parms(state: &NetState, ifindex: u32, family: NeighFamily) -> NeighParms {
    state.peek_neigh().map_or_else(|| NeighParms::born(family), |table| table.parms.get(ifindex, family))
}

/// What decides how long a device's answers are believed.
pub(super) fn spread(state: &NetState, ifindex: u32, family: NeighFamily) -> u32 {
    state.links.salt() ^ ifindex.wrapping_mul(2) ^ family.index() as u32
}

pub(super) fn born_time(family: NeighFamily, parm: NeighParm) -> i64 {
    NeighParms::born(family).get(parm).into()
}
