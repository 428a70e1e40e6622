//! The device table as state of namespaces.

use std::collections::HashSet;

use pernet::{Cred, Namespaces};
use pernet_stack::{IfName, LOOPBACK, Link, NameAssign, Stack};

#[test]
fn namespaces_before_and_after_the_registration_have_their_loopback() {
    let ns = Namespaces::new();
    let root = Cred::root(ns.init_user_ns());
    let before = ns.create(&root).unwrap();
    let stack = Stack::register(&ns).unwrap();
    let after = ns.create(&root).unwrap();
    for net in [&ns.init_net(), &before, &after] {
        let links = stack.links(net).unwrap();
        let lo = links.by_name("lo").unwrap();
        assert_eq!((links.len(), lo.index(), lo.mtu), (1, 1, 65_536));
        assert_eq!(lo.name_assign, NameAssign::Predictable);
        assert!((15_000..45_000).contains(&lo.inet6_reachable_ms));
        assert!(!lo.is_up());
    }
}

#[test]
fn what_happens_in_one_namespace_stays_there() {
    let ns = Namespaces::new();
    let root = Cred::root(ns.init_user_ns());
    let stack = Stack::register(&ns).unwrap();
    let (a, b) = (ns.create(&root).unwrap(), ns.create(&root).unwrap());
    let eth0 = || Link::new(&LOOPBACK, IfName::new("eth0").unwrap());
    assert_eq!(stack.links(&a).unwrap().insert(eth0(), None).unwrap().index(), 2);
    stack.links(&a).unwrap().update(1, |lo| lo.mtu = 1500).unwrap();
    assert!(stack.links(&b).unwrap().by_name("eth0").is_none());
    assert_eq!(stack.links(&b).unwrap().by_index(1).unwrap().mtu, 65_536);
    assert_eq!(stack.links(&b).unwrap().insert(eth0(), None).unwrap().index(), 2);
}

#[test]
fn a_dead_namespace_takes_its_devices_with_it() {
    let ns = Namespaces::new();
    let stack = Stack::register(&ns).unwrap();
    let net = ns.create(&Cred::root(ns.init_user_ns())).unwrap();
    let lo = std::sync::Arc::downgrade(&stack.links(&net).unwrap().by_index(1).unwrap());
    assert!(lo.upgrade().is_some());
    drop(net);
    ns.step();
    // The memory of a namespace is released one round after its end.
    let next = ns.create(&Cred::root(ns.init_user_ns())).unwrap();
    drop(next);
    ns.step();
    assert!(lo.upgrade().is_none());
}

#[test]
fn the_stack_of_another_system_knows_nothing_of_ours() {
    let (ours, theirs) = (Namespaces::new(), Namespaces::new());
    let stack = Stack::register(&ours).unwrap();
    assert!(stack.links(&theirs.init_net()).is_none());
    assert!(stack.clone().links(&ours.init_net()).is_some());
}

#[test]
fn salts_differ() {
    let ns = Namespaces::new();
    let stack = Stack::register(&ns).unwrap();
    let nets: Vec<_> = (0..50).map(|_| ns.create(&Cred::root(ns.init_user_ns())).unwrap()).collect();
    let salts: HashSet<_> = nets.iter().map(|n| stack.links(n).unwrap().salt()).collect();
    assert!(salts.len() > 45, "{} of 50", salts.len());
}
