//! The file that stands for a namespace.
//!
//! An anonymous one, empty and read-only, whose inode number is the namespace's as programs see it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::inotify;
use rustix::fs::{MemfdFlags, Mode, OFlags, fchmod, fstat, memfd_create, open};

use crate::reactor::{Reactor, Token};
use crate::sys;
use crate::task::FileId;

/// Name of the anonymous files, as `/proc/PID/fd` shows it behind "/memfd:".
pub(crate) const IDENTITY_NAME: &str = "pernet-netns";
/// A descriptor opened with O_PATH cannot be handed to a program.  One with this flag is given instead, which nothing
/// else opens such a file with, and which `/proc/PID/fdinfo` shows.
const STANDS_FOR_O_PATH: OFlags = OFlags::NOATIME;

#[derive(Debug)]
pub(crate) struct Identity {
    /// Our only descriptor of the file, for reading.
    pub(crate) fd: OwnedFd,
    /// What `fstat` shows of it.
    pub(crate) id: FileId,
    /// Its number with inotify.
    pub(crate) watch: Option<i32>,
}

impl Identity {
    /// A fresh file.
    ///
    /// # Errors
    /// errno of making it.
    pub(crate) fn new() -> Result<Self, i32> {
        let e = |e: rustix::io::Errno| e.raw_os_error();
        let writable = memfd_create(IDENTITY_NAME, MemfdFlags::CLOEXEC).map_err(e)?;
        fchmod(&writable, Mode::from_raw_mode(0o444)).map_err(e)?;
        // A lease counts openers, so the one that could write must go.
        let fd =
            open(format!("/proc/self/fd/{}", writable.as_raw_fd()), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(e)?;
        let st = fstat(&fd).map_err(e)?;
        Ok(Self { fd, id: FileId { dev: st.st_dev, ino: st.st_ino }, watch: None })
    }

    /// Over a file that is there, of which `fd` is our only descriptor, for reading.
    ///
    /// # Errors
    /// errno of looking at it.
    pub(crate) fn over(fd: OwnedFd) -> Result<Self, i32> {
        let st = fstat(&fd).map_err(|e| e.raw_os_error())?;
        Ok(Self { fd, id: FileId { dev: st.st_dev, ino: st.st_ino }, watch: None })
    }

    /// Opens it once more, for a program.
    ///
    /// # Errors
    /// errno of opening.
    pub(crate) fn open(&self, o_path: bool) -> Result<OwnedFd, i32> {
        let flags = OFlags::CLOEXEC | OFlags::RDONLY | if o_path { STANDS_FOR_O_PATH } else { OFlags::empty() };
        open(format!("/proc/self/fd/{}", self.fd.as_raw_fd()), flags, Mode::empty()).map_err(|e| e.raw_os_error())
    }

    /// Does anyone but us have it open?
    pub(crate) fn is_open_elsewhere(&self) -> bool {
        sys::open_elsewhere(self.fd.as_fd())
    }
}

/// Lets inotify say when a file was closed somewhere.
///
/// # Errors
/// errno of watching.
pub(crate) fn watch(inotify: &mut Option<OwnedFd>, reactor: &Reactor, file: &mut Identity) -> Result<(), i32> {
    if inotify.is_none() {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(|e| e.raw_os_error())?;
        reactor.readable(&fd, Token::Inotify).map_err(|e| sys::errno_of(&e))?;
        *inotify = Some(fd);
    }
    if let Some(inotify) = inotify {
        let path = format!("/proc/self/fd/{}", file.fd.as_raw_fd());
        let number =
            inotify::add_watch(inotify, path, inotify::WatchFlags::CLOSE_NOWRITE).map_err(|e| e.raw_os_error())?;
        file.watch = Some(number);
    }
    Ok(())
}

/// The watches whose files were closed since the last look, in that order; -1 among them says that some were lost.
///
/// Equal events are merged by the kernel: they say which file to look at, they cannot be counted.
pub(crate) fn closed(inotify: &OwnedFd) -> Vec<i32> {
    let mut touched = Vec::new();
    let mut buffer = [0u8; 4096];
    while let Ok(n) = rustix::io::read(inotify, &mut buffer)
        && n > 0
    {
        let mut rest = &buffer[..n];
        while let Some((head, tail)) = rest.split_first_chunk::<16>() {
            let word = |i: usize| i32::from_ne_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
            touched.push(word(0));
            rest = tail.get(word(12) as usize..).unwrap_or_default();
        }
    }
    touched
}

/// Can this machine tell whether such a file is open elsewhere?
pub(crate) fn identity_works() -> Result<String, i32> {
    let identity = Identity::new()?;
    inotify::init(inotify::CreateFlags::CLOEXEC).map_err(|e| e.raw_os_error())?;
    if identity.is_open_elsewhere() { Err(libc::EOPNOTSUPP) } else { Ok(String::new()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_whether_it_is_open() {
        let identity = Identity::new().unwrap();
        assert!(!identity.is_open_elsewhere());
        for o_path in [false, true] {
            let opened = identity.open(o_path).unwrap();
            assert_eq!(fstat(&opened).unwrap().st_ino, identity.id.ino);
            let copy = opened.try_clone().unwrap();
            drop(opened);
            assert!(identity.is_open_elsewhere());
            drop(copy);
            assert!(!identity.is_open_elsewhere());
        }
    }
}
