//! Why a system call on a netlink socket fails.

use pernet_wire::Errno;

/// The failure of one call on a [`Socket`](crate::Socket).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SockError {
    /// `EPERM`: writing to others, joining this group or hearing other namespaces needs a capability in the owner of the
    /// socket's namespace.
    #[error("the caller lacks the capability in the owner of the socket's namespace")]
    NotPermitted,
    /// `EADDRINUSE`: another socket of this namespace and protocol has the port.
    #[error("the port is taken")]
    PortTaken,
    /// `EINVAL`: the socket is bound to another port already.
    #[error("the socket is bound to another port")]
    AlreadyBound,
    /// `EINVAL`: the protocol has no such group.
    #[error("the protocol has no such group")]
    NoSuchGroup,
    /// `EINVAL`: an option value that is too short.
    #[error("the option's buffer is too short")]
    OptionTooShort,
    /// `ENOPROTOOPT`: no such option.
    #[error("no such option")]
    NoSuchOption,
    /// `ENODATA`: an empty send.
    #[error("nothing to send")]
    Empty,
    /// `EMSGSIZE`: larger than the send buffer minus 32 bytes.
    #[error("the message is larger than the send buffer")]
    TooLarge,
    /// `ECONNREFUSED`: nobody has the port.
    #[error("no socket has this port")]
    NoListener,
    /// `EAGAIN`: the receiver's queue is full.
    #[error("the receiver's queue is full")]
    WouldBlock,
    /// `ENOBUFS`: messages for this socket were dropped since the last call that could say so.
    #[error("messages were dropped")]
    NoBufs,
}

impl SockError {
    /// The errno the system call returns.
    pub const fn errno(self) -> Errno {
        match self {
            Self::NotPermitted => Errno::EPERM,
            Self::PortTaken => Errno::EADDRINUSE,
            Self::AlreadyBound | Self::NoSuchGroup | Self::OptionTooShort => Errno::EINVAL,
            Self::NoSuchOption => Errno::ENOPROTOOPT,
            Self::Empty => Errno::ENODATA,
            Self::TooLarge => Errno::EMSGSIZE,
            Self::NoListener => Errno::ECONNREFUSED,
            Self::WouldBlock => Errno::EAGAIN,
            Self::NoBufs => Errno::ENOBUFS,
        }
    }
}
