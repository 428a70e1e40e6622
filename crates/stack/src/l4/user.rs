//! Sockets without connections for those who have a namespace in hand: the programs of this process, and the supervisor
//! that stands between a stack and programs that know nothing of it.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pernet::{Net, NetRef};

use super::address::mapped;
use super::cmsg::{self, ControlMessage};
use super::options::Options;
use super::queue::{ErrorOrigin, Meta, QueuedError, Waiting};
use super::send::sendmsg;
use super::sock::{Caller, Kind, OnReady, Proto, Root, Sock};
use super::times::Times;
use super::{ping, sockopt, udp};
use crate::dev::Stack;
use crate::errno;
use crate::l2::netif_rx;
use crate::wait;

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InetProtocol {
    /// UDP.
    Udp,
    /// UDP with checksums over parts.
    UdpLite,
    /// ICMP echo requests and their answers.
    Ping,
    /// Whole packets of a protocol (`IPPROTO_*`).
    Raw(u8),
}

/// An error of a socket, by the number that Linux gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", std::io::Error::from_raw_os_error(*.0))]
pub struct SocketError(i32);

impl SocketError {
    /// The errno.
    #[must_use]
    pub const fn errno(self) -> i32 {
        self.0
    }
}

impl From<i32> for SocketError {
    fn from(errno: i32) -> Self {
        Self(errno)
    }
}

impl From<SocketError> for std::io::Error {
    fn from(error: SocketError) -> Self {
        Self::from_raw_os_error(error.0)
    }
}

/// Nothing is there yet.
const WOULD_BLOCK: SocketError = SocketError(errno::EAGAIN);

/// A packet that was received.
#[derive(Clone, Debug)]
pub struct Packet(Waiting);

impl Packet {
    /// What was sent; of a raw IPv4 socket with the network header.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.0.frame.data()
    }

    /// Memory that Linux would have for it.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.memory()
    }

    /// What is known of it.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.0.meta
    }
}

/// What a socket is ready for (`poll`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// A packet waits, or none will ever come.
    pub readable: bool,
    /// An error waits, or one is to be told.
    pub error: bool,
}

/// A socket without connections, with all that programs may ask of one. Its calls never wait.
///
/// It ends when it is dropped. [`UdpSocket`], [`PingSocket`] and [`RawSocket`] are easier to use.
#[derive(Debug)]
pub struct InetSocket(Arc<Sock>);

impl InetSocket {
    /// A fresh one in `net`, of IPv6 if `v6`, made by the user `uid`. Who may have one is the caller's to judge.
    #[must_use]
    pub fn new(stack: &Stack, net: NetRef, v6: bool, protocol: InetProtocol, uid: u32) -> Self {
        let proto = match protocol {
            InetProtocol::Udp => Proto::Udp,
            InetProtocol::UdpLite => Proto::UdpLite,
            InetProtocol::Ping => Proto::Ping,
            InetProtocol::Raw(protocol) => Proto::Raw(protocol),
        };
        Self(Sock::new(stack, net, Kind { v6, proto }, uid))
    }

    /// Whether a member of these groups may have a [ping](InetProtocol::Ping) socket.
    #[must_use]
    pub fn may_ping(stack: &Stack, net: &Net, groups: impl IntoIterator<Item = u32>) -> bool {
        stack.state(net).is_some_and(|state| ping::admits(crate::state::Ns::living(state, net), groups))
    }

    /// Asks `outside`, with no lock held, how much memory that takes which was received from this socket and not yet by
    /// whom it is for: see [`Packet::memory`]. It is shown as waiting, and takes room of the buffer. `None` is for: not to be
    /// known just now.
    pub fn on_listing(&self, outside: Option<Arc<dyn Fn() -> Option<usize> + Send + Sync>>) {
        self.0.outside.set(outside);
    }

