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

/// Sends the question that `entry` has just counted. `packet` is what it is asked for, if anything is: who sends it asks.
pub(super) fn ask(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link, entry: &Entry, packet: Option<&Frame>) {
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
            let source = packet.and_then(source4);
            l2::arp_request(ns, link, target, source, at.as_ref())
        }
        IpAddr::V6(target) => {
            let source = packet.and_then(source6);
            l3::ndisc_solicit(ns, link, target, source, at.as_ref())
        }
    };
    if let Some(frame) = frame {
        l2::later(rtnl.stack(), ns, Work::Xmit(link.index(), frame));
    }
}

/// The source address of an IPv4 packet.
fn source4(packet: &Frame) -> Option<std::net::Ipv4Addr> {
    let bytes: [u8; 4] = packet.data().get(12..16)?.try_into().ok()?;
    Some(bytes.into())
}

/// The source address of an IPv6 packet.
fn source6(packet: &Frame) -> Option<std::net::Ipv6Addr> {
    let bytes: [u8; 16] = packet.data().get(8..24)?.try_into().ok()?;
    Some(bytes.into())
}
