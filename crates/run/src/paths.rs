//! Which paths are ours.
//!
//! A path is judged lexically, after its `.` and `..` are worked off and a relative one is put behind its directory.
//! Symbolic links that lead to a virtual place from elsewhere are not followed, with the ones people have as
//! exceptions: /var/run, and links inside /run/netns.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::tag::SpaceId;
use crate::task::Task;

/// Whose namespace a path under /proc is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// `/proc/self`: the calling process, that is its first thread.
    Process,
    /// `/proc/thread-self` and `/proc/net`.
    Thread,
    /// `/proc/N`, as the caller numbers it.
    Pid(i32),
    /// `/proc/N/task/M` or `/proc/self/task/M`.
    ThreadOf(i32),
}

/// A place that is not what the host's file system says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// /run/netns
    NetnsDir,
    /// A name in it.
    NetnsEntry(OsString),
    /// A path elsewhere to which a namespace file is bound.
    Bound(PathBuf),
    /// …/ns/net
    NsNet(Who),
    /// /proc/net or …/net, or what is below it.
    ProcNet(Who, PathBuf),
    /// /sys/class/net, or what is below it.
    SysNet(PathBuf),
    /// /proc/sys/net, or what is below it.
    SysctlNet(PathBuf),
    /// /dev/net/tun
    Tun,
    /// Below a name in /run/netns, which is no directory; or a device of the host's network.
    Nowhere,
    /// …/mounts or …/mountinfo: the kernel's list, and what is bound here.
    Mounts(Who, &'static str),
    /// …/fd/N
    Descriptor(Who, i32),
}

/// Namespaces bound to paths, the latest on top.
///
/// Behind `World::binds`.  Lock order: before the namespaces.
#[derive(Debug, Default)]
pub(crate) struct Binds {
    at: HashMap<PathBuf, Vec<SpaceId>>,
    /// How many of the paths lie outside of [`NETNS_DIR`].
    elsewhere: usize,
}

impl Binds {
    /// What is bound to this path.
    pub(crate) fn get(&self, path: &Path) -> Option<SpaceId> {
        self.at.get(path)?.last().copied()
    }

    /// Binds one more.
    pub(crate) fn push(&mut self, path: PathBuf, space: SpaceId) {
        let elsewhere = !path.starts_with(NETNS_DIR);
        let stack = self.at.entry(path).or_default();
        self.elsewhere += usize::from(elsewhere && stack.is_empty());
        stack.push(space);
    }

    /// Unbinds the latest.
    pub(crate) fn pop(&mut self, path: &Path) -> Option<SpaceId> {
        let stack = self.at.get_mut(path)?;
        let top = stack.pop();
        if stack.is_empty() {
            self.elsewhere -= usize::from(!path.starts_with(NETNS_DIR));
            self.at.remove(path);
        }
        top
    }

    /// Is a path bound that its look does not give away?
    pub(crate) fn any_elsewhere(&self) -> bool {
        self.elsewhere > 0
    }

    /// Every bound path.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Path, SpaceId)> {
        self.at.iter().filter_map(|(p, s)| Some((p.as_path(), *s.last()?)))
    }
}

