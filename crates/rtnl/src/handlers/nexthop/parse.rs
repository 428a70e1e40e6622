//! What requests about nexthop objects may contain, and how they are read: strictly, whatever the socket asked for.

use std::net::IpAddr;

use pernet_stack::{Family, GroupConfig, Member, NexthopConfig, NexthopFilter, ResilientConfig, hop_flag};
use pernet_wire::uapi::*;
use pernet_wire::{Attr, Attrs, Errno, ExtAck, PolicyTlv, text};

use super::HEADER_LEN;
use crate::handlers::Request;
use crate::handlers::refuse;

/// What an attribute must look like.
#[derive(Clone, Copy)]
pub(super) enum Must {
    /// Not asked for here.
    Unsupported,
    /// Anything; whoever reads it looks.
    Anything,
    U16,
    U32,
    /// At most 1.
    Bool,
    /// Nothing inside.
    Flag,
    /// Attributes inside, and the bit that says so.
    Nested,
    /// These bits only.
    Mask(u32),
}

/// Types beyond the list do not exist.
type Shape = [Must];

const NEW: &Shape = &[
    Must::Unsupported,
    Must::U32,         // 1 ID
    Must::Anything,    // 2 GROUP
    Must::U16,         // 3 GROUP_TYPE
    Must::Flag,        // 4 BLACKHOLE
    Must::U32,         // 5 OIF
    Must::Anything,    // 6 GATEWAY
    Must::U16,         // 7 ENCAP_TYPE
    Must::Nested,      // 8 ENCAP
    Must::Unsupported, // 9 GROUPS
    Must::Unsupported, // 10 MASTER
    Must::Flag,        // 11 FDB
    Must::Nested,      // 12 RES_GROUP
    Must::Unsupported, // 13
    Must::Unsupported, // 14
    Must::Unsupported, // 15
    Must::Bool,        // 16 HW_STATS_ENABLE
];
const RES_GROUP: &Shape = &[Must::Unsupported, Must::U16, Must::U32, Must::U32];
/// A deletion knows nothing but the id.
pub(super) const DEL: &Shape = &[Must::Unsupported, Must::U32];
const fn only(asked: &[(u16, Must)]) -> [Must; 15] {
    let mut out = [Must::Unsupported; 15];
    let mut at = 0;
    while at < asked.len() {
        out[asked[at].0 as usize] = asked[at].1;
        at += 1;
    }
    out
}
pub(super) const GET: &Shape = &only(&[(NHA_ID, Must::U32), (NHA_OP_FLAGS, Must::Mask(3))]);
const DUMP: &Shape = &only(&[
    (NHA_OIF, Must::U32),
    (NHA_GROUPS, Must::Flag),
    (NHA_MASTER, Must::U32),
    (NHA_FDB, Must::Flag),
    (NHA_OP_FLAGS, Must::Mask(3)),
]);
pub(super) const BUCKET_GET: &Shape = &only(&[(NHA_ID, Must::U32), (NHA_RES_BUCKET, Must::Nested)]);
pub(super) const BUCKET_DUMP: &Shape =
    &only(&[(NHA_ID, Must::U32), (NHA_OIF, Must::U32), (NHA_MASTER, Must::U32), (NHA_RES_BUCKET, Must::Nested)]);
pub(super) const RES_BUCKET_GET: &Shape = &[Must::Unsupported, Must::U16];
pub(super) const RES_BUCKET_DUMP: &Shape = &[Must::Unsupported, Must::Unsupported, Must::Unsupported, Must::U32];

fn wrong<T>(
    ext: &mut ExtAck,
    text: &'static str,
    attr: &Attr<'_>,
    policy: Option<PolicyTlv>,
    errno: Errno,
) -> Result<T, Errno> {
    ext.set_msg_attr(text, attr);
    ext.policy = policy;
    Err(errno)
}

/// The attributes by type; of several with one type the last.
pub(super) struct Table<'a>(Vec<Attr<'a>>);

impl<'a> Table<'a> {
    pub(super) fn get(&self, ty: u16) -> Option<Attr<'a>> {
        self.0.iter().rev().find(|attr| attr.ty == ty).copied()
    }

    pub(super) fn has(&self, ty: u16) -> bool {
        self.get(ty).is_some()
    }

    pub(super) fn u32(&self, ty: u16) -> Option<u32> {
        self.get(ty).and_then(|attr| attr.u32())
    }
}

