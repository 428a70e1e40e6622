//! What must hold whatever the schedule, checked at every callback and event and at the end.

use crate::create;
use pernet::{
    Batch, Builder, Cookie, DyingNet, Errno, Event, EventSink, InitError, Inum, KillList, Namespaces, Net, NetRef,
    Nsid, Subsystem, Uid,
};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, Weak};

/// How far one state has come; I1 demands each of them once, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum At {
    Initialising,
    Up,
    PreExited,
    Unregistered,
    Killed,
    Exited,
    Batched,
    Freed,
}

/// Not a lock of the core's, and never held where a schedule may switch.
#[derive(Default)]
struct Book {
    states: BTreeMap<(Cookie, u32), At>,
    /// A namespace with a callback in it.
    inside: HashSet<Cookie>,
    /// Subsystems that are being unregistered on their own.
    leaving: HashSet<u32>,
    listed: HashMap<Cookie, Inum>,
    inums: HashSet<Inum>,
    dead: HashSet<Cookie>,
    tables: HashMap<Cookie, BTreeMap<Nsid, Cookie>>,
}

#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Shared>);

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    /// Where callbacks let others go on.
    pause: Pause,
}

#[derive(Default)]
struct Pause(AtomicUsize);

impl Pause {
    fn here(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

std::thread_local! {
    /// The task that is dropping a last reference, if any: I15 forbids it callbacks.
    static DROPPING: Cell<Option<usize>> = const { Cell::new(None) };
}

fn me() -> usize {
    shuttle::current::me().into()
}

impl Ledger {
    /// One schedule: `scenario`, and then nothing of any system may be left.
    pub(crate) fn run(scenario: fn(&Self)) {
        DROPPING.set(None);
        let ledger = Self::default();
        scenario(&ledger);
        let book = ledger.0.book.lock().unwrap();
        let left: Vec<_> = book.states.iter().filter(|(_, at)| **at != At::Freed).collect();
        assert!(left.is_empty(), "leaked: {left:?}");
        assert_eq!(Arc::strong_count(&ledger.0), 1, "a system that is off keeps its sink");
    }

    fn with<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        // A failed assertion in one task ends the schedule.
        look(&mut self.0.book.lock().unwrap())
    }

    pub(crate) fn system(&self) -> Namespaces {
        self.system_of(Namespaces::builder())
    }

    pub(crate) fn system_of(&self, builder: Builder) -> Namespaces {
        let ns = builder.build();
        let init = ns.init_net();
        self.with(|book| book.listed.insert(init.cookie(), init.inum()));
        // The sink holds the ledger, and the system the sink.
        ns.subscribe(Arc::new(self.clone()));
        ns
    }

    pub(crate) fn part(&self, tag: u32) -> Part {
        Part { tag, ledger: self.clone(), fails_at: None, inits: AtomicUsize::new(0) }
    }

    /// Tells the ledger that the order of exits is no longer that of the list for this one.
    pub(crate) fn leaving(&self, tag: u32) {
        self.with(|book| book.leaving.insert(tag));
    }

    pub(crate) fn at(&self, tag: u32, net: Cookie) -> Option<At> {
        self.with(|book| book.states.get(&(net, tag)).copied())
    }

    pub(crate) fn is_up(&self, tag: u32, net: Cookie) -> bool {
        self.at(tag, net) == Some(At::Up)
    }

    /// Callbacks of one subsystem that will never run again: none has a state that waits for one.
    pub(crate) fn has_left(&self, tag: u32) -> bool {
        self.with(|book| book.states.iter().all(|((_, of), at)| *of != tag || *at >= At::Batched))
    }

    /// Drops what may be the last reference, which must not call anybody back (I15).
    pub(crate) fn drop_last(&self, net: NetRef) {
        // Tasks share a thread: a task that is switched to meanwhile is another.
        let before = DROPPING.replace(Some(me()));
        drop(net);
        DROPPING.set(before);
    }

    /// Everybody has let go: tears down what has died, and looks for what is left.
    pub(crate) fn settle(&self, ns: &Namespaces) {
        while ns.step().more {}
        ns.barrier();
        assert_eq!(ns.listed(), 1, "I4");
        assert_eq!(ns.init_user_ns().net_namespaces(Uid::ROOT), 0, "I10");
        let report = ns.report();
        assert_eq!((report.waiting, report.shells, report.busy.len()), (0, 0, 0));
        let init = ns.init_net().cookie();
        self.with(|book| {
            let left = book.states.iter().find(|((net, _), at)| *net != init && **at != At::Freed);
            assert_eq!(left, None, "I1, and nothing leaked");
            assert_eq!(book.listed.len(), 1);
            assert!(book.inside.is_empty());
            let named = book.tables.get(&init).into_iter().flatten().find(|(_, peer)| **peer != init);
            assert_eq!(named, None, "I6");
        });
        // All numbers have come back: the next namespace works as the first did.
        let again = create(ns);
        drop(again);
        while ns.step().more {}
    }

    /// What the events of `observer` add up to is what its table says (I9).
    pub(crate) fn compare(&self, observer: &NetRef) {
        let table = observer.nsids_from(Nsid::ZERO, usize::MAX);
        let told = self.with(|book| book.tables.get(&observer.cookie()).cloned().unwrap_or_default());
        let dead = |peer: &Cookie| self.with(|book| book.dead.contains(peer));
        let living: BTreeMap<Nsid, Cookie> = told.into_iter().filter(|(_, peer)| !dead(peer)).collect();
        let seen: BTreeMap<Nsid, Cookie> = table.entries.iter().map(|(id, peer)| (*id, peer.cookie())).collect();
        assert_eq!(seen, living, "I9");
    }

    fn reach(&self, tag: u32, net: Cookie, from: At, to: At) {
        self.with(|book| {
            let at = book.states.insert((net, tag), to);
            assert_eq!(at, Some(from), "I1: {to:?} of {tag} in {net:?}");
        });
    }

    /// A callback on one namespace: never two at once.
    fn enter(&self, net: Cookie) -> Inside {
        assert_ne!(DROPPING.get(), Some(me()), "I15: a callback in whoever drops");
        let alone = self.with(|book| book.inside.insert(net));
        assert!(alone, "two callbacks in {net:?} at once");
        self.0.pause.here();
        Inside(Arc::downgrade(&self.0), net)
    }
}

struct Inside(Weak<Shared>, Cookie);

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade()
            && !std::thread::panicking()
        {
            shared.pause.here();
            shared.book.lock().unwrap().inside.remove(&self.1);
        }
    }
}

