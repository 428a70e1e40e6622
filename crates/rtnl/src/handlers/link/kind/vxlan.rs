//! vxlan: Ethernet in UDP.

use std::net::IpAddr;

use crate::handlers::refuse;
use pernet_stack::{Vxlan, VxlanChange};
use pernet_wire::{Attr, AttrTable, Builder, Errno, ExtAck, Kind, Policy, Strictness, parse_nested};

const U8: Option<Kind> = Some(Kind::U8);
const U16: Option<Kind> = Some(Kind::U16);
const U32: Option<Kind> = Some(Kind::U32);
const FLAG: Option<Kind> = Some(Kind::Flag);
const ANY: Option<Kind> = Some(Kind::Any);
const WORD: Option<Kind> = Some(Kind::MinLen { min: 4 });
const ADDRESS6: Option<Kind> = Some(Kind::MinLen { min: 16 });

/// `vxlan_policy`.
const POLICY: Policy = Policy(&[
    None, U32, WORD, U32, WORD, U8, U8, U8, U32, U32, WORD, U8, U8, U8, U8, U16, ADDRESS6, ADDRESS6, U8, U8, U8, U8,
    U8, FLAG, FLAG, U8, U32, FLAG, FLAG, U8, U8, U8, U32, ANY,
]);

/// On or off, and said with a byte.
const SWITCHES: [u8; 13] = [7, 11, 12, 13, 14, 25, 18, 19, 20, 21, 22, 30, 31];
/// On by being there: group policy, not only for one with remote checksums, generic protocol, the TTL of the packet
/// inside.
const PRESENT: [u8; 4] = [23, 24, 27, 28];
/// The TTL of the packet inside.
const TTL_INHERIT: u8 = 28;
/// `VXLAN_DF_INHERIT`.
const LARGEST_DF: u8 = 2;
/// Bits of the header that must be zero.
const RESERVED: [u8; 8] = [0xf7, 0xff, 0xff, 0xff, 0, 0, 0, 0xff];

fn address(attrs: &AttrTable<'_>, four: u16, six: u16) -> Option<IpAddr> {
    let bytes4 = attrs.get(four).and_then(|a| a.payload.first_chunk::<4>().copied());
    let bytes6 = attrs.get(six).and_then(|a| a.payload.first_chunk::<16>().copied());
    bytes4.map(IpAddr::from).or_else(|| bytes6.map(IpAddr::from))
}

pub(super) fn read(data: Option<&Attr<'_>>, ext: &mut ExtAck) -> Result<VxlanChange, Errno> {
    let Some(data) = data else { return refuse(ext, "Required attributes not provided to perform the operation") };
    let attrs = parse_nested(data.nested(), &POLICY, Strictness::Legacy, ext)?;
    if let Some(df) = attrs.get(29).filter(|a| a.u8().is_some_and(|df| df > LARGEST_DF)) {
        ext.set_msg_attr("Invalid DF attribute", &df);
        return Err(Errno::EINVAL);
    }
    let u8_of = |ty| attrs.get(ty).and_then(|a: Attr<'_>| a.u8());
    let u32_of = |ty| attrs.get(ty).and_then(|a: Attr<'_>| a.u32());
    let be16 = |bytes: &[u8]| bytes.first_chunk().copied().map(u16::from_be_bytes);
    let said = SWITCHES.iter().filter_map(|&n| Some((n, u8_of(n.into())? != 0)));
    let there = PRESENT.iter().filter(|&&n| attrs.get(n.into()).is_some()).map(|&n| (n, true));
    Ok(VxlanChange {
        id: u32_of(1),
        remote: address(&attrs, 2, 16),
        local: address(&attrs, 4, 17),
        dev: u32_of(3),
        ttl: u8_of(5),
        tos: u8_of(6),
        df: u8_of(29),
        label: attrs.get(26).and_then(|a| a.payload.first_chunk().copied()).map(u32::from_be_bytes),
        label_policy: u32_of(32),
        switches: said.chain(there).collect(),
        ageing: u32_of(8),
        limit: u32_of(9),
        port: attrs.get(15).and_then(|a| be16(a.payload)),
        port_range: attrs.get(10).and_then(|a| Some((be16(a.payload)?, be16(&a.payload[2..])?))),
    })
}

/// `vxlan_fill_info`.
pub(super) fn fill(out: &mut Builder, vxlan: &Vxlan) {
    let put_address = |out: &mut Builder, address: Option<IpAddr>, four: u16, six: u16| {
        match address {
            Some(IpAddr::V4(address)) => out.put(four, &address.octets()),
            Some(IpAddr::V6(address)) => out.put(six, &address.octets()),
            None => return,
        };
    };
    out.put_u32(1, vxlan.id);
    put_address(out, vxlan.remote, 2, 16);
    if let Some(dev) = vxlan.dev {
        out.put_u32(3, dev);
    }
    put_address(out, vxlan.local, 4, 17);
    out.put_u8(5, vxlan.ttl)
        .put_u8(28, vxlan.is_on(TTL_INHERIT).into())
        .put_u8(6, vxlan.tos)
        .put_u8(29, vxlan.df)
        .put(26, &vxlan.label.to_be_bytes())
        .put_u32(32, vxlan.label_policy);
    let switch = |out: &mut Builder, number: u8| {
        out.put_u8(number.into(), vxlan.is_on(number).into());
    };
    for number in [7, 11, 12, 13, 14, 25] {
        switch(out, number);
    }
    out.put_u32(8, vxlan.ageing).put_u32(9, vxlan.limit).put(15, &vxlan.port.to_be_bytes());
    for number in [18, 19, 20, 21, 22, 31] {
        switch(out, number);
    }
    let (low, high) = vxlan.port_range;
    out.put(10, &[low.to_be_bytes(), high.to_be_bytes()].concat());
    for number in [23, 27, 24] {
        if vxlan.is_on(number) {
            out.put_flag(number.into());
        }
    }
    if vxlan.filters() {
        switch(out, 30);
    }
    out.put(33, &RESERVED);
}
