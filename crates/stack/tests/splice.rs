//! Connections whose bytes need no segments: how the way is learnt, when it holds, and that nobody can tell the difference
//! afterwards.

use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use pernet::{NetRef, Origin};
use pernet_stack::{LinkChange, LinkStats, PacketSocket, TcpShortcut, TcpSocket, TcpState, TcpWay};

mod common;

use common::{World, world};

const EAGAIN: i32 = 11;
const EINPROGRESS: i32 = 115;
/// Bytes in a full segment with timestamps, and what its headers take on Ethernet.
const FULL: u64 = 1448;
const HEADERS: u64 = 14 + 20 + 32;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn listening(w: &World) -> TcpSocket {
    let listener = TcpSocket::new_v4(&w.stack, &w.b);
    listener.bind(addr("10.0.0.2:80"), true).unwrap();
    listener.listen(5).unwrap();
    listener
}

/// A connection from `a` to `b`, as programs have it.
fn another(w: &World, listener: &TcpSocket) -> (TcpSocket, TcpSocket) {
    let a = TcpSocket::new_v4(&w.stack, &w.a);
    a.set_inode(11);
    assert_eq!(a.connect(addr("10.0.0.2:80")), Err(EINPROGRESS));
    w.settle();
    assert_eq!(a.outcome(), Some(Ok(())));
    let (b, _) = listener.accept().unwrap();
    b.set_inode(22);
    (a, b)
}

/// A world whose neighbours know each other, and a connection in it.
fn connected() -> (World, TcpSocket, TcpSocket) {
    let w = world();
    // What a young device has to say, about groups and addresses, it says at random moments: until then ways change.
    w.pass(Duration::from_secs(10));
    let listener = listening(&w);
    let (first, _) = another(&w, &listener);
    drop(first);
    let (a, b) = another(&w, &listener);
    (w, a, b)
}

fn short(socket: &TcpSocket) -> TcpShortcut {
    match socket.way() {
        TcpWay::Short(way) => way,
        other => panic!("{other:?}"),
    }
}

fn is_short(socket: &TcpSocket) -> bool {
    matches!(socket.way(), TcpWay::Short(_))
}

/// What is sent by segments arrives.
fn says(w: &World, from: &TcpSocket, to: &TcpSocket, what: &[u8]) {
    assert_eq!(from.send(what), Ok(what.len()));
    w.settle();
    let mut got = vec![0; what.len() + 1];
    let len = to.recv(&mut got).unwrap();
    assert_eq!(&got[..len], what);
}

fn stats(w: &World, net: &NetRef) -> LinkStats {
    w.stack.links(net).unwrap().by_name("eth").unwrap().stats()
}

#[test]
fn the_handshake_shows_the_way() {
    let w = world();
    let listener = listening(&w);
    let (a, b) = another(&w, &listener);
    // Neighbours were found meanwhile, so it may be another way now; the first bytes show that it is not.
    assert!(matches!(a.way(), TcpWay::Segments));
    says(&w, &a, &b, b"hello");
    assert_eq!((short(&a).inode(), short(&b).inode()), (22, 11));
    let (c, d) = another(&w, &listener);
    assert!(is_short(&c) && is_short(&d));
}

