//! The "ethtool" family of generic netlink: what `ethtool` asks first.

mod bitset;
mod fill;

use std::sync::Arc;

use pernet::Cap;
use pernet_stack::Link;
use pernet_wire::uapi::*;
use pernet_wire::{Attr, Builder, Errno, ExtAck};

use super::{DumpOut, Full, Request, Step};
use crate::dispatch::{Outcome, dumping};

/// The commands of Linux 6.18 and what they can do, as the controller lists them.
pub(super) const OPS: &[(u8, u32)] = &[
    (1, 0xe),
    (2, 0xe),
    (3, 0x1a),
    (4, 0xe),
    (5, 0x1a),
    (6, 0xe),
    (7, 0xe),
    (8, 0x1a),
    (9, 0x1e),
    (10, 0x1a),
    (11, 0xe),
    (12, 0x1a),
    (13, 0xe),
    (14, 0x1a),
    (15, 0xe),
    (16, 0x1a),
    (17, 0xe),
    (18, 0x1a),
    (19, 0xe),
    (20, 0x1a),
    (21, 0xe),
    (22, 0x1a),
    (23, 0xe),
    (24, 0x1a),
    (25, 0xe),
    (26, 0x1a),
    (27, 0x1a),
    (28, 0xe),
    (29, 0xe),
    (30, 0x1a),
    (31, 0x1e),
    (32, 0xe),
    (33, 0xe),
    (34, 0xe),
    (35, 0x1a),
    (36, 0xe),
    (37, 0x1a),
    (38, 0xe),
    (39, 0xe),
    (40, 0x1a),
    (41, 0xe),
    (42, 0xe),
    (43, 0x1a),
    (44, 0x1a),
    (45, 0xe),
    (46, 0xe),
    (47, 0x1a),
    (48, 0x1a),
    (49, 0x1a),
    (50, 0x1a),
];

/// `GENL_UNS_ADMIN_PERM` in an operation's flags.
const ADMIN: u32 = 0x10;
const CAN_DUMP: u32 = 0x04;

/// `struct genlmsghdr`.
const BODY_LEN: usize = 4;

const STRSET_GET: u8 = 1;
const LINKINFO_GET: u8 = 2;
const LINKMODES_GET: u8 = 4;
const LINKSTATE_GET: u8 = 6;
const DEBUG_GET: u8 = 7;
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
const CHANNELS_GET: u8 = 17;
const COALESCE_GET: u8 = 19;
const TSINFO_GET: u8 = 25;
const TUNNEL_INFO_GET: u8 = 28;
const MODULE_EEPROM_GET: u8 = 31;
const PHC_VCLOCKS_GET: u8 = 33;
const MODULE_GET: u8 = 34;
const PSE_GET: u8 = 36;

/// Every request's first attribute, and what is in it.
const HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
const HEADER_DEV_NAME: u16 = 2;
const HEADER_FLAGS: u16 = 3;

/// Bits of the header's flags: short bitsets; no reply to a change; counters too.
const FLAG_COMPACT: u32 = 1;
const FLAG_OMIT_REPLY: u32 = 2;
const ALL_FLAGS: u32 = 7;

/// A request, as far as all are alike.
struct Asked<'a> {
    link: Option<Arc<Link>>,
    flags: u32,
    attrs: Vec<Attr<'a>>,
}

impl Asked<'_> {
    const fn compact(&self) -> bool {
        self.flags & FLAG_COMPACT != 0
    }

    fn get(&self, ty: u16) -> Option<&Attr<'_>> {
        self.attrs.iter().find(|a| a.ty == ty)
    }
}

/// The largest attribute that a command knows. Of commands that no device here answers it does not matter.
const fn largest(command: u8) -> u16 {
    match command {
        STRSET_GET | FEATURES_SET => 3,
        LINKINFO_GET | LINKMODES_GET | LINKSTATE_GET | FEATURES_GET | CHANNELS_GET | TSINFO_GET => 1,
        _ => u16::MAX,
    }
}

