//! Who owns a namespace: user namespaces, capabilities relative to them, quotas per level.
//!
//! A user namespace here is what the network core needs of one: a place in the tree, the user who
//! created it, and how many network namespaces may be charged to it.

use crate::account::{Account, Record};
use crate::error::LimitError;
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, Padded};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use hashbrown::HashMap;

/// A user id as the initial user namespace numbers it (the kernel's `kuid_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Uid(pub u32);

impl Uid {
    /// User 0.
    pub const ROOT: Self = Self(0);
}

/// The capabilities that network code asks for, by their number in `linux/capability.h`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum Cap {
    /// `CAP_DAC_OVERRIDE`: pass by the permissions of files.
    DacOverride = 1,
    /// `CAP_SETGID`: map groups into a user namespace.
    SetGid = 6,
    /// `CAP_SETUID`: map users into a user namespace.
    SetUid = 7,
    /// `CAP_NET_BIND_SERVICE`: bind to ports below `ip_unprivileged_port_start`.
    NetBindService = 10,
    /// `CAP_NET_BROADCAST`: hear the events of other namespaces.
    NetBroadcast = 11,
    /// `CAP_NET_ADMIN`: change a namespace's network.
    NetAdmin = 12,
    /// `CAP_NET_RAW`: raw and packet sockets.
    NetRaw = 13,
    /// `CAP_SYS_PTRACE`: look into another task.
    SysPtrace = 19,
    /// `CAP_SYS_ADMIN`: create and enter namespaces.
    SysAdmin = 21,
    /// `CAP_SYS_RESOURCE`: raise limits.
    SysResource = 24,
}

/// A set of capabilities, one bit per capability number, as in `/proc/<pid>/status` `CapEff`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Caps(u64);

impl Caps {
    /// Every capability Linux 6.18 knows (0..=40).
    pub const FULL: Self = Self((1 << 41) - 1);
    /// None.
    pub const EMPTY: Self = Self(0);

    /// From the kernel's bit mask; bits without a capability are dropped.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::FULL.0)
    }

    /// The kernel's bit mask.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// This set and `cap`.
    #[must_use]
    pub const fn with(self, cap: Cap) -> Self {
        Self(self.0 | 1 << cap as u8)
    }

    /// This set less `cap`.
    #[must_use]
    pub const fn without(self, cap: Cap) -> Self {
        Self(self.0 & !(1 << cap as u8))
    }

    /// Whether `cap` is in the set.
    #[must_use]
    pub const fn contains(self, cap: Cap) -> bool {
        self.0 & 1 << cap as u8 != 0
    }
}

impl fmt::Debug for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caps({:#x})", self.0)
    }
}

/// What a task may do and on whose account: the part of `struct cred` the network core looks at.
#[derive(Clone, Debug)]
pub struct Cred {
    /// The user namespace the task lives in.
    pub user_ns: UserNs,
    /// Its effective user.
    pub euid: Uid,
    /// Its effective capabilities, which count in `user_ns` and, by descent, below it.
    pub caps: Caps,
}

impl Cred {
    /// User 0 of `user_ns` with every capability.
    #[must_use]
    pub fn root(user_ns: &UserNs) -> Self {
        Self { user_ns: user_ns.clone(), euid: Uid::ROOT, caps: Caps::FULL }
    }

    /// An ordinary user of `user_ns`.
    #[must_use]
    pub fn user(user_ns: &UserNs, euid: Uid) -> Self {
        Self { user_ns: user_ns.clone(), euid, caps: Caps::EMPTY }
    }

    /// `ns_capable`: whether `cap` counts in `target`.
    ///
    /// In the own user namespace the capability bit decides. In a descendant everything is allowed
    /// to the user who created the branch, and otherwise the own bit decides. In an ancestor or a
    /// stranger nothing is allowed.
    #[must_use]
    pub fn capable(&self, target: &UserNs, cap: Cap) -> bool {
        let mut ns = target;
        loop {
            if *ns == self.user_ns {
                return self.caps.contains(cap);
            }
            // At or above our level without having met us: not a descendant of ours.
            if ns.level() <= self.user_ns.level() {
                return false;
            }
            let Some(parent) = ns.parent() else {
                return false;
            };
            // The creator of a user namespace, still in its parent, has every capability in it.
            if *parent == self.user_ns && ns.owner() == self.euid {
                return true;
            }
            ns = parent;
        }
    }
}

/// A user namespace. Clones are the same one.
#[derive(Clone)]
pub struct UserNs(Arc<Inner>);

/// What all user namespaces of a system share.
pub(crate) struct Shared {
    /// Ids of all kinds come from one generator.
    pub(crate) ids: Padded<AtomicU64>,
    /// Changes whenever a limit is set anywhere.
    epoch: AtomicU32,
    /// Held while units go between accounts and levels in bulk: whoever looks for unused ones finds
    /// them in an account or uncharged, not on the way. Above the leaf locks of the levels.
    till: Mutex<()>,
}

impl Shared {
    pub(crate) fn new(first_id: u64) -> Arc<Self> {
        Arc::new(Self { ids: Padded(AtomicU64::new(first_id)), epoch: AtomicU32::new(0), till: Mutex::new(()) })
    }
}

struct Inner {
    id: u64,
    level: u32,
    owner: Uid,
    parent: Option<UserNs>,
    shared: Arc<Shared>,
    max_net_namespaces: AtomicU64,
    /// Network namespaces charged here, by the user charged. Leaf lock.
    charged: Mutex<HashMap<Uid, Record>>,
}

