//! Panics of foreign code, barriers, and what is between two locks: each of these once went wrong.
#![cfg(feature = "std")]

mod common;

use common::{Call, Gate, Log, Probe, create, probe, root, split_freed, system, tags};
use pernet::{
    Cookie, DyingNet, Event, EventSink, InitError, KillList, Namespaces, Net, NetRef, Phase, Platform, Subsystem,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// Fails instead of hanging.
fn watched<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    let test = thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(test));
        done.send(()).unwrap();
        result
    });
    wait.recv_timeout(Duration::from_secs(60)).expect("it hangs");
    test.join().unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn panics<T>(call: impl FnOnce() -> T) {
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err(), "it was to panic");
}

fn count(calls: &[Call], wanted: &Call) -> usize {
    calls.iter().filter(|call| *call == wanted).count()
}

/// "Who holds what" is asked about those that are stuck, after they have been given up too.
#[test]
fn w04_a_namespace_that_was_left_behind_is_still_named() {
    watched(|| {
        let (ns, log) = system();
        let gate = Gate::default();
        let (hook, stops) = (gate.clone(), Arc::new(Mutex::new(None)));
        let wanted = Arc::clone(&stops);
        ns.register_subsys(probe(1, &log).on_exit(move |net| {
            if Some(net.cookie()) == *wanted.lock().unwrap() {
                hook.pass();
            }
        }))
        .unwrap();
        let nets: Vec<NetRef> = (0..3).map(|_| create(&ns)).collect();
        let cookie = nets[1].cookie();
        *stops.lock().unwrap() = Some(cookie);
        drop(nets);
        let stepper = thread::spawn({
            let ns = ns.clone();
            move || ns.step()
        });
        gate.wait();
        assert_eq!(ns.rescue().destroyed, 2);
        let busy = ns.busy();
        assert_eq!((busy.len(), busy[0].phase, busy[0].subsystem), (1, Phase::Exit, Some("probe")), "{busy:?}");
        assert_eq!(busy[0].net.as_ref().map(pernet::NetHandle::cookie), Some(cookie));
        assert_eq!(ns.rescue().destroyed, 0);
        gate.open();
        assert_eq!(stepper.join().unwrap().destroyed, 1);
    });
}

/// Queues one thing for each namespace; the first that runs panics.
struct Killer(Log, Arc<AtomicBool>);

impl Subsystem for Killer {
    const NAME: &'static str = "killer";
    type State = ();

    fn init(&self, _: &Net) -> Result<(), InitError> {
        Ok(())
    }

    fn exit_rtnl(&self, net: &DyingNet, (): &(), kill: &mut KillList) {
        let (log, cookie, armed) = (self.0.clone(), net.cookie(), Arc::clone(&self.1));
        kill.push(move || {
            log.push(Call::Killed(7, cookie));
            assert!(!armed.swap(false, Ordering::SeqCst), "told to panic");
        });
    }

    fn exit(&self, net: &DyingNet, (): &()) {
        self.0.push(Call::Exit(7, net.cookie()));
    }
}

#[test]
fn a_panic_in_what_was_queued_does_not_forget_the_rest_of_it() {
    let (ns, log) = system();
    ns.register_device(Killer(log.clone(), Arc::new(AtomicBool::new(true)))).unwrap();
    let nets: Vec<NetRef> = (0..3).map(|_| create(&ns)).collect();
    let cookies: Vec<Cookie> = nets.iter().map(|net| net.cookie()).collect();
    drop(nets);
    panics(|| ns.step());
    // Dies in between, and is no part of what was left.
    let late = create(&ns);
    let (late_cookie, _) = (late.cookie(), drop(late));
    ns.barrier();
    let calls = log.take();
    for cookie in cookies.into_iter().chain([late_cookie]) {
        assert_eq!(count(&calls, &Call::Killed(7, cookie)), 1, "{calls:?}");
        assert_eq!(count(&calls, &Call::Exit(7, cookie)), 1);
    }
}

