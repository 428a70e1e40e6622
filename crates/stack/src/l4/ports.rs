//! Who has which port: one table a protocol and namespace (`inet_bind_bucket`, `struct udp_table`, `struct inet_hashinfo`).
//!
//! UDP and TCP use it alike; what differs between them is a [`Rules`]. Who binds makes a [`Claim`] and gets a [`Ticket`];
//! with that the claim is changed (a peer, a device, options that bear on sharing) and given back. A packet is looked up by
//! hash: first by both ends, then by this end's address, then by "any address". Nothing walks over sockets that the packet
//! cannot be for, but those that share address and port.

mod choice;
mod few;
mod hash;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use choice::{Range, ephemeral_range, may_bind_port};

use few::Few;
use hash::Keyed;
use hashbrown::HashTable;

use crate::errno;

/// In what the protocols differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Whoever is bound hears; with `SO_REUSEADDR` on both sides a port is shared.
    Datagram,
    /// Only who listens hears, and with him a port is shared by `SO_REUSEPORT` alone.
    Stream,
}

/// What `bind` claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The unspecified one for any. Of IPv4 where an IPv6 socket names a mapped address.
    pub(crate) addr: IpAddr,
    /// `::` without `IPV6_V6ONLY`: any IPv4 address too.
    pub(crate) dual: bool,
    /// 0: to be chosen.
    pub(crate) port: u16,
    /// Index of the device that the socket is bound to; 0 for any.
    pub(crate) device: u32,
    /// `SO_REUSEADDR`.
    pub(crate) reuse_addr: bool,
    /// `SO_REUSEPORT`.
    pub(crate) reuse_port: bool,
    /// Who made the socket: `SO_REUSEPORT` shares with one's own.
    pub(crate) uid: u32,
}

/// What a family of addresses a claim covers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cover {
    None,
    All,
    One(IpAddr),
}

impl Cover {
    fn overlaps(self, other: Self) -> bool {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => false,
            (Self::All, _) | (_, Self::All) => true,
            (Self::One(a), Self::One(b)) => a == b,
        }
    }
}

impl Claim {
    fn covers(&self, v4: bool) -> Cover {
        match self.addr {
            IpAddr::V6(a) if a.is_unspecified() && v4 => {
                if self.dual {
                    Cover::All
                } else {
                    Cover::None
                }
            }
            a if a.is_ipv4() != v4 => Cover::None,
            a if a.is_unspecified() => Cover::All,
            a => Cover::One(a),
        }
    }

    /// Whether some packet could be for both.
    fn overlaps(&self, other: &Self) -> bool {
        let device = self.device == 0 || other.device == 0 || self.device == other.device;
        device && [true, false].into_iter().any(|v4| self.covers(v4).overlaps(other.covers(v4)))
    }

    /// Whether both may stand side by side although they overlap. `heard`: one of them listens.
    fn shares(&self, other: &Self, rules: Rules, heard: bool) -> bool {
        let by_addr = self.reuse_addr && other.reuse_addr && (rules == Rules::Datagram || !heard);
        let by_port = self.reuse_port && other.reuse_port && self.uid == other.uid;
        by_addr || by_port
    }

    const fn is_for(&self, device: u32) -> bool {
        self.device == 0 || self.device == device
    }
}

/// A claim that stands in a table. It is given back with [`Ports::release`]: there is no counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(u64);

/// Both ends of a packet that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Whence.
    pub(crate) src: SocketAddr,
    /// Whither: one of ours, or a group.
    pub(crate) dst: SocketAddr,
    /// Device it came in by.
    pub(crate) device: u32,
}

