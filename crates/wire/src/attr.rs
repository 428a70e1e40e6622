//! Attributes: `struct nlattr` as a borrowed cursor.

use crate::uapi::NLA_TYPE_MASK;

/// Rounds up to the next multiple of four, the alignment of messages and attributes.
pub const fn align4(len: usize) -> usize {
    len.saturating_add(3) & !3
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// The type without the nested and byte-order bits.
    pub ty: u16,
    /// The type field as it was sent.
    pub raw_ty: u16,
    /// Where the attribute starts, in bytes from the start of the request's header: what `NLMSGERR_ATTR_OFFS` carries.
    pub offset: u32,
    /// The bytes behind the four-byte attribute header, without padding.
    pub payload: &'a [u8],
}

impl<'a> Attr<'a> {
    /// The first byte.
    pub fn u8(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// The first two bytes. Like every reader here it ignores excess bytes (legacy validation accepts them).
    pub fn u16(&self) -> Option<u16> {
        self.payload.first_chunk().copied().map(u16::from_ne_bytes)
    }

    /// The first four bytes.
    pub fn u32(&self) -> Option<u32> {
        self.payload.first_chunk().copied().map(u32::from_ne_bytes)
    }

    /// The first four bytes, signed.
    pub fn i32(&self) -> Option<i32> {
        self.payload.first_chunk().copied().map(i32::from_ne_bytes)
    }

    /// The first eight bytes.
    pub fn u64(&self) -> Option<u64> {
        self.payload.first_chunk().copied().map(u64::from_ne_bytes)
    }

    /// The bytes before the first NUL, as kernel code that reads a string attribute sees them.
    pub fn str_bytes(&self) -> &'a [u8] {
        self.payload.split(|&byte| byte == 0).next().unwrap_or(&[])
    }

    /// The attributes inside this one. Their offsets keep counting from the request's header.
    pub fn nested(&self) -> Attrs<'a> {
        Attrs::at(self.payload, self.offset.saturating_add(4))
    }
}

/// Iterates over a run of attributes. It stops when fewer than four bytes remain, or an attribute's length is below
/// four or beyond the run; what remains then is [`leftover`](Self::leftover).
#[derive(Clone, Debug)]
pub struct Attrs<'a> {
    rest: &'a [u8],
    offset: u32,
}

impl<'a> Attrs<'a> {
    /// A run that starts `offset` bytes behind the request's header.
    pub const fn at(bytes: &'a [u8], offset: u32) -> Self {
        Self { rest: bytes, offset }
    }

    /// What could not be read as an attribute; meaningful once the iterator has returned `None`.
    pub const fn leftover(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Attr<'a>;

    fn next(&mut self) -> Option<Attr<'a>> {
        let [a, b, c, d] = *self.rest.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let raw_ty = u16::from_ne_bytes([c, d]);
        let payload = self.rest.get(4..len)?;
        let attr = Attr { ty: raw_ty & NLA_TYPE_MASK, raw_ty, offset: self.offset, payload };
        let step = align4(len).min(self.rest.len());
        self.rest = &self.rest[step..];
        self.offset = self.offset.saturating_add(step as u32);
        Some(attr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_high_bits_of_a_type_are_not_part_of_it() {
        let bytes = [8, 0, 3, 0xc0, 5, 0, 0, 0];
        let attr = Attrs::at(&bytes, 20).next().unwrap();
        assert_eq!((attr.ty, attr.raw_ty, attr.offset, attr.u32()), (3, 0xc003, 20, Some(5)));
    }

    #[test]
    fn offsets_follow_the_padding() {
        let bytes = [5, 0, 1, 0, 7, 0, 0, 0, 4, 0, 2, 0];
        let offsets: Vec<u32> = Attrs::at(&bytes, 20).map(|attr| attr.offset).collect();
        assert_eq!(offsets, [20, 28]);
    }

    #[test]
    fn what_is_no_attribute_is_left_over() {
        for (bytes, left) in
            [(&[1u8, 2][..], 2), (&[3, 0, 1, 0], 4), (&[9, 0, 1, 0, 0, 0, 0, 0], 8), (&[4, 0, 1, 0, 9], 1)]
        {
            let mut walk = Attrs::at(bytes, 0);
            let _ = walk.by_ref().count();
            assert_eq!(walk.leftover().len(), left, "{bytes:?}");
        }
    }

    #[test]
    fn short_payloads_read_as_nothing() {
        let attr = Attr { ty: 1, raw_ty: 1, offset: 0, payload: &[1, 2, 3] };
        assert_eq!((attr.u8(), attr.u16().is_some(), attr.u32(), attr.u64()), (Some(1), true, None, None));
    }

    #[test]
    fn a_string_ends_at_its_first_nul() {
        let attr = Attr { ty: 1, raw_ty: 1, offset: 0, payload: b"lo\0x" };
        assert_eq!(attr.str_bytes(), b"lo");
    }
}
