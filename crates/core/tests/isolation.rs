//! A callback that does not return holds up its own namespace and nothing else; several rounds run at the same time; and
//! the system can say who holds what.
#![cfg(feature = "std")]

mod common;

use common::{Call, Gate, Log, create, probe, root, split_freed, system};
use pernet::{Cookie, CreateError, DyingNet, KillList, Namespaces, Net, NetRef, Phase, Subsystem};
use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

/// A system whose first subsystem's exit stops for one namespace of several, all dead and in one batch: those, the one, the
/// gate, the log, and the thread that steps.
fn stuck(members: usize, which: usize) -> (Namespaces, Vec<Cookie>, Gate, Log, thread::JoinHandle<()>) {
    let (ns, log) = system();
    let (gate, stops_at) = (Gate::default(), Arc::new(Mutex::new(None)));
    let (hook, wanted) = (gate.clone(), Arc::clone(&stops_at));
    ns.register_subsys(probe(1, &log).on_exit(move |net: &DyingNet| {
        if Some(net.cookie()) == *wanted.lock().unwrap() {
            hook.pass();
        }
    }))
    .unwrap();
    ns.register_device(probe(10, &log)).unwrap();
    let nets: Vec<NetRef> = (0..members).map(|_| create(&ns)).collect();
    let cookies: Vec<Cookie> = nets.iter().map(|net| net.cookie()).collect();
    *stops_at.lock().unwrap() = Some(cookies[which]);
    drop(nets);
    log.take();
    let stepper = thread::spawn({
        let ns = ns.clone();
        move || {
            ns.step();
        }
    });
    gate.wait();
    (ns, cookies, gate, log, stepper)
}

/// Each thing exactly once for each namespace and subsystem, in order (I1), and each namespace in one batch.
fn assert_each_once(calls: &[Call], cookies: &[Cookie]) {
    for tag in [1, 10] {
        for cookie in cookies {
            let position = |wanted: &Call| {
                let found: Vec<usize> =
                    calls.iter().enumerate().filter(|(_, call)| *call == wanted).map(|(at, _)| at).collect();
                assert_eq!(found.len(), 1, "{wanted:?} in {calls:?}");
                found[0]
            };
            let batches: Vec<usize> = calls
                .iter()
                .enumerate()
                .filter(|(_, call)| matches!(call, Call::ExitBatch(of, nets) if *of == tag && nets.contains(cookie)))
                .map(|(at, _)| at)
                .collect();
            assert_eq!(batches.len(), 1, "batches of {tag} for {cookie:?} in {calls:?}");
            let order = [
                position(&Call::PreExit(tag, *cookie)),
                position(&Call::ExitRtnl(tag, *cookie)),
                position(&Call::Killed(tag, *cookie)),
                position(&Call::Exit(tag, *cookie)),
                batches[0],
                position(&Call::Freed(tag, *cookie)),
            ];
            assert!(order.is_sorted(), "{order:?} in {calls:?}");
        }
    }
}

#[test]
fn w04_the_rest_of_a_stuck_round_is_taken_over() {
    for which in 0..3 {
        let (ns, cookies, gate, log, stepper) = stuck(3, which);
        let others: Vec<Cookie> = cookies.iter().copied().filter(|cookie| *cookie != cookies[which]).collect();
        assert_eq!(ns.rescue().destroyed, 2);
        let calls = log.take();
        let of_others: Vec<Call> = calls.clone().into_iter().filter(|call| !is_of(call, cookies[which])).collect();
        assert_each_once(&of_others, &others);
        assert!(!calls.contains(&Call::Freed(1, cookies[which])), "the one is still held up");
        assert_eq!(ns.rescue().destroyed, 0, "nothing is left to take");
        // Everything else goes on.
        drop(create(&ns));
        assert_eq!(ns.step().destroyed, 1);
        gate.open();
        stepper.join().unwrap();
        let mut all = calls;
        all.extend(log.take());
        assert_each_once(&all, &cookies);
        ns.barrier();
        assert_eq!(ns.listed(), 1);
    }
}

fn is_of(call: &Call, cookie: Cookie) -> bool {
    match call {
        Call::PreExit(_, net) | Call::ExitRtnl(_, net) | Call::Killed(_, net) => *net == cookie,
        Call::Exit(_, net) | Call::Freed(_, net) | Call::Init(_, net) => *net == cookie,
        Call::ExitBatch(_, nets) => nets == &[cookie],
        _ => false,
    }
}

