//! Addresses by which nobody is recognised tomorrow (RFC 8981): each is made beside one that manages them, is preferred for a
//! day or so, and has a successor before that is over.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::addr;
use super::conf::devconf;
use super::idev::{FOREVER, Ifa6, ifa_flag};
use super::packets::setting;
use crate::clock;
use crate::dev::Link;
use crate::neigh::{self, NeighFamily, NeighParm};
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// How long before it is preferred no longer an address has a successor, seconds (`REGEN_ADVANCE`): as long as it takes to
/// find one that nobody else has.
pub(crate) fn advance(ns: Ns<'_>, link: &Link) -> u32 {
    let count = |number| i64::from(setting(ns, link, number).max(0));
    let retrans = i64::from(neigh::parms(ns.state(), link.index(), NeighFamily::V6).get(NeighParm::RetransTime).max(0));
    let checked = count(devconf::REGEN_MAX_RETRY).saturating_mul(count(devconf::DAD_TRANSMITS)).saturating_mul(retrans);
    let seconds = i64::from(setting(ns, link, devconf::REGEN_MIN_ADVANCE)).saturating_add(checked / 1000);
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

/// How much sooner than others those of this device change, so that not all do at once (`DESYNC_FACTOR`), seconds: thrown
/// once, and again where it has become too much.
fn desync(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link) -> u32 {
    let room = i64::from(setting(ns, link, devconf::TEMP_PREFERRED)) - i64::from(advance(ns, link));
    let most = i64::from(setting(ns, link, devconf::MAX_DESYNC_FACTOR)).min(room);
    let most = u32::try_from(most).unwrap_or(0);
    let mut inet6 = ns.state().inet6.write();
    let kept = &mut inet6.dev_mut(link).desync;
    match *kept {
        Some(kept) if kept <= most => kept,
        _ => *kept.insert(if most == 0 { 0 } else { (rtnl.random() % u64::from(most)) as u32 }),
    }
}

/// How long an address that was made `age` seconds ago may still be valid and preferred, whatever the other says.
fn bounds(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link, age: i64) -> (u32, u32) {
    let left = |number, less: u32| {
        let left = i64::from(setting(ns, link, number)) - i64::from(less) + age;
        u32::try_from(left.max(0)).unwrap_or(FOREVER)
    };
    (left(devconf::TEMP_VALID, 0), left(devconf::TEMP_PREFERRED, desync(rtnl, ns, link)))
}

fn seconds(now: u32, since: u32) -> u32 {
    now.wrapping_sub(since) / 100
}

/// An address that manages temporary ones has come (`new`) or has new lifetimes: so have they, and there is one at least
/// (`manage_tempaddrs`).
pub(crate) fn manage(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, public: Ipv6Addr, new: bool) {
    let now = clock::stamp(rtnl.now());
    let (known, own, any) = {
        let inet6 = ns.state().inet6.read();
        let Some(idev) = inet6.dev(link.index()) else { return };
        let Some(known) = idev.find(public).cloned() else { return };
        let own: Vec<Ifa6> = idev.addrs.iter().filter(|ifa| ifa.is_beside(public)).cloned().collect();
        (known, own, idev.addrs.iter().any(|ifa| ifa.has(ifa_flag::TEMPORARY)))
    };
    for mut ifa in own {
        let (valid, preferred) = bounds(rtnl, ns, link, -i64::from(seconds(now, ifa.created)));
        (ifa.valid_lft, ifa.preferred_lft) = (known.valid_lft.min(valid), known.preferred_lft.min(preferred));
        ifa.updated = now;
        if ifa.preferred_lft > 0 {
            ifa.flags &= !ifa_flag::DEPRECATED;
        }
        addr::prolong(rtnl, ns, link, ifa);
    }
    if new || !any {
        create(rtnl, ns, link, public);
    }
}

/// Makes one beside `public`, if the device is to have such (`ipv6_create_tempaddr`).
fn create(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, public: Ipv6Addr) {
    if setting(ns, link, devconf::USE_TEMPADDR) <= 0 {
        return;
    }
    let most = setting(ns, link, devconf::REGEN_MAX_RETRY);
    let known = {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(link);
        let Some(known) = idev.find_mut(public) else { return };
        if i32::from(known.successors) >= most {
            // Whoever has met others with each of them meets somebody who wants it so.
            idev.conf.set(devconf::USE_TEMPADDR, -1);
            return;
        }
        known.successors = known.successors.saturating_add(1);
        known.clone()
    };
    let age = seconds(clock::stamp(rtnl.now()), known.updated);
    let (valid, preferred) = bounds(rtnl, ns, link, age.into());
    let valid = known.valid_lft.min(valid);
    let mut preferred = known.preferred_lft.min(preferred).min(valid);
    // One that would need a successor at once is as long preferred as it takes not to, if the other one is.
    let least = advance(ns, link).saturating_add(age);
    if preferred <= least {
        preferred = least.saturating_add(1);
        if preferred > valid.min(known.preferred_lft) {
            return;
        }
    }
    let mut ifa = Ifa6::new(unused(rtnl, ns, link, public), known.prefix_len);
    ifa.flags = ifa_flag::TEMPORARY;
    if addr::optimistic(ns, link) {
        ifa.flags |= ifa_flag::OPTIMISTIC;
    }
    (ifa.valid_lft, ifa.preferred_lft, ifa.updated) = (valid, preferred, known.updated);
    ifa.beside = Some(Box::new(public));
    addr::add_of_router(rtnl, ns, link, ifa);
}

/// An address in the network of `public` whose lower half means nothing, to others neither (RFC 8981, 3.3.1).
fn unused(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link, public: Ipv6Addr) -> Ipv6Addr {
    let inet6 = ns.state().inet6.read();
    let idev = inet6.dev(link.index());
    loop {
        let lower = rtnl.random();
        let addr = Ipv6Addr::from_bits(public.to_bits() >> 64 << 64 | u128::from(lower));
        if !is_reserved(lower) && idev.is_none_or(|idev| idev.find(addr).is_none()) {
            return addr;
        }
    }
}

/// Interface identifiers that are somebody's: of all routers, of whole vendors, of anycast groups (RFC 5453).
const fn is_reserved(lower: u64) -> bool {
    lower == 0 || lower >> 24 == 0x02_005e_fffe || lower >> 7 == 0xfdff_ffff_ffff_ff80 >> 7
}

/// A temporary address nears the end of its preference: it has a successor, once.
pub(crate) fn renew(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, addr: Ipv6Addr) {
    let public = {
        let mut inet6 = ns.state().inet6.write();
        let idev = inet6.dev_mut(link);
        let Some(ifa) = idev.find_mut(addr) else { return };
        ifa.successors = 1;
        let public = ifa.beside.as_deref().copied();
        if let Some(public) = public.and_then(|public| idev.find_mut(public)) {
            public.successors = 0;
        }
        public
    };
    if let Some(public) = public {
        create(rtnl, ns, link, public);
    }
}

/// Somebody else has this temporary address: another one is tried.
pub(crate) fn replace(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, ifa: &Ifa6) {
    if let Some(public) = ifa.beside.as_deref() {
        create(rtnl, ns, link, *public);
    }
    addr::delete(rtnl, ns, link, ifa);
}

/// `public` manages temporary addresses no more: those it has go (`delete_tempaddrs`).
pub(crate) fn end(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, public: Ipv6Addr) {
    let own: Vec<Ifa6> = {
        let inet6 = ns.state().inet6.read();
        let idev = inet6.dev(link.index());
        idev.into_iter().flat_map(|idev| &idev.addrs).filter(|ifa| ifa.is_beside(public)).cloned().collect()
    };
    for ifa in &own {
        addr::delete(rtnl, ns, link, ifa);
    }
}

#[cfg(test)]
mod tests {
    use super::is_reserved;

    #[test]
    fn nobody_gets_an_identifier_that_is_anothers() {
        for lower in [0, 0x0200_5eff_fe00_0000, 0x0200_5eff_feff_ffff, 0xfdff_ffff_ffff_ff80, 0xfdff_ffff_ffff_ffff] {
            assert!(is_reserved(lower), "{lower:x}");
        }
        for lower in [1, 0x0200_5eff_fd00_0000, 0xfdff_ffff_ffff_ff7f, 0xfe00_0000_0000_0000, u64::MAX] {
            assert!(!is_reserved(lower), "{lower:x}");
        }
    }
}
