//! Statements 58–70: teardown.

mod common;

use common::{Call, Log, create, probe, split_freed, system, undo};
use pernet::{Event, EventSink, NetRef, Nsid, Origin, Round};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

fn watched() -> (pernet::Namespaces, Log) {
    let (ns, log) = system();
    ns.subscribe(Arc::new(log.clone()));
    (ns, log)
}

#[test]
fn c058_lookup_by_id_fails_from_the_last_put_on() {
    let (ns, _) = system();
    let (observer, peer) = (create(&ns), create(&ns));
    let id = observer.peernet2id_alloc(&peer).unwrap();
    assert_eq!(observer.net_by_nsid(id.get()).unwrap(), peer);
    drop(peer);
    assert_eq!(observer.net_by_nsid(id.get()), None);
}

#[test]
fn c059_unlisted_then_del_then_exits() {
    let (ns, log) = watched();
    ns.register_subsys(probe(1, &log)).unwrap();
    let (observer, peer) = (create(&ns), create(&ns));
    observer.peernet2id_alloc(&peer).unwrap();
    let cookie = peer.cookie();
    log.take();
    drop(peer);
    assert_eq!(log.take(), []);
    ns.step();
    let mut expected = vec![Call::NetDead(cookie), Call::Del(observer.cookie(), 0)];
    expected.extend(undo(&[1], &[cookie]));
    assert_eq!(split_freed(log.take()).0, expected);
}

#[test]
fn c060_one_del_per_entry_in_order_of_deaths_and_observers() {
    let (ns, log) = watched();
    let observers = [create(&ns), create(&ns), create(&ns)];
    let peers = [create(&ns), create(&ns)];
    for observer in observers.iter().rev() {
        for peer in &peers {
            observer.peernet2id_alloc(peer).unwrap();
        }
    }
    let _unrelated = create(&ns).peernet2id_alloc(&observers[0]);
    log.take();
    let cookies = peers.each_ref().map(|peer| peer.cookie());
    drop(peers);
    ns.step();
    let events: Vec<Call> = log.take().into_iter().filter(|call| matches!(call, Call::Del(..))).collect();
    let expected: Vec<Call> = (0..2).flat_map(|id| observers.iter().map(move |o| Call::Del(o.cookie(), id))).collect();
    assert_eq!(events, expected, "oldest death first, observers in list order: {cookies:?}");
    for observer in &observers {
        assert!(observer.nsids_from(Nsid::ZERO, 9).entries.is_empty());
    }
}

#[test]
fn c061_no_event_between_two_of_a_batch() {
    let (ns, log) = watched();
    let (one, two) = (create(&ns), create(&ns));
    one.peernet2id_alloc(&two).unwrap();
    two.peernet2id_alloc(&one).unwrap();
    one.peernet2id_alloc(&one).unwrap();
    drop((one, two));
    log.take();
    assert_eq!(ns.step().destroyed, 2);
    assert!(!log.take().iter().any(|call| matches!(call, Call::Del(..))));
}

/// The observer has died, but its round is a later one.
#[test]
fn c061_no_event_in_an_observer_that_waits_for_its_own_round() {
    let (ns, log) = watched();
    let (observer, peer) = (create(&ns), create(&ns));
    observer.peernet2id_alloc(&peer).unwrap();
    // Dies while the peer's round is running, in a callback of it.
    let last = Mutex::new(Some(observer));
    ns.register_subsys(probe(1, &log)).unwrap();
    struct Dropper(Mutex<Option<NetRef>>);
    impl EventSink for Dropper {
        fn emit(&self, event: &Event<'_>) {
            if let Event::NetDead { .. } = event {
                drop(self.0.lock().unwrap().take());
            }
        }
    }
    ns.subscribe(Arc::new(Dropper(last)));
    drop(peer);
    log.take();
    assert_eq!(ns.step(), Round { destroyed: 1, more: true });
    assert!(!log.take().iter().any(|call| matches!(call, Call::Del(..))));
    assert_eq!(ns.step(), Round { destroyed: 1, more: false });
    assert!(!log.take().iter().any(|call| matches!(call, Call::Del(..))));
}

