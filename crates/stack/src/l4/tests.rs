//! Sockets in two namespaces with a wire between, on a clock that the test moves.

mod sent;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pernet::{Cred, Namespaces, NetRef, Origin};

use super::options::{Opt, SOL_IP, SOL_SOCKET};
use super::user::{InetProtocol, InetSocket, PingSocket, RawSocket, SocketError, UdpSocket};
use crate::dev::{FlagChange, IfFlags, KindSpec, LinkChange, NewLink, Stack, VethPeer};
use crate::inet::NewAddr4;
use crate::rtnl::{Clock, ManualClock};
use crate::{FilterInstruction, LinkAddr, PacketSocket, RingMemory, Root, errno};

struct Shared(Arc<ManualClock>);

impl Clock for Shared {
    fn now(&self) -> Duration {
        self.0.now()
    }
}

struct World {
    stack: Stack,
    clock: Arc<ManualClock>,
    a: NetRef,
    b: NetRef,
    _system: Namespaces,
}

impl World {
    /// 10.0.0.1 in `a`, 10.0.0.2 in `b`.
    fn new() -> Self {
        let system = Namespaces::new();
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1000));
        let stack = Stack::register_with_clock(&system, Box::new(Shared(Arc::clone(&clock)))).unwrap();
        let net = || system.create(&Cred::root(system.init_user_ns())).unwrap();
        let world = Self { a: net(), b: net(), stack, clock, _system: system };
        let end = |net: &NetRef| LinkChange {
            name: Some("e0".into()),
            addr_gen_mode: Some(1),
            net: Some(net.clone()),
            ..LinkChange::default()
        };
        let peer = VethPeer { change: Some(end(&world.b)), ..VethPeer::default() };
        let mut new = NewLink::new(KindSpec::Veth(Box::new(peer)));
        new.change = LinkChange { net: None, ..end(&world.a) };
        world.stack.rtnl(Origin::KERNEL).new_link(&world.a, &new).unwrap();
        for (net, last) in [(&world.a, 1), (&world.b, 2)] {
            for device in ["lo", "e0"] {
                world.up(net, device);
            }
            let ifindex = world.stack.links(net).unwrap().by_name("e0").unwrap().index();
            let broadcast = Some([10, 0, 0, 255].into());
            let new = NewAddr4 { broadcast, ..NewAddr4::new(ifindex, [10, 0, 0, last].into(), 24) };
            world.stack.rtnl(Origin::KERNEL).new_addr4(net, &new).unwrap();
        }
        world.stack.run_packets();
        world
    }

    fn up(&self, net: &NetRef, device: &str) {
        let up = FlagChange { flags: IfFlags::UP, mask: IfFlags::UP };
        let change = LinkChange { flags: Some(up), ..LinkChange::default() };
        let index = self.stack.links(net).unwrap().by_name(device).unwrap().index();
        self.stack.rtnl(Origin::KERNEL).set_link(net, index, &change).unwrap();
    }

    fn pass(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
        let _ = self.stack.run_timers();
    }

    fn udp(&self, net: &NetRef, addr: &str) -> UdpSocket {
        UdpSocket::bind(&self.stack, net, addr.parse().unwrap()).unwrap()
    }

    fn bare(&self, net: &NetRef, protocol: InetProtocol) -> InetSocket {
        InetSocket::new(&self.stack, net.clone(), false, protocol, 0)
    }
}

fn at(addr: &str) -> SocketAddr {
    addr.parse().unwrap()
}

fn errno_of<T: std::fmt::Debug>(result: Result<T, SocketError>) -> i32 {
    result.unwrap_err().errno()
}

fn set(socket: &InetSocket, opt: Opt, number: i32) {
    socket.set_option(opt.0, opt.1, &number.to_ne_bytes(), &Root).unwrap();
}

