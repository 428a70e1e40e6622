//! UDP sockets as `ss` lists, finds and ends them (`udp_diag.c`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pernet::Net;

use super::address::unmapped;
use super::options::Opt;
use super::ports::Ends;
use super::sock::{Kind, Proto, Sock};
use super::tcp::{InetEntry, TcpState, TcpTimer, as_listed};
use crate::dev::Stack;
use crate::errno;
use crate::state::Ns;

impl Sock {
    fn entry(&self) -> InetEntry {
        let waiting = self.waiting();
        let state = self.lock();
        let on = |opt| state.options.is_on(opt);
        let (tos, errors, free) = if self.kind.v6 {
            (Opt::IPV6_TCLASS, Opt::IPV6_RECVERR, Opt::IPV6_FREEBIND)
        } else {
            (Opt::IP_TOS, Opt::IP_RECVERR, Opt::IP_FREEBIND)
        };
        let any = SocketAddr::new(self.kind.any(), 0);
        let shut = |on: bool, bit: u8| if on { bit } else { 0 };
        InetEntry {
            protocol: self.kind.protocol(),
            v6: self.kind.v6,
            state: if state.peer.is_some() { TcpState::Established } else { TcpState::Close },
            timer: TcpTimer::None,
            retransmits: 0,
            expires: std::time::Duration::ZERO,
            local: as_listed(self.kind.v6, SocketAddr::new(state.local, state.port)),
            peer: state.peer.map_or(any, |peer| as_listed(self.kind.v6, peer)),
            device: state.device,
            cookie: self.cookie,
            receive_queue: u32::try_from(waiting).unwrap_or(u32::MAX),
            send_queue: 0,
            uid: self.uid,
            inode: self.inode.load(Ordering::Relaxed),
            mark: state.options.get(Opt::MARK) as u32,
            tos: state.options.get(tos) as u8,
            v6_only: on(Opt::IPV6_V6ONLY),
            port_locked: state.is_port_bound(),
            shutdown: shut(state.no_more_in, 1) | shut(state.no_more_out, 2),
            flags: [on(errors), on(free), on(Opt::IP_BIND_ADDRESS_NO_PORT)],
            groups: [on(Opt::IP_MULTICAST_LOOP), on(Opt::IP_MULTICAST_ALL)],
            remains: false,
            info: None,
            congestion: "",
            buffers: (state.rcvbuf as u32, state.sndbuf as u32),
            drops: state.queue.drops(),
            md5: Vec::new(),
        }
    }
}

const fn proto(lite: bool) -> Proto {
    if lite { Proto::UdpLite } else { Proto::Udp }
}

/// The socket that a packet from `from` to `to` would be for.
fn find(ns: Ns<'_>, lite: bool, from: SocketAddr, to: SocketAddr, device: u32) -> Option<Arc<Sock>> {
    let plain = |addr: SocketAddr| SocketAddr::new(unmapped(addr.ip()), addr.port());
    let (src, dst) = (plain(from), plain(to));
    // Addresses of two families, of which one is said not at all.
    let src = match (src.ip(), dst.ip()) {
        (IpAddr::V6(ip), IpAddr::V4(_)) if ip.is_unspecified() => SocketAddr::new(Kind::any_of(false), src.port()),
        _ => src,
    };
    ns.state().l4.peek_udp(proto(lite))?.lookup(&Ends { src, dst, device })
}

impl Stack {
    /// The UDP sockets of a namespace that have a port, of one family, in the order of their table; or of UDP-Lite.
    #[must_use]
    pub fn udp_sockets(&self, net: &Net, v6: bool, lite: bool) -> Vec<InetEntry> {
        let Some(state) = self.state(net) else { return Vec::new() };
        let socks = super::proc::sockets(Ns::living(state, net), v6, proto(lite));
        socks.iter().map(|(_, sock)| sock.entry()).collect()
    }

    /// The UDP socket that a packet from `from` to `to`, by this device, would be for; or of UDP-Lite.
    #[must_use]
    pub fn udp_lookup(
        &self,
        net: &Net,
        lite: bool,
        from: SocketAddr,
        to: SocketAddr,
        device: u32,
    ) -> Option<InetEntry> {
        let ns = Ns::living(self.state(net)?, net);
        find(ns, lite, from, to, device).map(|sock| sock.entry())
    }

    /// Ends what [that socket](Self::udp_lookup) is connected to: its program is told `ECONNABORTED` (`udp_abort`).
    pub fn udp_destroy(&self, net: &Net, lite: bool, from: SocketAddr, to: SocketAddr, device: u32) {
        let Some(state) = self.state(net) else { return };
        if let Some(sock) = find(Ns::living(state, net), lite, from, to, device) {
            sock.disconnect();
            sock.report(None, Some(errno::ECONNABORTED));
        }
    }
}
