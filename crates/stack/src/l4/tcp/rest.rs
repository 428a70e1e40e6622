//! When nothing is said on a connection for a while its engine rests, and takes no memory.

use std::time::Duration;

use super::smoltcp::Position;
use super::sock::Inner;

impl Inner {
    /// From when on the engine may rest, which does not want to be polled.
    pub(super) fn rests_at(&self) -> Option<Duration> {
        let at = self.engine.as_ref()?.rests_at()?;
        self.position().map(|_| at)
    }

    /// Lets it rest if nothing happened meanwhile.
    pub(super) fn rest(&mut self, now: Duration) {
        let Some(engine) = &mut self.engine else { return };
        if engine.poll_at(now).is_some() || engine.rests_at().is_none_or(|at| at > now) {
            return;
        }
        if let (Some(position), Some(engine)) = (self.position(), &mut self.engine) {
            engine.rest(position);
        }
    }

    /// Where the connection stands, if that is all that there is to know of it.
    fn position(&self) -> Option<Position> {
        let engine = self.engine.as_ref()?;
        let sequence = &self.sequence;
        let sent = sequence.ours && sequence.snd_una == sequence.snd_nxt && sequence.written == sequence.snd_nxt;
        let read = sequence.theirs && sequence.read == sequence.rcv_nxt && self.aside.is_empty() && !self.gap;
        // One that knows of little room is told of more by the engine alone, in its time.
        let scale = if self.counts.peer.window_scale.is_some() { engine.window_scale() } else { 0 };
        let room = usize::from(sequence.window) << scale;
        let wide = room >= self.options.receive_buffer.min(usize::from(u16::MAX)) / 2;
        (sent && read && wide && self.urgent.is_quiet()).then(|| Position {
            snd_nxt: sequence.snd_nxt.wrapping_sub(self.skip.sent()),
            rcv_nxt: sequence.rcv_nxt.wrapping_sub(self.skip.received()),
            timestamp: sequence.timestamp,
        })
    }
}
