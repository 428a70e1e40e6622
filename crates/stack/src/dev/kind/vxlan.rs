//! Ethernet in UDP.

use std::net::IpAddr;
use std::sync::Arc;

use super::KindData;
use super::vni::{self, Vnis};
use crate::dev::class::{ETHER, LinkClass};
use crate::dev::request::NewLink;
use crate::dev::{Blame, Link, LinkRefused};
use crate::errno;
use crate::rtnl::Rtnl;
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
/// `IFLA_VXLAN_VNIFILTER`.
const FILTER: u8 = 30;
/// `IFLA_VXLAN_GBP` and `IFLA_VXLAN_GPE`.
const GBP: u8 = 23;
const GPE: u8 = 27;
/// What two tunnels with the same number and port must differ in: `udp6zerocsumrx`, `remcsumrx`, `gbp`, `external`, `gpe`.
const FLAVOURS: [u8; 5] = [20, 22, GBP, METADATA, GPE];

/// What tells tunnels with the same number apart: port, whether over IPv6, the switches that make packets differ, and
/// for one between link-local addresses its device.
pub(in crate::dev) type Flavour = (u16, bool, u8, u32);

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
    /// The networks it takes packets of, if it filters.
    pub vnis: Arc<Vnis>,
}

impl Vxlan {
    /// Whether a switch is on.
    #[must_use]
    pub const fn is_on(&self, number: u8) -> bool {
        self.switches & (1 << number) != 0
    }

    /// Whether it takes packets of certain networks only, which are told to it one by one.
    #[must_use]
    pub const fn filters(&self) -> bool {
        self.is_on(FILTER)
    }

    /// Whether the network of a packet is told beside it (`external`).
    #[must_use]
    pub const fn collects_metadata(&self) -> bool {
        self.is_on(METADATA)
    }

    pub(in crate::dev) fn over6(&self) -> bool {
        self.remote.or(self.local).is_some_and(|address| address.is_ipv6())
    }

