//! The Internet checksum (RFC 1071).

use std::net::IpAddr;

use crate::l2::{Checksum, Frame};

/// Adds up sixteen-bit words, in one's complement.
fn sum(bytes: &[u8], start: u64) -> u64 {
    // Eight bytes at a time: the carries are added at the end, as the order does not matter.
    let (words, rest) = bytes.as_chunks::<8>();
    let mut total = u128::from(start);
    for word in words {
        total += u128::from(u64::from_be_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    total += u128::from(u64::from_be_bytes(last));
    // 2^64 is 1 modulo 2^16 - 1.
    let mut folded = (total >> 64) as u64;
    for part in [total as u64 >> 32, total as u64 & 0xffff_ffff] {
        folded += part;
    }
    folded
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// The checksum of `bytes`, of which `start` is a sum so far (of a pseudo header, or 0): 0 if they contain one that is right.
pub(crate) fn internet_checksum(bytes: &[u8], start: u16) -> u16 {
    !fold(sum(bytes, start.into()))
}

/// The sum of the pseudo header of a packet of `len` bytes behind the network header, not complemented.
pub(crate) fn pseudo_header_sum(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> u16 {
    let of = |addr: IpAddr, start| match addr {
        IpAddr::V4(addr) => sum(&addr.octets(), start),
        IpAddr::V6(addr) => sum(&addr.octets(), start),
    };
    fold(of(dst, of(src, u64::from(protocol) + len as u64)))
}

/// Writes a checksum that was left open, before the packet is cut or leaves the stack (`skb_checksum_help`).
///
/// What stands in its field is the sum of the pseudo header, as [`pseudo_header_sum`] tells it: with that it covers all.
pub(crate) fn finish_checksum(frame: &mut Frame) {
    let Checksum::Partial { start, offset } = frame.checksum else { return };
    frame.checksum = Checksum::Right;
    let Some(covered) = frame.network_mut().get_mut(usize::from(start)..) else { return };
    let value = internet_checksum(covered, 0);
    let at = usize::from(offset);
    if let Some(field) = covered.get_mut(at..at + 2) {
        // Nothing is not a checksum in UDP, and as good as all ones everywhere.
        let value = if value == 0 { 0xffff } else { value };
        field.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(internet_checksum(&bytes, 0), !0xddf2);
        assert_eq!(internet_checksum(&[0x45], 0), !0x4500);
        assert_eq!(internet_checksum(&[0xff; 4096], 0), 0);
    }

    #[test]
    fn a_packet_with_its_checksum_sums_to_nothing() {
        let mut bytes: Vec<u8> = (0..=250).map(|n: u8| n.wrapping_mul(37)).collect();
        bytes[10..12].fill(0);
        let value = internet_checksum(&bytes, 0x1234);
        bytes[10..12].copy_from_slice(&value.to_be_bytes());
        assert_eq!(internet_checksum(&bytes, 0x1234), 0);
    }
}