#[test]
fn a_packet_crosses_a_wire_and_its_answer_comes_back() {
    let world = World::new();
    let server = world.udp(&world.b, "0.0.0.0:53");
    let client = world.udp(&world.a, "0.0.0.0:0");
    assert_eq!(client.send_to(b"who?", at("10.0.0.2:53")), Ok(4));
    let (question, from) = server.try_recv_from().unwrap();
    assert_eq!((&*question, from), (&b"who?"[..], SocketAddr::new([10, 0, 0, 1].into(), client.local_addr().port())));
    let long: Vec<u8> = (0..1472u32).map(|n| n as u8).collect();
    server.send_to(&long, from).unwrap();
    assert_eq!(client.try_recv_from().unwrap(), (long, at("10.0.0.2:53")));
    assert_eq!(errno_of(client.try_recv_from()), errno::EAGAIN);
    assert_eq!(errno_of(client.send_to(b"x", at("10.0.0.2:0"))), errno::EINVAL);
    assert_eq!(errno_of(client.send_to(&[0; 65508], at("10.0.0.2:53"))), errno::EMSGSIZE);
    assert_eq!(errno_of(client.send_to(b"x", at("192.0.2.1:53"))), errno::ENETUNREACH);
    assert_eq!(errno_of(client.send_to(b"x", at("10.0.0.255:53"))), errno::EACCES);
}

#[test]
fn nobody_there_is_told_to_those_who_are_connected() {
    let world = World::new();
    let client = world.udp(&world.a, "0.0.0.0:0");
    client.send_to(b"x", at("10.0.0.2:9")).unwrap();
    assert_eq!(errno_of(client.try_recv_from()), errno::EAGAIN);
    client.connect(at("10.0.0.2:9")).unwrap();
    assert_eq!(client.local_addr().ip(), IpAddr::from([10, 0, 0, 1]));
    client.send(b"x").unwrap();
    assert_eq!(errno_of(client.send(b"x")), errno::ECONNREFUSED);
    client.send(b"x").unwrap();
    assert_eq!(errno_of(client.try_recv_from()), errno::ECONNREFUSED);
    assert_eq!(errno_of(client.try_recv_from()), errno::EAGAIN);
    let inet = client.as_inet();
    inet.connect(None).unwrap();
    assert_eq!((inet.local_addr(), inet.peer_addr()), (at("0.0.0.0:0"), None));
    assert_eq!(errno_of(client.send(b"x")), errno::EDESTADDRREQ);
}

#[test]
fn errors_are_queued_for_those_who_ask() {
    let world = World::new();
    let client = world.bare(&world.a, InetProtocol::Udp);
    set(&client, Opt::IP_RECVERR, 1);
    client.send(b"hello", Some(at("10.0.0.2:9")), &[], 0, &Root).unwrap();
    assert_eq!(client.readiness(), super::user::Readiness { readable: false, error: true });
    assert_eq!(client.take_error().map(SocketError::errno), Some(errno::ECONNREFUSED));
    let error = client.recv_error().unwrap();
    assert_eq!((error.errno, error.ty, error.code), (errno::ECONNREFUSED, 3, 3));
    assert_eq!((error.offender, error.to), (Some([10, 0, 0, 2].into()), Some(at("10.0.0.2:9"))));
    assert_eq!(error.payload, b"hello");
    assert!(client.recv_error().is_none());
    // What the host itself finds too large.
    set(&client, Opt::IP_MTU_DISCOVER, 2);
    let sent = client.send(&[0; 2000], Some(at("10.0.0.2:9")), &[], 0, &Root);
    assert_eq!(errno_of(sent), errno::EMSGSIZE);
    let error = client.recv_error().unwrap();
    assert_eq!((error.errno, error.info, error.origin), (errno::EMSGSIZE, 1500, crate::ErrorOrigin::Local));
}