impl EventSink for Ledger {
    fn emit(&self, event: &Event<'_>) {
        self.with(|book| match *event {
            Event::NsidNew { observer, peer, id, .. } => {
                for net in [observer.cookie(), peer.cookie()] {
                    assert!(book.listed.contains_key(&net), "I5: only the listed name and are named");
                }
                let table = book.tables.entry(observer.cookie()).or_default();
                assert!(!table.values().any(|named| *named == peer.cookie()), "I8: one id for a peer");
                assert_eq!(table.insert(id, peer.cookie()), None, "I8, I9: no NEW before the DEL");
            }
            Event::NsidDel { observer, id } => {
                let table = book.tables.entry(observer.cookie()).or_default();
                let peer = table.remove(&id).expect("I9: a DEL has its NEW");
                assert!(book.dead.contains(&peer), "unlisted before it is forgotten");
            }
            Event::NetNew { net } => {
                assert!(book.inums.insert(net.inum()), "I11: unique among the listed");
                assert_eq!(book.listed.insert(net.cookie(), net.inum()), None, "I11: a cookie never comes back");
                let unfinished = book.states.iter().find(|((of, _), at)| *of == net.cookie() && **at < At::Up);
                assert_eq!(unfinished, None, "I4: published after the last init");
            }
            Event::NetDead { net } => {
                let inum = book.listed.remove(&net.cookie()).expect("I4: listed until now");
                assert!(book.inums.remove(&inum));
                book.tables.remove(&net.cookie());
                assert!(book.dead.insert(net.cookie()), "nobody dies twice");
            }
            _ => {}
        });
    }
}

