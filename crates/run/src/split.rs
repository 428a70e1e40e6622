//! Processes whose threads are in different namespaces.
//!
//! A process has one limit to write a namespace on, and a child gets a copy of it.  While threads are in different
//! places, a [`Mark`] stands there instead, which names no place: it stands for "where my maker was".  A new mark is
//! made whenever a thread moves, so that a mark tells who was where when it was copied.  A child that carries one is told
//! apart when it is first seen, by what tells its maker:
//!
//! - The address of the list of robust mutexes, which each thread of a program of glibc keeps at a place of its own, and
//!   which its child by `fork` keeps at the same.  It tells even when the thread and the process are gone.
//!   Of a thread that ends before it is seen, the `clone` that made it said where its variables would be.  If that is
//!   where those of another were, there is a new mark, so that no mark knows two.
//! - The children of each thread, as /proc lists them.  A thread that waits in `vfork` is there for certain.  The children
//!   of one that ended are listed with another: so this is certain only if nobody who was elsewhere has ended.
//!
//! What is told by neither (a program of another libc forks in a moved thread, which ends before the child makes any
//! trapped call) counts as being in all the places it may be from, and in the listed thread's, or the first's, once it
//! makes a call.
//!
//! Threads are made by trapped calls.  Those of a split process take turns at it, because a new thread is pinned to its
//! maker's place, which nothing tells afterwards.  What `execve` leaves of a process is in the place of the thread that
//! called it.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::sys;
use crate::tag::SpaceId;
use crate::task::Task;

/// A call that makes a thread takes less, unless it fails.
pub(crate) const TURN: Duration = Duration::from_millis(5);
/// How long a mark that was replaced is kept at least: a `fork` that copied it may still be under way, copying memory.
const KEPT: Duration = Duration::from_secs(5);
/// Children told apart that are remembered before the dead among them are dropped.
const REMEMBERED: usize = 256;
/// The kernel may leave some children out of its list while others end, and never adds one.
const LOOKS: u32 = 3;
/// glibc's own variables of a thread, from where `tls` points; the list is among them.
const CONTROL_BLOCK: u64 = 4096;
/// Threads that were let go to be made, and not seen since, that are remembered.
const UNBORN: usize = 256;
/// Generations of children that carry a mark and were never seen.
const GENERATIONS: u32 = 8;

/// Where a thread is, and what its children by `fork` are known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    place: SpaceId,
    /// Where its list of robust mutexes is.  Empty: it has none, or none yet.
    list: Range<u64>,
}

impl Seat {
    fn of(tid: u32, place: SpaceId) -> Self {
        let list = sys::robust_list(tid);
        Self { place, list: list..list + u64::from(list != 0) }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.list.start < other.list.end && other.list.start < self.list.end
    }

    /// Of a thread that is not there yet, by what `clone` was told of its own variables (the argument `tls`).
    fn unborn(tls: u64, place: SpaceId) -> Self {
        Self { place, list: tls..tls.saturating_add(CONTROL_BLOCK) }
    }
}

/// A thread that was let go to make another.
#[derive(Debug)]
struct Making {
    space: SpaceId,
    since: Instant,
}

/// The threads of one process.
#[derive(Debug)]
pub(crate) struct Split {
    /// Where each is.
    pins: HashMap<u32, Seat>,
    /// Where all were before the first moved.
    home: SpaceId,
    /// What stands on the process's limit.
    mark: SpaceId,
    making: Option<Making>,
    /// Threads that were let go to be made; they may have ended before they were seen.
    unborn: Vec<Seat>,
    /// The thread that was let go to `execve`, and where the process will be if that succeeds.
    exec: Option<(u32, SpaceId)>,
}

impl Split {
    /// A process with these threads, all in `home`, one of which is about to move.
    pub(crate) fn new(threads: &[u32], home: SpaceId, mark: SpaceId) -> Self {
        let pins = threads.iter().map(|&tid| (tid, Seat::of(tid, home))).collect();
        Self { pins, home, mark, making: None, unborn: Vec::new(), exec: None }
    }

    /// What stands on the process's limit.
    pub(crate) fn mark(&self) -> SpaceId {
        self.mark
    }

    /// Is a thread in this place?
    pub(crate) fn is_in(&self, place: SpaceId) -> bool {
        self.pins.values().any(|seat| seat.place == place)
    }

