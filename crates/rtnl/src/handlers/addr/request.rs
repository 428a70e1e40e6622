//! What a request about an IPv4 address may contain, and how it is read.

use std::net::Ipv4Addr;

use crate::handlers::refuse;
use pernet_stack::{DelAddr4, Label, Lifetime4, NewAddr4};
use pernet_wire::uapi::*;
use pernet_wire::{Attr, AttrTable, Errno, ExtAck, Kind, Msg, Policy, Strictness, parse};

/// Bytes of `struct ifaddrmsg`: family, bits of the prefix, flags, scope, index.
pub(super) const IFADDRMSG_LEN: usize = 8;

const ANY: Option<Kind> = Some(Kind::Any);
const U32: Option<Kind> = Some(Kind::U32);

/// `ifa_ipv4_policy` of Linux 6.18, taken from what it answers to attributes of every length.
pub(super) const POLICY: Policy = Policy(&[
    None,
    U32,                            // 1 ADDRESS
    U32,                            // 2 LOCAL
    Some(Kind::String { max: 15 }), // 3 LABEL
    U32,                            // 4 BROADCAST
    ANY,                            // 5 ANYCAST
    Some(Kind::MinLen { min: 16 }), // 6 CACHEINFO
    ANY,                            // 7 MULTICAST
    U32,                            // 8 FLAGS
    U32,                            // 9 RT_PRIORITY
    Some(Kind::S32),                // 10 TARGET_NETNSID
    Some(Kind::U8),                 // 11 PROTO
]);

mod text {
    pub(super) const HEADER: &str = "Invalid header length";
    pub(super) const PREFIX: &str = "ipv4: Invalid prefix length";
    pub(super) const LOCAL: &str = "ipv4: Local address is not supplied";
    pub(super) const LIFETIME: &str = "ipv4: address lifetime invalid";
}

/// The fields of an `ifaddrmsg`.
pub(super) struct Header {
    pub(super) prefix_len: u8,
    pub(super) flags: u8,
    pub(super) scope: u8,
    pub(super) ifindex: u32,
}

impl Header {
    /// `None` if the message is too short for one.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let [_, prefix_len, flags, scope, a, b, c, d] = *payload.first_chunk::<IFADDRMSG_LEN>()?;
        Some(Self { prefix_len, flags, scope, ifindex: u32::from_ne_bytes([a, b, c, d]) })
    }
}

/// Header and attributes. Changes are always read in the legacy way.
fn read<'a>(msg: &Msg<'a>, ext: &mut ExtAck) -> Result<(Header, AttrTable<'a>), Errno> {
    let Some(header) = Header::read(msg.payload()) else {
        ext.set_msg(text::HEADER);
        return Err(Errno::EINVAL);
    };
    Ok((header, parse(msg, IFADDRMSG_LEN, &POLICY, Strictness::Legacy, ext)?))
}

/// Reads RTM_NEWADDR (`rtm_to_ifaddr`).
pub(super) fn new(msg: &Msg<'_>, ext: &mut ExtAck) -> Result<NewAddr4, Errno> {
    let (header, attrs) = read(msg, ext)?;
    if header.prefix_len > 32 {
        return refuse(ext, text::PREFIX);
    }
    let Some(local) = attrs.get(IFA_LOCAL).and_then(|a| address(&a)) else {
        return refuse(ext, text::LOCAL);
    };
    let lifetime = match attrs.get(IFA_CACHEINFO) {
        None => Lifetime4::FOREVER,
        Some(attr) => match lifetime(&attr) {
            Some(lifetime) => lifetime,
            None => return refuse(ext, text::LIFETIME),
        },
    };
    let replace = msg.header.flags & (NLM_F_REPLACE | NLM_F_EXCL) == NLM_F_REPLACE;
    Ok(NewAddr4 {
        ifindex: header.ifindex,
        local,
        address: attrs.get(IFA_ADDRESS).and_then(|a| address(&a)),
        prefix_len: header.prefix_len,
        broadcast: attrs.get(IFA_BROADCAST).and_then(|a| address(&a)),
        scope: header.scope,
        flags: attrs.get(IFA_FLAGS).and_then(|a| a.u32()).unwrap_or_else(|| header.flags.into()),
        label: attrs.get(IFA_LABEL).map(|a| Label::new(a.payload)),
        rt_priority: attrs.get(IFA_RT_PRIORITY).and_then(|a| a.u32()).unwrap_or(0),
        proto: attrs.get(IFA_PROTO).and_then(|a| a.u8()).unwrap_or(0),
        lifetime,
        replace,
    })
}

/// Reads RTM_DELADDR.
pub(super) fn del(msg: &Msg<'_>, ext: &mut ExtAck) -> Result<DelAddr4, Errno> {
    let (header, attrs) = read(msg, ext)?;
    let prefix = attrs.get(IFA_ADDRESS).and_then(|a| address(&a));
    Ok(DelAddr4 {
        ifindex: header.ifindex,
        local: attrs.get(IFA_LOCAL).and_then(|a| address(&a)),
        label: attrs.get(IFA_LABEL).map(|a| Label::new(a.payload)),
        prefix: prefix.map(|addr| (addr, header.prefix_len)),
    })
}

/// The address in an attribute, in the order of the network.
fn address(attr: &Attr<'_>) -> Option<Ipv4Addr> {
    attr.payload.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes))
}

/// Preferred and valid seconds, the first half of a `struct ifa_cacheinfo`.
fn lifetime(attr: &Attr<'_>) -> Option<Lifetime4> {
    let [a, b, c, d, e, f, g, h] = *attr.payload.first_chunk::<8>()?;
    Lifetime4::new(u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}