    /// Calls `callback` whenever [`Self::readiness`] may be another than before. It may wake somebody, and nothing else.
    pub fn on_ready(&self, callback: Option<OnReady>) {
        self.0.on_ready(callback);
    }

    /// Says by which inode number programs know the file that stands for it.
    pub fn set_inode(&self, inode: u64) {
        self.0.inode.store(inode, std::sync::atomic::Ordering::Relaxed);
    }

    /// `bind`.
    ///
    /// # Errors
    /// As Linux gives them.
    pub fn bind(&self, addr: SocketAddr, caller: &dyn Caller) -> Result<(), SocketError> {
        Ok(self.0.bind(addr, caller)?)
    }

    /// `connect`; to nobody for `None`.
    ///
    /// # Errors
    /// As Linux gives them.
    pub fn connect(&self, to: Option<SocketAddr>) -> Result<(), SocketError> {
        match to {
            Some(to) => Ok(self.0.connect(to)?),
            None => {
                self.0.disconnect();
                Ok(())
            }
        }
    }

    /// `getsockname`.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        let state = self.0.lock();
        let port = match self.0.kind.proto {
            Proto::Raw(protocol) => protocol.into(),
            _ => state.port,
        };
        let device = state.device;
        self.dressed(super::address::endpoint(state.local, port, device))
    }

    /// Whether packets go to somebody without an address.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.lock().peer.is_some()
    }

    /// `getpeername`.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        // Of one without a port Linux says that it is not connected.
        self.0.lock().peer.filter(|peer| peer.port() != 0).map(|peer| self.dressed(peer))
    }

    /// An end as a program of the socket's family sees it.
    fn dressed(&self, end: SocketAddr) -> SocketAddr {
        match end {
            // An IPv6 socket's "any address" is never IPv4's.
            _ if !self.0.kind.v6 => end,
            end => mapped(end),
        }
    }

    /// `sendmsg`: how many bytes were taken, which is all of them. What comes of it has been received when it returns.
    ///
    /// # Errors
    /// As Linux gives them.
    pub fn send(
        &self,
        payload: &[u8],
        to: Option<SocketAddr>,
        control: &[ControlMessage],
        flags: i32,
        caller: &dyn Caller,
    ) -> Result<usize, SocketError> {
        Ok(sendmsg(&self.0, caller, payload, to, control, flags)?)
    }

    /// As [`Self::send`] to the peer, for a program that was told already that all went well: what an earlier packet met
    /// is still to be told.
    ///
    /// # Errors
    /// As there, and nobody hears of them.
    pub fn send_untold(&self, payload: &[u8]) -> Result<usize, SocketError> {
        let earlier = self.0.take_error();
        let sent = self.send(payload, None, &[], 0, &Root);
        if earlier.is_some() {
            self.0.report(None, earlier);
        }
        sent
    }

    /// Takes the packet that came first; `None` if there is none, or if none will come any more
    /// ([`Self::no_more_in`]).
    ///
    /// # Errors
    /// An error that was to be told first; it is told once.
    pub fn recv(&self) -> Result<Option<Packet>, SocketError> {
        let mut state = self.0.lock();
        if let Some(error) = state.error.take() {
            return Err(error.into());
        }
        let packet = state.queue.pop(false);
        drop(state);
        Ok(packet.map(|packet| self.taken(packet)))
    }

    /// As [`Self::recv`], whatever is to be told first. It takes room of the buffer as long as it is said to wait
    /// [outside](Self::on_listing).
    #[must_use]
    pub fn next_packet(&self) -> Option<Packet> {
        let packet = self.0.lock().queue.pop(true);
        packet.map(|packet| self.taken(packet))
    }

    fn taken(&self, packet: Waiting) -> Packet {
        udp::taken(&self.0, &packet.meta);
        self.shown(Packet(packet))
    }

    /// As [`Self::recv`], and leaves it there (`MSG_PEEK`).
    ///
    /// # Errors
    /// As there.
    pub fn peek(&self) -> Result<Option<Packet>, SocketError> {
        let mut state = self.0.lock();
        if let Some(error) = state.error.take() {
            return Err(error.into());
        }
        Ok(state.queue.front().cloned().map(Packet).map(|packet| self.shown(packet)))
    }

    fn shown(&self, mut packet: Packet) -> Packet {
        packet.0.meta.from = self.dressed(packet.0.meta.from);
        packet
    }

    /// Takes the error that came first, of those that `IP_RECVERR` asks for (`MSG_ERRQUEUE`).
    #[must_use]
    pub fn recv_error(&self) -> Option<QueuedError> {
        let mut state = self.0.lock();
        let mut error = state.queue.errors().pop()?;
        error.to = error.to.map(|to| self.dressed(to));
        let next = state.queue.front_error().filter(|next| next.origin != ErrorOrigin::Timestamping);
        let next = next.filter(|next| next.offender.is_some()).map(|next| next.errno);
        // What is told next is what waits next; that a packet was sent takes nothing back.
        if next.is_some() || error.origin != ErrorOrigin::Timestamping {
            state.error = next;
        }
        Some(error)
    }

    /// By what a program is told things beside a packet.
    fn asked(&self) -> (Options, Times) {
        let state = self.0.lock();
        (state.options.clone(), state.times)
    }

    /// Whether all that is to be told are times of what was sent: errors that are none.
    #[must_use]
    pub fn only_times(&self) -> bool {
        let state = self.0.lock();
        state.error.is_none() && state.queue.front_error().is_some_and(|e| e.origin == ErrorOrigin::Timestamping)
    }

    /// The control messages that come with a packet, by what was asked for.
    #[must_use]
    pub fn control(&self, meta: &Meta) -> Vec<ControlMessage> {
        let (options, times) = self.asked();
        let told = |cx| cmsg::received(cx, self.0.kind.v6, (&options, &times), meta);
        self.0.cx().map(told).unwrap_or_default()
    }

    /// The control messages that come with an error, by what was asked for.
    #[must_use]
    pub fn error_control(&self, error: &QueuedError) -> Vec<ControlMessage> {
        let (options, times) = self.asked();
        let told = |cx| cmsg::of_error(cx, self.0.kind.v6, (&options, &times), error);
        self.0.cx().map(told).unwrap_or_default()
    }

    /// What the socket is ready for. There is always room to send.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let state = self.0.lock();
        Readiness {
            readable: state.queue.front().is_some() || state.no_more_in,
            error: state.error.is_some() || state.queue.front_error().is_some(),
        }
    }

    /// Whether it was shut down for receiving.
    #[must_use]
    pub fn no_more_in(&self) -> bool {
        self.0.lock().no_more_in
    }

    /// Takes the error that is to be told (`SO_ERROR`).
    #[must_use]
    pub fn take_error(&self) -> Option<SocketError> {
        self.0.take_error().map(SocketError)
    }

    /// `shutdown`.
    ///
    /// # Errors
    /// `EINVAL`; `ENOTCONN` although it is done.
    pub fn shutdown(&self, how: i32) -> Result<(), SocketError> {
        Ok(self.0.shutdown(how)?)
    }

    /// `setsockopt`, level and name as Linux numbers them.
    ///
    /// # Errors
    /// As Linux gives them.
    pub fn set_option(&self, level: i32, name: i32, value: &[u8], caller: &dyn Caller) -> Result<(), SocketError> {
        Ok(sockopt::set(&self.0, caller, level, name, value)?)
    }

    /// `getsockopt` with this much room.
    ///
    /// # Errors
    /// As Linux gives them.
    pub fn option(&self, level: i32, name: i32, room: usize) -> Result<Vec<u8>, SocketError> {
        self.option_of(level, name, room, &[])
    }

    /// As that, of an option that is asked for by what stands where the answer goes: [so much](Self::asks) of it.
    ///
    /// # Errors
    /// As there.
    pub fn option_of(&self, level: i32, name: i32, room: usize, given: &[u8]) -> Result<Vec<u8>, SocketError> {
        Ok(sockopt::get(&self.0, level, name, room, given)?)
    }

    /// How many bytes an option reads of what stands where its answer goes.
    #[must_use]
    pub const fn asks(level: i32, name: i32) -> usize {
        sockopt::asks(level, name)
    }

    /// Closes the socket, and lets a packet that it alone got come in again: for others who hear of it, or to be refused.
    ///
    /// A supervisor that learns late of a program's end does this with what came after it.
    pub fn close_before(&self, packet: Packet) {
        self.0.close();
        let Some(cx) = self.0.cx() else { return };
        let Packet(Waiting { mut frame, meta }) = packet;
        // Of other packets everybody else has a copy.
        let alone = match meta.dst {
            IpAddr::V4(dst) => super::address::address_type(cx, dst) == crate::fib::route_type::LOCAL,
            IpAddr::V6(dst) => !dst.is_multicast(),
        };
        if alone && self.0.kind.proto.is_udp() {
            frame.pull_back_to_network();
            netif_rx(cx, meta.ifindex, frame);
            self.0.stack.run_packets();
        }
    }

    /// Waits until something is there to be received, or the time is over; says whether.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let ready = || {
            let state = self.0.lock();
            (state.queue.front().is_some() || state.no_more_in || state.error.is_some()).then_some(())
        };
        wait::wait_for(&self.0.stack, deadline, |waker| self.0.register(waker), ready).is_some()
    }
}

