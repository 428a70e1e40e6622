//! TCP (`net/ipv4/tcp*.c`).
//!
//! - [`smoltcp`] is the engine of one connection, and the only folder that names the crate; [`rest`] says when it is not kept.
//! - [`sock`] is the socket around it: its place in the port table, its timer, who waits for it. [`input`] is what segments do
//!   to it, [`user`] what programs do. What smoltcp leaves out is done there, from what the segments show: the queues of a
//!   listener, errors, keep-alive probes, limits of patience, [urgent](urgent) bytes, and TIME-WAIT ([`timewait`]).
//! - [`splice`] is what becomes of a connection whose bytes need no segments ([`aside`]: between programs of this process),
//!   [`join`] of one whose bytes do not come here.
//! - [`metrics`] is what is remembered of other hosts.
//! - [`told`] is who is told of all this.
//! - [`stream`] is what Rust programs use.
//!
//! A segment finds its socket by one look into the table that UDP uses too ([`crate::l4::ports`]). Each socket has a lock of
//! its own, so two connections never wait for each other.

mod aside;
mod ask;
mod buffers;
mod count;
mod diag;
mod ends;
mod info;
mod input;
mod ip_options;
mod join;
mod md5sig;
mod metrics;
mod moment;
mod options;
mod output;
mod rest;
mod segment;
mod smoltcp;
mod sock;
mod splice;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod timer;
mod timewait;
#[cfg(feature = "tokio")]
mod tokio;
mod told;
mod urgent;
mod user;
mod waiting;
mod way;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use ask::TcpReadiness;
pub(in crate::l4) use diag::as_listed;
pub(crate) use diag::proc_lines;
pub use diag::{InetEntry, TcpTimer};
pub use info::TcpInfo;
pub use md5sig::Md5Key;
pub use metrics::TcpMetrics;
pub(crate) use sock::Sock;
pub use splice::{TcpShortcut, TcpWay};
pub use state::State as TcpState;
pub use stream::{TcpListener, TcpSocket, TcpStream};
pub(crate) use timer::SockTimers;
pub use told::TcpUser;

use self::md5sig::Keys;
use self::segment::{Header, RST};
use self::timewait::{Late, TimeWait};
use self::waiting::Waiting;
use super::ports::{Ends, Ports, Rules};
use crate::l2::{Cx, Frame};
use crate::l3::{self, Delivered, Flow, IcmpError, Reach, Received};
use crate::mib;

/// Who has a port.
#[derive(Clone, Debug)]
pub(crate) enum Holder {
    /// A socket.
    Sock(Arc<Sock>),
    /// What is left of one.
    TimeWait(Arc<TimeWait>),
}

/// The TCP of a namespace.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) ports: Ports<Holder>,
    /// Connections in TIME-WAIT. A leaf lock.
    waiting: Mutex<Waiting>,
    /// Of other hosts, what is remembered.
    hosts: metrics::Hosts,
}

impl Default for Tcp {
    fn default() -> Self {
        Self { ports: Ports::new(Rules::Stream), waiting: Mutex::default(), hosts: metrics::Hosts::default() }
    }
}

impl Tcp {
    /// A connection enters TIME-WAIT: it takes the place of its socket.
    fn remember(&self, connection: Arc<TimeWait>, now: Duration) {
        self.ports.replace(connection.ticket, Holder::TimeWait(Arc::clone(&connection)));
        self.waiting().push(connection);
        self.expire(now);
    }

    /// Forgets those whose time is over. They are looked for when the next one comes, or somebody asks: nobody else can
    /// tell the difference.
    pub(crate) fn expire(&self, now: Duration) {
        let over = self.waiting().over(now);
        over.iter().for_each(|connection| self.ports.release(connection.ticket));
    }

