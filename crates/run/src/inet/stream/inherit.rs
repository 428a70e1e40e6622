//! What a connection has of its listener's options that only the programs' ends know.
//!
//! An accepted socket of AF_UNIX, as the ends are, has nothing of its listener; one of TCP has all. Setting such options is
//! not trapped, so the listener's end is asked with each connection: that is a dozen calls of a tenth of a microsecond, and
//! most listeners have none.

use std::os::fd::BorrowedFd;

use crate::sys;

/// Newer than the bindings.
const SO_WIFI_STATUS: i32 = 41;
const SO_NOFCS: i32 = 43;
const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUF_LOCK: i32 = 72;

/// The longest of them.
const LONGEST: usize = 16;

/// The options, and what each is born with.
const OPTIONS: [(i32, &[u8]); 23] = [
    (libc::SO_REUSEADDR, &[0; 4]),
    (libc::SO_DONTROUTE, &[0; 4]),
    (libc::SO_BROADCAST, &[0; 4]),
    (libc::SO_KEEPALIVE, &[0; 4]),
    (libc::SO_OOBINLINE, &[0; 4]),
    (libc::SO_NO_CHECK, &[0; 4]),
    (libc::SO_LINGER, &[0; 8]),
    (libc::SO_RCVLOWAT, &1i32.to_ne_bytes()),
    (libc::SO_RCVTIMEO, &[0; LONGEST]),
    (libc::SO_SNDTIMEO, &[0; LONGEST]),
    // Of these two the first is read as off where the second is on, which turns on both.
    (libc::SO_TIMESTAMP, &[0; 4]),
    (libc::SO_TIMESTAMPNS, &[0; 4]),
    (libc::SO_TIMESTAMPING, &[0; 8]),
    (libc::SO_RXQ_OVFL, &[0; 4]),
    (SO_WIFI_STATUS, &[0; 4]),
    (libc::SO_PEEK_OFF, &(-1i32).to_ne_bytes()),
    (SO_NOFCS, &[0; 4]),
    (libc::SO_BUSY_POLL, &[0; 4]),
    (libc::SO_MAX_PACING_RATE, &[0xff; 8]),
    (SO_PREFER_BUSY_POLL, &[0; 4]),
    (SO_BUF_LOCK, &[0; 4]),
    (libc::SO_SELECT_ERR_QUEUE, &[0; 4]),
    (libc::SO_LOCK_FILTER, &[0; 4]),
];

/// What of a listener's options is not as it was born.
#[derive(Default)]
pub(super) struct Inherited(Vec<(i32, [u8; LONGEST], usize)>);

impl Inherited {
    /// Of the program's end of a listener.
    pub(super) fn of(listener: BorrowedFd<'_>) -> Self {
        Self(OPTIONS.into_iter().filter_map(|(name, born)| changed(listener, name, born)).collect())
    }

    /// An end of a connection gets it. What the host does not let us set is left out.
    pub(super) fn give(&self, end: BorrowedFd<'_>) {
        for (name, value, len) in &self.0 {
            let _ = sys::set_socket_option(end, *name, &value[..*len]);
        }
    }
}

fn changed(end: BorrowedFd<'_>, name: i32, born: &[u8]) -> Option<(i32, [u8; LONGEST], usize)> {
    let mut value = [0; LONGEST];
    let len = born.len();
    (sys::socket_option(end, name, &mut value[..len]) && value[..len] != *born).then_some((name, value, len))
}
