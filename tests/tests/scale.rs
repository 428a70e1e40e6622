//! Many of what there is mostly one: connections at once, namespaces in a row.
//!
//! The sizes are those that a test may take; `E2E_SCALE=full` asks for 10,000 connections, or as many as the machine lets the
//! supervisor have descriptors for, and 1,000 namespaces.
#![forbid(unsafe_code)]

use e2e::{Scratch, Skip, compiled, everybody, package_dir, said_by_all, said_by_us, skip};

/// The small size, or the full one if it was asked for.
fn size(small: u32, full: u32) -> u32 {
    if std::env::var("E2E_SCALE").is_ok_and(|value| value == "full") { full } else { small }
}

/// Linux 6.9 lets the supervisor have descriptors in more than one table.
fn has_annexes() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(9))
}

/// How many connections fit: before, the supervisor has both ends of each in one table; and each program has one of each.
fn room_for_connections() -> u32 {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("procfs");
    let hard = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a line");
    let hard = hard.split_whitespace().nth(1).map_or(u32::MAX, |hard| hard.parse().unwrap_or(u32::MAX));
    // Some are for other things, and a reserve is kept.
    hard.saturating_sub(300) / if has_annexes() { 1 } else { 2 }
}

/// Two namespaces and a cable; in one a server, in the other a client that has all its connections at once.
const CROWD: &str = "
p=$1; n=$2; rm -f $W/serves; ulimit -n $(ulimit -Hn)
ip netns add far; ip link add near type veth peer name far netns far
ip addr add 10.99.0.1/24 dev near; ip link set near up
ip -n far addr add 10.99.0.2/24 dev far; ip -n far link set far up
ip netns exec far $p serve >$W/serves & server=$!
until [ -s $W/serves ]; do sleep 0.02; done
$p ask 10.99.0.2 $n 3; kill $server; wait $server 2>/dev/null; :";

#[test]
fn a_crowd_of_connections() {
    let n = size(300, 10_000).min(room_for_connections()).to_string();
    let scratch = Scratch::new().expect("a scratch folder");
    let Some(program) = compiled(&scratch, "crowd") else { return };
    let command = ["/bin/bash", "-c", CROWD, "bash", &program.to_string_lossy(), &n];
    said_by_all(&scratch, &command, &format!("{n} at once\n{n} echoed\n"));
}

/// Of more connections than its table has room for the supervisor keeps the ends in others.
#[test]
fn a_crowd_in_a_small_house() {
    if !has_annexes() {
        return skip(
            "a crowd in a small house",
            &Skip::NothingToDo("Linux before 6.9 has one table to a process".to_owned()),
        );
    }
    let scratch = Scratch::new().expect("a scratch folder");
    let Some(program) = compiled(&scratch, "crowd") else { return };
    let program = program.to_string_lossy().into_owned();
    everybody("a crowd in a small house", |session| {
        // 560 ends: the supervisor's own table takes less than two hundred of them, and another one not all the rest.
        let mut all = ["/bin/sh", "-c", "ulimit -n 300; exec \"$@\"", "sh"].map(str::to_owned).to_vec();
        all.extend(session.argv(&["run", "--", "/bin/bash", "-c", CROWD, "bash", &program, "280"]));
        let said = session.finish(&mut session.scratch.command(&all));
        assert_eq!(said.expect_quiet(), "280 at once\n280 echoed\n");
    });
}

/// One crowd after another, each of which leaves; then what the supervisor, which is the shell's parent, has in memory. `$3`
/// kB is allowed.
const CROWDS: &str = "
p=$1; n=$2; rm -f $W/serves; ulimit -n $(ulimit -Hn); ip link set lo up
$p serve >$W/serves & server=$!
until [ -s $W/serves ]; do sleep 0.02; done
for round in 1 2 3 4 5 6 7 8; do $p ask 127.0.0.1 $n 3 >/dev/null || echo failed; done
kill $server; wait $server 2>/dev/null
grep -q pernet /proc/$PPID/comm || echo not ours
# In one read: line by line, a text that changed its length between two of them is read twice in part, or not at all.
status=$(grep VmRSS: /proc/$PPID/status); read name kilobytes _ <<<$status
[ $kilobytes -le $3 ] || echo $kilobytes kB
echo over";

#[test]
fn crowds_that_have_left_cost_nothing() {
    let n = size(250, 1000).min(room_for_connections());
    let scratch = Scratch::new().expect("a scratch folder");
    let Some(program) = compiled(&scratch, "crowd") else { return };
    let program = program.to_string_lossy().into_owned();
    // Each leaves a kB for a minute, and there is more than its connections to a process; but a crowd's buffers are four times
    // as much at least.
    let allowed = 64_000.max(64 * n).to_string();
    said_by_us(&["/bin/bash", "-c", CROWDS, "bash", &program, &n.to_string(), &allowed], "over\n");
}

#[test]
fn a_ring_of_namespaces() {
    let n = size(40, 1000);
    let leg = n.div_ceil(n.div_ceil(250).max(4));
    let legs = n.div_ceil(leg);
    // A reply has passed every namespace between the ends of its leg; the last leg may be shorter.
    let line = |k: u32| format!("leg {k} ['ttl={}'] True\n", 256 - if k + 1 < legs { leg } else { n - leg * k });
    let expected: String = (0..legs).map(line).collect();
    let program = package_dir().join("programs/ring.py").to_string_lossy().into_owned();
    let command = ["python3", &*program, &n.to_string()];
    // All namespaces of a kernel share one table of neighbours, which is too small for the full size.
    if n < 500 {
        let scratch = Scratch::new().expect("a scratch folder");
        said_by_all(&scratch, &command, &expected);
    } else {
        said_by_us(&command, &expected);
    }
}
