//! RTM_NEWNEIGH, RTM_DELNEIGH and RTM_GETNEIGH of family AF_BRIDGE: forwarding tables.

use std::net::IpAddr;

use pernet::{NetRef, Origin};
use pernet_stack::{FdbChange, FdbEntry, FdbFilter, FdbRemote, HwAddr, KindData, Stack};
use pernet_wire::uapi::*;
use pernet_wire::{AttrTable, Builder, Errno, ExtAck, Kind, Policy, Strictness, parse};

use super::request::{self, IFINFOMSG_LEN, IfInfo};
use super::{AF_BRIDGE, DumpOut, PAGE, Request, Step, links};
use crate::handlers::{refuse, refused};
use crate::notify::Notifier;

/// Bytes of `struct ndmsg`: family, pad, index, state (16 bits), flags, type.
const HEADER: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_CACHEINFO: u16 = 3;
const NDA_VLAN: u16 = 5;
const NDA_PORT: u16 = 6;
const NDA_VNI: u16 = 7;
const NDA_IFINDEX: u16 = 8;
const NDA_MASTER: u16 = 9;
const NDA_SRC_VNI: u16 = 11;
const NDA_NH_ID: u16 = 13;
const NDA_FLAGS_EXT: u16 = 15;
/// `NTF_SELF` and `NTF_MASTER`.
const SELF: u8 = 2;
const OF_MASTER: u8 = 4;
/// `RTN_UNICAST`.
const UNICAST: u8 = 1;
/// Beyond these there are no VLANs.
const VLANS: u16 = 4095;

const ANY: Option<Kind> = Some(Kind::Any);
const U32: Option<Kind> = Some(Kind::U32);
const CACHEINFO: Option<Kind> = Some(Kind::MinLen { min: 16 });
/// `nda_policy`, as far as these messages are read by it.
const POLICY: Policy =
    Policy(&[None, ANY, ANY, CACHEINFO, ANY, ANY, ANY, U32, U32, U32, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY]);

/// The header's index, state and flags.
struct Header {
    index: u32,
    state: u16,
    flags: u8,
}

fn header(request: &Request<'_>, ext: &mut ExtAck) -> Result<Header, Errno> {
    let Some(h) = request.msg.payload().get(..HEADER) else {
        return refuse(ext, "Invalid header length");
    };
    let index = u32::from_ne_bytes([h[4], h[5], h[6], h[7]]);
    Ok(Header { index, state: u16::from_ne_bytes([h[8], h[9]]), flags: h[10] })
}

fn change(request: &Request<'_>, ext: &mut ExtAck) -> Result<FdbChange, Errno> {
    let header = header(request, ext)?;
    let attrs = parse(&request.msg, HEADER, &POLICY, Strictness::Legacy, ext)?;
    // What the device is comes before what the address is.
    let net = links(request, request.net)?;
    if header.index == 0 {
        return refuse(ext, "invalid ifindex");
    }
    if net.by_index(header.index).is_none() {
        ext.set_msg("unknown ifindex");
        return Err(Errno::ENODEV);
    }
    let address = address(&attrs, ext)?;
    let vlan = vlan(&attrs, ext)?;
    let flags = request.msg.header.flags;
    Ok(FdbChange {
        ifindex: header.index,
        address,
        state: header.state,
        flags: header.flags,
        vlan,
        remote: remote(&attrs)?,
        nexthop: attrs.get(NDA_NH_ID).map(number),
        names_host: [NDA_DST, NDA_PORT, NDA_VNI, NDA_IFINDEX].into_iter().any(|ty| attrs.get(ty).is_some()),
        src_vni: attrs.get(NDA_SRC_VNI).and_then(|a| a.u32()),
        exclusive: flags & NLM_F_EXCL != 0,
        create: flags & NLM_F_CREATE != 0,
        replace: flags & NLM_F_REPLACE != 0,
        append: flags & NLM_F_APPEND != 0,
    })
}

fn address(attrs: &AttrTable<'_>, ext: &mut ExtAck) -> Result<HwAddr, Errno> {
    let attr = attrs.get(NDA_LLADDR).filter(|a| a.payload.len() == 6);
    match attr.and_then(|a| HwAddr::new(a.payload)) {
        Some(address) => Ok(address),
        None => refuse(ext, "invalid address"),
    }
}

