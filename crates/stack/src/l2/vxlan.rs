//! Ethernet in UDP (RFC 7348, `drivers/net/vxlan`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::backlog::netif_rx;
use super::{Checksum, Cx, Frame, Work, count, eth, upper, work_at, xmit};
use crate::clock;
use crate::dev::{FdbRemote, HwAddr, KindData, Link, Vxlan};
use crate::l3::{self, Flow, Header, PmtuDiscovery, Received};

/// Bytes of the header, and of UDP's before it.
const LEN: usize = 8;
const UDP_LEN: usize = 8;
const UDP: u8 = 17;
/// A tunnel in a tunnel in a tunnel is sent; a fourth is not.
const TUNNELS: u8 = 3;
/// The number of a network is there.
const HAS_VNI: u8 = 0x08;
/// Switches by their `IFLA_VXLAN_*` numbers.
const LEARNING: u8 = 7;
const UDP_CSUM: u8 = 18;
/// Ports to send from where nobody chose them: those of the namespace's programs.
const PORTS: (u16, u16) = (32_768, 60_999);

fn vxlan_of(link: &Link) -> Option<&Vxlan> {
    match link.data() {
        Some(KindData::Vxlan(vxlan)) => Some(vxlan),
        _ => None,
    }
}

/// Calls `with` with the namespace in which the tunnel's own packets are.
fn outside<T>(cx: Cx<'_>, link: &Link, with: impl FnOnce(Cx<'_>) -> T) -> Option<T> {
    match link.lower_net() {
        None => Some(with(cx)),
        Some(handle) => {
            let net = handle.upgrade()?;
            Cx::new(cx.stack, &net).map(with)
        }
    }
}

/// A tunnel sends: to the host that has the address, or to all that may have it. The frame's data begin at the link-layer
/// header.
pub(super) fn xmit(cx: Cx<'_>, link: &Arc<Link>, mut frame: Frame) {
    let Some(vxlan) = vxlan_of(link) else { return };
    upper::inline(&mut frame);
    l3::finish_checksum(&mut frame);
    let len = frame.len();
    let Some(dst) = frame.data().first_chunk::<6>().copied() else { return };
    let mut remotes = cx.state.links.remotes_of(link.index(), &HwAddr::from_six(dst), 0);
    if remotes.is_empty() {
        // Nobody knows: to where all such go.
        remotes = cx.state.links.remotes_of(link.index(), &HwAddr::ZERO6, 0);
    }
    let mut sent = false;
    let mut failed = None;
    for remote in remotes.into_iter().filter_map(|entry| entry.remote) {
        match outside(cx, link, |cx| to(cx, link, vxlan, &remote, &frame)).unwrap_or(Err(Unsent::Dropped)) {
            Ok(()) => sent = true,
            Err(why) => failed = Some(why),
        }
    }
    if sent {
        return xmit::sent(cx, link, len);
    }
    count(cx.state, link, |c| {
        let kind = match failed {
            Some(Unsent::NoRoute) => Some(&c.tx_carrier_errors),
            Some(Unsent::ThroughItself) => Some(&c.collisions),
            Some(Unsent::TooDeep) => None,
            Some(Unsent::Dropped) | None => {
                c.tx_dropped.fetch_add(1, Relaxed);
                return;
            }
        };
        c.tx_errors.fetch_add(1, Relaxed);
        kind.map(|kind| kind.fetch_add(1, Relaxed));
    });
}

/// Why a frame did not leave, as the counters tell it.
enum Unsent {
    /// No way to the host.
    NoRoute,
    /// The way to the host leads through the tunnel.
    ThroughItself,
    /// The way leads through other tunnels, and on and on.
    TooDeep,
    /// What was there to send did not go.
    Dropped,
}

