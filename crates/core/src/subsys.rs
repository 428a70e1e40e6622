//! What a subsystem is: `pernet_operations`, with the state owned by the framework.

use crate::error::InitError;
use crate::net::{DyingNet, Net};
use crate::slots::{Erased, Key, Tagged};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

/// Something of which every namespace has its own.
///
/// For each namespace the framework calls `init` once and keeps what it returns. If `init` failed,
/// none of the other methods is ever called for that namespace. Otherwise each of `pre_exit`,
/// `exit_rtnl`, `exit` and membership in one `exit_batch` happens exactly once, in this order, when
/// the namespace dies or the subsystem is unregistered, whichever comes first.
///
/// Inits run in list order (subsystems before devices), exits in reverse. Every phase of an undo
/// is complete, for all its namespaces and subsystems, before the next begins.
///
/// Callbacks of different namespaces may run at the same time. A callback may take and drop
/// references, use peer ids and read other states. It must not create a namespace, register,
/// unregister, step or wait for a teardown: all of these need the registry lock it runs under. A
/// subsystem that owns a [`NetRef`](crate::NetRef) or [`Namespaces`](crate::Namespaces) keeps its
/// system alive for ever.
///
/// The state's memory goes with the namespace, even if the subsystem is unregistered before: a
/// reader may still hold a borrow. So `exit` should empty the state of what is large.
pub trait Subsystem: Send + Sync + 'static {
    /// Name for errors and logs.
    const NAME: &'static str;

    /// What each namespace has.
    type State: Send + Sync + 'static;

    /// Builds the state of `net`. States of subsystems earlier in the order can be read.
    ///
    /// # Errors
    /// After cleaning up whatever it did: creation (or registration) fails with this error.
    fn init(&self, net: &Net) -> Result<Self::State, InitError>;

    /// Makes the state unreachable for new lock-free readers; must not dismantle what they use.
    fn pre_exit(&self, net: &DyingNet, state: &Self::State) {
        let _ = (net, state);
    }

    /// Queues what is to be unregistered together with that of all other namespaces and subsystems
    /// of the batch (devices). Called namespace by namespace, after the grace period.
    fn exit_rtnl(&self, net: &DyingNet, state: &Self::State, kill: &mut KillList) {
        let _ = (net, state, kill);
    }

    /// Dismantles one namespace.
    fn exit(&self, net: &DyingNet, state: &Self::State) {
        let _ = (net, state);
    }

    /// Dismantles many at once, after `exit` has run for each of them. May be called with an empty
    /// batch: when a registration failed for its very first namespace.
    fn exit_batch(&self, batch: &Batch<'_, Self::State>) {
        let _ = batch;
    }
}

/// The namespaces of one undo, with one subsystem's state of each.
pub struct Batch<'a, T> {
    nets: &'a [DyingNet],
    states: &'a [Option<&'a Erased>],
    state: PhantomData<&'a T>,
}

impl<'a, T: Send + Sync + 'static> Batch<'a, T> {
    /// The namespaces in the order in which they died (or were created, in an unregistration).
    pub fn iter(&self) -> impl Iterator<Item = (&'a DyingNet, &'a T)> + use<'a, T> {
        self.nets.iter().zip(self.states).filter_map(|(net, state)| Some((net, value::<T>((*state)?)?)))
    }

    /// How many namespaces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }
}

impl<T> fmt::Debug for Batch<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.nets).finish()
    }
}

/// What the `exit_rtnl` callbacks of a whole batch queue, to be done in one go before any `exit`.
///
/// The counterpart of the list given to `unregister_netdevice_many`.
#[derive(Default)]
pub struct KillList(Vec<Box<dyn FnOnce() + Send>>);

impl KillList {
    /// Queues one unregistration.
    pub fn push(&mut self, kill: impl FnOnce() + Send + 'static) {
        self.0.push(Box::new(kill));
    }

    /// How many are queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn run(self) {
        for kill in self.0 {
            kill();
        }
    }
}

impl fmt::Debug for KillList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KillList({})", self.0.len())
    }
}

/// A registered subsystem without its type.
pub(crate) trait Ops: Send + Sync {
    fn name(&self) -> &'static str;
    fn id(&self) -> u64;
    fn index(&self) -> u32;
    fn init(&self, net: &Net) -> Result<Box<Erased>, InitError>;
    fn state<'n>(&self, net: &'n Net) -> Option<&'n Erased>;
    fn retire(&self, state: &Erased);
    fn pre_exit(&self, net: &DyingNet, state: &Erased);
    fn exit_rtnl(&self, net: &DyingNet, state: &Erased, kill: &mut KillList);
    fn exit(&self, net: &DyingNet, state: &Erased);
    fn exit_batch(&self, nets: &[DyingNet], states: &[Option<&Erased>]);
}

pub(crate) struct Registered<S> {
    pub(crate) subsystem: S,
    pub(crate) key: Key<S>,
}

fn value<T: Send + Sync + 'static>(state: &Erased) -> Option<&T> {
    state.downcast_ref::<Tagged<T>>().map(|tagged| &tagged.value)
}

impl<S: Subsystem> Ops for Registered<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn id(&self) -> u64 {
        self.key.id
    }

    fn index(&self) -> u32 {
        self.key.index
    }

    fn init(&self, net: &Net) -> Result<Box<Erased>, InitError> {
        Ok(Tagged::boxed(self.key.id, self.subsystem.init(net)?))
    }

    fn state<'n>(&self, net: &'n Net) -> Option<&'n Erased> {
        net.slots.get_erased::<S::State>(self.key.index, self.key.id)
    }

    fn retire(&self, state: &Erased) {
        if let Some(tagged) = state.downcast_ref::<Tagged<S::State>>() {
            tagged.retire();
        }
    }

    fn pre_exit(&self, net: &DyingNet, state: &Erased) {
        if let Some(state) = value(state) {
            self.subsystem.pre_exit(net, state);
        }
    }

    fn exit_rtnl(&self, net: &DyingNet, state: &Erased, kill: &mut KillList) {
        if let Some(state) = value(state) {
            self.subsystem.exit_rtnl(net, state, kill);
        }
    }

    fn exit(&self, net: &DyingNet, state: &Erased) {
        if let Some(state) = value(state) {
            self.subsystem.exit(net, state);
        }
    }

    fn exit_batch(&self, nets: &[DyingNet], states: &[Option<&Erased>]) {
        self.subsystem.exit_batch(&Batch { nets, states, state: PhantomData });
    }
}
