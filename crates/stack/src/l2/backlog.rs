//! Who has something to receive (`struct softnet_data`).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pernet::NetHandle;

use super::{Cx, Frame, receive};
use crate::dev::Stack;

/// Frames that wait in a namespace at once (`net.core.netdev_max_backlog`).
const MAX_BACKLOG: usize = 1000;
/// Frames of one namespace in a row, before another's turn (`net.core.dev_weight`).
const WEIGHT: usize = 64;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one assignment or one call of a queue's.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came in to a namespace and nobody has looked at yet: frame by frame, with the index of the device.
///
/// A leaf lock: it is taken by senders in other namespaces, under whatever they hold.
#[derive(Debug, Default)]
pub(crate) struct Backlog(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<(u32, Frame)>,
    /// It is on the list of those that have something, or in somebody's hands who took it from there. There it stays until
    /// it is found empty: so it is never there twice, and two threads never empty it at once.
    scheduled: bool,
}

/// The namespaces of a system that have something to receive.
#[derive(Debug, Default)]
pub(crate) struct Softnet {
    /// A leaf lock.
    ready: Mutex<VecDeque<NetHandle>>,
}

impl Backlog {
    /// Takes a frame in; `false` if there is no room. Says that the namespace is to be scheduled if it is not yet.
    fn push(&self, ifindex: u32, frame: Frame, schedule: &mut bool) -> bool {
        let mut waiting = locked(&self.0);
        if waiting.frames.len() >= MAX_BACKLOG {
            return false;
        }
        waiting.frames.push_back((ifindex, frame));
        *schedule = !std::mem::replace(&mut waiting.scheduled, true);
        true
    }

    /// The next frames; none at all, and it is no longer scheduled, if there are none.
    fn take(&self, into: &mut Vec<(u32, Frame)>) {
        let mut waiting = locked(&self.0);
        let count = waiting.frames.len().min(WEIGHT);
        into.extend(waiting.frames.drain(..count));
        if count == 0 {
            waiting.scheduled = false;
            if waiting.frames.capacity() > WEIGHT {
                waiting.frames = VecDeque::new();
            }
        }
    }
}

/// A frame arrives at the device with index `ifindex` (`netif_rx`): it is received when [`Stack::run_packets`] comes to
/// it. `false` if there was no room, which the caller counts.
pub(crate) fn netif_rx(cx: Cx<'_>, ifindex: u32, frame: Frame) -> bool {
    let mut schedule = false;
    let taken = cx.state.backlog.push(ifindex, frame, &mut schedule);
    if schedule {
        let softnet = &cx.stack.inner().softnet;
        let mut ready = locked(&softnet.ready);
        ready.push_back(cx.net.handle());
        let first = ready.len() == 1;
        drop(ready);
        if first {
            // Whoever is to run packets in the background may be asleep.
            cx.stack.timer_moved();
        }
    }
    taken
}

impl Stack {
    /// Receives what waits in any namespace, and what that causes, until nothing waits (`net_rx_action`).
    ///
    /// Every operation of a socket calls it at its end, so that what a program sends has arrived when its call returns, as
    /// on Linux. Whoever waits in the background calls it with the timers: [`Stack::run_timers`] does. No lock may be held.
    pub fn run_packets(&self) {
        let mut frames = Vec::new();
        loop {
            let next = locked(&self.inner().softnet.ready).pop_front();
            let Some(handle) = next else { return };
            // One that died meanwhile takes its frames along.
            let Some(net) = handle.upgrade() else { continue };
            let Some(cx) = Cx::new(self, &net) else { continue };
            cx.state.backlog.take(&mut frames);
            if frames.is_empty() {
                continue;
            }
            for (ifindex, frame) in frames.drain(..) {
                receive::netif_receive(cx, ifindex, frame);
            }
            // It stays scheduled until it is found empty.
            locked(&self.inner().softnet.ready).push_back(handle);
        }
    }

    /// Whether packets wait for [`Stack::run_packets`].
    pub(crate) fn packets_wait(&self) -> bool {
        !locked(&self.inner().softnet.ready).is_empty()
    }
}
