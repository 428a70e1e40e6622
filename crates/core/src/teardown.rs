//! Death: from the last reference to nothing.
//!
//! ```text
//! last put ─▶ death queue ─▶ unlisted, numbers and quota given back ─▶ a batch waits
//!          ─▶ a round takes it: peer ids forgotten (events) ─▶ the phases (round.rs) ─▶ freed
//! ```
//!
//! Several rounds may run at the same time, each in its stepper's thread, on batches of their own.

use crate::event::Event;
use crate::life::Unlist;
use crate::net::{DyingNet, Net};
use crate::peers;
use crate::platform::Grace;
use crate::round::{self, Busy, Cleanup};
use crate::shard::{SECTION, Shard};
use crate::sync::{MutexGuard, Ordering};
use crate::system::System;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What one teardown round did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Round {
    /// Namespaces that are gone now.
    pub destroyed: usize,
    /// There is more to do: call again.
    pub more: bool,
}

/// The active count of `net` has just reached zero. Called exactly once in its life, in whatever
/// context dropped the last reference.
pub(crate) fn last_put(net: &Net) {
    let sys = net.sys();
    if net.is_init() {
        // Not even a namespace is left that could hold a unit of it: the machine is switched off.
        sys.power_off();
        return;
    }
    let shard = net.home().shard();
    // Not so if the creation was undone: then its creator has seen to everything.
    if net.is_listed() {
        queue(sys, shard, net);
    }
    // The shard's unit, if this was its last. After the push, so that a round in progress still has
    // a system.
    if shard.living.fetch_sub(1, Ordering::AcqRel) == 1
        && let Some(init) = sys.init_net()
        && init.active.put()
    {
        sys.power_off();
    }
}

fn queue(sys: &System, shard: &Shard, net: &Net) {
    if shard.deaths.push(net.at.load(Ordering::Relaxed), &net.next_dead) {
        sys.raise_alarm();
    }
}

/// A registration lets go of a namespace for which a round came by.
pub(crate) fn requeue(sys: &System, net: &Net) {
    queue(sys, net.home().shard(), net);
    // After the push: whoever waits for the dead sees it in one of the two places.
    sys.postponed.fetch_sub(1, Ordering::AcqRel);
}

/// Takes the dead of a shard off its list, oldest death first. From here iteration cannot find them.
fn unlist(sys: &System, shard: &Shard, rounds: &mut round::Rounds) {
    let dead = shard.dead();
    for section in dead.chunks(SECTION) {
        let mut body = shard.body.lock();
        let body = &mut *body;
        for net in section {
            if net.life.unlist() == Unlist::Postponed {
                sys.postponed.fetch_add(1, Ordering::AcqRel);
                continue;
            }
            body.list.remove(net.at.load(Ordering::Relaxed));
            // First the end of this one, then its number is free for another.
            sys.sinks.emit(&Event::NetDead { net: &net.handle() });
            net.give_back(Some(&mut body.inums));
            // With the list that is current now: what it names, the namespace may have.
            match rounds.waiting.back_mut() {
                Some((ops, nets)) if Arc::ptr_eq(ops, &body.ops) && nets.len() < round::LIMIT => {
                    nets.push(DyingNet(Arc::clone(net)));
                }
                _ => {
                    let mut nets = Vec::with_capacity(dead.len().min(round::LIMIT));
                    nets.push(DyingNet(Arc::clone(net)));
                    rounds.waiting.push_back((Arc::clone(&body.ops), nets));
                }
            }
        }
    }
}

fn unlist_all(sys: &System) -> MutexGuard<'_, round::Rounds> {
    let mut rounds = sys.rounds.lock();
    for shard in &sys.shards {
        if !shard.deaths.is_empty() {
            unlist(sys, shard, &mut rounds);
        }
    }
    rounds
}

/// How many batches may wait for their exits while creations go on at the limit of a quota. Beyond,
/// the quota binds as if they lived: whoever creates and drops in a loop is not to outrun the
/// teardown for ever.
const BACKLOG: usize = 16;

/// A creation was refused: unlists what has died. Whether it may try again.
pub(crate) fn unlist_for_quota(sys: &System) -> bool {
    let may = sys.rounds.lock().waiting.len() < BACKLOG;
    if may {
        drop(unlist_all(sys));
    }
    may
}

/// One step: a batch of what has died so far. `worker` is who steps: the number of a worker, or 0.
pub(crate) fn step(sys: &System, worker: u64) -> Round {
    let mut rounds = unlist_all(sys);
    let Some((ops, nets)) = rounds.waiting.pop_front() else {
        drop(rounds);
        free(sys, Vec::new());
        // A state that was freed may have been the last to hold another namespace.
        return Round { destroyed: 0, more: sys.has_dead() };
    };
    conduct(sys, rounds, Cleanup::new(ops, nets, Grace::Expedited, worker))
}

