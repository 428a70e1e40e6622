//! The table of sockets that we stand in for, by the identity of the open file.
//!
//! A descriptor's number says nothing: it is copied, passed on and reused.  The inode of the stand-in socket is the
//! same through `dup`, `fork`, `exec` and SCM_RIGHTS, and `/proc/TID/fd/N` shows it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use pernet::NetRef;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, socketpair};

use crate::control::ControlFd;
use crate::descriptors::{lasting, refusal};
use crate::inet::datagram::DatagramFd;
use crate::inet::stream::StreamFd;
use crate::netlink::NetlinkFd;
use crate::reactor::Reactor;
use crate::task::{FileId, Task, numbers};
use crate::tun::TunFd;
use crate::waited_on::WaitedOn;
use crate::world::{World, lock};

/// A socket of a program that exists only here.
#[derive(Clone)]
pub(crate) enum Emulated {
    /// AF_NETLINK.
    Netlink(Arc<NetlinkFd>),
    /// AF_INET, AF_INET6, with connections.
    Stream(Arc<StreamFd>),
    /// AF_INET, AF_INET6, AF_PACKET, without.
    Datagram(Arc<DatagramFd>),
    /// The channel of `pernet ns`.
    Control(Arc<ControlFd>),
    /// A file of /dev/net/tun.
    Tun(Arc<TunFd>),
    /// A real AF_UNIX socket, known for the namespace that it keeps alive.
    Unix(NetRef),
}

/// The sockets of a run.
pub(crate) struct Sockets {
    /// A leaf lock.
    table: RwLock<HashMap<FileId, Emulated>>,
    /// Program ends that close silently, watched for nothing but their presence: the kernel drops an entry when the last
    /// copy of the socket is closed, wherever that was.
    present: OwnedFd,
    /// How often in a row a sweep has not found a socket that we keep a copy of.  A leaf lock.
    missed: Mutex<HashMap<FileId, u32>>,
    /// Netlink sockets with something to move.  A leaf lock: it is taken inside the core's critical sections.
    ready: Arc<Mutex<Vec<FileId>>>,
    /// Whether a file of /dev/net/tun was ever opened.
    any_tun: AtomicBool,
    /// Some socket may be closed without a word: set by whoever makes one so, taken back by a sweep that finds none.
    silent: AtomicBool,
    /// Sockets on which somebody waits whom only the clock, or a look, can release. A leaf lock.
    waited_on: Mutex<WaitedOn>,
    /// Where the kernel keeps sockets (`st_dev`).
    dev: OnceLock<u64>,
}

thread_local! {
    /// This thread will look at the ready list before it waits: no need to wake the main loop.
    static WILL_LOOK: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// Tasks and numbers of sockets that this thread was asked about, each in the place that its sum gives it.
    static ASKED: std::cell::Cell<[(u32, i32); ASKED_PLACES]> = const { std::cell::Cell::new([(0, 0); ASKED_PLACES]) };
}

/// Who asks and who answers, and some more of them.
const ASKED_PLACES: usize = 16;

