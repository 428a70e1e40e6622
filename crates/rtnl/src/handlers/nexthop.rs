//! Nexthop objects: RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP, RTM_GETNEXTHOPBUCKET.

mod bucket;
mod fill;
mod parse;

use pernet::{NetRef, Origin};
use pernet_stack::NexthopNotice;
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck};

use super::{DumpOut, Handler, Request, Step};
use crate::handlers::refused;
use crate::notify::Notifier;

const fn row(ty: u16, doit: Option<super::Doit>, dumpit: Option<super::Dumpit>) -> Handler {
    Handler { family: 0, ty, doit, dumpit }
}

pub(crate) const HANDLERS: &[Handler] = &[
    row(RTM_NEWNEXTHOP, Some(new), None),
    row(RTM_DELNEXTHOP, Some(del), None),
    row(RTM_GETNEXTHOP, Some(get), Some(dump)),
    row(RTM_GETNEXTHOPBUCKET, Some(bucket::get), Some(bucket::dump)),
];

/// Bytes of `struct nhmsg`.
pub(super) const HEADER_LEN: usize = 8;
/// Objects taken out of the table at a time.
const PAGE: usize = 64;

/// What listeners hear of nexthop objects.
pub(crate) fn notice(to: &Notifier, net: &NetRef, notice: &NexthopNotice, origin: Origin) {
    let (ty, nexthop, flags) = match notice {
        NexthopNotice::New { nexthop, flags } => (RTM_NEWNEXTHOP, nexthop, *flags),
        NexthopNotice::Del { nexthop, flags } => (RTM_DELNEXTHOP, nexthop, *flags),
        _ => return,
    };
    to.announce(net, RTNLGRP_NEXTHOP, ty, flags, origin, |out| fill::nexthop(out, nexthop, None));
}

/// `rtm_new_nexthop`.
fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let config = parse::config(request, ext)?;
    let mut rtnl = request.stack().rtnl(request.origin());
    let flags = request.msg.header.flags;
    rtnl.new_nexthop(request.net, &config, flags).map_err(|error| refused(ext, error.errno(), error.text()))
}

/// `rtm_del_nexthop`.
fn del(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let (id, _) = parse::by_id(request, ext, parse::DEL)?;
    let mut rtnl = request.stack().rtnl(request.origin());
    rtnl.del_nexthop(request.net, id, request.msg.header.flags)
        .map_err(|error| refused(ext, error.errno(), error.text()))
}

/// `rtm_get_nexthop`.
fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let (id, op_flags) = parse::by_id(request, ext, parse::GET)?;
    let nexthop = request.stack().nexthop(request.net, id).ok_or(Errno::ENOENT)?;
    let mut out = Builder::message(&request.reply_header(RTM_NEWNEXTHOP, 0));
    fill::nexthop(&mut out, &nexthop, Some(op_flags));
    request.reply(out.finish())
}

/// `rtm_dump_nexthop`.
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let (filter, op_flags) = parse::dump(request, ext)?;
    loop {
        // Behind the greatest id there is none.
        let Ok(start) = u32::try_from(out.cursor.next) else { return Ok(Step::Done) };
        let page = request.stack().nexthops(request.net, start, PAGE, &filter);
        out.observe(page.generation.into());
        for nexthop in &page.nexthops {
            if out.entry(RTM_NEWNEXTHOP, |m| fill::nexthop(m, nexthop, Some(op_flags))).is_err() {
                return Ok(Step::More);
            }
            out.cursor.next = u64::from(nexthop.nexthop.id) + 1;
        }
        if page.nexthops.len() < PAGE {
            return Ok(Step::Done);
        }
    }
}
