//! TCP for Rust programs: sockets in a namespace of their own process.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use pernet::NetRef;

use super::ask::TcpReadiness;
use super::info::TcpInfo;
use super::sock::Sock;
use super::state::State;
use super::told::TcpUser;
use super::user::Read;
use crate::dev::Stack;
use crate::errno;
use crate::l4::sock::Caller;
use crate::wait::wait_for;

/// A TCP socket of a namespace, with the calls that Linux has for it. None of them waits; errors are positive errnos, with
/// `EAGAIN` and `EINPROGRESS` for what cannot be done yet.
///
/// This is what [`TcpListener`] and [`TcpStream`] are made of, for those who want options set before a connection, or their
/// own way to wait. Its drop is `close`.
#[derive(Debug)]
pub struct TcpSocket {
    pub(super) sock: Arc<Sock>,
}

fn checked<T>(result: Result<T, i32>) -> io::Result<T> {
    result.map_err(io::Error::from_raw_os_error)
}

impl TcpSocket {
    /// A socket for IPv4.
    #[must_use]
    pub fn new_v4(stack: &Stack, net: &NetRef) -> Self {
        Self { sock: Sock::new(stack, net, false) }
    }

    /// A socket for IPv6, and for IPv4 by mapped addresses.
    #[must_use]
    pub fn new_v6(stack: &Stack, net: &NetRef) -> Self {
        Self { sock: Sock::new(stack, net, true) }
    }

    /// Does something, and lets what was sent arrive.
    fn and_run<R>(&self, result: R) -> R {
        self.sock.stack.run_packets();
        result
    }

    /// Gives it an address; port 0 for one that is free. Low ports are for the `privileged`.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL` if it has one, `EAFNOSUPPORT`.
    pub fn bind(&self, addr: SocketAddr, privileged: bool) -> Result<(), i32> {
        self.sock.bind(addr, privileged)
    }

    /// Asks for a connection.
    ///
    /// # Errors
    /// `EINPROGRESS` at first; when called again, how far it is (`EALREADY`) or how it ended.
    pub fn connect(&self, to: SocketAddr) -> Result<(), i32> {
        let result = self.sock.connect(to);
        self.and_run(result)
    }

    /// Dissolves a connection, with a reset, or an attempt at one.
    ///
    /// # Errors
    /// `ENETDOWN` if the namespace is gone.
    pub fn disconnect(&self) -> Result<(), i32> {
        let result = self.sock.disconnect();
        self.and_run(result)
    }

    /// Waits for connections, of which at most `backlog` and one wait to be accepted.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EINVAL` if it has a connection.
    pub fn listen(&self, backlog: i32) -> Result<(), i32> {
        self.sock.listen(backlog)
    }

    /// The next connection, and who it is with.
    ///
    /// # Errors
    /// `EAGAIN`, `EINVAL` if it does not listen.
    pub fn accept(&self) -> Result<(Self, SocketAddr), i32> {
        let (sock, peer) = self.sock.accept()?;
        Ok((Self { sock }, peer))
    }

    /// Takes bytes to be sent; says how many.
    ///
    /// # Errors
    /// `EAGAIN` if there is no room, `EPIPE`, and what became of the connection.
    pub fn send(&self, bytes: &[u8]) -> Result<usize, i32> {
        let result = self.sock.send_in_bulk(bytes);
        self.and_run(result)
    }

    /// As [`send`](Self::send), and the last byte is urgent (`MSG_OOB`).
    ///
    /// # Errors
    /// As there.
    pub fn send_urgent(&self, bytes: &[u8]) -> Result<usize, i32> {
        let result = self.sock.send(bytes, true);
        self.and_run(result)
    }

    /// Takes bytes that came; says how many, none at the end.
    ///
    /// # Errors
    /// `EAGAIN` if there are none, and what became of the connection.
    pub fn recv(&self, into: &mut [u8]) -> Result<usize, i32> {
        let result = self.sock.recv(into, Read::default());
        self.and_run(result)
    }

