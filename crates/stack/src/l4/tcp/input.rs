//! What segments do to a socket (`tcp_input.c`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::buffers::MOST;
use super::count;
use super::info::Counts;
use super::md5sig;
use super::reset;
use super::segment::{self, ACK, FIN, Header, RST, SYN, before};
use super::smoltcp::Engine;
use super::sock::{Due, Inner, Sequence, Sock, is_link_local};
use super::state::State;
use crate::errno;
use crate::l2::{Cx, Frame};
use crate::l3::{IcmpError, Received};
use crate::mib::TcpExt;

/// How long a peer has to complete a handshake (`net.ipv4.tcp_synack_retries`, five repetitions).
const SYNACK_LIMIT: Duration = Duration::from_secs(63);
/// `ICMP_FRAG_NEEDED` of destination unreachable, and "packet too big".
const TOO_BIG: [(bool, u8, u8); 2] = [(true, 3, 4), (false, 2, 0)];

impl Sock {
    /// A segment that the port table found this socket for.
    pub(super) fn segment(self: &Arc<Self>, cx: Cx<'_>, header: &Header, packet: Received) {
        let (state, min_hops, keys) = {
            let inner = self.lock();
            (inner.state, inner.options.heeded(packet.dst.is_ipv6()).min_hops, inner.options.md5.clone())
        };
        if packet.hop_limit < min_hops {
            // It has come from farther away than the program talks to.
            return count::mib(cx).ext.inc(TcpExt::TCPMinTTLDrop);
        }
        if let Err(why) = md5sig::check(keys.as_deref(), &packet, header) {
            return count::mib(cx).ext.inc(why);
        }
        match state {
            State::Listen => self.knock(cx, header, packet),
            State::Close => reset(cx, header, &packet, keys.as_deref()),
            State::SynRecv if self.must_wait(header) => count::no_place(cx, TcpExt::ListenOverflows),
            _ => self.receive(cx, header, packet),
        }
    }

    /// A segment of a connection (`tcp_rcv_established`, `tcp_rcv_state_process`).
    fn receive(self: &Arc<Self>, cx: Cx<'_>, header: &Header, mut packet: Received) {
        let now = cx.now();
        let trail = packet.frame.trail.take();
        let answer = self.act_at(cx, now, |inner, out| {
            if inner.state == State::Close {
                return (!header.has(RST)).then_some(packet);
            }
            if inner.unwanted(header) {
                // A closed program can be told nothing any more, so the peer is told that. What only waits for the peer's
                // end since is no socket to Linux.
                if inner.due.forget.is_none() {
                    count::mib(cx).ext.inc(TcpExt::TCPAbortOnData);
                }
                if let Some(engine) = &mut inner.engine {
                    engine.abort();
                    engine.poll(now, out);
                }
                return None;
            }
            if let Some(engine) = inner.engine.as_mut().filter(|_| trail.is_some()) {
                engine.answer_at_once();
            }
            let unsure = header.has(SYN) && inner.state.is_synchronized();
            if header.has(RST) && inner.state == State::SynRecv {
                count::mib(cx).ext.inc(TcpExt::EmbryonicRsts);
            }
            inner.feed(cx, header, packet, out);
            if unsure && count::challenges(out) {
                count::mib(cx).ext.inc(TcpExt::TCPSYNChallenge);
                count::mib(cx).ext.inc(TcpExt::TCPChallengeACK);
            }
            self.follow_trail(cx, inner, trail);
            None
        });
        if let Some(packet) = answer {
            let keys = self.lock().options.md5.clone();
            reset(cx, header, &packet, keys.as_deref());
        }
    }

    /// Would this segment complete a handshake whose listener has no place for the connection? It is dropped, and comes
    /// again.
    fn must_wait(&self, header: &Header) -> bool {
        let inner = self.lock();
        if inner.state != State::SynRecv || header.has(RST) {
            return false;
        }
        // A connection is locked before its listener.
        let Some(parent) = inner.parent.upgrade() else { return false };
        let parent = parent.lock();
        parent.listen.as_ref().is_some_and(|listen| listen.queue.len() + listen.taken > listen.backlog)
    }

