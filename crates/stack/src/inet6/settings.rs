//! Reading and writing settings, and what follows from a write.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::conf::{self, devconf, gen_mode, has_inet6};
use super::{Inet6, anycast, config, dad, groups, router};
use crate::dev::{IfFlags, Link, LinkRefused};
use crate::errno;
use crate::inet::{InetNotice, Netconf, NetconfPart};
use crate::rtnl::Rtnl;
use crate::state::{ConfOf, Ns};

const AF_INET6: u8 = 10;

/// A device's setting by its `DEVCONF_*` number; `None` for a device without IPv6, or no such number.
pub(crate) fn conf(ns: Ns<'_>, of: ConfOf, number: usize) -> Option<i32> {
    let inet6 = ns.state().peek_inet6();
    match of {
        ConfOf::All => inet6.and_then(|i| i.all.get(number)).or_else(|| conf::built_in(true, number)),
        ConfOf::Default => inet6.and_then(|i| i.default.get(number)).or_else(|| conf::built_in(false, number)),
        ConfOf::Dev(ifindex) => {
            let link = ns.state().links.by_index(ifindex).filter(|link| has_inet6(link))?;
            let own = inet6.and_then(|i| i.dev(ifindex)?.conf.get(number));
            own.or_else(|| conf::of_device(&link, number))
        }
    }
}

/// Whether a value may be written.
///
/// # Errors
/// The errno of the write.
pub(crate) fn check_conf(ns: Ns<'_>, of: ConfOf, number: usize, value: i32) -> Result<(), i32> {
    match number {
        _ if conf::built_in(false, number).is_none() => Err(errno::ENOENT),
        devconf::MC_FORWARDING => Err(errno::EINVAL),
        devconf::MTU => {
            let max = match of {
                ConfOf::Dev(ifindex) => ns.state().links.by_index(ifindex).map_or(0, |link| link.mtu),
                _ => i32::MAX.cast_unsigned(),
            };
            if value < conf::MIN_MTU.cast_signed() || value.cast_unsigned() > max { Err(errno::EINVAL) } else { Ok(()) }
        }
        devconf::ADDR_GEN_MODE => match (value, of) {
            (gen_mode::STABLE_PRIVACY, ConfOf::Dev(_)) if secret_for(ns, of).is_none() => Err(errno::EINVAL),
            (gen_mode::EUI64..=gen_mode::RANDOM, _) => Ok(()),
            _ => Err(errno::EINVAL),
        },
        _ => Ok(()),
    }
}

/// Writes a setting, with what follows from it. What [`check_conf`] refuses must not come here.
pub(crate) fn set_conf(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, of: ConfOf, number: usize, value: i32) {
    match of {
        ConfOf::Dev(ifindex) => {
            if let Some(link) = ns.state().links.by_index(ifindex).filter(|link| has_inet6(link)) {
                set_dev(rtnl, ns, &link, number, value);
            }
        }
        ConfOf::Default => {
            let changed = store(ns, of, number, value);
            if changed && matches!(number, devconf::FORWARDING | devconf::PROXY_NDP) {
                tell(rtnl, ns, ConfOf::Default, number);
            }
        }
        ConfOf::All => set_all(rtnl, ns, number, value),
    }
}

/// `all` is more than itself for some: what it says, every device and those to come shall have.
fn set_all(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, number: usize, value: i32) {
    let changed = store(ns, ConfOf::All, number, value);
    let spreads = matches!(
        number,
        devconf::FORWARDING | devconf::DISABLE_IPV6 | devconf::IGNORE_ROUTES_WITH_LINKDOWN | devconf::ADDR_GEN_MODE
    );
    if spreads {
        let default_changed = store(ns, ConfOf::Default, number, value);
        if default_changed && number == devconf::FORWARDING {
            tell(rtnl, ns, ConfOf::Default, number);
        }
        for link in ns.state().links.all().iter().filter(|link| has_inet6(link)) {
            set_dev(rtnl, ns, link, number, value);
        }
    }
    let told = [devconf::FORWARDING, devconf::IGNORE_ROUTES_WITH_LINKDOWN, devconf::PROXY_NDP];
    if changed && told.contains(&number) {
        tell(rtnl, ns, ConfOf::All, number);
    }
    if changed && number == devconf::FORWARDING && value != 0 {
        router::forget(rtnl, ns);
    }
}

