//! Asking for routers, and reading what they say (RFC 4861, 4.1 and 4.2; RFC 4191).

use std::net::Ipv6Addr;
use std::sync::Arc;

use pernet::Origin;

use super::icmp::ty::ROUTER_SOLICIT;
use super::ndisc::{self, opt};
use crate::dev::{HwAddr, Link};
use crate::inet6::{self, Prefix6, PrefixInfo, RouteOption, RouterAdvert, devconf};
use crate::l2::{Cx, dev_queue_xmit, hard_header};
use crate::neigh::{self, Heard, NeighState};

/// All routers on the link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Bytes before the options of an advertisement, and of a solicitation.
const LEN: usize = 16;
const SOLICIT_LEN: usize = 8;

/// Types of options.
mod kind {
    pub(super) const PREFIX: u8 = 3;
    pub(super) const MTU: u8 = 5;
    pub(super) const ROUTE: u8 = 24;
    /// What is for programs: prefixes, name servers, search lists, a portal, a NAT64's prefix.
    pub(super) const FOR_PROGRAMS: [u8; 5] = [PREFIX, 25, 31, 37, 38];
}

/// Asks for routers (`ndisc_send_rs`).
pub(in crate::l3) fn solicit(cx: Cx<'_>, ifindex: u32) {
    let Some(link) = cx.state.links.by_index(ifindex).filter(|link| link.is_up()) else { return };
    let Some(own) = inet6::link_local_of(cx.ns(), ifindex) else { return };
    let mut message = vec![0; SOLICIT_LEN];
    message[0] = ROUTER_SOLICIT;
    if !link.address.as_bytes().is_empty() {
        message.extend(ndisc::option(opt::SOURCE, link.address.as_bytes()));
    }
    let mut frame = ndisc::packet(cx.state, &link, (own, ALL_ROUTERS), &message);
    hard_header(&mut frame, &link, &ndisc::group_address(ALL_ROUTERS));
    // Asked again if nobody answers.
    let _ = dev_queue_xmit(cx, &link, frame);
}

/// Somebody asks for routers: whoever is one knows then where he is, and that he is none (`ndisc_recv_rs`). To answer is for
/// a program.
pub(super) fn solicited(cx: Cx<'_>, link: &Arc<Link>, from: Ipv6Addr, message: &[u8]) {
    let forwards = inet6::setting(cx.ns(), link, devconf::FORWARDING) != 0;
    // Who checks an address yet has none that anybody could be told of.
    if !forwards || from.is_unspecified() {
        return;
    }
    let Some(options) = ndisc::options(message, SOLICIT_LEN) else { return };
    let Ok(address) = ndisc::address(&options, opt::SOURCE) else { return };
    let heard = Heard {
        dst: from.into(),
        address,
        state: NeighState::STALE,
        overrides: true,
        doubts: true,
        create: true,
        router: Some(false),
    };
    neigh::heard(cx, link, &heard);
}

/// A router makes itself known, or is to be believed no more.
pub(super) fn advert(cx: Cx<'_>, link: &Arc<Link>, router: Ipv6Addr, message: &[u8]) {
    if !inet6::is_link_local(router) {
        return;
    }
    let Some((said, address)) = parse(message) else { return };
    let ns = cx.ns();
    let told = {
        let mut rtnl = cx.stack.rtnl(Origin::KERNEL);
        // It may have gone down since.
        if ns.state().links.by_index(link.index()).is_none_or(|link| !link.is_up()) {
            return;
        }
        inet6::router_advert(&mut rtnl, ns, link, router, &said)
    };
    let Some(told) = told else { return };
    let heard = Heard {
        dst: router.into(),
        address,
        state: NeighState::STALE,
        overrides: true,
        doubts: true,
        create: true,
        router: Some(true),
    };
    neigh::heard(cx, link, &heard);
    let mut rtnl = cx.stack.rtnl(Origin::KERNEL);
    if ns.state().links.by_index(link.index()).is_some_and(|link| link.is_up()) {
        inet6::link_advert(&mut rtnl, ns, link, router, &said, told);
    }
}

