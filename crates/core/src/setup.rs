//! Creation: quota, number, inits in order; on failure the undo, phase by phase.
//!
//! Everything a creation takes is owned by a value that gives it back when dropped, so there is no
//! error path that could forget something.

use crate::error::CreateError;
use crate::event::Event;
use crate::namespaces::System;
use crate::net::{Claims, Cookie, DyingNet, Identity, Net, NetRef, Phase};
use crate::numbers::InumLease;
use crate::owner::{Cap, Charge, Cred};
use crate::platform::Grace;
use crate::registry;
use crate::sync::Ordering;
use crate::teardown::{Segment, free, undo};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// `copy_net_ns(CLONE_NEWNET, …)`.
///
/// `init` is the initial namespace, of which the new one holds a unit for as long as it is alive:
/// that keeps the system running.
#[track_caller]
pub(crate) fn create(init: &NetRef, cred: &Cred) -> Result<NetRef, CreateError> {
    let sys = &init.sys;
    // Before any question of quota, as in the kernel.
    if !cred.capable(&cred.user_ns, Cap::SysAdmin) {
        return Err(CreateError::NotPermitted);
    }
    let charge = Charge::new(&cred.user_ns, cred.euid).map_err(|level| CreateError::QuotaExceeded { level })?;
    let inum = InumLease::new(&sys.inums).ok_or(CreateError::InumsExhausted)?;

    // Shared: creations run beside each other and beside a teardown round.
    let registry = sys.registry.read();
    let cookie = sys.ids.fetch_add(1, Ordering::Relaxed);
    let identity = Identity {
        cookie: Cookie::new(cookie),
        inum: inum.inum(),
        hash_mix: sys.hash_mix(cookie),
        owner: cred.user_ns.clone(),
    };
    // Given back by `last_put` of the new namespace.
    init.active.get();
    let net = Net::build(Arc::clone(sys), identity, Claims { _inum: Some(inum), _charge: Some(charge) });

    if let Err((done, error)) = registry::init_all(&registry, &net) {
        let nets = Vec::from([DyingNet(Arc::clone(net.arc_ref()))]);
        {
            let segments: Vec<Segment<'_>> =
                registry.ops()[..done].iter().map(|ops| Segment::of(&**ops, &nets)).collect();
            undo(sys, &segments, &nets, Grace::Ordinary);
        }
        drop(registry);
        sys.platform.drain_deferred();
        // Before `net` is dropped: its last put must not queue it.
        net.enter_phase(Phase::Undone);
        // Explicitly, in case an init has kept a handle or a reference somewhere.
        net.give_back();
        drop(net);
        free(sys, nets);
        return Err(error);
    }
    publish(sys, &net);
    drop(registry);
    Ok(net)
}

/// Appends a finished namespace to the list. Until here nothing could find or name it.
///
/// The event is emitted under the list lock: nobody else can have seen the namespace before its
/// subscribers know of it.
pub(crate) fn publish(sys: &System, net: &NetRef) {
    let mut list = sys.list.lock();
    let place = list.append(Arc::clone(net.arc_ref()));
    net.place.store(place, Ordering::Relaxed);
    // Release: whoever sees "listed" sees the place too.
    net.enter_phase(Phase::Listed);
    sys.sinks.emit(&Event::NetNew { net });
}
