//! Peer ids: RTM_NEWNSID and RTM_GETNSID. There is no RTM_DELNSID: ids live as long as the peer.

use pernet::{AssignError, NetRef, Nsid, NsidEntry, Origin};
use pernet_wire::uapi::*;
use pernet_wire::{Attr, AttrTable, Errno, ExtAck, Kind, Policy, Strictness, parse};

use super::{DumpOut, Full, Handler, Request, Step};
use crate::notify::{fill_nsid, nsid_message};
use crate::peer::PeerError;

/// Registered for family 0 only, so that any family byte reaches it.
pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: 0, ty: RTM_NEWNSID, doit: Some(new), dumpit: None },
    Handler { family: 0, ty: RTM_GETNSID, doit: Some(get), dumpit: Some(dump) },
];

/// `struct rtgenmsg`: a family byte, padded to 4.
const BODY_LEN: usize = 1;

/// CURRENT_NSID is known (it is ours to send) but nothing is asked of it.
const POLICY: Policy =
    Policy(&[None, Some(Kind::S32), Some(Kind::U32), Some(Kind::U32), Some(Kind::S32), Some(Kind::Any)]);

mod text {
    pub(super) const NO_NSID: &str = "nsid is missing";
    pub(super) const NO_PEER: &str = "Peer netns reference is missing";
    pub(super) const BAD_PEER: &str = "Peer netns reference is invalid";
    pub(super) const NAMED: &str = "Peer netns already has a nsid assigned";
    pub(super) const TAKEN: &str = "The specified nsid is already used";
    pub(super) const BAD_TARGET: &str = "Target netns reference is invalid";
    pub(super) const GET_UNSUPPORTED: &str = "Unsupported attribute in peer netns getid request";
    pub(super) const DUMP_UNSUPPORTED: &str = "Unsupported attribute in dump request";
    pub(super) const DUMP_BAD_TARGET: &str = "Invalid target network namespace id";
}

/// `rtnl_net_newid`. Always read in the legacy way, whatever the socket asked for.
fn new(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let attrs = parse(&request.msg, BODY_LEN, &POLICY, Strictness::Legacy, ext)?;
    let Some((nsid, want)) = attrs.get(NETNSA_NSID).and_then(|attr| Some((attr, attr.i32()?))) else {
        ext.set_msg(text::NO_NSID);
        return Err(Errno::EINVAL);
    };
    let (named_by, peer) = peer_by_task(request, &attrs, ext)?.ok_or_else(|| {
        ext.set_msg(text::NO_PEER);
        Errno::EINVAL
    })?;
    let origin =
        Origin { portid: request.portid(), seq: request.seq(), echo: request.msg.header.flags & NLM_F_ECHO != 0 };
    // Any negative number asks for the lowest free one.
    match request.net.assign_nsid(&peer, Nsid::new(want), origin) {
        Ok(_) => Ok(()),
        Err(AssignError::AlreadyNamed) => {
            ext.set_msg_attr(text::NAMED, &named_by);
            Err(Errno::EEXIST)
        }
        Err(AssignError::IdTaken) => {
            ext.set_msg_attr(text::TAKEN, &nsid);
            Err(Errno::EEXIST)
        }
        Err(other) => Err(Errno::new(other.errno().get()).unwrap_or(Errno::EINVAL)),
    }
}

/// `rtnl_net_getid`. Never allocates an id: "none" is a good answer.
fn get(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let how = request.strictness();
    let attrs = parse(&request.msg, BODY_LEN, &POLICY, how, ext)?;
    if how == Strictness::Strict && attrs.get(NETNSA_CURRENT_NSID).is_some() {
        ext.set_msg(text::GET_UNSUPPORTED);
        return Err(Errno::EINVAL);
    }
    let peer = match peer_by_task(request, &attrs, ext)? {
        Some((_, peer)) => peer,
        None => peer_by_nsid(request, &attrs, ext)?,
    };
    let bytes = match attrs.get(NETNSA_TARGET_NSID).and_then(|attr| Some((attr, attr.i32()?))) {
        Some((attr, id)) => {
            let target = request.target(id).inspect_err(|_| ext.set_msg_attr(text::BAD_TARGET, &attr))?;
            let current = request.net.peernet2id(&peer);
            nsid_message(&request.reply_header(RTM_NEWNSID, 0), target.peernet2id(&peer), Some(current))
        }
        None => nsid_message(&request.reply_header(RTM_NEWNSID, 0), request.net.peernet2id(&peer), None),
    };
    request.reply(bytes)
}

