//! A frame (`struct sk_buff`).

use std::num::NonZeroU16;

use super::buffer::Buffer;
use super::{Noted, Tag};
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
/// What is before [`data`](Self::data) is either room or headers that were taken off; those can be put back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    bytes: Buffer,
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
    /// Device that has the address of this host which the packet is for, if it went from here to here by IPv6; else 0.
    pub(crate) device: u32,
    /// The packet socket that sent it; 0 if none did.
    pub(crate) sender: u64,
    /// The tag that it bears.
    pub(crate) tag: Option<Tag>,
    /// What is noted of its way, if somebody wants to know. A copy notes nothing.
    pub(crate) trail: Noted,
}

impl Frame {
    /// Room for an Ethernet header and the longest header of either IP, and a few tunnels.
    pub(crate) const HEADROOM: usize = 128;

    /// Of a payload, with [`HEADROOM`](Self::HEADROOM) before it.
    pub(crate) fn with_payload(payload: &[u8]) -> Self {
        let mut bytes = Buffer::with_capacity(Self::HEADROOM + payload.len());
        bytes.resize(Self::HEADROOM, 0);
        bytes.extend_from_slice(payload);
        Self { bytes, head: Self::HEADROOM, network: Self::HEADROOM, mac: Self::HEADROOM, ..Self::default() }
    }

    /// `len` bytes of zeros, with [`HEADROOM`](Self::HEADROOM) before them.
    pub(crate) fn zeroed(len: usize) -> Self {
        let at = Self::HEADROOM;
        Self { bytes: Buffer::dirty(at + len, at + len), head: at, network: at, mac: at, ..Self::default() }
    }

    /// `len` bytes that the caller is going to write, but for the first `zeroed` of them, with
    /// [`HEADROOM`](Self::HEADROOM) before them.
    pub(crate) fn to_be_written(len: usize, zeroed: usize) -> Self {
        let at = Self::HEADROOM;
        Self { bytes: Buffer::dirty(at + len, at + zeroed), head: at, network: at, mac: at, ..Self::default() }
    }

    /// Where the network header begins in [`data`](Self::data).
    pub(crate) const fn network_at(&self) -> usize {
        self.network.saturating_sub(self.head)
    }

    /// The network header begins so far into [`data`](Self::data), and what is before it there is the link-layer header.
    pub(crate) const fn set_network_at(&mut self, at: usize) {
        (self.mac, self.network) = (self.head, self.head + at);
    }

    /// Of how many packets it stands for.
    pub(crate) fn segments(&self, headers: usize) -> usize {
        let payload = self.len().saturating_sub(headers);
        self.segment.map_or(1, |segment| payload.div_ceil(usize::from(segment.get())).max(1))
    }

    /// The bytes from the header that is to be read next.
    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.head..]
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    /// Takes `len` bytes off the front (`skb_pull`); `None`, and nothing is taken, if there are fewer.
    pub(crate) fn pull(&mut self, len: usize) -> Option<()> {
        if len > self.len() {
            return None;
        }
        self.head += len;
        Some(())
    }

    /// `len` bytes more at the front (`skb_push`), which hold whatever was there.
    pub(crate) fn push(&mut self, len: usize) -> &mut [u8] {
        if len > self.head {
            let more = len - self.head + Self::HEADROOM;
            self.bytes.splice(0..0, std::iter::repeat_n(0, more));
            self.head += more;
            self.network += more;
            self.mac += more;
        }
        self.head -= len;
        &mut self.bytes[self.head..self.head + len]
    }

    /// Cuts the end off (`skb_trim`): padding of short frames.
    pub(crate) fn trim(&mut self, len: usize) {
        let end = self.head.saturating_add(len);
        self.bytes.truncate(end);
    }

    /// The network header begins where [`data`](Self::data) does now.
    pub(crate) const fn set_network_here(&mut self) {
        self.network = self.head;
    }

    pub(crate) fn network_mut(&mut self) -> &mut [u8] {
        let from = self.network.min(self.bytes.len());
        &mut self.bytes[from..]
    }

    /// The link-layer header begins where [`data`](Self::data) does now.
    pub(crate) const fn set_mac_here(&mut self) {
        self.mac = self.head;
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
        self.head = self.mac.min(self.bytes.len());
    }

    /// Adds bytes at the end (`skb_put`).
    pub(crate) fn append(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    /// [`data`](Self::data) begins with the network header again.
    pub(crate) fn pull_back_to_network(&mut self) {
        self.head = self.network.min(self.bytes.len());
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
}
