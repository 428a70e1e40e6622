//! The "tcp_metrics" family of generic netlink (`ip tcp_metrics`): what TCP remembers of other hosts. No connection has
//! been made yet in any namespace, so it remembers nothing of anybody.

use pernet::Cap;
use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck, Kind, Policy, Strictness, parse};

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

const ADDR_IPV4: u16 = 1;
const ADDR_IPV6: u16 = 2;

const ADDRESS6: Option<Kind> = Some(Kind::MinLen { min: 16 });
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
        (GET, true) => dumping(request, |_: &Request<'_>, _: &mut DumpOut, _: &mut ExtAck| Ok(Step::Done)),
        (GET, false) => one(request, ext, Err(Errno::EAFNOSUPPORT)).into(),
        (DEL, false) if !request.permitted(Cap::NetAdmin) => Err(Errno::EPERM).into(),
        // Without an address: all of them.
        (DEL, false) => one(request, ext, Ok(())).into(),
        _ => Err(Errno::EOPNOTSUPP).into(),
    }
}

/// What is said about one host, and what about none.
fn one(request: &Request<'_>, ext: &mut ExtAck, of_none: Result<(), Errno>) -> Result<(), Errno> {
    let attrs = parse(&request.msg, BODY_LEN, &POLICY, Strictness::Legacy, ext)?;
    let named = [ADDR_IPV4, ADDR_IPV6].into_iter().any(|ty| attrs.get(ty).is_some());
    if named { Err(Errno::ESRCH) } else { of_none }
}
