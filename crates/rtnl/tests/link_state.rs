//! RTM_GETLINK shows what the device table holds, however many devices there are and whatever becomes of them.

use pernet::{Caps, Cred, Namespaces, NetRef, Origin};
use pernet_rtnl::{LocalClient, Protocol, Rtnetlink, Socket};
use pernet_stack::{FlagChange, HwAddr, IfFlags, IfName, LOOPBACK, Link, LinkChange, Links, ManualClock, Stack};
use pernet_wire::{Attrs, Builder, ExtAck, Messages, MsgHeader, uapi::*};

const NLM_F_DUMP_FILTERED: u16 = 0x20;
const NETLINK_EXT_ACK: i32 = 11;

struct System {
    stack: Stack,
    rtnl: Rtnetlink,
    net: NetRef,
    root: Cred,
    client: LocalClient,
    ns: Namespaces,
}

impl System {
    fn new() -> Self {
        let ns = Namespaces::new();
        // On a clock that stands still: no time of a change is to be seen.
        let stack = Stack::register_with_clock(&ns, Box::new(ManualClock::default())).unwrap();
        let rtnl = Rtnetlink::new(&ns, &stack).unwrap();
        let root = Cred::root(ns.init_user_ns());
        let net = ns.create(&root).unwrap();
        let client = LocalClient::new(root.clone(), 100);
        Self { stack, rtnl, net, root, client, ns }
    }

    fn links(&self) -> &Links {
        self.stack.links(&self.net).unwrap()
    }

    fn add(&self, name: &str, edit: impl FnOnce(&mut Link)) -> u32 {
        let mut link = Link::new(&LOOPBACK, IfName::new(name).unwrap());
        edit(&mut link);
        self.links().insert(link, None).unwrap().index()
    }

    fn socket(&self, opener: &Cred) -> Socket {
        let socket = self.rtnl.open(&self.net, Protocol::Route, opener);
        let yes = 1_i32.to_ne_bytes();
        socket.setsockopt(NETLINK_EXT_ACK, &yes, &self.client).unwrap();
        socket
    }

    /// The reply to a GETLINK for one device.
    fn get(&self, index: u32) -> Vec<u8> {
        let socket = self.socket(&self.root);
        let request = request(0, index, |_| {});
        socket.send(&request, None, &self.client).unwrap();
        socket.recv(65_536).unwrap().unwrap().bytes
    }
}

fn request(flags: u16, index: u32, attrs: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut out = Builder::message(&MsgHeader::request(RTM_GETLINK, NLM_F_REQUEST | flags, 0x1122_3344));
    attrs(out.put_raw(&header));
    out.finish()
}

fn types(message: &[u8]) -> Vec<u16> {
    Attrs::at(&message[32..], 32).map(|a| a.ty).collect()
}

/// Index and flags of every NEWLINK of a datagram, and the result in its DONE, if it has one.
fn listed(datagram: &[u8]) -> (Vec<(u32, u16)>, Option<i32>) {
    let mut done = None;
    let mut links = Vec::new();
    for msg in Messages::new(datagram) {
        let word = |at: usize| <[u8; 4]>::try_from(&msg.payload()[at..at + 4]).unwrap();
        match msg.header.ty {
            RTM_NEWLINK => links.push((u32::from_ne_bytes(word(4)), msg.header.flags)),
            NLMSG_DONE => done = Some(i32::from_ne_bytes(word(0))),
            other => panic!("type {other} in a dump"),
        }
    }
    (links, done)
}

