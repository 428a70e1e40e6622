//! Statements of sections A–E that no other file proves, by their numbers; docs/conformance.md lists all of them.

mod common;

use common::{Call, Log, create, probe, root, system, tags};
use pernet::{
    Cookie, DyingNet, Grace, InitError, Key, KillList, Namespaces, Net, Nsid, Platform, RegisterError, Subsystem, Uid,
};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// A subsystem without data.
struct Nothing;

impl Subsystem for Nothing {
    const NAME: &'static str = "nothing";
    type State = ();

    fn init(&self, _: &Net) -> Result<(), InitError> {
        Ok(())
    }
}

/// An id without a size cannot be written down: the key and the state's type come from one registration. Where the
/// state is of no size, it has its place all the same.
#[test]
fn c025_an_id_always_has_its_state() {
    let (ns, log) = system();
    let before = create(&ns);
    let nothing = ns.register_subsys(Nothing).unwrap();
    let next = ns.register_subsys(probe(1, &log)).unwrap();
    let after = create(&ns);
    for net in [&before, &after, &ns.init_net()] {
        assert_eq!((net.get(nothing), tags(net, &[next])), (Some(&()), vec![Some(1)]));
    }
    ns.unregister(nothing);
    assert_eq!((before.get(nothing), after.get(nothing)), (None, None));
}

/// The kernel hands out zeroed memory before the init; here an init returns the state, and nobody sees a half of it.
#[test]
fn c027_a_state_is_whole_or_absent() {
    let (ns, log) = system();
    let own: Arc<OnceLock<Key<common::Probe>>> = Arc::default();
    let (hook, met) = (Arc::clone(&own), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&met);
    let key = ns
        .register_subsys(probe(1, &log).on_init(move |net| {
            if let Some(key) = hook.get() {
                assert!(net.get(*key).is_none(), "not before its init returned");
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }))
        .unwrap();
    own.set(key).unwrap();
    let net = create(&ns);
    assert_eq!(met.load(Ordering::Relaxed), 1);
    assert_eq!(net.get(key).map(|state| (state.tag, state.net)), Some((1, net.cookie())));
}

/// Writes down the waits of an embedder.
struct Waits(Log);

impl Platform for Waits {
    fn grace_period(&self, how: Grace) {
        self.0.push(match how {
            Grace::Ordinary => Call::Note("ordinary"),
            Grace::Expedited => Call::Note("expedited"),
        });
    }

    fn drain_deferred(&self) {
        self.0.push(Call::Note("drained"));
    }
}

fn waiting_system() -> (Namespaces, Log) {
    let log = Log::default();
    let ns = Namespaces::builder().platform(Arc::new(Waits(log.clone()))).build();
    (ns, log)
}

fn place(calls: &[Call], wanted: &Call) -> usize {
    calls.iter().position(|call| call == wanted).unwrap_or_else(|| panic!("no {wanted:?} in {calls:?}"))
}

#[test]
fn c036_unregistration_returns_after_what_its_exits_deferred() {
    let (ns, log) = waiting_system();
    let key = ns.register_subsys(probe(1, &log)).unwrap();
    let net = create(&ns);
    log.take();
    ns.unregister(key);
    let calls = log.take();
    let drained = place(&calls, &Call::Note("drained"));
    assert!(place(&calls, &Call::Note("ordinary")) < place(&calls, &Call::Exit(1, net.cookie())));
    let last = calls.iter().rposition(|call| matches!(call, Call::Exit(..) | Call::ExitBatch(..))).unwrap();
    assert!(last < drained, "{calls:?}");
    assert!(!calls.contains(&Call::Note("expedited")), "nobody waits for an unregistration");
}

#[test]
fn c033_a_failed_registration_returns_after_what_its_exits_deferred() {
    let (ns, log) = waiting_system();
    let net = create(&ns);
    log.take();
    let error = ns.register_subsys(probe(1, &log).failing_after(1)).unwrap_err();
    assert!(matches!(error, RegisterError::Init { inum, .. } if inum == net.inum()));
    let calls = log.take();
    let init = ns.init_net().cookie();
    assert!(place(&calls, &Call::ExitBatch(1, vec![init])) < place(&calls, &Call::Note("drained")), "{calls:?}");
}

#[test]
fn c067_what_exits_deferred_is_done_before_memory_goes() {
    let (ns, log) = waiting_system();
    ns.register_subsys(probe(1, &log)).unwrap();
    ns.register_device(probe(2, &log)).unwrap();
    let net = create(&ns);
    let cookie = net.cookie();
    drop(net);
    log.take();
    ns.step();
    let calls = log.take();
    let drained = place(&calls, &Call::Note("drained"));
    assert!(place(&calls, &Call::Note("expedited")) < place(&calls, &Call::Exit(2, cookie)));
    for tag in [1, 2] {
        assert!(place(&calls, &Call::Exit(tag, cookie)) < drained, "{calls:?}");
        assert!(drained < place(&calls, &Call::Freed(tag, cookie)), "{calls:?}");
    }
}

/// Notes when two callbacks for one namespace overlap. Nothing is asserted inside a callback, where a panic would leave
/// other threads waiting.
#[derive(Clone, Default)]
struct Apart {
    inside: Arc<Mutex<HashSet<Cookie>>>,
    calls: Arc<AtomicUsize>,
    overlaps: Arc<AtomicUsize>,
    /// Set once nobody may call any more.
    over: Arc<AtomicBool>,
    late: Arc<AtomicUsize>,
}

impl Apart {
    fn visit(&self, net: Cookie) {
        self.late.fetch_add(usize::from(self.over.load(Ordering::SeqCst)), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        let first = self.inside.lock().unwrap().insert(net);
        for _ in 0..3 {
            std::thread::yield_now();
        }
        if first {
            self.inside.lock().unwrap().remove(&net);
        } else {
            self.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        self.late.fetch_add(usize::from(self.over.load(Ordering::SeqCst)), Ordering::Relaxed);
    }
}

impl Subsystem for Apart {
    const NAME: &'static str = "apart";
    type State = ();

    fn init(&self, net: &Net) -> Result<(), InitError> {
        self.visit(net.cookie());
        Ok(())
    }

    fn pre_exit(&self, net: &DyingNet, (): &()) {
        self.visit(net.cookie());
    }

    fn exit_rtnl(&self, net: &DyingNet, (): &(), _: &mut KillList) {
        self.visit(net.cookie());
    }

    fn exit(&self, net: &DyingNet, (): &()) {
        self.visit(net.cookie());
    }
}

/// Namespaces come and go on two threads while `act` runs.
fn beside_churn(ns: &Namespaces, act: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let nets = [create(ns), create(ns)];
                    std::thread::yield_now();
                    drop(nets);
                    ns.step();
                    // Whoever registers must have its turn too.
                    std::thread::yield_now();
                }
            });
        }
        act();
        stop.store(true, Ordering::Relaxed);
    });
    while ns.step().more {}
}

