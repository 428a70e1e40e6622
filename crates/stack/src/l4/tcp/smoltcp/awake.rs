//! What smoltcp has of an engine, as long as the engine does not [rest](super::rest).

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Mutex, PoisonError};

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::wire::Wire;
use super::{Begin, Congestion, DELAYED_ACK, HEADERS, HERE, IP_HEADER, THERE, TIMESTAMP_NOW};
use crate::l2::Frame;
use crate::l4::tcp::segment;
use crate::l4::tcp::sock::BUFFER;

/// What an engine is made of, at first and when it has rested.
pub(super) struct Plan {
    pub(super) begin: Begin,
    /// Bytes of the largest packet that goes out whole, if that is more than a segment.
    pub(super) whole: Option<NonZeroU32>,
    /// Acknowledgements wait for data to go with.
    pub(super) ack_delay: bool,
}

/// An interface and a socket in a set of its own.
pub(super) struct Awake {
    pub(super) interface: Interface,
    sockets: Only,
}

/// A set of one socket.
struct Only {
    set: SocketSet<'static>,
    handle: SocketHandle,
}

/// Sockets of connections that are over or rest, for the next. Their buffers are zeroed from end to end when they are made: that
/// costs as much as all else of a connection that is soon over. A leaf lock.
///
/// What smoltcp leaves of the last connection in one that begins anew is looked at when something has set it again, or is set
/// below; but for the timestamp that a SYN would echo, which [`arrange_options`](segment::arrange_options) takes out.
static SPARE: Mutex<Vec<Only>> = Mutex::new(Vec::new());

/// So many of them at most: of who opens and who accepts, in some threads, and of who speaks now and then.
pub(in crate::l4::tcp) const SPARES: usize = 32;

impl Only {
    fn new(plan: &Plan) -> Self {
        if (plan.receive_buffer(), plan.send_buffer()) == (BUFFER, BUFFER)
            && let Some(spare) = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop()
        {
            return spare;
        }
        let buffer = |len: usize| tcp::SocketBuffer::new(vec![0; len]);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(tcp::Socket::new(buffer(plan.receive_buffer()), buffer(plan.send_buffer())));
        Self { set, handle }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        let socket = self.socket_mut();
        if (socket.recv_capacity(), socket.send_capacity()) != (BUFFER, BUFFER) {
            return;
        }
        socket.abort();
        let none = Only { set: SocketSet::new(Vec::new()), handle: self.sockets.handle };
        let spare = std::mem::replace(&mut self.sockets, none);
        let mut spares = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < SPARES {
            spares.push(spare);
        }
    }
}

impl Plan {
    pub(super) const fn receive_buffer(&self) -> usize {
        self.begin.receive_buffer as usize
    }

    const fn send_buffer(&self) -> usize {
        self.begin.send_buffer as usize
    }

    /// How long acknowledgements wait.
    pub(super) fn delay(&self) -> Option<time::Duration> {
        self.ack_delay.then_some(DELAYED_ACK)
    }

    /// The device that smoltcp is to believe in.
    pub(super) fn device(&self) -> DeviceCapabilities {
        let mut device = DeviceCapabilities::default();
        device.medium = Medium::Ip;
        device.max_transmission_unit = usize::from(self.begin.mss.saturating_sub(self.begin.beside)) + HEADERS;
        device.checksum = ChecksumCapabilities::ignored();
        device.segmentation.tcpv4 = self.whole.map(|whole| whole.try_into().unwrap_or(NonZeroUsize::MAX));
        device
    }

    pub(super) fn interface(&self) -> Interface {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = self.begin.seed;
        let mut none = Vec::new();
        let mut wire = Wire { incoming: None, outgoing: &mut none, plan: self, ahead: 0 };
        let mut interface = Interface::new(config, &mut wire, time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // There is room for one at least, whatever smoltcp was built with.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(HERE.0), 32));
        });
        interface
    }

    pub(super) fn make(&self) -> Awake {
        let mut awake = Awake { interface: self.interface(), sockets: Only::new(self) };
        let socket = awake.socket_mut();
        socket.set_congestion_control(match self.begin.congestion {
            Congestion::Cubic | Congestion::Bbr => tcp::CongestionControl::Cubic,
            Congestion::Reno => tcp::CongestionControl::Reno,
            Congestion::None => tcp::CongestionControl::None,
        });
        socket.set_nagle_enabled(!self.begin.nodelay);
        socket.set_ack_delay(self.delay());
        socket.set_tsval_generator(if self.begin.timestamps { Some(|| TIMESTAMP_NOW.get()) } else { None });
        awake
    }
}

impl Awake {
    pub(super) fn socket(&self) -> &tcp::Socket<'static> {
        self.sockets.set.get(self.sockets.handle)
    }

    pub(super) fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.set.get_mut(self.sockets.handle)
    }

    /// Begins an active open.
    pub(super) fn connect(&mut self) -> Option<()> {
        let (remote, local) = ((IpAddress::Ipv4(THERE.0), THERE.1), (IpAddress::Ipv4(HERE.0), HERE.1));
        let socket = self.sockets.set.get_mut::<tcp::Socket<'_>>(self.sockets.handle);
        socket.connect(self.interface.context(), remote, local).ok()
    }

    /// Shows smoltcp a segment, in a packet from the peer; what it answers is put into `out`, its numbers `ahead` of smoltcp's.
    pub(super) fn take_in(
        &mut self,
        mut segment: Frame,
        at: time::Instant,
        plan: &Plan,
        ahead: u32,
        out: &mut Vec<Frame>,
    ) {
        let Ok(total) = u16::try_from(segment.len() + IP_HEADER) else { return };
        let [high, low] = total.to_be_bytes();
        let ([a, b, c, d], [e, f, g, h]) = (THERE.0.octets(), HERE.0.octets());
        segment::set_ports(segment.data_mut(), THERE.1, HERE.1);
        if ahead != 0 {
            segment::move_ack(segment.data_mut(), 0_u32.wrapping_sub(ahead));
        }
        segment
            .push(IP_HEADER)
            .copy_from_slice(&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0, a, b, c, d, e, f, g, h]);
        let mut wire = Wire { incoming: Some(segment.data()), outgoing: out, plan, ahead };
        self.interface.poll_ingress_single(at, &mut wire, &mut self.sockets.set);
    }

    /// Has smoltcp send what it has to send.
    pub(super) fn send_all(&mut self, at: time::Instant, plan: &Plan, ahead: u32, out: &mut Vec<Frame>) {
        let mut wire = Wire { incoming: None, outgoing: out, plan, ahead };
        while self.interface.poll_egress(at, &mut wire, &mut self.sockets.set) == PollResult::SocketStateChanged {}
    }

    pub(super) fn poll_at(&mut self, at: time::Instant) -> Option<time::Instant> {
        self.interface.poll_at(at, &self.sockets.set)
    }
}
