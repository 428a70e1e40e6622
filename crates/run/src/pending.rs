//! Calls whose effect shows only when their caller, or its child, is next seen.
//!
//! A number that stands for such a call is written on the caller.  Whoever forks meanwhile hands it on to a child that
//! has nothing to do with the call: so what the kernel did to the carrier decides, not who carries it.

use std::time::Instant;

use pernet::UserNs;

use crate::tag::SpaceId;
use crate::task::Task;

/// A call that the kernel decides after we have answered "go on": what it becomes depends on what it did.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// What the caller carried before: a place or another number.
    pub(crate) under: SpaceId,
    /// Where it leads, if it works.
    pub(crate) new: SpaceId,
    /// Who owns that.
    pub(crate) owner: Option<UserNs>,
    /// What the kernel's own namespace of the caller was.
    pub(crate) before: u64,
    /// Which call.
    pub(crate) call: PendingCall,
    /// When it was let go.
    pub(crate) since: Instant,
}

/// Which call is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PendingCall {
    /// `unshare(NEWUSER|NEWNET)`.
    NewUser,
    /// `clone(NEWNET)` by this thread of this process: the child is in the new one, the parent where it was.
    Child {
        /// The thread.
        maker: u32,
        /// Its process.
        process: u32,
    },
}

impl PendingCall {
    /// Which of the kernel's namespaces the call changes, for the child or for the caller.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::NewUser => "user",
            Self::Child { .. } => "net",
        }
    }
}

impl Pending {
    /// Did the call make what this carrier of its number lives in?
    pub(crate) fn worked_for(&self, task: Task) -> bool {
        match (task.namespace(self.call.kind()), self.call) {
            (Some(now), _) => now != self.before,
            (None, PendingCall::NewUser) => false,
            // It cannot be looked into: most who carry the number are the child, or the maker.
            (None, PendingCall::Child { process, .. }) => task.tgid().is_some_and(|tgid| tgid != process),
        }
    }
}
