//! Statements 71–83: peer ids.

mod common;

use common::{Call, create, probe, system};
use pernet::{AssignError, Errno, Event, EventSink, NetRef, Nsid, Origin};
use std::sync::{Arc, Mutex};

fn id(number: i32) -> Nsid {
    Nsid::new(number).unwrap()
}

fn assign(observer: &NetRef, peer: &NetRef, want: i32) -> Result<i32, AssignError> {
    observer.assign_nsid(peer, Nsid::new(want), Origin::KERNEL).map(Nsid::get)
}

fn ids(observer: &NetRef) -> Vec<i32> {
    observer.nsids_from(Nsid::ZERO, usize::MAX).entries.iter().map(|(id, _)| id.get()).collect()
}

#[test]
fn c071_a_new_table_is_empty() {
    let (ns, _) = system();
    let net = create(&ns);
    assert!(ids(&net).is_empty());
    assert_eq!(net.peernet2id(&ns.init_net()), None);
    assert_eq!(net.net_by_nsid(0), None);
}

#[test]
fn c072_automatic_is_the_lowest_free_from_zero() {
    let (ns, _) = system();
    let observer = create(&ns);
    let peers: Vec<_> = (0..8).map(|_| create(&ns)).collect();
    assert_eq!(assign(&observer, &peers[0], 3), Ok(3));
    let got: Vec<_> = peers[1..6].iter().map(|peer| observer.peernet2id_alloc(peer).unwrap().get()).collect();
    assert_eq!(got, [0, 1, 2, 4, 5]);
    assert_eq!(assign(&observer, &peers[6], -1), Ok(6), "automatic on request, too");
    let mut peers: Vec<_> = peers.into_iter().map(Some).collect();
    peers[2] = None; // 1
    peers[5] = None; // 5
    ns.step();
    assert_eq!(ids(&observer), [0, 2, 3, 4, 6]);
    assert_eq!(observer.peernet2id_alloc(&create(&ns)), Some(id(1)));
    assert_eq!(observer.peernet2id_alloc(&create(&ns)), Some(id(5)));
}

#[test]
fn c073_explicit_ids_up_to_the_largest() {
    let (ns, _) = system();
    let observer = create(&ns);
    let peers: Vec<_> = (0..5).map(|_| create(&ns)).collect();
    for (peer, want) in peers.iter().zip([i32::MAX, 1000, 0]) {
        assert_eq!(assign(&observer, peer, want), Ok(want));
        assert_eq!(observer.net_by_nsid(want).as_ref(), Some(peer));
    }
    assert_eq!(observer.peernet2id_alloc(&peers[3]), Some(id(1)), "undisturbed");
    assert_eq!(ids(&observer), [0, 1, 1000, i32::MAX]);
}

#[test]
fn c074_at_most_one_id_per_peer_and_its_error_wins() {
    let (ns, _) = system();
    let (observer, peer, other) = (create(&ns), create(&ns), create(&ns));
    assert_eq!(assign(&observer, &peer, 5), Ok(5));
    assert_eq!(assign(&observer, &other, 6), Ok(6));
    for want in [5, 6, 7, -1] {
        assert_eq!(assign(&observer, &peer, want), Err(AssignError::AlreadyNamed));
    }
    let fresh = create(&ns);
    let error = assign(&observer, &fresh, 5).unwrap_err();
    assert_eq!((error, error.errno()), (AssignError::IdTaken, Errno::EEXIST));
    assert_eq!(observer.peernet2id_alloc(&peer), Some(id(5)), "find-or-alloc finds");
    assert_eq!(observer.peernet2id(&fresh), None, "what failed left nothing");
    assert_eq!(ids(&observer), [5, 6]);
}

#[test]
fn c075_an_observer_may_name_itself() {
    let (ns, _) = system();
    let net = create(&ns);
    assert_eq!(net.peernet2id_alloc(&net), Some(id(0)));
    assert_eq!(net.net_by_nsid(0).as_ref(), Some(&net));
    let handle = net.downgrade();
    drop(net);
    assert_eq!(ns.step().destroyed, 1, "and does not keep itself alive by it");
    assert!(!handle.is_alive());
}

#[test]
fn c076_ids_are_directional() {
    let (ns, _) = system();
    let (a, b) = (create(&ns), create(&ns));
    a.peernet2id_alloc(&b).unwrap();
    assert!(ids(&b).is_empty());
    assert_eq!(b.peernet2id(&a), None);
    assert_eq!(assign(&b, &a, 9), Ok(9));
    assert_eq!((a.peernet2id(&b), b.peernet2id(&a)), (Some(id(0)), Some(id(9))));
}

