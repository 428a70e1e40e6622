//! Dumps of RTM_GETLINK for the address families that see devices in their own way.

use pernet_stack::BridgePort;
use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck, Strictness};

use super::fill::Place;
use super::request::{self, IFINFOMSG_LEN, IfInfo};
use super::{DumpOut, Handler, Request, Step, each, fill, links};
use crate::handlers::refuse;

/// AF_BRIDGE and the family of IPv4 multicast routing.
const AF_BRIDGE: u8 = 7;
const RTNL_FAMILY_IPMR: u8 = 128;

const fn dump_of(family: u8, dumpit: super::super::Dumpit) -> Handler {
    Handler { family, ty: RTM_GETLINK, doit: None, dumpit: Some(dumpit) }
}

/// IPv6: devices with their IPv6 settings only.
pub(super) const INET6: Handler = dump_of(AF_INET6 as u8, inet6);
/// Bridging: the ports of bridges.
pub(super) const BRIDGE: Handler = dump_of(AF_BRIDGE, bridge);
/// IPv4 multicast routing: its tables.
pub(super) const IPMR: Handler = dump_of(RTNL_FAMILY_IPMR, ipmr);

/// The texts of one family's strict checks.
struct Texts {
    header: &'static str,
    values: &'static str,
    data: &'static str,
}

/// What a strict request of a family without attributes must be: a header of zeros and nothing behind it. In the
/// legacy form nothing is looked at.
fn bare(request: &Request<'_>, ext: &mut ExtAck, texts: &Texts) -> Result<(), Errno> {
    if request.strictness() == Strictness::Legacy {
        return Ok(());
    }
    let payload = request.msg.payload();
    match IfInfo::read(payload) {
        None => refuse(ext, texts.header),
        // What lies behind the header is looked at first.
        Some(_) if payload.len() > IFINFOMSG_LEN => refuse(ext, texts.data),
        Some(info) if !info.rest_is_zero || info.index != 0 => refuse(ext, texts.values),
        Some(_) => Ok(()),
    }
}

fn inet6(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let texts = Texts {
        header: "ipv6: Invalid header for link dump request",
        values: "ipv6: Invalid values in header for dump request",
        data: "ipv6: Invalid data after header",
    };
    bare(request, ext, &texts)?;
    let place = Place { stack: request.stack(), net: request.net };
    Ok(each(links(request, request.net)?, out, |out, link| {
        let Some(inet6) = place.stack.inet6_link(place.net, link) else { return Ok(()) };
        out.entry(RTM_NEWLINK, |m| fill::inet6_link(m, link, &inet6))
    }))
}

/// The ports of all bridges (`rtnl_bridge_getlink`).
fn bridge(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let how = request.strictness();
    let info = IfInfo::read(request.msg.payload());
    if how == Strictness::Legacy {
        // Faults of the request are mentioned and change nothing.
        if info.is_none() {
            ext.set_msg("Invalid header length");
        } else if request::attributes(&request.msg, IFINFOMSG_LEN, how, ext).is_err() {
            (ext.offset, ext.policy) = (None, None);
        }
        return ports(request, out);
    }
    match info {
        None => return refuse(ext, "Invalid header for bridge link dump"),
        Some(info) if !info.rest_is_zero || info.index != 0 => {
            return refuse(ext, "Invalid values in header for bridge link dump request");
        }
        Some(_) => {}
    }
    let attrs = request::attributes(&request.msg, IFINFOMSG_LEN, how, ext)?;
    if attrs.iter().any(|a| a.ty != IFLA_EXT_MASK) {
        return refuse(ext, "Unsupported attribute in bridge link dump request");
    }
    ports(request, out)
}

fn ports(request: &Request<'_>, out: &mut DumpOut) -> Result<Step, Errno> {
    let links = links(request, request.net)?;
    let place = Place { stack: request.stack(), net: request.net };
    Ok(each(links, out, |out, link| {
        if BridgePort::of(link).is_none() {
            return Ok(());
        }
        out.entry(RTM_NEWLINK, |m| fill::bridge_port(m, place, link, false))
    }))
}

/// Every namespace has one multicast routing table, the default one, in which nothing happens.
fn ipmr(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    const DEFAULT_TABLE: u32 = 253;
    let texts = Texts {
        header: "ipv4: Invalid header for ipmr link dump",
        values: "Invalid values in header for ipmr link dump request",
        data: "Invalid data after header in ipmr link dump",
    };
    bare(request, ext, &texts)?;
    if out.cursor.next > 0 {
        return Ok(Step::Done);
    }
    let table = out.entry(RTM_NEWLINK, |m| {
        let mut header = [0; IFINFOMSG_LEN];
        header[0] = RTNL_FAMILY_IPMR;
        m.put_raw(&header).nest(IFLA_AF_SPEC, |spec| {
            // Table, packets waiting for a route, interface for registers (none); assert, PIM and whole-packet reports
            // are off; no interfaces.
            spec.put_u32(1, DEFAULT_TABLE)
                .put_u32(2, 0)
                .put_i32(3, -1)
                .put_u8(4, 0)
                .put_u8(5, 0)
                .put_u8(7, 0)
                .put_flag(6);
        });
    });
    // Closed in a datagram of its own, like the dump of all devices.
    out.cursor.next = table.map_or(0, |()| 1);
    Ok(Step::More)
}