#[test]
fn everybody_hears_a_broadcast_that_was_permitted() {
    let world = World::new();
    let hearers: Vec<InetSocket> = (0..3)
        .map(|_| {
            let socket = world.bare(&world.b, InetProtocol::Udp);
            set(&socket, Opt::REUSEADDR, 1);
            socket.bind(at("0.0.0.0:67"), &Root).unwrap();
            socket
        })
        .collect();
    let sender = world.bare(&world.a, InetProtocol::Udp);
    set(&sender, Opt::BROADCAST, 1);
    sender.send(b"all", Some(at("10.0.0.255:67")), &[], 0, &Root).unwrap();
    for hearer in &hearers {
        assert_eq!(hearer.recv().unwrap().unwrap().payload(), b"all");
    }
    sender.send(b"one", Some(at("10.0.0.2:67")), &[], 0, &Root).unwrap();
    let heard = hearers.iter().filter(|hearer| hearer.recv().unwrap().is_some()).count();
    assert_eq!(heard, 1);
}

#[test]
fn a_group_is_heard_by_those_who_joined() {
    let world = World::new();
    let request = |last: u8| [[239, 1, 2, 3], [10, 0, 0, last]].concat();
    let member = world.bare(&world.b, InetProtocol::Udp);
    member.bind(at("0.0.0.0:6000"), &Root).unwrap();
    let sender = world.bare(&world.a, InetProtocol::Udp);
    sender.set_option(SOL_IP, 32, &[10, 0, 0, 1], &Root).unwrap();
    let send = |text: &[u8]| sender.send(text, Some(at("239.1.2.3:6000")), &[], 0, &Root);
    send(b"too early").unwrap();
    assert!(member.recv().unwrap().is_none());
    member.set_option(SOL_IP, 35, &request(2), &Root).unwrap();
    assert_eq!(errno_of(member.set_option(SOL_IP, 35, &request(2), &Root)), errno::EADDRINUSE);
    assert_eq!(errno_of(member.set_option(SOL_IP, 35, &request(9), &Root)), errno::ENODEV);
    send(b"now").unwrap();
    assert_eq!(member.recv().unwrap().unwrap().payload(), b"now");
    // Another socket of the host, which did not join, hears of it unless it says that it does not want to.
    let guest = world.bare(&world.b, InetProtocol::Udp);
    set(&guest, Opt::IP_MULTICAST_ALL, 0);
    guest.bind(at("0.0.0.0:6001"), &Root).unwrap();
    sender.send(b"guest", Some(at("239.1.2.3:6001")), &[], 0, &Root).unwrap();
    assert!(guest.recv().unwrap().is_none());
    set(&guest, Opt::IP_MULTICAST_ALL, 1);
    sender.send(b"guest", Some(at("239.1.2.3:6001")), &[], 0, &Root).unwrap();
    assert!(guest.recv().unwrap().is_some());
    member.set_option(SOL_IP, 36, &request(2), &Root).unwrap();
    send(b"too late").unwrap();
    assert!(member.recv().unwrap().is_none());
}

#[test]
fn a_full_buffer_drops_and_counts() {
    let world = World::new();
    let server = world.udp(&world.b, "0.0.0.0:53");
    let inet = server.as_inet();
    set(inet, Opt::RXQ_OVFL, 1);
    inet.set_option(SOL_SOCKET, 8, &4000i32.to_ne_bytes(), &Root).unwrap();
    let client = world.udp(&world.a, "0.0.0.0:0");
    for _ in 0..20 {
        client.send_to(b"x", at("10.0.0.2:53")).unwrap();
    }
    let count = std::iter::from_fn(|| inet.recv().unwrap()).count();
    assert_eq!(count, 9); // 8000 / 832
    client.send_to(b"x", at("10.0.0.2:53")).unwrap();
    let packet = inet.recv().unwrap().unwrap();
    let drops = inet.control(packet.meta()).into_iter().find(|c| c.kind == Opt::RXQ_OVFL.1).unwrap();
    assert_eq!(drops.data, 11u32.to_ne_bytes());
}

