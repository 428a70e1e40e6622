//! Groups: who listens hears, and routers are told.

use std::time::Duration;

use super::*;
use crate::{inet, inet6};

fn pair() -> (World, NetRef, NetRef) {
    let world = World::new();
    let (a, b) = (world.net(), world.net());
    world.wire((&a, "e1", 1), (&b, "e2", 2));
    world.addr(&a, "e1", "10.1.1.1/24");
    world.addr(&b, "e2", "10.1.1.2/24");
    world.addr(&a, "e1", "fe80::1/64");
    world.addr(&b, "e2", "fe80::2/64");
    world.pass(Duration::from_secs(6));
    seen::take();
    (world, a, b)
}

fn change(world: &World, net: &NetRef, device: &str, group: &str, joined: bool) {
    let cx = Cx::new(&world.stack, net).unwrap();
    let link = world.stack.links(net).unwrap().by_name(device).unwrap();
    let mut rtnl = world.stack.rtnl(Origin::KERNEL);
    match (group.parse().unwrap(), joined) {
        (IpAddr::V4(group), true) => inet::join(&mut rtnl, cx.ns(), &link, group),
        (IpAddr::V4(group), false) => inet::leave(&mut rtnl, cx.ns(), &link, group),
        (IpAddr::V6(group), true) => inet6::join_group(&mut rtnl, cx.ns(), &link, group),
        (IpAddr::V6(group), false) => inet6::leave_group(&mut rtnl, cx.ns(), &link, group),
    }
    drop(rtnl);
    // Routers are told of what comes together.
    world.pass(Duration::from_millis(8));
}

/// What routers were told by `net`: to whom, and the message from its type on.
fn told(net: &NetRef) -> Vec<(String, Vec<u8>)> {
    let of = net.cookie().get();
    let went = seen::take().into_iter().filter(|s| s.net == of && s.outgoing).map(|s| s.bytes);
    let message = |bytes: Vec<u8>| {
        let packet = &bytes[14..];
        match packet[0] >> 4 {
            4 if packet[9] == 2 => {
                // A router alert, and not further than the link.
                assert_eq!((packet[0], packet[8], &packet[20..24]), (0x46, 1, &[148, 4, 0, 0][..]));
                assert_eq!(internet_checksum(&packet[24..], 0), 0);
                Some((format!("{}.{}.{}.{}", packet[16], packet[17], packet[18], packet[19]), packet[24..].to_vec()))
            }
            6 if packet[6] == 0 => {
                assert_eq!((packet[7], &packet[40..48]), (1, &[58, 0, 5, 2, 0, 0, 1, 0][..]));
                let dst = Ipv6Addr::from(<[u8; 16]>::try_from(&packet[24..40]).unwrap());
                Some((dst.to_string(), packet[48..].to_vec()))
            }
            _ => None,
        }
    };
    went.filter_map(message)
        .map(|(to, mut bytes)| {
            (to, {
                bytes[2..4].fill(0);
                bytes
            })
        })
        .collect()
}

#[test]
fn routers_are_told_twice_of_each_change() {
    let (world, a, _b) = pair();
    change(&world, &a, "e1", "239.1.2.3", true);
    let joined = vec![0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 2, 3];
    assert_eq!(told(&a), [("224.0.0.22".to_owned(), joined.clone())]);
    world.pass(Duration::from_secs(2));
    assert_eq!(told(&a), [("224.0.0.22".to_owned(), joined)]);
    world.pass(Duration::from_secs(20));
    assert_eq!(told(&a), []);
    change(&world, &a, "e1", "239.1.2.3", false);
    world.pass(Duration::from_secs(2));
    let left = told(&a);
    assert_eq!((left.len(), left[1].1[8]), (2, 3));
    // What everybody is in is no news; the older version has other messages.
    change(&world, &a, "e1", "224.0.0.1", true);
    assert_eq!(told(&a), []);
    world.sysctl(&a, "ipv4/conf/all/force_igmp_version", "2");
    change(&world, &a, "e1", "239.1.2.4", true);
    assert_eq!(told(&a), [("239.1.2.4".to_owned(), vec![0x16, 0, 0, 0, 239, 1, 2, 4])]);
    world.pass(Duration::from_secs(2));
    told(&a);
    change(&world, &a, "e1", "239.1.2.4", false);
    assert_eq!(told(&a)[0], ("224.0.0.2".to_owned(), vec![0x17, 0, 0, 0, 239, 1, 2, 4]));
}

