//! Devices: RTM_GETLINK, one device or all of them, and what listeners hear of them.

mod change;
mod families;
mod fdb;
mod fill;
mod kind;
mod newlink;
mod request;

use std::sync::Arc;

use pernet::{NetHandle, NetRef, Origin};
use pernet_stack::{Link, LinkNotice, Links, Stack};
use pernet_wire::uapi::*;
use pernet_wire::{AttrTable, Builder, Errno, ExtAck, Strictness};

use crate::handlers::refuse;
use crate::notify::Notifier;

use super::{DumpOut, Full, Handler, Request, Step};
use fill::{Place, View};
use request::{IFINFOMSG_LEN, IfInfo};

/// Family 0 answers for every family that has no row of its own.
pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: 0, ty: RTM_GETLINK, doit: Some(get), dumpit: Some(dump) },
    Handler { family: 0, ty: RTM_NEWLINK, doit: Some(newlink::new), dumpit: None },
    Handler { family: 0, ty: RTM_SETLINK, doit: Some(newlink::set), dumpit: None },
    Handler { family: 0, ty: RTM_DELLINK, doit: Some(newlink::delete), dumpit: None },
    Handler { family: 0, ty: RTM_NEWLINKPROP, doit: Some(newlink::new_property), dumpit: None },
    Handler { family: 0, ty: RTM_DELLINKPROP, doit: Some(newlink::delete_property), dumpit: None },
    Handler { family: AF_BRIDGE, ty: RTM_SETLINK, doit: Some(newlink::set_bridge), dumpit: None },
    Handler { family: AF_BRIDGE, ty: RTM_DELLINK, doit: Some(newlink::delete_bridge), dumpit: None },
    Handler { family: AF_BRIDGE, ty: RTM_NEWNEIGH, doit: Some(fdb::new), dumpit: None },
    Handler { family: AF_BRIDGE, ty: RTM_DELNEIGH, doit: Some(fdb::delete), dumpit: None },
    Handler { family: AF_BRIDGE, ty: RTM_GETNEIGH, doit: Some(fdb::get), dumpit: Some(fdb::dump) },
    families::INET6,
    families::BRIDGE,
    families::IPMR,
];

/// IPv6 of a link as its listeners hear of it.
pub(super) fn inet6_link(out: &mut Builder, link: &Link, now: &pernet_stack::Inet6Link) {
    fill::inet6_link(out, link, now);
}

/// The family of switches.
const AF_BRIDGE: u8 = 7;

/// Devices taken out of the table at a time. A datagram holds at most some twenty.
const PAGE: usize = 32;

mod text {
    pub(super) const GET_HEADER: &str = "Invalid header for get link";
    pub(super) const GET_VALUES: &str = "Invalid values in header for get link request";
    pub(super) const GET_UNSUPPORTED: &str = "Unsupported attribute in get link request";
    pub(super) const NO_NETNS: &str = "specified netns attribute not supported";
    pub(super) const DUMP_HEADER: &str = "Invalid header for link dump";
    pub(super) const DUMP_VALUES: &str = "Invalid values in header for link dump request";
    pub(super) const DUMP_INDEX: &str = "Filter by device index not supported for link dumps";
    pub(super) const DUMP_UNSUPPORTED: &str = "Unsupported attribute in link dump request";
    pub(super) const DUMP_TARGET: &str = "Invalid target network namespace id";
}

/// What listeners hear of links.
pub(crate) fn notice(to: &Notifier, stack: &Stack, net: &NetRef, notice: &LinkNotice, origin: Origin) {
    let place = Place { stack, net };
    // Only who asked for an echo is told apart from everybody.
    let origin = if origin.echo { origin } else { Origin::KERNEL };
    let mut view = View::default();
    let (ty, link) = match notice {
        LinkNotice::New { link, change, event } => {
            (view.change, view.event) = (*change, *event);
            (RTM_NEWLINK, link)
        }
        LinkNotice::Del { link, to } => {
            view.change = u32::MAX;
            view.moved = to.as_ref().map(|(peer, index)| (nsid_of(net, peer), index.cast_signed()));
            (RTM_DELLINK, link)
        }
        LinkNotice::Port { link, gone } => {
            let ty = if *gone { RTM_DELLINK } else { RTM_NEWLINK };
            to.announce(net, RTNLGRP_LINK, ty, 0, origin, |out| fill::bridge_port(out, place, link, *gone));
            return;
        }
        LinkNotice::Fdb { entry, gone } => return fdb::notice(to, stack, net, entry, *gone),
        LinkNotice::L3Stats { index, wanted } => return super::stats::notice(to, net, *index, *wanted),
        LinkNotice::Vnis { index, run, gone } => return super::tunnel::notice(to, net, *index, *run, *gone),
        _ => return,
    };
    // Also if nobody listens: to be mentioned is what gives a namespace its number.
    view.lower_nsid = lower_nsid(net, link);
    to.announce(net, RTNLGRP_LINK, ty, 0, origin, |out| fill::link(out, place, link, view));
}

