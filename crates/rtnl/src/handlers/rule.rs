//! Policy rules of either family: RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE.

mod fill;
mod parse;

use pernet::{NetRef, Origin};
use pernet_stack::{Family, RuleNotice};
use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck, Strictness};

use super::{DumpOut, Handler, Request, Step};
use crate::handlers::refused;
use crate::notify::Notifier;

const fn doit(ty: u16, doit: super::Doit) -> Handler {
    Handler { family: 0, ty, doit: Some(doit), dumpit: None }
}

/// Registered for family 0 alone: the family byte is looked at here.
pub(crate) const HANDLERS: &[Handler] = &[
    doit(RTM_NEWRULE, new),
    doit(RTM_DELRULE, del),
    Handler { family: 0, ty: RTM_GETRULE, doit: None, dumpit: Some(dump) },
];

/// Bytes of `struct fib_rule_hdr`.
pub(super) const HEADER_LEN: usize = 12;

/// What listeners hear of rules.
pub(crate) fn notice(to: &Notifier, net: &NetRef, notice: &RuleNotice, origin: Origin) {
    let (ty, rule) = match notice {
        RuleNotice::New(rule) => (RTM_NEWRULE, rule),
        RuleNotice::Del(rule) => (RTM_DELRULE, rule),
        _ => return,
    };
    let group = match rule.rule.family {
        Family::Inet => RTNLGRP_IPV4_RULE,
        Family::Inet6 => RTNLGRP_IPV6_RULE,
    };
    to.announce(net, group, ty, 0, origin, |out| fill::rule(out, rule));
}

/// `fib_nl_newrule`.
fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let asked = parse::rule(request, ext, true)?;
    let exclusive = request.msg.header.flags & NLM_F_EXCL != 0;
    let mut rtnl = request.stack().rtnl(request.origin());
    rtnl.new_rule(request.net, asked.rule, asked.has_pref, exclusive)
        .map_err(|error| refused(ext, error.errno(), error.text()))
}

/// `fib_nl_delrule`.
fn del(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let asked = parse::rule(request, ext, false)?;
    let mut rtnl = request.stack().rtnl(request.origin());
    rtnl.del_rule(request.net, &asked.rule, asked.has_pref).map_err(|error| refused(ext, error.errno(), error.text()))
}

/// Who has rules: IPv4, its multicast routing, that of IPv6, IPv6.
const FAMILIES: [i32; 4] = [AF_INET, RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR, AF_INET6];
const RTNL_FAMILY_IPMR: i32 = 128;
const RTNL_FAMILY_IP6MR: i32 = 129;

/// `fib_nl_dumprule`.
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let payload = request.msg.payload();
    if request.strictness() == Strictness::Strict {
        let refuse = |ext: &mut ExtAck, text| {
            ext.set_msg(text);
            Err(Errno::EINVAL)
        };
        match payload.get(..HEADER_LEN) {
            None => return refuse(ext, "Invalid header for fib rule dump request"),
            Some(header) if header[1..].iter().any(|&byte| byte != 0) => {
                return refuse(ext, "Invalid values in header for fib rule dump request");
            }
            Some(_) if payload.len() > HEADER_LEN => {
                return refuse(ext, "Invalid data after header in fib rule dump request");
            }
            Some(_) => {}
        }
    }
    let asked = i32::from(payload.first().copied().unwrap_or(0));
    if asked != AF_UNSPEC && !FAMILIES.contains(&asked) {
        return Err(Errno::EAFNOSUPPORT);
    }
    // The cursor counts rules within a family.
    while let Some(family) = FAMILIES.get(usize::from(out.cursor.stage)) {
        if (asked == AF_UNSPEC || asked == *family) && dump_family(request, out, *family) == Step::More {
            return Ok(Step::More);
        }
        out.next_stage();
    }
    Ok(Step::Done)
}

fn dump_family(request: &Request<'_>, out: &mut DumpOut, family: i32) -> Step {
    let which = match family {
        AF_INET => Family::Inet,
        AF_INET6 => Family::Inet6,
        multicast => {
            if out.cursor.next == 0 && out.entry(RTM_NEWRULE, |m| fill::multicast(m, multicast)).is_err() {
                return Step::More;
            }
            out.cursor.next = 1;
            return Step::Done;
        }
    };
    let (rules, generation) = request.stack().rules(request.net, which);
    out.observe(generation.into());
    let done = usize::try_from(out.cursor.next).unwrap_or(usize::MAX);
    for rule in rules.iter().skip(done) {
        if out.entry(RTM_NEWRULE, |m| fill::rule(m, rule)).is_err() {
            return Step::More;
        }
        out.cursor.next += 1;
    }
    Step::Done
}
