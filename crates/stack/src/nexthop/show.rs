//! Objects as listeners and dumps show them.

use std::sync::Arc;

use pernet::Net;

use super::{Nexthop, NexthopKind, NexthopView};
use crate::dev::Stack;
use crate::fib::{hop_flag, ignores_linkdown};
use crate::rules::Family;
use crate::state::Ns;

/// An object with the state its device is in.
pub(super) fn view(ns: Ns<'_>, object: &Arc<Nexthop>, now: u64) -> NexthopView {
    let state = object.oif().map_or(0, |oif| match ns.links.by_index(oif) {
        Some(link) if link.is_up() && link.carrier => 0,
        Some(link) if link.is_up() => hop_flag::LINKDOWN | if ignores_linkdown(ns, oif) { hop_flag::DEAD } else { 0 },
        _ => hop_flag::DEAD | hop_flag::LINKDOWN,
    });
    let _ = now;
    NexthopView { nexthop: Arc::clone(object), flags: object.flags | state, unbalanced: 0 }
}

/// What a listing is restricted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NexthopFilter {
    /// A device.
    pub oif: Option<u32>,
    /// Groups only.
    pub groups: bool,
    /// A master of the device.
    pub master: Option<u32>,
    /// A family; groups have none.
    pub family: Option<Family>,
    /// For forwarding tables only.
    pub fdb: bool,
}

impl NexthopFilter {
    fn admits(&self, ns: Ns<'_>, object: &Nexthop) -> bool {
        let is_group = matches!(object.kind, NexthopKind::Group(_));
        if self.groups && !is_group {
            return false;
        }
        if self.oif.is_some() && object.oif() != self.oif {
            return false;
        }
        if self.master.is_some() {
            let link = object.oif().and_then(|oif| ns.links.by_index(oif));
            if link.and_then(|link| link.master) != self.master {
                return false;
            }
        }
        self.family.is_none() || object.family == self.family
    }
}

/// A stretch of a listing.
#[derive(Clone, Debug)]
pub struct NexthopPage {
    /// Objects, ascending by id.
    pub nexthops: Vec<NexthopView>,
    /// Changes with every change.
    pub generation: u32,
}

/// A bucket of a resilient group, as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketView {
    /// The group.
    pub group: u32,
    /// Number of the bucket.
    pub index: u16,
    /// Who has it.
    pub nexthop: u32,
    /// Hundredths of a second since it carried traffic last.
    pub idle: u64,
}

impl Stack {
    /// One object.
    #[must_use]
    pub fn nexthop(&self, net: &Net, id: u32) -> Option<NexthopView> {
        let state = self.state(net)?;
        let object = state.peek_nexthops()?.objects.get(&id).cloned()?;
        Some(view(Ns::living(state, net), &object, 0))
    }

    /// Up to `max` objects with ids from `start` on that pass `filter`.
    #[must_use]
    pub fn nexthops(&self, net: &Net, start: u32, max: usize, filter: &NexthopFilter) -> NexthopPage {
        let empty = NexthopPage { nexthops: Vec::new(), generation: 0 };
        let Some(state) = self.state(net) else { return empty };
        let ns = Ns::living(state, net);
        let mut page = empty;
        let mut next = Some(start);
        // Devices are looked at with no lock held, so objects are taken out a handful at a time.
        while let Some(from) = next.filter(|_| page.nexthops.len() < max) {
            let wanted = max - page.nexthops.len();
            let objects: Vec<_> = {
                let Some(all) = state.peek_nexthops() else { break };
                page.generation = all.generation;
                all.objects.range(from..).map(|(_, object)| Arc::clone(object)).take(wanted).collect()
            };
            // Behind the greatest id there is none.
            next = objects.last().filter(|_| objects.len() == wanted).and_then(|last| last.id.checked_add(1));
            let admitted = objects.iter().filter(|object| filter.admits(ns, object));
            page.nexthops.extend(admitted.map(|object| view(ns, object, 0)));
        }
        page
    }

    /// The buckets of a resilient group, or of all from group `start` on; `None` if `only` is no resilient group.
    #[must_use]
    pub fn nexthop_buckets(&self, net: &Net, group: u32) -> Option<Vec<BucketView>> {
        let state = self.state(net)?;
        let object = state.peek_nexthops()?.objects.get(&group).cloned()?;
        let NexthopKind::Group(members) = &object.kind else { return None };
        let resilient = members.resilient.as_ref()?;
        let now = u64::try_from(self.inner().clock.now().as_millis() / 10).unwrap_or(u64::MAX);
        let shown = resilient.buckets.iter().enumerate().map(|(index, bucket)| BucketView {
            group,
            index: u16::try_from(index).unwrap_or(u16::MAX),
            nexthop: bucket.nexthop,
            idle: now.saturating_sub(bucket.since),
        });
        Some(shown.collect())
    }
}