/// As many bytes of a number as there are: the attribute is judged by no policy.
fn number(attr: pernet_wire::Attr<'_>) -> u32 {
    let mut bytes = [0; 4];
    bytes.iter_mut().zip(attr.payload).for_each(|(to, from)| *to = *from);
    u32::from_ne_bytes(bytes)
}

fn vlan(attrs: &AttrTable<'_>, ext: &mut ExtAck) -> Result<Option<u16>, Errno> {
    let Some(attr) = attrs.get(NDA_VLAN) else { return Ok(None) };
    match attr.u16() {
        Some(vlan) if attr.payload.len() == 2 && (1..VLANS).contains(&vlan) => Ok(Some(vlan)),
        Some(_) if attr.payload.len() == 2 => refuse(ext, "invalid vlan id"),
        _ => refuse(ext, "invalid vlan attribute size"),
    }
}

/// Where a tunnel is to send.
fn remote(attrs: &AttrTable<'_>) -> Result<Option<FdbRemote>, Errno> {
    let Some(dst) = attrs.get(NDA_DST) else { return Ok(None) };
    let four = <[u8; 4]>::try_from(dst.payload).map(IpAddr::from);
    let six = <[u8; 16]>::try_from(dst.payload).map(IpAddr::from);
    let address = four.or(six).map_err(|_| Errno::EAFNOSUPPORT)?;
    let port = attrs.get(NDA_PORT).and_then(|a| a.payload.first_chunk().copied()).map(u16::from_be_bytes);
    let word = |ty| attrs.get(ty).and_then(|a: pernet_wire::Attr<'_>| a.u32());
    Ok(Some(FdbRemote { address, port, vni: word(NDA_VNI), ifindex: word(NDA_IFINDEX).filter(|&i| i > 0) }))
}

/// `rtnl_fdb_add`.
pub(super) fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let change = change(request, ext)?;
    let mut rtnl = request.stack().rtnl(request.origin());
    rtnl.add_fdb(request.net, &change).map_err(|why| refused(ext, why.errno(), why.text()))
}

/// `rtnl_fdb_del`.
pub(super) fn delete(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let change = change(request, ext)?;
    let mut rtnl = request.stack().rtnl(request.origin());
    rtnl.del_fdb(request.net, &change).map_err(|why| refused(ext, why.errno(), why.text()))
}

/// What is asked for by RTM_GETNEIGH.
struct Lookup {
    address: HwAddr,
    vlan: Option<u16>,
    vni: Option<u32>,
    index: u32,
    master: Option<u32>,
    flags: u8,
}

