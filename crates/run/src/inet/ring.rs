//! Rings of AF_PACKET sockets: memory that a program shares with its socket.
//!
//! A program maps the socket's descriptor.  What it has under that number is the stand-in, which cannot be mapped; the ring
//! is a file in memory.  So for the length of one call that file takes the stand-in's place: it is put there when the
//! mapping is asked for, the kernel maps it, and the program's next trapped call, whatever it is, puts the stand-in back
//! before anything else.  Meanwhile we hold the stand-in open.
//!
//! Whether there is something in the ring, the stand-in shows by a byte that waits in it.  The program does not read that, it
//! looks at the memory, and we are not told; so as long as it is shown, the ring is looked at from time to time. Who asks
//! meanwhile hears that there is something, looks in vain, and may then wait for something with no end (libpcap's
//! `pcap_next_ex` does, when a `select` promised a frame). So for a while after a ring was emptied, a waiting `poll` is
//! woken now and again for nothing, which it always must expect.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pernet_stack::{PacketSocket, RingMemory};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::datagram::{DatagramFd, State};
use crate::listener::Notification;
use crate::sockets::{Emulated, identity};
use crate::sys;
use crate::task::{FileId, Task};
use crate::world::{World, lock};

/// The name of the file, as `/proc/PID/maps` shows it.
const NAME: &str = "pernet-ring";
/// More than this nobody shares.
const LARGEST: usize = 1 << 31;
const PAGE: u64 = 4096;
/// How long after something came a ring is looked at often.
const FRESH: Duration = Duration::from_millis(20);
/// How long after a ring was emptied who waits is woken for nothing, and how often and how long.
const AFTERMATH: Duration = Duration::from_secs(2);
const BEAT: Duration = Duration::from_millis(100);
const KNOCK: Duration = Duration::from_millis(15);

/// A file in memory. It is read and written by calls: the kernel sees to it that whoever has it mapped sees the same.
pub(crate) struct RingFile {
    file: OwnedFd,
    id: FileId,
}

impl RingFile {
    fn new() -> Result<Self, i32> {
        let file = memfd_create(NAME, MemfdFlags::CLOEXEC).map_err(|e| e.raw_os_error())?;
        let id = identity(&file)?;
        Ok(Self { file, id })
    }

    /// Has this process mapped it?
    fn is_mapped_by(&self, task: Task) -> bool {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", task.tid)).unwrap_or_default();
        let inode = self.id.ino.to_string();
        let ours = |line: &str| line.contains(NAME) && line.split_whitespace().nth(4) == Some(inode.as_str());
        maps.lines().any(ours)
    }
}

impl RingMemory for RingFile {
    fn resize(&self, len: usize) -> Result<(), i32> {
        if len > LARGEST {
            return Err(libc::ENOMEM);
        }
        // Of zeros again.
        ftruncate(&self.file, 0).and_then(|()| ftruncate(&self.file, len as u64)).map_err(|_| libc::ENOMEM)
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        // Shorter only beyond the end, where the rest stays as it is: zeros.
        let _ = rustix::io::pread(&self.file, into, at as u64);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        // Without memory for it, it is lost as a frame without room is.
        let _ = rustix::io::pwrite(&self.file, bytes, at as u64);
    }
}

/// A ring's file in the stand-in's place.
struct Swap {
    task: Task,
    tgid: u32,
    number: i32,
    cloexec: bool,
    file: Arc<RingFile>,
    stand_in: OwnedFd,
}

/// The rings of a run that are just being mapped, and what is known of all of them.
#[derive(Default)]
pub(crate) struct Swaps {
    /// There was a ring once.
    any: AtomicBool,
    /// A ring was just shown to have something: its program will look at it soon.
    restless: AtomicBool,
    /// There are some: looked at first, at every call.
    pending: AtomicBool,
    /// A leaf lock.
    list: Mutex<Vec<Swap>>,
}

impl Swaps {
    /// Is a ring to be looked at very soon?
    pub(crate) fn is_restless(&self) -> bool {
        self.restless.load(Ordering::Relaxed)
    }

    /// A program makes a call: where it mapped a ring just before, its stand-in comes back.
    pub(crate) fn undo(&self, notification: &Notification) {
        if !self.pending.load(Ordering::Acquire) {
            return;
        }
        let task = Task::new(notification.call.tid);
        let tgid = task.tgid();
        let mut list = lock(&self.list);
        let (back, wait): (Vec<Swap>, Vec<Swap>) = std::mem::take(&mut *list).into_iter().partition(|swap| {
            // Another thread's mapping may not be made yet; the thread itself comes here after it.
            swap.task == task || Some(swap.tgid) == tgid && swap.file.is_mapped_by(task)
        });
        *list = wait;
        // Who ended, or went on under another number, comes never again.
        list.retain(|swap| swap.task.file(swap.number) == Some(swap.file.id));
        self.pending.store(!list.is_empty(), Ordering::Release);
        drop(list);
        for swap in back {
            // The program may have closed it, and put another there.
            if task.file(swap.number) == Some(swap.file.id) {
                let _ = notification.add_fd(swap.stand_in.as_fd(), Some(swap.number), swap.cloexec);
            }
        }
    }

