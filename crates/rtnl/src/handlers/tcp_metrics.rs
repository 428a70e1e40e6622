//! The "tcp_metrics" family of generic netlink (`ip tcp_metrics`): what TCP remembers of other hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pernet::Cap;
use pernet_stack::TcpMetrics;
use pernet_wire::uapi::*;
use pernet_wire::{AttrTable, Builder, Errno, ExtAck, Kind, Policy, Strictness, parse};

use super::{DumpOut, Request, Step};
use crate::dispatch::{Outcome, dumping};

/// `struct genlmsghdr`.
const BODY_LEN: usize = 4;

const GET: u8 = 1;
const DEL: u8 = 2;
/// The commands and what they can do, as the controller lists them.
pub(super) const OPS: &[(u8, u32)] = &[(GET, 0xe), (DEL, 0xb)];
/// The largest attribute.
pub(super) const MAX_ATTR: u32 = 13;
const VERSION: u8 = 1;

const ADDR_IPV4: u16 = 1;
const ADDR_IPV6: u16 = 2;
const AGE: u16 = 3;
const VALUES: u16 = 6;
const SOURCE_IPV4: u16 = 11;
const SOURCE_IPV6: u16 = 12;

/// Inside of the values, each metric's number and one more. The older two are in milliseconds.
mod value {
    pub(super) const RTT: u16 = 1;
    pub(super) const RTT_VAR: u16 = 2;
    pub(super) const RTT_US: u16 = 6;
    pub(super) const RTT_VAR_US: u16 = 7;
}

const ADDRESS6: Option<Kind> = Some(Kind::Binary { min: 16, max: 16 });
/// `tcp_metrics_nl_policy`: the addresses, and of the host's own end.
const POLICY: Policy = Policy(&[
    None,
    Some(Kind::U32),
    ADDRESS6,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    Some(Kind::U32),
    ADDRESS6,
    None,
]);

/// A message to this family.
pub(super) fn receive(request: &Request<'_>, ext: &mut ExtAck) -> Outcome {
    let payload = request.msg.payload();
    let (Some(&command), true) = (payload.first(), payload.len() >= BODY_LEN) else {
        return Err(Errno::EINVAL).into();
    };
    match (command, request.msg.header.flags & NLM_F_DUMP != 0) {
        (GET, true) => dumping(request, dump),
        (GET, false) => get(request, ext).into(),
        (DEL, false) if !request.permitted(Cap::NetAdmin) => Err(Errno::EPERM).into(),
        (DEL, false) => delete(request, ext).into(),
        _ => Err(Errno::EOPNOTSUPP).into(),
    }
}

fn dump(request: &Request<'_>, out: &mut DumpOut, _: &mut ExtAck) -> Result<Step, Errno> {
    for metrics in request.stack().tcp_metrics(request.net) {
        if metrics.id < out.cursor.next {
            continue;
        }
        if out.entry(request.msg.header.ty, |m| fill(m, &metrics)).is_err() {
            return Ok(Step::More);
        }
        out.cursor.next = metrics.id + 1;
    }
    Ok(Step::Done)
}

/// Who is asked for: the other host, and which address of ours.
struct Asked {
    destination: Option<IpAddr>,
    source: Option<IpAddr>,
}

impl Asked {
    fn read(request: &Request<'_>, ext: &mut ExtAck) -> Result<Self, Errno> {
        let attrs = parse(&request.msg, BODY_LEN, &POLICY, Strictness::Legacy, ext)?;
        Ok(Self {
            destination: address(&attrs, ADDR_IPV4, ADDR_IPV6),
            source: address(&attrs, SOURCE_IPV4, SOURCE_IPV6),
        })
    }

    fn is(&self, destination: IpAddr, source: IpAddr) -> bool {
        self.destination == Some(destination) && self.source.is_none_or(|wanted| wanted == source)
    }
}

/// The address in one of two attributes; the older family's counts.
fn address(attrs: &AttrTable<'_>, v4: u16, v6: u16) -> Option<IpAddr> {
    let of4 = attrs.get(v4).and_then(|attr| attr.payload.first_chunk::<4>()).map(|raw| Ipv4Addr::from(*raw).into());
    of4.or_else(|| {
        attrs.get(v6).and_then(|attr| attr.payload.first_chunk::<16>()).map(|raw| Ipv6Addr::from(*raw).into())
    })
}

fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let asked = Asked::read(request, ext)?;
    if asked.destination.is_none() {
        return Err(Errno::EAFNOSUPPORT);
    }
    let known = request.stack().tcp_metrics(request.net);
    let found = known.iter().find(|metrics| asked.is(metrics.destination, metrics.source)).ok_or(Errno::ESRCH)?;
    let mut message = Builder::message(&request.reply_header(request.msg.header.ty, 0));
    fill(&mut message, found);
    request.reply(message.finish())
}

/// Without a host: all of them, whatever address of ours is named.
fn delete(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let asked = Asked::read(request, ext)?;
    let all = asked.destination.is_none();
    let gone = request.stack().forget_tcp_metrics(request.net, |to, from| all || asked.is(to, from));
    if all || gone > 0 { Ok(()) } else { Err(Errno::ESRCH) }
}

fn fill(m: &mut Builder, metrics: &TcpMetrics) {
    m.put_raw(&[GET, VERSION, 0, 0]);
    put_address(m, metrics.destination, ADDR_IPV4, ADDR_IPV6);
    put_address(m, metrics.source, SOURCE_IPV4, SOURCE_IPV6);
    m.put_u64(AGE, u64::try_from(metrics.age.as_millis()).unwrap_or(u64::MAX));
    m.nest(VALUES, |m| {
        // They are kept with three and two more bits, and what is not known is not told.
        put_time(m, value::RTT_US, value::RTT, metrics.rtt.saturating_mul(8));
        put_time(m, value::RTT_VAR_US, value::RTT_VAR, metrics.rtt_var.saturating_mul(4));
    });
}

fn put_address(m: &mut Builder, address: IpAddr, v4: u16, v6: u16) {
    match address {
        IpAddr::V4(address) => m.put(v4, &address.octets()),
        IpAddr::V6(address) => m.put(v6, &address.octets()),
    };
}

/// A time in microseconds, and for older programs in milliseconds.
fn put_time(m: &mut Builder, micros: u16, millis: u16, time: u32) {
    if time != 0 {
        m.put_u32(micros, time).put_u32(millis, (time / 1000).max(1));
    }
}