#[test]
fn what_is_said_beside_a_packet_arrives() {
    let world = World::new();
    let server = world.bare(&world.b, InetProtocol::Udp);
    server.bind(at("0.0.0.0:53"), &Root).unwrap();
    for opt in [Opt::IP_PKTINFO, Opt::IP_RECVTTL, Opt::IP_RECVTOS, Opt::IP_RECVORIGDSTADDR, Opt(SOL_SOCKET, 29)] {
        set(&server, opt, 1);
    }
    let client = world.bare(&world.a, InetProtocol::Udp);
    let said = |kind, data: &[u8]| crate::ControlMessage { level: SOL_IP, kind, data: data.to_vec() };
    let control = [said(2, &33i32.to_ne_bytes()), said(1, &16i32.to_ne_bytes())];
    client.send(b"z", Some(at("10.0.0.2:53")), &control, 0, &Root).unwrap();
    let packet = server.recv().unwrap().unwrap();
    let got = server.control(packet.meta());
    let index = packet.meta().ifindex;
    let kinds: Vec<i32> = got.iter().map(|c| c.kind).collect();
    assert_eq!(kinds, [29, 8, 2, 1, 20]);
    assert_eq!(got[1].data, [&index.to_ne_bytes()[..], &[10, 0, 0, 2, 10, 0, 0, 2]].concat());
    assert_eq!((&*got[2].data, &*got[3].data), (&33i32.to_ne_bytes()[..], &[16][..]));
    assert_eq!(got[4].data[..8], [2, 0, 0, 53, 10, 0, 0, 2]);
    let refused = client.send(b"z", Some(at("10.0.0.2:53")), &[said(2, &0i32.to_ne_bytes())], 0, &Root);
    assert_eq!(errno_of(refused), errno::EINVAL);
}

#[test]
fn a_checksum_covers_what_the_sender_says_and_no_less_than_the_receiver_wants() {
    let world = World::new();
    let server = world.bare(&world.b, InetProtocol::UdpLite);
    let by_wire = world.bare(&world.b, InetProtocol::Raw(136));
    let client = world.bare(&world.a, InetProtocol::UdpLite);
    assert_eq!(server.bind(at("0.0.0.0:53"), &Root), Ok(()));
    let shown = |opt: Opt| client.option(136, opt.1, 4).unwrap();
    assert_eq!(shown(Opt::UDPLITE_SEND_CSCOV), 0i32.to_ne_bytes());
    // What Linux 6.18 puts into the header of 4 bytes, by what is asked for.
    let fields = [(None, 12), (Some(0), 0), (Some(1), 8), (Some(-1), 8), (Some(9), 9), (Some(12), 12), (Some(200), 12)];
    for (asked, field) in fields {
        if let Some(asked) = asked {
            set(&client, Opt::UDPLITE_SEND_CSCOV, asked);
        }
        client.send(b"abcd", Some(at("10.0.0.2:53")), &[], 0, &Root).unwrap();
        let wire = by_wire.recv().unwrap().unwrap();
        assert_eq!(wire.payload()[24..26], u16::to_be_bytes(field), "{asked:?}");
        assert_eq!(server.recv().unwrap().unwrap().payload(), b"abcd");
    }
    assert_eq!(shown(Opt::UDPLITE_SEND_CSCOV), 200i32.to_ne_bytes());
    // The same packets by hand: their checksums are looked at.
    let hand = world.bare(&world.a, InetProtocol::Raw(136));
    let heard = |field: u16, right: bool| {
        let mut packet = [&[0, 9, 0, 53], &field.to_be_bytes()[..], &[0, 0], b"abcd"].concat();
        let covered = if field == 0 { 12 } else { usize::from(field).min(12) };
        let sum = crate::l3::pseudo_header_sum(at("10.0.0.1:0").ip(), at("10.0.0.2:0").ip(), 136, 12);
        let sum = crate::l3::internet_checksum(&packet[..covered], sum) ^ u16::from(!right);
        packet[6..8].copy_from_slice(&sum.to_be_bytes());
        hand.send(&packet, Some(at("10.0.0.2:0")), &[], 0, &Root).unwrap();
        server.recv().unwrap().is_some()
    };
    for (field, ok) in [(0, true), (7, false), (8, true), (11, true), (12, true), (13, false)] {
        assert_eq!((heard(field, true), heard(field, false)), (ok, false), "{field}");
    }
    for (least, ok) in
        [(0, [true, false, false, true]), (9, [true, false, true, true]), (90, [true, false, false, true])]
    {
        set(&server, Opt::UDPLITE_RECV_CSCOV, least);
        assert_eq!([0, 8, 9, 12].map(|field| heard(field, true)), ok, "{least}");
    }
    // Ports are their own, and nobody there is told as with UDP.
    let other = world.udp(&world.b, "0.0.0.0:53");
    assert_eq!(errno_of(other.try_recv_from()), errno::EAGAIN);
    let opt = Opt::UDPLITE_SEND_CSCOV;
    assert_eq!(errno_of(other.as_inet().set_option(136, opt.1, &8i32.to_ne_bytes(), &Root)), errno::ENOPROTOOPT);
    client.connect(Some(at("10.0.0.2:54"))).unwrap();
    client.send(b"x", None, &[], 0, &Root).unwrap();
    assert_eq!(errno_of(client.recv()), errno::ECONNREFUSED);
}

