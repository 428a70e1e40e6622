//! The birth of the program: between `clone` and `execve`, in a process that is still a copy of ours.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};

use crate::sys;

/// What the newborn needs.
pub(crate) struct Birth<'a> {
    /// The command.
    pub(crate) argv: &'a [CString],
    /// The filter.
    pub(crate) plain: &'a [libc::sock_filter],
    /// The filter that also makes ids look like root's.
    pub(crate) rooted: &'a [libc::sock_filter],
    /// The program shall see itself as root.
    pub(crate) map_root: bool,
    /// It may install a filter without giving up set-user-id programs.
    pub(crate) privileged: bool,
    /// How its calls wait.
    pub(crate) notify: sys::Notify,
    /// The signal mask of the caller.
    pub(crate) mask: &'a libc::sigset_t,
    /// Tells the supervisor.
    pub(crate) status: BorrowedFd<'a>,
    /// Waits for the supervisor.
    pub(crate) go: BorrowedFd<'a>,
}

const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Turns this process into the program.  Does not return.
pub(crate) fn become_program(birth: &Birth<'_>) -> ! {
    let mapped = birth.map_root && map_root_user().is_ok();
    let filter = if birth.map_root && !mapped { birth.rooted } else { birth.plain };
    if !birth.privileged {
        // SAFETY: numbers only.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    }
    // SAFETY: numbers, and a live mask.  The runtime ignores SIGPIPE for itself; the program expects the default.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::sigprocmask(libc::SIG_SETMASK, birth.mask, std::ptr::null_mut());
    }
    let number = match sys::install_filter(filter, birth.notify) {
        // The supervisor takes it over by number, in the table that we share.
        Ok(Some(listener)) => listener.into_raw_fd(),
        Ok(None) => -libc::ENOSYS,
        Err(e) => -sys::errno_of(&e),
    };
    tell(birth, number);
    if number < 0 {
        exit(NOT_EXECUTABLE);
    }
    if rustix::io::retry_on_intr(|| rustix::io::read(birth.go, &mut [0u8; 1])) != Ok(1) {
        exit(NOT_EXECUTABLE); // the supervisor could not go on, and says why
    }
    // An empty range with UNSHARE: from here on this table is ours, and close-on-exec empties it of what is theirs.
    // SAFETY: numbers only.
    unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, libc::CLOSE_RANGE_UNSHARE) };
    tell(birth, 0);
    let errno = execute(birth.argv);
    let name = birth.argv.first().map_or("", |a| a.to_str().unwrap_or("the program"));
    let (why, code) = match errno {
        libc::ENOENT => ("there is no such program; check the name and PATH".to_owned(), NOT_FOUND),
        libc::EACCES => ("it is not executable; check its permissions".to_owned(), NOT_EXECUTABLE),
        e => (io::Error::from_raw_os_error(e).to_string(), NOT_EXECUTABLE),
    };
    let text = format!("pernet: cannot run \"{name}\": {why}\n");
    // SAFETY: pointer and length describe `text`.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    exit(code)
}

fn tell(birth: &Birth<'_>, number: i32) {
    let raw = number.to_ne_bytes();
    // SAFETY: pointer and length describe `raw`.
    unsafe { libc::write(birth.status.as_raw_fd(), raw.as_ptr().cast(), raw.len()) };
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process without running exit handlers that belong to the process it was copied from.
    unsafe { libc::_exit(code) }
}

/// As `unshare -r`: a user namespace in which the caller's ids are 0.
fn map_root_user() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // SAFETY: numbers only; one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } < 0 {
        return Err(io::Error::last_os_error());
    }
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// `execvp`: returns the errno of the failure that says most.
fn execute(argv: &[CString]) -> i32 {
    let Some(name) = argv.first() else {
        return libc::ENOENT;
    };
    let mut pointers: Vec<*const libc::c_char> = argv.iter().map(|a| a.as_ptr()).collect();
    pointers.push(std::ptr::null());
    if name.as_bytes().contains(&b'/') {
        return execute_at(name, &pointers);
    }
    if name.is_empty() {
        return libc::ENOENT;
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut worst = libc::ENOENT;
    for dir in std::env::split_paths(&path) {
        let Ok(full) = CString::new(dir.join(name.to_str().unwrap_or_default()).into_os_string().into_encoded_bytes())
        else {
            continue;
        };
        match execute_at(&full, &pointers) {
            libc::ENOENT | libc::ENOTDIR => {}
            // Found, but not to be run: the search goes on, and this is what it says if nothing better comes.
            libc::EACCES => worst = libc::EACCES,
            e => return e,
        }
    }
    worst
}

fn execute_at(path: &CStr, argv: &[*const libc::c_char]) -> i32 {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: `path` and every argument are NUL-terminated and live, the array ends with null, and one thread means
    // that nobody changes the environment.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), environ) };
    let errno = sys::errno_of(&io::Error::last_os_error());
    if errno == libc::ENOEXEC {
        return execute_script(path, argv);
    }
    errno
}

/// A script without an interpreter line is the shell's, as `execvp` does.
fn execute_script(path: &CStr, argv: &[*const libc::c_char]) -> i32 {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let mut with_shell = vec![c"/bin/sh".as_ptr(), path.as_ptr()];
    with_shell.extend_from_slice(argv.get(1..).unwrap_or_default());
    // SAFETY: as in `execute_at`; `argv` ended with null and so does its tail.
    unsafe { libc::execve(c"/bin/sh".as_ptr(), with_shell.as_ptr(), environ) };
    sys::errno_of(&io::Error::last_os_error())
}
