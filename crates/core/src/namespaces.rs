//! One emulated system: its registry, its list, its initial namespace. There are no globals; a
//! process may hold many.

use crate::error::{CreateError, RegisterError};
use crate::event::{EventSink, Sinks};
use crate::net::{Claims, Cookie, DyingNet, Identity, Inum, Net, NetRef};
use crate::numbers::Inums;
use crate::owner::{Cred, Uid, UserNs};
use crate::platform::{Bare, Platform};
use crate::registry::{self, Class, Registry};
use crate::setup;
use crate::slots::Key;
use crate::subsys::Subsystem;
use crate::sync::{AtomicU64, Mutex, Once, RwLock};
use crate::teardown::{self, DeathQueue, Round};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::hash::BuildHasher;

/// Ids of the initial namespaces; the generator goes on behind those of all kinds Linux has.
const INIT_USER_NS_ID: u64 = 3;
const INIT_NET_COOKIE: u64 = 7;
const FIRST_DYNAMIC_ID: u64 = 9;

/// The `on_work` hook of a [`Builder`].
pub(crate) type OnWork = Arc<dyn Fn() + Send + Sync>;

/// One emulated system. Clones are the same one.
///
/// It exists as long as a `Namespaces`, a [`NetRef`] or a [`Worker`](crate::Worker) of it does.
/// When the last of them goes, the machine is switched off: what is left is freed, and exits that
/// have not run by then do not run. Call [`step`](Self::step) before, or let a worker's drop do it.
#[derive(Clone)]
pub struct Namespaces {
    /// A reference to the initial namespace is what keeps a system running. Each other living
    /// namespace holds one too (as a bare unit, see `setup::create`).
    init: NetRef,
}

/// Options of a system.
#[derive(Clone)]
pub struct Builder {
    max_net_namespaces: u32,
    init_owner_uid: Uid,
    on_work: Option<OnWork>,
    platform: Arc<dyn Platform>,
}

impl Default for Builder {
    fn default() -> Self {
        Self { max_net_namespaces: i32::MAX as u32, init_owner_uid: Uid::ROOT, on_work: None, platform: Arc::new(Bare) }
    }
}

impl Builder {
    /// The limit of the initial user namespace, 0..=2147483647 (default; larger ones are cut).
    /// Linux starts with half of the maximal number of threads.
    #[must_use]
    pub fn max_net_namespaces(mut self, limit: u32) -> Self {
        self.max_net_namespaces = limit;
        self
    }

    /// Called when the death queue goes from empty to not empty, once each time, by whoever dropped
    /// the last reference, in its context: it may only pass the word on, to somebody who calls
    /// [`Namespaces::step`]. A [`Worker`](crate::Worker) does not need it.
    #[must_use]
    pub fn on_work(mut self, hook: Arc<dyn Fn() + Send + Sync>) -> Self {
        self.on_work = Some(hook);
        self
    }

    /// Who owns the initial user namespace; default user 0.
    #[must_use]
    pub fn init_owner_uid(mut self, uid: Uid) -> Self {
        self.init_owner_uid = uid;
        self
    }

    /// Hooks of the embedding system.
    #[must_use]
    pub fn platform(mut self, platform: Arc<dyn Platform>) -> Self {
        self.platform = platform;
        self
    }

    /// The system, with its initial namespace and nothing registered.
    #[must_use]
    #[track_caller]
    pub fn build(self) -> Namespaces {
        let ids = Arc::new(AtomicU64::new(FIRST_DYNAMIC_ID));
        let seed = hashbrown::DefaultHashBuilder::default().hash_one(Arc::as_ptr(&ids) as usize);
        let init_user_ns =
            UserNs::initial(INIT_USER_NS_ID, self.init_owner_uid, self.max_net_namespaces, Arc::clone(&ids));
        let sys = Arc::new(System {
            round: Mutex::new(()),
            registry: RwLock::new(Registry::new(seed)),
            list: Mutex::new(NetList::default()),
            deaths: DeathQueue::new(),
            shells: Mutex::new(Vec::new()),
            sinks: Sinks::default(),
            ids,
            inums: Inums::new(),
            init_user_ns,
            init_net: Once::new(),
            platform: self.platform,
            on_work: self.on_work,
            #[cfg(feature = "std")]
            workers: Mutex::new(Vec::new()),
            seed,
        });
        let identity = Identity {
            cookie: Cookie::new(INIT_NET_COOKIE),
            inum: Inum::INIT,
            hash_mix: sys.hash_mix(INIT_NET_COOKIE),
            owner: sys.init_user_ns.clone(),
        };
        let init = Net::build(Arc::clone(&sys), identity, Claims { _inum: None, _charge: None });
        sys.init_net.call_once(|| Weak::clone(&init.me));
        setup::publish(&sys, &init);
        Namespaces { init }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("max_net_namespaces", &self.max_net_namespaces)
            .field("init_owner_uid", &self.init_owner_uid)
            .field("on_work", &self.on_work.is_some())
            .finish_non_exhaustive()
    }
}

