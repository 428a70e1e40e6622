//! Threads that create, name, look up, dump, drop, register, step and rescue at once, beside teardown
//! workers. For how long, says `PERNET_STRESS_SECONDS`.
#![cfg(feature = "std")]

mod common;

use common::{Log, Probe, probe, root};
use pernet::{Cookie, CreateError, Cred, Event, EventSink, Inum, Key, Namespaces, NetRef, Nsid, Uid, UserNs};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Replays the events of every observer (I9) and checks what must hold at each of them.
#[derive(Default)]
struct Replay(Mutex<State>);

#[derive(Default)]
struct State {
    tables: HashMap<Cookie, HashMap<Nsid, Cookie>>,
    listed: HashMap<Cookie, Inum>,
    inums: HashSet<Inum>,
    dead: HashSet<Cookie>,
    events: usize,
}

impl EventSink for Replay {
    fn emit(&self, event: &Event<'_>) {
        let mut state = self.0.lock().unwrap();
        state.events += 1;
        match *event {
            Event::NsidNew { observer, peer, id, .. } => {
                assert!(state.listed.contains_key(&peer.cookie()), "I5: only the listed are named");
                let table = state.tables.entry(observer.cookie()).or_default();
                assert!(!table.values().any(|named| *named == peer.cookie()), "I8: one id per peer");
                assert_eq!(table.insert(id, peer.cookie()), None, "I9: no NEW before the DEL");
            }
            Event::NsidDel { observer, id } => {
                let table = state.tables.entry(observer.cookie()).or_default();
                let peer = table.remove(&id).expect("I9: a DEL has its NEW");
                assert!(state.dead.contains(&peer), "unlisting precedes DEL");
            }
            Event::NetNew { net } => {
                assert!(state.inums.insert(net.inum()), "I11: unique among the listed");
                state.listed.insert(net.cookie(), net.inum());
            }
            Event::NetDead { net } => {
                let inum = state.listed.remove(&net.cookie()).unwrap();
                state.inums.remove(&inum);
                state.tables.remove(&net.cookie());
                assert!(state.dead.insert(net.cookie()), "nobody dies twice");
            }
            _ => {}
        }
    }
}

