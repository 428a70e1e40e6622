//! The attributes of a change request as the stack wants them.

use std::net::Ipv6Addr;

use pernet_stack::{Blame, FlagChange, IfFlags, LinkChange, LinkRefused, OffloadChange};
use pernet_wire::uapi::*;
use pernet_wire::{Attr, AttrTable, Errno, ExtAck, Kind, Policy, Strictness, parse_nested};

use super::request::{self, IfInfo};

const IFLA_PROTO_DOWN_REASON: u16 = 55;
const PROTO_DOWN_REASON_MASK: u16 = 1;
const PROTO_DOWN_REASON_VALUE: u16 = 2;
const SPEC_INET: u16 = 2;
const SPEC_INET6: u16 = 10;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_TOKEN: u16 = 7;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;

/// What the attributes of a request change. Which device, which kind and which namespace is for the caller to read.
pub(super) fn read(info: &IfInfo, attrs: &AttrTable<'_>, ext: &mut ExtAck) -> Result<LinkChange, Errno> {
    let u32_of = |ty| attrs.get(ty).and_then(|a| a.u32());
    let u8_of = |ty| attrs.get(ty).and_then(|a| a.u8());
    let bytes_of = |ty| attrs.get(ty).map(|a: Attr<'_>| a.payload.into());
    let mut change = LinkChange {
        name: attrs.get(IFLA_IFNAME).map(|a| text(&a)).filter(|name| !name.is_empty()),
        address: bytes_of(IFLA_ADDRESS),
        broadcast: bytes_of(IFLA_BROADCAST),
        mtu: u32_of(IFLA_MTU),
        tx_queue_len: u32_of(IFLA_TXQLEN),
        group: u32_of(IFLA_GROUP),
        alias: attrs.get(IFLA_IFALIAS).map(|a| text(&a)),
        operstate: u8_of(IFLA_OPERSTATE),
        link_mode: u8_of(IFLA_LINKMODE),
        carrier: u8_of(IFLA_CARRIER).map(|on| on != 0),
        proto_down: u8_of(IFLA_PROTO_DOWN).map(|on| on != 0),
        offload: OffloadChange {
            gso_max_segs: u32_of(IFLA_GSO_MAX_SEGS),
            gso_max_size: u32_of(IFLA_GSO_MAX_SIZE),
            gro_max_size: u32_of(IFLA_GRO_MAX_SIZE),
            gso_ipv4_max_size: u32_of(IFLA_GSO_IPV4_MAX_SIZE),
            gro_ipv4_max_size: u32_of(IFLA_GRO_IPV4_MAX_SIZE),
        },
        master: u32_of(IFLA_MASTER),
        new_index: u32_of(IFLA_NEW_IFINDEX),
        ..LinkChange::default()
    };
    if info.flags != 0 || info.change != 0 {
        change.flags =
            Some(FlagChange { flags: IfFlags::from_bits(info.flags), mask: IfFlags::from_bits(info.change) });
    }
    if let Some(reason) = attrs.get(IFLA_PROTO_DOWN_REASON) {
        const U32: Option<Kind> = Some(Kind::U32);
        let inside = parse_nested(reason.nested(), &Policy(&[None, U32, U32]), Strictness::Legacy, ext)?;
        let word = |ty| inside.get(ty).and_then(|a: Attr<'_>| a.u32());
        change.proto_down_reason = Some((word(PROTO_DOWN_REASON_MASK), word(PROTO_DOWN_REASON_VALUE)));
    }
    if let Some(spec) = attrs.get(IFLA_AF_SPEC) {
        for family in spec.nested() {
            let last = |ty: u16| family.nested().filter(|a| a.ty == ty).last();
            match family.ty {
                SPEC_INET6 => {
                    change.addr_gen_mode = last(IFLA_INET6_ADDR_GEN_MODE).and_then(|a| a.u8());
                    let token = last(IFLA_INET6_TOKEN).and_then(|a| a.payload.first_chunk::<16>().copied());
                    change.token = token.map(Ipv6Addr::from);
                }
                SPEC_INET => {
                    let conf = last(IFLA_INET_CONF);
                    let settings = conf.iter().flat_map(|a| a.nested());
                    change.inet_conf = settings.filter_map(|a| Some((a.ty, a.i32()?))).collect();
                }
                _ => {}
            }
        }
    }
    Ok(change)
}

/// The text of a string attribute. What is not UTF-8 cannot be kept; it is kept readable.
pub(super) fn text(attr: &Attr<'_>) -> Box<str> {
    String::from_utf8_lossy(attr.str_bytes()).into()
}

/// Tells the requester why.
pub(super) fn refused(why: &LinkRefused, attrs: &AttrTable<'_>, ext: &mut ExtAck) -> Errno {
    if let Some(text) = why.text() {
        ext.set_msg(text);
    }
    let blamed = match why.blame() {
        Some(Blame::Address) => attrs.get(IFLA_ADDRESS),
        Some(Blame::Mtu) => attrs.get(IFLA_MTU),
        Some(Blame::Name) => attrs.get(IFLA_IFNAME),
        Some(Blame::Master) => attrs.get(IFLA_MASTER),
        Some(Blame::Kind) => request::info(attrs, 1),
        Some(Blame::Data(ty)) => request::info(attrs, 2).and_then(|data| data.nested().filter(|a| a.ty == ty).last()),
        Some(Blame::Port(ty)) => request::info(attrs, 5).and_then(|data| data.nested().filter(|a| a.ty == ty).last()),
        _ => None,
    };
    if let Some(attr) = blamed {
        ext.set_bad(&attr);
    }
    Errno::new(why.errno()).unwrap_or(Errno::EINVAL)
}
