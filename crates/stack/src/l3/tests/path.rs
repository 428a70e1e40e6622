//! What hosts learn of paths: how large packets may be, and which router is nearer.

use std::time::Duration;

use super::v4::routed;
use super::v6::routed as routed6;
use super::*;
use crate::fib::{RouteQuery, RouteReply};
use crate::inet6::Flow6;

const ON: Header = Header {
    protocol: 0,
    tos: 0,
    hop_limit: None,
    pmtu: PmtuDiscovery::Do,
    options: Vec::new(),
    flow_label: 0,
    part_size: 0,
    multicast_loop: true,
    mark: 0,
    priority: 0,
};

/// What `ip route get` tells: largest packet, router, seconds.
fn get(world: &World, net: &NetRef, dst: &str) -> (Option<u32>, Option<IpAddr>, Option<u64>) {
    let (learned, gateway) = match dst.parse().unwrap() {
        IpAddr::V4(dst) => {
            let query = RouteQuery::to(dst);
            let RouteReply::Way(way) = world.stack.route_get4(net, &query).unwrap() else {
                panic!("a way was asked for")
            };
            let gateway = match way.gateway {
                Gateway::V4(gateway) => Some(gateway.into()),
                _ => None,
            };
            (way.learned, gateway)
        }
        IpAddr::V6(dst) => {
            let way = world.stack.route6(net, &Flow6 { dst, ..Flow6::default() }).unwrap();
            (way.learned, way.gateway.map(IpAddr::V6))
        }
    };
    (learned.and_then(|l| l.mtu), gateway, learned.and_then(|l| l.expires).map(|left| left.as_secs()))
}

#[test]
fn the_largest_packet_of_a_path_is_learnt_and_forgotten() {
    let (world, a, r, _b) = routed();
    let mtu = |mtu| {
        let change = LinkChange { mtu: Some(mtu), ..LinkChange::default() };
        world.stack.rtnl(Origin::KERNEL).set_link(&r, world.index(&r, "r2"), &change).unwrap();
    };
    let gateway = Some("10.1.1.254".parse().unwrap());
    mtu(1300);
    world.ping(&a, "10.1.2.1", 1400, ON).unwrap();
    assert_eq!(get(&world, &a, "10.1.2.1"), (Some(1300), gateway, Some(600)));
    assert_eq!(world.ping(&a, "10.1.2.1", 1400, ON), Err(crate::errno::EMSGSIZE));
    // Of another destination nothing is known.
    assert_eq!(get(&world, &a, "10.1.2.2"), (None, gateway, None));
    world.pass(Duration::from_secs(10));
    assert_eq!(get(&world, &a, "10.1.2.1"), (Some(1300), gateway, Some(590)));
    // Too little is not believed.
    mtu(400);
    world.ping(&a, "10.1.2.1", 1200, ON).unwrap();
    assert_eq!(get(&world, &a, "10.1.2.1").0, Some(552));
    world.pass(Duration::from_secs(601));
    assert_eq!(get(&world, &a, "10.1.2.1"), (None, gateway, None));
    world.ping(&a, "10.1.2.1", 1200, ON).unwrap();
    world.sysctl(&a, "ipv4/route/flush", "1");
    assert_eq!(get(&world, &a, "10.1.2.1"), (None, gateway, None));
}

#[test]
fn the_largest_packet_of_a_path_is_learnt_by_ipv6() {
    let (world, a, r, b) = routed6();
    let change = LinkChange { mtu: Some(1300), ..LinkChange::default() };
    world.stack.rtnl(Origin::KERNEL).set_link(&r, world.index(&r, "r2"), &change).unwrap();
    world.ping(&a, "2001:db8:2::1", 1400, plain()).unwrap();
    let gateway = Some("2001:db8:1::f".parse().unwrap());
    assert_eq!(get(&world, &a, "2001:db8:2::1"), (Some(1300), gateway, Some(600)));
    seen::take();
    // It is cut now so that it passes.
    world.ping(&a, "2001:db8:2::1", 1400, plain()).unwrap();
    let came = world.came_in(&b);
    assert!(came.iter().any(|line| line.contains("part 0+ icmp 128/0")), "{came:?}");
}

#[test]
fn a_nearer_router_is_told_and_used() {
    let world = World::new();
    // Three on one link in a row: the first router sends back what the second is nearer to.
    let (a, r, n) = (world.net(), world.net(), world.net());
    world.wire((&a, "e1", 1), (&r, "r1", 2));
    world.wire((&a, "e2", 3), (&n, "n1", 4));
    world.addr(&a, "e1", "10.1.1.1/24");
    world.addr(&r, "r1", "10.1.1.254/24");
    world.sysctl(&r, "ipv4/ip_forward", "1");
    world.sysctl(&r, "ipv4/conf/all/rp_filter", "0");
    world.route(&a, UNICAST, "0.0.0.0/0", Some("10.1.1.254"));
    world.route(&r, UNICAST, "10.9.0.0/16", Some("10.1.1.253"));
    // The nearer router is known to be there.
    world.neighbour(&a, "e1", "10.1.1.253", 9);
    world.ping(&a, "10.9.1.1", 56, plain()).unwrap();
    let came = world.came_in(&a);
    assert!(came.iter().any(|line| line.starts_with("10.1.1.254 > 10.1.1.1") && line.contains("icmp 5/1")), "{came:?}");
    assert_eq!(get(&world, &a, "10.9.1.1").1, Some("10.1.1.253".parse().unwrap()));
    // Who is not to believe it does not.
    world.sysctl(&a, "ipv4/route/flush", "1");
    world.sysctl(&a, "ipv4/conf/all/accept_redirects", "0");
    world.sysctl(&a, "ipv4/conf/e1/accept_redirects", "0");
    world.ping(&a, "10.9.1.1", 56, plain()).unwrap();
    assert_eq!(get(&world, &a, "10.9.1.1").1, Some("10.1.1.254".parse().unwrap()));
}
