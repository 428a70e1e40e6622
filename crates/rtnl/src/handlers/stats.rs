//! RTM_GETSTATS and RTM_SETSTATS: counters of devices, in groups of which the requester names those it wants.

use pernet::{NetRef, Origin};
use pernet_stack::{BridgePort, KindData, Link};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck, Strictness};

use super::strict::{self, Must};
use super::{DumpOut, Handler, Request, Step, refuse, refused};
use crate::notify::Notifier;

/// Bytes of `struct if_stats_msg`: family, three of padding, index, mask of groups.
const HEADER: usize = 12;
/// Groups, as `IFLA_STATS_*`; in a mask, group `n` is bit `n - 1`.
const LINK_64: u16 = 1;
const XSTATS: u16 = 2;
const XSTATS_PORT: u16 = 3;
const OFFLOAD: u16 = 4;
const AF_SPEC: u16 = 5;
const KNOWN: u32 = 0x1f;

/// `IFLA_STATS_GET_FILTERS` and `IFLA_STATS_SET_OFFLOAD_XSTATS_L3_STATS`.
const GET_FILTERS: u16 = 1;
const SET_L3: u16 = 2;
/// Of `OFFLOAD`: whose counters hardware keeps, and those of packets it routed.
const HW_INFO: u16 = 2;
const L3: u16 = 3;
const L3_BYTES: usize = 72;
/// Of `HW_INFO`: whether they are asked for, and whether hardware does.
const REQUESTED: u16 = 1;
const USED: u16 = 2;
/// Of `XSTATS`: what a bridge counts of groups, and a port of spanning tree beside.
const OF_BRIDGE: u16 = 1;
const MULTICAST: u16 = 2;
const MULTICAST_BYTES: usize = 240;
const SPANNING_TREE: u16 = 4;
const SPANNING_TREE_BYTES: usize = 48;

const GET: &[Must] = &[Must::Nested, Must::Unsupported];
const SET: &[Must] = &[Must::Unsupported, Must::U8(1)];
/// Of the groups only `OFFLOAD` has parts that can be asked for.
const FILTERS: &[Must] = &[Must::Unsupported, Must::Unsupported, Must::Unsupported, Must::Mask(0xf), Must::Unsupported];

/// Devices taken out of the table at a time.
const PAGE: usize = 32;

pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: 0, ty: RTM_GETSTATS, doit: Some(get), dumpit: Some(dump) },
    Handler { family: 0, ty: RTM_SETSTATS, doit: Some(set), dumpit: None },
];

struct Head {
    family: u8,
    index: u32,
    mask: u32,
}

/// Which groups, and which parts of `OFFLOAD`.
#[derive(Clone, Copy)]
struct Wanted {
    mask: u32,
    offload: u32,
}

impl Wanted {
    const fn has(self, group: u16) -> bool {
        self.mask & 1 << (group - 1) != 0
    }

    const fn has_offload(self, part: u16) -> bool {
        self.offload & 1 << (part - 1) != 0
    }
}

/// `rtnl_valid_stats_req`.
fn head(request: &Request<'_>, how: Strictness, is_dump: bool, ext: &mut ExtAck) -> Result<Head, Errno> {
    let Some(h) = request.msg.payload().first_chunk::<HEADER>() else {
        return refuse(ext, "Invalid header for stats dump");
    };
    let word = |at: usize| u32::from_ne_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
    let head = Head { family: h[0], index: word(4), mask: word(8) };
    if how == Strictness::Strict {
        if h[1..4].iter().any(|&b| b != 0) || (is_dump && head.index != 0) {
            return refuse(ext, "Invalid values in header for stats dump request");
        }
        if head.mask & !KNOWN != 0 {
            return refuse(ext, "Invalid stats requested through filter mask");
        }
    }
    Ok(head)
}

fn wanted(request: &Request<'_>, mask: u32, ext: &mut ExtAck) -> Result<Wanted, Errno> {
    let attrs = strict::read(request.msg.attrs(HEADER), GET, ext)?;
    let mut wanted = Wanted { mask, offload: u32::MAX };
    if let Some(filters) = strict::find(&attrs, GET_FILTERS) {
        let filters = strict::read(filters.nested(), FILTERS, ext)?;
        wanted.offload = strict::find(&filters, OFFLOAD).and_then(|attr| attr.u32()).unwrap_or(u32::MAX);
    }
    Ok(wanted)
}

/// `rtnl_stats_get`.
fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let head = head(request, request.strictness(), false, ext)?;
    let link = device(request, head.index)?;
    if head.mask == 0 {
        return refuse(ext, "Filter mask must be set for stats get");
    }
    let wanted = wanted(request, head.mask, ext)?;
    let mut out = Builder::message(&request.reply_header(RTM_NEWSTATS, 0));
    fill(&mut out, &link, wanted);
    request.reply(out.finish())
}

