//! What happens over time, on a clock that a test moves; and properties of the tables.

use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pernet::{Namespaces, NetRef, Origin};
use proptest::prelude::*;

use super::conf::devconf;
use super::fib::{Fib6, NodeKey, Placing};
use super::idev::ifa_flag;
use super::route::{Route6, RouteError6, rtn, table};
use super::*;
use crate::dev::{IfFlags, IfName, LinkClass, OffloadLimits, Stack};
use crate::rtnl::{Clock, ManualClock, NoticeSink};
use crate::state::ConfOf;
use crate::{Notice, VETH};

/// A clock that the test keeps.
struct Shared(Arc<ManualClock>);

impl Clock for Shared {
    fn now(&self) -> Duration {
        self.0.now()
    }
}

/// What was told, in few words.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl NoticeSink for Told {
    fn emit(&self, _: &Stack, _: &NetRef, notice: &Notice, _: Origin) {
        let Notice::Inet6(notice) = notice else { return };
        let line = match notice {
            Inet6Notice::Addr { new, ifa, .. } => {
                format!("{} {} {:x}", if *new { "addr" } else { "no addr" }, ifa.addr, ifa.flags)
            }
            Inet6Notice::Route { added, route } => {
                format!("{} {:?}", if added.is_some() { "route" } else { "no route" }, route.dst)
            }
            Inet6Notice::Link(..) => "link".into(),
            Inet6Notice::Prefix { info, .. } => format!("prefix {}/{}", info.prefix, info.len),
            Inet6Notice::UserOption { option, .. } => format!("option {}", option[0]),
        };
        self.0.lock().unwrap().push(line);
    }
}

struct World {
    clock: Arc<ManualClock>,
    stack: Stack,
    net: NetRef,
    told: Arc<Told>,
    _system: Namespaces,
}

impl World {
    fn new() -> Self {
        let system = Namespaces::new();
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1000));
        let stack = Stack::register_with_clock(&system, Box::new(Shared(Arc::clone(&clock)))).unwrap();
        let told = Arc::new(Told::default());
        stack.set_notice_sink(Arc::clone(&told) as Arc<dyn NoticeSink>);
        let net = system.init_net();
        Self { clock, stack, net, told, _system: system }
    }

    /// A device that works from the moment it is up.
    fn device(&self, name: &str) -> u32 {
        static CLASS: LinkClass = LinkClass { carrier: true, offload: OffloadLimits::VIRTUAL, ..VETH };
        let mut link = Link::new(&CLASS, IfName::new(name).unwrap());
        link.address = crate::HwAddr::new(&[2, 0, 0, 0x11, 0x22, 0x33]).unwrap();
        link.stored_operstate = crate::OperState::Up;
        let links = self.stack.links(&self.net).unwrap();
        let link = links.insert(link, None).unwrap();
        self.event(link.index(), NetdevEvent::Register, |_| {});
        link.index()
    }

    fn event(&self, index: u32, event: NetdevEvent, edit: impl FnOnce(&mut Link)) {
        let mut rtnl = self.stack.rtnl(Origin::KERNEL);
        let ns = rtnl.ns(&self.net).unwrap();
        let link = ns.state().links.update(index, edit).unwrap();
        netdev_event(&mut rtnl, ns, &link, event);
    }

    fn up(&self, index: u32) {
        self.event(index, NetdevEvent::Up, |link| link.stored_flags |= IfFlags::UP);
    }

    fn down(&self, index: u32) {
        self.event(index, NetdevEvent::Down, |link| link.stored_flags = link.stored_flags & !IfFlags::UP);
    }

    fn set(&self, of: ConfOf, number: usize, value: i32) {
        let mut rtnl = self.stack.rtnl(Origin::KERNEL);
        let ns = rtnl.ns(&self.net).unwrap();
        set_conf(&mut rtnl, ns, of, number, value);
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        let _ = self.stack.run_timers();
    }

    fn add(&self, index: u32, addr: &str, edit: impl FnOnce(&mut Ifa6)) -> Result<(), AddrError6> {
        let (addr, len) = addr.split_once('/').unwrap();
        let mut ifa = Ifa6::new(addr.parse().unwrap(), len.parse().unwrap());
        edit(&mut ifa);
        self.stack.rtnl(Origin::KERNEL).new_addr6(&self.net, index, ifa, false)
    }

    fn flags(&self, addr: &str) -> Option<u32> {
        self.stack.addr6(&self.net, 0, addr.parse().unwrap()).map(|(_, ifa, _)| ifa.flags)
    }

    fn routes(&self) -> Vec<String> {
        let page = self.stack.routes6(&self.net, None, &RouteFilter6::default(), 1000);
        page.entries.iter().map(|(r, _)| format!("{:?} {}", r.dst, r.nexthop.0.oif)).collect()
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.told.0.lock().unwrap())
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_temporary_address_has_a_successor_before_its_day_is_over() {
    let world = World::new();
    let va = world.device("va");
    for (number, value) in [(devconf::USE_TEMPADDR, 2), (devconf::ACCEPT_DAD, 0), (devconf::MAX_DESYNC_FACTOR, 0)] {
        world.set(ConfOf::Dev(va), number, value);
    }
    world.up(va);
    world.add(va, "2001:db8::1/64", |ifa| ifa.flags = ifa_flag::MANAGETEMPADDR).unwrap();
    let temporary = || {
        let rtnl = world.stack.rtnl(Origin::KERNEL);
        let inet6 = rtnl.ns(&world.net).unwrap().state().inet6.read();
        let all = inet6.dev(va).unwrap().addrs.iter().filter(|ifa| ifa.has(ifa_flag::TEMPORARY));
        all.map(|ifa| (ifa.addr, ifa.has(ifa_flag::DEPRECATED))).collect::<Vec<_>>()
    };
    let mut known = temporary();
    assert!(matches!(known[..], [(_, false)]));
    // It is preferred for a day, less the seconds that a successor takes, and valid for a week: each day there is one more, and
    // one less in the end.
    for day in 1..12 {
        world.pass(Duration::from_secs(86_400 - 700));
        let before = temporary();
        assert_eq!(before[0].0, known[0].0, "day {day}: too soon");
        world.pass(SECOND * 700);
        let after = temporary();
        assert_ne!(after[0].0, known[0].0, "day {day}: too late");
        let usable = after.iter().filter(|(_, deprecated)| !deprecated).count();
        assert!((1..=2).contains(&usable), "day {day}: {after:?}");
        assert!((day.min(6) + 1..=8).contains(&after.len()), "day {day}: {after:?}");
        known = after;
    }
}

