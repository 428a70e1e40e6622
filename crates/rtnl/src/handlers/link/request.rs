//! What a RTM_GETLINK request may contain, and how it is read.

use pernet_wire::uapi::IFLA_LINKINFO;
use pernet_wire::{Attr, AttrTable, Attrs, Errno, ExtAck, Kind, Msg, Policy, Strictness, parse_nested};

/// Bytes of `struct ifinfomsg`: family, pad, type (16 bits), index, flags, change mask.
pub(super) const IFINFOMSG_LEN: usize = 16;
/// Bytes of `struct rtgenmsg`, what some programs send in place of it.
const RTGENMSG_LEN: usize = 1;

/// Leave out the counters that are costly to collect (`RTEXT_FILTER_SKIP_STATS`).
pub(super) const SKIP_STATS: u32 = 8;

/// Attributes that Linux knows in replies and refuses in requests as if they did not exist.
const UNSUPPORTED: [u16; 2] = [65, 66];
/// Their complaint.
const UNSUPPORTED_TEXT: &str = "Unsupported attribute";

const ADDRESS: Option<Kind> = Some(Kind::Binary { min: 0, max: 32 });
const ANY: Option<Kind> = Some(Kind::Any);
const U8: Option<Kind> = Some(Kind::U8);
const U32: Option<Kind> = Some(Kind::U32);
const S32: Option<Kind> = Some(Kind::S32);
const NEST: Option<Kind> = Some(Kind::Nested);
const REJECT: Option<Kind> = Some(Kind::Reject);
/// Offload sizes must leave room for headers.
const OFFLOAD_SIZE: Option<Kind> = Some(Kind::U32Range { min: 193, max: u32::MAX });

/// `ifla_policy` of Linux 6.18, taken from what it answers to attributes of every length.
pub(super) const POLICY: Policy = Policy(&[
    None,
    ADDRESS,                                        // 1 ADDRESS
    ADDRESS,                                        // 2 BROADCAST
    Some(Kind::String { max: 15 }),                 // 3 IFNAME
    U32,                                            // 4 MTU
    U32,                                            // 5 LINK
    ANY,                                            // 6 QDISC
    ANY,                                            // 7 STATS
    ANY,                                            // 8 COST
    ANY,                                            // 9 PRIORITY
    U32,                                            // 10 MASTER
    ANY,                                            // 11 WIRELESS
    ANY,                                            // 12 PROTINFO
    U32,                                            // 13 TXQLEN
    Some(Kind::MinLen { min: 32 }),                 // 14 MAP
    U32,                                            // 15 WEIGHT
    U8,                                             // 16 OPERSTATE
    U8,                                             // 17 LINKMODE
    NEST,                                           // 18 LINKINFO
    U32,                                            // 19 NET_NS_PID
    Some(Kind::Binary { min: 0, max: 255 }),        // 20 IFALIAS
    ANY,                                            // 21 NUM_VF
    NEST,                                           // 22 VFINFO_LIST
    ANY,                                            // 23 STATS64
    NEST,                                           // 24 VF_PORTS
    NEST,                                           // 25 PORT_SELF
    NEST,                                           // 26 AF_SPEC
    U32,                                            // 27 GROUP
    U32,                                            // 28 NET_NS_FD
    U32,                                            // 29 EXT_MASK
    U32,                                            // 30 PROMISCUITY
    U32,                                            // 31 NUM_TX_QUEUES
    U32,                                            // 32 NUM_RX_QUEUES
    U8,                                             // 33 CARRIER
    ADDRESS,                                        // 34 PHYS_PORT_ID
    U32,                                            // 35 CARRIER_CHANGES
    ADDRESS,                                        // 36 PHYS_SWITCH_ID
    S32,                                            // 37 LINK_NETNSID
    ANY,                                            // 38 PHYS_PORT_NAME
    U8,                                             // 39 PROTO_DOWN
    U32,                                            // 40 GSO_MAX_SEGS
    OFFLOAD_SIZE,                                   // 41 GSO_MAX_SIZE
    ANY,                                            // 42 PAD
    NEST,                                           // 43 XDP
    U32,                                            // 44 EVENT
    ANY,                                            // 45 NEW_NETNSID
    S32,                                            // 46 TARGET_NETNSID
    U32,                                            // 47 CARRIER_UP_COUNT
    U32,                                            // 48 CARRIER_DOWN_COUNT
    Some(Kind::S32Range { min: 1, max: i32::MAX }), // 49 NEW_IFINDEX
    U32,                                            // 50 MIN_MTU
    U32,                                            // 51 MAX_MTU
    NEST,                                           // 52 PROP_LIST
    Some(Kind::String { max: 127 }),                // 53 ALT_IFNAME
    REJECT,                                         // 54 PERM_ADDRESS
    NEST,                                           // 55 PROTO_DOWN_REASON
    Some(Kind::NulString { max: 0 }),               // 56 PARENT_DEV_NAME
    ANY,                                            // 57 PARENT_DEV_BUS_NAME
    U32,                                            // 58 GRO_MAX_SIZE
    REJECT,                                         // 59 TSO_MAX_SIZE
    REJECT,                                         // 60 TSO_MAX_SEGS
    REJECT,                                         // 61 ALLMULTI
    ANY,                                            // 62 DEVLINK_PORT
    OFFLOAD_SIZE,                                   // 63 GSO_IPV4_MAX_SIZE
    U32,                                            // 64 GRO_IPV4_MAX_SIZE
    ANY,                                            // 65 DPLL_PIN, see UNSUPPORTED
    ANY,                                            // 66 MAX_PACING_OFFLOAD_HORIZON, see UNSUPPORTED
    REJECT,                                         // 67 NETNS_IMMUTABLE
    REJECT,                                         // 68 HEADROOM
    REJECT,                                         // 69 TAILROOM
]);

