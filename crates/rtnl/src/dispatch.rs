//! From bytes to handlers: the kernel's checks in the kernel's order, and the acks.

use std::sync::Arc;

use pernet::{Cap, NetRef};
use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck, Messages, Msg, error_reply};

use crate::dump;
use crate::endpoint::{Endpoint, flag};
use crate::handlers::{self, Request, diag, generic};
use crate::peer::Client;
use crate::protocols::Protocol;
use crate::socket::Shared;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered by an ack if one was asked for, or by the error.
    Result(Result<(), Errno>),
    /// A dump answers; no ack.
    Dumping,
}

impl From<Result<(), Errno>> for Outcome {
    fn from(result: Result<(), Errno>) -> Self {
        Self::Result(result)
    }
}

/// Starts a dump as an outcome.
pub(crate) fn dumping(request: &Request<'_>, handler: handlers::Dumpit) -> Outcome {
    dump::start(request, handler).map_or_else(|errno| Outcome::Result(Err(errno)), |()| Outcome::Dumping)
}

/// Processes a datagram sent to the kernel (`netlink_rcv_skb`): each message in order, an error does not stop the next.
pub(crate) fn receive(
    datagram: &[u8],
    ep: &Arc<Endpoint>,
    net: &NetRef,
    shared: &Arc<Shared>,
    client: &dyn Client,
    explicit_dest: bool,
) {
    for msg in Messages::new(datagram) {
        let mut ext = ExtAck::default();
        let request = Request { msg, net, ep, shared, client, explicit_dest };
        let Outcome::Result(result) = process(&request, &mut ext) else {
            continue;
        };
        if result.is_err() || msg.header.flags & NLM_F_ACK != 0 {
            let (tlvs, cap) = (ep.has(flag::EXT_ACK), ep.has(flag::CAP_ACK));
            // An ack that finds the queue full is lost, and the socket is told ENOBUFS: nothing is left to do here.
            let _ = request.reply(error_reply(&msg, ep.portid(), result, &ext, tlvs, cap));
        }
    }
}

fn process(request: &Request<'_>, ext: &mut ExtAck) -> Outcome {
    let header = &request.msg.header;
    if header.flags & NLM_F_REQUEST == 0 || header.ty < NLMSG_MIN_TYPE {
        return Outcome::Result(Ok(()));
    }
    match request.ep.protocol {
        Protocol::Route => route(request, ext),
        Protocol::SockDiag => diag::receive(request),
        Protocol::Generic => generic::receive(request, ext),
        // The device core reads and forgets; nobody serves USERSOCK (send refuses it before).
        Protocol::KobjectUevent | Protocol::Usersock => Outcome::Result(Ok(())),
    }
}

/// `rtnetlink_rcv_msg`.
fn route(request: &Request<'_>, ext: &mut ExtAck) -> Outcome {
    let Msg { header, .. } = request.msg;
    if header.ty > RTM_MAX {
        return Err(Errno::EOPNOTSUPP).into();
    }
    // Too short for a family byte: success without effect, for anyone.
    let Some(&family) = request.msg.payload().first() else {
        return Ok(()).into();
    };
    let kind = (header.ty - RTM_BASE) % 4;
    const DEL: u16 = 1;
    const GET: u16 = 2;
    if kind != GET && !request.permitted(Cap::NetAdmin) {
        return Err(Errno::EPERM).into();
    }
    if kind == GET && header.flags & NLM_F_DUMP != 0 {
        return match handlers::find(family, header.ty, |row| row.dumpit) {
            Some(handler) => dumping(request, handler),
            None => Err(Errno::EOPNOTSUPP).into(),
        };
    }
    let Some(handler) = handlers::find(family, header.ty, |row| row.doit) else {
        return Err(Errno::EOPNOTSUPP).into();
    };
    if kind == DEL && header.flags & NLM_F_BULK != 0 {
        ext.set_msg("Bulk delete is not supported");
        return Err(Errno::EOPNOTSUPP).into();
    }
    handler(request, ext).into()
}
