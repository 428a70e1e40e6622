//! The typed table behind `net_generic`: append-only, so a read takes no lock and needs no grace
//! period.
//!
//! ```text
//! Key { index, id }        inline[0..8]          spill (on first use)
//!        │                ┌──┬──┬ … ┐      ┌─ 8..16 ┐ ┌─ 16..32 ┐ …
//!        └──────────────▶ │  │  │   │      └────────┘ └─────────┘
//!                         └─┼┴──┴ … ┘
//!                           ▼ Tagged { id, value }
//! ```
//!
//! An index is reused when its subsystem is unregistered, but a namespace that outlived the old
//! owner still has the old value in that place, and a reader may still hold a borrow of it. It
//! stays (its memory goes with the namespace); the new owner's value goes to the `reused` list of
//! that namespace. The `id` in the key is never reused: it decides which of them is meant, so an
//! index can neither be mistaken for another type nor show another registration's data.

use crate::sync::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Once, Ordering};
use alloc::boxed::Box;
use core::any::Any;
use core::cmp::Ordering::{Equal, Greater, Less};
use core::fmt;
use core::marker::PhantomData;

/// Slots that cost no extra allocation and no extra load.
pub(crate) const INLINE: usize = 8;
/// Spill chunks hold 8, 16, 32, … slots: 24 of them number 2^27.
pub(crate) const CHUNKS: usize = 24;
/// One more than the highest index.
pub(crate) const MAX_SLOTS: u32 = (INLINE << CHUNKS) as u32;
/// No registration has this id; a value tagged with it belongs to nobody any more.
const RETIRED: u64 = 0;

/// A value of any type in a slot.
pub(crate) type Erased = dyn Any + Send + Sync;

/// Names the state of one registration of subsystem `S` in any namespace.
///
/// Comes from [`Namespaces::register_subsys`](crate::Namespaces::register_subsys) and
/// [`register_device`](crate::Namespaces::register_device); the counterpart of the
/// `pernet_operations::id` cell. Of use with [`Net::get`](crate::Net::get).
pub struct Key<S> {
    pub(crate) index: u32,
    pub(crate) id: u64,
    pub(crate) subsystem: PhantomData<fn() -> S>,
}

impl<S> Clone for Key<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Key<S> {}

impl<S> PartialEq for Key<S> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<S> Eq for Key<S> {}

impl<S> fmt::Debug for Key<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {:#x})", self.index, self.id)
    }
}

/// What has been done to a state. Each thing once, by whoever has the namespace in hand then.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Stage {
    Up = 0,
    PreExited = 1,
    Unregistered = 2,
    Exited = 3,
    Batched = 4,
}

/// A value and the registration it belongs to.
pub(crate) struct Tagged<T> {
    id: AtomicU64,
    stage: AtomicU8,
    pub(crate) value: T,
}

impl<T: Send + Sync + 'static> Tagged<T> {
    pub(crate) fn boxed(id: u64, value: T) -> Box<Erased> {
        Box::new(Self { id: AtomicU64::new(id), stage: AtomicU8::new(Stage::Up as u8), value })
    }

    /// Whether `stage` is yet to come; from now on it has.
    pub(crate) fn reach(&self, stage: Stage) -> bool {
        // Relaxed, and no exchange: only one has the namespace in hand, and passes it on in order.
        let reached = self.stage.load(Ordering::Relaxed);
        if reached < stage as u8 {
            self.stage.store(stage as u8, Ordering::Relaxed);
        }
        reached < stage as u8
    }

    /// From now on no key finds this value. Borrows that exist keep it readable.
    pub(crate) fn retire(&self) {
        self.id.store(RETIRED, Ordering::Release);
    }

    fn is(&self, id: u64) -> bool {
        self.id.load(Ordering::Acquire) == id
    }
}

type Slot = Once<Box<Erased>>;

#[derive(Default)]
struct Spill {
    chunks: [Once<Box<[Slot]>>; CHUNKS],
}

/// A value with the id it was registered under.
type Late = Once<(u64, Box<Erased>)>;

/// Values whose index was still occupied by an unregistered predecessor. As a rule in order of
/// registration, hence of id: a binary search finds one however often a module was reloaded.
#[derive(Default)]
struct Reused {
    len: AtomicUsize,
    /// They are not: a creation that caught up with several registrations at once met them in the
    /// order of the list.
    unordered: AtomicBool,
    chunks: [Once<Box<[Late]>>; CHUNKS],
}

