//! `setns`, `unshare`, `clone`, and the mounts that name namespaces.

use pernet::{Cap, Caps, CreateError, Cred, UserNs};

use std::os::fd::AsFd;

use super::Outcome;
use super::resolve::{MountPoint, mount_point, namespace_at};
use crate::listener::Call;
use crate::spaces::Spaces;
use crate::sys;
use crate::tag::SpaceId;
use crate::task::Task;
use crate::users::Users;
use crate::world::{World, lock};

const NS_GET_NSTYPE: u64 = 0xb703;
const NEWNET: i32 = libc::CLONE_NEWNET;
/// Flags of `setns` with a pidfd that name a kind of namespace.
const KINDS: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | NEWNET
    | libc::CLONE_NEWCGROUP
    | 0x80;

/// Answers a call of this family.
pub(crate) fn handle(world: &World, call: &Call) -> Outcome {
    match call.nr {
        libc::SYS_setns => setns(world, call),
        libc::SYS_unshare => unshare(world, call),
        libc::SYS_mount => mount(world, call),
        libc::SYS_umount2 => umount(world, call),
        libc::SYS_execve | libc::SYS_execveat => {
            in_turn(world, |spaces| spaces.before_exec(Task::new(call.tid)));
            Outcome::Proceed
        }
        _ => clone(world, call),
    }
}

/// Does what the threads of a process do in turns.  A turn lasts as long as the kernel takes to make a thread: waiting
/// for it here holds up one worker for some microseconds, and never longer than a turn may last.
pub(crate) fn in_turn(world: &World, mut act: impl FnMut(&mut Spaces) -> bool) {
    while !act(&mut lock(&world.spaces)) {
        std::thread::sleep(std::time::Duration::from_micros(30));
    }
}

fn create(world: &World, task: Task) -> Result<SpaceId, i32> {
    let cred = world.users.cred(task);
    let net = world.namespaces.create(&cred).map_err(|e: CreateError| e.errno().get())?;
    Ok(lock(&world.spaces).add(net))
}

fn setns(world: &World, call: &Call) -> Outcome {
    let task = Task::new(call.tid);
    let (fd, kind) = (call.int(0), call.int(1));
    let Some(file) = task.file(fd) else {
        return Outcome::Proceed;
    };
    let space = lock(&world.spaces).by_file(file);
    if let Some(space) = space {
        if task.is_path_fd(fd) {
            return Outcome::Errno(libc::EBADF);
        }
        if kind != 0 && kind != NEWNET {
            return Outcome::Errno(libc::EINVAL);
        }
        return Outcome::from(enter(world, task, space).map(|()| 0));
    }
    // A pidfd: its target is named in fdinfo.
    if let Some(pid) = task.fdinfo(fd, "Pid:") {
        if kind & NEWNET == 0 || kind & !KINDS != 0 {
            return Outcome::Proceed;
        }
        let target = pid.parse::<i32>().ok().filter(|&p| p > 0).map(|p| Task::new(p as u32));
        let Some(space) = target.and_then(|t| lock(&world.spaces).of_task(t)) else {
            return Outcome::Errno(libc::ESRCH);
        };
        if let Err(e) = enter(world, task, space) {
            return Outcome::Errno(e);
        }
        return if kind == NEWNET { Outcome::Value(0) } else { Outcome::Proceed };
    }
    // The machine's own network namespaces are not ours to enter, by whatever path they were opened.
    let by_name = task.fd_link(fd).is_some_and(|l| l.to_string_lossy().starts_with("net:["));
    let by_type =
        || world.copy_fd(task, fd, file).is_ok_and(|copy| sys::ns_ioctl(copy.as_fd(), NS_GET_NSTYPE) == Ok(NEWNET));
    if by_name || by_type() {
        return Outcome::Errno(libc::EINVAL);
    }
    Outcome::Proceed
}

