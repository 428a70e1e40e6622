//! IPv6 over the loopback, a cable and a router.

use std::time::Duration;

use super::*;
use crate::neigh::{NeighKey, NeighState};

/// Two hosts with one cable, whose addresses are checked.
fn pair() -> (World, NetRef, NetRef) {
    let world = World::new();
    let (a, b) = (world.net(), world.net());
    world.wire((&a, "e1", 1), (&b, "e2", 2));
    world.addr(&a, "e1", "2001:db8::1/64");
    world.addr(&b, "e2", "2001:db8::2/64");
    world.pass(Duration::from_secs(3));
    seen::take();
    (world, a, b)
}

/// Two hosts and a router between them.
pub(super) fn routed() -> (World, NetRef, NetRef, NetRef) {
    let world = World::new();
    let (a, r, b) = (world.net(), world.net(), world.net());
    world.wire((&a, "e1", 1), (&r, "r1", 2));
    world.wire((&r, "r2", 3), (&b, "e2", 4));
    world.addr(&a, "e1", "2001:db8:1::1/64");
    world.addr(&r, "r1", "2001:db8:1::f/64");
    world.addr(&r, "r2", "2001:db8:2::f/64");
    // Routers ask their neighbours from such addresses.
    world.addr(&r, "r1", "fe80::1/64");
    world.addr(&r, "r2", "fe80::1/64");
    world.addr(&b, "e2", "2001:db8:2::1/64");
    world.sysctl(&r, "ipv6/conf/all/forwarding", "1");
    world.pass(Duration::from_secs(3));
    world.route6(&a, 1, "::/0", Some("2001:db8:1::f"));
    world.route6(&b, 1, "::/0", Some("2001:db8:2::f"));
    seen::take();
    (world, a, r, b)
}

fn state(world: &World, net: &NetRef, device: &str, dst: &str) -> Option<NeighState> {
    let key = NeighKey { ifindex: world.index(net, device), dst: dst.parse().unwrap() };
    world.stack.neighbour(net, key).map(|report| report.state)
}

#[test]
fn the_loopback_answers() {
    let world = World::new();
    let net = world.net();
    world.ping(&net, "::1", 56, plain()).unwrap();
    assert_eq!(
        world.came_in(&net),
        ["::1 > ::1 len 104 hlim 64 icmp 128/0 1", "::1 > ::1 len 104 hlim 64 icmp 129/0 1"]
    );
}

#[test]
fn a_neighbour_is_asked_for_and_answers() {
    let (world, a, b) = pair();
    world.ping(&a, "2001:db8::2", 56, plain()).unwrap();
    assert_eq!(
        world.came_in(&a),
        [
            "2001:db8::2 > 2001:db8::1 len 72 hlim 255 is-at 2001:db8::2 60",
            "2001:db8::2 > 2001:db8::1 len 104 hlim 64 icmp 129/0 1"
        ]
    );
    assert_eq!(state(&world, &a, "e1", "2001:db8::2"), Some(NeighState::REACHABLE));
    assert_eq!(state(&world, &b, "e2", "2001:db8::1"), Some(NeighState::DELAY));
    // To oneself over the loopback.
    seen::take();
    world.ping(&a, "2001:db8::1", 56, plain()).unwrap();
    assert_eq!(world.came_in(&a).len(), 2);
    // Nobody is there.
    world.ping(&a, "2001:db8::77", 56, plain()).unwrap();
    assert_eq!(world.came_in(&b), ["2001:db8::1 > ff02::1:ff00:77 len 72 hlim 255 who-has 2001:db8::77"]);
    world.pass(Duration::from_secs(4));
    assert_eq!(state(&world, &a, "e1", "2001:db8::77"), Some(NeighState::FAILED));
    assert!(world.came_in(&a).contains(&"2001:db8::1 > 2001:db8::1 len 152 hlim 64 icmp 1/3 0".to_owned()));
}

#[test]
fn an_address_that_somebody_has_is_not_used() {
    let (world, a, b) = pair();
    world.addr(&b, "e2", "2001:db8::1/64");
    world.pass(Duration::from_secs(3));
    let came = world.came_in(&a);
    assert_eq!(came, [":: > ff02::1:ff00:1 len 72 hlim 255 who-has 2001:db8::1"]);
    let cx = Cx::new(&world.stack, &b).unwrap();
    let target = crate::inet6::target(cx.ns(), world.index(&b, "e2"), "2001:db8::1".parse().unwrap());
    assert_eq!(target, Some(crate::inet6::Target::Tentative));
    // Two who check the same address at once both leave it.
    for (net, device) in [(&a, "e1"), (&b, "e2")] {
        world.sysctl(net, &format!("ipv6/conf/{device}/router_solicitation_delay"), "0");
    }
    world.addr(&a, "e1", "2001:db8::5/64");
    world.addr(&b, "e2", "2001:db8::5/64");
    world.pass(Duration::from_secs(5));
    for (net, device) in [(&a, "e1"), (&b, "e2")] {
        let cx = Cx::new(&world.stack, net).unwrap();
        let target = crate::inet6::target(cx.ns(), world.index(net, device), "2001:db8::5".parse().unwrap());
        assert_eq!(target, Some(crate::inet6::Target::Tentative), "{device}");
    }
}

