//! Names beside deaths.

use crate::{create, explore, spawn, step_often};
use pernet::{Nsid, Origin};

/// Two threads name a peer that a third lets die, and look it up: no id for the dead, none found by
/// one, and the events tell the whole story.
#[test]
fn beside_deaths() {
    explore(|ledger| {
        let ns = ledger.system();
        let observer = create(&ns);
        let (dying, living) = (create(&ns), create(&ns));
        let handle = dying.downgrade();
        let mut threads: Vec<_> = (0..2)
            .map(|turn| {
                let (observer, living, handle) = (observer.clone(), living.clone(), handle.clone());
                spawn(&ns, ledger, move |_, _| {
                    if let Some(peer) = handle.upgrade() {
                        let id = if turn == 0 {
                            observer.peernet2id_alloc(&peer)
                        } else {
                            observer.assign_nsid(&peer, None, Origin::KERNEL).ok()
                        };
                        // One of the two was first; and while we hold the peer, it stays named.
                        let id = id.or_else(|| observer.peernet2id(&peer)).expect("both are held");
                        assert_eq!(observer.net_by_nsid(id.get()).as_ref(), Some(&peer), "I7");
                        assert!(peer.peernet2id_alloc(&observer).is_some());
                    }
                    let id = observer.peernet2id_alloc(&living).expect("both are held");
                    assert_eq!(observer.net_by_nsid(id.get()).as_ref(), Some(&living), "I7");
                })
            })
            .collect();
        threads.push(spawn(&ns, ledger, |ns, ledger| {
            ledger.drop_last(dying);
            step_often(ns, 2);
        }));
        for thread in threads {
            thread.join().unwrap();
        }
        // The dead have no number, whether or not a round has come by.
        assert!(!handle.is_alive());
        for id in 0..3 {
            assert!(observer.net_by_nsid(id).is_none_or(|net| net == living));
        }
        while ns.step().more {}
        ledger.compare(&observer);
        drop((observer, living));
        ledger.settle(&ns);
    });
}

/// The observer dies while it is naming and being named.
#[test]
fn the_observer_dies() {
    explore(|ledger| {
        let ns = ledger.system();
        let (observer, other) = (create(&ns), create(&ns));
        let handle = observer.downgrade();
        let init = ns.init_net();
        let mut threads: Vec<_> = [other.clone(), init.clone()]
            .into_iter()
            .map(|peer| {
                let handle = handle.clone();
                spawn(&ns, ledger, move |_, _| {
                    let Some(observer) = handle.upgrade() else { return };
                    assert!(observer.peernet2id_alloc(&peer).is_some());
                    assert!(peer.peernet2id_alloc(&observer).is_some());
                    drop(observer);
                    // Dead or alive by now: if it has a name, it leads nowhere or to the living.
                    let found = peer.nsids_from(Nsid::ZERO, 9).entries;
                    assert!(found.len() <= 2);
                })
            })
            .collect();
        threads.push(spawn(&ns, ledger, |ns, ledger| {
            ledger.drop_last(observer);
            step_often(ns, 2);
        }));
        for thread in threads {
            thread.join().unwrap();
        }
        while ns.step().more {}
        ledger.compare(&other);
        ledger.compare(&init);
        assert!(other.peernet2id(&init).is_none() && other.nsids_from(Nsid::ZERO, 9).entries.is_empty(), "I6");
        drop(other);
        drop(init);
        ledger.settle(&ns);
    });
}
