//! Putting packets together again whose parts came one by one (`ip_defrag`, `ipv6_frag_rcv`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{v4, v6};
use crate::l2::{Checksum, Cx, Frame, Work, work_at};
use crate::mib::{self, Ip, Ip6, IpExt};
use crate::sysctl;

/// What is counted for a part besides its bytes.
const OVERHEAD: usize = 256;
/// Most parts of one packet: with eight bytes each of the longest packet there would be as many.
const MAX_PARTS: usize = 8192;

/// To which packet a part belongs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) ident: u32,
    /// IPv4's only.
    pub(super) protocol: u8,
    /// Where addresses mean something on their link only; else 0.
    pub(super) device: u32,
}

/// What a part says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Where it belongs.
    pub(super) offset: usize,
    pub(super) more: bool,
    /// Where its payload begins, from the network header on.
    pub(super) at: usize,
    pub(super) iif: u32,
}

/// The parts of a packet that are here, in order and without overlap.
#[derive(Debug, Default)]
struct Queue {
    parts: Vec<(usize, Vec<u8>)>,
    /// The first, from the network header on.
    first: Option<Frame>,
    /// Bytes of the whole, once the last part is here.
    total: Option<usize>,
    have: usize,
    /// Which of those with its key it is, one after the other.
    round: u64,
    /// It came by this device last.
    iif: u32,
    /// Nobody has to compute the checksum again.
    right: bool,
    cost: usize,
}

/// All packets that are not whole yet.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    queues: HashMap<Key, Queue>,
    rounds: u64,
    bytes: usize,
}

/// What became of a part.
#[derive(Debug)]
enum Taken {
    /// It waits; `Some` if it is the first of its packet to come: for how long, that is to be seen to.
    Waits(Option<u64>),
    /// All is here: the first part, and the payload of the packet.
    Whole(Frame, Vec<u8>),
    Dropped,
    /// It and all that waited with it: they do not fit together.
    Spoilt,
    /// There is no room.
    NoRoom,
}

impl Fragments {
    fn forget(&mut self, key: &Key) -> Option<Queue> {
        let queue = self.queues.remove(key)?;
        self.bytes = self.bytes.saturating_sub(queue.cost);
        Some(queue)
    }

    fn add(&mut self, key: &Key, part: &Part, frame: Frame, most: usize) -> Taken {
        let Some(payload) = frame.data().get(part.at..).map(<[u8]>::to_vec) else { return Taken::Dropped };
        let end = part.offset + payload.len();
        let cost = payload.len() + OVERHEAD;
        // The oldest do not give way: they go when their time is over.
        if self.bytes + cost > most {
            return Taken::NoRoom;
        }
        let rounds = &mut self.rounds;
        let mut new = None;
        let queue = self.queues.entry(key.clone()).or_insert_with(|| {
            *rounds += 1;
            new = Some(*rounds);
            Queue { round: *rounds, right: true, ..Queue::default() }
        });
        let fits = match (queue.total, part.more) {
            (Some(total), false) => end == total,
            (Some(total), true) => end <= total,
            (None, false) => queue.parts.last().is_none_or(|(at, bytes)| at + bytes.len() <= end),
            (None, true) => true,
        };
        let place = queue.parts.partition_point(|(at, _)| *at < part.offset);
        let before = place.checked_sub(1).and_then(|at| queue.parts.get(at));
        let after = queue.parts.get(place);
        if let Some((at, bytes)) = after
            && (*at, bytes.len()) == (part.offset, payload.len())
        {
            // The same part again.
            return Taken::Dropped;
        }
        let overlaps = before.is_some_and(|(at, bytes)| at + bytes.len() > part.offset)
            || after.is_some_and(|(at, _)| *at < end)
            || payload.is_empty();
        if !fits || overlaps || queue.parts.len() >= MAX_PARTS {
            // Whoever sends such parts means no good: none of them is used (RFC 5722).
            self.forget(key);
            return Taken::Spoilt;
        }
        if !part.more {
            queue.total = Some(end);
        }
        queue.have += payload.len();
        queue.cost += cost;
        queue.iif = part.iif;
        queue.right &= frame.checksum != Checksum::Unknown;
        queue.parts.insert(place, (part.offset, payload));
        if part.offset == 0 {
            queue.first = Some(frame);
        }
        let whole = queue.total == Some(queue.have);
        self.bytes += cost;
        if !whole {
            return Taken::Waits(new);
        }
        let Some(queue) = self.forget(key) else { return Taken::Dropped };
        let Some(mut first) = queue.first else { return Taken::Dropped };
        first.checksum = if queue.right { Checksum::Right } else { Checksum::Unknown };
        Taken::Whole(first, queue.parts.into_iter().flat_map(|(_, bytes)| bytes).collect())
    }
}

