//! The requests that change a device or an address.

use pernet::{Net, Origin};

use super::{IFREQ_LEN, IfRequestError, address, does_inet, find};
use crate::dev::{FlagChange, HwAddr, IfFlags, IfName, Link, LinkChange};
use crate::inet::doors::{self, Field};
use crate::mcast;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;
use crate::{IFNAMSIZ, Label, LinkNotice, Stack};

/// The requests that change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum IfChange {
    /// Flags, the lower 16 bits; of an alias, whether its address is there.
    Flags = 0x8914,
    /// IPv4 address.
    Addr = 0x8916,
    /// IPv4 address of the other end.
    DstAddr = 0x8918,
    /// IPv4 broadcast address.
    BrdAddr = 0x891a,
    /// IPv4 netmask.
    NetMask = 0x891c,
    /// Metric, never supported.
    Metric = 0x891e,
    /// MTU.
    Mtu = 0x8922,
    /// Another name.
    Name = 0x8923,
    /// Link-layer address.
    HwAddr = 0x8924,
    /// Slave, never supported.
    Slave = 0x8930,
    /// One more link-layer multicast address.
    AddMulti = 0x8931,
    /// One less.
    DelMulti = 0x8932,
    /// Link-layer broadcast address.
    HwBroadcast = 0x8937,
    /// Transmit queue length.
    TxQueueLen = 0x8943,
    /// Memory map of the hardware, never supported.
    Map = 0x8971,
}

impl IfChange {
    /// The request with that number, `None` if it is none of those here.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        const ALL: [IfChange; 15] = [
            IfChange::Flags,
            IfChange::Addr,
            IfChange::DstAddr,
            IfChange::BrdAddr,
            IfChange::NetMask,
            IfChange::Metric,
            IfChange::Mtu,
            IfChange::Name,
            IfChange::HwAddr,
            IfChange::Slave,
            IfChange::AddMulti,
            IfChange::DelMulti,
            IfChange::HwBroadcast,
            IfChange::TxQueueLen,
            IfChange::Map,
        ];
        ALL.into_iter().find(|r| *r as u32 == number)
    }

    /// The part of an address that it sets.
    const fn field(self) -> Option<Field> {
        match self {
            Self::Addr => Some(Field::Addr),
            Self::DstAddr => Some(Field::DstAddr),
            Self::BrdAddr => Some(Field::Broadcast),
            Self::NetMask => Some(Field::NetMask),
            _ => None,
        }
    }

    /// Whether sockets of address family `family` understand the request; to others it is `ENOTTY`, whoever asks.
    #[must_use]
    pub const fn is_for(self, family: i32) -> bool {
        self.field().is_none() || does_inet(family)
    }
}

