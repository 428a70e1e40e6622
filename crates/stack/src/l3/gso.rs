//! Packets that stand for many (`skb_gso_segment`, `tcp_gso_segment`, `__udp_gso_segment`): between namespaces a piece of a
//! TCP stream travels as one, however long, and is cut where somebody does not take it whole.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::checksum::{internet_checksum, pseudo_header_sum};
use crate::l2::{Checksum, Frame};

const TCP: u8 = 6;
/// Of the TCP header: where its length, flags and checksum are, and of the flags those of the last and of the first segment.
const LEN_AT: usize = 12;
const FLAGS_AT: usize = 13;
const CHECKSUM_AT: usize = 16;
const SHORTEST: usize = 20;
/// UDP's header, and where its checksum is.
const UDP_LEN: usize = 8;
const UDP_CHECKSUM_AT: usize = 6;
const UDP: u8 = 17;
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;
const HLEN4: usize = 20;
const HLEN6: usize = 40;

/// Of a packet that stands for many: bytes of the network header with what follows it up to the
/// transport header, and of that.
fn headers(frame: &Frame) -> Option<(usize, usize)> {
    let packet = frame.data().get(frame.network_at()..)?;
    // What stands for many has no checksum yet: whoever made it said where its transport header is.
    let Checksum::Partial { start, offset } = frame.checksum else { return None };
    let network = usize::from(start);
    let transport = match usize::from(offset) {
        CHECKSUM_AT => usize::from(packet.get(network + LEN_AT)? >> 4) * 4,
        UDP_CHECKSUM_AT => UDP_LEN,
        _ => return None,
    };
    let least = if packet.first()? >> 4 == 4 { HLEN4 } else { HLEN6 };
    let whole = usize::from(offset) == UDP_CHECKSUM_AT || transport >= SHORTEST;
    (network >= least && whole && network + transport <= packet.len()).then_some((network, transport))
}

/// Whether the packets that `frame` stands for are longer than `mtu`, or itself if it stands for no other
/// (`ip_exceeds_mtu`).
#[inline]
pub(crate) fn exceeds(frame: &Frame, mtu: usize) -> bool {
    let len = frame.len() - frame.network_at();
    len > mtu
        && frame.segment.is_none_or(|segment| {
            headers(frame).is_none_or(|(network, transport)| network + transport + usize::from(segment.get()) > mtu)
        })
}

/// The packets that `frame` stands for, each with the headers that it has from where its data begin. Itself if it stands for
/// no other, or makes no sense.
pub(crate) fn cut(mut frame: Frame) -> Vec<Frame> {
    let Some(size) = frame.segment.take().map(|segment| usize::from(segment.get())) else { return vec![frame] };
    let Some((network, transport)) = headers(&frame) else { return vec![frame] };
    let mut stamps = frame.stamps.take();
    let checksum = frame.checksum;
    let at = frame.network_at();
    let (front, payload) = frame.data().split_at(at + network + transport);
    let count = payload.len().div_ceil(size);
    let part = |(n, chunk): (usize, &[u8])| {
        let mut part = Frame::with_payload(chunk);
        part.push(front.len()).copy_from_slice(front);
        part.set_network_at(at);
        part.checksum = checksum;
        (part.protocol, part.kind, part.routed, part.device) = (frame.protocol, frame.kind, frame.routed, frame.device);
        (part.mark, part.priority, part.sender, part.tag) = (frame.mark, frame.priority, frame.sender, frame.tag);
        finish(&mut part.data_mut()[at..], (network, transport), n, n * size, n + 1 == count);
        part
    };
    if count == 0 {
        return vec![frame];
    }
    let mut parts: Vec<_> = payload.chunks(size).enumerate().map(part).collect();
    if let Some(first) = parts.first_mut() {
        first.stamps = stamps.take();
    }
    parts
}

