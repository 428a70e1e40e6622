//! What an IPv4 address of a device is (`struct in_ifaddr`).

use std::fmt;
use std::net::Ipv4Addr;

use crate::dev::{IFNAMSIZ, IfName};
use crate::fib::prefix_mask;

/// Not the first address of its prefix on the device (`IFA_F_SECONDARY`).
pub const IFA_F_SECONDARY: u32 = 0x01;
/// No longer to be chosen for new connections (`IFA_F_DEPRECATED`).
pub const IFA_F_DEPRECATED: u32 = 0x20;
/// Valid for ever (`IFA_F_PERMANENT`).
pub const IFA_F_PERMANENT: u32 = 0x80;
/// Brings no route to its prefix (`IFA_F_NOPREFIXROUTE`).
pub const IFA_F_NOPREFIXROUTE: u32 = 0x200;
/// Joins the group that the address is (`IFA_F_MCAUTOJOIN`).
pub const IFA_F_MCAUTOJOIN: u32 = 0x400;

/// A time without end, in seconds (`INFINITY_LIFE_TIME`).
pub const FOREVER: u32 = u32::MAX;

/// The flags that a requester may set: all but those which say what became of the address, and those of IPv6.
pub(super) const SETTABLE: u32 = !0x9ff;

/// The name by which `ifconfig` knows an address (`IFA_LABEL`): up to 15 bytes of anything but NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label([u8; IFNAMSIZ]);

impl Label {
    /// The bytes before the first NUL, cut to 15.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len()).min(IFNAMSIZ - 1);
        let mut out = [0; IFNAMSIZ];
        out[..end].copy_from_slice(&bytes[..end]);
        Self(out)
    }

    /// Its bytes, without NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(IFNAMSIZ);
        &self.0[..end]
    }

    /// As it stands in an `ifreq`: NUL padded.
    #[must_use]
    pub const fn padded(&self) -> &[u8; IFNAMSIZ] {
        &self.0
    }

    /// The label of the `nth` address (from 1) when its device gets the name `device`: the first has the name itself; any
    /// other keeps what stood behind its colon, or gets its place in the list. The name is cut where both do not fit.
    pub(super) fn renamed(&self, device: &IfName, nth: usize) -> Self {
        let name = device.as_str().as_bytes();
        if nth == 1 {
            return Self::new(name);
        }
        let old = self.as_bytes();
        let number = format!(":{nth}");
        let tail = old.iter().position(|&b| b == b':').map_or(number.as_bytes(), |colon| &old[colon..]);
        let room = (IFNAMSIZ - 1).saturating_sub(tail.len());
        Self::new(&[&name[..name.len().min(room)], tail].concat())
    }
}

impl From<&IfName> for Label {
    fn from(name: &IfName) -> Self {
        Self(*name.padded())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
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
    pub label: Label,
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

impl Ifa4 {
    /// The netmask.
    #[must_use]
    pub const fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(prefix_mask(self.prefix_len))
    }

    /// The first address of the prefix.
    #[must_use]
    pub const fn prefix(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() & prefix_mask(self.prefix_len))
    }

    /// Whether it is not the first of its prefix.
    #[must_use]
    pub const fn is_secondary(&self) -> bool {
        self.flags & IFA_F_SECONDARY != 0
    }

    /// Whether `addr` lies in its prefix (`inet_ifa_match`).
    #[must_use]
    pub const fn contains(&self, addr: Ipv4Addr) -> bool {
        (self.address.to_bits() ^ addr.to_bits()) & prefix_mask(self.prefix_len) == 0
    }

    /// Whether both have one prefix.
    pub(crate) const fn shares_prefix(&self, other: &Self) -> bool {
        self.prefix_len == other.prefix_len && self.contains(other.address)
    }

    /// Seconds that it remains preferred and valid at `now` (hundredths of a second), as `IFA_CACHEINFO` shows them.
    #[must_use]
    pub const fn remaining(&self, now: u32) -> (u32, u32) {
        if self.flags & IFA_F_PERMANENT != 0 {
            return (FOREVER, FOREVER);
        }
        if self.preferred_lft == FOREVER {
            return (FOREVER, FOREVER);
        }
        let age = self.age(now);
        let valid = if self.valid_lft == FOREVER { FOREVER } else { self.valid_lft.saturating_sub(age) };
        (self.preferred_lft.saturating_sub(age), valid)
    }

    /// Whole seconds since the last change.
    pub(super) const fn age(&self, now: u32) -> u32 {
        now.wrapping_sub(self.updated) / 100
    }

    /// Gives it new lifetimes from `now` on (`set_ifa_lifetime`).
    pub(super) fn set_lifetime(&mut self, lifetime: Lifetime4, now: u32) {
        self.flags &= !(IFA_F_PERMANENT | IFA_F_DEPRECATED);
        if lifetime.valid == FOREVER {
            self.flags |= IFA_F_PERMANENT;
        }
        if lifetime.preferred == 0 {
            self.flags |= IFA_F_DEPRECATED;
        }
        (self.valid_lft, self.preferred_lft) = (lifetime.valid, lifetime.preferred);
        self.updated = now;
    }

    /// The moments, seconds after the last change, at which time does something to it: deprecation and end.
    pub(super) fn turns(&self) -> impl Iterator<Item = u32> {
        let finite = self.flags & IFA_F_PERMANENT == 0;
        let preferred = Some(self.preferred_lft).filter(|_| self.flags & IFA_F_DEPRECATED == 0);
        [preferred, Some(self.valid_lft)].into_iter().flatten().filter(move |&s| finite && s != FOREVER)
    }
}

/// How long an address is to live, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime4 {
    preferred: u32,
    valid: u32,
}

impl Lifetime4 {
    /// For ever.
    pub const FOREVER: Self = Self { preferred: FOREVER, valid: FOREVER };

    /// `None` if it would be over at once, or preferred longer than valid.
    #[must_use]
    pub const fn new(preferred: u32, valid: u32) -> Option<Self> {
        if valid == 0 || preferred > valid { None } else { Some(Self { preferred, valid }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_the_device_as_in_linux() {
        let name = |text| IfName::new(text).unwrap();
        let renamed = |old: &str, to, nth| Label::new(old.as_bytes()).renamed(&name(to), nth);
        assert_eq!(renamed("d0", "zz", 1), Label::new(b"zz"));
        assert_eq!(renamed("d0:x", "zz", 1), Label::new(b"zz"));
        assert_eq!(renamed("d0", "zz", 3), Label::new(b"zz:3"));
        assert_eq!(renamed("zz:lab", "abcdefghijklmno", 5), Label::new(b"abcdefghijk:lab"));
        assert_eq!(renamed("zz:2", "abcdefghijklmno", 2), Label::new(b"abcdefghijklm:2"));
    }

    #[test]
    fn lifetimes_must_make_sense() {
        assert_eq!(Lifetime4::new(0, 0), None);
        assert_eq!(Lifetime4::new(6, 5), None);
        assert!(Lifetime4::new(0, 1).is_some() && Lifetime4::new(FOREVER, FOREVER).is_some());
    }
}
