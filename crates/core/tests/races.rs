//! Races and leaks that Linux has or had, each shown not to be here. docs/conformance.md has the list.
//!
//! Nothing is timed: where threads meet, a barrier or a channel brings them together, or many rounds do. What a thread
//! finds wrong is counted and judged at the end: a panic would leave the others at the barrier.

mod common;

use common::{Call, Log, REFUSED, create, probe, root, system, tags};
use pernet::{Cookie, Event, EventSink, Key, Namespaces, NetHandle, NetRef, Nsid, Origin, Platform, Uid};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex, OnceLock};

/// The tables as the events tell of them, and how often what was told could not be.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Tables>>);

#[derive(Default)]
struct Tables {
    alive: HashSet<Cookie>,
    dead: HashSet<Cookie>,
    names: HashMap<(Cookie, i32), Cookie>,
    news: usize,
    dels: usize,
    /// A sink may not panic under the table's lock, so mistakes are collected.
    wrong: Vec<String>,
}

impl EventSink for Told {
    fn emit(&self, event: &Event<'_>) {
        let mut all = self.0.lock().unwrap();
        let all = &mut *all;
        match *event {
            Event::NsidNew { observer, peer, id, .. } => {
                all.news += 1;
                for (what, net) in [("observer", observer.cookie()), ("peer", peer.cookie())] {
                    if !all.alive.contains(&net) {
                        all.wrong.push(format!("NEW {id:?} with an {what} that is not listed"));
                    }
                }
                if all.names.insert((observer.cookie(), id.get()), peer.cookie()).is_some() {
                    all.wrong.push(format!("NEW {id:?} before the DEL of its last owner"));
                }
            }
            Event::NsidDel { observer, id } => {
                all.dels += 1;
                match all.names.remove(&(observer.cookie(), id.get())) {
                    Some(peer) if all.dead.contains(&peer) => {}
                    other => all.wrong.push(format!("DEL {id:?} of {other:?}")),
                }
            }
            Event::NetNew { net } => {
                all.alive.insert(net.cookie());
            }
            Event::NetDead { net } => {
                let first = all.alive.remove(&net.cookie()) && all.dead.insert(net.cookie());
                all.wrong.extend((!first).then(|| format!("{net:?} died twice, or was never listed")));
            }
            _ => {}
        }
    }
}

fn told(ns: &Namespaces) -> Told {
    let told = Told::default();
    told.0.lock().unwrap().alive.insert(ns.init_net().cookie());
    ns.subscribe(Arc::new(told.clone()));
    told
}

impl Told {
    fn check(&self) -> (usize, usize) {
        let all = self.0.lock().unwrap();
        assert_eq!(all.wrong, Vec::<String>::new());
        (all.news, all.dels)
    }
}

fn settle(ns: &Namespaces) -> usize {
    let mut destroyed = 0;
    loop {
        let round = ns.step();
        destroyed += round.destroyed;
        if !round.more {
            return destroyed;
        }
    }
}

/// CVE-2017-15129, fixed in Linux 4.15: a look-up by id took a reference of a namespace whose count was zero.
#[test]
fn no_lookup_by_id_resurrects() {
    const ROUNDS: usize = 2000;
    let (ns, log) = system();
    let key = ns.register_subsys(probe(1, &log)).unwrap();
    let observer = create(&ns);
    let wrong = AtomicUsize::new(0);
    let meet = Barrier::new(3);
    // How many peers have been dropped.
    let dropped = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    meet.wait();
                    loop {
                        let over = dropped.load(Ordering::SeqCst) > round;
                        let found = observer.net_by_nsid(0);
                        // Alive is alive, all of it; and once everybody has let go, nobody finds it.
                        let whole = |net: &NetRef| net.get(key).is_some_and(|state| state.net == net.cookie());
                        if !found.as_ref().is_none_or(whole) {
                            wrong.fetch_add(1, Ordering::Relaxed);
                        }
                        if over {
                            break;
                        }
                    }
                    meet.wait();
                    if observer.net_by_nsid(0).is_some() {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                    meet.wait();
                }
            });
        }
        for _ in 0..ROUNDS {
            let peer = create(&ns);
            let id = observer.peernet2id_alloc(&peer);
            meet.wait();
            drop(peer);
            dropped.fetch_add(1, Ordering::SeqCst);
            meet.wait();
            meet.wait();
            // One death, one burial, and the number is free for the next.
            let right = id == Some(Nsid::ZERO) && ns.step().destroyed == 1;
            wrong.fetch_add(usize::from(!right), Ordering::Relaxed);
        }
    });
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
    let exits = log.take().iter().filter(|call| matches!(call, Call::Exit(..))).count();
    assert_eq!(exits, ROUNDS);
}

