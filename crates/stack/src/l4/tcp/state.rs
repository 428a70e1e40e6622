//! The states of a connection.

/// The state of a TCP socket, with the numbers of `/proc/net/tcp` and `TCP_INFO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Both ways are open.
    Established = 1,
    /// We asked for a connection.
    SynSent = 2,
    /// We were asked, and said yes.
    SynRecv = 3,
    /// We have closed our way.
    FinWait1 = 4,
    /// And the peer knows.
    FinWait2 = 5,
    /// Both are closed; late segments are waited for.
    TimeWait = 6,
    /// There is none.
    #[default]
    Close = 7,
    /// The peer has closed its way.
    CloseWait = 8,
    /// And then we did.
    LastAck = 9,
    /// Waits for connections.
    Listen = 10,
    /// Both closed at once.
    Closing = 11,
}

impl State {
    /// Has the handshake been completed, and the connection not ended?
    #[must_use]
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, Self::SynSent | Self::SynRecv | Self::Close | Self::Listen | Self::TimeWait)
    }
}
