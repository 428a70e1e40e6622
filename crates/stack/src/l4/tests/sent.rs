//! When packets were sent, and many that are sent as one.

use super::*;
use crate::{ControlMessage, ErrorOrigin};

const TIMESTAMPING: Opt = Opt(SOL_SOCKET, 37);
const TX: i32 = 1 << 1;
const SOFTWARE: i32 = 1 << 4;
const OPT_ID: i32 = 1 << 7;
const SCHED: i32 = 1 << 8;
const ONLY: i32 = 1 << 11;

fn times(socket: &InetSocket) -> Vec<(u32, u32, usize)> {
    std::iter::from_fn(|| socket.recv_error())
        .map(|told| {
            assert_eq!((told.errno, told.origin, told.to), (errno::ENOMSG, ErrorOrigin::Timestamping, None));
            (told.info, told.data, told.payload.len())
        })
        .collect()
}

#[test]
fn whoever_asks_is_told_when_a_packet_waits_and_when_it_is_sent() {
    let world = World::new();
    let client = world.bare(&world.a, InetProtocol::Udp);
    let send = |control: &[ControlMessage]| client.send(b"hello", Some(at("10.0.0.2:9")), control, 0, &Root);
    send(&[]).unwrap();
    assert_eq!(times(&client), []);
    set(&client, TIMESTAMPING, TX | SCHED | SOFTWARE | OPT_ID);
    for n in 0..2 {
        send(&[]).unwrap();
        assert_eq!(times(&client), [(1, n, 47), (0, n, 47)]);
    }
    // The neighbour is known by now; the time is the clock's, and it is no error.
    assert_eq!(client.take_error(), None);
    set(&client, TIMESTAMPING, TX | SOFTWARE | ONLY);
    send(&[]).unwrap();
    assert!(client.readiness().error);
    let told = client.recv_error().unwrap();
    assert_eq!((told.payload.len(), told.at), (0, world.stack.inner().clock.now()));
    let control = client.error_control(&told);
    assert_eq!(control.iter().map(|c| (c.level, c.kind, c.data.len())).collect::<Vec<_>>(), [(1, 37, 48), (0, 11, 32)]);
    // Of one packet alone.
    set(&client, TIMESTAMPING, SOFTWARE);
    let said = |flags: i32| ControlMessage { level: SOL_SOCKET, kind: 37, data: flags.to_ne_bytes().to_vec() };
    send(&[said(TX)]).unwrap();
    assert_eq!(times(&client), [(0, 0, 47)]);
    assert_eq!(errno_of(send(&[said(SOFTWARE)])), errno::EINVAL);
    let id = ControlMessage { level: SOL_SOCKET, kind: 81, data: 7u32.to_ne_bytes().to_vec() };
    assert_eq!(errno_of(send(std::slice::from_ref(&id))), errno::EINVAL);
    set(&client, TIMESTAMPING, TX | SOFTWARE | OPT_ID | ONLY);
    send(&[id]).unwrap();
    assert_eq!(times(&client), [(0, 7, 0)]);
}

#[test]
fn a_packet_that_waits_for_its_neighbour_is_sent_when_that_is_known_and_a_forwarded_one_is_nobodys() {
    let world = World::new();
    let client = world.bare(&world.a, InetProtocol::Udp);
    set(&client, TIMESTAMPING, TX | SOFTWARE | ONLY);
    client.send(b"x", Some(at("10.0.0.77:9")), &[], 0, &Root).unwrap();
    assert_eq!(times(&client), []);
    world.pass(5000);
    assert_eq!(times(&client), []);
    // In parts it is one packet still.
    client.send(&[0; 4000], Some(at("10.0.0.2:9")), &[], 0, &Root).unwrap();
    assert_eq!(times(&client), [(0, 0, 0)]);
}

#[test]
fn times_count_in_the_buffer_of_what_is_received() {
    let world = World::new();
    let client = world.bare(&world.a, InetProtocol::Udp);
    set(&client, TIMESTAMPING, TX | SOFTWARE | ONLY);
    for _ in 0..300 {
        client.send(b"x", Some(at("10.0.0.2:9")), &[], 0, &Root).unwrap();
    }
    assert_eq!(times(&client).len(), 255);
    client.send(b"x", Some(at("10.0.0.2:9")), &[], 0, &Root).unwrap();
    assert_eq!(times(&client).len(), 1);
}

#[test]
fn frames_have_times_too() {
    let world = World::new();
    let ifindex = world.stack.links(&world.a).unwrap().by_name("e0").unwrap().index();
    let socket = PacketSocket::new(&world.stack, world.a.clone(), false, 0, 0);
    socket.bind(ifindex, 0).unwrap();
    socket.set_time_option(37, &(TX | SCHED | SOFTWARE | OPT_ID).to_ne_bytes()).unwrap();
    let frame = [&[0xff; 12][..], &[0x88, 0xb5], b"hello"].concat();
    assert_eq!(socket.send(&frame, None), Ok(19));
    assert_eq!(socket.send_batch([&frame[..]; 2], None), Ok(2));
    let told: Vec<_> = std::iter::from_fn(|| socket.recv_error()).map(|t| (t.info, t.data, t.payload.len())).collect();
    assert_eq!(told, [(1, 0, 19), (0, 0, 19), (1, 1, 19), (0, 1, 19), (1, 2, 19), (0, 2, 19)]);
    assert!(!socket.has_error());
}

#[test]
fn many_packets_of_udp_are_one_until_somebody_wants_them_one_by_one() {
    let world = World::new();
    let [one, many] = [53, 54].map(|port| {
        let socket = world.bare(&world.b, InetProtocol::Udp);
        socket.bind(SocketAddr::new([0, 0, 0, 0].into(), port), &Root).unwrap();
        socket
    });
    set(&many, Opt::UDP_GRO, 1);
    let client = world.bare(&world.a, InetProtocol::Udp);
    set(&client, Opt::UDP_SEGMENT, 1000);
    let got = |socket: &InetSocket| -> Vec<(usize, Option<u16>)> {
        std::iter::from_fn(|| socket.recv().unwrap()).map(|p| (p.payload().len(), p.meta().segment)).collect()
    };
    client.send(&[7; 2500], Some(at("10.0.0.2:53")), &[], 0, &Root).unwrap();
    assert_eq!(got(&one), [(1000, None), (1000, None), (500, None)]);
    client.send(&[7; 2500], Some(at("10.0.0.2:54")), &[], 0, &Root).unwrap();
    assert_eq!(got(&many), [(2500, Some(1000))]);
    // More than a device takes as one arrives as many.
    client.send(&[7; 65_507], Some(at("10.0.0.2:54")), &[], 0, &Root).unwrap();
    assert_eq!(got(&many).len(), 66);
    let refused = |len: usize| errno_of(client.send(&vec![7; len], Some(at("10.0.0.2:54")), &[], 0, &Root));
    assert_eq!(refused(65_508), errno::EMSGSIZE);
    set(&client, Opt::UDP_SEGMENT, 10);
    assert_eq!(refused(1281), errno::EINVAL);
    set(&client, Opt::UDP_SEGMENT, 1473);
    assert_eq!(refused(3000), errno::EMSGSIZE);
    set(&client, Opt::UDP_SEGMENT, 1000);
    set(&client, Opt::NO_CHECK, 1);
    assert_eq!(refused(10), errno::EINVAL);
}
