//! Death: the queue, a batch, its phases in order, one round.
//!
//! ```text
//! last put ─▶ death queue ─▶ a round takes all ─▶ unlist ─▶ unhash peer ids (events)
//!          ─▶ pre_exit ─▶ [grace point] ─▶ exit_rtnl + kill list ─▶ exit, exit_batch ─▶ free
//! ```

use crate::event::Event;
use crate::namespaces::System;
use crate::net::{DyingNet, Net, Phase};
use crate::peers;
use crate::platform::Grace;
use crate::slots::Erased;
use crate::subsys::{KillList, Ops};
use crate::sync::{AtomicU64, Ordering};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What one teardown round did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Round {
    /// Namespaces that are gone now, numbers and quota given back.
    pub destroyed: usize,
    /// More have died meanwhile: call again.
    pub more: bool,
}

/// Namespaces whose active count reached zero, newest first, linked by their places in the list.
///
/// Pushing allocates nothing and takes no lock, so the last reference may be dropped in any
/// context. The links are numbers, not pointers: they are resolved under the list lock, which a
/// round takes anyway. A place is never reused, so a link cannot be mistaken.
pub(crate) struct DeathQueue(AtomicU64);

/// No namespace has this place.
const END: u64 = 0;

impl DeathQueue {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(END))
    }

    /// Whether the queue was empty before: then the pusher, and only it, has to raise the alarm.
    fn push(&self, net: &Net) -> bool {
        let place = net.place.load(Ordering::Relaxed);
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            net.next_dead.store(head, Ordering::Relaxed);
            // Release: the link is written before the head that leads to it.
            match self.0.compare_exchange_weak(head, place, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return head == END,
                Err(now) => head = now,
            }
        }
    }

    fn take(&self) -> u64 {
        self.0.swap(END, Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire) == END
    }
}

/// The active count of `net` has just reached zero. Called exactly once in its life, in whatever
/// context dropped the last reference.
pub(crate) fn last_put(net: &Net) {
    let sys = &net.sys;
    if net.is_init() {
        // Not even a namespace is left that could hold a unit of it: the machine is switched off.
        sys.power_off();
        return;
    }
    // Not so if the creation was undone: then its creator has seen to everything.
    if net.is_listed() && sys.deaths.push(net) {
        sys.raise_alarm();
    }
    // The unit that `create` took. After the push, so that a round in progress still has a system.
    if let Some(init) = sys.init_net()
        && init.active.put()
    {
        sys.power_off();
    }
}

/// One subsystem and its states, parallel to the namespaces of an undo.
pub(crate) struct Segment<'a> {
    pub(crate) ops: &'a dyn Ops,
    pub(crate) states: Vec<Option<&'a Erased>>,
}

impl<'a> Segment<'a> {
    pub(crate) fn of(ops: &'a dyn Ops, nets: &'a [DyingNet]) -> Self {
        Self { ops, states: nets.iter().map(|net| ops.state(&net.0)).collect() }
    }

    fn each(&self, nets: &'a [DyingNet], mut callback: impl FnMut(&'a dyn Ops, &'a DyingNet, &'a Erased)) {
        for (net, state) in nets.iter().zip(&self.states) {
            if let Some(state) = *state {
                callback(self.ops, net, state);
            }
        }
    }
}

/// Undoes a stretch of the list for a set of namespaces. The one place that knows the phases.
///
/// The free phase is the caller's dropping of what owns the states: not before this returns.
pub(crate) fn undo<'a>(sys: &System, segments: &[Segment<'a>], nets: &'a [DyingNet], grace: Grace) {
    for segment in segments.iter().rev() {
        segment.each(nets, |ops, net, state| ops.pre_exit(net, state));
    }
    sys.platform.grace_period(grace);

    let mut kill = KillList::default();
    for (at, net) in nets.iter().enumerate() {
        for segment in segments.iter().rev() {
            if let Some(Some(state)) = segment.states.get(at).copied() {
                segment.ops.exit_rtnl(net, state, &mut kill);
            }
        }
    }
    kill.run();

    for segment in segments.iter().rev() {
        segment.each(nets, |ops, net, state| ops.exit(net, state));
        segment.ops.exit_batch(nets, &segment.states);
    }
}

/// One teardown round (`cleanup_net`) in the caller's context.
pub(crate) fn round(sys: &System) -> Round {
    // At most one round at a time, so the order of deaths is the order of exits. Before the
    // registry lock in the order; taken by nobody who holds any other lock.
    let _round = sys.round.lock();
    let registry = sys.registry.read();
    let nets = unlist(sys);
    if nets.is_empty() {
        drop(registry);
        free(sys, nets);
        return Round::default();
    }
    peers::unhash(&nets);
    {
        let segments: Vec<Segment<'_>> = registry.ops().iter().map(|ops| Segment::of(&**ops, &nets)).collect();
        undo(sys, &segments, &nets, Grace::Expedited);
    }
    drop(registry);
    sys.platform.drain_deferred();
    // As soon as the exits have run, not after further waits: a loop of create and drop at the
    // limit of the quota depends on it.
    for net in &nets {
        net.0.give_back();
    }
    let destroyed = nets.len();
    free(sys, nets);
    Round { destroyed, more: !sys.deaths.is_empty() }
}

/// How often to look again for a passer-by to let go of a namespace that is to be freed.
const PATIENCE: usize = 64;

/// The free phase: drops the states, here and nowhere else.
///
/// Somebody may hold the allocation for a moment: whoever dropped the last reference and has not
/// returned yet, or a failing `upgrade`. If the last owner's drop were left to chance, states would
/// be dropped on that thread, perhaps under locks that their destructors need. So this thread takes
/// the namespace only if it is the one owner, atomically, and otherwise keeps it for a later round
/// (as the kernel keeps its shells).
pub(crate) fn free(sys: &System, nets: Vec<DyingNet>) {
    let mut shells = core::mem::take(&mut *sys.shells.lock());
    shells.extend(nets);
    let kept: Vec<DyingNet> = shells.into_iter().filter_map(free_one).collect();
    if !kept.is_empty() {
        sys.shells.lock().extend(kept);
    }
}

/// Gives the namespace back if it cannot be freed now.
fn free_one(DyingNet(mut net): DyingNet) -> Option<DyingNet> {
    for _ in 0..PATIENCE {
        match Arc::try_unwrap(net) {
            Ok(net) => {
                drop(net);
                return None;
            }
            Err(shared) => net = shared,
        }
        core::hint::spin_loop();
    }
    Some(DyingNet(net))
}

/// Takes the whole queue off the list, oldest death first. From here iteration cannot find them.
fn unlist(sys: &System) -> Vec<DyingNet> {
    let mut list = sys.list.lock();
    let mut batch = Vec::new();
    let mut place = sys.deaths.take();
    while place != END {
        // A queued namespace is listed: only rounds unlist, and this is the only one.
        let Some(net) = list.remove(place) else { break };
        net.enter_phase(Phase::Unlisted);
        place = net.next_dead.load(Ordering::Relaxed);
        batch.push(DyingNet(net));
    }
    batch.reverse();
    for net in &batch {
        sys.sinks.emit(&Event::NetDead { net: &net.handle() });
    }
    batch
}
