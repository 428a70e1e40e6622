//! Which namespace a program is in, and what keeps a namespace alive.
//!
//! **Membership** is written on the process itself, in the soft limit of RLIMIT_LOCKS, which Linux has not used since
//! 2.4: `fork` copies it, `exec` keeps it, it can be read and set from outside with one call, and it outlives every
//! parent.  A process whose threads went different ways (`setns` moves one thread) is *split*: each thread is pinned
//! here, and its limit says where its next child starts.
//!
//! **Identity**: a namespace file is an anonymous file of ours, made when first asked for.  A program gets it opened,
//! so that `fstat`, `dup`, passing it on and keeping it are the kernel's business and right without our help.
//!
//! **Life**: a space holds one active reference while a process is in it, its file is open somewhere, or it is bound to
//! a path; sockets hold their own.  Nothing is counted per open file: when a close is reported, a write lease on the
//! file, which the kernel grants only to a sole opener, tells whether one is left.

mod doubt;
mod files;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pernet::{NetHandle, NetRef, UserNs};
use rustix::fs::inotify;

use crate::identity::Identity;
use crate::pending::Pending;
use crate::reactor::{Reactor, Token};
use crate::split::Split;
use crate::sys;
use crate::tag::{SpaceId, Tag};
use crate::task::{FileId, Task, has_exited, numbers, pidfd_of};
use crate::users::Users;
use doubt::Doubts;

const RLIMIT_LOCKS: u32 = libc::RLIMIT_LOCKS;

