//! Listings of IPv4 addresses and multicast groups (`inet_dump_addr`).

use pernet::NetRef;
use pernet_stack::Page;
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck, Strictness, parse};

use super::super::{DumpOut, Request, Step};
use super::fill;
use super::request::{Header, IFADDRMSG_LEN, POLICY};

/// Entries taken out of the stack at a time. A datagram holds at most some four hundred.
const PAGE: usize = 128;

mod text {
    pub(super) const HEADER: &str = "ipv4: Invalid header for address dump request";
    pub(super) const VALUES: &str = "ipv4: Invalid values in header for address dump request";
    pub(super) const UNSUPPORTED: &str = "ipv4: Unsupported attribute in dump request";
    pub(super) const TARGET: &str = "ipv4: Invalid target network namespace id";
}

/// What a listing was asked to show.
#[derive(Default)]
struct Filter {
    /// One device only.
    ifindex: Option<u32>,
    /// Another namespace, and its id.
    other: Option<(NetRef, i32)>,
}

/// Reads a request (`inet_valid_dump_ifaddr_req`); in the legacy form nothing is looked at.
fn filter(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Filter, Errno> {
    let mut filter = Filter::default();
    if request.strictness() == Strictness::Legacy {
        return Ok(filter);
    }
    let Some(header) = Header::read(request.msg.payload()) else {
        ext.set_msg(text::HEADER);
        return Err(Errno::EINVAL);
    };
    if header.prefix_len != 0 || header.flags != 0 || header.scope != 0 {
        ext.set_msg(text::VALUES);
        return Err(Errno::EINVAL);
    }
    if header.ifindex != 0 {
        filter.ifindex = Some(header.ifindex);
    }
    for attr in parse(&request.msg, IFADDRMSG_LEN, &POLICY, Strictness::Strict, ext)?.iter() {
        if attr.ty != IFA_TARGET_NETNSID {
            ext.set_msg(text::UNSUPPORTED);
            return Err(Errno::EINVAL);
        }
        let nsid = attr.i32().unwrap_or(-1);
        let net = request.target(nsid).inspect_err(|_| ext.set_msg(text::TARGET))?;
        filter.other = Some((net, nsid));
    }
    if filter.ifindex.is_some() {
        out.filtered();
    }
    Ok(filter)
}

/// RTM_GETADDR (`inet_dump_ifaddr`).
pub(super) fn addresses(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let stack = request.stack();
    let page = |net: &NetRef, from, only| stack.addrs4(net, from, only, PAGE);
    list(request, out, ext, RTM_NEWADDR, page, |m, index, ifa, now, target| {
        fill::address(m, index, ifa, now, target);
    })
}

/// RTM_GETMULTICAST (`inet_dump_ifmcaddr`), whose entries bear the type of the request.
pub(super) fn groups(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let stack = request.stack();
    let page = |net: &NetRef, from, only| stack.groups4(net, from, only, PAGE);
    list(request, out, ext, RTM_GETMULTICAST, page, |m, index, group, _, _| {
        fill::group(m, index, group.address, group.joined);
    })
}

fn list<T>(
    request: &Request<'_>,
    out: &mut DumpOut,
    ext: &mut ExtAck,
    ty: u16,
    page: impl Fn(&NetRef, (u32, usize), Option<u32>) -> Page<T>,
    fill: impl Fn(&mut Builder, u32, &T, u32, Option<i32>),
) -> Result<Step, Errno> {
    let filter = filter(request, out, ext)?;
    let net = filter.other.as_ref().map_or(request.net, |(net, _)| net);
    if let Some(index) = filter.ifindex {
        let links = request.stack().links(net);
        if links.is_none_or(|links| links.by_index(index).is_none()) {
            return Err(Errno::ENODEV);
        }
    }
    let flags = if filter.ifindex.is_some() { NLM_F_DUMP_FILTERED } else { 0 };
    let target = filter.other.as_ref().map(|(_, nsid)| *nsid);
    loop {
        // The cursor is the place of the next entry: an index, and a place in that device's list.
        let from = (u32::try_from(out.cursor.next).unwrap_or(u32::MAX), out.cursor.aux as usize);
        let page = page(net, from, filter.ifindex);
        out.observe(page.generation);
        for ((index, place), entry) in &page.entries {
            let written = out.entry(ty, |m| {
                m.add_flags(flags);
                fill(m, *index, entry, page.now, target);
            });
            if written.is_err() {
                return Ok(Step::More);
            }
            (out.cursor.next, out.cursor.aux) = (u64::from(*index), *place as u64 + 1);
        }
        if page.entries.len() < PAGE {
            return Ok(Step::Done);
        }
    }
}
