//! `IFLA_LINKINFO`: the kinds of devices, as requests describe them.

pub(super) mod bridge;
mod macvlan;
mod tun;
mod veth;
mod vlan;
mod vxlan;

use pernet_stack::{BridgePort, HwAddr, KindChange, KindData, KindSpec, Link, Links, PortChange};
use pernet_wire::uapi::IFLA_ADDRESS;
use pernet_wire::{Attr, AttrTable, Builder, Errno, ExtAck, Kind, Policy, Strictness, parse_nested};

use super::Request;

pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_DATA: u16 = 2;
pub(super) const IFLA_INFO_SLAVE_KIND: u16 = 4;
pub(super) const IFLA_INFO_SLAVE_DATA: u16 = 5;

/// `ifla_info_policy`.
const INFO: Policy = Policy(&[
    None,
    Some(Kind::String { max: 0 }),
    Some(Kind::Nested),
    Some(Kind::Nested),
    Some(Kind::String { max: 0 }),
    Some(Kind::Nested),
]);

/// What `IFLA_LINKINFO` says.
#[derive(Clone, Debug, Default)]
pub(super) struct Info<'a> {
    pub(super) kind: Option<Box<str>>,
    pub(super) data: Option<Attr<'a>>,
    pub(super) port_data: Option<Attr<'a>>,
}

impl<'a> Info<'a> {
    /// Reads an `IFLA_LINKINFO`. What is wrong with it is not explained.
    pub(super) fn read(attr: Option<Attr<'a>>) -> Result<Self, Errno> {
        let Some(attr) = attr else { return Ok(Self::default()) };
        let inside = parse_nested(attr.nested(), &INFO, Strictness::Legacy, &mut ExtAck::default())?;
        let word = |ty| inside.get(ty).map(|a| super::change::text(&a));
        Ok(Self {
            kind: word(IFLA_INFO_KIND),
            data: inside.get(IFLA_INFO_DATA),
            port_data: inside.get(IFLA_INFO_SLAVE_DATA),
        })
    }

    /// What the kind itself looks at, whatever is asked (`validate`).
    pub(super) fn validate(&self, attrs: &AttrTable<'_>) -> Result<(), Errno> {
        const ADDRESSED: [&str; 6] = ["veth", "bridge", "macvlan", "macvtap", "vxlan", "ifb"];
        let looks = self.kind.as_deref().is_some_and(|kind| ADDRESSED.contains(&kind));
        let Some(address) = attrs.get(IFLA_ADDRESS).filter(|_| looks) else { return Ok(()) };
        let address = HwAddr::new(address.payload).filter(|a| a.as_bytes().len() == 6).ok_or(Errno::EINVAL)?;
        if address.is_multicast() || address.is_zero() { Err(Errno::EADDRNOTAVAIL) } else { Ok(()) }
    }

    /// The device to be made.
    pub(super) fn spec(&self, request: &Request<'_>, ext: &mut ExtAck) -> Result<KindSpec, Errno> {
        let data = self.data.as_ref();
        match self.kind.as_deref() {
            Some("dummy") => Ok(KindSpec::Dummy),
            Some("ifb") => Ok(KindSpec::Ifb),
            Some("veth") => veth::read(request, data, ext).map(|peer| KindSpec::Veth(Box::new(peer))),
            Some("bridge") => bridge::read(data, ext).map(|change| KindSpec::Bridge(Box::new(change))),
            Some("vlan") => vlan::read(data, ext).map(KindSpec::Vlan),
            Some("macvlan") => macvlan::read(data, ext).map(|change| KindSpec::Macvlan(change, false)),
            Some("macvtap") => macvlan::read(data, ext).map(|change| KindSpec::Macvlan(change, true)),
            Some("vxlan") => vxlan::read(data, ext).map(|change| KindSpec::Vxlan(Box::new(change))),
            Some("tun") => {
                ext.set_msg("tun/tap creation via rtnetlink is not supported");
                Err(Errno::EOPNOTSUPP)
            }
            _ => {
                ext.set_msg("Unknown device type");
                Err(Errno::EOPNOTSUPP)
            }
        }
    }

    /// What it changes of a device that is there; `None` if it has no data.
    pub(super) fn change(&self, link: &Link, ext: &mut ExtAck) -> Result<Option<KindChange>, Errno> {
        let Some(data) = &self.data else { return Ok(None) };
        if self.kind.as_deref() != link.class().kind {
            return Err(Errno::EOPNOTSUPP);
        }
        let data = Some(data);
        match self.kind.as_deref() {
            Some("bridge") => bridge::read(data, ext).map(|change| KindChange::Bridge(Box::new(change))),
            Some("vlan") => vlan::read(data, ext).map(KindChange::Vlan),
            Some("macvlan" | "macvtap") => macvlan::read(data, ext).map(KindChange::Macvlan),
            Some("vxlan") => vxlan::read(data, ext).map(|change| KindChange::Vxlan(Box::new(change))),
            _ => Err(Errno::EOPNOTSUPP),
        }
        .map(Some)
    }

    /// What it changes of a device as a port; `None` if it has no data for one.
    pub(super) fn port_change(&self, link: &Link, ext: &mut ExtAck) -> Result<Option<PortChange>, Errno> {
        let Some(data) = &self.port_data else { return Ok(None) };
        if BridgePort::of(link).is_none() {
            return Err(Errno::EOPNOTSUPP);
        }
        bridge::read_port(data, ext).map(|change| Some(PortChange::Bridge(Box::new(change))))
    }
}

/// `IFLA_LINKINFO` of a device (`rtnl_link_fill`). `links` has its master; `now` is hundredths of a second on the stack's
/// clock.
pub(super) fn fill(out: &mut Builder, links: Option<&Links>, link: &Link, now: u64) {
    if let Some(kind) = link.class().kind {
        out.put_str(IFLA_INFO_KIND, kind);
    }
    match link.data() {
        Some(KindData::Bridge(data)) => out.nest(IFLA_INFO_DATA, |out| bridge::fill(out, data, now)),
        Some(KindData::Vlan(data)) => out.nest(IFLA_INFO_DATA, |out| vlan::fill(out, data)),
        Some(KindData::Macvlan(data)) => out.nest(IFLA_INFO_DATA, |out| macvlan::fill(out, data)),
        Some(KindData::Vxlan(data)) => out.nest(IFLA_INFO_DATA, |out| vxlan::fill(out, data)),
        Some(KindData::Tun(data)) => out.nest(IFLA_INFO_DATA, |out| tun::fill(out, data)),
        _ => out,
    };
    if let (Some(port), Some(links)) = (BridgePort::of(link), links) {
        out.put_str(IFLA_INFO_SLAVE_KIND, "bridge")
            .nest(IFLA_INFO_SLAVE_DATA, |out| bridge::fill_port(out, links, link, port, now));
    }
}
