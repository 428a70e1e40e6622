//! The pcapng format (draft-ietf-opsawg-pcapng): a section, one interface, a block for each packet.

use std::io::{self, Write};
use std::time::Duration;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Written in this machine's byte order; readers tell by it.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

const OPT_END: u16 = 0;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// What is captured from.
#[derive(Clone, Debug)]
pub(super) struct Interface<'a> {
    /// The device.
    pub(super) name: &'a str,
    /// Where it is.
    pub(super) description: &'a str,
    /// `LINKTYPE_*`.
    pub(super) link_type: u16,
    /// Most bytes kept of a packet.
    pub(super) snaplen: u32,
}

/// Whether a packet came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// A packet as far as it was kept.
#[derive(Clone, Debug)]
pub(super) struct Packet<'a> {
    /// Since 1970.
    pub(super) time: Duration,
    pub(super) direction: Direction,
    pub(super) bytes: &'a [u8],
    /// Its whole length.
    pub(super) len: u32,
}

/// A file being written. What was written is whole after each call: a capture that is killed leaves a file that opens.
pub(super) struct Writer<W> {
    out: W,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins the file.
    pub(super) fn new(out: W, interface: &Interface<'_>) -> io::Result<Self> {
        let mut writer = Self { out, block: Vec::with_capacity(4096) };
        let application = concat!("pernet ", env!("CARGO_PKG_VERSION"));
        writer.block(SECTION_HEADER, |body| {
            body.extend(BYTE_ORDER_MAGIC.to_ne_bytes());
            body.extend(1_u16.to_ne_bytes());
            body.extend(0_u16.to_ne_bytes());
            // The section's length is not known.
            body.extend(u64::MAX.to_ne_bytes());
            option(body, SHB_USERAPPL, application.as_bytes());
            option(body, OPT_END, &[]);
        })?;
        writer.block(INTERFACE_DESCRIPTION, |body| {
            body.extend(interface.link_type.to_ne_bytes());
            body.extend(0_u16.to_ne_bytes());
            body.extend(interface.snaplen.to_ne_bytes());
            option(body, IF_NAME, interface.name.as_bytes());
            option(body, IF_DESCRIPTION, interface.description.as_bytes());
            // Times are in nanoseconds.
            option(body, IF_TSRESOL, &[9]);
            option(body, OPT_END, &[]);
        })?;
        Ok(writer)
    }

    /// One packet.
    pub(super) fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        self.block(ENHANCED_PACKET, |body| {
            body.extend(0_u32.to_ne_bytes());
            body.extend(stamp(packet.time));
            body.extend(u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX).to_ne_bytes());
            body.extend(packet.len.to_ne_bytes());
            body.extend(packet.bytes);
            pad(body);
            let direction: u32 = if packet.direction == Direction::In { 1 } else { 2 };
            option(body, EPB_FLAGS, &direction.to_ne_bytes());
            option(body, OPT_END, &[]);
        })
    }

    /// Ends the file with what was seen and what was missed.
    pub(super) fn finish(mut self, time: Duration, seen: u64, dropped: u64) -> io::Result<()> {
        self.block(INTERFACE_STATISTICS, |body| {
            body.extend(0_u32.to_ne_bytes());
            body.extend(stamp(time));
            option(body, ISB_IFRECV, &seen.to_ne_bytes());
            option(body, ISB_IFDROP, &dropped.to_ne_bytes());
            option(body, OPT_END, &[]);
        })?;
        self.flush()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// A block: type, length, body, length again.
    fn block(&mut self, ty: u32, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let block = &mut self.block;
        block.clear();
        block.extend(ty.to_ne_bytes());
        block.extend([0; 4]);
        fill(block);
        let len = u32::try_from(block.len() + 4).map_err(io::Error::other)?.to_ne_bytes();
        block[4..8].copy_from_slice(&len);
        block.extend(len);
        self.out.write_all(block)
    }
}

/// High and low half of the nanoseconds since 1970.
fn stamp(time: Duration) -> [u8; 8] {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let (high, low) = ((nanoseconds >> 32) as u32, nanoseconds as u32);
    let mut out = [0; 8];
    out[..4].copy_from_slice(&high.to_ne_bytes());
    out[4..].copy_from_slice(&low.to_ne_bytes());
    out
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    // Names are short; what could not be said in 16 bits is cut.
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_ne_bytes());
    body.extend((value.len() as u16).to_ne_bytes());
    body.extend(value);
    pad(body);
}

/// Everything begins at a multiple of four bytes.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types, bodies: what a reader goes by.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut out = Vec::new();
        while !file.is_empty() {
            let len = word(file, 4) as usize;
            assert!(len.is_multiple_of(4) && word(file, len - 4) as usize == len, "a block of {len} bytes");
            out.push((word(file, 0), file[8..len - 4].to_vec()));
            file = &file[len..];
        }
        out
    }

    #[test]
    fn blocks_follow_each_other_whole() {
        let mut file = Vec::new();
        let interface = Interface { name: "veth0", description: "in blue", link_type: 1, snaplen: 65_535 };
        let mut writer = Writer::new(&mut file, &interface).unwrap();
        let time = Duration::new(5_000_000_000, 7);
        for len in 0..9 {
            let bytes = vec![0xab; len];
            writer.packet(&Packet { time, direction: Direction::Out, bytes: &bytes, len: 1500 }).unwrap();
        }
        writer.finish(time, 9, 1).unwrap();
        let blocks = blocks(&file);
        let types: Vec<u32> = blocks.iter().map(|(ty, _)| *ty).collect();
        assert_eq!(types, [&[SECTION_HEADER, 1][..], &[6; 9], &[5]].concat());
        let third = &blocks[4].1;
        assert_eq!(u32::from_ne_bytes(third[12..16].try_into().unwrap()), 2, "captured");
        assert_eq!(u32::from_ne_bytes(third[16..20].try_into().unwrap()), 1500, "original");
        assert_eq!(&third[20..24], [0xab, 0xab, 0, 0], "padded");
        let halves = [4, 8].map(|at| u64::from(u32::from_ne_bytes(third[at..at + 4].try_into().unwrap())));
        assert_eq!(halves[0] << 32 | halves[1], 5_000_000_000_000_000_007);
    }
}
