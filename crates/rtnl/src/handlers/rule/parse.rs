//! What requests about rules may contain, and how they are read.

use std::net::IpAddr;

use pernet_stack::{Action, Family, IfName, PortRange, Rule, RuleNet};
use pernet_wire::uapi::*;
use pernet_wire::{Attr, AttrTable, Errno, ExtAck, Kind, Policy, PolicyTlv, Strictness, parse};

use super::HEADER_LEN;
use crate::handlers::Request;
use crate::handlers::refuse;

const U8: Option<Kind> = Some(Kind::U8);
const U32: Option<Kind> = Some(Kind::U32);
const NAME: Option<Kind> = Some(Kind::String { max: 15 });

/// `fib_rule_policy`; the types behind are judged by [`NEWER`].
const POLICY: Policy = Policy(&[
    None,
    None,                          // 1 DST
    None,                          // 2 SRC
    NAME,                          // 3 IIFNAME
    U32,                           // 4 GOTO
    None,                          // 5
    U32,                           // 6 PRIORITY
    None,                          // 7
    None,                          // 8
    None,                          // 9
    U32,                           // 10 FWMARK
    U32,                           // 11 FLOW
    Some(Kind::U64),               // 12 TUN_ID
    U32,                           // 13 SUPPRESS_IFGROUP
    U32,                           // 14 SUPPRESS_PREFIXLEN
    U32,                           // 15 TABLE
    U32,                           // 16 FWMASK
    NAME,                          // 17 OIFNAME
    None,                          // 18
    U8,                            // 19 L3MDEV
    Some(Kind::MinLen { min: 8 }), // 20 UID_RANGE
    U8,                            // 21 PROTOCOL
    U8,                            // 22 IP_PROTO
    Some(Kind::MinLen { min: 4 }), // 23 SPORT_RANGE
    Some(Kind::MinLen { min: 4 }), // 24 DPORT_RANGE
    None,                          // 25 DSCP
    None,                          // 26 FLOWLABEL
    None,                          // 27 FLOWLABEL_MASK
    None,                          // 28 SPORT_MASK
    None,                          // 29 DPORT_MASK
    None,                          // 30 DSCP_MASK
]);

/// Newer types, whose length must be right to the byte: type, length, description.
const NEWER: [(u16, usize, Option<PolicyTlv>); 6] = [
    (FRA_DSCP, 1, Some(PolicyTlv::new(NL_ATTR_TYPE_U8).unsigned(0, 0x3f))),
    (FRA_FLOWLABEL, 4, None),
    (FRA_FLOWLABEL_MASK, 4, None),
    (FRA_SPORT_MASK, 2, Some(PolicyTlv::new(NL_ATTR_TYPE_U16).unsigned(0, 0xffff))),
    (FRA_DPORT_MASK, 2, Some(PolicyTlv::new(NL_ATTR_TYPE_U16).unsigned(0, 0xffff))),
    (FRA_DSCP_MASK, 1, None),
];
const MAX_DSCP: u8 = 0x3f;

/// Largest flow label.
const MAX_FLOW_LABEL: u32 = 0xf_ffff;

/// What was asked for.
pub(super) struct Asked {
    pub(super) rule: Rule,
    /// A preference was given, were it 0.
    pub(super) has_pref: bool,
}

fn refuse_at<T>(ext: &mut ExtAck, text: &'static str, attr: &Attr<'_>) -> Result<T, Errno> {
    ext.set_msg_attr(text, attr);
    Err(Errno::EINVAL)
}

fn attributes<'a>(request: &Request<'a>, ext: &mut ExtAck) -> Result<AttrTable<'a>, Errno> {
    let table = parse(&request.msg, HEADER_LEN, &POLICY, Strictness::Legacy, ext);
    let wrong = |attr: &Attr<'_>| {
        let newer = NEWER.iter().find(|(ty, ..)| *ty == attr.ty);
        newer.is_some_and(|(ty, len, _)| {
            attr.payload.len() != *len || *ty == FRA_DSCP && attr.u8().is_some_and(|dscp| dscp > MAX_DSCP)
        })
    };
    let first = request.msg.attrs(HEADER_LEN).find(wrong);
    let first = first.filter(|attr| table.is_ok() || ext.offset.is_some_and(|offset| attr.offset < offset));
    let result = match first {
        Some(attr) => {
            ext.set_bad(&attr);
            ext.policy = NEWER.iter().find(|(ty, ..)| *ty == attr.ty).and_then(|(.., policy)| *policy);
            // Too large is another fault than too long.
            Err(if attr.payload.len() == 1 && attr.ty == FRA_DSCP { Errno::ERANGE } else { Errno::EINVAL })
        }
        None => table,
    };
    result.inspect_err(|_| ext.set_msg("Error parsing msg"))
}

