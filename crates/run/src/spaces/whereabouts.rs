//! Where a task is: what its limit says, and what the numbers there stand for.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pernet::{NetRef, UserNs};

use super::Spaces;
use crate::census;
use crate::pending::{Pending, PendingCall};
use crate::split::{Birthplace, Split, TURN};
use crate::sys;
use crate::tag::{SpaceId, Tag};
use crate::task::Task;

const RLIMIT_LOCKS: u32 = libc::RLIMIT_LOCKS;

/// How long a thread that was let go to make another may take before its process's threads may go different ways.
const LATELY: Duration = Duration::from_millis(2);
/// How long a `clone` may take to copy its caller's limit.
const UNDER_WAY: Duration = Duration::from_millis(100);

impl Spaces {
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

    /// Is this no place, but a number that stands for one?
    pub(super) fn stands_for_more(&self, number: SpaceId) -> bool {
        self.pending.contains_key(&number) || self.marks.contains_key(&number)
    }

    /// Writes a place or number on a process, unless it carries another than `expected` by now.
    fn rewrite(&self, tid: u32, expected: SpaceId, space: SpaceId) {
        if let Some(tag) = self.read_tag(tid).filter(|tag| tag.space == expected) {
            self.write_tag(tid, Tag { space, ..tag });
        }
    }

    /// Writes a place or number on a process.  `caller`: the thread of it whose call we are answering.
    fn relabel(&mut self, tgid: u32, caller: Option<u32>, space: SpaceId) {
        let Some(tag) = self.read_tag(tgid) else { return };
        let mut space = space;
        if let Some(pending) = self.pending.get(&tag.space)
            && matches!(pending.call, PendingCall::Child { maker, .. } if Some(maker) != caller)
        {
            // Another thread's child, which is being made, has to find its number.  Who has the number that stood here
            // keeps what is under that.
            let pending = Pending { under: space, ..pending.clone() };
            space = self.fresh_id();
            self.pending.insert(space, pending);
        }
        self.write_tag(tgid, Tag { space, ..tag });
    }

    /// The tag of a task, if it is one of this run's, with the place that a number on it stands for.
    pub(crate) fn tag(&mut self, task: Task) -> Option<Tag> {
        let tag = self.read_tag(task.tid)?;
        if self.split.is_empty() && !self.stands_for_more(tag.space) {
            return Some(tag);
        }
        let tgid = task.tgid()?;
        let space = match self.split.get_mut(&tgid) {
            Some(split) => {
                let pinned = split.place(tgid, task.tid);
                self.unite(tgid).unwrap_or(pinned)
            }
            None => self.find_out(tgid, tag.space),
        };
        Some(Tag { space, ..tag })
    }

    /// The place that a number stands for on this process, which is not split; writes it there once it is certain to
    /// stay.
    fn find_out(&mut self, tgid: u32, number: SpaceId) -> SpaceId {
        if let Some(pending) = self.pending.get(&number).cloned() {
            return self.find_out_pending(tgid, number, &pending);
        }
        let Some(mark) = self.marks.get(&number) else { return number };
        self.pin_threads(mark.process());
        let place = match self.birthplace(tgid, number) {
            Some(Birthplace::Certain(place) | Birthplace::Likely(place)) => place,
            None => return number,
        };
        if let Some(mark) = self.marks.get_mut(&number) {
            mark.tell(tgid, place);
        }
        self.found_out(tgid, number, place);
        place
    }

    fn find_out_pending(&mut self, tgid: u32, number: SpaceId, pending: &Pending) -> SpaceId {
        let task = Task::new(tgid);
        let maker = match pending.call {
            PendingCall::Child { process, .. } => Some(process),
            PendingCall::NewUser => None,
        };
        if maker != Some(tgid) && pending.worked_for(task) {
            if let Some(owner) = &pending.owner {
                self.users.adopt_as(task, owner.clone());
            }
            self.found_out(tgid, number, pending.new);
            if let Some(maker) = maker {
                self.rewrite(maker, number, pending.under);
            }
            self.retire(number);
            return pending.new;
        }
        let place = self.find_out(tgid, pending.under);
        // Another thread, or another program's look at it, may come before the kernel has done it.
        let done = match pending.call {
            PendingCall::NewUser => pending.since.elapsed() > TURN,
            PendingCall::Child { process, .. } => process != tgid || pending.since.elapsed() > UNDER_WAY,
        };
        if done {
            self.found_out(tgid, number, place);
            self.retire(number);
        }
        place
    }