impl Drop for InetSocket {
    fn drop(&mut self) {
        self.0.close();
    }
}

macro_rules! blocking {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(InetSocket);

        impl $name {
            /// All that there is to ask of it.
            #[must_use]
            pub const fn as_inet(&self) -> &InetSocket {
                &self.0
            }

            /// The end that it has.
            #[must_use]
            pub fn local_addr(&self) -> SocketAddr {
                self.0.local_addr()
            }

            /// Sends to `to`, and receives from there alone.
            ///
            /// # Errors
            /// As `connect` of Linux gives them.
            pub fn connect(&self, to: SocketAddr) -> Result<(), SocketError> {
                self.0.connect(Some(to))
            }

            /// Sends a packet to whom it is connected to.
            ///
            /// # Errors
            /// As `send` of Linux gives them.
            pub fn send(&self, payload: &[u8]) -> Result<usize, SocketError> {
                self.0.send(payload, None, &[], 0, &Root)
            }

            /// Sends a packet.
            ///
            /// # Errors
            /// As `sendto` of Linux gives them.
            pub fn send_to(&self, payload: &[u8], to: SocketAddr) -> Result<usize, SocketError> {
                self.0.send(payload, Some(to), &[], 0, &Root)
            }

            /// Takes a packet that is there already, and tells who sent it.
            ///
            /// # Errors
            /// `EAGAIN` if there is none; an error that was to be told.
            pub fn try_recv_from(&self) -> Result<(Vec<u8>, SocketAddr), SocketError> {
                let packet = self.0.recv()?.ok_or(WOULD_BLOCK)?;
                Ok((packet.payload().to_vec(), packet.meta().from))
            }

            /// A packet for an async task, and who sent it. Somebody must run the stack meanwhile: see
            /// [`Stack::drive`](crate::Stack::drive).
            ///
            /// # Errors
            /// An error that was to be told.
            pub fn poll_recv_from(&self, cx: &mut Context<'_>) -> Poll<Result<(Vec<u8>, SocketAddr), SocketError>> {
                // First the one, then the other: what comes in between wakes.
                self.0.0.register(cx.waker());
                match self.try_recv_from() {
                    Err(error) if error == WOULD_BLOCK && !self.0.no_more_in() => Poll::Pending,
                    other => Poll::Ready(other),
                }
            }

            /// A packet, awaited, and who sent it. Somebody must run the stack meanwhile.
            ///
            /// # Errors
            /// An error that was to be told.
            pub async fn recv_from_async(&self) -> Result<(Vec<u8>, SocketAddr), SocketError> {
                poll_fn(|cx| self.poll_recv_from(cx)).await
            }

            /// Waits for a packet, and tells who sent it.
            ///
            /// # Errors
            /// An error that was to be told.
            pub fn recv_from(&self) -> Result<(Vec<u8>, SocketAddr), SocketError> {
                loop {
                    self.0.wait(None);
                    match self.try_recv_from() {
                        Err(error) if error == WOULD_BLOCK && !self.0.no_more_in() => {}
                        other => return other,
                    }
                }
            }

            /// As [`Self::recv_from`], for so long at most.
            ///
            /// # Errors
            /// `EAGAIN` if none came; an error that was to be told.
            pub fn recv_timeout(&self, limit: Duration) -> Result<(Vec<u8>, SocketAddr), SocketError> {
                self.0.wait(Some(Instant::now() + limit));
                self.try_recv_from()
            }
        }
    };
}

