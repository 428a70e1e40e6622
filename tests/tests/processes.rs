//! Programs under `pernet run` are processes like any other: statuses, signals, pipes, daemons, terminals.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Session, Skip, carrying, children_of, everybody, kill, skip};

/// Waits until `condition` holds, for half a minute at most: a machine that does other things may be that late.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "never happened: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Starts `pernet run -- COMMAND...` with stdout and stderr in files of the scratch folder.
fn start(session: &Session, command: &[&str]) -> Child {
    let mut args = vec!["run", "--"];
    args.extend(command);
    let file = |name: &str| fs::File::create(session.scratch.path().join(name)).expect("creates");
    session.command(&args).stdin(Stdio::piped()).stdout(file("out")).stderr(file("err")).spawn().expect("starts")
}

/// Waits for the end of a child, within the usual limit.
fn end(child: &mut Child) -> ExitStatus {
    let mut status = None;
    until("pernet run ended", || {
        status = child.try_wait().expect("waits");
        status.is_some()
    });
    status.expect("ended")
}

#[test]
fn the_status_of_the_command_is_the_status() {
    everybody("exit statuses", |session| {
        let scripts = ["exit 0", "exit 1", "exit 42", "exit 255", "kill -TERM $$", "kill -KILL $$"];
        let more = ["kill -INT $$", "ulimit -c 0; kill -SEGV $$", "ulimit -c 0; kill -ABRT $$"];
        for script in scripts.into_iter().chain(more) {
            // As a shell sees it: 128 + n for a signal, however that is brought about.
            let seen = |argv: &[String]| {
                let mut all = ["/bin/sh", "-c", "\"$@\"; echo $?", "sh"].map(str::to_owned).to_vec();
                all.extend_from_slice(argv);
                session.finish(&mut session.scratch.command(&all)).out
            };
            let direct = ["/bin/sh", "-c", script].map(str::to_owned);
            let through = session.argv(&["run", "--", "/bin/sh", "-c", script]);
            assert_eq!(seen(&through), seen(&direct), "{script}");
        }
    });
}

#[test]
fn signals_reach_the_command() {
    everybody("signals", |session| {
        for signal in ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"] {
            let script =
                format!("trap 'echo {signal} came; exit 7' {signal}; echo ready; while :; do sleep 0.05; done");
            let mut child = start(session, &["/bin/bash", "-c", &script]);
            let out = session.scratch.path().join("out");
            until("the command is ready", || text(&out) == "ready\n");
            kill(signal, &[child.id()]);
            let status = end(&mut child);
            assert_eq!(status.code(), Some(7), "{signal}: {}", text(&out));
            assert_eq!(text(&out), format!("ready\n{signal} came\n"));
        }
        // A command that does not mind: pernet must not die in its place.
        let script = "trap '' TERM; echo ready; sleep 0.5; echo survived";
        let mut child = start(session, &["/bin/bash", "-c", script]);
        let out = session.scratch.path().join("out");
        until("the command is ready", || text(&out) == "ready\n");
        kill("TERM", &[child.id()]);
        assert!(end(&mut child).success());
        assert_eq!(text(&out), "ready\nsurvived\n");
    });
}