impl Default for Namespaces {
    #[track_caller]
    fn default() -> Self {
        Self::builder().build()
    }
}

impl Namespaces {
    /// A system with default options.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self::default()
    }

    /// A system with options.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// For a caller who proves, by holding a living namespace or by running in a round, that the
    /// initial namespace is alive.
    #[track_caller]
    pub(crate) fn of(sys: &System) -> Self {
        let Some(init) = sys.init_net() else { unreachable!("the initial namespace outlives all others") };
        init.active.get();
        Self { init: NetRef::adopt(init) }
    }

    pub(crate) fn sys(&self) -> &Arc<System> {
        &self.init.sys
    }

    /// The initial user namespace.
    #[must_use]
    pub fn init_user_ns(&self) -> &UserNs {
        &self.sys().init_user_ns
    }

    /// The initial namespace (`init_net`): inode number 0xEFFFFFF9, first in the list, never dies.
    #[must_use]
    #[track_caller]
    pub fn init_net(&self) -> NetRef {
        self.init.clone()
    }

    /// Registers a subsystem (`register_pernet_subsys`): behind all subsystems, before all devices.
    ///
    /// Its init runs for every listed namespace, in order of creation, before this returns; every
    /// later namespace gets it too. Exclusive: waits for a running round and for creations in
    /// progress, and may therefore not be called from a callback.
    ///
    /// # Errors
    /// [`RegisterError::Init`] if an init failed; it has been undone where it had succeeded.
    pub fn register_subsys<S: Subsystem>(&self, subsystem: S) -> Result<Key<S>, RegisterError> {
        registry::register(self.sys(), subsystem, Class::Subsystem)
    }

    /// Registers a device (`register_pernet_device`): at the end. Otherwise as
    /// [`register_subsys`](Self::register_subsys).
    ///
    /// # Errors
    /// As there.
    pub fn register_device<S: Subsystem>(&self, device: S) -> Result<Key<S>, RegisterError> {
        registry::register(self.sys(), device, Class::Device)
    }

    /// Unregisters whatever `key` stands for (`unregister_pernet_subsys`, `…_device`): runs its
    /// exits for every listed namespace. After return none of its callbacks runs or will run.
    ///
    /// A key that is not registered does nothing.
    pub fn unregister<S: Subsystem>(&self, key: Key<S>) {
        registry::unregister(self.sys(), key);
    }

    /// Creates a namespace, owned by `cred`'s user namespace and charged to its user
    /// (`unshare(CLONE_NEWNET)`).
    ///
    /// # Errors
    /// [`CreateError`]; nothing of the attempt remains.
    #[track_caller]
    pub fn create(&self, cred: &Cred) -> Result<NetRef, CreateError> {
        setup::create(&self.init, cred)
    }

    /// `copy_net_ns`: a new namespace if `new_net` (`CLONE_NEWNET`), else `current` once more.
    ///
    /// # Errors
    /// As [`create`](Self::create); without `new_net` there is none.
    #[track_caller]
    pub fn copy_net_ns(&self, current: &NetRef, new_net: bool, cred: &Cred) -> Result<NetRef, CreateError> {
        if new_net { self.create(cred) } else { Ok(current.clone()) }
    }

    /// Calls `f` for every namespace alive now, in order of creation, the initial one first.
    ///
    /// A snapshot is taken first; `f` runs with no lock held and may do anything.
    #[track_caller]
    pub fn for_each_net(&self, mut f: impl FnMut(&NetRef)) {
        for net in self.sys().listed() {
            if net.active.try_get() {
                f(&NetRef::adopt(net));
            }
        }
    }

    /// How many namespaces are listed: the living ones, and the dead that wait for their round.
    #[must_use]
    pub fn listed(&self) -> usize {
        self.sys().list.lock().nets.len()
    }

    /// Adds a receiver of events. For ever; see [`EventSink`] for what it may do.
    pub fn subscribe(&self, sink: Arc<dyn EventSink>) {
        self.sys().sinks.add(sink);
    }

    /// Runs one teardown round in the caller's context: everything that has died so far.
    ///
    /// Waits for a round that is running elsewhere; not to be called from a callback.
    pub fn step(&self) -> Round {
        teardown::round(self.sys())
    }

    /// Waits until everything that died before the call is gone, its exits run and its numbers
    /// given back; runs the round itself if nobody else has begun it.
    ///
    /// Stronger than the kernel's `net_ns_barrier`, which waits for a running round only.
    pub fn barrier(&self) {
        // A round takes the whole queue, and rounds exclude each other: when ours returns, whatever
        // was taken by an earlier one is done, and the rest was ours.
        self.step();
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces").field("listed", &self.listed()).finish_non_exhaustive()
    }
}

