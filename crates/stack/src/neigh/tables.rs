//! What holds for a table as a whole, and changes of its settings (`neightbl_set`).

use pernet::Net;

use super::entry::NeighFamily;
use super::parms::{NeighParm, kept_time, queue_bytes, queue_packets};
use super::read;
use super::{NeighParms, kind};
use crate::dev::Stack;
use crate::errno;
use crate::rtnl::Rtnl;

/// Entries below which nothing is collected, above which much is, and above which no more come. Every namespace reads
/// these and only the initial one of a machine may change them, which no emulated namespace is.
pub const GC_THRESHOLDS: [u32; 3] = [128, 512, 1024];
/// Milliseconds between collections.
pub const GC_INTERVAL_MS: u64 = 30_000;

/// Why a table's settings cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NeighTableError {
    /// No device with that index has neighbours of the family.
    #[error("no such device or table")]
    NotFound,
}

impl NeighTableError {
    /// The errno Linux gives in this case.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::NotFound => errno::ENOENT,
        }
    }
}

/// A setting as it comes from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParmValue {
    /// A count.
    Count(NeighParm, u32),
    /// Milliseconds.
    Time(NeighParm, u64),
    /// The length of the queue in packets.
    QueuePackets(u32),
}

impl NeighParms {
    /// The length of the queue in packets.
    #[must_use]
    pub const fn queue_packets(&self) -> u32 {
        queue_packets(self.get(NeighParm::QueueLenBytes))
    }

    fn take(&mut self, value: ParmValue) {
        match value {
            ParmValue::Count(parm, value) => self.set(parm, value.cast_signed()),
            ParmValue::Time(parm, ms) => self.set(parm, kept_time(ms)),
            ParmValue::QueuePackets(packets) => self.set(NeighParm::QueueLenBytes, queue_bytes(packets)),
        }
    }
}

impl Rtnl<'_> {
    /// Changes settings of a table on a device, in order.
    ///
    /// # Errors
    /// [`NeighTableError::NotFound`]; nothing has changed then.
    pub fn set_neigh_parms(
        &mut self,
        net: &Net,
        family: NeighFamily,
        ifindex: u32,
        values: &[ParmValue],
    ) -> Result<(), NeighTableError> {
        let ns = self.ns(net).ok_or(NeighTableError::NotFound)?;
        let link = ns.links.by_index(ifindex).filter(|l| kind::does(l, family)).ok_or(NeighTableError::NotFound)?;
        let before = read::parms(ns.state(), link.index(), family);
        let mut parms = before;
        values.iter().for_each(|value| parms.take(*value));
        if parms != before {
            ns.neigh.write().parms.set(link.index(), family, parms);
        }
        Ok(())
    }
}

impl Stack {
    /// The devices that have a table of the family, the youngest first, as Linux lists them.
    #[must_use]
    pub fn neigh_devices(&self, net: &Net, family: NeighFamily) -> Vec<u32> {
        let Some(links) = self.links(net) else { return Vec::new() };
        links.all().iter().rev().filter(|l| kind::does(l, family)).map(|l| l.index()).collect()
    }
}
