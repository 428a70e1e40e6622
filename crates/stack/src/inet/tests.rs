//! Settings: who inherits, who follows, who is told. The expected values are those of Linux 6.18.

use std::sync::{Arc, Mutex};

use pernet::{Cred, Namespaces, Net, NetRef, Origin};

use super::conf::number::*;
use super::*;
use crate::dev::{KindSpec, NewLink};
use crate::rtnl::NoticeSink;
use crate::state::ConfOf;
use crate::{Notice, Stack};

/// `tag` and `arp_ignore`, which mean nothing here and are kept.
const TAG: usize = 12;

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl NoticeSink for Heard {
    fn emit(&self, _: &Stack, _: &NetRef, notice: &Notice, _: Origin) {
        if let Notice::Inet(InetNotice::Netconf { conf, part }) = notice
            && conf.family == 2
        {
            self.0.lock().unwrap().push(format!("{:?} {part:?}", conf.of));
        }
    }
}

struct World {
    system: Namespaces,
    stack: Stack,
    heard: Arc<Heard>,
}

impl World {
    fn new() -> Self {
        let system = Namespaces::new();
        let stack = Stack::register(&system).unwrap();
        let heard = Arc::new(Heard::default());
        stack.set_notice_sink(heard.clone());
        Self { system, stack, heard }
    }

    fn net(&self) -> NetRef {
        self.system.create(&Cred::root(self.system.init_user_ns())).unwrap()
    }

    fn device(&self, net: &Net) -> ConfOf {
        let link = self.stack.rtnl(Origin::KERNEL).new_link(net, &NewLink::new(KindSpec::Dummy)).unwrap();
        ConfOf::Dev(link.index())
    }

    fn get(&self, net: &Net, of: ConfOf, number: usize) -> i32 {
        let rtnl = self.stack.rtnl(Origin::KERNEL);
        conf(rtnl.ns(net).unwrap(), of, number).unwrap()
    }

    fn set(&self, net: &Net, of: ConfOf, number: usize, value: i32) {
        let mut rtnl = self.stack.rtnl(Origin::KERNEL);
        let ns = rtnl.ns(net).unwrap();
        set_conf(&mut rtnl, ns, of, number, value);
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.0.lock().unwrap())
    }
}

const LO: ConfOf = ConfOf::Dev(1);

#[test]
fn devices_follow_default_until_a_key_is_written_for_them() {
    let world = World::new();
    let net = world.net();
    let (a, b) = (world.device(&net), world.device(&net));
    world.set(&net, a, TAG, 7);
    world.set(&net, ConfOf::Default, TAG, 3);
    let tags = |who: &[ConfOf]| who.iter().map(|of| world.get(&net, *of, TAG)).collect::<Vec<_>>();
    assert_eq!(tags(&[ConfOf::All, LO, a, b]), [0, 3, 7, 3]);
    // A device born after the key was written for all to come has its own copy, and keeps it.
    let c = world.device(&net);
    world.set(&net, ConfOf::Default, TAG, 4);
    assert_eq!(tags(&[LO, a, b, c]), [4, 7, 4, 3]);
    world.set(&net, ConfOf::All, TAG, 9);
    assert_eq!(tags(&[LO, a, b, c]), [4, 7, 4, 3]);
    // What another key says of a device does not stop it from following in this one.
    world.set(&net, b, RP_FILTER, 1);
    world.set(&net, ConfOf::Default, TAG, 5);
    assert_eq!(tags(&[a, b]), [7, 5]);
}

#[test]
fn some_keys_are_never_followed_and_some_are_the_kind_s() {
    let world = World::new();
    let net = world.net();
    let a = world.device(&net);
    for number in [FORWARDING, DISABLE_POLICY, DISABLE_XFRM, PROMOTE_SECONDARIES, ROUTE_LOCALNET] {
        world.set(&net, ConfOf::Default, number, 1);
        assert_eq!(world.get(&net, a, number), 0, "{number}");
    }
    world.set(&net, ConfOf::Default, DISABLE_XFRM, 0);
    let b = world.device(&net);
    assert_eq!((world.get(&net, b, PROMOTE_SECONDARIES), world.get(&net, b, DISABLE_XFRM)), (1, 0));
    assert_eq!((world.get(&net, LO, DISABLE_XFRM), world.get(&net, LO, DISABLE_POLICY)), (1, 1));
}

