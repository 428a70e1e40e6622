//! From a path in a program to what stands behind it.

use std::path::{Path, PathBuf};

use pernet::{Cap, NetRef};
use pernet_rtnl::SocketInfo;
use pernet_stack::{NetlinkSocket, SysctlNode};

use crate::mem::Memory;
use crate::paths::{NETNS_DIR, Place, Who, absolute, classify, may_be_virtual, netns_path, normalise};
use crate::tag::SpaceId;
use crate::task::Task;
use crate::vfs::Entry;
use crate::world::{World, lock};

/// How deep symbolic links may lead.
const MAX_LINKS: usize = 8;
/// What stands behind a place.
pub(crate) enum Backing {
    /// A namespace file.
    Namespace(SpaceId),
    /// A file made at each open, its stand-in for looking at, and the namespace that it holds while open.
    Content(Vec<u8>, PathBuf, Option<SpaceId>),
    /// A real file or directory, mostly a private one.
    Real(PathBuf),
    /// An attribute that cannot be read, and why; it can be looked at.
    Unreadable(i32, PathBuf),
}

/// A path argument: the directory it is relative to and where its text is.
#[derive(Clone, Copy)]
pub(crate) struct Arg {
    /// What it is relative to.
    pub(crate) dirfd: i32,
    /// Where its text is.
    pub(crate) address: u64,
}

/// The place that a path argument names; `None`: the kernel's.
pub(crate) fn place_of(world: &World, task: Task, arg: Arg) -> Option<Place> {
    // What we cannot read the kernel may judge: it says EFAULT, or serves a task that hides its memory.
    let raw = Memory::of(task.tid).path(arg.address).ok()?;
    let binds = lock(&world.binds);
    let elsewhere = binds.any_elsewhere();
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
    for (ours, theirs) in [("netns", NETNS_DIR), ("proc_net", "/proc/net")] {
        if let Ok(rest) = inside.strip_prefix(ours) {
            return normalise(&Path::new(theirs).join(rest));
        }
    }
    // Trees of which each namespace has its own: its number comes first.
    for (ours, part, theirs) in [
        ("sysctl_net", "", "/proc/sys/net"),
        ("dev_snmp6", "", "/proc/net/dev_snmp6"),
        ("sys_net", "class", "/sys/class/net"),
        ("sys_net", "devices", "/sys/devices/virtual/net"),
    ] {
        let Ok(rest) = inside.strip_prefix(ours) else { continue };
        let mut names = rest.components();
        names.next();
        if let Ok(rest) = names.as_path().strip_prefix(part) {
            return normalise(&Path::new(theirs).join(rest));
        }
    }
    path.to_path_buf()
}

/// The task that `/proc/WHO` is about.
pub(crate) fn target_of(task: Task, who: Who) -> Option<Task> {
    match who {
        Who::Process => task.tgid().map(Task::new),
        Who::Thread => Some(task),
        Who::Pid(n) | Who::ThreadOf(n) => task.translate_pid(n).map(Task::new),
    }
}

/// The namespace that `/proc/WHO` is in; `None` for processes that are not of this run.
pub(crate) fn space_of(world: &World, task: Task, who: Who) -> Option<SpaceId> {
    let target = target_of(task, who)?;
    lock(&world.spaces).of_task(target)
}

/// The namespace that descriptor `fd` of `/proc/WHO` is a file of, and its inode number.
pub(crate) fn space_of_descriptor(world: &World, task: Task, who: Who, fd: i32) -> Option<(SpaceId, u64)> {
    let file = target_of(task, who)?.file(fd)?;
    let space = lock(&world.spaces).by_file(file)?;
    Some((space, file.ino))
}

/// May this task make, remove and change names in /run/netns?  It is root's directory, as the run knows root.
pub(crate) fn may_write(world: &World, task: Task) -> bool {
    let cred = world.users.cred(task);
    cred.capable(world.namespaces.init_user_ns(), Cap::DacOverride)
}

