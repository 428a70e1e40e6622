//! Link-layer addresses.

use std::fmt;

/// A link-layer address of up to 16 bytes: six for Ethernet and the loopback, four or sixteen for tunnels.
///
/// Linux leaves room for 32 (`MAX_ADDR_LEN`), which only `InfiniBand` needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HwAddr {
    len: u8,
    bytes: [u8; Self::MAX],
}

impl HwAddr {
    /// Longest address this type holds, in bytes.
    pub const MAX: usize = 16;
    /// The address of a device that has none (`addr_len` 0).
    pub const EMPTY: Self = Self { len: 0, bytes: [0; Self::MAX] };
    /// Six zero bytes: address and broadcast address of a loopback device.
    pub const ZERO6: Self = Self { len: 6, bytes: [0; Self::MAX] };

    /// The broadcast address of Ethernet.
    pub const BROADCAST6: Self = {
        let mut bytes = [0; Self::MAX];
        let mut i = 0;
        while i < 6 {
            bytes[i] = 0xff;
            i += 1;
        }
        Self { len: 6, bytes }
    };

    /// The Ethernet address of six bytes.
    pub(crate) fn from_six(six: [u8; 6]) -> Self {
        let mut bytes = [0; Self::MAX];
        bytes[..6].copy_from_slice(&six);
        Self { len: 6, bytes }
    }

    /// Makes an address; `None` if `bytes` is longer than [`HwAddr::MAX`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut out = Self::EMPTY;
        out.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        out.len = u8::try_from(bytes.len()).ok()?;
        Some(out)
    }

    /// The bytes of the address.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether it is addressed to many (the lowest bit of its first byte).
    #[must_use]
    pub const fn is_multicast(&self) -> bool {
        self.bytes[0] & 1 != 0
    }

    /// Whether no byte differs from zero. Linux says so of a device whose permanent address is unknown.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.as_bytes().iter().all(|&b| b == 0)
    }
}

impl fmt::Display for HwAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.as_bytes().iter().enumerate() {
            if i > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for HwAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_sysfs_does() {
        assert_eq!(HwAddr::ZERO6.to_string(), "00:00:00:00:00:00");
        assert_eq!(HwAddr::new(&[2, 0, 0xab, 0, 0, 1]).unwrap().to_string(), "02:00:ab:00:00:01");
        assert_eq!(HwAddr::EMPTY.to_string(), "");
        assert_eq!(HwAddr::new(&[0; 17]), None);
    }

    #[test]
    fn knows_zero() {
        assert!(HwAddr::ZERO6.is_zero());
        assert!(!HwAddr::new(&[0, 0, 0, 0, 0, 1]).unwrap().is_zero());
    }
}