impl Reused {
    /// Writers are serialised; see [`Slots::put`].
    fn push(&self, id: u64, value: Box<Erased>) {
        let len = self.len.load(Ordering::Relaxed);
        let (chunk, at) = locate(len + INLINE);
        let Some(place) = self.chunks.get(chunk) else {
            return;
        };
        if len.checked_sub(1).and_then(|last| self.at(last)).is_some_and(|(last, _)| *last > id) {
            // Published with the length.
            self.unordered.store(true, Ordering::Relaxed);
        }
        place.call_once(|| (0..INLINE << chunk).map(|_| Late::new()).collect())[at].call_once(|| (id, value));
        // Release: a reader that sees the length sees the value.
        self.len.store(len + 1, Ordering::Release);
    }

    fn at(&self, position: usize) -> Option<&(u64, Box<Erased>)> {
        let (chunk, at) = locate(position + INLINE);
        self.chunks.get(chunk)?.get()?.get(at)?.get()
    }

    fn find(&self, id: u64) -> Option<&Erased> {
        let (mut low, mut high) = (0, self.len.load(Ordering::Acquire));
        if self.unordered.load(Ordering::Relaxed) {
            return (low..high).filter_map(|at| self.at(at)).find(|(found, _)| *found == id).map(|(_, value)| &**value);
        }
        while low < high {
            let middle = low.midpoint(high);
            let (found, value) = self.at(middle)?;
            match found.cmp(&id) {
                Less => low = middle + 1,
                Greater => high = middle,
                Equal => return Some(&**value),
            }
        }
        None
    }
}

/// The table of one namespace.
#[derive(Default)]
pub(crate) struct Slots {
    inline: [Slot; INLINE],
    spill: Once<Box<Spill>>,
    reused: Once<Box<Reused>>,
}

/// Which spill chunk holds `index`, and where in it. `index` is at least `INLINE`.
pub(crate) fn locate(index: usize) -> (usize, usize) {
    let chunk = (index / INLINE).ilog2() as usize;
    (chunk, index - (INLINE << chunk))
}

impl Slots {
    /// Puts the value of a registration in its place. Writers are serialised by the framework: a
    /// namespace under construction belongs to its creator, a living one is written only under the
    /// exclusive registry lock.
    pub(crate) fn put(&self, index: u32, id: u64, value: Box<Erased>) {
        let slot = self.slot_or_grow(index as usize);
        if slot.is_completed() {
            self.reused.call_once(Box::default).push(id, value);
        } else {
            slot.call_once(|| value);
        }
    }

    /// The value of registration `id` at `index`, if this namespace has it.
    #[inline]
    pub(crate) fn get<T: Send + Sync + 'static>(&self, index: u32, id: u64) -> Option<&T> {
        let first = self.slot(index as usize)?.get()?;
        match first.downcast_ref::<Tagged<T>>() {
            Some(tagged) if tagged.is(id) => Some(&tagged.value),
            _ => Some(&self.find_reused::<T>(id)?.value),
        }
    }

    /// As [`get`](Self::get), with its tag.
    pub(crate) fn tagged<T: Send + Sync + 'static>(&self, index: u32, id: u64) -> Option<&Tagged<T>> {
        let first = self.slot(index as usize)?.get()?;
        match first.downcast_ref::<Tagged<T>>() {
            Some(tagged) if tagged.is(id) => Some(tagged),
            _ => self.find_reused::<T>(id),
        }
    }

    #[cold]
    fn find_reused<T: Send + Sync + 'static>(&self, id: u64) -> Option<&Tagged<T>> {
        // A retired value is still found by its id, and says itself that it is nobody's.
        let tagged = self.reused.get()?.find(id)?.downcast_ref::<Tagged<T>>()?;
        tagged.is(id).then_some(tagged)
    }

    #[inline]
    fn slot(&self, index: usize) -> Option<&Slot> {
        match self.inline.get(index) {
            Some(slot) => Some(slot),
            None => self.spilled(index),
        }
    }

    fn spilled(&self, index: usize) -> Option<&Slot> {
        let (chunk, at) = locate(index);
        self.spill.get()?.chunks.get(chunk)?.get()?.get(at)
    }

    /// `index` is below [`MAX_SLOTS`]: the registry hands out no other.
    fn slot_or_grow(&self, index: usize) -> &Slot {
        if let Some(slot) = self.inline.get(index) {
            return slot;
        }
        let (chunk, at) = locate(index);
        let spill = self.spill.call_once(Box::default);
        &spill.chunks[chunk].call_once(|| (0..INLINE << chunk).map(|_| Slot::new()).collect())[at]
    }
}
