//! Rings: memory that a program shares with its socket, instead of a call for each frame (`PACKET_RX_RING`,
//! `PACKET_TX_RING`, versions 1 and 2; those of version 3 that receive are in [`block`](super::block)).
//!
//! Each place has a header whose first word says whose it is: the socket's, or the program's. Whoever has it writes, and
//! gives it away by that word, last of all. So the two need no lock.

use std::sync::Arc;
use std::time::Duration;

use super::block::Blocks;
use crate::errno;

/// Whose a place is, of a ring that receives: the socket's, or the program's.
pub(super) const KERNEL: u32 = 0;
pub(super) const USER: u32 = 1;
/// Frames were lost since somebody last asked for their number.
pub(super) const LOSING: u32 = 4;
/// Of a ring that sends: to be sent, and what cannot be.
const SEND_REQUEST: u32 = 1;
const WRONG_FORMAT: u32 = 4;
/// Everything in a ring begins at a multiple of this.
const ALIGN: usize = 16;
/// Blocks are of whole pages.
pub(super) const PAGE: usize = 4096;
/// `struct sockaddr_ll`.
const NAME: usize = 20;
/// Room that a link-layer header has at least.
const LINK_ROOM: usize = 16;

/// Memory that a program shares with its socket.
pub trait RingMemory: Send + Sync {
    /// Makes it `len` bytes of zeros.
    ///
    /// # Errors
    /// errno, if there is not so much.
    fn resize(&self, len: usize) -> Result<(), i32>;
    /// Reads what is there at `at`; what is beyond the end reads as zeros.
    fn read(&self, at: usize, into: &mut [u8]);
    /// Writes at `at`; nothing beyond the end. Of two writes the program sees the first one first.
    fn write(&self, at: usize, bytes: &[u8]);
}

/// `PACKET_VERSION`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    #[default]
    V1 = 0,
    V2 = 1,
    V3 = 2,
}

impl Version {
    pub(super) const fn of(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::V1),
            1 => Some(Self::V2),
            2 => Some(Self::V3),
            _ => None,
        }
    }

    /// `struct tpacket_hdr`, `tpacket2_hdr`, `tpacket3_hdr`.
    pub(super) const fn header(self) -> usize {
        match self {
            Self::V1 | Self::V2 => 32,
            Self::V3 => 48,
        }
    }

    /// Where in a header stands whose the place is.
    const fn status_at(self) -> usize {
        match self {
            Self::V1 | Self::V2 => 0,
            Self::V3 => 20,
        }
    }

    /// The smallest place for a frame.
    const fn smallest(self, reserve: usize) -> usize {
        self.header() + NAME + reserve
    }

    /// Where in a frame's place its bytes and its network header begin. `link`: bytes before the latter, `None` if the
    /// socket is [cooked](super::PacketSocket::new). `vnet`: bytes of what is said of checksums.
    pub(super) fn offsets(self, link: Option<usize>, reserve: usize, vnet: usize) -> (usize, usize) {
        let named = self.header() + NAME;
        match link {
            None => {
                let network = named.next_multiple_of(ALIGN) + LINK_ROOM + reserve + vnet;
                (network, network)
            }
            Some(link) => {
                let network = (named + link.max(LINK_ROOM)).next_multiple_of(ALIGN) + reserve + vnet;
                (network - link, network)
            }
        }
    }
}

/// `struct tpacket_req`: blocks, and frames in them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) block_size: u32,
    pub(super) block_nr: u32,
    pub(super) frame_size: u32,
    pub(super) frame_nr: u32,
}