    fn forget(&self, connection: &TimeWait) {
        self.waiting().forget(connection);
        self.ports.release(connection.ticket);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A segment for this host (`tcp_v4_rcv`). One that belongs to nobody is answered here, so there is never an ICMP message.
pub(crate) fn rcv(cx: Cx<'_>, packet: Received) -> Delivered {
    // What came to all, or to a group, is no connection's.
    if packet.reach != Reach::Local {
        return Delivered::Done;
    }
    let mib = &count::mib(cx).tcp;
    mib.inc(mib::Tcp::InSegs);
    let Some(header) = Header::parse(packet.frame.data()) else {
        // One that ends within its header is not even wrong.
        mib.add(mib::Tcp::InErrs, (packet.frame.len() >= segment::HEADER_LEN).into());
        return Delivered::Done;
    };
    if !segment::checksum_is_right(&packet.frame, packet.src, packet.dst) {
        mib.inc(mib::Tcp::InCsumErrors);
        mib.inc(mib::Tcp::InErrs);
        return Delivered::Done;
    }
    let ends = Ends {
        src: SocketAddr::new(packet.src, header.sport),
        dst: SocketAddr::new(packet.dst, header.dport),
        device: packet.iif,
    };
    let tcp = &*cx.state.tcp;
    match tcp.ports.lookup(&ends) {
        Some(Holder::Sock(sock)) => sock.segment(cx, &header, packet),
        Some(Holder::TimeWait(connection)) => {
            let stamp = segment::options(packet.frame.data(), &header).timestamp.map(|(value, _)| value);
            match connection.segment(&header, stamp, cx.now()) {
                _ if connection.until() <= cx.now() => {
                    tcp.forget(&connection);
                    listener_or_reset(cx, &ends, &header, packet);
                }
                Late::Ignore => {}
                Late::Answer(frame) => reply(cx, &packet, frame, connection.md5.as_deref()),
                Late::Forget => tcp.forget(&connection),
                Late::Reopen => {
                    tcp.forget(&connection);
                    listener_or_reset(cx, &ends, &header, packet);
                }
            }
        }
        None => reset(cx, &header, &packet, None),
    }
    Delivered::Done
}

fn listener_or_reset(cx: Cx<'_>, ends: &Ends, header: &Header, packet: Received) {
    match cx.state.tcp.ports.lookup_listener(ends) {
        Some(Holder::Sock(sock)) => sock.segment(cx, header, packet),
        _ => reset(cx, header, &packet, None),
    }
}

/// Answers a segment of nobody's (`tcp_v4_send_reset`), or of who has these keys. To who signs, nothing would say anything
/// that is not signed.
fn reset(cx: Cx<'_>, header: &Header, packet: &Received, keys: Option<&Keys>) {
    let heard = keys.is_some() || !md5sig::is_signed(packet, header);
    if !header.has(RST) && heard {
        reply(cx, packet, segment::reset_for(header), keys);
    }
}

/// Sends a segment back to where `packet` came from.
fn reply(cx: Cx<'_>, packet: &Received, mut frame: Frame, keys: Option<&Keys>) {
    if let Some(key) = keys.and_then(|keys| keys.of(packet.src)) {
        md5sig::sign(&mut frame, (packet.dst, packet.src), key, true);
    }
    let Some(header) = Header::parse(frame.data()) else { return };
    let flow = Flow {
        src: Some(packet.dst),
        oif: if sock::is_link_local(packet.src) { packet.iif } else { 0 },
        mark: l3::reply_mark(cx, packet.src, packet.frame.mark),
        tos: packet.tos & !3,
        protocol: segment::PROTOCOL,
        sport: header.sport,
        dport: header.dport,
        ..Flow::to(packet.src)
    };
    let Ok(route) = l3::route_output(cx, &flow) else { return };
    count::sent_bare(cx, &header);
    segment::leave_checksum(&mut frame, packet.dst, packet.src);
    let header = l3::Header { protocol: segment::PROTOCOL, tos: flow.tos, ..l3::Header::default() };
    // As any packet, it may be lost.
    let _ = l3::ip_output(cx, &route, &header, frame);
}

/// Somebody says that a segment of ours did not arrive (`tcp_v4_err`). False if nobody here could have sent it.
pub(crate) fn error(cx: Cx<'_>, error: &IcmpError<'_>) -> bool {
    let Some(&[s1, s2, d1, d2, q1, q2, q3, q4]) = error.transport.first_chunk::<8>() else { return false };
    let Some(tcp) = cx.state.tcp.peek() else { return false };
    let ends = Ends {
        src: SocketAddr::new(error.dst, u16::from_be_bytes([d1, d2])),
        dst: SocketAddr::new(error.src, u16::from_be_bytes([s1, s2])),
        device: error.iif,
    };
    let Some(holder) = tcp.ports.lookup(&ends) else { return false };
    if let Holder::Sock(sock) = holder {
        sock.icmp_error(cx, ends.src, u32::from_be_bytes([q1, q2, q3, q4]), error);
    }
    true
}
