//! The ports of a switch: how they come and go, and their states.

use std::sync::Arc;

use super::super::{KindData, PortData};
use super::{carrier, recalculate, with_bridge};
use crate::dev::{IfFlags, Link, LinkNotice, LinkRefused};
use crate::errno;
use crate::notice::Notice;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// What a port does with packets, numbered as `BR_STATE_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PortState {
    /// Nothing: it is down.
    Disabled = 0,
    /// Listens to spanning tree only.
    Listening = 1,
    /// Learns addresses too.
    Learning = 2,
    /// Everything.
    Forwarding = 3,
    /// Another way is better.
    Blocking = 4,
}

/// A device as a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgePort {
    /// What it does with packets.
    pub state: PortState,
    /// The upper part of its identity.
    pub priority: u16,
    /// Its number in the bridge, 1 or more.
    pub number: u16,
    /// What a packet costs that goes through it.
    pub cost: u32,
    /// Switches that are on, by their `IFLA_BRPORT_*` number.
    pub switches: u64,
    /// Reserved groups it forwards, a bit for each.
    pub group_fwd_mask: u16,
    /// `MDB_RTR_TYPE_*`.
    pub mcast_router: u8,
    /// Most hosts that may listen behind it.
    pub mcast_hosts_limit: u32,
    /// Most groups.
    pub mcast_max_groups: u32,
    /// When it began to wait for the next state, hundredths of a second.
    pub waits_since: Option<u64>,
}

/// Learning, flooding of unknown, multicast and broadcast packets.
const ON: u64 = 1 << 8 | 1 << 9 | 1 << 27 | 1 << 30;
const STATE: u16 = 1;
const PRIORITY: u16 = 2;
const COST: u16 = 3;
const MCAST_ROUTER: u16 = 25;
const GROUP_FWD_MASK: u16 = 31;
const HOSTS_LIMIT: u16 = 37;
const MAX_GROUPS: u16 = 42;
/// Settings that are on or off.
const SWITCHES: [u16; 17] = [4, 5, 6, 7, 8, 9, 10, 12, 27, 28, 29, 30, 32, 33, 39, 40, 43];
/// Bits of the priority.
const MAX_PRIORITY: u64 = 63;
/// Largest cost.
const MAX_COST: u64 = 65_535;
/// Ports that a bridge may have.
const MAX_PORTS: u16 = 1023;
/// `IFLA_EVENT_FEATURES`.
const EVENT_FEATURES: u32 = 2;

impl BridgePort {
    /// The port that a device is, if it is one.
    #[must_use]
    pub fn of(link: &Link) -> Option<&Self> {
        match link.port() {
            Some(PortData::Bridge(port)) => Some(port),
            None => None,
        }
    }

    /// Its identity in the bridge: priority and number.
    #[must_use]
    pub const fn id(&self) -> u16 {
        (self.priority << 10) | (self.number & 0x3ff)
    }

    /// Whether a switch is on.
    #[must_use]
    pub const fn is_on(&self, number: u16) -> bool {
        self.switches & (1 << number) != 0
    }
}

/// What a request says of a port: settings by their `IFLA_BRPORT_*` numbers.
#[derive(Clone, Debug, Default)]
pub struct BridgePortChange {
    /// Numbers.
    pub settings: Vec<(u16, u64)>,
}

fn with_port(ns: Ns<'_>, index: u32, change: impl FnOnce(&mut BridgePort)) {
    let _ = ns.links.update(index, |link| {
        if let Some(PortData::Bridge(port)) = link.port.as_mut().map(Arc::make_mut) {
            change(port);
        }
    });
}

/// Tells of a device as a port (`br_ifinfo_notify`).
fn tell(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, gone: bool) {
    if let Some(link) = ns.links.by_index(index) {
        rtnl.notify_caused(ns, Notice::Link(LinkNotice::Port { link, gone }));
    }
}

pub(in super::super) fn may_join(ns: Ns<'_>, master: &Arc<Link>, port: &Arc<Link>) -> Result<(), LinkRefused> {
    if matches!(port.data(), Some(KindData::Bridge(_))) {
        return Err(LinkRefused::says(errno::ELOOP, "Can not enslave a bridge to a bridge"));
    }
    if port.stored_flags.contains(IfFlags::LOOPBACK) || port.address.as_bytes().len() != 6 {
        return Err(LinkRefused::plain(errno::EINVAL));
    }
    let passes_on = ns.links.uppers_of(port.index()).into_iter().any(|(net, upper)| {
        net.is_some() || ns.links.by_index(upper).is_some_and(|l| matches!(l.data(), Some(KindData::Macvlan(_))))
    });
    if passes_on {
        return Err(LinkRefused::plain(errno::EBUSY));
    }
    if free_number(ns, master.index()).is_none() {
        return Err(LinkRefused::plain(errno::EXFULL));
    }
    Ok(())
}