impl Geometry {
    /// Reads one; `None` of no blocks: the ring is to go.
    ///
    /// # Errors
    /// `EINVAL` for what no ring is like.
    pub(super) fn read(request: &[u8], version: Version, reserve: usize) -> Result<Option<Self>, i32> {
        let [block_size, block_nr, frame_size, frame_nr] = *words::<4>(request)?;
        let geometry = Self { block_size, block_nr, frame_size, frame_nr };
        if block_nr == 0 {
            return if frame_nr == 0 { Ok(None) } else { Err(errno::EINVAL) };
        }
        let [block, frame] = [block_size as usize, frame_size as usize];
        let sound = i32::try_from(block_size).is_ok_and(|size| size > 0)
            && block.is_multiple_of(PAGE)
            && frame >= version.smallest(reserve)
            && frame.is_multiple_of(ALIGN)
            && frame <= block
            && u64::from(block_size / frame_size) * u64::from(block_nr) == u64::from(frame_nr);
        if !sound {
            return Err(errno::EINVAL);
        }
        Ok(Some(geometry))
    }

    pub(super) const fn len(&self) -> usize {
        self.block_size as usize * self.block_nr as usize
    }

    /// Where a frame's place is.
    const fn frame(&self, number: u32) -> usize {
        let in_block = self.block_size / self.frame_size;
        (number / in_block) as usize * self.block_size as usize
            + (number % in_block) as usize * self.frame_size as usize
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        [self.block_size, self.block_nr, self.frame_size, self.frame_nr].map(u32::to_ne_bytes).concat()
    }
}

/// The numbers that a request begins with.
///
/// # Errors
/// `EINVAL` if it is too short.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> Result<Box<[u32; N]>, i32> {
    let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().take(N).map(|&word| u32::from_ne_bytes(word)).collect();
    Box::try_from(words.into_boxed_slice()).map_err(|_| errno::EINVAL)
}

/// A frame on its way into a ring.
pub(super) struct Slot<'f> {
    /// `struct virtio_net_hdr`, where that is asked for, and the frame's bytes.
    pub(super) parts: [&'f [u8]; 2],
    /// How long the frame is, of which `parts[1]` may be the beginning.
    pub(super) len: usize,
    /// Where in the place the frame begins, and its network header.
    pub(super) at: (usize, usize),
    /// What is said of it beside that it is the program's.
    pub(super) status: u32,
    /// By the wall's clock.
    pub(super) time: Duration,
    /// `struct sockaddr_ll`.
    pub(super) name: Vec<u8>,
    /// The tag that it bears, and that tag's Ethernet type.
    pub(super) tag: (u16, u16),
    /// What is the same of all frames of a flow.
    pub(super) hash: u32,
}

impl Slot<'_> {
    /// What stands between the header and the end of the frame's first `room` bytes: address, gap, and frame.
    pub(super) fn body(&self, header: usize, room: usize) -> Vec<u8> {
        let [vnet, data] = self.parts;
        let mut body = self.name.clone();
        body.resize(body.len().max(self.at.0.saturating_sub(header + vnet.len())), 0);
        body.extend_from_slice(vnet);
        body.extend_from_slice(&data[..data.len().min(room)]);
        body
    }
}

/// Places for one frame each: of versions 1 and 2, and what sends.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) geometry: Geometry,
    version: Version,
    /// The place that is next.
    next: u32,
}

impl Slots {
    pub(super) const fn new(geometry: Geometry, version: Version) -> Self {
        Self { geometry, version, next: 0 }
    }

    fn status(&self, memory: &dyn RingMemory, place: usize) -> u32 {
        let mut word = [0; 4];
        memory.read(place + self.version.status_at(), &mut word);
        u32::from_ne_bytes(word)
    }

    fn set_status(&self, memory: &dyn RingMemory, place: usize, status: u32) {
        let at = place + self.version.status_at();
        match self.version {
            // An `unsigned long`.
            Version::V1 => memory.write(at, &u64::from(status).to_ne_bytes()),
            Version::V2 | Version::V3 => memory.write(at, &status.to_ne_bytes()),
        }
    }

    fn advance(&mut self) {
        self.next = (self.next + 1) % self.geometry.frame_nr;
    }

