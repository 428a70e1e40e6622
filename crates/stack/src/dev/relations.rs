//! Who is stacked on whom in a namespace, from the lower one's side.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pernet::NetHandle;

use super::fdb::{EXT_LEARNED, FdbEntry, FdbRemote, PERMANENT, REACHABLE, SELF};
use super::{HwAddr, Link, Links};

/// Within that time (hundredths of a second) word of an address is no news.
const REFRESHED: u64 = 100;

/// Where a switch finds an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FdbFound {
    /// It is its own.
    Here,
    /// Behind the port with this index.
    Port(u32),
    /// Nobody knows.
    Nowhere,
}

/// Whether packets taught it, so that it is forgotten in time.
const fn is_learned(entry: &FdbEntry) -> bool {
    entry.state == REACHABLE && entry.flags & EXT_LEARNED == 0
}

/// Key of a device on another one: the lower one's index, the namespace of the upper one (0 for this one), its index.
type Upper = (u32, u64, u32);

/// Relations of the devices of one namespace. All look-ups are by key, however many there are.
#[derive(Debug, Default)]
pub(super) struct Relations {
    /// Master and port.
    ports: BTreeSet<(u32, u32)>,
    /// Devices on devices of this namespace, with the namespace they are in if it is another one.
    uppers: BTreeMap<Upper, Option<Box<NetHandle>>>,
    /// Forwarding tables: the switch, tunnel or device whose it is, and the address.
    fdb: BTreeMap<(u32, [u8; 6]), Vec<FdbEntry>>,
    /// Which of them go by a nexthop object: its number first.
    by_nexthop: BTreeSet<(u32, u32, [u8; 6])>,
    /// Tunnels by what tells them apart: number, port, whether over IPv6.
    vnis: BTreeMap<(u32, u16, bool), u32>,
}

impl Relations {
    fn put(&mut self, key: (u32, [u8; 6]), entries: Vec<FdbEntry>) {
        self.take(key);
        self.by_nexthop.extend(entries.iter().filter_map(|entry| Some((entry.nexthop?, key.0, key.1))));
        self.fdb.insert(key, entries);
    }

    fn take(&mut self, key: (u32, [u8; 6])) {
        for id in self.fdb.remove(&key).into_iter().flatten().filter_map(|entry| entry.nexthop) {
            self.by_nexthop.remove(&(id, key.0, key.1));
        }
    }
}

impl Links {
    fn relate<R>(&self, edit: impl FnOnce(&mut Relations) -> R) -> R {
        edit(self.write().relations.get_or_insert_default())
    }

    fn related<R: Default>(&self, look: impl FnOnce(&Relations) -> R) -> R {
        self.read().relations.as_deref().map(look).unwrap_or_default()
    }

    /// `port` belongs to `master` from here on.
    pub(super) fn join(&self, master: u32, port: u32) {
        self.relate(|r| r.ports.insert((master, port)));
    }

    /// `port` belongs to `master` no more.
    pub(super) fn part(&self, master: u32, port: u32) {
        self.relate(|r| r.ports.remove(&(master, port)));
    }

    /// Whether a tunnel has that number, port and family.
    pub(super) fn vnis_hold(&self, vni: (u32, u16, bool)) -> bool {
        self.related(|r| r.vnis.contains_key(&vni))
    }

    /// A tunnel has them from here on.
    pub(super) fn add_vni(&self, vni: (u32, u16, bool), index: u32) {
        self.relate(|r| r.vnis.insert(vni, index));
    }

    /// None has them any more.
    pub(super) fn del_vni(&self, vni: (u32, u16, bool)) {
        self.relate(|r| r.vnis.remove(&vni));
    }

    /// The entries of a table, by their addresses.
    pub(super) fn fdb_on(&self, owner: u32) -> Vec<FdbEntry> {
        self.related(|r| {
            r.fdb.range((owner, [0; 6])..=(owner, [0xff; 6])).flat_map(|(_, e)| e.iter().cloned()).collect()
        })
    }

    /// The entry of an address.
    pub(super) fn fdb_entry(&self, owner: u32, address: &HwAddr) -> Option<FdbEntry> {
        self.remotes_of(owner, address).into_iter().next()
    }

    /// All entries of an address: a tunnel may send it to several hosts.
    pub(crate) fn remotes_of(&self, owner: u32, address: &HwAddr) -> Vec<FdbEntry> {
        self.related(|r| r.fdb.get(&(owner, six(address))).cloned().unwrap_or_default())
    }