/// A subsystem that enters everything in the ledger.
pub(crate) struct Part {
    tag: u32,
    ledger: Ledger,
    /// Which of its inits fails.
    fails_at: Option<usize>,
    inits: AtomicUsize,
}

impl Part {
    pub(crate) fn failing_at(mut self, init: usize) -> Self {
        self.fails_at = Some(init);
        self
    }
}

pub(crate) struct State {
    pub(crate) net: Cookie,
    tag: u32,
    ledger: Ledger,
}

impl Drop for State {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let before = self.ledger.with(|book| book.states.insert((self.net, self.tag), At::Freed));
        // Undone to the end; or, when the system was switched off, as it was.
        assert!(before.is_some_and(|at| at != At::Freed), "I12: freed once, not {before:?}");
    }
}

impl Subsystem for Part {
    const NAME: &'static str = "part";
    type State = State;

    fn init(&self, net: &Net) -> Result<State, InitError> {
        let _inside = self.ledger.enter(net.cookie());
        let cookie = net.cookie();
        if Some(self.inits.fetch_add(1, Ordering::SeqCst)) == self.fails_at {
            return Err(InitError::Refused { errno: Errno::EBUSY, why: "told to" });
        }
        let before = self.ledger.with(|book| book.states.insert((cookie, self.tag), At::Initialising));
        assert_eq!(before, None, "I1: one init");
        let state = State { net: cookie, tag: self.tag, ledger: self.ledger.clone() };
        self.ledger.0.pause.here();
        self.ledger.reach(self.tag, cookie, At::Initialising, At::Up);
        Ok(state)
    }

    fn pre_exit(&self, net: &DyingNet, state: &State) {
        assert_eq!((state.net, state.tag), (net.cookie(), self.tag), "I3");
        let _inside = self.ledger.enter(net.cookie());
        self.ledger.reach(self.tag, net.cookie(), At::Up, At::PreExited);
    }

    fn exit_rtnl(&self, net: &DyingNet, state: &State, kill: &mut KillList) {
        assert_eq!((state.net, state.tag), (net.cookie(), self.tag), "I3");
        let _inside = self.ledger.enter(net.cookie());
        self.ledger.reach(self.tag, net.cookie(), At::PreExited, At::Unregistered);
        let (ledger, tag, cookie) = (self.ledger.clone(), self.tag, net.cookie());
        kill.push(move || {
            let _inside = ledger.enter(cookie);
            ledger.reach(tag, cookie, At::Unregistered, At::Killed);
        });
    }

    fn exit(&self, net: &DyingNet, state: &State) {
        assert_eq!((state.net, state.tag), (net.cookie(), self.tag), "I3");
        let _inside = self.ledger.enter(net.cookie());
        self.ledger.reach(self.tag, net.cookie(), At::Killed, At::Exited);
        self.ledger.with(|book| {
            // Tags grow along the list.
            let later = book.states.iter().find(|((of, tag), at)| {
                *of == net.cookie() && *tag > self.tag && **at < At::Batched && !book.leaving.contains(tag)
            });
            assert!(later.is_none() || book.leaving.contains(&self.tag), "I2: {later:?} after {}", self.tag);
        });
    }

    fn exit_batch(&self, batch: &Batch<'_, State>) {
        let inside: Vec<_> = batch.iter().map(|(net, _)| self.ledger.enter(net.cookie())).collect();
        for (net, state) in batch.iter() {
            assert_eq!((state.net, state.tag), (net.cookie(), self.tag), "I3");
            self.ledger.reach(self.tag, net.cookie(), At::Exited, At::Batched);
        }
        drop(inside);
    }
}
