//! Layer 3: which way a packet goes, and what becomes of one that came (`net/ipv4`, `net/ipv6`).
//!
//! The ways in and out:
//! - [`ip_rcv`] takes what layer 2 received; what is for this host goes to [`crate::l4::deliver`], the rest is forwarded.
//! - Sockets ask for a way by [`route_output`] and send along it by [`ip_output`].
//! - An error that concerns a packet of ours (an ICMP message, a packet that was too large) goes to [`crate::l4::error`].

mod checksum;
mod exception;
mod flows;
mod frag;
mod gso;
mod headers;
mod limit;
mod list;
mod report;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod v4;
mod v6;

pub(crate) use checksum::{finish_checksum, internet_checksum, pseudo_header_sum};
pub use exception::{Learned, Listing};
pub(crate) use exception::{Listed, Path, RouteId, device_mtu, flush4, forget, learned, learned_any};
pub(crate) use frag::{Key as FragKey, expire as frag_expire};
pub(crate) use gso::{cut, exceeds};
pub(crate) use headers::headers_of;
pub(crate) use report::{
    Hears, On as GroupsOn, answer as answer_groups, changed as group_changed, sources_changed as group_sources_changed,
    tell as tell_groups,
};
pub(crate) use state::L3;
pub(crate) use v4::{echo_options, options_make_sense};
pub(crate) use v6::solicit as ndisc_solicit;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::dev::Link;
use crate::inet6::Prefer;
use crate::l2::{Cx, Frame, PacketType, ethertype};
use crate::mib::{Ip, Ip6};

/// What a way is asked for (`struct flowi`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) dst: IpAddr,
    /// If it is decided already.
    pub(crate) src: Option<IpAddr>,
    /// Device it must leave by; 0 for any.
    pub(crate) oif: u32,
    /// So it must wherever it comes from: the socket is bound to that device.
    pub(crate) bound: bool,
    pub(crate) mark: u32,
    pub(crate) tos: u8,
    pub(crate) protocol: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) uid: u32,
    /// IPv6's, 20 bits.
    pub(crate) flow_label: u32,
    /// The destination is a neighbour, whatever routes say (`SO_DONTROUTE`).
    pub(crate) on_link: bool,
    /// The source need not be an address of ours (`IP_TRANSPARENT`, and raw sockets that write it themselves; with
    /// `IP_FREEBIND` it may be bound to, and no more). Of IPv6 nobody asks.
    pub(crate) any_source: bool,
    /// Which of our addresses is to be the source, if it is not decided.
    pub(crate) prefer: Prefer,
}

impl Flow {
    /// Any way there will do: nothing else is asked for.
    pub(crate) const fn to(dst: IpAddr) -> Self {
        Self {
            dst,
            src: None,
            oif: 0,
            bound: false,
            mark: 0,
            tos: 0,
            protocol: 0,
            sport: 0,
            dport: 0,
            uid: 0,
            flow_label: 0,
            on_link: false,
            any_source: false,
            prefer: Prefer::Usual,
        }
    }
}

/// The kind of destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This host.
    Local,
    /// Another.
    Unicast,
    /// All on a link.
    Broadcast,
    /// A group.
    Multicast,
}

/// A way out (`struct dst_entry`).
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) dst: IpAddr,
    /// The source address to use.
    pub(crate) src: IpAddr,
    /// Device it leaves by: the loopback for this host.
    pub(crate) oif: u32,
    /// The neighbour to hand it to, which is `dst` where there is no router.
    pub(crate) next_hop: IpAddr,
    pub(crate) reach: Reach,
    /// Largest packet that may go this way, bytes: of the device, the route, and what was learnt of the path.
    pub(crate) mtu: u32,
    /// Device that the route is of: for this host the one that has the address, else the one it leaves by.
    pub(crate) device: u32,
    /// The route's own hop limit; 0 if it has none.
    pub(crate) hop_limit: u8,
    /// The route's own largest TCP segment (`RTAX_ADVMSS`); 0 if it has none.
    pub(crate) advmss: u32,
}

/// Whether a packet may be cut (`IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`), with the numbers of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PmtuDiscovery {
    /// Never sets "don't fragment".
    Dont = 0,
    /// Sets it, but cuts what is too large for what is known of the path.
    #[default]
    Want = 1,
    /// Sets it, and refuses what is too large.
    Do = 2,
    /// Sets it, and asks only whether the device takes it.
    Probe = 3,
    /// Does not set it, and refuses what is too large for the device.
    Interface = 4,
    /// As that, but cuts.
    Omit = 5,
}

