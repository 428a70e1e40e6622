//! The requests about addresses on IPv6 sockets (`inet6_ioctl`), which name their device by its index.

use std::net::Ipv6Addr;

use pernet::{Net, Origin};

use super::IfRequestError;
use crate::{Ifa6, Stack};

/// Size of `struct in6_ifreq`: an address, the bits of its prefix, an index.
pub const IN6_IFREQ_LEN: usize = 24;

/// The requests that change an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum If6Change {
    /// One more address.
    Add = 0x8916,
    /// One less.
    Del = 0x8936,
    /// The other end of a tunnel between IPv6 islands, of which there are none.
    DstAddr = 0x8918,
}

impl If6Change {
    /// The request with that number, `None` if it is none of those here.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Add, Self::Del, Self::DstAddr].into_iter().find(|r| *r as u32 == number)
    }
}

/// Does what `request` asks in `net`. The caller's right to it (`CAP_NET_ADMIN` over the namespace) was judged before.
///
/// # Errors
/// [`IfRequestError`]; nothing happened then.
pub fn ioctl_change6(
    stack: &Stack,
    net: &Net,
    request: If6Change,
    ifreq: &[u8; IN6_IFREQ_LEN],
) -> Result<(), IfRequestError> {
    let (addr, rest) = ifreq.split_at(16);
    let addr: [u8; 16] = addr.try_into().unwrap_or_default();
    let addr = Ipv6Addr::from(addr);
    let word = |at: usize| rest.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
    // Longer than any prefix is wrong in the same way, however long.
    let prefix_len = u8::try_from(word(0)).unwrap_or(u8::MAX);
    let index = word(4);
    let mut rtnl = stack.rtnl(Origin::KERNEL);
    match request {
        If6Change::Add => Ok(rtnl.new_addr6(net, index, Ifa6::new(addr, prefix_len), false)?),
        If6Change::Del => Ok(rtnl.del_addr6(net, index, addr, prefix_len)?),
        If6Change::DstAddr => Err(IfRequestError::NoDevice),
    }
}