impl Ends {
    /// The same for all packets of a flow (`inet_ehashfn`).
    fn hash(&self) -> u64 {
        let halves = |a: IpAddr| match a {
            IpAddr::V4(a) => [0, u64::from(a.to_bits())],
            IpAddr::V6(a) => [(a.to_bits() >> 64) as u64, a.to_bits() as u64],
        };
        let ports = u64::from(self.src.port()) << 16 | u64::from(self.dst.port());
        let parts = halves(self.src.ip()).into_iter().chain(halves(self.dst.ip())).chain([ports]);
        parts.fold(0, |sum: u64, part| (sum ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    }
}

#[derive(Debug)]
struct Entry<T> {
    claim: Claim,
    /// The other end of a connected socket, which hears only of it.
    peer: Option<SocketAddr>,
    /// Packets from anywhere are for it.
    hears: bool,
    /// The port was asked for by `bind`, not found by `connect`.
    by_bind: bool,
    /// Which was put in later.
    since: u64,
    holder: T,
}

impl<T> Entry<T> {
    /// Both ends, if it is connected.
    fn pair(&self) -> Option<Pair> {
        self.peer.map(|peer| (SocketAddr::new(self.claim.addr, self.claim.port), peer))
    }
}

/// This end and the other.
type Pair = (SocketAddr, SocketAddr);

/// Claims of one port.
#[derive(Debug, Default)]
struct Port {
    by_addr: Few<IpAddr, Slot>,
    /// How many asked for it by `bind`.
    by_bind: usize,
}

/// Claims of one port at one address, oldest first.
#[derive(Debug, Default)]
struct Slot {
    hearing: Vec<u64>,
    /// Connected, or not listening. Of a server these are many, and none of them is walked over for a packet.
    others: Few<u64, ()>,
    /// How many of all these have no `SO_REUSEADDR`: without any, who has it shares with all, and none is walked over.
    exclusive: usize,
    /// How many of all these are bound to a device: without any, the newest hears.
    on_device: usize,
}

impl Slot {
    fn put(&mut self, id: u64, claim: &Claim, hears: bool) {
        self.exclusive += usize::from(!claim.reuse_addr);
        self.on_device += usize::from(claim.device != 0);
        if hears {
            let at = self.hearing.partition_point(|&other| other < id);
            self.hearing.insert(at, id);
        } else {
            self.others.insert(id, ());
        }
    }

    /// Takes one away that is in it.
    fn remove(&mut self, id: u64, claim: &Claim) {
        self.exclusive -= usize::from(!claim.reuse_addr);
        self.on_device -= usize::from(claim.device != 0);
        match self.hearing.binary_search(&id) {
            Ok(at) => drop(self.hearing.remove(at)),
            Err(_) => self.others.remove(&id),
        }
    }
}

/// A table with room for fewer than this keeps it.
const MUCH: usize = 128;

#[derive(Debug)]
struct Table<T> {
    entries: HashMap<u64, Entry<T>, Keyed>,
    ports: HashMap<u16, Port, Keyed>,
    /// Connected ones by this end and the other, which their entries know. More than one of a pair only if both said that
    /// they share.
    peers: HashTable<u64>,
    /// What `peers` is spread by.
    spread: Keyed,
    /// Tickets given out.
    given: u64,
    /// How often something was put in.
    puts: u64,
}

/// The table of one protocol.
///
/// A leaf lock: it is taken under a socket's.
#[derive(Debug)]
pub(crate) struct Ports<T> {
    rules: Rules,
    table: Mutex<Table<T>>,
}

impl<T: Clone> Ports<T> {
    pub(crate) fn new(rules: Rules) -> Self {
        let (entries, ports, peers) = (HashMap::default(), HashMap::default(), HashTable::new());
        let table = Table { entries, ports, peers, spread: Keyed::default(), given: 0, puts: 0 };
        Self { rules, table: Mutex::new(table) }
    }

    fn lock(&self) -> MutexGuard<'_, Table<T>> {
        // Nothing inside can panic half way but an allocation that fails, which ends the process.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `bind`: the port that is claimed, or one out of `range` that nobody has; which one tells [`Self::port_of`].
    ///
    /// # Errors
    /// `EADDRINUSE`.
    pub(crate) fn bind(&self, mut claim: Claim, range: &Range, holder: T) -> Result<Ticket, i32> {
        let mut table = self.lock();
        if claim.port == 0 {
            let alone = Claim { reuse_addr: false, reuse_port: false, ..claim.clone() };
            let mut ports = range.candidates(table.given);
            let free = |&port: &u16| !table.conflicts(&Claim { port, ..alone.clone() }, None, self.rules, false);
            claim.port = ports.find(free).ok_or(errno::EADDRINUSE)?;
        } else if table.conflicts(&claim, None, self.rules, false) {
            return Err(errno::EADDRINUSE);
        }
        let hears = self.rules == Rules::Datagram;
        Ok(table.insert(Entry { claim, peer: None, hears, by_bind: true, since: 0, holder }))
    }

    /// `connect` of a stream without a port: one for which this pair of ends is new, be it that other connections to
    /// elsewhere have it (`inet_hash_connect`). The claim names the address at this end. What was bound is passed by. Who has
    /// the pair already and `gives_way` loses it; the second is how many did.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL`.
    pub(crate) fn bind_for(
        &self,
        mut claim: Claim,
        peer: SocketAddr,
        (range, holder): (&Range, T),
        gives_way: impl Fn(&T) -> bool,
    ) -> Result<(Ticket, usize), i32> {
        let mut table = self.lock();
        let free = |&port: &u16| {
            let bound = table.ports.get(&port).is_some_and(|port| port.by_bind > 0);
            let open = !bound || !table.conflicts(&Claim { port, ..claim.clone() }, None, self.rules, false);
            open && table.in_the_way((SocketAddr::new(claim.addr, port), peer), None, &gives_way).is_some()
        };
        claim.port = range.candidates(table.given).find(free).ok_or(errno::EADDRNOTAVAIL)?;
        let gone = table.oust((SocketAddr::new(claim.addr, claim.port), peer), None);
        let ticket = table.insert(Entry { claim, peer: Some(peer), hears: false, by_bind: false, since: 0, holder });
        drop(table);
        Ok((ticket, gone.len()))
    }

    /// The connection that a listener accepted: it shares its claim, whatever both said of sharing (`inet_inherit_port`).
    ///
    /// `None` if there is such a connection already, or the listener is gone.
    pub(crate) fn inherit(&self, from: Ticket, local: IpAddr, peer: SocketAddr, holder: T) -> Option<Ticket> {
        let mut table = self.lock();
        let claim = Claim { addr: local, ..table.entries.get(&from.0)?.claim.clone() };
        if table.connected((SocketAddr::new(local, claim.port), peer)).next().is_some() {
            return None;
        }
        Some(table.insert(Entry { claim, peer: Some(peer), hears: false, by_bind: true, since: 0, holder }))
    }

    /// `listen`: packets from anywhere are for it.
    ///
    /// # Errors
    /// `EADDRINUSE` if another one listens.
    pub(crate) fn listen(&self, ticket: Ticket) -> Result<(), i32> {
        let mut table = self.lock();
        let Some(entry) = table.entries.get(&ticket.0) else { return Err(errno::EINVAL) };
        let claim = entry.claim.clone();
        if table.conflicts(&claim, Some(ticket.0), self.rules, true) {
            return Err(errno::EADDRINUSE);
        }
        table.change(ticket, |entry| entry.hears = true);
        Ok(())
    }

    /// It hears from anywhere no more; the port stays its own.
    pub(crate) fn unlisten(&self, ticket: Ticket) {
        self.lock().change(ticket, |entry| entry.hears = false);
    }

    /// `connect`: it has this address here and hears of this peer alone, and nobody less particular hears of that pair. Of
    /// streams, who has the pair already and `gives_way` loses it; the result is how many did.
    ///
    /// # Errors
    /// Of streams, `EADDRNOTAVAIL` if there is such a connection that does not.
    pub(crate) fn connect(
        &self,
        ticket: Ticket,
        local: IpAddr,
        peer: SocketAddr,
        gives_way: impl Fn(&T) -> bool,
    ) -> Result<usize, i32> {
        let mut table = self.lock();
        let port = table.entries.get(&ticket.0).map_or(0, |entry| entry.claim.port);
        let pair = (SocketAddr::new(local, port), peer);
        let mut gone = Vec::new();
        if self.rules == Rules::Stream {
            table.in_the_way(pair, Some(ticket.0), &gives_way).ok_or(errno::EADDRNOTAVAIL)?;
            gone = table.oust(pair, Some(ticket.0));
        }
        table.change(ticket, |entry| {
            (entry.claim.addr, entry.peer, entry.hears) = (local, Some(peer), false);
        });
        drop(table);
        Ok(gone.len())
    }

    /// The end of that: it has the address `local` again, and of datagrams it hears from anywhere.
    pub(crate) fn disconnect(&self, ticket: Ticket, local: IpAddr) {
        let hears = self.rules == Rules::Datagram;
        self.lock().change(ticket, |entry| (entry.claim.addr, entry.peer, entry.hears) = (local, None, hears));
    }

    /// An option that bears on sharing, or the device, is another now. Address and port stay as they are.
    pub(crate) fn update(&self, ticket: Ticket, edit: impl FnOnce(&mut Claim)) {
        self.lock().change(ticket, |entry| {
            let (addr, port) = (entry.claim.addr, entry.claim.port);
            edit(&mut entry.claim);
            (entry.claim.addr, entry.claim.port) = (addr, port);
        });
    }

    /// Somebody else has the claim now: what is left of a connection takes its socket's place.
    pub(crate) fn replace(&self, ticket: Ticket, holder: T) {
        let before = self.lock().entries.get_mut(&ticket.0).map(|entry| std::mem::replace(&mut entry.holder, holder));
        // Dropped with no lock held, as below.
        drop(before);
    }

    /// The claim is given back.
    pub(crate) fn release(&self, ticket: Ticket) {
        let gone = {
            let mut table = self.lock();
            let gone = table.remove(ticket.0);
            table.give_back();
            gone
        };
        // The holder may be the last one of its socket: it is dropped with no lock held.
        drop(gone);
    }

    /// The port of a claim; 0 if it was given back.
    pub(crate) fn port_of(&self, ticket: Ticket) -> u16 {
        self.lock().entries.get(&ticket.0).map_or(0, |entry| entry.claim.port)
    }

    /// Whom a packet for this host is for (`__udp4_lib_lookup`, `__inet_lookup`): the connection it is of; else who is
    /// bound to its address, else to any. Of several the one that is bound to the device, else the newest; of those that
    /// share by `SO_REUSEPORT` always the same for a flow.
    pub(crate) fn lookup(&self, ends: &Ends) -> Option<T> {
        let table = self.lock();
        let holder = |id: &u64| table.entries.get(id).map(|entry| entry.holder.clone());
        // Claims have no scope: of which link an address is says the claim's device.
        let local = SocketAddr::new(ends.dst.ip(), ends.dst.port());
        let connected = table.connected((local, ends.src)).filter(|(_, entry)| entry.claim.is_for(ends.device));
        if let Some((_, newest)) = connected.max_by_key(|(_, entry)| entry.since) {
            return Some(newest.holder.clone());
        }
        let port = table.ports.get(&ends.dst.port())?;
        let slots = keys(ends.dst.ip()).into_iter().flatten().filter_map(|addr| port.by_addr.get(&addr));
        slots.into_iter().find_map(|slot| table.among(slot, ends)).and_then(|id| holder(&id))
    }

    /// Who listens there, connections aside.
    pub(crate) fn lookup_listener(&self, ends: &Ends) -> Option<T> {
        let table = self.lock();
        let port = table.ports.get(&ends.dst.port())?;
        let slots = keys(ends.dst.ip()).into_iter().flatten().filter_map(|addr| port.by_addr.get(&addr));
        let id = slots.into_iter().find_map(|slot| table.among(slot, ends))?;
        table.entries.get(&id).map(|entry| entry.holder.clone())
    }

    /// Everybody whom a packet to a group or to all may be for (`__udp4_lib_mcast_deliver`), oldest first.
    pub(crate) fn lookup_all(&self, ends: &Ends) -> Vec<T> {
        let table = self.lock();
        let Some(port) = table.ports.get(&ends.dst.port()) else { return Vec::new() };
        let mut ids = Vec::new();
        for slot in keys(ends.dst.ip()).into_iter().flatten().filter_map(|addr| port.by_addr.get(&addr)) {
            ids.extend(slot.hearing.iter().chain(slot.others.keys()).copied());
        }
        ids.sort_unstable();
        let fits = |entry: &&Entry<T>| {
            let v6_only_for_v4 = entry.claim.covers(ends.dst.is_ipv4()) == Cover::None;
            entry.claim.is_for(ends.device) && entry.peer.is_none_or(|peer| peer == ends.src) && !v6_only_for_v4
        };
        ids.iter().filter_map(|id| table.entries.get(id)).filter(fits).map(|entry| entry.holder.clone()).collect()
    }

    /// Everybody, for those who list them, in no order.
    pub(crate) fn all(&self) -> Vec<T> {
        self.lock().entries.values().map(|entry| entry.holder.clone()).collect()
    }
}

/// Under which addresses somebody may be for whom a packet to `dst` is, the most particular first.
fn keys(dst: IpAddr) -> [Option<IpAddr>; 3] {
    let any4 = dst.is_ipv4().then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    [Some(dst), any4, Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED))]
}

