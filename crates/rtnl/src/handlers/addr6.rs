//! IPv6 addresses: RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR; multicast groups and anycast addresses.

use std::net::Ipv6Addr;

use pernet::{NetRef, Origin};
use pernet_stack::{Ifa6, MemberInfo, group_scope};
use pernet_wire::uapi::*;
use pernet_wire::{AttrTable, Builder, Errno, ExtAck, Kind, Policy, Strictness, parse};

use super::{DumpOut, Handler, Request, Step};
use crate::handlers::refused;
use crate::notify::Notifier;

const INET6: u8 = AF_INET6 as u8;

pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: INET6, ty: RTM_NEWADDR, doit: Some(new), dumpit: None },
    Handler { family: INET6, ty: RTM_DELADDR, doit: Some(del), dumpit: None },
    Handler { family: INET6, ty: RTM_GETADDR, doit: Some(get), dumpit: Some(dump) },
    Handler { family: INET6, ty: RTM_GETMULTICAST, doit: None, dumpit: Some(groups) },
    Handler { family: INET6, ty: RTM_GETANYCAST, doit: None, dumpit: Some(anycast) },
];

const RTM_GETANYCAST: u16 = 62;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
/// Bytes of `struct ifaddrmsg`.
const IFADDRMSG_LEN: usize = 8;
/// Addresses taken out of the stack at a time. A datagram holds at most some four hundred.
const PAGE: usize = 128;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_ANYCAST: u16 = 5;
const IFA_CACHEINFO: u16 = 6;
const IFA_MULTICAST: u16 = 7;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_TARGET_NETNSID: u16 = 10;
const IFA_PROTO: u16 = 11;

const POLICY: Policy = {
    const ANY: Option<Kind> = Some(Kind::Any);
    const ADDRESS: Option<Kind> = Some(Kind::MinLen { min: 16 });
    const U32: Option<Kind> = Some(Kind::U32);
    Policy(&[
        None,
        ADDRESS,
        ADDRESS,
        ANY,
        ANY,
        ANY,
        Some(Kind::MinLen { min: 16 }),
        ANY,
        U32,
        U32,
        Some(Kind::S32),
        Some(Kind::U8),
    ])
};

mod text {
    pub(super) const SHORT: &str = "Invalid header length";
    pub(super) const DUMP_HEADER: &str = "ipv6: Invalid header for address dump request";
    pub(super) const DUMP_VALUES: &str = "ipv6: Invalid values in header for address dump request";
    pub(super) const DUMP_UNSUPPORTED: &str = "ipv6: Unsupported attribute in dump request";
    pub(super) const TARGET: &str = "ipv6: Invalid target network namespace id";
    pub(super) const GET_VALUES: &str = "ipv6: Invalid values in header for get address request";
    pub(super) const GET_UNSUPPORTED: &str = "ipv6: Unsupported attribute in get address request";
}

/// `struct ifaddrmsg`.
struct Header {
    prefix_len: u8,
    flags: u8,
    scope: u8,
    ifindex: u32,
}

impl Header {
    fn read(payload: &[u8]) -> Option<Self> {
        let [_, prefix_len, flags, scope, a, b, c, d] = *payload.first_chunk::<IFADDRMSG_LEN>()?;
        Some(Self { prefix_len, flags, scope, ifindex: u32::from_ne_bytes([a, b, c, d]) })
    }

    fn put(out: &mut Builder, prefix_len: u8, flags: u8, scope: u8, ifindex: u32) {
        let [a, b, c, d] = ifindex.to_ne_bytes();
        out.put_raw(&[INET6, prefix_len, flags, scope, a, b, c, d]);
    }
}

/// An address attribute; the policy says that it is long enough.
fn address(attrs: &AttrTable<'_>, ty: u16) -> Option<Ipv6Addr> {
    attrs.get(ty).and_then(|attr| attr.payload.first_chunk::<16>()).map(|bytes| Ipv6Addr::from(*bytes))
}