#[test]
fn pieces_wait_for_the_cork() {
    let world = World::new();
    let server = world.udp(&world.b, "0.0.0.0:53");
    let client = world.bare(&world.a, InetProtocol::Udp);
    set(&client, Opt::UDP_CORK, 1);
    client.send(b"one ", Some(at("10.0.0.2:53")), &[], 0, &Root).unwrap();
    client.send(b"two", None, &[], 0, &Root).unwrap();
    assert_eq!(errno_of(server.try_recv_from()), errno::EAGAIN);
    set(&client, Opt::UDP_CORK, 0);
    assert_eq!(server.try_recv_from().unwrap().0, b"one two");
    client.send(b"three ", Some(at("10.0.0.2:53")), &[], 0x8000, &Root).unwrap();
    client.send(b"four", None, &[], 0, &Root).unwrap();
    assert_eq!(server.try_recv_from().unwrap().0, b"three four");
    set(&client, Opt::UDP_SEGMENT, 3);
    client.send(b"abcdefgh", Some(at("10.0.0.2:53")), &[], 0, &Root).unwrap();
    let parts: Vec<Vec<u8>> = std::iter::from_fn(|| server.try_recv_from().ok()).map(|(part, _)| part).collect();
    assert_eq!(parts, [&b"abc"[..], b"def", b"gh"]);
}

#[test]
fn an_echo_is_answered_to_the_socket_that_asked() {
    let world = World::new();
    let pings = [1, 2].map(|_| PingSocket::new(&world.stack, &world.a, [0, 0, 0, 0].into()).unwrap());
    let raw = RawSocket::new(&world.stack, &world.a, false, 1);
    let mut request = [8, 0, 0, 0, 0, 0, 0, 7].to_vec();
    request.extend(b"payload");
    pings[1].send_to(&request, at("10.0.0.2:0")).unwrap();
    assert_eq!(errno_of(pings[0].try_recv_from()), errno::EAGAIN);
    let (answer, from) = pings[1].try_recv_from().unwrap();
    assert_eq!((answer[0], &answer[6..], from), (0, &request[6..], at("10.0.0.2:0")));
    assert_eq!(u16::from_be_bytes([answer[4], answer[5]]), pings[1].local_addr().port());
    // Raw sockets get a copy, with the network header.
    let (copy, from) = raw.try_recv_from().unwrap();
    assert_eq!((copy[0], copy[9], &copy[20..], from), (0x45, 1, &answer[..], at("10.0.0.2:0")));
    assert_eq!(errno_of(pings[0].send_to(&[0; 8], at("10.0.0.2:0"))), errno::EINVAL);
    raw.as_inet().set_option(255, 1, &1u32.to_ne_bytes(), &Root).unwrap();
    pings[1].send_to(&request, at("10.0.0.2:0")).unwrap();
    assert_eq!(errno_of(raw.try_recv_from()), errno::EAGAIN);
}