/// The fields of an `ifinfomsg`.
#[derive(Clone, Copy)]
pub(super) struct IfInfo {
    /// Device asked for; 0 for none.
    pub(super) index: i32,
    /// `ifi_flags`.
    pub(super) flags: u32,
    /// `ifi_change`: which of them.
    pub(super) change: u32,
    /// Whether every byte but family and index is zero.
    pub(super) rest_is_zero: bool,
}

impl IfInfo {
    /// Reads the header; `None` if the message is too short for one.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let header: &[u8; IFINFOMSG_LEN] = payload.first_chunk()?;
        let index = i32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        let rest_is_zero = header[1..4].iter().chain(&header[8..]).all(|&b| b == 0);
        let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        Some(Self { index, flags: word(8), change: word(12), rest_is_zero })
    }
}

/// Reads the attributes behind `body_len` bytes by the link policy.
pub(super) fn attributes<'a>(
    msg: &Msg<'a>,
    body_len: usize,
    how: Strictness,
    ext: &mut ExtAck,
) -> Result<AttrTable<'a>, Errno> {
    judge(msg.attrs(body_len), how, ext)
}

/// Reads attributes inside of another one, in the legacy way.
pub(super) fn nested_attributes<'a>(attrs: Attrs<'a>, ext: &mut ExtAck) -> Result<AttrTable<'a>, Errno> {
    judge(attrs, Strictness::Legacy, ext)
}

fn judge<'a>(mut attrs: Attrs<'a>, how: Strictness, ext: &mut ExtAck) -> Result<AttrTable<'a>, Errno> {
    let table = parse_nested(attrs.clone(), &POLICY, how, ext);
    // Attributes are judged in their order: whichever is wrong first is complained about.
    let first = attrs.find(|a| UNSUPPORTED.contains(&a.ty));
    let earlier = match (&table, ext.offset) {
        (Err(_), Some(offset)) => first.filter(|a| a.offset < offset),
        _ => first,
    };
    match earlier {
        Some(attr) => {
            ext.set_msg_attr(UNSUPPORTED_TEXT, &attr);
            Err(Errno::EINVAL)
        }
        None => table,
    }
}

/// The length of the header that a dump request in the legacy form has: a full `ifinfomsg`, or if the message is too
/// short for that, the one byte of a `rtgenmsg`.
pub(super) fn legacy_header_len(payload: &[u8]) -> usize {
    if payload.len() < IFINFOMSG_LEN { RTGENMSG_LEN } else { IFINFOMSG_LEN }
}

/// The string in an attribute, up to its NUL; `None` if no device can have such a name.
pub(super) fn name<'a>(attr: &Attr<'a>) -> Option<&'a str> {
    std::str::from_utf8(attr.str_bytes()).ok()
}

/// The last attribute of type `ty` inside of `IFLA_LINKINFO`.
pub(super) fn info<'a>(attrs: &AttrTable<'a>, ty: u16) -> Option<Attr<'a>> {
    attrs.get(IFLA_LINKINFO)?.nested().filter(|a| a.ty == ty).last()
}
