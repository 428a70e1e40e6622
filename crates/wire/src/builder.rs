//! Messages under construction.

use alloc::vec::Vec;

use crate::attr::align4;
use crate::message::{HEADER_LEN, MsgHeader};
use crate::uapi::NLA_F_NESTED;

/// Largest payload one attribute can carry: its length field counts sixteen bits, header included.
const ATTR_PAYLOAD_MAX: usize = u16::MAX as usize - 4;

/// Builds messages into one buffer and patches the lengths of messages and nests.
///
/// An attribute that cannot be expressed (more than 65,531 bytes) is left out and remembered:
/// [`overflowed`](Self::overflowed) then says so, as `nla_put` would have returned an error.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    buf: Vec<u8>,
    /// Where the message being built starts; `None` for a bare run of attributes.
    start: Option<usize>,
    overflowed: bool,
}

impl Builder {
    /// Starts a message. The length in `header` is ignored.
    pub fn message(header: &MsgHeader) -> Self {
        let mut out = Self::default();
        out.begin(header);
        out
    }

    /// A run of attributes without a message header.
    pub fn bare() -> Self {
        Self::default()
    }

    /// Continues behind what `buf` holds, so that several messages share one datagram and one allocation.
    pub fn append_to(buf: Vec<u8>) -> Self {
        Self { buf, start: None, overflowed: false }
    }

    /// Ends the message being built, if any, and starts another behind it, on a multiple of four.
    pub fn begin(&mut self, header: &MsgHeader) -> &mut Self {
        self.end();
        self.pad();
        self.start = Some(self.buf.len());
        self.buf.extend_from_slice(&header.to_bytes());
        self
    }

