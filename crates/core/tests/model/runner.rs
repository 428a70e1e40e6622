//! The loop over cases: blocks of them, each from a seed of its own, on every core.
//!
//! | variable | |
//! |---|---|
//! | `PROPTEST_CASES` | how many; default 100,000 where `CI` is set, else 5,000 |
//! | `MODEL_SEED` | where blocks get their seeds from; the default is fixed, so that a commit passes or not |
//! | `MODEL_BLOCK` | runs this block alone: what a failure tells to repeat it |

use crate::ops::{Case, Op, case};
use crate::probe::{AnyKey, Shared};
use crate::script::{Reached, Tally};
use crate::world;
use pernet::Namespaces;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const BLOCK: u64 = 500;
/// Enough for the smallest of almost any failure; a case takes a tenth of a millisecond.
const SHRINKS: u32 = 100_000;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs `f` with what a panic would print left out for this thread: shrinking panics a thousand times.
fn quietly<T>(f: impl FnOnce() -> T) -> T {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = f();
    QUIET.set(before);
    result
}

/// One case, with panics of the system made failures like any other.
pub(crate) fn one(case: &Case, foreign: &[AnyKey]) -> Result<Tally, String> {
    quietly(|| {
        panic::catch_unwind(AssertUnwindSafe(|| world::run(case, foreign))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("panicked: {}", text.unwrap_or_default()))
        })
    })
}

/// Another system, whose keys are of the same types.
pub(crate) fn strangers() -> (Namespaces, Vec<AnyKey>) {
    let (ns, shared) = (Namespaces::new(), Arc::<Shared>::default());
    let key = |tag: u8| AnyKey::register(&ns, false, tag % 3, u32::from(tag), &shared).expect("no init fails");
    let keys = (0..3).map(key).collect();
    (ns, keys)
}

/// Proptest leaves out each operation once, in one pass; what it leaves is often half of what can
/// go, because operations choose by position. This goes on until nothing can.
fn minimise(mut case: Case, foreign: &[AnyKey]) -> (Case, String) {
    let fails = |ops: &[Op], power_off: bool| one(&Case { ops: ops.to_vec(), power_off }, foreign).err();
    let mut why = None;
    loop {
        let before = case.clone();
        for width in [8, 4, 2, 1] {
            let mut at = 0;
            while at < case.ops.len() {
                let mut fewer = case.ops.clone();
                fewer.drain(at..(at + width).min(fewer.len()));
                match fails(&fewer, case.power_off) {
                    Some(text) => (case.ops, why) = (fewer, Some(text)),
                    None => at += 1,
                }
            }
        }
        for at in 0..case.ops.len() {
            while let Some((ops, text)) =
                case.ops[at].simpler().into_iter().filter(|op| *op != case.ops[at]).find_map(|op| {
                    let mut ops = case.ops.clone();
                    ops[at] = op;
                    fails(&ops, case.power_off).map(|text| (ops, text))
                })
            {
                (case.ops, why) = (ops, Some(text));
            }
        }
        if case.ops == before.ops {
            let why = why.or_else(|| fails(&case.ops, case.power_off));
            return (case, why.unwrap_or_else(|| "it does not fail again".to_owned()));
        }
    }
}

struct Block {
    seed: u64,
    number: u64,
}

impl Block {
    fn runner(&self, cases: u64) -> TestRunner {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&self.number.to_le_bytes());
        let config =
            Config { cases: cases as u32, failure_persistence: None, max_shrink_iters: SHRINKS, ..Config::default() };
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
    }

    /// Runs the block. A failure comes shrunk, and told as something to act on.
    fn run(&self, cases: u64, foreign: &[AnyKey], tally: &mut Tally) -> Result<(), String> {
        let (done, found) = (Cell::new(0), RefCell::new(None));
        let total = RefCell::new(Tally::default());
        let result = self.runner(cases).run(&case(), |case| match one(&case, foreign) {
            Ok(reached) => {
                done.set(done.get() + 1);
                total.borrow_mut().add(&reached);
                Ok(())
            }
            Err(why) => {
                found.borrow_mut().get_or_insert((self.number * BLOCK + done.get(), case.ops.len()));
                Err(TestCaseError::fail(why))
            }
        });
        tally.add(&total.into_inner());
        match result {
            Ok(()) => Ok(()),
            Err(TestError::Fail(_, case)) => {
                let (case, why) = minimise(case, foreign);
                let (nth, ops) = found.into_inner().unwrap_or_default();
                let Self { seed, number } = self;
                let mut text = format!("case {nth} ({ops} operations) failed; shrunk to {}:\n", case.ops.len());
                for (at, op) in case.ops.iter().enumerate() {
                    let _ = writeln!(text, "    {op:?}, // {at}");
                }
                let _ = write!(text, "switched off at the end: {}\n{why}\n", case.power_off);
                let _ = write!(text, "to repeat it: MODEL_SEED={seed} MODEL_BLOCK={number}; ");
                text += "when it is repaired, add the operations to `REGRESSIONS`";
                Err(text)
            }
            Err(TestError::Abort(why)) => Err(format!("no case could be made: {why}")),
        }
    }
}

fn default_cases() -> u64 {
    if std::env::var_os("CI").is_some() { 100_000 } else { 5_000 }
}

/// Everything the environment asks for.
pub(crate) fn run_all() {
    let cases = variable("PROPTEST_CASES").unwrap_or_else(default_cases);
    let seed = variable("MODEL_SEED").unwrap_or(1);
    let alone = variable("MODEL_BLOCK");
    let blocks = alone.map_or_else(|| 0..cases.div_ceil(BLOCK), |number| number..number + 1);
    let (next, tally, failures) = (AtomicU64::new(blocks.start), Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    let work = || {
        let (_ns, foreign) = strangers();
        let mut mine = Tally::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= blocks.end {
                break;
            }
            let cases = if alone.is_some() { BLOCK } else { BLOCK.min(cases - number * BLOCK) };
            if let Err(text) = (Block { seed, number }).run(cases, &foreign, &mut mine) {
                next.store(blocks.end, Ordering::Relaxed);
                failures.lock().unwrap().push((number, text));
            }
        }
        tally.lock().unwrap().add(&mine);
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    // Of several, the one of the first block: the same on every run.
    if let Some((_, text)) = failures.iter().min() {
        panic!("{text}");
    }
    let tally = tally.into_inner().unwrap();
    println!("{cases} cases reached:\n{tally}");
    if alone.is_none() && cases >= 5_000 {
        assert_eq!(tally.missing(), Vec::<Reached>::new(), "situations that no case has reached");
    }
}

/// The same operations every time, with either end.
pub(crate) fn replay(what: &str, ops: &[Op]) {
    let (_ns, foreign) = strangers();
    for power_off in [false, true] {
        let case = Case { ops: ops.to_vec(), power_off };
        if let Err(why) = one(&case, &foreign) {
            panic!("{what}: {why}");
        }
    }
}
