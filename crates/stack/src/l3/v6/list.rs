//! What [lists](crate::l3::list) of packets are to IPv6.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::header::{HLEN, Ipv6Header, next};
use super::input::{self, ip6_input, ipv6_rcv};
use super::route;
use crate::dev::Link;
use crate::inet6::{self, devconf};
use crate::l2::{Cx, Frame, PacketType, ethertype};
use crate::l3::flows::{self, Asks, Flows, Onward, To};
use crate::l3::list::Protocol;
use crate::l3::state::Leaf;
use crate::l3::{L3, Reach};
use crate::mib::{self, Tally};
use crate::multipath;

/// IPv6.
pub(in crate::l3) struct Ipv6;

/// What a way is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l3) struct Key {
    ends: (Ipv6Addr, Ipv6Addr),
    iif: u32,
    mark: u32,
    /// Of several ways it chooses one, too.
    flow_label: u32,
    /// Protocol and ports where they may be asked for, or what is inside.
    ports: (u32, u8),
    tclass: u8,
}

impl flows::Key for Key {
    const FAMILY: usize = 1;

    fn words(&self) -> impl Iterator<Item = u64> {
        let [src, dst] = [self.ends.0, self.ends.1].map(Ipv6Addr::to_bits);
        let ports = u64::from(self.ports.0) << 16 | u64::from(self.ports.1) << 8 | u64::from(self.tclass);
        let ends = [(src >> 64) as u64, src as u64, (dst >> 64) as u64, dst as u64];
        let rest = [u64::from(self.iif) << 32 | u64::from(self.mark), ports, u64::from(self.flow_label)];
        ends.into_iter().chain(rest)
    }
}

impl Protocol for Ipv6 {
    const V6: bool = true;
    type Key = Key;
    type Header = Ipv6Header;

    fn flows(l3: &L3) -> &Leaf<Flows<Key>> {
        &l3.flows6
    }

    fn runs(cx: Cx<'_>, link: &Link) -> bool {
        inet6::runs(cx.ns(), link)
    }

    /// To one host, and with nothing in it that everybody on the way has to look at.
    #[inline]
    fn simple(link: &Link, frame: &Frame) -> Option<Ipv6Header> {
        if frame.kind != PacketType::Host || frame.routed.is_some() {
            return None;
        }
        let header = Ipv6Header::parse(frame.data())?;
        let whole = frame.segment.is_some() || HLEN + header.payload_len <= frame.len();
        let plain = header.next != next::HOP_BY_HOP && !header.dst.is_multicast();
        (whole && plain && input::may_come(link, &header)).then_some(header)
    }

    #[inline]
    fn extent(header: &Ipv6Header) -> (usize, u8) {
        (HLEN + header.payload_len, header.hop_limit)
    }

    fn tos(header: &Ipv6Header) -> u8 {
        header.tclass
    }

    fn arrived(cx: Cx<'_>, link: &Link, packets: Tally) {
        packets.count6(cx.state, link);
    }

    fn left(cx: Cx<'_>, out: &Link, packets: u64, octets: u64) {
        mib::left6(cx.state, out, packets, octets);
    }

    #[inline]
    fn key(link: &Link, frame: &Frame, header: &Ipv6Header, asks: Asks) -> Key {
        let ports = match asks {
            Asks::Nothing => 0,
            more => asked(frame, header, more),
        };
        Key {
            ends: (header.src, header.dst),
            iif: link.index(),
            mark: frame.mark,
            flow_label: header.flow_label,
            // Of several ways it chooses one.
            ports: (ports, header.next),
            tclass: header.tclass,
        }
    }

    fn look_up(cx: Cx<'_>, link: &Link, frame: &Frame, header: &Ipv6Header) -> Option<To> {
        let way = inet6::way(cx.ns(), &input::flow(cx, link, frame, header), cx.now()).ok()?;
        // What ends by itself ends without anybody having changed anything. What ends meanwhile besides this one was not
        // chosen, and is not when it is gone.
        if way.ends {
            return None;
        }
        if way.local {
            return Some(To::Here);
        }
        // Of a neighbour's the sender is told, and where the way leads back, of a nearer one.
        let src = header.src;
        let known = input::is_nobody(src) || src.is_loopback() || inet6::is_link_local(src);
        let forwards = inet6::setting_of_all(cx.ns(), devconf::FORWARDING) != 0;
        if known || !forwards || way.multicast || way.oif == link.index() {
            return None;
        }
        let out = cx.state.links.by_index(way.oif)?;
        let mtu = route::mtu(cx, &out, way.metrics.as_deref()) as usize;
        let next_hop = route::next_hop(&way, header.dst);
        Some(To::On(Onward::new(ethertype::IPV6, out, mtu, next_hop.into())))
    }

    #[inline]
    fn age(frame: &mut Frame) {
        if let Some(hop_limit) = frame.data_mut().get_mut(7) {
            *hop_limit -= 1;
        }
    }

    fn deliver(cx: Cx<'_>, link: &Arc<Link>, frame: Frame, header: &Ipv6Header) {
        ip6_input(cx, link, frame, header, (Reach::Local, link.index()));
    }

    fn receive(cx: Cx<'_>, link: &Arc<Link>, frame: Frame) {
        ipv6_rcv(cx, link, frame);
    }
}

/// What more than its ends a packet's way depends on.
fn asked(frame: &Frame, header: &Ipv6Header, asks: Asks) -> u32 {
    if let Asks::Inside(policy) = asks {
        return policy.hash_inside(frame.data()).map_or(0, |hash| (hash >> 32) as u32);
    }
    let (sport, dport) = multipath::ports(header.next, frame.data().get(HLEN..).unwrap_or_default());
    u32::from(sport) << 16 | u32::from(dport)
}
