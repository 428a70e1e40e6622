//! The short way of a connection between two sockets of this stack: bytes are moved from one program's end to the other's
//! by whoever holds both ends, and here it is done as if segments had carried them.
//!
//! The way is learnt from segments: one with a [`Trail`] goes out, its answer brings it back, and both sockets have the
//! [`Path`] then. It holds until something changes anywhere ([`Stack::changes`]), and not longer than [`FRESH`]: then a
//! segment is sent again, which also keeps neighbours, switches and round-trip times fresh. So a look at one number says
//! whether it still holds, and a capture, a link that goes down or another route puts the connection back on segments.
//!
//! The engine knows nothing of bytes that did not pass through it. Its sequence numbers lag behind those that the rest of
//! the world sees by what [`Skip`] says; segments are corrected on their way out of the engine and into it.

use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::count::Carried;
use super::moment::Moment;
use super::segment::{ACK, FIN, HEADER_LEN, Header, RST, SYN, before};
use super::sock::{Inner, Sequence, Sock};
use super::state::State;
use super::stream::TcpSocket;
use crate::l2::{Crossing, Cx, Frame, Trail};

/// How long a way is believed.
const FRESH: Duration = Duration::from_secs(1);
/// How long after a segment that was to learn the way the next one may try.
const PAUSE: Duration = Duration::from_millis(20);
/// How many bytes back it is remembered which took the short way.
const MEMORY: u32 = 1 << 30;

/// The way between two connected sockets, both directions.
#[derive(Debug)]
pub(super) struct Path {
    /// What [`Stack::changes`](crate::dev::Stack::changes) was when it was learnt, and until when it is believed.
    begun: u64,
    until: Duration,
    /// Who sent the segment that learnt it, and who answered.
    first: u64,
    ends: [Weak<Sock>; 2],
    there: Box<[Crossing]>,
    back: Box<[Crossing]>,
}

/// How far the engine's sequence numbers lag behind the connection's, either way: as many bytes took the short way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Skip {
    sent: u32,
    received: u32,
    /// Ours and the peer's sequence number behind the last of these bytes: what bears older ones was on its way meanwhile.
    our_floor: u32,
    their_floor: u32,
}

/// How a connection's next bytes go.
#[derive(Debug)]
#[non_exhaustive]
pub enum TcpWay {
    /// By segments.
    Segments,
    /// By segments, but no more than so many bytes: then it will be known whether the rest may go the short way.
    Ask(usize),
    /// The short way, when what was sent by segments has been acknowledged: the socket's readiness says so.
    Wait,
    /// The short way.
    Short(TcpShortcut),
}

/// The short way from one socket to the one that it is connected with.
#[derive(Debug)]
pub struct TcpShortcut {
    from: Arc<Sock>,
    to: Arc<Sock>,
    path: Arc<Path>,
}

impl Skip {
    pub(super) const fn sent(&self) -> u32 {
        self.sent
    }

    pub(super) const fn received(&self) -> u32 {
        self.received
    }

    fn is_none(&self) -> bool {
        self.sent == 0 && self.received == 0
    }

    /// A segment leaves the engine.
    pub(super) fn outgoing(&self, bytes: &mut [u8]) {
        if self.is_none() {
            return;
        }
        let Some(header) = Header::parse(bytes) else { return };
        write(bytes, 4, header.seq.wrapping_add(self.sent));
        if header.has(ACK) {
            write(bytes, 8, header.ack.wrapping_add(self.received));
        }
        shift_sack(bytes, header.len, self.received);
    }

