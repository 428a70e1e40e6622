//! What a connection has of its listener's options that only the programs' ends know.
//!
//! An accepted socket of AF_UNIX, as the ends are, has nothing of its listener; one of TCP has all. It is told which of
//! them are set, not what becomes of that: so of those, and of no others, the listener's end is asked with each connection.
//! Most listeners have one, or none.

use std::os::fd::BorrowedFd;

use crate::bpf::{
    SO_BUF_LOCK, SO_NOFCS, SO_PREFER_BUSY_POLL, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW, SO_TIMESTAMP_NEW,
    SO_TIMESTAMPING_NEW, SO_TIMESTAMPNS_NEW, SO_WIFI_STATUS,
};
use crate::sys;

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

/// Which of them may be others when this one was set, a bit for each place in the list.
pub(super) fn touched(name: i32) -> u32 {
    let names = match name {
        SO_RCVTIMEO_NEW => [libc::SO_RCVTIMEO; 2],
        SO_SNDTIMEO_NEW => [libc::SO_SNDTIMEO; 2],
        SO_TIMESTAMPING_NEW => [libc::SO_TIMESTAMPING; 2],
        libc::SO_TIMESTAMP | libc::SO_TIMESTAMPNS | SO_TIMESTAMP_NEW | SO_TIMESTAMPNS_NEW => {
            [libc::SO_TIMESTAMP, libc::SO_TIMESTAMPNS]
        }
        other => [other; 2],
    };
    let bit = |(place, (name, _)): (usize, &(i32, &[u8]))| u32::from(names.contains(name)) << place;
    OPTIONS.iter().enumerate().map(bit).sum()
}

/// What of a listener's options is not as it was born.
#[derive(Default)]
pub(super) struct Inherited(Vec<(i32, [u8; LONGEST], usize)>);

impl Inherited {
    /// Of the program's end of a listener, of which these were [touched].
    pub(super) fn of(listener: BorrowedFd<'_>, touched: u32) -> Self {
        let those = OPTIONS.into_iter().enumerate().filter(|(place, _)| touched & 1 << place != 0);
        Self(those.filter_map(|(_, (name, born))| changed(listener, name, born)).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_touches_itself_and_those_that_share_its_place() {
        for (place, (name, _)) in OPTIONS.into_iter().enumerate() {
            assert_ne!(touched(name) & 1 << place, 0, "{name}");
        }
        assert_eq!(touched(libc::SO_REUSEADDR).count_ones(), 1);
        assert_eq!(touched(SO_TIMESTAMP_NEW), touched(libc::SO_TIMESTAMPNS));
        assert_eq!(touched(SO_RCVTIMEO_NEW), touched(libc::SO_RCVTIMEO));
        assert_eq!(touched(libc::SO_MARK), 0);
    }
}
