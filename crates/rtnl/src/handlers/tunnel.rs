//! RTM_NEWTUNNEL, RTM_DELTUNNEL, RTM_GETTUNNEL: which networks a tunnel takes packets of (`bridge vni`).

use std::net::IpAddr;

use pernet::NetRef;
use pernet::Origin;
use pernet_stack::{KindData, Link, VniChange, VniRun, Vxlan};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck};

use super::strict::{self, Must};
use super::{DumpOut, Full, Handler, Request, Step, refuse, refused};
use crate::notify::Notifier;

const AF_BRIDGE: u8 = 7;
/// Bytes of `struct tunnel_msg`: family, flags, two reserved, index.
const HEADER: usize = 8;
/// `TUNNEL_MSG_FLAG_STATS`: counters are asked for.
const STATS: u8 = 1;

const ENTRY: u16 = 1;
const START: u16 = 1;
const END: u16 = 2;
const GROUP: u16 = 3;
const GROUP6: u16 = 4;
const ENTRY_STATS: u16 = 5;
/// Counters of a network: bytes, packets, drops and errors, received and sent.
const COUNTERS: u16 = 8;

const OUTER: &[Must] = &[Must::Nested];
const INNER: &[Must] = &[Must::U32, Must::U32, Must::Bytes(4), Must::Bytes(16), Must::Unsupported];

/// Listeners are told of each network by itself, of no more than these at a time: no queue holds so many.
const TOLD_AT_ONCE: usize = 1 << 16;
/// Tunnels taken out of the table at a time.
const PAGE: usize = 32;

pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: AF_BRIDGE, ty: RTM_NEWTUNNEL, doit: Some(new), dumpit: None },
    Handler { family: AF_BRIDGE, ty: RTM_DELTUNNEL, doit: Some(delete), dumpit: None },
    Handler { family: AF_BRIDGE, ty: RTM_GETTUNNEL, doit: None, dumpit: Some(dump) },
];

fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    process(request, ext, true)
}

fn delete(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    process(request, ext, false)
}

/// `vxlan_vnifilter_process`.
fn process(request: &Request<'_>, ext: &mut ExtAck, add: bool) -> Result<(), Errno> {
    let Some(&[.., a, b, c, d]) = request.msg.payload().first_chunk::<HEADER>() else {
        return refuse(ext, "Invalid header length");
    };
    let index = u32::from_ne_bytes([a, b, c, d]);
    let entries = strict::read(request.msg.attrs(HEADER), OUTER, ext)?;
    let mut rtnl = request.stack().rtnl(request.origin());
    rtnl.check_vni_device(request.net, index).map_err(|why| refused(ext, why.errno(), why.text()))?;
    let mut wanted = Vec::new();
    for entry in &entries {
        let attrs = strict::read(entry.nested(), INNER, ext)?;
        let number = |ty| strict::find(&attrs, ty).and_then(|attr| attr.u32());
        let start = number(START).unwrap_or(0);
        let end = number(END).unwrap_or(start);
        if start == 0 && end == 0 {
            ext.set_msg_attr("vni start nor end found in vni entry", entry);
            return Err(Errno::EINVAL);
        }
        // What an address lacks is zero.
        let four = strict::find(&attrs, GROUP).map(|attr| IpAddr::from(padded::<4>(attr.payload)));
        let six = strict::find(&attrs, GROUP6).map(|attr| IpAddr::from(padded::<16>(attr.payload)));
        let remote = four.or(six).filter(|address| !address.is_unspecified());
        wanted.push(VniChange { start, end, remote });
    }
    if wanted.is_empty() {
        return refuse(ext, "vxlan: No vnis found to process");
    }
    let result =
        if add { rtnl.add_vnis(request.net, index, &wanted) } else { rtnl.del_vnis(request.net, index, &wanted) };
    result.map_err(|why| refused(ext, why.errno(), why.text()))
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

/// `vxlan_vnifilter_dump`.
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let Some(&[_, flags, _, _, a, b, c, d]) = request.msg.payload().first_chunk::<HEADER>() else {
        return refuse(ext, "Invalid msg length");
    };
    if flags & !STATS != 0 {
        return refuse(ext, "Invalid tunnelmsg flags in ancillary header");
    }
    let links = request.stack().links(request.net).ok_or(Errno::ENODEV)?;
    let with_stats = flags & STATS != 0;
    let index = u32::from_ne_bytes([a, b, c, d]);
    if index != 0 {
        let link = links.by_index(index).ok_or(Errno::ENODEV)?;
        let Some(vxlan) = tunnel(&link) else { return refuse(ext, "The device is not a vxlan device") };
        if !vxlan.filters() {
            return Err(Errno::EINVAL);
        }
        return Ok(list(out, &link, vxlan, with_stats).map_or(Step::More, |()| Step::Done));
    }
    let room = out.room();
    loop {
        let start = u32::try_from(out.cursor.next).unwrap_or(u32::MAX);
        let page = links.from_index(start, PAGE);
        for link in &page.links {
            if out.cursor.next < u64::from(link.index()) {
                (out.cursor.next, out.cursor.aux) = (link.index().into(), 0);
            }
            if let Some(vxlan) = tunnel(link).filter(|vxlan| vxlan.filters())
                && list(out, link, vxlan, with_stats).is_err()
            {
                return Ok(Step::More);
            }
            (out.cursor.next, out.cursor.aux) = (u64::from(link.index()) + 1, 0);
        }
        if page.links.len() < PAGE {
            // Linux closes this dump in a datagram of its own.
            return Ok(if out.room() < room { Step::More } else { Step::Done });
        }
    }
}

