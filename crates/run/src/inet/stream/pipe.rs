//! Many bytes from wire to wire without a copy: by way of a pipe the kernel moves the pages that one program's `write`
//! filled into the queue that the other's `read` empties.
//!
//! The pipe is a thread's own, and empty whenever nobody is here: what does not go on at once is taken out of it.

use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::ioctl_fionbio;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::descriptors::lasting;

/// As long as a program without privileges may have it.
const LENGTH: usize = 1 << 20;

/// An empty pipe.
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

/// An end for which `splice` does not wait. Other than for the pipe, and other than with `send`, that is not the call's to say:
/// the file must not block.
pub(super) struct NeverWaits<'e>(BorrowedFd<'e>);

impl<'e> NeverWaits<'e> {
    /// `told`: this was done before. `None` if the kernel refuses, which has no reason to.
    pub(super) fn of(end: &'e OwnedFd, told: &mut bool) -> Option<Self> {
        if !*told {
            ioctl_fionbio(end, true).ok()?;
            *told = true;
        }
        Some(Self(end.as_fd()))
    }
}

/// Bytes in a pipe. Those of them that are neither poured nor drained are thrown away with it.
#[must_use]
pub(super) struct Filled<'p> {
    pipe: &'p Pipe,
    len: usize,
}

thread_local! {
    static PIPE: OnceCell<Option<Pipe>> = const { OnceCell::new() };
}

impl Pipe {
    /// `None` if there are no descriptors for it, or few pipes' memory is left to this user.
    fn new() -> Option<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        fcntl_setpipe_size(&into, LENGTH).ok()?;
        Some(Self { out: lasting(out).ok()?, into: lasting(into).ok()? })
    }

    /// Does it with this thread's pipe, if it can have one.
    pub(super) fn with<T>(work: impl FnOnce(Option<&Self>) -> T) -> T {
        PIPE.with(|pipe| work(pipe.get_or_init(Self::new).as_ref()))
    }

    /// Takes up to `most` bytes out of a stream. `None` if there are none, for a reason that a read will tell.
    pub(super) fn fill(&self, from: BorrowedFd<'_>, most: usize) -> Option<Filled<'_>> {
        let len = splice(from, None, &self.into, None, most, SpliceFlags::NONBLOCK).ok().filter(|&len| len > 0)?;
        Some(Filled { pipe: self, len })
    }
}

impl Filled<'_> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Gives a stream what it takes, and what it does not take to `rest`.
    ///
    /// SIGPIPE, which this call can send, is ignored by this process.
    ///
    /// # Errors
    /// Its errno if it takes no more for ever; what was not taken is thrown away.
    pub(super) fn pour(mut self, NeverWaits(to): NeverWaits<'_>, rest: &mut Vec<u8>) -> Result<(), i32> {
        while self.len > 0 {
            match splice(&self.pipe.out, None, to, None, self.len, SpliceFlags::NONBLOCK) {
                Ok(0) => break,
                Ok(n) => self.len = self.len.saturating_sub(n),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => break,
                Err(e) => return Err(e.raw_os_error()),
            }
        }
        let (len, before) = (self.len, rest.len());
        rest.resize(before + len, 0);
        let drained = rest.get_mut(before..).map_or(0, |room| self.drain(room));
        rest.truncate(before + drained);
        Ok(())
    }

    /// Copies it, as far as there is room, and says how far.
    pub(super) fn drain(mut self, room: &mut [u8]) -> usize {
        let mut done = 0;
        while self.len > 0
            && let Some(room) = room.get_mut(done..).filter(|room| !room.is_empty())
            && let Ok(n @ 1..) = rustix::io::read(&self.pipe.out, room)
        {
            done += n;
            self.len = self.len.saturating_sub(n);
        }
        done
    }
}

impl Drop for Filled<'_> {
    fn drop(&mut self) {
        let mut room = [0; 4096];
        while self.len > 0
            && let Ok(n @ 1..) = rustix::io::read(self.pipe.out.as_fd(), &mut room)
        {
            self.len = self.len.saturating_sub(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use rustix::net::{SendFlags, send};

    use super::*;

    /// A stream with so many bytes in it, numbered, and its other end.
    fn holding(bytes: usize) -> (UnixStream, UnixStream, Vec<u8>) {
        let (mut from, to) = UnixStream::pair().unwrap();
        let numbered: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
        from.set_nonblocking(true).unwrap();
        from.write_all(&numbered).unwrap();
        to.set_nonblocking(true).unwrap();
        (from, to, numbered)
    }

    /// Our end of a connection, and the program's.
    fn ends() -> (OwnedFd, UnixStream) {
        let (ours, program) = UnixStream::pair().unwrap();
        (ours.into(), program)
    }

    #[test]
    fn bytes_arrive_in_order_and_none_stays_in_the_pipe() {
        let pipe = Pipe::new().unwrap();
        let (_keep, from, numbered) = holding(100_000);
        let (ours, mut program) = ends();
        let mut rest = Vec::new();
        while let Some(filled) = pipe.fill(from.as_fd(), 30_000) {
            assert!(filled.len() <= 30_000);
            filled.pour(NeverWaits::of(&ours, &mut false).unwrap(), &mut rest).unwrap();
        }
        drop(ours);
        let mut came = Vec::new();
        program.read_to_end(&mut came).unwrap();
        came.extend(rest);
        assert!(came == numbered);
        assert!(pipe.fill(from.as_fd(), 1).is_none());
    }

    #[test]
    fn what_is_not_taken_is_the_rest() {
        let pipe = Pipe::new().unwrap();
        let (_keep, from, numbered) = holding(150_000);
        // It blocks, as an end may, and is full.
        let (ours, mut program) = ends();
        let mut before = 0;
        while let Ok(n) = send(&ours, &[7; 4096], SendFlags::DONTWAIT) {
            before += n;
        }
        let mut rest = vec![1, 2];
        let filled = pipe.fill(from.as_fd(), 1 << 20).unwrap();
        let len = filled.len();
        filled.pour(NeverWaits::of(&ours, &mut false).unwrap(), &mut rest).unwrap();
        assert_eq!(rest.len(), 2 + len);
        assert!(rest[2..] == numbered[..len]);
        drop(ours);
        let mut came = Vec::new();
        program.read_to_end(&mut came).unwrap();
        assert_eq!(came.len(), before);
    }

    #[test]
    fn the_pipe_is_empty_for_the_next_whatever_became_of_its_bytes() {
        let pipe = Pipe::new().unwrap();
        let (_keep, from, numbered) = holding(20_000);
        drop(pipe.fill(from.as_fd(), 10_000).unwrap());
        let (ours, program) = ends();
        drop(program);
        let filled = pipe.fill(from.as_fd(), 5_000).unwrap();
        assert_eq!(filled.pour(NeverWaits::of(&ours, &mut false).unwrap(), &mut Vec::new()), Err(libc::EPIPE));
        let mut room = vec![0; 8_000];
        assert_eq!(pipe.fill(from.as_fd(), 5_000).unwrap().drain(&mut room), 5_000);
        assert!(room[..5_000] == numbered[15_000..]);
        assert!(pipe.fill(from.as_fd(), 1).is_none());
    }
}