#[test]
fn the_loopback_has_its_address_while_it_is_up() {
    let world = World::new();
    world.up(1);
    assert_eq!(world.heard(), ["addr ::1 80", "route ::1/128", "link"]);
    world.down(1);
    assert_eq!(world.heard(), ["no route ::1/128", "no addr ::1 80"]);
}

#[test]
fn a_device_gives_itself_an_address_that_is_checked_for_a_while() {
    let world = World::new();
    let va = world.device("va");
    world.heard();
    world.up(va);
    assert_eq!(world.heard(), ["route ff00::/8", "route fe80::/64", "link"]);
    let own = "fe80::ff:fe11:2233";
    assert_eq!(world.flags(own), Some(ifa_flag::PERMANENT | ifa_flag::TENTATIVE));
    // One solicitation, answered within a second; before it up to a second of patience.
    world.pass(Duration::from_millis(999));
    assert_eq!(world.heard(), Vec::<String>::new());
    world.pass(Duration::from_millis(1002));
    assert_eq!(world.heard(), [format!("addr {own} 80"), format!("route {own}/128")]);
    // Routers are told of its groups and asked for; of addresses and routes there is no news.
    world.pass(Duration::from_secs(10));
    assert_eq!(world.heard(), Vec::<String>::new());
}

#[test]
fn a_check_that_was_overtaken_by_events_means_nothing() {
    let world = World::new();
    let va = world.device("va");
    world.set(ConfOf::Dev(va), devconf::ADDR_GEN_MODE, 1);
    world.up(va);
    world.add(va, "2001:db8::1/64", |_| {}).unwrap();
    world.down(va);
    world.up(va);
    world.add(va, "2001:db8::1/64", |_| {}).unwrap();
    world.clock.advance(Duration::from_millis(500));
    world.event(va, NetdevEvent::Change, |link| link.carrier = false);
    world.pass(10 * SECOND);
    assert_eq!(world.flags("2001:db8::1"), Some(ifa_flag::PERMANENT | ifa_flag::TENTATIVE));
    world.event(va, NetdevEvent::Change, |link| link.carrier = true);
    world.pass(Duration::from_millis(2001));
    assert_eq!(world.flags("2001:db8::1"), Some(ifa_flag::PERMANENT));
}