/// Reads a request; `needs_device` unless it lists.
fn read<'a>(request: &Request<'a>, command: u8, needs_device: bool, ext: &mut ExtAck) -> Result<Asked<'a>, Errno> {
    let attrs: Vec<Attr<'a>> = request.msg.attrs(BODY_LEN).collect();
    if let Some(unknown) = attrs.iter().find(|a| a.ty == 0 || a.ty > largest(command)) {
        ext.set_msg_attr("Unknown attribute type", unknown);
        return Err(Errno::EINVAL);
    }
    let Some(header) = attrs.iter().find(|a| a.ty == HEADER) else {
        if !needs_device {
            return Ok(Asked { link: None, flags: 0, attrs });
        }
        ext.miss_type = Some(HEADER.into());
        return Err(Errno::EINVAL);
    };
    let inside = |ty| header.nested().find(|a| a.ty == ty);
    let flags = inside(HEADER_FLAGS);
    let value = flags.and_then(|a| a.u32()).unwrap_or(0);
    if let Some(attr) = flags.filter(|_| value & !ALL_FLAGS != 0) {
        ext.set_msg_attr("reserved bit set", &attr);
        return Err(Errno::EINVAL);
    }
    let links = request.stack().links(request.net).ok_or(Errno::ENODEV)?;
    let link = match (inside(HEADER_DEV_INDEX), inside(HEADER_DEV_NAME)) {
        (Some(index), name) => {
            let Some(link) = index.u32().and_then(|index| links.by_index(index)) else {
                ext.set_msg_attr("no device matches ifindex", &index);
                return Err(Errno::ENODEV);
            };
            if name.is_some_and(|name| name.str_bytes() != link.name().as_str().as_bytes()) {
                ext.set_msg_attr("ifindex and name do not match", header);
                return Err(Errno::ENODEV);
            }
            Some(link)
        }
        (None, Some(name)) => {
            let link = std::str::from_utf8(name.str_bytes()).ok().and_then(|name| links.by_name(name));
            if link.is_none() {
                ext.set_msg_attr("no device matches name", &name);
                return Err(Errno::ENODEV);
            }
            link
        }
        (None, None) if needs_device => {
            ext.set_msg_attr("neither ifindex nor name specified", header);
            return Err(Errno::EINVAL);
        }
        (None, None) => None,
    };
    Ok(Asked { link, flags: value, attrs })
}

/// `genl_rcv_msg` for this family.
pub(super) fn receive(request: &Request<'_>, ext: &mut ExtAck) -> Outcome {
    let payload = request.msg.payload();
    let (Some(&command), true) = (payload.first(), payload.len() >= BODY_LEN) else {
        return Err(Errno::EINVAL).into();
    };
    let Some((_, can)) = OPS.iter().find(|op| op.0 == command) else {
        return Err(Errno::EOPNOTSUPP).into();
    };
    if can & ADMIN != 0 && !request.permitted(Cap::NetAdmin) {
        return Err(Errno::EPERM).into();
    }
    if request.msg.header.flags & NLM_F_DUMP == NLM_F_DUMP {
        return if can & CAN_DUMP != 0 { dumping(request, dump) } else { Err(Errno::EOPNOTSUPP).into() };
    }
    answer(request, command, ext).into()
}

fn answer(request: &Request<'_>, command: u8, ext: &mut ExtAck) -> Result<(), Errno> {
    let asked = read(request, command, command != STRSET_GET, ext)?;
    let mut out = Builder::message(&request.reply_header(GENL_ID_ETHTOOL, 0));
    match &asked.link {
        _ if command == STRSET_GET => fill::strings(&mut out, &asked, ext)?,
        Some(link) if command == FEATURES_SET => {
            if !set_features(request, &mut out, &asked, link, ext)? {
                return Ok(());
            }
        }
        Some(link) => fill::about(&mut out, request, command, link, asked.compact(), ext)?,
        None => return Err(Errno::EINVAL),
    }
    request.reply(out.finish())
}

/// Switches features, and writes what came of it; false if nobody wants to know.
fn set_features(
    request: &Request<'_>,
    out: &mut Builder,
    asked: &Asked<'_>,
    link: &Link,
    ext: &mut ExtAck,
) -> Result<bool, Errno> {
    const WANTED: u16 = 3;
    let Some(wanted) = asked.get(WANTED) else {
        ext.miss_type = Some(WANTED.into());
        return Err(Errno::EINVAL);
    };
    let (mask, values) = bitset::read(wanted, ext)?;
    let done = request.stack().rtnl(request.origin()).set_eth_features(request.net, link, mask, values);
    if asked.flags & FLAG_OMIT_REPLY != 0 {
        return Ok(false);
    }
    fill::features_changed(out, link, mask, values, &done, asked.compact());
    Ok(true)
}

/// Every device that has an answer.
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let command = request.msg.payload().first().copied().unwrap_or(0);
    let asked = read(request, command, false, ext)?;
    let links = request.stack().links(request.net).ok_or(Errno::ENODEV)?;
    let start = u32::try_from(out.cursor.next).unwrap_or(u32::MAX);
    for link in links.from_index(start, usize::MAX).links {
        let mut probe = Builder::bare();
        if fill::about(&mut probe, request, command, &link, asked.compact(), ext).is_ok() {
            let bytes = probe.finish();
            if let Err(Full) = out.entry(GENL_ID_ETHTOOL, |m| {
                m.put_raw(&bytes);
            }) {
                return Ok(Step::More);
            }
        }
        out.cursor.next = u64::from(link.index()) + 1;
    }
    Ok(Step::Done)
}
