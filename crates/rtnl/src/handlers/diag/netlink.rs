//! Netlink sockets (`netlink_diag.c`): the kernel's own, and those of programs.

use std::sync::atomic::Ordering;

use pernet_stack::kernel_netlink_sockets;
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck};

use super::{NDIAG_PROTO_ALL, words};
use crate::endpoint::flag;
use crate::handlers::{DumpOut, Request, Step};

/// `NETLINK_DIAG_*`.
mod attr {
    pub(super) const MEMINFO: u16 = 0;
    pub(super) const GROUPS: u16 = 1;
    pub(super) const FLAGS: u16 = 4;
}

/// `NDIAG_SHOW_*`: what is asked for.
mod show {
    pub(super) const MEMINFO: u32 = 1;
    pub(super) const GROUPS: u32 = 2;
    pub(super) const FLAGS: u32 = 8;
}

/// Options as the flags that are shown.
const FLAGS: [(u32, u32); 5] = [
    (flag::PKTINFO, 0x02),
    (flag::BROADCAST_ERROR, 0x04),
    (flag::NO_ENOBUFS, 0x08),
    (flag::LISTEN_ALL_NSID, 0x10),
    (flag::CAP_ACK, 0x20),
];
/// Not connected, as TCP says it; `NETLINK_UNCONNECTED` is shown so.
const CLOSE: u8 = 7;

/// A socket as it is listed.
struct Entry {
    /// Its place in the listing: those who have groups are listed once more, behind all others.
    key: u64,
    kernel: bool,
    protocol: u8,
    portid: u32,
    peer: (u32, u32),
    inode: u32,
    received: u32,
    room: u32,
    drops: u32,
    groups: Option<u64>,
    flags: u32,
}

fn entries(request: &Request<'_>, protocol: u8) -> Vec<Entry> {
    let key = |protocol: u8, portid: u32| u64::from(protocol) << 32 | u64::from(portid);
    let mut all = Vec::new();
    if let Some(links) = request.stack().links(request.net) {
        all.extend(kernel_netlink_sockets(links).into_iter().map(|socket| Entry {
            key: key(socket.protocol as u8, 0),
            kernel: true,
            protocol: socket.protocol as u8,
            portid: 0,
            peer: (0, 0),
            inode: socket.inode as u32,
            received: 0,
            room: DEFAULT_ROOM,
            drops: 0,
            groups: None,
            flags: 0,
        }));
    }
    for ep in request.shared.bus.of(request.net).map(|bus| bus.bound()).unwrap_or_default() {
        let (received, drops) = ep.queue().usage();
        let number = ep.protocol.number() as u8;
        let peer = *crate::endpoint::lock(&ep.dest);
        let entry = |pass: u64| Entry {
            key: pass << 63 | key(number, ep.portid()),
            kernel: false,
            protocol: number,
            portid: ep.portid(),
            peer: (peer.portid, peer.groups),
            inode: ep.inode.load(Ordering::Relaxed) as u32,
            received: received as u32,
            room: ep.queue().limit() as u32,
            drops,
            groups: ep.grouped.load(Ordering::Relaxed).then(|| ep.groups()),
            flags: FLAGS.iter().filter(|(option, _)| ep.has(*option)).map(|(_, shown)| shown).sum(),
        };
        all.push(entry(0));
        if ep.groups() != 0 {
            all.push(entry(1));
        }
    }
    all.retain(|entry| protocol == NDIAG_PROTO_ALL || entry.protocol == protocol);
    all.sort_by_key(|entry| entry.key);
    all
}

/// `netlink_diag_dump`.
pub(super) fn dump(request: &Request<'_>, out: &mut DumpOut, _: &mut ExtAck) -> Result<Step, Errno> {
    // `struct netlink_diag_req`, whose length was looked at.
    let payload = request.msg.payload();
    let shown = payload.get(8..).and_then(|rest| rest.first_chunk()).ok_or(Errno::EINVAL)?;
    let shown = u32::from_ne_bytes(*shown);
    for entry in entries(request, *payload.get(1).ok_or(Errno::EINVAL)?) {
        if entry.key < out.cursor.next {
            continue;
        }
        if out.entry(SOCK_DIAG_BY_FAMILY, |m| fill(m, &entry, shown)).is_err() {
            return Ok(Step::More);
        }
        out.cursor.next = entry.key + 1;
    }
    Ok(Step::Done)
}

fn fill(m: &mut Builder, entry: &Entry, shown: u32) {
    const DGRAM: u8 = 2;
    const RAW: u8 = 3;
    let ty = if entry.kernel { DGRAM } else { RAW };
    m.put_raw(&[AF_NETLINK as u8, ty, entry.protocol, CLOSE]);
    // The inode number tells a socket from all others, too.
    m.put_raw(&words(&[entry.portid, entry.peer.0, entry.peer.1, entry.inode, entry.inode, 0]));
    if let Some(groups) = entry.groups.filter(|_| shown & show::GROUPS != 0) {
        m.put(attr::GROUPS, &groups.to_ne_bytes());
    }
    if shown & show::MEMINFO != 0 {
        m.put(attr::MEMINFO, &words(&[entry.received, entry.room, 0, DEFAULT_ROOM, 0, 0, 0, 0, entry.drops]));
    }
    if shown & show::FLAGS != 0 {
        m.put_u32(attr::FLAGS, entry.flags);
    }
}

/// Room for what is sent, and for what came, unless the program says.
const DEFAULT_ROOM: u32 = 212_992;
