//! What a namespace's stack consists of, and the handle by which configuration reaches it.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pernet::{Net, NetRef};

use crate::dev::Links;
use crate::fib::Fib;
use crate::inet::Inet;
use crate::inet6::Inet6;
use crate::l2::Backlog;
use crate::l3::L3;
use crate::l4::Layer4;
use crate::l4::tcp::Tcp;
use crate::mcast::LinkMulticast;
use crate::mib::Mibs;
use crate::neigh::Neighbours;
use crate::nexthop::Nexthops;
use crate::rules::Rules;
use crate::sysctl::Sysctls;

/// A part of a namespace's configuration, made when somebody first asks for it: an idle namespace has none in memory.
///
/// Its lock protects this part alone. It is written under [`rtnl`](crate::Rtnl) only, so whoever holds that may read, let
/// go and write without anything having changed in between; it is read by anyone. Nothing is called and no other lock is
/// taken while it is held.
#[derive(Debug)]
pub(crate) struct Part<T> {
    place: OnceLock<Box<RwLock<T>>>,
    generation: Generation,
}

/// Counts changes, so that what was worked out before one is not used after it.
///
/// It moves while the change is still under its lock. Whoever reads it before he looks has looked at something at least as
/// new: if the change came in between, what he found is thrown away although it may be right, and never the other way round.
#[derive(Debug, Default)]
pub(crate) struct Generation(AtomicU64);

impl Generation {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn moved(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// The right to change something, whose [`Generation`] moves with it.
#[derive(Debug)]
pub(crate) struct Changing<'a, T> {
    guard: RwLockWriteGuard<'a, T>,
    generation: &'a Generation,
}

impl<'a, T> Changing<'a, T> {
    // A panic inside is a fault of ours; what it left is as whole as single assignments can leave it.
    pub(crate) fn new(lock: &'a RwLock<T>, generation: &'a Generation) -> Self {
        Self { guard: lock.write().unwrap_or_else(PoisonError::into_inner), generation }
    }
}

impl<T> Deref for Changing<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Changing<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> Drop for Changing<'_, T> {
    fn drop(&mut self) {
        self.generation.moved();
    }
}

impl<T: Default> Part<T> {
    pub(crate) const fn new() -> Self {
        Self { place: OnceLock::new(), generation: Generation::new() }
    }

    /// Of a namespace that is just being made: it begins as this.
    pub(crate) fn begin(&self, value: T) {
        let _ = self.place.set(Box::new(RwLock::new(value)));
    }

    fn lock(&self) -> &RwLock<T> {
        self.place.get_or_init(Box::default)
    }

    // A panic inside is a fault of ours; what it left is as whole as single assignments can leave it.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.lock().read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under rtnl only.
    pub(crate) fn write(&self) -> Changing<'_, T> {
        Changing::new(self.lock(), &self.generation)
    }

    /// Looks without making one.
    fn peek(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.place.get().map(|lock| lock.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Something of a namespace's that has its own lock, made when somebody first asks for it.
#[derive(Debug)]
pub(crate) struct Lazy<T>(OnceLock<Box<T>>);

impl<T: Default> Lazy<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Looks without making one.
    pub(crate) fn peek(&self) -> Option<&T> {
        self.0.get().map(Box::as_ref)
    }
}

impl<T: Default> std::ops::Deref for Lazy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get_or_init(Box::default)
    }
}

/// The stack of one namespace (the parts of `struct net` that concern it).
///
/// The parts are behind one pointer, made together when one of them first is: a namespace that nobody configures costs a
/// word for all of them, in memory and at birth. Who writes, or reads what must be there, reaches them as fields; who only
/// looks, by `peek_…`.
#[derive(Debug)]
pub struct NetState {
    pub(crate) links: Links,
    parts: OnceLock<Box<Parts>>,
}

/// The parts, each made on its own.
#[derive(Debug)]
pub struct Parts {
    pub(crate) inet: Part<Inet>,
    pub(crate) inet6: Part<Inet6>,
    pub(crate) mcast: Part<LinkMulticast>,
    pub(crate) fib: Part<Fib>,
    pub(crate) rules: Part<Rules>,
    pub(crate) neigh: Part<Neighbours>,
    pub(crate) nexthops: Part<Nexthops>,
    pub(crate) sysctl: Part<Sysctls>,
    /// What came in.
    pub(crate) backlog: Lazy<Backlog>,
    pub(crate) tcp: Lazy<Tcp>,
    /// What the network layer remembers of packets.
    pub(crate) l3: Lazy<L3>,
    /// Sockets.
    pub(crate) l4: Layer4,
    /// What protocols count.
    pub(crate) mib: Mibs,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            inet: Part::new(),
            inet6: Part::new(),
            mcast: Part::new(),
            fib: Part::new(),
            rules: Part::new(),
            neigh: Part::new(),
            nexthops: Part::new(),
            sysctl: Part::new(),
            backlog: Lazy::new(),
            tcp: Lazy::new(),
            l3: Lazy::new(),
            l4: Layer4::new(),
            mib: Mibs::new(),
        }
    }
}

