//! What once went wrong, or was made to: programs that race, die, interrupt themselves, or reach for what is not theirs.
//!
//! The C programs of `programs/` say what they saw. Where root may make namespaces the kernel answers first, and its answer
//! has to be the expected one too.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Scratch, Session, Skip, Subject, compiled, everybody, is_root, kernel, run_limited, says, skip};

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A session as root, or `None` and the reason said.
fn as_root(what: &str) -> Option<Session> {
    if !is_root() {
        skip(what, &Skip::NotRoot);
        return None;
    }
    Some(Session::new(Subject::find().expect("a pernet binary")))
}

/// A file that only its owner may read.
fn secret(session: &Session) {
    let path = session.scratch.file("secret", "nobody reads this\n").expect("writes");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
}

const DROP: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups";

#[test]
fn who_dropped_root_gets_none_of_the_supervisors_rights() {
    let Some(session) = as_root("a program that dropped root") else { return };
    secret(&session);
    fs::create_dir(session.scratch.path().join("closed")).expect("mkdir");
    let script = format!(
        "ip netns add known; ln -s $W/secret /run/netns/made; ln -s $W/closed /run/netns/out
        cat >drop.sh <<'END'
no() {{ \"$@\" >>said 2>&1 && echo \"done: $*\"; }}
no ln -s $W/secret /run/netns/f; no head -1 /run/netns/f; no head -1 /run/netns/made; no cat $W/secret
no mkdir /run/netns/d; no touch /run/netns/t; no mkdir /run/netns/out/d; no touch /run/netns/out/t
no rm /run/netns/known; no rm -f /run/netns/made; no mv /run/netns/known /run/netns/other; no ip netns add mine
no ln /run/netns/known /run/netns/hard; no chmod 777 /run/netns/known; no sh -c 'echo x >/run/netns/made'
no head -1 /proc/self/root/run/netns/made; no mkdir /proc/self/root/run/netns/d; no unshare -n true
id -u
END
        chmod 755 drop.sh; touch said; chmod 666 said; {DROP} sh drop.sh; ls /run/netns; grep -c nobody said"
    );
    // The last line is the count of lines that quote the secret.
    let done = session.sh(&script, &[]);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("65534\nknown\nmade\nout\n0\n", ""), "{done:#?}");
    let refused = text(&session.scratch.path().join("said"));
    assert!(refused.lines().count() >= 17, "{refused}");
    assert_eq!(text(&session.scratch.path().join("secret")), "nobody reads this\n");
    assert!(fs::read_dir(session.scratch.path().join("closed")).expect("lists").next().is_none());
}

#[test]
fn links_out_of_the_names_are_refused() {
    everybody("links out of /run/netns", |session| {
        session.scratch.file("mine", "kept\n").expect("writes");
        let script = "ln -s $W/mine /run/netns/f; ln -s $W /run/netns/g; ln -s $W/new /run/netns/h
            no() { \"$@\" 2>/dev/null && echo \"done: $*\"; }
            cat /run/netns/f; no sh -c 'echo lost >/run/netns/f'; no sh -c 'echo >/run/netns/h'; no ip netns exec f true
            no mkdir /run/netns/g/dir; no touch /run/netns/g/file; no cat /run/netns/g/mine
            cat /run/netns/../netns/f; cat /proc/self/root/run/netns/f; readlink /run/netns/h; rm /run/netns/[fgh]; ls /run/netns";
        let done = session.sh(script, &[]);
        let new = session.scratch.path().join("new");
        assert_eq!(done.out, format!("{}\n", new.display()), "{done:#?}");
        let refused: Vec<&str> = done.err.lines().collect();
        assert!(
            refused.len() == 3 && refused.iter().all(|line| line.ends_with("netns/f: Permission denied")),
            "{done:#?}"
        );
        assert_eq!(text(&session.scratch.path().join("mine")), "kept\n");
        for name in ["new", "dir", "file"] {
            assert!(!session.scratch.path().join(name).exists(), "{name}");
        }
    });
}

#[test]
fn a_pipe_behind_a_link_holds_nobody_up() {
    everybody("a pipe behind a link", |session| {
        let script = "mkfifo pipe; ln -s $W/pipe /run/netns/h
            for n in 1 2 3 4; do timeout 8 cat /run/netns/h >/dev/null 2>&1 & done
            sleep 0.3; ip -br link | wc -l; rm /run/netns/h; ip netns add x; ip netns list; wait; echo waited";
        let done = session.sh(script, &[]);
        assert_eq!(done.expect_quiet(), "1\nx\nwaited\n");
        assert!(done.took < Duration::from_secs(5), "{done:#?}");
    });
}

#[test]
fn a_program_that_changed_its_user_sees_its_namespace() {
    let Some(session) = as_root("a program that changed its user") else { return };
    let look = "readlink /proc/self/ns/net; ip -br link; cat /proc/net/dev | wc -l; ls /sys/class/net";
    let script = format!(
        "look() {{ \"$@\" sh -c '{look}'; }}; ip netns add red
        same() {{ [ \"$1\" = \"$2\" ] && echo same || echo \"$1\" or \"$2\"; }}
        same \"$(look env)\" \"$(look {DROP})\"
        same \"$(look ip netns exec red)\" \"$(look ip netns exec red {DROP})\"
        same \"$(look unshare -n {DROP} | wc -l)\" 4; {DROP} ip -br link | wc -l"
    );
    assert_eq!(session.sh(&script, &[]).expect_quiet(), "same\nsame\nsame\n1\n");
}

#[test]
fn the_knobs_of_the_host_cannot_be_turned() {
    const KNOB: &str = "/proc/sys/net/ipv4/ip_default_ttl";
    let Some(session) = as_root("knobs of the host") else { return };
    let before = text(Path::new(KNOB));
    let value: u8 = before.trim().parse().expect("a number");
    let other = if value == 255 { 254 } else { value + 1 };
    let script = format!(
        "ln -s {KNOB} knob; ln -s /proc/sys/net folder; ln -s $W/knob twice
        for way in {KNOB} /proc/self/root{KNOB} /proc/$$/root{KNOB} knob twice folder/ipv4/ip_default_ttl; do
            sh -c 'echo {other} >\"$0\"' $way 2>/dev/null && echo written by $way
        done; cd /proc/sys/net/ipv4; sh -c 'echo {other} >ip_default_ttl' 2>/dev/null && echo written in place; cat {KNOB}"
    );
    let done = session.sh(&script, &[]);
    let after = text(Path::new(KNOB));
    if after != before {
        let _ = fs::write(KNOB, &before);
    }
    assert_eq!(after, before, "the host's own value");
    // What was written is the namespace's; a symbolic link is not followed there, and leads to what nobody may write.
    let out = done.expect_quiet();
    let (ways, value) = out.trim_end().rsplit_once('\n').expect("more than one line");
    assert_eq!(value, other.to_string(), "{out}");
    assert_eq!(ways.lines().next(), Some(&*format!("written by {KNOB}")));
    assert_eq!(ways.lines().last(), Some("written in place"));
    assert!(ways.lines().all(|way| way.ends_with(KNOB) || way == "written in place"), "{out}");
}

/// One shell after another opens the next file before we are done with the last, and many do so at once.
#[test]
fn every_refusal_of_a_setting_is_said() {
    everybody("refusals of settings", |session| {
        let script = "for shell in 1 2 3 4; do
            (for i in $(seq 50); do echo x > /proc/sys/net/ipv4/tcp_sack || echo said; done 2>/dev/null) &
        done; wait";
        let done = session.sh(script, &[]);
        assert_eq!(done.expect_quiet().lines().filter(|line| *line == "said").count(), 200);
    });
}

/// Who reads a ring is not seen doing so. Whoever was told of a frame that he had taken already, and waits now for another that
/// never comes, as libpcap does, is woken to ask again.
#[test]
fn who_waits_on_a_ring_that_was_emptied_is_woken() {
    const PROGRAM: &str = r"
import mmap, select, socket, struct
ring = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); ring.bind(('lo', 3))
ring.setsockopt(263, 10, 1); ring.setsockopt(263, 5, struct.pack('IIII', 4096, 4, 2048, 8))
frames = mmap.mmap(ring.fileno(), 16384, mmap.MAP_SHARED)
ready = select.poll(); ready.register(ring, select.POLLIN)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))
assert ready.poll(10000)
taken = 0
while taken == 0 or ready.poll(0):
    for at in range(0, 16384, 2048):
        if frames[at] & 1: frames[at:at + 4] = bytes(4); taken += 1
print('taken', taken > 0, 'woken', bool(ready.poll(1500)), 'for nothing', not any(frames[at] & 1 for at in range(0, 16384, 2048)))
";
    everybody("a ring that was emptied", |session| {
        let done = session.sh("ip link set lo up && python3 -c \"$1\"", &[PROGRAM]);
        assert_eq!(done.expect_quiet(), "taken True woken True for nothing True\n");
    });
}

#[test]
fn no_devices_and_no_sockets_of_the_host() {
    const PROGRAM: &str = r"
import errno, fcntl, os, socket, struct, sys
def attempt(what, call, *arguments):
    try: r = 'passed: %r' % (call(*arguments),)
    except OSError as e: r = errno.errorcode[e.errno]
    print(what, r)
for family, kind in ((40, 1), (44, 3), (40, 2)): attempt('family %d' % family, socket.socket, family, kind, 0)
pair = socket.socketpair()[0]
# Down, as it is in the run: nothing changes on the host should it pass (and its lo is not called so).
attempt('SIOCSIFFLAGS', fcntl.ioctl, pair, 0x8914, struct.pack('16sH22x', b'no-such-link', 0))
try: tun = os.open('/dev/net/tun', os.O_RDWR)
except OSError as e: print('TUNSETIFF', errno.errorcode[e.errno])
else: attempt('TUNSETIFF', fcntl.ioctl, tun, 0x400454ca, struct.pack('16sH22x', sys.argv[1].encode() if len(sys.argv) > 1 else b'hard%d', 0x1002))
";
    let name = format!("hard{}", std::process::id());
    let on_host = || Path::new("/sys/class/net").join(&name).exists();
    everybody("devices of the host", |session| {
        let done = session.pernet(&["run", "--", "python3", "-c", PROGRAM, &name]);
        let said = done.expect_quiet();
        let sockets = "family 40 EAFNOSUPPORT\nfamily 44 EAFNOSUPPORT\nfamily 40 EAFNOSUPPORT\nSIOCSIFFLAGS ";
        let rest = said.strip_prefix(sockets).unwrap_or_else(|| panic!("{said}"));
        let (flags, tun) = rest.split_once('\n').unwrap_or_else(|| panic!("{said}"));
        assert!(["EPERM", "ENOTTY", "ENODEV"].contains(&flags), "{said}");
        // A device of the run's own.
        assert!(tun.starts_with("TUNSETIFF passed"), "{said}");
        assert!(!on_host(), "{name} is on the host");
        let added = session.sh("ip tuntap add dev $1 mode tap 2>/dev/null; echo $?; ip -br link | wc -l", &[&name]);
        let there = on_host();
        if there {
            let _ = Command::new("ip").args(["link", "del", &name]).status();
        }
        assert_eq!(added.expect_quiet(), "0\n2\n");
        assert!(!there, "{name} is on the host");
    });
}

#[test]
fn a_namespace_is_handed_down_a_chain_of_the_dying() {
    says("chain", &["8", "300"], &"moved 1, same at the end 1, answer 7\n".repeat(8));
}

/// Longer than the above between two calls that are seen at all.
#[test]
fn a_namespace_is_handed_down_unseen() {
    says("chain", &["3", "2000", "500"], &"moved 1, same at the end 1, answer 7\n".repeat(3));
}

#[test]
fn making_processes_is_not_interrupted() {
    says("forks", &["300"], "interrupted or worse: 0\n");
}

#[test]
fn a_process_begins_where_the_thread_was_that_made_it() {
    let ways = [
        "at once",
        "spawned",
        "the thread ended",
        "the child ended",
        "the thread moved on",
        "by a new thread",
        "older threads end",
        "the process ended",
        "beside a clone",
    ];
    says("makers", &["8"], &ways.map(|way| format!("{way}: all there, wrong 0\n")).concat());
}

/// Arguments of `storm`, see there.
fn storm(args: [&str; 4]) {
    let restart = args[0] == "1";
    let expected = "signals came, rounds ran\n\
        lost 0, twice 0, other errors 0, ids too many 0, descriptors left 0\nafter a wait: answer 4711\n";
    let last = if restart { "interrupted 0, waiting 0\n" } else { "waiting was interrupted: yes\n" };
    says("storm", &args, &format!("{expected}{last}"));
}

#[test]
fn a_storm_of_signals() {
    storm(["0", "0", "200", "0"]);
    storm(["1", "0", "100", "0"]);
}

#[test]
fn a_storm_of_signals_whose_handler_makes_calls() {
    storm(["0", "1", "300", "0"]);
    storm(["1", "1", "300", "0"]);
}

/// A signal sent to a process is for one of its threads: those that only wait are not disturbed.
#[test]
fn a_storm_of_signals_among_threads() {
    storm(["1", "0", "200", "1"]);
}

#[test]
fn receives_end_when_and_as_the_kernels_do() {
    let expected = "a limit: EAGAIN\na limit, signals that restart: EINTR\na limit, signals that do not: EINTR\n\
        no limit, signals that do not: EINTR\nno limit, signals that restart: answer 31\n";
    says("timeouts", &[], expected);
}

/// A thread waits on a descriptor that is closed or becomes another socket. The kernel goes on with the socket that it was;
/// ours may answer EBADF instead, but never takes what is another socket's, nor loses an answer.
#[test]
fn a_wait_on_a_descriptor_that_is_replaced() {
    let like_the_kernel = "\
replaced by a netlink socket: answer 11
    answers 1
    the other: answer 22
    the other again: EAGAIN
replaced by a pair: answer 11
    answers 1
    the pair: z
closed: answer 11
    answers 1
closed for good: EAGAIN
    within a second 1
";
    let scratch = Scratch::new().expect("a scratch folder");
    let Some(program) = compiled(&scratch, "replaced") else { return };
    let path = program.to_string_lossy();
    if let Some(said) = kernel(&scratch, &[&path]) {
        assert_eq!(said, like_the_kernel, "the kernel itself");
    }
    everybody("a replaced descriptor", |session| {
        let done = session.pernet(&["run", "--", &path]);
        let said = done.expect_quiet();
        let alike = |(ours, kernels): (&str, &str)| {
            ours == kernels
                || !kernels.starts_with(' ')
                    && kernels.split_once(':').is_some_and(|(what, _)| ours == format!("{what}: EBADF"))
        };
        assert_eq!(said.lines().count(), like_the_kernel.lines().count(), "{said}");
        assert!(said.lines().zip(like_the_kernel.lines()).all(alike), "{said}");
    });
}

#[test]
fn internet_sockets_stay_what_they_are() {
    let expected = "a table of its own: 0, domain 2\nafter its journey: 0, domain 2\nmany made 1, changed 0\n";
    says("identity", &[], expected);
}

#[test]
fn a_process_whose_first_thread_ended() {
    says("leaderless", &[], "the first thread ended: yes\nnetlink: answer 5\nunshare: 0, moved 1\n");
}

#[test]
fn the_first_program_makes_a_pid_namespace_too() {
    // The machine itself has to allow it, to one who holds nothing.
    let mut plain: Vec<&str> = if is_root() { DROP.split(' ').collect() } else { Vec::new() };
    plain.extend(["unshare", "--user", "--pid", "--fork", "true"]);
    let scratch = Scratch::new().expect("a scratch folder");
    let plain: Vec<String> = plain.into_iter().map(str::to_owned).collect();
    let allowed = run_limited(&mut scratch.command(&plain), Session::LIMIT).expect("runs");
    if !allowed.status.is_some_and(|status| status.success()) {
        let why = format!("this machine refuses user namespaces: {}", allowed.err.trim());
        return skip("a pid namespace", &Skip::NothingToDo(why));
    }
    everybody("a pid namespace", |session| {
        for _ in 0..5 {
            let done = session.pernet(&["run", "--", "unshare", "-np", "-f", "sh", "-c", "echo $$"]);
            assert_eq!(done.expect_quiet(), "1\n");
        }
        // The child is made right behind, and is in the new network namespace, too.
        let script = "a=$(readlink /proc/self/ns/net); n=0; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
            [ $(unshare -np -f readlink /proc/self/ns/net) = $a ] || n=$((n+1)); done; echo $n";
        assert_eq!(session.sh(script, &[]).expect_quiet(), "20\n");
    });
}

/// More than the kernel since 6.10 lists without an error, so it is not asked.
#[test]
fn a_long_list_read_without_waiting() {
    const PROGRAM: &str = r"
import nl, os, socket, struct, time
s = nl.Socket(); held = [nl.new() for _ in range(300)]
print({s.assign(fd, n) for n, fd in enumerate(held)})
for way in ('read', 'recv'):
    one = socket.socket(16, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    one.sendto(nl.message(nl.GETNSID, nl.REQUEST | nl.DUMP, bytes(4), seq=9), (0, 0))
    found, done, end, again = [], None, time.monotonic() + 2, 0
    while done is None and time.monotonic() < end:
        try: data = os.read(one.fileno(), 8192) if way == 'read' else one.recv(8192)
        except BlockingIOError:
            again += 1; time.sleep(0.001); continue
        at = 0
        while at < len(data):
            length, kind = struct.unpack_from('=IH', data, at)
            if kind == nl.DONE: done = struct.unpack_from('=i', data, at + 16)[0]
            else: found.append(dict(nl.attributes(data[at + 20:at + length]))[nl.NSID])
            at += (length + 3) & ~3
    print(way, found == [struct.pack('=i', n) for n in range(300)], done, 'again' if again > 100 else '')
";
    everybody("a long list", |session| {
        assert_eq!(session.python(PROGRAM).expect_quiet(), "{'0'}\nread True 0 \nrecv True 0 \n");
    });
}

#[test]
fn names_are_watched_as_they_come_and_go() {
    const SCRIPT: &str = "stdbuf -oL ip netns monitor >log 2>&1 & monitor=$!
        shown() { for n in $(seq 200); do grep -qx \"$1\" log && return; sleep 0.02; done; echo never \"$1\"; cat log; }
        for n in $(seq 100); do ip netns add early; ip netns del early; [ -s log ] && break; sleep 0.05; done
        ip netns add one; shown 'add one'; ip netns add two; shown 'add two'
        ip netns del one; shown 'delete one'; ip netns del two; shown 'delete two'
        kill $monitor; wait $monitor 2>wait; echo $?; grep -v early log";
    everybody("ip netns monitor", |session| {
        let done = session.sh(SCRIPT, &[]);
        assert_eq!(done.expect_quiet(), "143\nadd one\nadd two\ndelete one\ndelete two\n");
    });
}

#[test]
fn twenty_monitors_end_at_once() {
    const PROGRAM: &str = r"
import nl, os, signal, subprocess, time
for how in (signal.SIGINT, signal.SIGTERM):
    logs = [open('log%d' % n, 'w+') for n in range(20)]
    # What it prints on stderr is no fault: it opens each name that it hears of, which may be going while it does, and is
    # then told that the plain file left there is no namespace. Linux says so too.
    all = [subprocess.Popen(['ip', 'monitor'], stdout=log, stderr=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) for log in logs]
    def heard():
        # An event that every one of them prints, made until they do: they listen, and are in their receive again.
        subprocess.check_call(['ip', 'netns', 'add', 'x']); subprocess.check_call(['ip', 'netns', 'set', 'x', 'auto'])
        subprocess.check_call(['ip', 'netns', 'del', 'x']); time.sleep(0.05)
        return all_of(os.fstat(log.fileno()).st_size for log in logs)
    all_of = lambda sizes: min(sizes) > 0
    print('all listen', nl.until(heard, 10))
    start = time.monotonic()
    for one in all: one.send_signal(how)
    print({one.wait() for one in all} == {-how}, 'at once' if time.monotonic() - start < 1 else 'late')
";
    everybody("twenty monitors", |session| {
        let expected = "all listen True\nTrue at once\n".repeat(2);
        assert_eq!(session.python(PROGRAM).expect_quiet(), expected);
    });
}

/// Whether a program that a machine need not have is there.
fn has(program: &str) -> bool {
    let there = e2e::SCRIPT_PATH.split(':').any(|dir| Path::new(dir).join(program).is_file());
    if !there {
        skip(program, &Skip::NothingToDo(format!("{program} is not installed")));
    }
    there
}

#[test]
fn strace_inside() {
    if !has("strace") {
        return;
    }
    everybody("strace", |session| {
        let done = session.pernet(&["run", "--", "strace", "-f", "-o", "trace", "ip", "-br", "link"]);
        assert_eq!(done.expect_quiet().split_whitespace().next(), Some("lo"));
        let trace = text(&session.scratch.path().join("trace"));
        for what in ["execve(", "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE)", "recvmsg(", "exited with 0"]
        {
            assert!(trace.contains(what), "{what}:\n{trace}");
        }
    });
}

#[test]
fn gdb_inside() {
    if !has("gdb") {
        return;
    }
    everybody("gdb", |session| {
        let stop = [
            "-nx",
            "-batch",
            "-ex",
            "set confirm off",
            "-ex",
            "catch syscall bind",
            "-ex",
            "run",
            "-ex",
            "info inferiors",
        ];
        let mut all = vec!["run", "--", "gdb"];
        all.extend(stop);
        all.extend(["-ex", "delete", "-ex", "continue", "--args", "ip", "-br", "link"]);
        let done = session.pernet(&all);
        for what in ["(call to syscall bind)", "process ", "\nlo ", "exited normally]"] {
            assert!(done.out.contains(what), "{what}: {done:#?}");
        }
    });
}
