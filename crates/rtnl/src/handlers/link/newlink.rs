//! RTM_NEWLINK, RTM_SETLINK, RTM_DELLINK: devices made, changed and taken away.

use std::sync::Arc;

use pernet::{Cap, NetRef};
use pernet_stack::{BridgePort, BridgePortChange, Link, LinkChange, Links, NewLink, PortChange};
use pernet_wire::uapi::*;
use pernet_wire::{AttrTable, Errno, ExtAck, PolicyTlv, Strictness};

use super::kind::{Info, bridge};
use super::request::{self, IFINFOMSG_LEN, IfInfo};
use super::{Request, change, links, text};
use crate::handlers::refuse;

const IFLA_PROTINFO: u16 = 12;

mod say {
    pub(super) const HEADER: &str = "Invalid header length";
    pub(super) const NOT_NESTED: &str = "NLA_F_NESTED is missing";
    pub(super) const TWO_NETNS: &str = "multiple netns identifying attributes specified";
    pub(super) const NO_NSID: &str = "Unknown network namespace id";
    pub(super) const NEGATIVE: &str = "ifindex can't be negative";
}

/// A request that names a device, read.
struct Read<'a> {
    info: IfInfo,
    attrs: AttrTable<'a>,
}

fn read<'a>(request: &Request<'a>, ext: &mut ExtAck) -> Result<Read<'a>, Errno> {
    let Some(info) = IfInfo::read(request.msg.payload()) else { return refuse(ext, say::HEADER) };
    let attrs = request::attributes(&request.msg, IFINFOMSG_LEN, Strictness::Legacy, ext)?;
    Ok(Read { info, attrs })
}

/// The device that a request names, `None` if there is none such or it names none.
fn named(links: &Links, read: &Read<'_>) -> Option<Arc<Link>> {
    match u32::try_from(read.info.index) {
        Ok(index) if index > 0 => links.by_index(index),
        _ => by_name(links, &read.attrs),
    }
}

fn by_name(links: &Links, attrs: &AttrTable<'_>) -> Option<Arc<Link>> {
    let attr = attrs.get(IFLA_IFNAME).or_else(|| attrs.get(IFLA_ALT_IFNAME))?;
    links.by_name(request::name(&attr)?)
}

