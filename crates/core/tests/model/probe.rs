//! What is registered with the system under test, and writes down all that happens to it.

use crate::ops::Until;
use pernet::{
    AssignError, Batch, DyingNet, Errno, Event, EventSink, Grace, InitError, Key, KillList, Namespaces, Net, NetHandle,
    NetRef, Origin, Platform, RegisterError, Subsystem, Uid, UserNs,
};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A line of the log. Namespaces go by cookie, registrations by the count of those before.
///
/// `seen` has a bit for each registration whose key finds the state that belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Init { tag: u32, net: u64, seen: u64, listed: usize },
    Failed { tag: u32, net: u64 },
    Tried { to: Option<i32>, from: Option<i32>, assigned: Option<AssignError> },
    PreExit { tag: u32, net: u64, seen: u64, alive: bool },
    ExitRtnl { tag: u32, net: u64, seen: u64, alive: bool },
    Killed { tag: u32, net: u64 },
    Exit { tag: u32, net: u64, seen: u64, alive: bool },
    Batch { tag: u32, len: usize, listed: usize },
    Member { tag: u32, net: u64, seen: u64 },
    Freed { tag: u32, net: u64 },
    Grace { how: Grace, charged: u32 },
    Drained { charged: u32 },
    NsidNew { observer: u64, peer: u64, id: i32, origin: Origin, found: bool },
    NsidDel { observer: u64, id: i32 },
    NetNew { net: u64, seen: u64 },
    NetDead { net: u64, alive: bool },
    Visit { net: u64 },
    Alarm,
}

/// What an init is told to do besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Deed {
    #[default]
    Nothing,
    KeepHandle,
    KeepRef,
    DropRef,
    Name,
}

/// Orders for the inits of one operation.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) fail: Option<usize>,
    pub(crate) at: usize,
    pub(crate) deed: Deed,
    pub(crate) victim: Option<NetRef>,
    pub(crate) other: Option<NetRef>,
    pub(crate) refs: Vec<NetRef>,
    pub(crate) handles: Vec<NetHandle>,
    /// How many have run.
    pub(crate) inits: usize,
}

pub(crate) struct Stashed {
    pub(crate) tag: u32,
    pub(crate) net: u64,
    pub(crate) until: Until,
    #[allow(dead_code, reason = "owned, and dropped")]
    pub(crate) owned: NetRef,
}

#[derive(Default)]
pub(crate) struct Inner {
    log: Vec<Call>,
    /// By registration; `None` where it failed.
    pub(crate) keys: Vec<Option<AnyKey>>,
    pub(crate) plan: Plan,
    pub(crate) stash: Vec<Stashed>,
}

/// What the probes, the sink and the hooks of one system share.
#[derive(Default)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// States that exist.
    pub(crate) states: AtomicUsize,
}

impl Shared {
    /// Never held over anything that could call back.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn log(&self, call: Call) {
        self.lock().log.push(call);
    }

    /// Swaps the log for an empty one.
    pub(crate) fn swap_log(&self, log: &mut Vec<Call>) {
        log.clear();
        std::mem::swap(&mut self.lock().log, log);
    }

    fn seen(&self, net: &impl Reads, cookie: u64) -> u64 {
        let inner = self.lock();
        let found = |(tag, key): &(usize, &Option<AnyKey>)| {
            key.is_some_and(|key| key.read(net).is_some_and(|state| (state.0 as usize, state.1) == (*tag, cookie)))
        };
        inner.keys.iter().enumerate().filter(found).fold(0, |seen, (tag, _)| seen | 1 << tag)
    }

    fn take_stash(&self, tag: u32, net: u64, until: Until) -> Vec<Stashed> {
        let stash = &mut self.lock().stash;
        if stash.is_empty() {
            return Vec::new();
        }
        stash.extract_if(.., |it| (it.tag, it.net, it.until) == (tag, net, until)).collect()
    }
}

/// The two kinds of callers that may read states.
pub(crate) trait Reads {
    fn state<const N: usize>(&self, key: Key<Probe<N>>) -> Option<&State<N>>;
}

impl Reads for Net {
    fn state<const N: usize>(&self, key: Key<Probe<N>>) -> Option<&State<N>> {
        self.get(key)
    }
}

impl Reads for DyingNet {
    fn state<const N: usize>(&self, key: Key<Probe<N>>) -> Option<&State<N>> {
        self.get(key)
    }
}

