//! Ethernet headers (`eth_header`, `eth_type_trans`).

use super::{Frame, PacketType, ethertype};
use crate::dev::Link;

const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
/// Bytes of the header.
pub(crate) const HLEN: usize = 14;

/// Puts the header before a packet, whose protocol the frame knows.
pub(crate) fn push_header(frame: &mut Frame, dst: &[u8], src: &[u8]) {
    frame.set_network_here();
    let protocol = frame.protocol.to_be_bytes();
    let header = frame.push(HLEN);
    for (at, from) in [(0, dst), (6, src)] {
        for (to, from) in header[at..at + 6].iter_mut().zip(from) {
            *to = *from;
        }
    }
    header[12..].copy_from_slice(&protocol);
    frame.set_mac_here();
}

/// Puts a header before a packet that was made before.
#[inline]
pub(crate) fn push_made(frame: &mut Frame, header: &[u8; HLEN]) {
    frame.push_mac_header(header);
}

/// Puts the header before a packet that a device's kind of link asks for (`dev_hard_header`): of Ethernet, or none.
pub(crate) fn hard_header(frame: &mut Frame, link: &Link, dst: &[u8]) {
    if matches!(link.class().arp_type, ARPHRD_ETHER | ARPHRD_LOOPBACK) {
        return push_header(frame, dst, link.address.as_bytes());
    }
    frame.set_network_here();
    frame.set_mac_here();
}

/// A frame arrives at `link`: whom it is for, and what is in it. Its data begin behind the header then. `None` if it is too
/// short for a header.
pub(super) fn eth_type_trans(frame: &mut Frame, link: &Link) -> Option<()> {
    arrive(frame, own_address(link))
}

/// The address that [`arrive`] compares with, for frames that arrive one after the other.
pub(super) fn own_address(link: &Link) -> Option<[u8; 6]> {
    link.address.as_bytes().try_into().ok()
}

/// As [`eth_type_trans`], at a device with that address.
#[inline]
pub(super) fn arrive(frame: &mut Frame, own: Option<[u8; 6]>) -> Option<()> {
    let [a, b, c, d, e, f, .., high, low] = frame.pull_mac_header::<HLEN>()?;
    let dst = [a, b, c, d, e, f];
    frame.kind = if own == Some(dst) {
        PacketType::Host
    } else if dst == [0xff; 6] {
        PacketType::Broadcast
    } else if a & 1 != 0 {
        PacketType::Multicast
    } else {
        PacketType::OtherHost
    };
    let protocol = u16::from_be_bytes([high, low]);
    // Below that it is a length, and what follows says what it is.
    frame.protocol = if protocol >= 0x600 { protocol } else { ethertype::LLC };
    Some(())
}

/// The addresses of a frame's header: destination and source.
pub(super) fn addresses(frame: &Frame) -> Option<([u8; 6], [u8; 6])> {
    let header: &[u8; 12] = frame.mac_header().first_chunk()?;
    Some((*header.first_chunk()?, *header.last_chunk()?))
}
