//! The address to send from (`inet_select_addr`).

use std::net::Ipv4Addr;

use super::Ifa4;
use super::conf::{self, number::ROUTE_LOCALNET};
use crate::state::{ConfOf, Ns};

/// `RT_SCOPE_LINK`, `RT_SCOPE_HOST`.
const LINK: u8 = 253;
const HOST: u8 = 254;

/// The address to send from (`inet_select_addr`): of the device, if one is given, else of any; `dst` decides between
/// several; its scope is at most `scope`. 0.0.0.0 if there is none.
///
/// Of a device it is the first primary whose prefix has `dst` in it, else the first primary. Where the device has none,
/// that of any other will do, if it means something beyond its own link.
pub(crate) fn select_addr(ns: Ns<'_>, ifindex: Option<u32>, dst: Ipv4Addr, scope: u8) -> Ipv4Addr {
    let Some(inet) = ns.inet.peek() else { return Ipv4Addr::UNSPECIFIED };
    if let Some(device) = ifindex.and_then(|index| inet.device(index)) {
        let mut first = None;
        for ifa in device.addrs.iter().filter(|a| !a.is_secondary() && a.scope <= scope) {
            if dst.is_unspecified() || ifa.contains(dst) {
                return ifa.local;
            }
            first.get_or_insert(ifa.local);
        }
        if let Some(first) = first {
            return first;
        }
    }
    let fits = |a: &&Ifa4| !a.is_secondary() && a.scope != LINK && a.scope <= scope;
    let found = inet.devices().find_map(|(_, device)| device.addrs.iter().find(fits));
    found.map_or(Ipv4Addr::UNSPECIFIED, |ifa| ifa.local)
}

/// The widest scope that is local to the host on this device: with `route_localnet` even 127.0.0.0/8 is routed.
pub(crate) fn local_scope(ns: Ns<'_>, ifindex: u32) -> u8 {
    let says = |of| conf::conf(ns, of, ROUTE_LOCALNET).is_some_and(|v| v != 0);
    if says(ConfOf::All) || says(ConfOf::Dev(ifindex)) { HOST } else { LINK }
}
