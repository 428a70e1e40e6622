//! Forwarding tables: which address a switch finds behind which port, and a tunnel behind which host; and the addresses
//! that a device itself listens to beside its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pernet::Net;

use super::kind::{BridgePort, KindData, Vxlan};
use super::{HwAddr, Link, LinkNotice, LinkRefused, Stack};
use crate::clock::centiseconds;
use crate::errno;
use crate::nexthop::NotEnds;
use crate::notice::Notice;
use crate::rtnl::Rtnl;
use crate::rules::Family;
use crate::state::Ns;

/// States as `NUD_*`.
pub(super) const PERMANENT: u16 = 0x80;
const NOARP: u16 = 0x40;
pub(super) const REACHABLE: u16 = 0x02;
/// Flags as `NTF_*`.
const USE: u8 = 0x01;
pub(super) const SELF: u8 = 0x02;
const MASTER: u8 = 0x04;
pub(super) const EXT_LEARNED: u8 = 0x10;
const STICKY: u8 = 0x40;

/// Where a tunnel sends what is for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbRemote {
    /// The host.
    pub address: IpAddr,
    /// The UDP port, if not the tunnel's.
    pub port: Option<u16>,
    /// The number of the network, if not the tunnel's.
    pub vni: Option<u32>,
    /// The device to send through.
    pub ifindex: Option<u32>,
}

/// An entry of a forwarding table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// The port, or the device itself.
    pub ifindex: u32,
    /// The switch whose table it is in; `None` if the device's own.
    pub master: Option<u32>,
    /// The address.
    pub address: HwAddr,
    /// `NUD_*`.
    pub state: u16,
    /// `NTF_*`.
    pub flags: u8,
    /// The network that packets for it are of, where that is told beside them; else 0.
    pub src_vni: u32,
    /// When it was made or last changed, hundredths of a second; `None` if nobody noted it.
    pub updated: Option<u64>,
    /// Where a tunnel sends it.
    pub remote: Option<FdbRemote>,
    /// The group of nexthop objects that a tunnel sends it by, in place of a host.
    pub nexthop: Option<u32>,
}

impl FdbEntry {
    /// Where a tunnel sends what it knows no other host for.
    pub(super) const fn unknown_addresses(ifindex: u32, address: HwAddr, src_vni: u32, remote: FdbRemote) -> Self {
        Self {
            ifindex,
            master: None,
            address,
            state: PERMANENT | REACHABLE,
            flags: SELF,
            src_vni,
            updated: None,
            remote: Some(remote),
            nexthop: None,
        }
    }
}

/// Entries that one request may make.
pub(super) const REMOTES_AT_ONCE: u64 = 1 << 16;

/// What a request says of an entry.
#[derive(Clone, Debug)]
pub struct FdbChange {
    /// The port, or the device itself.
    pub ifindex: u32,
    /// The address.
    pub address: HwAddr,
    /// `NUD_*`.
    pub state: u16,
    /// `NTF_*`: which table is meant, and how the entry came to be.
    pub flags: u8,
    /// The number of a VLAN.
    pub vlan: Option<u16>,
    /// Where a tunnel sends it.
    pub remote: Option<FdbRemote>,
    /// The nexthop object that it is sent by, 0 for none.
    pub nexthop: Option<u32>,
    /// A host, a port, a network or a device is named.
    pub names_host: bool,
    /// The network that packets for it are of.
    pub src_vni: Option<u32>,
    /// It must not be there.
    pub exclusive: bool,
    /// It may be made.
    pub create: bool,
    /// What was there gives way.
    pub replace: bool,
    /// Another host beside those that are there.
    pub append: bool,
}

/// Which entries are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct FdbFilter {
    /// Of this device; 0 for any.
    pub ifindex: u32,
    /// Of this switch and its ports; 0 for any.
    pub master: u32,
}

