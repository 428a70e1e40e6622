//! The stack as per-namespace state of the core.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use pernet::{DyingNet, InitError, Key, KillList, Namespaces, Net, RegisterError, Subsystem};

use super::Links;
use super::random::Random;
use crate::clock;
use crate::inet::{Births, Inet};
use crate::l2::Softnet;
use crate::l4::tcp::SockTimers;
use crate::rtnl::{Clock, NoticeSink, Shared, SystemClock};
use crate::state::{NetState, Ns};
use crate::wait::Sleepers;

/// The device that registers the stack: each namespace is born with its loopback device, index 1
/// (`loopback_net_ops`, which Linux registers as the first pernet *device*). What it costs at birth is to note the time;
/// the device itself is made for whoever looks first.
pub struct LinkDevices(Arc<Inner>);

impl Subsystem for LinkDevices {
    const NAME: &'static str = "loopback";
    type State = NetState;

    fn init(&self, net: &Net) -> Result<NetState, InitError> {
        let random = &self.0.random;
        let salt = if random.is_seeded() { random.next() as u32 } else { net.hash_mix() };
        let state = NetState::new(Links::with_loopback(salt, clock::monotonic_centiseconds()));
        if let Some(settings) = self.0.births.shared() {
            state.inet.begin(Inet::inheriting(settings));
        }
        Ok(state)
    }

    /// What devices of other namespaces have to do with those of this one ends here (`default_device_exit_batch`).
    fn exit_rtnl(&self, net: &DyingNet, state: &NetState, _kill: &mut KillList) {
        if state.links.untouched() {
            return;
        }
        let Some(&key) = self.0.key.get() else { return };
        let stack = Stack { inner: Arc::clone(&self.0), key };
        stack.rtnl(pernet::Origin::KERNEL).dismantle(Ns::dying(state), &net.handle());
    }
}

/// What all namespaces of a stack share.
pub(crate) struct Inner {
    /// `rtnl_mutex`: see [`crate::rtnl`].
    pub(crate) rtnl: Mutex<Shared>,
    /// A leaf: read to copy the handle.
    pub(crate) sink: RwLock<Option<Arc<dyn NoticeSink>>>,
    pub(crate) clock: Box<dyn Clock>,
    random: Random,
    /// Who has something to receive.
    pub(crate) softnet: Softnet,
    /// When connections want to be looked at.
    pub(crate) sock_timers: SockTimers,
    /// Microseconds for which connections that are quiet keep their buffers.
    pub(crate) rest_after: AtomicU64,
    /// How many sockets have an engine that does not rest.
    pub(crate) awake: AtomicUsize,
    /// Who waits in calls.
    pub(crate) sleepers: Sleepers,
    /// How often something was changed that bears on where packets go: see [`Stack::changes`].
    changes: AtomicU64,
    /// The settings that namespaces are born with.
    pub(crate) births: Births,
    /// A leaf, likewise.
    on_timer: RwLock<Option<OnTimer>>,
    key: OnceLock<Key<LinkDevices>>,
}

/// By default ten seconds: a program that uses the library may have an allocator that writes every byte of a buffer.
const REST: u64 = 10_000_000;

type OnTimer = Arc<dyn Fn(Option<Duration>) + Send + Sync>;

/// The network stack of one emulated system. Clones are the same stack.
#[derive(Clone)]
pub struct Stack {
    inner: Arc<Inner>,
    key: Key<LinkDevices>,
}

impl Stack {
    /// Gives every namespace of `ns`, those that exist and those to come, its network stack.
    ///
    /// # Errors
    /// What [`Namespaces::register_device`] says, for instance that an existing namespace could not be set up.
    pub fn register(ns: &Namespaces) -> Result<Self, RegisterError> {
        Self::register_with_clock(ns, Box::new(SystemClock))
    }

