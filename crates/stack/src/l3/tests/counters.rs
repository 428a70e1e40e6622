//! What protocols count, as Linux 6.18 counts the same.

use std::collections::BTreeMap;
use std::time::Duration;

use super::v4::routed;
use super::*;
use crate::l4::tcp::{TcpSocket, TcpWay};
use crate::proc::proc_net_file;

type Counted = BTreeMap<String, u64>;

/// All counters of a namespace that are not zero.
fn counted(world: &World, net: &NetRef) -> Counted {
    let file = |name| proc_net_file(&world.stack, net, name).unwrap();
    let mut out = Counted::new();
    for text in [file("snmp"), file("netstat")] {
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks(2) {
            let (group, names) = pair[0].split_once(": ").unwrap();
            let values = pair[1].split_once(": ").unwrap().1.split(' ');
            let named = names.split(' ').map(|name| format!("{group}{name}")).zip(values);
            out.extend(named.filter_map(|(name, value)| Some((name, value.parse().ok()?))));
        }
    }
    let lines = file("snmp6");
    out.extend(lines.lines().map(|line| {
        let (name, value) = line.split_once('\t').unwrap();
        (name.trim().to_owned(), value.parse().unwrap())
    }));
    out.retain(|_, value| *value > 0);
    out
}

/// What `act` adds to the counters of each, but for bytes and how congested it is.
fn grown(world: &World, nets: &[&NetRef], act: impl FnOnce()) -> Vec<String> {
    let before: Vec<Counted> = nets.iter().map(|net| counted(world, net)).collect();
    act();
    let told = |name: &str| !(name.contains("Octets") || name.contains("NoECT") || name.starts_with("IcmpMsg"));
    let all = nets.iter().zip(before).map(|(net, before)| {
        let more = |(name, value): (String, u64)| {
            let more = value - before.get(&name).copied().unwrap_or(0);
            (more > 0 && told(&name)).then(|| format!("{name} {more}"))
        };
        counted(world, net).into_iter().filter_map(more).collect::<Vec<_>>().join(", ")
    });
    all.collect()
}

/// Everybody knows his neighbours.
fn warm() -> (World, NetRef, NetRef, NetRef) {
    let (world, a, r, b) = routed();
    world.ping(&a, "10.1.2.1", 8, plain()).unwrap();
    world.ping(&b, "10.1.1.1", 8, plain()).unwrap();
    world.pass(Duration::from_secs(10));
    (world, a, r, b)
}

const END: &str = "IpInDelivers 1, IpInReceives 1, IpOutRequests 1, IpOutTransmits 1";

#[test]
fn an_echo_is_counted_at_both_ends_and_between() {
    let (world, a, r, b) = warm();
    let more = grown(&world, &[&a, &r, &b], || world.ping(&a, "10.1.2.1", 56, plain()).unwrap());
    assert_eq!(more[0], format!("IcmpInEchoReps 1, IcmpInMsgs 1, {END}"));
    assert_eq!(more[1], "IpForwDatagrams 2, IpInReceives 2, IpOutTransmits 2");
    assert_eq!(more[2], format!("IcmpInEchos 1, IcmpInMsgs 1, IcmpOutEchoReps 1, IcmpOutMsgs 1, {END}"));
    let at = |net, name: &str| counted(&world, net).get(name).copied().unwrap_or(0);
    let before = [at(&r, "IpExtInOctets"), at(&r, "IpExtOutOctets"), at(&r, "IpExtInECT0Pkts")];
    world.ping(&a, "10.1.2.1", 56, Header { tos: 2, ..plain() }).unwrap();
    let after = [at(&r, "IpExtInOctets"), at(&r, "IpExtOutOctets"), at(&r, "IpExtInECT0Pkts")];
    assert_eq!([0, 1, 2].map(|n| after[n] - before[n]), [168, 168, 2]);
    assert_eq!((at(&r, "IpForwarding"), at(&a, "IpForwarding"), at(&a, "IpDefaultTTL")), (1, 2, 64));
}

#[test]
fn what_goes_nowhere_is_counted_by_the_reason() {
    let (world, a, r, _b) = warm();
    let told = "IpOutRequests 1, IpOutTransmits 1";
    let short = Header { hop_limit: Some(1), ..plain() };
    let more = grown(&world, &[&r], || world.ping(&a, "10.1.2.1", 8, short).unwrap());
    assert_eq!(more[0], format!("IcmpOutMsgs 1, IcmpOutTimeExcds 1, IpInHdrErrors 1, IpInReceives 1, {told}"));
    let more = grown(&world, &[&r], || world.ping(&a, "10.9.9.9", 8, plain()).unwrap());
    assert_eq!(more[0], format!("IcmpOutDestUnreachs 1, IcmpOutMsgs 1, IpExtInNoRoutes 1, IpInReceives 1, {told}"));
    world.route(&r, route_type::BLACKHOLE, "10.8.0.0/16", None);
    let more = grown(&world, &[&r], || world.ping(&a, "10.8.9.9", 8, plain()).unwrap());
    assert_eq!(more[0], "IpInReceives 1");
    world.sysctl(&r, "ipv4/ip_forward", "0");
    let more = grown(&world, &[&r], || world.ping(&a, "10.1.2.1", 8, plain()).unwrap());
    assert_eq!(more[0], "IpInAddrErrors 1, IpInReceives 1");
    world.sysctl(&r, "ipv4/ip_forward", "1");
    world.sysctl(&r, "ipv4/conf/all/rp_filter", "1");
    world.route(&r, route_type::UNREACHABLE, "10.1.1.1/32", None);
    let more = grown(&world, &[&r], || world.ping(&a, "10.1.2.1", 8, plain()).unwrap());
    assert_eq!(more[0], "IpInReceives 1, TcpExtIPReversePathFilter 1");
}

