//! Neighbours: RTM_NEWNEIGH, RTM_DELNEIGH and RTM_GETNEIGH of IPv4 and IPv6. (AF_BRIDGE means a bridge's forwarding table,
//! which has rows of its own.)

mod fill;
mod policy;

use std::net::IpAddr;

use pernet::{NetRef, Origin};
use pernet_stack::{NeighError, NeighFamily, NeighFlags, NeighKey, NeighNotice, NeighState, NewNeigh};
use pernet_wire::uapi::*;
use pernet_wire::{Attr, AttrTable, Builder, Errno, ExtAck, Strictness};

use super::{DumpOut, Handler, Request, Step};
use crate::handlers::{errno_of, refuse};
use crate::notify::Notifier;

/// Family 0 answers for every family that has no row of its own.
pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: 0, ty: RTM_NEWNEIGH, doit: Some(new), dumpit: None },
    Handler { family: 0, ty: RTM_DELNEIGH, doit: Some(del), dumpit: None },
    Handler { family: 0, ty: RTM_GETNEIGH, doit: Some(get), dumpit: Some(dump) },
];

/// Bytes of `struct ndmsg`: family, pad, index, state (16 bits), flags, type.
const HEADER: usize = 12;
/// Entries taken out of a table at a time.
const PAGE: usize = 64;

mod text {
    pub(super) const NO_DST: &str = "Network address not specified";
    pub(super) const BAD_DST: &str = "Invalid network address";
    pub(super) const GET_HEADER: &str = "Invalid header for neighbor get request";
    pub(super) const GET_VALUES: &str = "Invalid values in header for neighbor get request";
    pub(super) const GET_FLAGS: &str = "Invalid flags in header for neighbor get request";
    pub(super) const GET_UNSUPPORTED: &str = "Unsupported attribute in neighbor get request";
    pub(super) const GET_FAMILY: &str = "Unsupported family in header for neighbor get request";
    pub(super) const GET_DST: &str = "Invalid network address in neighbor get request";
    pub(super) const GET_NO_DEVICE: &str = "No device specified";
    pub(super) const GET_DEVICE: &str = "Unknown device ifindex";
    pub(super) const NOT_FOUND: &str = "Neighbour entry not found";
    pub(super) const NO_PROXY: &str = "Proxy neighbour entry not found";
    pub(super) const SHORT: &str = "Invalid header length";
    pub(super) const DUMP_HEADER: &str = "Invalid header for neighbor dump request";
    pub(super) const DUMP_VALUES: &str = "Invalid values in header for neighbor dump request";
    pub(super) const DUMP_FLAGS: &str = "Invalid flags in header for neighbor dump request";
    pub(super) const DUMP_UNSUPPORTED: &str = "Unsupported attribute in neighbor dump request";
}

/// What listeners hear of neighbours. The message has the requester's port, and no number: nobody sees it as an answer.
pub(crate) fn notice(to: &Notifier, net: &NetRef, notice: &NeighNotice, origin: Origin) {
    let origin = Origin { seq: 0, echo: false, ..origin };
    let (ty, report) = match notice {
        NeighNotice::New(report) => (RTM_NEWNEIGH, report),
        NeighNotice::Gone(report) => (RTM_DELNEIGH, report),
        _ => return,
    };
    to.announce(net, RTNLGRP_NEIGH, ty, 0, origin, |out| fill::neighbour(out, report));
}

/// The fields of an `ndmsg`.
struct Header {
    family: u8,
    /// Device, 0 for none; what is negative is none that exists.
    ifindex: u32,
    state: u16,
    flags: u8,
    ty: u8,
    padding: [u8; 3],
}

impl Header {
    fn read(payload: &[u8]) -> Option<Self> {
        let [family, a, b, c, i0, i1, i2, i3, s0, s1, flags, ty] = *payload.first_chunk::<HEADER>()?;
        Some(Self {
            family,
            ifindex: u32::from_ne_bytes([i0, i1, i2, i3]),
            state: u16::from_ne_bytes([s0, s1]),
            flags,
            ty,
            padding: [a, b, c],
        })
    }

    fn table(&self) -> Option<NeighFamily> {
        match i32::from(self.family) {
            AF_INET => Some(NeighFamily::V4),
            AF_INET6 => Some(NeighFamily::V6),
            _ => None,
        }
    }

    const fn is_proxy(&self) -> bool {
        self.flags & NTF_PROXY != 0
    }
}

/// An address of a family; longer attributes are cut, as Linux does.
fn address(family: NeighFamily, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        NeighFamily::V4 => bytes.first_chunk::<4>().map(|b| IpAddr::from(*b)),
        NeighFamily::V6 => bytes.first_chunk::<16>().map(|b| IpAddr::from(*b)),
    }
}

fn failed(error: NeighError, ext: &mut ExtAck) -> Errno {
    if let Some(text) = error.text() {
        ext.set_msg(text);
    }
    errno_of(error.errno())
}

