//! What happens, in order, and the checks. A check that fails stops the machine.

use crate::console::print;
use crate::lock::Lock;
use crate::memory::{Heap, Usage};
use crate::platform::Rcu;
use crate::process::Process;
use crate::subsystems::{Neighbours, RING, Ring, Routes, Trace};
use crate::workqueue::{Executor, Flag, Turn};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use pernet::{Caps, Cred, Event, EventSink, Namespaces, Nsid, Origin, Uid};

/// How many namespaces this machine allows beside the first.
const QUOTA: u32 = 3;

/// After so many creations that failed, one more changes nothing.
const REFUSALS: usize = 200;

/// The netlink bus of this machine: a queue. A sink may only queue, since it is called under the observer's lock, and
/// owns no namespace, since it lives as long as the system.
struct Bus(Lock<Vec<(&'static str, i32)>>);

impl EventSink for Bus {
    fn emit(&self, event: &Event<'_>) {
        let line = match *event {
            Event::NsidNew { id, .. } => ("new", id.get()),
            Event::NsidDel { id, .. } => ("del", id.get()),
            _ => return,
        };
        self.0.with(|queue| queue.push(line));
    }
}

impl Bus {
    fn deliver(&self) {
        for (what, id) in self.0.with(core::mem::take) {
            print!("event: {what} nsid {id}");
        }
    }
}

/// Everything from switching on to switching off; nothing is left when it returns.
pub(crate) fn run(heap: &'static Heap) {
    costs(heap);

    let rcu = Arc::new(Rcu::default());
    let dead = Arc::new(Flag::default());
    let ns = Namespaces::builder()
        .max_net_namespaces(QUOTA)
        .platform(Arc::clone(&rcu) as _)
        .on_work({
            let dead = Arc::clone(&dead);
            // In the context of whoever dropped the last reference: one store, no more.
            Arc::new(move || dead.raise())
        })
        .build();
    let bus = Arc::new(Bus(Lock::new(Vec::new())));
    ns.subscribe(Arc::clone(&bus) as _);

    // The workqueue `netns`: one round a turn, so that a long queue of dead lets others run in between.
    let mut executor = Executor::default();
    executor.spawn(&dead, {
        let ns = ns.clone();
        move || {
            let round = ns.step();
            print!("reaper: {} gone", round.destroyed);
            if round.more { Turn::Again } else { Turn::Sleep }
        }
    });

    let trace = Arc::new(Trace::default());
    let register = "nothing is in the way of a registration";
    let routes = ns.register_subsys(Routes(Arc::clone(&trace))).expect(register);
    let ring = ns.register_device(Ring { trace: Arc::clone(&trace), routes }).expect(register);
    let neighbours =
        ns.register_subsys(Neighbours { trace: Arc::clone(&trace), rcu: Arc::clone(&rcu) }).expect(register);

    print!("create: subsystems before devices, in order");
    let mut init = Process::first(&ns);
    let mut shell = init.fork();
    trace.set(true);
    shell.unshare().expect("the first of three");
    trace.set(false);
    let up = shell.net().get(routes).map(|up| up.load(Relaxed));
    print!("shell: {up:?} device up, neighbours {}", shell.net().get(neighbours).is_some());

    let (mut web, mut db) = (shell.fork(), shell.fork());
    web.unshare().expect("the second");
    db.unshare().expect("the third");
    let mut late = init.fork();
    print!("quota: {}", errno(late.unshare()));
    late.set_cred(Cred { user_ns: ns.init_user_ns().clone(), euid: Uid(1000), caps: Caps::EMPTY });
    print!("rights: {}", errno(late.unshare()));
    late.open_ns_of(&db);
    print!("rights: setns {:?} and {:?}", late.setns(0), late.setns(1));
    drop(late);

    let here = init.net().clone();
    let (a, b) = (here.peernet2id_alloc(shell.net()), here.peernet2id_alloc(web.net()));
    let c = here.assign_nsid(db.net(), Nsid::new(7), Origin::KERNEL);
    print!("ids: shell {:?}, web {:?}, db {:?}", a.map(Nsid::get), b.map(Nsid::get), c.map(Nsid::get));
    print!("ids: 7 is db: {}", here.net_by_nsid(7).as_ref() == Some(db.net()));
    bus.deliver();
    drop(here);

    print!("exit: the shell ends, init has its namespace open and enters it");
    init.open_ns_of(&shell);
    let watch = shell.watch();
    drop(shell);
    init.setns(0).expect("a descriptor, and every right");
    print!("exit: alive {}, turns {}", watch.is_alive(), executor.run_until_idle());

    print!("exit: web ends");
    trace.set(true);
    let web_alive = web.watch();
    drop(web);
    let first = ns.init_net();
    print!("exit: alive {}, by number {:?}, listed {}", web_alive.is_alive(), first.net_by_nsid(1), ns.listed());
    print!("executor: {} turns", executor.run_until_idle());
    trace.set(false);
    bus.deliver();
    print!(
        "platform: {} grace periods, {} drains, {} deferred and done",
        rcu.expedited.load(Relaxed),
        rcu.drains.load(Relaxed),
        rcu.freed.load(Relaxed)
    );

    print!("memory: short");
    heap.refuse_from(RING);
    let mut poor = Process::first(&ns);
    // Room for numbers that have come back grows with the first refusals, and then is enough.
    (0..REFUSALS).for_each(|_| assert!(poor.unshare().is_err()));
    let before = heap.usage();
    trace.set(true);
    print!("create: {}", errno(poor.unshare()));
    trace.set(false);
    print!("memory: {}", balance(before, heap.usage()));
    heap.refuse_from(0);
    drop(poor);
    let mut rich = Process::first(&ns);
    print!("create: {}", errno(rich.unshare()));
    drop((rich, db));
    print!("executor: {} turns", executor.run_until_idle());
    bus.deliver();

    print!("unregister: the device, in {} namespaces", ns.listed());
    let before = heap.usage();
    ns.unregister(ring);
    let rings = before.bytes - heap.usage().bytes;
    print!("unregister: at least the rings came back: {}", rings >= ns.listed() * RING);
    print!("unregister: state gone {}, routes still there {}", first.get(ring).is_none(), first.get(routes).is_some());

    print!("shutdown");
    init.close_all();
    drop((init, first));
    print!("executor: {} turns", executor.run_until_idle());
    bus.deliver();
    ns.unregister(neighbours);
    ns.unregister(routes);
    print!("listed: {}", ns.listed());
    print!(
        "platform: {} ordinary grace periods, {} deferred and done",
        rcu.graces.load(Relaxed) - REFUSALS,
        rcu.freed.load(Relaxed) - REFUSALS
    );
}

/// What one more namespace and one more reference take, on this machine without std.
fn costs(heap: &Heap) {
    let ns = Namespaces::new();
    let cred = Cred::root(ns.init_user_ns());
    // The first of all makes tables that all share.
    let warm = ns.create(&cred).expect("no limit");
    let before = heap.usage();
    let net = ns.create(&cred).expect("no limit");
    cost("namespace", before, heap.usage());
    let before = heap.usage();
    let again = net.clone();
    cost("reference", before, heap.usage());
    drop((warm, net, again));
    assert_eq!(ns.step().destroyed, 2);
}

fn cost(what: &str, before: Usage, after: Usage) {
    print!("cost: {what} {} bytes {} blocks", after.bytes - before.bytes, after.blocks - before.blocks);
}

fn balance(before: Usage, after: Usage) -> &'static str {
    if before == after { "as before" } else { "changed" }
}

fn errno<T>(result: Result<T, pernet::CreateError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => error.errno().name().unwrap_or("an errno of a subsystem"),
    }
}
