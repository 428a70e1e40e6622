//! How much of a connection may be under way: `SO_SNDBUF` and `SO_RCVBUF`.
//!
//! As long as nobody says so, both are [`BUFFER`]. Linux doubles what is asked for, and shows the double; that is kept here.

use pernet::NetRef;

use super::sock::{BUFFER, Sock};
use super::stream::TcpSocket;
use crate::dev::Stack;
use crate::l2::Cx;
use crate::l4::sockopt::common::doubled;

/// More than this an engine does not get, whatever is asked for: it is memory of the stack's.
pub(super) const MOST: usize = 1 << 20;

impl Sock {
    /// As Linux makes it of what a program asks for.
    fn doubled(&self, asked: i32, sends: bool, force: bool) -> usize {
        let net = self.net.upgrade();
        doubled(net.as_ref().and_then(|net| Cx::new(&self.stack, net)), asked, sends, force)
    }

    fn set_send_buffer(&self, asked: i32, force: bool) {
        let bytes = self.doubled(asked, true, force);
        let mut inner = self.lock();
        inner.options.send_buffer = bytes;
        if let Some(engine) = &mut inner.engine {
            engine.limit_sending(bytes);
        }
    }

    fn set_receive_buffer(&self, asked: i32, force: bool) {
        let bytes = self.doubled(asked, false, force);
        // The window that an engine has told of already is not taken back.
        self.lock().options.receive_buffer = bytes;
    }
}

impl Stack {
    /// What a buffer of a socket of `net` has, of what its program asks for; one that `sends`, or receives; by `force`, past
    /// what an administrator set. For sockets that the stack does not know.
    #[must_use]
    pub fn socket_buffer(&self, net: &NetRef, asked: i32, sends: bool, force: bool) -> usize {
        doubled(Cx::new(self, net), asked, sends, force)
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