impl Stack {
    /// The entries of one device, in the order of a dump: as a port of its switch, of its own, and as a switch.
    #[must_use]
    pub fn fdb_of(&self, net: &Net, link: &Link) -> Vec<FdbEntry> {
        let Some(state) = self.state(net) else { return Vec::new() };
        let ns = Ns::living(state, net);
        let mut out = Vec::new();
        let of_bridge = |bridge: u32, out: &mut Vec<FdbEntry>| {
            out.extend(ns.links.fdb_on(bridge).into_iter().rev().filter(|e| e.ifindex == link.index()));
            if !link.address.is_zero() {
                out.push(FdbEntry {
                    ifindex: link.index(),
                    master: Some(bridge),
                    address: link.address,
                    state: PERMANENT,
                    flags: 0,
                    src_vni: 0,
                    updated: None,
                    remote: None,
                    nexthop: None,
                });
            }
        };
        if BridgePort::of(link).is_some()
            && let Some(master) = link.master
        {
            of_bridge(master, &mut out);
        }
        let own = |address: HwAddr| FdbEntry {
            ifindex: link.index(),
            master: None,
            address,
            state: PERMANENT,
            flags: SELF,
            src_vni: 0,
            updated: None,
            remote: None,
            nexthop: None,
        };
        let on = ns.links.fdb_on(link.index());
        match link.data() {
            Some(KindData::Vxlan(_)) => out.extend(on),
            _ if link.address.as_bytes().len() == 6 && link.class().kind.is_some() => {
                out.extend(on.into_iter().filter(|e| e.master.is_none()));
                out.extend(crate::mcast::link_addresses(ns, link).into_iter().map(own));
            }
            _ => {}
        }
        if matches!(link.data(), Some(KindData::Bridge(_))) {
            of_bridge(link.index(), &mut out);
        }
        out
    }
}

