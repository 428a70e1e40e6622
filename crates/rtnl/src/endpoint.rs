//! The part of a socket that the bus knows: port, groups, options, queue. It holds no reference to its namespace, so
//! that a namespace whose table still lists it can die.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use pernet::Cred;

use crate::dump::Running;
use crate::protocols::Protocol;
use crate::queue::{DEFAULT_BUFFER, Queue, Queued};
use crate::socket::SockAddr;

/// A readiness callback.
pub(crate) type OnReady = Arc<dyn Fn() + Send + Sync>;

/// `NETLINK_*` options that are a yes or no, as bits.
pub(crate) mod flag {
    pub(crate) const PKTINFO: u32 = 1 << 0;
    pub(crate) const BROADCAST_ERROR: u32 = 1 << 1;
    pub(crate) const NO_ENOBUFS: u32 = 1 << 2;
    pub(crate) const LISTEN_ALL_NSID: u32 = 1 << 3;
    pub(crate) const CAP_ACK: u32 = 1 << 4;
    pub(crate) const EXT_ACK: u32 = 1 << 5;
    pub(crate) const STRICT: u32 = 1 << 6;
}

/// Locks without regard to poison: every critical section of this crate leaves its data consistent at each step, and no
/// foreign code runs inside one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Endpoint {
    pub(crate) protocol: Protocol,
    /// Who opened the socket: half of every permission check.
    pub(crate) opener: Cred,
    flags: AtomicU32,
    /// 0 while unbound. Written under the bus lock only.
    portid: AtomicU32,
    bound: AtomicBool,
    /// Bit g-1 for group g. Written under the bus lock only; read without it by `in_group`.
    groups: AtomicU64,
    /// Whether a group was ever named: until then the kernel has no bitmap to show.
    pub(crate) grouped: AtomicBool,
    /// Default destination (`connect`).
    pub(crate) dest: Mutex<SockAddr>,
    /// Largest buffer a receive was called with.
    pub(crate) largest_recv: AtomicUsize,
    pub(crate) send_buffer: AtomicUsize,
    /// The queue lock: last in the order, nothing is called while it is held.
    queue: Mutex<Queue>,
    /// The dump lock: first in the order. Held while a datagram of the dump is produced, so that two receivers continue
    /// it one after the other.
    pub(crate) dump: Mutex<Option<Box<Running>>>,
    pub(crate) dumping: AtomicBool,
    /// What programs know the file by that stands for it; 0 in this process.
    pub(crate) inode: AtomicU64,
    on_ready: RwLock<Option<OnReady>>,
}

impl Endpoint {
    pub(crate) fn new(protocol: Protocol, opener: Cred) -> Self {
        Self {
            protocol,
            opener,
            flags: AtomicU32::new(0),
            portid: AtomicU32::new(0),
            bound: AtomicBool::new(false),
            groups: AtomicU64::new(0),
            grouped: AtomicBool::new(false),
            dest: Mutex::new(SockAddr::default()),
            largest_recv: AtomicUsize::new(0),
            send_buffer: AtomicUsize::new(DEFAULT_BUFFER),
            queue: Mutex::new(Queue::new()),
            dump: Mutex::new(None),
            dumping: AtomicBool::new(false),
            inode: AtomicU64::new(0),
            on_ready: RwLock::new(None),
        }
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags.load(Relaxed) & flag != 0
    }

    pub(crate) fn set(&self, flag: u32, on: bool) {
        if on {
            self.flags.fetch_or(flag, Relaxed);
        } else {
            self.flags.fetch_and(!flag, Relaxed);
        }
    }

    pub(crate) fn portid(&self) -> u32 {
        self.portid.load(Acquire)
    }

    pub(crate) fn addr(&self) -> SockAddr {
        SockAddr { portid: self.portid(), groups: (self.groups() & u64::from(u32::MAX)) as u32 }
    }

    pub(crate) fn bound(&self) -> bool {
        self.bound.load(Acquire)
    }

    /// Under the bus lock.
    pub(crate) fn set_bound(&self, portid: u32) {
        self.portid.store(portid, Release);
        self.bound.store(true, Release);
    }

    pub(crate) fn groups(&self) -> u64 {
        self.groups.load(Relaxed)
    }

    /// Under the bus lock.
    pub(crate) fn set_groups(&self, groups: u64) {
        self.groups.store(groups, Relaxed);
    }

    pub(crate) fn in_group(&self, group: u32) -> bool {
        (1..=64).contains(&group) && self.groups() & (1 << (group - 1)) != 0
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Queues a datagram of the kernel's. A full queue drops it and remembers the overrun. Says whether the caller owes
    /// a [`wake`](Self::wake), which must come after the bus lock is gone.
    pub(crate) fn deliver(&self, item: Queued) -> Delivery {
        let mut queue = self.queue();
        match queue.push(item) {
            Ok(()) => Delivery { accepted: true, wake: true },
            Err(_) => Delivery { accepted: false, wake: queue.dropped(self.has(flag::NO_ENOBUFS)) },
        }
    }

    pub(crate) fn set_on_ready(&self, callback: Option<OnReady>) {
        *self.on_ready.write().unwrap_or_else(PoisonError::into_inner) = callback;
    }

    /// Calls the readiness callback, outside every lock of this crate.
    pub(crate) fn wake(&self) {
        let callback = self.on_ready.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(callback) = callback {
            callback();
        }
    }
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Delivery {
    pub(crate) accepted: bool,
    pub(crate) wake: bool,
}
