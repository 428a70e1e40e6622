//! What is kept of packets' ways, and packets that stand for many.

use std::time::Duration;

use pernet::{NetRef, Origin};

use super::{World, plain, seen};
use crate::fib::route_type;
use crate::l4::tcp::TcpSocket;
use crate::neigh::{NeighFlags, NeighKey, NeighState, NewNeigh};

const TSO: u64 = 1 << 16 | 1 << 18 | 1 << 19 | 1 << 20;

/// A host, a router, and two networks behind it with a host in each.
fn fork() -> (World, [NetRef; 4]) {
    let world = World::new();
    let nets = [world.net(), world.net(), world.net(), world.net()];
    let [a, r, b, c] = &nets;
    world.wire((a, "e0", 1), (r, "r0", 2));
    world.wire((r, "r1", 3), (b, "e0", 4));
    world.wire((r, "r2", 5), (c, "e0", 6));
    for (net, device, addr) in [
        (a, "e0", "10.1.0.2/24"),
        (r, "r0", "10.1.0.1/24"),
        (r, "r1", "10.2.0.1/24"),
        (r, "r2", "10.3.0.1/24"),
        (b, "e0", "10.2.0.2/24"),
        (c, "e0", "10.3.0.2/24"),
    ] {
        world.addr(net, device, addr);
    }
    world.route(a, route_type::UNICAST, "0.0.0.0/0", Some("10.1.0.1"));
    world.route(b, route_type::UNICAST, "0.0.0.0/0", Some("10.2.0.1"));
    world.route(r, route_type::UNICAST, "10.9.0.0/16", Some("10.2.0.2"));
    world.sysctl(r, "ipv4/ip_forward", "1");
    (world, nets)
}

/// Of the frames with IPv4 that came in by `e0` since the last look: how many, where they were sent, and how long they were.
fn arrived(seen: &[seen::Seen], net: &NetRef) -> Vec<(u8, usize)> {
    let came = |s: &&seen::Seen| s.net == net.cookie().get() && !s.outgoing && s.device == "e0";
    let packets = seen.iter().filter(came).filter(|s| s.bytes[12..14] == [8, 0]);
    packets.map(|s| (s.bytes[5], s.bytes.len())).collect()
}

#[test]
fn what_is_kept_of_a_way_ends_with_any_change() {
    let (world, [a, r, b, c]) = fork();
    let send = || {
        world.ping(&a, "10.9.0.1", 10, plain()).unwrap();
        let seen = seen::take();
        let to = |net| arrived(&seen, net).into_iter().map(|(address, _)| address).collect::<Vec<u8>>();
        (to(&b), to(&c))
    };
    for _ in 0..3 {
        assert_eq!(send(), (vec![4], vec![]));
    }
    world.route(&r, route_type::UNICAST, "10.9.0.1/32", Some("10.3.0.2"));
    assert_eq!(send(), (vec![], vec![6]));
    assert_eq!(send(), (vec![], vec![6]));
    // The neighbour is elsewhere.
    let new = NewNeigh {
        key: NeighKey { ifindex: world.index(&r, "r2"), dst: [10, 3, 0, 2].into() },
        state: NeighState::PERMANENT,
        flags: NeighFlags::default(),
        address: Some(&[2, 0, 0, 0, 0, 77]),
        protocol: 0,
        create: true,
        exclusive: false,
        replace: true,
    };
    world.stack.rtnl(Origin::KERNEL).new_neigh(&r, &new).unwrap();
    assert_eq!(send(), (vec![], vec![77]));
    world.sysctl(&r, "ipv4/ip_forward", "0");
    assert_eq!(send(), (vec![], vec![]));
    world.sysctl(&r, "ipv4/ip_forward", "1");
    assert_eq!(send(), (vec![], vec![77]));
    // A rule that asks for what is not looked at otherwise.
    world.sysctl(&r, "ipv4/conf/r0/rp_filter", "1");
    assert_eq!(send(), (vec![], vec![77]));
}

