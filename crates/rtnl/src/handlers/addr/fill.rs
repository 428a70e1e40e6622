//! Addresses and groups as bytes.

use std::net::Ipv4Addr;

use pernet_stack::{FOREVER, IFA_F_PERMANENT, Ifa4};
use pernet_wire::Builder;
use pernet_wire::uapi::*;

/// Header and attributes of an address (`inet_fill_ifaddr`) at the moment `now`; `target` is the id by which the
/// requester named the namespace.
pub(super) fn address(out: &mut Builder, ifindex: u32, ifa: &Ifa4, now: u32, target: Option<i32>) {
    let [flags, ..] = ifa.flags.to_le_bytes();
    header(out, ifa.prefix_len, flags, ifa.scope, ifindex);
    if let Some(nsid) = target {
        out.put_i32(IFA_TARGET_NETNSID, nsid);
    }
    if !ifa.address.is_unspecified() {
        out.put(IFA_ADDRESS, &ifa.address.octets());
    }
    out.put(IFA_LOCAL, &ifa.local.octets());
    if let Some(broadcast) = ifa.broadcast {
        out.put(IFA_BROADCAST, &broadcast.octets());
    }
    let label = ifa.label.as_bytes();
    if !label.is_empty() {
        out.put(IFA_LABEL, &[label, &[0]].concat());
    }
    if ifa.proto != 0 {
        out.put_u8(IFA_PROTO, ifa.proto);
    }
    out.put_u32(IFA_FLAGS, ifa.flags);
    if ifa.rt_priority != 0 {
        out.put_u32(IFA_RT_PRIORITY, ifa.rt_priority);
    }
    let (preferred, valid) = ifa.remaining(now);
    cacheinfo(out, [preferred, valid, ifa.created, ifa.updated]);
}

/// Header and attributes of a multicast group (`inet_fill_ifmcaddr`).
pub(super) fn group(out: &mut Builder, ifindex: u32, address: Ipv4Addr, joined: u32) {
    let [permanent, ..] = IFA_F_PERMANENT.to_le_bytes();
    header(out, 32, permanent, 0, ifindex);
    out.put(IFA_MULTICAST, &address.octets());
    cacheinfo(out, [FOREVER, FOREVER, joined, joined]);
}

fn header(out: &mut Builder, prefix_len: u8, flags: u8, scope: u8, ifindex: u32) {
    let [a, b, c, d] = ifindex.to_ne_bytes();
    out.put_raw(&[AF_INET as u8, prefix_len, flags, scope, a, b, c, d]);
}

/// Seconds preferred and valid, then when it was made and changed.
fn cacheinfo(out: &mut Builder, words: [u32; 4]) {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    out.put(IFA_CACHEINFO, &bytes);
}
