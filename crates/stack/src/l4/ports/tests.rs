use super::*;

fn range() -> Range {
    Range::for_test(40000, 40009)
}

fn claim(addr: &str, port: u16) -> Claim {
    let addr: IpAddr = addr.parse().unwrap();
    let dual = addr == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    Claim { addr, dual, port, device: 0, reuse_addr: false, reuse_port: false, uid: 0 }
}

fn ends(src: &str, dst: &str, device: u32) -> Ends {
    Ends { src: src.parse().unwrap(), dst: dst.parse().unwrap(), device }
}

/// As a kernel answered for every pair of addresses.
#[test]
fn overlapping_claims_are_in_the_way() {
    let cases = [
        ("0.0.0.0", "::", true),
        ("127.0.0.1", "::", true),
        ("::", "0.0.0.0", true),
        ("::", "127.0.0.1", true),
        ("::1", "127.0.0.1", false),
        ("127.0.0.1", "127.0.0.1", true),
        ("::1", "::", true),
        ("127.0.0.1", "127.0.0.2", false),
        ("0.0.0.0", "::1", false),
    ];
    for rules in [Rules::Datagram, Rules::Stream] {
        for (one, other, in_use) in cases {
            let ports = Ports::new(rules);
            let first = ports.bind(claim(one, 7001), &range(), 1).unwrap();
            let second = ports.bind(claim(other, 7001), &range(), 2);
            assert_eq!(second.err(), in_use.then_some(errno::EADDRINUSE), "{one} {other}");
            ports.release(first);
            ports.bind(claim(one, 7002), &range(), 1).unwrap();
        }
    }
    let ports = Ports::new(Rules::Datagram);
    ports.bind(Claim { dual: false, ..claim("::", 7001) }, &range(), 1).unwrap();
    ports.bind(claim("0.0.0.0", 7001), &range(), 2).unwrap();
    assert_eq!(ports.lookup(&ends("127.0.0.1:1", "127.0.0.1:7001", 1)), Some(2));
    assert_eq!(ports.lookup(&ends("[::1]:1", "[::1]:7001", 1)), Some(1));
}

#[test]
fn who_shares_says_so_on_both_sides() {
    // SO_REUSEADDR and SO_REUSEPORT of the first and of the second, whether it may bind, and whether it may listen then.
    let cases = [
        ((true, false), (true, false), true, false),
        ((true, false), (false, false), false, false),
        ((false, false), (true, false), false, false),
        ((false, true), (false, true), true, true),
        ((false, true), (true, false), false, false),
        ((true, true), (false, true), true, true),
    ];
    for rules in [Rules::Datagram, Rules::Stream] {
        for (one, other, binds, listens) in cases {
            let ports = Ports::new(rules);
            let with = |(reuse_addr, reuse_port)| Claim { reuse_addr, reuse_port, ..claim("0.0.0.0", 7002) };
            let first = ports.bind(with(one), &range(), 1).unwrap();
            let second = ports.bind(with(other), &range(), 2);
            assert_eq!(second.is_ok(), binds, "{rules:?} {one:?} {other:?}");
            if let (Rules::Stream, Ok(second)) = (rules, second) {
                ports.listen(first).unwrap();
                assert_eq!(ports.listen(second).is_ok(), listens, "{one:?} {other:?}");
            }
        }
    }
    let ports = Ports::new(Rules::Stream);
    let shared = Claim { reuse_addr: true, ..claim("0.0.0.0", 7003) };
    let first = ports.bind(shared.clone(), &range(), 1).unwrap();
    ports.listen(first).unwrap();
    assert_eq!(ports.bind(shared, &range(), 2), Err(errno::EADDRINUSE));
}

