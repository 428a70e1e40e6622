//! What things cost in memory: allocations made, bytes kept. The guide for embedders (docs/embedding.md) quotes this
//! table.
//!
//! What is measured may be a tenth below what is stated, and no more than a rounding above. To record the table anew
//! after a change, run `cargo test --release -p pernet --test costs`: it prints it as it should stand here and in the
//! guide.
//!
//! The counting allocator is a crate's, because one of our own would need `unsafe`. It counts for each thread, so tests
//! may run beside each other.
#![forbid(unsafe_code)]

use allocation_counter::{AllocationInfo, measure};
use pernet::{Cred, InitError, Key, Namespaces, Net, NetRef, Origin, Subsystem};
use std::fmt::Write as _;

/// What it is; for each of them, on average: allocations made (those given back at once too), bytes kept.
type Cost = (&'static str, f64, f64);

/// On a 64-bit machine, with one shard, holders not tracked: the same in debug and release builds, on any machine.
#[rustfmt::skip]
const COSTS: &[Cost] = &[
    ("a system with its initial namespace", 19.0, 3924.0),
    ("a namespace without subsystems", 1.0808, 425.0),
    ("a namespace with one subsystem of four bytes", 2.0808, 441.0),
    ("a subsystem, registered with nothing else alive", 15.0, 200.0),
    ("a subsystem, for each namespace alive", 2.0019, 16.0),
    ("reading a subsystem's state", 0.0, 0.0),
    ("a reference more", 0.0, 0.0),
    ("a passive handle", 0.0, 0.0),
    ("the drop of a reference", 0.0, 0.0),
    ("the drop of the last reference", 0.0, 0.0),
    ("a name for a peer, the peer's first", 0.0014, 13.0),
    ("a name for a peer, the observer's first", 2.0014, 166.0),
    ("the number of a peer", 0.0, 0.0),
    ("the peer of a number", 0.0, 0.0),
    ("a teardown of one; the bytes only while it runs", 5.0, 32.0),
    ("a teardown of ten thousand, all together", 65.0, 229136.0),
];

/// How many, where an average is taken.
const MANY: usize = 10_000;

/// Somebody's state of four bytes.
struct Small;

impl Subsystem for Small {
    const NAME: &'static str = "small";
    type State = u32;

    fn init(&self, _net: &Net) -> Result<u32, InitError> {
        Ok(7)
    }
}

/// The one place that builds a system.
fn bare() -> Namespaces {
    // Else they would depend on the number of processors, and on the kind of build.
    Namespaces::builder().shards(1).track_holders(false).build()
}

fn create(ns: &Namespaces) -> NetRef {
    ns.create(&Cred::root(ns.init_user_ns())).expect("no limit")
}

fn settle(ns: &Namespaces) {
    while ns.step().more {}
}

/// A system in which everything exists that is made once for all, and room for references to many of its namespaces.
fn warm() -> (Namespaces, Vec<NetRef>) {
    let ns = bare();
    drop(create(&ns));
    settle(&ns);
    (ns, Vec::with_capacity(MANY))
}

/// One row as measured: allocations made, bytes kept.
type Row = (&'static str, f64, f64);

fn row(what: &'static str, each_of: usize, info: &AllocationInfo) -> Row {
    (what, info.count_total as f64 / each_of as f64, info.bytes_current as f64 / each_of as f64)
}

/// A teardown keeps nothing. What counts is how much it needs for a moment, since it is called when memory is short.
fn passing(what: &'static str, info: &AllocationInfo) -> Row {
    assert!(info.bytes_current <= 0, "{what} keeps {} bytes", info.bytes_current);
    (what, info.count_total as f64, info.bytes_max as f64)
}

fn namespaces() -> Vec<Row> {
    let mut first = None;
    let system = measure(|| first = Some(bare()));
    let (ns, mut alive) = warm();
    let without = measure(|| alive.extend((0..MANY).map(|_| create(&ns))));
    let last = measure(|| alive.clear());
    let many = measure(|| settle(&ns));
    drop(create(&ns));
    let one = measure(|| settle(&ns));
    ns.register_subsys(Small).expect("registers");
    let with = measure(|| alive.extend((0..MANY).map(|_| create(&ns))));
    vec![
        row("a system with its initial namespace", 1, &system),
        row("a namespace without subsystems", MANY, &without),
        row("a namespace with one subsystem of four bytes", MANY, &with),
        row("the drop of the last reference", MANY, &last),
        passing("a teardown of one; the bytes only while it runs", &one),
        passing("a teardown of ten thousand, all together", &many),
    ]
}

fn references() -> Vec<Row> {
    let (ns, mut more) = warm();
    let key = ns.register_subsys(Small).expect("registers");
    let net = create(&ns);
    let cloned = measure(|| more.extend((0..MANY).map(|_| net.clone())));
    let dropped = measure(|| more.clear());
    let mut handles = Vec::with_capacity(MANY);
    let passive = measure(|| handles.extend((0..MANY).map(|_| net.downgrade())));
    let read = measure(|| assert!((0..MANY).all(|_| net.get(key) == Some(&7))));
    vec![
        row("a reference more", MANY, &cloned),
        row("the drop of a reference", MANY, &dropped),
        row("a passive handle", MANY, &passive),
        row("reading a subsystem's state", MANY, &read),
    ]
}

fn names() -> Vec<Row> {
    let (ns, mut peers) = warm();
    peers.extend((0..MANY).map(|_| create(&ns)));
    let (observer, peer) = (create(&ns), create(&ns));
    let name = |observer: &NetRef, peer: &NetRef| {
        observer.assign_nsid(peer, None, Origin::KERNEL).expect("a number");
    };
    let of_peer = measure(|| peers.iter().for_each(|peer| name(&observer, peer)));
    let of_observer = measure(|| peers.iter().for_each(|observer| name(observer, &peer)));
    let numbers = || peers.iter().zip(0..);
    let number = measure(|| {
        assert!(numbers().all(|(peer, id)| observer.peernet2id(peer).is_some_and(|found| found.get() == id)));
    });
    let found = measure(|| {
        assert!(numbers().all(|(peer, id)| observer.net_by_nsid(id).is_some_and(|found| found == *peer)));
    });
    vec![
        row("a name for a peer, the peer's first", MANY, &of_peer),
        row("a name for a peer, the observer's first", MANY, &of_observer),
        row("the number of a peer", MANY, &number),
        row("the peer of a number", MANY, &found),
    ]
}

fn registrations() -> Vec<Row> {
    let mut keys: Vec<Key<Small>> = Vec::with_capacity(2);
    let (ns, mut alive) = warm();
    let alone = measure(|| keys.push(ns.register_subsys(Small).expect("registers")));
    alive.extend((0..MANY).map(|_| create(&ns)));
    let each = measure(|| keys.push(ns.register_subsys(Small).expect("registers")));
    vec![
        row("a subsystem, registered with nothing else alive", 1, &alone),
        row("a subsystem, for each namespace alive", MANY, &each),
    ]
}

/// Close to the truth from both sides; nothing is nothing. Without std, some things are smaller.
fn holds(stated: f64, measured: f64) -> bool {
    let least = if cfg!(feature = "std") { stated * 0.9 } else { 0.0 };
    if stated == 0.0 { measured == 0.0 } else { (least..=stated * 1.01).contains(&measured) }
}

/// The line of the guide's table.
fn line(what: &str, allocations: f64, bytes: f64) -> String {
    format!("| {what} | {allocations} | {bytes} |")
}

#[test]
fn c321_costs_are_as_stated() {
    let rows: Vec<Row> = [namespaces(), references(), names(), registrations()].concat();
    assert_eq!(rows.len(), COSTS.len());
    let mut off = false;
    let (mut table, mut guide) = (String::new(), String::new());
    for (what, allocations, bytes) in COSTS {
        let (_, made, kept) = *rows.iter().find(|row| row.0 == *what).expect("every cost is measured");
        off |= !holds(*allocations, made) || !holds(*bytes, kept);
        let (made, kept) = ((made * 1e4).round() / 1e4, kept.round());
        writeln!(table, "    ({what:?}, {made:?}, {kept:?}),").expect("a string");
        writeln!(guide, "{}", line(what, made, kept)).expect("a string");
    }
    assert!(!off, "costs have changed; measured now:\n{table}\nand for docs/embedding.md:\n{guide}");
}

#[test]
fn c322_the_guide_quotes_the_costs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/embedding.md");
    let guide = std::fs::read_to_string(path).expect("the guide");
    for (what, allocations, bytes) in COSTS {
        let line = line(what, *allocations, *bytes);
        assert!(guide.lines().any(|there| there == line), "docs/embedding.md does not say {line}");
    }
}

/// The whole life of a system, and none of its memory is left.
#[test]
fn c323_a_system_gives_everything_back() {
    let life = measure(|| {
        let ns = bare();
        let key = ns.register_subsys(Small).expect("registers");
        let nets: Vec<NetRef> = (0..MANY).map(|_| create(&ns)).collect();
        for pair in nets.windows(2) {
            assert!(pair[0].peernet2id_alloc(&pair[1]).is_some());
        }
        drop(nets);
        settle(&ns);
        ns.unregister(key);
    });
    assert!(life.count_total > MANY as u64, "something was measured");
    assert_eq!((life.count_current, life.bytes_current), (0, 0));
}