#[test]
fn every_property_of_a_device_is_where_linux_puts_it() {
    let system = System::new();
    let links = system.links();
    let flags = IfFlags::UP | IfFlags::PROMISC | IfFlags::ALLMULTI;
    let change = LinkChange { flags: Some(FlagChange { flags, mask: flags }), ..LinkChange::default() };
    system.stack.rtnl(Origin::KERNEL).set_link(&system.net, 1, &change).unwrap();
    links
        .update(1, |lo| {
            lo.group = 5;
            (lo.tx_queue_len, lo.mtu, lo.qdisc) = (77, 1500, "noqueue");
            lo.alias = Some("hello world".into());
            lo.address = HwAddr::new(&[2, 0, 0, 0, 0, 1]).unwrap();
            (lo.inet6_changed, lo.inet6_reachable_ms) = (0, 0);
        })
        .unwrap();
    links.set_alt_names(1, vec!["loopy".into(), "zloop".into()]).unwrap();
    let mut reply = system.get(1);
    reply[12..16].fill(0);
    let hex: String = reply.iter().map(|b| format!("{b:02x}")).collect();
    let vector = include_str!("data/link_modified.txt");
    assert_eq!(Some(hex.as_str()), vector.lines().last());
}

#[test]
fn optional_attributes_have_their_place() {
    // Linux's order for a bridge port and for a network card, as far as both are the stack's business.
    let port = [
        3, 13, 16, 17, 67, 4, 50, 51, 27, 30, 61, 31, 40, 41, 58, 63, 64, 59, 60, 66, 32, 10, 33, 35, 47, 48, 68, 69,
        39, 1, 2, 23, 7, 43, 5, 54, 6, 26, 14, 62, 65,
    ];
    let system = System::new();
    let index = system.add("port", |l| {
        (l.master, l.lower) = (Some(7), Some(3));
        l.permanent_address = HwAddr::new(&[2, 0, 0, 0, 0, 9]).unwrap();
    });
    let reply = system.get(index);
    assert_eq!(types(&reply), port);
    let word = |ty| Attrs::at(&reply[32..], 32).find(|a| a.ty == ty).unwrap().u32();
    assert_eq!((word(IFLA_MASTER), word(IFLA_LINK)), (Some(7), Some(3)));
    // A device without address says nothing of addresses; one too small for IPv6, nothing of IPv6.
    let tunnel = system.add("tunnel", |l| {
        (l.address, l.broadcast) = (HwAddr::EMPTY, HwAddr::EMPTY);
        // A loopback device does IPv6 whatever its MTU.
        l.stored_flags = l.stored_flags & !IfFlags::LOOPBACK;
        l.mtu = 1279;
    });
    let reply = system.get(tunnel);
    assert!(!types(&reply).contains(&IFLA_ADDRESS) && !types(&reply).contains(&IFLA_BROADCAST));
    let spec = Attrs::at(&reply[32..], 32).find(|a| a.ty == IFLA_AF_SPEC).unwrap();
    assert_eq!(spec.nested().map(|a| a.ty).collect::<Vec<_>>(), [2]);
}

#[test]
fn counters_are_shown_in_both_widths() {
    let system = System::new();
    let total = (7_u64 << 32) + 5;
    system
        .links()
        .update(1, |lo| {
            let counters = lo.counters();
            counters.rx_bytes.store(total, std::sync::atomic::Ordering::Relaxed);
        })
        .unwrap();
    let reply = system.get(1);
    let attr = |ty| Attrs::at(&reply[32..], 32).find(|a| a.ty == ty).unwrap();
    assert_eq!(attr(IFLA_STATS64).payload[16..24], total.to_ne_bytes());
    assert_eq!(attr(IFLA_STATS).payload[8..12], 5_u32.to_ne_bytes());
}

