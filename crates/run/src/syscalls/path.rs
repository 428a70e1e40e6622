//! System calls that name a file by a path.
//!
//! The kernel keeps everything that is not a [`Place`]; what is one is done here, on what stands behind it.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pernet::NetRef;
use pernet_stack::SysctlNode;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::Outcome;
use super::resolve::{Arg, Backing, back, knob_permits, may_write, place_of, space_of, space_of_descriptor};
use crate::knobs::Knob;
use crate::listener::Call;
use crate::mem::Memory;
use crate::paths::{Place, netns_path};
use crate::sys;
use crate::tag::SpaceId;
use crate::task::Task;
use crate::vfs::content_file;
use crate::world::{World, lock};

const NSFS_MAGIC: i64 = 0x6e73_6673;

fn at(call: &Call, dir: usize, path: usize) -> Arg {
    Arg { dirfd: call.int(dir), address: call.args[path] }
}

fn plain(call: &Call, path: usize) -> Arg {
    Arg { dirfd: libc::AT_FDCWD, address: call.args[path] }
}

fn os(e: rustix::io::Errno) -> i32 {
    e.raw_os_error()
}

fn io(e: &std::io::Error) -> i32 {
    sys::errno_of(e)
}

fn c_path(p: &Path) -> Result<CString, i32> {
    CString::new(p.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)
}

/// Answers a call of this family.
pub(crate) fn handle(world: &Arc<World>, call: &Call) -> Outcome {
    use libc::*;
    let follow_unless = |flag: usize, bit: i32| call.int(flag) & bit == 0;
    match call.nr {
        SYS_open => self::open(world, call, plain(call, 0), call.int(1), call.int(2) as u32),
        SYS_creat => self::open(world, call, plain(call, 0), O_CREAT | O_WRONLY | O_TRUNC, call.int(1) as u32),
        SYS_openat => self::open(world, call, at(call, 0, 1), call.int(2), call.int(3) as u32),
        SYS_openat2 => {
            // open_how: flags, mode and resolve restrictions, each 64 bits.
            let Ok(how) = Memory::of(call.tid).bytes(call.args[2], 16) else {
                return Outcome::Proceed;
            };
            let word = |i: usize| u64::from_ne_bytes(how[i..i + 8].try_into().unwrap_or_default());
            self::open(world, call, at(call, 0, 1), word(0) as i32, word(8) as u32)
        }
        SYS_stat => self::stat(world, call, plain(call, 0), true, call.args[1]),
        SYS_lstat => self::stat(world, call, plain(call, 0), false, call.args[1]),
        SYS_newfstatat => self::stat(world, call, at(call, 0, 1), follow_unless(3, AT_SYMLINK_NOFOLLOW), call.args[2]),
        SYS_statx => self::statx(world, call),
        SYS_access => self::access(world, call, plain(call, 0), call.int(1), true),
        SYS_faccessat => self::access(world, call, at(call, 0, 1), call.int(2), true),
        SYS_faccessat2 => self::access(world, call, at(call, 0, 1), call.int(2), follow_unless(3, AT_SYMLINK_NOFOLLOW)),
        SYS_readlink => self::readlink(world, call, plain(call, 0), call.args[1], call.args[2]),
        SYS_readlinkat => self::readlink(world, call, at(call, 0, 1), call.args[2], call.args[3]),
        SYS_mkdir => self::mkdir(world, call, plain(call, 0), call.int(1) as u32),
        SYS_mkdirat => self::mkdir(world, call, at(call, 0, 1), call.int(2) as u32),
        SYS_unlink => self::unlink(world, call, plain(call, 0), false),
        SYS_rmdir => self::unlink(world, call, plain(call, 0), true),
        SYS_unlinkat => self::unlink(world, call, at(call, 0, 1), call.int(2) & AT_REMOVEDIR != 0),
        SYS_symlink => self::symlink(world, call, call.args[0], plain(call, 1)),
        SYS_symlinkat => self::symlink(world, call, call.args[0], at(call, 1, 2)),
        SYS_statfs => self::statfs(world, call),
        SYS_fstatfs => self::fstatfs(world, call),
        SYS_getxattr | SYS_lgetxattr => self::xattr(world, call, Err(ENODATA)),
        SYS_listxattr | SYS_llistxattr => self::xattr(world, call, Ok(0)),
        SYS_chmod => self::chmod(world, call, plain(call, 0), call.int(1) as u32),
        SYS_fchmodat => self::chmod(world, call, at(call, 0, 1), call.int(2) as u32),
        SYS_inotify_add_watch => watch(world, call),
        SYS_truncate => self::refuse(world, call, plain(call, 0), EINVAL),
        SYS_rename => self::rename(world, call, plain(call, 0), plain(call, 1)),
        SYS_renameat | SYS_renameat2 => self::rename(world, call, at(call, 0, 1), at(call, 2, 3)),
        _ => Outcome::Proceed,
    }
}