/// `fdb_get` as `rtnl_fdb_get` reads it: strictly, whoever asks.
fn lookup(request: &Request<'_>, ext: &mut ExtAck) -> Result<Lookup, Errno> {
    let Some(h) = request.msg.payload().first_chunk::<HEADER>() else {
        return refuse(ext, "Invalid header for fdb get request");
    };
    if [h[1], h[2], h[3], h[8], h[9], h[11]] != [0; 6] {
        return refuse(ext, "Invalid values in header for fdb get request");
    }
    if h[10] & !(SELF | OF_MASTER) != 0 {
        return refuse(ext, "Invalid flags in header for fdb get request");
    }
    let attrs = parse(&request.msg, HEADER, &POLICY, Strictness::Strict, ext)?;
    const ASKED: [u16; 4] = [NDA_LLADDR, NDA_VLAN, NDA_VNI, NDA_MASTER];
    let wrong = attrs.iter().find(|a| !ASKED.contains(&a.ty)).map(|a| a.ty);
    let before = |ty: u16| wrong.is_none_or(|wrong| ty < wrong);
    let address = match attrs.get(NDA_LLADDR).filter(|_| before(NDA_LLADDR)) {
        Some(attr) if attr.payload.len() != 6 => return refuse(ext, "Invalid address in fdb get request"),
        attr => attr.and_then(|a| HwAddr::new(a.payload)),
    };
    let vlan = if before(NDA_VLAN) { vlan(&attrs, ext)? } else { None };
    if wrong.is_some() {
        return refuse(ext, "Unsupported attribute in fdb get request");
    }
    let Some(address) = address else { return refuse(ext, "Missing lookup address for fdb get request") };
    let index = u32::from_ne_bytes([h[4], h[5], h[6], h[7]]);
    let word = |ty| attrs.get(ty).and_then(|a: pernet_wire::Attr<'_>| a.u32());
    Ok(Lookup { address, vlan, vni: word(NDA_VNI), index, master: word(NDA_MASTER), flags: h[10] })
}

/// `rtnl_fdb_get`.
pub(super) fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let asked = lookup(request, ext)?;
    let links = links(request, request.net)?;
    let device = match (asked.index, asked.master) {
        (0, None) => return refuse(ext, "No device specified"),
        (0, Some(master)) => match links.by_index(master) {
            Some(link) => link,
            None => return refuse(ext, "Invalid master ifindex"),
        },
        (_, Some(_)) => return refuse(ext, "Master and device are mutually exclusive"),
        (index, None) => {
            let Some(link) = links.by_index(index) else {
                ext.set_msg("Unknown device ifindex");
                return Err(Errno::ENODEV);
            };
            if asked.flags == SELF {
                link
            } else {
                let port = pernet_stack::BridgePort::of(&link).and(link.master);
                let Some(bridge) = port.and_then(|master| links.by_index(master)) else {
                    return refuse(ext, "Device is not a bridge port");
                };
                bridge
            }
        }
    };
    let found = match device.data() {
        Some(KindData::Bridge(_)) if asked.vlan.is_some() => None,
        Some(KindData::Bridge(_)) => {
            let bridge = device.index();
            let mut all = links.ports_of(bridge).into_iter().chain([bridge]).filter_map(|index| links.by_index(index));
            all.find_map(|link| {
                let entries = request.stack().fdb_of(request.net, &link);
                entries.into_iter().find(|e| e.master == Some(bridge) && e.address == asked.address)
            })
        }
        Some(KindData::Vxlan(vxlan)) => {
            let vni = if vxlan.collects_metadata() { asked.vni.unwrap_or(0) } else { 0 };
            let entries = request.stack().fdb_of(request.net, &device);
            entries.into_iter().find(|e| e.master.is_none() && e.address == asked.address && e.src_vni == vni)
        }
        _ => {
            ext.set_msg("Fdb get operation not supported by device");
            return Err(Errno::EOPNOTSUPP);
        }
    };
    let Some(entry) = found else {
        ext.set_msg("Fdb entry not found");
        return Err(Errno::ENOENT);
    };
    let mut out = Builder::message(&request.reply_header(RTM_NEWNEIGH, 0));
    fill(&mut out, &entry, request.stack().centiseconds());
    request.reply(out.finish())
}

/// `rtnl_fdb_dump`.
pub(super) fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let filter = filter(request, ext)?;
    let links = links(request, request.net)?;
    if filter.master != 0 && links.by_index(filter.master).is_none() {
        return Err(Errno::ENODEV);
    }
    let now = request.stack().centiseconds();
    loop {
        let start = u32::try_from(out.cursor.next).unwrap_or(u32::MAX);
        let page = links.from_index(start, PAGE);
        for link in &page.links {
            let index = link.index();
            let of_master = filter.master == 0 || index == filter.master || link.master == Some(filter.master);
            if of_master && (filter.ifindex == 0 || filter.ifindex == index) {
                let entries = request.stack().fdb_of(request.net, link);
                let sent = usize::try_from(out.cursor.aux).unwrap_or(usize::MAX);
                for entry in entries.iter().skip(sent) {
                    if out.entry(RTM_NEWNEIGH, |m| fill(m, entry, now)).is_err() {
                        out.cursor.next = index.into();
                        return Ok(Step::More);
                    }
                    out.cursor.aux += 1;
                }
            }
            out.cursor.next = u64::from(index) + 1;
            out.cursor.aux = 0;
        }
        if page.links.len() < PAGE {
            return Ok(Step::Done);
        }
    }
}

