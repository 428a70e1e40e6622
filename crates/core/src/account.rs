//! Charging namespaces to users, without a meeting point.
//!
//! A quota is exact, and yet two threads that create namespaces for the same user must not write
//! the same cache line each time. So a shard keeps an [`Account`] with its user: units drawn in
//! advance, at every level of the ancestry at once, and not yet in use.
//!
//! Why the quota is exact all the same:
//! * near a limit nothing is drawn in advance;
//! * whoever is refused at a level first has every account of that level surrender, then asks
//!   again: units that nobody uses refuse nobody;
//! * a limit that is set takes effect at once: it opens a new epoch, and what was drawn under an
//!   older one is worth nothing until it has gone back.

use crate::owner::{Uid, UserNs};
use crate::sync::{AtomicU64, Ordering};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

/// How many units are drawn in advance.
const HANDFUL: u32 = 128;
/// An account with more gives a handful back.
pub(crate) const PLENTY: u32 = 2 * HANDFUL;
/// How far a level must be from its limit for units to be drawn in advance.
pub(crate) const DISTANCE: u32 = 4096;

/// What one shard has in advance for one user of one user namespace. Padded: every creation writes
/// its counts, and the next shard's are not to lie beside them.
#[repr(align(128))]
pub(crate) struct Account {
    user_ns: UserNs,
    uid: Uid,
    /// Units in the low half, the epoch they were drawn in above.
    credit: AtomicU64,
}

fn pack(epoch: u32, units: u32) -> u64 {
    u64::from(epoch) << 32 | u64::from(units)
}

fn unpack(credit: u64) -> (u32, u32) {
    ((credit >> 32) as u32, credit as u32)
}

impl Account {
    /// An empty account, known to every level that it may have units of.
    pub(crate) fn open(user_ns: &UserNs, uid: Uid) -> Arc<Self> {
        let epoch = user_ns.epoch();
        let account = Arc::new(Self { user_ns: user_ns.clone(), uid, credit: AtomicU64::new(pack(epoch, 0)) });
        for (ns, uid) in user_ns.levels(uid) {
            ns.introduce(uid, &account);
        }
        account
    }

    pub(crate) fn user_ns(&self) -> &UserNs {
        &self.user_ns
    }

    pub(crate) fn is_of(&self, user_ns: &UserNs, uid: Uid) -> bool {
        self.uid == uid && self.user_ns == *user_ns
    }

    /// Units that are charged and not in use.
    pub(crate) fn unused(&self) -> u32 {
        unpack(self.credit.load(Ordering::Acquire)).1
    }

    /// `inc_net_namespaces`. The error is the level that refused; nothing stays charged then.
    pub(crate) fn take(&self) -> Result<(), u32> {
        let epoch = self.user_ns.epoch();
        let mut seen = self.credit.load(Ordering::Acquire);
        while unpack(seen).0 == epoch && unpack(seen).1 > 0 {
            match self.credit.compare_exchange_weak(seen, seen - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
        self.draw(epoch)
    }

    #[cold]
    fn draw(&self, epoch: u32) -> Result<(), u32> {
        // Dropped after the guard: the last owner of an account takes the lock itself.
        let mut asked = Vec::new();
        let _till = self.user_ns.till();
        self.surrender();
        if self.charge(HANDFUL, DISTANCE).is_ok() {
            self.keep(epoch, HANDFUL - 1);
            return Ok(());
        }
        let mut refused = u32::MAX;
        while let Err((level, uid)) = self.charge(1, 0) {
            // Levels are asked from the owner upwards: each is asked again once, then the next.
            if level.level() >= refused {
                return Err(level.level());
            }
            refused = level.level();
            let accounts = level.accounts(uid);
            accounts.iter().for_each(|account| account.surrender());
            asked.push(accounts);
        }
        Ok(())
    }

    /// Puts units drawn in `epoch` into the account, or back if the epoch is over.
    fn keep(&self, epoch: u32, units: u32) {
        let fits = |(of, have): (u32, u32)| of == epoch || have == 0;
        self.add(epoch, units, fits);
    }

    /// `dec_net_namespaces`: a namespace is gone.
    pub(crate) fn put(&self) {
        let seen = self.credit.load(Ordering::Acquire);
        if unpack(seen).1 > PLENTY {
            // Not all: an account without any keeps nothing of what comes back.
            let _till = self.user_ns.till();
            let fewer = seen - u64::from(HANDFUL);
            if self.credit.compare_exchange(seen, fewer, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                self.give_back(HANDFUL);
            }
        }
        // Only beside units that were drawn in this epoch: then the account's levels were far from
        // their limits when it began, and are within them. Else a limit may have been lowered
        // below what is in use, and the unit must not be used again.
        let epoch = self.user_ns.epoch();
        self.add(epoch, 1, |(of, have)| of == epoch && have > 0);
    }

    fn add(&self, epoch: u32, units: u32, fits: impl Fn((u32, u32)) -> bool) {
        let mut seen = self.credit.load(Ordering::Acquire);
        while epoch == self.user_ns.epoch() && fits(unpack(seen)) {
            let more = pack(epoch, unpack(seen).1 + units);
            match self.credit.compare_exchange_weak(seen, more, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        self.give_back(units);
    }

    /// Gives back what is not in use. The caller has the till.
    fn surrender(&self) {
        let epoch = self.user_ns.epoch();
        let (_, units) = unpack(self.credit.swap(pack(epoch, 0), Ordering::AcqRel));
        if units > 0 {
            self.give_back(units);
        }
    }

    /// Gives back what is not in use, for whoever keeps the account no longer.
    pub(crate) fn close(&self) {
        let _till = self.user_ns.till();
        self.surrender();
    }

    /// The error is the level that refused, and whom it would have charged.
    fn charge(&self, units: u32, distance: u32) -> Result<(), (&UserNs, Uid)> {
        for (taken, (ns, uid)) in self.user_ns.levels(self.uid).enumerate() {
            if !ns.charge(uid, units, distance) {
                for (ns, uid) in self.user_ns.levels(self.uid).take(taken) {
                    ns.discharge(uid, units);
                }
                return Err((ns, uid));
            }
        }
        Ok(())
    }

    fn give_back(&self, units: u32) {
        for (ns, uid) in self.user_ns.levels(self.uid) {
            ns.discharge(uid, units);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _till = self.user_ns.till();
        // Also if there are none: a level forgets a user of whom nothing is left.
        self.give_back(self.unused());
    }
}

/// What is charged to one user at one level.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) charged: u32,
    /// Who may have units of it that are not in use.
    accounts: Vec<Weak<Account>>,
}

impl Record {
    pub(crate) fn introduce(&mut self, account: &Arc<Account>) {
        // Before the vector would grow: so it is no longer than twice the accounts that exist.
        if self.accounts.len() == self.accounts.capacity() {
            self.accounts.retain(|account| account.strong_count() > 0);
        }
        self.accounts.push(Arc::downgrade(account));
    }

    /// To be dropped outside the lock: the last owner of an account gives its units back.
    pub(crate) fn accounts(&self) -> Vec<Arc<Account>> {
        self.accounts.iter().filter_map(Weak::upgrade).collect()
    }

    /// Nothing to remember.
    pub(crate) fn is_idle(&self) -> bool {
        self.charged == 0 && self.accounts.iter().all(|account| account.strong_count() == 0)
    }
}
