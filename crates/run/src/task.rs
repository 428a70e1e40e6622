//! What the kernel tells about a supervised task, read from outside.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::sys::Ids;
use crate::{handle, sys};

/// Identity of an open file: what `fstat` shows, wherever the file is looked at from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    /// st_dev
    pub(crate) dev: u64,
    /// st_ino
    pub(crate) ino: u64,
}

/// A thread under supervision, by its number in the supervisor's pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// The thread's number.
    pub(crate) tid: u32,
}

/// What decides about privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Privileges {
    /// Effective uid in the supervisor's user namespace.
    pub(crate) euid: u32,
    /// Effective capabilities in the task's own user namespace.
    pub(crate) effective: u64,
}

impl Task {
    /// The task numbered `tid`.
    pub(crate) fn new(tid: u32) -> Self {
        Self { tid }
    }

    fn proc(self, what: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{what}", self.tid))
    }

    fn status(self) -> Option<String> {
        read_small(&self.proc("status"))
    }

    /// The process that this thread belongs to.
    pub(crate) fn tgid(self) -> Option<u32> {
        // Only a group leader can be opened without PIDFD_THREAD: one cheap call answers most of the time.
        if pidfd_of(self.tid).is_some() {
            return Some(self.tid);
        }
        status_field(&self.status()?, "Tgid:")?.parse().ok()
    }

    /// Does a signal wait for this thread that it has not blocked?  `Some(true)`: it is certainly this thread that will
    /// take it.
    ///
    /// One sent to the process is taken by its first thread, if that has not blocked it; else by any other.
    pub(crate) fn signal_waits(self) -> Option<bool> {
        let status = self.status()?;
        let mask =
            |text: &str, name| status_field(text, name).and_then(|v| u64::from_str_radix(v, 16).ok()).unwrap_or(0);
        let open = !mask(&status, "SigBlk:");
        if mask(&status, "SigPnd:") & open != 0 {
            return Some(true);
        }
        let shared = mask(&status, "ShdPnd:") & open;
        if shared == 0 {
            return None;
        }
        let first = status_field(&status, "Tgid:")?.parse().ok()?;
        if first == self.tid {
            return Some(true);
        }
        let blocked_there = Self::new(first).status().map_or(u64::MAX, |text| mask(&text, "SigBlk:"));
        let alone = status_field(&status, "Threads:") == Some("1");
        (shared & blocked_there != 0).then_some(alone)
    }

    /// The soft limit of RLIMIT_LOCKS as `/proc/TID/limits` tells everybody; `None` if there is none.
    pub(crate) fn file_locks_limit(self) -> Option<u64> {
        let limits = read_small(&self.proc("limits"))?;
        status_field(&limits, "Max file locks")?.split_whitespace().next()?.parse().ok()
    }

    /// What file is descriptor `fd`?  `None` if it is not open.
    pub(crate) fn file(self, fd: i32) -> Option<FileId> {
        if fd < 0 {
            return None;
        }
        let meta = fs::metadata(self.proc(&format!("fd/{fd}"))).ok()?;
        Some(FileId { dev: meta.dev(), ino: meta.ino() })
    }

