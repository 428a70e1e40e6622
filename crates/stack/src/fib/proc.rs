//! `/proc/net/route`, `fib_trie` and `fib_triestat`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::metrics::{RTAX_ADVMSS, RTAX_RTT, RTAX_WINDOW};
use super::table::{Alias, Key, Table};
use super::tables::Rank;
use super::{Gateway, RT_TABLE_LOCAL, RT_TABLE_MAIN, route_type, scope};
use crate::rules::{self, Family};
use crate::state::Ns;

/// Columns of `/proc/net/route` are padded to this width.
const ROUTE_WIDTH: usize = 127;

/// `/proc/net/route`: the main table as tools of old read it.
pub(crate) fn proc_route(ns: Ns<'_>) -> String {
    let Some(rows) = rows(ns) else { return String::new() };
    let heading = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    let mut out = format!("{heading:<ROUTE_WIDTH$}\n");
    for (key, alias) in rows {
        if matches!(alias.kind, route_type::BROADCAST | route_type::MULTICAST) {
            continue;
        }
        let info = &alias.info;
        let hop = info.hops().first();
        let device = hop.and_then(|hop| ns.links.by_index(hop.oif));
        let name = device.as_ref().map_or("*", |link| link.name().as_str());
        let gateway = match hop.map(|hop| hop.gateway) {
            Some(Gateway::V4(gateway)) => gateway,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let mask = Ipv4Addr::from(super::table::prefix_mask(key.len()));
        let raw = |address: Ipv4Addr| u32::from_ne_bytes(address.octets());
        let mut flags = if matches!(alias.kind, route_type::UNREACHABLE | route_type::PROHIBIT) { 0x200 } else { 0 };
        let through = hop.is_some_and(|hop| hop.gateway.is_some());
        flags |= 1 | if through { 2 } else { 0 } | if key.len() == 32 { 4 } else { 0 };
        let mtu = match info.metrics.get(RTAX_ADVMSS) {
            0 => 0,
            advmss => advmss + 40,
        };
        let row = format!(
            "{name}\t{:08X}\t{:08X}\t{flags:04X}\t0\t0\t{}\t{:08X}\t{mtu}\t{}\t{}",
            raw(key.dst()),
            raw(gateway),
            info.priority,
            raw(mask),
            info.metrics.get(RTAX_WINDOW),
            info.metrics.get(RTAX_RTT) >> 3,
        );
        let _ = writeln!(out, "{row:<ROUTE_WIDTH$}");
    }
    out
}

fn rows(ns: Ns<'_>) -> Option<Vec<(Key, Alias)>> {
    let fib = ns.fib.peek()?;
    let table = fib.table(RT_TABLE_MAIN)?;
    Some(all(table))
}

fn all(table: &Table) -> Vec<(Key, Alias)> {
    let routes = table.from(Key::from_bits(0));
    routes.flat_map(|(key, aliases)| aliases.iter().map(move |alias| (key, alias.clone()))).collect()
}

/// A table as a level-compressed trie: what Linux has in memory, here only to be shown.
enum Node {
    /// An address and the routes to prefixes that begin with it.
    Leaf(Ipv4Addr, Vec<(Key, Alias)>),
    /// Branches on `bits` bits from bit `at` on, counted from the highest.
    Branch { prefix: Ipv4Addr, at: u32, bits: u32, full: usize, empty: usize, children: Vec<Self> },
}

/// A node is doubled if then at least so many percent of its children are there.
const INFLATE: u64 = 50;
/// The same for the uppermost node.
const INFLATE_ROOT: u64 = 30;

impl Node {
    /// The trie over these addresses, ascending; `None` over none.
    fn build(leaves: &mut Vec<(Ipv4Addr, Vec<(Key, Alias)>)>, threshold: u64) -> Option<Self> {
        if leaves.len() < 2 {
            return leaves.pop().map(|(address, routes)| Self::Leaf(address, routes));
        }
        let first = u32::from(leaves[0].0);
        let last = u32::from(leaves[leaves.len() - 1].0);
        let at = (first ^ last).leading_zeros();
        let slot = |address: Ipv4Addr, bits: u32| (u32::from(address) << at) >> (32 - bits);
        let used = |bits: u32| {
            let mut slots: Vec<u32> = leaves.iter().map(|(address, _)| slot(*address, bits)).collect();
            slots.dedup();
            slots.len() as u64
        };
        let mut bits = 1;
        while at + bits < 32 && used(bits + 1) * 100 >= threshold << (bits + 1) {
            bits += 1;
        }
        let mut children = Vec::new();
        let mut full = 0;
        let mut rest = std::mem::take(leaves);
        while let Some((address, _)) = rest.first() {
            let mine = slot(*address, bits);
            let end = rest.partition_point(|(address, _)| slot(*address, bits) <= mine);
            let mut part: Vec<_> = rest.drain(..end).collect();
            let child = Self::build(&mut part, INFLATE);
            if let Some(Self::Branch { at: below, .. }) = &child
                && *below == at + bits
            {
                full += 1;
            }
            children.extend(child);
        }
        let empty = (1_usize << bits) - children.len();
        let prefix = Ipv4Addr::from(first & super::table::prefix_mask(at as u8));
        Some(Self::Branch { prefix, at, bits, full, empty, children })
    }

    fn show(&self, depth: usize, out: &mut String) {
        let indent = 2 + 3 * depth;
        match self {
            Self::Leaf(address, routes) => {
                let _ = writeln!(out, "{:indent$}|-- {address}", "");
                for (key, alias) in routes {
                    let tos = if alias.tos == 0 { String::new() } else { format!(" tos={}", alias.tos) };
                    let inner = indent + 3;
                    let (scope, kind) = (scope_name(alias.info.scope), type_name(alias.kind));
                    let _ = writeln!(out, "{:inner$}/{} {scope} {kind}{tos}", "", key.len());
                }
            }
            Self::Branch { prefix, at, bits, full, empty, children } => {
                let _ = writeln!(out, "{:indent$}+-- {prefix}/{at} {bits} {full} {empty}", "");
                for child in children {
                    child.show(depth + 1, out);
                }
            }
        }
    }

    fn count(&self, depth: u32, stat: &mut Stat) {
        match self {
            Self::Leaf(_, routes) => {
                stat.leaves += 1;
                stat.depths += depth;
                stat.deepest = stat.deepest.max(depth);
                stat.prefixes += routes.len() as u32;
            }
            Self::Branch { bits, empty, children, .. } => {
                stat.by_bits[*bits as usize] += 1;
                stat.nulls += *empty as u32;
                for child in children {
                    child.count(depth + 1, stat);
                }
            }
        }
    }
}

struct Stat {
    leaves: u32,
    prefixes: u32,
    depths: u32,
    deepest: u32,
    nulls: u32,
    by_bits: [u32; 33],
}

fn scope_name(value: u8) -> String {
    match value {
        scope::UNIVERSE => "universe".into(),
        200 => "site".into(),
        scope::LINK => "link".into(),
        scope::HOST => "host".into(),
        scope::NOWHERE => "nowhere".into(),
        other => format!("scope={other}"),
    }
}

fn type_name(kind: u8) -> &'static str {
    const NAMES: [&str; 12] = [
        "UNSPEC",
        "UNICAST",
        "LOCAL",
        "BROADCAST",
        "ANYCAST",
        "MULTICAST",
        "BLACKHOLE",
        "UNREACHABLE",
        "PROHIBIT",
        "THROW",
        "NAT",
        "XRESOLVE",
    ];
    NAMES.get(usize::from(kind)).copied().unwrap_or("UNSPEC")
}

