//! Virtual files that are open for writing.
//!
//! A program's `write` is not trapped: it goes to a file of ours. Where a tracer may, the thread that opened one is
//! followed until the file is closed, and its writes are answered one by one, refusals included. Whatever is written
//! otherwise (by a child that inherited the descriptor, or where nobody may trace) is found in the file at the next
//! trapped call of anyone, before that is answered: nobody can see the difference but for a refusal that goes unsaid.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pernet::{Net, NetHandle, NetRef, Origin};
use rustix::fs::{MemfdFlags, Mode, OFlags};

use crate::mem::Memory;
use crate::rewrite;
use crate::sockets::identity;
use crate::sys;
use crate::task::{FileId, Task};
use crate::world::{World, lock, shared};

/// Most that one write is looked at.
const LONGEST: usize = 65_536;

/// What a file is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Knob {
    /// A path below /proc/sys/net.
    Sysctl(String),
    /// A device, and a path below its directory in sysfs.
    Sysfs(u32, String),
}

/// The files.
#[derive(Default)]
pub(crate) struct Knobs {
    /// Whether there are any.
    any: AtomicBool,
    /// A leaf lock, but for the stack's.
    open: Mutex<Vec<Arc<OpenKnob>>>,
    /// Threads that are followed, and the files on account of which.  A leaf lock.
    followed: Mutex<HashMap<u32, Vec<Arc<OpenKnob>>>>,
}

struct OpenKnob {
    knob: Knob,
    net: NetHandle,
    /// Ours, opened to read.
    file: File,
    id: FileId,
    /// What the file held when it was last looked at.
    seen: Mutex<Vec<u8>>,
}

fn os(e: rustix::io::Errno) -> i32 {
    e.raw_os_error()
}

impl OpenKnob {
    /// Read where it is: opened once more it would seem, to who asks at this moment, to be held by somebody else.
    fn content(&self) -> Vec<u8> {
        let mut content = vec![0; self.file.metadata().map_or(0, |meta| meta.len() as usize)];
        let read = self.file.read_at(&mut content, 0).unwrap_or(0);
        content.truncate(read);
        content
    }

    fn apply(&self, world: &World, text: &[u8]) -> Result<(), i32> {
        let net = self.net.upgrade().ok_or(libc::ENOENT)?;
        apply(world, &net, &self.knob, text)
    }

    /// Takes what was written without our seeing it.
    fn catch_up(&self, world: &World) {
        let now = self.content();
        let mut seen = lock(&self.seen);
        if *seen == now {
            return;
        }
        let new = now.strip_prefix(seen.as_slice()).filter(|_| !seen.is_empty()).unwrap_or(&now).to_vec();
        *seen = now;
        drop(seen);
        let _ = self.apply(world, &new);
    }
}

fn apply(world: &World, net: &Net, knob: &Knob, text: &[u8]) -> Result<(), i32> {
    let mut rtnl = world.stack.rtnl(Origin::KERNEL);
    match knob {
        Knob::Sysctl(path) => rtnl.sysctl_write(net, path, text).map_err(|e| e.errno()),
        Knob::Sysfs(ifindex, path) => rtnl.sysfs_write(net, *ifindex, path, text).map_err(|e| e.errno()),
    }
}

/// Opens `knob` for writing, for `task`. `text` is what it reads as, if it is to be read, too.
///
/// # Errors
/// errno of making the file.
pub(crate) fn open(
    world: &Arc<World>,
    task: Task,
    net: &NetRef,
    knob: Knob,
    text: Option<&str>,
) -> Result<OwnedFd, i32> {
    let made = rustix::fs::memfd_create("pernet", MemfdFlags::CLOEXEC).map_err(os)?;
    let start = text.unwrap_or_default().as_bytes().to_vec();
    if !start.is_empty() {
        rustix::io::pwrite(&made, &start, 0).map_err(os)?;
    }
    rustix::fs::fchmod(&made, Mode::from_raw_mode(0o644)).map_err(os)?;
    let again = |flags| {
        let path = format!("/proc/self/fd/{}", made.as_raw_fd());
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(os)
    };
    let theirs = again(if text.is_some() { OFlags::RDWR } else { OFlags::WRONLY })?;
    // A lease counts openers: ours must not be one that could write.
    let file = File::from(again(OFlags::RDONLY)?);
    let id = identity(&file)?;
    let open = Arc::new(OpenKnob { knob, net: net.handle(), file, id, seen: Mutex::new(start) });
    lock(&world.knobs.open).push(open.clone());
    world.knobs.any.store(true, Ordering::Release);
    if world.killable {
        follow(world, task, open);
    }
    Ok(theirs)
}

/// Before a call is answered: takes what was written meanwhile.
pub(crate) fn settle(world: &World) {
    if !world.knobs.any.load(Ordering::Acquire) {
        return;
    }
    let open = lock(&world.knobs.open).clone();
    for knob in &open {
        // Looked at before its content is: what is closed by then, nobody writes to any more.
        let held = sys::open_elsewhere(knob.file.as_fd());
        knob.catch_up(world);
        if !held {
            lock(&world.knobs.open).retain(|k| !Arc::ptr_eq(k, knob));
        }
    }
    let left = lock(&world.knobs.open);
    world.knobs.any.store(!left.is_empty(), Ordering::Release);
}

