//! A TCP socket: what it remembers, and what is common to all that happens to it (`struct tcp_sock`).

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use pernet::{NetHandle, NetRef};

use super::aside::Aside;
use super::count::{self, Cause};
use super::info::Counts;
use super::moment::Moment;
use super::options::Shared;
use super::segment::{ACK, Header, before};
use super::smoltcp::Engine;
use super::state::State;
use super::timewait::TimeWait;
use super::told::{Knock, Told};
use super::{Holder, splice, timewait, urgent};
use crate::agenda::Place;
use crate::dev::Stack;
use crate::errno;
use crate::l2::{Cx, Frame, Trail};
use crate::l3::{Flow, Route};
use crate::l4::ports::Ticket;
use crate::mib::{Tcp, TcpExt};

/// How long a close waits for the peer's (`net.ipv4.tcp_fin_timeout`).
pub(super) const FIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long segments are repeated before a connection is given up: `tcp_retries2`, fifteen times, each after twice the
/// time, two minutes at most.
const RETRANSMIT_LIMIT: Duration = Duration::from_millis(924_600);
/// And how long if its program has closed it (`tcp_orphan_retries`).
const ORPHAN_LIMIT: Duration = Duration::from_secs(102);
/// Room for what came and for what is to go, unless the program says otherwise. More leaves the processor's cache.
pub(super) const BUFFER: usize = 256 << 10;

thread_local! {
    /// Room for the segments that something causes, empty. Who is in the middle of sending has it in hand.
    static OUT: Cell<Vec<Frame>> = const { Cell::new(Vec::new()) };
}

/// A TCP socket.
///
/// Lock order: a socket's lock stands before rtnl and all of layer 3's, which are taken to send; before the port table and
/// the timers, which are leaves. A connection that a listener has not accepted yet is locked before its listener.
pub(crate) struct Sock {
    pub(super) stack: Stack,
    pub(super) net: NetHandle,
    /// Made for IPv6.
    pub(super) v6: bool,
    pub(super) cookie: u64,
    /// The short way to the peer, if it was learnt. A leaf lock.
    pub(super) path: Mutex<Option<Arc<splice::Path>>>,
    /// Everything that changes.
    pub(super) inner: Mutex<Inner>,
}

impl std::fmt::Debug for Sock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sock").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}

/// The waiting room of a listener.
#[derive(Default)]
pub(super) struct Listen {
    pub(super) backlog: usize,
    /// Connections that nobody accepted yet.
    pub(super) queue: VecDeque<Arc<Sock>>,
    /// Those that are not complete.
    pub(super) young: Vec<Weak<Sock>>,
    /// Connections that were handed out and wait elsewhere for the program.
    pub(super) taken: usize,
    /// Asked whether the program is there.
    pub(super) knock: Option<Knock>,
}

/// Sequence numbers, as the segments of a connection show them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sequence {
    /// Oldest byte of ours that was not acknowledged.
    pub(super) snd_una: u32,
    /// Next byte to send.
    pub(super) snd_nxt: u32,
    /// What the program has written ends here.
    pub(super) written: u32,
    /// Next byte that is expected.
    pub(super) rcv_nxt: u32,
    /// What the program has read ends here.
    pub(super) read: u32,
    /// Whether the above are known.
    pub(super) ours: bool,
    pub(super) theirs: bool,
    /// What we advertised last, as it is in the header.
    pub(super) window: u16,
    /// The peer's last timestamp.
    pub(super) timestamp: Option<u32>,
}

