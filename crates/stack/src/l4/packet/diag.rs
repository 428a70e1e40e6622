//! Packet sockets as they are listed (`packet_diag.c`, `/proc/net/packet`).

use std::sync::atomic::Ordering;

use pernet::Net;

use super::super::filter::FilterInstruction;
use super::ring::{Geometry, Receiver};
use super::{PacketSock, Packets};
use crate::dev::Stack;

/// What a device was made to do for a packet socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketMember {
    /// Index of the device.
    pub ifindex: u32,
    /// How often it was asked for.
    pub count: u32,
    /// `PACKET_MR_*`.
    pub kind: u16,
    /// The address that is listened to.
    pub addr: Vec<u8>,
}

/// A packet socket as it is listed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PacketEntry {
    /// What tells it from all others.
    pub cookie: u64,
    /// `SOCK_RAW` or `SOCK_DGRAM`.
    pub ty: u8,
    /// `ETH_P_*`.
    pub protocol: u16,
    /// Device that it is bound to; 0 for any.
    pub ifindex: u32,
    /// Memory of what waits, and room for it.
    pub memory: (u32, u32),
    /// Frames that were dropped for want of room, since somebody asked.
    pub drops: u32,
    /// Who made it.
    pub uid: u32,
    /// Its inode number, if a program has it.
    pub inode: u64,
    /// `PACKET_VERSION` and `PACKET_RESERVE`.
    pub version: (u32, u32),
    /// `PDI_*`: it hears; and options that are on.
    pub flags: u32,
    /// `PACKET_COPY_THRESH` and `PACKET_TIMESTAMP`.
    pub copy_and_time: (u32, u32),
    /// What devices do for it.
    pub members: Vec<PacketMember>,
    /// Its rings, as they were asked for (`struct tpacket_req3`): what receives, what sends.
    pub rings: [Option<Vec<u8>>; 2],
    /// Its group, and how that chooses; if it has one.
    pub fanout: Option<u32>,
    /// The program that chooses frames.
    pub filter: Option<Vec<FilterInstruction>>,
}

fn ring(geometry: &Geometry, extra: [u32; 3]) -> Vec<u8> {
    [geometry.to_bytes(), extra.map(u32::to_ne_bytes).concat()].concat()
}

impl PacketSock {
    fn entry(&self) -> PacketEntry {
        let state = self.lock();
        let (shown, copy, time) = state.shown();
        let mut members: Vec<PacketMember> = Vec::new();
        for member in &state.members {
            let same = |known: &&mut PacketMember| {
                (known.ifindex, known.kind, &known.addr) == (member.ifindex, member.kind, &member.addr)
            };
            match members.iter_mut().find(same) {
                Some(known) => known.count += 1,
                None => members.push(PacketMember {
                    ifindex: member.ifindex,
                    count: 1,
                    kind: member.kind,
                    addr: member.addr.clone(),
                }),
            }
        }
        let rx = state.rings.rx.as_ref().map(|rx| {
            let extra = if let Receiver::Blocks(blocks) = rx { blocks.extra() } else { [0; 3] };
            ring(rx.geometry(), extra)
        });
        PacketEntry {
            cookie: self.id,
            ty: if self.cooked { 2 } else { 3 },
            protocol: state.protocol,
            ifindex: state.ifindex,
            memory: (state.charge.bytes as u32, state.rcvbuf as u32),
            drops: state.drops,
            uid: self.uid,
            inode: self.inode.load(Ordering::Relaxed),
            version: (state.rings.version as u32, state.rings.reserve),
            flags: u32::from(state.protocol != 0) | shown,
            copy_and_time: (copy, time),
            members,
            rings: [rx, state.rings.tx.as_ref().map(|tx| ring(&tx.geometry, [0; 3]))],
            fanout: state.group.as_ref().map(|group| group.said() & 0x00ff_ffff),
            filter: state.filter.as_ref().map(|filter| filter.program().to_vec()),
        }
    }
}

impl Packets {
    /// All, the oldest first.
    pub(in crate::l4) fn entries(&self) -> Vec<PacketEntry> {
        self.all().iter().map(|sock| sock.entry()).collect()
    }

    /// What is heard: protocol, device, and whether it goes into a ring.
    pub(in crate::l4) fn heard(&self) -> Vec<(u16, u32, bool)> {
        let hears = |sock: &std::sync::Arc<PacketSock>| {
            let state = sock.lock();
            (state.protocol, state.ifindex, state.rings.rx.is_some())
        };
        self.all().iter().map(hears).filter(|(protocol, ..)| *protocol != 0).collect()
    }
}

impl Stack {
    /// The packet sockets of a namespace, the oldest first.
    #[must_use]
    pub fn packet_sockets(&self, net: &Net) -> Vec<PacketEntry> {
        let packets = self.state(net).and_then(|state| state.l4.packets.peek());
        packets.map_or_else(Vec::new, Packets::entries)
    }
}
