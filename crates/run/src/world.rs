//! Everything one run knows, shared by the threads that answer its programs.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};

use pernet::{Cred, Event, EventSink, Namespaces, NetRef};
use pernet_rtnl::{Client, PeerError, Rtnetlink};
use pernet_stack::{Stack, TcpUser};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use crate::descriptors::refusal;
use crate::handle;
use crate::paths::Binds;
use crate::reactor::Reactor;
use crate::replay::{Busy, Replay};
use crate::sockets::{Emulated, Sockets, identity};
use crate::spaces::Spaces;
use crate::sys::errno_of;
use crate::task::{FileId, Task, pidfd_of};
use crate::users::Users;
use crate::vfs::Vfs;

/// One emulated system and the programs in it.
///
/// Lock order: a socket's own lock → `binds` → `spaces` → the core's locks.  `sockets`, `users`, `busy`
/// and `helped` are leaves; `tracing` comes before all.  While a call is answered, only a receive's own socket's lock and,
/// where signals interrupt calls, `replay` are held: see there.
pub(crate) struct World {
    /// This, for who comes back later.
    pub(crate) me: Weak<Self>,
    /// The namespaces.
    pub(crate) namespaces: Namespaces,
    /// Their devices.
    pub(crate) stack: Stack,
    /// Their netlink sockets.
    pub(crate) rtnl: Rtnetlink,
    /// Who is where.
    pub(crate) spaces: Mutex<Spaces>,
    /// Namespaces bound to paths.
    pub(crate) binds: Mutex<Binds>,
    /// Sockets that we stand in for.
    pub(crate) sockets: Sockets,
    /// How their ends are connected.
    pub(crate) switchboard: crate::inet::stream::Switchboard,
    /// Where our ends of connections are that this table has no room for.
    pub(crate) annexes: crate::annex::Annexes,
    /// When joined ends are closed; `None` if the run's connections are not to be joined.
    pub(crate) closings: Option<Arc<crate::closings::Closings>>,
    /// Packet sockets' memory on its way into programs.
    pub(crate) swaps: crate::inet::ring::Swaps,
    /// Names of AF_UNIX sockets.
    pub(crate) unix: crate::unix::Names,
    /// Privileges.
    pub(crate) users: Arc<Users>,
    /// Private directories behind virtual ones.
    pub(crate) vfs: Vfs,
    /// Virtual files that are open for writing.
    pub(crate) knobs: crate::knobs::Knobs,
    /// Answers that a signal kept from their caller.
    pub(crate) replay: Mutex<Replay>,
    /// Whose call is being acted upon, where a call can be repeated meanwhile.
    pub(crate) busy: Busy,
    /// What the main thread waits for.
    pub(crate) reactor: Arc<Reactor>,
    /// Threads whose `unshare` is being repeated: it is the kernel's.  A leaf lock.
    pub(crate) helped: Mutex<HashSet<u32>>,
    /// Read while a thread of ours traces a task, as any number may; who reaps any child writes: it would take their stops
    /// away, and only ever tries.
    pub(crate) tracing: RwLock<()>,
    /// A waiting call is interrupted by fatal signals only; else by any.
    pub(crate) killable: bool,
    /// pidfd_getfd(2) works (a container's filter may refuse it).
    pub(crate) can_getfd: AtomicBool,
}

/// A lock's content, whatever a panicking thread left: every update here is small and leaves no half-state.
pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same, for one of many readers.
pub(crate) fn shared<T>(l: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    l.read().unwrap_or_else(PoisonError::into_inner)
}

/// The main thread looks at it; and what lies in the program's end is counted where the stack lists its sockets.
impl TcpUser for World {
    fn ready(&self, inode: u64) {
        self.sockets.notify_inode(inode, &self.reactor);
    }

    fn outside(&self, inode: u64) -> (usize, usize) {
        match self.sockets.by_inode(inode) {
            Some((_, Emulated::Stream(stream))) => stream.outside(self),
            _ => (0, 0),
        }
    }
}

impl World {
    /// A copy of descriptor `fd` of a task, sharing its open file, if it is still the file `expected`: another thread may
    /// have put another there since we looked.
    ///
    /// # Errors
    /// EBADF if it is not open there, EPERM where the machine refuses such copies.
    pub(crate) fn copy_fd(&self, task: Task, fd: i32, expected: FileId) -> Result<OwnedFd, i32> {
        let copy = self.copy_any_fd(task, fd)?;
        if identity(&copy)? == expected { Ok(copy) } else { Err(libc::EBADF) }
    }

