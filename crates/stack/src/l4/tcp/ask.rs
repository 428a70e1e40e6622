//! What programs ask a socket: whether it is ready, who its peer is, how much waits.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Weak;

use super::sock::Sock;
use super::state::State;
use super::told::{Knock, Ready, TcpUser, Told};
use crate::errno;

/// What a socket is ready for (`poll`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpReadiness {
    /// Something can be read, or accepted, or its end.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// An urgent byte is here.
    pub urgent: bool,
    /// An error waits.
    pub error: bool,
    /// The peer sends nothing more.
    pub read_hangup: bool,
    /// Nothing goes either way.
    pub hangup: bool,
}
impl Sock {
    /// What the socket is ready for (`tcp_poll`).
    pub(crate) fn readiness(&self) -> TcpReadiness {
        let inner = self.lock();
        if let Some(listen) = &inner.listen {
            return TcpReadiness { readable: !listen.queue.is_empty(), ..TcpReadiness::default() };
        }
        let opening = matches!(inner.state, State::SynSent | State::SynRecv);
        let over = inner.state == State::Close || (inner.shut_read && inner.shut_write);
        let read_end = inner.shut_read || inner.done;
        let room = inner.engine.as_ref().is_some_and(|engine| engine.send_room() >= inner.options.send_buffer / 3);
        TcpReadiness {
            readable: !opening && (inner.received() > 0 || read_end),
            writable: !opening && (room || inner.shut_write || inner.state == State::Close),
            urgent: inner.urgent.is_here(),
            error: inner.error != 0,
            read_hangup: read_end,
            hangup: !opening && over,
        }
    }

    /// Takes the pending error (`SO_ERROR`).
    pub(crate) fn take_error(&self) -> i32 {
        let mut inner = self.lock();
        match inner.take_error() {
            0 => std::mem::take(&mut inner.soft_error),
            error => error,
        }
    }

    /// `getsockname`.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        let inner = self.lock();
        inner.local.map(|addr| match addr {
            SocketAddr::V4(v4) if self.v6 && v4.ip().is_unspecified() => {
                SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), v4.port())
            }
            addr => self.shown(addr, inner.scope),
        })
    }

    /// `getpeername`.
    pub(crate) fn peer_addr(&self) -> Result<SocketAddr, i32> {
        let inner = self.lock();
        let there = !matches!(inner.state, State::Close | State::Listen | State::SynSent);
        inner.peer.filter(|_| there).map(|peer| self.shown(peer, inner.scope)).ok_or(errno::ENOTCONN)
    }

    /// Who the connection is or was with.
    pub(crate) fn last_peer(&self) -> Option<SocketAddr> {
        let inner = self.lock();
        inner.peer.map(|peer| self.shown(peer, inner.scope))
    }

    /// Of a listener: asks before a request for a connection is answered.
    pub(crate) fn on_knock(&self, knock: Option<Knock>) {
        if let Some(listen) = &mut self.lock().listen {
            listen.knock = knock;
        }
    }

    /// The state.
    pub(crate) fn state(&self) -> State {
        self.lock().state
    }

    /// May it ask for a connection, or listen?
    pub(crate) fn is_fresh(&self) -> bool {
        let inner = self.lock();
        !inner.connecting && !inner.connected && inner.state == State::Close
    }

    /// Bytes to read (`SIOCINQ`).
    pub(crate) fn received(&self) -> usize {
        self.lock().received()
    }

    /// Bytes that were not acknowledged (`SIOCOUTQ`).
    pub(crate) fn unacknowledged(&self) -> usize {
        self.lock().engine.as_ref().map_or(0, |engine| engine.unacknowledged())
    }

    /// Bytes that there is room for.
    pub(crate) fn send_room(&self) -> usize {
        self.lock().engine.as_ref().map_or(0, |engine| engine.send_room())
    }

    /// Calls `ready` whenever something has changed; it may look at the socket.
    pub(crate) fn on_ready(&self, ready: Option<Ready>) {
        self.lock().told = ready.map_or(Told::Nobody, Told::Callback);
    }

    /// Tells `user`, and asks him.
    pub(crate) fn set_user(&self, user: Option<Weak<dyn TcpUser>>) {
        self.lock().told = user.map_or(Told::Nobody, Told::User);
    }

    pub(crate) fn set_owner(&self, uid: u32) {
        self.lock().uid = uid;
    }

    pub(crate) fn set_inode(&self, inode: u64) {
        self.lock().inode = inode;
    }

    pub(crate) fn set_taken(&self, taken: usize) {
        if let Some(listen) = &mut self.lock().listen {
            listen.taken = taken;
        }
    }

    /// Is the urgent byte next (`SIOCATMARK`)?
    pub(crate) fn at_mark(&self) -> bool {
        let inner = self.lock();
        inner.aside.is_empty() && inner.urgent.mark(inner.sequence.read) == Some(0)
    }
}