/// Fixed in Linux 4.17: a peer that was dying already was given an id. And W15, which Linux keeps: an entry added to
/// the table of an observer that has just been destroyed.
#[test]
fn no_entry_with_a_dying_observer_or_peer() {
    const ROUNDS: usize = 1000;
    let ns = Namespaces::new();
    let told = told(&ns);
    let lasting = create(&ns);
    let meet = Barrier::new(3);
    let stage: Mutex<Option<[NetHandle; 2]>> = Mutex::new(None);
    let mut left = 0;
    std::thread::scope(|scope| {
        for turn in 0..2 {
            let (meet, stage, lasting) = (&meet, &stage, &lasting);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    meet.wait();
                    let [observer, peer] = stage.lock().unwrap().clone().unwrap();
                    if let (Some(observer), Some(peer)) = (observer.upgrade(), peer.upgrade()) {
                        if turn == 0 {
                            let _ = observer.peernet2id_alloc(&peer);
                            let _ = lasting.peernet2id_alloc(&peer);
                        } else {
                            let _ = observer.assign_nsid(&peer, Nsid::new(7), Origin::KERNEL);
                            let _ = observer.peernet2id_alloc(lasting);
                        }
                    }
                    meet.wait();
                }
            });
        }
        for _ in 0..ROUNDS {
            let (observer, peer) = (create(&ns), create(&ns));
            *stage.lock().unwrap() = Some([observer.downgrade(), peer.downgrade()]);
            meet.wait();
            drop(observer);
            ns.step();
            drop(peer);
            ns.step();
            meet.wait();
            settle(&ns);
            left += lasting.nsids_from(Nsid::ZERO, 9).entries.len() + ns.listed() - 2;
        }
    });
    assert_eq!(left, 0, "nobody is left to be named");
    told.check();
    let all = told.0.lock().unwrap();
    let left: Vec<_> = all.names.keys().filter(|(observer, _)| *observer == lasting.cookie()).collect();
    assert_eq!(left, Vec::<&(Cookie, i32)>::new(), "a DEL for each NEW");
}

/// W13: Linux sends its events after it has unlocked, so the NEW of a number can overtake the DEL of its last owner.
#[test]
fn no_new_before_the_del_of_a_reused_id() {
    const NAMES: usize = 1500;
    let ns = Namespaces::new();
    let told = told(&ns);
    let observer = create(&ns);
    let (left, stop, unnamed) = (AtomicUsize::new(2), AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..NAMES {
                    let peer = create(&ns);
                    unnamed.fetch_add(usize::from(observer.peernet2id_alloc(&peer).is_none()), Ordering::Relaxed);
                }
                if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    stop.store(true, Ordering::SeqCst);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                ns.step();
                std::thread::yield_now();
            }
        });
    });
    settle(&ns);
    assert_eq!((told.check(), unnamed.into_inner()), ((2 * NAMES, 2 * NAMES), 0));
}

