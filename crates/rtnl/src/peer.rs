//! Who sends: the context a request is processed in.

use hashbrown::HashMap;
use pernet::{Cred, NetRef};
use pernet_wire::Errno;

/// Why a process id or a descriptor names no network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// `ESRCH`: no such process in the sender's pid namespace (0, negative and zombies included).
    #[error("no such process")]
    NoSuchProcess,
    /// `EBADF`: not an open descriptor of the sender, or one opened with `O_PATH`.
    #[error("not an open descriptor")]
    BadFd,
    /// `EINVAL`: open, but not a handle of a network namespace.
    #[error("not a network namespace")]
    NotNetns,
}

impl PeerError {
    /// The errno of the answer.
    pub const fn errno(self) -> Errno {
        match self {
            Self::NoSuchProcess => Errno::ESRCH,
            Self::BadFd => Errno::EBADF,
            Self::NotNetns => Errno::EINVAL,
        }
    }
}

/// The task that calls [`Socket::send`](crate::Socket::send), [`bind`](crate::Socket::bind) and so on: its credentials,
/// its descriptor table and its pid namespace at that moment, whoever opened the socket.
pub trait Client {
    /// Its effective credentials.
    fn cred(&self) -> Cred;

    /// Its thread group id as seen in its own pid namespace: the first choice for a port.
    fn tgid(&self) -> u32;

    /// The namespace of a process (or thread) of the client's pid namespace.
    ///
    /// # Errors
    /// [`PeerError::NoSuchProcess`].
    fn net_by_pid(&self, pid: i32) -> Result<NetRef, PeerError>;

    /// The namespace behind a descriptor of the client.
    ///
    /// # Errors
    /// [`PeerError::BadFd`] or [`PeerError::NotNetns`].
    fn net_by_fd(&self, fd: i32) -> Result<NetRef, PeerError>;
}

/// An AF_UNIX socket as it is listed (`unix_diag`). Such sockets are not of this crate: whoever has some says so by
/// [`Rtnetlink::list_unix`](crate::Rtnetlink::list_unix).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixEntry {
    /// Its inode number.
    pub inode: u32,
    /// What tells it from all others.
    pub cookie: u64,
    /// `SOCK_*`.
    pub ty: u8,
    /// As TCP's states: 1 connected, 7 not, 10 listening.
    pub state: u8,
    /// The name that it is bound to; one that is not a path begins with a zero.
    pub name: Option<Vec<u8>>,
    /// Inode number of the socket it is connected to.
    pub peer: Option<u32>,
    /// Of one that listens: inode numbers of those that wait to be accepted.
    pub pending: Vec<u32>,
    /// What waits to be read, or to be accepted; what was sent, or how many may wait.
    pub queues: (u32, u32),
    /// `SK_MEMINFO_*`.
    pub memory: [u32; 9],
    /// Which ways nothing more goes: 1 for reading, 2 for writing.
    pub shutdown: u8,
    /// Whose it is.
    pub uid: u32,
}

/// A ready-made [`Client`] for a Rust program: credentials, and tables that say what its pids and descriptors mean.
///
/// It holds an active reference to each namespace it names.
#[derive(Clone, Debug)]
pub struct LocalClient {
    cred: Cred,
    tgid: u32,
    /// `None` is an open descriptor that is no network namespace.
    fds: HashMap<i32, Option<NetRef>>,
    pids: HashMap<i32, NetRef>,
}

impl LocalClient {
    /// A client without descriptors and processes.
    pub fn new(cred: Cred, tgid: u32) -> Self {
        Self { cred, tgid, fds: HashMap::new(), pids: HashMap::new() }
    }

    /// With a descriptor that is a handle of `net`.
    #[must_use]
    pub fn with_fd(mut self, fd: i32, net: &NetRef) -> Self {
        self.fds.insert(fd, Some(net.clone()));
        self
    }

    /// With an open descriptor that is something else.
    #[must_use]
    pub fn with_other_fd(mut self, fd: i32) -> Self {
        self.fds.insert(fd, None);
        self
    }

    /// With a process in `net`.
    #[must_use]
    pub fn with_pid(mut self, pid: i32, net: &NetRef) -> Self {
        self.pids.insert(pid, net.clone());
        self
    }

    /// With other credentials.
    #[must_use]
    pub fn with_cred(mut self, cred: Cred) -> Self {
        self.cred = cred;
        self
    }
}

impl Client for LocalClient {
    fn cred(&self) -> Cred {
        self.cred.clone()
    }

    fn tgid(&self) -> u32 {
        self.tgid
    }

    fn net_by_pid(&self, pid: i32) -> Result<NetRef, PeerError> {
        self.pids.get(&pid).cloned().ok_or(PeerError::NoSuchProcess)
    }

    fn net_by_fd(&self, fd: i32) -> Result<NetRef, PeerError> {
        self.fds.get(&fd).ok_or(PeerError::BadFd)?.clone().ok_or(PeerError::NotNetns)
    }
}
