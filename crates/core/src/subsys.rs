//! What a subsystem is: `pernet_operations`, with the state owned by the framework.

use crate::error::InitError;
use crate::net::{DyingNet, Net};
use crate::slots::{Erased, Key, Stage, Tagged};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

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
/// Callbacks of one namespace follow one another; those of different namespaces may run at the same
/// time. They run with no lock of this crate held, except that a registration or unregistration, of
/// which there is one at a time, waits for those it calls. A callback may take and drop references,
/// use peer ids, read other states, even create a namespace. It must not unregister, and not wait
/// for a teardown ([`barrier`](crate::Namespaces::barrier)): both would wait for the callback; and
/// one that a registration called must not register. A subsystem that owns a
/// [`NetRef`](crate::NetRef) or [`Namespaces`](crate::Namespaces) keeps its system alive for ever.
///
/// The state's memory goes with the namespace, even if the subsystem is unregistered before: a
/// reader may still hold a borrow. So `exit` should empty the state of what is large. (A state of a
/// registration that failed goes at once: nobody was ever given its key.)
pub trait Subsystem: Send + Sync + 'static {
    /// Name for errors and logs.
    const NAME: &'static str;

    /// What each namespace has.
    type State: Send + Sync + 'static;

    /// Builds the state of `net`. States of subsystems earlier in the order can be read.
    ///
    /// A registration calls this for dead namespaces too, as long as they are listed; a reference
    /// taken of one ([`Net::to_ref`]) revives nothing and holds up its memory.
    ///
    /// # Errors
    /// After cleaning up whatever it did: creation (or registration) fails with this error.
    fn init(&self, net: &Net) -> Result<Self::State, InitError>;

    /// Builds the state of `net` after that of another namespace, which lives
    /// ([`Namespaces::create_from`](crate::Namespaces::create_from)). The default is an ordinary
    /// [`init`](Self::init). `template` may be in use meanwhile: what in it changes needs its own
    /// lock. If this subsystem is being unregistered, the template's exit may have run already: the
    /// new state then goes the same way before its namespace is listed.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    fn init_from(&self, net: &Net, template: &Self::State) -> Result<Self::State, InitError> {
        let _ = template;
        self.init(net)
    }

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
    members: &'a [(&'a DyingNet, &'a T)],
}

impl<'a, T> Batch<'a, T> {
    /// The namespaces in the order in which they died, shard by shard (or were created, in an
    /// unregistration).
    pub fn iter(&self) -> impl Iterator<Item = (&'a DyingNet, &'a T)> + use<'a, T> {
        self.members.iter().copied()
    }

    /// How many namespaces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl<T> fmt::Debug for Batch<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.iter().map(|(net, _)| net)).finish()
    }
}

/// What the `exit_rtnl` callbacks of a whole batch queue, to be done in one go before any `exit`.
///
/// The counterpart of the list given to `unregister_netdevice_many`.
#[derive(Default)]
pub struct KillList(Vec<Box<dyn FnOnce() + Send>>);

impl KillList {
    pub(crate) fn into_inner(self) -> Vec<Box<dyn FnOnce() + Send>> {
        self.0
    }

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
///
/// Each exit-type callback runs at most once for a state, in order; where the subsystem has no
/// state, it does nothing. The caller has the namespaces in hand.
pub(crate) trait Ops: Send + Sync {
    fn name(&self) -> &'static str;
    fn id(&self) -> u64;
    fn index(&self) -> u32;
    fn has(&self, net: &Net) -> bool;
    fn init(&self, net: &Net, template: Option<&Net>) -> Result<Box<Erased>, InitError>;
    fn pre_exit(&self, net: &DyingNet);
    fn exit_rtnl(&self, net: &DyingNet, kill: &mut KillList);
    fn exit(&self, net: &DyingNet);
    fn exit_batch(&self, nets: &[DyingNet], even_if_empty: bool);
    /// No key finds the state any more.
    fn retire(&self, net: &Net);
}

pub(crate) struct Registered<S> {
    pub(crate) subsystem: S,
    pub(crate) key: Key<S>,
}

/// Provisional states of a batch. They go back, also if the callback panics.
struct Taken<'a> {
    ops: &'a dyn Ops,
    states: Vec<(&'a DyingNet, Box<Erased>)>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for (net, state) in self.states.drain(..) {
            net.0.provisional.put(self.ops, state);
        }
    }
}

impl<S: Subsystem> Registered<S> {
    fn tagged<'n>(&self, net: &'n Net) -> Option<&'n Tagged<S::State>> {
        net.slots.tagged(self.key.index, self.key.id)
    }

    /// Calls back, if `stage` is yet to come for the state in `net`.
    fn reach(&self, net: &DyingNet, stage: Stage, callback: impl FnOnce(&S, &S::State)) {
        let call = |tagged: &Tagged<S::State>| {
            // Before the callback: it is not called again, whatever becomes of it.
            if tagged.reach(stage) {
                callback(&self.subsystem, &tagged.value);
            }
        };
        match self.tagged(&net.0) {
            Some(tagged) => call(tagged),
            None => net.0.provisional.lend(self.key.id, |state| state.downcast_ref().map_or((), call)),
        }
    }
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

    fn has(&self, net: &Net) -> bool {
        self.tagged(net).is_some() || net.provisional.is_of(self.key.id)
    }

    fn init(&self, net: &Net, template: Option<&Net>) -> Result<Box<Erased>, InitError> {
        let state = match template.and_then(|template| template.get(self.key)) {
            Some(original) => self.subsystem.init_from(net, original)?,
            None => self.subsystem.init(net)?,
        };
        Ok(Tagged::boxed(self.key.id, state))
    }

    fn pre_exit(&self, net: &DyingNet) {
        self.reach(net, Stage::PreExited, |subsystem, state| subsystem.pre_exit(net, state));
    }

    fn exit_rtnl(&self, net: &DyingNet, kill: &mut KillList) {
        self.reach(net, Stage::Unregistered, |subsystem, state| subsystem.exit_rtnl(net, state, kill));
    }

    fn exit(&self, net: &DyingNet) {
        self.reach(net, Stage::Exited, |subsystem, state| subsystem.exit(net, state));
    }

    fn exit_batch(&self, nets: &[DyingNet], even_if_empty: bool) {
        let mut members: Vec<(&DyingNet, &S::State)> = Vec::with_capacity(nets.len());
        let mut taken = Taken { ops: self, states: Vec::new() };
        for net in nets {
            match self.tagged(&net.0) {
                Some(tagged) if tagged.reach(Stage::Batched) => members.push((net, &tagged.value)),
                Some(_) => {}
                None => taken.states.extend(net.0.provisional.take(self.key.id).map(|state| (net, state))),
            }
        }
        // Either all of a registration's states are provisional or none is, but for what a creation
        // in progress has confirmed: so the order of these among the others is nobody's concern.
        for (net, state) in &taken.states {
            if let Some(tagged) = state.downcast_ref::<Tagged<S::State>>()
                && tagged.reach(Stage::Batched)
            {
                members.push((net, &tagged.value));
            }
        }
        if even_if_empty || !members.is_empty() {
            self.subsystem.exit_batch(&Batch { members: &members });
        }
    }

    fn retire(&self, net: &Net) {
        match self.tagged(net) {
            Some(tagged) => tagged.retire(),
            // Its memory goes now: nobody was ever given its key.
            None => drop(net.provisional.take(self.key.id)),
        }
    }
}
