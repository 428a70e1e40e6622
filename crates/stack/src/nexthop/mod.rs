//! Nexthop objects: ways out that have an id of their own, alone or in groups, and that routes of either family point to.

mod change;
mod check;
mod error;
mod group;
mod object;
mod show;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub use error::NexthopError;
pub use group::{Bucket, Group, GroupConfig, Member, Resilient, ResilientConfig};
pub(crate) use object::Resolved;
pub use object::{Nexthop, NexthopConfig, NexthopKind, NexthopView};
pub use show::{BucketView, NexthopFilter, NexthopPage};

use crate::dev::Link;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::rules::Family;
use crate::state::Ns;

/// What a namespace has of it.
#[derive(Debug, Default)]
pub(crate) struct Nexthops {
    objects: BTreeMap<u32, Arc<Nexthop>>,
    /// Objects that leave by a device.
    by_device: HashMap<u32, BTreeSet<u32>>,
    /// Groups an object is in, the one it joined last first.
    groups_of: HashMap<u32, Vec<u32>>,
    /// The last id that was chosen for somebody.
    last_id: u32,
    generation: u32,
}

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NexthopNotice {
    /// An object is there, or changed.
    New {
        /// The object.
        nexthop: NexthopView,
        /// `NLM_F_*` of the request, which the message repeats.
        flags: u16,
    },
    /// An object is gone.
    Del {
        /// The object.
        nexthop: NexthopView,
        /// `NLM_F_*` of the request.
        flags: u16,
    },
}

/// An object as routes see it: its ways out, those of its members if it is a group.
pub(crate) fn get(ns: Ns<'_>, id: u32) -> Option<Arc<Resolved>> {
    let all = ns.peek_nexthops()?;
    all.resolve(id).map(Arc::new)
}

/// Why an object is no group of tunnels' ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotEnds {
    /// It is a way out for routes.
    NotFdb,
    /// It is one end.
    NoGroup,
}

/// The family of a group of tunnels' ends, which is that of its first; `None` if there is no such object.
pub(crate) fn group_of_ends(ns: Ns<'_>, id: u32) -> Option<Result<Option<Family>, NotEnds>> {
    let all = ns.peek_nexthops()?;
    let object = all.objects.get(&id)?;
    Some(match &object.kind {
        _ if !object.is_fdb() => Err(NotEnds::NotFdb),
        NexthopKind::Group(group) => {
            Ok(group.members.first().and_then(|first| all.objects.get(&first.id)).and_then(|first| first.family))
        }
        _ => Err(NotEnds::NoGroup),
    })
}

/// A device goes through something: what leaves by a device that goes down or loses its carrier is gone, and nobody is
/// told.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    let lost = event == NetdevEvent::Change && link.is_up() && !link.carrier;
    if lost || matches!(event, NetdevEvent::Down | NetdevEvent::Unregister) {
        change::flush_device(rtnl, ns, link.index());
    }
}

impl Nexthops {
    fn resolve(&self, id: u32) -> Option<Resolved> {
        let object = self.objects.get(&id)?;
        let NexthopKind::Group(group) = &object.kind else { return Some(Resolved::single(object)) };
        let members = group.members.iter().filter_map(|member| {
            let object = self.objects.get(&member.id)?;
            Some((member, Resolved::single(object)))
        });
        Some(Resolved::group(object, group, members))
    }

    /// Puts an object in, or in place of the one with its id.
    fn put(&mut self, object: Nexthop) -> Arc<Nexthop> {
        self.take(object.id);
        if let Some(oif) = object.oif() {
            self.by_device.entry(oif).or_default().insert(object.id);
        }
        if let NexthopKind::Group(group) = &object.kind {
            for member in &group.members {
                self.groups_of.entry(member.id).or_default().insert(0, object.id);
            }
        }
        let object = Arc::new(object);
        self.objects.insert(object.id, Arc::clone(&object));
        self.generation = self.generation.wrapping_add(1);
        object
    }

    fn take(&mut self, id: u32) -> Option<Arc<Nexthop>> {
        let object = self.objects.remove(&id)?;
        if let Some(oif) = object.oif()
            && let Some(ids) = self.by_device.get_mut(&oif)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_device.remove(&oif);
            }
        }
        if let NexthopKind::Group(group) = &object.kind {
            for member in &group.members {
                if let Some(groups) = self.groups_of.get_mut(&member.id) {
                    groups.retain(|group| *group != id);
                    if groups.is_empty() {
                        self.groups_of.remove(&member.id);
                    }
                }
            }
        }
        self.generation = self.generation.wrapping_add(1);
        Some(object)
    }

    fn groups(&self, id: u32) -> Vec<u32> {
        self.groups_of.get(&id).cloned().unwrap_or_default()
    }

    fn free_id(&self) -> Option<u32> {
        let after = (self.last_id.saturating_add(1)..=u32::MAX).find(|id| !self.objects.contains_key(id));
        after.or_else(|| (1..self.last_id).find(|id| !self.objects.contains_key(id)))
    }
}