/// A key of any of the three types.
#[derive(Clone, Copy)]
pub(crate) enum AnyKey {
    Zero(Key<Probe<0>>),
    One(Key<Probe<1>>),
    Two(Key<Probe<2>>),
}

impl AnyKey {
    pub(crate) fn register(
        ns: &Namespaces,
        device: bool,
        kind: u8,
        tag: u32,
        shared: &Arc<Shared>,
    ) -> Result<Self, RegisterError> {
        fn to<const N: usize>(ns: &Namespaces, device: bool, probe: Probe<N>) -> Result<Key<Probe<N>>, RegisterError> {
            if device { ns.register_device(probe) } else { ns.register_subsys(probe) }
        }
        let shared = Arc::clone(shared);
        match kind {
            0 => to(ns, device, Probe { tag, shared }).map(Self::Zero),
            1 => to(ns, device, Probe { tag, shared }).map(Self::One),
            _ => to(ns, device, Probe { tag, shared }).map(Self::Two),
        }
    }

    pub(crate) fn unregister(self, ns: &Namespaces) {
        match self {
            Self::Zero(key) => ns.unregister(key),
            Self::One(key) => ns.unregister(key),
            Self::Two(key) => ns.unregister(key),
        }
    }

    /// Registration, namespace, content.
    pub(crate) fn read(self, net: &impl Reads) -> Option<(u32, u64, u32)> {
        fn of<const N: usize>(state: &State<N>) -> (u32, u64, u32) {
            (state.tag, state.net, state.content.load(Ordering::Relaxed))
        }
        match self {
            Self::Zero(key) => net.state(key).map(of),
            Self::One(key) => net.state(key).map(of),
            Self::Two(key) => net.state(key).map(of),
        }
    }

    pub(crate) fn write(self, net: &Net, content: u32) -> bool {
        fn to<const N: usize>(state: Option<&State<N>>, content: u32) -> bool {
            state.map(|state| state.content.store(content, Ordering::Relaxed)).is_some()
        }
        match self {
            Self::Zero(key) => to(net.get(key), content),
            Self::One(key) => to(net.get(key), content),
            Self::Two(key) => to(net.get(key), content),
        }
    }
}

/// What a subsystem of each type is called.
pub(crate) const NAMES: [&str; 3] = ["zero", "one", "two"];

pub(crate) const REFUSED: InitError = InitError::Refused { errno: Errno::EBUSY, why: "told to" };

/// What an init writes into a new state.
pub(crate) fn first_content(tag: u32, net: u64) -> u32 {
    tag * 1000 + net as u32
}

pub(crate) struct Probe<const N: usize> {
    tag: u32,
    shared: Arc<Shared>,
}

pub(crate) struct State<const N: usize> {
    tag: u32,
    net: u64,
    content: AtomicU32,
    shared: Arc<Shared>,
}

impl<const N: usize> Drop for State<N> {
    fn drop(&mut self) {
        self.shared.states.fetch_sub(1, Ordering::Relaxed);
        self.shared.log(Call::Freed { tag: self.tag, net: self.net });
        drop(self.shared.take_stash(self.tag, self.net, Until::Freed));
    }
}

impl<const N: usize> Probe<N> {
    /// Carries out the plan. Answers whether this init is to fail.
    fn act(&self, net: &Net) -> bool {
        let (deed, fail, victim, other) = {
            let plan = &mut self.shared.lock().plan;
            let nth = plan.inits;
            plan.inits += 1;
            let deed = if plan.at == nth { plan.deed } else { Deed::Nothing };
            let victim = if deed == Deed::DropRef { plan.victim.take() } else { None };
            let other = if deed == Deed::Name { plan.other.take() } else { None };
            (deed, plan.fail == Some(nth), victim, other)
        };
        drop(victim);
        match deed {
            Deed::KeepHandle => self.shared.lock().plan.handles.push(net.handle()),
            Deed::KeepRef => {
                let kept = net.to_ref();
                self.shared.lock().plan.refs.push(kept);
            }
            Deed::Name | Deed::DropRef | Deed::Nothing => {}
        }
        if let Some(other) = other {
            let to = net.peernet2id_alloc(&other).map(|id| id.get());
            let from = other.peernet2id_alloc(net).map(|id| id.get());
            let assigned = net.assign_nsid(&other, None, Origin::KERNEL).err();
            self.shared.log(Call::Tried { to, from, assigned });
        }
        fail
    }