blocking! {
    /// A UDP socket in a namespace.
    ///
    /// ```
    /// use pernet::{Namespaces, Origin};
    /// use pernet_stack::{FlagChange, IfFlags, LinkChange, Stack, UdpSocket};
    ///
    /// let ns = Namespaces::new();
    /// let stack = Stack::register(&ns).unwrap();
    /// let net = ns.init_net();
    /// let up = FlagChange { flags: IfFlags::UP, mask: IfFlags::UP };
    /// let change = LinkChange { flags: Some(up), ..LinkChange::default() };
    /// stack.rtnl(Origin::KERNEL).set_link(&net, 1, &change).unwrap();
    ///
    /// let server = UdpSocket::bind(&stack, &net, "127.0.0.1:53".parse().unwrap()).unwrap();
    /// let client = UdpSocket::bind(&stack, &net, "127.0.0.1:0".parse().unwrap()).unwrap();
    /// client.send_to(b"who?", server.local_addr()).unwrap();
    /// let (question, from) = server.recv_from().unwrap();
    /// assert_eq!((question.as_slice(), from), (&b"who?"[..], client.local_addr()));
    /// ```
    UdpSocket
}

blocking! {
    /// A socket for ICMP echo requests. What is sent begins with their header; identifier and checksum are filled in.
    PingSocket
}

