//! The engine of one connection: sequence numbers, windows, retransmission, congestion. It is smoltcp's, and this is the
//! only folder that names it.
//!
//! An engine knows one connection and neither addresses nor ports: to it, its own end is always [`HERE`] and the peer's
//! [`THERE`], and what they are is the socket's business. Each has an interface and a set of its own, because smoltcp looks
//! for a segment's socket, and for sockets that want to send, through all of a set.
//!
//! Time as the engine sees it runs [`PACE`] times as fast once a connection is established. Its shortest retransmission
//! timeout is a constant, a second; Linux's is a fifth of that. Round trips are measured in the same time, so nothing else
//! moves.

mod awake;
mod rest;
mod wire;

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use smoltcp::socket::tcp;
use smoltcp::time;
use smoltcp::wire::Ipv4Address;

pub(super) use self::awake::SPARES;
pub(super) use self::rest::Position;

use self::awake::{Awake, Plan};
use self::rest::Rest;
use super::moment::Moment;
use super::segment::{self, ACK, Header, SYN, before};
use super::state::State;
use crate::l2::Frame;

const HERE: (Ipv4Address, u16) = (Ipv4Address::new(192, 0, 2, 1), 1);
const THERE: (Ipv4Address, u16) = (Ipv4Address::new(192, 0, 2, 2), 2);
/// Of the network header that the engine is shown.
const IP_HEADER: usize = 20;
/// Of both headers.
const HEADERS: usize = IP_HEADER + 20;
/// With all the options that there is room for.
const MOST_HEADERS: usize = IP_HEADER + 60;
/// What a longer network header than the one that the engine is shown takes.
const LONGER: usize = 20;
/// Bytes of a timestamp option, padded.
const TIMESTAMP: usize = 12;
/// How much faster the engine's time runs on an established connection.
const PACE: i8 = 5;
/// How long an acknowledgement waits for data to go with, in the engine's time: 40 ms.
const DELAYED_ACK: time::Duration = time::Duration::from_millis(200);
/// Segments with data that are acknowledged at once, before a connection is trusted to talk.
const QUICK_ACKS: u8 = 16;
/// How long what was sent may stay unacknowledged while the engine waits for nothing, before it is sent again: the shortest
/// retransmission timeout of Linux.
const FORGOTTEN: Duration = Duration::from_millis(200);
/// Acknowledgements of the same byte after which a segment is taken for lost (RFC 5681, 3.2).
const DUPLICATES: usize = 3;
/// What the engine says when it wants to be polled, and has nothing to send when it is: look again after this.
const IDLE_LOOK: Duration = Duration::from_millis(10);

thread_local! {
    /// What the timestamp option of a segment holds that is made now. smoltcp asks a function without arguments.
    static TIMESTAMP_NOW: Cell<u32> = const { Cell::new(0) };
}

/// How congestion is controlled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Congestion {
    #[default]
    Cubic,
    Reno,
    /// Computed as cubic.
    Bbr,
    /// Not at all.
    None,
}

impl Congestion {
    const ALL: [Self; 4] = [Self::Cubic, Self::Reno, Self::Bbr, Self::None];

    /// As programs call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Reno => "reno",
            Self::Bbr => "bbr",
            Self::None => "none",
        }
    }

    pub(super) fn of(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name().as_bytes() == name)
    }
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    /// Largest segment, without options, either way.
    pub(super) mss: u16,
    /// Bytes of options that are put into each segment of ours besides.
    pub(super) beside: u16,
    pub(super) send_buffer: u32,
    pub(super) receive_buffer: u32,
    pub(super) timestamps: bool,
    pub(super) nodelay: bool,
    pub(super) congestion: Congestion,
    /// Bytes of the largest packet that goes out whole, to be cut by whoever takes it off the stack; 0 if each segment goes
    /// out by itself.
    pub(super) offload: u32,
    /// Where sequence numbers begin follows from it.
    pub(super) seed: u64,
}

