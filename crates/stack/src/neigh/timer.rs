//! What happens to entries by themselves.

use std::time::Duration;

use super::change::{around, peek};
use super::entry::NeighFamily;
use super::parms::NeighParm;
use super::{NeighNotice, gc, output, solicit};
use crate::notice::Notice;
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// What waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// An entry, which expected it at `due` (milliseconds): another moment means that it waits for that one now.
    Entry {
        /// Its number.
        id: u64,
        /// The moment it asked for.
        due: i64,
    },
    /// A table that has more entries than it should.
    Collect(NeighFamily),
}

/// The clock in milliseconds.
pub(super) fn millis(now: Duration) -> i64 {
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// A timer is due.
pub(crate) fn timer(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, timer: Timer) {
    match timer {
        Timer::Entry { id, due } => entry(rtnl, ns, id, due),
        Timer::Collect(family) => gc::collect(rtnl, ns, family),
    }
}

fn entry(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, id: u64, due: i64) {
    let Some(mut entry) = peek(ns, |table| table.get(id).cloned()).flatten() else { return };
    if [entry.due, entry.refresh].into_iter().flatten().min() != Some(due) {
        return;
    }
    let Some(link) = ns.links.by_index(entry.ifindex) else { return };
    let around = around(rtnl, ns, &link, entry.family());
    let tick = entry.tick(&around);
    let report = entry.report(around.now, true);
    let mut asks = tick.asks;
    if entry.refresh.is_some_and(|refresh| refresh <= around.now) {
        asks |= entry.use_it(&around);
        entry.refresh = Some(around.now + around.parms.time(NeighParm::IntervalProbeTime).max(1));
    }
    if asks {
        // Of those who wait the last asks.
        let source = peek(ns, |table| table.last_waiting(id).and_then(|frame| solicit::source_of(frame, entry.dst)));
        solicit::ask(rtnl, ns, &link, &entry, source.flatten());
    }
    ns.neigh.write().replace(entry);
    if tick.failed {
        output::give_up(rtnl, ns, &link, id);
    }
    rtnl.arm(ns, id);
    if tick.heard && ns.net().is_some() {
        rtnl.notify_caused(ns, Notice::Neigh(NeighNotice::New(report)));
    }
}
