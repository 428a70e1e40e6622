//! macvlan and macvtap: further addresses of a device.

use pernet_stack::{HwAddr, Macvlan, MacvlanChange};
use pernet_wire::{Attr, Builder, Errno, ExtAck, Kind, Policy, Strictness, parse_nested};

const MODE: u16 = 1;
const FLAGS: u16 = 2;
const SOURCE_MODE: u16 = 3;
const SOURCE: u16 = 4;
const SOURCES: u16 = 5;
const COUNT: u16 = 6;
const QUEUE_LEN: u16 = 7;
const QUEUE_LEN_USED: u16 = 8;
const SOURCE_ONLY: u32 = 16;
const POLICY: Policy = Policy(&[
    None,
    Some(Kind::U32),
    Some(Kind::U16),
    Some(Kind::U32),
    Some(Kind::Binary { min: 0, max: 32 }),
    Some(Kind::Nested),
    Some(Kind::U32),
    Some(Kind::U32),
    Some(Kind::Reject),
    Some(Kind::U32),
]);

pub(super) fn read(data: Option<&Attr<'_>>, ext: &mut ExtAck) -> Result<MacvlanChange, Errno> {
    let Some(data) = data else { return Ok(MacvlanChange::default()) };
    let attrs = parse_nested(data.nested(), &POLICY, Strictness::Legacy, ext)?;
    let listed = attrs.get(SOURCES);
    let listed = listed.iter().flat_map(|a| a.nested()).filter(|a| a.ty == SOURCE);
    let single = attrs.get(SOURCE);
    let mut sources = Vec::new();
    for attr in listed.chain(single) {
        let address =
            HwAddr::new(attr.payload).filter(|a| a.as_bytes().len() == 6 && !a.is_multicast() && !a.is_zero());
        sources.push(address.ok_or(Errno::EADDRNOTAVAIL)?);
    }
    let word = |ty| attrs.get(ty).and_then(|a: Attr<'_>| a.u32());
    Ok(MacvlanChange {
        mode: word(MODE),
        flags: attrs.get(FLAGS).and_then(|a| a.u16()),
        bc_queue_len: word(QUEUE_LEN),
        source_mode: word(SOURCE_MODE),
        sources,
    })
}

/// `macvlan_fill_info`.
pub(super) fn fill(out: &mut Builder, macvlan: &Macvlan) {
    out.put_u32(MODE, macvlan.mode)
        .put_u16(FLAGS, macvlan.flags)
        .put_u32(COUNT, u32::try_from(macvlan.sources.len()).unwrap_or(u32::MAX));
    if macvlan.mode == SOURCE_ONLY {
        out.nest(SOURCES, |list| {
            for source in &macvlan.sources {
                list.put(SOURCE, source.as_bytes());
            }
        });
    }
    out.put_u32(QUEUE_LEN, macvlan.bc_queue_len).put_u32(QUEUE_LEN_USED, macvlan.bc_queue_len);
}