/// The id by which `viewer` knows a namespace, from here on if it did not; -1 if that is dead.
fn nsid_of(viewer: &NetRef, net: &NetHandle) -> i32 {
    net.upgrade().and_then(|net| viewer.peernet2id_alloc(&net)).map_or(-1, |id| id.get())
}

/// The id of the namespace of the device below, if that is another one than the device's.
fn lower_nsid(viewer: &NetRef, link: &Link) -> Option<i32> {
    link.lower_net().map(|net| nsid_of(viewer, net))
}

/// The devices of `net`. A namespace that a socket or an id leads to has them; `ENODEV` is for one that belongs to
/// another system, which cannot be.
fn links<'n>(request: &Request<'_>, net: &'n NetRef) -> Result<&'n Links, Errno> {
    request.stack().links(net).ok_or(Errno::ENODEV)
}

/// One device (`rtnl_getlink`).
fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let how = request.strictness();
    let Some(info) = IfInfo::read(request.msg.payload()) else {
        return refuse(ext, text::GET_HEADER);
    };
    if how == Strictness::Strict && !info.rest_is_zero {
        return refuse(ext, text::GET_VALUES);
    }
    let attrs = request::attributes(&request.msg, IFINFOMSG_LEN, how, ext)?;
    let asked = [IFLA_IFNAME, IFLA_ALT_IFNAME, IFLA_EXT_MASK, IFLA_TARGET_NETNSID];
    if how == Strictness::Strict && attrs.iter().any(|a| !asked.contains(&a.ty)) {
        return refuse(ext, text::GET_UNSUPPORTED);
    }
    if attrs.get(IFLA_NET_NS_PID).is_some() || attrs.get(IFLA_NET_NS_FD).is_some() {
        ext.set_msg(text::NO_NETNS);
        return Err(Errno::EOPNOTSUPP);
    }
    let target = attrs.get(IFLA_TARGET_NETNSID).and_then(|a| a.i32());
    let other = target.map(|nsid| request.target(nsid)).transpose()?;
    let ext_mask = attrs.get(IFLA_EXT_MASK).and_then(|a| a.u32());
    let net = other.as_ref().unwrap_or(request.net);
    let link = find(links(request, net)?, info.index, &attrs)?;
    let lower_nsid = lower_nsid(request.net, &link);
    let view = View { ext_mask: ext_mask.unwrap_or(0), target, lower_nsid, ..View::default() };
    let mut out = Builder::message(&request.reply_header(RTM_NEWLINK, 0));
    fill::link(&mut out, Place { stack: request.stack(), net }, &link, view);
    request.reply(out.finish())
}

/// The device a request means: by its index, else by its name, else by an alternative name. The first that is given
/// counts, the others are not looked at.
fn find(links: &Links, index: i32, attrs: &AttrTable<'_>) -> Result<Arc<Link>, Errno> {
    let found = match u32::try_from(index) {
        Ok(index) if index > 0 => links.by_index(index),
        _ => {
            let attr = attrs.get(IFLA_IFNAME).or_else(|| attrs.get(IFLA_ALT_IFNAME));
            let name = request::name(&attr.ok_or(Errno::EINVAL)?);
            name.and_then(|name| links.by_name(name))
        }
    };
    found.ok_or(Errno::ENODEV)
}

/// All devices (`rtnl_dump_ifinfo`).
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let how = request.strictness();
    let Some(attrs) = dump_attributes(request, how, ext)? else {
        return list(request, out, ext, &Filter::default());
    };
    let mut filter = Filter::default();
    // In the order of their numbers, whatever their order in the message: the first complaint counts.
    for attr in attrs.iter() {
        match attr.ty {
            IFLA_TARGET_NETNSID => {
                let nsid = attr.i32().unwrap_or(-1);
                let net = request.target(nsid);
                filter.other = Some(net.inspect_err(|_| ext.set_msg(text::DUMP_TARGET))?);
                filter.view.target = Some(nsid);
            }
            IFLA_EXT_MASK => filter.view.ext_mask = attr.u32().unwrap_or(0),
            IFLA_MASTER => filter.master = Master::from_wire(attr.u32().unwrap_or(0)),
            IFLA_LINKINFO => filter.kind = kind_filter(&attr),
            _ if how == Strictness::Strict => return refuse(ext, text::DUMP_UNSUPPORTED),
            // The legacy form never looked at other attributes.
            _ => {}
        }
    }
    list(request, out, ext, &filter)
}

