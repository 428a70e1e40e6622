//! Who holds what: the answer to "why does it not go away".

use crate::net::NetHandle;
use crate::round::Busy;
use crate::shard::Walk;
use crate::system::System;
use crate::teardown;
use alloc::vec::Vec;
use core::fmt;
use core::panic::Location;

/// A namespace that is listed, and why it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Held {
    /// Which.
    pub net: NetHandle,
    /// How many active references it has; 0: it is dead and waits for a round.
    pub references: u64,
    /// Where in the source they were taken, if that is tracked
    /// ([`Builder::track_holders`](crate::Builder::track_holders)). A shard with living namespaces
    /// has a reference to the initial one that is not listed here.
    pub holders: Vec<(&'static Location<'static>, usize)>,
}

/// The state of a system: what lives and who holds it, what dies and where it stands.
///
/// Its `Display` is for people: a line for each callback that is running, and for each namespace.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Every listed namespace in order of creation.
    pub listed: Vec<Held>,
    /// What the running rounds do.
    pub busy: Vec<Busy>,
    /// Namespaces off the list whose round has not begun.
    pub waiting: usize,
    /// Namespaces whose exits have run, and whose memory somebody is just looking at.
    pub shells: usize,
}

impl Report {
    pub(crate) fn of(sys: &System) -> Self {
        let held = |net: alloc::sync::Arc<crate::Net>| Held {
            net: net.handle(),
            references: net.active.units(),
            holders: net.holders(),
        };
        Self {
            listed: Walk::new(sys).map(held).collect(),
            busy: teardown::busy(sys),
            waiting: sys.rounds.lock().waiting.iter().map(|dead| dead.nets.len()).sum(),
            shells: sys.shells.lock().len(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dead = self.listed.iter().filter(|held| held.references == 0).count();
        writeln!(
            f,
            "{} alive, {dead} dead and listed, {} waiting for a round, {} being looked at",
            self.listed.len() - dead,
            self.waiting,
            self.shells
        )?;
        for busy in &self.busy {
            writeln!(f, "{busy}")?;
        }
        for held in &self.listed {
            write!(f, "{:?}: {} references", held.net, held.references)?;
            for (at, count) in &held.holders {
                write!(f, ", {count} taken at {at}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {} of {}: {:?}", self.round, self.namespaces, self.phase)?;
        if let Some(subsystem) = self.subsystem {
            write!(f, " of {subsystem}")?;
        }
        if let Some(net) = &self.net {
            write!(f, " for {net:?}")?;
        }
        Ok(())
    }
}