/// The address that a request is about, and the other end of the link if it names one (`extract_addr`).
fn extract(attrs: &AttrTable<'_>) -> Option<(Ipv6Addr, Option<Ipv6Addr>)> {
    match (address(attrs, IFA_LOCAL), address(attrs, IFA_ADDRESS)) {
        (Some(local), Some(peer)) if peer != local => Some((local, Some(peer))),
        (Some(addr), _) | (None, Some(addr)) => Some((addr, None)),
        (None, None) => None,
    }
}

fn short<T>(ext: &mut ExtAck) -> Result<T, Errno> {
    ext.set_msg(text::SHORT);
    Err(Errno::EINVAL)
}

/// Sets an address (`inet6_rtm_newaddr`).
fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let Some(header) = Header::read(request.msg.payload()) else { return short(ext) };
    let attrs = parse(&request.msg, IFADDRMSG_LEN, &POLICY, Strictness::Legacy, ext)?;
    let (addr, peer) = extract(&attrs).ok_or(Errno::EINVAL)?;
    let mut ifa = Ifa6::new(addr, header.prefix_len);
    ifa.peer = peer;
    ifa.flags = attrs.get(IFA_FLAGS).and_then(|a| a.u32()).unwrap_or_else(|| header.flags.into());
    ifa.rt_priority = attrs.get(IFA_RT_PRIORITY).and_then(|a| a.u32()).unwrap_or(0);
    ifa.proto = attrs.get(IFA_PROTO).and_then(|a| a.u8()).unwrap_or(0);
    if let Some(cache) = attrs.get(IFA_CACHEINFO).and_then(|a| a.payload.first_chunk::<8>()) {
        let [a, b, c, d, e, f, g, h] = *cache;
        (ifa.preferred_lft, ifa.valid_lft) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
    }
    let flags = request.msg.header.flags;
    let replace = flags & NLM_F_REPLACE != 0 && flags & NLM_F_EXCL == 0;
    let result = request.stack().rtnl(request.origin()).new_addr6(request.net, header.ifindex, ifa, replace);
    result.map_err(|error| refused(ext, error.errno(), error.text()))
}

/// Removes an address (`inet6_rtm_deladdr`).
fn del(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let Some(header) = Header::read(request.msg.payload()) else { return short(ext) };
    let attrs = parse(&request.msg, IFADDRMSG_LEN, &POLICY, Strictness::Legacy, ext)?;
    let (addr, _) = extract(&attrs).ok_or(Errno::EINVAL)?;
    let mut rtnl = request.stack().rtnl(request.origin());
    let result = rtnl.del_addr6(request.net, header.ifindex, addr, header.prefix_len);
    result.map_err(|error| refused(ext, error.errno(), error.text()))
}

/// One address (`inet6_rtm_getaddr`).
fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let how = request.strictness();
    // Whoever sends half a header is told no more than that it is wrong.
    let header = Header::read(request.msg.payload());
    let Some(header) = header else {
        ext.set_msg("ipv6: Invalid header for get address request");
        return Err(Errno::EINVAL);
    };
    if how == Strictness::Strict && (header.prefix_len, header.flags, header.scope) != (0, 0, 0) {
        ext.set_msg(text::GET_VALUES);
        return Err(Errno::EINVAL);
    }
    let attrs = parse(&request.msg, IFADDRMSG_LEN, &POLICY, how, ext)?;
    let asked = [IFA_TARGET_NETNSID, IFA_ADDRESS, IFA_LOCAL];
    if how == Strictness::Strict && attrs.iter().any(|a| !asked.contains(&a.ty)) {
        ext.set_msg(text::GET_UNSUPPORTED);
        return Err(Errno::EINVAL);
    }
    let target = attrs.get(IFA_TARGET_NETNSID).and_then(|a| a.i32());
    let other = target.map(|nsid| request.target(nsid)).transpose()?;
    let net = other.as_ref().unwrap_or(request.net);
    let (addr, _) = extract(&attrs).ok_or(Errno::EINVAL)?;
    // A device that does not exist is as good as none.
    let known = request.stack().links(net).is_some_and(|links| links.by_index(header.ifindex).is_some());
    let on = if known { header.ifindex } else { 0 };
    let (ifindex, ifa, now) = request.stack().addr6(net, on, addr).ok_or(Errno::EADDRNOTAVAIL)?;
    let mut out = Builder::message(&request.reply_header(RTM_NEWADDR, 0));
    fill(&mut out, ifindex, &ifa, now, target);
    request.reply(out.finish())
}

