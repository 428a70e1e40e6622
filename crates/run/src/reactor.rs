//! What the main thread waits for: one epoll, each source named by a token.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

/// Who has something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Another thread wants the main loop to look at its queues.
    Wake,
    /// The notification descriptor: readable or, when no task is left on the filter, hung up.
    Filter,
    /// A namespace file was closed somewhere.
    Inotify,
    /// A joined connection's end was closed.
    Closed,
    /// A child changed state.
    Child,
    /// The process that the user's shell waits for.
    Front,
    /// This process ended.
    Process(u32),
    /// The supervisor's end of the emulated socket with this inode number.
    Socket(u64),
}

impl Token {
    const KIND: u32 = 56;

    fn encode(self) -> u64 {
        let (kind, value) = match self {
            Self::Wake => (0, 0),
            Self::Filter => (1, 0),
            Self::Inotify => (2, 0),
            Self::Child => (3, 0),
            Self::Front => (4, 0),
            Self::Process(pid) => (5, u64::from(pid)),
            Self::Socket(ino) => (6, ino),
            Self::Closed => (7, 0),
        };
        (kind << Self::KIND) | (value & ((1 << Self::KIND) - 1))
    }

    fn decode(raw: u64) -> Self {
        let value = raw & ((1 << Self::KIND) - 1);
        match raw >> Self::KIND {
            0 => Self::Wake,
            1 => Self::Filter,
            2 => Self::Inotify,
            3 => Self::Child,
            4 => Self::Front,
            5 => Self::Process(value as u32),
            7 => Self::Closed,
            _ => Self::Socket(value),
        }
    }
}

/// Edges of what comes in, and of the other end's going.
const ARRIVALS: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP).union(epoll::EventFlags::ET);

/// The epoll and its wake-up.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: OwnedFd,
    wake: OwnedFd,
    born: Instant,
    /// Until when the main thread sleeps, in nanoseconds since `born`.
    asleep: AtomicU64,
}

/// The main thread is awake, and will ask for what there is to do at which time before it sleeps.
const AWAKE: u64 = 0;
/// It asks just now, or sleeps without a limit: it may have asked before what it is to hear now.
const ASKING: u64 = u64::MAX;

