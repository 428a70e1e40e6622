//! Where packets went lately (`struct dst_entry` of what comes in): of the many packets between the same two ends one is
//! looked up, and the rest follow it.
//!
//! What is kept holds as long as no configuration changes: the namespace counts changes ([`crate::state::Generation`]), and
//! all is forgotten with the next. There is a limit, so that whoever sends to and from ever other addresses costs as much as
//! without.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use crate::dev::Link;
use crate::l2::{Cx, ETH_HLEN};
use crate::multipath::Policy;
use crate::neigh;

/// Places that an end's hash leads to.
const WAYS: usize = 4;
/// Places at first, and at most: 400 KiB.
const FIRST: usize = 16;
const MOST: usize = 4096;

/// What a way is found by: the ends of a packet, and whatever else routes may be chosen by.
pub(super) trait Key: Copy + Eq {
    /// Which of a namespace's [`Spread`](crate::multipath::Spread) it goes by.
    const FAMILY: usize;

    /// All of it, as words.
    fn words(&self) -> impl Iterator<Item = u64>;
}

/// Where a packet goes on to.
#[derive(Debug)]
pub(super) struct Onward {
    pub(super) out: Arc<Link>,
    pub(super) mtu: usize,
    /// What it is a packet of, `ETH_P_*`.
    protocol: u16,
    next_hop: IpAddr,
    /// The Ethernet header to the neighbour, as of this generation of neighbours.
    mac: Option<(u64, [u8; ETH_HLEN])>,
}

#[derive(Debug)]
pub(super) enum To {
    /// To this host.
    Here,
    /// To another.
    On(Onward),
}

/// What a way depends on beside a packet's ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Asks {
    /// Nothing.
    Nothing,
    /// Protocol and ports: there are rules that may ask for them, or packets spread by them.
    #[default]
    Ports,
    /// What a tunnel carries, by which packets spread.
    Inside(Policy),
    /// Both: so much that nothing is kept.
    All,
}

/// The table of a namespace.
#[derive(Debug)]
pub(super) struct Flows<K> {
    /// Empty, or some power of two.
    places: Vec<Option<(K, To)>>,
    generation: u64,
    /// Likewise of neighbours, whose changes do not change ways.
    neighbours: u64,
    asks: Asks,
    /// What was found last: most packets are followed by one of the same kind.
    last: usize,
    seed: u64,
    /// Which of the places is given up next, and how many were since the table last grew.
    turn: usize,
    given_up: usize,
}

impl<K> Default for Flows<K> {
    fn default() -> Self {
        let places = Vec::new();
        Self { places, generation: 0, neighbours: 0, asks: Asks::Ports, last: 0, seed: 0, turn: 0, given_up: 0 }
    }
}

impl<K: Key> Flows<K> {
    fn set(&self, key: &K) -> usize {
        let mix = |hash: u64, word: u64| {
            let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^ hash >> 32
        };
        let hash = key.words().fold(self.seed, mix);
        (hash as usize & (self.places.len() / WAYS - 1)) * WAYS
    }

    #[inline]
    fn find(&mut self, key: &K) -> Option<usize> {
        if self.is_at(self.last, key) {
            return Some(self.last);
        }
        self.find_in_set(key)
    }