    /// Copies bytes that came, and leaves them.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn peek(&self, into: &mut [u8]) -> Result<usize, i32> {
        self.sock.recv(into, Read { peek: true, urgent: false })
    }

    /// Takes the urgent byte (`MSG_OOB`).
    ///
    /// # Errors
    /// `EINVAL` if there is none, or it was announced and will not come; `EAGAIN` if it was announced only.
    pub fn recv_urgent(&self) -> Result<u8, i32> {
        let mut byte = [0];
        match self.sock.recv(&mut byte, Read { peek: false, urgent: true })? {
            0 => Err(errno::EINVAL),
            _ => Ok(byte[0]),
        }
    }

    /// What the program's descriptor is known by (`ss -e`, `/proc/net/tcp`).
    pub fn set_inode(&self, inode: u64) {
        self.sock.set_inode(inode);
    }

    /// Whom to tell of changes, and to ask, by the socket's [inode number](Self::set_inode); instead of
    /// [a callback](Self::on_ready).
    pub fn set_user(&self, user: Option<Weak<dyn TcpUser>>) {
        self.sock.set_user(user);
    }

    /// Of a listener: this many connections were [accepted](Self::accept) on behalf of a program that has not asked for
    /// them yet. They count as waiting.
    pub fn set_taken(&self, taken: usize) {
        self.sock.set_taken(taken);
    }

    /// How a connection that was asked for has come out; `None` if that is not known yet. As another
    /// [`connect`](Self::connect) would say, but never asks for one.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<(), i32>> {
        self.sock.outcome()
    }

    /// Is it as if it had never asked for a connection? So it is when it was told how an attempt failed, too.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.sock.is_fresh()
    }

    /// Is the next byte to be read the urgent one (`SIOCATMARK`)?
    #[must_use]
    pub fn at_mark(&self) -> bool {
        self.sock.at_mark()
    }

    /// Nothing more goes this way.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn shutdown(&self, how: Shutdown) -> Result<(), i32> {
        let (read, write) = (how != Shutdown::Write, how != Shutdown::Read);
        let result = self.sock.shutdown(read, write);
        self.and_run(result)
    }

    /// Ends the connection with a reset.
    pub fn abort(&self) {
        self.sock.abort();
        self.and_run(());
    }

    /// What can be done without waiting.
    #[must_use]
    pub fn readiness(&self) -> TcpReadiness {
        self.sock.readiness()
    }

    /// Calls `ready` whenever that may have changed, from whatever thread changed it, with no lock held: it may use the
    /// socket, and should be short.
    pub fn on_ready(&self, ready: Option<Arc<dyn Fn() + Send + Sync>>) {
        self.sock.on_ready(ready);
    }

    /// Takes the pending error (`SO_ERROR`); 0 if there is none.
    #[must_use]
    pub fn take_error(&self) -> i32 {
        self.sock.take_error()
    }

    /// Its own address; `None` if it has none yet.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.sock.local_addr()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_addr(&self) -> Result<SocketAddr, i32> {
        self.sock.peer_addr()
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.sock.state()
    }

    /// Bytes that can be read.
    #[must_use]
    pub fn received(&self) -> usize {
        self.sock.received()
    }

    /// Bytes that the peer has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.sock.unacknowledged()
    }

    /// What Linux tells of a connection.
    #[must_use]
    pub fn info(&self) -> TcpInfo {
        self.sock.info()
    }

    /// Sets an option of the level `IPPROTO_TCP`, in the layout of Linux.
    ///
    /// # Errors
    /// `EINVAL`, `ENOENT`, `ENOPROTOOPT`.
    pub fn set_tcp_option(&self, option: i32, value: &[u8]) -> Result<(), i32> {
        self.sock.set_option(option, value)
    }

    /// An option of the level `IPPROTO_TCP`.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    pub fn tcp_option(&self, option: i32) -> Result<Vec<u8>, i32> {
        self.sock.option(option)
    }

    /// Addresses may be used again although connections are left of those who had them (`SO_REUSEADDR`).
    pub fn set_reuse_address(&self, on: bool) {
        self.sock.set_options(|options| options.reuse_addr = on);
        self.sock.sharing_changed();
    }

    /// Several listen, and connections are spread among them (`SO_REUSEPORT`).
    pub fn set_reuse_port(&self, on: bool) {
        self.sock.set_options(|options| options.reuse_port = on);
        self.sock.sharing_changed();
    }

    /// No IPv4 (`IPV6_V6ONLY`).
    pub fn set_only_v6(&self, on: bool) {
        self.sock.set_options(|options| options.v6_only = on);
    }

    /// What `close` does with bytes that were not sent: with zero, a reset (`SO_LINGER`).
    pub fn set_linger(&self, seconds: Option<u32>) {
        self.sock.set_options(|options| options.linger = seconds);
    }

    /// Asks from time to time whether an idle peer is still there (`SO_KEEPALIVE`).
    pub fn set_keepalive(&self, on: bool) {
        self.sock.set_keepalive(on);
    }

    /// Urgent bytes stay in the stream (`SO_OOBINLINE`).
    pub fn set_urgent_inline(&self, on: bool) {
        self.sock.set_options(|options| options.oob_inline = on);
    }

    /// Leaves by the device with this index only, and hears what came in by it (`SO_BINDTODEVICE`).
    pub fn set_device(&self, ifindex: u32) {
        self.sock.set_options(|options| options.device = ifindex);
        self.sock.sharing_changed();
    }

    /// Whose it is, by number (`SO_REUSEPORT` shares with one's own).
    pub fn set_owner(&self, uid: u32) {
        self.sock.set_owner(uid);
    }

    /// Asks `knock`, with no lock held, before a listener answers a request for a connection: `false` says that nobody is
    /// there any more.
    pub fn on_knock(&self, knock: Option<Arc<dyn Fn() -> bool + Send + Sync>>) {
        self.sock.on_knock(knock);
    }

    /// Bytes that there is room for.
    #[must_use]
    pub fn send_room(&self) -> usize {
        self.sock.send_room()
    }

    /// Who the connection is or was with.
    #[must_use]
    pub fn last_peer(&self) -> Option<SocketAddr> {
        self.sock.last_peer()
    }

    /// Marks its packets (`SO_MARK`).
    pub fn set_mark(&self, mark: u32) {
        self.sock.set_options(|options| options.mark = mark);
    }

    /// The mark of its packets.
    #[must_use]
    pub fn mark(&self) -> u32 {
        self.sock.options(|options| options.mark)
    }

    /// The device that it is bound to, 0 for none.
    #[must_use]
    pub fn device(&self) -> u32 {
        self.sock.options(|options| options.device)
    }

    /// Whether it listens with others.
    #[must_use]
    pub fn reuse_port(&self) -> bool {
        self.sock.options(|options| options.reuse_port)
    }

    /// Sets an option of the levels `IPPROTO_IP` and `IPPROTO_IPV6`.
    ///
    /// # Errors
    /// As Linux gives them.
    pub fn set_ip_option(&self, caller: &dyn Caller, level: i32, option: i32, value: &[u8]) -> Result<(), i32> {
        self.sock.set_ip_option(caller, level, option, value)
    }

    /// An option of those levels, for so much `room`.
    ///
    /// # Errors
    /// As Linux gives them.
    pub fn ip_option(&self, level: i32, option: i32, room: usize) -> Result<Vec<u8>, i32> {
        self.sock.ip_option(level, option, room)
    }

    /// The priority of its packets (`SO_PRIORITY`).
    pub fn set_priority(&self, priority: u32) {
        self.sock.set_options(|options| options.priority = priority);
    }

    /// That priority.
    #[must_use]
    pub fn priority(&self) -> u32 {
        self.sock.options(|options| options.priority)
    }

    /// Waits until `f` says something else than `EAGAIN` or `EINPROGRESS`, and runs the stack meanwhile: it needs no other
    /// thread for that.
    fn wait<R>(&self, mut f: impl FnMut() -> Result<R, i32>) -> Result<R, i32> {
        let mut ask = || match self.and_run(f()) {
            Err(errno::EAGAIN | errno::EINPROGRESS | errno::EALREADY) => None,
            other => Some(other),
        };
        // Without a deadline there is always an answer.
        wait_for(&self.sock.stack, None, |waker| self.sock.register(waker), &mut ask).unwrap_or(Err(errno::EAGAIN))
    }

    /// Asks again when something has changed.
    fn poll<R>(&self, cx: &mut Context<'_>, mut f: impl FnMut() -> Result<R, i32>) -> Poll<Result<R, i32>> {
        // Before it is asked: what comes in between wakes.
        self.sock.register(cx.waker());
        let result = f();
        self.sock.stack.run_packets();
        match result {
            Err(errno::EAGAIN | errno::EINPROGRESS | errno::EALREADY) => Poll::Pending,
            other => Poll::Ready(other),
        }
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        self.sock.close();
        self.sock.stack.run_packets();
    }
}

