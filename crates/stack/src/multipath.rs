//! How packets spread over several ways (`fib_multipath_hash_policy` and `fib_multipath_hash_fields` of both families).
//!
//! The settings are read with every packet that is looked up, so they are kept as one number beside the text that was
//! written. As long as nobody writes, packets spread by their ends, which routes do by themselves.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::state::Ns;
use crate::sysctl;

/// Bits of `fib_multipath_hash_fields`; those of an inner packet are six bits further up.
mod field {
    pub(super) const SRC: u16 = 0x01;
    pub(super) const DST: u16 = 0x02;
    pub(super) const PROTOCOL: u16 = 0x04;
    pub(super) const LABEL: u16 = 0x08;
    pub(super) const SPORT: u16 = 0x10;
    pub(super) const DPORT: u16 = 0x20;
    pub(super) const INNER: u32 = 6;
}

/// One family's settings: the policy above, the fields below.
#[derive(Debug, Default)]
pub(crate) struct Spread(AtomicU32);

impl Spread {
    pub(crate) fn policy(&self) -> Policy {
        let said = self.0.load(Ordering::Relaxed);
        Policy { kind: (said >> 16) as u8, fields: said as u16 }
    }
}

/// What a namespace has for IPv6, or for IPv4.
pub(crate) fn policy(ns: Ns<'_>, v6: bool) -> Policy {
    ns.l3.peek().map_or_else(Policy::default, |l3| l3.spread[usize::from(v6)].policy())
}

/// A setting was written: it is kept here, too.
pub(crate) fn written(ns: Ns<'_>, name: &str) {
    if !name.contains("/fib_multipath_hash_") {
        return;
    }
    for (spread, family) in ns.l3.spread.iter().zip(["ipv4", "ipv6"]) {
        let number = |of| sysctl::text(ns, &format!("{family}/fib_multipath_hash_{of}")).trim().parse().unwrap_or(0u32);
        let said = number("policy") << 16 | number("fields");
        let said = if number("policy") == 0 { 0 } else { said };
        spread.0.store(said, Ordering::Relaxed);
    }
}

/// By what packets spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    kind: u8,
    fields: u16,
}

/// What of a packet may matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    /// IPv6's flow label.
    pub(crate) label: u32,
}

impl Policy {
    /// Ends of packets alone, as each family has it.
    pub(crate) const fn is_born(self) -> bool {
        self.kind == 0
    }

    /// Whether it may ask for what a tunnel carries.
    pub(crate) const fn looks_inside(self) -> bool {
        self.kind == 2 || self.kind == 3 && self.fields >> field::INNER != 0
    }

    /// The number by which a packet is given its way: the same for whatever is not to be told apart.
    pub(crate) fn hash(self, outer: &Seen, inner: Option<&Seen>) -> u64 {
        const ENDS: u16 = field::SRC | field::DST;
        let (of_outer, of_inner) = match self.kind {
            1 => (ENDS | field::PROTOCOL | field::SPORT | field::DPORT, 0),
            2 => match inner {
                Some(inner) => (0, inner.ends()),
                None => (outer.ends(), 0),
            },
            _ => (self.fields, self.fields >> field::INNER),
        };
        let hash = outer.mixed(of_outer, 0);
        inner.map_or(hash, |inner| inner.mixed(of_inner, hash))
    }

    /// As that, of a packet from its network header on, where it is to be looked inside.
    pub(crate) fn hash_inside(self, packet: &[u8]) -> Option<u64> {
        if !self.looks_inside() {
            return None;
        }
        let (outer, within) = dissect(packet)?;
        let inner = within.and_then(innermost);
        Some(self.hash(&outer, inner.as_ref()))
    }
}

impl Seen {
    /// What two ends are told from others by: IPv6's have a label, and a protocol.
    const fn ends(&self) -> u16 {
        let ends = field::SRC | field::DST;
        if self.dst.is_ipv6() { ends | field::PROTOCOL | field::LABEL } else { ends }
    }

