//! What waits in a socket to be received: packets, and errors that the program asked to be told of one by one.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// A packet of this socket was sent, and it is no error.
    Timestamping = 4,
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
    /// What it says: the path's MTU, or how far a packet has come.
    pub info: u32,
    /// By what number the sender knows that packet.
    pub data: u32,
    /// Who sent the message.
    pub offender: Option<IpAddr>,
    /// Where the packet was going that it is about; not said of times.
    pub to: Option<SocketAddr>,
    /// What the message quotes of the payload.
    pub payload: Vec<u8>,
    /// Index of the device that the message came in by.
    pub ifindex: u32,
    /// When it was found out, on the stack's clock.
    pub at: Duration,
    /// What is known of the message; none came of what this host found out itself.
    pub heard: Option<Meta>,
}

impl Waiting {
    /// What it counts in a buffer.
    pub(super) fn memory(&self) -> usize {
        let (header, data) = (self.frame.network_header(), self.frame.data());
        let version = header.first().or_else(|| data.first()).map_or(4, |byte| byte >> 4);
        truesize(header.len() + data.len(), version == 6)
    }
}

/// What a packet counts in a buffer that has so many bytes from the network header on, of IPv6 or not: the memory that Linux
/// has for it.
pub(super) fn truesize(len: usize, v6: bool) -> usize {
    /// `struct sk_buff`.
    const HEADER: usize = 256;
    /// The smallest piece of memory.
    const SMALL: usize = 576;
    /// The longest; of longer packets the payload lies in pages of its own, and counts as it is.
    const LONG: usize = 16_384;
    // What stands before the network header, and behind the payload; and the headers of UDP, which do not lie in pages.
    let (around, headers) = if v6 { (344, 48) } else { (351, 28) };
    match len + around {
        0..=SMALL => HEADER + SMALL,
        needed @ ..=LONG => HEADER + needed.next_power_of_two(),
        _ => HEADER + SMALL + len - headers,
    }
}

/// Says how much memory what waits outside of the stack takes; `None` while that is just being moved.
pub(crate) type Outside = Arc<dyn Fn() -> Option<usize> + Send + Sync>;

/// Who is asked for it. A leaf lock: read to copy the handle.
#[derive(Default)]
pub(super) struct Elsewhere(Mutex<Option<Outside>>);

impl Elsewhere {
    pub(super) fn set(&self, outside: Option<Outside>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = outside;
    }

    /// Asks. No lock is held.
    pub(super) fn ask(&self) -> Option<usize> {
        let outside = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        outside.map_or(Some(0), |outside| outside())
    }
}

/// The memory of what waits for one socket.
///
/// What was taken out of the stack counts until it is received, and nobody reports that. So it is taken for unread until
/// there seems to be no room: then whoever has it is asked, once for a buffer's worth of packets, or for each that is
/// dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Charge {
    /// Here.
    pub(super) bytes: usize,
    /// Outside, no less than there is.
    handed: usize,
}

impl Charge {
    /// Whether one more packet may come in, of `size`. What comes counts for UDP (`counts`); for others, what is there.
    fn admits(self, size: usize, limit: usize, counts: bool) -> bool {
        let taken = self.bytes + self.handed;
        if counts { taken == 0 || taken + size <= limit } else { taken < limit }
    }

    /// Whether only what is outside may be in the way: it is worth asking.
    pub(super) fn doubts(self, size: usize, limit: usize, counts: bool) -> bool {
        self.handed > 0 && !self.admits(size, limit, counts)
    }

    /// Of a limit, as far as is known.
    pub(super) fn left(self, limit: usize) -> usize {
        limit.saturating_sub(self.bytes + self.handed)
    }

    /// Whether it is worth asking if there is more [left](Self::left) than a quarter.
    pub(super) fn doubts_room(self, size: usize, limit: usize) -> bool {
        self.handed > 0 && self.left(limit) <= limit / 4 + size
    }

    /// Takes a packet in, if there is room.
    pub(super) fn charge(&mut self, size: usize, limit: usize, counts: bool) -> bool {
        let room = self.admits(size, limit, counts);
        if room {
            self.bytes += size;
        }
        room
    }

    /// This packet is here no more. `outside`: it waits there.
    pub(super) fn release(&mut self, size: usize, outside: bool) {
        self.bytes = self.bytes.saturating_sub(size);
        if outside {
            self.handed += size;
        }
    }

    /// What was [said](Elsewhere::ask) of outside. Of what is being moved nobody knows: a packet too much is better than one
    /// that is dropped where there is room.
    pub(super) fn learn(&mut self, outside: Option<usize>) {
        self.handed = outside.unwrap_or(0);
    }
}

