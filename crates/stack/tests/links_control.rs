//! Links as a user changes them: every change is whole or not at all, and what follows from it follows.

use pernet::{Cred, Namespaces, NetRef, Origin};
use pernet_stack::{
    BridgeChange, FlagChange, IfFlags, KindChange, KindSpec, Link, LinkChange, LinkRefused, MacvlanChange, NewLink,
    Notice, NoticeSink, OperState, Stack, VethPeer, VlanChange, VxlanChange,
};
use proptest::prelude::*;

struct System {
    ns: Namespaces,
    stack: Stack,
    root: Cred,
}

impl System {
    fn new() -> Self {
        let ns = Namespaces::new();
        let stack = Stack::register(&ns).unwrap();
        let root = Cred::root(ns.init_user_ns());
        Self { ns, stack, root }
    }

    fn net(&self) -> NetRef {
        self.ns.create(&self.root).unwrap()
    }

    fn make(&self, net: &NetRef, kind: KindSpec, name: &str, lower: Option<u32>) -> Result<u32, LinkRefused> {
        let mut new = NewLink { lower, ..NewLink::new(kind) };
        new.change.name = Some(name.into());
        self.stack.rtnl(Origin::KERNEL).new_link(net, &new).map(|link| link.index())
    }

    fn pair(&self, net: &NetRef, name: &str, peer: &str) -> Result<u32, LinkRefused> {
        self.make(net, veth(peer), name, None)
    }

    fn set(&self, net: &NetRef, name: &str, change: &LinkChange) -> Result<(), LinkRefused> {
        let index = self.link(net, name).map_or(u32::MAX, |link| link.index());
        self.stack.rtnl(Origin::KERNEL).set_link(net, index, change)
    }

    fn up(&self, net: &NetRef, name: &str, up: bool) {
        let flags = if up { IfFlags::UP } else { IfFlags::NONE };
        let change = LinkChange { flags: Some(FlagChange { flags, mask: IfFlags::UP }), ..LinkChange::default() };
        self.set(net, name, &change).unwrap();
    }

    fn link(&self, net: &NetRef, name: &str) -> Option<std::sync::Arc<Link>> {
        self.stack.links(net).unwrap().by_name(name)
    }

    fn state(&self, net: &NetRef, name: &str) -> (OperState, bool) {
        let link = self.link(net, name).unwrap();
        (link.operstate(), link.carrier)
    }
}

fn veth(peer: &str) -> KindSpec {
    let change = LinkChange { name: Some(peer.into()), ..LinkChange::default() };
    KindSpec::Veth(Box::new(VethPeer { change: Some(change), ..VethPeer::default() }))
}

fn to(net: &NetRef) -> LinkChange {
    LinkChange { net: Some(net.clone()), ..LinkChange::default() }
}

#[test]
fn a_cable_carries_when_both_ends_are_up() {
    let system = System::new();
    let net = system.net();
    system.pair(&net, "va", "vb").unwrap();
    assert_eq!(system.link(&net, "vb").unwrap().index(), 2, "the other end comes first");
    assert_eq!(system.link(&net, "va").unwrap().iflink(), 2);
    system.up(&net, "va", true);
    assert_eq!(system.state(&net, "va"), (OperState::LowerLayerDown, false));
    system.up(&net, "vb", true);
    assert_eq!((system.state(&net, "va"), system.state(&net, "vb")), ((OperState::Up, true), (OperState::Up, true)));
    system.up(&net, "vb", false);
    assert_eq!(system.state(&net, "va"), (OperState::LowerLayerDown, false));
    assert_eq!(system.link(&net, "va").unwrap().carrier_downs, 2);
}

#[test]
fn what_is_refused_half_way_leaves_nothing_behind() {
    let system = System::new();
    let net = system.net();
    system.pair(&net, "va", "vb").unwrap();
    let table = || format!("{:?}", system.stack.links(&net).unwrap().all());
    let before = table();
    let refused = [
        LinkChange { mtu: Some(1400), name: Some("vb".into()), ..LinkChange::default() },
        LinkChange { address: Some([1, 0, 0, 0, 0, 1].into()), mtu: Some(1400), ..LinkChange::default() },
        LinkChange { alias: Some("x".into()), master: Some(99), ..LinkChange::default() },
        LinkChange { group: Some(5), carrier: Some(true), ..LinkChange::default() },
        LinkChange { mtu: Some(1300), proto_down: Some(true), ..LinkChange::default() },
    ];
    for change in &refused {
        assert!(system.set(&net, "va", change).is_err(), "{change:?}");
        assert_eq!(table(), before, "{change:?}");
    }
    // A pair of which one end cannot be.
    for (name, peer) in [("vc", "va"), ("vb", "vc"), ("vc", "vc"), ("a/b", "vc"), ("vc", "a/b")] {
        assert!(system.pair(&net, name, peer).is_err(), "{name} {peer}");
        assert_eq!(table(), before, "{name} {peer}");
    }
}