/// What stands behind a place; `None`: the kernel's own.
///
/// # Errors
/// errno of looking.
pub(crate) fn back(world: &World, task: Task, place: &Place, follow: bool) -> Result<Option<Backing>, i32> {
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
                            // What lies outside is not opened with our rights.
                            None => return Err(libc::EACCES),
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
            // A namespace file opened by way of a descriptor is one more opening of it.
            Place::Descriptor(who, fd) if follow => match space_of_descriptor(world, task, *who, *fd) {
                Some((space, _)) => Backing::Namespace(space),
                None => return Ok(None),
            },
            Place::Nowhere => return Err(libc::ENOENT),
            Place::Mounts(who, name) if follow => return super::mounts::list(world, task, *who, name),
            Place::Mounts(..) | Place::Tun => return Ok(None),
            Place::SysctlNet(rest) => return sysctl_net(world, task, rest).map(Some),
            Place::Descriptor(..) => return Ok(None),
        }));
    }
    Err(libc::ELOOP)
}

/// The programs' netlink sockets that have a port.
fn netlink_sockets(world: &World, net: &NetRef) -> Vec<NetlinkSocket> {
    let shown = |socket: SocketInfo| NetlinkSocket {
        protocol: socket.protocol.number() as u32,
        portid: socket.addr.portid,
        groups: socket.addr.groups,
        receive_queue: socket.receive_queue as u32,
        dump: socket.dumping,
        drops: socket.drops,
        inode: socket.inode,
    };
    world.rtnl.sockets(net).into_iter().map(shown).collect()
}

fn proc_net(world: &World, task: Task, who: Who, rest: &Path) -> Result<Backing, i32> {
    // A process of the host: its network is none of the program's business.
    let space = space_of(world, task, who).ok_or(libc::EACCES)?;
    let net = lock(&world.spaces).net(space).ok_or(libc::EINVAL)?;
    let links = world.stack.links(&net).ok_or(libc::EINVAL)?;
    let tree =
        world.vfs.tree("proc_net", || pernet_stack::proc_net_entries(links).into_iter().map(tree_entry).collect())?;
    let real = match rest.strip_prefix("dev_snmp6") {
        // The one directory whose files are those of a namespace.
        Ok(device) => {
            let of_device = |entry: pernet_stack::Entry| {
                Some((entry.path.strip_prefix("dev_snmp6/")?.to_owned(), Some(entry.mode)))
            };
            let names: Vec<_> = pernet_stack::proc_net_entries(links).into_iter().filter_map(of_device).collect();
            let own = world.vfs.mirror(&own_tree("dev_snmp6", space, Path::new("")), &names)?;
            if device.as_os_str().is_empty() { own } else { own.join(device) }
        }
        Err(_) => tree.join(rest),
    };
    world.sockets.sweep_soon();
    let text = match rest.to_str() {
        Some("netlink") => Some(pernet_stack::proc_net_netlink(links, &netlink_sockets(world, &net)).into_bytes()),
        Some("unix") => Some(crate::unix::proc_net(world, &net)),
        Some(name) => pernet_stack::proc_net_file(&world.stack, &net, name).map(String::into_bytes),
        None => None,
    };
    Ok(match text {
        Some(text) => Backing::Content(text, real, Some(space)),
        None => Backing::Real(real),
    })
}

/// The directory that stands for `rest` in the namespace of `space`: a tree of its own for each namespace.
fn own_tree(tree: &str, space: SpaceId, rest: &Path) -> PathBuf {
    Path::new(tree).join(space.number().to_string()).join(rest)
}

fn sysctl_net(world: &World, task: Task, rest: &Path) -> Result<Backing, i32> {
    let net = world.net_of(task)?;
    let space = lock(&world.spaces).of_task(task).ok_or(libc::ESRCH)?;
    let path = rest.to_str().ok_or(libc::ENOENT)?;
    let at = own_tree("sysctl_net", space, rest);
    match world.stack.sysctl_node(&net, path).ok_or(libc::ENOENT)? {
        SysctlNode::Dir(names) => world.vfs.mirror(&at, &names).map(Backing::Real),
        SysctlNode::File(mode) => {
            let real = world.vfs.stand_in(&at, mode)?;
            if !knob_permits(world, task, &net, mode, 0o4) {
                return Ok(Backing::Unreadable(libc::EACCES, real));
            }
            match world.stack.sysctl_read(&net, path) {
                Ok(text) => Ok(Backing::Content(text.into_bytes(), real, None)),
                Err(e) => Ok(Backing::Unreadable(e.errno(), real)),
            }
        }
    }
}

