//! Packet sockets: frames of devices, as they are (`net/packet/af_packet.c`).
//!
//! Here is what they hear; [`send`] is the other way, [`options`] what programs set, [`ring`] and [`block`] the memory that a
//! program may share with its socket.

mod block;
mod diag;
mod fanout;
mod options;
mod ring;
mod send;
mod table;
mod times;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pernet::NetRef;

use super::cmsg::{ControlMessage, wall};
use super::filter::{Filter, FilterInstruction, Seen};
use super::options::int;
use super::queue::{Charge, DEFAULT_BUFFER, Elsewhere, Errors, truesize};
use super::sock::{Caller, OnReady};
use super::sockopt::common::set_buffer;
use super::times::Times;
use super::user::SocketError;
use crate::dev::{Link, Stack};
use crate::errno;
use crate::l2::{Checksum, Cx, Frame, PacketType, Work, work_at};
pub use diag::{PacketEntry, PacketMember};
use fanout::{Group, Rolled};
use options::{PACKET_AUXDATA, watch};
pub use ring::RingMemory;
use ring::{LOSING, Receiver, Rings, Slot};
pub(crate) use table::{Packets, device_gone, tap, watched};

/// Frames of every protocol.
const ETH_P_ALL: u16 = 3;
const ETH_P_IPV6: u16 = 0x86dd;
const ETHERNET_HEADER: usize = 14;
const SOL_PACKET: i32 = 263;
/// What is said of a frame: that its checksum is not computed yet, that it bears a tag, and that the tag's type is known.
const CSUM_NOT_READY: u32 = 8;
const VLAN_VALID: u32 = 0x10 | 0x40;

/// A link-layer address as programs have it (`struct sockaddr_ll`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkAddr {
    /// `ETH_P_*`, 0 for none.
    pub protocol: u16,
    /// Index of the device, 0 for any.
    pub ifindex: u32,
    /// `ARPHRD_*`.
    pub hatype: u16,
    /// `PACKET_*`: whom it was for.
    pub kind: u8,
    /// The address.
    pub addr: Vec<u8>,
}

/// A frame that was received.
#[derive(Clone, Debug)]
pub struct PacketFrame {
    /// From the link-layer header on, or, of cooked sockets, from the network header on; as much as the filter lets through.
    pub bytes: Vec<u8>,
    /// How long it was.
    pub len: usize,
    /// Where the network header is in it.
    pub network: usize,
    /// Who sent it, and how it came.
    pub from: LinkAddr,
    /// When it came, on the stack's clock.
    pub at: Duration,
    /// The transport's checksum is not computed yet.
    pub checksum_open: bool,
    /// The tag that it bears, and that tag's Ethernet type.
    pub tag: Option<(u16, u16)>,
    /// Memory that Linux would have for it.
    pub memory: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Membership {
    ifindex: u32,
    kind: u16,
    addr: Vec<u8>,
}

#[derive(Debug)]
struct State {
    protocol: u16,
    ifindex: u32,
    /// The device that it was bound to is gone, or down.
    error: Option<i32>,
    queue: VecDeque<PacketFrame>,
    charge: Charge,
    rcvbuf: usize,
    sndbuf: usize,
    /// Since the last look: those that came, and of these those there was no room for.
    seen: u32,
    drops: u32,
    members: Vec<Membership>,
    /// Options that are numbers, by name; 0 unless they were set.
    numbers: BTreeMap<i32, i32>,
    ignore_outgoing: bool,
    rings: Rings,
    /// Somebody will come to give a block away whose time is over.
    awaited: bool,
    filter: Option<Filter>,
    /// Those with whom it shares what it hears; which of them took what it had no room for, and how often.
    group: Option<Arc<Group>>,
    rolled: Rolled,
    rolled_to: usize,
    /// What times it is told, and those of what it sent.
    times: Times,
    errors: Errors,
    closed: bool,
}

/// How a frame comes to a socket.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    outgoing: bool,
    /// By its group, which has judged whose it is.
    grouped: bool,
}

