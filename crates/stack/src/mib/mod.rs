//! What protocols count (`net/snmp.h`): `/proc/net/snmp`, `snmp6`, `netstat` and `dev_snmp6`.
//!
//! [`names`] says what there is to count, [`files`] shows it, [`ip`] has what both protocols of the network layer count of
//! each packet. Who counts says what happened, and knows no file.
//!
//! Each counter stands for itself, as on Linux: a reader may see a packet counted whose bytes are not yet. So relaxed order is
//! enough, and nothing is locked. Where packets come one after the other, what they have in common is summed and counted once
//! ([`ip::Tally`]).

mod files;
mod ip;
mod names;

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use files::Inet6Stats;
pub(crate) use files::{dev_snmp6, netstat, snmp, snmp6};
pub(crate) use ip::{
    Tally, arrived4, arrived6, left4, left6, passed_here, passed_out, routed, sends_message6, to_many4, transmitted4,
    transmitted6,
};
pub(crate) use names::{Counted, Icmp, Icmp6, Ip, Ip6, IpExt, Tcp, TcpExt, Udp};

use crate::dev::Link;
use crate::l2::count;
use crate::state::{Lazy, NetState};

/// A group of counters.
#[derive(Debug)]
pub(crate) struct Mib<E, const N: usize> {
    counters: [AtomicU64; N],
    of: PhantomData<E>,
}

impl<E, const N: usize> Default for Mib<E, N> {
    fn default() -> Self {
        Self { counters: [const { AtomicU64::new(0) }; N], of: PhantomData }
    }
}

impl<E: Counted, const N: usize> Mib<E, N> {
    #[inline]
    pub(crate) fn add(&self, which: E, more: u64) {
        if let Some(counter) = self.counters.get(which.place()) {
            counter.fetch_add(more, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn inc(&self, which: E) {
        self.add(which, 1);
    }

    pub(crate) fn get(&self, which: E) -> u64 {
        self.counters.get(which.place()).map_or(0, |counter| counter.load(Relaxed))
    }

    /// Each with its name.
    fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        E::NAMES.iter().copied().zip(self.counters.iter().map(|counter| counter.load(Relaxed)))
    }
}

/// Types of messages that have a place of their own: those that have names in `snmp`, in `snmp6`.
const USUAL: [[u8; 15]; 2] = [
    [3, 11, 12, 4, 5, 8, 0, 13, 14, 17, 18, 9, 10, 30, 40],
    [1, 2, 3, 4, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 143],
];

/// ICMP messages by type, which there may be 256 of, and most of which nobody ever sends.
#[derive(Debug)]
pub(crate) struct Messages<const V6: bool> {
    usual: [AtomicU64; 15],
    others: Lazy<Others>,
}

#[derive(Debug)]
struct Others([AtomicU64; 256]);

impl Default for Others {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; 256])
    }
}

impl<const V6: bool> Default for Messages<V6> {
    fn default() -> Self {
        Self { usual: [const { AtomicU64::new(0) }; 15], others: Lazy::new() }
    }
}

impl<const V6: bool> Messages<V6> {
    pub(crate) fn inc(&self, ty: u8) {
        let counter = match USUAL[usize::from(V6)].iter().position(|usual| *usual == ty) {
            Some(place) => self.usual.get(place),
            None => self.others.0.get(usize::from(ty)),
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn get(&self, ty: u8) -> u64 {
        let counter = match USUAL[usize::from(V6)].iter().position(|usual| *usual == ty) {
            Some(place) => self.usual.get(place),
            None => self.others.peek().and_then(|others| others.0.get(usize::from(ty))),
        };
        counter.map_or(0, |counter| counter.load(Relaxed))
    }
}

type IpMib = Mib<Ip, { Ip::NAMES.len() }>;
type IpExtMib = Mib<IpExt, { IpExt::NAMES.len() }>;
type IcmpMib = Mib<Icmp, { Icmp::NAMES.len() }>;
type Ip6Mib = Mib<Ip6, { Ip6::NAMES.len() }>;
type Icmp6Mib = Mib<Icmp6, { Icmp6::NAMES.len() }>;
type TcpMib = Mib<Tcp, { Tcp::NAMES.len() }>;
type TcpExtMib = Mib<TcpExt, { TcpExt::NAMES.len() }>;
pub(crate) type UdpMib = Mib<Udp, { Udp::NAMES.len() }>;

/// What IPv4 and ICMP count.
#[derive(Debug, Default)]
pub(crate) struct Mib4 {
    pub(crate) ip: IpMib,
    pub(crate) ext: IpExtMib,
    pub(crate) icmp: IcmpMib,
    pub(crate) received: Messages<false>,
    pub(crate) sent: Messages<false>,
}

/// What IPv6 and ICMPv6 count, in a namespace or on a device.
#[derive(Debug, Default)]
pub(crate) struct Mib6 {
    pub(crate) ip: Ip6Mib,
    pub(crate) icmp: Icmp6Mib,
    pub(crate) received: Messages<true>,
    pub(crate) sent: Messages<true>,
}

/// What TCP counts, of both protocols.
#[derive(Debug, Default)]
pub(crate) struct MibTcp {
    pub(crate) tcp: TcpMib,
    pub(crate) ext: TcpExtMib,
}

/// What UDP and UDP-Lite count, by IPv4 and by IPv6.
#[derive(Debug, Default)]
pub(crate) struct MibUdp {
    plain: [UdpMib; 2],
    lite: [UdpMib; 2],
}

impl MibUdp {
    pub(crate) fn of(&self, lite: bool, v6: bool) -> &UdpMib {
        let [four, six] = if lite { &self.lite } else { &self.plain };
        if v6 { six } else { four }
    }
}

/// All counters of a namespace, each group made with the first that is counted of it.
#[derive(Debug)]
pub(crate) struct Mibs {
    pub(crate) v4: Lazy<Mib4>,
    pub(crate) v6: Lazy<Mib6>,
    pub(crate) tcp: Lazy<MibTcp>,
    pub(crate) udp: Lazy<MibUdp>,
}

impl Mibs {
    pub(crate) const fn new() -> Self {
        Self { v4: Lazy::new(), v6: Lazy::new(), tcp: Lazy::new(), udp: Lazy::new() }
    }
}

/// Counts of IPv6, in the namespace and on a device of it.
pub(crate) fn on(state: &NetState, link: &Link, add: impl Fn(&Mib6)) {
    add(&state.mib.v6);
    count(state, link, |counters| add(counters.inet6()));
}

/// Likewise, on the device with this index if there is one.
pub(crate) fn on_index(state: &NetState, ifindex: u32, add: impl Fn(&Mib6)) {
    match state.links.by_index(ifindex) {
        Some(link) => on(state, &link, add),
        None => add(&state.mib.v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_a_counter_for_each_name() {
        let mib = IpMib::default();
        mib.inc(Ip::InReceives);
        mib.add(Ip::OutTransmits, 3);
        let counted: Vec<_> = mib.named().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("InReceives", 1), ("OutTransmits", 3)]);
    }

    #[test]
    fn messages_of_any_type_are_told_apart() {
        let messages = Messages::<true>::default();
        for ty in 0..=255 {
            (0..=ty).for_each(|_| messages.inc(ty));
        }
        assert!((0..=255).all(|ty| messages.get(ty) == u64::from(ty) + 1));
    }

    #[test]
    fn who_sends_no_strange_messages_pays_for_none() {
        assert!(size_of::<Mib6>() <= 600, "{}", size_of::<Mib6>());
        assert!(size_of::<Mibs>() <= 64, "{}", size_of::<Mibs>());
    }
}
