//! IPv6 of one device (`struct inet6_dev`): its addresses, groups and settings.

use std::net::Ipv6Addr;

use super::conf::Overrides;
use super::prefix::Prefix6;
use super::scope::{rt_scope, scope};

/// `IFA_F_*`.
pub(crate) mod ifa_flag {
    pub(crate) const TEMPORARY: u32 = 0x01;
    pub(crate) const NODAD: u32 = 0x02;
    pub(crate) const OPTIMISTIC: u32 = 0x04;
    pub(crate) const DADFAILED: u32 = 0x08;
    pub(crate) const HOMEADDRESS: u32 = 0x10;
    pub(crate) const DEPRECATED: u32 = 0x20;
    pub(crate) const TENTATIVE: u32 = 0x40;
    pub(crate) const PERMANENT: u32 = 0x80;
    pub(crate) const MANAGETEMPADDR: u32 = 0x100;
    pub(crate) const NOPREFIXROUTE: u32 = 0x200;
    pub(crate) const MCAUTOJOIN: u32 = 0x400;
    pub(crate) const STABLE_PRIVACY: u32 = 0x800;
}

/// A lifetime that does not end.
pub(crate) const FOREVER: u32 = u32::MAX;

/// `IFAPROT_KERNEL_LO` and `IFAPROT_KERNEL_LL`: the kernel's own addresses.
pub(crate) const PROTO_KERNEL_LO: u8 = 1;
/// `IFAPROT_KERNEL_RA`: made from a router's prefix.
pub(crate) const PROTO_KERNEL_RA: u8 = 2;
pub(crate) const PROTO_KERNEL_LL: u8 = 3;

/// An IPv6 address of a device (`struct inet6_ifaddr`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ifa6 {
    /// The address.
    pub addr: Ipv6Addr,
    /// The other end of a point-to-point link.
    pub peer: Option<Ipv6Addr>,
    /// Bits of the prefix.
    pub prefix_len: u8,
    /// `IFA_F_*`.
    pub flags: u32,
    /// Metric of its prefix route, 0 for the usual.
    pub rt_priority: u32,
    /// `IFAPROT_*`: who set it.
    pub proto: u8,
    /// Seconds that it is valid from `updated` on; `u32::MAX` for ever.
    pub valid_lft: u32,
    /// Seconds that it is preferred from `updated` on; `u32::MAX` for ever.
    pub preferred_lft: u32,
    /// When it was made, hundredths of a second on the stack's clock.
    pub created: u32,
    /// When it was last changed, likewise.
    pub updated: u32,
    /// Which duplicate address detection is under way: a timer of an earlier one means nothing.
    pub(crate) dad_round: u32,
    /// It is not in use yet, or no longer since its device went down: announced and given its route when that is up.
    pub(crate) pending: bool,
    /// Of a temporary address: whether it has a successor. Of one that manages such: how many were tried since the last good one.
    pub(crate) successors: u8,
    /// Of a temporary address: the one that manages it.
    pub(crate) beside: Option<Box<Ipv6Addr>>,
}

impl Ifa6 {
    /// An address as someone asks for it: nothing set but itself.
    #[must_use]
    pub const fn new(addr: Ipv6Addr, prefix_len: u8) -> Self {
        Self {
            addr,
            peer: None,
            prefix_len,
            flags: 0,
            rt_priority: 0,
            proto: 0,
            valid_lft: FOREVER,
            preferred_lft: FOREVER,
            created: 0,
            updated: 0,
            dad_round: 0,
            pending: true,
            successors: 0,
            beside: None,
        }
    }

    /// `RT_SCOPE_*`.
    #[must_use]
    pub fn scope(&self) -> u8 {
        rt_scope(self.addr)
    }

    /// What is left of the preferred and the valid lifetime at `now` (hundredths of a second), in seconds.
    #[must_use]
    pub fn lifetimes(&self, now: u32) -> (u32, u32) {
        let age = now.wrapping_sub(self.updated) / 100;
        let left = |lft: u32| if lft == FOREVER { FOREVER } else { lft.saturating_sub(age) };
        (left(self.preferred_lft), left(self.valid_lft))
    }

