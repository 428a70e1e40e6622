//! Three users of the registry: two subsystems and a device.

use crate::console::print;
use crate::lock::Lock;
use crate::platform::Rcu;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use pernet::{Batch, DyingNet, InitError, Key, KillList, Net, Subsystem};

/// Whether callbacks say on the console that they run.
#[derive(Default)]
pub(crate) struct Trace(AtomicBool);

impl Trace {
    pub(crate) fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    fn say(&self, what: &str, who: &str) {
        if self.0.load(Ordering::Relaxed) {
            print!("  {what:<10} {who}");
        }
    }
}

/// A table of routes, and how many devices use it. Small, no locks, nothing to defer.
pub(crate) struct Routes(pub(crate) Arc<Trace>);

impl Subsystem for Routes {
    const NAME: &'static str = "routes";
    /// Devices that are up.
    type State = AtomicUsize;

    fn init(&self, _net: &Net) -> Result<AtomicUsize, InitError> {
        self.0.say("init", Self::NAME);
        Ok(AtomicUsize::new(0))
    }

    fn exit(&self, _net: &DyingNet, up: &AtomicUsize) {
        self.0.say("exit", Self::NAME);
        // Devices go before subsystems: nothing uses the table any more.
        assert_eq!(up.load(Ordering::Relaxed), 0, "a device outlived the routes");
    }

    fn exit_batch(&self, batch: &Batch<'_, AtomicUsize>) {
        self.0.say("exit_batch", Self::NAME);
        assert!(batch.iter().count() == batch.len());
    }
}

/// Neighbours, read without a lock in a real kernel: so what is unlinked is freed after a grace period only.
pub(crate) struct Neighbours {
    pub(crate) trace: Arc<Trace>,
    pub(crate) rcu: Arc<Rcu>,
}

/// The neighbours of one namespace; `None` once nobody new may find them.
pub(crate) type Table = Lock<Option<Vec<u64>>>;

impl Subsystem for Neighbours {
    const NAME: &'static str = "neighbours";
    type State = Table;

    fn init(&self, _net: &Net) -> Result<Table, InitError> {
        self.trace.say("init", Self::NAME);
        let mut table = Vec::new();
        table.try_reserve_exact(16).map_err(|_| InitError::NoMemory)?;
        Ok(Lock::new(Some(table)))
    }

    fn pre_exit(&self, _net: &DyingNet, table: &Table) {
        self.trace.say("pre_exit", Self::NAME);
        // Unlinks, and frees nothing. Readers who were faster use it until the grace period is over.
        let unlinked = table.with(Option::take);
        // This machine keeps what readers may still use with the callback that will free it.
        self.rcu.defer(move || drop(unlinked));
    }

    fn exit(&self, _net: &DyingNet, table: &Table) {
        self.trace.say("exit", Self::NAME);
        assert!(table.with(|table| table.is_none()));
    }
}

/// A device with a ring of one page in each namespace: too much to be had always.
pub(crate) struct Ring {
    pub(crate) trace: Arc<Trace>,
    pub(crate) routes: Key<Routes>,
}

/// Bytes of a ring.
pub(crate) const RING: usize = 4096;

impl Subsystem for Ring {
    const NAME: &'static str = "ring0";
    /// Emptied by `exit`: the state itself stays as long as its namespace.
    type State = Lock<Vec<u8>>;

    fn init(&self, net: &Net) -> Result<Self::State, InitError> {
        let mut ring = Vec::new();
        if ring.try_reserve_exact(RING).is_err() {
            self.trace.say("no memory", Self::NAME);
            // The core undoes what came before us, and the caller of `create` sees ENOMEM.
            return Err(InitError::NoMemory);
        }
        self.trace.say("init", Self::NAME);
        // Subsystems come before devices, whoever was registered first.
        let up = net.get(self.routes).ok_or(InitError::Exhausted)?;
        up.fetch_add(1, Ordering::Relaxed);
        Ok(Lock::new(ring))
    }

    fn exit_rtnl(&self, net: &DyingNet, _ring: &Self::State, kill: &mut KillList) {
        self.trace.say("exit_rtnl", Self::NAME);
        let trace = Arc::clone(&self.trace);
        // What is queued runs once for the whole batch, before any exit.
        kill.push(move || trace.say("unlink", Self::NAME));
        if let Some(up) = net.get(self.routes) {
            up.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn exit(&self, _net: &DyingNet, ring: &Self::State) {
        self.trace.say("exit", Self::NAME);
        ring.with(|ring| *ring = Vec::new());
    }
}