    fn mixed(&self, fields: u16, seed: u64) -> u64 {
        let mix = |sum: u64, part: u64| {
            let sum = (sum ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            sum ^ sum >> 29
        };
        let end = |addr: IpAddr| match addr {
            IpAddr::V4(addr) => u128::from(addr.to_bits()),
            IpAddr::V6(addr) => addr.to_bits(),
        };
        let asked = |bit: u16, value: u64| if fields & bit == 0 { 0 } else { value };
        let ends = [(field::SRC, end(self.src)), (field::DST, end(self.dst))];
        let halves =
            ends.into_iter().flat_map(|(bit, end)| [(end >> 64) as u64, end as u64].map(|half| asked(bit, half)));
        let rest = [
            asked(field::PROTOCOL, self.protocol.into()),
            asked(field::LABEL, self.label.into()),
            asked(field::SPORT, self.sport.into()),
            asked(field::DPORT, self.dport.into()),
        ];
        halves.chain(rest).fold(seed, mix)
    }
}

/// The same for both directions of a flow, of a packet from its network header on.
pub(crate) fn symmetric_hash(packet: &[u8]) -> Option<u64> {
    let (seen, _) = dissect(packet)?;
    let back = Seen { src: seen.dst, dst: seen.src, sport: seen.dport, dport: seen.sport, ..seen };
    Some([seen, back].into_iter().map(|seen| seen.mixed(!field::LABEL, 0)).fold(0, u64::wrapping_add))
}

/// A packet behind a tunnel's header.
struct Within<'a> {
    v6: bool,
    packet: &'a [u8],
}

/// What is seen of a packet from its network header on, and what it carries if it is a tunnel's.
fn dissect(packet: &[u8]) -> Option<(Seen, Option<Within<'_>>)> {
    match packet.first()? >> 4 {
        4 => dissect4(packet),
        6 => dissect6(packet),
        _ => None,
    }
}

/// The innermost packet, of tunnels in tunnels.
fn innermost(mut within: Within<'_>) -> Option<Seen> {
    /// More than fit into a packet that anybody means.
    const DEEP: usize = 8;
    let mut found = None;
    for _ in 0..DEEP {
        let version = if within.v6 { 6 } else { 4 };
        let Some((seen, next)) = dissect(within.packet).filter(|_| within.packet[0] >> 4 == version) else { break };
        found = Some(seen);
        match next {
            Some(next) => within = next,
            None => break,
        }
    }
    found
}

fn dissect4(packet: &[u8]) -> Option<(Seen, Option<Within<'_>>)> {
    const MORE_OR_LATER: u16 = 0x3fff;
    let header: &[u8; 20] = packet.first_chunk()?;
    let addr = |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let len = usize::from(header[0] & 0xf) * 4;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & MORE_OR_LATER != 0;
    let rest = packet.get(len..).filter(|_| !fragment).unwrap_or_default();
    let (sport, dport) = ports(header[9], rest);
    let seen = Seen { src: addr(12), dst: addr(16), protocol: header[9], sport, dport, label: 0 };
    Some((seen, tunnelled(header[9], rest)))
}

fn dissect6(packet: &[u8]) -> Option<(Seen, Option<Within<'_>>)> {
    const FRAGMENT: u8 = 44;
    let header: &[u8; 40] = packet.first_chunk()?;
    let addr = |at: usize| {
        let bytes: Option<&[u8; 16]> = header.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map(|bytes| IpAddr::from(*bytes))
    };
    let label = u32::from_be_bytes([0, header[1] & 0xf, header[2], header[3]]);
    let (mut protocol, mut rest) = (header[6], &packet[40..]);
    // Headers for those on the way, and for the end.
    while matches!(protocol, 0 | 43 | 60) {
        let Some((&[next, eights], _)) = rest.split_first_chunk() else { break };
        let Some(behind) = rest.get(8 + usize::from(eights) * 8..) else { break };
        (protocol, rest) = (next, behind);
    }
    if protocol == FRAGMENT {
        (protocol, rest) = (rest.first().copied().unwrap_or(FRAGMENT), &[]);
    }
    let (sport, dport) = ports(protocol, rest);
    let seen = Seen { src: addr(8)?, dst: addr(24)?, protocol, sport, dport, label };
    Some((seen, tunnelled(protocol, rest)))
}

/// TCP, UDP, DCCP, SCTP and UDP-Lite begin with them.
pub(crate) fn ports(protocol: u8, transport: &[u8]) -> (u16, u16) {
    match transport.first_chunk() {
        Some(&[a, b, c, d]) if has_ports(protocol) => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
        _ => (0, 0),
    }
}

/// See [`ports`].
pub(crate) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

