//! Nexthop objects as messages (`nh_fill_node`).

use std::net::IpAddr;

use pernet_stack::{BucketView, Family, NexthopGroup as Group, NexthopKind, NexthopView, Resilient};
use pernet_wire::Builder;
use pernet_wire::uapi::*;

/// In the answer's `NHA_OP_FLAGS`: weights are sixteen bits wide.
const WIDE_WEIGHTS: u32 = 1 << 31;
/// The request wants statistics of groups.
pub(super) const STATS: u32 = 1;
/// And those of the hardware.
pub(super) const HW_STATS: u32 = 2;

/// Header and attributes. `asked` are the request's operation flags, if it could have any.
pub(super) fn nexthop(out: &mut Builder, view: &NexthopView, asked: Option<u32>) {
    let nexthop = &view.nexthop;
    let family = match nexthop.family {
        None => 0,
        Some(Family::Inet) => AF_INET as u8,
        Some(Family::Inet6) => AF_INET6 as u8,
    };
    // Tunnels' ends are taken to be on a link.
    const RT_SCOPE_LINK: u8 = 253;
    let scope = match &nexthop.kind {
        NexthopKind::Hop { scope, .. } => *scope,
        NexthopKind::Fdb { .. } => RT_SCOPE_LINK,
        NexthopKind::Blackhole | NexthopKind::Group(_) => 0,
    };
    let [a, b, c, d] = view.flags.to_ne_bytes();
    out.put_raw(&[family, scope, nexthop.protocol, 0, a, b, c, d]).put_u32(NHA_ID, nexthop.id);
    if nexthop.is_fdb() {
        out.put_flag(NHA_FDB);
    }
    match &nexthop.kind {
        NexthopKind::Group(members) => group(out, members, asked.unwrap_or(0), view.unbalanced),
        NexthopKind::Blackhole => {
            out.put_flag(NHA_BLACKHOLE);
        }
        NexthopKind::Hop { oif, gateway: router, .. } => {
            out.put_u32(NHA_OIF, *oif);
            gateway(out, *router);
        }
        // IPv6 has an address for none, which is told.
        NexthopKind::Fdb { gateway: None } if nexthop.family == Some(Family::Inet6) => {
            out.put(NHA_GATEWAY, &[0; 16]);
        }
        NexthopKind::Fdb { gateway: end } => gateway(out, *end),
    }
}

fn gateway(out: &mut Builder, gateway: Option<IpAddr>) {
    match gateway {
        Some(IpAddr::V4(address)) => out.put(NHA_GATEWAY, &address.octets()),
        Some(IpAddr::V6(address)) => out.put(NHA_GATEWAY, &address.octets()),
        None => out,
    };
}

fn group(out: &mut Builder, group: &Group, asked: u32, unbalanced: u64) {
    let ty: u16 = group.resilient.is_some().into();
    // struct nexthop_grp: id, weight less one in two parts with a reserved field behind.
    let member = |id: u32, weight: u32| {
        let [low, high, ..] = weight.wrapping_sub(1).to_le_bytes();
        let [a, b, c, d] = id.to_ne_bytes();
        [a, b, c, d, low, high, 0, 0]
    };
    let members: Vec<u8> = group.members.iter().flat_map(|m| member(m.id, m.weight)).collect();
    out.put_u16(NHA_GROUP_TYPE, ty).put(NHA_GROUP, &members);
    if let Some(resilient) = &group.resilient {
        self::resilient(out, resilient, unbalanced);
    }
    if asked & (STATS | HW_STATS) != 0 {
        stats(out, group, asked);
    }
    out.put_u32(NHA_OP_FLAGS, WIDE_WEIGHTS);
}

fn resilient(out: &mut Builder, resilient: &Resilient, unbalanced: u64) {
    let buckets = u16::try_from(resilient.buckets.len()).unwrap_or(u16::MAX);
    out.nest_flagged(NHA_RES_GROUP, |nest| {
        nest.put_u16(1, buckets)
            .put_u32(2, resilient.idle_timer)
            .put_u32(3, resilient.unbalanced_timer)
            .put_u64(4, unbalanced);
    });
}

/// Packets by member: none was counted. The hardware, of which there is none, is not asked to.
fn stats(out: &mut Builder, group: &Group, asked: u32) {
    out.put_u32(NHA_HW_STATS_ENABLE, 0).nest_flagged(NHA_GROUP_STATS, |nest| {
        for member in &group.members {
            nest.nest_flagged(1, |entry| {
                entry.put_u32(1, member.id).put_u32(2, 0);
                if asked & HW_STATS != 0 {
                    entry.put_u32(3, 0);
                }
            });
        }
    });
}

/// A bucket of a resilient group (`nh_fill_res_bucket`).
pub(super) fn bucket(out: &mut Builder, bucket: &BucketView, protocol: u8) {
    out.put_raw(&[0, 0, protocol, 0, 0, 0, 0, 0]).put_u32(NHA_ID, bucket.group).nest_flagged(NHA_RES_BUCKET, |nest| {
        nest.put_u16(1, bucket.index).put_u32(3, bucket.nexthop).put_u64(2, bucket.idle);
    });
}