fn set_dev(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, number: usize, value: i32) {
    let before = conf(ns, ConfOf::Dev(link.index()), number);
    if before == Some(value) {
        return;
    }
    ns.state().inet6.write().dev_mut(link).conf.set(number, value);
    match number {
        devconf::FORWARDING => {
            let on = value != 0;
            if before.is_some_and(|before| (before != 0) != on) {
                groups::forwarding(rtnl, ns, link, on);
                anycast::forwarding(rtnl, ns, link, on);
            }
        }
        devconf::DISABLE_IPV6 if value != 0 => {
            config::disable(rtnl, ns, link);
            crate::neigh::ifdown(rtnl, ns, link.index(), crate::neigh::NeighFamily::V6);
        }
        devconf::DISABLE_IPV6 => config::up(rtnl, ns, link),
        devconf::ADDR_GEN_MODE => {
            config::generate(rtnl, ns, link);
            dad::run(rtnl, ns, link, false);
            // It is what was written, whatever has been used in its place.
            ns.state().inet6.write().dev_mut(link).conf.set(number, value);
        }
        _ => {}
    }
    let told = [devconf::FORWARDING, devconf::IGNORE_ROUTES_WITH_LINKDOWN, devconf::PROXY_NDP];
    if told.contains(&number) {
        tell(rtnl, ns, ConfOf::Dev(link.index()), number);
    }
}

/// Says whether the value is another one than before.
fn store(ns: Ns<'_>, of: ConfOf, number: usize, value: i32) -> bool {
    if conf(ns, of, number) == Some(value) {
        return false;
    }
    let mut inet6 = ns.state().inet6.write();
    let inet6: &mut Inet6 = &mut inet6;
    match of {
        ConfOf::All => inet6.all.set(number, value),
        ConfOf::Default => inet6.default.set(number, value),
        ConfOf::Dev(_) => {}
    }
    true
}

/// `NETCONFA_*` numbers of what listeners of `netconf` hear.
fn tell(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, of: ConfOf, number: usize) {
    let part = match number {
        devconf::FORWARDING => 2,
        devconf::PROXY_NDP => 5,
        _ => 6,
    };
    tell_part(rtnl, ns, of, NetconfPart::One(part));
}

/// Tells what settings are now, or that there are none any more.
pub(crate) fn tell_part(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, of: ConfOf, part: NetconfPart) {
    let value = |number| conf(ns, of, number).unwrap_or(0);
    let conf = Netconf {
        family: AF_INET6,
        of,
        forwarding: value(devconf::FORWARDING),
        rp_filter: 0,
        mc_forwarding: value(devconf::MC_FORWARDING),
        bc_forwarding: 0,
        proxy_neigh: value(devconf::PROXY_NDP),
        ignore_linkdown: value(devconf::IGNORE_ROUTES_WITH_LINKDOWN),
    };
    rtnl.notify_caused(ns, InetNotice::Netconf { conf, part }.into());
}

/// What stable private addresses are made from; `None` until somebody set it (a read is then `EIO`).
pub(crate) fn stable_secret(ns: Ns<'_>, of: ConfOf) -> Option<Ipv6Addr> {
    let inet6 = ns.state().peek_inet6()?;
    match of {
        ConfOf::All => None,
        ConfOf::Default => inet6.default_secret(),
        ConfOf::Dev(ifindex) => inet6.dev(ifindex)?.stable_secret,
    }
}

/// A device's own secret, or that of the namespace.
pub(crate) fn secret_for(ns: Ns<'_>, of: ConfOf) -> Option<Ipv6Addr> {
    stable_secret(ns, of).or_else(|| stable_secret(ns, ConfOf::Default))
}

/// Sets the secret; the device (or with `default`, every device) makes stable private addresses from then on.
pub(crate) fn set_stable_secret(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, of: ConfOf, secret: Ipv6Addr) {
    let _ = &rtnl;
    let links = ns.state().links.all();
    let mut inet6 = ns.state().inet6.write();
    match of {
        ConfOf::All => {}
        ConfOf::Default => {
            inet6.secret = Some(Box::new(secret));
            inet6.default.set(devconf::ADDR_GEN_MODE, gen_mode::STABLE_PRIVACY);
            for link in links.iter().filter(|link| has_inet6(link)) {
                inet6.dev_mut(link).conf.set(devconf::ADDR_GEN_MODE, gen_mode::STABLE_PRIVACY);
            }
        }
        ConfOf::Dev(ifindex) => {
            if let Some(link) = links.iter().find(|link| link.index() == ifindex && has_inet6(link)) {
                let idev = inet6.dev_mut(link);
                idev.stable_secret = Some(secret);
                idev.conf.set(devconf::ADDR_GEN_MODE, gen_mode::STABLE_PRIVACY);
            }
        }
    }
}