    /// Every place that a thread is in.
    pub(crate) fn places(&self) -> Vec<SpaceId> {
        let mut places: Vec<_> = self.pins.values().map(|seat| seat.place).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// A thread moved.
    pub(crate) fn moved(&mut self, tid: u32, to: SpaceId) {
        self.pins.insert(tid, Seat::of(tid, to));
    }

    /// From now on this mark stands on the limit, and means this.
    pub(crate) fn stand(&mut self, tgid: u32, mark: SpaceId) -> Mark {
        self.mark = mark;
        let threads: Vec<u32> = self.pins.keys().copied().collect();
        for tid in threads {
            self.pin(tid);
        }
        // Those that were seen meanwhile may move from here on.
        let seen = |next: &Seat| self.pins.values().any(|seat| next.overlaps(seat));
        self.unborn.retain(|next| !seen(next));
        Mark {
            process: tgid,
            home: self.home,
            seats: self.pins.clone(),
            unborn: self.unborn.clone(),
            told: HashMap::new(),
            replaced: None,
        }
    }

    /// May another thread have its turn?  Pins the threads that the last one made.
    pub(crate) fn free(&mut self, tgid: u32) -> bool {
        let Some(making) = &self.making else { return true };
        let (space, mut over) = (making.space, making.since.elapsed() >= TURN);
        for tid in Task::threads(tgid) {
            if !self.pins.contains_key(&tid) {
                over = true;
                self.pins.insert(tid, self.seat(tid, space));
            }
        }
        if over {
            self.making = None;
        }
        over
    }

    /// A thread in `space` is let go to make another, whose variables will be at `tls`.
    pub(crate) fn make(&mut self, space: SpaceId, tls: Option<u64>) {
        self.making = Some(Making { space, since: Instant::now() });
        if let Some(tls) = tls {
            if self.unborn.len() == UNBORN {
                self.unborn.remove(0);
            }
            self.unborn.push(Seat::unborn(tls, space));
        }
    }

    /// The next thread's variables will be where those of one that ended were: forgets where that one's were.  It may be
    /// listed still; what it lets the kernel clear when it ends is cleared before its variables can be used again.
    pub(crate) fn reuse(&mut self, tls: u64) {
        let next = Seat::unborn(tls, self.home);
        self.unborn.retain(|seat| !seat.overlaps(&next));
        self.pins.values_mut().filter(|seat| seat.overlaps(&next)).for_each(|seat| seat.list = 0..0);
    }

    /// Pins the threads that were not seen before, and forgets those that ended, which not to be listed is no proof of.
    pub(crate) fn meet(&mut self, tgid: u32, listed: &[u32]) {
        self.pins.retain(|&tid, _| listed.contains(&tid) || Task::is_thread(tgid, tid));
        for &tid in listed {
            self.pin(tid);
        }
    }

    /// Is every thread pinned?  All that are pinned now were there when they were counted if they are there afterwards.
    fn knows_all(&self, tgid: u32) -> bool {
        let all_live = || self.pins.keys().all(|&tid| Task::is_thread(tgid, tid));
        Task::count(tgid).is_none_or(|count| count == self.pins.len() && all_live())
    }

    /// Where a thread is; one that was not seen before is in its maker's place, or was under way when the first moved.
    fn pin(&mut self, tid: u32) -> SpaceId {
        let born = self.making.as_ref().map_or(self.home, |m| m.space);
        match self.pins.get(&tid) {
            Some(seat) if !seat.list.is_empty() => seat.place,
            known => {
                // A new thread has no list before it has run; until then its place is a guess if its maker's turn was
                // over before it came.
                let seat = self.seat(tid, known.map_or(born, |seat| seat.place));
                self.pins.entry(tid).insert_entry(seat).get().place
            }
        }
    }

    /// Of a thread; one that was expected is where its maker was, whatever else is thought.
    fn seat(&self, tid: u32, otherwise: SpaceId) -> Seat {
        let mut seat = Seat::of(tid, otherwise);
        if let Some(expected) = self.unborn.iter().rfind(|next| next.overlaps(&seat)) {
            seat.place = expected.place;
        }
        seat
    }

    /// Where a thread is that makes a call.
    pub(crate) fn place(&mut self, tgid: u32, tid: u32) -> SpaceId {
        // It took the first thread's number if it had succeeded.
        if tid != tgid && self.exec.is_some_and(|(who, _)| who == tid) {
            self.exec = None;
        }
        self.pin(tid)
    }

    /// A thread is let go to `execve`.  The first one's pin says the same afterwards.
    pub(crate) fn exec(&mut self, tgid: u32, tid: u32, space: SpaceId) {
        self.exec = (tid != tgid).then_some((tid, space));
    }

    /// The one place that is left, if the process needs no more care: all threads are in it, or `execve` has ended the
    /// others.
    pub(crate) fn united(&mut self, tgid: u32, listed: &[u32]) -> Option<SpaceId> {
        if listed == [tgid]
            && self.exec.is_some()
            && Task::new(tgid).is_alone(tgid)
            && let Some((_, space)) = self.exec.take()
        {
            return Some(space);
        }
        if !self.free(tgid) {
            return None;
        }
        self.meet(tgid, listed);
        let mut places = self.pins.values().map(|seat| seat.place);
        let first = places.next()?;
        (places.all(|at| at == first) && self.knows_all(tgid)).then_some(first)
    }
}

/// What tells where a child was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Birthplace {
    /// There.
    Certain(SpaceId),
    /// There, as far as can be known.
    Likely(SpaceId),
}

