//! Packet sockets (`packet_diag.c`).

use pernet::Cap;
use pernet_stack::PacketEntry;
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck};

use super::words;
use crate::handlers::{DumpOut, Request, Step};

/// `PACKET_DIAG_*`.
mod attr {
    pub(super) const INFO: u16 = 0;
    pub(super) const MCLIST: u16 = 1;
    pub(super) const RX_RING: u16 = 2;
    pub(super) const TX_RING: u16 = 3;
    pub(super) const FANOUT: u16 = 4;
    pub(super) const UID: u16 = 5;
    pub(super) const MEMINFO: u16 = 6;
    pub(super) const FILTER: u16 = 7;
}

/// `PACKET_SHOW_*`: what is asked for.
mod show {
    pub(super) const INFO: u32 = 1;
    pub(super) const MCLIST: u32 = 2;
    pub(super) const RING_CFG: u32 = 4;
    pub(super) const FANOUT: u32 = 8;
    pub(super) const MEMINFO: u32 = 0x10;
    pub(super) const FILTER: u32 = 0x20;
}

/// Room for an address of a device's list.
const ADDRESS: usize = 32;

/// `packet_diag_dump`.
pub(super) fn dump(request: &Request<'_>, out: &mut DumpOut, _: &mut ExtAck) -> Result<Step, Errno> {
    // `struct packet_diag_req`, whose length was looked at.
    let shown = request.msg.payload().get(8..).and_then(|rest| rest.first_chunk()).ok_or(Errno::EINVAL)?;
    let shown = u32::from_ne_bytes(*shown);
    let admin = request.permitted(Cap::NetAdmin);
    for entry in request.stack().packet_sockets(request.net) {
        if entry.cookie < out.cursor.next {
            continue;
        }
        if out.entry(SOCK_DIAG_BY_FAMILY, |m| fill(m, &entry, shown, admin)).is_err() {
            return Ok(Step::More);
        }
        out.cursor.next = entry.cookie + 1;
    }
    Ok(Step::Done)
}

fn fill(m: &mut Builder, entry: &PacketEntry, shown: u32, admin: bool) {
    let wants = |what: u32| shown & what != 0;
    let mut body = vec![AF_PACKET as u8, entry.ty];
    body.extend(entry.protocol.to_ne_bytes());
    body.extend(words(&[entry.inode as u32, entry.cookie as u32, (entry.cookie >> 32) as u32]));
    m.put_raw(&body);
    if wants(show::INFO) {
        let ((version, reserve), (copy, time)) = (entry.version, entry.copy_and_time);
        m.put(attr::INFO, &words(&[entry.ifindex, version, reserve, copy, time, entry.flags]));
        m.put_u32(attr::UID, entry.uid);
    }
    if wants(show::MCLIST) {
        let mut list = Vec::new();
        for member in &entry.members {
            list.extend(words(&[member.ifindex, member.count]));
            list.extend(member.kind.to_ne_bytes());
            list.extend((member.addr.len() as u16).to_ne_bytes());
            let mut addr = member.addr.clone();
            addr.resize(ADDRESS, 0);
            list.extend(addr);
        }
        m.put(attr::MCLIST, &list);
    }
    if wants(show::RING_CFG) {
        for (ty, ring) in [attr::RX_RING, attr::TX_RING].into_iter().zip(&entry.rings) {
            if let Some(ring) = ring {
                m.put(ty, ring);
            }
        }
    }
    if let Some(fanout) = entry.fanout.filter(|_| wants(show::FANOUT)) {
        m.put_u32(attr::FANOUT, fanout);
    }
    if wants(show::MEMINFO) {
        let (received, room) = entry.memory;
        let spare = received.next_multiple_of(4096) - received;
        m.put(attr::MEMINFO, &words(&[received, room, 0, DEFAULT_ROOM, spare, 0, 0, 0, entry.drops]));
    }
    if let Some(filter) = entry.filter.as_ref().filter(|_| admin && wants(show::FILTER)) {
        let program = filter.iter().flat_map(|step| {
            let [a, b] = step.code.to_ne_bytes();
            let [c, d, e, f] = step.k.to_ne_bytes();
            [a, b, step.jt, step.jf, c, d, e, f]
        });
        m.put(attr::FILTER, &program.collect::<Vec<u8>>());
    }
}

/// Room for what is sent, unless the program says.
const DEFAULT_ROOM: u32 = 212_992;
