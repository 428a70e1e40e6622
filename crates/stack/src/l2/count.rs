//! Counting traffic.

use crate::dev::{Counters, Link};
use crate::state::NetState;

/// Counts on a device, whose counters are made with the first packet.
pub(crate) fn count(state: &NetState, link: &Link, add: impl FnOnce(&Counters)) {
    if let Some(counters) = link.traffic() {
        return add(counters);
    }
    // This reading is older than the counters, or there are none: the table knows which, under its lock.
    let mut made = None;
    let _ = state.links.update(link.index(), |link| made = Some(link.counters()));
    if let Some(counters) = made {
        add(&counters);
    }
}