    /// A process that carried `number` is in `place`, and nowhere else that it may have been in.
    fn found_out(&mut self, tgid: u32, number: SpaceId, place: SpaceId) {
        self.rewrite(tgid, number, place);
        self.enter(tgid, place);
        let others: Vec<SpaceId> = self
            .members
            .get(&tgid)
            .map_or_else(Vec::new, |m| m.inside.iter().copied().filter(|&id| id != place).collect());
        for id in others {
            self.leave_if_gone(tgid, id);
        }
    }

    fn birthplace(&self, tgid: u32, number: SpaceId) -> Option<Birthplace> {
        let mark = self.marks.get(&number)?;
        Some(mark.birthplace(tgid, |pid| self.read_tag(pid).is_some_and(|tag| tag.space == number)))
    }

    /// Takes note of the threads that a split process has made.
    fn pin_threads(&mut self, tgid: u32) {
        let Some(split) = self.split.get_mut(&tgid) else { return };
        split.free(tgid);
        split.meet(tgid, &Task::threads(tgid));
        if let Some(mark) = self.marks.get_mut(&split.mark()) {
            mark.add(split);
        }
    }

    /// Forgets a pending call that nobody carries the number of.
    fn retire(&mut self, number: SpaceId) {
        let below = |p: &Pending| p.under == number;
        if self.pending.values().any(below) || census::everybody(|pid| self.carries(pid, number)) {
            return;
        }
        if let Some(pending) = self.pending.remove(&number) {
            self.settle(pending.new);
        }
    }

