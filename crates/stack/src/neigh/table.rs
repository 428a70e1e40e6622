//! The entries of a namespace.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::entry::{Entry, NeighFamily, NeighProxy};
use super::parms::ParmsTable;
use crate::l2::Frame;

/// What a namespace has of it.
///
/// Entries are numbered as they come, so that a listing can stop and go on; by device and address they are found through
/// an index. Both are ordered: a device's entries are one stretch of the index.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    entries: BTreeMap<u64, Entry>,
    index: BTreeMap<(u32, IpAddr), u64>,
    proxies: BTreeMap<u64, NeighProxy>,
    proxy_index: BTreeMap<(u32, IpAddr), u64>,
    last_id: u64,
    /// Collectable entries of each table.
    collectable: [usize; 2],
    /// When each table was last collected by force, milliseconds.
    pub(super) flushed: [Option<i64>; 2],
    /// A collection of the table is on the clock.
    pub(super) gc_waits: [bool; 2],
    pub(super) parms: ParmsTable,
    /// Packets for entries that are being asked for (`arp_queue`), the oldest first.
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
}

/// What a packet takes in memory beside its bytes, about as Linux counts it.
const OVERHEAD: usize = 576;

fn size(frame: &Frame) -> usize {
    frame.len() + OVERHEAD
}

/// All addresses of a family on a device.
fn stretch(ifindex: u32, family: NeighFamily) -> RangeInclusive<(u32, IpAddr)> {
    match family {
        NeighFamily::V4 => (ifindex, IpAddr::V4(Ipv4Addr::UNSPECIFIED))..=(ifindex, IpAddr::V4(Ipv4Addr::BROADCAST)),
        NeighFamily::V6 => {
            (ifindex, IpAddr::V6(Ipv6Addr::UNSPECIFIED))..=(ifindex, IpAddr::V6(Ipv6Addr::from([0xff; 16])))
        }
    }
}

impl Neighbours {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn find(&self, ifindex: u32, dst: IpAddr) -> Option<&Entry> {
        self.entries.get(self.index.get(&(ifindex, dst))?)
    }

    pub(super) fn get(&self, id: u64) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Puts an entry in that is not there yet, and numbers it.
    pub(super) fn insert(&mut self, mut entry: Entry) -> u64 {
        entry.id = self.next_id();
        let id = entry.id;
        self.collectable[entry.family().index()] += usize::from(entry.collectable());
        self.index.insert((entry.ifindex, entry.dst), id);
        self.entries.insert(id, entry);
        id
    }

    /// Puts a changed entry in place of what it was.
    pub(super) fn replace(&mut self, entry: Entry) {
        let family = entry.family().index();
        let now = usize::from(entry.collectable());
        if let Some(old) = self.entries.insert(entry.id, entry) {
            self.collectable[family] = self.collectable[family] + now - usize::from(old.collectable());
        }
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.index.remove(&(entry.ifindex, entry.dst));
        self.waiting.remove(&id);
        self.collectable[entry.family().index()] -= usize::from(entry.collectable());
        Some(entry)
    }

    /// Lets a packet wait for an answer, in at most `room` bytes: the oldest give way.
    pub(super) fn wait(&mut self, id: u64, frame: Frame, room: usize) {
        let waiting = self.waiting.entry(id).or_default();
        waiting.bytes += size(&frame);
        waiting.frames.push_back(frame);
        while waiting.bytes > room.max(1) {
            let Some(oldest) = waiting.frames.pop_front() else { break };
            waiting.bytes -= size(&oldest);
        }
    }

    /// The packets that waited, which wait no more.
    pub(super) fn waited(&mut self, id: u64) -> VecDeque<Frame> {
        self.waiting.remove(&id).map_or_else(VecDeque::new, |waiting| waiting.frames)
    }

    /// The packet that has waited least.
    pub(super) fn last_waiting(&self, id: u64) -> Option<&Frame> {
        self.waiting.get(&id)?.frames.back()
    }

    /// Whether any wait for this entry.
    pub(super) fn has_waiting(&self, id: u64) -> bool {
        self.waiting.contains_key(&id)
    }

    /// How many entries of a table fall under its thresholds.
    pub(super) const fn collectable(&self, family: NeighFamily) -> usize {
        self.collectable[family.index()]
    }

    /// The numbers of a device's entries of a family, the youngest first.
    pub(super) fn of_device(&self, ifindex: u32, family: NeighFamily) -> Vec<u64> {
        let mut ids: Vec<u64> = self.index.range(stretch(ifindex, family)).map(|(_, id)| *id).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids
    }

    /// Entries from number `from` on, in the order they came.
    pub(super) fn since(&self, from: u64) -> impl Iterator<Item = &Entry> {
        self.entries.range(from..).map(|(_, entry)| entry)
    }

    /// Whether this host answers for `dst` on the device.
    pub(crate) fn is_proxy(&self, ifindex: u32, dst: IpAddr) -> bool {
        [ifindex, 0].into_iter().any(|index| self.proxy_index.contains_key(&(index, dst)))
    }

    /// When what is known of `dst` was last changed, milliseconds; `None` if nothing is.
    pub(crate) fn updated(&self, ifindex: u32, dst: IpAddr) -> Option<i64> {
        self.find(ifindex, dst).map(|entry| entry.updated)
    }

    /// Whether `dst` was asked for in vain.
    pub(crate) fn is_failed(&self, ifindex: u32, dst: IpAddr) -> bool {
        self.find(ifindex, dst).is_some_and(|entry| entry.state.is(super::NeighState::FAILED))
    }

    pub(super) fn proxy(&self, ifindex: u32, dst: IpAddr) -> Option<&NeighProxy> {
        self.proxies.get(self.proxy_index.get(&(ifindex, dst))?)
    }

    /// Puts a proxy in, in place of the one for the same address and device.
    pub(super) fn put_proxy(&mut self, mut proxy: NeighProxy) {
        let known = self.proxy_index.get(&(proxy.ifindex, proxy.dst)).copied();
        proxy.id = known.unwrap_or_else(|| self.next_id());
        self.proxy_index.insert((proxy.ifindex, proxy.dst), proxy.id);
        self.proxies.insert(proxy.id, proxy);
    }

    pub(super) fn remove_proxy(&mut self, ifindex: u32, dst: IpAddr) -> bool {
        let id = self.proxy_index.remove(&(ifindex, dst));
        id.and_then(|id| self.proxies.remove(&id)).is_some()
    }

    /// Those of a device go, but the permanent ones if these are `kept`; says for whom they were.
    pub(super) fn remove_proxies(&mut self, ifindex: u32, family: NeighFamily, kept: bool) -> Vec<IpAddr> {
        let of_device = self.proxy_index.range(stretch(ifindex, family)).filter_map(|(_, id)| self.proxies.get(id));
        let found: Vec<_> = of_device.filter(|proxy| !(kept && proxy.permanent)).map(|proxy| proxy.dst).collect();
        for dst in &found {
            self.remove_proxy(ifindex, *dst);
        }
        found
    }

    pub(super) fn proxies_since(&self, from: u64) -> impl Iterator<Item = &NeighProxy> {
        self.proxies.range(from..).map(|(_, proxy)| proxy)
    }
}
