//! Messages about neighbours (`neigh_fill_info`, `pneigh_fill_info`).

use std::net::IpAddr;

use pernet_stack::{NeighProxy, NeighReport};
use pernet_wire::Builder;
use pernet_wire::uapi::*;

use super::HEADER;

/// `RTN_UNICAST`.
const UNICAST: u8 = 1;

fn header(out: &mut Builder, dst: IpAddr, ifindex: u32, state: u8, flags: u8, ty: u8) {
    let mut header = [0; HEADER];
    header[0] = match dst {
        IpAddr::V4(_) => AF_INET as u8,
        IpAddr::V6(_) => AF_INET6 as u8,
    };
    header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    header[8..10].copy_from_slice(&u16::from(state).to_ne_bytes());
    (header[10], header[11]) = (flags, ty);
    out.put_raw(&header);
    match dst {
        IpAddr::V4(dst) => out.put(NDA_DST, &dst.octets()),
        IpAddr::V6(dst) => out.put(NDA_DST, &dst.octets()),
    };
}

/// An entry, behind a header that is there already.
pub(super) fn neighbour(out: &mut Builder, report: &NeighReport) {
    header(out, report.dst, report.ifindex, report.state.0, report.flags.low(), report.kind);
    if let Some(address) = report.address {
        out.put(NDA_LLADDR, address.as_bytes());
    }
    let cache = [report.confirmed, report.used, report.updated, report.refcnt];
    let cache: Vec<u8> = cache.iter().flat_map(|v| v.to_ne_bytes()).collect();
    out.put_u32(NDA_PROBES, report.probes).put(NDA_CACHEINFO, &cache);
    if report.protocol != 0 {
        out.put_u8(NDA_PROTOCOL, report.protocol);
    }
    if report.flags.ext() != 0 {
        out.put_u32(NDA_FLAGS_EXT, report.flags.ext());
    }
}

/// A proxy, likewise.
pub(super) fn proxy(out: &mut Builder, proxy: &NeighProxy) {
    header(out, proxy.dst, proxy.ifindex, 0, proxy.flags.low() | NTF_PROXY, UNICAST);
    if proxy.protocol != 0 {
        out.put_u8(NDA_PROTOCOL, proxy.protocol);
    }
}
