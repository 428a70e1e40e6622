//! Adding a user namespace to an `unshare` that the kernel would otherwise refuse.
//!
//! `unshare --net --pid` asks in one call for a network namespace, which is ours to give, and for a pid namespace,
//! which only the kernel can, and only to the privileged.  Anyone may have one inside a user namespace, though, where
//! the machine allows those.  A filter cannot change arguments; a tracer can: the waiting call is interrupted, its flags
//! are changed in the register, and the kernel's own restart of the call runs it.  The caller's ids are mapped to
//! themselves, so it sees nothing of it but that it worked.
//!
//! This happens on a thread of its own, because the changed call is trapped again and must find a worker that is free.

use std::io;
use std::sync::Arc;

use crate::listener::Notification;
use crate::receive::ERESTARTSYS;
use crate::task::Task;
use crate::world::{World, lock, shared};

/// Repeats the waiting `unshare` with CLONE_NEWUSER and without CLONE_NEWNET; `joined` runs if that succeeded, before the
/// caller goes on: a child that it makes right behind is in the right place.
pub(crate) fn with_user_namespace(
    world: &Arc<World>,
    notification: Notification,
    joined: impl FnOnce(&World, Task) + Send + 'static,
) {
    let world = world.clone();
    let thread = std::thread::Builder::new().name("pernet-rewrite".into());
    // Without a thread the notification is dropped, and the caller gets ENOSYS.
    let _ = thread.spawn(move || {
        let task = Task::new(notification.call.tid);
        let tracing = shared(&world.tracing);
        lock(&world.helped).insert(task.tid);
        // If this fails, its call was not changed, or it is gone: dropping the notification answered it.
        let _ = rewrite(&world, task, notification, joined);
        lock(&world.helped).remove(&task.tid);
        drop(tracing);
        // Children that ended meanwhile wait to be reaped.
        world.reactor.wake();
    });
}

fn ptrace(request: libc::c_uint, tid: u32, data: usize) -> io::Result<()> {
    // SAFETY: the requests used here take no address but one in `data`, which callers keep live.
    let r = unsafe { libc::ptrace(request, tid as libc::pid_t, 0, data) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn wait_stop(tid: u32) -> io::Result<()> {
    wait_status(tid).map(drop)
}

fn wait_status(tid: u32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is live.
        let r = unsafe { libc::waitpid(tid as libc::pid_t, &raw mut status, libc::__WALL) };
        match r {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            _ if libc::WIFSTOPPED(status) => return Ok(status),
            _ => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}

pub(crate) fn registers(tid: u32) -> io::Result<libc::user_regs_struct> {
    // SAFETY: all-zero is a valid register set; PTRACE_GETREGS fills it.
    let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    ptrace(libc::PTRACE_GETREGS, tid, (&raw mut regs) as usize)?;
    Ok(regs)
}

pub(crate) fn set_registers(tid: u32, regs: &libc::user_regs_struct) -> io::Result<()> {
    ptrace(libc::PTRACE_SETREGS, tid, std::ptr::from_ref(regs) as usize)
}

/// Why a followed thread stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A call begins, or ends.
    Call,
    /// A signal is about to be delivered.
    Signal(i32),
    /// Anything else.
    Other,
}

/// Begins to follow a thread, which stops when it next leaves the kernel.
///
/// # Errors
/// If nobody may, or somebody else does.
pub(crate) fn seize(tid: u32) -> io::Result<()> {
    ptrace(libc::PTRACE_SEIZE, tid, libc::PTRACE_O_TRACESYSGOOD as usize)?;
    ptrace(libc::PTRACE_INTERRUPT, tid, 0)
}

/// Lets a stopped thread go to where its next call begins or ends, with the signal it was stopped for.
///
/// # Errors
/// If it is gone.
pub(crate) fn go_on(tid: u32, signal: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_SYSCALL, tid, signal as usize)
}

/// Lets a stopped thread go for good.
pub(crate) fn detach(tid: u32) {
    let _ = ptrace(libc::PTRACE_DETACH, tid, 0);
}

/// Waits for a followed thread to stop.
///
/// # Errors
/// If it is gone.
pub(crate) fn wait(tid: u32) -> io::Result<Stop> {
    let status = wait_status(tid)?;
    let event = status >> 16;
    Ok(match libc::WSTOPSIG(status) {
        s if s == libc::SIGTRAP | 0x80 => Stop::Call,
        _ if event != 0 => Stop::Other,
        s => Stop::Signal(s),
    })
}

fn rewrite(world: &World, task: Task, notification: Notification, joined: impl FnOnce(&World, Task)) -> io::Result<()> {
    let tid = task.tid;
    ptrace(libc::PTRACE_SEIZE, tid, libc::PTRACE_O_TRACESYSGOOD as usize)?;
    ptrace(libc::PTRACE_INTERRUPT, tid, 0)?;
    if world.killable {
        // It does not leave its wait for a tracer.  This answer sends it into the kernel's signal path, where the trap
        // that was just set stops it, and from where the call is restarted.
        notification.errno(ERESTARTSYS);
    }
    wait_stop(tid)?;
    // Whatever fails from here on, the caller must not stay traced.
    let result = rewrite_stopped(world, task);
    if let Ok(true) = result {
        joined(world, task);
    }
    let _ = ptrace(libc::PTRACE_DETACH, tid, 0);
    result.map(drop)
}

/// True if the kernel made the namespaces; else its refusal stands in the caller's register.
fn rewrite_stopped(world: &World, task: Task) -> io::Result<bool> {
    let tid = task.tid;
    let before = registers(tid)?;
    let mut changed = before;
    changed.rdi = (before.rdi | libc::CLONE_NEWUSER as u64) & !(libc::CLONE_NEWNET as u64);
    set_registers(tid, &changed)?;
    // In and out of the restarted call; between the two a worker tells it to proceed.
    for _ in 0..2 {
        loop {
            ptrace(libc::PTRACE_SYSCALL, tid, 0)?;
            wait_stop(tid)?;
            if registers(tid)?.orig_rax == libc::SYS_unshare as u64 {
                break;
            }
        }
    }
    let mut after = registers(tid)?;
    let made = after.rax == 0;
    if made {
        map_ids(task)?;
        world.users.adopt(task);
    } else {
        // It could not be helped: the caller sees what an unprivileged one sees.
        after.rax = i64::from(-libc::EPERM) as u64;
    }
    after.rdi = before.rdi;
    set_registers(tid, &after)?;
    Ok(made)
}

fn map_ids(task: Task) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let write = |what: &str, text: String| std::fs::write(format!("/proc/{}/{what}", task.tid), text);
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{uid} {uid} 1"))?;
    write("gid_map", format!("{gid} {gid} 1"))
}
