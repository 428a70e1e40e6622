//! More descriptors than a table holds: ends of connections that the supervisor has in tables of other threads of its own.
//!
//! A process may have so many descriptors open (RLIMIT_NOFILE), and a connection between two programs takes two of ours. A thread
//! can leave the table that it shares with the others, and has one of its own then, with as much room. So a thread that does
//! nothing else keeps what there is no room for here; the reactor tells of it as of any other, and who wants to use it gets a
//! copy for that long (`pidfd_getfd` of a thread).
//!
//! That needs Linux 6.9. Before, and where it is refused, the border is what the table holds.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use rustix::thread::gettid;

use crate::descriptors;
use crate::reactor::{Reactor, Token};
use crate::sys;
use crate::world::lock;

/// `PIDFD_THREAD`.
const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);

/// The tables of other threads.
#[derive(Debug, Default)]
pub(crate) struct Annexes {
    /// Each with room when it was made; the last may have some left. Held while another is made, and of none is anything
    /// asked meanwhile.
    all: Mutex<Vec<Arc<Annex>>>,
    /// This machine does not have them.
    refused: AtomicBool,
}

#[derive(Debug)]
struct Annex {
    requests: Mutex<Sender<Request>>,
    thread: OwnedFd,
}

#[derive(Debug)]
enum Request {
    /// To keep what has this number in the table of the other threads, and have the reactor tell of it.
    Keep { number: RawFd, token: Token, done: Sender<io::Result<RawFd>> },
    /// To close what has this number in its own.
    Close(RawFd),
}

/// What is in another thread's table. Its drop closes it there.
#[derive(Debug)]
pub(crate) struct Away {
    annex: Arc<Annex>,
    number: RawFd,
}

impl Annexes {
    /// Takes what stands here at the cost of what else needs a number, and of which the reactor tells: the caller closes his own.
    /// Nothing if it may stay here, or there is no other place. Waits for the other thread, which takes no lock and is never long.
    pub(crate) fn relieve(&self, end: &OwnedFd, reactor: &Arc<Reactor>, token: Token) -> Option<Away> {
        if !descriptors::is_crowded(end) || self.refused.load(Ordering::Relaxed) {
            return None;
        }
        // A registration lasts as long as the file, and goes by the number that the file had here.
        reactor.forget(end);
        let away = self.keep(end, reactor, token);
        if away.is_err() {
            self.refused.store(true, Ordering::Relaxed);
            // It was there a moment ago: there is room for it.
            let _ = reactor.arrivals(end, token);
        }
        away.ok()
    }

    fn keep(&self, end: &OwnedFd, reactor: &Arc<Reactor>, token: Token) -> io::Result<Away> {
        let last = lock(&self.all).last().cloned();
        if let Some(annex) = last {
            match annex.keep(end, token) {
                Err(e) if e.raw_os_error() == Some(libc::EMFILE) => {}
                result => return result,
            }
        }
        let annex = Annex::begin(reactor)?;
        lock(&self.all).push(annex.clone());
        annex.keep(end, token)
    }
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}

impl Annex {
    /// The reactor is there until the thread has what it needs of it. The thread must not have a share in it: were that the
    /// last, its descriptors would be closed in a table that does not have them.
    fn begin(reactor: &Reactor) -> io::Result<Arc<Self>> {
        let (requests, asked) = channel();
        let (tell, told) = channel();
        let number = reactor.number();
        std::thread::Builder::new().name("annex".into()).spawn(move || {
            let place = Place::of_this_thread(number);
            let (tid, place) = match place {
                Ok(place) => (Ok(gettid()), Some(place)),
                Err(e) => (Err(e), None),
            };
            let _ = tell.send(tid);
            if let Some(place) = place {
                place.serve(&asked);
            }
        })?;
        let tid = told.recv().map_err(|_| gone())??;
        Ok(Arc::new(Self { requests: Mutex::new(requests), thread: pidfd_open(tid, THREAD)? }))
    }

    fn ask(&self, request: Request) -> io::Result<()> {
        lock(&self.requests).send(request).map_err(|_| gone())
    }

    fn keep(self: Arc<Self>, end: &OwnedFd, token: Token) -> io::Result<Away> {
        let (done, answer) = channel();
        self.ask(Request::Keep { number: end.as_raw_fd(), token, done })?;
        let number = answer.recv().map_err(|_| gone())??;
        Ok(Away { annex: self, number })
    }
}

impl Away {
    /// A copy, to be used and closed.
    ///
    /// # Errors
    /// EMFILE if not even for that there is room.
    pub(crate) fn fetch(&self) -> io::Result<OwnedFd> {
        Ok(pidfd_getfd(&self.annex.thread, self.number, PidfdGetfdFlags::empty())?)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        // A thread that is over has closed everything.
        let _ = self.annex.ask(Request::Close(self.number));
    }
}

/// What the thread has in its own table to begin with.
struct Place {
    process: OwnedFd,
    epoll: OwnedFd,
}

impl Place {
    /// Leaves the table of the other threads, in which the reactor's has this number.
    fn of_this_thread(number: RawFd) -> io::Result<Self> {
        sys::leave_descriptors()?;
        let process = pidfd_open(getpid(), PidfdFlags::empty())?;
        let epoll = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
        Ok(Self { process, epoll })
    }

    /// Until nobody can ask any more.
    fn serve(&self, asked: &Receiver<Request>) {
        let mut kept = HashMap::new();
        for request in asked {
            match request {
                Request::Keep { number, token, done } => {
                    let keep = || {
                        let end = pidfd_getfd(&self.process, number, PidfdGetfdFlags::empty())?;
                        Reactor::edges_of(self.epoll.as_fd(), &end, token)?;
                        io::Result::Ok(end)
                    };
                    let _ = done.send(keep().map(|end: OwnedFd| {
                        let number = end.as_raw_fd();
                        kept.insert(number, end);
                        number
                    }));
                }
                Request::Close(number) => drop(kept.remove(&number)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use rustix::io::{read, write};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use crate::sockets::identity;

    #[test]
    fn what_is_kept_elsewhere_is_told_of_used_and_closed() {
        let reactor = Arc::new(Reactor::new().unwrap());
        let (here, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let id = identity(&here).unwrap();
        let token = Token::Socket(id.ino);
        let away = match Annex::begin(&reactor).and_then(|annex| annex.keep(&here, token)) {
            Ok(away) => away,
            Err(e) => return eprintln!("SKIPPED: descriptors in another table: this machine has none: {e}"),
        };
        drop(here);
        // There is room to write.
        assert_eq!(reactor.wait(None), [(token, false)]);
        write(&other, b"x").unwrap();
        assert_eq!(reactor.wait(None), [(token, false)]);
        let copy = away.fetch().unwrap();
        assert_eq!(identity(&copy).unwrap(), id);
        let mut byte = [0; 9];
        assert_eq!(read(&copy, &mut byte).unwrap(), 1);
        write(&copy, b"y").unwrap();
        drop(copy);
        assert_eq!(read(&other, &mut byte).unwrap(), 1);
        // The thread has no share in it: its descriptors are closed in the table that has them.
        assert_eq!(Arc::strong_count(&reactor), 1);
        drop(reactor);
        drop(away);
        assert_eq!(read(&other, &mut byte).unwrap(), 0, "nobody has it any more");
    }
}