fn task_of(call: &Call) -> Task {
    Task::new(call.tid)
}

/// Resolves an argument; `Proceed` where the kernel decides.
macro_rules! backing {
    ($world:expr, $task:expr, $arg:expr, $follow:expr) => {{
        let Some(place) = place_of($world, $task, $arg) else {
            return Outcome::Proceed;
        };
        match back($world, $task, &place, $follow) {
            Ok(Some(b)) => (place, b),
            Ok(None) => return Outcome::Proceed,
            Err(e) => return Outcome::Errno(e),
        }
    }};
}

fn open(world: &Arc<World>, call: &Call, arg: Arg, flags: i32, mode: u32) -> Outcome {
    let task = task_of(call);
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
    let Some(place) = place_of(world, task, arg) else {
        let knob = writes && world.users.host_powers() && leads_to_knob(task, arg);
        return if knob { Outcome::Errno(libc::EACCES) } else { Outcome::Proceed };
    };
    if place == Place::Tun {
        return open_tun(world, task, flags);
    }
    if writes && flags & libc::O_PATH == 0 {
        match knob(world, task, &place, flags) {
            Ok(Some(fd)) => return Outcome::Fd(fd, flags & libc::O_CLOEXEC != 0),
            Ok(None) => {}
            Err(e) => return Outcome::Errno(e),
        }
    }
    let exclusive = flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL;
    let nofollow = flags & libc::O_NOFOLLOW != 0 || exclusive;
    // O_NOFOLLOW on a magic link is the kernel's ELOOP; on the rest there is no link to follow.
    let result = back(world, task, &place, !nofollow);
    let o_path = flags & libc::O_PATH != 0;
    let file = match result {
        Ok(None) => return Outcome::Proceed,
        Err(e) => Err(e),
        Ok(Some(Backing::Namespace(_) | Backing::Content(..))) if exclusive => Err(libc::EEXIST),
        Ok(Some(Backing::Namespace(_) | Backing::Content(..))) if flags & libc::O_DIRECTORY != 0 => Err(libc::ENOTDIR),
        Ok(Some(Backing::Namespace(_) | Backing::Content(..))) if writes && !o_path => Err(libc::EPERM),
        // The kernel says so when the file is read; who opens it to read meets it one call earlier.
        Ok(Some(Backing::Unreadable(e, _))) => Err(e),
        Ok(Some(Backing::Namespace(space))) => lock(&world.spaces).open_file(space, o_path),
        Ok(Some(Backing::Content(text, real, holds))) => {
            let mode = std::fs::metadata(&real)
                .map_or(0o444, |m| std::os::unix::fs::PermissionsExt::mode(&m.permissions()) & 0o7777);
            content_file("pernet", &text, mode).and_then(|ours| {
                let Some(space) = holds else { return Ok(ours) };
                let theirs = reopen(&ours)?;
                lock(&world.spaces).shown_in(space, ours)?;
                Ok(theirs)
            })
        }
        Ok(Some(Backing::Real(path))) => {
            let changes = writes || flags & libc::O_CREAT != 0;
            if changes && !o_path && !may_write(world, task) {
                Err(libc::EACCES)
            } else {
                open_real(task, &path, flags, mode)
            }
        }
    };
    match file {
        Ok(fd) => Outcome::Fd(fd, flags & libc::O_CLOEXEC != 0),
        Err(e) => Outcome::Errno(e),
    }
}

