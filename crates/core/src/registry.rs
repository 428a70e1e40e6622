//! The ordered list of subsystems and devices, and how it changes while namespaces come and go.
//!
//! Every subsystem precedes every device, whenever it was registered: inits walk forward, exits
//! walk backward, so a subsystem can rely on "no device is left". The kernel keeps a marker on the
//! first device entry; here the marker is the number of subsystems, which cannot dangle.
//!
//! The kernel stops the world for a change. Here a list is a value, and a change is a new value:
//!
//! ```text
//! register:    list with the entry Joining ─▶ init in every listed namespace ─▶ Active
//! unregister:  list with the entry Leaving ─▶ exits in every listed namespace ─▶ list without it
//! ```
//!
//! * A creation works with the list it found. Before it publishes, it looks whether there is a newer
//!   one, and catches up ([`catch_up`]): so every namespace is either listed when the walk passes,
//!   or has followed the change by itself.
//! * A teardown round works with the list that was current when it unlisted. Whatever state a
//!   namespace has, its list names: an entry is on the list from before its first init to after the
//!   last exit of a listed namespace.
//! * How far a state has come is written on the state (`Stage`), so whoever continues (the walk, a
//!   creation, a round) does each thing exactly once, and a walk has one namespace in hand for one
//!   callback.
//! * Nobody runs a callback of a subsystem unless through a list: when nobody holds a list that
//!   names it, none runs and none will.

use crate::error::{CreateError, RegisterError};
use crate::net::{DyingNet, Net};
use crate::numbers::Lowest;
use crate::platform::Grace;
use crate::round;
use crate::shard::Walk;
use crate::slots::{Key, MAX_SLOTS};
use crate::subsys::{KillList, Ops, Registered, Subsystem};
use crate::sync::MutexGuard;
use crate::system::System;
use crate::teardown;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::marker::PhantomData;

/// Which half of the list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Subsystem,
    Device,
}

/// How far an entry has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It may yet fail: states are provisional.
    Joining,
    Active,
    /// Creations pass it by.
    Leaving,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) ops: Arc<dyn Ops>,
    pub(crate) standing: Standing,
}

/// The list at one time. Padded: each shard has one of its own, for the sake of the count.
#[derive(Clone, Default)]
#[repr(align(128))]
pub(crate) struct OpsList {
    /// In the order of inits.
    pub(crate) entries: Vec<Entry>,
    /// `entries[..subsystems]` are subsystems, the rest devices.
    subsystems: usize,
    pub(crate) version: u64,
}

impl OpsList {
    fn link(&mut self, ops: Arc<dyn Ops>, class: Class) {
        let entry = Entry { ops, standing: Standing::Joining };
        match class {
            Class::Subsystem => {
                self.entries.insert(self.subsystems, entry);
                self.subsystems += 1;
            }
            Class::Device => self.entries.push(entry),
        }
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.entries.iter().position(|entry| entry.ops.id() == id)
    }

    fn standing(&self, id: u64) -> Option<Standing> {
        Some(self.entries[self.position(id)?].standing)
    }

    fn set(&mut self, id: u64, standing: Standing) {
        if let Some(at) = self.position(id) {
            self.entries[at].standing = standing;
        }
    }

    fn unlink(&mut self, id: u64) {
        if let Some(at) = self.position(id) {
            if at < self.subsystems {
                self.subsystems -= 1;
            }
            self.entries.remove(at);
        }
    }
}

/// What the registration lock protects.
pub(crate) struct Registry {
    list: OpsList,
    indices: Lowest,
    next_id: u64,
}

/// Lists that are no longer current, while somebody may still work with them.
#[derive(Default)]
pub(crate) struct OldLists(Vec<Arc<OpsList>>);

impl OldLists {
    /// Takes out what nobody works with any more; to be dropped outside the lock.
    fn forgotten(&mut self) -> Vec<Arc<OpsList>> {
        // `get_mut`: nobody else has it. Unlike a look at the count it also orders what they did
        // before what we do.
        self.0.extract_if(.., |list| Arc::get_mut(list).is_some()).collect()
    }

    fn name(&self, id: u64) -> bool {
        self.0.iter().any(|list| list.standing(id).is_some())
    }
}

impl Registry {
    /// `seed` makes the ids of two systems disjoint, so that a key used in the wrong system finds
    /// nothing. Half the range is left: ids only grow, and never wrap to 0, which means "retired".
    pub(crate) fn new(seed: u64) -> Self {
        Self { list: OpsList::default(), indices: Lowest::new(MAX_SLOTS), next_id: seed >> 1 }
    }

