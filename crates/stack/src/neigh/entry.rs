//! An entry, and what is told of it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use super::state::NeighState;
use crate::dev::HwAddr;

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NeighFamily {
    /// `arp_tbl`.
    V4,
    /// `nd_tbl`.
    V6,
}

impl NeighFamily {
    /// The table in which an address is.
    #[must_use]
    pub const fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// `NTF_*` of an entry, those of `NDA_FLAGS_EXT` above bit 8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NeighFlags(pub u32);

impl NeighFlags {
    /// Use it now: ask if need be. Never kept.
    pub const USE: Self = Self(0x01);
    /// Answer for it.
    pub const PROXY: Self = Self(0x08);
    /// A control plane learned it; it is not collected.
    pub const EXT_LEARNED: Self = Self(0x10);
    /// It is a router.
    pub const ROUTER: Self = Self(0x80);
    /// Keep it fresh without traffic.
    pub const MANAGED: Self = Self(0x1_00);
    /// A control plane vouches for it: it is never failed nor taken away for lack of an answer.
    pub const EXT_VALIDATED: Self = Self(0x4_00);

    /// Whether any of the bits of `of` is set.
    #[must_use]
    pub const fn has(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// The byte of the message's header.
    #[must_use]
    pub const fn low(self) -> u8 {
        (self.0 & 0xff) as u8
    }

    /// The value of `NDA_FLAGS_EXT`.
    #[must_use]
    pub const fn ext(self) -> u32 {
        self.0 >> 8
    }

    /// From the header's byte and the attribute.
    #[must_use]
    pub const fn from_wire(low: u8, ext: u32) -> Self {
        Self(low as u32 | ext << 8)
    }

    pub(super) const fn set(&mut self, bit: Self, on: bool) {
        if on {
            self.0 |= bit.0;
        } else {
            self.0 &= !bit.0;
        }
    }
}

/// A moment that packets note while they only look at the table: of two that do so at once either may be the last.
#[derive(Debug, Default)]
pub(super) struct Moment(AtomicI64);

impl Moment {
    pub(super) const fn new(at: i64) -> Self {
        Self(AtomicI64::new(at))
    }

    pub(super) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, at: i64) {
        self.0.store(at, Ordering::Relaxed);
    }
}

impl Clone for Moment {
    fn clone(&self) -> Self {
        Self::new(self.get())
    }
}

/// An entry as it is in the table. Moments are milliseconds on the stack's clock.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) dst: IpAddr,
    pub(super) ifindex: u32,
    pub(super) state: NeighState,
    pub(super) flags: NeighFlags,
    /// `RTN_*` of the address.
    pub(super) kind: u8,
    pub(super) protocol: u8,
    pub(super) address: HwAddr,
    pub(super) probes: u32,
    /// May be before the clock began: a new entry counts as confirmed long ago.
    pub(super) confirmed: Moment,
    pub(super) used: Moment,
    pub(super) updated: i64,
    /// When its state is due for the next look; `None` if nothing happens by itself.
    pub(super) due: Option<i64>,
    /// When it is to be used again by itself (managed entries).
    pub(super) refresh: Option<i64>,
    /// It came while the device asked for nobody (`IFF_NOARP`).
    pub(super) noarp_device: bool,
}

impl Entry {
    pub(super) const fn family(&self) -> NeighFamily {
        NeighFamily::of(&self.dst)
    }

    /// Whether it counts for, and may fall to, the collection of what nobody uses.
    pub(super) const fn collectable(&self) -> bool {
        !self.state.is(NeighState::PERMANENT) && !self.flags.has(NeighFlags::EXT_LEARNED)
    }

    /// How it looks at `now`. `held` says that somebody has it in hand, which the count of references shows.
    pub(super) fn report(&self, now: i64, held: bool) -> NeighReport {
        NeighReport {
            id: self.id,
            dst: self.dst,
            ifindex: self.ifindex,
            state: self.state,
            flags: self.flags,
            kind: self.kind,
            protocol: self.protocol,
            address: self.state.is(NeighState::VALID).then_some(self.address),
            probes: self.probes,
            confirmed: age(now, self.confirmed.get()),
            used: age(now, self.used.get()),
            updated: age(now, self.updated),
            refcnt: u32::from(held) + u32::from(self.due.is_some()),
        }
    }
}

/// Hundredths of a second, as `USER_HZ` has it.
fn age(now: i64, then: i64) -> u32 {
    u32::try_from((now - then).max(0) / 10).unwrap_or(u32::MAX)
}

/// An entry as dumps and listeners see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighReport {
    /// Number of the entry in its namespace: where a listing goes on.
    pub id: u64,
    /// Who.
    pub dst: IpAddr,
    /// On which device.
    pub ifindex: u32,
    /// What is believed.
    pub state: NeighState,
    /// `NTF_*`.
    pub flags: NeighFlags,
    /// `RTN_*` of the address: 1 unicast, 2 local, 3 broadcast, 5 multicast.
    pub kind: u8,
    /// `RTPROT_*` of who made it, 0 if that was not said.
    pub protocol: u8,
    /// Where it is, if that is known.
    pub address: Option<HwAddr>,
    /// Questions asked without an answer.
    pub probes: u32,
    /// Hundredths of a second since it was known to be there.
    pub confirmed: u32,
    /// Since it was used.
    pub used: u32,
    /// Since its state or address changed.
    pub updated: u32,
    /// References besides the table's.
    pub refcnt: u32,
}

/// An address that is answered for (`struct pneigh_entry`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighProxy {
    /// Number of the entry in its namespace.
    pub id: u64,
    /// For whom.
    pub dst: IpAddr,
    /// On which device; 0 for any.
    pub ifindex: u32,
    /// `NTF_*` as they were given.
    pub flags: NeighFlags,
    /// `RTPROT_*`.
    pub protocol: u8,
    /// It stays when the device loses its carrier.
    pub permanent: bool,
}
