//! The name of a device: what Linux accepts as one (`dev_valid_name`), in the sixteen bytes that an `ifreq` has for it.

use std::fmt;

/// Bytes an interface name occupies in Linux structures, its terminating NUL included (`IFNAMSIZ`).
pub const IFNAMSIZ: usize = 16;

/// A valid interface name: 1 to 15 bytes, NUL padded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfName([u8; IFNAMSIZ]);

/// Why a string is no interface name. Linux answers `EINVAL` to each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("an interface name needs at least one character")]
    Empty,
    /// The name is longer than 15 bytes.
    #[error("an interface name has at most 15 bytes")]
    TooLong,
    /// The name is `.` or `..`, which would not do as a directory name in sysfs.
    #[error("`.` and `..` are no interface names")]
    Dots,
    /// The name contains a slash, a colon, a NUL or white space.
    #[error("an interface name has neither slash, colon, NUL nor white space")]
    ForbiddenByte,
}

impl NameError {
    /// The errno Linux gives: `EINVAL`.
    #[must_use]
    pub const fn errno(self) -> i32 {
        crate::errno::EINVAL
    }
}

impl IfName {
    /// The loopback device's, `lo`.
    pub const LO: Self = match Self::new("lo") {
        Ok(name) => name,
        Err(_) => unreachable!(),
    };

    /// Checks `name` as `dev_valid_name` does.
    ///
    /// # Errors
    /// [`NameError`] says which rule the name breaks.
    pub const fn new(name: &str) -> Result<Self, NameError> {
        let bytes = name.as_bytes();
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() >= IFNAMSIZ {
            return Err(NameError::TooLong);
        }
        if bytes[0] == b'.' && (bytes.len() == 1 || (bytes.len() == 2 && bytes[1] == b'.')) {
            return Err(NameError::Dots);
        }
        let mut out = [0; IFNAMSIZ];
        let mut i = 0;
        while i < bytes.len() {
            // White space as the kernel's isspace() sees it: 9..=13, 32, and the no-break space of Latin-1.
            if matches!(bytes[i], 0 | b'/' | b':' | 9..=13 | b' ' | 0xa0) {
                return Err(NameError::ForbiddenByte);
            }
            out[i] = bytes[i];
            i += 1;
        }
        Ok(Self(out))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(IFNAMSIZ);
        // The bytes came from a `str` whole, so they are UTF-8; an empty answer cannot happen.
        std::str::from_utf8(&self.0[..len]).unwrap_or_default()
    }

    /// The name as it stands in an `ifreq`: NUL padded to [`IFNAMSIZ`] bytes.
    #[must_use]
    pub const fn padded(&self) -> &[u8; IFNAMSIZ] {
        &self.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_linux_accepts() {
        for good in ["lo", "a", "eth0.100", "...", "a%d", "fifteen-bytes--", "über"] {
            assert_eq!(IfName::new(good).map(|n| n.as_str().to_owned()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn says_which_rule_is_broken() {
        let cases = [
            ("", NameError::Empty),
            ("sixteen-bytes---", NameError::TooLong),
            (".", NameError::Dots),
            ("..", NameError::Dots),
            ("a/b", NameError::ForbiddenByte),
            ("lo:1", NameError::ForbiddenByte),
            ("a b", NameError::ForbiddenByte),
            ("a\tb", NameError::ForbiddenByte),
            ("a\0", NameError::ForbiddenByte),
        ];
        for (name, error) in cases {
            assert_eq!(IfName::new(name), Err(error), "{name:?}");
            assert_eq!(error.errno(), 22);
        }
    }

    #[test]
    fn pads_with_nul() {
        let name = IfName::new("lo").unwrap();
        assert_eq!(name.padded(), b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(format!("{name:>6}|{name:?}"), "    lo|\"lo\"");
    }
}
