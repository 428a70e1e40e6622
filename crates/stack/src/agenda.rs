//! What waits for its time, soonest first.

use std::collections::BTreeMap;
use std::time::Duration;

/// Where something stands: its time, and the order of those of one time. No two things ever stand at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) when: Duration,
    order: u64,
}

/// Things to be done at a time, soonest first; of what is due at one moment, what was asked for first.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    entries: BTreeMap<Place, T>,
    added: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), added: 0 }
    }
}

impl<T> Agenda<T> {
    /// Says where it stands, and whether it is the next one now.
    pub(crate) fn add(&mut self, when: Duration, what: T) -> (Place, bool) {
        let first = self.next().is_none_or(|next| when < next);
        self.added += 1;
        let place = Place { when, order: self.added };
        self.entries.insert(place, what);
        (place, first)
    }

    /// Takes out what is due by `now`, with the place where it stood.
    pub(crate) fn due(&mut self, now: Duration) -> Option<(Place, T)> {
        if self.next()? > now {
            return None;
        }
        self.entries.pop_first()
    }

    /// Takes out what stands there still.
    pub(crate) fn remove(&mut self, place: Place) -> Option<T> {
        self.entries.remove(&place)
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.entries.first_key_value().map(|(place, _)| place.when)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soonest_first_and_in_order_of_asking() {
        let second = Duration::from_secs;
        let mut agenda = Agenda::default();
        assert!(agenda.add(second(2), "b").1);
        assert!(!agenda.add(second(2), "c").1);
        assert!(agenda.add(second(1), "a").1);
        let (place, _) = agenda.add(second(2), "not this");
        assert_eq!((agenda.remove(place), agenda.remove(place)), (Some("not this"), None));
        assert_eq!(agenda.due(Duration::from_millis(999)), None);
        assert_eq!(agenda.next(), Some(second(1)));
        let mut out = Vec::new();
        while let Some((_, what)) = agenda.due(second(2)) {
            out.push(what);
        }
        assert_eq!(out, ["a", "b", "c"]);
    }
}
