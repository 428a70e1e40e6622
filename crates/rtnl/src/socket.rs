//! The socket as a program sees it.

use std::sync::atomic::Ordering::*;
use std::sync::{Arc, OnceLock};

use pernet::{Cap, Cred, Namespaces, Net, NetRef, RegisterError};
use pernet_stack::Stack;

use crate::bus::{Bus, BusSubsystem, Multicast, NetBus, listens_all};
use crate::endpoint::{Endpoint, flag, lock};
use crate::error::SockError;
use crate::notify::Notifier;
use crate::peer::{Client, UnixEntry};
use crate::protocols::Protocol;
use crate::queue::{Bytes, Queued};
use crate::{dispatch, dump};

/// `struct sockaddr_nl`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SockAddr {
    /// `nl_pid`: 0 is the kernel.
    pub portid: u32,
    /// `nl_groups`: bit g-1 for group g, groups beyond 32 cannot be said.
    pub groups: u32,
}

impl SockAddr {
    /// The kernel, by unicast.
    pub const KERNEL: Self = Self { portid: 0, groups: 0 };

    /// An address.
    pub const fn new(portid: u32, groups: u32) -> Self {
        Self { portid, groups }
    }

    /// The bit of a group, 0 for one beyond 32.
    pub(crate) const fn mask(group: u32) -> u32 {
        if group >= 1 && group <= 32 { 1 << (group - 1) } else { 0 }
    }

    /// The group a message to this address goes to: the lowest, as in Linux; 0 for none.
    const fn group(self) -> u32 {
        if self.groups == 0 { 0 } else { self.groups.trailing_zeros() + 1 }
    }
}

/// What a receive returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The messages.
    pub bytes: Vec<u8>,
    /// The sender: port 0 is the kernel; for a multicast the bit of the group.
    pub from: SockAddr,
    /// Ancillary data (270, `NETLINK_LISTEN_ALL_NSID`): what the receiver's namespace calls the origin. Only with that
    /// option, and only for messages from elsewhere.
    pub origin_nsid: Option<i32>,
    /// Ancillary data (270, `NETLINK_PKTINFO`): the group, 0 for unicast. Only with that option.
    pub pktinfo_group: Option<u32>,
}

/// What all sockets of a system share.
pub(crate) struct Shared {
    pub(crate) bus: Arc<Bus>,
    pub(crate) stack: Stack,
    unix: OnceLock<UnixSockets>,
}

/// Says which AF_UNIX sockets a namespace has.
pub type UnixSockets = Arc<dyn Fn(&NetRef) -> Vec<UnixEntry> + Send + Sync>;

impl Shared {
    pub(crate) fn unix_sockets(&self, net: &NetRef) -> Vec<UnixEntry> {
        self.unix.get().map_or_else(Vec::new, |sockets| sockets(net))
    }
}

/// The netlink of one emulated system. Cheap to clone.
#[derive(Clone)]
pub struct Rtnetlink {
    shared: Arc<Shared>,
}

impl Rtnetlink {
    /// Registers the netlink bus with every namespace of `ns`, present and future, and subscribes to its events.
    ///
    /// # Errors
    /// Those of [`Namespaces::register_subsys`].
    pub fn new(ns: &Namespaces, stack: &Stack) -> Result<Self, RegisterError> {
        let bus = Arc::new(Bus::new());
        bus.set_key(ns.register_subsys(BusSubsystem)?);
        let notifier = Arc::new(Notifier { bus: bus.clone() });
        ns.subscribe(notifier.clone());
        stack.set_notice_sink(notifier);
        Ok(Self { shared: Arc::new(Shared { bus, stack: stack.clone(), unix: OnceLock::new() }) })
    }

    /// Asks `sockets` for AF_UNIX sockets from now on, when somebody lists those of a namespace. It is asked with no lock
    /// held but that of the asking socket's listing. The first one who is named stays.
    pub fn list_unix(&self, sockets: UnixSockets) {
        let _ = self.shared.unix.set(sockets);
    }

    /// The bound sockets of `net`, by protocol and port. Kernel sockets are not among them.
    pub fn sockets(&self, net: &Net) -> Vec<SocketInfo> {
        let Some(bus) = self.shared.bus.of(net) else {
            return Vec::new();
        };
        let info = |ep: Arc<Endpoint>| {
            let (receive_queue, drops) = ep.queue().usage();
            SocketInfo {
                protocol: ep.protocol,
                addr: ep.addr(),
                receive_queue,
                drops,
                dumping: ep.dumping.load(Acquire),
                inode: ep.inode.load(Relaxed),
            }
        };
        bus.bound().into_iter().map(info).collect()
    }

    /// Opens a socket in `net`, as `socket(AF_NETLINK, SOCK_RAW, protocol)` does. The credentials of the opener stay
    /// with it: most permissions need both them and the sender's.
    pub fn open(&self, net: &NetRef, protocol: Protocol, opener: &Cred) -> Socket {
        Socket { net: net.clone(), ep: Arc::new(Endpoint::new(protocol, opener.clone())), shared: self.shared.clone() }
    }
}