#[test]
fn a_disputed_address_stays_and_is_not_used() {
    let world = World::new();
    let va = world.device("va");
    world.up(va);
    world.add(va, "2001:db8::1/64", |_| {}).unwrap();
    {
        let mut rtnl = world.stack.rtnl(Origin::KERNEL);
        let ns = rtnl.ns(&world.net).unwrap();
        let link = ns.state().links.by_index(va).unwrap();
        dad::disputed(&mut rtnl, ns, &link, "2001:db8::1".parse().unwrap());
    }
    world.pass(10 * SECOND);
    assert_eq!(world.flags("2001:db8::1").unwrap() & ifa_flag::DADFAILED, ifa_flag::DADFAILED);
    assert!(!world.routes().iter().any(|r| r.starts_with("2001:db8::1/128")));
}

#[test]
fn lifetimes_run_out() {
    let world = World::new();
    let va = world.device("va");
    world.set(ConfOf::Dev(va), devconf::ADDR_GEN_MODE, 1);
    world.up(va);
    world.heard();
    let short = |ifa: &mut Ifa6| {
        (ifa.preferred_lft, ifa.valid_lft, ifa.flags) = (10, 20, ifa_flag::NODAD);
    };
    world.add(va, "2001:db8::1/64", short).unwrap();
    assert_eq!(world.heard(), ["route 2001:db8::/64", "addr 2001:db8::1 2", "route 2001:db8::1/128"]);
    world.pass(Duration::from_millis(9_999));
    assert_eq!(world.heard(), Vec::<String>::new());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.heard(), ["addr 2001:db8::1 22"]);
    world.pass(10 * SECOND);
    assert_eq!(world.heard(), ["no addr 2001:db8::1 22", "no route 2001:db8::1/128"]);
    // The prefix ends with it, and is collected at leisure.
    world.pass(10 * SECOND);
    assert_eq!(world.heard(), ["no route 2001:db8::/64"]);
}

/// Found by mutated requests: a device that was made, brought up and refused in one request took an ended route along.
#[test]
fn ended_routes_outlive_the_request_that_takes_a_device_down() {
    let world = World::new();
    let (va, vb) = (world.device("va"), world.device("vb"));
    world.up(va);
    world.up(vb);
    let short = |ifa: &mut Ifa6| (ifa.preferred_lft, ifa.valid_lft, ifa.flags) = (5, 5, ifa_flag::NODAD);
    world.add(va, "2001:db8::1/64", short).unwrap();
    world.pass(6 * SECOND);
    let prefix = || world.routes().iter().any(|route| route.starts_with("2001:db8::/64"));
    world.down(vb);
    assert!(prefix());
    world.pass(Duration::ZERO);
    assert!(!prefix());
}

#[test]
fn a_longer_life_is_not_cut_short_by_the_timer_of_a_shorter_one() {
    let world = World::new();
    let va = world.device("va");
    world.up(va);
    world.add(va, "2001:db8::1/64", |ifa| (ifa.preferred_lft, ifa.valid_lft) = (10, 10)).unwrap();
    let mut again = Ifa6::new("2001:db8::1".parse().unwrap(), 64);
    (again.preferred_lft, again.valid_lft) = (100, 100);
    world.stack.rtnl(Origin::KERNEL).new_addr6(&world.net, va, again, true).unwrap();
    world.pass(50 * SECOND);
    assert!(world.flags("2001:db8::1").is_some_and(|flags| flags & ifa_flag::DEPRECATED == 0));
    world.pass(50 * SECOND);
    assert_eq!(world.flags("2001:db8::1"), None);
}

#[test]
fn addresses_can_outlive_their_device_being_down() {
    let world = World::new();
    let va = world.device("va");
    world.set(ConfOf::Dev(va), devconf::KEEP_ADDR_ON_DOWN, 1);
    world.up(va);
    world.add(va, "2001:db8::1/64", |ifa| ifa.flags = ifa_flag::NODAD).unwrap();
    world.pass(3 * SECOND);
    world.down(va);
    assert_eq!((world.flags("2001:db8::1").is_some(), world.flags("fe80::ff:fe11:2233")), (true, None));
    assert_eq!(world.routes(), Vec::<String>::new());
    world.heard();
    world.up(va);
    let heard = world.heard();
    let all = [
        "route 2001:db8::/64",
        "route ff00::/8",
        "route fe80::/64",
        "link",
        "addr 2001:db8::1 82",
        "route 2001:db8::1/128",
    ];
    assert_eq!(heard, all);
}

