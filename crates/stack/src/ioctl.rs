//! The `SIOCGIF*` and `SIOCSIF*` requests: the older door to devices and addresses (`dev_ioctl`, `devinet_ioctl`).

mod inet6;
mod set;

use std::net::Ipv4Addr;
use std::sync::Arc;

use pernet::Net;

pub use inet6::{IN6_IFREQ_LEN, If6Change, ioctl_change6};
pub use set::{IfChange, ioctl_change};

use crate::inet::Addr4Error;
use crate::inet::doors::{self, Field};
use crate::state::Ns;
use crate::{AddrError6, IFNAMSIZ, Label, Link, LinkRefused, Links, McastError, Stack, errno};

/// Size of `struct ifreq` on 64-bit Linux: the name, then a union of 24 bytes.
pub const IFREQ_LEN: usize = 40;

/// Address families of the sockets on which IPv4 address requests are understood: those of IPv4, and of packets.
const AF_INET: i32 = 2;
const AF_PACKET: i32 = 17;

/// The requests that ask about one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum IfRequest {
    /// Index → name.
    Name = 0x8910,
    /// Flags, the lower 16 bits.
    Flags = 0x8913,
    /// IPv4 address.
    Addr = 0x8915,
    /// IPv4 address of the other end.
    DstAddr = 0x8917,
    /// IPv4 broadcast address.
    BrdAddr = 0x8919,
    /// IPv4 netmask.
    NetMask = 0x891b,
    /// Metric, always 0.
    Metric = 0x891d,
    /// Memory window, never supported.
    Mem = 0x891f,
    /// MTU.
    Mtu = 0x8921,
    /// Link-layer address.
    HwAddr = 0x8927,
    /// Slave, never supported.
    Slave = 0x8929,
    /// Name → index.
    Index = 0x8933,
    /// Extended flags, never supported.
    PFlags = 0x8935,
    /// Transmit queue length.
    TxQueueLen = 0x8942,
    /// Memory map of the hardware: all zeros for a device without hardware.
    Map = 0x8970,
}

