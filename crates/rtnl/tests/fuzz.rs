//! Mutated requests of every family through dispatch, deterministically. What must hold:
//!
//! - nothing panics and nothing hangs,
//! - a request that is refused, or that only asks, changes nothing: whatever can be dumped is byte for byte as before, and
//!   nobody was told of anything,
//! - when everything is deleted, the memory is as it was.
//!
//! An episode is a sequence of datagrams to fresh namespaces, made from its number alone; one that fails is run again
//! with fewer datagrams until each that is left is needed, and these are printed.
//!
//! ```text
//! PERNET_FUZZ_MESSAGES=100000000 cargo test --release -p pernet-rtnl --test fuzz -- --nocapture
//! ```
//!
//! | variable | what | without |
//! |---|---|---|
//! | `PERNET_FUZZ_MESSAGES` | how many datagrams | some thousands |
//! | `PERNET_FUZZ_SEED` | number of the first episode | 1 |
//! | `PERNET_FUZZ_THREADS` | how many systems are fuzzed side by side | 1 |
//! | `PERNET_FUZZ_LOOK` | everything is dumped around one datagram in so many | 1 |
//! | `PERNET_FUZZ_ONLY` | mostly requests of this family (`link`, `addr`, …) | all |
//! | `PERNET_FUZZ_FINDINGS` | goes on after so many different findings | 1 |
//! | `PERNET_FUZZ_REPORT` | a file that findings are appended to | – |
#![forbid(unsafe_code)]

#[path = "fuzz/episode.rs"]
mod episode;
#[path = "fuzz/message.rs"]
mod message;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/rng.rs"]
mod rng;
#[path = "fuzz/seeds.rs"]
mod seeds;
#[path = "fuzz/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

use pernet_wire::uapi::RTM_NEWNSID;

use episode::{Finding, LENGTH, Plan};
use rng::Rng;
use world::{Scene, System};

/// Bytes by which the whole run may grow after its first episodes: tables that keep their room.
const GROWTH: i64 = 64 * 1024;

/// Episodes before memory counts.
const WARM: u64 = 8;

/// A datagram that takes longer never ends.
const HANGS: Duration = Duration::from_secs(60);

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// KiB of memory that the process has, 0 where that is not to be read.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

struct Run {
    messages: u64,
    next: AtomicU64,
    done: AtomicU64,
    refused: AtomicU64,
    look: usize,
    only: Option<usize>,
    most: usize,
    findings: Mutex<BTreeMap<String, Finding>>,
    report: Option<std::path::PathBuf>,
}

impl Run {
    fn over(&self) -> bool {
        self.done.load(Relaxed) >= self.messages || self.findings.lock().expect("no panic").len() >= self.most
    }

    fn found(&self, finding: Finding) {
        let mut findings = self.findings.lock().expect("no panic");
        if findings.contains_key(&finding.what) {
            return;
        }
        let small = finding.smallest(self.look);
        println!("{small}");
        if let Some(path) = &self.report {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            file.and_then(|mut file| writeln!(file, "{small}")).expect("the report is written");
        }
        findings.insert(small.what.clone(), small);
    }

    /// One thread's share: episodes until there were enough.
    fn work(&self) {
        let mut system = System::new();
        let (mut growth, mut episodes) = (0, 0);
        while !self.over() {
            let number = self.next.fetch_add(1, Relaxed);
            let plan = Plan::new(number, self.only);
            let mut finding = None;
            let mut refused = 0;
            let memory = allocation_counter::measure(|| {
                finding = episode::run(&system, &plan, self.look, &mut refused);
                system.settle();
            });
            self.done.fetch_add(LENGTH as u64, Relaxed);
            self.refused.fetch_add(refused, Relaxed);
            if let Some(finding) = finding {
                self.found(finding);
                // What a panic left behind is not to be blamed on the next.
                (system, growth, episodes) = (System::new(), 0, 0);
                continue;
            }
            episodes += 1;
            if episodes > WARM {
                growth += memory.bytes_current;
                if memory.bytes_current > 4096 {
                    println!(
                        "episode {number}: {} bytes in {} blocks more",
                        memory.bytes_current, memory.count_current
                    );
                }
            }
            if growth > GROWTH {
                self.found(Finding::growth(plan, growth, episodes));
                (system, growth, episodes) = (System::new(), 0, 0);
            }
        }
    }
}