    /// Puts a frame in; says whether there was a place (`tpacket_rcv`).
    fn put(&mut self, memory: &dyn RingMemory, slot: &Slot<'_>) -> bool {
        let place = self.geometry.frame(self.next);
        if self.status(memory, place) != KERNEL {
            return false;
        }
        let room = (self.geometry.frame_size as usize).saturating_sub(slot.at.0);
        let header = self.version.header();
        let kept = slot.parts[1].len().min(room);
        let lengths = [slot.len as u32, kept as u32].map(u32::to_ne_bytes).concat();
        let offsets = [slot.at.0 as u16, slot.at.1 as u16].map(u16::to_ne_bytes).concat();
        let seconds = slot.time.as_secs() as u32;
        let mut bytes = [lengths, offsets].concat();
        let status_len = if self.version == Version::V1 {
            bytes.extend([seconds, slot.time.subsec_micros()].map(u32::to_ne_bytes).concat());
            8
        } else {
            bytes.extend([seconds, slot.time.subsec_nanos()].map(u32::to_ne_bytes).concat());
            bytes.extend([slot.tag.0, slot.tag.1].map(u16::to_ne_bytes).concat());
            4
        };
        bytes.resize(header - status_len, 0);
        let mut body = slot.body(header, room);
        body.truncate(self.geometry.frame_size as usize - header);
        bytes.extend(body);
        memory.write(place + status_len, &bytes);
        self.set_status(memory, place, USER | slot.status);
        self.advance();
        true
    }

    /// Is the place so far behind the next one free?
    fn has_place(&self, memory: &dyn RingMemory, ahead: u32) -> bool {
        let at = (self.next + ahead) % self.geometry.frame_nr;
        self.status(memory, self.geometry.frame(at)) == KERNEL
    }

    /// Is the frame that came last still the program's?
    fn is_readable(&self, memory: &dyn RingMemory) -> bool {
        let last = (self.next + self.geometry.frame_nr - 1) % self.geometry.frame_nr;
        self.status(memory, self.geometry.frame(last)) != KERNEL
    }

    /// The next frame that is to be sent: its place, and its bytes as far as it can be had. `base`: where the ring begins.
    /// `offset`: where frames say by their headers that they begin; whether they are cooked.
    pub(super) fn next_to_send(
        &self,
        memory: &dyn RingMemory,
        base: usize,
        offset: Option<bool>,
    ) -> Option<(usize, Result<Vec<u8>, i32>)> {
        let place = base + self.geometry.frame(self.next);
        if self.status(memory, place) != SEND_REQUEST {
            return None;
        }
        let header = self.version.header();
        let mut raw = [0; 48];
        memory.read(place, &mut raw);
        let len_at = match self.version {
            Version::V1 => 8,
            Version::V2 => 4,
            Version::V3 => 16,
        };
        let word = |at: usize| raw[at..].first_chunk().map_or(0, |&word| u32::from_ne_bytes(word)) as usize;
        let half = |at: usize| raw[at..].first_chunk().map_or(0, |&half| u16::from_ne_bytes(half)) as usize;
        let offsets_at = if self.version == Version::V3 { 24 } else { len_at + 8 };
        let begins = match offset {
            None => header,
            Some(cooked) => half(offsets_at + if cooked { 2 } else { 0 }),
        };
        let len = word(len_at);
        let room = self.geometry.frame_size as usize;
        if begins < header || begins + len > room {
            let says = if begins < header || begins > room { errno::EINVAL } else { errno::EMSGSIZE };
            return Some((place, Err(says)));
        }
        let mut bytes = vec![0; len];
        memory.read(place + begins, &mut bytes);
        Some((place, Ok(bytes)))
    }

    /// The frame at `place` was sent, or cannot be: the place is the program's again.
    pub(super) fn sent(&mut self, memory: &dyn RingMemory, place: usize, bad: bool) {
        self.set_status(memory, place, if bad { WRONG_FORMAT } else { KERNEL });
        self.advance();
    }
}

/// A ring that receives.
#[derive(Debug)]
pub(super) enum Receiver {
    Slots(Slots),
    Blocks(Blocks),
}

