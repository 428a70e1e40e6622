//! NETLINK_SOCK_DIAG (`ss`). Checks and errnos are those of Linux 6.18 with inet, unix, netlink and packet diagnostics and no
//! others: raw sockets are had from `/proc/net/raw`.

mod filter;
mod inet;
mod netlink;
mod packet;
mod unix;

use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck};

use super::{DumpOut, Request, Step};
use crate::dispatch::{Outcome, dumping};

/// `struct inet_diag_req_v2`.
const INET_REQ: usize = 56;
/// `struct inet_diag_req`, of the types before SOCK_DIAG_BY_FAMILY.
const INET_REQ_OLD: usize = 60;
/// `struct unix_diag_req`.
const UNIX_REQ: usize = 24;
/// `struct netlink_diag_req` and `struct packet_diag_req`.
const PLAIN_REQ: usize = 20;

const INET_DIAG_REQ_BYTECODE: u16 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_UDPLITE: u8 = 136;
const NDIAG_PROTO_ALL: u8 = 255;
/// Netlink protocols are below this.
const MAX_LINKS: u8 = 32;

/// `sock_diag_rcv_msg`.
pub(crate) fn receive(request: &Request<'_>) -> Outcome {
    let payload = request.msg.payload();
    let dump = request.msg.header.flags & NLM_F_DUMP != 0;
    match request.msg.header.ty {
        SOCK_DIAG_BY_FAMILY => by_family(request, payload, dump),
        SOCK_DESTROY => destroy(request, payload).into(),
        TCPDIAG_GETSOCK if payload.len() < INET_REQ_OLD => Err(Errno::EINVAL).into(),
        TCPDIAG_GETSOCK if dump => dumping(request, none),
        TCPDIAG_GETSOCK => Err(Errno::ENOENT).into(),
        _ => Err(Errno::EINVAL).into(),
    }
}

fn by_family(request: &Request<'_>, payload: &[u8], dump: bool) -> Outcome {
    let &[family, protocol, ..] = payload else {
        return Err(Errno::EINVAL).into();
    };
    let long = |len: usize| payload.len() >= len;
    match i32::from(family) {
        AF_INET | AF_INET6 if !long(INET_REQ) || has_bad_bytecode(request) => Err(Errno::EINVAL).into(),
        AF_INET | AF_INET6 if is_inet(protocol) && !dump => inet::one(request),
        AF_INET | AF_INET6 if is_inet(protocol) && !inet::has_sound_filter(request) => Err(Errno::EINVAL).into(),
        AF_INET | AF_INET6 if is_inet(protocol) => dumping(request, inet::dump),
        AF_INET | AF_INET6 if !dump => Err(Errno::ENOENT).into(),
        AF_INET | AF_INET6 => dumping(request, unknown_protocol),
        AF_UNIX if !long(UNIX_REQ) => Err(Errno::EINVAL).into(),
        AF_UNIX if dump => dumping(request, unix::dump),
        AF_UNIX => unix::one(request),
        AF_NETLINK | AF_PACKET if !long(PLAIN_REQ) => Err(Errno::EINVAL).into(),
        AF_PACKET if protocol != 0 => Err(Errno::EINVAL).into(),
        AF_NETLINK | AF_PACKET if !dump => Err(Errno::EOPNOTSUPP).into(),
        AF_NETLINK if protocol >= MAX_LINKS && protocol != NDIAG_PROTO_ALL => dumping(request, unknown_protocol),
        AF_NETLINK => dumping(request, netlink::dump),
        AF_PACKET => dumping(request, packet::dump),
        AF_MAX.. => Err(Errno::EINVAL).into(),
        // Families without a diagnostics module.
        _ => Err(Errno::ENOENT).into(),
    }
}

fn destroy(request: &Request<'_>, payload: &[u8]) -> Result<(), Errno> {
    let &[family, protocol, ..] = payload else {
        return Err(Errno::EINVAL);
    };
    match i32::from(family) {
        AF_INET | AF_INET6 if payload.len() < INET_REQ => Err(Errno::EINVAL),
        AF_INET | AF_INET6 if is_inet(protocol) => inet::destroy(request),
        AF_UNIX | AF_NETLINK | AF_PACKET => Err(Errno::EOPNOTSUPP),
        AF_MAX.. => Err(Errno::EINVAL),
        _ => Err(Errno::ENOENT),
    }
}

/// Of these the sockets are known.
const fn is_inet(protocol: u8) -> bool {
    matches!(protocol, IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE)
}

/// What `SO_MEMINFO` says: memory that was received, room for it, memory that is sent, room for that, what is reserved and not
/// used yet, what is queued; the other two are of options and of a backlog, and then packets that were dropped.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// A filter must hold at least one four-byte operation.
fn has_bad_bytecode(request: &Request<'_>) -> bool {
    request.msg.attrs(INET_REQ).any(|attr| attr.ty == INET_DIAG_REQ_BYTECODE && attr.payload.len() < 4)
}

fn none(_: &Request<'_>, _: &mut DumpOut, _: &mut ExtAck) -> Result<Step, Errno> {
    Ok(Step::Done)
}

fn unknown_protocol(_: &Request<'_>, _: &mut DumpOut, _: &mut ExtAck) -> Result<Step, Errno> {
    Err(Errno::ENOENT)
}
