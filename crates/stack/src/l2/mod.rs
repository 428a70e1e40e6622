//! Layer 2: frames, and how they get from one device to the next (`net/core/dev.c`, `net/ethernet`, `net/ipv4/arp.c`).
//!
//! A frame is moved, never copied, from who sends it to who receives it: [`dev_queue_xmit`](xmit::dev_queue_xmit) puts it
//! into the [`Backlog`] of the namespace that the device leads to, and marks that namespace as one with something to
//! receive. [`Stack::run_packets`] takes those namespaces one after the other. So no more than one namespace's packets are
//! in hand of a thread, and what a packet causes elsewhere is not done deeper in the same call.
//!
//! A namespace's backlog is emptied by one thread at a time: packets of one sender stay in order.

mod arp;
mod backlog;
mod bridge;
mod buffer;
mod count;
mod eth;
mod frame;
mod receive;
mod stamp;
mod tap;
#[cfg(test)]
mod tests;
mod trail;
mod tun;
mod upper;
mod vxlan;
mod work;
mod xmit;

pub(crate) use arp::arp_request;
pub(crate) use backlog::{Backlog, Softnet, later, netif_rx};
pub(crate) use count::{count, counters};
pub(crate) use eth::{HLEN as ETH_HLEN, hard_header, push_header, push_made};
pub(crate) use frame::{Checksum, Frame, PacketType};
pub(crate) use stamp::{Reached, Stamps, Told};
#[cfg(test)]
pub(crate) use tap::seen;
pub(crate) use trail::{Crossing, Noted, Trail};
pub(crate) use tun::Cables;
pub use tun::TunQueue;
pub(crate) use upper::Tag;
pub(crate) use vxlan::vxlan_rcv;
pub(crate) use work::{Work, work_at};
pub(crate) use xmit::{dev_queue_xmit, receive_again, xmit_list};

use pernet::Net;

use crate::dev::Stack;
use crate::state::{NetState, Ns};

/// `ETH_P_*`.
pub(crate) mod ethertype {
    pub(crate) const IP: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const IPV6: u16 = 0x86dd;
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const QINQ: u16 = 0x88a8;
    /// A frame with a length in that place.
    pub(crate) const LLC: u16 = 4;
}

/// A living namespace as its packets see it: they change no configuration, so nobody holds rtnl for them.
///
/// Where a packet does change some (a neighbour answers), it takes rtnl for that moment. Who holds rtnl therefore takes no
/// lock of a socket and runs no packets: what a change sends goes into a backlog, and waits there until rtnl is free.
#[derive(Clone, Copy)]
pub(crate) struct Cx<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) net: &'a Net,
    pub(crate) state: &'a NetState,
}

impl<'a> Cx<'a> {
    /// `None` if the namespace is of another system.
    pub(crate) fn new(stack: &'a Stack, net: &'a Net) -> Option<Self> {
        Some(Self { stack, net, state: stack.state(net)? })
    }

    pub(crate) const fn ns(self) -> Ns<'a> {
        Ns::living(self.state, self.net)
    }

    /// The time now, on the stack's clock.
    pub(crate) fn now(self) -> std::time::Duration {
        self.stack.inner().clock.now()
    }
}
