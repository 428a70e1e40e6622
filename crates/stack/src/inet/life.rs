//! Lifetimes: addresses that become deprecated, and end.

use std::time::Duration;

use super::addr::{FOREVER, IFA_F_DEPRECATED, IFA_F_PERMANENT, Ifa4};
use super::change::{self, Cause};
use crate::clock;
use crate::rtnl::{self, Rtnl};
use crate::state::Ns;

/// What waits for its time: some address of the device with this index has a turn.
///
/// Which, and whether it still has, is looked up then: addresses are changed and removed without anybody thinking of
/// their timers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    ifindex: u32,
}

/// Sets the timers of an address that was made or changed just now.
pub(super) fn watch(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, ifindex: u32, ifa: &Ifa4) {
    let now = rtnl.now();
    for seconds in ifa.turns() {
        rtnl.set_timer(ns, now + Duration::from_secs(seconds.into()), rtnl::Timer::Inet(Timer { ifindex }));
    }
}

/// A timer is due (`check_lifetime`).
pub(crate) fn timer(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, timer: Timer) {
    let Some(link) = ns.links.by_index(timer.ifindex) else { return };
    let now = clock::stamp(rtnl.now());
    let find = |due: fn(&Ifa4, u32) -> bool| {
        let inet = ns.inet.peek()?;
        inet.device(timer.ifindex)?.addrs.iter().position(|ifa| due(ifa, ifa.age(now)))
    };
    while let Some(at) = find(|ifa, age| ends(ifa) && age >= ifa.valid_lft) {
        change::remove(rtnl, ns, &link, at, Cause::Followed);
    }
    let due = |ifa: &Ifa4, age| ends(ifa) && ifa.flags & IFA_F_DEPRECATED == 0 && age >= ifa.preferred_lft;
    while let Some(at) = find(due) {
        let deprecated = {
            let mut inet = ns.inet.write();
            inet.generation = inet.generation.wrapping_add(1);
            let ifa = &mut inet.device_mut(timer.ifindex).addrs[at];
            ifa.flags |= IFA_F_DEPRECATED;
            ifa.clone()
        };
        change::announce(rtnl, ns, &link, &deprecated, true, Cause::Followed);
    }
}

const fn ends(ifa: &Ifa4) -> bool {
    ifa.flags & IFA_F_PERMANENT == 0 && ifa.valid_lft != FOREVER
}
