//! Who has something to receive (`struct softnet_data`).

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pernet::NetHandle;

use super::work::Work;
use super::{Cx, Frame, receive};
use crate::dev::Stack;
use crate::state::Ns;

/// Frames that wait in a namespace at once (`net.core.netdev_max_backlog`).
const MAX_BACKLOG: usize = 1000;
/// Frames of one namespace in a row, before another's turn (`net.core.dev_weight`).
const WEIGHT: usize = 64;
/// Frames that one call receives at most (`net.core.netdev_budget` is Linux's word for it). What goes round and round between
/// two switches must not keep who sent it, nor who looks after the timers, for ever.
const BUDGET: usize = 16_384;

thread_local! {
    /// Room for what is taken out of a backlog at once, empty: every call of a socket's needs it. Who is in the middle of
    /// receiving has it in hand, and who receives then takes other.
    static ROOM: Cell<(Vec<Item>, Vec<Frame>)> = const { Cell::new((Vec::new(), Vec::new())) };
    /// The system whose packets this thread is in the middle of running, by its address; 0 for none.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

/// This thread runs the packets of a system, until it is dropped.
struct Running(usize);

impl Running {
    fn address(stack: &Stack) -> usize {
        std::ptr::from_ref(stack.inner()).addr()
    }

    fn begin(stack: &Stack) -> Self {
        Self(RUNNING.replace(Self::address(stack)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(self.0);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one assignment or one call of a queue's.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a namespace has to do when nobody holds a lock.
#[derive(Debug)]
enum Item {
    /// A frame came in by the device with this index.
    Received(u32, Frame),
    /// Some did, one after the other.
    List(u32, Vec<Frame>),
    /// Seldom, and large beside the other.
    Work(Box<Work>),
}

/// What came in to a namespace and nobody has looked at yet, and what else waits to be done there, in order.
///
/// A leaf lock: it is taken by senders in other namespaces, under whatever they hold.
#[derive(Debug, Default)]
pub(crate) struct Backlog(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// Frames among them.
    frames: usize,
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

impl Item {
    fn frames(&self) -> usize {
        match self {
            Self::Received(..) => 1,
            Self::List(_, frames) => frames.len(),
            Self::Work(_) => 0,
        }
    }
}

impl Waiting {
    fn push(&mut self, item: Item) {
        self.frames += item.frames();
        self.items.push_back(item);
    }
}

impl Backlog {
    /// Takes something in; `false` if there is no room for another frame. Says that the namespace is to be scheduled if it is
    /// not yet.
    fn push(&self, item: Item, schedule: &mut bool) -> bool {
        let mut waiting = locked(&self.0);
        // What this host has decided to do is bounded where it was decided.
        if matches!(item, Item::Received(..)) && waiting.frames >= MAX_BACKLOG {
            return false;
        }
        waiting.push(item);
        *schedule = !std::mem::replace(&mut waiting.scheduled, true);
        true
    }

    /// Takes frames in that arrived one after the other by the same device, as far as there is room; gives back those for
    /// which there was none.
    fn push_list(&self, ifindex: u32, mut frames: Vec<Frame>, schedule: &mut bool) -> Vec<Frame> {
        let mut waiting = locked(&self.0);
        let room = MAX_BACKLOG.saturating_sub(waiting.frames);
        let rest = if frames.len() > room { frames.split_off(room) } else { Vec::new() };
        if !frames.is_empty() {
            waiting.push(Item::List(ifindex, frames));
            *schedule = !std::mem::replace(&mut waiting.scheduled, true);
        }
        rest
    }

    /// The next items; how many frames.
    fn take(&self, into: &mut Vec<Item>) -> usize {
        let mut waiting = locked(&self.0);
        let (mut items, mut frames) = (0, 0);
        for item in waiting.items.iter().take(WEIGHT) {
            // A list is not taken apart.
            if frames >= WEIGHT {
                break;
            }
            (items, frames) = (items + 1, frames + item.frames());
        }
        waiting.frames -= frames;
        into.extend(waiting.items.drain(..items));
        frames
    }

    /// Whether there are no more; then it is no longer scheduled.
    fn is_done(&self) -> bool {
        let mut waiting = locked(&self.0);
        let done = waiting.items.is_empty();
        if done {
            waiting.scheduled = false;
            if waiting.items.capacity() > WEIGHT {
                waiting.items = VecDeque::new();
            }
        }
        done
    }
}

fn enqueue(cx: Cx<'_>, item: Item) -> bool {
    let mut schedule = false;
    let taken = cx.state.backlog.push(item, &mut schedule);
    if schedule {
        scheduled(cx);
    }
    taken
}

/// There is something to receive again.
fn scheduled(cx: Cx<'_>) {
    let softnet = &cx.stack.inner().softnet;
    let mut ready = locked(&softnet.ready);
    ready.push_back(cx.net.handle());
    let first = ready.len() == 1;
    drop(ready);
    // Whoever is to run packets in the background may be asleep. If this thread is in the middle of that itself it comes to
    // this one, too, or says so where it stops before.
    if first && RUNNING.get() != Running::address(cx.stack) {
        cx.stack.timer_moved(None);
    }
}

/// A frame arrives at the device with index `ifindex` (`netif_rx`): it is received when [`Stack::run_packets`] comes to
/// it. `false` if there was no room, which the caller counts.
pub(crate) fn netif_rx(cx: Cx<'_>, ifindex: u32, frame: Frame) -> bool {
    enqueue(cx, Item::Received(ifindex, frame))
}

/// Frames arrive one after the other at the device with index `ifindex`. Gives back those for which there was no room.
pub(super) fn netif_rx_list(cx: Cx<'_>, ifindex: u32, frames: Vec<Frame>) -> Vec<Frame> {
    let mut schedule = false;
    let rest = cx.state.backlog.push_list(ifindex, frames, &mut schedule);
    if schedule {
        scheduled(cx);
    }
    rest
}

/// Has something done in the namespace when nobody holds a lock: so those who hold rtnl send. Nobody is left in a dying
/// namespace to do it.
pub(crate) fn later(stack: &Stack, ns: Ns<'_>, work: Work) {
    if let Some(net) = ns.net() {
        enqueue(Cx { stack, net, state: ns.state() }, Item::Work(Box::new(work)));
    }
}

impl Stack {
    /// Receives what waits in any namespace, and what that causes, until nothing waits (`net_rx_action`). After some
    /// thousands of frames it leaves the rest to whoever runs the timers ([`Stack::next_timer`] is zero then).
    ///
    /// Every operation of a socket calls it at its end, so that what a program sends has arrived when its call returns, as
    /// on Linux. Whoever waits in the background calls it with the timers: [`Stack::run_timers`] does. No lock may be held.
    pub fn run_packets(&self) {
        if !self.packets_wait() {
            return;
        }
        let _running = Running::begin(self);
        let (mut items, mut frames) = ROOM.try_with(Cell::take).unwrap_or_default();
        self.receive_all(&mut items, &mut frames);
        let _ = ROOM.try_with(|room| room.set((items, frames)));
    }

    fn receive_all(&self, items: &mut Vec<Item>, frames: &mut Vec<Frame>) {
        let mut received = 0;
        while received < BUDGET {
            let next = locked(&self.inner().softnet.ready).pop_front();
            let Some(handle) = next else { return };
            // One that died meanwhile takes its frames along.
            let Some(net) = handle.upgrade() else { continue };
            let Some(cx) = Cx::new(self, &net) else { continue };
            received += cx.state.backlog.take(items).max(items.len());
            let mut rest = items.drain(..).peekable();
            while let Some(item) = rest.next() {
                match item {
                    Item::Received(ifindex, frame) => {
                        frames.push(frame);
                        // Those that came by the same device go the next steps together.
                        while let Some(Item::Received(_, frame)) =
                            rest.next_if(|next| matches!(next, Item::Received(other, _) if *other == ifindex))
                        {
                            frames.push(frame);
                        }
                        receive::netif_receive_list(cx, ifindex, frames);
                    }
                    Item::List(ifindex, mut frames) => receive::netif_receive_list(cx, ifindex, &mut frames),
                    Item::Work(work) => work.run(cx),
                }
            }
            drop(rest);
            // It stays scheduled until it is found empty: who puts something in after that schedules it again.
            if !cx.state.backlog.is_done() {
                locked(&self.inner().softnet.ready).push_back(handle);
            }
        }
        // Not for who sends next to do, but for the timers.
        self.timer_moved(Some(self.inner().clock.now()));
    }

    /// Whether packets wait for [`Stack::run_packets`].
    pub(crate) fn packets_wait(&self) -> bool {
        !locked(&self.inner().softnet.ready).is_empty()
    }
}