blocking! {
    /// A socket for whole packets of a protocol. What is received by IPv4 begins with the network header.
    RawSocket
}

impl UdpSocket {
    /// A socket with this address; port 0 stands for any that is free.
    ///
    /// # Errors
    /// As `bind` of Linux gives them.
    pub fn bind(stack: &Stack, net: &Net, addr: SocketAddr) -> Result<Self, SocketError> {
        let socket = Self(InetSocket::new(stack, net.to_ref(), addr.is_ipv6(), InetProtocol::Udp, 0));
        socket.0.bind(addr, &Root)?;
        Ok(socket)
    }
}

impl PingSocket {
    /// A socket for the family of `addr`, which it is bound to unless that means any.
    ///
    /// # Errors
    /// As `bind` of Linux gives them.
    pub fn new(stack: &Stack, net: &Net, addr: IpAddr) -> Result<Self, SocketError> {
        let socket = Self(InetSocket::new(stack, net.to_ref(), addr.is_ipv6(), InetProtocol::Ping, 0));
        socket.0.bind(SocketAddr::new(addr, 0), &Root)?;
        Ok(socket)
    }
}

impl RawSocket {
    /// A socket for packets of `protocol` of IPv6 if `v6`.
    #[must_use]
    pub fn new(stack: &Stack, net: &Net, v6: bool, protocol: u8) -> Self {
        Self(InetSocket::new(stack, net.to_ref(), v6, InetProtocol::Raw(protocol), 0))
    }
}
