//! Dumps of what the stack does not hold yet: multicast routes, and queueing disciplines of a namespace in which nothing
//! was configured. That nothing is listed is the truth; that a request is wrong is said in the words of Linux.

use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck, Kind, Policy, Strictness, parse};

use super::{DumpOut, Handler, Request, Step};
use crate::handlers::refuse;
use crate::handlers::rta::*;

const RTM_GETQDISC: u16 = 38;
const RTNL_FAMILY_IPMR: u8 = 128;
const RTNL_FAMILY_IP6MR: u8 = 129;

const fn dump_of(family: u8, ty: u16, dumpit: super::Dumpit) -> Handler {
    Handler { family, ty, doit: None, dumpit: Some(dumpit) }
}

pub(crate) const HANDLERS: &[Handler] = &[
    dump_of(RTNL_FAMILY_IPMR, RTM_GETROUTE, multicast_routes),
    dump_of(RTNL_FAMILY_IP6MR, RTM_GETROUTE, multicast_routes),
    dump_of(0, RTM_GETQDISC, qdiscs),
];

fn u32_at(header: &[u8], at: usize) -> u32 {
    let bytes = header.get(at..at + 4).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u32::from_ne_bytes)
}

/// RTM_GETROUTE of multicast routing (`ipmr_rtm_dumproute`), which has its default table from the start.
fn multicast_routes(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    const HEADER: usize = 12;
    const TABLES: [u32; 2] = [0, 253];
    /// RTM_F_CLONED and RTM_F_PREFIX.
    const FLAGS: u32 = 0x200 | 0x800;
    const ANY: Option<Kind> = Some(Kind::Any);
    const U32: Option<Kind> = Some(Kind::U32);
    const MULTIPATH: Option<Kind> = Some(Kind::MinLen { min: 8 });
    const POLICY: Policy = Policy(&[
        None, ANY, ANY, U32, U32, ANY, U32, ANY, ANY, MULTIPATH, ANY, U32, ANY, ANY, ANY, U32, U32, ANY, ANY, ANY, ANY,
        ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY,
    ]);
    if request.strictness() == Strictness::Legacy {
        return Ok(Step::Done);
    }
    let Some(header) = request.msg.payload().get(..HEADER) else {
        return refuse(ext, "Invalid header for FIB dump request");
    };
    if header[1..4].iter().any(|&b| b != 0) || header[6] != 0 {
        return refuse(ext, "Invalid values in header for FIB dump request");
    }
    if u32_at(header, 8) & !FLAGS != 0 {
        return refuse(ext, "Invalid flags for FIB dump request");
    }
    let mut table = header[4].into();
    // Protocol and type.
    let mut filtered = header[5] != 0 || header[7] != 0;
    for attr in parse(&request.msg, HEADER, &POLICY, Strictness::Strict, ext)?.iter() {
        let value = attr.u32().unwrap_or(0);
        match attr.ty {
            RTA_TABLE => table = value,
            RTA_OIF => {
                let links = request.stack().links(request.net);
                if links.is_none_or(|links| links.by_index(value).is_none()) {
                    return Err(Errno::ENODEV);
                }
                filtered = true;
            }
            _ => return refuse(ext, "Unsupported attribute in dump request"),
        }
    }
    if filtered || table != 0 {
        out.filtered();
    }
    if TABLES.contains(&table) {
        return Ok(Step::Done);
    }
    ext.set_msg("ipv4: MR table does not exist");
    Err(Errno::ENOENT)
}

/// RTM_GETQDISC (`tc_dump_qdisc`): `noop`, which every device has until it comes up, is not listed. Always read in the
/// legacy way.
fn qdiscs(request: &Request<'_>, _: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    const HEADER: usize = 20;
    if request.msg.payload().len() < HEADER {
        return refuse(ext, "Invalid header length");
    }
    parse(&request.msg, HEADER, &Policy(&[]), Strictness::Legacy, ext)?;
    Ok(Step::Done)
}
