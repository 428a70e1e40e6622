//! A switch: its own settings. What it has of its ports is in [`port`].

mod port;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub use port::{BridgePort, BridgePortChange, PortState};
pub(super) use port::{change_port, check_port, join, may_join, part, port_event};

use super::{KindData, edit};
use crate::dev::class::{ETHER, LinkClass};
use crate::dev::{HwAddr, Link, LinkRefused, OffloadLimits, watch};
use crate::errno;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// Switches.
pub static BRIDGE: LinkClass = LinkClass {
    kind: Some("bridge"),
    max_mtu: 65_535,
    offload: OffloadLimits { tso_max_size: 65_536, ..ETHER.offload },
    netns_immutable: true,
    ..ETHER
};

/// The settings of a switch. Times are in hundredths of a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Time in each of the states before forwarding.
    pub forward_delay: u32,
    /// Time between two hellos.
    pub hello_time: u32,
    /// How long word of the root is believed.
    pub max_age: u32,
    /// How long a learned address is kept.
    pub ageing_time: u32,
    /// Spanning tree: 0 off, 1 the kernel's, 2 a program's.
    pub stp_state: u32,
    /// The upper half of its identity.
    pub priority: u16,
    /// Reserved groups it forwards, a bit for each.
    pub group_fwd_mask: u16,
    /// The group that its own protocol uses.
    pub group_address: [u8; 6],
    /// Switches that are on, by their `IFLA_BR_*` number.
    pub switches: u64,
    /// `IFLA_BR_MULTI_BOOLOPT`: switches that are on, by their own numbers.
    pub bool_options: u32,
    /// `MDB_RTR_TYPE_*`.
    pub mcast_router: u8,
    /// Most multicast groups.
    pub mcast_hash_max: u32,
    /// Queries after a member left, and after the start.
    pub mcast_counts: [u32; 2],
    /// Multicast intervals, in the order of their numbers: 30 to 35.
    pub mcast_intervals: [u64; 6],
    /// IGMP and MLD versions.
    pub mcast_versions: [u8; 2],
    /// Most learned addresses; 0 for any number.
    pub fdb_max_learned: u32,
    /// Whether somebody chose the MTU; else it is the smallest of the ports'.
    pub mtu_set: bool,
    /// When the table of addresses was last looked through, hundredths of a second; `None` while it is down.
    pub gc_since: Option<u64>,
    /// The identity: its address, as spanning tree knows it.
    pub address: HwAddr,
}

impl Bridge {
    /// Priority and address, as spanning tree tells bridges apart.
    #[must_use]
    pub fn id(&self) -> [u8; 8] {
        let mut id = [0; 8];
        id[..2].copy_from_slice(&self.priority.to_be_bytes());
        let address = self.address.as_bytes();
        id[2..2 + address.len().min(6)].copy_from_slice(&address[..address.len().min(6)]);
        id
    }

    /// Whether a switch is on.
    #[must_use]
    pub const fn is_on(&self, number: u8) -> bool {
        self.switches & (1 << number) != 0
    }
}

/// What a request says of a switch: settings by their `IFLA_BR_*` numbers.
#[derive(Clone, Debug, Default)]
pub struct BridgeChange {
    /// Numbers.
    pub settings: Vec<(u16, u64)>,
    /// `IFLA_BR_GROUP_ADDR`.
    pub group_address: Option<[u8; 6]>,
    /// `IFLA_BR_MULTI_BOOLOPT`: values and which.
    pub bool_options: Option<(u32, u32)>,
}

const FORWARD_DELAY: u16 = 1;
const HELLO_TIME: u16 = 2;
const MAX_AGE: u16 = 3;
const AGEING_TIME: u16 = 4;
const STP_STATE: u16 = 5;
const PRIORITY: u16 = 6;
const VLAN_FILTERING: u16 = 7;
const GROUP_FWD_MASK: u16 = 9;
const MCAST_ROUTER: u16 = 22;
const MCAST_HASH_MAX: u16 = 27;
const MCAST_COUNTS: [u16; 2] = [28, 29];
const MCAST_INTERVALS: u16 = 30;
const MCAST_VERSIONS: [u16; 2] = [43, 44];
const FDB_MAX_LEARNED: u16 = 49;
/// Settings that are on or off: snooping, querying and by whose address, hooks of the packet filter, statistics.
const SWITCHES: [u16; 7] = [23, 24, 25, 36, 37, 38, 42];
/// Snooping is on in a new one.
const ON: u64 = 1 << 23;
/// Groups that no bridge may forward: spanning tree's, pause frames', and bundles'.
const NEVER_FORWARDED: u64 = 0x7;

