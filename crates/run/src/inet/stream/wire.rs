//! How the program's end of a connection is connected: to a listener of ours whose name nobody is told.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock};

use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, getsockname, socket_with,
    socketpair,
};

use crate::descriptors::{lasting, refused};
use crate::sys;
use crate::world::lock;

/// The listener that programs' ends are connected to.
#[derive(Default)]
pub(crate) struct Switchboard(Mutex<Option<(OwnedFd, SocketAddrUnix)>>);

/// An AF_UNIX stream socket of ours.
pub(super) fn end() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// The same, to stay.
///
/// # Errors
/// ENFILE.
pub(super) fn lasting_end() -> Result<OwnedFd, i32> {
    end().map_err(|e| refused(&e)).and_then(lasting)
}

/// Lets an end listen, at a name of the kernel's choice.
pub(super) fn listen(end: BorrowedFd<'_>, backlog: i32) -> io::Result<SocketAddrUnix> {
    sys::autobind_listen(end, backlog)?;
    SocketAddrUnix::try_from(getsockname(end)?).map_err(|_| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// Two ends that are connected: the program's, and ours, which stays.
///
/// # Errors
/// ENFILE and the like.
pub(super) fn pair(nonblocking: SocketFlags) -> Result<(OwnedFd, OwnedFd), i32> {
    let flags = SocketFlags::CLOEXEC | nonblocking;
    let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let (app, ours) = pair.map_err(|e| refused(&e.into()))?;
    Ok((app, lasting(ours)?))
}

/// The next connection of a listener that was made by us: anybody of the machine could find its name.
pub(super) fn accept(listener: BorrowedFd<'_>, flags: SocketFlags) -> io::Result<OwnedFd> {
    static ME: OnceLock<u32> = OnceLock::new();
    let me = *ME.get_or_init(std::process::id);
    loop {
        let end = accept_with(listener, flags)?;
        let by = socket_peercred(&end)?;
        if by.pid.as_raw_nonzero().get().unsigned_abs() == me {
            return Ok(end);
        }
    }
}

/// Does anybody listen there? Whoever does keeps the name from others.
pub(super) fn is_listening(name: &SocketAddrUnix) -> bool {
    let Ok(probe) = end() else { return true };
    bind(&probe, name) == Err(rustix::io::Errno::ADDRINUSE)
}

/// Of descriptors a `connect` does not speak.
pub(super) fn full(errno: i32) -> i32 {
    if errno == libc::ENFILE { libc::ENOBUFS } else { errno }
}

impl Switchboard {
    /// Connects the program's end of a socket; what it is connected to is ours.
    ///
    /// # Errors
    /// errno of `connect`: EISCONN for an end that was connected before. ENOBUFS if we can hold no more: of descriptors a
    /// `connect` does not speak.
    pub(crate) fn join(&self, app: impl AsFd) -> Result<OwnedFd, i32> {
        // Held across both calls: who is accepted is who connected.
        let mut board = lock(&self.0);
        let errno = |e: io::Error| full(refused(&e));
        let (listener, name) = match &mut *board {
            Some(board) => board,
            none => {
                let listener = end().map_err(errno)?;
                let name = listen(listener.as_fd(), 16).map_err(errno)?;
                none.insert((listener, name))
            }
        };
        connect(app, name).map_err(|e| e.raw_os_error())?;
        let accepted = accept(listener.as_fd(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        accepted.map_err(errno).and_then(|end| lasting(end).map_err(full))
    }
}
