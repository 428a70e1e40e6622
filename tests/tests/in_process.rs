//! `examples/rtnetlink.rs`: the `rtnetlink` crate configures namespaces of one process, and no system call is made for it.
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

fn example() -> std::path::PathBuf {
    Subject::example("pernet-async-socket", "rtnetlink").expect("builds")
}

#[test]
fn the_handle_of_rtnetlink_configures_two_namespaces() {
    let done = run_limited(&mut Command::new(example()), Duration::from_secs(60)).expect("starts");
    assert!(done.status.is_some_and(|status| status.success()), "{done:#?}");
    assert_eq!(done.out, EXPECTED);
}

/// Nothing of it goes through the kernel: no socket of any kind, no namespace, no descriptor to wait on.
#[test]
fn no_system_call_is_about_networks() {
    let there = Command::new("strace").arg("--version").output().is_ok_and(|done| done.status.success());
    if !there {
        return skip("system calls of the example", &Skip::NoProgram("strace".to_owned()));
    }
    let calls = "trace=%network,setns,unshare,ioctl,epoll_create,epoll_create1,eventfd,eventfd2";
    let trace = |program: &mut Command| {
        let done = run_limited(program, Duration::from_secs(60)).expect("starts");
        let lines = done.err.lines().filter(|line| line.contains('(') && !line.contains("resumed"));
        (done.status.is_some_and(|status| status.success()), lines.map(str::to_owned).collect::<Vec<_>>())
    };
    let (success, found) = trace(Command::new("strace").args(["-f", "-qq", "-e", calls, "--"]).arg(example()));
    if !success {
        return skip("system calls of the example", &Skip::NoProgram("strace, where tracing is refused".to_owned()));
    }
    assert!(found.is_empty(), "{found:#?}");
    // The question is put rightly: of a program that has a socket it says so.
    let python = "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)";
    let (_, found) = trace(Command::new("strace").args(["-f", "-qq", "-e", calls, "--", "python3", "-c", python]));
    assert!(found.iter().any(|line| line.contains("socket(AF_NETLINK")), "{found:#?}");
}
