//! A socket's receive queue and its overrun.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::socket::SockAddr;

/// `net.core.rmem_default` and `wmem_default`, what a fresh socket has.
pub(crate) const DEFAULT_BUFFER: usize = 212_992;

/// Bytes of a queued datagram: alone, or shared by all members of a group.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Bytes {
    fn len(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes.to_vec(),
        }
    }
}

/// A datagram in a queue.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) bytes: Bytes,
    pub(crate) from: SockAddr,
    /// Group it was sent to, 0 for unicast.
    pub(crate) group: u32,
    /// Id of the namespace it comes from, for foreign events.
    pub(crate) origin_nsid: Option<i32>,
}

/// Memory the kernel charges for a datagram of `len` bytes: payload and bookkeeping in the kernel's allocation sizes.
/// Measured on 6.18 by filling queues; up to 256 bytes count 832, and nothing is free.
pub(crate) fn charge(len: usize) -> usize {
    const INFO: usize = 320;
    const META: usize = 256;
    let data = len.next_multiple_of(64) + INFO;
    META + match data {
        0..=576 => 576,
        577..=4096 => data.next_power_of_two(),
        _ => data,
    }
}

/// The queue proper; lives under a socket's queue lock, the last in the lock order.
#[derive(Debug)]
pub(crate) struct Queue {
    items: VecDeque<Queued>,
    charged: usize,
    limit: usize,
    /// A drop not reported yet (`sk_err`).
    overrun: bool,
    /// Dropping began and the queue has not been emptied since: everything is refused meanwhile, so that a listener
    /// who is told `ENOBUFS` finds a contiguous run before the gap.
    congested: bool,
    /// Datagrams lost.
    drops: u32,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self { items: VecDeque::new(), charged: 0, limit: DEFAULT_BUFFER, overrun: false, congested: false, drops: 0 }
    }

    /// Appends, or says no. The first datagram always fits, whatever the limit.
    pub(crate) fn push(&mut self, item: Queued) -> Result<(), Full> {
        let charge = charge(item.bytes.len());
        if self.congested || (self.charged != 0 && self.charged + charge > self.limit) {
            return Err(Full);
        }
        self.charged += charge;
        self.items.push_back(item);
        Ok(())
    }

    /// Remembers that a datagram was dropped; reported once until the queue has been emptied. `quiet` is
    /// `NETLINK_NO_ENOBUFS`. Says whether the socket became readable by it.
    pub(crate) fn dropped(&mut self, quiet: bool) -> bool {
        self.drops = self.drops.saturating_add(1);
        if quiet || self.congested {
            return false;
        }
        self.congested = true;
        self.overrun = true;
        true
    }

    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let item = self.items.pop_front();
        if let Some(item) = &item {
            self.charged -= charge(item.bytes.len());
        }
        if self.items.is_empty() {
            self.congested = false;
        }
        item
    }

    /// Takes the pending error.
    pub(crate) fn take_overrun(&mut self) -> bool {
        std::mem::take(&mut self.overrun)
    }

    /// Bytes charged, and datagrams lost so far.
    pub(crate) fn usage(&self) -> (usize, u32) {
        (self.charged, self.drops)
    }

    pub(crate) fn forget_congestion(&mut self) {
        self.congested = false;
    }

    /// Bytes that it may hold.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    pub(crate) fn readable(&self) -> bool {
        self.overrun || !self.items.is_empty()
    }

    /// Whether not even one more byte may be charged: a dump is not continued then.
    pub(crate) fn is_full(&self) -> bool {
        self.charged >= self.limit
    }

    /// Whether at most half of the buffer is used, when a running dump may go on.
    pub(crate) fn half_empty(&self) -> bool {
        self.charged <= self.limit / 2
    }
}

/// The queue took no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    fn item(len: usize) -> Queued {
        Queued { bytes: Bytes::Own(vec![0; len]), from: SockAddr::default(), group: 0, origin_nsid: None }
    }

    /// How many datagrams of a size fit, recorded from Linux 6.18 (receive buffer, size, count).
    #[test]
    fn as_many_datagrams_fit_as_in_the_kernel() {
        for (limit, len, count) in [
            (2304, 28, 2),
            (4000, 10, 4),
            (8000, 100, 9),
            (16_000, 10, 19),
            (200_000, 100, 240),
            (4000, 300, 3),
            (8000, 300, 6),
            (32_000, 300, 25),
            (4000, 1000, 1),
            (8000, 1000, 3),
            (32_000, 1000, 13),
            (16_000, 5000, 2),
            (32_000, 5000, 5),
            (200_000, 5000, 35),
        ] {
            let mut queue = Queue::new();
            queue.set_limit(limit);
            let fitted = (0..1000).take_while(|_| queue.push(item(len)).is_ok()).count();
            assert_eq!(fitted, count, "buffer {limit}, size {len}");
        }
    }

    #[test]
    fn an_overrun_is_told_once_until_the_queue_was_empty() {
        let mut queue = Queue::new();
        queue.set_limit(2304);
        while queue.push(item(28)).is_ok() {}
        assert!(queue.dropped(false));
        assert!(!queue.dropped(false), "told already");
        assert!(queue.take_overrun() && !queue.take_overrun());
        queue.pop();
        assert_eq!(queue.push(item(28)), Err(Full), "congested until drained");
        queue.pop();
        assert_eq!(queue.push(item(28)), Ok(()));
        assert!(queue.dropped(false), "the next gap is told again");
    }

    #[test]
    fn the_first_datagram_always_fits() {
        let mut queue = Queue::new();
        queue.set_limit(0);
        assert_eq!(queue.push(item(100_000)), Ok(()));
        assert_eq!(queue.push(item(1)), Err(Full));
        queue.pop();
        assert_eq!(queue.charged, 0);
    }
}