/// The hash of an entry's pair. All that are in `peers` have an entry and are connected.
fn hash_of<T>(spread: &Keyed, entries: &HashMap<u64, Entry<T>, Keyed>, id: u64) -> u64 {
    entries.get(&id).and_then(Entry::pair).map_or(0, |pair| spread.hash_one(pair))
}

impl<T> Table<T> {
    /// Those with this pair of ends, in no order.
    fn connected(&self, pair: Pair) -> impl Iterator<Item = (u64, &Entry<T>)> {
        let near = self.peers.iter_hash(self.spread.hash_one(pair));
        let known = near.filter_map(|&id| Some((id, self.entries.get(&id)?)));
        known.filter(move |(_, entry)| entry.pair() == Some(pair))
    }

    /// Whether somebody but `except` stands in the way. `listening`: the claim is a listener's.
    fn conflicts(&self, claim: &Claim, except: Option<u64>, rules: Rules, listening: bool) -> bool {
        let Some(port) = self.ports.get(&claim.port) else { return false };
        let clashes = |id: &u64| {
            let Some(other) = self.entries.get(id).filter(|_| Some(*id) != except) else { return false };
            claim.overlaps(&other.claim) && !claim.shares(&other.claim, rules, other.hears)
        };
        // Who listens is in the way of listeners only, when somebody comes to listen: all are bound already.
        let at = |addr: &IpAddr| {
            let Some(slot) = port.by_addr.get(addr) else { return false };
            let all_share = claim.reuse_addr && slot.exclusive == 0;
            let hearing = !(all_share && rules == Rules::Datagram) && slot.hearing.iter().any(clashes);
            hearing || !listening && !all_share && slot.others.keys().any(clashes)
        };
        if claim.addr.is_unspecified() {
            return port.by_addr.keys().any(at);
        }
        keys(claim.addr).into_iter().flatten().any(|addr| at(&addr))
    }

