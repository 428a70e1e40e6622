//! IPv6: addresses, per-device settings and routes.

mod addr;
mod anycast;
mod change;
mod conf;
mod config;
mod dad;
mod delete;
mod fib;
mod groups;
mod hop;
mod idev;
mod label;
mod lookup;
mod packets;
mod prefix;
mod proc;
mod route;
mod router;
mod scope;
mod select;
mod settings;
mod show;
mod temporary;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::dev::Link;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

pub use addr::AddrError6;
pub use change::RouteSpec6;
pub(crate) use change::{check_nexthop, make_table, nexthop_gone, nexthop_replaced, nexthop_shrunk};
pub(crate) use conf::{devconf, has_inet6};
pub(crate) use dad::disputed;
pub use delete::RouteKeys6;
pub use fib::Placing;
pub(crate) use groups::{join as join_group, leave as leave_group};
pub(crate) use hop::check_hop;
pub use idev::Ifa6;
pub use label::{AddrLabel, LabelError};
pub use lookup::{Answer6, Flow6};
pub(crate) use packets::{
    Target, Way6, groups_of, is_anycast, is_checked, is_link_local, is_member, link_local_of, needs_device, reach_of,
    runs, setting, setting_of_all, solicited_node, source, target, way,
};
pub use prefix::Prefix6;
pub(crate) use proc::{anycast6, if_inet6, igmp6, ipv6_route, rt6_stats};
pub use route::{Nexthop6, RouteError6, RouteInfo6};
pub use router::PrefixInfo;
pub(crate) use router::{RouteOption, RouterAdvert, advert as router_advert, rest as link_advert};
pub use scope::group_scope;
pub(crate) use select::Prefer;
pub use settings::TokenError;
pub(crate) use settings::{
    change_link, check_conf, check_link_change, conf, set_conf, set_stable_secret, stable_secret,
};
pub use show::{AddrPage6, Inet6Link, MemberInfo, RouteCursor6, RouteFilter6, RoutePage6};

use conf::Overrides;
use fib::Fib6;
use idev::Idev;
use label::Labels;

/// What a namespace has of it.
#[derive(Debug, Default)]
pub(crate) struct Inet6 {
    /// Devices that are not as they were born.
    devs: BTreeMap<u32, Box<Idev>>,
    all: Overrides,
    default: Overrides,
    /// `net.ipv6.conf.default.stable_secret`.
    secret: Option<Box<Ipv6Addr>>,
    fib: Fib6,
    labels: Option<Box<Labels>>,
    /// Changes with every address that comes or goes.
    addrs_changed: u64,
}

impl Inet6 {
    /// Whether it is an address of ours that is in use (`ipv6_chk_addr`): one that means something on its link or in this host
    /// alone, of device `ifindex`, if that is not 0; others of any.
    pub(crate) fn has_addr(&self, addr: Ipv6Addr, ifindex: u32) -> bool {
        let ifindex = if addr.is_unicast_link_local() || addr.is_loopback() { ifindex } else { 0 };
        let mut devs = self.devs.iter().filter(|(index, _)| ifindex == 0 || **index == ifindex);
        devs.any(|(_, idev)| idev.addrs.iter().any(|ifa| ifa.addr == addr && !ifa.is_unusable()))
    }

    fn dev(&self, ifindex: u32) -> Option<&Idev> {
        self.devs.get(&ifindex).map(|idev| &**idev)
    }

    /// IPv6 of a device, made if there is none in memory. For devices that do IPv6.
    fn dev_mut(&mut self, link: &Link) -> &mut Idev {
        self.devs.entry(link.index()).or_insert_with(|| {
            let mut idev = Idev::new(link.inet6_changed);
            idev.down = !link.is_up();
            idev.linkdown = !link.carrier;
            Box::new(idev)
        })
    }

    /// The setting of a device.
    fn dev_conf(&self, link: &Link, number: usize) -> i32 {
        let own = self.dev(link.index()).and_then(|idev| idev.conf.get(number));
        own.or_else(|| conf::of_device(link, number)).unwrap_or(0)
    }

    fn default_secret(&self) -> Option<Ipv6Addr> {
        self.secret.as_deref().copied()
    }

    fn all_conf(&self, number: usize) -> i32 {
        self.all.get(number).or_else(|| conf::built_in(true, number)).unwrap_or(0)
    }
}

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Inet6Notice {
    /// An address came (or changed), or went.
    Addr {
        /// It is there now.
        new: bool,
        /// Whose it is.
        ifindex: u32,
        /// The address as it was then.
        ifa: Box<Ifa6>,
        /// When that was, hundredths of a second on the stack's clock.
        now: u32,
    },
    /// A route came (with the `NLM_F_*` flags that say how), or went.
    Route {
        /// `None` if it went.
        added: Option<u16>,
        /// The route.
        route: Box<RouteInfo6>,
    },
    /// IPv6 runs on the device from now on, or a router said something of it (`inet6_ifinfo_notify`).
    Link(Arc<Link>, Box<Inet6Link>),
    /// A router told of a prefix (`inet6_prefix_notify`).
    Prefix {
        /// The device.
        ifindex: u32,
        /// The prefix.
        info: PrefixInfo,
    },
    /// A router told something that is for programs, such as a name server's address (`ndisc_ra_useropt`).
    UserOption {
        /// The device.
        ifindex: u32,
        /// Who said it.
        router: Ipv6Addr,
        /// The option, whole.
        option: Vec<u8>,
    },
}

/// A device goes through something.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    config::netdev_event(rtnl, ns, link, event);
}

/// What waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Nobody claimed the address while it was checked.
    Dad {
        ifindex: u32,
        addr: Ipv6Addr,
        round: u32,
    },
    /// A lifetime may have run out.
    Lifetime {
        ifindex: u32,
        addr: Ipv6Addr,
    },
    /// Ended routes are to be collected, and again while there are others that end; or just now.
    Collect,
    CollectOnce,
    /// A router may not have answered: to which of how many questions, asked after how long.
    RouterSolicit {
        ifindex: u32,
        round: u32,
        nth: i32,
        waited: Duration,
    },
}

/// A timer is due.
pub(crate) fn timer(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, timer: Timer) {
    match timer {
        Timer::Dad { ifindex, addr, round } => dad::undisputed(rtnl, ns, ifindex, addr, round),
        Timer::Lifetime { ifindex, addr } => addr::lifetime_over(rtnl, ns, ifindex, addr),
        Timer::Collect => change::collect(rtnl, ns),
        Timer::CollectOnce => _ = change::collect_now(rtnl, ns),
        Timer::RouterSolicit { ifindex, round, nth, waited } => {
            router::unanswered(rtnl, ns, (ifindex, round), nth, waited);
        }
    }
}

/// As the stack's timers know it.
const fn timer_of(timer: Timer) -> crate::rtnl::Timer {
    crate::rtnl::Timer::Inet6(timer)
}
