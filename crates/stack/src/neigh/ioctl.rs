//! `SIOCSARP`, `SIOCGARP` and `SIOCDARP` (`arp_ioctl`): what `arp` speaks.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use pernet::Net;

use super::entry::NeighFlags;
use super::state::NeighState;
use super::{NeighError, NeighKey, NewNeigh};
use crate::dev::{IFNAMSIZ, Link, Stack};
use crate::errno;
use crate::rtnl::Rtnl;
use crate::state::ConfOf;

/// `ATF_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArpFlags(pub i32);

impl ArpFlags {
    /// The address is known.
    pub const COM: i32 = 0x02;
    /// It stays.
    pub const PERM: i32 = 0x04;
    /// Answer for it.
    pub const PUBL: i32 = 0x08;
    /// Answer for a whole network.
    pub const NETMASK: i32 = 0x20;
    /// Do not answer for it.
    pub const DONTPUB: i32 = 0x40;
}

/// Why a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArpError {
    /// The address is not an IPv4 one.
    #[error("not an IPv4 address")]
    NotInet,
    /// Flags, mask or address do not go together.
    #[error("the request contradicts itself")]
    Invalid,
    /// No such device.
    #[error("no such device")]
    NoDevice,
    /// Without a device the way decides, and there is none.
    #[error("the network is unreachable")]
    Unreachable,
    /// No such entry.
    #[error("no such entry")]
    NotFound,
    /// No such proxy.
    #[error("no such proxy")]
    NoProxy,
    /// The table is full.
    #[error("the table is full")]
    Full,
}

impl ArpError {
    /// The errno of `ioctl`.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::NotInet => errno::EPFNOSUPPORT,
            Self::Invalid => errno::EINVAL,
            Self::NoDevice => errno::ENODEV,
            Self::Unreachable => errno::ENETUNREACH,
            Self::NotFound => errno::ENXIO,
            Self::NoProxy => errno::ENOENT,
            Self::Full => errno::ENOBUFS,
        }
    }
}

/// A `struct arpreq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpRequest {
    raw: [u8; Self::LEN],
}

impl ArpRequest {
    /// Its size: two addresses of 16 bytes, flags, a mask of 16, a name.
    pub const LEN: usize = 68;

    /// From what the caller has in memory.
    #[must_use]
    pub const fn new(raw: [u8; Self::LEN]) -> Self {
        Self { raw }
    }

    /// What to put back there.
    #[must_use]
    pub const fn raw(&self) -> &[u8; Self::LEN] {
        &self.raw
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.raw[at], self.raw[at + 1]])
    }

    fn address_at(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::new(self.raw[at], self.raw[at + 1], self.raw[at + 2], self.raw[at + 3])
    }

    fn ip(&self) -> Ipv4Addr {
        self.address_at(4)
    }

    fn flags(&self) -> i32 {
        i32::from_ne_bytes([self.raw[32], self.raw[33], self.raw[34], self.raw[35]])
    }

    fn mask(&self) -> Ipv4Addr {
        if self.flags() & ArpFlags::NETMASK == 0 { Ipv4Addr::BROADCAST } else { self.address_at(40) }
    }

    fn hardware(&self) -> &[u8] {
        &self.raw[18..32]
    }

    /// Looks the request over, and for its device.
    fn judge(&self, links: &crate::dev::Links) -> Result<Option<Arc<Link>>, ArpError> {
        const AF_INET: u16 = 2;
        if self.u16_at(0) != AF_INET {
            return Err(ArpError::NotInet);
        }
        if self.flags() & ArpFlags::PUBL == 0 && self.flags() & (ArpFlags::NETMASK | ArpFlags::DONTPUB) != 0 {
            return Err(ArpError::Invalid);
        }
        let name = self.raw[52..52 + IFNAMSIZ - 1].split(|&b| b == 0).next().unwrap_or_default();
        if name.is_empty() {
            return Ok(None);
        }
        let link = std::str::from_utf8(name).ok().and_then(|name| links.by_name(name)).ok_or(ArpError::NoDevice)?;
        let family = self.u16_at(16);
        if family != 0 && family != link.class().arp_type { Err(ArpError::Invalid) } else { Ok(Some(link)) }
    }
}