#[test]
fn a_long_dump_shows_every_device_once_and_ends_in_its_own_datagram() {
    let system = System::new();
    for i in 0..50 {
        system.add(&format!("d{i}"), |_| {});
    }
    let socket = system.socket(&system.root);
    socket.send(&request(NLM_F_DUMP, 0, |_| {}), None, &system.client).unwrap();
    let (mut seen, mut datagrams) = (Vec::new(), 0);
    loop {
        let datagram = socket.recv(4096).unwrap().expect("the dump goes on").bytes;
        assert!(datagram.len() <= 4096);
        let (links, done) = listed(&datagram);
        datagrams += 1;
        if let Some(result) = done {
            assert_eq!((result, links.len(), datagram.len()), (0, 0, 20));
            break;
        }
        assert!(links.iter().all(|&(_, flags)| flags == NLM_F_MULTI));
        seen.extend(links.into_iter().map(|(index, _)| index));
    }
    assert_eq!(seen, (1..=51).collect::<Vec<_>>());
    assert!(datagrams > 20, "{datagrams}");
    assert!(socket.recv(4096).unwrap().is_none() && !socket.dump_running());
}

#[test]
fn devices_that_go_during_a_dump_hide_no_others_and_are_told_of() {
    let system = System::new();
    for i in 0..20 {
        system.add(&format!("d{i}"), |_| {});
    }
    let socket = system.socket(&system.root);
    socket.send(&request(NLM_F_DUMP, 0, |_| {}), None, &system.client).unwrap();
    // What lies in the queue was written before the change.
    let mut seen: Vec<(u32, u16)> = listed(&socket.recv(4096).unwrap().unwrap().bytes).0;
    for gone in [1, 2, 12] {
        system.links().remove(gone).unwrap();
    }
    while let Some(datagram) = socket.recv(4096).unwrap() {
        seen.extend(listed(&datagram.bytes).0);
    }
    let indexes: Vec<u32> = seen.iter().map(|s| s.0).collect();
    assert!(indexes.is_sorted());
    assert!((3..=21).filter(|i| *i != 12).all(|i| indexes.contains(&i)));
    assert!(!indexes.contains(&12));
    assert_eq!(seen.first().unwrap().1, NLM_F_MULTI);
    assert_eq!(seen.last().unwrap().1, NLM_F_MULTI | NLM_F_DUMP_INTR);
}

#[test]
fn a_dump_can_ask_for_the_ports_of_a_master() {
    let system = System::new();
    let master = system.add("master", |_| {});
    let ports: Vec<u32> = (0..3).map(|i| system.add(&format!("p{i}"), |l| l.master = Some(master))).collect();
    let ask = |value: u32| {
        let socket = system.socket(&system.root);
        let request = request(NLM_F_DUMP, 0, |m| {
            m.put_u32(IFLA_MASTER, value);
        });
        socket.send(&request, None, &system.client).unwrap();
        let datagrams = std::iter::from_fn(|| socket.recv(65_536).unwrap());
        datagrams.flat_map(|d| listed(&d.bytes).0).collect::<Vec<_>>()
    };
    let indexes = |links: &[(u32, u16)]| links.iter().map(|l| l.0).collect::<Vec<_>>();
    assert_eq!(indexes(&ask(master)), ports);
    assert_eq!(indexes(&ask(u32::MAX)), [1, master]);
    assert_eq!(ask(0).len(), 5);
    assert!(ask(99).is_empty());
    assert!(ask(master).iter().all(|l| l.1 == NLM_F_MULTI | NLM_F_DUMP_FILTERED));
    assert!(ask(0).iter().all(|l| l.1 == NLM_F_MULTI));
}