    /// Inode numbers of the sockets that it has open.
    pub(crate) fn sockets(self) -> Vec<u64> {
        let fds = fs::read_dir(self.proc("fd")).into_iter().flatten().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok())
            .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
            .collect()
    }

    /// By which numbers it has this file open.
    pub(crate) fn numbers_of(self, id: FileId) -> Vec<i32> {
        let open = numbers(&format!("/proc/{}/fd", self.tid)).into_iter().filter_map(|fd| i32::try_from(fd).ok());
        open.filter(|&fd| self.file(fd) == Some(id)).collect()
    }

    /// The numbers of its epoll files.
    pub(crate) fn epolls(self) -> Vec<i32> {
        let open = numbers(&format!("/proc/{}/fd", self.tid)).into_iter().filter_map(|fd| i32::try_from(fd).ok());
        open.filter(|&fd| self.fd_link(fd).is_some_and(|link| link.as_os_str() == "anon_inode:[eventpoll]")).collect()
    }

    /// What an epoll file of its looks at, a line for each.
    pub(crate) fn epoll_lines(self, fd: i32) -> Option<String> {
        fs::read_to_string(self.proc(&format!("fdinfo/{fd}"))).ok()
    }

    /// Where the descriptor's magic link points, as text.
    pub(crate) fn fd_link(self, fd: i32) -> Option<PathBuf> {
        fs::read_link(self.proc(&format!("fd/{fd}"))).ok()
    }

    /// The working directory.
    pub(crate) fn cwd(self) -> Option<PathBuf> {
        fs::read_link(self.proc("cwd")).ok()
    }

    /// A field of `/proc/TID/fdinfo/FD`.
    pub(crate) fn fdinfo(self, fd: i32, field: &str) -> Option<String> {
        status_field(&read_small(&self.proc(&format!("fdinfo/{fd}")))?, field).map(str::to_owned)
    }

    /// Was `fd`, of a namespace file, opened with O_PATH?  Such a descriptor names a file without opening it; O_NOATIME
    /// is what we give for it.
    pub(crate) fn is_path_fd(self, fd: i32) -> bool {
        self.has_flag(fd, libc::O_PATH | libc::O_NOATIME)
    }

    /// Is the descriptor in non-blocking mode?
    pub(crate) fn is_nonblocking(self, fd: i32) -> bool {
        self.has_flag(fd, libc::O_NONBLOCK)
    }

    /// Is the descriptor closed by `exec`?
    pub(crate) fn closes_on_exec(self, fd: i32) -> bool {
        self.has_flag(fd, libc::O_CLOEXEC)
    }

    fn has_flag(self, fd: i32, flag: i32) -> bool {
        let flags = self.fdinfo(fd, "flags:").and_then(|f| i32::from_str_radix(&f, 8).ok());
        flags.is_some_and(|f| f & flag != 0)
    }

    /// The inode number of one of the task's namespaces (`user`, `pid`, `mnt` …).
    pub(crate) fn namespace(self, kind: &str) -> Option<u64> {
        let link = fs::read_link(self.proc(&format!("ns/{kind}"))).ok()?;
        let text = link.to_str()?;
        text[text.find('[')? + 1..text.len() - 1].parse().ok()
    }

    /// An open file on one of the task's namespaces.
    pub(crate) fn open_namespace(self, kind: &str) -> Option<OwnedFd> {
        fs::File::open(self.proc(&format!("ns/{kind}"))).ok().map(Into::into)
    }

    /// Effective uid and capabilities.
    pub(crate) fn privileges(self) -> Option<Privileges> {
        // Each netlink request asks: two system calls where the kernel has them, instead of a text of 60 lines.
        if let Ok(Ids { uid: [_, euid, _], .. }) = handle::ask(self, sys::ids)
            && let Ok(effective) = sys::effective_capabilities(self.tid)
        {
            return Some(Privileges { euid, effective });
        }
        self.privileges_in_words()
    }

    /// Whom it acts as; nobody, if it is gone.
    pub(crate) fn euid(self) -> u32 {
        self.ids().map_or(u32::MAX, |Ids { uid: [_, euid, _], .. }| euid)
    }

    fn privileges_in_words(self) -> Option<Privileges> {
        let status = self.status()?;
        let euid = status_field(&status, "Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
        let effective = u64::from_str_radix(status_field(&status, "CapEff:")?, 16).ok()?;
        Some(Privileges { euid, effective })
    }

    /// Whom it acts for, in our user namespace.
    pub(crate) fn ids(self) -> Option<Ids> {
        handle::ask(self, sys::ids).ok().or_else(|| self.ids_in_words())
    }

    fn ids_in_words(self) -> Option<Ids> {
        let status = self.status()?;
        // Real, effective, saved, of the file system.
        let three = |name| {
            let numbers: Vec<u32> = status_field(&status, name)?.split_whitespace().flat_map(str::parse).collect();
            numbers.first_chunk::<3>().copied()
        };
        Some(Ids { uid: three("Uid:")?, gid: three("Gid:")? })
    }

    /// The number of process `tgid` as this task sees it; 0 if it does not.
    pub(crate) fn number_of(self, tgid: u32) -> u32 {
        let mine = self.namespace("pid");
        if mine.is_none() || mine == Self::new(std::process::id()).namespace("pid") {
            return tgid;
        }
        if Self::new(tgid).namespace("pid") == mine { self.pid_inside(tgid) } else { 0 }
    }

    /// Its effective group, then the supplementary ones.
    pub(crate) fn groups(self) -> Vec<u32> {
        let Some(status) = self.status() else { return Vec::new() };
        let numbers = |name| status_field(&status, name).unwrap_or_default().split_whitespace().map(str::parse);
        // Real, effective, saved, of the file system.
        numbers("Gid:").skip(1).take(1).chain(numbers("Groups:")).filter_map(Result::ok).collect()
    }

    /// The process that counts as its parent.
    pub(crate) fn parent(self) -> Option<u32> {
        status_field(&self.status()?, "PPid:")?.parse().ok()
    }

    /// Has this thread ended, and is not yet gone?
    pub(crate) fn is_zombie(self) -> bool {
        self.status().is_some_and(|text| status_field(&text, "State:").is_some_and(|s| s.starts_with(['Z', 'X'])))
    }

    /// Threads of the process `tgid`.  Living ones may be missing: the list ends where the kernel comes to a thread that
    /// ends meanwhile.  Who is missed is asked about by [`Self::is_thread`], and how many there are by [`Self::count`].
    pub(crate) fn threads(tgid: u32) -> Vec<u32> {
        numbers(&format!("/proc/{tgid}/task"))
    }

    /// Is this a thread of the process?  The first one is until all have ended.
    pub(crate) fn is_thread(tgid: u32, tid: u32) -> bool {
        fs::exists(format!("/proc/{tgid}/task/{tid}")).unwrap_or(false)
    }

    /// How many threads the process has, at one moment; `None` if there is no such process.
    pub(crate) fn count(tgid: u32) -> Option<usize> {
        status_field(&Self::new(tgid).status()?, "Threads:")?.parse().ok()
    }

    /// Is this thread the only one of the process?
    pub(crate) fn is_alone(self, tgid: u32) -> bool {
        self.tid == tgid && Self::count(tgid).is_none_or(|count| count == 1)
    }

    /// Translates a process number that this task used into ours, when it lives in a pid namespace of its own.
    pub(crate) fn translate_pid(self, pid: i32) -> Option<u32> {
        let number = u32::try_from(pid).ok().filter(|&p| p > 0)?;
        let mine = Self::new(std::process::id()).namespace("pid");
        let theirs = self.namespace("pid");
        if theirs.is_none() || theirs == mine {
            return Some(number);
        }
        // Rare: a program with a pid namespace of its own.  The kernel lists a task's numbers from the outermost
        // namespace inwards, so the last one is its number in its own.
        numbers("/proc").into_iter().find(|&candidate| {
            let Ok(status) = fs::read_to_string(format!("/proc/{candidate}/status")) else {
                return false;
            };
            let inner = status_field(&status, "NSpid:").and_then(|l| l.split_whitespace().last()?.parse::<u32>().ok());
            inner == Some(number) && Self::new(candidate).namespace("pid") == theirs
        })
    }

    /// This task's own number as it sees it: what `getpid()` would say in it.
    pub(crate) fn pid_inside(self, tgid: u32) -> u32 {
        let Ok(status) = fs::read_to_string(format!("/proc/{tgid}/status")) else {
            return tgid;
        };
        status_field(&status, "NSpid:").and_then(|l| l.split_whitespace().last()?.parse().ok()).unwrap_or(tgid)
    }
}