impl Rtnl<'_> {
    /// `SIOCSARP`.
    ///
    /// # Errors
    /// [`ArpError`].
    pub fn arp_set(&mut self, net: &Net, request: &ArpRequest) -> Result<(), ArpError> {
        let ns = self.ns(net).ok_or(ArpError::NoDevice)?;
        let link = request.judge(&ns.links)?;
        let flags = request.flags();
        if flags & ArpFlags::PUBL != 0 {
            return self.publish(net, request, link.as_deref());
        }
        let link = match link {
            Some(link) => link,
            None => way(ns, request.ip())?,
        };
        let permanent = flags & ArpFlags::PERM != 0;
        let known = permanent || flags & ArpFlags::COM != 0;
        let new = NewNeigh {
            key: NeighKey { ifindex: link.index(), dst: IpAddr::V4(request.ip()) },
            state: if permanent { NeighState::PERMANENT } else { NeighState::STALE },
            flags: NeighFlags::default(),
            address: known.then_some(request.hardware()),
            protocol: 0,
            create: true,
            exclusive: false,
            replace: true,
        };
        self.new_neigh(net, &new).map_err(|e| match e {
            NeighError::NoDevice => ArpError::NoDevice,
            NeighError::Full => ArpError::Full,
            _ => ArpError::Invalid,
        })
    }

    fn publish(&mut self, net: &Net, request: &ArpRequest, link: Option<&Link>) -> Result<(), ArpError> {
        let mask = request.mask();
        if !mask.is_unspecified() && !mask.is_broadcast() {
            return Err(ArpError::Invalid);
        }
        let ns = self.ns(net).ok_or(ArpError::NoDevice)?;
        let by_hardware = || ns.links.all().into_iter().find(|l| request.hardware().starts_with(l.address.as_bytes()));
        let ifindex = match link {
            Some(link) => link.index(),
            None if request.flags() & ArpFlags::COM != 0 => by_hardware().ok_or(ArpError::NoDevice)?.index(),
            None => 0,
        };
        if mask.is_unspecified() {
            self.proxy_arp(ns, ifindex, true);
            return Ok(());
        }
        let new = NewNeigh {
            key: NeighKey { ifindex, dst: IpAddr::V4(request.ip()) },
            state: NeighState::NONE,
            flags: NeighFlags::PROXY,
            address: None,
            protocol: 0,
            create: true,
            exclusive: false,
            replace: true,
        };
        self.new_neigh(net, &new).map_err(|_| ArpError::NoDevice)
    }

    /// Answering for everybody is a setting of the device, or of all.
    fn proxy_arp(&mut self, ns: crate::state::Ns<'_>, ifindex: u32, on: bool) {
        const PROXY_ARP: usize = 3;
        let of = if ifindex == 0 { ConfOf::All } else { ConfOf::Dev(ifindex) };
        crate::inet::set_conf(self, ns, of, PROXY_ARP, on.into());
    }

    /// `SIOCDARP`.
    ///
    /// # Errors
    /// [`ArpError`].
    pub fn arp_delete(&mut self, net: &Net, request: &ArpRequest) -> Result<(), ArpError> {
        let ns = self.ns(net).ok_or(ArpError::NoDevice)?;
        let link = request.judge(&ns.links)?;
        if request.flags() & ArpFlags::PUBL != 0 {
            let ifindex = link.map_or(0, |l| l.index());
            if request.mask().is_broadcast() {
                let key = NeighKey { ifindex, dst: IpAddr::V4(request.ip()) };
                return self.del_proxy(net, key).map_err(|_| ArpError::NoProxy);
            }
            if !request.mask().is_unspecified() {
                return Err(ArpError::Invalid);
            }
            self.proxy_arp(ns, ifindex, false);
            return Ok(());
        }
        let link = match link {
            Some(link) => link,
            None => way(ns, request.ip())?,
        };
        let key = NeighKey { ifindex: link.index(), dst: IpAddr::V4(request.ip()) };
        self.del_neigh(net, key).map_err(|_| ArpError::NotFound)
    }
}

/// The device that a packet to `dst` would leave by.
fn way(ns: crate::state::Ns<'_>, dst: Ipv4Addr) -> Result<Arc<Link>, ArpError> {
    let found = crate::fib::fib_lookup(ns, &crate::fib::Flow4 { dst, ..crate::fib::Flow4::default() });
    let hop = found.ok().and_then(|found| found.hop).ok_or(ArpError::Unreachable)?;
    ns.links.by_index(hop.oif).ok_or(ArpError::NoDevice)
}

impl Stack {
    /// `SIOCGARP`: fills the request with what is known.
    ///
    /// # Errors
    /// [`ArpError`].
    pub fn arp_get(&self, net: &Net, request: &mut ArpRequest) -> Result<(), ArpError> {
        let links = self.links(net).ok_or(ArpError::NoDevice)?;
        let link = request.judge(links)?.ok_or(ArpError::NoDevice)?;
        let key = NeighKey { ifindex: link.index(), dst: IpAddr::V4(request.ip()) };
        let found = self.neighbour(net, key).filter(|n| !n.state.is(NeighState::NOARP)).ok_or(ArpError::NotFound)?;
        let address = self.stored_address(net, key).unwrap_or(link.address);
        let bytes = address.as_bytes();
        let raw = &mut request.raw;
        raw[16..18].copy_from_slice(&link.class().arp_type.to_ne_bytes());
        let len = bytes.len().min(14);
        raw[18..18 + len].copy_from_slice(&bytes[..len]);
        let flags = shown(found.state);
        if i32::from_ne_bytes([raw[32], raw[33], raw[34], raw[35]]) & ArpFlags::NETMASK == 0 {
            raw[40..44].copy_from_slice(&[0xff; 4]);
        }
        raw[32..36].copy_from_slice(&flags.to_ne_bytes());
        raw[52..52 + IFNAMSIZ].copy_from_slice(link.name().padded());
        Ok(())
    }
}

/// An entry's state as `arp` knows it.
pub(crate) const fn shown(state: NeighState) -> i32 {
    if state.is(NeighState::PERMANENT) {
        ArpFlags::PERM | ArpFlags::COM
    } else if state.is(NeighState::VALID) {
        ArpFlags::COM
    } else {
        0
    }
}
