//! The sockets of the stack that programs' datagram sockets stand for, whatever their family.

use std::sync::Arc;

use pernet::NetRef;
use pernet_stack::{
    Caller, ControlMessage, FilterInstruction, InetProtocol, InetSocket, LinkAddr, Meta, Packet, PacketFrame,
    PacketSocket, SocketError,
};

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
    /// Of AF_PACKET.
    Packet(PacketSocket),
}

/// A packet on its way to a program.
pub(crate) enum Incoming {
    /// Of an IP family.
    Inet(Packet),
    /// Of AF_PACKET.
    Packet(Box<PacketFrame>),
}

/// What is known of a packet beside its bytes.
#[derive(Clone)]
pub(crate) enum Beside {
    /// Of an IP family.
    Inet(Meta),
    /// Of AF_PACKET: all but the bytes.
    Packet(Box<PacketFrame>),
}

impl Incoming {
    /// What the program gets.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inet(packet) => packet.payload(),
            Self::Packet(frame) => &frame.bytes,
        }
    }

    /// The same, to keep.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Inet(packet) => packet.payload().to_vec(),
            Self::Packet(frame) => frame.bytes,
        }
    }

    /// What is known beside, and the length.
    pub(crate) fn beside(&self) -> (Beside, usize) {
        match self {
            Self::Inet(packet) => (Beside::Inet(packet.meta().clone()), packet.payload().len()),
            Self::Packet(frame) => (Beside::Packet(frame.clone()), frame.bytes.len()),
        }
    }
}

impl Beside {
    /// The address of who sent it.
    pub(crate) fn name(&self) -> Vec<u8> {
        match self {
            Self::Inet(meta) => address::bytes(meta.from),
            Self::Packet(frame) => frame.from.to_bytes(),
        }
    }

    /// How long the packet was, of which `len` bytes reached the program.
    pub(crate) fn whole(&self, len: usize) -> usize {
        match self {
            Self::Inet(_) => len,
            Self::Packet(frame) => frame.len,
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
            let protocol = (kind.protocol as u16).swap_bytes();
            return Ok(Self::Packet(PacketSocket::new(&world.stack, net, kind.ty == libc::SOCK_DGRAM, protocol, uid)));
        }
        let protocol = match (kind.ty, kind.protocol) {
            (libc::SOCK_DGRAM, libc::IPPROTO_UDP) => InetProtocol::Udp,
            (libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE) => InetProtocol::UdpLite,
            (libc::SOCK_DGRAM, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) => InetProtocol::Ping,
            (libc::SOCK_RAW, p) => InetProtocol::Raw(u8::try_from(p).map_err(|_| libc::EPROTONOSUPPORT)?),
            _ => return Err(libc::EPROTONOSUPPORT),
        };
        let v6 = kind.family == Family::V6;
        let socket = InetSocket::new(&world.stack, net, v6, protocol, uid);
        Ok(Self::Inet { socket, v6, udp: matches!(protocol, InetProtocol::Udp | InetProtocol::UdpLite) })
    }

    /// By what inode number programs know it.
    pub(crate) fn set_inode(&self, inode: u64) {
        match self {
            Self::Inet { socket, .. } => socket.set_inode(inode),
            Self::Packet(socket) => socket.set_inode(inode),
        }
    }

    /// Calls `callback` when there is something new.
    pub(crate) fn on_ready(&self, callback: Arc<dyn Fn() + Send + Sync>) {
        match self {
            Self::Inet { socket, .. } => socket.on_ready(Some(callback)),
            Self::Packet(socket) => socket.on_ready(Some(callback)),
        }
    }

    /// `bind`.
    ///
    /// # Errors
    /// errno.
    pub(crate) fn bind(&self, raw: &[u8], caller: &dyn Caller) -> Result<(), i32> {
        match self {
            Self::Inet { socket, v6, .. } => socket.bind(address::parse(raw, *v6, false)?, caller).map_err(number),
            Self::Packet(socket) => {
                let addr = link::parse(raw)?;
                socket.bind(addr.ifindex, addr.protocol).map_err(number)
            }
        }
    }

    /// `connect`, or the end of a connection.
    ///
    /// # Errors
    /// errno.
    pub(crate) fn connect(&self, raw: &[u8]) -> Result<(), i32> {
        match self {
            Self::Inet { socket, v6, udp } => {
                let to = match address::family_of(raw).ok_or(libc::EINVAL)? {
                    libc::AF_UNSPEC => None,
                    _ => Some(address::parse(raw, *v6, *udp)?),
                };
                socket.connect(to).map_err(number)
            }
            Self::Packet(_) => Err(libc::EOPNOTSUPP),
        }
    }

    /// `getsockname`.
    pub(crate) fn local_name(&self) -> Vec<u8> {
        match self {
            Self::Inet { socket, .. } => address::bytes(socket.local_addr()),
            Self::Packet(socket) => link::bytes(&socket.local_addr()),
        }
    }