fn enter(world: &World, task: Task, space: SpaceId) -> Result<(), i32> {
    let cred = world.users.cred(task);
    let net = lock(&world.spaces).net(space).ok_or(libc::EINVAL)?;
    if !cred.capable(net.owner(), Cap::SysAdmin) || !cred.capable(&cred.user_ns, Cap::SysAdmin) {
        return Err(libc::EPERM);
    }
    in_turn(world, |spaces| spaces.join(task, space));
    Ok(())
}

fn unshare(world: &World, call: &Call) -> Outcome {
    let task = Task::new(call.tid);
    let flags = call.int(0);
    let others = flags & !NEWNET;
    if lock(&world.helped).contains(&task.tid) {
        return Outcome::Proceed;
    }
    if flags & libc::CLONE_NEWUSER != 0 {
        // The kernel makes the user namespace, or refuses; which one shows afterwards.
        if flags & NEWNET != 0 {
            match create_owned_by_new(world, task) {
                Ok((space, owner)) => lock(&world.spaces).unshare_pending(task, space, owner),
                Err(e) => return Outcome::Errno(e),
            }
        }
        return Outcome::Proceed;
    }
    let admin = || {
        let cred = world.users.cred(task);
        cred.capable(&cred.user_ns, Cap::SysAdmin)
    };
    let natively = others != 0 && Users::natively_privileged(task);
    if flags & NEWNET != 0 {
        if !admin() {
            return Outcome::Errno(libc::EPERM);
        }
        if others != 0 && !natively && others != libc::CLONE_NEWNS {
            // The kernel would refuse the rest, so the whole call fails, unless it can be let do it.
            return Outcome::WithUserNamespace { new_net: true };
        }
        match create(world, task) {
            Ok(space) => in_turn(world, |spaces| spaces.join(task, space)),
            Err(e) => return Outcome::Errno(e),
        }
    }
    if others == 0 {
        return Outcome::Value(0);
    }
    if natively {
        return Outcome::Proceed;
    }
    if others == libc::CLONE_NEWNS && admin() {
        lock(&world.spaces).pretend_mounts(task);
        return Outcome::Value(0);
    }
    if others & (libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWCGROUP) != 0 && admin() {
        return Outcome::WithUserNamespace { new_net: false };
    }
    Outcome::Proceed
}

/// With NEWUSER in the same call the new user namespace owns the network namespace: it is made here beforehand, and
/// takes the place of the kernel's when that is first seen.
fn create_owned_by_new(world: &World, task: Task) -> Result<(SpaceId, UserNs), i32> {
    let cred = world.users.cred(task);
    let child = cred.user_ns.child(&cred);
    let owner = Cred { user_ns: child.clone(), euid: cred.euid, caps: Caps::FULL };
    let net = world.namespaces.create(&owner).map_err(|e| e.errno().get())?;
    Ok((lock(&world.spaces).add(net), child))
}

/// Moves a task into a new namespace; a quota that is used up leaves it where it is.
pub(crate) fn join_new(world: &World, task: Task) {
    if let Ok(space) = create(world, task) {
        in_turn(world, |spaces| spaces.join(task, space));
    }
}

/// Of calls that make a thread, or a network namespace; the others are not trapped.
fn clone(world: &World, call: &Call) -> Outcome {
    let task = Task::new(call.tid);
    let flags = call.int(0);
    if flags & NEWNET == 0 {
        let tls = (flags & libc::CLONE_SETTLS != 0).then_some(call.args[4]);
        in_turn(world, |spaces| spaces.before_thread(task, tls));
        return Outcome::Proceed;
    }
    in_turn(world, |spaces| spaces.before_child(task));
    let created = if flags & libc::CLONE_NEWUSER != 0 {
        create_owned_by_new(world, task).map(|(space, owner)| (space, Some(owner)))
    } else {
        create(world, task).map(|space| (space, None))
    };
    match created {
        Ok((space, owner)) => {
            lock(&world.spaces).clone_pending(task, space, owner);
            Outcome::Proceed
        }
        Err(e) => Outcome::Errno(e),
    }
}

const MS_BIND: u64 = libc::MS_BIND;
const PROPAGATION: u64 = libc::MS_SHARED | libc::MS_PRIVATE | libc::MS_SLAVE | libc::MS_UNBINDABLE;

