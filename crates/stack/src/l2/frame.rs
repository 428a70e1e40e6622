//! A frame (`struct sk_buff`).

use std::num::NonZeroU16;
use std::ops::{Deref, DerefMut};

use super::{Noted, Stamps, Tag, buffer};
use crate::l3::Reach;

/// What is known of the checksum of the transport header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// Nothing: whoever takes the packet computes it (`CHECKSUM_NONE`).
    #[default]
    Unknown,
    /// It is right (`CHECKSUM_UNNECESSARY`).
    Right,
    /// It was not computed yet: where the packet leaves the machine it is, from `start` bytes after the network header on, and
    /// written `offset` bytes after that (`CHECKSUM_PARTIAL`). Between namespaces it travels so.
    Partial {
        /// Of the transport header, after the beginning of the network header: `ip_output` fills it in, who knows how long
        /// that is.
        start: u16,
        /// Of the field in the transport header.
        offset: u16,
    },
}

/// Whom a frame is for (`PACKET_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PacketType {
    /// For this host.
    #[default]
    Host,
    /// For everybody.
    Broadcast,
    /// For a group.
    Multicast,
    /// For somebody else: seen because the device listens to everything.
    OtherHost,
    /// Of this host.
    Outgoing,
}

/// A packet on its way: bytes with room before them for the headers that are still to come.
///
/// It is handed on from list to list, a dozen times on its way through a router: so it is a pointer, to memory that is used
/// again by the next. An empty one has none.
#[derive(Debug, Default)]
pub(crate) struct Frame(Option<Box<Body>>);

/// What a [`Frame`] consists of.
///
/// What is before [`data`](Frame::data) is either room or headers that were taken off; those can be put back.
#[derive(Debug)]
pub(crate) struct Body {
    pub(super) bytes: Vec<u8>,
    head: usize,
    /// Where the network header begins, from the beginning of `bytes`.
    network: usize,
    /// Where the link-layer header begins, likewise; it ends where the network header begins.
    mac: usize,
    /// What the network header is, `ETH_P_*`.
    pub(crate) protocol: u16,
    pub(crate) kind: PacketType,
    pub(crate) checksum: Checksum,
    /// Bytes of payload in each of the segments that this packet stands for, if it stands for several (`gso_size`).
    pub(crate) segment: Option<NonZeroU16>,
    pub(crate) mark: u32,
    pub(crate) priority: u32,
    /// This host sent it to itself, and the way out was the way in (`skb_dst`): nobody asks for a way again.
    pub(crate) routed: Option<Reach>,
    /// Device that has the address of this host which the packet is for, if it went from here to here; else 0.
    pub(crate) device: u32,
    /// The packet socket that sent it; 0 if none did.
    pub(crate) sender: u64,
    /// The tag that it bears.
    pub(crate) tag: Option<Tag>,
    /// What is noted of its way, if somebody wants to know. A copy notes nothing.
    pub(crate) trail: Noted,
    /// Who wants to know when it was sent, if somebody does. Nobody does of a copy.
    pub(crate) stamps: Stamps,
}

/// What an empty frame consists of.
static NOTHING: Body = Body::new(Vec::new(), 0);

impl Body {
    /// Of bytes whose first are room for headers.
    pub(super) const fn new(bytes: Vec<u8>, head: usize) -> Self {
        Self {
            bytes,
            head,
            network: head,
            mac: head,
            protocol: 0,
            kind: PacketType::Host,
            checksum: Checksum::Unknown,
            segment: None,
            mark: 0,
            priority: 0,
            routed: None,
            device: 0,
            sender: 0,
            tag: None,
            trail: Noted::NOTHING,
            stamps: Stamps::NONE,
        }
    }
}

impl Body {
    /// As [`new`](Self::new), of bytes that it has had: `len` of them, which hold whatever was there. Its trail and
    /// its stamps were taken.
    ///
    /// In place, for it is done with each frame.
    #[inline]
    pub(super) fn begin_again(&mut self, len: usize, head: usize) {
        if self.bytes.len() != len {
            self.bytes.resize(len, 0);
        }
        let Self {
            bytes: _,
            head: own_head,
            network,
            mac,
            protocol,
            kind,
            checksum,
            segment,
            mark,
            priority,
            routed,
            device,
            sender,
            tag,
            trail: _,
            stamps: _,
        } = self;
        (*own_head, *network, *mac) = (head, head, head);
        (*protocol, *kind, *checksum, *segment) = (0, PacketType::Host, Checksum::Unknown, None);
        (*mark, *priority, *routed, *device, *sender, *tag) = (0, 0, None, 0, 0, None);
    }

