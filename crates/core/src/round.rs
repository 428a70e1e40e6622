//! One teardown round: the phases of a batch, in order, and how the rest of it is taken over when a
//! callback does not return.
//!
//! ```text
//! pre_exit ─▶ [grace point] ─▶ exit_rtnl ─▶ what it queued ─▶ exit, exit_batch ─▶ (caller frees)
//!    each phase: subsystems backwards, for each all namespaces; exit_rtnl: namespace by namespace
//! ```
//!
//! **Taking over.** Whoever runs a round notes before each callback what it is about to do, by an
//! exchange with the note before. A rescuer marks the note as [`ROBBED`]; it then has all
//! namespaces of the round but the one whose callback is running, and goes on with them. When the
//! callback returns at last, its runner's next exchange fails, and it goes on with that one alone.
//! Nothing is done twice and nothing forgotten, whichever way it is split: how far a state has come
//! is written on it.
//!
//! For this, the runner must not own the namespaces on its stack: they are in the round, the runner
//! has weak pointers and takes a strong one for each callback.

use crate::net::{DyingNet, Net, NetHandle};
use crate::platform::Grace;
use crate::registry::OpsList;
use crate::subsys::KillList;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};
use crate::system::System;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

/// How many namespaces a round takes at most: more are shared out among those who step.
pub(crate) const LIMIT: usize = 1024;

/// What is going on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum Phase {
    /// Nothing has begun.
    Start = 0,
    /// [`Subsystem::pre_exit`](crate::Subsystem::pre_exit).
    PreExit = 1,
    /// [`Platform::grace_period`](crate::Platform::grace_period).
    Grace = 2,
    /// [`Subsystem::exit_rtnl`](crate::Subsystem::exit_rtnl).
    ExitRtnl = 3,
    /// Something that `exit_rtnl` has queued.
    Kill = 4,
    /// [`Subsystem::exit`](crate::Subsystem::exit).
    Exit = 5,
    /// [`Subsystem::exit_batch`](crate::Subsystem::exit_batch).
    ExitBatch = 6,
    /// What exits have deferred, and the freeing of what they left.
    Finish = 7,
}

/// A note: phase, subsystem (its position in the list), namespace (its position in the round).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Note(u64);

/// Set in a note: all of the round but the namespace that it concerns has been taken over. What is
/// noted besides is what that namespace is held up by.
const ROBBED: u64 = 1 << 63;

impl Note {
    fn new(phase: Phase, op: usize, net: usize) -> Self {
        Self((phase as u64) << 56 | (op as u64) << 24 | net as u64)
    }

    fn is_robbed(self) -> bool {
        self.0 & ROBBED != 0
    }

    /// As the rescuer leaves it: the namespace is the only one.
    fn robbed(self) -> Self {
        Self(Self::new(self.phase(), self.op(), 0).0 | ROBBED)
    }

    fn phase(self) -> Phase {
        match (self.0 & !ROBBED) >> 56 {
            1 => Phase::PreExit,
            2 => Phase::Grace,
            3 => Phase::ExitRtnl,
            4 => Phase::Kill,
            5 => Phase::Exit,
            6 => Phase::ExitBatch,
            7 => Phase::Finish,
            _ => Phase::Start,
        }
    }

    fn op(self) -> usize {
        (self.0 >> 24) as u32 as usize
    }

    fn net(self) -> usize {
        (self.0 & 0xFF_FFFF) as usize
    }

    /// Whether it concerns one namespace only.
    fn is_of_one(self) -> bool {
        matches!(self.phase(), Phase::PreExit | Phase::ExitRtnl | Phase::Kill | Phase::Exit)
    }
}

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

/// Something queued by `exit_rtnl` of the namespace at this position.
type Kill = (usize, Box<dyn FnOnce() + Send>);

/// Dead namespaces that wait for a round.
pub(crate) struct Dead {
    /// The list of subsystems that was current when they were unlisted.
    pub(crate) ops: Arc<OpsList>,
    pub(crate) nets: Vec<DyingNet>,
    /// What an earlier round of theirs, in which a callback panicked, has queued and not done.
    kills: VecDeque<Kill>,
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
    note: AtomicU64,
    /// Written by the runner, or by a rescuer who has made its note [`ROBBED`].
    nets: Mutex<Vec<DyingNet>>,
    /// In order. Leaf lock, as is that of `nets`; a rescuer takes both, `nets` first.
    kills: Mutex<VecDeque<Kill>>,
    /// Every `pre_exit` has run, and the grace period after it.
    graced: AtomicBool,
    /// The number of the worker that runs it, or 0.
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "workers are threads"))]
    pub(crate) worker: u64,
}

/// The runner's exchange has failed: somebody else has the rest.
struct Robbed;

