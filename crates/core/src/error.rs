//! What can go wrong, each with the errno the kernel would have answered.
//!
//! No variant carries a formatted string: what failed is a type, and the number is derived from it
//! in one place, so that the wire layer never has to guess.

use core::fmt;

/// A positive errno value, as `include/uapi/asm-generic/errno*.h` numbers them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The symbolic name (`"ENOSPC"`), or `None` for a number this crate never answers.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// Operation not permitted.
    EPERM = 1;
    /// No such file or directory; an unknown peer id on the wire.
    ENOENT = 2;
    /// No such process.
    ESRCH = 3;
    /// Interrupted.
    EINTR = 4;
    /// Bad file descriptor.
    EBADF = 9;
    /// Out of memory.
    ENOMEM = 12;
    /// Permission denied.
    EACCES = 13;
    /// Busy.
    EBUSY = 16;
    /// Exists already.
    EEXIST = 17;
    /// No such device.
    ENODEV = 19;
    /// Invalid argument.
    EINVAL = 22;
    /// No space: a quota, or a number space, is exhausted.
    ENOSPC = 28;
    /// Not supported.
    EOPNOTSUPP = 95;
    /// Address in use.
    EADDRINUSE = 98;
    /// No buffer space.
    ENOBUFS = 105;
}

impl Errno {
    /// Wraps a positive errno; `None` for zero, negative values and values beyond 4095, which the
    /// kernel never returns.
    #[must_use]
    pub const fn new(value: i32) -> Option<Self> {
        if value > 0 && value <= 4095 { Some(Self(value)) } else { None }
    }

    /// The positive number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl From<Errno> for i32 {
    fn from(errno: Errno) -> Self {
        errno.0
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// Why a subsystem could not build its state for one namespace.
///
/// Mirrors the negative return of a `pernet_operations::init`; a positive one, a contract violation
/// in the kernel, cannot be expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitError {
    /// Memory could not be had (`ENOMEM`).
    NoMemory,
    /// A number space or limit of the subsystem is used up (`ENOSPC`).
    Exhausted,
    /// Anything else, with the subsystem's own errno and reason.
    Refused {
        /// What the creator of the namespace will see.
        errno: Errno,
        /// One phrase for a log.
        why: &'static str,
    },
}

impl InitError {
    /// The errno the creator of the namespace sees.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::NoMemory => Errno::ENOMEM,
            Self::Exhausted => Errno::ENOSPC,
            Self::Refused { errno, .. } => *errno,
        }
    }
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("out of memory"),
            Self::Exhausted => f.write_str("a limit of the subsystem is used up"),
            Self::Refused { errno, why } => write!(f, "{why} ({errno})"),
        }
    }
}

impl core::error::Error for InitError {}

/// Why a namespace was not created. Mirrors the errors of `copy_net_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateError {
    /// The creator lacks `CAP_SYS_ADMIN` in the user namespace that would own the result (`EPERM`).
    /// Asked before the quota.
    NotPermitted,
    /// `max_net_namespaces` of the owner or of one of its ancestors is reached (`ENOSPC`).
    QuotaExceeded {
        /// Depth of the user namespace whose limit said no; 0 is the initial one.
        level: u32,
    },
    /// No inode number is free (`ENOSPC`).
    InumsExhausted,
    /// The named subsystem could not be initialised; every earlier one has been undone.
    Init {
        /// [`Subsystem::NAME`](crate::Subsystem::NAME) of the one that failed.
        subsystem: &'static str,
        /// Its own reason.
        error: InitError,
    },
}

