//! Groups of packet sockets that share what they hear: each frame goes to one of them (`PACKET_FANOUT`).
//!
//! **Locks.** [`Group::members`] comes before the members' own states, which are asked for room, and after nothing: whoever
//! joins or leaves holds no state meanwhile. The table of the namespace is a leaf behind both.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::filter::{Filter, FilterInstruction, Seen};
use super::super::queue::truesize;
use super::{Arrival, ETH_P_ALL, PacketFrame, PacketSock, PacketSocket, Packets};
use crate::dev::Link;
use crate::errno;
use crate::l2::{Cx, Frame};
use crate::l4::user::SocketError;
use crate::multipath;

/// How the member is chosen (`PACKET_FANOUT_*`).
mod mode {
    pub(super) const HASH: u8 = 0;
    pub(super) const LB: u8 = 1;
    pub(super) const ROLLOVER: u8 = 3;
    pub(super) const RND: u8 = 4;
    pub(super) const CBPF: u8 = 6;
    pub(super) const EBPF: u8 = 7;
}

/// Flags beside it (`PACKET_FANOUT_FLAG_*`), of which the others mean nothing.
mod flag {
    pub(super) const ROLLOVER: u8 = 0x10;
    pub(super) const UNIQUE_ID: u8 = 0x20;
    pub(super) const IGNORE_OUTGOING: u8 = 0x40;
}

/// Members that a group has at most, if nobody says so, and whatever anybody says.
const USUAL_MEMBERS: u32 = 256;
const MOST_MEMBERS: u32 = 1 << 16;

/// What a socket with a full queue gave to others (`struct tpacket_rollover_stats`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rolled {
    all: u64,
    failed: u64,
}

/// Such a group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: u16,
    mode: u8,
    flags: u8,
    most: u32,
    /// What all of them are bound to.
    pub(super) ifindex: u32,
    protocol: u16,
    members: Mutex<Members>,
    /// Whose turn it is.
    turn: AtomicU32,
}

#[derive(Debug, Default)]
struct Members {
    socks: Vec<Arc<PacketSock>>,
    program: Option<Filter>,
}

/// How much more fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    None,
    Low,
    Enough,
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As `getsockopt` tells it.
    pub(super) fn said(&self) -> u32 {
        u32::from(self.id) | u32::from(self.mode) << 16 | u32::from(self.flags) << 24
    }

    const fn rolls_over(&self) -> bool {
        self.mode == mode::ROLLOVER || self.flags & flag::ROLLOVER != 0
    }

    /// The namespace's table counts who listens.
    pub(super) const fn listens(&self) -> bool {
        self.protocol != 0
    }

    /// A frame passes: one of the group takes it.
    pub(super) fn take(&self, cx: Cx<'_>, link: &Link, frame: &Frame, outgoing: bool) {
        let wanted = match self.protocol {
            ETH_P_ALL => !outgoing || self.flags & flag::IGNORE_OUTGOING == 0,
            protocol => !outgoing && protocol == frame.protocol,
        };
        if !wanted {
            return;
        }
        let members = self.lock();
        // What one of them sends none of them hears.
        if outgoing && members.socks.iter().any(|sock| sock.id == frame.sender) {
            return;
        }
        let Some(chosen) = self.choose(cx, &members, link, frame) else { return };
        drop(members);
        chosen.take(cx, link, frame, Arrival { outgoing, grouped: true });
    }

    fn choose(&self, cx: Cx<'_>, members: &Members, link: &Link, frame: &Frame) -> Option<Arc<PacketSock>> {
        let count = members.socks.len();
        let number = match self.mode {
            mode::HASH => flow_hash(frame),
            mode::LB => self.next_turn(),
            mode::RND => cx.stack.random() as u32,
            mode::CBPF => members.program.as_ref().map_or(0, |program| program.run(&seen(link, frame))),
            // All frames are worked off by one processor, as far as anybody can tell, and come by one queue.
            _ => 0,
        };
        let first = number as usize % count.max(1);
        let sock = members.socks.get(first)?;
        if !self.rolls_over() {
            return Some(Arc::clone(sock));
        }
        // By this mode it goes to the first with room enough; by the flag to its own, as long as there is any room.
        let size = size_of_frame(frame);
        let by_flag = self.mode != mode::ROLLOVER;
        if by_flag && sock.room(size) > Room::None {
            return Some(Arc::clone(sock));
        }
        let begin = sock.lock().rolled_to.min(count - 1);
        let other = (begin..count).chain(0..begin).find(|&at| {
            let other = &members.socks[at];
            (!by_flag || at != first) && other.room(size) == Room::Enough
        });
        let mut state = sock.lock();
        let Some(at) = other else {
            state.rolled.failed += 1;
            return Some(Arc::clone(sock));
        };
        state.rolled.all += 1;
        state.rolled_to = at;
        Some(Arc::clone(&members.socks[at]))
    }

    /// The second is the first whose turn it is.
    fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Whoever had this one was gone already: another has it.
    fn take_again(&self, frame: PacketFrame) {
        let members = self.lock();
        let at = self.next_turn() as usize % members.socks.len().max(1);
        let Some(sock) = members.socks.get(at).cloned() else { return };
        drop(members);
        let mut state = sock.lock();
        let limit = state.rcvbuf;
        if state.rings.rx.is_none() && state.charge.charge(frame.memory, limit, false) {
            state.queue.push_back(frame);
            drop(state);
            sock.wake();
        }
    }

    fn leave(&self, sock: &PacketSock) -> bool {
        let mut members = self.lock();
        if let Some(at) = members.socks.iter().position(|other| other.id == sock.id) {
            members.socks.swap_remove(at);
        }
        members.socks.is_empty()
    }
}