/// What a mark on a limit means: who was where while it stood on the process that it was made for.
#[derive(Debug)]
pub(crate) struct Mark {
    process: u32,
    home: SpaceId,
    /// Every thread that was there, also those that have ended since.
    seats: HashMap<u32, Seat>,
    /// Threads that were let go to be made.
    unborn: Vec<Seat>,
    /// Children that were told apart, for children of theirs.
    told: HashMap<u32, SpaceId>,
    /// It stands on its process no more: when to look next whether anybody carries it, and how long to wait then.
    replaced: Option<(Instant, Duration)>,
}

impl Mark {
    /// The process it was made for.
    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    /// Threads seen while it stands.
    pub(crate) fn add(&mut self, split: &Split) {
        for (&tid, seat) in &split.pins {
            let known = self.seats.entry(tid).or_insert_with(|| seat.clone());
            if known.list.is_empty() {
                known.clone_from(seat);
            }
        }
    }

    /// A thread is let go to be made while it stands.
    pub(crate) fn expect(&mut self, tls: u64, place: SpaceId) {
        if self.unborn.len() == UNBORN {
            self.unborn.remove(0);
        }
        self.unborn.push(Seat::unborn(tls, place));
    }

    /// Was there a thread whose variables were at `tls`?
    pub(crate) fn knew(&self, tls: u64) -> bool {
        let next = Seat::unborn(tls, self.home);
        self.all().any(|seat| seat.overlaps(&next))
    }

    fn all(&self) -> impl Iterator<Item = &Seat> {
        self.seats.values().chain(&self.unborn)
    }

    /// Every place that a child of the process may be from.
    pub(crate) fn places(&self) -> Vec<SpaceId> {
        let mut places: Vec<_> = self.all().map(|seat| seat.place).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// A child was told apart.
    pub(crate) fn tell(&mut self, child: u32, place: SpaceId) {
        if self.told.len() >= REMEMBERED {
            self.told.retain(|&pid, _| crate::task::pidfd_of(pid).is_some());
        }
        self.told.insert(child, place);
    }

    /// Another one stands in its place, or its process is gone.
    pub(crate) fn replace(&mut self, now: Instant) {
        self.replaced.get_or_insert((now + KEPT, KEPT));
    }

    /// Is it time to look whether anybody carries it?
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.replaced.is_some_and(|(due, _)| due <= now)
    }

    /// Somebody does.
    pub(crate) fn wait(&mut self, now: Instant) {
        if let Some((due, wait)) = &mut self.replaced {
            *wait *= 2;
            *due = now + *wait;
        }
    }

    /// Where the process `child` was made, which carries this mark.  `carries`: does another carry it?
    pub(crate) fn birthplace(&self, child: u32, carries: impl Fn(u32) -> bool) -> Birthplace {
        self.born(child, &carries, GENERATIONS)
    }

