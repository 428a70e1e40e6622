//! One rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::dev::IfName;
use crate::state::Ns;

/// Address family of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Inet = 0,
    /// IPv6.
    Inet6 = 1,
}

impl Family {
    /// Bits of an address.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Inet => 32,
            Self::Inet6 => 128,
        }
    }

    /// The address of all zeros.
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// What a rule does with a packet it fits (`FR_ACT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action(pub u8);

impl Action {
    /// Ask the rule's table.
    pub const TO_TABLE: Self = Self(1);
    /// Go on with another rule.
    pub const GOTO: Self = Self(2);
    /// Do nothing.
    pub const NOP: Self = Self(3);
    /// Drop.
    pub const BLACKHOLE: Self = Self(6);
    /// Network unreachable.
    pub const UNREACHABLE: Self = Self(7);
    /// Permission denied.
    pub const PROHIBIT: Self = Self(8);
}

/// Flags of a rule (`FIB_RULE_*`).
pub mod rule_flag {
    /// It cannot be deleted.
    pub const PERMANENT: u32 = 1;
    /// Fits what the selectors do not fit.
    pub const INVERT: u32 = 2;
    /// It goes to a rule that is not there.
    pub const UNRESOLVED: u32 = 4;
    /// No device has the name it wants packets from.
    pub const IIF_DETACHED: u32 = 8;
    /// No device has the name it wants packets to leave by.
    pub const OIF_DETACHED: u32 = 0x10;
}

/// A prefix of a rule. Bits behind it are kept as they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleNet {
    /// Address.
    pub address: IpAddr,
    /// Bits that count; 0 fits everything.
    pub len: u8,
}

impl RuleNet {
    fn covers(self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros() >= self.len.into(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros() >= self.len.into(),
            _ => false,
        }
    }
}

/// Ports a rule is for: a range, or of single ones those with the same bits under a mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest.
    pub start: u16,
    /// Highest.
    pub end: u16,
    /// Bits that count; `None` for a range of more than one.
    pub mask: Option<u16>,
}

impl PortRange {
    fn covers(self, port: u16) -> bool {
        match self.mask {
            Some(mask) => (port ^ self.start) & mask == 0,
            None => (self.start..=self.end).contains(&port),
        }
    }
}

/// A rule (`struct fib_rule`). In a deletion what is `None` fits every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Family.
    pub family: Family,
    /// Preference: rules are asked in ascending order.
    pub pref: u32,
    /// What it does.
    pub action: Action,
    /// The table it asks, 0 for none.
    pub table: u32,
    /// [`rule_flag`]s as given; those that tell a state are added where the rule is shown.
    pub flags: u32,
    /// Source.
    pub src: Option<RuleNet>,
    /// Destination.
    pub dst: Option<RuleNet>,
    /// Type of service, 0 for any.
    pub tos: u8,
    /// DSCP and the bits of it that count.
    pub dscp: Option<(u8, u8)>,
    /// Firewall mark.
    pub mark: u32,
    /// Bits of the mark that count.
    pub mark_mask: u32,
    /// Name of the device the packet came in by.
    pub iif: Option<IfName>,
    /// Name of the device it must leave by.
    pub oif: Option<IfName>,
    /// Ask the table of the device's VRF.
    pub l3mdev: bool,
    /// Users, first and last.
    pub uids: Option<(u32, u32)>,
    /// IP protocol, 0 for any.
    pub ip_proto: u8,
    /// Source ports.
    pub sport: Option<PortRange>,
    /// Destination ports.
    pub dport: Option<PortRange>,
    /// Pass over routes with a prefix of this length or shorter.
    pub suppress_prefixlen: Option<u32>,
    /// Pass over routes through devices of this group.
    pub suppress_group: Option<u32>,
    /// Preference of the rule to go on with.
    pub goto: u32,
    /// Realms (source in the upper half).
    pub realms: u32,
    /// Tunnel id, 0 for any.
    pub tun_id: u64,
    /// Who made it (`RTPROT_*`).
    pub protocol: u8,
    /// Flow label and the bits that count; IPv6 only.
    pub flow_label: Option<(u32, u32)>,
}