/// Header and attributes as a rule (`fib_nl2rule`).
pub(super) fn rule(request: &Request<'_>, ext: &mut ExtAck, new: bool) -> Result<Asked, Errno> {
    let Some(header) = request.msg.payload().first_chunk::<HEADER_LEN>() else {
        return refuse(ext, "Invalid msg length");
    };
    let [family, dst_len, src_len, tos, table, _, _, action, a, b, c, d] = *header;
    let family = match i32::from(family) {
        AF_INET => Family::Inet,
        AF_INET6 => Family::Inet6,
        _ => {
            ext.set_msg("Rule family not supported");
            return Err(Errno::EAFNOSUPPORT);
        }
    };
    let attrs = attributes(request, ext)?;
    let mut rule = Rule::new(family);
    rule.src = net(&attrs, FRA_SRC, src_len, family, "Invalid source address", ext)?;
    rule.dst = net(&attrs, FRA_DST, dst_len, family, "Invalid dst address", ext)?;
    rule.flags = u32::from_ne_bytes([a, b, c, d]);
    rule.action = Action(action);
    let number = |ty| attrs.get(ty).and_then(|attr| attr.u32());
    let byte = |ty| attrs.get(ty).and_then(|attr| attr.u8());
    rule.table = number(FRA_TABLE).filter(|table| *table != 0).unwrap_or_else(|| table.into());
    rule.pref = number(FRA_PRIORITY).unwrap_or(0);
    rule.protocol = byte(FRA_PROTOCOL).unwrap_or(0);
    rule.iif = name(&attrs, FRA_IIFNAME);
    rule.oif = name(&attrs, FRA_OIFNAME);
    rule.mark = number(FRA_FWMARK).unwrap_or(0);
    // A mark alone counts in all its bits.
    let all = if rule.mark != 0 { u32::MAX } else { 0 };
    rule.mark_mask = number(FRA_FWMASK).unwrap_or(all);
    rule.tun_id = attrs.get(FRA_TUN_ID).and_then(|attr| attr.u64()).map_or(0, u64::from_be);
    rule.suppress_prefixlen = number(FRA_SUPPRESS_PREFIXLEN).filter(|len| *len != u32::MAX);
    rule.suppress_group = number(FRA_SUPPRESS_IFGROUP).filter(|group| *group != u32::MAX);
    rule.ip_proto = byte(FRA_IP_PROTO).unwrap_or(0);
    if let Some(l3mdev) = byte(FRA_L3MDEV) {
        if l3mdev != 1 {
            return refuse(ext, "Invalid l3mdev attribute");
        }
        rule.l3mdev = true;
    }
    goto(&mut rule, number(FRA_GOTO), new, ext)?;
    if rule.l3mdev && rule.table != 0 {
        return refuse(ext, "l3mdev and table are mutually exclusive");
    }
    uids(&mut rule, &attrs, ext)?;
    rule.sport = ports(&attrs, FRA_SPORT_RANGE, FRA_SPORT_MASK, "Invalid sport range", ext)?;
    rule.dport = ports(&attrs, FRA_DPORT_RANGE, FRA_DPORT_MASK, "Invalid dport range", ext)?;
    service(&mut rule, &attrs, tos, ext)?;
    flow_label(&mut rule, &attrs, ext)?;
    if family == Family::Inet {
        rule.realms = number(FRA_FLOW).unwrap_or(0);
    }
    Ok(Asked { rule, has_pref: number(FRA_PRIORITY).is_some() })
}

fn name(attrs: &AttrTable<'_>, ty: u16) -> Option<IfName> {
    let attr = attrs.get(ty)?;
    let name = std::str::from_utf8(attr.str_bytes()).ok()?;
    IfName::new(name).ok()
}

fn net(
    attrs: &AttrTable<'_>,
    ty: u16,
    len: u8,
    family: Family,
    text: &'static str,
    ext: &mut ExtAck,
) -> Result<Option<RuleNet>, Errno> {
    // Without length an address says nothing.
    if len == 0 {
        return Ok(None);
    }
    let address = attrs.get(ty).and_then(|attr| match family {
        Family::Inet => <[u8; 4]>::try_from(attr.payload).ok().map(IpAddr::from),
        Family::Inet6 => <[u8; 16]>::try_from(attr.payload).ok().map(IpAddr::from),
    });
    match address {
        Some(address) if len <= family.bits() => Ok(Some(RuleNet { address, len })),
        _ => refuse(ext, text),
    }
}

