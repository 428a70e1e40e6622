//! Which address to send from (RFC 6724, section 5).

use std::cmp::Ordering;
use std::net::Ipv6Addr;

use super::Inet6;
use super::conf::devconf;
use super::idev::{Ifa6, ifa_flag};
use super::label::Labels;
use super::scope::{level, scope};
use crate::dev::Links;

/// Whether a temporary address is to be sent from, where there is one (RFC 5014).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// As the device that has it is set.
    #[default]
    Usual,
    Temporary,
    Public,
}

impl Prefer {
    /// What a socket's `IPV6_ADDR_PREFERENCES` say.
    pub(crate) const fn of(preferences: i32) -> Self {
        match preferences & 3 {
            1 => Self::Temporary,
            2 => Self::Public,
            _ => Self::Usual,
        }
    }
}

/// The address with which to send to `dst` by device `oif`; `None` if there is none (`ipv6_dev_get_saddr`).
pub(crate) fn source(links: &Links, inet6: &Inet6, dst: Ipv6Addr, oif: u32, prefer: Prefer) -> Option<Ipv6Addr> {
    let born;
    let labels = match &inet6.labels {
        Some(labels) => labels,
        None => {
            born = Labels::default();
            &born
        }
    };
    let asked = Asked { dst, oif, labels, prefer, inet6 };
    let own_only = dst.is_multicast()
        || scope(dst) <= level::LINK
        || links.by_index(oif).is_some_and(|link| inet6.dev_conf(&link, devconf::USE_OIF_ADDRS_ONLY) != 0);
    // Where none is named any will do, and the loopback sends to our own addresses, whosever device has them.
    let own_only = own_only && !matches!(oif, 0 | 1);
    let mut best: Option<(u32, &Ifa6)> = None;
    for (&ifindex, idev) in inet6.devs.iter().filter(|(ifindex, _)| !own_only || **ifindex == oif) {
        for ifa in idev.addrs.iter().filter(|ifa| !ifa.is_unusable() && !ifa.addr.is_multicast()) {
            let better = best.is_none_or(|(of, than)| asked.compare((ifindex, ifa), (of, than)) == Ordering::Greater);
            if better {
                best = Some((ifindex, ifa));
            }
        }
    }
    best.map(|(_, ifa)| ifa.addr)
}

struct Asked<'l> {
    dst: Ipv6Addr,
    oif: u32,
    labels: &'l Labels,
    prefer: Prefer,
    inet6: &'l Inet6,
}

impl Asked<'_> {
    /// Rule by rule; `Greater` if the first is the better one. That home addresses are better (rule 4) is so with mobile IPv6,
    /// which is not here.
    fn compare(&self, (on_a, a): (u32, &Ifa6), (on_b, b): (u32, &Ifa6)) -> Ordering {
        let dst_scope = scope(self.dst);
        // A scope that reaches far enough is better the smaller it is; one that does not, the larger.
        let fit = |ifa: &Ifa6| {
            let own = scope(ifa.addr);
            if own >= dst_scope { 256 - i32::from(own) } else { i32::from(own) - 256 }
        };
        let usual = |ifa: &Ifa6| !ifa.has(ifa_flag::DEPRECATED) && !ifa.has(ifa_flag::OPTIMISTIC);
        let label = |on: u32, addr: Ipv6Addr| self.labels.get(addr, on).map(|l| l.label);
        let wanted = label(self.oif, self.dst);
        let common = |ifa: &Ifa6| {
            let bits = (ifa.addr.to_bits() ^ self.dst.to_bits()).leading_zeros();
            bits.min(ifa.prefix_len.into())
        };
        (a.addr == self.dst)
            .cmp(&(b.addr == self.dst))
            .then_with(|| fit(a).cmp(&fit(b)))
            .then_with(|| usual(a).cmp(&usual(b)))
            .then_with(|| (on_a == self.oif).cmp(&(on_b == self.oif)))
            .then_with(|| (label(on_a, a.addr) == wanted).cmp(&(label(on_b, b.addr) == wanted)))
            .then_with(|| self.is_preferred(on_a, a).cmp(&self.is_preferred(on_b, b)))
            .then_with(|| common(a).cmp(&common(b)))
    }

    /// Rule 7: temporary addresses, or others.
    fn is_preferred(&self, on: u32, ifa: &Ifa6) -> bool {
        let temporary = match self.prefer {
            Prefer::Temporary => true,
            Prefer::Public => false,
            Prefer::Usual => {
                let idev = self.inet6.dev(on);
                idev.and_then(|idev| idev.conf.get(devconf::USE_TEMPADDR)).is_some_and(|used| used > 1)
            }
        };
        ifa.has(ifa_flag::TEMPORARY) == temporary
    }
}