/// Connections that come to an address of a namespace.
///
/// ```
/// # use pernet::Namespaces;
/// # use pernet_stack::{Stack, TcpListener};
/// let namespaces = Namespaces::new();
/// let stack = Stack::register(&namespaces).unwrap();
/// let net = namespaces.init_net();
/// let listener = TcpListener::bind(&stack, &net, "0.0.0.0:8080".parse().unwrap()).unwrap();
/// assert_eq!(listener.local_addr().unwrap().port(), 8080);
/// assert!(TcpListener::bind(&stack, &net, "0.0.0.0:8080".parse().unwrap()).is_err());
/// ```
#[derive(Debug)]
pub struct TcpListener(TcpSocket);

impl TcpListener {
    /// Listens at an address; port 0 for one that is free.
    ///
    /// # Errors
    /// As [`TcpSocket::bind`] and [`TcpSocket::listen`].
    pub fn bind(stack: &Stack, net: &NetRef, addr: SocketAddr) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4(stack, net) } else { TcpSocket::new_v6(stack, net) };
        socket.set_reuse_address(true);
        checked(socket.bind(addr, true))?;
        checked(socket.listen(128))?;
        Ok(Self(socket))
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// As [`TcpSocket::accept`].
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, peer) = checked(self.0.wait(|| self.0.accept()))?;
        Ok((TcpStream(socket), peer))
    }

    /// The next connection, for an async task.
    ///
    /// # Errors
    /// As [`TcpSocket::accept`].
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.0.poll(cx, || self.0.accept()).map(|r| checked(r).map(|(socket, peer)| (TcpStream(socket), peer)))
    }

    /// The next connection, awaited. Somebody must run the stack meanwhile.
    ///
    /// # Errors
    /// As [`TcpSocket::accept`].
    pub async fn accept_async(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Where it listens.
    ///
    /// # Errors
    /// None as long as it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        checked(self.0.local_addr().ok_or(errno::EINVAL))
    }

    /// The socket, for what it can do besides.
    #[must_use]
    pub const fn socket(&self) -> &TcpSocket {
        &self.0
    }
}

