//! bridge: settings of a switch and of its ports.

use pernet_stack::{Bridge, BridgeChange, BridgePort, BridgePortChange, KindData, Link, Links};
use pernet_wire::{Attr, Builder, Errno, ExtAck, Kind, Policy, Strictness, parse_nested};

const U8: Option<Kind> = Some(Kind::U8);
const U16: Option<Kind> = Some(Kind::U16);
const U32: Option<Kind> = Some(Kind::U32);
const U64: Option<Kind> = Some(Kind::U64);
const FLAG: Option<Kind> = Some(Kind::Flag);
const ANY: Option<Kind> = Some(Kind::Any);
/// Two words.
const PAIR: Option<Kind> = Some(Kind::MinLen { min: 8 });
const MAC: Option<Kind> = Some(Kind::MinLen { min: 6 });

/// `br_policy`.
const POLICY: Policy = Policy(&[
    None, U32, U32, U32, U32, U32, U16, U8, U16, U16, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, MAC, ANY, U8,
    U8, U8, U8, U32, U32, U32, U32, U64, U64, U64, U64, U64, U64, U8, U8, U8, U16, ANY, U8, U8, U8, U8, ANY, PAIR, ANY,
    ANY, U32,
]);

/// `br_port_policy`.
pub(in super::super) const PORT_POLICY: Policy = Policy(&[
    None, U8, U16, U32, U8, U8, U8, U8, U8, U8, U8, U8, U8, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY,
    FLAG, U8, ANY, U8, U8, U8, U8, U16, U8, U8, U32, ANY, ANY, U32, ANY, U8, U8, ANY, U32, U8,
]);

/// `IFLA_BRPORT_STATE`.
pub(in super::super) const PORT_STATE: u16 = 1;
const GROUP_ADDR: u16 = 20;
const BOOLOPT: u16 = 46;

/// The value of an attribute by its length: the policy has seen to it that it is long enough.
fn value(attr: &Attr<'_>, policy: &Policy) -> Option<u64> {
    match policy.0.get(usize::from(attr.ty))? {
        Some(Kind::U8) => attr.u8().map(u64::from),
        Some(Kind::U16) => attr.u16().map(u64::from),
        Some(Kind::U32) => attr.u32().map(u64::from),
        Some(Kind::U64) => attr.u64(),
        _ => None,
    }
}

pub(super) fn read(data: Option<&Attr<'_>>, ext: &mut ExtAck) -> Result<BridgeChange, Errno> {
    let Some(data) = data else { return Ok(BridgeChange::default()) };
    let attrs = parse_nested(data.nested(), &POLICY, Strictness::Legacy, ext)?;
    Ok(BridgeChange {
        settings: attrs.iter().filter_map(|a| Some((a.ty, value(&a, &POLICY)?))).collect(),
        group_address: attrs.get(GROUP_ADDR).and_then(|a| a.payload.first_chunk().copied()),
        bool_options: attrs.get(BOOLOPT).and_then(|a| {
            let pair = a.u64()?.to_ne_bytes();
            let word = |at: usize| u32::from_ne_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
            Some((word(0), word(4)))
        }),
    })
}

pub(in super::super) fn read_port(data: &Attr<'_>, ext: &mut ExtAck) -> Result<BridgePortChange, Errno> {
    let attrs = parse_nested(data.nested(), &PORT_POLICY, Strictness::Legacy, ext)?;
    let settings = attrs.iter().filter_map(|a| Some((a.ty, value(&a, &PORT_POLICY)?))).collect();
    Ok(BridgePortChange { settings })
}

/// `br_fill_info`. `now` is hundredths of a second on the stack's clock.
pub(super) fn fill(out: &mut Builder, bridge: &Bridge, now: u64) {
    // The table is looked through as often as addresses age.
    let gc = bridge.gc_since.map_or(0, |since| {
        let period = u64::from(bridge.ageing_time).max(1);
        period - now.saturating_sub(since) % period
    });
    let on = |number: u8| u8::from(bridge.is_on(number));
    // Hello, topology change notice, topology change; nothing of the kind is ever sent.
    out.put_u64(16, 0).put_u64(17, 0).put_u64(18, 0).put_u64(19, gc);
    out.put_u32(1, bridge.forward_delay)
        .put_u32(2, bridge.hello_time)
        .put_u32(3, bridge.max_age)
        .put_u32(4, bridge.ageing_time)
        .put_u32(5, bridge.stp_state)
        .put_u16(6, bridge.priority)
        .put_u8(7, 0)
        .put_u16(9, bridge.group_fwd_mask);
    // Every bridge believes itself to be the root.
    out.put(11, &bridge.id()).put(10, &bridge.id()).put_u16(12, 0).put_u32(13, 0).put_u8(14, 0).put_u8(15, 0);
    let options = [bridge.bool_options.to_ne_bytes(), 0x1f_u32.to_ne_bytes()].concat();
    out.put(GROUP_ADDR, &bridge.group_address)
        .put(BOOLOPT, &options)
        .put_u32(48, 0)
        .put_u32(49, bridge.fdb_max_learned)
        .put_u8(22, bridge.mcast_router)
        .put_u8(23, on(23))
        .put_u8(24, on(24))
        .put_u8(25, on(25))
        .put_u8(42, on(42))
        .put_u32(26, 16)
        .put_u32(27, bridge.mcast_hash_max)
        .put_u32(28, bridge.mcast_counts[0])
        .put_u32(29, bridge.mcast_counts[1])
        .put_u8(43, bridge.mcast_versions[0])
        .put_u8(44, bridge.mcast_versions[1]);
    for (number, &interval) in (30..).zip(&bridge.mcast_intervals) {
        out.put_u64(number, interval);
    }
    out.put_u8(36, on(36)).put_u8(37, on(37)).put_u8(38, on(38));
}

/// A bridge's identity, as its ports repeat it; zero if it is gone.
fn bridge_of(links: &Links, port: &Link) -> ([u8; 8], u32) {
    let master = port.master.and_then(|master| links.by_index(master));
    match master.as_deref().and_then(Link::data) {
        Some(KindData::Bridge(bridge)) => (bridge.id(), bridge.forward_delay),
        _ => ([0; 8], 0),
    }
}

/// `br_port_fill_attrs`.
pub(in super::super) fn fill_port(out: &mut Builder, links: &Links, link: &Link, port: &BridgePort, now: u64) {
    let (id, delay) = bridge_of(links, link);
    let on = |number: u16| u8::from(port.is_on(number));
    let waits = port.waits_since.map_or(0, |since| u64::from(delay).saturating_sub(now.saturating_sub(since)));
    out.put_u8(1, port.state as u8).put_u16(2, port.priority).put_u32(3, port.cost);
    for number in [4, 5, 6, 7, 28, 8, 9, 27, 30, 10, 12] {
        out.put_u8(number, on(number));
    }
    out.put(13, &id).put(14, &id);
    out.put_u16(15, port.id()).put_u16(16, 0).put_u16(17, port.id()).put_u16(18, port.number).put_u8(19, 0);
    out.put_u8(20, 0).put_u8(29, on(29)).put_u16(31, port.group_fwd_mask);
    for number in [32, 35, 36, 33, 39, 40, 43] {
        out.put_u8(number, on(number));
    }
    out.put_u64(21, 0).put_u64(22, waits).put_u64(23, 0);
    out.put_u8(25, port.mcast_router)
        .put_u32(37, port.mcast_hosts_limit)
        .put_u32(38, 0)
        .put_u32(41, 0)
        .put_u32(42, port.mcast_max_groups);
}