/// Which entries a dump asks for. The older form has the header of a link and its attributes.
fn filter(request: &Request<'_>, ext: &mut ExtAck) -> Result<FdbFilter, Errno> {
    let payload = request.msg.payload();
    let word = |attr: Option<pernet_wire::Attr<'_>>| attr.and_then(|a| a.u32()).unwrap_or(0);
    if request.strictness() == Strictness::Strict {
        let Some(header) = payload.get(..HEADER) else {
            return refuse(ext, "Invalid header for fdb dump request");
        };
        if header[1..4].iter().chain(&header[8..]).any(|&b| b != 0) {
            return refuse(ext, "Invalid values in header for fdb dump request");
        }
        let attrs = parse(&request.msg, HEADER, &POLICY, Strictness::Strict, ext)?;
        if attrs.iter().any(|a| ![NDA_IFINDEX, NDA_MASTER].contains(&a.ty)) {
            return refuse(ext, "Unsupported attribute in fdb dump request");
        }
        let own = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        let ifindex = if own == 0 { word(attrs.get(NDA_IFINDEX)) } else { own };
        return Ok(FdbFilter { ifindex, master: word(attrs.get(NDA_MASTER)) });
    }
    // A neighbour's header, with or without one attribute, is taken for what it is: a request for everything.
    let bare = [HEADER, HEADER + 8].contains(&payload.len());
    if bare {
        return Ok(FdbFilter::default());
    }
    let Some(info) = IfInfo::read(payload) else { return refuse(ext, "Invalid header length") };
    let attrs = request::attributes(&request.msg, IFINFOMSG_LEN, Strictness::Legacy, ext)?;
    Ok(FdbFilter { ifindex: u32::try_from(info.index).unwrap_or(0), master: word(attrs.get(IFLA_MASTER)) })
}

/// An entry as `br_fdb_fill_info`, `vxlan_fdb_info` and `nlmsg_populate_fdb_fill` write theirs.
fn fill(out: &mut Builder, entry: &FdbEntry, now: u64) {
    let mut header = [0; HEADER];
    header[0] = AF_BRIDGE;
    header[4..8].copy_from_slice(&entry.ifindex.to_ne_bytes());
    header[8..10].copy_from_slice(&entry.state.to_ne_bytes());
    header[10] = entry.flags;
    header[11] = if entry.remote.is_some() || entry.nexthop.is_some() { UNICAST } else { 0 };
    out.put_raw(&header).put(NDA_LLADDR, entry.address.as_bytes());
    if let Some(master) = entry.master {
        out.put_u32(NDA_MASTER, master).put_u32(NDA_FLAGS_EXT, 0);
    }
    if let Some(id) = entry.nexthop {
        out.put_u32(NDA_NH_ID, id);
    }
    if let Some(remote) = &entry.remote {
        match remote.address {
            IpAddr::V4(address) => out.put(NDA_DST, &address.octets()),
            IpAddr::V6(address) => out.put(NDA_DST, &address.octets()),
        };
        if let Some(port) = remote.port {
            out.put(NDA_PORT, &port.to_be_bytes());
        }
        if let Some(vni) = remote.vni {
            out.put_u32(NDA_VNI, vni);
        }
        if let Some(index) = remote.ifindex {
            out.put_u32(NDA_IFINDEX, index);
        }
    }
    if entry.src_vni != 0 {
        out.put_u32(NDA_SRC_VNI, entry.src_vni);
    }
    // What the device itself listens to has no age.
    if entry.master.is_some() || header[11] == UNICAST {
        let age = entry.updated.map_or(0, |updated| now.saturating_sub(updated));
        let age = u32::try_from(age).unwrap_or(u32::MAX);
        let words = [0, age, age, 0_u32];
        out.put(NDA_CACHEINFO, &words.map(u32::to_ne_bytes).concat());
    }
}

/// What listeners hear of entries.
pub(super) fn notice(to: &Notifier, stack: &Stack, net: &NetRef, entry: &FdbEntry, gone: bool) {
    let ty = if gone { RTM_DELNEIGH } else { RTM_NEWNEIGH };
    to.announce(net, RTNLGRP_NEIGH, ty, 0, Origin::KERNEL, |out| fill(out, entry, stack.centiseconds()));
}
