//! What all namespaces of one system share.

use crate::account::Account;
use crate::error::CreateError;
use crate::event::Sinks;
use crate::net::{Cookie, DyingNet, Inum, Net};
use crate::numbers::Inums;
use crate::owner::{Cred, Shared, UserNs};
use crate::platform::Platform;
use crate::registry::{OldLists, OpsList, Registry};
use crate::round::{Dead, Rounds};
use crate::shard::{Home, Shard};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Once, Padded};
use crate::teardown;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

/// The `on_work` hook of a [`Builder`](crate::Builder).
pub(crate) type OnWork = Arc<dyn Fn() + Send + Sync>;

/// One emulated system.
///
/// Lock order: registration → rounds → a shard → (a stack's) → a peer table → (a netlink bus's).
/// Below all of them, as leaves: back-references, numbers, charges, shells, holders, workers, old
/// lists, a namespace's provisional state; a round's namespaces, and after them what it has queued.
pub(crate) struct System {
    /// Held while a registration or unregistration runs: they follow one another. Creations and
    /// teardown rounds do not take it.
    pub(crate) registry: Mutex<Registry>,
    /// Leaf lock.
    pub(crate) old_lists: Mutex<OldLists>,
    /// Teardown rounds that run, and batches that wait for one.
    pub(crate) rounds: Mutex<Rounds>,
    pub(crate) shards: Box<[Shard]>,
    /// How many namespaces have been published: the last place given.
    pub(crate) places: Padded<AtomicU64>,
    /// The dead that a round left to the registration that has them in hand.
    pub(crate) postponed: AtomicUsize,
    /// Dead namespaces that somebody held for a moment when they were to be freed. Leaf lock.
    pub(crate) shells: Mutex<Vec<DyingNet>>,
    /// Held while shells are freed, which runs destructors of states: only ever tried.
    pub(crate) freeing: Mutex<()>,
    pub(crate) sinks: Sinks,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inums: Inums,
    pub(crate) init_user_ns: UserNs,
    pub(crate) init_net: Once<Weak<Net>>,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) on_work: Option<OnWork>,
    /// Workers that sleep: one is woken when a death queue is no longer empty. Leaf lock.
    #[cfg(feature = "std")]
    pub(crate) workers: Mutex<Vec<std::thread::Thread>>,
    pub(crate) seed: u64,
    pub(crate) track_holders: bool,
}

/// Everything a creation needs before it can begin.
pub(crate) struct Admitted {
    /// With a unit charged.
    pub(crate) account: Arc<Account>,
    pub(crate) inum: Inum,
    pub(crate) cookie: Cookie,
    pub(crate) ops: Arc<OpsList>,
    pub(crate) home: Arc<Home>,
}

impl System {
    pub(crate) fn init_net(&self) -> Option<Arc<Net>> {
        self.init_net.get()?.upgrade()
    }

    /// The shard of whoever calls.
    pub(crate) fn here(&self) -> &Shard {
        &self.shards[self.platform.shard() % self.shards.len()]
    }

    /// The registration's lock. Callbacks run under it, so that whoever waits for it gives way.
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        let mut guard = None;
        self.wait_until(|| {
            guard = self.registry.try_lock();
            guard.is_some()
        });
        match guard {
            Some(guard) => guard,
            None => unreachable!("waited for it"),
        }
    }

    /// Charges and numbers a new namespace. Nothing is held if it fails.
    pub(crate) fn admit(&self, cred: &Cred) -> Result<Admitted, CreateError> {
        let shard = self.here();
        let mut unlisted = None;
        loop {
            let refused = match self.try_admit(shard, cred) {
                Ok(admitted) => return Ok(admitted),
                Err(refused) => refused,
            };
            // What is dead is in nobody's use: it goes off the list now, its exits wait for a round.
            // Whoever is refused again may have come too late for what had been freed. Only if nothing has
            // been unlisted since, everything was in use by the living when we asked.
            let now = teardown::unlist_for_creation(self);
            if now.is_none() || now == unlisted {
                return Err(refused);
            }
            unlisted = now;
        }
    }

    fn try_admit(&self, shard: &Shard, cred: &Cred) -> Result<Admitted, CreateError> {
        let mut body = shard.body.lock();
        let account = body.account(cred);
        account.take().map_err(|level| CreateError::QuotaExceeded { level })?;
        let mut inum = body.inums.take(&self.inums);
        if inum.is_none() {
            // Other shards may have stocks. One lock at a time.
            drop(body);
            for other in &self.shards {
                other.body.lock().inums.surrender(&self.inums);
            }
            body = shard.body.lock();
            inum = body.inums.take(&self.inums);
        }
        let (Some(inum), Some(home)) = (inum, body.home.clone()) else {
            drop(body);
            account.put();
            return Err(CreateError::InumsExhausted);
        };
        let (cookie, ops) = (body.cookie(&self.shared.ids), Arc::clone(&body.ops));
        Ok(Admitted { account, inum, cookie, ops, home })
    }

    /// How many namespaces are listed.
    pub(crate) fn listed(&self) -> usize {
        self.shards.iter().map(|shard| shard.body.lock().list.len()).sum()
    }

    /// Whether a step would find something to take apart.
    pub(crate) fn has_dead(&self) -> bool {
        self.shards.iter().any(|shard| !shard.deaths.is_empty()) || !self.rounds.lock().waiting.is_empty()
    }

    /// A death queue is no longer empty.
    pub(crate) fn raise_alarm(&self) {
        #[cfg(feature = "std")]
        crate::worker::wake_one(self);
        if let Some(hook) = &self.on_work {
            hook();
        }
    }

    /// A panic has come between: what is left is torn down like what has died.
    pub(crate) fn abandon(&self, left: Dead) {
        self.rounds.lock().waiting.push_back(left);
        self.raise_alarm();
    }

    /// Returns once `done` answers true. Whoever waits here waits for other threads.
    pub(crate) fn wait_until(&self, mut done: impl FnMut() -> bool) {
        let mut attempt = 0;
        while !done() {
            self.platform.relax(attempt);
            attempt = attempt.saturating_add(1);
        }
    }

    /// A number nobody can guess from the cookie: splitmix64's finaliser over the seed.
    pub(crate) fn hash_mix(&self, cookie: Cookie) -> u32 {
        let mut z = self.seed ^ cookie.get().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z >> 32) as u32
    }

    /// Nobody is left who could use the system. The lists own their namespaces and they own the
    /// system: letting go of them breaks the circle.
    pub(crate) fn power_off(&self) {
        for shard in &self.shards {
            let (list, home) = {
                let mut body = shard.body.lock();
                (core::mem::take(&mut body.list), body.home.take())
            };
            // Outside the lock: dropping states runs foreign code.
            drop((list, home));
        }
        let waiting = core::mem::take(&mut self.rounds.lock().waiting);
        let shells = core::mem::take(&mut *self.shells.lock());
        drop((waiting, shells));
    }
}