    /// Room for `len` bytes before what there is, and for more.
    #[cold]
    fn make_room(&mut self, len: usize) {
        let more = len - self.head + Frame::HEADROOM;
        self.bytes.splice(0..0, std::iter::repeat_n(0, more));
        self.head += more;
        self.network += more;
        self.mac += more;
    }
}

impl Deref for Frame {
    type Target = Body;

    #[inline]
    fn deref(&self) -> &Body {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Frame {
    #[inline]
    fn deref_mut(&mut self) -> &mut Body {
        self.0.get_or_insert_with(buffer::empty)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if let Some(body) = self.0.take() {
            buffer::give_back(body);
        }
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        let mut copy = buffer::take(self.bytes.len(), self.head);
        copy.bytes.copy_from_slice(&self.bytes);
        let Body { bytes, .. } = &mut *copy;
        *copy = Body { bytes: std::mem::take(bytes), trail: Noted::NOTHING, stamps: Stamps::NONE, ..**self };
        Self(Some(copy))
    }
}

impl Frame {
    /// Room for an Ethernet header and the longest header of either IP, and a few tunnels.
    pub(crate) const HEADROOM: usize = 128;

    /// Of a payload, with [`HEADROOM`](Self::HEADROOM) before it.
    pub(crate) fn with_payload(payload: &[u8]) -> Self {
        let mut frame = Self::to_be_written(payload.len(), 0);
        frame.data_mut().copy_from_slice(payload);
        frame
    }

    /// `len` bytes of zeros, with [`HEADROOM`](Self::HEADROOM) before them.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self::to_be_written(len, len)
    }

    /// `len` bytes that the caller is going to write, but for the first `zeroed` of them, with
    /// [`HEADROOM`](Self::HEADROOM) before them.
    pub(crate) fn to_be_written(len: usize, zeroed: usize) -> Self {
        let mut frame = Self(Some(buffer::take(Self::HEADROOM + len, Self::HEADROOM)));
        if zeroed > 0 {
            frame.data_mut()[..zeroed].fill(0);
        }
        frame
    }

    /// Where the network header begins in [`data`](Self::data).
    pub(crate) fn network_at(&self) -> usize {
        self.network.saturating_sub(self.head)
    }

    /// The network header begins so far into [`data`](Self::data), and what is before it there is the link-layer header.
    pub(crate) fn set_network_at(&mut self, at: usize) {
        let body = &mut **self;
        (body.mac, body.network) = (body.head, body.head + at);
    }

    /// Whether what it stands for, if it does for many, are packets of UDP: their checksum tells.
    pub(crate) fn is_of_udp(&self) -> bool {
        const UDP_CHECKSUM: u16 = 6;
        matches!(self.checksum, Checksum::Partial { offset: UDP_CHECKSUM, .. })
    }

    /// Of how many packets it stands for.
    pub(crate) fn segments(&self, headers: usize) -> usize {
        let payload = self.len().saturating_sub(headers);
        self.segment.map_or(1, |segment| payload.div_ceil(usize::from(segment.get())).max(1))
    }

    /// The bytes from the header that is to be read next.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        let body = &**self;
        &body.bytes[body.head..]
    }

