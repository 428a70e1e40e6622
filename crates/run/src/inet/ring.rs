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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
/// How long after a ring was emptied who waits is woken for nothing, each time after twice as long, and at last after this.
/// The moments fall between those that programs wait for: whole tenths of a second.
const FIRST_KNOCK: Duration = Duration::from_millis(10);
const LAST_KNOCK: Duration = Duration::from_millis(2560);
/// How long that is shown: who waits is woken by its beginning, and who asks meanwhile is misled, so no longer than it takes
/// to look again.
const KNOCK: Duration = Duration::from_millis(1);

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
    /// Until when a ring is to be looked at often, in microseconds since `began`: of the one that needs it longest.
    restless: AtomicU64,
    began: Began,
    /// There are some: looked at first, at every call.
    pending: AtomicBool,
    /// A leaf lock.
    list: Mutex<Vec<Swap>>,
}

/// When the run began.
struct Began(Instant);

impl Default for Began {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Swaps {
    /// Is a ring to be looked at very soon?
    pub(crate) fn is_restless(&self) -> bool {
        self.restless.load(Ordering::Relaxed) > self.micros(Instant::now())
    }

    /// A ring is to be looked at often until then.
    fn look_often(&self, until: Instant) {
        self.restless.fetch_max(self.micros(until), Ordering::Relaxed);
    }

    fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.began.0).as_micros() as u64
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

/// What `poll` hears of a ring, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hint {
    #[default]
    Empty,
    Frames {
        since: Instant,
    },
    /// It was emptied, and who waits may have been told of frames before that: woken for nothing at `knock`, `pause` after
    /// the last time.
    Emptied {
        pause: Duration,
        knock: Instant,
    },
}

impl Hint {
    /// Whether there is anything to look after.
    pub(super) fn is_watched(self) -> bool {
        self != Self::Empty
    }

    /// What it is next, and whether that shows as something to read, which is so now if `shown`.
    fn next(self, readable: bool, shown: bool, now: Instant) -> (Self, bool) {
        match self {
            Self::Frames { .. } if readable => (self, true),
            _ if readable => (Self::Frames { since: now }, true),
            Self::Empty => (Self::Empty, false),
            Self::Frames { .. } => (Self::Emptied { pause: FIRST_KNOCK, knock: now + FIRST_KNOCK }, false),
            Self::Emptied { knock, .. } if now < knock => (self, false),
            // However late it is looked at, it begins now.
            Self::Emptied { pause, .. } if !shown => (Self::Emptied { pause, knock: now }, true),
            Self::Emptied { knock, .. } if now < knock + KNOCK => (self, true),
            Self::Emptied { pause, .. } if pause >= LAST_KNOCK => (Self::Empty, false),
            Self::Emptied { pause, .. } => (Self::Emptied { pause: 2 * pause, knock: now + 2 * pause }, false),
        }
    }

    /// Until when it is looked at often.
    fn restless_until(self, shows: bool) -> Option<Instant> {
        match self {
            Self::Empty => None,
            Self::Frames { since } => Some(since + FRESH),
            Self::Emptied { knock, .. } => shows.then_some(knock + 2 * KNOCK),
        }
    }
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
        let shown = sys::unread_by_peer(self.supervisor_end()) > 0;
        let (hint, show) = state.ring_hint.next(readable, shown, Instant::now());
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
        let begins = matches!((state.ring_hint, hint), (Hint::Empty | Hint::Emptied { .. }, Hint::Frames { .. }));
        state.ring_hint = hint;
        if let Some(until) = hint.restless_until(show) {
            world.swaps.look_often(until);
        }
        if begins {
            // The main thread waits for less from now on.
            world.sockets.watch(self.id(), &world.reactor);
            world.reactor.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_after_a_ring_was_emptied_and_who_asks_is_rarely_misled() {
        let start = Instant::now();
        let (mut hint, mut shown) = (Hint::default(), false);
        let mut look = |at: Duration, readable| {
            (hint, shown) = hint.next(readable, shown, start + at);
            (hint.is_watched(), shown)
        };
        let ms = Duration::from_millis;
        assert_eq!(look(ms(0), false), (false, false));
        assert_eq!(look(ms(1), true), (true, true));
        assert_eq!(look(ms(2), false), (true, false));
        let (mut knocks, mut misled, mut before) = (0, 0, false);
        for at in 3..5000 {
            let (watched, shown) = look(ms(at), false);
            assert!(watched, "{at}");
            knocks += u32::from(shown && !before);
            misled += u32::from(shown);
            before = shown;
            assert!(!shown || at % 100 != 0, "{at}");
        }
        assert_eq!((knocks, misled), (8, 8));
        look(ms(6000), false);
        assert_eq!(look(ms(6001), false), (false, false));
    }

    #[test]
    fn a_late_look_still_knocks_and_a_frame_ends_the_aftermath() {
        let start = Instant::now();
        let emptied = Hint::Emptied { pause: FIRST_KNOCK, knock: start + FIRST_KNOCK };
        let late = start + FIRST_KNOCK + 10 * KNOCK;
        let (knocking, shows) = emptied.next(false, false, late);
        assert!(shows && knocking.restless_until(true).is_some_and(|until| until > late));
        // Something else may ask for a look before the knock was heard.
        assert_eq!(knocking.next(false, true, late), (knocking, true));
        let (over, shows) = knocking.next(false, true, late + KNOCK);
        assert!(!shows && over.restless_until(false).is_none());
        assert_eq!(over.next(true, false, late + FIRST_KNOCK), (Hint::Frames { since: late + FIRST_KNOCK }, true));
    }

    #[test]
    fn of_two_rings_the_one_that_needs_it_longer_is_looked_after() {
        let swaps = Swaps::default();
        assert!(!swaps.is_restless());
        let now = Instant::now();
        swaps.look_often(now + Duration::from_secs(3600));
        swaps.look_often(now);
        assert!(swaps.is_restless());
    }
}