#[test]
fn bytes_pass_through_both_ways() {
    everybody("pipes", |session| {
        let bytes: Vec<u8> = (0..1_500_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut child = session
            .command(&["run", "--", "/bin/sh", "-c", "exec 3>&1; cat >&3; echo end >&2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut stdin = child.stdin.take().expect("stdin");
        let sent = bytes.clone();
        let writer = thread::spawn(move || stdin.write_all(&sent).expect("writes"));
        let output = child.wait_with_output().expect("waits");
        writer.join().expect("joins");
        assert!(output.status.success());
        assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
        assert_eq!(output.stderr, b"end\n");
    });
}

#[test]
fn descriptors_and_environment_are_inherited() {
    everybody("descriptors", |session| {
        let script = "echo \"$VALUE\" >&7; for n in 0 1 2 7; do [ -e /proc/self/fd/$n ] && echo $n; done; \
            ls /proc/self/fd | wc -l; pwd";
        // What the harness itself inherited is there both times; nothing of the supervisor's may be.
        let seen = |argv: &[String]| {
            let mut all = ["/bin/sh", "-c", "VALUE='x y' \"$@\" 7>seven", "sh"].map(str::to_owned).to_vec();
            all.extend_from_slice(argv);
            let done = session.finish(&mut session.scratch.command(&all));
            assert_eq!(text(&session.scratch.path().join("seven")), "x y\n", "{done:#?}");
            fs::remove_file(session.scratch.path().join("seven")).expect("removes");
            done.expect_quiet().to_owned()
        };
        let direct = ["/bin/sh", "-c", script].map(str::to_owned);
        let through = session.argv(&["run", "--", "/bin/sh", "-c", script]);
        assert_eq!(seen(&through), seen(&direct));
    });
}

#[test]
fn a_daemon_outlives_its_shell_and_is_still_supervised() {
    const SCRIPT: &str = "(setsid sh -c 'sleep 1.5; ip netns add late && ip netns set late 3 && ip netns list; \
        python3 -c \"import nl; print(nl.Socket().ids())\"; echo end' >late.out 2>&1 </dev/null &); echo started";
    everybody("a daemon", |session| {
        let done = session.sh(SCRIPT, &[]);
        assert_eq!(done.expect_quiet(), "started\n");
        assert!(done.took < Duration::from_millis(1200), "pernet waited for the daemon: {done:#?}");
        let late = session.scratch.path().join("late.out");
        until("the daemon ended", || text(&late).ends_with("end\n"));
        assert_eq!(text(&late), "late (id: 3)\n[3]\nend\n");
        // The supervisor goes with the last of its programs.
        let scratch = session.scratch.name();
        until("the supervisor left", || carrying("W", &scratch).is_empty());
    });
}

#[test]
fn nothing_remains() {
    everybody("left-over processes", |session| {
        let done = session.sh("ip netns add x; ip netns exec x true", &[]);
        assert_eq!(done.expect_quiet(), "");
        let scratch = session.scratch.name();
        until("every process left", || carrying("W", &scratch).is_empty());
    });
}

#[test]
fn runs_are_apart() {
    everybody("two runs", |session| {
        let wait = "ip netns add mine; echo in >in; until [ -e go ]; do sleep 0.02; done; ip netns list";
        let mut one = start(session, &["/bin/sh", "-c", wait]);
        let scratch = session.scratch.path();
        until("the first run made its name", || scratch.join("in").exists());
        let other = session.sh("ip netns list; ip netns add other; ip netns list", &[]);
        fs::write(scratch.join("go"), "").expect("writes");
        assert!(end(&mut one).success());
        assert_eq!(other.expect_quiet(), "other\n");
        assert_eq!(text(&scratch.join("out")), "mine\n");
    });
}

/// The supervisor of the run that `pernet run`, process `front`, was started for.
fn supervisor_of(front: u32) -> u32 {
    let named = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let argv = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let first = String::from_utf8_lossy(argv.split(|byte| *byte == 0).next().unwrap_or(&[])).into_owned();
        let first = first.rsplit('/').next().unwrap_or("").to_owned();
        name.starts_with("pernet") || first.starts_with("pernet")
    };
    let supervisors: Vec<u32> = children_of(front).into_iter().filter(named).collect();
    assert_eq!(supervisors.len(), 1, "one child of `pernet run` is the supervisor");
    supervisors[0]
}

fn is_gone(pid: u32) -> bool {
    let stat = text(Path::new(&format!("/proc/{pid}/stat")));
    stat.is_empty() || stat.contains(") Z ")
}

/// With the supervisor dead a trapped call cannot be answered. It must then fail, not fall through to the host.
#[test]
fn without_its_supervisor_a_program_gets_nothing() {
    const PROGRAM: &str = "
import errno, socket, sys, os
before = socket.socket(16, 3, 0)
os.write(1, b'ready\\n'); os.read(0, 1)
for family, kind in ((2, 1), (2, 2), (10, 1), (16, 3), (17, 3)):
    try: socket.socket(family, kind); r = 'a socket of the host'
    except OSError as e: r = errno.errorcode[e.errno]
    os.write(1, ('%d %s\\n' % (family, r)).encode())
";
    everybody("a killed supervisor", |session| {
        let mut child = start(session, &["python3", "-c", PROGRAM]);
        let out = session.scratch.path().join("out");
        until("the program is ready", || text(&out) == "ready\n");
        let supervisor = supervisor_of(child.id());
        // It would end the program.
        kill("STOP", &[child.id()]);
        kill("KILL", &[supervisor]);
        until("the supervisor died", || is_gone(supervisor));
        let mut stdin = child.stdin.take().expect("stdin");
        stdin.write_all(b"x").expect("writes");
        until("the program asked for its sockets", || text(&out).lines().count() == 6);
        assert_eq!(text(&out), "ready\n2 ENOSYS\n2 ENOSYS\n10 ENOSYS\n16 ENOSYS\n17 ENOSYS\n");
        drop(stdin);
        kill("CONT", &[child.id()]);
        end(&mut child);
    });
}

/// A program that tries again for ever whatever fails, one that takes no hint, and a daemon: all end when their supervisor
/// is killed, while the program is there that `pernet run` was started for, and after it.
#[test]
fn when_the_supervisor_is_killed_its_programs_end() {
    const TRIES: &str = "while :; do (exec 3<>/dev/tcp/127.0.0.1/1) 2>/dev/null; cat /nothing 2>/dev/null; done";
    for waits in [true, false] {
        everybody("programs of a killed supervisor", |session| {
            let last = if waits { "trap '' TERM; while :; do sleep 1; done" } else { "exit 5" };
            let script = format!("(setsid bash -c '{TRIES}' </dev/null >/dev/null 2>&1 &); echo $PPID; {last}");
            let mut child = start(session, &["/bin/bash", "-c", &script]);
            let out = session.scratch.path().join("out");
            until("the program is ready", || text(&out).ends_with('\n'));
            let supervisor: u32 = text(&out).trim().parse().expect("a number");
            if waits {
                kill("KILL", &[supervisor]);
            }
            let status = end(&mut child);
            let scratch = session.scratch.name();
            if waits {
                assert_eq!(status.signal(), Some(9));
            } else {
                assert_eq!(status.code(), Some(5));
                assert!(!carrying("W", &scratch).is_empty(), "the daemon is there");
                kill("KILL", &[supervisor]);
            }
            until("every process ended", || carrying("W", &scratch).into_iter().all(is_gone));
        });
    }
}

/// A shell with job control on a terminal: stop, resume, interrupt, and its status at the end.
#[test]
fn job_control_on_a_terminal() {
    const DRIVER: &str = r#"
import os, pty, select, sys, time
pid, fd = pty.fork()
if not pid:
    os.environ['PS1'] = 'prompt> '; os.environ['HISTFILE'] = ''
    os.execv(sys.argv[1], sys.argv[1:])
seen = ''
def wait(for_what):
    global seen
    end = time.monotonic() + 40
    while for_what not in seen:
        left = end - time.monotonic()
        if left < 0 or not select.select([fd], [], [], left)[0]: sys.exit('never saw %r; saw %r' % (for_what, seen))
        try: data = os.read(fd, 4096)
        except OSError: sys.exit('the terminal closed before %r; saw %r' % (for_what, seen))
        seen += data.decode(errors='replace')
    seen = seen[seen.index(for_what) + len(for_what):]
def type(keys): os.write(fd, keys.encode())
wait('prompt> ')
type('echo sum-$((40+2))\r'); wait('sum-42\r'); wait('prompt> ')
type('sh -c "echo run-\\$((1+1)); sleep 100"\r'); wait('run-2'); time.sleep(0.3); type('\x1a'); wait('Stopped'); wait('prompt> ')
type('jobs\r'); wait('Stopped'); wait('prompt> ')
type('fg\r'); wait('sleep 100'); time.sleep(0.3); type('\x03'); wait('prompt> ')
type('echo code-$?\r'); wait('code-130'); wait('prompt> ')
type('ip netns add red; ip netns exec red cat\r'); time.sleep(0.5); type('typed\r'); wait('typed\r\ntyped'); type('\x1a'); wait('Stopped'); wait('prompt> ')
type('fg\r'); time.sleep(0.5); type('more\r'); wait('more\r\nmore'); type('\x04'); wait('prompt> ')
type('tty -s; echo tty-$?\r'); wait('tty-0'); wait('prompt> '); type('exit 3\r')
end = time.monotonic() + 10
while True:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done: break
    if time.monotonic() > end: sys.exit('the shell did not leave')
    select.select([fd], [], [], 0.1)
    try: os.read(fd, 4096)
    except OSError: time.sleep(0.05)
print('status', os.waitstatus_to_exitcode(status))
"#;
    everybody("job control", |session| {
        let driver = session.scratch.file("driver.py", DRIVER).expect("writes");
        let mut all = vec!["/usr/bin/python3".to_owned(), driver.to_string_lossy().into_owned()];
        all.extend(session.argv(&["run", "--", "/bin/bash", "--norc", "--noprofile", "-i"]));
        let done = session.finish(&mut session.scratch.command(&all));
        assert_eq!(done.expect_quiet(), "status 3\n");
    });
}

/// More ids than fit a datagram, by the unmodified tool (the kernel since 6.10 stops after the first one).
#[test]
fn three_thousand_ids_are_listed() {
    // Four processes hold 750 namespaces each: within the usual limit of 1024 open files.
    const PROGRAM: &str = r"
import nl, os, subprocess
ready, go = os.pipe(), os.pipe()
for _ in range(4):
    if not os.fork():
        s = nl.Socket(); held = [nl.new() for _ in range(750)]; os.write(ready[1], b'y' if {s.assign(fd) for fd in held} == {'0'} else b'n')
        os.close(go[1]); os.read(go[0], 1); os._exit(0)
print([os.read(ready[0], 1) for _ in range(4)] == [b'y'] * 4, nl.Socket().ids() == list(range(3000)))
subprocess.check_call(['ip', 'netns', 'add', 'last']); subprocess.check_call(['ip', 'netns', 'set', 'last', 'auto'])
lines = [line.strip() for line in subprocess.check_output(['ip', 'netns', 'list-id'], text=True).split('\n')]
print(len(lines), lines[:2], lines[2998:]); print(lines[:3000] == ['nsid %d' % n for n in range(3000)])
os.close(go[1]); [os.wait() for _ in range(4)]; s = nl.Socket(); print(nl.until(lambda: s.ids() == [3000], 30))
";
    const EXPECTED: &str = "\
True True
3002 ['nsid 0', 'nsid 1'] ['nsid 2998', 'nsid 2999', 'nsid 3000 (iproute2 netns name: last)', '']
True
True
";
    everybody("3,000 ids", |session| {
        assert_eq!(session.python(PROGRAM).expect_quiet(), EXPECTED);
    });
}

#[test]
fn a_static_c_program() {
    const SOURCE: &str = r#"
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    struct if_nameindex *all = if_nameindex();
    if (!all) { printf("no names: %s\n", strerror(errno)); return 1; }
    for (struct if_nameindex *one = all; one->if_index; one++) printf("%u %s\n", one->if_index, one->if_name);
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    struct { struct nlmsghdr head; struct ifinfomsg link; } ask = { { sizeof ask, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { 0 } };
    char answer[8192];
    int links = 0, done = 0;
    if (fd < 0 || send(fd, &ask, sizeof ask, 0) != sizeof ask) { printf("netlink: %s\n", strerror(errno)); return 1; }
    while (!done) {
        ssize_t got = recv(fd, answer, sizeof answer, 0);
        if (got <= 0) { printf("recv: %s\n", strerror(errno)); return 1; }
        int left = got;
        for (struct nlmsghdr *m = (struct nlmsghdr *)answer; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
            links += m->nlmsg_type == RTM_NEWLINK;
            done |= m->nlmsg_type == NLMSG_DONE;
        }
    }
    printf("%d link\n", links);
    return 0;
}
"#;
    everybody("a static C program", |session| {
        let source = session.scratch.file("static.c", SOURCE).expect("writes");
        let program = session.scratch.path().join("static");
        let built = Command::new("cc").args(["-static", "-O1", "-w", "-o"]).args([&program, &source]).output();
        match built {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("").to_owned();
                return skip("a static C program", &Skip::NoCompiler(format!("cc -static: {said}")));
            }
            Err(error) => {
                return skip("a static C program", &Skip::NoCompiler(format!("cc: {error}")));
            }
        }
        let done = session.pernet(&["run", "--", &program.to_string_lossy()]);
        assert_eq!(done.expect_quiet(), "1 lo\n1 link\n");
    });
}

#[test]
fn a_static_go_program() {
    const SOURCE: &str = r#"package main

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"syscall"
)

func main() {
	links, err := net.Interfaces()
	if err != nil {
		fmt.Println("interfaces:", err)
		return
	}
	for _, link := range links {
		fmt.Println(link.Index, link.Name, link.MTU, link.Flags)
	}
	// Many goroutines, each on a thread of its own, each with a socket of its own.
	var wait sync.WaitGroup
	var lock sync.Mutex
	good := 0
	for n := 0; n < 16; n++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			runtime.LockOSThread()
			for i := 0; i < 20; i++ {
				fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
				if err != nil {
					fmt.Println("socket:", err)
					return
				}
				tab, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
				syscall.Close(fd)
				if err != nil || len(tab) == 0 {
					fmt.Println("rib:", err)
					return
				}
			}
			lock.Lock()
			good++
			lock.Unlock()
		}()
	}
	wait.Wait()
	_, err = net.Dial("tcp", "1.2.3.4:80")
	fmt.Println(good, err)
}
"#;
    everybody("a static Go program", |session| {
        let source = session.scratch.file("static.go", SOURCE).expect("writes");
        let program = session.scratch.path().join("static");
        let built = Command::new("go")
            .args(["build", "-o"])
            .args([&program, &source])
            .env("CGO_ENABLED", "0")
            .env("GO111MODULE", "off")
            .env("GOFLAGS", "")
            .current_dir(session.scratch.path())
            .output();
        match built {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                return skip("a static Go program", &Skip::NoCompiler(format!("go build: {said}")));
            }
            Err(error) => {
                return skip("a static Go program", &Skip::NoCompiler(format!("go: {error}")));
            }
        }
        let done = session.pernet(&["run", "--", &program.to_string_lossy()]);
        let expected = "1 lo 65536 loopback\n16 dial tcp 1.2.3.4:80: connect: network is unreachable\n";
        assert_eq!(done.expect_quiet(), expected);
    });
}
