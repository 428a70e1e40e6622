//! TCP headers on the wire: read, written, and their checksum.

use std::net::IpAddr;

use crate::l2::{Checksum, Frame};

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;
pub(super) const URG: u8 = 0x20;

/// `IPPROTO_TCP`.
pub(super) const PROTOCOL: u8 = 6;
/// A header without options.
pub(super) const HEADER_LEN: usize = 20;
/// Where the checksum stands in the header.
const CHECKSUM_AT: usize = 16;

/// Is `a` before `b` in the ring of sequence numbers?
pub(super) const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// The fixed part of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) sport: u16,
    pub(super) dport: u16,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) urgent: u16,
    /// Bytes of header with options.
    pub(super) len: usize,
    /// Bytes after it.
    pub(super) payload: usize,
}

/// What a header's options say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) mss: Option<u16>,
    pub(super) window_scale: Option<u8>,
    pub(super) sack_permitted: bool,
    /// Value and echo.
    pub(super) timestamp: Option<(u32, u32)>,
}

impl Header {
    /// `None` if it is cut short.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let h = bytes.first_chunk::<HEADER_LEN>()?;
        let len = usize::from(h[12] >> 4) * 4;
        if len < HEADER_LEN || len > bytes.len() {
            return None;
        }
        Some(Self {
            sport: u16::from_be_bytes([h[0], h[1]]),
            dport: u16::from_be_bytes([h[2], h[3]]),
            seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            ack: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
            flags: h[13] & 0x3f,
            window: u16::from_be_bytes([h[14], h[15]]),
            urgent: u16::from_be_bytes([h[18], h[19]]),
            len,
            payload: bytes.len() - len,
        })
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The sequence number after this segment.
    pub(super) fn end(&self) -> u32 {
        self.seq
            .wrapping_add(self.payload as u32)
            .wrapping_add(u32::from(self.has(SYN)))
            .wrapping_add(u32::from(self.has(FIN)))
    }
}

/// The options of a header that was [read](Header::parse).
pub(super) fn options(bytes: &[u8], header: &Header) -> Options {
    let mut rest = bytes.get(HEADER_LEN..header.len).unwrap_or_default();
    let mut found = Options::default();
    loop {
        let (kind, value) = match rest {
            [] | [0, ..] => return found,
            [1, after @ ..] => {
                rest = after;
                continue;
            }
            [kind, len, ..] => match rest.get(2..usize::from(*len)) {
                Some(value) if *len >= 2 => (*kind, value),
                _ => return found,
            },
            _ => return found,
        };
        rest = rest.get(value.len() + 2..).unwrap_or_default();
        match (kind, value) {
            (2, &[a, b]) => found.mss = Some(u16::from_be_bytes([a, b])),
            (3, &[shift]) => found.window_scale = Some(shift.min(14)),
            (4, []) => found.sack_permitted = true,
            (8, &[a, b, c, d, e, f, g, h]) => {
                found.timestamp = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
            }
            _ => {}
        }
    }
}

