//! `/sys/class/net/<dev>`: the directory that sysfs has for a device, and what its files read as.
//!
//! Entries are named by their path below the device's directory (`mtu`, `statistics/rx_bytes`, `queues/rx-0/rps_cpus`).

mod attrs;
mod write;

use crate::Link;
use crate::errno;

pub use attrs::SYSFS_DIR_MODE;
pub use write::SysfsError;

/// What stands at a path of sysfs or procfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Dir,
    /// A file.
    File,
    /// A symbolic link, with its target.
    Symlink(&'static str),
}

/// One entry of a pseudo file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path below the directory that was asked about, without a leading slash.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u16,
}

/// Why reading an attribute fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttrError {
    /// The device is down, and the attribute means something only while it is up.
    #[error("the device is down")]
    Down,
    /// The device has no such property (`speed` of a device without a physical layer).
    #[error("the device has no such property")]
    NotApplicable,
    /// The device has only one transmit queue, so there is nothing to choose between.
    #[error("the device has a single transmit queue")]
    SingleQueue,
    /// The device has no automatic suspend.
    #[error("the device is never suspended")]
    NoPowerManagement,
}

impl AttrError {
    /// The errno of `read`.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Down | Self::NotApplicable => errno::EINVAL,
            Self::SingleQueue => errno::ENOENT,
            Self::NoPowerManagement => errno::EIO,
        }
    }
}

/// Every entry of a device's directory, directories before what is in them.
#[must_use]
pub fn sysfs_entries(link: &Link) -> Vec<Entry> {
    attrs::entries(link)
}

/// What a file of the device's directory reads as, trailing newline included; `None` if there is no such file.
#[must_use]
pub fn sysfs_attr(link: &Link, path: &str) -> Option<Result<String, AttrError>> {
    attrs::read(link, path)
}

/// What is in a directory below the device's own (`""` for that itself): names, and the mode of those that are files;
/// `None` if there is no such directory.
#[must_use]
pub fn sysfs_dir(link: &Link, path: &str) -> Option<Vec<(String, Option<u16>)>> {
    let entries = attrs::entries(link);
    let is_dir = path.is_empty() || entries.iter().any(|e| e.path == path && !matches!(e.kind, EntryKind::File));
    let inside = |e: &Entry| {
        let rest = if path.is_empty() { &e.path } else { e.path.strip_prefix(path)?.strip_prefix('/')? };
        let mode = matches!(e.kind, EntryKind::File).then_some(e.mode);
        (!rest.contains('/')).then(|| (rest.to_owned(), mode))
    };
    is_dir.then(|| entries.iter().filter_map(inside).collect())
}

/// The mode of a file of the device's directory.
#[must_use]
pub fn sysfs_mode(link: &Link, path: &str) -> Option<u16> {
    attrs::entries(link).into_iter().find(|e| e.path == path).map(|e| e.mode)
}