#[test]
fn c042_callbacks_of_one_namespace_never_overlap() {
    let ns = Namespaces::new();
    let apart = Apart::default();
    ns.register_subsys(apart.clone()).unwrap();
    let lasting: Vec<_> = (0..5).map(|_| create(&ns)).collect();
    beside_churn(&ns, || {
        for _ in 0..60 {
            // All share one notebook, so inits of the new one count against exits of the old.
            let key = ns.register_device(apart.clone()).unwrap();
            ns.unregister(key);
        }
    });
    assert!(apart.calls.load(Ordering::Relaxed) > 60 * 4 * lasting.len());
    assert_eq!(apart.overlaps.load(Ordering::Relaxed), 0);
}

#[test]
fn c042_no_callback_begins_or_goes_on_after_unregistration() {
    let ns = Namespaces::new();
    let _lasting: Vec<_> = (0..5).map(|_| create(&ns)).collect();
    let mut all = Vec::new();
    beside_churn(&ns, || {
        for _ in 0..60 {
            let apart = Apart::default();
            let key = ns.register_subsys(apart.clone()).unwrap();
            std::thread::yield_now();
            ns.unregister(key);
            apart.over.store(true, Ordering::SeqCst);
            all.push(apart);
        }
    });
    assert!(all.iter().all(|apart| apart.calls.load(Ordering::Relaxed) >= 6 * 4), "each met at least the lasting");
    assert_eq!(all.iter().map(|apart| apart.late.load(Ordering::Relaxed)).sum::<usize>(), 0);
}

/// Inode numbers tell apart who exists, no more: what is remembered is a cookie.
#[test]
fn c004_a_number_may_come_again_after_its_round() {
    let (ns, _) = system();
    let first = create(&ns);
    let (inum, cookie) = (first.inum(), first.cookie());
    let other = create(&ns);
    drop(first);
    ns.step();
    let second = create(&ns);
    assert_eq!(second.inum(), inum, "the lowest free one");
    assert_ne!(second.cookie(), cookie);
    assert_ne!(other.inum(), inum);
}

/// W8: a loop of create and drop at the limit never meets a charge that nothing in use explains.
#[test]
fn c051_a_round_leaves_nothing_charged() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    ns.init_user_ns().set_max_net_namespaces(1).unwrap();
    for _ in 0..20 {
        let net = create(&ns);
        assert_eq!(ns.create(&root(&ns)).unwrap_err().errno(), pernet::Errno::ENOSPC);
        assert_eq!(ns.init_user_ns().net_namespaces(Uid::ROOT), 1);
        drop(net);
        ns.step();
        assert_eq!(ns.init_user_ns().net_namespaces(Uid::ROOT), 0);
    }
}

/// Whoever dies while a round runs is not lost, wherever in the round that was.
#[test]
fn c069_a_chain_of_deaths_ends() {
    let (ns, log) = system();
    let parked = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&parked);
    ns.register_subsys(probe(1, &log).on_exit(move |_| drop(hook.lock().unwrap().pop()))).unwrap();
    let chain: Vec<_> = (0..20).map(|_| create(&ns)).collect();
    let cookies: HashSet<Cookie> = chain.iter().map(|net| net.cookie()).collect();
    *parked.lock().unwrap() = chain;
    drop(parked.lock().unwrap().pop());
    log.take();
    let mut destroyed = 0;
    loop {
        let round = ns.step();
        destroyed += round.destroyed;
        if !round.more {
            break;
        }
    }
    assert_eq!((destroyed, ns.listed()), (20, 1));
    let calls = log.take();
    let exits: Vec<Cookie> =
        calls.iter().filter_map(|call| if let Call::Exit(_, net) = call { Some(*net) } else { None }).collect();
    assert_eq!((exits.len(), exits.into_iter().collect::<HashSet<_>>()), (20, cookies), "each once");
}

/// What a number leads to is judged at the moment of the look-up, by whoever looks.
#[test]
fn c058_a_number_of_the_dead_is_not_listed_either() {
    let (ns, _) = system();
    let (observer, peer) = (create(&ns), create(&ns));
    let id = observer.peernet2id_alloc(&peer).unwrap();
    let held = peer.clone();
    drop(peer);
    assert_eq!(observer.nsids_from(Nsid::ZERO, 9).entries.len(), 1, "somebody holds it");
    drop(held);
    assert!(observer.nsids_from(Nsid::ZERO, 9).entries.is_empty());
    assert_eq!(observer.net_by_nsid(id.get()), None);
}