impl PmtuDiscovery {
    /// What a program means by a number; `None` if nothing.
    pub(crate) const fn of(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Dont,
            1 => Self::Want,
            2 => Self::Do,
            3 => Self::Probe,
            4 => Self::Interface,
            5 => Self::Omit,
            _ => return None,
        })
    }

    /// The largest packet that goes whole: who asks the path himself is bound by the device only.
    fn mtu(self, link: &Link, route: &Route) -> usize {
        let by_device = matches!(self, Self::Probe | Self::Interface | Self::Omit);
        if by_device { link.mtu as usize } else { route.mtu as usize }
    }

    /// What is larger is refused, and not cut.
    const fn refuses(self) -> bool {
        matches!(self, Self::Do | Self::Probe | Self::Interface)
    }
}

/// What the sender decides of the header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Header {
    pub(crate) protocol: u8,
    /// TOS or traffic class.
    pub(crate) tos: u8,
    /// TTL or hop limit; `None` for the route's or the namespace's.
    pub(crate) hop_limit: Option<u8>,
    pub(crate) pmtu: PmtuDiscovery,
    /// What of IPv6 has to be cut is cut to this size (`IPV6_MTU`); 0 for the path's.
    pub(crate) part_size: usize,
    /// IPv4 options; or for IPv6 the number of the first extension header and then all of them as they go on the wire (the
    /// last "next header" field is filled in).
    pub(crate) options: Vec<u8>,
    pub(crate) flow_label: u32,
    /// One's own multicasts come back (`IP_MULTICAST_LOOP`).
    pub(crate) multicast_loop: bool,
    pub(crate) mark: u32,
    pub(crate) priority: u32,
}

/// A packet for this host, as its protocol gets it. The frame's data begin at the transport header.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) frame: Frame,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) tos: u8,
    /// TTL or hop limit.
    pub(crate) hop_limit: u8,
    /// Device it came in by: the loopback for what this host sent itself, but by IPv6 the device that has the address.
    pub(crate) iif: u32,
    pub(crate) reach: Reach,
}

impl Received {
    /// Options of its IPv4 header.
    pub(crate) fn options(&self) -> Box<[u8]> {
        /// Of the header without options.
        const HLEN: usize = 20;
        let header = if self.dst.is_ipv4() { self.frame.network_header() } else { &[] };
        header.get(HLEN..).unwrap_or_default().into()
    }
}

/// What somebody on the way, or this host itself, says of a packet that we sent.
#[derive(Debug)]
pub(crate) struct IcmpError<'a> {
    /// Who says it; `None` for this host.
    pub(crate) offender: Option<IpAddr>,
    /// ICMP type and code.
    pub(crate) ty: u8,
    pub(crate) code: u8,
    /// The path's MTU, or what the message carries.
    pub(crate) info: u32,
    /// What programs are told.
    pub(crate) errno: i32,
    /// It is an error for connections, too, not only a hint.
    pub(crate) fatal: bool,
    /// Of our packet: source, destination, protocol, and what the message quotes from the transport header on.
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) transport: &'a [u8],
    pub(crate) iif: u32,
    /// The message, for the error queue and for raw sockets: its data are ICMP's.
    pub(crate) packet: &'a Received,
}

/// A packet that an error is told of, from its network header on.
#[derive(Clone, Copy, Debug)]
struct Quote<'a> {
    bytes: &'a [u8],
    /// Device by which it came.
    iif: u32,
    reach: Reach,
    kind: PacketType,
    mark: u32,
}

impl<'a> Quote<'a> {
    /// Of a packet whose data begin at the network header.
    fn of(frame: &'a Frame, iif: u32, reach: Reach) -> Self {
        Self { bytes: frame.data(), iif, reach, kind: frame.kind, mark: frame.mark }
    }
}

/// What became of a packet for this host.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// Somebody has it, or it was thrown away in silence.
    Done,
    /// Nobody is there: "port unreachable" goes back, which quotes this packet.
    NoPort(Frame),
    /// Nobody knows the protocol: "protocol unreachable" goes back, likewise.
    NoProtocol(Frame),
}

/// A packet of layer 2's for one of the two protocols; its data begin at the network header.
pub(crate) fn ip_rcv(cx: Cx<'_>, link: &Arc<Link>, frame: Frame) {
    match frame.protocol {
        ethertype::IP => v4::ip_rcv(cx, link, frame),
        _ => v6::ipv6_rcv(cx, link, frame),
    }
}