/// What a tunnel carries: IP in IP, or GRE (RFC 2784, RFC 2890).
fn tunnelled(protocol: u8, rest: &[u8]) -> Option<Within<'_>> {
    const ETHERNET: usize = 14;
    let of_type = |ethertype: [u8; 2], packet| match u16::from_be_bytes(ethertype) {
        0x0800 => Some(Within { v6: false, packet }),
        0x86dd => Some(Within { v6: true, packet }),
        _ => None,
    };
    match protocol {
        4 => Some(Within { v6: false, packet: rest }),
        41 => Some(Within { v6: true, packet: rest }),
        47 => {
            let (&[flags, version, high, low], _) = rest.split_first_chunk()?;
            // Checksum, key and sequence number, where there are some; of other versions nothing is known.
            let words = [0x80, 0x20, 0x10].into_iter().filter(|bit| flags & bit != 0).count();
            let behind = rest.get(4 + 4 * words..).filter(|_| version & 7 == 0 && flags & 0x40 == 0)?;
            if [high, low] == [0x65, 0x58] {
                let kind = behind.get(12..ETHERNET)?.first_chunk()?;
                return of_type(*kind, behind.get(ETHERNET..)?);
            }
            of_type([high, low], behind)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp4(src: u8, sport: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, src, 10, 0, 0, 9];
        packet.extend(sport.to_be_bytes());
        packet.extend([0, 53, 0, 8, 0, 0]);
        packet
    }

    fn in4(protocol: u8, inner: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        packet.extend(inner);
        packet
    }

    fn in6(next: u8, inner: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6]) = (0x60, next);
        packet.extend(inner);
        packet
    }

    fn hash(kind: u8, fields: u16, packet: &[u8]) -> Option<u64> {
        Policy { kind, fields }.hash_inside(packet)
    }

    #[test]
    fn what_a_tunnel_carries_is_found() {
        let gre = |head: &[u8], inner: &[u8]| in4(47, &[head, inner].concat());
        let ether = [&[0; 12][..], &[8, 0], &udp4(1, 7)].concat();
        let same = [
            in4(4, &udp4(1, 7)),
            in4(4, &udp4(1, 8)),
            in4(41, &in6(4, &udp4(1, 7))),
            in6(4, &udp4(1, 7)),
            in6(60, &[&[4, 0, 0, 0, 0, 0, 0, 0][..], &udp4(1, 7)].concat()),
            gre(&[0, 0, 8, 0], &udp4(1, 7)),
            gre(&[0xb0, 0, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9], &udp4(1, 7)),
            gre(&[0, 0, 0x65, 0x58], &ether),
        ];
        let first = hash(2, 0, &same[0]);
        assert!(first.is_some());
        for packet in &same {
            assert_eq!(hash(2, 0, packet), first, "{packet:x?}");
        }
        assert_ne!(hash(2, 0, &in4(4, &udp4(2, 7))), first);
        // Not one, or one of a kind that nobody knows: the packet's own ends.
        let plain = hash(2, 0, &in4(17, &[]));
        assert_eq!(hash(2, 0, &gre(&[0, 1, 8, 0], &udp4(1, 7))), plain);
        assert_eq!(hash(2, 0, &in4(4, &[0x65])), plain);
    }

    #[test]
    fn the_fields_are_those_that_are_named() {
        let [one, other] = [7, 8].map(|sport| in4(4, &udp4(1, sport)));
        assert_eq!(hash(3, 0x40, &one), hash(3, 0x40, &other));
        assert_ne!(hash(3, 0x400, &one), hash(3, 0x400, &other));
        assert_eq!(hash(3, 0x800, &one), hash(3, 0x800, &other));
        assert_eq!(hash(3, 0x3f, &one), None, "nothing inside is asked for");
        let seen = Seen { src: [1; 4].into(), dst: [2; 4].into(), protocol: 17, sport: 1, dport: 2, label: 3 };
        let differ = |fields: u16, other: Seen| {
            let policy = Policy { kind: 3, fields };
            policy.hash(&seen, None) != policy.hash(&other, None)
        };
        assert!(differ(8, Seen { label: 4, ..seen }) && !differ(0x37, Seen { label: 4, ..seen }));
        assert!(differ(4, Seen { protocol: 6, ..seen }) && !differ(0x3b, Seen { protocol: 6, ..seen }));
    }

    #[test]
    fn no_packet_is_too_short() {
        for packet in [in4(4, &in6(47, &udp4(1, 7))), in6(41, &in6(17, &[1, 2, 3, 4])), in4(47, &[0xb0, 0, 8, 0])] {
            for len in 0..packet.len() {
                let _ = hash(2, 0, &packet[..len]);
            }
        }
    }
}
