//! The files that show counters, and what netlink shows of a device's.

use std::fmt::Write as _;

use pernet::Net;

use super::{Counted, Icmp, Icmp6, Ip, Ip6, IpExt, Messages, Mib, Mib6, MibUdp, Tcp, TcpExt, Udp};
use crate::dev::{Link, Stack};
use crate::inet;
use crate::l4::tcp::TcpState;
use crate::proc::{MPTCP_EXT, group};
use crate::state::{ConfOf, Ns};
use crate::sysctl;

/// `IPV4_DEVCONF_FORWARDING`.
const FORWARDING: usize = 1;

/// Types of ICMP messages in the order of the `Icmp` group, received and sent.
const ICMP_TYPES: [(u8, &str); 11] = [
    (3, "DestUnreachs"),
    (11, "TimeExcds"),
    (12, "ParmProbs"),
    (4, "SrcQuenchs"),
    (5, "Redirects"),
    (8, "Echos"),
    (0, "EchoReps"),
    (13, "Timestamps"),
    (14, "TimestampReps"),
    (17, "AddrMasks"),
    (18, "AddrMaskReps"),
];

/// Likewise of ICMPv6.
const ICMP6_TYPES: [(u8, &str); 15] = [
    (1, "DestUnreachs"),
    (2, "PktTooBigs"),
    (3, "TimeExcds"),
    (4, "ParmProblems"),
    (128, "Echos"),
    (129, "EchoReplies"),
    (130, "GroupMembQueries"),
    (131, "GroupMembResponses"),
    (132, "GroupMembReductions"),
    (133, "RouterSolicits"),
    (134, "RouterAdvertisements"),
    (135, "NeighborSolicits"),
    (136, "NeighborAdvertisements"),
    (137, "Redirects"),
    (143, "MLDv2Reports"),
];

/// What is shown of a group that may not be there yet.
fn shown<E: Counted, const N: usize>(mib: Option<&Mib<E, N>>) -> Vec<(&'static str, u64)> {
    match mib {
        Some(mib) => mib.named().collect(),
        None => E::NAMES.iter().map(|name| (*name, 0)).collect(),
    }
}

fn borrowed((name, value): &(String, u64)) -> (&str, u64) {
    (name, *value)
}

/// Two lines of a group: the names, the values.
fn lines<'n>(name: &str, columns: impl Iterator<Item = (&'n str, u64)>) -> String {
    let (names, values): (Vec<&str>, Vec<String>) = columns.map(|(name, value)| (name, value.to_string())).unzip();
    format!("{name}: {}\n{name}: {}\n", names.join(" "), values.join(" "))
}