#[test]
fn parts_are_counted_and_those_that_wait_in_vain() {
    let (world, a, _r, b) = warm();
    let more = grown(&world, &[&a, &b], || world.ping(&a, "10.1.2.1", 4000, plain()).unwrap());
    let parts = "IpFragCreates 3, IpFragOKs 1, IpInDelivers 1, IpInReceives 3, IpOutRequests 1, IpOutTransmits 3, \
                 IpReasmOKs 1, IpReasmReqds 3";
    assert_eq!(more[0], format!("IcmpInEchoReps 1, IcmpInMsgs 1, {parts}"));
    assert_eq!(more[1], format!("IcmpInEchos 1, IcmpInMsgs 1, IcmpOutEchoReps 1, IcmpOutMsgs 1, {parts}"));
    // The first of two.
    let part = [&[0x45, 0, 0, 28, 0, 9, 0x20, 0, 64, 17, 0, 0, 10, 1, 1, 1, 10, 1, 2, 1][..], &[0; 8]].concat();
    let more = grown(&world, &[&a, &b], || {
        let cx = Cx::new(&world.stack, &a).unwrap();
        let route = route_output(cx, &Flow::to([10, 1, 2, 1].into())).unwrap();
        super::super::ip_output_raw(cx, &route, &plain(), Frame::with_payload(&part)).unwrap();
        world.run();
        world.pass(Duration::from_secs(31));
    });
    assert!(more[1].contains("IpReasmFails 1, IpReasmReqds 1, IpReasmTimeout 1"), "{}", more[1]);
    assert!(more[0].contains("IcmpInTimeExcds 1") && !more[0].contains("IcmpInErrors"), "{}", more[0]);
}

#[test]
fn devices_count_ipv6_as_their_namespace_does() {
    let world = World::new();
    let (a, b) = (world.net(), world.net());
    world.wire((&a, "e1", 1), (&b, "e2", 2));
    world.addr(&a, "e1", "fd01::1/64");
    world.addr(&b, "e2", "fd01::2/64");
    world.pass(Duration::from_secs(20));
    world.ping(&a, "fd01::2", 8, plain()).unwrap();
    world.pass(Duration::from_secs(20));
    let file = |path| proc_net_file(&world.stack, &b, path).unwrap();
    let (all, of) = (file("snmp6"), file("dev_snmp6/e2"));
    let echoed = "Icmp6InEchos                    \t1\n";
    assert!(all.contains(echoed) && of.contains(echoed));
    // All of its traffic went by the one device.
    let shared = all.lines().filter(|line| !line.starts_with("Udp") && !line.starts_with("Icmp6OutRateLimit"));
    assert_eq!(shared.collect::<Vec<_>>(), of.lines().skip(1).collect::<Vec<_>>());
    // To oneself a packet goes by the loopback, and is received where the address is.
    let before = file("dev_snmp6/e2");
    world.ping(&b, "fd01::2", 8, plain()).unwrap();
    let value = |text: &str, name: &str| -> u64 {
        let line = text.lines().find(|line| line.split('\t').next().is_some_and(|n| n.trim() == name));
        line.and_then(|line| line.split('\t').nth(1)).map_or(0, |value| value.parse().unwrap())
    };
    let (lo, after) = (file("dev_snmp6/lo"), file("dev_snmp6/e2"));
    let more = |name| value(&after, name) - value(&before, name);
    assert_eq!((value(&lo, "Ip6InReceives"), value(&lo, "Ip6InDelivers")), (2, 0));
    assert_eq!((more("Ip6InReceives"), more("Ip6InDelivers"), more("Ip6OutRequests")), (0, 2, 2));
    let link = world.stack.links(&b).unwrap().by_name("e2").unwrap();
    let stats = crate::mib::Inet6Stats::of(&link);
    assert_eq!(
        (stats.ip[0], stats.ip[1], stats.ip[3]),
        (38, value(&after, "Ip6InReceives"), value(&after, "Ip6InDelivers"))
    );
}

#[test]
fn a_router_counts_bytes_that_pass_it_by() {
    let (world, a, r, b) = warm();
    let listener = TcpSocket::new_v4(&world.stack, &b);
    listener.bind("10.1.2.1:80".parse().unwrap(), true).unwrap();
    listener.listen(5).unwrap();
    let open = || {
        let client = TcpSocket::new_v4(&world.stack, &a);
        client.set_inode(11);
        assert_eq!(client.connect("10.1.2.1:80".parse().unwrap()), Err(crate::errno::EINPROGRESS));
        world.run();
        assert_eq!(client.outcome(), Some(Ok(())));
        let (server, _) = listener.accept().unwrap();
        server.set_inode(22);
        (client, server)
    };
    drop(open());
    let (client, server) = open();
    assert_eq!(client.send(b"hello"), Ok(5));
    world.run();
    assert_eq!(server.recv(&mut [0; 9]), Ok(5));
    world.pass(Duration::from_millis(100));
    let TcpWay::Short(way) = client.way() else { panic!("{:?}", client.way()) };
    let before = counted(&world, &r);
    let more = grown(&world, &[&r], || assert!(way.advance(100_000)));
    // Seventy segments, and an acknowledgement for two of them.
    assert_eq!(more[0], "IpForwDatagrams 105, IpInReceives 105, IpOutTransmits 105");
    let octets = counted(&world, &r)["IpExtOutOctets"] - before["IpExtOutOctets"];
    assert_eq!(octets, 100_000 + 105 * (20 + 32));
}
