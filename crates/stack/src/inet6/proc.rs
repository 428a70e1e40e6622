//! IPv6 in `/proc/net`.

use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::idev::BORN_GROUPS;
use super::route::{Route6, rtn};
use super::scope::{level, scope};
use super::show;
use crate::dev::IfFlags;
use crate::state::Ns;

fn hex(addr: Ipv6Addr) -> String {
    addr.octets().iter().fold(String::with_capacity(32), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// `if_inet6`: every address, with index, prefix length, scope and flags.
pub(crate) fn if_inet6(ns: Ns<'_>) -> String {
    let state = ns.state();
    let mut out = String::new();
    let Some(inet6) = state.peek_inet6() else { return out };
    for (&ifindex, idev) in &inet6.devs {
        let link = state.links.by_index(ifindex);
        let name = link.as_ref().map_or("", |link| link.name().as_str());
        for ifa in &idev.addrs {
            let flags = ifa.flags & 0xff;
            let class = match scope(ifa.addr) {
                level::HOST => 0x10,
                level::LINK => 0x20,
                level::SITE => 0x40,
                _ if ifa.addr.to_ipv4_mapped().is_none() && ifa.addr.segments()[..6] == [0; 6] => 0x80,
                _ => 0,
            };
            let _ = writeln!(
                out,
                "{} {ifindex:02x} {:02x} {class:02x} {flags:02x} {name:>8}",
                hex(ifa.addr),
                ifa.prefix_len
            );
        }
    }
    out
}

/// `igmp6`: the groups that devices listen to.
pub(crate) fn igmp6(ns: Ns<'_>) -> String {
    let state = ns.state();
    let mut out = String::new();
    for link in state.links.all() {
        for member in show::groups(state, &link) {
            // Timer stopped and last to report (4), never reported (8).
            let flags = match member.addr {
                addr if addr == BORN_GROUPS[0] => 0xc,
                addr if scope(addr) <= level::HOST => 0x8,
                _ => 0x4,
            };
            let _ = writeln!(
                out,
                "{:<4} {:<15} {} {:5} {flags:08X} 0",
                link.index(),
                link.name(),
                hex(member.addr),
                member.users
            );
        }
    }
    out
}

/// `anycast6`: the anycast addresses of devices.
pub(crate) fn anycast6(ns: Ns<'_>) -> String {
    let state = ns.state();
    let mut out = String::new();
    for link in state.links.all() {
        for member in show::anycast(state, &link) {
            let _ = writeln!(out, "{:<4} {:<15} {} {:5}", link.index(), link.name(), hex(member.addr), member.users);
        }
    }
    out
}

/// `RTF_*` of the old interface.
mod rtf {
    pub(super) const UP: u32 = 0x1;
    pub(super) const GATEWAY: u32 = 0x2;
    pub(super) const REJECT: u32 = 0x200;
    pub(super) const NONEXTHOP: u32 = 0x0020_0000;
    pub(super) const ANYCAST: u32 = 0x0010_0000;
    pub(super) const EXPIRES: u32 = 0x0040_0000;
    pub(super) const LOCAL: u32 = 0x8000_0000;
    /// Where the router's preference stands.
    pub(super) const PREF_SHIFT: u32 = 27;
}

/// `ipv6_route`: every route of every table, and for the main and local tables the entry that rejects the rest.
pub(crate) fn ipv6_route(ns: Ns<'_>) -> String {
    let state = ns.state();
    let links = state.links.all();
    let Some(lo) = links.iter().find(|l| l.stored_flags.contains(IfFlags::LOOPBACK)) else {
        return String::new();
    };
    let name =
        |index: u32| links.binary_search_by_key(&index, |l| l.index()).map_or("", |at| links[at].name().as_str());
    let any = "0".repeat(32);
    let null = format!("{any} 00 {any} 00 {any} ffffffff 00000001 00000000 00200200 {:>8}\n", lo.name());
    let mut out = String::new();
    let inet6 = state.peek_inet6();
    let mut nulls = 0;
    if let Some(inet6) = &inet6 {
        let mut last = None;
        for (id, key, node) in inet6.fib.nodes_from(None, None) {
            if last.is_some_and(|last| last != id) {
                out += &null;
                nulls += 1;
            }
            last = Some(id);
            let _ = key;
            for route in node {
                line(&mut out, route, name(route.nexthop.oif));
            }
        }
        nulls += usize::from(last.is_some());
        if last.is_some() {
            out += &null;
        }
    }
    for _ in nulls..2 {
        out += &null;
    }
    out
}

fn line(out: &mut String, route: &Arc<Route6>, dev: &str) {
    // One that uses a nexthop object counts as up and as leading somewhere, whatever it is asked to do.
    let (rejects, none) =
        if route.object.is_some() { (rtf::UP | rtf::REJECT, 0) } else { (rtf::REJECT, rtf::NONEXTHOP) };
    let mut flags = match route.kind {
        rtn::BLACKHOLE | rtn::UNREACHABLE | rtn::PROHIBIT | rtn::THROW => rejects | none,
        _ => rtf::UP,
    };
    if route.nexthop.gateway.is_some() {
        flags |= rtf::GATEWAY;
    }
    match route.kind {
        rtn::LOCAL => flags |= rtf::LOCAL | none,
        rtn::ANYCAST => flags |= rtf::ANYCAST | none,
        _ => {}
    }
    if route.expires.is_some() {
        flags |= rtf::EXPIRES;
    }
    flags |= u32::from(route.pref) << rtf::PREF_SHIFT;
    let _ = writeln!(
        out,
        "{} {:02x} {} {:02x} {} {:08x} {:08x} {:08x} {flags:08x} {dev:>8}",
        hex(route.dst.addr()),
        route.dst.prefix_len(),
        hex(route.src.addr()),
        route.src.prefix_len(),
        hex(route.nexthop.gateway.unwrap_or(Ipv6Addr::UNSPECIFIED)),
        route.metric,
        1,
        0,
    );
}

/// `rt6_stats`: nodes of the trees, nodes with routes, routes ever made, routes, cached ones, discarded ones.
pub(crate) fn rt6_stats(ns: Ns<'_>) -> String {
    let state = ns.state();
    let (nodes, routes) = state.peek_inet6().map_or((0, 0), |inet6| inet6.fib.count());
    format!("{nodes:04x} {nodes:04x} {routes:04x} {routes:04x} {:04x} {:04x} {:04x}\n", 0, 0, 0)
}
