//! What a request for a route says, and the checks that turn it into a route (`fib_create_info`).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::info::{FibInfo, Gateway, NextHop, hop_flag, route_type, scope};
use super::lookup::{Flow4, address_type, fib_lookup, in_table, type_in};
use super::{Insert, Metrics, RT_TABLE_MAIN, RouteError};
use crate::inet6::{self, Nexthop6};
use crate::l3::RouteId;
use crate::nexthop;
use crate::state::Ns;

/// One way out, as a request names it (`struct rtnexthop` with its attributes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopConfig {
    /// Device, 0 for whichever leads to the gateway.
    pub oif: u32,
    /// Router behind it.
    pub gateway: Gateway,
    /// [`hop_flag`]s.
    pub flags: u32,
    /// Share of the traffic less one (`rtnh_hops`).
    pub hops: u8,
    /// Realm.
    pub flow: u32,
}

/// A route as a request names it (`struct fib_config`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteConfig {
    /// Destination, host bits zero.
    pub dst: Option<Ipv4Addr>,
    /// Bits of the destination, at most 32.
    pub dst_len: u8,
    /// Type of service.
    pub tos: u8,
    /// Table; 0 for the main one.
    pub table: u32,
    /// `RTPROT_*`; 0 for any in a deletion.
    pub protocol: u8,
    /// `RT_SCOPE_*`; nowhere for any in a deletion.
    pub scope: u8,
    /// `RTN_*`; 0 for any in a deletion.
    pub kind: u8,
    /// `RTNH_F_*` of the only hop.
    pub flags: u32,
    /// Device; 0 for whichever leads to the gateway.
    pub oif: u32,
    /// Router.
    pub gateway: Gateway,
    /// Source address to send from.
    pub prefsrc: Option<Ipv4Addr>,
    /// Metric.
    pub priority: u32,
    /// Properties of the path.
    pub metrics: Metrics,
    /// Several ways out; `None` if not asked for.
    pub hops: Option<Vec<HopConfig>>,
    /// Realm.
    pub flow: u32,
    /// Nexthop object; 0 for none.
    pub nhid: u32,
}