/// What is in an advertisement, and the router's address on the link; `None` if it is broken.
fn parse(message: &[u8]) -> Option<(RouterAdvert, Option<HwAddr>)> {
    let fixed: &[u8; LEN] = message.first_chunk()?;
    let options = ndisc::options(message, LEN)?;
    let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| fixed[at + i]));
    let mut said = RouterAdvert {
        hop_limit: fixed[4],
        managed: (fixed[5] & 0x80) >> 1 | (fixed[5] & 0x40) << 1,
        pref: pref(fixed[5]).unwrap_or(0),
        lifetime: u16::from_be_bytes([fixed[6], fixed[7]]),
        reachable: word(8),
        retrans: word(12),
        ..RouterAdvert::default()
    };
    for (kind, body) in &options {
        match *kind {
            kind::PREFIX => said.prefixes.extend(prefix(body)),
            kind::MTU => said.mtu = body.get(2..).and_then(|rest| rest.first_chunk().copied()).map(u32::from_be_bytes),
            kind::ROUTE => said.routes.extend(route(body)),
            _ => {}
        }
        if kind::FOR_PROGRAMS.contains(kind) {
            let units = (body.len() + 2) / 8;
            said.user.push([&[*kind, units as u8], *body].concat());
        }
    }
    Some((said, ndisc::address(&options, opt::SOURCE).ok().flatten()))
}

/// A preference; `None` for the one that there is not (RFC 4191, 2.1).
const fn pref(flags: u8) -> Option<u8> {
    match flags >> 3 & 3 {
        2 => None,
        pref => Some(pref),
    }
}

fn prefix(body: &[u8]) -> Option<PrefixInfo> {
    let body: &[u8; 30] = body.first_chunk()?;
    let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| body[at + i]));
    Some(PrefixInfo {
        prefix: Ipv6Addr::from(*body.last_chunk::<16>()?),
        len: body[0],
        flags: body[1],
        valid: word(2),
        preferred: word(6),
    })
}

fn route(body: &[u8]) -> Option<RouteOption> {
    let ([len, flags, life @ ..], bytes) = body.split_first_chunk::<6>()?;
    let pref = pref(*flags)?;
    // As many bytes of the prefix as it has bits are there.
    let mut octets = [0; 16];
    if *len > 128 || usize::from(*len).div_ceil(8) > bytes.len() || bytes.len() > octets.len() {
        return None;
    }
    octets[..bytes.len()].copy_from_slice(bytes);
    Some(RouteOption { dst: Prefix6::new(octets.into(), *len), pref, lifetime: u32::from_be_bytes(*life) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_is_read_whole() {
        let mut message = vec![134, 0, 0, 0, 33, 0xc8, 7, 8, 0, 0, 0x4e, 0x20, 0, 0, 7, 0xd0];
        message.extend([3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 7, 8, 0, 0, 0, 0, 0xfd, 1]);
        message.extend([0; 14]);
        message.extend([1, 1, 2, 0, 0, 0, 0, 11, 5, 1, 0, 0, 0, 0, 5, 120]);
        message.extend([24, 2, 48, 0x18, 0, 0, 2, 88, 0xfd, 0x99, 0, 0, 0, 0, 0, 0]);
        let (said, address) = parse(&message).unwrap();
        assert_eq!((said.hop_limit, said.managed, said.pref, said.lifetime), (33, 0xc0, 1, 1800));
        assert_eq!((said.reachable, said.retrans, said.mtu), (20_000, 2000, Some(1400)));
        let prefix =
            PrefixInfo { prefix: "fd01::".parse().unwrap(), len: 64, flags: 0xc0, valid: 3600, preferred: 1800 };
        assert_eq!(said.prefixes, [prefix]);
        assert_eq!(said.routes[0].dst, Prefix6::new("fd99::".parse().unwrap(), 48));
        assert_eq!((said.routes[0].pref, said.routes[0].lifetime), (3, 600));
        assert_eq!((said.user.len(), said.user[0].len()), (1, 32));
        assert_eq!(address, HwAddr::new(&[2, 0, 0, 0, 0, 11]));
        // Broken ones say nothing at all.
        for len in 0..message.len() {
            let whole = [16, 48, 56, 64].contains(&len);
            assert_eq!(parse(&message[..len]).is_some(), whole, "{len}");
        }
    }

    #[test]
    fn a_route_needs_its_bits() {
        assert!(route(&[64, 0, 0, 0, 0, 9]).is_none());
        assert!(route(&[0, 0, 0, 0, 0, 9]).unwrap().dst.is_any());
        assert!(route(&[0, 0x10, 0, 0, 0, 9]).is_none(), "no such preference");
    }
}
