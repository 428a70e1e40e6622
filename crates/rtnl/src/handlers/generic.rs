//! NETLINK_GENERIC: the controller, ethtool, and what TCP remembers.

use pernet_wire::uapi::*;
use pernet_wire::{AttrTable, Builder, Errno, ExtAck, Kind, Policy, Strictness, parse};

use super::{DumpOut, Full, Request, Step, ethtool, tcp_metrics};
use crate::dispatch::{Outcome, dumping};

/// `struct genlmsghdr`: command, version, two reserved bytes.
const BODY_LEN: usize = 4;

const NAME: &str = "nlctrl";
const VERSION: u8 = 2;

const POLICY: Policy = Policy(&[None, Some(Kind::U16), Some(Kind::NulString { max: 15 })]);

// Flags of an operation.
const CAN_DO: u32 = 0x2;
const CAN_DUMP: u32 = 0x4;
const HAS_POLICY: u32 = 0x8;

/// `genl_rcv_msg`.
pub(crate) fn receive(request: &Request<'_>, ext: &mut ExtAck) -> Outcome {
    if request.msg.header.ty == GENL_ID_ETHTOOL {
        return ethtool::receive(request, ext);
    }
    if request.msg.header.ty == GENL_ID_TCP_METRICS {
        return tcp_metrics::receive(request, ext);
    }
    if request.msg.header.ty != GENL_ID_CTRL {
        return Err(Errno::ENOENT).into();
    }
    let payload = request.msg.payload();
    let (Some(&command), true) = (payload.first(), payload.len() >= BODY_LEN) else {
        return Err(Errno::EINVAL).into();
    };
    let dump = request.msg.header.flags & NLM_F_DUMP != 0;
    match (command, dump) {
        (CTRL_CMD_GETFAMILY, false) => get_family(request, ext).into(),
        (CTRL_CMD_GETFAMILY, true) => dumping(request, dump_families),
        (CTRL_CMD_GETPOLICY, true) => match attributes(request, ext).and_then(|attrs| asked_for(&attrs)) {
            Ok(family) if family.id == GENL_ID_CTRL => dumping(request, dump_policy),
            // Other families' policies are not described.
            Ok(_) => Err(Errno::ENODATA).into(),
            Err(errno) => Err(errno).into(),
        },
        _ => Err(Errno::EOPNOTSUPP).into(),
    }
}

/// Attributes are read as strictly as the kernel's controller does: types it does not know are skipped.
fn attributes<'a>(request: &Request<'a>, ext: &mut ExtAck) -> Result<AttrTable<'a>, Errno> {
    let mut first = request.msg.attrs(BODY_LEN);
    // Type 0 is refused without a word even where unknown types are not.
    if first.any(|attr| attr.ty == 0) {
        return Err(Errno::EINVAL);
    }
    parse(&request.msg, BODY_LEN, &POLICY, Strictness::Legacy, ext)
}

