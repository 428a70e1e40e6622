//! Ethernet in UDP.

use std::net::IpAddr;
use std::sync::Arc;

use super::KindData;
use crate::dev::class::{ETHER, LinkClass};
use crate::dev::request::NewLink;
use crate::dev::{Blame, FdbEntry, Link, LinkRefused};
use crate::errno;
use crate::state::Ns;

/// Tunnels of Ethernet in UDP.
pub static VXLAN: LinkClass = LinkClass {
    kind: Some("vxlan"),
    max_mtu: 65_535,
    sets_proto_down: true,
    offload: crate::dev::OffloadLimits { tso_max_size: 65_536, ..ETHER.offload },
    ..ETHER
};

/// The port that Linux used before there was a registered one.
const OLD_PORT: u16 = 8472;
/// Bytes that the tunnel adds, over IPv4 and over IPv6.
const OVERHEAD4: u32 = 50;
const OVERHEAD6: u32 = 70;
/// Room for the header of the device below.
const LINK_HEADER: u16 = 14;
/// Networks have numbers of 24 bits.
const MAX_ID: u32 = 0x00ff_ffff;

/// Switches by their `IFLA_VXLAN_*` number that a new tunnel has on: learning, UDP checksums, and local delivery.
const ON: u64 = 1 << 7 | 1 << 18 | 1 << 31;
/// `IFLA_VXLAN_COLLECT_METADATA` and `IFLA_VXLAN_LEARNING`.
const METADATA: u8 = 25;
const LEARNING: u8 = 7;

/// How a tunnel is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The number of the virtual network.
    pub id: u32,
    /// Where packets for unknown addresses go.
    pub remote: Option<IpAddr>,
    /// The address it sends from.
    pub local: Option<IpAddr>,
    /// The device it sends through.
    pub dev: Option<u32>,
    /// Hops; 0 for what the route says.
    pub ttl: u8,
    /// Type of service; 1 for that of the packet inside.
    pub tos: u8,
    /// `VXLAN_DF_*`.
    pub df: u8,
    /// IPv6 flow label, host order.
    pub label: u32,
    /// `VXLAN_LABEL_*`.
    pub label_policy: u32,
    /// Switches that are on, by their `IFLA_VXLAN_*` number.
    pub switches: u64,
    /// Seconds that a learned address is kept.
    pub ageing: u32,
    /// Most addresses; 0 for any number.
    pub limit: u32,
    /// UDP port of the receivers.
    pub port: u16,
    /// UDP ports to send from, lowest and highest; 0 for any.
    pub port_range: (u16, u16),
}

impl Vxlan {
    /// Whether a switch is on.
    #[must_use]
    pub const fn is_on(&self, number: u8) -> bool {
        self.switches & (1 << number) != 0
    }
}

/// What a request says of a tunnel.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the fields are those of the tunnel")]
pub struct VxlanChange {
    pub id: Option<u32>,
    pub remote: Option<IpAddr>,
    pub local: Option<IpAddr>,
    pub dev: Option<u32>,
    pub ttl: Option<u8>,
    pub tos: Option<u8>,
    pub df: Option<u8>,
    pub label: Option<u32>,
    pub label_policy: Option<u32>,
    /// Switches, each with its number.
    pub switches: Vec<(u8, bool)>,
    pub ageing: Option<u32>,
    pub limit: Option<u32>,
    pub port: Option<u16>,
    pub port_range: Option<(u16, u16)>,
}