#[test]
fn what_is_kept_of_a_way_of_ipv6_ends_with_any_change_and_with_its_route() {
    let (world, a, r, b) = super::v6::routed();
    let c = world.net();
    world.wire((&r, "r3", 5), (&c, "e3", 6));
    world.addr(&r, "r3", "2001:db8:3::f/64");
    world.addr(&r, "r3", "fe80::1/64");
    world.addr(&c, "e3", "2001:db8:3::1/64");
    world.pass(Duration::from_secs(3));
    let by_way = |dst: &str, via: &str, expires: Option<u32>| world.route6_for(&r, (1, dst, Some(via)), expires);
    by_way("2001:db8:9::/48", "2001:db8:2::1", None);
    let send = || {
        seen::take();
        world.ping(&a, "2001:db8:9::1", 10, plain()).unwrap();
        let seen = seen::take();
        let is_request = |s: &&seen::Seen| !s.outgoing && s.bytes[12..14] == [0x86, 0xdd] && s.bytes[54] == 128;
        let to = |net: &NetRef| {
            let came = seen.iter().filter(|s| s.net == net.cookie().get()).filter(is_request);
            came.map(|s| (s.bytes[5], s.bytes[21])).collect::<Vec<_>>()
        };
        (to(&b), to(&c))
    };
    // One hop less each time, and the neighbour's address.
    for _ in 0..3 {
        assert_eq!(send(), (vec![(4, 63)], vec![]));
    }
    by_way("2001:db8:9::1/128", "2001:db8:3::1", Some(10));
    for _ in 0..3 {
        assert_eq!(send(), (vec![], vec![(6, 63)]));
    }
    // Nobody has looked for routes that are over.
    world.clock.advance(Duration::from_secs(11));
    world.neighbour(&r, "r2", "2001:db8:2::1", 4);
    assert_eq!(send(), (vec![(4, 63)], vec![]));
    assert_eq!(send(), (vec![(4, 63)], vec![]));
    world.neighbour(&r, "r2", "2001:db8:2::1", 77);
    assert_eq!(send(), (vec![(77, 63)], vec![]));
    world.sysctl(&r, "ipv6/conf/all/forwarding", "0");
    assert_eq!(send(), (vec![], vec![]));
    world.sysctl(&r, "ipv6/conf/all/forwarding", "1");
    assert_eq!(send(), (vec![(77, 63)], vec![]));
    by_way("2001:db8:9:0::/64", "2001:db8:3::1", None);
    world.neighbour(&r, "r3", "2001:db8:3::1", 6);
    assert_eq!(send(), (vec![], vec![(6, 63)]));
}

#[test]
fn a_stream_crosses_a_router_in_one_piece_and_is_cut_where_somebody_wants_segments() {
    let (world, [a, r, b, _]) = fork();
    let (listener, client) = (TcpSocket::new_v4(&world.stack, &b), TcpSocket::new_v4(&world.stack, &a));
    let to = "10.2.0.2:80".parse().unwrap();
    listener.bind(to, true).unwrap();
    listener.listen(1).unwrap();
    let _ = client.connect(to);
    let (server, _) = listener.accept().unwrap();
    let sent: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let cross = || {
        seen::take();
        let before = (world.stats(&a, "e0"), world.stats(&b, "e0"));
        let (mut at, mut got, mut room) = (0, Vec::new(), vec![0; 64 << 10]);
        for _ in 0..1000 {
            at += client.send(&sent[at..]).unwrap_or(0);
            while let Ok(more) = server.recv(&mut room) {
                got.extend_from_slice(&room[..more]);
            }
            if got.len() == sent.len() {
                break;
            }
            world.pass(std::time::Duration::from_millis(50));
        }
        assert!(got == sent, "{} bytes of {} came as they were sent", got.len(), sent.len());
        let after = (world.stats(&a, "e0"), world.stats(&b, "e0"));
        let seen = seen::take();
        let sizes: Vec<usize> = arrived(&seen, &b).into_iter().map(|(_, len)| len).collect();
        // What looks on sees what is counted.
        assert_eq!(after.1.rx_packets - before.1.rx_packets, sizes.len() as u64);
        assert_eq!(after.1.rx_bytes - before.1.rx_bytes, sizes.iter().sum::<usize>() as u64);
        (sizes.into_iter().max().unwrap(), after.0.tx_packets - before.0.tx_packets)
    };
    let (longest, packets) = cross();
    assert!(longest > 10_000 && packets < 60, "{longest} {packets}");
    // The router's device takes no such pieces: it is there that they are cut.
    let link = world.stack.links(&r).unwrap().by_name("r1").unwrap();
    world.stack.rtnl(Origin::KERNEL).set_eth_features(&r, &link, TSO, 0);
    let (longest, packets) = cross();
    assert!(longest == 1514 && packets < 60, "{longest} {packets}");
    world.stack.rtnl(Origin::KERNEL).set_eth_features(&r, &link, TSO, TSO);
    // What does not fit through the way is not sent on, and the sender learns how large a packet may be.
    let change = crate::dev::LinkChange { mtu: Some(1000), ..crate::dev::LinkChange::default() };
    world.stack.rtnl(Origin::KERNEL).set_link(&r, link.index(), &change).unwrap();
    let change = crate::dev::LinkChange { mtu: Some(1000), ..crate::dev::LinkChange::default() };
    world.stack.rtnl(Origin::KERNEL).set_link(&b, world.index(&b, "e0"), &change).unwrap();
    cross();
}
