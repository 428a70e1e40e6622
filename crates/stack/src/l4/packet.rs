//! Packet sockets: frames of devices, as they are (`net/packet/af_packet.c`).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pernet::{NetRef, Origin};

use super::cmsg::ControlMessage;
use super::filter::{Filter, FilterInstruction, Seen};
use super::options::int;
use super::queue::{DEFAULT_BUFFER, MIN_RCVBUF, truesize};
use super::sock::OnReady;
use super::user::SocketError;
use crate::dev::{IfFlags, Link, Stack};
use crate::errno;
use crate::l2::{Checksum, Cx, Frame, PacketType, dev_queue_xmit};

/// Frames of every protocol.
const ETH_P_ALL: u16 = 3;
const ETHERNET_HEADER: usize = 14;
const SOL_PACKET: i32 = 263;
const PACKET_ADD_MEMBERSHIP: i32 = 1;
const PACKET_DROP_MEMBERSHIP: i32 = 2;
const PACKET_STATISTICS: i32 = 6;
const PACKET_AUXDATA: i32 = 8;
const PACKET_IGNORE_OUTGOING: i32 = 23;
const MR_PROMISC: u16 = 1;
const MR_ALLMULTI: u16 = 2;

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
    bytes: usize,
    rcvbuf: usize,
    /// Since the last look: those that came, and of these those there was no room for.
    seen: u32,
    drops: u32,
    members: Vec<Membership>,
    auxdata: bool,
    ignore_outgoing: bool,
    filter: Option<Filter>,
    closed: bool,
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
    /// Before the table's and before rtnl.
    state: Mutex<State>,
    /// A leaf lock: read to copy the handle.
    ready: Mutex<Option<OnReady>>,
}

impl std::fmt::Debug for PacketSock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketSock").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The packet sockets of a namespace, by the device that they are bound to; 0 for any.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    /// A leaf lock.
    by_device: Mutex<HashMap<u32, Vec<Arc<PacketSock>>>>,
}

impl Packets {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Vec<Arc<PacketSock>>>> {
        self.by_device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, sock: &PacketSock) {
        let mut all = self.lock();
        all.retain(|_, socks| {
            socks.retain(|other| other.id != sock.id);
            !socks.is_empty()
        });
    }

    /// What `/proc/net/packet` says of each, the oldest first.
    pub(super) fn rows(&self) -> Vec<Row> {
        let socks: Vec<Arc<PacketSock>> = self.lock().values().flatten().cloned().collect();
        let row = |sock: &Arc<PacketSock>| {
            let state = sock.lock();
            Row {
                id: sock.id,
                ty: if sock.cooked { 2 } else { 3 },
                protocol: state.protocol,
                ifindex: state.ifindex,
                bytes: state.bytes,
                uid: sock.uid,
                inode: sock.inode.load(Ordering::Relaxed),
            }
        };
        let mut rows: Vec<Row> = socks.iter().map(row).collect();
        rows.sort_by_key(|row| row.id);
        rows
    }

    /// Those who hear of a device.
    fn of(&self, ifindex: u32) -> Vec<Arc<PacketSock>> {
        let all = self.lock();
        [0, ifindex].iter().filter_map(|index| all.get(index)).flatten().cloned().collect()
    }
}

/// A socket as it is listed.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) ty: u8,
    pub(super) protocol: u16,
    pub(super) ifindex: u32,
    pub(super) bytes: usize,
    pub(super) uid: u32,
    pub(super) inode: u64,
}

/// A frame passes a device (`dev_queue_xmit_nit`, `packet_rcv`). Its data begin at the link-layer header when it goes out.
pub(crate) fn tap(cx: Cx<'_>, link: &Link, frame: &Frame, outgoing: bool) {
    let Some(packets) = cx.state.l4.packets.peek() else { return };
    for sock in packets.of(link.index()) {
        sock.take(cx, link, frame, outgoing);
    }
}

