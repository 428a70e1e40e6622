//! How much of a connection may be under way: `SO_SNDBUF` and `SO_RCVBUF`.
//!
//! As long as nobody says so, both are [`BUFFER`]. Linux doubles what is asked for, and shows the double; that is kept here.

use super::sock::{BUFFER, Sock};
use super::stream::TcpSocket;
use crate::l4::queue::{MIN_RCVBUF, MIN_SNDBUF};
use crate::sysctl;

/// More than this an engine does not get, whatever is asked for: it is memory of the stack's.
pub(super) const MOST: usize = 1 << 20;

impl Sock {
    /// As Linux makes it of what a program asks for, within what an administrator set if `within` names that.
    fn doubled(&self, asked: i32, within: Option<&str>, least: usize) -> usize {
        let asked = usize::try_from(asked).unwrap_or(0);
        let net = self.net.upgrade();
        let cx = net.as_ref().and_then(|net| crate::l2::Cx::new(&self.stack, net));
        let most = within.zip(cx).map_or(usize::MAX, |(name, cx)| {
            usize::try_from(sysctl::number_or(cx.ns(), name, 4_194_304)).unwrap_or(usize::MAX)
        });
        asked.min(most).saturating_mul(2).clamp(least, i32::MAX as usize)
    }

    fn set_send_buffer(&self, asked: i32, force: bool) {
        let bytes = self.doubled(asked, (!force).then_some("core/wmem_max"), MIN_SNDBUF);
        let mut inner = self.lock();
        inner.options.send_buffer = bytes;
        if let Some(engine) = &mut inner.engine {
            engine.limit_sending(bytes);
        }
    }

    fn set_receive_buffer(&self, asked: i32, force: bool) {
        let bytes = self.doubled(asked, (!force).then_some("core/rmem_max"), MIN_RCVBUF);
        // The window that an engine has told of already is not taken back.
        self.lock().options.receive_buffer = bytes;
    }
}

impl TcpSocket {
    /// How much may wait to be acknowledged (`SO_SNDBUF`, with `force` `SO_SNDBUFFORCE`).
    pub fn set_send_buffer(&self, asked: i32, force: bool) {
        self.sock.set_send_buffer(asked, force);
    }

    /// How much may wait to be read (`SO_RCVBUF`, with `force` `SO_RCVBUFFORCE`); of an open connection, beside what its
    /// window is.
    pub fn set_receive_buffer(&self, asked: i32, force: bool) {
        self.sock.set_receive_buffer(asked, force);
    }

    /// Both, to send and to receive, where they are not what every socket is born with.
    #[must_use]
    pub fn buffers(&self) -> (Option<usize>, Option<usize>) {
        let (send, receive) = self.sock.options(|options| (options.send_buffer, options.receive_buffer));
        let set = |bytes: usize| Some(bytes).filter(|&bytes| bytes != BUFFER);
        (set(send), set(receive))
    }
}
