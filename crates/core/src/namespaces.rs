//! One emulated system: its registry, its list, its initial namespace. There are no globals; a
//! process may hold many.

use crate::account::Account;
use crate::error::{CreateError, RegisterError};
use crate::event::{EventSink, Sinks};
use crate::net::{Cookie, Inum, Net, NetRef};
use crate::numbers::{INUMS, Inums};
use crate::owner::{Cred, Shared, Uid, UserNs};
use crate::platform::{Bare, Platform};
use crate::registry::{self, Class, OldLists, Registry};
use crate::report::Report;
use crate::round::{Busy, Rounds};
use crate::setup;
use crate::shard::{Home, Shard, Walk};
use crate::slots::Key;
use crate::subsys::Subsystem;
use crate::sync::{AtomicUsize, Mutex, Once, Padded};
use crate::system::{Admitted, OnWork, System};
use crate::teardown::{self, Round};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::hash::BuildHasher;

/// Ids of the initial namespaces; the generator goes on behind those of all kinds Linux has.
const INIT_USER_NS_ID: u64 = 3;
const INIT_NET_COOKIE: u64 = 7;
const FIRST_DYNAMIC_ID: u64 = 9;

/// One emulated system. Clones are the same one.
///
/// It exists as long as a `Namespaces`, a [`NetRef`] or a [`Worker`](crate::Worker) of it does.
/// When the last of them goes, the machine is switched off: what is left is freed, and exits that
/// have not run by then do not run. Call [`step`](Self::step) before, or let a worker's drop do it.
#[derive(Clone)]
pub struct Namespaces {
    /// A reference to the initial namespace is what keeps a system running. Each shard with living
    /// namespaces holds one too (as a bare unit, see `setup::create`).
    init: NetRef,
}

/// Options of a system.
#[derive(Clone)]
pub struct Builder {
    max_net_namespaces: u32,
    init_owner_uid: Uid,
    on_work: Option<OnWork>,
    platform: Arc<dyn Platform>,
    shards: usize,
    inums: u32,
    track_holders: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            max_net_namespaces: i32::MAX as u32,
            init_owner_uid: Uid::ROOT,
            on_work: None,
            platform: Arc::new(Bare),
            shards: crate::sync::processors(),
            inums: INUMS,
            track_holders: cfg!(debug_assertions),
        }
    }
}

/// More shards than this are no use: each is looked at by every step and walk.
const MAX_SHARDS: usize = 256;

impl Builder {
    /// The limit of the initial user namespace, 0..=2147483647 (default; larger ones are cut).
    /// Linux starts with half of the maximal number of threads.
    #[must_use]
    pub fn max_net_namespaces(mut self, limit: u32) -> Self {
        self.max_net_namespaces = limit;
        self
    }

    /// Called when a death queue (each shard has one) goes from empty to not empty, once each time, by
    /// whoever dropped the last reference, in its context, or by a registration that lets go of a
    /// dead namespace: it may only pass the word on, to somebody who calls [`Namespaces::step`]. A
    /// [`Worker`](crate::Worker) does not need it.
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

