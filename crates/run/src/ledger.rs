//! What is known of the datagrams in a pair beside their bytes: above all who sent them.
//!
//! The pair cannot say that.  A queue beside it can: each entry carries the space that its datagram occupies, and what the
//! kernel says is unread tells how many entries are still ahead, whatever mixture of native and trapped receives the
//! program uses.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use crate::listener::Delivery;
use crate::sys;

/// Such a queue.  `T`: what is known of each datagram.
pub(crate) struct Ledger<T> {
    /// The oldest first.
    entries: VecDeque<Entry<T>>,
    /// Of all of them together.
    size: usize,
    /// What the call that is being answered took, until it is known to have heard.
    taken: Vec<(T, Vec<u8>)>,
}

struct Entry<T> {
    beside: T,
    /// Bytes of the datagram.
    len: usize,
    /// The space that it occupies.
    size: usize,
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, taken: Vec::new() }
    }
}

impl<T> Ledger<T> {
    /// Is nothing there, as far as is known since the last [look](Self::forget_read)?
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A datagram of `len` bytes was just sent to the program by `end`, where `unread` was unread before.
    pub(crate) fn note(&mut self, end: BorrowedFd<'_>, unread: usize, len: usize, beside: T) {
        // Of one that is alone the size need not be asked: as long as anything is unread, it is.  A receive between the two looks
        // makes the difference too small, never too large; 1 keeps the entry.
        let size = if self.is_empty() { 1 } else { sys::unread_by_peer(end).saturating_sub(unread).max(1) };
        self.entries.push_back(Entry { beside, len, size });
        self.size += size;
    }

    /// Drops the entries of datagrams that were read; returns what is unread of those sent by `end`.
    pub(crate) fn forget_read(&mut self, end: BorrowedFd<'_>) -> usize {
        // What is unread has an entry.
        if self.is_empty() {
            return 0;
        }
        let unread = sys::unread_by_peer(end);
        while self.size > unread
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.size;
        }
        unread
    }

    /// The datagram that is received next: what is known of it, and its length.
    pub(crate) fn front(&self) -> Option<(&T, usize)> {
        self.entries.front().map(|entry| (&entry.beside, entry.len))
    }

    /// What is known of all that are there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.beside)
    }

    /// A call begins to receive.
    pub(crate) fn begin(&mut self) {
        self.taken.clear();
    }

    /// It took this out of the pair, whole.
    pub(crate) fn took(&mut self, beside: T, bytes: Vec<u8>) {
        self.taken.push((beside, bytes));
    }

    /// It was answered.  True if what it took is nowhere now: then the [rest](Self::take_rest) is taken, and all of it
    /// [put back](Self::put_back).
    pub(crate) fn is_lost(&mut self, delivery: Delivery) -> bool {
        if delivery == Delivery::Delivered {
            self.taken.clear();
        }
        !self.taken.is_empty()
    }

    /// Takes what is still there out of the program's end, to stand behind what was taken before.
    pub(crate) fn take_rest(&mut self, app: BorrowedFd<'_>) {
        self.size = 0;
        for entry in std::mem::take(&mut self.entries) {
            let mut bytes = vec![0; entry.len];
            if sys::recv_datagram(app, &mut bytes, false).is_ok() {
                self.taken.push((entry.beside, bytes));
            }
        }
    }

    /// Sends what was taken again, by `end`: it is in its old place.
    pub(crate) fn put_back(&mut self, end: BorrowedFd<'_>) {
        for (beside, bytes) in std::mem::take(&mut self.taken) {
            let unread = sys::unread_by_peer(end);
            if sys::send_datagram(end, &bytes).is_ok() {
                self.note(end, unread, bytes.len(), beside);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sockets::datagram_pair;

    #[test]
    fn an_entry_goes_with_its_datagram_and_comes_back_with_it() {
        let pair = datagram_pair(true).unwrap();
        let (app, end) = (pair.app.as_fd(), pair.supervisor.as_fd());
        let mut ledger = Ledger::default();
        for (number, bytes) in [&b"first"[..], b"", b"the third"].into_iter().enumerate() {
            let unread = ledger.forget_read(end);
            sys::send_datagram(end, bytes).unwrap();
            ledger.note(end, unread, bytes.len(), number);
        }
        let numbers = |ledger: &Ledger<usize>| ledger.iter().copied().collect::<Vec<_>>();
        assert_eq!((ledger.front(), numbers(&ledger)), (Some((&0, 5)), vec![0, 1, 2]));

        // A native receive.
        sys::recv_datagram(app, &mut [0; 5], false).unwrap();
        assert_ne!(ledger.forget_read(end), 0);
        assert_eq!((ledger.front(), numbers(&ledger)), (Some((&1, 0)), vec![1, 2]));

        // A trapped one whose caller does not hear.
        ledger.begin();
        sys::recv_datagram(app, &mut [], false).unwrap();
        ledger.took(1, Vec::new());
        ledger.forget_read(end);
        assert!(ledger.is_lost(Delivery::Interrupted));
        ledger.take_rest(app);
        ledger.put_back(end);
        assert_eq!(numbers(&ledger), [1, 2]);
        assert!(!ledger.is_lost(Delivery::Interrupted));

        let mut bytes = [0; 9];
        assert_eq!(sys::recv_datagram(app, &mut bytes, false).unwrap(), 0);
        assert_eq!(sys::recv_datagram(app, &mut bytes, false).unwrap(), 9);
        assert_eq!((&bytes, ledger.forget_read(end), ledger.front()), (b"the third", 0, None));
    }
}