/// W15: in Linux an init that makes a device linked to elsewhere can get its namespace named before it is published,
/// and a creation that then fails leaves the entry behind.
#[test]
fn no_namespace_is_named_before_it_is_published() {
    let ns = Namespaces::new();
    let told = told(&ns);
    let observer = create(&ns);
    let (hand, handed) = channel::<NetRef>();
    let (answer, answered) = channel::<Option<Nsid>>();
    // Another thread is given the namespace in the middle of its init, and the init goes on when it has tried.
    let outsider = std::thread::spawn({
        let observer = observer.clone();
        move || {
            for net in handed {
                let id = observer.peernet2id_alloc(&net).or_else(|| net.peernet2id_alloc(&observer));
                drop(net);
                answer.send(id).unwrap();
            }
        }
    });
    let fails = Arc::new(AtomicBool::new(true));
    let (flag, line) = (Arc::clone(&fails), Mutex::new((Some(hand), answered)));
    let tried = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tried);
    let log = Log::default();
    let key = ns
        .register_subsys(probe(1, &log).on_init(move |net| {
            let line = line.lock().unwrap();
            if net.is_init() || net.inum() == observer.inum() {
                return Ok(());
            }
            line.0.as_ref().unwrap().send(net.to_ref()).unwrap();
            assert_eq!(line.1.recv().unwrap(), None);
            count.fetch_add(1, Ordering::Relaxed);
            if flag.load(Ordering::Relaxed) { Err(REFUSED) } else { Ok(()) }
        }))
        .unwrap();
    for _ in 0..3 {
        assert!(ns.create(&root(&ns)).is_err());
    }
    assert_eq!(told.check().0, 0, "no event of what never was");
    fails.store(false, Ordering::Relaxed);
    let net = create(&ns);
    assert_eq!(tried.load(Ordering::Relaxed), 4);
    assert_eq!(ns.init_net().peernet2id_alloc(&net), Some(Nsid::ZERO), "published, so nameable");
    told.check();
    // The subsystem owns the line; with it goes the outsider.
    drop(net);
    settle(&ns);
    ns.unregister(key);
    outsider.join().unwrap();
}

/// Linux before 6.18: a failed init left a pointer to freed memory in the slot, and the undo of another read it.
#[test]
fn no_stale_slot_after_a_failed_init() {
    let (ns, log) = system();
    let failing: Arc<OnceLock<Key<common::Probe>>> = Arc::default();
    let (hook, seen) = (Arc::clone(&failing), Arc::new(Mutex::new(Vec::new())));
    let notes = Arc::clone(&seen);
    ns.register_subsys(
        probe(1, &log).on_exit(move |net| notes.lock().unwrap().push(net.get(*hook.get().unwrap()).is_none())),
    )
    .unwrap();
    failing.set(ns.register_subsys(probe(2, &log).failing_after(1)).unwrap()).unwrap();
    for _ in 0..3 {
        assert!(ns.create(&root(&ns)).is_err());
    }
    assert_eq!(*seen.lock().unwrap(), [true; 3], "the undo of the one before finds nothing");

    // The same for a registration: its number goes to the next, which must not find what failed.
    let net = create_without(&ns, *failing.get().unwrap());
    assert!(ns.register_subsys(probe(3, &log).failing_after(1)).is_err());
    let next = ns.register_subsys(probe(4, &log)).unwrap();
    assert_eq!(tags(&net, &[next]), [Some(4)]);
    assert_eq!(tags(&ns.init_net(), &[next]), [Some(4)]);
}

fn create_without(ns: &Namespaces, failing: Key<common::Probe>) -> NetRef {
    ns.unregister(failing);
    create(ns)
}

/// CVE-2024-36883, fixed in Linux 6.9: a creation beside a registration stored beyond the end of its slots.
#[test]
fn no_slot_is_missed_where_registration_meets_creation() {
    const SUBSYSTEMS: u32 = 70;
    for _ in 0..8 {
        let ns = Namespaces::new();
        let log = Log::default();
        let (start, stop) = (Barrier::new(3), AtomicBool::new(false));
        let (start, stop, all) = (&start, &stop, &ns);
        let (keys, nets) = std::thread::scope(|scope| {
            let creators: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(move || {
                        let mut mine = Vec::new();
                        start.wait();
                        while !stop.load(Ordering::Relaxed) {
                            mine.push(create(all));
                            if mine.len() > 40 {
                                mine.truncate(20);
                                all.step();
                            }
                            std::thread::yield_now();
                        }
                        mine
                    })
                })
                .collect();
            start.wait();
            let keys: Vec<Key<_>> = (0..SUBSYSTEMS)
                .map(|tag| {
                    let probe = probe(tag, &log);
                    if tag % 2 == 0 { all.register_subsys(probe) } else { all.register_device(probe) }.unwrap()
                })
                .collect();
            stop.store(true, Ordering::Relaxed);
            (keys, creators.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>())
        });
        let expected: Vec<_> = (0..SUBSYSTEMS).map(Some).collect();
        for net in nets.iter().chain([&ns.init_net(), &create(&ns)]) {
            assert_eq!(tags(net, &keys), expected);
            assert!(keys.iter().all(|key| net.get(*key).unwrap().net == net.cookie()));
        }
    }
}

