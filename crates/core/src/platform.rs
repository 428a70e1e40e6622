//! The hooks an embedder may install: what a kernel has and a process has not.

/// How urgent a grace period is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grace {
    /// In a failed creation or an (un)registration: `synchronize_rcu`.
    Ordinary,
    /// In a teardown round, which others wait for: `synchronize_rcu_expedited`.
    Expedited,
}

/// Hooks of the embedding system; every one has a default that suits a process.
///
/// Memory safety never depends on them: the crate frees nothing that can still be reached. They
/// matter to subsystems whose own readers are lock-free and are waited for in an embedder's way.
pub trait Platform: Send + Sync {
    /// Called between `pre_exit` and the exits of one undo: returns when every reader that may have
    /// found something before `pre_exit` unlinked it is gone.
    fn grace_period(&self, how: Grace) {
        let _ = how;
    }

    /// Called after the exits and before the states are freed: returns when callbacks that exits have
    /// deferred are done (`rcu_barrier`).
    fn drain_deferred(&self) {}

    /// Which shard the caller belongs to: the number of its processor, say. Any number will do at
    /// any time; creations do best when those that run at the same time get different ones. By
    /// default, threads are numbered in the order in which they first ask; without `std`, there is
    /// one shard.
    fn shard(&self) -> usize {
        crate::sync::thread_number()
    }

    /// Called in a loop by whoever waits for another thread ([`barrier`](crate::Namespaces::barrier),
    /// a registration or unregistration), `attempt` counting from 0: gives way for a moment. By default a thread
    /// yields, and after many attempts sleeps; without `std` it spins, which is not enough where the
    /// one who is waited for may need this processor: a kernel that can be interrupted in a callback
    /// schedules here.
    fn relax(&self, attempt: u32) {
        crate::sync::relax(attempt);
    }
}

/// What a process gets when it installs nothing.
pub(crate) struct Bare;

impl Platform for Bare {}