/// What a change is about: checks in Linux's order.
fn subject(
    request: &Request<'_>,
    header: &Header,
    dst: &Attr<'_>,
    lladdr: Option<&Attr<'_>>,
    ext: &mut ExtAck,
) -> Result<NeighKey, Errno> {
    let links = request.stack().links(request.net);
    let link = links.and_then(|links| links.by_index(header.ifindex));
    if header.ifindex != 0 && link.is_none() {
        return Err(Errno::ENODEV);
    }
    if let (Some(link), Some(given)) = (&link, lladdr)
        && given.payload.len() < link.address.as_bytes().len()
    {
        return refuse(ext, NeighError::ShortAddress.text().unwrap_or_default());
    }
    let family = header.table().ok_or(Errno::EAFNOSUPPORT)?;
    match address(family, dst.payload) {
        Some(dst) => Ok(NeighKey { ifindex: header.ifindex, dst }),
        None => refuse(ext, text::BAD_DST),
    }
}

/// RTM_NEWNEIGH (`neigh_add`).
fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let Some(header) = Header::read(request.msg.payload()) else {
        return refuse(ext, text::SHORT);
    };
    let attrs = policy::attributes(&request.msg, HEADER, Strictness::Legacy, ext)?;
    let Some(dst) = attrs.get(NDA_DST) else {
        return refuse(ext, text::NO_DST);
    };
    let lladdr = attrs.get(NDA_LLADDR);
    let key = subject(request, &header, &dst, lladdr.as_ref(), ext)?;
    let ext_flags = attrs.get(NDA_FLAGS_EXT).and_then(|a| a.u32()).unwrap_or(0);
    let asked = request.msg.header.flags;
    let [state, _] = header.state.to_le_bytes();
    let new = NewNeigh {
        key,
        state: NeighState(state),
        flags: NeighFlags::from_wire(header.flags, ext_flags),
        address: lladdr.map(|a| a.payload),
        protocol: attrs.get(NDA_PROTOCOL).and_then(|a| a.u8()).unwrap_or(0),
        create: asked & NLM_F_CREATE != 0,
        exclusive: asked & NLM_F_EXCL != 0,
        replace: asked & NLM_F_REPLACE != 0,
    };
    request.stack().rtnl(request.origin()).new_neigh(request.net, &new).map_err(|e| failed(e, ext))
}

/// RTM_DELNEIGH (`neigh_delete`): attributes are read without a policy.
fn del(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let header = Header::read(request.msg.payload()).ok_or(Errno::EINVAL)?;
    let Some(dst) = request.msg.attrs(HEADER).find(|a| a.ty == NDA_DST) else {
        return refuse(ext, text::NO_DST);
    };
    let key = subject(request, &header, &dst, None, ext)?;
    let mut rtnl = request.stack().rtnl(request.origin());
    if header.is_proxy() {
        return rtnl.del_proxy(request.net, key).map_err(|e| errno_of(e.errno()));
    }
    if header.ifindex == 0 {
        return Err(Errno::EINVAL);
    }
    rtnl.del_neigh(request.net, key).map_err(|e| errno_of(e.errno()))
}

/// RTM_GETNEIGH for one (`neigh_get`): read strictly, always.
fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let Some(header) = Header::read(request.msg.payload()) else {
        return refuse(ext, text::GET_HEADER);
    };
    if header.padding != [0; 3] || header.state != 0 || header.ty != 0 {
        return refuse(ext, text::GET_VALUES);
    }
    if header.flags & !NTF_PROXY != 0 {
        return refuse(ext, text::GET_FLAGS);
    }
    if header.ifindex == 0 && !header.is_proxy() {
        return refuse(ext, text::GET_NO_DEVICE);
    }
    let attrs = policy::attributes(&request.msg, HEADER, Strictness::Strict, ext)?;
    let Some(dst) = attrs.get(NDA_DST) else {
        ext.miss_type = Some(NDA_DST.into());
        return Err(Errno::EINVAL);
    };
    if attrs.iter().any(|a| a.ty != NDA_DST) {
        return refuse(ext, text::GET_UNSUPPORTED);
    }
    let Some(family) = header.table() else {
        ext.set_msg(text::GET_FAMILY);
        return Err(Errno::EAFNOSUPPORT);
    };
    let length = if family == NeighFamily::V4 { 4 } else { 16 };
    let Some(dst) = address(family, dst.payload).filter(|_| dst.payload.len() == length) else {
        return refuse(ext, text::GET_DST);
    };
    if header.ifindex != 0 && !request.has_device(header.ifindex) {
        ext.set_msg(text::GET_DEVICE);
        return Err(Errno::ENODEV);
    }
    let key = NeighKey { ifindex: header.ifindex, dst };
    let mut out = Builder::message(&request.reply_header(RTM_NEWNEIGH, 0));
    let found = if header.is_proxy() {
        request.stack().neigh_proxy(request.net, key).map(|proxy| fill::proxy(&mut out, &proxy))
    } else {
        request.stack().neighbour(request.net, key).map(|found| fill::neighbour(&mut out, &found))
    };
    if found.is_none() {
        ext.set_msg(if header.is_proxy() { text::NO_PROXY } else { text::NOT_FOUND });
        return Err(Errno::ENOENT);
    }
    request.reply(out.finish())
}