#[test]
fn it_is_counted_as_if_segments_had_gone() {
    let (w, a, b) = connected();
    let before = (stats(&w, &w.a), stats(&w, &w.b), a.info(), b.info());
    let protocols = [w.counted(&w.a), w.counted(&w.b)];
    assert!(short(&a).advance(100_000));
    let after = (stats(&w, &w.a), stats(&w, &w.b), a.info(), b.info());
    let more = |end: usize, net: &NetRef, name: &str| w.counted(net)[name] - protocols[end][name];
    for (end, net, sent, received) in [(0, &w.a, 70, 35), (1, &w.b, 35, 70)] {
        assert_eq!((more(end, net, "Tcp OutSegs"), more(end, net, "Tcp InSegs")), (sent, received));
        assert_eq!((more(end, net, "Ip OutRequests"), more(end, net, "Ip InDelivers")), (sent, received));
    }
    assert_eq!(more(0, &w.a, "IpExt OutOctets"), 100_000 + 70 * (20 + 32));
    assert_eq!(more(1, &w.b, "IpExt InOctets"), 100_000 + 70 * (20 + 32));
    assert_eq!(more(0, &w.a, "TcpExt TCPDelivered"), 70);
    let (segments, acks) = (100_000_u64.div_ceil(FULL), 35);
    assert_eq!(segments, 70);
    let (there, back) = (100_000 + segments * HEADERS, acks * HEADERS);
    assert_eq!(after.0.tx_packets - before.0.tx_packets, segments);
    assert_eq!(after.0.tx_bytes - before.0.tx_bytes, there);
    assert_eq!(after.1.rx_packets - before.1.rx_packets, segments);
    assert_eq!(after.1.rx_bytes - before.1.rx_bytes, there);
    assert_eq!(after.1.tx_packets - before.1.tx_packets, acks);
    assert_eq!(after.0.rx_bytes - before.0.rx_bytes, back);
    assert_eq!(after.2.bytes_acknowledged - before.2.bytes_acknowledged, 100_000);
    assert_eq!(after.2.data_segments_out - before.2.data_segments_out, 70);
    assert_eq!(after.3.bytes_received - before.3.bytes_received, 100_000);
    assert_eq!(u64::from(after.3.segments_out - before.3.segments_out), acks);
}

#[test]
fn segments_go_on_where_bytes_stopped() {
    let (w, a, b) = connected();
    // Round the ring of sequence numbers, unevenly both ways.
    for _ in 0..5 {
        assert!(short(&a).advance(1 << 30));
        says(&w, &a, &b, b"there");
        assert!(short(&b).advance((1 << 30) + 7));
        says(&w, &b, &a, b"back");
        says(&w, &a, &b, &[7; 9000]);
        // Its end is acknowledged late.
        w.pass(Duration::from_millis(50));
    }
    a.send_urgent(b"!").unwrap();
    w.settle();
    assert_eq!(b.recv_urgent(), Ok(b'!'));
    let passes = matches!(a.way(), TcpWay::Short(way) if way.advance(1));
    assert!(!passes, "an urgent byte waits to be passed");
    assert_eq!(b.info().total_retransmitted + a.info().total_retransmitted, 0);
}

#[test]
fn half_of_it_can_be_closed() {
    let (w, a, b) = connected();
    assert!(short(&a).advance(5000));
    a.shutdown(Shutdown::Write).unwrap();
    w.settle();
    assert_eq!((a.state(), b.state()), (TcpState::FinWait2, TcpState::CloseWait));
    assert!(!is_short(&a));
    assert!(short(&b).advance(70_000));
    says(&w, &b, &a, b"more");
    b.shutdown(Shutdown::Write).unwrap();
    w.settle();
    assert_eq!((a.state(), b.state()), (TcpState::Close, TcpState::Close));
    assert_eq!((a.recv(&mut [0; 9]), b.recv(&mut [0; 9])), (Ok(0), Ok(0)));
}

#[test]
fn a_reset_is_believed_afterwards() {
    let (w, a, b) = connected();
    assert!(short(&a).advance(123_456) && short(&b).advance(654_321));
    let way = short(&b);
    a.abort();
    w.settle();
    assert_eq!((b.take_error(), b.state()), (104, TcpState::Close));
    assert!(!way.advance(1), "there is nobody any more");
    assert!(matches!(b.way(), TcpWay::Segments));
}

#[test]
fn a_link_that_goes_down_is_the_end_of_it() {
    let (w, a, b) = connected();
    let way = short(&a);
    assert!(way.advance(10));
    w.unplug();
    assert!(!way.advance(10) && !is_short(&a));
    a.send(b"patience").unwrap();
    w.pass(Duration::from_secs(3));
    assert!(!is_short(&a));
    w.plug();
    w.pass(Duration::from_secs(5));
    let mut got = [0; 100];
    assert_eq!(b.recv(&mut got), Ok(8));
    // And it begins again when segments have shown that there is a way.
    says(&w, &a, &b, b"once more");
    assert!(short(&a).advance(10));
}