/// Every table with its heading, and its trie. As long as nobody made rules, the local table is within the main one, and
/// both show the same.
fn tries(ns: Ns<'_>) -> Vec<(String, Option<Node>)> {
    let merged = !rules::has_custom(ns, Family::Inet);
    let Some(fib) = ns.fib.peek() else { return Vec::new() };
    let routes = |id: u32| {
        let mut routes = fib.table(id).map_or_else(Vec::new, all);
        let other = match id {
            RT_TABLE_MAIN => Some(RT_TABLE_LOCAL),
            RT_TABLE_LOCAL => Some(RT_TABLE_MAIN),
            _ => None,
        };
        if merged && let Some(table) = other.and_then(|other| fib.table(other)) {
            routes.extend(all(table));
            routes.sort_by_key(|(key, _)| *key);
        }
        routes
    };
    let heading = |id: u32| match id {
        RT_TABLE_MAIN => "Main:\n".into(),
        RT_TABLE_LOCAL => "Local:\n".into(),
        id => format!("Id {id}:\n"),
    };
    let tables = fib.tables_from(Rank::from_bits(0));
    tables.map(|(_, id, _)| (heading(id), Node::build(&mut by_address(routes(id)), INFLATE_ROOT))).collect()
}

fn by_address(routes: Vec<(Key, Alias)>) -> Vec<(Ipv4Addr, Vec<(Key, Alias)>)> {
    let mut out: Vec<(Ipv4Addr, Vec<(Key, Alias)>)> = Vec::new();
    for (key, alias) in routes {
        match out.last_mut() {
            Some((address, list)) if *address == key.dst() => list.push((key, alias)),
            _ => out.push((key.dst(), vec![(key, alias)])),
        }
    }
    out
}