#[test]
fn the_most_particular_hears_and_of_equals_the_newest() {
    let ports = Ports::new(Rules::Datagram);
    let shared = |addr| Claim { reuse_addr: true, ..claim(addr, 7000) };
    let packet = ends("127.0.0.1:9", "127.0.0.1:7000", 1);
    ports.bind(shared("::"), &range(), "dual").unwrap();
    assert_eq!(ports.lookup(&packet), Some("dual"));
    ports.bind(shared("0.0.0.0"), &range(), "any").unwrap();
    ports.bind(shared("0.0.0.0"), &range(), "any too").unwrap();
    assert_eq!(ports.lookup(&packet), Some("any too"));
    ports.bind(Claim { device: 1, ..shared("0.0.0.0") }, &range(), "device").unwrap();
    ports.bind(Claim { device: 2, ..shared("0.0.0.0") }, &range(), "other device").unwrap();
    assert_eq!(ports.lookup(&packet), Some("device"));
    let bound = ports.bind(shared("127.0.0.1"), &range(), "bound").unwrap();
    assert_eq!(ports.lookup(&packet), Some("bound"));
    let connected = ports.bind(shared("0.0.0.0"), &range(), "connected").unwrap();
    ports.connect(connected, "127.0.0.1".parse().unwrap(), "127.0.0.1:9".parse().unwrap(), |_| false).unwrap();
    assert_eq!(ports.lookup(&packet), Some("connected"));
    assert_eq!(ports.lookup(&ends("127.0.0.1:8", "127.0.0.1:7000", 1)), Some("bound"));
    ports.release(bound);
    ports.disconnect(connected, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    assert_eq!(ports.lookup(&packet), Some("device"));
    assert_eq!(ports.lookup_all(&packet), ["dual", "any", "any too", "device", "connected"]);
}

#[test]
fn a_group_that_shares_a_port_takes_turns_by_flow() {
    let ports = Ports::new(Rules::Datagram);
    for n in 0..4 {
        ports.bind(Claim { reuse_port: true, ..claim("0.0.0.0", 53) }, &range(), n).unwrap();
    }
    let mut seen = [0; 4];
    for port in 1..=400 {
        let packet = ends(&format!("10.0.0.1:{port}"), "10.0.0.2:53", 2);
        let n: usize = ports.lookup(&packet).unwrap();
        assert_eq!(ports.lookup(&packet), Some(n));
        seen[n] += 1;
    }
    assert!(seen.iter().all(|&n| n > 50), "{seen:?}");
    let stranger = Claim { reuse_port: true, uid: 1, ..claim("0.0.0.0", 53) };
    assert_eq!(ports.bind(stranger, &range(), 9), Err(errno::EADDRINUSE));
}

#[test]
fn ports_are_found_until_none_is_left() {
    let ports = Ports::new(Rules::Datagram);
    let mut seen: Vec<u16> =
        (0..10).map(|n| ports.port_of(ports.bind(claim("0.0.0.0", 0), &range(), n).unwrap())).collect();
    seen.sort_unstable();
    assert_eq!(seen, (40000..40010).collect::<Vec<_>>());
    assert_eq!(ports.bind(claim("127.0.0.1", 0), &range(), 10), Err(errno::EADDRINUSE));
}

#[test]
fn connections_to_different_places_share_a_port() {
    let ports = Ports::new(Rules::Stream);
    let here = || claim("10.0.0.1", 0);
    let to = |n: u16| SocketAddr::new("10.0.0.2".parse().unwrap(), n);
    let bound = ports.bind(claim("0.0.0.0", 40003), &range(), 0).unwrap();
    let mut tickets = Vec::new();
    for n in 0..9 {
        tickets.push(ports.bind_for(here(), to(80), (&range(), n), |_| false).unwrap().0);
    }
    assert_eq!(ports.bind_for(here(), to(80), (&range(), 9), |_| false), Err(errno::EADDRNOTAVAIL));
    let elsewhere = ports.bind_for(here(), to(81), (&range(), 9), |_| false).unwrap().0;
    assert_ne!(ports.port_of(elsewhere), 40003);
    let packet = Ends { src: to(80), dst: SocketAddr::new(here().addr, ports.port_of(tickets[3])), device: 1 };
    assert_eq!(ports.lookup(&packet), Some(3));
    // An accepted one keeps the port although its listener is gone.
    ports.listen(bound).unwrap();
    let child = ports.inherit(bound, here().addr, to(5), 7).unwrap();
    assert!(ports.inherit(bound, here().addr, to(5), 8).is_none());
    ports.release(bound);
    assert_eq!(ports.bind(claim("0.0.0.0", 40003), &range(), 0), Err(errno::EADDRINUSE));
    ports.release(child);
    ports.bind(claim("0.0.0.0", 40003), &range(), 0).unwrap();
}

/// Where all share nobody is looked at: that is counted, and must follow whoever changes his mind.
#[test]
fn one_who_shares_no_more_is_in_the_way_of_all() {
    for rules in [Rules::Datagram, Rules::Stream] {
        let ports = Ports::new(rules);
        let shared = || Claim { reuse_addr: true, ..claim("127.0.0.1", 7004) };
        let all: Vec<Ticket> = (0..3).map(|n| ports.bind(shared(), &range(), n).unwrap()).collect();
        ports.update(all[1], |claim| claim.reuse_addr = false);
        assert_eq!(ports.bind(shared(), &range(), 3), Err(errno::EADDRINUSE));
        ports.connect(all[1], "127.0.0.1".parse().unwrap(), "127.0.0.1:9".parse().unwrap(), |_| false).unwrap();
        assert_eq!(ports.bind(shared(), &range(), 3), Err(errno::EADDRINUSE));
        ports.release(all[1]);
        let again = ports.bind(shared(), &range(), 3).unwrap();
        ports.release(all[0]);
        let alone = Claim { reuse_addr: false, ..shared() };
        assert_eq!(ports.bind(alone.clone(), &range(), 4), Err(errno::EADDRINUSE));
        ports.release(again);
        ports.release(all[2]);
        ports.bind(alone, &range(), 4).unwrap();
        assert_eq!(ports.bind(shared(), &range(), 5), Err(errno::EADDRINUSE));
    }
}

#[test]
fn who_is_connected_from_an_address_of_the_link_is_found() {
    let ports = Ports::new(Rules::Datagram);
    let ticket = ports.bind(claim("::", 7000), &range(), "connected").unwrap();
    ports.connect(ticket, "fe80::1".parse().unwrap(), "[fd00::2]:53".parse().unwrap(), |_| false).unwrap();
    // A packet's own end has the scope of the device that it came by; the other has one if it needs it.
    assert_eq!(ports.lookup(&ends("[fd00::2]:53", "[fe80::1%4]:7000", 4)), Some("connected"));
    assert_eq!(ports.lookup(&ends("[fd00::3]:53", "[fe80::1%4]:7000", 4)), None);
    let ticket = ports.bind(Claim { device: 4, ..claim("::", 7001) }, &range(), "of the link").unwrap();
    ports.connect(ticket, "fe80::1".parse().unwrap(), "[fe80::2%4]:53".parse().unwrap(), |_| false).unwrap();
    assert_eq!(ports.lookup(&ends("[fe80::2%4]:53", "[fe80::1%4]:7001", 4)), Some("of the link"));
    assert_eq!(ports.lookup(&ends("[fe80::2%5]:53", "[fe80::1%5]:7001", 5)), None);
}

/// As a kernel's UDP does: the newest of equals, as for those who are not connected.
#[test]
fn of_several_with_one_pair_who_connected_last_hears_it() {
    let ports = Ports::new(Rules::Datagram);
    let shared = Claim { reuse_addr: true, ..claim("10.0.0.1", 7001) };
    let tickets = [1, 2, 3].map(|holder| ports.bind(shared.clone(), &range(), holder).unwrap());
    let (here, peer) = ("10.0.0.1".parse().unwrap(), "10.0.0.2:9".parse().unwrap());
    let hears = || ports.lookup(&ends("10.0.0.2:9", "10.0.0.1:7001", 1));
    for (ticket, holder) in [(tickets[2], 3), (tickets[0], 1), (tickets[1], 2)] {
        ports.connect(ticket, here, peer, |_| false).unwrap();
        assert_eq!(hears(), Some(holder));
    }
    ports.update(tickets[1], |claim| claim.device = 7);
    assert_eq!(hears(), Some(1), "the newest is of another device");
    ports.disconnect(tickets[0], here);
    assert_eq!(hears(), Some(3));
    ports.release(tickets[2]);
    assert_eq!(hears(), Some(1), "nobody is connected from there");
}

proptest::proptest! {
    /// Against a map of pairs, while connections come and go by the hundred.
    #[test]
    fn each_connection_is_found_by_its_ends(steps in proptest::collection::vec((0_u16..600, 0_u8..3), 0..1500)) {
        let ports = Ports::new(Rules::Stream);
        let listener = ports.bind(claim("10.0.0.1", 80), &range(), 1_000).unwrap();
        ports.listen(listener).unwrap();
        let pair = |n: u16| ends(&format!("10.0.0.2:{}", 1000 + n), "10.0.0.1:80", 1);
        let mut open = HashMap::new();
        for (n, step) in steps {
            let ends = pair(n);
            if step < 2 {
                let ticket = ports.inherit(listener, ends.dst.ip(), ends.src, n);
                proptest::prop_assert_eq!(ticket.is_none(), open.contains_key(&n));
                open.extend(ticket.map(|ticket| (n, ticket)));
            } else if let Some(ticket) = open.remove(&n) {
                ports.release(ticket);
            }
            let expected = if open.contains_key(&n) { n } else { 1_000 };
            proptest::prop_assert_eq!(ports.lookup(&ends), Some(expected));
        }
        for (_, ticket) in open.drain() {
            ports.release(ticket);
        }
        proptest::prop_assert!((0..600).all(|n| ports.lookup(&pair(n)) == Some(1_000)));
    }
}
