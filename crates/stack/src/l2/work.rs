//! What is to be done in a namespace when nobody holds a lock.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Weak;
use std::time::Duration;

use pernet::Origin;

use super::{Cx, Frame, arp, bridge, xmit};
use crate::rtnl::Timer;
use crate::{l3, l4};

/// Something that whoever holds rtnl wants sent, or that needs locks which he may not take.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A frame with its link-layer header is to go out by the device with this index.
    Xmit(u32, Frame),
    /// The neighbour that this packet was for did not answer (`dst_link_failure`).
    LinkFailure(u32, Frame),
    /// A question for an address that this host answers for has waited long enough.
    ArpProxied(u32, Frame),
    /// The time is over of a packet whose parts did not all come.
    FragExpire(Box<l3::FragKey>, u64),
    /// A switch or a tunnel looks through the addresses that it learnt.
    FdbAge(u32),
    /// Routers are to be told of groups.
    TellGroups(l3::GroupsOn),
    /// A router asked for a group.
    AnswerGroups(l3::GroupsOn, IpAddr),
    /// An address is being checked: the link is to be asked for it.
    DadSolicit {
        /// The device.
        ifindex: u32,
        /// The address.
        addr: Ipv6Addr,
        /// Of which check: a later one asks for itself.
        round: u32,
    },
    /// Routers are to be asked for on the device with this index.
    RouterSolicit(u32),
    /// The device with this index went down, or, if that is said, away: packet sockets are told.
    DeviceGone(u32, bool),
    /// The time may be over of a block in the ring of this packet socket.
    RetireBlock(Weak<l4::packet::PacketSock>),
}

/// Has `work` done at `when`, on the stack's clock.
pub(crate) fn work_at(cx: Cx<'_>, when: Duration, work: Work) {
    cx.stack.rtnl(Origin::KERNEL).set_timer(cx.ns(), when, Timer::Work(Box::new(work)));
}

impl Work {
    pub(super) fn run(self, cx: Cx<'_>) {
        match self {
            Self::Xmit(ifindex, frame) => {
                if let Some(link) = cx.state.links.by_index(ifindex) {
                    // Nobody waits for the answer.
                    let _ = xmit::dev_queue_xmit(cx, &link, frame);
                }
            }
            Self::LinkFailure(ifindex, frame) => l3::link_failure(cx, ifindex, frame),
            Self::ArpProxied(ifindex, frame) => arp::proxied(cx, ifindex, &frame),
            Self::FragExpire(key, round) => l3::frag_expire(cx, &key, round),
            Self::DeviceGone(ifindex, gone) => l4::packet::device_gone(cx, ifindex, gone),
            Self::RetireBlock(sock) => l4::packet::retire_block(cx, &sock),
            Self::FdbAge(ifindex) => bridge::age(cx, ifindex),
            Self::TellGroups(on) => l3::tell_groups(cx, on),
            Self::AnswerGroups(on, group) => l3::answer_groups(cx, on, group),
            Self::RouterSolicit(ifindex) => l3::router_solicit(cx, ifindex),
            Self::DadSolicit { ifindex, addr, round } => l3::dad_solicit(cx, ifindex, addr, round),
        }
    }
}