pub(super) fn prepare(
    base: Ns<'_>,
    ns: Ns<'_>,
    new: &NewLink,
    change: &VxlanChange,
    link: &mut Link,
) -> Result<(), LinkRefused> {
    let metadata = change.switches.iter().any(|&(number, on)| number == METADATA && on);
    let id = match change.id {
        Some(id) => id,
        None if metadata => 0,
        None => {
            return Err(LinkRefused::says(errno::EINVAL, "Required attributes not provided to perform the operation"));
        }
    };
    if id > MAX_ID {
        return Err(LinkRefused::blames(errno::ERANGE, "VXLAN ID must be lower than 16777216", Blame::Data(1)));
    }
    let mut vxlan = Vxlan {
        id,
        remote: None,
        local: None,
        dev: None,
        ttl: 0,
        tos: 0,
        df: 0,
        label: 0,
        label_policy: 0,
        switches: ON,
        ageing: 300,
        limit: 0,
        port: OLD_PORT,
        port_range: (0, 0),
    };
    apply(&mut vxlan, change);
    if metadata {
        vxlan.switches &= !(1 << LEARNING);
    }
    let six = |address: Option<IpAddr>| address.is_some_and(|a| a.is_ipv6());
    let four = |address: Option<IpAddr>| address.is_some_and(|a| a.is_ipv4());
    let over6 = six(vxlan.remote) || six(vxlan.local);
    if over6 && (four(vxlan.remote) || four(vxlan.local)) {
        let text = "Local and remote address must be from the same family";
        return Err(LinkRefused::says(errno::EINVAL, text));
    }
    if vxlan.local.is_some_and(|a| a.is_multicast()) {
        return Err(LinkRefused::says(errno::EINVAL, "Local address cannot be multicast"));
    }
    if vxlan.remote.is_some_and(|a| a.is_multicast()) && vxlan.dev.is_none() {
        let text = "Local interface required for multicast remote destination";
        return Err(LinkRefused::says(errno::EINVAL, text));
    }
    if base.links.vnis_hold((id, vxlan.port, over6)) {
        return Err(LinkRefused::says(errno::EEXIST, "A VXLAN device with the specified VNI already exists"));
    }
    let overhead = if over6 { OVERHEAD6 } else { OVERHEAD4 };
    link.tweak().headroom = LINK_HEADER + u16::try_from(overhead).unwrap_or(0);
    if let Some(dev) = vxlan.dev {
        let text = "Invalid local interface, device not found";
        let lower = base.links.by_index(dev).ok_or(LinkRefused::says(errno::ENODEV, text))?;
        let room = lower.mtu.saturating_sub(overhead);
        if new.change.mtu.is_none() {
            link.mtu = room;
        }
        let offload = lower.offload();
        link.tweak().offload.tso_max_size = offload.tso_max_size;
        link.lower_net = if base.is(ns) { None } else { base.net().map(|net| Box::new(net.handle())) };
    }
    link.data = Some(Arc::new(KindData::Vxlan(vxlan)));
    Ok(())
}

/// A tunnel with a host to send everything to has that in its table.
pub(super) fn born(ns: Ns<'_>, link: &Link, vxlan: &Vxlan) {
    let Some(address) = vxlan.remote else { return };
    ns.links.set_fdb(link.index(), FdbEntry::default_route(link.index(), address, vxlan.dev));
}

pub(super) fn check(vxlan: &Vxlan, change: &VxlanChange) -> Result<(), LinkRefused> {
    let fixed = |text, number| Err(LinkRefused::blames(errno::EOPNOTSUPP, text, Blame::Data(number)));
    if change.id.is_some_and(|id| id != vxlan.id) {
        return fixed("Cannot change VNI", 1);
    }
    if change.port.is_some_and(|port| port != vxlan.port) {
        return fixed("Cannot change port number", 15);
    }
    if change.port_range.is_some() {
        return fixed("Cannot change port range", 10);
    }
    Ok(())
}

pub(super) fn change(data: &mut KindData, change: &VxlanChange) {
    if let KindData::Vxlan(vxlan) = data {
        apply(vxlan, change);
    }
}

fn apply(vxlan: &mut Vxlan, change: &VxlanChange) {
    vxlan.remote = change.remote.filter(|a| !a.is_unspecified()).or(vxlan.remote);
    vxlan.local = change.local.filter(|a| !a.is_unspecified()).or(vxlan.local);
    vxlan.dev = change.dev.filter(|&dev| dev > 0).or(vxlan.dev);
    vxlan.ttl = change.ttl.unwrap_or(vxlan.ttl);
    vxlan.tos = change.tos.unwrap_or(vxlan.tos);
    vxlan.df = change.df.unwrap_or(vxlan.df);
    vxlan.label = change.label.unwrap_or(vxlan.label);
    vxlan.label_policy = change.label_policy.unwrap_or(vxlan.label_policy);
    vxlan.ageing = change.ageing.unwrap_or(vxlan.ageing);
    vxlan.limit = change.limit.unwrap_or(vxlan.limit);
    vxlan.port = change.port.unwrap_or(vxlan.port);
    vxlan.port_range = change.port_range.unwrap_or(vxlan.port_range);
    for &(number, on) in &change.switches {
        vxlan.switches = (vxlan.switches & !(1 << number)) | u64::from(on) << number;
    }
}
