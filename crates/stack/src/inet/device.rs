//! The IPv4 side of one device (`struct in_device`): the list of its addresses and the order in it.

use super::addr::{IFA_F_SECONDARY, Ifa4};
use super::conf::Conf;
use super::group::Group;

/// What a device has of IPv4. A device of which nothing was said has no entry and is as one with nothing in it.
#[derive(Debug, Default)]
pub(crate) struct InDevice {
    /// Primaries by scope, widest last, then the secondaries.
    pub(super) addrs: Vec<Ifa4>,
    /// Its settings, once they differ from what everything is born with.
    pub(super) conf: Option<Box<Conf>>,
    /// It was given an address once: from then on it keeps its settings, whatever those for devices to come are
    /// (`ipv4_devconf_setall`).
    pub(super) settled: bool,
    /// Multicast groups it listens to, newest first.
    pub(super) groups: Vec<Group>,
}

/// Why an address cannot stand beside those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clash {
    /// It is there.
    Exists,
    /// The first of its prefix has another scope.
    Scope,
}

impl InDevice {
    /// The address with the same prefix and local address (`find_matching_ifa`).
    pub(super) fn matching(&self, ifa: &Ifa4) -> Option<usize> {
        self.addrs.iter().position(|a| a.shares_prefix(ifa) && a.local == ifa.local)
    }

    /// Where `ifa` belongs, and whether as a secondary (`__inet_insert_ifa`).
    pub(super) fn place(&self, ifa: &Ifa4) -> Result<(usize, bool), Clash> {
        if let Some(first) = self.addrs.iter().find(|a| a.shares_prefix(ifa)) {
            return match first {
                first if first.local == ifa.local => Err(Clash::Exists),
                first if first.scope != ifa.scope => Err(Clash::Scope),
                // One with the same local address further back is a clash too.
                _ if self.matching(ifa).is_some() => Err(Clash::Exists),
                _ => Ok((self.addrs.len(), true)),
            };
        }
        let last = self.addrs.iter().rposition(|a| !a.is_secondary() && ifa.scope <= a.scope);
        Ok((last.map_or(0, |last| last + 1), false))
    }

    /// The first secondary behind the primary at `of` with its prefix.
    pub(super) fn next_secondary(&self, of: usize) -> Option<usize> {
        let primary = self.addrs.get(of)?;
        let behind = self.addrs.iter().enumerate().skip(of + 1);
        behind.into_iter().find(|(_, a)| a.is_secondary() && a.shares_prefix(primary)).map(|(at, _)| at)
    }

    /// Where the secondary at `heir` belongs once the primary at `at` is out of the list and it takes its rank: behind
    /// the primaries of at least its scope that stand between them.
    pub(super) fn rank_of_heir(&self, at: usize, heir: usize) -> usize {
        let scope = self.addrs[at].scope;
        let between = self.addrs[at + 1..heir].iter().rposition(|a| !a.is_secondary() && scope <= a.scope);
        at + between.map_or(0, |b| b + 1)
    }

    /// Makes the secondary at `from` a primary at `rank`.
    pub(super) fn promote(&mut self, from: usize, rank: usize) -> Ifa4 {
        let mut promoted = self.addrs.remove(from);
        promoted.flags &= !IFA_F_SECONDARY;
        self.addrs.insert(rank, promoted.clone());
        promoted
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::addr::Label;
    use super::*;

    fn ifa(text: &str, scope: u8) -> Ifa4 {
        let (addr, len) = text.split_once('/').unwrap();
        let local: Ipv4Addr = addr.parse().unwrap();
        Ifa4 {
            local,
            address: local,
            prefix_len: len.parse().unwrap(),
            broadcast: None,
            scope,
            flags: 0,
            label: Label::new(b"d0"),
            rt_priority: 0,
            proto: 0,
            valid_lft: u32::MAX,
            preferred_lft: u32::MAX,
            created: 0,
            updated: 0,
        }
    }

    fn list(all: &[(&str, u8)]) -> InDevice {
        let mut dev = InDevice::default();
        for &(text, scope) in all {
            let mut new = ifa(text, scope);
            let (at, secondary) = dev.place(&new).unwrap();
            new.flags = secondary.into();
            dev.addrs.insert(at, new);
        }
        dev
    }

    fn shown(dev: &InDevice) -> Vec<String> {
        let mark = |a: &Ifa4| if a.is_secondary() { "s" } else { "" };
        dev.addrs.iter().map(|a| format!("{}{}", a.local, mark(a))).collect()
    }

    #[test]
    fn primaries_stand_by_scope_and_secondaries_last() {
        let dev = list(&[
            ("1.1.1.1/24", 0),
            ("1.2.1.1/24", 200),
            ("1.3.1.1/24", 0),
            ("1.4.1.1/24", 252),
            ("1.5.1.1/24", 200),
            ("1.6.1.1/24", 100),
            ("1.1.1.2/24", 0),
            ("1.2.1.2/24", 200),
            ("1.7.1.1/24", 0),
        ]);
        let order =
            ["1.4.1.1", "1.2.1.1", "1.5.1.1", "1.6.1.1", "1.1.1.1", "1.3.1.1", "1.7.1.1", "1.1.1.2s", "1.2.1.2s"];
        assert_eq!(shown(&dev), order);
        assert_eq!(dev.place(&ifa("1.2.1.3/24", 100)), Err(Clash::Scope));
        assert_eq!(dev.place(&ifa("1.1.1.2/24", 0)), Err(Clash::Exists));
    }

    fn succeed(dev: &mut InDevice, at: usize, heir: usize) {
        let rank = dev.rank_of_heir(at, heir);
        dev.addrs.remove(at);
        dev.promote(heir - 1, rank);
    }

    #[test]
    fn an_heir_takes_the_rank_of_the_primary() {
        // What `ip addr` showed on Linux 6.18 after the same steps.
        let mut dev = list(&[("1.0.0.1/24", 200), ("2.0.0.1/24", 0), ("1.0.0.2/24", 200)]);
        succeed(&mut dev, 0, 2);
        assert_eq!(shown(&dev), ["1.0.0.2", "2.0.0.1"]);
        let mut dev = list(&[
            ("5.0.0.1/24", 0),
            ("1.0.0.1/24", 0),
            ("5.0.0.2/24", 0),
            ("1.0.0.2/24", 0),
            ("5.0.0.3/24", 0),
            ("1.0.0.3/24", 0),
        ]);
        assert_eq!(dev.next_secondary(1), Some(3));
        succeed(&mut dev, 1, 3);
        assert_eq!(shown(&dev), ["5.0.0.1", "1.0.0.2", "5.0.0.2s", "5.0.0.3s", "1.0.0.3s"]);
        succeed(&mut dev, 0, 2);
        assert_eq!(shown(&dev), ["1.0.0.2", "5.0.0.2", "5.0.0.3s", "1.0.0.3s"]);
    }
}
