use super::*;
use crate::l3::RouteId;
use proptest::prelude::*;

fn info(priority: u32, protocol: u8) -> Arc<FibInfo> {
    Arc::new(FibInfo {
        protocol,
        scope: 0,
        kind: 1,
        prefsrc: Ipv4Addr::UNSPECIFIED,
        priority,
        table: 254,
        metrics: crate::fib::Metrics::default(),
        own: Vec::new(),
        nexthop: None,
        id: RouteId::new(),
    })
}

fn alias(tos: u8, priority: u32, protocol: u8) -> Alias {
    Alias { tos, kind: 1, info: info(priority, protocol) }
}

const ADD: Insert = Insert { create: true, exclusive: true, replace: false, append: false };
const APPEND: Insert = Insert { create: true, exclusive: false, replace: false, append: true };
const PREPEND: Insert = Insert { create: true, exclusive: false, replace: false, append: false };
const REPLACE: Insert = Insert { create: true, exclusive: false, replace: true, append: false };
const CHANGE: Insert = Insert { create: false, exclusive: false, replace: true, append: false };

fn order(table: &Table, key: Key) -> Vec<(u8, u32, u8)> {
    table.at(key).iter().map(|a| (a.tos, a.info.priority, a.info.protocol)).collect()
}

#[test]
fn routes_to_one_prefix_are_ordered_by_service_then_metric_then_as_asked() {
    let mut table = Table::default();
    let key = Key::new(Ipv4Addr::new(10, 0, 0, 0), 8);
    for (tos, priority) in [(0, 0), (8, 5), (0, 5), (8, 0), (0, 3)] {
        assert!(matches!(table.insert(key, alias(tos, priority, 3), ADD), Ok(Inserted::Alone)));
    }
    assert_eq!(order(&table, key), [(8, 0, 3), (8, 5, 3), (0, 0, 3), (0, 3, 3), (0, 5, 3)]);
    assert_eq!(table.insert(key, alias(0, 3, 9), ADD).map(|_| ()), Err(InsertError::Exists));
    assert!(matches!(table.insert(key, alias(0, 3, 9), APPEND), Ok(Inserted::Behind)));
    assert!(matches!(table.insert(key, alias(0, 3, 8), PREPEND), Ok(Inserted::Before)));
    assert_eq!(order(&table, key)[3..6], [(0, 3, 8), (0, 3, 3), (0, 3, 9)]);
    assert_eq!(table.insert(key, alias(0, 3, 9), PREPEND).map(|_| ()), Err(InsertError::Exists), "it is there");
}

#[test]
fn replacing_means_the_first() {
    let mut table = Table::default();
    let key = Key::new(Ipv4Addr::new(10, 0, 0, 0), 8);
    assert_eq!(table.insert(key, alias(0, 0, 1), CHANGE).map(|_| ()), Err(InsertError::NotFound));
    assert!(table.is_empty(), "refused, it left nothing");
    for protocol in [1, 2, 3] {
        table.insert(key, alias(0, 0, protocol), APPEND).unwrap();
    }
    assert!(matches!(table.insert(key, alias(0, 0, 1), REPLACE), Ok(Inserted::Same)));
    assert_eq!(table.insert(key, alias(0, 0, 2), REPLACE).map(|_| ()), Err(InsertError::Exists));
    assert!(matches!(table.insert(key, alias(0, 0, 9), CHANGE), Ok(Inserted::Replaced(old)) if old.info.protocol == 1));
    assert_eq!(order(&table, key), [(0, 0, 9), (0, 0, 2), (0, 0, 3)]);
}

#[test]
fn of_one_address_the_longer_prefix_is_listed_first() {
    let mut table = Table::default();
    for (dst, len) in [([10, 0, 0, 0], 8), ([10, 0, 0, 0], 24), ([10, 0, 0, 1], 32), ([0, 0, 0, 0], 0)] {
        table.insert(Key::new(dst.into(), len), alias(0, 0, 3), ADD).unwrap();
    }
    let listed: Vec<_> = table.from(Key::from_bits(0)).map(|(key, _)| (key.dst().octets(), key.len())).collect();
    assert_eq!(listed, [([0; 4], 0), ([10, 0, 0, 0], 24), ([10, 0, 0, 0], 8), ([10, 0, 0, 1], 32)]);
}

proptest! {
    /// Against the plain way: look at every prefix.
    #[test]
    fn the_longest_match_is_what_a_walk_over_all_finds(
        prefixes in prop::collection::vec((any::<u32>(), 0u8..=32), 0..60),
        sought in prop::collection::vec(any::<u32>(), 1..20),
        near in any::<prop::sample::Index>(),
    ) {
        let mut table = Table::default();
        // Few distinct bits, so that prefixes nest.
        let thin = |bits: u32| bits & 0xc003_0103;
        for (bits, len) in &prefixes {
            let _ = table.insert(Key::new(thin(*bits).into(), *len), alias(0, 0, 3), PREPEND);
        }
        let mut sought: Vec<u32> = sought.into_iter().flat_map(|bits| [bits, thin(bits)]).collect();
        if !prefixes.is_empty() {
            sought.push(thin(prefixes[near.index(prefixes.len())].0) | 1);
        }
        for bits in sought {
            let found: Vec<u8> = table.matches(bits.into()).map(|(key, _)| key.len()).collect();
            let mut all: Vec<u8> = table.from(Key::from_bits(0)).map(|(key, _)| key)
                .filter(|key| u32::from(key.dst()) == bits & prefix_mask(key.len())).map(Key::len).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            prop_assert_eq!(found, all);
        }
    }

    /// What goes in comes out, and the counts of lengths follow.
    #[test]
    fn insert_and_remove_agree(steps in prop::collection::vec((0u32..8, 28u8..=32, any::<bool>()), 1..80)) {
        let mut table = Table::default();
        let mut model = std::collections::BTreeSet::new();
        for (bits, len, add) in steps {
            let key = Key::new((bits << 1).into(), len);
            if add {
                prop_assert_eq!(table.insert(key, alias(0, 0, 3), ADD).is_ok(), model.insert(key));
            } else {
                prop_assert_eq!(table.remove(key, 0, |_| true).is_some(), model.remove(&key));
            }
            let listed: Vec<Key> = table.from(Key::from_bits(0)).map(|(key, _)| key).collect();
            prop_assert_eq!(&listed, &model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(table.lengths.iter().sum::<u32>() as usize, model.len());
        }
    }
}
