//! What [lists](crate::l3::list) of packets are to IPv4.

use std::sync::Arc;

use super::header::{HLEN, Ipv4Header, decrease_ttl, sums_up};
use super::input::{ip_rcv, local_deliver, query};
use super::route;
use crate::dev::Link;
use crate::fib::{self, route_type, rtcf};
use crate::inet;
use crate::l2::{Cx, Frame, PacketType, ethertype};
use crate::l3::flows::{self, Asks, Flows, Onward, To};
use crate::l3::list::Protocol;
use crate::l3::state::Leaf;
use crate::l3::{L3, Reach};
use crate::mib::{self, Tally};
use crate::multipath;

/// IPv4.
pub(in crate::l3) struct Ipv4;

/// What a way is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l3) struct Key {
    ends: (u32, u32),
    iif: u32,
    mark: u32,
    /// Protocol and ports where they may be asked for, or what is inside.
    ports: (u32, u8),
    tos: u8,
}

impl flows::Key for Key {
    const FAMILY: usize = 0;

    fn words(&self) -> impl Iterator<Item = u64> {
        let ends = u64::from(self.ends.0) << 32 | u64::from(self.ends.1);
        let ports = u64::from(self.ports.0) << 16 | u64::from(self.ports.1) << 8 | u64::from(self.tos);
        [ends, u64::from(self.iif) << 32 | u64::from(self.mark), ports].into_iter()
    }
}

impl Protocol for Ipv4 {
    const V6: bool = false;
    type Key = Key;
    type Header = Ipv4Header;

    fn flows(l3: &L3) -> &Leaf<Flows<Key>> {
        &l3.flows4
    }

    fn runs(_: Cx<'_>, link: &Link) -> bool {
        inet::has_inet(link)
    }

    /// No options.
    #[inline]
    fn simple(_: &Link, frame: &Frame) -> Option<Ipv4Header> {
        let data = frame.data();
        let header: &[u8; HLEN] = data.first_chunk()?;
        if frame.kind != PacketType::Host || frame.routed.is_some() || header[0] != 0x45 || !sums_up(header) {
            return None;
        }
        let parsed = Ipv4Header::parse(data)?;
        (frame.segment.is_some() || parsed.total_len <= data.len()).then_some(parsed)
    }

    #[inline]
    fn extent(header: &Ipv4Header) -> (usize, u8) {
        (header.total_len, header.ttl)
    }

    fn tos(header: &Ipv4Header) -> u8 {
        header.tos
    }

    fn arrived(cx: Cx<'_>, _: &Link, packets: Tally) {
        packets.count4(cx.state);
    }

    fn left(cx: Cx<'_>, _: &Link, packets: u64, octets: u64) {
        mib::left4(cx.state, packets, octets);
    }

    #[inline]
    fn key(link: &Link, frame: &Frame, header: &Ipv4Header, asks: Asks) -> Key {
        let ports = match asks {
            Asks::Nothing => (0, 0),
            more => asked(frame, header, more),
        };
        Key {
            ends: (header.src.into(), header.dst.into()),
            iif: link.index(),
            mark: frame.mark,
            ports,
            tos: header.tos & 0xfc,
        }
    }

    fn look_up(cx: Cx<'_>, link: &Link, frame: &Frame, header: &Ipv4Header) -> Option<To> {
        let way = fib::route_input(cx.ns(), &query(cx, link, frame, header), &mut None).ok()?;
        match way.kind {
            route_type::LOCAL => Some(To::Here),
            route_type::UNICAST if way.flags & rtcf::DOREDIRECT == 0 => {
                let out = cx.state.links.by_index(way.oif)?;
                let mtu = route::mtu(&out, way.info.as_deref()) as usize;
                let next_hop = route::next_hop(way.gateway, header.dst);
                Some(To::On(Onward::new(ethertype::IP, out, mtu, next_hop)))
            }
            _ => None,
        }
    }

    #[inline]
    fn age(frame: &mut Frame) {
        decrease_ttl(frame.data_mut());
    }

    fn deliver(cx: Cx<'_>, link: &Arc<Link>, frame: Frame, header: &Ipv4Header) {
        local_deliver(cx, link, frame, header, Reach::Local);
    }

    fn receive(cx: Cx<'_>, link: &Arc<Link>, frame: Frame) {
        ip_rcv(cx, link, frame);
    }
}

/// What more than its ends a packet's way depends on.
fn asked(frame: &Frame, header: &Ipv4Header, asks: Asks) -> (u32, u8) {
    if let Asks::Inside(policy) = asks {
        return (policy.hash_inside(frame.data()).map_or(0, |hash| (hash >> 32) as u32), 0);
    }
    let transport = frame.data().get(header.len..).filter(|_| !header.is_fragment()).unwrap_or_default();
    let (sport, dport) = multipath::ports(header.protocol, transport);
    (u32::from(sport) << 16 | u32::from(dport), header.protocol)
}
