//! Statements 44–57: creation.

mod common;

use common::{Call, Log, REFUSED, create, probe, root, system};
use pernet::{Cap, Caps, CreateError, Cred, Errno, LimitError, NetHandle, Origin, Uid};
use std::sync::{Arc, Mutex};

#[test]
fn c044_without_the_flag_the_same_namespace() {
    let (ns, _) = system();
    let net = create(&ns);
    let nobody = Cred::user(ns.init_user_ns(), Uid(9));
    let same = ns.copy_net_ns(&net, false, &nobody).unwrap();
    assert_eq!(same, net);
    drop(net);
    assert!(same.downgrade().is_alive(), "it is one more reference");
    assert_ne!(ns.copy_net_ns(&same, true, &root(&ns)).unwrap(), same);
}

#[test]
fn c045_capability_before_quota() {
    let (ns, _) = system();
    ns.init_user_ns().set_max_net_namespaces(0).unwrap();
    let all_but = Cred { caps: Caps::FULL.without(Cap::SysAdmin), ..root(&ns) };
    let error = ns.create(&all_but).unwrap_err();
    assert_eq!((error, error.errno()), (CreateError::NotPermitted, Errno::EPERM));
    let just = Cred { caps: Caps::EMPTY.with(Cap::SysAdmin), ..root(&ns) };
    assert_eq!(ns.create(&just).unwrap_err().errno(), Errno::ENOSPC);
}

#[test]
fn c046_at_the_limit_enospc() {
    let ns = pernet::Namespaces::builder().max_net_namespaces(3).build();
    let nets: Vec<_> = (0..3).map(|_| create(&ns)).collect();
    let error = ns.create(&root(&ns)).unwrap_err();
    assert_eq!((error, error.errno()), (CreateError::QuotaExceeded { level: 0 }, Errno::ENOSPC));
    assert_eq!(ns.init_user_ns().net_namespaces(Uid::ROOT), 3);
    drop(nets);
}

#[test]
fn c046_each_user_has_a_count_of_its_own() {
    let ns = pernet::Namespaces::builder().max_net_namespaces(1).build();
    let _one = create(&ns);
    let other = Cred { euid: Uid(5), ..root(&ns) };
    let _two = ns.create(&other).unwrap();
    assert!(ns.create(&other).is_err() && ns.create(&root(&ns)).is_err());
}

#[test]
fn c047_every_ancestor_binds_with_its_own_limit() {
    let (ns, _) = system();
    let top = ns.init_user_ns();
    top.set_max_net_namespaces(2).unwrap();
    let middle = top.child(&Cred { euid: Uid(7), ..root(&ns) });
    let low = middle.child(&Cred { euid: Uid(8), ..Cred::root(&middle) });
    let cred = Cred::root(&low);
    let nets = [ns.create(&cred).unwrap(), ns.create(&cred).unwrap()];
    assert_eq!(ns.create(&cred).unwrap_err(), CreateError::QuotaExceeded { level: 0 });
    assert_eq!(low.net_namespaces(Uid::ROOT), 2);
    assert_eq!(middle.net_namespaces(Uid(8)), 2, "charged to who created the user namespace below");
    assert_eq!(top.net_namespaces(Uid(7)), 2);
    assert_eq!(top.net_namespaces(Uid::ROOT), 0);
    middle.set_max_net_namespaces(2).unwrap();
    assert_eq!(ns.create(&cred).unwrap_err(), CreateError::QuotaExceeded { level: 1 });
    drop(nets);
    ns.step();
    assert_eq!((low.net_namespaces(Uid::ROOT), top.net_namespaces(Uid(7))), (0, 0));
}

#[test]
fn c048_new_user_namespaces_start_unlimited() {
    let (ns, _) = system();
    ns.init_user_ns().set_max_net_namespaces(5).unwrap();
    assert_eq!(ns.init_user_ns().child(&root(&ns)).max_net_namespaces(), 2_147_483_647);
}

