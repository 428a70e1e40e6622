//! Who is stacked on whom in a namespace, from the lower one's side.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pernet::NetHandle;

use super::fdb::{EXT_LEARNED, FdbEntry, FdbRemote, PERMANENT, REACHABLE, SELF};
use super::kind::Flavour;
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
/// Key of a forwarding table's entries: the switch, tunnel or device whose it is, the address, and the network of one whose
/// network is told beside it.
type FdbKey = (u32, [u8; 6], u32);

/// Relations of the devices of one namespace. All look-ups are by key, however many there are.
#[derive(Debug, Default)]
pub(super) struct Relations {
    /// Master and port.
    ports: BTreeSet<(u32, u32)>,
    /// Devices on devices of this namespace, with the namespace they are in if it is another one.
    uppers: BTreeMap<Upper, Option<Box<NetHandle>>>,
    /// Forwarding tables.
    fdb: BTreeMap<FdbKey, Vec<FdbEntry>>,
    /// Which of them go by a nexthop object: its number first.
    by_nexthop: BTreeSet<(u32, FdbKey)>,
    /// Tunnels by what tells them apart.
    vnis: BTreeMap<(u32, Flavour), u32>,
    /// Tunnels that filter.
    filters: BTreeSet<(Flavour, u32)>,
}

impl Relations {
    fn put(&mut self, key: FdbKey, entries: Vec<FdbEntry>) {
        self.take(&key);
        self.by_nexthop.extend(entries.iter().filter_map(|entry| Some((entry.nexthop?, key))));
        self.fdb.insert(key, entries);
    }

    fn take(&mut self, key: &FdbKey) -> Vec<FdbEntry> {
        let entries = self.fdb.remove(key).unwrap_or_default();
        for id in entries.iter().filter_map(|entry| entry.nexthop) {
            self.by_nexthop.remove(&(id, *key));
        }
        entries
    }
}