/// Runs one of the batches that wait, if there is any.
pub(crate) fn run_waiting(sys: &System) -> bool {
    let mut rounds = sys.rounds.lock();
    let Some((ops, nets)) = rounds.waiting.pop_front() else { return false };
    conduct(sys, rounds, Cleanup::new(ops, nets, Grace::Expedited, 0));
    true
}

fn conduct(sys: &System, mut rounds: MutexGuard<'_, round::Rounds>, round: Cleanup) -> Round {
    let round = rounds.begin(round);
    drop(rounds);
    peers::unhash(&round.all());
    finish(sys, round)
}

/// Runs a round that is entered among the running ones, to its end.
fn finish(sys: &System, round: Arc<Cleanup>) -> Round {
    let entered = Entered { sys, round };
    span!("round", namespaces = entered.round.len(), worker = entered.round.worker);
    entered.round.run(sys);
    sys.platform.drain_deferred();
    let nets = entered.round.take();
    let destroyed = nets.len();
    free(sys, nets);
    drop(entered);
    Round { destroyed, more: sys.has_dead() }
}

/// A round among the running ones.
struct Entered<'a> {
    sys: &'a System,
    round: Arc<Cleanup>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut rounds = self.sys.rounds.lock();
        // A callback has panicked: the rest is done by the next who steps.
        let left = self.round.take();
        if !left.is_empty() {
            rounds.waiting.push_front((self.round.ops(), left));
        }
        rounds.end(&self.round);
    }
}

/// Takes over the rest of the first round that is in a callback for one namespace and of which
/// `stuck` (asked with its number and its note) says that it is to be; runs it to its end. That one
/// namespace stays with whoever called the callback.
pub(crate) fn rescue(sys: &System, worker: u64, mut stuck: impl FnMut(u64, u64) -> bool) -> Option<Round> {
    let robbed = {
        let mut rounds = sys.rounds.lock();
        let found = rounds.running.iter().find_map(|(number, round)| {
            let note = round.note();
            stuck(*number, note).then(|| round.rob(note, worker)).flatten().map(|rest| (*number, rest))
        });
        found.map(|(number, rest)| rounds.join(number, rest))
    };
    robbed.map(|round| finish(sys, round))
}

/// Where a running round stands. Two equal ones are the same callback.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg(feature = "std")]
pub(crate) struct Noted {
    pub(crate) round: u64,
    pub(crate) note: u64,
    /// Who runs it; 0 if none of the workers.
    pub(crate) worker: u64,
    pub(crate) can_be_split: bool,
}

#[cfg(feature = "std")]
pub(crate) fn notes(sys: &System) -> Vec<Noted> {
    let rounds = sys.rounds.lock();
    let noted = rounds.running.iter().map(|(round, cleanup)| Noted {
        round: *round,
        note: cleanup.note(),
        worker: cleanup.worker,
        can_be_split: cleanup.can_be_split(),
    });
    noted.collect()
}

/// What is going on in the rounds that run.
pub(crate) fn busy(sys: &System) -> Vec<Busy> {
    sys.rounds.lock().running.iter().map(|(number, round)| round.busy(*number)).collect()
}

/// Returns when every round that runs now has ended (`net_ns_barrier`).
pub(crate) fn wait_for_rounds(sys: &System) {
    let last = sys.rounds.lock().last;
    sys.wait_until(|| sys.rounds.lock().running.iter().all(|(number, _)| *number > last));
}

/// Returns when everything that died before the call is gone.
pub(crate) fn barrier(sys: &System) {
    loop {
        // As many as wait now: first in, first out, so those are the ones; what dies meanwhile is
        // not waited for.
        let mut batches = unlist_all(sys).waiting.len();
        while batches > 0 && run_waiting(sys) {
            batches -= 1;
        }
        // The rest is in a round that runs, or was.
        wait_for_rounds(sys);
        // What a registration has in hand comes back to the queue.
        if sys.postponed.load(Ordering::Acquire) == 0 {
            // What was looked at for a moment while its round freed it.
            free(sys, Vec::new());
            return;
        }
        sys.platform.relax(0);
    }
}

/// How often to look again for a passer-by to let go of a namespace that is to be freed.
const PATIENCE: usize = 64;

/// The free phase: drops the states, here and nowhere else.
///
/// Somebody may hold the allocation for a moment: whoever dropped the last reference and has not
/// returned yet, a walk, or a failing `upgrade`. If the last owner's drop were left to chance, states
/// would be dropped on that thread, perhaps under locks that their destructors need. So this thread
/// takes the namespace only if it is the one owner, atomically, and otherwise keeps it for a later
/// step (as the kernel keeps its shells).
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
