//! The part of another device that bears a tag.

use std::sync::Arc;

use super::KindData;
use crate::dev::class::{ETHER, LinkClass};
use crate::dev::request::NewLink;
use crate::dev::{Link, LinkRefused};
use crate::errno;
use crate::state::Ns;

/// Tagged parts of devices.
pub static VLAN: LinkClass = LinkClass { kind: Some("vlan"), min_mtu: 0, max_mtu: 65_535, carrier: false, ..ETHER };

/// `ETH_P_8021Q` and `ETH_P_8021AD`.
const TAGS: [u16; 2] = [0x8100, 0x88a8];
/// `VLAN_FLAG_REORDER_HDR`, which every new one has.
const REORDER: u32 = 1;
/// Tags with this number and those beyond have a meaning of their own.
const IDS: u16 = 4095;

/// Which tag, and how it is handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The number in the tag.
    pub id: u16,
    /// The Ethernet type of the tag.
    pub protocol: u16,
    /// `VLAN_FLAG_*`.
    pub flags: u32,
    /// Priorities of packets that come, as pairs of tag's and ours.
    pub ingress: Vec<(u32, u32)>,
    /// Priorities of packets that go, as pairs of ours and tag's.
    pub egress: Vec<(u32, u32)>,
}

/// What a request says of it.
#[derive(Clone, Debug, Default)]
pub struct VlanChange {
    /// The number.
    pub id: Option<u16>,
    /// The Ethernet type.
    pub protocol: Option<u16>,
    /// `VLAN_FLAG_*`, and which of them.
    pub flags: Option<(u32, u32)>,
    /// Pairs to add or change.
    pub ingress: Vec<(u32, u32)>,
    /// Pairs to add or change.
    pub egress: Vec<(u32, u32)>,
}

pub(super) fn prepare(
    base: Ns<'_>,
    ns: Ns<'_>,
    new: &NewLink,
    change: &VlanChange,
    link: &mut Link,
) -> Result<(), LinkRefused> {
    let id = change.id.ok_or(LinkRefused::says(errno::EINVAL, "VLAN properties not specified"))?;
    if id >= IDS {
        return Err(LinkRefused::says(errno::ERANGE, "Invalid VLAN id"));
    }
    let protocol = change.protocol.unwrap_or(TAGS[0]);
    if !TAGS.contains(&protocol) {
        return Err(LinkRefused::says(errno::EPROTONOSUPPORT, "Invalid VLAN protocol"));
    }
    let missing = || LinkRefused::says(errno::EINVAL, "link not specified");
    let lower = super::lower_of(base, ns, new, link)?.ok_or_else(missing)?;
    if link.mtu > lower.mtu && new.change.mtu.is_some() {
        return Err(LinkRefused::plain(errno::ERANGE));
    }
    if new.change.mtu.is_none() {
        link.mtu = lower.mtu;
    }
    if new.change.address.is_none() {
        link.address = lower.address;
        link.addr_assign = 2;
    }
    link.carrier = lower.carrier;
    let mut vlan = Vlan { id, protocol, flags: REORDER, ingress: Vec::new(), egress: Vec::new() };
    apply(&mut vlan, change);
    link.data = Some(Arc::new(KindData::Vlan(vlan)));
    Ok(())
}

pub(super) fn change(data: &mut KindData, change: &VlanChange) {
    if let KindData::Vlan(vlan) = data {
        apply(vlan, change);
    }
}

fn apply(vlan: &mut Vlan, change: &VlanChange) {
    if let Some((flags, mask)) = change.flags {
        vlan.flags = (vlan.flags & !mask) | (flags & mask);
    }
    for (map, pairs) in [(&mut vlan.ingress, &change.ingress), (&mut vlan.egress, &change.egress)] {
        for &(from, to) in pairs {
            match map.iter_mut().find(|(known, _)| *known == from) {
                Some(pair) => pair.1 = to,
                None => map.push((from, to)),
            }
        }
    }
}
