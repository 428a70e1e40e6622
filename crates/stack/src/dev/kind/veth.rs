//! Two devices and a cable between them: what one sends the other receives, wherever the other is.

use std::sync::Arc;

use crate::dev::class::{ETHER, LinkClass, Queues};
use crate::dev::request::LinkChange;
use crate::dev::{Link, watch};
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Ends of cables.
pub static VETH: LinkClass =
    LinkClass { kind: Some("veth"), max_mtu: 65_535, carrier: false, queues: Queues::PerCpu, ..ETHER };

/// The other end, as the request describes it; what it says of neither end is the kind's.
#[derive(Clone, Debug, Default)]
pub struct VethPeer {
    /// The index it must have.
    pub index: Option<u32>,
    /// Number of transmit queues.
    pub tx_queues: Option<u32>,
    /// Number of receive queues.
    pub rx_queues: Option<u32>,
    /// Its properties, `net` among them; `None` if the request does not describe it.
    pub change: Option<LinkChange>,
}

/// A cable carries when both ends are up.
pub(super) fn open(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    let up = rtnl.with_lower(ns, link, |rtnl, peer_ns, peer| {
        if peer.is_up() {
            watch::set_carrier(rtnl, ns, link.index(), true);
            watch::set_carrier(rtnl, peer_ns, peer.index(), true);
        }
    });
    let _ = up;
}

pub(super) fn stop(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    watch::set_carrier(rtnl, ns, link.index(), false);
    let _ = rtnl.with_lower(ns, link, |rtnl, peer_ns, peer| watch::set_carrier(rtnl, peer_ns, peer.index(), false));
}
