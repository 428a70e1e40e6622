//! Which namespace a program is in, and what keeps a namespace alive.
//!
//! **Membership** is written on the process itself, in the soft limit of RLIMIT_LOCKS, which Linux has not used since
//! 2.4: `fork` copies it, `exec` keeps it, it can be read and set from outside with one call, and it outlives every
//! parent.  A process whose threads went different ways (`setns` moves one thread) is *split*: each thread is pinned
//! here, and its limit carries a number that stands for "where my maker was" (see `split.rs`).  Other numbers stand for
//! calls whose effect is not known yet (see `pending.rs`).
//!
//! **Identity**: a namespace file is an anonymous file of ours, made when first asked for.  A program gets it opened,
//! so that `fstat`, `dup`, passing it on and keeping it are the kernel's business and right without our help.
//!
//! **Life**: a space holds one active reference while a process is in it, its file is open somewhere, or it is bound to
//! a path; sockets hold their own.  Nothing is counted per open file: when a close is reported, a write lease on the
//! file, which the kernel grants only to a sole opener, tells whether one is left.

mod doubt;
mod files;
mod whereabouts;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use pernet::{NetHandle, NetRef};
use rustix::fs::inotify;

use crate::census;
use crate::identity::Identity;
use crate::pending::Pending;
use crate::reactor::{Reactor, Token};
use crate::split::{Mark, Split};
use crate::tag::{SpaceId, Tag};
use crate::task::{FileId, has_exited, pidfd_of};
use crate::users::Users;
use doubt::Doubts;

#[derive(Debug)]
struct Space {
    handle: NetHandle,
    hold: Option<NetRef>,
    identity: Option<Identity>,
    /// Other files that hold it while a program has them open.
    views: Vec<Identity>,
    binds: u32,
    /// Processes known to be inside; others are found by looking when these are gone.
    members: usize,
}

#[derive(Debug)]
struct Member {
    /// Held for its registration with the reactor.
    pidfd: OwnedFd,
    inside: Vec<SpaceId>,
}

/// All namespaces of a run.
///
/// Behind one lock (`World::spaces`).  Lock order: after a socket's lock, before anything of the core.
#[derive(Debug)]
pub(crate) struct Spaces {
    run: u64,
    first: SpaceId,
    next: u32,
    all: HashMap<SpaceId, Space>,
    pending: HashMap<SpaceId, Pending>,
    by_file: HashMap<FileId, SpaceId>,
    by_cookie: HashMap<u64, SpaceId>,
    members: HashMap<u32, Member>,
    /// Split processes.
    split: HashMap<u32, Split>,
    /// What stands on their limits, and stood: their children may carry it still.
    marks: HashMap<SpaceId, Mark>,
    /// Processes that were let go to make a thread, and when.
    lately: HashMap<u32, Instant>,
    inotify: Option<OwnedFd>,
    /// Whose files were closed and seemed open still.
    doubts: Doubts,
    by_watch: HashMap<i32, SpaceId>,
    reactor: Arc<Reactor>,
    users: Arc<Users>,
}

impl Spaces {
    /// Starts with the run's first namespace, which lives as long as the run.
    pub(crate) fn new(first: NetRef, run: u64, reactor: Arc<Reactor>, users: Arc<Users>) -> Self {
        let mut me = Self {
            run,
            first: SpaceId::new(0),
            next: 0,
            all: HashMap::new(),
            pending: HashMap::new(),
            by_file: HashMap::new(),
            by_cookie: HashMap::new(),
            members: HashMap::new(),
            split: HashMap::new(),
            marks: HashMap::new(),
            lately: HashMap::new(),
            inotify: None,
            doubts: Doubts::default(),
            by_watch: HashMap::new(),
            reactor,
            users,
        };
        me.first = me.add(first);
        me
    }

    /// The namespace that the run started in.
    pub(crate) fn first(&self) -> SpaceId {
        self.first
    }

    /// The raw limit that a process in `space` carries.
    pub(crate) fn raw_tag(&self, space: SpaceId) -> u64 {
        Tag { space, pretends_mounts: false }.encode(self.run)
    }

    /// Takes in a new namespace; it is held until [`Self::settle`] finds no reason to.
    pub(crate) fn add(&mut self, net: NetRef) -> SpaceId {
        let id = self.fresh_id();
        self.by_cookie.insert(net.cookie().get(), id);
        self.all.insert(
            id,
            Space { handle: net.downgrade(), hold: Some(net), identity: None, views: Vec::new(), binds: 0, members: 0 },
        );
        id
    }

    fn fresh_id(&mut self) -> SpaceId {
        loop {
            let id = SpaceId::new(self.next);
            self.next = self.next.wrapping_add(1);
            if !self.all.contains_key(&id) && !self.stands_for_more(id) {
                return id;
            }
        }
    }

    /// An active reference, if the namespace is alive.
    pub(crate) fn net(&self, id: SpaceId) -> Option<NetRef> {
        let space = self.all.get(&id)?;
        space.hold.clone().or_else(|| space.handle.upgrade())
    }

    /// The number of a namespace that is alive in this run.
    pub(crate) fn of_net(&mut self, net: &NetRef) -> SpaceId {
        match self.by_cookie.get(&net.cookie().get()) {
            Some(&id) => id,
            None => {
                let id = self.add(net.clone());
                if let Some(space) = self.all.get_mut(&id) {
                    space.hold = None;
                }
                id
            }
        }
    }

