//! Rounds that run beside each other, and take each other's work.

use crate::ledger::Ledger;
use crate::{create, explore, spawn, step_often};

/// Rounds are split while their callbacks run: every namespace is taken apart once, in order.
#[test]
fn rescue_in_the_middle_of_a_callback() {
    explore(|ledger| {
        let ns = ledger.system();
        ns.register_subsys(ledger.part(1)).unwrap();
        ns.register_device(ledger.part(2)).unwrap();
        let nets: Vec<_> = (0..3).map(|_| create(&ns)).collect();
        drop(nets);
        let stepper = spawn(&ns, ledger, |ns, _| step_often(ns, 2));
        let rescuers: Vec<_> = (0..2)
            .map(|_| {
                spawn(&ns, ledger, |ns, _| {
                    for _ in 0..4 {
                        ns.rescue();
                        shuttle::thread::yield_now();
                    }
                })
            })
            .collect();
        stepper.join().unwrap();
        for thread in rescuers {
            thread.join().unwrap();
        }
        ledger.settle(&ns);
    });
}

/// A barrier beside other steppers and rescuers: what died before is gone.
#[test]
fn barrier_beside_steppers_and_rescuers() {
    explore(|ledger| {
        let ns = ledger.system();
        ns.register_subsys(ledger.part(1)).unwrap();
        let barriers: Vec<_> = (0..2)
            .map(|_| {
                spawn(&ns, ledger, |ns, ledger| {
                    let nets = [create(&ns), create(&ns)];
                    let cookies = nets.each_ref().map(|net| net.cookie());
                    drop(nets);
                    ns.barrier();
                    assert!(cookies.into_iter().all(|net| ledger.at(1, net) >= Some(crate::ledger::At::Batched)));
                })
            })
            .collect();
        let stepper = spawn(&ns, ledger, |ns, _| step_often(ns, 2));
        let rescuer = spawn(&ns, ledger, |ns, _| {
            for _ in 0..3 {
                ns.rescue();
                shuttle::thread::yield_now();
            }
        });
        for thread in barriers.into_iter().chain([stepper, rescuer]) {
            thread.join().unwrap();
        }
        ledger.settle(&ns);
    });
}

/// An init that fails in every other creation, beside rounds: the undo is one of its own.
#[test]
fn undo_beside_rounds() {
    explore(|ledger| {
        let ns = ledger.system();
        ns.register_subsys(ledger.part(1)).unwrap();
        ns.register_device(ledger.part(2).failing_at(2)).unwrap();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                spawn(&ns, ledger, |ns, ledger: Ledger| {
                    for _ in 0..2 {
                        if let Ok(net) = ns.create(&crate::root(&ns)) {
                            ledger.drop_last(net);
                        }
                    }
                })
            })
            .collect();
        let stepper = spawn(&ns, ledger, |ns, _| step_often(ns, 3));
        for thread in threads {
            thread.join().unwrap();
        }
        stepper.join().unwrap();
        ledger.settle(&ns);
    });
}
