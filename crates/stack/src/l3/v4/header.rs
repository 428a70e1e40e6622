//! The header (RFC 791).

use std::net::Ipv4Addr;

/// Bytes of a header without options.
pub(super) const HLEN: usize = 20;
/// Longest header.
pub(super) const MAX_HLEN: usize = 60;

const DF: u16 = 0x4000;
const MF: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// A header as it was read.
#[derive(Clone, Copy, Debug)]
pub(in crate::l3) struct Ipv4Header {
    /// Bytes of it, with its options.
    pub(in crate::l3) len: usize,
    pub(in crate::l3) tos: u8,
    /// Bytes of the packet.
    pub(super) total_len: usize,
    pub(super) ident: u16,
    /// It may not be cut.
    pub(super) df: bool,
    /// More parts follow.
    pub(super) mf: bool,
    /// Where this part belongs, bytes.
    pub(super) offset: usize,
    pub(in crate::l3) ttl: u8,
    pub(super) protocol: u8,
    pub(in crate::l3) src: Ipv4Addr,
    pub(in crate::l3) dst: Ipv4Addr,
}

impl Ipv4Header {
    /// Reads a header and compares the lengths in it; the packet may be cut off behind the header (as ICMP quotes them).
    #[inline]
    pub(in crate::l3) fn parse(data: &[u8]) -> Option<Self> {
        let h: &[u8; HLEN] = data.first_chunk()?;
        let word = |at: usize| u16::from_be_bytes([h[at], h[at + 1]]);
        let len = usize::from(h[0] & 0xf) * 4;
        let total_len = usize::from(word(2));
        if h[0] >> 4 != 4 || len < HLEN || data.len() < len || total_len < len {
            return None;
        }
        let fragment = word(6);
        Some(Self {
            len,
            tos: h[1],
            total_len,
            ident: word(4),
            df: fragment & DF != 0,
            mf: fragment & MF != 0,
            offset: usize::from(fragment & OFFSET) * 8,
            ttl: h[8],
            protocol: h[9],
            src: Ipv4Addr::new(h[12], h[13], h[14], h[15]),
            dst: Ipv4Addr::new(h[16], h[17], h[18], h[19]),
        })
    }

    /// Whether the packet is a part of one.
    pub(super) const fn is_fragment(&self) -> bool {
        self.mf || self.offset > 0
    }

    /// Writes it into the first twenty bytes of `into`, with its checksum over [`len`](Self::len) bytes.
    pub(super) fn write(&self, into: &mut [u8]) {
        let Some(h) = into.first_chunk_mut::<HLEN>() else { return };
        let fragment = (u16::from(self.df) * DF) | (u16::from(self.mf) * MF) | ((self.offset / 8) as u16 & OFFSET);
        h[0] = 0x40 | (self.len / 4) as u8;
        h[1] = self.tos;
        h[2..4].copy_from_slice(&(self.total_len as u16).to_be_bytes());
        h[4..6].copy_from_slice(&self.ident.to_be_bytes());
        h[6..8].copy_from_slice(&fragment.to_be_bytes());
        h[8] = self.ttl;
        h[9] = self.protocol;
        h[12..16].copy_from_slice(&self.src.octets());
        h[16..20].copy_from_slice(&self.dst.octets());
        write_checksum(into, self.len);
    }
}

/// Writes the checksum of a header of `len` bytes.
pub(super) fn write_checksum(packet: &mut [u8], len: usize) {
    let Some(header) = packet.get_mut(..len) else { return };
    header[10..12].fill(0);
    let value = super::super::internet_checksum(header, 0);
    header[10..12].copy_from_slice(&value.to_be_bytes());
}

/// Whether the checksum of a header without options is right.
#[inline]
pub(super) fn sums_up(header: &[u8; HLEN]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    // What all bits of are set is so in any order of bytes (RFC 1071, 2).
    let sum: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
    // Five words: what is carried out of 32 bits is carried once, and out of 16 twice at most.
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum >> 16 & 0xffff) + (sum & 0xffff);
    (sum >> 16) + (sum & 0xffff) == 0xffff
}

/// One less to live, and the checksum follows (RFC 1624).
#[inline]
pub(super) fn decrease_ttl(packet: &mut [u8]) {
    let Some(h) = packet.first_chunk_mut::<HLEN>() else { return };
    h[8] = h[8].wrapping_sub(1);
    let sum = u32::from(u16::from_be_bytes([h[10], h[11]])) + 0x100;
    let sum = (sum + u32::from(sum >= 0xffff)) as u16;
    h[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Ipv4Header {
        Ipv4Header {
            len: HLEN,
            tos: 0x10,
            total_len: 84,
            ident: 0xbeef,
            df: true,
            mf: false,
            offset: 0,
            ttl: 64,
            protocol: 1,
            src: Ipv4Addr::new(10, 1, 1, 1),
            dst: Ipv4Addr::new(10, 1, 1, 2),
        }
    }

    #[test]
    fn what_is_written_is_read_and_sums_to_nothing() {
        let mut bytes = [0; 84];
        header().write(&mut bytes);
        for _ in 0..63 {
            assert_eq!(crate::l3::internet_checksum(&bytes[..HLEN], 0), 0);
            assert!(sums_up(bytes.first_chunk().unwrap()));
            decrease_ttl(&mut bytes);
        }
        let read = Ipv4Header::parse(&bytes).unwrap();
        assert_eq!((read.ttl, read.df, read.ident, read.total_len), (1, true, 0xbeef, 84));
    }

    #[test]
    fn a_short_look_at_the_checksum_says_what_the_long_one_says() {
        let mut header = [0_u8; HLEN];
        let mut next = 0x9e37_79b9_7f4a_7c15_u64;
        for turn in 0..20_000 {
            for byte in &mut header {
                next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Among them those with many bits, which carry most.
                *byte = if turn % 2 == 0 { (next >> 56) as u8 } else { 0xff - (next >> 61) as u8 };
            }
            if turn % 3 == 0 {
                write_checksum(&mut header, HLEN);
            }
            assert_eq!(sums_up(&header), crate::l3::internet_checksum(&header, 0) == 0, "{header:x?}");
        }
        assert!(sums_up(&[0xff; HLEN]) && !sums_up(&[0; HLEN]));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let mut bytes = [0; 84];
        header().write(&mut bytes);
        assert!(Ipv4Header::parse(&bytes[..19]).is_none());
        bytes[0] = 0x4f;
        assert!(Ipv4Header::parse(&bytes[..40]).is_none());
        bytes[0] = 0x44;
        assert!(Ipv4Header::parse(&bytes).is_none());
    }
}