/// A bound socket as `/proc/net/netlink` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketInfo {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port, and the groups that fit in 32 bits.
    pub addr: SockAddr,
    /// Bytes charged to the receive queue.
    pub receive_queue: usize,
    /// Datagrams lost because the queue was full.
    pub drops: u32,
    /// Whether a dump has datagrams to come.
    pub dumping: bool,
    /// What programs know it by; 0 in this process.
    pub inode: u64,
}

/// A netlink socket. It holds its namespace; dropping it closes it and frees its port.
pub struct Socket {
    pub(crate) net: NetRef,
    pub(crate) ep: Arc<Endpoint>,
    pub(crate) shared: Arc<Shared>,
}

impl Socket {
    /// The namespace it was opened in.
    pub fn net(&self) -> &NetRef {
        &self.net
    }

    /// Its protocol.
    pub fn protocol(&self) -> Protocol {
        self.ep.protocol
    }

    /// Says by which inode number programs know the file that stands for it.
    pub fn set_inode(&self, inode: u64) {
        self.ep.inode.store(inode, Relaxed);
    }

    /// Binds to a port and replaces the memberships of groups 1 to 32 by those of `addr`. Port 0 asks for one: the
    /// client's thread group id if that is free, else a random number from 0x80000000 to 0xFFFFEFFF.
    ///
    /// # Errors
    /// [`SockError::NotPermitted`] for groups that need a capability, [`SockError::AlreadyBound`] when bound to another
    /// port (0 counts as another), [`SockError::PortTaken`].
    pub fn bind(&self, addr: SockAddr, client: &dyn Client) -> Result<(), SockError> {
        let protocol = self.ep.protocol;
        let permitted = || client.cred().capable(self.net.owner(), Cap::NetAdmin);
        if addr.groups != 0 && !protocol.anyone_joins() && !permitted() {
            return Err(SockError::NotPermitted);
        }
        if addr.groups != 0 {
            self.ep.grouped.store(true, Relaxed);
        }
        if self.ep.bound() && addr.portid != self.ep.portid() {
            return Err(SockError::AlreadyBound);
        }
        let restricted = (1..=32).any(|g| addr.groups & SockAddr::mask(g) != 0 && protocol.restricted_group(g));
        if restricted && !permitted() {
            return Err(SockError::NotPermitted);
        }
        let Some(bus) = self.bus() else { return Ok(()) };
        if !self.ep.bound() {
            match addr.portid {
                0 => bus.autobind(&self.ep, client.tgid()),
                portid => bus.bind(&self.ep, portid)?,
            }
        }
        let known = u32::try_from((1u64 << protocol.groups().min(32)) - 1).unwrap_or(u32::MAX);
        bus.set_groups(&self.ep, |groups| (groups & !u64::from(u32::MAX)) | u64::from(addr.groups & known));
        Ok(())
    }

    /// Its own address (`getsockname`): port 0 while unbound, and the groups that fit in 32 bits.
    pub fn local_addr(&self) -> SockAddr {
        self.ep.addr()
    }

    /// Sets the default destination. Binds the socket if it is not.
    ///
    /// # Errors
    /// [`SockError::NotPermitted`] for a destination other than the kernel without CAP_NET_ADMIN.
    pub fn connect(&self, addr: SockAddr, client: &dyn Client) -> Result<(), SockError> {
        self.may_send_to(addr, client)?;
        self.ensure_bound(client);
        *lock(&self.ep.dest) = SockAddr { portid: addr.portid, groups: SockAddr::mask(addr.group()) };
        Ok(())
    }

    /// The default destination (`getpeername`): the kernel unless connected elsewhere.
    pub fn peer_addr(&self) -> SockAddr {
        *lock(&self.ep.dest)
    }

    /// Sends a datagram and, if it is for the kernel, processes it before returning: answers are then in the receive
    /// queue, events in the queues of their listeners. A group gets it first, then the port. Returns its length.
    ///
    /// An explicit `dest` waives the opener's half of the check that non-GET requests are subject to; it is part of the
    /// ABI.
    ///
    /// # Errors
    /// [`SockError::Empty`], [`SockError::NotPermitted`] (ports and groups need CAP_NET_ADMIN),
    /// [`SockError::TooLarge`], [`SockError::NoListener`], [`SockError::WouldBlock`] (another program's queue is full).
    pub fn send(&self, datagram: &[u8], dest: Option<SockAddr>, client: &dyn Client) -> Result<usize, SockError> {
        if datagram.is_empty() {
            return Err(SockError::Empty);
        }
        let to = match dest {
            Some(addr) => {
                self.may_send_to(addr, client)?;
                addr
            }
            None => self.peer_addr(),
        };
        self.ensure_bound(client);
        if datagram.len() > self.ep.send_buffer.load(Relaxed).saturating_sub(32) {
            return Err(SockError::TooLarge);
        }
        let protocol = self.ep.protocol;
        if to.groups != 0 {
            self.shared.bus.multicast(
                &self.net,
                &Multicast {
                    protocol,
                    group: to.group(),
                    bytes: datagram,
                    from: self.ep.portid(),
                    exclude_port: to.portid,
                    exclude: Some(&self.ep),
                },
            );
        }
        if to.portid != 0 {
            self.unicast(datagram, to)?;
        } else if protocol == Protocol::Usersock {
            return Err(SockError::NoListener);
        } else {
            dispatch::receive(datagram, &self.ep, &self.net, &self.shared, client, dest.is_some());
        }
        Ok(datagram.len())
    }

