//! Message headers and the walk over a datagram (`nlmsghdr`, `netlink_rcv_skb`).

use crate::attr::{Attrs, align4};

/// Bytes of a message header.
pub const HEADER_LEN: usize = 16;

/// A netlink message header (`struct nlmsghdr`), integers in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsgHeader {
    /// Bytes of the whole message, header included, final padding not.
    pub len: u32,
    /// What the message is (`NLMSG_*` below 16, else the family's own).
    pub ty: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// The requester's number, repeated in every answer.
    pub seq: u32,
    /// Port of the requester; what a sender writes here is not believed.
    pub portid: u32,
}

impl MsgHeader {
    /// A header for a message to be built: the length is patched by [`Builder`](crate::Builder).
    pub const fn new(ty: u16, flags: u16, seq: u32, portid: u32) -> Self {
        Self { len: HEADER_LEN as u32, ty, flags, seq, portid }
    }

    /// A request header, with port 0 as clients write it.
    pub const fn request(ty: u16, flags: u16, seq: u32) -> Self {
        Self::new(ty, flags, seq, 0)
    }

    /// Reads a header; `None` when fewer than 16 bytes are there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *head;
        Some(Self {
            len: u32::from_ne_bytes([a, b, c, d]),
            ty: u16::from_ne_bytes([e, f]),
            flags: u16::from_ne_bytes([g, h]),
            seq: u32::from_ne_bytes([i, j, k, l]),
            portid: u32::from_ne_bytes([m, n, o, p]),
        })
    }

    /// The sixteen bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..4].copy_from_slice(&self.len.to_ne_bytes());
        out[4..6].copy_from_slice(&self.ty.to_ne_bytes());
        out[6..8].copy_from_slice(&self.flags.to_ne_bytes());
        out[8..12].copy_from_slice(&self.seq.to_ne_bytes());
        out[12..].copy_from_slice(&self.portid.to_ne_bytes());
        out
    }
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msg<'a> {
    /// Its header.
    pub header: MsgHeader,
    /// Header and payload, exactly `header.len` bytes.
    pub raw: &'a [u8],
}

impl<'a> Msg<'a> {
    /// Everything behind the message header.
    pub fn payload(&self) -> &'a [u8] {
        self.raw.get(HEADER_LEN..).unwrap_or(&[])
    }

    /// The attributes behind a family header of `body_len` bytes (padded to 4). A payload that ends inside the family
    /// header has no attributes: that is how the kernel reads `RTM_GETNSID` messages of 17 to 19 bytes.
    pub fn attrs(&self, body_len: usize) -> Attrs<'a> {
        let start = HEADER_LEN + align4(body_len);
        Attrs::at(self.raw.get(start..).unwrap_or(&[]), start as u32)
    }
}

/// Iterates over the messages of a datagram, stopping silently where `netlink_rcv_skb` does: when fewer than 16 bytes
/// remain, or a length is below 16 or beyond the datagram.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Starts at the first byte of a datagram.
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }

    /// Bytes not consumed: after the iteration ended, what was silently dropped.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Msg<'a>;

    fn next(&mut self) -> Option<Msg<'a>> {
        let header = MsgHeader::read(self.rest)?;
        let len = usize::try_from(header.len).ok().filter(|&len| len >= HEADER_LEN)?;
        let raw = self.rest.get(..len)?;
        // The padding of the last message may be missing; then nothing is left.
        self.rest = self.rest.get(align4(len)..).unwrap_or(&[]);
        Some(Msg { header, raw })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn message(len: u32, body: usize) -> Vec<u8> {
        let mut bytes = MsgHeader { len, ..MsgHeader::request(90, 1, 7) }.to_bytes().to_vec();
        bytes.resize(bytes.len() + body, 0xab);
        bytes
    }

    #[test]
    fn a_header_survives_the_round_trip() {
        let header = MsgHeader { len: 20, ty: 88, flags: 0x305, seq: 0xdead_beef, portid: 42 };
        assert_eq!(MsgHeader::read(&header.to_bytes()), Some(header));
        assert_eq!(MsgHeader::read(&header.to_bytes()[..15]), None);
    }

    #[test]
    fn messages_start_on_multiples_of_four() {
        let mut datagram = message(17, 4);
        datagram.extend_from_slice(&message(16, 0));
        let lens: Vec<u32> = Messages::new(&datagram).map(|m| m.header.len).collect();
        assert_eq!(lens, [17, 16]);
        assert_eq!(Messages::new(&datagram).next().unwrap().payload(), [0xab]);
    }

    #[test]
    fn a_bad_length_ends_the_walk_silently() {
        for len in [0, 15, 21, u32::MAX] {
            let mut datagram = message(16, 0);
            datagram.extend_from_slice(&message(len, 4));
            let mut walk = Messages::new(&datagram);
            assert_eq!(walk.by_ref().count(), 1, "length {len}");
            assert_eq!(walk.rest().len(), 20);
        }
    }

    #[test]
    fn the_last_message_needs_no_padding() {
        assert_eq!(Messages::new(&message(17, 1)).count(), 1);
    }
}
