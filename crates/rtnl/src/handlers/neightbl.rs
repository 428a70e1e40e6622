//! The neighbour tables and their settings: RTM_GETNEIGHTBL, RTM_SETNEIGHTBL (`ip ntable`).

use pernet_stack::{GC_INTERVAL_MS, GC_THRESHOLDS, NeighFamily, NeighParm, NeighParms, ParmValue};
use pernet_wire::uapi::*;
use pernet_wire::{Attr, Builder, Errno, ExtAck, Kind, Policy, Strictness, parse, parse_nested};

use super::{DumpOut, Handler, Request, Step};

pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: 0, ty: RTM_GETNEIGHTBL, doit: None, dumpit: Some(dump) },
    Handler { family: 0, ty: RTM_SETNEIGHTBL, doit: Some(set), dumpit: None },
];

/// Bytes of `struct ndtmsg`: family, three of padding.
const HEADER: usize = 4;

const ANY: Option<Kind> = Some(Kind::Any);
const U32: Option<Kind> = Some(Kind::U32);
const U64: Option<Kind> = Some(Kind::U64);

const TABLE: Policy = Policy(&[
    None,
    Some(Kind::String { max: 0 }), // 1 NAME
    U32,                           // 2 THRESH1
    U32,                           // 3 THRESH2
    U32,                           // 4 THRESH3
    ANY,                           // 5 CONFIG
    Some(Kind::Nested),            // 6 PARMS
    ANY,                           // 7 STATS
    U64,                           // 8 GC_INTERVAL
]);

const PARMS: Policy =
    Policy(&[None, U32, ANY, ANY, U64, U64, U64, U64, U32, U32, U32, U32, U64, U64, U32, U64, U32, U32, ANY, U64]);

/// What a table of a family is called, bytes of its keys and of its entries.
const fn known(family: NeighFamily) -> (&'static str, u16, u16) {
    match family {
        NeighFamily::V4 => ("arp_cache", 4, 336),
        NeighFamily::V6 => ("ndisc_cache", 16, 344),
    }
}

const FAMILIES: [(NeighFamily, i32); 2] = [(NeighFamily::V4, AF_INET), (NeighFamily::V6, AF_INET6)];

/// RTM_SETNEIGHTBL (`neightbl_set`). What holds for a table as a whole belongs to the initial namespace of a machine.
fn set(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let payload = request.msg.payload();
    if payload.len() < HEADER {
        ext.set_msg("Invalid header length");
        return Err(Errno::EINVAL);
    }
    let asked = i32::from(payload[0]);
    let attrs = parse(&request.msg, HEADER, &TABLE, Strictness::Legacy, ext)?;
    let name = attrs.get(NDTA_NAME).ok_or(Errno::EINVAL)?;
    let named = |(family, number): &(NeighFamily, i32)| {
        (asked == AF_UNSPEC || asked == *number) && known(*family).0.as_bytes() == name.str_bytes()
    };
    let (family, _) = FAMILIES.into_iter().find(named).ok_or(Errno::ENOENT)?;
    let parms = attrs.get(NDTA_PARMS);
    let parms = parms.map(|nest| parse_nested(nest.nested(), &PARMS, Strictness::Legacy, ext)).transpose()?;
    let whole = [NDTA_THRESH1, NDTA_THRESH2, NDTA_THRESH3, NDTA_GC_INTERVAL];
    let missing = whole.iter().any(|ty| attrs.get(*ty).is_some());
    if let Some(parms) = parms {
        let ifindex = parms.get(NDTPA_IFINDEX).and_then(|a| a.u32()).unwrap_or(0);
        let values: Vec<ParmValue> = parms.iter().filter_map(|a| value(&a)).collect();
        // Before anything is touched: the device must be there, and the rest of the request must not fail.
        let values = if missing { &[][..] } else { &values[..] };
        let mut rtnl = request.stack().rtnl(request.origin());
        let done = rtnl.set_neigh_parms(request.net, family, ifindex, values);
        done.map_err(|e| Errno::new(e.errno()).unwrap_or(Errno::ENOENT))?;
    }
    if missing { Err(Errno::ENOENT) } else { Ok(()) }
}

fn value(attr: &Attr<'_>) -> Option<ParmValue> {
    let count = |parm| attr.u32().map(|value| ParmValue::Count(parm, value));
    let time = |parm| attr.u64().map(|ms| ParmValue::Time(parm, ms));
    match attr.ty {
        NDTPA_QUEUE_LEN => attr.u32().map(ParmValue::QueuePackets),
        NDTPA_QUEUE_LENBYTES => count(NeighParm::QueueLenBytes),
        NDTPA_PROXY_QLEN => count(NeighParm::ProxyQlen),
        NDTPA_APP_PROBES => count(NeighParm::AppProbes),
        NDTPA_UCAST_PROBES => count(NeighParm::UcastProbes),
        NDTPA_MCAST_PROBES => count(NeighParm::McastProbes),
        NDTPA_MCAST_REPROBES => count(NeighParm::McastReprobes),
        NDTPA_BASE_REACHABLE_TIME => time(NeighParm::BaseReachableTime),
        NDTPA_GC_STALETIME => time(NeighParm::GcStaleTime),
        NDTPA_DELAY_PROBE_TIME => time(NeighParm::DelayProbeTime),
        NDTPA_INTERVAL_PROBE_TIME_MS => time(NeighParm::IntervalProbeTime),
        NDTPA_RETRANS_TIME => time(NeighParm::RetransTime),
        NDTPA_ANYCAST_DELAY => time(NeighParm::AnycastDelay),
        NDTPA_PROXY_DELAY => time(NeighParm::ProxyDelay),
        NDTPA_LOCKTIME => time(NeighParm::Locktime),
        _ => None,
    }
}

