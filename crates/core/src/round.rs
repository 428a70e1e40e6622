//! One teardown round: the phases of a batch, in order, and how the rest of it is taken over when a
//! callback does not return.
//!
//! ```text
//! pre_exit ─▶ [grace point] ─▶ exit_rtnl ─▶ what it queued ─▶ exit, exit_batch ─▶ (caller frees)
//!    each phase: subsystems backwards, for each all namespaces; exit_rtnl: namespace by namespace
//! ```
//!
//! **Taking over.** Whoever runs a round notes before each callback what it is about to do, by an
//! exchange with the note before. A rescuer marks the note as robbed; it then has all
//! namespaces of the round but the one whose callback is running, and goes on with them. When the
//! callback returns at last, its runner's next exchange fails, and it goes on with that one alone.
//! Nothing is done twice and nothing forgotten, whichever way it is split: how far a state has come
//! is written on it.
//!
//! For this, the runner must not own the namespaces on its stack: they are in the round, the runner
//! has weak pointers and takes a strong one for each callback.

mod share;

pub use share::Phase;

use crate::net::{DyingNet, Net, NetHandle};
use crate::platform::Grace;
use crate::registry::OpsList;
use crate::subsys::KillList;
use crate::sync::{AtomicBool, Ordering};
use crate::system::System;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use share::{Note, Robbed, Share};

/// How many namespaces a round takes at most: more are shared out among those who step.
pub(crate) const LIMIT: usize = 1024;

/// A callback that has not returned yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Busy {
    /// Which round; grows with time. Rounds that were split share it.
    pub round: u64,
    /// What is going on.
    pub phase: Phase,
    /// Whose callback; `None` between callbacks and in the platform's hooks.
    pub subsystem: Option<&'static str>,
    /// For which namespace; `None` if for all of the round.
    pub net: Option<NetHandle>,
    /// How many namespaces the round has.
    pub namespaces: usize,
}

/// Something queued by an `exit_rtnl`.
type Kill = Box<dyn FnOnce() + Send>;

/// Dead namespaces that wait for a round.
pub(crate) struct Dead {
    /// The list of subsystems that was current when they were unlisted.
    pub(crate) ops: Arc<OpsList>,
    pub(crate) nets: Vec<DyingNet>,
    /// What an earlier round of theirs, in which a callback panicked, has queued and not done.
    kills: VecDeque<(usize, Kill)>,
    /// That round came past its grace period.
    graced: bool,
}

impl Dead {
    pub(crate) fn new(ops: Arc<OpsList>, nets: Vec<DyingNet>) -> Self {
        Self { ops, nets, kills: VecDeque::new(), graced: false }
    }

    /// Whether others that were unlisted with the list `ops` may join them.
    pub(crate) fn has_room_for(&self, ops: &Arc<OpsList>) -> bool {
        Arc::ptr_eq(&self.ops, ops) && self.nets.len() < LIMIT && !self.graced && self.kills.is_empty()
    }
}

/// See the module text.
pub(crate) struct Cleanup {
    ops: Arc<OpsList>,
    grace: Grace,
    share: Share<DyingNet, Kill>,
    /// Every `pre_exit` has run, and the grace period after it.
    graced: AtomicBool,
    /// The number of the worker that runs it, or 0.
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "workers are threads"))]
    pub(crate) worker: u64,
}

impl Cleanup {
    pub(crate) fn new(dead: Dead, grace: Grace, worker: u64) -> Self {
        let Dead { ops, nets, kills, graced } = dead;
        for net in &nets {
            // It is dying, and keeps what it has to its end.
            net.0.provisional.confirm(&net.0.slots);
        }
        Self { ops, grace, share: Share::new(nets, kills), graced: AtomicBool::new(graced), worker }
    }

    /// Runs all phases, for what the round has and nobody takes over.
    pub(crate) fn run(&self, sys: &System) {
        loop {
            let mut runner = Runner { round: self, pins: self.pins(), last: Note::START };
            match runner.run(sys) {
                Ok(()) => return,
                Err(Robbed) => self.share.go_on(),
            }
        }
    }