/// Opens the file by which devices are made whose cable is a file.
fn open_tun(world: &World, task: Task, flags: i32) -> Outcome {
    if flags & libc::O_PATH != 0 {
        return Outcome::Proceed;
    }
    if flags & libc::O_DIRECTORY != 0 {
        return Outcome::Errno(libc::ENOTDIR);
    }
    if flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL {
        return Outcome::Errno(libc::EEXIST);
    }
    match crate::tun::open(world, task, flags & libc::O_NONBLOCK != 0) {
        Ok(fd) => Outcome::Fd(fd, flags & libc::O_CLOEXEC != 0),
        Err(e) => Outcome::Errno(e),
    }
}

/// Opens a setting for writing, if the place is one.
fn knob(world: &Arc<World>, task: Task, place: &Place, flags: i32) -> Result<Option<OwnedFd>, i32> {
    let Some((net, knob, mode, text)) = knob_at(world, task, place)? else { return Ok(None) };
    if flags & libc::O_DIRECTORY != 0 {
        return Err(libc::ENOTDIR);
    }
    if flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL {
        return Err(libc::EEXIST);
    }
    let reads = flags & libc::O_ACCMODE == libc::O_RDWR;
    if !knob_permits(world, task, &net, mode, if reads { 0o6 } else { 0o2 }) {
        return Err(libc::EACCES);
    }
    let text = if reads { Some(text?) } else { None };
    crate::knobs::open(world, task, &net, knob, text.as_deref()).map(Some)
}

/// A namespace, a setting of it, its mode and what it reads as.
type KnobAt = (NetRef, Knob, u16, Result<String, i32>);

/// The setting that a place is, if it is one.
fn knob_at(world: &World, task: Task, place: &Place) -> Result<Option<KnobAt>, i32> {
    let net = world.net_of(task)?;
    match place {
        Place::SysctlNet(rest) => {
            let path = rest.to_str().ok_or(libc::ENOENT)?;
            match world.stack.sysctl_node(&net, path).ok_or(libc::ENOENT)? {
                SysctlNode::Dir(_) => Err(libc::EISDIR),
                SysctlNode::File(mode) => {
                    let text = world.stack.sysctl_read(&net, path).map_err(|e| e.errno());
                    Ok(Some((net, Knob::Sysctl(path.to_owned()), mode, text)))
                }
            }
        }
        Place::SysNet(rest) => {
            let mut names = rest.components();
            let device = names.next().and_then(|d| d.as_os_str().to_str());
            let attribute = names.as_path().to_str().unwrap_or_default().to_owned();
            let links = world.stack.links(&net).ok_or(libc::EINVAL)?;
            let link = device.and_then(|d| links.by_name(d).filter(|l| l.name().as_str() == d));
            let Some(link) = link else { return Ok(None) };
            let Some(text) = world.stack.sysfs_read(&net, &link, &attribute) else { return Ok(None) };
            let mode = pernet_stack::sysfs_mode(&link, &attribute).unwrap_or(0o444);
            Ok(Some((net, Knob::Sysfs(link.index(), attribute), mode, text.map_err(|e| e.errno()))))
        }
        _ => Ok(None),
    }
}

