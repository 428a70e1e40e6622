//! IPv6 routes: RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE.

mod fill;
mod get;
mod list;
mod request;

use pernet::{NetRef, Origin};
use pernet_stack::Inet6Notice;
use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck};

use super::{Handler, Request};
use crate::handlers::refused;
use crate::notify::Notifier;

const INET6: u8 = AF_INET6 as u8;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
const RTNLGRP_IPV6_IFINFO: u32 = 12;
const RTNLGRP_IPV6_PREFIX: u32 = 18;
const RTNLGRP_ND_USEROPT: u32 = 20;
const RTM_NEWPREFIX: u16 = 52;
const RTM_NEWNDUSEROPT: u16 = 68;

pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: INET6, ty: RTM_NEWROUTE, doit: Some(new), dumpit: None },
    Handler { family: INET6, ty: RTM_DELROUTE, doit: Some(del), dumpit: None },
    Handler { family: INET6, ty: RTM_GETROUTE, doit: Some(get::get), dumpit: Some(list::dump) },
];

/// Adds a route (`inet6_rtm_newroute`).
fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let (spec, how) = request::new(&request.msg, ext)?;
    let result = request.stack().rtnl(request.origin()).new_route6(request.net, &spec, how);
    result.map_err(|error| refused(ext, error.errno(), error.text()))
}

/// Removes a route (`inet6_rtm_delroute`).
fn del(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let (keys, cached) = request::del(&request.msg, ext)?;
    let mut rtnl = request.stack().rtnl(request.origin());
    let result = if cached { rtnl.forget_route6(request.net, &keys) } else { rtnl.del_route6(request.net, &keys) };
    result.map_err(|error| refused(ext, error.errno(), error.text()))
}

/// What listeners hear of IPv6.
pub(crate) fn notice(to: &Notifier, net: &NetRef, notice: &Inet6Notice, origin: Origin) {
    match notice {
        Inet6Notice::Addr { new, ifindex, ifa, now } => super::addr6::notice(to, net, *new, *ifindex, ifa, *now),
        Inet6Notice::Route { added, route } => {
            let (ty, flags) = added.map_or((RTM_DELROUTE, 0), |flags| (RTM_NEWROUTE, flags));
            to.announce(net, RTNLGRP_IPV6_ROUTE, ty, flags, origin, |m| fill::route(m, route));
        }
        Inet6Notice::Link(link, inet6) => {
            let origin = Origin::KERNEL;
            to.announce(net, RTNLGRP_IPV6_IFINFO, RTM_NEWLINK, 0, origin, |m| {
                super::link::inet6_link(m, link, inet6);
            });
        }
        Inet6Notice::Prefix { ifindex, info } => {
            to.announce(net, RTNLGRP_IPV6_PREFIX, RTM_NEWPREFIX, 0, Origin::KERNEL, |m| {
                fill::prefix(m, *ifindex, info);
            });
        }
        Inet6Notice::UserOption { ifindex, router, option } => {
            to.announce(net, RTNLGRP_ND_USEROPT, RTM_NEWNDUSEROPT, 0, Origin::KERNEL, |m| {
                fill::user_option(m, *ifindex, *router, option);
            });
        }
        _ => {}
    }
}
