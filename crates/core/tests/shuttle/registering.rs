//! Registrations beside everything else.

use crate::ledger::At;
use crate::{create, explore, root, spawn, step_often};
use pernet::CreateError;

/// Registered and unregistered while namespaces come and go: a namespace has a subsystem's state whole
/// or not at all, and after an unregistration nothing of it runs any more.
#[test]
fn beside_creations_and_rounds() {
    explore(|ledger| {
        let ns = ledger.system();
        let first = ns.register_subsys(ledger.part(1)).unwrap();
        let threads = [
            spawn(&ns, ledger, |ns, ledger| {
                ledger.leaving(2);
                let key = ns.register_subsys(ledger.part(2)).unwrap();
                let init = ns.init_net();
                assert_eq!(init.get(key).unwrap().net, init.cookie());
                // Registered: whatever is made from here on has it.
                let net = create(&ns);
                assert_eq!(net.get(key).unwrap().net, net.cookie());
                ns.unregister(key);
                assert!(ledger.has_left(2), "no callback after an unregistration");
                assert!(net.get(key).is_none() && init.get(key).is_none());
            }),
            spawn(&ns, ledger, move |ns, ledger| {
                for _ in 0..2 {
                    let net = create(&ns);
                    assert_eq!(net.get(first).unwrap().net, net.cookie());
                    assert!(ledger.is_up(1, net.cookie()));
                    ledger.drop_last(net);
                }
            }),
            spawn(&ns, ledger, |ns, _| step_often(ns, 3)),
        ];
        for thread in threads {
            thread.join().unwrap();
        }
        ledger.settle(&ns);
    });
}

/// A registration that fails, at whichever namespace, leaves nothing; creations that meet it succeed or
/// fail as a whole.
#[test]
fn failing_at_any_namespace() {
    explore(|ledger| {
        let ns = ledger.system();
        ns.register_subsys(ledger.part(1)).unwrap();
        let kept = create(&ns);
        let threads = [
            spawn(&ns, ledger, |ns, ledger| {
                ledger.leaving(2);
                let failing = shuttle::rand::Rng::gen_range(&mut shuttle::rand::thread_rng(), 0..4);
                match ns.register_device(ledger.part(2).failing_at(failing)) {
                    Ok(key) => ns.unregister(key),
                    Err(_) => assert!(ledger.has_left(2)),
                }
                // Its place goes to the next, which must not find what was there.
                ledger.leaving(3);
                let next = ns.register_device(ledger.part(3)).unwrap();
                assert_eq!(ns.init_net().get(next).unwrap().net, ns.init_net().cookie());
                ns.unregister(next);
            }),
            spawn(&ns, ledger, |ns, ledger| {
                for _ in 0..2 {
                    match ns.create(&root(&ns)) {
                        Ok(net) => ledger.drop_last(net),
                        // It met the one that fails.
                        Err(error) => assert!(matches!(error, CreateError::Init { .. }), "{error:?}"),
                    }
                }
            }),
            spawn(&ns, ledger, |ns, _| step_often(ns, 3)),
        ];
        for thread in threads {
            thread.join().unwrap();
        }
        drop(kept);
        ledger.settle(&ns);
    });
}

/// Two at a time, one of them a module that is reloaded at once.
#[test]
fn two_registrars() {
    explore(|ledger| {
        let ns = ledger.system();
        let threads: Vec<_> = (0..2)
            .map(|turn| {
                spawn(&ns, ledger, move |ns, ledger| {
                    for tag in [10 + turn, 20 + turn] {
                        ledger.leaving(tag);
                        let key = ns.register_subsys(ledger.part(tag)).unwrap();
                        let net = create(&ns);
                        assert_eq!(net.get(key).unwrap().net, net.cookie());
                        drop(net);
                        ns.unregister(key);
                        assert!(ledger.has_left(tag));
                    }
                })
            })
            .collect();
        let stepper = spawn(&ns, ledger, |ns, _| step_often(ns, 2));
        for thread in threads {
            thread.join().unwrap();
        }
        stepper.join().unwrap();
        ledger.settle(&ns);
    });
}

/// Everything that died before a barrier is gone after it, though a registration may have had it in hand.
#[test]
fn barrier_waits_for_what_a_registration_holds() {
    explore(|ledger| {
        let ns = ledger.system();
        ns.register_subsys(ledger.part(1)).unwrap();
        let doomed = create(&ns);
        let threads = [
            spawn(&ns, ledger, |ns, ledger| {
                ledger.leaving(2);
                let key = ns.register_subsys(ledger.part(2)).unwrap();
                ns.unregister(key);
            }),
            spawn(&ns, ledger, |ns, _| step_often(ns, 2)),
        ];
        let cookie = doomed.cookie();
        ledger.drop_last(doomed);
        ns.barrier();
        assert!(ledger.at(1, cookie) >= Some(At::Batched), "died before the barrier");
        for thread in threads {
            thread.join().unwrap();
        }
        ledger.settle(&ns);
    });
}