    /// `getpeername`.
    ///
    /// # Errors
    /// ENOTCONN.
    pub(crate) fn peer_name(&self) -> Result<Vec<u8>, i32> {
        match self {
            Self::Inet { socket, .. } => socket.peer_addr().map(address::bytes).ok_or(libc::ENOTCONN),
            Self::Packet(_) => Err(libc::EOPNOTSUPP),
        }
    }

    /// `shutdown`.
    ///
    /// # Errors
    /// errno.
    pub(crate) fn shutdown(&self, how: i32) -> Result<(), i32> {
        match self {
            Self::Inet { socket, .. } => socket.shutdown(how).map_err(number),
            Self::Packet(_) => Err(libc::EOPNOTSUPP),
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
            Self::Packet(socket) => {
                let to = to.map(link::parse_destination).transpose()?;
                socket.send_with(bytes, to.as_ref(), control, caller).map_err(number)
            }
        }
    }

    /// What was sent natively: its sender was told already that all went well.
    pub(crate) fn send_untold(&self, bytes: &[u8]) {
        match self {
            Self::Inet { socket, .. } => drop(socket.send_untold(bytes)),
            Self::Packet(socket) => drop(socket.send(bytes, None)),
        }
    }

    /// `setsockopt`.
    ///
    /// # Errors
    /// errno.
    pub(crate) fn set_option(&self, level: i32, name: i32, value: &[u8], caller: &dyn Caller) -> Result<(), i32> {
        match self {
            Self::Inet { socket, .. } => socket.set_option(level, name, value, caller).map_err(number),
            Self::Packet(socket) if level == libc::SOL_PACKET => socket.set_option(name, value).map_err(number),
            Self::Packet(socket) if level == libc::SOL_SOCKET && is_buffer(name) => {
                socket.set_buffer(name, value, caller).map_err(number)
            }
            Self::Packet(socket) if level == libc::SOL_SOCKET && PacketSocket::is_time_option(name) => {
                socket.set_time_option(name, value).map_err(number)
            }
            Self::Packet(_) => Err(libc::ENOPROTOOPT),
        }
    }

    /// `getsockopt`. `given`: the beginning of what stood where the answer goes.
    ///
    /// # Errors
    /// errno.
    pub(crate) fn option(&self, level: i32, name: i32, room: usize, given: &[u8]) -> Result<Vec<u8>, i32> {
        match self {
            Self::Inet { socket, .. } => socket.option_of(level, name, room, given).map_err(number),
            Self::Packet(socket) if level == libc::SOL_PACKET => socket.option(name, room, given).map_err(number),
            Self::Packet(socket) if (level, name) == (libc::SOL_SOCKET, libc::SO_ERROR) => {
                Ok(socket.take_error().map_or(0, number).to_ne_bytes()[..room.min(4)].to_vec())
            }
            Self::Packet(socket) if level == libc::SOL_SOCKET && matches!(name, libc::SO_RCVBUF | libc::SO_SNDBUF) => {
                let (receive, send) = socket.buffers();
                let bytes = if name == libc::SO_RCVBUF { receive } else { send };
                Ok((bytes as i32).to_ne_bytes()[..room.min(4)].to_vec())
            }
            Self::Packet(_) => Err(libc::ENOPROTOOPT),
        }
    }

    /// The packet that came first.
    pub(crate) fn next(&self) -> Option<Incoming> {
        match self {
            Self::Inet { socket, .. } => socket.next_packet().map(Incoming::Inet),
            Self::Packet(socket) => socket.next_frame().map(|frame| Incoming::Packet(Box::new(frame))),
        }
    }

    /// The program's end is gone: it ends, and the packet comes in once more.
    pub(crate) fn close_before(&self, packet: Incoming) {
        match (self, packet) {
            (Self::Inet { socket, .. }, Incoming::Inet(packet)) => socket.close_before(packet),
            (Self::Packet(socket), Incoming::Packet(frame)) => socket.close_before(*frame),
            // Nobody hands one the other's.
            _ => {}
        }
    }

    /// The error that the next call is to tell.
    pub(crate) fn take_error(&self) -> Option<i32> {
        match self {
            Self::Inet { socket, .. } => socket.take_error().map(number),
            Self::Packet(socket) => socket.take_error().map(number),
        }
    }

