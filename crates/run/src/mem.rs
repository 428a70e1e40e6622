//! The memory of a supervised task, read once and acted on as a copy.
//!
//! A pointer argument is read exactly once: what another thread writes there afterwards is not looked at.

use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys;

/// The longest path the kernel takes, with its NUL.
const PATH_MAX: usize = 4096;
/// Size of a page.
pub(crate) const PAGE: u64 = 4096;
/// As many ranges as one call takes.
const MOST_PARTS: usize = 1024;

/// Set once `process_vm_readv` proved absent: `/proc/TID/mem` serves then.
static NO_PROCESS_VM: AtomicBool = AtomicBool::new(false);

/// Why memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemError {
    /// The address is not mapped: the program's fault (EFAULT).
    Fault,
    /// We may not look into this task (it is not dumpable, or runs as someone else).
    Denied,
    /// The path has no end within 4096 bytes.
    TooLong,
    /// There is said to be room for less than nothing (EINVAL).
    Size,
    /// The task is gone.
    Gone,
}

impl MemError {
    /// What the program sees.
    pub(crate) fn errno(self) -> i32 {
        match self {
            Self::Fault => libc::EFAULT,
            Self::Denied => libc::EACCES,
            Self::TooLong => libc::ENAMETOOLONG,
            Self::Size => libc::EINVAL,
            Self::Gone => libc::ESRCH,
        }
    }

    fn from_io(e: &std::io::Error) -> Self {
        match e.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Denied,
            Some(libc::ESRCH | libc::ENOENT) => Self::Gone,
            _ => Self::Fault,
        }
    }
}

/// The address space of one task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    tid: u32,
}

impl Memory {
    /// The memory of task `tid`.
    pub(crate) fn of(tid: u32) -> Self {
        Self { tid }
    }

    /// Whose it is.
    pub(crate) fn tid(self) -> u32 {
        self.tid
    }

    fn read_some(self, address: u64, into: &mut [u8]) -> Result<usize, MemError> {
        if !NO_PROCESS_VM.load(Ordering::Relaxed) {
            match sys::vm_read(self.tid, address, into) {
                Ok(n) => return Ok(n),
                Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => NO_PROCESS_VM.store(true, Ordering::Relaxed),
                Err(e) => return Err(MemError::from_io(&e)),
            }
        }
        let mut file = std::fs::File::open(format!("/proc/{}/mem", self.tid)).map_err(|e| MemError::from_io(&e))?;
        file.seek(SeekFrom::Start(address)).map_err(|_| MemError::Fault)?;
        file.read(into).map_err(|e| MemError::from_io(&e))
    }

    /// Fills `into` from `address`.
    ///
    /// # Errors
    /// [`MemError`]; nothing half-read is reported as success.
    pub(crate) fn read(self, address: u64, into: &mut [u8]) -> Result<(), MemError> {
        if into.is_empty() {
            return Ok(());
        }
        match self.read_some(address, into) {
            Ok(n) if n == into.len() => Ok(()),
            Ok(_) => Err(MemError::Fault),
            Err(e) => Err(e),
        }
    }

    /// Fills several buffers by one call, and says how much of them: what comes before the first that could not be read.
    /// `None` if nothing could be, or not in this way.
    pub(crate) fn read_at_once<const N: usize>(self, parts: [(u64, &mut [u8]); N]) -> Option<usize> {
        sys::vm_read_parts(self.tid, parts).ok()
    }

    /// `len` bytes from `address`.  The caller bounds `len`.
    pub(crate) fn bytes(self, address: u64, len: usize) -> Result<Vec<u8>, MemError> {
        let mut v = vec![0; len];
        self.read(address, &mut v)?;
        Ok(v)
    }

    /// A native-endian u32.
    pub(crate) fn u32(self, address: u64) -> Result<u32, MemError> {
        let mut b = [0; 4];
        self.read(address, &mut b)?;
        Ok(u32::from_ne_bytes(b))
    }

    /// A NUL-terminated path.
    pub(crate) fn path(self, address: u64) -> Result<OsString, MemError> {
        if address == 0 {
            return Err(MemError::Fault);
        }
        let mut out = Vec::new();
        let mut at = address;
        // A read must not cross into a page that may not be mapped: the string may end before it.
        let mut chunk = [0u8; 256];
        while out.len() < PATH_MAX {
            let to_page_end = (PAGE - at % PAGE) as usize;
            let want = to_page_end.min(chunk.len()).min(PATH_MAX - out.len());
            let n = self.read_some(at, &mut chunk[..want])?;
            if n == 0 {
                return Err(MemError::Fault);
            }
            if let Some(end) = chunk[..n].iter().position(|&b| b == 0) {
                out.extend_from_slice(&chunk[..end]);
                return Ok(OsString::from_vec(out));
            }
            out.extend_from_slice(&chunk[..n]);
            at += n as u64;
        }
        Err(MemError::TooLong)
    }