    /// In how many shards creations are to keep out of each other's way, 1..=256 (others are cut);
    /// by default as many as there are processors, without `std` one. See
    /// [`Platform::shard`].
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards.clamp(1, MAX_SHARDS);
        self
    }

    /// How many inode numbers there are from 0xF0000000 up, for an embedder who keeps the rest for
    /// other kinds. Default and maximum: 268435456.
    #[must_use]
    pub fn inums(mut self, inums: u32) -> Self {
        self.inums = inums;
        self
    }

    /// Whether to note where in the source each active reference was taken, for
    /// [`Net::holders`] and [`Namespaces::report`]. Default: in debug builds. It costs a lock and a
    /// look into a tree for each reference taken and dropped.
    #[must_use]
    pub fn track_holders(mut self, track: bool) -> Self {
        self.track_holders = track;
        self
    }

    /// The system, with its initial namespace and nothing registered.
    #[must_use]
    #[track_caller]
    pub fn build(self) -> Namespaces {
        let shared = Shared::new(FIRST_DYNAMIC_ID);
        let seed = hashbrown::DefaultHashBuilder::default().hash_one(Arc::as_ptr(&shared) as usize);
        let init_user_ns =
            UserNs::initial(INIT_USER_NS_ID, self.init_owner_uid, self.max_net_namespaces, Arc::clone(&shared));
        let account = Account::open(&init_user_ns, Uid::ROOT);
        let sys = Arc::new(System {
            registry: Mutex::new(Registry::new(seed)),
            old_lists: Mutex::new(OldLists::default()),
            rounds: Mutex::new(Rounds::default()),
            shards: (0..self.shards).map(|_| Shard::new()).collect(),
            places: Padded::default(),
            postponed: AtomicUsize::new(0),
            shells: Mutex::new(Vec::new()),
            freeing: Mutex::new(()),
            sinks: Sinks::default(),
            shared,
            inums: Inums::new(self.inums),
            init_user_ns,
            init_net: Once::new(),
            platform: self.platform,
            on_work: self.on_work,
            #[cfg(feature = "std")]
            workers: Mutex::new(Vec::new()),
            seed,
            track_holders: self.track_holders,
        });
        for (shard, part) in sys.shards.iter().enumerate() {
            part.body.lock().home = Some(Arc::new(Home { sys: Arc::clone(&sys), shard }));
        }
        let admitted = Admitted {
            account,
            inum: Inum::INIT,
            cookie: Cookie::new(INIT_NET_COOKIE),
            ops: Arc::default(),
            home: Arc::new(Home { sys: Arc::clone(&sys), shard: 0 }),
        };
        let init = Net::build(admitted);
        sys.init_net.call_once(|| Weak::clone(&init.me));
        // The list of subsystems is as empty as the one it was built with.
        setup::publish(&init, &crate::registry::OpsList::default());
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

    pub(crate) fn sys(&self) -> &System {
        self.init.sys()
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
    /// later namespace gets it too. Creations and teardown go on meanwhile, also if there are
    /// 100,000 namespaces: a namespace is in hand for one callback. Registrations follow one
    /// another.
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
    /// exits for every listed namespace, while creations and teardown go on. After return none of
    /// its callbacks runs or will run; so not from a callback, which it would wait for.
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
        setup::create(&self.init, cred, None)
    }

    /// Creates a namespace after the model of another: each subsystem builds its state by
    /// [`Subsystem::init_from`] the template's, which is an ordinary `init` unless it says otherwise.
    ///
    /// Identity, owner and quota are the new one's own, as by [`create`](Self::create); peer ids are
    /// not copied: they are the observer's. What is changed in the template meanwhile is seen or not
    /// by each subsystem for itself.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    #[track_caller]
    pub fn create_from(&self, template: &Net, cred: &Cred) -> Result<NetRef, CreateError> {
        setup::create(&self.init, cred, Some(template))
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
    /// Those that are created or die meanwhile may be met or not. `f` runs with no lock held and may
    /// do anything.
    #[track_caller]
    pub fn for_each_net(&self, mut f: impl FnMut(&NetRef)) {
        for net in Walk::new(self.sys()) {
            if net.active.try_get() {
                f(&NetRef::adopt(net));
            }
        }
    }

    /// How many namespaces are listed: the living ones, and the dead that wait for their round.
    #[must_use]
    pub fn listed(&self) -> usize {
        self.sys().listed()
    }

    /// Adds a receiver of events. For ever; see [`EventSink`] for what it may do.
    pub fn subscribe(&self, sink: Arc<dyn EventSink>) {
        self.sys().sinks.add(sink);
    }

    /// Runs one teardown round in the caller's context: up to 1,024 of those that have died.
    ///
    /// Any number of threads may step at the same time, each on a batch of its own. Callbacks may
    /// step too, at the price of their stack.
    pub fn step(&self) -> Round {
        teardown::step(self.sys(), 0)
    }

    /// Takes over the rest of a round that is in a callback of one namespace, and runs it to its end;
    /// that namespace stays with whoever called the callback, and goes on when it returns.
    ///
    /// For embedders who step from threads of their own and find that one of them does not come
    /// back; a [`Worker`](crate::Worker) does it by itself. Nothing is done if no round can be split
    /// (it has one namespace only, or is in a callback for all of them).
    pub fn rescue(&self) -> Round {
        teardown::rescue(self.sys(), 0, |_, _| true).unwrap_or_default()
    }

    /// What the rounds that run are doing at this moment: with what `holders` says, the answer to
    /// "why does it not go away".
    #[must_use]
    pub fn busy(&self) -> Vec<Busy> {
        teardown::busy(self.sys())
    }

    /// Who holds what, in words and figures; see [`Report`]. Looks at every namespace.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::of(self.sys())
    }

    /// Waits until everything that died before the call is gone, its exits run and its state
    /// dropped (but for what somebody keeps who was never to: see [`Subsystem::init`] on the dead);
    /// runs what nobody else has begun. Not from a callback, which it would wait for.
    ///
    /// Stronger than the kernel's `net_ns_barrier`; see [`net_ns_barrier`](Self::net_ns_barrier).
    pub fn barrier(&self) {
        teardown::barrier(self.sys());
    }

    /// Waits until every round that runs at the time of the call has ended (`net_ns_barrier`): what
    /// is dead but in no round yet may stay so. Not from a callback.
    pub fn net_ns_barrier(&self) {
        teardown::wait_for_rounds(self.sys());
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces").field("listed", &self.listed()).finish_non_exhaustive()
    }
}