#[test]
fn routers_are_told_by_ipv6() {
    let (world, a, _b) = pair();
    change(&world, &a, "e1", "ff02::77", true);
    let mut joined = vec![143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0];
    joined.extend("ff02::77".parse::<Ipv6Addr>().unwrap().octets());
    assert_eq!(told(&a), [("ff02::16".to_owned(), joined.clone())]);
    world.pass(Duration::from_secs(2));
    assert_eq!(told(&a), [("ff02::16".to_owned(), joined)]);
    change(&world, &a, "e1", "ff01::77", true);
    assert_eq!(told(&a), []);
}

#[test]
fn a_router_that_asks_is_answered() {
    let (world, a, b) = pair();
    change(&world, &a, "e1", "239.1.2.3", true);
    world.pass(Duration::from_secs(2));
    told(&a);
    let ask = |message: &[u8]| {
        let cx = Cx::new(&world.stack, &b).unwrap();
        let mut message = message.to_vec();
        let sum = internet_checksum(&message, 0);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let route =
            route_output(cx, &Flow { oif: world.index(&b, "e2"), ..Flow::to("224.0.0.1".parse().unwrap()) }).unwrap();
        let header = Header { protocol: 2, hop_limit: Some(1), ..plain() };
        ip_output(cx, &route, &header, Frame::with_payload(&message)).unwrap();
        world.run();
    };
    // Of the newest version: within ten seconds, in one message.
    ask(&[0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]);
    world.pass(Duration::from_secs(11));
    assert_eq!(told(&a), [("224.0.0.22".to_owned(), vec![0x22, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 239, 1, 2, 3])]);
    // Of an older one: as that one answers, and for a while everything is said so.
    ask(&[0x11, 10, 0, 0, 239, 1, 2, 3]);
    world.pass(Duration::from_secs(2));
    assert_eq!(told(&a), [("239.1.2.3".to_owned(), vec![0x16, 0, 0, 0, 239, 1, 2, 3])]);
    ask(&[0x11, 10, 0, 0, 239, 9, 9, 9]);
    world.pass(Duration::from_secs(2));
    assert_eq!(told(&a), []);
}

#[test]
fn who_listens_hears() {
    let (world, a, b) = pair();
    world.sysctl(&b, "ipv4/icmp_echo_ignore_broadcasts", "0");
    let oif = world.index(&a, "e1");
    let send = |loops: bool| {
        let cx = Cx::new(&world.stack, &a).unwrap();
        let route = route_output(cx, &Flow { oif, ..Flow::to("239.1.2.3".parse().unwrap()) }).unwrap();
        let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
        let sum = internet_checksum(&message, 0);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let header = Header { protocol: 1, multicast_loop: loops, ..plain() };
        ip_output(cx, &route, &header, Frame::with_payload(&message)).unwrap();
        world.run();
        world.came_in(&a).into_iter().filter(|line| line.contains("icmp")).collect::<Vec<_>>()
    };
    assert_eq!(send(true), [""; 0]);
    change(&world, &b, "e2", "239.1.2.3", true);
    assert_eq!(send(true), ["10.1.1.2 > 10.1.1.1 len 28 ttl 64 icmp 0/0 1"]);
    // One's own, if one listens and did not say otherwise.
    change(&world, &a, "e1", "239.1.2.3", true);
    world.sysctl(&a, "ipv4/icmp_echo_ignore_broadcasts", "0");
    let own = "10.1.1.1 > 10.1.1.1 len 28 ttl 64 icmp 0/0 1".to_owned();
    assert!(send(true).contains(&own));
    assert!(!send(false).contains(&own));
}
