//! Which way a packet would go (`RTM_GETROUTE`, `ip route get`).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use pernet::Net;

use super::lookup::{Flow4, FlowHop, LOOPBACK_IFINDEX, address_type, fib_lookup};
use super::table::{Alias, Key};
use super::{FibInfo, Gateway, NextHop, RT_TABLE_LOCAL, RT_TABLE_MAIN, RouteView, route_type, scope};
use crate::dev::{IfFlags, Stack};
use crate::l3::{self, Learned, Path};
use crate::multipath::{self, Seen};
use crate::rules::{self, Family};
use crate::state::{ConfOf, NetState, Ns};
use crate::{errno, inet};

/// `RTCF_*`: what is special about a route that was found.
pub(crate) mod rtcf {
    pub(super) const REDIRECTED: u32 = 0x4_0000;
    pub(crate) const DOREDIRECT: u32 = 0x0100_0000;
    pub(super) const BROADCAST: u32 = 0x1000_0000;
    pub(super) const MULTICAST: u32 = 0x2000_0000;
    pub(crate) const LOCAL: u32 = 0x8000_0000;
}

/// A packet whose way is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteQuery {
    /// Destination.
    pub dst: Ipv4Addr,
    /// Source, 0.0.0.0 for whichever is right.
    pub src: Ipv4Addr,
    /// Device it came in by; 0 for a packet of this host.
    pub iif: u32,
    /// Device it must leave by; 0 for any.
    pub oif: u32,
    /// Firewall mark.
    pub mark: u32,
    /// Type of service.
    pub tos: u8,
    /// User who sends it.
    pub uid: u32,
    /// IP protocol.
    pub protocol: u8,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Tell the entry of the table instead of what it comes to.
    pub fib_match: bool,
    /// Which of several ways it takes, where more of the packet decides than is said here.
    pub spread: Option<u64>,
}

impl RouteQuery {
    /// A packet of this host, of which nothing is known but where it goes.
    #[must_use]
    pub const fn to(dst: Ipv4Addr) -> Self {
        Self {
            dst,
            src: Ipv4Addr::UNSPECIFIED,
            iif: 0,
            oif: 0,
            mark: 0,
            tos: 0,
            uid: 0,
            protocol: 0,
            sport: 0,
            dport: 0,
            fib_match: false,
            spread: None,
        }
    }
}

/// The way a packet goes (`struct rtable`).
#[derive(Clone, Debug)]
pub struct RouteAnswer {
    /// The table the route is in; the main one if none was needed.
    pub table: u32,
    /// [`route_type`].
    pub kind: u8,
    /// Type of service that the route is for.
    pub tos: u8,
    /// Device it leaves by; the loopback if it is for this host.
    pub oif: u32,
    /// Device that has the address, if it is for this host: who receives it is told of that one. Else as `oif`.
    pub device: u32,
    /// Router.
    pub gateway: Gateway,
    /// Source address it gets; `None` if it had one.
    pub prefsrc: Option<Ipv4Addr>,
    /// Realm.
    pub flow: u32,
    /// Where the metrics are, if a route was used.
    pub info: Option<Arc<FibInfo>>,
    /// `RTCF_*`: for this host, broadcast, multicast, to be redirected.
    pub flags: u32,
    /// What packets learnt of the way.
    pub learned: Option<Learned>,
}