    /// Is there a packet, an error, or nothing more to come?
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Inet { socket, .. } => {
                let now = socket.readiness();
                now.readable || now.error
            }
            Self::Packet(socket) => socket.is_ready(),
        }
    }

    /// Can a send without an address get anywhere?
    pub(crate) fn sends_untold(&self) -> bool {
        match self {
            Self::Inet { socket, .. } => socket.is_connected(),
            Self::Packet(_) => true,
        }
    }

    /// Whether there is one.
    pub(crate) fn has_error(&self) -> bool {
        match self {
            Self::Inet { socket, .. } => socket.readiness().error,
            Self::Packet(socket) => socket.has_error(),
        }
    }

    /// Whether there are times of what was sent, and no error.
    pub(crate) fn has_only_times(&self) -> bool {
        match self {
            Self::Inet { socket, .. } => socket.only_times(),
            Self::Packet(socket) => socket.only_times(),
        }
    }

    /// It was shut down for receiving.
    pub(crate) fn no_more_in(&self) -> bool {
        match self {
            Self::Inet { socket, .. } => socket.no_more_in(),
            Self::Packet(_) => false,
        }
    }

    /// What comes along with a packet.
    pub(crate) fn control(&self, beside: &Beside) -> Vec<ControlMessage> {
        match (self, beside) {
            (Self::Inet { socket, .. }, Beside::Inet(meta)) => socket.control(meta),
            (Self::Packet(socket), Beside::Packet(frame)) => socket.control(frame),
            _ => Vec::new(),
        }
    }

    /// The first queued error: what it quotes, whither that was going, and what is said of it.
    pub(crate) fn recv_error(&self) -> Option<(Vec<u8>, Vec<u8>, Vec<ControlMessage>)> {
        match self {
            Self::Inet { socket, .. } => {
                let error = socket.recv_error()?;
                let control = socket.error_control(&error);
                Some((error.payload, error.to.map(address::bytes).unwrap_or_default(), control))
            }
            Self::Packet(socket) => {
                let error = socket.recv_error()?;
                let control = socket.error_control(&error);
                Some((error.payload, Vec::new(), control))
            }
        }
    }

    /// The filter of an AF_PACKET socket, which sees more than the stand-in's would; `None` if it is another kind's.
    pub(crate) fn set_filter(&self, program: Option<&[FilterInstruction]>) -> Option<Result<(), i32>> {
        match self {
            Self::Inet { .. } => None,
            Self::Packet(socket) => Some(socket.set_filter(program).map_err(number)),
        }
    }

    /// The AF_PACKET socket, if it is one.
    pub(crate) fn packet(&self) -> Option<&PacketSocket> {
        match self {
            Self::Inet { .. } => None,
            Self::Packet(socket) => Some(socket),
        }
    }

    /// Memory that Linux would have for a packet.
    pub(crate) fn memory(packet: &Incoming) -> usize {
        match packet {
            Incoming::Inet(packet) => packet.memory(),
            Incoming::Packet(frame) => frame.memory,
        }
    }

    /// Asks `outside` for the memory of what waits in the program's end, when sockets are listed or a buffer seems full.
    pub(crate) fn on_listing(&self, outside: Arc<dyn Fn() -> Option<usize> + Send + Sync>) {
        match self {
            Self::Inet { socket, .. } => socket.on_listing(Some(outside)),
            Self::Packet(socket) => socket.on_listing(Some(outside)),
        }
    }
}

/// Is it an option of level SOL_SOCKET that says how much may wait?
pub(crate) const fn is_buffer(name: i32) -> bool {
    matches!(name, libc::SO_RCVBUF | libc::SO_SNDBUF | libc::SO_RCVBUFFORCE | libc::SO_SNDBUFFORCE)
}

/// `struct sockaddr_ll`.
pub(super) mod link {
    use super::LinkAddr;

    /// Of the whole structure.
    const SIZE: usize = 20;
    /// Where the address begins.
    const ADDRESS: usize = 12;

    pub(crate) fn bytes(addr: &LinkAddr) -> Vec<u8> {
        let mut raw = (libc::AF_PACKET as u16).to_ne_bytes().to_vec();
        raw.extend(addr.protocol.to_be_bytes());
        raw.extend(addr.ifindex.to_ne_bytes());
        raw.extend(addr.hatype.to_ne_bytes());
        raw.extend([addr.kind, addr.addr.len() as u8]);
        raw.extend(&addr.addr);
        raw
    }

    /// Of a bind.
    pub(super) fn parse(raw: &[u8]) -> Result<LinkAddr, i32> {
        match raw {
            [f, g, ..] if i32::from(u16::from_ne_bytes([*f, *g])) == libc::AF_PACKET => parse_any(raw),
            _ => Err(libc::EINVAL),
        }
    }

    /// Where a frame is to go: of any family. Its address is as long as the device's are, whatever it says of itself: what
    /// follows may be part of it.
    pub(super) fn parse_destination(raw: &[u8]) -> Result<LinkAddr, i32> {
        Ok(LinkAddr { addr: raw.get(ADDRESS..).unwrap_or_default().to_vec(), ..parse_any(raw)? })
    }

    fn parse_any(raw: &[u8]) -> Result<LinkAddr, i32> {
        let fixed: &[u8; ADDRESS] = raw.first_chunk().filter(|_| raw.len() >= SIZE).ok_or(libc::EINVAL)?;
        let [_, _, p, q, i, j, k, l, h, t, kind, len] = *fixed;
        let addr = raw.get(ADDRESS..ADDRESS + usize::from(len)).ok_or(libc::EINVAL)?;
        Ok(LinkAddr {
            protocol: u16::from_be_bytes([p, q]),
            ifindex: u32::from_ne_bytes([i, j, k, l]),
            hatype: u16::from_ne_bytes([h, t]),
            kind,
            addr: addr.to_vec(),
        })
    }
}