/// The peer named by PID or, without one, by FD; and the attribute that names it.
fn peer_by_task<'a>(
    request: &Request<'a>,
    attrs: &AttrTable<'a>,
    ext: &mut ExtAck,
) -> Result<Option<(Attr<'a>, NetRef)>, Errno> {
    let client = request.client;
    let (attr, found): (_, Result<NetRef, PeerError>) =
        if let Some((attr, pid)) = attrs.get(NETNSA_PID).and_then(|attr| Some((attr, attr.i32()?))) {
            (attr, client.net_by_pid(pid))
        } else if let Some((attr, fd)) = attrs.get(NETNSA_FD).and_then(|attr| Some((attr, attr.i32()?))) {
            (attr, client.net_by_fd(fd))
        } else {
            return Ok(None);
        };
    match found {
        Ok(peer) => Ok(Some((attr, peer))),
        Err(why) => {
            ext.set_msg_attr(text::BAD_PEER, &attr);
            Err(why.errno())
        }
    }
}

/// The peer named by an id of the requester's namespace.
fn peer_by_nsid(request: &Request<'_>, attrs: &AttrTable<'_>, ext: &mut ExtAck) -> Result<NetRef, Errno> {
    let Some((attr, id)) = attrs.get(NETNSA_NSID).and_then(|attr| Some((attr, attr.i32()?))) else {
        ext.set_msg(text::NO_PEER);
        return Err(Errno::EINVAL);
    };
    request.net.net_by_nsid(id).ok_or_else(|| {
        ext.set_msg_attr(text::BAD_PEER, &attr);
        Errno::ENOENT
    })
}

/// `rtnl_net_dumpid`: every entry, ascending, resumed behind the last id sent. (Linux 6.10 and later end after one
/// datagram; that is not reproduced.)
fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let target = dump_target(request, ext)?;
    let table = target.as_ref().unwrap_or(request.net);
    let entry_len = if target.is_some() { 36 } else { 28 };
    // A page asks for what can fit, so that no more is read from the table than is sent.
    while let Some(from) = i32::try_from(out.cursor.next).ok().and_then(Nsid::new) {
        let wanted = out.room() / entry_len + 1;
        let page = table.dump_nsids(from, wanted, target.is_some().then_some(request.net));
        out.observe(page.generation);
        let complete = page.entries.len() < wanted;
        out.expect(page.entries.len() * entry_len);
        for NsidEntry { id, current } in page.entries {
            let written = match target {
                Some(_) => out.entry(RTM_NEWNSID, |message| fill_nsid(message, Some(id), Some(current))),
                None => out.fixed(RTM_NEWNSID, &body_of(id)),
            };
            match written {
                Ok(()) => out.cursor.next = id.get().unsigned_abs().into(),
                Err(Full) => return Ok(Step::More),
            }
            out.cursor.next += 1;
        }
        if complete {
            break;
        }
    }
    Ok(Step::Done)
}

/// What [`fill_nsid`] writes for an id alone: a table may have a million of them.
fn body_of(id: Nsid) -> [u8; 12] {
    let mut body = [0; 12];
    body[4..6].copy_from_slice(&8u16.to_ne_bytes());
    body[6..8].copy_from_slice(&NETNSA_NSID.to_ne_bytes());
    body[8..].copy_from_slice(&id.get().to_ne_bytes());
    body
}

/// Reads a dump request. Legacy sockets are not checked at all.
fn dump_target(request: &Request<'_>, ext: &mut ExtAck) -> Result<Option<NetRef>, Errno> {
    if request.strictness() == Strictness::Legacy {
        return Ok(None);
    }
    let attrs = parse(&request.msg, BODY_LEN, &POLICY, Strictness::Strict, ext)?;
    let mut target = None;
    for attr in attrs.iter() {
        match (attr.ty, attr.i32()) {
            (NETNSA_TARGET_NSID, Some(id)) => {
                let found = request.target(id).inspect_err(|_| ext.set_msg_attr(text::DUMP_BAD_TARGET, &attr))?;
                target = Some(found);
            }
            _ => {
                ext.set_msg_attr(text::DUMP_UNSUPPORTED, &attr);
                return Err(Errno::EINVAL);
            }
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pernet_wire::Builder;

    #[test]
    fn the_short_way_writes_what_the_long_way_writes() {
        for id in [0, 1, 0x0102_0304, i32::MAX] {
            let mut out = Builder::bare();
            fill_nsid(&mut out, Nsid::new(id), None);
            assert_eq!(out.finish(), body_of(Nsid::new(id).unwrap()));
        }
    }
}