/// `/proc/net/snmp`.
pub(crate) fn snmp(stack: &Stack, net: &Net) -> String {
    let Some(state) = stack.state(net) else { return String::new() };
    let (ns, mibs) = (Ns::living(state, net), state.parts().map(|parts| &parts.mib));
    let forwards = inet::conf(ns, ConfOf::All, FORWARDING).is_some_and(|value| value != 0);
    let ttl = u64::try_from(sysctl::number_or(ns, "ipv4/ip_default_ttl", 64)).unwrap_or(64);
    let of_ip = [("Forwarding", if forwards { 1 } else { 2 }), ("DefaultTTL", ttl)];
    let v4 = mibs.and_then(|mibs| mibs.v4.peek());
    let mut out = lines("Ip", of_ip.into_iter().chain(shown::<Ip, _>(v4.map(|mib| &mib.ip))));
    let icmp = |which: Icmp| v4.map_or(0, |mib| mib.icmp.get(which));
    let messages = |sent: bool| {
        let of = v4.map(|mib| if sent { &mib.sent } else { &mib.received });
        ICMP_TYPES.map(|(ty, name)| (format!("{}{name}", direction(sent)), of.map_or(0, |of| of.get(ty))))
    };
    let (received, sent) = (messages(false), messages(true));
    let head = [
        ("InMsgs", icmp(Icmp::InMsgs)),
        ("InErrors", icmp(Icmp::InErrors)),
        ("InCsumErrors", icmp(Icmp::InCsumErrors)),
    ];
    let middle = [
        ("OutMsgs", icmp(Icmp::OutMsgs)),
        ("OutErrors", icmp(Icmp::OutErrors)),
        ("OutRateLimitGlobal", icmp(Icmp::OutRateLimitGlobal)),
        ("OutRateLimitHost", icmp(Icmp::OutRateLimitHost)),
    ];
    let columns = head.into_iter().chain(received.iter().map(borrowed)).chain(middle).chain(sent.iter().map(borrowed));
    out += &lines("Icmp", columns);
    // The types that were met, if there are any.
    let met: Vec<(String, u64)> =
        v4.into_iter().flat_map(|mib| by_type("", &mib.received, false).chain(by_type("", &mib.sent, true))).collect();
    if !met.is_empty() {
        out += &lines("IcmpMsg", met.iter().map(borrowed));
    }
    let counted = shown::<Tcp, _>(mibs.and_then(|mibs| mibs.tcp.peek()).map(|mib| &mib.tcp));
    let established = established(stack, net);
    let counted =
        counted.into_iter().map(|(name, value)| (name, if name == "CurrEstab" { established } else { value }));
    // Retransmission by RFC 6298 within 200 ms and 120 s, no limit to connections.
    let names: Vec<&str> =
        ["RtoAlgorithm", "RtoMin", "RtoMax", "MaxConn"].into_iter().chain(Tcp::NAMES.iter().copied()).collect();
    let values: Vec<String> = counted.map(|(_, value)| value.to_string()).collect();
    let _ = writeln!(out, "Tcp: {}\nTcp: 1 200 120000 -1 {}", names.join(" "), values.join(" "));
    let udp = |lite| shown::<Udp, _>(mibs.and_then(|mibs| mibs.udp.peek()).map(|mib| mib.of(lite, false)));
    out + &lines("Udp", udp(false).into_iter()) + &lines("UdpLite", udp(true).into_iter())
}

/// Connections, of both families, that are open both ways or wait for this host's end.
fn established(stack: &Stack, net: &Net) -> u64 {
    let open = |v6| {
        let is = |state| matches!(state, TcpState::Established | TcpState::CloseWait);
        stack.tcp_sockets(net, v6).iter().filter(|entry| is(entry.state)).count()
    };
    (open(false) + open(true)) as u64
}

const fn direction(sent: bool) -> &'static str {
    if sent { "Out" } else { "In" }
}

/// The types that were met, each with how often.
fn by_type<const V6: bool>(prefix: &str, messages: &Messages<V6>, sent: bool) -> impl Iterator<Item = (String, u64)> {
    let met = |ty| (ty, messages.get(ty));
    let name = move |ty: u8| format!("{prefix}{}Type{ty}", direction(sent));
    (0..=255).map(met).filter(|(_, count)| *count > 0).map(move |(ty, count)| (name(ty), count))
}

/// `/proc/net/netstat`.
pub(crate) fn netstat(ns: Ns<'_>) -> String {
    let mibs = ns.state().parts().map(|parts| &parts.mib);
    let tcp = shown::<TcpExt, _>(mibs.and_then(|mibs| mibs.tcp.peek()).map(|mib| &mib.ext));
    let ip = shown::<IpExt, _>(mibs.and_then(|mibs| mibs.v4.peek()).map(|mib| &mib.ext));
    lines("TcpExt", tcp.into_iter()) + &lines("IpExt", ip.into_iter()) + &group("MPTcpExt", MPTCP_EXT)
}

/// A line of `snmp6`.
fn line(out: &mut String, name: &str, value: u64) {
    // A String takes what is written to it.
    let _ = writeln!(out, "{name:<32}\t{value}");
}

/// The groups that a namespace and a device have; the last counter of ICMPv6 is a namespace's.
fn inet6(out: &mut String, mib: Option<&Mib6>, whole: bool) {
    for (name, value) in shown::<Ip6, _>(mib.map(|mib| &mib.ip)) {
        line(out, &format!("Ip6{name}"), value);
    }
    let icmp = shown::<Icmp6, _>(mib.map(|mib| &mib.icmp));
    for (name, value) in icmp.into_iter().take(Icmp6::NAMES.len() - usize::from(!whole)) {
        line(out, &format!("Icmp6{name}"), value);
    }
    for sent in [false, true] {
        let of = mib.map(|mib| if sent { &mib.sent } else { &mib.received });
        for (ty, name) in ICMP6_TYPES {
            line(out, &format!("Icmp6{}{name}", direction(sent)), of.map_or(0, |of| of.get(ty)));
        }
    }
    if let Some(mib) = mib {
        let met = by_type("Icmp6", &mib.received, false).chain(by_type("Icmp6", &mib.sent, true));
        met.for_each(|(name, count)| line(out, &name, count));
    }
}