impl Receiver {
    pub(super) fn put(&mut self, memory: &dyn RingMemory, slot: &Slot<'_>, now: Duration) -> bool {
        match self {
            Self::Slots(slots) => slots.put(memory, slot),
            Self::Blocks(blocks) => blocks.put(memory, slot, now),
        }
    }

    pub(super) fn is_readable(&self, memory: &dyn RingMemory) -> bool {
        match self {
            Self::Slots(slots) => slots.is_readable(memory),
            Self::Blocks(blocks) => blocks.is_readable(memory),
        }
    }

    /// How many frames it has, or blocks.
    pub(super) const fn places(&self) -> u32 {
        match self {
            Self::Slots(slots) => slots.geometry.frame_nr,
            Self::Blocks(blocks) => blocks.geometry.block_nr,
        }
    }

    /// Whether that which is so far ahead is free.
    pub(super) fn has_place(&self, memory: &dyn RingMemory, ahead: u32) -> bool {
        match self {
            Self::Slots(slots) => slots.has_place(memory, ahead),
            Self::Blocks(blocks) => blocks.has_place(memory, ahead),
        }
    }

    pub(super) const fn geometry(&self) -> &Geometry {
        match self {
            Self::Slots(slots) => &slots.geometry,
            Self::Blocks(blocks) => &blocks.geometry,
        }
    }
}

/// The rings of a socket. Both are one piece of memory, that which receives first.
#[derive(Default)]
pub(super) struct Rings {
    pub(super) version: Version,
    /// Room that frames have before them (`PACKET_RESERVE`).
    pub(super) reserve: u32,
    pub(super) memory: Option<Arc<dyn RingMemory>>,
    pub(super) rx: Option<Receiver>,
    pub(super) tx: Option<Slots>,
}

impl std::fmt::Debug for Rings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rings").field("rx", &self.rx).field("tx", &self.tx).finish_non_exhaustive()
    }
}

impl Rings {
    pub(super) const fn any(&self) -> bool {
        self.rx.is_some() || self.tx.is_some()
    }

    /// Where the ring that sends begins.
    pub(super) fn tx_base(&self) -> usize {
        self.rx.as_ref().map_or(0, |rx| rx.geometry().len())
    }

    /// Bytes of both.
    pub(super) fn len(&self) -> usize {
        self.tx_base() + self.tx.as_ref().map_or(0, |tx| tx.geometry.len())
    }

    /// Makes a ring, or takes it away (`packet_set_ring`).
    ///
    /// # Errors
    /// `EINVAL`, `EBUSY` if there is one, `ENOMEM`.
    pub(super) fn set(&mut self, sends: bool, request: &[u8]) -> Result<(), i32> {
        let there = if sends { self.tx.is_some() } else { self.rx.is_some() };
        let extra = if self.version == Version::V3 { *words::<7>(request)? } else { [0; 7] };
        if there && words::<4>(request)?[1] != 0 {
            return Err(errno::EBUSY);
        }
        let geometry = Geometry::read(request, self.version, self.reserve as usize)?;
        let [_, _, _, _, timeout, private, wishes] = extra;
        if sends && geometry.is_some() && (timeout, private, wishes) != (0, 0, 0) {
            return Err(errno::EINVAL);
        }
        let memory = self.memory.clone().ok_or(errno::ENOMEM)?;
        if sends {
            self.tx = geometry.map(|geometry| Slots::new(geometry, self.version));
        } else {
            let smallest = self.version.smallest(self.reserve as usize);
            self.rx = match geometry {
                None => None,
                Some(geometry) if self.version == Version::V3 => {
                    Some(Receiver::Blocks(Blocks::new(geometry, timeout, private, wishes, smallest)?))
                }
                Some(geometry) => Some(Receiver::Slots(Slots::new(geometry, self.version))),
            };
        }
        if let Err(error) = memory.resize(self.len()) {
            if sends {
                self.tx = None;
            } else {
                self.rx = None;
            }
            return Err(error);
        }
        Ok(())
    }
}