impl Cleanup {
    pub(crate) fn new(dead: Dead, grace: Grace, worker: u64) -> Self {
        let Dead { ops, nets, kills, graced } = dead;
        for net in &nets {
            // It is dying, and keeps what it has to its end.
            net.0.provisional.confirm(&net.0.slots);
        }
        Self {
            ops,
            grace,
            note: AtomicU64::new(0),
            nets: Mutex::new(nets),
            kills: Mutex::new(kills),
            graced: AtomicBool::new(graced),
            worker,
        }
    }

    /// Runs all phases, for what the round has and nobody takes over.
    pub(crate) fn run(&self, sys: &System) {
        loop {
            let mut runner = Runner { round: self, pins: self.pins(), last: Note(0) };
            match runner.run(sys) {
                Ok(()) => return,
                // The rescuer holds the lock until it has taken what it takes: see `pins`.
                Err(Robbed) => {
                    drop(self.nets.lock());
                    self.note.store(0, Ordering::Release);
                }
            }
        }
    }

    fn pins(&self) -> Vec<Weak<Net>> {
        self.nets.lock().iter().map(|net| Arc::downgrade(&net.0)).collect()
    }

    /// What is left after a callback has panicked, if anything is: to be gone on with by the next who
    /// steps.
    pub(crate) fn left(&self) -> Option<Dead> {
        let nets = self.take();
        let kills = core::mem::take(&mut *self.kills.lock());
        let graced = self.graced.load(Ordering::Acquire);
        (!nets.is_empty()).then(|| Dead { ops: Arc::clone(&self.ops), nets, kills, graced })
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn len(&self) -> usize {
        self.nets.lock().len()
    }

    /// The namespaces, before the phases begin.
    pub(crate) fn all(&self) -> Vec<DyingNet> {
        self.nets.lock().iter().map(DyingNet::share).collect()
    }

    /// The namespaces, when all phases have run.
    pub(crate) fn take(&self) -> Vec<DyingNet> {
        core::mem::take(&mut self.nets.lock())
    }

    /// What the runner is doing; two equal ones are the same callback.
    pub(crate) fn note(&self) -> u64 {
        self.note.load(Ordering::Acquire)
    }

    /// Whether [`rob`](Self::rob) would find anything to take.
    #[cfg(feature = "std")]
    pub(crate) fn can_be_split(&self) -> bool {
        Note(self.note()).is_of_one() && self.nets.lock().len() > 1
    }

    /// Takes over everything but the namespace whose callback is running, if the note still is
    /// `seen`, concerns one namespace, and there is anything else.
    pub(crate) fn rob(&self, seen: u64, worker: u64) -> Option<Self> {
        let note = Note(seen);
        let mut nets = self.nets.lock();
        if note.is_robbed() || !note.is_of_one() || nets.len() < 2 {
            return None;
        }
        let mut kills = self.kills.lock();
        self.note.compare_exchange(seen, note.robbed().0, Ordering::AcqRel, Ordering::Acquire).ok()?;
        let at = note.net();
        let left = nets.remove(at);
        let others = core::mem::replace(&mut *nets, Vec::from([left]));
        let (own, rest): (Vec<Kill>, Vec<Kill>) = kills.drain(..).partition(|(of, _)| *of == at);
        kills.extend(own.into_iter().map(|(_, kill)| (0, kill)));
        let rest = rest.into_iter().map(|(of, kill)| (if of > at { of - 1 } else { of }, kill)).collect();
        Some(Self {
            ops: Arc::clone(&self.ops),
            grace: self.grace,
            note: AtomicU64::new(0),
            nets: Mutex::new(others),
            kills: Mutex::new(rest),
            graced: AtomicBool::new(self.graced.load(Ordering::Acquire)),
            worker,
        })
    }

    pub(crate) fn busy(&self, round: u64) -> Busy {
        let nets = self.nets.lock();
        let note = Note(self.note());
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
        // Release: what the last callback did happens before whatever a rescuer does next.
        let noted = self.round.note.compare_exchange(self.last.0, next.0, Ordering::AcqRel, Ordering::Acquire);
        self.last = next;
        noted.map(drop).map_err(|_| Robbed)
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
                    self.queue(at, &mut kill);
                }
            }
        }
        self.kill()
    }

    /// Queues what one `exit_rtnl` wants done, after what the ones before it wanted.
    fn queue(&self, at: usize, kill: &mut KillList) {
        let mut kills = self.round.kills.lock();
        // Under the rescuer's lock: robbed meanwhile, the namespace is the only one left.
        let at = if Note(self.round.note()).is_robbed() { 0 } else { at };
        kills.extend(core::mem::take(kill).into_inner().into_iter().map(|kill| (at, kill)));
    }

    fn kill(&mut self) -> Result<(), Robbed> {
        loop {
            let next = self.round.kills.lock().front().map(|(of, _)| *of);
            let Some(at) = next else { return Ok(()) };
            self.note(Phase::Kill, 0, at)?;
            let kill = self.round.kills.lock().pop_front();
            if let Some((_, kill)) = kill {
                kill();
            }
        }
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