/// Does what `request` asks on a socket of address family `family` in `net`. The caller's right to it
/// (`CAP_NET_ADMIN` over the namespace) was judged before.
///
/// # Errors
/// [`IfRequestError`]; nothing happened then.
pub fn ioctl_change(
    stack: &Stack,
    net: &Net,
    family: i32,
    request: IfChange,
    ifreq: &[u8; IFREQ_LEN],
) -> Result<(), IfRequestError> {
    if !request.is_for(family) {
        return Err(IfRequestError::NotForThisSocket);
    }
    let (name, data) = ifreq.split_at(IFNAMSIZ);
    let label = Label::new(name);
    let mut rtnl = stack.rtnl(Origin::KERNEL);
    let ns = rtnl.ns(net).ok_or(IfRequestError::NoDevice)?;
    if let Some(field) = request.field() {
        // The family is looked at before the device.
        let addr = address(data).ok_or(IfRequestError::BadValue)?;
        let link = find(&ns.links, name).ok_or(IfRequestError::NoDevice)?;
        return Ok(doors::set(&mut rtnl, ns, &link, label, field, addr)?);
    }
    let link = find(&ns.links, name).ok_or(IfRequestError::NoDevice)?;
    match request {
        IfChange::Flags if does_inet(family) && label.as_bytes().contains(&b':') => {
            if number(data) as u16 & 1 == 0 {
                return Ok(doors::delete(&mut rtnl, ns, &link, label)?);
            }
            if doors::exists(ns, &link, label) { Ok(()) } else { Err(IfRequestError::NoAddress) }
        }
        IfChange::Flags => {
            let flags = IfFlags::from_bits(u32::from(number(data) as u16));
            change(&mut rtnl, net, &link, |c| c.flags = Some(FlagChange { flags, mask: IfFlags::NONE }))
        }
        IfChange::Mtu => {
            let mtu = u32::try_from(number(data)).map_err(|_| IfRequestError::BadValue)?;
            change(&mut rtnl, net, &link, |c| c.mtu = Some(mtu))
        }
        IfChange::TxQueueLen => {
            let len = u32::try_from(number(data)).map_err(|_| IfRequestError::BadValue)?;
            change(&mut rtnl, net, &link, |c| c.tx_queue_len = Some(len))
        }
        IfChange::Name => {
            let wanted = &data[..IFNAMSIZ - 1];
            let end = wanted.iter().position(|&b| b == 0).unwrap_or(wanted.len());
            let wanted = std::str::from_utf8(&wanted[..end]).map_err(|_| IfRequestError::BadValue)?;
            // With a number to be found in it, or as it is.
            let checked = wanted.replace("%d", "0");
            IfName::new(&checked).map_err(|_| IfRequestError::BadValue)?;
            change(&mut rtnl, net, &link, |c| c.name = Some(wanted.into()))
        }
        IfChange::HwAddr => {
            let bytes = hardware(&link, data).ok_or(IfRequestError::BadValue)?;
            change(&mut rtnl, net, &link, |c| c.address = Some(bytes.into()))
        }
        IfChange::HwBroadcast => {
            let bytes = hardware(&link, data).ok_or(IfRequestError::BadValue)?;
            set_broadcast(&mut rtnl, ns, &link, bytes)
        }
        IfChange::AddMulti | IfChange::DelMulti => {
            let add = request == IfChange::AddMulti;
            let bytes = data.get(2..2 + link.address.as_bytes().len().min(14)).unwrap_or_default();
            // The family of a multicast address is none.
            let address = HwAddr::new(bytes).filter(|_| data[..2] == [0, 0]).ok_or(IfRequestError::BadValue)?;
            Ok(if add { mcast::add_global(ns, &link, address) } else { mcast::del_global(ns, &link, address) }?)
        }
        IfChange::Slave => Err(IfRequestError::Unsupported),
        _ => Err(IfRequestError::NotSupported),
    }
}

fn change(
    rtnl: &mut Rtnl<'_>,
    net: &Net,
    link: &Link,
    edit: impl FnOnce(&mut LinkChange),
) -> Result<(), IfRequestError> {
    let mut change = LinkChange::default();
    edit(&mut change);
    Ok(rtnl.set_link(net, link.index(), &change)?)
}

/// `SIOCSIFHWBROADCAST` tells that the device has another address, whichever it was.
fn set_broadcast(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, bytes: &[u8]) -> Result<(), IfRequestError> {
    let broadcast = HwAddr::new(bytes).ok_or(IfRequestError::BadValue)?;
    let changed = ns.links.update(link.index(), |link| link.broadcast = broadcast);
    let link = changed.map_err(|_| IfRequestError::NoDevice)?;
    rtnl.call_netdevice_notifiers(ns, &link, NetdevEvent::ChangeAddr);
    rtnl.notify_caused(ns, crate::notice::Notice::Link(LinkNotice::changed(&link)));
    Ok(())
}

/// The number at the beginning of the union.
fn number(data: &[u8]) -> i32 {
    data.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes))
}

/// The link-layer address in a `struct sockaddr`, which names the kind of device.
fn hardware<'d>(link: &Link, data: &'d [u8]) -> Option<&'d [u8]> {
    let kind = data.first_chunk::<2>().map(|bytes| u16::from_ne_bytes(*bytes))?;
    if kind != link.class().arp_type {
        return None;
    }
    data.get(2..2 + link.address.as_bytes().len().min(14))
}
