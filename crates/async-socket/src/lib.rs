//! Netlink sockets of pernet for programs that speak netlink through the crates `netlink-proto` and `rtnetlink`.
//!
//! Those are generic over their socket, by the trait [`AsyncSocket`] of `netlink-sys`. [`PernetSocket`] is one: the
//! high-level `Handle` of `rtnetlink` then works on a namespace of pernet as it is. No socket of the kernel stands behind
//! it and no system call is made; a request is answered inside the send that carries it. Nor does it need a certain
//! runtime: what waits for a datagram is woken through its [`Waker`](std::task::Waker).
//!
//! ```
//! use pernet::{Cred, Namespaces};
//! use pernet_async_socket::PernetSocket;
//! use pernet_rtnl::{LocalClient, Protocol, Rtnetlink};
//! use pernet_stack::Stack;
//!
//! # fn main() -> anyhow::Result<()> {
//! let system = Namespaces::new();
//! let stack = Stack::register(&system)?;
//! let rtnl = Rtnetlink::new(&system, &stack)?;
//! let root = Cred::root(system.init_user_ns());
//! let blue = system.create(&root)?;
//!
//! let socket = PernetSocket::new(rtnl.open(&blue, Protocol::Route, &root), LocalClient::new(root, 1));
//! let (connection, handle, _messages) = rtnetlink::from_socket(socket);
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! tokio::spawn(connection);
//! let mut links = handle.link().get().match_name("lo").execute();
//! # use futures_util::TryStreamExt;
//! let lo = links.try_next().await?.expect("every namespace has it");
//! assert_eq!(lo.header.index, 1);
//! # Ok(()) })
//! # }
//! ```
//!
//! What `rtnetlink` does by itself before there is a connection (`new_connection`, `new_multicast_connection`) has no
//! namespace to do it in. Its steps are those of the socket: open, [`bind`](PernetSocket::bind) or
//! [`add_membership`](PernetSocket::add_membership), then `rtnetlink::from_socket`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod options;
mod waiting;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BufMut;
use netlink_sys::{AsyncSocket, SocketAddr};
use pernet_rtnl::{Client, Datagram, LocalClient, SockAddr, SockError, Socket};

use waiting::Waiting;

/// The buffer that [`AsyncSocket::poll_recv_from_full`] has: the largest datagram of a dump fits.
const WHOLE: usize = 32_768;

/// A netlink socket of pernet, and the task on whose behalf it is used.
///
/// `C` says what the descriptors and process ids in requests mean. As with a socket of the kernel, of the tasks that wait
/// for a datagram the last one that asked is woken.
pub struct PernetSocket<C = LocalClient> {
    socket: Socket,
    client: C,
    waiting: Arc<Waiting>,
}

impl<C: Client> PernetSocket<C> {
    /// Takes a socket, and with it the place of its readiness callback ([`Socket::on_ready`]).
    pub fn new(socket: Socket, client: C) -> Self {
        let waiting = Arc::new(Waiting::default());
        let woken = Arc::clone(&waiting);
        socket.on_ready(Some(Arc::new(move || woken.wake())));
        Self { socket, client, waiting }
    }

    /// The socket.
    pub const fn get_ref(&self) -> &Socket {
        &self.socket
    }

    /// Who uses it.
    pub const fn client(&self) -> &C {
        &self.client
    }

    /// Who uses it, to be changed: for instance to give another namespace a descriptor.
    pub const fn client_mut(&mut self) -> &mut C {
        &mut self.client
    }

    fn send(&self, datagram: &[u8], to: Option<SockAddr>) -> Poll<io::Result<usize>> {
        // Never pending: the kernel is always there to listen, and of a program that is not nobody would tell us when it
        // is again. That one's `EAGAIN` is handed on.
        Poll::Ready(self.socket.send(datagram, to, &self.client).map_err(error))
    }

    fn receive(&self, cx: &Context<'_>, room: usize) -> Poll<io::Result<Datagram>> {
        // First the waker, then the look: a datagram that comes in between wakes for nothing, none is slept over.
        self.waiting.register(cx.waker());
        match self.socket.recv(room) {
            Ok(Some(datagram)) => Poll::Ready(Ok(datagram)),
            Ok(None) => Poll::Pending,
            Err(refused) => Poll::Ready(Err(error(refused))),
        }
    }

    /// Receives into `buf` as a system call does: what does not fit is lost.
    fn receive_into(&self, cx: &Context<'_>, buf: &mut impl BufMut) -> Poll<io::Result<SocketAddr>> {
        let room = buf.chunk_mut().len();
        self.receive(cx, room).map_ok(|datagram| {
            buf.put_slice(datagram.bytes.get(..room).unwrap_or(&datagram.bytes));
            theirs(datagram.from)
        })
    }
}

/// The methods are those of the sockets that `netlink-sys` has for runtimes, but for three that only a socket of the
/// kernel could have.
impl<C: Client + Unpin> AsyncSocket for PernetSocket<C> {
    /// There is none.
    ///
    /// # Panics
    /// Always. What is wanted from it, this type has under the same names.
    fn socket_ref(&self) -> &netlink_sys::Socket {
        panic!("{NO_DESCRIPTOR}")
    }

    /// There is none.
    ///
    /// # Panics
    /// As [`socket_ref`](Self::socket_ref).
    fn socket_mut(&mut self) -> &mut netlink_sys::Socket {
        panic!("{NO_DESCRIPTOR}")
    }

    /// Always an error, of kind `Unsupported`: a protocol alone does not say in which namespace.
    fn new(_protocol: isize) -> io::Result<Self> {
        let how = "a socket of pernet is opened in a namespace: PernetSocket::new, then rtnetlink::from_socket";
        Err(io::Error::new(io::ErrorKind::Unsupported, how))
    }

    fn poll_send(&self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.send(buf, None)
    }

    fn poll_send_to(&self, _: &mut Context<'_>, buf: &[u8], addr: &SocketAddr) -> Poll<io::Result<usize>> {
        self.send(buf, Some(ours(addr)))
    }

    fn poll_recv<B: BufMut>(&self, cx: &mut Context<'_>, buf: &mut B) -> Poll<io::Result<()>> {
        self.receive_into(cx, buf).map_ok(|_| ())
    }

    fn poll_recv_from<B: BufMut>(&self, cx: &mut Context<'_>, buf: &mut B) -> Poll<io::Result<SocketAddr>> {
        self.receive_into(cx, buf)
    }

    fn poll_recv_from_full(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Vec<u8>, SocketAddr)>> {
        self.receive(cx, WHOLE).map_ok(|datagram| (datagram.bytes, theirs(datagram.from)))
    }
}

const NO_DESCRIPTOR: &str = "no descriptor stands behind a socket of pernet; PernetSocket has the methods itself";

impl<C> std::fmt::Debug for PernetSocket<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PernetSocket").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// The error that the system call would return.
fn error(refused: SockError) -> io::Error {
    io::Error::from_raw_os_error(refused.errno().get())
}

fn ours(addr: &SocketAddr) -> SockAddr {
    SockAddr::new(addr.port_number(), addr.multicast_groups())
}

fn theirs(addr: SockAddr) -> SocketAddr {
    SocketAddr::new(addr.portid, addr.groups)
}