    /// A segment for a listener (`tcp_conn_request`).
    fn knock(self: &Arc<Self>, cx: Cx<'_>, header: &Header, mut packet: Received) {
        if header.has(RST) {
            return;
        }
        if header.has(ACK) {
            return reset(cx, header, &packet, self.lock().options.md5.clone().as_deref());
        }
        if !header.has(SYN) || header.has(FIN) {
            return;
        }
        let knock = self.lock().listen.as_ref().and_then(|listen| listen.knock.clone());
        if knock.is_some_and(|knock| !knock()) {
            self.stop_listening();
            return reset(cx, header, &packet, self.lock().options.md5.clone().as_deref());
        }
        let (mut options, uid, ticket) = {
            let mut inner = self.lock();
            let Some(listen) = &mut inner.listen else { return };
            listen.young.retain(|young| young.strong_count() > 0);
            // No place: the peer asks again.
            if listen.queue.len() + listen.taken > listen.backlog {
                return count::no_place(cx, TcpExt::ListenOverflows);
            }
            if listen.young.len() > listen.backlog.max(8) {
                return count::no_place(cx, TcpExt::TCPReqQFullDrop);
            }
            (inner.options.inherited(), inner.uid, inner.ticket)
        };
        let Some(ticket) = ticket else { return };
        if let Some(keys) = options.md5.clone() {
            options.md5 = keys.alone(packet.src).map(Arc::new);
        }
        let local = SocketAddr::new(packet.dst, header.dport);
        let peer = SocketAddr::new(packet.src, header.sport);
        let child = Arc::new(Self::with(
            self.stack.clone(),
            self.net.clone(),
            self.v6,
            Inner {
                state: State::Listen,
                local: Some(local),
                peer: Some(peer),
                scope: if is_link_local(packet.src) { packet.iif } else { 0 },
                counts: Counts::new(cx.now()),
                saved_syn: saved_syn(options.save_syn, header, &packet),
                options,
                uid,
                parent: Arc::downgrade(self),
                due: Due { handshake: Some((cx.now() + SYNACK_LIMIT).into()), ..Due::default() },
                // Nobody has it yet.
                orphan: true,
                ..Inner::default()
            },
        ));
        let mut inner = child.lock();
        let Ok(route) = child.route(cx, &inner, Some(local.ip()), peer.ip()) else { return };
        let begin = child.begin(cx, &route, &inner, child.seed());
        let Some(engine) = Engine::listen(&begin, cx.now()) else { return };
        inner.engine = Some(Box::new(engine));
        // Somebody else may have made the same connection of a copy of this segment.
        let Some(place) = cx.state.tcp.ports.inherit(ticket, local.ip(), peer, child.holder()) else { return };
        inner.ticket = Some(place);
        drop(inner);
        if let Some(listen) = &mut self.lock().listen {
            listen.young.push(Arc::downgrade(&child));
        }
        let trail = packet.frame.trail.take();
        child.act(cx, |inner, out| {
            inner.feed(cx, header, packet, out);
            child.follow_trail(cx, inner, trail);
        });
    }

    /// Somebody on the way says something of a segment of ours.
    pub(super) fn icmp_error(self: &Arc<Self>, cx: Cx<'_>, peer: SocketAddr, seq: u32, error: &IcmpError<'_>) {
        let too_big = TOO_BIG.contains(&(error.src.is_ipv4(), error.ty, error.code));
        // Parts that did not all arrive in time come again as any segment does.
        let reassembly = (error.src.is_ipv4(), error.ty, error.code) == (true, 11, 1);
        self.act(cx, |inner, out| {
            let too_far =
                error.offender.is_some() && error.packet.hop_limit < inner.options.heeded(peer.is_ipv6()).min_hops;
            if reassembly
                || inner.peer != Some(peer)
                || too_far
                || inner.state == State::Listen
                || inner.state == State::Close
            {
                return;
            }
            let Sequence { snd_una, snd_nxt, .. } = inner.sequence;
            if before(seq, snd_una) || before(snd_nxt, seq) {
                return count::mib(cx).ext.inc(TcpExt::OutOfWindowIcmps);
            }
            if too_big {
                // The path's size is looked up with the next segment; what was too large comes again with the timer.
                if let Some(engine) = &mut inner.engine {
                    engine.poll(cx.now(), out);
                }
            } else if matches!(inner.state, State::SynSent | State::SynRecv) {
                self.end(inner, error.errno);
            } else if inner.options.heeded(peer.is_ipv6()).receive_errors {
                // It is told at once, of whatever kind it is, and the connection goes on.
                inner.error = error.errno;
                inner.news = true;
            } else {
                inner.soft_error = error.errno;
            }
        });
    }