/// What all namespaces of one system share.
///
/// Lock order: round → registry → list → (a stack's) → a peer table → (a netlink bus's). Below all
/// of them, as leaves: back-references, claims, numbers, charges, shells, holders, workers.
pub(crate) struct System {
    /// Held during a teardown round.
    pub(crate) round: Mutex<()>,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) list: Mutex<NetList>,
    pub(crate) deaths: DeathQueue,
    /// Dead namespaces that somebody held for a moment when they were to be freed. Leaf lock.
    pub(crate) shells: Mutex<Vec<DyingNet>>,
    pub(crate) sinks: Sinks,
    /// Cookies and user namespace ids.
    pub(crate) ids: Arc<AtomicU64>,
    pub(crate) inums: Arc<Inums>,
    init_user_ns: UserNs,
    init_net: Once<Weak<Net>>,
    pub(crate) platform: Arc<dyn Platform>,
    on_work: Option<OnWork>,
    /// Who is to be woken when the death queue is no longer empty. Leaf lock.
    #[cfg(feature = "std")]
    pub(crate) workers: Mutex<Vec<std::thread::Thread>>,
    seed: u64,
}

impl System {
    /// Every listed namespace in order of creation, the dead among them included.
    pub(crate) fn listed(&self) -> Vec<Arc<Net>> {
        self.list.lock().nets.values().cloned().collect()
    }

    pub(crate) fn init_net(&self) -> Option<Arc<Net>> {
        self.init_net.get()?.upgrade()
    }

    /// The death queue is no longer empty.
    pub(crate) fn raise_alarm(&self) {
        #[cfg(feature = "std")]
        for worker in self.workers.lock().iter() {
            worker.unpark();
        }
        if let Some(hook) = &self.on_work {
            hook();
        }
    }

    /// A number nobody can guess from the cookie: splitmix64's finaliser over the seed.
    pub(crate) fn hash_mix(&self, cookie: u64) -> u32 {
        let mut z = self.seed ^ cookie.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z >> 32) as u32
    }

    /// Nobody is left who could use the system. The list owns its namespaces and they own the
    /// system: letting go of them breaks the circle.
    pub(crate) fn power_off(&self) {
        let nets = core::mem::take(&mut self.list.lock().nets);
        let shells = core::mem::take(&mut *self.shells.lock());
        // Outside the locks: dropping states runs foreign code.
        drop((nets, shells));
    }
}

/// The global list, in order of publication. Protected by its lock in [`System`].
#[derive(Default)]
pub(crate) struct NetList {
    nets: BTreeMap<u64, Arc<Net>>,
    last: u64,
}

impl NetList {
    /// Places count from 1 and are never reused.
    pub(crate) fn append(&mut self, net: Arc<Net>) -> u64 {
        self.last += 1;
        self.nets.insert(self.last, net);
        self.last
    }

    pub(crate) fn remove(&mut self, place: u64) -> Option<Arc<Net>> {
        self.nets.remove(&place)
    }
}