fn goto(rule: &mut Rule, target: Option<u32>, new: bool, ext: &mut ExtAck) -> Result<(), Errno> {
    match target {
        Some(_) if rule.action != Action::GOTO => refuse(ext, "Unexpected goto"),
        Some(target) => {
            rule.goto = target;
            Ok(())
        }
        None if rule.action == Action::GOTO && new => refuse(ext, "Missing goto target for action goto"),
        None => Ok(()),
    }
}

fn uids(rule: &mut Rule, attrs: &AttrTable<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let Some(attr) = attrs.get(FRA_UID_RANGE) else { return Ok(()) };
    let [first, last] = [0, 4].map(|at| attr.payload.get(at..).and_then(|rest| rest.first_chunk().copied()));
    let (first, last) = (u32::from_ne_bytes(first.unwrap_or_default()), u32::from_ne_bytes(last.unwrap_or_default()));
    if first == u32::MAX || last == u32::MAX || first > last {
        return refuse(ext, "Invalid uid range");
    }
    rule.uids = Some((first, last));
    Ok(())
}

fn ports(
    attrs: &AttrTable<'_>,
    range: u16,
    mask: u16,
    text: &'static str,
    ext: &mut ExtAck,
) -> Result<Option<PortRange>, Errno> {
    let mask = attrs.get(mask);
    let Some(attr) = attrs.get(range) else {
        return match mask {
            Some(mask) => refuse_at(ext, "Cannot specify port mask without port value", &mask),
            None => Ok(None),
        };
    };
    let [a, b, c, d] = attr.payload.first_chunk().copied().unwrap_or_default();
    let (start, end) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
    if start == 0 || end == u16::MAX || start > end {
        return refuse(ext, text);
    }
    let Some((attr, bits)) = mask.and_then(|mask| Some((mask, mask.u16()?))) else {
        return Ok(Some(PortRange { start, end, mask: (start == end).then_some(u16::MAX) }));
    };
    if start != end {
        return refuse_at(ext, "Cannot specify port mask for port range", &attr);
    }
    if start & !bits != 0 {
        return refuse_at(ext, "Invalid port mask", &attr);
    }
    Ok(Some(PortRange { start, end, mask: Some(bits) }))
}

/// Type of service and DSCP, which are two words for the same.
fn service(rule: &mut Rule, attrs: &AttrTable<'_>, tos: u8, ext: &mut ExtAck) -> Result<(), Errno> {
    /// The bits of the type of service that IPv4 rules knew before there was DSCP.
    const OLD_TOS: u8 = 0x1c;
    if tos & 3 != 0 {
        return refuse(ext, "Invalid dsfield (tos): ECN bits must be 0");
    }
    if rule.family == Family::Inet && tos & !OLD_TOS != 0 {
        return refuse(ext, "Invalid tos");
    }
    rule.tos = tos;
    let dscp = attrs.get(FRA_DSCP).and_then(|attr| attr.u8());
    if dscp.is_some() && tos != 0 {
        return refuse(ext, "Cannot specify both TOS and DSCP");
    }
    let mask = attrs.get(FRA_DSCP_MASK);
    match (dscp, mask) {
        (None, Some(mask)) => refuse_at(ext, "Cannot specify DSCP mask without DSCP value", &mask),
        (Some(dscp), Some(attr)) => {
            let bits = attr.u8().unwrap_or(0) & MAX_DSCP;
            if dscp & !bits != 0 {
                return refuse_at(ext, "Invalid DSCP mask", &attr);
            }
            rule.dscp = Some((dscp, bits));
            Ok(())
        }
        (dscp, None) => {
            rule.dscp = dscp.map(|dscp| (dscp, MAX_DSCP));
            Ok(())
        }
    }
}

fn flow_label(rule: &mut Rule, attrs: &AttrTable<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let number = |ty| attrs.get(ty).and_then(|attr| attr.u32()).map(u32::from_be);
    let (label, mask) = (number(FRA_FLOWLABEL), number(FRA_FLOWLABEL_MASK));
    if rule.family == Family::Inet {
        if label.is_some() || mask.is_some() {
            return refuse(ext, "Flow label cannot be specified for IPv4 FIB rules");
        }
        return Ok(());
    }
    match (label, mask) {
        (None, None) => Ok(()),
        (Some(label), Some(mask)) if mask <= MAX_FLOW_LABEL && label & !mask == 0 => {
            rule.flow_label = Some((label, mask));
            Ok(())
        }
        (Some(_), Some(_)) => refuse(ext, "Flow label and mask do not match"),
        (label, _) => {
            let missing = if label.is_some() { FRA_FLOWLABEL_MASK } else { FRA_FLOWLABEL };
            ext.miss_type = Some(missing.into());
            Err(Errno::EINVAL)
        }
    }
}