impl RouteConfig {
    pub(crate) fn dst(&self) -> Ipv4Addr {
        self.dst.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Whether the request says itself where the route leads.
    fn names_hops(&self) -> bool {
        self.oif != 0 || self.gateway.is_some() || self.hops.is_some()
    }

    /// Whether a route with this information is one the request means (`fib_nh_match` and what `fib_table_delete` adds).
    pub(crate) fn matches(&self, kind: u8, info: &FibInfo) -> bool {
        let either = |asked: u32, is: u32| asked == 0 || asked == is;
        either(self.kind.into(), kind.into())
            && (self.scope == scope::NOWHERE || self.scope == info.scope)
            && self.prefsrc.is_none_or(|src| src == info.prefsrc)
            && either(self.protocol.into(), info.protocol.into())
            && either(self.priority, info.priority)
            && self.matches_hops(info)
            && info.metrics.matches(&self.metrics)
    }

    fn matches_hops(&self, info: &FibInfo) -> bool {
        if self.nhid != 0 {
            return info.nhid() == self.nhid;
        }
        if info.nexthop.is_some() {
            return !self.names_hops();
        }
        let fits = |hop: &NextHop, oif: u32, gateway: Gateway, flow: u32| {
            (oif == 0 || oif == hop.oif)
                && (!gateway.is_some() || gateway == hop.gateway)
                && (flow == 0 || flow == hop.flow)
        };
        if self.oif != 0 || self.gateway.is_some() {
            // Of several hops the first speaks for the route.
            return info.own.first().is_some_and(|hop| fits(hop, self.oif, self.gateway, self.flow));
        }
        let Some(hops) = &self.hops else { return true };
        hops.len() >= info.own.len()
            && hops.iter().zip(&info.own).all(|(asked, hop)| fits(hop, asked.oif, asked.gateway, asked.flow))
    }
}

/// The nearest scope a route of that type may have.
const fn least_scope(kind: u8) -> u8 {
    match kind {
        route_type::UNICAST | route_type::MULTICAST => scope::UNIVERSE,
        route_type::BLACKHOLE..=route_type::THROW => scope::UNIVERSE,
        route_type::LOCAL => scope::HOST,
        route_type::BROADCAST | route_type::ANYCAST => scope::LINK,
        _ => scope::NOWHERE,
    }
}

pub(super) const fn is_error_type(kind: u8) -> bool {
    matches!(kind, route_type::BLACKHOLE..=route_type::THROW)
}

/// Checks a request to the end and says what the route would lead to. Touches nothing.
pub(crate) fn create_info(ns: Ns<'_>, now: Duration, config: &RouteConfig) -> Result<FibInfo, RouteError> {
    if config.kind > route_type::MAX {
        return Err(RouteError::InvalidType);
    }
    if least_scope(config.kind) > config.scope {
        return Err(RouteError::InvalidScope);
    }
    if config.flags & (hop_flag::DEAD | hop_flag::LINKDOWN) != 0 {
        return Err(RouteError::DeadFlags);
    }
    let mut info = FibInfo {
        protocol: config.protocol,
        scope: config.scope,
        kind: config.kind,
        prefsrc: config.prefsrc.unwrap_or(Ipv4Addr::UNSPECIFIED),
        priority: config.priority,
        table: config.table,
        metrics: config.metrics.clone(),
        own: Vec::new(),
        nexthop: None,
        id: RouteId::new(),
    };
    if config.nhid != 0 {
        let object = nexthop::get(ns, config.nhid).ok_or(RouteError::NoSuchNexthop)?;
        if object.fdb {
            return Err(RouteError::FdbNexthop);
        }
        let is_group = object.group.is_some();
        nexthop_fits(config.scope, &object.hops, is_group)?;
        info.nexthop = Some(object);
    } else if is_error_type(config.kind) {
        if config.names_hops() {
            return Err(RouteError::ErrorWithHops);
        }
        // A hop that leads nowhere, which such a route has all the same.
        info.own.push(hop(&HopConfig { flow: config.flow, ..HopConfig::default() }, 0, 1, scope::UNIVERSE));
    } else {
        info.own = hops(ns, now, config)?;
    }
    if config.scope > scope::HOST && !is_error_type(config.kind) {
        return Err(RouteError::InvalidScope);
    }
    if let Some(src) = config.prefsrc
        && !is_prefsrc(ns, config, src)
    {
        return Err(RouteError::BadPrefsrc);
    }
    Ok(info)
}

/// Whether a route of that scope may point to a nexthop object with these hops.
pub(crate) fn nexthop_fits(route_scope: u8, hops: &[NextHop], is_group: bool) -> Result<(), RouteError> {
    if route_scope == scope::HOST {
        if is_group {
            return Err(RouteError::HostScopeMultipath);
        }
        if hops.iter().any(|hop| hop.gateway.is_some()) {
            return Err(RouteError::HostScopeGateway);
        }
    }
    Ok(())
}

fn hop(config: &HopConfig, oif: u32, weight: u32, at: u8) -> NextHop {
    NextHop { oif, gateway: config.gateway, weight, flags: config.flags & 0xff, scope: at, flow: config.flow }
}

fn hops(ns: Ns<'_>, now: Duration, config: &RouteConfig) -> Result<Vec<NextHop>, RouteError> {
    let Some(asked) = &config.hops else {
        let only =
            HopConfig { oif: config.oif, gateway: config.gateway, flags: config.flags, hops: 0, flow: config.flow };
        return Ok(vec![one_hop(ns, now, config, &only, false)?]);
    };
    for asked in asked {
        if asked.flags & (hop_flag::DEAD | hop_flag::LINKDOWN) != 0 {
            return Err(RouteError::HopDeadFlags);
        }
    }
    if config.oif != 0 && asked.first().is_some_and(|hop| hop.oif != config.oif) {
        return Err(RouteError::OifMismatch);
    }
    if config.gateway.is_some() && asked.first().is_some_and(|hop| hop.gateway != config.gateway) {
        return Err(RouteError::GatewayMismatch);
    }
    if config.flow != 0 && asked.first().is_some_and(|hop| hop.flow != config.flow) {
        return Err(RouteError::FlowMismatch);
    }
    // The flags of the route are those of every hop.
    let several = asked.len() > 1;
    let with_flags = |hop: &HopConfig| HopConfig { flags: (config.flags & !0xff) | hop.flags, ..*hop };
    asked.iter().map(|hop| one_hop(ns, now, config, &with_flags(hop), several)).collect()
}

fn one_hop(
    ns: Ns<'_>,
    now: Duration,
    config: &RouteConfig,
    asked: &HopConfig,
    several: bool,
) -> Result<NextHop, RouteError> {
    let weight = u32::from(asked.hops) + 1;
    if config.scope == scope::HOST {
        // The route to the host itself: no way to it is checked.
        if several {
            return Err(RouteError::HostScopeMultipath);
        }
        if asked.gateway.is_some() {
            return Err(RouteError::HostScopeGateway);
        }
        let link = ns.links.by_index(asked.oif).ok_or(RouteError::NoSuchDevice)?;
        return Ok(hop(asked, link.index(), weight, scope::NOWHERE));
    }
    if config.scope > scope::HOST {
        return Err(RouteError::InvalidScope);
    }
    let (oif, at) = check_hop(ns, now, asked, config.table, config.scope)?;
    Ok(hop(asked, oif, weight, at))
}

/// Whether a way out can be used by a route of that scope in that table, and if so its device and how far away the
/// gateway is (`fib_check_nh`).
pub(crate) fn check_hop(
    ns: Ns<'_>,
    now: Duration,
    hop: &HopConfig,
    table: u32,
    route_scope: u8,
) -> Result<(u32, u8), RouteError> {
    match hop.gateway {
        Gateway::None => on_link(ns, hop),
        Gateway::V4(gateway) => through4(ns, hop, gateway, table, route_scope),
        Gateway::V6(gateway) => through6(ns, now, hop, gateway, table),
    }
}

fn on_link(ns: Ns<'_>, hop: &HopConfig) -> Result<(u32, u8), RouteError> {
    if hop.flags & (hop_flag::PERVASIVE | hop_flag::ONLINK) != 0 {
        return Err(RouteError::HopFlags);
    }
    let link = ns.links.by_index(hop.oif).ok_or(RouteError::NoSuchDevice)?;
    if !link.is_up() {
        return Err(RouteError::DeviceDown);
    }
    Ok((link.index(), scope::HOST))
}

fn through4(
    ns: Ns<'_>,
    hop: &HopConfig,
    gateway: Ipv4Addr,
    table: u32,
    route_scope: u8,
) -> Result<(u32, u8), RouteError> {
    if hop.flags & hop_flag::ONLINK != 0 {
        if route_scope >= scope::LINK {
            return Err(RouteError::OnlinkScope);
        }
        let link = ns.links.by_index(hop.oif).ok_or(RouteError::OnlinkDevice)?;
        if !link.is_up() {
            return Err(RouteError::HopDeviceDown);
        }
        let kind = address_type(ns, gateway);
        if kind != route_type::UNICAST {
            return Err(RouteError::BadGatewayType);
        }
        return Ok((link.index(), scope::LINK));
    }
    // Nearer than the route itself, and at least on a link.
    let flow = Flow4 {
        dst: gateway,
        oif: hop.oif,
        scope: route_scope.saturating_add(1).max(scope::LINK),
        ignore_linkdown: false,
        ..Flow4::default()
    };
    // First where the route itself is to stand, but for the main table, then everywhere.
    let own = if matches!(table, 0 | RT_TABLE_MAIN) { None } else { in_table(ns, table, &flow).ok().flatten() };
    let found = match own {
        Some(found) => found,
        None => fib_lookup(ns, &flow).map_err(|_| RouteError::BadGateway)?,
    };
    if found.kind != route_type::UNICAST && found.kind != route_type::LOCAL {
        return Err(RouteError::BadGatewayType);
    }
    let oif = found.hop.map_or(0, |hop| hop.oif);
    let link = ns.links.by_index(oif).ok_or(RouteError::NoSuchDevice)?;
    if !link.is_up() {
        return Err(RouteError::GatewayDown);
    }
    Ok((oif, found.info.scope))
}

fn through6(
    ns: Ns<'_>,
    now: Duration,
    hop: &HopConfig,
    gateway: Ipv6Addr,
    table: u32,
) -> Result<(u32, u8), RouteError> {
    let onlink = hop.flags & hop_flag::ONLINK != 0;
    let hop = Nexthop6 { oif: hop.oif, gateway: Some(gateway), onlink, weight: 1 };
    // Its tables are IPv6's of the same number.
    let link = inet6::check_hop(ns, now, table, &hop)?;
    Ok((link.index(), scope::LINK))
}

/// Whether `src` is an address of this host, by the local table or by the route's own.
fn is_prefsrc(ns: Ns<'_>, config: &RouteConfig, src: Ipv4Addr) -> bool {
    if config.kind == route_type::LOCAL && config.dst() == src {
        return true;
    }
    address_type(ns, src) == route_type::LOCAL || type_in(ns, config.table, src) == route_type::LOCAL
}

impl Insert {
    /// `ip route add`, as the system itself makes routes: behind those that are there.
    pub(crate) const APPEND: Self = Self { create: true, exclusive: false, replace: false, append: true };
}
