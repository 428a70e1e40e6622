//! Private directories behind the virtual ones, so that listing them is the kernel's business.
//!
//! A run has one folder, made when first needed:
//! ```text
//! pernet-UID-XXXXXX/   0700
//!   lock               held with flock while the run lives: who finds it free may clear the folder away
//!   netns/             /run/netns
//!   proc_net/          names under /proc/net, empty files: content is made when one is opened
//!   sys_net/           /sys/class/net
//! ```

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use rustix::fs::{FlockOperation, MemfdFlags, Mode, OFlags, flock, memfd_create, open};

use crate::world::lock;

/// The folder of a run.
pub(crate) struct Vfs {
    root: OnceLock<Result<Root, i32>>,
    /// Serialises making the content directories.  A leaf lock.
    making: Mutex<()>,
}

struct Root {
    path: PathBuf,
    /// Keeps the lock.
    _lock: OwnedFd,
}

fn errno(e: &std::io::Error) -> i32 {
    e.raw_os_error().unwrap_or(libc::EIO)
}

impl Vfs {
    /// Nothing on disk yet.
    pub(crate) fn new() -> Self {
        Self { root: OnceLock::new(), making: Mutex::new(()) }
    }

    fn root(&self) -> Result<&Path, i32> {
        match self.root.get_or_init(make_root) {
            Ok(root) => Ok(&root.path),
            Err(e) => Err(*e),
        }
    }

    /// What stands behind /run/netns.
    ///
    /// # Errors
    /// errno of making the folder.
    pub(crate) fn netns_dir(&self) -> Result<PathBuf, i32> {
        Ok(self.root()?.join("netns"))
    }

    /// A directory tree filled by `fill` on first use, listed in this order: names are (path, is a directory, content, mode).
    ///
    /// # Errors
    /// errno of making it.
    pub(crate) fn tree(&self, name: &str, fill: impl FnOnce() -> Vec<Entry>) -> Result<PathBuf, i32> {
        let path = self.root()?.join(name);
        if path.exists() {
            return Ok(path);
        }
        let _making = lock(&self.making);
        if path.exists() {
            return Ok(path);
        }
        let unfinished = self.root()?.join(format!(".{name}"));
        fs::create_dir(&unfinished).map_err(|e| errno(&e))?;
        // A tmpfs lists last first.
        for entry in fill().into_iter().rev() {
            let at = unfinished.join(&entry.path);
            match entry.content {
                None => fs::create_dir_all(&at).map_err(|e| errno(&e))?,
                Some(content) => {
                    if let Some(dir) = at.parent() {
                        fs::create_dir_all(dir).map_err(|e| errno(&e))?;
                    }
                    fs::write(&at, content).map_err(|e| errno(&e))?;
                    fs::set_permissions(&at, fs::Permissions::from_mode(entry.mode)).map_err(|e| errno(&e))?;
                }
            }
        }
        fs::rename(&unfinished, &path).map_err(|e| errno(&e))?;
        Ok(path)
    }

    /// A directory with exactly these names, files empty: (name, mode of a file, or `None` for a directory). They are listed in
    /// this order, but those that are new before those that were there.
    ///
    /// # Errors
    /// errno of making it.
    pub(crate) fn mirror(&self, dir: &Path, names: &[(String, Option<u16>)]) -> Result<PathBuf, i32> {
        let path = self.root()?.join(dir);
        let _making = lock(&self.making);
        fs::create_dir_all(&path).map_err(|e| errno(&e))?;
        let wanted: HashMap<&str, Option<u16>> = names.iter().map(|(n, mode)| (n.as_str(), *mode)).collect();
        let mut there = HashSet::new();
        for entry in fs::read_dir(&path).map_err(|e| errno(&e))?.flatten() {
            let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
            let name = entry.file_name();
            let known = name.to_str().and_then(|name| wanted.get_key_value(name));
            if let Some((name, _)) = known.filter(|(_, mode)| mode.is_none() == is_dir) {
                there.insert(*name);
            } else if is_dir {
                fs::remove_dir_all(entry.path()).map_err(|e| errno(&e))?;
            } else {
                fs::remove_file(entry.path()).map_err(|e| errno(&e))?;
            }
        }
        // A tmpfs lists last first.
        for (name, mode) in names.iter().rev().filter(|(name, _)| !there.contains(name.as_str())) {
            match mode {
                None => fs::create_dir(path.join(name)).map_err(|e| errno(&e))?,
                Some(mode) => empty(&path.join(name), *mode)?,
            }
        }
        Ok(path)
    }

