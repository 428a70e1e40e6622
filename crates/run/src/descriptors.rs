//! The supervisor's own descriptors: one for each end of a connection and each other socket of its programs, as long as
//! that lives, and a few for the length of a call.
//!
//! When they run out it is the next socket that is refused, with ENFILE ("the system has no more"): the program's own table
//! has room. The others go on, because their calls find the reserve.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::sys;

/// What is kept free for the length of calls.
const RESERVE: u64 = 64;

/// Raises the limit as far as it goes: to `fs.nr_open` with CAP_SYS_RESOURCE of the machine's first user namespace, which root
/// of a container often lacks, and to the hard limit without.
pub(crate) fn raise_limit() {
    let Ok(old) = sys::get_limit(0, libc::RLIMIT_NOFILE) else { return };
    let most = fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
    for max in most.into_iter().filter(|&most| most > old.rlim_max).chain([old.rlim_max]) {
        if sys::set_limit(0, libc::RLIMIT_NOFILE, libc::rlimit64 { rlim_cur: max, rlim_max: max }).is_ok() {
            return;
        }
    }
}

/// The first number that is of the reserve.
fn ceiling() -> i32 {
    static CEILING: OnceLock<i32> = OnceLock::new();
    *CEILING.get_or_init(|| {
        let limit = sys::get_limit(0, libc::RLIMIT_NOFILE).map_or(1024, |limit| limit.rlim_cur);
        i32::try_from(limit.saturating_sub(RESERVE).max(limit / 2)).unwrap_or(i32::MAX)
    })
}

/// The highest number that one that stays has had.
static HIGHEST: AtomicI32 = AtomicI32::new(0);

/// A descriptor that is to stay open, unless that is at the reserve's cost.
///
/// The kernel gives the lowest free number: the number itself says how many are in use.
///
/// # Errors
/// ENFILE.
pub(crate) fn lasting(fd: OwnedFd) -> Result<OwnedFd, i32> {
    if fd.as_raw_fd() >= ceiling() {
        return Err(libc::ENFILE);
    }
    if fd.as_raw_fd() > HIGHEST.load(Ordering::Relaxed) {
        HIGHEST.fetch_max(fd.as_raw_fd(), Ordering::Relaxed);
    }
    Ok(fd)
}

/// Is so much of the table in use that what can be elsewhere should be? The lowest free number is given.
pub(crate) fn is_crowded(fd: &OwnedFd) -> bool {
    fd.as_raw_fd() >= ceiling() / 4 * 3
}

/// Is there room for one more that stays? `any` is a descriptor of ours.
///
/// # Errors
/// ENFILE.
pub(crate) fn room(any: &OwnedFd) -> Result<(), i32> {
    // As long as no number near the border was ever given, the next is not beyond it.
    if HIGHEST.load(Ordering::Relaxed) < ceiling() - RESERVE as i32 {
        return Ok(());
    }
    any.try_clone().map_err(|e| refused(&e)).and_then(lasting).map(drop)
}

/// What a program is told when we could not open something.
pub(crate) fn refusal(errno: i32) -> i32 {
    if errno == libc::EMFILE { libc::ENFILE } else { errno }
}

/// The same, of an error of a call.
pub(crate) fn refused(e: &io::Error) -> i32 {
    refusal(sys::errno_of(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_of_ours_is_the_systems() {
        assert_eq!(refusal(libc::EMFILE), libc::ENFILE);
        assert_eq!(refused(&io::Error::from_raw_os_error(libc::ENOMEM)), libc::ENOMEM);
        assert_eq!(room(&std::fs::File::open("/dev/null").unwrap().into()), Ok(()));
        let limit = sys::get_limit(0, libc::RLIMIT_NOFILE).unwrap().rlim_cur;
        let ceiling = u64::try_from(ceiling()).unwrap();
        assert!(ceiling < limit && ceiling >= limit / 2);
    }
}