    fn new_key<S>(&mut self) -> Option<Key<S>> {
        let index = self.indices.take()?;
        self.next_id += 1;
        Some(Key { index, id: self.next_id, subsystem: PhantomData })
    }

    /// Makes a changed list current, shard by shard. What is published with an older one has been
    /// published when this returns, and is met by a walk that begins now.
    fn change(&mut self, sys: &System, change: impl FnOnce(&mut OpsList)) {
        change(&mut self.list);
        self.list.version += 1;
        for shard in &sys.shards {
            let new = Arc::new(self.list.clone());
            let old = core::mem::replace(&mut shard.body.lock().ops, new);
            sys.old_lists.lock().0.push(old);
        }
        // The guard is dropped at the end of the statement.
        let forgotten = sys.old_lists.lock().forgotten();
        drop(forgotten);
    }
}

/// `register_pernet_subsys` / `register_pernet_device`.
pub(crate) fn register<S: Subsystem>(sys: &System, subsystem: S, class: Class) -> Result<Key<S>, RegisterError> {
    span!("register", subsystem = S::NAME);
    let mut registry = settled(sys);
    let key = registry.new_key().ok_or(RegisterError::SlotsExhausted)?;
    let ops: Arc<dyn Ops> = Arc::new(Registered { subsystem, key });
    registry.change(sys, |list| list.link(Arc::clone(&ops), class));
    let mut joining = Joining { sys, registry: Some(registry), id: key.id };

    // Listed includes queued ones (dead, not yet picked up by a round): their round will run this
    // subsystem's exits like everyone's.
    let failed = Walk::new(sys).find_map(|net| {
        // Else a round has it, whose exits it will not need.
        let change = Change::begin(sys, &net)?;
        // Published with the new list, it has been initialised by its creator.
        if ops.has(&net) {
            return None;
        }
        let error = ops.init(&net, None).map(|state| net.provisional.put(&*ops, state)).err()?;
        drop(change);
        Some(RegisterError::Init { inum: net.inum(), error })
    });
    let Some(mut registry) = joining.registry.take() else { unreachable!("taken here only") };
    if let Some(error) = failed {
        leave(sys, registry, &ops);
        return Err(error);
    }
    registry.change(sys, |list| list.set(key.id, Standing::Active));
    for net in Walk::new(sys) {
        net.provisional.confirm(&net.slots);
    }
    Ok(key)
}

/// A registration under way. If an init panics, what it has done so far is taken back by the next
/// who registers or unregisters: see [`settled`].
struct Joining<'a> {
    sys: &'a System,
    registry: Option<MutexGuard<'a, Registry>>,
    id: u64,
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        if let Some(registry) = &mut self.registry {
            // Creations pass it by from here on.
            registry.change(self.sys, |list| list.set(self.id, Standing::Leaving));
        }
    }
}

/// The registration's lock, with no change half done: what a callback's panic has interrupted is
/// brought to its end first.
fn settled(sys: &System) -> MutexGuard<'_, Registry> {
    loop {
        let registry = sys.registry();
        let entry = registry.list.entries.iter().find(|entry| entry.standing != Standing::Active);
        let Some(ops) = entry.map(|entry| Arc::clone(&entry.ops)) else { return registry };
        leave(sys, registry, &ops);
    }
}

/// `unregister_pernet_subsys` / `unregister_pernet_device`. A key that is not registered (any
/// more, or in this system) does nothing.
pub(crate) fn unregister<S: Subsystem>(sys: &System, key: Key<S>) {
    span!("unregister", subsystem = S::NAME);
    let registry = settled(sys);
    let Some(at) = registry.list.position(key.id) else { return };
    let ops = Arc::clone(&registry.list.entries[at].ops);
    leave(sys, registry, &ops);
}

/// How many namespaces' devices are unregistered together.
const TOGETHER: usize = 64;