fn tunnel(link: &Link) -> Option<&Vxlan> {
    match link.data() {
        Some(KindData::Vxlan(vxlan)) => Some(vxlan),
        _ => None,
    }
}

/// Lists a tunnel's networks from the cursor's second word on, as many in one message as there is room for.
fn list(out: &mut DumpOut, link: &Link, vxlan: &Vxlan, with_stats: bool) -> Result<(), Full> {
    /// Bytes of the longest entry, without and with counters.
    const LONGEST: usize = 44;
    const LONGEST_STATS: usize = LONGEST + 4 + 12 * COUNTERS as usize;
    while let Ok(from) = u32::try_from(out.cursor.aux) {
        let longest = if with_stats { LONGEST_STATS } else { LONGEST };
        let fit = out.room().saturating_sub(HEADER + 16) / longest;
        let runs = vxlan.vnis.runs_from(from);
        let mut entries: Vec<VniRun> = if with_stats {
            // Each network has counters of its own.
            let single = |run: VniRun| (run.start..=run.end).map(move |vni| VniRun { start: vni, end: vni, ..run });
            runs.flat_map(single).take(fit + 1).collect()
        } else {
            runs.take(fit + 1).collect()
        };
        if entries.is_empty() {
            return Ok(());
        }
        let more = entries.len() > fit;
        entries.truncate(fit);
        let Some(last) = entries.last().map(|run| run.end) else { return Err(Full) };
        out.entry(RTM_NEWTUNNEL, |m| {
            header(m, link.index());
            entries.iter().for_each(|run| fill(m, *run, with_stats));
        })?;
        out.cursor.aux = u64::from(last) + 1;
        if more {
            return Err(Full);
        }
    }
    Ok(())
}

fn header(out: &mut Builder, index: u32) {
    let mut header = [0; HEADER];
    header[0] = AF_BRIDGE;
    header[4..].copy_from_slice(&index.to_ne_bytes());
    out.put_raw(&header);
}

/// `vxlan_fill_vni_filter_entry`.
fn fill(out: &mut Builder, run: VniRun, with_stats: bool) {
    out.nest_flagged(ENTRY, |entry| {
        entry.put_u32(START, run.start);
        if run.end != run.start {
            entry.put_u32(END, run.end);
        }
        match run.remote {
            Some(IpAddr::V4(address)) => entry.put(GROUP, &address.octets()),
            Some(IpAddr::V6(address)) => entry.put(GROUP6, &address.octets()),
            None => entry,
        };
        if with_stats {
            // The stack moves no packets through tunnels yet.
            entry.nest_flagged(ENTRY_STATS, |stats| {
                for counter in 1..=COUNTERS {
                    stats.put(counter, &0_u64.to_ne_bytes());
                }
            });
        }
    });
}

/// What listeners hear of a tunnel's networks.
pub(super) fn notice(to: &Notifier, net: &NetRef, index: u32, run: VniRun, gone: bool) {
    let ty = if gone { RTM_DELTUNNEL } else { RTM_NEWTUNNEL };
    if !to.heard(net, RTNLGRP_TUNNEL) {
        return;
    }
    for vni in (run.start..=run.end).take(TOLD_AT_ONCE) {
        to.announce(net, RTNLGRP_TUNNEL, ty, 0, Origin::KERNEL, |out| {
            header(out, index);
            fill(out, VniRun { start: vni, end: vni, ..run }, false);
        });
    }
}
