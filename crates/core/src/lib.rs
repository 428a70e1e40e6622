//! Linux's network-namespace core in user space: namespaces, per-namespace subsystems, peer ids,
//! batched teardown.
//!
//! A [`Namespaces`] is one emulated system. A [`Subsystem`] is something of which every namespace
//! has its own: the framework builds its state when a namespace is created, hands it out by
//! [`Key`], and takes it apart when the namespace dies. A [`NetRef`] keeps a namespace alive; a
//! [`NetHandle`] only remembers it. Namespaces call each other by [`Nsid`].
//!
//! ```
//! use pernet::{Cred, InitError, Namespaces, Net, Subsystem};
//!
//! struct Mtu;
//! impl Subsystem for Mtu {
//!     const NAME: &'static str = "mtu";
//!     type State = u32;
//!     fn init(&self, net: &Net) -> Result<u32, InitError> {
//!         Ok(if net.is_init() { 1500 } else { 65536 })
//!     }
//! }
//!
//! let ns = Namespaces::new();
//! let mtu = ns.register_subsys(Mtu)?;
//! let blue = ns.create(&Cred::root(ns.init_user_ns()))?;
//! assert_eq!((ns.init_net().get(mtu), blue.get(mtu)), (Some(&1500), Some(&65536)));
//! let id = ns.init_net().peernet2id_alloc(&blue).map(|id| id.get());
//! assert_eq!(id, Some(0));
//! drop(blue); // queued: teardown runs where you want it, here or in a worker
//! assert!(ns.init_net().net_by_nsid(0).is_none());
//! assert_eq!(ns.step().destroyed, 1);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! A reader of the kernel's `net_namespace.c` finds every counterpart by name; where this crate
//! does better than the kernel (no linear search for a peer's id, teardown that costs only what
//! exists, events in the order of the table, quota returned at once), the module says why it is
//! safe.
//!
//! # Features
//! `std` (default): locks of the standard library and [`Namespaces::spawn_worker`]. Without it the
//! crate needs `alloc` and 64-bit atomics, uses spinning locks, and the embedder calls
//! [`Namespaces::step`].
//!
//! `tracing`: spans with target `pernet` around creations (`create`), registrations (`register`,
//! `unregister`) and teardown rounds (`round`, in it `phase`), so that a subscriber can tell how long
//! each takes and whose callback it was. Without it nothing of them is compiled.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(feature = "std", pernet_shuttle))]
extern crate std;

#[macro_use]
mod trace;

mod account;
mod error;
mod event;
mod life;
mod list;
mod namespaces;
mod net;
mod numbers;
mod owner;
#[cfg(test)]
#[path = "owner/tests.rs"]
mod owner_tests;
mod peers;
mod platform;
mod provisional;
mod queue;
mod refs;
mod registry;
mod report;
mod round;
mod setup;
mod shard;
mod slots;
#[cfg(test)]
#[path = "slots/tests.rs"]
mod slots_tests;
mod subsys;
mod sync;
mod system;
mod teardown;
#[cfg(feature = "std")]
mod worker;

pub use error::{AssignError, CreateError, Errno, InitError, LimitError, RegisterError};
pub use event::{Event, EventSink, Origin};
pub use namespaces::{Builder, Namespaces};
pub use net::{Cookie, DyingNet, Inum, Net, NetHandle, NetRef};
pub use owner::{Cap, Caps, Cred, Uid, UserNs};
pub use peers::{Nsid, NsidDump, NsidEntry, NsidPage};
pub use platform::{Grace, Platform};
pub use report::{Held, Report};
pub use round::{Busy, Phase};
pub use slots::Key;
pub use subsys::{Batch, KillList, Subsystem};
pub use teardown::Round;
#[cfg(feature = "std")]
pub use worker::Worker;
