//! When programs have closed what we hold no copy of: both ends of a connection that are joined to each other, of which each
//! tells only the other's program.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::fs::inotify;

use crate::reactor::{Reactor, Token};
use crate::task::FileId;
use crate::world::lock;
use crate::{identity, sys};

/// Files whose last close is told.
#[derive(Debug)]
pub(crate) struct Closings {
    inotify: OwnedFd,
    /// By the numbers that the kernel gave them. A leaf lock; it is held while a file is added, so that whoever has heard of
    /// its close already finds it here.
    watched: Mutex<HashMap<i32, FileId>>,
}

/// One such file, until this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    of: Arc<Closings>,
    number: i32,
}

impl Closings {
    /// None yet.
    ///
    /// # Errors
    /// errno of `inotify_init`: a user may have so many.
    pub(crate) fn new(reactor: &Reactor) -> Result<Self, i32> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify = inotify::init(flags).map_err(|e| e.raw_os_error())?;
        reactor.readable(&inotify, Token::Closed).map_err(|e| sys::errno_of(&e))?;
        Ok(Self { inotify, watched: Mutex::default() })
    }

    /// Watches a file of which we still have a copy. `None` if the machine lets a user watch no more: then only a look at
    /// what is open finds that it was closed.
    pub(crate) fn watch(self: &Arc<Self>, file: &OwnedFd, id: FileId) -> Option<Watch> {
        let mut watched = lock(&self.watched);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let number = inotify::add_watch(&self.inotify, path, inotify::WatchFlags::CLOSE).ok()?;
        watched.insert(number, id);
        Some(Watch { of: Arc::clone(self), number })
    }

    /// Those that were closed since this was asked last, in that order but for what came at once.
    pub(crate) fn closed(&self) -> Vec<FileId> {
        // What was lost, because it was too much, a look at what is open will find.
        let numbers = identity::closed(&self.inotify);
        let watched = lock(&self.watched);
        numbers.iter().filter_map(|number| watched.get(number).copied()).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.of.watched).remove(&self.number);
        // One whose file is gone may be gone itself.
        let _ = inotify::remove_watch(&self.of.inotify, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::message_pair;

    #[test]
    fn the_last_close_is_told_wherever_it_is() {
        let reactor = Reactor::new().unwrap();
        let closings = Arc::new(Closings::new(&reactor).unwrap());
        let pair = message_pair(true).unwrap();
        let _watch = closings.watch(&pair.app, pair.id).unwrap();
        let copy = pair.app.try_clone().unwrap();
        drop(pair.app);
        sys::send_flags(std::os::fd::AsFd::as_fd(&copy), b"x", 0).unwrap();
        assert!(closings.closed().is_empty());
        drop(copy);
        assert_eq!(reactor.wait(None), [(Token::Closed, false)]);
        assert_eq!(closings.closed(), [pair.id]);
        assert!(closings.closed().is_empty());
    }

    #[test]
    fn nobody_hears_of_what_is_watched_no_more() {
        let reactor = Reactor::new().unwrap();
        let closings = Arc::new(Closings::new(&reactor).unwrap());
        let pair = message_pair(true).unwrap();
        drop(closings.watch(&pair.app, pair.id).unwrap());
        drop(pair.app);
        assert!(closings.closed().is_empty());
        assert!(lock(&closings.watched).is_empty());
    }
}