#[test]
fn i01_a_panic_in_an_init_undoes_the_creation() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    let armed = Arc::new(AtomicBool::new(false));
    let arm = Arc::clone(&armed);
    ns.register_subsys(probe(2, &log).on_init(move |_| {
        assert!(!arm.swap(false, Ordering::SeqCst), "told to panic");
        Ok(())
    }))
    .unwrap();
    log.take();
    armed.store(true, Ordering::SeqCst);
    panics(|| ns.create(&root(&ns)));
    assert_eq!(ns.init_user_ns().net_namespaces(pernet::Uid::ROOT), 0);
    // No callback runs while another's panic passes: it is torn down like one that has died.
    ns.barrier();
    let (calls, freed) = split_freed(log.take());
    let Call::Init(1, cookie) = calls[0] else { panic!("{calls:?}") };
    assert_eq!(calls[1..], common::undo(&[1], &[cookie]));
    assert_eq!(freed, [(1, cookie)]);
    assert_eq!(ns.listed(), 1);
}

#[test]
fn i01_a_panic_in_an_init_undoes_the_registration() {
    watched(|| {
        let (ns, log) = system();
        let net = create(&ns);
        let failing = probe(1, &log).on_init(|net| {
            assert!(net.is_init(), "told to panic");
            Ok(())
        });
        panics(|| ns.register_subsys(failing));
        log.take();
        drop(create(&ns));
        assert_eq!(log.take(), [], "nobody is given a state any more");
        // No callback runs while another's panic passes: the next registration takes it back.
        let key = ns.register_subsys(probe(2, &log)).unwrap();
        let (calls, freed) = split_freed(log.take());
        let init = ns.init_net().cookie();
        assert_eq!((count(&calls, &Call::Exit(1, init)), freed), (1, vec![(1, init)]), "{calls:?}");
        let young = create(&ns);
        assert_eq!((tags(&net, &[key]), tags(&young, &[key])), (vec![Some(2)], vec![Some(2)]));
    });
}

/// A registration that fails, and whose undo panics once.
#[test]
fn i01_a_panic_while_a_registration_is_undone_loses_no_state() {
    watched(|| {
        let (ns, log) = system();
        let nets = [create(&ns), create(&ns)];
        let (first, second) = (nets[0].cookie(), nets[1].cookie());
        let failing = probe(1, &log)
            .on_init(move |net| if net.cookie() == second { Err(common::REFUSED) } else { Ok(()) })
            .on_exit(move |net| assert!(net.cookie() != first, "told to panic"));
        panics(|| ns.register_subsys(failing));
        ns.register_subsys(probe(2, &log)).unwrap();
        let (calls, freed) = split_freed(log.take());
        let init = ns.init_net().cookie();
        assert_eq!(freed, [(1, init), (1, first)], "{calls:?}");
        for cookie in [init, first] {
            assert_eq!(count(&calls, &Call::Exit(1, cookie)), 1, "{calls:?}");
            let batched = |call: &&Call| matches!(call, Call::ExitBatch(1, nets) if nets.contains(&cookie));
            assert_eq!(calls.iter().filter(batched).count(), 1, "{calls:?}");
        }
    });
}

/// Says who waits in the core for somebody else, by the thread's name.
#[derive(Default)]
struct Waits {
    who: Mutex<Vec<String>>,
    drained: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Waits {
    fn until(&self, name: &str) {
        while !self.who.lock().unwrap().iter().any(|who| who == name) {
            thread::yield_now();
        }
    }
}

impl Platform for Waits {
    fn relax(&self, _: u32) {
        if let Some(name) = thread::current().name() {
            let mut who = self.who.lock().unwrap();
            if !who.iter().any(|who| who == name) {
                who.push(name.into());
            }
        }
        thread::yield_now();
    }

    fn drain_deferred(&self) {
        let hook = self.drained.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
    }
}

fn waiting_system() -> (Namespaces, Arc<Waits>, Log) {
    let waits = Arc::new(Waits::default());
    (Namespaces::builder().platform(waits.clone()).build(), waits, Log::default())
}

fn named<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().name(name.into()).spawn(run).unwrap()
}