/// Whether a mode lets a task read (4) or write (2): who administers the network has what its owner has.
pub(crate) fn knob_permits(world: &World, task: Task, net: &NetRef, mode: u16, wanted: u16) -> bool {
    let owner = world.users.cred(task).capable(net.owner(), Cap::NetAdmin);
    let bits = if owner { mode >> 6 } else { mode };
    bits & wanted == wanted
}

fn sys_net(world: &World, task: Task, rest: &Path) -> Result<Backing, i32> {
    let net = world.net_of(task)?;
    let space = lock(&world.spaces).of_task(task).ok_or(libc::ESRCH)?;
    let links = world.stack.links(&net).ok_or(libc::EINVAL)?;
    let mut names = rest.components();
    let Some(device) = names.next() else {
        let names: Vec<_> = links.all().iter().map(|l| (l.name().as_str().to_owned(), None)).collect();
        return world.vfs.mirror(&own_tree("sys_net", space, Path::new("class")), &names).map(Backing::Real);
    };
    let device = device.as_os_str().to_str().ok_or(libc::ENOENT)?;
    let link = links.by_name(device).filter(|l| l.name().as_str() == device).ok_or(libc::ENOENT)?;
    let attribute = names.as_path().to_str().ok_or(libc::ENOENT)?;
    let at = own_tree("sys_net", space, &Path::new("devices").join(rest));
    if let Some(text) = world.stack.sysfs_read(&net, &link, attribute) {
        let mode = pernet_stack::sysfs_mode(&link, attribute).unwrap_or(0o444);
        let real = world.vfs.stand_in(&at, mode)?;
        return Ok(match text {
            Ok(text) => Backing::Content(text.into_bytes(), real, None),
            Err(e) => Backing::Unreadable(e.errno(), real),
        });
    }
    let names = pernet_stack::sysfs_dir(&link, attribute).ok_or(libc::ENOENT)?;
    world.vfs.mirror(&at, &names).map(Backing::Real)
}

fn tree_entry(e: pernet_stack::Entry) -> Entry {
    let content = matches!(e.kind, pernet_stack::EntryKind::File).then(Vec::new);
    Entry { path: e.path, content, mode: u32::from(e.mode) }
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
    let path = visible(world, &absolute(task, libc::AT_FDCWD, &raw).ok_or(libc::ENOENT)?);
    let place = classify(&path, &lock(&world.binds));
    Ok(match place {
        Some(Place::NetnsDir) => MountPoint::NetnsDir,
        Some(Place::NetnsEntry(name)) => {
            let exists = world.vfs.netns_dir()?.join(&name).symlink_metadata().is_ok();
            MountPoint::Entry(netns_path(&name), exists)
        }
        Some(Place::Bound(path)) => MountPoint::Entry(path, true),
        Some(Place::NsNet(who)) => space_of(world, task, who).map_or(MountPoint::Native(path), |_| MountPoint::Magic),
        _ if path == Path::new("/sys") => MountPoint::Sys,
        _ => MountPoint::Native(path),
    })
}

/// The namespace that a path names when it is opened, for the source of a bind mount.
pub(crate) fn namespace_at(world: &World, task: Task, address: u64) -> Option<SpaceId> {
    let place = place_of(world, task, Arg { dirfd: libc::AT_FDCWD, address })?;
    // /proc/self/fd/N of an open namespace file is a customary spelling of it.
    match back(world, task, &place, true) {
        Ok(Some(Backing::Namespace(space))) => Some(space),
        _ => None,
    }
}
