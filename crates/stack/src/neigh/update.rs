//! What becomes of an entry that somebody says something about (`__neigh_update`, `__neigh_event_send`).

use super::entry::{Entry, NeighFlags};
use super::parms::{NeighParm, NeighParms};
use super::state::NeighState;
use crate::dev::HwAddr;

/// What is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) state: NeighState,
    /// Where it is, if that is said.
    pub(super) address: Option<HwAddr>,
    /// `EXT_LEARNED`, `EXT_VALIDATED`, `MANAGED` and `ROUTER` as they are to be.
    pub(super) flags: NeighFlags,
    /// An address that is known may be replaced, and `ROUTER` is meant.
    pub(super) overrides: bool,
    /// An administrator says so, who is obeyed; a packet does not make what is known to be there doubtful.
    pub(super) admin: bool,
}

/// What time did to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tick {
    /// Listeners are to hear of it.
    pub(super) heard: bool,
    /// A question goes out.
    pub(super) asks: bool,
    /// Nobody answered.
    pub(super) failed: bool,
}

/// Neither said nor known where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoAddress;

/// The clock and the device, as far as entries depend on them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    /// Milliseconds.
    pub(super) now: i64,
    pub(super) parms: NeighParms,
    /// How long answers are believed on the device, milliseconds.
    pub(super) reachable: i64,
    /// The device's addresses have no bytes.
    pub(super) addressless: bool,
}

impl Entry {
    /// Takes what was said. Tells whether listeners are to hear of it; the entry is as it was if it is refused.
    pub(super) fn update(&mut self, said: Said, around: &Around) -> Result<bool, NoAddress> {
        let old = self.state;
        let valid = said.state.is(NeighState::VALID);
        let address = match said.address {
            _ if around.addressless => self.address,
            Some(given) => given,
            None if valid && !old.is(NeighState::VALID) => return Err(NoAddress),
            None => self.address,
        };
        let mut heard = self.take_flags(said.flags);
        if !valid {
            self.due = None;
            self.state = said.state;
            let asked = old.is(NeighState::INCOMPLETE.or(NeighState::PROBE));
            return Ok(heard || old.is(NeighState::VALID) || asked && said.state.is(NeighState::FAILED));
        }
        let mut said = said;
        if !said.admin && said.state == NeighState::STALE && address == self.address && old.is(NeighState::VALID) {
            said.state = old;
        } else if said.state.is(NeighState::CONNECTED) {
            self.confirmed.set(around.now);
        }
        let moved = address != self.address || !old.is(NeighState::VALID);
        if moved && old.is(NeighState::VALID) && !said.overrides {
            return Ok(heard);
        }
        if said.state != old || moved {
            self.updated = around.now;
        }
        if said.state != old {
            self.enter(said.state, around);
            heard = true;
        }
        if address != self.address {
            self.address = address;
            if !said.state.is(NeighState::CONNECTED) {
                self.confirmed.set(around.now - 2 * around.parms.time(NeighParm::BaseReachableTime));
            }
            heard = true;
        }
        let router = said.flags.has(NeighFlags::ROUTER);
        if said.overrides && router != self.flags.has(NeighFlags::ROUTER) {
            self.flags.set(NeighFlags::ROUTER, router);
            heard = true;
        }
        Ok(heard)
    }

    /// The flags that hold whatever becomes of the rest. `MANAGED` counts as changed, too.
    fn take_flags(&mut self, flags: NeighFlags) -> bool {
        let before = self.flags;
        for bit in [NeighFlags::EXT_LEARNED, NeighFlags::EXT_VALIDATED, NeighFlags::MANAGED] {
            self.flags.set(bit, flags.has(bit));
        }
        if !self.flags.has(NeighFlags::MANAGED) {
            self.refresh = None;
        }
        before != self.flags
    }

