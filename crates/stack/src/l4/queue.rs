//! What waits in a socket to be received: packets, and errors that the program asked to be told of one by one.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::l2::Frame;

/// `net.core.rmem_default`, and the same of senders.
pub(crate) const DEFAULT_BUFFER: usize = 212_992;
/// The smallest buffer that can be had (`SOCK_MIN_RCVBUF`, `SOCK_MIN_SNDBUF`).
pub(crate) const MIN_RCVBUF: usize = 2304;
pub(crate) const MIN_SNDBUF: usize = 4608;
/// Errors that wait at once.
const MAX_ERRORS: usize = 256;

/// What is known of a packet beside its payload.
#[derive(Clone, Debug)]
pub struct Meta {
    /// Who sent it. Of raw sockets the port is 0.
    pub from: SocketAddr,
    /// Where it was sent: one of our addresses, a group, or all.
    pub dst: IpAddr,
    /// The port it came to.
    pub dport: u16,
    /// Index of the device it came in by.
    pub ifindex: u32,
    /// Type of service or traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// When it came, on the stack's clock.
    pub at: Duration,
    /// Packets that were dropped for want of room before it came.
    pub drops: u32,
    /// Bytes of each of several payloads in a row (`UDP_GRO`).
    pub segment: Option<u16>,
    /// Options of its IPv4 header.
    pub options: Box<[u8]>,
}

/// A packet that waits. The frame's data are what the program gets.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) frame: Frame,
    pub(crate) meta: Meta,
}

/// Who reported an error (`SO_EE_ORIGIN_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorOrigin {
    /// This host.
    Local = 1,
    /// An ICMP message.
    Icmp = 2,
    /// An ICMPv6 message.
    Icmp6 = 3,
}

/// An error in the queue of a socket (`struct sock_extended_err`).
#[derive(Clone, Debug)]
pub struct QueuedError {
    /// What programs are told.
    pub errno: i32,
    /// Who reported it.
    pub origin: ErrorOrigin,
    /// Type of the message.
    pub ty: u8,
    /// Its code.
    pub code: u8,
    /// What it says: the path's MTU.
    pub info: u32,
    /// Who sent the message.
    pub offender: Option<IpAddr>,
    /// Where the packet was going that it is about.
    pub to: SocketAddr,
    /// What the message quotes of the payload.
    pub payload: Vec<u8>,
    /// Index of the device that the message came in by.
    pub ifindex: u32,
    /// When it was found out, on the stack's clock.
    pub at: Duration,
    /// What is known of the message; none came of what this host found out itself.
    pub heard: Option<Meta>,
}

/// What a packet of this many bytes counts in a buffer: the memory that Linux has for it.
pub(super) fn truesize(len: usize) -> usize {
    /// Room before the payload, and what stands behind it (`skb_shared_info`).
    const AROUND: usize = 28 + 16 + 320;
    /// `struct sk_buff`.
    const HEADER: usize = 256;
    /// The smallest piece of memory.
    const SMALL: usize = 576;
    let needed = len + AROUND;
    HEADER + if needed <= SMALL { SMALL } else { needed.next_power_of_two() }
}

/// Both queues of a socket.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    packets: VecDeque<Waiting>,
    /// Memory of what waits.
    bytes: usize,
    drops: u32,
    errors: VecDeque<QueuedError>,
}

impl Queue {
    /// Takes a packet in if there is room in `limit` (`sk_rmem_schedule`).
    pub(crate) fn push(&mut self, mut packet: Waiting, limit: usize) -> bool {
        let size = truesize(packet.frame.len());
        if self.bytes + size > limit {
            self.drops = self.drops.wrapping_add(1);
            return false;
        }
        self.bytes += size;
        packet.meta.drops = self.drops;
        self.packets.push_back(packet);
        true
    }

    pub(crate) fn pop(&mut self) -> Option<Waiting> {
        let packet = self.packets.pop_front()?;
        self.bytes -= truesize(packet.frame.len()).min(self.bytes);
        if self.packets.is_empty() && self.packets.capacity() > 64 {
            self.packets = VecDeque::new();
        }
        Some(packet)
    }

    pub(crate) fn front(&self) -> Option<&Waiting> {
        self.packets.front()
    }

    /// Packets dropped so far.
    pub(crate) const fn drops(&self) -> u32 {
        self.drops
    }

    /// Memory of what waits.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push_error(&mut self, error: QueuedError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push_back(error);
        }
    }

    pub(crate) fn pop_error(&mut self) -> Option<QueuedError> {
        self.errors.pop_front()
    }

    pub(crate) fn front_error(&self) -> Option<&QueuedError> {
        self.errors.front()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as a kernel takes into a buffer of the usual size.
    #[test]
    fn as_many_fit_as_on_linux() {
        for (len, fit) in
            [(0, 256), (100, 256), (500, 166), (1000, 92), (1472, 92), (4000, 25), (9000, 12), (60_000, 3)]
        {
            assert_eq!(DEFAULT_BUFFER / truesize(len), fit, "{len}");
        }
    }
}
