//! `examples/rtnetlink.rs` and `examples/echo.rs`: the `rtnetlink` crate configures namespaces of one process, a hundred hosts
//! of it talk across a router, and no system call is made for either.
#![forbid(unsafe_code)]

use std::process::Command;
use std::time::Duration;

use e2e::{Skip, Subject, run_limited, skip};

/// What the example prints: links, addresses and routes of the two namespaces that it joined.
const EXPECTED: &str = "\
red:
  link lo is down
  link veth0 is up
  address 192.0.2.1/24
  route 192.0.2.0/24
  route 198.51.100.0/24 via 192.0.2.2
blue:
  link lo is down
  link veth1 is up
  address 192.0.2.2/24
  route 192.0.2.0/24
";

/// What the other prints.
const HEARD: &str = "\
100 hosts were heard, 10.0.1.2 to 10.0.100.2
the router carried their packets: true
host 1, unplugged: Network is unreachable (os error 101)
";

/// The examples, with what they print.
fn examples() -> [(std::path::PathBuf, &'static str); 2] {
    [("pernet-async-socket", "rtnetlink", EXPECTED), ("pernet-stack", "echo", HEARD)]
        .map(|(package, name, said)| (Subject::example(package, name).expect("builds"), said))
}

#[test]
fn they_print_what_they_should() {
    for (program, said) in examples() {
        let done = run_limited(&mut Command::new(program), Duration::from_secs(60)).expect("starts");
        assert!(done.status.is_some_and(|status| status.success()), "{done:#?}");
        assert_eq!(done.out, said);
    }
}

/// Nothing of it goes through the kernel: no socket of any kind, no namespace, no descriptor to wait on.
#[test]
fn no_system_call_is_about_networks() {
    let there = Command::new("strace").arg("--version").output().is_ok_and(|done| done.status.success());
    if !there {
        return skip("system calls of the examples", &Skip::NoProgram("strace".to_owned()));
    }
    let calls = "trace=%network,setns,unshare,ioctl,epoll_create,epoll_create1,eventfd,eventfd2";
    let trace = |program: &mut Command| {
        let done = run_limited(program, Duration::from_secs(60)).expect("starts");
        let lines = done.err.lines().filter(|line| line.contains('(') && !line.contains("resumed"));
        (done.status.is_some_and(|status| status.success()), lines.map(str::to_owned).collect::<Vec<_>>())
    };
    for (program, _) in examples() {
        let (success, found) = trace(Command::new("strace").args(["-f", "-qq", "-e", calls, "--"]).arg(program));
        if !success {
            return skip(
                "system calls of the examples",
                &Skip::NoProgram("strace, where tracing is refused".to_owned()),
            );
        }
        assert!(found.is_empty(), "{found:#?}");
    }
    // The question is put rightly: of a program that has a socket it says so.
    let python = "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)";
    let (_, found) = trace(Command::new("strace").args(["-f", "-qq", "-e", calls, "--", "python3", "-c", python]));
    assert!(found.iter().any(|line| line.contains("socket(AF_NETLINK")), "{found:#?}");
}
