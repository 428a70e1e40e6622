//! Quotas under contention.

use crate::{explore, root, spawn, step_often};
use pernet::{CreateError, Namespaces};
use std::sync::{Arc, Mutex};

const LIMIT: usize = 2;

/// Who has or asks for a unit. A refusal is right if at some time while it was asked for, the others'
/// claims together reached the limit.
#[derive(Default)]
struct Claims(Mutex<Vec<Claim>>);

#[derive(Clone, Copy, Default)]
struct Claim {
    live: bool,
    held: bool,
    /// The most claims of others at any time since it began.
    others: usize,
}

impl Claims {
    fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(vec![Claim::default(); threads])))
    }

    fn note(claims: &mut [Claim]) {
        let live = claims.iter().filter(|claim| claim.live).count();
        for claim in claims.iter_mut().filter(|claim| claim.live) {
            claim.others = claim.others.max(live - 1);
        }
        let held = claims.iter().filter(|claim| claim.held).count();
        assert!(held <= LIMIT, "{held} in use");
    }

    fn begin(&self, who: usize) {
        let mut claims = self.0.lock().unwrap();
        claims[who] = Claim { live: true, held: false, others: 0 };
        Self::note(&mut claims);
    }

    fn granted(&self, who: usize) {
        let mut claims = self.0.lock().unwrap();
        claims[who].held = true;
        Self::note(&mut claims);
    }

    /// Before the last reference is dropped: from then on, it may be another's.
    fn letting_go(&self, who: usize) {
        self.0.lock().unwrap()[who].held = false;
    }

    fn end(&self, who: usize) -> usize {
        let mut claims = self.0.lock().unwrap();
        claims[who].live = false;
        claims[who].others
    }
}

fn contend(ns: Namespaces, claims: &Claims, who: usize) {
    for _ in 0..2 {
        claims.begin(who);
        match ns.create(&root(&ns)) {
            Ok(net) => {
                claims.granted(who);
                claims.letting_go(who);
                drop(net);
                claims.end(who);
            }
            Err(error) => {
                assert_eq!(error, CreateError::QuotaExceeded { level: 0 });
                let others = claims.end(who);
                assert!(others >= LIMIT, "refused, and a unit was free: {others} others at most");
            }
        }
    }
}

/// More threads than units: never more in use than the limit, and nobody refused what is free. The dead
/// of nobody's round count as free.
#[test]
fn at_the_limit() {
    explore(|ledger| {
        let ns = ledger.system_of(Namespaces::builder().max_net_namespaces(LIMIT as u32));
        let claims = Claims::new(3);
        let threads: Vec<_> = (0..3)
            .map(|who| {
                let claims = Arc::clone(&claims);
                spawn(&ns, ledger, move |ns, _| contend(ns, &claims, who))
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

/// A limit is lowered while units drawn in advance lie about: from then on nobody gets one beyond it, and
/// what lies about refuses nobody.
#[test]
fn a_lowered_limit() {
    explore(|ledger| {
        let ns = ledger.system_of(Namespaces::builder().max_net_namespaces(10_000));
        // Units in advance in both shards' accounts.
        let warm: Vec<_> = (0..2).map(|_| spawn(&ns, ledger, |ns, _| drop(ns.create(&root(&ns))))).collect();
        for thread in warm {
            thread.join().unwrap();
        }
        ns.init_user_ns().set_max_net_namespaces(LIMIT as i64).unwrap();
        let claims = Claims::new(3);
        let threads: Vec<_> = (0..3)
            .map(|who| {
                let claims = Arc::clone(&claims);
                spawn(&ns, ledger, move |ns, _| contend(ns, &claims, who))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        ledger.settle(&ns);
    });
}

/// The limit falls and rises while others create and drop: everything comes back.
#[test]
fn a_limit_that_moves() {
    explore(|ledger| {
        let ns = ledger.system_of(Namespaces::builder().max_net_namespaces(10_000));
        let mut threads: Vec<_> = (0..2)
            .map(|_| {
                spawn(&ns, ledger, |ns, _| {
                    for _ in 0..3 {
                        drop(ns.create(&root(&ns)));
                    }
                })
            })
            .collect();
        threads.push(spawn(&ns, ledger, |ns, _| {
            for limit in [0, 10_000, 1] {
                ns.init_user_ns().set_max_net_namespaces(limit).unwrap();
            }
            ns.step();
        }));
        for thread in threads {
            thread.join().unwrap();
        }
        ledger.settle(&ns);
        ns.init_user_ns().set_max_net_namespaces(1).unwrap();
        let one = ns.create(&root(&ns)).unwrap();
        assert_eq!(ns.create(&root(&ns)), Err(CreateError::QuotaExceeded { level: 0 }));
        drop(one);
        ledger.settle(&ns);
    });
}
