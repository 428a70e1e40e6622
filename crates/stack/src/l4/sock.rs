//! A socket without connections: UDP, ping and raw ones, of either family (`struct inet_sock`).
//!
//! What they have in common is here: names, queues, readiness, options. What a protocol puts on the wire is in
//! [`udp`](super::udp), [`ping`](super::ping) and [`raw`](super::raw).
//!
//! **Locks.** [`Sock::state`] protects everything that changes. It comes before rtnl, which joining a group takes, and
//! before the port tables, which are leaves. It is not held while a packet is sent: what a sender needs is copied out
//! first, so an error that sending meets at once may go to this same socket. It is not held while somebody is woken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use pernet::{Cap, NetRef};

use super::address::{endpoint, may_bind4, may_bind6, names_many, unmapped};
use super::member::Membership;
use super::options::{Opt, Options};
use super::ping;
use super::ports::{Claim, Ticket, ephemeral_range, may_bind_port};
use super::queue::{DEFAULT_BUFFER, Elsewhere, Queue, QueuedError, Waiting};
use super::times::Times;
use crate::dev::Stack;
use crate::errno;
use crate::l2::Cx;

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proto {
    Udp,
    /// UDP whose checksum covers as much as the sender says (RFC 3828).
    UdpLite,
    /// ICMP echo without privilege.
    Ping,
    /// Whatever has this protocol number.
    Raw(u8),
}

/// Family and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) v6: bool,
    pub(crate) proto: Proto,
}

pub(crate) const IPPROTO_ICMP: u8 = 1;
pub(crate) const IPPROTO_UDP: u8 = 17;
pub(crate) const IPPROTO_ICMPV6: u8 = 58;
pub(crate) const IPPROTO_UDPLITE: u8 = 136;
pub(crate) const IPPROTO_RAW: u8 = 255;

impl Proto {
    /// Either kind of UDP: they differ in their checksums, and in nothing that programs see.
    pub(crate) const fn is_udp(self) -> bool {
        matches!(self, Self::Udp | Self::UdpLite)
    }
}

impl Kind {
    /// `IPPROTO_*`.
    pub(crate) const fn protocol(self) -> u8 {
        match self.proto {
            Proto::Udp => IPPROTO_UDP,
            Proto::UdpLite => IPPROTO_UDPLITE,
            Proto::Ping if self.v6 => IPPROTO_ICMPV6,
            Proto::Ping => IPPROTO_ICMP,
            Proto::Raw(protocol) => protocol,
        }
    }

    pub(crate) const fn any(self) -> IpAddr {
        Self::any_of(self.v6)
    }

    pub(crate) const fn any_of(v6: bool) -> IpAddr {
        if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
    }
}

/// Who makes a call on a socket: asked only where the call needs privilege.
pub trait Caller {
    /// Whether they have this capability over the owner of the socket's namespace.
    fn capable(&self, cap: Cap) -> bool;
}

/// May do everything: the owner of the process that the stack is part of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Root;

impl Caller for Root {
    fn capable(&self, _: Cap) -> bool {
        true
    }
}

/// What changes of a socket.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    /// Its claim in the table of its protocol.
    pub(crate) ticket: Option<Ticket>,
    /// The address it has: bound, or found when it was connected. Never a mapped one.
    pub(crate) local: IpAddr,
    pub(crate) port: u16,
    /// What `bind` said of the address, to which it returns when a connection is dissolved.
    bound: Option<IpAddr>,
    /// That is a group's or a broadcast: packets come to it, and none is sent from it.
    bound_to_all: bool,
    /// `bind` said the port.
    port_bound: bool,
    pub(crate) peer: Option<SocketAddr>,
    /// Device it is bound to; 0 for any.
    pub(crate) device: u32,
    /// The device comes of a scope, not of `SO_BINDTODEVICE`.
    device_of_scope: bool,
    pub(crate) queue: Queue,
    pub(crate) rcvbuf: usize,
    pub(crate) sndbuf: usize,
    /// Told with the next call (`sk_err`).
    pub(crate) error: Option<i32>,
    pub(crate) no_more_in: bool,
    pub(crate) no_more_out: bool,
    pub(crate) members: Vec<Membership>,
    /// Whence and by which device groups are sent to.
    pub(crate) group_device: u32,
    pub(crate) group_source: Option<Ipv4Addr>,
    pub(crate) group_device6: u32,
    /// The device of what goes by IPv6 (`IPV6_PKTINFO`, of whose address Linux takes no notice), 0 for any.
    pub(crate) device6: u32,
    /// By which device others are (`IP_UNICAST_IF`, `IPV6_UNICAST_IF`).
    pub(crate) unicast_device: u32,
    /// `IP_LOCAL_PORT_RANGE`.
    pub(crate) range: (u16, u16),
    /// What is collected until the cork is pulled: to whom, and the payload.
    pub(crate) corked: Option<super::send::Corked>,
    pub(crate) raw: super::raw::Filters,
    /// What times of packets it is told.
    pub(crate) times: Times,
    pub(crate) closed: bool,
}

