//! Asking for a neighbour (`neigh_probe`).

use std::net::IpAddr;

use super::entry::Entry;
use super::parms::NeighParm;
use super::state::NeighState;
use crate::dev::Link;
use crate::l2::{self, Frame, Work};
use crate::l3;
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Sends the question that `entry` has just counted. `source` is who sends the packet for which it is asked, if there is one:
/// he asks.
pub(super) fn ask(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link, entry: &Entry, source: Option<IpAddr>) {
    let parms = super::read::parms(ns.state(), link.index(), entry.family());
    let before = entry.probes.saturating_sub(1);
    let unicasts = parms.count(NeighParm::UcastProbes);
    // Who is known to be there is asked himself first.
    let at = if before < unicasts {
        if !entry.state.is(NeighState::VALID) {
            return;
        }
        Some(entry.address)
    } else if before < unicasts.saturating_add(parms.count(NeighParm::AppProbes)) {
        // A program is to find out, which sees the entry and writes what it found.
        return;
    } else {
        None
    };
    let frame = match entry.dst {
        IpAddr::V4(target) => {
            let source = if let Some(IpAddr::V4(source)) = source { Some(source) } else { None };
            l2::arp_request(ns, link, target, source, at.as_ref())
        }
        IpAddr::V6(target) => {
            let source = if let Some(IpAddr::V6(source)) = source { Some(source) } else { None };
            l3::ndisc_solicit(ns, link, target, source, at.as_ref())
        }
    };
    if let Some(frame) = frame {
        l2::later(rtnl.stack(), ns, Work::Xmit(link.index(), frame));
    }
}

/// The source address of a packet to `dst`.
pub(super) fn source_of(packet: &Frame, dst: IpAddr) -> Option<IpAddr> {
    let bytes = packet.data();
    match dst {
        IpAddr::V4(_) => bytes.get(12..16)?.first_chunk::<4>().map(|&bytes| bytes.into()),
        IpAddr::V6(_) => bytes.get(8..24)?.first_chunk::<16>().map(|&bytes| bytes.into()),
    }
}
