//! Collecting what nobody uses (`neigh_forced_gc`, `neigh_periodic_work`).
//!
//! Linux counts the entries of all namespaces together; here each namespace has its thresholds for itself, so that no
//! namespace can starve another.

use super::change::{self, NeighError, take};
use super::entry::{Entry, NeighFamily, NeighFlags};
use super::parms::NeighParm;
use super::state::NeighState;
use super::table::Neighbours;
use super::{GC_THRESHOLDS, Timer, read};
use crate::rtnl::{self, Rtnl};
use crate::state::Ns;

/// What was changed this short a time ago (milliseconds) is not collected, nor is a table collected twice within it.
const GRACE: i64 = 5000;

/// Makes room for one more entry of a family.
pub(super) fn make_room(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, family: NeighFamily) -> Result<(), NeighError> {
    let now = super::timer::millis(rtnl.now());
    let [low, soft, hard] = GC_THRESHOLDS.map(|t| t as usize);
    let (count, flushed) =
        change::peek(ns, |t| (t.collectable(family) + 1, t.flushed[family.index()])).unwrap_or((1, None));
    if count > low {
        wait(rtnl, ns, family);
    }
    if count < hard && (count < soft || flushed.is_some_and(|then| now - then < GRACE)) {
        return Ok(());
    }
    let forced = change::peek(ns, |table| {
        let idle = |e: &&Entry| e.family() == family && collectable(e) && (failed(e) || now - e.updated > GRACE);
        table.since(0).filter(idle).take(count.saturating_sub(soft)).map(|e| e.id).collect::<Vec<_>>()
    });
    for id in forced.unwrap_or_default() {
        take(rtnl, ns, id, now);
    }
    ns.neigh.write().flushed[family.index()] = Some(now);
    let left = change::peek(ns, |t| t.collectable(family)).unwrap_or(0);
    if left + 1 >= hard { Err(NeighError::Full) } else { Ok(()) }
}

/// Whether nobody holds it, and it may go.
fn collectable(entry: &Entry) -> bool {
    entry.collectable() && entry.due.is_none() && !entry.flags.has(NeighFlags::MANAGED)
}

fn failed(entry: &Entry) -> bool {
    entry.state.is(NeighState::FAILED.or(NeighState::NOARP)) || entry.kind == super::kind::MULTICAST
}

/// Puts the next collection on the clock.
fn wait(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, family: NeighFamily) {
    if std::mem::replace(&mut ns.neigh.write().gc_waits[family.index()], true) {
        return;
    }
    let base = read::born_time(family, NeighParm::BaseReachableTime);
    let when = rtnl.now() + std::time::Duration::from_millis(base.unsigned_abs() / 2);
    rtnl.set_timer(ns, when, rtnl::Timer::Neigh(Timer::Collect(family)));
}

/// The time for a collection has come.
pub(super) fn collect(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, family: NeighFamily) {
    let now = super::timer::millis(rtnl.now());
    let low = GC_THRESHOLDS[0] as usize;
    ns.neigh.write().gc_waits[family.index()] = false;
    let gone = change::peek(ns, |table| idle(table, family, now)).unwrap_or_default();
    if change::peek(ns, |t| t.collectable(family)).unwrap_or(0) <= low {
        return;
    }
    for id in gone {
        take(rtnl, ns, id, now);
    }
    if change::peek(ns, |t| t.collectable(family)).unwrap_or(0) > low {
        wait(rtnl, ns, family);
    }
}

fn idle(table: &Neighbours, family: NeighFamily, now: i64) -> Vec<u64> {
    let stale = |e: &&Entry| {
        let keep = table.parms.get(e.ifindex, family).time(NeighParm::GcStaleTime);
        let last = e.used.get().max(e.confirmed.get());
        e.family() == family && collectable(e) && (e.state.is(NeighState::FAILED) || now - last > keep)
    };
    table.since(0).filter(stale).map(|e| e.id).collect()
}