#[test]
fn who_looks_on_sees_segments() {
    let (w, a, b) = connected();
    let way = short(&a);
    let tap = PacketSocket::new(&w.stack, w.b.clone(), false, 3, 0);
    assert!(!way.advance(10) && !is_short(&a));
    for _ in 0..3 {
        says(&w, &a, &b, b"seen");
        w.pass(Duration::from_millis(100));
        assert!(!is_short(&a) && !is_short(&b));
    }
    drop(tap);
    says(&w, &a, &b, b"unseen");
    assert!(is_short(&a));
}

#[test]
fn any_change_is_a_reason_to_ask_again() {
    let (w, a, b) = connected();
    let way = short(&a);
    let links = w.stack.links(&w.b).unwrap();
    let change = LinkChange { mtu: Some(1400), ..LinkChange::default() };
    let index = links.by_name("eth").unwrap().index();
    w.stack.rtnl(Origin::KERNEL).set_link(&w.b, index, &change).unwrap();
    assert!(!way.advance(10));
    w.pass(Duration::from_millis(50));
    let TcpWay::Ask(most) = a.way() else { panic!("{:?}", a.way()) };
    assert_eq!(most as u64, FULL);
    says(&w, &a, &b, &vec![1; most]);
    assert!(is_short(&a));
}

#[test]
fn it_is_believed_for_a_second() {
    let (w, a, b) = connected();
    assert!(short(&a).advance(10));
    w.pass(Duration::from_millis(1100));
    let TcpWay::Ask(most) = a.way() else { panic!("{:?}", a.way()) };
    let before = stats(&w, &w.a).tx_packets;
    says(&w, &a, &b, &vec![1; most]);
    assert_eq!(stats(&w, &w.a).tx_packets - before, 1);
    assert!(is_short(&a) && is_short(&b));
}

#[test]
fn what_came_before_is_read_first() {
    let (w, a, b) = connected();
    let way = short(&a);
    a.send(b"first").unwrap();
    w.settle();
    assert!(!way.advance(6), "or the program would read it in the wrong order");
    let mut got = [0; 9];
    assert_eq!(b.recv(&mut got), Ok(5));
    assert!(way.advance(6));
}

#[test]
fn sockets_of_this_process_have_no_other_way() {
    let w = world();
    let listener = listening(&w);
    for _ in 0..3 {
        let a = TcpSocket::new_v4(&w.stack, &w.a);
        let _ = a.connect(addr("10.0.0.2:80"));
        w.settle();
        let (b, _) = listener.accept().unwrap();
        says(&w, &a, &b, b"hello");
        assert!(matches!((a.way(), b.way()), (TcpWay::Segments, TcpWay::Segments)));
    }
}

#[test]
fn programs_can_be_joined_from_the_first_connection_on() {
    let w = world();
    let listener = listening(&w);
    let (a, b) = another(&w, &listener);
    // Its handshake found the neighbours, and so cannot tell.
    assert!(!a.is_plain());
    assert!(a.is_found_plain() && b.is_plain());
    assert_eq!((a.partner(), b.partner()), (Some(22), Some(11)));
    assert_eq!(b.recv(&mut [0; 9]), Err(EAGAIN), "who asked sent nothing");
    says(&w, &a, &b, b"hello");
}

#[test]
fn programs_are_not_joined_where_something_looks_on_or_is_under_way() {
    let (w, a, b) = connected();
    assert!(a.is_plain() && b.is_plain());
    assert_eq!(a.send(b"hello"), Ok(5));
    w.settle();
    assert!(a.is_plain() && !b.is_plain(), "it was not read");
    b.recv(&mut [0; 9]).unwrap();
    w.pass(Duration::from_secs(3));
    assert!(b.is_found_plain(), "however late it is asked");
    let looks = PacketSocket::new(&w.stack, w.b.clone(), false, 0x0003, 0);
    assert!(!a.is_plain() && !a.is_found_plain() && !b.is_found_plain());
    drop(looks);
    w.pass(Duration::from_secs(1));
    assert!(a.is_found_plain());
    a.shutdown(Shutdown::Write).unwrap();
    w.settle();
    assert!(!a.is_plain() && !b.is_plain());
}
