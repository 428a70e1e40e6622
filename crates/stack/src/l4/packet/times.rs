//! Times of frames, of those that a packet socket hears and of those that it sends.

use super::super::cmsg::bare;
use super::super::times::{Asked, is_of_times};
use super::{ControlMessage, Cx, Frame, Link, PacketSock, PacketSocket, SOL_PACKET, SocketError};
use crate::l2::{Reached, Stamps, Told};
use crate::l4::queue::QueuedError;

/// Beside a time: of which frame it is.
const PACKET_TX_TIMESTAMP: i32 = 16;

impl PacketSocket {
    /// Is it an option of times, which are at the level of sockets?
    #[must_use]
    pub const fn is_time_option(name: i32) -> bool {
        is_of_times(name)
    }

    /// Sets an option [of times](Self::is_time_option).
    ///
    /// # Errors
    /// As Linux gives them.
    pub fn set_time_option(&self, name: i32, value: &[u8]) -> Result<(), SocketError> {
        Ok(self.0.lock().times.set(name, value)?)
    }

    /// What an option [of times](Self::is_time_option) is.
    #[must_use]
    pub fn time_option(&self, name: i32) -> i32 {
        self.0.lock().times.get(name)
    }

    /// Takes the time that was found first, of a frame that was sent (`MSG_ERRQUEUE`).
    #[must_use]
    pub fn recv_error(&self) -> Option<QueuedError> {
        self.0.lock().errors.pop()
    }

    /// Whether all that is to be told are such times.
    #[must_use]
    pub fn only_times(&self) -> bool {
        let state = self.0.lock();
        state.error.is_none() && state.errors.front().is_some()
    }

    /// The control messages that come with it.
    #[must_use]
    pub fn error_control(&self, error: &QueuedError) -> Vec<ControlMessage> {
        let times = self.0.lock().times;
        let mut out = Vec::new();
        if let Some(cx) = self.0.cx() {
            times.of_error(cx, error, &mut out);
        }
        out.push(ControlMessage { level: SOL_PACKET, kind: PACKET_TX_TIMESTAMP, data: bare(error) });
        out
    }

    /// Those of a frame that is sent now. No lock is held.
    pub(super) fn stamps(&self, asked: Asked) -> Stamps {
        if !asked.any() {
            return Stamps::default();
        }
        let (when, id) = self.0.lock().times.number(asked);
        Stamps::for_whom(&self.0, when, id)
    }
}

impl Told for PacketSock {
    fn told(&self, cx: Cx<'_>, _: &Link, reached: Reached, id: u32, frame: &Frame) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let (error, limit) = (state.times.report(cx, reached, id, frame), state.rcvbuf);
        state.errors.push(error, limit);
        drop(state);
        self.wake();
    }
}