/// Changes what a header says of the largest segment, if it says that.
pub(super) fn change_mss(bytes: &mut [u8], header: &Header, to: impl FnOnce(u16) -> u16) {
    let mut at = HEADER_LEN;
    while let Some([kind, len]) = bytes.get(at..header.len).and_then(|rest| rest.first_chunk()) {
        match (kind, len) {
            (0, _) => return,
            (1, _) => at += 1,
            (2, 4) if at + 4 <= header.len => {
                let mss = to(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
                bytes[at + 2..at + 4].copy_from_slice(&mss.to_be_bytes());
                return;
            }
            _ => at += usize::from(*len).max(2),
        }
    }
}

/// Puts options where Linux puts them (`tcp_options_write`): what captures show, and what tells one system from another.
/// Those that would take more room so stay as they are.
pub(super) fn arrange_options(bytes: &mut [u8], header: &Header) {
    const NOP: u8 = 1;
    if let Some([8, 10, .., 0, 0]) = bytes.get(HEADER_LEN..header.len).filter(|room| room.len() == 12) {
        // A timestamp alone, as on all segments but the first.
        bytes[HEADER_LEN..header.len].rotate_right(2);
        bytes[HEADER_LEN..HEADER_LEN + 2].fill(NOP);
        return;
    }
    let mut found = options(bytes, header);
    let Some(room) = bytes.get_mut(HEADER_LEN..header.len).filter(|room| !room.is_empty()) else { return };
    // What acknowledges nothing echoes nothing (RFC 7323, 3.2).
    found.timestamp = found.timestamp.map(|(value, echo)| (value, if header.has(ACK) { echo } else { 0 }));
    let mut put = Vec::with_capacity(room.len());
    lay_out(&found, &mut put);
    if put.len() == room.len() {
        room.copy_from_slice(&put);
    }
}

/// Puts options where Linux puts them.
fn lay_out(options: &Options, put: &mut Vec<u8>) {
    const NOP: u8 = 1;
    if let Some(mss) = options.mss {
        put.extend([2, 4]);
        put.extend(mss.to_be_bytes());
    }
    match (options.sack_permitted, options.timestamp) {
        (true, Some(_)) => put.extend([4, 2]),
        (false, Some(_)) => put.extend([NOP, NOP]),
        (true, None) => put.extend([NOP, NOP, 4, 2]),
        (false, None) => {}
    }
    if let Some((value, echo)) = options.timestamp {
        put.extend([8, 10]);
        put.extend(value.to_be_bytes());
        put.extend(echo.to_be_bytes());
    }
    if let Some(shift) = options.window_scale {
        put.extend([NOP, 3, 3, shift]);
    }
}

/// A segment without payload, made outside of any connection's engine: a reset, or an answer in TIME-WAIT.
pub(super) fn bare(header: &Header, timestamp: Option<(u32, u32)>) -> Frame {
    with_options(header, &Options { timestamp, ..Options::default() })
}

/// The same, with these options.
pub(super) fn with_options(header: &Header, options: &Options) -> Frame {
    let mut bytes = Vec::with_capacity(2 * HEADER_LEN);
    bytes.extend_from_slice(&header.sport.to_be_bytes());
    bytes.extend_from_slice(&header.dport.to_be_bytes());
    bytes.extend_from_slice(&header.seq.to_be_bytes());
    bytes.extend_from_slice(&header.ack.to_be_bytes());
    bytes.extend_from_slice(&[0, header.flags]);
    bytes.extend_from_slice(&header.window.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    lay_out(options, &mut bytes);
    bytes[12] = (bytes.len() as u8 / 4) << 4;
    Frame::with_payload(&bytes)
}

/// The reset that answers a segment which belongs to no connection (RFC 9293, 3.10.7.1).
pub(super) fn reset_for(of: &Header) -> Frame {
    let mut header = Header {
        sport: of.dport,
        dport: of.sport,
        seq: 0,
        ack: 0,
        flags: RST,
        window: 0,
        urgent: 0,
        len: HEADER_LEN,
        payload: 0,
    };
    if of.has(ACK) {
        header.seq = of.ack;
    } else {
        header.flags |= ACK;
        header.ack = of.end();
    }
    bare(&header, None)
}

/// Sets both ports.
pub(super) fn set_ports(bytes: &mut [u8], source: u16, destination: u16) {
    if let Some([a, b, c, d]) = bytes.first_chunk_mut::<4>() {
        [*a, *b] = source.to_be_bytes();
        [*c, *d] = destination.to_be_bytes();
    }
}

/// Moves the sequence number.
pub(super) fn move_seq(bytes: &mut [u8], by: u32) {
    move_number(bytes, 4, by);
}

/// Moves the acknowledged number, where there is one.
pub(super) fn move_ack(bytes: &mut [u8], by: u32) {
    if bytes.get(13).is_some_and(|flags| flags & ACK != 0) {
        move_number(bytes, 8, by);
    }
}

fn move_number(bytes: &mut [u8], at: usize, by: u32) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = u32::from_be_bytes(*place).wrapping_add(by).to_be_bytes();
    }
}

/// Sets the window.
pub(super) fn set_window(bytes: &mut [u8], window: u16) {
    if let Some(header) = bytes.first_chunk_mut::<HEADER_LEN>() {
        header[14..16].copy_from_slice(&window.to_be_bytes());
    }
}

/// Sets the urgent pointer (RFC 9293, 3.8.5).
pub(super) fn set_urgent(bytes: &mut [u8], pointer: u16) {
    if let Some(header) = bytes.first_chunk_mut::<HEADER_LEN>() {
        header[13] |= URG;
        header[18..20].copy_from_slice(&pointer.to_be_bytes());
    }
}

