//! The files that show devices.

use std::fmt::Write as _;

use crate::{Link, Links};

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
