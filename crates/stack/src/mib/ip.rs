//! What both protocols of the network layer count of each packet: that it came, and that it left.

use super::{Icmp6, Ip, Ip6, IpExt, on};
use crate::dev::Link;
use crate::l2::Frame;
use crate::l3::Reach;
use crate::state::NetState;

/// Packets that came one after the other by one device, to be counted at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    packets: u64,
    octets: u64,
    /// By what they say of congestion, the last two bits of the type of service; of one that stands for many, all of them.
    ect: [u64; 4],
}

impl Tally {
    /// A packet with so many bytes.
    #[inline]
    pub(crate) fn note(&mut self, octets: usize, tos: u8, frame: &Frame) {
        self.packets += 1;
        self.octets += octets as u64;
        self.ect[usize::from(tos & 3)] += if frame.segment.is_none() { 1 } else { stands_for(frame) };
    }

    fn of(frame: &Frame, tos: Option<u8>) -> Self {
        let mut tally = Self { packets: 1, octets: frame.len() as u64, ect: [0; 4] };
        if let Some(tos) = tos {
            tally.ect[usize::from(tos & 3)] = stands_for(frame);
        }
        tally
    }

    /// By IPv4.
    pub(crate) fn count4(self, state: &NetState) {
        if self.packets == 0 {
            return;
        }
        let mib = &*state.mib.v4;
        mib.ip.add(Ip::InReceives, self.packets);
        mib.ext.add(IpExt::InOctets, self.octets);
        let kinds = [IpExt::InNoECTPkts, IpExt::InECT1Pkts, IpExt::InECT0Pkts, IpExt::InCEPkts];
        for (kind, packets) in kinds.into_iter().zip(self.ect).filter(|(_, packets)| *packets > 0) {
            mib.ext.add(kind, packets);
        }
    }

    /// By IPv6.
    pub(crate) fn count6(self, state: &NetState, link: &Link) {
        if self.packets == 0 {
            return;
        }
        on(state, link, |mib| {
            mib.ip.add(Ip6::InReceives, self.packets);
            mib.ip.add(Ip6::InOctets, self.octets);
            let kinds = [Ip6::InNoECTPkts, Ip6::InECT1Pkts, Ip6::InECT0Pkts, Ip6::InCEPkts];
            for (kind, packets) in kinds.into_iter().zip(self.ect).filter(|(_, packets)| *packets > 0) {
                mib.ip.add(kind, packets);
            }
        });
    }
}

/// How many packets it is, of whatever headers: they are a small part of one that stands for many.
fn stands_for(frame: &Frame) -> u64 {
    /// A network header, and TCP's with timestamps.
    const HEADERS: usize = 52;
    frame.segments(HEADERS) as u64
}

/// An IPv4 packet came; its type of service if it has a header.
pub(crate) fn arrived4(state: &NetState, frame: &Frame, tos: Option<u8>) {
    Tally::of(frame, tos).count4(state);
}

/// An IPv6 packet came by `link`; its traffic class if it has a header.
pub(crate) fn arrived6(state: &NetState, link: &Link, frame: &Frame, tclass: Option<u8>) {
    Tally::of(frame, tclass).count6(state, link);
}

/// So many packets of IPv4, with so many bytes, were sent on.
pub(crate) fn left4(state: &NetState, packets: u64, octets: u64) {
    let mib = &*state.mib.v4;
    mib.ip.add(Ip::ForwDatagrams, packets);
    mib.ip.add(Ip::OutTransmits, packets);
    mib.ext.add(IpExt::OutOctets, octets);
}

/// Likewise of IPv6, by `out`.
pub(crate) fn left6(state: &NetState, out: &Link, packets: u64, octets: u64) {
    on(state, out, |mib| {
        mib.ip.add(Ip6::OutForwDatagrams, packets);
        mib.ip.add(Ip6::OutTransmits, packets);
        mib.ip.add(Ip6::OutOctets, octets);
    });
}

