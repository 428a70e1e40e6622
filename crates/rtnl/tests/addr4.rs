//! IPv4 addresses against what Linux 6.18 answered to the same requests: errno, text and offset of every refusal, the
//! bytes and the order of messages.

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use common::{Got, drain, set};
use pernet::{Cred, Namespaces, NetRef};
use pernet_rtnl::{Client as _, LocalClient, Protocol, Rtnetlink, Socket};
use pernet_stack::{Clock, FlagChange, IfFlags, KindSpec, LinkChange, ManualClock, NewLink, Stack};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, Messages, MsgHeader};

const CREATE: u16 = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
const ACKED: u16 = NLM_F_REQUEST | NLM_F_ACK;
const DUMP: u16 = NLM_F_REQUEST | NLM_F_DUMP;
const SEQ: u32 = 77;

struct SharedClock(Arc<ManualClock>);

impl Clock for SharedClock {
    fn now(&self) -> Duration {
        self.0.now()
    }
}

/// A namespace with a device of Ethernet kind, index 2, and a socket that hears of its own doing.
struct World {
    clock: Arc<ManualClock>,
    stack: Stack,
    net: NetRef,
    socket: Socket,
    heard: Socket,
    client: LocalClient,
    system: (Namespaces, Rtnetlink),
}

impl World {
    fn new() -> Self {
        let system = Namespaces::new();
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1000));
        let stack = Stack::register_with_clock(&system, Box::new(SharedClock(Arc::clone(&clock)))).unwrap();
        let rtnl = Rtnetlink::new(&system, &stack).unwrap();
        let root = Cred::root(system.init_user_ns());
        let net = system.create(&root).unwrap();
        let client = LocalClient::new(root.clone(), 100);
        let mut new = NewLink::new(KindSpec::Dummy);
        new.change.name = Some("d0".into());
        new.index = Some(2);
        stack.rtnl(pernet::Origin::KERNEL).new_link(&net, &new).unwrap();
        let socket = rtnl.open(&net, Protocol::Route, &root);
        set(&socket, NETLINK_EXT_ACK, 1, &client);
        let heard = rtnl.open(&net, Protocol::Route, &root);
        common::bind_aside(&heard);
        for group in [RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_MCADDR, RTNLGRP_IPV4_NETCONF] {
            set(&heard, NETLINK_ADD_MEMBERSHIP, group, &client);
        }
        Self { clock, stack, net, socket, heard, client, system: (system, rtnl) }
    }

    fn up(&self, up: bool) {
        let flags = if up { IfFlags::UP } else { IfFlags::NONE };
        let change = LinkChange { flags: Some(FlagChange { flags, mask: IfFlags::UP }), ..LinkChange::default() };
        self.stack.rtnl(pernet::Origin::KERNEL).set_link(&self.net, 2, &change).unwrap();
    }

    /// The ack of a request: errno, text, offset.
    fn ask(&self, bytes: &[u8]) -> (Result<(), Errno>, Option<String>, Option<u32>) {
        let answers = common::talk(&self.socket, bytes, &self.client);
        match common::got(&answers).pop() {
            Some(Got::Ack(NLMSG_ERROR, _, result, text, offset)) => (result, text, offset),
            other => panic!("no ack: {other:?}"),
        }
    }

    fn add(&self, text: &str) -> Result<(), Errno> {
        self.ask(&Req::new(RTM_NEWADDR, CREATE, text).done()).0
    }

    fn del(&self, text: &str) -> Result<(), Errno> {
        self.ask(&Req::new(RTM_DELADDR, ACKED, text).done()).0
    }

    /// What was heard since the last look: `+` or `-`, address, flags.
    fn events(&self) -> Vec<String> {
        let datagrams = drain(&self.heard);
        datagrams.iter().flat_map(|d| Messages::new(&d.bytes).map(|m| told(&m)).collect::<Vec<_>>()).collect()
    }

    fn list(&self) -> Vec<String> {
        let page = self.stack.addrs4(&self.net, (0, 0), None, usize::MAX);
        page.entries.iter().map(|(_, a)| format!("{}/{} {:x}", a.local, a.prefix_len, a.flags)).collect()
    }
}

