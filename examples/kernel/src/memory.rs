//! The kernel's memory: blocks of a power of two, cut from a static arena, given back to one free list per size.

use crate::lock::Lock;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;

/// All the memory this machine has.
const ARENA: usize = 4 << 20;
/// Also the largest alignment that can be asked for.
const PAGE: usize = 4096;
/// Blocks of 16 bytes to 1 MiB.
const SMALLEST: u32 = 4;
const LARGEST: u32 = 20;

/// What is out at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Usage {
    pub(crate) bytes: usize,
    pub(crate) blocks: usize,
}

/// The allocator. Counts what was asked for, not what the blocks round it up to.
pub(crate) struct Heap {
    arena: Arena,
    books: Lock<Books>,
}

#[repr(C, align(4096))]
struct Arena(UnsafeCell<[MaybeUninit<u8>; ARENA]>);

// SAFETY: the bytes are reached only through blocks, and a block has one owner: the allocator while it is in a free
// list (under the lock of the books), its user otherwise.
unsafe impl Sync for Arena {}

struct Books {
    /// Heads of the lists of free blocks, by size. A free block begins with the address of the next one.
    free: [*mut u8; (LARGEST - SMALLEST + 1) as usize],
    /// Where the part of the arena begins that was never handed out.
    fresh: usize,
    used: Usage,
    /// Requests of this size or more are refused: memory is short. 0: none is. (All is zero at the start, so that the
    /// arena is no part of the image.)
    refused_from: usize,
}

// SAFETY: the addresses are those of free blocks, which belong to the books whichever CPU holds them.
unsafe impl Send for Books {}

/// The list that serves `layout`; `None` if none is large enough.
fn class(layout: Layout) -> Option<usize> {
    if layout.align() > PAGE {
        return None;
    }
    let log = layout.size().max(layout.align()).max(1 << SMALLEST).checked_next_power_of_two()?.ilog2();
    (log <= LARGEST).then(|| (log - SMALLEST) as usize)
}

impl Heap {
    pub(crate) const fn new() -> Self {
        Self {
            arena: Arena(UnsafeCell::new([MaybeUninit::uninit(); ARENA])),
            books: Lock::new(Books {
                free: [ptr::null_mut(); (LARGEST - SMALLEST + 1) as usize],
                fresh: 0,
                used: Usage { bytes: 0, blocks: 0 },
                refused_from: 0,
            }),
        }
    }

    /// What is out at the moment.
    pub(crate) fn usage(&self) -> Usage {
        self.books.with(|books| books.used)
    }

    /// Refuses requests of `size` bytes or more from now on: memory is short. 0 ends it.
    pub(crate) fn refuse_from(&self, size: usize) {
        self.books.with(|books| books.refused_from = size);
    }
}

// SAFETY: a block is at least as large as its class, hence as the layout; it is aligned to its size or to a page, hence
// to the layout; it is in a free list or at one user's, never both, because the lists change under the lock only.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(layout) else {
            return ptr::null_mut();
        };
        self.books.with(|books| {
            if books.refused_from != 0 && layout.size() >= books.refused_from {
                return ptr::null_mut();
            }
            let mut block = books.free[class];
            if block.is_null() {
                let size = 1 << (class as u32 + SMALLEST);
                let start = books.fresh.next_multiple_of(size.min(PAGE));
                if start + size > ARENA {
                    return ptr::null_mut();
                }
                books.fresh = start + size;
                // SAFETY: `start + size` is within the arena, as was just checked.
                block = unsafe { self.arena.0.get().cast::<u8>().add(start) };
            } else {
                // SAFETY: a free block of any class holds at least 16 bytes, is aligned to 16, and begins with the
                // address that `dealloc` wrote there.
                books.free[class] = unsafe { block.cast::<*mut u8>().read() };
            }
            books.used.bytes += layout.size();
            books.used.blocks += 1;
            block
        })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class(layout) else {
            return;
        };
        self.books.with(|books| {
            // SAFETY: the caller gives up the block, which `alloc` cut for the same class: room and alignment for one
            // address.
            unsafe { block.cast::<*mut u8>().write(books.free[class]) };
            books.free[class] = block;
            books.used.bytes -= layout.size();
            books.used.blocks -= 1;
        });
    }
}