/// What a listing was asked to show.
struct Filter {
    ifindex: u32,
    other: Option<(NetRef, i32)>,
}

/// Reads the request of a listing (`inet6_valid_dump_ifaddr_req`); in the legacy form nothing is looked at.
fn filter(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Filter, Errno> {
    let mut filter = Filter { ifindex: 0, other: None };
    if request.strictness() == Strictness::Legacy {
        return Ok(filter);
    }
    let Some(header) = Header::read(request.msg.payload()) else {
        ext.set_msg(text::DUMP_HEADER);
        return Err(Errno::EINVAL);
    };
    if (header.prefix_len, header.flags, header.scope) != (0, 0, 0) {
        ext.set_msg(text::DUMP_VALUES);
        return Err(Errno::EINVAL);
    }
    filter.ifindex = header.ifindex;
    if header.ifindex != 0 {
        out.filtered();
    }
    for attr in parse(&request.msg, IFADDRMSG_LEN, &POLICY, Strictness::Strict, ext)?.iter() {
        if attr.ty != IFA_TARGET_NETNSID {
            ext.set_msg(text::DUMP_UNSUPPORTED);
            return Err(Errno::EINVAL);
        }
        let nsid = attr.i32().unwrap_or(-1);
        let net = request.target(nsid).inspect_err(|_| ext.set_msg(text::TARGET))?;
        filter.other = Some((net, nsid));
    }
    Ok(filter)
}

/// The device that a listing is restricted to must be there.
fn check_device(request: &Request<'_>, filter: &Filter) -> Result<(), Errno> {
    let net = filter.other.as_ref().map_or(request.net, |(net, _)| net);
    let there = || request.stack().links(net).is_some_and(|links| links.by_index(filter.ifindex).is_some());
    if filter.ifindex == 0 || there() { Ok(()) } else { Err(Errno::ENODEV) }
}

/// All addresses (`inet6_dump_ifaddr`).
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let filter = filter(request, out, ext)?;
    check_device(request, &filter)?;
    let (net, target) = filter.other.as_ref().map_or((request.net, None), |(net, nsid)| (net, Some(*nsid)));
    let only = filter.ifindex != 0;
    loop {
        // The cursor: index of the device, place in its list.
        let at = (out.cursor.next >> 32, out.cursor.next & u64::from(u32::MAX));
        let at = (u32::try_from(at.0).unwrap_or(u32::MAX), u32::try_from(at.1).unwrap_or(u32::MAX));
        let start = if only { (filter.ifindex, at.1) } else { at };
        let page = request.stack().addrs6(net, start, only, PAGE);
        out.observe(page.generation);
        for (ifindex, place, ifa) in &page.entries {
            let entry = out.entry(RTM_NEWADDR, |m| {
                if only {
                    m.add_flags(NLM_F_DUMP_FILTERED);
                }
                fill(m, *ifindex, ifa, page.now, target);
            });
            if entry.is_err() {
                return Ok(Step::More);
            }
            out.cursor.next = u64::from(*ifindex) << 32 | u64::from(place + 1);
        }
        if page.entries.len() < PAGE {
            return Ok(Step::Done);
        }
    }
}

fn groups(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    members(request, out, ext, |net, link| request.stack().groups6(net, link), RTM_GETMULTICAST, IFA_MULTICAST)
}

fn anycast(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    members(request, out, ext, |net, link| request.stack().anycast6(net, link), RTM_GETANYCAST, IFA_ANYCAST)
}

