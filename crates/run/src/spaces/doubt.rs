//! Files that were closed, and are still open a moment later.
//!
//! The kernel tells of a close before it takes the opener out of its count, which is what a lease goes by.  A look in
//! between finds the file open, as it does when somebody else really has it; no second report follows.  So such a file
//! is looked at again, after twice the time each time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::tag::SpaceId;

const FIRST: Duration = Duration::from_millis(1);
/// A process that was preempted in the middle of its close has been let on long before.
const LAST: Duration = Duration::from_secs(8);

#[derive(Debug)]
struct Doubt {
    due: Instant,
    wait: Duration,
}

/// What to look at again, and when.
#[derive(Debug, Default)]
pub(crate) struct Doubts(HashMap<SpaceId, Doubt>);

impl Doubts {
    /// A file of `id` was closed just now, and is open.
    pub(crate) fn raise(&mut self, id: SpaceId, now: Instant) {
        self.0.insert(id, Doubt { due: now + FIRST, wait: FIRST });
    }

    /// How long nothing is due.
    pub(crate) fn patience(&self, now: Instant) -> Option<Duration> {
        self.0.values().map(|d| d.due.saturating_duration_since(now)).min()
    }

    /// What is due: each is to be looked at, and [`Self::looked`] told what was found.
    pub(crate) fn due(&self, now: Instant) -> Vec<SpaceId> {
        self.0.iter().filter(|(_, d)| d.due <= now).map(|(&id, _)| id).collect()
    }

    /// The look found this.
    pub(crate) fn looked(&mut self, id: SpaceId, open: bool, now: Instant) {
        let Some(doubt) = self.0.get_mut(&id) else { return };
        doubt.wait *= 2;
        doubt.due = now + doubt.wait;
        if !open || doubt.wait > LAST {
            self.0.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_again_less_and_less_often_and_then_no_more() {
        let (id, start) = (SpaceId::new(1), Instant::now());
        let mut doubts = Doubts::default();
        assert_eq!(doubts.patience(start), None);
        doubts.raise(id, start);
        let (mut now, mut looks) = (start, 0);
        while let Some(wait) = doubts.patience(now) {
            assert!(wait.is_zero() || doubts.due(now).is_empty());
            now += wait;
            assert_eq!(doubts.due(now), [id]);
            doubts.looked(id, true, now);
            looks += 1;
        }
        assert_eq!(looks, 13);
        assert!(now - start > LAST);
    }

    #[test]
    fn what_is_closed_is_looked_at_no_more() {
        let (id, now) = (SpaceId::new(1), Instant::now());
        let mut doubts = Doubts::default();
        doubts.raise(id, now);
        doubts.looked(id, false, now);
        assert_eq!(doubts.patience(now), None);
    }
}