/// A registration has a dead namespace in hand, and gives it back while the barrier waits for a round.
#[test]
fn c066_the_barrier_waits_for_what_a_registration_gives_back() {
    watched(|| {
        let (ns, waits, log) = waiting_system();
        let (in_round, in_init) = (Gate::default(), Gate::default());
        let other = create(&ns);
        let other_cookie = other.cookie();
        let hook = in_round.clone();
        ns.register_subsys(probe(1, &log).on_exit(move |net| {
            if net.cookie() == other_cookie {
                hook.pass();
            }
        }))
        .unwrap();
        let net = create(&ns);
        let cookie = net.cookie();
        let registrar = named("registrar", {
            let (ns, log, gate) = (ns.clone(), log.clone(), in_init.clone());
            move || {
                let slow = probe(2, &log).on_init(move |net| {
                    if net.cookie() == cookie {
                        gate.pass();
                    }
                    Ok(())
                });
                ns.register_subsys(slow).unwrap()
            }
        });
        in_init.wait();
        drop(net);
        assert_eq!(ns.step().destroyed, 0, "postponed");
        drop(other);
        let stepper = named("stepper", {
            let ns = ns.clone();
            move || ns.step()
        });
        in_round.wait();
        let barrier = named("barrier", {
            let (ns, log) = (ns.clone(), log.clone());
            move || {
                ns.barrier();
                log.push(Call::Note("barrier"));
            }
        });
        waits.until("barrier");
        in_init.open();
        registrar.join().unwrap();
        in_round.open();
        barrier.join().unwrap();
        stepper.join().unwrap();
        let calls = log.take();
        let at = |wanted: &Call| calls.iter().position(|call| call == wanted);
        assert!(at(&Call::Freed(1, cookie)).is_some_and(|freed| Some(freed) < at(&Call::Note("barrier"))), "{calls:?}");
    });
}

/// Another thread's round panics while the barrier waits for it.
#[test]
fn c066_the_barrier_waits_for_what_a_panic_has_left() {
    watched(|| {
        let (ns, waits, log) = waiting_system();
        let gate = Gate::default();
        let hook = gate.clone();
        ns.register_subsys(probe(1, &log).on_exit(move |_| {
            hook.pass();
            assert!(thread::current().name() != Some("stepper"), "told to panic");
        }))
        .unwrap();
        let net = create(&ns);
        let cookie = net.cookie();
        drop(net);
        let stepper = named("stepper", {
            let ns = ns.clone();
            move || panics(|| ns.step())
        });
        gate.wait();
        let barrier = named("barrier", {
            let ns = ns.clone();
            move || ns.barrier()
        });
        waits.until("barrier");
        gate.open();
        stepper.join().unwrap();
        barrier.join().unwrap();
        assert_eq!(split_freed(log.take()).1, [(1, cookie)]);
    });
}

/// Whoever drops the last reference has not returned yet, and so has the memory in hand.
#[test]
fn c066_the_barrier_waits_for_states_to_be_dropped() {
    watched(|| {
        let (gate, waits, log) = (Gate::default(), Arc::new(Waits::default()), Log::default());
        let hook = gate.clone();
        let builder = Namespaces::builder().on_work(Arc::new(move || hook.pass()));
        let ns = builder.platform(waits.clone()).build();
        ns.register_subsys(probe(1, &log)).unwrap();
        let net = create(&ns);
        let cookie = net.cookie();
        let dropper = named("dropper", move || drop(net));
        gate.wait();
        let barrier = named("barrier", {
            let (ns, log) = (ns.clone(), log.clone());
            move || {
                ns.barrier();
                log.push(Call::Note("barrier"));
            }
        });
        // Either it waits, or it has returned without.
        while !barrier.is_finished() && !waits.who.lock().unwrap().iter().any(|who| who == "barrier") {
            thread::yield_now();
        }
        gate.open();
        dropper.join().unwrap();
        barrier.join().unwrap();
        let calls = log.take();
        assert_eq!(calls[calls.len() - 2..], [Call::Freed(1, cookie), Call::Note("barrier")], "{calls:?}");
    });
}

