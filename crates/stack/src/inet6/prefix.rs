//! Address prefixes in the order of the kernel's routing tree.

use std::cmp::Ordering;
use std::net::Ipv6Addr;

/// An IPv6 prefix: `len` bits of `addr`, the others zero.
///
/// Prefixes are ordered as a walk over the kernel's tree meets them: children first, the left one before the right one,
/// then their parent. So `2001:db8::/48` comes before `2001:db8::/32`, and the default route is the last of all.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix6 {
    bytes: [u8; 16],
    len: u8,
}

impl Prefix6 {
    /// `::/0`.
    pub const ANY: Self = Self { bytes: [0; 16], len: 0 };

    /// The prefix of `len` bits (at most 128) that `addr` is in.
    #[must_use]
    pub fn new(addr: Ipv6Addr, len: u8) -> Self {
        let len = len.min(128);
        Self { bytes: (addr.to_bits() & mask(len)).to_be_bytes(), len }
    }

    /// An address alone.
    #[must_use]
    pub fn host(addr: Ipv6Addr) -> Self {
        Self::new(addr, 128)
    }

    /// The first address.
    #[must_use]
    pub fn addr(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.bytes)
    }

    /// Bits.
    #[must_use]
    pub const fn prefix_len(&self) -> u8 {
        self.len
    }

    /// Whether it says nothing: `::/0`.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.len == 0
    }

    /// Whether `addr` is in it.
    #[must_use]
    pub fn contains(&self, addr: Ipv6Addr) -> bool {
        addr.to_bits() & mask(self.len) == u128::from_be_bytes(self.bytes)
    }

    /// Its seventeen bytes, for a cursor.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 17] {
        let mut out = [0; 17];
        out[..16].copy_from_slice(&self.bytes);
        out[16] = self.len;
        out
    }

    /// What [`to_bytes`](Self::to_bytes) wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 17]) -> Self {
        let mut addr = [0; 16];
        addr.copy_from_slice(&bytes[..16]);
        Self::new(Ipv6Addr::from(addr), bytes[16])
    }

    /// The order in which a walk meets them on its way down: a parent before its children.
    pub(crate) fn cmp_down(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes).then_with(|| self.len.cmp(&other.len))
    }

    /// Whether it begins where `other` is over.
    pub(crate) fn begins_behind(&self, other: &Self) -> bool {
        u128::from_be_bytes(self.bytes) > other.last()
    }

    fn last(&self) -> u128 {
        u128::from_be_bytes(self.bytes) | !mask(self.len)
    }
}

/// `len` ones from the left.
fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

impl Ord for Prefix6 {
    fn cmp(&self, other: &Self) -> Ordering {
        // Of two prefixes that end at one address the longer is inside the other.
        self.last().cmp(&other.last()).then_with(|| other.len.cmp(&self.len))
    }
}

impl PartialOrd for Prefix6 {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Debug for Prefix6 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.addr(), self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix6 {
        let (addr, len) = text.split_once('/').unwrap();
        Prefix6::new(addr.parse().unwrap(), len.parse().unwrap())
    }

    #[test]
    fn children_come_before_their_parent_and_left_before_right() {
        let order = [
            "::/128",
            "::5/128",
            "2001:db8:1::/64",
            "2001:db8:2::1/128",
            "2001:db8:2::/48",
            "2001:db8::/32",
            "fe80::/64",
            "ff00::/8",
            "::/0",
        ];
        let sorted: Vec<_> = order.iter().map(|p| prefix(p)).collect();
        let mut shuffled = sorted.clone();
        shuffled.reverse();
        shuffled.sort();
        assert_eq!(shuffled, sorted);
    }

    #[test]
    fn host_bits_are_cut() {
        assert_eq!(prefix("2001:db8:8::5/48").addr(), prefix("2001:db8:8::/48").addr());
        assert_eq!(prefix("ffff::/0"), Prefix6::ANY);
        assert!(prefix("2001:db8::/127").contains("2001:db8::1".parse().unwrap()));
        assert!(!prefix("2001:db8::/127").contains("2001:db8::2".parse().unwrap()));
        assert_eq!(Prefix6::from_bytes(&prefix("2001:db8::/33").to_bytes()), prefix("2001:db8::/33"));
    }
}