/// Makes the headers those of the `n`th packet, whose payload begins `offset` bytes into the whole.
fn finish(packet: &mut [u8], (network, transport): (usize, usize), n: usize, offset: usize, last: bool) {
    let len = packet.len();
    let (ip, rest) = packet.split_at_mut(network);
    let tcp = &mut rest[..transport];
    let covered = len - network;
    let protocol = if transport == UDP_LEN { UDP } else { TCP };
    let sum = if ip[0] >> 4 == 4 {
        ip[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        let ident = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(n as u16);
        ip[4..6].copy_from_slice(&ident.to_be_bytes());
        ip[10..12].fill(0);
        let value = internet_checksum(ip, 0);
        ip[10..12].copy_from_slice(&value.to_be_bytes());
        let addr = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        pseudo_header_sum(addr(12).into(), addr(16).into(), protocol, covered)
    } else {
        ip[4..6].copy_from_slice(&((len - HLEN6) as u16).to_be_bytes());
        let addr = |at: usize| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&ip[at..at + 16]);
            Ipv6Addr::from(bytes)
        };
        pseudo_header_sum(addr(8).into(), addr(24).into(), protocol, covered)
    };
    if protocol == UDP {
        tcp[4..6].copy_from_slice(&(covered as u16).to_be_bytes());
        tcp[UDP_CHECKSUM_AT..].copy_from_slice(&sum.to_be_bytes());
        return;
    }
    let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(offset as u32);
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    if !last {
        tcp[FLAGS_AT] &= !FIN_PSH;
    }
    if n > 0 {
        tcp[FLAGS_AT] &= !CWR;
    }
    tcp[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::l2::ethertype;
    use crate::l3::finish_checksum;

    /// A packet with this many bytes of payload, that stands for some of `size` each.
    fn whole(v6: bool, payload: usize, size: u16) -> Frame {
        let bytes: Vec<u8> = (0..payload).map(|n| n as u8).collect();
        let mut frame = Frame::with_payload(&bytes);
        let tcp = frame.push(32);
        tcp.fill(0);
        tcp[4..8].copy_from_slice(&0xffff_ff00_u32.to_be_bytes());
        (tcp[LEN_AT], tcp[FLAGS_AT]) = (8 << 4, FIN_PSH | CWR | 0x10);
        let network = if v6 { HLEN6 } else { HLEN4 };
        let ip = frame.push(network);
        ip.fill(9);
        ip[0] = if v6 { 0x60 } else { 0x45 };
        frame.set_network_here();
        frame.push(14).fill(3);
        frame.protocol = if v6 { ethertype::IPV6 } else { ethertype::IP };
        frame.segment = NonZeroU16::new(size);
        frame.checksum = Checksum::Partial { start: network as u16, offset: CHECKSUM_AT as u16 };
        frame
    }

    #[test]
    fn the_parts_are_packets_of_their_own() {
        for v6 in [false, true] {
            let network = if v6 { HLEN6 } else { HLEN4 };
            let parts = cut(whole(v6, 2500, 1000));
            assert_eq!(parts.len(), 3);
            let mut payload = Vec::new();
            for (n, mut part) in parts.into_iter().enumerate() {
                finish_checksum(&mut part);
                assert_eq!(part.mac_header(), [3; 14]);
                let bytes = &part.data()[14..];
                let (ip, tcp) = bytes.split_at(network);
                let sum = if v6 {
                    assert_eq!(usize::from(u16::from_be_bytes([ip[4], ip[5]])), tcp.len());
                    let addr = Ipv6Addr::from([9; 16]).into();
                    pseudo_header_sum(addr, addr, TCP, tcp.len())
                } else {
                    assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), bytes.len());
                    assert_eq!((u16::from_be_bytes([ip[4], ip[5]]), internet_checksum(ip, 0)), (0x909 + n as u16, 0));
                    let addr = Ipv4Addr::from([9; 4]).into();
                    pseudo_header_sum(addr, addr, TCP, tcp.len())
                };
                assert_eq!(internet_checksum(tcp, sum), 0);
                let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
                assert_eq!(seq, 0xffff_ff00_u32.wrapping_add(1000 * n as u32));
                assert_eq!(tcp[FLAGS_AT], 0x10 | if n == 0 { CWR } else { 0 } | if n == 2 { FIN_PSH } else { 0 });
                payload.extend_from_slice(&tcp[32..]);
            }
            assert_eq!(payload, (0..2500).map(|n| n as u8).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn datagrams_are_cut_too_and_what_makes_no_sense_is_not() {
        let mut frame = Frame::with_payload(&[1; 2500]);
        frame.push(UDP_LEN).fill(0);
        frame.push(HLEN4).fill(9);
        frame.data_mut()[0] = 0x45;
        frame.set_network_here();
        (frame.protocol, frame.segment) = (ethertype::IP, NonZeroU16::new(1000));
        for (start, offset) in [(0, 6), (20, 7), (39, 16), (2520, 16), (60_000, 6)] {
            frame.checksum = Checksum::Partial { start, offset };
            assert_eq!(cut(frame.clone()).len(), 1, "{start} {offset}");
        }
        frame.checksum = Checksum::Partial { start: 20, offset: 6 };
        let lens: Vec<(usize, [u8; 2])> =
            cut(frame).iter().map(|part| (part.len(), [part.data()[24], part.data()[25]])).collect();
        assert_eq!(lens, [(1028, [3, 0xf0]), (1028, [3, 0xf0]), (528, [1, 0xfc])]);
    }

    #[test]
    fn what_stands_for_itself_stays() {
        let mut frame = whole(false, 900, 1000);
        assert!(!exceeds(&frame, 952) && exceeds(&frame, 951));
        frame.segment = None;
        assert!(!exceeds(&frame, 952) && exceeds(&frame, 951));
        assert_eq!(cut(frame).len(), 1);
        let frame = whole(true, 9000, 1000);
        assert!(!exceeds(&frame, 1072) && exceeds(&frame, 1071));
    }
}