/// To one host. `cx` is the namespace of the tunnel's own packets.
fn to(cx: Cx<'_>, link: &Link, vxlan: &Vxlan, remote: &FdbRemote, inner: &Frame) -> Result<(), Unsent> {
    let dport = remote.port.unwrap_or(vxlan.port);
    let sport = source_port(vxlan, inner);
    let flow = Flow {
        src: vxlan.local.filter(|local| !local.is_unspecified()),
        oif: remote.ifindex.or(vxlan.dev).unwrap_or(0),
        mark: inner.mark,
        protocol: UDP,
        sport,
        dport,
        flow_label: vxlan.label,
        ..Flow::to(remote.address)
    };
    let route = l3::route_output(cx, &flow).map_err(|_| Unsent::NoRoute)?;
    if link.lower_net().is_none() && route.oif == link.index() {
        return Err(Unsent::ThroughItself);
    }
    if xmit::depth() > TUNNELS {
        return Err(Unsent::TooDeep);
    }
    let mut frame = Frame::with_payload(inner.data());
    let header = frame.push(LEN);
    header.fill(0);
    header[0] = HAS_VNI;
    header[4..].copy_from_slice(&(remote.vni.unwrap_or(vxlan.id) << 8).to_be_bytes());
    let len = frame.len() + UDP_LEN;
    let udp = frame.push(UDP_LEN);
    udp.fill(0);
    udp[..2].copy_from_slice(&sport.to_be_bytes());
    udp[2..4].copy_from_slice(&dport.to_be_bytes());
    udp[4..6].copy_from_slice(&u16::try_from(len).unwrap_or(0).to_be_bytes());
    // IPv6 has no packets without; IPv4 has if it is not asked for.
    if vxlan.is_on(UDP_CSUM) || remote.address.is_ipv6() {
        let start = l3::pseudo_header_sum(route.src, route.dst, UDP, len);
        let sum = l3::internet_checksum(frame.data(), start);
        let sum = if sum == 0 { 0xffff } else { sum };
        frame.data_mut()[6..8].copy_from_slice(&sum.to_be_bytes());
    }
    frame.checksum = Checksum::Right;
    let df = vxlan.df == 1;
    let header = Header {
        protocol: UDP,
        tos: if vxlan.tos == 1 { 0 } else { vxlan.tos },
        hop_limit: (vxlan.ttl != 0).then_some(vxlan.ttl),
        pmtu: if df { PmtuDiscovery::Do } else { PmtuDiscovery::Dont },
        flow_label: vxlan.label,
        mark: inner.mark,
        ..Header::default()
    };
    l3::ip_output(cx, &route, &header, frame).map_err(|_| Unsent::Dropped)
}

/// The port to send from: the same for what belongs together inside.
fn source_port(vxlan: &Vxlan, inner: &Frame) -> u16 {
    let (low, high) = if vxlan.port_range.1 == 0 { PORTS } else { vxlan.port_range };
    let hash = inner
        .data()
        .iter()
        .take(eth::HLEN + 24)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let count = u64::from(high.saturating_sub(low)) + 1;
    low.saturating_add((hash % count) as u16)
}

/// A datagram came in: whether it is a tunnel's, which has it then. Its data begin at the UDP header.
pub(crate) fn vxlan_rcv(cx: Cx<'_>, packet: &Received) -> bool {
    if packet.protocol != UDP {
        return false;
    }
    let data = packet.frame.data();
    let Some(header) = data.first_chunk::<{ UDP_LEN + LEN }>() else { return false };
    let port = u16::from_be_bytes([header[2], header[3]]);
    if header[UDP_LEN] & HAS_VNI == 0 {
        return false;
    }
    let vni = u32::from_be_bytes([0, header[12], header[13], header[14]]);
    let Some(index) = cx.state.links.tunnel((vni, port, packet.dst.is_ipv6())) else { return false };
    let start = l3::pseudo_header_sum(packet.src, packet.dst, UDP, data.len());
    let unchecked = packet.frame.checksum != Checksum::Unknown || header[6..8] == [0; 2];
    if unchecked || l3::internet_checksum(data, start) == 0 {
        arrive(cx, index, packet);
    }
    true
}

/// What was in it arrives at the tunnel.
fn arrive(cx: Cx<'_>, index: u32, packet: &Received) {
    let Some(link) = cx.state.links.by_index(index).filter(|link| link.is_up()) else { return };
    let Some(vxlan) = vxlan_of(&link) else { return };
    let Some(inner) = packet.frame.data().get(UDP_LEN + LEN..) else { return };
    let mut frame = Frame::with_payload(inner);
    if eth::eth_type_trans(&mut frame, &link).is_none() {
        count(cx.state, &link, |c| _ = c.rx_errors.fetch_add(1, Relaxed));
        return;
    }
    let Some((_, src)) = eth::addresses(&frame) else { return };
    // One's own comes back from a group.
    if src == *link.address.as_bytes() {
        return;
    }
    if vxlan.is_on(LEARNING) && src[0] & 1 == 0 {
        let now = u64::from(clock::stamp(cx.now()));
        let most = usize::try_from(vxlan.limit).unwrap_or(0);
        if cx.state.links.learn_remote(index, HwAddr::from_six(src), packet.src, now, most) {
            // The first of them: they are looked through when they may be too old.
            work_at(cx, cx.now() + Duration::from_secs(vxlan.ageing.max(1).into()), Work::FdbAge(index));
        }
    }
    let len = frame.len();
    if netif_rx(cx, index, frame) {
        xmit::received(cx, &link, len);
    } else {
        count(cx.state, &link, |c| _ = c.rx_dropped.fetch_add(1, Relaxed));
    }
}
