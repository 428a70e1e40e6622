//! Another router is nearer (ICMP redirect, RFC 1122, 3.2.2.2).

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::header::Ipv4Header;
use super::icmp;
use super::route;
use crate::dev::Link;
use crate::fib::{self, Gateway, How, RouteAnswer, RouteQuery, route_type};
use crate::inet;
use crate::l2::{Cx, Frame};
use crate::l3::{Quote, Reach, Received};
use crate::neigh;
use crate::state::ConfOf;

/// Numbers of settings (`IPV4_DEVCONF_*`).
mod conf {
    pub(super) const FORWARDING: usize = 1;
    pub(super) const ACCEPT_REDIRECTS: usize = 4;
    pub(super) const SECURE_REDIRECTS: usize = 5;
    pub(super) const SEND_REDIRECTS: usize = 6;
    pub(super) const SHARED_MEDIA: usize = 7;
}

/// "For this host", the only kind that is sent.
const HOST: u8 = 1;

fn on(cx: Cx<'_>, link: &Link, number: usize) -> (bool, bool) {
    let is = |of| inet::conf(cx.ns(), of, number).is_some_and(|value| value != 0);
    (is(ConfOf::All), is(ConfOf::Dev(link.index())))
}

/// Tells the sender of a packet, which goes back where it came from, that he could have sent it to the next router himself
/// (`ip_rt_send_redirect`).
pub(super) fn send(cx: Cx<'_>, link: &Arc<Link>, frame: &Frame, header: &Ipv4Header, way: &RouteAnswer) {
    let (all, own) = on(cx, link, conf::SEND_REDIRECTS);
    if !(all || own) {
        return;
    }
    let gateway = match way.gateway {
        Gateway::V4(gateway) => gateway,
        _ => header.dst,
    };
    if cx.state.l3.redirects.lock().allows(header.src.into(), cx.now()) {
        let quote = Quote::of(frame, link.index(), Reach::Unicast);
        icmp::icmp_send(cx, quote, icmp::ty::REDIRECT, HOST, u32::from(gateway));
    }
}

/// Somebody says so (`__ip_do_redirect`).
pub(super) fn receive(cx: Cx<'_>, packet: &Received, from: Ipv4Addr) {
    let message = packet.frame.data();
    let Some(&[_, code, _, _, a, b, c, d]) = message.first_chunk::<8>() else { return };
    let Some(inner) = message.get(8..).and_then(Ipv4Header::parse) else { return };
    let nearer = Ipv4Addr::new(a, b, c, d);
    let Some(link) = cx.state.links.by_index(packet.iif) else { return };
    let ns = cx.ns();
    let (all, own) = on(cx, &link, conf::ACCEPT_REDIRECTS);
    let forwards = on(cx, &link, conf::FORWARDING).1;
    let accepts = if forwards { all && own } else { all || own };
    if !accepts || code > 3 || fib::address_type(ns, inner.src) != route_type::LOCAL {
        return;
    }
    let (shared_all, shared) = on(cx, &link, conf::SHARED_MEDIA);
    if shared_all || shared {
        if fib::address_type(ns, nearer) != route_type::UNICAST {
            return;
        }
    } else if !inet::on_link(cx.ns(), link.index(), nearer, from)
        || secure(cx, &link) && !is_default_router(cx, &link, nearer)
    {
        return;
    }
    let query =
        RouteQuery { src: inner.src, tos: inner.tos & 0xfc, protocol: inner.protocol, ..RouteQuery::to(inner.dst) };
    let how = How { any_source: true, on_link: false };
    let Ok(way) = fib::route_output(ns, &query, how, &mut None) else { return };
    // Only the router that is used may name another one, on its own link.
    let path = way.path(inner.dst);
    let used = route::learned(cx, &path).and_then(|learned| learned.gateway).or(path.gateway);
    if way.oif != link.index() || used != Some(from.into()) || nearer == from {
        return;
    }
    // Who is not known to be there is asked first; the next message counts.
    if neigh::is_valid(cx, &link, nearer.into()) {
        cx.state.l3.exceptions.learn_gateway(path, cx.now(), nearer.into());
        cx.stack.changed();
    } else {
        neigh::ask_for(cx, &link, nearer.into());
    }
}

fn secure(cx: Cx<'_>, link: &Link) -> bool {
    let (all, own) = on(cx, link, conf::SECURE_REDIRECTS);
    all || own
}

/// Whether a default route leads to the router (`ip_fib_check_default`).
fn is_default_router(cx: Cx<'_>, link: &Link, router: Ipv4Addr) -> bool {
    let fib = cx.state.peek_fib();
    let main = fib.as_ref().and_then(|fib| fib.table(fib::RT_TABLE_MAIN));
    let hops =
        main.into_iter().flat_map(|table| table.matches(Ipv4Addr::UNSPECIFIED)).filter(|(key, _)| key.len() == 0);
    let mut hops = hops.flat_map(|(_, aliases)| aliases).flat_map(|alias| alias.info.hops());
    hops.any(|hop| hop.oif == link.index() && hop.gateway == Gateway::V4(router))
}