/// A dead namespace can only be met through a borrow in an init under registration.
#[test]
fn c077_c078_the_dying_are_not_named_and_do_not_name() {
    let (ns, log) = system();
    let alive = create(&ns);
    let dead = create(&ns);
    let cookie = dead.cookie();
    drop(dead);
    let hook = alive.clone();
    ns.register_subsys(probe(1, &log).on_init(move |net| {
        if net.cookie() == cookie {
            assert_eq!(hook.peernet2id_alloc(net), None);
            assert_eq!(net.peernet2id_alloc(&hook), None);
            assert_eq!(hook.assign_nsid(net, Nsid::new(4), Origin::KERNEL), Err(AssignError::Dying));
            assert_eq!(net.assign_nsid(&hook, Nsid::new(4), Origin::KERNEL), Err(AssignError::Dying));
            assert_eq!(net.assign_nsid(net, None, Origin::KERNEL), Err(AssignError::Dying));
        }
        Ok(())
    }))
    .unwrap();
    assert_eq!(log.take().len(), 3, "the dead one was met");
    let page = alive.nsids_from(Nsid::ZERO, 9);
    assert!(page.entries.is_empty() && page.generation == 0);
}

#[test]
fn c079_a_negative_id_yields_nothing() {
    let (ns, _) = system();
    let net = create(&ns);
    net.peernet2id_alloc(&net).unwrap();
    for number in [-1, i32::MIN, -2_147_483_647] {
        assert_eq!(net.net_by_nsid(number), None);
    }
}

#[test]
fn c083_an_entry_keeps_nobody_alive() {
    let (ns, _) = system();
    let (observer, peer) = (create(&ns), create(&ns));
    observer.peernet2id_alloc(&peer).unwrap();
    let handle = peer.downgrade();
    drop(peer);
    assert!(!handle.is_alive());
}

/// W19: what cannot be looked up is not listed.
#[test]
fn listing_shows_the_living_and_resumes_by_id() {
    let (ns, _) = system();
    let observer = create(&ns);
    let mut peers: Vec<_> = (0..10).map(|_| Some(create(&ns))).collect();
    for (at, peer) in (0..).zip(&peers) {
        assign(&observer, peer.as_ref().unwrap(), at * 10).unwrap();
    }
    peers[3] = None;
    let page = observer.nsids_from(Nsid::ZERO, 4);
    assert_eq!(page.entries.iter().map(|(id, _)| id.get()).collect::<Vec<_>>(), [0, 10, 20, 40]);
    assert!(page.entries.iter().all(|(_, peer)| peer.is_alive()));
    let from = page.entries[3].0.next().unwrap();
    let rest = observer.nsids_from(from, 100);
    assert_eq!(rest.entries.iter().map(|(id, _)| id.get()).collect::<Vec<_>>(), [50, 60, 70, 80, 90]);
    assert_eq!(rest.generation, page.generation, "same table, same generation");
    ns.step();
    assert_ne!(observer.nsids_from(from, 0).generation, page.generation);
}

#[test]
fn events_say_who_asked_and_failures_say_nothing() {
    let (ns, log) = system();
    ns.subscribe(Arc::new(log.clone()));
    let (observer, peer, other) = (create(&ns), create(&ns), create(&ns));
    log.take();
    let origin = Origin { portid: 42, seq: 7, echo: true };
    observer.assign_nsid(&peer, Nsid::new(5), origin).unwrap();
    observer.assign_nsid(&peer, Nsid::new(6), origin).unwrap_err();
    observer.assign_nsid(&other, Nsid::new(5), origin).unwrap_err();
    observer.peernet2id_alloc(&peer).unwrap();
    observer.peernet2id_alloc(&other).unwrap();
    let cookies = (observer.cookie(), peer.cookie(), other.cookie());
    assert_eq!(
        log.take(),
        [Call::New(cookies.0, cookies.1, 5, origin), Call::New(cookies.0, cookies.2, 0, Origin::KERNEL)]
    );
}