impl Rtnl<'_> {
    /// Puts an entry into a table (`rtnl_fdb_add`).
    ///
    /// # Errors
    /// [`LinkRefused`].
    pub fn add_fdb(&mut self, net: &Net, change: &FdbChange) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let link = known(ns, change.ifindex)?;
        let now = centiseconds(self.now());
        let bridge = bridge_for(&link, change.flags)?;
        let to_self = change.flags & SELF != 0;
        let is_bridge = matches!(link.data(), Some(KindData::Bridge(_)));
        let entry = FdbEntry {
            ifindex: link.index(),
            master: bridge.or_else(|| (to_self && is_bridge).then_some(link.index())),
            address: change.address,
            state: bridge_state(change),
            flags: change.flags & (EXT_LEARNED | STICKY),
            src_vni: 0,
            updated: Some(now),
            remote: None,
            nexthop: None,
        };
        // Both tables are asked before either is changed.
        let in_bridge =
            if let Some(bridge) = entry.master { Some((bridge, check_bridge(ns, bridge, change)?)) } else { None };
        let vxlan = matches!(link.data(), Some(KindData::Vxlan(_)));
        let own = to_self && !is_bridge;
        let remotes = if own && vxlan { Some(check_remote(ns, &link, change)?) } else { None };
        if own && !vxlan {
            check_own(ns, &link, change)?;
        }
        if let Some((bridge, true)) = in_bridge {
            ns.links.set_fdb(bridge, entry.clone());
            self.tell_fdb(ns, &entry, false);
        }
        if let Some(entries) = remotes {
            self.set_hosts(ns, &link, change, entries);
        } else if own {
            let entry = FdbEntry { master: None, state: PERMANENT, flags: SELF, updated: None, ..entry };
            let told = FdbEntry { state: change.state, ..entry.clone() };
            ns.links.set_fdb(link.index(), entry);
            self.tell_fdb(ns, &told, false);
        }
        Ok(())
    }

    /// The hosts of an address from here on; whoever listens hears of those that are new or another than before.
    fn set_hosts(&mut self, ns: Ns<'_>, link: &Link, change: &FdbChange, mut entries: Vec<FdbEntry>) {
        let now = centiseconds(self.now());
        let vni = src_vni(link, change);
        let before = ns.links.remotes_of(link.index(), &change.address, vni);
        let same = |a: &FdbEntry, b: &FdbEntry| {
            (a.state, a.flags, &a.remote, a.nexthop) == (b.state, b.flags, &b.remote, b.nexthop)
        };
        let mut told = Vec::new();
        for entry in &mut entries {
            if !before.iter().any(|old| same(old, entry)) {
                entry.updated = Some(now);
                // Of several hosts, those that were there are not spoken of again.
                if before.iter().all(|old| old.remote != entry.remote) || before.len() == 1 {
                    told.push(entry.clone());
                }
            }
        }
        ns.links.set_remotes(link.index(), change.address, vni, entries);
        told.iter().for_each(|entry| self.tell_fdb(ns, entry, false));
    }

    /// What a tunnel has no entry for goes to a further host.
    pub(super) fn add_host(&mut self, ns: Ns<'_>, entry: &FdbEntry) {
        let now = centiseconds(self.now());
        let mut entries = ns.links.remotes_of(entry.ifindex, &entry.address, entry.src_vni);
        if entries.iter().any(|there| there.remote == entry.remote) {
            return;
        }
        entries.push(FdbEntry { updated: Some(now), ..entry.clone() });
        ns.links.set_remotes(entry.ifindex, entry.address, entry.src_vni, entries);
        self.tell_fdb(ns, entry, false);
    }

    /// It does no more.
    pub(super) fn del_host(&mut self, ns: Ns<'_>, entry: &FdbEntry) {
        let mut entries = ns.links.remotes_of(entry.ifindex, &entry.address, entry.src_vni);
        let Some(place) = entries.iter().position(|there| there.remote == entry.remote) else { return };
        let gone = entries.remove(place);
        ns.links.set_remotes(entry.ifindex, entry.address, entry.src_vni, entries);
        self.tell_fdb(ns, &gone, true);
    }

    /// A table goes with its owner.
    pub(super) fn drop_fdb(&mut self, ns: Ns<'_>, owner: u32) {
        for entry in ns.links.take_fdb(owner) {
            self.tell_fdb(ns, &entry, true);
        }
    }

    /// A switch finds nothing behind a port that left. What was found last is forgotten first.
    pub(super) fn forget_port(&mut self, ns: Ns<'_>, bridge: u32, port: u32) {
        let mut behind: Vec<FdbEntry> = ns.links.fdb_on(bridge).into_iter().filter(|e| e.ifindex == port).collect();
        behind.sort_by_key(|entry| std::cmp::Reverse(entry.updated));
        for entry in behind {
            ns.links.del_fdb(bridge, &entry.address);
            self.tell_fdb(ns, &entry, true);
        }
    }

    fn tell_fdb(&mut self, ns: Ns<'_>, entry: &FdbEntry, gone: bool) {
        self.notify_caused(ns, Notice::Link(LinkNotice::Fdb { entry: entry.clone(), gone }));
    }

    /// Takes an entry out of a table (`rtnl_fdb_del`).
    ///
    /// # Errors
    /// [`LinkRefused`].
    pub fn del_fdb(&mut self, net: &Net, change: &FdbChange) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let link = known(ns, change.ifindex)?;
        let is_bridge = matches!(link.data(), Some(KindData::Bridge(_)));
        let missing = || LinkRefused::plain(errno::ENOENT);
        let to_self = change.flags & SELF != 0;
        let bridge = bridge_for(&link, change.flags)?.or_else(|| (to_self && is_bridge).then_some(link.index()));
        if let Some(bridge) = bridge {
            let entry = ns.links.fdb_entry(bridge, &change.address).filter(|e| e.ifindex == link.index());
            // A device's own address goes with the device only, and nobody is told so.
            if entry.is_none() && change.address != link.address {
                return Err(missing());
            }
            if let Some(entry) = entry {
                ns.links.del_fdb(bridge, &change.address);
                self.tell_fdb(ns, &entry, true);
            }
        }
        if !to_self || is_bridge {
            return Ok(());
        }
        if matches!(link.data(), Some(KindData::Vxlan(_))) {
            let vni = src_vni(&link, change);
            let mut entries = ns.links.remotes_of(link.index(), &change.address, vni);
            let wanted = change.remote.as_ref().map(|remote| remote.address).filter(|host| !host.is_unspecified());
            if wanted.is_some() && entries.iter().any(|entry| entry.nexthop.is_some()) {
                // It is sent to no host, and who asks to leave one out is content.
                return Ok(());
            }
            let goes = |e: &mut FdbEntry| wanted.is_none() || e.remote.as_ref().map(|to| to.address) == wanted;
            let gone: Vec<FdbEntry> = entries.extract_if(.., goes).collect();
            if gone.is_empty() {
                return Err(missing());
            }
            ns.links.set_remotes(link.index(), change.address, vni, entries);
            gone.iter().for_each(|entry| self.tell_fdb(ns, entry, true));
            return Ok(());
        }
        let Some(entry) = ns.links.fdb_entry(link.index(), &change.address) else { return Err(missing()) };
        ns.links.del_fdb(link.index(), &change.address);
        self.tell_fdb(ns, &FdbEntry { state: change.state, ..entry }, true);
        Ok(())
    }
}

