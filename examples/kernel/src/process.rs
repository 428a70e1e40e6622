//! Processes, as far as namespaces see them.

use alloc::vec::Vec;
use pernet::{Cap, CreateError, Cred, Errno, Namespaces, NetHandle, NetRef};

/// A process: its `nsproxy` and its open namespace files. Both are active references; a process that ends drops them.
pub(crate) struct Process {
    net: NetRef,
    cred: Cred,
    /// `open("/proc/<pid>/ns/net")`.
    files: Vec<NetRef>,
}

impl Process {
    /// The first process, in the initial namespace.
    pub(crate) fn first(ns: &Namespaces) -> Self {
        Self { net: ns.init_net(), cred: Cred::root(ns.init_user_ns()), files: Vec::new() }
    }

    /// `fork`: the same namespace, no files for brevity.
    pub(crate) fn fork(&self) -> Self {
        Self { net: self.net.clone(), cred: self.cred.clone(), files: Vec::new() }
    }

    /// `setuid` of a process that gives up its rights.
    pub(crate) fn set_cred(&mut self, cred: Cred) {
        self.cred = cred;
    }

    /// `unshare(CLONE_NEWNET)`. The old reference is dropped here, outside any lock: it may be the last.
    pub(crate) fn unshare(&mut self) -> Result<(), CreateError> {
        self.net = self.net.namespaces().create(&self.cred)?;
        Ok(())
    }

    /// Opens the namespace of `other`: from now on this process keeps it alive. The number is a descriptor.
    pub(crate) fn open_ns_of(&mut self, other: &Self) -> usize {
        self.files.push(other.net.clone());
        self.files.len() - 1
    }

    /// `setns(fd, CLONE_NEWNET)`: with rights over the owner of the namespace and over one's own user namespace.
    pub(crate) fn setns(&mut self, fd: usize) -> Result<(), Errno> {
        let net = self.files.get(fd).ok_or(Errno::EBADF)?;
        let may = |target| self.cred.capable(target, Cap::SysAdmin);
        if !may(net.owner()) || !may(&self.cred.user_ns) {
            return Err(Errno::EPERM);
        }
        self.net = net.clone();
        Ok(())
    }

    /// Closes all descriptors.
    pub(crate) fn close_all(&mut self) {
        self.files.clear();
    }

    /// `current->nsproxy->net_ns`.
    pub(crate) fn net(&self) -> &NetRef {
        &self.net
    }

    /// To watch whether a namespace lives on, without keeping it.
    pub(crate) fn watch(&self) -> NetHandle {
        self.net.downgrade()
    }
}
