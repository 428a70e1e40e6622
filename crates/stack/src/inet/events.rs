//! What IPv4 does when something happens to a device (`inetdev_event`).

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::addr::{Ifa4, Label, Lifetime4};
use super::change::{self, Cause};
use super::conf::{self, NetconfPart};
use super::{group, has_inet};
use crate::clock;
use crate::dev::{IfFlags, Link};
use crate::mcast;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::{ConfOf, Ns};

/// A device goes through something.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    match event {
        NetdevEvent::Register if has_inet(link) => init(rtnl, ns, link),
        NetdevEvent::Register => drop(ns.inet.write().without.insert(link.index())),
        NetdevEvent::ChangeMtu(_) => change_mtu(rtnl, ns, link),
        NetdevEvent::Unregister => {
            destroy(rtnl, ns, link);
            mcast::flush(ns, link);
            if ns.peek_inet().is_some_and(|inet| inet.without.contains(&link.index())) {
                ns.inet.write().without.remove(&link.index());
            }
        }
        _ if !has_inet(link) => {}
        NetdevEvent::Up => up(rtnl, ns, link),
        NetdevEvent::Down => group::down(rtnl, ns, link),
        NetdevEvent::ChangeName => change_name(rtnl, ns, link),
        _ => {}
    }
}

/// IPv4 begins on the device (`inetdev_init`).
fn init(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    conf::device_born(ns, link);
    tell_conf(rtnl, ns, link, NetconfPart::All);
    if link.is_up() {
        group::up(rtnl, ns, link);
    }
}

/// IPv4 ends on the device (`inetdev_destroy`): its addresses go one by one, in their order.
fn destroy(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    let had = !ns.peek_inet().is_some_and(|inet| inet.without.contains(&link.index()));
    if !had {
        return;
    }
    let known = ns.peek_inet().is_some_and(|inet| inet.device(link.index()).is_some());
    if known {
        group::destroy(rtnl, ns, link);
        while ns.peek_inet().is_some_and(|inet| !inet.addrs(link.index()).is_empty()) {
            change::take_out(rtnl, ns, link, 0, Cause::Followed);
        }
        ns.inet.write().devices.remove(&link.index());
    }
    let gone = conf::Netconf::gone(ConfOf::Dev(link.index()));
    conf::notify_netconf(rtnl, ns, Some(gone), NetconfPart::Gone);
}

fn change_mtu(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    let without = ns.peek_inet().is_some_and(|inet| inet.without.contains(&link.index()));
    match (has_inet(link), without) {
        (true, true) => {
            ns.inet.write().without.remove(&link.index());
            init(rtnl, ns, link);
        }
        (false, false) => {
            destroy(rtnl, ns, link);
            ns.inet.write().without.insert(link.index());
        }
        _ => {}
    }
}

/// A loopback device gets its address, if nothing stands in the way; every device listens to all hosts.
fn up(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    const HOST: u8 = 254;
    if link.stored_flags.contains(IfFlags::LOOPBACK) {
        let now = clock::stamp(rtnl.now());
        let mut ifa = Ifa4 {
            local: Ipv4Addr::LOCALHOST,
            address: Ipv4Addr::LOCALHOST,
            prefix_len: 8,
            broadcast: None,
            scope: HOST,
            flags: 0,
            label: link.name().into(),
            rt_priority: 0,
            proto: 0,
            valid_lft: 0,
            preferred_lft: 0,
            created: now,
            updated: now,
        };
        ifa.set_lifetime(Lifetime4::FOREVER, now);
        // It may be there already, or not fit what is there: then it is left out.
        let _ = change::insert(rtnl, ns, link, ifa, Cause::Followed);
    }
    group::up(rtnl, ns, link);
}

/// Labels follow the name (`inetdev_changename`), and its settings are seen under another one.
fn change_name(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    let renamed: Vec<Ifa4> = match ns.peek_inet().is_some_and(|inet| !inet.addrs(link.index()).is_empty()) {
        false => Vec::new(),
        true => {
            let mut inet = ns.inet.write();
            let addrs = &mut inet.device_mut(link.index()).addrs;
            for (at, ifa) in addrs.iter_mut().enumerate() {
                ifa.label = Label::renamed(&ifa.label, link.name(), at + 1);
            }
            addrs.clone()
        }
    };
    for ifa in &renamed {
        change::announce(rtnl, ns, link, ifa, true, Cause::Followed);
    }
    let gone = conf::Netconf::gone(ConfOf::Dev(link.index()));
    conf::notify_netconf(rtnl, ns, Some(gone), NetconfPart::Gone);
    tell_conf(rtnl, ns, link, NetconfPart::All);
}

fn tell_conf(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, part: NetconfPart) {
    conf::notify_netconf(rtnl, ns, conf::netconf_of(ns, link), part);
}