/// A packet of IPv4, or a part of one, goes to its neighbour.
pub(crate) fn transmitted4(state: &NetState, reach: Reach, octets: usize) {
    let mib = &*state.mib.v4;
    let octets = octets as u64;
    mib.ip.inc(Ip::OutTransmits);
    mib.ext.add(IpExt::OutOctets, octets);
    let (packets, bytes) = match reach {
        Reach::Multicast => (IpExt::OutMcastPkts, IpExt::OutMcastOctets),
        Reach::Broadcast => (IpExt::OutBcastPkts, IpExt::OutBcastOctets),
        Reach::Local | Reach::Unicast => return,
    };
    mib.ext.inc(packets);
    mib.ext.add(bytes, octets);
}

/// Likewise of IPv6, by a route of `link`'s, to a group or not.
pub(crate) fn transmitted6(state: &NetState, link: &Link, group: bool, octets: usize) {
    let octets = octets as u64;
    on(state, link, |mib| {
        mib.ip.inc(Ip6::OutTransmits);
        mib.ip.add(Ip6::OutOctets, octets);
        if group {
            mib.ip.inc(Ip6::OutMcastPkts);
            mib.ip.add(Ip6::OutMcastOctets, octets);
        }
    });
}

/// A message of ICMPv6 that this host makes itself, below what sockets send by, with its IPv6 header: it goes out by `link`.
pub(crate) fn sends_message6(state: &NetState, link: &Link, packet: &Frame, ty: u8, group: bool) {
    on(state, link, |mib| {
        mib.ip.inc(Ip6::OutRequests);
        mib.icmp.inc(Icmp6::OutMsgs);
        mib.sent.inc(ty);
    });
    transmitted6(state, link, group, packet.len());
}

/// It is for this host, and came to all or to a group.
pub(crate) fn to_many4(state: &NetState, reach: Reach, octets: usize) {
    let (packets, bytes) = match reach {
        Reach::Multicast => (IpExt::InMcastPkts, IpExt::InMcastOctets),
        Reach::Broadcast => (IpExt::InBcastPkts, IpExt::InBcastOctets),
        Reach::Local | Reach::Unicast => return,
    };
    state.mib.v4.ext.inc(packets);
    state.mib.v4.ext.add(bytes, octets as u64);
}

/// So many packets of a connection, with so many bytes, were as good as sent on.
pub(crate) fn routed(state: &NetState, v6: bool, packets: u64, octets: u64) {
    passed_in(state, v6, packets, octets);
    if v6 {
        let mib = &state.mib.v6.ip;
        mib.add(Ip6::OutForwDatagrams, packets);
        mib.add(Ip6::OutTransmits, packets);
        mib.add(Ip6::OutOctets, octets);
    } else {
        left4(state, packets, octets);
    }
}

/// They were as good as received by this host.
pub(crate) fn passed_here(state: &NetState, v6: bool, packets: u64, octets: u64) {
    passed_in(state, v6, packets, octets);
    if v6 {
        state.mib.v6.ip.add(Ip6::InDelivers, packets);
    } else {
        state.mib.v4.ip.add(Ip::InDelivers, packets);
    }
}

/// They were as good as sent by this host.
pub(crate) fn passed_out(state: &NetState, v6: bool, packets: u64, octets: u64) {
    if v6 {
        let mib = &state.mib.v6.ip;
        mib.add(Ip6::OutRequests, packets);
        mib.add(Ip6::OutTransmits, packets);
        mib.add(Ip6::OutOctets, octets);
    } else {
        let mib = &*state.mib.v4;
        mib.ip.add(Ip::OutRequests, packets);
        mib.ip.add(Ip::OutTransmits, packets);
        mib.ext.add(IpExt::OutOctets, octets);
    }
}

fn passed_in(state: &NetState, v6: bool, packets: u64, octets: u64) {
    if v6 {
        let mib = &state.mib.v6.ip;
        mib.add(Ip6::InReceives, packets);
        mib.add(Ip6::InOctets, octets);
        mib.add(Ip6::InNoECTPkts, packets);
    } else {
        // Connections say nothing of congestion here.
        Tally { packets, octets, ect: [packets, 0, 0, 0] }.count4(state);
    }
}