    /// Where a connection's sequence numbers begin: nobody outside can tell (RFC 6528).
    pub(super) fn seed(&self) -> u64 {
        self.stack.random()
    }
}

/// The headers of a segment, as `TCP_SAVE_SYN` wants them: from the network header on, or from the link's.
fn saved_syn(mode: u8, header: &Header, packet: &Received) -> Option<Box<[u8]>> {
    if mode == 0 {
        return None;
    }
    let mut frame = packet.frame.clone();
    let behind = frame.data().len() - header.len;
    if mode == 1 {
        frame.pull_back_to_network();
    } else {
        frame.pull_back_to_mac();
    }
    frame.data().get(..frame.data().len() - behind).map(Box::from)
}

impl Inner {
    /// Data for a program that has closed its socket, or said that it reads no more before it said that it writes no more.
    fn unwanted(&self, header: &Header) -> bool {
        if header.payload == 0 || header.has(RST) || !self.sequence.theirs {
            return false;
        }
        let deaf = self.orphan && self.parent.strong_count() == 0 && self.hold_or_closing();
        let new = before(self.sequence.rcv_nxt, header.seq.wrapping_add(header.payload as u32));
        deaf && new
    }

    /// Has a program had it, and closed it?
    fn hold_or_closing(&self) -> bool {
        matches!(self.state, State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck)
    }