impl Drop for Inner {
    // A deep chain of ancestors must not take one stack frame each.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(UserNs(inner)) = parent {
            parent = Arc::into_inner(inner).and_then(|mut inner| inner.parent.take());
        }
    }
}

/// The limit of a new user namespace, and the largest there is.
const MAX_LIMIT: u32 = i32::MAX as u32;

impl UserNs {
    pub(crate) fn initial(id: u64, owner: Uid, max_net_namespaces: u32, shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner {
            id,
            level: 0,
            owner,
            parent: None,
            shared,
            max_net_namespaces: AtomicU64::new(u64::from(max_net_namespaces.min(MAX_LIMIT))),
            charged: Mutex::new(HashMap::new()),
        }))
    }

    /// A new user namespace below this one, created by (and owned by) `creator`'s effective user.
    ///
    /// Its limit starts at 2147483647, whatever its parent's is: the parent's own limit still binds
    /// everything below it.
    #[must_use]
    pub fn child(&self, creator: &Cred) -> Self {
        Self(Arc::new(Inner {
            id: self.0.shared.ids.fetch_add(1, Ordering::Relaxed),
            level: self.0.level.saturating_add(1),
            owner: creator.euid,
            parent: Some(self.clone()),
            shared: Arc::clone(&self.0.shared),
            max_net_namespaces: AtomicU64::new(u64::from(MAX_LIMIT)),
            charged: Mutex::new(HashMap::new()),
        }))
    }

    /// Sets the limit of network namespaces, as a write to `/proc/sys/user/max_net_namespaces`
    /// from inside this user namespace does. Namespaces above a lowered limit live on.
    ///
    /// # Errors
    /// [`LimitError::OutOfRange`] outside 0..=2147483647.
    pub fn set_max_net_namespaces(&self, limit: i64) -> Result<(), LimitError> {
        match u32::try_from(limit) {
            Ok(limit) if limit <= MAX_LIMIT => {
                self.0.max_net_namespaces.store(u64::from(limit), Ordering::Release);
                // After the limit: whoever sees the epoch sees the limit.
                self.0.shared.epoch.fetch_add(1, Ordering::AcqRel);
                Ok(())
            }
            _ => Err(LimitError::OutOfRange),
        }
    }

    /// The limit of network namespaces, 0..=2147483647.
    #[must_use]
    pub fn max_net_namespaces(&self) -> u32 {
        // Stored from a u32 only.
        self.0.max_net_namespaces.load(Ordering::Relaxed) as u32
    }

    /// Identity, unique in the system for ever, shared with the cookies of network namespaces.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Depth: 0 for the initial user namespace.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.0.level
    }

    /// The effective user of whoever created it.
    #[must_use]
    pub fn owner(&self) -> Uid {
        self.0.owner
    }

    /// The user namespace it was created in; `None` for the initial one.
    #[must_use]
    pub fn parent(&self) -> Option<&Self> {
        self.0.parent.as_ref()
    }

    /// Network namespaces charged to `uid` here at the moment, by itself and by what lies below.
    #[must_use]
    pub fn net_namespaces(&self, uid: Uid) -> u32 {
        // Dropped after the guard: the last owner of an account gives its units back.
        let accounts;
        let charged = self.0.charged.lock();
        let Some(record) = charged.get(&uid) else { return 0 };
        accounts = record.accounts();
        // Units that go back meanwhile were counted in both or, if they were taken, in neither.
        record.charged.saturating_sub(accounts.iter().map(|account| account.unused()).sum())
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.0.shared.epoch.load(Ordering::Acquire)
    }

    /// See [`Shared::till`].
    pub(crate) fn till(&self) -> MutexGuard<'_, ()> {
        self.0.shared.till.lock()
    }

    /// Who is charged where: the creator in its own user namespace, then at each ancestor the user
    /// who created the child below it.
    pub(crate) fn levels(&self, uid: Uid) -> impl Iterator<Item = (&Self, Uid)> {
        core::iter::successors(Some((self, uid)), |(ns, _)| ns.parent().map(|parent| (parent, ns.owner())))
    }

    /// Charges `units`, if `distance` more could be.
    pub(crate) fn charge(&self, uid: Uid, units: u32, distance: u32) -> bool {
        let mut charged = self.0.charged.lock();
        let record = charged.entry(uid).or_default();
        let wanted = record.charged.saturating_add(units);
        if wanted.saturating_add(distance) <= self.max_net_namespaces() {
            record.charged = wanted;
            return true;
        }
        false
    }

    pub(crate) fn discharge(&self, uid: Uid, units: u32) {
        let mut charged = self.0.charged.lock();
        if let Some(record) = charged.get_mut(&uid) {
            record.charged -= units;
            if record.is_idle() {
                charged.remove(&uid);
            }
        }
    }

    pub(crate) fn introduce(&self, uid: Uid, account: &Arc<Account>) {
        self.0.charged.lock().entry(uid).or_default().introduce(account);
    }

    pub(crate) fn accounts(&self, uid: Uid) -> Vec<Arc<Account>> {
        self.0.charged.lock().get(&uid).map(Record::accounts).unwrap_or_default()
    }
}

impl PartialEq for UserNs {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for UserNs {}

impl fmt::Debug for UserNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserNs")
            .field("id", &self.0.id)
            .field("level", &self.0.level)
            .field("owner", &self.0.owner.0)
            .finish()
    }
}
