//! Neighbours: who is where on a link, in either family (`struct neighbour`, `arp_tbl` and `nd_tbl`).
//!
//! Entries are made by hand (`ip neigh`, `arp`); what changes with time alone changes here too: what was reachable gets
//! stale, what nobody answers for fails. Reports are taken under the part's lock and carry ages, not moments.

mod change;
mod device;
mod entry;
mod gc;
mod ioctl;
mod kind;
mod output;
mod parms;
mod proc;
mod read;
mod solicit;
mod state;
mod table;
mod tables;
mod timer;
mod update;

pub(crate) use change::became_broadcast;
pub use change::{NeighError, NeighKey, NewNeigh, ProxyKey};
pub(crate) use device::{ifdown, netdev_event};
pub use entry::{NeighFamily, NeighFlags, NeighProxy, NeighReport};
pub use ioctl::{ArpError, ArpFlags, ArpRequest};
pub(crate) use kind::does;
pub(crate) use output::{Heard, ask_for, connected, heard, is_valid, output};
pub use parms::{NeighParm, NeighParms};
pub(crate) use parms::{queue_bytes, queue_packets, ticks};
pub(crate) use proc::proc_arp;
pub(crate) use read::parms;
pub use read::{NeighPage, ProxyPage};
pub use state::NeighState;
pub(crate) use table::Neighbours;
pub use tables::{GC_INTERVAL_MS, GC_THRESHOLDS, NeighTableError, ParmValue};
pub(crate) use timer::{Timer, timer};

/// A setting of a device's table.
pub(crate) fn parm(ns: crate::state::Ns<'_>, ifindex: u32, family: NeighFamily, parm: NeighParm) -> i32 {
    read::parms(ns.state(), ifindex, family).get(parm)
}

/// Writes a setting of a device's table. Under rtnl.
pub(crate) fn set_parm(ns: crate::state::Ns<'_>, ifindex: u32, family: NeighFamily, parm: NeighParm, value: i32) {
    let mut parms = read::parms(ns.state(), ifindex, family);
    if parms.get(parm) != value {
        parms.set(parm, value);
        ns.neigh.write().parms.set(ifindex, family, parms);
    }
}

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NeighNotice {
    /// An entry is new or was changed (`RTM_NEWNEIGH`).
    New(NeighReport),
    /// An entry is gone (`RTM_DELNEIGH`).
    Gone(NeighReport),
}