/// Such a socket, as its namespace knows it.
pub(crate) struct PacketSock {
    stack: Stack,
    net: NetRef,
    /// Without the link-layer header (`SOCK_DGRAM`).
    cooked: bool,
    /// Of this process alone: frames say by it who sent them.
    id: u64,
    /// Who made it, and what programs know it by.
    uid: u32,
    inode: AtomicU64,
    /// It has a protocol. Changed before the socket is placed anew, under whose lock it is read.
    listens: AtomicBool,
    /// Before the table's and before rtnl.
    state: Mutex<State>,
    /// A leaf lock: read to copy the handle.
    ready: Mutex<Option<OnReady>>,
    /// Asked for the memory of what waits outside of the stack to be received.
    outside: Elsewhere,
}

impl std::fmt::Debug for PacketSock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketSock").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PacketSock {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cx(&self) -> Option<Cx<'_>> {
        Cx::new(&self.stack, &self.net)
    }

    fn wake(&self) {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(ready) = ready {
            ready();
        }
    }

    fn take(self: &Arc<Self>, cx: Cx<'_>, link: &Link, frame: &Frame, arrival: Arrival) {
        let Arrival { outgoing, grouped } = arrival;
        let mut state = self.lock();
        let wanted = match state.protocol {
            // One's own frames are known to oneself.
            ETH_P_ALL => !outgoing || grouped || (frame.sender != self.id && !state.ignore_outgoing),
            0 => false,
            protocol => !outgoing && protocol == frame.protocol,
        };
        if !wanted || state.closed {
            return;
        }
        frame.trail.spoil();
        let mut whole = frame.clone();
        whole.pull_back_to_mac();
        let (mac, header) = (whole.data(), frame.mac_header().len());
        let kind = if outgoing { PacketType::Outgoing } else { frame.kind };
        let from = LinkAddr {
            protocol: frame.protocol,
            ifindex: link.index(),
            hatype: link.class().arp_type,
            kind: kind as u8,
            addr: mac.get(6..12).filter(|_| header == ETHERNET_HEADER).unwrap_or_default().to_vec(),
        };
        let data = if self.cooked { mac.get(header..).unwrap_or_default() } else { mac };
        let mut len = data.len();
        if let Some(filter) = &state.filter {
            let seen = Seen {
                data,
                link: mac,
                network: header,
                protocol: frame.protocol,
                kind: kind as u8,
                ifindex: link.index(),
                mark: frame.mark,
                hatype: from.hatype,
            };
            len = len.min(filter.run(&seen) as usize);
            if len == 0 {
                return;
            }
        }
        let vnet = if state.vnet() == 0 { None } else { Some(send::vnet_header(frame, header)) };
        let taken = PacketFrame {
            bytes: [vnet.as_ref().map_or(&[][..], |vnet| vnet), &data[..len]].concat(),
            len: data.len() + state.vnet(),
            network: if self.cooked { 0 } else { header },
            from,
            at: cx.now(),
            checksum_open: matches!(frame.checksum, Checksum::Partial { .. }),
            tag: frame.tag.map(|tag| (tag.tci, tag.protocol)),
            memory: truesize(mac.len() - header.min(mac.len()), frame.protocol == ETH_P_IPV6),
        };
        state.seen = state.seen.wrapping_add(1);
        if state.rings.rx.is_some() {
            self.take_into_ring(cx, state, &taken);
        } else {
            if state.charge.doubts(taken.memory, state.rcvbuf, false) {
                drop(state);
                let outside = self.outside.ask();
                state = self.lock();
                state.charge.learn(outside);
            }
            let limit = state.rcvbuf;
            if !state.charge.charge(taken.memory, limit, false) {
                state.drops = state.drops.wrapping_add(1);
                return;
            }
            state.queue.push_back(taken);
            drop(state);
        }
        self.wake();
    }

    fn take_into_ring(self: &Arc<Self>, cx: Cx<'_>, mut state: MutexGuard<'_, State>, frame: &PacketFrame) {
        let vnet = state.vnet();
        let link = (!self.cooked).then_some(frame.network);
        let at = state.rings.version.offsets(link, state.rings.reserve as usize, vnet);
        let (before, data) = frame.bytes.split_at(vnet.min(frame.bytes.len()));
        let slot = Slot {
            parts: [before, data],
            len: frame.len - vnet,
            at,
            status: frame.status() | if state.drops == 0 { 0 } else { LOSING },
            time: wall(cx, frame.at),
            name: frame.from.to_bytes(),
            tag: frame.tag.unwrap_or_default(),
            hash: 0,
        };
        let rings = &mut state.rings;
        let (Some(rx), Some(memory)) = (&mut rings.rx, &rings.memory) else { return };
        let fits = rx.put(memory.as_ref(), &slot, frame.at);
        let deadline = if let Receiver::Blocks(blocks) = rx { blocks.deadline() } else { None };
        if !fits {
            state.drops = state.drops.wrapping_add(1);
        }
        if let Some(deadline) = deadline.filter(|_| !state.awaited) {
            state.awaited = true;
            // rtnl comes behind a socket's lock, but nobody needs both here.
            drop(state);
            work_at(cx, deadline, Work::RetireBlock(Arc::downgrade(self)));
        }
    }
}