/// A connection of a namespace.
///
/// It reads and writes as those of [`std::net`], and runs the stack while it waits; or it is polled by async tasks, while
/// somebody runs the stack: [`Stack::drive`] does.
#[derive(Debug)]
pub struct TcpStream(TcpSocket);

impl TcpStream {
    /// Connects to an address.
    ///
    /// # Errors
    /// What became of the attempt: `ECONNREFUSED`, `EHOSTUNREACH`, `ETIMEDOUT`, …
    pub fn connect(stack: &Stack, net: &NetRef, to: SocketAddr) -> io::Result<Self> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4(stack, net) } else { TcpSocket::new_v6(stack, net) };
        Self::connect_socket(socket, to)
    }

    /// Connects a socket that was prepared.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_socket(socket: TcpSocket, to: SocketAddr) -> io::Result<Self> {
        checked(socket.wait(|| socket.connect(to)))?;
        Ok(Self(socket))
    }

    /// Connects to an address, awaited. Somebody must run the stack meanwhile.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_async(stack: &Stack, net: &NetRef, to: SocketAddr) -> io::Result<Self> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4(stack, net) } else { TcpSocket::new_v6(stack, net) };
        checked(poll_fn(|cx| socket.poll(cx, || socket.connect(to))).await)?;
        Ok(Self(socket))
    }

    /// Reads for an async task.
    ///
    /// # Errors
    /// As [`TcpSocket::recv`].
    pub fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll(cx, || self.0.recv(into)).map(checked)
    }

    /// Writes for an async task.
    ///
    /// # Errors
    /// As [`TcpSocket::send`].
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(cx, || self.0.send(bytes)).map(checked)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        checked(self.0.peer_addr())
    }

    /// Its own address.
    ///
    /// # Errors
    /// None as long as it is connected.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        checked(self.0.local_addr().ok_or(errno::ENOTCONN))
    }

    /// Nothing more goes this way.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        checked(self.0.shutdown(how))
    }

    /// The socket, for what it can do besides.
    #[must_use]
    pub const fn socket(&self) -> &TcpSocket {
        &self.0
    }
}

impl io::Read for &TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        checked(self.0.wait(|| self.0.recv(into)))
    }
}

impl io::Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        checked(self.0.wait(|| self.0.send(bytes)))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Read for TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self).read(into)
    }
}

impl io::Write for TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