/// The first observer's entry stands apart from the others' in memory; nobody may see that.
#[test]
fn observers_are_told_in_order_of_their_creation_whoever_named_first() {
    let (ns, log) = system();
    let observers: Vec<_> = (0..4).map(|_| create(&ns)).collect();
    let peer = create(&ns);
    for (at, wanted) in [(2, 20), (0, 0), (3, 30), (1, 10)] {
        assert_eq!(assign(&observers[at], &peer, wanted), Ok(wanted));
    }
    let ids: Vec<_> = observers.iter().map(|observer| observer.peernet2id(&peer).unwrap().get()).collect();
    assert_eq!(ids, [0, 10, 20, 30]);
    assert_eq!(ns.init_net().peernet2id(&peer), None);
    let cookies: Vec<_> = observers.iter().map(|observer| observer.cookie()).collect();
    ns.subscribe(Arc::new(log.clone()));
    drop(peer);
    ns.step();
    let told: Vec<_> = log.take().into_iter().filter(|call| matches!(call, Call::Del(..))).collect();
    let expected: Vec<_> = (0..).zip(&cookies).map(|(at, cookie)| Call::Del(*cookie, at * 10)).collect();
    assert_eq!(told, expected);
}

/// An answer is right whatever comes and goes beside it: the question takes no lock as a rule.
#[test]
fn an_answer_does_not_depend_on_other_observers_that_come_and_go() {
    let (ns, _) = system();
    let (peer, named, stranger) = (create(&ns), create(&ns), create(&ns));
    // Not the first observer, so that the first place is free for those that come and go.
    let first = create(&ns);
    first.peernet2id_alloc(&peer).unwrap();
    assert_eq!(assign(&named, &peer, 77), Ok(77));
    drop(first);
    ns.step();
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for wanted in 0..3000 {
                let observer = create(&ns);
                assert_eq!(assign(&observer, &peer, wanted), Ok(wanted));
                assert_eq!(observer.peernet2id(&peer), Some(id(wanted)));
                drop(observer);
                ns.step();
            }
        });
        while !churn.is_finished() {
            assert_eq!(named.peernet2id(&peer), Some(id(77)));
            assert_eq!(stranger.peernet2id(&peer), None);
        }
        churn.join().unwrap();
    });
}

/// The numbers of a dump, with what another namespace calls the same peers.
#[test]
fn a_dump_says_the_numbers_of_two_namespaces() {
    let (ns, _) = system();
    let (observer, asking) = (create(&ns), create(&ns));
    let mut peers: Vec<_> = (0..4).map(|_| Some(create(&ns))).collect();
    for (at, peer) in (0..).zip(&peers) {
        assign(&observer, peer.as_ref().unwrap(), at * 5).unwrap();
    }
    assign(&asking, peers[1].as_ref().unwrap(), 9).unwrap();
    peers[2] = None;
    let pairs = |from, max, current: Option<&NetRef>| {
        let dump = observer.dump_nsids(id(from), max, current.map(|net| &**net));
        assert_eq!(dump.generation, observer.nsids_from(Nsid::ZERO, 0).generation);
        dump.entries.iter().map(|entry| (entry.id.get(), entry.current.map(Nsid::get))).collect::<Vec<_>>()
    };
    assert_eq!(pairs(0, 9, Some(&asking)), [(0, None), (5, Some(9)), (15, None)]);
    assert_eq!(pairs(1, 1, Some(&asking)), [(5, Some(9))]);
    assert_eq!(pairs(0, 9, None), [(0, None), (5, None), (15, None)]);
    assert!(asking.dump_nsids(id(10), 9, None).entries.is_empty());
}

/// The all-nsid delivery asks, inside the event, what each listener calls the observer.
#[test]
fn a_sink_may_ask_for_ids() {
    struct Asks(Mutex<Vec<NetRef>>, Mutex<Vec<Option<Nsid>>>);
    impl EventSink for Asks {
        fn emit(&self, event: &Event<'_>) {
            if let Event::NsidNew { observer, .. } = event {
                let answers = self.0.lock().unwrap().iter().map(|net| net.peernet2id(observer)).collect();
                *self.1.lock().unwrap() = answers;
            }
        }
    }
    let (ns, _) = system();
    let (a, b, c) = (create(&ns), create(&ns), create(&ns));
    b.peernet2id_alloc(&a).unwrap();
    let sink = Arc::new(Asks(Mutex::new(vec![a.clone(), b.clone(), c.clone()]), Mutex::default()));
    ns.subscribe(Arc::clone(&sink) as Arc<dyn EventSink>);
    a.peernet2id_alloc(&a).unwrap();
    assert_eq!(*sink.1.lock().unwrap(), [Some(id(0)), Some(id(0)), None]);
}
