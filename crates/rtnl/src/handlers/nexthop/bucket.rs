//! Buckets of resilient groups: RTM_GETNEXTHOPBUCKET.

use pernet_stack::{NexthopFilter, NexthopKind};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck};

use super::parse::{BUCKET_DUMP, BUCKET_GET, RES_BUCKET_DUMP, RES_BUCKET_GET, id_of, index, read};
use super::{HEADER_LEN, fill};
use crate::handlers::refuse;
use crate::handlers::{DumpOut, Request, Step};

const NOT_RESILIENT: &str = "Nexthop group not of type resilient";

/// The resilient group with that id, and who made it.
fn resilient(request: &Request<'_>, id: u32, ext: &mut ExtAck) -> Result<u8, Errno> {
    let view = request.stack().nexthop(request.net, id).ok_or(Errno::ENOENT)?;
    match &view.nexthop.kind {
        NexthopKind::Group(group) if group.resilient.is_some() => Ok(view.nexthop.protocol),
        NexthopKind::Group(_) => refuse(ext, NOT_RESILIENT),
        _ => refuse(ext, "Not a nexthop group"),
    }
}

/// `rtm_get_nexthop_bucket`.
pub(super) fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let Some(header) = request.msg.payload().first_chunk::<HEADER_LEN>() else {
        return refuse(ext, "Invalid header length");
    };
    let attrs = read(request.msg.attrs(HEADER_LEN), BUCKET_GET, ext)?;
    let id = id_of(header, &attrs, ext)?;
    let Some(bucket) = attrs.get(NHA_RES_BUCKET) else {
        return refuse(ext, "Bucket information is missing");
    };
    let inner = read(bucket.nested(), RES_BUCKET_GET, ext)?;
    let Some(number) = inner.get(1).and_then(|attr| attr.u16()) else {
        return refuse(ext, "Bucket index is missing");
    };
    let protocol = resilient(request, id, ext)?;
    let buckets = request.stack().nexthop_buckets(request.net, id).unwrap_or_default();
    let Some(bucket) = buckets.get(usize::from(number)) else {
        ext.set_msg("Bucket index out of bounds");
        return Err(Errno::ENOENT);
    };
    let mut out = Builder::message(&request.reply_header(RTM_NEWNEXTHOPBUCKET, 0));
    fill::bucket(&mut out, bucket, protocol);
    request.reply(out.finish())
}

/// What a listing is restricted to.
#[derive(Clone, Copy)]
struct Filter {
    group: Option<u32>,
    nexthop: Option<u32>,
    hops: NexthopFilter,
}

fn filter(request: &Request<'_>, ext: &mut ExtAck) -> Result<Filter, Errno> {
    if request.msg.payload().len() < HEADER_LEN {
        return Err(Errno::EINVAL);
    }
    let attrs = read(request.msg.attrs(HEADER_LEN), BUCKET_DUMP, ext);
    // What is not asked for is refused without a word.
    let attrs = attrs.inspect_err(|_| {
        if ext.msg.as_deref() == Some("Unsupported attribute") {
            *ext = ExtAck::default();
        }
    })?;
    let mut out = Filter { group: None, nexthop: None, hops: NexthopFilter::default() };
    let id = |value: Option<u32>, ext: &mut ExtAck| match value {
        Some(0) => refuse(ext, "Invalid nexthop id"),
        value => Ok(value),
    };
    out.group = id(attrs.u32(NHA_ID), ext)?;
    out.hops.oif = index(&attrs, NHA_OIF, "Invalid device index", ext)?;
    out.hops.master = index(&attrs, NHA_MASTER, "Invalid master device index", ext)?;
    if let Some(bucket) = attrs.get(NHA_RES_BUCKET) {
        let inner = read(bucket.nested(), RES_BUCKET_DUMP, ext)?;
        out.nexthop = id(inner.u32(3), ext)?;
    }
    Ok(out)
}

/// `rtm_dump_nexthop_bucket`. The cursor holds the group and, in its second word, the bucket.
pub(super) fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let filter = filter(request, ext)?;
    if let Some(group) = filter.group {
        let protocol = resilient(request, group, ext)?;
        return Ok(buckets(request, out, group, protocol, &filter));
    }
    let groups = NexthopFilter { groups: true, ..NexthopFilter::default() };
    loop {
        // Behind the greatest id there is none.
        let Ok(start) = u32::try_from(out.cursor.next) else { return Ok(Step::Done) };
        let page = request.stack().nexthops(request.net, start, 1, &groups);
        let Some(view) = page.nexthops.first() else { return Ok(Step::Done) };
        let id = view.nexthop.id;
        if u64::from(id) != out.cursor.next {
            (out.cursor.next, out.cursor.aux) = (id.into(), 0);
        }
        if buckets(request, out, id, view.nexthop.protocol, &filter) == Step::More {
            return Ok(Step::More);
        }
        (out.cursor.next, out.cursor.aux) = (u64::from(id) + 1, 0);
    }
}

fn buckets(request: &Request<'_>, out: &mut DumpOut, group: u32, protocol: u8, filter: &Filter) -> Step {
    let all = request.stack().nexthop_buckets(request.net, group).unwrap_or_default();
    let done = usize::try_from(out.cursor.aux).unwrap_or(usize::MAX);
    for bucket in all.iter().skip(done) {
        if admits(request, filter, bucket.nexthop)
            && out.entry(RTM_NEWNEXTHOPBUCKET, |m| fill::bucket(m, bucket, protocol)).is_err()
        {
            return Step::More;
        }
        out.cursor.aux += 1;
    }
    Step::Done
}

fn admits(request: &Request<'_>, filter: &Filter, nexthop: u32) -> bool {
    if filter.nexthop.is_some_and(|only| only != nexthop) {
        return false;
    }
    if filter.hops.oif.is_none() && filter.hops.master.is_none() {
        return true;
    }
    let page = request.stack().nexthops(request.net, nexthop, 1, &filter.hops);
    page.nexthops.first().is_some_and(|view| view.nexthop.id == nexthop)
}