/// Why `ip token set` is refused (`inet6_set_iftoken`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The device does not do IPv6.
    #[error("the device does not do IPv6")]
    NoInet6,
    /// A loopback device.
    #[error("Device is loopback")]
    Loopback,
    /// A device without neighbour discovery.
    #[error("Device does not do neighbour discovery")]
    NoNeighbours,
    /// The device does not listen to router advertisements.
    #[error("Router advertisement is disabled on device")]
    NoAdvertisements,
    /// The device does not solicit routers.
    #[error("Router solicitation is disabled on device")]
    NoSolicitations,
    /// The mode needs a secret that nobody set.
    #[error("no stable secret")]
    NoSecret,
    /// No such mode.
    #[error("no such mode")]
    BadMode,
}

impl TokenError {
    /// The errno Linux gives.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::NoInet6 => 97,
            _ => errno::EINVAL,
        }
    }

    /// What Linux says about it in an extended acknowledgement, if anything.
    #[must_use]
    pub const fn text(self) -> Option<&'static str> {
        Some(match self {
            Self::Loopback => "ipv6: Device is loopback",
            Self::NoNeighbours => "ipv6: Device does not do neighbour discovery",
            Self::NoAdvertisements => "ipv6: Router advertisement is disabled on device",
            Self::NoSolicitations => "ipv6: Router solicitation is disabled on device",
            _ => return None,
        })
    }
}

impl From<TokenError> for LinkRefused {
    fn from(error: TokenError) -> Self {
        Self::Says(error.errno(), error.text().map(Into::into), None)
    }
}

/// Whether the IPv6 part of a request about a device (`IFLA_AF_SPEC`) can be carried out (`inet6_validate_link_af`,
/// `inet6_set_iftoken`). Nothing is changed.
///
/// # Errors
/// Why not.
pub(crate) fn check_link_change(
    ns: Ns<'_>,
    link: &Link,
    token: Option<Ipv6Addr>,
    mode: Option<u8>,
) -> Result<(), TokenError> {
    if token.is_none() && mode.is_none() {
        return Ok(());
    }
    if !has_inet6(link) {
        return Err(TokenError::NoInet6);
    }
    let of = ConfOf::Dev(link.index());
    if let Some(mode) = mode {
        match i32::from(mode) {
            gen_mode::STABLE_PRIVACY if secret_for(ns, of).is_none() => return Err(TokenError::NoSecret),
            gen_mode::EUI64..=gen_mode::RANDOM => {}
            _ => return Err(TokenError::BadMode),
        }
    }
    let Some(token) = token else { return Ok(()) };
    let refused = |number| conf(ns, of, number) == Some(0);
    // A device that forwards listens to advertisements only if told so expressly.
    let accept_ra = match (conf(ns, of, devconf::FORWARDING), conf(ns, of, devconf::ACCEPT_RA)) {
        (Some(0), ra) => ra.is_some_and(|ra| ra != 0),
        (_, ra) => ra == Some(2),
    };
    if link.stored_flags.contains(IfFlags::LOOPBACK) {
        Err(TokenError::Loopback)
    } else if link.stored_flags.contains(IfFlags::NOARP) {
        Err(TokenError::NoNeighbours)
    } else if !accept_ra {
        Err(TokenError::NoAdvertisements)
    } else if refused(devconf::RTR_SOLICITS) && !token.is_unspecified() {
        Err(TokenError::NoSolicitations)
    } else {
        Ok(())
    }
}

/// Carries out what [`check_link_change`] let pass; says whether there was anything to do.
pub(crate) fn change_link(
    rtnl: &mut Rtnl<'_>,
    ns: Ns<'_>,
    ifindex: u32,
    token: Option<Ipv6Addr>,
    mode: Option<u8>,
) -> bool {
    let Some(link) = ns.state().links.by_index(ifindex).filter(|_| token.is_some() || mode.is_some()) else {
        return false;
    };
    {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(&link);
        if let Some(mode) = mode {
            idev.conf.set(devconf::ADDR_GEN_MODE, mode.into());
        }
        if let Some(token) = token {
            idev.token = token;
        }
    }
    if token.is_some() {
        config::tell_link(rtnl, ns, &link);
    }
    true
}
