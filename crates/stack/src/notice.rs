//! What listeners are told of: one variant for each family of messages.

use crate::{dev, fib, inet, inet6, neigh, nexthop, rules};

/// Something that changed, with the object as it was at that moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A link.
    Link(dev::LinkNotice),
    /// IPv4 addresses and settings of devices.
    Inet(inet::InetNotice),
    /// IPv6 addresses, settings and routes.
    Inet6(inet6::Inet6Notice),
    /// IPv4 routes.
    Fib(fib::FibNotice),
    /// Rules of either family.
    Rule(rules::RuleNotice),
    /// Neighbours.
    Neigh(neigh::NeighNotice),
    /// Nexthop objects.
    Nexthop(nexthop::NexthopNotice),
}
