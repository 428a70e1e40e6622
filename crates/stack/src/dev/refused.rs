//! Why a change of links is refused.

use std::borrow::Cow;

use super::{LinkError, NameError};
use crate::errno;

/// The part of a request that a refusal points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blame {
    /// `IFLA_ADDRESS`.
    Address,
    /// `IFLA_MTU`.
    Mtu,
    /// `IFLA_IFNAME`.
    Name,
    /// `IFLA_LINKINFO`'s kind.
    Kind,
    /// `IFLA_MASTER`.
    Master,
    /// An attribute of the kind's data, by its number.
    Data(u16),
    /// An attribute of the port's data, by its number.
    Port(u16),
}

/// Why a change of links is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkRefused {
    /// The table cannot take it.
    #[error(transparent)]
    Table(#[from] LinkError),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The namespace is of another system.
    #[error("the namespace has no devices")]
    NoStack,
    /// The kind cannot be made by rtnetlink, or not at all.
    #[error("links of this kind are not made by request")]
    NotMade,
    /// The device is below the smallest MTU it takes.
    #[error("mtu less than device minimum")]
    MtuTooSmall,
    /// It is beyond the largest.
    #[error("mtu greater than device maximum")]
    MtuTooLarge,
    /// The address has too few bytes.
    #[error("the address is too short")]
    AddressTooShort,
    /// The address is one of many, or zero.
    #[error("the address is not one of a device")]
    BadAddress,
    /// The device does not change it.
    #[error("the device does not allow that")]
    NotSupported,
    /// It must be down first.
    #[error("the device is up")]
    Busy,
    /// A plain errno of Linux, perhaps with its text, perhaps pointing somewhere.
    #[error("{}", .1.as_deref().unwrap_or("refused"))]
    Says(i32, Option<Cow<'static, str>>, Option<Blame>),
}

impl LinkRefused {
    /// An errno without a text.
    #[must_use]
    pub const fn plain(errno: i32) -> Self {
        Self::Says(errno, None, None)
    }

    /// An errno with a text.
    #[must_use]
    pub const fn says(errno: i32, text: &'static str) -> Self {
        Self::Says(errno, Some(Cow::Borrowed(text)), None)
    }

    /// An errno with a text about a part of the request.
    #[must_use]
    pub const fn blames(errno: i32, text: &'static str, blame: Blame) -> Self {
        Self::Says(errno, Some(Cow::Borrowed(text)), Some(blame))
    }

    /// The errno Linux gives.
    #[must_use]
    pub const fn errno(&self) -> i32 {
        match self {
            Self::Table(error) => error.errno(),
            Self::Name(error) => error.errno(),
            Self::NoStack => errno::ENODEV,
            Self::NotMade | Self::NotSupported => errno::EOPNOTSUPP,
            Self::MtuTooSmall | Self::MtuTooLarge | Self::AddressTooShort => errno::EINVAL,
            Self::BadAddress => errno::EADDRNOTAVAIL,
            Self::Busy => errno::EBUSY,
            Self::Says(errno, ..) => *errno,
        }
    }

    /// The text Linux gives beside it, if any.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::MtuTooSmall => Some("mtu less than device minimum".into()),
            Self::MtuTooLarge => Some("mtu greater than device maximum".into()),
            Self::Says(_, text, _) => text.clone(),
            _ => None,
        }
    }

    /// The part of the request it points at.
    #[must_use]
    pub const fn blame(&self) -> Option<Blame> {
        match self {
            Self::Says(.., blame) => *blame,
            _ => None,
        }
    }
}