fn told(msg: &pernet_wire::Msg<'_>) -> String {
    let sign = match msg.header.ty {
        RTM_NEWADDR | RTM_NEWMULTICAST | RTM_NEWNETCONF => '+',
        _ => '-',
    };
    let who = if msg.header.seq == SEQ { "" } else { " caused" };
    if msg.header.ty == RTM_NEWNETCONF || msg.header.ty == RTM_DELNETCONF {
        return format!("{sign}conf{who}");
    }
    let get = |ty| msg.attrs(8).find(|a| a.ty == ty);
    let address = get(IFA_LOCAL).or_else(|| get(IFA_MULTICAST)).and_then(|a| a.payload.first_chunk::<4>().copied());
    let flags = get(IFA_FLAGS).and_then(|a| a.u32());
    let flags = flags.map_or_else(|| " group".to_owned(), |f| format!(" {f:x}"));
    format!("{sign}{}{flags}{who}", Ipv4Addr::from(address.unwrap()))
}

struct Req(Builder);

impl Req {
    /// About `address/len` of device 2; an empty text names no address.
    fn new(ty: u16, flags: u16, text: &str) -> Self {
        let (address, len) = text.split_once('/').unwrap_or((text, "24"));
        let req = Self::header(ty, flags, len.parse().unwrap(), 2);
        if address.is_empty() { req } else { req.addr(IFA_LOCAL, address) }
    }

    fn header(ty: u16, flags: u16, len: u8, index: u32) -> Self {
        let mut out = Builder::message(&MsgHeader::request(ty, flags, SEQ));
        let [a, b, c, d] = index.to_ne_bytes();
        out.put_raw(&[2, len, 0, 0, a, b, c, d]);
        Self(out)
    }

    fn addr(self, ty: u16, text: &str) -> Self {
        self.raw(ty, &text.parse::<Ipv4Addr>().unwrap().octets())
    }

    fn raw(mut self, ty: u16, bytes: &[u8]) -> Self {
        self.0.put(ty, bytes);
        self
    }

    fn life(self, preferred: u32, valid: u32) -> Self {
        let words = [preferred, valid, 0, 0];
        self.raw(IFA_CACHEINFO, &words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<_>>())
    }

    fn done(self) -> Vec<u8> {
        self.0.finish()
    }
}

#[test]
fn refusals_read_as_in_linux() {
    let world = World::new();
    world.add("1.1.1.1/24").unwrap();
    let policy = "Attribute failed policy validation";
    let new = |text| Req::new(RTM_NEWADDR, CREATE, text);
    let cases: [(Req, Errno, Option<&str>, Option<u32>); 21] = [
        (new("/24"), Errno::EINVAL, Some("ipv4: Local address is not supplied"), None),
        (new("/33"), Errno::EINVAL, Some("ipv4: Invalid prefix length"), None),
        (
            Req::header(RTM_NEWADDR, CREATE, 24, 99).addr(IFA_LOCAL, "1.1.1.1"),
            Errno::ENODEV,
            Some("ipv4: Device not found"),
            None,
        ),
        (
            Req::header(RTM_NEWADDR, CREATE, 24, 0).addr(IFA_LOCAL, "1.1.1.1"),
            Errno::ENODEV,
            Some("ipv4: Device not found"),
            None,
        ),
        (new("/24").raw(IFA_LOCAL, b"123"), Errno::ERANGE, Some(policy), Some(24)),
        (new("1.1.1.1/24").raw(IFA_RT_PRIORITY, b"12"), Errno::ERANGE, Some(policy), Some(32)),
        (new("1.1.1.1/24").raw(IFA_PROTO, b""), Errno::ERANGE, Some(policy), Some(32)),
        (new("1.1.1.1/24").raw(IFA_LABEL, &[b'a'; 16]), Errno::ERANGE, Some(policy), Some(32)),
        (new("1.1.1.1/24").raw(IFA_LABEL, b""), Errno::ERANGE, Some(policy), Some(32)),
        (new("1.1.1.1/24").raw(IFA_CACHEINFO, &[0; 15]), Errno::ERANGE, Some(policy), Some(32)),
        (new("1.1.1.2/24").life(0, 0), Errno::EINVAL, Some("ipv4: address lifetime invalid"), None),
        (new("1.1.1.2/24").life(10, 5), Errno::EINVAL, Some("ipv4: address lifetime invalid"), None),
        (new("1.1.1.1/24"), Errno::EEXIST, Some("ipv4: Address already assigned"), None),
        (Req::new(RTM_NEWADDR, ACKED, "1.1.1.1/24"), Errno::EEXIST, Some("ipv4: Address already assigned"), None),
        (
            Req::new(RTM_NEWADDR, ACKED | NLM_F_REPLACE | NLM_F_EXCL, "1.1.1.1/24"),
            Errno::EEXIST,
            Some("ipv4: Address already assigned"),
            None,
        ),
        (
            new("9.1.1.1/24").raw(IFA_FLAGS, &0x400_u32.to_ne_bytes()),
            Errno::EINVAL,
            Some("ipv4: Multicast auto join failed"),
            None,
        ),
        (Req::new(RTM_DELADDR, ACKED, "1.1.1.7/24"), Errno::EADDRNOTAVAIL, Some("ipv4: Address not found"), None),
        (
            Req::new(RTM_DELADDR, ACKED, "1.1.1.1/24").raw(IFA_LABEL, b"x\0"),
            Errno::EADDRNOTAVAIL,
            Some("ipv4: Address not found"),
            None,
        ),
        (
            Req::new(RTM_DELADDR, ACKED, "1.1.1.1/25").addr(IFA_ADDRESS, "1.1.1.1"),
            Errno::EADDRNOTAVAIL,
            Some("ipv4: Address not found"),
            None,
        ),
        (Req::header(RTM_DELADDR, ACKED, 24, 77), Errno::ENODEV, Some("ipv4: Device not found"), None),
        (Req::new(RTM_DELADDR, ACKED, "").raw(IFA_LOCAL, b"1"), Errno::ERANGE, Some(policy), Some(24)),
    ];
    let before = world.list();
    world.events();
    for (at, (request, errno, text, offset)) in cases.into_iter().enumerate() {
        let answer = world.ask(&request.done());
        assert_eq!(answer, (Err(errno), text.map(str::to_owned), offset), "case {at}");
    }
    assert_eq!((world.list(), world.events()), (before, Vec::new()), "what is refused leaves nothing behind");
    let short =
        Builder::message(&MsgHeader::request(RTM_NEWADDR, CREATE, SEQ)).put_raw(&[2, 24, 0, 0]).clone().finish();
    assert_eq!(world.ask(&short).1.as_deref(), Some("Invalid header length"));
    assert_eq!(world.ask(&new("0.0.0.0/24").done()).0, Ok(()), "0.0.0.0 does nothing");
    assert_eq!(world.ask(&Req::header(RTM_NEWADDR, CREATE, 24, 99).addr(IFA_LOCAL, "0.0.0.0").done()).0, Ok(()));
    assert_eq!(world.list(), ["1.1.1.1/24 80"]);
}