    /// Ends the message being built: patches its length.
    pub fn end(&mut self) -> &mut Self {
        if let Some(start) = self.start.take() {
            let len = u32::try_from(self.buf.len() - start).unwrap_or(u32::MAX);
            self.buf[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        }
        self
    }

    /// Sets flags in the header of the message being built.
    pub fn add_flags(&mut self, flags: u16) -> &mut Self {
        if let Some(start) = self.start {
            for (byte, bits) in self.buf[start + 6..start + 8].iter_mut().zip(flags.to_ne_bytes()) {
                *byte |= bits;
            }
        }
        self
    }

    /// Bytes as they are, padded to four: a family header.
    pub fn put_raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.buf.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// An attribute with these bytes.
    pub fn put(&mut self, ty: u16, payload: &[u8]) -> &mut Self {
        if payload.len() > ATTR_PAYLOAD_MAX {
            self.overflowed = true;
            return self;
        }
        self.buf.extend_from_slice(&(payload.len() as u16 + 4).to_ne_bytes());
        self.buf.extend_from_slice(&ty.to_ne_bytes());
        self.buf.extend_from_slice(payload);
        self.pad();
        self
    }

    /// An attribute without payload.
    pub fn put_flag(&mut self, ty: u16) -> &mut Self {
        self.put(ty, &[])
    }

    /// One byte.
    pub fn put_u8(&mut self, ty: u16, value: u8) -> &mut Self {
        self.put(ty, &[value])
    }

    /// Two bytes, host order.
    pub fn put_u16(&mut self, ty: u16, value: u16) -> &mut Self {
        self.put(ty, &value.to_ne_bytes())
    }

    /// Four bytes, host order.
    pub fn put_u32(&mut self, ty: u16, value: u32) -> &mut Self {
        self.put(ty, &value.to_ne_bytes())
    }

    /// Four bytes, host order, signed.
    pub fn put_i32(&mut self, ty: u16, value: i32) -> &mut Self {
        self.put(ty, &value.to_ne_bytes())
    }

    /// Eight bytes, host order, not aligned to eight.
    pub fn put_u64(&mut self, ty: u16, value: u64) -> &mut Self {
        self.put(ty, &value.to_ne_bytes())
    }

    /// A string and its NUL.
    pub fn put_str(&mut self, ty: u16, value: &str) -> &mut Self {
        if value.len() >= ATTR_PAYLOAD_MAX {
            self.overflowed = true;
            return self;
        }
        self.buf.extend_from_slice(&(value.len() as u16 + 5).to_ne_bytes());
        self.buf.extend_from_slice(&ty.to_ne_bytes());
        self.buf.extend_from_slice(value.as_bytes());
        self.buf.push(0);
        self.pad();
        self
    }

    /// An attribute that contains what `inside` writes; its type field is `ty` alone, as rtnetlink sends it.
    pub fn nest(&mut self, ty: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.buf.len();
        self.buf.extend_from_slice(&4u16.to_ne_bytes());
        self.buf.extend_from_slice(&ty.to_ne_bytes());
        inside(self);
        match u16::try_from(self.buf.len() - start) {
            Ok(len) => self.buf[start..start + 2].copy_from_slice(&len.to_ne_bytes()),
            Err(_) => {
                self.buf.truncate(start);
                self.overflowed = true;
            }
        }
        self
    }

    /// As [`nest`](Self::nest), with the nested bit set in the type field.
    pub fn nest_flagged(&mut self, ty: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.nest(ty | NLA_F_NESTED, inside)
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Whether an attribute was too large to be expressed and was left out.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Forgets everything behind byte `len`, including a message that started there: how a dump takes back the entry
    /// that did not fit. Call it with a length taken at a message boundary.
    pub fn truncate(&mut self, len: usize) -> &mut Self {
        self.buf.truncate(len);
        if self.start.is_some_and(|start| start + HEADER_LEN > len) {
            self.start = None;
        }
        self
    }

    /// What was built, lengths patched.
    pub fn finish(mut self) -> Vec<u8> {
        self.end();
        self.buf
    }

    fn pad(&mut self) {
        // Messages start on multiples of four within the buffer, so padding the buffer pads the message.
        self.buf.resize(align4(self.buf.len()), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Messages;
    use alloc::vec;

    #[test]
    fn lengths_are_patched_inside_out() {
        let mut out = Builder::message(&MsgHeader::request(16, 1, 1));
        out.nest(18, |info| {
            info.put_str(1, "veth").nest(2, |data| {
                data.put_u8(3, 9);
            });
        });
        let bytes = out.finish();
        let msg = Messages::new(&bytes).next().unwrap();
        let info = msg.attrs(0).next().unwrap();
        assert_eq!(info.payload.len(), 12 + 12);
        assert_eq!(info.nested().nth(1).unwrap().nested().next().unwrap().u8(), Some(9));
    }

    #[test]
    fn two_messages_share_a_datagram() {
        let mut out = Builder::message(&MsgHeader::request(16, 1, 1));
        out.put_u32(1, 7).begin(&MsgHeader::request(17, 1, 2)).add_flags(0x10);
        let bytes = out.finish();
        let all: Vec<_> = Messages::new(&bytes).map(|m| (m.header.len, m.header.flags)).collect();
        assert_eq!(all, [(24, 1), (16, 0x11)]);
    }

    #[test]
    fn what_cannot_be_expressed_is_left_out_and_remembered() {
        let mut out = Builder::bare();
        out.put(1, &vec![0; 65_532]);
        assert!(out.overflowed() && out.is_empty());
        let mut out = Builder::bare();
        out.nest(1, |nest| {
            nest.put(2, &[0; 40_000]).put(3, &[0; 40_000]);
        });
        assert!(out.overflowed() && out.is_empty());
        assert!(!Builder::bare().put(1, &[0; ATTR_PAYLOAD_MAX]).overflowed());
    }

    #[test]
    fn an_entry_can_be_taken_back() {
        let mut out = Builder::message(&MsgHeader::request(16, 1, 1));
        out.end();
        let mark = out.len();
        out.begin(&MsgHeader::request(17, 1, 2)).put_u32(1, 1).truncate(mark);
        assert_eq!(Messages::new(&out.finish()).count(), 1);
    }
}
