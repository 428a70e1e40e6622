//! What a frame notes of its way, for a connection that wants to know it: which devices count it.
//!
//! Nobody computes ways twice. A segment goes the way that it goes, each device that counts it is noted, and whatever makes
//! that way one that bytes alone could not go (somebody looks on, the frame is copied, cut or packed) spoils the note.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use pernet::NetHandle;

use super::{Cx, counters};
use crate::dev::{Counters, Link, Stack};
use crate::l4::tcp::Sock;
use crate::mib;
use crate::state::NetState;

/// Who counts what goes this way, with bytes of each packet beyond TCP's.
#[derive(Debug)]
pub(crate) enum Crossing {
    /// A device, as sent or as received.
    Device { counters: Arc<Counters>, sent: bool, headers: u64 },
    /// A namespace that sends it on.
    Router { net: NetHandle, v6: bool, headers: u64 },
}

impl Crossing {
    /// Counts packets with so many bytes of TCP's in all.
    pub(crate) fn count(&self, stack: &Stack, packets: u64, bytes: u64) {
        match self {
            Self::Device { counters, sent, headers } => {
                let (of_packets, of_bytes) = match sent {
                    true => (&counters.tx_packets, &counters.tx_bytes),
                    false => (&counters.rx_packets, &counters.rx_bytes),
                };
                of_packets.fetch_add(packets, Relaxed);
                of_bytes.fetch_add(bytes + packets * headers, Relaxed);
            }
            Self::Router { net, v6, headers } => {
                // A namespace that is gone has nobody who would read it.
                let Some(net) = net.upgrade() else { return };
                if let Some(state) = stack.state(&net) {
                    mib::routed(state, *v6, packets, bytes + packets * headers);
                }
            }
        }
    }
}

/// The way of a segment and of its answer.
#[derive(Debug)]
pub(crate) struct Trail {
    /// Who wants to know: the connection's cookie.
    pub(crate) from: u64,
    /// What [`Stack::changes`](crate::dev::Stack::changes) was when it began.
    pub(crate) begun: u64,
    /// Bytes of the segment that bears it now, its header included.
    pub(crate) segment: usize,
    /// Bytes alone could go this way. Who says that they could not may often only look at the frame.
    plain: AtomicBool,
    pub(crate) there: Vec<Crossing>,
    pub(crate) back: Vec<Crossing>,
    /// Who answered.
    pub(crate) end: Option<Weak<Sock>>,
}

impl Trail {
    pub(crate) const fn new(from: u64, begun: u64) -> Self {
        let plain = AtomicBool::new(true);
        Self { from, begun, segment: 0, plain, there: Vec::new(), back: Vec::new(), end: None }
    }

    fn note(&mut self, crossing: Crossing) {
        let way = if self.end.is_none() { &mut self.there } else { &mut self.back };
        way.push(crossing);
    }

    /// Nothing was met that bytes alone could not pass.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain.load(Relaxed)
    }
}

/// The place for one in a frame. It stays with the frame that was sent: a copy's is empty.
#[derive(Debug, Default)]
pub(crate) struct Noted(Option<Box<Trail>>);

impl Clone for Noted {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl Noted {
    /// Nobody wants to know.
    pub(super) const NOTHING: Self = Self(None);

    /// Whether somebody wants to know.
    pub(crate) const fn is_noted(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn put(&mut self, trail: Box<Trail>) {
        self.0 = Some(trail);
    }

    pub(crate) fn take(&mut self) -> Option<Box<Trail>> {
        self.0.take()
    }

    /// A device counts the frame, as sent or as received, with `len` bytes.
    pub(super) fn cross(&mut self, state: &NetState, link: &Link, sent: bool, len: usize) {
        let Some(trail) = &mut self.0 else { return };
        let Some(counters) = counters(state, link) else { return trail.plain.store(false, Relaxed) };
        let headers = len.saturating_sub(trail.segment) as u64;
        trail.note(Crossing::Device { counters, sent, headers });
    }

    /// The network layer sends the frame on, which has `len` bytes to it.
    pub(crate) fn forwarded(&mut self, cx: Cx<'_>, v6: bool, len: usize) {
        let Some(trail) = &mut self.0 else { return };
        let headers = len.saturating_sub(trail.segment) as u64;
        trail.note(Crossing::Router { net: cx.net.handle(), v6, headers });
    }

    /// What comes after this one goes this way as packets.
    pub(crate) fn spoil(&self) {
        if let Some(trail) = &self.0 {
            trail.plain.store(false, Relaxed);
        }
    }
}
