//! Adding, replacing and deleting objects, and what follows for groups and routes.

use pernet::Net;

use super::{Nexthop, NexthopConfig, NexthopError, NexthopKind, NexthopNotice, check};
use crate::clock;
use crate::notice::Notice;
use crate::rtnl::Rtnl;
use crate::state::Ns;
use crate::{fib, inet6};

/// How an addition gets along with what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct How {
    exclusive: bool,
    replace: bool,
    create: bool,
}

const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

impl Rtnl<'_> {
    /// Adds an object, or replaces one (`RTM_NEWNEXTHOP`). `flags` are the request's `NLM_F_*`, which the messages that
    /// tell of it repeat.
    ///
    /// # Errors
    /// [`NexthopError`]; nothing has changed then.
    pub fn new_nexthop(&mut self, net: &Net, config: &NexthopConfig, flags: u16) -> Result<(), NexthopError> {
        let Some(ns) = self.ns(net) else { return Err(NexthopError::NoSuchNamespace) };
        let how = How {
            exclusive: flags & NLM_F_EXCL != 0,
            replace: flags & NLM_F_REPLACE != 0,
            create: flags & NLM_F_CREATE != 0,
        };
        let id = match config.id {
            0 => ns.nexthops.peek().map_or(Some(1), |all| all.free_id()).ok_or(NexthopError::Full)?,
            id => id,
        };
        let old = ns.nexthops.peek().and_then(|all| all.objects.get(&id).cloned());
        let now = clock::centiseconds(self.now());
        let replaced = old.as_deref().filter(|_| how.replace);
        let object = check::object(self, ns, config, id, replaced, now)?;
        match &old {
            Some(_) if how.exclusive || !how.replace => return Err(NexthopError::Exists),
            Some(old) => may_replace(ns, old, &object)?,
            None if how.replace && !how.create => return Err(NexthopError::NoEntry),
            None => {}
        }
        let object = {
            let mut all = ns.nexthops.write();
            // Replacing keeps the groups it is in.
            let object = all.put(object);
            if config.id == 0 {
                all.last_id = id;
            }
            object
        };
        let view = super::show::view(ns, &object, now);
        self.notify(ns, Notice::Nexthop(NexthopNotice::New { nexthop: view, flags }));
        if old.is_some() {
            redirect(self, ns, id);
            let groups = ns.nexthops.peek().map_or_else(Vec::new, |all| all.groups(id));
            for group in groups {
                redirect(self, ns, group);
            }
        }
        Ok(())
    }

    /// Deletes an object, and with it the routes that point to it and its places in groups (`RTM_DELNEXTHOP`).
    ///
    /// # Errors
    /// [`NexthopError::NotFound`].
    pub fn del_nexthop(&mut self, net: &Net, id: u32, flags: u16) -> Result<(), NexthopError> {
        let Some(ns) = self.ns(net) else { return Err(NexthopError::NoSuchNamespace) };
        if ns.nexthops.peek().is_none_or(|all| !all.objects.contains_key(&id)) {
            return Err(NexthopError::NotFound);
        }
        remove(self, ns, id, Some(flags));
        Ok(())
    }
}

/// Whether what points to `old` may point to `new`.
fn may_replace(ns: Ns<'_>, old: &Nexthop, new: &Nexthop) -> Result<(), NexthopError> {
    match (&old.kind, &new.kind) {
        (NexthopKind::Group(a), NexthopKind::Group(b)) if a.resilient.is_some() != b.resilient.is_some() => {
            return Err(NexthopError::OtherType);
        }
        (NexthopKind::Group(_), NexthopKind::Group(_)) => {}
        (NexthopKind::Group(_), _) => return Err(NexthopError::GroupByHop),
        (_, NexthopKind::Group(_)) => return Err(NexthopError::HopByGroup),
        (_, kind) => {
            let all = ns.nexthops.peek();
            let in_company = all.as_ref().is_some_and(|all| {
                all.groups(old.id).iter().any(|id| match all.objects.get(id).map(|group| &group.kind) {
                    Some(NexthopKind::Group(group)) => group.members.len() > 1,
                    _ => false,
                })
            });
            if *kind == NexthopKind::Blackhole && in_company {
                return Err(NexthopError::BlackholeOfGroup);
            }
        }
    }
    let resolved = match &new.kind {
        NexthopKind::Group(group) => {
            let all = ns.nexthops.peek();
            let members = group.members.iter().filter_map(|member| {
                let object = all.as_ref()?.objects.get(&member.id)?;
                Some((member, super::Resolved::single(object)))
            });
            super::Resolved::group(new, group, members)
        }
        _ => super::Resolved::single(new),
    };
    fib::check_nexthop(ns, old.id, &resolved)?;
    Ok(())
}

/// Routes that point to the object `id` lead where it leads now.
fn redirect(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, id: u32) {
    if let Some(resolved) = super::get(ns, id) {
        fib::nexthop_replaced(rtnl, ns, &resolved);
        inet6::nexthop_replaced(rtnl, ns, &resolved);
    }
}

/// Takes an object out, with all that follows. `flags` if somebody asked for it, who is told; what follows from a device
/// is told to nobody.
fn remove(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, id: u32, flags: Option<u16>) {
    let now = clock::centiseconds(rtnl.now());
    let Some(object) = ns.nexthops.peek().and_then(|all| all.objects.get(&id).cloned()) else { return };
    // The message is made first, of the object as it still is.
    let view = super::show::view(ns, &object, now);
    let groups = {
        let mut all = ns.nexthops.write();
        let groups = all.groups(id);
        all.take(id);
        groups
    };
    fib::nexthop_gone(ns, id);
    if let Some(flags) = flags {
        rtnl.notify(ns, Notice::Nexthop(NexthopNotice::Del { nexthop: view, flags }));
    }
    inet6::nexthop_gone(rtnl, ns, id);
    for group in groups {
        leave(rtnl, ns, group, id, flags, now);
    }
}

/// A group loses a member; without any it goes too.
fn leave(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, group: u32, member: u32, flags: Option<u16>, now: u64) {
    let Some(object) = ns.nexthops.peek().and_then(|all| all.objects.get(&group).cloned()) else { return };
    let NexthopKind::Group(old) = &object.kind else { return };
    if old.members.iter().all(|other| other.id == member) {
        return remove(rtnl, ns, group, flags);
    }
    let mut new = old.clone();
    new.members.retain(|other| other.id != member);
    if let Some(resilient) = &mut new.resilient {
        resilient.balance(&new.members, now);
    }
    let object = Nexthop { kind: NexthopKind::Group(new), ..Nexthop::clone(&object) };
    let object = ns.nexthops.write().put(object);
    if let Some(resolved) = super::get(ns, group) {
        fib::nexthop_shrunk(ns, &resolved);
        inet6::nexthop_shrunk(rtnl, ns, &resolved);
    }
    if let Some(flags) = flags {
        let nexthop = super::show::view(ns, &object, now);
        rtnl.notify(ns, Notice::Nexthop(NexthopNotice::New { nexthop, flags }));
    }
}

/// Everything that leaves by a device goes.
pub(super) fn flush_device(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, oif: u32) {
    let ids: Vec<u32> =
        ns.nexthops.peek().and_then(|all| all.by_device.get(&oif).cloned()).into_iter().flatten().collect();
    for id in ids {
        remove(rtnl, ns, id, None);
    }
}