    /// How many but `except` have this pair of ends; `None` if one of them does not give way.
    fn in_the_way(&self, pair: Pair, except: Option<u64>, gives_way: &impl Fn(&T) -> bool) -> Option<usize> {
        let mut those = self.connected(pair).filter(|(id, _)| Some(*id) != except);
        those.try_fold(0, |n, (_, entry)| gives_way(&entry.holder).then_some(n + 1))
    }

    /// Takes it from all but `except`; they are dropped by the caller, with no lock held.
    fn oust(&mut self, pair: Pair, except: Option<u64>) -> Vec<Entry<T>> {
        let known = self.connected(pair).map(|(id, _)| id);
        let those: Vec<u64> = known.filter(|&id| Some(id) != except).collect();
        those.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// The one of a slot who gets the packet.
    fn among(&self, slot: &Slot, ends: &Ends) -> Option<u64> {
        let fits = |id: &u64| {
            let entry = self.entries.get(id)?;
            let covered = entry.claim.covers(ends.dst.is_ipv4()) != Cover::None;
            (covered && entry.claim.is_for(ends.device)).then_some((*id, &entry.claim))
        };
        let mut found: Option<(u64, &Claim)> = None;
        for (id, claim) in slot.hearing.iter().rev().filter_map(fits) {
            if slot.on_device == 0 {
                found = Some((id, claim));
                break;
            }
            if found.is_none_or(|(_, best)| best.device == 0 && claim.device != 0) {
                found = Some((id, claim));
            }
        }
        let (id, best) = found?;
        if !best.reuse_port {
            return Some(id);
        }
        let same = |other: &Claim| other.reuse_port && other.uid == best.uid && other.device == best.device;
        let group: Vec<u64> = slot.hearing.iter().filter_map(fits).filter(|(_, c)| same(c)).map(|(id, _)| id).collect();
        let place = ((ends.hash() >> 32) * group.len() as u64) >> 32;
        group.get(usize::try_from(place).unwrap_or(0)).copied().or(Some(id))
    }

    fn insert(&mut self, entry: Entry<T>) -> Ticket {
        self.given += 1;
        let id = self.given;
        self.put(id, entry);
        Ticket(id)
    }

    fn put(&mut self, id: u64, mut entry: Entry<T>) {
        self.puts += 1;
        entry.since = self.puts;
        let port = self.ports.entry(entry.claim.port).or_default();
        port.by_bind += usize::from(entry.by_bind);
        if port.by_addr.get(&entry.claim.addr).is_none() {
            port.by_addr.insert(entry.claim.addr, Slot::default());
        }
        if let Some(slot) = port.by_addr.get_mut(&entry.claim.addr) {
            slot.put(id, &entry.claim, entry.hears);
        }
        if let Some(pair) = entry.pair() {
            let others = |&id: &u64| hash_of(&self.spread, &self.entries, id);
            self.peers.insert_unique(self.spread.hash_one(pair), id, others);
        }
        self.entries.insert(id, entry);
    }

    /// Gives back what a crowd that has left took, and not each time that one leaves: room for as many more stays.
    fn give_back(&mut self) {
        fn shrink<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V, Keyed>) {
            if map.capacity() > MUCH && map.len() < map.capacity() / 8 {
                map.shrink_to(map.len() * 2);
            }
        }
        shrink(&mut self.entries);
        shrink(&mut self.ports);
        if self.peers.capacity() > MUCH && self.peers.len() < self.peers.capacity() / 8 {
            let hash = |&id: &u64| hash_of(&self.spread, &self.entries, id);
            self.peers.shrink_to(self.peers.len() * 2, hash);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Entry<T>> {
        let entry = self.entries.remove(&id)?;
        let Claim { addr, port: number, .. } = entry.claim;
        if let Some(port) = self.ports.get_mut(&number) {
            port.by_bind -= usize::from(entry.by_bind);
            if let Some(slot) = port.by_addr.get_mut(&addr) {
                slot.remove(id, &entry.claim);
                if slot.hearing.is_empty() && slot.others.is_empty() {
                    port.by_addr.remove(&addr);
                }
            }
            if port.by_addr.is_empty() {
                self.ports.remove(&number);
            }
        }
        if let Some(pair) = entry.pair()
            && let Ok(place) = self.peers.find_entry(self.spread.hash_one(pair), |&other| other == id)
        {
            place.remove();
        }
        Some(entry)
    }

    fn change(&mut self, ticket: Ticket, edit: impl FnOnce(&mut Entry<T>)) {
        if let Some(mut entry) = self.remove(ticket.0) {
            edit(&mut entry);
            self.put(ticket.0, entry);
        }
    }
}