/// Which entries a dump shows.
#[derive(Default)]
struct Filter {
    proxies: bool,
    ifindex: u32,
    master: u32,
}

impl Filter {
    fn from(attrs: &AttrTable<'_>, proxies: bool) -> Self {
        let value = |ty| attrs.get(ty).and_then(|a| a.u32()).unwrap_or(0);
        Self { proxies, ifindex: value(NDA_IFINDEX), master: value(NDA_MASTER) }
    }

    const fn restricts(&self) -> bool {
        self.ifindex != 0 || self.master != 0
    }

    fn admits(&self, request: &Request<'_>, ifindex: u32) -> bool {
        let master = || {
            let links = request.stack().links(request.net);
            links.and_then(|links| links.by_index(ifindex)?.master) == Some(self.master)
        };
        (self.ifindex == 0 || self.ifindex == ifindex) && (self.master == 0 || master())
    }
}

/// Reads a dump request.
fn filter(request: &Request<'_>, ext: &mut ExtAck) -> Result<Filter, Errno> {
    let how = request.strictness();
    let header = Header::read(request.msg.payload());
    if how == Strictness::Legacy {
        // Faults of the request are mentioned and change nothing.
        let Some(header) = header else {
            ext.set_msg(text::SHORT);
            return Ok(Filter::default());
        };
        let proxies = header.flags == NTF_PROXY;
        return Ok(match policy::attributes(&request.msg, HEADER, how, ext) {
            Ok(attrs) => Filter::from(&attrs, proxies),
            Err(_) => {
                (ext.offset, ext.policy) = (None, None);
                Filter { proxies, ..Filter::default() }
            }
        });
    }
    let Some(header) = header else {
        return refuse(ext, text::DUMP_HEADER);
    };
    if header.padding != [0; 3] || header.ifindex != 0 || header.state != 0 || header.ty != 0 {
        return refuse(ext, text::DUMP_VALUES);
    }
    if header.flags & !NTF_PROXY != 0 {
        return refuse(ext, text::DUMP_FLAGS);
    }
    let attrs = policy::attributes(&request.msg, HEADER, how, ext)?;
    if attrs.iter().any(|a| ![NDA_IFINDEX, NDA_MASTER].contains(&a.ty)) {
        return refuse(ext, text::DUMP_UNSUPPORTED);
    }
    Ok(Filter::from(&attrs, header.is_proxy()))
}

/// RTM_GETNEIGH for many (`neigh_dump_info`): first IPv4, then IPv6, if no family is named.
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let filter = filter(request, ext)?;
    let asked = request.msg.payload().first().copied().map(i32::from);
    for (place, (family, number)) in (0..).zip([(NeighFamily::V4, AF_INET), (NeighFamily::V6, AF_INET6)]) {
        let wanted = asked == Some(number) || asked == Some(AF_UNSPEC);
        if place < out.cursor.aux || !wanted {
            continue;
        }
        if out.cursor.aux != place {
            (out.cursor.aux, out.cursor.next) = (place, 0);
        }
        if table(request, out, &filter, family) == Step::More {
            return Ok(Step::More);
        }
    }
    Ok(Step::Done)
}

/// One table from the cursor on.
fn table(request: &Request<'_>, out: &mut DumpOut, filter: &Filter, family: NeighFamily) -> Step {
    loop {
        let from = out.cursor.next;
        let (net, stack) = (request.net, request.stack());
        let mut count = 0;
        let full = if filter.proxies {
            let page = stack.neigh_proxies(net, Some(family), from, PAGE);
            count = page.proxies.len();
            page.proxies.iter().any(|p| !entry(request, out, filter, (p.id, p.ifindex), |m| fill::proxy(m, p)))
        } else {
            let page = stack.neighbours(net, Some(family), from, PAGE);
            count = count.max(page.entries.len());
            page.entries.iter().any(|e| !entry(request, out, filter, (e.id, e.ifindex), |m| fill::neighbour(m, e)))
        };
        if full {
            return Step::More;
        }
        if count < PAGE {
            return Step::Done;
        }
    }
}

/// One entry, if it is asked for and fits; moves the cursor past it then.
fn entry(
    request: &Request<'_>,
    out: &mut DumpOut,
    filter: &Filter,
    (id, ifindex): (u64, u32),
    fill: impl FnOnce(&mut Builder),
) -> bool {
    let fits = !filter.admits(request, ifindex)
        || out
            .entry(RTM_NEWNEIGH, |m| {
                if filter.restricts() {
                    m.add_flags(NLM_F_DUMP_FILTERED);
                }
                fill(m);
            })
            .is_ok();
    if fits {
        out.cursor.next = id + 1;
    }
    fits
}