/// The time of a socket's block may be over.
pub(crate) fn retire_block(cx: Cx<'_>, sock: &Weak<PacketSock>) {
    let Some(sock) = sock.upgrade() else { return };
    let mut state = sock.lock();
    let now = cx.now();
    let rings = &mut state.rings;
    let mut next = None;
    if let (Some(Receiver::Blocks(blocks)), Some(memory)) = (&mut rings.rx, &rings.memory) {
        blocks.expire(memory.as_ref(), now, wall(cx, now));
        next = blocks.deadline();
    }
    state.awaited = next.is_some();
    drop(state);
    if let Some(next) = next {
        work_at(cx, next, Work::RetireBlock(Arc::downgrade(&sock)));
    }
    sock.wake();
}

impl LinkAddr {
    /// `struct sockaddr_ll`, whole.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        const AF_PACKET: u16 = 17;
        const WHOLE: usize = 20;
        let mut raw = AF_PACKET.to_ne_bytes().to_vec();
        raw.extend(self.protocol.to_be_bytes());
        raw.extend(self.ifindex.to_ne_bytes());
        raw.extend(self.hatype.to_ne_bytes());
        raw.extend([self.kind, self.addr.len() as u8]);
        raw.extend(&self.addr);
        raw.resize(raw.len().max(WHOLE), 0);
        raw
    }
}

impl PacketFrame {
    /// What is said of it (`TP_STATUS_*`), but for whose it is.
    fn status(&self) -> u32 {
        let tag = if self.tag.is_some() { VLAN_VALID } else { 0 };
        tag | if self.checksum_open { CSUM_NOT_READY } else { 0 }
    }
}

/// A packet socket: it hears the frames of a device, or of all, and sends some of its own. Its calls never wait.
///
/// It ends when it is dropped.
///
/// ```
/// use pernet::{Namespaces, Origin};
/// use pernet_stack::{FlagChange, IfFlags, LinkAddr, LinkChange, PacketSocket, Stack, UdpSocket};
///
/// let ns = Namespaces::new();
/// let stack = Stack::register(&ns).unwrap();
/// let net = ns.init_net();
/// let up = FlagChange { flags: IfFlags::UP, mask: IfFlags::UP };
/// let change = LinkChange { flags: Some(up), ..LinkChange::default() };
/// stack.rtnl(Origin::KERNEL).set_link(&net, 1, &change).unwrap();
///
/// let tap = PacketSocket::new(&stack, net.to_ref(), false, 0x0800, 0);
/// let client = UdpSocket::bind(&stack, &net, "127.0.0.1:0".parse().unwrap()).unwrap();
/// client.send_to(b"hello", client.local_addr()).unwrap();
/// let frame = tap.recv().unwrap().unwrap();
/// assert_eq!((frame.bytes.len(), frame.from.ifindex), (14 + 20 + 8 + 5, 1));
/// ```
#[derive(Debug)]
pub struct PacketSocket(Arc<PacketSock>);

