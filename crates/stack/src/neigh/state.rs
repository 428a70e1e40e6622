//! What is believed of a neighbour, numbered as `NUD_*`.

/// A set of `NUD_*` bits. Entries have one of them or none; a request may name several, and gets what it asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NeighState(pub u8);

impl NeighState {
    /// Nothing is known, nobody asked.
    pub const NONE: Self = Self(0);
    /// It is being asked for.
    pub const INCOMPLETE: Self = Self(0x01);
    /// It answered lately.
    pub const REACHABLE: Self = Self(0x02);
    /// It may still be there.
    pub const STALE: Self = Self(0x04);
    /// It was used, and will be asked unless it shows itself.
    pub const DELAY: Self = Self(0x08);
    /// It is being asked whether it is still there.
    pub const PROBE: Self = Self(0x10);
    /// Nobody answered.
    pub const FAILED: Self = Self(0x20);
    /// It needs no asking.
    pub const NOARP: Self = Self(0x40);
    /// An administrator said so.
    pub const PERMANENT: Self = Self(0x80);

    /// Packets may be sent without asking.
    pub const CONNECTED: Self = Self(Self::PERMANENT.0 | Self::NOARP.0 | Self::REACHABLE.0);
    /// The link-layer address is known.
    pub const VALID: Self = Self(Self::CONNECTED.0 | Self::PROBE.0 | Self::STALE.0 | Self::DELAY.0);
    /// Something happens by itself.
    pub const IN_TIMER: Self = Self(Self::INCOMPLETE.0 | Self::REACHABLE.0 | Self::DELAY.0 | Self::PROBE.0);

    /// Whether any of the bits of `of` is set.
    #[must_use]
    pub const fn is(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// Either's bits.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