/// What a look found: `None` says that the part is as it was born.
type Peek<'n, T> = Option<RwLockReadGuard<'n, T>>;

impl NetState {
    pub(crate) const fn new(links: Links) -> Self {
        Self { links, parts: OnceLock::new() }
    }

    /// Moves with every change of what ways are found by: devices, addresses, routes, rules, settings. Not with neighbours.
    pub(crate) fn generation(&self) -> u64 {
        let links = self.links.generation_of_all();
        // Each only grows, so their sum stays the same only if all do.
        self.parts.get().map_or(links, |parts| {
            let of = [
                parts.inet.generation.get(),
                parts.inet6.generation.get(),
                parts.fib.generation.get(),
                parts.rules.generation.get(),
                parts.nexthops.generation.get(),
                parts.sysctl.generation.get(),
            ];
            of.into_iter().fold(links, u64::wrapping_add)
        })
    }

    /// Moves with every change of a neighbour.
    pub(crate) fn neigh_generation(&self) -> u64 {
        self.parts.get().map_or(0, |parts| parts.neigh.generation.get())
    }

    /// The parts, if anybody has asked for one.
    pub(crate) fn parts(&self) -> Option<&Parts> {
        self.parts.get().map(Box::as_ref)
    }

    pub(crate) fn peek_inet(&self) -> Peek<'_, Inet> {
        self.parts.get()?.inet.peek()
    }

    pub(crate) fn peek_inet6(&self) -> Peek<'_, Inet6> {
        self.parts.get()?.inet6.peek()
    }

    pub(crate) fn peek_mcast(&self) -> Peek<'_, LinkMulticast> {
        self.parts.get()?.mcast.peek()
    }

    pub(crate) fn peek_fib(&self) -> Peek<'_, Fib> {
        self.parts.get()?.fib.peek()
    }

    pub(crate) fn peek_rules(&self) -> Peek<'_, Rules> {
        self.parts.get()?.rules.peek()
    }

    pub(crate) fn peek_neigh(&self) -> Peek<'_, Neighbours> {
        self.parts.get()?.neigh.peek()
    }

    pub(crate) fn peek_nexthops(&self) -> Peek<'_, Nexthops> {
        self.parts.get()?.nexthops.peek()
    }

    pub(crate) fn peek_sysctl(&self) -> Peek<'_, Sysctls> {
        self.parts.get()?.sysctl.peek()
    }
}

impl Deref for NetState {
    type Target = Parts;

    /// Makes the parts' places, not the parts.
    fn deref(&self) -> &Parts {
        self.parts.get_or_init(Box::default)
    }
}

/// Whose settings: `net.ipv4.conf.{all,default,DEV}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConfOf {
    /// The namespace as a whole.
    All,
    /// Devices to come.
    Default,
    /// The device with this index.
    Dev(u32),
}

/// A namespace as those see it who configure it: its parts, and itself unless it is dying.
///
/// A dying namespace is configured only to be taken apart. Nobody hears of that: nobody is left in it.
#[derive(Clone, Copy)]
pub(crate) struct Ns<'n> {
    state: &'n NetState,
    living: Option<&'n Net>,
}

impl<'n> Ns<'n> {
    pub(crate) const fn living(state: &'n NetState, net: &'n Net) -> Self {
        Self { state, living: Some(net) }
    }

    pub(crate) const fn dying(state: &'n NetState) -> Self {
        Self { state, living: None }
    }

    /// The namespace itself.
    pub(crate) const fn net(self) -> Option<&'n Net> {
        self.living
    }

    /// A reference, for what outlives the call.
    pub(crate) fn to_ref(self) -> Option<NetRef> {
        self.living.map(Net::to_ref)
    }

    pub(crate) const fn state(self) -> &'n NetState {
        self.state
    }

    /// The same namespace, not another one?
    pub(crate) fn is(self, other: Ns<'_>) -> bool {
        std::ptr::eq(self.state, other.state)
    }
}

impl Deref for Ns<'_> {
    type Target = NetState;

    fn deref(&self) -> &NetState {
        self.state
    }
}
