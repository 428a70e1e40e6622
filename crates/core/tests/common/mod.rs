//! A subsystem that writes down everything that happens to it, and a sink that does the same.
#![allow(dead_code, reason = "each test file uses a part")]

use pernet::{
    Batch, Cookie, Cred, DyingNet, Errno, Event, EventSink, InitError, Key, KillList, Namespaces, Net, NetRef, Origin,
    Subsystem,
};
use std::sync::{Arc, Mutex};

/// One line of the log: what, of which subsystem, for which namespace(s).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Init(u32, Cookie),
    Failed(u32, Cookie),
    PreExit(u32, Cookie),
    Grace,
    ExitRtnl(u32, Cookie),
    Killed(u32, Cookie),
    Exit(u32, Cookie),
    ExitBatch(u32, Vec<Cookie>),
    Freed(u32, Cookie),
    New(Cookie, Cookie, i32, Origin),
    Del(Cookie, i32),
    NetNew(Cookie),
    NetDead(Cookie),
    Note(&'static str),
}

/// Shared by all probes and sinks of a test.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Call>>>, bool);

impl Log {
    /// Nothing is written down: for tests that run long.
    pub(crate) fn silent() -> Self {
        Self(Arc::default(), true)
    }

    pub(crate) fn push(&self, call: Call) {
        if !self.1 {
            self.0.lock().unwrap().push(call);
        }
    }

    /// What was written since the last call.
    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl EventSink for Log {
    fn emit(&self, event: &Event<'_>) {
        self.push(match *event {
            Event::NsidNew { observer, peer, id, origin } => {
                Call::New(observer.cookie(), peer.cookie(), id.get(), origin)
            }
            Event::NsidDel { observer, id } => Call::Del(observer.cookie(), id.get()),
            Event::NetNew { net } => Call::NetNew(net.cookie()),
            Event::NetDead { net } => Call::NetDead(net.cookie()),
            _ => Call::Note("unknown event"),
        });
    }
}

/// The platform hook that shows where the grace period is.
pub(crate) struct GraceLog(pub(crate) Log);

impl pernet::Platform for GraceLog {
    fn grace_period(&self, _how: pernet::Grace) {
        self.0.push(Call::Grace);
    }
}

pub(crate) type Hook = Box<dyn Fn(&Net) -> Result<(), InitError> + Send + Sync>;
pub(crate) type ExitHook = Box<dyn Fn(&DyingNet) + Send + Sync>;

/// The recording subsystem.
pub(crate) struct Probe {
    pub(crate) tag: u32,
    pub(crate) log: Log,
    pub(crate) on_init: Option<Hook>,
    pub(crate) on_exit: Option<ExitHook>,
}

pub(crate) struct ProbeState {
    pub(crate) tag: u32,
    pub(crate) net: Cookie,
    log: Log,
}

impl Drop for ProbeState {
    fn drop(&mut self) {
        self.log.push(Call::Freed(self.tag, self.net));
    }
}

pub(crate) fn probe(tag: u32, log: &Log) -> Probe {
    Probe { tag, log: log.clone(), on_init: None, on_exit: None }
}

impl Probe {
    pub(crate) fn on_init(mut self, hook: impl Fn(&Net) -> Result<(), InitError> + Send + Sync + 'static) -> Self {
        self.on_init = Some(Box::new(hook));
        self
    }

    pub(crate) fn on_exit(mut self, hook: impl Fn(&DyingNet) + Send + Sync + 'static) -> Self {
        self.on_exit = Some(Box::new(hook));
        self
    }

    /// Fails in every namespace but those created before `alive` of them have been initialised.
    pub(crate) fn failing_after(self, alive: usize) -> Self {
        let count = std::sync::atomic::AtomicUsize::new(0);
        self.on_init(move |_| {
            if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < alive { Ok(()) } else { Err(REFUSED) }
        })
    }
}

pub(crate) const REFUSED: InitError = InitError::Refused { errno: Errno::EBUSY, why: "told to" };

impl Subsystem for Probe {
    const NAME: &'static str = "probe";
    type State = ProbeState;

