//! Settings of a device (`net.ipv6.conf.*`): what is stored, and how one number is found.

use crate::dev::{IfFlags, Inet6Conf, Link};

/// `DEVCONF_*` numbers of the settings that something here depends on.
pub(crate) mod devconf {
    pub(crate) const FORWARDING: usize = 0;
    pub(crate) const HOPLIMIT: usize = 1;
    pub(crate) const MTU: usize = 2;
    pub(crate) const ACCEPT_RA: usize = 3;
    pub(crate) const ACCEPT_REDIRECTS: usize = 4;
    pub(crate) const AUTOCONF: usize = 5;
    pub(crate) const DAD_TRANSMITS: usize = 6;
    pub(crate) const RTR_SOLICITS: usize = 7;
    pub(crate) const RTR_SOLICIT_INTERVAL: usize = 8;
    pub(crate) const RTR_SOLICIT_DELAY: usize = 9;
    pub(crate) const USE_TEMPADDR: usize = 10;
    pub(crate) const TEMP_VALID: usize = 11;
    pub(crate) const TEMP_PREFERRED: usize = 12;
    pub(crate) const REGEN_MAX_RETRY: usize = 13;
    pub(crate) const MAX_DESYNC_FACTOR: usize = 14;
    pub(crate) const MAX_ADDRESSES: usize = 15;
    pub(crate) const FORCE_MLD_VERSION: usize = 16;
    pub(crate) const ACCEPT_RA_DEFRTR: usize = 17;
    pub(crate) const ACCEPT_RA_PINFO: usize = 18;
    pub(crate) const ACCEPT_RA_RTR_PREF: usize = 19;
    pub(crate) const ACCEPT_RA_RT_INFO_MAX_PLEN: usize = 21;
    pub(crate) const PROXY_NDP: usize = 22;
    pub(crate) const OPTIMISTIC_DAD: usize = 23;
    pub(crate) const MC_FORWARDING: usize = 25;
    pub(crate) const DISABLE_IPV6: usize = 26;
    pub(crate) const ACCEPT_DAD: usize = 27;
    pub(crate) const ACCEPT_RA_FROM_LOCAL: usize = 33;
    pub(crate) const ACCEPT_RA_MTU: usize = 35;
    pub(crate) const USE_OIF_ADDRS_ONLY: usize = 37;
    pub(crate) const ACCEPT_RA_MIN_HOP_LIMIT: usize = 38;
    pub(crate) const IGNORE_ROUTES_WITH_LINKDOWN: usize = 39;
    pub(crate) const KEEP_ADDR_ON_DOWN: usize = 42;
    pub(crate) const RTR_SOLICIT_MAX_INTERVAL: usize = 43;
    pub(crate) const ADDR_GEN_MODE: usize = 47;
    pub(crate) const ACCEPT_RA_RT_INFO_MIN_PLEN: usize = 49;
    pub(crate) const RA_DEFRTR_METRIC: usize = 52;
    pub(crate) const ACCEPT_RA_MIN_LFT: usize = 58;

    // Settings that have a file and no number with Linux, by numbers of ours.
    pub(crate) const RA_HONOR_PIO_LIFE: usize = 253;
    pub(crate) const RA_HONOR_PIO_PFLAG: usize = 254;
    pub(crate) const REGEN_MIN_ADVANCE: usize = 255;
}

/// `IN6_ADDR_GEN_MODE_*`.
pub(crate) mod gen_mode {
    pub(crate) const EUI64: i32 = 0;
    pub(crate) const NONE: i32 = 1;
    pub(crate) const STABLE_PRIVACY: i32 = 2;
    pub(crate) const RANDOM: i32 = 3;
}

/// Smallest MTU with which a device does IPv6 (RFC 8200).
pub(crate) const MIN_MTU: u32 = 1280;

/// The settings that were changed, by number; all others are as built in. Nothing is stored for a device on which nobody
/// wrote anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overrides(Vec<(u8, i32)>);

impl Overrides {
    pub(crate) fn get(&self, number: usize) -> Option<i32> {
        self.0.iter().find(|(n, _)| usize::from(*n) == number).map(|(_, value)| *value)
    }

    pub(crate) fn set(&mut self, number: usize, value: i32) {
        let Ok(n) = u8::try_from(number) else { return };
        match self.0.iter_mut().find(|(known, _)| *known == n) {
            Some((_, old)) => *old = value,
            None => self.0.push((n, value)),
        }
    }

    /// What is built in counts again.
    pub(crate) fn unset(&mut self, number: usize) {
        self.0.retain(|(n, _)| usize::from(*n) != number);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, i32)> + '_ {
        self.0.iter().map(|(n, value)| (usize::from(*n), *value))
    }

    /// As a device of another kind than Ethernet takes them over when it is born: what its kind fixes stays.
    pub(crate) fn for_device(&self, link: &Link) -> Self {
        let fixed = |n: usize| link.class().inet6.0.get(n) != Inet6Conf::DEFAULT.0.get(n);
        Self(self.0.iter().copied().filter(|(n, _)| !fixed(usize::from(*n))).collect())
    }
}

/// The built-in value of `conf.all` and `conf.default`.
pub(crate) fn built_in(all: bool, number: usize) -> Option<i32> {
    match number {
        devconf::ACCEPT_DAD if all => Some(0),
        devconf::MTU => Some(MIN_MTU.cast_signed()),
        _ => Inet6Conf::DEFAULT.0.get(number).copied().or_else(|| unnumbered(number)),
    }
}

/// The value a device of this kind has as long as nobody wrote one.
pub(crate) fn of_device(link: &Link, number: usize) -> Option<i32> {
    match number {
        devconf::MTU => Some(link.mtu.cast_signed()),
        _ => link.class().inet6.0.get(number).copied().or_else(|| unnumbered(number)),
    }
}

/// What the settings are born with that have no number with Linux.
const fn unnumbered(number: usize) -> Option<i32> {
    match number {
        devconf::RA_HONOR_PIO_LIFE | devconf::RA_HONOR_PIO_PFLAG => Some(0),
        devconf::REGEN_MIN_ADVANCE => Some(2),
        _ => None,
    }
}

/// Whether the device does IPv6 at all. The loopback does, whatever its MTU.
pub(crate) const fn has_inet6(link: &Link) -> bool {
    link.mtu >= MIN_MTU || link.stored_flags.contains(IfFlags::LOOPBACK)
}
