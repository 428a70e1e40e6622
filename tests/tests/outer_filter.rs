//! Inside a container runtime's seccomp filter, which refuses what cannot then be emulated by interception: sockets,
//! netlink and the views still work, and `pernet ns` does what `ip netns` cannot.
#![forbid(unsafe_code)]

use e2e::{As, Session, Skip, Subject, is_root, skip};

/// The subject behind the filter, as everybody.
fn filtered(what: &str, test: impl Fn(&Session)) {
    let filter = Subject::example("pernet-run", "outer_filter").expect("the example builds");
    let filter = filter.to_string_lossy().into_owned();
    for user in [As::Current, As::Nobody] {
        if user == As::Nobody && !is_root() {
            skip(&format!("{what} as {user:?}"), &Skip::NotRoot);
            continue;
        }
        let subject = Subject::find().expect("a pernet binary").wrapped(vec![filter.clone()]).run_as(user);
        test(&Session::new(subject));
    }
}

/// Without this the other tests would prove nothing.
#[test]
fn the_filter_refuses_what_it_should() {
    let filter = Subject::example("pernet-run", "outer_filter").expect("the example builds");
    let session = Session::new(Subject::new(filter));
    let program = "\
import ctypes, errno, os
c = ctypes.CDLL(None, use_errno=True)
def e(r): return errno.errorcode[ctypes.get_errno()] if r < 0 else r
print(e(c.setns(0, 0x40000000)), e(c.unshare(0x40000000)), e(c.mount(b'/', b'/', b'x', 4096, None)), e(c.umount2(b'/none', 0)), e(c.syscall(438, 0, 0, 0)), e(c.syscall(435, 0, 0)))
";
    let done = session.pernet(&["python3", "-c", program]);
    assert_eq!(done.expect_quiet(), "EPERM EPERM EPERM EPERM EPERM ENOSYS\n");
}

#[test]
fn links_and_proc_net() {
    filtered("links behind the filter", |session| {
        let done = session.sh("ip -br link; tail -n +3 /proc/net/dev; ls /sys/class/net", &[]);
        let words: Vec<&str> = done.expect_quiet().split_whitespace().collect();
        assert_eq!(words[..4], ["lo", "DOWN", "00:00:00:00:00:00", "<LOOPBACK>"], "{done:#?}");
        assert_eq!(words[4], "lo:", "{done:#?}");
        assert_eq!(words.last(), Some(&"lo"), "{done:#?}");
    });
}

#[test]
fn netlink_requests() {
    const PROGRAM: &str = r"
import nl, os, socket
s = nl.Socket(groups=[28]); me = nl.here()
print(s.ids(), s.id_of(me), s.assign(me, 7), s.ids(), s.id_of(me)); s.show('event')
s.ask('again', nl.NEWNSID, body=bytes(4) + nl.attr(nl.NSID, 8) + nl.attr(nl.PID, os.getpid()))
s.ask('bad', nl.NEWNSID, body=bytes(4) + nl.attr(nl.NSID, 8) + nl.attr(nl.FD, 999))
child = os.fork()
if not child: print(nl.Socket().ids(), s.ids(), flush=True); os._exit(0)
os.waitpid(child, 0); print(socket.if_nameindex())
";
    const EXPECTED: &str = r#"[] -1 0 [7] 7
event:
    nothing
again:
    ERROR len=108 flags=0x200 seq=6 port=own EEXIST (of len=36 type=NEWNSID flags=0x5 seq=6) "Peer netns already has a nsid assigned" at 28 from=kernel groups=0x0
bad:
    ERROR len=100 flags=0x200 seq=7 port=own EBADF (of len=36 type=NEWNSID flags=0x5 seq=7) "Peer netns reference is invalid" at 28 from=kernel groups=0x0
[7] [7]
[(1, 'lo')]
"#;
    filtered("netlink behind the filter", |session| {
        assert_eq!(session.python(PROGRAM).expect_quiet(), EXPECTED);
    });
}

#[test]
fn sockets_keep_their_identity() {
    const PROGRAM: &str = r"
import nl, os, socket
made = [socket.socket(*k) for k in ((2, 1), (2, 2), (10, 1), (16, 3))]
print([[s.getsockopt(1, o) for o in (3, 39, 38)] for s in made], len({s.getsockopt(1, 71, 8) for s in made}))
d = socket.socket(fileno=os.dup(made[0].fileno())); print(d.getsockopt(1, 71, 8) == made[0].getsockopt(1, 71, 8), d.getsockname())
child = os.fork()
if not child: print(made[0].getsockopt(1, 39), made[3].getsockopt(1, 38), flush=True); os._exit(0)
os.waitpid(child, 0); made[0].close(); again = socket.socket(1, 1); print(again.getsockopt(1, 39), d.getsockopt(1, 39))
x, y = socket.socketpair(); nl.send_fds(x, [made[3].fileno()]); (n,) = nl.receive_fds(y); print(socket.socket(fileno=n).getsockopt(1, 39))
print(nl.attempt(made[1].connect, ('1.2.3.4', 80)), nl.attempt(made[2].connect, ('2001:db8::1', 80)))
";
    filtered("sockets behind the filter", |session| {
        let expected = "[[1, 2, 6], [2, 2, 17], [1, 10, 6], [3, 16, 0]] 1\nTrue ('0.0.0.0', 0)\n2 0\n1 2\n16\nENETUNREACH EADDRNOTAVAIL\n";
        assert_eq!(session.python(PROGRAM).expect_quiet(), expected);
    });
}

