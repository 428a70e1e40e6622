//! What TCP counts (`TCP_INC_STATS`, `NET_INC_STATS`): of segments that come and go, of connections that begin and end.

use super::segment::{ACK, FIN, Header, RST, SYN, before};
use super::sock::{Inner, Sock};
use super::state::State;
use crate::l2::{Cx, Frame};
use crate::mib::{self, MibTcp, Tcp, TcpExt};

/// What made a connection send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A program, or a segment that came.
    Event,
    /// Its time had come.
    Timer,
}

pub(super) fn mib(cx: Cx<'_>) -> &MibTcp {
    &cx.state.mib.tcp
}

/// A segment leaves that stands for so many.
pub(super) fn sent(cx: Cx<'_>, inner: &mut Inner, header: &Header, segments: u32, cause: Cause) {
    let mib = mib(cx);
    let sequence = &inner.sequence;
    let advances = header.payload > 0 || header.has(SYN) || header.has(FIN);
    let fresh = advances && (!sequence.ours || before(sequence.snd_nxt, header.end()));
    // A probe of an idle connection bears a byte that was acknowledged.
    let repeated = advances && !fresh && before(sequence.snd_una, header.end());
    let probes = header.payload > 0 && cause == Cause::Timer && inner.counts.peer_window == 0;
    if probes {
        mib.ext.inc(TcpExt::TCPWinProbe);
    }
    if !repeated {
        mib.tcp.add(Tcp::OutSegs, segments.into());
        if fresh && !header.has(SYN) {
            mib.ext.add(TcpExt::TCPOrigDataSent, segments.into());
        }
        if fresh && !(header.has(SYN) && header.has(ACK)) {
            inner.counts.waiting += segments;
        }
    } else if !probes {
        mib.tcp.add(Tcp::RetransSegs, segments.into());
        if header.has(SYN) {
            mib.ext.inc(TcpExt::TCPSynRetrans);
        }
        mib.ext.inc(if cause == Cause::Timer { TcpExt::TCPTimeouts } else { TcpExt::TCPFastRetrans });
    }
    if header.has(RST) {
        mib.tcp.inc(Tcp::OutRsts);
    }
    let bare = !advances && header.flags == ACK;
    if bare && cause == Cause::Timer && header.seq == sequence.snd_nxt {
        mib.ext.inc(TcpExt::DelayedACKs);
    }
    match (sequence.window, header.window) {
        _ if header.has(SYN) || header.has(RST) || !sequence.theirs => {}
        (0, 0) => {}
        (0, _) => mib.ext.inc(TcpExt::TCPFromZeroWindowAdv),
        (_, 0) => mib.ext.inc(TcpExt::TCPToZeroWindowAdv),
        _ => {}
    }
}

/// A segment that was made outside of any connection leaves.
pub(super) fn sent_bare(cx: Cx<'_>, header: &Header) {
    mib(cx).tcp.inc(Tcp::OutSegs);
    if header.has(RST) {
        mib(cx).tcp.inc(Tcp::OutRsts);
    }
}

/// A segment of a connection came; `expected` is the next byte that its engine waits for.
pub(super) fn received(cx: Cx<'_>, inner: &Inner, header: &Header, expected: u32) {
    let ext = &mib(cx).ext;
    let known = inner.sequence.theirs && inner.sequence.ours;
    if header.payload > 0 && known && before(expected, header.seq) {
        ext.inc(TcpExt::TCPOFOQueue);
    }
    let bare = header.payload == 0 && header.flags & (SYN | FIN | RST) == 0 && header.has(ACK);
    if bare && known && !before(header.seq, expected) {
        ext.inc(TcpExt::TCPPureAcks);
    }
}

/// So many bytes of ours were acknowledged, in segments of at most `mss`; `all`: nothing is under way any more.
pub(super) fn acknowledged(cx: Cx<'_>, inner: &mut Inner, bytes: u32, all: bool) {
    let mss = inner.engine.as_ref().map_or(1, |engine| u32::from(engine.mss()).max(1));
    let waiting = inner.counts.waiting;
    let segments = if all { waiting } else { bytes.div_ceil(mss).min(waiting) };
    inner.counts.waiting -= segments;
    mib(cx).ext.add(TcpExt::TCPDelivered, segments.into());
}

/// A connection ends without the ends of both, or an attempt at one fails (`tcp_set_state`, `tcp_done`).
pub(super) fn broken(cx: Cx<'_>, was: State) {
    match was {
        State::SynSent | State::SynRecv => mib(cx).tcp.inc(Tcp::AttemptFails),
        State::Established | State::CloseWait => mib(cx).tcp.inc(Tcp::EstabResets),
        _ => {}
    }
}

/// What a listener was asked for came to nothing.
pub(super) fn no_place(cx: Cx<'_>, why: TcpExt) {
    mib(cx).ext.inc(why);
    mib(cx).ext.inc(TcpExt::ListenDrops);
}

/// What segments would have carried from one end to the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub(super) v6: bool,
    pub(super) segments: u64,
    /// And what would have come back for it.
    pub(super) acks: u64,
    pub(super) bytes: u64,
    /// Bytes of TCP's header.
    pub(super) header: u64,
}

impl Carried {
    /// Counts it at both ends as if they had.
    pub(super) fn count(&self, from: &Sock, to: &Sock) {
        let headers = self.header + if self.v6 { 40 } else { 20 };
        let (data, answers) = (self.bytes + self.segments * headers, self.acks * headers);
        let ends = [
            (from, (self.segments, data), (self.acks, answers), true),
            (to, (self.acks, answers), (self.segments, data), false),
        ];
        for (end, sent, received, sends_data) in ends {
            let Some(net) = end.net.upgrade() else { continue };
            let Some(state) = end.stack.state(&net) else { continue };
            mib::passed_out(state, self.v6, sent.0, sent.1);
            mib::passed_here(state, self.v6, received.0, received.1);
            let mib = &*state.mib.tcp;
            mib.tcp.add(Tcp::OutSegs, sent.0);
            mib.tcp.add(Tcp::InSegs, received.0);
            if sends_data {
                mib.ext.add(TcpExt::TCPOrigDataSent, sent.0);
                mib.ext.add(TcpExt::TCPDelivered, sent.0);
                mib.ext.add(TcpExt::TCPPureAcks, received.0);
            }
        }
    }
}

/// Whether the segments that answer another contain one that says only where the connection stands (RFC 5961).
pub(super) fn challenges(out: &[Frame]) -> bool {
    out.iter().filter_map(|frame| Header::parse(frame.data())).any(|header| header.flags == ACK && header.payload == 0)
}
