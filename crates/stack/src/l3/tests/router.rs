//! Routers that make themselves known, and hosts that look for one.

use std::time::Duration;

use pernet::{NetRef, Origin};

use super::World;
use crate::dev::IfFlags;

/// A host and a link to it, from which `b` speaks; the host has its link-local address.
fn host() -> (World, NetRef, NetRef) {
    let world = World::new();
    let (a, b) = (world.net(), world.net());
    world.wire((&a, "e1", 1), (&b, "e2", 2));
    for (net, device) in [(&a, "e1"), (&b, "e2")] {
        let change = crate::dev::LinkChange { addr_gen_mode: Some(0), ..crate::dev::LinkChange::default() };
        world.stack.rtnl(Origin::KERNEL).set_link(net, world.index(net, device), &change).unwrap();
        world.flags(net, device, IfFlags::from_bits(0), IfFlags::UP);
        world.up(net, device);
    }
    (world, a, b)
}

/// Seconds at which the host asks for routers within `time`.
fn questions(world: &World, b: &NetRef, time: u64) -> Vec<u64> {
    let mut out = Vec::new();
    for second in 0..time {
        crate::l2::seen::take();
        world.clock.advance(Duration::from_secs(1));
        world.run();
        // Type 133 behind the headers of Ethernet and IPv6.
        let asked = |seen: &crate::l2::seen::Seen| {
            seen.net == b.cookie().get() && !seen.outgoing && seen.bytes.get(14 + 40) == Some(&133)
        };
        out.extend(crate::l2::seen::take().iter().filter(|seen| asked(seen)).map(|_| second));
    }
    out
}

#[test]
fn routers_are_asked_for_less_and_less_often() {
    let (world, _a, b) = host();
    // Of ten minutes: first when the address is checked, then after four seconds, eight, ...
    let at = questions(&world, &b, 600);
    assert!((7..=9).contains(&at.len()), "{at:?}");
    let gaps: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (n, gap) in gaps.iter().enumerate() {
        let (least, most) = (36 * 19_u64.pow(n as u32), 44 * 21_u64.pow(n as u32));
        let unit = 10 * 10_u64.pow(n as u32);
        assert!(gap + 1 >= least / unit && *gap <= most / unit + 1, "{gaps:?}");
    }
}

#[test]
fn who_forwards_asks_nobody() {
    let (world, a, b) = host();
    world.sysctl(&a, "ipv6/conf/e1/forwarding", "1");
    assert_eq!(questions(&world, &b, 100), []);
    world.sysctl(&b, "ipv6/conf/e2/router_solicitations", "3");
    world.sysctl(&a, "ipv6/conf/e1/router_solicitations", "0");
    world.sysctl(&a, "ipv6/conf/e1/forwarding", "0");
    world.flags(&a, "e1", IfFlags::from_bits(0), IfFlags::UP);
    world.up(&a, "e1");
    assert_eq!(questions(&world, &b, 100), []);
    world.sysctl(&a, "ipv6/conf/e1/router_solicitations", "3");
    world.flags(&a, "e1", IfFlags::from_bits(0), IfFlags::UP);
    world.up(&a, "e1");
    assert_eq!(questions(&world, &b, 600).len(), 3);
}
