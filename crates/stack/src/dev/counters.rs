//! Traffic counters of a device.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::mib::Mib6;

macro_rules! stats {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// A reading of a device's counters, in the order of `struct rtnl_link_stats64`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct LinkStats { $($(#[$doc])* pub $field: u64,)* }

        impl LinkStats {
            /// Number of counters.
            pub const COUNT: usize = [$(stringify!($field)),*].len();

            /// The counters in the order of `struct rtnl_link_stats64`, each with the name of its file in
            /// `/sys/class/net/<dev>/statistics`.
            #[must_use]
            pub const fn named(&self) -> [(&'static str, u64); Self::COUNT] {
                [$((stringify!($field), self.$field)),*]
            }
        }

        /// The live counters of a device that has carried traffic. Packets add, readers [`read`](Self::read).
        ///
        /// Each counter stands for itself: a reader may see a packet counted whose bytes are not yet, as on Linux,
        /// so relaxed order is enough and nothing is locked.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $field: AtomicU64,)*
            /// Of IPv6, made with the first packet of it.
            inet6: OnceLock<Box<Mib6>>,
        }

        impl Counters {
            /// Reads every counter once.
            #[must_use]
            pub fn read(&self) -> LinkStats {
                LinkStats { $($field: self.$field.load(Relaxed),)* }
            }
        }
    };
}

impl Counters {
    /// Those of IPv6.
    pub(crate) fn inet6(&self) -> &Mib6 {
        self.inet6.get_or_init(Box::default)
    }

    /// Those of IPv6, if there are any yet.
    pub(crate) fn peek_inet6(&self) -> Option<&Mib6> {
        self.inet6.get().map(Box::as_ref)
    }
}

stats! {
    /// Packets received.
    rx_packets,
    /// Packets sent.
    tx_packets,
    /// Bytes received.
    rx_bytes,
    /// Bytes sent.
    tx_bytes,
    /// Packets received damaged.
    rx_errors,
    /// Packets that could not be sent.
    tx_errors,
    /// Packets received and thrown away for want of room.
    rx_dropped,
    /// Packets to be sent and thrown away.
    tx_dropped,
    /// Multicast packets received.
    multicast,
    /// Collisions.
    collisions,
    /// Packets received with a bad length.
    rx_length_errors,
    /// Receive ring overflows.
    rx_over_errors,
    /// Packets received with a bad checksum.
    rx_crc_errors,
    /// Packets received with an alignment error.
    rx_frame_errors,
    /// Receive FIFO overruns.
    rx_fifo_errors,
    /// Packets the receiver missed.
    rx_missed_errors,
    /// Transmissions aborted.
    tx_aborted_errors,
    /// Transmissions that lost the carrier.
    tx_carrier_errors,
    /// Transmit FIFO underruns.
    tx_fifo_errors,
    /// Heartbeat errors.
    tx_heartbeat_errors,
    /// Late collisions.
    tx_window_errors,
    /// Compressed packets received.
    rx_compressed,
    /// Compressed packets sent.
    tx_compressed,
    /// Packets dropped because nobody took them.
    rx_nohandler,
    /// Packets dropped because they were addressed to another host.
    rx_otherhost_dropped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_in_rtnl_link_stats64() {
        assert_eq!(LinkStats::COUNT * 8, 200);
        assert_eq!(LinkStats::default().named()[24], ("rx_otherhost_dropped", 0));
    }

    #[test]
    fn a_reading_is_what_was_added() {
        let live = Counters::default();
        live.rx_bytes.fetch_add(1500, Relaxed);
        live.rx_packets.fetch_add(1, Relaxed);
        assert_eq!(live.read(), LinkStats { rx_bytes: 1500, rx_packets: 1, ..LinkStats::default() });
    }
}
