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
use crate::net::{Cookie, DyingNet, Net};
use crate::peers;
use crate::platform::Grace;
use crate::round::{self, Busy, Cleanup, Dead};
use crate::shard::{SECTION, Shard};
use crate::sync::{MutexGuard, Ordering};
use crate::system::System;
use alloc::sync::Arc;
use alloc::vec::{self, Vec};

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

/// What was taken off a death queue. If a sink panics, the rest goes back.
struct Unqueued<'a> {
    shard: &'a Shard,
    dead: vec::IntoIter<Arc<Net>>,
}

impl Drop for Unqueued<'_> {
    fn drop(&mut self) {
        for net in &mut self.dead {
            self.shard.deaths.push(net.at.load(Ordering::Relaxed), &net.next_dead);
        }
    }
}

/// Takes the dead of a shard off its list, oldest death first. From here iteration cannot find them.
fn unlist(sys: &System, shard: &Shard, rounds: &mut round::Rounds) {
    let mut unqueued = Unqueued { shard, dead: shard.dead().into_iter() };
    while unqueued.dead.len() > 0 {
        let mut body = shard.body.lock();
        let body = &mut *body;
        for _ in 0..SECTION {
            let Some(net) = unqueued.dead.next() else { break };
            if net.life.unlist() == Unlist::Postponed {
                sys.postponed.fetch_add(1, Ordering::AcqRel);
                rounds.setbacks += 1;
                continue;
            }
            body.list.remove(net.at.load(Ordering::Relaxed));
            // With the list that is current now: what it names, the namespace may have.
            match rounds.waiting.back_mut() {
                Some(dead) if dead.has_room_for(&body.ops) => dead.nets.push(DyingNet(Arc::clone(&net))),
                _ => {
                    let mut nets = Vec::with_capacity((unqueued.dead.len() + 1).min(round::LIMIT));
                    nets.push(DyingNet(Arc::clone(&net)));
                    rounds.waiting.push_back(Dead::new(Arc::clone(&body.ops), nets));
                }
            }
            // First the end of this one, then its number is free for another.
            sys.sinks.emit(&Event::NetDead { net: &net.handle() });
            net.give_back(Some(&mut body.inums));
            rounds.unlisted += 1;
        }
    }
}

fn unlist_into(sys: &System, rounds: &mut round::Rounds) {
    for shard in &sys.shards {
        if !shard.deaths.is_empty() {
            unlist(sys, shard, rounds);
        }
    }
}

fn unlist_all(sys: &System) -> MutexGuard<'_, round::Rounds> {
    let mut rounds = sys.rounds.lock();
    unlist_into(sys, &mut rounds);
    rounds
}

/// How many batches may wait for their exits while creations go on at the limit of a quota. Beyond,
/// the quota binds as if they lived: whoever creates and drops in a loop is not to outrun the
/// teardown for ever.
const BACKLOG: usize = 16;

/// A creation was refused a unit or a number: unlists what has died. Answers how many have ever been
/// unlisted, or `None` if it may not try again.
pub(crate) fn unlist_for_creation(sys: &System) -> Option<u64> {
    let may = sys.rounds.lock().waiting.len() < BACKLOG;
    may.then(|| unlist_all(sys).unlisted)
}

/// One step: a batch of what has died so far. `worker` is who steps: the number of a worker, or 0.
pub(crate) fn step(sys: &System, worker: u64) -> Round {
    let mut rounds = unlist_all(sys);
    let Some(dead) = rounds.waiting.pop_front() else {
        drop(rounds);
        free(sys, Vec::new());
        // A state that was freed may have been the last to hold another namespace.
        return Round { destroyed: 0, more: sys.has_dead() };
    };
    conduct(sys, rounds, Cleanup::new(dead, Grace::Expedited, worker))
}

/// Runs one of the batches that wait, if there is any.
pub(crate) fn run_waiting(sys: &System) -> bool {
    let mut rounds = sys.rounds.lock();
    let Some(dead) = rounds.waiting.pop_front() else { return false };
    conduct(sys, rounds, Cleanup::new(dead, Grace::Expedited, 0));
    true
}

fn conduct(sys: &System, mut rounds: MutexGuard<'_, round::Rounds>, round: Cleanup) -> Round {
    let entered = Entered { sys, round: rounds.begin(round) };
    drop(rounds);
    peers::unhash(&entered.round.all());
    finish(sys, entered)
}

/// Runs a round that is entered among the running ones, to its end.
fn finish(sys: &System, entered: Entered<'_>) -> Round {
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
        if let Some(left) = self.round.left() {
            rounds.waiting.push_front(left);
            rounds.setbacks += 1;
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
    robbed.map(|round| finish(sys, Entered { sys, round }))
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
        let (mut batches, setbacks, postponed) = {
            // Under the lock, where namespaces are put off; they come back at any time, to the queue
            // first. So if none is put off, and none is by us, then none is missing there.
            let mut rounds = sys.rounds.lock();
            let (setbacks, postponed) = (rounds.setbacks, sys.postponed.load(Ordering::Acquire));
            unlist_into(sys, &mut rounds);
            (rounds.waiting.len(), setbacks, postponed)
        };
        // As many as wait now: first in, first out, so those are the ones; what dies meanwhile is
        // not waited for.
        while batches > 0 && run_waiting(sys) {
            batches -= 1;
        }
        // The rest is in a round that runs, or was.
        wait_for_rounds(sys);
        // What a registration has in hand comes back to the queue, what a panic has left has come.
        if postponed == 0 && sys.rounds.lock().setbacks == setbacks {
            break;
        }
        sys.platform.relax(0);
    }
    wait_for_shells(sys);
}

/// Returns when all are freed that somebody was just looking at.
fn wait_for_shells(sys: &System) {
    // Who looks at one in passing lets go at once. Not so who was given a reference of a dead one, or of one whose
    // creation was undone: an init may keep that for good.
    let passing = |net: &&DyingNet| net.0.life.is_dead() && !net.0.may_be_kept();
    let shells = || sys.shells.lock().iter().filter(passing).map(DyingNet::cookie).collect();
    let mut ours: Option<Vec<Cookie>> = None;
    sys.wait_until(|| {
        // Whoever frees old ones holds it: with it in hand, there are none but those in the list.
        let Some(_alone) = sys.freeing.try_lock() else { return false };
        let ours = ours.get_or_insert_with(shells);
        if ours.is_empty() {
            return true;
        }
        free_shells(sys);
        let left: Vec<Cookie> = shells();
        ours.retain(|cookie| left.contains(cookie));
        ours.is_empty()
    });
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
    // By one at a time, and nobody waits for him: others come by.
    if let Some(_alone) = sys.freeing.try_lock() {
        free_shells(sys);
    }
    free_all(sys, nets);
}

fn free_shells(sys: &System) {
    let shells = core::mem::take(&mut *sys.shells.lock());
    free_all(sys, shells);
}

/// Namespaces to be freed, and those that could not be. If a destructor panics, they wait.
struct Freeing<'a> {
    sys: &'a System,
    nets: vec::IntoIter<DyingNet>,
    kept: Vec<DyingNet>,
}

impl Drop for Freeing<'_> {
    fn drop(&mut self) {
        if self.nets.len() + self.kept.len() > 0 {
            self.sys.shells.lock().extend(self.kept.drain(..).chain(&mut self.nets));
        }
    }
}

fn free_all(sys: &System, nets: Vec<DyingNet>) {
    let mut freeing = Freeing { sys, nets: nets.into_iter(), kept: Vec::new() };
    for net in freeing.nets.by_ref() {
        freeing.kept.extend(free_one(net));
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