pub(super) fn read<'a>(mut attrs: Attrs<'a>, shape: &Shape, ext: &mut ExtAck) -> Result<Table<'a>, Errno> {
    const LENGTH: &str = "invalid attribute length";
    let number = |ty, max: u64| Some(PolicyTlv::new(ty).unsigned(0, max));
    let mut out = Vec::new();
    for attr in attrs.by_ref() {
        let Some(must) = shape.get(usize::from(attr.ty)).filter(|_| attr.ty != 0) else {
            return wrong(ext, text::UNKNOWN, &attr, None, Errno::EINVAL);
        };
        let len = attr.payload.len();
        let value = attr.u32().unwrap_or(0);
        match *must {
            Must::Unsupported => return wrong(ext, "Unsupported attribute", &attr, None, Errno::EINVAL),
            Must::U16 if len != 2 => {
                return wrong(ext, LENGTH, &attr, number(NL_ATTR_TYPE_U16, 0xffff), Errno::EINVAL);
            }
            Must::U32 if len != 4 => {
                return wrong(ext, LENGTH, &attr, number(NL_ATTR_TYPE_U32, u32::MAX.into()), Errno::EINVAL);
            }
            Must::Bool if len != 4 => return wrong(ext, LENGTH, &attr, number(NL_ATTR_TYPE_U32, 1), Errno::EINVAL),
            Must::Bool if value > 1 => {
                return wrong(ext, text::RANGE, &attr, number(NL_ATTR_TYPE_U32, 1), Errno::ERANGE);
            }
            Must::Flag if len != 0 => {
                let policy = Some(PolicyTlv::new(NL_ATTR_TYPE_FLAG));
                return wrong(ext, text::POLICY, &attr, policy, Errno::ERANGE);
            }
            Must::Nested if attr.raw_ty & NLA_F_NESTED == 0 => {
                let policy = Some(PolicyTlv::new(NL_ATTR_TYPE_NESTED));
                return wrong(ext, "NLA_F_NESTED is missing", &attr, policy, Errno::EINVAL);
            }
            Must::Mask(_) if len != 4 => return wrong(ext, LENGTH, &attr, None, Errno::EINVAL),
            Must::Mask(mask) if value & !mask != 0 => {
                return wrong(ext, "reserved bit set", &attr, None, Errno::EINVAL);
            }
            _ => out.push(attr),
        }
    }
    if !attrs.leftover().is_empty() {
        return refuse(ext, text::LEFTOVER);
    }
    Ok(Table(out))
}

/// A new object (`rtm_to_nh_config`).
pub(super) fn config(request: &Request<'_>, ext: &mut ExtAck) -> Result<NexthopConfig, Errno> {
    let Some(header) = request.msg.payload().first_chunk::<HEADER_LEN>() else {
        return refuse(ext, "Invalid header length");
    };
    let [family, scope, protocol, reserved, a, b, c, d] = *header;
    let attrs = read(request.msg.attrs(HEADER_LEN), NEW, ext)?;
    if scope != 0 || reserved != 0 {
        return refuse(ext, "Invalid values in ancillary header");
    }
    let flags = u32::from_ne_bytes([a, b, c, d]);
    if flags & !hop_flag::ONLINK != 0 {
        return refuse(ext, "Invalid nexthop flags in ancillary header");
    }
    let is_group = attrs.has(NHA_GROUP);
    let family = match i32::from(family) {
        AF_INET => Some(Family::Inet),
        AF_INET6 => Some(Family::Inet6),
        AF_UNSPEC if is_group => None,
        _ => return refuse(ext, "Invalid address family"),
    };
    let mut out = NexthopConfig {
        id: attrs.u32(NHA_ID).unwrap_or(0),
        family,
        protocol,
        flags,
        fdb: attrs.has(NHA_FDB),
        ..NexthopConfig::default()
    };
    if attrs.u32(NHA_HW_STATS_ENABLE).is_some() && !is_group {
        return refuse(ext, "Cannot enable nexthop hardware statistics for non-group nexthops");
    }
    if out.fdb && [NHA_OIF, NHA_BLACKHOLE, NHA_ENCAP, NHA_ENCAP_TYPE].into_iter().any(|ty| attrs.has(ty)) {
        return refuse(ext, "Fdb attribute can not be used with encap, oif or blackhole");
    }
    if out.fdb && flags != 0 {
        return refuse(ext, "Unsupported nexthop flags in ancillary header");
    }
    if is_group {
        out.group = Some(group(&out, &attrs, ext)?);
        return Ok(out);
    }
    if attrs.has(NHA_BLACKHOLE) {
        if [NHA_GATEWAY, NHA_OIF, NHA_ENCAP, NHA_ENCAP_TYPE, NHA_FDB].into_iter().any(|ty| attrs.has(ty)) {
            return refuse(ext, "Blackhole attribute can not be used with gateway, oif, encap or fdb");
        }
        if flags != 0 {
            return refuse(ext, "Invalid flags for nexthop - PERVASIVE and ONLINK can not be set");
        }
        out.blackhole = true;
        return Ok(out);
    }
    hop(&mut out, request, &attrs, ext)?;
    Ok(out)
}