/// It dies after the last of the subsystem's exits, and is off the list when keys are retired.
#[test]
fn c036_after_an_unregistration_no_key_finds_a_state_even_in_the_dead() {
    watched(|| {
        let (ns, waits, log) = waiting_system();
        let gate = Gate::default();
        let found: Arc<Mutex<Option<Vec<Option<u32>>>>> = Arc::default();
        let key: Arc<Mutex<Option<pernet::Key<Probe>>>> = Arc::default();
        let (hook, wanted, answer) = (gate.clone(), Arc::clone(&key), Arc::clone(&found));
        ns.register_subsys(probe(1, &log).on_exit(move |net| {
            hook.pass();
            let key = wanted.lock().unwrap().unwrap();
            *answer.lock().unwrap() = Some(vec![net.get(key).map(|state| state.tag)]);
        }))
        .unwrap();
        let gone = ns.register_subsys(probe(2, &log)).unwrap();
        *key.lock().unwrap() = Some(gone);
        let net = create(&ns);
        let stepper: Arc<Mutex<Option<thread::JoinHandle<pernet::Round>>>> = Arc::default();
        *waits.drained.lock().unwrap() = Some(Box::new({
            let (ns, gate, stepper) = (ns.clone(), gate.clone(), Arc::clone(&stepper));
            move || {
                drop(net);
                *stepper.lock().unwrap() = Some(thread::spawn(move || ns.step()));
                gate.wait();
            }
        }));
        ns.unregister(gone);
        gate.open();
        stepper.lock().unwrap().take().unwrap().join().unwrap();
        assert_eq!(*found.lock().unwrap(), Some(vec![None]));
    });
}

/// W8 for inode numbers.
#[test]
fn w08_what_is_dead_keeps_no_inode_number_from_the_living() {
    let ns = Namespaces::builder().inums(2).build();
    for _ in 0..3 {
        drop((create(&ns), create(&ns)));
    }
    let both = (create(&ns), create(&ns));
    assert!(ns.create(&root(&ns)).is_err());
    drop(both);
}

/// A sink that panics when told to.
#[derive(Default)]
struct Touchy {
    dead: AtomicUsize,
    del: AtomicUsize,
    dels: AtomicUsize,
}

impl Touchy {
    fn down(count: &AtomicUsize) -> bool {
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

impl EventSink for Touchy {
    fn emit(&self, event: &Event<'_>) {
        match event {
            Event::NetDead { .. } => assert!(!Self::down(&self.dead), "told to panic"),
            Event::NsidDel { .. } => {
                self.dels.fetch_add(1, Ordering::SeqCst);
                assert!(!Self::down(&self.del), "told to panic");
            }
            _ => {}
        }
    }
}

#[test]
fn a_sink_that_panics_at_a_death_makes_nobody_immortal() {
    watched(|| {
        let (ns, log) = system();
        let sink = Arc::new(Touchy::default());
        ns.subscribe(sink.clone());
        ns.register_subsys(probe(1, &log)).unwrap();
        let nets: Vec<NetRef> = (0..4).map(|_| create(&ns)).collect();
        let cookies: Vec<Cookie> = nets.iter().map(|net| net.cookie()).collect();
        drop(nets);
        sink.dead.store(1, Ordering::SeqCst);
        panics(|| ns.step());
        ns.barrier();
        let calls = log.take();
        for cookie in cookies {
            assert_eq!(count(&calls, &Call::Exit(1, cookie)), 1, "{calls:?}");
        }
        assert_eq!((ns.listed(), ns.init_user_ns().net_namespaces(pernet::Uid::ROOT)), (1, 0));
    });
}

#[test]
fn a_sink_that_panics_at_a_name_leaves_no_stale_name_and_no_round() {
    watched(|| {
        let (ns, log) = system();
        let sink = Arc::new(Touchy::default());
        ns.subscribe(sink.clone());
        let key = ns.register_subsys(probe(1, &log)).unwrap();
        let observers: Vec<NetRef> = (0..3).map(|_| create(&ns)).collect();
        let peer = create(&ns);
        for observer in &observers {
            assert!(observer.peernet2id_alloc(&peer).is_some());
        }
        drop(peer);
        sink.del.store(1, Ordering::SeqCst);
        panics(|| ns.step());
        ns.barrier();
        ns.unregister(key);
        assert!(ns.busy().is_empty());
        assert_eq!(sink.dels.load(Ordering::SeqCst), 3, "everyone was told");
        let next = create(&ns);
        for observer in &observers {
            assert_eq!(observer.peernet2id_alloc(&next).map(pernet::Nsid::get), Some(0), "the id is free again");
        }
    });
}

/// Its state's destructor panics.
struct Sore(Arc<AtomicUsize>);

struct Ouch(Arc<AtomicUsize>, bool);

impl Drop for Ouch {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        assert!(self.1, "told to panic");
    }
}

impl Subsystem for Sore {
    const NAME: &'static str = "sore";
    type State = Ouch;