    fn pins(&self) -> Vec<Weak<Net>> {
        self.share.nets.lock().iter().map(|net| Arc::downgrade(&net.0)).collect()
    }

    /// What is left after a callback has panicked, if anything is: to be gone on with by the next who
    /// steps.
    pub(crate) fn left(&self) -> Option<Dead> {
        let nets = self.take();
        let kills = self.share.take_kills();
        let graced = self.graced.load(Ordering::Acquire);
        (!nets.is_empty()).then(|| Dead { ops: Arc::clone(&self.ops), nets, kills, graced })
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn len(&self) -> usize {
        self.share.nets.lock().len()
    }

    /// The namespaces, before the phases begin.
    pub(crate) fn all(&self) -> Vec<DyingNet> {
        self.share.nets.lock().iter().map(DyingNet::share).collect()
    }

    /// The namespaces, when all phases have run.
    pub(crate) fn take(&self) -> Vec<DyingNet> {
        core::mem::take(&mut self.share.nets.lock())
    }

    /// What the runner is doing; two equal ones are the same callback.
    pub(crate) fn note(&self) -> u64 {
        self.share.note().into()
    }

    /// Whether [`rob`](Self::rob) would find anything to take.
    #[cfg(feature = "std")]
    pub(crate) fn can_be_split(&self) -> bool {
        self.share.note().is_of_one() && self.share.nets.lock().len() > 1
    }

    /// Takes over everything but the namespace whose callback is running, if the note still is
    /// `seen`, concerns one namespace, and there is anything else.
    pub(crate) fn rob(&self, seen: u64, worker: u64) -> Option<Self> {
        // Before: once robbed, the runner goes on by itself, and soon that says nothing about the rest. If
        // the note still is `seen`, it has not changed since.
        let graced = self.graced.load(Ordering::Acquire);
        Some(Self {
            share: self.share.rob(seen.into())?,
            ops: Arc::clone(&self.ops),
            grace: self.grace,
            graced: AtomicBool::new(graced),
            worker,
        })
    }

    pub(crate) fn busy(&self, round: u64) -> Busy {
        let nets = self.share.nets.lock();
        let note = self.share.note();
        let phase = note.phase();
        let has_op = matches!(phase, Phase::PreExit | Phase::ExitRtnl | Phase::Exit | Phase::ExitBatch);
        Busy {
            round,
            phase,
            subsystem: has_op.then(|| self.ops.entries.get(note.op()).map(|entry| entry.ops.name())).flatten(),
            net: note.is_of_one().then(|| nets.get(note.net()).map(DyingNet::handle)).flatten(),
            namespaces: nets.len(),
        }
    }
}

struct Runner<'a> {
    round: &'a Cleanup,
    pins: Vec<Weak<Net>>,
    last: Note,
}