fn sum(bytes: &[u8], mut total: u64) -> u64 {
    let (chunks, rest) = bytes.as_chunks::<4>();
    for &chunk in chunks {
        total += u64::from(u32::from_be_bytes(chunk));
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total + u64::from(u32::from_be_bytes(last))
}

fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

fn pseudo_header(src: IpAddr, dst: IpAddr, len: usize) -> u64 {
    let addresses = |bytes: &[u8], more: &[u8]| sum(bytes, sum(more, 0));
    let of = match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => addresses(&s.octets(), &d.octets()),
        (IpAddr::V6(s), IpAddr::V6(d)) => addresses(&s.octets(), &d.octets()),
        _ => 0,
    };
    of + u64::from(PROTOCOL) + len as u64
}

/// Leaves the checksum to whoever takes the packet off the machine: until then the field holds the sum of the pseudo
/// header, which nobody can add later.
pub(super) fn leave_checksum(frame: &mut Frame, src: IpAddr, dst: IpAddr) {
    let begin = fold(pseudo_header(src, dst, frame.len()));
    if let Some(field) = frame.data_mut().get_mut(CHECKSUM_AT..CHECKSUM_AT + 2) {
        field.copy_from_slice(&begin.to_be_bytes());
    }
    frame.checksum = Checksum::Partial { start: 0, offset: CHECKSUM_AT as u16 };
}

/// Is the checksum of a segment that came right?
pub(super) fn checksum_is_right(frame: &Frame, src: IpAddr, dst: IpAddr) -> bool {
    match frame.checksum {
        Checksum::Right | Checksum::Partial { .. } => true,
        Checksum::Unknown => fold(sum(frame.data(), pseudo_header(src, dst, frame.len()))) == 0xffff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_acknowledges_what_did_not_acknowledge() {
        let mut of = Header {
            sport: 1,
            dport: 2,
            seq: 100,
            ack: 0,
            flags: SYN,
            window: 1,
            urgent: 0,
            len: HEADER_LEN,
            payload: 3,
        };
        let reset = Header::parse(reset_for(&of).data()).unwrap();
        assert_eq!((reset.sport, reset.dport, reset.seq, reset.ack, reset.flags), (2, 1, 0, 104, RST | ACK));
        (of.flags, of.ack) = (ACK, 77);
        let reset = Header::parse(reset_for(&of).data()).unwrap();
        assert_eq!((reset.seq, reset.ack, reset.flags), (77, 0, RST));
    }

    #[test]
    fn options_stand_where_linux_puts_them() {
        let arranged_with = |flags: u8, options: &[u8]| {
            let mut bytes = vec![0; HEADER_LEN];
            bytes.extend_from_slice(options);
            bytes[12] = (bytes.len() as u8 / 4) << 4;
            bytes[13] = flags;
            let header = Header::parse(&bytes).unwrap();
            arrange_options(&mut bytes, &header);
            bytes.split_off(HEADER_LEN)
        };
        let arranged = |options: &[u8]| arranged_with(ACK, options);
        let syn = [2, 4, 5, 0xb4, 3, 3, 7, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0];
        assert_eq!(arranged_with(SYN | ACK, &syn), [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7]);
        // Whatever the engine remembers of a connection before.
        assert_eq!(arranged_with(SYN, &syn), [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]);
        assert_eq!(arranged(&[2, 4, 5, 0xb4, 3, 3, 7, 4, 2, 0, 0, 0]), [2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7]);
        assert_eq!(arranged(&[8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]), [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        // Blocks of selective acknowledgement want to be aligned, too.
        let sack = [8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(arranged(&sack), sack);
        assert_eq!(arranged(&[]), []);
    }

    #[test]
    fn options_end_where_they_make_no_sense() {
        let mut bytes = vec![0; 20];
        bytes.extend_from_slice(&[2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 8, 9]);
        bytes[12] = 8 << 4;
        let header = Header::parse(&bytes).unwrap();
        let found = options(&bytes, &header);
        assert_eq!((found.mss, found.window_scale, found.sack_permitted), (Some(1460), Some(7), true));
        assert_eq!(found.timestamp, None);
        bytes[21] = 0;
        assert_eq!(options(&bytes, &header), Options::default());
    }

    #[test]
    fn a_checksum_that_was_left_is_completed_by_the_sum_of_the_segment() {
        let (src, dst) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut frame = Frame::with_payload(&[7; 33]);
        leave_checksum(&mut frame, src, dst);
        assert!(checksum_is_right(&frame, src, dst));
        let whole = !fold(sum(frame.data(), 0));
        frame.data_mut()[16..18].copy_from_slice(&whole.to_be_bytes());
        frame.checksum = Checksum::Unknown;
        assert!(checksum_is_right(&frame, src, dst));
        frame.data_mut()[30] ^= 1;
        assert!(!checksum_is_right(&frame, src, dst));
    }
}