/// Where Linux finds out late, it has drawn an index for what it takes away again.
/// How many messages about links there were.
#[derive(Default)]
struct Told(std::sync::atomic::AtomicUsize);

impl NoticeSink for Told {
    fn emit(&self, _: &Stack, _: &NetRef, notice: &Notice, _: Origin) {
        let links = usize::from(matches!(notice, Notice::Link(_)));
        self.0.fetch_add(links, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Found by mutated requests: the device below was told to have another on it.
#[test]
fn who_is_refused_by_its_master_far_away_is_heard_of_nowhere() {
    let s = System::new();
    let (here, there) = (s.net(), s.net());
    let below = s.make(&here, KindSpec::Dummy, "below", None).unwrap();
    let told = std::sync::Arc::new(Told::default());
    s.stack.set_notice_sink(told.clone());
    let vlan = KindSpec::Vlan(VlanChange { id: Some(5), ..VlanChange::default() });
    let mut new = NewLink { lower: Some(below), ..NewLink::new(vlan) };
    new.change =
        LinkChange { name: Some("v".into()), net: Some(there.clone()), master: Some(77), ..LinkChange::default() };
    let refused = s.stack.rtnl(Origin::KERNEL).new_link(&here, &new).unwrap_err();
    assert_eq!(refused.errno(), 22);
    assert!(s.link(&there, "v").is_none());
    assert_eq!(told.0.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_cable_whose_second_end_cannot_be_has_no_first() {
    let system = System::new();
    let net = system.net();
    let wanted = |name: &str, peer: &str, index: Option<u32>, master: Option<u32>| {
        let mut new = NewLink { index, ..NewLink::new(veth(peer)) };
        (new.change.name, new.change.master) = (Some(name.into()), master);
        system.stack.rtnl(Origin::KERNEL).new_link(&net, &new).map(|_| ()).map_err(|why| why.errno())
    };
    // The first end draws the very index that the second one asks for.
    assert_eq!(wanted("va", "vb", Some(2), None), Err(16));
    assert_eq!(wanted("va", "va", None, None), Err(17), "index 3");
    assert_eq!(wanted("va", "vb", None, Some(1)), Err(95), "indexes 4 and 5: lo is nobody's master");
    assert_eq!(wanted("va", "vb", Some(60), Some(77)), Err(22), "index 6");
    assert_eq!(system.stack.links(&net).unwrap().len(), 1);
    wanted("va", "vb", Some(8), None).unwrap();
    assert_eq!((system.link(&net, "vb").unwrap().index(), system.link(&net, "va").unwrap().index()), (7, 8));
}

#[test]
fn devices_are_stacked_neither_in_circles_nor_too_high() {
    let system = System::new();
    let net = system.net();
    let vlan = |name: &str, lower: u32| {
        let kind = KindSpec::Vlan(VlanChange { id: Some(5), ..VlanChange::default() });
        system.make(&net, kind, name, Some(lower)).map_err(|why| why.errno())
    };
    let join = |port: &str, master: u32| {
        let change = LinkChange { master: Some(master), ..LinkChange::default() };
        system.set(&net, port, &change).map_err(|why| why.errno())
    };
    let bridge = |name: &str| system.make(&net, KindSpec::Bridge(Box::default()), name, None).unwrap();
    let (br0, br1) = (bridge("br0"), bridge("br1"));
    let on_bridge = vlan("v1", br0).unwrap();
    assert_eq!(join("v1", br0), Err(16));
    vlan("v2", on_bridge).unwrap();
    assert_eq!(join("v2", br0), Err(16));
    join("v2", br1).unwrap();
    // br0, v1, v2, br1; then to the eighth.
    let mut top = br1;
    for name in ["v5", "v6", "v7", "v8"] {
        top = vlan(name, top).unwrap();
    }
    let before = system.stack.links(&net).unwrap().len();
    assert_eq!(vlan("v9", top), Err(31));
    let tunnel = VxlanChange { id: Some(7), dev: Some(top), ..VxlanChange::default() };
    let tunnel = system.make(&net, KindSpec::Vxlan(Box::new(tunnel)), "vx", None);
    assert_eq!(tunnel.map_err(|why| why.errno()), Err(31));
    assert_eq!(system.stack.links(&net).unwrap().len(), before);
    assert_eq!((join("v5", br0), join("v8", br0)), (Err(16), Err(16)));
    let tunnel = KindSpec::Vxlan(Box::new(VxlanChange { id: Some(8), ..VxlanChange::default() }));
    system.make(&net, tunnel, "vx", None).unwrap();
    let sit = |lower: &str, master: Option<u32>| {
        let dev = system.link(&net, lower).map(|link| link.index());
        let data = KindChange::Vxlan(Box::new(VxlanChange { dev, ..VxlanChange::default() }));
        let change = LinkChange { data: Some(data), master, ..LinkChange::default() };
        system.set(&net, "vx", &change).map_err(|why| why.errno())
    };
    assert_eq!((sit("vx", None), sit("v8", None), sit("br1", Some(br1))), (Err(16), Err(31), Err(16)));
    assert_eq!((sit("v1", Some(br0)), sit("v6", Some(br0)), sit("v7", None)), (Err(16), Err(16), Ok(())));
    assert_eq!(vlan("v9", system.link(&net, "vx").unwrap().index()), Err(31));
    let br2 = bridge("br2");
    assert_eq!(
        (sit("lo", None), sit("lo", Some(br2)), sit("br2", None), sit("v2", None)),
        (Ok(()), Ok(()), Err(16), Ok(()))
    );
    assert_eq!(join("v8", br2), Err(31));
    assert_eq!(join("v7", br2), Ok(()));
}

#[test]
fn a_move_that_cannot_be_leaves_the_device_where_it_is() {
    let system = System::new();
    let (here, there) = (system.net(), system.net());
    system.pair(&here, "va", "vb").unwrap();
    system.pair(&there, "va", "other").unwrap();
    let why = system.set(&here, "va", &to(&there)).unwrap_err();
    assert_eq!(
        (why.errno(), why.text().unwrap().as_ref()),
        (17, "An interface with the same name exists in the target netns")
    );
    let why = system.set(&here, "lo", &to(&there)).unwrap_err();
    assert_eq!((why.errno(), why.text().unwrap().as_ref()), (22, "The interface netns is immutable"));
    assert!(system.link(&here, "va").is_some());
    let change = LinkChange { name: Some("vc".into()), ..to(&there) };
    system.set(&here, "va", &change).unwrap();
    assert!(system.link(&here, "va").is_none());
    let moved = system.link(&there, "vc").unwrap();
    assert_eq!(moved.lower_net().map(pernet::NetHandle::cookie), Some(here.cookie()));
    assert_eq!(system.link(&here, "vb").unwrap().iflink(), moved.index());
}

#[test]
fn with_a_namespace_dies_what_hangs_on_its_devices() {
    let system = System::new();
    let (here, there) = (system.net(), system.net());
    system.pair(&here, "va", "vb").unwrap();
    system.pair(&here, "kept", "kept2").unwrap();
    system.set(&here, "vb", &to(&there)).unwrap();
    // A further address of a device there, which lives here.
    let lower = system.link(&there, "vb").unwrap().index();
    system.make(&there, KindSpec::Macvlan(MacvlanChange::default(), false), "mv", Some(lower)).unwrap();
    system.set(&there, "mv", &to(&here)).unwrap();
    assert!(system.link(&here, "mv").is_some());
    drop(there);
    system.ns.step();
    assert!(system.link(&here, "va").is_none(), "its other end is gone");
    assert!(system.link(&here, "mv").is_none(), "the device below is gone");
    assert!(system.link(&here, "kept").is_some() && system.link(&here, "kept2").is_some());
}

#[test]
fn a_bridge_forwards_as_long_as_a_port_does() {
    let system = System::new();
    let net = system.net();
    let bridge = system.make(&net, KindSpec::Bridge(Box::<BridgeChange>::default()), "br0", None).unwrap();
    system.pair(&net, "p1", "q1").unwrap();
    system.up(&net, "br0", true);
    assert_eq!(system.state(&net, "br0"), (OperState::Unknown, true), "nobody has plugged anything in yet");
    system.set(&net, "p1", &LinkChange { master: Some(bridge), ..LinkChange::default() }).unwrap();
    let lowest = system.link(&net, "p1").unwrap().address;
    assert_eq!(system.link(&net, "br0").unwrap().address, lowest, "a bridge borrows its address");
    assert_eq!(system.state(&net, "br0"), (OperState::Down, false));
    system.up(&net, "p1", true);
    system.up(&net, "q1", true);
    assert_eq!(system.state(&net, "br0"), (OperState::Up, true));
    assert_eq!(system.stack.links(&net).unwrap().ports_of(bridge), [system.link(&net, "p1").unwrap().index()]);
    let index = system.link(&net, "br0").unwrap().index();
    system.stack.rtnl(Origin::KERNEL).del_link(&net, index).unwrap();
    let port = system.link(&net, "p1").unwrap();
    assert_eq!((port.master, port.promiscuity, port.allmulti), (None, 0, 0));
}

#[test]
fn devices_on_a_device_follow_it() {
    let system = System::new();
    let net = system.net();
    let lower = system.pair(&net, "up0", "far").unwrap();
    system.make(&net, KindSpec::Macvlan(MacvlanChange::default(), false), "mv0", Some(lower)).unwrap();
    for name in ["up0", "far", "mv0"] {
        system.up(&net, name, true);
    }
    assert_eq!(system.state(&net, "mv0"), (OperState::Up, true));
    system.up(&net, "up0", false);
    assert_eq!(system.state(&net, "mv0"), (OperState::LowerLayerDown, false));
    system.set(&net, "up0", &LinkChange { mtu: Some(1300), ..LinkChange::default() }).unwrap();
    assert_eq!(system.link(&net, "mv0").unwrap().mtu, 1300);
    system.stack.rtnl(Origin::KERNEL).del_link(&net, lower).unwrap();
    assert_eq!(system.stack.links(&net).unwrap().len(), 1);
}

#[test]
fn numbered_names_take_the_lowest_number_that_is_free() {
    let system = System::new();
    let net = system.net();
    for _ in 0..40 {
        system.pair(&net, "v%d", "w%d").unwrap();
    }
    assert!(system.link(&net, "v39").is_some() && system.link(&net, "v40").is_none());
    for name in ["v7", "v31"] {
        let index = system.link(&net, name).unwrap().index();
        system.stack.rtnl(Origin::KERNEL).del_link(&net, index).unwrap();
    }
    for name in ["v7", "v31", "v40"] {
        assert!(system.link(&net, name).is_none());
        system.pair(&net, "v%d", "x%d").unwrap();
        assert!(system.link(&net, name).is_some());
    }
}

/// Something that happens to a pair of cables in two namespaces.
#[derive(Clone, Debug)]
enum Op {
    Up(usize, bool),
    Move(usize),
    Delete(usize),
    Make,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4_usize, any::<bool>()).prop_map(|(i, up)| Op::Up(i, up)),
        3 => (0..4_usize).prop_map(Op::Move),
        1 => (0..4_usize).prop_map(Op::Delete),
        1 => Just(Op::Make),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, the ends of a cable know each other, and it carries exactly while both are up.
    #[test]
    fn ends_of_cables_know_each_other(ops in prop::collection::vec(op(), 0..40)) {
        let system = System::new();
        let nets = [system.net(), system.net()];
        let names = ["a1", "a2", "b1", "b2"];
        let find = |name: &str| nets.iter().find_map(|net| Some((net, system.link(net, name)?)));
        for op in ops {
            match op {
                Op::Make => {
                    for pair in names.chunks(2).filter(|pair| find(pair[0]).is_none()) {
                        system.pair(&nets[0], pair[0], pair[1]).unwrap();
                    }
                }
                Op::Up(i, up) => {
                    if let Some((net, _)) = find(names[i]) {
                        system.up(net, names[i], up);
                    }
                }
                Op::Move(i) => {
                    if let Some((net, _)) = find(names[i]) {
                        let target = if net == &nets[0] { &nets[1] } else { &nets[0] };
                        system.set(net, names[i], &to(target)).unwrap();
                    }
                }
                Op::Delete(i) => {
                    if let Some((net, link)) = find(names[i]) {
                        system.stack.rtnl(Origin::KERNEL).del_link(net, link.index()).unwrap();
                    }
                }
            }
            for pair in names.chunks(2) {
                let (this, that) = (find(pair[0]), find(pair[1]));
                prop_assert_eq!(this.is_some(), that.is_some(), "one end without the other");
                let (Some((net, this)), Some((peer_net, that))) = (this, that) else { continue };
                prop_assert_eq!((this.iflink(), that.iflink()), (that.index(), this.index()));
                let far = (net != peer_net).then(|| peer_net.cookie());
                prop_assert_eq!(this.lower_net().map(pernet::NetHandle::cookie), far);
                let carries = this.is_up() && that.is_up();
                prop_assert_eq!((this.carrier, that.carrier), (carries, carries));
                prop_assert!(!carries || this.operstate() == OperState::Up);
            }
        }
    }
}
