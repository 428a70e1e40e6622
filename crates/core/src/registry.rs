//! The ordered list of subsystems and devices, and what happens to living namespaces when it
//! changes.
//!
//! Every subsystem precedes every device, whenever it was registered: inits walk forward, exits
//! walk backward, so a subsystem can rely on "no device is left". The kernel keeps a marker on the
//! first device entry; here the marker is the number of subsystems, which cannot dangle.

use crate::error::RegisterError;
use crate::namespaces::System;
use crate::net::{DyingNet, Net};
use crate::numbers::Lowest;
use crate::platform::Grace;
use crate::slots::{Erased, Key, MAX_SLOTS};
use crate::subsys::{Ops, Registered, Subsystem};
use crate::teardown::{Segment, undo};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::marker::PhantomData;

/// Which half of the list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Subsystem,
    Device,
}

/// What the registry lock protects. First in the lock order: creations and teardown rounds hold it
/// shared from the first callback to the last, (un)registrations exclusively. So the list cannot
/// change between init and exit of a namespace, and no callback runs beside a change of it.
pub(crate) struct Registry {
    ops: Vec<Arc<dyn Ops>>,
    /// `ops[..subsystems]` are subsystems, the rest devices.
    subsystems: usize,
    indices: Lowest,
    next_id: u64,
}

impl Registry {
    /// `seed` makes the ids of two systems disjoint, so that a key used in the wrong system finds
    /// nothing. Half the range is left: ids only grow, and never wrap to 0, which means "retired".
    pub(crate) fn new(seed: u64) -> Self {
        Self { ops: Vec::new(), subsystems: 0, indices: Lowest::new(MAX_SLOTS), next_id: seed >> 1 }
    }

    /// In the order of inits.
    pub(crate) fn ops(&self) -> &[Arc<dyn Ops>] {
        &self.ops
    }

    fn new_key<S>(&mut self) -> Option<Key<S>> {
        let index = self.indices.take()?;
        self.next_id += 1;
        Some(Key { index, id: self.next_id, subsystem: PhantomData })
    }

    fn link(&mut self, ops: Arc<dyn Ops>, class: Class) {
        match class {
            Class::Subsystem => {
                self.ops.insert(self.subsystems, ops);
                self.subsystems += 1;
            }
            Class::Device => self.ops.push(ops),
        }
    }

    fn unlink(&mut self, id: u64) -> Option<Arc<dyn Ops>> {
        let at = self.ops.iter().position(|ops| ops.id() == id)?;
        if at < self.subsystems {
            self.subsystems -= 1;
        }
        Some(self.ops.remove(at))
    }
}

/// `register_pernet_subsys` / `register_pernet_device`.
pub(crate) fn register<S: Subsystem>(sys: &System, subsystem: S, class: Class) -> Result<Key<S>, RegisterError> {
    let mut registry = sys.registry.write();
    let key = registry.new_key().ok_or(RegisterError::SlotsExhausted)?;
    let ops = Registered { subsystem, key };

    // Listed includes queued ones (dead, not yet picked up by a round): their round will run this
    // subsystem's exits like everyone's.
    let mut listed = sys.listed();
    // Nobody has the key yet, so nobody can miss the states while they are collected here; and if
    // an init fails, none of them ever was in a slot and their memory goes now.
    let mut states: Vec<Box<Erased>> = Vec::with_capacity(listed.len());
    let failed = listed.iter().enumerate().find_map(|(at, net)| match ops.init(net) {
        Ok(state) => {
            states.push(state);
            None
        }
        Err(error) => Some((at, net.inum(), error)),
    });

    if let Some((at, inum, error)) = failed {
        listed.truncate(at);
        let nets: Vec<DyingNet> = listed.into_iter().map(DyingNet).collect();
        let segment = Segment { ops: &ops, states: states.iter().map(|state| Some(&**state)).collect() };
        undo(sys, &[segment], &nets, Grace::Ordinary);
        sys.platform.drain_deferred();
        registry.indices.give(key.index);
        return Err(RegisterError::Init { inum, error });
    }

    for (net, state) in listed.iter().zip(states) {
        net.slots.put(key.index, key.id, state);
    }
    registry.link(Arc::new(ops), class);
    Ok(key)
}

/// `unregister_pernet_subsys` / `unregister_pernet_device`. A key that is not registered (any
/// more, or in this system) does nothing.
pub(crate) fn unregister<S: Subsystem>(sys: &System, key: Key<S>) {
    let mut registry = sys.registry.write();
    let Some(ops) = registry.unlink(key.id) else {
        return;
    };
    let nets: Vec<DyingNet> = sys.listed().into_iter().map(DyingNet).collect();
    let segment = Segment::of(&*ops, &nets);
    undo(sys, core::slice::from_ref(&segment), &nets, Grace::Ordinary);
    sys.platform.drain_deferred();
    // Only now: until the last exit_batch, states are readable by key.
    for state in segment.states.into_iter().flatten() {
        ops.retire(state);
    }
    registry.indices.give(key.index);
}

/// Runs the inits of every registered subsystem for a namespace under construction. The error says
/// how many succeeded.
pub(crate) fn init_all(registry: &Registry, net: &Net) -> Result<(), (usize, crate::CreateError)> {
    for (done, ops) in registry.ops.iter().enumerate() {
        match ops.init(net) {
            Ok(state) => net.slots.put(ops.index(), ops.id(), state),
            Err(error) => {
                return Err((done, crate::CreateError::Init { subsystem: ops.name(), error }));
            }
        }
    }
    Ok(())
}