#[test]
fn w04_a_worker_that_is_stuck_is_replaced() {
    let (ns, log) = system();
    let (gate, cookies) = (Gate::default(), Arc::new(Mutex::new(Vec::new())));
    let (hook, stops) = (gate.clone(), Arc::clone(&cookies));
    ns.register_subsys(probe(1, &log).on_exit(move |net: &DyingNet| {
        if stops.lock().unwrap().contains(&net.cookie()) {
            hook.pass();
        }
    }))
    .unwrap();
    let worker = ns.spawn_worker();
    // One after the other, more than there are workers: each stops one, and none stops the next.
    for _ in 0..3 {
        let net = create(&ns);
        cookies.lock().unwrap().push(net.cookie());
        drop(net);
        gate.wait();
    }
    let last = create(&ns);
    let (cookie, handle) = (last.cookie(), last.downgrade());
    drop(last);
    while !log.take().contains(&Call::Freed(1, cookie)) {
        thread::yield_now();
    }
    assert!(!handle.is_alive());
    let busy = ns.busy();
    assert!(busy.iter().any(|busy| busy.subsystem == Some("probe") && busy.phase == Phase::Exit), "{busy:?}");
    gate.open();
    drop(worker);
    ns.barrier();
    assert_eq!(ns.listed(), 1);
    assert!(ns.busy().is_empty());
}

#[test]
fn w04_dropping_a_worker_does_not_wait_for_a_stuck_callback() {
    let (ns, log) = system();
    let gate = Gate::default();
    let hook = gate.clone();
    ns.register_subsys(probe(1, &log).on_exit(move |_| hook.pass())).unwrap();
    let worker = ns.spawn_workers(2);
    drop(create(&ns));
    gate.wait();
    drop(worker); // returns, though the callback has not
    assert_eq!(ns.busy().len(), 1);
    gate.open();
    ns.barrier();
    assert!(ns.busy().is_empty());
}

/// Stops in what `exit_rtnl` has queued.
#[derive(Clone)]
struct Queues(Arc<Stops>);

struct Stops {
    gate: Gate,
    log: Log,
    stops: Mutex<Option<Cookie>>,
}

impl Subsystem for Queues {
    const NAME: &'static str = "queues";
    type State = ();

    fn init(&self, _: &Net) -> Result<(), pernet::InitError> {
        Ok(())
    }

    fn exit_rtnl(&self, net: &DyingNet, (): &(), kill: &mut KillList) {
        for _ in 0..2 {
            let (this, cookie) = (self.clone(), net.cookie());
            kill.push(move || {
                if *this.0.stops.lock().unwrap() == Some(cookie) {
                    this.0.gate.pass();
                }
                this.0.log.push(Call::Killed(7, cookie));
            });
        }
    }

    fn exit(&self, net: &DyingNet, (): &()) {
        self.0.log.push(Call::Exit(7, net.cookie()));
    }
}

#[test]
fn w04_a_device_that_does_not_go_stops_its_namespace_only() {
    let (ns, log) = system();
    let queues = Queues(Arc::new(Stops { gate: Gate::default(), log: log.clone(), stops: Mutex::default() }));
    ns.register_device(queues.clone()).unwrap();
    let nets: Vec<NetRef> = (0..4).map(|_| create(&ns)).collect();
    let cookies: Vec<Cookie> = nets.iter().map(|net| net.cookie()).collect();
    *queues.0.stops.lock().unwrap() = Some(cookies[1]);
    drop(nets);
    let stepper = thread::spawn({
        let ns = ns.clone();
        move || ns.step().destroyed
    });
    queues.0.gate.wait();
    let busy = ns.busy();
    assert_eq!((busy.len(), busy[0].phase, busy[0].namespaces), (1, Phase::Kill, 4), "{busy:?}");
    assert_eq!(busy[0].net.as_ref().map(pernet::NetHandle::cookie), Some(cookies[1]));
    assert_eq!(ns.rescue().destroyed, 3);
    queues.0.gate.open();
    assert_eq!(stepper.join().unwrap(), 1);
    let calls = log.take();
    let mut seen: BTreeMap<Cookie, Vec<Call>> = BTreeMap::new();
    for call in calls {
        if let Call::Killed(_, cookie) | Call::Exit(_, cookie) = call {
            seen.entry(cookie).or_default().push(call);
        }
    }
    for cookie in cookies {
        let killed = Call::Killed(7, cookie);
        assert_eq!(seen[&cookie], [killed.clone(), killed, Call::Exit(7, cookie)], "devices go before the exit");
    }
}