/// Why a request fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IfRequestError {
    /// There is no such device.
    #[error("no such device")]
    NoDevice,
    /// The device has no IPv4 address.
    #[error("the device has no IPv4 address")]
    NoAddress,
    /// The request is one Linux knows and never answers.
    #[error("the request is not supported by any device")]
    Unsupported,
    /// Sockets of that family do not understand the request.
    #[error("the socket does not understand the request")]
    NotForThisSocket,
    /// What is to be set is none: a negative length, an address of another family, a name that is not text.
    #[error("not a value that can be set")]
    BadValue,
    /// No device does that.
    #[error("no device does that")]
    NotSupported,
    /// The device refuses.
    #[error(transparent)]
    Link(#[from] LinkRefused),
    /// The address is refused.
    #[error(transparent)]
    Addr(#[from] Addr4Error),
    /// The IPv6 address is refused.
    #[error(transparent)]
    Addr6(#[from] AddrError6),
    /// The multicast address is refused.
    #[error(transparent)]
    Mcast(#[from] McastError),
}

impl IfRequestError {
    /// The errno of `ioctl`.
    #[must_use]
    pub fn errno(self) -> i32 {
        match self {
            Self::NoDevice => errno::ENODEV,
            Self::NoAddress => errno::EADDRNOTAVAIL,
            Self::Unsupported | Self::BadValue => errno::EINVAL,
            Self::NotForThisSocket => errno::ENOTTY,
            Self::NotSupported => errno::EOPNOTSUPP,
            Self::Link(refused) => refused.errno(),
            Self::Addr(refused) => refused.errno(),
            Self::Addr6(refused) => refused.errno(),
            Self::Mcast(refused) => refused.errno(),
        }
    }
}

impl IfRequest {
    /// The request with that number, `None` if it is none of those here.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        const ALL: [IfRequest; 15] = [
            IfRequest::Name,
            IfRequest::Flags,
            IfRequest::Addr,
            IfRequest::DstAddr,
            IfRequest::BrdAddr,
            IfRequest::NetMask,
            IfRequest::Metric,
            IfRequest::Mem,
            IfRequest::Mtu,
            IfRequest::HwAddr,
            IfRequest::Slave,
            IfRequest::Index,
            IfRequest::PFlags,
            IfRequest::TxQueueLen,
            IfRequest::Map,
        ];
        ALL.into_iter().find(|r| *r as u32 == number)
    }

    /// Whether only IPv4 sockets understand the request; to all others it is `ENOTTY`.
    #[must_use]
    pub const fn is_inet_only(self) -> bool {
        matches!(self, Self::Addr | Self::DstAddr | Self::BrdAddr | Self::NetMask | Self::PFlags)
    }
}

/// Answers `request`, made on a socket of address family `family` in `net`, in the caller's `ifreq`, of which nothing but
/// the answer changes.
///
/// A name may carry an alias label (`lo:1`), which means the device before the colon; the label stays in the reply, and
/// says which address is meant. A name without NUL is cut to 15 bytes, as Linux does.
///
/// # Errors
/// [`IfRequestError`]; `ifreq` is then to be left alone.
pub fn ioctl_ifreq(
    stack: &Stack,
    net: &Net,
    family: i32,
    request: IfRequest,
    ifreq: &mut [u8; IFREQ_LEN],
) -> Result<(), IfRequestError> {
    if request.is_inet_only() && !does_inet(family) {
        return Err(IfRequestError::NotForThisSocket);
    }
    let state = stack.state(net).ok_or(IfRequestError::NoDevice)?;
    let links = &state.links;
    match request {
        IfRequest::PFlags => return Err(IfRequestError::Unsupported),
        IfRequest::Mem => return Err(IfRequestError::NotForThisSocket),
        IfRequest::Name => {
            let index = i32::from_ne_bytes([ifreq[16], ifreq[17], ifreq[18], ifreq[19]]);
            let link = u32::try_from(index).ok().and_then(|i| links.by_index(i));
            let link = link.ok_or(IfRequestError::NoDevice)?;
            ifreq[..IFNAMSIZ].copy_from_slice(link.name().padded());
            return Ok(());
        }
        _ => {}
    }
    let (name, data) = ifreq.split_at_mut(IFNAMSIZ);
    let link = find(links, name).ok_or(IfRequestError::NoDevice)?;
    // Of several addresses with one label, the caller may name the one it means.
    let sought = address(data);
    let mut put = |bytes: &[u8]| data[..bytes.len()].copy_from_slice(bytes);
    match request {
        IfRequest::Flags => put(&flags(&link).to_ne_bytes()),
        IfRequest::Metric => put(&0_i32.to_ne_bytes()),
        IfRequest::Mtu => put(&link.mtu.to_ne_bytes()),
        IfRequest::Index => put(&link.index().to_ne_bytes()),
        IfRequest::TxQueueLen => put(&link.tx_queue_len.to_ne_bytes()),
        // struct ifmap: two 8-byte addresses, a 16-bit one, three bytes.
        IfRequest::Map => put(&[0; 21]),
        IfRequest::HwAddr => {
            let address = link.address.as_bytes();
            put(&link.class().arp_type.to_ne_bytes());
            // struct sockaddr has room for 14 bytes of address.
            let len = address.len().min(14);
            data[2..2 + len].copy_from_slice(&address[..len]);
        }
        IfRequest::Addr | IfRequest::DstAddr | IfRequest::BrdAddr | IfRequest::NetMask => {
            let field = match request {
                IfRequest::Addr => Field::Addr,
                IfRequest::DstAddr => Field::DstAddr,
                IfRequest::BrdAddr => Field::Broadcast,
                _ => Field::NetMask,
            };
            let found = doors::get(Ns::living(state, net), &link, Label::new(name), sought, field);
            put(&sockaddr(found.ok_or(IfRequestError::NoAddress)?));
        }
        IfRequest::Slave | IfRequest::PFlags | IfRequest::Mem | IfRequest::Name => {
            return Err(IfRequestError::Unsupported);
        }
    }
    name[IFNAMSIZ - 1] = 0;
    Ok(())
}

/// The entries of `SIOCGIFCONF`: an `ifreq` for each IPv4 address of `net`, with its label.
#[must_use]
pub fn ioctl_ifconf(stack: &Stack, net: &Net) -> Vec<[u8; IFREQ_LEN]> {
    let Some(state) = stack.state(net) else { return Vec::new() };
    let entry = |(label, addr): (Label, Ipv4Addr)| {
        let mut entry = [0; IFREQ_LEN];
        entry[..IFNAMSIZ].copy_from_slice(label.padded());
        entry[IFNAMSIZ..IFNAMSIZ + SOCKADDR_LEN].copy_from_slice(&sockaddr(addr));
        entry
    };
    doors::all(Ns::living(state, net)).into_iter().map(entry).collect()
}

const fn does_inet(family: i32) -> bool {
    matches!(family, AF_INET | AF_PACKET)
}

/// Bytes of a `struct sockaddr_in`: family, port, address, padding.
const SOCKADDR_LEN: usize = 16;

fn sockaddr(addr: Ipv4Addr) -> [u8; SOCKADDR_LEN] {
    let mut out = [0; SOCKADDR_LEN];
    out[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
    out[4..8].copy_from_slice(&addr.octets());
    out
}

/// The address in a `struct sockaddr_in`; `None` if it is of another family.
fn address(data: &[u8]) -> Option<Ipv4Addr> {
    let [a, b, _, _, addr @ ..] = *data.first_chunk::<8>()?;
    (i32::from(u16::from_ne_bytes([a, b])) == AF_INET).then(|| Ipv4Addr::from(addr))
}

/// The lower 16 bits of the flags, as `ifr_flags` has room for.
fn flags(link: &Link) -> u16 {
    let [a, b, ..] = link.flags().bits().to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn find(links: &Links, name: &[u8]) -> Option<Arc<Link>> {
    let name = &name[..IFNAMSIZ - 1];
    let end = name.iter().position(|&b| b == 0 || b == b':').unwrap_or(name.len());
    links.by_name(std::str::from_utf8(&name[..end]).ok()?)
}