#[test]
fn a_raw_socket_speaks_a_protocol_of_its_own() {
    let world = World::new();
    let one = RawSocket::new(&world.stack, &world.a, false, 253);
    let other = RawSocket::new(&world.stack, &world.b, false, 253);
    one.send_to(b"strange", at("10.0.0.2:0")).unwrap();
    let (packet, from) = other.try_recv_from().unwrap();
    assert_eq!((packet[9], &packet[20..], from), (253, &b"strange"[..], at("10.0.0.1:0")));
    // With a header of its own.
    set(one.as_inet(), Opt::IP_HDRINCL, 1);
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 9, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend(b"own");
    one.send_to(&packet, at("10.0.0.2:0")).unwrap();
    let (packet, _) = other.try_recv_from().unwrap();
    assert_eq!((packet[8], &packet[20..]), (9, &b"own"[..]));
    // Nobody else knows it.
    drop(other);
    one.as_inet().connect(Some(at("10.0.0.2:0"))).unwrap();
    set(one.as_inet(), Opt::IP_HDRINCL, 0);
    one.send(b"x").unwrap();
    assert_eq!(errno_of(one.send(b"x")), 92); // ENOPROTOOPT: "protocol unreachable"
}

#[test]
fn whoever_waits_is_woken() {
    let world = World::new();
    let server = world.udp(&world.b, "0.0.0.0:53");
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    server.as_inet().on_ready(Some(Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    })));
    let client = world.udp(&world.a, "0.0.0.0:0");
    client.send_to(b"x", at("10.0.0.2:53")).unwrap();
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    server.try_recv_from().unwrap();
    assert_eq!(errno_of(server.recv_timeout(Duration::from_millis(5))), errno::EAGAIN);
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| server.recv_from().unwrap().0);
        std::thread::sleep(Duration::from_millis(10));
        client.send_to(b"late", at("10.0.0.2:53")).unwrap();
        assert_eq!(answer.join().unwrap(), b"late");
    });
    world.clock.advance(Duration::from_secs(600));
    let _ = world.stack.run_timers();
    client.send_to(b"later", at("10.0.0.2:53")).unwrap();
    assert_eq!(server.try_recv_from().unwrap().0, b"later");
}

#[test]
fn what_came_after_the_end_is_refused_and_nobody_hears_it_twice() {
    let world = World::new();
    let server = world.bare(&world.b, InetProtocol::Udp);
    server.bind(at("0.0.0.0:53"), &Root).unwrap();
    let (raw, late) = (world.bare(&world.a, InetProtocol::Raw(1)), world.bare(&world.a, InetProtocol::Raw(1)));
    let client = world.udp(&world.a, "0.0.0.0:0");
    client.connect(at("10.0.0.2:53")).unwrap();
    client.send(b"x").unwrap();
    let packet = server.recv().unwrap().unwrap();
    server.close_before(packet);
    assert_eq!(errno_of(client.try_recv_from()), errno::ECONNREFUSED);
    // The message that says so went to both raw sockets.
    assert!(raw.recv().unwrap().is_some());
    let packet = late.recv().unwrap().unwrap();
    late.close_before(packet);
    assert!(raw.recv().unwrap().is_none());
}