/// The numeric entries of a directory of /proc.
pub(crate) fn numbers(dir: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Opens a process (not a mere thread) for waiting and signalling.
pub(crate) fn pidfd_of(tgid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(i32::try_from(tgid).ok()?)?, PidfdFlags::empty()).ok()
}

/// Has the process behind this descriptor ended (a zombie counts)?
pub(crate) fn has_exited(pidfd: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0)
}

/// A file of /proc in one read: their size is not known beforehand, but all that are read here fit a page.
fn read_small(path: &std::path::Path) -> Option<String> {
    use std::io::Read;
    let mut buffer = [0u8; 4096];
    let n = fs::File::open(path).ok()?.read(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..n]).into_owned())
}

fn status_field<'a>(text: &'a str, field: &str) -> Option<&'a str> {
    text.lines().find_map(|l| l.strip_prefix(field)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself() {
        let me = Task::new(std::process::id());
        assert_eq!(me.tgid(), Some(std::process::id()));
        assert!(me.namespace("net").is_some());
        assert_eq!(me.translate_pid(1), Some(1));
        assert_eq!(me.translate_pid(0), None);
        assert_eq!(me.translate_pid(-1), None);
        assert!(Task::threads(me.tid).contains(&me.tid));
        assert!(Task::is_thread(me.tid, me.tid));
        assert!(!Task::is_thread(me.tid, 1));
        let from_another = std::thread::spawn(move || (Task::count(me.tid), me.is_alone(me.tid))).join().unwrap();
        assert!(matches!(from_another, (Some(2..), false)), "{from_another:?}");
    }

    #[test]
    fn privileges_are_what_the_kernel_writes_about_them() {
        let me = Task::new(std::process::id());
        assert!(me.privileges().is_some());
        assert_eq!(me.privileges(), me.privileges_in_words());
        assert!(me.ids().is_some());
        assert_eq!(me.ids(), me.ids_in_words());
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let it = Task::new(child.id());
        assert_eq!(it.privileges(), it.privileges_in_words());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(it.privileges(), None);
    }

    #[test]
    fn a_thread_finds_its_process() {
        let seen =
            std::thread::spawn(|| Task::new(rustix::thread::gettid().as_raw_nonzero().get() as u32).tgid()).join();
        assert_eq!(seen.unwrap(), Some(std::process::id()));
    }

    #[test]
    fn descriptors_have_identities() {
        use std::os::fd::AsRawFd;
        let me = Task::new(std::process::id());
        let a = fs::File::open("/proc/self/status").unwrap();
        let b = a.try_clone().unwrap();
        assert_eq!(me.file(a.as_raw_fd()), me.file(b.as_raw_fd()));
        assert_eq!(me.file(-1), None);
        assert_eq!(me.file(1 << 20), None);
    }
}
