//! The protocols of `AF_NETLINK` that exist here.

use pernet_wire::uapi::*;

/// A netlink protocol. Those missing (`NETLINK_XFRM`, `NETLINK_AUDIT`, `NETLINK_NETFILTER` ...) do not exist here:
/// opening one is `EPROTONOSUPPORT`, as in a kernel built without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// `NETLINK_ROUTE`.
    Route,
    /// `NETLINK_USERSOCK`: no kernel side, programs among themselves.
    Usersock,
    /// `NETLINK_SOCK_DIAG`: answers as a namespace without sockets does.
    SockDiag,
    /// `NETLINK_KOBJECT_UEVENT`: requests are accepted, nobody sends.
    KobjectUevent,
    /// `NETLINK_GENERIC`: only the controller, `nlctrl`, is registered.
    Generic,
}

impl Protocol {
    /// How many there are.
    pub(crate) const COUNT: usize = 5;

    /// The protocol with the number of `socket(2)`'s third argument.
    pub const fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            NETLINK_ROUTE => Self::Route,
            NETLINK_USERSOCK => Self::Usersock,
            NETLINK_SOCK_DIAG => Self::SockDiag,
            NETLINK_KOBJECT_UEVENT => Self::KobjectUevent,
            NETLINK_GENERIC => Self::Generic,
            _ => return None,
        })
    }

    /// Its number.
    pub const fn number(self) -> i32 {
        match self {
            Self::Route => NETLINK_ROUTE,
            Self::Usersock => NETLINK_USERSOCK,
            Self::SockDiag => NETLINK_SOCK_DIAG,
            Self::KobjectUevent => NETLINK_KOBJECT_UEVENT,
            Self::Generic => NETLINK_GENERIC,
        }
    }

    /// The largest group number; groups count from 1.
    pub const fn groups(self) -> u32 {
        match self {
            Self::Route => RTNLGRP_MAX,
            Self::Usersock | Self::SockDiag | Self::KobjectUevent => 32,
            // As on a 6.18 kernel: families add their groups at run time, in steps of 32.
            Self::Generic => 64,
        }
    }

    /// Whether anyone may send to ports and groups (`NL_CFG_F_NONROOT_SEND`).
    pub(crate) const fn anyone_sends(self) -> bool {
        matches!(self, Self::Usersock)
    }

    /// Whether anyone may join groups (`NL_CFG_F_NONROOT_RECV`).
    pub(crate) const fn anyone_joins(self) -> bool {
        !matches!(self, Self::Usersock)
    }

    /// Whether joining this group needs CAP_NET_ADMIN in the owner of the namespace.
    pub(crate) const fn restricted_group(self, group: u32) -> bool {
        matches!(self, Self::Route) && matches!(group, RTNLGRP_IPV4_MROUTE_R | RTNLGRP_IPV6_MROUTE_R)
    }

    /// Place in per-protocol tables.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Route => 0,
            Self::Usersock => 1,
            Self::SockDiag => 2,
            Self::KobjectUevent => 3,
            Self::Generic => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Protocol;

    #[test]
    fn numbers_go_both_ways_and_indexes_are_distinct() {
        let all: Vec<_> = (-1..64).filter_map(Protocol::from_number).collect();
        assert_eq!(all.len(), Protocol::COUNT);
        let mut seen = [false; Protocol::COUNT];
        for protocol in all {
            assert_eq!(Protocol::from_number(protocol.number()), Some(protocol));
            assert!(!std::mem::replace(&mut seen[protocol.index()], true));
            assert!(protocol.groups() <= 64, "groups are kept in 64 bits");
        }
    }
}