    fn born(&self, child: u32, carries: &impl Fn(u32) -> bool, generations: u32) -> Birthplace {
        if let [only] = self.places()[..] {
            return Birthplace::Certain(only);
        }
        if let Some(place) = self.by_robust_list(child) {
            return Birthplace::Certain(place);
        }
        match Task::new(child).parent() {
            Some(parent) if parent == self.process => self.by_thread(child).unwrap_or(Birthplace::Likely(self.home)),
            Some(parent) if generations > 0 && carries(parent) => self.born(parent, carries, generations - 1),
            Some(parent) => self.told.get(&parent).map_or(Birthplace::Likely(self.home), |&at| Birthplace::Certain(at)),
            None => Birthplace::Likely(self.home),
        }
    }

    fn by_robust_list(&self, child: u32) -> Option<SpaceId> {
        let list = sys::robust_list(child);
        if list == 0 {
            return None;
        }
        let mut places = self.all().filter(|seat| seat.list.contains(&list)).map(|seat| seat.place);
        let first = places.next()?;
        places.all(|at| at == first).then_some(first)
    }

    fn by_thread(&self, child: u32) -> Option<Birthplace> {
        let is_there = |tid: &u32| Task::is_thread(self.process, *tid);
        let mut living: Vec<u32> = self.seats.keys().copied().filter(is_there).collect();
        // Those in rare places first: most often it is one that moved.
        let crowd = |tid: &u32| {
            let at = self.seats.get(tid).map(|seat| seat.place);
            self.seats.values().filter(|seat| Some(seat.place) == at).count()
        };
        living.sort_by_cached_key(crowd);
        let looked = |_| living.iter().copied().find(|&tid| children(self.process, tid).contains(&child));
        let maker = (0..LOOKS).find_map(looked)?;
        let place = self.seats.get(&maker)?.place;
        let first_lives = living.contains(&self.process) && !Task::new(self.process).is_zombie();
        let gone = |tid: u32| !living.contains(&tid) || tid == self.process && !first_lives;
        let none_gone = self.seats.iter().all(|(&tid, seat)| seat.place == place || !gone(tid))
            && self.unborn.iter().all(|seat| seat.place == place);
        // What a thread leaves goes to the first thread, as long as there is one.
        let kept_its_own = first_lives && maker != self.process;
        Some(if none_gone || kept_its_own { Birthplace::Certain(place) } else { Birthplace::Likely(place) })
    }
}