#[test]
fn whatever_is_sent_nothing_breaks_and_nothing_stays() {
    // Some thousands say whether something is wrong everywhere; what is wrong in few places, long runs find.
    let messages = variable("PERNET_FUZZ_MESSAGES", 6000);
    let only = std::env::var("PERNET_FUZZ_ONLY").ok().map(|name| {
        let place = seeds::FAMILIES.iter().position(|(family, _)| *family == name);
        place.unwrap_or_else(|| panic!("there is no family {name}"))
    });
    let run = Run {
        messages,
        next: AtomicU64::new(variable("PERNET_FUZZ_SEED", 1)),
        done: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        look: variable("PERNET_FUZZ_LOOK", 1) as usize,
        only,
        most: variable("PERNET_FUZZ_FINDINGS", 1) as usize,
        findings: Mutex::default(),
        report: std::env::var_os("PERNET_FUZZ_REPORT").map(Into::into),
    };
    episode::quiet();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads = variable("PERNET_FUZZ_THREADS", 1);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| run.work())).collect();
        let mut told = Instant::now();
        while !workers.iter().all(|worker| worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            episode::abort_what_hangs(HANGS);
            if told.elapsed() > Duration::from_secs(60) {
                told = Instant::now();
                let done = run.done.load(Relaxed);
                let rate = done as f64 / start.elapsed().as_secs_f64();
                println!("{done} datagrams, {rate:.0} a second, {} KiB resident", resident());
            }
        }
    });
    let (done, took) = (run.done.load(Relaxed), start.elapsed().as_secs_f64());
    let refused = run.refused.load(Relaxed) as f64 / done as f64 * 100.0;
    println!("{done} datagrams in {took:.1} s, {:.0} a second, {refused:.0} % of them refused", done as f64 / took);
    for (ty, [sent, accepted]) in episode::TALLY.iter().enumerate().filter(|(_, [sent, _])| sent.load(Relaxed) > 0) {
        println!("type {ty}: {} of {} accepted", accepted.load(Relaxed), sent.load(Relaxed));
    }
    println!("{} KiB resident, last episode {}", resident(), run.next.load(Relaxed) - 1);
    let findings = run.findings.into_inner().expect("no panic");
    assert!(findings.is_empty(), "{} findings, see above", findings.len());
}

/// What most episodes begin with is accepted.
#[test]
fn the_prelude_is_accepted() {
    let system = System::new();
    let mut scene = Scene::new(&system);
    for (number, bytes) in seeds::prelude().iter().enumerate() {
        let outcome = scene.send(world::STRICT, bytes);
        assert_eq!(outcome.refused, 0, "request {number}: {outcome:?}");
    }
}

/// The seeds are what they say: of most families many requests succeed when nothing is mutated.
#[test]
fn seeds_are_good_requests() {
    let system = System::new();
    for (family, make) in seeds::FAMILIES {
        let (mut rng, mut accepted) = (Rng::new(5), 0);
        let mut scene = Scene::new(&system);
        for _ in 0..40 {
            let mut link = Vec::new();
            seeds::FAMILIES[0].1(&mut rng).write(7, &mut link);
            scene.send(0, &link);
        }
        for _ in 0..200 {
            let mut bytes = Vec::new();
            make(&mut rng).write(7, &mut bytes);
            accepted += usize::from(scene.send(0, &bytes).refused == 0);
        }
        println!("{family}: {accepted} of 200 accepted");
        let least = match family {
            "link" | "nsid" => 30,
            _ => 0,
        };
        assert!(accepted >= least, "{family}: {accepted} of 200");
    }
}

/// A world in which something stays behind is noticed: a nsid assigned behind the scene's back.
#[test]
fn the_looks_can_differ() {
    let system = System::new();
    let mut scene = Scene::new(&system);
    scene.look();
    assert_eq!(scene.difference(), None);
    let named = [
        36u8, 0, 0, 0, 88, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 5, 0, 0, 0, 8, 0, 3, 0, 11, 0, 0, 0,
    ];
    let outcome = scene.send(0, &named);
    assert_eq!((outcome.refused, &outcome.heard[..]), (0, &[RTM_NEWNSID][..]), "{outcome:?}");
    assert!(scene.difference().is_some_and(|text| text.contains("type 90")));
}