/// Does a path end at a network knob of the host, by a link or another mount of /proc?  Asked only where the programs
/// could turn it: of someone without privileges the kernel's own permissions are enough.
fn leads_to_knob(task: Task, arg: Arg) -> bool {
    let Ok(raw) = Memory::of(task.tid).path(arg.address) else { return false };
    let Some(path) = crate::paths::absolute(task, arg.dirfd, &raw) else { return false };
    let real = crate::world::proc_path(task, "root").join(path.strip_prefix("/").unwrap_or(&path));
    let Ok(file) = rustix::fs::open(&real, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else { return false };
    let on_proc = sys::statfs_of(file.as_fd()).is_ok_and(|st| st.f_type == libc::PROC_SUPER_MAGIC);
    let name = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
    on_proc && name.to_string_lossy().contains("/sys/net/")
}

fn reopen(file: &OwnedFd) -> Result<OwnedFd, i32> {
    rustix::fs::open(format!("/proc/self/fd/{}", file.as_raw_fd()), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(os)
}

fn open_real(task: Task, path: &Path, flags: i32, mode: u32) -> Result<OwnedFd, i32> {
    // A descriptor opened with O_PATH cannot be handed over; a readable one can do all that one can.  Neither a link nor
    // a pipe may lead or hold us anywhere: only plain files and directories are private ones.
    let flags = (OFlags::from_bits_retain(flags as u32)
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK)
        .difference(OFlags::PATH);
    rustix::fs::open(path, flags, Mode::from_raw_mode(mode & !umask(task) & 0o7777)).map_err(os)
}

fn umask(task: Task) -> u32 {
    let status = std::fs::read_to_string(crate::world::proc_path(task, "status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("Umask:"));
    line.and_then(|l| u32::from_str_radix(l.trim(), 8).ok()).unwrap_or(0o022)
}

fn stat(world: &World, call: &Call, arg: Arg, follow: bool, to: u64) -> Outcome {
    let task = task_of(call);
    let (place, b) = backing!(world, task, arg, follow);
    let st = match b {
        Backing::Namespace(space) => lock(&world.spaces)
            .with_file(space, |fd| sys::stat_at(fd.as_raw_fd(), &CString::default(), true))
            .and_then(|r| r)
            .map(|mut st| {
                st.st_nlink = 1;
                st
            }),
        Backing::Content(_, path, _) | Backing::Unreadable(_, path) | Backing::Real(path) => {
            c_path(&path).and_then(|p| sys::stat_at(libc::AT_FDCWD, &p, follow)).map(|mut st| {
                if !follow && is_class_link(&place) {
                    st.st_mode = libc::S_IFLNK | 0o777;
                } else if is_proc(&place) && st.st_mode & libc::S_IFMT == libc::S_IFDIR {
                    st.st_mode = libc::S_IFDIR | 0o555;
                }
                st
            })
        }
    };
    write_out(task, to, st)
}

/// `/sys/class/net/DEV` itself is a link to the device's directory.
fn is_class_link(place: &Place) -> bool {
    matches!(place, Place::SysNet(rest) if rest.components().count() == 1)
}

/// Nothing is made in a directory of procfs by its readers.
fn is_proc(place: &Place) -> bool {
    matches!(place, Place::SysctlNet(_) | Place::ProcNet(..))
}

fn write_out<T: sys::Plain>(task: Task, to: u64, value: Result<T, i32>) -> Outcome {
    match value {
        Ok(v) => match Memory::of(task.tid).write(to, sys::bytes_of(&v)) {
            Ok(()) => Outcome::Value(0),
            Err(e) => Outcome::Errno(e.errno()),
        },
        Err(e) => Outcome::Errno(e),
    }
}

fn statx(world: &World, call: &Call) -> Outcome {
    let task = task_of(call);
    let flags = call.int(2);
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    let (place, b) = backing!(world, task, at(call, 0, 1), follow);
    let mask = call.args[3] as u32;
    let st = match b {
        Backing::Namespace(space) => lock(&world.spaces)
            .with_file(space, |fd| sys::statx_at(fd.as_raw_fd(), &CString::default(), libc::AT_EMPTY_PATH, mask))
            .and_then(|r| r)
            .map(|mut st| {
                st.stx_nlink = 1;
                st
            }),
        Backing::Content(_, path, _) | Backing::Unreadable(_, path) | Backing::Real(path) => {
            c_path(&path).and_then(|p| sys::statx_at(libc::AT_FDCWD, &p, flags, mask)).map(|mut st| {
                if !follow && is_class_link(&place) {
                    st.stx_mode = (libc::S_IFLNK | 0o777) as u16;
                } else if is_proc(&place) && u32::from(st.stx_mode) & libc::S_IFMT == libc::S_IFDIR {
                    st.stx_mode = (libc::S_IFDIR | 0o555) as u16;
                }
                st
            })
        }
    };
    write_out(task, call.args[4], st)
}

fn access(world: &World, call: &Call, arg: Arg, mode: i32, follow: bool) -> Outcome {
    let task = task_of(call);
    let (_, b) = backing!(world, task, arg, follow);
    let result = match b {
        Backing::Namespace(_) => (mode & (libc::W_OK | libc::X_OK) == 0).then_some(()).ok_or(libc::EACCES),
        Backing::Content(_, path, _) | Backing::Unreadable(_, path) | Backing::Real(path) => {
            let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
            rustix::fs::accessat(rustix::fs::CWD, &path, rustix::fs::Access::from_bits_retain(mode as u32), flags)
                .map_err(os)
        }
    };
    Outcome::from(result.map(|()| 0))
}

fn readlink(world: &World, call: &Call, arg: Arg, to: u64, size: u64) -> Outcome {
    let task = task_of(call);
    let Some(place) = place_of(world, task, arg) else {
        return Outcome::Proceed;
    };
    let text: Result<OsString, i32> = match &place {
        Place::NsNet(who) => match space_of(world, task, *who) {
            Some(space) => lock(&world.spaces).inode(space).map(|ino| format!("net:[{ino}]").into()),
            None => return Outcome::Proceed,
        },
        Place::SysNet(rest) if is_class_link(&place) => match back(world, task, &place, true) {
            Ok(Some(Backing::Real(real))) if real.is_dir() => {
                Ok(Path::new("../../devices/virtual/net").join(rest).into())
            }
            Ok(_) => Err(libc::ENOENT),
            Err(e) => Err(e),
        },
        Place::SysNet(rest) if rest.ends_with("subsystem") => Ok("../../../../class/net".into()),
        // A descriptor's link shows what the program thinks it is: a namespace, not an anonymous file.
        Place::Descriptor(who, fd) => match space_of_descriptor(world, task, *who, *fd) {
            Some((_, ino)) => Ok(format!("net:[{ino}]").into()),
            None => return Outcome::Proceed,
        },
        Place::ProcNet(_, rest) if rest.as_os_str().is_empty() => return Outcome::Proceed,
        Place::Mounts(..) => return Outcome::Proceed,
        _ => match back(world, task, &place, false) {
            Ok(Some(Backing::Real(path))) => std::fs::read_link(path).map(PathBuf::into_os_string).map_err(|e| io(&e)),
            Ok(Some(_)) => Err(libc::EINVAL),
            Ok(None) => return Outcome::Proceed,
            Err(e) => Err(e),
        },
    };
    let written = text.and_then(|t| {
        if size as i64 <= 0 {
            return Err(libc::EINVAL);
        }
        let bytes = t.as_bytes();
        let n = bytes.len().min(size as usize);
        Memory::of(task.tid).write(to, &bytes[..n]).map_err(|e| e.errno())?;
        Ok(n as i64)
    });
    Outcome::from(written)
}

fn mkdir(world: &World, call: &Call, arg: Arg, mode: u32) -> Outcome {
    let task = task_of(call);
    let (place, b) = backing!(world, task, arg, false);
    if place == Place::NetnsDir {
        return Outcome::Errno(libc::EEXIST);
    }
    if !may_write(world, task) {
        return Outcome::Errno(libc::EACCES);
    }
    Outcome::from(match b {
        Backing::Real(path) => {
            rustix::fs::mkdir(&path, Mode::from_raw_mode(mode & !umask(task) & 0o7777)).map(|()| 0).map_err(os)
        }
        _ => Err(libc::EEXIST),
    })
}

fn unlink(world: &World, call: &Call, arg: Arg, directory: bool) -> Outcome {
    let task = task_of(call);
    let (place, b) = backing!(world, task, arg, false);
    if !may_write(world, task) {
        return Outcome::Errno(libc::EACCES);
    }
    Outcome::from(match (place, b) {
        // Something is mounted on it.
        (_, Backing::Namespace(_)) | (Place::NetnsDir, _) => Err(libc::EBUSY),
        (Place::NetnsEntry(_), Backing::Real(path)) if directory => rustix::fs::rmdir(&path).map(|()| 0).map_err(os),
        (Place::NetnsEntry(_), Backing::Real(path)) => rustix::fs::unlink(&path).map(|()| 0).map_err(os),
        _ => Err(libc::EPERM),
    })
}

fn symlink(world: &World, call: &Call, text: u64, arg: Arg) -> Outcome {
    let task = task_of(call);
    let (place, b) = backing!(world, task, arg, false);
    if !may_write(world, task) {
        return Outcome::Errno(libc::EACCES);
    }
    let target = match Memory::of(task.tid).path(text) {
        Ok(t) => t,
        Err(e) => return Outcome::Errno(e.errno()),
    };
    Outcome::from(match (place, b) {
        (Place::NetnsEntry(_), Backing::Real(path)) => {
            std::os::unix::fs::symlink(target, path).map(|()| 0).map_err(|e| io(&e))
        }
        (Place::NetnsEntry(_) | Place::NetnsDir, _) => Err(libc::EEXIST),
        _ => Err(libc::EPERM),
    })
}

/// `inotify_add_watch`: `ip netns monitor` watches /run/netns.  The watch is put on what stands behind it, on the
/// program's own instance.
fn watch(world: &World, call: &Call) -> Outcome {
    let task = task_of(call);
    let (_, b) = backing!(world, task, plain(call, 1), true);
    let Backing::Real(path) = b else { return Outcome::Errno(libc::EACCES) };
    let flags = rustix::fs::inotify::WatchFlags::from_bits_retain(call.args[2] as u32);
    let added = world
        .copy_any_fd(task, call.int(0))
        .and_then(|instance| rustix::fs::inotify::add_watch(&instance, &path, flags).map_err(os));
    Outcome::from(added.map(i64::from))
}

fn statfs(world: &World, call: &Call) -> Outcome {
    let task = task_of(call);
    let (place, b) = backing!(world, task, plain(call, 0), true);
    let real = match (&b, &place) {
        (Backing::Namespace(space), _) => {
            return statfs_namespace(world, task, *space, call.args[1]);
        }
        (_, Place::ProcNet(..) | Place::SysctlNet(..)) => Path::new("/proc").to_path_buf(),
        (_, Place::SysNet(..)) => Path::new("/sys").to_path_buf(),
        (Backing::Real(path) | Backing::Unreadable(_, path) | Backing::Content(_, path, _), _) => path.clone(),
    };
    let st = rustix::fs::open(&real, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(os)
        .and_then(|fd| sys::statfs_of(fd.as_fd()));
    write_out(task, call.args[1], st)
}

fn statfs_namespace(world: &World, task: Task, space: SpaceId, to: u64) -> Outcome {
    let st = lock(&world.spaces).with_file(space, sys::statfs_of).and_then(|r| r).map(|mut st| {
        st.f_type = NSFS_MAGIC;
        st
    });
    write_out(task, to, st)
}

fn fstatfs(world: &World, call: &Call) -> Outcome {
    let task = task_of(call);
    let space = task.file(call.int(0)).and_then(|f| lock(&world.spaces).by_file(f));
    match space {
        Some(space) => statfs_namespace(world, task, space, call.args[1]),
        None => Outcome::Proceed,
    }
}

fn xattr(world: &World, call: &Call, none: Result<i64, i32>) -> Outcome {
    let (_, b) = backing!(world, task_of(call), plain(call, 0), true);
    match b {
        Backing::Real(path) if !path.exists() => Outcome::Errno(libc::ENOENT),
        _ => Outcome::from(none),
    }
}

fn chmod(world: &World, call: &Call, arg: Arg, mode: u32) -> Outcome {
    let task = task_of(call);
    let (place, b) = backing!(world, task, arg, true);
    if !may_write(world, task) {
        return Outcome::Errno(libc::EPERM);
    }
    Outcome::from(match (place, b) {
        (Place::NetnsEntry(_) | Place::NetnsDir, Backing::Real(path)) => {
            rustix::fs::chmod(&path, Mode::from_raw_mode(mode & 0o7777)).map(|()| 0).map_err(os)
        }
        _ => Err(libc::EPERM),
    })
}

fn refuse(world: &World, call: &Call, arg: Arg, errno: i32) -> Outcome {
    match place_of(world, task_of(call), arg) {
        Some(Place::Descriptor(..)) | None => Outcome::Proceed,
        Some(_) => Outcome::Errno(errno),
    }
}

fn rename(world: &World, call: &Call, from: Arg, to: Arg) -> Outcome {
    let task = task_of(call);
    match (place_of(world, task, from), place_of(world, task, to)) {
        (None | Some(Place::Descriptor(..)), None | Some(Place::Descriptor(..))) => Outcome::Proceed,
        (Some(Place::NetnsEntry(_)), Some(Place::NetnsEntry(_))) if !may_write(world, task) => {
            Outcome::Errno(libc::EACCES)
        }
        (Some(Place::NetnsEntry(a)), Some(Place::NetnsEntry(b))) => {
            let binds = lock(&world.binds);
            if binds.get(&netns_path(&a)).is_some() || binds.get(&netns_path(&b)).is_some() {
                return Outcome::Errno(libc::EBUSY);
            }
            drop(binds);
            Outcome::from(
                world
                    .vfs
                    .netns_dir()
                    .and_then(|d| std::fs::rename(d.join(a), d.join(b)).map(|()| 0).map_err(|e| io(&e))),
            )
        }
        _ => Outcome::Errno(libc::EXDEV),
    }
}
