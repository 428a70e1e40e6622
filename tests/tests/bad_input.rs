//! What is wrong is named in one sentence; what is garbage is answered or ignored, and nothing hangs.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use e2e::{Done, everybody};

/// One sentence on stderr and nothing on stdout.
fn one_sentence(what: &str, done: &Done) {
    let lines: Vec<&str> = done.err.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "{what}: one sentence is enough: {done:#?}");
    assert!(!done.err.contains("panicked"), "{what}: {done:#?}");
    assert_eq!(done.out, "", "{what}: {done:#?}");
}

#[test]
fn a_wrong_command_line_is_exit_2_and_one_sentence() {
    everybody("wrong command lines", |session| {
        for args in [
            &["no-such-command"][..],
            &["--no-such-option"],
            &["run"],
            &["run", "--"],
            &["run", "--no-such-option", "--", "true"],
            &["ns", "no-such-command"],
            &["ns", "add"],
            &["ns", "set", "name"],
            &["ns", "set", "name", "word"],
            &["ns", "exec", "name"],
        ] {
            let done = session.pernet(args);
            assert_eq!(done.status.code(), Some(2), "{args:?}: {done:#?}");
            one_sentence(&format!("{args:?}"), &done);
        }
    });
}

#[test]
fn a_command_that_is_not_there_is_127() {
    everybody("missing commands", |session| {
        for command in ["no-such-command", "/no/such/command", "./here", ""] {
            let done = session.pernet(&["run", "--", command]);
            assert_eq!(done.status.code(), Some(127), "{command:?}: {done:#?}");
            one_sentence(command, &done);
            assert!(done.err.contains(command), "{command:?} is not named: {done:#?}");
        }
    });
}

#[test]
fn a_command_that_cannot_be_run_is_126() {
    everybody("commands that cannot be run", |session| {
        std::fs::write(session.scratch.path().join("plain"), "text\n").expect("writes");
        let broken = session.scratch.file("broken", "#!/no/such/interpreter\n").expect("writes");
        for command in ["./plain", "/", "/etc/passwd"] {
            let done = session.pernet(&["run", "--", command]);
            assert_eq!(done.status.code(), Some(126), "{command:?}: {done:#?}");
            one_sentence(command, &done);
        }
        // The file is there, its interpreter is not: the kernel says ENOENT, and so do shells: 127.
        let broken = broken.to_string_lossy().into_owned();
        let done = session.pernet(&["run", "--", &broken]);
        assert!(matches!(done.status.code(), Some(126 | 127)), "{done:#?}");
    });
}

#[test]
fn arguments_are_bytes() {
    everybody("arguments of any bytes", |session| {
        let odd = OsString::from_vec(b"a\xff\nb ".to_vec());
        let mut command = session.command(&["run", "--", "/usr/bin/printf", "%s|", "", "--", "-x"]);
        let done = session.finish(command.arg(odd));
        assert!(done.status.success(), "{done:#?}");
        assert_eq!(done.out, "|--|-x|a\u{fffd}\nb |");
    });
}

/// Sends what no program would and insists on an answer to a sane request afterwards.
#[test]
fn garbage_on_a_netlink_socket_never_hangs() {
    const PROGRAM: &str = r#"
import nl, os, random, struct
random.seed(20240229)
def sane(s):
    s.datagrams()
    a = nl.new(); r = s.assign(a), s.id_of(a) in s.ids(); os.close(a)
    return r == ('0', True)
kinds = [0, 1, 2, 3, 15, 16, 17, 18, 19, 22, 26, 30, 50, 88, 89, 90, 91, 123, 124, 255, 65535]
for proto in (0, 4, 15, 16):
    s = nl.Socket(); g = nl.socket.socket(16, 3, proto); g.setblocking(False)
    for n in range(600):
        how = n % 6
        body = os.urandom(random.choice((0, 1, 3, 4, 16, 20, 60, 500)))
        if how == 0: data = body
        elif how == 1: data = nl.message(random.choice(kinds), random.getrandbits(16), body)
        elif how == 2: data = nl.message(random.choice(kinds), 5, body, length=random.choice((0, 15, 16, 17, len(body) + 15, len(body) + 17, 1 << 31, (1 << 32) - 1)))
        elif how == 3: data = nl.message(random.choice(kinds), 1 | random.choice((0, 4, 0x300)), bytes(random.choice((4, 12, 16))) + b''.join(nl.raw(random.getrandbits(16), os.urandom(random.randrange(40))) for _ in range(random.randrange(30))))
        elif how == 4:
            deep = b''
            for _ in range(random.choice((1, 100, 3000))): deep = (nl.raw(0x8000 | random.randrange(64), deep) if len(deep) < 60000 else deep)
            data = nl.message(random.choice(kinds), 5, bytes(16) + deep)
        else: data = b''.join(nl.message(random.choice(kinds), 5, os.urandom(random.randrange(24))) + bytes(random.randrange(4)) for _ in range(20))
        try: g.send(data)
        except OSError: pass
        while True:
            try: g.recv(65536)
            except BlockingIOError: break
            except OSError: pass
    g.close(); print(proto, sane(s)); s.close()
s = nl.Socket()
for size in (1, 15, 16, 17, 4096, 65535, 200000, 300000, 8 << 20): r = nl.attempt(s.socket.send, bytes(size)); assert r == size or r == 'EMSGSIZE', (size, r)
for _ in range(300): s.send(nl.GETNSID, nl.REQUEST | nl.DUMP)
print('unread', sane(s)); s.close()
"#;
    everybody("garbage", |session| {
        let done = session.python(PROGRAM);
        assert_eq!(done.expect_quiet(), "0 True\n4 True\n15 True\n16 True\nunread True\n");
    });
}

/// Addresses and lengths that point nowhere are the caller's mistake, and stay it.
#[test]
fn bad_pointers_are_errors() {
    const PROGRAM: &str = r"
import ctypes, nl, os
c = nl.call; libc = nl.libc; bad = ctypes.c_void_p(8)
s = nl.Socket(); fd = s.socket.fileno(); t = nl.socket.socket(2, 2)
for f in (fd, t.fileno()):
    print(c(libc.bind, f, bad, 16), c(libc.connect, f, bad, 16), c(libc.getsockname, f, bad, bad), c(libc.getsockopt, f, 1, 3, bad, bad), c(libc.sendmsg, f, bad, 0), c(libc.recvmsg, f, bad, 64), c(libc.setsockopt, f, 270 if f == fd else 1, 11 if f == fd else 2, bad, 4))
print(c(libc.bind, fd, bytes(12), 4), c(libc.bind, fd, bytes(200), 200), c(libc.bind, t.fileno(), bytes(16), 2))
print(c(libc.open, bad, 0), c(libc.mount, bad, bad, bad, 4096, bad), c(libc.ioctl, t.fileno(), 0x8913, bad), c(libc.socketpair, 16, 3, 0, bad))
print(s.ids())
";
    everybody("bad pointers", |session| {
        let done = session.python(PROGRAM);
        let expected = "\
EFAULT EFAULT EFAULT EFAULT EFAULT EFAULT EFAULT
EFAULT EFAULT EFAULT EFAULT EFAULT EFAULT EFAULT
EINVAL EINVAL EINVAL
EFAULT EFAULT EFAULT EFAULT
[]
";
        assert_eq!(done.expect_quiet(), expected);
    });
}
