//! System calls that name a file by a path.
//!
//! The kernel keeps everything that is not a [`Place`]; what is one is done here, on what stands behind it.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::Outcome;
use crate::listener::Call;
use crate::mem::Memory;
use crate::paths::{
    NETNS_DIR, Place, Who, absolute, classify, may_be_virtual, netns_path, normalise,
};
use crate::spaces::{IDENTITY_NAME, SpaceId};
use crate::sys;
use crate::task::Task;
use crate::vfs::{Entry, content_file};
use crate::world::{World, lock};

/// How deep symbolic links may lead.
const MAX_LINKS: usize = 8;
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// What stands behind a place.
enum Backing {
    /// A namespace file.
    Namespace(SpaceId),
    /// A file made at each open.
    Content(String, PathBuf),
    /// A real file or directory, mostly a private one.
    Real(PathBuf),
    /// An attribute that cannot be read, and why; it can be looked at.
    Unreadable(i32, PathBuf),
}

/// A path argument: the directory it is relative to and where its text is.
#[derive(Clone, Copy)]
struct Arg {
    dirfd: i32,
    address: u64,
}

fn at(call: &Call, dir: usize, path: usize) -> Arg {
    Arg {
        dirfd: call.int(dir),
        address: call.args[path],
    }
}

fn plain(call: &Call, path: usize) -> Arg {
    Arg {
        dirfd: libc::AT_FDCWD,
        address: call.args[path],
    }
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
pub(crate) fn handle(world: &World, call: &Call) -> Outcome {
    use libc::*;
    let follow_unless = |flag: usize, bit: i32| call.int(flag) & bit == 0;
    match call.nr {
        SYS_open => self::open(world, call, plain(call, 0), call.int(1), call.int(2) as u32),
        SYS_creat => self::open(
            world,
            call,
            plain(call, 0),
            O_CREAT | O_WRONLY | O_TRUNC,
            call.int(1) as u32,
        ),
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
        SYS_newfstatat => self::stat(
            world,
            call,
            at(call, 0, 1),
            follow_unless(3, AT_SYMLINK_NOFOLLOW),
            call.args[2],
        ),
        SYS_statx => self::statx(world, call),
        SYS_access => self::access(world, call, plain(call, 0), call.int(1), true),
        SYS_faccessat => self::access(world, call, at(call, 0, 1), call.int(2), true),
        SYS_faccessat2 => self::access(
            world,
            call,
            at(call, 0, 1),
            call.int(2),
            follow_unless(3, AT_SYMLINK_NOFOLLOW),
        ),
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
        SYS_truncate => self::refuse(world, call, plain(call, 0), EINVAL),
        SYS_rename => self::rename(world, call, plain(call, 0), plain(call, 1)),
        SYS_renameat | SYS_renameat2 => self::rename(world, call, at(call, 0, 1), at(call, 2, 3)),
        _ => Outcome::Proceed,
    }
}

/// The place that a path argument names; `None`: the kernel's.
fn place_of(world: &World, task: Task, arg: Arg) -> Option<Place> {
    // What we cannot read the kernel may judge: it says EFAULT, or serves a task that hides its memory.
    let raw = Memory::of(task.tid).path(arg.address).ok()?;
    let binds = lock(&world.binds);
    let elsewhere = binds.iter().any(|(p, _)| !p.starts_with(NETNS_DIR));
    if raw.is_empty() || !may_be_virtual(&raw, elsewhere) {
        return None;
    }
    drop(binds);
    let path = visible(world, &absolute(task, arg.dirfd, &raw)?);
    classify(&path, &lock(&world.binds))
}

/// A path into our private folder, as programs know it: they got the directory from us.
fn visible(world: &World, path: &Path) -> PathBuf {
    let Some(inside) = world.vfs.inside(path) else {
        return path.to_path_buf();
    };
    for (ours, theirs) in [
        ("netns", NETNS_DIR),
        ("proc_net", "/proc/net"),
        ("sys_net/class", "/sys/class/net"),
        ("sys_net/devices", "/sys/devices/virtual/net"),
    ] {
        if let Ok(rest) = inside.strip_prefix(ours) {
            return normalise(&Path::new(theirs).join(rest));
        }
    }
    path.to_path_buf()
}

fn task_of(call: &Call) -> Task {
    Task::new(call.tid)
}

/// The namespace that `/proc/WHO` is in; `None` for processes that are not of this run.
fn space_of(world: &World, task: Task, who: Who) -> Option<SpaceId> {
    let target = match who {
        Who::Process => Task::new(task.tgid()?),
        Who::Thread => task,
        Who::Pid(n) | Who::ThreadOf(n) => Task::new(task.translate_pid(n)?),
    };
    lock(&world.spaces).of_task(target)
}

fn back(world: &World, task: Task, place: &Place, follow: bool) -> Result<Option<Backing>, i32> {
    let mut place = place.clone();
    for _ in 0..MAX_LINKS {
        return Ok(Some(match &place {
            Place::NetnsDir => Backing::Real(world.vfs.netns_dir()?),
            Place::NetnsEntry(name) => {
                if let Some(space) = lock(&world.binds).get(&netns_path(name)) {
                    return Ok(Some(Backing::Namespace(space)));
                }
                let real = world.vfs.netns_dir()?.join(name);
                match std::fs::read_link(&real) {
                    Ok(target) if follow => {
                        let target = normalise(&Path::new(NETNS_DIR).join(target));
                        match classify(&target, &lock(&world.binds)) {
                            Some(next) => {
                                place = next;
                                continue;
                            }
                            None => Backing::Real(target),
                        }
                    }
                    _ => Backing::Real(real),
                }
            }
            Place::Bound(path) => match lock(&world.binds).get(path) {
                Some(space) => Backing::Namespace(space),
                None => return Ok(None),
            },
            Place::NsNet(_) if !follow => return Ok(None),
            Place::NsNet(who) => match space_of(world, task, *who) {
                Some(space) => Backing::Namespace(space),
                None => return Ok(None),
            },
            Place::ProcNet(_, rest) if rest.as_os_str().is_empty() && !follow => return Ok(None),
            Place::ProcNet(who, rest) => return proc_net(world, task, *who, rest).map(Some),
            Place::SysNet(rest) => return sys_net(world, task, rest).map(Some),
            Place::HostKnob | Place::Descriptor(..) => return Ok(None),
        }));
    }
    Err(libc::ELOOP)
}

fn proc_net(world: &World, task: Task, who: Who, rest: &Path) -> Result<Backing, i32> {
    // A process of the host: its network is none of the program's business.
    let space = space_of(world, task, who).ok_or(libc::EACCES)?;
    let net = lock(&world.spaces).net(space).ok_or(libc::EINVAL)?;
    let links = world.stack.links(&net).ok_or(libc::EINVAL)?;
    let tree = world.vfs.tree("proc_net", || {
        pernet_stack::proc_net_entries(links)
            .into_iter()
            .map(tree_entry)
            .collect()
    })?;
    let real = tree.join(rest);
    let text = rest
        .to_str()
        .and_then(|name| pernet_stack::proc_net_file(links, name));
    Ok(match text {
        Some(text) => Backing::Content(text, real),
        None => Backing::Real(real),
    })
}

fn sys_net(world: &World, task: Task, rest: &Path) -> Result<Backing, i32> {
    let net = world.net_of(task)?;
    let links = world.stack.links(&net).ok_or(libc::EINVAL)?;
    let tree = world.vfs.tree("sys_net", || {
        let mut entries = Vec::new();
        for link in links.all() {
            let name = link.name().as_str().to_owned();
            entries.push(Entry {
                path: format!("devices/{name}"),
                content: None,
                mode: 0o755,
            });
            entries.extend(pernet_stack::sysfs_entries(&link).into_iter().map(|e| {
                let mut e = tree_entry(e);
                e.path = format!("devices/{name}/{}", e.path);
                e
            }));
            entries.push(Entry {
                path: format!("class/{name}"),
                content: None,
                mode: 0o755,
            });
        }
        entries
    })?;
    let mut names = rest.components();
    let Some(device) = names.next() else {
        return Ok(Backing::Real(tree.join("class")));
    };
    let attribute = names.as_path();
    let real = tree.join("devices").join(rest);
    let link = device.as_os_str().to_str().and_then(|d| links.by_name(d));
    match link.and_then(|l| pernet_stack::sysfs_attr(&l, attribute.to_str()?)) {
        Some(Ok(text)) => Ok(Backing::Content(text, real)),
        Some(Err(e)) => Ok(Backing::Unreadable(e.errno(), real)),
        None => Ok(Backing::Real(real)),
    }
}

fn tree_entry(e: pernet_stack::Entry) -> Entry {
    let content = matches!(e.kind, pernet_stack::EntryKind::File).then(Vec::new);
    Entry {
        path: e.path,
        content,
        mode: u32::from(e.mode),
    }
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

fn open(world: &World, call: &Call, arg: Arg, flags: i32, mode: u32) -> Outcome {
    let task = task_of(call);
    let Some(place) = place_of(world, task, arg) else {
        return Outcome::Proceed;
    };
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
    if place == Place::HostKnob {
        // Never the host's network: a knob that every namespace has of its own is not one we have yet.
        return if writes {
            Outcome::Errno(libc::EACCES)
        } else {
            Outcome::Proceed
        };
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
        Ok(Some(Backing::Namespace(_) | Backing::Content(..)))
            if flags & libc::O_DIRECTORY != 0 =>
        {
            Err(libc::ENOTDIR)
        }
        Ok(Some(Backing::Namespace(_) | Backing::Content(..))) if writes && !o_path => {
            Err(libc::EACCES)
        }
        // The kernel says so when the file is read; who opens it to read meets it one call earlier.
        Ok(Some(Backing::Unreadable(e, _))) => Err(e),
        Ok(Some(Backing::Namespace(space))) => lock(&world.spaces).open_file(space, o_path),
        Ok(Some(Backing::Content(text, real))) => {
            let mode = std::fs::metadata(&real).map_or(0o444, |m| {
                std::os::unix::fs::PermissionsExt::mode(&m.permissions()) & 0o7777
            });
            content_file("pernet", text.as_bytes(), mode)
        }
        Ok(Some(Backing::Real(path))) => open_real(task, &path, flags, mode),
    };
    match file {
        Ok(fd) => Outcome::Fd(fd, flags & libc::O_CLOEXEC != 0),
        Err(e) => Outcome::Errno(e),
    }
}

fn open_real(task: Task, path: &Path, flags: i32, mode: u32) -> Result<OwnedFd, i32> {
    let flags = OFlags::from_bits_retain(flags as u32) | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(
        path,
        flags,
        Mode::from_raw_mode(mode & !umask(task) & 0o7777),
    )
    .map_err(os)
}

fn umask(task: Task) -> u32 {
    let status =
        std::fs::read_to_string(crate::world::proc_path(task, "status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("Umask:"));
    line.and_then(|l| u32::from_str_radix(l.trim(), 8).ok())
        .unwrap_or(0o022)
}

fn stat(world: &World, call: &Call, arg: Arg, follow: bool, to: u64) -> Outcome {
    let task = task_of(call);
    let (place, b) = backing!(world, task, arg, follow);
    let st = match b {
        Backing::Namespace(space) => lock(&world.spaces)
            .with_file(space, |fd| {
                sys::stat_at(fd.as_raw_fd(), &CString::default(), true)
            })
            .and_then(|r| r)
            .map(|mut st| {
                st.st_nlink = 1;
                st
            }),
        Backing::Content(_, path) | Backing::Unreadable(_, path) | Backing::Real(path) => {
            c_path(&path)
                .and_then(|p| sys::stat_at(libc::AT_FDCWD, &p, follow))
                .map(|mut st| {
                    if !follow && is_class_link(&place) {
                        st.st_mode = libc::S_IFLNK | 0o777;
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
            .with_file(space, |fd| {
                sys::statx_at(
                    fd.as_raw_fd(),
                    &CString::default(),
                    libc::AT_EMPTY_PATH,
                    mask,
                )
            })
            .and_then(|r| r)
            .map(|mut st| {
                st.stx_nlink = 1;
                st
            }),
        Backing::Content(_, path) | Backing::Unreadable(_, path) | Backing::Real(path) => {
            c_path(&path)
                .and_then(|p| sys::statx_at(libc::AT_FDCWD, &p, flags, mask))
                .map(|mut st| {
                    if !follow && is_class_link(&place) {
                        st.stx_mode = (libc::S_IFLNK | 0o777) as u16;
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
        Backing::Namespace(_) => (mode & (libc::W_OK | libc::X_OK) == 0)
            .then_some(())
            .ok_or(libc::EACCES),
        Backing::Content(_, path) | Backing::Unreadable(_, path) | Backing::Real(path) => {
            let flags = if follow {
                AtFlags::empty()
            } else {
                AtFlags::SYMLINK_NOFOLLOW
            };
            rustix::fs::accessat(
                rustix::fs::CWD,
                &path,
                rustix::fs::Access::from_bits_retain(mode as u32),
                flags,
            )
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
            Some(space) => lock(&world.spaces)
                .inode(space)
                .map(|ino| format!("net:[{ino}]").into()),
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
        Place::Descriptor(who, fd) => match descriptor_link(world, task, *who, *fd) {
            Some(text) => Ok(text),
            None => return Outcome::Proceed,
        },
        Place::ProcNet(_, rest) if rest.as_os_str().is_empty() => return Outcome::Proceed,
        Place::HostKnob => return Outcome::Proceed,
        _ => match back(world, task, &place, false) {
            Ok(Some(Backing::Real(path))) => std::fs::read_link(path)
                .map(PathBuf::into_os_string)
                .map_err(|e| io(&e)),
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
        Memory::of(task.tid)
            .write(to, &bytes[..n])
            .map_err(|e| e.errno())?;
        Ok(n as i64)
    });
    Outcome::from(written)
}

/// A descriptor's link shows what the program thinks it is: a namespace, not an anonymous file.
fn descriptor_link(world: &World, task: Task, who: Who, fd: i32) -> Option<OsString> {
    let target = match who {
        Who::Process => Task::new(task.tgid()?),
        Who::Thread => task,
        Who::Pid(n) | Who::ThreadOf(n) => Task::new(task.translate_pid(n)?),
    };
    let link = target.fd_link(fd)?;
    let memfd = link
        .to_str()?
        .strip_prefix("/memfd:")?
        .starts_with(IDENTITY_NAME);
    let file = memfd.then(|| target.file(fd))??;
    lock(&world.spaces)
        .by_file(file)
        .map(|_| format!("net:[{}]", file.ino).into())
}

fn mkdir(world: &World, call: &Call, arg: Arg, mode: u32) -> Outcome {
    let task = task_of(call);
    let (_, b) = backing!(world, task, arg, false);
    Outcome::from(match b {
        Backing::Real(path) => {
            rustix::fs::mkdir(&path, Mode::from_raw_mode(mode & !umask(task) & 0o7777))
                .map(|()| 0)
                .map_err(os)
        }
        _ => Err(libc::EEXIST),
    })
}

fn unlink(world: &World, call: &Call, arg: Arg, directory: bool) -> Outcome {
    let task = task_of(call);
    let (place, b) = backing!(world, task, arg, false);
    Outcome::from(match (place, b) {
        // Something is mounted on it.
        (_, Backing::Namespace(_)) | (Place::NetnsDir, _) => Err(libc::EBUSY),
        (Place::NetnsEntry(_), Backing::Real(path)) if directory => {
            rustix::fs::rmdir(&path).map(|()| 0).map_err(os)
        }
        (Place::NetnsEntry(_), Backing::Real(path)) => {
            rustix::fs::unlink(&path).map(|()| 0).map_err(os)
        }
        _ => Err(libc::EPERM),
    })
}

fn symlink(world: &World, call: &Call, text: u64, arg: Arg) -> Outcome {
    let task = task_of(call);
    let (place, b) = backing!(world, task, arg, false);
    let target = match Memory::of(task.tid).path(text) {
        Ok(t) => t,
        Err(e) => return Outcome::Errno(e.errno()),
    };
    Outcome::from(match (place, b) {
        (Place::NetnsEntry(_), Backing::Real(path)) => std::os::unix::fs::symlink(target, path)
            .map(|()| 0)
            .map_err(|e| io(&e)),
        (Place::NetnsEntry(_) | Place::NetnsDir, _) => Err(libc::EEXIST),
        _ => Err(libc::EPERM),
    })
}

fn statfs(world: &World, call: &Call) -> Outcome {
    let task = task_of(call);
    let (place, b) = backing!(world, task, plain(call, 0), true);
    let real = match (&b, &place) {
        (Backing::Namespace(space), _) => {
            return statfs_namespace(world, task, *space, call.args[1]);
        }
        (_, Place::ProcNet(..)) => Path::new("/proc").to_path_buf(),
        (_, Place::SysNet(..)) => Path::new("/sys").to_path_buf(),
        (Backing::Real(path) | Backing::Unreadable(_, path) | Backing::Content(_, path), _) => {
            path.clone()
        }
    };
    let st = rustix::fs::open(&real, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(os)
        .and_then(|fd| sys::statfs_of(fd.as_fd()));
    write_out(task, call.args[1], st)
}

fn statfs_namespace(world: &World, task: Task, space: SpaceId, to: u64) -> Outcome {
    let st = lock(&world.spaces)
        .with_file(space, sys::statfs_of)
        .and_then(|r| r)
        .map(|mut st| {
            st.f_type = NSFS_MAGIC;
            st
        });
    write_out(task, to, st)
}

fn fstatfs(world: &World, call: &Call) -> Outcome {
    let task = task_of(call);
    let space = task
        .file(call.int(0))
        .and_then(|f| lock(&world.spaces).by_file(f));
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
    let (place, b) = backing!(world, task_of(call), arg, true);
    Outcome::from(match (place, b) {
        (Place::NetnsEntry(_) | Place::NetnsDir, Backing::Real(path)) => {
            rustix::fs::chmod(&path, Mode::from_raw_mode(mode & 0o7777))
                .map(|()| 0)
                .map_err(os)
        }
        _ => Err(libc::EPERM),
    })
}

fn refuse(world: &World, call: &Call, arg: Arg, errno: i32) -> Outcome {
    match place_of(world, task_of(call), arg) {
        Some(Place::HostKnob) => Outcome::Errno(libc::EACCES),
        Some(Place::Descriptor(..)) | None => Outcome::Proceed,
        Some(_) => Outcome::Errno(errno),
    }
}

fn rename(world: &World, call: &Call, from: Arg, to: Arg) -> Outcome {
    let task = task_of(call);
    match (place_of(world, task, from), place_of(world, task, to)) {
        (None | Some(Place::Descriptor(..)), None | Some(Place::Descriptor(..))) => {
            Outcome::Proceed
        }
        (Some(Place::NetnsEntry(a)), Some(Place::NetnsEntry(b))) => {
            let binds = lock(&world.binds);
            if binds.get(&netns_path(&a)).is_some() || binds.get(&netns_path(&b)).is_some() {
                return Outcome::Errno(libc::EBUSY);
            }
            drop(binds);
            Outcome::from(world.vfs.netns_dir().and_then(|d| {
                std::fs::rename(d.join(a), d.join(b))
                    .map(|()| 0)
                    .map_err(|e| io(&e))
            }))
        }
        _ => Outcome::Errno(libc::EXDEV),
    }
}

/// What a mount call's path names, for the mount family.
pub(crate) enum MountPoint {
    /// The kernel's.
    Native(PathBuf),
    /// /run/netns itself.
    NetnsDir,
    /// Somewhere a namespace file can be bound: its spelling in the table, and whether the file exists.
    Entry(PathBuf, bool),
    /// A namespace file that cannot be mounted upon.
    Magic,
    /// /sys.
    Sys,
}

/// Resolves a path for `mount` and `umount2`.
///
/// # Errors
/// errno.
pub(crate) fn mount_point(world: &World, task: Task, address: u64) -> Result<MountPoint, i32> {
    let raw = Memory::of(task.tid).path(address).map_err(|e| e.errno())?;
    let path = visible(
        world,
        &absolute(task, libc::AT_FDCWD, &raw).ok_or(libc::ENOENT)?,
    );
    let place = classify(&path, &lock(&world.binds));
    Ok(match place {
        Some(Place::NetnsDir) => MountPoint::NetnsDir,
        Some(Place::NetnsEntry(name)) => {
            let exists = world
                .vfs
                .netns_dir()?
                .join(&name)
                .symlink_metadata()
                .is_ok();
            MountPoint::Entry(netns_path(&name), exists)
        }
        Some(Place::Bound(path)) => MountPoint::Entry(path, true),
        Some(Place::NsNet(who)) => {
            space_of(world, task, who).map_or(MountPoint::Native(path), |_| MountPoint::Magic)
        }
        _ if path == Path::new("/sys") => MountPoint::Sys,
        _ => MountPoint::Native(path),
    })
}

/// The namespace that a path names when it is opened, for the source of a bind mount.
pub(crate) fn namespace_at(world: &World, task: Task, address: u64) -> Option<SpaceId> {
    let place = place_of(
        world,
        task,
        Arg {
            dirfd: libc::AT_FDCWD,
            address,
        },
    )?;
    match back(world, task, &place, true) {
        Ok(Some(Backing::Namespace(space))) => Some(space),
        _ => {
            // /proc/self/fd/N of an open namespace file is a customary spelling of it.
            let Place::Descriptor(who, fd) = place else {
                return None;
            };
            let target = match who {
                Who::Process => Task::new(task.tgid()?),
                Who::Thread => task,
                Who::Pid(n) | Who::ThreadOf(n) => Task::new(task.translate_pid(n)?),
            };
            lock(&world.spaces).by_file(target.file(fd)?)
        }
    }
}