/// The device went down or away: those who are bound to it are told (`packet_notifier`).
pub(crate) fn device_gone(cx: Cx<'_>, ifindex: u32, gone: bool) {
    let Some(packets) = cx.state.l4.packets.peek() else { return };
    for sock in packets.of(ifindex) {
        let mut state = sock.lock();
        if state.ifindex != ifindex {
            continue;
        }
        state.error = Some(errno::ENETDOWN);
        if gone {
            state.members.retain(|member| member.ifindex != ifindex);
        }
        drop(state);
        sock.wake();
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

    fn take(&self, cx: Cx<'_>, link: &Link, frame: &Frame, outgoing: bool) {
        let mut state = self.lock();
        let wanted = match state.protocol {
            // One's own frames are known to oneself.
            ETH_P_ALL => !outgoing || (frame.sender != self.id && !state.ignore_outgoing),
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
        let taken = PacketFrame {
            bytes: data[..len].to_vec(),
            len: data.len(),
            network: if self.cooked { 0 } else { header },
            from,
            at: cx.now(),
            checksum_open: matches!(frame.checksum, Checksum::Partial { .. }),
        };
        state.seen = state.seen.wrapping_add(1);
        let size = truesize(taken.bytes.len());
        if state.bytes + size > state.rcvbuf {
            state.drops = state.drops.wrapping_add(1);
            return;
        }
        state.bytes += size;
        state.queue.push_back(taken);
        drop(state);
        self.wake();
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
        static IDS: AtomicU64 = AtomicU64::new(1);
        let state = State {
            protocol,
            ifindex: 0,
            error: None,
            queue: VecDeque::new(),
            bytes: 0,
            rcvbuf: DEFAULT_BUFFER,
            seen: 0,
            drops: 0,
            members: Vec::new(),
            auxdata: false,
            ignore_outgoing: false,
            filter: None,
            closed: false,
        };
        let sock = Arc::new(PacketSock {
            stack: stack.clone(),
            net,
            cooked,
            id: IDS.fetch_add(1, Ordering::Relaxed),
            uid,
            inode: AtomicU64::new(0),
            state: Mutex::new(state),
            ready: Mutex::new(None),
        });
        let socket = Self(sock);
        socket.hook(0);
        socket
    }

    /// Hears of the device from now on, and of no other.
    fn hook(&self, ifindex: u32) {
        let Some(cx) = self.0.cx() else { return };
        if let Some(packets) = cx.state.l4.packets.peek() {
            packets.remove(&self.0);
        }
        cx.state.l4.packets.lock().entry(ifindex).or_default().push(Arc::clone(&self.0));
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
        let protocol = if protocol == 0 { state.protocol } else { protocol };
        (state.ifindex, state.protocol) = (ifindex, protocol);
        if link.is_some_and(|link| !link.is_up()) {
            state.error = Some(errno::ENETDOWN);
        }
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

    /// Sends a frame: whole, or of a cooked socket its payload to the address in `to`.
    ///
    /// # Errors
    /// `ENXIO` if no device is named, `ENODEV`, `ENETDOWN`, `EINVAL`, `EMSGSIZE`.
    pub fn send(&self, bytes: &[u8], to: Option<&LinkAddr>) -> Result<usize, SocketError> {
        let sent = self.transmit(bytes, to);
        self.0.stack.run_packets();
        Ok(sent?)
    }

    fn transmit(&self, bytes: &[u8], to: Option<&LinkAddr>) -> Result<usize, i32> {
        let cx = self.0.cx().ok_or(errno::ENODEV)?;
        let (ifindex, protocol) = {
            let mut state = self.0.lock();
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            to.map_or((state.ifindex, state.protocol), |to| (to.ifindex, to.protocol))
        };
        let link = cx.state.links.by_index(ifindex).filter(|_| ifindex != 0);
        let link = link.ok_or(if ifindex == 0 { errno::ENXIO } else { errno::ENODEV })?;
        if !link.is_up() {
            return Err(errno::ENETDOWN);
        }
        let own = link.address.as_bytes();
        let mut frame = Frame::with_payload(bytes);
        frame.protocol = protocol;
        frame.sender = self.0.id;
        frame.checksum = Checksum::Unknown;
        if self.0.cooked {
            if bytes.len() > link.mtu as usize {
                return Err(errno::EMSGSIZE);
            }
            // The device's header has room for an address of its own length.
            let dst = to.map(|to| to.addr.as_slice()).filter(|dst| dst.len() >= own.len()).ok_or(errno::EINVAL)?;
            crate::l2::push_header(&mut frame, dst, own);
        } else {
            if bytes.len() < ETHERNET_HEADER {
                return Err(errno::EINVAL);
            }
            if bytes.len() > link.mtu as usize + ETHERNET_HEADER {
                return Err(errno::EMSGSIZE);
            }
            if let Some([high, low]) = bytes.get(12..14).and_then(|b| b.first_chunk().copied())
                && (protocol == 0 || protocol == ETH_P_ALL)
            {
                frame.protocol = u16::from_be_bytes([high, low]);
            }
            // The network header begins behind the other.
            let _ = frame.pull(ETHERNET_HEADER);
            frame.set_network_here();
            frame.push(ETHERNET_HEADER);
        }
        dev_queue_xmit(cx, &link, frame)?;
        Ok(bytes.len())
    }

    /// Takes the frame that came first.
    ///
    /// # Errors
    /// The device it is bound to went down; told once.
    pub fn recv(&self) -> Result<Option<PacketFrame>, SocketError> {
        match self.take_error() {
            Some(error) => Err(error),
            None => Ok(self.next_frame()),
        }
    }

    /// As [`Self::recv`], whatever is to be told first.
    #[must_use]
    pub fn next_frame(&self) -> Option<PacketFrame> {
        let mut state = self.0.lock();
        let frame = state.queue.pop_front()?;
        state.bytes -= truesize(frame.bytes.len()).min(state.bytes);
        Some(frame)
    }

    /// Takes the error that is to be told.
    #[must_use]
    pub fn take_error(&self) -> Option<SocketError> {
        self.0.lock().error.take().map(SocketError::from)
    }

    /// Whether an error is to be told.
    #[must_use]
    pub fn has_error(&self) -> bool {
        self.0.lock().error.is_some()
    }

    /// The control messages that come with a frame (`PACKET_AUXDATA`).
    #[must_use]
    pub fn control(&self, frame: &PacketFrame) -> Vec<ControlMessage> {
        if !self.0.lock().auxdata {
            return Vec::new();
        }
        let status: u32 = if frame.checksum_open { 1 | 8 } else { 1 };
        let mut data = [status, frame.len as u32, frame.bytes.len() as u32].map(u32::to_ne_bytes).concat();
        data.extend([0, frame.network as u16, 0, 0].map(u16::to_ne_bytes).concat());
        vec![ControlMessage { level: SOL_PACKET, kind: PACKET_AUXDATA, data }]
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

    /// `SO_RCVBUF`, in bytes of memory.
    pub fn set_receive_buffer(&self, bytes: usize) {
        self.0.lock().rcvbuf = bytes.max(MIN_RCVBUF);
    }

    /// `setsockopt` of level `SOL_PACKET`.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for what there is not, `EINVAL`, `ENODEV`.
    pub fn set_option(&self, name: i32, value: &[u8]) -> Result<(), SocketError> {
        let truth = || int(SOL_PACKET, value).map(|number| number != 0);
        match name {
            PACKET_ADD_MEMBERSHIP | PACKET_DROP_MEMBERSHIP => {
                Ok(self.membership(name == PACKET_ADD_MEMBERSHIP, value)?)
            }
            PACKET_AUXDATA => {
                self.0.lock().auxdata = truth()?;
                Ok(())
            }
            PACKET_IGNORE_OUTGOING => {
                self.0.lock().ignore_outgoing = truth()?;
                Ok(())
            }
            _ => Err(errno::ENOPROTOOPT.into()),
        }
    }

    /// `getsockopt` of level `SOL_PACKET`.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for what there is not.
    pub fn option(&self, name: i32, room: usize) -> Result<Vec<u8>, SocketError> {
        let mut state = self.0.lock();
        let value = match name {
            PACKET_STATISTICS => {
                let counts = [std::mem::take(&mut state.seen), std::mem::take(&mut state.drops)];
                counts.map(u32::to_ne_bytes).concat()
            }
            PACKET_AUXDATA => i32::from(state.auxdata).to_ne_bytes().to_vec(),
            PACKET_IGNORE_OUTGOING => i32::from(state.ignore_outgoing).to_ne_bytes().to_vec(),
            _ => return Err(errno::ENOPROTOOPT.into()),
        };
        Ok(value[..value.len().min(room)].to_vec())
    }

    fn membership(&self, add: bool, value: &[u8]) -> Result<(), i32> {
        let cx = self.0.cx().ok_or(errno::ENODEV)?;
        let request: &[u8; 16] = value.first_chunk().ok_or(errno::EINVAL)?;
        let [a, b, c, d, e, f, g, h, addr @ ..] = *request;
        let len = usize::from(u16::from_ne_bytes([g, h]));
        let member = Membership {
            ifindex: u32::from_ne_bytes([a, b, c, d]),
            kind: u16::from_ne_bytes([e, f]),
            addr: addr.get(..len).ok_or(errno::EINVAL)?.to_vec(),
        };
        let mut state = self.0.lock();
        if add {
            let link = cx.state.links.by_index(member.ifindex).ok_or(errno::ENODEV)?;
            if member.addr.len() > link.address.as_bytes().len() {
                return Err(errno::EINVAL);
            }
            watch(cx, &member, true);
            state.members.push(member);
        } else if let Some(at) = state.members.iter().position(|known| *known == member) {
            // What was never joined may be left all the same.
            let member = state.members.remove(at);
            watch(cx, &member, false);
        }
        Ok(())
    }
}

/// Makes a device listen to more than its own, or no more (`packet_dev_mc`).
fn watch(cx: Cx<'_>, member: &Membership, on: bool) {
    let flag = match member.kind {
        MR_PROMISC => IfFlags::PROMISC,
        MR_ALLMULTI => IfFlags::ALLMULTI,
        // Groups and further addresses of its own: our devices hear all that they are sent.
        _ => return,
    };
    let mut rtnl = cx.stack.rtnl(Origin::KERNEL);
    crate::dev::listen_to_all(&mut rtnl, cx.ns(), member.ifindex, flag, on);
}

impl Drop for PacketSocket {
    fn drop(&mut self) {
        let members = {
            let mut state = self.0.lock();
            state.closed = true;
            std::mem::take(&mut state.members)
        };
        self.on_ready(None);
        let Some(cx) = self.0.cx() else { return };
        if let Some(packets) = cx.state.l4.packets.peek() {
            packets.remove(&self.0);
        }
        for member in members {
            watch(cx, &member, false);
        }
    }
}