/// Follows the thread that gets the file, on a thread of ours, until it has none any more.
fn follow(world: &Arc<World>, task: Task, open: Arc<OpenKnob>) {
    match lock(&world.knobs.followed).entry(task.tid) {
        // It has another open, or has closed it so lately that we had not yet let go of our copy.
        Entry::Occupied(followed) => return followed.into_mut().push(open),
        Entry::Vacant(free) => drop(free.insert(vec![open])),
    }
    let (ready, attached) = std::sync::mpsc::sync_channel(1);
    let follower = world.clone();
    let thread = std::thread::Builder::new().name("pernet-knob".into()).spawn(move || {
        let world = follower;
        let tracing = shared(&world.tracing);
        // Whom a debugger follows already is caught up with.
        let seized = rewrite::seize(task.tid);
        let _ = ready.send(());
        // The stop comes when the call that opens is over.
        let stopped = seized.and_then(|()| rewrite::wait(task.tid)).and_then(|_| watch(&world, task));
        lock(&world.knobs.followed).remove(&task.tid);
        if stopped.is_ok() {
            // Until here it stands still: it opens nothing that we would not hear of.
            rewrite::detach(task.tid);
        }
        drop(tracing);
        // Children that ended meanwhile wait to be reaped.
        world.reactor.wake();
    });
    match thread {
        Ok(_) => drop(attached.recv()),
        Err(_) => drop(lock(&world.knobs.followed).remove(&task.tid)),
    }
}

/// From stop to stop. The thread is stopped when this returns `Ok`, and gone otherwise.
fn watch(world: &World, task: Task) -> io::Result<()> {
    let mut signal = 0;
    let mut inside = false;
    let mut answer: Option<i64> = None;
    loop {
        rewrite::go_on(task.tid, signal)?;
        signal = 0;
        match rewrite::wait(task.tid)? {
            rewrite::Stop::Call => inside = !inside,
            rewrite::Stop::Signal(number) => {
                signal = number;
                continue;
            }
            rewrite::Stop::Other => continue,
        }
        let mut regs = rewrite::registers(task.tid)?;
        if inside {
            answer = written(world, task, &regs);
            if answer.is_some() {
                // No call has this number: it is skipped, and what it returns is written over below.
                regs.orig_rax = u64::MAX;
                rewrite::set_registers(task.tid, &regs)?;
            }
            continue;
        }
        if let Some(value) = answer.take() {
            regs.rax = value as u64;
            rewrite::set_registers(task.tid, &regs)?;
        } else if closes(regs.orig_rax as i64) && !has_any(world, task) {
            return Ok(());
        }
    }
}

fn closes(call: i64) -> bool {
    use libc::*;
    [SYS_close, SYS_dup2, SYS_dup3, SYS_close_range, SYS_execve, SYS_execveat].contains(&call)
}

/// Does a followed thread still have one of the files, or anybody for whom it opened one?
fn has_any(world: &World, task: Task) -> bool {
    let mut followed = lock(&world.knobs.followed);
    followed.get_mut(&task.tid).is_some_and(|files| {
        files.retain(|open| sys::open_elsewhere(open.file.as_fd()));
        !files.is_empty()
    })
}

/// What a call that is about to be made is answered, if it writes to one of the files.
fn written(world: &World, task: Task, regs: &libc::user_regs_struct) -> Option<i64> {
    let call = regs.orig_rax as i64;
    if ![libc::SYS_write, libc::SYS_pwrite64, libc::SYS_writev].contains(&call) {
        return None;
    }
    let written = task.file(regs.rdi as i32)?;
    let open = lock(&world.knobs.followed).get(&task.tid)?.iter().find(|open| open.id == written)?.clone();
    let memory = Memory::of(task.tid);
    let text =
        if call == libc::SYS_writev { gather(memory, regs.rsi, regs.rdx) } else { plain(memory, regs.rsi, regs.rdx) };
    let text = text?;
    Some(match open.apply(world, &text) {
        Ok(()) => text.len() as i64,
        Err(errno) => i64::from(-errno),
    })
}

fn plain(memory: Memory, at: u64, len: u64) -> Option<Vec<u8>> {
    memory.bytes(at, usize::try_from(len).ok()?.min(LONGEST)).ok()
}

fn gather(memory: Memory, at: u64, count: u64) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for i in 0..count.min(16) {
        let pair = memory.bytes(at + i * 16, 16).ok()?;
        let word = |i: usize| u64::from_ne_bytes(pair[i..i + 8].try_into().unwrap_or_default());
        out.extend(plain(memory, word(0), word(8))?);
        if out.len() > LONGEST {
            return None;
        }
    }
    Some(out)
}