#[test]
fn an_address_is_the_bytes_that_linux_sends() {
    let world = World::new();
    let request = Req::new(RTM_NEWADDR, CREATE | NLM_F_ECHO, "10.1.1.8/24")
        .addr(IFA_BROADCAST, "10.1.1.255")
        .raw(IFA_PROTO, &[3])
        .raw(IFA_RT_PRIORITY, &5_u32.to_ne_bytes());
    let answers = common::talk(&world.socket, &request.done(), &world.client);
    let echo = Messages::new(&answers[0].bytes).next().unwrap();
    assert_eq!((echo.header.ty, echo.header.flags, echo.header.seq), (RTM_NEWADDR, 0, SEQ));
    let stamp = 100_000_u32.to_ne_bytes();
    let mut want = Builder::bare();
    want.put_raw(&[2, 24, 0x80, 0, 2, 0, 0, 0])
        .put(1, &[10, 1, 1, 8])
        .put(2, &[10, 1, 1, 8])
        .put(4, &[10, 1, 1, 255])
        .put(3, b"d0\0")
        .put(11, &[3])
        .put(8, &[0x80, 0, 0, 0])
        .put(9, &[5, 0, 0, 0])
        .put(6, &[&[0xff; 8][..], &stamp, &stamp].concat());
    assert_eq!(echo.payload(), want.finish());
}

#[test]
fn secondaries_go_with_their_primary_and_are_told_first() {
    let world = World::new();
    for text in ["1.1.1.1/24", "5.5.5.5/24", "1.1.1.2/24", "1.1.1.3/24"] {
        world.add(text).unwrap();
    }
    assert_eq!(world.list(), ["1.1.1.1/24 80", "5.5.5.5/24 80", "1.1.1.2/24 81", "1.1.1.3/24 81"]);
    world.events();
    world.del("1.1.1.1/24").unwrap();
    assert_eq!(world.events(), ["-1.1.1.2 81", "-1.1.1.3 81", "-1.1.1.1 80"]);
    assert_eq!(world.list(), ["5.5.5.5/24 80"]);
}

