//! What programs, links and limits do to sockets: they are killed, stopped, deaf, taken away, exhausted. Nobody hangs, nothing
//! leaks, and no socket is ever one of the host's network.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Scratch, carrying, everybody, package_dir, said_by_all, said_by_us, says};

fn program(name: &str) -> String {
    package_dir().join("programs").join(name).to_string_lossy().into_owned()
}

#[test]
fn programs_killed_at_every_point() {
    let expected =
        "ended as a killed program ends: True\ndescriptors left: 0\nmemory grows: no\nconnections left: []\n";
    said_by_us(&["python3", &program("victims.py"), "400"], expected);
}

#[test]
fn a_stopped_one_and_a_deaf_one() {
    let scratch = Scratch::new().expect("a scratch folder");
    let expected = "bounded: True\ndatagrams to nobody grow: no\nothers go on\nas after a reset: True\n";
    said_by_all(&scratch, &["python3", &program("blocked.py")], expected);
}

#[test]
fn links_and_a_namespace_go_underfoot() {
    let scratch = Scratch::new().expect("a scratch folder");
    let expected = "flows: True\nflows again: True\nnothing flows while it is down: True\nflows after that: True\n\
        nothing flows without it: True [None, None] None\nflows by a new one: True\nflows on: True\n\
        the cable is gone: True\nall ended: 3\n";
    said_by_all(&scratch, &["python3", &program("underfoot.py")], expected);
}

/// The program's limit is the supervisor's, too, but that of one who may raise it.
#[test]
fn no_more_descriptors() {
    let line = |what: &str| format!("{what} refused: True some: True others go on: True\nagain: True True\n");
    let expected = ["datagram sockets", "netlink sockets", "connections"].map(line).concat();
    let scratch = Scratch::new().expect("a scratch folder");
    let full = program("full.py");
    said_by_all(&scratch, &["/bin/sh", "-c", "ulimit -n 300; exec python3 $0", &full], &expected);
    everybody("a supervisor without descriptors", |session| {
        let mut all = ["/bin/sh", "-c", "ulimit -n 300; exec \"$@\"", "sh"].map(str::to_owned).to_vec();
        all.extend(session.argv(&["run", "--", "python3", &full]));
        assert_eq!(session.finish(&mut session.scratch.command(&all)).expect_quiet(), expected);
    });
}

/// At 10 kHz, and at one.
#[test]
fn a_gale_of_signals() {
    let expected = "signals came, rounds ran\nlost 0, twice 0, other errors 0, descriptors left 0\n";
    for every in ["100", "1000"] {
        says("gale", &["0", every], expected);
        says("gale", &["1", every], &format!("{expected}interrupted 0\n"));
    }
}

/// Inode numbers of the sockets that a process has open.
fn sockets_of(pid: u32) -> HashSet<u64> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = open.filter_map(|fd| fs::read_link(fd.path()).ok()?.to_str().map(str::to_owned));
    links.filter_map(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// Inode numbers of the machine's AF_UNIX sockets.
fn unix_sockets() -> HashSet<u64> {
    let list = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    list.lines().filter_map(|line| line.split_whitespace().nth(6)?.parse().ok()).collect()
}

/// Programs with every kind of socket, that tried io_uring, calls of other architectures and an inherited descriptor: what
/// they and their supervisor have open are sockets of AF_UNIX and nothing else.
#[test]
fn no_socket_is_the_hosts() {
    // One of the host's is left open for them.
    const OPEN: &str = "import os, socket, sys; s = socket.socket(2, 2); s.set_inheritable(True); os.execvp(sys.argv[1], sys.argv[1:])";
    everybody("sockets of the host", |session| {
        let mut all = ["python3", "-c", OPEN].map(str::to_owned).to_vec();
        all.extend(session.argv(&["run", "--", "python3", &program("hosts.py")]));
        let out = session.scratch.path().join("out");
        let file = fs::File::create(&out).expect("creates");
        let mut child = session.scratch.command(&all).stdin(Stdio::piped()).stdout(file).spawn().expect("starts");
        let start = Instant::now();
        let text = || fs::read_to_string(&out).unwrap_or_default();
        while !text().lines().any(|line| line.starts_with("ready ")) {
            assert!(start.elapsed() < Duration::from_secs(40), "never ready: {}", text());
            thread::sleep(Duration::from_millis(20));
        }
        let said = text();
        let (attempts, supervisor) = said.trim_end().rsplit_once("ready ").expect("ready");
        assert_eq!(attempts, "io_uring_setup ENOSYS\nx32 ENOSYS\ni386 socketcall ENOSYS\ni386 socket ENOSYS\n");
        let supervisor: u32 = supervisor.parse().expect("a number");
        let mut processes = carrying("W", &session.scratch.name());
        // The one that stands for the program has what it was started with.
        processes.retain(|&pid| pid != child.id());
        assert!(processes.contains(&supervisor) && processes.len() > 1, "{processes:?}");
        let mut seen = 0;
        for pid in processes {
            // Listed first, so that none is missing that was made in between.
            let open = sockets_of(pid);
            seen += open.len();
            let strange: Vec<u64> = open.difference(&unix_sockets()).copied().collect();
            assert!(strange.is_empty(), "{pid} ({}): {strange:?}", program_name(pid));
        }
        assert!(seen > 20, "only {seen} sockets");
        drop(child.stdin.take());
        assert!(child.wait().expect("waits").success());
    });
}

fn program_name(pid: u32) -> String {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm")).unwrap_or_default()
}
