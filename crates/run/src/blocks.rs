//! Memory for the buffers of connections.
//!
//! Each connection has four of one size, asked for as zeros, of which most are used by a page or not at all. From the C
//! library each would be a mapping of its own, with a page that says how long it is: two calls of the kernel, both under the
//! lock of the whole address space, and a page fault. Here they are cut from one stretch of addresses that is asked for once.
//! One that is given back loses its pages, and is zeros again for whoever has it next.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

/// How long such a block is. What is much shorter is the C library's, and what is longer.
const BLOCK: usize = 256 << 10;
/// So many there are: of more connections than a process may have descriptors for, as a rule.
const BLOCKS: usize = 1 << 17;
const STRETCH: usize = BLOCK * BLOCKS;
const PAGE: usize = 4096;

/// The program's allocator: the C library's, but for blocks of one size, which are cut from a stretch of addresses of its own.
#[derive(Debug)]
pub struct Allocator;

/// Where the stretch begins; null before it was asked for, or where it was refused.
static BEGIN: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// A leaf lock. No memory is asked for while it is held.
static STOCK: Mutex<Stock> =
    Mutex::new(Stock { refused: false, used: 0, free: AtomicPtr::new(ptr::null_mut()), len: 0 });

struct Stock {
    /// There will be no stretch.
    refused: bool,
    /// Blocks from here on nobody had yet.
    used: usize,
    /// Numbers of those that were given back, room for all.
    free: AtomicPtr<u32>,
    len: usize,
}

/// So much address space, for which no memory is set aside; null if it is refused.
fn map(bytes: usize) -> *mut libc::c_void {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a mapping at an address of the kernel's choice touches no memory that anybody has.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED { ptr::null_mut() } else { at }
}

impl Stock {
    /// Where the stretch begins, which is asked for if it was not yet.
    fn begin(&mut self) -> Option<*mut u8> {
        let begin = BEGIN.load(Ordering::Acquire);
        if !begin.is_null() || self.refused {
            return (!begin.is_null()).then_some(begin);
        }
        let (begin, free) = (map(STRETCH), map(BLOCKS * size_of::<u32>()));
        if begin.is_null() || free.is_null() {
            for (at, bytes) in [(begin, STRETCH), (free, BLOCKS * size_of::<u32>())] {
                if !at.is_null() {
                    // SAFETY: it was mapped above, so long, and nobody was told of it.
                    unsafe { libc::munmap(at, bytes) };
                }
            }
            self.refused = true;
            return None;
        }
        // A page of a block, not two megabytes of eight. Who has no such pages refuses, and needs no telling.
        // SAFETY: the mapping is ours; this bears on how it is backed, not on what it holds.
        unsafe { libc::madvise(begin, STRETCH, libc::MADV_NOHUGEPAGE) };
        self.free = AtomicPtr::new(free.cast());
        BEGIN.store(begin.cast(), Ordering::Release);
        Some(begin.cast())
    }
}

/// A block of zeros; null if there is none.
fn take() -> *mut u8 {
    let mut stock = STOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(begin) = stock.begin() else { return ptr::null_mut() };
    let number = if stock.len > 0 {
        stock.len -= 1;
        // SAFETY: there is room for as many as there are blocks, and below `len` each was written.
        unsafe { *stock.free.load(Ordering::Relaxed).add(stock.len) as usize }
    } else if stock.used < BLOCKS {
        stock.used += 1;
        stock.used - 1
    } else {
        return ptr::null_mut();
    };
    // SAFETY: the number is less than BLOCKS, so this lies in the stretch.
    unsafe { begin.add(number * BLOCK) }
}

/// The number of the block that begins there, if one does.
fn number_of(at: *mut u8) -> Option<usize> {
    let begin = BEGIN.load(Ordering::Acquire);
    let offset = (at as usize).wrapping_sub(begin as usize);
    (!begin.is_null() && offset < STRETCH).then_some(offset / BLOCK)
}

/// Takes back a block that nobody has any more.
fn give_back(at: *mut u8, number: usize) {
    // SAFETY: the block is whole pages of the stretch, and its last owner has let go of it: what it holds is nobody's.
    unsafe {
        if libc::madvise(at.cast(), BLOCK, libc::MADV_DONTNEED) != 0 {
            // Its pages are held in memory (mlockall).
            at.write_bytes(0, BLOCK);
        }
    }
    let mut stock = STOCK.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: no block is given back twice, so fewer than BLOCKS are here.
    unsafe { *stock.free.load(Ordering::Relaxed).add(stock.len) = number as u32 };
    stock.len += 1;
}

/// Is it for a buffer of a connection, or so much like one that it does not matter?
fn suits(layout: &Layout) -> bool {
    layout.size() > BLOCK / 2 && layout.size() <= BLOCK && layout.align() <= PAGE
}

// SAFETY: what is not a block is the C library's, before and after: the two are told apart by their addresses. A block is
// its owner's alone from `take` to `give_back`, long and aligned enough for what `suits`, and zeros.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = if suits(&layout) { take() } else { ptr::null_mut() };
        if !block.is_null() {
            return block;
        }
        // SAFETY: as the caller says.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        match number_of(at) {
            Some(number) => give_back(at, number),
            // SAFETY: it is none of ours, so it is the C library's; the rest as the caller says.
            None => unsafe { System.dealloc(at, layout) },
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if number_of(at).is_none() {
            // SAFETY: it is the C library's; the rest as the caller says.
            return unsafe { System.realloc(at, layout, size) };
        }
        if size <= BLOCK {
            return at;
        }
        // SAFETY: the size is not zero and fits the alignment, as the caller says; what was there is shorter than what is new,
        // and they do not overlap.
        unsafe {
            let new = System.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                ptr::copy_nonoverlapping(at, new, layout.size());
                self.dealloc(at, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size: usize) -> Layout {
        Layout::from_size_align(size, 1).unwrap()
    }

    #[test]
    fn a_block_is_zeros_whoever_had_it() {
        let layout = of(BLOCK);
        // SAFETY: each is used within its size, by its layout, and given back once.
        unsafe {
            let mut blocks = [(); 3].map(|()| Allocator.alloc_zeroed(layout));
            assert!(blocks.iter().all(|&at| number_of(at).is_some()));
            for round in 0..3 {
                for at in &mut blocks {
                    let bytes = std::slice::from_raw_parts_mut(*at, BLOCK);
                    assert!(bytes.iter().all(|&b| b == 0), "round {round}");
                    bytes.fill(7);
                    Allocator.dealloc(*at, layout);
                    *at = Allocator.alloc_zeroed(layout);
                }
            }
            for at in blocks {
                Allocator.dealloc(at, layout);
            }
        }
    }

    #[test]
    fn what_is_no_buffer_is_the_librarys_and_grows_there() {
        // SAFETY: as above.
        unsafe {
            for size in [1, BLOCK / 2, BLOCK + 1] {
                let at = Allocator.alloc_zeroed(of(size));
                assert_eq!(number_of(at), None);
                Allocator.dealloc(at, of(size));
            }
            let at = Allocator.alloc_zeroed(of(BLOCK - 1));
            *at.add(BLOCK - 2) = 9;
            let same = Allocator.realloc(at, of(BLOCK - 1), BLOCK);
            assert_eq!(same, at);
            let longer = Allocator.realloc(same, of(BLOCK), 2 * BLOCK);
            assert!(number_of(longer).is_none() && *longer.add(BLOCK - 2) == 9);
            Allocator.dealloc(longer, of(2 * BLOCK));
        }
    }
}
