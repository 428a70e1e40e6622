//! The three processes of a run.
//!
//! ```text
//! front       the process that the shell started: passes signals in and the program's end out, then is gone
//! └ supervisor   its own process group, no terminal; lives until the last program ends
//!   └ program    in the front's process group, so that ^C, ^Z and the terminal work as without us
//! ```
//! The supervisor is the program's parent because a kernel may let only ancestors look into a process (Yama), and a
//! reaper, so that every later process stays its descendant.  It is not the front, because the front has to end with
//! the program while daemons that the program left behind are still served.
//!
//! While programs are there, so is somebody who ends them if the supervisor is killed: the front, and after it the
//! [keeper](crate::keeper).
//!
//! The program installs the filter on itself and is born with the supervisor's descriptor table: that is how the
//! notification descriptor gets across without `pidfd_getfd` or a message, both of which a container may refuse.  It
//! leaves the shared table before it runs anything.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use crate::bpf;
use crate::listener::Listener;
use crate::supervisor::{Family, SetupError, Supervisor};
use crate::sys;
use crate::task::{Task, numbers, pidfd_of};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
    /// The program sees itself as root.
    pub map_root_user: bool,
    /// Connections between its programs bypass the emulated network where nothing on their way needs to see them.
    pub fast_local: bool,
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A basic call failed.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    /// The filter was refused.
    #[error("{}", refused_filter(*.0))]
    Filter(i32),
    /// The supervisor could not be set up.
    #[error("{0}")]
    Setup(String),
    /// The command holds a NUL byte.
    #[error("the command holds a NUL byte, which no program name or argument can")]
    NulByte,
}

fn refused_filter(errno: i32) -> String {
    let why = match errno {
        libc::EBUSY => {
            "another supervisor already watches this process: `pernet run` cannot run inside `pernet run` or a container manager that uses seccomp notification; start it outside"
        }
        libc::EINVAL | libc::ENOSYS => {
            "this kernel has no seccomp user notification; Linux 5.14 or later with CONFIG_SECCOMP_FILTER is needed"
        }
        libc::EPERM | libc::EACCES => "the surroundings forbid it; a container needs a profile that allows seccomp(2)",
        _ => "see `pernet doctor`",
    };
    format!("cannot install the seccomp filter ({}): {why}", io::Error::from_raw_os_error(errno))
}

/// Runs a program inside a fresh network namespace and waits for it.
///
/// # Errors
/// [`RunError`] if it was not started.
pub fn run(options: &Options) -> Result<Ended, RunError> {
    let start = Start::prepare(options)?;
    let (report_in, report_out) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
    let me = pidfd_of(std::process::id());
    let number = run_number();
    let signals = Signals::block()?;
    set_subreaper()?;
    // SAFETY: this process has one thread, so the child is a whole copy: no lock is held by a thread that is not there.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error().into()),
        0 => {
            drop(report_in);
            let report = Report(report_out);
            let status =
                i32::from(supervise(&start, number, &signals, me, &report).map_err(|e| report.failed(&e)).is_err());
            // SAFETY: ends this process without running the front's exit handlers a second time.
            unsafe { libc::_exit(status) }
        }
        _ => {
            drop((report_out, me));
            let run = crate::front::Run { number, supervisor: pidfd_of(child as u32) };
            crate::front::wait(&report_in, &signals, &run)
        }
    }
}

/// Everything that is made before the first fork.
struct Start {
    argv: Vec<CString>,
    plain: Vec<libc::sock_filter>,
    rooted: Vec<libc::sock_filter>,
    map_root: bool,
    privileged: bool,
    killable: bool,
    fast_local: bool,
    inherited: Vec<RawFd>,
}

impl Start {
    fn prepare(options: &Options) -> Result<Self, RunError> {
        let argv: Result<Vec<_>, _> = options.command.iter().map(|a| CString::new(a.as_bytes())).collect();
        let inherited: Vec<RawFd> = numbers("/proc/self/fd")
            .into_iter()
            .filter_map(|n| RawFd::try_from(n).ok())
            .filter(|&n| n > 2 && is_open(n))
            .collect();
        close_network_sockets(&inherited);
        Ok(Self {
            argv: argv.map_err(|_| RunError::NulByte)?,
            plain: bpf::assemble(&bpf::rules(false)),
            rooted: bpf::assemble(&bpf::rules(true)),
            map_root: options.map_root_user && !rustix::process::geteuid().is_root(),
            killable: kernel_at_least(6, 17),
            fast_local: options.fast_local,
            privileged: crate::users::Users::natively_privileged(Task::new(std::process::id())),
            inherited,
        })
    }
}

/// Calls that only a fatal signal interrupts spare us and the program every answer that a signal would keep from it.
/// Linux has had them since 5.19, with a race when the answer comes fast that was mended in 6.17.
fn kernel_at_least(major: u32, minor: u32) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(major), Some(minor))
}