impl Reactor {
    /// A reactor with its wake-up registered.
    ///
    /// # Errors
    /// Running out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(Token::Wake.encode()), epoll::EventFlags::IN)?;
        Ok(Self { epoll, wake, born: Instant::now(), asleep: AtomicU64::new(ASKING) })
    }

    /// Reports when `fd` is readable (level-triggered).
    pub(crate) fn readable(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.encode()), epoll::EventFlags::IN)?)
    }

    /// Reports when nobody is at the other end of `fd` any more.
    pub(crate) fn hang_up(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        let only = epoll::EventFlags::empty();
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.encode()), only)?)
    }

    /// Reports each arrival on `fd` (edge-triggered).
    pub(crate) fn arrivals(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.encode()), ARRIVALS)?)
    }

    /// Reports each arrival on `fd` and each departure from it (edge-triggered).
    pub(crate) fn edges(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Self::edges_of(self.epoll.as_fd(), fd, token)
    }

    /// The number of its epoll in the table of this process.
    pub(crate) fn number(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// As [`Self::edges`], by a thread with another table: `epoll` is its copy.
    pub(crate) fn edges_of(epoll: BorrowedFd<'_>, fd: impl AsFd, token: Token) -> io::Result<()> {
        let flags = ARRIVALS | epoll::EventFlags::OUT;
        Ok(epoll::add(epoll, fd, epoll::EventData::new_u64(token.encode()), flags)?)
    }

    /// From now on also reports each departure from `fd`, of which [`Self::arrivals`] are reported; or no more.
    pub(crate) fn departures(&self, fd: impl AsFd, token: Token, wanted: bool) -> io::Result<()> {
        let flags = if wanted { ARRIVALS | epoll::EventFlags::OUT } else { ARRIVALS };
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token.encode()), flags)?)
    }

    /// Reports no more of `fd`.
    pub(crate) fn forget(&self, fd: impl AsFd) {
        // Already closed everywhere means already forgotten.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Makes [`Self::wait`] return soon; from any thread, never blocks.
    pub(crate) fn wake(&self) {
        // A full counter is a wake-up that is already on its way.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Makes the main thread look at the clock and its lists after this time at the latest; a wake-up is spared where it does
    /// so by itself.
    ///
    /// Who calls this has put down before what there is to do.  The main thread says that it [asks](Self::asks) before it
    /// looks there: so either it sees what was put down, or we see that it asks.
    pub(crate) fn wake_by(&self, after: Duration) {
        let when = (self.born.elapsed() + after).as_nanos();
        if when < u128::from(self.asleep.load(Ordering::SeqCst)) {
            self.wake();
        }
    }

    /// The main thread begins to look how long it may sleep.
    pub(crate) fn asks(&self) {
        self.asleep.store(ASKING, Ordering::SeqCst);
    }

    /// Takes back a wake-up that was seen.
    pub(crate) fn woken(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
    }

    /// Waits for events, at most `limit`; each comes with "hung up".
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Vec<(Token, bool)> {
        let mut events = Vec::with_capacity(64);
        if let Some(limit) = limit {
            let until = (self.born.elapsed() + limit).as_nanos();
            self.asleep.store(u64::try_from(until).unwrap_or(ASKING), Ordering::SeqCst);
        }
        let timeout = limit.map(|d| Timespec { tv_sec: d.as_secs() as i64, tv_nsec: i64::from(d.subsec_nanos()) });
        // An interrupted wait is an empty one.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref());
        self.asleep.store(AWAKE, Ordering::SeqCst);
        let hung = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        events
            .into_iter()
            .map(|e: epoll::Event| {
                let flags = e.flags;
                (Token::decode(e.data.u64()), flags.intersects(hung))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for t in [
            Token::Wake,
            Token::Filter,
            Token::Inotify,
            Token::Closed,
            Token::Child,
            Token::Front,
            Token::Process(7),
            Token::Socket(1 << 40),
        ] {
            assert_eq!(Token::decode(t.encode()), t);
        }
    }

    #[test]
    fn whoever_wakes_up_in_time_is_not_woken() {
        let r = Reactor::new().unwrap();
        let second = Duration::from_secs(1);
        // It may sleep for ever.
        r.wake_by(60 * second);
        assert_eq!(r.wait(Some(Duration::ZERO)), [(Token::Wake, false)]);
        r.woken();
        // It is awake, and will ask.
        r.wake_by(Duration::ZERO);
        assert!(r.wait(Some(Duration::ZERO)).is_empty());
        // It asks, and has perhaps asked already.
        r.asks();
        r.wake_by(60 * second);
        assert_eq!(r.wait(Some(Duration::ZERO)), [(Token::Wake, false)]);
        r.woken();
        // It sleeps.
        let r = std::sync::Arc::new(r);
        let (sleeper, begins) = (r.clone(), Instant::now());
        r.asks();
        let sleeps = std::thread::spawn(move || sleeper.wait(Some(30 * second)));
        while r.asleep.load(Ordering::SeqCst) == ASKING {
            std::thread::yield_now();
        }
        r.wake_by(60 * second);
        assert!(
            !rustix::event::poll(
                &mut [rustix::event::PollFd::new(&r.wake, rustix::event::PollFlags::IN)],
                Some(&Timespec { tv_sec: 0, tv_nsec: 0 })
            )
            .is_ok_and(|n| n > 0)
        );
        r.wake_by(second);
        assert_eq!(sleeps.join().unwrap(), [(Token::Wake, false)]);
        assert!(begins.elapsed() < 30 * second);
    }

    #[test]
    fn a_wake_up_is_seen_once() {
        let r = Reactor::new().unwrap();
        r.wake();
        assert_eq!(r.wait(Some(Duration::ZERO)), [(Token::Wake, false)]);
        r.woken();
        assert!(r.wait(Some(Duration::ZERO)).is_empty());
    }
}
