//! Which ports may be had (`net.ipv4.ip_local_port_range` and what goes with it).

use crate::state::Ns;
use crate::sysctl;

/// Ports to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    low: u16,
    high: u16,
    /// Stretches of it that are not given out unasked, in order.
    reserved: Vec<(u16, u16)>,
    /// A number that differs between namespaces: not all begin at the same place.
    salt: u32,
}

impl Range {
    #[cfg(test)]
    pub(super) const fn for_test(low: u16, high: u16) -> Self {
        Self { low, high, reserved: Vec::new(), salt: 0 }
    }

    /// Every one that there is, nothing reserved: identifiers of ping sockets.
    pub(crate) fn all(ns: Ns<'_>) -> Self {
        Self { low: 1, high: u16::MAX, reserved: Vec::new(), salt: ns.links.salt() }
    }

    /// The same without the ports outside of `low..=high` (`IP_LOCAL_PORT_RANGE`; 0 leaves an end as it is). Where the two
    /// have nothing in common, the namespace's range stands.
    pub(crate) fn within(mut self, low: u16, high: u16) -> Self {
        let low = if low == 0 { self.low } else { low.max(self.low) };
        let high = if high == 0 { self.high } else { high.min(self.high) };
        if low <= high {
            (self.low, self.high) = (low, high);
        }
        self
    }

    /// Every port once, beginning at a place that `turn` decides.
    pub(super) fn candidates(&self, turn: u64) -> impl Iterator<Item = u16> {
        let count = u32::from(self.high.saturating_sub(self.low)) + 1;
        let mixed = (turn ^ u64::from(self.salt) << 20).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let start = (mixed % u64::from(count)) as u32;
        // Below `count`, so that the sum fits.
        let ports = (0..count).map(move |step| self.low + ((start + step) % count) as u16);
        ports.filter(|port| !self.reserved.iter().any(|(from, to)| (from..=to).contains(&port)))
    }
}

/// What a namespace gives out by itself.
pub(crate) fn ephemeral_range(ns: Ns<'_>) -> Range {
    let range = sysctl::text(ns, "ipv4/ip_local_port_range");
    let mut ends = range.split_whitespace().filter_map(|end| end.parse().ok());
    let (low, high) = (ends.next().unwrap_or(32768), ends.next().unwrap_or(60999));
    let reserved = sysctl::text(ns, "ipv4/ip_local_reserved_ports");
    let stretch = |text: &str| {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
    };
    Range { low, high, reserved: reserved.split(',').filter_map(stretch).collect(), salt: ns.links.salt() }
}

/// Whether a port may be named; `privileged` is who has `CAP_NET_BIND_SERVICE`.
pub(crate) fn may_bind_port(ns: Ns<'_>, port: u16, privileged: bool) -> bool {
    port == 0 || privileged || i64::from(port) >= sysctl::number_or(ns, "ipv4/ip_unprivileged_port_start", 1024)
}