/// RTM_GETNEIGHTBL (`neightbl_dump_info`): each table, then its settings on each device.
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    if request.strictness() == Strictness::Strict {
        let payload = request.msg.payload();
        let complaint = match payload.get(..HEADER) {
            None => Some("Invalid header for neighbor table dump request"),
            Some(header) if header[1..] != [0; 3] => Some("Invalid values in header for neighbor table dump request"),
            Some(_) if payload.len() > HEADER => Some("Invalid data after header in neighbor table dump request"),
            Some(_) => None,
        };
        if let Some(text) = complaint {
            ext.set_msg(text);
            return Err(Errno::EINVAL);
        }
    }
    let asked = request.msg.payload().first().copied().map(i32::from);
    for (place, (family, number)) in (0..).zip(FAMILIES) {
        if place < out.cursor.aux || (asked != Some(AF_UNSPEC) && asked != Some(number)) {
            continue;
        }
        if out.cursor.aux != place {
            (out.cursor.aux, out.cursor.next) = (place, 0);
        }
        if table(request, out, family) == Step::More {
            return Ok(Step::More);
        }
    }
    Ok(Step::Done)
}

/// In the cursor: nothing yet, then the devices downwards.
const WHOLE: u64 = 0;

fn table(request: &Request<'_>, out: &mut DumpOut, family: NeighFamily) -> Step {
    if out.cursor.next == WHOLE {
        if out.entry(RTM_NEWNEIGHTBL, |m| fill_table(m, request, family)).is_err() {
            return Step::More;
        }
        out.cursor.next = u64::MAX;
    }
    for ifindex in request.stack().neigh_devices(request.net, family) {
        if u64::from(ifindex) >= out.cursor.next {
            continue;
        }
        let fill = |m: &mut Builder| {
            header(m, family);
            fill_parms(m, request, family, ifindex);
        };
        if out.entry(RTM_NEWNEIGHTBL, fill).is_err() {
            return Step::More;
        }
        out.cursor.next = u64::from(ifindex);
    }
    Step::Done
}

fn header(out: &mut Builder, family: NeighFamily) {
    let number = if family == NeighFamily::V4 { AF_INET } else { AF_INET6 };
    out.put_raw(&[number as u8, 0, 0, 0]).put_str(NDTA_NAME, known(family).0);
}

fn fill_table(out: &mut Builder, request: &Request<'_>, family: NeighFamily) {
    let (_, key, entry) = known(family);
    let entries = request.stack().neighbours(request.net, Some(family), 0, usize::MAX).entries.len();
    header(out, family);
    out.put_u64(NDTA_GC_INTERVAL, GC_INTERVAL_MS);
    for (ty, threshold) in [NDTA_THRESH1, NDTA_THRESH2, NDTA_THRESH3].into_iter().zip(GC_THRESHOLDS) {
        out.put_u32(ty, threshold);
    }
    // struct ndt_config: what follows tells of a hash table, which there is none.
    let mut config = [0; 32];
    config[..2].copy_from_slice(&key.to_ne_bytes());
    config[2..4].copy_from_slice(&entry.to_ne_bytes());
    config[4..8].copy_from_slice(&u32::try_from(entries).unwrap_or(u32::MAX).to_ne_bytes());
    out.put(NDTA_CONFIG, &config).put(NDTA_STATS, &[0; 88]);
    fill_parms(out, request, family, 0);
}

/// The settings of a device, or with 0 those that devices start with.
fn fill_parms(out: &mut Builder, request: &Request<'_>, family: NeighFamily, ifindex: u32) {
    let stack = request.stack();
    let parms: NeighParms = stack.neigh_parms(request.net, ifindex, family);
    let reachable = stack.neigh_reachable_time(request.net, ifindex, family);
    let refs = stack.neigh_parms_refs(request.net, ifindex, family);
    let count = |parm: NeighParm| parms.get(parm).cast_unsigned();
    out.nest(NDTA_PARMS, |nest| {
        if ifindex != 0 {
            nest.put_u32(NDTPA_IFINDEX, ifindex);
        }
        nest.put_u32(NDTPA_REFCNT, refs)
            .put_u32(NDTPA_QUEUE_LENBYTES, count(NeighParm::QueueLenBytes))
            .put_u32(NDTPA_QUEUE_LEN, parms.queue_packets())
            .put_u32(NDTPA_PROXY_QLEN, count(NeighParm::ProxyQlen))
            .put_u32(NDTPA_APP_PROBES, count(NeighParm::AppProbes))
            .put_u32(NDTPA_UCAST_PROBES, count(NeighParm::UcastProbes))
            .put_u32(NDTPA_MCAST_PROBES, count(NeighParm::McastProbes))
            .put_u32(NDTPA_MCAST_REPROBES, count(NeighParm::McastReprobes))
            .put_u64(NDTPA_REACHABLE_TIME, reachable.into());
        let times = [
            (NDTPA_BASE_REACHABLE_TIME, NeighParm::BaseReachableTime),
            (NDTPA_GC_STALETIME, NeighParm::GcStaleTime),
            (NDTPA_DELAY_PROBE_TIME, NeighParm::DelayProbeTime),
            (NDTPA_RETRANS_TIME, NeighParm::RetransTime),
            (NDTPA_ANYCAST_DELAY, NeighParm::AnycastDelay),
            (NDTPA_PROXY_DELAY, NeighParm::ProxyDelay),
            (NDTPA_LOCKTIME, NeighParm::Locktime),
            (NDTPA_INTERVAL_PROBE_TIME_MS, NeighParm::IntervalProbeTime),
        ];
        for (ty, parm) in times {
            nest.put_u64(ty, count(parm).into());
        }
    });
}
