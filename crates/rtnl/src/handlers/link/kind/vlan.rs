//! vlan: the tagged part of a device.

use pernet_stack::{Vlan, VlanChange};
use pernet_wire::{Attr, Builder, Errno, ExtAck, Kind, Policy, Strictness, parse_nested};

const ID: u16 = 1;
const FLAGS: u16 = 2;
const EGRESS: u16 = 3;
const INGRESS: u16 = 4;
const PROTOCOL: u16 = 5;
const MAPPING: u16 = 1;
const POLICY: Policy = Policy(&[
    None,
    Some(Kind::U16),
    Some(Kind::MinLen { min: 8 }),
    Some(Kind::Nested),
    Some(Kind::Nested),
    Some(Kind::U16),
]);

fn pair(bytes: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    Some((word(0)?, word(4)?))
}

pub(super) fn read(data: Option<&Attr<'_>>, ext: &mut ExtAck) -> Result<VlanChange, Errno> {
    let Some(data) = data else { return Ok(VlanChange::default()) };
    let attrs = parse_nested(data.nested(), &POLICY, Strictness::Legacy, ext)?;
    let pairs = |ty| {
        let list = attrs.get(ty);
        list.iter()
            .flat_map(|a: &Attr<'_>| a.nested())
            .filter(|a| a.ty == MAPPING)
            .filter_map(|a| pair(a.payload))
            .collect()
    };
    Ok(VlanChange {
        id: attrs.get(ID).and_then(|a| a.u16()),
        protocol: attrs.get(PROTOCOL).and_then(|a| a.payload.first_chunk().copied()).map(u16::from_be_bytes),
        flags: attrs.get(FLAGS).and_then(|a| pair(a.payload)),
        ingress: pairs(INGRESS),
        egress: pairs(EGRESS),
    })
}

/// `vlan_fill_info`.
pub(super) fn fill(out: &mut Builder, vlan: &Vlan) {
    out.put(PROTOCOL, &vlan.protocol.to_be_bytes()).put_u16(ID, vlan.id);
    let flags = [vlan.flags.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat();
    out.put(FLAGS, &flags);
    for (ty, pairs) in [(INGRESS, &vlan.ingress), (EGRESS, &vlan.egress)] {
        if pairs.is_empty() {
            continue;
        }
        out.nest(ty, |list| {
            for (from, to) in pairs {
                list.put(MAPPING, &[from.to_ne_bytes(), to.to_ne_bytes()].concat());
            }
        });
    }
}