    fn init(&self, net: &Net) -> Result<ProbeState, InitError> {
        if let Some(hook) = &self.on_init
            && let Err(error) = hook(net)
        {
            self.log.push(Call::Failed(self.tag, net.cookie()));
            return Err(error);
        }
        self.log.push(Call::Init(self.tag, net.cookie()));
        Ok(ProbeState { tag: self.tag, net: net.cookie(), log: self.log.clone() })
    }

    fn pre_exit(&self, net: &DyingNet, state: &ProbeState) {
        assert_eq!((state.tag, state.net), (self.tag, net.cookie()));
        self.log.push(Call::PreExit(self.tag, net.cookie()));
    }

    fn exit_rtnl(&self, net: &DyingNet, state: &ProbeState, kill: &mut KillList) {
        assert_eq!((state.tag, state.net), (self.tag, net.cookie()));
        self.log.push(Call::ExitRtnl(self.tag, net.cookie()));
        let (log, tag, cookie) = (self.log.clone(), self.tag, net.cookie());
        kill.push(move || log.push(Call::Killed(tag, cookie)));
    }

    fn exit(&self, net: &DyingNet, state: &ProbeState) {
        assert_eq!((state.tag, state.net), (self.tag, net.cookie()));
        self.log.push(Call::Exit(self.tag, net.cookie()));
        if let Some(hook) = &self.on_exit {
            hook(net);
        }
    }

    fn exit_batch(&self, batch: &Batch<'_, ProbeState>) {
        let nets = batch.iter().map(|(net, state)| {
            assert_eq!((state.tag, state.net), (self.tag, net.cookie()));
            net.cookie()
        });
        self.log.push(Call::ExitBatch(self.tag, nets.collect()));
    }
}

/// The whole undo of `tags` (in list order) for `nets`, as the specification orders it.
pub(crate) fn undo(tags: &[u32], nets: &[Cookie]) -> Vec<Call> {
    let mut calls = Vec::new();
    for tag in tags.iter().rev() {
        calls.extend(nets.iter().map(|net| Call::PreExit(*tag, *net)));
    }
    calls.push(Call::Grace);
    for net in nets {
        calls.extend(tags.iter().rev().map(|tag| Call::ExitRtnl(*tag, *net)));
    }
    for net in nets {
        calls.extend(tags.iter().rev().map(|tag| Call::Killed(*tag, *net)));
    }
    for tag in tags.iter().rev() {
        calls.extend(nets.iter().map(|net| Call::Exit(*tag, *net)));
        calls.push(Call::ExitBatch(*tag, nets.to_vec()));
    }
    calls
}

/// A system that logs its grace periods, and its log.
pub(crate) fn system() -> (Namespaces, Log) {
    let log = Log::default();
    let ns = Namespaces::builder().platform(Arc::new(GraceLog(log.clone()))).build();
    (ns, log)
}

pub(crate) fn root(ns: &Namespaces) -> Cred {
    Cred::root(ns.init_user_ns())
}

pub(crate) fn create(ns: &Namespaces) -> NetRef {
    ns.create(&root(ns)).unwrap()
}

pub(crate) fn tags(net: &Net, keys: &[Key<Probe>]) -> Vec<Option<u32>> {
    keys.iter().map(|key| net.get(*key).map(|state| state.tag)).collect()
}

/// What was freed, in any order.
pub(crate) fn split_freed(calls: Vec<Call>) -> (Vec<Call>, Vec<(u32, Cookie)>) {
    let mut freed = Vec::new();
    let rest = calls
        .into_iter()
        .filter(|call| match call {
            Call::Freed(tag, net) => {
                freed.push((*tag, *net));
                false
            }
            _ => true,
        })
        .collect();
    freed.sort_unstable();
    (rest, freed)
}

/// A place where a callback stops until the test lets it go on.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<(bool, bool)>, std::sync::Condvar)>);

impl Gate {
    /// For the callback: returns when the gate is open.
    pub(crate) fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.0 = true;
        changed.notify_all();
        while !state.1 {
            state = changed.wait(state).unwrap();
        }
    }

    /// For the test: returns when somebody stands at the gate.
    pub(crate) fn wait(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        while !state.0 {
            state = changed.wait(state).unwrap();
        }
    }

    pub(crate) fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap().1 = true;
        changed.notify_all();
    }
}