/// Where named namespaces are bound, in the one spelling that the table uses.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// The path of a name in [`NETNS_DIR`].
pub(crate) fn netns_path(name: &OsStr) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// Works off `.`, `..` and repeated slashes of an absolute path, without asking the file system.
pub(crate) fn normalise(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for c in path.components() {
        match c {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// Could this path be ours at all?  Most calls are answered by this look at the bytes.
pub(crate) fn may_be_virtual(raw: &OsStr, any_bound_elsewhere: bool) -> bool {
    let bytes = raw.as_bytes();
    any_bound_elsewhere
        || !bytes.starts_with(b"/")
        || [b"/proc".as_slice(), b"/sys", b"netns", b"..", b"/tun"]
            .iter()
            .any(|n| bytes.windows(n.len()).any(|w| w == *n))
}

/// The absolute path behind a `*at` call's directory and path.
pub(crate) fn absolute(task: Task, dirfd: i32, path: &OsStr) -> Option<PathBuf> {
    let path = Path::new(path);
    if path.is_absolute() {
        return Some(normalise(path));
    }
    let base = if dirfd == libc::AT_FDCWD { task.cwd()? } else { task.fd_link(dirfd)? };
    base.is_absolute().then(|| normalise(&base.join(path)))
}

/// What an absolute, normalised path is.  `None`: the kernel's own business.
pub(crate) fn classify(path: &Path, binds: &Binds) -> Option<Place> {
    if let Some(inner) = behind_root(path) {
        return classify(&inner, binds);
    }
    if path == Path::new("/dev/net/tun") {
        return Some(Place::Tun);
    }
    if let Some(place) = classify_netns(path).or_else(|| classify_proc(path)).or_else(|| classify_sys(path)) {
        return Some(place);
    }
    binds.get(path).map(|_| Place::Bound(path.to_path_buf()))
}

fn classify_netns(path: &Path) -> Option<Place> {
    let rest = path.strip_prefix(NETNS_DIR).or_else(|_| path.strip_prefix("/var/run/netns")).ok()?;
    let mut names = rest.components();
    match (names.next(), names.next()) {
        (None, _) => Some(Place::NetnsDir),
        (Some(name), None) => Some(Place::NetnsEntry(name.as_os_str().to_owned())),
        (Some(_), Some(_)) => Some(Place::Nowhere),
    }
}

fn classify_sys(path: &Path) -> Option<Place> {
    for prefix in ["/sys/class/net", "/sys/devices/virtual/net"] {
        if let Ok(rest) = path.strip_prefix(prefix) {
            return Some(Place::SysNet(rest.to_path_buf()));
        }
    }
    // The host's own devices show their network side there.
    let host_device = path.starts_with("/sys/devices") && path.components().any(|c| c.as_os_str() == "net");
    host_device.then_some(Place::Nowhere)
}

/// `/proc/self/root/…` is `/…` once more.
fn behind_root(path: &Path) -> Option<PathBuf> {
    let mut names = path.strip_prefix("/proc").ok()?.components();
    let who = names.next()?.as_os_str().to_str()?;
    let is_process = who == "self" || who == "thread-self" || who.parse::<u32>().is_ok();
    (is_process && names.next()?.as_os_str() == "root").then(|| Path::new("/").join(names.as_path()))
}

fn classify_proc(path: &Path) -> Option<Place> {
    let rest = path.strip_prefix("/proc").ok()?;
    let mut names = rest.components().map(Component::as_os_str);
    let first = names.next()?.to_str()?;
    if first == "net" {
        // The link itself is the kernel's; what it leads to is ours.
        return Some(Place::ProcNet(Who::Thread, names.collect()));
    }
    if first == "mounts" {
        return names.next().is_none().then_some(Place::Mounts(Who::Process, "mounts"));
    }
    if first == "sys" {
        return (names.next()? == "net").then(|| Place::SysctlNet(names.collect()));
    }
    let mut who = match first {
        "self" => Who::Process,
        "thread-self" => Who::Thread,
        n => Who::Pid(n.parse().ok()?),
    };
    let mut second = names.next()?;
    if second == "task" {
        who = Who::ThreadOf(names.next()?.to_str()?.parse().ok()?);
        second = names.next()?;
    }
    match second.to_str()? {
        "ns" => (names.next()? == "net" && names.next().is_none()).then_some(Place::NsNet(who)),
        "net" => Some(Place::ProcNet(who, names.collect())),
        "mounts" => names.next().is_none().then_some(Place::Mounts(who, "mounts")),
        "mountinfo" => names.next().is_none().then_some(Place::Mounts(who, "mountinfo")),
        "fd" => {
            let fd = names.next()?.to_str()?.parse().ok()?;
            names.next().is_none().then_some(Place::Descriptor(who, fd))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(p: &str) -> Option<Place> {
        classify(&normalise(Path::new(p)), &Binds::default())
    }

    #[test]
    fn paths_are_worked_off() {
        assert_eq!(normalise(Path::new("//a/./b/../c/")), Path::new("/a/c"));
        assert_eq!(normalise(Path::new("/../..")), Path::new("/"));
    }

    #[test]
    fn virtual_places_are_found_in_every_spelling() {
        assert_eq!(place("/run/netns"), Some(Place::NetnsDir));
        assert_eq!(place("/var/run/netns/"), Some(Place::NetnsDir));
        assert_eq!(place("/run/netns/blue"), Some(Place::NetnsEntry("blue".into())));
        assert_eq!(place("/run/x/../netns//blue"), Some(Place::NetnsEntry("blue".into())));
        assert_eq!(place("/proc/self/ns/net"), Some(Place::NsNet(Who::Process)));
        assert_eq!(place("/proc/17/ns/net"), Some(Place::NsNet(Who::Pid(17))));
        assert_eq!(place("/proc/17/task/18/ns/net"), Some(Place::NsNet(Who::ThreadOf(18))));
        assert_eq!(place("/proc/thread-self/ns/net"), Some(Place::NsNet(Who::Thread)));
        assert_eq!(place("/proc/net/dev"), Some(Place::ProcNet(Who::Thread, "dev".into())));
        assert_eq!(place("/proc/5/net/stat/rt_cache"), Some(Place::ProcNet(Who::Pid(5), "stat/rt_cache".into())));
        assert_eq!(place("/sys/class/net/lo/mtu"), Some(Place::SysNet("lo/mtu".into())));
        assert_eq!(place("/proc/sys/net/ipv4/ip_forward"), Some(Place::SysctlNet("ipv4/ip_forward".into())));
        assert_eq!(place("/proc/self/root/proc/net/dev"), Some(Place::ProcNet(Who::Thread, "dev".into())));
        assert_eq!(place("/run/netns/a/b"), Some(Place::Nowhere));
        assert_eq!(place("/sys/devices/pci0/virtio2/net/eth0"), Some(Place::Nowhere));
        assert_eq!(place("/proc/mounts"), Some(Place::Mounts(Who::Process, "mounts")));
        assert_eq!(place("/proc/7/mountinfo"), Some(Place::Mounts(Who::Pid(7), "mountinfo")));
        assert_eq!(place("/proc/self/fd/3"), Some(Place::Descriptor(Who::Process, 3)));
    }

    #[test]
    fn everything_else_is_the_kernels() {
        for p in [
            "/",
            "/run",
            "/run/netnsx",
            "/proc",
            "/proc/self",
            "/proc/self/ns",
            "/proc/self/ns/mnt",
            "/proc/self/ns/net/x",
            "/proc/sys/kernel",
            "/proc/x/ns/net",
            "/sys/class",
            "/etc/netns/a",
        ] {
            assert_eq!(place(p), None, "{p}");
        }
    }

    #[test]
    fn bound_paths_stack() {
        let mut spaces = Vec::new();
        let mut b = Binds::default();
        let p = Path::new("/tmp/ns");
        // Any two numbers do; they come from a run's table elsewhere.
        for raw in [1u64, 2] {
            spaces.push(SpaceId::new(raw as u32));
        }
        b.push(p.into(), spaces[0]);
        b.push(p.into(), spaces[1]);
        assert_eq!(classify(p, &b), Some(Place::Bound(p.into())));
        assert_eq!(b.pop(p), Some(spaces[1]));
        assert_eq!(b.pop(p), Some(spaces[0]));
        assert_eq!(b.pop(p), None);
        assert_eq!(classify(p, &b), None);
    }

    #[test]
    fn the_quick_look_never_misses() {
        for p in ["/proc/self/ns/net", "/run/netns/a", "/var/run/netns", "/sys/class/net", "relative", "/a/../run/b"] {
            assert!(may_be_virtual(OsStr::new(p), false), "{p}");
        }
        assert!(!may_be_virtual(OsStr::new("/etc/ld.so.cache"), false));
        assert!(!may_be_virtual(OsStr::new("/usr/lib/x86_64-linux-gnu/libc.so.6"), false));
    }
}