impl Sockets {
    /// None yet.
    ///
    /// # Errors
    /// Running out of descriptors.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            table: RwLock::default(),
            present: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            missed: Mutex::default(),
            ready: Arc::default(),
            any_tun: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            waited_on: Mutex::default(),
            dev: OnceLock::new(),
        })
    }

    /// The emulated socket behind a task's descriptor; `None` if it is something else.
    pub(crate) fn find(&self, task: Task, fd: i32) -> Option<Emulated> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if table.is_empty() {
            return None;
        }
        drop(table);
        self.get(task.file(fd)?)
    }

    /// As [`Self::find`], for calls that programs make again and again on one socket: then a copy of the descriptor tells
    /// what it is at half the cost of its name in /proc, and the call will want one.  Only then, and of calls that always
    /// want one of a socket (`wanted`): what else is open is not to be held open by us.
    ///
    /// A number proves nothing: the copy is judged by what it is.  It is closed before the call is answered, see
    /// [`crate::caller::Caller::of`].
    pub(crate) fn find_again(
        &self,
        world: &World,
        task: Task,
        fd: i32,
        wanted: bool,
    ) -> Option<(Emulated, Option<OwnedFd>)> {
        // Threads of one program have numbers next to each other, and so have its sockets: a sum would meet another's.
        let place = task.tid.wrapping_mul(11).wrapping_add(fd.cast_unsigned()) as usize % ASKED_PLACES;
        let mut asked = ASKED.get();
        if (wanted || asked[place] == (task.tid, fd))
            && let Ok(copy) = world.copy_any_fd(task, fd)
            && let Ok(id) = identity(&copy)
        {
            let found = self.get(id)?;
            if found.is_socket() {
                return Some((found, Some(copy)));
            }
        }
        let found = self.find(task, fd);
        asked[place] = if found.as_ref().is_some_and(Emulated::is_socket) { (task.tid, fd) } else { (0, 0) };
        ASKED.set(asked);
        Some((found?, None))
    }

    /// The emulated socket of this identity.
    pub(crate) fn get(&self, id: FileId) -> Option<Emulated> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The emulated socket with this inode number.
    pub(crate) fn by_inode(&self, ino: u64) -> Option<(FileId, Emulated)> {
        // All sockets are of one device of the kernel's.
        let id = FileId { dev: *self.dev.get()?, ino };
        Some((id, self.get(id)?))
    }

    /// Puts the socket with this inode number on the ready list.
    pub(crate) fn notify_inode(&self, ino: u64, reactor: &Reactor) {
        if let Some(&dev) = self.dev.get() {
            self.notify(FileId { dev, ino }, reactor);
        }
    }

    /// Everything, to be asked with the table free: who moves bytes of a connection has that locked and looks here for
    /// its peer.
    fn all(&self) -> Vec<(FileId, Emulated)> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.iter().map(|(&id, e)| (id, e.clone())).collect()
    }

    /// Takes in a new socket.
    pub(crate) fn insert(&self, id: FileId, socket: Emulated) {
        let _ = self.dev.set(id.dev);
        self.table.write().unwrap_or_else(PoisonError::into_inner).insert(id, socket);
    }

    /// Takes in a new socket whose end nobody reports; `app` is the program's end, not yet in the program.
    ///
    /// # Errors
    /// errno of watching it.
    pub(crate) fn insert_silent(
        &self,
        id: FileId,
        socket: Emulated,
        app: &OwnedFd,
        reactor: &Reactor,
    ) -> Result<(), i32> {
        epoll::add(&self.present, app, epoll::EventData::new_u64(id.ino), epoll::EventFlags::empty())
            .map_err(|e| e.raw_os_error())?;
        self.insert(id, socket);
        self.becomes_silent(reactor);
        Ok(())
    }

    /// The inode numbers of the ends that are still open anywhere, in flight between two programs included.
    fn present(&self) -> HashSet<u64> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.present.as_raw_fd())).unwrap_or_default();
        let data = |line: &str| u64::from_str_radix(line.split("data:").nth(1)?.split_whitespace().next()?, 16).ok();
        info.lines().filter(|l| l.starts_with("tfd:")).filter_map(data).collect()
    }

    /// The program's last descriptor is gone.
    pub(crate) fn remove(&self, id: FileId) -> Option<Emulated> {
        self.table.write().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    /// A callback for a netlink socket that puts it on the ready list; it takes no other lock.  `listed`: it is there, and
    /// nobody has looked at the socket since.
    pub(crate) fn notifier(
        &self,
        id: FileId,
        listed: Arc<AtomicBool>,
        reactor: Arc<Reactor>,
    ) -> Arc<dyn Fn() + Send + Sync> {
        let ready = self.ready.clone();
        Arc::new(move || {
            if !listed.swap(true, Ordering::AcqRel) {
                lock(&ready).push(id);
            }
            if !WILL_LOOK.get() {
                reactor.wake();
            }
        })
    }

    /// A callback that puts a socket on the ready list each time; it takes no other lock.
    pub(crate) fn alarm(&self, id: FileId, reactor: Arc<Reactor>) -> Arc<dyn Fn() + Send + Sync> {
        let ready = self.ready.clone();
        Arc::new(move || {
            lock(&ready).push(id);
            if !WILL_LOOK.get() {
                reactor.wake();
            }
        })
    }

    /// Puts a socket on the ready list.
    pub(crate) fn notify(&self, id: FileId, reactor: &Reactor) {
        lock(&self.ready).push(id);
        if !WILL_LOOK.get() {
            reactor.wake();
        }
    }

    /// Runs `f`; what becomes ready meanwhile is taken by this thread's own [`Self::take_ready`] afterwards.
    pub(crate) fn looking_after<T>(f: impl FnOnce() -> T) -> T {
        struct Before(bool);
        impl Drop for Before {
            fn drop(&mut self) {
                WILL_LOOK.set(self.0);
            }
        }
        // A panic that is caught further out must not leave a thread that says it will look.
        let _before = Before(WILL_LOOK.replace(true));
        f()
    }

    /// Is this thread in [`Self::looking_after`]?
    pub(crate) fn will_look() -> bool {
        WILL_LOOK.get()
    }

    /// Takes the ready list.
    pub(crate) fn take_ready(&self) -> Vec<FileId> {
        let mut ready = std::mem::take(&mut *lock(&self.ready));
        ready.dedup();
        ready
    }

    /// Some socket may from now on be closed without a word.
    pub(crate) fn becomes_silent(&self, reactor: &Reactor) {
        // The main loop may be waiting without a limit: from now on it has to look.
        if !self.silent.swap(true, Ordering::AcqRel) {
            reactor.wake();
        }
    }

    /// May there be sockets whose end nobody reports: those without a connected pair, and all of them where we must keep a
    /// copy of the program's end?  True if a periodic [`Self::sweep`] is needed.
    pub(crate) fn needs_sweeping(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }

    /// As [`Self::sweep`], for who is to be shown what is there: not where that would take long.
    pub(crate) fn sweep_soon(&self) {
        /// Looking at so many takes less than a millisecond.
        const FEW: usize = 200;
        let few = self.table.read().unwrap_or_else(PoisonError::into_inner).len() <= FEW;
        if few && self.all().iter().any(|(_, e)| e.closes_silently()) {
            self.sweep(2);
        }
    }

    /// Drops the sockets that no program has open any more.
    ///
    /// Where we keep a copy ourselves, the kernel cannot tell: then /proc is looked through, where a socket on its way
    /// to its program, or between two, is open nowhere for a moment.  So it takes `misses` looks in a row.
    /// True if some of those that close silently are still there.
    pub(crate) fn sweep(&self, misses: u32) -> bool {
        let mut silent: Vec<FileId> = Vec::new();
        let mut kept: Vec<FileId> = Vec::new();
        for (id, e) in self.all() {
            match (e.closes_silently(), e.is_kept()) {
                (true, true) => kept.push(id),
                (true, false) => silent.push(id),
                (false, _) => {}
            }
        }
        let silent_ones = silent.len() + kept.len();
        let mut gone = Vec::new();
        if !silent.is_empty() {
            let present = self.present();
            gone.extend(silent.into_iter().filter(|id| !present.contains(&id.ino)));
        }
        if !kept.is_empty() {
            let open = open_sockets();
            let mut missed = lock(&self.missed);
            missed.retain(|id, _| kept.contains(id) && !open.contains(&id.ino));
            for id in kept.into_iter().filter(|id| !open.contains(&id.ino)) {
                let times = missed.entry(id).or_insert(0);
                *times += 1;
                if *times >= misses {
                    gone.push(id);
                }
            }
        }
        let some_stay = silent_ones > gone.len();
        // Out of the table first, dropped outside its lock: the drop may end a namespace.
        for id in gone {
            drop(self.remove(id));
        }
        some_stay
    }

    /// Makes something that takes a descriptor of ours. If there is none, those of sockets that were closed without a word
    /// are taken back first. Who calls this holds no socket's lock.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn with_room<T>(&self, make: impl Fn() -> Result<T, i32>) -> Result<T, i32> {
        for _ in 0..3 {
            match make() {
                Err(libc::ENFILE) => {}
                made => return made,
            }
            self.sweep(1);
            // The others go when the main loop hears of it.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        make()
    }

    /// As [`Self::sweep`], for the main loop, which also learns whether it has to look again.
    pub(crate) fn sweep_all(&self, misses: u32) {
        // What becomes silent while we look says so again: the store comes first. The main loop itself, who alone waits by
        // what is said here, does not see it in between.
        self.silent.store(false, Ordering::Release);
        if self.sweep(misses) {
            self.silent.store(true, Ordering::Release);
        }
    }

    /// Drops netlink sockets that were closed, before their end is reported: a port that a program has just let go
    /// of is free for its next call.
    pub(crate) fn reap_closed(&self, world: &World) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let netlink: Vec<(FileId, Arc<NetlinkFd>)> = table
            .iter()
            .filter_map(|(&id, e)| if let Emulated::Netlink(n) = e { Some((id, n.clone())) } else { None })
            .collect();
        drop(table);
        let mut fds: Vec<PollFd<'_>> =
            netlink.iter().map(|(_, n)| PollFd::from_borrowed_fd(n.supervisor_end(), PollFlags::empty())).collect();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut fds, Some(&now)).unwrap_or(0) == 0 {
            return;
        }
        let closed: Vec<FileId> = fds
            .iter()
            .zip(&netlink)
            .filter(|(fd, _)| fd.revents().contains(PollFlags::HUP))
            .map(|(_, (id, _))| *id)
            .collect();
        drop(fds);
        for id in closed {
            // What was sent before the close is still to be done.
            if let Some(Emulated::Netlink(n)) = self.remove(id) {
                n.pump(world);
            }
        }
    }

    /// Takes in a new file of /dev/net/tun.
    pub(crate) fn insert_tun(&self, id: FileId, file: Arc<TunFd>) {
        self.insert(id, Emulated::Tun(file));
        self.any_tun.store(true, Ordering::Release);
    }

    /// Takes away the devices of files of /dev/net/tun that were closed, before their end is reported: who closed one
    /// finds its device gone with the next call.
    pub(crate) fn reap_tuns(&self, world: &World) {
        if !self.any_tun.load(Ordering::Acquire) {
            return;
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let tun = |(&id, e): (&FileId, &Emulated)| if let Emulated::Tun(t) = e { Some((id, t.clone())) } else { None };
        let files: Vec<(FileId, Arc<TunFd>)> = table.iter().filter_map(tun).collect();
        drop(table);
        let mut fds: Vec<PollFd<'_>> =
            files.iter().map(|(_, t)| PollFd::from_borrowed_fd(t.supervisor_end(), PollFlags::empty())).collect();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut fds, Some(&now)).unwrap_or(0) == 0 {
            return;
        }
        for (fd, (id, _)) in fds.iter().zip(&files) {
            if fd.revents().contains(PollFlags::HUP)
                && let Some(Emulated::Tun(file)) = self.remove(*id)
            {
                file.close(world);
            }
        }
    }

    /// Somebody waits whom only the clock, or a look, can release.
    pub(crate) fn has_watched(&self) -> bool {
        !lock(&self.waited_on).is_empty()
    }

    /// A call waits on this socket: its caller's signals and its deadline are to be looked at.
    ///
    /// The main thread is woken by the first only.  As long as there is one, it comes to look after a while by itself: it
    /// alone takes out what is here, puts back what waits still, and asks whether there is any before it sleeps.
    pub(crate) fn watch(&self, id: FileId, reactor: &Reactor) {
        let mut waited_on = lock(&self.waited_on);
        let first = waited_on.is_empty();
        waited_on.insert(id);
        drop(waited_on);
        if first {
            // A wake-up of the main thread by itself goes nowhere.
            reactor.wake_by(Duration::ZERO);
        }
    }

    /// Answers calls whose deadline has come, or whose caller a signal waits for.
    pub(crate) fn serve_watched(&self, world: &Arc<World>) {
        let waited_on = lock(&self.waited_on).take();
        for (id, since) in waited_on {
            match self.get(id) {
                // Those who still wait put it back.
                Some(Emulated::Stream(s)) if s.look(world) => drop(self.remove(id)),
                Some(Emulated::Stream(_)) => {}
                Some(socket) if socket.has_watched(world) => {
                    socket.look(world);
                    if socket.has_watched(world) {
                        lock(&self.waited_on).put_back(id, since);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Emulated {
    /// Does somebody wait on it whom only the clock, or a look, can release?
    fn has_watched(&self, world: &World) -> bool {
        match self {
            Self::Netlink(n) => n.has_watched(world),
            Self::Datagram(d) => d.has_watched(world),
            _ => false,
        }
    }

    /// Moves what can be moved, both ways.
    pub(crate) fn pump(&self, world: &World) {
        match self {
            Self::Netlink(n) => n.pump(world),
            Self::Datagram(d) => d.pump(world),
            Self::Tun(t) => t.pump(world),
            _ => {}
        }
    }

    /// The same, and looks whether those who wait on it may still.
    fn look(&self, world: &World) {
        match self {
            Self::Datagram(d) => d.look(world),
            other => other.pump(world),
        }
    }

    /// Is it one whose calls want the program's end?
    fn is_socket(&self) -> bool {
        matches!(self, Self::Netlink(_) | Self::Stream(_) | Self::Datagram(_))
    }

    /// Do we keep a copy of the program's end?
    fn is_kept(&self) -> bool {
        match self {
            Self::Netlink(n) => n.keeps_app_end(),
            Self::Stream(s) => s.kept().is_some(),
            Self::Datagram(d) => d.kept().is_some(),
            Self::Control(_) | Self::Unix(_) | Self::Tun(_) => false,
        }
    }

    fn closes_silently(&self) -> bool {
        match self {
            Self::Netlink(n) => n.keeps_app_end(),
            Self::Stream(s) => s.closes_silently(),
            Self::Datagram(_) | Self::Unix(_) => true,
            Self::Control(_) | Self::Tun(_) => false,
        }
    }
}

/// Inode numbers of all sockets open in processes that we may look into, ourselves excepted.
fn open_sockets() -> HashSet<u64> {
    let me = std::process::id();
    let mut open = HashSet::new();
    for pid in numbers("/proc").into_iter().filter(|&p| p != me) {
        open.extend(Task::new(pid).sockets());
    }
    open
}

/// A socket to hand to a program, and our end of it.
pub(crate) struct Pair {
    /// Goes to the program.
    pub(crate) app: OwnedFd,
    /// Stays here.
    pub(crate) supervisor: OwnedFd,
    /// What the program's end is.
    pub(crate) id: FileId,
}

fn flags(nonblocking: bool) -> SocketFlags {
    SocketFlags::CLOEXEC | if nonblocking { SocketFlags::NONBLOCK } else { SocketFlags::empty() }
}

/// The identity of a descriptor of ours.
///
/// # Errors
/// errno of fstat.
pub(crate) fn identity(fd: impl AsFd) -> Result<FileId, i32> {
    let st = rustix::fs::fstat(fd).map_err(|e| e.raw_os_error())?;
    Ok(FileId { dev: st.st_dev, ino: st.st_ino })
}

/// A connected pair that keeps message boundaries and tells each end when the other is closed.
///
/// # Errors
/// errno of making it.
pub(crate) fn message_pair(nonblocking: bool) -> Result<Pair, i32> {
    let (app, supervisor) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags(nonblocking), None)
        .map_err(|e| refusal(e.raw_os_error()))?;
    let (id, supervisor) = (identity(&app)?, lasting(supervisor)?);
    Ok(Pair { app, supervisor, id })
}

/// A connected pair of datagram sockets: nothing tells that the other end was closed but the refusal of what is sent there.
///
/// # Errors
/// errno of making it.
pub(crate) fn datagram_pair(nonblocking: bool) -> Result<Pair, i32> {
    let (app, supervisor) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags(nonblocking), None)
        .map_err(|e| refusal(e.raw_os_error()))?;
    let (id, supervisor) = (identity(&app)?, lasting(supervisor)?);
    Ok(Pair { app, supervisor, id })
}

/// An unconnected socket, whose readiness is that of a fresh one of the emulated kind.
///
/// # Errors
/// errno of making it.
pub(crate) fn lone_socket(stream: bool, nonblocking: bool) -> Result<(OwnedFd, FileId), i32> {
    let kind = if stream { SocketType::STREAM } else { SocketType::DGRAM };
    let fd = socket_with(AddressFamily::UNIX, kind, flags(nonblocking), None).map_err(|e| refusal(e.raw_os_error()))?;
    let id = identity(&fd)?;
    Ok((fd, id))
}

/// A real AF_UNIX socket as a program asked for it.
///
/// # Errors
/// errno of `socket`.
pub(crate) fn unix_of(ty: i32, protocol: i32, nonblocking: bool) -> Result<(OwnedFd, FileId), i32> {
    // AF_UNIX takes its own number as a protocol too, and no other.
    if protocol != 0 && protocol != libc::AF_UNIX {
        return Err(libc::EPROTONOSUPPORT);
    }
    let kind = SocketType::from_raw(ty as u32);
    let fd = socket_with(AddressFamily::UNIX, kind, flags(nonblocking), None).map_err(|e| refusal(e.raw_os_error()))?;
    let id = identity(&fd)?;
    Ok((fd, id))
}
