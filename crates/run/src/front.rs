//! The process that the user's shell sees: signals go in, the program's end comes out.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use crate::keeper;
use crate::launch::{Ended, RunError, Signals, word};
use crate::task::pidfd_of;

/// Which run it is the front of.
pub(crate) struct Run {
    /// What is written on its processes.
    pub(crate) number: u64,
    /// Who answers them.
    pub(crate) supervisor: Option<OwnedFd>,
}

/// Waits for the program's end.
///
/// # Errors
/// [`RunError`] if it never started.
pub(crate) fn wait(report: &OwnedFd, signals: &Signals, run: &Run) -> Result<Ended, RunError> {
    let mut program = Program { pid: 0, pidfd: None, early: Vec::new(), leaves_others: false };
    loop {
        let mut fds = [PollFd::new(&signals.fd, PollFlags::IN), PollFd::new(report, PollFlags::IN)];
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let (signal, told) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if signal {
            while let Some(info) = next_signal(&signals.fd) {
                program.pass_on(&info);
            }
        }
        if told && let Some(end) = hear(report, &mut program, run)? {
            if let Some(supervisor) = run.supervisor.as_ref().filter(|_| program.leaves_others) {
                keeper::leave_behind(supervisor, run.number);
            }
            return Ok(end);
        }
    }
}

struct Program {
    pid: u32,
    pidfd: Option<OwnedFd>,
    /// Signals that came before the program was known.  It may be running already: the word of its start is on its way.
    early: Vec<i32>,
    /// It is not the last of the run.
    leaves_others: bool,
}

impl Program {
    fn started(&mut self, pid: u32) {
        self.pid = pid;
        self.pidfd = pidfd_of(pid);
        for signal in std::mem::take(&mut self.early) {
            self.send(signal);
        }
    }

    fn pass_on(&mut self, info: &libc::signalfd_siginfo) {
        // The terminal and the kernel speak to the whole process group, which the program is in: it has heard.
        // Somebody's kill(2) means the program.
        let from_kernel = info.ssi_code > 0;
        let signal = info.ssi_signo as i32;
        if signal == libc::SIGCHLD || (from_kernel && signal != libc::SIGCONT) {
            return;
        }
        if self.pid == 0 {
            self.early.push(signal);
        } else {
            self.send(signal);
        }
    }

    fn send(&self, signal: i32) {
        if let (Some(pidfd), Some(signal)) = (&self.pidfd, Signal::from_named_raw(signal)) {
            // It may have ended meanwhile.
            let _ = pidfd_send_signal(pidfd, signal);
        }
    }
}

fn next_signal(fd: &OwnedFd) -> Option<libc::signalfd_siginfo> {
    let mut raw = [0u8; size_of::<libc::signalfd_siginfo>()];
    let n = rustix::io::read(fd, &mut raw).ok()?;
    if n != raw.len() {
        return None;
    }
    // SAFETY: the kernel filled the whole structure, which consists of integers.
    Some(unsafe { raw.as_ptr().cast::<libc::signalfd_siginfo>().read_unaligned() })
}

fn hear(report: &OwnedFd, program: &mut Program, run: &Run) -> Result<Option<Ended>, RunError> {
    let mut head = [0u8; 12];
    let Some(()) = read_whole(report, &mut head)? else {
        return orphaned(program, run).map(Some);
    };
    let number = |i: usize| i32::from_ne_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    let (word, value) = (number(0) as u32, number(4));
    let mut text = vec![0; (number(8) as usize).min(4096)];
    let _ = read_whole(report, &mut text)?;
    match word {
        word::STARTED => {
            program.started(value as u32);
            Ok(None)
        }
        word::OTHERS => {
            program.leaves_others = true;
            Ok(None)
        }
        word::EXITED => Ok(Some(Ended::Status(value))),
        word::KILLED => Ok(Some(Ended::Signal(value))),
        word::STOPPED => {
            // The shell must see its job stop.  It wakes us with SIGCONT, which we then pass on.
            let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
            program.send(libc::SIGCONT);
            Ok(None)
        }
        _ if value != 0 => Err(RunError::Filter(value)),
        _ => Err(RunError::Setup(String::from_utf8_lossy(&text).into_owned())),
    }
}

fn read_whole(from: &OwnedFd, mut into: &mut [u8]) -> io::Result<Option<()>> {
    while !into.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut *into))? {
            0 => return Ok(None),
            n => into = &mut into[n..],
        }
    }
    Ok(Some(()))
}

/// The supervisor was killed, and the programs can do nothing any more. They are our children now (we are a reaper), are
/// ended, and the end of the one that we stand for is still told.
fn orphaned(program: &Program, run: &Run) -> Result<Ended, RunError> {
    if program.pid == 0 {
        return Err(RunError::Setup("the supervisor died while starting; see `pernet doctor`".into()));
    }
    eprintln!(
        "pernet: the supervisor was killed: the programs of this run have no network and no files any more, and are ended"
    );
    keeper::end_all(run.number);
    let pid = Pid::from_raw(program.pid as i32);
    loop {
        match rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()) {
            Ok(Some((_, status))) if status.exit_status().is_some() => {
                return Ok(Ended::Status(status.exit_status().unwrap_or(1)));
            }
            Ok(Some((_, status))) if status.terminating_signal().is_some() => {
                return Ok(Ended::Signal(status.terminating_signal().unwrap_or(libc::SIGKILL)));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Ok(Ended::Status(1)),
        }
    }
}

/// Ends this process as the program ended.
pub fn end_as(end: Ended) -> ! {
    match end {
        Ended::Status(code) => std::process::exit(code),
        Ended::Signal(signal) => {
            let none = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
            // The program has left its core, if it was to.
            let _ = crate::sys::set_limit(0, libc::RLIMIT_CORE, none);
            // SAFETY: numbers, and a live set: the default action of the signal ends this process.
            unsafe {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                libc::signal(signal, libc::SIG_DFL);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
                libc::raise(signal);
            }
            std::process::exit(128 + signal)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_before_the_word_of_the_start_is_kept() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut program = Program { pid: 0, pidfd: None, early: Vec::new(), leaves_others: false };
        // SAFETY: the structure consists of integers.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        info.ssi_signo = libc::SIGTERM as u32;
        program.pass_on(&info);
        program.started(child.id());
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGTERM));
    }
}
