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

    /// Called after the exits and before the numbers of a namespace are given back: returns when
    /// callbacks that exits have deferred are done (`rcu_barrier`).
    fn drain_deferred(&self) {}
}

/// What a process gets when it installs nothing.
pub(crate) struct Bare;

impl Platform for Bare {}
