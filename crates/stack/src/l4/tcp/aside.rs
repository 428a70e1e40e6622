//! What one socket of this process gives to another without segments.
//!
//! The [short way](super::splice) of a supervised program's bytes is from its end of a connection to the peer's. Programs of
//! this process have no such ends: what takes the short way between them is put into a queue beside the receiver's engine
//! and read from there, copied twice in all, and no segment is made for it.
//!
//! A large unit that came by segments, in order, is put there too, as the frame that it is: it is copied once more, by who
//! reads it. The engine is shown a segment without data then, for what it says besides, and is behind by that much.
//!
//! What is in that queue came before anything that the engine holds: bytes are put there only while the engine holds none
//! and none are on their way, under the locks of both sockets. So it is read first. Where it is full, bytes go by segments:
//! the engine has a window of its own, and the sender hears from it when there is room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::buffers::MOST;
use super::segment::{self, ACK, Header, before};
use super::sock::{Inner, Sock};
use super::splice::{TcpShortcut, TcpWay};
use crate::errno;
use crate::l2::Frame;

/// A piece of at least so many bytes is worth a look at the way; of less a segment costs about as much, and a connection
/// that never has more to say need not remember any way.
pub(super) const BULK: usize = 16 << 10;
/// Bytes that are kept together: memory for so many is used again.
const PIECE: usize = 64 << 10;
/// A unit of at least so many bytes is kept as it came: its memory is for one of twice as many at most.
const UNIT: usize = 34 << 10;
/// `PSH`, which says nothing that anybody here heeds.
const PSH: u8 = 0x08;

/// Bytes for a program, in order.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// None of them is empty.
    pieces: VecDeque<Frame>,
    bytes: usize,
}

impl Aside {
    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn put(&mut self, bytes: &[u8]) {
        self.pieces.extend(bytes.chunks(PIECE).map(Frame::with_payload));
        self.bytes += bytes.len();
    }

    fn keep(&mut self, piece: Frame) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// Copies bytes from the front, and takes them out.
    pub(super) fn take(&mut self, into: &mut [u8]) -> usize {
        let mut got = 0;
        while let Some(piece) = self.pieces.front_mut().filter(|_| got < into.len()) {
            got += copy(piece, &mut into[got..]);
            if piece.len() == 0 {
                self.pieces.pop_front();
            }
        }
        self.bytes -= got;
        got
    }

    /// Copies bytes from the front, and leaves them.
    pub(super) fn peek(&self, into: &mut [u8]) -> usize {
        let mut got = 0;
        for piece in &self.pieces {
            let count = piece.len().min(into.len() - got);
            into[got..got + count].copy_from_slice(&piece.data()[..count]);
            got += count;
        }
        got
    }
}

/// From the front of a piece, which loses them.
fn copy(piece: &mut Frame, into: &mut [u8]) -> usize {
    let count = piece.len().min(into.len());
    into[..count].copy_from_slice(&piece.data()[..count]);
    // As many as there are.
    let _ = piece.pull(count);
    count
}

impl Inner {
    /// Bytes that can be read.
    pub(super) fn received(&self) -> usize {
        self.aside.len() + self.engine.as_ref().map_or(0, |engine| engine.received())
    }

    /// How much more there is room for beside the engine.
    fn room_aside(&self) -> usize {
        self.options.receive_buffer.min(MOST).saturating_sub(self.aside.len())
    }

    /// Where the engine's next byte stands; what came and lies before that was received.
    fn expected(&self) -> u32 {
        let received = self.engine.as_ref().map_or(0, |engine| engine.received());
        self.sequence.read.wrapping_add(received as u32)
    }

    /// A segment with data is for the engine: does it leave a gap there? It may be filled in any order, which nobody sees
    /// but the engine.
    pub(super) fn note_gap(&mut self, header: &Header) {
        self.gap |= header.payload > 0 && self.sequence.theirs && before(self.expected(), header.seq);
    }

    /// Is this the next of the bytes that come, and may they be put beside the engine?
    pub(super) fn goes_aside(&self, header: &Header, frame: &Frame) -> bool {
        let large = frame.segment.is_some() && header.payload >= UNIT && header.payload <= self.room_aside();
        let plain = header.flags & !PSH == ACK;
        large && plain && !self.gap && self.may_skip_from_peer() && header.seq == self.sequence.read
    }