    /// The namespace whose file this is.
    pub(crate) fn by_file(&self, file: FileId) -> Option<SpaceId> {
        self.by_file.get(&file).copied()
    }

    /// Every living namespace with its number.
    pub(crate) fn alive(&self) -> Vec<SpaceId> {
        let mut ids: Vec<_> = self
            .all
            .iter()
            .filter(|(_, s)| s.hold.is_some() || s.handle.upgrade().is_some())
            .map(|(&id, _)| id)
            .collect();
        ids.sort_unstable();
        ids
    }

    // --- what keeps a namespace alive ---

    fn enter(&mut self, tgid: u32, id: SpaceId) {
        if id == self.first {
            return;
        }
        let reactor = &self.reactor;
        let member = match self.members.entry(tgid) {
            std::collections::hash_map::Entry::Occupied(e) => e.into_mut(),
            std::collections::hash_map::Entry::Vacant(e) => {
                let Some(pidfd) = pidfd_of(tgid) else { return };
                if has_exited(&pidfd) || reactor.readable(&pidfd, Token::Process(tgid)).is_err() {
                    return;
                }
                e.insert(Member { pidfd, inside: Vec::new() })
            }
        };
        if !member.inside.contains(&id) {
            member.inside.push(id);
            if let Some(space) = self.all.get_mut(&id) {
                space.members += 1;
                if space.hold.is_none() {
                    space.hold = space.handle.upgrade();
                }
            }
        }
    }

    /// A process left `id`, unless another of its threads is still there.
    fn leave_if_gone(&mut self, tgid: u32, id: SpaceId) {
        if self.split.get(&tgid).is_some_and(|split| split.is_in(id)) {
            return;
        }
        let Some(member) = self.members.get_mut(&tgid) else {
            return self.settle(id);
        };
        if let Some(i) = member.inside.iter().position(|&s| s == id) {
            member.inside.swap_remove(i);
            if let Some(space) = self.all.get_mut(&id) {
                space.members -= 1;
            }
        }
        if self.members.get(&tgid).is_some_and(|m| m.inside.is_empty())
            && let Some(member) = self.members.remove(&tgid)
        {
            self.reactor.forget(&member.pidfd);
        }
        self.settle(id);
    }

    /// A process ended.
    pub(crate) fn process_ended(&mut self, tgid: u32) {
        self.replace_mark(tgid);
        self.split.remove(&tgid);
        let Some(member) = self.members.remove(&tgid) else {
            return;
        };
        self.reactor.forget(&member.pidfd);
        for id in member.inside {
            if let Some(space) = self.all.get_mut(&id) {
                space.members -= 1;
            }
            self.settle(id);
        }
    }

    /// Drops the run's reference to a namespace if nothing keeps it any more.
    ///
    /// Whoever could still name the namespace (a member, an open file, a path) is looked for here, and all of that changes
    /// only under this lock, by a close, or by a `fork`, about which see `census.rs`.
    pub(crate) fn settle(&mut self, id: SpaceId) {
        if id == self.first || self.pending.values().any(|p| p.new == id) {
            return;
        }
        let Some(space) = self.all.get_mut(&id) else {
            return;
        };
        space.views.retain(Identity::is_open_elsewhere);
        if !space.views.is_empty() {
            return;
        }
        if space.binds > 0 || space.members > 0 || space.identity.as_ref().is_some_and(|i| i.is_open_elsewhere()) {
            return;
        }
        let known = |me: &Self| me.all.get(&id).is_some_and(|space| space.members > 0);
        census::everybody(|pid| {
            if let Some(tgid) = self.inside(pid, id) {
                self.enter(tgid, id);
            }
            known(self)
        });
        let Some(space) = self.all.get_mut(&id) else {
            return;
        };
        if space.members > 0 {
            return;
        }
        space.hold = None;
        if space.handle.upgrade().is_none() {
            self.forget(id);
        }
    }

    /// A namespace died: its number and its file are done with.
    pub(crate) fn died(&mut self, cookie: u64) {
        if let Some(&id) = self.by_cookie.get(&cookie) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: SpaceId) {
        let Some(space) = self.all.remove(&id) else {
            return;
        };
        self.by_cookie.remove(&space.handle.cookie().get());
        if let Some(identity) = space.identity {
            self.by_file.remove(&identity.id);
            if let (Some(watch), Some(inotify)) = (identity.watch, &self.inotify) {
                self.by_watch.remove(&watch);
                let _ = inotify::remove_watch(inotify, watch);
            }
        }
    }

    /// The path table bound (or unbound) this namespace once more.
    pub(crate) fn bound(&mut self, id: SpaceId, by: i32) {
        if let Some(space) = self.all.get_mut(&id) {
            space.binds = space.binds.saturating_add_signed(by);
            if space.hold.is_none() {
                space.hold = space.handle.upgrade();
            }
        }
        self.settle(id);
    }

    /// Is any space held by nothing but sockets, or any process split?  Then closes and thread exits tell us nothing
    /// and the main loop looks from time to time.
    pub(crate) fn needs_looking(&self) -> bool {
        !self.split.is_empty() || !self.pending.is_empty() || !self.marks.is_empty()
    }
}
