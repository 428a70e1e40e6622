//! Another router is nearer, or the destination itself (RFC 4861, 8).

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use super::header::Ipv6Header;
use super::ndisc::{self, opt};
use super::{icmp, route};
use crate::dev::Link;
use crate::inet6::{self, devconf};
use crate::l2::{Cx, Frame};
use crate::neigh::{self, Heard, NeighState};

/// Bytes before the options.
const LEN: usize = 40;
/// Longest message with its header.
const MAX: usize = 1280;
/// "Redirected header".
const QUOTE: u8 = 4;

/// Tells the sender of a packet, which goes back where it came from, that `nearer` is on his link (`ndisc_send_redirect`).
pub(super) fn send(cx: Cx<'_>, link: &Arc<Link>, frame: &Frame, header: &Ipv6Header, nearer: Ipv6Addr) {
    let ns = cx.ns();
    // Routers are known to each other by such addresses; the destination itself may have any.
    if nearer != header.dst && !inet6::is_link_local(nearer) {
        return;
    }
    let Some(own) = inet6::link_local_of(ns, link.index()) else { return };
    if !cx.state.l3.icmp6.lock().host(header.src.into(), cx.now(), Duration::from_secs(1)) {
        return;
    }
    let mut message = vec![0; LEN];
    message[0] = icmp::ty::REDIRECT;
    message[8..24].copy_from_slice(&nearer.octets());
    message[24..40].copy_from_slice(&header.dst.octets());
    let room = MAX - 40 - LEN - 8;
    let quoted = &frame.data()[..frame.len().min(room) & !7];
    let mut body = vec![0; 6];
    body.extend_from_slice(quoted);
    message.extend(ndisc::option(QUOTE, &body));
    let packet = ndisc::packet(cx.state, link, (own, header.src), &message);
    // Nobody waits for its fate.
    let _ = neigh::output(cx, link, header.src.into(), packet);
}

/// A router says so (`ndisc_redirect_rcv`).
pub(super) fn receive(cx: Cx<'_>, link: &Arc<Link>, from: Ipv6Addr, message: &[u8]) {
    let Some(fixed) = message.first_chunk::<LEN>() else { return };
    let Some(options) = ndisc::options(message, LEN) else { return };
    let addr = |at: usize| Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| fixed[at + i]));
    let (nearer, dst) = (addr(8), addr(24));
    let on_link = nearer == dst;
    let sound = inet6::is_link_local(from) && !dst.is_multicast() && (on_link || inet6::is_link_local(nearer));
    let ns = cx.ns();
    let accepts = inet6::setting(ns, link, devconf::ACCEPT_REDIRECTS) != 0;
    if !sound || !accepts || inet6::setting(ns, link, devconf::FORWARDING) != 0 {
        return;
    }
    let Ok(address) = ndisc::address(&options, opt::TARGET) else { return };
    if let Some(address) = address {
        let heard = Heard {
            dst: nearer.into(),
            address: Some(address),
            state: NeighState::STALE,
            overrides: true,
            doubts: true,
            create: true,
            router: (!on_link).then_some(true),
        };
        neigh::heard(cx, link, &heard);
    }
    route::learn_gateway(cx, link, from, dst, nearer);
}
