//! Switches, tags and further addresses, between namespaces.

use std::time::Duration;

use pernet::{NetRef, Origin};

use crate::dev::{
    BridgeChange, BridgePortChange, FdbChange, HwAddr, IfFlags, KindSpec, LinkChange, MacvlanChange, NewLink,
    PortChange, VlanChange, VxlanChange,
};
use crate::l3::tests::{World, plain};

fn new(world: &World, net: &NetRef, name: &str, last: u8, lower: Option<&str>, kind: KindSpec) {
    let mut new = NewLink::new(kind);
    new.change = LinkChange {
        name: Some(name.into()),
        address: Some(Box::from([2, 0, 0, 0, 1, last])),
        ..LinkChange::default()
    };
    new.lower = lower.map(|lower| world.index(net, lower));
    world.stack.rtnl(Origin::KERNEL).new_link(net, &new).unwrap();
    let change = LinkChange { addr_gen_mode: Some(1), ..LinkChange::default() };
    world.stack.rtnl(Origin::KERNEL).set_link(net, world.index(net, name), &change).unwrap();
    world.up(net, name);
}

fn set(world: &World, net: &NetRef, name: &str, change: LinkChange) {
    world.stack.rtnl(Origin::KERNEL).set_link(net, world.index(net, name), &change).unwrap();
}

/// `type vxlan id ID remote REMOTE dstport 4789`
fn tunnel(id: u32, remote: &str) -> KindSpec {
    KindSpec::Vxlan(Box::new(VxlanChange {
        id: Some(id),
        remote: Some(remote.parse().unwrap()),
        port: Some(4789),
        ..VxlanChange::default()
    }))
}

/// A switch with three hosts.
fn switch() -> (World, NetRef, [NetRef; 3]) {
    let world = World::new();
    let s = world.net();
    new(&world, &s, "br0", 0, None, KindSpec::Bridge(Box::<BridgeChange>::default()));
    let hosts = [world.net(), world.net(), world.net()];
    for (n, host) in hosts.iter().enumerate() {
        let (n, port) = (n as u8 + 1, format!("p{}", n + 1));
        world.wire((&s, &port, 10 + n), (host, "e0", n));
        set(&world, &s, &port, LinkChange { master: Some(world.index(&s, "br0")), ..LinkChange::default() });
        world.addr(host, "e0", &format!("10.1.1.{n}/24"));
    }
    world.addr(&s, "br0", "10.1.1.254/24");
    world.pass(Duration::from_secs(40));
    crate::l2::seen::take();
    (world, s, hosts)
}

/// What the switch found out: the last byte of an address, and the port.
fn learnt(world: &World, s: &NetRef) -> Vec<(u8, String)> {
    let links = world.stack.links(s).unwrap();
    let mut out = Vec::new();
    for port in ["p1", "p2", "p3"] {
        let link = links.by_name(port).unwrap();
        let entries = world.stack.fdb_of(s, &link).into_iter();
        let entries = entries.filter(|e| e.master.is_some() && e.state & 0x80 == 0);
        out.extend(entries.map(|e| (e.address.as_bytes()[5], port.to_owned())));
    }
    out
}

fn answered(world: &World, net: &NetRef) -> bool {
    world.came_in(net).iter().any(|line| line.contains("icmp 0/0"))
}

#[test]
fn a_switch_learns_who_is_where_and_forgets() {
    let (world, s, [a, b, c]) = switch();
    world.ping(&a, "10.1.1.2", 56, plain()).unwrap();
    let seen = crate::l2::seen::take();
    let at = |net: &NetRef| {
        let of = net.cookie().get();
        seen.iter().filter(|s| s.net == of && !s.outgoing && s.device == "e0").count()
    };
    // The question for the address went to all, what followed to one.
    assert_eq!((at(&a), at(&b), at(&c)), (2, 2, 1));
    assert_eq!(learnt(&world, &s), [(1, "p1".to_owned()), (2, "p2".to_owned())]);
    // The switch is a host, too.
    world.ping(&c, "10.1.1.254", 56, plain()).unwrap();
    assert!(answered(&world, &c));
    world.ping(&s, "10.1.1.2", 56, plain()).unwrap();
    assert!(answered(&world, &s));
    // Who is quiet for five minutes is forgotten; whom an administrator named is not.
    let named = FdbChange {
        ifindex: world.index(&s, "p3"),
        address: HwAddr::new(&[2, 0, 0, 0, 0, 0x77]).unwrap(),
        state: 0x40,
        flags: 4,
        vlan: None,
        remote: None,
        nexthop: None,
        names_host: false,
        src_vni: None,
        exclusive: false,
        create: true,
        replace: false,
        append: false,
    };
    world.stack.rtnl(Origin::KERNEL).add_fdb(&s, &named).unwrap();
    world.pass(Duration::from_secs(900));
    assert_eq!(learnt(&world, &s), [(0x77, "p3".to_owned())]);
}

