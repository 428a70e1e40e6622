//! Creation: quota, numbers, inits in order; on failure the undo, phase by phase.
//!
//! What a creation takes is owned by the namespace it builds, which gives it back when it is
//! dropped: there is no error path that could forget something.

use crate::error::CreateError;
use crate::event::Event;
use crate::net::{DyingNet, Net, NetRef};
use crate::owner::{Cap, Cred};
use crate::platform::Grace;
use crate::registry::{self, OpsList};
use crate::round::{self, Dead};
use crate::sync::Ordering;
use crate::system::System;
use crate::teardown;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// `copy_net_ns(CLONE_NEWNET, …)`. `init` is the initial namespace.
#[track_caller]
pub(crate) fn create(init: &NetRef, cred: &Cred, template: Option<&Net>) -> Result<NetRef, CreateError> {
    let sys = init.sys();
    // Before any question of quota, as in the kernel.
    if !cred.capable(&cred.user_ns, Cap::SysAdmin) {
        return Err(CreateError::NotPermitted);
    }
    let admitted = sys.admit(cred)?;
    // Given back by `last_put` of the shard's last one. Two threads may cross here, one making the
    // first and one losing the last: each has a unit of its own in hand meanwhile.
    if admitted.home.shard().living.fetch_add(1, Ordering::AcqRel) == 0 {
        init.active.get();
    }
    let ops = Arc::clone(&admitted.ops);
    let mut making = Making { sys, net: Some(Net::build(admitted)), ops };
    let Some(net) = &making.net else { unreachable!("just put there") };
    span!("create", cookie = net.cookie().get(), inum = net.inum().get(), template = template.is_some());

    let mut made = registry::init_all(&making.ops, None, net, template);
    while made.is_ok()
        && let Some(newer) = publish(net, &making.ops)
    {
        made = registry::catch_up(sys, net.arc_ref(), &making.ops, &newer, template);
        making.ops = newer;
    }
    let Some(net) = making.net.take() else { unreachable!("taken here only") };
    match made {
        Ok(()) => Ok(net),
        Err(error) => {
            undo(sys, net, &making.ops);
            Err(error)
        }
    }
}

/// A namespace under construction. If an init panics, it is torn down like one that has died.
struct Making<'a> {
    sys: &'a System,
    net: Option<NetRef>,
    ops: Arc<OpsList>,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let Some(net) = self.net.take() else { return };
        // Else it was a sink that panicked, and the last put queues it.
        if !net.is_listed() {
            net.life.undo();
            net.give_back(Some(&mut net.home().shard().body.lock().inums));
            let dying = Vec::from([DyingNet(Arc::clone(net.arc_ref()))]);
            drop(net);
            self.sys.abandon(Dead::new(Arc::clone(&self.ops), dying));
        }
    }
}

/// Appends a finished namespace to the list, unless there is a newer list of subsystems than the
/// one it was made with. Until here nothing could find or name it.
///
/// The event is emitted under the shard's lock: nobody else can have seen the namespace before its
/// subscribers know of it.
pub(crate) fn publish(net: &NetRef, ops: &OpsList) -> Option<Arc<OpsList>> {
    let sys = net.sys();
    let mut body = net.home().shard().body.lock();
    if body.ops.version != ops.version {
        return Some(Arc::clone(&body.ops));
    }
    let at = body.list.append(Arc::clone(net.arc_ref()));
    net.at.store(at, Ordering::Relaxed);
    // Under the lock, so that a shard's list is in order. Release: a walk that sees the count finds
    // what was counted before.
    let place = sys.places.fetch_add(1, Ordering::AcqRel) + 1;
    net.place.store(place, Ordering::Relaxed);
    net.life.publish();
    sys.sinks.emit(&Event::NetNew { net });
    None
}

/// Takes a namespace apart that was never published.
fn undo(sys: &System, net: NetRef, ops: &Arc<OpsList>) {
    // Before `net` is dropped: its last put must not queue it.
    net.life.undo();
    let dying = Vec::from([DyingNet(Arc::clone(net.arc_ref()))]);
    let nets = round::dismantle(sys, Arc::clone(ops), dying, Grace::Ordinary);
    sys.platform.drain_deferred();
    // Explicitly, in case an init has kept a handle or a reference somewhere.
    net.give_back(Some(&mut net.home().shard().body.lock().inums));
    drop(net);
    teardown::free(sys, nets);
}