#[test]
fn frames_are_seen_where_they_pass() {
    let world = World::new();
    let index = |net: &NetRef| world.stack.links(net).unwrap().by_name("e0").unwrap().index();
    let socket = |net: &NetRef, cooked, protocol| PacketSocket::new(&world.stack, net.clone(), cooked, protocol, 0);
    let (sender, hearer) = (socket(&world.a, false, 3), socket(&world.b, true, 0x88b5));
    sender.bind(index(&world.a), 0).unwrap();
    let other = socket(&world.a, false, 3);
    let mut frame = [0xff; 60];
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
    assert_eq!(sender.send(&frame, None), Ok(60));
    // One's own is not seen; another sees it go.
    assert!(sender.recv().unwrap().is_none());
    let seen = other.recv().unwrap().unwrap();
    assert_eq!((seen.bytes.as_slice(), seen.from.kind), (&frame[..], 4));
    let seen = hearer.recv().unwrap().unwrap();
    let from =
        LinkAddr { protocol: 0x88b5, ifindex: index(&world.b), hatype: 1, kind: 1, addr: vec![2, 0, 0, 0, 0, 9] };
    assert_eq!((seen.bytes.as_slice(), seen.from), (&frame[14..], from));
    assert_eq!(errno_of(other.send(&frame, None)), errno::ENXIO);
    assert_eq!(errno_of(sender.send(&[0; 1515], None)), errno::EMSGSIZE);
    assert_eq!(errno_of(sender.send(&[0; 13], None)), errno::EINVAL);
    // Only the first bytes of what a filter lets through.
    let only = |k| [FilterInstruction { code: 0x06, jt: 0, jf: 0, k }];
    other.set_filter(Some(&only(20))).unwrap();
    sender.send(&frame, None).unwrap();
    let seen = other.recv().unwrap().unwrap();
    assert_eq!((seen.bytes.len(), seen.len), (20, 60));
    other.set_filter(Some(&only(0))).unwrap();
    sender.send(&frame, None).unwrap();
    assert!(other.recv().unwrap().is_none());
    assert_eq!(other.option(6, 8, &[]).unwrap(), [2u32, 0].map(u32::to_ne_bytes).concat());
    // The device goes down.
    let down =
        LinkChange { flags: Some(FlagChange { flags: IfFlags::NONE, mask: IfFlags::UP }), ..LinkChange::default() };
    world.stack.rtnl(Origin::KERNEL).set_link(&world.a, index(&world.a), &down).unwrap();
    world.stack.run_packets();
    assert_eq!(errno_of(sender.recv()), errno::ENETDOWN);
    assert_eq!(errno_of(sender.send(&frame, None)), errno::ENETDOWN);
}

/// A ring's memory in this process.
#[derive(Default)]
struct Memory(Mutex<Vec<u8>>);

impl Memory {
    fn word(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        self.read(at, &mut word);
        u32::from_ne_bytes(word)
    }
}

