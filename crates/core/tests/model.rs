//! The core against a plain model, for random sequences of operations: registrations, creations,
//! references, peer ids, quotas, teardown, with inits that fail and callbacks that interfere.
//!
//! After each operation everything that can be asked is compared, and every callback and event
//! has to come where the model says: invariants I1–I10 and I12–I15, and I11 while one thread runs.
//! How cases are run and repeated is told in `model/runner.rs`, what is this crate's own choice
//! of order in `model/rules.rs`.

#[path = "model/asks.rs"]
mod asks;
#[path = "model/checks.rs"]
mod checks;
#[path = "model/corpus.rs"]
mod corpus;
#[path = "model/makes.rs"]
mod makes;
#[path = "model/ops.rs"]
mod ops;
#[path = "model/phases.rs"]
mod phases;
#[path = "model/probe.rs"]
mod probe;
#[path = "model/reference.rs"]
mod reference;
#[path = "model/rules.rs"]
mod rules;
#[path = "model/runner.rs"]
mod runner;
#[path = "model/script.rs"]
mod script;
#[path = "model/world.rs"]
mod world;

#[test]
fn the_core_behaves_as_the_model() {
    runner::run_all();
}

/// Short sequences, each of which has told a broken core, or a broken model, from a whole one.
#[test]
fn what_once_failed() {
    for (what, ops) in corpus::REGRESSIONS {
        runner::replay(what, ops);
    }
}