#[test]
fn c062_the_death_of_an_observer_is_silent() {
    let (ns, log) = watched();
    let (observer, peer) = (create(&ns), create(&ns));
    observer.peernet2id_alloc(&peer).unwrap();
    drop(observer);
    log.take();
    ns.step();
    assert!(!log.take().iter().any(|call| matches!(call, Call::Del(..))));
    drop(peer);
    ns.step();
    assert!(!log.take().iter().any(|call| matches!(call, Call::Del(..))), "its back-references went too");
}

#[test]
fn c063_a_freed_id_is_free_before_the_exits() {
    let (ns, log) = system();
    let observer = create(&ns);
    let (spare, reused) = (create(&ns), Arc::new(Mutex::new(None)));
    let (hook, watcher) = (Arc::clone(&reused), observer.clone());
    ns.register_subsys(probe(1, &log).on_exit(move |net| {
        if net.cookie() != spare.cookie() && !net.is_init() {
            *hook.lock().unwrap() = watcher.peernet2id_alloc(&spare);
        }
    }))
    .unwrap();
    let peer = create(&ns);
    assert_eq!(observer.peernet2id_alloc(&peer), Some(Nsid::ZERO));
    drop(peer);
    ns.step();
    assert_eq!(*reused.lock().unwrap(), Some(Nsid::ZERO));
}

/// W13: the order in which a sink sees one observer's events replays to the table.
#[test]
fn c063_del_precedes_new_of_a_reused_id() {
    let (ns, log) = watched();
    let (observer, peer, next) = (create(&ns), create(&ns), create(&ns));
    observer.peernet2id_alloc(&peer).unwrap();
    drop(peer);
    log.take();
    assert_eq!(
        observer.assign_nsid(&next, Some(Nsid::ZERO), Origin::KERNEL),
        Err(pernet::AssignError::IdTaken),
        "until the round has come"
    );
    ns.step();
    observer.assign_nsid(&next, Some(Nsid::ZERO), Origin::KERNEL).unwrap();
    let events: Vec<Call> =
        log.take().into_iter().filter(|call| matches!(call, Call::Del(..) | Call::New(..))).collect();
    let cookie = observer.cookie();
    assert_eq!(events, [Call::Del(cookie, 0), Call::New(cookie, next.cookie(), 0, Origin::KERNEL)]);
}

/// A round is stopped in an exit; the barrier does not return before it has finished.
#[test]
fn c066_the_barrier_waits_for_a_running_round() {
    let (ns, log) = system();
    let (inside, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (entered, may) = (Arc::clone(&inside), Arc::clone(&go));
    let done = log.clone();
    ns.register_subsys(probe(1, &log).on_exit(move |_| {
        entered.store(true, Ordering::SeqCst);
        while !may.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        done.push(Call::Note("exit finished"));
    }))
    .unwrap();
    drop(create(&ns));
    let round = std::thread::spawn({
        let ns = ns.clone();
        move || ns.step()
    });
    while !inside.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let barrier = std::thread::spawn({
        let (ns, log) = (ns.clone(), log.clone());
        move || {
            ns.barrier();
            log.push(Call::Note("barrier returned"));
        }
    });
    std::thread::sleep(std::time::Duration::from_millis(20));
    go.store(true, Ordering::SeqCst);
    round.join().unwrap();
    barrier.join().unwrap();
    let notes: Vec<Call> = log.take().into_iter().filter(|call| matches!(call, Call::Note(_))).collect();
    assert_eq!(notes, [Call::Note("exit finished"), Call::Note("barrier returned")]);
}

#[cfg(feature = "std")]
#[test]
fn c066_everything_dead_before_the_barrier_is_gone_after_it() {
    let (ns, _) = system();
    let _worker = ns.spawn_worker();
    for _ in 0..50 {
        drop(create(&ns));
        ns.barrier();
        assert_eq!((ns.listed(), ns.init_user_ns().net_namespaces(pernet::Uid::ROOT)), (1, 0));
    }
}

/// W9: the kernel keeps the memory of a round until somebody else dies.
#[test]
fn c068_memory_goes_with_the_round() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    let nets: Vec<_> = (0..50).map(|_| create(&ns)).collect();
    drop(nets);
    log.take();
    ns.step();
    assert_eq!(split_freed(log.take()).1.len(), 50);
}