    #[inline]
    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        let body = &mut **self;
        &mut body.bytes[body.head..]
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        let body = &**self;
        body.bytes.len() - body.head
    }

    /// Takes `len` bytes off the front (`skb_pull`); `None`, and nothing is taken, if there are fewer.
    #[inline]
    pub(crate) fn pull(&mut self, len: usize) -> Option<()> {
        let body = &mut **self;
        if len > body.bytes.len() - body.head {
            return None;
        }
        body.head += len;
        Some(())
    }

    /// `len` bytes more at the front (`skb_push`), which hold whatever was there.
    #[inline]
    pub(crate) fn push(&mut self, len: usize) -> &mut [u8] {
        let body = &mut **self;
        if len > body.head {
            body.make_room(len);
        }
        body.head -= len;
        &mut body.bytes[body.head..body.head + len]
    }

    /// Takes a link-layer header of `N` bytes off the front, behind which the network header begins; `None`, and nothing is
    /// taken, if there are fewer bytes.
    #[inline]
    pub(super) fn pull_mac_header<const N: usize>(&mut self) -> Option<[u8; N]> {
        let body = &mut **self;
        let header = *body.bytes.get(body.head..)?.first_chunk()?;
        body.mac = body.head;
        body.head += N;
        body.network = body.head;
        Some(header)
    }

    /// The network header begins where [`data`](Self::data) does now, and a link-layer header before it.
    #[inline]
    pub(super) fn push_mac_header<const N: usize>(&mut self, header: &[u8; N]) {
        let body = &mut **self;
        if N > body.head {
            body.make_room(N);
        }
        body.network = body.head;
        body.head -= N;
        body.mac = body.head;
        if let Some(room) = body.bytes.get_mut(body.head..).and_then(|bytes| bytes.first_chunk_mut()) {
            *room = *header;
        }
    }

    /// Cuts the end off (`skb_trim`): padding of short frames.
    #[inline]
    pub(crate) fn trim(&mut self, len: usize) {
        let body = &mut **self;
        let end = body.head.saturating_add(len);
        if end < body.bytes.len() {
            body.bytes.truncate(end);
        }
    }

    /// The network header begins where [`data`](Self::data) does now.
    #[inline]
    pub(crate) fn set_network_here(&mut self) {
        let body = &mut **self;
        body.network = body.head;
    }

    pub(crate) fn network_mut(&mut self) -> &mut [u8] {
        let body = &mut **self;
        let from = body.network.min(body.bytes.len());
        &mut body.bytes[from..]
    }

    /// The link-layer header begins where [`data`](Self::data) does now.
    #[inline]
    pub(crate) fn set_mac_here(&mut self) {
        let body = &mut **self;
        body.mac = body.head;
    }

    /// The link-layer header; empty if there is none.
    pub(crate) fn mac_header(&self) -> &[u8] {
        self.bytes.get(self.mac..self.network).unwrap_or(&[])
    }

    /// What stands from the network header to where [`data`](Self::data) begins.
    pub(crate) fn network_header(&self) -> &[u8] {
        self.bytes.get(self.network..self.head).unwrap_or_default()
    }

    /// [`data`](Self::data) begins with the link-layer header again.
    pub(crate) fn pull_back_to_mac(&mut self) {
        let body = &mut **self;
        body.head = body.mac.min(body.bytes.len());
    }

    /// Adds bytes at the end (`skb_put`).
    pub(crate) fn append(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    /// [`data`](Self::data) begins with the network header again.
    pub(crate) fn pull_back_to_network(&mut self) {
        let body = &mut **self;
        body.head = body.network.min(body.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_and_go_at_the_front() {
        let mut frame = Frame::with_payload(b"payload");
        frame.push(4).copy_from_slice(b"head");
        frame.set_network_here();
        frame.push(200).fill(7);
        assert_eq!((frame.len(), &frame.data()[198..]), (211, &b"\x07\x07headpayload"[..]));
        frame.pull(204).unwrap();
        assert_eq!(frame.data(), b"payload");
        assert_eq!((frame.pull(8), frame.len()), (None, 7));
        frame.pull_back_to_network();
        frame.trim(6);
        assert_eq!(frame.data(), b"headpa");
    }

    #[test]
    fn a_copy_is_the_same_but_for_what_is_noted_of_its_way() {
        let mut frame = Frame::with_payload(b"payload");
        (frame.mark, frame.protocol, frame.kind) = (7, 0x800, PacketType::Outgoing);
        frame.pull(3).unwrap();
        frame.set_network_here();
        let copy = frame.clone();
        assert_eq!((copy.data(), copy.mark, copy.protocol), (&b"load"[..], 7, 0x800));
        assert_eq!((copy.kind, copy.mac_header()), (PacketType::Outgoing, &b"pay"[..]));
        frame.data_mut().fill(0);
        assert_eq!(copy.data(), b"load");
    }

    #[test]
    fn what_is_taken_out_leaves_an_empty_one() {
        let mut frame = Frame::with_payload(b"payload");
        assert_eq!(std::mem::take(&mut frame).data(), b"payload");
        assert_eq!((frame.len(), frame.pull(1)), (0, None));
        assert!(frame.data().is_empty());
        frame.append(b"more");
        assert_eq!(frame.data(), b"more");
    }
}