/// `/proc/net/fib_trie`.
pub(crate) fn proc_fib_trie(ns: Ns<'_>) -> String {
    let mut out = String::new();
    for (heading, root) in tries(ns) {
        if let Some(root) = root {
            out += &heading;
            root.show(0, &mut out);
        }
    }
    out
}

/// `/proc/net/fib_triestat`.
pub(crate) fn proc_fib_triestat(ns: Ns<'_>) -> String {
    /// Bytes on Linux: of a leaf, of an inner node, of a route in a leaf, of a pointer.
    const SIZES: [u32; 4] = [48, 40, 56, 8];
    let mut out = format!("Basic info: size of leaf: {} bytes, size of tnode: {} bytes.\n", SIZES[0], SIZES[1]);
    for (heading, root) in tries(ns) {
        let mut stat = Stat { leaves: 0, prefixes: 0, depths: 0, deepest: 0, nulls: 0, by_bits: [0; 33] };
        if let Some(root) = &root {
            root.count(0, &mut stat);
        }
        let average = (stat.depths * 100).checked_div(stat.leaves).unwrap_or(0);
        let nodes: u32 = stat.by_bits.iter().sum();
        let pointers: u32 = (0..).zip(stat.by_bits).map(|(bits, count): (u32, u32)| count << bits.min(31)).sum();
        let counted = [stat.leaves, nodes, stat.prefixes, pointers];
        let bytes: u32 = SIZES.iter().zip(counted).map(|(size, count)| size * count).sum();
        out += &heading;
        let _ = writeln!(out, "\tAver depth:     {}.{:02}", average / 100, average % 100);
        let _ = writeln!(out, "\tMax depth:      {}", stat.deepest);
        let _ = writeln!(out, "\tLeaves:         {}", stat.leaves);
        let _ = writeln!(out, "\tPrefixes:       {}", stat.prefixes);
        let _ = writeln!(out, "\tInternal nodes: {nodes}");
        let bits = stat.by_bits.iter().enumerate().filter(|(_, count)| **count > 0);
        let bits: String = bits.map(|(bits, count)| format!("  {bits}: {count}")).collect();
        let _ = writeln!(out, "\t{}", bits.trim_end());
        let _ = writeln!(out, "\tPointers: {pointers}");
        let _ = writeln!(out, "Null ptrs: {}\nTotal size: {}  kB", stat.nulls, bytes.div_ceil(1024));
    }
    out
}
