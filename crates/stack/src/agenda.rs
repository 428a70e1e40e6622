//! What waits for its time, soonest first.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// Things to be done at a time, soonest first; of what is due at one moment, what was asked for first.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    added: u64,
}

#[derive(Debug)]
struct Entry<T> {
    when: Duration,
    order: u64,
    what: T,
}

impl<T> Entry<T> {
    const fn key(&self) -> (Duration, u64) {
        (self.when, self.order)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), added: 0 }
    }
}

impl<T> Agenda<T> {
    /// Says whether it is the next one now.
    pub(crate) fn add(&mut self, when: Duration, what: T) -> bool {
        let first = self.next().is_none_or(|next| when < next);
        self.added += 1;
        self.heap.push(Reverse(Entry { when, order: self.added, what }));
        first
    }

    /// Takes out what is due by `now`, with the time that it was meant for.
    pub(crate) fn due(&mut self, now: Duration) -> Option<(Duration, T)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.when, entry.what))
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(entry)| entry.when)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soonest_first_and_in_order_of_asking() {
        let second = Duration::from_secs;
        let mut agenda = Agenda::default();
        assert!(agenda.add(second(2), "b"));
        assert!(!agenda.add(second(2), "c"));
        assert!(agenda.add(second(1), "a"));
        assert_eq!(agenda.due(Duration::from_millis(999)), None);
        assert_eq!(agenda.next(), Some(second(1)));
        let mut out = Vec::new();
        while let Some((_, what)) = agenda.due(second(2)) {
            out.push(what);
        }
        assert_eq!(out, ["a", "b", "c"]);
    }
}
