//! The header, and those that follow it (RFC 8200).

use std::net::Ipv6Addr;

/// Bytes of the header.
pub(in crate::l3) const HLEN: usize = 40;

/// Numbers of headers ("next header").
pub(super) mod next {
    pub(in super::super) const HOP_BY_HOP: u8 = 0;
    pub(in super::super) const ROUTING: u8 = 43;
    pub(in super::super) const FRAGMENT: u8 = 44;
    pub(in super::super) const ICMPV6: u8 = 58;
    pub(in super::super) const NONE: u8 = 59;
    pub(in super::super) const DST_OPTIONS: u8 = 60;
}

/// A header as it was read.
#[derive(Clone, Copy, Debug)]
pub(in crate::l3) struct Ipv6Header {
    pub(in crate::l3) tclass: u8,
    /// 20 bits.
    pub(super) flow_label: u32,
    pub(super) payload_len: usize,
    pub(super) next: u8,
    pub(in crate::l3) hop_limit: u8,
    pub(in crate::l3) src: Ipv6Addr,
    pub(in crate::l3) dst: Ipv6Addr,
}

impl Ipv6Header {
    /// Reads a header. The packet may be cut off behind it (as ICMP quotes them).
    pub(in crate::l3) fn parse(data: &[u8]) -> Option<Self> {
        let h: &[u8; HLEN] = data.first_chunk()?;
        let first = u32::from_be_bytes([h[0], h[1], h[2], h[3]]);
        if first >> 28 != 6 {
            return None;
        }
        // Pieces, not bytes one by one: this is each packet's.
        let (_, ends) = h.split_first_chunk::<8>()?;
        let (&src, ends) = ends.split_first_chunk::<16>()?;
        let &dst = ends.first_chunk::<16>()?;
        Some(Self {
            tclass: (first >> 20 & 0xff) as u8,
            flow_label: first & 0xf_ffff,
            payload_len: usize::from(u16::from_be_bytes([h[4], h[5]])),
            next: h[6],
            hop_limit: h[7],
            src: src.into(),
            dst: dst.into(),
        })
    }

    /// Writes it into the first forty bytes of `into`.
    pub(super) fn write(&self, into: &mut [u8]) {
        let Some(h) = into.first_chunk_mut::<HLEN>() else { return };
        let first = 6 << 28 | u32::from(self.tclass) << 20 | self.flow_label & 0xf_ffff;
        h[..4].copy_from_slice(&first.to_be_bytes());
        h[4..6].copy_from_slice(&(self.payload_len.min(0xffff) as u16).to_be_bytes());
        (h[6], h[7]) = (self.next, self.hop_limit);
        h[8..24].copy_from_slice(&self.src.octets());
        h[24..40].copy_from_slice(&self.dst.octets());
    }
}

/// What is behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Upper {
    pub(super) protocol: u8,
    /// Where it begins, from the network header on.
    pub(super) at: usize,
    /// It is a part of a packet, and not the first: there is nothing of that protocol's header.
    pub(super) later_part: bool,
}

/// The fields of a fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FragmentHeader {
    pub(super) next: u8,
    /// Where this part belongs, bytes.
    pub(super) offset: usize,
    pub(super) more: bool,
    pub(super) ident: u32,
}

/// Bytes of a fragment header.
pub(super) const FRAGMENT_LEN: usize = 8;

impl FragmentHeader {
    pub(in crate::l3) fn parse(data: &[u8]) -> Option<Self> {
        let h: &[u8; FRAGMENT_LEN] = data.first_chunk()?;
        let word = u16::from_be_bytes([h[2], h[3]]);
        let ident = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
        Some(Self { next: h[0], offset: usize::from(word & 0xfff8), more: word & 1 != 0, ident })
    }

    pub(super) fn bytes(&self) -> [u8; FRAGMENT_LEN] {
        let word = self.offset as u16 & 0xfff8 | u16::from(self.more);
        let ([a, b], [c, d, e, f]) = (word.to_be_bytes(), self.ident.to_be_bytes());
        [self.next, 0, a, b, c, d, e, f]
    }
}

/// Bytes of the extension header `kind` at the front of `data`; `None` if it is none, or it does not fit.
pub(super) fn extension_len(kind: u8, data: &[u8]) -> Option<usize> {
    let len = match kind {
        next::HOP_BY_HOP | next::ROUTING | next::DST_OPTIONS => 8 + usize::from(*data.get(1)?) * 8,
        next::FRAGMENT => FRAGMENT_LEN,
        _ => return None,
    };
    (len <= data.len()).then_some(len)
}

/// Whether a number is one of an extension header's that [`extension_len`] knows.
pub(super) const fn is_extension(kind: u8) -> bool {
    matches!(kind, next::HOP_BY_HOP | next::ROUTING | next::DST_OPTIONS | next::FRAGMENT)
}

/// Looks behind the extension headers of a packet (`ipv6_skip_exthdr`); `None` if one of them is cut off.
pub(super) fn upper(packet: &[u8], first: u8) -> Option<Upper> {
    let (mut kind, mut at) = (first, HLEN);
    while is_extension(kind) {
        let rest = packet.get(at..)?;
        let len = extension_len(kind, rest)?;
        if kind == next::FRAGMENT && FragmentHeader::parse(rest)?.offset > 0 {
            return Some(Upper { protocol: rest[0], at: at + len, later_part: true });
        }
        kind = *rest.first()?;
        at += len;
    }
    Some(Upper { protocol: kind, at, later_part: false })
}

/// Where the part of a packet ends that every one of its fragments has, and where the number of the header behind that is.
pub(super) fn unfragmentable(packet: &[u8], first: u8) -> Option<(usize, usize)> {
    let (mut kind, mut at, mut field) = (first, HLEN, 6);
    let mut end = (at, field);
    while is_extension(kind) && kind != next::FRAGMENT {
        let rest = packet.get(at..)?;
        let len = extension_len(kind, rest)?;
        // Options for the destination are for every part only if a routing header makes stations of it.
        let each = kind != next::DST_OPTIONS;
        (kind, field, at) = (*rest.first()?, at, at + len);
        if each {
            end = (at, field);
        }
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let written = Ipv6Header {
            tclass: 0xb8,
            flow_label: 0xabcde,
            payload_len: 1234,
            next: 17,
            hop_limit: 9,
            src: "2001:db8::1".parse().unwrap(),
            dst: "ff02::1".parse().unwrap(),
        };
        let mut bytes = [0; HLEN];
        written.write(&mut bytes);
        let read = Ipv6Header::parse(&bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{written:?}"));
        assert!(Ipv6Header::parse(&bytes[..39]).is_none());
        let part = FragmentHeader { next: 17, offset: 1480, more: true, ident: 0xdead_beef };
        assert_eq!(FragmentHeader::parse(&part.bytes()), Some(part));
    }

    #[test]
    fn extension_headers_are_looked_behind() {
        let mut packet = vec![0; HLEN];
        packet.extend([43, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend([60, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend([17, 1]);
        packet.extend([0; 14]);
        packet.extend([1, 2, 3, 4]);
        assert_eq!(upper(&packet, 0), Some(Upper { protocol: 17, at: 72, later_part: false }));
        assert_eq!(unfragmentable(&packet, 0), Some((56, 48)));
        assert_eq!(upper(&packet[..70], 0), None);
    }
}
