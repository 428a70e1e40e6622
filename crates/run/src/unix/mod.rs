//! AF_UNIX sockets of programs: the kernel's own, but for names that are not paths.
//!
//! Such a name belongs to a network namespace, and the kernel's namespace is the host's for all.  So a name that a program
//! says goes to the kernel with a beginning of ours, which tells the run and the namespace, and a name that comes back loses
//! that.  The socket's namespace counts, not the caller's.
//!
//! Calls with such names are made by us, on a copy of the program's descriptor; all others the kernel runs.  As long as
//! nobody in the run has such a name, nothing can come back, and only calls that say one are looked at.

mod calls;
mod host;
mod names;
mod peers;

pub(crate) use calls::{Waiting, has_parked, park, receive, serve_parked, try_call};
pub(crate) use host::{proc_net, sockets};
pub(crate) use names::Names;
pub(crate) use peers::peer;