/// The directory that was listed is in the list too, and closed again.
fn is_open(fd: RawFd) -> bool {
    // SAFETY: numbers only.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// A network socket that the caller left open would lead to the host's network.  The three standard streams are the
/// caller's own choice and stay.
fn close_network_sockets(fds: &[RawFd]) {
    for &fd in fds {
        // SAFETY: `fd` was listed as open a moment ago and this process has one thread, so nobody closed it.
        let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        let domain = rustix::net::sockopt::socket_domain(borrowed);
        if domain.is_ok_and(|d| d != rustix::net::AddressFamily::UNIX) {
            let _ = rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC);
        }
    }
}

fn set_subreaper() -> io::Result<()> {
    // SAFETY: numbers only.
    let r = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// All signals, blocked and readable; and the mask that the program gets back.
pub(crate) struct Signals {
    before: libc::sigset_t,
    /// Readable when a signal waits.
    pub(crate) fd: OwnedFd,
}

impl Signals {
    fn block() -> io::Result<Self> {
        // SAFETY: all-zero is a valid place for both sets; the calls fill them.
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        // SAFETY: both sets are live; SIG_SETMASK reads one and writes the other.
        unsafe {
            libc::sigfillset(&raw mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        }
        Ok(Self { before, fd: signal_fd(&all)? })
    }

    /// Waits for the signals of children only, in the supervisor.
    fn children() -> io::Result<OwnedFd> {
        // SAFETY: all-zero is a valid place for a set; the calls fill it.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is live.
        unsafe {
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGCHLD);
        }
        signal_fd(&set)
    }
}

/// From here on `SIGINT`, `SIGTERM` and `SIGHUP` do not end the caller; they make this descriptor readable.
pub(crate) fn interrupts() -> io::Result<OwnedFd> {
    // SAFETY: all-zero is a valid place for a set; the calls fill it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is live; a null pointer asks for nothing in return.
    unsafe {
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
    signal_fd(&set)
}

fn signal_fd(set: &libc::sigset_t) -> io::Result<OwnedFd> {
    // SAFETY: `set` is live; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a non-negative result is a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the supervisor tells the front: a word and a number, then text.
pub(crate) struct Report(OwnedFd);

/// The words.
pub(crate) mod word {
    /// The program's process number.
    pub(crate) const STARTED: u32 = 1;
    /// It ended with this status.
    pub(crate) const EXITED: u32 = 2;
    /// It ended by this signal.
    pub(crate) const KILLED: u32 = 3;
    /// It was stopped.
    pub(crate) const STOPPED: u32 = 4;
    /// It leaves other programs behind; said before how it ended.
    pub(crate) const OTHERS: u32 = 6;
    /// Nothing was started; an errno of the filter, or 0 and a text.
    pub(crate) const FAILED: u32 = 5;
}

impl Report {
    fn tell(&self, word: u32, value: i32, text: &str) {
        let mut raw = Vec::with_capacity(12 + text.len());
        raw.extend(word.to_ne_bytes());
        raw.extend(value.to_ne_bytes());
        raw.extend((text.len() as u32).to_ne_bytes());
        raw.extend(text.as_bytes());
        // A front that was killed reads nothing.
        let _ = rustix::io::write(&self.0, &raw);
    }

    fn failed(&self, e: &RunError) {
        match e {
            RunError::Filter(errno) => self.tell(word::FAILED, *errno, ""),
            other => self.tell(word::FAILED, 0, &other.to_string()),
        }
    }
}

fn supervise(
    start: &Start,
    run: u64,
    signals: &Signals,
    front: Option<OwnedFd>,
    report: &Report,
) -> Result<(), RunError> {
    set_subreaper()?;
    let (status_in, status_out) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
    let (go_in, go_out) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
    // SAFETY: one thread, as above.  A null stack gives the child a copy of this one, as fork does; CLONE_FILES shares
    // the descriptor table until the child leaves it.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, (libc::CLONE_FILES | libc::SIGCHLD) as libc::c_ulong, 0, 0, 0, 0) };
    if pid < 0 {
        return Err(io::Error::last_os_error().into());
    }
    if pid == 0 {
        crate::program::become_program(&crate::program::Birth {
            argv: &start.argv,
            plain: &start.plain,
            rooted: &start.rooted,
            map_root: start.map_root,
            privileged: start.privileged,
            notify: if start.killable { sys::Notify::Killable } else { sys::Notify::Interruptible },
            mask: &signals.before,
            status: status_out.as_fd(),
            go: go_in.as_fd(),
        });
    }
    // The program stays in the front's group; a group of its own keeps the terminal's signals away from here.
    // SAFETY: numbers only.
    unsafe { libc::setpgid(0, 0) };
    let program = Task::new(pid as u32);
    let listener_number = read_number(&status_in)?;
    if listener_number < 0 {
        reap(program);
        return Err(RunError::Filter(-listener_number));
    }
    // SAFETY: the child opened it in the table that we share, told us its number, and never closes it there.
    let listener = unsafe { OwnedFd::from_raw_fd(listener_number) };
    let can_getfd = pidfd_of(program.tid).is_some_and(|p| {
        pidfd_getfd(&p, 0, PidfdGetfdFlags::empty()).is_ok()
            || pidfd_getfd(&p, listener_number, PidfdGetfdFlags::empty()).is_ok()
    });
    let supervisor = Supervisor::new(listener, program, run, can_getfd, start.killable, start.fast_local);
    let supervisor = supervisor.map_err(|e: SetupError| {
        kill(program, libc::SIGKILL);
        RunError::Setup(e.to_string())
    })?;
    tag(program, supervisor.first_tag())?;
    // Before the program can do anything that makes somebody send the front a signal for it.
    report.tell(word::STARTED, pid as i32, "");
    rustix::io::write(&go_out, &[1]).map_err(io::Error::from)?;
    // The child says when the table is ours alone.
    read_number(&status_in)?;
    drop((status_in, status_out, go_in, go_out));
    leave_terminal(&start.inherited)?;
    crate::descriptors::raise_limit();
    sys::give_back_from(LARGE);
    let mut children = Children { program, ended: false, report, listener: supervisor.listener() };
    supervisor.run(Signals::children()?, front, &mut children).map_err(|e| RunError::Setup(e.to_string()))
}

/// Smaller than each buffer of a connection, and larger than any packet.
const LARGE: i32 = 128 << 10;

/// Differs between runs of one user at one time, and is never 0: two supervisors must not read each other's marks.
fn run_number() -> u64 {
    let mut raw = [0; 4];
    let _ = rustix::rand::getrandom(&mut raw, rustix::rand::GetRandomFlags::empty());
    u64::from(u32::from_ne_bytes(raw) & 0x1fff_ffff | 1)
}

fn tag(program: Task, raw: u64) -> io::Result<()> {
    let old = sys::get_limit(program.tid, libc::RLIMIT_LOCKS)?;
    if raw > old.rlim_max {
        return Err(io::Error::other(
            "the hard limit of RLIMIT_LOCKS is finite; start again from a shell where `ulimit -Hx` says unlimited",
        ));
    }
    sys::set_limit(program.tid, libc::RLIMIT_LOCKS, libc::rlimit64 { rlim_cur: raw, ..old })
}

fn read_number(from: &OwnedFd) -> io::Result<i32> {
    let mut raw = [0; 4];
    let n = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut raw))?;
    if n == 4 { Ok(i32::from_ne_bytes(raw)) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) }
}

