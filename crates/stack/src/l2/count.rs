//! Counting traffic.

use std::sync::Arc;

use crate::dev::{Counters, Link};
use crate::state::NetState;

/// Counts on a device, whose counters are made with the first packet.
pub(crate) fn count(state: &NetState, link: &Link, add: impl FnOnce(&Counters)) {
    match link.traffic() {
        Some(counters) => add(counters),
        None => {
            if let Some(counters) = made(state, link) {
                add(&counters);
            }
        }
    }
}

/// The counters of a device, for whoever counts on it more than once.
pub(crate) fn counters(state: &NetState, link: &Link) -> Option<Arc<Counters>> {
    link.traffic().cloned().or_else(|| made(state, link))
}

/// This reading is older than the counters, or there are none: the table knows which, under its lock.
fn made(state: &NetState, link: &Link) -> Option<Arc<Counters>> {
    let mut made = None;
    let _ = state.links.update(link.index(), |link| made = Some(link.counters()));
    made
}