#[test]
fn pernet_ns_does_what_ip_netns_cannot() {
    const SCRIPT: &str = r#"
say() { echo "== $*"; "$@"; echo "-> $?"; }
say "$1" ns list
say "$1" ns add red
say "$1" ns add blue
"$1" ns list | sort
say "$1" ns set red 5
say "$1" ns set blue auto
"$1" ns list | sort
say "$1" ns exec red -- sh -c 'exit 42'
say "$1" ns exec red -- "$1" ns identify
say "$1" ns exec red -- "$1" ns exec blue -- "$1" ns identify
say "$1" ns exec red -- "$1" ns list-id
say "$1" ns identify
[ "$("$1" ns exec red -- readlink /proc/self/ns/net)" = "$(readlink /proc/self/ns/net)" ]; echo "same: $?"
"$1" ns exec red -- tail -n 1 /proc/net/dev | cut -d: -f1
"$1" ns exec red -- ip -o link | cut -d: -f2
"$1" ns exec blue -- sleep 60 & for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -n "$("$1" ns pids blue)" ] && break; sleep 0.1; done
[ "$("$1" ns pids blue)" = "$!" ]; echo "pid: $?"
say "$1" ns identify $!
kill $!; wait $!; echo "killed: $?"
"$1" ns list-id | grep -c nsid
say "$1" ns del red
say "$1" ns list
for i in 1 2 3 4 5 6 7 8 9 10; do [ "$("$1" ns list-id | wc -l)" = 1 ] && break; sleep 0.1; done; "$1" ns list-id | wc -l
say "$1" ns del blue
say "$1" ns list
"#;
    const EXPECTED: &str = r"== PERNET ns list
-> 0
== PERNET ns add red
-> 0
== PERNET ns add blue
-> 0
blue
red
== PERNET ns set red 5
-> 0
== PERNET ns set blue auto
-> 0
blue (id: 0)
red (id: 5)
== PERNET ns exec red -- sh -c exit 42
-> 42
== PERNET ns exec red -- PERNET ns identify
red
-> 0
== PERNET ns exec red -- PERNET ns exec blue -- PERNET ns identify
blue
-> 0
== PERNET ns exec red -- PERNET ns list-id
-> 0
== PERNET ns identify
-> 0
same: 1
lo
lo
pid: 0
== PERNET ns identify PID
blue
-> 0
killed: 143
2
== PERNET ns del red
-> 0
== PERNET ns list
blue (id: 0)
-> 0
1
== PERNET ns del blue
-> 0
== PERNET ns list
-> 0
";
    filtered("pernet ns behind the filter", |session| {
        let argv = session.argv(&[]);
        let binary = argv.last().expect("a binary");
        let done = session.sh(SCRIPT, &[binary]);
        let out = done.out.replace(binary.as_str(), "PERNET");
        // Blanks at the start of a line are `cut`'s; blank lines say that there is no name.
        let lines: Vec<String> = out
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| match line.strip_prefix("== PERNET ns identify ") {
                Some(_) => "== PERNET ns identify PID".to_owned(),
                None => line.to_owned(),
            })
            .collect();
        assert_eq!(lines, EXPECTED.lines().collect::<Vec<_>>(), "{}", done.err);
        assert!(done.status.success(), "{done:#?}");
    });
}

#[test]
fn refusals_of_pernet_ns() {
    const SCRIPT: &str = r#"
say() { "$@" >out 2>err; echo "$? $(wc -l <out) $(grep -c . err)"; }
say "$1" ns add red
say "$1" ns add red
say "$1" ns add a/b
say "$1" ns add ''
say "$1" ns del none
say "$1" ns set none 1
say "$1" ns exec none -- true
say "$1" ns exec red -- /no/such
say "$1" ns pids none
say "$1" ns set red 4
say "$1" ns set red 5
say "$1" ns identify 4194305
"#;
    filtered("refusals of pernet ns", |session| {
        let argv = session.argv(&[]);
        let done = session.sh(SCRIPT, &[argv.last().expect("a binary")]);
        let expected = "0 0 0\n1 0 1\n1 0 1\n1 0 1\n1 0 1\n1 0 1\n1 0 1\n127 0 1\n1 0 1\n0 0 0\n1 0 1\n1 0 1\n";
        assert_eq!(done.expect_quiet(), expected);
    });
}
