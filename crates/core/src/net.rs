//! The namespace object and the three ways to hold it.
//!
//! | type | the kernel's | keeps | reaches per-namespace data |
//! |---|---|---|---|
//! | [`NetRef`] | active count (`get_net`/`put_net`) | the namespace alive | yes, by `Deref` to [`Net`] |
//! | [`NetHandle`] | passive count (`net_passive_inc`) | the identity | no way to |
//! | [`DyingNet`] | a `struct net` inside an exit callback | its memory, for the callback | yes, and no way to revive it |
//!
//! What the kernel asks for in comments ("get_net only if you can prove the count is positive") is
//! asked here by types: a `&Net` exists only behind an active reference.

use crate::account::Account;
use crate::life::Life;
use crate::namespaces::Namespaces;
use crate::numbers::InumStock;
use crate::owner::UserNs;
use crate::peers::Peers;
use crate::provisional::Provisional;
use crate::refs::{Holder, Holders, StickyCount};
use crate::shard::Home;
use crate::slots::{Key, Slots};
use crate::subsys::Subsystem;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::system::{Admitted, System};
use crate::teardown;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;
use core::panic::Location;

/// Identity of a namespace for the whole run of its system: never zero, never reused.
///
/// What `SO_NETNS_COOKIE` and the nsfs ioctl `NS_GET_ID` answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cookie(u64);

impl Cookie {
    pub(crate) const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Inode number of a namespace, the number in `net:[4026531833]`. Unique among those that exist,
/// recycled afterwards: compare [`Cookie`]s, not these.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Inum(u32);

impl Inum {
    /// The initial namespace's, 0xEFFFFFF9.
    pub const INIT: Self = Self(0xEFFF_FFF9);

    pub(crate) const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A network namespace, reachable only through an active reference.
pub struct Net {
    /// Itself, for `to_ref` and `handle`: what a borrow alone cannot give.
    pub(crate) me: Weak<Self>,
    home: Arc<Home>,
    pub(crate) active: StickyCount,
    pub(crate) slots: Slots,
    pub(crate) provisional: Provisional,
    pub(crate) peers: Peers,
    pub(crate) life: Life,
    cookie: Cookie,
    inum: Inum,
    hash_mix: u32,
    /// Whose unit of quota it has; the owner too.
    account: Arc<Account>,
    /// Inode number and quota have been given back, or never were taken.
    given_back: AtomicBool,
    /// A reference was taken when it was dead already, by an init that a registration ran for it: it may be kept for good,
    /// and then the memory is.
    kept: AtomicBool,
    /// Its place in order of publication, among all; 0 before.
    pub(crate) place: AtomicU64,
    /// Its number in its shard's list; 0 before.
    pub(crate) at: AtomicU64,
    /// The next older one in the death queue; the queue's own business.
    pub(crate) next_dead: AtomicU64,
    holders: Holders,
}

impl Net {
    /// A namespace under construction, active count 1.
    #[track_caller]
    pub(crate) fn build(admitted: Admitted) -> NetRef {
        let Admitted { account, inum, cookie, home, ops: _ } = admitted;
        let hash_mix = home.sys.hash_mix(cookie);
        let net = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            home,
            active: StickyCount::one(),
            slots: Slots::default(),
            provisional: Provisional::default(),
            peers: Peers::default(),
            life: Life::building(),
            cookie,
            inum,
            hash_mix,
            account,
            // The initial namespace's number is a constant, and it is charged to nobody.
            given_back: AtomicBool::new(inum == Inum::INIT),
            kept: AtomicBool::new(false),
            place: AtomicU64::new(0),
            at: AtomicU64::new(0),
            next_dead: AtomicU64::new(0),
            holders: Holders::default(),
        });
        NetRef::adopt(net)
    }

