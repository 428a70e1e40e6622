//! Namespaces wired together in process, on a clock that the test moves. What passes on the wires is read as a capture.

mod counters;
mod flows;
mod groups;
mod path;
mod router;
mod v4;
mod v6;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use pernet::{Cred, Namespaces, NetRef, Origin};

use super::{Flow, Header, PmtuDiscovery, internet_checksum, ip_output, route_output};
use crate::dev::{FlagChange, IfFlags, KindSpec, LinkChange, LinkStats, NewLink, Stack, VethPeer};
use crate::fib::{Gateway, Insert, RouteConfig, route_type};
use crate::inet::NewAddr4;
use crate::inet6::{Nexthop6, Placing, Prefix6, RouteSpec6};
use crate::l2::{Cx, Frame, seen};
use crate::rtnl::{Clock, ManualClock};

/// A clock that the test keeps.
struct Shared(Arc<ManualClock>);

impl Clock for Shared {
    fn now(&self) -> Duration {
        self.0.now()
    }
}

pub(crate) struct World {
    pub(crate) system: Namespaces,
    pub(crate) stack: Stack,
    pub(crate) clock: Arc<ManualClock>,
}

impl World {
    pub(crate) fn new() -> Self {
        let system = Namespaces::new();
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1000));
        let stack = Stack::register_with_clock(&system, Box::new(Shared(Arc::clone(&clock)))).unwrap();
        Self { system, stack, clock }
    }

    /// A namespace whose loopback is up.
    pub(crate) fn net(&self) -> NetRef {
        let net = self.system.create(&Cred::root(self.system.init_user_ns())).unwrap();
        self.up(&net, "lo");
        net
    }

    pub(crate) fn index(&self, net: &NetRef, name: &str) -> u32 {
        self.stack.links(net).unwrap().by_name(name).unwrap().index()
    }

    pub(crate) fn flags(&self, net: &NetRef, name: &str, flags: IfFlags, mask: IfFlags) {
        let change = LinkChange { flags: Some(FlagChange { flags, mask }), ..LinkChange::default() };
        self.stack.rtnl(Origin::KERNEL).set_link(net, self.index(net, name), &change).unwrap();
    }

    pub(crate) fn up(&self, net: &NetRef, name: &str) {
        self.flags(net, name, IfFlags::UP, IfFlags::UP);
    }

    /// A cable between two namespaces, up at both ends, without IPv6's own addresses.
    pub(crate) fn wire(&self, a: (&NetRef, &str, u8), b: (&NetRef, &str, u8)) {
        let address = |last| Some(Box::from([2, 0, 0, 0, 0, last]));
        let end = |(net, name, last): (&NetRef, &str, u8)| LinkChange {
            name: Some(name.into()),
            address: address(last),
            net: Some(net.clone()),
            ..LinkChange::default()
        };
        let peer = VethPeer { change: Some(end(b)), ..VethPeer::default() };
        let mut new = NewLink::new(KindSpec::Veth(Box::new(peer)));
        new.change = LinkChange { net: None, ..end(a) };
        self.stack.rtnl(Origin::KERNEL).new_link(a.0, &new).unwrap();
        for (net, name, _) in [a, b] {
            let change = LinkChange { addr_gen_mode: Some(1), ..LinkChange::default() };
            self.stack.rtnl(Origin::KERNEL).set_link(net, self.index(net, name), &change).unwrap();
            self.up(net, name);
        }
        self.run();
        seen::take();
    }

    pub(crate) fn addr(&self, net: &NetRef, device: &str, address: &str) {
        let (addr, len) = address.split_once('/').unwrap();
        let ifindex = self.index(net, device);
        match addr.parse().unwrap() {
            IpAddr::V4(local) => {
                let prefix_len: u8 = len.parse().unwrap();
                let broadcast = u32::from(local) | u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
                let broadcast = Some(broadcast.into());
                let scope = if local.is_loopback() { 254 } else { 0 };
                let new = NewAddr4 { broadcast, scope, ..NewAddr4::new(ifindex, local, prefix_len) };
                self.stack.rtnl(Origin::KERNEL).new_addr4(net, &new).unwrap();
            }
            IpAddr::V6(addr) => {
                let ifa = crate::inet6::Ifa6::new(addr, len.parse().unwrap());
                self.stack.rtnl(Origin::KERNEL).new_addr6(net, ifindex, ifa, false).unwrap();
            }
        }
    }

    /// `ip route add KIND DST via GATEWAY`.
    pub(crate) fn route(&self, net: &NetRef, kind: u8, dst: &str, via: Option<&str>) {
        let (addr, len) = dst.split_once('/').unwrap();
        let config = RouteConfig {
            dst: Some(addr.parse().unwrap()),
            dst_len: len.parse().unwrap(),
            protocol: 3,
            kind,
            gateway: via.map_or(Gateway::None, |via| Gateway::V4(via.parse().unwrap())),
            ..RouteConfig::default()
        };
        let how = Insert { create: true, exclusive: true, replace: false, append: false };
        self.stack.rtnl(Origin::KERNEL).new_route4(net, &config, how).unwrap();
    }

    /// `ip -6 route add KIND DST via GATEWAY`.
    pub(crate) fn route6(&self, net: &NetRef, kind: u8, dst: &str, via: Option<&str>) {
        self.route6_for(net, (kind, dst, via), None);
    }

    /// The same for so many seconds.
    pub(crate) fn route6_for(&self, net: &NetRef, (kind, dst, via): (u8, &str, Option<&str>), expires: Option<u32>) {
        let (addr, len) = dst.split_once('/').unwrap();
        let gateway = via.map(|via| via.parse().unwrap());
        let spec = RouteSpec6 {
            table: 254,
            dst: Prefix6::new(addr.parse().unwrap(), len.parse().unwrap()),
            src: Prefix6::ANY,
            metric: 0,
            kind,
            proto: 3,
            pref: 0,
            prefsrc: None,
            metrics: None,
            expires,
            nexthops: vec![Nexthop6 { oif: 0, gateway, onlink: false, weight: 1 }],
            multipath: false,
            nh_id: 0,
        };
        let how = Placing { create: true, ..Placing::default() };
        self.stack.rtnl(Origin::KERNEL).new_route6(net, &spec, how).unwrap();
    }

    /// `ip neigh replace ADDRESS lladdr 02:00:00:00:00:LAST dev DEVICE`
    pub(crate) fn neighbour(&self, net: &NetRef, device: &str, address: &str, last: u8) {
        let neigh = crate::neigh::NewNeigh {
            key: crate::neigh::NeighKey { ifindex: self.index(net, device), dst: address.parse().unwrap() },
            address: Some(&[2, 0, 0, 0, 0, last]),
            state: crate::neigh::NeighState::PERMANENT,
            flags: crate::neigh::NeighFlags::default(),
            protocol: 0,
            create: true,
            exclusive: false,
            replace: true,
        };
        self.stack.rtnl(Origin::KERNEL).new_neigh(net, &neigh).unwrap();
    }

    pub(crate) fn sysctl(&self, net: &NetRef, path: &str, value: &str) {
        self.stack.rtnl(Origin::KERNEL).sysctl_write(net, path, value.as_bytes()).unwrap();
    }

    /// Receives what waits.
    pub(crate) fn run(&self) {
        let _ = self.stack.run_timers();
    }

    /// Lets time pass, in steps.
    pub(crate) fn pass(&self, time: Duration) {
        for _ in 0..10 {
            self.clock.advance(time / 10);
            self.run();
        }
    }

    /// Sends an echo request with `size` bytes of data.
    pub(crate) fn ping(&self, net: &NetRef, dst: &str, size: usize, header: Header) -> Result<(), i32> {
        let cx = Cx::new(&self.stack, net).unwrap();
        let dst: IpAddr = dst.parse().unwrap();
        let flow = Flow::to(dst);
        let route = route_output(cx, &flow)?;
        let mut frame = Frame::zeroed(8 + size);
        let data = frame.data_mut();
        data[0] = if dst.is_ipv4() { 8 } else { 128 };
        data[4..8].copy_from_slice(&[0x12, 0x34, 0, 1]);
        let start = match dst {
            IpAddr::V4(_) => 0,
            IpAddr::V6(_) => super::pseudo_header_sum(route.src, dst, 58, 8 + size),
        };
        let sum = internet_checksum(data, start);
        data[2..4].copy_from_slice(&sum.to_be_bytes());
        let header = Header { protocol: if dst.is_ipv4() { 1 } else { 58 }, ..header };
        let sent = ip_output(cx, &route, &header, frame);
        self.run();
        sent
    }

    pub(crate) fn stats(&self, net: &NetRef, device: &str) -> LinkStats {
        self.stack.links(net).unwrap().by_name(device).unwrap().stats()
    }

    /// What passed since the last look: what came in by devices of `net`, in words.
    pub(crate) fn came_in(&self, net: &NetRef) -> Vec<String> {
        let of = net.cookie().get();
        let came = seen::take().into_iter().filter(|s| s.net == of && !s.outgoing).map(|s| words(&s.bytes));
        came.filter(|words| !words.contains(MLD)).collect()
    }

    /// What went out, likewise.
    pub(crate) fn went_out(&self, net: &NetRef) -> Vec<String> {
        let of = net.cookie().get();
        let went = seen::take().into_iter().filter(|s| s.net == of && s.outgoing).map(|s| words(&s.bytes));
        went.filter(|words| !words.contains(MLD)).collect()
    }
}

