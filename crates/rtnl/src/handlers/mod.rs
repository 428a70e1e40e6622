//! Who answers which request.
//!
//! A message type has a *doit* (one answer, or a change) and a *dumpit* (a listing). To add a family of messages write a
//! module with a `HANDLERS` table and add it to [`ROUTE`].

pub(crate) mod addr;
pub(crate) mod addr6;
pub(crate) mod addrlabel;
pub(crate) mod dcb;
pub(crate) mod diag;
pub(crate) mod empty;
mod ethtool;
pub(crate) mod generic;
pub(crate) mod link;
pub(crate) mod metrics;
pub(crate) mod neigh;
pub(crate) mod neightbl;
pub(crate) mod netconf;
pub(crate) mod nexthop;
pub(crate) mod nsid;
pub(crate) mod route;
pub(crate) mod route4;
pub(crate) mod route6;
pub(crate) mod rta;
pub(crate) mod rule;
pub(crate) mod stats;
pub(crate) mod strict;
pub(crate) mod tcp_metrics;
pub(crate) mod tunnel;

use std::borrow::Cow;
use std::sync::Arc;

use pernet::{Cap, NetRef, Origin, UserNs};
use pernet_stack::{Notice, Stack};
use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck, Msg, MsgHeader, Strictness};

pub(crate) use crate::dump::{DumpOut, Full, Step};
use crate::endpoint::{Endpoint, flag};
use crate::notify::Notifier;
use crate::peer::Client;
use crate::queue::{Bytes, Queued};
use crate::socket::{Shared, SockAddr};

/// Answers one message. Replies go out through [`Request::reply`]; the result becomes the ack.
pub(crate) type Doit = fn(&Request<'_>, &mut ExtAck) -> Result<(), Errno>;

/// Writes the next datagram of a listing. Called again after [`Step::More`], with the cursor it left; an error travels
/// inside the closing `NLMSG_DONE`.
pub(crate) type Dumpit = fn(&Request<'_>, &mut DumpOut, &mut ExtAck) -> Result<Step, Errno>;

/// A row of the table: who answers messages of type `ty` for address family `family` (0: for any family that has no row
/// of its own).
pub(crate) struct Handler {
    pub(crate) family: u8,
    pub(crate) ty: u16,
    pub(crate) doit: Option<Doit>,
    pub(crate) dumpit: Option<Dumpit>,
}

/// The handlers of NETLINK_ROUTE.
const ROUTE: &[&[Handler]] = &[
    nsid::HANDLERS,
    link::HANDLERS,
    addr::HANDLERS,
    addr6::HANDLERS,
    addrlabel::HANDLERS,
    netconf::HANDLERS,
    route6::HANDLERS,
    neigh::HANDLERS,
    neightbl::HANDLERS,
    route4::HANDLERS,
    route::HANDLERS,
    rule::HANDLERS,
    nexthop::HANDLERS,
    tunnel::HANDLERS,
    stats::HANDLERS,
    dcb::HANDLERS,
    empty::HANDLERS,
];

/// The function of the row for exactly `(family, ty)`.
fn exact<F>(family: u8, ty: u16, pick: impl Fn(&Handler) -> Option<F>) -> Option<F> {
    ROUTE.iter().copied().flatten().filter(|row| row.ty == ty && row.family == family).find_map(pick)
}

/// The row's function for `(family, ty)`, falling back to family 0.
pub(crate) fn find<F>(family: u8, ty: u16, pick: impl Fn(&Handler) -> Option<F>) -> Option<F> {
    exact(family, ty, &pick).or_else(|| if family == 0 { None } else { exact(0, ty, &pick) })
}

/// Turns a notice of the stack into messages: each family of messages has a module that fills its own.
pub(crate) fn notice(to: &Notifier, stack: &Stack, net: &NetRef, notice: &Notice, origin: Origin) {
    match notice {
        Notice::Link(notice) => link::notice(to, stack, net, notice, origin),
        Notice::Fib(notice) => route4::notice(to, net, notice, origin),
        Notice::Rule(notice) => rule::notice(to, net, notice, origin),
        Notice::Nexthop(notice) => nexthop::notice(to, net, notice, origin),
        Notice::Neigh(notice) => neigh::notice(to, net, notice, origin),
        Notice::Inet(notice) => addr::notice(to, net, notice, origin),
        Notice::Inet6(notice) => route6::notice(to, net, notice, origin),
        _ => {}
    }
}

/// A dump of all families (`rtnl_dump_all`): that of each of `families` which has one, in their order.
pub(crate) fn dump_all(
    families: &[i32],
    request: &Request<'_>,
    out: &mut DumpOut,
    ext: &mut ExtAck,
) -> Result<Step, Errno> {
    while let Some(&family) = families.get(usize::from(out.cursor.stage)) {
        let row = u8::try_from(family).ok().and_then(|family| exact(family, request.msg.header.ty, |row| row.dumpit));
        if let Some(dumpit) = row
            && dumpit(request, out, ext)? == Step::More
        {
            return Ok(Step::More);
        }
        out.next_stage();
    }
    Ok(Step::Done)
}

/// Refuses with a text and `EINVAL`, the usual pair.
pub(crate) fn refuse<T>(ext: &mut ExtAck, text: &'static str) -> Result<T, Errno> {
    ext.set_msg(text);
    Err(Errno::EINVAL)
}

/// Refuses as the stack does: with its errno, and its text if it has one.
pub(crate) fn refused(ext: &mut ExtAck, errno: i32, text: Option<impl Into<Cow<'static, str>>>) -> Errno {
    if let Some(text) = text {
        ext.set_msg(text);
    }
    errno_of(errno)
}

/// The stack's number of an error; it gives none that is not one.
pub(crate) fn errno_of(number: i32) -> Errno {
    Errno::new(number).unwrap_or(Errno::EINVAL)
}

/// A request and everything an answer may need.
pub(crate) struct Request<'a> {
    pub(crate) msg: Msg<'a>,
    /// The *socket's* namespace, whatever the task's is.
    pub(crate) net: &'a NetRef,
    pub(crate) ep: &'a Arc<Endpoint>,
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) client: &'a dyn Client,
    /// The message was sent with an explicit address: waives the opener's half of [`permitted`](Self::permitted).
    pub(crate) explicit_dest: bool,
}

