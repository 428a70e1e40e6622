//! The sockets of the stack that programs' datagram sockets stand for, whatever their family.

use std::sync::Arc;

use pernet::NetRef;
use pernet_stack::{Caller, ControlMessage, InetProtocol, InetSocket, Meta, Packet, SocketError};

use super::{Family, Kind, address};
use crate::world::World;

/// Such a socket.
pub(crate) enum Core {
    /// Of an IP family.
    Inet {
        /// The socket.
        socket: InetSocket,
        /// AF_INET6?
        v6: bool,
        /// UDP takes addresses of the other family, too.
        udp: bool,
    },
}

/// A packet on its way to a program.
pub(crate) enum Incoming {
    /// Of an IP family.
    Inet(Packet),
}

/// What is known of a packet beside its bytes.
#[derive(Clone)]
pub(crate) enum Beside {
    /// Of an IP family.
    Inet(Meta),
}

impl Incoming {
    /// What the program gets.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inet(packet) => packet.payload(),
        }
    }

    /// What is known beside, and the length.
    pub(crate) fn beside(&self) -> (Beside, usize) {
        match self {
            Self::Inet(packet) => (Beside::Inet(packet.meta().clone()), packet.payload().len()),
        }
    }
}

impl Beside {
    /// The address of who sent it.
    pub(crate) fn name(&self) -> Vec<u8> {
        match self {
            Self::Inet(meta) => address::bytes(meta.from),
        }
    }
}

fn number(error: SocketError) -> i32 {
    error.errno()
}

impl Core {
    /// A fresh one.
    ///
    /// # Errors
    /// errno for a kind that there is not.
    pub(crate) fn new(world: &World, kind: Kind, net: NetRef, uid: u32) -> Result<Self, i32> {
        if kind.family == Family::Packet {
            return Err(libc::EAFNOSUPPORT);
        }
        let protocol = match (kind.ty, kind.protocol) {
            (libc::SOCK_DGRAM, libc::IPPROTO_UDP) => InetProtocol::Udp,
            (libc::SOCK_DGRAM, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) => InetProtocol::Ping,
            (libc::SOCK_RAW, p) => InetProtocol::Raw(u8::try_from(p).map_err(|_| libc::EPROTONOSUPPORT)?),
            _ => return Err(libc::EPROTONOSUPPORT),
        };
        let v6 = kind.family == Family::V6;
        let socket = InetSocket::new(&world.stack, net, v6, protocol, uid);
        Ok(Self::Inet { socket, v6, udp: protocol == InetProtocol::Udp })
    }

    /// Calls `callback` when there is something new.
    pub(crate) fn on_ready(&self, callback: Arc<dyn Fn() + Send + Sync>) {
        match self {
            Self::Inet { socket, .. } => socket.on_ready(Some(callback)),
        }
    }

    /// `bind`.
    ///
    /// # Errors
    /// errno.
    pub(crate) fn bind(&self, raw: &[u8], caller: &dyn Caller) -> Result<(), i32> {
        match self {
            Self::Inet { socket, v6, .. } => socket.bind(address::parse(raw, *v6, false)?, caller).map_err(number),
        }
    }

    /// `connect`, or the end of a connection.
    ///
    /// # Errors
    /// errno.
    pub(crate) fn connect(&self, raw: &[u8], caller: &dyn Caller) -> Result<(), i32> {
        match self {
            Self::Inet { socket, v6, udp } => {
                let to = match address::family_of(raw).ok_or(libc::EINVAL)? {
                    libc::AF_UNSPEC => None,
                    _ => Some(address::parse(raw, *v6, *udp)?),
                };
                socket.connect(to, caller).map_err(number)
            }
        }
    }

    /// `getsockname`.
    pub(crate) fn local_name(&self) -> Vec<u8> {
        match self {
            Self::Inet { socket, .. } => address::bytes(socket.local_addr()),
        }
    }

    /// `getpeername`.
    ///
    /// # Errors
    /// ENOTCONN.
    pub(crate) fn peer_name(&self) -> Result<Vec<u8>, i32> {
        match self {
            Self::Inet { socket, .. } => socket.peer_addr().map(address::bytes).ok_or(libc::ENOTCONN),
        }
    }

    /// `shutdown`.
    ///
    /// # Errors
    /// errno.
    pub(crate) fn shutdown(&self, how: i32) -> Result<(), i32> {
        match self {
            Self::Inet { socket, .. } => socket.shutdown(how).map_err(number),
        }
    }

    /// `sendmsg`.
    ///
    /// # Errors
    /// errno.
    pub(crate) fn send(
        &self,
        bytes: &[u8],
        to: Option<&[u8]>,
        control: &[ControlMessage],
        flags: i32,
        caller: &dyn Caller,
    ) -> Result<usize, i32> {
        match self {
            Self::Inet { socket, v6, udp } => {
                let to = to.map(|raw| address::parse(raw, *v6, *udp)).transpose()?;
                socket.send(bytes, to, control, flags, caller).map_err(number)
            }
        }
    }

    /// What was sent natively: its sender was told already that all went well.
    pub(crate) fn send_untold(&self, bytes: &[u8]) {
        match self {
            Self::Inet { socket, .. } => drop(socket.send_untold(bytes)),
        }
    }

    /// `setsockopt`.
    ///
    /// # Errors
    /// errno.
    pub(crate) fn set_option(&self, level: i32, name: i32, value: &[u8], caller: &dyn Caller) -> Result<(), i32> {
        match self {
            Self::Inet { socket, .. } => socket.set_option(level, name, value, caller).map_err(number),
        }
    }

    /// `getsockopt`.
    ///
    /// # Errors
    /// errno.
    pub(crate) fn option(&self, level: i32, name: i32, room: usize) -> Result<Vec<u8>, i32> {
        match self {
            Self::Inet { socket, .. } => socket.option(level, name, room).map_err(number),
        }
    }

    /// The packet that came first.
    pub(crate) fn next(&self) -> Option<Incoming> {
        match self {
            Self::Inet { socket, .. } => socket.next_packet().map(Incoming::Inet),
        }
    }

    /// The program's end is gone: it ends, and the packet comes in once more.
    pub(crate) fn close_before(&self, packet: Incoming) {
        match (self, packet) {
            (Self::Inet { socket, .. }, Incoming::Inet(packet)) => socket.close_before(packet),
        }
    }

    /// The error that the next call is to tell.
    pub(crate) fn take_error(&self) -> Option<i32> {
        match self {
            Self::Inet { socket, .. } => socket.take_error().map(number),
        }
    }

    /// It was shut down for receiving.
    pub(crate) fn no_more_in(&self) -> bool {
        match self {
            Self::Inet { socket, .. } => socket.no_more_in(),
        }
    }

    /// What comes along with a packet.
    pub(crate) fn control(&self, beside: &Beside) -> Vec<ControlMessage> {
        match (self, beside) {
            (Self::Inet { socket, .. }, Beside::Inet(meta)) => socket.control(meta),
        }
    }

    /// The first queued error: what it quotes, whither that was going, and what is said of it.
    pub(crate) fn recv_error(&self) -> Option<(Vec<u8>, Vec<u8>, ControlMessage)> {
        match self {
            Self::Inet { socket, .. } => {
                let error = socket.recv_error()?;
                let control = socket.error_control(&error);
                Some((error.payload, address::bytes(error.to), control))
            }
        }
    }
}