    /// As [`Self::copy_fd`], whatever it is.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn copy_any_fd(&self, task: Task, fd: i32) -> Result<OwnedFd, i32> {
        if !self.can_getfd.load(Ordering::Relaxed) {
            return Err(libc::EPERM);
        }
        // By no number: of what was just accepted it is not known yet.
        if fd < 0 {
            return Err(libc::EBADF);
        }
        let copy = handle::ask(task, |pidfd| Ok(pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())?));
        copy.map_err(|e| match errno_of(&e) {
            libc::EPERM | libc::ENOSYS => libc::EPERM,
            e => refusal(e),
        })
    }

    /// The namespace a task is in now.
    ///
    /// # Errors
    /// ESRCH for a task that is not of this run.
    pub(crate) fn net_of(&self, task: Task) -> Result<NetRef, i32> {
        lock(&self.spaces).net_of_task(task).ok_or(libc::ESRCH)
    }

    /// The namespace that a descriptor of a task is a file of, if it is one.
    pub(crate) fn net_of_file(&self, task: Task, fd: i32) -> Option<NetRef> {
        let file = task.file(fd)?;
        let spaces = lock(&self.spaces);
        spaces.net(spaces.by_file(file)?)
    }

    /// Runs teardown rounds until nothing waits.  Called by the main thread only.
    pub(crate) fn tear_down(&self) {
        while self.namespaces.step().more {}
    }
}

/// A task as a netlink client: its credentials, and what its numbers mean.
pub(crate) struct TaskClient<'w> {
    /// The run.
    pub(crate) world: &'w World,
    /// Who sends.
    pub(crate) task: Task,
}

impl Client for TaskClient<'_> {
    fn cred(&self) -> Cred {
        self.world.users.cred(self.task)
    }

    fn tgid(&self) -> u32 {
        let tgid = self.task.tgid().unwrap_or(self.task.tid);
        self.task.pid_inside(tgid)
    }

    fn net_by_pid(&self, pid: i32) -> Result<NetRef, PeerError> {
        let tid = self.task.translate_pid(pid).ok_or(PeerError::NoSuchProcess)?;
        let target = Task::new(tid);
        // A zombie has let go of its namespace although the process table still shows it.
        if pidfd_of(tid).is_some_and(|fd| crate::task::has_exited(&fd)) {
            return Err(PeerError::NoSuchProcess);
        }
        if !std::path::Path::new(&format!("/proc/{tid}")).exists() {
            return Err(PeerError::NoSuchProcess);
        }
        let mut spaces = lock(&self.world.spaces);
        if let Some(net) = spaces.net_of_task(target) {
            return Ok(net);
        }
        // A process of the machine that is not of this run, as the first one: for a program here it is where the run
        // began, as it would be if that were the machine's own namespace (`ip link set DEV netns 1`).
        let first = spaces.first();
        spaces.net(first).ok_or(PeerError::NoSuchProcess)
    }

    fn net_by_fd(&self, fd: i32) -> Result<NetRef, PeerError> {
        if self.task.file(fd).is_none() || self.task.is_path_fd(fd) {
            return Err(PeerError::BadFd);
        }
        self.world.net_of_file(self.task, fd).ok_or(PeerError::NotNetns)
    }
}

/// Wakes the main loop when a namespace dies, so that its file and number go too.
pub(crate) struct Deaths {
    /// Cookies of the dead, taken by the main loop.  A leaf lock: it may be taken inside the core's critical sections.
    pub(crate) dead: Mutex<Vec<u64>>,
    reactor: Arc<Reactor>,
}

impl Deaths {
    /// Reports to this reactor.
    pub(crate) fn new(reactor: Arc<Reactor>) -> Self {
        Self { dead: Mutex::new(Vec::new()), reactor }
    }
}

impl EventSink for Deaths {
    fn emit(&self, event: &Event<'_>) {
        if let Event::NetDead { net } = event {
            lock(&self.dead).push(net.cookie().get());
            self.reactor.wake();
        }
    }
}

/// A directory of the kernel's, as a path for error messages.
pub(crate) fn proc_path(task: Task, rest: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{rest}", task.tid))
}
