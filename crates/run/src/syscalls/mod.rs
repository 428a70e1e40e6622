//! The trapped system calls, one file a family.

#![allow(non_upper_case_globals, reason = "system call numbers keep the names that libc gives them")]

mod arp;
mod ethtool;
pub(crate) mod ids;
pub(crate) mod ioctl;
pub(crate) mod mounts;
pub(crate) mod namespace;
pub(crate) mod path;
pub(crate) mod resolve;
mod route;
pub(crate) mod socket;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::listener::{Call, Delivery, Notification};
use crate::netlink::answer;
use crate::replay::Unheard;
use crate::sockets::{Emulated, Sockets};
use crate::task::FileId;
use crate::world::{World, lock};

/// How a call ends.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It returns this.
    Value(i64),
    /// It fails with this errno.
    Errno(i32),
    /// The kernel runs it.
    Proceed,
    /// It returns this descriptor, close-on-exec or not.
    Fd(OwnedFd, bool),
    /// It is done when something happens to an AF_UNIX socket.
    Wait(crate::unix::Waiting),
    /// It is repeated inside a user namespace, and then also gets a network namespace if this says so.
    WithUserNamespace {
        /// CLONE_NEWNET was asked for too.
        new_net: bool,
    },
}

impl From<Result<i64, i32>> for Outcome {
    fn from(r: Result<i64, i32>) -> Self {
        match r {
            Ok(v) => Self::Value(v),
            Err(e) => Self::Errno(e),
        }
    }
}

/// Answers one notification, and moves whatever that made ready.
pub(crate) fn serve(world: &Arc<World>, notification: Notification) {
    Sockets::looking_after(|| dispatch(world, notification));
    pump_ready(world);
}

/// Moves what the sockets have that say so, and what that makes ready. No lock is held.
pub(crate) fn pump_ready(world: &Arc<World>) {
    loop {
        // Who sends has what it sent received; what a change of configuration sends waits for this.
        Sockets::looking_after(|| world.stack.run_packets());
        if !pump_listed(world) {
            return;
        }
    }
}

/// Moves what the sockets have that say so by now. True if there are any.
fn pump_listed(world: &Arc<World>) -> bool {
    let ready = world.sockets.take_ready();
    let some = !ready.is_empty();
    Sockets::looking_after(|| {
        for id in ready {
            match world.sockets.get(id) {
                Some(Emulated::Stream(_)) => pump_stream(world, id),
                Some(Emulated::Netlink(n)) => n.pump_listed(world),
                Some(Emulated::Datagram(d)) => d.came(world),
                Some(socket) => socket.pump(world),
                None => {}
            }
        }
    });
    some
}

/// Moves what a connection has, and forgets it when its program has closed it and nothing is left to say.
pub(crate) fn pump_stream(world: &Arc<World>, id: FileId) {
    if let Some(Emulated::Stream(s)) = world.sockets.get(id)
        && s.pump(world)
    {
        drop(world.sockets.remove(id));
    }
}

fn dispatch(world: &Arc<World>, notification: Notification) {
    let call = notification.call;
    crate::knobs::settle(world);
    world.sockets.reap_tuns(world);
    world.swaps.undo(&notification);
    let _acting = (!world.killable).then(|| world.busy.enter(call.tid));
    let missed = lock(&world.replay).take(&call);
    match missed {
        Some(Unheard::Value(v)) => return answer(world, notification, Ok(v)),
        Some(Unheard::Errno(e)) => return answer(world, notification, Err(e)),
        None => {}
    }
    if call.nr == libc::SYS_mmap {
        return crate::inet::ring::map(world, notification);
    }
    if socket::may_wait(call.nr) {
        return socket::receive(world, notification);
    }
    let outcome = decide(world, &call);
    if matches!(call.nr, libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg) {
        // Before the sender hears of it: who looks at once finds what it sent, as where a softirq delivers it. Once, so that
        // what others send meanwhile does not keep it.
        pump_listed(world);
    }
    finish(world, notification, outcome);
}

fn decide(world: &Arc<World>, call: &Call) -> Outcome {
    use libc::*;
    match call.nr {
        SYS_socket | SYS_bind | SYS_listen | SYS_getsockname | SYS_getpeername | SYS_shutdown | SYS_sendto
        | SYS_sendmsg | SYS_sendmmsg | SYS_setsockopt | SYS_getsockopt => socket::handle(world, call),
        SYS_ioctl => ioctl::handle(world, call),
        SYS_setns | SYS_unshare | SYS_clone | SYS_execve | SYS_execveat | SYS_mount | SYS_umount2 => {
            namespace::handle(world, call)
        }
        SYS_prlimit64 | SYS_getrlimit | SYS_setrlimit | SYS_prctl | SYS_getresuid | SYS_getresgid => ids::handle(call),
        _ => path::handle(world, call),
    }
}

/// Sends an outcome.
pub(crate) fn finish(world: &Arc<World>, notification: Notification, outcome: Outcome) {
    match outcome {
        Outcome::Value(v) => answer(world, notification, Ok(v)),
        Outcome::Errno(e) => answer(world, notification, Err(e)),
        Outcome::Proceed => {
            notification.proceed();
        }
        Outcome::Wait(waiting) => crate::unix::park(world, notification, waiting),
        Outcome::WithUserNamespace { new_net } => {
            crate::rewrite::with_user_namespace(world, notification, move |world, task| {
                if new_net {
                    namespace::join_new(world, task);
                }
            })
        }
        // Interrupted: nothing was put into the program, and it asks again.
        Outcome::Fd(fd, cloexec) => match notification.fd(fd.as_fd(), cloexec) {
            Ok(Delivery::Delivered | Delivery::Interrupted) => {}
            Err((notification, e)) => answer(world, notification, Err(e)),
        },
    }
}