/// The supervisor holds nothing of the caller's open: whoever waits for the end of a pipe shall see it.
fn leave_terminal(inherited: &[RawFd]) -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for fd in 0..=2 {
        // SAFETY: replaces the standard streams, which nothing here owns as an object.
        unsafe { libc::dup2(null.as_raw_fd(), fd) };
    }
    for &fd in inherited {
        // SAFETY: these numbers were open before anything of ours was, so no object of ours owns them.
        unsafe { libc::close(fd) };
    }
    std::env::set_current_dir("/")
}

fn kill(task: Task, signal: i32) {
    // SAFETY: numbers only.
    unsafe { libc::kill(task.tid as libc::pid_t, signal) };
}

fn reap(task: Task) {
    // SAFETY: a null status is allowed.
    unsafe { libc::waitpid(task.tid as libc::pid_t, std::ptr::null_mut(), 0) };
}

struct Children<'a> {
    program: Task,
    ended: bool,
    report: &'a Report,
    listener: Listener,
}

impl Children<'_> {
    /// Reaps one child, of which `pid` -1 means any; false if there is none to reap.
    fn reap_one(&mut self, pid: i32, options: i32) -> bool {
        let mut status = 0;
        // Only this thread's children: another thread may be waiting for a task that it traces.
        // SAFETY: `status` is live.
        let pid = unsafe { libc::waitpid(pid, &raw mut status, options | libc::__WNOTHREAD) };
        if pid > 0 && pid as u32 == self.program.tid {
            if !libc::WIFSTOPPED(status) && !self.listener.is_over() {
                self.report.tell(word::OTHERS, 0, "");
            }
            if libc::WIFEXITED(status) {
                self.ended = true;
                self.report.tell(word::EXITED, libc::WEXITSTATUS(status), "");
            } else if libc::WIFSIGNALED(status) {
                self.ended = true;
                self.report.tell(word::KILLED, libc::WTERMSIG(status), "");
            } else if libc::WIFSTOPPED(status) {
                self.report.tell(word::STOPPED, libc::WSTOPSIG(status), "");
            }
        }
        // Others are orphans that we are the reaper of.
        pid > 0
    }
}

impl Family for Children<'_> {
    fn child_changed(&mut self) {
        while self.reap_one(-1, libc::WNOHANG | libc::WUNTRACED) {}
    }

    fn all_gone(&mut self) {
        // A task leaves the filter a little before it can be waited for.
        while !self.ended && self.reap_one(self.program.tid as libc::pid_t, 0) {}
    }

    fn front_gone(&mut self) {
        // Whoever kills the process that stands for the program means the program.
        if !self.ended {
            kill(self.program, libc::SIGKILL);
        }
    }
}
