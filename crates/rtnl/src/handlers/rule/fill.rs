//! Rules as messages (`fib_nl_fill_rule`).

use std::net::IpAddr;

use pernet_stack::{Family, PortRange, RuleNet, RuleView};
use pernet_wire::Builder;
use pernet_wire::uapi::*;

/// In the header's table for those that do not fit there.
const RT_TABLE_COMPAT: u8 = 252;

pub(super) fn rule(out: &mut Builder, view: &RuleView) {
    let rule = &view.rule;
    let family = match rule.family {
        Family::Inet => AF_INET,
        Family::Inet6 => AF_INET6,
    };
    let len = |net: Option<RuleNet>| net.map_or(0, |net| net.len);
    let table = u8::try_from(rule.table).unwrap_or(RT_TABLE_COMPAT);
    let [a, b, c, d] = view.flags.to_ne_bytes();
    out.put_raw(&[family as u8, len(rule.dst), len(rule.src), rule.tos, table, 0, 0, rule.action.0, a, b, c, d])
        .put_u32(FRA_TABLE, rule.table)
        .put_u32(FRA_SUPPRESS_PREFIXLEN, rule.suppress_prefixlen.unwrap_or(u32::MAX))
        .put_u8(FRA_PROTOCOL, rule.protocol);
    if let Some(name) = &rule.iif {
        out.put_str(FRA_IIFNAME, name.as_str());
    }
    if let Some(name) = &rule.oif {
        out.put_str(FRA_OIFNAME, name.as_str());
    }
    number(out, FRA_PRIORITY, rule.pref);
    number(out, FRA_FWMARK, rule.mark);
    number(out, FRA_FWMASK, rule.mark_mask);
    number(out, FRA_GOTO, rule.goto);
    if rule.tun_id != 0 {
        out.put(FRA_TUN_ID, &rule.tun_id.to_be_bytes());
    }
    if rule.l3mdev {
        out.put_u8(FRA_L3MDEV, 1);
    }
    if let Some((first, last)) = rule.uids {
        out.put(FRA_UID_RANGE, &[first.to_ne_bytes(), last.to_ne_bytes()].concat());
    }
    ports(out, FRA_SPORT_RANGE, FRA_SPORT_MASK, rule.sport);
    ports(out, FRA_DPORT_RANGE, FRA_DPORT_MASK, rule.dport);
    if rule.ip_proto != 0 {
        out.put_u8(FRA_IP_PROTO, rule.ip_proto);
    }
    if let Some(group) = rule.suppress_group {
        out.put_u32(FRA_SUPPRESS_IFGROUP, group);
    }
    if let Some((dscp, mask)) = rule.dscp {
        out.put_u8(FRA_DSCP, dscp).put_u8(FRA_DSCP_MASK, mask);
    }
    if let Some((label, mask)) = rule.flow_label {
        out.put(FRA_FLOWLABEL, &label.to_be_bytes()).put(FRA_FLOWLABEL_MASK, &mask.to_be_bytes());
    }
    net(out, FRA_DST, rule.dst);
    net(out, FRA_SRC, rule.src);
    number(out, FRA_FLOW, rule.realms);
}

fn number(out: &mut Builder, ty: u16, value: u32) {
    if value != 0 {
        out.put_u32(ty, value);
    }
}

fn ports(out: &mut Builder, range: u16, mask: u16, ports: Option<PortRange>) {
    if let Some(ports) = ports {
        out.put(range, &[ports.start.to_ne_bytes(), ports.end.to_ne_bytes()].concat());
        if let Some(bits) = ports.mask {
            out.put_u16(mask, bits);
        }
    }
}

fn net(out: &mut Builder, ty: u16, net: Option<RuleNet>) {
    match net.map(|net| net.address) {
        Some(IpAddr::V4(address)) => out.put(ty, &address.octets()),
        Some(IpAddr::V6(address)) => out.put(ty, &address.octets()),
        None => out,
    };
}

/// The one rule of a family of multicast routing, which is there from the beginning.
pub(super) fn multicast(out: &mut Builder, family: i32) {
    const RTNL_FAMILY_IPMR: i32 = 128;
    const RTPROT_KERNEL: u8 = 2;
    const LAST: u32 = 32_767;
    let table: u8 = if family == RTNL_FAMILY_IPMR { 253 } else { 254 };
    out.put_raw(&[family as u8, 0, 0, 0, table, 0, 0, 1, 0, 0, 0, 0])
        .put_u32(FRA_TABLE, table.into())
        .put_u32(FRA_SUPPRESS_PREFIXLEN, u32::MAX)
        .put_u8(FRA_PROTOCOL, RTPROT_KERNEL)
        .put_u32(FRA_PRIORITY, LAST);
}