#[test]
fn c049_accepted_limits() {
    let (ns, _) = system();
    let user = ns.init_user_ns();
    for limit in [0, 1, 2_147_483_647] {
        user.set_max_net_namespaces(limit).unwrap();
        assert_eq!(i64::from(user.max_net_namespaces()), limit);
    }
    for limit in [-1, 2_147_483_648, i64::MIN, i64::MAX] {
        let error = user.set_max_net_namespaces(limit).unwrap_err();
        assert_eq!((error, error.errno()), (LimitError::OutOfRange, Errno::EINVAL));
        assert_eq!(user.max_net_namespaces(), 2_147_483_647);
    }
}

#[test]
fn c050_limit_zero_forbids_all() {
    let ns = pernet::Namespaces::builder().max_net_namespaces(0).build();
    assert_eq!(ns.create(&root(&ns)).unwrap_err().errno(), Errno::ENOSPC);
}

/// Linux returns it at the very end of the teardown (and 51 says so); a loop of create and drop at
/// the limit then fails although nothing is in use (W8).
#[test]
fn c051_the_quota_returns_when_nothing_can_reach_the_namespace() {
    let (ns, log) = system();
    ns.init_user_ns().set_max_net_namespaces(1).unwrap();
    let user = ns.init_user_ns().clone();
    ns.register_subsys(probe(1, &log).on_exit(move |_| {
        assert_eq!(user.net_namespaces(Uid::ROOT), 0, "returned before its exits run");
    }))
    .unwrap();
    for _ in 0..10 {
        let net = create(&ns);
        assert!(ns.create(&root(&ns)).is_err(), "in use");
        drop(net);
        ns.barrier();
    }
}

#[test]
fn c051_what_is_dead_refuses_nobody_and_is_not_forgotten() {
    let (ns, log) = system();
    ns.init_user_ns().set_max_net_namespaces(1).unwrap();
    ns.register_subsys(probe(1, &log)).unwrap();
    log.take();
    for _ in 0..10 {
        drop(create(&ns));
    }
    let exits = |calls: Vec<Call>| calls.iter().filter(|call| matches!(call, Call::Exit(..))).count();
    assert_eq!(exits(log.take()), 0, "a creation runs no exit of another namespace");
    ns.barrier();
    assert_eq!(exits(log.take()), 10);
}

#[test]
fn c051_whoever_creates_and_drops_does_not_outrun_the_teardown() {
    let (ns, _) = system();
    ns.init_user_ns().set_max_net_namespaces(1).unwrap();
    let made = (0..100_000).take_while(|_| ns.create(&root(&ns)).is_ok()).count();
    assert!((1000..50_000).contains(&made), "{made} dead wait at most");
    ns.barrier();
    drop(create(&ns));
}

#[test]
fn c052_unlisted_until_every_init_succeeded() {
    let (ns, log) = system();
    let seen: Arc<Mutex<Vec<NetHandle>>> = Arc::default();
    let hook = Arc::clone(&seen);
    let system = ns.init_net().downgrade();
    ns.register_subsys(probe(1, &log).on_init(move |net| {
        let ns = system.upgrade().unwrap().namespaces();
        if !net.is_init() {
            ns.for_each_net(|listed| assert_ne!(&**listed, net));
            hook.lock().unwrap().push(net.handle());
        }
        Ok(())
    }))
    .unwrap();
    let net = create(&ns);
    assert_eq!(*seen.lock().unwrap(), [net.downgrade()]);
    let mut listed = Vec::new();
    ns.for_each_net(|net| listed.push(net.clone()));
    assert_eq!(listed, [ns.init_net(), net]);
}

/// W15: the kernel lets an observer name a namespace that is then undone.
#[test]
fn c052_an_unpublished_namespace_can_neither_name_nor_be_named() {
    let (ns, log) = system();
    let observer = create(&ns);
    let other = observer.clone();
    ns.register_subsys(probe(1, &log).on_init(move |net| {
        if net == &*other || net.is_init() {
            return Ok(());
        }
        assert_eq!(other.peernet2id_alloc(net), None);
        assert_eq!(other.assign_nsid(net, None, Origin::KERNEL), Err(pernet::AssignError::Dying));
        assert_eq!(net.peernet2id_alloc(&other), None);
        Err(REFUSED)
    }))
    .unwrap();
    assert!(ns.create(&root(&ns)).is_err());
    assert!(observer.nsids_from(pernet::Nsid::ZERO, 9).entries.is_empty());
}