    pub(in crate::dev) fn flavour(&self) -> Flavour {
        let link_local = |address: IpAddr| matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
        let near = [self.remote, self.local].into_iter().flatten().any(link_local);
        let switches = FLAVOURS.iter().enumerate().map(|(bit, &number)| u8::from(self.is_on(number)) << bit).sum();
        (self.port, self.over6(), switches, self.dev.filter(|_| near).unwrap_or(0))
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
    if !metadata && change.switches.contains(&(FILTER, true)) {
        let text = "vxlan vnifilter only valid in collect metadata mode";
        return Err(LinkRefused::blames(errno::EINVAL, text, Blame::Data(FILTER.into())));
    }
    let id = change.id.unwrap_or(0);
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
        vnis: Arc::default(),
    };
    apply(&mut vxlan, change);
    if metadata {
        vxlan.switches &= !(1 << LEARNING);
    }
    let gpe_alone = vxlan.is_on(METADATA) && !vxlan.is_on(GBP);
    if vxlan.is_on(GPE) && !gpe_alone {
        let text = "VXLAN GPE does not support this combination of attributes";
        return Err(LinkRefused::says(errno::EINVAL, text));
    }
    check_labels(&vxlan)?;
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
    if !vxlan.filters() && base.links.vni_clashes(id, vxlan.flavour()) {
        return Err(LinkRefused::says(errno::EEXIST, "A VXLAN device with the specified VNI already exists"));
    }
    let overhead = if over6 { OVERHEAD6 } else { OVERHEAD4 };
    link.tweak().headroom = LINK_HEADER + u16::try_from(overhead).unwrap_or(0);
    if let Some(dev) = vxlan.dev {
        let text = "Invalid local interface, device not found";
        let lower = base.links.by_index(dev).ok_or_else(|| LinkRefused::says(errno::ENODEV, text))?;
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

/// Labels are IPv6's.
fn check_labels(vxlan: &Vxlan) -> Result<(), LinkRefused> {
    let refuse = |text| Err(LinkRefused::says(errno::EINVAL, text));
    if vxlan.over6() {
        Ok(())
    } else if vxlan.label != 0 {
        refuse("Label attribute only applies to IPv6 VXLAN devices")
    } else if vxlan.label_policy != 0 {
        refuse("Label policy only applies to IPv6 VXLAN devices")
    } else {
        Ok(())
    }
}

/// A tunnel with a host to send everything to has that in its table.
pub(super) fn born(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, vxlan: &Vxlan) {
    if vxlan.filters() {
        ns.links.add_filter(vxlan.flavour(), link.index());
    }
    if let Some(address) = vxlan.remote {
        rtnl.add_host(ns, &vni::host(link, vxlan, 0, address));
    }
}

/// Switches that stay as they are, in the order in which Linux looks at them.
const FIXED_BEFORE: [(u8, &str); 6] = [
    (28, "vxlan: cannot change TTL_INHERIT flag"),
    (11, "vxlan: cannot change PROXY flag"),
    (12, "vxlan: cannot change RSC flag"),
    (13, "vxlan: cannot change L2MISS flag"),
    (14, "vxlan: cannot change L3MISS flag"),
    (METADATA, "vxlan: cannot change COLLECT_METADATA flag"),
];
const FIXED_AFTER: [(u8, &str); 9] = [
    (18, "Cannot change UDP_CSUM flag"),
    (19, "vxlan: cannot change UDP_ZERO_CSUM6_TX flag"),
    (20, "vxlan: cannot change UDP_ZERO_CSUM6_RX flag"),
    (21, "vxlan: cannot change REMCSUM_TX flag"),
    (22, "vxlan: cannot change REMCSUM_RX flag"),
    (23, "vxlan: cannot change GBP flag"),
    (27, "vxlan: cannot change GPE flag"),
    (24, "vxlan: cannot change REMCSUM_NOPARTIAL flag"),
    (FILTER, "vxlan: cannot change flag"),
];
/// The switch that a refusal points at.
const UDP_CSUM: u8 = 18;

pub(super) fn check(vxlan: &Vxlan, change: &VxlanChange) -> Result<(), LinkRefused> {
    let fixed = |text| Err(LinkRefused::says(errno::EOPNOTSUPP, text));
    let said = |&(number, _): &(u8, &str)| change.switches.iter().any(|&(n, _)| n == number);
    if change.id.is_some_and(|id| id != vxlan.id) {
        return fixed("Cannot change VNI");
    }
    let other_family = |new: Option<IpAddr>| new.is_some_and(|new| new.is_ipv6() != vxlan.over6());
    if other_family(change.remote) {
        return fixed("New group address family does not match old group");
    }
    if let Some((_, text)) = FIXED_BEFORE.into_iter().find(said) {
        return fixed(text);
    }
    if change.port_range.is_some() {
        return fixed("Cannot change port range");
    }
    if change.port.is_some() {
        return fixed("Cannot change port");
    }
    match FIXED_AFTER.into_iter().find(said) {
        Some((UDP_CSUM, text)) => {
            return Err(LinkRefused::blames(errno::EOPNOTSUPP, text, Blame::Data(UDP_CSUM.into())));
        }
        Some((_, text)) => return fixed(text),
        None => {}
    }
    if change.limit.is_some() {
        return fixed("Cannot change limit");
    }
    if change.local.is_some_and(|a| a.is_multicast()) {
        return Err(LinkRefused::says(errno::EINVAL, "Local address cannot be multicast"));
    }
    let mut after = vxlan.clone();
    apply(&mut after, change);
    if after.remote.is_some_and(|a| a.is_multicast()) && after.dev.is_none() {
        let text = "Local interface required for multicast remote destination";
        return Err(LinkRefused::says(errno::EINVAL, text));
    }
    check_labels(&after)?;
    if after.remote == vxlan.remote { Ok(()) } else { vni::check_redirect(vxlan) }
}

pub(super) fn change(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, index: u32, change: &VxlanChange) {
    let mut before = None;
    super::edit(ns, index, |data| {
        if let KindData::Vxlan(vxlan) = data {
            before = vxlan.remote;
            apply(vxlan, change);
        }
    });
    if let Some(link) = ns.links.by_index(index)
        && let Some(KindData::Vxlan(vxlan)) = link.data()
    {
        rtnl.redirect(ns, &link, vxlan, before);
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
