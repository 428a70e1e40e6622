//! The address to send from (`inet_select_addr`).

use std::net::Ipv4Addr;

use super::Ifa4;
use crate::state::Ns;

/// `RT_SCOPE_LINK`.
const LINK: u8 = 253;

/// Whether both are in one network of the device's (`inet_addr_onlink`).
pub(crate) fn on_link(ns: Ns<'_>, index: u32, a: Ipv4Addr, b: Ipv4Addr) -> bool {
    let inet = ns.peek_inet();
    let addrs = inet.as_ref().map_or(&[][..], |inet| inet.addrs(index));
    addrs.iter().any(|ifa| ifa.contains(a) && ifa.contains(b))
}

/// The address to send from (`inet_select_addr`): of the device, if one is given, else of any; `dst` decides between
/// several; its scope is at most `scope`. 0.0.0.0 if there is none.
///
/// Of a device it is the first primary whose prefix has `dst` in it, else the first primary. Where the device has none,
/// that of any other will do, if it means something beyond its own link.
pub(crate) fn select_addr(ns: Ns<'_>, ifindex: Option<u32>, dst: Ipv4Addr, scope: u8) -> Ipv4Addr {
    let Some(inet) = ns.peek_inet() else { return Ipv4Addr::UNSPECIFIED };
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
