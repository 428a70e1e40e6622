//! IPv4 over the loopback, a cable and a router.

use std::time::Duration;

use super::*;
use crate::neigh::{NeighKey, NeighState};

/// Two hosts with one cable.
fn pair() -> (World, NetRef, NetRef) {
    let world = World::new();
    let (a, b) = (world.net(), world.net());
    world.wire((&a, "e1", 1), (&b, "e2", 2));
    world.addr(&a, "e1", "10.1.1.1/24");
    world.addr(&b, "e2", "10.1.1.2/24");
    (world, a, b)
}

/// Two hosts and a router between them.
pub(super) fn routed() -> (World, NetRef, NetRef, NetRef) {
    let world = World::new();
    let (a, r, b) = (world.net(), world.net(), world.net());
    world.wire((&a, "e1", 1), (&r, "r1", 2));
    world.wire((&r, "r2", 3), (&b, "e2", 4));
    world.addr(&a, "e1", "10.1.1.1/24");
    world.addr(&r, "r1", "10.1.1.254/24");
    world.addr(&r, "r2", "10.1.2.254/24");
    world.addr(&b, "e2", "10.1.2.1/24");
    world.sysctl(&r, "ipv4/ip_forward", "1");
    world.route(&a, UNICAST, "0.0.0.0/0", Some("10.1.1.254"));
    world.route(&b, UNICAST, "0.0.0.0/0", Some("10.1.2.254"));
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
    world.ping(&net, "127.0.0.1", 56, plain()).unwrap();
    assert_eq!(
        world.came_in(&net),
        ["127.0.0.1 > 127.0.0.1 len 84 ttl 64 icmp 8/0 1", "127.0.0.1 > 127.0.0.1 len 84 ttl 64 icmp 0/0 1"]
    );
    let stats = world.stats(&net, "lo");
    assert_eq!((stats.tx_packets, stats.tx_bytes, stats.rx_packets, stats.rx_bytes), (2, 168, 2, 168));
}

#[test]
fn a_neighbour_is_asked_for_and_answers() {
    let (world, a, b) = pair();
    world.ping(&a, "10.1.1.2", 56, plain()).unwrap();
    assert_eq!(world.came_in(&a), ["arp 10.1.1.2 is-at 02", "10.1.1.2 > 10.1.1.1 len 84 ttl 64 icmp 0/0 1"]);
    assert_eq!(state(&world, &a, "e1", "10.1.1.2"), Some(NeighState::REACHABLE));
    assert_eq!(state(&world, &b, "e2", "10.1.1.1"), Some(NeighState::DELAY));
    let stats = world.stats(&a, "e1");
    assert_eq!((stats.tx_packets, stats.tx_bytes, stats.rx_packets, stats.rx_bytes), (2, 140, 2, 140));
    assert_eq!(world.stats(&b, "e2"), stats);
    // The other asks after five seconds whether who asked is still there, and only him.
    world.pass(Duration::from_secs(6));
    assert_eq!(world.came_in(&a), ["arp who-has 10.1.1.1 tell 10.1.1.2"]);
    assert_eq!(state(&world, &b, "e2", "10.1.1.1"), Some(NeighState::REACHABLE));
    // To oneself over the loopback.
    world.ping(&a, "10.1.1.1", 56, plain()).unwrap();
    assert_eq!(world.stats(&a, "lo").rx_packets, 2);
}

#[test]
fn who_does_not_answer_is_unreachable() {
    let (world, a, b) = pair();
    world.ping(&a, "10.1.1.77", 56, plain()).unwrap();
    world.ping(&a, "10.1.1.77", 56, plain()).unwrap();
    assert_eq!(state(&world, &a, "e1", "10.1.1.77"), Some(NeighState::INCOMPLETE));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.came_in(&b), ["arp who-has 10.1.1.77 tell 10.1.1.1"; 3]);
    world.pass(Duration::from_secs(2));
    assert_eq!(state(&world, &a, "e1", "10.1.1.77"), Some(NeighState::FAILED));
    assert_eq!(world.came_in(&a), ["10.1.1.1 > 10.1.1.1 len 112 ttl 64 icmp 3/1 0"; 2]);
}

#[test]
fn a_router_forwards_and_tells_what_it_cannot() {
    let (world, a, r, b) = routed();
    world.ping(&a, "10.1.2.1", 56, plain()).unwrap();
    let came = world.came_in(&a);
    assert_eq!(came, ["arp 10.1.1.254 is-at 02", "10.1.2.1 > 10.1.1.1 len 84 ttl 63 icmp 0/0 1"]);
    // It dies at the router.
    world.ping(&a, "10.1.2.1", 56, Header { hop_limit: Some(1), ..plain() }).unwrap();
    assert_eq!(world.came_in(&a), ["10.1.1.254 > 10.1.1.1 len 112 ttl 64 icmp 11/0 0"]);
    // There is no way, or none that may be taken.
    world.route(&r, 7, "10.9.1.0/24", None);
    world.route(&r, 8, "10.9.2.0/24", None);
    world.route(&r, 6, "10.9.3.0/24", None);
    for (dst, told) in [("10.8.0.1", Some(0)), ("10.9.1.1", Some(1)), ("10.9.2.1", Some(13)), ("10.9.3.1", None)] {
        world.ping(&a, dst, 56, plain()).unwrap();
        let expected = told.map(|code| format!("10.1.1.254 > 10.1.1.1 len 112 ttl 64 icmp 3/{code} 0"));
        assert_eq!(world.came_in(&a), expected.into_iter().collect::<Vec<_>>(), "{dst}");
    }
    // Nobody is behind it.
    world.ping(&a, "10.1.2.99", 56, plain()).unwrap();
    world.pass(Duration::from_secs(4));
    assert_eq!(world.came_in(&a).last().unwrap(), "10.1.1.254 > 10.1.1.1 len 112 ttl 64 icmp 3/1 0");
    // It forwards no more.
    world.sysctl(&r, "ipv4/ip_forward", "0");
    world.ping(&a, "10.1.2.1", 56, plain()).unwrap();
    assert_eq!(world.came_in(&b), [""; 0]);
}

