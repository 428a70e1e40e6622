//! Our end of a connection with a program, wherever its descriptor is.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::annex::Away;
use crate::reactor::Token;
use crate::task::FileId;
use crate::world::World;

/// That end.
pub(super) enum End {
    Here(Arc<OwnedFd>),
    /// In the table of another thread: see [`crate::annex`].
    Away(Away),
}

impl From<OwnedFd> for End {
    fn from(end: OwnedFd) -> Self {
        Self::Here(Arc::new(end))
    }
}

impl End {
    /// To be used and let go.
    ///
    /// # Errors
    /// There is no room for a copy.
    pub(super) fn get(&self) -> io::Result<Arc<OwnedFd>> {
        match self {
            Self::Here(end) => Ok(end.clone()),
            Self::Away(end) => end.fetch().map(Arc::new),
        }
    }

    pub(super) const fn is_away(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// Makes room for others, where that is little.
    pub(super) fn relieve(&mut self, world: &World, id: FileId) {
        if let Self::Here(end) = self
            && let Some(away) = world.annexes.relieve(end, &world.reactor, Token::Socket(id.ino))
        {
            *self = Self::Away(away);
        }
    }
}
