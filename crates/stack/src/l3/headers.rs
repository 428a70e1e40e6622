//! What the headers of a packet say to who sent it.

use std::net::IpAddr;

use super::v4::Ipv4Header;
use super::v6::{HLEN as HLEN6, Ipv6Header};
use crate::l2::Frame;

/// What is said of a packet that was sent, as of one that was received.
#[derive(Debug)]
pub(crate) struct Headers {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// Of UDP, or whatever stands there in others.
    pub(crate) dport: u16,
    pub(crate) tos: u8,
    pub(crate) hop_limit: u8,
}

/// Reads the headers of a frame whose data begin at its network header or before. `None` if it is not one of IP.
pub(crate) fn headers_of(frame: &Frame) -> Option<Headers> {
    let packet = frame.data().get(frame.network_at()..)?;
    let port = |at: usize| packet.get(at + 2..at + 4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
    if let Some(header) = Ipv4Header::parse(packet) {
        let (src, dst) = (header.src.into(), header.dst.into());
        return Some(Headers { src, dst, dport: port(header.len), tos: header.tos, hop_limit: header.ttl });
    }
    let header = Ipv6Header::parse(packet)?;
    let (src, dst) = (header.src.into(), header.dst.into());
    Some(Headers { src, dst, dport: port(HLEN6), tos: header.tclass, hop_limit: header.hop_limit })
}
