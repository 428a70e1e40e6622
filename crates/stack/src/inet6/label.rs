//! Address labels (RFC 6724): which source goes with which destination.

use std::net::Ipv6Addr;

use super::prefix::Prefix6;

/// A label of a prefix (`struct ip6addrlbl_entry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrLabel {
    /// Of which addresses.
    pub prefix: Prefix6,
    /// On which device; 0 for any.
    pub ifindex: u32,
    /// The label.
    pub label: u32,
}

/// What a label may not be.
pub(crate) const INVALID_LABEL: u32 = u32::MAX;

/// Why a change of the list of labels was refused. Linux says no more than the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// A prefix of more than 128 bits, the label that means none, or part of the IPv4-mapped addresses.
    #[error("not a label or not a prefix that can have one")]
    Invalid,
    /// That prefix has one.
    #[error("the prefix has a label")]
    Exists,
    /// That prefix has none.
    #[error("the prefix has no label")]
    NotFound,
}

impl LabelError {
    /// The errno Linux gives.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Invalid => 22,
            Self::Exists => 17,
            Self::NotFound => 3,
        }
    }
}

const fn born(groups: [u16; 8], len: u8, label: u32) -> ([u16; 8], u8, u32) {
    (groups, len, label)
}

/// What every namespace is born with.
const BORN: [([u16; 8], u8, u32); 10] = [
    born([0, 0, 0, 0, 0, 0, 0, 1], 128, 0),
    born([0; 8], 96, 3),
    born([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, 4),
    born([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, 6),
    born([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, 7),
    born([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, 12),
    born([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, 2),
    born([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, 11),
    born([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, 5),
    born([0; 8], 0, 1),
];

/// The labels of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    /// Longer prefixes first.
    list: Vec<AddrLabel>,
    /// Counts the changes; every label shows it.
    seq: u32,
}

impl Default for Labels {
    fn default() -> Self {
        let entry = |&(groups, len, label): &([u16; 8], u8, u32)| AddrLabel {
            prefix: Prefix6::new(Ipv6Addr::from(groups), len),
            ifindex: 0,
            label,
        };
        Self { list: BORN.iter().map(entry).collect(), seq: 10 }
    }
}

impl Labels {
    pub(crate) fn list(&self) -> (&[AddrLabel], u32) {
        (&self.list, self.seq)
    }

    /// The label for `addr` on a device (`ipv6_addr_label`).
    pub(crate) fn get(&self, addr: Ipv6Addr, ifindex: u32) -> Option<AddrLabel> {
        let fits = |l: &&AddrLabel| (l.ifindex == 0 || l.ifindex == ifindex) && l.prefix.contains(addr);
        self.list.iter().find(fits).copied()
    }

    /// Adds one, or with `replace` changes the one that is there (`ip6addrlbl_add`).
    pub(crate) fn add(&mut self, new: AddrLabel, replace: bool) -> Result<(), LabelError> {
        let mapped = new.prefix.prefix_len() > 96 && new.prefix.addr().to_ipv4_mapped().is_some();
        if new.label == INVALID_LABEL || mapped {
            return Err(LabelError::Invalid);
        }
        let same = |l: &AddrLabel| l.prefix == new.prefix && l.ifindex == new.ifindex;
        if let Some(old) = self.list.iter_mut().find(|l| same(l)) {
            if !replace {
                return Err(LabelError::Exists);
            }
            *old = new;
        } else {
            // Before the first of its length that is not one device's own.
            let before = |l: &AddrLabel| {
                l.prefix.prefix_len() < new.prefix.prefix_len()
                    || (l.prefix.prefix_len() == new.prefix.prefix_len() && l.ifindex == 0)
            };
            let at = self.list.iter().position(before).unwrap_or(self.list.len());
            self.list.insert(at, new);
        }
        self.seq = self.seq.wrapping_add(1);
        Ok(())
    }

    /// Takes one away, whatever its label is (`ip6addrlbl_del`).
    pub(crate) fn del(&mut self, prefix: Prefix6, ifindex: u32) -> Result<(), LabelError> {
        let at = self.list.iter().position(|l| l.prefix == prefix && l.ifindex == ifindex);
        self.list.remove(at.ok_or(LabelError::NotFound)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(addr: &str, len: u8, label: u32) -> AddrLabel {
        AddrLabel { prefix: Prefix6::new(addr.parse().unwrap(), len), ifindex: 0, label }
    }

    #[test]
    fn longer_prefixes_come_first_and_the_newest_of_a_length() {
        let mut labels = Labels::default();
        labels.add(label("2001:db8::", 32, 77), false).unwrap();
        let lens: Vec<u8> = labels.list().0.iter().map(|l| l.prefix.prefix_len()).collect();
        assert_eq!(lens, [128, 96, 96, 32, 32, 28, 16, 16, 10, 7, 0]);
        assert_eq!(labels.list().0[3].label, 77);
        assert_eq!(labels.list().1, 11);
        assert_eq!(labels.get("2001:db8::1".parse().unwrap(), 5).unwrap().label, 77);
        assert_eq!(labels.get("2001:db9::1".parse().unwrap(), 5).unwrap().label, 1);
    }

    #[test]
    fn what_linux_refuses() {
        let mut labels = Labels::default();
        labels.add(label("2001:db8::", 32, 77), false).unwrap();
        assert_eq!(labels.add(label("2001:db8::5", 32, 78), false), Err(LabelError::Exists));
        assert_eq!(labels.add(label("2001:db8::5", 32, 78), true), Ok(()));
        assert_eq!(labels.add(label("::ffff:1.2.3.4", 97, 5), false), Err(LabelError::Invalid));
        assert_eq!(labels.add(label("::ffff:0.0.0.0", 95, 5), false), Ok(()));
        assert_eq!(labels.add(label("::5", 128, u32::MAX), false), Err(LabelError::Invalid));
        assert_eq!(labels.del(Prefix6::new("2001:db8::".parse().unwrap(), 32), 0), Ok(()));
        assert_eq!(labels.del(Prefix6::new("2001:db8::".parse().unwrap(), 32), 0), Err(LabelError::NotFound));
    }
}