fn hop(out: &mut NexthopConfig, request: &Request<'_>, attrs: &Table<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    if !out.fdb {
        let Some(oif) = attrs.u32(NHA_OIF) else {
            return refuse(ext, "Device attribute required for non-blackhole and non-fdb nexthops");
        };
        let links = request.stack().links(request.net);
        let Some(link) = links.and_then(|links| links.by_index(oif)) else {
            return refuse(ext, "Invalid device index");
        };
        if !link.is_up() {
            ext.set_msg("Nexthop device is not up");
            return Err(ENETDOWN);
        }
        if !link.carrier {
            ext.set_msg("Carrier for nexthop device is down");
            return Err(ENETDOWN);
        }
        out.oif = Some(oif);
    }
    if let Some(attr) = attrs.get(NHA_GATEWAY) {
        let address = match out.family {
            Some(Family::Inet6) => <[u8; 16]>::try_from(attr.payload).ok().map(IpAddr::from),
            _ => <[u8; 4]>::try_from(attr.payload).ok().map(IpAddr::from),
        };
        let Some(address) = address else { return refuse(ext, "Invalid gateway") };
        out.gateway = Some(address).filter(|address| !address.is_unspecified());
    } else if out.flags & hop_flag::ONLINK != 0 {
        return refuse(ext, "ONLINK flag can not be set for nexthop without a gateway");
    }
    match (attrs.get(NHA_ENCAP), attrs.has(NHA_ENCAP_TYPE)) {
        (Some(_), true) => {
            ext.set_msg("lwt encapsulation type not supported");
            Err(Errno::EOPNOTSUPP)
        }
        (Some(_), false) => refuse(ext, "LWT encapsulation type is missing"),
        (None, true) => refuse(ext, "LWT encapsulation attribute is missing"),
        (None, false) => Ok(()),
    }
}

const ENETDOWN: Errno = match Errno::new(100) {
    Some(errno) => errno,
    None => Errno::EINVAL,
};