type Late = Box<dyn FnOnce() + Send>;

/// Runs what exits have put off.
#[derive(Clone, Default)]
struct Later(Arc<Mutex<Vec<Late>>>);

impl Platform for Later {
    fn drain_deferred(&self) {
        for late in std::mem::take(&mut *self.0.lock().unwrap()) {
            late();
        }
    }
}

/// CVE-2024-56658, fixed in Linux 6.13: a callback that came later than the drain used a freed namespace.
#[test]
fn no_late_callback_meets_freed_memory() {
    let later = Later::default();
    let ns = Namespaces::builder().platform(Arc::new(later.clone())).build();
    let (log, ran) = (Log::default(), Arc::new(AtomicUsize::new(0)));
    let very_late: Arc<Mutex<Vec<NetHandle>>> = Arc::default();
    let (hook, count, kept) = (later, Arc::clone(&ran), Arc::clone(&very_late));
    ns.register_subsys(probe(1, &log).on_exit(move |net| {
        let (handle, count) = (net.handle(), Arc::clone(&count));
        kept.lock().unwrap().push(net.handle());
        hook.0.lock().unwrap().push(Box::new(move || {
            assert_eq!(handle.upgrade(), None);
            count.fetch_add(1, Ordering::Relaxed);
        }));
    }))
    .unwrap();
    let nets: Vec<_> = (0..10).map(|_| create(&ns)).collect();
    let known: Vec<_> = nets.iter().map(|net| (net.cookie(), net.inum())).collect();
    drop(nets);
    assert_eq!((settle(&ns), ran.load(Ordering::Relaxed)), (10, 10), "drained within the round");
    let successors: Vec<_> = (0..10).map(|_| create(&ns)).collect();
    for (handle, known) in very_late.lock().unwrap().iter().zip(known) {
        assert_eq!((handle.cookie(), handle.inum()), known);
        assert_eq!(handle.upgrade(), None, "not even into who has its inode number now");
    }
    assert_eq!(successors.len(), 10);
}

/// W15, W22: an object, a charge or a number that a failed creation forgets, wherever it fails.
#[test]
fn nothing_is_leaked_wherever_a_creation_fails() {
    const LENGTH: usize = 6;
    let (ns, log) = system();
    let user = ns.init_user_ns().child(&root(&ns));
    let cred = pernet::Cred::root(&user);
    let victim = Arc::new(AtomicUsize::new(LENGTH));
    for at in 0..LENGTH {
        let victim = Arc::clone(&victim);
        let probe = probe(at as u32, &log)
            .on_init(move |_| if victim.load(Ordering::Relaxed) == at { Err(REFUSED) } else { Ok(()) });
        ns.register_subsys(probe).unwrap();
    }
    let reference = {
        let net = ns.create(&cred).unwrap();
        let inum = net.inum();
        drop(net);
        settle(&ns);
        inum
    };
    for at in 0..LENGTH {
        victim.store(at, Ordering::Relaxed);
        log.take();
        assert!(ns.create(&cred).is_err());
        let freed = log.take().iter().filter(|call| matches!(call, Call::Freed(..))).count();
        assert_eq!((freed, ns.listed(), user.net_namespaces(Uid::ROOT)), (at, 1, 0));
        assert_eq!(settle(&ns), 0);
    }
    user.set_max_net_namespaces(0).unwrap();
    assert!(ns.create(&cred).is_err());
    user.set_max_net_namespaces(1).unwrap();
    victim.store(LENGTH, Ordering::Relaxed);
    assert_eq!(ns.create(&cred).unwrap().inum(), reference, "the lowest number is free each time");
}
