//! One nexthop object.

use std::net::IpAddr;

use super::group::{Group, GroupConfig, Member};
use crate::fib::LOOPBACK_IFINDEX;
use crate::fib::{Gateway, NextHop, hop_flag, scope};
use crate::rules::Family;

/// A nexthop object as a request names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NexthopConfig {
    /// Id, 0 for any that is free.
    pub id: u32,
    /// Family; `None` for a group.
    pub family: Option<Family>,
    /// `RTPROT_*`.
    pub protocol: u8,
    /// [`hop_flag::ONLINK`] or none.
    pub flags: u32,
    /// Drop everything.
    pub blackhole: bool,
    /// For entries of a forwarding table.
    pub fdb: bool,
    /// Device.
    pub oif: Option<u32>,
    /// Router.
    pub gateway: Option<IpAddr>,
    /// Members, if it is to be a group.
    pub group: Option<GroupConfig>,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NexthopKind {
    /// A way out.
    Hop {
        /// Device.
        oif: u32,
        /// Router behind it.
        gateway: Option<IpAddr>,
        /// How far away the router is.
        scope: u8,
    },
    /// Drops everything.
    Blackhole,
    /// The address of a tunnel's end, for entries of a forwarding table.
    Fdb {
        /// The address.
        gateway: Option<IpAddr>,
    },
    /// Several objects.
    Group(Group),
}

/// A nexthop object (`struct nexthop`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nexthop {
    /// Its id.
    pub id: u32,
    /// Family; `None` for a group.
    pub family: Option<Family>,
    /// Who made it (`RTPROT_*`).
    pub protocol: u8,
    /// [`hop_flag`]s as configured.
    pub flags: u32,
    /// What it is.
    pub kind: NexthopKind,
}

impl Nexthop {
    /// The device it leaves by.
    #[must_use]
    pub const fn oif(&self) -> Option<u32> {
        match &self.kind {
            NexthopKind::Hop { oif, .. } => Some(*oif),
            _ => None,
        }
    }

    /// Whether it is for forwarding tables.
    #[must_use]
    pub const fn is_fdb(&self) -> bool {
        match &self.kind {
            NexthopKind::Fdb { .. } => true,
            NexthopKind::Group(group) => group.fdb,
            _ => false,
        }
    }
}

/// An object as listeners and dumps show it.
#[derive(Clone, Debug)]
pub struct NexthopView {
    /// The object.
    pub nexthop: std::sync::Arc<Nexthop>,
    /// [`hop_flag`]s, those of its device's state included.
    pub flags: u32,
    /// Of a resilient group: how long it has not been as its weights want it, hundredths of a second.
    pub unbalanced: u64,
}

/// An object as routes see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resolved {
    pub(crate) id: u32,
    /// The members' ids, if it is a group.
    pub(crate) group: Option<Vec<u32>>,
    pub(crate) blackhole: bool,
    pub(crate) fdb: bool,
    /// The ways out.
    pub(crate) hops: Vec<NextHop>,
    /// Whether an IPv6 route may point to it: none of its ways out is IPv4's.
    pub(crate) inet6: bool,
}

impl Resolved {
    /// Its own id and its members'.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::once(self.id).chain(self.group.iter().flatten().copied())
    }

    pub(super) fn single(object: &Nexthop) -> Self {
        let hop = |oif, gateway: Option<IpAddr>, scope| NextHop {
            oif,
            gateway: match gateway {
                None => Gateway::None,
                Some(IpAddr::V4(gateway)) => Gateway::V4(gateway),
                Some(IpAddr::V6(gateway)) => Gateway::V6(gateway),
            },
            weight: 1,
            flags: object.flags & hop_flag::ONLINK,
            scope,
            flow: 0,
        };
        let hops = match &object.kind {
            NexthopKind::Hop { oif, gateway, scope } => vec![hop(*oif, *gateway, *scope)],
            // What is dropped goes nowhere by way of the loopback.
            NexthopKind::Blackhole => vec![hop(LOOPBACK_IFINDEX, None, scope::NOWHERE)],
            NexthopKind::Fdb { .. } | NexthopKind::Group(_) => Vec::new(),
        };
        Self {
            id: object.id,
            group: None,
            blackhole: object.kind == NexthopKind::Blackhole,
            fdb: object.is_fdb(),
            hops,
            inet6: object.family == Some(Family::Inet6),
        }
    }

    pub(super) fn group<'a>(
        object: &Nexthop,
        group: &Group,
        members: impl Iterator<Item = (&'a Member, Self)>,
    ) -> Self {
        let mut out = Self {
            id: object.id,
            group: Some(group.members.iter().map(|member| member.id).collect()),
            blackhole: false,
            fdb: group.fdb,
            hops: Vec::new(),
            inet6: true,
        };
        for (member, single) in members {
            out.blackhole |= single.blackhole;
            out.inet6 &= single.inet6;
            out.hops.extend(single.hops.into_iter().map(|hop| NextHop { weight: member.weight, ..hop }));
        }
        out
    }
}