fn mount(world: &World, call: &Call) -> Outcome {
    let task = Task::new(call.tid);
    let flags = call.args[3];
    let target = match mount_point(world, task, call.args[1]) {
        Ok(t) => t,
        // The kernel finds the same fault.
        Err(_) => return Outcome::Proceed,
    };
    if flags & MS_BIND != 0 && flags & libc::MS_REMOUNT == 0 {
        if let Some(space) = namespace_at(world, task, call.args[0]) {
            return bind_namespace(world, task, target, space);
        }
        match target {
            MountPoint::NetnsDir => return Outcome::Value(0),
            // Whatever it is, it is not a namespace; the kernel would say first that it is not there.
            MountPoint::Entry(..) => {
                return Outcome::Errno(if source_exists(task, call.args[0]) { libc::EINVAL } else { libc::ENOENT });
            }
            _ => {}
        }
    }
    match target {
        // Its own mount, shared or not: nothing that can be seen depends on it.
        MountPoint::NetnsDir => Outcome::Value(0),
        MountPoint::Entry(_, true) => Outcome::Value(0),
        MountPoint::Entry(_, false) => Outcome::Errno(libc::ENOENT),
        MountPoint::Magic => Outcome::Errno(libc::ENOTDIR),
        // What sysfs shows of the network follows the reader here, so a fresh one has nothing to show that is not there.
        MountPoint::Sys => Outcome::Value(0),
        MountPoint::Native(_) if flags & PROPAGATION != 0 && pretends(world, task) => Outcome::Value(0),
        MountPoint::Native(_) => Outcome::Proceed,
    }
}

fn source_exists(task: Task, address: u64) -> bool {
    let Ok(raw) = crate::mem::Memory::of(task.tid).path(address) else {
        return false;
    };
    crate::paths::absolute(task, libc::AT_FDCWD, &raw).is_some_and(|p| p.symlink_metadata().is_ok())
}

fn bind_namespace(world: &World, task: Task, target: MountPoint, space: SpaceId) -> Outcome {
    let cred = world.users.cred(task);
    if !cred.capable(&cred.user_ns, Cap::SysAdmin) {
        return Outcome::Errno(libc::EPERM);
    }
    let path = match target {
        MountPoint::Entry(path, true) => path,
        MountPoint::Entry(_, false) => return Outcome::Errno(libc::ENOENT),
        MountPoint::Native(path) => match std::fs::metadata(&path) {
            Ok(m) if m.is_dir() => return Outcome::Errno(libc::ENOTDIR),
            Ok(_) => path,
            Err(e) => return Outcome::Errno(crate::sys::errno_of(&e)),
        },
        MountPoint::NetnsDir | MountPoint::Sys => return Outcome::Errno(libc::ENOTDIR),
        MountPoint::Magic => return Outcome::Errno(libc::EINVAL),
    };
    let mut binds = lock(&world.binds);
    let mut spaces = lock(&world.spaces);
    if spaces.net(space).is_none() {
        return Outcome::Errno(libc::EINVAL);
    }
    binds.push(path, space);
    spaces.bound(space, 1);
    Outcome::Value(0)
}

fn umount(world: &World, call: &Call) -> Outcome {
    let task = Task::new(call.tid);
    let Ok(target) = mount_point(world, task, call.args[0]) else {
        return Outcome::Proceed;
    };
    match target {
        MountPoint::Entry(path, exists) => {
            let popped = lock(&world.binds).pop(&path);
            match popped {
                Some(space) => {
                    lock(&world.spaces).bound(space, -1);
                    Outcome::Value(0)
                }
                None => Outcome::Errno(if exists { libc::EINVAL } else { libc::ENOENT }),
            }
        }
        MountPoint::NetnsDir => Outcome::Errno(libc::EINVAL),
        MountPoint::Sys if call.int(1) & libc::MNT_DETACH != 0 => Outcome::Value(0),
        _ => Outcome::Proceed,
    }
}

fn pretends(world: &World, task: Task) -> bool {
    lock(&world.spaces).tag(task).is_some_and(|t| t.pretends_mounts)
}