    /// A segment is for the engine; `sequence` is what the connection knew before it.
    pub(super) fn incoming(&mut self, header: &Header, sequence: &Sequence, bytes: &mut [u8]) {
        if self.is_none() {
            return;
        }
        for (floor, now) in [(&mut self.our_floor, sequence.snd_una), (&mut self.their_floor, sequence.rcv_nxt)] {
            // They must not be overtaken in the ring.
            if now.wrapping_sub(*floor) > MEMORY {
                *floor = now.wrapping_sub(MEMORY);
            }
        }
        let (mut seq, mut ack) = (header.seq, header.ack);
        // What it says of bytes that took the short way meanwhile is old. The engine would throw it away with all that it
        // brings, as beyond what it remembers.
        let empty = header.payload == 0 && header.flags & (SYN | FIN | RST) == 0;
        if empty && before(seq, self.their_floor) {
            seq = sequence.rcv_nxt;
        }
        if header.has(ACK) && before(ack, self.our_floor) {
            ack = sequence.snd_una;
        }
        write(bytes, 4, seq.wrapping_sub(self.received));
        if header.has(ACK) {
            write(bytes, 8, ack.wrapping_sub(self.sent));
        }
        shift_sack(bytes, header.len, 0_u32.wrapping_sub(self.sent));
    }
}