    /// The entry of its address from here on.
    pub(super) fn set_fdb(&self, owner: u32, entry: FdbEntry) {
        self.relate(|r| r.put((owner, six(&entry.address)), vec![entry]));
    }

    /// The entries of an address from here on.
    pub(super) fn set_remotes(&self, owner: u32, address: HwAddr, entries: Vec<FdbEntry>) {
        if entries.is_empty() {
            self.del_fdb(owner, &address);
        } else {
            self.relate(|r| r.put((owner, six(&address)), entries));
        }
    }

    /// No entry of an address any more.
    pub(super) fn del_fdb(&self, owner: u32, address: &HwAddr) {
        self.relate(|r| r.take((owner, six(address))));
    }

    /// A table goes with its owner.
    pub(super) fn drop_fdb(&self, owner: u32) {
        if self.related(|r| !r.fdb.is_empty()) {
            self.relate(|r| {
                let keys: Vec<_> = r.fdb.range((owner, [0; 6])..=(owner, [0xff; 6])).map(|(key, _)| *key).collect();
                keys.into_iter().for_each(|key| r.take(key));
            });
        }
    }

    /// What went by a nexthop object goes with it.
    pub(crate) fn forget_nexthop(&self, id: u32) {
        const LAST: [u8; 6] = [0xff; 6];
        let range = (id, 0, [0; 6])..=(id, u32::MAX, LAST);
        if self.related(|r| r.by_nexthop.range(range.clone()).next().is_some()) {
            self.relate(|r| {
                let keys: Vec<_> = r.by_nexthop.range(range).map(|&(_, owner, address)| (owner, address)).collect();
                keys.into_iter().for_each(|key| r.take(key));
            });
        }
    }

    /// Where a switch finds an address.
    pub(crate) fn found_at(&self, bridge: &Link, address: &HwAddr) -> FdbFound {
        let table = self.read();
        let Some(relations) = table.relations.as_deref() else { return FdbFound::Nowhere };
        let entry = relations.fdb.get(&(bridge.index(), six(address))).and_then(|entries| entries.first());
        if let Some(entry) = entry {
            return if entry.state & PERMANENT != 0 { FdbFound::Here } else { FdbFound::Port(entry.ifindex) };
        }
        // Its own address, and those of its ports, are its own.
        let own = |port: u32| table.find(port).is_some_and(|link| link.address == *address);
        let mut ports = relations.ports.range((bridge.index(), 0)..=(bridge.index(), u32::MAX));
        if bridge.address == *address || ports.any(|&(_, port)| own(port)) { FdbFound::Here } else { FdbFound::Nowhere }
    }

    /// A switch heard from `address` behind `port` at `now` (hundredths of a second). Says whether it is the first that it
    /// learnt; with `most` other than 0 it learns no more than that.
    pub(crate) fn learn_fdb(&self, bridge: u32, address: HwAddr, port: u32, now: u64, most: usize) -> bool {
        // Most frames teach nothing, and then nobody is kept from reading.
        let known = self.related(|r| r.fdb.get(&(bridge, six(&address))).and_then(|e| e.first().cloned()));
        let fresh = |e: &FdbEntry| e.ifindex == port && e.updated.is_some_and(|updated| now < updated + REFRESHED);
        if known.as_ref().is_some_and(fresh) {
            return false;
        }
        self.relate(|r| {
            if let Some(entry) = r.fdb.get_mut(&(bridge, six(&address))).and_then(|e| e.first_mut()) {
                // A packet does not move what is the switch's own.
                if entry.state & PERMANENT == 0 {
                    (entry.ifindex, entry.updated) = (port, Some(now));
                }
                return false;
            }
            let learned = |r: &Relations| {
                let all = r.fdb.range((bridge, [0; 6])..=(bridge, [0xff; 6]));
                all.filter(|(_, e)| e.first().is_some_and(is_learned)).count()
            };
            let before = learned(r);
            if most != 0 && before >= most {
                return false;
            }
            let entry = FdbEntry {
                ifindex: port,
                master: Some(bridge),
                address,
                state: REACHABLE,
                flags: 0,
                updated: Some(now),
                remote: None,
                nexthop: None,
            };
            r.fdb.insert((bridge, six(&address)), vec![entry]);
            before == 0
        })
    }

    /// The tunnel of a number, a port and a family.
    pub(crate) fn tunnel(&self, vni: (u32, u16, bool)) -> Option<u32> {
        self.related(|r| r.vnis.get(&vni).copied())
    }