#[test]
fn c053_list_order_is_creation_order() {
    let (ns, _) = system();
    let mut nets = vec![ns.init_net()];
    nets.extend((0..5).map(|_| create(&ns)));
    drop(nets.remove(3));
    ns.step();
    nets.push(create(&ns));
    let mut listed = Vec::new();
    ns.for_each_net(|net| listed.push(net.clone()));
    assert_eq!(listed, nets);
}

#[test]
fn c054_the_first_failing_init_decides_the_error() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log).failing_after(1)).unwrap();
    ns.register_subsys(probe(2, &log).on_init(
        |net| {
            if net.is_init() { Ok(()) } else { Err(pernet::InitError::NoMemory) }
        },
    ))
    .unwrap();
    assert_eq!(ns.create(&root(&ns)).unwrap_err().errno(), Errno::EBUSY);
}

#[test]
fn c055_a_failed_creation_leaves_nothing() {
    let (ns, log) = system();
    let sink = Log::default();
    ns.subscribe(Arc::new(sink.clone()));
    let user = ns.init_user_ns().child(&root(&ns));
    let failing = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (hook, kept) = (Arc::clone(&failing), Arc::new(Mutex::new(Vec::new())));
    let handles = Arc::clone(&kept);
    ns.register_subsys(probe(1, &log)).unwrap();
    ns.register_subsys(probe(2, &log).on_init(move |net| {
        if hook.load(std::sync::atomic::Ordering::Relaxed) && !net.is_init() {
            handles.lock().unwrap().push(net.handle());
            return Err(REFUSED);
        }
        Ok(())
    }))
    .unwrap();
    log.take();
    for _ in 0..3 {
        assert!(ns.create(&Cred::root(&user)).is_err());
    }
    assert_eq!(sink.take(), [], "no event");
    assert_eq!(ns.listed(), 1);
    assert_eq!(user.net_namespaces(Uid::ROOT), 0);
    let handles = std::mem::take(&mut *kept.lock().unwrap());
    assert!(handles.iter().all(|handle| !handle.is_alive()));
    assert_eq!(log.take().iter().filter(|call| matches!(call, Call::Freed(..))).count(), 3);
    failing.store(false, std::sync::atomic::Ordering::Relaxed);
    let net = ns.create(&Cred::root(&user)).unwrap();
    assert_eq!(net.inum(), handles[0].inum(), "the number was given back each time");
    drop(net);
    assert_eq!(ns.step().destroyed, 1, "none of the failed ones is in the queue");
}

/// W22, and more: an init that keeps a reference of a namespace whose creation then fails.
#[test]
fn c055_a_stray_reference_holds_memory_and_no_resource() {
    let (ns, log) = system();
    let kept: Arc<Mutex<Vec<pernet::NetRef>>> = Arc::default();
    let hook = Arc::clone(&kept);
    ns.register_subsys(probe(1, &log).on_init(move |net| {
        if net.is_init() {
            return Ok(());
        }
        hook.lock().unwrap().push(net.to_ref());
        Err(REFUSED)
    }))
    .unwrap();
    assert!(ns.create(&root(&ns)).is_err());
    assert_eq!(ns.init_user_ns().net_namespaces(Uid::ROOT), 0);
    let stray = kept.lock().unwrap().pop().unwrap();
    assert_eq!(ns.init_net().peernet2id_alloc(&stray), None);
    drop(stray);
    assert_eq!(ns.step().destroyed, 0);
}

#[test]
fn c057_creation_changes_nothing_for_others() {
    let (ns, _) = system();
    let mine = create(&ns);
    let before = mine.cookie();
    std::thread::spawn({
        let (ns, mine) = (ns.clone(), mine.clone());
        move || ns.copy_net_ns(&mine, true, &root(&ns)).unwrap().cookie()
    })
    .join()
    .unwrap();
    assert_eq!(mine.cookie(), before);
}
