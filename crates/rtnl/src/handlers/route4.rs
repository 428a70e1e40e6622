//! IPv4 routes: RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE.

mod fill;
mod parse;
mod query;

use pernet::{NetRef, Origin};
use pernet_stack::{Dump4Filter, FibNotice, Insert, Listing};
use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck, Strictness};

use super::{DumpOut, Handler, Request, Step};
use crate::handlers::refused;
use crate::handlers::rta::*;
use crate::notify::Notifier;

const FAMILY: u8 = AF_INET as u8;

const fn doit(ty: u16, doit: super::Doit) -> Handler {
    Handler { family: FAMILY, ty, doit: Some(doit), dumpit: None }
}

pub(crate) const HANDLERS: &[Handler] = &[
    doit(RTM_NEWROUTE, new),
    doit(RTM_DELROUTE, del),
    Handler { family: FAMILY, ty: RTM_GETROUTE, doit: Some(query::get), dumpit: Some(dump) },
];

/// Routes taken out of the tables at a time.
const PAGE: usize = 256;

/// What listeners hear of routes.
pub(crate) fn notice(to: &Notifier, net: &NetRef, notice: &FibNotice, origin: Origin) {
    let (ty, flags, route) = match notice {
        FibNotice::New { route, flags } => (RTM_NEWROUTE, *flags, route),
        FibNotice::Del(route) => (RTM_DELROUTE, 0, route),
        _ => return,
    };
    to.announce(net, RTNLGRP_IPV4_ROUTE, ty, flags, origin, |out| fill::route(out, route));
}

/// `inet_rtm_newroute`.
fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let config = parse::config(request, ext, parse::For::New)?;
    let flags = request.msg.header.flags;
    let how = Insert {
        create: flags & NLM_F_CREATE != 0,
        exclusive: flags & NLM_F_EXCL != 0,
        replace: flags & NLM_F_REPLACE != 0,
        append: flags & NLM_F_APPEND != 0,
    };
    let mut rtnl = request.stack().rtnl(request.origin());
    rtnl.new_route4(request.net, &config, how).map_err(|error| refused(ext, error.errno(), error.text()))
}

/// `inet_rtm_delroute`.
fn del(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let config = parse::config(request, ext, parse::For::Del)?;
    let mut rtnl = request.stack().rtnl(request.origin());
    rtnl.del_route4(request.net, &config).map_err(|error| refused(ext, error.errno(), error.text()))
}

/// Routes of one table or all (`inet_dump_fib`).
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let mut filter = Dump4Filter::default();
    let (mut flags, mut filtered) = (0, false);
    if request.strictness() == Strictness::Strict {
        (filter, flags) = parse::dump(request, ext)?;
        // Every route by the strict form is marked; the end only if something may have been left out.
        filtered = true;
        if filter != Dump4Filter::default() || flags != 0 {
            out.filtered();
        }
        if let Some(table) = filter.table
            && !request.stack().has_table4(request.net, table)
        {
            // Asked about every family, one that has no such table is passed over.
            if i32::from(request.msg.payload()[0]) != AF_INET {
                return Ok(Step::Done);
            }
            ext.set_msg("ipv4: FIB table does not exist");
            return Err(Errno::ENOENT);
        }
    } else if let Some(header) = request.msg.payload().first_chunk::<RTMSG_LEN>() {
        let [.., a, b, c, d] = *header;
        flags = u32::from_ne_bytes([a, b, c, d]) & RTM_F_PREFIX;
        filter.listing = Listing::Both;
    }
    if flags & RTM_F_PREFIX != 0 {
        return Ok(Step::Done);
    }
    loop {
        let page = request.stack().routes4(request.net, (out.cursor.aux, out.cursor.next), PAGE, &filter);
        out.observe(page.generation);
        for (route, (aux, next)) in &page.routes {
            let written = out.entry(RTM_NEWROUTE, |m| {
                if filtered {
                    m.add_flags(NLM_F_DUMP_FILTERED);
                }
                fill::route(m, route);
            });
            if written.is_err() {
                return Ok(Step::More);
            }
            (out.cursor.aux, out.cursor.next) = (*aux, *next);
        }
        if page.last {
            return Ok(Step::Done);
        }
    }
}
