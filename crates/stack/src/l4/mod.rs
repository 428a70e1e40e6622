//! Layer 4: sockets and what is delivered to them (`net/ipv4/{udp,ping,raw,tcp}.c`, `net/packet`).
//!
//! - [`ports`] says who has which port, for every protocol that has some.
//! - [`sock`] is a socket without connections, with [`options`], [`queue`] and control messages ([`cmsg`]); [`udp`],
//!   [`ping`] and [`raw`] are what such sockets speak.
//! - [`diag`] and [`proc`] list them.
//! - [`packet`] sockets hear what devices send and receive, through a [`filter`].
//! - [`user`] is how programs of this process and the supervisor of others reach them.

pub(crate) mod address;
pub(crate) mod cmsg;
mod diag;
pub(crate) mod filter;
pub(crate) mod filters;
mod member;
pub(crate) mod options;
pub(crate) mod packet;
mod ping;
pub(crate) mod ports;
pub(crate) mod proc;
pub(crate) mod queue;
mod raw;
mod send;
pub(crate) mod sock;
mod sockopt;
pub(crate) mod tcp;
#[cfg(test)]
mod tests;
pub(crate) mod times;
mod udp;
pub(crate) mod user;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dev::Link;
use crate::l2::{Cx, Work, later};
use crate::l3::{Delivered, IcmpError, Received};
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::{Lazy, Ns};
use filters::Filters;
use packet::Packets;
use ports::{Ports, Rules};
use raw::Raws;
use sock::{IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_UDP, IPPROTO_UDPLITE, Kind, Proto, Sock};

/// The protocol of [`tcp`].
const IPPROTO_TCP: u8 = 6;

/// What tells a socket from all others of this process (`sock_gen_cookie`).
fn next_cookie() -> u64 {
    static COOKIES: AtomicU64 = AtomicU64::new(1);
    COOKIES.fetch_add(1, Ordering::Relaxed)
}

/// Those of UDP or ping: a table of datagrams.
#[derive(Debug)]
pub(crate) struct Datagrams(Ports<Arc<Sock>>);

impl Default for Datagrams {
    fn default() -> Self {
        Self(Ports::new(Rules::Datagram))
    }
}

/// The sockets of a namespace, in tables made on first use.
#[derive(Debug)]
pub(crate) struct Layer4 {
    udp: Lazy<Datagrams>,
    udplite: Lazy<Datagrams>,
    ping: Lazy<Datagrams>,
    ping6: Lazy<Datagrams>,
    raw: Lazy<Raws>,
    packets: Lazy<Packets>,
    filters: Lazy<Filters>,
}

impl Layer4 {
    pub(crate) const fn new() -> Self {
        Self {
            udp: Lazy::new(),
            udplite: Lazy::new(),
            ping: Lazy::new(),
            ping6: Lazy::new(),
            raw: Lazy::new(),
            packets: Lazy::new(),
            filters: Lazy::new(),
        }
    }

    /// Where such a socket has its port; raw ones have none.
    fn ports(&self, kind: Kind) -> Option<&Ports<Arc<Sock>>> {
        match (kind.proto, kind.v6) {
            (Proto::Udp, _) => Some(&self.udp.0),
            (Proto::UdpLite, _) => Some(&self.udplite.0),
            (Proto::Ping, false) => Some(&self.ping.0),
            (Proto::Ping, true) => Some(&self.ping6.0),
            (Proto::Raw(_), _) => None,
        }
    }

    /// Of either kind of UDP.
    fn peek_udp(&self, proto: Proto) -> Option<&Ports<Arc<Sock>>> {
        if proto == Proto::UdpLite { &self.udplite } else { &self.udp }.peek().map(|table| &table.0)
    }

    fn peek_ping(&self, v6: bool) -> Option<&Ports<Arc<Sock>>> {
        if v6 { &self.ping6 } else { &self.ping }.peek().map(|table| &table.0)
    }

    /// What sockets want to hear of groups.
    pub(crate) fn peek_filters(&self) -> Option<&Filters> {
        self.filters.peek()
    }

    fn peek_raw(&self) -> Option<&Raws> {
        self.raw.peek()
    }
}

/// A device goes through something: packet sockets are told later, as whoever holds rtnl takes no socket's lock.
pub(crate) fn netdev_event(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link, event: NetdevEvent) {
    let gone = match event {
        NetdevEvent::Down => false,
        NetdevEvent::Unregister => true,
        _ => return,
    };
    if ns.l4.packets.peek().is_some() {
        later(rtnl.stack(), ns, Work::DeviceGone(link.index(), gone));
    }
}

/// A packet for this host, to whoever waits for it (`ip_local_deliver_finish`): raw sockets get copies, then the protocol.
///
/// ICMP comes here when it was judged and acted upon, for the sockets that speak it.
pub(crate) fn deliver(cx: Cx<'_>, packet: Received) -> Delivered {
    let heard = raw::deliver(cx, &packet);
    match (packet.protocol, packet.dst.is_ipv6()) {
        (IPPROTO_UDP | IPPROTO_UDPLITE, _) => udp::rcv(cx, packet),
        (IPPROTO_TCP, _) => tcp::rcv(cx, packet),
        (IPPROTO_ICMP, false) | (IPPROTO_ICMPV6, true) => {
            ping::rcv(cx, packet);
            Delivered::Done
        }
        _ if heard => Delivered::Done,
        _ => Delivered::NoProtocol(packet.frame),
    }
}

/// An error that concerns a packet of a socket's (`udp_err`, `tcp_v4_err`, `raw_err`, `ping_err`). False if its protocol knows
/// of no such packet; raw sockets are not asked.
pub(crate) fn error(cx: Cx<'_>, error: &IcmpError<'_>) -> bool {
    raw::err(cx, error);
    match (error.protocol, error.dst.is_ipv6()) {
        (IPPROTO_UDP | IPPROTO_UDPLITE, _) => udp::err(cx, error),
        (IPPROTO_TCP, _) => tcp::error(cx, error),
        (IPPROTO_ICMP, false) | (IPPROTO_ICMPV6, true) => {
            ping::err(cx, error);
            true
        }
        _ => false,
    }
}
