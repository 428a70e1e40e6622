//! Settings of devices that matter to routing, of both families: RTM_GETNETCONF, and messages when they change.

use pernet::{NetRef, Origin};
use pernet_stack::{ConfOf, Netconf, NetconfPart};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck, Kind, Policy, Strictness, parse};

use super::{DumpOut, Handler, Request, Step};
use crate::notify::Notifier;

const INET: u8 = AF_INET as u8;
const INET6: u8 = AF_INET6 as u8;

/// Family 0 answers for every family that has no row of its own: with those of all.
pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: INET, ty: RTM_GETNETCONF, doit: Some(get), dumpit: Some(dump) },
    Handler { family: INET6, ty: RTM_GETNETCONF, doit: Some(get), dumpit: Some(dump) },
    Handler { family: 0, ty: RTM_GETNETCONF, doit: None, dumpit: Some(all) },
];

/// Bytes of `struct netconfmsg`, the family alone; padded to four.
const NETCONFMSG_LEN: usize = 1;

/// All known attributes are numbers.
const POLICY: Policy = {
    const INT: Option<Kind> = Some(Kind::MinLen { min: 4 });
    Policy(&[None, INT, INT, INT, INT, INT, INT, None, INT])
};

/// What differs between the families.
struct Family {
    group: u32,
    unsupported: &'static str,
    data: &'static str,
    /// For an index that no device has.
    no_device: Errno,
    read: fn(&pernet_stack::Stack, &pernet::Net, ConfOf) -> Option<Netconf>,
}

const FAMILY4: Family = Family {
    group: RTNLGRP_IPV4_NETCONF,
    unsupported: "ipv4: Unsupported attribute in netconf get request",
    data: "ipv4: Invalid data after header in netconf dump request",
    no_device: Errno::ENODEV,
    read: pernet_stack::Stack::netconf4,
};

const FAMILY6: Family = Family {
    group: RTNLGRP_IPV6_NETCONF,
    unsupported: "ipv6: Unsupported attribute in netconf get request",
    data: "ipv6: Invalid data after header in netconf dump request",
    no_device: Errno::EINVAL,
    read: pernet_stack::Stack::netconf6,
};

const fn of(family: u8) -> &'static Family {
    if family == INET6 { &FAMILY6 } else { &FAMILY4 }
}

/// The family of the listing that is due: the request's, or in a listing of all the one whose turn it is.
fn family(request: &Request<'_>, stage: u8) -> &'static Family {
    match request.msg.payload().first() {
        Some(&INET6) => &FAMILY6,
        Some(&INET) => &FAMILY4,
        _ => of(if stage == 0 { INET } else { INET6 }),
    }
}

/// One set of settings (`inet_netconf_get_devconf`).
fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let family = family(request, 0);
    let how = request.strictness();
    if request.msg.payload().len() < NETCONFMSG_LEN {
        return Err(Errno::EINVAL);
    }
    let attrs = parse(&request.msg, NETCONFMSG_LEN, &POLICY, how, ext)?;
    if how == Strictness::Strict && attrs.iter().any(|a| a.ty != NETCONFA_IFINDEX) {
        ext.set_msg(family.unsupported);
        return Err(Errno::EINVAL);
    }
    let index = attrs.get(NETCONFA_IFINDEX).and_then(|a| a.i32()).ok_or(Errno::EINVAL)?;
    let whose = match index {
        NETCONFA_IFINDEX_ALL => ConfOf::All,
        NETCONFA_IFINDEX_DEFAULT => ConfOf::Default,
        index => ConfOf::Dev(u32::try_from(index).map_err(|_| family.no_device)?),
    };
    let conf = (family.read)(request.stack(), request.net, whose).ok_or(family.no_device)?;
    let mut out = Builder::message(&request.reply_header(RTM_NEWNETCONF, 0));
    fill(&mut out, &conf, NetconfPart::All);
    request.reply(out.finish())
}

fn all(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    super::dump_all(&[AF_INET, AF_INET6], request, out, ext)
}

/// Devices by index, then all, then default (`inet_netconf_dump_devconf`).
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    const PAGE: usize = 64;
    /// Beyond the largest index: the two sets that belong to no device.
    const ALL: u64 = 1 << 32;
    const DEFAULT: u64 = ALL + 1;
    let family = family(request, out.cursor.stage);
    if request.strictness() == Strictness::Strict && request.msg.payload().len() != 4 {
        ext.set_msg(family.data);
        return Err(Errno::EINVAL);
    }
    let entry = |out: &mut DumpOut, whose| match (family.read)(request.stack(), request.net, whose) {
        Some(conf) => out.entry(RTM_NEWNETCONF, |m| fill(m, &conf, NetconfPart::All)).is_ok(),
        // The device is gone meanwhile, or knows nothing of the family.
        None => true,
    };
    let links = request.stack().links(request.net).ok_or(Errno::ENODEV)?;
    while out.cursor.next < ALL {
        let page = links.from_index(u32::try_from(out.cursor.next).unwrap_or(u32::MAX), PAGE);
        out.observe(page.generation.into());
        for link in &page.links {
            if !entry(out, ConfOf::Dev(link.index())) {
                return Ok(Step::More);
            }
            out.cursor.next = u64::from(link.index()) + 1;
        }
        if page.links.len() < PAGE {
            out.cursor.next = ALL;
        }
    }
    for (place, whose) in [(ALL, ConfOf::All), (DEFAULT, ConfOf::Default)] {
        if out.cursor.next == place {
            if !entry(out, whose) {
                return Ok(Step::More);
            }
            out.cursor.next = place + 1;
        }
    }
    Ok(Step::Done)
}

/// What listeners hear.
pub(crate) fn notice(to: &Notifier, net: &NetRef, conf: &Netconf, part: NetconfPart, origin: Origin) {
    let ty = if part == NetconfPart::Gone { RTM_DELNETCONF } else { RTM_NEWNETCONF };
    to.announce(net, of(conf.family).group, ty, 0, origin, |m| fill(m, conf, part));
}

/// Header and attributes (`inet_netconf_fill_devconf`). IPv6 has neither `rp_filter` nor directed broadcasts.
fn fill(out: &mut Builder, conf: &Netconf, part: NetconfPart) {
    let index = match conf.of {
        ConfOf::All => NETCONFA_IFINDEX_ALL,
        ConfOf::Default => NETCONFA_IFINDEX_DEFAULT,
        // An index is a positive `int`.
        ConfOf::Dev(index) => index.cast_signed(),
    };
    let only4 = conf.family == INET;
    let settings = [
        (NETCONFA_FORWARDING, conf.forwarding, true),
        (NETCONFA_RP_FILTER, conf.rp_filter, only4),
        (NETCONFA_MC_FORWARDING, conf.mc_forwarding, true),
        (NETCONFA_BC_FORWARDING, conf.bc_forwarding, only4),
        (NETCONFA_PROXY_NEIGH, conf.proxy_neigh, true),
        (NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN, conf.ignore_linkdown, true),
    ];
    out.put_raw(&[conf.family]).put_i32(NETCONFA_IFINDEX, index);
    for (ty, value, known) in settings {
        if known && (part == NetconfPart::All || part == NetconfPart::One(ty)) {
            out.put_i32(ty, value);
        }
    }
}