    fn carries(&self, pid: u32, number: SpaceId) -> bool {
        self.read_tag(pid).is_some_and(|tag| tag.space == number)
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

    /// Ends the care for a split process that needs none any more: its limit alone says where it is, which is answered.
    fn unite(&mut self, tgid: u32) -> Option<SpaceId> {
        let split = self.split.get_mut(&tgid)?;
        let before = split.places();
        let place = split.united(tgid, &Task::threads(tgid));
        if let Some(mark) = self.marks.get_mut(&split.mark()) {
            mark.add(split);
        }
        if let Some(place) = place {
            self.replace_mark(tgid);
            self.split.remove(&tgid);
            self.relabel(tgid, None, place);
            self.enter(tgid, place);
        }
        for id in before {
            if Some(id) != place {
                self.leave_if_gone(tgid, id);
            }
        }
        place
    }

    /// What stands on a split process's limit will not any more.
    pub(super) fn replace_mark(&mut self, tgid: u32) {
        if let Some(split) = self.split.get(&tgid)
            && let Some(mark) = self.marks.get_mut(&split.mark())
        {
            mark.replace(Instant::now());
        }
    }

    /// May this thread move, make another or execute now?  False while another thread of its process has its turn.
    fn has_turn(&mut self, tgid: u32, tid: u32) -> bool {
        let other = |p: &Pending| {
            matches!(p.call, PendingCall::Child { maker, process } if process == tgid && maker != tid)
                && p.since.elapsed() <= TURN
        };
        if self.pending.values().any(other) {
            return false;
        }
        if let Some(split) = self.split.get_mut(&tgid) {
            return split.free(tgid);
        }
        // Not split yet: who moves while another thread makes one would give that one the wrong place.
        self.lately.get(&tgid).is_none_or(|at| at.elapsed() > LATELY)
    }

    /// Moves a task: one thread only, as `setns` does.  False: not now, another thread has its turn.
    pub(crate) fn join(&mut self, task: Task, to: SpaceId) -> bool {
        let Some(tag) = self.tag(task) else { return true };
        let from = tag.space;
        let Some(tgid) = task.tgid() else { return true };
        if !task.is_alone(tgid) || self.split.contains_key(&tgid) {
            if !self.has_turn(tgid, task.tid) {
                return false;
            }
            self.pin_threads(tgid);
            let unmarked = self.fresh_id();
            let split = self.split.entry(tgid).or_insert_with(|| Split::new(&Task::threads(tgid), from, unmarked));
            split.moved(task.tid, to);
            self.mark_anew(tgid, task.tid);
            self.enter(tgid, to);
            self.unite(tgid);
        } else {
            self.relabel(tgid, Some(task.tid), to);
            self.enter(tgid, to);
        }
        if from != to {
            self.leave_if_gone(tgid, from);
        }
        true
    }

    fn expect_thread(&mut self, tgid: u32, caller: u32, space: SpaceId, tls: Option<u64>) {
        let Some(split) = self.split.get_mut(&tgid) else { return };
        if let Some(tls) = tls
            && self.marks.get(&split.mark()).is_some_and(|mark| mark.knew(tls))
        {
            split.reuse(tls);
            self.mark_anew(tgid, caller);
        }
        let Some(split) = self.split.get_mut(&tgid) else { return };
        split.make(space, tls);
        if let (Some(tls), Some(mark)) = (tls, self.marks.get_mut(&split.mark())) {
            mark.expect(tls, space);
        }
    }

    /// Puts a new mark on a split process, whose thread `caller` is in a call that we are answering.
    fn mark_anew(&mut self, tgid: u32, caller: u32) {
        self.replace_mark(tgid);
        let mark = self.fresh_id();
        let Some(split) = self.split.get_mut(&tgid) else { return };
        self.marks.insert(mark, split.stand(tgid, mark));
        self.relabel(tgid, Some(caller), mark);
    }

    /// Before a task executes another program, which only its own thread survives, and which nothing of the old one tells
    /// about.  False: not now.
    pub(crate) fn before_exec(&mut self, task: Task) -> bool {
        if self.split.is_empty() && self.marks.is_empty() {
            return true;
        }
        let (Some(tgid), Some(tag)) = (task.tgid(), self.tag(task)) else { return true };
        let Some(split) = self.split.get_mut(&tgid) else { return true };
        if !split.free(tgid) {
            return false;
        }
        split.exec(tgid, task.tid, tag.space);
        true
    }

    /// Before a task makes a child in a namespace of its own.  False: not now.
    pub(crate) fn before_child(&mut self, task: Task) -> bool {
        self.tag(task);
        task.tgid().is_none_or(|tgid| self.has_turn(tgid, task.tid))
    }

    /// Before a task makes a thread, whose variables will be at `tls` if that is known.  False: not now.
    pub(crate) fn before_thread(&mut self, task: Task, tls: Option<u64>) -> bool {
        let Some(tag) = self.tag(task) else { return true };
        let Some(tgid) = task.tgid() else { return true };
        if let Some(split) = self.split.get_mut(&tgid) {
            if !split.free(tgid) {
                return false;
            }
            self.pin_threads(tgid);
            self.expect_thread(tgid, task.tid, tag.space, tls);
        } else {
            if self.lately.len() > 256 {
                self.lately.retain(|_, at| at.elapsed() <= LATELY);
            }
            self.lately.insert(tgid, Instant::now());
        }
        true
    }

    /// Marks a task that asked for a mount namespace it cannot have.
    pub(crate) fn pretend_mounts(&mut self, task: Task) {
        if let Some(mut tag) = self.read_tag(task.tid) {
            tag.pretends_mounts = true;
            self.write_tag(task.tid, tag);
        }
    }

    /// The kernel is about to run `unshare(NEWUSER|NEWNET)` for this task.
    pub(crate) fn unshare_pending(&mut self, task: Task, new: SpaceId, owner: UserNs) {
        // Of several threads, the kernel lets none have a user namespace of its own.
        let alone = task.tgid().is_some_and(|tgid| task.is_alone(tgid));
        match self.tag(task) {
            Some(tag) if alone => self.let_go(task, new, Some(owner), PendingCall::NewUser, tag.space),
            _ => self.settle(new),
        }
    }

    /// The kernel is about to run `clone(NEWNET)` for this task.
    pub(crate) fn clone_pending(&mut self, task: Task, new: SpaceId, owner: Option<UserNs>) {
        let (Some(tag), Some(process)) = (self.read_tag(task.tid), task.tgid()) else {
            return self.settle(new);
        };
        // It is back from those that it was let go for before.
        let mine = |p: &Pending| matches!(p.call, PendingCall::Child { maker, .. } if maker == task.tid);
        let mut under = tag.space;
        while let Some(earlier) = self.pending.get(&under).filter(|p| mine(p)) {
            under = earlier.under;
        }
        self.let_go(task, new, owner, PendingCall::Child { maker: task.tid, process }, under);
    }

    fn let_go(&mut self, task: Task, new: SpaceId, owner: Option<UserNs>, call: PendingCall, under: SpaceId) {
        let (Some(before), Some(tag)) = (task.namespace(call.kind()), self.read_tag(task.tid)) else {
            return self.settle(new);
        };
        let number = self.fresh_id();
        self.pending.insert(number, Pending { under, new, owner, before, call, since: Instant::now() });
        self.write_tag(task.tid, Tag { space: number, ..tag });
    }

    /// The process that `pid` is, or is a thread of, if it is in `id` or may be.
    ///
    /// A child that is still being made is seen through its maker, which is in `id` too: if its process has gone to
    /// another place since the limit was copied, then the process is split, and the maker is pinned.
    pub(super) fn inside(&self, pid: u32, id: SpaceId) -> Option<u32> {
        let number = self.read_tag(pid)?.space;
        if number != id && !self.stands_for_more(number) {
            return None;
        }
        let tgid = Task::new(pid).tgid()?;
        let is = match self.split.get(&tgid) {
            Some(split) => split.is_in(id),
            None => self.may_be(tgid, number, id),
        };
        is.then_some(tgid)
    }

    /// May `number`, on this process, stand for `id`?
    fn may_be(&self, tgid: u32, number: SpaceId, id: SpaceId) -> bool {
        if let Some(pending) = self.pending.get(&number) {
            return if pending.worked_for(Task::new(tgid)) {
                pending.new == id
            } else {
                self.may_be(tgid, pending.under, id)
            };
        }
        match (self.birthplace(tgid, number), self.marks.get(&number)) {
            (Some(Birthplace::Certain(place)), _) => place == id,
            (Some(Birthplace::Likely(_)), Some(mark)) => mark.places().contains(&id),
            _ => number == id,
        }
    }

    /// The look: threads of split processes that ended, calls that failed, numbers that nobody carries any more.
    pub(crate) fn look(&mut self) {
        let processes: Vec<u32> = self.split.keys().copied().collect();
        for tgid in processes {
            if !Task::is_thread(tgid, tgid) {
                self.process_ended(tgid);
            } else {
                self.unite(tgid);
            }
        }
        let overdue = |p: &&Pending| p.since.elapsed() > UNDER_WAY;
        let calls: Vec<(SpaceId, Pending)> =
            self.pending.iter().filter(|(_, p)| overdue(p)).map(|(&number, p)| (number, p.clone())).collect();
        for (number, pending) in calls {
            if let PendingCall::Child { process, .. } = pending.call {
                self.rewrite(process, number, pending.under);
            }
            // A child that ended without ever being seen leaves its number with nobody.
            self.retire(number);
        }
        self.look_for_marks();
    }

    fn look_for_marks(&mut self) {
        let now = Instant::now();
        let mut due: HashSet<SpaceId> =
            self.marks.iter().filter(|(_, mark)| mark.is_due(now)).map(|(&number, _)| number).collect();
        if due.is_empty() {
            return;
        }
        for pending in self.pending.values() {
            due.remove(&pending.under);
        }
        let mut carried = HashSet::new();
        census::everybody(|pid| {
            carried.extend(self.read_tag(pid).map(|tag| tag.space).filter(|number| due.contains(number)));
            false
        });
        for number in due {
            match self.marks.get_mut(&number) {
                Some(mark) if carried.contains(&number) => mark.wait(now),
                _ => drop(self.marks.remove(&number)),
            }
        }
    }
}
