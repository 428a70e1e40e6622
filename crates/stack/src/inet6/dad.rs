//! Duplicate address detection (RFC 4862) as far as it is a matter of time: an address is good when nobody has claimed it
//! while it was asked for. Who sends and hears packets calls [`disputed`] when somebody does.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use super::conf::devconf;
use super::idev::ifa_flag;
use super::scope::is_link_local;
use super::{Timer, addr, groups, router, temporary};
use crate::dev::{IfFlags, Link};
use crate::l2::Work;
use crate::neigh::{self, NeighFamily, NeighParm};
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Begins to check an address that is not in use yet; at once in use if it needs no check.
pub(crate) fn start(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, addr: Ipv6Addr) {
    let parms = neigh::parms(ns.state(), link.index(), NeighFamily::V6);
    // The time between two solicitations (`RetransTimer` of RFC 4861).
    let retrans = Duration::from_millis(parms.get(NeighParm::RetransTime).max(10).cast_unsigned().into());
    let (ready, wait, round, ifa) = {
        let mut inet6 = ns.state().inet6.write();
        let accept = inet6.all_conf(devconf::ACCEPT_DAD).max(inet6.dev_conf(link, devconf::ACCEPT_DAD));
        let transmits = inet6.dev_conf(link, devconf::DAD_TRANSMITS).max(0).cast_unsigned();
        let delay = inet6.dev_conf(link, devconf::RTR_SOLICIT_DELAY).max(0).cast_unsigned();
        let idev = inet6.dev_mut(link);
        let ready = idev.ready;
        let Some(ifa) = idev.find_mut(addr) else { return };
        if !ifa.pending {
            return;
        }
        let alone = link.stored_flags.contains(IfFlags::LOOPBACK) || link.stored_flags.contains(IfFlags::NOARP);
        let unchecked = alone || accept < 1 || transmits == 0 || ifa.has(ifa_flag::NODAD);
        ifa.dad_round = ifa.dad_round.wrapping_add(1);
        let wait = (!unchecked).then(|| (Duration::from_millis(rtnl.random() % (u64::from(delay) + 1)), transmits));
        (ready, wait, ifa.dad_round, ifa.clone())
    };
    match wait {
        None => done(rtnl, ns, link, addr),
        // It begins when the link is ready.
        Some(_) if !ready => {}
        Some((delay, transmits)) => {
            if ifa.has(ifa_flag::OPTIMISTIC) {
                addr::into_use(rtnl, ns, link, &ifa, false);
            }
            let first = rtnl.now() + delay;
            for nth in 0..transmits {
                let asks = Work::DadSolicit { ifindex: link.index(), addr, round };
                rtnl.set_timer(ns, first + retrans.saturating_mul(nth), crate::rtnl::Timer::Work(Box::new(asks)));
            }
            let when = first + retrans.saturating_mul(transmits);
            let timer = Timer::Dad { ifindex: link.index(), addr, round };
            rtnl.set_timer(ns, when, super::timer_of(timer));
        }
    }
}

/// The time is over.
pub(crate) fn undisputed(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, ifindex: u32, addr: Ipv6Addr, round: u32) {
    let Some(link) = ns.state().links.by_index(ifindex) else { return };
    let wanted = {
        let inet6 = ns.state().inet6.read();
        let idev = inet6.dev(ifindex).filter(|idev| idev.ready && !idev.linkdown);
        idev.and_then(|idev| idev.find(addr)).is_some_and(|ifa| ifa.pending && ifa.dad_round == round)
    };
    if wanted {
        done(rtnl, ns, &link, addr);
    }
}

fn done(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, addr: Ipv6Addr) {
    let ifa = {
        let mut inet6 = ns.state().inet6.write();
        inet6.addrs_changed += 1;
        let Some(ifa) = inet6.dev_mut(link).find_mut(addr) else { return };
        ifa.flags &= !(ifa_flag::TENTATIVE | ifa_flag::OPTIMISTIC | ifa_flag::DADFAILED);
        ifa.pending = false;
        ifa.clone()
    };
    addr::into_use(rtnl, ns, link, &ifa, true);
    if ifa.has(ifa_flag::TEMPORARY) {
        addr::watch(rtnl, ns, link.index(), &ifa);
    }
    if is_link_local(ifa.addr) {
        groups::tell_all(rtnl, ns, link);
        router::ask(rtnl, ns, link);
    }
}

/// Somebody else on the link has the address (`addrconf_dad_failure`): it stays, tentative for good, and is not used; but a
/// temporary one goes.
pub(crate) fn disputed(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, addr: Ipv6Addr) {
    let ifa = {
        let mut inet6 = ns.state().inet6.write();
        inet6.addrs_changed += 1;
        let Some(ifa) = inet6.dev_mut(link).find_mut(addr).filter(|ifa| ifa.pending) else { return };
        ifa.flags |= ifa_flag::TENTATIVE | ifa_flag::DADFAILED;
        // No timer of before counts.
        ifa.dad_round = ifa.dad_round.wrapping_add(1);
        ifa.clone()
    };
    if ifa.has(ifa_flag::TEMPORARY) {
        temporary::replace(rtnl, ns, link, &ifa);
    } else {
        addr::tell(rtnl, ns, link.index(), &ifa, true);
    }
}

/// The link is ready: every address that waited is checked (`addrconf_dad_run`).
pub(crate) fn run(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, again: bool) {
    let addrs = ns.state().inet6.read().dev(link.index()).map(|idev| idev.addrs.clone()).unwrap_or_default();
    for ifa in addrs.iter().filter(|ifa| ifa.pending && !ifa.has(ifa_flag::DADFAILED)) {
        if !again {
            groups::solicited(rtnl, ns, link, ifa.addr, true);
        }
        start(rtnl, ns, link, ifa.addr);
    }
}
