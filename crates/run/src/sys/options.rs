//! Options of the kernel's own sockets.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// A socket option that is one `int`.
pub(crate) fn set_socket_int(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: passes a live int and its size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), 4) })?;
    Ok(())
}

/// Reads an option of level SOL_SOCKET into `value`; false if there is none of this length.
pub(crate) fn socket_option(fd: BorrowedFd<'_>, name: i32, value: &mut [u8]) -> bool {
    let mut len = value.len() as libc::socklen_t;
    let place: *mut libc::c_void = value.as_mut_ptr().cast();
    // SAFETY: `value` and `len` are live and describe each other.
    let r = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, place, &raw mut len) };
    r == 0 && len as usize == value.len()
}

/// Sets an option of level SOL_SOCKET.
pub(crate) fn set_socket_option(fd: BorrowedFd<'_>, name: i32, value: &[u8]) -> io::Result<()> {
    let (place, len) = (value.as_ptr().cast(), value.len() as libc::socklen_t);
    // SAFETY: passes live bytes and their number.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, place, len) })?;
    Ok(())
}

/// SO_RCVTIMEO of a socket; `None` waits for ever.
pub(crate) fn receive_timeout(fd: BorrowedFd<'_>) -> Option<std::time::Duration> {
    timeout(fd, libc::SO_RCVTIMEO)
}

/// SO_SNDTIMEO of a socket; `None` waits for ever.
pub(crate) fn send_timeout(fd: BorrowedFd<'_>) -> Option<std::time::Duration> {
    timeout(fd, libc::SO_SNDTIMEO)
}

fn timeout(fd: BorrowedFd<'_>, option: i32) -> Option<std::time::Duration> {
    let mut tv = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut len = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: `tv` and `len` are live and describe each other.
    let r = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, (&raw mut tv).cast(), &raw mut len) };
    let wait = std::time::Duration::new(tv.tv_sec as u64, tv.tv_usec as u32 * 1000);
    (r == 0 && !wait.is_zero()).then_some(wait)
}
