//! `SIOCADDRT` and `SIOCDELRT`: routes as `route(8)` asks for them (`struct rtentry`).

use std::net::Ipv4Addr;

use pernet::Net;

use super::address_type;
use super::metrics::{RTAX_ADVMSS, RTAX_RTT, RTAX_WINDOW};
use super::{Gateway, Insert, Metrics, RouteConfig, RouteError, route_type, scope};
use super::{RT_TABLE_MAIN, RTPROT_BOOT};
use crate::rtnl::Rtnl;

/// Bytes of a `struct rtentry` on 64-bit Linux.
pub const RTENTRY_LEN: usize = 120;

const AF_INET: u16 = 2;

/// `RTF_*`.
mod flag {
    pub(super) const GATEWAY: u16 = 0x2;
    pub(super) const HOST: u16 = 0x4;
    pub(super) const MTU: u16 = 0x40;
    pub(super) const WINDOW: u16 = 0x80;
    pub(super) const IRTT: u16 = 0x100;
    pub(super) const REJECT: u16 = 0x200;
}

/// Why a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RtEntryError {
    /// An address is not IPv4's.
    #[error("not an IPv4 address")]
    Family,
    /// The mask has holes, the address has host bits, or the gateway is missing.
    #[error("the request contradicts itself")]
    Invalid,
    /// As routes are refused.
    #[error(transparent)]
    Route(#[from] RouteError),
}

impl RtEntryError {
    /// The errno of `ioctl`.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Family => crate::errno::EAFNOSUPPORT,
            Self::Invalid => crate::errno::EINVAL,
            Self::Route(error) => error.errno(),
        }
    }
}

/// The fields that are read.
struct Entry<'a>(&'a [u8; RTENTRY_LEN]);

impl Entry<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_ne_bytes(self.bytes(at))
    }

    /// Family and address of the `sockaddr_in` at `at`.
    fn address(&self, at: usize) -> (u16, Ipv4Addr) {
        (self.u16(at), Ipv4Addr::from(self.bytes::<4>(at + 4)))
    }

    fn long(&self, at: usize) -> u32 {
        u64::from_ne_bytes(self.bytes(at)) as u32
    }
}

impl Rtnl<'_> {
    /// Adds (`SIOCADDRT`) or deletes (`SIOCDELRT`) the route of an `rtentry`; `device` is the name its `rt_dev` points
    /// to.
    ///
    /// # Errors
    /// [`RtEntryError`]; nothing has changed then.
    pub fn rtentry(
        &mut self,
        net: &Net,
        add: bool,
        entry: &[u8; RTENTRY_LEN],
        device: Option<&str>,
    ) -> Result<(), RtEntryError> {
        let config = self.rtentry_config(net, add, &Entry(entry), device)?;
        if add {
            // As `ip route prepend`: it goes before others that lead elsewhere.
            let how = Insert { create: true, ..Insert::default() };
            return Ok(self.new_route4(net, &config, how)?);
        }
        Ok(self.del_route4(net, &config)?)
    }

    fn rtentry_config(
        &self,
        net: &Net,
        add: bool,
        entry: &Entry<'_>,
        device: Option<&str>,
    ) -> Result<RouteConfig, RtEntryError> {
        let ns = self.ns(net).ok_or(RouteError::NoSuchNamespace)?;
        let (family, dst) = entry.address(8);
        if family != AF_INET {
            return Err(RtEntryError::Family);
        }
        let flags = entry.u16(56);
        let len = if flags & flag::HOST != 0 { 32 } else { mask_len(entry, dst)? };
        let mut config = RouteConfig { dst: Some(dst), dst_len: len, table: RT_TABLE_MAIN, ..RouteConfig::default() };
        config.scope = scope::NOWHERE;
        if add {
            config.protocol = RTPROT_BOOT;
            config.kind = route_type::UNICAST;
        }
        let metric = i16::from_ne_bytes(entry.bytes(80));
        if metric != 0 {
            config.priority = i32::from(metric).wrapping_sub(1).cast_unsigned();
        }
        if flags & flag::REJECT != 0 {
            config.scope = scope::HOST;
            config.kind = route_type::UNREACHABLE;
            return Ok(config);
        }
        if let Some(name) = device {
            // An alias is a label, and the route is through the device that has it.
            let plain = name.split(':').next().unwrap_or(name);
            let link = ns.links.by_name(plain).ok_or(RouteError::NoSuchDevice)?;
            config.oif = link.index();
            if plain != name {
                let all = super::ifaddr::addresses(ns, link.index());
                let labelled = all.iter().find(|ifa| ifa.label.as_bytes() == name.as_bytes());
                config.prefsrc = Some(labelled.ok_or(RouteError::NoSuchDevice)?.local);
            }
        }
        let (family, gateway) = entry.address(24);
        if family == AF_INET && !gateway.is_unspecified() {
            config.gateway = Gateway::V4(gateway);
            if flags & flag::GATEWAY != 0 && address_type(ns, gateway) == route_type::UNICAST {
                config.scope = scope::UNIVERSE;
            }
        }
        if !add {
            return Ok(config);
        }
        if flags & flag::GATEWAY != 0 && !config.gateway.is_some() {
            return Err(RtEntryError::Invalid);
        }
        if config.scope == scope::NOWHERE {
            config.scope = scope::LINK;
        }
        config.metrics = metrics(entry, flags)?;
        Ok(config)
    }
}

fn mask_len(entry: &Entry<'_>, dst: Ipv4Addr) -> Result<u8, RtEntryError> {
    let (family, mask) = entry.address(40);
    let bits = u32::from(mask);
    if family != AF_INET && (bits != 0 || family != 0) {
        return Err(RtEntryError::Family);
    }
    let len = bits.leading_ones();
    if bits.count_ones() != len || u32::from(dst) & !bits != 0 {
        return Err(RtEntryError::Invalid);
    }
    // At most 32.
    Ok(len as u8)
}

fn metrics(entry: &Entry<'_>, flags: u16) -> Result<Metrics, RtEntryError> {
    let mut metrics = Metrics::default();
    if flags & flag::MTU != 0 {
        // It was the segment size in the days of this interface.
        metrics.set(RTAX_ADVMSS, entry.long(96).wrapping_sub(40))?;
    }
    if flags & flag::WINDOW != 0 {
        metrics.set(RTAX_WINDOW, entry.long(104))?;
    }
    if flags & flag::IRTT != 0 {
        metrics.set(RTAX_RTT, u32::from(entry.u16(112)) << 3)?;
    }
    Ok(metrics)
}
