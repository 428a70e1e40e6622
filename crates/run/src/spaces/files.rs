//! The files that stand for namespaces, or show them: who opens them, and what their closing means.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::Spaces;
use crate::identity::{Identity, closed, watch};
use crate::tag::SpaceId;

impl Spaces {
    fn identity(&mut self, id: SpaceId) -> Result<&Identity, i32> {
        let space = self.all.get_mut(&id).ok_or(libc::ENOENT)?;
        if space.identity.is_none() {
            let mut identity = Identity::new()?;
            watch(&mut self.inotify, &self.reactor, &mut identity)?;
            self.by_watch.extend(identity.watch.map(|w| (w, id)));
            self.by_file.insert(identity.id, id);
            space.identity = Some(identity);
        }
        space.identity.as_ref().ok_or(libc::ENOENT)
    }

    /// Opens the namespace's file afresh, to be handed to a program, and holds the namespace until it is closed.
    ///
    /// # Errors
    /// errno of opening.
    pub(crate) fn open_file(&mut self, id: SpaceId, o_path: bool) -> Result<OwnedFd, i32> {
        let file = self.identity(id)?.open(o_path)?;
        if let Some(space) = self.all.get_mut(&id)
            && space.hold.is_none()
        {
            space.hold = space.handle.upgrade();
        }
        Ok(file)
    }

    /// A program is given a file that shows this namespace, as `/proc/net/dev` does: while it is open the namespace
    /// lives.  `ours` is our own descriptor of it, for reading.
    ///
    /// # Errors
    /// errno of watching it.
    pub(crate) fn shown_in(&mut self, id: SpaceId, ours: OwnedFd) -> Result<(), i32> {
        let Some(space) = self.all.get_mut(&id).filter(|_| id != self.first) else { return Ok(()) };
        let mut view = Identity::over(ours)?;
        watch(&mut self.inotify, &self.reactor, &mut view)?;
        self.by_watch.extend(view.watch.map(|w| (w, id)));
        space.views.push(view);
        Ok(())
    }

    /// The inode number that `readlink` and `stat` show.
    ///
    /// # Errors
    /// errno of making the file.
    pub(crate) fn inode(&mut self, id: SpaceId) -> Result<u64, i32> {
        Ok(self.identity(id)?.id.ino)
    }

    /// Our own descriptor of the file, to stat.
    pub(crate) fn with_file<T>(&mut self, id: SpaceId, f: impl FnOnce(BorrowedFd<'_>) -> T) -> Result<T, i32> {
        Ok(f(self.identity(id)?.fd.as_fd()))
    }

    /// Some namespace file was closed: see who lost its last opener.
    pub(crate) fn files_closed(&mut self) {
        let Some(fd) = &self.inotify else { return };
        let mut touched = closed(fd);
        // They say which file to look at, whose turn it is does not matter.
        touched.sort_unstable();
        touched.dedup();
        // -1: the queue overflowed and events were lost.
        let ids: Vec<SpaceId> = if touched.contains(&-1) {
            self.alive()
        } else {
            touched.iter().filter_map(|w| self.by_watch.get(w).copied()).collect()
        };
        let now = Instant::now();
        for id in ids {
            self.settle(id);
            if self.has_open_file(id) {
                self.doubts.raise(id, now);
            }
        }
    }

    fn has_open_file(&self, id: SpaceId) -> bool {
        let Some(space) = self.all.get(&id) else { return false };
        space.views.iter().chain(&space.identity).any(Identity::is_open_elsewhere)
    }

    /// How long no file has to be looked at again; `None`: none has.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.doubts.patience(Instant::now())
    }

    /// Looks again at the files whose time has come.
    pub(crate) fn look_again(&mut self) {
        let now = Instant::now();
        for id in self.doubts.due(now) {
            self.settle(id);
            let open = self.has_open_file(id);
            self.doubts.looked(id, open, now);
        }
    }
}