/// The lowest number that no port of the bridge has.
fn free_number(ns: Ns<'_>, master: u32) -> Option<u16> {
    let ports = ns.links.ports_of(master);
    let mut taken: Vec<u16> = ports
        .into_iter()
        .filter_map(|port| ns.links.by_index(port).and_then(|l| BridgePort::of(&l).map(|p| p.number)))
        .collect();
    taken.sort_unstable();
    let mut number = 1;
    for used in taken {
        if used == number {
            number += 1;
        }
    }
    (number <= MAX_PORTS).then_some(number)
}

pub(in super::super) fn join(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, master: u32, index: u32) {
    let Some(bridge) = ns.links.by_index(master) else { return };
    let Some(number) = free_number(ns, master) else { return };
    let port = BridgePort {
        state: PortState::Disabled,
        priority: 0x20,
        number,
        cost: 2,
        switches: ON,
        group_fwd_mask: 0,
        mcast_router: 1,
        mcast_hosts_limit: 512,
        mcast_max_groups: 0,
        waits_since: None,
    };
    let joined = ns.links.update(index, |link| {
        link.allmulti = link.allmulti.saturating_add(1);
        link.master = Some(master);
        link.port = Some(Arc::new(PortData::Bridge(port)));
    });
    let Ok(link) = joined else { return };
    ns.links.join(master, index);
    rtnl.edit(ns, index, Some(NetdevEvent::ChangeUpper), |_| {});
    promiscuous(rtnl, ns, index, true);
    // What the bridge can do depends on its ports.
    offload(ns, master);
    if let Some(link) = ns.links.by_index(master) {
        rtnl.notify_caused(ns, Notice::Link(LinkNotice::New { link, change: 0, event: EVENT_FEATURES }));
    }
    if bridge.is_up() && link.is_up() && link.carrier {
        enable(rtnl, ns, index);
    }
    tell(rtnl, ns, index, false);
    carrier(rtnl, ns, master);
    recalculate(rtnl, ns, master);
    adjust_mtu(rtnl, ns, master);
}

/// Counts who wants all packets, and tells.
fn promiscuous(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, on: bool) {
    let changed = ns.links.update(index, |link| {
        link.promiscuity = if on { link.promiscuity.saturating_add(1) } else { link.promiscuity.saturating_sub(1) };
    });
    let Ok(link) = changed else { return };
    if link.promiscuity == u32::from(on) {
        let change = IfFlags::PROMISC.bits();
        rtnl.notify_caused(ns, Notice::Link(LinkNotice::New { link, change, event: 0 }));
    }
}

/// A port leaves its bridge, which goes on (`alone`) or is about to go itself.
pub(in super::super) fn part(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, goes_on: bool) {
    let Some(link) = ns.links.by_index(index) else { return };
    let Some(master) = link.master else { return };
    let _ = ns.links.update(index, |link| link.allmulti = link.allmulti.saturating_sub(1));
    promiscuous(rtnl, ns, index, false);
    with_port(ns, index, |port| (port.state, port.waits_since) = (PortState::Disabled, None));
    tell(rtnl, ns, index, false);
    tell(rtnl, ns, index, true);
    ns.links.part(master, index);
    rtnl.forget_port(ns, master, index);
    rtnl.edit(ns, index, Some(NetdevEvent::ChangeUpper), |link| (link.master, link.port) = (None, None));
    carrier(rtnl, ns, master);
    if !goes_on {
        return;
    }
    adjust_mtu(rtnl, ns, master);
    recalculate(rtnl, ns, master);
    offload(ns, master);
    if let Some(link) = ns.links.by_index(master) {
        rtnl.notify_caused(ns, Notice::Link(LinkNotice::New { link, change: 0, event: EVENT_FEATURES }));
    }
}

/// What a bridge sends at most in one go is the least of what its ports can.
fn offload(ns: Ns<'_>, master: u32) {
    let ports = ns.links.ports_of(master).into_iter().filter_map(|port| ns.links.by_index(port));
    let least = ports.map(|port| port.offload().tso_max_size).min();
    let _ = ns.links.update(master, |link| {
        let size = least.unwrap_or_else(|| link.class().offload.tso_max_size);
        if size != link.offload().tso_max_size {
            link.tweak().offload.tso_max_size = size;
        }
    });
}

/// A bridge whose MTU nobody chose has the least of its ports' (`br_mtu_auto_adjust`).
fn adjust_mtu(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, master: u32) {
    let Some(link) = ns.links.by_index(master) else { return };
    let Some(KindData::Bridge(bridge)) = link.data() else { return };
    if bridge.mtu_set {
        return;
    }
    let ports = ns.links.ports_of(master).into_iter().filter_map(|port| ns.links.by_index(port));
    let mtu = ports.map(|port| port.mtu).min().unwrap_or_else(|| link.class().mtu);
    if mtu != link.mtu {
        rtnl.edit(ns, master, Some(NetdevEvent::ChangeMtu(link.mtu)), |link| link.mtu = mtu);
    }
}