    fn find_in_set(&mut self, key: &K) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let set = self.set(key);
        let found = (set..set + WAYS).find(|&at| self.is_at(at, key))?;
        self.last = found;
        Some(found)
    }

    #[inline]
    fn is_at(&self, at: usize, key: &K) -> bool {
        matches!(self.places.get(at), Some(Some((known, _))) if known == key)
    }

    #[cold]
    fn insert(&mut self, key: K, to: To) -> usize {
        if self.places.is_empty() {
            self.seed = RandomState::new().hash_one(0);
            self.places.resize_with(FIRST, || None);
        }
        let set = self.set(&key);
        let free = (set..set + WAYS).find(|&at| self.places[at].is_none());
        if free.is_none() {
            self.given_up += 1;
            if self.given_up > self.places.len() / 2 && self.places.len() < MOST {
                return self.grow(key, to);
            }
        }
        let at = free.unwrap_or_else(|| {
            self.turn = self.turn.wrapping_add(1);
            set + self.turn % WAYS
        });
        self.places[at] = Some((key, to));
        at
    }

    fn grow(&mut self, key: K, to: To) -> usize {
        let larger = (self.places.len() * 4).min(MOST);
        let old = std::mem::take(&mut self.places);
        self.places.resize_with(larger, || None);
        self.given_up = 0;
        for (key, to) in old.into_iter().flatten() {
            self.insert(key, to);
        }
        self.insert(key, to)
    }

    /// Looks what configuration there is now, before anything is looked up: what changes after that is found out of date by
    /// the next. Forgets everything if it is another than it was.
    pub(super) fn keep_up(&mut self, cx: Cx<'_>) {
        self.is_of(cx.state.generation());
        self.neighbours = cx.state.neigh_generation();
        let policy = cx.state.l3.spread[K::FAMILY].policy();
        self.asks = match (cx.state.peek_rules(), policy.is_born()) {
            (None, true) => Asks::Nothing,
            (Some(_), false) if policy.looks_inside() => Asks::All,
            (None, false) if policy.looks_inside() => Asks::Inside(policy),
            _ => Asks::Ports,
        };
    }

    fn is_of(&mut self, generation: u64) {
        if self.generation != generation {
            self.generation = generation;
            self.places.fill_with(|| None);
        }
    }

    /// The generation of neighbours that is believed.
    pub(super) const fn neighbours(&self) -> u64 {
        self.neighbours
    }

    /// What more of a packet its way depends on.
    pub(super) const fn asks(&self) -> Asks {
        self.asks
    }

    /// Where packets with this key go, by what [`keep_up`](Self::keep_up) saw; where it is not known, as `look_up` says. `None`
    /// if that says nothing: what is to become of such a packet is to be found out each time.
    #[inline]
    pub(super) fn way(&mut self, key: K, look_up: impl FnOnce() -> Option<To>) -> Option<&mut To> {
        let at = match self.find(&key) {
            Some(at) => at,
            None => self.insert(key, look_up()?),
        };
        self.places[at].as_mut().map(|(_, to)| to)
    }
}

impl Onward {
    /// Out by a device, if a packet of `protocol` is no longer than `mtu`, to a neighbour.
    pub(super) const fn new(protocol: u16, out: Arc<Link>, mtu: usize, next_hop: IpAddr) -> Self {
        Self { out, mtu, protocol, next_hop, mac: None }
    }

    /// The header of frames to the neighbour, if he is known and need not be asked whether he is still there; `neighbours`
    /// is their [generation](Flows::neighbours).
    #[inline]
    pub(super) fn mac_header(&mut self, cx: Cx<'_>, neighbours: u64) -> Option<&[u8; ETH_HLEN]> {
        if self.mac.as_ref().is_none_or(|(known, _)| *known != neighbours) {
            self.find_mac_header(cx, neighbours)?;
        }
        self.mac.as_ref().map(|(_, header)| header)
    }

    #[cold]
    fn find_mac_header(&mut self, cx: Cx<'_>, neighbours: u64) -> Option<()> {
        let dst: [u8; 6] = neigh::connected(cx, &self.out, self.next_hop)?.as_bytes().try_into().ok()?;
        let src: [u8; 6] = self.out.address.as_bytes().try_into().ok()?;
        let mut header = [0; ETH_HLEN];
        header[..6].copy_from_slice(&dst);
        header[6..12].copy_from_slice(&src);
        header[12..].copy_from_slice(&self.protocol.to_be_bytes());
        self.mac = Some((neighbours, header));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Key for u32 {
        const FAMILY: usize = 0;

        fn words(&self) -> impl Iterator<Item = u64> {
            [u64::from(*self) << 32 | 1, 2 << 32, 0].into_iter()
        }
    }

    #[test]
    fn there_is_a_limit_and_what_was_used_lately_is_there() {
        let mut flows: Flows<u32> = Flows::default();
        assert_eq!(flows.find(&1), None);
        for n in 0..10_000 {
            let at = flows.insert(n, To::Here);
            assert_eq!(flows.find(&n), Some(at));
        }
        assert_eq!(flows.places.len(), MOST);
        flows.is_of(1);
        assert!(flows.places.iter().all(Option::is_none));
    }

    #[test]
    fn a_thousand_have_room() {
        let mut flows: Flows<u32> = Flows::default();
        for _ in 0..8 {
            (0..1000).filter(|n| flows.find(n).is_none()).collect::<Vec<_>>().into_iter().for_each(|n| {
                flows.insert(n, To::Here);
            });
        }
        let there = (0..1000).filter(|n| flows.find(n).is_some()).count();
        assert!(there > 980, "{there} of 1000");
    }
}
