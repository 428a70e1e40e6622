//! IPv4 addresses: RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR, and the dump of all families; multicast groups.

mod fill;
mod list;
mod request;

use pernet::{NetRef, Origin};
use pernet_stack::InetNotice;
use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck};

use super::{DumpOut, Handler, Request, Step};
use crate::handlers::refused;
use crate::notify::Notifier;

const INET: u8 = AF_INET as u8;

/// Family 0 answers for every family that has no row of its own: with those of all.
pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: 0, ty: RTM_GETADDR, doit: None, dumpit: Some(all) },
    Handler { family: INET, ty: RTM_GETADDR, doit: None, dumpit: Some(list::addresses) },
    Handler { family: INET, ty: RTM_GETMULTICAST, doit: None, dumpit: Some(list::groups) },
    Handler { family: INET, ty: RTM_NEWADDR, doit: Some(new), dumpit: None },
    Handler { family: INET, ty: RTM_DELADDR, doit: Some(del), dumpit: None },
];

/// Addresses of all families.
fn all(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    super::dump_all(&[AF_INET, AF_INET6], request, out, ext)
}

/// Sets an address (`inet_rtm_newaddr`).
fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let wanted = request::new(&request.msg, ext)?;
    let result = request.stack().rtnl(request.origin()).new_addr4(request.net, &wanted);
    result.map_err(|error| refused(ext, error.errno(), error.text()))
}

/// Removes an address (`inet_rtm_deladdr`).
fn del(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let wanted = request::del(&request.msg, ext)?;
    let result = request.stack().rtnl(request.origin()).del_addr4(request.net, &wanted);
    result.map_err(|error| refused(ext, error.errno(), error.text()))
}

/// What listeners hear of addresses, groups and settings.
pub(crate) fn notice(to: &Notifier, net: &NetRef, notice: &InetNotice, origin: Origin) {
    match notice {
        InetNotice::Addr { ifindex, ifa, now, present } => {
            let ty = if *present { RTM_NEWADDR } else { RTM_DELADDR };
            to.announce(net, RTNLGRP_IPV4_IFADDR, ty, 0, origin, |m| fill::address(m, *ifindex, ifa, *now, None));
        }
        InetNotice::Group { ifindex, address, joined, present } => {
            let ty = if *present { RTM_NEWMULTICAST } else { RTM_DELMULTICAST };
            to.announce(net, RTNLGRP_IPV4_MCADDR, ty, 0, origin, |m| fill::group(m, *ifindex, *address, *joined));
        }
        InetNotice::Netconf { conf, part } => super::netconf::notice(to, net, conf, *part, origin),
        _ => {}
    }
}
