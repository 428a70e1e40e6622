//! What programs do to a socket (`tcp.c`, `af_inet.c`).
//!
//! Nothing here waits: what cannot be done now is `EAGAIN` or `EINPROGRESS`. What is sent is on its way to the next
//! namespace's backlog when these return; who calls them runs packets afterwards, with no lock held.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use pernet::NetRef;

use super::aside::Aside;
use super::count;
use super::info::Counts;
use super::moment::Moment;
use super::smoltcp::Engine;
use super::sock::{Due, FIN_TIMEOUT, Inner, Listen, Sequence, Sock, is_link_local, plain};
use super::splice::Skip;
use super::state::State;
use super::told::Told;
use super::urgent::Urgent;
use crate::errno;
use crate::l2::Cx;
use crate::l3::{Reach, no_way};
use crate::l4::address::{may_bind4, may_bind6};
use crate::l4::ports::{Claim, may_bind_port};
use crate::mib::{Tcp, TcpExt};
use crate::sysctl;

/// How to read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read {
    /// Leaves it there (`MSG_PEEK`).
    pub(crate) peek: bool,
    /// The urgent byte (`MSG_OOB`).
    pub(crate) urgent: bool,
}

impl Sock {
    /// A living namespace for what a program does: its socket keeps it alive.
    fn with_cx<R>(&self, f: impl FnOnce(Cx<'_>) -> R) -> Result<R, i32> {
        let net = self.net.upgrade().ok_or(errno::ENETDOWN)?;
        Ok(f(Cx::new(&self.stack, &net).ok_or(errno::ENETDOWN)?))
    }

    /// Of two families, does an address suit the socket?
    fn check_family(&self, inner: &Inner, addr: SocketAddr) -> Result<SocketAddr, i32> {
        match addr {
            SocketAddr::V6(_) if !self.v6 => Err(errno::EAFNOSUPPORT),
            SocketAddr::V4(_) if self.v6 && inner.options.v6_only => Err(errno::ENETUNREACH),
            SocketAddr::V6(a) if a.ip().to_ipv4_mapped().is_some() && inner.options.v6_only => Err(errno::ENETUNREACH),
            _ => Ok(plain(addr)),
        }
    }

    /// `bind`; `privileged`: low ports too.
    pub(crate) fn bind(self: &Arc<Self>, to: SocketAddr, privileged: bool) -> Result<(), i32> {
        self.with_cx(|cx| {
            let mut inner = self.lock();
            let addr = self.check_family(&inner, to)?;
            if inner.state != State::Close || inner.bound.is_some() {
                return Err(errno::EINVAL);
            }
            let scope = if let SocketAddr::V6(v6) = to { v6.scope_id() } else { 0 };
            self.may_bind(cx, &mut inner, addr.ip(), scope)?;
            if !may_bind_port(cx.ns(), addr.port(), privileged) {
                return Err(errno::EACCES);
            }
            if addr.port() == 0 && inner.options.no_port {
                (inner.local, inner.bound) = (Some(addr), Some(addr.ip()));
                return Ok(());
            }
            self.bind_to(cx, &mut inner, addr)
        })?
    }

    fn bind_to(self: &Arc<Self>, cx: Cx<'_>, inner: &mut Inner, addr: SocketAddr) -> Result<(), i32> {
        cx.state.tcp.expire(cx.now());
        let claim = self.claim(inner, addr.ip(), addr.port());
        let ticket = cx.state.tcp.ports.bind(claim, &inner.ports(cx), self.holder())?;
        inner.ticket = Some(ticket);
        inner.local = Some(SocketAddr::new(addr.ip(), cx.state.tcp.ports.port_of(ticket)));
        inner.bound = Some(addr.ip());
        Ok(())
    }

    fn may_bind(&self, cx: Cx<'_>, inner: &mut Inner, addr: IpAddr, scope: u32) -> Result<(), i32> {
        let free = inner.options.any_source;
        match addr {
            IpAddr::V4(addr) if may_bind4(cx, addr, free) => Ok(()),
            IpAddr::V4(_) => Err(errno::EADDRNOTAVAIL),
            IpAddr::V6(v6) => {
                let device = may_bind6(cx, &SocketAddrV6::new(v6, 0, 0, scope), inner.device(), free, true)?;
                if v6.is_unicast_link_local() {
                    inner.bind_to_scope(device);
                }
                Ok(())
            }
        }
    }

    /// `connect`.
    pub(crate) fn connect(self: &Arc<Self>, to: SocketAddr) -> Result<(), i32> {
        self.with_cx(|cx| {
            self.act(cx, |inner, out| {
                if inner.connecting {
                    return inner.outcome().unwrap_or(Err(errno::EALREADY));
                }
                if inner.connected || inner.state != State::Close {
                    return Err(errno::EISCONN);
                }
                let peer = self.check_family(inner, to)?;
                if matches!(peer.ip(), IpAddr::V6(group) if group.is_multicast()) {
                    return Err(errno::ENETUNREACH);
                }
                if let SocketAddr::V6(v6) = to
                    && is_link_local(peer.ip())
                {
                    // The device is said once, by the scope or before.
                    match (v6.scope_id(), inner.device()) {
                        (0, 0) => return Err(errno::EINVAL),
                        (0, _) => {}
                        (scope, device) if device != 0 && scope != device => return Err(errno::EINVAL),
                        (scope, _) => inner.bind_to_scope(scope),
                    }
                }
                self.open(cx, inner, peer)?;
                if let Some(engine) = &mut inner.engine {
                    engine.poll(cx.now(), out);
                }
                Err(errno::EINPROGRESS)
            })
        })?
    }

    /// How that has come out, if it has.
    pub(crate) fn outcome(&self) -> Option<Result<(), i32>> {
        self.lock().outcome()
    }

    /// `tcp_v4_connect`, `tcp_v6_connect`.
    fn open(self: &Arc<Self>, cx: Cx<'_>, inner: &mut Inner, peer: SocketAddr) -> Result<(), i32> {
        // "Any" is this host: of IPv4 the address that the way begins at, which is found below.
        let peer = match peer.ip() {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), peer.port()),
            _ => peer,
        };
        let bound = inner.bound.filter(|addr| !addr.is_unspecified());
        if bound.is_some_and(|addr| addr.is_ipv4() != peer.is_ipv4()) {
            return Err(if peer.is_ipv4() { errno::ENETUNREACH } else { errno::EAFNOSUPPORT });
        }
        let mut route = self.route(cx, inner, bound, peer.ip()).inspect_err(no_way(cx, peer.ip()))?;
        let mut peer = peer;
        if peer.ip() == Ipv4Addr::UNSPECIFIED {
            peer.set_ip(route.dst);
            // It need not be on the way that the socket is bound to.
            route = self.route(cx, inner, Some(route.src), peer.ip()).inspect_err(no_way(cx, peer.ip()))?;
        }
        if !matches!(route.reach, Reach::Local | Reach::Unicast) {
            return Err(errno::ENETUNREACH);
        }
        self.take_ends(cx, inner, route.src, peer)?;
        inner.peer = Some(peer);
        let begin = self.begin(cx, &route, inner, self.seed());
        let Some(engine) = Engine::connect(&begin, cx.now()) else { return Err(errno::EADDRNOTAVAIL) };
        inner.engine = Some(Box::new(engine));
        inner.state = State::SynSent;
        count::mib(cx).tcp.inc(Tcp::ActiveOpens);
        inner.counts = Counts::new(cx.now());
        (inner.sequence, inner.urgent) = (Sequence::default(), Urgent::default());
        (inner.skip, inner.trail, inner.ask_at) = (Skip::default(), None, Moment::ZERO);
        self.forget_way();
        (inner.shut_read, inner.shut_write, inner.done, inner.connecting) = (false, false, false, true);
        (inner.error, inner.soft_error) = (0, 0);
        inner.due = Due { handshake: Some((cx.now() + inner.options.handshake_limit()).into()), ..Due::default() };
        Ok(())
    }

    /// `listen`.
    pub(crate) fn listen(self: &Arc<Self>, backlog: i32) -> Result<(), i32> {
        self.with_cx(|cx| {
            let most = usize::try_from(sysctl::number_or(cx.ns(), "core/somaxconn", 4096)).unwrap_or(4096);
            // As an unsigned number: a negative one is as many as there may be.
            let backlog = usize::try_from(backlog as u32).unwrap_or(most).min(most);
            self.act(cx, |inner, _| {
                if let Some(listen) = &mut inner.listen {
                    listen.backlog = backlog;
                    return Ok(());
                }
                if inner.connecting || inner.connected || inner.state != State::Close {
                    return Err(errno::EINVAL);
                }
                if inner.ticket.is_none() {
                    let any = if self.v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
                    let addr = inner.bound.unwrap_or(any);
                    let chosen = inner.bound;
                    self.bind_to(cx, inner, SocketAddr::new(addr, 0))?;
                    if chosen.is_none() {
                        inner.bound = None;
                    }
                }
                let Some(ticket) = inner.ticket else { return Err(errno::EINVAL) };
                cx.state.tcp.ports.listen(ticket)?;
                inner.state = State::Listen;
                inner.listen = Some(Box::new(Listen { backlog, ..Listen::default() }));
                (inner.shut_read, inner.shut_write, inner.error) = (false, false, 0);
                inner.news = true;
                Ok(())
            })
        })?
    }

    /// `accept`: a connection, and the peer's address.
    pub(crate) fn accept(self: &Arc<Self>) -> Result<(Arc<Self>, SocketAddr), i32> {
        let net = self.net.upgrade().ok_or(errno::ENETDOWN)?;
        let child = {
            let mut inner = self.lock();
            let Some(listen) = &mut inner.listen else { return Err(errno::EINVAL) };
            listen.queue.pop_front().ok_or(errno::EAGAIN)?
        };
        let peer = child.adopt(net);
        Ok((child, peer))
    }

    /// A program has the connection now.
    fn adopt(&self, net: NetRef) -> SocketAddr {
        let mut inner = self.lock();
        inner.orphan = false;
        inner.connected = true;
        inner.hold = Some(net);
        let peer = inner.peer.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
        self.shown(peer, inner.scope)
    }

    /// `send`: how many bytes there was room for. An `urgent` one ends with a byte that is.
    pub(crate) fn send(self: &Arc<Self>, bytes: &[u8], urgent: bool) -> Result<usize, i32> {
        self.with_cx(|cx| {
            let now = cx.now();
            self.act_at(cx, now, |inner, out| {
                inner.may_send()?;
                let (state, bulk) = (inner.state, inner.is_bulk(bytes));
                let Some(engine) = inner.engine.as_mut().filter(|_| state.is_synchronized()) else {
                    return Err(errno::EAGAIN);
                };
                let took = engine.send(bytes);
                inner.bulk |= bulk;
                if took == 0 && !bytes.is_empty() {
                    return Err(errno::EAGAIN);
                }
                inner.sequence.written = inner.sequence.written.wrapping_add(took as u32);
                if urgent && took == bytes.len() && took > 0 {
                    inner.urgent.wrote(inner.sequence.written);
                }
                engine.poll(now, out);
                Ok(took)
            })
        })?
    }

    /// `recv`: how many bytes came; none at the end.
    pub(crate) fn recv(self: &Arc<Self>, into: &mut [u8], how: Read) -> Result<usize, i32> {
        if let Some(result) = self.lock().read_quietly(into, how) {
            return result;
        }
        self.with_cx(|cx| {
            let now = cx.now();
            self.act_at(cx, now, |inner, out| {
                if how.urgent {
                    return inner.read_urgent(into, how.peek);
                }
                if inner.state == State::Listen {
                    return Err(errno::ENOTCONN);
                }
                let got = inner.read(into, how.peek);
                if got > 0 {
                    // A window that was closed may be open now.
                    if let Some(engine) = inner.engine.as_mut().filter(|_| !how.peek) {
                        engine.poll(now, out);
                    }
                    return Ok(got);
                }
                if into.is_empty() && inner.received() > 0 {
                    return Ok(0);
                }
                if inner.done {
                    return Ok(0);
                }
                match inner.take_error() {
                    0 if inner.shut_read => Ok(0),
                    0 if inner.state == State::Close => Err(errno::ENOTCONN),
                    0 => Err(errno::EAGAIN),
                    error => Err(error),
                }
            })
        })?
    }

    /// `shutdown`: which way nothing more goes.
    pub(crate) fn shutdown(self: &Arc<Self>, read: bool, write: bool) -> Result<(), i32> {
        if self.lock().state == State::Listen {
            if read {
                self.stop_listening();
            }
            return Ok(());
        }
        self.with_cx(|cx| {
            self.act(cx, |inner, out| {
                inner.news = true;
                if inner.state == State::Close {
                    inner.shut_read |= read;
                    inner.shut_write |= write;
                    return Err(errno::ENOTCONN);
                }
                if matches!(inner.state, State::SynSent) {
                    inner.engine = None;
                    self.end(inner, 0);
                    inner.connecting = false;
                    return Ok(());
                }
                inner.shut_read |= read;
                if write && !inner.shut_write {
                    inner.shut_write = true;
                    if let Some(engine) = &mut inner.engine {
                        engine.close();
                        engine.poll(cx.now(), out);
                    }
                }
                Ok(())
            })
        })?
    }

    /// Ends a connection with a reset, or an attempt at one, and makes the socket fresh (`connect` to `AF_UNSPEC`).
    pub(crate) fn disconnect(self: &Arc<Self>) -> Result<(), i32> {
        if self.lock().state == State::Listen {
            self.stop_listening();
        }
        self.with_cx(|cx| {
            self.act(cx, |inner, out| {
                // What it was told of before stays to be told.
                let error = if inner.state == State::Close { inner.error } else { errno::ECONNRESET };
                self.reset(inner, cx, out);
                inner.error = error;
            });
            self.lock().freshen();
        })
    }

    /// Sends a reset, if there is anyone to send it to, and ends the connection.
    fn reset(&self, inner: &mut Inner, cx: Cx<'_>, out: &mut Vec<crate::l2::Frame>) {
        if inner.state == State::Close {
            return;
        }
        let answers = inner.state.is_synchronized();
        if let Some(engine) = inner.engine.as_mut().filter(|_| answers) {
            engine.abort();
            engine.poll(cx.now(), out);
        }
        self.end(inner, 0);
    }

    /// The connection is to end with a reset when the program closes the socket, whatever it said (its own end of a pair
    /// was closed with bytes in it).
    pub(crate) fn abort(self: &Arc<Self>) {
        self.set_options(|options| options.linger = Some(0));
        self.finish(true);
    }

    /// No program has the socket any more (`tcp_close`).
    pub(crate) fn close(self: &Arc<Self>) {
        self.finish(false);
    }

    /// `left`: bytes were left that the program was given and did not read.
    fn finish(self: &Arc<Self>, left: bool) {
        self.stop_listening();
        let closed = self.with_cx(|cx| {
            self.act(cx, |inner, out| {
                if inner.orphan {
                    return;
                }
                inner.told = Told::Nobody;
                let unread = inner.received() > 0;
                inner.orphan = true;
                match inner.state {
                    State::Close => self.end(inner, 0),
                    State::SynSent | State::Listen => self.end(inner, 0),
                    _ if unread || inner.options.linger == Some(0) => {
                        let why = if unread || left { TcpExt::TCPAbortOnClose } else { TcpExt::TCPAbortOnData };
                        count::mib(cx).ext.inc(why);
                        self.reset(inner, cx, out);
                    }
                    state => {
                        inner.due.keepalive = None;
                        if let Some(engine) = &mut inner.engine {
                            engine.close();
                            engine.poll(cx.now(), out);
                        }
                        if state == State::FinWait2 {
                            count::mib(cx).ext.inc(TcpExt::TW);
                            self.remember_host(cx, inner);
                            inner.due.forget = Some((cx.now() + FIN_TIMEOUT).into());
                            inner.hold = None;
                        }
                    }
                }
            });
        });
        if closed.is_err() {
            self.lock().hold = None;
        }
    }

    /// `inet_csk_listen_stop`: those who wait to be accepted are told that nobody will.
    pub(super) fn stop_listening(self: &Arc<Self>) {
        let Ok(Some((listen, ticket))) = self.with_cx(|_| {
            let mut inner = self.lock();
            let listen = inner.listen.take()?;
            inner.state = State::Close;
            (inner.shut_read, inner.shut_write, inner.news) = (true, true, true);
            let ticket = inner.ticket;
            self.tell(inner);
            Some((listen, ticket))
        }) else {
            return;
        };
        let _ = self.with_cx(|cx| {
            if let Some(ticket) = ticket {
                cx.state.tcp.ports.unlisten(ticket);
            }
            // A connection is locked before its listener, so not while that is.
            for young in listen.young.iter().filter_map(std::sync::Weak::upgrade) {
                young.act(cx, |inner, _| young.end(inner, 0));
            }
            for child in listen.queue {
                child.act(cx, |inner, out| child.reset(inner, cx, out));
            }
        });
    }

    /// An option that bears on sharing is another now.
    pub(crate) fn sharing_changed(&self) {
        let inner = self.lock();
        let Some(ticket) = inner.ticket else { return };
        let of = self.claim(&inner, Ipv4Addr::UNSPECIFIED.into(), 0);
        let _ = self.with_cx(|cx| {
            cx.state.tcp.ports.update(ticket, |claim: &mut Claim| *claim = of);
        });
    }
}

