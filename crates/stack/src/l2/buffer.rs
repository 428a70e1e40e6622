//! Memory of frames, which is used again: a frame lives for microseconds, and asking for memory costs as much as sending.

use std::cell::RefCell;

use super::frame::Body;

/// Sizes of the pieces that are kept, and how many of each a thread keeps: frames without much in them, frames of an
/// Ethernet, and those that stand for many segments. Half a mebibyte in all, and nothing in a thread that sends nothing.
const CLASSES: [(usize, usize); 3] = [(320, 512), (2048, 96), (68 << 10, 3)];

thread_local! {
    #[expect(clippy::vec_box, reason = "it is the boxes that are kept")]
    static FREE: RefCell<[Vec<Box<Body>>; CLASSES.len()]> = const { RefCell::new([const { Vec::new() }; CLASSES.len()]) };
}

/// The smallest class with room for `len` bytes.
fn class(len: usize) -> Option<usize> {
    CLASSES.iter().position(|(size, _)| len <= *size)
}

/// A frame of `len` bytes that hold whatever was there, of which the first `head` are room for headers: the caller writes
/// the rest.
pub(super) fn take(len: usize, head: usize) -> Box<Body> {
    // A thread that ends has none any more.
    let kept = class(len).and_then(|class| FREE.try_with(|free| free.try_borrow_mut().ok()?[class].pop()).ok()?);
    match kept {
        Some(mut body) => {
            body.begin_again(len, head);
            body
        }
        None => fresh(len, head),
    }
}

#[cold]
fn fresh(len: usize, head: usize) -> Box<Body> {
    let mut bytes = Vec::with_capacity(class(len).map_or(len, |class| CLASSES[class].0));
    bytes.resize(len, 0);
    Box::new(Body::new(bytes, head))
}

/// A frame without any bytes.
#[cold]
pub(super) fn empty() -> Box<Body> {
    Box::new(Body::new(Vec::new(), 0))
}

/// The frame has come to its end.
pub(super) fn give_back(mut body: Box<Body>) {
    let capacity = body.bytes.capacity();
    // The largest class that it has room for: a piece is as large as its class says, or more.
    let Some(class) = CLASSES.iter().rposition(|(size, _)| capacity >= *size) else { return };
    if capacity > CLASSES[CLASSES.len() - 1].0 * 2 {
        return;
    }
    // Not while the pieces are in hand: what it holds may be all that is left of a connection.
    if body.trail.is_noted() {
        drop(body.trail.take());
    }
    if body.stamps.are_wanted() {
        drop(body.stamps.take());
    }
    let _ = FREE.try_with(|free| {
        if let Ok(mut free) = free.try_borrow_mut()
            && free[class].len() < CLASSES[class].1
        {
            free[class].push(body);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::Frame;

    #[test]
    fn memory_comes_back_and_is_as_asked_for() {
        let mut first = Frame::with_payload(&[7; 100]);
        first.mark = 1;
        let at = first.data().as_ptr();
        drop(first);
        let again = Frame::to_be_written(90, 10);
        assert_eq!((again.data().as_ptr(), again.len(), &again.data()[..10]), (at, 90, &[0; 10][..]));
        // The rest is for the caller to write, and what was said of the first is not said of this.
        assert_eq!((&again.data()[10..], again.mark), (&[7; 80][..], 0));
        assert_eq!(Frame::zeroed(180).data(), [0; 180]);
        assert_eq!(take(200_000, 0).bytes.capacity(), 200_000);
    }

    #[test]
    fn a_thread_keeps_so_many() {
        let many: Vec<Frame> = (0..CLASSES[1].1 + 10).map(|_| Frame::zeroed(1500)).collect();
        drop(many);
        FREE.with_borrow(|free| assert_eq!(free[1].len(), CLASSES[1].1));
    }
}