fn device(request: &Request<'_>, index: u32) -> Result<std::sync::Arc<Link>, Errno> {
    if index == 0 {
        return Err(Errno::EINVAL);
    }
    let links = request.stack().links(request.net).ok_or(Errno::ENODEV)?;
    links.by_index(index).ok_or(Errno::ENODEV)
}

/// `rtnl_stats_dump`.
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let head = head(request, request.strictness(), true, ext)?;
    if head.mask == 0 {
        return refuse(ext, "Filter mask must be set for stats dump");
    }
    let wanted = wanted(request, head.mask, ext)?;
    let links = request.stack().links(request.net).ok_or(Errno::ENODEV)?;
    loop {
        let start = u32::try_from(out.cursor.next).unwrap_or(u32::MAX);
        let page = links.from_index(start, PAGE);
        out.observe(page.generation.into());
        for link in &page.links {
            if out.entry(RTM_NEWSTATS, |m| fill(m, link, wanted)).is_err() {
                return Ok(Step::More);
            }
            out.cursor.next = u64::from(link.index()) + 1;
        }
        if page.links.len() < PAGE {
            return Ok(Step::Done);
        }
    }
}

/// `rtnl_stats_set`: hardware may be asked to count what it routes. There is none; the wish is remembered.
fn set(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let head = head(request, Strictness::Legacy, false, ext)?;
    if i32::from(head.family) != AF_UNSPEC {
        return refuse(ext, "Address family should be AF_UNSPEC");
    }
    if head.mask != 0 {
        return refuse(ext, "Filter mask must be 0 for stats set");
    }
    device(request, head.index)?;
    let attrs = strict::read(request.msg.attrs(HEADER), SET, ext)?;
    let Some(on) = strict::find(&attrs, SET_L3).and_then(|attr| attr.u8()) else { return Ok(()) };
    let mut rtnl = request.stack().rtnl(request.origin());
    rtnl.want_l3_stats(request.net, head.index, on != 0).map_err(|why| refused(ext, why.errno(), why.text()))
}

/// Header and groups (`rtnl_fill_statsinfo`).
fn fill(out: &mut Builder, link: &Link, wanted: Wanted) {
    header(out, link.index(), wanted.mask);
    if wanted.has(LINK_64) {
        let counters = link.stats().named().map(|(_, value)| value);
        let wide: Vec<u8> = counters.iter().flat_map(|c| c.to_ne_bytes()).collect();
        out.put(LINK_64, &wide);
    }
    // The stack forwards nothing through bridges yet, so there is nothing to count.
    if wanted.has(XSTATS) && matches!(link.data(), Some(KindData::Bridge(_))) {
        out.nest(XSTATS, |out| {
            out.nest(OF_BRIDGE, |out| {
                out.put(MULTICAST, &[0; MULTICAST_BYTES]);
            });
        });
    }
    if wanted.has(XSTATS_PORT) && BridgePort::of(link).is_some() {
        out.nest(XSTATS_PORT, |out| {
            out.nest(OF_BRIDGE, |out| {
                out.put(MULTICAST, &[0; MULTICAST_BYTES]).put(SPANNING_TREE, &[0; SPANNING_TREE_BYTES]);
            });
        });
    }
    let counted = link.wants_l3_stats() && wanted.has_offload(L3);
    if wanted.has(OFFLOAD) && (counted || wanted.has_offload(HW_INFO)) {
        out.nest(OFFLOAD, |out| {
            if wanted.has_offload(HW_INFO) {
                hardware_info(out, link.wants_l3_stats());
            }
            if counted {
                out.put(L3, &[0; L3_BYTES]);
            }
        });
    }
    if wanted.has(AF_SPEC) {
        // No family counts by device.
        out.nest(AF_SPEC, |_| {});
    }
}

fn header(out: &mut Builder, index: u32, mask: u32) {
    let mut header = [0; HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..].copy_from_slice(&mask.to_ne_bytes());
    out.put_raw(&header);
}

fn hardware_info(out: &mut Builder, requested: bool) {
    out.nest_flagged(HW_INFO, |out| {
        out.nest_flagged(L3, |out| {
            out.put_u8(REQUESTED, requested.into()).put_u8(USED, 0);
        });
    });
}

/// What listeners hear of what hardware is asked to count.
pub(super) fn notice(to: &Notifier, net: &NetRef, index: u32, requested: bool) {
    to.announce(net, RTNLGRP_STATS, RTM_NEWSTATS, 0, Origin::KERNEL, |out| {
        header(out, index, 1 << (OFFLOAD - 1));
        out.nest(OFFLOAD, |out| hardware_info(out, requested));
    });
}