/// What a program that chooses sees: from the network header on, of what came.
fn seen<'f>(link: &Link, frame: &'f Frame) -> Seen<'f> {
    Seen {
        data: frame.data(),
        link: frame.data(),
        network: frame.network_at(),
        protocol: frame.protocol,
        kind: frame.kind as u8,
        ifindex: link.index(),
        mark: frame.mark,
        hatype: link.class().arp_type,
    }
}

fn network(frame: &Frame) -> &[u8] {
    frame.data().get(frame.network_at()..).unwrap_or_default()
}

fn size_of_frame(frame: &Frame) -> usize {
    let packet = network(frame);
    truesize(packet.len(), packet.first().is_some_and(|byte| byte >> 4 == 6))
}

/// The same for both directions of a flow, and for all that is not IP.
fn flow_hash(frame: &Frame) -> u32 {
    if !matches!(frame.protocol, 0x0800 | 0x86dd) {
        return 0;
    }
    multipath::symmetric_hash(network(frame)).map_or(0, |hash| (hash >> 32) as u32)
}

impl PacketSock {
    fn room(&self, size: usize) -> Room {
        let mut state = self.lock();
        let rings = &state.rings;
        if let (Some(rx), Some(memory)) = (&rings.rx, &rings.memory) {
            // A quarter of it ahead is room enough.
            let ahead = rx.places() / 4;
            return match (rx.has_place(memory.as_ref(), ahead), rx.has_place(memory.as_ref(), 0)) {
                (true, _) => Room::Enough,
                (false, true) => Room::Low,
                (false, false) => Room::None,
            };
        }
        let limit = state.rcvbuf;
        if state.charge.doubts_room(size, limit) {
            drop(state);
            let outside = self.outside.ask();
            state = self.lock();
            state.charge.learn(outside);
        }
        match state.charge.left(limit).checked_sub(size) {
            Some(left) if left > limit / 4 => Room::Enough,
            Some(left) if left > 0 => Room::Low,
            _ => Room::None,
        }
    }
}

