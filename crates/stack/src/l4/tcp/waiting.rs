//! The connections of a namespace that are in TIME-WAIT (`struct inet_timewait_death_row`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::timewait::TimeWait;

/// They wait in about the order in which they end. One that is forgotten before keeps its place, and is passed over: to
/// look for it would cost as many steps as there are others, with each connection that takes another's ends.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: VecDeque<Arc<TimeWait>>,
    /// So many in the queue were forgotten: half of them at most.
    forgotten: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, connection: Arc<TimeWait>) {
        self.queue.push_back(connection);
    }

    /// One is over before its time, if it is not over already.
    pub(super) fn forget(&mut self, connection: &TimeWait) {
        if connection.over.swap(true, Ordering::Relaxed) {
            return;
        }
        self.forgotten += 1;
        if self.forgotten > self.queue.len() / 2 {
            self.queue.retain(|waits| !waits.over.load(Ordering::Relaxed));
            self.forgotten = 0;
            self.give_back();
        }
    }

    /// Those whose time is over.
    pub(super) fn over(&mut self, now: Duration) -> Vec<Arc<TimeWait>> {
        let over = std::iter::from_fn(|| self.next_over(now)).collect();
        self.give_back();
        over
    }

    fn next_over(&mut self, now: Duration) -> Option<Arc<TimeWait>> {
        while let Some(first) = self.queue.pop_front() {
            if first.over.load(Ordering::Relaxed) {
                self.forgotten -= 1;
            } else if first.until() <= now {
                first.over.store(true, Ordering::Relaxed);
                return Some(first);
            } else if self.queue.front().is_some_and(|next| next.until() < first.until()) {
                // It was begun again.
                self.queue.push_back(first);
            } else {
                self.queue.push_front(first);
                break;
            }
        }
        None
    }

    /// Gives back what a crowd that has left took; room for as many more stays, so it is not moved each time.
    fn give_back(&mut self) {
        if self.queue.len() < self.queue.capacity() / 8 {
            let twice = self.queue.len() * 2;
            self.queue.shrink_to(twice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l4::tcp::timewait::tests::ending;

    fn seconds(of: &[Arc<TimeWait>]) -> Vec<u64> {
        of.iter().map(|connection| connection.until().as_secs()).collect()
    }

    #[test]
    fn whoever_is_forgotten_is_not_over_again() {
        let mut waiting = Waiting::default();
        let all: Vec<_> = (0..10).map(ending).collect();
        all.iter().for_each(|connection| waiting.push(Arc::clone(connection)));
        [0, 3, 3].iter().for_each(|&at| waiting.forget(&all[at]));
        assert_eq!(seconds(&waiting.over(Duration::from_secs(4))), [1, 2, 4]);
        waiting.forget(&all[2]);
        assert!(waiting.over(Duration::from_secs(4)).is_empty());
        assert_eq!(seconds(&waiting.over(Duration::from_secs(60))), [5, 6, 7, 8, 9]);
        assert_eq!((waiting.queue.len(), waiting.forgotten), (0, 0));
    }

    /// Each connection takes the ends of the one before, as a client with one port does.
    #[test]
    fn those_who_are_forgotten_are_never_more_than_the_others() {
        let mut waiting = Waiting::default();
        waiting.push(ending(1));
        let mut before = ending(2);
        waiting.push(Arc::clone(&before));
        for at in 3..1000 {
            waiting.forget(&before);
            before = ending(at);
            waiting.push(Arc::clone(&before));
            assert!(waiting.queue.len() <= 5, "{}", waiting.queue.len());
        }
        assert_eq!(seconds(&waiting.over(Duration::from_secs(1000))), [1, 999]);
    }

    #[test]
    fn whoever_begins_again_goes_behind_the_next() {
        let mut waiting = Waiting::default();
        let all: Vec<_> = [1, 2, 3].map(ending).into();
        all.iter().for_each(|connection| waiting.push(Arc::clone(connection)));
        *all[0].until.lock().unwrap() = Duration::from_secs(9);
        assert_eq!(seconds(&waiting.over(Duration::from_secs(3))), [2, 3]);
        assert_eq!(seconds(&waiting.over(Duration::from_secs(9))), [9]);
    }
}