/// One connection.
pub(super) struct Engine {
    /// Nothing while it [rests](rest).
    awake: Option<Box<Awake>>,
    plan: Plan,
    /// What the peer's first segment said.
    peer: segment::Options,
    rest: Rest,
    /// How far the sequence numbers of its segments are ahead of smoltcp's, since it rested.
    ahead: u32,
    /// When something happened last.
    used: Moment,
    /// A moment of the stack's clock, what the engine's time was then, and how fast it runs since.
    epoch: (Moment, i64),
    pace: i8,
    data_segments: u8,
    /// No more than this waits to be acknowledged, whatever there is room for.
    send_limit: u32,
    /// What the peer acknowledged last and the window that it gave, unscaled; what we acknowledged last.
    heard: Option<(u32, u16)>,
    said: Option<u32>,
    /// Bytes that the program took since the peer was told of room.
    taken: u32,
    /// When something is sent again that the engine has forgotten.
    forgotten: Option<Moment>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Begin {
    /// The largest packet, as the engine counts it, that holds a whole number of segments and is no longer than the limit when
    /// it has its own header; `None` if that is not more than one, or each is something else than its part of the whole.
    fn unit(&self, options: usize) -> Option<NonZeroU32> {
        let segment = usize::from(self.mss).saturating_sub(options).max(1);
        let segments = (self.offload as usize).saturating_sub(HEADERS + LONGER + options) / segment;
        // No longer than the limit.
        NonZeroU32::new((HEADERS + options + segments * segment) as u32).filter(|_| segments > 1 && self.beside == 0)
    }
}

impl Engine {
    fn new(begin: &Begin, now: Duration) -> Self {
        let options = if begin.timestamps { TIMESTAMP } else { 0 };
        let plan = Plan { begin: *begin, whole: begin.unit(options), ack_delay: false };
        // Not at zero: a keep-alive timer that is due at once is set to that.
        Self {
            awake: Some(Box::new(plan.make())),
            plan,
            peer: segment::Options::default(),
            rest: Rest::default(),
            ahead: 0,
            used: now.into(),
            epoch: (now.into(), 1),
            pace: 1,
            data_segments: 0,
            send_limit: begin.send_buffer,
            heard: None,
            said: None,
            taken: 0,
            forgotten: None,
        }
    }

    /// An active open. Its SYN is sent by the first [`poll`](Self::poll).
    pub(super) fn connect(begin: &Begin, now: Duration) -> Option<Self> {
        let mut engine = Self::new(begin, now);
        engine.awake().connect()?;
        Some(engine)
    }

    /// A passive open, which the first [`input`](Self::input) must complete with a SYN.
    pub(super) fn listen(begin: &Begin, now: Duration) -> Option<Self> {
        let mut engine = Self::new(begin, now);
        engine.socket_mut().listen(HERE.1).ok()?;
        Some(engine)
    }

    fn socket(&self) -> Option<&tcp::Socket<'static>> {
        self.awake.as_ref().map(|awake| awake.socket())
    }

    fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.awake().socket_mut()
    }

    fn engine_time(&self, now: Duration) -> time::Instant {
        let since = i64::try_from(now.saturating_sub(self.epoch.0.get()).as_micros()).unwrap_or(i64::MAX);
        TIMESTAMP_NOW.set(now.as_millis() as u32);
        time::Instant::from_micros(self.epoch.1.saturating_add(since.saturating_mul(self.pace.into())))
    }

    fn real_time(&self, at: time::Instant) -> Duration {
        let since = (at.total_micros() - self.epoch.1) / i64::from(self.pace);
        self.epoch.0.get() + Duration::from_micros(u64::try_from(since).unwrap_or(0))
    }

    /// The handshake's timeouts are those of the field; what comes after it runs faster.
    fn keep_pace(&mut self, now: Duration) {
        let handshake = matches!(self.state(), State::SynSent | State::SynRecv | State::Listen);
        let pace = if handshake { 1 } else { PACE };
        if pace != self.pace {
            self.epoch = (now.into(), self.engine_time(now).total_micros());
            self.pace = pace;
        }
    }

    pub(super) fn state(&self) -> State {
        // Others do not rest.
        match self.socket().map_or(tcp::State::Established, |socket| socket.state()) {
            tcp::State::Closed => State::Close,
            tcp::State::Listen => State::Listen,
            tcp::State::SynSent => State::SynSent,
            tcp::State::SynReceived => State::SynRecv,
            tcp::State::Established => State::Established,
            tcp::State::FinWait1 => State::FinWait1,
            tcp::State::FinWait2 => State::FinWait2,
            tcp::State::CloseWait => State::CloseWait,
            tcp::State::Closing => State::Closing,
            tcp::State::LastAck => State::LastAck,
            tcp::State::TimeWait => State::TimeWait,
        }
    }

    /// A segment of this connection came; its frame's data begin at its header. What it causes to be sent is put into
    /// `out`, each frame likewise; the ports in it are still to be [set](segment::set_ports).
    pub(super) fn input(&mut self, mut segment: Frame, now: Duration, out: &mut Vec<Frame>) {
        self.used = now.into();
        let header = Header::parse(segment.data());
        if let Some(header) = header.filter(|header| header.has(SYN)) {
            let beside = self.plan.begin.beside;
            segment::change_mss(segment.data_mut(), &header, |mss| mss.saturating_sub(beside));
            self.peer = segment::options(segment.data(), &header);
        }
        if let Some(header) = header.filter(|header| header.has(ACK)) {
            // What is repeated may have been said before what is known.
            let repeated = self.said.is_some_and(|said| before(header.seq, said));
            if !repeated || self.heard.is_none_or(|(ack, _)| before(ack, header.ack)) {
                // The first window is not scaled.
                let scale = self.peer.window_scale.filter(|_| header.has(SYN)).unwrap_or(0);
                self.heard = Some((header.ack, header.window >> scale));
            }
        }
        let has_data = segment.len() > usize::from(segment.data().get(12).map_or(0, |b| b >> 4)) * 4;
        if has_data && self.data_segments <= QUICK_ACKS {
            self.data_segments += 1;
            if self.data_segments > QUICK_ACKS {
                self.plan.ack_delay = true;
                self.socket_mut().set_ack_delay(Some(DELAYED_ACK));
            }
        }
        // Every second segment is acknowledged at once. The engine counts what stands for many as one, for which it would
        // wait; and so would the sender.
        let many = segment.segment.is_some() && self.plan.ack_delay;
        if many {
            self.socket_mut().set_ack_delay(Some(time::Duration::ZERO));
        }
        self.take_in(segment, now, out);
        self.keep_pace(now);
        self.poll(now, out);
        if many {
            let delay = self.plan.delay();
            self.socket_mut().set_ack_delay(delay);
        }
    }

    /// Shows the engine a segment from the peer.
    fn take_in(&mut self, segment: Frame, now: Duration, out: &mut Vec<Frame>) {
        let at = self.engine_time(now);
        self.awake();
        if let Some(awake) = &mut self.awake {
            awake.take_in(segment, at, &self.plan, self.ahead, out);
        }
    }

    /// The next segments with data are acknowledged at once: somebody waits for that.
    pub(super) fn answer_at_once(&mut self) {
        self.data_segments = 0;
        self.plan.ack_delay = false;
        if let Some(awake) = &mut self.awake {
            awake.socket_mut().set_ack_delay(None);
        }
    }

    /// Sends what there is to send.
    pub(super) fn poll(&mut self, now: Duration, out: &mut Vec<Frame>) {
        let at = self.engine_time(now);
        // What rests has nothing to say.
        let Some(awake) = &mut self.awake else { return };
        awake.send_all(at, &self.plan, self.ahead, out);
        let last = out.last().and_then(|frame| Header::parse(frame.data()));
        if let Some(header) = last.filter(|header| header.has(ACK)) {
            self.said = Some(header.ack);
        }
        if !out.is_empty() {
            (self.taken, self.used) = (0, now.into());
        }
        self.keep_pace(now);
        if self.forgotten.is_some_and(|at| at <= now) {
            self.forgotten = None;
            self.remind(now, out);
        }
    }

    /// Has the first segment sent again that was not acknowledged.
    ///
    /// smoltcp has one timer for retransmissions and for probes of a closed window. A window that closes while segments are
    /// under way, and opens again, leaves it with neither: if those were lost, nobody would ever know. Three acknowledgements
    /// that say nothing new make it send, and with that it waits again. It counts them from the last new one or change of
    /// window on, so a change that is taken back comes first.
    fn remind(&mut self, now: Duration, out: &mut Vec<Frame>) {
        let (Some((ack, window)), Some(seq)) = (self.heard, self.said) else { return };
        // Of a closed window it is enough to say so once more: it is probed then.
        let same = if window == 0 { 0 } else { DUPLICATES };
        for window in [window ^ 1, window].into_iter().chain(std::iter::repeat_n(window, same)) {
            let header = Header {
                sport: THERE.1,
                dport: HERE.1,
                seq,
                ack,
                flags: ACK,
                window,
                urgent: 0,
                len: segment::HEADER_LEN,
                payload: 0,
            };
            self.take_in(segment::bare(&header, None), now, out);
        }
        let at = self.engine_time(now);
        if let Some(awake) = &mut self.awake {
            awake.send_all(at, &self.plan, self.ahead, out);
        }
    }

    /// When the engine wants to be polled next, after it was polled.
    pub(super) fn poll_at(&mut self, now: Duration) -> Option<Duration> {
        let at = self.engine_time(now);
        let Some(next) = self.awake.as_mut()?.poll_at(at) else {
            let waits = self.unacknowledged() > 0 && !matches!(self.state(), State::Close | State::TimeWait);
            self.forgotten = waits.then(|| self.forgotten.unwrap_or_else(|| (now + FORGOTTEN).into()));
            return self.forgotten.map(Moment::get);
        };
        self.forgotten = None;
        if next.total_micros() == 0 {
            // It was polled until it had nothing to send.
            return Some(now + IDLE_LOOK);
        }
        Some(self.real_time(next).max(now))
    }

    /// Takes bytes to be sent; says how many there was room for.
    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        let room = bytes.len().min(self.send_room());
        self.socket_mut().send_slice(bytes.get(..room).unwrap_or_default()).unwrap_or(0)
    }

    /// Lets `f` take what arrived, from a piece of it; `f` says how many bytes it took.
    pub(super) fn receive<R>(&mut self, f: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        let before = self.received();
        if self.awake.is_none() {
            return Some(f(&mut []).1);
        }
        let result = self.socket_mut().recv(f).ok();
        // Of a buffer whose length such a number holds.
        self.taken += (before - self.received()) as u32;
        result
    }

    /// Whether the peer knows of so much room that he need not hear of more when everything is read: the engine tells him of
    /// twice as much as he knows of, and he knows of more than half.
    pub(super) fn is_wide_open(&self) -> bool {
        self.taken as usize + self.received() <= self.plan.receive_buffer() / 4
    }

    /// Bytes that arrived, from `offset` on, without taking them.
    pub(super) fn peek(&mut self, offset: usize, into: &mut [u8]) -> usize {
        // What lies before has to be copied too: peeking far in is rare.
        let mut all = vec![0; offset.saturating_add(into.len()).min(self.received())];
        let got = if all.is_empty() { 0 } else { self.socket_mut().peek_slice(&mut all).unwrap_or(0) };
        let from = all.get(offset..got).unwrap_or_default();
        into[..from.len()].copy_from_slice(from);
        from.len()
    }

    /// The window that the peer announced last, without its scale.
    pub(super) fn window_heard(&self) -> Option<u16> {
        self.heard.map(|(_, window)| window)
    }

    /// Bytes that arrived and were not taken.
    pub(super) fn received(&self) -> usize {
        self.socket().map_or(0, |socket| socket.recv_queue())
    }

    /// Bytes that were not acknowledged yet, sent or not.
    pub(super) fn unacknowledged(&self) -> usize {
        self.socket().map_or(0, |socket| socket.send_queue())
    }

    pub(super) fn send_room(&self) -> usize {
        (self.plan.begin.send_buffer.min(self.send_limit) as usize).saturating_sub(self.unacknowledged())
    }

    /// From now on no more than this waits to be acknowledged; what waits already stays.
    pub(super) fn limit_sending(&mut self, bytes: usize) {
        self.send_limit = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// No more will be sent after what was taken (FIN).
    pub(super) fn close(&mut self) {
        self.socket_mut().close();
    }

    /// Ends it with a reset, which the next [`poll`](Self::poll) sends.
    pub(super) fn abort(&mut self) {
        self.socket_mut().abort();
    }

    pub(super) fn set_nodelay(&mut self, nodelay: bool) {
        self.plan.begin.nodelay = nodelay;
        if let Some(awake) = &mut self.awake {
            awake.socket_mut().set_nagle_enabled(!nodelay);
        }
    }

    /// Sends a keep-alive probe with the next [`poll`](Self::poll), if nothing waits for an acknowledgement.
    pub(super) fn probe(&mut self) {
        // Due at once, and not again: when it is sent, the timer is set by what the interval is then.
        let socket = self.socket_mut();
        socket.set_keep_alive(Some(time::Duration::ZERO));
        socket.set_keep_alive(None);
    }

    /// Segments are no larger than this from here on, of which so much is taken `beside`.
    pub(super) fn set_mss(&mut self, mss: u16, beside: u16) {
        let begin = &mut self.plan.begin;
        if (mss, beside) != (begin.mss, begin.beside) {
            (begin.mss, begin.beside) = (mss, beside);
            self.plan.whole = self.plan.begin.unit(usize::from(self.options_len()));
            if let Some(awake) = &mut self.awake {
                awake.interface = self.plan.interface();
            }
        }
    }

    /// Are timestamps in use on this connection?
    pub(super) fn timestamps(&self) -> bool {
        self.socket().map_or(self.rest.timestamps, |socket| socket.timestamp_enabled())
    }

    /// The largest segment, without options.
    pub(super) fn mss(&self) -> u16 {
        self.plan.begin.mss
    }

    /// By how many bits our windows are scaled, if the peer does it too (RFC 7323, 2.3).
    pub(super) fn window_scale(&self) -> u8 {
        let bits = u32::BITS - self.plan.begin.receive_buffer.leading_zeros();
        bits.saturating_sub(16) as u8
    }

    /// The window that we would announce now, in the header.
    pub(super) fn window(&self, scaled: bool) -> u16 {
        let room = self.plan.receive_buffer() - self.received();
        u16::try_from(room >> if scaled { self.window_scale() } else { 0 }).unwrap_or(u16::MAX)
    }

    /// What options take of each segment.
    pub(super) fn options_len(&self) -> u16 {
        if self.timestamps() { TIMESTAMP as u16 } else { 0 }
    }
}
