//! Memory of frames, which is used again: a frame lives for microseconds, and asking for memory costs as much as sending.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Sizes of the pieces that are kept, and how many of each a thread keeps: frames without much in them, frames of an
/// Ethernet, and those that stand for many segments. Half a mebibyte in all, and nothing in a thread that sends nothing.
const CLASSES: [(usize, usize); 3] = [(320, 512), (2048, 96), (68 << 10, 3)];

thread_local! {
    static FREE: RefCell<[Vec<Vec<u8>>; CLASSES.len()]> = const { RefCell::new([const { Vec::new() }; CLASSES.len()]) };
}

/// The bytes of a frame.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<u8>);

/// The smallest class with room for `len` bytes.
fn class(len: usize) -> Option<usize> {
    CLASSES.iter().position(|(size, _)| len <= *size)
}

impl Buffer {
    /// With room for `len` bytes, and none of them in it.
    pub(super) fn with_capacity(len: usize) -> Self {
        let mut buffer = Self::used(len);
        buffer.0.clear();
        buffer
    }

    /// Of `len` bytes, of which `zeroed` at the front are zero and the rest whatever was there: the caller writes them.
    pub(super) fn dirty(len: usize, zeroed: usize) -> Self {
        let mut buffer = Self::used(len);
        let known = buffer.0.len().min(zeroed);
        buffer.0[..known].fill(0);
        buffer.0.resize(len, 0);
        buffer
    }

    /// What somebody had before, with his bytes; or new.
    fn used(len: usize) -> Self {
        let Some(class) = class(len) else { return Self(Vec::with_capacity(len)) };
        // A thread that ends has none any more.
        let kept = FREE.try_with(|free| free.try_borrow_mut().ok().and_then(|mut free| free[class].pop()));
        Self(kept.ok().flatten().unwrap_or_else(|| Vec::with_capacity(CLASSES[class].0)))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let capacity = self.0.capacity();
        // The largest class that it has room for: a piece is as large as its class says, or more.
        let Some(class) = CLASSES.iter().rposition(|(size, _)| capacity >= *size) else { return };
        let bytes = std::mem::take(&mut self.0);
        if capacity > CLASSES[CLASSES.len() - 1].0 * 2 {
            return;
        }
        let _ = FREE.try_with(|free| {
            if let Ok(mut free) = free.try_borrow_mut()
                && free[class].len() < CLASSES[class].1
            {
                free[class].push(bytes);
            }
        });
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::with_capacity(self.0.len());
        copy.0.extend_from_slice(&self.0);
        copy
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_and_is_as_asked_for() {
        let mut first = Buffer::with_capacity(100);
        first.extend_from_slice(&[7; 100]);
        let at = first.as_ptr();
        drop(first);
        let again = Buffer::dirty(90, 10);
        assert_eq!((again.as_ptr(), again.len(), &again[..10]), (at, 90, &[0; 10][..]));
        // The rest is for the caller to write.
        assert_eq!(again[10..], [7; 80]);
        let other = Buffer::dirty(300, 300);
        assert_eq!(other[..], [0; 300]);
        assert_eq!(Buffer::with_capacity(200_000).capacity(), 200_000);
    }

    #[test]
    fn a_thread_keeps_so_many() {
        let many: Vec<Buffer> = (0..CLASSES[1].1 + 10).map(|_| Buffer::with_capacity(1500)).collect();
        drop(many);
        FREE.with_borrow(|free| assert_eq!(free[1].len(), CLASSES[1].1));
    }
}