    /// Takes the next datagram, whole, whatever `max` is; `None` when there is none. `max` is the size of the caller's
    /// buffer: the largest seen sets the size of the datagrams of later dumps, and of this one's later datagrams. A dump
    /// under way is continued once the queue is at most half full.
    ///
    /// # Errors
    /// [`SockError::NoBufs`] once after datagrams were dropped; those queued before the gap follow.
    pub fn recv(&self, max: usize) -> Result<Option<Datagram>, SockError> {
        let item = {
            let mut queue = self.ep.queue();
            if queue.take_overrun() {
                return Err(SockError::NoBufs);
            }
            queue.pop()
        };
        let Some(item) = item else { return Ok(None) };
        self.ep.largest_recv.fetch_max(max, Relaxed);
        dump::go_on(&self.ep, &self.net, &self.shared);
        Ok(Some(Datagram {
            bytes: item.bytes.into_vec(),
            from: item.from,
            origin_nsid: item.origin_nsid.filter(|_| listens_all(&self.ep)),
            pktinfo_group: self.ep.has(flag::PKTINFO).then_some(item.group),
        }))
    }

    /// Whether [`recv`](Self::recv) would return something, an error included.
    pub fn readable(&self) -> bool {
        self.ep.queue().readable()
    }

    /// Takes the pending error without a datagram (`SO_ERROR`).
    pub fn take_error(&self) -> Option<SockError> {
        self.ep.queue().take_overrun().then_some(SockError::NoBufs)
    }

    /// Whether a dump has datagrams to come.
    pub fn dump_running(&self) -> bool {
        self.ep.dumping.load(Acquire)
    }

    /// Whether it ever joined a multicast group: then its queue may overrun without a request of its own.
    pub fn is_subscribed(&self) -> bool {
        self.ep.grouped.load(Relaxed)
    }

    /// Sets what is called after something was queued (also by threads of others, also when an error became pending).
    ///
    /// The callback may set a flag, wake a thread or write to an eventfd. It must not call back into this crate or into
    /// `pernet`: events are queued inside the core's critical section for the observer's table, and the callback runs
    /// there too. No lock of this crate is held meanwhile.
    pub fn on_ready(&self, f: Option<Arc<dyn Fn() + Send + Sync>>) {
        self.ep.set_on_ready(f);
    }

    /// Sets the receive buffer, in bytes as the kernel counts them (`SO_RCVBUF` doubles what a program asks for, and
    /// never goes below 2304; both are the caller's business). 212,992 to begin with.
    pub fn set_receive_buffer(&self, bytes: usize) {
        self.ep.queue().set_limit(bytes);
    }

    /// Sets the send buffer; a datagram may have 32 bytes less. 212,992 to begin with.
    pub fn set_send_buffer(&self, bytes: usize) {
        self.ep.send_buffer.store(bytes, Relaxed);
    }

    /// Both, to receive and to send.
    pub fn buffers(&self) -> (usize, usize) {
        (self.ep.queue().limit(), self.ep.send_buffer.load(Relaxed))
    }

    pub(crate) fn bus(&self) -> Option<&NetBus> {
        self.shared.bus.of(&self.net)
    }

    fn may_send_to(&self, addr: SockAddr, client: &dyn Client) -> Result<(), SockError> {
        let kernel = addr == SockAddr::KERNEL;
        if kernel || self.ep.protocol.anyone_sends() || client.cred().capable(self.net.owner(), Cap::NetAdmin) {
            Ok(())
        } else {
            Err(SockError::NotPermitted)
        }
    }

    fn ensure_bound(&self, client: &dyn Client) {
        if !self.ep.bound()
            && let Some(bus) = self.bus()
        {
            bus.autobind(&self.ep, client.tgid());
        }
    }

    fn unicast(&self, datagram: &[u8], to: SockAddr) -> Result<(), SockError> {
        let receiver = self.bus().and_then(|bus| bus.by_port(self.ep.protocol, to.portid));
        let receiver = receiver.ok_or(SockError::NoListener)?;
        let from = SockAddr { portid: self.ep.portid(), groups: SockAddr::mask(to.group()) };
        let item = Queued { bytes: Bytes::Own(datagram.to_vec()), from, group: to.group(), origin_nsid: None };
        // Between programs a full queue is the sender's problem: no overrun.
        receiver.queue().push(item).map_err(|_| SockError::WouldBlock)?;
        receiver.wake();
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.ep.set_on_ready(None);
        if listens_all(&self.ep) {
            self.shared.bus.listen_all(&self.net, &self.ep, false);
        }
        if let Some(bus) = self.bus() {
            bus.remove(&self.ep);
        }
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket")
            .field("protocol", &self.ep.protocol)
            .field("local", &self.local_addr())
            .field("dumping", &self.dump_running())
            .finish_non_exhaustive()
    }
}
