//! What messages about neighbours may contain. Attributes that came to Linux late are judged strictly whatever the rest.

use pernet_wire::uapi::*;
use pernet_wire::{Attr, AttrTable, Errno, ExtAck, Kind, Msg, Policy, PolicyTlv, Strictness, parse};

const ADDRESS: Option<Kind> = Some(Kind::Binary { min: 0, max: 32 });
const ANY: Option<Kind> = Some(Kind::Any);
const U16: Option<Kind> = Some(Kind::U16);
const U32: Option<Kind> = Some(Kind::U32);

/// `nda_policy` of Linux 6.18, taken from what it answers to attributes of every length.
const POLICY: Policy = Policy(&[
    None,
    ADDRESS,                        // 1 DST
    ADDRESS,                        // 2 LLADDR
    Some(Kind::MinLen { min: 16 }), // 3 CACHEINFO
    U32,                            // 4 PROBES
    U16,                            // 5 VLAN
    U16,                            // 6 PORT
    U32,                            // 7 VNI
    U32,                            // 8 IFINDEX
    U32,                            // 9 MASTER
    ANY,                            // 10 LINK_NETNSID
    ANY,                            // 11 SRC_VNI
    Some(Kind::U8),                 // 12 PROTOCOL
    ANY,                            // 13 NH_ID, see strict()
    ANY,                            // 14 FDB_EXT_ATTRS
    ANY,                            // 15 FLAGS_EXT
    ANY,                            // 16 NDM_STATE_MASK
    ANY,                            // 17 NDM_FLAGS_MASK
]);

/// The bits of `NDA_FLAGS_EXT` that there are: managed, externally validated.
const FLAGS_EXT: u64 = 0x5;

/// Reads the attributes behind `body_len` bytes.
pub(super) fn attributes<'a>(
    msg: &Msg<'a>,
    body_len: usize,
    how: Strictness,
    ext: &mut ExtAck,
) -> Result<AttrTable<'a>, Errno> {
    let table = parse(msg, body_len, &POLICY, how, ext);
    // Attributes are judged in their order: whichever is wrong first is complained about.
    let late = msg.attrs(body_len).find_map(|attr| strict(&attr).map(|complaint| (attr, complaint)));
    let earlier = match (&table, ext.offset) {
        (Err(_), Some(offset)) => late.filter(|(attr, _)| attr.offset < offset),
        _ => late,
    };
    match earlier {
        Some((attr, (text, policy))) => {
            ext.set_msg_attr(text, &attr);
            ext.policy = policy;
            Err(Errno::EINVAL)
        }
        None => table,
    }
}

/// What is wrong with an attribute of the late ones.
fn strict(attr: &Attr<'_>) -> Option<(&'static str, Option<PolicyTlv>)> {
    const LENGTH: &str = "invalid attribute length";
    let whole = PolicyTlv::new(NL_ATTR_TYPE_U32);
    match attr.ty {
        NDA_NH_ID if attr.payload.len() != 4 => Some((LENGTH, Some(whole.unsigned(0, u32::MAX.into())))),
        NDA_FDB_EXT_ATTRS if attr.raw_ty & NLA_F_NESTED == 0 => {
            Some(("NLA_F_NESTED is missing", Some(PolicyTlv::new(NL_ATTR_TYPE_NESTED))))
        }
        NDA_FLAGS_EXT if attr.payload.len() != 4 => Some((LENGTH, Some(PolicyTlv { mask: Some(FLAGS_EXT), ..whole }))),
        NDA_FLAGS_EXT if u64::from(attr.u32()?) & !FLAGS_EXT != 0 => Some(("reserved bit set", None)),
        16 | 17 => Some(("Unsupported attribute", None)),
        _ => None,
    }
}
