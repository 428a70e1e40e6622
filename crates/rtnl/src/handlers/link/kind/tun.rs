//! tun and tap: requests only look at them.

use pernet_stack::{Tun, tun_flag};
use pernet_wire::Builder;

/// `tun_fill_info`.
pub(super) fn fill(out: &mut Builder, tun: &Tun) {
    const OWNER: u16 = 1;
    const GROUP: u16 = 2;
    const TYPE: u16 = 3;
    const PI: u16 = 4;
    const VNET_HDR: u16 = 5;
    const PERSIST: u16 = 6;
    const MULTI_QUEUE: u16 = 7;
    const QUEUES: u16 = 8;
    const DISABLED: u16 = 9;
    let is = |flag| u8::from(tun.is(flag));
    out.put_u8(TYPE, if tun.is(tun_flag::TUN) { 1 } else { 2 });
    if let Some(owner) = tun.owner {
        out.put_u32(OWNER, owner);
    }
    if let Some(group) = tun.group {
        out.put_u32(GROUP, group);
    }
    out.put_u8(PI, 1 - is(tun_flag::NO_PI))
        .put_u8(VNET_HDR, is(tun_flag::VNET_HDR))
        .put_u8(PERSIST, is(tun_flag::PERSIST))
        .put_u8(MULTI_QUEUE, is(tun_flag::MULTI_QUEUE));
    if tun.is(tun_flag::MULTI_QUEUE) {
        out.put_u32(QUEUES, tun.queues).put_u32(DISABLED, tun.disabled);
    }
}