/// A family.
struct Family {
    id: u16,
    name: &'static str,
    version: u8,
    /// Commands and what they can do.
    ops: &'static [(u8, u32)],
    /// The largest attribute, where the controller tells it.
    max_attr: u32,
    /// Its one multicast group, if it has one.
    group: Option<(u32, &'static str)>,
}

const CONTROLLER: Family = Family {
    id: GENL_ID_CTRL,
    name: NAME,
    version: VERSION,
    ops: &[(CTRL_CMD_GETFAMILY, CAN_DO | CAN_DUMP | HAS_POLICY), (CTRL_CMD_GETPOLICY, CAN_DUMP | HAS_POLICY)],
    max_attr: 0,
    group: Some((16, "notify")),
};

const ETHTOOL: Family = Family {
    id: GENL_ID_ETHTOOL,
    name: "ethtool",
    version: 1,
    ops: ethtool::OPS,
    max_attr: 0,
    group: Some((GENL_GROUP_ETHTOOL, "monitor")),
};

/// Numbers are given as families come; ethtool was before it.
const GENL_ID_TCP_METRICS: u16 = GENL_ID_ETHTOOL + 1;

const TCP_METRICS: Family = Family {
    id: GENL_ID_TCP_METRICS,
    name: "tcp_metrics",
    version: 1,
    ops: tcp_metrics::OPS,
    max_attr: tcp_metrics::MAX_ATTR,
    group: None,
};

const FAMILIES: [&Family; 3] = [&CONTROLLER, &ETHTOOL, &TCP_METRICS];

/// The family asked for. A name beats an id.
fn asked_for(attrs: &AttrTable<'_>) -> Result<&'static Family, Errno> {
    let known = if let Some(name) = attrs.get(CTRL_ATTR_FAMILY_NAME) {
        FAMILIES.into_iter().find(|f| name.str_bytes() == f.name.as_bytes())
    } else if let Some(id) = attrs.get(CTRL_ATTR_FAMILY_ID) {
        FAMILIES.into_iter().find(|f| id.u16() == Some(f.id))
    } else {
        return Err(Errno::EINVAL);
    };
    known.ok_or(Errno::ENOENT)
}

fn get_family(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let attrs = attributes(request, ext)?;
    let family = asked_for(&attrs)?;
    let mut out = Builder::message(&request.reply_header(GENL_ID_CTRL, 0));
    fill_family(&mut out, family);
    request.reply(out.finish())
}

fn dump_families(_: &Request<'_>, out: &mut DumpOut, _: &mut ExtAck) -> Result<Step, Errno> {
    while let Some(family) = usize::try_from(out.cursor.next).ok().and_then(|at| FAMILIES.get(at)) {
        match out.entry(GENL_ID_CTRL, |m| fill_family(m, family)) {
            Ok(()) => out.cursor.next += 1,
            Err(Full) => return Ok(Step::More),
        }
    }
    Ok(Step::Done)
}

fn fill_family(out: &mut Builder, family: &Family) {
    out.put_raw(&[CTRL_CMD_NEWFAMILY, VERSION, 0, 0])
        .put_str(CTRL_ATTR_FAMILY_NAME, family.name)
        .put_u16(CTRL_ATTR_FAMILY_ID, family.id)
        .put_u32(CTRL_ATTR_VERSION, family.version.into())
        .put_u32(CTRL_ATTR_HDRSIZE, 0)
        .put_u32(CTRL_ATTR_MAXATTR, family.max_attr)
        .nest(CTRL_ATTR_OPS, |ops| {
            for (index, (command, flags)) in (1..).zip(family.ops) {
                ops.nest(index, |op| {
                    op.put_u32(CTRL_ATTR_OP_ID, (*command).into()).put_u32(CTRL_ATTR_OP_FLAGS, *flags);
                });
            }
        });
    if let Some((id, name)) = family.group {
        out.nest(CTRL_ATTR_MCAST_GROUPS, |groups| {
            groups.nest(1, |group| {
                group.put_u32(CTRL_ATTR_MCAST_GRP_ID, id).put_str(CTRL_ATTR_MCAST_GRP_NAME, name);
            });
        });
    }
}

/// The controller describes its own policies: which operation uses which table, and each attribute of the two tables.
fn dump_policy(_: &Request<'_>, out: &mut DumpOut, _: &mut ExtAck) -> Result<Step, Errno> {
    /// Table, attribute, `NL_ATTR_TYPE_*`, and its limits.
    const ATTRS: [(u16, u16, u32, Limit); 5] = [
        (0, CTRL_ATTR_FAMILY_ID, NL_ATTR_TYPE_U16, Limit::Value(u16::MAX as u64)),
        (0, CTRL_ATTR_FAMILY_NAME, NL_ATTR_TYPE_NUL_STRING, Limit::Length(15)),
        (1, CTRL_ATTR_FAMILY_ID, NL_ATTR_TYPE_U16, Limit::Value(u16::MAX as u64)),
        (1, CTRL_ATTR_FAMILY_NAME, NL_ATTR_TYPE_NUL_STRING, Limit::Length(15)),
        (1, CTRL_ATTR_OP, NL_ATTR_TYPE_U32, Limit::Value(u32::MAX as u64)),
    ];
    /// Operation, its attribute in the nest (1 do, 2 dump) and the table. GETPOLICY can only dump, and such operations
    /// are listed with number 0 by Linux 6.18.
    const OPS: [(u16, &[(u16, u32)]); 2] = [(CTRL_CMD_GETFAMILY as u16, &[(1, 0), (2, 0)]), (0, &[(2, 1)])];
    while let Some(index) = usize::try_from(out.cursor.next).ok().filter(|&index| index < OPS.len() + ATTRS.len()) {
        let fill = |message: &mut Builder| {
            message.put_raw(&[CTRL_CMD_GETPOLICY, VERSION, 0, 0]).put_u16(CTRL_ATTR_FAMILY_ID, GENL_ID_CTRL);
            if let Some((op, tables)) = OPS.get(index) {
                message.nest_flagged(CTRL_ATTR_OP_POLICY, |nest| {
                    nest.nest_flagged(*op, |op| {
                        tables.iter().for_each(|&(way, table)| {
                            op.put_u32(way, table);
                        });
                    });
                });
            } else if let Some(&(table, attr, ty, limit)) = ATTRS.get(index - OPS.len()) {
                message.nest_flagged(CTRL_ATTR_POLICY, |nest| {
                    nest.nest_flagged(table, |nest| {
                        nest.nest_flagged(attr, |nest| limit.fill(nest, ty));
                    });
                });
            }
        };
        match out.entry(GENL_ID_CTRL, fill) {
            Ok(()) => out.cursor.next += 1,
            Err(Full) => return Ok(Step::More),
        }
    }
    Ok(Step::Done)
}

#[derive(Clone, Copy)]
enum Limit {
    Value(u64),
    Length(u32),
}

impl Limit {
    fn fill(self, nest: &mut Builder, ty: u32) {
        match self {
            Self::Value(max) => {
                nest.put_u64(NL_POLICY_TYPE_ATTR_MIN_VALUE_U, 0).put_u64(NL_POLICY_TYPE_ATTR_MAX_VALUE_U, max)
            }
            Self::Length(max) => nest.put_u32(NL_POLICY_TYPE_ATTR_MAX_LENGTH, max),
        };
        nest.put_u32(NL_POLICY_TYPE_ATTR_TYPE, ty);
    }
}