#[test]
fn a_router_forwards_and_tells_what_it_cannot() {
    let (world, a, r, b) = routed();
    world.ping(&a, "2001:db8:2::1", 56, plain()).unwrap();
    let last = world.came_in(&a).pop().unwrap();
    assert_eq!(last, "2001:db8:2::1 > 2001:db8:1::1 len 104 hlim 63 icmp 129/0 1");
    world.ping(&a, "2001:db8:2::1", 56, Header { hop_limit: Some(1), ..plain() }).unwrap();
    assert_eq!(world.came_in(&a), ["2001:db8:1::f > 2001:db8:1::1 len 152 hlim 64 icmp 3/0 0"]);
    world.route6(&r, 7, "2001:db8:a::/64", None);
    world.route6(&r, 8, "2001:db8:b::/64", None);
    world.route6(&r, 6, "2001:db8:c::/64", None);
    for (dst, told) in [("d::1", Some(0)), ("a::1", Some(0)), ("b::1", Some(1)), ("c::1", None)] {
        world.ping(&a, &format!("2001:db8:{dst}"), 56, plain()).unwrap();
        let expected = told.map(|code| format!("2001:db8:1::f > 2001:db8:1::1 len 152 hlim 64 icmp 1/{code} 0"));
        assert_eq!(world.came_in(&a), expected.into_iter().collect::<Vec<_>>(), "{dst}");
    }
    // What is too large for the next link comes back, and is cut by its sender.
    let change = LinkChange { mtu: Some(1300), ..LinkChange::default() };
    world.stack.rtnl(Origin::KERNEL).set_link(&r, world.index(&r, "r2"), &change).unwrap();
    world.ping(&a, "2001:db8:2::1", 1400, plain()).unwrap();
    assert_eq!(world.came_in(&a), ["2001:db8:1::f > 2001:db8:1::1 len 1280 hlim 64 icmp 2/0 1300"]);
    let refused = Header { pmtu: PmtuDiscovery::Do, ..plain() };
    assert_eq!(world.ping(&a, "2001:db8:2::1", 1400, refused), Err(crate::errno::EMSGSIZE));
    world.sysctl(&r, "ipv6/conf/all/forwarding", "0");
    seen::take();
    world.ping(&a, "2001:db8:2::1", 56, plain()).unwrap();
    assert_eq!(world.came_in(&b), [""; 0]);
}

#[test]
fn parts_are_put_together() {
    let (world, a, b) = pair();
    world.ping(&a, "2001:db8::2", 3000, plain()).unwrap();
    let came = world.came_in(&a);
    assert_eq!(
        came[1..],
        [
            "2001:db8::2 > 2001:db8::1 len 1496 hlim 64 part 0+ icmp 129/0 1",
            "2001:db8::2 > 2001:db8::1 len 1496 hlim 64 part 1448+",
            "2001:db8::2 > 2001:db8::1 len 160 hlim 64 part 2896"
        ]
    );
    assert_eq!(
        world.ping(&a, "2001:db8::2", 1500, Header { pmtu: PmtuDiscovery::Do, ..plain() }),
        Err(crate::errno::EMSGSIZE)
    );
    drop(b);
}

#[test]
fn link_local_addresses_and_groups_are_on_one_link() {
    let (world, a, b) = pair();
    world.addr(&a, "e1", "fe80::1/64");
    world.addr(&b, "e2", "fe80::2/64");
    world.pass(Duration::from_secs(3));
    seen::take();
    world.ping(&a, "fe80::2", 56, plain()).unwrap();
    assert_eq!(world.came_in(&a).pop().unwrap(), "fe80::2 > fe80::1 len 104 hlim 64 icmp 129/0 1");
    // All nodes are asked, this one too.
    world.ping(&a, "ff02::1", 56, plain()).unwrap();
    let came = world.came_in(&a);
    assert_eq!(came.iter().filter(|line| line.contains("icmp 129/0")).count(), 2, "{came:?}");
    world.sysctl(&b, "ipv6/icmp/echo_ignore_multicast", "1");
    world.ping(&a, "ff02::1", 56, plain()).unwrap();
    assert_eq!(world.went_out(&b).iter().filter(|line| line.contains("icmp 129/0")).count(), 0);
}

#[test]
fn headers_that_nobody_knows_are_told() {
    let (world, a, _b) = pair();
    let send = |options: &[u8]| {
        let header = Header { options: options.to_vec(), ..plain() };
        world.ping(&a, "2001:db8::2", 8, header).unwrap();
        world.came_in(&a).pop()
    };
    // Padding; an option to be skipped; one to be thrown away; one to be told.
    let answer = "2001:db8::2 > 2001:db8::1 len 56 hlim 64 icmp 129/0 1";
    assert_eq!(send(&[0, 0, 0, 1, 4, 0, 0, 0, 0]).as_deref(), Some(answer));
    assert_eq!(send(&[60, 0, 0, 0x1e, 4, 0, 0, 0, 0]).as_deref(), Some(answer));
    assert_eq!(send(&[60, 0, 0, 0x5e, 4, 0, 0, 0, 0]), None);
    let told = |code, at| Some(format!("2001:db8::2 > 2001:db8::1 len 112 hlim 64 icmp 4/{code} {at}"));
    assert_eq!(send(&[60, 0, 0, 0x9e, 4, 0, 0, 0, 0]), told(2, 42));
    // A routing header with stations left; one with none.
    assert_eq!(send(&[43, 0, 0, 0, 1, 0, 0, 0, 0]), told(0, 42));
    assert_eq!(send(&[43, 0, 0, 0, 0, 0, 0, 0, 0]).as_deref(), Some(answer));
}