/// A port begins to work. Without spanning tree it forwards at once.
pub(super) fn enable(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32) {
    let Some(link) = ns.links.by_index(index) else { return };
    let Some(port) = BridgePort::of(&link) else { return };
    if port.state != PortState::Disabled {
        return;
    }
    let stp = link.master.and_then(|master| ns.links.by_index(master));
    let stp = stp.is_some_and(|m| matches!(m.data(), Some(KindData::Bridge(b)) if b.stp_state != 0));
    let now = u64::try_from(rtnl.now().as_millis() / 10).unwrap_or(0);
    with_port(ns, index, |port| {
        port.state = if stp { PortState::Listening } else { PortState::Forwarding };
        port.waits_since = Some(now);
    });
    tell(rtnl, ns, index, false);
    tell(rtnl, ns, index, false);
}

/// A port stops working.
pub(super) fn disable(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32) {
    let Some(link) = ns.links.by_index(index) else { return };
    if BridgePort::of(&link).is_none_or(|port| port.state == PortState::Disabled) {
        return;
    }
    with_port(ns, index, |port| (port.state, port.waits_since) = (PortState::Disabled, None));
    tell(rtnl, ns, index, false);
}

/// Spanning tree was turned on or off.
pub(super) fn restart(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, master: u32) {
    if !ns.links.by_index(master).is_some_and(|link| link.is_up()) {
        return;
    }
    for index in ns.links.ports_of(master) {
        let working = ns.links.by_index(index).is_some_and(|l| l.is_up() && l.carrier);
        if working {
            with_port(ns, index, |port| port.state = PortState::Forwarding);
            tell(rtnl, ns, index, false);
        }
    }
    with_bridge(ns, master, |_| {});
}

/// A port goes through something (`br_device_event`).
pub(in super::super) fn port_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    let Some(master) = link.master else { return };
    let index = link.index();
    let runs = ns.links.by_index(master).is_some_and(|bridge| bridge.is_up());
    match event {
        NetdevEvent::Up | NetdevEvent::Change => {
            let before = BridgePort::of(link).map(|port| port.state);
            if runs && link.is_up() && link.carrier {
                enable(rtnl, ns, index);
            } else if !link.carrier {
                disable(rtnl, ns, index);
            }
            let after = ns.links.by_index(index).and_then(|l| BridgePort::of(&l).map(|port| port.state));
            if event == NetdevEvent::Up && before == after {
                tell(rtnl, ns, index, false);
            }
            carrier(rtnl, ns, master);
        }
        NetdevEvent::Down => {
            disable(rtnl, ns, index);
            carrier(rtnl, ns, master);
        }
        NetdevEvent::ChangeMtu(_) => adjust_mtu(rtnl, ns, master),
        NetdevEvent::ChangeAddr => recalculate(rtnl, ns, master),
        _ => {}
    }
}

pub(in super::super) fn check_port(ns: Ns<'_>, link: &Link, change: &BridgePortChange) -> Result<(), LinkRefused> {
    let stp = link.master.and_then(|master| ns.links.by_index(master));
    let stp = stp.is_some_and(|m| matches!(m.data(), Some(KindData::Bridge(b)) if b.stp_state == 1));
    for &(number, value) in &change.settings {
        match number {
            PRIORITY if value > MAX_PRIORITY => return Err(LinkRefused::plain(errno::ERANGE)),
            COST if value == 0 || value > MAX_COST => return Err(LinkRefused::plain(errno::ERANGE)),
            // While spanning tree decides, nobody else does.
            STATE if stp => return Err(LinkRefused::plain(errno::EBUSY)),
            STATE if value > 4 => return Err(LinkRefused::plain(errno::EINVAL)),
            STATE if value != 0 && !(link.is_up() && link.carrier) => return Err(LinkRefused::plain(errno::ENETDOWN)),
            MCAST_ROUTER if value > 3 => return Err(LinkRefused::plain(errno::EINVAL)),
            _ => {}
        }
    }
    Ok(())
}

pub(in super::super) fn change_port(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, change: &BridgePortChange) {
    with_port(ns, index, |port| {
        for &(number, value) in &change.settings {
            match number {
                STATE => {
                    port.state = match value {
                        1 => PortState::Listening,
                        2 => PortState::Learning,
                        3 => PortState::Forwarding,
                        4 => PortState::Blocking,
                        _ => PortState::Disabled,
                    }
                }
                PRIORITY => port.priority = value as u16,
                COST => port.cost = value as u32,
                MCAST_ROUTER => port.mcast_router = value as u8,
                GROUP_FWD_MASK => port.group_fwd_mask = value as u16,
                HOSTS_LIMIT => port.mcast_hosts_limit = value as u32,
                MAX_GROUPS => port.mcast_max_groups = value as u32,
                n if SWITCHES.contains(&n) => {
                    port.switches = (port.switches & !(1 << n)) | u64::from(value != 0) << n;
                }
                _ => {}
            }
        }
    });
    tell(rtnl, ns, index, false);
}