impl CreateError {
    /// What `unshare(CLONE_NEWNET)` would set errno to.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::NotPermitted => Errno::EPERM,
            Self::QuotaExceeded { .. } | Self::InumsExhausted => Errno::ENOSPC,
            Self::Init { error, .. } => error.errno(),
        }
    }
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted => f.write_str("CAP_SYS_ADMIN is needed in the owning user namespace"),
            Self::QuotaExceeded { level } => {
                write!(f, "max_net_namespaces of the user namespace at level {level} is reached")
            }
            Self::InumsExhausted => f.write_str("no inode number is free"),
            Self::Init { subsystem, error } => write!(f, "{subsystem} could not start: {error}"),
        }
    }
}

impl core::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Init { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why a subsystem was not registered. Nothing of it remains anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// Its init failed for a living namespace; those initialised before it have been undone.
    Init {
        /// Inode number of the namespace in which it failed.
        inum: crate::Inum,
        /// The subsystem's own reason.
        error: InitError,
    },
    /// More subsystems than slots can number (`ENOSPC`).
    SlotsExhausted,
}

impl RegisterError {
    /// What `register_pernet_subsys` would return, positive.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Init { error, .. } => error.errno(),
            Self::SlotsExhausted => Errno::ENOSPC,
        }
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init { inum, error } => {
                write!(f, "initialising net:[{}] failed: {error}", inum.get())
            }
            Self::SlotsExhausted => f.write_str("no slot number is free"),
        }
    }
}

impl core::error::Error for RegisterError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Init { error, .. } => Some(error),
            Self::SlotsExhausted => None,
        }
    }
}

/// Why a peer did not get an id. Mirrors the errors of `RTM_NEWNSID`; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignError {
    /// The observer has an id for this peer already (`EEXIST`). Wins over [`Self::IdTaken`].
    AlreadyNamed,
    /// The wanted id belongs to another peer (`EEXIST`).
    IdTaken,
    /// Every id from 0 to `i32::MAX` is in use (`ENOSPC`).
    Full,
    /// The table could not grow (`ENOMEM`).
    NoMemory,
    /// Observer or peer is not a live namespace (of the same system): its last reference is gone, or
    /// it is still being built and may yet be undone (`EINVAL`).
    Dying,
}

impl AssignError {
    /// The errno of the `NLMSG_ERROR`, positive.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::AlreadyNamed | Self::IdTaken => Errno::EEXIST,
            Self::Full => Errno::ENOSPC,
            Self::NoMemory => Errno::ENOMEM,
            Self::Dying => Errno::EINVAL,
        }
    }
}

impl fmt::Display for AssignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyNamed => "peer netns already has a nsid assigned",
            Self::IdTaken => "the specified nsid is already used",
            Self::Full => "every nsid is in use",
            Self::NoMemory => "the peer table could not grow",
            Self::Dying => "observer or peer is not a live namespace",
        })
    }
}

impl core::error::Error for AssignError {}

/// Why a limit was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitError {
    /// Not within 0..=2147483647 (`EINVAL`).
    OutOfRange,
}

impl LimitError {
    /// What `write` to `/proc/sys/user/max_net_namespaces` would set errno to.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::OutOfRange => Errno::EINVAL,
        }
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a limit lies between 0 and 2147483647")
    }
}

impl core::error::Error for LimitError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_holds_only_what_the_kernel_returns() {
        assert_eq!(Errno::new(28), Some(Errno::ENOSPC));
        assert_eq!(Errno::new(0), None);
        assert_eq!(Errno::new(-1), None);
        assert_eq!(Errno::new(4096), None);
        assert_eq!(Errno::ENOSPC.name(), Some("ENOSPC"));
        assert_eq!(Errno::new(4000).and_then(Errno::name), None);
    }

    #[test]
    fn an_init_error_reaches_the_creator_unchanged() {
        let error = InitError::Refused { errno: Errno::EBUSY, why: "port taken" };
        assert_eq!(CreateError::Init { subsystem: "x", error }.errno(), Errno::EBUSY);
        assert_eq!(CreateError::QuotaExceeded { level: 0 }.errno(), Errno::ENOSPC);
        assert_eq!(AssignError::Full.errno(), Errno::ENOSPC);
    }
}
