//! From a request to an object: every check there is, nothing touched.

use std::net::IpAddr;

use super::group::{Group, GroupConfig, Resilient};
use super::{Nexthop, NexthopConfig, NexthopError, NexthopKind, Nexthops};
use crate::fib::{Gateway, HopConfig, LOOPBACK_IFINDEX, check_hop, hop_flag, scope};
use crate::inet6::{self, Nexthop6};
use crate::rtnl::Rtnl;
use crate::rules::Family;
use crate::state::Ns;

/// What the request asks for, as an object. `id` is the one it will have; `old` what has it now.
pub(super) fn object(
    rtnl: &Rtnl<'_>,
    ns: Ns<'_>,
    config: &NexthopConfig,
    id: u32,
    old: Option<&Nexthop>,
    now: u64,
) -> Result<Nexthop, NexthopError> {
    let kind = match &config.group {
        Some(group) => NexthopKind::Group(self::group(ns, config, group, old, now)?),
        None => single(rtnl, ns, config)?,
    };
    Ok(Nexthop { id, family: config.family, protocol: config.protocol, flags: config.flags, kind })
}

fn single(rtnl: &Rtnl<'_>, ns: Ns<'_>, config: &NexthopConfig) -> Result<NexthopKind, NexthopError> {
    if config.fdb {
        return Ok(NexthopKind::Fdb { gateway: config.gateway });
    }
    if config.blackhole {
        // What is dropped is dropped by the loopback.
        let up = ns.links.by_index(LOOPBACK_IFINDEX).is_some_and(|lo| lo.is_up());
        return match config.family {
            _ if up => Ok(NexthopKind::Blackhole),
            Some(Family::Inet6) => Err(NexthopError::DeviceDown),
            _ => Err(NexthopError::LoopbackDown),
        };
    }
    let oif = config.oif.unwrap_or(0);
    let link = ns.links.by_index(oif).ok_or(NexthopError::Device)?;
    if !link.is_up() {
        return Err(NexthopError::DeviceDown);
    }
    if !link.carrier {
        return Err(NexthopError::NoCarrier);
    }
    let at = if config.family == Some(Family::Inet6) {
        let gateway = match config.gateway {
            Some(IpAddr::V6(gateway)) => Some(gateway),
            _ => None,
        };
        let hop = Nexthop6 { oif, gateway, onlink: config.flags & hop_flag::ONLINK != 0, weight: 1 };
        inet6::check_hop(ns, rtnl.now(), 0, &hop)?;
        scope::LINK
    } else {
        let gateway = match config.gateway {
            Some(IpAddr::V4(gateway)) => Gateway::V4(gateway),
            _ => Gateway::None,
        };
        let hop = HopConfig { oif, gateway, flags: config.flags, ..HopConfig::default() };
        check_hop(ns, rtnl.now(), &hop, 0, scope::UNIVERSE)?.1
    };
    Ok(NexthopKind::Hop { oif, gateway: config.gateway, scope: at })
}

fn group(
    ns: Ns<'_>,
    config: &NexthopConfig,
    asked: &GroupConfig,
    old: Option<&Nexthop>,
    now: u64,
) -> Result<Group, NexthopError> {
    let all = ns.peek_nexthops();
    let find = |id: u32| all.as_ref().and_then(|all: &std::sync::RwLockReadGuard<'_, Nexthops>| all.objects.get(&id));
    let mut families = Vec::new();
    for member in &asked.members {
        let object = find(member.id).ok_or(NexthopError::InvalidId)?;
        match &object.kind {
            NexthopKind::Group(group) if group.resilient.is_some() => return Err(NexthopError::ResilientInGroup),
            NexthopKind::Group(_) => return Err(NexthopError::MpathInGroup),
            NexthopKind::Blackhole if asked.members.len() > 1 => return Err(NexthopError::BlackholeInGroup),
            _ => {}
        }
        if config.fdb && !object.is_fdb() {
            return Err(NexthopError::FdbGroup);
        }
        families.push(object.family);
        if config.fdb && families[0] != object.family {
            return Err(NexthopError::FdbGroupFamilies);
        }
        if !config.fdb && object.is_fdb() {
            return Err(NexthopError::NotFdbGroup);
        }
    }
    let resilient = match (&asked.resilient, old.map(|old| &old.kind)) {
        (None, _) => None,
        (Some(wanted), Some(NexthopKind::Group(Group { resilient: Some(old), .. }))) => {
            if wanted.buckets.is_some_and(|count| usize::from(count) != old.buckets.len()) {
                return Err(NexthopError::BucketsChange);
            }
            let mut new = old.clone();
            new.idle_timer = wanted.idle_timer.unwrap_or(old.idle_timer);
            new.unbalanced_timer = wanted.unbalanced_timer.unwrap_or(old.unbalanced_timer);
            new.balance(&asked.members, now);
            Some(new)
        }
        (Some(wanted), _) => match wanted.buckets {
            None => return Err(NexthopError::NoBuckets),
            Some(count) => Some(Resilient::new(*wanted, count, &asked.members, now)),
        },
    };
    Ok(Group { members: asked.members.clone(), fdb: config.fdb, resilient })
}
