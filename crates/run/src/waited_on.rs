//! Sockets on which somebody waits whom only the clock, or a look, can release.

use std::collections::HashMap;

use crate::task::FileId;

/// Such sockets, in the order in which the waiting began.
///
/// Who waits on several sees what comes in the order in which it came: `traceroute` takes the answer of a later router for a
/// sign that the earlier one gives none.
#[derive(Debug, Default)]
pub(crate) struct WaitedOn {
    since: HashMap<FileId, Since>,
    next: u64,
}

/// When the waiting on a socket began, beside that on others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Since(u64);

impl WaitedOn {
    /// Nobody waits on any.
    pub(crate) fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    /// The waiting begins, if it has not.
    pub(crate) fn insert(&mut self, id: FileId) {
        self.since.entry(id).or_insert(Since(self.next));
        self.next += 1;
    }

    /// Takes all of them out, the longest waited on first.
    pub(crate) fn take(&mut self) -> Vec<(FileId, Since)> {
        let mut all: Vec<_> = self.since.drain().collect();
        all.sort_unstable_by_key(|&(_, since)| since);
        all
    }

    /// Puts back one that was taken out, in its place, even if it was put in again meanwhile.
    pub(crate) fn put_back(&mut self, id: FileId, since: Since) {
        self.since.insert(id, since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(ino: u64) -> FileId {
        FileId { dev: 1, ino }
    }

    #[test]
    fn who_waited_first_is_looked_at_first_however_often() {
        let mut waited_on = WaitedOn::default();
        (0..100).rev().for_each(|n| waited_on.insert(file(n)));
        waited_on.insert(file(50));
        let taken = waited_on.take();
        assert!(waited_on.is_empty());
        assert!(taken.iter().map(|(id, _)| id.ino).eq((0..100).rev()));
        // One comes, and one comes again, while others are looked at.
        waited_on.insert(file(200));
        waited_on.insert(file(7));
        for (id, since) in taken.into_iter().filter(|(id, _)| id.ino < 10) {
            waited_on.put_back(id, since);
        }
        let order: Vec<u64> = waited_on.take().into_iter().map(|(id, _)| id.ino).collect();
        assert_eq!(order, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 200]);
    }
}