impl RouteAnswer {
    /// What is learnt of the way of packets to `dst` is learnt of this.
    pub(crate) fn path(&self, dst: Ipv4Addr) -> Path {
        let route = self.info.as_ref().map_or(0, |info| info.id.number());
        Path { route, dst: dst.into(), oif: self.oif, gateway: self.gateway.addr() }
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum RouteReply {
    /// The way.
    Way(RouteAnswer),
    /// The entry.
    Match(RouteView),
}

impl Stack {
    /// Finds the way of a packet.
    ///
    /// # Errors
    /// A positive errno: `ENETUNREACH`, `EHOSTUNREACH`, `EACCES` and `EINVAL` as the routes say, `EINVAL` for addresses
    /// that no packet may carry, `ENODEV`.
    pub fn route_get4(&self, net: &Net, query: &RouteQuery) -> Result<RouteReply, i32> {
        let state = self.state(net).ok_or(errno::ENODEV)?;
        let ns = Ns::living(state, net);
        let mut used = None;
        let way =
            if query.iif == 0 { output(ns, query, How::default(), &mut used) } else { input(ns, query, &mut used) };
        // Only counters tell apart what the reverse path filter refuses.
        let answer = way.map_err(|number| if number == errno::EXDEV { errno::EINVAL } else { number })?;
        if !query.fib_match {
            let tos = used.as_ref().map_or(0, |found| found.tos);
            let mut answer = RouteAnswer { tos, ..answer };
            if query.iif == 0 && answer.kind == route_type::UNICAST {
                with_learned(self, state, query.dst, &mut answer);
            }
            return Ok(RouteReply::Way(answer));
        }
        let found: FlowHop = used.ok_or(errno::EHOSTUNREACH)?;
        let alias = Alias { tos: found.tos, kind: found.kind, info: found.info };
        let key = Key::new(found.dst, found.dst_len);
        Ok(RouteReply::Match(super::update::view(ns, found.table, key, &alias)))
    }
}

/// Adds what packets learnt of the way.
fn with_learned(stack: &Stack, state: &NetState, dst: Ipv4Addr, answer: &mut RouteAnswer) {
    let path = answer.path(dst);
    answer.learned = l3::learned(state, &path, stack.inner().clock.now());
    if let Some(IpAddr::V4(nearer)) = answer.learned.and_then(|learned| learned.gateway) {
        answer.gateway = Gateway::V4(nearer);
        answer.flags |= rtcf::REDIRECTED;
    }
}

fn flow_of(query: &RouteQuery) -> Flow4 {
    Flow4 {
        dst: query.dst,
        src: query.src,
        oif: query.oif,
        iif: if query.iif == 0 { LOOPBACK_IFINDEX } else { query.iif },
        mark: query.mark,
        tos: query.tos,
        uid: query.uid,
        protocol: query.protocol,
        sport: query.sport,
        dport: query.dport,
        spread: query.spread,
        ..Flow4::default()
    }
}

/// What a sender may want besides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// The source need not be an address of this host.
    pub(crate) any_source: bool,
    /// Only routes to neighbours count.
    pub(crate) on_link: bool,
}

/// A packet of this host (`ip_route_output_key`).
///
/// # Errors
/// A positive errno, as the sender gets it.
pub(crate) fn output(ns: Ns<'_>, query: &RouteQuery, how: How, used: &mut Option<FlowHop>) -> Result<RouteAnswer, i32> {
    let mut flow = flow_of(query);
    flow.scope = if how.on_link { scope::LINK } else { scope::UNIVERSE };
    let had_source = !query.src.is_unspecified();
    if had_source {
        if query.src.is_multicast() || query.src.is_broadcast() {
            return Err(errno::EINVAL);
        }
        if !how.any_source && address_type(ns, query.src) != route_type::LOCAL {
            return Err(errno::ENETUNREACH);
        }
        if flow.oif == 0 && (flow.dst.is_multicast() || flow.dst.is_broadcast()) {
            // Groups are on the link of the source, which must be one of ours then.
            if address_type(ns, query.src) != route_type::LOCAL {
                return Err(errno::ENETUNREACH);
            }
            flow.oif = device_of(ns, query.src);
        }
    }
    if flow.oif != 0 {
        let link = ns.links.by_index(flow.oif).ok_or(errno::ENODEV)?;
        if !link.is_up() {
            return Err(errno::ENETUNREACH);
        }
        let local_group = flow.dst.is_broadcast() || flow.dst.octets()[..3] == [224, 0, 0];
        if local_group {
            if flow.src.is_unspecified() {
                flow.src = inet::select_addr(ns, Some(flow.oif), Ipv4Addr::UNSPECIFIED, scope::LINK);
            }
            return way_out(ns, &flow, None, had_source);
        }
        if flow.src.is_unspecified() {
            let reach = if flow.dst.is_multicast() { Some(scope::UNIVERSE) } else { None };
            let reach = reach.or_else(|| flow.dst.is_unspecified().then_some(scope::HOST));
            if let Some(reach) = reach {
                flow.src = inet::select_addr(ns, Some(flow.oif), Ipv4Addr::UNSPECIFIED, reach);
            }
        }
    }
    if flow.dst.is_unspecified() {
        let here = if flow.src.is_unspecified() { Ipv4Addr::LOCALHOST } else { flow.src };
        let prefsrc = (!had_source).then_some(here);
        let device = if flow.oif == 0 { LOOPBACK_IFINDEX } else { flow.oif };
        return Ok(RouteAnswer { device, ..to_here(RT_TABLE_MAIN, route_type::LOCAL, prefsrc, None, rtcf::LOCAL) });
    }
    match fib_lookup(ns, &flow) {
        Ok(found) => {
            *used = Some(found.clone());
            if found.kind == route_type::LOCAL {
                let prefsrc = Some(found.info.prefsrc).filter(|src| !src.is_unspecified()).unwrap_or(flow.dst);
                let prefsrc = (!had_source).then_some(prefsrc);
                let device = choose(ns, &found, &flow).oif;
                let here = to_here(found.table, route_type::LOCAL, prefsrc, Some(found.info), rtcf::LOCAL);
                return Ok(RouteAnswer { device, ..here });
            }
            let hop = choose(ns, &found, &flow);
            if flow.src.is_unspecified() {
                flow.src = source_for(ns, &found, &hop);
            }
            flow.oif = hop.oif;
            way_out(ns, &flow, Some((found, hop)), had_source)
        }
        // Told by which device, Linux takes the destination to be on its link.
        Err(_) if flow.oif != 0 => {
            if flow.src.is_unspecified() {
                flow.src = inet::select_addr(ns, Some(flow.oif), Ipv4Addr::UNSPECIFIED, scope::LINK);
            }
            way_out(ns, &flow, None, had_source)
        }
        Err(number) => Err(number),
    }
}

/// Through a device (`__mkroute_output`).
fn way_out(ns: Ns<'_>, flow: &Flow4, found: Option<(FlowHop, NextHop)>, had_source: bool) -> Result<RouteAnswer, i32> {
    let link = ns.links.by_index(flow.oif).ok_or(errno::ENODEV)?;
    let loopback = link.flags().contains(IfFlags::LOOPBACK);
    if flow.src.is_loopback() && !loopback {
        return Err(errno::EINVAL);
    }
    let kind = if flow.dst.is_broadcast() {
        route_type::BROADCAST
    } else if flow.dst.is_multicast() {
        route_type::MULTICAST
    } else if flow.dst.is_unspecified() {
        return Err(errno::EINVAL);
    } else {
        found.as_ref().map_or(route_type::UNICAST, |(found, _)| found.kind)
    };
    let mut flags = if loopback { rtcf::LOCAL } else { 0 };
    match kind {
        route_type::BROADCAST => flags |= rtcf::BROADCAST | rtcf::LOCAL,
        route_type::MULTICAST => {
            flags |= rtcf::MULTICAST;
            if is_member(ns, flow.oif, flow.dst) {
                flags |= rtcf::LOCAL;
            }
        }
        _ => {}
    }
    // Broadcasts and groups are on the link, whatever the route says.
    let direct = matches!(kind, route_type::BROADCAST | route_type::MULTICAST);
    let hop = found.as_ref().map(|(_, hop)| *hop);
    Ok(RouteAnswer {
        table: found.as_ref().map_or(RT_TABLE_MAIN, |(found, _)| found.table),
        kind,
        tos: 0,
        oif: flow.oif,
        device: flow.oif,
        gateway: hop.filter(|_| !direct).map_or(Gateway::None, |hop| hop.gateway),
        prefsrc: Some(flow.src).filter(|src| !had_source && !src.is_unspecified()),
        flow: hop.map_or(0, |hop| hop.flow),
        info: found.map(|(found, _)| found.info),
        flags,
        learned: None,
    })
}

fn to_here(table: u32, kind: u8, prefsrc: Option<Ipv4Addr>, info: Option<Arc<FibInfo>>, flags: u32) -> RouteAnswer {
    RouteAnswer {
        table,
        kind,
        tos: 0,
        oif: LOOPBACK_IFINDEX,
        device: LOOPBACK_IFINDEX,
        gateway: Gateway::None,
        prefsrc,
        flow: 0,
        info,
        flags,
        learned: None,
    }
}

/// Of several ways out the one this packet takes: always the same for the same two ends, or for what else packets are told
/// apart by (`fib_select_multipath`).
fn choose(ns: Ns<'_>, found: &FlowHop, flow: &Flow4) -> NextHop {
    let total: u64 = found.usable.iter().map(|hop| u64::from(hop.weight)).sum();
    let policy = multipath::policy(ns, false);
    let hash = if policy.is_born() {
        let ends = u64::from(u32::from(flow.src)) << 32 | u64::from(u32::from(flow.dst));
        // Fibonacci hashing: the upper bits depend on all of the lower.
        ends.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    } else {
        flow.spread.unwrap_or_else(|| {
            let Flow4 { src, dst, protocol, sport, dport, .. } = *flow;
            policy.hash(&Seen { src: src.into(), dst: dst.into(), protocol, sport, dport, label: 0 }, None)
        })
    };
    let mut share = (hash >> 33) % total.max(1);
    for hop in &found.usable {
        if share < u64::from(hop.weight) {
            return *hop;
        }
        share -= u64::from(hop.weight);
    }
    found.usable[0]
}

/// The source address that goes with a way out (`fib_result_prefsrc`).
fn source_for(ns: Ns<'_>, found: &FlowHop, hop: &NextHop) -> Ipv4Addr {
    if !found.info.prefsrc.is_unspecified() {
        return found.info.prefsrc;
    }
    let near = match hop.gateway {
        Gateway::V4(gateway) => gateway,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    inet::select_addr(ns, Some(hop.oif), near, found.info.scope)
}

/// The device that has an address of this host, 0 if none.
fn device_of(ns: Ns<'_>, address: Ipv4Addr) -> u32 {
    let Some(fib) = ns.peek_fib() else { return 0 };
    let Some(table) = fib.table(RT_TABLE_LOCAL) else { return 0 };
    let first = table.matches(address).next().and_then(|(_, aliases)| aliases.first());
    first.and_then(|alias| alias.info.hops().first()).map_or(0, |hop| hop.oif)
}

/// A packet from outside (`ip_route_input`).
///
/// # Errors
/// A positive errno: `EINVAL` and `EXDEV` for packets that cannot be, else what routes say.
pub(crate) fn input(ns: Ns<'_>, query: &RouteQuery, used: &mut Option<FlowHop>) -> Result<RouteAnswer, i32> {
    let link = ns.links.by_index(query.iif).ok_or(errno::ENODEV)?;
    if query.dst.is_multicast() {
        return input_group(ns, query);
    }
    let RouteQuery { src, dst, .. } = *query;
    if src.is_multicast() || src.is_broadcast() {
        return Err(errno::EINVAL);
    }
    let broadcast = |table| Ok(to_here(table, route_type::BROADCAST, None, None, rtcf::BROADCAST | rtcf::LOCAL));
    if dst.is_broadcast() || src.is_unspecified() && dst.is_unspecified() {
        return broadcast(RT_TABLE_MAIN);
    }
    if src.is_unspecified() || dst.is_unspecified() {
        return Err(errno::EINVAL);
    }
    let localnet = inet_conf(ns, query.iif, conf::ROUTE_LOCALNET) || link.flags().contains(IfFlags::LOOPBACK);
    if (src.is_loopback() || dst.is_loopback()) && !localnet {
        return Err(errno::EINVAL);
    }
    let forwards = inet_conf_dev(ns, query.iif, conf::FORWARDING);
    let flow = Flow4 { oif: 0, ..flow_of(query) };
    let found = fib_lookup(ns, &flow).map_err(|number| if forwards { number } else { errno::EHOSTUNREACH })?;
    *used = Some(found.clone());
    match found.kind {
        route_type::BROADCAST => {
            validate_source(ns, query, 0)?;
            return broadcast(found.table);
        }
        route_type::LOCAL => {
            validate_source(ns, query, 0)?;
            return Ok(to_here(found.table, route_type::LOCAL, None, Some(found.info), rtcf::LOCAL));
        }
        _ if !forwards => return Err(errno::EHOSTUNREACH),
        route_type::UNICAST => {}
        _ => return Err(errno::EINVAL),
    }
    let hop = choose(ns, &found, &flow);
    let near = validate_source(ns, query, hop.oif)?;
    // The sender could have handed it to the next router himself, or to the host it is for.
    let redirect = near
        && redirects(ns, query.iif, hop.oif)
        && (inet_conf(ns, hop.oif, conf::SHARED_MEDIA)
            || inet::on_link(ns, hop.oif, src, if let Gateway::V4(gateway) = hop.gateway { gateway } else { src }));
    Ok(RouteAnswer {
        table: found.table,
        kind: found.kind,
        tos: 0,
        oif: hop.oif,
        device: hop.oif,
        gateway: hop.gateway,
        prefsrc: None,
        flow: hop.flow,
        info: Some(found.info),
        flags: if redirect { rtcf::DOREDIRECT } else { 0 },
        learned: None,
    })
}

fn input_group(ns: Ns<'_>, query: &RouteQuery) -> Result<RouteAnswer, i32> {
    if !is_member(ns, query.iif, query.dst) || query.src.is_multicast() || query.src.is_broadcast() {
        return Err(errno::EINVAL);
    }
    Ok(to_here(RT_TABLE_MAIN, route_type::MULTICAST, None, None, rtcf::MULTICAST | rtcf::LOCAL))
}

/// Whether senders are told of nearer ways when a packet leaves by the device it came in by.
fn redirects(ns: Ns<'_>, iif: u32, oif: u32) -> bool {
    iif == oif && inet_conf(ns, oif, conf::SEND_REDIRECTS)
}

/// Whether a packet that is to leave by `oif`, 0 for this host, may come from where it says (`fib_validate_source`), and
/// if so whether the sender is known to be on the link.
fn validate_source(ns: Ns<'_>, query: &RouteQuery, oif: u32) -> Result<bool, i32> {
    let filter = inet::conf(ns, ConfOf::All, conf::RP_FILTER)
        .unwrap_or(0)
        .max(inet::conf(ns, ConfOf::Dev(query.iif), conf::RP_FILTER).unwrap_or(0));
    let accept_local = inet_conf(ns, query.iif, conf::ACCEPT_LOCAL);
    // Where nothing hangs on the way back, only who uses this host's own addresses is refused.
    if filter == 0 && !redirects(ns, query.iif, oif) {
        if accept_local {
            return Ok(false);
        }
        if let Some(ours) = is_address(ns, query.src) {
            return if ours { Err(errno::EINVAL) } else { Ok(false) };
        }
    }
    let flow = Flow4 { dst: query.src, src: query.dst, oif: 0, tos: query.tos, ..Flow4::default() };
    let Ok(back) = fib_lookup(ns, &flow) else {
        return if filter == 0 { Ok(false) } else { Err(errno::EXDEV) };
    };
    if back.kind != route_type::UNICAST && (back.kind != route_type::LOCAL || !accept_local) {
        return Err(errno::EINVAL);
    }
    let same = back.usable.iter().find(|hop| hop.oif == query.iif);
    match same {
        Some(hop) => Ok(!hop.gateway.is_some()),
        None if filter == 1 => Err(errno::EXDEV),
        None => Ok(false),
    }
}

/// Whether this host has the address (`inet_lookup_ifaddr`); `None` where rules or local routes that somebody made could
/// say something else of it.
fn is_address(ns: Ns<'_>, address: Ipv4Addr) -> Option<bool> {
    if rules::has_custom(ns, Family::Inet) {
        return None;
    }
    let Some(fib) = ns.peek_fib() else { return Some(false) };
    let routes = fib.table(RT_TABLE_LOCAL).map_or(&[][..], |table| table.at(Key::new(address, 32)));
    (!fib.has_custom_local()).then(|| routes.iter().any(|alias| alias.kind == route_type::LOCAL))
}

/// Numbers of the settings that are asked here (`IPV4_DEVCONF_*`).
mod conf {
    pub(super) const FORWARDING: usize = 1;
    pub(super) const SEND_REDIRECTS: usize = 6;
    pub(super) const SHARED_MEDIA: usize = 7;
    pub(super) const RP_FILTER: usize = 8;
    pub(super) const ACCEPT_LOCAL: usize = 23;
    pub(super) const ROUTE_LOCALNET: usize = 26;
}

/// A setting that is on if it is on for the device or for all.
fn inet_conf(ns: Ns<'_>, index: u32, number: usize) -> bool {
    inet::conf(ns, ConfOf::All, number).is_some_and(|value| value != 0) || inet_conf_dev(ns, index, number)
}

fn inet_conf_dev(ns: Ns<'_>, index: u32, number: usize) -> bool {
    inet::conf(ns, ConfOf::Dev(index), number).is_some_and(|value| value != 0)
}

/// Whether this host listens to a group on a device.
fn is_member(ns: Ns<'_>, index: u32, group: Ipv4Addr) -> bool {
    inet::is_member(ns, index, group)
}
