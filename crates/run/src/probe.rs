//! What this machine offers of what a run needs: each feature is tried, not looked up.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use crate::bpf::{self, Action, Rule};
use crate::identity::identity_works;
use crate::sys;
use crate::task::pidfd_of;

/// One feature.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was tried.
    pub feature: &'static str,
    /// Who needs it.
    pub purpose: &'static str,
    /// Without it `pernet run` cannot work.
    pub essential: bool,
    /// `Err`: why not, and what then.
    pub result: Result<String, String>,
}

fn os(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}

fn finding(
    feature: &'static str,
    purpose: &'static str,
    essential: bool,
    then: &str,
    result: Result<String, i32>,
) -> Finding {
    let result = result.map_err(|e| format!("{}; {then}", os(e)));
    Finding { feature, purpose, essential, result }
}

/// Tries every feature.
pub fn probe() -> Vec<Finding> {
    let filter = try_filter();
    let yes = |ok: bool| {
        if ok { Ok(String::new()) } else { Err(libc::ENOSYS) }
    };
    let some = |f: &Filter| filter_bits(f);
    let (listener, send, sync) = match &filter {
        Ok(f) => {
            let (send, sync) = some(f);
            (Ok(String::new()), yes(send), yes(sync))
        }
        Err(e) => (Err(*e), Err(*e), Err(*e)),
    };
    vec![
        finding(
            "seccomp user notification",
            "answering the programs' calls",
            true,
            "nothing can be run; Linux 5.14 with CONFIG_SECCOMP_FILTER is needed, and surroundings that allow seccomp(2); not inside another `pernet run`",
            listener,
        ),
        finding(
            "ADDFD with SEND",
            "handing sockets and files to programs in one step",
            true,
            "nothing can be run; Linux 5.14 is needed",
            send,
        ),
        finding(
            "process_vm_readv",
            "reading the arguments of calls",
            false,
            "/proc/PID/mem is read instead, which is slower",
            memory(),
        ),
        finding(
            "close_range with UNSHARE",
            "handing the filter to the supervisor",
            true,
            "nothing can be run; Linux 5.9 is needed",
            unshare_files(),
        ),
        finding(
            "a free RLIMIT_LOCKS",
            "remembering which namespace a process is in",
            true,
            "raise its hard limit (ulimit -Hx unlimited) in the shell that starts `pernet run`",
            limit(),
        ),
        finding(
            "memfd, inotify and leases",
            "namespace files that know when they are closed",
            true,
            "nothing can be run",
            identity_works(),
        ),
        finding(
            "pidfd_getfd",
            "receiving on a program's own netlink socket",
            false,
            "a copy of each socket is kept, and closed sockets are noticed a little later",
            getfd(),
        ),
        finding(
            "synchronous wake-ups",
            "answers without a change of processor",
            false,
            "calls take longer; Linux 6.6 has them",
            sync,
        ),
        finding(
            "user namespaces",
            "`unshare --pid` and `-r` for ordinary users",
            false,
            "`-r` only shows root's ids, and other kinds of namespaces are refused",
            user_namespaces(),
        ),
    ]
}

struct Filter {
    status: i32,
}

const BIT_SEND: i32 = 1;
const BIT_SYNC: i32 = 2;
const BIT_FINE: i32 = 64;

fn filter_bits(f: &Filter) -> (bool, bool) {
    (f.status & BIT_SEND != 0, f.status & BIT_SYNC != 0)
}

/// Runs `f` in a child process and returns its exit status.
fn in_child(f: impl FnOnce() -> i32) -> Result<i32, i32> {
    let last = || sys::errno_of(&std::io::Error::last_os_error());
    // SAFETY: the child runs only calls that need no lock of another thread, and leaves by `_exit`.
    match unsafe { libc::fork() } {
        -1 => Err(last()),
        0 => {
            let status = f();
            // SAFETY: ends the child without running handlers that belong to the parent.
            unsafe { libc::_exit(status) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: `status` is live.
            if unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
                return Err(last());
            }
            if libc::WIFEXITED(status) { Ok(libc::WEXITSTATUS(status)) } else { Err(libc::EIO) }
        }
    }
}

/// Installs a filter that notifies nothing, and asks its listener what it understands.
fn try_filter() -> Result<Filter, i32> {
    let program = bpf::assemble(&[Rule::always(libc::SYS_uselib, Action::Notify)]);
    let status = in_child(|| {
        // SAFETY: numbers only.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        match sys::install_filter(&program, sys::Notify::Interruptible) {
            Ok(Some(fd)) => {
                let add = libc::seccomp_notif_addfd {
                    id: 0,
                    flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
                    srcfd: 0,
                    newfd: 0,
                    newfd_flags: 0,
                };
                // SAFETY: `add` is live; nobody waits under this id, so a kernel that knows the flag says ENOENT.
                let r = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const add) };
                let send = r < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT);
                // SAFETY: numbers only.
                let sync = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1usize) } == 0;
                BIT_FINE | if send { BIT_SEND } else { 0 } | if sync { BIT_SYNC } else { 0 }
            }
            Ok(None) => libc::ENOSYS,
            Err(e) => sys::errno_of(&e),
        }
    })?;
    if status & BIT_FINE != 0 { Ok(Filter { status }) } else { Err(status) }
}

fn memory() -> Result<String, i32> {
    let word = [7u8; 4];
    let mut copy = [0u8; 4];
    let got = sys::vm_read(std::process::id(), word.as_ptr() as u64, &mut copy);
    got.map(|_| String::new()).map_err(|e| sys::errno_of(&e))
}

fn unshare_files() -> Result<String, i32> {
    let status = in_child(|| {
        // SAFETY: numbers only; an empty range closes nothing.
        let r = unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, libc::CLOSE_RANGE_UNSHARE) };
        if r == 0 { 0 } else { sys::errno_of(&std::io::Error::last_os_error()) }
    })?;
    if status == 0 { Ok(String::new()) } else { Err(status) }
}

fn limit() -> Result<String, i32> {
    let limit = sys::get_limit(0, libc::RLIMIT_LOCKS).map_err(|e| sys::errno_of(&e))?;
    if limit.rlim_max == libc::RLIM64_INFINITY { Ok(String::new()) } else { Err(libc::EPERM) }
}

fn getfd() -> Result<String, i32> {
    let me = pidfd_of(std::process::id()).ok_or(libc::ENOSYS)?;
    let probe = std::fs::File::open("/proc/self/status").map_err(|e| sys::errno_of(&e))?;
    pidfd_getfd(me.as_fd(), probe.as_raw_fd(), PidfdGetfdFlags::empty())
        .map(|_| String::new())
        .map_err(|e| e.raw_os_error())
}

fn user_namespaces() -> Result<String, i32> {
    let status = in_child(|| {
        // SAFETY: numbers only; the child ends with it.
        let r = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
        if r == 0 { 0 } else { sys::errno_of(&std::io::Error::last_os_error()) }
    })?;
    if status == 0 { Ok(String::new()) } else { Err(status) }
}

/// Installs the filter of a container runtime's default profile on this process, for tests of life inside one: what
/// it runs afterwards finds `setns`, `unshare`, `mount` and `pidfd_getfd` refused.
///
/// # Errors
/// errno of installing it.
pub fn enter_container_profile() -> std::io::Result<()> {
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    sys::install_filter(&bpf::assemble(&bpf::container_profile()), sys::Notify::No).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_tried_and_says_what_follows() {
        for f in probe() {
            if let Err(why) = &f.result {
                assert!(why.contains(';'), "{}: {why}", f.feature);
            }
            assert!(!f.purpose.is_empty());
        }
    }
}
