//! What a runner and its rescuers share: the note, the namespaces of the round, and what is queued for
//! each. Nothing here knows what a namespace is: `tests/loom_share.rs` compiles this file once more.

use crate::sync::{AtomicU64, Mutex, Ordering};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Note(u64);

/// Set in a note: all of the round but the namespace that it concerns has been taken over. What is
/// noted besides is what that namespace is held up by.
const ROBBED: u64 = 1 << 63;

impl Note {
    pub(crate) const START: Self = Self(0);

    pub(crate) fn new(phase: Phase, op: usize, net: usize) -> Self {
        Self((phase as u64) << 56 | (op as u64) << 24 | net as u64)
    }

    fn is_robbed(self) -> bool {
        self.0 & ROBBED != 0
    }

    /// As the rescuer leaves it: the namespace is the only one.
    fn robbed(self) -> Self {
        Self(Self::new(self.phase(), self.op(), 0).0 | ROBBED)
    }

    pub(crate) fn phase(self) -> Phase {
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

    pub(crate) fn op(self) -> usize {
        (self.0 >> 24) as u32 as usize
    }

    pub(crate) fn net(self) -> usize {
        (self.0 & 0xFF_FFFF) as usize
    }

    /// Whether it concerns one namespace only.
    pub(crate) fn is_of_one(self) -> bool {
        matches!(self.phase(), Phase::PreExit | Phase::ExitRtnl | Phase::Kill | Phase::Exit)
    }
}

impl From<Note> for u64 {
    fn from(Note(note): Note) -> Self {
        note
    }
}

impl From<u64> for Note {
    fn from(note: u64) -> Self {
        Self(note)
    }
}

/// `N` is a namespace, `K` something queued for one.
pub(crate) struct Share<N, K> {
    note: AtomicU64,
    /// Written by the runner, or by a rescuer who has marked its note as robbed.
    pub(crate) nets: Mutex<Vec<N>>,
    /// In order, each with the position of its namespace. Leaf lock, as is that of `nets`; a rescuer takes
    /// both, `nets` first.
    kills: Mutex<VecDeque<(usize, K)>>,
}

/// The runner's exchange has failed: somebody else has the rest.
#[derive(Debug)]
pub(crate) struct Robbed;

impl<N, K> Share<N, K> {
    pub(crate) fn new(nets: Vec<N>, kills: VecDeque<(usize, K)>) -> Self {
        Self { note: AtomicU64::new(Note::START.0), nets: Mutex::new(nets), kills: Mutex::new(kills) }
    }

    /// What the runner is doing; two equal ones are the same callback.
    pub(crate) fn note(&self) -> Note {
        Note(self.note.load(Ordering::Acquire))
    }

    /// The runner is about to do `next`, and has done `last`.
    pub(crate) fn exchange(&self, last: Note, next: Note) -> Result<(), Robbed> {
        // Release: what the last callback did happens before whatever a rescuer does next.
        let noted = self.note.compare_exchange(last.0, next.0, Ordering::AcqRel, Ordering::Acquire);
        noted.map(drop).map_err(|_| Robbed)
    }

    /// The runner has been robbed, and goes on with what is left to it.
    pub(crate) fn go_on(&self) {
        // The rescuer holds the lock until it has taken what it takes.
        drop(self.nets.lock());
        self.note.store(Note::START.0, Ordering::Release);
    }

    /// The runner queues something for the namespace at this position.
    pub(crate) fn queue(&self, at: usize, wanted: impl IntoIterator<Item = K>) {
        let mut kills = self.kills.lock();
        // Under the rescuer's lock: robbed meanwhile, the namespace is the only one left.
        let at = if self.note().is_robbed() { 0 } else { at };
        kills.extend(wanted.into_iter().map(|kill| (at, kill)));
    }

    /// For which namespace something is queued.
    pub(crate) fn next_kill(&self) -> Option<usize> {
        self.kills.lock().front().map(|(of, _)| *of)
    }

    /// The runner has noted that it does this.
    pub(crate) fn pop_kill(&self) -> Option<K> {
        self.kills.lock().pop_front().map(|(_, kill)| kill)
    }

    /// What is queued and not done, when the runner has given up.
    pub(crate) fn take_kills(&self) -> VecDeque<(usize, K)> {
        core::mem::take(&mut *self.kills.lock())
    }

    /// Takes over everything but the namespace whose callback is running, if the note still is
    /// `seen`, concerns one namespace, and there is anything else.
    pub(crate) fn rob(&self, seen: Note) -> Option<Self> {
        let mut nets = self.nets.lock();
        if seen.is_robbed() || !seen.is_of_one() || nets.len() < 2 {
            return None;
        }
        let mut kills = self.kills.lock();
        self.note.compare_exchange(seen.0, seen.robbed().0, Ordering::AcqRel, Ordering::Acquire).ok()?;
        let at = seen.net();
        let left = nets.remove(at);
        let others = core::mem::replace(&mut *nets, Vec::from([left]));
        let (own, rest): (Vec<_>, Vec<_>) = kills.drain(..).partition(|(of, _)| *of == at);
        kills.extend(own.into_iter().map(|(_, kill)| (0, kill)));
        let rest = rest.into_iter().map(|(of, kill)| (if of > at { of - 1 } else { of }, kill)).collect();
        Some(Self { note: AtomicU64::new(Note::START.0), nets: Mutex::new(others), kills: Mutex::new(rest) })
    }
}