/// What is to happen when, beyond what the engine does by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Due {
    /// The handshake is given up.
    pub(super) handshake: Option<Moment>,
    /// Since when something was sent and nothing of it acknowledged.
    pub(super) unheard: Option<Moment>,
    /// The next probe of an idle connection.
    pub(super) keepalive: Option<Moment>,
    /// Probes that were not answered.
    pub(super) probes: u32,
    /// A closed connection is forgotten.
    pub(super) forget: Option<Moment>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) state: State,
    pub(super) engine: Option<Box<Engine>>,
    /// It is counted among those that do not rest.
    pub(super) awake: bool,
    /// What came and did not pass the engine: it is read first.
    pub(super) aside: Aside,
    /// The engine may hold bytes behind a gap.
    pub(super) gap: bool,
    /// Its program has sent much at once.
    pub(super) bulk: bool,
    /// Its place in the port table.
    pub(super) ticket: Option<Ticket>,
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
    /// What `bind` named: the address that the socket returns to, and that it keeps its port.
    pub(super) bound: Option<IpAddr>,
    /// The device that a link-local address belongs to.
    pub(super) scope: u32,
    pub(super) options: Shared,
    /// Whose it is.
    pub(super) uid: u32,
    /// `sk_err`, and what is an error only if the connection fails.
    pub(super) error: i32,
    pub(super) soft_error: i32,
    pub(super) shut_read: bool,
    pub(super) shut_write: bool,
    /// Nothing more will come (`SOCK_DONE`).
    pub(super) done: bool,
    /// A `connect` has not been told how it ended (`SS_CONNECTING`).
    pub(super) connecting: bool,
    /// And this one has (`SS_CONNECTED`).
    pub(super) connected: bool,
    /// No program has it any more.
    pub(super) orphan: bool,
    /// What the program's descriptor is known by, 0 if it has none.
    pub(super) inode: u64,
    pub(super) listen: Option<Box<Listen>>,
    pub(super) parent: Weak<Sock>,
    /// What keeps the namespace: a program's socket does, and one that still has something to say.
    pub(super) hold: Option<NetRef>,
    pub(super) sequence: Sequence,
    pub(super) urgent: urgent::Urgent,
    pub(super) skip: splice::Skip,
    /// The peer's, to go back with the next segment.
    pub(super) trail: Option<Box<Trail>>,
    /// From when on a segment may learn the way again.
    pub(super) ask_at: Moment,
    pub(super) counts: Counts,
    pub(super) due: Due,
    /// The headers that it began with (`TCP_SAVE_SYN`).
    pub(super) saved_syn: Option<Box<[u8]>>,
    /// The way that the last segment took, what it was asked for, and of which generation of configuration it is.
    pub(super) way: Option<Box<(u64, Flow, Route)>>,
    /// The entry in the list of timers.
    pub(super) armed: Option<Place>,
    /// Somebody is to be told.
    pub(super) news: bool,
    pub(super) wakers: Vec<Waker>,
    pub(super) told: Told,
}

/// Whether an address is of one link only.
pub(super) fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(a) if a.is_unicast_link_local())
}

/// An address as the tables know it: IPv4's where IPv6 maps one.
pub(super) fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

impl Sock {
    /// A fresh socket of a program's.
    pub(crate) fn new(stack: &Stack, net: &NetRef, v6: bool) -> Arc<Self> {
        let inner = Inner { hold: Some(net.clone()), options: Shared::new(v6), ..Inner::default() };
        Arc::new(Self::with(stack.clone(), net.downgrade(), v6, inner))
    }

