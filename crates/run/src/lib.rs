//! Runs unmodified programs inside pernet namespaces: no root, no kernel namespace, no module.
//!
//! A seccomp filter wakes the supervisor for the few system calls that see or change the network: making a socket,
//! addressing it, entering a namespace, naming a file under `/run/netns`, `/proc/…/net` or `/sys/class/net`.  The
//! supervisor answers them from an emulated system ([`pernet`], [`pernet_stack`], [`pernet_rtnl`]); everything else
//! runs natively.
//!
//! ```text
//!   program ── trapped call ──▶ listener ─▶ syscalls/… ─▶ world (spaces, sockets, rtnl, core)
//!      │                                                    │
//!      └── native send/recv/poll ◀── socketpair ◀── pump ◀──┘
//! ```
//!
//! This crate is the only one with `unsafe`: it speaks to the kernel about other processes.

#![warn(missing_docs)]

mod annex;
mod blocks;
mod bpf;
mod caller;
mod capture;
mod census;
mod closings;
mod control;
mod descriptors;
mod front;
mod handle;
mod identity;
mod inet;
mod keeper;
mod knobs;
mod launch;
mod ledger;
mod listener;
mod mem;
mod msghdr;
mod netlink;
mod paths;
mod pending;
mod probe;
mod program;
mod reactor;
mod receive;
mod replay;
mod rewrite;
mod sockets;
mod spaces;
mod split;
mod supervisor;
mod sys;
mod syscalls;
mod tag;
mod task;
mod tun;
mod turns;
mod unix;
mod users;
mod vfs;
mod waited_on;
mod watchers;
mod world;

pub use blocks::Allocator;
pub use capture::{CaptureError, CaptureOptions, capture};
pub use control::{ControlError, Request, ask};
pub use front::end_as;
pub use launch::{Ended, Options, RunError, run};
pub use probe::{Finding, enter_container_profile, probe};