    fn add(&self, swap: Swap) {
        lock(&self.list).push(swap);
        self.pending.store(true, Ordering::Release);
    }
}

/// Is the descriptor closed by `execve`?
fn is_cloexec(task: Task, number: i32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{number}", task.tid)).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok()).unwrap_or(0);
    flags & libc::O_CLOEXEC != 0
}

/// `mmap` of the beginning of a file that others shall see changes of.
pub(crate) fn map(world: &World, notification: Notification) {
    let call = notification.call;
    let (task, number) = (Task::new(call.tid), call.int(4));
    let any = world.swaps.any.load(Ordering::Acquire);
    let found = if any { world.sockets.find(task, number) } else { None };
    let Some(Emulated::Datagram(socket)) = found else {
        notification.proceed();
        return;
    };
    let Some((file, len)) = socket.ring() else {
        notification.errno(libc::EINVAL);
        return;
    };
    if call.args[1].next_multiple_of(PAGE) != len as u64 || call.args[5] != 0 {
        notification.errno(libc::EINVAL);
        return;
    }
    let cloexec = is_cloexec(task, number);
    let stand_in = match world.copy_fd(task, number, socket.id()) {
        Ok(stand_in) => stand_in,
        Err(e) => {
            notification.errno(e);
            return;
        }
    };
    match notification.add_fd(file.file.as_fd(), Some(number), cloexec) {
        Ok(_) => {
            let tgid = task.tgid().unwrap_or(task.tid);
            // Before the call goes on: its thread's next one finds it.
            world.swaps.add(Swap { task, tgid, number, cloexec, file, stand_in });
            notification.proceed();
        }
        Err(e) => {
            notification.errno(e);
        }
    }
}

/// Is who waits to be woken, so long after the ring was emptied?
fn knocks(since: Duration) -> bool {
    since.as_micros() % BEAT.as_micros() >= (BEAT - KNOCK).as_micros()
}

impl DatagramFd {
    /// The file that its rings are, and their length.
    fn ring(&self) -> Option<(Arc<RingFile>, usize)> {
        let len = self.core.packet().map(PacketSocket::ring_len).filter(|&len| len > 0)?;
        Some((lock(&self.ring_file).clone()?, len))
    }

    /// A ring is asked for: there is memory for it, and none that is in use.
    ///
    /// # Errors
    /// EBUSY if the program has mapped it, errno of making it.
    pub(super) fn prepare_ring(&self, world: &World, task: Task, name: i32) -> Result<(), i32> {
        let Some(socket) = self.core.packet().filter(|_| PacketSocket::is_ring_option(name)) else { return Ok(()) };
        let mut file = lock(&self.ring_file);
        match &*file {
            Some(file) if file.is_mapped_by(task) => return Err(libc::EBUSY),
            Some(_) => {}
            None => {
                let made = Arc::new(RingFile::new()?);
                socket.share(made.clone());
                *file = Some(made);
                world.swaps.any.store(true, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Lets `poll` see whether there is something in the ring.
    pub(super) fn show_ring(&self, world: &World, state: &mut State) {
        let Some(readable) = self.core.packet().and_then(PacketSocket::ring_readable) else { return };
        if readable {
            state.ring_emptied = None;
        } else if state.ring_shown.is_some() {
            state.ring_emptied = Some(Instant::now());
        } else {
            state.ring_emptied = state.ring_emptied.filter(|since| since.elapsed() < AFTERMATH);
        }
        let show = readable || state.ring_emptied.is_some_and(|since| knocks(since.elapsed()));
        let shown = sys::unread_by_peer(self.supervisor_end()) > 0;
        if show && !shown {
            let _ = sys::send_datagram(self.supervisor_end(), &[0]);
        } else if !show && shown {
            let Some(last) = state.last else { return };
            let taken = self.with_last_end(world, last, |app: BorrowedFd<'_>| {
                let _ = sys::recv_datagram(app, &mut [0], false);
            });
            // Elsewhere the descriptor has another number, and the program looks in vain.
            let _ = taken;
        }
        let begins = readable && state.ring_shown.is_none();
        state.ring_shown = if readable { state.ring_shown.or_else(|| Some(Instant::now())) } else { None };
        let fresh = state.ring_shown.is_some_and(|since| since.elapsed() < FRESH);
        world.swaps.restless.store(fresh, Ordering::Relaxed);
        if begins {
            // The main thread waits for less from now on.
            world.sockets.watch(self.id(), &world.reactor);
            world.reactor.wake();
        }
    }
}