    /// Puts the bytes of such a segment there.
    pub(super) fn put_aside(&mut self, header: &Header, mut frame: Frame) {
        let _ = frame.pull(header.len);
        self.aside.keep(frame);
        self.skip_received(header.payload as u32);
        self.urgent.passed(self.sequence.read);
        self.news = true;
    }

    /// An acknowledgement of all that came, as the engine would number it. One that it holds back says the same later.
    pub(super) fn acknowledgement(&self, now: Duration) -> Option<Frame> {
        let engine = self.engine.as_ref()?;
        let header = Header {
            sport: 0,
            dport: 0,
            seq: self.sequence.snd_nxt.wrapping_sub(self.skip.sent()),
            ack: self.sequence.read.wrapping_sub(self.skip.received()),
            flags: ACK,
            window: engine.window(self.counts.peer.window_scale.is_some()),
            urgent: 0,
            len: segment::HEADER_LEN,
            payload: 0,
        };
        let echo = self.sequence.timestamp.filter(|_| engine.timestamps());
        Some(segment::bare(&header, echo.map(|echo| (now.as_millis() as u32, echo))))
    }

    /// Is it worth asking for the way of these bytes, which its program sends? Where bytes of supervised programs go is
    /// decided by who moves them.
    pub(super) const fn is_bulk(&self, bytes: &[u8]) -> bool {
        self.inode == 0 && bytes.len() >= BULK
    }
}

impl TcpShortcut {
    /// Gives bytes to the other socket as if segments had carried them; how many. None if they have to be sent by segments:
    /// for what [`advance`](Self::advance) says, or because too many wait to be read.
    fn carry(&self, bytes: &[u8]) -> usize {
        let (mut from, mut to) = self.locked();
        let count = bytes.len().min(to.room_aside());
        // A drop into a vessel that is almost full is not worth it.
        let fits = to.inode == 0 && count >= bytes.len().min(BULK);
        if !fits || !self.move_on(&mut from, &mut to, count) {
            return 0;
        }
        drop(from);
        to.aside.put(&bytes[..count]);
        to.news = true;
        self.receiver().tell(to);
        count
    }
}

impl Sock {
    /// As [`send`](Self::send), the short way if that is the way.
    pub(super) fn send_in_bulk(self: &Arc<Self>, bytes: &[u8]) -> Result<usize, i32> {
        if bytes.len() < BULK || !self.lock().is_bulk(bytes) {
            return self.send(bytes, false);
        }
        let (mut took, mut way) = (0, self.way());
        if let TcpWay::Ask(count) = way {
            // By one segment, whose answer brings the way.
            took = self.send(&bytes[..count.min(bytes.len())], false)?;
            self.stack.run_packets();
            way = self.way();
        }
        if let TcpWay::Short(way) = way {
            took += way.carry(&bytes[took..]);
        }
        if took == bytes.len() {
            return Ok(took);
        }
        match self.send(&bytes[took..], false) {
            Ok(more) => Ok(took + more),
            Err(error) if took == 0 => Err(error),
            Err(error) => {
                // It is for the next call.
                if !matches!(error, errno::EAGAIN | errno::EPIPE) {
                    self.lock().error = error;
                }
                Ok(took)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let mut aside = Aside::default();
        for piece in bytes.chunks(70_001) {
            aside.put(piece);
        }
        assert_eq!(aside.len(), bytes.len());
        let mut peeked = vec![0; 150_000];
        assert_eq!(aside.peek(&mut peeked), 150_000);
        assert_eq!(peeked, bytes[..150_000]);
        let mut read = vec![0; bytes.len() + 1];
        assert_eq!(aside.take(&mut read[..1]), 1);
        assert_eq!(aside.take(&mut read[1..66_000]), 65_999);
        assert_eq!(aside.take(&mut read[66_000..]), bytes.len() - 66_000);
        assert_eq!(read[..bytes.len()], bytes);
        assert!(aside.is_empty() && aside.take(&mut read) == 0 && aside.peek(&mut read) == 0);
    }
}