/// The network by which a tunnel keeps the entry: where it is not told beside packets, there is one only.
fn src_vni(link: &Link, change: &FdbChange) -> u32 {
    match link.data() {
        Some(KindData::Vxlan(vxlan)) if vxlan.collects_metadata() => change.src_vni.unwrap_or(0),
        _ => 0,
    }
}

/// What a switch makes of a state: an entry is the switch's own, stays, or ages.
const fn bridge_state(change: &FdbChange) -> u16 {
    if change.flags & (EXT_LEARNED | USE) != 0 {
        REACHABLE
    } else if change.state & PERMANENT != 0 {
        PERMANENT
    } else if change.state & NOARP != 0 {
        NOARP
    } else {
        REACHABLE
    }
}

fn known(ns: Ns<'_>, index: u32) -> Result<std::sync::Arc<Link>, LinkRefused> {
    if index == 0 {
        return Err(LinkRefused::says(errno::EINVAL, "invalid ifindex"));
    }
    ns.links.by_index(index).ok_or(LinkRefused::says(errno::ENODEV, "unknown ifindex"))
}

/// The switch that is meant, if one is: by default it is the port's.
fn bridge_for(link: &Link, flags: u8) -> Result<Option<u32>, LinkRefused> {
    if flags & MASTER == 0 && flags & SELF != 0 {
        return Ok(None);
    }
    match link.master.filter(|_| BridgePort::of(link).is_some()) {
        Some(master) => Ok(Some(master)),
        None => Err(LinkRefused::plain(errno::EOPNOTSUPP)),
    }
}

/// Whether the entry may come into a switch's table; says whether anything is written.
fn check_bridge(ns: Ns<'_>, bridge: u32, change: &FdbChange) -> Result<bool, LinkRefused> {
    let refuse = |errno| Err(LinkRefused::plain(errno));
    if change.state & (PERMANENT | NOARP | REACHABLE) == 0 || change.vlan.is_some() {
        return refuse(errno::EINVAL);
    }
    if change.address.is_zero() {
        return refuse(errno::EINVAL);
    }
    if change.flags & USE != 0 {
        // As if the address had been seen in a packet.
        let port = ns.links.by_index(change.ifindex);
        return Ok(port.is_some_and(|p| BridgePort::of(&p).is_some_and(|p| p.state as u8 >= 2)));
    }
    if change.state == REACHABLE && change.flags & EXT_LEARNED == 0 {
        let port = ns.links.by_index(change.ifindex);
        let works = port.is_some_and(|p| BridgePort::of(&p).is_some_and(|p| p.state as u8 >= 2));
        if !works {
            return refuse(errno::EPERM);
        }
    }
    match ns.links.fdb_entry(bridge, &change.address) {
        Some(_) if change.exclusive => refuse(errno::EEXIST),
        None if !change.create => refuse(errno::ENOENT),
        _ => Ok(true),
    }
}

fn check_own(ns: Ns<'_>, link: &Link, change: &FdbChange) -> Result<(), LinkRefused> {
    let multicast = crate::mcast::link_addresses(ns, link);
    if change.state & PERMANENT == 0 {
        return Err(LinkRefused::plain(errno::EINVAL));
    }
    if ns.links.fdb_entry(link.index(), &change.address).is_some() || multicast.contains(&change.address) {
        let errno = if change.exclusive { errno::EEXIST } else { 0 };
        return if errno == 0 { Ok(()) } else { Err(LinkRefused::plain(errno)) };
    }
    Ok(())
}

