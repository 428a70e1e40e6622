//! The urgent byte (RFC 6093): one at a time, in its place in the stream, told beside it.

use super::segment::{Header, URG, before};
use super::sock::Inner;
use crate::errno;

/// How far an urgent byte that came has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Came {
    /// There is none.
    #[default]
    None,
    /// It was announced.
    Announced,
    /// It is here.
    Here(u8),
    /// The program has read it.
    Read,
}

/// What is urgent on a connection, either way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Urgent {
    /// Sequence number after ours.
    out: Option<u32>,
    came: Came,
    /// Sequence number of the peer's.
    at: u32,
}

/// Why there is no urgent byte to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoUrgent {
    /// There is none, or it was read.
    Nothing,
    /// It was announced and is still on its way.
    NotYet,
}

impl Urgent {
    /// The program has written one, and this is the sequence number after it.
    pub(super) fn wrote(&mut self, after: u32) {
        self.out = Some(after);
    }

    /// The urgent pointer of a segment that begins at `seq`, if it has one.
    pub(super) fn pointer(&self, seq: u32) -> Option<u16> {
        let pointer = self.out?.wrapping_sub(seq);
        u16::try_from(pointer).ok().filter(|&pointer| pointer != 0)
    }

    /// Bytes of ours up to `una` were acknowledged.
    pub(super) fn acknowledged(&mut self, una: u32) {
        if self.out.is_some_and(|after| !before(una, after)) {
            self.out = None;
        }
    }

    /// A segment came; `read` is the next byte that the program reads. True if it announces a byte that is new
    /// (`tcp_check_urg`).
    pub(super) fn note(&mut self, header: &Header, read: u32) -> bool {
        if !header.has(URG) || header.urgent == 0 {
            return false;
        }
        // The pointer is to the byte after it, as everybody does and nobody says.
        let at = header.seq.wrapping_add(u32::from(header.urgent)).wrapping_sub(1);
        if before(at, read) || (self.came != Came::None && !before(self.at, at)) {
            return false;
        }
        (self.came, self.at) = (Came::Announced, at);
        true
    }

    /// Nothing urgent is on its way, or waits to be read.
    pub(super) fn is_quiet(&self) -> bool {
        self.out.is_none() && matches!(self.came, Came::None | Came::Read)
    }

    /// Where the byte stands that was announced and has not arrived.
    pub(super) fn awaited(&self) -> Option<u32> {
        (self.came == Came::Announced).then_some(self.at)
    }

    pub(super) fn arrived(&mut self, byte: u8) {
        self.came = Came::Here(byte);
    }

    /// Is there a byte to be read out of band (`POLLPRI`)?
    pub(super) const fn is_here(&self) -> bool {
        matches!(self.came, Came::Here(_))
    }

    /// Reads it (`tcp_recv_urg`).
    pub(super) fn take(&mut self, peek: bool) -> Result<u8, NoUrgent> {
        match self.came {
            Came::None | Came::Read => Err(NoUrgent::Nothing),
            Came::Announced => Err(NoUrgent::NotYet),
            Came::Here(byte) => {
                if !peek {
                    self.came = Came::Read;
                }
                Ok(byte)
            }
        }
    }

    /// Where reading in band stops, bytes from `read` on: before the byte, and again after it.
    pub(super) fn mark(&self, read: u32) -> Option<usize> {
        (self.came != Came::None && !before(self.at, read)).then(|| self.at.wrapping_sub(read) as usize)
    }

    /// The program has read up to `read`: a byte before that is forgotten.
    pub(super) fn passed(&mut self, read: u32) {
        if self.came != Came::None && before(self.at, read) {
            self.came = Came::None;
        }
    }
}

impl Inner {
    /// Takes the urgent byte, or leaves it there.
    pub(super) fn read_urgent(&mut self, into: &mut [u8], peek: bool) -> Result<usize, i32> {
        if self.options.oob_inline {
            return Err(errno::EINVAL);
        }
        match self.urgent.take(peek) {
            Ok(byte) => Ok(into.first_mut().map_or(0, |place| {
                *place = byte;
                1
            })),
            Err(NoUrgent::NotYet) if !self.done && !self.shut_read => Err(errno::EAGAIN),
            Err(NoUrgent::NotYet) => Ok(0),
            Err(NoUrgent::Nothing) => Err(errno::EINVAL),
        }
    }
}
