//! The kernel's `sockaddr_in` and `sockaddr_in6`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// What a program named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// An address.
    Inet(SocketAddr),
    /// AF_UNSPEC: none.
    None,
}

/// Reads the name that a program gave for a socket of IPv4 or, with `v6`, of IPv6.
///
/// # Errors
/// EINVAL if it is too short, EAFNOSUPPORT for another family.
pub(crate) fn parse(raw: &[u8], v6: bool) -> Result<Name, i32> {
    let family = raw.first_chunk().map(|&b| i32::from(u16::from_ne_bytes(b))).ok_or(libc::EINVAL)?;
    let port = raw.get(2..4).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    match family {
        libc::AF_UNSPEC => Ok(Name::None),
        libc::AF_INET if !v6 => {
            let addr: [u8; 4] = raw.get(..16).and_then(|r| r[4..].first_chunk().copied()).ok_or(libc::EINVAL)?;
            Ok(Name::Inet((Ipv4Addr::from(addr), port).into()))
        }
        libc::AF_INET6 if v6 => {
            let addr: [u8; 16] = raw.get(..24).and_then(|r| r[8..].first_chunk().copied()).ok_or(libc::EINVAL)?;
            let scope = raw.get(24..28).and_then(|b| b.first_chunk().copied()).map_or(0, u32::from_ne_bytes);
            Ok(Name::Inet(SocketAddrV6::new(Ipv6Addr::from(addr), port, 0, scope).into()))
        }
        _ => Err(libc::EAFNOSUPPORT),
    }
}

/// A name as a program gets it.
pub(crate) fn bytes(addr: SocketAddr) -> Vec<u8> {
    match addr {
        SocketAddr::V4(a) => {
            let mut raw = vec![0; 16];
            raw[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            raw[2..4].copy_from_slice(&a.port().to_be_bytes());
            raw[4..8].copy_from_slice(&a.ip().octets());
            raw
        }
        SocketAddr::V6(a) => {
            let mut raw = vec![0; 28];
            raw[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            raw[2..4].copy_from_slice(&a.port().to_be_bytes());
            raw[8..24].copy_from_slice(&a.ip().octets());
            raw[24..28].copy_from_slice(&a.scope_id().to_ne_bytes());
            raw
        }
    }
}

/// The name of a socket that has none.
pub(crate) fn unspecified(v6: bool) -> SocketAddr {
    if v6 { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() }
}