impl PacketSocket {
    /// A socket for frames of `protocol` (`ETH_P_*`; 3 for all, 0 for none yet), without their link-layer headers if
    /// `cooked`, made by the user `uid`. Who may have one is the caller's to judge.
    #[must_use]
    pub fn new(stack: &Stack, net: NetRef, cooked: bool, protocol: u16, uid: u32) -> Self {
        let state = State {
            protocol,
            ifindex: 0,
            error: None,
            queue: VecDeque::new(),
            charge: Charge::default(),
            rcvbuf: DEFAULT_BUFFER,
            sndbuf: DEFAULT_BUFFER,
            seen: 0,
            drops: 0,
            members: Vec::new(),
            numbers: BTreeMap::new(),
            ignore_outgoing: false,
            rings: Rings::default(),
            awaited: false,
            filter: None,
            group: None,
            rolled: Rolled::default(),
            rolled_to: 0,
            times: Times::default(),
            errors: Errors::default(),
            closed: false,
        };
        let sock = Arc::new(PacketSock {
            stack: stack.clone(),
            net,
            cooked,
            id: super::next_cookie(),
            uid,
            inode: AtomicU64::new(0),
            listens: AtomicBool::new(protocol != 0),
            state: Mutex::new(state),
            ready: Mutex::new(None),
            outside: Elsewhere::default(),
        });
        let socket = Self(sock);
        socket.hook(0);
        socket
    }

    /// Hears of the device from now on, and of no other.
    fn hook(&self, ifindex: u32) {
        let Some(cx) = self.0.cx() else { return };
        cx.state.l4.packets.place(&self.0, Some(ifindex));
        cx.stack.changed();
    }

    /// Says by which inode number programs know the file that stands for it.
    pub fn set_inode(&self, inode: u64) {
        self.0.inode.store(inode, Ordering::Relaxed);
    }

    /// Calls `callback` when there is a frame, or an error. It may wake somebody, and nothing else.
    pub fn on_ready(&self, callback: Option<OnReady>) {
        *self.0.ready.lock().unwrap_or_else(PoisonError::into_inner) = callback;
    }

    /// Binds it to a device, or to all, and to a protocol unless that is 0.
    ///
    /// # Errors
    /// `ENODEV`.
    pub fn bind(&self, ifindex: u32, protocol: u16) -> Result<(), SocketError> {
        let cx = self.0.cx().ok_or(errno::ENODEV)?;
        let link = cx.state.links.by_index(ifindex);
        if ifindex != 0 && link.is_none() {
            return Err(errno::ENODEV.into());
        }
        let mut state = self.0.lock();
        if state.group.is_some() {
            return Err(errno::EINVAL.into());
        }
        let protocol = if protocol == 0 { state.protocol } else { protocol };
        (state.ifindex, state.protocol) = (ifindex, protocol);
        if link.is_some_and(|link| !link.is_up()) {
            state.error = Some(errno::ENETDOWN);
        }
        self.0.listens.store(protocol != 0, Ordering::Relaxed);
        drop(state);
        self.hook(ifindex);
        self.0.wake();
        Ok(())
    }

    /// What it is bound to.
    #[must_use]
    pub fn local_addr(&self) -> LinkAddr {
        let (protocol, ifindex) = {
            let state = self.0.lock();
            (state.protocol, state.ifindex)
        };
        let link = self.0.cx().and_then(|cx| cx.state.links.by_index(ifindex)).filter(|_| ifindex != 0);
        let (hatype, addr) =
            link.map(|link| (link.class().arp_type, link.address.as_bytes().to_vec())).unwrap_or_default();
        LinkAddr { protocol, ifindex, hatype, kind: 0, addr }
    }

    /// Takes the frame that came first.
    ///
    /// # Errors
    /// The device it is bound to went down; told once.
    pub fn recv(&self) -> Result<Option<PacketFrame>, SocketError> {
        match self.take_error() {
            Some(error) => Err(error),
            None => Ok(self.next(false)),
        }
    }

