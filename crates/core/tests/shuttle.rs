//! The whole core under random schedules: shuttle decides at each lock, atomic and callback which thread
//! goes on. What each scenario must hold is in `ledger.rs`, with the names of the specification.
//!
//! ```sh
//! RUSTFLAGS="--cfg pernet_shuttle" cargo test -p pernet --no-default-features --test shuttle --target-dir target/shuttle
//! ```
//!
//! A failure prints its schedule; `PERNET_SHUTTLE_REPLAY=<schedule>` with that one test runs it again.
//! `PERNET_SHUTTLE_ITERATIONS` is the number of schedules of each kind.
#![cfg(pernet_shuttle)]

#[path = "shuttle/ledger.rs"]
mod ledger;
#[path = "shuttle/naming.rs"]
mod naming;
#[path = "shuttle/quota.rs"]
mod quota;
#[path = "shuttle/registering.rs"]
mod registering;
#[path = "shuttle/rounds.rs"]
mod rounds;

use ledger::Ledger;
use pernet::{Cred, Namespaces, NetRef};
use shuttle::thread::{self, JoinHandle};
use std::sync::Arc;

/// Runs `scenario` under schedules that switch anywhere, and under schedules that switch rarely but at
/// the worst places (PCT, with up to three switches).
fn explore(scenario: fn(&Ledger)) {
    let one = move || Ledger::run(scenario);
    if let Ok(schedule) = std::env::var("PERNET_SHUTTLE_REPLAY") {
        return shuttle::replay(one, &schedule);
    }
    let iterations = std::env::var("PERNET_SHUTTLE_ITERATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    shuttle::check_random(one, iterations);
    shuttle::check_pct(one, iterations, 3);
}

fn root(ns: &Namespaces) -> Cred {
    Cred::root(ns.init_user_ns())
}

#[track_caller]
fn create(ns: &Namespaces) -> NetRef {
    ns.create(&root(ns)).unwrap()
}

/// A thread with a system of its own to hold on to.
fn spawn<T: Send + 'static>(
    ns: &Namespaces,
    ledger: &Ledger,
    body: impl FnOnce(Namespaces, Ledger) -> T + Send + 'static,
) -> JoinHandle<T> {
    let (ns, ledger) = (ns.clone(), ledger.clone());
    thread::spawn(move || body(ns, ledger))
}

fn step_often(ns: Namespaces, times: usize) {
    for _ in 0..times {
        ns.step();
        thread::yield_now();
    }
}

/// Threads that make namespaces, pass them to each other and drop them, beside two that step.
#[test]
fn creators_droppers_and_steppers() {
    explore(|ledger| {
        let ns = ledger.system();
        let key = ns.register_subsys(ledger.part(1)).unwrap();
        ns.register_device(ledger.part(2)).unwrap();
        let pool = Arc::new(shuttle::sync::Mutex::new(Vec::<NetRef>::new()));
        let actors: Vec<_> = (0..2)
            .map(|_| {
                let pool = Arc::clone(&pool);
                spawn(&ns, ledger, move |ns, ledger| {
                    let (one, two) = (create(&ns), create(&ns));
                    assert_eq!(one.get(key).unwrap().net, one.cookie());
                    pool.lock().unwrap().push(one.clone());
                    drop(one);
                    let other = pool.lock().unwrap().pop();
                    if let Some(other) = other {
                        assert!(ledger.is_up(1, other.cookie()), "active-is-alive");
                    }
                    ledger.drop_last(two);
                })
            })
            .collect();
        let steppers: Vec<_> = (0..2).map(|_| spawn(&ns, ledger, |ns, _| step_often(ns, 3))).collect();
        for thread in actors.into_iter().chain(steppers) {
            thread.join().unwrap();
        }
        drop(pool);
        ledger.settle(&ns);
    });
}

/// The machine is switched off by whoever happens to be last, in the middle of whatever the others do.
#[test]
fn power_off_in_any_thread() {
    explore(|ledger| {
        let ns = ledger.system();
        ns.register_subsys(ledger.part(1)).unwrap();
        let (kept, dropped) = (create(&ns), create(&ns));
        let threads = [
            spawn(&ns, ledger, move |ns, _| {
                drop(ns);
                // A namespace alone keeps its system running.
                let again = kept.namespaces();
                assert!(kept.downgrade().is_alive());
                drop(kept);
                again.step();
            }),
            spawn(&ns, ledger, move |ns, _| {
                let fresh = create(&ns);
                drop(ns);
                drop(dropped);
                drop(fresh);
            }),
            spawn(&ns, ledger, |ns, _| {
                ns.step();
            }),
        ];
        drop(ns);
        for thread in threads {
            thread.join().unwrap();
        }
        // What has died without a round is freed all the same: `Ledger::run` looks.
    });
}