/// Header and attributes of a dump request. In the legacy form a request that cannot be read is one that asks for
/// nothing in particular: `None`.
fn dump_attributes<'a>(
    request: &Request<'a>,
    how: Strictness,
    ext: &mut ExtAck,
) -> Result<Option<AttrTable<'a>>, Errno> {
    if how == Strictness::Legacy {
        let body_len = request::legacy_header_len(request.msg.payload());
        let mut unsaid = ExtAck::default();
        let attrs = request::attributes(&request.msg, body_len, how, &mut unsaid).ok();
        // Of a request that can be read, the warning about leftover bytes is passed on.
        ext.msg = unsaid.msg.filter(|_| attrs.is_some());
        return Ok(attrs);
    }
    let Some(info) = IfInfo::read(request.msg.payload()) else {
        return refuse(ext, text::DUMP_HEADER);
    };
    if !info.rest_is_zero {
        return refuse(ext, text::DUMP_VALUES);
    }
    if info.index != 0 {
        return refuse(ext, text::DUMP_INDEX);
    }
    request::attributes(&request.msg, IFINFOMSG_LEN, how, ext).map(Some)
}

/// Which masters a dump asks for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Master {
    /// Does not ask.
    #[default]
    Any,
    /// Devices that have none.
    None,
    /// Devices of this one.
    Index(u32),
}

impl Master {
    /// 0 on the wire is as good as no attribute, so "no master" had to become -1.
    const fn from_wire(index: u32) -> Self {
        match index {
            0 => Self::Any,
            u32::MAX => Self::None,
            index => Self::Index(index),
        }
    }

    fn admits(self, link: &Link) -> bool {
        match self {
            Self::Any => true,
            Self::None => link.master.is_none(),
            Self::Index(index) => link.master == Some(index),
        }
    }
}

/// What a dump was asked to show.
#[derive(Default)]
struct Filter {
    view: View,
    /// The namespace to list, if not the socket's own.
    other: Option<NetRef>,
    master: Master,
    kind: Option<&'static str>,
}

impl Filter {
    fn admits(&self, link: &Link) -> bool {
        self.master.admits(link) && self.kind.is_none_or(|kind| link.class().kind == Some(kind))
    }

    /// Whether the listing may be incomplete, and must say so.
    fn restricts(&self) -> bool {
        self.master != Master::Any || self.kind.is_some()
    }
}

/// Kinds that can be asked for. Any other word is as good as none, as on Linux for a kind whose module is not loaded;
/// these were known to the kernel that the vectors are from.
const KINDS: [&str; 9] = ["dummy", "vlan", "bridge", "veth", "vxlan", "macvlan", "macvtap", "ifb", "tun"];

/// The kind in an `IFLA_LINKINFO`.
fn kind_filter(info: &pernet_wire::Attr<'_>) -> Option<&'static str> {
    const IFLA_INFO_KIND: u16 = 1;
    // Of several the last counts, as everywhere.
    let kind = info.nested().filter(|a| a.ty == IFLA_INFO_KIND).last()?;
    let name = request::name(&kind)?;
    KINDS.into_iter().find(|k| *k == name)
}

/// Lists from the cursor on.
fn list(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck, filter: &Filter) -> Result<Step, Errno> {
    let net = filter.other.as_ref().unwrap_or(request.net);
    let links = links(request, net)?;
    let place = Place { stack: request.stack(), net };
    let room = out.room();
    let step = each(links, out, |out, link| {
        if !filter.admits(link) {
            return Ok(());
        }
        let view = View { lower_nsid: lower_nsid(request.net, link), ..filter.view };
        out.entry(RTM_NEWLINK, |m| {
            if filter.restricts() {
                m.add_flags(NLM_F_DUMP_FILTERED);
            }
            fill::link(m, place, link, view);
        })
    });
    // Linux closes this dump in a datagram of its own, and what it had to say about the request goes with the first.
    if step == Step::More || out.room() < room {
        out.cursor.aux = STARTED;
        return Ok(Step::More);
    }
    if out.cursor.aux == STARTED {
        *ext = ExtAck::default();
    }
    Ok(Step::Done)
}

/// In the cursor's second word: a datagram of the dump is out.
const STARTED: u64 = 1;

/// Calls `entry` for each device from the cursor on, page by page, and moves the cursor past those it took.
fn each(links: &Links, out: &mut DumpOut, mut entry: impl FnMut(&mut DumpOut, &Link) -> Result<(), Full>) -> Step {
    loop {
        // The cursor never goes beyond the largest index plus one.
        let start = u32::try_from(out.cursor.next).unwrap_or(u32::MAX);
        let page = links.from_index(start, PAGE);
        out.observe(page.generation.into());
        for link in &page.links {
            if entry(out, link).is_err() {
                return Step::More;
            }
            out.cursor.next = u64::from(link.index()) + 1;
        }
        if page.links.len() < PAGE {
            return Step::Done;
        }
    }
}