#[test]
fn ports_do_what_they_are_told() {
    let (world, s, [a, b, c]) = switch();
    let port = |name: &str, settings: &[(u16, u64)]| {
        let change = BridgePortChange { settings: settings.to_vec() };
        set(&world, &s, name, LinkChange { port: Some(PortChange::Bridge(Box::new(change))), ..LinkChange::default() });
    };
    // Two isolated ports do not see each other.
    port("p1", &[(33, 1)]);
    port("p2", &[(33, 1)]);
    world.ping(&a, "10.1.1.2", 56, plain()).unwrap();
    assert!(!answered(&world, &a));
    world.ping(&a, "10.1.1.3", 56, plain()).unwrap();
    assert!(answered(&world, &a));
    // A port that is blocked takes nothing.
    port("p3", &[(1, 4)]);
    world.came_in(&a);
    world.ping(&a, "10.1.1.3", 56, plain()).unwrap();
    assert!(!answered(&world, &a));
    drop((b, c));
}

#[test]
fn a_tag_leads_to_the_device_for_it() {
    let world = World::new();
    let (a, b) = (world.net(), world.net());
    world.wire((&a, "e1", 1), (&b, "e2", 2));
    let vlan = |id| KindSpec::Vlan(VlanChange { id: Some(id), ..VlanChange::default() });
    new(&world, &a, "v10", 1, Some("e1"), vlan(10));
    new(&world, &b, "v10", 2, Some("e2"), vlan(10));
    new(&world, &b, "v20", 3, Some("e2"), vlan(20));
    world.addr(&a, "v10", "10.1.1.1/24");
    world.addr(&b, "v10", "10.1.1.2/24");
    world.pass(Duration::from_secs(1));
    world.ping(&a, "10.1.1.2", 56, plain()).unwrap();
    assert!(answered(&world, &a));
    let counted = |net: &NetRef, device: &str| (world.stats(net, device).rx_packets, world.stats(net, device).rx_bytes);
    assert_eq!(counted(&b, "v10"), (2, 28 + 84));
    assert_eq!(counted(&b, "v20"), (0, 0));
    assert_eq!(counted(&b, "e2").0, 2);
}

#[test]
fn further_addresses_are_further_hosts() {
    let world = World::new();
    let (a, b) = (world.net(), world.net());
    world.wire((&a, "e1", 1), (&b, "e2", 2));
    let macvlan = |mode| KindSpec::Macvlan(MacvlanChange { mode: Some(mode), ..MacvlanChange::default() }, false);
    // In a namespace of their own.
    let (m1, m2) = (world.net(), world.net());
    for (n, (net, name)) in [(&m1, "m1"), (&m2, "m2")].into_iter().enumerate() {
        new(&world, &b, name, 7 + n as u8, Some("e2"), macvlan(4));
        set(&world, &b, name, LinkChange { net: Some(net.clone()), ..LinkChange::default() });
        let change = LinkChange { addr_gen_mode: Some(1), ..LinkChange::default() };
        set(&world, net, name, change);
        world.up(net, name);
        world.addr(net, name, &format!("10.1.1.{}/24", 7 + n));
    }
    world.addr(&a, "e1", "10.1.1.1/24");
    world.addr(&b, "e2", "10.1.1.2/24");
    world.pass(Duration::from_secs(1));
    for dst in ["10.1.1.2", "10.1.1.7", "10.1.1.8"] {
        world.ping(&a, dst, 56, plain()).unwrap();
        assert!(answered(&world, &a), "{dst}");
    }
    // From one to the other, but not to the device that both are on.
    world.ping(&m1, "10.1.1.8", 56, plain()).unwrap();
    assert!(answered(&world, &m1));
    world.ping(&m1, "10.1.1.2", 56, plain()).unwrap();
    world.pass(Duration::from_secs(4));
    assert!(!answered(&world, &m1));
}