impl Rule {
    /// A rule without selectors.
    #[must_use]
    pub const fn new(family: Family) -> Self {
        Self {
            family,
            pref: 0,
            action: Action::TO_TABLE,
            table: 0,
            flags: 0,
            src: None,
            dst: None,
            tos: 0,
            dscp: None,
            mark: 0,
            mark_mask: 0,
            iif: None,
            oif: None,
            l3mdev: false,
            uids: None,
            ip_proto: 0,
            sport: None,
            dport: None,
            suppress_prefixlen: None,
            suppress_group: None,
            goto: 0,
            realms: 0,
            tun_id: 0,
            protocol: 0,
            flow_label: None,
        }
    }

    /// One of those every namespace begins with.
    pub(super) const fn kernel(family: Family, pref: u32, table: u32) -> Self {
        Self { pref, table, protocol: crate::fib::RTPROT_KERNEL, ..Self::new(family) }
    }

    /// Whether the packet is one it is for.
    pub(super) fn fits(&self, ns: Ns<'_>, packet: &super::Selectors) -> bool {
        let device = |name: &Option<IfName>, index: u32| {
            name.as_ref().is_none_or(|name| ns.links.by_name(name.as_str()).is_some_and(|link| link.index() == index))
        };
        let fits = device(&self.iif, packet.iif)
            && device(&self.oif, packet.oif)
            && (self.mark ^ packet.mark) & self.mark_mask == 0
            && self.tun_id == 0
            && !self.l3mdev
            && self.uids.is_none_or(|(first, last)| (first..=last).contains(&packet.uid))
            && self.src.is_none_or(|net| net.covers(packet.src))
            && self.dst.is_none_or(|net| net.covers(packet.dst))
            && (self.tos == 0 || self.tos == packet.tos)
            && self.dscp.is_none_or(|(dscp, mask)| (dscp ^ (packet.tos >> 2)) & mask == 0)
            && (self.ip_proto == 0 || self.ip_proto == packet.protocol)
            && self.sport.is_none_or(|ports| ports.covers(packet.sport))
            && self.dport.is_none_or(|ports| ports.covers(packet.dport))
            && self.flow_label.is_none_or(|(label, mask)| (label ^ packet.flow_label) & mask == 0);
        fits != (self.flags & rule_flag::INVERT != 0)
    }

    /// Whether a route it led to is to be passed over.
    pub(crate) fn suppresses(&self, ns: Ns<'_>, prefix_len: u8, oif: u32) -> bool {
        if self.suppress_prefixlen.is_some_and(|len| u32::from(prefix_len) <= len) {
            return true;
        }
        let group = self.suppress_group.filter(|_| oif != 0);
        group.is_some_and(|group| ns.links.by_index(oif).is_some_and(|link| link.group == group))
    }
}

/// A rule as listeners and dumps show it.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Its [`rule_flag`]s, those included that tell whether its devices and its target are there.
    pub flags: u32,
}

impl RuleView {
    pub(super) fn of(ns: Ns<'_>, rule: &Arc<Rule>, all: &[Arc<Rule>]) -> Self {
        let missing = |name: &Option<IfName>| {
            // An alternative name is none to a rule.
            let found = |name: &IfName| ns.links.by_name(name.as_str()).is_some_and(|link| link.name() == name);
            name.as_ref().is_some_and(|name| !found(name))
        };
        let mut flags = rule.flags;
        if missing(&rule.iif) {
            flags |= rule_flag::IIF_DETACHED;
        }
        if missing(&rule.oif) {
            flags |= rule_flag::OIF_DETACHED;
        }
        if rule.action == Action::GOTO && !all.iter().any(|other| other.pref == rule.goto) {
            flags |= rule_flag::UNRESOLVED;
        }
        Self { rule: Arc::clone(rule), flags }
    }
}
