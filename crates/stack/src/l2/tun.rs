//! What goes through devices whose cable is a file (`drivers/net/tun.c`).
//!
//! What a device sends waits at one of its files until somebody reads it there, and is counted then; what is written to a
//! file came in.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::backlog::netif_rx;
use super::{Checksum, Cx, Frame, PacketType, count, eth, ethertype, upper, xmit};
use crate::dev::{KindData, Link, Stack, Tun, TunPlace, tun_flag as flag};
use crate::{errno, l3};

/// Bytes of `struct tun_pi`: flags, and the protocol.
const PI: usize = 4;
/// `struct virtio_net_hdr`, without what may follow.
const VNET: usize = 10;
/// Its flags: a checksum is still to be computed; it was looked at.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// Kinds of packets that stand for several: of TCP, by either protocol, and that one of them says "congested".
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// Called when there is something to read. It takes no lock that is held while something is written.
type Callback = Arc<dyn Fn() + Send + Sync>;

/// A file's end of a device's cable.
#[derive(Default)]
pub struct TunQueue(Mutex<Inner>);

/// Under a leaf lock.
#[derive(Default)]
struct Inner {
    /// What the program reads, and how much of it was the packet.
    waiting: VecDeque<(Vec<u8>, usize)>,
    on_ready: Option<Callback>,
}

impl fmt::Debug for TunQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunQueue").field("waiting", &self.lock().waiting.len()).finish_non_exhaustive()
    }
}

impl TunQueue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is one assignment, or one call of a queue's.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `callback` when something came to be read. It may wake somebody, and nothing else.
    pub fn on_ready(&self, callback: Callback) {
        self.lock().on_ready = Some(callback);
    }

    /// `false` if there is no room.
    fn push(&self, bytes: Vec<u8>, len: usize, room: usize) -> bool {
        let mut inner = self.lock();
        if inner.waiting.len() >= room {
            return false;
        }
        inner.waiting.push_back((bytes, len));
        let callback = inner.on_ready.clone();
        drop(inner);
        if let Some(callback) = callback {
            callback();
        }
        true
    }
}

/// The files that are a device's cable. A leaf lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cables(Arc<Mutex<Vec<Arc<TunQueue>>>>);

impl Cables {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<TunQueue>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn plug(&self, queue: &Arc<TunQueue>) {
        self.lock().push(queue.clone());
    }

    /// What waits there stays with the file.
    pub(crate) fn unplug(&self, queue: &Arc<TunQueue>) {
        self.lock().retain(|other| !Arc::ptr_eq(other, queue));
    }
}

fn tun_of(link: &Link) -> Option<&Tun> {
    match link.data() {
        Some(KindData::Tun(tun)) => Some(tun),
        _ => None,
    }
}

/// Puts a packet where one of the device's files finds it (`tun_net_xmit`).
pub(super) fn xmit(cx: Cx<'_>, link: &Link, mut frame: Frame) {
    let Some(tun) = tun_of(link) else { return };
    upper::inline(&mut frame);
    l3::finish_checksum(&mut frame);
    let cables = tun.cables.lock();
    let which = if cables.len() > 1 { flow(&mut frame) % cables.len() as u64 } else { 0 };
    let queue = cables.get(which as usize).cloned();
    drop(cables);
    let room = link.tx_queue_len as usize;
    if !queue.is_some_and(|queue| queue.push(written(tun, &frame), frame.len(), room)) {
        count(cx.state, link, |c| _ = c.tx_dropped.fetch_add(1, Relaxed));
    }
}

/// Packets of one flow go to one file.
fn flow(frame: &mut Frame) -> u64 {
    // Addresses, and ports where there are no options before them.
    let (from, upto) = if frame.protocol == ethertype::IPV6 { (8, 44) } else { (12, 24) };
    let network = frame.network_mut();
    let bytes = network.get(from..upto.min(network.len())).unwrap_or_default();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)) >> 17
}

/// A packet as a program reads it.
fn written(tun: &Tun, frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PI + VNET + frame.len());
    if !tun.is(flag::NO_PI) {
        bytes.extend([0; 2]);
        bytes.extend(frame.protocol.to_be_bytes());
    }
    if tun.is(flag::VNET_HDR) {
        // The checksum is right, and it is one packet: nothing is left to be said.
        bytes.resize(bytes.len() + usize::try_from(tun.header_len).unwrap_or(VNET), 0);
    }
    bytes.extend_from_slice(frame.data());
    bytes
}