    pub(crate) fn sys(&self) -> &System {
        &self.home.sys
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Published and not yet unlisted. Together with a positive active count: alive.
    pub(crate) fn is_listed(&self) -> bool {
        self.life.is_listed()
    }

    /// Gives inode number and quota back. Once; later calls do nothing.
    pub(crate) fn give_back(&self, stock: Option<&mut InumStock>) {
        if self.given_back.swap(true, Ordering::AcqRel) {
            return;
        }
        let store = &self.sys().inums;
        match stock {
            Some(stock) => stock.give(self.inum, store),
            None => store.give(self.inum),
        }
        self.account.put();
    }

    fn arc(&self) -> Arc<Self> {
        match self.me.upgrade() {
            Some(net) => net,
            // `self` is borrowed from the Arc that `me` points to.
            None => unreachable!("a borrowed namespace has an owner"),
        }
    }

    fn get_net(&self) {
        if !self.active.get() {
            self.kept.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody may hold it although it is dead, other than in passing.
    pub(crate) fn may_be_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// A second active reference (`get_net`): legal because the borrow proves there is one.
    #[must_use]
    #[track_caller]
    pub fn to_ref(&self) -> NetRef {
        self.get_net();
        NetRef::adopt(self.arc())
    }

    /// A passive handle to this namespace.
    #[must_use]
    pub fn handle(&self) -> NetHandle {
        NetHandle { net: Weak::clone(&self.me), cookie: self.cookie, inum: self.inum }
    }

    /// The system this namespace belongs to.
    #[must_use]
    #[track_caller]
    pub fn namespaces(&self) -> Namespaces {
        Namespaces::of(self.sys())
    }

    /// The state of the subsystem that `key` stands for (`net_generic`).
    ///
    /// Wait-free: no lock, no grace period, the borrow is valid as long as the namespace is. `None`
    /// only while that subsystem has no state here: it is registered later in the order than the
    /// one whose `init` is asking, or it has been unregistered.
    #[inline]
    #[must_use]
    pub fn get<S: Subsystem>(&self, key: Key<S>) -> Option<&S::State> {
        self.slots.get(key.index, key.id)
    }

    /// Identity, unique for ever.
    #[must_use]
    pub fn cookie(&self) -> Cookie {
        self.cookie
    }

    /// Inode number.
    #[must_use]
    pub fn inum(&self) -> Inum {
        self.inum
    }

    /// The user namespace every capability question about this namespace is asked in.
    #[must_use]
    pub fn owner(&self) -> &UserNs {
        self.account.user_ns()
    }

    /// A random salt, so that equal keys of different namespaces spread in a shared hash table.
    #[must_use]
    pub fn hash_mix(&self) -> u32 {
        self.hash_mix
    }

    /// Whether this is the initial namespace (`net_eq(net, &init_net)`).
    #[must_use]
    pub fn is_init(&self) -> bool {
        self.inum == Inum::INIT
    }

    /// Where in the source its active references were taken, and how many each: if the system
    /// tracks them ([`Builder::track_holders`](crate::Builder::track_holders), by default in debug
    /// builds), else nothing. The counterpart of `ref_tracker_dir_print`.
    #[must_use]
    pub fn holders(&self) -> Vec<(&'static Location<'static>, usize)> {
        self.holders.list()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.give_back(None);
    }
}

impl PartialEq for Net {
    /// `net_eq`: the same namespace, not an equal one.
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }
}

impl Eq for Net {}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]#{}", self.inum.0, self.cookie.0)
    }
}

/// An active reference: while it exists everything of the namespace exists and works.
///
/// Dropping the last one is legal anywhere: it queues the namespace for teardown and returns; it
/// takes no lock that anything is run under, and runs no callback of a subsystem and no destructor
/// of a state. (Dropping the last reference of a whole system frees the system.)
pub struct NetRef {
    net: Arc<Net>,
    holder: Holder,
}

impl NetRef {
    /// Wraps a unit of the active count that the caller has taken.
    #[track_caller]
    pub(crate) fn adopt(net: Arc<Net>) -> Self {
        let holder = if net.sys().track_holders { Holder::enter(&net.holders) } else { Holder::untracked() };
        Self { net, holder }
    }

    /// A passive handle; the reference stays.
    #[must_use]
    pub fn downgrade(&self) -> NetHandle {
        self.net.handle()
    }

    pub(crate) fn arc_ref(&self) -> &Arc<Net> {
        &self.net
    }
}

impl Clone for NetRef {
    #[track_caller]
    fn clone(&self) -> Self {
        self.net.get_net();
        Self::adopt(Arc::clone(&self.net))
    }
}

impl Drop for NetRef {
    /// `put_net`.
    fn drop(&mut self) {
        self.holder.leave(&self.net.holders);
        if self.net.active.put() {
            teardown::last_put(&self.net);
        }
    }
}

impl Deref for NetRef {
    type Target = Net;

    fn deref(&self) -> &Net {
        &self.net
    }
}