impl Inner {
    fn outcome(&mut self) -> Option<Result<(), i32>> {
        match self.state {
            State::SynSent | State::SynRecv => None,
            // Its caller was told already that it stands; that it is over by now is told elsewhere.
            State::Close if self.connected && !self.connecting => Some(Err(errno::EISCONN)),
            State::Close | State::Listen => {
                let error = self.take_error();
                self.freshen();
                Some(Err(if error == 0 { errno::ECONNABORTED } else { error }))
            }
            _ => {
                (self.connecting, self.connected) = (false, true);
                Some(Ok(()))
            }
        }
    }

    /// As if there had never been a connection (`tcp_disconnect`).
    fn freshen(&mut self) {
        (self.connecting, self.connected, self.done) = (false, false, false);
        (self.shut_read, self.shut_write) = (false, false);
        (self.engine, self.peer, self.aside) = (None, None, Aside::default());
        (self.bulk, self.gap) = (false, false);
        self.local = match (self.bound, self.local) {
            (Some(addr), Some(local)) => Some(SocketAddr::new(addr, local.port())),
            _ => None,
        };
    }

    fn may_send(&mut self) -> Result<(), i32> {
        match self.state {
            _ if self.error != 0 => Err(self.take_error()),
            _ if self.shut_write => Err(errno::EPIPE),
            State::Close | State::Listen => Err(errno::EPIPE),
            _ => Ok(()),
        }
    }

