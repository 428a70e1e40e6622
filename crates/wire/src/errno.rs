//! Error numbers as they travel on the wire.

use core::fmt;

/// A Linux error number, always positive (`22`, not `-22`). The wire carries its negative.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Self = Self($number);)*

            /// The C name (`"EINVAL"`), or `None` for a number this crate gives no name.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($number => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

errnos! {
    EPERM = 1, "Operation not permitted.";
    ENOENT = 2, "No such file or directory.";
    ESRCH = 3, "No such process.";
    EINTR = 4, "Interrupted system call.";
    EIO = 5, "Input/output error.";
    ENXIO = 6, "No such device or address.";
    E2BIG = 7, "Argument list too long.";
    EBADF = 9, "Bad file descriptor.";
    EAGAIN = 11, "Try again.";
    ENOMEM = 12, "Out of memory.";
    EACCES = 13, "Permission denied.";
    EFAULT = 14, "Bad address.";
    EBUSY = 16, "Device or resource busy.";
    EEXIST = 17, "File exists.";
    ENODEV = 19, "No such device.";
    EINVAL = 22, "Invalid argument.";
    ENOSPC = 28, "No space left on device.";
    ERANGE = 34, "Numerical result out of range.";
    ENODATA = 61, "No data available.";
    EPROTO = 71, "Protocol error.";
    EMSGSIZE = 90, "Message too long.";
    ENOPROTOOPT = 92, "Protocol not available.";
    EPROTONOSUPPORT = 93, "Protocol not supported.";
    ESOCKTNOSUPPORT = 94, "Socket type not supported.";
    EOPNOTSUPP = 95, "Operation not supported.";
    EAFNOSUPPORT = 97, "Address family not supported.";
    EADDRINUSE = 98, "Address already in use.";
    EADDRNOTAVAIL = 99, "Cannot assign the requested address.";
    ENOBUFS = 105, "No buffer space available.";
    ENOTCONN = 107, "Transport endpoint is not connected.";
    ECONNREFUSED = 111, "Connection refused.";
    ESTALE = 116, "Stale file handle.";
}

impl Errno {
    /// An errno from a positive number; `None` outside `1..=4095`, the range Linux reserves for errors.
    pub const fn new(number: i32) -> Option<Self> {
        if number >= 1 && number <= 4095 { Some(Self(number)) } else { None }
    }

    /// The positive number.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The value of a wire field: negative.
    pub const fn wire(self) -> i32 {
        -self.0
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::Errno;
    use alloc::format;

    #[test]
    fn only_the_error_range_is_an_errno() {
        assert_eq!(Errno::new(0), None);
        assert_eq!(Errno::new(-22), None);
        assert_eq!(Errno::new(4096), None);
        assert_eq!(Errno::new(22), Some(Errno::EINVAL));
        assert_eq!(Errno::EINVAL.wire(), -22);
    }

    #[test]
    fn shows_its_c_name() {
        assert_eq!(format!("{}", Errno::EADDRINUSE), "EADDRINUSE");
        assert_eq!(format!("{:?}", Errno::new(4000).unwrap()), "Errno(4000)");
    }
}
