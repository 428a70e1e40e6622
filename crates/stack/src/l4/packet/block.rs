//! Rings of version 3: blocks that the program gets when they are full, or when the first frame in them has waited long
//! enough (`tpacket_kbdq_core`).

use std::time::Duration;

use super::ring::{Geometry, KERNEL, RingMemory, Slot, USER, Version};
use crate::errno;

/// `struct tpacket_block_desc`: also where the program's own part begins.
const DESCRIPTOR: usize = 48;
/// Whose the block is, in its descriptor.
const STATUS_AT: usize = 8;
/// The block was given away because its time was over.
const TIMED_OUT: u32 = 1 << 5;
/// What blocks, and frames in them, begin at.
const ALIGN: usize = 8;
/// Of the wishes: frames say what is the same of all of a flow.
const FILL_HASH: u32 = 1;
/// How long a frame waits unless the program says.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(8);

/// A moment as the ring has it.
fn stamp(time: Duration) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&(time.as_secs() as u32).to_ne_bytes());
    bytes[4..].copy_from_slice(&time.subsec_nanos().to_ne_bytes());
    bytes
}

/// Such a ring.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) geometry: Geometry,
    pub(super) private: u32,
    pub(super) wishes: u32,
    timeout: Duration,
    /// The block that frames go into, or that is to be next.
    current: u32,
    /// It is ours. Else all are the program's, and frames are lost.
    open: bool,
    /// Of the next block that is opened.
    sequence: u64,
    frames: u32,
    /// Where the last frame is in the block, and where the next one goes.
    last: usize,
    end: usize,
    opened: Duration,
    newest: Duration,
    /// When the block is given away, on the stack's clock.
    deadline: Option<Duration>,
    /// How often all blocks were the program's, since somebody asked.
    pub(super) freezes: u32,
}

impl Blocks {
    /// `timeout` in milliseconds; `private`: bytes of each block that are the program's own; `smallest`: bytes of a place.
    ///
    /// # Errors
    /// `EINVAL` if a block has no room for a frame.
    pub(super) fn new(
        geometry: Geometry,
        timeout: u32,
        private: u32,
        wishes: u32,
        smallest: usize,
    ) -> Result<Self, i32> {
        let first = DESCRIPTOR + (private as usize).next_multiple_of(ALIGN);
        if first + smallest > geometry.block_size as usize {
            return Err(errno::EINVAL);
        }
        let timeout = if timeout == 0 { DEFAULT_TIMEOUT } else { Duration::from_millis(timeout.into()) };
        Ok(Self {
            geometry,
            private,
            wishes,
            timeout,
            current: 0,
            open: false,
            sequence: 1,
            frames: 0,
            last: 0,
            end: first,
            opened: Duration::ZERO,
            newest: Duration::ZERO,
            deadline: None,
            freezes: 0,
        })
    }

    /// `PACKET_RX_RING` as it was asked for, beyond the geometry.
    pub(super) fn extra(&self) -> [u32; 3] {
        [self.timeout.as_millis() as u32, self.private, self.wishes]
    }

    fn first(&self) -> usize {
        DESCRIPTOR + (self.private as usize).next_multiple_of(ALIGN)
    }

    fn base(&self, block: u32) -> usize {
        block as usize * self.geometry.block_size as usize
    }

    fn status(&self, memory: &dyn RingMemory, block: u32) -> u32 {
        let mut word = [0; 4];
        memory.read(self.base(block) + STATUS_AT, &mut word);
        u32::from_ne_bytes(word)
    }

    /// Is the block so far behind the current one the kernel's?
    pub(super) fn has_place(&self, memory: &dyn RingMemory, ahead: u32) -> bool {
        self.status(memory, (self.current + ahead) % self.geometry.block_nr) & USER == 0
    }

