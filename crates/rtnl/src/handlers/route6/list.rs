//! Listings of IPv6 routes (`inet6_dump_fib`).

use pernet_stack::{Listing, Prefix6, RouteCursor6, RouteFilter6};
use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck, Kind, Policy, Strictness, parse};

use super::super::{DumpOut, Request, Step};
use super::fill;
use super::request::Header;
use crate::handlers::refuse;
use crate::handlers::rta::*;

/// Routes taken out of the stack at a time.
const PAGE: usize = 128;

/// Of listings the policy is that of IPv4.
const POLICY: Policy = {
    const ANY: Option<Kind> = Some(Kind::Any);
    const U32: Option<Kind> = Some(Kind::U32);
    Policy(&[
        None,
        ANY,
        ANY,
        U32,
        U32,
        ANY,
        U32,
        ANY,
        ANY,
        Some(Kind::MinLen { min: 8 }),
        ANY,
        U32,
        ANY,
        ANY,
        ANY,
        U32,
        U32,
        ANY,
        ANY,
        ANY,
        ANY,
        ANY,
        ANY,
        ANY,
        ANY,
        ANY,
        ANY,
        ANY,
        ANY,
        ANY,
        ANY,
    ])
};

mod text {
    pub(super) const HEADER: &str = "Invalid header for FIB dump request";
    pub(super) const VALUES: &str = "Invalid values in header for FIB dump request";
    pub(super) const FLAGS: &str = "Invalid flags for FIB dump request";
    pub(super) const UNSUPPORTED: &str = "Unsupported attribute in dump request";
    pub(super) const NO_TABLE: &str = "ipv6: FIB table does not exist";
}

/// What a listing was asked to show; `None` for what is never there.
struct Asked {
    filter: RouteFilter6,
    /// Entries and the end say that the listing was read strictly, or restricted.
    entries_flagged: bool,
    /// Nothing that is asked for is in any table.
    nothing: bool,
}

fn asked(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Asked, Errno> {
    let mut asked = Asked { filter: RouteFilter6::default(), entries_flagged: false, nothing: false };
    if request.strictness() == Strictness::Legacy {
        // Of an old request nothing is looked at.
        asked.filter.listing = Listing::Both;
        return Ok(asked);
    }
    asked.entries_flagged = true;
    let Some(header) = Header::read(request.msg.payload()) else { return refuse(ext, text::HEADER) };
    if header.dst_len != 0 || header.src_len != 0 || header.tos != 0 || header.scope != 0 {
        return refuse(ext, text::VALUES);
    }
    if header.flags & !(RTM_F_CLONED | RTM_F_PREFIX) != 0 {
        return refuse(ext, text::FLAGS);
    }
    let mut table: u32 = header.table.into();
    let filter = &mut asked.filter;
    filter.proto = Some(header.proto).filter(|proto| *proto != 0);
    filter.kind = Some(header.kind).filter(|kind| *kind != 0);
    for attr in parse(&request.msg, RTMSG_LEN, &POLICY, Strictness::Strict, ext)?.iter() {
        let value = attr.u32().unwrap_or(0);
        match attr.ty {
            RTA_TABLE => table = value,
            RTA_OIF => {
                let links = request.stack().links(request.net);
                if links.and_then(|links| links.by_index(value)).is_none() {
                    return Err(Errno::ENODEV);
                }
                filter.oif = Some(value);
            }
            _ => return refuse(ext, text::UNSUPPORTED),
        }
    }
    filter.table = Some(table).filter(|table| *table != 0);
    // Routes from an advertisement alone: there are none.
    asked.nothing = header.flags & RTM_F_PREFIX != 0;
    if header.flags & RTM_F_CLONED != 0 {
        filter.listing = Listing::Exceptions;
        out.filtered();
    }
    if filter.proto.is_some() || filter.kind.is_some() || filter.oif.is_some() || table != 0 || asked.nothing {
        out.filtered();
    }
    if table != 0 && !request.stack().has_table6(request.net, table) {
        if request.msg.payload().first() != Some(&super::INET6) {
            // In a listing of all families another one may have it.
            asked.nothing = true;
            return Ok(asked);
        }
        ext.set_msg(text::NO_TABLE);
        return Err(Errno::ENOENT);
    }
    Ok(asked)
}

pub(super) fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let asked = asked(request, out, ext)?;
    if asked.nothing {
        return Ok(Step::Done);
    }
    loop {
        let start = resume(out);
        let page = request.stack().routes6(request.net, start, &asked.filter, PAGE);
        out.observe(page.generation);
        for (route, next) in &page.entries {
            let entry = out.entry(RTM_NEWROUTE, |m| {
                if asked.entries_flagged {
                    m.add_flags(NLM_F_DUMP_FILTERED);
                }
                fill::route(m, route);
            });
            if entry.is_err() {
                return Ok(Step::More);
            }
            remember(out, *next);
        }
        if !page.more {
            return Ok(Step::Done);
        }
    }
}

/// The cursor's words hold: whether there is one, table, how many were shown; two prefixes.
fn remember(out: &mut DumpOut, at: RouteCursor6) {
    let (dst, src) = (at.dst.to_bytes(), at.src.to_bytes());
    out.cursor.next = 1 << 63 | u64::from(at.table);
    out.cursor.aux = at.shown.into();
    let mut bytes = [0; 40];
    bytes[..17].copy_from_slice(&dst);
    bytes[17..34].copy_from_slice(&src);
    for (word, chunk) in out.cursor.key.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.first_chunk().copied().map_or(0, u64::from_ne_bytes);
    }
}

fn resume(out: &DumpOut) -> Option<RouteCursor6> {
    if out.cursor.next >> 63 == 0 {
        return None;
    }
    let mut bytes = [0; 40];
    for (word, chunk) in out.cursor.key.iter().zip(bytes.chunks_exact_mut(8)) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    let prefix = |from: usize| bytes[from..].first_chunk::<17>().map(Prefix6::from_bytes);
    Some(RouteCursor6 {
        table: (out.cursor.next & u64::from(u32::MAX)) as u32,
        dst: prefix(0)?,
        src: prefix(17)?,
        shown: u32::try_from(out.cursor.aux).unwrap_or(u32::MAX),
    })
}
