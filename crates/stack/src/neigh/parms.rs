//! How the tables behave on a device (`struct neigh_parms`): `ip ntable`, `net.*.neigh.DEV`.

use std::collections::BTreeMap;

use super::entry::NeighFamily;

/// A setting. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NeighParm {
    /// Multicast questions before giving up.
    McastProbes,
    /// Unicast questions before giving up.
    UcastProbes,
    /// Questions to a program before multicast ones.
    AppProbes,
    /// Multicast questions when unicast ones failed for a known neighbour.
    McastReprobes,
    /// Time between questions.
    RetransTime,
    /// How long an answer is believed, about.
    BaseReachableTime,
    /// Time from use to the first question.
    DelayProbeTime,
    /// Time between refreshes of managed entries.
    IntervalProbeTime,
    /// Time after which what is not used is collected.
    GcStaleTime,
    /// Bytes of packets kept while an answer is waited for.
    QueueLenBytes,
    /// Packets kept while a proxied answer waits.
    ProxyQlen,
    /// Longest wait before answering for an anycast address.
    AnycastDelay,
    /// Longest wait before answering for somebody else.
    ProxyDelay,
    /// Time for which an answer is not replaced by another.
    Locktime,
}

const PARMS: usize = 14;

/// The settings of a table on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighParms([i32; PARMS]);

impl NeighParms {
    /// Those of a new device.
    #[must_use]
    pub const fn born(family: NeighFamily) -> Self {
        let locktime = match family {
            NeighFamily::V4 => 1000,
            NeighFamily::V6 => 0,
        };
        Self([3, 3, 0, 0, 1000, 30_000, 5000, 5000, 60_000, 212_992, 64, 1000, 800, locktime])
    }

    /// One of them.
    #[must_use]
    pub const fn get(&self, parm: NeighParm) -> i32 {
        self.0[parm as usize]
    }

    pub(super) const fn set(&mut self, parm: NeighParm, value: i32) {
        self.0[parm as usize] = value;
    }

    /// A duration, as milliseconds that can be counted with.
    pub(super) fn time(&self, parm: NeighParm) -> i64 {
        i64::from(self.get(parm).max(0))
    }

    pub(super) fn count(&self, parm: NeighParm) -> u32 {
        self.get(parm).cast_unsigned()
    }

    /// How long an answer is believed on this device: half to one and a half of the base time, as RFC 4861 wants it
    /// spread. `salt` decides where in between, so that a reader finds it the same each time.
    #[must_use]
    pub fn reachable_time(&self, salt: u32) -> u32 {
        let base = self.get(NeighParm::BaseReachableTime).cast_unsigned();
        if base == 0 {
            return 0;
        }
        // Multiplying spreads neighbouring indexes over the whole range.
        let spread = (u64::from(salt.wrapping_mul(0x9e37_79b1) >> 1) * u64::from(base)) >> 31;
        tick(base / 2 + u32::try_from(spread).unwrap_or(0))
    }
}

/// Bytes that a packet of an Ethernet's size takes in memory: the unit in which the length of a queue is told.
const PACKET: i32 = 2090;

/// The length of the queue in packets (`unres_qlen`).
pub(crate) const fn queue_packets(bytes: i32) -> u32 {
    bytes.cast_unsigned() / PACKET.cast_unsigned()
}

/// The bytes for so many packets; beyond what fits it wraps, as on Linux.
pub(crate) const fn queue_bytes(packets: u32) -> i32 {
    packets.cast_signed().wrapping_mul(PACKET)
}

/// Linux counts time in ticks of four milliseconds: a time is rounded up to one.
const fn tick(ms: u32) -> u32 {
    ms.div_ceil(4).saturating_mul(4)
}

/// As [`tick`], of what a setting was given: nothing is below nothing.
pub(crate) fn ticks(ms: i64) -> i64 {
    u32::try_from(ms).map_or(-8, |ms| tick(ms).into())
}

/// A time from the wire, as Linux keeps it: what does not fit becomes the longest it knows, which reads as -8 ms.
pub(super) const fn kept_time(ms: u64) -> i32 {
    match (ms & 0xffff_ffff) as u32 {
        beyond if beyond > i32::MAX.cast_unsigned() => -8,
        ms => tick(ms).cast_signed(),
    }
}

/// The settings of all devices of a namespace; those that nobody changed are not stored.
#[derive(Debug, Default)]
pub(super) struct ParmsTable(BTreeMap<(u32, NeighFamily), Box<NeighParms>>);

impl ParmsTable {
    pub(super) fn get(&self, ifindex: u32, family: NeighFamily) -> NeighParms {
        self.0.get(&(ifindex, family)).map_or_else(|| NeighParms::born(family), |parms| **parms)
    }

    pub(super) fn set(&mut self, ifindex: u32, family: NeighFamily, parms: NeighParms) {
        if parms == NeighParms::born(family) {
            self.0.remove(&(ifindex, family));
        } else {
            self.0.insert((ifindex, family), Box::new(parms));
        }
    }

    pub(super) fn forget(&mut self, ifindex: u32) {
        for family in [NeighFamily::V4, NeighFamily::V6] {
            self.0.remove(&(ifindex, family));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_in_ticks() {
        for (given, kept) in [(0, 0), (1, 4), (1000, 1000), (9, 12), (1 << 31, -8), (1 << 32, 0), (u64::MAX, -8)] {
            assert_eq!(kept_time(given), kept, "{given}");
        }
    }

    #[test]
    fn what_was_put_back_is_not_stored() {
        let mut table = ParmsTable::default();
        let mut parms = table.get(3, NeighFamily::V4);
        parms.set(NeighParm::RetransTime, 300);
        table.set(3, NeighFamily::V4, parms);
        assert_eq!(table.get(3, NeighFamily::V4).get(NeighParm::RetransTime), 300);
        assert_eq!(table.get(3, NeighFamily::V6).get(NeighParm::RetransTime), 1000);
        table.set(3, NeighFamily::V4, NeighParms::born(NeighFamily::V4));
        assert!(table.0.is_empty());
    }

    #[test]
    fn answers_are_believed_half_to_one_and_a_half_of_the_base_time() {
        let parms = NeighParms::born(NeighFamily::V4);
        for salt in 0..1000 {
            assert!((15_000..=45_004).contains(&parms.reachable_time(salt)));
        }
    }

    #[test]
    fn queues_are_told_in_packets() {
        assert_eq!(queue_packets(212_992), 101);
        assert_eq!((queue_bytes(100), queue_bytes(i32::MAX as u32)), (209_000, -2090));
    }
}