fn write(bytes: &mut [u8], at: usize, number: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

/// Moves the blocks of a selective acknowledgement (RFC 2018).
fn shift_sack(bytes: &mut [u8], header_len: usize, by: u32) {
    let mut at = HEADER_LEN;
    while at < header_len {
        let (kind, len) = match bytes.get(at..header_len) {
            Some([1, ..]) => (1, 1),
            Some([kind, len, ..]) if *kind != 0 && *len >= 2 => (*kind, usize::from(*len)),
            _ => return,
        };
        if kind == 5 {
            let end = (at + len).min(header_len);
            for number in (at + 2..end).step_by(4) {
                if let Some(edge) = bytes.get(number..number + 4).and_then(|edge| edge.first_chunk()) {
                    let edge = u32::from_be_bytes(*edge);
                    write(bytes, number, edge.wrapping_add(by));
                }
            }
        }
        at += len;
    }
}

impl Path {
    fn holds(&self, sock: &Sock) -> bool {
        self.is_unchanged(sock) && sock.stack.inner().clock.now() < self.until
    }

    /// However long ago it was learnt.
    pub(super) fn is_unchanged(&self, sock: &Sock) -> bool {
        self.begun == sock.stack.changes()
    }

    /// How long it is believed.
    pub(super) const fn until(&self) -> Duration {
        self.until
    }

    pub(super) const fn ends(&self) -> &[Weak<Sock>; 2] {
        &self.ends
    }
}

impl Sock {
    pub(super) fn path(&self) -> MutexGuard<'_, Option<Arc<Path>>> {
        // Every change under it is one assignment.
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another connection begins.
    pub(super) fn forget_way(&self) {
        *self.path() = None;
    }

    /// Is this segment, the last of those that go now, to learn the way? Or does it take another's trail back?
    pub(super) fn leave_trail(&self, cx: Cx<'_>, inner: &mut Inner, sent: &Header, frame: &mut Frame) {
        let mut trail = match inner.trail.take() {
            Some(trail) => trail,
            None if self.wants_trail(cx, inner, sent) => {
                inner.ask_at = (cx.now() + PAUSE).into();
                Box::new(Trail::new(self.cookie, cx.stack.changes()))
            }
            None => return,
        };
        trail.segment = frame.len();
        frame.trail.put(trail);
    }

    fn wants_trail(&self, cx: Cx<'_>, inner: &Inner, sent: &Header) -> bool {
        // Who has no inode number is of this process, or nobody's yet: his bytes go another way only if they are many.
        let bears = sent.payload > 0 || sent.has(SYN) && !sent.has(ACK);
        bears
            && (inner.inode != 0 || inner.bulk)
            && !inner.options.is_hard_of_hearing()
            && inner.ask_at <= cx.now()
            && !self.path().as_ref().is_some_and(|path| path.holds(self))
    }

    /// A segment has brought a trail: it goes back with the answer, or has come back.
    pub(super) fn follow_trail(self: &Arc<Self>, cx: Cx<'_>, inner: &mut Inner, trail: Option<Box<Trail>>) {
        let Some(mut trail) = trail else { return };
        if trail.from != self.cookie {
            if trail.end.is_none() && !inner.options.is_hard_of_hearing() {
                trail.end = Some(Arc::downgrade(self));
                inner.trail = Some(trail);
            }
            return;
        }
        if !trail.is_plain() {
            return;
        }
        if trail.begun != cx.stack.changes() {
            // What changed meanwhile may have been that a neighbour was found: that is worth another look at once.
            inner.ask_at = Moment::ZERO;
            return;
        }
        let Trail { begun, there, back, end: Some(end), .. } = *trail else { return };
        let Some(other) = end.upgrade() else { return };
        let ends = [Arc::downgrade(self), end];
        let (there, back) = (there.into_boxed_slice(), back.into_boxed_slice());
        let path = Arc::new(Path { begun, until: cx.now() + FRESH, first: self.cookie, ends, there, back });
        *self.path() = Some(Arc::clone(&path));
        *other.path() = Some(path);
        inner.news = true;
    }

    /// How the next bytes go.
    pub(crate) fn way(self: &Arc<Self>) -> TcpWay {
        let Some(path) = self.path().clone() else { return TcpWay::Segments };
        let inner = self.lock();
        let Some(engine) = inner.engine.as_ref().filter(|_| inner.may_skip_to_peer()) else { return TcpWay::Segments };
        let idle = engine.unacknowledged() == 0;
        if !path.holds(self) {
            let due = inner.ask_at <= self.stack.inner().clock.now();
            return if due && idle { TcpWay::Ask(inner.segment_room()) } else { TcpWay::Segments };
        }
        let other = path.ends.iter().filter_map(Weak::upgrade).find(|end| !Arc::ptr_eq(end, self));
        match other {
            None => TcpWay::Segments,
            Some(_) if !idle => TcpWay::Wait,
            Some(to) => {
                drop(inner);
                TcpWay::Short(TcpShortcut { from: Arc::clone(self), to, path })
            }
        }
    }
}

impl Inner {
    /// May bytes of ours take the short way, as far as can be seen from here?
    fn may_skip_to_peer(&self) -> bool {
        let open = matches!(self.state, State::Established | State::CloseWait);
        open && !self.shut_write && self.error == 0 && self.urgent.is_quiet()
    }

    /// And those of the peer? What came before them must have been read.
    pub(super) fn may_skip_from_peer(&self) -> bool {
        let open = matches!(self.state, State::Established | State::FinWait1 | State::FinWait2);
        let empty = self.engine.as_ref().is_some_and(|engine| engine.received() == 0);
        open && !self.shut_read && !self.done && !self.orphan && empty && self.error == 0 && self.urgent.is_quiet()
    }

    /// May bytes pass it by both ways, and does it hold none?
    pub(super) fn is_untouched(&self) -> bool {
        let sent_all = self.engine.as_ref().is_some_and(|engine| engine.unacknowledged() == 0);
        sent_all && self.aside.is_empty() && self.may_skip_to_peer() && self.may_skip_from_peer()
    }

    /// Bytes of data in a full segment.
    fn segment_room(&self) -> usize {
        let room = self.engine.as_ref().map_or(0, |engine| engine.mss().saturating_sub(engine.options_len()));
        usize::from(room).max(1)
    }

    /// It is as if something had just been heard of the peer.
    fn stay_alive(&mut self, now: Duration) {
        self.due.probes = 0;
        self.due.unheard = None;
        if self.due.keepalive.is_some() {
            self.due.keepalive = Some((now + self.options.keep_idle).into());
        }
        (self.counts.last_heard, self.counts.last_ack) = (now.into(), now.into());
    }

    fn skip_to_peer(&mut self, bytes: u32, segments: u32, acks: u32, now: Duration) {
        let Sequence { snd_una, snd_nxt, written, .. } = &mut self.sequence;
        for number in [snd_una, snd_nxt, written] {
            *number = number.wrapping_add(bytes);
        }
        self.skip.sent = self.skip.sent.wrapping_add(bytes);
        self.skip.our_floor = self.sequence.snd_una;
        let counts = &mut self.counts;
        counts.segments_out = counts.segments_out.wrapping_add(segments);
        counts.data_segments_out = counts.data_segments_out.wrapping_add(segments);
        counts.segments_in = counts.segments_in.wrapping_add(acks);
        counts.bytes_sent += u64::from(bytes);
        counts.bytes_acknowledged += u64::from(bytes);
        counts.last_sent = now.into();
        self.stay_alive(now);
    }

    /// So many bytes came that the engine is not told of.
    pub(super) fn skip_received(&mut self, bytes: u32) {
        self.sequence.read = self.sequence.read.wrapping_add(bytes);
        self.skip.received = self.skip.received.wrapping_add(bytes);
        self.skip.their_floor = self.sequence.read;
    }

    fn skip_from_peer(&mut self, bytes: u32, segments: u32, acks: u32, now: Duration) {
        self.skip_received(bytes);
        self.sequence.rcv_nxt = self.sequence.rcv_nxt.wrapping_add(bytes);
        // All that was sent before has come.
        self.gap = false;
        let counts = &mut self.counts;
        counts.segments_in = counts.segments_in.wrapping_add(segments);
        counts.data_segments_in = counts.data_segments_in.wrapping_add(segments);
        counts.segments_out = counts.segments_out.wrapping_add(acks);
        counts.bytes_received += u64::from(bytes);
        counts.last_data = now.into();
        self.stay_alive(now);
    }
}

impl TcpShortcut {
    /// The inode number of whoever has the other socket ([`TcpSocket::set_inode`]); 0 for no program.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.to.lock().inode
    }

    /// Bytes that may go at once: what does not go after all has to fit into the socket.
    #[must_use]
    pub fn room(&self) -> usize {
        self.from.send_room()
    }

    /// The socket that it leads to.
    pub(super) fn receiver(&self) -> &Arc<Sock> {
        &self.to
    }

    /// Both sockets, which are locked in the order of their cookies, here and nowhere else.
    pub(super) fn locked(&self) -> (MutexGuard<'_, Inner>, MutexGuard<'_, Inner>) {
        if self.from.cookie < self.to.cookie {
            let from = self.from.lock();
            (from, self.to.lock())
        } else {
            let to = self.to.lock();
            (self.from.lock(), to)
        }
    }

    /// As if so many bytes had been sent, received, acknowledged and read; the caller gives them to whom they are for, in
    /// order. False, and nothing has happened, if they have to be sent by segments: something has changed since, or what came
    /// before them was not read.
    #[must_use]
    pub fn advance(&self, bytes: usize) -> bool {
        let (mut from, mut to) = self.locked();
        to.aside.is_empty() && self.move_on(&mut from, &mut to, bytes)
    }

    /// The same of sockets that are locked; what [`aside`](super::aside) has of the receiver's does not matter.
    pub(super) fn move_on(&self, from: &mut Inner, to: &mut Inner, bytes: usize) -> bool {
        let Ok(count) = u32::try_from(bytes) else { return false };
        let sent_all = from.engine.as_ref().is_some_and(|engine| engine.unacknowledged() == 0);
        // Both are what each other is connected with still: a socket is connected once more only when it was fresh again.
        let matched = from.sequence.snd_nxt == to.sequence.rcv_nxt;
        let ready = sent_all && matched && from.may_skip_to_peer() && to.may_skip_from_peer();
        if !ready || !self.path.holds(&self.from) {
            return false;
        }
        let now = self.from.stack.inner().clock.now();
        let segments = bytes.div_ceil(from.segment_room());
        // Every second segment is acknowledged (RFC 9293, 3.8.6.3).
        let acks = segments.div_ceil(2);
        let header = HEADER_LEN as u64 + from.engine.as_ref().map_or(0, |engine| u64::from(engine.options_len()));
        let v6 = from.peer.is_some_and(|peer| peer.is_ipv6());
        from.skip_to_peer(count, segments as u32, acks as u32, now);
        to.skip_from_peer(count, segments as u32, acks as u32, now);
        let (segments, acks) = (segments as u64, acks as u64);
        let carried = Carried { v6, segments, acks, bytes: bytes as u64, header };
        carried.count(&self.from, &self.to);
        let stack = &self.from.stack;
        let forward = self.path.first == self.from.cookie;
        let (there, back) =
            if forward { (&self.path.there, &self.path.back) } else { (&self.path.back, &self.path.there) };
        for crossing in there {
            crossing.count(stack, segments, bytes as u64 + segments * header);
        }
        for crossing in back {
            crossing.count(stack, acks, acks * header);
        }
        true
    }
}

