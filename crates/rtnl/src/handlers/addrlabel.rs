//! Address labels of IPv6: RTM_NEWADDRLABEL, RTM_DELADDRLABEL, RTM_GETADDRLABEL. Nobody is told of changes.

use std::net::Ipv6Addr;

use pernet_stack::{AddrLabel, LabelError, Prefix6};
use pernet_wire::uapi::*;
use pernet_wire::{AttrTable, Builder, Errno, ExtAck, Kind, Policy, Strictness, parse};

use super::{DumpOut, Handler, Request, Step};
use crate::handlers::refuse;

const INET6: u8 = AF_INET6 as u8;
const RTM_NEWADDRLABEL: u16 = 72;
const RTM_DELADDRLABEL: u16 = 73;
const RTM_GETADDRLABEL: u16 = 74;

pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: INET6, ty: RTM_NEWADDRLABEL, doit: Some(new), dumpit: None },
    Handler { family: INET6, ty: RTM_DELADDRLABEL, doit: Some(del), dumpit: None },
    Handler { family: INET6, ty: RTM_GETADDRLABEL, doit: Some(get), dumpit: Some(dump) },
];

/// Bytes of `struct ifaddrlblmsg`.
const HEADER: usize = 12;
const IFAL_ADDRESS: u16 = 1;
const IFAL_LABEL: u16 = 2;
const POLICY: Policy = Policy(&[None, Some(Kind::MinLen { min: 16 }), Some(Kind::U32)]);

/// `struct ifaddrlblmsg` as far as it says anything.
struct Header {
    prefix_len: u8,
    flags: u8,
    ifindex: u32,
    seq: u32,
}

impl Header {
    fn read(payload: &[u8]) -> Option<Self> {
        let [_, _, prefix_len, flags, a, b, c, d, e, f, g, h] = *payload.first_chunk::<HEADER>()?;
        Some(Self {
            prefix_len,
            flags,
            ifindex: u32::from_ne_bytes([a, b, c, d]),
            seq: u32::from_ne_bytes([e, f, g, h]),
        })
    }
}

fn refused(error: LabelError) -> Errno {
    Errno::new(error.errno()).unwrap_or(Errno::EINVAL)
}

/// The label of a request to change the list.
fn read(request: &Request<'_>, ext: &mut ExtAck) -> Result<AddrLabel, Errno> {
    let Some(header) = Header::read(request.msg.payload()) else {
        return refuse(ext, "Invalid header length");
    };
    let attrs = parse(&request.msg, HEADER, &POLICY, Strictness::Legacy, ext)?;
    if header.prefix_len > 128 {
        return Err(Errno::EINVAL);
    }
    let addr = address(&attrs).ok_or(Errno::EINVAL)?;
    let label = attrs.get(IFAL_LABEL).and_then(|a| a.u32()).ok_or(Errno::EINVAL)?;
    Ok(AddrLabel { prefix: Prefix6::new(addr, header.prefix_len), ifindex: header.ifindex, label })
}

fn address(attrs: &AttrTable<'_>) -> Option<Ipv6Addr> {
    attrs.get(IFAL_ADDRESS).and_then(|attr| attr.payload.first_chunk::<16>()).map(|bytes| Ipv6Addr::from(*bytes))
}

fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let label = read(request, ext)?;
    if label.ifindex != 0 && !request.has_device(label.ifindex) {
        return Err(Errno::EINVAL);
    }
    let replace = request.msg.header.flags & NLM_F_REPLACE != 0;
    request.stack().rtnl(request.origin()).new_addr_label(request.net, label, replace).map_err(refused)
}

fn del(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let label = read(request, ext)?;
    let mut rtnl = request.stack().rtnl(request.origin());
    rtnl.del_addr_label(request.net, label.prefix, label.ifindex).map_err(refused)
}

/// The label of one address (`ip6addrlbl_get`).
fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let how = request.strictness();
    let Some(header) = Header::read(request.msg.payload()) else {
        return match how {
            Strictness::Strict => refuse(ext, "ipv6: Invalid header for addrlabel get request"),
            Strictness::Legacy => refuse(ext, "Invalid header length"),
        };
    };
    if how == Strictness::Strict && (header.flags, header.seq) != (0, 0) {
        return refuse(ext, "ipv6: Invalid values in header for addrlabel get request");
    }
    let attrs = parse(&request.msg, HEADER, &POLICY, how, ext)?;
    if how == Strictness::Strict && attrs.iter().any(|a| a.ty != IFAL_ADDRESS) {
        return refuse(ext, "ipv6: Unsupported attribute in addrlabel get request");
    }
    if header.prefix_len != 128 || (header.ifindex != 0 && !request.has_device(header.ifindex)) {
        return Err(Errno::EINVAL);
    }
    let addr = address(&attrs).ok_or(Errno::EINVAL)?;
    let (label, seq) = request.stack().addr_label(request.net, addr, header.ifindex).ok_or(Errno::ESRCH)?;
    let mut out = Builder::message(&request.reply_header(RTM_NEWADDRLABEL, 0));
    fill(&mut out, &label, seq);
    request.reply(out.finish())
}

/// All labels (`ip6addrlbl_dump`).
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    if request.strictness() == Strictness::Strict {
        let payload = request.msg.payload();
        match payload.get(..HEADER) {
            None => return refuse(ext, "ipv6: Invalid header for address label dump request"),
            Some(header) if header[1..].iter().any(|&b| b != 0) => {
                return refuse(ext, "ipv6: Invalid values in header for address label dump request");
            }
            Some(_) if payload.len() > HEADER => {
                return refuse(ext, "ipv6: Invalid data after header for address label dump request");
            }
            Some(_) => {}
        }
    }
    let (labels, seq) = request.stack().addr_labels(request.net);
    let done = usize::try_from(out.cursor.next).unwrap_or(usize::MAX);
    for label in labels.iter().skip(done) {
        if out.entry(RTM_NEWADDRLABEL, |m| fill(m, label, seq)).is_err() {
            return Ok(Step::More);
        }
        out.cursor.next += 1;
    }
    Ok(Step::Done)
}

fn fill(out: &mut Builder, label: &AddrLabel, seq: u32) {
    let mut header = [0; HEADER];
    (header[0], header[2]) = (INET6, label.prefix.prefix_len());
    header[4..8].copy_from_slice(&label.ifindex.to_ne_bytes());
    header[8..].copy_from_slice(&seq.to_ne_bytes());
    out.put_raw(&header).put(IFAL_ADDRESS, &label.prefix.addr().octets()).put_u32(IFAL_LABEL, label.label);
}