    /// As [`read`](Self::read), if the peer need not hear that it was read, most of the time; or that there is nothing yet.
    fn read_quietly(&mut self, into: &mut [u8], how: Read) -> Option<Result<usize, i32>> {
        let wide_open = |inner: &Self| inner.engine.as_ref().is_some_and(|engine| engine.is_wide_open());
        let quiet = how.peek || !self.aside.is_empty() || wide_open(self);
        if how.urgent || !quiet || self.state == State::Listen {
            return None;
        }
        let got = self.read(into, how.peek);
        let more_to_say = self.done || self.shut_read || self.error != 0 || !self.state.is_synchronized();
        match got {
            0 if more_to_say || into.is_empty() || self.received() > 0 => None,
            0 => Some(Err(errno::EAGAIN)),
            got => Some(Ok(got)),
        }
    }

    /// Copies what came, up to an urgent byte; that is stepped over unless it belongs into the stream.
    fn read(&mut self, into: &mut [u8], peek: bool) -> usize {
        if !self.aside.is_empty() {
            return if peek { self.aside.peek(into) } else { self.aside.take(into) };
        }
        let Some(engine) = &mut self.engine else { return 0 };
        let mut limit = into.len();
        if !self.options.oob_inline
            && let Some(mark) = self.urgent.mark(self.sequence.read)
        {
            if mark == 0 && engine.received() > 0 && !into.is_empty() {
                if peek {
                    return engine.peek(1, into);
                }
                let _ = engine.receive(|_| (1, ()));
                self.sequence.read = self.sequence.read.wrapping_add(1);
                self.urgent.passed(self.sequence.read);
            } else {
                limit = limit.min(mark);
            }
        }
        let Some(into) = into.get_mut(..limit) else { return 0 };
        if peek {
            return engine.peek(0, into);
        }
        let mut got = 0;
        // What came lies in two pieces where the buffer ends.
        for _ in 0..2 {
            let Some(rest) = into.get_mut(got..).filter(|rest| !rest.is_empty()) else { break };
            got += engine
                .receive(|piece| {
                    let count = piece.len().min(rest.len());
                    rest[..count].copy_from_slice(&piece[..count]);
                    (count, count)
                })
                .unwrap_or(0);
        }
        self.sequence.read = self.sequence.read.wrapping_add(got as u32);
        self.urgent.passed(self.sequence.read);
        got
    }
}
