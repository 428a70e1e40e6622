//! Registrations of a process's descriptors in its epoll files, moved to another file under the same number.
//!
//! A registration is of a file by a number, and goes with the file. Whoever makes a new one has to have both by that number
//! himself: so a thread gets a table of descriptors of its own, with nothing in it but these.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use crate::sys;
use crate::task::{FileId, Task, pidfd_of};
use crate::world::World;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Watcher {
    /// The number of the epoll file.
    epoll: i32,
    /// The number that is looked at.
    number: i32,
    events: u32,
    data: u64,
}

/// Those of one file in one process.
pub(crate) struct Watchers(Vec<Watcher>);

impl Watchers {
    /// Those that look at the file `id` by one of these numbers.
    pub(crate) fn of(world: &World, task: Task, id: FileId, numbers: &[i32]) -> Self {
        if !world.can_getfd.load(Ordering::Relaxed) {
            return Self(Vec::new());
        }
        let of_epoll = |epoll| {
            let lines = task.epoll_lines(epoll).unwrap_or_default();
            lines.lines().filter_map(|line| parse(line, epoll, id.ino)).collect::<Vec<_>>()
        };
        let all = task.epolls().into_iter().flat_map(of_epoll);
        Self(all.filter(|watcher| numbers.contains(&watcher.number)).collect())
    }

    /// Makes them look at what has these numbers in that process now. What cannot be made is left out.
    pub(crate) fn look_at(self, task: Task) {
        if self.0.is_empty() {
            return;
        }
        let Some(tgid) = task.tgid() else { return };
        // It is over in some microseconds, and whoever waits for it holds no lock.
        let mover = std::thread::Builder::new().name("watchers".into()).spawn(move || {
            if sys::leave_descriptors().is_ok() {
                for watcher in &self.0 {
                    let _ = watcher.make(tgid);
                }
            }
        });
        let _ = mover.map(std::thread::JoinHandle::join);
    }
}

impl Watcher {
    /// In a thread that has no descriptors.
    fn make(&self, tgid: u32) -> Result<(), Errno> {
        let above = |fd: OwnedFd| fcntl_dupfd_cloexec(&fd, self.number.saturating_add(1));
        let process = above(pidfd_of(tgid).ok_or(Errno::SRCH)?)?;
        let epoll = above(pidfd_getfd(&process, self.epoll, PidfdGetfdFlags::empty())?)?;
        let file = pidfd_getfd(&process, self.number, PidfdGetfdFlags::empty())?;
        // All else is above that number, so it is free, or what we just got has it.
        let file = if file.as_raw_fd() == self.number { file } else { fcntl_dupfd_cloexec(&file, self.number)? };
        debug_assert_eq!(file.as_raw_fd(), self.number);
        epoll::add(&epoll, &file, EventData::new_u64(self.data), EventFlags::from_bits_retain(self.events))
    }
}

/// A line of an epoll file's fdinfo, if it is of that file.
fn parse(line: &str, epoll: i32, ino: u64) -> Option<Watcher> {
    let field = |name: &str| line.split_once(name)?.1.split_whitespace().next();
    if !line.starts_with("tfd:") || u64::from_str_radix(field("ino:")?, 16) != Ok(ino) {
        return None;
    }
    Some(Watcher {
        epoll,
        number: field("tfd:")?.parse().ok()?,
        events: u32::from_str_radix(field("events:")?, 16).ok()?,
        data: u64::from_str_radix(field("data:")?, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_is_read_with_all_that_it_says() {
        let line = "tfd:        5 events: 8000001d data:         500000005  pos:0 ino:3f2 sdev:8";
        let watcher = Watcher { epoll: 4, number: 5, events: 0x8000_001d, data: 0x5_0000_0005 };
        assert_eq!(parse(line, 4, 0x3f2), Some(watcher));
        assert_eq!(parse(line, 4, 0x3f3), None);
        assert_eq!(parse("flags: 02", 4, 0x3f2), None);
    }
}