impl State {
    /// The port was asked for by `bind`.
    pub(crate) const fn is_port_bound(&self) -> bool {
        self.port_bound
    }

    /// The address that its packets come from, if that is said.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        Some(self.local).filter(|local| !local.is_unspecified() && !self.bound_to_all)
    }

    /// Whither the program means: an IPv6 socket that has an address of one family sends to no other
    /// (`__ip6_datagram_connect`, `udpv6_sendmsg`).
    ///
    /// # Errors
    /// `ENETUNREACH` to IPv4, `EAFNOSUPPORT` to IPv6.
    pub(crate) fn towards(&self, kind: Kind, to: SocketAddr) -> Result<SocketAddr, i32> {
        if !kind.v6 || kind.proto == Proto::Ping {
            return Ok(to);
        }
        let bound6 = self.bound.is_some_and(|own| own.is_ipv6() && !own.is_unspecified());
        match (unmapped(to.ip()), self.local) {
            (IpAddr::V4(_), _) if kind.proto.is_udp() && self.options.is_on(Opt::IPV6_V6ONLY) => {
                Err(errno::ENETUNREACH)
            }
            (IpAddr::V4(_), _) if bound6 => Err(errno::ENETUNREACH),
            // "Any" of IPv4 was said, too, if it is one of IPv4.
            (IpAddr::V6(any), IpAddr::V4(_)) if any.is_unspecified() => {
                Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), to.port()))
            }
            (IpAddr::V6(_), IpAddr::V4(_)) => Err(errno::EAFNOSUPPORT),
            _ => Ok(to),
        }
    }

    /// `IP_TRANSPARENT` of either family: any address will do to send from.
    pub(crate) fn is_transparent(&self) -> bool {
        self.options.is_on(Opt::IP_TRANSPARENT) || self.options.is_on(Opt::IPV6_TRANSPARENT)
    }

    /// `IP_TRANSPARENT`, `IP_FREEBIND` of either family: any address will do to be bound to.
    pub(crate) fn any_source(&self) -> bool {
        [Opt::IP_TRANSPARENT, Opt::IP_FREEBIND, Opt::IPV6_TRANSPARENT, Opt::IPV6_FREEBIND]
            .into_iter()
            .any(|opt| self.options.is_on(opt))
    }
}

/// Called when there is something to receive, or room to send, or an error.
pub(crate) type OnReady = Arc<dyn Fn() + Send + Sync>;

/// Such a socket.
pub(crate) struct Sock {
    pub(crate) stack: Stack,
    pub(crate) net: NetRef,
    pub(crate) kind: Kind,
    /// What tells it from all others.
    pub(crate) cookie: u64,
    /// Who made it.
    pub(crate) uid: u32,
    /// What programs know the file by that stands for it; 0 in this process.
    pub(crate) inode: AtomicU64,
    /// Asked for the memory of what waits outside of the stack to be received.
    pub(super) outside: Elsewhere,
    state: Mutex<State>,
    /// Whoever waits in this process. A leaf lock.
    wakers: Mutex<Vec<Waker>>,
    /// A leaf lock: read to copy the handle.
    ready: Mutex<Option<OnReady>>,
}