#[test]
fn w03_rounds_run_at_the_same_time() {
    let (ns, log) = system();
    let both = Arc::new(Barrier::new(2));
    ns.register_subsys(probe(1, &log).on_exit(move |_| {
        both.wait(); // returns only if two rounds are inside
    }))
    .unwrap();
    let (one, other) = (create(&ns), create(&ns));
    drop(one);
    let stepper = thread::spawn({
        let ns = ns.clone();
        move || ns.step().destroyed
    });
    while ns.busy().iter().all(|busy| busy.phase != Phase::Exit) {
        thread::yield_now();
    }
    drop(other);
    assert_eq!((ns.step().destroyed, stepper.join().unwrap()), (1, 1));
}

#[test]
fn w03_many_dead_are_shared_out() {
    let ns = Namespaces::new();
    drop((0..5000).map(|_| create(&ns)).collect::<Vec<_>>());
    let (mut rounds, mut destroyed) = (0, 0);
    loop {
        let round = ns.step();
        (rounds, destroyed) = (rounds + 1, destroyed + round.destroyed);
        assert!(round.destroyed <= 1024);
        if !round.more {
            break;
        }
    }
    assert_eq!((rounds, destroyed), (5, 5000));
}

#[test]
fn c066_the_kernels_barrier_waits_for_rounds_that_run_and_for_nothing_else() {
    let (ns, _, gate, log, stepper) = stuck(2, 0);
    let dead = create(&ns);
    let cookie = dead.cookie();
    drop(dead);
    let waiter = thread::spawn({
        let ns = ns.clone();
        move || ns.net_ns_barrier()
    });
    assert!(!waiter.is_finished(), "a round runs");
    gate.open();
    waiter.join().unwrap();
    stepper.join().unwrap();
    assert!(!log.take().contains(&Call::Exit(1, cookie)), "what is in no round is not waited for");
    ns.barrier();
    assert!(split_freed(log.take()).1.contains(&(1, cookie)));
}

#[test]
fn a_panic_in_a_callback_costs_that_call_and_nothing_else() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    ns.register_device(probe(10, &log).on_exit(|net| assert!(net.inum().get() % 2 == 0, "told to panic"))).unwrap();
    let nets: Vec<NetRef> = (0..4).map(|_| create(&ns)).collect();
    let cookies: Vec<Cookie> = nets.iter().map(|net| net.cookie()).collect();
    drop(nets);
    log.take();
    // The worker reports the panics and goes on. If a report takes so long that it is given up, what is left is anybody's.
    drop(ns.spawn_worker());
    while std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ns.barrier())).is_err() {}
    assert_eq!(ns.listed(), 1);
    assert_each_once(&log.take(), &cookies);
}

#[test]
fn a_report_names_who_holds_what() {
    let ns = Namespaces::builder().track_holders(true).build();
    let net = create(&ns);
    let line = line!() + 1;
    let held = net.clone();
    let report = ns.report();
    let of_net = report.listed.iter().find(|held| held.net == net.downgrade()).unwrap();
    assert_eq!(of_net.references, 2);
    assert!(of_net.holders.iter().any(|(at, count)| at.line() == line && *count == 1), "{report}");
    assert!(report.to_string().contains(&format!("isolation.rs:{line}")), "{report}");
    drop((net, held));
    let report = ns.report().to_string();
    assert!(report.starts_with("1 alive, 1 dead and listed, 0 waiting"), "{report}");
    ns.barrier();
    let quiet = Namespaces::builder().track_holders(false).build();
    assert!(create(&quiet).holders().is_empty());
    assert_eq!(quiet.report().listed.len(), 2);
}

#[test]
fn c046_the_last_inode_number_is_the_last() {
    let ns = Namespaces::builder().inums(40).build();
    let mut nets: Vec<NetRef> = Vec::new();
    // Other threads hoard stocks of their own.
    for _ in 0..4 {
        let ns = ns.clone();
        nets.push(thread::spawn(move || create(&ns)).join().unwrap());
    }
    while nets.len() < 40 {
        nets.push(create(&ns));
    }
    assert_eq!(ns.create(&root(&ns)).unwrap_err(), CreateError::InumsExhausted);
    assert_eq!(ns.init_user_ns().net_namespaces(pernet::Uid::ROOT), 40, "the failed one is not charged");
    // What is dead keeps a number from nobody, as it is with the quota.
    nets.pop();
    nets.push(create(&ns));
    assert!(ns.create(&root(&ns)).is_err());
    ns.barrier();
    assert!(ns.create(&root(&ns)).is_err());
}