    /// Writes `bytes` at `address`.
    pub(crate) fn write(self, address: u64, bytes: &[u8]) -> Result<(), MemError> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !NO_PROCESS_VM.load(Ordering::Relaxed) {
            match sys::vm_write(self.tid, address, bytes) {
                Ok(n) if n == bytes.len() => return Ok(()),
                Ok(_) => return Err(MemError::Fault),
                Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => NO_PROCESS_VM.store(true, Ordering::Relaxed),
                Err(e) => return Err(MemError::from_io(&e)),
            }
        }
        let open = std::fs::OpenOptions::new().write(true).open(format!("/proc/{}/mem", self.tid));
        let mut file = open.map_err(|e| MemError::from_io(&e))?;
        file.seek(SeekFrom::Start(address)).map_err(|_| MemError::Fault)?;
        file.write_all(bytes).map_err(|_| MemError::Fault)
    }

    /// Writes several ranges, in order.
    ///
    /// # Errors
    /// [`MemError`]; those before the one that could not be written are.
    pub(crate) fn write_parts(self, parts: &[(u64, &[u8])]) -> Result<(), MemError> {
        if NO_PROCESS_VM.load(Ordering::Relaxed) {
            return parts.iter().try_for_each(|&(address, bytes)| self.write(address, bytes));
        }
        for some in parts.chunks(MOST_PARTS) {
            let all: usize = some.iter().map(|(_, bytes)| bytes.len()).sum();
            match sys::vm_write_parts(self.tid, some) {
                Ok(n) if n == all => {}
                Ok(_) => return Err(MemError::Fault),
                // Says so for later, and does it otherwise.
                Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
                    some.iter().try_for_each(|&(address, bytes)| self.write(address, bytes))?;
                }
                Err(e) => return Err(MemError::from_io(&e)),
            }
        }
        Ok(())
    }

    /// For how much a program has made room, as it says there.
    pub(crate) fn room_at(self, address: u64) -> Result<usize, MemError> {
        usize::try_from(self.u32(address)?.cast_signed()).map_err(|_| MemError::Size)
    }

    /// Writes a value and, behind `len_address`, the size a socket call reports: the program gets at most what it made
    /// room for, and learns how much there was.
    pub(crate) fn write_sized(self, address: u64, len_address: u64, value: &[u8]) -> Result<(), MemError> {
        let room = self.room_at(len_address)?;
        let size = (value.len() as u32).to_ne_bytes();
        self.write_parts(&[(address, &value[..value.len().min(room)]), (len_address, &size)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_its_own_memory() {
        let me = Memory::of(std::process::id());
        let mut v = *b"abc\0def";
        let at = v.as_mut_ptr() as u64;
        assert_eq!(me.path(at).unwrap(), "abc");
        me.write(at, b"xy").unwrap();
        assert_eq!(me.path(at).unwrap(), "xyc");
    }

    #[test]
    fn several_ranges_go_as_far_as_they_can() {
        let me = Memory::of(std::process::id());
        let mut v = *b"abcdef";
        let at = v.as_mut_ptr() as u64;
        let (mut a, mut b, mut c) = ([0; 2], [0; 3], [0; 1]);
        assert_eq!(me.read_at_once([(at + 4, &mut a), (at, &mut b)]), Some(5));
        assert_eq!((&a, &b), (b"ef", b"abc"));
        assert_eq!(me.read_at_once([(at + 1, &mut a), (8, &mut b), (at, &mut c)]), Some(2));
        assert_eq!(&a, b"bc");
        assert_eq!(me.read_at_once([(8, &mut a), (at, &mut b)]), None);
        me.write_parts(&[(at + 3, b"X"), (at, b"YZ")]).unwrap();
        assert_eq!(me.bytes(at, 6).unwrap(), b"YZcXef");
        assert_eq!(me.write_parts(&[(at, b"W"), (8, b"V")]), Err(MemError::Fault));
        assert_eq!(me.bytes(at, 1).unwrap(), b"W");
    }

    #[test]
    fn bad_addresses_are_faults_and_endless_paths_are_too_long() {
        let me = Memory::of(std::process::id());
        assert_eq!(me.path(0), Err(MemError::Fault));
        assert_eq!(me.path(8), Err(MemError::Fault));
        assert_eq!(me.read(u64::MAX - 3, &mut [0; 2]), Err(MemError::Fault));
        let long = vec![b'a'; 8192];
        assert_eq!(me.path(long.as_ptr() as u64), Err(MemError::TooLong));
    }
}