/// How long a thread that was let go to make a child may take before its process's limit may change.
const LATELY: Duration = Duration::from_millis(2);

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
    /// Threads of split processes: process → thread → where it is.
    split: HashMap<u32, Split>,
    /// Processes of several threads that were let go to make a child, and when.
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
            if !self.all.contains_key(&id) && !self.pending.contains_key(&id) {
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

    // --- where a task is ---

    fn read_tag(&self, tid: u32) -> Option<Tag> {
        let raw = match sys::get_limit(tid, RLIMIT_LOCKS) {
            Ok(limit) => limit.rlim_cur,
            // A program that took on another user's ids: its limits can still be read where everybody can.
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => Task::new(tid).file_locks_limit()?,
            Err(_) => return None,
        };
        Tag::decode(raw, self.run)
    }

    fn write_tag(&self, tid: u32, tag: Tag) {
        let Ok(old) = sys::get_limit(tid, RLIMIT_LOCKS) else {
            return;
        };
        let raw = tag.encode(self.run).min(old.rlim_max);
        // A task that just died needs no tag.
        let _ = sys::set_limit(tid, RLIMIT_LOCKS, libc::rlimit64 { rlim_cur: raw, rlim_max: old.rlim_max });
    }

    /// The tag of a task, if it is one of this run's.
    pub(crate) fn tag(&mut self, task: Task) -> Option<Tag> {
        let mut tag = self.read_tag(task.tid)?;
        if let Some(pending) = self.pending.get(&tag.space).cloned() {
            let now = task.namespace("user");
            let (at, done) = match &pending {
                Pending::NewUser { before, old, new, owner } => match now {
                    Some(now) if now != *before => {
                        self.users.adopt_as(task, owner.clone());
                        (*new, true)
                    }
                    _ => (*old, true),
                },
                Pending::Child { parent, old, new, owner } => {
                    let child = task.tgid()? != *parent;
                    if let (true, Some(owner)) = (child, owner) {
                        self.users.adopt_as(task, owner.clone());
                    }
                    (if child { *new } else { *old }, child)
                }
            };
            let marker = tag.space;
            tag.space = at;
            self.write_tag(task.tid, tag);
            if let Some(tgid) = task.tgid() {
                self.enter(tgid, at);
            }
            if done && !self.marked_elsewhere(marker) {
                self.pending.remove(&marker);
                self.settle(pending.destination());
            }
        }
        if !self.split.is_empty()
            && let Some(tgid) = task.tgid()
            && let Some(split) = self.split.get_mut(&tgid)
        {
            tag.space = split.place(task.tid, tag.space);
            self.unite(tgid);
            if task.tid == tgid && !self.split.contains_key(&tgid) {
                tag = self.read_tag(tgid)?;
            }
        }
        Some(tag)
    }

    fn marked_elsewhere(&self, marker: SpaceId) -> bool {
        numbers("/proc").into_iter().any(|pid| self.read_tag(pid).is_some_and(|t| t.space == marker))
    }

    /// The namespace of a task of this run.
    pub(crate) fn of_task(&mut self, task: Task) -> Option<SpaceId> {
        self.tag(task).map(|t| t.space)
    }

    /// The namespace of a task, as a reference; `None` for a stranger or a zombie.
    pub(crate) fn net_of_task(&mut self, task: Task) -> Option<NetRef> {
        let id = self.of_task(task)?;
        self.net(id)
    }

    /// Ends the care for a split process that needs none any more: its limit alone says where it is.
    fn unite(&mut self, tgid: u32) {
        let Some(split) = self.split.get_mut(&tgid) else { return };
        let before: Vec<SpaceId> = split.pins.values().copied().collect();
        if let Some(place) = split.united(&Task::threads(tgid)) {
            self.split.remove(&tgid);
            if let Some(tag) = self.read_tag(tgid) {
                self.write_tag(tgid, Tag { space: place, ..tag });
            }
            self.enter(tgid, place);
        }
        for id in before {
            self.leave_if_gone(tgid, id);
        }
    }

    /// May this task move, make a child or execute now?  False while another thread of its process has its turn.
    fn has_turn(&mut self, tgid: u32) -> bool {
        if let Some(split) = self.split.get_mut(&tgid) {
            return split.free(tgid);
        }
        // Not split yet: who moves while another thread makes a child would give that child the wrong place.
        self.lately.get(&tgid).is_none_or(|at| at.elapsed() > LATELY)
    }

    /// Moves a task: one thread only, as `setns` does.  False: not now, another thread makes a child.
    pub(crate) fn join(&mut self, task: Task, to: SpaceId) -> bool {
        let Some(tag) = self.tag(task) else { return true };
        let from = tag.space;
        let Some(tgid) = task.tgid() else { return true };
        let threads = Task::threads(tgid);
        if threads.len() > 1 || self.split.contains_key(&tgid) {
            if !self.has_turn(tgid) {
                return false;
            }
            let split = self.split.entry(tgid).or_default();
            for tid in threads {
                split.pins.entry(tid).or_insert(from);
            }
            split.pins.insert(task.tid, to);
        }
        self.write_tag(task.tid, Tag { space: to, ..tag });
        self.enter(tgid, to);
        self.leave_if_gone(tgid, from);
        true
    }

    /// Before a task executes another program, which only its own thread survives.  False: not now.
    pub(crate) fn before_exec(&mut self, task: Task) -> bool {
        if self.split.is_empty() {
            return true;
        }
        let (Some(tgid), Some(tag)) = (task.tgid(), self.tag(task)) else { return true };
        let Some(split) = self.split.get_mut(&tgid) else { return true };
        if !split.free(tgid) {
            return false;
        }
        split.exec(tag.space);
        self.write_tag(task.tid, tag);
        true
    }

    /// Before a task makes a child: the child starts where this thread is, and its parent is known.  False: not now.
    pub(crate) fn before_clone(&mut self, task: Task) -> bool {
        let Some(tag) = self.tag(task) else { return true };
        let Some(tgid) = task.tgid() else { return true };
        if let Some(split) = self.split.get_mut(&tgid) {
            if !split.free(tgid) {
                return false;
            }
            split.make(tgid, task.tid, tag.space);
            self.write_tag(task.tid, tag);
        } else {
            if self.lately.len() > 256 {
                self.lately.retain(|_, at| at.elapsed() <= LATELY);
            }
            self.lately.insert(tgid, Instant::now());
        }
        if tag.space == self.first {
            return true;
        }
        // Whoever makes a child is known from then on.  So `settle`, which looks through /proc under the same lock, can
        // only miss a process that has no child, never one whose child has taken its place meanwhile.
        self.enter(tgid, tag.space);
        true
    }

    /// Marks a task that asked for a mount namespace it cannot have.
    pub(crate) fn pretend_mounts(&mut self, task: Task) {
        if let Some(mut tag) = self.tag(task) {
            tag.pretends_mounts = true;
            self.write_tag(task.tid, tag);
        }
    }

    /// The kernel is about to run `unshare(NEWUSER|NEWNET)` for this task.
    pub(crate) fn unshare_pending(&mut self, task: Task, new: SpaceId, owner: UserNs) {
        let (Some(tag), Some(before)) = (self.tag(task), task.namespace("user")) else {
            return;
        };
        let marker = self.fresh_id();
        self.pending.insert(marker, Pending::NewUser { before, old: tag.space, new, owner });
        self.write_tag(task.tid, Tag { space: marker, ..tag });
    }

    /// The kernel is about to run `clone(NEWNET)` for this task.
    pub(crate) fn clone_pending(&mut self, task: Task, new: SpaceId, owner: Option<UserNs>) {
        let (Some(tag), Some(parent)) = (self.tag(task), task.tgid()) else {
            return;
        };
        let marker = self.fresh_id();
        self.pending.insert(marker, Pending::Child { parent, old: tag.space, new, owner });
        self.write_tag(task.tid, Tag { space: marker, ..tag });
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
        if self.split.get(&tgid).is_some_and(|split| split.pins.values().any(|&at| at == id)) {
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
    /// only under this lock or by a close.  A process that forks meanwhile is a member before its child exists: see
    /// [`Self::before_clone`].
    pub(crate) fn settle(&mut self, id: SpaceId) {
        if id == self.first || self.pending.values().any(|p| p.destination() == id) {
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
        for pid in numbers("/proc") {
            // Of a split process the limit says only where its next child starts.
            let inside = match self.split.get(&pid) {
                Some(split) => split.pins.values().any(|&at| at == id),
                None => self.read_tag(pid).is_some_and(|t| t.space == id),
            };
            if inside {
                self.enter(pid, id);
            }
        }
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
        !self.split.is_empty() || !self.pending.is_empty()
    }

    /// The look: threads of split processes that ended.
    pub(crate) fn look(&mut self) {
        let processes: Vec<u32> = self.split.keys().copied().collect();
        for tgid in processes {
            self.unite(tgid);
        }
        // A child that ended without ever being seen leaves its mark with nobody.
        let markers: Vec<SpaceId> = self.pending.keys().copied().collect();
        for marker in markers {
            if !self.marked_elsewhere(marker)
                && let Some(pending) = self.pending.remove(&marker)
            {
                self.settle(pending.destination());
            }
        }
    }
}