    pub(super) fn with(stack: Stack, net: NetHandle, v6: bool, inner: Inner) -> Self {
        let cookie = crate::l4::next_cookie();
        Self { stack, net, v6, cookie, path: Mutex::new(None), inner: Mutex::new(inner) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the socket, sends what follows from it, sets its timer, and tells those who wait.
    pub(super) fn act<R>(self: &Arc<Self>, cx: Cx<'_>, f: impl FnOnce(&mut Inner, &mut Vec<Frame>) -> R) -> R {
        self.act_at(cx, cx.now(), f)
    }

    /// The same, by who has looked at the clock already.
    pub(super) fn act_at<R>(
        self: &Arc<Self>,
        cx: Cx<'_>,
        now: Duration,
        f: impl FnOnce(&mut Inner, &mut Vec<Frame>) -> R,
    ) -> R {
        self.act_by(cx, (now, Cause::Event), f)
    }

    fn act_by<R>(
        self: &Arc<Self>,
        cx: Cx<'_>,
        (now, cause): (Duration, Cause),
        f: impl FnOnce(&mut Inner, &mut Vec<Frame>) -> R,
    ) -> R {
        let mut out = OUT.try_with(Cell::take).unwrap_or_default();
        let mut inner = self.lock();
        let result = f(&mut inner, &mut out);
        self.transmit(cx, (now, cause), &mut inner, &mut out);
        out.clear();
        let _ = OUT.try_with(|room| room.set(out));
        self.follow(cx, now, &mut inner);
        self.arm(now, &mut inner);
        self.tell(inner);
        result
    }

    /// Lets the lock go, and tells those who wait if there is something to tell.
    pub(super) fn tell(&self, mut inner: MutexGuard<'_, Inner>) {
        if !std::mem::take(&mut inner.news) {
            return;
        }
        let wakers = std::mem::take(&mut inner.wakers);
        let (told, inode) = (inner.told.clone(), inner.inode);
        drop(inner);
        for waker in wakers {
            waker.wake();
        }
        told.ready(inode);
    }

    /// Wakes `waker` with the next change.
    pub(super) fn register(&self, waker: &Waker) {
        let mut inner = self.lock();
        if !inner.wakers.iter().any(|known| known.will_wake(waker)) {
            inner.wakers.push(waker.clone());
        }
    }

    /// Sets the timer for whatever comes first.
    fn arm(self: &Arc<Self>, now: Duration, inner: &mut Inner) {
        self.count_awake(inner);
        let engine = if inner.state == State::Close {
            None
        } else {
            inner.engine.as_mut().and_then(|engine| engine.poll_at(now))
        };
        let rests = if engine.is_none() { self.rests_at(inner) } else { None };
        let due = &inner.due;
        let unheard = due.unheard.map(|since| since.get() + inner.patience());
        let [handshake, keepalive, forget] = [due.handshake, due.keepalive, due.forget].map(|at| at.map(Moment::get));
        let next = [engine, rests, handshake, unheard, keepalive, forget].into_iter().flatten().min();
        let Some(next) = next else { return };
        // An entry that comes earlier finds nothing to do and sets the next.
        if inner.armed.is_some_and(|armed| armed.when <= next) {
            return;
        }
        self.disarm(inner);
        let (place, first) = self.stack.inner().sock_timers.add(next, self);
        inner.armed = Some(place);
        if first {
            self.stack.timer_moved(Some(next));
        }
    }

    fn disarm(&self, inner: &mut Inner) {
        if let Some(place) = inner.armed.take() {
            self.stack.inner().sock_timers.remove(place);
        }
    }

    /// The entry that stood at `place` came up.
    pub(super) fn timer(self: &Arc<Self>, place: Place) {
        let Some(net) = self.net.upgrade() else { return };
        let Some(cx) = Cx::new(&self.stack, &net) else { return };
        let now = cx.now();
        self.act_by(cx, (now, Cause::Timer), |inner, out| {
            if inner.armed != Some(place) {
                // It was replaced after it was taken out.
                return;
            }
            inner.armed = None;
            self.expire(cx, now, inner, out);
        });
    }

    fn expire(&self, cx: Cx<'_>, now: Duration, inner: &mut Inner, out: &mut Vec<Frame>) {
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        if is_due(inner.due.forget) {
            return self.end(inner, 0);
        }
        if is_due(inner.due.handshake) || inner.due.unheard.is_some_and(|since| since.get() + inner.patience() <= now) {
            let error = if inner.soft_error != 0 { inner.soft_error } else { errno::ETIMEDOUT };
            count::mib(cx).ext.inc(TcpExt::TCPTimeouts);
            count::mib(cx).ext.inc(TcpExt::TCPAbortOnTimeout);
            return self.end(inner, error);
        }
        if is_due(inner.due.keepalive) {
            self.keepalive(cx, now, inner, out);
        }
        if inner.state != State::Close
            && let Some(engine) = &mut inner.engine
        {
            engine.poll(now, out);
            self.rest(now, inner);
        }
    }

    fn keepalive(&self, cx: Cx<'_>, now: Duration, inner: &mut Inner, out: &mut Vec<Frame>) {
        if !inner.options.keepalive || !inner.state.is_synchronized() {
            inner.due.keepalive = None;
            return;
        }
        let Some(engine) = &mut inner.engine else { return };
        if engine.unacknowledged() > 0 {
            inner.due.keepalive = Some((now + inner.options.keep_idle).into());
            return;
        }
        let expired = match inner.options.user_timeout {
            Some(limit) => inner.due.probes > 0 && inner.counts.last_heard.get() + limit <= now,
            None => inner.due.probes >= inner.options.keep_count,
        };
        if expired {
            count::mib(cx).ext.inc(TcpExt::TCPAbortOnTimeout);
            engine.abort();
            engine.poll(now, out);
            return self.end(inner, errno::ETIMEDOUT);
        }
        inner.due.probes += 1;
        inner.due.keepalive = Some((now + inner.options.keep_interval).into());
        count::mib(cx).ext.inc(TcpExt::TCPKeepAlive);
        engine.probe();
    }

    /// What the engine's state means for the socket.
    fn follow(self: &Arc<Self>, cx: Cx<'_>, now: Duration, inner: &mut Inner) {
        let Some(engine) = inner.engine.as_ref().filter(|_| inner.state != State::Close) else { return };
        let (before, after) = (inner.state, engine.state());
        inner.due.unheard = match inner.due.unheard {
            _ if engine.unacknowledged() == 0
                && !matches!(after, State::FinWait1 | State::LastAck | State::Closing) =>
            {
                None
            }
            None if inner.sequence.snd_una != inner.sequence.snd_nxt => Some(now.into()),
            since => since,
        };
        if before == after {
            return;
        }
        inner.state = after;
        inner.news = true;
        if !matches!(after, State::SynSent | State::SynRecv) {
            inner.due.handshake = None;
        }
        match after {
            State::TimeWait => {
                // Who was closed before that, is no more than what waits for the peer's end since then.
                if inner.due.forget.is_none() {
                    count::mib(cx).ext.inc(TcpExt::TW);
                    self.remember_host(cx, inner);
                }
                self.enter_time_wait(cx, inner);
            }
            State::Close | State::Listen => {
                // Our end was acknowledged, and it was the last.
                if before == State::LastAck && inner.sequence.snd_una == inner.sequence.snd_nxt {
                    self.remember_host(cx, inner);
                }
                count::broken(cx, before);
                self.end(inner, 0);
            }
            State::FinWait2 if inner.orphan => {
                count::mib(cx).ext.inc(TcpExt::TW);
                self.remember_host(cx, inner);
                inner.due.forget = Some((cx.now() + FIN_TIMEOUT).into());
                // Nothing is left that somebody would miss.
                inner.hold = None;
            }
            _ => {}
        }
        if before == State::SynSent || before == State::SynRecv {
            self.established(cx, inner);
        }
    }

    fn established(self: &Arc<Self>, cx: Cx<'_>, inner: &mut Inner) {
        if !inner.state.is_synchronized() {
            return;
        }
        if inner.options.keepalive {
            inner.due.keepalive = Some((cx.now() + inner.options.keep_idle).into());
        }
        let parent = std::mem::take(&mut inner.parent);
        if let Some(parent) = parent.upgrade() {
            count::mib(cx).tcp.inc(Tcp::PassiveOpens);
            let mut listener = parent.lock();
            let me = Arc::as_ptr(self);
            if let Some(listen) = &mut listener.listen {
                listen.young.retain(|young| !std::ptr::eq(young.as_ptr(), me) && young.strong_count() > 0);
                listen.queue.push_back(Arc::clone(self));
                listener.news = true;
            }
            parent.tell(listener);
        }
    }

    fn enter_time_wait(self: &Arc<Self>, cx: Cx<'_>, inner: &mut Inner) {
        let (Some(ticket), Some(local), Some(peer)) = (inner.ticket.take(), inner.local, inner.peer) else {
            return self.end(inner, 0);
        };
        let timestamps = inner.engine.as_ref().is_some_and(|engine| engine.timestamps());
        let remains = TimeWait {
            local,
            peer,
            v6: self.v6,
            ticket,
            snd_nxt: inner.sequence.snd_nxt,
            rcv_nxt: inner.sequence.rcv_nxt,
            window: inner.sequence.window,
            timestamp: inner.sequence.timestamp.filter(|_| timestamps),
            mark: inner.options.mark,
            md5: inner.options.md5.clone(),
            cookie: self.cookie,
            until: Mutex::new(cx.now() + timewait::LENGTH),
            over: AtomicBool::new(false),
        };
        cx.state.tcp.remember(Arc::new(remains), cx.now());
        self.end(inner, 0);
    }

    /// There is no connection any more (`tcp_done`). What arrived can still be read.
    pub(super) fn end(&self, inner: &mut Inner, error: i32) {
        let was = std::mem::replace(&mut inner.state, State::Close);
        (inner.shut_read, inner.shut_write) = (true, true);
        if error != 0 {
            inner.error = error;
        }
        inner.due = Due::default();
        self.disarm(inner);
        inner.news = true;
        inner.counts.segment = inner.send_mss();
        if inner.orphan || inner.engine.as_ref().is_some_and(|engine| engine.received() == 0) {
            inner.engine = None;
        }
        if inner.orphan {
            inner.aside = Aside::default();
        }
        let Some(net) = self.net.upgrade() else { return };
        // An attempt that its program gives up has not failed.
        if let Some(cx) = Cx::new(&self.stack, &net).filter(|_| was.is_synchronized() || error != 0) {
            count::broken(cx, was);
        }
        if let (Some(ticket), Some(state)) = (inner.ticket, self.stack.state(&net)) {
            match inner.bound.filter(|_| !inner.orphan) {
                Some(addr) => state.tcp.ports.disconnect(ticket, addr),
                None => {
                    inner.ticket = None;
                    state.tcp.ports.release(ticket);
                }
            }
        }
        if inner.orphan {
            inner.hold = None;
        }
    }

    pub(super) fn holder(self: &Arc<Self>) -> Holder {
        Holder::Sock(Arc::clone(self))
    }
}

impl Sequence {
    /// How much of ours waits for an acknowledgement, sent or not, its beginning and end included.
    pub(super) fn unacknowledged(&self) -> u32 {
        let end = if before(self.written, self.snd_nxt) { self.snd_nxt } else { self.written };
        end.wrapping_sub(self.snd_una)
    }
}

impl Inner {
    /// How long nothing may be heard of what was sent.
    fn patience(&self) -> Duration {
        match self.options.user_timeout {
            Some(limit) => limit,
            None if self.orphan => ORPHAN_LIMIT,
            None => RETRANSMIT_LIMIT,
        }
    }

    pub(super) fn note_sent(&mut self, sent: &Header, segments: u32, now: Duration) {
        let sequence = &mut self.sequence;
        if !sequence.ours {
            sequence.ours = true;
            (sequence.snd_una, sequence.snd_nxt) = (sent.seq, sent.seq);
            sequence.written = sent.seq.wrapping_add(1);
        }
        let repeated = sent.payload > 0 && before(sent.seq, sequence.snd_nxt);
        if before(sequence.snd_nxt, sent.end()) {
            sequence.snd_nxt = sent.end();
        }
        if sent.has(ACK) {
            sequence.rcv_nxt = sent.ack;
        }
        sequence.window = sent.window;
        self.counts.sent(sent, segments, repeated, now);
    }

    /// Takes the pending error (`sock_error`).
    pub(super) fn take_error(&mut self) -> i32 {
        std::mem::take(&mut self.error)
    }
}
