//! AF_UNIX sockets (`unix_diag.c`). They are the host's own: whoever runs programs knows those of a namespace.

use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck};

use super::words;
use crate::dispatch::Outcome;
use crate::handlers::{DumpOut, Request, Step};
use crate::peer::UnixEntry;

/// `UNIX_DIAG_*`.
mod attr {
    pub(super) const NAME: u16 = 0;
    pub(super) const PEER: u16 = 2;
    pub(super) const ICONS: u16 = 3;
    pub(super) const RQLEN: u16 = 4;
    pub(super) const MEMINFO: u16 = 5;
    pub(super) const SHUTDOWN: u16 = 6;
    pub(super) const UID: u16 = 7;
}

/// `UDIAG_SHOW_*`: what is asked for.
mod show {
    pub(super) const NAME: u32 = 1;
    pub(super) const PEER: u32 = 4;
    pub(super) const ICONS: u32 = 8;
    pub(super) const RQLEN: u32 = 0x10;
    pub(super) const MEMINFO: u32 = 0x20;
    pub(super) const UID: u32 = 0x40;
}

/// Of states: somebody listens there.
const LISTEN: u8 = 10;

/// `struct unix_diag_req`: which states, one socket's inode number, what is asked for, that socket's cookie.
fn asked(request: &Request<'_>) -> Result<(u32, u32, u32, u64), Errno> {
    let raw: &[u8; 24] = request.msg.payload().first_chunk().ok_or(Errno::EINVAL)?;
    let word = |at: usize| raw[at..].first_chunk().map_or(0, |&word| u32::from_ne_bytes(word));
    Ok((word(4), word(8), word(12), u64::from(word(16)) | u64::from(word(20)) << 32))
}

/// `unix_diag_dump`.
pub(super) fn dump(request: &Request<'_>, out: &mut DumpOut, _: &mut ExtAck) -> Result<Step, Errno> {
    let (states, _, shown, _) = asked(request)?;
    let mut entries = request.shared.unix_sockets(request.net);
    entries.sort_by_key(|entry| entry.inode);
    for entry in &entries {
        let key = u64::from(entry.inode);
        if key < out.cursor.next || states & 1u32.checked_shl(entry.state.into()).unwrap_or(0) == 0 {
            continue;
        }
        if out.entry(SOCK_DIAG_BY_FAMILY, |m| fill(m, entry, shown)).is_err() {
            return Ok(Step::More);
        }
        out.cursor.next = key + 1;
    }
    Ok(Step::Done)
}

/// `unix_diag_get_exact`.
pub(super) fn one(request: &Request<'_>) -> Outcome {
    let answer = asked(request).and_then(|(_, inode, shown, cookie)| {
        if inode == 0 {
            return Err(Errno::EINVAL);
        }
        let entries = request.shared.unix_sockets(request.net);
        let entry = entries.iter().find(|entry| entry.inode == inode).ok_or(Errno::ENOENT)?;
        if cookie != u64::MAX && cookie != entry.cookie {
            return Err(Errno::ESTALE);
        }
        let mut message = Builder::message(&request.reply_header(SOCK_DIAG_BY_FAMILY, 0));
        fill(&mut message, entry, shown);
        request.reply(message.finish())
    });
    answer.into()
}

fn fill(m: &mut Builder, entry: &UnixEntry, shown: u32) {
    let wants = |what: u32| shown & what != 0;
    let mut body = vec![AF_UNIX as u8, entry.ty, entry.state, 0];
    body.extend(words(&[entry.inode, entry.cookie as u32, (entry.cookie >> 32) as u32]));
    m.put_raw(&body);
    if let Some(name) = entry.name.as_ref().filter(|_| wants(show::NAME)) {
        m.put(attr::NAME, name);
    }
    if let Some(peer) = entry.peer.filter(|_| wants(show::PEER)) {
        m.put_u32(attr::PEER, peer);
    }
    if wants(show::ICONS) && entry.state == LISTEN {
        m.put(attr::ICONS, &words(&entry.pending));
    }
    if wants(show::RQLEN) {
        m.put(attr::RQLEN, &words(&[entry.queues.0, entry.queues.1]));
    }
    if wants(show::MEMINFO) {
        m.put(attr::MEMINFO, &words(&entry.memory));
    }
    m.put_u8(attr::SHUTDOWN, entry.shutdown);
    if wants(show::UID) {
        m.put_u32(attr::UID, entry.uid);
    }
}
