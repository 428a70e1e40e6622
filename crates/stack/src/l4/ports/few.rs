//! A map that mostly holds one thing: most ports have one address, and that one socket. A table for that would be larger than
//! all else that is known of the socket here.

use std::collections::HashMap;
use std::hash::Hash;

use super::hash::Keyed;

/// A map without an order. What holds one has no memory of its own.
#[derive(Debug, Default)]
pub(super) enum Few<K, V> {
    #[default]
    None,
    One(K, V),
    /// More than one, at some time. Elsewhere, so that one takes no more room than it needs.
    #[expect(clippy::box_collection, reason = "a map in place is three times as long as what mostly is there")]
    Many(Box<HashMap<K, V, Keyed>>),
}

impl<K: Eq + Hash + Copy, V> Few<K, V> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(..) => false,
            Self::Many(map) => map.is_empty(),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::One(known, value) if known == key => Some(value),
            Self::Many(map) => map.get(key),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self {
            Self::One(known, value) if known == key => Some(value),
            Self::Many(map) => map.get_mut(key),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        match self {
            Self::One(known, _) if known == key => *self = Self::None,
            Self::Many(map) => drop(map.remove(key)),
            _ => {}
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(key, _) => (Some(key), None),
            Self::Many(map) => (None, Some(map.as_ref())),
        };
        one.into_iter().chain(many.into_iter().flat_map(HashMap::keys))
    }

    /// Whether it was not there.
    pub(super) fn insert(&mut self, key: K, value: V) -> bool {
        match std::mem::take(self) {
            Self::None => *self = Self::One(key, value),
            Self::One(known, old) if known == key => {
                drop(old);
                *self = Self::One(key, value);
                return false;
            }
            Self::One(known, old) => {
                *self = Self::Many(Box::new([(known, old), (key, value)].into_iter().collect()));
            }
            Self::Many(mut map) => {
                let new = map.insert(key, value).is_none();
                *self = Self::Many(map);
                return new;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0_u64..4, any::<Option<u8>>()), 0..40)) {
            let (mut few, mut map) = (Few::default(), HashMap::new());
            for (key, value) in steps {
                match value {
                    Some(value) => prop_assert_eq!(few.insert(key, value), map.insert(key, value).is_none()),
                    None => {
                        few.remove(&key);
                        map.remove(&key);
                    }
                }
                prop_assert_eq!(few.is_empty(), map.is_empty());
                let mut keys: Vec<_> = few.keys().copied().collect();
                keys.sort_unstable();
                let mut known: Vec<_> = map.keys().copied().collect();
                known.sort_unstable();
                prop_assert_eq!(keys, known);
                for key in 0..4 {
                    prop_assert_eq!(few.get(&key), map.get(&key));
                    prop_assert_eq!(few.get_mut(&key).copied(), map.get(&key).copied());
                }
            }
        }
    }
}