pub(crate) fn plain() -> Header {
    Header { pmtu: PmtuDiscovery::Dont, multicast_loop: true, ..Header::default() }
}

/// What is said of groups for every address is looked at in one place only.
const MLD: &str = "icmp 143";

pub(super) const UNICAST: u8 = route_type::UNICAST;

/// A frame in a few words.
fn words(frame: &[u8]) -> String {
    let (header, packet) = frame.split_at(14);
    let four = |at: usize| format!("{}.{}.{}.{}", packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    match u16::from_be_bytes([header[12], header[13]]) {
        0x806 if packet[7] == 1 => format!("arp who-has {} tell {}", four(24), four(14)),
        0x806 => format!("arp {} is-at {:02x}", four(14), packet[13]),
        0x800 => {
            let (ttl, protocol) = (packet[8], packet[9]);
            let fragment = u16::from_be_bytes([packet[6], packet[7]]);
            let part = match (fragment & 0x1fff, fragment & 0x2000 != 0) {
                (0, false) => String::new(),
                (offset, more) => format!(" part {}{}", offset * 8, if more { "+" } else { "" }),
            };
            let what = match (protocol, packet.get(20..28)) {
                _ if fragment & 0x1fff != 0 => String::new(),
                (1, Some(icmp)) => {
                    format!(" icmp {}/{} {}", icmp[0], icmp[1], u16::from_be_bytes([icmp[6], icmp[7]]))
                }
                _ => format!(" proto {protocol}"),
            };
            format!("{} > {} len {} ttl {ttl}{part}{what}", four(12), four(16), packet.len())
        }
        0x86dd => words6(packet),
        other => format!("{other:04x}"),
    }
}

/// An IPv6 packet in a few words.
fn words6(packet: &[u8]) -> String {
    let addr = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
    let mut out = format!("{} > {} len {} hlim {}", addr(8), addr(24), packet.len(), packet[7]);
    let (mut kind, mut rest) = (packet[6], &packet[40..]);
    if kind == 0 {
        (kind, rest) = (rest[0], &rest[8 + usize::from(rest[1]) * 8..]);
    }
    if kind == 44 {
        let word = u16::from_be_bytes([rest[2], rest[3]]);
        out += &format!(" part {}{}", word & 0xfff8, if word & 1 != 0 { "+" } else { "" });
        if word & 0xfff8 != 0 {
            return out;
        }
        (kind, rest) = (rest[0], &rest[8..]);
    }
    let target = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&rest[at..at + 16]).unwrap());
    match (kind, rest[0]) {
        (58, 135) => out + &format!(" who-has {}", target(8)),
        (58, 136) => out + &format!(" is-at {} {:02x}", target(8), rest[4]),
        (58, ty) => out + &format!(" icmp {ty}/{} {}", rest[1], u16::from_be_bytes([rest[6], rest[7]])),
        _ => out + &format!(" proto {kind}"),
    }
}