#[test]
fn c069_deaths_during_a_round_form_the_next_batch() {
    let (ns, log) = system();
    let bystander = Mutex::new(None);
    let slot = Arc::new(bystander);
    let hook = Arc::clone(&slot);
    ns.register_subsys(probe(1, &log).on_exit(move |_| drop(hook.lock().unwrap().take()))).unwrap();
    let (victim, second) = (create(&ns), create(&ns));
    let cookies = [victim.cookie(), second.cookie()];
    *slot.lock().unwrap() = Some(second);
    log.take();
    drop(victim);
    assert_eq!(ns.step(), Round { destroyed: 1, more: true });
    assert_eq!(split_freed(log.take()).0, undo(&[1], &cookies[..1]));
    assert_eq!(ns.step(), Round { destroyed: 1, more: false });
    assert_eq!(split_freed(log.take()).0, undo(&[1], &cookies[1..]));
    assert_eq!(ns.step(), Round { destroyed: 0, more: false });
}

/// W20: the kernel handles the oldest death of a batch last.
#[test]
fn c069_first_dead_first_out() {
    let (ns, log) = watched();
    let nets: Vec<_> = (0..5).map(|_| create(&ns)).collect();
    let cookies: Vec<_> = nets.iter().map(|net| net.cookie()).collect();
    let mut order = [3, 0, 4, 1, 2].map(|at| Some(nets[at].clone()));
    drop(nets);
    log.take();
    for net in &mut order {
        drop(net.take());
    }
    ns.step();
    let dead: Vec<Call> = log.take().into_iter().filter(|call| matches!(call, Call::NetDead(_))).collect();
    assert_eq!(dead, [3, 0, 4, 1, 2].map(|at| Call::NetDead(cookies[at])));
}

#[test]
fn c070_the_last_reference_may_go_anywhere() {
    struct InSink(Mutex<Vec<NetRef>>);
    impl EventSink for InSink {
        fn emit(&self, _: &Event<'_>) {
            drop(self.0.lock().unwrap().pop());
        }
    }
    let (ns, log) = system();
    let observer = create(&ns);
    let peers: Vec<_> = (0..4).map(|_| create(&ns)).collect();
    for peer in &peers {
        observer.peernet2id_alloc(peer).unwrap();
    }
    let parked = Arc::new(Mutex::new(vec![create(&ns), create(&ns)]));
    let hook = Arc::clone(&parked);
    ns.register_subsys(probe(1, &log).on_exit(move |_| drop(hook.lock().unwrap().pop()))).unwrap();
    ns.subscribe(Arc::new(InSink(Mutex::new(peers))));
    // Inside the observer's table: the sink drops a peer that the table names.
    observer.peernet2id_alloc(&observer).unwrap();
    let mut destroyed = 0;
    loop {
        let round = ns.step();
        destroyed += round.destroyed;
        if !round.more {
            break;
        }
    }
    assert_eq!(destroyed, 6, "each death in a sink or an exit made room for the next");
}

#[cfg(feature = "std")]
#[test]
fn a_worker_tears_down_and_its_drop_leaves_nothing() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    let worker = ns.spawn_worker();
    let net = create(&ns);
    let handle = net.downgrade();
    drop(net);
    while ns.listed() > 1 {
        std::thread::yield_now();
    }
    assert!(!handle.is_alive());
    let nets: Vec<_> = (0..100).map(|_| create(&ns)).collect();
    drop(nets);
    drop(worker);
    assert_eq!(ns.listed(), 1);
    let exits = log.take().iter().filter(|call| matches!(call, Call::Exit(..))).count();
    assert_eq!(exits, 101);
    drop(create(&ns));
    assert_eq!(ns.step().destroyed, 1, "without a worker the caller steps");
}
