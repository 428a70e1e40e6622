//! What a datagram, a byte and a connection cost the supervisor in system calls, and that the short ways keep the order.
//!
//! Counted, not timed: a call or a wake-up too many for each shows whatever else the machine does.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use e2e::{As, Session, Skip, Subject, children_of, everybody, skip};

/// Those that no look by the clock adds to in numbers.
const COUNTED: &str = "ioctl,recvfrom,sendto,process_vm_readv,process_vm_writev,pidfd_getfd,pidfd_open,statx,fstat,\
                       poll,ppoll,write,getsockopt,setsockopt,socket,socketpair,connect,accept4,bind,epoll_ctl,fcntl,\
                       readlink,prlimit64,capget,shutdown,mmap,munmap,madvise";

/// Both ends of what is counted: `serve` in a thread, then `once` as often as it is told.
const FRAME: &str = r#"
import socket, sys, threading
n = int(sys.argv[1])
BODY
threading.Thread(target=serve, daemon=True).start()
for _ in range(20): once()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(n): once()
"#;

const DATAGRAM: &str = r"
a, b = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
a.bind(('127.0.0.1', 0)); b.bind(('127.0.0.1', 0))
to = b.getsockname()
def serve():
    while True:
        data, back = b.recvfrom(100)
        b.sendto(data, back)
def once():
    a.sendto(b'x' * 64, to)
    assert a.recvfrom(100)[0] == b'x' * 64
";

const BYTE: &str = r"
l = socket.create_server(('127.0.0.1', 0))
def serve():
    s = l.accept()[0]
    while data := s.recv(100): s.sendall(data)
c = None
def once():
    global c
    c = c or socket.create_connection(l.getsockname())
    c.sendall(b'x')
    assert c.recv(1) == b'x'
";

const CONNECTION: &str = r"
l = socket.create_server(('127.0.0.1', 0))
to = l.getsockname()
def serve():
    while True: l.accept()[0].close()
def once():
    s = socket.socket()
    s.connect(to)
    s.recv(1)
    s.close()
";

const ERRAND: &str = r"
l = socket.create_server(('127.0.0.1', 0))
to = l.getsockname()
def serve():
    while True:
        s = l.accept()[0]
        s.sendall(s.recv(1))
        s.close()
def once():
    s = socket.socket()
    s.connect(to)
    s.sendall(b'x')
    assert s.recv(1) == b'x' and s.recv(1) == b''
    s.close()
";

/// Calls of the supervisor for each `once` of this program; `None` if they cannot be counted here.
fn calls_each(session: &Session, body: &str, n: u32) -> Option<f64> {
    let program = FRAME.replace("BODY", body);
    let script = "ip link set lo up && exec python3 -u -c \"$1\" \"$2\"";
    let n_text = n.to_string();
    let mut command = session.command(&["run", "--", "/bin/sh", "-c", script, "sh", &program, &n_text]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut said = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("reads");
    assert_eq!(line, "ready\n");

    let works = |pid: &u32| {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads
            .into_iter()
            .any(|t| fs::read_to_string(t.path().join("comm")).is_ok_and(|c| c.starts_with("pernet-call")))
    };
    let supervisor = children_of(child.id()).into_iter().chain([child.id()]).find(works).expect("a supervisor");
    let counts = session.scratch.path().join("counts");
    let calls = format!("trace={COUNTED}");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "name,calls", "-e", &calls, "-p", &supervisor.to_string(), "-o"]).arg(&counts);
    let mut strace = strace.stderr(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(strace.stderr.take().expect("piped")).read_line(&mut line).expect("reads");
    let traced = line.contains("attached");

    // It may attach to the threads one after the other: what is lost of the first few is no cost.
    thread::sleep(Duration::from_millis(100));
    child.stdin.take().expect("piped").write_all(b"\n").expect("it listens");
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("reads");
    assert!(child.wait().expect("waits").success(), "{rest}");
    strace.wait().expect("waits");
    let text = fs::read_to_string(&counts).unwrap_or_default();
    let number = |line: &str| line.split_whitespace().last()?.parse::<u32>().ok();
    let total: u32 = text.lines().filter(|line| !line.contains("total")).filter_map(number).sum();
    traced.then(|| f64::from(total) / f64::from(n))
}

#[test]
fn the_supervisor_calls_the_kernel_no_more_than_it_must() {
    if !Command::new("strace").arg("--version").output().is_ok_and(|done| done.status.success()) {
        return skip("system calls of round trips", &Skip::NoProgram("strace".to_owned()));
    }
    let session = Session::new(Subject::find().expect("a pernet binary").run_as(As::Current));
    for (what, body, n, most) in [
        ("a datagram there and back", DATAGRAM, 1000, 60.0),
        ("a byte there and back", BYTE, 1000, 16.0),
        ("a connection", CONNECTION, 300, 56.0),
        ("a connection for a byte there and back", ERRAND, 300, 64.0),
    ] {
        let Some(each) = calls_each(&session, body, n) else {
            return skip(
                "system calls of round trips",
                &Skip::NoProgram("strace, where tracing is refused".to_owned()),
            );
        };
        assert!(each > 2.0, "{what}: nothing was counted");
        assert!(each <= most, "{what}: {each} calls");
    }
}

/// Datagrams that reach a call that waits, the pair of sockets, or neither, and are taken by calls of both kinds.
const MIXED: &str = r"
import random, select, socket, struct, threading
rng = random.Random(7)
a, b = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
a.bind(('127.0.0.1', 0)); b.bind(('127.0.0.1', 0))
a.connect(b.getsockname())
more = threading.Semaphore(0)
def send():
    for i in range(3000):
        if i % 7 == 0: more.acquire()
        text = b'%d' % i
        (a.send(text) if rng.random() < .3 else a.sendmsg([text]))
threading.Thread(target=send, daemon=True).start()
b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', 20, 0))
last = -1
more.release()
while last < 2999:
    how = rng.randrange(5)
    if how == 0: select.select([b], [], [], 20)
    if how == 1: assert int(b.recvfrom(100, socket.MSG_PEEK)[0]) == last + 1
    got = int(b.recv(100) if how in (2, 3) else b.recvfrom(100)[0] if how == 4 else b.recvmsg(100)[0])
    assert got == last + 1, (got, last, how)
    last = got
    if last % 7 == 6: more.release()
print('in order')
";

#[test]
fn what_came_first_is_received_first_by_whatever_call() {
    everybody("datagrams in order", |session| {
        let script = "ip link set lo up && exec python3 -u -c \"$1\"";
        let done = session.sh(script, &[MIXED]);
        assert_eq!(done.out, "in order\n", "{done:?}");
    });
}