#[test]
fn a_tunnel_leads_to_another_host() {
    let world = World::new();
    let (a, b) = (world.net(), world.net());
    world.wire((&a, "e1", 1), (&b, "e2", 2));
    world.addr(&a, "e1", "10.9.0.1/24");
    world.addr(&b, "e2", "10.9.0.2/24");
    new(&world, &a, "x", 1, None, tunnel(42, "10.9.0.2"));
    new(&world, &b, "x", 2, None, tunnel(42, "10.9.0.1"));
    world.addr(&a, "x", "10.1.1.1/24");
    world.addr(&b, "x", "10.1.1.2/24");
    world.pass(Duration::from_secs(1));
    world.ping(&a, "10.1.1.2", 56, plain()).unwrap();
    assert!(answered(&world, &a));
    let learnt = || {
        let link = world.stack.links(&a).unwrap().by_name("x").unwrap();
        let entries = world.stack.fdb_of(&a, &link).into_iter().filter(|e| e.state & 0x80 == 0);
        entries.map(|e| (e.address.as_bytes()[5], e.remote.unwrap().address.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(learnt(), [(2, "10.9.0.2".to_owned())]);
    // One packet of a question and one with an echo, with fifty bytes before each.
    assert_eq!(world.stats(&a, "x").rx_packets, 2);
    world.pass(Duration::from_secs(900));
    assert_eq!(learnt(), []);
}

#[test]
fn a_tunnel_to_a_host_behind_itself_sends_nothing() {
    let world = World::new();
    let a = world.net();
    new(&world, &a, "x", 1, None, tunnel(7, "10.9.9.9"));
    world.addr(&a, "x", "10.9.9.1/24");
    world.neighbour(&a, "x", "10.9.9.9", 9);
    world.ping(&a, "10.9.9.9", 56, plain()).unwrap();
    let stats = world.stats(&a, "x");
    // As `ip -s -s link` of Linux counts them.
    assert_eq!((stats.tx_packets, stats.tx_dropped, stats.tx_errors), (0, 0, stats.collisions));
    assert!(stats.collisions > 0);
}

#[test]
fn tunnels_through_each_other_end() {
    let world = World::new();
    let a = world.net();
    for (name, last, remote, own) in [("x", 1, "10.9.9.9", "10.8.8"), ("y", 2, "10.8.8.8", "10.9.9")] {
        new(&world, &a, name, last, None, tunnel(u32::from(last), remote));
        world.addr(&a, name, &format!("{own}.1/24"));
    }
    world.neighbour(&a, "x", "10.8.8.8", 8);
    world.neighbour(&a, "y", "10.9.9.9", 9);
    world.pass(Duration::from_secs(1));
    let before = [world.stats(&a, "x"), world.stats(&a, "y")];
    world.ping(&a, "10.9.9.9", 56, plain()).unwrap();
    let [x, y] = [world.stats(&a, "x"), world.stats(&a, "y")];
    // Linux: y, x and y again send, and what x shall send then is in too many tunnels.
    assert_eq!((y.tx_packets - before[1].tx_packets, y.tx_errors - before[1].tx_errors), (2, 0));
    assert_eq!((x.tx_packets - before[0].tx_packets, x.tx_errors - before[0].tx_errors), (1, 1));
    // As large as it gets, cut into pieces on each level.
    world.ping(&a, "10.9.9.9", 60_000, plain()).unwrap();
}

#[test]
fn a_tunnel_without_a_way_says_so() {
    let world = World::new();
    let a = world.net();
    new(&world, &a, "x", 1, None, tunnel(7, "10.77.77.77"));
    world.addr(&a, "x", "10.1.1.1/24");
    world.neighbour(&a, "x", "10.1.1.9", 9);
    world.ping(&a, "10.1.1.9", 56, plain()).unwrap();
    let stats = world.stats(&a, "x");
    assert_eq!((stats.tx_packets, stats.tx_dropped, stats.tx_errors), (0, 0, stats.tx_carrier_errors));
    assert!(stats.tx_errors > 0);
}

#[test]
fn what_goes_round_and_round_keeps_nobody() {
    let world = World::new();
    let [a, b] = [world.net(), world.net()];
    for net in [&a, &b] {
        new(&world, net, "br0", 0, None, KindSpec::Bridge(Box::<BridgeChange>::default()));
    }
    for (n, port) in [(10, "p1"), (20, "p2")] {
        world.wire((&a, port, n), (&b, port, n + 1));
        for net in [&a, &b] {
            set(&world, net, port, LinkChange { master: Some(world.index(net, "br0")), ..LinkChange::default() });
        }
    }
    world.addr(&a, "br0", "10.1.1.1/24");
    world.pass(Duration::from_secs(40));
    // A question to all, which each switch sends on by the other cable. Without an end this call had none.
    world.ping(&a, "10.1.1.9", 56, plain()).unwrap();
    assert_eq!(world.stack.run_timers(), Some(Duration::ZERO));
    let crossed = || world.stats(&b, "p1").rx_packets;
    let before = crossed();
    world.run();
    assert!(crossed() > before + 1000);
    // Who pulls the plug has peace.
    world.flags(&a, "p1", IfFlags::from_bits(0), IfFlags::UP);
    world.run();
    assert_ne!(world.stack.run_timers(), Some(Duration::ZERO));
}
