//! Events, emitted inside the critical section that makes them true.
//!
//! The kernel sends its notification after dropping the lock, so a NEW for a reused id can overtake
//! the DEL of the old one. Here a sink is called while the observer's table is still locked: the
//! order in which a sink sees the events of one observer *is* the order of the table's history, and
//! replaying them gives its contents. The price is that a sink may only queue.

#[cfg(doc)]
use crate::Namespaces;
use crate::net::{Net, NetHandle};
use crate::peers::Nsid;
use crate::sync::Once;
use alloc::boxed::Box;
use alloc::sync::Arc;

/// Who caused an assignment; copied into the header of the notification.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// Port of the requesting netlink socket, 0 for the kernel.
    pub portid: u32,
    /// Sequence number of the request, 0 for the kernel.
    pub seq: u32,
    /// The requester asked for a copy by unicast (`NLM_F_ECHO`).
    pub echo: bool,
}

impl Origin {
    /// Nobody asked: an implicit allocation.
    pub const KERNEL: Self = Self { portid: 0, seq: 0, echo: false };
}

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// `observer` has an id for `peer` now (`RTM_NEWNSID`).
    NsidNew {
        /// Whose table changed.
        observer: &'a Net,
        /// The namespace it names.
        peer: &'a NetHandle,
        /// The id.
        id: Nsid,
        /// Who asked.
        origin: Origin,
    },
    /// The peer called `id` in `observer` is gone (`RTM_DELNSID`).
    NsidDel {
        /// Whose table changed.
        observer: &'a Net,
        /// The id, free again from here on.
        id: Nsid,
    },
    /// A namespace was published: all its subsystems are ready.
    NetNew {
        /// The namespace.
        net: &'a Net,
    },
    /// A namespace was unlisted: nobody can find it any more, its dismantling begins.
    NetDead {
        /// The namespace.
        net: &'a NetHandle,
    },
}

/// Receives events.
///
/// `emit` runs inside a critical section: of the observer's peer table for the `Nsid*` events, of
/// the shard's list of namespaces for the `Net*` events. It may
/// * queue, and take locks that are below the peer tables (the netlink bus);
/// * take and drop references, ask [`Net::get`] and [`Net::peernet2id`] (whose lock is below);
///
/// and must not call anything else of this crate: creation, teardown, registration, assignment,
/// lookup by id and iteration all need the lock that is held, and so do [`Namespaces::busy`] and
/// [`Namespaces::report`] at the death of a namespace, which is told under the rounds' lock too. If a
/// reference that a sink drops is the last one, the `on_work` hook runs under that lock. A sink is kept as long as the system
/// lives, so one that owns a [`NetRef`](crate::NetRef) or [`Namespaces`] keeps
/// the system for ever; let it own a [`NetHandle`].
pub trait EventSink: Send + Sync {
    /// Takes note of `event`.
    fn emit(&self, event: &Event<'_>);
}

/// The subscribers in order of subscription: append-only, so that emission takes no lock.
#[derive(Default)]
pub(crate) struct Sinks(Once<Box<Subscriber>>);

struct Subscriber {
    sink: Arc<dyn EventSink>,
    next: Sinks,
}

impl Sinks {
    pub(crate) fn add(&self, sink: Arc<dyn EventSink>) {
        let mut offered = Some(sink);
        let mut place = self;
        // Two subscribers may meet at the same place: whoever finds it taken goes on to the next.
        loop {
            let here = place.0.try_call_once(|| match offered.take() {
                Some(sink) => Ok(Box::new(Subscriber { sink, next: Self::default() })),
                None => Err(()),
            });
            match (here, &offered) {
                (Ok(subscriber), Some(_)) => place = &subscriber.next,
                _ => return,
            }
        }
    }

    pub(crate) fn emit(&self, event: &Event<'_>) {
        let mut place = self;
        while let Some(subscriber) = place.0.get() {
            subscriber.sink.emit(event);
            place = &subscriber.next;
        }
    }
}