impl PartialEq for NetRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.net, &other.net)
    }
}

impl Eq for NetRef {}

impl Hash for NetRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.net.cookie.hash(state);
    }
}

impl fmt::Debug for NetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A passive reference: it knows who a namespace is (was), and keeps nothing of it alive.
#[derive(Clone)]
pub struct NetHandle {
    pub(crate) net: Weak<Net>,
    cookie: Cookie,
    inum: Inum,
}

impl NetHandle {
    /// An active reference, unless the last one is gone (`maybe_get_net`). Never resurrects.
    #[must_use]
    #[track_caller]
    pub fn upgrade(&self) -> Option<NetRef> {
        let net = self.net.upgrade()?;
        if net.active.try_get() { Some(NetRef::adopt(net)) } else { None }
    }

    /// Whether an active reference exists. A no is final; a yes is history once returned.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.net.upgrade().is_some_and(|net| !net.active.is_zero())
    }

    /// Identity, unique for ever.
    #[must_use]
    pub fn cookie(&self) -> Cookie {
        self.cookie
    }

    /// Inode number; after the namespace's end somebody else may have it.
    #[must_use]
    pub fn inum(&self) -> Inum {
        self.inum
    }

    /// As [`Net::holders`]; empty when the namespace is gone.
    #[must_use]
    pub fn holders(&self) -> Vec<(&'static Location<'static>, usize)> {
        self.net.upgrade().map(|net| net.holders.list()).unwrap_or_default()
    }
}

impl PartialEq for NetHandle {
    fn eq(&self, other: &Self) -> bool {
        self.net.ptr_eq(&other.net)
    }
}

impl Eq for NetHandle {}

impl Hash for NetHandle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cookie.hash(state);
    }
}

impl fmt::Debug for NetHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]#{}", self.inum.0, self.cookie.0)
    }
}

/// A namespace as an exit-type callback sees it: identity and states, no reference to be had.
///
/// In a teardown the namespace is dead. In an [`unregister`](Namespaces::unregister), and in the
/// undo of a failed registration, it lives on without the subsystem.
///
/// It cannot be kept beyond the callback: its states are dropped when the exits have run, and who
/// waits for that ([`barrier`](Namespaces::barrier)) is not to wait for whoever remembers it.
pub struct DyingNet(pub(crate) Arc<Net>);

impl DyingNet {
    /// Not `Clone`: nobody outside is to keep one.
    pub(crate) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// The state of another subsystem. Every state of the namespace stays readable until all
    /// exits of the undo have run; those of later subsystems are as their exit left them.
    #[must_use]
    pub fn get<S: Subsystem>(&self, key: Key<S>) -> Option<&S::State> {
        self.0.get(key)
    }

    /// The system this namespace belongs to.
    #[must_use]
    #[track_caller]
    pub fn namespaces(&self) -> Namespaces {
        self.0.namespaces()
    }

    /// A passive handle.
    #[must_use]
    pub fn handle(&self) -> NetHandle {
        self.0.handle()
    }

    /// Identity, unique for ever.
    #[must_use]
    pub fn cookie(&self) -> Cookie {
        self.0.cookie
    }

    /// Inode number. In a teardown it has been given back: a younger namespace may have it already.
    /// Compare cookies.
    #[must_use]
    pub fn inum(&self) -> Inum {
        self.0.inum
    }

    /// The owning user namespace.
    #[must_use]
    pub fn owner(&self) -> &UserNs {
        self.0.owner()
    }

    /// As [`Net::hash_mix`].
    #[must_use]
    pub fn hash_mix(&self) -> u32 {
        self.0.hash_mix
    }

    /// Whether this is the initial namespace, which only an unregistration brings here.
    #[must_use]
    pub fn is_init(&self) -> bool {
        self.0.is_init()
    }
}

impl fmt::Debug for DyingNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A unit of the active count held during a critical section, without touching the allocation's
/// own count. Drop it after unlocking: it may be the last unit.
pub(crate) struct Pinned<'a>(&'a Net);

impl<'a> Pinned<'a> {
    /// `maybe_get_net`, and the namespace is published: the only way to be named or to name.
    pub(crate) fn new(net: &'a Net) -> Option<Self> {
        if !net.active.try_get() {
            return None;
        }
        let pinned = Self(net);
        net.is_listed().then_some(pinned)
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        if self.0.active.put() {
            teardown::last_put(self.0);
        }
    }
}