    fn init(&self, net: &Net) -> Result<Ouch, InitError> {
        Ok(Ouch(Arc::clone(&self.0), net.is_init()))
    }
}

#[test]
fn a_panic_in_a_destructor_leaves_the_others_for_later() {
    let ns = Namespaces::new();
    let dropped = Arc::new(AtomicUsize::new(0));
    ns.register_subsys(Sore(Arc::clone(&dropped))).unwrap();
    drop((0..3).map(|_| create(&ns)).collect::<Vec<_>>());
    for so_far in 1..=3 {
        panics(|| ns.step());
        assert_eq!(dropped.load(Ordering::SeqCst), so_far, "one at a time, or the process ends");
    }
    ns.barrier();
    assert_eq!(ns.listed(), 1);
}

/// The numbers of one pool's workers are not another's.
#[test]
fn two_pools_of_workers_do_not_give_up_each_others_threads() {
    watched(|| {
        let (ns, log) = system();
        let (gate, alive) = (Gate::default(), Arc::new(()));
        let (hook, witness) = (gate.clone(), Arc::clone(&alive));
        ns.register_subsys(probe(1, &log).on_exit(move |_| {
            let _ = &witness;
            hook.pass();
        }))
        .unwrap();
        let pools = [ns.spawn_worker(), ns.spawn_worker()];
        drop(create(&ns));
        gate.wait();
        // Time for both watches to find it twice. Nothing depends on it but that a fault shows.
        thread::sleep(Duration::from_millis(300));
        gate.open();
        drop(pools);
        ns.barrier();
        drop(ns);
        while Arc::strong_count(&alive) > 1 {
            thread::yield_now(); // a thread that nobody remembers would keep the system
        }
    });
}

/// A creation that catches up with two registrations at once meets them in the order of the list, which need not be
/// that in which they came.
#[test]
fn c030_a_creation_that_catches_up_finds_every_state() {
    watched(|| {
        let (ns, waits, log) = waiting_system();
        let gates = [Gate::default(), Gate::default(), Gate::default()];
        let stops = |tag: u32, gate: &Gate| {
            let gate = gate.clone();
            probe(tag, &log).on_init(move |net| {
                if !net.is_init() {
                    gate.pass();
                }
                Ok(())
            })
        };
        let gone = [1, 2].map(|tag| ns.register_subsys(probe(tag, &log)).unwrap());
        ns.register_subsys(stops(3, &gates[0])).unwrap();
        let creator = thread::spawn({
            let ns = ns.clone();
            move || create(&ns)
        });
        gates[0].wait(); // it has states of 1 and 2
        let leaving = [("one", gone[0]), ("two", gone[1])].map(|(name, key)| {
            let system = ns.clone();
            let thread = named(name, move || system.unregister(key));
            waits.until(name); // off the list, and waits for the creation
            thread
        });
        ns.register_subsys(stops(4, &gates[1])).unwrap();
        gates[0].open();
        gates[1].wait();
        ns.register_subsys(stops(5, &gates[2])).unwrap();
        gates[1].open();
        gates[2].wait(); // no list that it holds names 1 or 2 any more
        for thread in leaving {
            thread.join().unwrap();
        }
        let device = ns.register_device(probe(10, &log)).unwrap();
        let subsystem = ns.register_subsys(probe(6, &log)).unwrap();
        gates[2].open();
        let net = creator.join().unwrap();
        assert_eq!(tags(&net, &[subsystem, device]), [Some(6), Some(10)]);
        let cookie = net.cookie();
        drop(net);
        log.take();
        ns.barrier();
        let calls = log.take();
        for tag in [3, 4, 5, 6, 10] {
            assert_eq!(count(&calls, &Call::Exit(tag, cookie)), 1, "{calls:?}");
        }
    });
}