/// Packets of layer 2's, one after the other, all of the one protocol or all of the other; the data of each begin at the
/// network header.
pub(crate) fn ip_list_rcv(cx: Cx<'_>, link: &Arc<Link>, protocol: u16, frames: impl Iterator<Item = Frame>) {
    match protocol {
        ethertype::IP => list::receive::<v4::Ipv4>(cx, link, frames),
        _ => list::receive::<v6::Ipv6>(cx, link, frames),
    }
}

/// Finds the way out (`ip_route_output_flow`, `ip6_dst_lookup_flow`).
///
/// # Errors
/// A positive errno, as `connect` and `sendto` give it.
pub(crate) fn route_output(cx: Cx<'_>, flow: &Flow) -> Result<Route, i32> {
    match flow.dst {
        IpAddr::V4(dst) => v4::route_output(cx, flow, dst),
        IpAddr::V6(dst) => v6::route_output(cx, flow, dst),
    }
}

/// Sends along a way. The frame's data begin at the transport header, whose checksum is in place or
/// [partial](crate::l2::Checksum::Partial); there is room for headers before it.
///
/// Linux's order: the source of the packet is `route.src`.
///
/// # Errors
/// A positive errno: `EMSGSIZE`, `ENOBUFS`, `EPERM`, `ENETDOWN`, …
pub(crate) fn ip_output(cx: Cx<'_>, route: &Route, header: &Header, frame: Frame) -> Result<(), i32> {
    match (route.src, route.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => v4::ip_output(cx, route, header, (src, dst), frame),
        (IpAddr::V6(src), IpAddr::V6(dst)) => v6::ip6_output(cx, route, header, (src, dst), frame),
        _ => Err(crate::errno::ENETUNREACH),
    }
}

/// Sends a packet whose network header the caller wrote (`IP_HDRINCL`): the frame's data begin with it.
///
/// # Errors
/// As [`ip_output`].
pub(crate) fn ip_output_raw(cx: Cx<'_>, route: &Route, header: &Header, frame: Frame) -> Result<(), i32> {
    match route.dst {
        IpAddr::V4(_) => v4::ip_output_raw(cx, route, header, frame),
        IpAddr::V6(_) => v6::ip6_output_raw(cx, route, header, frame),
    }
}

/// A socket has sent an ICMP message of this type.
pub(crate) fn icmp_sent(cx: Cx<'_>, route: &Route, ty: u8) {
    match route.dst {
        IpAddr::V4(_) => v4::count_sent(cx, ty),
        IpAddr::V6(_) => v6::count_sent(cx, route, ty),
    }
}

/// Counts that there is no way for what a program wants to send, if that is the error.
pub(crate) fn no_way(cx: Cx<'_>, dst: IpAddr) -> impl FnOnce(&i32) {
    move |errno| match dst {
        _ if *errno != crate::errno::ENETUNREACH => {}
        IpAddr::V4(_) => cx.state.mib.v4.ip.inc(Ip::OutNoRoutes),
        IpAddr::V6(_) => cx.state.mib.v6.ip.inc(Ip6::OutNoRoutes),
    }
}

/// The mark of an answer to a packet with this one, from `addr`.
pub(crate) fn reply_mark(cx: Cx<'_>, addr: IpAddr, mark: u32) -> u32 {
    match addr {
        IpAddr::V4(_) => v4::reply_mark(cx, mark),
        IpAddr::V6(_) => v6::reply_mark(cx, mark),
    }
}

/// The neighbour that a packet was for did not answer (`dst_link_failure`): its sender is told.
pub(crate) fn link_failure(cx: Cx<'_>, ifindex: u32, frame: Frame) {
    match frame.protocol {
        ethertype::IP => v4::link_failure(cx, ifindex, frame),
        _ => v6::link_failure(cx, ifindex, frame),
    }
}

/// Asks for routers on a device.
pub(crate) fn router_solicit(cx: Cx<'_>, ifindex: u32) {
    v6::router_solicit(cx, ifindex);
}

/// Asks whether somebody on the link has an IPv6 address that is being checked.
pub(crate) fn dad_solicit(cx: Cx<'_>, ifindex: u32, addr: Ipv6Addr, round: u32) {
    v6::dad_solicit(cx, ifindex, addr, round);
}