impl std::fmt::Debug for Sock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sock").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Sock {
    /// A fresh one. Raw ones hear from here on (`inet_create`).
    pub(crate) fn new(stack: &Stack, net: NetRef, kind: Kind, uid: u32) -> Arc<Self> {
        let mut options = Options::new(kind.v6);
        if kind.v6 && stack.state(&net).is_some_and(|state| v6_only_by_default(Cx { stack, net: &net, state })) {
            options.put(Opt::IPV6_V6ONLY, 1);
        }
        if kind.proto == Proto::Raw(IPPROTO_RAW) {
            options.put(if kind.v6 { Opt::IPV6_HDRINCL } else { Opt::IP_HDRINCL }, 1);
        }
        let state = State {
            options,
            ticket: None,
            local: kind.any(),
            port: 0,
            bound: None,
            bound_to_all: false,
            port_bound: false,
            peer: None,
            device: 0,
            device_of_scope: false,
            queue: Queue::default(),
            rcvbuf: DEFAULT_BUFFER,
            sndbuf: DEFAULT_BUFFER,
            error: None,
            no_more_in: false,
            no_more_out: false,
            members: Vec::new(),
            group_device: 0,
            group_source: None,
            group_device6: 0,
            device6: 0,
            unicast_device: 0,
            range: (0, 0),
            corked: None,
            raw: super::raw::Filters::of(kind),
            times: Times::default(),
            closed: false,
        };
        let sock = Arc::new(Self {
            stack: stack.clone(),
            net,
            kind,
            cookie: super::next_cookie(),
            uid,
            inode: AtomicU64::new(0),
            outside: Elsewhere::default(),
            state: Mutex::new(state),
            wakers: Mutex::default(),
            ready: Mutex::new(None),
        });
        if let (Proto::Raw(_), Some(cx)) = (kind.proto, sock.cx()) {
            cx.state.l4.raw.insert(&sock);
            cx.stack.changed();
        }
        sock
    }

    /// The namespace; `None` only if it is of another system than the stack.
    pub(crate) fn cx(&self) -> Option<Cx<'_>> {
        Cx::new(&self.stack, &self.net)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Changes are single assignments, or calls that do not panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn on_ready(&self, callback: Option<OnReady>) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = callback;
    }

    /// Memory of what waits to be received, here and outside. No lock is held.
    pub(crate) fn waiting(&self) -> usize {
        self.outside.ask().unwrap_or(0) + self.lock().queue.charge.bytes
    }

    /// Tells those who wait that something is another than before. No lock is held.
    pub(crate) fn wake(&self) {
        self.wake_tasks();
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(ready) = ready {
            ready();
        }
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes `waker` when something is another than before, once.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut wakers = self.wakers();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    fn wake_tasks(&self) {
        let wakers = std::mem::take(&mut *self.wakers());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A packet for this socket (`__udp_enqueue_schedule_skb`, `sock_queue_rcv_skb`).
    pub(crate) fn enqueue(&self, packet: Waiting) -> bool {
        let counts = self.kind.proto.is_udp();
        let mut state = self.lock();
        if state.queue.charge.doubts(packet.memory(), state.rcvbuf, counts) {
            drop(state);
            let outside = self.outside.ask();
            state = self.lock();
            state.queue.charge.learn(outside);
        }
        if state.closed || state.no_more_in {
            return true;
        }
        let limit = state.rcvbuf;
        let taken = state.queue.push(packet, limit, counts);
        drop(state);
        if taken {
            self.wake();
        }
        taken
    }

    /// An error for this socket: queued for programs that ask for them, and told with the next call.
    pub(crate) fn report(&self, queued: Option<QueuedError>, errno: Option<i32>) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if let Some(error) = queued {
            let limit = state.rcvbuf;
            state.queue.errors().push(error, limit);
        }
        if errno.is_some() {
            state.error = errno;
        }
        drop(state);
        self.wake();
    }

    /// `bind`. `addr` is of the socket's family.
    ///
    /// # Errors
    /// `EINVAL`, `EADDRNOTAVAIL`, `EACCES`, `EADDRINUSE`, `ENODEV`.
    pub(crate) fn bind(self: &Arc<Self>, addr: SocketAddr, caller: &dyn Caller) -> Result<(), i32> {
        let cx = self.cx().ok_or(errno::ENODEV)?;
        let mut state = self.lock();
        let raw = matches!(self.kind.proto, Proto::Raw(_));
        // Raw sockets are told the new name whatever they were bound to.
        if !raw && (state.bound.is_some() || state.ticket.is_some()) {
            return Err(errno::EINVAL);
        }
        if raw && state.peer.is_some() {
            return Err(errno::EINVAL);
        }
        let only6 = state.options.is_on(Opt::IPV6_V6ONLY);
        let (ip, device) = match (addr, unmapped(addr.ip())) {
            _ if self.kind.proto == Proto::Ping => {
                (addr.ip(), ping::may_bind(cx, addr, state.device, state.any_source())?)
            }
            (SocketAddr::V6(_), IpAddr::V4(_)) if only6 || !self.kind.proto.is_udp() => {
                return Err(if only6 { errno::EINVAL } else { errno::EADDRNOTAVAIL });
            }
            (_, IpAddr::V4(v4)) => {
                if !may_bind4(cx, v4, state.any_source()) {
                    return Err(errno::EADDRNOTAVAIL);
                }
                (IpAddr::V4(v4), state.device)
            }
            (SocketAddr::V6(addr), ip) => (ip, may_bind6(cx, &addr, state.device, state.any_source(), false)?),
            (SocketAddr::V4(_), ip) => (ip, state.device),
        };
        if self.kind.proto.is_udp() && !may_bind_port(cx.ns(), addr.port(), caller.capable(Cap::NetBindService)) {
            return Err(errno::EACCES);
        }
        if device != state.device {
            (state.device, state.device_of_scope) = (device, true);
        }
        state.bound_to_all = match ip {
            // A mapped address stays what was said.
            IpAddr::V4(v4) => addr.is_ipv4() && names_many(cx, v4),
            IpAddr::V6(v6) => v6.is_multicast(),
        };
        (state.local, state.bound) = (ip, Some(ip));
        if raw {
            return Ok(());
        }
        let no_port = addr.port() == 0 && state.options.is_on(Opt::IP_BIND_ADDRESS_NO_PORT);
        let claimed = if no_port { Ok(()) } else { self.claim(cx, &mut state, addr.port()) };
        if claimed.is_err() {
            (state.local, state.bound, state.bound_to_all) = (self.kind.any(), None, false);
        }
        state.port_bound = addr.port() != 0 && claimed.is_ok();
        claimed
    }

    /// Takes a port, or the one that is asked for; the socket has none yet.
    fn claim(self: &Arc<Self>, cx: Cx<'_>, state: &mut State, port: u16) -> Result<(), i32> {
        let claim = Claim {
            addr: state.local,
            dual: self.kind.v6 && !state.options.is_on(Opt::IPV6_V6ONLY),
            port,
            device: state.device,
            reuse_addr: state.options.is_on(Opt::REUSEADDR),
            reuse_port: state.options.is_on(Opt::REUSEPORT),
            uid: self.uid,
        };
        let range = match self.kind.proto {
            Proto::Ping => super::ping::idents(cx.ns()),
            _ => ephemeral_range(cx.ns()).within(state.range.0, state.range.1),
        };
        let Some(ports) = cx.state.l4.ports(self.kind) else { return Ok(()) };
        let ticket = ports.bind(claim, &range, Arc::clone(self))?;
        state.port = ports.port_of(ticket);
        state.ticket = Some(ticket);
        Ok(())
    }

    /// Sees that the socket has a port before it sends (`inet_autobind`).
    ///
    /// # Errors
    /// `EAGAIN` if none is left.
    pub(crate) fn autobind(self: &Arc<Self>, cx: Cx<'_>, state: &mut State) -> Result<(), i32> {
        if state.ticket.is_some() || cx.state.l4.ports(self.kind).is_none() {
            return Ok(());
        }
        self.claim(cx, state, 0).map_err(|_| errno::EAGAIN)
    }

    /// `connect`: packets go there by default, and come from there alone (`__ip4_datagram_connect`).
    ///
    /// # Errors
    /// What finding a way says; `EACCES` for broadcast that was not permitted.
    pub(crate) fn connect(self: &Arc<Self>, to: SocketAddr) -> Result<(), i32> {
        let cx = self.cx().ok_or(errno::ENODEV)?;
        let mut state = self.lock();
        let raw = matches!(self.kind.proto, Proto::Raw(_));
        if !raw {
            self.autobind(cx, &mut state)?;
        }
        if self.kind.proto == Proto::Ping && self.kind.v6 && unmapped(to.ip()).is_ipv4() {
            return Err(errno::ENETUNREACH);
        }
        let mut said = super::cmsg::Said::default();
        if let SocketAddr::V6(v6) = to
            && super::address::needs_scope(*v6.ip())
        {
            if v6.scope_id() != 0 {
                if state.device != 0 && state.device != v6.scope_id() {
                    return Err(errno::EINVAL);
                }
                // From now on it is bound to that device, whatever comes of the rest.
                if state.device == 0 {
                    (state.device, state.device_of_scope) = (v6.scope_id(), true);
                    self.claim_device(cx, &state);
                }
                said.ifindex = v6.scope_id();
            }
            let group = v6.ip().is_multicast() && state.group_device6 != 0;
            if said.ifindex == 0 && state.device == 0 && !group {
                return Err(errno::EINVAL);
            }
        }
        let to = if raw { to } else { state.towards(self.kind, to)? };
        let mut plan = super::send::Plan::new(self, &state, to, said);
        // The header that a program writes itself is a packet's, not the connection's.
        plan.source_must_be_ours(!state.is_transparent());
        drop(state);
        let mut route = plan.route(cx)?;
        if unmapped(to.ip()) == Ipv4Addr::UNSPECIFIED {
            // "Any" of IPv4 is the address that the way begins at, which need not be on the way that the socket is bound to.
            route = plan.route_from(cx, &route)?;
        }
        let mut state = self.lock();
        let ip = if unmapped(to.ip()).is_unspecified() { route.dst } else { unmapped(to.ip()) };
        let peer = endpoint(ip, to.port(), plan.device());
        if state.local.is_unspecified() || state.bound.is_none() {
            state.local = route.src;
        }
        state.peer = Some(peer);
        if let (Some(ticket), Some(ports)) = (state.ticket, cx.state.l4.ports(self.kind)) {
            // Datagrams share a pair of ends if the port is shared: nothing to fail.
            let _ = ports.connect(ticket, state.local, peer, |_| false);
        }
        Ok(())
    }

    /// The table of ports learns which device the socket is bound to.
    pub(in crate::l4) fn claim_device(&self, cx: Cx<'_>, state: &State) {
        if let (Some(ticket), Some(ports)) = (state.ticket, cx.state.l4.ports(self.kind)) {
            ports.update(ticket, |claim| claim.device = state.device);
        }
    }

    /// `connect` to nobody: back to what `bind` said (`__udp_disconnect`).
    pub(crate) fn disconnect(&self) {
        let Some(cx) = self.cx() else { return };
        let mut state = self.lock();
        state.peer = None;
        state.local = state.bound.unwrap_or_else(|| self.kind.any());
        if state.device_of_scope && state.bound.is_none() {
            (state.device, state.device_of_scope) = (0, false);
            self.claim_device(cx, &state);
        }
        let (Some(ticket), Some(ports)) = (state.ticket, cx.state.l4.ports(self.kind)) else { return };
        if state.port_bound {
            ports.disconnect(ticket, state.local);
        } else {
            ports.release(ticket);
            (state.ticket, state.port) = (None, 0);
        }
    }

    /// `shutdown`: 0 receives no more, 1 sends no more, 2 neither.
    ///
    /// # Errors
    /// `EINVAL`; `ENOTCONN`, although it is done.
    pub(crate) fn shutdown(&self, how: i32) -> Result<(), i32> {
        if !(0..=2).contains(&how) {
            return Err(errno::EINVAL);
        }
        let mut state = self.lock();
        state.no_more_in |= how != 1;
        state.no_more_out |= how != 0;
        let connected = state.peer.is_some();
        drop(state);
        self.wake();
        if connected { Ok(()) } else { Err(errno::ENOTCONN) }
    }

    /// The end of it: nothing is delivered to it any more. What it knew of a closed one is forgotten.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        let (ticket, members) = (state.ticket.take(), std::mem::take(&mut state.members));
        state.queue.clear();
        state.corked = None;
        drop(state);
        self.on_ready(None);
        self.outside.set(None);
        let Some(cx) = self.cx() else { return };
        if let (Some(ticket), Some(ports)) = (ticket, cx.state.l4.ports(self.kind)) {
            ports.release(ticket);
        }
        if let Proto::Raw(_) = self.kind.proto {
            cx.state.l4.raw.remove(self);
        }
        super::member::leave_all(cx, members);
        self.wake_tasks();
    }

    /// The error that the next call is to tell, taken.
    pub(crate) fn take_error(&self) -> Option<i32> {
        self.lock().error.take()
    }
}

/// `net.ipv6.bindv6only`.
fn v6_only_by_default(cx: Cx<'_>) -> bool {
    crate::sysctl::number_or(cx.ns(), "ipv6/bindv6only", 0) != 0
}