impl RingMemory for Memory {
    fn resize(&self, len: usize) -> Result<(), i32> {
        *self.0.lock().unwrap() = vec![0; len];
        Ok(())
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.0.lock().unwrap()[at..at + into.len()]);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.0.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// What a ring begins with: a socket that sends into `b`, one there that hears, its memory, and a frame.
fn ring(world: &World, version: u32, request: &[u32]) -> (PacketSocket, PacketSocket, Arc<Memory>, [u8; 60]) {
    let index = |net: &NetRef| world.stack.links(net).unwrap().by_name("e0").unwrap().index();
    let sender = PacketSocket::new(&world.stack, world.a.clone(), false, 3, 0);
    sender.bind(index(&world.a), 0).unwrap();
    let hearer = PacketSocket::new(&world.stack, world.b.clone(), false, 0x88b5, 0);
    let memory = Arc::new(Memory::default());
    hearer.share(memory.clone());
    hearer.set_option(10, &version.to_ne_bytes()).unwrap();
    let request: Vec<u8> = request.iter().flat_map(|word| word.to_ne_bytes()).collect();
    hearer.set_option(5, &request).unwrap();
    assert_eq!(errno_of(hearer.set_option(10, &[0; 4])), errno::EBUSY);
    let mut frame = [0xff; 60];
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
    (sender, hearer, memory, frame)
}

#[test]
fn a_ring_takes_frames_as_long_as_it_has_places() {
    let world = World::new();
    let (sender, hearer, memory, frame) = ring(&world, 1, &[4096, 1, 2048, 2]);
    assert_eq!((hearer.ring_len(), hearer.ring_readable()), (4096, Some(false)));
    for _ in 0..3 {
        sender.send(&frame, None).unwrap();
    }
    assert!(hearer.recv().unwrap().is_none());
    assert_eq!((hearer.ring_readable(), memory.word(0), memory.word(2048)), (Some(true), 1, 1));
    // Length, as much of it as is there, where the frame and its network header begin.
    assert_eq!((memory.word(4), memory.word(8), memory.word(12)), (60, 60, 80 << 16 | 66));
    let mut got = [0; 60];
    memory.read(66, &mut got);
    assert_eq!(got, frame);
    // Of three one was lost.
    assert_eq!(hearer.option(6, 8, &[]).unwrap(), [3u32, 1].map(u32::to_ne_bytes).concat());
    memory.write(0, &0u32.to_ne_bytes());
    memory.write(2048, &0u32.to_ne_bytes());
    assert_eq!(hearer.ring_readable(), Some(false));
    sender.send(&frame, None).unwrap();
    assert_eq!((hearer.ring_readable(), memory.word(0), memory.word(2048)), (Some(true), 1, 0));
}

#[test]
fn a_block_is_given_away_when_it_is_full_or_its_time_is_over() {
    let world = World::new();
    let (sender, hearer, memory, frame) = ring(&world, 2, &[4096, 2, 2048, 4, 50, 0, 0]);
    sender.send(&frame, None).unwrap();
    assert_eq!((hearer.ring_readable(), memory.word(8)), (Some(false), 0));
    world.pass(60);
    // Number of frames, where the first is, and where the last one ends.
    assert_eq!((hearer.ring_readable(), memory.word(8)), (Some(true), 0x21));
    assert_eq!((memory.word(12), memory.word(16), memory.word(20)), (1, 48, 48 + 144));
    assert_eq!((memory.word(48), memory.word(48 + 12), memory.word(48 + 24)), (0, 60, 96 << 16 | 82));
    // 28 fill the other block; then there is none.
    for _ in 0..30 {
        sender.send(&frame, None).unwrap();
    }
    assert_eq!((memory.word(4096 + 8), memory.word(4096 + 12)), (1, 28));
    assert_eq!(hearer.option(6, 12, &[]).unwrap(), [31u32, 2, 1].map(u32::to_ne_bytes).concat());
    memory.write(8, &0u32.to_ne_bytes());
    sender.send(&frame, None).unwrap();
    world.pass(60);
    assert_eq!((memory.word(8), memory.word(12)), (0x21, 1));
}

#[test]
fn a_ring_sends_what_is_in_it() {
    let world = World::new();
    let (sender, hearer, _, frame) = ring(&world, 0, &[4096, 1, 2048, 2]);
    let memory = Arc::new(Memory::default());
    sender.share(memory.clone());
    let request = [4096u32, 1, 2048, 2].map(u32::to_ne_bytes).concat();
    sender.set_option(13, &request).unwrap();
    memory.write(8, &60u32.to_ne_bytes());
    memory.write(32, &frame);
    memory.write(0, &1u64.to_ne_bytes());
    assert_eq!(sender.send(&[], None), Ok(60));
    assert_eq!((memory.word(0), hearer.ring_readable()), (0, Some(true)));
    // Longer than its place.
    memory.write(2048 + 8, &3000u32.to_ne_bytes());
    memory.write(2048, &1u64.to_ne_bytes());
    assert_eq!(errno_of(sender.send(&[], None)), errno::EMSGSIZE);
    assert_eq!(memory.word(2048), 4);
}