    /// Goes into a state that somebody ordered: what happens by itself there is due at once, but for the end of belief.
    fn enter(&mut self, state: NeighState, around: &Around) {
        self.state = state;
        self.due = state.is(NeighState::IN_TIMER).then(|| {
            let wait = if state.is(NeighState::REACHABLE) { around.reachable } else { 0 };
            around.now + wait
        });
    }

    /// Somebody wants to send there. Tells whether a question is to go out for that.
    pub(super) fn use_it(&mut self, around: &Around) -> bool {
        self.used.set(around.now);
        let parms = &around.parms;
        if self.state.is(NeighState::CONNECTED.or(NeighState::DELAY).or(NeighState::PROBE)) {
            return false;
        }
        if self.state.is(NeighState::STALE) {
            self.state = NeighState::DELAY;
            self.updated = around.now;
            self.due = Some(around.now + parms.time(NeighParm::DelayProbeTime));
        } else if !self.state.is(NeighState::INCOMPLETE) {
            self.updated = around.now;
            if parms.get(NeighParm::McastProbes) == 0 && parms.get(NeighParm::AppProbes) == 0 {
                self.state = NeighState::FAILED;
                return false;
            }
            self.state = NeighState::INCOMPLETE;
            // The first question goes out now.
            self.probes = parms.count(NeighParm::UcastProbes).saturating_add(1);
            self.due = Some(around.now + parms.time(NeighParm::RetransTime).max(10));
            return true;
        }
        false
    }

    /// Time passed.
    pub(super) fn tick(&mut self, around: &Around) -> Tick {
        let quiet = |heard| Tick { heard, ..Tick::default() };
        let now = around.now;
        if self.due.is_none_or(|due| now < due) {
            return quiet(false);
        }
        let delay = around.parms.time(NeighParm::DelayProbeTime);
        self.due = None;
        let heard = if self.state.is(NeighState::REACHABLE) {
            return quiet(self.doubt(around, delay));
        } else if self.state.is(NeighState::DELAY) {
            self.updated = now;
            if now <= self.confirmed.get() + delay {
                self.state = NeighState::REACHABLE;
                self.due = Some(self.confirmed.get() + around.reachable);
                return quiet(true);
            }
            self.state = NeighState::PROBE;
            self.probes = 0;
            true
        } else if self.state.is(NeighState::INCOMPLETE.or(NeighState::PROBE)) {
            if self.probes >= self.patience(&around.parms) {
                self.give_up(now);
                return Tick { heard: true, asks: false, failed: self.state.is(NeighState::FAILED) };
            }
            false
        } else {
            return quiet(false);
        };
        self.probes = self.probes.saturating_add(1);
        self.due = Some(now + around.parms.time(NeighParm::RetransTime).max(10));
        Tick { heard, asks: true, failed: false }
    }

    fn doubt(&mut self, around: &Around, delay: i64) -> bool {
        let now = around.now;
        if now <= self.confirmed.get() + around.reachable && around.reachable > 0 {
            self.due = Some((self.confirmed.get() + around.reachable).max(now + 1));
            return false;
        }
        self.updated = now;
        if now <= self.used.get() + delay {
            self.state = NeighState::DELAY;
            self.due = Some(now + delay);
            return false;
        }
        self.state = NeighState::STALE;
        true
    }

    /// Questions after which nobody is expected to answer any more.
    fn patience(&self, parms: &NeighParms) -> u32 {
        let last = if self.state.is(NeighState::PROBE) { NeighParm::McastReprobes } else { NeighParm::McastProbes };
        [NeighParm::UcastProbes, NeighParm::AppProbes, last]
            .into_iter()
            .fold(0, |sum: u32, parm| sum.saturating_add(parms.count(parm)))
    }

    fn give_up(&mut self, now: i64) {
        // Whom a control plane vouches for is there even if he is silent.
        let vouched = self.flags.has(NeighFlags::EXT_VALIDATED) && self.state.is(NeighState::PROBE);
        self.state = if vouched { NeighState::STALE } else { NeighState::FAILED };
        self.updated = now;
    }
}
