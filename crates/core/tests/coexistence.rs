//! Registration beside creation and teardown: nobody waits for longer than a callback of his own, and nobody is forgotten.
//! (Linux stops everything: statement 42. Here callbacks of one namespace follow one another, and none runs once an
//! unregistration has returned.)
#![cfg(feature = "std")]

mod common;

use common::{Call, Gate, REFUSED, create, probe, split_freed, system, tags, undo};
use pernet::{DyingNet, InitError, Namespaces, Net, RegisterError, Subsystem};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

#[test]
fn c042_creation_and_teardown_go_on_beside_a_registration() {
    let (ns, log) = system();
    let older = create(&ns);
    let gate = Gate::default();
    let registrar = thread::spawn({
        let (ns, gate, log) = (ns.clone(), gate.clone(), log.clone());
        move || {
            let stops = probe(1, &log).on_init(move |net| {
                if net.is_init() {
                    gate.pass();
                }
                Ok(())
            });
            ns.register_subsys(stops).unwrap()
        }
    });
    gate.wait();
    let (younger, short) = (create(&ns), create(&ns));
    drop(short);
    assert_eq!(ns.step().destroyed, 1, "teardown goes on");
    drop(older);
    assert_eq!(ns.step().destroyed, 1, "of what the registration has not come to as well");
    gate.open();
    let key = registrar.join().unwrap();
    assert_eq!(tags(&younger, &[key]), [Some(1)]);
    assert_eq!(tags(&ns.init_net(), &[key]), [Some(1)]);
    assert_eq!(tags(&create(&ns), &[key]), [Some(1)]);
}

#[test]
fn c042_creation_and_teardown_go_on_beside_an_unregistration() {
    let (ns, log) = system();
    let gate = Gate::default();
    let hook = gate.clone();
    let stops = probe(1, &log).on_exit(move |net: &DyingNet| {
        if net.is_init() {
            hook.pass();
        }
    });
    let key = ns.register_subsys(stops).unwrap();
    let older = create(&ns);
    let older_cookie = older.cookie();
    let unregistrar = thread::spawn({
        let ns = ns.clone();
        move || ns.unregister(key)
    });
    gate.wait();
    let younger = create(&ns);
    assert_eq!(tags(&younger, &[key]), [None], "what is leaving is not begun any more");
    drop(older);
    log.take();
    assert_eq!(ns.step().destroyed, 1);
    // Its pre_exit and exit_rtnl the unregistration had done; the round did the rest, once.
    let (calls, freed) = split_freed(log.take());
    assert_eq!(calls, [Call::Grace, Call::Exit(1, older_cookie), Call::ExitBatch(1, vec![older_cookie])]);
    assert_eq!(freed, [(1, older_cookie)]);
    gate.open();
    unregistrar.join().unwrap();
    assert_eq!(log.take(), [Call::ExitBatch(1, vec![ns.init_net().cookie()])]);
    assert_eq!(tags(&ns.init_net(), &[key]), [None]);
}

#[test]
fn c030_a_creation_in_progress_catches_up_with_a_registration() {
    let (ns, log) = system();
    let gate = Gate::default();
    let hook = gate.clone();
    let slow = probe(1, &log).on_init(move |net| {
        if !net.is_init() {
            hook.pass();
        }
        Ok(())
    });
    ns.register_subsys(slow).unwrap();
    let creator = thread::spawn({
        let ns = ns.clone();
        move || create(&ns)
    });
    gate.wait();
    let key = ns.register_subsys(probe(2, &log)).unwrap();
    let device = ns.register_device(probe(10, &log)).unwrap();
    let gone = ns.register_device(probe(11, &log)).unwrap();
    ns.unregister(gone);
    log.take();
    gate.open();
    let net = creator.join().unwrap();
    assert_eq!(tags(&net, &[key, device, gone]), [Some(2), Some(10), None]);
    let cookie = net.cookie();
    assert_eq!(log.take(), [1, 2, 10].map(|tag| Call::Init(tag, cookie)));
    drop(net);
    ns.step();
    assert_eq!(split_freed(log.take()).0, undo(&[1, 2, 10], &[cookie]), "in the order of the list");
}

#[test]
fn c036_an_unregistration_waits_for_creations_that_know_the_subsystem() {
    let (ns, log) = system();
    let gate = Gate::default();
    let first = ns.register_subsys(probe(1, &log)).unwrap();
    let hook = gate.clone();
    let slow = probe(2, &log).on_init(move |net| {
        if !net.is_init() {
            hook.pass();
        }
        Ok(())
    });
    ns.register_subsys(slow).unwrap();
    let creator = thread::spawn({
        let ns = ns.clone();
        move || create(&ns)
    });
    gate.wait(); // the first has a state in a namespace that is not listed
    let returned = Arc::new(AtomicBool::new(false));
    let unregistrar = thread::spawn({
        let (ns, returned) = (ns.clone(), Arc::clone(&returned));
        move || {
            ns.unregister(first);
            returned.store(true, Ordering::SeqCst);
        }
    });
    // It cannot have returned: the state is up, and nobody has begun to take it down.
    assert!(!returned.load(Ordering::SeqCst));
    gate.open();
    let net = creator.join().unwrap();
    unregistrar.join().unwrap();
    let exits = log.take().iter().filter(|call| **call == Call::Exit(1, net.cookie())).count();
    assert_eq!((exits, tags(&net, &[first])), (1, vec![None]));
}