#[test]
fn disable_ipv6_takes_everything_and_gives_back_what_devices_have_by_themselves() {
    let world = World::new();
    let va = world.device("va");
    world.up(va);
    world.add(va, "2001:db8::1/64", |ifa| ifa.flags = ifa_flag::NODAD).unwrap();
    world.set(ConfOf::All, devconf::DISABLE_IPV6, 1);
    assert_eq!(world.routes(), Vec::<String>::new());
    assert_eq!(world.add(va, "2001:db8::1/64", |_| {}), Err(AddrError6::Disabled));
    world.set(ConfOf::All, devconf::DISABLE_IPV6, 0);
    assert_eq!(world.routes(), [format!("fe80::/64 {va}"), format!("ff00::/8 {va}")]);
    assert_eq!(world.flags("2001:db8::1"), None);
}

#[test]
fn a_small_mtu_ends_ipv6_until_it_grows() {
    let world = World::new();
    let va = world.device("va");
    world.up(va);
    world.event(va, NetdevEvent::ChangeMtu(1500), |link| link.mtu = 1000);
    assert_eq!((world.routes(), world.flags("fe80::ff:fe11:2233")), (Vec::new(), None));
    assert_eq!(world.add(va, "2001:db8::1/64", |_| {}), Err(AddrError6::NoInet6));
    world.event(va, NetdevEvent::ChangeMtu(1000), |link| link.mtu = 900);
    world.event(va, NetdevEvent::ChangeMtu(900), |link| link.mtu = 1500);
    assert_eq!(world.routes(), [format!("fe80::/64 {va}"), format!("ff00::/8 {va}")]);
}

#[test]
fn a_router_answers_for_its_networks_and_joins_its_groups() {
    let world = World::new();
    let va = world.device("va");
    world.set(ConfOf::Dev(va), devconf::ADDR_GEN_MODE, 1);
    world.up(va);
    world.add(va, "2001:db8::1/64", |ifa| ifa.flags = ifa_flag::NODAD).unwrap();
    world.add(va, "2001:db8::2/64", |ifa| ifa.flags = ifa_flag::NODAD).unwrap();
    let link = world.stack.links(&world.net).unwrap().by_index(va).unwrap();
    let groups = world.stack.groups6(&world.net, &link).len();
    world.set(ConfOf::Dev(va), devconf::FORWARDING, 1);
    assert_eq!(world.stack.anycast6(&world.net, &link).iter().map(|m| m.users).collect::<Vec<_>>(), [2]);
    assert_eq!(world.stack.groups6(&world.net, &link).len(), groups + 4);
    world.set(ConfOf::Dev(va), devconf::FORWARDING, 0);
    assert_eq!(world.stack.groups6(&world.net, &link).len(), groups);
    assert!(world.stack.anycast6(&world.net, &link).is_empty());
}

#[test]
fn an_idle_namespace_has_no_ipv6_in_memory() {
    let world = World::new();
    let state = world.stack.state(&world.net).unwrap();
    let lo = world.stack.links(&world.net).unwrap().by_index(1).unwrap();
    let _ = world.stack.addrs6(&world.net, (0, 0), false, 10);
    let _ = (world.routes(), world.stack.groups6(&world.net, &lo), world.stack.addr_labels(&world.net));
    assert!(state.peek_inet6().is_none());
}

fn host(n: u16) -> Prefix6 {
    Prefix6::new(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 0), 48)
}

/// A route that can be told from others by destination, metric, device and router.
fn any_route() -> impl Strategy<Value = (u32, Route6)> {
    let gateway = prop_oneof![Just(None), (1..4_u16).prop_map(|n| Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n)))];
    let tables = prop_oneof![Just(table::MAIN), Just(table::LOCAL), Just(100), Just(510)];
    (tables, 0..4_u16, 1..4_u32, 1..3_u32, gateway, any::<bool>()).prop_map(|(id, dst, metric, oif, gateway, from)| {
        let mut route = Route6::of_kernel(host(dst), rtn::UNICAST, metric, oif);
        route.nexthop.gateway = gateway;
        if from {
            route.src = host(1);
        }
        (id, route)
    })
}