/// Both queues of a socket.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    packets: VecDeque<Waiting>,
    pub(super) charge: Charge,
    drops: u32,
    errors: Errors,
}

/// The queue of errors of a socket, which has times of what it sent, too.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    queue: VecDeque<QueuedError>,
    /// Memory of the times among them, which count in the buffer of what is received.
    times: usize,
}

/// What a time counts, with the packet that it is of.
fn time_memory(error: &QueuedError) -> usize {
    /// A link-layer header, which is not counted.
    const LINK: usize = 14;
    truesize(error.payload.len().saturating_sub(LINK), false)
}

impl Errors {
    /// Takes one in, of a socket whose buffer has `limit`.
    pub(crate) fn push(&mut self, error: QueuedError, limit: usize) {
        if error.origin != ErrorOrigin::Timestamping {
            if self.queue.len() < MAX_ERRORS {
                self.queue.push_back(error);
            }
            return;
        }
        let memory = time_memory(&error);
        if self.times + memory < limit {
            self.times += memory;
            self.queue.push_back(error);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<QueuedError> {
        let error = self.queue.pop_front()?;
        if error.origin == ErrorOrigin::Timestamping {
            self.times = self.times.saturating_sub(time_memory(&error));
        }
        Some(error)
    }

    pub(crate) fn front(&self) -> Option<&QueuedError> {
        self.queue.front()
    }
}

impl Queue {
    /// The queue of errors.
    pub(crate) const fn errors(&mut self) -> &mut Errors {
        &mut self.errors
    }

    /// The error that came first.
    pub(crate) fn front_error(&self) -> Option<&QueuedError> {
        self.errors.front()
    }

    /// Takes a packet in if there is room in `limit` (`sk_rmem_schedule`). `counts`: see [`Charge::admits`].
    pub(crate) fn push(&mut self, mut packet: Waiting, limit: usize, counts: bool) -> bool {
        if !self.charge.charge(packet.memory(), limit, counts) {
            self.drops = self.drops.wrapping_add(1);
            return false;
        }
        packet.meta.drops = self.drops;
        self.packets.push_back(packet);
        true
    }

    /// The next packet; `outside` if it is received only later.
    pub(crate) fn pop(&mut self, outside: bool) -> Option<Waiting> {
        let packet = self.packets.pop_front()?;
        self.charge.release(packet.memory(), outside);
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

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(limit: usize, size: usize, counts: bool) -> usize {
        let mut charge = Charge::default();
        (0..1000).take_while(|_| charge.charge(size, limit, counts)).count()
    }

    /// As many payloads of UDP as a kernel takes into a buffer, before and behind each step.
    #[test]
    fn as_many_fit_as_on_linux() {
        for (len, fits) in [
            (0, 256),
            (197, 256),
            (198, 166),
            (645, 166),
            (646, 92),
            (1669, 92),
            (1670, 48),
            (3717, 48),
            (3718, 25),
            (7814, 12),
            (16_917, 12),
            (16_918, 11),
            (34_666, 6),
            (34_667, 5),
            (52_417, 3),
        ] {
            assert_eq!(fit(DEFAULT_BUFFER, truesize(len + 28, false), true), fits, "{len}");
        }
        for (len, fits) in [(184, 256), (185, 166), (3704, 48), (3705, 25), (7801, 12), (16_918, 11), (52_416, 4)] {
            assert_eq!(fit(DEFAULT_BUFFER, truesize(len + 48, true), true), fits, "{len}");
        }
        assert_eq!((fit(4608, truesize(1028, false), true), fit(4608, truesize(60_028, false), true)), (2, 1));
        // Others take one more where there is any room left, and raw ones have no header of UDP.
        for (len, fits) in [(205, 256), (206, 167), (653, 167), (654, 93), (3726, 26)] {
            assert_eq!(fit(DEFAULT_BUFFER, truesize(len + 20, false), false), fits, "{len}");
        }
    }

    /// What waits outside counts, and whoever has it is believed once it is in the way.
    #[test]
    fn what_is_handed_out_counts_until_it_is_received() {
        let mut charge = Charge::default();
        while charge.charge(832, 4608, true) {}
        for _ in 0..5 {
            charge.release(832, true);
        }
        assert!(charge.doubts(832, 4608, true));
        charge.learn(Some(4 * 832));
        assert!(charge.charge(832, 4608, true) && !charge.charge(832, 4608, true));
        charge.learn(None);
        assert!(charge.charge(832, 4608, true) && !charge.doubts(832, 4608, true));
    }
}