/// Runs the exits of one subsystem wherever it has a state, and returns when none of its callbacks
/// runs or will run.
///
/// Phase by phase over all namespaces, as in a round; but no namespace is in hand for longer than
/// one callback, except those for which `exit_rtnl` has queued something: they wait for it to be
/// done, [`TOGETHER`] at a time.
fn leave(sys: &System, mut registry: MutexGuard<'_, Registry>, ops: &Arc<dyn Ops>) {
    registry.change(sys, |list| list.set(ops.id(), Standing::Leaving));
    each(sys, |net| ops.pre_exit(net));
    sys.platform.grace_period(Grace::Ordinary);
    let mut walk = Walk::new(sys).peekable();
    while walk.peek().is_some() {
        let (mut kill, mut queued) = (KillList::default(), Vec::new());
        while let Some(net) = walk.next_if(|_| queued.len() < TOGETHER) {
            let Some(change) = Change::begin(sys, &net) else { continue };
            let before = kill.len();
            ops.exit_rtnl(&DyingNet(net), &mut kill);
            if kill.len() > before {
                queued.push(change);
            }
        }
        kill.run();
    }
    each(sys, |net| ops.exit(net));

    let mut walk = Walk::new(sys).peekable();
    // An empty one too, as in the kernel, if there is none at all.
    let mut even_if_empty = true;
    loop {
        let mut changes = Vec::new();
        let mut batch = Vec::new();
        while let Some(net) = walk.next_if(|_| batch.len() < round::LIMIT) {
            if let Some(change) = Change::begin(sys, &net) {
                changes.push(change);
                batch.push(DyingNet(net));
            }
        }
        ops.exit_batch(&batch, core::mem::take(&mut even_if_empty));
        if walk.peek().is_none() {
            break;
        }
    }

    registry.change(sys, |list| list.unlink(ops.id()));
    // Others may register meanwhile: what is waited for here may be a callback that takes its time.
    drop(registry);
    sys.wait_until(|| {
        let (forgotten, named) = {
            let mut old = sys.old_lists.lock();
            (old.forgotten(), old.name(ops.id()))
        };
        drop(forgotten);
        // Batches that nobody has begun to dismantle hold lists too.
        if named {
            teardown::run_waiting(sys);
        }
        !named
    });
    sys.platform.drain_deferred();
    // Only now: until the last exit_batch, states are readable by key.
    for net in Walk::new(sys) {
        ops.retire(&net);
    }
    // What has died since the exits is off the list, but not gone.
    let dead = sys.rounds.lock().all();
    for net in dead.iter().filter_map(Weak::upgrade) {
        ops.retire(&net);
    }
    sys.registry().indices.give(ops.index());
}

/// Calls back for every listed namespace, which is in hand meanwhile.
fn each(sys: &System, mut callback: impl FnMut(&DyingNet)) {
    for net in Walk::new(sys) {
        if let Some(_change) = Change::begin(sys, &net) {
            callback(&DyingNet(net));
        }
    }
}

/// A namespace in the hands of a registration: no round takes it meanwhile.
struct Change<'a> {
    sys: &'a System,
    net: Arc<Net>,
}

impl<'a> Change<'a> {
    fn begin(sys: &'a System, net: &Arc<Net>) -> Option<Self> {
        net.life.begin_change().then(|| Self { sys, net: Arc::clone(net) })
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if self.net.life.end_change() {
            teardown::requeue(self.sys, &self.net);
        }
    }
}

/// Initialises `net`, which is its caller's alone, with what `list` has and `done` had not; from
/// `template` where that has a state.
pub(crate) fn init_all(
    list: &OpsList,
    done: Option<&OpsList>,
    net: &Net,
    template: Option<&Net>,
) -> Result<(), CreateError> {
    for entry in &list.entries {
        let ops = &*entry.ops;
        if entry.standing == Standing::Leaving || done.is_some_and(|done| done.standing(ops.id()).is_some()) {
            continue;
        }
        let state = ops.init(net, template).map_err(|error| CreateError::Init { subsystem: ops.name(), error })?;
        match entry.standing {
            Standing::Active => net.slots.put(ops.index(), ops.id(), state),
            _ => net.provisional.put(ops, state),
        }
    }
    Ok(())
}

/// Brings a namespace that is about to be published from the list `old` to the list `new`.
pub(crate) fn catch_up(
    sys: &System,
    net: &Arc<Net>,
    old: &OpsList,
    new: &OpsList,
    template: Option<&Net>,
) -> Result<(), CreateError> {
    let dying = [DyingNet(Arc::clone(net))];
    for Entry { ops, .. } in old.entries.iter().rev() {
        match new.standing(ops.id()) {
            Some(Standing::Joining) => {}
            Some(Standing::Active) => net.provisional.confirm_if(ops.id(), &net.slots),
            None | Some(Standing::Leaving) if !ops.has(net) => {}
            None | Some(Standing::Leaving) => {
                ops.pre_exit(&dying[0]);
                sys.platform.grace_period(Grace::Ordinary);
                let mut kill = KillList::default();
                ops.exit_rtnl(&dying[0], &mut kill);
                kill.run();
                ops.exit(&dying[0]);
                ops.exit_batch(&dying, false);
                ops.retire(net);
            }
        }
    }
    init_all(new, Some(old), net, template)
}