    fn check(&self, net: &DyingNet, state: &State<N>) -> (u32, u64, u64, bool) {
        let cookie = net.cookie().get();
        assert_eq!((state.tag, state.net), (self.tag, cookie), "a callback got the state of somebody else");
        (self.tag, cookie, self.shared.seen(net, cookie), net.handle().is_alive())
    }
}

impl<const N: usize> Subsystem for Probe<N> {
    const NAME: &'static str = NAMES[N];
    type State = State<N>;

    fn init(&self, net: &Net) -> Result<State<N>, InitError> {
        let (tag, cookie) = (self.tag, net.cookie().get());
        if self.act(net) {
            self.shared.log(Call::Failed { tag, net: cookie });
            return Err(REFUSED);
        }
        let (seen, listed) = (self.shared.seen(net, cookie), net.namespaces().listed());
        self.shared.log(Call::Init { tag, net: cookie, seen, listed });
        self.shared.states.fetch_add(1, Ordering::Relaxed);
        let content = AtomicU32::new(first_content(tag, cookie));
        Ok(State { tag, net: cookie, content, shared: Arc::clone(&self.shared) })
    }

    fn pre_exit(&self, net: &DyingNet, state: &State<N>) {
        let (tag, net, seen, alive) = self.check(net, state);
        self.shared.log(Call::PreExit { tag, net, seen, alive });
        drop(self.shared.take_stash(tag, net, Until::PreExit));
    }

    fn exit_rtnl(&self, net: &DyingNet, state: &State<N>, kill: &mut KillList) {
        let (tag, net, seen, alive) = self.check(net, state);
        self.shared.log(Call::ExitRtnl { tag, net, seen, alive });
        let (shared, stash) = (Arc::clone(&self.shared), self.shared.take_stash(tag, net, Until::Killed));
        kill.push(move || {
            shared.log(Call::Killed { tag, net });
            drop(stash);
        });
    }

    fn exit(&self, net: &DyingNet, state: &State<N>) {
        let (tag, net, seen, alive) = self.check(net, state);
        self.shared.log(Call::Exit { tag, net, seen, alive });
        drop(self.shared.take_stash(tag, net, Until::Exit));
    }

    fn exit_batch(&self, batch: &Batch<'_, State<N>>) {
        let tag = self.tag;
        let listed = batch.iter().next().map_or(0, |(net, _)| net.namespaces().listed());
        self.shared.log(Call::Batch { tag, len: batch.len(), listed });
        for (net, state) in batch.iter() {
            let (tag, net, seen, _) = self.check(net, state);
            self.shared.log(Call::Member { tag, net, seen });
        }
        for (net, _) in batch.iter() {
            drop(self.shared.take_stash(tag, net.cookie().get(), Until::Batch));
        }
    }
}

impl EventSink for Shared {
    fn emit(&self, event: &Event<'_>) {
        self.log(match *event {
            Event::NsidNew { observer, peer, id, origin } => {
                // What an event says is true when it is said.
                let found = peer.upgrade().is_some_and(|peer| observer.peernet2id(&peer) == Some(id));
                let (observer, peer, id) = (observer.cookie().get(), peer.cookie().get(), id.get());
                Call::NsidNew { observer, peer, id, origin, found }
            }
            Event::NsidDel { observer, id } => Call::NsidDel { observer: observer.cookie().get(), id: id.get() },
            Event::NetNew { net } => {
                let cookie = net.cookie().get();
                Call::NetNew { net: cookie, seen: self.seen(net, cookie) }
            }
            Event::NetDead { net } => Call::NetDead { net: net.cookie().get(), alive: net.is_alive() },
            _ => unreachable!("an event that the model does not know"),
        });
    }
}

/// Users that namespaces are charged to at the top.
pub(crate) const UIDS: u32 = 3;

/// The hooks of a platform: they show where the waits are, and how much is charged then.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) shared: Arc<Shared>,
    pub(crate) top: std::sync::OnceLock<UserNs>,
}

impl Hooks {
    fn charged(&self) -> u32 {
        let top = self.top.get().expect("set before anything happens");
        (0..UIDS).map(|uid| top.net_namespaces(Uid(uid))).sum()
    }
}

impl Platform for Hooks {
    fn grace_period(&self, how: Grace) {
        self.shared.log(Call::Grace { how, charged: self.charged() });
    }

    fn drain_deferred(&self) {
        self.shared.log(Call::Drained { charged: self.charged() });
    }
}
