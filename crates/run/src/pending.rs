//! Calls whose effect shows only when their caller, or its child, is next seen.

use pernet::UserNs;

use crate::tag::SpaceId;

/// A call that the kernel decides after we have answered "go on": what it becomes depends on what it did.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    /// `unshare(NEWUSER|NEWNET)`: it worked if the task's user namespace is another one now.
    NewUser { before: u64, old: SpaceId, new: SpaceId, owner: UserNs },
    /// `clone(NEWNET)`: the child is in the new one, the parent where it was.
    Child { parent: u32, old: SpaceId, new: SpaceId, owner: Option<UserNs> },
}

impl Pending {
    /// Where it leads, if it works.
    pub(crate) fn destination(&self) -> SpaceId {
        match self {
            Self::NewUser { new, .. } | Self::Child { new, .. } => *new,
        }
    }
}
