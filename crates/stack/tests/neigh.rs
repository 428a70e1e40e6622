//! Neighbours over time: what was reachable gets stale, what nobody answers for fails, and what goes with its device.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use pernet::{Namespaces, NetRef, Origin};
use pernet_stack::{
    Clock, FlagChange, IfFlags, KindSpec, LinkChange, ManualClock, NeighError, NeighFamily, NeighFlags, NeighKey,
    NeighParm, NeighState, NewLink, NewNeigh, ParmValue, Stack,
};
use proptest::prelude::*;

struct Shared(Arc<ManualClock>);

impl Clock for Shared {
    fn now(&self) -> Duration {
        self.0.now()
    }
}

struct World {
    clock: Arc<ManualClock>,
    stack: Stack,
    net: NetRef,
    _system: Namespaces,
    index: u32,
}

const MAC: [u8; 6] = [2, 0xaa, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0xaa, 0, 0, 0, 2];

impl World {
    fn new() -> Self {
        let system = Namespaces::new();
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1000));
        let stack = Stack::register_with_clock(&system, Box::new(Shared(Arc::clone(&clock)))).unwrap();
        let net = system.init_net();
        let up = FlagChange { flags: IfFlags::UP, mask: IfFlags::UP };
        let lo = LinkChange { flags: Some(up), ..LinkChange::default() };
        stack.rtnl(Origin::KERNEL).set_link(&net, 1, &lo).unwrap();
        let mut new = NewLink::new(KindSpec::Dummy);
        new.change.name = Some("d0".into());
        // A dummy is born asking nobody.
        new.change.flags = Some(FlagChange { flags: IfFlags::UP, mask: IfFlags::UP | IfFlags::NOARP });
        let index = stack.rtnl(Origin::KERNEL).new_link(&net, &new).unwrap().index();
        Self { clock, stack, net, _system: system, index }
    }

    fn key(&self, last: u8) -> NeighKey {
        NeighKey { ifindex: self.index, dst: IpAddr::V4(Ipv4Addr::new(10, 1, 1, last)) }
    }

    fn add(
        &self,
        last: u8,
        state: NeighState,
        flags: u32,
        address: Option<&[u8]>,
        replace: bool,
    ) -> Result<(), NeighError> {
        let new = NewNeigh {
            key: self.key(last),
            state,
            flags: NeighFlags(flags),
            address,
            protocol: 0,
            create: true,
            exclusive: false,
            replace,
        };
        self.stack.rtnl(Origin::KERNEL).new_neigh(&self.net, &new)
    }

    fn state(&self, last: u8) -> Option<NeighState> {
        self.stack.neighbour(&self.net, self.key(last)).map(|n| n.state)
    }

    fn pass(&self, ms: u64) {
        // In steps, as a reactor would wake.
        for _ in 0..ms / 50 {
            self.clock.advance(Duration::from_millis(50));
            let _ = self.stack.run_timers();
        }
    }

    fn set(&self, value: ParmValue) {
        self.stack.rtnl(Origin::KERNEL).set_neigh_parms(&self.net, NeighFamily::V4, self.index, &[value]).unwrap();
    }
}

#[test]
fn belief_ends_and_nothing_else_changes() {
    let world = World::new();
    world.add(2, NeighState::REACHABLE, 0, Some(&MAC), false).unwrap();
    world.add(3, NeighState::PERMANENT, 0, Some(&MAC), false).unwrap();
    world.pass(10_000);
    assert_eq!(world.state(2), Some(NeighState::REACHABLE));
    world.pass(40_000);
    assert_eq!((world.state(2), world.state(3)), (Some(NeighState::STALE), Some(NeighState::PERMANENT)));
}

#[test]
fn nobody_answers() {
    let world = World::new();
    world.set(ParmValue::Time(NeighParm::RetransTime, 300));
    world.add(2, NeighState::NONE, NeighFlags::USE.0, None, false).unwrap();
    assert_eq!(world.state(2), Some(NeighState::INCOMPLETE));
    world.pass(700);
    assert_eq!(world.stack.neighbour(&world.net, world.key(2)).unwrap().probes, 6);
    world.pass(400);
    assert_eq!(world.state(2), Some(NeighState::FAILED));
    // One that is vouched for is only doubted.
    world.add(3, NeighState::PROBE, NeighFlags::EXT_VALIDATED.0, Some(&MAC), false).unwrap();
    world.pass(1500);
    assert_eq!(world.state(3), Some(NeighState::STALE));
}

#[test]
fn what_is_known_is_replaced_only_if_that_is_said() {
    let world = World::new();
    world.add(2, NeighState::PERMANENT, 0, Some(&MAC), false).unwrap();
    world.add(2, NeighState::REACHABLE, 0, Some(&OTHER), false).unwrap();
    assert_eq!(world.state(2), Some(NeighState::PERMANENT));
    world.add(2, NeighState::REACHABLE, 0, Some(&OTHER), true).unwrap();
    assert_eq!(world.state(2), Some(NeighState::REACHABLE));
    assert_eq!(world.add(2, NeighState::STALE, 0, Some(&MAC[..3]), true), Err(NeighError::ShortAddress));
}

#[test]
fn entries_go_with_their_device() {
    let world = World::new();
    for last in 2..20 {
        world.add(last, NeighState::PERMANENT, 0, Some(&MAC), false).unwrap();
    }
    let down =
        LinkChange { flags: Some(FlagChange { flags: IfFlags::NONE, mask: IfFlags::UP }), ..LinkChange::default() };
    world.stack.rtnl(Origin::KERNEL).set_link(&world.net, world.index, &down).unwrap();
    assert_eq!(world.stack.neighbours(&world.net, None, 0, 100).entries, []);
}

#[test]
fn a_full_table_makes_room_or_refuses() {
    let world = World::new();
    let add = |n: u32, state| {
        let [_, _, c, d] = n.to_be_bytes();
        let key = NeighKey { ifindex: world.index, dst: IpAddr::V4(Ipv4Addr::new(10, 2, c, d)) };
        let new = NewNeigh {
            key,
            state,
            flags: NeighFlags::default(),
            address: Some(&MAC),
            protocol: 0,
            create: true,
            exclusive: false,
            replace: false,
        };
        world.stack.rtnl(Origin::KERNEL).new_neigh(&world.net, &new)
    };
    assert_eq!((0..1100).filter(|n| add(*n, NeighState::STALE).is_err()).count(), 77);
    assert!((2000..2100).all(|n| add(n, NeighState::PERMANENT).is_ok()) || add(5000, NeighState::STALE).is_err());
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(add(3000, NeighState::STALE), Ok(()));
}

proptest! {
    /// Whatever is asked for: a refusal changes nothing that a listing shows.
    #[test]
    fn refusals_leave_nothing(asked in proptest::collection::vec(
        (2u8..5, any::<u8>(), prop_oneof![Just(0u32), Just(0x10), Just(0x80), Just(1), Just(0x100), Just(0x400), Just(0x500)],
         any::<bool>(), any::<bool>()), 1..40)) {
        let world = World::new();
        for (last, state, flags, addressed, replace) in asked {
            let before = world.stack.neighbours(&world.net, None, 0, 100).entries;
            if world.add(last, NeighState(state), flags, addressed.then_some(&MAC[..]), replace).is_err() {
                prop_assert_eq!(before, world.stack.neighbours(&world.net, None, 0, 100).entries);
            }
            world.pass(200);
        }
    }
}
