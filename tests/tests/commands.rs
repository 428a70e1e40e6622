//! The program's own commands: what they print and how they end.
#![forbid(unsafe_code)]

use e2e::{Skip, everybody, skip};

#[test]
fn a_command_can_see_itself_as_root() {
    everybody("root's ids", |session| {
        let done =
            session.pernet(&["run", "-r", "--", "sh", "-c", "id -u; id -g; ip netns add a && ip netns exec a id -u"]);
        assert_eq!(done.expect_quiet(), "0\n0\n0\n");
    });
}

#[test]
fn the_doctor_knows_that_it_works_here() {
    everybody("doctor", |session| {
        let done = session.pernet(&["doctor"]);
        let said = done.expect_quiet();
        assert!(said.ends_with("`pernet run` works here.\n") && !said.contains("MISSING"), "{said}");
        assert!(said.lines().count() > 8, "{said}");
    });
}

#[test]
fn help_pages_and_completions() {
    everybody("help", |session| {
        for (argv, expected) in [
            (vec!["--help"], "Usage: pernet <COMMAND>"),
            (vec!["run", "--help"], "Exit status"),
            (vec!["ns", "set", "--help"], "auto"),
            (vec!["--version"], "pernet "),
            (vec!["man"], ".TH pernet 1"),
            (vec!["completions", "bash"], "_pernet()"),
            (vec!["completions", "zsh"], "#compdef pernet"),
            (vec!["completions", "fish"], "complete -c pernet"),
        ] {
            let done = session.pernet(&argv);
            let said = done.expect_quiet();
            assert!(said.contains(expected), "{argv:?}: {said}");
        }
    });
}

#[test]
fn outside_of_a_run_the_names_are_nowhere() {
    everybody("ns outside", |session| {
        let done = session.pernet(&["ns", "list"]);
        assert_eq!(done.status.code(), Some(1));
        assert!(
            done.err.starts_with("pernet: not inside `pernet run`") && done.err.lines().count() == 1,
            "{}",
            done.err
        );
    });
}

/// What a loopback device sends comes in again, and is one packet: Wireshark would call the second one sent again.
#[test]
fn a_capture_on_a_loopback_device_shows_each_packet_once() {
    const SCRIPT: &str = r#"ip link set lo up
$1 capture lo -c 2 -w file 2>said & while [ ! -s file ]; do sleep 0.05; done
cat >work.py <<'END'
import socket, struct, sys
if sys.argv[1] == "send":
    heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    heard.bind(("127.0.0.1", 0))
    for what in b"one", b"two":
        heard.sendto(what, heard.getsockname())
else:
    rest = open("file", "rb").read()
    while rest:
        kind, length = struct.unpack("=II", rest[:8])
        if kind == 6:  # an enhanced packet block
            kept, = struct.unpack("=I", rest[20:24])
            print(rest[28 : 28 + kept][42:].decode())
        rest = rest[length:]
END
python3 work.py send; wait; cat said; python3 work.py read
for tool in tshark capinfos; do command -v $tool >/dev/null || { echo no $tool; exit; }; done
tshark -n -r file -T fields -e frame.len -e udp.dstport -e _ws.malformed 2>&1 | grep -v '^Running as' | cut -f 1,3
capinfos -c -M file 2>&1 | grep -v '^File name'"#;
    const PACKETS: &str = "pernet: 2 packets captured\none\ntwo\n";
    everybody("capture", |session| {
        let argv = session.argv(&["capture"]);
        let done = session.sh(SCRIPT, &[&argv[argv.len() - 2]]);
        let said = done.expect_quiet();
        let read = said.strip_prefix(PACKETS).unwrap_or_else(|| panic!("{said}"));
        match read.strip_prefix("no ") {
            Some(tool) => {
                skip("a capture read by Wireshark's tools", &Skip::NothingToDo(format!("no {}", tool.trim())))
            }
            None => assert_eq!(read, "45\t\n45\t\nNumber of packets:   2\n"),
        }
    });
}
