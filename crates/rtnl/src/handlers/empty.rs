//! Dumps of what the stack does not hold yet: addresses, routes, nexthops and queueing disciplines of a
//! namespace in which nothing was configured. That nothing is listed is the truth; that a request is wrong is said in
//! the words of Linux.

mod fixed;

use pernet::NetRef;
use pernet_wire::uapi::*;
use pernet_wire::{AttrTable, Errno, ExtAck, Kind, Policy, Strictness, parse};

use super::{DumpOut, Handler, Request, Step};

const RTM_GETQDISC: u16 = 38;
const RTM_GETNEXTHOP: u16 = 106;

const fn dump_of(ty: u16, dumpit: super::Dumpit) -> Handler {
    Handler { family: 0, ty, doit: None, dumpit: Some(dumpit) }
}

/// Whatever the family: those that have no row of their own on Linux ask all that have one.
pub(crate) const HANDLERS: &[Handler] =
    &[dump_of(RTM_GETROUTE, routes), dump_of(RTM_GETQDISC, qdiscs), dump_of(RTM_GETNEXTHOP, nexthops), fixed::RULES];

const ANY: Option<Kind> = Some(Kind::Any);
const U32: Option<Kind> = Some(Kind::U32);
const FLAG: Option<Kind> = Some(Kind::Flag);

/// Refuses with a text and `EINVAL`, the usual pair.
fn refuse<T>(ext: &mut ExtAck, text: &'static str) -> Result<T, Errno> {
    ext.set_msg(text);
    Err(Errno::EINVAL)
}

/// The request's family; it has one, or it would not have come here.
fn family(request: &Request<'_>) -> i32 {
    request.msg.payload().first().copied().unwrap_or(0).into()
}

/// Whether `net` has a device with that index.
fn has_device(request: &Request<'_>, net: &NetRef, index: u32) -> bool {
    let links = request.stack().links(net);
    links.is_some_and(|links| links.by_index(index).is_some())
}

fn u32_at(header: &[u8], at: usize) -> u32 {
    let bytes = header.get(at..at + 4).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u32::from_ne_bytes)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0)
}

/// RTM_GETROUTE (`inet_dump_fib`, `inet6_dump_fib`, `ipmr_rtm_dumproute`). IPv4 makes a table with its first route, so
/// there is none to be asked for; IPv6 has its main and local tables from the start, multicast its default one.
fn routes(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    const HEADER: usize = 12;
    const RTA_OIF: u16 = 4;
    const RTA_TABLE: u16 = 15;
    const RTNL_FAMILY_IPMR: i32 = 128;
    const TABLES6: [u32; 3] = [0, 254, 255];
    const TABLES_MR: [u32; 2] = [0, 253];
    /// RTM_F_CLONED and RTM_F_PREFIX.
    const FLAGS: u32 = 0x200 | 0x800;
    const MULTIPATH: Option<Kind> = Some(Kind::MinLen { min: 8 });
    const POLICY: Policy = Policy(&[
        None, ANY, ANY, U32, U32, ANY, U32, ANY, ANY, MULTIPATH, ANY, U32, ANY, ANY, ANY, U32, U32, ANY, ANY, ANY, ANY,
        ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY,
    ]);
    if request.strictness() == Strictness::Legacy {
        return Ok(Step::Done);
    }
    let Some(header) = request.msg.payload().get(..HEADER) else {
        return refuse(ext, "Invalid header for FIB dump request");
    };
    if !is_zero(&header[1..4]) || header[6] != 0 {
        return refuse(ext, "Invalid values in header for FIB dump request");
    }
    if u32_at(header, 8) & !FLAGS != 0 {
        return refuse(ext, "Invalid flags for FIB dump request");
    }
    let mut table = header[4].into();
    // Protocol and type.
    let mut filtered = header[5] != 0 || header[7] != 0;
    for attr in parse(&request.msg, HEADER, &POLICY, Strictness::Strict, ext)?.iter() {
        let value = attr.u32().unwrap_or(0);
        match attr.ty {
            RTA_TABLE => table = value,
            RTA_OIF if has_device(request, request.net, value) => filtered = true,
            RTA_OIF => return Err(Errno::ENODEV),
            _ => return refuse(ext, "Unsupported attribute in dump request"),
        }
    }
    if filtered || table != 0 {
        out.filtered();
    }
    let missing = match family(request) {
        AF_INET if table != 0 => "ipv4: FIB table does not exist",
        AF_INET6 if !TABLES6.contains(&table) => "ipv6: FIB table does not exist",
        RTNL_FAMILY_IPMR if !TABLES_MR.contains(&table) => "ipv4: MR table does not exist",
        _ => return Ok(Step::Done),
    };
    ext.set_msg(missing);
    Err(Errno::ENOENT)
}

/// RTM_GETQDISC (`tc_dump_qdisc`): `noop`, which every device has until it comes up, is not listed. Always read in the
/// legacy way.
fn qdiscs(request: &Request<'_>, _: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    const HEADER: usize = 20;
    if request.msg.payload().len() < HEADER {
        return refuse(ext, "Invalid header length");
    }
    parse(&request.msg, HEADER, &Policy(&[]), Strictness::Legacy, ext)?;
    Ok(Step::Done)
}

/// RTM_GETNEXTHOP (`rtm_dump_nexthop`). Always read strictly.
fn nexthops(request: &Request<'_>, _: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    const HEADER: usize = 8;
    /// Output device, groups only, master device, forwarding entries only, and which statistics.
    const ASKED: [u16; 5] = [5, 9, 10, 11, 14];
    const POLICY: Policy = Policy(&[None, ANY, ANY, ANY, ANY, U32, ANY, ANY, ANY, FLAG, U32, FLAG, ANY, ANY, U32]);
    let Some(header) = request.msg.payload().get(..HEADER) else {
        return refuse(ext, "Invalid header length");
    };
    let attrs: AttrTable<'_> = parse(&request.msg, HEADER, &POLICY, Strictness::Strict, ext)?;
    if let Some(attr) = attrs.iter().find(|a| !ASKED.contains(&a.ty)) {
        ext.set_msg_attr("Unsupported attribute", &attr);
        return Err(Errno::EINVAL);
    }
    if !is_zero(&header[1..]) {
        return refuse(ext, "Invalid values in header for nexthop dump request");
    }
    Ok(Step::Done)
}