#[test]
fn forwarding_is_everybody_s_and_told_in_order() {
    let world = World::new();
    let net = world.net();
    let a = world.device(&net);
    world.told();
    world.set(&net, ConfOf::All, FORWARDING, 1);
    let one = |of| format!("{of:?} One(2)");
    assert_eq!(world.told(), [ConfOf::All, ConfOf::Default, LO, a].map(one));
    world.set(&net, ConfOf::All, FORWARDING, 1);
    assert_eq!(world.told(), [""; 0]);
    assert_eq!(world.get(&net, ConfOf::All, ACCEPT_REDIRECTS), 0, "a router does not listen");
    world.set(&net, ConfOf::Default, FORWARDING, 0);
    assert_eq!((world.get(&net, a, FORWARDING), world.get(&net, world.device(&net), FORWARDING)), (1, 0));
    world.told();
    world.set(&net, a, RP_FILTER, 2);
    world.set(&net, a, RP_FILTER, 2);
    world.set(&net, a, TAG, 2);
    assert_eq!(world.told(), [format!("{a:?} One(3)")]);
}

#[test]
fn namespaces_are_born_with_what_the_initial_one_says() {
    let world = World::new();
    let init = world.system.init_net();
    let before = world.net();
    world.set(&before, ConfOf::All, TAG, 1);
    assert_eq!(world.get(&world.net(), ConfOf::All, TAG), 0, "nothing comes from anyone else");
    world.set(&init, ConfOf::All, TAG, 11);
    world.set(&init, ConfOf::Default, TAG, 12);
    world.set(&init, LO, TAG, 13);
    let after = world.net();
    let tags = [ConfOf::All, ConfOf::Default, LO].map(|of| world.get(&after, of, TAG));
    assert_eq!(tags, [11, 12, 12]);
    assert_eq!(world.get(&before, ConfOf::Default, TAG), 0);
    world.stack.inner().births.devconf_inherit.store(2, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(world.get(&world.net(), ConfOf::All, TAG), 0);
}

#[test]
fn a_quiet_namespace_has_nothing_in_memory() {
    let world = World::new();
    let net = world.net();
    world.device(&net);
    assert!(world.stack.state(&net).unwrap().peek_inet().is_none());
    assert!(world.stack.inet4_conf(&net, 1).is_some());
    assert!(world.stack.state(&net).unwrap().peek_inet().is_none(), "to look does not make it");
}

#[test]
fn the_address_to_send_from() {
    let world = World::new();
    let net = world.net();
    let (ConfOf::Dev(a), ConfOf::Dev(b)) = (world.device(&net), world.device(&net)) else { panic!() };
    let add = |ifindex, text: &str, prefix_len, scope| {
        let new = NewAddr4 { scope, ..NewAddr4::new(ifindex, text.parse().unwrap(), prefix_len) };
        world.stack.rtnl(Origin::KERNEL).new_addr4(&net, &new).unwrap();
    };
    let ask = |ifindex, dst: &str, scope| {
        let rtnl = world.stack.rtnl(Origin::KERNEL);
        select_addr(rtnl.ns(&net).unwrap(), ifindex, dst.parse().unwrap(), scope).to_string()
    };
    assert_eq!(ask(Some(a), "20.0.0.1", 253), "0.0.0.0");
    add(b, "8.0.0.1", 24, 0);
    assert_eq!(ask(Some(a), "20.0.0.1", 253), "8.0.0.1", "any other device's will do");
    add(a, "7.0.0.1", 16, 253);
    add(a, "9.0.0.1", 24, 0);
    add(a, "9.0.0.2", 24, 0);
    assert_eq!(ask(Some(a), "20.0.0.1", 253), "7.0.0.1");
    assert_eq!(ask(Some(a), "20.0.0.1", 0), "9.0.0.1", "a link's address means nothing beyond it");
    assert_eq!(ask(Some(a), "9.0.0.77", 253), "9.0.0.1", "that of the same prefix");
    assert_eq!(ask(None, "0.0.0.0", 0), "9.0.0.1", "of the first device");
}
