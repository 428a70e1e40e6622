//! Why the table of devices refuses.

use crate::errno;

/// Why a change of the table was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Another device has that name or alternative name.
    #[error("a device of that name exists")]
    NameTaken,
    /// Another device has that index.
    #[error("a device with that index exists")]
    IndexTaken,
    /// The index asked for is 0 or beyond the largest `int`.
    #[error("not an interface index")]
    BadIndex,
    /// No device has that index.
    #[error("no such device")]
    NoSuchLink,
    /// Every index is in use.
    #[error("no interface index is left")]
    Full,
}

impl LinkError {
    /// The errno Linux gives in this case.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::NameTaken => errno::EEXIST,
            Self::IndexTaken => errno::EBUSY,
            Self::BadIndex => errno::EINVAL,
            Self::NoSuchLink => errno::ENODEV,
            Self::Full => errno::ENFILE,
        }
    }
}
