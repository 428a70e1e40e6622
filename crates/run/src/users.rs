//! Who may do what inside: the kernel's user namespaces of supervised tasks, mapped onto pernet's.
//!
//! pernet's initial user namespace stands for the one in which the run was started.  Someone without privileges is
//! root there, over pernet's namespaces only: that is the point of the tool.  Someone who started it as root gets
//! exactly what root would have: a program that dropped a capability does not have it here either.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use pernet::{Caps, Cred, Uid, UserNs};

use crate::sys;
use crate::task::Task;
use crate::world::lock;

const NS_GET_USERNS: u64 = 0xb701;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_NET_ADMIN: u64 = 1 << 12;

#[derive(Debug)]
struct Known {
    user_ns: UserNs,
    /// While it is open the kernel gives its number to no other.
    _pin: Option<OwnedFd>,
}

/// The mapping from the kernel's user namespaces to pernet's.
#[derive(Debug)]
pub(crate) struct Users {
    root: UserNs,
    /// The run was started by someone who holds the capabilities that matter: then each task's own decide.
    own_caps_decide: bool,
    /// By inode number.  Lock order: a leaf; nothing else is taken while it is held.
    known: Mutex<HashMap<u64, Known>>,
}

impl Users {
    /// `first` is the program's first process, already in the user namespace that it starts in.
    pub(crate) fn new(root: UserNs, first: Task) -> Self {
        let me = Task::new(std::process::id());
        let strong = |t: Task| {
            t.privileges()
                .is_some_and(|p| p.effective & (CAP_SYS_ADMIN | CAP_NET_ADMIN) == CAP_SYS_ADMIN | CAP_NET_ADMIN)
        };
        let base = first.namespace("user");
        let own_caps_decide = base == me.namespace("user") && strong(me);
        let base = base.map(|ino| (ino, Known { user_ns: root.clone(), _pin: first.open_namespace("user") }));
        let known = base.into_iter().collect();
        Self { root, own_caps_decide, known: Mutex::new(known) }
    }

    /// Could programs of this run change the host's own network settings, if nobody stopped them?
    pub(crate) fn host_powers(&self) -> bool {
        self.own_caps_decide
    }

    /// Makes a user namespace that we had to create for a program stand for the initial one: the program did not ask
    /// for it and must not notice.
    pub(crate) fn adopt(&self, task: Task) {
        self.adopt_as(task, self.root.clone());
    }

    /// The user namespace that a task is in now is the one that pernet made beforehand, to own what was created with it.
    pub(crate) fn adopt_as(&self, task: Task, user_ns: UserNs) {
        if let Some(inode) = task.namespace("user") {
            lock(&self.known).insert(inode, Known { user_ns, _pin: task.open_namespace("user") });
        }
    }

    /// The credentials of a task.  A task that cannot be read has none.
    pub(crate) fn cred(&self, task: Task) -> Cred {
        let nobody = || Cred { user_ns: self.root.clone(), euid: Uid(u32::MAX), caps: Caps::EMPTY };
        let Some(inode) = task.namespace("user") else {
            return nobody();
        };
        let Some(user_ns) = self.find(task, inode) else {
            return nobody();
        };
        let Some(p) = task.privileges() else {
            return nobody();
        };
        let caps =
            if user_ns == self.root && !self.own_caps_decide { Caps::FULL } else { Caps::from_bits(p.effective) };
        Cred { user_ns, euid: Uid(p.euid), caps }
    }

    /// Does the kernel itself let this task make and mount namespaces?
    pub(crate) fn natively_privileged(task: Task) -> bool {
        task.privileges().is_some_and(|p| p.effective & CAP_SYS_ADMIN != 0)
    }

    /// A file of the kernel's user namespace that stands for `wanted`, looked for from `task` upwards.
    pub(crate) fn open(&self, task: Task, wanted: &UserNs) -> Option<OwnedFd> {
        let mut at = task.open_namespace("user")?;
        loop {
            let ino = rustix::fs::fstat(&at).ok()?.st_ino;
            let known = lock(&self.known).get(&ino).map(|k| k.user_ns.clone());
            if known.as_ref() == Some(wanted) {
                return Some(at);
            }
            at = sys::ns_related(at.as_fd(), NS_GET_USERNS).ok()?;
        }
    }

    fn find(&self, task: Task, inode: u64) -> Option<UserNs> {
        if let Some(found) = lock(&self.known).get(&inode) {
            return Some(found.user_ns.clone());
        }
        // Unknown: walk towards the root until a known one is met, then build the path back down.
        let mut chain = vec![(inode, task.open_namespace("user")?)];
        let mut known = lock(&self.known);
        let top = loop {
            let (_, fd) = chain.last()?;
            // Of a user namespace NS_GET_USERNS answers the parent.
            let Ok(parent) = sys::ns_related(fd.as_fd(), NS_GET_USERNS) else {
                break self.root.clone();
            };
            let ino = rustix::fs::fstat(&parent).ok()?.st_ino;
            if let Some(found) = known.get(&ino) {
                break found.user_ns.clone();
            }
            chain.push((ino, parent));
        };
        let mut at = top;
        for (ino, fd) in chain.into_iter().rev() {
            let owner = sys::ns_owner_uid(fd.as_fd()).unwrap_or(u32::MAX);
            at = at.child(&Cred { user_ns: at.clone(), euid: Uid(owner), caps: Caps::EMPTY });
            known.insert(ino, Known { user_ns: at.clone(), _pin: Some(fd) });
        }
        Some(at)
    }
}
