//! The one list of what is in `/proc/net` (Linux 6.18 with its usual modules), with each file's content.

use pernet::Net;

use super::{columns, devices, names, netlink};
use crate::l4::tcp;
use crate::state::Ns;
use crate::{Link, Links, Stack, fib, inet, inet6, mcast, mib};

/// What an entry of the table is.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// A directory; entries below it stand in the table themselves.
    Dir,
    /// A directory with a file for each device that does IPv6.
    PerDevice(fn(&Link) -> String),
    /// A file that says the same in every namespace: the heading of an empty table, or a fact about the system.
    Text(&'static str),
    /// As `Text`, too regular to be spelled out.
    Lines(fn() -> String),
    /// A file that depends on the namespace's devices.
    Derived(fn(&Links) -> String),
    /// A file that depends on other parts of the namespace too.
    Of(fn(Ns<'_>) -> String),
    /// A table of sockets, which changes with time alone.
    Sockets(fn(&Stack, &Net) -> String),
}

use Content::{Derived, Dir, Lines, Of, PerDevice, Sockets, Text};

/// Path below `/proc/net`, mode, content.
pub(super) const TABLE: &[(&str, u16, Content)] = &[
    ("anycast6", 0o444, Of(inet6::anycast6)),
    ("arp", 0o444, Of(crate::neigh::proc_arp)),
    // The xtables files list what is registered with the packet filter: no tables, matches or targets.
    ("arp_tables_matches", 0o440, Text("")),
    ("arp_tables_names", 0o440, Text("")),
    ("arp_tables_targets", 0o440, Text("")),
    ("dev", 0o444, Derived(devices::proc_net_dev)),
    ("dev_mcast", 0o444, Of(mcast::proc_net_dev_mcast)),
    ("dev_snmp6", 0o555, PerDevice(mib::dev_snmp6)),
    // No IPv4 routing table is made before the first route: not even a heading, here and in `route`.
    ("fib_trie", 0o444, Of(fib::proc_fib_trie)),
    ("fib_triestat", 0o444, Of(fib::proc_fib_triestat)),
    ("icmp", 0o444, Of(crate::l4::proc::icmp)),
    ("icmp6", 0o444, Of(crate::l4::proc::icmp6)),
    ("if_inet6", 0o444, Of(inet6::if_inet6)),
    ("igmp", 0o444, Of(inet::proc_net_igmp)),
    ("igmp6", 0o444, Of(inet6::igmp6)),
    ("ip6_flowlabel", 0o444, Text("Label S Owner  Users  Linger Expires  Dst                              Opt\n")),
    (
        "ip6_mr_cache",
        0o444,
        Text(
            "Group                            Origin                           Iif      Pkts  Bytes     Wrong  Oifs\n",
        ),
    ),
    ("ip6_mr_vif", 0o444, Text("Interface      BytesIn  PktsIn  BytesOut PktsOut Flags\n")),
    ("ip6_tables_matches", 0o440, Text("")),
    ("ip6_tables_names", 0o440, Text("")),
    ("ip6_tables_targets", 0o440, Text("")),
    ("ip6t_hashlimit", 0o555, Dir),
    ("ip_mr_cache", 0o444, Text("Group    Origin   Iif     Pkts    Bytes    Wrong Oifs\n")),
    ("ip_mr_vif", 0o444, Text("Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote\n")),
    ("ip_tables_matches", 0o440, Text("")),
    ("ip_tables_names", 0o440, Text("")),
    ("ip_tables_targets", 0o440, Text("")),
    ("ipt_hashlimit", 0o555, Dir),
    ("ipv6_route", 0o444, Of(inet6::ipv6_route)),
    ("mcfilter", 0o444, Of(crate::l4::filters::mcfilter)),
    ("mcfilter6", 0o444, Of(crate::l4::filters::mcfilter6)),
    ("netfilter", 0o555, Dir),
    ("netfilter/nf_log", 0o444, Lines(columns::nf_log)),
    ("netfilter/nfnetlink_log", 0o440, Text("")),
    ("netfilter/nfnetlink_queue", 0o440, Text("")),
    ("netlink", 0o444, Derived(|links| netlink::proc_net_netlink(links, &[]))),
    ("netstat", 0o444, Of(mib::netstat)),
    ("nf_conntrack", 0o440, Text("")),
    ("nf_conntrack_expect", 0o440, Text("")),
    ("packet", 0o444, Of(crate::l4::proc::packet)),
    ("protocols", 0o444, Sockets(columns::protocols)),
    // Nanoseconds per scheduler tick and its resolution, as `tc` wants them: 1000, 64, 10^6, 10^9.
    ("psched", 0o444, Text("000003e8 00000040 000f4240 3b9aca00\n")),
    ("ptype", 0o444, Of(crate::l4::proc::ptype)),
    ("raw", 0o444, Of(crate::l4::proc::raw)),
    ("raw6", 0o444, Of(crate::l4::proc::raw6)),
    ("route", 0o444, Of(fib::proc_route)),
    ("rt6_stats", 0o444, Of(inet6::rt6_stats)),
    // Binary: 256 realms of four 32-bit counters.
    ("rt_acct", 0o444, Lines(|| "\0".repeat(256 * 16))),
    ("rt_cache", 0o444, Lines(columns::rt_cache)),
    ("snmp", 0o444, Sockets(mib::snmp)),
    ("snmp6", 0o444, Of(mib::snmp6)),
    ("sockstat", 0o444, Sockets(crate::l4::proc::sockstat)),
    ("sockstat6", 0o444, Sockets(crate::l4::proc::sockstat6)),
    ("softnet_stat", 0o444, Lines(columns::softnet)),
    ("stat", 0o555, Dir),
    ("stat/nf_conntrack", 0o444, Lines(columns::stat_conntrack)),
    ("stat/rt_cache", 0o444, Lines(columns::stat_rt_cache)),
    ("stat/synproxy", 0o444, Lines(columns::stat_synproxy)),
    ("tcp", 0o444, Sockets(|stack, net| columns::sockets4(2, false, 149) + &tcp::proc_lines(stack, net, false))),
    ("tcp6", 0o444, Sockets(|stack, net| columns::sockets6(false) + &tcp::proc_lines(stack, net, true))),
    ("udp", 0o444, Of(crate::l4::proc::udp)),
    ("udp6", 0o444, Of(crate::l4::proc::udp6)),
    ("udplite", 0o444, Of(crate::l4::proc::udplite)),
    ("udplite6", 0o444, Of(crate::l4::proc::udplite6)),
    ("unix", 0o444, Text("Num       RefCount Protocol Flags    Type St Inode Path\n")),
    ("xfrm_stat", 0o444, Lines(|| columns::zeros(names::XFRM, 24))),
    ("xt_recent", 0o555, Dir),
];