#[test]
fn what_is_too_large_is_cut_or_refused() {
    let (world, a, r, b) = routed();
    let change = LinkChange { mtu: Some(1000), ..LinkChange::default() };
    world.stack.rtnl(Origin::KERNEL).set_link(&r, world.index(&r, "r2"), &change).unwrap();
    world.ping(&a, "10.1.2.1", 1400, Header { pmtu: PmtuDiscovery::Do, ..plain() }).unwrap();
    assert_eq!(world.came_in(&a).last().unwrap(), "10.1.1.254 > 10.1.1.1 len 576 ttl 64 icmp 3/4 1000");
    world.ping(&a, "10.1.2.1", 1400, plain()).unwrap();
    let came = world.came_in(&b);
    let parts: Vec<&str> = came.iter().map(String::as_str).filter(|s| s.contains("part")).collect();
    assert_eq!(
        parts,
        ["10.1.1.1 > 10.1.2.1 len 996 ttl 63 part 0+ icmp 8/0 1", "10.1.1.1 > 10.1.2.1 len 452 ttl 63 part 976"]
    );
    let refused = Header { pmtu: PmtuDiscovery::Do, ..plain() };
    assert_eq!(world.ping(&a, "10.1.2.1", 1473, refused), Err(crate::errno::EMSGSIZE));
}

#[test]
fn what_is_asked_is_answered_as_the_settings_say() {
    let (world, a, b) = pair();
    // All are asked, and do not answer unless they are told to.
    world.ping(&a, "10.1.1.255", 56, plain()).unwrap();
    assert_eq!(world.came_in(&b), ["10.1.1.1 > 10.1.1.255 len 84 ttl 64 icmp 8/0 1"]);
    world.sysctl(&b, "ipv4/icmp_echo_ignore_broadcasts", "0");
    world.ping(&a, "10.1.1.255", 56, plain()).unwrap();
    assert_eq!(world.came_in(&a).last().unwrap(), "10.1.1.2 > 10.1.1.1 len 84 ttl 64 icmp 0/0 1");
    world.sysctl(&b, "ipv4/icmp_echo_ignore_all", "1");
    world.ping(&a, "10.1.1.2", 56, plain()).unwrap();
    assert!(!world.came_in(&a).iter().any(|line| line.contains("icmp 0")));
    // A cable without a carrier takes nothing.
    world.flags(&b, "e2", IfFlags::NONE, IfFlags::UP);
    seen::take();
    world.ping(&a, "10.1.1.2", 56, plain()).unwrap();
    assert_eq!(world.went_out(&a), [""; 0]);
}

#[test]
fn a_proxy_answers_for_whom_it_reaches() {
    let (world, a, r, b) = routed();
    world.addr(&a, "e1", "10.1.2.77/24");
    seen::take();
    world.ping(&a, "10.1.2.1", 56, plain()).unwrap();
    world.sysctl(&r, "ipv4/conf/r1/proxy_arp", "1");
    world.pass(Duration::from_secs(2));
    assert!(world.came_in(&a).contains(&"arp 10.1.2.1 is-at 02".to_owned()));
    // Nor does who has the address answer by another device, if it is told not to.
    world.sysctl(&b, "ipv4/conf/all/arp_ignore", "8");
    world.ping(&r, "10.1.2.1", 56, plain()).unwrap();
    seen::take();
    world.pass(Duration::from_secs(60));
}

#[test]
fn parts_are_put_together() {
    let (world, a, _r, b) = routed();
    world.ping(&a, "10.1.2.1", 4000, plain()).unwrap();
    let came = world.came_in(&a);
    assert_eq!(came.iter().filter(|line| line.contains("part")).count(), 3, "{came:?}");
    assert!(came[1].contains("icmp 0/0 1"));
    // The last part never comes.
    let first = {
        let cx = Cx::new(&world.stack, &a).unwrap();
        let route = route_output(cx, &Flow::to("10.1.2.1".parse().unwrap())).unwrap();
        let mut packet = vec![0x45, 0, 0, 44, 0, 7, 0x20, 0, 64, 17, 0, 0, 10, 1, 1, 1, 10, 1, 2, 1];
        packet.extend([0; 24]);
        super::super::ip_output_raw(cx, &route, &plain(), Frame::with_payload(&packet))
    };
    first.unwrap();
    world.run();
    world.pass(Duration::from_secs(29));
    assert!(!world.went_out(&b).iter().any(|line| line.contains("icmp 11")));
    world.pass(Duration::from_secs(2));
    let came = world.came_in(&a);
    assert!(came.contains(&"10.1.2.1 > 10.1.1.1 len 72 ttl 63 icmp 11/1 0".to_owned()), "{came:?}");
}
