//! Device flags (`IFF_*`).

use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// A set of `IFF_*` bits, numbered as in `<linux/if.h>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IfFlags(u32);

impl IfFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Administratively up.
    pub const UP: Self = Self(0x1);
    /// Has a broadcast address.
    pub const BROADCAST: Self = Self(0x2);
    /// Is a loopback device.
    pub const LOOPBACK: Self = Self(0x8);
    /// Is a point-to-point link.
    pub const POINTOPOINT: Self = Self(0x10);
    /// Operational state is up or unknown (derived, never stored).
    pub const RUNNING: Self = Self(0x40);
    /// Needs no neighbour resolution.
    pub const NOARP: Self = Self(0x80);
    /// Receives everything.
    pub const PROMISC: Self = Self(0x100);
    /// Receives all multicast.
    pub const ALLMULTI: Self = Self(0x200);
    /// Is the master of a bundle.
    pub const MASTER: Self = Self(0x400);
    /// Is the slave of a bundle.
    pub const SLAVE: Self = Self(0x800);
    /// Chooses its media by itself.
    pub const AUTOMEDIA: Self = Self(0x4000);
    /// Can choose its media.
    pub const PORTSEL: Self = Self(0x2000);
    /// Loses its addresses when it goes down.
    pub const DYNAMIC: Self = Self(0x8000);
    /// Wants no trailers.
    pub const NOTRAILERS: Self = Self(0x20);
    /// Debugging is on.
    pub const DEBUG: Self = Self(0x4);
    /// Can do multicast.
    pub const MULTICAST: Self = Self(0x1000);
    /// The physical layer has a signal (derived, never stored).
    pub const LOWER_UP: Self = Self(0x1_0000);
    /// Waits for an external event (derived, never stored).
    pub const DORMANT: Self = Self(0x2_0000);

    /// The set with these bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits of the set.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all flags of `other` are in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The union of both sets, for constants.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for IfFlags {
    type Output = Self;
    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

impl BitOrAssign for IfFlags {
    fn bitor_assign(&mut self, rhs: Self) {
        self.0 |= rhs.0;
    }
}

impl BitAnd for IfFlags {
    type Output = Self;
    fn bitand(self, rhs: Self) -> Self {
        Self(self.0 & rhs.0)
    }
}

impl Not for IfFlags {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}