    /// Writes what a block says of itself, but for whose it is.
    fn describe(&self, memory: &dyn RingMemory) {
        let base = self.base(self.current);
        memory.write(base, &[Version::V3 as u32, DESCRIPTOR as u32].map(u32::to_ne_bytes).concat());
        let mut rest = [self.frames, self.first() as u32, self.end as u32].map(u32::to_ne_bytes).concat();
        rest.extend(self.sequence.to_ne_bytes());
        rest.extend(stamp(self.opened));
        rest.extend(stamp(self.newest));
        memory.write(base + STATUS_AT + 4, &rest);
    }

    /// Begins the block whose turn it is, if it is ours (`prb_open_block`).
    pub(super) fn open(&mut self, memory: &dyn RingMemory, time: Duration) -> bool {
        if !self.open && self.status(memory, self.current) == KERNEL {
            self.open = true;
            (self.frames, self.last, self.end) = (0, 0, self.first());
            (self.opened, self.newest, self.deadline) = (time, Duration::ZERO, None);
            self.describe(memory);
        }
        self.open
    }

    /// Gives the block to the program, and begins the next one (`prb_close_block`).
    fn close(&mut self, memory: &dyn RingMemory, time: Duration, how: u32) -> bool {
        // Behind the last frame there is none.
        memory.write(self.base(self.current) + self.last, &0u32.to_ne_bytes());
        self.describe(memory);
        memory.write(self.base(self.current) + STATUS_AT, &(USER | how).to_ne_bytes());
        self.current = (self.current + 1) % self.geometry.block_nr;
        self.sequence += 1;
        (self.open, self.deadline) = (false, None);
        if self.open(memory, time) {
            return true;
        }
        self.freezes += 1;
        false
    }

    /// Puts a frame in; says whether there was room.
    pub(super) fn put(&mut self, memory: &dyn RingMemory, slot: &Slot<'_>, now: Duration) -> bool {
        if !self.open(memory, slot.time) {
            return false;
        }
        let header = Version::V3.header();
        let size = self.geometry.block_size as usize;
        let kept = slot.parts[1].len().min((size - self.first()).saturating_sub(slot.at.0));
        let body = slot.body(header, kept);
        let len = (header + body.len()).next_multiple_of(ALIGN);
        if self.end + len > size {
            // An empty one is not given away; and in the next one it may not fit either.
            let next = self.frames > 0 && self.close(memory, slot.time, 0);
            if !next || self.first() + len > size {
                return false;
            }
        }
        let mut bytes = Vec::with_capacity(len);
        let (seconds, nanos) = (slot.time.as_secs() as u32, slot.time.subsec_nanos());
        let words = [len as u32, seconds, nanos, kept as u32, slot.len as u32, USER | slot.status];
        bytes.extend(words.map(u32::to_ne_bytes).concat());
        bytes.extend([slot.at.0 as u16, slot.at.1 as u16].map(u16::to_ne_bytes).concat());
        let hash = if self.wishes & FILL_HASH == 0 { 0 } else { slot.hash };
        bytes.extend([hash, slot.tag.0.into()].map(u32::to_ne_bytes).concat());
        bytes.extend(slot.tag.1.to_ne_bytes());
        bytes.resize(header, 0);
        bytes.extend(body);
        memory.write(self.base(self.current) + self.end, &bytes);
        (self.last, self.end) = (self.end, self.end + len);
        self.frames += 1;
        self.newest = slot.time;
        if self.deadline.is_none() {
            self.deadline = Some(now + self.timeout);
        }
        true
    }

    /// When the block's time is over, if there is a frame in it.
    pub(super) const fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Gives the block away if its time is over.
    pub(super) fn expire(&mut self, memory: &dyn RingMemory, now: Duration, time: Duration) {
        if self.open && self.deadline.is_some_and(|deadline| deadline <= now) {
            self.close(memory, time, TIMED_OUT);
        }
    }

    /// Is the block that was given away last still the program's?
    pub(super) fn is_readable(&self, memory: &dyn RingMemory) -> bool {
        let last = (self.current + self.geometry.block_nr - 1) % self.geometry.block_nr;
        // With a single block, that is the one which is open, and ours.
        self.status(memory, last) != KERNEL
    }
}