/// How long the threads go on: `PERNET_STRESS_SECONDS`, or 60 in CI, or 3.
fn seconds() -> u64 {
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    std::env::var("PERNET_STRESS_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(if ci { 60 } else { 3 })
}

/// A small generator: the threads must not share one, and the order is random anyway.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// What the threads of the test share.
struct Stage {
    ns: Namespaces,
    pool: Mutex<Vec<NetRef>>,
    stop: AtomicBool,
    /// Names namespaces that live as long as the test, under the numbers 0..STABLE.
    observer: NetRef,
    tag: Key<Probe>,
    /// States that exist, of all subsystems.
    states: Arc<AtomicUsize>,
    turns: AtomicUsize,
}

const STABLE: usize = 50;
/// Of the user that creates at a limit.
const LIMIT: usize = 8;
const LIMITED: Uid = Uid(1000);

impl Stage {
    fn goes_on(&self) -> bool {
        self.turns.fetch_add(1, Ordering::Relaxed);
        !self.stop.load(Ordering::Relaxed)
    }

    /// A subsystem that counts its states.
    fn counted(&self, tag: u32) -> Probe {
        counted(tag, &self.states)
    }
}

fn counted(tag: u32, states: &Arc<AtomicUsize>) -> Probe {
    let (up, down) = (Arc::clone(states), Arc::clone(states));
    probe(tag, &Log::silent())
        .on_init(move |_| {
            up.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .on_exit(move |_| {
            down.fetch_sub(1, Ordering::Relaxed);
        })
}

/// Creates, drops, passes on, names and looks up.
fn actor(stage: &Stage, seed: u64) {
    let ns = &stage.ns;
    let mut dice = Dice(seed);
    let mut mine: Vec<NetRef> = vec![ns.init_net()];
    while stage.goes_on() {
        let (one, two) = (dice.roll(mine.len()), dice.roll(mine.len()));
        match dice.roll(12) {
            0..=2 => mine.push(ns.create(&root(ns)).unwrap()),
            3 | 4 if one != 0 => drop(mine.swap_remove(one)),
            5 if one != 0 => stage.pool.lock().unwrap().push(mine[one].clone()),
            6 => mine.extend(stage.pool.lock().unwrap().pop()),
            7 | 8 => {
                // The peer may die between the two; while we hold it, the answer stays.
                let id = mine[one].peernet2id_alloc(&mine[two]).expect("both are held");
                assert_eq!(mine[one].net_by_nsid(id.get()).as_ref(), Some(&mine[two]), "I7");
                assert_eq!(mine[one].peernet2id(&mine[two]), Some(id), "I8");
            }
            9 => {
                let id = stage.observer.peernet2id_alloc(&mine[one]).expect("both are held");
                assert_eq!(stage.observer.net_by_nsid(id.get()).as_ref(), Some(&mine[one]), "I7");
            }
            10 => {
                let page = mine[one].nsids_from(Nsid::ZERO, 20);
                assert!(page.entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
                for (id, peer) in page.entries {
                    if let Some(found) = mine[one].net_by_nsid(id.get()) {
                        // Another peer may have the id by now, never a dead one.
                        assert!(found.cookie() == peer.cookie() || !peer.is_alive());
                    }
                }
            }
            _ => {
                let net = &mine[one];
                assert_eq!(net.get(stage.tag).unwrap().net, net.cookie(), "active-is-alive");
            }
        }
        if mine.len() > 30 {
            mine.truncate(10);
        }
    }
}

/// Creates at a limit: never more than it allows.
fn limited(stage: &Stage, held: &AtomicUsize, user: &UserNs) {
    let cred = Cred { euid: LIMITED, ..Cred::root(user) };
    while stage.goes_on() {
        match stage.ns.create(&cred) {
            Ok(net) => {
                assert!(held.fetch_add(1, Ordering::SeqCst) < LIMIT, "I10: beyond the limit");
                std::thread::yield_now();
                held.fetch_sub(1, Ordering::SeqCst);
                drop(net);
            }
            Err(error) => assert_eq!(error, CreateError::QuotaExceeded { level: 1 }),
        }
    }
}

/// Registers, unregisters, and fails to register.
fn registrar(stage: &Stage, tag: u32) {
    let ns = &stage.ns;
    while stage.goes_on() {
        let key = ns.register_device(stage.counted(tag)).unwrap();
        assert_eq!(ns.init_net().get(key).unwrap().tag, tag);
        let net = ns.create(&root(ns)).unwrap();
        assert_eq!(net.get(key).unwrap().net, net.cookie());
        ns.unregister(key);
        assert!(ns.init_net().get(key).is_none() && net.get(key).is_none());
        drop(net);
        // One that fails at once: a creation that met it would fail too.
        let failing =
            probe(tag + 1, &Log::silent()).on_init(|net| if net.is_init() { Err(common::REFUSED) } else { Ok(()) });
        assert!(ns.register_subsys(failing).is_err());
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}

/// I13: whatever comes and goes, a dump has each that stays exactly once, and ids ascend.
fn dumper(stage: &Stage, stable: &[NetRef]) {
    while stage.goes_on() {
        let (mut from, mut dumped) = (Some(Nsid::ZERO), Vec::new());
        while let Some(next) = from {
            let page = stage.observer.nsids_from(next, 16);
            from = page.entries.last().and_then(|(id, _)| id.next());
            dumped.extend(page.entries);
        }
        assert!(dumped.windows(2).all(|pair| pair[0].0 < pair[1].0), "I13: ids ascend");
        assert!(dumped.len() >= STABLE);
        for (at, net) in stable.iter().enumerate() {
            assert_eq!((dumped[at].0.get() as usize, dumped[at].1.cookie()), (at, net.cookie()), "I13");
        }
        let met = std::cell::RefCell::new(HashSet::new());
        stage.ns.for_each_net(|net| {
            assert!(net.downgrade().is_alive());
            assert!(met.borrow_mut().insert(net.cookie()), "met twice");
        });
        assert!(stable.iter().all(|net| met.borrow().contains(&net.cookie())), "I4: missed");
    }
}

#[test]
fn many_threads_leave_nothing_behind() {
    let ns = Namespaces::builder().track_holders(false).build();
    let replay = Arc::new(Replay::default());
    // The initial namespace was published before anybody could subscribe.
    replay.0.lock().unwrap().listed.insert(ns.init_net().cookie(), ns.init_net().inum());
    ns.subscribe(Arc::clone(&replay) as Arc<dyn EventSink>);
    let states = Arc::new(AtomicUsize::new(0));
    let tag = ns.register_subsys(counted(1, &states)).unwrap();
    let observer = ns.create(&root(&ns)).unwrap();
    let stable: Vec<NetRef> = (0..STABLE).map(|_| ns.create(&root(&ns)).unwrap()).collect();
    for (at, net) in stable.iter().enumerate() {
        assert_eq!(observer.peernet2id_alloc(net).map(Nsid::get), Some(at as i32));
    }
    let user = ns.init_user_ns().child(&Cred::user(ns.init_user_ns(), LIMITED));
    ns.init_user_ns().set_max_net_namespaces(i64::from(i32::MAX)).unwrap();
    user.set_max_net_namespaces(LIMIT as i64).unwrap();
    let pool = Mutex::default();
    let stop = AtomicBool::new(false);
    let turns = AtomicUsize::new(0);
    let stage = Stage { ns, pool, stop, observer, tag, states, turns };
    let (held, worker) = (AtomicUsize::new(0), stage.ns.spawn_workers(2));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(seconds());
    std::thread::scope(|scope| {
        let (stage, stable, held, user) = (&stage, &stable, &held, &user);
        let mut threads: Vec<_> = (1..4).map(|seed| scope.spawn(move || actor(stage, seed * 0x9E37_79B9))).collect();
        threads.extend((0..2).map(|_| scope.spawn(move || limited(stage, held, user))));
        threads.extend([10, 20].map(|tag| scope.spawn(move || registrar(stage, tag))));
        threads.push(scope.spawn(move || dumper(stage, stable)));
        threads.push(scope.spawn(move || {
            while stage.goes_on() {
                stage.ns.step();
                std::thread::yield_now();
            }
        }));
        threads.push(scope.spawn(move || {
            while stage.goes_on() {
                stage.ns.rescue();
                std::thread::yield_now();
            }
        }));
        threads.push(scope.spawn(move || {
            while stage.goes_on() {
                let net = stage.ns.create(&root(&stage.ns)).unwrap();
                let handle = net.downgrade();
                drop(net);
                stage.ns.barrier();
                assert!(!handle.is_alive());
                // Also while everything happens, a report is one.
                assert!(!stage.ns.report().to_string().is_empty());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }));
        // Until the time is over, or one of them has found something.
        while std::time::Instant::now() < until && threads.iter().all(|thread| !thread.is_finished()) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        stage.stop.store(true, Ordering::Relaxed);
    });
    let Stage { ns, pool, observer, states, turns, .. } = stage;
    pool.lock().unwrap().clear();
    drop((stable, observer));
    drop(worker);
    ns.barrier();
    while ns.step().more {}
    assert_eq!(ns.listed(), 1);
    assert_eq!(states.load(Ordering::Relaxed), 1, "one exit per init, the initial namespace's is left");
    assert_eq!((ns.init_user_ns().net_namespaces(Uid::ROOT), user.net_namespaces(LIMITED)), (0, 0));
    assert_eq!(ns.init_user_ns().net_namespaces(LIMITED), 0, "the child's are charged to its maker");
    let report = ns.report();
    assert_eq!((report.waiting, report.shells, report.busy.len()), (0, 0, 0));
    let state = replay.0.lock().unwrap();
    assert!(state.events > 1000 && turns.into_inner() > 1000);
    let init = ns.init_net();
    for (observer, table) in &state.tables {
        assert_eq!(*observer, init.cookie());
        assert!(table.values().all(|peer| *peer == init.cookie()), "only itself is left to name");
    }
    assert_eq!(
        init.nsids_from(Nsid::ZERO, usize::MAX).entries.len(),
        state.tables.get(&init.cookie()).map_or(0, HashMap::len)
    );
    assert!(state.inums.is_empty(), "I11: all numbers are back");
}

/// I15: whoever drops the last reference, and however it races with the teardown, states are taken
/// apart and dropped by the worker alone.
#[test]
fn only_the_worker_drops_states() {
    struct Watch(Arc<AtomicUsize>);
    struct Watched(Arc<AtomicUsize>, bool);
    impl Drop for Watched {
        fn drop(&mut self) {
            if !self.1 {
                assert_eq!(std::thread::current().name(), Some("netns"));
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    impl pernet::Subsystem for Watch {
        const NAME: &'static str = "watch";
        type State = Watched;
        fn init(&self, net: &pernet::Net) -> Result<Watched, pernet::InitError> {
            Ok(Watched(Arc::clone(&self.0), net.is_init()))
        }
    }
    const NETS: usize = 3000;
    let ns = Namespaces::new();
    let freed = Arc::new(AtomicUsize::new(0));
    ns.register_subsys(Watch(Arc::clone(&freed))).unwrap();
    let worker = ns.spawn_worker();
    let (send, receive) = std::sync::mpsc::sync_channel::<NetRef>(4);
    let upgrader = std::thread::spawn(move || {
        for net in receive {
            let handle = net.downgrade();
            drop(net);
            // Between the death and the end, an upgrade may hold the allocation for a moment.
            for _ in 0..50 {
                drop(handle.upgrade());
            }
        }
    });
    for _ in 0..NETS {
        let net = ns.create(&root(&ns)).unwrap();
        send.send(net.clone()).unwrap();
        drop(net);
    }
    drop(send);
    upgrader.join().unwrap();
    drop(worker);
    assert_eq!(freed.load(Ordering::Relaxed), NETS);
}
