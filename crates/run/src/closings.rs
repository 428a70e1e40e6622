//! When programs have closed what we hold no copy of: both ends of a connection that are joined to each other, of which each
//! tells only the other's program.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::fs::inotify;

use crate::identity;
use crate::reactor::{Reactor, Token};
use crate::task::FileId;
use crate::world::lock;

/// Files whose last close is told.
#[derive(Debug)]
pub(crate) struct Closings {
    /// `None` if the machine lets this user have no more of them.
    inotify: Option<OwnedFd>,
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
    pub(crate) fn new(reactor: &Reactor) -> Self {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok();
        let inotify = inotify.filter(|inotify| reactor.readable(inotify, Token::Closed).is_ok());
        Self { inotify, watched: Mutex::default() }
    }

    /// Watches a file of which we still have a copy. `None` if the machine lets a user watch no more: then only a look at
    /// what is open finds that it was closed.
    pub(crate) fn watch(self: &Arc<Self>, file: &OwnedFd, id: FileId) -> Option<Watch> {
        let inotify = self.inotify.as_ref()?;
        let mut watched = lock(&self.watched);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let number = inotify::add_watch(inotify, path, inotify::WatchFlags::CLOSE).ok()?;
        watched.insert(number, id);
        Some(Watch { of: Arc::clone(self), number })
    }

    /// Those that were closed since this was asked last, in that order.
    pub(crate) fn closed(&self) -> Vec<FileId> {
        // What was lost, because it was too much, a look at what is open will find.
        let numbers = self.inotify.as_ref().map(identity::closed).unwrap_or_default();
        let watched = lock(&self.watched);
        numbers.iter().filter_map(|number| watched.get(number).copied()).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.of.watched).remove(&self.number);
        // One whose file is gone may be gone itself.
        let _ = self.of.inotify.as_ref().map(|inotify| inotify::remove_watch(inotify, self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::message_pair;
    use crate::sys;

    #[test]
    fn the_last_close_is_told_wherever_it_is() {
        let reactor = Reactor::new().unwrap();
        let closings = Arc::new(Closings::new(&reactor));
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
        let closings = Arc::new(Closings::new(&reactor));
        let pair = message_pair(true).unwrap();
        drop(closings.watch(&pair.app, pair.id).unwrap());
        drop(pair.app);
        assert!(closings.closed().is_empty());
        assert!(lock(&closings.watched).is_empty());
    }
}
