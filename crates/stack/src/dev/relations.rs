//! Who is stacked on whom in a namespace, from the lower one's side.

use std::collections::{BTreeMap, BTreeSet};

use pernet::NetHandle;

use super::fdb::FdbEntry;
use super::{HwAddr, Links};

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
    pub(super) fn remotes_of(&self, owner: u32, address: &HwAddr) -> Vec<FdbEntry> {
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
    pub(super) fn uppers_of(&self, lower: u32) -> Vec<(Option<NetHandle>, u32)> {
        self.related(|r| {
            let on = r.uppers.range((lower, 0, 0)..=(lower, u64::MAX, u32::MAX));
            on.map(|(&(.., upper), net)| (net.as_deref().cloned(), upper)).collect()
        })
    }

    /// Whether anything sits on `lower`.
    pub(super) fn has_uppers(&self, lower: u32) -> bool {
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