    pub(crate) const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether it is a temporary address that `public` manages.
    pub(crate) fn is_beside(&self, public: Ipv6Addr) -> bool {
        self.beside.as_deref() == Some(&public)
    }

    /// Nobody may use it yet: it is being checked, and not by an optimist.
    pub(crate) const fn is_unusable(&self) -> bool {
        self.has(ifa_flag::TENTATIVE) && !self.has(ifa_flag::OPTIMISTIC)
    }

    pub(crate) fn prefix(&self) -> Prefix6 {
        Prefix6::new(self.addr, self.prefix_len)
    }
}

/// A multicast group or an anycast address, and how many asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) addr: Ipv6Addr,
    pub(crate) users: u32,
    /// When it was joined, hundredths of a second.
    pub(crate) created: u32,
}

/// What is known of the link's routers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Routers {
    /// They were asked for (`IF_RS_SENT`).
    pub(crate) asked: bool,
    /// One answered (`IF_RA_RCVD`).
    pub(crate) heard: bool,
    /// `IF_RA_MANAGED` and `IF_RA_OTHERCONF`, as the last one said.
    pub(crate) managed: u8,
    /// Which asking is under way: a timer of an earlier one means nothing.
    pub(crate) round: u32,
}

/// IPv6 of one device, as far as it is not what every device is born with.
#[derive(Clone, Debug)]
pub(crate) struct Idev {
    pub(crate) conf: Overrides,
    /// `IF_READY`: up, with a carrier, configured.
    pub(crate) ready: bool,
    /// The device is not up.
    pub(crate) down: bool,
    /// The device has no carrier.
    pub(crate) linkdown: bool,
    pub(crate) router: Routers,
    /// The MTU became too small: there is no IPv6 on the device until it grows.
    pub(crate) suspended: bool,
    /// The link layer was told to hear no groups until the device works again.
    pub(crate) deaf: bool,
    /// Widest scope first, of one scope the newest first.
    pub(crate) addrs: Vec<Ifa6>,
    /// The newest first.
    pub(crate) groups: Vec<Member>,
    /// The newest first.
    pub(crate) anycast: Vec<Member>,
    /// The interface part for addresses from router advertisements; `::` for none.
    pub(crate) token: Ipv6Addr,
    /// What stable private addresses are made from.
    pub(crate) stable_secret: Option<Ipv6Addr>,
    /// How much sooner than others its temporary addresses change, seconds; `None` as long as it has had none.
    pub(crate) desync: Option<u32>,
    /// Hundredths of a second.
    pub(crate) changed: u32,
}

impl Idev {
    /// As every device is born: it listens to all nodes, on the link and on itself.
    pub(crate) fn new(born: u32) -> Self {
        let member = |addr| Member { addr, users: 1, created: born };
        Self {
            conf: Overrides::default(),
            ready: false,
            router: Routers::default(),
            suspended: false,
            deaf: false,
            down: false,
            linkdown: false,
            addrs: Vec::new(),
            groups: BORN_GROUPS.into_iter().map(member).collect(),
            anycast: Vec::new(),
            token: Ipv6Addr::UNSPECIFIED,
            stable_secret: None,
            desync: None,
            changed: born,
        }
    }

    /// Puts an address in its place (`ipv6_link_dev_addr`).
    pub(crate) fn insert(&mut self, ifa: Ifa6) {
        let at = self.addrs.partition_point(|other| scope(other.addr) > scope(ifa.addr));
        self.addrs.insert(at, ifa);
    }

    pub(crate) fn find(&self, addr: Ipv6Addr) -> Option<&Ifa6> {
        self.addrs.iter().find(|ifa| ifa.addr == addr)
    }

    pub(crate) fn find_mut(&mut self, addr: Ipv6Addr) -> Option<&mut Ifa6> {
        self.addrs.iter_mut().find(|ifa| ifa.addr == addr)
    }
}

/// `ff02::1` and `ff01::1`, in the order of the list.
pub(crate) const BORN_GROUPS: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1)];