impl TcpSocket {
    /// How the next bytes that are written go. What is sent by [`send`](Self::send) goes by segments all the same, unless both
    /// sockets are programs' of this process: those that nobody has given an [inode number](Self::set_inode).
    #[must_use]
    pub fn way(&self) -> TcpWay {
        self.sock.way()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(seq: u32, ack: u32, payload: usize) -> Vec<u8> {
        let header =
            Header { sport: 1, dport: 2, seq, ack, flags: ACK, window: 9, urgent: 0, len: HEADER_LEN, payload: 0 };
        let mut bytes = super::super::segment::bare(&header, None).data().to_vec();
        bytes.resize(HEADER_LEN + payload, 0);
        bytes
    }

    fn shown(bytes: &[u8]) -> (u32, u32) {
        let header = Header::parse(bytes).unwrap();
        (header.seq, header.ack)
    }

    #[test]
    fn the_engine_sees_numbers_without_what_went_past_it() {
        let mut skip = Skip { sent: 1000, received: u32::MAX, our_floor: 50, their_floor: 60 };
        let mut out = header(7, 20, 3);
        skip.outgoing(&mut out);
        assert_eq!(shown(&out), (1007, 19));
        let sequence = Sequence { snd_una: 1007, rcv_nxt: 200, ..Sequence::default() };
        let mut back = header(200, 1010, 3);
        skip.incoming(&Header::parse(&back).unwrap(), &sequence, &mut back);
        assert_eq!(shown(&back), (201, 10));
    }

    #[test]
    fn what_was_on_its_way_meanwhile_is_not_lost() {
        let mut skip = Skip { sent: 1000, received: 2000, our_floor: 5000, their_floor: 6000 };
        let sequence = Sequence { snd_una: 5003, rcv_nxt: 6004, ..Sequence::default() };
        // An acknowledgement that is older than what went past, alone and with data.
        let mut old = header(5999, 4500, 0);
        skip.incoming(&Header::parse(&old).unwrap(), &sequence, &mut old);
        assert_eq!(shown(&old), (4004, 4003));
        let mut old = header(6004, 4500, 9);
        skip.incoming(&Header::parse(&old).unwrap(), &sequence, &mut old);
        assert_eq!(shown(&old), (4004, 4003));
        // Data that were seen before stay what they are.
        let mut old = header(5999, 5003, 9);
        skip.incoming(&Header::parse(&old).unwrap(), &sequence, &mut old);
        assert_eq!(shown(&old), (3999, 4003));
        // Half a ring later nothing looks old that is not.
        let far = Sequence { snd_una: 5003_u32.wrapping_add(3 << 30), rcv_nxt: 6004, ..Sequence::default() };
        let mut new = header(6004, far.snd_una, 0);
        skip.incoming(&Header::parse(&new).unwrap(), &far, &mut new);
        assert_eq!(shown(&new), (4004, far.snd_una - 1000));
    }

    #[test]
    fn blocks_of_selective_acknowledgements_move_along() {
        let mut bytes = header(1, 2, 0);
        bytes.extend_from_slice(&[1, 1, 5, 10, 0, 0, 0, 5, 0, 0, 0, 9]);
        bytes[12] = 8 << 4;
        Skip { sent: 1, received: 100, our_floor: 0, their_floor: 0 }.outgoing(&mut bytes);
        assert_eq!(bytes[22..], [5, 10, 0, 0, 0, 105, 0, 0, 0, 109]);
        // Cut short or nonsense is left alone.
        let mut bytes = header(1, 2, 0);
        bytes.extend_from_slice(&[5, 1, 5, 200]);
        bytes[12] = 6 << 4;
        shift_sack(&mut bytes, 24, 1);
        assert_eq!(bytes[20..], [5, 1, 5, 200]);
    }
}