impl Runner<'_> {
    fn note(&mut self, phase: Phase, op: usize, net: usize) -> Result<(), Robbed> {
        let next = Note::new(phase, op, net);
        let noted = self.round.share.exchange(self.last, next);
        self.last = next;
        noted
    }

    /// The namespace at this position. Noted first: so it is there, or it is somebody else's.
    fn pin(&self, at: usize) -> Result<DyingNet, Robbed> {
        self.pins[at].upgrade().map(DyingNet).ok_or(Robbed)
    }

    fn run(&mut self, sys: &System) -> Result<(), Robbed> {
        let round = self.round;
        let ops = &round.ops.entries;
        let nets = self.pins.len();
        if !round.graced.load(Ordering::Acquire) {
            for (op, entry) in ops.iter().enumerate().rev() {
                span!("phase", phase = "pre_exit", subsystem = entry.ops.name(), namespaces = nets);
                for at in 0..nets {
                    self.note(Phase::PreExit, op, at)?;
                    entry.ops.pre_exit(&self.pin(at)?);
                }
            }
            self.note(Phase::Grace, 0, 0)?;
            span!("phase", phase = "grace", namespaces = nets);
            sys.platform.grace_period(round.grace);
            round.graced.store(true, Ordering::Release);
        }
        self.exit_rtnl()?;
        for (op, entry) in ops.iter().enumerate().rev() {
            span!("phase", phase = "exit", subsystem = entry.ops.name(), namespaces = nets);
            for at in 0..nets {
                self.note(Phase::Exit, op, at)?;
                entry.ops.exit(&self.pin(at)?);
            }
            self.note(Phase::ExitBatch, op, 0)?;
            let batch: Vec<DyingNet> = (0..nets).map(|at| self.pin(at)).collect::<Result<_, _>>()?;
            entry.ops.exit_batch(&batch, false);
        }
        self.note(Phase::Finish, 0, 0)
    }

    /// `exit_rtnl` of all, then what it queued.
    fn exit_rtnl(&mut self) -> Result<(), Robbed> {
        let nets = self.pins.len();
        span!("phase", phase = "exit_rtnl", namespaces = nets);
        for at in 0..nets {
            let mut kill = KillList::default();
            for (op, entry) in self.round.ops.entries.iter().enumerate().rev() {
                self.note(Phase::ExitRtnl, op, at)?;
                entry.ops.exit_rtnl(&self.pin(at)?, &mut kill);
                if !kill.is_empty() {
                    // Noted anew by whoever finds the round robbed: `at` is then another's.
                    self.round.share.queue(at, core::mem::take(&mut kill).into_inner());
                }
            }
        }
        self.kill()
    }

    fn kill(&mut self) -> Result<(), Robbed> {
        while let Some(at) = self.round.share.next_kill() {
            self.note(Phase::Kill, 0, at)?;
            if let Some(kill) = self.round.share.pop_kill() {
                kill();
            }
        }
        Ok(())
    }
}

/// Takes namespaces apart that belong to the caller; gives them back to be freed.
pub(crate) fn dismantle(sys: &System, ops: Arc<OpsList>, nets: Vec<DyingNet>, grace: Grace) -> Vec<DyingNet> {
    let private = Private { sys, round: Cleanup::new(Dead::new(ops, nets), grace, 0) };
    private.round.run(sys);
    private.round.take()
}

/// A round that is not among the running ones. If a callback panics, the rest waits for a step.
struct Private<'a> {
    sys: &'a System,
    round: Cleanup,
}

impl Drop for Private<'_> {
    fn drop(&mut self) {
        if let Some(left) = self.round.left() {
            self.sys.abandon(left);
        }
    }
}

/// Rounds that run and batches that wait. Second in the lock order, after the registration's.
#[derive(Default)]
pub(crate) struct Rounds {
    /// Rounds are numbered from 1, in the order in which they begin.
    pub(crate) last: u64,
    pub(crate) running: Vec<(u64, Arc<Cleanup>)>,
    /// Unlisted.
    pub(crate) waiting: VecDeque<Dead>,
    /// How often something was left over, or put off: a barrier that sees it move looks again.
    pub(crate) setbacks: u64,
    /// How many namespaces have been unlisted: each has given back its unit of quota and its number.
    pub(crate) unlisted: u64,
}

impl Rounds {
    pub(crate) fn begin(&mut self, round: Cleanup) -> Arc<Cleanup> {
        self.last += 1;
        self.join(self.last, round)
    }

    /// A round that was split off another goes under its number.
    pub(crate) fn join(&mut self, number: u64, round: Cleanup) -> Arc<Cleanup> {
        let round = Arc::new(round);
        self.running.push((number, Arc::clone(&round)));
        round
    }

    /// Everything that is off the list and may yet be called back for. Weak: whoever frees them is
    /// not to find them in use.
    pub(crate) fn all(&self) -> Vec<Weak<Net>> {
        let mut all: Vec<Weak<Net>> = self.running.iter().flat_map(|(_, round)| round.pins()).collect();
        all.extend(self.waiting.iter().flat_map(|dead| &dead.nets).map(|net| Arc::downgrade(&net.0)));
        all
    }

    pub(crate) fn end(&mut self, ended: &Arc<Cleanup>) {
        self.running.retain(|(_, round)| !Arc::ptr_eq(round, ended));
    }
}