/// The children of a thread.
fn children(tgid: u32, tid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{tgid}/task/{tid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(place: SpaceId, list: u64) -> Seat {
        Seat { place, list: list..list + u64::from(list != 0) }
    }

    fn split(home: SpaceId, pins: &[(u32, SpaceId)]) -> Split {
        let pins = pins.iter().map(|&(tid, at)| (tid, seat(at, 0))).collect();
        Split { pins, ..Split::new(&[], home, SpaceId::new(99)) }
    }

    /// One more thread of this process; it ends when what is returned with its number is dropped.
    fn another() -> (u32, impl Drop) {
        struct End(Option<std::sync::mpsc::Sender<()>>, Option<std::thread::JoinHandle<()>>);
        impl Drop for End {
            fn drop(&mut self) {
                drop(self.0.take());
                self.1.take().map(std::thread::JoinHandle::join);
            }
        }
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(me()).unwrap();
            let _ = wait.recv();
        });
        (told.recv().unwrap(), End(Some(stop), Some(thread)))
    }

    fn me() -> u32 {
        rustix::thread::gettid().as_raw_nonzero().get() as u32
    }

    /// No process has these numbers.
    const FAR: u32 = 1 << 24;

    #[test]
    fn a_process_is_united_when_its_threads_agree_or_exec_ended_the_others() {
        let (a, b) = (SpaceId::new(1), SpaceId::new(2));
        let (first, second, third) = (FAR, FAR + 1, FAR + 2);
        let mut s = split(a, &[(first, a), (second, b)]);
        assert_eq!(s.united(first, &[first, second]), None);
        assert_eq!(s.place(first, third), a);
        s.exec(first, second, b);
        assert_eq!(s.united(first, &[first, second, third]), None);
        assert_eq!(s.united(first, &[first]), Some(b));
        let mut s = split(a, &[(first, a), (second, b)]);
        assert_eq!(s.united(first, &[second]), Some(b));
    }

    #[test]
    fn an_execve_that_failed_is_forgotten() {
        let (a, b) = (SpaceId::new(1), SpaceId::new(2));
        let mut s = split(a, &[(FAR, a), (FAR + 1, b)]);
        s.exec(FAR, FAR + 1, b);
        assert_eq!(s.place(FAR, FAR + 1), b);
        assert_eq!(s.united(FAR, &[FAR]), Some(a));
    }

    #[test]
    fn threads_take_turns_and_the_new_one_is_where_its_maker_is() {
        let process = std::process::id();
        let (a, b) = (SpaceId::new(1), SpaceId::new(2));
        let mut s = Split::new(&Task::threads(process), a, SpaceId::new(99));
        assert!(s.free(process));
        s.make(b, None);
        let (tid, _end) = another();
        assert!(s.free(process), "the new thread ends the turn");
        assert_eq!(s.place(process, tid), b);
    }

    #[test]
    fn a_thread_that_the_list_left_out_is_where_it_was() {
        let process = std::process::id();
        let (a, b) = (SpaceId::new(1), SpaceId::new(2));
        let (tid, end) = another();
        let mut s = split(a, &[(process, a), (tid, b)]);
        s.exec(process, tid, b);
        assert_eq!(s.united(process, &[process]), None);
        assert_eq!(s.place(process, tid), b);
        // Nor is the process united while it has threads that were never seen.
        let mut s = split(a, &[(process, a)]);
        assert_eq!(s.united(process, &[process]), None);
        let mut s = split(a, &[(process, a), (tid, b)]);
        drop(end);
        // Who waits for a thread is told a moment before it is gone.
        while Task::is_thread(process, tid) {
            std::thread::yield_now();
        }
        s.meet(process, &[process]);
        assert_eq!(s.places(), [a]);
    }

    fn mark(process: u32, seats: &[(u32, Seat)]) -> Mark {
        Mark {
            process,
            home: seats[0].1.place,
            seats: seats.iter().cloned().collect(),
            unborn: Vec::new(),
            told: HashMap::new(),
            replaced: None,
        }
    }

    #[test]
    fn where_all_were_in_one_place_their_children_are_from_there() {
        let a = SpaceId::new(1);
        let m = mark(FAR, &[(FAR, seat(a, 0)), (FAR + 1, seat(a, 0))]);
        assert_eq!(m.birthplace(FAR + 7, |_| false), Birthplace::Certain(a));
    }

    #[test]
    fn the_list_of_robust_mutexes_tells_whoever_is_gone() {
        let (a, b) = (SpaceId::new(1), SpaceId::new(2));
        let mine = sys::robust_list(me());
        // Not every libc sets one.
        if mine == 0 {
            return;
        }
        let m = mark(FAR, &[(FAR, seat(a, 1)), (FAR + 1, seat(b, mine))]);
        assert_eq!(m.birthplace(me(), |_| false), Birthplace::Certain(b));
        // The stack was another thread's too.
        let m = mark(FAR, &[(FAR, seat(a, mine)), (FAR + 1, seat(b, mine))]);
        assert_eq!(m.birthplace(me(), |_| false), Birthplace::Likely(a));
        // A thread that ended before it was seen.
        let mut m = mark(FAR, &[(FAR, seat(a, 1))]);
        let tls = mine - 700;
        assert!(!m.knew(tls));
        m.expect(tls, b);
        assert!(m.knew(tls));
        assert_eq!(m.birthplace(me(), |_| false), Birthplace::Certain(b));
    }

    #[test]
    fn the_thread_that_lists_a_child_tells() {
        let process = std::process::id();
        let (a, b) = (SpaceId::new(1), SpaceId::new(2));
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let m = mark(process, &[(process, seat(a, 1)), (me(), seat(b, 2))]);
        let told = children(process, me()).contains(&child.id()).then(|| m.birthplace(child.id(), |_| false));
        child.kill().unwrap();
        child.wait().unwrap();
        // Not every kernel has such lists.
        assert!(told.is_none_or(|told| told == Birthplace::Certain(b)), "{told:?}");
    }

    #[test]
    fn a_mark_is_kept_a_while_and_looked_at_ever_less_often() {
        let a = SpaceId::new(1);
        let mut m = mark(FAR, &[(FAR, seat(a, 0))]);
        let now = Instant::now();
        assert!(!m.is_due(now + KEPT));
        m.replace(now);
        assert!(!m.is_due(now));
        assert!(m.is_due(now + KEPT));
        m.wait(now + KEPT);
        assert!(!m.is_due(now + 2 * KEPT));
        assert!(m.is_due(now + 3 * KEPT));
    }
}