    /// As [`Stack::register`], with a clock of the caller's.
    ///
    /// # Errors
    /// As there.
    pub fn register_with_clock(ns: &Namespaces, clock: Box<dyn Clock>) -> Result<Self, RegisterError> {
        Self::register_with(ns, clock, Random::new(None))
    }

    /// As [`Stack::register_with_clock`], and every number that would be drawn at random follows from `seed`: addresses,
    /// ports, sequence numbers, delays. With a clock that is moved by hand, and one thread that does the same each time, all
    /// packets are the same each time.
    ///
    /// # Errors
    /// As [`Stack::register`].
    pub fn register_with_seed(ns: &Namespaces, clock: Box<dyn Clock>, seed: u64) -> Result<Self, RegisterError> {
        Self::register_with(ns, clock, Random::new(Some(seed)))
    }

    fn register_with(ns: &Namespaces, clock: Box<dyn Clock>, random: Random) -> Result<Self, RegisterError> {
        let inner = Arc::new(Inner {
            rtnl: Mutex::default(),
            sink: RwLock::default(),
            clock,
            random,
            softnet: Softnet::default(),
            sock_timers: SockTimers::default(),
            rest_after: AtomicU64::new(REST),
            awake: AtomicUsize::new(0),
            sleepers: Sleepers::default(),
            changes: AtomicU64::new(0),
            births: Births::default(),
            on_timer: RwLock::default(),
            key: OnceLock::new(),
        });
        let key = ns.register_device(LinkDevices(Arc::clone(&inner)))?;
        let _ = inner.key.set(key);
        Ok(Self { inner, key })
    }

    /// A number that is another one after every change that may lead packets elsewhere, or show them to somebody. What was
    /// learnt of a way holds as long as it is the same.
    pub(crate) fn changes(&self) -> u64 {
        self.inner.changes.load(Ordering::Acquire)
    }

    /// Such a change was made.
    pub(crate) fn changed(&self) {
        self.inner.changes.fetch_add(1, Ordering::Release);
    }

    /// The devices of `net`; `None` only if `net` is of another system, or while it is being made.
    #[must_use]
    pub fn links<'n>(&self, net: &'n Net) -> Option<&'n Links> {
        self.state(net).map(|state| &state.links)
    }

    /// The time on the stack's clock, in hundredths of a second, as timers are shown.
    #[must_use]
    pub fn centiseconds(&self) -> u64 {
        clock::centiseconds(self.inner.clock.now())
    }

    /// All of the stack of `net`.
    pub(crate) fn state<'n>(&self, net: &'n Net) -> Option<&'n NetState> {
        net.get(self.key)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// A number that nobody foresees, unless the stack has a seed.
    pub(crate) fn random(&self) -> u64 {
        self.inner.random.next()
    }

    /// Calls `callback` when [`Stack::run_timers`] may be wanted sooner than it last said, with the time until then; with
    /// `None` when packets wait, for which [`Stack::run_packets`] is enough. It is called under rtnl: it may wake somebody, and
    /// nothing else.
    pub fn on_timer(&self, callback: Arc<dyn Fn(Option<Duration>) + Send + Sync>) {
        *self.inner.on_timer.write().unwrap_or_else(PoisonError::into_inner) = Some(callback);
    }

    /// Something is to be done at this time, by the stack's clock; or packets wait.
    pub(crate) fn timer_moved(&self, when: Option<Duration>) {
        let callback = self.inner.on_timer.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(callback) = callback {
            callback(when.map(|when| when.saturating_sub(self.inner.clock.now())));
        }
        self.inner.sleepers.wake_keeper();
    }

    /// How long until [`Stack::run_timers`] has something to do.
    #[must_use]
    pub fn next_timer(&self) -> Option<Duration> {
        if self.packets_wait() {
            return Some(Duration::ZERO);
        }
        let mut rtnl = self.rtnl(pernet::Origin::KERNEL);
        let next = rtnl.next_timer().into_iter().chain(self.inner.sock_timers.next()).min();
        next.map(|next| next.saturating_sub(rtnl.now()))
    }
}
