//! Headings and regular tables.

use std::fmt::Write as _;
use std::thread::available_parallelism;

use pernet::Net;

use crate::dev::Stack;
use crate::l4::proc::in_use;

/// Heading of an IPv4 socket table: `indent` before it, spaces up to `width` after it. `datagram` tables have three more
/// columns.
pub(crate) fn sockets4(indent: usize, datagram: bool, width: usize) -> String {
    let more = if datagram { " ref pointer drops" } else { "" };
    let line = format!(
        "{:indent$}sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode{more}",
        ""
    );
    format!("{line:<width$}\n")
}

/// Heading of an IPv6 socket table.
pub(crate) fn sockets6(datagram: bool) -> String {
    let addresses = format!("{:<38}{:<38}", "local_address", "remote_address");
    let more = if datagram { " ref pointer drops" } else { "" };
    format!("  sl  {addresses}st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode{more}\n")
}

/// Heading of the routing cache, which is always empty.
pub(super) fn rt_cache() -> String {
    let line = "Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\tMTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst";
    format!("{line:<127}\n")
}

/// Two lines of `netstat`: the names of a group in which nothing is counted, then as many zeros.
pub(crate) fn group(group: &str, names: &str) -> String {
    let values: Vec<_> = names.split(' ').map(|_| "0").collect();
    format!("{group}: {names}\n{group}: {}\n", values.join(" "))
}

/// A line for each name, padded to `width`, with a zero after a tab.
pub(super) fn zeros(names: &str, width: usize) -> String {
    names.split(' ').map(|name| format!("{name:<width$}\t0\n")).collect()
}

/// The processors of the system; some tables have a row for each.
fn cpus() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Packets each processor took from the driver: none. The thirteenth column is the processor's number.
pub(super) fn softnet() -> String {
    let row =
        |cpu| (0..15).map(|i| format!("{:08x}", if i == 12 { cpu } else { 0 })).collect::<Vec<_>>().join(" ") + "\n";
    (0..cpus()).map(row).collect()
}

/// Counters of the routing cache for each processor; columns are as wide as their heading, at least eight digits.
pub(super) fn stat_rt_cache() -> String {
    const NAMES: &str = "entries in_hit in_slow_tot in_slow_mc in_no_route in_brd in_martian_dst in_martian_src out_hit \
                         out_slow_tot out_slow_mc gc_total gc_ignored gc_goal_miss gc_dst_overflow in_hlist_search \
                         out_hlist_search";
    let line = |cell: fn(&str) -> &str| {
        let cells: Vec<_> = NAMES.split(' ').map(|n| format!("{:<1$}", cell(n), n.len().max(8))).collect();
        cells.join(" ").trim_end().to_owned() + "\n"
    };
    line(|name| name) + &line(|_| "00000000").repeat(cpus())
}

/// Counters of connection tracking for each processor.
pub(super) fn stat_conntrack() -> String {
    let heading = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop \
                   icmp_error  expect_new expect_create expect_delete search_restart\n";
    let zeros = |n| vec!["00000000"; n].join(" ");
    let row = format!("{}  {}  {}\n", zeros(1), zeros(12), zeros(4));
    heading.to_owned() + &row.repeat(cpus())
}

/// Counters of the SYN proxy for each processor.
pub(super) fn stat_synproxy() -> String {
    let heading = "entries\t\tsyn_received\tcookie_invalid\tcookie_valid\tcookie_retrans\tconn_reopened\n";
    heading.to_owned() + &(["00000000"; 6].join("\t") + "\n").repeat(cpus())
}

/// Who logs packets of which protocol family.
pub(super) fn nf_log() -> String {
    let logger = |family| match family {
        2 => Some("ipv4"),
        3 => Some("arp"),
        5 => Some("netdev"),
        7 => Some("bridge"),
        10 => Some("ipv6"),
        _ => None,
    };
    let line = |family| match logger(family) {
        Some(name) => format!("{family:2} nf_log_{name} (nf_log_{name},nfnetlink_log)\n"),
        None => format!("{family:2} NONE (nfnetlink_log)\n"),
    };
    (0..=10).map(line).collect()
}

/// The transport protocols: size of a socket, memory in pages (-1: not accounted), whether it can be short of memory,
/// longest header, whether it has its own slab, and which of 18 operations it has.
pub(super) fn protocols(stack: &Stack, net: &Net) -> String {
    type Row = (&'static str, u32, i32, &'static str, u32, &'static str, &'static str);
    const NONE: &str = "nnnnnnnnnnnnnnnnnn";
    const STREAM: &str = "yyyyyyyyyyyynyyyyy";
    const MPTCP: &str = "yyynyyyyyyyynnyyyn";
    const DATAGRAM: &str = "yyynyyynyyyynnyyyn";
    const PING: &str = "yyynnynnyyyyyynyyn";
    const RAW: &str = "yyynyyynyyyyyyyynn";
    const LOCAL: &str = "ynnnnnnnnnnnnnnnnn";
    const ROWS: [Row; 18] = [
        ("AF_VSOCK", 1240, -1, "NI", 0, "yes", LOCAL),
        ("PACKET", 1600, -1, "NI", 0, "no", NONE),
        ("MPTCPv6", 2064, 0, "no", 0, "yes", MPTCP),
        ("PINGv6", 1344, -1, "NI", 0, "yes", PING),
        ("RAWv6", 1344, -1, "NI", 0, "yes", RAW),
        ("UDPLITEv6", 1472, 0, "NI", 0, "yes", DATAGRAM),
        ("UDPv6", 1472, 0, "NI", 0, "yes", DATAGRAM),
        ("TCPv6", 2432, 0, "no", 192, "yes", STREAM),
        ("XDP", 1088, -1, "NI", 0, "no", NONE),
        ("UNIX-STREAM", 1152, -1, "NI", 0, "yes", LOCAL),
        ("UNIX", 1152, -1, "NI", 0, "yes", LOCAL),
        ("UDP-Lite", 1344, 0, "NI", 0, "yes", DATAGRAM),
        ("MPTCP", 1936, 0, "no", 0, "yes", MPTCP),
        ("PING", 1016, -1, "NI", 0, "yes", PING),
        ("RAW", 1152, -1, "NI", 0, "yes", RAW),
        ("UDP", 1344, 0, "NI", 0, "yes", DATAGRAM),
        ("TCP", 2304, 0, "no", 192, "yes", STREAM),
        ("NETLINK", 1096, -1, "NI", 0, "no", NONE),
    ];
    let mut out = String::from(
        "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n",
    );
    for (name, size, memory, press, header, slab, operations) in ROWS {
        let operations: Vec<_> = operations.chars().map(String::from).collect();
        // A String takes what is written to it.
        let _ = writeln!(
            out,
            "{name:<9} {size:4} {:6}  {memory:6}   {press:<4} {header:5}   {slab:<3}  {:<11} {}",
            in_use(stack, net, name),
            "kernel",
            operations.join("  ").trim_end()
        );
    }
    out
}