#[test]
fn lifetimes_run_out() {
    let world = World::new();
    let add = |text, preferred, valid| {
        assert_eq!(world.ask(&Req::new(RTM_NEWADDR, CREATE, text).life(preferred, valid).done()).0, Ok(()));
    };
    add("1.1.1.1/24", 2, 4);
    add("1.1.1.2/24", u32::MAX, u32::MAX);
    add("2.2.2.2/24", 0, u32::MAX);
    add("3.3.3.3/24", 3, u32::MAX);
    assert_eq!(world.list(), ["1.1.1.1/24 0", "2.2.2.2/24 a0", "3.3.3.3/24 80", "1.1.1.2/24 81"]);
    world.events();
    let pass = |seconds| {
        world.clock.advance(Duration::from_secs(seconds));
        let next = world.stack.run_timers();
        (world.events(), next.map(|n| n.as_secs()))
    };
    assert_eq!(pass(1), (vec![], Some(1)));
    assert_eq!(pass(1), (vec!["+1.1.1.1 20 caused".into()], Some(2)));
    // Changed in time: what was to be its end is none.
    let change = Req::new(RTM_NEWADDR, ACKED | NLM_F_REPLACE, "1.1.1.1/24").life(5, 5);
    assert_eq!(world.ask(&change.done()).0, Ok(()));
    assert_eq!(world.events(), ["+1.1.1.1 0"]);
    assert_eq!(pass(2), (vec![], Some(3)));
    assert_eq!(pass(3).0, ["-1.1.1.2 81 caused", "-1.1.1.1 0 caused"], "an end takes the secondaries along");
    assert_eq!(world.list(), ["2.2.2.2/24 a0", "3.3.3.3/24 80"]);
}

#[test]
fn groups_are_joined_for_addresses_and_by_devices_that_are_up() {
    let world = World::new();
    let join = 0x400_u32.to_ne_bytes();
    let auto = |text: &str| Req::new(RTM_NEWADDR, CREATE, text).raw(IFA_FLAGS, &join).done();
    assert_eq!(world.ask(&auto("239.1.1.1/24")).0, Ok(()));
    assert_eq!(world.events(), ["+239.1.1.1 group caused", "+239.1.1.1 480"]);
    assert_eq!(world.ask(&auto("239.1.1.1/25")).0, Err(Errno::EADDRINUSE));
    let lists = || pernet_stack::proc_net_file(&world.stack, &world.net, "dev_mcast").unwrap();
    world.up(true);
    assert_eq!(world.events(), ["+224.0.0.1 group caused"]);
    let order: Vec<String> = lists().lines().filter_map(|l| l.split(' ').next_back().map(str::to_owned)).collect();
    assert!(order.ends_with(&["01005e000001".to_owned()]) && order.contains(&"01005e010101".to_owned()), "{order:?}");
    world.up(false);
    assert_eq!(world.events(), ["-224.0.0.1 group caused"]);
    assert!(!lists().contains("01005e"), "a device that is down hears no group");
    world.del("239.1.1.1/24").unwrap();
    assert_eq!(world.events(), ["-239.1.1.1 group", "-239.1.1.1 480"].map(|t| t.replace("group", "group caused")));
    for i in 0..20 {
        assert_eq!(world.ask(&auto(&format!("239.2.{i}.1/24"))).0, Ok(()));
    }
    assert_eq!(world.ask(&auto("239.2.99.1/24")).0, Err(Errno::ENOBUFS));
}

#[test]
fn a_listing_that_was_disturbed_says_so() {
    let world = World::new();
    for i in 0..600 {
        world.add(&format!("10.{}.{}.1/24", i / 250, i % 250)).unwrap();
    }
    let open = || world.system.1.open(&world.net, Protocol::Route, &world.client.cred());
    // A socket of its own: how much a datagram holds is as much as its owner once asked for.
    let reader = open();
    reader.send(&Req::header(RTM_GETADDR, DUMP, 0, 0).done(), None, &world.client).unwrap();
    let flags = |datagram: Vec<u8>| Messages::new(&datagram).map(|m| m.header.flags).collect::<Vec<_>>();
    let mut all = flags(reader.recv(4096).unwrap().unwrap().bytes);
    assert!(all.iter().all(|f| *f == NLM_F_MULTI));
    let ack = common::talk(&open(), &Req::new(RTM_NEWADDR, CREATE, "11.1.1.1/24").done(), &world.client);
    assert_eq!(common::got(&ack), [common::ack()]);
    while let Some(datagram) = reader.recv(4096).unwrap() {
        all.extend(flags(datagram.bytes));
    }
    assert_eq!(all.last(), Some(&(NLM_F_MULTI | NLM_F_DUMP_INTR)));
    assert_eq!(all.len(), 602, "every address once, and the end");
}