/// Members and type (`nh_check_attr_group`).
fn group(out: &NexthopConfig, attrs: &Table<'_>, ext: &mut ExtAck) -> Result<GroupConfig, Errno> {
    const ENTRY: usize = 8;
    /// How a group spreads traffic.
    const RESILIENT: u16 = 1;
    if out.family.is_some() {
        return refuse(ext, "Invalid family for group");
    }
    let list = attrs.get(NHA_GROUP).map_or(&[][..], |attr| attr.payload);
    if list.is_empty() || !list.len().is_multiple_of(ENTRY) {
        return refuse(ext, "Invalid length for nexthop group attribute");
    }
    let mut members: Vec<Member> = Vec::with_capacity(list.len() / ENTRY);
    for entry in list.as_chunks::<ENTRY>().0 {
        let [a, b, c, d, low, high, e, f] = *entry;
        if [e, f] != [0; 2] {
            return refuse(ext, "Reserved field in nexthop_grp must be 0");
        }
        let id = u32::from_ne_bytes([a, b, c, d]);
        if members.iter().any(|member| member.id == id) {
            return refuse(ext, "Nexthop id can not be used twice in a group");
        }
        members.push(Member { id, weight: u32::from(u16::from_le_bytes([low, high])) + 1 });
    }
    let ty = attrs.get(NHA_GROUP_TYPE).and_then(|attr| attr.u16()).unwrap_or(0);
    if ty > RESILIENT {
        return refuse(ext, "Invalid group type");
    }
    let mut others = vec![NHA_BLACKHOLE, NHA_OIF, NHA_GATEWAY, NHA_ENCAP_TYPE, NHA_ENCAP];
    if ty != RESILIENT {
        others.push(NHA_RES_GROUP);
    }
    if others.into_iter().any(|ty| attrs.has(ty)) {
        return refuse(ext, "No other attributes can be set in nexthop groups");
    }
    let mut resilient = (ty == RESILIENT).then(ResilientConfig::default);
    if let (Some(config), Some(attr)) = (&mut resilient, attrs.get(NHA_RES_GROUP)) {
        let inner = read(attr.nested(), RES_GROUP, ext)?;
        config.buckets = inner.get(1).and_then(|attr| attr.u16());
        if config.buckets == Some(0) {
            return refuse(ext, "Number of buckets needs to be non-0");
        }
        config.idle_timer = inner.u32(2);
        config.unbalanced_timer = inner.u32(3);
    }
    Ok(GroupConfig { members, resilient })
}

/// A request that names one object: its id, and the operation flags.
pub(super) fn by_id(request: &Request<'_>, ext: &mut ExtAck, shape: &Shape) -> Result<(u32, u32), Errno> {
    let Some(header) = request.msg.payload().first_chunk::<HEADER_LEN>() else {
        return refuse(ext, "Invalid header length");
    };
    let attrs = read(request.msg.attrs(HEADER_LEN), shape, ext)?;
    Ok((id_of(header, &attrs, ext)?, attrs.u32(NHA_OP_FLAGS).unwrap_or(0)))
}

/// The id in a request whose header says nothing but a family (`__nh_valid_get_del_req`).
pub(super) fn id_of(header: &[u8; HEADER_LEN], attrs: &Table<'_>, ext: &mut ExtAck) -> Result<u32, Errno> {
    if header[1..].iter().any(|&byte| byte != 0) {
        return refuse(ext, "Invalid values in header");
    }
    match attrs.u32(NHA_ID) {
        None => refuse(ext, "Nexthop id is missing"),
        Some(0) => refuse(ext, "Invalid nexthop id"),
        Some(id) => Ok(id),
    }
}

/// A device index in a listing's request; negative ones do not exist, 0 asks for none in particular.
pub(super) fn index(attrs: &Table<'_>, ty: u16, text: &'static str, ext: &mut ExtAck) -> Result<Option<u32>, Errno> {
    match attrs.u32(ty) {
        Some(index) if index > i32::MAX as u32 => refuse(ext, text),
        index => Ok(index.filter(|index| *index != 0)),
    }
}

/// A request for a listing.
pub(super) fn dump(request: &Request<'_>, ext: &mut ExtAck) -> Result<(NexthopFilter, u32), Errno> {
    let Some(header) = request.msg.payload().first_chunk::<HEADER_LEN>() else {
        return refuse(ext, "Invalid header length");
    };
    let attrs = read(request.msg.attrs(HEADER_LEN), DUMP, ext)?;
    let filter = NexthopFilter {
        oif: index(&attrs, NHA_OIF, "Invalid device index", ext)?,
        master: index(&attrs, NHA_MASTER, "Invalid master device index", ext)?,
        groups: attrs.has(NHA_GROUPS),
        fdb: attrs.has(NHA_FDB),
        family: match i32::from(header[0]) {
            AF_INET => Some(Family::Inet),
            AF_INET6 => Some(Family::Inet6),
            _ => None,
        },
    };
    if header[1..].iter().any(|&byte| byte != 0) {
        return refuse(ext, "Invalid values in header for nexthop dump request");
    }
    Ok((filter, attrs.u32(NHA_OP_FLAGS).unwrap_or(0)))
}
