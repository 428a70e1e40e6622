//! Many of what there is mostly one: connections at once, namespaces in a row.
//!
//! The sizes are those that a test may take; `E2E_SCALE=full` asks for 10,000 connections and 1,000 namespaces.
#![forbid(unsafe_code)]

use e2e::{Scratch, compiled, package_dir, said_by_all, said_by_us};

/// The small size, or the full one if it was asked for.
fn size(small: u32, full: u32) -> u32 {
    if std::env::var("E2E_SCALE").is_ok_and(|value| value == "full") { full } else { small }
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
    let n = size(300, 10_000).to_string();
    let scratch = Scratch::new().expect("a scratch folder");
    let Some(program) = compiled(&scratch, "crowd") else { return };
    let command = ["/bin/bash", "-c", CROWD, "bash", &program.to_string_lossy(), &n];
    said_by_all(&scratch, &command, &format!("{n} at once\n{n} echoed\n"));
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