pub(super) fn prepare(change: &BridgeChange, link: &mut Link) -> Result<(), LinkRefused> {
    let mut bridge = Bridge {
        forward_delay: 1500,
        hello_time: 200,
        max_age: 2000,
        ageing_time: 30_000,
        stp_state: 0,
        priority: 0x8000,
        group_fwd_mask: 0,
        group_address: [0x01, 0x80, 0xc2, 0, 0, 0],
        switches: ON,
        bool_options: 0,
        mcast_router: 1,
        mcast_hash_max: 4096,
        mcast_counts: [2, 2],
        mcast_intervals: [100, 26_000, 25_500, 12_500, 1000, 3124],
        mcast_versions: [2, 1],
        fdb_max_learned: 0,
        mtu_set: false,
        gc_since: None,
        // Until it has a port, or an address of somebody's choice, it does not count as one.
        address: if link.addr_assign == crate::dev::create::ADDR_SET { link.address } else { HwAddr::ZERO6 },
    };
    check(&bridge, change)?;
    apply(&mut bridge, change);
    link.data = Some(Arc::new(KindData::Bridge(bridge)));
    Ok(())
}

pub(super) fn check(bridge: &Bridge, change: &BridgeChange) -> Result<(), LinkRefused> {
    let range = |ok: bool| if ok { Ok(()) } else { Err(LinkRefused::plain(errno::ERANGE)) };
    let invalid = |ok: bool| if ok { Ok(()) } else { Err(LinkRefused::plain(errno::EINVAL)) };
    let mut stp = bridge.stp_state;
    for &(number, value) in &change.settings {
        match number {
            STP_STATE => stp = u32::try_from(value).unwrap_or(0),
            // A bridge without spanning tree may be in a hurry.
            FORWARD_DELAY => range(stp == 0 || (200..=3000).contains(&value))?,
            HELLO_TIME => range((100..=1000).contains(&value))?,
            MAX_AGE => range((600..=4000).contains(&value))?,
            // This kernel's bridges know no VLANs.
            VLAN_FILTERING => return Err(LinkRefused::plain(errno::EOPNOTSUPP)),
            GROUP_FWD_MASK => invalid(value & NEVER_FORWARDED == 0)?,
            MCAST_ROUTER => invalid(value <= 2)?,
            n if n == MCAST_VERSIONS[0] => invalid((2..=3).contains(&value))?,
            n if n == MCAST_VERSIONS[1] => invalid((1..=2).contains(&value))?,
            _ => {}
        }
    }
    if let Some(group) = change.group_address {
        // Of the reserved groups, all but those of pause frames, bundles and port access.
        let reserved = group[..5] == [0x01, 0x80, 0xc2, 0, 0] && group[5] & 0xf0 == 0;
        invalid(reserved && !matches!(group[5], 1..=3))?;
    }
    Ok(())
}

fn apply(bridge: &mut Bridge, change: &BridgeChange) {
    for &(number, value) in &change.settings {
        let word = u32::try_from(value).unwrap_or(u32::MAX);
        let byte = value as u8;
        match number {
            FORWARD_DELAY => bridge.forward_delay = word,
            HELLO_TIME => bridge.hello_time = word,
            MAX_AGE => bridge.max_age = word,
            AGEING_TIME => bridge.ageing_time = word,
            STP_STATE => bridge.stp_state = word.min(1),
            PRIORITY => bridge.priority = value as u16,
            GROUP_FWD_MASK => bridge.group_fwd_mask = value as u16,
            MCAST_ROUTER => bridge.mcast_router = byte,
            MCAST_HASH_MAX => bridge.mcast_hash_max = word,
            FDB_MAX_LEARNED => bridge.fdb_max_learned = word,
            n if SWITCHES.contains(&n) => {
                bridge.switches = (bridge.switches & !(1 << n)) | u64::from(value != 0) << n;
            }
            n => {
                if let Some(at) = MCAST_COUNTS.iter().position(|&known| known == n) {
                    bridge.mcast_counts[at] = word;
                } else if let Some(at) = MCAST_VERSIONS.iter().position(|&known| known == n) {
                    bridge.mcast_versions[at] = byte;
                } else if let Some(interval) =
                    n.checked_sub(MCAST_INTERVALS).and_then(|at| bridge.mcast_intervals.get_mut(usize::from(at)))
                {
                    *interval = value;
                }
            }
        }
    }
    // Spanning tree does not work in less, and in more it is too slow.
    if bridge.stp_state != 0 {
        bridge.forward_delay = bridge.forward_delay.clamp(200, 3000);
    }
    bridge.group_address = change.group_address.unwrap_or(bridge.group_address);
    if let Some((values, which)) = change.bool_options {
        bridge.bool_options = (bridge.bool_options & !which) | (values & which);
    }
}