/// Takes a part; gives the first part and the payload of the whole once all parts are here.
pub(super) fn defrag(cx: Cx<'_>, key: Key, part: &Part, frame: Frame) -> Option<(Frame, Vec<u8>)> {
    let ns = cx.ns();
    let (thresh, time, born) = match key.dst {
        IpAddr::V4(_) => ("ipv4/ipfrag_high_thresh", "ipv4/ipfrag_time", 30),
        IpAddr::V6(_) => ("ipv6/ip6frag_high_thresh", "ipv6/ip6frag_time", 60),
    };
    let most = usize::try_from(sysctl::number_or(ns, thresh, 4_194_304)).unwrap_or(0);
    let taken = cx.state.l3.fragments(&key).lock().add(&key, part, frame, most);
    let fails = matches!(taken, Taken::Spoilt | Taken::NoRoom);
    match key.dst {
        IpAddr::V4(_) => {
            let mib = &*cx.state.mib.v4;
            if matches!(taken, Taken::Spoilt) {
                mib.ext.inc(IpExt::ReasmOverlaps);
            }
            mib.ip.add(Ip::ReasmFails, fails.into());
            mib.ip.add(Ip::ReasmOKs, matches!(taken, Taken::Whole(..)).into());
        }
        IpAddr::V6(_) => mib::on_index(cx.state, part.iif, |mib| {
            mib.ip.add(Ip6::ReasmFails, fails.into());
            mib.ip.add(Ip6::ReasmOKs, matches!(taken, Taken::Whole(..)).into());
        }),
    }
    match taken {
        Taken::Whole(first, payload) => Some((first, payload)),
        Taken::Waits(Some(round)) => {
            let wait = u64::try_from(sysctl::number_or(ns, time, born)).unwrap_or(0);
            work_at(cx, cx.now() + Duration::from_secs(wait), Work::FragExpire(Box::new(key), round));
            None
        }
        Taken::Waits(None) | Taken::Dropped | Taken::Spoilt | Taken::NoRoom => None,
    }
}

/// The time of a packet is over: its parts go, and if the first is here, its sender is told (`ip_expire`).
pub(crate) fn expire(cx: Cx<'_>, key: &Key, round: u64) {
    let over = {
        let mut fragments = cx.state.l3.fragments(key).lock();
        let due = fragments.queues.get(key).is_some_and(|queue| queue.round == round);
        if due { fragments.forget(key) } else { None }
    };
    let Some(over) = over else { return };
    match key.dst {
        IpAddr::V4(_) => {
            cx.state.mib.v4.ip.inc(Ip::ReasmFails);
            cx.state.mib.v4.ip.inc(Ip::ReasmTimeout);
        }
        IpAddr::V6(_) => mib::on_index(cx.state, over.iif, |mib| {
            mib.ip.inc(Ip6::ReasmFails);
            mib.ip.inc(Ip6::ReasmTimeout);
        }),
    }
    let (Some(first), iif) = (over.first, over.iif) else { return };
    match key.dst {
        IpAddr::V4(_) => v4::parts_missing(cx, iif, &first),
        IpAddr::V6(_) => v6::parts_missing(cx, iif, &first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), ident: 7, protocol: 17, device: 0 }
    }

    fn add(all: &mut Fragments, offset: usize, len: usize, more: bool) -> Taken {
        let payload: Vec<u8> = (offset..offset + len).map(|n| (n % 251) as u8).collect();
        all.add(&key(), &Part { offset, more, at: 0, iif: 1 }, Frame::with_payload(&payload), 10_000)
    }

    #[test]
    fn parts_come_in_any_order() {
        let mut all = Fragments::default();
        assert!(matches!(add(&mut all, 16, 5, false), Taken::Waits(Some(1))));
        assert!(matches!(add(&mut all, 0, 8, true), Taken::Waits(None)));
        assert!(matches!(add(&mut all, 0, 8, true), Taken::Dropped));
        let Taken::Whole(_, whole) = add(&mut all, 8, 8, true) else { panic!("all parts are here") };
        assert_eq!(whole, (0..21).collect::<Vec<u8>>());
        assert_eq!((all.bytes, all.queues.len()), (0, 0));
    }

    #[test]
    fn parts_that_overlap_spoil_all() {
        let mut all = Fragments::default();
        add(&mut all, 0, 16, true);
        assert!(matches!(add(&mut all, 8, 16, true), Taken::Spoilt));
        assert!(all.queues.is_empty());
        // Nor can a part be beyond the last.
        add(&mut all, 0, 16, false);
        add(&mut all, 8, 8, false);
        assert!(matches!(add(&mut all, 64, 8, true), Taken::Spoilt));
        assert!(all.queues.is_empty());
    }

    #[test]
    fn there_is_a_limit() {
        let mut all = Fragments::default();
        let taken = (0..100).filter(|n| matches!(add(&mut all, n * 1000, 1000, true), Taken::Waits(_))).count();
        assert_eq!(taken, 7);
    }
}