/// Where a tunnel sends what is for an address after the change.
fn check_remote(ns: Ns<'_>, link: &Link, change: &FdbChange) -> Result<Vec<FdbEntry>, LinkRefused> {
    let refuse = |errno| Err(LinkRefused::plain(errno));
    if change.state & (PERMANENT | REACHABLE) == 0 {
        return refuse(errno::EINVAL);
    }
    let Some(KindData::Vxlan(vxlan)) = link.data() else { return refuse(errno::EOPNOTSUPP) };
    let six = vxlan.over6();
    let target = target(ns, change, vxlan)?;
    let vni = src_vni(link, change);
    let mut entries = ns.links.remotes_of(link.index(), &change.address, vni);
    if !entries.is_empty() && change.exclusive {
        return refuse(errno::EEXIST);
    }
    if entries.is_empty() && !change.create {
        return refuse(errno::ENOENT);
    }
    let new = FdbEntry {
        ifindex: link.index(),
        master: None,
        address: change.address,
        state: change.state,
        flags: SELF | (change.flags & EXT_LEARNED),
        src_vni: vni,
        updated: None,
        remote: None,
        nexthop: None,
    };
    let by_object = entries.first().map(|entry| entry.nexthop.is_some());
    match (by_object, &target) {
        (Some(false), Target::Object(_)) => {
            const TEXT: &str = "Cannot replace an existing non nexthop fdb with a nexthop";
            return Err(LinkRefused::says(errno::EOPNOTSUPP, TEXT));
        }
        (Some(true), Target::Object(_)) if change.append => {
            return Err(LinkRefused::says(errno::EOPNOTSUPP, "Cannot append to a nexthop fdb"));
        }
        (Some(true), target) => {
            // A host beside an object, or an object that nobody asked to put in its place, changes the state alone.
            entries.iter_mut().for_each(|entry| entry.state = change.state);
            if let (Target::Object(id), true) = (target, change.replace) {
                check_object(ns, *id, six)?;
                entries = vec![FdbEntry { nexthop: Some(*id), ..new }];
            }
            return Ok(entries);
        }
        _ => {}
    }
    // An address of one station is behind one host.
    let several = change.address.is_multicast() || change.address.is_zero();
    if change.replace && several {
        return refuse(errno::EOPNOTSUPP);
    }
    let remote = match target {
        Target::Host(remote) => remote,
        Target::Object(id) => {
            check_object(ns, id, six)?;
            return Ok(vec![FdbEntry { nexthop: Some(id), ..new }]);
        }
    };
    if change.replace {
        entries.clear();
    } else if !(entries.is_empty() || change.append && several) {
        return Ok(entries);
    }
    if entries.iter().any(|e| e.remote.as_ref() == Some(&remote)) {
        return Ok(entries);
    }
    // What is said of the address is said of all hosts that it is sent to.
    entries.iter_mut().for_each(|entry| entry.state = change.state);
    entries.push(FdbEntry { remote: Some(remote), ..new });
    Ok(entries)
}

/// Where a request wants an address sent.
enum Target {
    Host(FdbRemote),
    Object(u32),
}

fn target(ns: Ns<'_>, change: &FdbChange, vxlan: &Vxlan) -> Result<Target, LinkRefused> {
    let six = vxlan.over6();
    let remote = match (change.nexthop, &change.remote) {
        (Some(_), _) if change.names_host => {
            const TEXT: &str = "DST, VNI, ifindex and port are mutually exclusive with NH_ID";
            return Err(LinkRefused::says(errno::EINVAL, TEXT));
        }
        (Some(0), _) => {
            let any = if six { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            return Ok(Target::Host(FdbRemote { address: any, port: None, vni: None, ifindex: None }));
        }
        (Some(id), _) => return Ok(Target::Object(id)),
        (None, None) => return Err(LinkRefused::plain(errno::EINVAL)),
        (None, Some(remote)) => remote,
    };
    if remote.address.is_ipv6() != six {
        return Err(LinkRefused::plain(errno::EAFNOSUPPORT));
    }
    if remote.ifindex.is_some_and(|index| ns.links.by_index(index).is_none()) {
        return Err(LinkRefused::says(errno::EADDRNOTAVAIL, "Device not found"));
    }
    // What is said and is the tunnel's own is as good as not said.
    Ok(Target::Host(FdbRemote {
        port: remote.port.filter(|&port| port != vxlan.port),
        vni: remote.vni.filter(|&vni| vni != vxlan.id),
        ..remote.clone()
    }))
}

/// Whether a tunnel can send by this object: a group of tunnels' ends of its own family.
fn check_object(ns: Ns<'_>, id: u32, six: bool) -> Result<(), LinkRefused> {
    let refuse = |text| Err(LinkRefused::says(errno::EINVAL, text));
    match crate::nexthop::group_of_ends(ns, id) {
        None => refuse("Nexthop id does not exist"),
        Some(Err(NotEnds::NotFdb)) => refuse("Nexthop is not a fdb nexthop"),
        Some(Err(NotEnds::NoGroup)) => refuse("Nexthop is not a multipath group"),
        Some(Ok(family)) if (family == Some(Family::Inet6)) != six => {
            Err(LinkRefused::says(errno::EAFNOSUPPORT, "Nexthop group family not supported"))
        }
        Some(Ok(_)) => Ok(()),
    }
}
