//! Dumps: answers too long for one datagram, continued as the receiver makes room (`netlink_dump`).

use std::sync::Arc;
use std::sync::atomic::Ordering::*;

use pernet::{Cred, NetRef};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck, HEADER_LEN, Messages, MsgHeader, done};

use crate::endpoint::{Endpoint, flag, lock};
use crate::handlers::{Dumpit, Request};
use crate::peer::{Client, PeerError};
use crate::queue::{Bytes, Queued};
use crate::socket::{Shared, SockAddr};

/// Capacity of a datagram when no larger buffer was seen: what is left of a page.
const PAGE_CAPACITY: usize = 3776;
/// Largest capacity, whatever the buffer.
const MAX_CAPACITY: usize = 32_448;
/// Bytes of a bare NLMSG_DONE.
const DONE_LEN: usize = 20;

/// Whether a dump handler has more to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The datagram is full (or the handler wants another one): call again.
    More,
    /// Everything was said.
    Done,
}

/// The next entry does not fit into this datagram; return [`Step::More`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Where a dump stands: the handler's own key of the next entry. Resuming by key rather than by count is what lets
/// entries vanish between two datagrams without hiding others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    /// Key of the first entry not yet sent.
    pub(crate) next: u64,
    /// A second word, for handlers that walk two levels.
    #[allow(dead_code, reason = "part of the handlers' interface")]
    pub(crate) aux: u64,
    /// The next entry's key, for handlers whose keys are longer than a word.
    pub(crate) key: [u64; 5],
    /// How many listings of this dump are over, for one that consists of several.
    pub(crate) stage: u8,
    generation: Option<u64>,
    interrupted: bool,
    filtered: bool,
}

/// The datagram a dump handler writes to.
pub(crate) struct DumpOut {
    buf: Builder,
    capacity: usize,
    seq: u32,
    portid: u32,
    /// Where the dump stands; the handler moves it after each entry.
    pub(crate) cursor: Cursor,
}

impl DumpOut {
    /// Appends a message of type `ty`, flagged `NLM_F_MULTI`, or takes it back when it does not fit.
    pub(crate) fn entry(&mut self, ty: u16, fill: impl FnOnce(&mut Builder)) -> Result<(), Full> {
        let before = self.buf.len();
        self.buf.begin(&MsgHeader::new(ty, self.flags(), self.seq, self.portid));
        fill(&mut self.buf);
        if self.buf.len() > self.capacity {
            self.buf.truncate(before);
            return Err(Full);
        }
        self.buf.end();
        Ok(())
    }

    /// As [`entry`](Self::entry), for a message whose size is known: written in one go. `N` is a multiple of four.
    pub(crate) fn fixed<const N: usize>(&mut self, ty: u16, body: &[u8; N]) -> Result<(), Full> {
        const { assert!(N.is_multiple_of(4)) };
        let len = HEADER_LEN + N;
        if self.buf.len() + len > self.capacity {
            return Err(Full);
        }
        let mut header = MsgHeader::new(ty, self.flags(), self.seq, self.portid);
        header.len = len as u32;
        self.buf.put_raw(&header.to_bytes()).put_raw(body);
        Ok(())
    }

    /// Makes room for entries of `bytes` in all, so that an empty datagram does not grow to its size by steps.
    pub(crate) fn expect(&mut self, bytes: usize) {
        if self.buf.is_empty() {
            self.buf = Builder::append_to(Vec::with_capacity((bytes + DONE_LEN).min(self.capacity)));
        }
    }

    fn flags(&self) -> u16 {
        if self.cursor.interrupted { NLM_F_MULTI | NLM_F_DUMP_INTR } else { NLM_F_MULTI }
    }

    /// The listing is restricted as the request asked: `NLM_F_DUMP_FILTERED` on the closing DONE. Entries carry it by
    /// their own flags where Linux does so.
    pub(crate) fn filtered(&mut self) {
        self.cursor.filtered = true;
    }

    /// The next listing of several begins: with a cursor of its own, and a table of its own to be watched.
    pub(crate) fn next_stage(&mut self) {
        (self.cursor.next, self.cursor.aux, self.cursor.generation) = (0, 0, None);
        self.cursor.stage += 1;
    }

    /// Bytes that still fit: how many entries are worth fetching.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.buf.len())
    }

    /// Notes the generation of the table an entry was read from. When it differs from the one before, everything from
    /// here on carries `NLM_F_DUMP_INTR`: the listing is not a snapshot.
    pub(crate) fn observe(&mut self, generation: u64) {
        let seen = self.cursor.generation.replace(generation);
        self.cursor.interrupted |= seen.is_some_and(|seen| seen != generation);
    }
}