#[derive(Clone, Debug)]
enum Op {
    Add(u32, Route6, Placing),
    Del(u32, Prefix6),
    Withdraw(u32),
}

fn any_op() -> impl Strategy<Value = Op> {
    let how = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let how = how.prop_map(|(replace, exclusive, create, append)| Placing {
        replace,
        exclusive,
        create,
        append,
        sweep: false,
    });
    prop_oneof![
        4 => (any_route(), how).prop_map(|((id, route), how)| Op::Add(id, route, how)),
        1 => (prop_oneof![Just(table::MAIN), Just(100)], 0..4_u16).prop_map(|(id, n)| Op::Del(id, host(n))),
        1 => (1..3_u32).prop_map(Op::Withdraw),
    ]
}

proptest! {
    /// Whatever is done: a node is in order, those that share stand together, the index of devices knows all routes and
    /// no others, and what is refused changes nothing.
    #[test]
    fn the_tables_and_their_index_agree(ops in proptest::collection::vec(any_op(), 1..60)) {
        let mut fib = Fib6::default();
        for op in ops {
            match op {
                Op::Add(id, route, how) => {
                    let (before, generation) = (fib.count(), fib.generation);
                    let refused = fib.check(id, &route, how);
                    let result = fib.insert(id, route, how).map(|_| ());
                    prop_assert_eq!(result, refused);
                    if result.is_err() {
                        prop_assert_eq!((before, generation), (fib.count(), fib.generation));
                        let known = matches!(
                            result,
                            Err(RouteError6::Exists | RouteError6::NothingToReplace | RouteError6::NoneOfThatMetric)
                        );
                        prop_assert!(known);
                    }
                }
                Op::Del(id, dst) => {
                    let first = fib.node(id, NodeKey { dst, src: Prefix6::ANY }).map(|node| Arc::clone(&node[0]));
                    if let Some(first) = first {
                        prop_assert!(fib.remove(id, &first));
                        prop_assert!(!fib.remove(id, &first));
                    }
                }
                Op::Withdraw(oif) => {
                    for (id, route) in fib.of_device(oif) {
                        prop_assert!(fib.remove(id, &route));
                    }
                    prop_assert!(fib.of_device(oif).is_empty());
                }
            }
            let mut all = 0;
            let mut last: Option<(u32, NodeKey)> = None;
            for (id, key, node) in fib.nodes_from(None, None) {
                prop_assert!(!node.is_empty());
                prop_assert!(node.windows(2).all(|w| w[0].metric <= w[1].metric));
                if let Some((table, before)) = last {
                    prop_assert!(table != id || before < key);
                }
                last = Some((id, key));
                all += node.len();
                // Going on from a place finds that place first.
                let again = fib.nodes_from(Some((id, key)), None).next().map(|(id, key, _)| (id, key));
                prop_assert_eq!(again, Some((id, key)));
            }
            let indexed: usize = (1..3).map(|oif| fib.of_device(oif).len()).sum();
            prop_assert_eq!(indexed, all);
            prop_assert_eq!(fib.count().1, all);
        }
    }

    /// The longest match is the one that a look at all prefixes finds.
    #[test]
    fn the_most_specific_route_wins(
        prefixes in proptest::collection::vec((any::<u128>(), 0..=128_u8), 1..40),
        near in any::<usize>(),
        noise in 0..=128_u32,
    ) {
        let mut fib = Fib6::default();
        let prefixes: Vec<Prefix6> = prefixes.iter().map(|&(bits, len)| Prefix6::new(Ipv6Addr::from_bits(bits), len)).collect();
        for prefix in &prefixes {
            let how = Placing { create: true, ..Placing::default() };
            let _ = fib.insert(table::MAIN, Route6::of_kernel(*prefix, rtn::UNICAST, 1, 1), how);
        }
        // An address that has something in common with one of them.
        let like = prefixes[near % prefixes.len()].addr().to_bits();
        let addr = Ipv6Addr::from_bits(like ^ 1_u128.checked_shl(noise).unwrap_or(0));
        let expected = prefixes.iter().filter(|p| p.contains(addr)).map(Prefix6::prefix_len).max();
        let mut found = None;
        fib.table(table::MAIN).unwrap().walk(addr, None, |node| {
            found = Some(node[0].dst.prefix_len());
            false
        });
        prop_assert_eq!(found, expected);
    }
}
