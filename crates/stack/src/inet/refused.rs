//! Why a change of addresses is refused.

use crate::errno;

/// The refusal of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Addr4Error {
    /// No device has that index or name.
    #[error("there is no such device")]
    NoDevice,
    /// IPv4 does not run on the device: its MTU is too small.
    #[error("the device does no IPv4")]
    NoInet,
    /// The device has that address already.
    #[error("the device has that address")]
    Exists,
    /// The first address of the prefix has another scope.
    #[error("the first address of the prefix has another scope")]
    Scope,
    /// The group of an address that is to join it is none, or was joined by another address.
    #[error("the address cannot be joined as a group")]
    AutoJoin(JoinError),
    /// The device has no such address.
    #[error("the device has no such address")]
    NotFound,
    /// The address is of another family, or cannot be a host's.
    #[error("not an address that a host can have")]
    BadAddress,
    /// The mask has ones behind a zero.
    #[error("not a netmask")]
    BadMask,
}

/// Why a group cannot be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Not a multicast address.
    #[error("not a multicast address")]
    NotMulticast,
    /// Joined already.
    #[error("the group was joined already")]
    Joined,
    /// As many as may be (`igmp_max_memberships`).
    #[error("too many groups were joined")]
    TooMany,
}

impl Addr4Error {
    /// The errno that Linux gives.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::NoDevice => errno::ENODEV,
            Self::NoInet | Self::AutoJoin(JoinError::TooMany) => errno::ENOBUFS,
            Self::Exists => errno::EEXIST,
            Self::AutoJoin(JoinError::Joined) => errno::EADDRINUSE,
            Self::Scope | Self::AutoJoin(JoinError::NotMulticast) | Self::BadAddress | Self::BadMask => errno::EINVAL,
            Self::NotFound => errno::EADDRNOTAVAIL,
        }
    }

    /// What Linux says beside it.
    #[must_use]
    pub const fn text(self) -> Option<&'static str> {
        match self {
            Self::NoDevice => Some("ipv4: Device not found"),
            Self::Exists => Some("ipv4: Address already assigned"),
            Self::Scope => Some("ipv4: Invalid scope value"),
            Self::AutoJoin(_) => Some("ipv4: Multicast auto join failed"),
            Self::NotFound => Some("ipv4: Address not found"),
            Self::NoInet | Self::BadAddress | Self::BadMask => None,
        }
    }
}