/// A dump under way; lives under the socket's dump lock.
pub(crate) struct Running {
    handler: Dumpit,
    /// The request, read anew for every datagram.
    request: Vec<u8>,
    sender: Cred,
    explicit_dest: bool,
    cursor: Cursor,
    /// The handler is through; what remains is the DONE that did not fit.
    finished: Option<(Result<(), Errno>, ExtAck)>,
}

/// The sender as later datagrams see it. Its descriptors are not asked again: no dump request names any.
struct Absent<'a>(&'a Cred);

impl Client for Absent<'_> {
    fn cred(&self) -> Cred {
        self.0.clone()
    }

    fn tgid(&self) -> u32 {
        0
    }

    fn net_by_pid(&self, _pid: i32) -> Result<NetRef, PeerError> {
        Err(PeerError::NoSuchProcess)
    }

    fn net_by_fd(&self, _fd: i32) -> Result<NetRef, PeerError> {
        Err(PeerError::BadFd)
    }
}

/// Starts a dump and produces its first datagram.
///
/// # Errors
/// `EBUSY` while another one runs; `ENOBUFS` when the receive queue is full: the dump then runs and goes on as the queue
/// empties, yet the requester is told, as Linux tells it.
pub(crate) fn start(request: &Request<'_>, handler: Dumpit) -> Result<(), Errno> {
    let mut slot = lock(&request.ep.dump);
    if slot.is_some() {
        return Err(Errno::EBUSY);
    }
    *slot = Some(Box::new(Running {
        handler,
        request: request.msg.raw.to_vec(),
        sender: request.client.cred(),
        explicit_dest: request.explicit_dest,
        cursor: Cursor::default(),
        finished: None,
    }));
    request.ep.dumping.store(true, Release);
    if request.ep.queue().is_full() {
        return Err(Errno::ENOBUFS);
    }
    let wake = produce(&mut slot, request.ep, request.net, request.shared);
    drop(slot);
    if wake {
        request.ep.wake();
    }
    Ok(())
}

/// After a receive: produces the next datagram if a dump runs and the queue is at most half full.
pub(crate) fn go_on(ep: &Arc<Endpoint>, net: &NetRef, shared: &Arc<Shared>) {
    if !ep.dumping.load(Acquire) || !ep.queue().half_empty() {
        return;
    }
    let mut slot = lock(&ep.dump);
    let wake = produce(&mut slot, ep, net, shared);
    drop(slot);
    if wake {
        ep.wake();
    }
}

/// One datagram. Says whether the socket must be woken once the dump lock is gone.
fn produce(slot: &mut Option<Box<Running>>, ep: &Arc<Endpoint>, net: &NetRef, shared: &Arc<Shared>) -> bool {
    let Some(run) = slot.as_mut() else {
        return false;
    };
    let Some(msg) = Messages::new(&run.request).next() else {
        // Not reachable: the request was read once already. A dump without a request is over.
        *slot = None;
        ep.dumping.store(false, Release);
        return false;
    };
    let capacity = ep.largest_recv.load(Relaxed).clamp(PAGE_CAPACITY, MAX_CAPACITY);
    let (seq, portid) = (msg.header.seq, ep.portid());
    let mut out = DumpOut { buf: Builder::bare(), capacity, seq, portid, cursor: run.cursor };
    if run.finished.is_none() {
        let client = Absent(&run.sender);
        let request = Request { msg, net, ep, shared, client: &client, explicit_dest: run.explicit_dest };
        let mut ext = ExtAck::default();
        let step = (run.handler)(&request, &mut out, &mut ext);
        run.finished = match step {
            // An entry larger than any datagram would be asked for for ever.
            Ok(Step::More) if out.buf.is_empty() => Some((Err(Errno::EMSGSIZE), ext)),
            Ok(Step::More) => None,
            Ok(Step::Done) => Some((Ok(()), ext)),
            Err(errno) => Some((Err(errno), ext)),
        };
        run.cursor = out.cursor;
    }
    let mut bytes = out.buf.finish();
    let mut over = false;
    if let Some((result, ext)) = &run.finished {
        let mut last = done(portid, seq, *result, ext, ep.has(flag::EXT_ACK));
        let mut extra = 0;
        if run.cursor.interrupted {
            extra |= NLM_F_DUMP_INTR;
        }
        if run.cursor.filtered {
            extra |= NLM_F_DUMP_FILTERED;
        }
        if extra != 0 {
            let flags = u16::from_ne_bytes([last[6], last[7]]) | extra;
            last[6..8].copy_from_slice(&flags.to_ne_bytes());
        }
        if bytes.is_empty() || bytes.len() + last.len().max(DONE_LEN) <= capacity {
            bytes.extend_from_slice(&last);
            over = true;
        }
    }
    if over {
        *slot = None;
        ep.dumping.store(false, Release);
    }
    let item = Queued { bytes: Bytes::Own(bytes), from: SockAddr::KERNEL, group: 0, origin_nsid: None };
    ep.deliver(item).wake
}