/// The namespace that a request wants a device to be in, if it says so (`rtnl_link_get_net_capable`).
pub(super) fn target(request: &Request<'_>, attrs: &AttrTable<'_>, ext: &mut ExtAck) -> Result<Option<NetRef>, Errno> {
    let word = |ty| attrs.get(ty).and_then(|a: pernet_wire::Attr<'_>| a.i32());
    let (pid, fd, nsid) = (word(IFLA_NET_NS_PID), word(IFLA_NET_NS_FD), word(IFLA_TARGET_NETNSID));
    if [pid, fd, nsid].iter().flatten().count() > 1 {
        ext.set_msg(say::TWO_NETNS);
        return Err(Errno::EINVAL);
    }
    one_target(request, attrs)
}

/// As [`target`], where of several the first counts.
pub(super) fn one_target(request: &Request<'_>, attrs: &AttrTable<'_>) -> Result<Option<NetRef>, Errno> {
    let word = |ty| attrs.get(ty).and_then(|a: pernet_wire::Attr<'_>| a.i32());
    let (pid, fd, nsid) = (word(IFLA_NET_NS_PID), word(IFLA_NET_NS_FD), word(IFLA_TARGET_NETNSID));
    let net = if let Some(pid) = pid {
        request.client.net_by_pid(pid).map_err(|e| e.errno())?
    } else if let Some(fd) = fd {
        request.client.net_by_fd(fd).map_err(|e| e.errno())?
    } else if let Some(nsid) = nsid {
        request.net.net_by_nsid(nsid).ok_or(Errno::EINVAL)?
    } else {
        return Ok(None);
    };
    if !request.capable(net.owner(), Cap::NetAdmin) {
        return Err(Errno::EPERM);
    }
    Ok(Some(net))
}

/// `rtnl_newlink`.
pub(super) fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let read = read(request, ext)?;
    let linkinfo = Info::read(read.attrs.get(IFLA_LINKINFO))?;
    let net = target(request, &read.attrs, ext)?;
    linkinfo.validate(&read.attrs)?;
    if read.info.index < 0 {
        ext.set_msg(say::NEGATIVE);
        return Err(Errno::EINVAL);
    }
    let mut change = change::read(&read.info, &read.attrs, ext)?;
    let flags = request.msg.header.flags;
    let mut rtnl = request.stack().rtnl(request.origin());
    if let Some(link) = named(links(request, request.net)?, &read) {
        if flags & NLM_F_EXCL != 0 {
            return Err(Errno::EEXIST);
        }
        if flags & NLM_F_REPLACE != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        change.net = net;
        if read.info.index == 0 {
            // The name said which device.
            change.name = None;
        }
        change.data = linkinfo.change(&link, ext)?;
        change.port = linkinfo.port_change(&link, ext)?;
        let done = rtnl.set_link(request.net, link.index(), &change);
        return done.map_err(|why| change::refused(&why, &read.attrs, ext));
    }
    let word = |ty| read.attrs.get(ty).and_then(|a: pernet_wire::Attr<'_>| a.u32());
    if flags & NLM_F_CREATE == 0 {
        let nameless = read.attrs.get(IFLA_IFNAME).or_else(|| read.attrs.get(IFLA_ALT_IFNAME)).is_none();
        let Some(group) = word(IFLA_GROUP).filter(|_| read.info.index == 0 && nameless) else {
            return Err(Errno::ENODEV);
        };
        change.net = net;
        return rtnl.set_group(request.net, group, &change).map_err(|why| change::refused(&why, &read.attrs, ext));
    }
    if [IFLA_MAP, IFLA_PROTINFO].iter().any(|&ty| read.attrs.get(ty).is_some()) {
        return Err(Errno::EOPNOTSUPP);
    }
    change.net = net;
    let link_net = match read.attrs.get(IFLA_LINK_NETNSID).and_then(|a| a.i32()) {
        None => None,
        Some(nsid) => Some(request.net.net_by_nsid(nsid).ok_or_else(|| {
            ext.set_msg(say::NO_NSID);
            Errno::EINVAL
        })?),
    };
    let new = NewLink {
        index: u32::try_from(read.info.index).ok().filter(|&index| index > 0),
        tx_queues: word(IFLA_NUM_TX_QUEUES),
        rx_queues: word(IFLA_NUM_RX_QUEUES),
        link_net,
        lower: word(IFLA_LINK),
        change,
        ..NewLink::new(linkinfo.spec(request, ext)?)
    };
    let made = rtnl.new_link(request.net, &new);
    made.map(drop).map_err(|why| change::refused(&why, &read.attrs, ext))
}

/// `rtnl_setlink`.
pub(super) fn set(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let read = read(request, ext)?;
    let net = target(request, &read.attrs, ext)?;
    let mut change = change::read(&read.info, &read.attrs, ext)?;
    change.net = net;
    let mut rtnl = request.stack().rtnl(request.origin());
    if read.info.index <= 0 && read.attrs.get(IFLA_IFNAME).or_else(|| read.attrs.get(IFLA_ALT_IFNAME)).is_none() {
        return Err(Errno::EINVAL);
    }
    let link = named(links(request, request.net)?, &read).ok_or(Errno::ENODEV)?;
    if read.info.index <= 0 {
        change.name = None;
    }
    rtnl.set_link(request.net, link.index(), &change).map_err(|why| change::refused(&why, &read.attrs, ext))
}

/// `rtnl_dellink`.
pub(super) fn delete(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let read = read(request, ext)?;
    if read.attrs.get(IFLA_NET_NS_PID).is_some() || read.attrs.get(IFLA_NET_NS_FD).is_some() {
        ext.set_msg(text::NO_NETNS);
        return Err(Errno::EOPNOTSUPP);
    }
    let other = match read.attrs.get(IFLA_TARGET_NETNSID).and_then(|a| a.i32()) {
        Some(nsid) => Some(request.target(nsid)?),
        None => None,
    };
    let net = other.as_ref().unwrap_or(request.net);
    let mut rtnl = request.stack().rtnl(request.origin());
    let links = links(request, net)?;
    let group = read.attrs.get(IFLA_GROUP).and_then(|a| a.u32());
    let named_by = read.attrs.get(IFLA_IFNAME).or_else(|| read.attrs.get(IFLA_ALT_IFNAME));
    if read.info.index <= 0 && named_by.is_none() {
        let group = group.ok_or(Errno::EINVAL)?;
        return rtnl.del_group(net, group).map_err(|why| change::refused(&why, &read.attrs, ext));
    }
    let link = named(links, &read).ok_or(Errno::ENODEV)?;
    rtnl.del_link(net, link.index()).map_err(|why| change::refused(&why, &read.attrs, ext))
}

/// `rtnl_newlinkprop`.
pub(super) fn new_property(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    property(request, ext, true)
}

/// `rtnl_dellinkprop`.
pub(super) fn delete_property(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    property(request, ext, false)
}

/// Alternative names that come or go (`rtnl_linkprop`).
fn property(request: &Request<'_>, ext: &mut ExtAck, add: bool) -> Result<(), Errno> {
    let Some(info) = IfInfo::read(request.msg.payload()) else { return refuse(ext, say::HEADER) };
    let attrs = request::attributes(&request.msg, IFINFOMSG_LEN, Strictness::Strict, ext)?;
    let mut names = Vec::new();
    if let Some(list) = attrs.get(IFLA_PROP_LIST) {
        if list.raw_ty & NLA_F_NESTED == 0 {
            ext.set_msg_attr(say::NOT_NESTED, &list);
            ext.policy = Some(PolicyTlv::new(NL_ATTR_TYPE_NESTED));
            return Err(Errno::EINVAL);
        }
        request::nested_attributes(list.nested(), ext)?;
        names.extend(list.nested().filter(|a| a.ty == IFLA_ALT_IFNAME).map(|a| change::text(&a)));
    }
    let read = Read { info, attrs };
    let named_by = read.attrs.get(IFLA_IFNAME).or_else(|| read.attrs.get(IFLA_ALT_IFNAME));
    if read.info.index <= 0 && named_by.is_none() {
        return Err(Errno::EINVAL);
    }
    let mut rtnl = request.stack().rtnl(request.origin());
    let link = named(links(request, request.net)?, &read).ok_or(Errno::ENODEV)?;
    let done = if add {
        rtnl.add_alt_names(request.net, link.index(), &names)
    } else {
        rtnl.del_alt_names(request.net, link.index(), &names)
    };
    done.map_err(|why| change::refused(&why, &read.attrs, ext))
}

/// RTM_SETLINK of family AF_BRIDGE: a port's settings (`rtnl_bridge_setlink`).
pub(super) fn set_bridge(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let (link, attrs) = bridge_link(request, ext)?;
    let own = bridge_flags(&attrs);
    let settings = attrs.get(IFLA_PROTINFO);
    if BridgePort::of(&link).is_none() || own & BRIDGE_FLAGS_SELF != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
    let spec = attrs.get(IFLA_AF_SPEC);
    // This kernel's bridges know no VLANs.
    if spec.iter().flat_map(|a| a.nested()).any(|a| a.ty == IFLA_BRIDGE_VLAN_INFO) {
        return Err(Errno::EOPNOTSUPP);
    }
    let Some(settings) = settings else { return Ok(()) };
    let change = if settings.raw_ty & NLA_F_NESTED != 0 {
        bridge::read_port(&settings, ext)?
    } else {
        // As it was before there were more settings than one.
        let state = settings.u8().ok_or(Errno::EINVAL)?;
        BridgePortChange { settings: vec![(bridge::PORT_STATE, state.into())] }
    };
    let change = LinkChange { port: Some(PortChange::Bridge(Box::new(change))), ..LinkChange::default() };
    let mut rtnl = request.stack().rtnl(request.origin());
    rtnl.set_link(request.net, link.index(), &change).map_err(|why| change::refused(&why, &attrs, ext))
}

/// RTM_DELLINK of family AF_BRIDGE: VLANs of a port, which there are none of.
pub(super) fn delete_bridge(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let (link, attrs) = bridge_link(request, ext)?;
    if BridgePort::of(&link).is_none() || bridge_flags(&attrs) & BRIDGE_FLAGS_SELF != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(())
}

/// `BRIDGE_FLAGS_SELF`: the device itself is meant, not its bridge.
const BRIDGE_FLAGS_SELF: u16 = 2;

fn bridge_flags(attrs: &AttrTable<'_>) -> u16 {
    const IFLA_BRIDGE_FLAGS: u16 = 0;
    let spec = attrs.get(IFLA_AF_SPEC);
    let flags = spec.iter().flat_map(|a| a.nested()).find(|a| a.ty == IFLA_BRIDGE_FLAGS);
    flags.and_then(|a| a.u16()).unwrap_or(0)
}

fn bridge_link<'a>(request: &Request<'a>, ext: &mut ExtAck) -> Result<(Arc<Link>, AttrTable<'a>), Errno> {
    let Some(info) = IfInfo::read(request.msg.payload()) else { return refuse(ext, say::HEADER) };
    let attrs = request::attributes(&request.msg, IFINFOMSG_LEN, Strictness::Legacy, ext)?;
    let index = u32::try_from(info.index).unwrap_or(0);
    let Some(link) = links(request, request.net)?.by_index(index) else {
        ext.set_msg("unknown ifindex");
        return Err(Errno::ENODEV);
    };
    Ok((link, attrs))
}
