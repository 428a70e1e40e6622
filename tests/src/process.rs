//! Child processes with a time limit, and finding what they left behind, without signals from unsafe code.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// What a command that ran under a time limit left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended; `None` when the limit struck and it was killed.
    pub status: Option<ExitStatus>,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub err: String,
}

/// Runs `command` for at most `limit`, with its output in files rather than pipes: a daemon that keeps a pipe open must
/// not make the harness wait for it. When the limit strikes the command and its descendants are killed.
///
/// # Errors
/// The command cannot be started, or the temporary files cannot be made.
pub fn run_limited(command: &mut Command, limit: Duration) -> io::Result<Finished> {
    let mut out = tempfile::tempfile()?;
    let mut err = tempfile::tempfile()?;
    let mut child = command.stdout(Stdio::from(out.try_clone()?)).stderr(Stdio::from(err.try_clone()?)).spawn()?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if start.elapsed() > limit {
            // Children first: once the parent is gone they belong to init and are no longer found.
            let mut pids = descendants(child.id());
            pids.push(child.id());
            kill("KILL", &pids);
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    Ok(Finished { status, out: contents(&mut out)?, err: contents(&mut err)? })
}

fn contents(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What to put before a command so that it hears SIGHUP, SIGINT and SIGQUIT: who is started by `nohup`, or in the background of
/// a shell without job control, ignores them, and so would everything started from here.
pub(crate) fn hears_signals() -> &'static [String] {
    static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        before(ignored).iter().map(|word| (*word).to_owned()).collect()
    })
}

/// The same, of a mask of ignored signals.
fn before(ignored: u64) -> &'static [&'static str] {
    // Bit n - 1 is signal n: SIGHUP is 1, SIGINT 2, SIGQUIT 3.
    if ignored & 0b111 == 0 { &[] } else { &["/usr/bin/env", "--default-signal=HUP,INT,QUIT"] }
}

/// Sends a signal, by name, to processes by their ids; those already gone are passed over.
pub fn kill(signal: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    // The shell's own `kill` goes on to the next id after a failure and needs no package.
    let _ = Command::new("/bin/sh")
        .args(["-c", "for p; do kill -s \"$0\" \"$p\"; done 2>/dev/null", signal])
        .args(pids.iter().map(u32::to_string))
        .status();
}

/// The ids of the processes whose parent is `pid`.
pub fn children_of(pid: u32) -> Vec<u32> {
    all().into_iter().filter(|&candidate| parent(candidate) == Some(pid)).collect()
}

fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = all().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let of = found[at];
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    found
}

/// The ids of the processes that were started with `variable=value` in their environment.
pub fn carrying(variable: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{variable}={value}").into_bytes();
    all()
        .into_iter()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == wanted))
        })
        .collect()
}

fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The parent is the second field after the command name, which itself may hold spaces and brackets.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_come_back() {
        let done = run_limited(
            Command::new("/bin/sh").args(["-c", "echo out; echo err >&2; exit 3"]),
            Duration::from_secs(10),
        )
        .expect("runs");
        assert_eq!(done.status.and_then(|status| status.code()), Some(3));
        assert_eq!((done.out.as_str(), done.err.as_str()), ("out\n", "err\n"));
    }

    #[test]
    fn who_ignores_a_signal_starts_others_that_hear_it() {
        assert!(before(0x1000).is_empty(), "SIGPIPE, which Rust's own runtime ignores, is not meant");
        let [program, option] = before(0x4) else { panic!("two words") };
        let script = format!("trap '' INT QUIT; {program} {option} sh -c 'kill -INT $$; echo alive'; echo $?");
        let mut shell = Command::new("/bin/sh");
        let done = run_limited(shell.args(["-c", &script]), Duration::from_secs(10)).expect("runs");
        assert_eq!(done.out, "130\n");
    }

    #[test]
    fn the_limit_kills_grandchildren_too() {
        let marker = format!("{}-{:?}", std::process::id(), thread::current().id());
        let done = run_limited(
            Command::new("/bin/sh").args(["-c", "sleep 600 & sleep 600; true"]).env("E2E_LIMIT_TEST", &marker),
            Duration::from_millis(300),
        )
        .expect("runs");
        assert!(done.status.is_none());
        let gone = (0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            carrying("E2E_LIMIT_TEST", &marker).is_empty()
        });
        assert!(gone, "still there: {:?}", carrying("E2E_LIMIT_TEST", &marker));
    }
}
