//! Who is told of what happens to a socket, and asked.

use std::sync::{Arc, Weak};

/// Called when something about a socket has changed.
pub(super) type Ready = Arc<dyn Fn() + Send + Sync>;

/// Who has sockets on programs' behalf, and knows them by the inode numbers of the programs' descriptors: one for all of them,
/// so that none takes more room than a pointer to it.
pub trait TcpUser: Send + Sync {
    /// What the socket is ready for may have changed. From any thread, which may have locked another socket: it takes note, and
    /// looks later.
    fn ready(&self, inode: u64);

    /// Bytes that were read from the socket, and not yet by whom they are for; and those that he has written, and the socket was
    /// not given. They are shown as waiting. It is asked with no lock held.
    fn outside(&self, inode: u64) -> (usize, usize);
}

/// Who is told of a socket.
#[derive(Clone, Default)]
pub(super) enum Told {
    #[default]
    Nobody,
    Callback(Ready),
    /// He owns the stack, so not the other way round.
    User(Weak<dyn TcpUser>),
}

impl Told {
    pub(super) fn ready(&self, inode: u64) {
        match self {
            Self::Nobody => {}
            Self::Callback(ready) => ready(),
            Self::User(user) => user.upgrade().into_iter().for_each(|user| user.ready(inode)),
        }
    }

    pub(super) fn outside(&self, inode: u64) -> (usize, usize) {
        match self {
            Self::User(user) => user.upgrade().map_or((0, 0), |user| user.outside(inode)),
            Self::Nobody | Self::Callback(_) => (0, 0),
        }
    }
}

/// Asked whether a listener is still there.
pub(super) type Knock = Arc<dyn Fn() -> bool + Send + Sync>;