    /// Gives a segment to the engine, and draws from it what the engine does not tell.
    fn feed(&mut self, cx: Cx<'_>, header: &Header, mut packet: Received, out: &mut Vec<Frame>) {
        let now = cx.now();
        count::received(cx, self, header, self.sequence.read.wrapping_add(self.received() as u32));
        let Some(engine) = &mut self.engine else { return };
        let found = segment::options(packet.frame.data(), header);
        let (was, waited) = (engine.received(), engine.unacknowledged());
        if header.has(SYN) && !self.sequence.theirs {
            self.sequence.theirs = true;
            self.sequence.rcv_nxt = header.seq.wrapping_add(1);
            self.sequence.read = self.sequence.rcv_nxt;
            self.counts.learn(&found);
        }
        if let Some((value, echo)) = found.timestamp {
            self.sequence.timestamp = Some(value);
            if header.has(ACK) && before(self.sequence.snd_una, header.ack) {
                self.counts.round_trip((now.as_millis() as u32).wrapping_sub(echo));
            }
        }
        let segments = packet.frame.segments(header.len) as u32;
        self.counts.received(header, segments, packet.tos, now);
        let announced = self.sequence.theirs && self.urgent.note(header, self.sequence.read);
        let aside = self.goes_aside(header, &packet.frame);
        self.note_gap(header);
        let Some(engine) = &mut self.engine else { return };
        let scaled = self.counts.peer.window_scale.is_some();
        let alone = if aside { Some(header.seq) } else { refused(engine, &self.sequence, scaled, header) };
        if let Some(at) = alone {
            let alone = Header { seq: at, flags: ACK, urgent: 0, len: segment::HEADER_LEN, payload: 0, ..*header };
            let mut frame = segment::bare(&alone, found.timestamp);
            self.skip.incoming(&alone, &self.sequence, frame.data_mut());
            engine.input(frame, now, out);
        }
        if aside {
            self.put_aside(header, packet.frame);
            // What the engine has sent on its own account bears it, too.
            if out.is_empty() {
                out.extend(self.acknowledgement(now));
            }
        } else {
            self.skip.incoming(header, &self.sequence, packet.frame.data_mut());
            engine.input(packet.frame, now, out);
        }
        let Some(engine) = &mut self.engine else { return };
        let mut newly = None;
        if header.has(ACK) && self.sequence.ours {
            let Sequence { snd_una, snd_nxt, .. } = self.sequence;
            if before(snd_una, header.ack) && !before(snd_nxt, header.ack) {
                let bytes = header.ack.wrapping_sub(snd_una);
                self.counts.acknowledged(bytes);
                newly = (!header.has(RST)).then_some((bytes, header.ack == snd_nxt));
                self.sequence.snd_una = header.ack;
                self.urgent.acknowledged(header.ack);
                self.due.unheard = None;
                self.news = true;
            } else if header.window == 0 {
                // It lives, and has no room.
                self.due.unheard = None;
            }
        }
        if let Some(at) = self.urgent.awaited() {
            let mut byte = [0];
            if engine.peek(at.wrapping_sub(self.sequence.read) as usize, &mut byte) == 1 {
                self.urgent.arrived(byte[0]);
                self.news = true;
            }
        }
        // What the engine heard of late is news then, whatever was noted before.
        self.news |= announced || engine.received() != was || engine.unacknowledged() != waited;
        self.due.probes = 0;
        if self.due.keepalive.is_some() {
            self.due.keepalive = Some((now + self.options.keep_idle).into());
        }
        let after = engine.state();
        if let Some((bytes, all)) = newly {
            count::acknowledged(cx, self, bytes, all);
        }
        if matches!(after, State::CloseWait | State::Closing | State::LastAck | State::TimeWait) {
            self.news |= !self.done;
            self.done = true;
        }
        if after == State::Close && header.has(RST) {
            self.error = match self.state {
                State::SynSent => errno::ECONNREFUSED,
                State::CloseWait => errno::EPIPE,
                State::LastAck | State::Closing | State::TimeWait => 0,
                _ => errno::ECONNRESET,
            };
        }
    }
}

/// Would the engine refuse a segment whose acknowledgement is new and valid, or whose window is another? Then this is where
/// one that brings nothing else would have to begin.
///
/// What lies outside of the window is refused with all that it says. But two ends that repeat at once are both behind: each
/// has all of the other's, and would never hear that the other has all of its own. And an end whose window is closed takes
/// no data, but acknowledgements all the same (RFC 9293, 3.10.7.4), and has to hear that the other's is open again.
fn refused(engine: &Engine, sequence: &Sequence, scaled: bool, header: &Header) -> Option<u32> {
    let known = sequence.ours && sequence.theirs && engine.state().is_synchronized();
    if !known || !header.has(ACK) || header.has(SYN) || header.has(RST) {
        return None;
    }
    let ended = matches!(engine.state(), State::CloseWait | State::Closing | State::LastAck | State::TimeWait);
    let expected = sequence.read.wrapping_add(engine.received() as u32).wrapping_add(u32::from(ended));
    // Who cannot know where the connection stands is not believed (RFC 5961, 5).
    let apart = header.seq.wrapping_sub(expected) as i32;
    if apart.unsigned_abs() as usize > MOST {
        return None;
    }
    let scale = if scaled { engine.window_scale() } else { 0 };
    let edge = sequence.rcv_nxt.wrapping_add(u32::from(sequence.window) << scale);
    let fits = header.payload as i64 <= i64::from(edge.wrapping_sub(expected) as i32);
    let new = before(sequence.snd_una, header.ack) && !before(sequence.snd_nxt, header.ack);
    // What was repeated may be older than what is known of the window; what is ahead of it is not.
    let beyond = !before(header.seq, edge) && apart > 0;
    let opened = beyond && header.ack == sequence.snd_una && engine.window_heard() != Some(header.window);
    (new && (apart != 0 || !fits) || opened).then_some(expected)
}
