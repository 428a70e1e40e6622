//! Threads that create, name, look up, drop and register at once, beside a teardown worker.
#![cfg(feature = "std")]

mod common;

use common::{Log, probe, root};
use pernet::{Cookie, Event, EventSink, Inum, Namespaces, NetRef, Nsid, Uid};
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

fn actor(ns: &Namespaces, pool: &Mutex<Vec<NetRef>>, seed: u64) {
    let mut dice = Dice(seed);
    let mut mine: Vec<NetRef> = vec![ns.init_net()];
    for _ in 0..8000 {
        let (one, two) = (dice.roll(mine.len()), dice.roll(mine.len()));
        match dice.roll(12) {
            0..=2 => mine.push(ns.create(&root(ns)).unwrap()),
            3 | 4 if one != 0 => drop(mine.swap_remove(one)),
            5 if one != 0 => pool.lock().unwrap().push(mine[one].clone()),
            6 => mine.extend(pool.lock().unwrap().pop()),
            7..=9 => {
                // The peer may die between the two; while we hold it, the answer stays.
                let id = mine[one].peernet2id_alloc(&mine[two]).expect("both are held");
                assert_eq!(mine[one].net_by_nsid(id.get()).as_ref(), Some(&mine[two]));
                assert_eq!(mine[one].peernet2id(&mine[two]), Some(id));
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
            _ => ns.for_each_net(|net| assert!(net.downgrade().is_alive())),
        }
        if mine.len() > 30 {
            mine.truncate(10);
        }
    }
}

#[test]
fn many_threads_leave_nothing_behind() {
    let ns = Namespaces::new();
    let replay = Arc::new(Replay::default());
    // The initial namespace was published before anybody could subscribe.
    replay.0.lock().unwrap().listed.insert(ns.init_net().cookie(), ns.init_net().inum());
    ns.subscribe(Arc::clone(&replay) as Arc<dyn EventSink>);
    let states = Arc::new(AtomicUsize::new(0));
    let (up, down) = (Arc::clone(&states), Arc::clone(&states));
    ns.register_subsys(
        probe(1, &Log::default())
            .on_init(move |_| {
                up.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .on_exit(move |_| {
                down.fetch_sub(1, Ordering::Relaxed);
            }),
    )
    .unwrap();
    let worker = ns.spawn_worker();
    let pool = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let registrar = std::thread::spawn({
        let (ns, stop) = (ns.clone(), Arc::clone(&stop));
        move || {
            while !stop.load(Ordering::Relaxed) {
                let log = Log::default();
                let key = ns.register_device(probe(9, &log)).unwrap();
                assert_eq!(ns.init_net().get(key).unwrap().tag, 9);
                ns.unregister(key);
                assert!(ns.init_net().get(key).is_none());
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        }
    });
    let actors: Vec<_> = (1..5)
        .map(|seed| {
            let (ns, pool) = (ns.clone(), Arc::clone(&pool));
            std::thread::spawn(move || actor(&ns, &pool, seed * 0x9E37_79B9))
        })
        .collect();
    let results: Vec<_> = actors.into_iter().map(std::thread::JoinHandle::join).collect();
    stop.store(true, Ordering::Relaxed);
    registrar.join().unwrap();
    for result in results {
        result.unwrap();
    }
    pool.lock().unwrap().clear();
    drop(worker);
    assert_eq!(ns.listed(), 1);
    assert_eq!(states.load(Ordering::Relaxed), 1, "one exit per init, the initial namespace's is left");
    assert_eq!(ns.init_user_ns().net_namespaces(Uid::ROOT), 0);
    let state = replay.0.lock().unwrap();
    assert!(state.events > 1000);
    let init = ns.init_net();
    for (observer, table) in &state.tables {
        assert_eq!(*observer, init.cookie());
        assert!(table.values().all(|peer| *peer == init.cookie()), "only itself is left to name");
    }
    assert_eq!(
        init.nsids_from(Nsid::ZERO, usize::MAX).entries.len(),
        state.tables.get(&init.cookie()).map_or(0, HashMap::len)
    );
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