    /// As [`Self::recv`], whatever is to be told first. It takes room of the buffer as long as it is said to wait
    /// [outside](Self::on_listing).
    #[must_use]
    pub fn next_frame(&self) -> Option<PacketFrame> {
        self.next(true)
    }

    fn next(&self, outside: bool) -> Option<PacketFrame> {
        let mut state = self.0.lock();
        let frame = state.queue.pop_front()?;
        state.charge.release(frame.memory, outside);
        Some(frame)
    }

    /// As [`InetSocket::on_listing`](crate::InetSocket::on_listing), of [frames](PacketFrame::memory).
    pub fn on_listing(&self, outside: Option<Arc<dyn Fn() -> Option<usize> + Send + Sync>>) {
        self.0.outside.set(outside);
    }

    /// Is there a frame, or an error?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let state = self.0.lock();
        !state.queue.is_empty() || state.error.is_some()
    }

    /// Takes the error that is to be told.
    #[must_use]
    pub fn take_error(&self) -> Option<SocketError> {
        self.0.lock().error.take().map(SocketError::from)
    }

    /// Whether an error is to be told, or waits to be asked for.
    #[must_use]
    pub fn has_error(&self) -> bool {
        let state = self.0.lock();
        state.error.is_some() || state.errors.front().is_some()
    }

    /// The control messages that come with a frame (`SO_TIMESTAMP` and its kin, `PACKET_AUXDATA`).
    #[must_use]
    pub fn control(&self, frame: &PacketFrame) -> Vec<ControlMessage> {
        let (times, auxdata, vnet) = {
            let state = self.0.lock();
            (state.times, state.is_on(PACKET_AUXDATA), state.vnet())
        };
        let mut out = Vec::new();
        if let Some(cx) = self.0.cx() {
            times.of_packet(cx, frame.at, &mut out);
        }
        if !auxdata {
            return out;
        }
        let status = ring::USER | frame.status();
        let lengths = [frame.len - vnet, frame.bytes.len().saturating_sub(vnet)].map(|len| len as u32);
        let mut data = [status, lengths[0], lengths[1]].map(u32::to_ne_bytes).concat();
        let (tci, protocol) = frame.tag.unwrap_or_default();
        data.extend([0, frame.network as u16, tci, protocol].map(u16::to_ne_bytes).concat());
        out.push(ControlMessage { level: SOL_PACKET, kind: PACKET_AUXDATA, data });
        out
    }

    /// Lets only through what a program of classic BPF says; everything for `None`.
    ///
    /// # Errors
    /// `EINVAL` for a program that might not end.
    pub fn set_filter(&self, program: Option<&[FilterInstruction]>) -> Result<(), SocketError> {
        let filter = program.map(Filter::new).transpose()?;
        self.0.lock().filter = filter;
        Ok(())
    }

    /// `SO_RCVBUF` or `SO_SNDBUF`, or by force: what a program asks for.
    ///
    /// # Errors
    /// `EINVAL` for too few bytes, `EPERM` for whoever may force nothing.
    pub fn set_buffer(&self, name: i32, value: &[u8], caller: &dyn Caller) -> Result<(), SocketError> {
        let asked = int(SOL_PACKET, value)?;
        let cx = self.0.cx().ok_or(errno::ENODEV)?;
        let State { rcvbuf, sndbuf, .. } = &mut *self.0.lock();
        Ok(set_buffer(cx, caller, name, asked, [rcvbuf, sndbuf])?)
    }

    /// Its buffers, in bytes of memory: what it receives, and what it sends.
    #[must_use]
    pub fn buffers(&self) -> (usize, usize) {
        let state = self.0.lock();
        (state.rcvbuf, state.sndbuf)
    }
}

impl Drop for PacketSocket {
    fn drop(&mut self) {
        let members = {
            let mut state = self.0.lock();
            state.closed = true;
            std::mem::take(&mut state.members)
        };
        self.on_ready(None);
        self.on_listing(None);
        let Some(cx) = self.0.cx() else { return };
        if let Some(packets) = cx.state.l4.packets.peek() {
            self.leave_fanout(packets);
            packets.place(&self.0, None);
        }
        for member in members {
            watch(cx, &member, false);
        }
    }
}