    /// An empty file with this mode.
    ///
    /// # Errors
    /// errno of making it.
    pub(crate) fn stand_in(&self, file: &Path, mode: u16) -> Result<PathBuf, i32> {
        let path = self.root()?.join(file);
        if path.exists() {
            return Ok(path);
        }
        let _making = lock(&self.making);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|e| errno(&e))?;
        }
        empty(&path, mode)?;
        Ok(path)
    }

    /// If `real` lies inside the folder of this run, its path relative to it.
    pub(crate) fn inside(&self, real: &Path) -> Option<PathBuf> {
        match self.root.get() {
            Some(Ok(root)) => real.strip_prefix(&root.path).ok().map(Path::to_path_buf),
            _ => None,
        }
    }

    /// Removes the folder.  The last act of a run.
    pub(crate) fn clear(&self) {
        if let Some(Ok(root)) = self.root.get() {
            let _ = fs::remove_dir_all(&root.path);
        }
    }
}

/// One file or directory of a tree.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Relative path.
    pub(crate) path: String,
    /// `None`: a directory.
    pub(crate) content: Option<Vec<u8>>,
    /// Permission bits of a file.
    pub(crate) mode: u32,
}

fn empty(path: &Path, mode: u16) -> Result<(), i32> {
    fs::write(path, "").map_err(|e| errno(&e))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode.into())).map_err(|e| errno(&e))
}

/// A file with this content that exists nowhere, open for reading.
///
/// # Errors
/// errno of making it.
pub(crate) fn content_file(name: &str, content: &[u8], mode: u32) -> Result<OwnedFd, i32> {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    let fd = memfd_create(name, MemfdFlags::CLOEXEC).map_err(|e| e.raw_os_error())?;
    let mut file = fs::File::from(fd);
    file.write_all(content).map_err(|e| errno(&e))?;
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(|e| errno(&e))?;
    // Reopened, so that the program's offset starts at 0 and it cannot write.
    open(format!("/proc/self/fd/{}", file.as_raw_fd()), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| e.raw_os_error())
}

fn base() -> PathBuf {
    let candidates = [
        std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default(),
        OsString::from("/dev/shm"),
        std::env::temp_dir().into_os_string(),
        OsString::from("/tmp"),
    ];
    let writable = |p: &&PathBuf| {
        p.is_absolute() && rustix::fs::access(*p, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
    };
    let paths: Vec<PathBuf> = candidates.into_iter().map(PathBuf::from).collect();
    paths.iter().find(writable).cloned().unwrap_or_else(|| PathBuf::from("/tmp"))
}

fn make_root() -> Result<Root, i32> {
    let base = base();
    let prefix = format!("pernet-{}-", rustix::process::getuid().as_raw());
    clear_leftovers(&base, &prefix);
    for attempt in 0..64u32 {
        let path = base.join(format!("{prefix}{}-{attempt}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {
                let file = fs::File::create(path.join("lock")).map_err(|e| errno(&e))?;
                // Another run that starts now may take this folder for a leftover before it is locked: then try again.
                if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || !path.join("lock").exists() {
                    continue;
                }
                let netns = path.join("netns");
                fs::create_dir(&netns).map_err(|e| errno(&e))?;
                fs::set_permissions(&netns, fs::Permissions::from_mode(0o755)).map_err(|e| errno(&e))?;
                return Ok(Root { path, _lock: file.into() });
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(errno(&e)),
        }
    }
    Err(libc::EEXIST)
}

/// Folders of runs that were killed: their lock is free.
fn clear_leftovers(base: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(|n| n.starts_with(prefix)) {
            continue;
        }
        // Others may write here too: what is not our own directory with a plain file in it is not looked into.
        let ours = entry.metadata().is_ok_and(|m| m.is_dir() && m.uid() == rustix::process::geteuid().as_raw());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        if !ours {
            continue;
        }
        let Ok(file) = open(entry.path().join("lock"), flags, Mode::empty()) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