#[test]
fn c033_a_registration_that_fails_leaves_nothing_in_a_creation_in_progress() {
    let (ns, log) = system();
    let (gate, fail) = (Gate::default(), Gate::default());
    let registrar = thread::spawn({
        let (ns, log, gate, fail) = (ns.clone(), log.clone(), gate.clone(), fail.clone());
        move || {
            let failing = probe(1, &log).on_init(move |net| {
                if net.is_init() {
                    fail.pass();
                    return Err(REFUSED);
                }
                gate.pass();
                Ok(())
            });
            ns.register_subsys(failing)
        }
    });
    fail.wait();
    let creator = thread::spawn({
        let ns = ns.clone();
        move || create(&ns)
    });
    gate.wait();
    fail.open(); // the registration fails while the creation is in the joining subsystem's init
    gate.open();
    let net = creator.join().unwrap();
    let error = registrar.join().unwrap().unwrap_err();
    assert_eq!(error, RegisterError::Init { inum: ns.init_net().inum(), error: REFUSED });
    let (calls, freed) = split_freed(log.take());
    let count = |wanted: Call| calls.iter().filter(|call| **call == wanted).count();
    assert_eq!((count(Call::Init(1, net.cookie())), count(Call::Exit(1, net.cookie()))), (1, 1));
    assert_eq!(freed, [(1, net.cookie())], "and its memory is gone, though the namespace lives");
}

#[test]
fn c031_what_dies_in_the_hands_of_a_registration_is_torn_down_afterwards() {
    let (ns, log) = system();
    let gate = Gate::default();
    let net = create(&ns);
    let cookie = net.cookie();
    let registrar = thread::spawn({
        let (ns, gate, log) = (ns.clone(), gate.clone(), log.clone());
        move || {
            let stops = probe(1, &log).on_init(move |net| {
                if !net.is_init() {
                    gate.pass();
                }
                Ok(())
            });
            ns.register_subsys(stops).unwrap()
        }
    });
    gate.wait();
    drop(net);
    assert_eq!(ns.step().destroyed, 0, "not while a callback runs on it");
    assert_eq!(ns.step().destroyed, 0, "and nobody waits for it");
    gate.open();
    registrar.join().unwrap();
    log.take();
    ns.barrier();
    assert_eq!(split_freed(log.take()).0, undo(&[1], &[cookie]));
}

/// Counts, for each namespace, who is inside.
struct Alone {
    inside: Arc<Mutex<HashMap<u64, usize>>>,
    over: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Alone {
    fn visit(&self, cookie: u64) {
        assert!(!self.over.load(Ordering::SeqCst), "a callback after the unregistration returned");
        self.calls.fetch_add(1, Ordering::Relaxed);
        let enter = |by: isize| {
            let mut inside = self.inside.lock().unwrap();
            let count = inside.entry(cookie).or_insert(0);
            *count = count.checked_add_signed(by).unwrap();
            *count
        };
        assert_eq!(enter(1), 1, "two callbacks of one namespace at once");
        thread::yield_now();
        enter(-1);
    }
}

impl Subsystem for Alone {
    const NAME: &'static str = "alone";
    type State = ();

    fn init(&self, net: &Net) -> Result<(), InitError> {
        self.visit(net.cookie().get());
        Ok(())
    }

    fn exit(&self, net: &DyingNet, (): &()) {
        self.visit(net.cookie().get());
    }
}

#[test]
fn c042_callbacks_of_a_namespace_follow_one_another_and_end_with_the_unregistration() {
    let ns = Namespaces::new();
    let inside: Arc<Mutex<HashMap<u64, usize>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let churn: Vec<_> = (0..3)
        .map(|_| {
            let (ns, stop) = (ns.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let nets: Vec<_> = (0..5).map(|_| create(&ns)).collect();
                    drop(nets);
                    ns.step();
                }
            })
        })
        .collect();
    for _ in 0..200 {
        let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let alone = Alone { inside: Arc::clone(&inside), over: Arc::clone(&over), calls: Arc::clone(&calls) };
        let key = ns.register_device(alone).unwrap();
        ns.for_each_net(|net| assert!(net.get(key).is_some(), "every existing and future namespace has it"));
        ns.unregister(key);
        over.store(true, Ordering::SeqCst);
        ns.for_each_net(|net| assert!(net.get(key).is_none()));
        assert_eq!(calls.load(Ordering::Relaxed) % 2, 0, "every init has its exit");
    }
    stop.store(true, Ordering::Relaxed);
    for thread in churn {
        thread.join().unwrap();
    }
    ns.barrier();
    assert_eq!(ns.listed(), 1);
}

#[test]
fn a_callback_may_create_a_namespace() {
    let (ns, log) = system();
    let made = Arc::new(Mutex::new(None));
    let (hook, system) = (Arc::clone(&made), ns.init_net().downgrade());
    ns.register_subsys(probe(1, &log).on_exit(move |_| {
        let ns = system.upgrade().unwrap().namespaces();
        hook.lock().unwrap().get_or_insert_with(|| create(&ns));
    }))
    .unwrap();
    drop(create(&ns));
    ns.barrier();
    assert_eq!(ns.listed(), 2);
    drop(made.lock().unwrap().take());
    ns.barrier();
    // Its own exit has made the next one.
    assert_eq!(ns.listed(), 2);
}
