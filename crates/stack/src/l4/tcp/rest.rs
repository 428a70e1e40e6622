//! When nothing is said on a connection for a while its engine rests, and little is kept of what can be found out again.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::smoltcp::{Position, SPARES};
use super::sock::{Inner, Sock};
use crate::dev::Stack;

/// For so long after it is believed no more the short way is remembered: who uses it asks for it again before that.
const GRACE: Duration = Duration::from_secs(1);

/// Where many connections speak in turn, each keeps its engine for so long at least, in microseconds: more than goes by
/// between a question and its answer.
const LEAST: u64 = 25_000;

impl Stack {
    /// For how long connections on which nothing is said keep their buffers: ten seconds, unless this was called; where more
    /// than 32 ends have some, in proportion less, but 25 ms at least. When something is said again they get others. That
    /// costs two blocks of zeros of 256 KiB, so it depends on the allocator how short this may be: `pernet_run::Allocator`,
    /// and glibc with a fixed `M_MMAP_THRESHOLD`, give such blocks without writing them, and take their pages back.
    pub fn keep_buffers(&self, of_the_quiet: Duration) {
        let micros = u64::try_from(of_the_quiet.as_micros()).unwrap_or(u64::MAX);
        self.inner().rest_after.store(micros, Ordering::Relaxed);
    }
}

impl Sock {
    /// When there is something to [rest](Self::rest) from: for who has asked the engine whether it wants to be polled, and was
    /// told that it does not.
    pub(super) fn rests_at(&self, inner: &Inner) -> Option<Duration> {
        let engine = inner.engine.as_ref()?;
        if engine.is_resting() {
            return self.path().as_ref().map(|path| path.until() + GRACE);
        }
        let quiet = engine.quiet_since()?;
        inner.position().map(|_| quiet + self.rests_after())
    }

    /// For how long a quiet one is not let rest. Of those that come in a burst, or take turns, few have an engine at a time.
    fn rests_after(&self) -> Duration {
        let stack = self.stack.inner();
        let alone = stack.rest_after.load(Ordering::Relaxed);
        let awake = stack.awake.load(Ordering::Relaxed);
        let micros = if awake <= SPARES {
            alone
        } else {
            (alone.saturating_mul(SPARES as u64) / awake as u64).max(LEAST.min(alone))
        };
        Duration::from_micros(micros)
    }

    /// Has the stack know whether this socket has an engine that does not rest.
    pub(super) fn count_awake(&self, inner: &mut Inner) {
        let awake = inner.engine.as_ref().is_some_and(|engine| !engine.is_resting());
        if awake == inner.awake {
            return;
        }
        inner.awake = awake;
        let count = &self.stack.inner().awake;
        // Nothing is decided by it but a time.
        if awake {
            count.fetch_add(1, Ordering::Relaxed)
        } else {
            count.fetch_sub(1, Ordering::Relaxed)
        };
    }

    /// Lets the engine rest if nothing happened meanwhile, and forgets the way if nobody uses it.
    pub(super) fn rest(&self, now: Duration, inner: &mut Inner) {
        let Some(engine) = &mut inner.engine else { return };
        if engine.poll_at(now).is_some() || self.rests_at(inner).is_none_or(|at| at > now) {
            return;
        }
        let Some(engine) = &inner.engine else { return };
        if engine.is_resting() {
            self.forget_way();
        } else if let (Some(position), Some(engine)) = (inner.position(), &mut inner.engine) {
            engine.rest(position);
            // They are of packets: the next looks for its route, and learns the short way itself if that is wanted.
            (inner.way, inner.trail) = (None, None);
        }
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        if self.inner.get_mut().unwrap_or_else(PoisonError::into_inner).awake {
            self.stack.inner().awake.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Inner {
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
