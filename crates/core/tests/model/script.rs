//! What the system wrote down, read line by line by the model; and what the cases have reached.

use crate::probe::Call;
use std::fmt;

/// A disagreement, in words.
pub(crate) type Res<T = ()> = Result<T, String>;

/// The lines of one operation, and how far the model has read.
#[derive(Default)]
pub(crate) struct Script {
    lines: Vec<Call>,
    at: usize,
}

impl Script {
    pub(crate) fn lines(&mut self) -> &mut Vec<Call> {
        self.at = 0;
        &mut self.lines
    }

    pub(crate) fn peek(&self) -> Option<Call> {
        self.lines.get(self.at).copied()
    }

    pub(crate) fn skip(&mut self) {
        self.at += 1;
    }

    /// The namespace of the first init, done or failed, from here on.
    pub(crate) fn next_init(&self) -> Option<u64> {
        self.lines[self.at..].iter().find_map(|call| match call {
            Call::Init { net, .. } | Call::Failed { net, .. } => Some(*net),
            _ => None,
        })
    }

    pub(crate) fn error(&self, want: &str) -> String {
        let mut text = format!("line {}: expected {want}, in\n", self.at);
        for (at, call) in self.lines.iter().enumerate() {
            let mark = if at == self.at { '>' } else { ' ' };
            text += &format!("  {mark} {at:3} {call:?}\n");
        }
        if self.at >= self.lines.len() {
            text += "  > the end\n";
        }
        text
    }
}

/// Situations that a run must reach, or it has shown nothing about them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Reached {
    RegistrationFailed,
    RegistrationFailedAtOnce,
    RegistrationMetTheDead,
    UnregistrationMetTheDead,
    CreationFailed,
    CreationFailedAtOnce,
    RefusedAtTheTop,
    RefusedAtAMiddleLevel,
    RefusedAtTheOwner,
    NotPermitted,
    DiedInPreExit,
    DiedInAKill,
    DiedInAnExit,
    DiedInABatch,
    DiedWhenAStateWasFreed,
    DiedInAnInit,
    DiedDuringAVisit,
    RoundOfSeveral,
    RoundLeftMore,
    GhostKept,
    ZombieKept,
    NamedByAnUnpublished,
    NamedByADeadOne,
    IdReused,
    IdOfTheDeadTaken,
    SelfNamed,
    ObserversNotified,
    ObserverDiedWithItsPeer,
    LookupOfTheDead,
    DumpDisturbed,
    DumpOfSeveralPages,
    NineRegistered,
    RetiredKeyAsked,
    PoweredOffWithTheDead,
    RefusalUnlistedTheDead,
    ListChangedBeforeTheRound,
}

impl Reached {
    const ALL: [Self; Self::COUNT] = [
        Self::RegistrationFailed,
        Self::RegistrationFailedAtOnce,
        Self::RegistrationMetTheDead,
        Self::UnregistrationMetTheDead,
        Self::CreationFailed,
        Self::CreationFailedAtOnce,
        Self::RefusedAtTheTop,
        Self::RefusedAtAMiddleLevel,
        Self::RefusedAtTheOwner,
        Self::NotPermitted,
        Self::DiedInPreExit,
        Self::DiedInAKill,
        Self::DiedInAnExit,
        Self::DiedInABatch,
        Self::DiedWhenAStateWasFreed,
        Self::DiedInAnInit,
        Self::DiedDuringAVisit,
        Self::RoundOfSeveral,
        Self::RoundLeftMore,
        Self::GhostKept,
        Self::ZombieKept,
        Self::NamedByAnUnpublished,
        Self::NamedByADeadOne,
        Self::IdReused,
        Self::IdOfTheDeadTaken,
        Self::SelfNamed,
        Self::ObserversNotified,
        Self::ObserverDiedWithItsPeer,
        Self::LookupOfTheDead,
        Self::DumpDisturbed,
        Self::DumpOfSeveralPages,
        Self::NineRegistered,
        Self::RetiredKeyAsked,
        Self::PoweredOffWithTheDead,
        Self::RefusalUnlistedTheDead,
        Self::ListChangedBeforeTheRound,
    ];
    pub(crate) const COUNT: usize = Self::ListChangedBeforeTheRound as usize + 1;
}

/// How often each was reached.
pub(crate) struct Tally(pub(crate) [u64; Reached::COUNT]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; Reached::COUNT])
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }

    pub(crate) fn missing(&self) -> Vec<Reached> {
        Reached::ALL.into_iter().filter(|what| self.0[*what as usize] == 0).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Reached::ALL.iter().try_for_each(|what| writeln!(f, "{:>12} {what:?}", self.0[*what as usize]))
    }
}