/// The groups or anycast addresses of all devices. Linux answers with the number of the request.
fn members(
    request: &Request<'_>,
    out: &mut DumpOut,
    ext: &mut ExtAck,
    of: impl Fn(&NetRef, &pernet_stack::Link) -> Vec<MemberInfo>,
    ty: u16,
    attr: u16,
) -> Result<Step, Errno> {
    const DEVICES: usize = 32;
    let filter = filter(request, out, ext)?;
    check_device(request, &filter)?;
    let (net, target) = filter.other.as_ref().map_or((request.net, None), |(net, nsid)| (net, Some(*nsid)));
    let links = request.stack().links(net).ok_or(Errno::ENODEV)?;
    loop {
        let start = u32::try_from(out.cursor.next).unwrap_or(u32::MAX);
        let page = links.from_index(start, DEVICES);
        out.observe(page.generation.into());
        for link in page.links.iter().filter(|l| filter.ifindex == 0 || l.index() == filter.ifindex) {
            if u64::from(link.index()) != out.cursor.next {
                (out.cursor.next, out.cursor.aux) = (link.index().into(), 0);
            }
            let done = usize::try_from(out.cursor.aux).unwrap_or(usize::MAX);
            for member in of(net, link).iter().skip(done) {
                let entry = out.entry(ty, |m| {
                    if filter.ifindex != 0 {
                        m.add_flags(NLM_F_DUMP_FILTERED);
                    }
                    fill_member(m, member, attr, target);
                });
                if entry.is_err() {
                    return Ok(Step::More);
                }
                out.cursor.aux += 1;
            }
        }
        let Some(last) = page.links.last() else { return Ok(Step::Done) };
        (out.cursor.next, out.cursor.aux) = (u64::from(last.index()) + 1, 0);
        if page.links.len() < DEVICES {
            return Ok(Step::Done);
        }
    }
}

/// Header and attributes of an address (`inet6_fill_ifaddr`).
fn fill(out: &mut Builder, ifindex: u32, ifa: &Ifa6, now: u32, target: Option<i32>) {
    let [flags, ..] = ifa.flags.to_le_bytes();
    Header::put(out, ifa.prefix_len, flags, ifa.scope(), ifindex);
    if let Some(nsid) = target {
        out.put_i32(IFA_TARGET_NETNSID, nsid);
    }
    match ifa.peer {
        Some(peer) => out.put(IFA_LOCAL, &ifa.addr.octets()).put(IFA_ADDRESS, &peer.octets()),
        None => out.put(IFA_ADDRESS, &ifa.addr.octets()),
    };
    if ifa.rt_priority != 0 {
        out.put_u32(IFA_RT_PRIORITY, ifa.rt_priority);
    }
    let (preferred, valid) = ifa.lifetimes(now);
    cache_info(out, [preferred, valid, ifa.created, ifa.updated]);
    out.put_u32(IFA_FLAGS, ifa.flags);
    if ifa.proto != 0 {
        out.put_u8(IFA_PROTO, ifa.proto);
    }
}

fn fill_member(out: &mut Builder, member: &MemberInfo, attr: u16, target: Option<i32>) {
    const PERMANENT: u8 = 0x80;
    Header::put(out, 128, PERMANENT, group_scope(member.addr), member.ifindex);
    if let Some(nsid) = target {
        out.put_i32(IFA_TARGET_NETNSID, nsid);
    }
    out.put(attr, &member.addr.octets());
    cache_info(out, [u32::MAX, u32::MAX, member.created, member.created]);
}

fn cache_info(out: &mut Builder, words: [u32; 4]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    out.put(IFA_CACHEINFO, &bytes);
}

/// What listeners hear of an address.
pub(crate) fn notice(to: &Notifier, net: &NetRef, new: bool, ifindex: u32, ifa: &Ifa6, now: u32) {
    let ty = if new { RTM_NEWADDR } else { RTM_DELADDR };
    to.announce(net, RTNLGRP_IPV6_IFADDR, ty, 0, Origin::KERNEL, |m| fill(m, ifindex, ifa, now, None));
}