impl Links {
    fn relate<R>(&self, edit: impl FnOnce(&mut Relations) -> R) -> R {
        edit(self.write_relations().relations.get_or_insert_default())
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

    /// Whether a tunnel has that number and cannot be told from one of this flavour. One between link-local addresses
    /// can be from another on another device.
    pub(super) fn vni_clashes(&self, vni: u32, flavour: Flavour) -> bool {
        let (port, six, switches, device) = flavour;
        let on = |device| (vni, (port, six, switches, device));
        self.related(|r| {
            if device == 0 {
                r.vnis.range(on(0)..=on(u32::MAX)).next().is_some()
            } else {
                [on(0), on(device)].iter().any(|key| r.vnis.contains_key(key))
            }
        })
    }

    /// A tunnel has them from here on.
    pub(super) fn add_vni(&self, vni: u32, flavour: Flavour, index: u32) {
        self.relate(|r| r.vnis.insert((vni, flavour), index));
    }

    /// None has them any more.
    pub(super) fn del_vni(&self, vni: u32, flavour: Flavour) {
        self.relate(|r| r.vnis.remove(&(vni, flavour)));
    }

    /// A tunnel filters from here on.
    pub(super) fn add_filter(&self, flavour: Flavour, index: u32) {
        self.relate(|r| r.filters.insert((flavour, index)));
    }

    /// It is not here any more.
    pub(super) fn del_filter(&self, flavour: Flavour, index: u32) {
        self.relate(|r| r.filters.remove(&(flavour, index)));
    }

    /// The tunnels that filter and that packets of this flavour may be for.
    pub(super) fn filters_like(&self, flavour: Flavour) -> Vec<u32> {
        self.related(|r| {
            let (port, six, switches, _) = flavour;
            let on = |device, index| ((port, six, switches, device), index);
            let alike = r.filters.range(on(0, 0)..=on(u32::MAX, u32::MAX));
            let clash = |device: u32| device == 0 || flavour.3 == 0 || device == flavour.3;
            alike.filter(|((.., device), _)| clash(*device)).map(|&(_, index)| index).collect()
        })
    }

    /// The entries of a table, by their addresses.
    pub(super) fn fdb_on(&self, owner: u32) -> Vec<FdbEntry> {
        self.related(|r| r.fdb.range(all_of(owner)).flat_map(|(_, e)| e.iter().cloned()).collect())
    }

    /// The entry of an address.
    pub(super) fn fdb_entry(&self, owner: u32, address: &HwAddr) -> Option<FdbEntry> {
        self.remotes_of(owner, address, 0).into_iter().next()
    }

    /// All entries of an address in a network: a tunnel may send it to several hosts.
    pub(crate) fn remotes_of(&self, owner: u32, address: &HwAddr, vni: u32) -> Vec<FdbEntry> {
        self.related(|r| r.fdb.get(&(owner, six(address), vni)).cloned().unwrap_or_default())
    }

    /// The entry of its address from here on.
    pub(super) fn set_fdb(&self, owner: u32, entry: FdbEntry) {
        self.relate(|r| r.put((owner, six(&entry.address), entry.src_vni), vec![entry]));
    }

    /// The entries of an address from here on.
    pub(super) fn set_remotes(&self, owner: u32, address: HwAddr, vni: u32, entries: Vec<FdbEntry>) {
        let key = (owner, six(&address), vni);
        if entries.is_empty() {
            self.relate(|r| r.take(&key));
        } else {
            self.relate(|r| r.put(key, entries));
        }
    }

    /// No entry of an address any more.
    pub(super) fn del_fdb(&self, owner: u32, address: &HwAddr) {
        self.relate(|r| r.take(&(owner, six(address), 0)));
    }

    /// A table goes with its owner.
    pub(super) fn take_fdb(&self, owner: u32) -> Vec<FdbEntry> {
        if self.related(|r| r.fdb.is_empty()) {
            return Vec::new();
        }
        self.relate(|r| {
            let keys: Vec<FdbKey> = r.fdb.range(all_of(owner)).map(|(key, _)| *key).collect();
            keys.iter().flat_map(|key| r.take(key)).collect()
        })
    }

    /// What went by a nexthop object goes with it, and nobody is told so.
    pub(crate) fn forget_nexthop(&self, id: u32) {
        const FIRST: FdbKey = (0, [0; 6], 0);
        const LAST: FdbKey = (u32::MAX, [0xff; 6], u32::MAX);
        let range = (id, FIRST)..=(id, LAST);
        if self.related(|r| r.by_nexthop.range(range.clone()).next().is_some()) {
            self.relate(|r| {
                let keys: Vec<FdbKey> = r.by_nexthop.range(range).map(|&(_, key)| key).collect();
                keys.iter().for_each(|key| drop(r.take(key)));
            });
        }
    }

    /// Where a switch finds an address.
    pub(crate) fn found_at(&self, bridge: &Link, address: &HwAddr) -> FdbFound {
        let table = self.read();
        let Some(relations) = table.relations.as_deref() else { return FdbFound::Nowhere };
        let entry = relations.fdb.get(&(bridge.index(), six(address), 0)).and_then(|entries| entries.first());
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
        let known = self.related(|r| r.fdb.get(&(bridge, six(&address), 0)).and_then(|e| e.first().cloned()));
        let fresh = |e: &FdbEntry| e.ifindex == port && e.updated.is_some_and(|updated| now < updated + REFRESHED);
        if known.as_ref().is_some_and(fresh) {
            return false;
        }
        self.relate(|r| {
            if let Some(entry) = r.fdb.get_mut(&(bridge, six(&address), 0)).and_then(|e| e.first_mut()) {
                // A packet does not move what is the switch's own.
                if entry.state & PERMANENT == 0 {
                    (entry.ifindex, entry.updated) = (port, Some(now));
                }
                return false;
            }
            let learned = |r: &Relations| {
                let all = r.fdb.range(all_of(bridge));
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
                src_vni: 0,
                updated: Some(now),
                remote: None,
                nexthop: None,
            };
            r.put((bridge, six(&address), 0), vec![entry]);
            before == 0
        })
    }

    /// The tunnel of a number, a port and a family.
    pub(crate) fn tunnel(&self, (vni, port, six): (u32, u16, bool)) -> Option<u32> {
        let range = (vni, (port, six, 0, 0))..=(vni, (port, six, u8::MAX, u32::MAX));
        self.related(|r| r.vnis.range(range).map(|(_, &index)| index).next())
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
            if let Some(entry) = r.fdb.get_mut(&(tunnel, six(&address), 0)).and_then(|e| e.first_mut()) {
                if is_learned(entry) {
                    (entry.remote, entry.updated) = (Some(remote()), Some(now));
                }
                return false;
            }
            let all = r.fdb.range(all_of(tunnel));
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
                src_vni: 0,
                updated: Some(now),
                remote: Some(remote()),
                nexthop: None,
            };
            r.put((tunnel, six(&address), 0), vec![entry]);
            before == 0
        })
    }

    /// What a switch learnt and did not hear of for `ageing` goes; says how long the next may stay, if any is left.
    pub(crate) fn age_fdb(&self, bridge: u32, now: u64, ageing: u64) -> Option<u64> {
        self.relate(|r| {
            let mut next = None;
            let mut over = Vec::new();
            for (key, entries) in r.fdb.range(all_of(bridge)) {
                let Some(entry) = entries.first().filter(|entry| is_learned(entry)) else { continue };
                let age = now.saturating_sub(entry.updated.unwrap_or(0));
                if age >= ageing {
                    over.push(*key);
                } else {
                    next = Some(next.unwrap_or(u64::MAX).min(ageing - age));
                }
            }
            over.iter().for_each(|key| drop(r.take(key)));
            next
        })
    }

    /// A table comes with its owner, which has another index perhaps. Nexthop objects stay where they are, and what goes by
    /// them is let go.
    pub(super) fn adopt_fdb(&self, owner: u32, entries: Vec<FdbEntry>) {
        if entries.is_empty() {
            return;
        }
        self.relate(|r| {
            for entry in entries.into_iter().filter(|entry| entry.nexthop.is_none()) {
                let key = (owner, six(&entry.address), entry.src_vni);
                r.fdb.entry(key).or_default().push(FdbEntry { ifindex: owner, ..entry });
            }
        });
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

/// The keys of a whole table.
const fn all_of(owner: u32) -> std::ops::RangeInclusive<FdbKey> {
    (owner, [0; 6], 0)..=(owner, [0xff; 6], u32::MAX)
}

/// The six bytes of an Ethernet address; of a shorter one, as many as there are.
fn six(address: &HwAddr) -> [u8; 6] {
    let mut out = [0; 6];
    for (to, from) in out.iter_mut().zip(address.as_bytes()) {
        *to = *from;
    }
    out
}
