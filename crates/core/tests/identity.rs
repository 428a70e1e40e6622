//! Statements 1–17: identity and reference counts.

mod common;

use common::{Call, Log, create, probe, root, system};
use pernet::{Cred, NetHandle, Uid};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

#[test]
fn c001_the_initial_namespace_has_its_number() {
    let (ns, _) = system();
    let init = ns.init_net();
    assert_eq!(init.inum().get(), 4_026_531_833);
    assert!(init.is_init());
    assert!(!create(&ns).is_init());
}

#[test]
fn c002_living_namespaces_have_distinct_dynamic_numbers() {
    let (ns, _) = system();
    let nets: Vec<_> = (0..100).map(|_| create(&ns)).collect();
    let inums: HashSet<u32> = nets.iter().map(|net| net.inum().get()).collect();
    assert_eq!(inums.len(), 100);
    assert!(inums.iter().all(|inum| *inum >= 0xF000_0000));
}

#[test]
fn c004_a_number_returns_with_a_round_not_before() {
    let (ns, _) = system();
    let first = create(&ns);
    let inum = first.inum();
    drop(first);
    let second = create(&ns);
    assert_ne!(second.inum(), inum, "its round has not come yet");
    ns.step();
    assert_eq!(create(&ns).inum(), inum);
}

#[test]
fn c005_cookies_are_never_reused() {
    let (ns, _) = system();
    let mut seen = HashSet::from([ns.init_net().cookie()]);
    assert_ne!(ns.init_net().cookie().get(), 0);
    for _ in 0..100 {
        let net = create(&ns);
        assert_eq!(net.cookie(), net.downgrade().cookie());
        assert!(net.cookie().get() != 0 && seen.insert(net.cookie()));
        drop(net);
        ns.step();
    }
}

#[test]
fn c005_user_namespaces_and_networks_share_one_generator() {
    let (ns, _) = system();
    let user = ns.init_user_ns().child(&root(&ns));
    let net = create(&ns);
    let ids = HashSet::from([ns.init_user_ns().id(), user.id(), net.cookie().get(), ns.init_net().cookie().get()]);
    assert_eq!(ids.len(), 4);
}

#[test]
fn c010_zero_is_final() {
    let (ns, _) = system();
    let net = create(&ns);
    let handle = net.downgrade();
    let second = handle.upgrade().unwrap();
    assert_eq!(second, net);
    drop(net);
    assert!(handle.is_alive());
    drop(second);
    assert!(!handle.is_alive());
    assert_eq!(handle.upgrade(), None, "dead, although still listed");
    assert_eq!(ns.listed(), 2);
    ns.for_each_net(|net| assert!(net.is_init(), "iteration does not meet the dead"));
    ns.step();
    assert_eq!(handle.upgrade(), None);
}

/// Many threads take and drop references; the alarm is raised once, and once only.
#[test]
fn c011_the_last_put_queues_exactly_once() {
    let alarms = Arc::new(AtomicUsize::new(0));
    let hook = Arc::clone(&alarms);
    let ns = pernet::Namespaces::builder()
        .on_work(Arc::new(move || {
            hook.fetch_add(1, Ordering::Relaxed);
        }))
        .build();
    for round in 0..200 {
        let net = create(&ns);
        let start = Arc::new(Barrier::new(3));
        let threads: Vec<_> = [Some(net.clone()), Some(net.clone()), None]
            .into_iter()
            .map(|mut held| {
                let (start, handle) = (Arc::clone(&start), net.downgrade());
                std::thread::spawn(move || {
                    start.wait();
                    for _ in 0..20 {
                        held = handle.upgrade();
                    }
                    drop(held);
                })
            })
            .collect();
        drop(net);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(alarms.load(Ordering::Relaxed), round + 1);
        assert_eq!(ns.step().destroyed, 1);
    }
}