pub(super) fn change(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, change: &BridgeChange) {
    let mut stp = None;
    edit(ns, index, |data| {
        if let KindData::Bridge(bridge) = data {
            let before = bridge.stp_state;
            apply(bridge, change);
            stp = (before != bridge.stp_state).then_some(bridge.stp_state);
        }
    });
    if stp.is_some() {
        port::restart(rtnl, ns, index);
    }
}

/// Changes a bridge's own settings.
fn with_bridge(ns: Ns<'_>, index: u32, change: impl FnOnce(&mut Bridge)) {
    edit(ns, index, |data| {
        if let KindData::Bridge(bridge) = data {
            change(bridge);
        }
    });
}

/// All routers that watch groups, IPv4 and IPv6: a bridge that snoops is one.
const SNOOPERS4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 106);
const SNOOPERS6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x6a);
const SNOOPING: u8 = 23;

fn snoops(link: &Link) -> bool {
    matches!(link.data(), Some(KindData::Bridge(bridge)) if bridge.is_on(SNOOPING))
}

pub(super) fn open(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    if snoops(link) {
        crate::inet::join(rtnl, ns, link, SNOOPERS4);
        crate::inet6::join_group(rtnl, ns, link, SNOOPERS6);
    }
    let now = u64::try_from(rtnl.now().as_millis() / 10).unwrap_or(0);
    with_bridge(ns, link.index(), |bridge| bridge.gc_since = Some(now));
    for port in ns.links.ports_of(link.index()) {
        if ns.links.by_index(port).is_some_and(|port| port.is_up() && port.carrier) {
            port::enable(rtnl, ns, port);
        }
    }
    carrier(rtnl, ns, link.index());
}

pub(super) fn stop(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    if snoops(link) {
        crate::inet::leave(rtnl, ns, link, SNOOPERS4);
        crate::inet6::leave_group(rtnl, ns, link, SNOOPERS6);
    }
    with_bridge(ns, link.index(), |bridge| bridge.gc_since = None);
    for port in ns.links.ports_of(link.index()) {
        port::disable(rtnl, ns, port);
    }
    carrier(rtnl, ns, link.index());
}

/// A bridge with ports has a carrier while one of them forwards. One that never had any keeps the one it was born with.
fn carrier(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32) {
    let forwards = ns.links.ports_of(index).into_iter().any(|port| {
        ns.links
            .by_index(port)
            .is_some_and(|port| BridgePort::of(&port).is_some_and(|p| p.state == PortState::Forwarding))
    });
    let known = ns.links.by_index(index);
    let had_ports = known.is_some_and(|link| link.carrier_downs > 0) || !ns.links.ports_of(index).is_empty();
    if had_ports {
        watch::set_carrier(rtnl, ns, index, forwards);
    }
}

/// Somebody chose an address for the bridge: spanning tree knows it by that from here on.
pub(super) fn readdressed(ns: Ns<'_>, index: u32, address: HwAddr) {
    with_bridge(ns, index, |bridge| bridge.address = address);
}

/// The bridge's address is the lowest of its ports', unless somebody chose it (`br_stp_recalculate_bridge_id`).
fn recalculate(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32) {
    let Some(link) = ns.links.by_index(index) else { return };
    if link.addr_assign == crate::dev::create::ADDR_SET {
        return;
    }
    let ports = ns.links.ports_of(index).into_iter().filter_map(|port| ns.links.by_index(port));
    let lowest = ports.map(|port| port.address).min_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    let address = lowest.unwrap_or(HwAddr::ZERO6);
    if matches!(link.data(), Some(KindData::Bridge(bridge)) if bridge.address == address) {
        return;
    }
    with_bridge(ns, index, |bridge| bridge.address = address);
    rtnl.edit(ns, index, Some(NetdevEvent::ChangeAddr), |link| link.address = address);
}
