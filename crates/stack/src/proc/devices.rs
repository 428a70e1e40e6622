//! The files that show devices.

use std::fmt::Write as _;

use super::names;
use crate::{IfFlags, Link, Links};

/// Smallest MTU with which a device does IPv6 (RFC 8200).
const IPV6_MIN_MTU: u32 = 1280;

pub(super) const fn has_inet6(link: &Link) -> bool {
    link.mtu >= IPV6_MIN_MTU
}

/// `/proc/net/dev`: the counters of every device.
#[must_use]
pub fn proc_net_dev(links: &Links) -> String {
    let mut out = String::from(
        "Inter-|   Receive                                                |  Transmit\n\
         \x20face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
    );
    for link in links.all() {
        let s = link.stats();
        let rx_drop = s.rx_dropped.wrapping_add(s.rx_missed_errors);
        let rx_frame = [s.rx_length_errors, s.rx_over_errors, s.rx_crc_errors, s.rx_frame_errors];
        let tx_carrier = [s.tx_carrier_errors, s.tx_aborted_errors, s.tx_window_errors, s.tx_heartbeat_errors];
        let sum = |parts: [u64; 4]| parts.into_iter().fold(0, u64::wrapping_add);
        // A String takes what is written to it.
        let _ = writeln!(
            out,
            "{:>6}: {:7} {:7} {:4} {:4} {:4} {:5} {:10} {:9} {:8} {:7} {:4} {:4} {:4} {:5} {:7} {:10}",
            link.name(),
            s.rx_bytes,
            s.rx_packets,
            s.rx_errors,
            rx_drop,
            s.rx_fifo_errors,
            sum(rx_frame),
            s.rx_compressed,
            s.multicast,
            s.tx_bytes,
            s.tx_packets,
            s.tx_errors,
            s.tx_dropped,
            s.tx_fifo_errors,
            s.collisions,
            sum(tx_carrier),
            s.tx_compressed,
        );
    }
    out
}

/// IPv6 multicast groups: every device that does IPv6 listens to all nodes, link-wide and on itself, even while down.
pub(super) fn igmp6(links: &Links) -> String {
    let groups = [("ff020000000000000000000000000001", 0xc), ("ff010000000000000000000000000001", 0x8)];
    let mut out = String::new();
    for link in links.all().iter().filter(|l| has_inet6(l)) {
        for (group, flags) in groups {
            let _ = writeln!(out, "{:<4} {:<15} {group} {:5} {flags:08X} 0", link.index(), link.name(), 1);
        }
    }
    out
}

/// `dev_snmp6/<dev>`: the IPv6 counters of a device.
pub(super) fn snmp6(link: &Link) -> String {
    let mut out = format!("{:<32}\t{}\n", "ifIndex", link.index());
    for group in [names::IP6, names::ICMP6_HEAD, names::ICMP6_TYPES] {
        out += &super::columns::zeros(group, 32);
    }
    out
}

/// IPv6 routes: the two entries that reject what no route matches (main and local table), which are the loopback's.
pub(super) fn ipv6_route(links: &Links) -> String {
    let links = links.all();
    let Some(lo) = links.iter().find(|l| l.stored_flags.contains(IfFlags::LOOPBACK)) else {
        return String::new();
    };
    let any = "00000000000000000000000000000000";
    format!("{any} 00 {any} 00 {any} ffffffff 00000001 00000000 00200200 {:>8}\n", lo.name()).repeat(2)
}