#[test]
fn c011_one_alarm_per_filling_of_the_queue() {
    let alarms = Arc::new(AtomicUsize::new(0));
    let hook = Arc::clone(&alarms);
    let ns = pernet::Namespaces::builder()
        .on_work(Arc::new(move || {
            hook.fetch_add(1, Ordering::Relaxed);
        }))
        .build();
    let nets: Vec<_> = (0..5).map(|_| create(&ns)).collect();
    drop(nets);
    assert_eq!(alarms.load(Ordering::Relaxed), 1);
    assert_eq!(ns.step().destroyed, 5);
    drop(create(&ns));
    assert_eq!(alarms.load(Ordering::Relaxed), 2);
}

#[test]
fn c012_the_last_put_runs_no_callback() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    let net = create(&ns);
    log.take();
    std::thread::spawn(move || drop(net)).join().unwrap();
    assert_eq!(log.take(), []);
    ns.step();
    assert_ne!(log.take(), []);
}

#[test]
fn c016_a_handle_keeps_identity_and_nothing_else() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    let net = create(&ns);
    let (cookie, inum) = (net.cookie(), net.inum());
    let handle: NetHandle = net.handle();
    drop(net);
    ns.step();
    assert!(log.take().contains(&Call::Freed(1, cookie)), "the state is gone though a handle exists");
    assert_eq!((handle.cookie(), handle.inum()), (cookie, inum));
}

#[test]
fn c017_the_owner_is_the_creators_user_namespace() {
    let (ns, _) = system();
    let user = ns.init_user_ns().child(&Cred::user(ns.init_user_ns(), Uid(1000)));
    let net = ns.create(&Cred::root(&user)).unwrap();
    assert_eq!(net.owner(), &user);
    assert_eq!(create(&ns).owner(), ns.init_user_ns());
    assert_eq!((user.owner(), user.level()), (Uid(1000), 1));
}

#[test]
fn references_keep_the_system_and_handles_do_not() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    let net = create(&ns);
    let handle = ns.init_net().downgrade();
    drop(ns);
    assert!(handle.is_alive(), "a namespace keeps its system");
    let again = net.namespaces();
    assert_eq!(again.listed(), 2);
    drop(again);
    log.take();
    let cookies = [handle.cookie(), net.cookie()];
    drop(net);
    assert!(!handle.is_alive());
    let mut freed = log.take();
    freed.sort_by_key(|call| format!("{call:?}"));
    assert_eq!(freed.len(), 2, "switched off: memory returns, no callback runs: {freed:?}");
    assert!(cookies.iter().all(|cookie| freed.contains(&Call::Freed(1, *cookie))));
}

#[test]
fn a_reference_to_the_initial_namespace_keeps_the_system() {
    let init = pernet::Namespaces::new().init_net();
    let ns = init.namespaces();
    assert!(!create(&ns).is_init());
    assert_eq!(ns.init_net(), init);
}

#[cfg(debug_assertions)]
#[test]
fn debug_builds_know_who_holds() {
    let (ns, _) = system();
    let net = create(&ns);
    let second = net.clone();
    let line = line!() - 1;
    let holders = net.holders();
    assert_eq!(holders.iter().map(|(_, count)| count).sum::<usize>(), 2);
    assert!(holders.iter().any(|(at, _)| at.line() == line && at.file() == file!()), "{holders:?}");
    drop(second);
    assert_eq!(net.holders().len(), 1);
}

#[test]
fn systems_are_strangers() {
    let (one, log) = system();
    let (two, _) = system();
    let key = one.register_subsys(probe(1, &log)).unwrap();
    two.register_subsys(probe(2, &Log::default())).unwrap();
    assert!(two.init_net().get(key).is_none(), "a key of one system finds nothing in another");
    two.unregister(key);
    assert!(one.init_net().get(key).is_some());
    assert_ne!(one.init_net(), two.init_net());
    // Cookies are equal across systems, and lead to nobody.
    assert!(one.init_net().peernet2id_alloc(&one.init_net()).is_some());
    assert_eq!(one.init_net().peernet2id(&two.init_net()), None);
    assert_eq!(two.init_net().peernet2id(&one.init_net()), None);
    let foreign = one.init_net().assign_nsid(&two.init_net(), None, pernet::Origin::KERNEL);
    assert_eq!(foreign, Err(pernet::AssignError::Dying));
}