#[test]
fn another_namespace_needs_its_permission() {
    let system = System::new();
    let other = system.ns.create(&system.root).unwrap();
    let id = system.net.peernet2id_alloc(&other).unwrap().get();
    let nobody = Cred { caps: Caps::EMPTY, ..system.root.clone() };
    let target = |flags, opener: &Cred, sender: &Cred| {
        let socket = system.socket(opener);
        let request = request(flags, if flags == 0 { 1 } else { 0 }, |m| {
            m.put_i32(IFLA_TARGET_NETNSID, id);
        });
        let client = LocalClient::new(sender.clone(), 100);
        socket.send(&request, None, &client).unwrap();
        socket.recv(65_536).unwrap().unwrap().bytes
    };
    // Both who opened the socket and who sends must be allowed to.
    for (opener, sender) in [(&nobody, &system.root), (&system.root, &nobody)] {
        let refused = target(0, opener, sender);
        assert_eq!(refused[4..6], NLMSG_ERROR.to_ne_bytes());
        assert_eq!(refused[16..20], (-13_i32).to_ne_bytes());
        // No text, as on Linux: nothing but the request follows.
        assert_eq!(refused.len(), 16 + 4 + 40);
        let refused = target(NLM_F_DUMP, opener, sender);
        assert_eq!(listed(&refused), (vec![], Some(-13)));
        let text = ExtAck::read_tlvs(&refused[20..]).msg.unwrap();
        assert_eq!(text, "Invalid target network namespace id");
    }
    let allowed = target(0, &system.root, &system.root);
    assert_eq!(types(&allowed)[0], IFLA_TARGET_NETNSID);
    // To see one's own namespace needs nothing.
    let socket = system.socket(&nobody);
    let client = LocalClient::new(nobody, 100);
    socket.send(&request(0, 1, |_| {}), None, &client).unwrap();
    assert_eq!(types(&socket.recv(4096).unwrap().unwrap().bytes)[0], IFLA_IFNAME);
}

/// Result and text in the DONE of a strict dump.
fn refusal(system: &System, ty: u16, body: &[u8], attr: Option<(u16, u32)>) -> (i32, Option<String>) {
    const NETLINK_GET_STRICT_CHK: i32 = 12;
    let socket = system.socket(&system.root);
    let yes = 1_i32.to_ne_bytes();
    socket.setsockopt(NETLINK_GET_STRICT_CHK, &yes, &system.client).unwrap();
    let mut out = Builder::message(&MsgHeader::request(ty, NLM_F_REQUEST | NLM_F_DUMP, 1));
    out.put_raw(body);
    if let Some((ty, value)) = attr {
        out.put_u32(ty, value);
    }
    socket.send(&out.finish(), None, &system.client).unwrap();
    let done = socket.recv(4096).unwrap().unwrap().bytes;
    let (links, result) = listed(&done);
    assert!(links.is_empty());
    let text = ExtAck::read_tlvs(&done[20..]).msg;
    (result.unwrap(), text.map(|t| t.into_owned()))
}

// These replies carry NLM_F_DUMP_FILTERED in their DONE on Linux, so they are not among the vectors.
#[test]
fn dumps_that_ask_for_a_device_or_a_table() {
    const RTA_OIF: u16 = 4;
    const RTA_TABLE: u16 = 15;
    let system = System::new();
    let route =
        |family: u8, attr| refusal(&system, RTM_GETROUTE, &[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Some(attr));
    let missing = |text: &str| (-2, Some(text.to_owned()));
    assert_eq!(route(2, (RTA_TABLE, 254)), missing("ipv4: FIB table does not exist"));
    assert_eq!(route(2, (RTA_TABLE, 0)), (0, None));
    assert_eq!(route(10, (RTA_TABLE, 253)), missing("ipv6: FIB table does not exist"));
    assert_eq!(route(10, (RTA_TABLE, 254)), (0, None));
    assert_eq!(route(128, (RTA_TABLE, 254)), missing("ipv4: MR table does not exist"));
    assert_eq!(route(128, (RTA_TABLE, 253)), (0, None));
    assert_eq!(route(0, (RTA_TABLE, 1000)), (0, None));
    assert_eq!(route(2, (RTA_OIF, 1)), (0, None));
    assert_eq!(route(2, (RTA_OIF, 9)), (-19, None));
    for family in [0, 2, 10] {
        let address = |index| refusal(&system, RTM_GETADDR, &[family, 0, 0, 0, index, 0, 0, 0], None);
        assert_eq!((address(1), address(9)), ((0, None), (-19, None)));
    }
}
