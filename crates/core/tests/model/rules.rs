//! The points in which the order of things is this crate's own choice, each in one place.

/// When quota and inode number of a dead namespace come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code, reason = "one of them is the rule")]
pub(crate) enum Return {
    /// When it is unlisted: its exits see the quota free already.
    Unlisted,
    /// After its exits and after the deferred callbacks.
    Drained,
}

/// See [`Return`].
pub(crate) const CLAIMS_RETURN: Return = Return::Unlisted;

/// Whether a creation that the quota refuses unlists what is dead (which returns its quota, see
/// [`CLAIMS_RETURN`], and runs none of its callbacks) and tries once more.
pub(crate) const REFUSAL_UNLISTS_THE_DEAD: bool = true;

/// How many batches may wait for their round while it does.
pub(crate) const BACKLOG: usize = 16;

/// How many namespaces' queued work an unregistration does together.
pub(crate) const TOGETHER: usize = 64;

/// How many namespaces one round takes at most.
pub(crate) const ROUND: usize = 1024;

/// Whether a new namespace gets the lowest inode number that is free, or only a free one.
pub(crate) const LOWEST_INUM: bool = false;

/// Whether an observer whose last reference is gone still finds the ids it gave, until its round
/// comes. Only an init that a registration runs for a dead but listed namespace can ask.
pub(crate) const DEAD_OBSERVER_FINDS: bool = true;

/// Whether the states of a failed registration are freed before it returns, or with their
/// namespaces.
pub(crate) const FAILED_REGISTRATION_FREES: bool = true;

/// Whether a round that finds nobody dead, and frees what somebody held before, tells of those whose
/// last reference was in there. (The alarm does in either case.)
pub(crate) const EMPTY_ROUND_TELLS_MORE: bool = true;
