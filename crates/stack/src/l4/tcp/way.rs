//! The way to a connection's peer, and how much goes by it at once.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::options::Options;
use super::segment;
use super::sock::{Inner, Sock};
use crate::inet6::Prefer;
use crate::l2::Cx;
use crate::l3::{self, Flow, Route};

/// What a network header takes of each packet, with TCP's.
const HEADERS4: u32 = 40;
const HEADERS6: u32 = 60;
/// And a link-layer header.
const LINK_HEADER: u32 = 14;

impl Inner {
    /// The device that it is bound to (`sk_bound_dev_if`), by name or by the scope of an address; 0 for none.
    pub(super) fn device(&self) -> u32 {
        if self.options.device != 0 { self.options.device } else { self.scope }
    }

    /// It is bound to the device of its own or its peer's link-local address.
    pub(super) fn bind_to_scope(&mut self, scope: u32) {
        self.scope = scope;
        if self.options.device != 0 {
            self.options.device = scope;
        }
    }
}

impl Sock {
    /// The way to the peer of a connection, which is looked up again when configuration has changed (`sk_dst_check`).
    pub(super) fn known_route(&self, cx: Cx<'_>, inner: &mut Inner, src: IpAddr, dst: IpAddr) -> Result<Route, i32> {
        // Before it is looked up: see there.
        let generation = cx.state.generation();
        let flow = self.flow(inner, Some(src), dst);
        if let Some(known) = &inner.way
            && known.0 == generation
            && known.1 == flow
            && !l3::learned_any(cx.state)
        {
            return Ok(known.2.clone());
        }
        let route = l3::route_output(cx, &flow)?;
        inner.way = Some(Box::new((generation, flow, route.clone())));
        Ok(route)
    }

    /// An address as this socket shows it: IPv4's are mapped on an IPv6 socket.
    pub(super) fn shown(&self, addr: SocketAddr, scope: u32) -> SocketAddr {
        match addr {
            SocketAddr::V4(v4) if self.v6 => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
                SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope).into()
            }
            other => other,
        }
    }

    /// The way to the peer.
    pub(super) fn route(&self, cx: Cx<'_>, inner: &Inner, src: Option<IpAddr>, dst: IpAddr) -> Result<Route, i32> {
        l3::route_output(cx, &self.flow(inner, src, dst))
    }

    pub(super) fn flow(&self, inner: &Inner, src: Option<IpAddr>, dst: IpAddr) -> Flow {
        let oif = inner.device();
        let port = |addr: Option<SocketAddr>| addr.map_or(0, |addr| addr.port());
        Flow {
            src,
            oif,
            bound: oif != 0,
            mark: inner.options.mark,
            tos: inner.options.heeded(dst.is_ipv6()).tos,
            protocol: segment::PROTOCOL,
            sport: port(inner.local),
            dport: port(inner.peer),
            uid: inner.uid,
            on_link: inner.options.dont_route,
            any_source: inner.options.transparent,
            prefer: if src.is_some() { Prefer::Usual } else { inner.options.prefer() },
            ..Flow::to(dst)
        }
    }
}

/// Bytes of the largest packet that the device on the way takes whole, to be cut where it leaves the stack; 0 if none.
pub(super) fn largest_unit(cx: Cx<'_>, route: &Route) -> u32 {
    let Some(link) = cx.state.links.by_index(route.oif) else { return 0 };
    let takes = cx.stack.eth_features(cx.net, &link).takes_tso(route.dst.is_ipv6());
    // The device counts its own header, too, and no packet of IPv4 is longer than this.
    let limit = link.offload().gso_max_size.min(u16::MAX.into());
    if takes { limit.saturating_sub(LINK_HEADER) } else { 0 }
}

/// Bytes of data in the largest segment that fits.
pub(super) fn largest_segment(route: &Route, options: &Options) -> u16 {
    let headers = if route.dst.is_ipv4() { HEADERS4 } else { HEADERS6 };
    let mut largest = route.mtu.saturating_sub(headers);
    for limit in [route.advmss, u32::from(options.max_segment)] {
        if limit != 0 {
            largest = largest.min(limit);
        }
    }
    // With headers no packet is longer than 65,535 bytes; shorter than 48 nobody's segments are (`TCP_MIN_MSS`).
    largest.clamp(48 + 12, u32::from(u16::MAX) - headers) as u16
}