impl PacketSocket {
    /// `PACKET_FANOUT`: joins a group, or makes one.
    pub(super) fn join_fanout(&self, value: &[u8]) -> Result<(), i32> {
        let (&[a, b, mode, flags], rest) = value.split_first_chunk().ok_or(errno::EINVAL)?;
        let most = match rest {
            [] => 0,
            &[a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
            _ => return Err(errno::EINVAL),
        };
        let id = u16::from_ne_bytes([a, b]);
        if mode > mode::EBPF || mode == mode::ROLLOVER && flags & flag::ROLLOVER != 0 {
            return Err(errno::EINVAL);
        }
        let cx = self.0.cx().ok_or(errno::ENODEV)?;
        let packets = &cx.state.l4.packets;
        let (protocol, ifindex) = {
            let state = self.0.lock();
            if state.group.is_some() {
                return Err(errno::EALREADY);
            }
            (state.protocol, state.ifindex)
        };
        if most > MOST_MEMBERS || protocol == 0 {
            return Err(errno::EINVAL);
        }
        let unique = flags & flag::UNIQUE_ID != 0;
        if unique && id != 0 {
            return Err(errno::EINVAL);
        }
        // Of two that join at once one waits until the other is in the table.
        let mut groups = packets.groups();
        let id = if unique { groups.unused().ok_or(errno::ENOMEM)? } else { id };
        let flags = flags & !flag::UNIQUE_ID;
        let known = groups.find(id);
        let group = match known {
            Some(group) => {
                let same = (group.mode, group.flags, group.ifindex, group.protocol) == (mode, flags, ifindex, protocol);
                if !same || most != 0 && most != group.most {
                    return Err(errno::EINVAL);
                }
                group
            }
            None => groups.add(Group {
                id,
                mode,
                flags,
                most: if most == 0 { USUAL_MEMBERS } else { most },
                ifindex,
                protocol,
                members: Mutex::default(),
                turn: AtomicU32::new(0),
            }),
        };
        let mut members = group.lock();
        if members.socks.len() >= group.most as usize {
            return Err(errno::ENOSPC);
        }
        members.socks.push(Arc::clone(&self.0));
        drop(members);
        self.0.lock().group = Some(Arc::clone(&group));
        drop(groups);
        packets.place_group(&self.0, &group);
        cx.stack.changed();
        Ok(())
    }

    /// `PACKET_FANOUT_DATA` of a group that chooses by a program of classic BPF.
    ///
    /// # Errors
    /// `EINVAL` for a socket of no such group, or a program that might not end.
    pub fn set_fanout_program(&self, program: &[FilterInstruction]) -> Result<(), SocketError> {
        let group = self.0.lock().group.clone().filter(|group| group.mode == mode::CBPF);
        let group = group.ok_or(errno::EINVAL)?;
        let program = Filter::new(program)?;
        group.lock().program = Some(program);
        Ok(())
    }

    /// Whether [a program](Self::set_fanout_program) would be taken.
    #[must_use]
    pub fn wants_fanout_program(&self) -> bool {
        self.0.lock().group.as_ref().is_some_and(|group| group.mode == mode::CBPF)
    }

    /// `PACKET_FANOUT_DATA` of any other: eBPF's programs there are none.
    pub(super) fn fanout_data(&self, value: &[u8]) -> i32 {
        let by_program = self.0.lock().group.as_ref().is_some_and(|group| group.mode == mode::EBPF);
        match value.try_into().map(i32::from_ne_bytes) {
            Ok(..0) if by_program => errno::EBADF,
            _ => errno::EINVAL,
        }
    }

    /// What `PACKET_ROLLOVER_STATS` tells; the second of the three is of flows that take more than their share, which are
    /// not looked for.
    pub(super) fn rollover_stats(&self) -> Result<Vec<u8>, i32> {
        let state = self.0.lock();
        if !state.group.as_ref().is_some_and(|group| group.rolls_over()) {
            return Err(errno::EINVAL);
        }
        Ok([state.rolled.all, 0, state.rolled.failed].map(u64::to_ne_bytes).concat())
    }

    /// Its program is gone, and never saw this frame: if the socket has a group, another of that does. Of other frames
    /// everybody has a copy.
    pub fn close_before(&self, frame: PacketFrame) {
        let Some(packets) = self.0.cx().and_then(|cx| cx.state.l4.packets.peek()) else { return };
        let group = self.0.lock().group.clone();
        self.leave_fanout(packets);
        if let Some(group) = group {
            group.take_again(frame);
        }
    }

    /// The socket ends.
    pub(super) fn leave_fanout(&self, packets: &Packets) {
        let group = self.0.lock().group.take();
        if let Some(group) = group {
            let mut groups = packets.groups();
            if group.leave(&self.0) {
                groups.remove(&group);
                drop(groups);
                packets.remove_group(&group);
            }
        }
    }
}

/// The groups of a namespace.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: Vec<Arc<Group>>,
    /// The last number that was found unused.
    last: u16,
}

impl Groups {
    fn find(&self, id: u16) -> Option<Arc<Group>> {
        self.all.iter().find(|group| group.id == id).cloned()
    }

    fn add(&mut self, group: Group) -> Arc<Group> {
        let group = Arc::new(group);
        self.all.push(Arc::clone(&group));
        group
    }

    fn remove(&mut self, group: &Arc<Group>) {
        self.all.retain(|other| !Arc::ptr_eq(other, group));
    }

    fn unused(&mut self) -> Option<u16> {
        let id = (0..=u16::MAX).map(|n| self.last.wrapping_add(n)).find(|&id| self.find(id).is_none())?;
        self.last = id.wrapping_add(1);
        Some(id)
    }
}
