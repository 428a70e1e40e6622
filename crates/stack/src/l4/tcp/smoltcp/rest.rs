//! Engines that rest. Of a connection on which nothing is said, nothing waits and nothing is due, an engine need not be kept:
//! its buffers alone are pages that were written once. It is made anew when something happens, by a handshake that nobody sees.
//!
//! The peer's sequence numbers are in that handshake what they are. Ours begin where smoltcp wants; how far they are behind is
//! corrected in each segment from then on. What the peer said when the connection began is said again, and the window that it
//! gave last. Forgotten are round-trip times and how much the path has room for, as by a kernel that begins slowly after a
//! pause (`tcp_slow_start_after_idle`).

use std::time::Duration;

use smoltcp::time;

use super::awake::{Awake, Plan};
use super::{Engine, HERE, THERE};
use crate::l4::tcp::segment::{self, ACK, Header, SYN};
use crate::l4::tcp::state::State;

/// What is known of a connection beside its engine. Sequence numbers are the engine's.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::l4::tcp) struct Position {
    /// All before it was acknowledged.
    pub(in crate::l4::tcp) snd_nxt: u32,
    /// All before it was acknowledged, and read.
    pub(in crate::l4::tcp) rcv_nxt: u32,
    /// The peer's last timestamp.
    pub(in crate::l4::tcp) timestamp: Option<u32>,
}

/// What is kept of an engine that rests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rest {
    position: Position,
    /// The window that the peer gave last, as it is in the header.
    window: u16,
    /// Timestamps are in use.
    pub(super) timestamps: bool,
}

impl Engine {
    /// Since when nothing happened, if it may [rest](Self::rest): for who has [asked](Self::poll_at) whether it wants to be
    /// polled, and was told that it does not.
    pub(in crate::l4::tcp) fn quiet_since(&self) -> Option<Duration> {
        let quiet = self.awake.is_some()
            && self.state() == State::Established
            && self.received() == 0
            && self.unacknowledged() == 0
            // Of a window that is closed it would not know that it has to be asked for.
            && self.heard.is_some_and(|(_, window)| window > 0);
        quiet.then_some(self.used.get())
    }

    /// Is there no more than that?
    pub(in crate::l4::tcp) fn is_resting(&self) -> bool {
        self.awake.is_none()
    }

    /// Keeps no more than where the connection stands.
    pub(in crate::l4::tcp) fn rest(&mut self, position: Position) {
        let Some((_, window)) = self.heard else { return };
        let timestamps = self.timestamps();
        self.rest = Rest { position, window, timestamps };
        self.awake = None;
    }

    /// What smoltcp has of it, made anew if it rested.
    pub(super) fn awake(&mut self) -> &mut Awake {
        let at = self.engine_time(self.used.get());
        let Self { awake, plan, peer, rest, ahead, .. } = self;
        awake.get_or_insert_with(|| {
            let first;
            (first, *ahead) = wake(plan, peer, rest, at);
            Box::new(first)
        })
    }
}

/// An engine in the middle of a connection, and by how much the connection's numbers are ahead of its own.
fn wake(plan: &Plan, peer: &segment::Options, rest: &Rest, at: time::Instant) -> (Awake, u32) {
    let mut awake = plan.make();
    // It is closed, and the port is not zero.
    let _ = awake.socket_mut().listen(HERE.1);
    let position = rest.position;
    let mut header = Header {
        sport: THERE.1,
        dport: HERE.1,
        seq: position.rcv_nxt.wrapping_sub(1),
        ack: 0,
        flags: SYN,
        window: rest.window,
        urgent: 0,
        len: segment::HEADER_LEN,
        payload: 0,
    };
    let stamp = rest.timestamps.then(|| (position.timestamp.unwrap_or(0), 0));
    let mut out = Vec::new();
    let syn = segment::with_options(&header, &segment::Options { timestamp: stamp, ..*peer });
    awake.take_in(syn, at, plan, 0, &mut out);
    awake.send_all(at, plan, 0, &mut out);
    let answer = out.iter().find_map(|frame| Header::parse(frame.data()));
    header.flags = ACK;
    header.seq = position.rcv_nxt;
    header.ack = answer.map_or(0, |answer| answer.end());
    awake.take_in(segment::bare(&header, stamp), at, plan, 0, &mut out);
    // What it would tell of its window the peer knows.
    awake.send_all(at, plan, 0, &mut out);
    (awake, position.snd_nxt.wrapping_sub(header.ack))
}