impl Request<'_> {
    /// Port of the requester.
    pub(crate) fn portid(&self) -> u32 {
        self.ep.portid()
    }

    /// Sequence number of the request.
    pub(crate) fn seq(&self) -> u32 {
        self.msg.header.seq
    }

    /// How GET requests of this socket are to be read.
    pub(crate) fn strictness(&self) -> Strictness {
        if self.ep.has(flag::STRICT) { Strictness::Strict } else { Strictness::Legacy }
    }

    /// The stack whose devices the request is about.
    pub(crate) fn stack(&self) -> &Stack {
        &self.shared.stack
    }

    /// Whether the socket's namespace has a device with that index.
    pub(crate) fn has_device(&self, ifindex: u32) -> bool {
        self.stack().links(self.net).is_some_and(|links| links.by_index(ifindex).is_some())
    }

    /// `netlink_ns_capable` for the socket's own namespace: the sender, and the opener unless waived.
    pub(crate) fn permitted(&self, cap: Cap) -> bool {
        let owner = self.net.owner();
        (self.explicit_dest || self.ep.opener.capable(owner, cap)) && self.client.cred().capable(owner, cap)
    }

    /// `sk_ns_capable` for another owner: the opener and the sender, nothing waives.
    pub(crate) fn capable(&self, owner: &UserNs, cap: Cap) -> bool {
        self.ep.opener.capable(owner, cap) && self.client.cred().capable(owner, cap)
    }

    /// The namespace a target attribute names (`rtnl_get_net_ns_capable`).
    ///
    /// # Errors
    /// `EINVAL` for an unknown id, `EACCES` without CAP_NET_ADMIN in its owner.
    pub(crate) fn target(&self, nsid: i32) -> Result<NetRef, Errno> {
        let target = self.net.net_by_nsid(nsid).ok_or(Errno::EINVAL)?;
        if !self.capable(target.owner(), Cap::NetAdmin) {
            return Err(Errno::EACCES);
        }
        Ok(target)
    }

    /// Whom changes are told to come from.
    pub(crate) fn origin(&self) -> Origin {
        Origin { portid: self.portid(), seq: self.seq(), echo: self.msg.header.flags & NLM_F_ECHO != 0 }
    }

    /// The header of a reply.
    pub(crate) fn reply_header(&self, ty: u16, flags: u16) -> MsgHeader {
        MsgHeader::new(ty, flags, self.seq(), self.portid())
    }

    /// Sends a reply to the requester.
    ///
    /// # Errors
    /// `EAGAIN` when its queue is full; it is told `ENOBUFS` by its next receive.
    pub(crate) fn reply(&self, bytes: Vec<u8>) -> Result<(), Errno> {
        let delivery =
            self.ep.deliver(Queued { bytes: Bytes::Own(bytes), from: SockAddr::KERNEL, group: 0, origin_nsid: None });
        if delivery.wake {
            self.ep.wake();
        }
        if delivery.accepted { Ok(()) } else { Err(Errno::EAGAIN) }
    }
}