/// `/proc/net/snmp6`.
pub(crate) fn snmp6(ns: Ns<'_>) -> String {
    let mibs = ns.state().parts().map(|parts| &parts.mib);
    let mut out = String::new();
    inet6(&mut out, mibs.and_then(|mibs| mibs.v6.peek()), true);
    let udp: Option<&MibUdp> = mibs.and_then(|mibs| mibs.udp.peek());
    for (lite, prefix) in [(false, "Udp6"), (true, "UdpLite6")] {
        let counted = shown::<Udp, _>(udp.map(|udp| udp.of(lite, true)));
        // UDP-Lite ignores nothing that is counted.
        for (name, value) in counted.into_iter().filter(|(name, _)| !(lite && *name == "IgnoredMulti")) {
            line(&mut out, &format!("{prefix}{name}"), value);
        }
    }
    out
}

/// `/proc/net/dev_snmp6/<dev>`.
pub(crate) fn dev_snmp6(link: &Link) -> String {
    let mut out = String::new();
    line(&mut out, "ifIndex", link.index().into());
    inet6(&mut out, link.traffic().and_then(|counters| counters.peek_inet6()), false);
    out
}

/// What netlink shows of a device's counters, each after how many there are of it with this word (`IFLA_INET6_STATS`,
/// `IFLA_INET6_ICMP6STATS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inet6Stats {
    /// IPv6, in the order of `IPSTATS_MIB_*`.
    pub ip: [u64; 38],
    /// ICMPv6, in the order of `ICMP6_MIB_*`.
    pub icmp: [u64; 7],
}

impl Inet6Stats {
    /// Of a device.
    #[must_use]
    pub fn of(link: &Link) -> Self {
        // Behind these come broadcasts, which IPv6 has none of, and groups by their bytes.
        const ORDER: [Ip6; 29] = [
            Ip6::InReceives,
            Ip6::InOctets,
            Ip6::InDelivers,
            Ip6::InNoECTPkts,
            Ip6::InECT1Pkts,
            Ip6::InECT0Pkts,
            Ip6::InCEPkts,
            Ip6::OutRequests,
            Ip6::OutTransmits,
            Ip6::OutOctets,
            Ip6::OutForwDatagrams,
            Ip6::InHdrErrors,
            Ip6::InTooBigErrors,
            Ip6::InNoRoutes,
            Ip6::InAddrErrors,
            Ip6::InUnknownProtos,
            Ip6::InTruncatedPkts,
            Ip6::InDiscards,
            Ip6::OutDiscards,
            Ip6::OutNoRoutes,
            Ip6::ReasmTimeout,
            Ip6::ReasmReqds,
            Ip6::ReasmOKs,
            Ip6::ReasmFails,
            Ip6::FragOKs,
            Ip6::FragFails,
            Ip6::FragCreates,
            Ip6::InMcastPkts,
            Ip6::OutMcastPkts,
        ];
        const ICMP: [Icmp6; 6] = [
            Icmp6::InMsgs,
            Icmp6::InErrors,
            Icmp6::OutMsgs,
            Icmp6::OutErrors,
            Icmp6::InCsumErrors,
            Icmp6::OutRateLimitHost,
        ];
        let mib = link.traffic().and_then(|counters| counters.peek_inet6());
        let mut stats = Self { ip: [0; 38], icmp: [0; 7] };
        (stats.ip[0], stats.icmp[0]) = (38, 7);
        let Some(mib) = mib else { return stats };
        for (place, which) in stats.ip[1..].iter_mut().zip(ORDER) {
            *place = mib.ip.get(which);
        }
        (stats.ip[32], stats.ip[33]) = (mib.ip.get(Ip6::InMcastOctets), mib.ip.get(Ip6::OutMcastOctets));
        for (place, which) in stats.icmp[1..].iter_mut().zip(ICMP) {
            *place = mib.icmp.get(which);
        }
        stats
    }
}