/// What a program wrote, taken apart.
///
/// # Errors
/// `EINVAL`.
fn parsed(tun: &Tun, bytes: &[u8]) -> Result<Frame, i32> {
    let mut rest = bytes;
    let mut protocol = None;
    if !tun.is(flag::NO_PI) {
        let (pi, after) = rest.split_at_checked(PI).ok_or(errno::EINVAL)?;
        protocol = Some(u16::from_be_bytes([pi[2], pi[3]]));
        rest = after;
    }
    let mut offload = None;
    if tun.is(flag::VNET_HDR) {
        let len = usize::try_from(tun.header_len).unwrap_or(VNET);
        let (header, after) = rest.split_at_checked(len).ok_or(errno::EINVAL)?;
        offload = Some(Offload::parse(header.first_chunk().ok_or(errno::EINVAL)?, tun.little_endian));
        rest = after;
    }
    let mut frame = Frame::with_payload(rest);
    let ethernet = tun.is(flag::TAP);
    if ethernet {
        if rest.len() < eth::HLEN {
            return Err(errno::EINVAL);
        }
    } else {
        let by_version = || match rest.first().map(|first| first >> 4) {
            Some(4) => Some(ethertype::IP),
            Some(6) => Some(ethertype::IPV6),
            _ => None,
        };
        frame.protocol = protocol.or_else(by_version).ok_or(errno::EINVAL)?;
        frame.kind = PacketType::Host;
        frame.set_mac_here();
        frame.set_network_here();
    }
    if let Some(offload) = offload {
        offload.apply(&mut frame, if ethernet { eth::HLEN } else { 0 })?;
    }
    Ok(frame)
}

/// What the header about offloads says.
struct Offload {
    flags: u8,
    gso: u8,
    header_len: u16,
    gso_size: u16,
    start: u16,
    offset: u16,
}

impl Offload {
    fn parse(header: &[u8; VNET], little: bool) -> Self {
        let number = |at: usize| {
            let bytes = [header[at], header[at + 1]];
            if little { u16::from_le_bytes(bytes) } else { u16::from_ne_bytes(bytes) }
        };
        let (header_len, gso_size) = (number(2), number(4));
        Self { flags: header[0], gso: header[1], header_len, gso_size, start: number(6), offset: number(8) }
    }

    /// `link` bytes of the packet are before its network header.
    fn apply(&self, frame: &mut Frame, link: usize) -> Result<(), i32> {
        if usize::from(self.header_len) > frame.len() {
            return Err(errno::EINVAL);
        }
        if self.flags & NEEDS_CSUM != 0 {
            let start = usize::from(self.start).checked_sub(link).ok_or(errno::EINVAL)?;
            if usize::from(self.start) + usize::from(self.offset) + 2 > frame.len() {
                return Err(errno::EINVAL);
            }
            frame.checksum = Checksum::Partial { start: start as u16, offset: self.offset };
        } else if self.flags & DATA_VALID != 0 {
            frame.checksum = Checksum::Right;
        }
        match self.gso & !GSO_ECN {
            GSO_NONE => {}
            GSO_TCP4 | GSO_TCP6 => frame.segment = Some(NonZeroU16::new(self.gso_size).ok_or(errno::EINVAL)?),
            _ => return Err(errno::EINVAL),
        }
        Ok(())
    }
}

impl Stack {
    /// A program wrote a packet to a device's file (`tun_get_user`). No lock may be held.
    ///
    /// # Errors
    /// A positive errno: `EBADFD` without a device, `EIO` if it is down, `EINVAL` if it is no packet.
    pub fn tun_write(&self, place: &TunPlace, bytes: &[u8]) -> Result<(), i32> {
        let (net, index) = place.get().ok_or(errno::EBADFD)?;
        let cx = Cx::new(self, &net).ok_or(errno::EBADFD)?;
        let link = cx.state.links.by_index(index).ok_or(errno::EBADFD)?;
        let tun = tun_of(&link).ok_or(errno::EBADFD)?;
        let frame = if link.is_up() { parsed(tun, bytes) } else { Err(errno::EIO) };
        let mut frame = frame.inspect_err(|_| count(cx.state, &link, |c| _ = c.rx_dropped.fetch_add(1, Relaxed)))?;
        let len = frame.len();
        if tun.is(flag::TAP) && eth::eth_type_trans(&mut frame, &link).is_none() {
            return Err(errno::EINVAL);
        }
        if netif_rx(cx, index, frame) {
            xmit::received(cx, &link, len);
        } else {
            count(cx.state, &link, |c| _ = c.rx_dropped.fetch_add(1, Relaxed));
        }
        self.run_packets();
        Ok(())
    }

    /// Has what waits at a device's file read by `read`, a packet each, as far as it takes them (`tun_do_read`). One that it
    /// does not take waits on. One reader at a time: or packets change places.
    pub fn tun_read(&self, place: &TunPlace, queue: &TunQueue, mut read: impl FnMut(&[u8]) -> bool) {
        loop {
            let Some((bytes, len)) = queue.lock().waiting.pop_front() else { return };
            if !read(&bytes) {
                queue.lock().waiting.push_front((bytes, len));
                return;
            }
            if let Some((net, index)) = place.get()
                && let Some(cx) = Cx::new(self, &net)
                && let Some(link) = cx.state.links.by_index(index)
            {
                xmit::sent(cx, &link, len);
            }
        }
    }
}

#[cfg(test)]
mod tests;