    /// A tunnel heard from `address` behind `host`; as [`learn_fdb`](Self::learn_fdb).
    pub(crate) fn learn_remote(&self, tunnel: u32, address: HwAddr, host: IpAddr, now: u64, most: usize) -> bool {
        let remote = || FdbRemote { address: host, port: None, vni: None, ifindex: None };
        let known = self.fdb_entry(tunnel, &address);
        let same = |e: &FdbEntry| e.remote.as_ref().is_some_and(|remote| remote.address == host);
        if known.as_ref().is_some_and(|e| same(e) && e.updated.is_some_and(|updated| now < updated + REFRESHED)) {
            return false;
        }
        self.relate(|r| {
            if let Some(entry) = r.fdb.get_mut(&(tunnel, six(&address))).and_then(|e| e.first_mut()) {
                if is_learned(entry) {
                    (entry.remote, entry.updated) = (Some(remote()), Some(now));
                }
                return false;
            }
            let all = r.fdb.range((tunnel, [0; 6])..=(tunnel, [0xff; 6]));
            let before = all.filter(|(_, e)| e.first().is_some_and(is_learned)).count();
            if most != 0 && before >= most {
                return false;
            }
            let entry = FdbEntry {
                ifindex: tunnel,
                master: None,
                address,
                state: REACHABLE,
                flags: SELF,
                updated: Some(now),
                remote: Some(remote()),
                nexthop: None,
            };
            r.fdb.insert((tunnel, six(&address)), vec![entry]);
            before == 0
        })
    }

    /// What a switch learnt and did not hear of for `ageing` goes; says how long the next may stay, if any is left.
    pub(crate) fn age_fdb(&self, bridge: u32, now: u64, ageing: u64) -> Option<u64> {
        self.relate(|r| {
            let mut next = None;
            let mut over = Vec::new();
            for (key, entries) in r.fdb.range((bridge, [0; 6])..=(bridge, [0xff; 6])) {
                let Some(entry) = entries.first().filter(|entry| is_learned(entry)) else { continue };
                let age = now.saturating_sub(entry.updated.unwrap_or(0));
                if age >= ageing {
                    over.push(*key);
                } else {
                    next = Some(next.unwrap_or(u64::MAX).min(ageing - age));
                }
            }
            over.iter().for_each(|key| drop(r.fdb.remove(key)));
            next
        })
    }

    /// A switch finds nothing behind a port that left.
    pub(super) fn forget_port(&self, bridge: u32, port: u32) {
        for entry in self.fdb_on(bridge).into_iter().filter(|e| e.ifindex == port) {
            self.del_fdb(bridge, &entry.address);
        }
    }

    /// The ports of a master, by their indexes.
    #[must_use]
    pub fn ports_of(&self, master: u32) -> Vec<u32> {
        self.related(|r| r.ports.range((master, 0)..=(master, u32::MAX)).map(|&(_, port)| port).collect())
    }

    /// The device `upper`, of the namespace `net` if that is another one, sits on `lower` from here on.
    pub(super) fn stack(&self, lower: u32, net: Option<&NetHandle>, upper: u32) {
        self.relate(|r| r.uppers.insert(key(lower, net, upper), net.cloned().map(Box::new)));
    }

    /// It sits there no more.
    pub(super) fn unstack(&self, lower: u32, net: Option<&NetHandle>, upper: u32) {
        self.relate(|r| r.uppers.remove(&key(lower, net, upper)));
    }

    /// The devices on `lower`, each with its namespace if that is another one.
    pub(crate) fn uppers_of(&self, lower: u32) -> Vec<(Option<NetHandle>, u32)> {
        self.related(|r| {
            let on = r.uppers.range((lower, 0, 0)..=(lower, u64::MAX, u32::MAX));
            on.map(|(&(.., upper), net)| (net.as_deref().cloned(), upper)).collect()
        })
    }

    /// Whether anything sits on `lower`.
    pub(crate) fn has_uppers(&self, lower: u32) -> bool {
        self.related(|r| r.uppers.range((lower, 0, 0)..=(lower, u64::MAX, u32::MAX)).next().is_some())
    }
}

fn key(lower: u32, net: Option<&NetHandle>, upper: u32) -> Upper {
    (lower, net.map_or(0, |net| net.cookie().get()), upper)
}

/// The six bytes of an Ethernet address; of a shorter one, as many as there are.
fn six(address: &HwAddr) -> [u8; 6] {
    let mut out = [0; 6];
    for (to, from) in out.iter_mut().zip(address.as_bytes()) {
        *to = *from;
    }
    out
}
