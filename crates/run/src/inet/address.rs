//! Addresses of the IP families as programs write them: `sockaddr_in` and `sockaddr_in6`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The family that an address says it is of.
pub(crate) fn family_of(raw: &[u8]) -> Option<i32> {
    raw.first_chunk::<2>().map(|b| i32::from(u16::from_ne_bytes(*b)))
}

/// Reads an address for a socket of IPv6 or IPv4.  An IPv6 socket takes IPv4's too where `either` says so; an IPv4 one one
/// of no family.
///
/// # Errors
/// EINVAL if it is too short, EAFNOSUPPORT.
pub(crate) fn parse(raw: &[u8], v6: bool, either: bool) -> Result<SocketAddr, i32> {
    let family = family_of(raw).ok_or(libc::EINVAL)?;
    let bytes = |at: usize| raw.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().ok_or(libc::EINVAL);
    let port = u16::from_be_bytes(*raw.get(2..).and_then(|rest| rest.first_chunk::<2>()).ok_or(libc::EINVAL)?);
    if v6 && !(either && family == libc::AF_INET) {
        if raw.len() < 24 {
            return Err(libc::EINVAL);
        }
        if family != libc::AF_INET6 {
            return Err(libc::EAFNOSUPPORT);
        }
        let ip = raw.get(8..).and_then(|rest| rest.first_chunk::<16>()).copied().ok_or(libc::EINVAL)?;
        let scope = bytes(24).map_or(0, u32::from_ne_bytes);
        return Ok(SocketAddrV6::new(Ipv6Addr::from(ip), port, u32::from_ne_bytes(bytes(4)?), scope).into());
    }
    if raw.len() < 16 {
        return Err(libc::EINVAL);
    }
    if family != libc::AF_INET && family != libc::AF_UNSPEC {
        return Err(libc::EAFNOSUPPORT);
    }
    let v4 = SocketAddrV4::new(Ipv4Addr::from(bytes(4)?), port);
    Ok(if v6 { SocketAddrV6::new(v4.ip().to_ipv6_mapped(), port, 0, 0).into() } else { v4.into() })
}

/// The kernel's form of an address.
pub(crate) fn bytes(addr: SocketAddr) -> Vec<u8> {
    let family = if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut raw = (family as u16).to_ne_bytes().to_vec();
    raw.extend(addr.port().to_be_bytes());
    match addr {
        SocketAddr::V4(addr) => {
            raw.extend(addr.ip().octets());
            raw.extend([0; 8]);
        }
        SocketAddr::V6(addr) => {
            raw.extend(addr.flowinfo().to_ne_bytes());
            raw.extend(addr.ip().octets());
            raw.extend(addr.scope_id().to_ne_bytes());
        }
    }
    raw
}

/// The address of a socket that has none.
pub(crate) fn unspecified(v6: bool) -> SocketAddr {
    if v6 { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_form_of_the_kernel() {
        for text in ["127.0.0.1:53", "[::1]:80", "[fe80::1%3]:9"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(parse(&bytes(addr), addr.is_ipv6(), false), Ok(addr));
        }
        let v4 = bytes("10.0.0.1:5".parse().unwrap());
        assert_eq!(parse(&v4, true, true), Ok("[::ffff:10.0.0.1]:5".parse().unwrap()));
        assert_eq!(parse(&v4, true, false), Err(libc::EINVAL));
        assert_eq!(parse(&v4[..15], false, false), Err(libc::EINVAL));
        assert_eq!(parse(&bytes("[::1]:1".parse().unwrap()), false, false), Err(libc::EAFNOSUPPORT));
    }
}
