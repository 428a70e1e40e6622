//! Ten thousand namespaces come and go, and a subsystem counts what it is called for.
//!
//! `cargo run --release -p pernet --example ten_thousand`

use pernet::{Batch, Cred, DyingNet, InitError, Namespaces, Net, Subsystem};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[derive(Default)]
struct Calls([AtomicUsize; 4]);
struct Phases(Arc<Calls>);

#[rustfmt::skip]
impl Subsystem for Phases {
    const NAME: &'static str = "phases";
    type State = ();
    fn init(&self, _: &Net) -> Result<(), InitError> { self.0.0[0].fetch_add(1, Relaxed); Ok(()) }
    fn pre_exit(&self, _: &DyingNet, (): &()) { self.0.0[1].fetch_add(1, Relaxed); }
    fn exit(&self, _: &DyingNet, (): &()) { self.0.0[2].fetch_add(1, Relaxed); }
    fn exit_batch(&self, _: &Batch<'_, ()>) { self.0.0[3].fetch_add(1, Relaxed); }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let calls = Arc::new(Calls::default());
    let show = |when| println!("{when:<10} init, pre_exit, exit, exit_batch: {:?}", calls.0);
    let ns = Namespaces::new();
    ns.register_subsys(Phases(Arc::clone(&calls)))?;
    show("registered");
    let alive = (0..10_000).map(|_| ns.create(&Cred::root(ns.init_user_ns()))).collect::<Result<Vec<_>, _>>()?;
    show("created");
    drop(alive);
    show("dropped");
    let (mut rounds, mut gone, mut more) = (0, 0, true);
    while more {
        let round = ns.step();
        (rounds, gone, more) = (rounds + 1, gone + round.destroyed, round.more);
    }
    show("torn down");
    println!("{gone} gone in {rounds} round(s), {} listed", ns.listed());
    Ok(())
}
